"""One model from a cold start to its row: `bench baseline` and `lm_eval run --model vllm` as whole processes."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import _lm_eval, _models, _scoring
from benchmarks._models import SMALL, Places
from benchmarks.measuring import Arm, Target, asked, interleave, keep

OURS, EAGER, COMPILED = "bench", "lm-eval, eager", "lm-eval, compiled"
PLAIN = "bench, cuda_graphs=false and in_process=false"
_QUICK = 4

HOW = (
    "smollm2-135m-it-q4_1, all of GSM8K's test questions, one shot, 512 tokens at most, vLLM in bfloat16 with 0.9 of "
    "the memory. Both start from the same dequantised folder and from the data on the disk, as a new process, with "
    "folders of their own for what they write, answers kept. lm-eval 0.4 has the same worked example as a turn of the "
    "conversation, gsm8k's own filters, and the better of its two settings of enforce_eager is what counts: it and "
    "bench's defaults are in every round, the other arms in the first."
)
NOTES = (
    "bench alone measures how likely the worked solutions are (phase solutions), hashes the weights and renders the "
    "board; lm-eval alone indexes its tasks and builds prompts for them.",
    "vLLM was started once before, uncounted: on a machine's first start it fills its caches.",
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("One model, cold start to row, against lm-eval.", 3, words)
    where = _models.places()
    model, limit = _models.small(where), _QUICK if how.quick else None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        arms = [Arm(OURS, partial(ours, where, folder, limit))]
        # A quick run has the first alone: the CPU build compiles with a compiler that a machine may lack.
        peers = PEERS[:1] if how.quick else PEERS
        plain = ("-o", "cuda_graphs=false", "-o", "in_process=false")
        arms += [] if how.quick else [Arm(PLAIN, partial(ours, where, folder, limit, *plain))]
        arms += [
            Arm(name, partial(theirs, model.folder, where, folder, limit, eager=name == EAGER), name == COMPILED)
            for name in peers
        ]
        _scoring.first_start(where, folder, limit)
        samples = rounds(arms, how.repeats)
    targets = [Target("seconds", OURS, better(samples), at_most=1.0)]
    keep(
        "cold_start",
        samples,
        targets,
        title="One model, cold start to row",
        how=HOW,
        notes=NOTES,
        results=how.results,
    )
    return 0


PEERS = (EAGER, COMPILED)


def ours(where: Places, folder: Path, limit: int | None, *more: str) -> Mapping[str, float]:
    """`bench baseline`, its phases beside the whole."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = _scoring.words("baseline", SMALL, "--runs", "runs", *more, where=where, limit=limit)
        found, (entry,) = _scoring.rows(command, Path(place))
    phases = {f"{name}_seconds": seconds for name, seconds in entry.timings.phases.items()}
    counts = entry.result.counts
    return {**found, **phases, "correct_percent": 100 * counts.correct / counts.total}


def theirs(model: Path, where: Places, folder: Path, limit: int | None, *, eager: bool) -> Mapping[str, float]:
    """`lm_eval run`."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _lm_eval.run(model, Path(place), where.mirror, eager=eager, limit=limit)


def rounds(arms: Sequence[Arm], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Every arm once, then `bench` and the setting of lm-eval that was faster, in turns."""
    samples = interleave(arms, 1)
    best = better(samples)
    again = interleave([arm for arm in arms if arm.name in (OURS, best)], repeats - 1)
    return {name: [*taken, *again.get(name, ())] for name, taken in samples.items()}


def better(samples: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The faster of lm-eval's two settings."""
    tried = [name for name in PEERS if name in samples]
    return min(tried, key=lambda name: median(sample["seconds"] for sample in samples[name]))


if __name__ == "__main__":
    raise SystemExit(main())
