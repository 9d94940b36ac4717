"""results.lookup: an entry by path, by file name, or by its candidate's name."""

from dataclasses import replace

import pytest
import samples
from baseline_bench.analysis.compare import classify_comparison
from baseline_bench.core.errors import BenchError
from baseline_bench.results import entries, retractions
from baseline_bench.results.lookup import find_entry, find_pair, read_board_entries
from baseline_bench.results.retractions import Retraction

DAY = "2026-11-{}T12:00:00Z"


@pytest.fixture
def boards(tmp_path):
    """One board with two rows of `base`, one of `base+tuned`, and its partial run."""
    folder = tmp_path / "counting"
    samples.add(folder, samples.result("base"), DAY.format(20))
    samples.add(folder, samples.result("base"), DAY.format(21))
    samples.add(folder, samples.result("base+tuned"), DAY.format(20))
    samples.add(folder, samples.partial(samples.result("base+tuned")), DAY.format(22))
    return tmp_path


def paths(boards, name):
    """The files of a candidate, by time."""
    found = [path for path in (boards / "counting").glob("*.json") if entries.read_entry(path).result.candidate == name]
    return sorted(found, key=lambda path: entries.read_entry(path).created)


def withdraw(path):
    """Retract an entry."""
    said = Retraction(1, DAY.format(23), path.name, samples.sha("x"), "a wrong template", None)
    retractions.write_record(said, path.parent)


def test_a_path_and_a_file_name_mean_that_very_file(boards):
    """Older rows, subsets and withdrawn rows can be had so; the suffix may be left out."""
    old = paths(boards, "base")[0]
    withdraw(old)
    for asked in (str(old), old.name, old.stem):
        found = find_entry(asked, boards)
        assert (found.path, found.entry.created) == (old, DAY.format(20))
        assert found.retraction.why == "a wrong template"
        assert not found.counts
    subset = paths(boards, "base+tuned")[1]
    assert find_entry(subset.stem, boards, "counting").entry.result.selection.limit == 12


def test_a_name_means_the_newest_full_row(boards):
    """A partial run is newer and does not count."""
    assert find_entry("base", boards).entry.created == DAY.format(21)
    assert find_entry("base+tuned", boards).entry.created == DAY.format(20)


def test_a_withdrawn_row_is_passed_over(boards):
    """The newest row that is not withdrawn is meant; without one, the files that there are can be given instead."""
    old, new = paths(boards, "base")
    withdraw(new)
    assert find_entry("base", boards).path == old
    withdraw(old)
    with pytest.raises(BenchError, match="every row of 'base' is withdrawn or covers a subset") as caught:
        find_entry("base", boards)
    files = caught.value.way_out.partition(": ")[2].split(", ")
    assert [find_entry(file, boards).path for file in files] == sorted((old, new))


def test_an_unknown_name_is_answered_with_the_nearest_one(boards):
    """And with what else may be given."""
    with pytest.raises(BenchError, match="no row 'base-tuned'") as caught:
        find_entry("base-tuned", boards)
    assert "did you mean 'base+tuned'?" in caught.value.way_out
    assert "file name of an entry" in caught.value.way_out


def test_a_name_on_two_boards_is_ambiguous(boards):
    """The error says what to add to the command; naming the board settles it."""
    samples.add(boards / "other", samples.result("base"), DAY.format(20))
    with pytest.raises(BenchError, match="rows of 2 boards") as caught:
        find_entry("base", boards)
    assert caught.value.way_out == "add --board counting or --board other"
    assert find_entry("base", boards, "other").path.parent.name == "other"


def test_a_file_on_two_boards_is_ambiguous(boards):
    """The same content has the same name wherever it lies."""
    samples.add(boards / "other", samples.result("base"), DAY.format(20))
    with pytest.raises(BenchError, match="rows of 2 boards"):
        find_entry(paths(boards, "base")[0].name, boards)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda made: replace(made, prompts_sha256=samples.sha("other")), "has rows of one second"),
        (
            lambda made: replace(made, task=replace(made.task, label="counting-0shot@v2", protocol_sha256="0" * 64)),
            "has rows of 2 versions of a task",
        ),
    ],
)
def test_rows_that_no_rule_tells_apart_are_ambiguous(boards, change, what):
    """Two of one second, or of two versions of the task: their files are listed and none is taken."""
    samples.add(boards / "counting", change(samples.result("base")), DAY.format(21))
    with pytest.raises(BenchError, match=what) as caught:
        find_entry("base", boards)
    assert caught.value.way_out.count(".json") >= 2


def test_a_board_that_is_not_there_is_named(boards):
    """So is a folder."""
    with pytest.raises(BenchError, match="no board 'count' in") as caught:
        find_entry("base", boards, "count")
    assert "did you mean 'counting'?" in caught.value.way_out
    with pytest.raises(BenchError, match="no folder") as caught:
        find_entry("base", boards / "nowhere")
    assert "--leaderboards" in caught.value.way_out


def test_an_unsound_row_is_refused(boards):
    """Numbers that do not follow from the bits are not compared with anything."""
    path = paths(boards, "base")[1]
    path.write_text(path.read_text().replace('"correct": 5', '"correct": 6'))
    with pytest.raises(BenchError, match=path.name):
        find_entry("base+tuned", boards)


def test_every_row_of_a_board_is_read(boards):
    """Sorted by file name, those that count marked."""
    found = read_board_entries(boards / "counting")
    assert [row.path.name for row in found] == sorted(path.name for path in (boards / "counting").glob("*.json"))
    assert [row.counts for row in found].count(False) == 1


def comparable(one, other):
    """What `bench compare` asks of two rows."""
    return classify_comparison(one, other).name == "comparable"


def by_engine(name, version):
    """A row of that name that another version of the engine made."""
    made = samples.result(name)
    return replace(made, engine=replace(made.engine, version=version))


def chosen(boards, first="base+tuned", second="base", board=None):
    """The times of the two rows that are paired."""
    return tuple(row.entry.created for row in find_pair(first, second, boards, board, comparable))


def test_of_several_rows_the_newest_comparable_pair_is_taken(boards):
    """A newer row of another engine is passed over, whichever of the two names has it, in either order."""
    assert chosen(boards) == (DAY.format(20), DAY.format(21))
    samples.add(boards / "counting", by_engine("base", "scripted 2"), DAY.format(24))
    assert chosen(boards) == (DAY.format(20), DAY.format(21))
    assert chosen(boards, "base", "base+tuned") == (DAY.format(21), DAY.format(20))
    samples.add(boards / "counting", by_engine("base+tuned", "scripted 2"), DAY.format(25))
    samples.add(boards / "counting", samples.result("base"), DAY.format(26))
    assert chosen(boards) == (DAY.format(25), DAY.format(24))


def test_without_a_comparable_pair_the_newest_rows_are_taken(boards):
    """They make a system comparison, or none, and the verdict says so."""
    samples.add(boards / "counting", by_engine("other", "scripted 2"), DAY.format(24))
    samples.add(boards / "counting", by_engine("other", "scripted 3"), DAY.format(25))
    assert chosen(boards, "other") == (DAY.format(25), DAY.format(21))


def test_a_file_that_is_named_is_never_exchanged(boards):
    """The other side, given by its name, is the row that fits this file."""
    file = samples.add(boards / "counting", by_engine("base", "scripted 2"), DAY.format(24))
    samples.add(boards / "counting", by_engine("base+tuned", "scripted 2"), DAY.format(19))
    for asked in (file.name, str(file)):
        assert chosen(boards, second=asked) == (DAY.format(19), DAY.format(24))
    partial = paths(boards, "base+tuned")[-1]
    assert chosen(boards, partial.stem) == (DAY.format(22), DAY.format(24))


def test_of_several_boards_the_one_with_a_comparable_pair_is_taken(boards):
    """Two that have one are ambiguous, as are two versions of the task."""
    samples.add(boards / "other", by_engine("base", "scripted 2"), DAY.format(24))
    assert chosen(boards) == (DAY.format(20), DAY.format(21))
    samples.add(boards / "other", by_engine("base+tuned", "scripted 2"), DAY.format(24))
    with pytest.raises(BenchError, match="rows of 2 boards"):
        chosen(boards)
    assert chosen(boards, board="other") == (DAY.format(24), DAY.format(24))


def test_pairs_of_one_second_are_ambiguous(boards):
    """Nothing tells them apart, so the files are listed."""
    twin = samples.result("base")
    twin = replace(twin, provenance=replace(twin.provenance, git_commit="1" * 40))
    samples.add(boards / "counting", twin, DAY.format(21))
    with pytest.raises(BenchError, match="of one second") as caught:
        chosen(boards)
    assert caught.value.way_out.count(".json") == 3
