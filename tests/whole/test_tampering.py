"""What a forger can and cannot change in a real entry: every field in turn, digests and name worked out again."""

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, encode_indented
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.checking import find_faults
from baseline_bench.results import entries
from baseline_bench.results.entry import Entry
from paths import ROOT
from samples import altered, leaves, sha

BOARD = ROOT / "leaderboards" / "gsm8k"
BASE = "2026-11-22-smollm2-135m-it-q4_1-0fc1d4dd1419"
TRAINED = "2026-11-22-smollm2-135m-it-q4_1-lora-main-s0-2d269664a5e5"
ENTRY: dict[str, Any] = json.loads((BOARD / f"{TRAINED}.json").read_bytes())
LEAVES = list(leaves(ENTRY))

# What the check cannot know of a NEW entry, by the beginning of the path. Everything else is caught without history;
# and with history nothing that stood at the base can be changed at all. `docs/how-to-read-a-row.md` lists the same.
UNKNOWABLE = {
    "what it is called": ("result.candidate", "result.model.name"),
    "when it was": ("created", "result.training.candidate.created"),
    "how long it took": ("timings.phases", "timings.prompt_tokens", "timings.tokens_per_second"),
    "how the model was asked": (
        "result.model.revision",
        "result.model.tokenizer_sha256",
        "result.model.template_sha256",
        "result.model.prompt_style",
        "result.model.bos",
        "result.model.stop_ids",
        "result.prompts_sha256",
    ),
    "what generated": ("result.engine", "result.provenance"),
    "what was trained on, on what, and what that measured": (
        "result.training.candidate.recipe",
        "result.training.candidate.values.trainer",
        "result.training.candidate.seed",
        "result.training.candidate.base",
        "result.training.candidate.data",
        "result.training.candidate.weights",
        "result.training.candidate.trainable",
        "result.training.candidate.parameters",
        "result.training.candidate.changed",
        "result.training.candidate.held_out_loss",
        "result.training.candidate.cost.peak_memory",
        "result.training.candidate.cost.device",
        "result.training.candidate.cost.gpus",
        "result.training.candidate.libraries",
    ),
    "what the merge measured": (
        "result.training.merge.dtype",
        "result.training.merge.targets",
        "result.training.merge.others",
        "result.training.merge.rel_err",
        "result.training.merge.mean_kl",
        "result.training.merge.greedy_agreement",
        "result.training.merge.positions",
    ),
}
EXCEPTIONS = (
    "result.training.candidate.recipe",
    "result.training.candidate.recipe_sha256",
    "result.training.candidate.base.weights_sha256",
    "result.training.candidate.weights_sha256",
)


@dataclass(frozen=True, slots=True)
class Forgery:
    """What the check says of a changed entry.

    Attributes:
        told: of the new file.
        missed: of the file that it took the place of.
    """

    told: tuple[str, ...]
    missed: tuple[str, ...]


def standing(at: tuple[str | int, ...]) -> Any:
    """What the honest entry says there."""
    value: Any = ENTRY
    for key in at:
        value = value[key]
    return value


def otherwise(at: tuple[str | int, ...]) -> dict[str, Any]:
    """The entry with another value in one place: a digest, a time, bits and a date stay what they look like."""
    old = standing(at)
    made = altered(ENTRY, at)
    if isinstance(old, str) and re.fullmatch("[0-9a-f]{64}|[0-9a-f]{330}|[-0-9]{10}T[:0-9]{8}Z", old):
        place: Any = made
        for key in at[:-1]:
            place = place[key]
        place[at[-1]] = {64: sha(old), 20: f"{old[:17]}59Z"}.get(len(old), f"{int(old[0], 16) ^ 8:x}{old[1:]}")
    return made


def named(at: tuple[str | int, ...]) -> str:
    """A leaf as one word."""
    return ".".join(map(str, at))


def unknowable(at: tuple[str | int, ...]) -> bool:
    """The lists above say that nobody can see it."""
    name = named(at)
    if name in EXCEPTIONS:
        return False
    known = [prefix for group in UNKNOWABLE.values() for prefix in group]
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in known)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the leaderboards of one real base and one real candidate trained on it, committed on main."""
    root = tmp_path_factory.mktemp("repository")
    folder = root / "leaderboards"
    (folder / "gsm8k").mkdir(parents=True)
    for path in sorted(BOARD.iterdir()):
        if path.name.startswith((BASE, TRAINED)):
            shutil.copy(path, folder / "gsm8k")
    leaderboard.update_pages(folder)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "rows"]):
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *words]
        subprocess.run(command, cwd=root, check=True, capture_output=True, env=clean)
    return folder


@pytest.fixture(scope="module")
def grader() -> Any:
    """The board's own grader, which grades these completions once: they are never the ones that change."""
    again = Regrader([], None)
    kept: dict[str, Any] = {}

    def regrade(entry: Entry, completions: Any) -> Any:
        key = str([entry.result.task, len(completions), completions[0].text])
        if key not in kept:
            try:
                kept[key] = again(entry, completions)
            except BenchError as error:
                kept[key] = error
        if isinstance(kept[key], BenchError):
            raise kept[key]
        return kept[key]

    return regrade


def forge(folder: Path, at: tuple[str | int, ...]) -> Iterator[Path]:
    """The changed entry in the old one's place, its digest and its name worked out again, and after that undone."""
    old = folder / "gsm8k" / f"{TRAINED}.json"
    made = decode_record(Entry, otherwise(at), "forged", "")
    if at[0] != "result_sha256":
        made = Entry.of(made.result, made.created, made.timings)
    new = old.with_name(f"{entries.build_file_stem(made)}.json")
    moved = [(path, path.with_name(path.name.replace(TRAINED, new.stem))) for path in old.parent.glob(f"{TRAINED}.*")]
    for here, there in moved:
        here.rename(there)
    new.write_bytes(encode_indented(made))
    try:
        yield new
    finally:
        new.write_bytes(encode_indented(decode_record(Entry, ENTRY, "honest", "")))
        for here, there in moved:
            there.rename(here)


def tried(folder: Path, at: tuple[str | int, ...], regrade: Any) -> Forgery:
    """What the check says, pages left aside."""
    for new in forge(folder, at):
        faults = find_faults(folder, regrade, base="main")
        told = [fault.what for fault in faults if Path(fault.file).name.startswith(new.stem)]
        missed = [fault.what for fault in faults if Path(fault.file).name.startswith(TRAINED)]
        return Forgery(tuple(told), tuple(missed))
    raise AssertionError("nothing was forged")


def spelled(at: tuple[str | int, ...]) -> bool:
    """The changed value is one that an entry can have: others are refused when it is read."""
    try:
        decode_record(Entry, otherwise(at), "forged", "")
    except BenchError:
        return False
    return True


@pytest.mark.parametrize("at", [at for at in LEAVES if spelled(at)], ids=named)
def test_a_changed_field_is_caught_or_listed_as_unknowable(
    honest: Path, grader: Any, at: tuple[str | int, ...]
) -> None:
    """As a new entry it is caught by bits, completions, losses or the other rows, or it is on the list of what is not.

    As a change of what was there it is caught by history, whatever the field.
    """
    found = tried(honest, at, grader)
    assert any(what.startswith("removed or renamed since") for what in found.missed)
    assert bool(found.told) != unknowable(at), found.told


def test_the_untouched_board_passes(honest: Path, grader: Any) -> None:
    """What is found above is found for the change alone."""
    assert [fault.what for fault in find_faults(honest, grader, base="main")] == []


def test_a_field_that_cannot_be_spelled_otherwise_is_refused() -> None:
    """Every leaf is tried above, or its changed value is none of its field; a null may only become a text."""
    refused = {named(at) for at in LEAVES if not spelled(at)}
    assert refused <= {
        "schema",
        "result.model.bos",
        "result.model.prompt_style",
        "result.training.candidate.base.bos",
        "result.training.candidate.schema",
        "result.training.candidate.kind",
        *(named(at) for at in LEAVES if standing(at) is None),
    }


def test_the_page_tells_what_cannot_be_known() -> None:
    """The document's section names every group of fields on the list."""
    text = (BOARD.parent.parent / "docs" / "how-to-read-a-row.md").read_text(encoding="utf-8")
    section = text.partition("## What the check cannot know")[2].partition("\n## ")[0]
    assert [group for group in UNKNOWABLE if group not in section] == []


def test_a_changed_completion_is_caught(honest: Path, grader: Any) -> None:
    """One letter more in one answer, and the digest in the entry no longer fits."""
    path = honest / "gsm8k" / f"{TRAINED}.jsonl.gz"
    kept = path.read_bytes()
    lines = gzip.decompress(kept).replace(b"####", b"###", 1)
    path.write_bytes(gzip.compress(lines, mtime=0))
    try:
        whats = [fault.what for fault in find_faults(honest, grader)]
        assert "completions_sha256 is not the digest of the completions" in whats
    finally:
        path.write_bytes(kept)
