"""What a task version fixes, as one digest: items and their order, prompts, sampling, answer reader.

Two rows may be compared only where this digest is the same. A label such as "gsm8k-1shot@v1" stands for exactly one
digest; the published labels are pinned in protocols.toml, so that a changed data set or an edited prompt is noticed
before a single answer is generated.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Problem

PINNED_FILE = Path(__file__).with_name("protocols.toml")


def digest_protocol(task: Task, problems: Sequence[Problem]) -> str:
    """Sha256 over label, reader, sampling and every item with its prompt and gold answer, in canonical JSON.

    What it measures is part of it.
    Where another's package makes the items, its name and version are in it too (`MADE_WITH`).

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
    if (asked := getattr(task, "asked_sha256", None)) is not None:
        value["asked"] = [asked(p) for p in problems]
    if (made_with := getattr(task, "MADE_WITH", None)) is not None:
        value["made_with"] = made_with
    found = records.digest(value)
    fixed = read_pinned_digests().get(task.LABEL)
    if fixed not in (None, found):
        raise BenchError(
            f"{task.LABEL} means protocol {fixed[:12]}, but these items, prompts and sampling are {found[:12]}",
            "the data set or the task file has changed: restore it, or give the task a new version in its LABEL",
        )
    return found


def read_pinned_digests() -> dict[str, str]:
    """The digest that each published label stands for."""
    return {label: str(fixed) for label, fixed in tomllib.loads(PINNED_FILE.read_text(encoding="utf-8")).items()}


def digest_items(problems: Sequence[Problem]) -> str:
    """Sha256 over ids, questions and gold answers in order: the same items under any prompt."""
    return records.digest([[p.id, p.question, p.answer] for p in problems])


def select_problems(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """A seeded random subset of `limit` items in their own order; every item where limit is None.

    The first N items are never taken: a slice of the first 200 moved a real score by 4 points. Items are ranked by a
    hash of seed and id, so that a smaller limit is part of a larger one and no random generator's version matters.

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
