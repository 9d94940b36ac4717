"""results.advisories: which rows a fault of an earlier version may have changed, and where that is shown."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench import cli
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import checking, leaderboard
from baseline_bench.results import advisories, entries
from baseline_bench.results.advisories import Advisory
from baseline_bench.results.entry import CheckResults, Entry, Result
from paths import ROOT
from samples import add, entry, result

OWN = """
[[advisories]]
id = "cold"
affects = "the speed"
before = "2026-11-23T00:00:00Z"
where = { "result.candidate" = ["base*"] }
"""


def advisory(**changes: object) -> Advisory:
    """One that concerns rows of transformers older than 0.2."""
    whole: dict[str, object] = {"where": {"result.engine.name": ("transformers",)}, "fixed_in": "0.2", **changes}
    return Advisory("x", "the score", **whole)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"fixed_in": "0.1.0"}, False),
        ({"fixed_in": "0.10"}, True),
        ({"fixed_in": "9" * 5000}, True),
        ({"fixed_in": None, "before": "2026-11-22T12:00:01Z"}, True),
        ({"fixed_in": None, "before": "2026-11-22T12:00:00Z"}, False),
        ({"where": {"result.engine.name": ("vllm", "Trans*")}}, True),
        ({"where": {"result.engine.name": ("vllm",)}}, False),
        ({"where": {"result.engine.settings.batch": ("8",), "result.model.stop_ids": ("0",)}}, True),
        ({"where": {"result.engine.settings.batch": ("8",), "result.model.stop_ids": ("1",)}}, False),
        ({"where": {"result.checks": ()}}, True),
        ({"where": {"result.engine.name": ()}}, False),
        ({"where": {"result.no.such": ("*",)}}, False),
    ],
)
def test_every_condition_must_hold(changes: dict[str, object], matches: bool) -> None:
    """Version, time, patterns of a field's text, and fields that are absent."""
    assert advisory(**changes).matches(entry(result("a"))) is matches


def test_no_committed_row_is_marked_without_cause() -> None:
    """None of the faults that this version corrected touched the rows of this repository."""
    known = advisories.read_advisories(None)
    rows = [entries.read_entry(path) for path in sorted((ROOT / "leaderboards").glob("*/*.json"))]
    assert known
    assert [row.result.candidate for row in rows if advisories.find_advisories(row, known)] == []


def thinking(of: Result) -> Result:
    """A row of a model that thinks, older than the checks."""
    return replace(of, candidate="qwen3-0.6b", model=replace(of.model, name="Qwen3-0.6B", prompt_style="template"))


def half(of: Result) -> Result:
    """A row without a right answer in half precision, older than the checks."""
    counts = replace(of.counts, correct=0, strict=0)
    return replace(of, counts=counts, engine=replace(of.engine, settings={"dtype": "float16"}))


def algebra(of: Result) -> Result:
    """A row of a task of algebra, read by the first reader."""
    return replace(of, task=replace(of.task, name="math-500", reader="final-number@v1"))


def served(of: Result) -> Result:
    """A row of a server's answers."""
    return replace(of, engine=replace(of.engine, name="openai"))


def checked(of: Result) -> Result:
    """The same row with checks."""
    return replace(of, checks=CheckResults((), (), "finite"))


@pytest.mark.parametrize(
    ("affected", "sound", "name"),
    [
        (thinking(result()), checked(thinking(result())), "thought-graded"),
        (half(result()), checked(half(result())), "logits-unchecked"),
        (algebra(result()), replace(algebra(result()), task=result().task), "reader-v1-algebra"),
        (served(result()), result(), "server-penalties"),
    ],
)
def test_each_advisory_of_ours_has_a_row_and_a_sound_twin(affected: Result, sound: Result, name: str) -> None:
    """What the fault could have changed, and what it could not."""
    known = advisories.read_advisories(None)
    found = [[one.id for one in advisories.find_advisories(entry(of), known)] for of in (affected, sound)]
    assert found == [[name], []]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board of an affected row and one that is newer, with an advisory of the repository's own."""
    folder = tmp_path / "leaderboards"
    add(folder / "counting", result("base"))
    add(folder / "counting", result("other"), created="2026-11-24T12:00:00Z")
    (folder / advisories.FILE).write_text(OWN)
    leaderboard.update_pages(folder)
    return folder


def test_an_affected_row_is_marked_wherever_it_is_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A note of the check, the page, the sheet, the plot and a comparison; the other row is not."""
    report = checking.check_leaderboards(folder)
    assert report.faults == ()
    assert [("-base-" in note, "cold" in note) for note in report.notes] == [(True, True)]
    for suffix in ("md", "csv", "svg"):
        lines = (folder / f"counting.{suffix}").read_text().splitlines()
        mark = "warned" if suffix == "svg" else "cold"
        assert [line for line in lines if mark in line and "base" in line]
        assert not [line for line in lines if mark in line and "other" in line]
    assert cli.main(["compare", "base", "other", "--leaderboards", str(folder), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["findings"] == [["cold"], []]


def test_faulty_advisories_are_one_fault_of_the_check(folder: Path) -> None:
    """The rest is checked, but not the pages, which show advisories."""
    (folder / advisories.FILE).write_text(OWN.replace("candidate", "candidat"))
    (folder / "stray.html").write_text("x")
    found = [fault.file for fault in checking.find_faults(folder)]
    assert found == [(folder / name).as_posix() for name in (advisories.FILE, "stray.html")]


def test_scripted_answers_are_marked(tmp_path: Path) -> None:
    """A real model's name over a script's answers says so on its page; the same row of an engine does not."""
    of = result("real-model")
    scripted = replace(of, engine=replace(of.engine, name="scripted"))
    assert (scripted.marks, of.marks) == (("answers-scripted",), ())
    add(tmp_path / "counting", scripted)
    leaderboard.update_pages(tmp_path)
    assert "warned: `answers-scripted`" in (tmp_path / "counting.md").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "advisories = 1",
        OWN + OWN,
        OWN.replace('"cold"', '"thought-graded"'),
        OWN.replace("2026-11-23T00:00:00Z", "yesterday"),
        OWN.replace('before = "2026-11-23T00:00:00Z"', 'fixed_in = "later"'),
        OWN.replace('["base*"]', '"base*"'),
        OWN.replace('"result.candidate" = ["base*"]', '"result.engine" = ["vllm"]'),
        *(
            OWN.replace('"result.candidate" = ["base*"]', f'"{field}" = []')
            for field in (
                "result.chekcs",
                "checks",
                "result.checks.no",
                "result.model.name.x",
                "result.base_sha256",
                "",
            )
        ),
        '[[advisories]]\nid = "x"\naffects = "y"\nwhere = {}',
        OWN.replace('before = "2026-11-23T00:00:00Z"', f'fixed_in = "{"9" * 5000}"'),
        "[[",
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(text: str, tmp_path: Path) -> None:
    """Naming the file; an advisory without a condition would mark every row."""
    (tmp_path / advisories.FILE).write_text(text)
    with pytest.raises(BenchError, match=advisories.FILE):
        advisories.read_advisories(tmp_path)


def test_all_problems_of_a_file_are_one_error(tmp_path: Path) -> None:
    """Wherever they are, each with the advisory that has it."""
    second = OWN.replace('"cold"', '"other"').replace("2026-11-23T00:00:00Z", "soon").replace("candidate", "candidat")
    (tmp_path / advisories.FILE).write_text(OWN + OWN.replace("result.candidate", "result.no") + second)
    with pytest.raises(BenchError) as raised:
        advisories.read_advisories(tmp_path)
    assert [raised.value.what.count(f"'{name}'") for name in ("cold", "other", "result.no")] == [2, 2, 1]


def test_our_own_advisories_pass_the_check_of_a_board_s(tmp_path: Path) -> None:
    """A board's file is checked whenever it is read, ours here."""
    text = (ROOT / "harness" / "results" / advisories.FILE).read_text(encoding="utf-8")
    (tmp_path / advisories.FILE).write_text(text.replace('id = "', 'id = "copy-of-'))
    assert len(advisories.read_advisories(tmp_path)) == 2 * len(advisories.read_advisories(None)) > 0


@pytest.mark.parametrize(
    "path", ["created", "result.checks.logits", "result.engine.settings.any", "result.training.candidate.values.lr"]
)
def test_a_condition_may_name_any_field(path: str, tmp_path: Path) -> None:
    """Of optional records and of mappings too."""
    (tmp_path / advisories.FILE).write_text(OWN.replace("result.candidate", path))
    assert path in advisories.read_advisories(tmp_path)[-1].where


def test_a_byte_order_mark_is_read_and_a_pipe_is_refused(tmp_path: Path) -> None:
    """As in every other file that people write."""
    file = tmp_path / advisories.FILE
    file.write_text(f"\ufeff{OWN}", encoding="utf-8")
    assert advisories.read_advisories(tmp_path)[-1].id == "cold"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BenchError, match="not a regular file"):
        advisories.read_advisories(tmp_path)


def test_an_entry_keeps_its_bytes() -> None:
    """An advisory is shown with a row and never stored in it."""
    assert not {"advisories", "marks"} & set(Entry.__dataclass_fields__)
