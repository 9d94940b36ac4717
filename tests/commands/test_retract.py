"""commands.retract: `bench retract` writes a record and renders, and refuses what would make no sense."""

import io
from pathlib import Path

import pytest
from baseline_bench.commands.retract import Options, run
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.checking import find_faults
from baseline_bench.results import retractions
from samples import add, result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Leaderboards with a board of three entries and one of a single one."""
    folder = tmp_path / "leaderboards"
    for name in ("a", "b", "c"):
        add(folder / "counting", result(name))
    add(folder / "another", result("d"))
    leaderboard.update_pages(folder)
    return folder


def file(folder: Path, name: str) -> Path:
    """The entry of a candidate."""
    (found,) = folder.glob(f"*/*-{name}-*.json")
    return found


def told(folder: Path, entry: str, why: str = "wrong prompt", instead: str | None = None) -> str:
    """What the command prints."""
    out = io.StringIO()
    assert (
        run(Options(leaderboards=folder, entry=entry, why=why, superseded_by=instead), Console(out, io.StringIO())) == 0
    )
    return out.getvalue()


def test_a_retraction_is_written_rendered_and_passes_the_check(folder: Path) -> None:
    """The entry keeps its bytes, the record says why, the pages move the row, and every changed file is named."""
    entry = file(folder, "a")
    before = entry.read_bytes()
    names = [Path(line).name for line in told(folder, str(entry), "wrong\n  prompt").splitlines()]
    (record,) = retractions.read_records(folder / "counting").retractions
    assert (record.entry, record.why, record.superseded_by) == (entry.name, "wrong prompt", None)
    assert names[0] == Path(retractions.record_path(record)).name
    assert {"counting.md", "counting.csv", "counting.svg"} <= set(names)
    assert entry.read_bytes() == before
    assert find_faults(folder) == []


@pytest.mark.parametrize("manner", ["path", "name", "stem"])
def test_an_entry_is_named_by_path_file_name_or_stem(folder: Path, manner: str) -> None:
    """However it is named, it is that file."""
    entry = file(folder, "b")
    told(folder, {"path": str(entry), "name": entry.name, "stem": entry.stem}[manner], instead=file(folder, "c").stem)
    (record,) = retractions.read_records(folder / "counting").retractions
    assert (record.entry, record.superseded_by) == (entry.name, file(folder, "c").name)


def test_the_same_retraction_again_adds_no_file(folder: Path) -> None:
    """A second reason is a second record."""
    entry = file(folder, "a")
    for why in ("one", "one", "two"):
        told(folder, str(entry), why)
    assert len(retractions.read_records(folder / "counting").retractions) == 2


def test_a_successor_may_be_superseded_later(folder: Path) -> None:
    """A gives way to b, then b to c: a chain with an end."""
    told(folder, file(folder, "a").name, instead=file(folder, "b").name)
    told(folder, file(folder, "b").name, instead=file(folder, "c").name)
    assert find_faults(folder) == []


def test_what_makes_no_sense_is_refused_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    """No such entry, no reason, too long a reason, itself, another board's entry, a loop, a withdrawn successor."""
    a, b, c, d = (file(folder, name).name for name in "abcd")
    outside = add(tmp_path / "outside", result("x"))
    told(folder, a, instead=b)
    told(folder, c)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for entry, why, instead, message in (
        ("nowhere", "w", None, "no entry 'nowhere' in"),
        (b, " \n", None, "--why gives no reason"),
        (b, "x" * 301, None, "--why has 301 characters"),
        (b, "w", b, "cannot supersede itself"),
        (b, "w", d, "is on the board another, not on counting"),
        (b, "w", a, "a chain that comes back to its beginning"),
        (b, "w", c, "is retracted itself: wrong prompt"),
        (str(outside), "w", None, "is no entry of a board in"),
    ):
        with pytest.raises(BenchError, match=message):
            told(folder, entry, why, instead)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
