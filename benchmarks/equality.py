"""Whether recording vLLM's steps, and sparing its process, changes what it writes: token ids one question at a time."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from baseline_bench.core import child_process, plugins
from baseline_bench.core.display import Console
from baseline_bench.core.types import Model

from benchmarks import _models, generation
from benchmarks.measuring import Arm, Target, asked, interleave, keep

EAGER = "eager"
KINDS = generation.KINDS
_COUNT, _QUICK_COUNT = 32, 2
# A quick run shows that the arms run and are compared; a CPU has no graphs.
_QUICK = (EAGER, "eager, in process")
_IN_PROCESS = {"cuda_graphs": False, "in_process": True}
# Nats: a few times what rounding to bfloat16 makes of a log-probability (the noise that a load's proof finds).
BOUND = 0.05

HOW = (
    "smollm2-135m-it-q4_1 in bfloat16, GSM8K's first {count} test questions asked one at a time, so that no batch "
    "forms by timing; each engine in a process of its own. `equal_to_eager` is the share of answers that are the eager "
    "engine's in every token. `drift_nats` is the mean absolute difference of the log-probabilities of 96 drawn tokens "
    "between the steps that wrote them and a pass that reads them; the eager engine's own is what rounding alone makes."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("What recorded steps write, against eager ones.", 1, words)
    where = _models.places()
    count = _QUICK_COUNT if how.quick else _COUNT
    order = {
        "folder": str(_models.small(where).folder),
        "mirror": str(where.mirror) if where.mirror else None,
        "count": count,
        "small": how.quick,
    }
    answers: dict[str, list[list[int]]] = {}
    kinds: Mapping[str, Mapping[str, bool]] = {**KINDS, "eager, in process": _IN_PROCESS}
    names = _QUICK if how.quick else tuple(kinds)
    arms = [
        Arm(name, partial(once, {**order, "options": kinds[name]}, name, answers), may_fail=name == "compiled")
        for name in names
    ]
    samples = interleave(arms, how.repeats)
    targets = [Target("drift_nats", name, None, at_most=BOUND) for name in samples]
    title = "What recorded steps write"
    keep("equality", samples, targets, title=title, how=HOW.format(count=count), results=how.results)
    return 0


def once(order: Mapping[str, Any], name: str, answers: dict[str, list[list[int]]]) -> Mapping[str, float]:
    """One engine in a child process, held to what the eager one wrote in the same round."""
    result = child_process.call_in_child("benchmarks.equality:work", order)
    answers[name] = result["answers"]
    pairs = zip(answers[name], answers[EAGER], strict=True)
    return {
        "equal_to_eager": sum(one == other for one, other in pairs) / len(result["answers"]),
        "drift_nats": result["drift"],
    }


def work(order: Mapping[str, Any], _screen: Console, _rank: int) -> dict[str, Any]:
    """The child: every answer by itself, then the drift of its steps."""
    model = Model("measured", "folder", None, Path(order["folder"]), None, None)
    where = _models.Places(Path(), None if order["mirror"] is None else Path(order["mirror"]))
    prepared, model_tokenizer = generation.examination(model, where, quick=order["small"])
    engine = plugins.load_engine("vllm")
    small = {"kv_gib": 1, "context": 2048} if order["small"] else {}
    loaded: Any = engine.load(model, engine.Options(**order["options"], **small))
    try:
        answers = []
        for request in prepared.requests[: order["count"]]:
            ((_, completion),) = loaded.complete(
                [request], prepared.task.SAMPLING, model_tokenizer.prompt_format.stop_ids
            )
            answers.append(list(completion.token_ids))
        return {"answers": answers, "drift": loaded.drift()}
    finally:
        loaded.close()


if __name__ == "__main__":
    raise SystemExit(main())
