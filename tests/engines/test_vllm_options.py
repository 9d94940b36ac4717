"""What the vLLM engine does where nobody says: known without vLLM, and the same for a base and its candidates."""

import pytest
from baseline_bench.engines import vllm


def chosen(gpu=True, **options) -> tuple[bool, bool]:
    """Whether steps are recorded, and whether vLLM schedules in our process."""
    found = vllm.resolve_options(vllm.Options(**options), gpu)
    return found.cuda_graphs, found.in_process


def test_one_gpu_records_its_steps_and_schedules_in_process():
    """What was measured fastest from a cold start, and for a study of several models."""
    assert chosen() == (True, True)


@pytest.mark.parametrize("options", [{"gpu": False}, {"tensor_parallel": 2}, {"batch_invariant": True}])
def test_what_was_not_measured_is_left_to_vllm(options):
    """A CPU has no graphs; several GPUs and invariant batches were not measured so, and the latter forbid it."""
    assert chosen(**options) == (False, False)


def test_what_is_asked_for_is_done():
    """A word on the command line wins, either way."""
    assert chosen(cuda_graphs=False, in_process=False) == (False, False)
    assert chosen(tensor_parallel=2, cuda_graphs=True, in_process=True) == (True, True)


def test_compiling_has_graphs_of_its_own():
    """The two exclude each other only where both are asked for."""
    assert chosen(eager=False) == (False, True)
    with pytest.raises(ValueError, match="cuda_graphs=true is for eager=true"):
        vllm.Options(eager=False, cuda_graphs=True)


def test_an_entry_from_before_an_option_is_served_as_it_was():
    """Neither was there for rows that name neither."""
    assert dict(vllm.ABSENT) == {"cuda_graphs": False, "in_process": False}
