"""A converted checkpoint's manifest: what every file of its folder was when the conversion ended."""

import hashlib
import json
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_canonical, write_atomically
from baseline_bench.models import weights

MANIFEST_FILE = ".manifest.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder that is complete."""
    write_atomically(folder / MANIFEST_FILE, encode_canonical(_digest_files(folder)))


def describe_change(folder: Path) -> str | None:
    """Why a folder is not what its conversion wrote; None for one that is.

    Costs what `weights.sha256` does, and that does not read the tensors a second time in this process.
    """
    try:
        noted, found = json.loads((folder / MANIFEST_FILE).read_bytes()), _digest_files(folder)
        changed = sorted(name for name in {**noted, **found} if noted.get(name) != found.get(name))
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except BenchError as error:
        return error.what.removeprefix(f"{folder}: ")
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST_FILE} is damaged"
    return f"{', '.join(changed)} changed" if changed else None


def _digest_files(folder: Path) -> dict[str, str]:
    """File name -> sha256, and one over all tensors. Hidden files do not count: nothing reads them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {"tensors": weights.digest_weights(folder)} | {
        path.relative_to(folder).as_posix(): _digest_file(path) for path in files
    }


def _digest_file(path: Path) -> str:
    """Of a file; of weights only the header, which `weights.sha256` has checked against the length."""
    with path.open("rb") as stream:
        if path.suffix == ".safetensors":
            return hashlib.sha256(stream.read(int.from_bytes(stream.read(8), "little"))).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()
