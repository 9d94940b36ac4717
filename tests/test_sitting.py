"""harness.sitting: what is worked out before an engine starts."""

import json
from pathlib import Path

import tiny

from harness import cli

QUICK = ("--task", "word-problems", "--engine", "scripted", "--limit", "5", "--json")


def test_two_sets_of_weights_never_share_a_name(tmp_path, monkeypatch, capfd):
    """Another model under a name that the board knows is refused before anything is generated."""
    monkeypatch.chdir(tmp_path)
    first, second = (tiny.build(tmp_path / name, "chatml", seed) for seed, name in enumerate(("first", "second")))
    assert cli.main(["score", str(first), "--name", "mine", *QUICK]) == 0
    assert cli.main(["score", str(second), "--name", "mine", *QUICK]) == 1
    assert "with other weights: give --name" in capfd.readouterr().err
    assert cli.main(["score", str(second), "--name", "other", *QUICK]) == 0
    assert len(list(Path("leaderboards").glob("*/*.json"))) == 2


def test_an_engine_is_chosen_where_none_is_asked_for(tmp_path, monkeypatch, capfd):
    """Without a GPU or without vllm it is transformers, and the entry says so."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model", "chatml")
    assert cli.main(["score", str(model), "--task", "word-problems", "--limit", "2", "--json"]) == 0
    entry = json.loads(capfd.readouterr().out)
    assert entry["result"]["engine"]["name"] == "transformers"
    assert entry["result"]["engine"]["settings"]["device"] in ("cpu", "mps", "cuda")


def test_a_secret_on_the_command_line_is_not_in_the_command_that_is_kept():
    """What an entry tells of its command shows no key."""
    assert [cli._without_secret(word) for word in ("-o", "key=sk-123", "dtype=float32")] == [
        "-o",
        "key=***",
        "dtype=float32",
    ]
