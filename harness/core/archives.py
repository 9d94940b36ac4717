"""Read zip archives of unknown origin within limits; their members may be compressed by zstd."""

import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.untrusted import DATA_LIMIT, open_regular

if sys.version_info >= (3, 14):
    import zipfile

    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError, zipfile

# Others allocate as much as the archive says.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_ZSTANDARD)


def read_zip(path: Path, way_out: str | None, name: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every member of a zip archive whose whole name matches, in the archive's order.

    Raises:
        BenchError: not a zip archive, a damaged member, or archive or members of more than `DATA_LIMIT` bytes together.
    """
    left = DATA_LIMIT
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not name.fullmatch(member.filename):
                    continue
                if member.compress_type not in _ZIP_METHODS:
                    raise BenchError(f"{path}: {member.filename:.60} is compressed by an unusual method", way_out)
                with archive.open(member) as stream:
                    data = stream.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise BenchError(f"{path} has more than {DATA_LIMIT:,} bytes when decompressed", way_out)
                yield member.filename, data
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, ZstdError) as error:
        raise BenchError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})", way_out) from None
