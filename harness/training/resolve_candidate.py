"""What a user names as a candidate becomes whole weights: each kind of folder is told apart by its files.

A trainer's output holds its last weights at the top, or only in the `checkpoint-N` folders that it wrote on the way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from baseline_bench.core import findings
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
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
# Pickles that a trainer writes beside the weights.
_TRAINER_STATE_FILES = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
_EXPECTED_FILES = (
    f"{REQUEST_FILE} (a training run), {weights.ADAPTER_CONFIG} (an adapter), {weights.SINGLE_FILE} or its index "
    "(whole weights), "
    "checkpoint-N (a trainer's output)"
)


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """What a name stands for.

    Attributes:
        kind: a "training" run of `bench`, an "adapter" as PEFT writes it, or "whole" weights.
        name: as models are named: a folder's path, or `org/name[@revision]` of the hub for whole weights there.
        folder: that holds the files; None for whole weights of the hub, which are not fetched yet.
        label: what a row may call it.
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
    """Tell what a name stands for; an adapter of the hub is fetched.

    Args:
        name: a folder, or `org/name[@revision]` of the hub.
        cache: held while the hub's adapter is fetched.
        console: told where a trainer's last checkpoint is taken.

    Raises:
        BenchError: no such folder, one that holds no candidate, or a name that the hub does not give.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _inspect_folder(folder, console)
    organisation, _, rest = name.partition("/")
    if not rest or name.startswith((".", "/", "~")) or Path(organisation).is_dir():
        raise BenchError(
            f"no folder {folder}", "give a folder of weights, or org/name of the hub; `bench baseline` takes names"
        )
    with runs.explaining_write_errors(cache):
        adapter = registry.fetch_hub_adapter(name)
    if adapter is None:
        return CandidateSource("whole", name, None, name)
    held, repository, commit = adapter
    return CandidateSource("adapter", name, held, repository.partition("/")[2], f"adapter:{repository}", commit)


def load_whole_weights(found: CandidateSource, cache: Path) -> Model:
    """Whole weights, checked; those of a trainer's checkpoint are named after its output too."""
    with runs.explaining_write_errors(cache):
        model = registry.resolve_model(found.name, cache)
    if found.folder is None:
        return model
    return replace(model, name=f"{found.label}@{str(model.weights_sha256)[:8]}")


def load_or_merge_weights(found: CandidateSource, cache: Path, console: Console, accept: Sequence[str] = ()) -> Model:
    """Whole weights of what was found, an adapter merged into the base that it names; see `whole` and `merged`."""
    if found.kind == "adapter":
        return merge_adapter(found, None, cache, console, accept=accept).model
    return load_whole_weights(found, cache)


def merge_adapter(
    found: CandidateSource,
    base: str | None,
    cache: Path,
    console: Console,
    out: Path | None = None,
    accept: Sequence[str] = (),
) -> CandidateWeights:
    """An adapter merged into its base, proved as trained ones are.

    Args:
        found: the adapter.
        base: the model to merge it into; None takes the one that the adapter names.
        cache: where the base is found, and where a hub's adapter is merged.
        console: where to talk.
        out: where the merged weights go; None is beside the adapter.
        accept: codes of findings that would refuse the adapter, and do not.

    Raises:
        BenchError: the adapter names no base, or one that cannot be had; a finding refuses it; or the merge fails its
            proofs.
    """
    folder = _require_folder(found)
    model = resolve_base(folder, base, cache)
    noticed = check_adapter(folder, base, model)
    findings.raise_refusals(found.label, noticed, accept)
    there = cache / "merged" / f"{slugify(found.label)}-{(found.revision or '')[:12]}-{str(model.weights_sha256)[:12]}"
    place = out or (folder / "merged" if found.revision is None else there)
    made = merging.merge_adapter(folder, model, place, console)
    digest = "" if made.training.merge is None else made.training.merge.adapter_sha256[:8]
    called = replace(
        made.model, name=f"{model.name}+{found.label}@{digest}", source=found.source, revision=found.revision
    )
    return replace(made, model=called, findings=tuple(noticed))


def check_adapter(folder: Path, base: str | None, model: Model) -> list[Finding]:
    """What an adapter's files show beside its base.

    Args:
        folder: of the adapter.
        base: as the user calls the base; None where the adapter names it.
        model: the base.
    """
    found = diagnose.check_adapter(folder, model, base or merging.read_base_name(folder))
    if base is not None and (told := describe_base_mismatch(folder, base, model)) is not None:
        message = f"{told}, and not on {base}: leave --base out, or name that model"
        found.append(build_finding("other-base", message))
    if weights.has_tokenizer(folder):
        from baseline_bench.models import tokenizer  # loads transformers

        load = tokenizer.load_tokenizer
        found += diagnose.compare_tokenizers(load(replace(model, folder=folder)), load(model))
    return found


def resolve_base(folder: Path, base: str | None, cache: Path) -> Model:
    """The model that an adapter is merged into: `base`, or the one which the adapter names.

    Raises:
        BenchError: neither the user nor the adapter names one, or it cannot be had.
    """
    if base is not None:
        return resolve_model_locked(base, cache)
    named = merging.read_base_name(folder)
    try:
        return resolve_model_locked(named, cache)
    except BenchError as error:
        what = f"{folder} says that it was trained on {named}, and that is not to be had: {error.what}"
        raise BenchError(what, f"give its place with --base MODEL, or: {error.way_out}") from error


def describe_base_mismatch(folder: Path, base: str, model: Model) -> str | None:
    """Told where an adapter names another base than the user's; None where it names the same, or none."""
    named = runs.read_json(folder / weights.ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        return None
    same = named == base or model.source == f"hub:{named}" or _names_folder(named, model.folder)
    return None if same else f"{folder} says that it was trained on {named}"


def resolve_model_locked(name: str, cache: Path) -> Model:
    """A model by its name, `cache` held meanwhile; see `models.resolve`."""
    with runs.explaining_write_errors(cache):
        return registry.resolve_model(name, cache)


def _names_folder(named: str, folder: Path) -> bool:
    place = Path(named).expanduser()
    return place.is_dir() and place.resolve() == folder.resolve()


def _inspect_folder(folder: Path, console: Console) -> CandidateSource:
    """What a folder holds; weights at the top win over checkpoints."""
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
            raise BenchError(
                f"{folder} holds no candidate: looked for {_EXPECTED_FILES}",
                "name a folder that a trainer or save_pretrained wrote",
            )
    return CandidateSource("whole", str(folder.resolve()), folder, _build_label(folder))


def _is_weights_file(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf", *weights.PICKLE_SUFFIXES)) and name not in _TRAINER_STATE_FILES


def _build_label(folder: Path) -> str:
    """A folder's own name; a checkpoint's is that of the trainer's output before it, for every output has one."""
    place = folder.resolve()
    return f"{place.parent.name}-{place.name}" if _CHECKPOINT.fullmatch(place.name) else place.name


def _require_folder(found: CandidateSource) -> Path:
    if found.folder is None:
        raise BenchError(f"{found.name} is not an adapter", "give an adapter's folder or its name on the hub")
    return found.folder
