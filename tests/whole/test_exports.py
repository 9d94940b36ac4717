"""`bench export`: rows leave as CSV and for the Hugging Face hub, each number ours."""

import csv
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
import samples
import yaml
from baseline_bench.cli import main
from baseline_bench.results import retractions
from huggingface_hub import ModelCard, parse_eval_result_entries
from paths import DATA, ROOT

TOTAL, RIGHT = 12, 5
# What lm-eval 0.4.13 wrote of a task of two items and a model that answers nonsense, but for what tells of a machine.
THEIRS = DATA / "lm_eval"


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


def test_csv_without_an_entry_is_the_boards_file(here, capfd):
    """Byte for byte; of two boards one has to be named."""
    board = here / "leaderboards" / "gsm8k.csv"
    assert told(capfd, "export", "csv") == board.read_text()
    samples.add(here / "leaderboards" / "counting")
    assert "--board" in refused(capfd, "export", "csv")
    assert told(capfd, "export", "csv", "--board", "gsm8k") == board.read_text()


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
    assert retractions.read_records(board).retractions
    assert not Path("repository").exists()


def test_every_command_of_the_page_runs(here, capfd):
    """Word for word, in a folder that holds what they name; scores are of a few questions of a small task."""
    tiny, lora = (pytest.importorskip(name, reason="transformers is an extra") for name in ("tiny", "tiny_lora"))
    tiny.build(here / "base")
    tiny.build(here / "out" / "checkpoint-2", seed=1)
    lora.build(Path("base"), here / "adapter", size=0.05)
    shutil.copytree(THEIRS, here / "lm_eval")
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(bench .*?) *(?:#.*)?$", "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)), re.M)
    assert len(commands) == 9
    for command in commands:
        words = shlex.split(command)[1:]
        prepared = ["--task", "word-problems", "--engine", "scripted", "--limit", "4"] if words[0] == "score" else []
        at = ["--engine", "transformers", "--cache", "cache"] if words[0] == "doctor" else []
        found = main([*words, *prepared, *at])
        # Random weights never end an answer, and doctor says so.
        assert found == (1 if words[-2:] == ["--answers", "1"] else 0), command
    assert Path("repository/.eval_results/gsm8k.yaml").is_file()
    capfd.readouterr()
