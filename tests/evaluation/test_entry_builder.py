"""evaluation.entry_builder: an entry holds what the run resolved, what its checks saw and what its answers are."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding
from baseline_bench.core.types import (
    Completion,
    ItemEvidence,
    LogLikelihood,
    Model,
    ModelIdentity,
    Problem,
    Request,
    Sampling,
)
from baseline_bench.evaluation import entry_builder
from baseline_bench.evaluation.entry_builder import RunReport, build_entry, commit_completions
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.evaluation.plan import EvaluationPlan, ResolvedEngine
from baseline_bench.models.tokens import PromptFormat
from baseline_bench.results.entry import SolutionLikelihood
from samples import answers, entry, regrade, sha

RESOLVED = {"version": "bigram 1", "hardware": "CPU", "driver": None, "setting device": "cpu", "library torch": 2}
PROBLEMS = tuple(Problem(f"test-{i}", f"{i}?", str(i), "") for i in range(12))
COMMITTED = answers()
MEASURED = tuple(replace(line, likelihoods=(LogLikelihood(-1.0, True, 2),)) for line in COMMITTED)


def task_of(**more) -> SimpleNamespace:
    """A task that counts, with functions that tasks may have."""
    return SimpleNamespace(LABEL="counting-0shot@v1", READER="hash@v1", SAMPLING=Sampling(max_tokens=8), **more)


def plan_of(task=None, findings=(), **engine) -> EvaluationPlan:
    """The plan of all twelve problems, for an engine with these attributes."""
    requests = tuple(Request(problem.id, (1, 2, 3)) for problem in PROBLEMS)
    prepared = PreparedTask(task or task_of(), PROBLEMS, requests, 12, None, None, sha("protocol"), sha("items"))
    options = SimpleNamespace(words="bench score base", commit=None, task_name="counting")
    prompt_format = PromptFormat("template", "none", None, (0,), 0, sha("template"))
    return EvaluationPlan(
        options,
        ResolvedEngine("bigram", SimpleNamespace(**engine), None),
        Model("base", "folder", None, None, None, sha("weights")),
        SimpleNamespace(tokenizer_sha256=sha("tokenizer"), prompt_format=prompt_format),
        prepared,
        {},
        None,
        findings,
    )


def build(plan=None, committed=COMMITTED, resolved=RESOLVED, **report):
    """The entry of these answers."""
    return build_entry(plan or plan_of(), regrade(None, committed), committed, RunReport(resolved, **report))


def test_the_engine_s_settings_and_libraries_are_told_apart():
    """Each without its prefix, and neither among the others; what was found is in its severity's list."""
    made = build(plan_of(findings=(Finding("unlike", "warn", "It is."), Finding("broken", "refuse", "It is."))))
    assert made.result.engine.settings == {"device": "cpu"}
    assert made.result.provenance.libraries == {"torch": "2"}
    assert (made.result.checks.findings, made.result.checks.accepted) == (("unlike",), ("broken",))


@pytest.mark.parametrize(("device", "digest"), [("cpu", sha("weights")), ("server", None)])
def test_weights_behind_a_server_have_no_digest(device, digest):
    """Nobody has read them; the model's identity is as little known."""
    plan = replace(plan_of(), identity=ModelIdentity(*map(sha, ("config", "generation", "tokenizer", "template"))))
    model = build(plan, resolved={**RESOLVED, "setting device": device}).result.model
    assert (model.weights_sha256, model.identity) == (digest, None if digest is None else plan.identity)


@pytest.mark.parametrize(
    ("engine", "committed", "solutions", "logits"),
    [
        ({}, COMMITTED, None, "unchecked"),
        ({"LOGITS": True}, COMMITTED, None, "finite"),
        ({"LOGITS": False}, COMMITTED, None, "unchecked"),
        ({}, MEASURED, None, "finite"),
        ({}, (*MEASURED[:-1], COMMITTED[-1]), None, "unchecked"),
        ({}, COMMITTED, SolutionLikelihood(-1.0, 3, sha("losses")), "finite"),
    ],
)
def test_logits_count_as_checked_where_somebody_looked_at_them(engine, committed, solutions, logits):
    """The engine at each, or whoever measured a text of every item."""
    assert build(plan_of(**engine), committed, solutions=solutions).result.checks.logits == logits


def test_timings_are_of_all_tokens_and_of_the_last_process():
    """Speed is of what that process generated; a server that reports no tokens leaves neither count nor speed."""
    timings = build(phases={"load": 1.23456, "generate": 4.0}, tokens=13).timings
    assert timings.phases == {"load": 1.235, "generate": 4.0}
    assert (timings.generated_tokens, timings.prompt_tokens, timings.tokens_per_second) == (24, 36, 3.2)
    silent = build(committed=(replace(COMMITTED[0], tokens=None), *COMMITTED[1:]), phases={"generate": 4.0}).timings
    assert (silent.generated_tokens, silent.tokens_per_second) == (None, None)
    for report in ({"tokens": 13}, {"tokens": 13, "phases": {"generate": 0.0}}):
        assert build(**report).timings.tokens_per_second is None


def test_a_task_adds_its_evidence_and_its_results_over_all_items():
    """The ones of each item with the prompt's style, the others of the answers as they are stored."""
    task = task_of(
        evidence=lambda problem, completion, style: ItemEvidence(sha(style), {"length": float(len(completion.text))}),
        aggregates=lambda problems, completions: {"mean": len(completions) / len(problems)},
    )
    completions = {problem.id: Completion("#### 1", (1,), "stop") for problem in PROBLEMS}
    plain, evident = (commit_completions(PROBLEMS, completions, plan) for plan in (plan_of(), plan_of(task)))
    assert {line.metrics for line in plain} == {None}
    assert [(line.asked_sha256, line.metrics) for line in evident] == [(sha("template"), {"length": 6.0})] * 12
    assert commit_completions(PROBLEMS, completions) == plain
    assert build().result.aggregates is None
    assert build(plan_of(task)).result.aggregates == {"mean": 1.0}


def test_judgements_of_another_version_are_no_new_entry():
    """Equal ones leave the entry as it is; others of the same reader date a new one; another reader is refused."""
    old = entry()
    judgements = regrade(None, COMMITTED)
    assert entry_builder.rejudge_entry(old, task_of(), judgements) is old
    judgements[0] = replace(judgements[0], answer=None, correct=False, strict=False)
    new = entry_builder.rejudge_entry(old, task_of(), judgements)
    assert (new.result.counts.correct, new.timings) == (old.result.counts.correct - 1, old.timings)
    assert new.created > old.created
    for other in ({"LABEL": "counting-0shot@v2"}, {"READER": "hash@v2"}):
        with pytest.raises(BenchError, match="the task is now"):
            entry_builder.rejudge_entry(old, SimpleNamespace(**{**vars(task_of()), **other}), judgements)


@pytest.mark.parametrize(
    ("task", "board"),
    [
        ("gsm8k", "gsm8k"),
        ("./My_Tasks/Sums 2.py", "sums-2"),
        ("lm-eval:gsm8k.yaml", "lm-eval-gsm8k"),
        ("lm-eval:piqa,acc", "lm-eval-piqa-acc"),
        ("./_.py", "task"),
    ],
)
def test_a_board_is_named_after_its_task(task, board):
    """Or after its file, in letters that every file system has."""
    assert plugins.build_board_name(task) == board
