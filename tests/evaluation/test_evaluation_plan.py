"""evaluation.plan: what is worked out before an engine starts."""

import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.core import options, plugins
from baseline_bench.core.display import Console
from baseline_bench.core.findings import RefusedError
from baseline_bench.core.types import Model, Split
from baseline_bench.engines import openai, scripted, transformers
from baseline_bench.evaluation import evaluate, plan
from baseline_bench.models import tokenizer
from baseline_bench.models.weights import SINGLE_FILE
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize("word", ["key=SECRET", "-okey=SECRET", "--option=key=SECRET", "--opt=key=SECRET"])
def test_a_secret_on_the_command_line_is_not_in_the_command_that_is_kept(word):
    """However it is spelled, what an entry tells of its command shows no key and no password of an address."""
    assert "SECRET" not in cli._quote([word])
    words = ["endpoint=http://me:SECRET@host/v1", "dtype=float32"]
    assert cli._quote(words) == "bench 'endpoint=http://***@host/v1' dtype=float32"


def test_again_resumes_its_own_unfinished_run(tmp_path, monkeypatch):
    """A killed `--again` goes on with the same command; a finished one is followed by another."""
    monkeypatch.chdir(tmp_path)
    words = ["score", str(tiny.build(tmp_path / "model", "chatml")), *QUICK, "--again"]
    assert [cli.main(words), cli.main(words)] == [0, 0]
    second = sorted(Path("runs").iterdir())[1]
    lines = (second / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (second / "completions.jsonl").write_bytes(b"".join(lines[:2]))
    (second / "entry.json").unlink()
    assert cli.main(words) == 0
    assert len(list(Path("runs").iterdir())) == 2
    assert (second / "completions.jsonl").read_bytes() == b"".join(lines)


def test_again_and_run_do_not_go_together(tmp_path, monkeypatch, capfd):
    """Neither is silently ignored."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model", "chatml")
    assert cli.main(["score", str(model), *QUICK, "--again", "--run", "here"]) == 1
    assert "do not go together" in capfd.readouterr().err


def test_options_that_change_no_answer_may_change_on_a_resume():
    """A longer timeout or another pace is no other run; a batch size is."""
    assert options.record_options(scripted.Options(pace=1.0)) == options.record_options(scripted.Options())
    assert options.record_options(openai.Options(timeout=5, tries=1)) == options.record_options(openai.Options())
    assert "batch_size" in options.record_options(transformers.Options())


def test_models_of_one_tokenizer_share_their_exam(tmp_path):
    """Token ids are made once for a base and what came of it; another template makes others."""
    folders = [tiny.build(tmp_path / name, "chatml", seed) for seed, name in enumerate(("base", "candidate", "other"))]
    template = folders[2] / "chat_template.jinja"
    template.write_text("{{ 'Hello. ' }}" + template.read_text())
    models = [Model(folder.name, "folder", None, folder, None, None) for folder in folders]
    tokenizers = [tokenizer.load_tokenizer(model) for model in models]
    task = plugins.load_task("word-problems")
    asked = plan.TaskPlan(
        task, evaluate.select_problems(task, Split("test"), 3, 0), plan.resolve_engine("scripted", (), None)
    )
    base, candidate, other = (asked.prepare(model_tokenizer, 0) for model_tokenizer in tokenizers)
    assert tokenizers[0] is tokenizers[1]
    assert base is candidate
    assert [len(r.token_ids) for r in other.requests] > [len(r.token_ids) for r in base.requests]


def _spoil(folder: Path) -> None:
    """Put NaN into the embedding."""
    tensors = load_file(folder / SINGLE_FILE)
    tensors["model.embed_tokens.weight"][3, 0] = float("nan")
    save_file(tensors, folder / SINGLE_FILE, {"format": "pt"})


@pytest.mark.parametrize(("spoilt", "tokenised"), [(True, 0), (False, 1)], ids=["NaN in the weights", "sound"])
def test_a_model_is_checked_before_its_prompts_are_tokenised(spoilt, tokenised, tmp_path):
    """A broken model is refused at once: the prompts of a large task take minutes."""
    folder = tiny.build(tmp_path / "model", "chatml")
    if spoilt:
        _spoil(folder)
    task = plugins.load_task("word-problems")
    problems = evaluate.select_problems(task, Split("test"), 3, 0)
    task_plan = plan.TaskPlan(task, problems, plan.resolve_engine("scripted", (), None))
    scoring = plan.ScoringOptions(model=str(folder), leaderboards=tmp_path / "leaderboards", cache=tmp_path / "cache")
    model = Model("it", "folder", None, folder, None, "0" * 64)
    with pytest.raises(RefusedError) if spoilt else nullcontext():
        plan.plan_model(scoring, Console(StringIO(), StringIO()), model, None, task_plan)
    assert len(task_plan.prepared_tasks) == tokenised
