"""Every input of the corpus: what it is made to show is found, by the check that is named, and nothing in its twin."""

import re
import sys
from contextlib import chdir, nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from baseline_bench.cli import main
from baseline_bench.core.findings import CODES
from corpus import asking
from corpus.cases import Case, Run
from corpus.checks import BY_CODE, WITHOUT_CASE
from corpus.classes import CLASSES, format_counts, list_codes
from own_task import package
from paths import ROOT

pytestmark = pytest.mark.usefixtures("forked_children")

EVERY = [(name, case) for name, module in CLASSES.items() for case in module.CASES]
BEFORE_A_RUN = ("candidates", "adapters", "templates", "shots")
# Where docs/findings.md says that a code is found, by the class that shows it.
WHEN = {
    **dict.fromkeys(BEFORE_A_RUN, "before the run"),
    "trainings": "doctor --base",
    "generated": "doctor",
    "answers": "after the run",
}
WHEN_WITHOUT_CASE = {"answers-scripted": "after the run"}


def _walk(pairs, *more: str):
    """Parametrizes a test with classes and cases, and what else is in each tuple."""
    values = [pytest.param(*pair, id="-".join((pair[0], pair[1].name, *pair[2:]))) for pair in pairs]
    return pytest.mark.parametrize(("name", "case", *more), values)


@pytest.fixture
def run(capfd) -> Run:
    """Gives a command in a folder."""

    def give(folder: Path, *words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with chdir(folder):
            status = main([*words, *(() if words[0] == "import" else ("--cache", "cache"))])
        return status, *capfd.readouterr()

    return give


@_walk(EVERY)
def test_what_a_case_is_made_to_show_is_found(name: str, case: Case, tmp_path: Path, run: Run):
    """Every code that the case names and no other; nothing in a sound twin."""
    assert sorted(CLASSES[name].look(case.build(tmp_path / "case"), run)) == sorted(case.expected)


def _list_commands() -> list[tuple[str, Case, str]]:
    """Every case that is found before a run, by score; the first of each class, code and a sound one by baseline."""
    pairs = [(name, case) for name, case in EVERY if name in BEFORE_A_RUN]
    first = {(name == "adapters", case.expected): (name, case) for name, case in reversed(pairs)}
    return [(*pair, "score") for pair in pairs] + [(*pair, "baseline") for pair in first.values()]


@_walk(_list_commands(), "command")
def test_score_and_baseline_find_what_doctor_finds(
    name: str, case: Case, command: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    """The same codes and severities; a refusal ends in one line and makes no row.

    `baseline` scores the base of an adapter with the adapter unmerged, as the engine's option names it. The base is
    then the user's own choice, whatever the adapter calls it.
    """
    package(tmp_path / "installed", "unmerged", "[bench.engines]\nunmerged = unmerged\n", asking.UNMERGED)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    expected = [each for each in case.expected if command == "score" or each[0] != "other-base"]
    refused = any(severity == "refuse" for _, severity in expected)
    candidate = case.build(tmp_path / "case")
    assert asking.score(command, candidate, run, refused=refused) == sorted(expected)


def _list_removals() -> list[tuple[str, Case, str]]:
    """Every case with each check that finds it."""
    coded = [(name, case, place) for name, case in EVERY for place in sorted(_places(case))]
    return coded + [(name, case, "its own") for name, case in EVERY if case.checks]


def _places(case: Case) -> set[str]:
    return set() if case.checks else {BY_CODE[code].place for code, _ in case.expected if code in BY_CODE}


@_walk(_list_removals(), "removed")
def test_a_case_depends_on_its_check(
    name: str, case: Case, removed: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    """Without the check the case is accepted, but for what other checks find, or it breaks what follows."""
    made = case.build(tmp_path / "case")
    checks = case.checks or tuple(one for one in BY_CODE.values() if one.place == removed)
    lost = {(code, grade) for code, grade in case.expected if case.checks or BY_CODE[code].place == removed}
    for check in checks:
        check.remove(monkeypatch)
    with nullcontext() if case.then is None else pytest.raises(case.then):
        found = set(CLASSES[name].look(made, run))
        assert found.isdisjoint(lost) if case.expected else found
        assert case.checks or found <= set(case.expected)


@pytest.mark.parametrize("module", CLASSES.values(), ids=CLASSES.keys())
def test_every_case_has_a_twin_and_a_check(module: ModuleType):
    """The twin is of the same class and its opposite; where a check cannot be taken away the case says why."""
    cases = {case.name: case for case in module.CASES}
    assert len(cases) == len(module.CASES)
    assert [case.name for case in cases.values() if bool(cases[case.twin].expected) == bool(case.expected)] == []
    bad = [case for case in cases.values() if case.expected]
    assert [case.name for case in bad if (bool(case.checks) + bool(_places(case)) + bool(case.kept)) != 1] == []
    assert [case.name for case in bad if not case.kept] != []


def test_every_code_has_a_case_or_a_reason():
    """A check without a bad input is noticed when its code is written down. With -s, prints what there is."""
    shown = {code for name in WHEN for code in list_codes(name)}
    assert shown | WITHOUT_CASE.keys() == CODES.keys()
    assert shown.isdisjoint(WITHOUT_CASE)
    assert BY_CODE.keys() == shown
    places = {code: next((ROOT / "tests").rglob(reason.rpartition(": ")[2])) for code, reason in WITHOUT_CASE.items()}
    assert [code for code, place in places.items() if f'"{code}"' not in place.read_text(encoding="utf-8")] == []
    sys.stdout.write(f"\n{format_counts()}\n")


def test_the_page_of_findings_says_when_each_is_found():
    """In each of the ways in which the corpus shows it."""
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\|`([a-z-]+)`\|[a-z]+\|([^|]+)\|", page, re.MULTILINE))
    ways = {code: {WHEN[name] for name in WHEN if code in list_codes(name)} for code in BY_CODE}
    ways |= {code: {WHEN_WITHOUT_CASE.get(code, "before the run")} for code in WITHOUT_CASE}
    assert {code: set(when.split(", ")) for code, when in said.items()} == ways
