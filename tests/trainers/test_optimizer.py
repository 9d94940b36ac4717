"""trainers._optimizer: rates by step are exact, and an optimizer that cannot run is refused, never swapped."""

import math
import sys

import pytest
import tiny_training
import torch
from accelerate import Accelerator
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers import _optimizer, full
from baseline_bench.trainers._options import Full
from bitsandbytes.optim import AdamW8bit, GlobalOptimManager

# Ten steps at a peak of 1, of which a quarter, rounded up to three, warm up; the schedule ends at a tenth.
RATES = {
    "cosine": [0.25, 0.5, 0.75, 1.0, 0.939711, 0.775, 0.55, 0.325, 0.160289, 0.1],
    "linear": [0.25, 0.5, 0.75, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1],
    "constant": [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
}


class Network(torch.nn.Module):
    """A table of 32 x 256, a layer of 256 x 256 and a norm: the first two are large enough for 8-bit states."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(32, 256)
        self.layer = torch.nn.Linear(256, 256, bias=False)
        self.norm = torch.nn.LayerNorm(256)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(self.table(ids))).pow(2).sum()


def stepped(optimizer: torch.optim.Optimizer, network: Network) -> torch.optim.Optimizer:
    """The optimizer after one step."""
    network(torch.arange(32)).backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("schedule", RATES)
def test_the_learning_rate_follows_its_schedule(schedule):
    """Golden: it rises in even steps without ever being 0, peaks once, and ends at `final_lr`."""
    options = Full(lr=1.0, schedule=schedule, warmup=0.25, final_lr=0.1)
    rates = [_optimizer.compute_learning_rate(step, 10, options) for step in range(1, 11)]
    assert rates == pytest.approx(RATES[schedule], abs=1e-6)


def test_the_study_has_29_steps_of_warm_up():
    """3 % of 935 steps; the peak is step 30, the end a tenth of it."""
    options = Full(lr=1e-5)
    rates = [_optimizer.compute_learning_rate(step, 935, options) for step in range(1, 936)]
    assert rates.index(max(rates)) == 29
    assert max(rates) == 1e-5
    assert rates[-1] == pytest.approx(1e-6)
    assert rates[29:] == sorted(rates[29:], reverse=True)


@pytest.mark.parametrize("schedule", RATES)
@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 1.0])
def test_the_shortest_trainings_have_a_rate_too(schedule, total, warmup):
    """One step of training learns something, whatever the warm-up."""
    options = Full(lr=1.0, schedule=schedule, warmup=warmup)
    assert all(0 < _optimizer.compute_learning_rate(step, total, options) <= 1 for step in range(1, total + 1))


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_weight_decay_falls_on_matrices_alone(name):
    """Norms and biases are never pulled to 0, whatever the optimizer; its settings are the recipe's."""
    network = Network()
    options = Full(optimizer=name, lr=0.5, weight_decay=0.1, beta1=0.8, beta2=0.95, epsilon=1e-7)
    matrices, others = _optimizer.build_optimizer(network, options, 1).param_groups
    assert [group["weight_decay"] for group in (matrices, others)] == [0.1, 0.0]
    assert {id(p) for p in matrices["params"]} == {id(network.table.weight), id(network.layer.weight)}
    assert {id(p) for p in others["params"]} == {id(network.norm.weight), id(network.norm.bias)}
    for group in (matrices, others):
        assert (group["lr"], tuple(group["betas"]), group["eps"]) == (0.5, (0.8, 0.95), 1e-7)


def test_frozen_numbers_are_not_the_optimizers():
    """What does not require a gradient has no state and costs no memory."""
    network = Network()
    network.table.requires_grad_(requires_grad=False)
    held = [
        id(p)
        for group in _optimizer.build_optimizer(network, Full(optimizer="adamw"), 1).param_groups
        for p in group["params"]
    ]
    assert id(network.table.weight) not in held
    assert len(held) == 3


def test_8_bit_adamw_keeps_embeddings_in_fp32():
    """The layer's states are 8-bit, or nothing was saved; the table's are fp32."""
    network = Network()
    optimizer = stepped(_optimizer.build_optimizer(network, Full(optimizer="adamw_8bit"), 1), network)
    assert optimizer.state[network.layer.weight]["state1"].dtype == torch.uint8
    assert optimizer.state[network.table.weight]["state1"].dtype == torch.float32
    _optimizer.require_full_embeddings(network, optimizer)


def test_one_optimizers_overrides_are_not_anothers():
    """The library keeps them by place and for the process: a second training still has 8-bit states."""
    for network in (Network(), torch.nn.Sequential(Network().layer)):
        optimizer = _optimizer.build_optimizer(network, Full(optimizer="adamw_8bit"), 1)
    network(torch.ones(1, 256)).sum().backward()
    optimizer.step()
    assert optimizer.state[network[0].weight]["state1"].dtype == torch.uint8


def test_8_bit_states_of_embeddings_are_caught():
    """The library gives a table 8-bit states unless it is told otherwise, and the check sees it."""
    GlobalOptimManager.get_instance().initialize()
    network = Network()
    optimizer = stepped(AdamW8bit(network.parameters()), network)
    assert optimizer.state[network.table.weight]["state1"].dtype == torch.uint8
    with pytest.raises(BenchError, match=r"keeps embeddings in torch.uint8, not float32.*optimizer=adamw"):
        _optimizer.require_full_embeddings(network, optimizer)


def test_the_check_takes_fp32_states_and_frozen_tables():
    """Plain AdamW passes, and so does a table that is not trained, as under LoRA."""
    network = Network()
    optimizer = stepped(_optimizer.build_optimizer(network, Full(optimizer="adamw"), 1), network)
    assert optimizer.state[network.table.weight]["exp_avg"].dtype == torch.float32
    _optimizer.require_full_embeddings(network, optimizer)
    optimizer.state[network.table.weight]["exp_avg"] = optimizer.state[network.table.weight]["exp_avg"].bfloat16()
    with pytest.raises(BenchError, match=r"keeps embeddings in torch\.bfloat16"):
        _optimizer.require_full_embeddings(network, optimizer)
    network.table.requires_grad_(requires_grad=False)
    _optimizer.require_full_embeddings(network, optimizer)


def test_8_bit_states_cannot_be_sharded():
    """FSDP shards states that 8-bit AdamW keeps in blocks of its own: refused with both ways out."""
    with pytest.raises(BenchError, match=r"cannot shard.*optimizer=adamw.*sharding=none"):
        _optimizer.build_optimizer(Network(), Full(optimizer="adamw_8bit", sharding="fsdp"), 2)


def test_states_in_bf16_are_refused():
    """PyTorch's AdamW would keep them so over bf16 weights; 8-bit AdamW has states of its own."""
    network = Network().bfloat16()
    with pytest.raises(BenchError, match=r"bf16 is too coarse.*weights=fp32, or --set optimizer=adamw_8bit"):
        _optimizer.build_optimizer(network, Full(optimizer="adamw", weights="bf16"), 1)
    optimizer = stepped(_optimizer.build_optimizer(network, Full(optimizer="adamw_8bit", weights="bf16"), 1), network)
    _optimizer.require_full_embeddings(network, optimizer)


def test_8_bit_adamw_without_its_library_is_refused(monkeypatch):
    """Never swapped for another: told with what to install."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BenchError, match=r"needs bitsandbytes: .*\[train\]"):
        _optimizer.build_optimizer(Network(), Full(optimizer="adamw_8bit"), 1)


def test_sharding_over_one_process_is_refused(tmp_path):
    """FSDP with nobody to share with is no silent copy."""
    base = tiny_training.model(tmp_path / "base")
    options = tiny_training.full(sharding="fsdp")
    with pytest.raises(BenchError, match=r"fsdp needs several GPUs: --gpus 2"):
        tiny_training.run(full.train, base, tiny_training.rows(base, 2), tmp_path / "run", options)


def test_processes_that_do_not_find_one_another_are_told(tmp_path):
    """Two were asked for and one runs: no training over half the rows."""
    base = tiny_training.model(tmp_path / "base")
    with pytest.raises(BenchError, match="2 processes were started, 1 found one another"):
        tiny_training.run(
            full.train, base, tiny_training.rows(base, 2), tmp_path / "run", tiny_training.full(), processes=2
        )


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e6])
def test_clipping_in_the_optimizer_moves_weights_as_clipping_before_it(clip):
    """To the rounding of fp32, for a gradient that is clipped, one that is not, and without a clip."""
    accelerator, options = Accelerator(cpu=True), Full(clip=clip)
    moved = []
    for own in (True, False):
        torch.manual_seed(0)
        network = Network()
        optimizer = accelerator.prepare(_optimizer.build_optimizer(network, options, 1))
        network(torch.arange(32)).backward()
        trained = list(network.parameters())
        if own:
            norm = _optimizer.clip_gradients(network, optimizer, accelerator, options)
        else:
            norm = accelerator.clip_grad_norm_(trained, clip or math.inf)
        optimizer.step()
        states = [optimizer.state[parameter]["exp_avg"] for parameter in trained]
        moved.append((norm, states, trained))
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-5, atol=1e-9)
