"""`bench merge`: what a training made becomes whole weights that an engine loads, an adapter by a proved merge.

The merge runs in a child process, so that its memory is free again; it is done once, and kept beside its record.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core import child_process, findings, records
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding
from baseline_bench.core.types import Model
from baseline_bench.evaluation import reload_reference, runs
from baseline_bench.models import adapter as adapters
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, MergeSummary, TrainingRecord
from baseline_bench.training.train import REQUEST_FILE

RECORD_FILE = "merge-effect.json"
# Above this mean KL (nats a token) or below this agreement the merged model is no longer the one that was trained.
WORST_KL, LEAST_AGREEMENT = 0.02, 0.95
_MERGE_AGAIN = "remove the folder and merge again"


@dataclass(frozen=True, slots=True)
class CandidateWeights:
    """Whole weights that came out of a training, ready to be scored.

    Attributes:
        findings: what the checks of an adapter noticed before it was merged; the user accepts refusals among them.
    """

    model: Model
    training: TrainingRecord
    findings: tuple[Finding, ...] = ()


def make_whole_weights(
    folder: Path, step: int | None, cache: Path, console: Console, accept: Sequence[str] = ()
) -> CandidateWeights:
    """The weights of a finished training as an engine takes them, merged now where that was not done before.

    Args:
        folder: of the training.
        step: after which step the weights were kept; None takes the last.
        cache: where the base is found.
        console: where to talk.
        accept: codes of findings that would refuse the adapter, and do not.

    Raises:
        BenchError: no candidate, no such step, weights that are not the candidate's, an adapter that a finding refuses,
            or a merge that fails its proofs.
    """
    made = candidate.read_candidate(folder)
    kept = made.weights if step is None else made.checkpoints.get(str(step))
    if kept is None:
        raise BenchError(f"{folder} kept no weights of step {step}", f"steps: {', '.join(made.checkpoints) or 'none'}")
    place, merge = folder / kept, None
    found: list[Finding] = []
    if made.kind == "adapter":
        place, whose = folder / ("merged" if step is None else f"merged-{step:06}"), find_base(made, folder, cache)
        found = diagnose.check_adapter(folder / kept, whose)
        findings.raise_refusals(str(folder), found, accept)
        merge = _merge_candidate(made, folder / kept, place, whose, console)
    digest = weights.digest_weights(place) if merge is None else merge.merged_sha256
    if merge is None and step is None and digest != made.weights_sha256:
        raise BenchError(
            f"{place} holds other weights than {candidate.CANDIDATE_FILE} says", "train again with --again"
        )
    name = candidate.build_candidate_name(made.base.name, made.recipe, made.seed, step)
    source = f"trained:{made.recipe}@{made.recipe_sha256[:12]}"
    return CandidateWeights(
        Model(name, source, None, place, made.base.bos, digest), TrainingRecord(made, step, merge), tuple(found)
    )


def merge_adapter(folder: Path, base: Model, place: Path, console: Console) -> CandidateWeights:
    """An adapter from anywhere, merged into the base that the user names."""
    asked = {"dtype": "bfloat16", "quantised": None, "double_quantization": False, "expected": base.weights_sha256}
    merge = _run_merge(folder, base, place, asked, console)
    name = f"{base.name}+{folder.resolve().name}@{merge.adapter_sha256[:8]}"
    return CandidateWeights(
        Model(name, "adapter", None, place, base.bos, merge.merged_sha256), TrainingRecord(None, None, merge)
    )


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter as PEFT writes it."""
    return (folder / weights.ADAPTER_CONFIG).is_file()


def read_base_name(folder: Path) -> str:
    """The base that an adapter's own configuration names, a hub's with the revision that it names.

    Raises:
        BenchError: it names none.
    """
    config = runs.read_json(folder / weights.ADAPTER_CONFIG)
    named, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not named:
        raise BenchError(f"{folder} does not name its base", "give --base MODEL")
    is_place = str(named).startswith((".", "/", "~")) or Path(str(named)).is_dir()
    return f"{named}@{revision}" if revision and "/" in str(named) and not is_place else str(named)


def find_base(made: Candidate, folder: Path, cache: Path) -> Model:
    """The base of a candidate again, with the weights that it was trained from.

    Raises:
        BenchError: what goes by that name now holds other weights.
    """
    named = str(runs.read_json(folder / REQUEST_FILE).get("base", made.base.name))
    with runs.explaining_write_errors(cache):
        found = registry.resolve_model(named, cache)
    if found.weights_sha256 != made.base.weights_sha256:
        raise BenchError(
            f"{named} holds other weights than the adapter was trained on", "restore the base, or train again"
        )
    return found


def _merge_candidate(made: Candidate, adapter_folder: Path, place: Path, base: Model, console: Console) -> MergeSummary:
    asked = {
        "dtype": made.values.get("output_dtype") or "bfloat16",
        "quantised": made.quantised,
        "double_quantization": bool(made.values.get("double_quantization", False)),
        "expected": made.base.weights_sha256,
    }
    return _run_merge(adapter_folder, base, place, asked, console)


def _run_merge(
    adapter_folder: Path, base: Model, place: Path, asked: Mapping[str, Any], console: Console
) -> MergeSummary:
    if not (place / RECORD_FILE).is_file():
        console.say(f"merging {adapter_folder} into {base.name}")
        from baseline_bench.models import tokenizer  # loads transformers

        speech = tokenizer.load_tokenizer(base)
        with runs.explaining_write_errors(place.parent):
            child_process.call_in_child(
                "baseline_bench.training.merging:merge_in_child",
                {
                    **asked,
                    "base": str(base.folder),
                    "adapter": str(adapter_folder),
                    "place": str(place),
                    "sequences": reload_reference.build_probe_sequences(speech),
                },
            )
    path = place / RECORD_FILE
    merge = records.decode_record(
        MergeSummary, records.parse_json(path.read_bytes(), str(path), _MERGE_AGAIN), str(path), _MERGE_AGAIN
    )
    _require_unchanged(merge, adapter_folder, base, place)
    if warning := describe_merge_loss(merge):
        console.warn(warning)
    return merge


def _require_unchanged(merge: MergeSummary, folder: Path, base: Model, place: Path) -> None:
    """What was merged once is taken again only where adapter, base and merged weights are still those."""
    found = {
        "the base": (merge.base_sha256, base.weights_sha256),
        "the adapter": (merge.adapter_sha256, adapters.read_adapter(folder).sha256),
        "the merged weights": (merge.merged_sha256, weights.digest_weights(place)),
    }
    if changed := [what for what, (then, now) in found.items() if then != now]:
        raise BenchError(f"{place} was merged before, and since then {', '.join(changed)} changed", _MERGE_AGAIN)


def describe_merge_loss(merge: MergeSummary) -> str | None:
    """What a merge took from what was trained, where that is more than rounding usually takes."""
    if merge.mean_kl <= WORST_KL and merge.greedy_agreement >= LEAST_AGREEMENT:
        return None
    return (
        f"merging to {merge.dtype} changed the model: KL {merge.mean_kl:.4f} nats a token, the same token likeliest at "
        f"{merge.greedy_agreement:.1%} of {merge.positions} positions; "
        "--set output_dtype=float32 with -o dtype=float32 loses nothing"
    )


def merge_in_child(asked: Mapping[str, Any], _screen: Console, _rank: int) -> None:
    """The child process: fold, prove, look at the effect, and write the record last."""
    from baseline_bench.models import fidelity, merge

    base, folder, place = (Path(asked[key]) for key in ("base", "adapter", "place"))
    options = merge.MergeOptions(
        dtype=asked["dtype"],
        quantised=asked["quantised"],
        double_quantization=asked["double_quantization"],
        expected_base_sha256=asked["expected"],
    )
    if (place / merge.RECORD_FILE).is_file():  # of a merge that was killed before its effect was known
        shutil.rmtree(place)
    record = merge.merge_adapter(base, folder, place, options)
    looked = fidelity.FidelityOptions(
        dtype=asked["dtype"], quantised=asked["quantised"], double_quantization=asked["double_quantization"]
    )
    effect = fidelity.measure_fidelity(base, folder, place, asked["sequences"], looked)
    made = MergeSummary(
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
    records.write_atomically(place / RECORD_FILE, records.encode_indented(asdict(made)))
