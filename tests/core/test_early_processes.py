"""core.early_processes: what was begun early is taken once, and what nobody takes is ended."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from baseline_bench.core import child_process, early_processes, machine
from baseline_bench.engines.multi_gpu import distributed
from baseline_bench.evaluation import engine_pool


class Counted:
    """Stands for a process, and knows whether it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """End it."""
        self.closed = True


def test_a_process_is_taken_once_and_its_taker_ends_it():
    """A second taker gets one of its own."""
    with early_processes.early_processes():
        early_processes.begin("one", Counted)
        taken = early_processes.take("one", lambda: pytest.fail("it was begun"))
        assert isinstance(taken, Counted)
        assert early_processes.take("one", Counted) is not taken
    assert not taken.closed


def test_a_process_that_nobody_takes_is_ended():
    """Also after an error, which passes on."""
    made: list[Counted] = []

    @early_processes.early_processes()
    def fail() -> None:
        for name in ("one", "two"):
            early_processes.begin(name, lambda: made.append(Counted()) or made[-1])
        raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert [each.closed for each in made] == [True, True]


def test_one_name_starts_one_process():
    """Who asks for it twice has it once."""
    with early_processes.early_processes():
        early_processes.begin("one", Counted)
        early_processes.begin("one", lambda: pytest.fail("it was begun before"))


def test_nothing_starts_early_where_nobody_would_end_it():
    """Outside the context beginning does nothing, and taking starts it."""
    early_processes.begin("one", lambda: pytest.fail("nobody ends it"))
    assert isinstance(early_processes.take("one", Counted), Counted)


def test_an_inner_context_leaves_the_outer_one_its_processes():
    """A command that calls another one keeps what it began."""
    with early_processes.early_processes():
        early_processes.begin("outer", Counted)
        with early_processes.early_processes():
            early_processes.begin("inner", Counted)
        assert isinstance(early_processes.take("outer", lambda: pytest.fail("it was begun")), Counted)


def test_a_call_uses_the_process_that_was_begun_for_it(monkeypatch):
    """It has called the module's `begin` with the arguments by then; the next call has a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    with early_processes.early_processes():
        child_process.begin_call("early_child:tell", "a", "b")
        answer = child_process.call_in_child("early_child:tell", None)
        again = child_process.call_in_child("early_child:tell", None)
    assert (answer["begun"], again["begun"]) == (["a", "b"], [])
    assert answer["pid"] != again["pid"]


@pytest.fixture
def begun(monkeypatch) -> list[Counted]:
    """Every engine's process, on a machine with one GPU and vLLM."""
    made: list[Counted] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "has_accelerator", lambda: True)
    monkeypatch.setattr(machine, "count_gpu_files", lambda: 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace())
    for module in (distributed, engine_pool):
        monkeypatch.setattr(module, "EngineWorker", lambda *_: made.append(Counted()) or made[-1])
    return made


@pytest.mark.parametrize(("name", "gpus"), [(None, None), ("vllm", None), (None, 1)])
def test_vllm_begins_early_where_it_is_likely(begun, name, gpus):
    """On the only GPU, installed, and unless the user names another engine."""
    with early_processes.early_processes():
        engine_pool.begin_likely_engine(name, gpus)
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("name", "gpus", "files", "visible"),
    [
        ("transformers", None, 1, None),
        (None, 2, 1, None),
        (None, None, 2, None),
        (None, None, 1, "0,1"),
        (None, None, 0, None),
    ],
)
def test_vllm_does_not_begin_where_another_engine_or_several_are_likely(begun, monkeypatch, name, gpus, files, visible):
    """It would import in vain."""
    monkeypatch.setattr(machine, "count_gpu_files", lambda: files)
    monkeypatch.setattr(machine, "has_accelerator", lambda: files > 0)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with early_processes.early_processes():
        engine_pool.begin_likely_engine(name, gpus)
    assert begun == []


def test_a_machine_without_vllm_begins_nothing(begun, monkeypatch):
    """There is nothing to import."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with early_processes.early_processes():
        engine_pool.begin_likely_engine(None, None)
    assert begun == []


@pytest.mark.parametrize(("devices", "taken"), [((None,), True), (("0",), False), (("0", "1"), False)])
def test_the_process_that_began_early_serves_the_only_gpu_alone(begun, devices, taken):
    """It sees every GPU of the machine: with GPUs of their own, engines start anew."""
    with early_processes.early_processes():
        engine_pool.begin_likely_engine(None, None)
        distributed.MultiGpuStarter("vllm", devices, print).begin()
        assert len(begun) == 1 + (0 if taken else len(devices))
    assert begun[0].closed != taken
