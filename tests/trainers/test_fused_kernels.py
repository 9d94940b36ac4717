"""trainers._fused_kernels: liger-kernel computes what it knows, and a loss that it changes stops the training."""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest
import tiny_training
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers import _adapter, _fused_kernels

# The name that every transformers 5 knows.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


class Norm(torch.nn.Module):
    """The norm of a Llama in one expression, times a factor."""

    def __init__(self, weight: torch.nn.Parameter, factor: float) -> None:
        super().__init__()
        self.weight, self.factor = weight, factor

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.factor * torch.nn.functional.rms_norm(hidden, self.weight.shape, self.weight, 1e-6)


@pytest.fixture
def install(monkeypatch):
    """Install a library of liger-kernel's shape whose norms are these, and which knows these models."""

    def make(factor: float, known: tuple[str, ...] = ("llama",), error: Exception | None = None) -> None:
        def apply(model, **given):
            assert given == {"cross_entropy": False, "fused_linear_cross_entropy": False}
            if error is not None:
                raise error
            model.model.norm = Norm(model.model.norm.weight, factor)

        patches = ModuleType("liger_kernel.transformers.monkey_patch")
        patches.MODEL_TYPE_TO_APPLY_LIGER_FN = dict.fromkeys(known)
        patches._apply_liger_kernel_to_instance = apply
        package = ModuleType("liger_kernel")
        package.__spec__ = importlib.machinery.ModuleSpec("liger_kernel", None)
        for name, module in (
            ("liger_kernel", package),
            ("liger_kernel.transformers", ModuleType("liger_kernel.transformers")),
            ("liger_kernel.transformers.monkey_patch", patches),
        ):
            monkeypatch.setitem(sys.modules, name, module)

    return make


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Llama."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


def fused(network, base) -> bool:
    """Whether the network is fused, measured on a training row."""
    row = tiny_training.rows(base, 1)[0]
    with torch.no_grad():
        return _fused_kernels.fuse(network, lambda: float(tiny_training.summed_loss(network, row)) / 10)


def test_known_models_are_fused_and_an_adapted_one_in_its_base(base, install, tmp_path):
    """The module is the library's afterwards."""
    install(1.0)
    network = tiny_training.plain(base.folder)
    assert fused(network, base)
    assert isinstance(network.model.norm, Norm)
    job = SimpleNamespace(base=base, options=tiny_training.lora())
    adapted = _adapter.attach_adapters(tiny_training.plain(base.folder), job)
    assert fused(adapted, base)
    assert isinstance(adapted.get_base_model().model.norm, Norm)


def test_a_kernel_that_changes_the_loss_stops_the_training(base, install):
    """The message says how to train without it."""
    install(1.5)
    with pytest.raises(BenchError) as raised:
        fused(tiny_training.plain(base.folder), base)
    assert "fused_kernels=false" in raised.value.way_out


@pytest.mark.parametrize("error", [ImportError("no triton"), TypeError("another signature"), RuntimeError("no kernel")])
def test_a_library_that_does_not_run_here_is_told_as_such(base, install, error):
    """Its own words are in the message."""
    install(1.0, error=error)
    with pytest.raises(BenchError, match=str(error)):
        fused(tiny_training.plain(base.folder), base)


def test_without_the_library_or_its_knowledge_nothing_changes(base, install, monkeypatch):
    """Neither is an error."""
    network = tiny_training.plain(base.folder)
    before = network.model.norm
    install(1.0, known=("qwen3",))
    assert not fused(network, base)
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    monkeypatch.setattr(_fused_kernels.importlib.util, "find_spec", lambda _: None)
    assert not fused(network, base)
    assert network.model.norm is before


def test_inputs_of_adapters_are_cast_once_under_autocast_with_equal_gradients(base):
    """PEFT's cast to fp32 and autocast's back to bf16 change no bit."""
    row, gradients = tiny_training.rows(base, 1)[0], []
    for cast in (False, True):
        torch.manual_seed(0)
        job = SimpleNamespace(base=base, options=tiny_training.lora(precision="bf16"))
        network = _adapter.attach_adapters(tiny_training.plain(base.folder).bfloat16(), job)
        layers = [module for module in network.modules() if isinstance(module, _adapter.LoraLayer)]
        assert layers
        assert not any(layer.cast_input_dtype_enabled for layer in layers)
        for layer in layers:
            layer.cast_input_dtype_enabled = cast
            torch.nn.init.normal_(layer.lora_B["default"].weight)
        with torch.autocast("cpu", torch.bfloat16):
            tiny_training.summed_loss(network, row).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.requires_grad})
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_inputs_of_adapters_are_cast_where_nothing_else_casts_them(base):
    """Without autocast fp32 adapters on bf16 weights need PEFT's cast."""
    job = SimpleNamespace(base=base, options=tiny_training.lora(precision="fp32"))
    network = _adapter.attach_adapters(tiny_training.plain(base.folder), job)
    assert all(m.cast_input_dtype_enabled for m in network.modules() if isinstance(m, _adapter.LoraLayer))
