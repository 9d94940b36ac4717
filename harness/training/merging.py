"""`bench merge`: what a training made becomes whole weights that an engine loads, an adapter by a proved merge.

The merge runs in a child process, so that its memory is free again; it is done once, and kept beside its record.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core import child_process, findings, records
from baseline_bench.core.display import Screen
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding
from baseline_bench.core.types import Model
from baseline_bench.evaluation import reload_reference, runs
from baseline_bench.models import adapter as adapters
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, Merge, Training
from baseline_bench.training.train import ASKED

RECORD = "merge-effect.json"
# Above this mean KL (nats a token) or below this agreement the merged model is no longer the one that was trained.
WORST_KL, LEAST_AGREEMENT = 0.02, 0.95
_ANEW = "remove the folder and merge again"


@dataclass(frozen=True, slots=True)
class Made:
    """Whole weights that came out of a training, ready to be scored.

    Attributes:
        findings: what the checks of an adapter noticed before it was merged; the user accepts refusals among them.
    """

    model: Model
    training: Training
    findings: tuple[Finding, ...] = ()


def whole(folder: Path, step: int | None, cache: Path, screen: Screen, accept: Sequence[str] = ()) -> Made:
    """The weights of a finished training as an engine takes them, merged now where that was not done before.

    Args:
        folder: of the training.
        step: after which step the weights were kept; None takes the last.
        cache: where the base is found.
        screen: where to talk.
        accept: codes of findings that would refuse the adapter, and do not.

    Raises:
        BenchError: no candidate, no such step, weights that are not the candidate's, an adapter that a finding refuses,
            or a merge that fails its proofs.
    """
    made = candidate.read(folder)
    kept = made.weights if step is None else made.checkpoints.get(str(step))
    if kept is None:
        raise BenchError(f"{folder} kept no weights of step {step}", f"steps: {', '.join(made.checkpoints) or 'none'}")
    place, merge = folder / kept, None
    found: list[Finding] = []
    if made.kind == "adapter":
        place, whose = folder / ("merged" if step is None else f"merged-{step:06}"), base(made, folder, cache)
        found = diagnose.lora(folder / kept, whose)
        findings.refuse(str(folder), found, accept)
        merge = _merged(made, folder / kept, place, whose, screen)
    digest = weights.sha256(place) if merge is None else merge.merged_sha256
    if merge is None and step is None and digest != made.weights_sha256:
        raise BenchError(f"{place} holds other weights than {candidate.FILE} says", "train again with --again")
    name = candidate.name(made.base.name, made.recipe, made.seed, step)
    source = f"trained:{made.recipe}@{made.recipe_sha256[:12]}"
    return Made(Model(name, source, None, place, made.base.bos, digest), Training(made, step, merge), tuple(found))


def adapter(folder: Path, base: Model, place: Path, screen: Screen) -> Made:
    """An adapter from anywhere, merged into the base that the user names."""
    asked = {"dtype": "bfloat16", "quantised": None, "double_quantization": False, "expected": base.weights_sha256}
    merge = _run(folder, base, place, asked, screen)
    name = f"{base.name}+{folder.resolve().name}@{merge.adapter_sha256[:8]}"
    return Made(Model(name, "adapter", None, place, base.bos, merge.merged_sha256), Training(None, None, merge))


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter as PEFT writes it."""
    return (folder / weights.ADAPTER).is_file()


def base_of(folder: Path) -> str:
    """The base that an adapter's own configuration names, a hub's with the revision that it names.

    Raises:
        BenchError: it names none.
    """
    config = runs.read_json(folder / weights.ADAPTER)
    named, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not named:
        raise BenchError(f"{folder} does not name its base", "give --base MODEL")
    is_place = str(named).startswith((".", "/", "~")) or Path(str(named)).is_dir()
    return f"{named}@{revision}" if revision and "/" in str(named) and not is_place else str(named)


def base(made: Candidate, folder: Path, cache: Path) -> Model:
    """The base of a candidate again, with the weights that it was trained from.

    Raises:
        BenchError: what goes by that name now holds other weights.
    """
    named = str(runs.read_json(folder / ASKED).get("base", made.base.name))
    with runs.writing(cache):
        found = registry.resolve(named, cache)
    if found.weights_sha256 != made.base.weights_sha256:
        raise BenchError(
            f"{named} holds other weights than the adapter was trained on", "restore the base, or train again"
        )
    return found


def _merged(made: Candidate, adapter_folder: Path, place: Path, base: Model, screen: Screen) -> Merge:
    asked = {
        "dtype": made.values.get("output_dtype") or "bfloat16",
        "quantised": made.quantised,
        "double_quantization": bool(made.values.get("double_quantization", False)),
        "expected": made.base.weights_sha256,
    }
    return _run(adapter_folder, base, place, asked, screen)


def _run(adapter_folder: Path, base: Model, place: Path, asked: Mapping[str, Any], screen: Screen) -> Merge:
    if not (place / RECORD).is_file():
        screen.say(f"merging {adapter_folder} into {base.name}")
        from baseline_bench.models import tokenizer  # loads transformers

        speech = tokenizer.load(base)
        with runs.writing(place.parent):
            child_process.run(
                "baseline_bench.training.merging:work",
                {
                    **asked,
                    "base": str(base.folder),
                    "adapter": str(adapter_folder),
                    "place": str(place),
                    "sequences": reload_reference.sequences(speech),
                },
            )
    path = place / RECORD
    merge = records.decode(Merge, records.parse(path.read_bytes(), str(path), _ANEW), str(path), _ANEW)
    _require_own(merge, adapter_folder, base, place)
    if warning := lost(merge):
        screen.warn(warning)
    return merge


def _require_own(merge: Merge, folder: Path, base: Model, place: Path) -> None:
    """What was merged once is taken again only where adapter, base and merged weights are still those."""
    found = {
        "the base": (merge.base_sha256, base.weights_sha256),
        "the adapter": (merge.adapter_sha256, adapters.read(folder).sha256),
        "the merged weights": (merge.merged_sha256, weights.sha256(place)),
    }
    if changed := [what for what, (then, now) in found.items() if then != now]:
        raise BenchError(f"{place} was merged before, and since then {', '.join(changed)} changed", _ANEW)


def lost(merge: Merge) -> str | None:
    """What a merge took from what was trained, where that is more than rounding usually takes."""
    if merge.mean_kl <= WORST_KL and merge.greedy_agreement >= LEAST_AGREEMENT:
        return None
    return (
        f"merging to {merge.dtype} changed the model: KL {merge.mean_kl:.4f} nats a token, the same token likeliest at "
        f"{merge.greedy_agreement:.1%} of {merge.positions} positions; "
        "--set output_dtype=float32 with -o dtype=float32 loses nothing"
    )


def work(asked: Mapping[str, Any], _screen: Screen, _rank: int) -> None:
    """The child process: fold, prove, look at the effect, and write the record last."""
    from baseline_bench.models import fidelity, merge

    base, folder, place = (Path(asked[key]) for key in ("base", "adapter", "place"))
    options = merge.MergeOptions(
        dtype=asked["dtype"],
        quantised=asked["quantised"],
        double_quantization=asked["double_quantization"],
        expected_base_sha256=asked["expected"],
    )
    if (place / merge.RECORD).is_file():  # of a merge that was killed before its effect was known
        shutil.rmtree(place)
    record = merge.fold(base, folder, place, options)
    looked = fidelity.FidelityOptions(
        dtype=asked["dtype"], quantised=asked["quantised"], double_quantization=asked["double_quantization"]
    )
    effect = fidelity.effect(base, folder, place, asked["sequences"], looked)
    made = Merge(
        dtype=record.dtype,
        base_sha256=record.base_sha256,
        adapter_sha256=record.adapter_sha256,
        merged_sha256=record.merged_sha256,
        targets=record.tensors,
        others=record.others,
        rel_err=round(record.rel_err, 6),
        quantised=record.quantised,
        mean_kl=round(effect.mean_kl, 6),
        greedy_agreement=round(effect.greedy_agreement, 6),
        positions=effect.positions,
    )
    records.replace_file(place / RECORD, records.pretty(asdict(made)))
