"""How the corpus asks `doctor`, `score` and `baseline` about a candidate."""

import json
from pathlib import Path

from baseline_bench.models.weights import ADAPTER_CONFIG

from corpus.cases import Found, Run

# An engine that has the option `adapter`, as vLLM has, and answers from a script.
UNMERGED = '''"""Applies an adapter without merging it into the weights."""
from dataclasses import dataclass
from baseline_bench.engines import scripted
@dataclass(frozen=True)
class Options:
    """One setting."""
    adapter: str | None = None
def load(model, options):
    """Reads no weights."""
    return scripted.load(model, scripted.Options())
'''
OWN_TASK = "sums.py"


def read_codes(printed: str) -> list[Found]:
    """The findings that a command printed as JSON."""
    return sorted((one["code"], one["severity"]) for one in json.loads(printed)["findings"])


def look(candidate: Path, run: Run) -> list[Found]:
    """What doctor finds, without answers; the exit status agrees."""
    return diagnose(candidate, run, *_choose_task(candidate)[:2], "--answers", "0")


def diagnose(candidate: Path, run: Run, *words: str) -> list[Found]:
    """What doctor finds with these options."""
    status, out, _ = run(candidate.parent, "doctor", *_name(candidate), *words, "--json")
    found = read_codes(out)
    assert status == (1 if found else 0)
    return found


def score(command: str, candidate: Path, run: Run, *, refused: bool) -> list[Found]:
    """What `score` or `baseline` finds, which its row carries; what is refused is refused whatever the engine does."""
    words = (*_name(candidate), "--engine", "transformers" if refused else "scripted")
    if command == "baseline" and (candidate / ADAPTER_CONFIG).is_file():
        adapter, _, base = _name(candidate)
        words = (base, "--engine", "unmerged", "-o", f"adapter={adapter}")
    status, out, _ = run(candidate.parent, command, *words, *_choose_task(candidate), "--json")
    rows = list(candidate.parent.glob("leaderboards/*/*.json"))
    found = read_codes(out)
    assert status == (1 if refused else 0)
    assert [json.loads(row.read_text())["result"]["checks"]["findings"] for row in rows] == (
        [] if refused else [sorted({code for code, _ in found})]
    )
    return found


def _choose_task(candidate: Path) -> tuple[str, ...]:
    """The task next to the candidate, whole, or two problems of one of ours."""
    if (candidate.parent / OWN_TASK).is_file():
        return "--task", f"./{OWN_TASK}"
    return "--task", "word-problems", "--limit", "2"


def _name(candidate: Path) -> tuple[str, ...]:
    """The candidate as a user names it: an adapter, or a training, with the folder of its base."""
    config, named = candidate / ADAPTER_CONFIG, candidate.parent / "named"
    if named.is_dir():
        return str(candidate), "--base", str(named)
    if config.is_file():
        return str(candidate), "--base", json.loads(config.read_text())["base_model_name_or_path"]
    return (str(candidate),)
