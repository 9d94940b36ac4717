"""`bench export`: rows leave as CSV, for the Hugging Face hub and as lm-eval writes them, each number ours."""

import csv
import importlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import samples
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from harness.cli import main
from harness.store import entries, lineage

TOTAL, RIGHT = 12, 5
# What lm-eval 0.4.13 wrote of a task of two items and a model that answers nonsense, but for what tells of a machine.
THEIRS = Path(__file__).parent / "data" / "lm_eval"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a board of two rows that says it is gsm8k's."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        samples.add(tmp_path / "leaderboards" / "gsm8k", gsm8k(name))
    assert main(["board"]) == 0
    return tmp_path


def gsm8k(name: str):
    """A full run whose task has a data set on the hub, though its label is none of ours."""
    made = samples.result(name)
    return samples.replace(made, task=samples.replace(made.task, name="gsm8k"))


def told(capfd, *words: object) -> str:
    """What a command prints."""
    capfd.readouterr()
    assert main([str(word) for word in words]) == 0
    return capfd.readouterr().out


def refused(capfd, *words: object) -> str:
    """The one line of a command that fails."""
    capfd.readouterr()
    assert main([str(word) for word in words]) == 1
    return capfd.readouterr().err


def test_rows_as_csv_are_those_of_their_board(here, capfd):
    """The same head, the same cells, of those rows alone."""
    board = (here / "leaderboards" / "gsm8k.csv").read_text().splitlines()
    out = told(capfd, "export", "csv", "other").splitlines()
    assert out == [board[0], next(line for line in board if line.startswith("other,"))]
    both = list(csv.DictReader(io.StringIO(told(capfd, "export", "csv", "mine", "other"))))
    assert [(row["candidate"], row["correct"], row["items"]) for row in both] == [
        (name, str(RIGHT), str(TOTAL)) for name in ("mine", "other")
    ]


def test_csv_of_several_boards_has_one_head(here, capfd):
    """Each row as on its own board."""
    samples.add(here / "leaderboards" / "counting")
    out = told(capfd, "export", "csv", "mine", "smollm2-135m-it").splitlines()
    assert [line.partition(",")[0] for line in out] == ["candidate", "mine", "smollm2-135m-it"]


def test_the_hub_s_own_classes_read_what_was_written(here, capfd):
    """`.eval_results` and the model index hold the same percentage, and say what it is one of."""
    out = told(capfd, "export", "hf", "mine", "repository", "--source", "https://example.org/entry")
    results, card = map(Path, out.split())
    (found,) = parse_eval_result_entries(yaml.safe_load(results.read_text()))
    assert (found.dataset_id, found.task_id, found.value) == ("openai/gsm8k", "gsm8k", 41.67)
    assert (found.date, found.source_url) == ("2026-11-22T12:00:00Z", "https://example.org/entry")
    assert "5 of 12" in found.notes
    data = ModelCard.load(card).data
    (listed,) = data.eval_results
    assert (data.model_name, listed.dataset_type, listed.metric_value) == ("mine", "openai/gsm8k", 41.67)


def test_a_card_that_is_there_keeps_its_words_and_its_other_results(here, capfd):
    """The same result again takes the place of the older one."""
    Path("repository").mkdir()
    Path("repository/README.md").write_text(
        "---\nlicense: mit\nmodel-index:\n- name: theirs\n  results:\n  - task:\n      type: text-generation\n"
        "    dataset:\n      name: Other\n      type: org/other\n    metrics:\n    - type: accuracy\n      value: 3\n"
        "---\n# My model\n\nIts story.\n"
    )
    for _ in range(2):
        told(capfd, "export", "hf", "mine", "repository")
    card = ModelCard.load(Path("repository/README.md"))
    assert (card.data.license, card.data.model_name) == ("mit", "theirs")
    assert [one.dataset_type for one in card.data.eval_results] == ["org/other", "openai/gsm8k"]
    assert card.text == "# My model\n\nIts story.\n"


@pytest.mark.parametrize("text", ["---\n[1\n---\n", "---\n- a\n---\n", "---\nmodel-index:\n- results: 3\n---\n"])
def test_a_card_that_cannot_be_read_is_left_as_it_is(here, capfd, text):
    """Its metadata would be lost."""
    Path("repository").mkdir()
    Path("repository/README.md").write_text(text)
    assert "its metadata cannot be read" in refused(capfd, "export", "hf", "mine", "repository")
    assert Path("repository/README.md").read_text() == text
    assert not Path("repository/.eval_results").exists()


def test_what_would_be_taken_for_more_than_it_is_is_not_handed_to_the_hub(here, capfd):
    """A subset, a row that was withdrawn, a task without a data set there."""
    board = here / "leaderboards" / "gsm8k"
    part = samples.add(board, samples.partial(gsm8k("part")))
    assert "covers 12 of 1319 items" in refused(capfd, "export", "hf", part, "repository")
    path = next(board.glob("*-mine-*.json"))
    assert main(["retract", path.name, "--why", "it was wrong"]) == 0
    assert "was withdrawn: it was wrong: export a row" in refused(capfd, "export", "hf", path, "repository")
    samples.add(here / "leaderboards" / "counting")
    assert "counting is no data set of the hub" in refused(capfd, "export", "hf", "smollm2-135m-it", "repository")
    assert lineage.read(board).retractions
    assert not Path("repository").exists()


def one(folder: Path, pattern: str) -> Path:
    """The one file of this pattern."""
    (found,) = folder.rglob(pattern)
    return found


def test_what_lm_eval_wrote_and_what_is_written_here_have_one_layout(here, capfd):
    """Names of folders and files, keys of results and samples, kinds of their values; what is ours is one key."""
    told(capfd, "export", "lm-eval-results", "mine", "out")
    ours, real = (one(folder, "results_*.json") for folder in (here / "out", THEIRS))
    assert ours.parent == here / "out" / "mine"
    assert len(ours.stem) == len(real.stem)
    mine, found = (json.loads(path.read_text()) for path in (ours, real))
    assert set(mine) - set(found) == {"bench"}
    for part in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes"):
        assert list(mine[part]) == ["bench_counting_0shot_v1"]
        assert list(found[part]) == ["two_sums"]
    assert mine["n-samples"]["bench_counting_0shot_v1"].keys() == found["n-samples"]["two_sums"].keys()
    pattern = "samples_*.jsonl"
    lines, real_lines = (one(folder, pattern).read_text().splitlines() for folder in (here / "out", THEIRS))
    assert len(lines) == 2 * TOTAL
    line, real_line = json.loads(lines[0]), json.loads(real_lines[0])
    assert list(line) == list(real_line)
    assert list(map(type, line.values())) == list(map(type, real_line.values()))


def test_lm_eval_s_own_table_shows_our_score(here, capfd):
    """Its function reads the file; each of the two filters has its line, with lm-eval's standard error."""
    pytest.importorskip("lm_eval", reason="lm-eval is an extra (benchmarks)")
    told(capfd, "export", "lm-eval-results", "mine", "out")
    results = one(here / "out", "results_*.json")
    table = importlib.import_module("lm_eval.utils").make_table(json.loads(results.read_text()))
    (line,) = [line for line in table.splitlines() if "|hash " in line]
    assert "0.4167" in line
    assert "0.1486" in line


def test_samples_say_of_each_item_what_the_entry_says(here, capfd):
    """In item order, once a filter; without the task's data the question is null, and that is told."""
    assert main(["export", "lm-eval-results", "mine", "out"]) == 0
    assert "the questions are not at hand" in capfd.readouterr().err
    lines = [json.loads(line) for line in one(here / "out", "samples_*.jsonl").read_text().splitlines()]
    first = [line for line in lines if line["filter"] == "hash"]
    assert [line["doc_id"] for line in first] == list(range(TOTAL))
    assert [line["exact_match"] for line in first] == [1.0] * RIGHT + [0.0] * (TOTAL - RIGHT)
    assert first[0]["resps"] == [["#### 0"]]
    assert {line["doc"]["question"] for line in lines} == {None}


def test_a_run_hands_on_its_questions(tmp_path, monkeypatch, capfd):
    """A finished run keeps them; its prompts are conversations, shots counted."""
    monkeypatch.chdir(tmp_path)
    tiny = pytest.importorskip("tiny", reason="transformers is an extra")
    model = tiny.build(tmp_path / "model")
    words = ["score", str(model), "--task", "word-problems", "--engine", "scripted", "--limit", "4", "--run", "run"]
    assert main(words) == 0
    told(capfd, "export", "lm-eval-results", "run", "out")
    entry = entries.read(tmp_path / "run" / "entry.json")
    results = json.loads(one(tmp_path / "out", "results_*.json").read_text())
    assert results["n-shot"] == {"bench_word_problems_1shot_v1": 1}
    scores = results["results"]["bench_word_problems_1shot_v1"]
    assert scores["exact_match,final-number"] == entry.result.counts.correct / 4
    line = json.loads(one(tmp_path / "out", "samples_*.jsonl").read_text().splitlines()[0])
    turns = json.loads(line["arguments"]["gen_args_0"]["arg_0"])
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1]["content"] == line["doc"]["question"]
    assert "is not on the board" in refused(capfd, "export", "lm-eval-results", "run", "o", "--leaderboards", "none")


def test_every_command_of_the_page_runs(here, capfd):
    """Word for word, in a folder that holds what they name; scores are of a few questions of a small task."""
    tiny, lora = (pytest.importorskip(name, reason="transformers is an extra") for name in ("tiny", "tiny_lora"))
    tiny.build(here / "base")
    tiny.build(here / "out" / "checkpoint-2", seed=1)
    lora.build(Path("base"), here / "adapter", size=0.05)
    shutil.copytree(THEIRS, here / "lm_eval")
    page = (Path(__file__).resolve().parent.parent / "docs" / "exports.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(bench .*?) *(?:#.*)?$", "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)), re.M)
    assert len(commands) == 10
    for command in commands:
        words = shlex.split(command)[1:]
        exam = ["--task", "word-problems", "--engine", "scripted", "--limit", "4"] if words[0] == "score" else []
        at = ["--engine", "transformers", "--cache", "cache"] if words[0] == "doctor" else []
        found = main([*words, *exam, *at])
        # Random weights never end an answer, and doctor says so.
        assert found == (1 if words[-2:] == ["--answers", "1"] else 0), command
    assert Path("repository/.eval_results/gsm8k.yaml").is_file()
    assert list(here.glob("results/mine/samples_*.jsonl"))
    capfd.readouterr()
