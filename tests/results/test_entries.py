"""An entry survives its file, whatever it is called, and its parts fit one another before it is written."""

import errno
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, encode_indented, to_json_value
from baseline_bench.results import audit, companions, entries
from baseline_bench.results.completions import decompress_file, parse_completions, serialise_completions
from baseline_bench.results.entries import build_file_stem, completions_path, read_entry, verify_entry, write_entry
from baseline_bench.results.entry import Entry, Result
from hypothesis import given
from hypothesis import strategies as st
from samples import add, answers, entry, partial, regrade, result

BASE = result()


def test_an_entry_is_written_read_and_verified(tmp_path: Path) -> None:
    """A written entry is read back equal, nothing is wrong with it, and its completions stand beside it."""
    path = add(tmp_path / "leaderboards" / "board")  # neither folder is there
    assert read_entry(path) == entry()
    assert verify_entry(path, regrade) == []
    lines = decompress_file(completions_path(path))
    assert parse_completions(lines, "here") == answers()
    assert sorted(item.name for item in path.parent.iterdir()) == [path.name, completions_path(path).name]


def test_a_full_disk_is_named_where_no_companion_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files to take back are not there, which hides no error."""

    def fill(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(companions, "write_companions", fill)
    with pytest.raises(OSError, match="No space left"):
        add(tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_file_is_named_by_its_own_bytes() -> None:
    """One whose bytes are not the entry's today, such as an older program's, keeps its name."""
    data = encode_indented(entry()) + b"\n"
    assert build_file_stem(entry(), data).endswith(hashlib.sha256(data).hexdigest()[:12])
    assert (
        build_file_stem(entry()) == build_file_stem(entry(), encode_indented(entry())) != build_file_stem(entry(), data)
    )


@given(
    st.text(min_size=1), st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text())
)
def test_any_entry_survives_its_file(candidate: str, source: str, settings: dict[str, Any]) -> None:
    """Whatever the names and settings, the JSON of an entry gives the same entry and the same bytes."""
    of = replace(BASE, candidate=candidate, model=replace(BASE.model, source=source))
    made = entry(replace(of, engine=replace(of.engine, settings=settings)))
    again = decode_record(Entry, json.loads(encode_indented(made)), "here", "mend it")
    assert again == made
    assert encode_indented(again) == encode_indented(made)
    assert audit.check_numbers(again) == []


@pytest.mark.parametrize("of", [BASE, partial(BASE)], ids=["full", "partial"])
def test_adding_an_entry_twice_changes_nothing(tmp_path: Path, of: Result) -> None:
    """The second time writes no file, even where the completions were compressed by another program."""
    path = add(tmp_path, of)
    beside = completions_path(path)
    beside.write_bytes(gzip.compress(decompress_file(beside), compresslevel=1))
    before = {item: (item.read_bytes(), item.stat().st_mtime_ns, item.stat().st_ino) for item in tmp_path.iterdir()}
    assert add(tmp_path, of) == path
    assert before == {
        item: (item.read_bytes(), item.stat().st_mtime_ns, item.stat().st_ino) for item in tmp_path.iterdir()
    }


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    """Adding an entry again mends completions and an entry that a broken disk left behind."""
    path = add(tmp_path)
    completions_path(path).write_bytes(b"\x1f\x8b torn")
    path.write_bytes(b"{")
    assert add(tmp_path) == path
    assert verify_entry(path, regrade) == []


def test_an_entry_never_stands_without_its_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that dies before the last step leaves no entry."""
    original = records.write_atomically

    def die_at_the_entry(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt("power cut")
        original(path, data)

    for module in (companions, records):
        monkeypatch.setattr(module, "write_atomically", die_at_the_entry)
    with pytest.raises(KeyboardInterrupt, match="power cut"):
        add(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [f"{build_file_stem(entry())}.jsonl.gz"]


def test_parts_that_do_not_fit_are_never_written(tmp_path: Path) -> None:
    """Counts against the bits, or completions of another run, stop before any file."""
    wrong = replace(BASE, counts=replace(BASE.counts, correct=6))
    with pytest.raises(ValueError, match="counts do not follow"):
        write_entry(entry(wrong), answers(), tmp_path)
    with pytest.raises(ValueError, match="completions_sha256"):
        write_entry(entry(), answers(right=4), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "../../etc/passwd",
        "..",
        ".",
        "-",
        "a b|c",
        "`@x`",
        "模型",
        "\ud800",
        "a\nb",
        "CON",
        "x" * 300,
        "..." * 99,
        "é.",
        "",
    ],
)
def test_a_hostile_name_gives_a_safe_file_name(tmp_path: Path, name: str) -> None:
    """Whatever a candidate is called, its files lie in the folder, under a short plain name, and can be told apart."""
    path = add(tmp_path / "board", replace(BASE, candidate=name))
    assert path.parent == tmp_path / "board"
    assert entries.re.fullmatch(r"2026-11-22-[a-z0-9]([a-z0-9._-]{0,58}[a-z0-9])?-[0-9a-f]{12}\.json", path.name)
    assert ".." not in path.name
    assert verify_entry(path, regrade) == []


def test_an_ordinary_name_stays_readable() -> None:
    """Dots, dashes and underscores of model names are kept."""
    assert build_file_stem(entry(result("qwen2.5-0.5b_q4_1"))).startswith("2026-11-22-qwen2.5-0.5b_q4_1-")


def test_a_run_of_nothing_is_no_entry(tmp_path: Path) -> None:
    """Without a single item there is no score."""
    with pytest.raises(ValueError, match="0 of 0 items scored"):
        write_entry(entry(result("base", ())), (), tmp_path)


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """An entry of another schema is not half understood."""
    value = json.loads(encode_indented(entry()))
    value["timings"]["seconds"] = 1
    path = tmp_path / "x.json"
    path.write_bytes(encode_indented(value))
    with pytest.raises(BenchError, match="timings has unknown keys 'seconds' \\(known: phases, generated_tokens"):
        read_entry(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"schema": 2}',
        encode_indented({**to_json_value(entry()), "schema": True}),
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_entry_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    """Damaged and foreign files raise the user's error and are one problem each."""
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(BenchError):
        read_entry(path)
    assert len(verify_entry(path)) == 1


@pytest.mark.parametrize("created", ["2026-11-22", "2026-11-22T12:00:00+00:00", "2026-13-22T12:00:00Z", "../../x", ""])
def test_time_is_utc_to_the_second(created: str) -> None:
    """Another spelling of the time is a problem, for the file's name comes from it."""
    assert audit.check_numbers(entry(created=created)) == [
        f"created is no UTC time such as 2026-11-22T12:00:00Z: {created!r}"
    ]


def test_a_digest_looks_like_one_and_a_timing_is_not_negative() -> None:
    """Fields named sha256 hold 64 hex digits, or null where unknown; seconds do not run backwards."""
    assert audit.check_numbers(entry(replace(BASE, prompts_sha256="abc"))) == ["prompts_sha256 is no sha256: 'abc'"]
    slow = replace(entry(), timings=replace(entry().timings, tokens_per_second=-1.0))
    assert audit.check_numbers(slow) == ["a timing is negative"]


def test_only_a_server_or_a_script_leaves_weights_and_token_ids_unknown() -> None:
    """An engine on this machine sees both."""
    lines = tuple(replace(line, tokens=None, ids_sha256=None) for line in answers())
    local = replace(result(completions=lines), model=replace(BASE.model, weights_sha256=None))
    server = replace(local.engine, settings={**local.engine.settings, "device": "server"})
    for engine, count in ((local.engine, 1), (server, 0), (replace(local.engine, name="scripted"), 0)):
        of = entry(replace(local, engine=engine))
        assert len(audit.check_numbers(of)) == count
        assert len(audit.check_completions(of, lines, serialise_completions(lines))) == count


@pytest.mark.parametrize(
    "selection",
    [{"limit": 5, "seed": 0}, {"seed": 0}, {"limit": 12}, {"total": 13}, {"limit": 0, "seed": 0}, {"total": 0}],
)
def test_the_number_of_items_follows_from_limit_and_total(selection: dict[str, int]) -> None:
    """A full run scores all items without limit and seed, a partial one its limit of them with a seed."""
    of = replace(BASE, selection=replace(BASE.selection, **selection))
    assert audit.check_numbers(entry(of)) == [
        f"12 of {of.selection.total} items scored does not fit limit and seed",
    ]
    assert audit.check_numbers(entry(partial(BASE))) == []


def test_timings_do_not_enter_the_result() -> None:
    """Two runs with the same answers have one digest however long they took."""
    slow = Entry.of(BASE, "2026-11-23T00:00:00Z", replace(entry().timings, tokens_per_second=None))
    assert slow.result_sha256 == entry().result_sha256
    assert build_file_stem(slow) != build_file_stem(entry())
