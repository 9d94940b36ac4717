"""core.options: key=value into a frozen dataclass, with nothing silently ignored."""

from dataclasses import dataclass

import pytest
from baseline_bench.core import options
from baseline_bench.core.errors import BenchError
from baseline_bench.engines import openai


@dataclass(frozen=True, slots=True)
class Options:
    """Options of every kind that there is."""

    dtype: str = "auto"
    batch_size: int | None = None
    memory: float = 0.9
    eager: bool = True

    def __post_init__(self) -> None:
        if self.memory > 1:
            raise ValueError("memory must not exceed 1")


def test_texts_become_the_fields_types():
    """Numbers, truth and none are read by the field's type; what is not given keeps its default."""
    given = options.parse_options(Options, ["dtype=float32", "batch_size=8", "memory=1e-1", "eager=False"], "engine x")
    assert given == Options("float32", 8, 0.1, False)
    assert options.parse_options(Options, ["batch_size=none"], "engine x") == Options()


def test_every_problem_is_told_at_once_with_the_way_out():
    """An unknown key names the nearest, a wrong value its type, a missing sign the form."""
    with pytest.raises(BenchError) as error:
        options.parse_options(Options, ["dtyp=float32", "batch_size=many", "eager=perhaps", "loose"], "engine x")
    told = str(error.value)
    for part in (
        "did you mean 'dtype'",
        "batch_size takes a whole number or none",
        "true or false",
        "'loose' is not key=",
    ):
        assert part in told


def test_a_value_that_the_class_refuses_is_one_clear_line():
    """What the dataclass says is passed on."""
    with pytest.raises(BenchError, match="memory must not exceed 1"):
        options.parse_options(Options, ["memory=2"], "engine x")


def test_a_secret_is_recorded_nowhere():
    """A field that is called secret is in no record; the openai engine's key is one."""
    key = options.parse_options(openai.Options, ["key=sk-123"], "engine openai")
    assert (key.key, "key" in options.record_options(key), "sk-123" in repr(key)) == ("sk-123", False, False)


def test_the_record_of_options_is_plain():
    """Settings of a run are scalars by name."""
    assert options.record_options(Options()) == {"dtype": "auto", "batch_size": None, "memory": 0.9, "eager": True}
