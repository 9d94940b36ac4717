"""Boards with two rows of equal tensors, of which only the older may be the base of what was trained."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.analysis.recipe_rows import select_recipes
from baseline_bench.commands.compare import find_rows
from baseline_bench.commands.score import find_base_entry
from baseline_bench.core.display import Console
from baseline_bench.core.records import encode_indented
from baseline_bench.core.types import ModelIdentity
from baseline_bench.results import lookup
from baseline_bench.results.board import Board, Row
from baseline_bench.results.entries import build_file_stem
from baseline_bench.results.entry import Result
from board_samples import trained
from samples import entry, result

from corpus.cases import Case, Check, Found, Run, finds
from corpus.entries import base, describe, edit, lose_merge, saved_by_transformers_4

_OLDER, _NEWER, _LATER = (f"2026-11-{day}T12:00:00Z" for day in (22, 23, 24))
_SOURCE = "review: the newest row of equal tensors was taken"


def based(of: Result, identity: ModelIdentity | None) -> Result:
    """The same training, of a base of this identity."""
    assert of.training is not None
    assert of.training.candidate is not None
    made = of.training.candidate
    return replace(
        of, training=replace(of.training, candidate=replace(made, base=replace(made.base, identity=identity)))
    )


def scored(identity: ModelIdentity | None, name: str = "base") -> Result:
    """A row of a model of this identity."""
    made = result(name)
    template = made.model.template_sha256 if identity is None else identity.template_sha256
    return replace(made, model=replace(made.model, identity=identity, template_sha256=template))


def digests(identity: ModelIdentity) -> ModelIdentity:
    """What the record of a training holds of its base."""
    return replace(identity, sha256=None, settings=None, defaults=None)


def look(folder: Path, _: Run) -> list[Found]:
    """The parts by which the newer row is no base; board lines, compare, score and recipes take the same row."""
    rows = lookup.read_boards(folder, None)
    board = compare_board(Board("counting", tuple(Row(row.path.name, row.entry) for row in rows)))
    tuned = next(row for row in rows if row.entry.result.candidate == "base+one-s0")
    of_score = find_base_entry(tuned.entry, folder)
    of_recipes = select_recipes("recipe:one", "recipe:two", rows, "base").base
    _, of_compare = find_rows("base+one-s0", "base", folder, None, Console(io.StringIO(), io.StringIO()))
    assert of_score is not None
    assert of_recipes is not None
    of_board = board.against[tuned.path.name].base.entry
    assert of_board == of_score == of_recipes.entry == of_compare.entry
    origin, newer = tuned.entry.result.base, next(row for row in rows if row.entry.created == _NEWER)
    assert origin is not None
    if of_score.created == _NEWER:
        return []
    assert origin.identity is not None
    return [(part, "unlike") for part in origin.identity.compare(newer.entry.result.model.identity)]


def _board(change: Callable[[Path], None] | None, known: bool, folder: Path) -> Path:
    """Scores a base and, a day later, the same tensors after a change, and trains two recipes on the first."""
    made = Path(shutil.copytree(base(), folder / "model"))
    if change is not None:
        change(made)
    origin = digests(describe(base())) if known else None
    tuned = [based(trained("base", recipe, seed), origin) for recipe in ("one", "two") for seed in (0, 1)]
    board = folder / "leaderboards" / "counting"
    board.mkdir(parents=True)
    for of, created in (
        (scored(describe(base())), _OLDER),
        (scored(describe(made)), _NEWER),
        *((each, _LATER) for each in tuned),
    ):
        row = entry(of, created)
        (board / f"{build_file_stem(row)}.json").write_bytes(encode_indented(row))
    return board.parent


def _case(
    name: str, change: Callable[[Path], None] | None, twin: str, part: str | None = None, known: bool = True
) -> Case:
    found = ((part, "unlike"),) if part else ()
    return Case(name, _SOURCE, partial(_board, change, known), found, twin, _CHECKS if part else ())


def _other_rope(made: Path) -> None:
    edit(made / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 5e5})


_CHECKS = (
    Check("results.candidate:ModelKey.matches", lambda one, other: one.weights_sha256 == other.weights_sha256),
    finds("analysis.compare:_compare_models"),
)
CASES = (
    _case("other-rope", _other_rope, "transformers-4", "config.json"),
    _case("other-tokenizer", lose_merge, "scored-twice", "tokenizer"),
    _case("transformers-4", saved_by_transformers_4, "other-rope"),
    _case("scored-twice", None, "other-tokenizer"),
    _case("older-training", _other_rope, "other-rope", known=False),
)
