"""Measure the time to a verdict by phases: a scored base, and a candidate trained and scored; and lm-eval's."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from baseline_bench.core import trace

from benchmarks import _lm_eval, _models, _scoring, bench
from benchmarks._models import SMALL, Places
from benchmarks.measuring import Arm, Target, asked, interleave, keep, timed

BASELINE, VERDICT, THEIRS = "bench baseline", "bench train-and-score, LoRA", "lm-eval, eager"
_QUICK = 4
# What the rows of the table sum up; a phase that none of them names is in "rest".
GROUPS: Mapping[str, tuple[str, ...]] = {
    "imports": ("import", "start Python", "start process"),
    "preparation": ("find model", "load tokenizer", "check model", "tokenise", "read", "look for leaks", "digest"),
    "training": ("train", "load weights", "fuse kernels", "warm up", "record", "check recorded", "save weights"),
    "merge": ("merge", "check merge", "measure merge", "reference", "measure_in_child"),
    "engine": ("start engine", "reload", "probe", "end engine"),
    "answers": ("generate",),
    "solutions": ("measure solutions",),
}
HOW = (
    "smollm2-135m-it-q4_1, all of GSM8K's test questions, one shot, 512 tokens at most, vLLM in bfloat16. Whole "
    "processes from start to end; vLLM was started once before, uncounted. train-and-score trains lora-main on all "
    "7,473 examples, merges it, and scores base and candidate through one engine. The phases are those of `--trace`, "
    "summed by kind: while a command waits for a child process, the child's phase counts."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("Time to a verdict.", 3, words)
    where, limit = _models.places(), _QUICK if how.quick else None
    model = _models.small(where)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        training = ("train-and-score", "lora-main", "--base", SMALL, *(("--set", "max_steps=2") if how.quick else ()))
        arms = [
            Arm(BASELINE, partial(traced, where, folder, limit, "baseline", SMALL)),
            Arm(VERDICT, partial(traced, where, folder, limit, *training)),
            Arm(THEIRS, partial(theirs, model.folder, where, folder, limit)),
        ]
        _scoring.first_start(where, folder, limit)
        samples = interleave(arms, how.repeats)
    targets = [
        Target("seconds", BASELINE, None, at_most=42),
        Target("seconds", BASELINE, THEIRS, at_most=0.7),
        Target("seconds", VERDICT, None, at_most=95),
    ]
    keep("verdict", samples, targets, title="Time to a verdict", how=HOW, results=how.results)
    return 0


def traced(where: Places, folder: Path, limit: int | None, *command: str) -> Mapping[str, float]:
    """Run a command of bench with --trace; return the seconds of the whole and of its phases by kind."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place) / "trace.json"
        words = _scoring.words(*command, "--runs", "runs", "--trace", str(file), where=where, limit=limit)
        found = timed(words, env=bench.environment(), cwd=Path(place))
        return {**found, **group_phases(file)}


def theirs(model: Path, where: Places, folder: Path, limit: int | None) -> Mapping[str, float]:
    """Run lm-eval on the same questions."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _lm_eval.run(model, Path(place), where.mirror, eager=True, limit=limit)


def group_phases(file: Path) -> dict[str, float]:
    """Sum the seconds of a trace's phases by kind."""
    events = trace.read_events(file)
    start, end = min(event["ts"] for event in events), max(event["ts"] + event["dur"] for event in events)
    main_pid = next(event["pid"] for event in events if event["ts"] == start)
    sums = dict.fromkeys([*GROUPS, "rest"], 0.0)
    for name, length in trace.sum_phases(events, main_pid, start, end).items():
        group = next((group for group, begins in GROUPS.items() if name.startswith(begins)), "rest")
        sums[group] += length / 1e6
    return {f"{name}_seconds": seconds for name, seconds in sums.items()}


if __name__ == "__main__":
    raise SystemExit(main())
