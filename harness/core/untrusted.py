"""Read files of unknown origin (JSON, TOML, text) within limits of size and nesting."""

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from baseline_bench.core.errors import BenchError

# Bytes: the largest tokenizer.json has 34 million, and rows of data or logged samples are read whole.
FILE_LIMIT, DATA_LIMIT = 64 * 2**20, 2**30
# Above the nesting of any record, and small enough that functions that call themselves can walk it.
_NESTING_LIMIT = 64
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes.

    Raises:
        OSError: no such file, or a pipe, a device or a folder, whose `strerror` says so.
    """
    # Without O_NONBLOCK a pipe that nobody writes to never opens.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(None, "not a regular file", str(path))


def read_bytes(path: Path, way_out: str | None, limit: int = FILE_LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes; BenchError if it cannot be read, is longer or not regular."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror})", way_out) from None
    if len(data) > limit:
        raise BenchError(f"{path} has more than {limit:,} bytes", way_out)
    return data


def read_text(path: Path, way_out: str | None) -> str:
    """Read a text in UTF-8, with or without a byte order mark; BenchError otherwise, or as in `read_bytes`."""
    try:
        return read_bytes(path, way_out).removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not UTF-8 ({error})", way_out) from None


def parse_json(data: bytes, where: str, way_out: str | None, *, surrogates: bool = False) -> Any:
    """Parse one JSON value in UTF-8, with or without a byte order mark.

    Args:
        where: its file, and its line where it has several values; the error begins with it.
        surrogates: accept a lone surrogate; records may hold one in a name or a text.

    Raises:
        BenchError: anything else, numbers that are not finite, or lists and objects nested too deeply.
    """
    try:
        value = _DECODER.decode(data.removeprefix(_BOM).decode("utf-8"))
        if data.count(b"[") + data.count(b"{") > _NESTING_LIMIT:
            _require_shallow(value)
        if not surrogates and _SURROGATE_ESCAPE.search(data):
            _require_characters(value)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{where}: not JSON ({error})", way_out) from None
    return value


def read_json(path: Path, way_out: str | None, *, surrogates: bool = False) -> Any:
    """Read a JSON file. Arguments and errors as in `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, way_out), str(path), way_out, surrogates=surrogates)


def read_object(path: Path, way_out: str | None) -> dict[str, Any]:
    """Read a file that holds a JSON object; BenchError if it holds another value, or as in `read_json`."""
    value = read_json(path, way_out)
    if not isinstance(value, dict):
        raise BenchError(f"{path} is not a JSON object", way_out)
    return value


def split_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of every line that is not blank.

    Lines end with a line feed alone: JSON texts may hold U+2028 and U+0085, at which `str.splitlines` splits too.
    """
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        if line.strip():
            yield number, line


def parse_toml(data: bytes, where: str, way_out: str | None) -> dict[str, Any]:
    """Parse TOML in UTF-8, with or without a byte order mark; BenchError for anything else, as in `parse_json`."""
    try:
        value = tomllib.loads(data.removeprefix(_BOM).decode("utf-8"))
        _require_shallow(value)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{where}: not TOML ({error})", way_out) from None
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is out of range")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _require_shallow(value: object) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > _NESTING_LIMIT:
            raise ValueError(f"lists and objects nested more than {_NESTING_LIMIT} deep")
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]


def _require_characters(value: object) -> None:
    if match := _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError(f"\\u{ord(match[0]):04x} is a lone surrogate")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_float)
