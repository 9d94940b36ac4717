"""Write and check a converted checkpoint's manifest: the digest of every file when the conversion ended."""

import hashlib
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_canonical, write_atomically
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import weights

MANIFEST_FILE = ".manifest.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest of a complete folder."""
    write_atomically(folder / MANIFEST_FILE, encode_canonical(_digest_files(folder)))


def describe_change(folder: Path) -> str | None:
    """Explain how a folder differs from what its conversion wrote; None if it does not.

    Costs as much as `weights.digest_weights`, which then need not read the tensors again in this process.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return f"{MANIFEST_FILE} is missing"
    try:
        recorded, current = read_object(folder / MANIFEST_FILE, None), _digest_files(folder)
        changed = sorted(name for name in {**recorded, **current} if recorded.get(name) != current.get(name))
    except BenchError as error:
        return error.what.removeprefix(f"{folder}: ")
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST_FILE} is damaged"
    return f"{', '.join(changed)} changed" if changed else None


def _digest_files(folder: Path) -> dict[str, str]:
    """Return file name -> sha256, and one digest of all tensors. Leaves out hidden files, which nothing reads."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {"tensors": weights.digest_weights(folder)} | {
        path.relative_to(folder).as_posix(): _digest_file(path) for path in files
    }


def _digest_file(path: Path) -> str:
    """Digest a file; of weights only the header, which `weights.digest_weights` checks against the length."""
    with path.open("rb") as stream:
        if path.suffix == ".safetensors":
            return hashlib.sha256(stream.read(int.from_bytes(stream.read(8), "little"))).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()
