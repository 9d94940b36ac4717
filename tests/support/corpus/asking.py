"""How the corpus asks `doctor`, `score` and `baseline` about a candidate."""

import json
from pathlib import Path

from corpus.cases import Found, Run

_TASK = ("--task", "word-problems")


def read_codes(printed: str) -> list[Found]:
    """The findings that a command printed as JSON."""
    return sorted((one["code"], one["severity"]) for one in json.loads(printed)["findings"])


def look(candidate: Path, run: Run) -> list[Found]:
    """What doctor finds, without answers; the exit status agrees."""
    return diagnose(candidate, run, *_TASK, "--answers", "0")


def diagnose(candidate: Path, run: Run, *words: str) -> list[Found]:
    """What doctor finds with these options."""
    status, out, _ = run(candidate.parent, "doctor", *_name(candidate), *words, "--json")
    found = read_codes(out)
    assert status == (1 if found else 0)
    return found


def score(command: str, candidate: Path, run: Run, *, refused: bool) -> list[Found]:
    """What `score` or `baseline` finds; a model that is refused is refused whatever the engine would do."""
    engine = "transformers" if refused else "scripted"
    words = (*_name(candidate), *_TASK, "--limit", "2", "--engine", engine, "--json")
    status, out, _ = run(candidate.parent, command, *words)
    assert status == (1 if refused else 0)
    assert bool(list(candidate.parent.glob("leaderboards/*/*.json"))) != refused
    return read_codes(out)


def _name(candidate: Path) -> tuple[str, ...]:
    """The candidate as a user names it: an adapter, or a training, with the folder of its base."""
    config, named = candidate / "adapter_config.json", candidate.parent / "named"
    if named.is_dir():
        return str(candidate), "--base", str(named)
    if config.is_file():
        return str(candidate), "--base", json.loads(config.read_text())["base_model_name_or_path"]
    return (str(candidate),)
