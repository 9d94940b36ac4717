"""Files and texts of strangers are read within limits; each refusal is one error with the file's name."""

import json
import os

import pytest
from baseline_bench.core import untrusted
from baseline_bench.core.errors import BenchError

NESTED = [b"[" * n + b"]" * n for n in (64, 65)]


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "missing", "large"])
def test_what_is_no_regular_file_of_the_right_size_is_refused(tmp_path, kind):
    """None of them is waited for or read without end."""
    path = tmp_path / "file"
    made = {
        "fifo": os.mkfifo,
        "device": lambda place: place.symlink_to("/dev/zero"),
        "folder": os.mkdir,
        "loop": lambda place: place.symlink_to(place),
        "missing": str,
        "large": lambda place: place.write_bytes(b"x" * 11),
    }
    made[kind](path)
    with pytest.raises(BenchError, match=r"file (cannot be read|has more than 10 bytes).*: put it back"):
        untrusted.read_bytes(path, "put it back", 10)


def test_a_file_of_the_limit_and_a_link_to_it_are_read(tmp_path):
    """The hub's cache is made of links."""
    (tmp_path / "file").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert untrusted.read_bytes(tmp_path / "link", None, 10) == b"x" * 10


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"NaN", b"[Infinity]", b"[-1e999]", b"\xff", b"1 2", NESTED[1], b'{"a":' * 100_000),
        *(b'"\\ud83d"', b'{"\\ude00": 1}', b"1" * 5000, b"[" * 200_000),
    ],
)
def test_json_that_harms_is_refused(data):
    """Neither a traceback nor a number that compares with nothing."""
    with pytest.raises(BenchError, match=r"^here: not JSON .*: restore it$"):
        untrusted.parse_json(data, "here", "restore it")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b"[1e308, -0.0]", [1e308, -0.0]),
        (NESTED[0], json.loads(NESTED[0])),
        (json.dumps([[n] for n in range(500)]).encode(), [[n] for n in range(500)]),
        (json.dumps("1" * 400).encode(), "1" * 400),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_sound_json_is_read(data, value):
    """Twins of the texts above."""
    assert untrusted.parse_json(data, "here", None) == value


def test_records_may_hold_half_a_surrogate_pair():
    """Where a caller says so."""
    assert untrusted.parse_json(b'"\\ud83d"', "here", None, surrogates=True) == "\ud83d"


def test_lines_end_with_a_line_feed_alone():
    """Other separators are text; blank lines are counted and left out."""
    data = '\ufeff{"a": "\u2028\u0085"}\r\n\n  \n2'.encode()
    assert list(untrusted.split_lines(data)) == [(1, '{"a": "\u2028\u0085"}\r'.encode()), (4, b"2")]


@pytest.mark.parametrize("data", [b"a = ", b"a = " + b"[" * 100_000, b"a = " + b"[" * 70 + b"]" * 70, b"\xff", b"a.b"])
def test_toml_that_harms_is_refused(data):
    """As with JSON."""
    with pytest.raises(BenchError, match=r"^here: not TOML .*: restore it$"):
        untrusted.parse_toml(data, "here", "restore it")


def test_sound_toml_is_read():
    """With a byte order mark too."""
    assert untrusted.parse_toml(b"\xef\xbb\xbfa = [[1]]\n", "here", None) == {"a": [[1]]}
