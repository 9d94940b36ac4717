"""GSM8K is read as published, asked with an example that nobody trained on, and every published solution is right."""

import json
import re
from itertools import pairwise
from pathlib import Path

import datasets
import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Message, Problem, Split
from baseline_bench.tasks import gsm8k
from huggingface_hub import constants

CONFIGS = ("main", "socratic")
SIZES = {"test": 1319, "train": 7473}


def write_mirror(folder: Path, rows: list[dict[str, object]], config: str = "main") -> Path:
    """Write a mirror of the hub with one small test split; JSON lines load as Parquet does."""
    data = folder / "openai" / "gsm8k"
    (data / config).mkdir(parents=True)
    (data / config / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = f"  data_files:\n  - split: test\n    path: {config}/test.jsonl\n"
    (data / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n{files}---\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    """What the library prepares from a mirror stays in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SIZES)
def test_every_published_solution_is_right_and_in_the_format(gsm8k_mirror, name, config):
    """All 17,584 published solutions, taken as completions, are read by the hash rule, correct and strict."""
    problems = gsm8k.problems(Split(name, config, gsm8k_mirror))
    verdicts = [gsm8k.grade(problem, Completion(problem.solution, None, "stop")) for problem in problems]
    assert len(verdicts) == SIZES[name]
    assert [verdict for verdict in verdicts if not (verdict.correct and verdict.strict)] == []
    assert {verdict.rule for verdict in verdicts} == {"hash"}


def test_a_published_solution_without_its_last_line_is_read_or_refused_but_seldom_misread(gsm8k_mirror):
    """Of the test solutions without their `####` line the last number gives 96 in 100, on text nobody wrote for it."""
    problems = gsm8k.problems(Split("test", "main", gsm8k_mirror))
    texts = [re.sub(r"<<[^>]*>>", "", problem.solution.rpartition("\n#### ")[0]) for problem in problems]
    right = sum(
        gsm8k.grade(problem, Completion(text, None, "stop")).correct
        for problem, text in zip(problems, texts, strict=True)
    )
    assert right >= 0.96 * len(problems)


def test_the_answer_of_another_problem_is_wrong(gsm8k_mirror):
    """A published solution graded against the next problem is right only where the two answers are one number."""
    problems = gsm8k.problems(Split("test", "main", gsm8k_mirror))
    for problem, other in pairwise(problems):
        verdict = gsm8k.grade(problem, Completion(other.solution, None, "stop"))
        assert verdict.correct == verdict.strict == (problem.answer == other.answer)


def test_ids_count_from_zero_and_answers_are_plain_digits(gsm8k_mirror):
    """Problems keep the published order, answers lose their commas, solutions stay as published."""
    problems = gsm8k.problems(Split("test", "main", gsm8k_mirror))
    assert [problem.id for problem in problems] == [f"test-{number}" for number in range(1319)]
    assert all(re.fullmatch(r"-?[0-9]+", problem.answer) for problem in problems)
    assert sum("," in problem.solution.rpartition("####")[2] for problem in problems) == 14
    assert sum(problem.answer.startswith("-") for problem in problems) == 2
    assert problems[2].answer == "70000"
    assert problems[2].solution.endswith("#### 70000")


def test_a_prompt_is_the_worked_example_and_then_the_question():
    """Every prompt begins with the same two turns, has no system turn and ends with the user's question."""
    problem = Problem("test-0", "How many eggs are left?", "18", "#### 18")
    asked = gsm8k.messages(problem)
    assert [message.role for message in asked] == ["user", "assistant", "user"]
    assert asked[-1] == Message("user", problem.question)
    assert re.fullmatch(r"(?:[^#<>]+\n)+#### [0-9]+", asked[1].content)


def test_the_worked_example_calculates_right_and_grades_as_right():
    """Each equation of the example holds, and the example is in the format that `strict` counts."""
    question, solution = gsm8k.EXAMPLE
    equations = re.findall(r"(\d+)([-+*/])(\d+) = (\d+)", solution)
    assert len(equations) == solution.count("=")
    results = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
    assert all(results[sign](int(one), int(two)) == int(result) for one, sign, two, result in equations)
    problem = Problem("example", question, equations[-1][3], solution)
    verdict = gsm8k.grade(problem, Completion(solution, None, "stop"))
    assert verdict.correct
    assert verdict.strict


def test_the_worked_example_is_in_neither_split(gsm8k_mirror):
    """No row of the four files holds the example or shares 13 words in a row with it (the overlap test of GPT-3)."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[a-z0-9]+", text.lower())
        return {tuple(words[start : start + 13]) for start in range(len(words) - 12)}

    own = grams(" ".join(gsm8k.EXAMPLE))
    assert own
    for name in SIZES:
        for config in CONFIGS:
            for problem in gsm8k.problems(Split(name, config, gsm8k_mirror)):
                assert gsm8k.EXAMPLE[0] != problem.question
                assert not own & grams(f"{problem.question} {problem.solution}"), problem.id


def test_a_folder_without_the_data_set_is_named_with_the_way_out(tmp_path):
    """A mirror that lacks openai/gsm8k is refused in one line that names the folder and the flag."""
    with pytest.raises(BenchError, match=r"no openai/gsm8k in the folder .*--datasets DIR or BENCH_DATASETS"):
        gsm8k.problems(Split(mirror=tmp_path))


def test_an_empty_folder_and_a_missing_config_are_refused(tmp_path):
    """A folder without data files, or without the wanted config, is an error of one line."""
    (tmp_path / "bare" / "openai" / "gsm8k").mkdir(parents=True)
    with pytest.raises(BenchError, match="cannot load") as bare:
        gsm8k.problems(Split(mirror=tmp_path / "bare"))
    mirror = write_mirror(tmp_path / "one", [{"question": "How many?", "answer": "#### 1"}])
    with pytest.raises(BenchError, match="has no socratic/test") as missing:
        gsm8k.problems(Split(config="socratic", mirror=mirror))
    assert "\n" not in f"{bare.value}{missing.value}"


def test_an_unreachable_hub_is_one_line_with_four_ways_out(monkeypatch):
    """Without network the user is told of --datasets, BENCH_DATASETS, HF_ENDPOINT and the task without data."""

    def unreachable(*_args: object, **_options: object) -> None:
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(BenchError) as refused:
        gsm8k.problems(Split())
    message = str(refused.value)
    assert "\n" not in message
    assert all(way in message for way in ("--datasets DIR", "BENCH_DATASETS", "HF_ENDPOINT", "word-problems"))


@pytest.mark.parametrize(
    ("endpoint", "proxy", "offline"),
    [
        ("https://hub.invalid", None, True),
        ("https://hub.invalid", "http://localhost:1", False),
        ("http://localhost:1", None, False),
    ],
)
def test_a_hub_without_an_address_is_not_asked_again_and_again(monkeypatch, endpoint, proxy, offline):
    """The libraries then look into their cache alone; a proxy resolves names itself. Afterwards they are as before."""
    asked = []

    def load(*_args: object, **_options: object) -> None:
        asked.append(constants.HF_HUB_OFFLINE)
        raise ConnectionError("Couldn't reach")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if proxy is not None:
        monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(BenchError, match="cannot load"):
        gsm8k.problems(Split())
    assert (asked, constants.HF_HUB_OFFLINE) == ([offline], False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "How many?", "solution": "#### 1"}], r"lacks the columns answer: it has: question, solution"),
        ([{"question": "How many?", "answer": "1"}], r"1 rows .* no readable '#### N': test-0"),
        (
            [{"question": "How many?", "answer": f"#### {answer}"} for answer in ("1", "1,23", "two", "3", "")],
            r"3 rows .* no readable '#### N': test-1, test-2, test-4",
        ),
        (
            [{"question": "How many?", "answer": None}, {"question": None, "answer": "#### 1"}],
            "2 rows .* test-0, test-1",
        ),
    ],
    ids=["column", "no-hash", "several-rows", "null"],
)
def test_broken_data_is_refused_by_name(tmp_path, rows, message):
    """A missing column is named beside those that are there; every row that cannot be read is counted and named."""
    with pytest.raises(BenchError, match=message):
        gsm8k.problems(Split(mirror=write_mirror(tmp_path, rows)))


def test_an_empty_data_set_is_refused(monkeypatch):
    """No rows is an error, never a score of 0 out of 0."""
    empty = datasets.Dataset.from_dict({"question": [], "answer": []})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_args, **_options: empty)
    with pytest.raises(BenchError, match="main test is empty"):
        gsm8k.problems(Split())


def test_loading_prints_nothing_and_leaves_the_library_as_it_was(tmp_path, capfd):
    """No progress bar reaches the screen, and other users of the library keep theirs."""
    mirror = write_mirror(tmp_path, [{"question": "How many?", "answer": "9*2=<<9*2=18>>18\n#### 1,018"}])
    shown = datasets.are_progress_bars_disabled()
    (problem,) = gsm8k.problems(Split(mirror=mirror))
    assert (problem.id, problem.answer) == ("test-0", "1018")
    assert datasets.are_progress_bars_disabled() == shown
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_read_as_it_lies_there_now(tmp_path):
    """An edited file and another folder of the same name have their own rows, whatever the library kept before."""
    first = write_mirror(tmp_path / "first", [{"question": "How many?", "answer": "#### 1"}])
    assert [problem.answer for problem in gsm8k.problems(Split(mirror=first))] == ["1"]
    second = write_mirror(tmp_path / "second", [{"question": "How many?", "answer": "#### 2"}])
    assert [problem.answer for problem in gsm8k.problems(Split(mirror=second))] == ["2"]
    (first / "openai/gsm8k/main/test.jsonl").write_text('{"question": "How many?", "answer": "#### 13"}\n')
    assert [problem.answer for problem in gsm8k.problems(Split(mirror=first))] == ["13"]
    assert str(tmp_path / "cache") == datasets.config.HF_DATASETS_CACHE
