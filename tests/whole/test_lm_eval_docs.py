"""What docs/lm-eval.md says can be done is done here, every command of it, in its order."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import lm_eval_side as side
import pytest
import tiny
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.types import Split
from baseline_bench.models import tokens
from paths import ROOT

PAGE = (ROOT / "docs" / "lm-eval.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs lm-eval: pip install 'baseline-bench[lm-eval]'"
)


def commands():
    """Every command line of the page, but for the installation."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if not line.startswith("pip ")]


def run(words, capfd):
    """Run one command; what it prints. lm-eval's runs in a process of its own, for it is not ours to have tidied up."""
    words = [found for word in words for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if words[0] == "bench":
        assert cli.main(words[1:]) == 0
        return capfd.readouterr().out
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_command_of_the_page_does_what_the_page_says(tmp_path, monkeypatch, gsm8k_mirror, capfd):
    """The commands run as they stand there; lm-eval's own log of its prompts holds ours, and the row verifies."""
    asked = commands()
    folder = tiny.build(tmp_path / "my-model", "chatml")
    entry = next(Path(word) for words in asked for word in words if word.endswith(".json") and "*" not in word)
    (tmp_path / entry).parent.mkdir(parents=True)
    for file in (entry, entry.with_suffix(".jsonl.gz")):
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATASETS", str(gsm8k_mirror))
    for name in side.OFFLINE:
        monkeypatch.setenv(name, "1")
    capfd.readouterr()
    _, verified, totals, against, *_ = [run(words, capfd) for words in asked]
    assert "level reached  1 (asked: 1)" in verified
    assert "exact_match,flexible-extract" in totals
    told = [line.strip() for line in against.splitlines()]
    shown = re.search(r"```\n(exact match .*?)```", PAGE, re.DOTALL)[1].splitlines()
    assert [line for line in shown if line not in told] == []
    samples = next(Path("out").rglob("samples_*.jsonl")).read_text().splitlines()
    logged = {(row := json.loads(line))["doc_id"]: row["arguments"]["gen_args_0"]["arg_0"] for line in samples}
    task, model_tokenizer = plugins.load_task("gsm8k"), side.speech_of(folder)
    problems = task.problems(Split(mirror=gsm8k_mirror))[:2]
    assert [tokens.render_prompt(model_tokenizer.tokenizer, task.messages(each)) for each in problems] == [
        logged[0],
        logged[1],
    ]
