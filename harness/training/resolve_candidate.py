"""Turn what a user names as a candidate into whole weights; the files in a folder decide its kind.

A trainer's output has its last weights at the top level, or only in the `checkpoint-N` folders written on the way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from baseline_bench.core import findings
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, suggest_path
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.types import Model
from baseline_bench.evaluation import runs
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.results.entries import slugify
from baseline_bench.training import merging
from baseline_bench.training.merging import CandidateWeights
from baseline_bench.training.train import REQUEST_FILE

CandidateKind = Literal["training", "adapter", "whole"]

_CHECKPOINT = re.compile(r"checkpoint-(?P<step>[0-9]+)")
_TOP_LEVEL_WEIGHTS = (weights.ADAPTER_CONFIG, weights.SINGLE_FILE, weights.INDEX_FILE)
# Pickles that a trainer writes next to the weights.
_TRAINER_STATE_FILES = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
_EXPECTED_FILES = (
    f"{REQUEST_FILE} (a training run), {weights.ADAPTER_CONFIG} (an adapter), {weights.SINGLE_FILE} or its index "
    "(whole weights), "
    "checkpoint-N (a trainer's output)"
)


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """The candidate that a name refers to.

    Attributes:
        kind: a "training" run of `bench`, an "adapter" as PEFT writes it, or "whole" weights.
        name: a folder's path, or the name of whole weights, as `registry.resolve_model` takes it.
        folder: the folder of the files; None for whole weights that are not fetched yet.
        label: the name for a row.
        source: where an adapter came from; "adapter" for a folder, "adapter:org/name" for the hub.
        revision: the commit of a hub's adapter, else None.
    """

    kind: CandidateKind
    name: str
    folder: Path | None
    label: str
    source: str = "adapter"
    revision: str | None = None


def find_source(name: str, cache: Path, console: Console) -> CandidateSource:
    """Find what a name refers to; fetch it if it is an adapter on the hub.

    Args:
        name: a folder, `org/name[@revision]` of the hub, or a name of `bench list models`.

    Raises:
        BenchError: no such folder, a folder without a candidate, or a name that the hub does not have.
    """
    if name in registry.list_names():
        return CandidateSource("whole", name, None, name)
    require_source(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _inspect_folder(folder, console)
    with runs.explaining_write_errors(cache):
        adapter = registry.fetch_hub_adapter(name)
    if adapter is None:
        return CandidateSource("whole", name, None, name)
    snapshot_folder, repository, commit = adapter
    return CandidateSource(
        "adapter", name, snapshot_folder, repository.partition("/")[2], f"adapter:{repository}", commit
    )


def require_source(name: str) -> None:
    """Refuse a name that is neither a listed model, a folder, nor `org/name` of the hub.

    Raises:
        BenchError: with the closest folder.
    """
    folder = Path(name).expanduser()
    organisation, _, rest = name.partition("/")
    on_hub = rest and not name.startswith((".", "/", "~")) and not Path(organisation).is_dir()
    listed = registry.list_names()
    if folder.is_dir() or on_hub or name in listed:
        return
    way_out = "give a folder of weights, org/name of the hub, or a name of `bench list models`"
    raise BenchError(f"no folder {folder}", f"{suggest_path(folder, listed)}{way_out}")


def load_whole_weights(source: CandidateSource, cache: Path) -> Model:
    """Load whole weights, checked; a folder's weights are named by its label and digest."""
    model = resolve_base_model(source.name, cache)
    if source.folder is None:
        return model
    return replace(model, name=f"{source.label}@{str(model.weights_sha256)[:8]}")


def load_or_merge_weights(source: CandidateSource, cache: Path, console: Console, accept: Sequence[str] = ()) -> Model:
    """Load whole weights, or merge an adapter into the base that it names, for a caller that checks their digest."""
    if source.kind == "adapter" and source.folder is not None:
        base = merging.read_base_name(source.folder)
        return merge_adapter(source, base, cache, console, accept=accept).model
    return load_whole_weights(source, cache)


def merge_adapter(
    source: CandidateSource,
    base: str | None,
    cache: Path,
    console: Console,
    out: Path | None = None,
    accept: Sequence[str] = (),
) -> CandidateWeights:
    """Merge an adapter into its base, with the checks that trained adapters get.

    Args:
        base: the model to merge it into; None takes the one that the adapter names.
        cache: the folder of downloaded models, where a hub's adapter is merged too.
        out: the folder for the merged weights; None is next to the adapter.
        accept: codes of refusals that the user accepts.

    Raises:
        BenchError: the adapter names no base, or an unavailable one; a finding refuses it; or the merge fails its
            checks.
    """
    if (folder := source.folder) is None:
        raise BenchError(f"{source.name} is not an adapter", "give an adapter's folder or its name on the hub")
    model = resolve_base(folder, base, cache)
    adapter_findings = check_adapter(folder, base, model)
    findings.raise_refusals(source.label, adapter_findings, accept)
    cache_folder = (
        cache / "merged" / f"{slugify(source.label)}-{(source.revision or '')[:12]}-{str(model.weights_sha256)[:12]}"
    )
    merged_folder = out or (folder / "merged" if source.revision is None else cache_folder)
    merged = merging.merge_adapter(folder, model, merged_folder, console)
    digest = "" if merged.training.merge is None else merged.training.merge.adapter_sha256[:8]
    named_model = replace(
        merged.model, name=f"{model.name}+{source.label}@{digest}", source=source.source, revision=source.revision
    )
    return replace(merged, model=named_model, findings=tuple(adapter_findings))


def check_adapter(folder: Path, base: str | None, model: Model) -> list[Finding]:
    """Check an adapter's files against its base, which the adapter names if the user does not."""
    adapter_findings = diagnose.check_adapter(folder, model, base or merging.read_base_name(folder))
    if base is not None and (mismatch := describe_base_mismatch(folder, base, model)) is not None:
        message = (
            f"{mismatch}, and not on {base}: leave --base out, or name that model; if that is a quantised copy of "
            f"{base}, go on, since an adapter is added to unquantised weights"
        )
        adapter_findings.append(build_finding("other-base", message))
    return [*adapter_findings, *diagnose.check_own_tokenizer(folder, model)]


def resolve_base(folder: Path, base: str | None, cache: Path) -> Model:
    """Return the model to merge an adapter into: `base`, or the one that the adapter names.

    Raises:
        BenchError: neither the user nor the adapter names one, it is unavailable, or the adapter names a folder: that
            of the machine that trained it, where this machine may hold anything.
    """
    if base is not None:
        return resolve_base_model(base, cache)
    name = merging.read_base_name(folder)
    if registry.is_folder_name(name):
        what = f"{folder} names the folder {name} as its base, and bench follows a stored path only if you give it"
        raise BenchError(what, f"give --base {name} if that folder holds its base, else the base's place")
    try:
        return resolve_base_model(name, cache)
    except BenchError as error:
        what = f"{folder} says that it was trained on {name}, and that is not to be had: {error.what}"
        raise BenchError(what, f"give its place with --base MODEL, or: {error.way_out}") from error


def describe_base_mismatch(folder: Path, base: str, model: Model) -> str | None:
    """Say if an adapter names another base than the user's; None if it names the same, or none."""
    recorded_base = runs.read_json(folder / weights.ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(recorded_base, str) or not recorded_base:
        return None
    same = recorded_base == base or model.source == f"hub:{recorded_base}" or _names_folder(recorded_base, model.folder)
    return None if same else f"{folder} says that it was trained on {recorded_base}"


def resolve_base_model(name: str, cache: Path) -> Model:
    """Resolve a model by its name and explain failures to write to `cache`; see `registry.resolve_model`."""
    with runs.explaining_write_errors(cache):
        return registry.resolve_model(name, cache)


def _names_folder(name: str, folder: Path) -> bool:
    path = Path(name).expanduser()
    return path.is_dir() and path.resolve() == folder.resolve()


def _inspect_folder(folder: Path, console: Console) -> CandidateSource:
    """Find what a folder holds; weights at the top level win over checkpoints."""
    names = {entry.name for entry in folder.iterdir()}
    if REQUEST_FILE in names:
        return CandidateSource("training", str(folder), folder, folder.resolve().name)
    if weights.ADAPTER_CONFIG in names:
        return CandidateSource("adapter", str(folder.resolve()), folder, _build_label(folder))
    if names.isdisjoint(_TOP_LEVEL_WEIGHTS):
        steps = {int(matched["step"]): name for name in names if (matched := _CHECKPOINT.fullmatch(name))}
        if steps:
            last = folder / steps[max(steps)]
            console.warn(f"{folder} holds no weights at its top: taking {last.name}, the last of {len(steps)}")
            return _inspect_folder(last, console)
        if "config.json" not in names and not any(_is_weights_file(name) for name in names):
            what = f"{folder} holds no candidate: looked for {_EXPECTED_FILES}"
            raise BenchError(what, "name a folder that a trainer or save_pretrained wrote")
    return CandidateSource("whole", str(folder.resolve()), folder, _build_label(folder))


def _is_weights_file(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf", *weights.PICKLE_SUFFIXES)) and name not in _TRAINER_STATE_FILES


def _build_label(folder: Path) -> str:
    """Return the folder's name; for a checkpoint, with the name of the trainer's output before it."""
    path = folder.resolve()
    return f"{path.parent.name}-{path.name}" if _CHECKPOINT.fullmatch(path.name) else path.name
