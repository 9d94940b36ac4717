"""Boards of two rows whose models have equal weights, and what the check says of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from baseline_bench.core.types import ModelIdentity
from baseline_bench.results.entry import Result
from samples import add, result, sha

from corpus.cases import Case

IDENTITY = ModelIdentity(sha("config"), sha("generation"), sha("rules"), sha("template"))
OTHER = replace(IDENTITY, config_sha256=sha("other config"))


def row(name: str = "model", identity: ModelIdentity | None = IDENTITY, weights: str = "weights") -> Result:
    """A row of a model of these weights and this identity."""
    made = result(name)
    return replace(made, model=replace(made.model, weights_sha256=sha(weights), identity=identity))


def _board(rows: Callable[[], tuple[Result, Result]], folder: Path) -> Path:
    for day, one in enumerate(rows(), 22):
        add(folder / "leaderboards" / "counting", one, f"2026-11-{day}T12:00:00Z")
    return folder / "leaderboards"


def _case(name: str, rows: Callable[[], tuple[Result, Result]], twin: str, *expected: tuple[str, str]) -> Case:
    return Case(name, "review: two rows shared one weights digest", partial(_board, rows), expected, twin)


CASES = (
    _case("one-name-two-configs", lambda: (row(), row(identity=OTHER)), "one-name-scored-twice",
          ("config.json", "fault"), ("config.json", "fault")),
    _case("two-names-two-configs", lambda: (row(), row("other", OTHER)), "one-name-scored-twice",
          ("config.json", "note")),
    _case("one-name-scored-twice", lambda: (row(), replace(row(), prompts_sha256=sha("again"))),
          "one-name-two-configs"),
    _case("two-names-one-model", lambda: (row(), row("other")), "one-name-scored-twice", ("another name", "fault")),
    _case("an-older-row", lambda: (row(identity=None), row()), "one-name-two-configs"),
    _case("a-fine-tune", lambda: (row(), row("tuned", OTHER, "tuned")), "two-names-two-configs"),
)  # fmt: skip
