"""`bench import lm-eval`: a foreign result is shown apart with its bits, unverified, and compared with nothing.

Damaged logs: tests/support/corpus/imports.py.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import samples
from baseline_bench.cli import main
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import checking
from baseline_bench.results import foreign
from baseline_bench.results.bits import hex_to_bits
from paths import DATA

THEIRS = DATA / "lm_eval"
RESULTS = "results_2026-11-23T03-35-07.653235.json"
SAMPLES = "samples_two_sums_2026-11-23T03-35-07.653235.jsonl"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a board of one row, and what lm-eval wrote, the first of its two items made right."""
    monkeypatch.chdir(tmp_path)
    samples.add(tmp_path / "leaderboards" / "counting")
    assert main(["board"]) == 0
    for file in (RESULTS, SAMPLES):
        shutil.copy(THEIRS / file, tmp_path)
    lines = [json.loads(line) for line in Path(SAMPLES).read_text().splitlines()]
    lines[0]["exact_match"] = 1.0
    write(lines)
    edit(lambda found: found["results"]["two_sums"].update({"exact_match,none": 0.5}))
    return tmp_path


def write(lines: list[dict]) -> None:
    """The samples anew."""
    Path(SAMPLES).write_text("\n".join(map(json.dumps, lines)))


def edit(of) -> None:
    """Change the results."""
    found = json.loads(Path(RESULTS).read_text())
    of(found)
    Path(RESULTS).write_text(json.dumps(found))


def bring(capfd, *more: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of the command."""
    capfd.readouterr()
    status = main(["import", "lm-eval", RESULTS, "--board", "counting", "--name", "theirs", *more])
    return status, *capfd.readouterr()


def test_a_foreign_result_stands_apart_with_what_is_not_known(here, capfd):
    """On the page, not in the table nor in the CSV; the board checks, and bringing it in again changes nothing."""
    before = (here / "leaderboards" / "counting.csv").read_text()
    status, out, err = bring(capfd)
    assert status == 0
    (record,) = foreign.read_records(here / "leaderboards" / "counting")
    assert (record.tool, record.task, record.metric, record.filter) == (
        "lm-eval 0.4.13",
        "two_sums",
        "exact_match",
        "none",
    )
    assert hex_to_bits(record.correct, record.items) == (True, False)
    assert "theirs is not verified and compared with nothing; not known: weights, prompt ids, dtype" in err
    page = (here / "leaderboards" / "counting.md").read_text()
    told = page.partition("## Results of other harnesses, not verified")[2]
    assert "`theirs`: 50.00 % (1 of 2), `lm-eval 0.4.13`, `two_sums`" in told
    assert "theirs" not in page.partition("## Results of other harnesses")[0]
    assert (here / "leaderboards" / "counting.csv").read_text() == before
    assert out.splitlines() == [f"leaderboards/counting/{foreign.record_path(record)}", "leaderboards/counting.md"]
    assert checking.find_faults(here / "leaderboards") == []
    assert bring(capfd)[1].splitlines() == [f"leaderboards/counting/{foreign.record_path(record)}"]


@pytest.mark.parametrize("fresh", [True, False])
def test_the_board_is_made_where_there_is_none(here, capfd, fresh):
    """Next to other boards, or as the first one of a folder that was not there; it checks, and is no board of rows."""
    if fresh:
        shutil.rmtree("leaderboards")
    status, out, _ = bring(capfd, "--board", "sums")
    assert status == 0
    assert {"leaderboards/sums.md", "leaderboards/README.md"} <= set(out.splitlines())
    assert "`theirs`: 50.00 % (1 of 2)" in Path("leaderboards/sums.md").read_text()
    assert "|[sums](sums.md)|results of other harnesses alone||0|0|" in Path("leaderboards/README.md").read_text()
    assert checking.find_faults(here / "leaderboards") == []
    assert main(["board", "--show"]) == main(["board"]) == 0
    assert "sums has no rows of right or wrong problems: see leaderboards/sums.md" in capfd.readouterr().err
    assert not Path("leaderboards/sums.csv").exists()
    assert main(["export", "csv", "--board", "sums"]) == 1
    assert "sums has no rows" in capfd.readouterr().err


def test_nothing_compares_with_a_foreign_result(here, capfd):
    """It is no row: neither its name nor its file is one."""
    bring(capfd)
    (path,) = here.glob("leaderboards/counting/foreign/*.json")
    assert main(["compare", "theirs", "smollm2-135m-it"]) == 1
    assert "no row 'theirs'" in capfd.readouterr().err
    assert main(["compare", str(path), "smollm2-135m-it"]) == 1


@pytest.mark.parametrize(
    ("harm", "more", "told"),
    [
        (lambda: Path(SAMPLES).unlink(), (), "no samples next to"),
        (
            lambda: edit(lambda found: found.update(results={"a": {}, "b": {}})),
            (),
            "several tasks: name one with --task",
        ),
        (
            lambda: edit(lambda found: found["results"]["two_sums"].update({"exact_match,strict": 0.5})),
            (),
            "several scores: name one with --metric: exact_match,none; exact_match,strict",
        ),
        (lambda: None, ("--metric", "acc,none"), "no 'acc,none': there is exact_match,none"),
        (lambda: None, ("--board", "../sums"), "'../sums' is no name for a board"),
        (lambda: None, ("--samples", "nowhere"), "nowhere cannot be read"),
    ],
)
def test_what_is_no_whole_result_is_refused(here, capfd, harm, more, told):
    """In one line, and nothing is written."""
    harm()
    status, out, err = bring(capfd, *more)
    assert (status, out) == (1, "")
    assert told in err
    assert not list(here.glob("leaderboards/*/foreign"))


def test_a_foreign_record_that_was_touched_fails_the_board_s_check(here, capfd):
    """As every record does; it is never edited."""
    bring(capfd)
    (path,) = here.glob("leaderboards/counting/foreign/*.json")
    path.write_text(path.read_text().replace('"theirs"', '"ours"'))
    with pytest.raises(BenchError, match="does not follow from its content"):
        foreign.read_records(path.parent.parent)
    assert main(["board", "--check"]) == 1
    assert "its name or spelling does not follow from its content" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"created": "today"}, "no UTC time"),
        ({"ids_sha256": "x"}, "ids_sha256 is no sha256"),
        ({"total": 1}, "2 of 1 items cannot be"),
        ({"correct": "f"}, "a padding bit is set"),
        ({"correct": "ff"}, "2 items are 1 lower-case hex digits"),
    ],
)
def test_a_record_whose_parts_do_not_fit_is_never_written(here, capfd, wrong, told):
    """Each is named."""
    bring(capfd)
    (record,) = foreign.read_records(here / "leaderboards" / "counting")
    with pytest.raises(ValueError, match=told):
        foreign.write_record(replace(record, **wrong), here)
