"""core.command_options: a frozen dataclass becomes a command's arguments."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from baseline_bench.core.command_options import MUST_BE_GIVEN, add_arguments, argument, build_options, option
from baseline_bench.core.errors import BenchError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every kind of field that commands have."""

    names: list[str] = argument("names", "NAME")
    place: Path = option("--place", "where", "DIR", Path("here"))
    count: int | None = option("-n --count", "how many", "N")
    share: float = option("--share", "a share", "S", MUST_BE_GIVEN)
    kind: Literal["a", "b"] | None = option("--kind", "which")
    level: Literal[0, 1] = option("--level", "how far", default=1)
    sets: list[str] = option("--set", "settings", "KEY=VALUE", list)
    rows: tuple[str, ...] = option("--rows", "several", "ROW", ())
    quick: bool = option("--quick", "be quick", default=False)
    careful: bool = option("--careless", "be careless", default=True)
    one: str | None = option("--one", "one", one_of="group")
    other: str | None = option("--other", "the other", one_of="group")
    hidden: str = "not on the command line"


def parsed(*words: str) -> Options:
    """What the words make of the options."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, Options)
    return Options(**vars(parser.parse_args(list(words))))


def test_defaults_are_those_of_the_fields():
    """A field that is not on the command line keeps its own."""
    found = parsed("a", "--share", "0.5")
    assert found == Options(names=["a"], share=0.5, sets=[])
    assert (found.place, found.level, found.careful, found.hidden) == (Path("here"), 1, True, "not on the command line")


def test_values_have_the_types_of_their_annotations():
    """Each form of flag, several values, repeated options and switches in both directions."""
    words = ["a", "b", "-n", "3", "--share", "0.5", "--kind", "b", "--level", "0", "--set", "x=1", "--set", "y=2"]
    found = parsed(*words, "--place", "there", "--quick", "--careless", "--one", "1", "--rows", "r", "s")
    wanted = Options(
        names=["a", "b"], count=3, share=0.5, kind="b", level=0, sets=["x=1", "y=2"], place=Path("there"), quick=True,
        careful=False, one="1", rows=["r", "s"],  # argparse gives a list; `parse_options` makes a tuple of it
    )  # fmt: skip
    assert found == wanted


@pytest.mark.parametrize(
    "words",
    [
        ["a"],
        ["--share", "1"],
        ["a", "--share", "x"],
        ["a", "--share", "1", "--kind", "c"],
        ["a", "--share", "1", "--level", "2"],
        ["a", "--share", "1", "--one", "1", "--other", "2"],
    ],
    ids=["no share", "no name", "no number", "no such kind", "no such level", "two of one group"],
)
def test_wrong_words_are_a_usage_error(words):
    """A missing or impossible value never becomes an Options."""
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parsed(*words)


def test_python_gives_options_by_their_long_names():
    """A mapping becomes `key=value` texts, a text a folder; fields that are fixed are no options."""
    given = {"place": "there", "set": {"lr": 1e-3}, "share": 0.5, "careless": True}
    found = build_options(Options, given, names=["a"])
    assert found == Options(names=["a"], share=0.5, sets=["lr=0.001"], place=Path("there"), careful=False)


@pytest.mark.parametrize("unknown", ["sets", "names", "hidden", "plase"])
def test_an_option_that_the_command_lacks_is_refused_in_python(unknown):
    """A field's name is no option's name."""
    with pytest.raises(BenchError, match=f"no option '{unknown}'"):
        build_options(Options, {unknown: 1}, names=["a"])
