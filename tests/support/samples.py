"""Entries and completions as the tests of the store need them, each of their numbers following from the others."""

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from baseline_bench.core.records import digest, encode_indented, to_json_value
from baseline_bench.core.types import Completion, Judgement, Problem, Sampling, Score
from baseline_bench.results import entries
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import CommittedCompletion, build_committed_completion, serialise_completions
from baseline_bench.results.entry import (
    EngineRecord,
    Entry,
    ModelRecord,
    Provenance,
    Result,
    Selection,
    TaskRecord,
    Timings,
)


def printed_entries(out: str) -> list[str]:
    """The entries that `--json` printed, each as its file spells it: without the findings that are told beside it."""
    told = [json.loads(part) for part in out.strip().replace("}\n{", "}\0{").split("\0")]
    return [
        encode_indented({name: value for name, value in one.items() if name != "findings"}).decode() for one in told
    ]


def sha(text: str) -> str:
    """A digest that looks like one."""
    return hashlib.sha256(text.encode()).hexdigest()


def answers(total: int = 12, right: int = 5, unread: int = 2, cut: int = 1) -> tuple[CommittedCompletion, ...]:
    """Completions of which the first `right` are right and the last `unread` say nothing, the last `cut` cut short."""
    made = []
    for i in range(total):
        text = f"#### {i if i < right else -1}" if i < total - unread else "I do not know."
        finish = "length" if i >= total - cut else "stop"
        problem = Problem(id=f"test-{i}", question=f"{i}?", answer=str(i), solution="")
        made.append(build_committed_completion(problem, Completion(text=text, token_ids=(i, 7), finish_reason=finish)))
    return tuple(made)


def regrade(entry: Entry, completions: Sequence[CommittedCompletion]) -> list[Judgement]:
    """A reader of `#### N` and nothing else."""
    verdicts = []
    for item in completions:
        answer = item.text.removeprefix("#### ") if item.text.startswith("#### ") else None
        correct = answer == item.gold
        verdicts.append(Judgement(item.id, answer, "hash" if answer else "none", correct, correct, item.finish))
    return verdicts


def result(candidate: str = "smollm2-135m-it", completions: Sequence[CommittedCompletion] | None = None) -> Result:
    """A full run of a task as long as its completions."""
    completions = answers() if completions is None else completions
    ids = [completion.id for completion in completions]
    # `regrade` looks at the completions only.
    bits = Bits.of(regrade(None, completions))  # type: ignore[arg-type]
    total = len(completions)
    return Result(
        candidate=candidate,
        task=TaskRecord("counting", "counting-0shot@v1", sha("protocol"), sha("items"), "hash@v1"),
        selection=Selection(total=total, scored=total, limit=None, seed=None, ids_sha256=digest(ids)),
        model=ModelRecord(
            name=candidate,
            source="hub:org/model",
            revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            weights_sha256=sha(candidate),
            tokenizer_sha256=sha("tokenizer"),
            template_sha256=sha("template"),
            prompt_style="template",
            bos="template",
            stop_ids=(2, 0),
        ),
        prompts_sha256=sha("prompts"),
        engine=EngineRecord(
            "transformers",
            "transformers 5.17.0",
            {"dtype": "float32", "device": "cpu", "batch": 8, "share": 0.9, "eager": False, "graph": None},
        ),
        sampling=Sampling(max_tokens=512, temperature=0.0, stop=("\nQuestion:",), seed=None),
        training=None,
        bits=bits,
        counts=bits.counts(total),
        completions_sha256=hashlib.sha256(serialise_completions(completions)).hexdigest(),
        provenance=Provenance(
            bench="0.1.0",
            git_commit="0123456789012345678901234567890123456789",
            git_dirty=False,
            command="bench score smollm2-135m-it",
            python="3.11.9",
            libraries={"torch": "2.11.0"},
            device="CPU",
            driver=None,
        ),
    )


def timings() -> Timings:
    """Plausible ones."""
    phases = {"prepare": 0.25, "load": 1.5, "generate": 12.0, "grade": 0.01}
    return Timings(phases=phases, generated_tokens=24, prompt_tokens=900, tokens_per_second=1234.56)


def entry(of: Result | None = None, created: str = "2026-11-22T12:00:00Z") -> Entry:
    """The entry of a result."""
    return Entry.of(result() if of is None else of, created, timings())


def partial(of: Result, limit: int = 12, total: int = 1319) -> Result:
    """The same numbers as those of a random subset of a longer task."""
    selection = Selection(total, of.counts.total, limit, 0, of.selection.ids_sha256)
    return replace(of, selection=selection)


def counted(of: Result, total: int, correct: int) -> Result:
    """A result with bits for another number of items, for pages, which do not read completions."""
    ones = (1 << correct) - 1
    shift = -total % 4
    width = -(-total // 4)
    bits = Bits(*(f"{number << shift:0{width}x}" for number in (ones, ones >> 1, 1 << (total - 1), 0)))
    selection = replace(of.selection, total=total, scored=total, ids_sha256=sha(f"ids {total}"))
    return replace(of, bits=bits, selection=selection, counts=Score(total, correct, correct - 1, 1, 0))


def add(folder: Path, of: Result | None = None, created: str = "2026-11-22T12:00:00Z") -> Path:
    """Write an entry with the default completions."""
    return entries.write_entry(entry(of, created), answers(), folder)


def move(path: Path, new: Path) -> None:
    """Rename an entry together with its completions."""
    beside = entries.completions_path(path)
    if beside.exists():
        shutil.move(beside, entries.completions_path(new))
    shutil.move(path, new)


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a JSON value that is no object and no list."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*at, key))
    else:
        yield at


def altered(value: Any, at: tuple[str | int, ...]) -> Any:
    """A copy in which the leaf has another value, of its own type where it has one."""
    value = copy.deepcopy(value)
    place = value
    for key in at[:-1]:
        place = place[key]
    match place[at[-1]]:
        case bool(old):
            place[at[-1]] = not old
        case str(old):
            place[at[-1]] = old + "0"
        case None:
            place[at[-1]] = 1
        case old:
            place[at[-1]] = old + 1
    return value


LEAVES = list(leaves(to_json_value(entry())))
