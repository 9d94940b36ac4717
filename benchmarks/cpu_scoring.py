"""How fast a small model is scored on a CPU: beside the loop people write, and beside lm-eval's `hf` at its best."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from baseline_bench.results import entries

from benchmarks import _models, bench
from benchmarks.measuring import Arm, Asked, Target, asked, interleave, keep, timed

OURS, LOOP = "bench", "plain loop, float32, batch 8"
SETTINGS = (("float32", 32), ("bfloat16", 16), ("bfloat16", 32), ("bfloat16", 64))
HOW = (
    "{limit} questions of GSM8K's test split (seed 0), one shot, greedy, at most {most} tokens, the same prompts. "
    "`bench baseline --engine transformers` with its defaults; a loop over `generate` in the data set's "
    "order; lm-eval's `hf` model over the prompts as texts with the same stops. Each is a process of its own; tokens a "
    "second are those generated, up to an answer's end, over the seconds of generating. lm-eval's settings had one "
    "round; the fastest ran on in turns with the others."
)
NOTES = (
    "lm-eval's `batch_size=auto` was not tried: it begins with 64 rows of the whole context (8,192 tokens): logits "
    "of 103 GB in float32.",
    "Tried beside what is in: attention of a new token with the queries of one shared head side by side, which copies "
    "no keys: seven times as fast alone, no difference in the whole (49.3 and 50.2 s for 32 questions).",
)


MOST = 512
PEERS, LM_EVAL = "benchmarks._scoring_peers", "benchmarks._lm_eval_hf"
MEASURED = "measured.json"


@dataclass(frozen=True, slots=True)
class Scene:
    """What every arm is given: the weights' folder, how `bench` calls them, where to write, how many questions."""

    folder: Path
    name: str
    place: Path
    limit: int


@dataclass(frozen=True, slots=True)
class Peer:
    """What a peer's process is told: the weights' folder, where prompts and results lie, how to generate."""

    model: str
    place: str
    dtype: str = "float32"
    batch: int = 8


def main(words: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    order = asked(__doc__ or "", 2, words)
    where = _models.places()
    model = _models.shaped(_models.TINY, where) if order.quick else _models.small(where)
    name = str(model.folder) if order.quick else _models.SMALL
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as place:
        scene = Scene(model.folder, name, Path(place), 4 if order.quick else 64)
        prompts = ("write", _told(scene, "float32", 8), where.mirror or "", scene.limit)
        timed(bench.python("-m", PEERS, *prompts), env=bench.environment())
        settings = SETTINGS[-1:] if order.quick else SETTINGS
        tried = interleave([_lm_eval(scene, dtype, batch) for dtype, batch in settings], 1)
        best = max(tried, key=lambda name: tried[name][0]["tokens_per_second"])
        dtype, batch = settings[list(tried).index(best)]
        samples = interleave([_ours(scene), _loop(scene), _lm_eval(scene, dtype, batch)], order.repeats)
    _keep({**samples, **{name: tried[name] for name in tried if name != best}}, best, order, scene)
    return 0


def _ours(scene: Scene) -> Arm:
    """A whole `bench baseline`, on a board and in a run of its own."""
    words = ["baseline", scene.name, "--engine", "transformers", "--limit", scene.limit]
    place = [word for key in ("leaderboards", "runs", "run") for word in (f"--{key}", scene.place / key)]

    def run() -> Mapping[str, float]:
        shutil.rmtree(scene.place / "run", ignore_errors=True)
        sample = timed(bench.command(*words, *place), env=bench.environment())
        timings = entries.read_entry(scene.place / "run" / "entry.json").timings
        told = {"generate_seconds": timings.phases["generate"], "tokens_per_second": timings.tokens_per_second or 0.0}
        return {**sample, "tokens": float(timings.generated_tokens or 0), **told}

    return Arm(OURS, run)


def _peer(name: str, scene: Scene, command: Sequence[str]) -> Arm:
    offline = bench.environment(HF_HUB_OFFLINE=1, HF_DATASETS_OFFLINE=1, HF_HOME=scene.place / "hub")

    def run() -> Mapping[str, float]:
        sample = timed(command, env=offline)
        return {**sample, **json.loads((scene.place / MEASURED).read_bytes())}

    return Arm(name, run)


def _lm_eval(scene: Scene, dtype: str, batch: int) -> Arm:
    command = bench.python("-m", LM_EVAL, _told(scene, dtype, batch))
    return _peer(f"lm-eval hf, {dtype}, batch {batch}", scene, command)


def _loop(scene: Scene) -> Arm:
    return _peer(LOOP, scene, bench.python("-m", PEERS, "loop", _told(scene, "float32", 8)))


def _told(scene: Scene, dtype: str, batch: int) -> str:
    return json.dumps(asdict(Peer(str(scene.folder), str(scene.place), dtype, batch)))


def _keep(samples: Mapping[str, Sequence[Mapping[str, float]]], best: str, order: Asked, scene: Scene) -> None:
    targets = [
        Target("tokens_per_second", OURS, LOOP, at_least=3),
        Target("tokens_per_second", OURS, best, at_least=1.2),
    ]
    how = HOW.format(limit=scene.limit, most=MOST)
    keep("cpu_scoring", samples, targets, title="Scoring on a CPU", how=how, notes=NOTES, results=order.results)


if __name__ == "__main__":
    raise SystemExit(main())
