"""A converted checkpoint's manifest: what every file of its folder was when the conversion ended."""

import hashlib
import json
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import canonical, replace_file
from baseline_bench.models import weights

FILE = ".manifest.json"


def write(folder: Path) -> None:
    """Write the manifest of a folder that is complete."""
    replace_file(folder / FILE, canonical(_found(folder)))


def flaw(folder: Path) -> str | None:
    """Why a folder is not what its conversion wrote; None for one that is.

    Costs what `weights.sha256` does, and that does not read the tensors a second time in this process.
    """
    try:
        noted, found = json.loads((folder / FILE).read_bytes()), _found(folder)
        changed = sorted(name for name in {**noted, **found} if noted.get(name) != found.get(name))
    except FileNotFoundError:
        return f"{FILE} is missing"
    except BenchError as error:
        return error.what.removeprefix(f"{folder}: ")
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{FILE} is damaged"
    return f"{', '.join(changed)} changed" if changed else None


def _found(folder: Path) -> dict[str, str]:
    """File name -> sha256, and one over all tensors. Hidden files do not count: nothing reads them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {"tensors": weights.sha256(folder)} | {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    """Of a file; of weights only the header, which `weights.sha256` has checked against the length."""
    with path.open("rb") as stream:
        if path.suffix == ".safetensors":
            return hashlib.sha256(stream.read(int.from_bytes(stream.read(8), "little"))).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()
