"""origins: data made from a task's test items is refused there, and wherever those items were used again."""

import own_task
import pytest
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.training import contamination
from paths import ROOT

GSM8K_ITEMS = ("gsm8k", "gsm8k-0shot", "gsm8k-5shot", "gsm8k-8shot", "gsm8k-platinum")


def test_data_made_from_a_task_is_refused_there_and_only_there():
    """Rewritten questions escape every comparison of words, so data declares what it was made from."""
    contamination.require_separate_origins(["gsm8k"], "rows.jsonl", "word-problems")
    with pytest.raises(BenchError, match=r"made from items of gsm8k \(derived_from\), so a score on gsm8k would mean"):
        contamination.require_separate_origins(["gsm8k"], "rows.jsonl", "gsm8k")


@pytest.mark.parametrize("task", [*GSM8K_ITEMS, "gsm-symbolic"])
@pytest.mark.parametrize("source", [*GSM8K_ITEMS, "gsm-symbolic"])
def test_tasks_with_the_same_items_behind_them_are_one(source, task):
    """Who made data from GSM8K's test under any name, revised or as templates, is examined on none of them."""
    root = contamination.find_shared_origin([source], "rows.jsonl", task)
    assert root == (task if task in (source, "gsm8k") else "gsm8k")


def test_the_refusal_names_the_items_behind_a_task():
    """The reader is told why a task that the data never names is refused."""
    with pytest.raises(
        BenchError, match=r"items of gsm8k .*, as those of gsm8k-platinum were, so a score on gsm8k-plat"
    ):
        contamination.require_separate_origins(["gsm8k-5shot"], "rows.jsonl", "gsm8k-platinum")


@pytest.mark.parametrize("task", GSM8K_ITEMS)
def test_templates_of_test_items_are_no_training_data_for_these_items(task):
    """gsm-symbolic's train split is made from GSM8K's test too, from other questions than its own test."""
    assert contamination.find_shared_origin([], "gsm-symbolic", task) == "gsm8k"
    assert contamination.find_shared_origin([], "gsm-symbolic", "gsm-symbolic") is None
    assert contamination.find_shared_origin([], "gsm-symbolic", "word-problems") is None


@pytest.mark.parametrize("data", ["gsm8k", "openai/gsm8k", "gsm8k-5shot", "word-problems"])
@pytest.mark.parametrize("task", [*GSM8K_ITEMS, "gsm-symbolic"])
def test_a_train_split_of_its_own_is_free(data, task):
    """GSM8K's train split was not made from its test, whatever name it goes by."""
    assert contamination.find_shared_origin([], data, task) is None


def test_a_task_file_tells_its_origin_as_ours_do(tmp_path):
    """A user's own file may declare what it was made from; a file that is no task has no origin."""
    own = tmp_path / "mine.py"
    own.write_text(
        'LABEL = READER = SAMPLING = problems = messages = grade = None\nDERIVED_FROM = {"test": ("gsm8k",)}\n'
    )
    assert contamination.find_shared_origin(["gsm8k"], "rows.jsonl", str(own)) == "gsm8k"
    assert contamination.find_shared_origin([], str(own), "gsm8k") is None
    assert contamination.find_shared_origin(["long gone.py"], str(tmp_path / "gone.py"), "gsm8k") is None
    assert contamination.find_shared_origin([str(tmp_path / "gone.py")], "rows.jsonl", "gsm8k") is None
    (tmp_path / "rows.jsonl").write_text("{}")
    assert contamination.find_shared_origin([str(tmp_path / "rows.jsonl")], "rows.jsonl", "gsm8k") is None


def test_a_task_by_its_file_and_by_its_name_has_one_origin(tmp_path, monkeypatch):
    """Data that declares the one is refused on the other; another file of that name is another task."""
    monkeypatch.chdir(tmp_path)
    for file in ("my_sums.py", "other.py"):
        (tmp_path / file).write_text(own_task.TASK)
    (tmp_path / "bench.toml").write_text('[tasks]\nmy-sums = "my_sums.py"\n')
    assert contamination.find_shared_origin(["my-sums"], "rows.jsonl", "./my_sums.py") == "my-sums"
    assert contamination.find_shared_origin(["my_sums.py"], "rows.jsonl", "my-sums+max-tokens=9") == "my-sums"
    assert contamination.find_shared_origin(["my-sums"], "rows.jsonl", "other.py") is None


@pytest.mark.parametrize(
    ("keys", "items"),
    [
        (["data=gsm-symbolic"], "items of gsm8k (derived_from), so a score on gsm8k would"),
        (
            ["derived_from=gsm8k-5shot", "task=gsm8k-0shot"],
            "items of gsm8k (derived_from), as those of gsm8k-0shot were",
        ),
    ],
)
def test_a_training_whose_scores_would_mean_nothing_never_begins(keys, items, tmp_path, monkeypatch, capfd):
    """It is refused before a base or a data set is looked for."""
    monkeypatch.chdir(tmp_path)
    sets = [word for key in keys for word in ("--set", key)]
    assert cli.main(["train", "lora-main", "--base", "nobody/nothing", *sets]) == 1
    told = capfd.readouterr()
    assert items in told.out + told.err
    assert list(tmp_path.iterdir()) == []


def test_the_page_tells_every_task():
    """docs/tasks.md has one row for each task, its label and the package's version as they are."""
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name in plugins.list_names("task"):
        assert [row for row in rows if row.startswith(f"| `{name}` | `{plugins.load_task(name).LABEL}` |")], name
    assert plugins.load_task("gsm-symbolic").MADE_WITH in page
