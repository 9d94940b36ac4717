"""Digest what a task version fixes: items and their order, prompts, sampling, answer reader.

Two entries may be compared only if this digest is the same. A label such as "gsm8k-1shot@v1" means exactly one digest;
published labels are pinned in protocols.toml, so that bench notices a changed data set or an edited prompt before it
generates a single answer.
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Problem

PINNED_FILE = Path(__file__).with_name("protocols.toml")


def digest_protocol(task: Task, problems: Sequence[Problem]) -> str:
    """Return the sha256 over label, reader, sampling and every item with its prompt and gold, in canonical JSON.

    It includes the texts that a task measures. If another package generates the items, it also includes the package's
    name and version (`MADE_WITH`).

    Raises:
        BenchError: the label is pinned to another digest.
    """
    value: dict[str, object] = {
        "label": task.LABEL,
        "reader": task.READER,
        "sampling": records.to_json_value(task.SAMPLING),
        "items": [[p.id, p.answer, [[m.role, m.content] for m in task.messages(p)]] for p in problems],
    }
    if (choices := getattr(task, "choices", None)) is not None:
        value["choices"] = [[*choices(p)] for p in problems]
    if (hash_requests := getattr(task, "asked_sha256", None)) is not None:
        value["asked"] = [hash_requests(p) for p in problems]
    if (generator_version := getattr(task, "MADE_WITH", None)) is not None:
        value["made_with"] = generator_version
    actual = records.digest(value)
    pinned = read_pinned_digests().get(task.LABEL)
    if pinned not in (None, actual):
        raise BenchError(
            f"{task.LABEL} means protocol {pinned[:12]}, but these items, prompts and sampling are {actual[:12]}",
            "the data set or the task file has changed: restore it, or give the task a new version in its LABEL",
        )
    return actual


def read_pinned_digests() -> Mapping[str, str]:
    """Read the pinned digest of each published label."""
    return _read_digests(PINNED_FILE)


@cache
def _read_digests(path: Path) -> Mapping[str, str]:
    return {label: str(digest) for label, digest in tomllib.loads(path.read_text(encoding="utf-8")).items()}


def digest_items(problems: Sequence[Problem]) -> str:
    """Return the sha256 over ids, questions and gold answers in order; it does not depend on the prompt."""
    return records.digest([[p.id, p.question, p.answer] for p in problems])


def select_problems(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """Select a seeded random subset of `limit` items, in their original order; every item if limit is None.

    Never take the first N items: a slice of the first 200 changed a real score by 4 points. Items are ranked by a
    hash of seed and id, so that a smaller subset is part of a larger one and no random generator's version matters.

    Raises:
        BenchError: the limit is not between 1 and the number of items.
    """
    if limit is None:
        return list(problems)
    if not 1 <= limit <= len(problems):
        raise BenchError(f"--limit {limit} is out of range", f"give a number from 1 to {len(problems)}")
    ranked = sorted(problems, key=lambda p: hashlib.sha256(f"{seed}:{p.id}".encode()).digest())
    chosen = {p.id for p in ranked[:limit]}
    return [p for p in problems if p.id in chosen]
