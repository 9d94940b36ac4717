"""`bench merge`: turn a training's result into whole weights for an engine; merge an adapter and check the merge.

The merge runs in a child process, which frees its memory; it runs once and is stored together with its record.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import child_process, findings, records, trace
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.types import Model, ModelIdentity
from baseline_bench.evaluation import reload_reference, runs
from baseline_bench.models import adapter as adapters
from baseline_bench.models import diagnose, manifest, registry, weights
from baseline_bench.models.adapter import MergeOptions
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, MergeSummary, ModelKey, TrainingRecord
from baseline_bench.training.train import REQUEST_FILE

MERGE_FUNCTION = "baseline_bench.training.merging:merge_in_child"
RECORD_FILE = "merge-effect.json"
# Above this mean KL (nats per token) or below this agreement the merged model is no longer the trained one.
WORST_KL, LEAST_AGREEMENT = 0.02, 0.95
_MERGE_AGAIN = "remove the folder and merge again"

# The base's folder and identity, the folders of the adapter and of the merged weights, token ids to compare predictions
# on, and the merge's options.
MergeRequest = tuple[Path, ModelIdentity, Path, Path, Sequence[Sequence[int]], MergeOptions]


@dataclass(frozen=True, slots=True)
class CandidateWeights:
    """Whole weights of a training, ready to be scored.

    Attributes:
        findings: findings of an adapter's checks before the merge; the user accepted the refusals among them.
    """

    model: Model
    training: TrainingRecord
    findings: tuple[Finding, ...] = ()


def make_whole_weights(
    folder: Path, step: int | None, cache: Path, console: Console, accept: Sequence[str] = ()
) -> CandidateWeights:
    """Return the weights of a finished training as an engine loads them, merging them if that is not done yet.

    Args:
        step: the step after which the weights were kept; None takes the last.
        accept: codes of refusals that the user accepts.

    Raises:
        BenchError: no candidate, no such step, weights that are not the candidate's, an adapter that a finding refuses,
            or a merge that fails its checks.
    """
    record = candidate.read_candidate(folder)
    weights_name = record.weights if step is None else record.checkpoints.get(str(step))
    if weights_name is None:
        steps = ", ".join(record.checkpoints) or "none"
        raise BenchError(f"{folder} kept no weights of step {step}", f"steps: {steps}")
    weights_folder, merge = folder / weights_name, None
    adapter_findings: list[Finding] = []
    if record.kind == "adapter":
        weights_folder = folder / ("merged" if step is None else f"merged-{step:06}")
        base = find_base(record, folder, cache)
        adapter_findings = diagnose.check_adapter(folder / weights_name, base)
        findings.raise_refusals(str(folder), adapter_findings, accept)
        merge = _merge_candidate(record, folder / weights_name, weights_folder, base, console)
    digest = weights.digest_weights(weights_folder) if merge is None else merge.merged_sha256
    if merge is None and step is None and digest != record.weights_sha256:
        what = f"{weights_folder} holds other weights than {candidate.CANDIDATE_FILE} says"
        raise BenchError(what, "train again with --again")
    name = candidate.build_candidate_name(record.base.name, record.recipe, record.seed, step)
    source = f"trained:{record.recipe}@{record.recipe_sha256[:12]}"
    model = Model(name, source, None, weights_folder, record.base.bos, digest)
    return CandidateWeights(model, TrainingRecord(record, step, merge), tuple(adapter_findings))


def merge_adapter(folder: Path, base: Model, merged_folder: Path, console: Console) -> CandidateWeights:
    """Merge an adapter from anywhere into the base that the user names."""
    merge = _run_merge(folder, base, merged_folder, MergeOptions(expected_base_sha256=base.weights_sha256), console)
    name = f"{base.name}+{folder.resolve().name}@{merge.adapter_sha256[:8]}"
    return CandidateWeights(
        Model(name, "adapter", None, merged_folder, base.bos, merge.merged_sha256), TrainingRecord(None, None, merge)
    )


def read_base_name(folder: Path) -> str:
    """Return the base that an adapter names, with its revision on the hub; BenchError if it names none."""
    config = runs.read_json(folder / weights.ADAPTER_CONFIG)
    name, revision = str(config.get("base_model_name_or_path") or ""), config.get("revision")
    if not name:
        raise BenchError(f"{folder} does not name its base", "give --base MODEL")
    return f"{name}@{revision}" if revision and "/" in name and not registry.is_folder_name(name) else name


def find_base(record: Candidate, folder: Path, cache: Path) -> Model:
    """Find a candidate's base; BenchError if the model of that name has other weights than it was trained from."""
    name = str(runs.read_json(folder / REQUEST_FILE).get("base", record.base.name))
    with trace.span("find model"), runs.explaining_write_errors(cache):
        base = registry.resolve_model(name, cache)
    known = record.base.key
    if not known.matches(ModelKey(base.weights_sha256, None if known.identity is None else _describe_base(base))):
        what = f"{name} holds other weights, another config.json or another tokenizer than the adapter was trained on"
        raise BenchError(what, "restore the base, or train again")
    return base


def _describe_base(base: Model) -> ModelIdentity:
    from baseline_bench.models import identity, tokenizer  # both load transformers

    return identity.describe_base(base, tokenizer.load_tokenizer(base))


def _merge_candidate(
    record: Candidate, adapter_folder: Path, merged_folder: Path, base: Model, console: Console
) -> MergeSummary:
    options = MergeOptions(
        dtype=str(record.values.get("output_dtype") or "bfloat16"),
        quantised=record.quantised,
        double_quantization=bool(record.values.get("double_quantization", False)),
        expected_base_sha256=record.base.weights_sha256,
    )
    return _run_merge(adapter_folder, base, merged_folder, options, console)


def _run_merge(
    adapter_folder: Path, base: Model, merged_folder: Path, options: MergeOptions, console: Console
) -> MergeSummary:
    if not _is_merged(merged_folder):
        console.say(f"merging {adapter_folder} into {base.name}")
        from baseline_bench.models import identity, tokenizer  # both load transformers

        model_tokenizer = tokenizer.load_tokenizer(base)
        probes = reload_reference.build_probe_sequences(base, model_tokenizer)
        base_identity = identity.describe_base(base, model_tokenizer)
        request = base.folder, base_identity, adapter_folder, merged_folder, probes, options
        with runs.explaining_write_errors(merged_folder.parent):
            child_process.call_in_child(MERGE_FUNCTION, request)
    merge = records.read_record(MergeSummary, merged_folder / RECORD_FILE, _MERGE_AGAIN)
    _require_unchanged(merge, adapter_folder, base, merged_folder)
    if warning := describe_merge_loss(merge):
        console.warn(warning)
    return merge


def _is_merged(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (RECORD_FILE, manifest.MANIFEST_FILE))  # written last


def _require_unchanged(merge: MergeSummary, folder: Path, base: Model, merged_folder: Path) -> None:
    """Check that adapter, base and the merged folder's files are still those of the earlier merge."""
    from baseline_bench.models import identity  # loads transformers

    digests = {
        "the base": (merge.base_sha256, base.weights_sha256),
        "the base's config.json": (identity.digest_config(merged_folder), identity.digest_config(base.folder)),
        "the adapter": (merge.adapter_sha256, adapters.read_adapter(folder).sha256),
        "the merged weights": (merge.merged_sha256, weights.digest_weights(merged_folder)),
    }
    changed = [what for what, (recorded, current) in digests.items() if recorded != current]
    change = f"{', '.join(changed)} changed" if changed else manifest.describe_change(merged_folder)
    if change is not None:
        raise BenchError(f"{merged_folder} was merged before, and since then {change}", _MERGE_AGAIN)


def describe_merge_loss(merge: MergeSummary) -> str | None:
    """Describe what a merge lost of the trained change, if it is more than usual rounding loses."""
    if merge.mean_kl <= WORST_KL and merge.greedy_agreement >= LEAST_AGREEMENT:
        return None
    return (
        f"merging to {merge.dtype} changed the model: KL {merge.mean_kl:.4f} nats a token, the same token likeliest at "
        f"{merge.greedy_agreement:.1%} of {merge.positions} positions; "
        "--set output_dtype=float32 with -o dtype=float32 loses nothing"
    )


def begin() -> None:
    """Import what a merge and its check take."""
    from baseline_bench.models import fidelity, merge  # noqa: F401


def merge_in_child(request: MergeRequest, _screen: Console, _rank: int) -> None:
    """Run in the child process: merge, unless another process did so while this one waited for it."""
    from baseline_bench.models import merge  # loads torch

    merged_folder = request[3]
    merged_folder.parent.mkdir(parents=True, exist_ok=True)
    with FolderLock(merged_folder.parent, wait=True, name=f".{merged_folder.name}.lock"):
        merge.sweep_drafts(merged_folder)
        if not _is_merged(merged_folder):
            _merge_and_measure(request)


def _merge_and_measure(request: MergeRequest) -> None:
    """Merge, check, measure the effect; write the record, then the manifest of all files."""
    from baseline_bench.models import fidelity, merge

    base, base_identity, folder, merged_folder, probes, options = request
    if (merged_folder / merge.RECORD_FILE).is_file():  # left by a merge that was killed before its effect was measured
        shutil.rmtree(merged_folder.rename(merge.name_draft(merged_folder)))
    with trace.span("merge"):
        record = merge.merge_adapter(base, folder, merged_folder, options)
    with trace.span("measure merge"):
        effect = fidelity.measure_fidelity(base, folder, merged_folder, probes, options)
    summary = MergeSummary(
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
        base_identity=base_identity,
    )
    records.write_atomically(merged_folder / RECORD_FILE, records.encode_indented(summary))
    manifest.write_manifest(merged_folder)
