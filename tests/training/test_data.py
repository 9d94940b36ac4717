"""training.data: a recipe's data becomes samples in the task's own words, or is refused line by line."""

import json
from collections.abc import Sequence

import datasets
import pyarrow
import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Split
from baseline_bench.tasks import word_problems
from baseline_bench.training import data, recipes
from pyarrow import parquet

RECIPE = """\
base = "smollm2-135m-it"
trainer = "lora"
task = "word-problems"
data = "word-problems"
lr = 1e-4
"""
PLAIN = [
    {"question": "What is 2+3?", "answer": "#### 5", "source": "mine"},
    {"question": "What is 4+5?", "answer": "#### 9", "source": "mine"},
]


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    """What the library prepares stays in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path):
    """Make a recipe that lies in the test's folder, with these keys set."""

    def make(*sets: str):
        (tmp_path / "mine.toml").write_text(RECIPE, encoding="utf-8")
        return recipes.read_recipe(str(tmp_path / "mine.toml"), sets)

    return make


@pytest.fixture
def of_lines(tmp_path, recipe):
    """The samples of a .jsonl file with these rows."""

    def load(rows: Sequence[object], *sets: str):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
        return data.load_samples(recipe(f"data={tmp_path / 'rows.jsonl'}", *sets), None)

    return load


def turns(*contents):
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant") * len(contents)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]}


def test_a_task_s_train_split_is_asked_without_its_examples(recipe):
    """Shots 0: the question alone, with the task's own solution and id."""
    samples = data.load_samples(recipe(), None)
    problems = word_problems.problems(Split("train"))
    assert [sample.id for sample in samples] == [problem.id for problem in problems]
    assert samples[7].messages == (Message("user", problems[7].question),)
    assert samples[7].solution == problems[7].solution


def test_shots_are_the_task_s_own_examples(recipe, of_lines):
    """With all of its shots a row is asked as the task asks; more than there are is refused."""
    problems = word_problems.problems(Split("train", "socratic"))
    samples = data.load_samples(recipe("shots=1", "config=socratic"), None)
    assert samples[7].messages == word_problems.messages(problems[7])
    assert of_lines(PLAIN, "shots=1")[0].messages[:2] == samples[0].messages[:2]
    with pytest.raises(BenchError, match="asks for 2 shots, and word-problems-1shot@v2 has 1: set shots to 1 or less"):
        data.load_samples(recipe("shots=2"), None)


def test_the_scored_split_is_not_for_training(recipe):
    """Neither a task's nor a hub data set's test split is ever trained on."""
    with pytest.raises(BenchError, match="split must be train for a task's data"):
        data.load_samples(recipe("split=test"), None)
    with pytest.raises(BenchError, match="test splits are not for training"):
        data.load_samples(recipe("data=org/name", "split=train+test[:5]"), None)


def test_gsm8k_is_read_as_the_task_reads_it(gsm8k_mirror):
    """Both configs give 7,473 rows with the task's ids, through the one path that scoring uses too."""
    for name in ("full-main", "full-socratic"):
        samples = data.load_samples(recipes.read_recipe(name), gsm8k_mirror)
        assert [sample.id for sample in samples] == [f"train-{number}" for number in range(7473)]
    assert " ** " in samples[0].solution


def test_a_task_of_one_s_own_may_be_the_data(tmp_path, recipe):
    """A task file beside the recipe is data as one of ours is."""
    (tmp_path / "mine.py").write_text(
        "from baseline_bench.core.types import Problem\nfrom baseline_bench.tasks.word_problems import *\n"
        "from baseline_bench.tasks.word_problems import grade\n"
        "def problems(split):\n    return [Problem(split.name, split.config, '1', '#### 1')]\n",
        encoding="utf-8",
    )
    (sample,) = data.load_samples(recipe(f"data={tmp_path / 'mine.py'}"), None)
    assert (sample.id, sample.messages[0].content) == ("train", "main")


def write_mirror(folder, rows):
    """Write a mirror of the hub with one small data set."""
    place = folder / "org" / "name"
    (place / "main").mkdir(parents=True)
    (place / "main" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = "  data_files:\n  - split: train\n    path: main/train.jsonl\n"
    (place / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n{files}---\n", encoding="utf-8")
    return folder


def test_any_data_set_of_the_hub_will_do(tmp_path, recipe):
    """Question and answer, or messages; ids are those of the split, and no progress bar is left switched off."""
    shown = datasets.are_progress_bars_disabled()
    mirror = write_mirror(tmp_path / "mirror", PLAIN)
    samples = data.load_samples(recipe("data=org/name", "config=main"), mirror)
    assert [(sample.id, sample.solution) for sample in samples] == [("train-0", "#### 5"), ("train-1", "#### 9")]
    with pytest.raises(BenchError, match=r"has no main/validation: .*set config and split"):
        data.load_samples(recipe("data=org/name", "config=main", "split=validation"), mirror)
    assert datasets.are_progress_bars_disabled() == shown


def test_an_unreachable_hub_is_told_with_the_ways_out(monkeypatch, recipe):
    """A folder, or a mirror of the hub; and a name that is none is told as such."""

    def unreachable(*_args, **_options):
        raise ConnectionError("Couldn't reach the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(BenchError, match=r"cannot load org/name: Couldn't reach the Hub: .*--datasets.*HF_ENDPOINT"):
        data.load_samples(recipe("data=org/name"), None)
    with pytest.raises(BenchError, match=r"no data 'word-problem': give a task .gsm-symbolic, gsm8k, .*word-problems."):
        data.load_samples(recipe("data=word-problem"), None)


def test_a_file_of_questions_and_answers(of_lines):
    """Other columns and empty lines are passed over; an id names file and line."""
    samples = of_lines([PLAIN[0], "", PLAIN[1]])
    assert [sample.id for sample in samples] == ["rows-1", "rows-3"]
    assert samples[1].messages == (Message("user", "What is 4+5?"),)
    assert samples[1].solution == "#### 9"


def test_a_file_of_conversations(of_lines):
    """The assistant's last turn is the solution, the turns before it are the prompt, behind the task's examples."""
    (sample,) = of_lines([turns("What is 2+3?", "5", "And 4 more?", "#### 9")], "shots=1")
    said = [message.content for message in sample.messages]
    assert said == [*word_problems.EXAMPLE, "What is 2+3?", "5", "And 4 more?"]
    assert sample.solution == "#### 9"
    assert of_lines([turns("What is 2+3?", "#### 5")])[0].messages == (Message("user", "What is 2+3?"),)


@pytest.mark.parametrize("rows", [PLAIN, [turns("What is 2+3?", "#### 5"), turns("a", "b", "c", "d")]])
def test_parquet_gives_what_json_lines_give(tmp_path, recipe, of_lines, rows):
    """The same rows are the same samples, whichever way they are stored."""
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert data.load_samples(recipe(f"data={tmp_path / 'rows.parquet'}"), None) == of_lines(rows)


def system():
    """A conversation that opens with a system turn."""
    return {"messages": [{"role": "system", "content": "Count."}, *turns("a", "b")["messages"]]}


BAD = [
    ("not JSON", ["{"], "line 1 is not JSON"),
    ("no object", ["[1]"], "line 1 is no object"),
    ("no answer", [PLAIN[0], {"question": "a"}], "line 2 lacks answer"),
    ("neither", [{"text": "a"}], "line 1 lacks question and answer"),
    ("number", [{"question": "a", "answer": 5}], "line 1 has no text in answer"),
    ("empty answer", [{"question": "a", "answer": " "}], "line 1 has no text in answer"),
    ("system turn", [system()], "line 1 has a system turn, and scoring has none: move"),
    ("user ends", [turns("a", "b", "c")], "line 1 has turns of user, assistant, user"),
    ("one turn", [turns("a")], "line 1 has messages that are no list of two or more"),
    ("no turns", [{"messages": "hello"}], "line 1 has messages that are no list"),
    ("parts", [{"messages": [{"role": "user", "content": [{"text": "a"}]}] * 2}], "line 1 has messages that are no"),
    ("empty turn", [turns("a", "")], "line 1 has an empty turn"),
    ("many", ["{"] * 7, "line 5 is not JSON; and 2 more"),
    ("two kinds", ["{", PLAIN[0], {"question": "a"}], "line 1 is not JSON; line 3 lacks answer"),
    ("empty", [], "rows.jsonl is empty"),
]


@pytest.mark.parametrize(("rows", "told"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_rows_are_told_with_their_lines(of_lines, rows, told):
    """Nobody mends a file one line at a time; the way out shows what a row looks like."""
    with pytest.raises(BenchError, match=told) as caught:
        of_lines(rows)
    assert "messages" in str(caught.value.way_out)


def test_files_that_cannot_be_read_are_told(tmp_path, recipe):
    """A missing file and one that only pretends to be Parquet."""
    with pytest.raises(BenchError, match=r"no file .*gone.jsonl"):
        data.load_samples(recipe(f"data={tmp_path / 'gone.jsonl'}"), None)
    (tmp_path / "noise.parquet").write_bytes(b"noise")
    with pytest.raises(BenchError, match=r"noise.parquet is no Parquet file"):
        data.load_samples(recipe(f"data={tmp_path / 'noise.parquet'}"), None)
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(BenchError, match=r"neither .jsonl nor .parquet"):
        data.load_texts(tmp_path / "rows.csv")


def test_every_text_of_any_file_can_be_looked_at(tmp_path):
    """To look for leaks, columns need no names that are known here."""
    rows = [{"prompt": "a", "extra": {"list": ["b", 1, None]}}, "c", turns("d", "e")]
    (tmp_path / "any.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = [[message.content for message in sample.messages] for sample in data.load_texts(tmp_path / "any.jsonl")]
    assert found == [["a", "b"], ["c"], ["user", "d", "assistant", "e"]]
    (tmp_path / "any.jsonl").write_text("{\n")
    with pytest.raises(BenchError, match="line 1 is not JSON"):
        data.load_texts(tmp_path / "any.jsonl")
    (tmp_path / "any.jsonl").write_text("")
    with pytest.raises(BenchError, match="is empty"):
        data.load_texts(tmp_path / "any.jsonl")
