"""The canonical form, the strict reader and the whole-or-nothing write that every record goes through."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import (
    decode_record,
    digest,
    encode_canonical,
    encode_indented,
    parse_time,
    read_named_record,
    to_json_value,
    write_atomically,
    write_if_changed,
)
from baseline_bench.core.untrusted import parse_json
from hypothesis import given
from hypothesis import strategies as st

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@dataclass(frozen=True, slots=True)
class Inner:
    """A part of a record."""

    mode: Literal["a", "b"] | None
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outer:
    """A record with every kind of field that the reader knows."""

    name: str
    inner: Inner
    share: float
    flag: bool | None
    settings: Mapping[str, str | int | float | bool | None]


GOOD: dict[str, Any] = {
    "name": "n",
    "inner": {"mode": "a", "ids": [1, 2]},
    "share": 1,
    "flag": None,
    "settings": {"x": 1, "y": 0.5, "z": True, "w": None},
}


@given(json_values)
def test_canonical_json_is_stable_under_reading(value: Any) -> None:
    """Whoever reads canonical or pretty JSON and writes it canonically again gets the same bytes."""
    assert encode_canonical(json.loads(encode_canonical(value))) == encode_canonical(value)
    assert encode_canonical(json.loads(encode_indented(value))) == encode_canonical(value)


def test_canonical_json_has_one_spelling() -> None:
    """Keys are sorted, nothing is padded, text is UTF-8, and 1 and 1.0 are one number but true is another thing."""
    assert encode_canonical({"b": 1.0, "a": ["é", None, True]}) == '{"a":["é",null,true],"b":1}'.encode()
    assert digest(1.0) == digest(1) != digest(True)


def test_canonical_json_keeps_a_lone_surrogate() -> None:
    """A text that is no UTF-8 is written as the escape it came as, and read back the same."""
    assert encode_canonical("\ud800") == b'"\\ud800"'
    assert json.loads(encode_canonical("\ud800")) == "\ud800"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {1, 2}, object(), Inner])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    """NaN, infinity, keys that are no text and strange objects never reach a file."""
    with pytest.raises((TypeError, ValueError)):
        encode_canonical(value)


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"[-Infinity]", b"\xff", b"[" * 100_000, b"1" * 5000, b"{} {}"])
def test_what_is_no_json_is_an_error_for_the_user(data: bytes) -> None:
    """Damaged, endless or nested input ends in one clear line."""
    with pytest.raises(BenchError, match="the file: not JSON"):
        parse_json(data, "the file", "restore it")


def test_decode_gives_the_record_that_was_written() -> None:
    """A record survives its JSON form, an integer where a float stands included."""
    record = decode_record(Outer, GOOD, "here", "mend it")
    assert record == Outer("n", Inner("a", (1, 2)), 1.0, None, {"x": 1, "y": 0.5, "z": True, "w": None})
    assert decode_record(Outer, json.loads(encode_indented(record)), "here", "mend it") == record
    assert to_json_value(record) == GOOD


def test_decode_names_unknown_keys_and_the_known_ones() -> None:
    """A key that no field has is refused with the list of fields."""
    with pytest.raises(BenchError, match=r"inner has unknown keys 'idz' \(known: mode, ids\)") as error:
        decode_record(Outer, GOOD | {"inner": {"mode": "a", "ids": [], "idz": []}}, "here", "mend it")
    assert error.value.way_out == "mend it"


def test_decode_gathers_every_problem() -> None:
    """All that is wrong with a record is said at once."""
    bad = {"name": 1, "inner": {"mode": "c", "ids": [1, True]}, "share": "x", "flag": 0, "settings": {"x": [1]}}
    with pytest.raises(BenchError) as error:
        decode_record(Outer, bad, "here", "mend it")
    for part in ("name must be", "inner.mode must be", "inner.ids[1] must be", "share must", "flag must", "settings."):
        assert part in error.value.what


@pytest.mark.parametrize("key", list(GOOD))
def test_decode_refuses_a_missing_key(key: str) -> None:
    """No field has a default: what is unknown is written as null."""
    with pytest.raises(BenchError, match=f"lacks {key}"):
        decode_record(Outer, {name: value for name, value in GOOD.items() if name != key}, "here", "mend it")


def test_decode_refuses_an_integer_that_no_float_holds() -> None:
    """Shares and roots are taken of counts: a longer one is refused where it is read, not where it is used."""
    with pytest.raises(BenchError, match=r"inner.ids\[1\] must be an integer below 2\^512"):
        decode_record(Outer, {**GOOD, "inner": {"mode": "a", "ids": [2**511, 2**512]}}, "here", "mend it")


@pytest.mark.parametrize(
    "text", ["", "2026-11-22", "2026-11-22T12:00:00+00:00", "2026-1-22T12:00:00Z", "2026-02-30T12:00:00Z", "\u0662"]
)
def test_a_moment_has_one_spelling_and_a_real_day(text: str) -> None:
    """What is compared as text must be spelled alike."""
    assert parse_time("2026-11-22T12:00:00Z") == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert parse_time(text) is None


@pytest.mark.parametrize("value", [None, [], "x", {**GOOD, "share": 10**400}, json.loads('{"name": 1e999}')])
def test_decode_refuses_what_is_no_record(value: object) -> None:
    """Another shape, and a number beyond all floats, are errors for the user."""
    with pytest.raises(BenchError):
        decode_record(Outer, value, "here", "mend it")


@pytest.mark.parametrize(
    ("name", "content"), [("other.json", "{whole}"), ("a.json", "{whole} "), ("other.json", "{whole} ")]
)
def test_a_named_record_has_one_name_and_one_spelling(name: str, content: str, tmp_path: Path) -> None:
    """A copy under another name, and other bytes under its own: the sound twin is read."""
    record = Inner("a", (1, 2))

    def read(file: str, data: bytes) -> Inner:
        (tmp_path / file).write_bytes(data)
        return read_named_record(Inner, tmp_path / file, "restore it", lambda one: [], lambda one: f"{one.mode}.json")

    whole = encode_indented(record)
    assert read("a.json", whole) == record
    with pytest.raises(BenchError, match="name or spelling"):
        read(name, content.replace("{whole}", whole.decode()).encode())


def test_a_file_is_written_where_it_changes(tmp_path: Path) -> None:
    """With the folders that it needs; an equal file is left alone."""
    path = tmp_path / "new" / "folder" / "file"
    assert write_if_changed(path, b"old").read_bytes() == b"old"
    file_number = path.stat().st_ino
    write_if_changed(path, b"old")
    assert path.stat().st_ino == file_number
    assert write_if_changed(path, b"new").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that dies half-way changes nothing that a reader can see."""
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
