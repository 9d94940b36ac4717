"""Every input of the corpus: `score` and `doctor` find what it is made to show, and nothing in its sound twin."""

import json
from pathlib import Path

import pytest
from baseline_bench.core.findings import CODES
from corpus import adapters, answers, candidates, templates
from corpus.cases import Case
from tiny_study import bench

CASES = (*candidates.CASES, *adapters.CASES, *templates.CASES)
# Codes that no single folder shows: what does show them, and is tested there.
ELSEWHERE = {
    **dict.fromkeys(("bos-missing", "bos-declared"), "a rule that models.toml declares: test_template_checks.py"),
    "embedding-merged": "a base that is named: test_soundness.py",
    **dict.fromkeys(("not-of-base", "other-base", "tokenizer-not-base"), "a base that is named: test_doctor.py"),
    **dict.fromkeys(("answers-endless", "answers-special-tokens"), "what doctor generates: test_doctor.py"),
    "answers-scripted": "an engine and not a model: test_page.py",
    "unusable": "files that are no model, one line each: test_bad_input.py and test_doctor.py",
}
BY_NAME = {case.name: case for case in CASES}


def _codes(printed: str) -> list[tuple[str, str]]:
    return sorted((one["code"], one["severity"]) for one in json.loads(printed)["findings"])


def _named(candidate: Path) -> tuple[Path | str, ...]:
    """The candidate as a user names it: an adapter with the folder of its base."""
    config = candidate / "adapter_config.json"
    return (
        (candidate, "--base", json.loads(config.read_text())["base_model_name_or_path"])
        if config.is_file()
        else (candidate,)
    )


def _scored(place: Path, candidate: Path, refused: bool, capfd) -> list[tuple[str, str]]:
    """What `bench score --json` finds; a model that is refused is refused whatever the engine would do."""
    engine = "transformers" if refused else "scripted"
    words = ("score", *_named(candidate), "--task", "word-problems", "--limit", "2", "--engine", engine, "--json")
    capfd.readouterr()
    assert bench(place, *words) == (1 if refused else 0)
    return _codes(capfd.readouterr().out)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_score_and_doctor_find_the_same(case: Case, tmp_path, capfd):
    """The codes and severities that the case names, in both commands; a refusal ends in one line and makes no row."""
    candidate = case.build(tmp_path / "candidate")
    refused = any(severity == "refuse" for _, severity in case.expected)
    assert _scored(tmp_path, candidate, refused, capfd) == sorted(case.expected)
    assert bool(list(tmp_path.glob("leaderboards/*/*.json"))) != refused
    assert bench(tmp_path, "doctor", *_named(candidate), "--answers", "0", "--json") == (1 if case.expected else 0)
    assert _codes(capfd.readouterr().out) == sorted(case.expected)


@pytest.mark.parametrize("case", [case for case in CASES if case.expected], ids=lambda case: case.name)
def test_every_bad_input_has_a_sound_twin(case: Case):
    """The twin is in the corpus and expects no finding."""
    assert BY_NAME[case.twin].expected == ()


def test_names_are_unique():
    """A case is found by its name."""
    assert len(BY_NAME) == len(CASES)


def test_every_code_has_a_case():
    """A check without a bad input is noticed when its code is written down."""
    expected = {code for case in CASES for code, _ in case.expected} | {
        code for *_, code in (*answers.CASES, *answers.CUT) if code
    }
    assert expected | ELSEWHERE.keys() == CODES.keys()
    assert expected.isdisjoint(ELSEWHERE)
