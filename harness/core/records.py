"""Records as JSON: one canonical form to digest, and a strict decoder that refuses unknown keys and wrong types."""

import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.untrusted import parse_json, read_bytes

T = TypeVar("T")
# Metadata of a field added later: omitted from JSON if None, so that older files keep their bytes and digests.
OMIT_WHEN_NONE = {"later": True}
_SHA256 = re.compile("[0-9a-f]{64}")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# What a killed process leaves of `write_atomically`; older versions wrote their pid in place of a uuid.
TEMPORARY_NAME = re.compile(r"\..+\.([0-9]+|[0-9a-f]{32})\.tmp", re.DOTALL)
# Above any count and any seed, and small enough that floats computed from it do not overflow.
_INTEGER_LIMIT = 2**512
_get_type_hints = cache(get_type_hints)
_SCALAR_NAMES = {str: "a text", int: "an integer", float: "a number", bool: "true or false", NoneType: "null"}


def to_json_value(value: object) -> Any:
    """Return the JSON value of a record, a mapping, a sequence or a scalar.

    An integral float becomes an integer, so that 0 and 0.0 have the same bytes and digest.

    Raises:
        TypeError: a value has no JSON form here (a set, an object, a key that is not a string).
        ValueError: a float is not finite.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no JSON form")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a JSON key is a text")
        return {key: to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        numbers = all(type(item) is int for item in value)  # such as token ids, of which there are millions
        return list(value) if numbers else [to_json_value(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        optional_fields = {field.name for field in fields(value) if field.metadata.get("later")}
        return {
            name: to_json_value(item)
            for name, item in values.items()
            if item is not None or name not in optional_fields
        }
    raise TypeError(f"{type(value).__name__} has no JSON form")


def encode_canonical(value: object) -> bytes:
    """Encode as canonical JSON: keys sorted by code point, no spaces, UTF-8, integral floats without a point.

    A lone surrogate, which UTF-8 cannot encode, becomes a JSON escape. Errors as in `to_json_value`.
    """
    return _encode_utf8(json.dumps(to_json_value(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def digest(value: object) -> str:
    """Return the sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(encode_canonical(value)).hexdigest()


def encode_indented(value: object) -> bytes:
    """Encode as indented JSON in the order of the fields, for people; equal values give equal bytes."""
    return _encode_utf8(json.dumps(to_json_value(value), indent=2, ensure_ascii=False) + "\n")


def _encode_utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def parse_time(text: str) -> datetime | None:
    """Parse a time such as 2026-11-22T12:00:00Z; None for any other format and for dates that do not exist."""
    try:
        time = datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return time if time.strftime(_TIME_FORMAT) == text else None


def decode_record(kind: type[T], value: object, where: str, way_out: str) -> T:
    """Decode a record of dataclass `kind`: every key must be present and known, and every type exact.

    Raises:
        BenchError: names all problems at once, and for an unknown key the known ones.
    """
    problems: list[str] = []
    record = _decode_value(kind, value, "", problems)
    if problems:
        raise combine_problems(problems, where, way_out)
    return cast(T, record)


def find_malformed_digests(*parts: object) -> list[str]:
    """Describe each value named `..._sha256` of records or mappings that is neither a sha256 nor None."""
    pairs = (pair for part in parts for pair in (to_json_value(part) or {}).items() if pair[0].endswith("_sha256"))
    wrong = ((name, value) for name, value in pairs if value is not None and not _SHA256.fullmatch(value))
    return [f"{name} is no sha256: {value!r:.70}" for name, value in wrong]


def parse_record(kind: type[T], data: bytes, where: str, way_out: str) -> T:
    """Parse a record's JSON, which may hold lone surrogates; errors as in `parse_json` and `decode_record`."""
    return decode_record(kind, parse_json(data, where, way_out, surrogates=True), where, way_out)


def read_record(kind: type[T], path: Path, way_out: str) -> T:
    """Read a file that holds one record; errors as in `read_bytes` and `parse_record`."""
    return parse_record(kind, read_bytes(path, way_out), str(path), way_out)


def read_named_record(
    kind: type[T], path: Path, way_out: str, check: Callable[[T], list[str]], build_name: Callable[[T], str]
) -> T:
    """Read a file that is named by its content and never changes.

    Raises:
        BenchError: a link, no such record, a record with faults, or a name or spelling that its content does not give.
    """
    if path.is_symlink():
        raise BenchError(f"{path.name}: a link, not a file", way_out)
    data = read_bytes(path, way_out)
    record = parse_record(kind, data, path.name, way_out)
    if problems := check(record):
        raise combine_problems(problems, path.name, way_out)
    if encode_indented(record) != data or path.name != build_name(record):
        raise BenchError(f"{path.name}: its name or spelling does not follow from its content", way_out)
    return record


def _decode_value(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, path, problems)
    return _DECODERS.get(get_origin(kind), _decode_scalar)(kind, value, path, problems)


def _decode_dataclass(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        return _add_type_problem(path, "an object", value, problems)
    known = _get_type_hints(kind)
    optional_fields = {field.name for field in fields(kind) if field.metadata.get("later")}
    unknown = [key for key in value if key not in known]
    missing = [key for key in known if key not in value and key not in optional_fields]
    if unknown:
        names = ", ".join(f"{key!r:.60}" for key in unknown[:5])
        problems.append(f"{path or 'the top level'} has unknown keys {names} (known: {', '.join(known)})")
    if missing:
        problems.append(f"{path or 'the top level'} lacks {', '.join(missing)}")
    if unknown or missing:
        return None
    problem_count = len(problems)
    prefix = f"{path}." if path else ""
    values = {name: _decode_value(hint, value.get(name), prefix + name, problems) for name, hint in known.items()}
    return kind(**values) if len(problems) == problem_count else None


def _decode_scalar(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        return _add_type_problem(path, _SCALAR_NAMES[kind], value, problems)
    if kind is int and abs(value) >= _INTEGER_LIMIT:
        return _add_type_problem(path, "an integer below 2^512", value, problems)
    return value


def _decode_literal(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    allowed = get_args(kind)
    if not any(type(value) is type(item) and value == item for item in allowed):
        return _add_type_problem(path, " or ".join(json.dumps(item) for item in allowed), value, problems)
    return value


def _decode_tuple(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, list):
        return _add_type_problem(path, "a list", value, problems)
    return tuple(_decode_value(get_args(kind)[0], item, f"{path}[{i}]", problems) for i, item in enumerate(value))


def _decode_mapping(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        return _add_type_problem(path, "an object", value, problems)
    return {key: _decode_value(get_args(kind)[1], item, f"{path}.{key!r:.60}", problems) for key, item in value.items()}


def _decode_union(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Decode as the scalar type that the value has; else as the one type that is not null."""
    options = get_args(kind)
    if type(value) in options:
        return _decode_scalar(type(value), value, path, problems)
    others = [option for option in options if option is not NoneType]
    if len(others) == 1:
        return _decode_value(others[0], value, path, problems)
    return _add_type_problem(path, " or ".join(_SCALAR_NAMES[option] for option in options), value, problems)


def _add_type_problem(path: str, expected: str, value: Any, problems: list[str]) -> None:
    problems.append(f"{path or 'the top level'} must be {expected}, not {value!r:.60}")


_DECODERS: Mapping[Any, Callable[[Any, Any, str, list[str]], Any]] = {
    Literal: _decode_literal,
    tuple: _decode_tuple,
    Mapping: _decode_mapping,
    UnionType: _decode_union,
    Union: _decode_union,
}


def write_if_changed(path: Path, data: bytes) -> Path:
    """Write `data` to `path` and create its folder; do nothing if the file already holds exactly that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)
    return path


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: a reader sees the old file or the new one, even after a crash."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # a pid is unique on one host only
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_temporary_files(folder: Path, pattern: str = "**/.*.tmp") -> None:
    """Delete what killed processes left in a folder; only for a process that has locked it against writers."""
    for path in folder.glob(pattern):
        if TEMPORARY_NAME.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
