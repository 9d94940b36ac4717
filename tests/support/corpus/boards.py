"""Boards of two rows whose models have equal weights, and what the check says of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from baseline_bench.core.types import ModelIdentity
from baseline_bench.rendering import checking, leaderboard
from baseline_bench.results.entry import Result
from samples import add, result, sha

from corpus.cases import Case, Check, Found, Run, finds

SETTINGS = {
    "config.json model_type": "llama",
    "config.json rms_norm_eps": 1e-5,
    "generation_config.json eos_token_id": 2,
    "tokenizer": sha("rules"),
    "chat template": sha("template"),
}
DEFAULTS = {"config.json hidden_act": "silu"}
IDENTITY = ModelIdentity.of(SETTINGS, DEFAULTS)
OTHER = ModelIdentity.of({**SETTINGS, "config.json rms_norm_eps": 1e-3, "config.json hidden_act": "gelu"}, None)
# As entries held it before they held the settings; its digest of generation_config.json covers keys that nothing reads.
OLDER = ModelIdentity(IDENTITY.config_sha256, sha("generation"), IDENTITY.tokenizer_sha256, IDENTITY.template_sha256)


def look(folder: Path, _: Run) -> list[Found]:
    """What `bench board --check` says, by the part that it names; one name for two models is a fault."""
    leaderboard.update_pages(folder)
    report = checking.check_leaderboards(folder)
    said = [(fault.what, "fault") for fault in report.faults] + [(note, "note") for note in report.notes]
    return [(next(part for part in _PARTS if part in text), severity) for text, severity in said]


def row(name: str = "model", identity: ModelIdentity | None = IDENTITY, weights: str = "weights") -> Result:
    """A row of a model of these weights and this identity."""
    made = result(name)
    return replace(made, model=replace(made.model, weights_sha256=sha(weights), identity=identity))


def _board(rows: Callable[[], tuple[Result, Result]], folder: Path) -> Path:
    for day, one in enumerate(rows(), 22):
        add(folder / "leaderboards" / "counting", one, f"2026-11-{day}T12:00:00Z")
    return folder / "leaderboards"


def _case(
    name: str,
    rows: Callable[[], tuple[Result, Result]],
    twin: str,
    *expected: Found,
    checks: tuple[Check, ...] = (),
) -> Case:
    return Case(name, "review: two rows shared one weights digest", partial(_board, rows), expected, twin, checks)


_PARTS = ("config.json", "another name")
_CONTRADICTIONS = (finds("rendering.checking:_find_contradictions"),)
_NOTES = (finds("rendering.checking:_note_equal_weights"),)
_NAMES = (finds("results.duplicates:find_renamed_weights"),)


CASES = (
    _case("one-name-two-configs", lambda: (row(), row(identity=OTHER)), "one-name-scored-twice",
          ("config.json", "fault"), ("config.json", "fault"), checks=_CONTRADICTIONS),
    _case("two-names-two-configs", lambda: (row(), row("other", OTHER)), "one-name-scored-twice",
          ("config.json", "note"), checks=_NOTES),
    _case("one-name-scored-twice", lambda: (row(), replace(row(), prompts_sha256=sha("again"))),
          "one-name-two-configs"),
    _case("two-names-one-model", lambda: (row(), row("other")), "one-name-scored-twice", ("another name", "fault"),
          checks=_NAMES),
    _case("a-row-without-identity", lambda: (row(identity=None), row()), "one-name-two-configs"),
    _case("an-older-row", lambda: (row(identity=OLDER), row()), "one-name-two-configs"),
    _case("an-older-row-of-another-config", lambda: (row(identity=OLDER), row(identity=OTHER)), "an-older-row",
          ("config.json", "fault"), ("config.json", "fault"), checks=_CONTRADICTIONS),
    _case("a-fine-tune", lambda: (row(), row("tuned", OTHER, "tuned")), "two-names-two-configs"),
)  # fmt: skip
