"""A base and four merged candidates to five rows: one warm engine, against five runs of lm-eval and five cold ones."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import _lm_eval, _models, _scoring, bench
from benchmarks._models import SMALL, Places
from benchmarks.measuring import Arm, Target, asked, interleave, keep, timed

WARM, THEIRS, COLD = "bench, one warm engine", "lm-eval, five runs", "bench, five cold starts"
ROWS = 5
# Apart enough for the proof of a reload to tell every one from every other.
_CANDIDATES = (("lora-main", "1e-3"), ("lora-main", "3e-3"), ("lora-socratic", "1e-3"), ("lora-socratic", "3e-3"))
_STEPS = ("max_steps=40",)
_QUICK, _QUICK_STEPS = 2, ("max_steps=2", "batch=2", "optimizer=adamw")

HOW = (
    "smollm2-135m-it-q4_1 and four LoRAs of 40 steps (main and socratic solutions, rates 1e-3 and 3e-3), trained and "
    "merged beforehand and not counted. One command scores base and candidates through one engine, every reload "
    "proved, rows and board written. lm-eval scores the base and one candidate in two eager runs, bench the same two "
    "in two cold starts; five runs are taken to last two and a half times as long as these two. vLLM was started once "
    "before, uncounted, so that its caches are full."
)


@dataclass(frozen=True, slots=True)
class Study:
    """What is scored.

    Attributes:
        base: the folder of its weights.
        trained: the folders of the trainings, each with its merged weights.
        place: for what is written meanwhile.
        limit: questions; None is all.
    """

    base: Path
    trained: tuple[Path, ...]
    where: Places
    place: Path
    limit: int | None


def main(words: Sequence[str] | None = None) -> int:
    """Make the candidates, measure and keep."""
    how = asked("A base and four candidates to five rows.", 1, words)
    where = _models.places()
    base = _models.small(where).folder
    with tempfile.TemporaryDirectory() as place:
        kept, limit = Path(place) if how.quick else where.cache, _QUICK if how.quick else None
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(_scoring.first_start, where, Path(place), limit)
            if how.quick:  # on a CPU there is no room for both at once
                started.result()
            trained = made(kept / "studies", where, quick=how.quick)
            started.result()
        study = Study(base, trained, where, Path(place), limit)
        arms = [Arm(WARM, partial(warm, study)), Arm(THEIRS, partial(lm_eval, study)), Arm(COLD, partial(cold, study))]
        samples = interleave(arms, how.repeats)
    targets = [Target("seconds", WARM, THEIRS, at_most=0.4), Target("seconds", WARM, COLD, at_most=1.0)]
    keep("study", samples, targets, title="A study of five models to its rows", how=HOW, results=how.results)
    return 0


def made(folder: Path, where: Places, *, quick: bool = False) -> tuple[Path, ...]:
    """Train the candidates beside one another, then merge them, but for those kept here: the trainings' folders."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(enumerate(_CANDIDATES[:1] if quick else _CANDIDATES))
    steps = _QUICK_STEPS if quick else _STEPS
    with ThreadPoolExecutor(1 if quick else len(wanted)) as pool:
        return tuple(pool.map(lambda each: _candidate(folder / str(each[0]), each[1], where, steps), wanted))


def _candidate(folder: Path, how: tuple[str, str], where: Places, steps: Sequence[str]) -> Path:
    recipe, rate = how
    folder.mkdir(exist_ok=True)
    if merged := [path.parent.parent for path in folder.glob("*/merged*/config.json")]:
        return merged[0]
    cache = ["--cache", str(where.cache.resolve())]
    mirror = [] if where.mirror is None else ["--datasets", str(where.mirror.resolve())]
    sets = [word for pair in (f"lr={rate}", *steps) for word in ("--set", pair)]
    train = ["train", recipe, "--base", SMALL, *sets, "--runs", str(folder), *cache, *mirror]
    timed(bench.command(*train), env=bench.environment(), cwd=folder)
    (run,) = (path.parent for path in folder.glob("*/candidate.json"))
    timed(bench.command("merge", run, *cache, *mirror), env=bench.environment(), cwd=folder)
    return run


def warm(study: Study) -> Mapping[str, float]:
    """All rows by one command; how many came by a reload, and how many by a start."""
    told = ["score", "--with-base", *map(str, study.trained)]
    with tempfile.TemporaryDirectory(dir=study.place) as place:
        found, entries = _scoring.rows(_scoring.words(*told, where=study.where, limit=study.limit), Path(place))
    held = [str(entry.result.engine.settings.get("weights", "loaded")) for entry in entries]
    phases = [entry.timings.phases for entry in entries]
    names = sorted({name for told in phases for name in told})
    spent = {f"{name}_seconds": sum(told.get(name, 0.0) for told in phases) for name in names}
    return {**found, **spent, "rows": len(entries), "reloaded": held.count("reloaded")}


def cold(study: Study) -> Mapping[str, float]:
    """Base and one candidate, each by a command of its own."""
    told = (["baseline", SMALL, "--runs", "runs"], ["score", str(study.trained[0])])
    spent = []
    for words in told:
        with tempfile.TemporaryDirectory(dir=study.place) as place:
            command = _scoring.words(*words, where=study.where, limit=study.limit)
            spent.append(_scoring.rows(command, Path(place))[0])
    return _five(spent)


def lm_eval(study: Study) -> Mapping[str, float]:
    """The same two by lm-eval."""
    (merged,) = (path.parent for path in study.trained[0].glob("merged*/config.json"))
    spent = []
    for folder in (study.base, merged):
        with tempfile.TemporaryDirectory(dir=study.place) as place:
            spent.append(_lm_eval.run(folder, Path(place), study.where.mirror, eager=True, limit=study.limit))
    return _five(spent)


def _five(spent: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """What five runs take, from those that were made."""
    seconds = [each["seconds"] for each in spent]
    peak = max(each["peak_gib"] for each in spent)
    return {
        "seconds": ROWS * sum(seconds) / len(seconds),
        "seconds_a_run": sum(seconds) / len(seconds),
        "peak_gib": peak,
    }


if __name__ == "__main__":
    raise SystemExit(main())
