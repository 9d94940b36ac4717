"""A reader finds the way from `bench baseline` to a stored row in few files."""

import files_entered
import tiny
from baseline_bench import cli

# What the code needs today. The aim is 40 files and 30 changes; raise a number only for what every row needs.
MOST_FILES, MOST_CHANGES = 70, 55
SMALL = ("--task", "word-problems", "--limit", "1", "--engine", "transformers", "-o", "dtype=float32")


def test_a_baseline_enters_few_files_and_seldom_changes_file(tmp_path, monkeypatch):
    """From the command line to the row on its board, with the engine in this process."""
    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "model")
    codes = []
    way = files_entered.follow(lambda: codes.append(cli.main(["baseline", "./model", *SMALL])))
    assert codes == [0]
    assert {"harness/cli.py", "harness/commands/baseline.py", "harness/results/entry.py"} <= set(way.files)
    assert len(way.files) <= MOST_FILES, "\n".join(way.files)
    assert way.changes <= MOST_CHANGES, "\n".join(f"{file}: {function}" for file, function in way.steps)
