"""results.retractions: what is said of an entry later is named by content, founded on the entry, and never loops."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_indented
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.checking import find_faults
from baseline_bench.results import entries, retractions
from baseline_bench.results.board import Row
from baseline_bench.results.retractions import Retraction
from board_samples import retraction, verification
from hypothesis import given
from hypothesis import strategies as st
from samples import add, altered, result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Leaderboards with one board of two entries."""
    folder = tmp_path / "leaderboards"
    add(folder / "counting", result("base"))
    add(folder / "counting", result("tuned"))
    leaderboard.update_pages(folder)
    return folder


def rows(folder: Path) -> list[Row]:
    """The rows of the board, base first."""
    return [Row(path.name, entries.read_entry(path)) for path in sorted((folder / "counting").glob("*.json"))]


def whats(folder: Path) -> list[str]:
    """What the check says once the pages are as they should be."""
    return [fault.what for fault in find_faults(folder)]


def test_a_record_comes_back_as_it_was_written(folder: Path) -> None:
    """Reading gives what was written, under the name that its content gives; writing it again changes nothing."""
    base, tuned = rows(folder)
    gone, seen = retraction(base, "wrong", tuned), verification(tuned, 2)
    path = retractions.write_record(gone, folder / "counting")
    assert (
        retractions.write_record(gone, folder / "counting")
        == path
        == folder / "counting" / retractions.record_path(gone)
    )
    assert path.name == f"{base.file[:-5]}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.json"
    for record in (seen, verification(tuned, 1)):  # the highest level counts
        retractions.write_record(record, folder / "counting")
    said = retractions.read_records(folder / "counting")
    assert said.retractions == (gone,)
    assert sorted(said.verifications, key=lambda one: one.level) == [verification(tuned, 1), seen]
    assert (said.retraction(base.file), said.retraction(tuned.file)) == (gone, None)
    assert (said.level(tuned.file), said.level(base.file)) == (2, None)
    leaderboard.update_pages(folder)
    assert whats(folder) == []


def test_the_newest_record_is_the_one_that_counts(folder: Path) -> None:
    """A wrong reason is answered by a newer record, whatever the files are called."""
    base, _ = rows(folder)
    for day, why in (("25", "second"), ("24", "first")):
        retractions.write_record(retraction(base, why, created=f"2026-11-{day}T12:00:00Z"), folder / "counting")
    gone = retractions.read_records(folder / "counting").retraction(base.file)
    assert gone is not None
    assert gone.why == "second"
    assert "`second`" in leaderboard.render_board(folder, leaderboard.load_board(folder, "counting"))["counting.md"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: replace(one, entry="2026-11-22-other-000000000000.json"), "names an entry that is not here"),
        (lambda one: replace(one, entry_sha256="0" * 64), "was written of another content"),
        (lambda one: replace(one, superseded_by="nowhere.json"), "names a successor that is not here"),
        (lambda one: replace(one, why="  "), "gives no reason"),
        (lambda one: replace(one, why=301 * "x"), "gives a reason longer than 300 characters"),
        (lambda one: replace(one, created="2026-02-30T12:00:00Z"), "created is no UTC time"),
        (lambda one: replace(one, created="yesterday"), "created is no UTC time"),
        (lambda one: replace(one, superseded_by=one.entry), "its chain of successors comes back to its entry"),
    ],
)
def test_an_unfounded_record_is_a_fault(folder: Path, change: Callable[[Retraction], Retraction], what: str) -> None:
    """The check names the record's file, and the board is not rendered from it."""
    path = retractions.write_record(change(retraction(rows(folder)[0], "wrong")), folder / "counting")
    faults = [fault for fault in find_faults(folder) if fault.file == path.as_posix()]
    assert [fault.what.startswith(what) for fault in faults] == [True]
    with pytest.raises(BenchError, match="see bench board --check"):
        leaderboard.update_pages(folder)


def test_a_reason_stands_whole_on_the_page(folder: Path) -> None:
    """The table shows the first word and the last of the longest reason that there may be."""
    why = f"first {'because ' * 36}last"
    why += "x" * (retractions.MAX_REASON_LENGTH - len(why))
    retractions.write_record(retraction(rows(folder)[0], why), folder / "counting")
    text = leaderboard.render_board(folder, leaderboard.load_board(folder, "counting"))["counting.md"]
    line = next(line for line in text.splitlines() if "`first " in line)
    assert "lastxx`|" in line
    assert line.count("because") == 36
    leaderboard.update_pages(folder)
    assert whats(folder) == []


def test_two_retractions_that_name_each_other_are_a_fault_of_both(folder: Path) -> None:
    """A chain of successors has an end."""
    base, tuned = rows(folder)
    retractions.write_record(retraction(base, "wrong", tuned), folder / "counting")
    retractions.write_record(retraction(tuned, "wrong", base), folder / "counting")
    assert sum("comes back" in what for what in whats(folder)) == 2


@given(st.dictionaries(st.integers(0, 6), st.integers(0, 6) | st.none(), max_size=7))
def test_loops_are_exactly_those_that_walking_finds(after: dict[int, int | None]) -> None:
    """An entry whose successors come back to it, however long the way and whatever joins it."""
    files = {f"{one}.json": None if to is None else f"{to}.json" for one, to in after.items()}
    made = [Retraction(1, "t", one, "", "w", to) for one, to in files.items()]
    walked = set()
    for start in after:
        place: int | None = start
        for _ in range(8):
            place = after.get(place) if place is not None else None
            if place == start:
                walked.add(f"{start}.json")
    assert {one.entry for one in retractions.find_successor_loops(made)} == walked


@pytest.mark.parametrize("kind", ["retraction", "verification"])
def test_every_changed_leaf_of_a_record_is_a_fault(folder: Path, kind: str) -> None:
    """A record is named by its content: one other value and the name no longer follows."""
    base, _ = rows(folder)
    path = retractions.write_record(
        retraction(base, "wrong") if kind == "retraction" else verification(base, 1), folder / "counting"
    )
    leaderboard.update_pages(folder)
    whole = json.loads(path.read_bytes())
    for key in whole:
        if not isinstance(whole[key], dict | list):
            path.write_bytes(encode_indented(altered(whole, (key,))))
            assert path.as_posix() in [fault.file for fault in find_faults(folder)]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"schema": 2}'])
def test_a_file_that_is_no_record_is_a_fault(folder: Path, data: bytes) -> None:
    """Whatever stands there, it is one line and no traceback."""
    path = folder / "counting" / "retractions" / "x.json"
    path.parent.mkdir()
    path.write_bytes(data)
    assert path.as_posix() in [fault.file for fault in find_faults(folder)]
    with pytest.raises(BenchError):
        retractions.read_records(folder / "counting")


def test_other_files_among_the_records_are_strays(folder: Path) -> None:
    """A note, a folder or a link in the records' place is named."""
    place = folder / "counting" / "verifications"
    place.mkdir()
    (place / "note.txt").write_text("hello")
    (place / "link.json").symlink_to(next((folder / "counting").glob("*.json")))
    assert {(Path(fault.file).name, fault.what.partition(":")[2] or fault.what) for fault in find_faults(folder)} >= {
        ("note.txt", "is no record"),
        ("link.json", " a link, not a file"),
    }


def test_a_withdrawn_base_is_compared_with_no_more(folder: Path) -> None:
    """A retracted row leaves the main table, and with it every comparison that used it."""
    base, _ = rows(folder)
    retractions.write_record(retraction(base, "wrong"), folder / "counting")
    text = leaderboard.render_board(folder, leaderboard.load_board(folder, "counting"))["counting.md"]
    main, _, withdrawn = text.partition("## Superseded and retracted")
    assert base.file not in main
    assert base.file in withdrawn
