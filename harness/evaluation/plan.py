"""Plan the evaluation of one model on one task: everything that is decided before an engine starts.

A plan collects all that could change an answer as plain settings, so that a resumed run can be checked against them.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from baseline_bench.core import findings, plugins, records, trace
from baseline_bench.core.command_options import (
    accepted_findings_option,
    argument,
    cache_option,
    datasets_option,
    engine_option,
    engine_settings_option,
    leaderboards_option,
    option,
    template_arguments_option,
    template_option,
    trace_option,
)
from baseline_bench.core.contracts import Engine, Task
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, RefusedError
from baseline_bench.core.options import format_settings, parse_options, record_options
from baseline_bench.core.types import Model, ModelIdentity, Problem, Split, Value
from baseline_bench.engines.multi_gpu import gpus
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models import diagnose, registry
from baseline_bench.models.template_choice import TemplateChoice
from baseline_bench.models.tokens import ModelTokenizer, digest_prompts
from baseline_bench.results import entries
from baseline_bench.results.candidate import TrainingRecord


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """The options shared by every command that scores a model: what is scored, how, and where results go.

    Attributes:
        words: the command as typed, without secrets.
        commit: the commit of bench if it runs without its repository, or None.
    """

    model: str = argument("a name of `bench list models`, org/name[@revision], or a folder", "MODEL")
    task: str = option(
        "--task", "a name of `bench list tasks`, a .py file, or lm-eval:NAME[,METRIC[,FILTER][=BAR]]", "NAME", "gsm8k"
    )
    name: str | None = option("--name", "the name of the row (default: the model's name)", "NAME")
    engine: str | None = engine_option()
    options: list[str] = engine_settings_option()
    gpus: int | None = option(
        "--gpus", "how many share the questions, an engine on each (default: all for vllm, else 1)", "N"
    )
    limit: int | None = option("--limit", "score a seeded random subset of N items", "N")
    seed: int = option("--seed", "which subset (default: %(default)s)", "S", 0)
    max_tokens: int | None = option(
        "--max-tokens", "another limit of an answer than the task's: another protocol, with a board of its own", "N"
    )
    template: str | None = template_option()
    template_arguments: list[str] = template_arguments_option()
    run: Path | None = option("--run", "the folder of this very run", "DIR")
    leaderboards: Path = leaderboards_option()
    runs: Path = option("--runs", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    again: bool = option(
        "--again", "start from the beginning instead of resuming or reporting a finished run", default=False
    )
    as_json: bool = option("--json", "print entry and findings alone, as JSON", default=False)
    accept: list[str] = accepted_findings_option()
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()
    trace: Path | None = trace_option()
    words: str = ""
    commit: str | None = None

    @property
    def task_name(self) -> str:
        """The name by which `plugins.load_task` finds the task with its limit."""
        return plugins.add_token_limit(self.task, self.max_tokens)


@dataclass(frozen=True, slots=True)
class ResolvedEngine:
    """An engine with its options, found and checked once: everything that follows uses this object.

    Attributes:
        module: what `plugins.load_engine` returned.
        options: the engine's own Options.
        devices: the CUDA_VISIBLE_DEVICES of each of its processes; None leaves this process's.
        reason: why this engine was chosen, for the user.
    """

    name: str
    module: Engine
    options: Any
    devices: tuple[str | None, ...] = (None,)
    reason: str = "as asked"

    @property
    def apart(self) -> bool:
        """Whether it runs in a process of its own even on one device."""
        return bool(getattr(self.module, "APART", False))

    @property
    def reloads(self) -> bool:
        """Whether a running engine can load other weights."""
        return bool(getattr(self.module, "RELOADS", False))

    @property
    def measures(self) -> bool:
        """Whether it measures the worked solutions under these options."""
        measures = getattr(self.module, "measures", None)
        return measures is not None and bool(measures(self.options))


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The plan for one model on one task: all that is decided before the engine starts.

    Attributes:
        findings: what the checks noticed; the user has accepted the refusals among them.
        identity: what the model is besides its tensors.
    """

    options: ScoringOptions
    engine: ResolvedEngine
    model: Model
    model_tokenizer: ModelTokenizer
    prepared_task: PreparedTask
    settings: dict[str, Value]
    training: TrainingRecord | None
    findings: tuple[Finding, ...] = ()
    identity: ModelIdentity | None = None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The part of a plan that does not depend on the model: task, items and engine.

    Attributes:
        problems: (every item, the chosen items).
        prepared_tasks: the prepared task for each tokenizer so far.
    """

    task: Task
    problems: tuple[list[Problem], list[Problem]]
    engine: ResolvedEngine
    prepared_tasks: list[tuple[ModelTokenizer, PreparedTask]] = field(default_factory=list)

    @property
    def chosen(self) -> list[Problem]:
        """The chosen items."""
        return self.problems[1]

    def prepare(self, model_tokenizer: ModelTokenizer, seed: int) -> PreparedTask:
        """Return the items as token ids, prepared once for all models that share a tokenizer."""
        known = next(
            (prepared for known_tokenizer, prepared in self.prepared_tasks if known_tokenizer is model_tokenizer), None
        )
        if known is None:
            with trace.span("tokenise"):
                known = evaluate.prepare_task(self.task, self.problems, model_tokenizer, seed)
            self.prepared_tasks.append((model_tokenizer, known))
        return known


def plan_evaluation(options: ScoringOptions, console: Console, task_plan: TaskPlan | None = None) -> EvaluationPlan:
    """Check the options, find the model and tokenize the items; write nothing and load no weights."""
    task_plan = task_plan or plan_task(options)
    console.say(f"model {options.model}: looking for it, fetching what is missing")
    with trace.span("find model"), runs.explaining_write_errors(options.cache):
        model = registry.resolve_model(options.model, options.cache)
    return plan_model(options, console, model, None, task_plan)


def plan_model(
    options: ScoringOptions,
    console: Console,
    model: Model,
    training: TrainingRecord | None,
    task_plan: TaskPlan | None = None,
    adapter_findings: Sequence[Finding] = (),
) -> EvaluationPlan:
    """Plan the evaluation of a model that is already on disk, such as one that was just trained.

    Args:
        model: whole weights.
        training: the record of the training that made them, or None.
        task_plan: shared by every model of the command; None plans it here.
        adapter_findings: findings about an adapter from before it was merged.

    Raises:
        BenchError: among others a finding that refuses the model and that the user has not accepted.
    """
    from baseline_bench.models import identity, tokenizer  # both load transformers

    task_plan = task_plan or plan_task(options)
    console.say(f"engine {task_plan.engine.name}, {task_plan.engine.reason}")
    model = replace(model, name=options.name or model.name)
    template = TemplateChoice.parse(options.template, options.template_arguments)
    model_tokenizer = tokenizer.load_tokenizer(model, template)
    with trace.span("check model"):
        noticed = [*adapter_findings, *evaluate.check_shots(task_plan.task, task_plan.chosen)]
        noticed += _check_unmerged_adapter(task_plan, model)
        noticed += diagnose.diagnose_model(model, model_tokenizer, task_plan.engine.name)
        checked = _report_findings(options, console, model.name, noticed)
        model_identity = identity.describe_model(model, model_tokenizer, _find_unmerged_adapter(task_plan))
    _require_unused_name(model, model_identity, options.leaderboards)
    prepared = task_plan.prepare(model_tokenizer, options.seed)  # after the checks: a large task takes minutes
    evaluate.require_context(prepared, model_tokenizer.context)
    beyond = diagnose.check_token_ids(model.folder, prepared.requests)
    _raise_refusals(options, console, model.name, [*checked, *beyond])
    settings = _collect_run_settings(options, task_plan, model, model_tokenizer, prepared)
    settings |= model_identity.settings or {}
    return EvaluationPlan(
        options, task_plan.engine, model, model_tokenizer, prepared, settings, training, checked, model_identity
    )


def _collect_run_settings(
    options: ScoringOptions, task_plan: TaskPlan, model: Model, model_tokenizer: ModelTokenizer, prepared: PreparedTask
) -> dict[str, Value]:
    """Collect what a resumed run must have in common with its first process, besides the model's identity."""
    prompt_format = model_tokenizer.prompt_format
    arguments = format_settings(prompt_format.template_arguments)
    return {
        "task": options.task_name,
        "protocol": prepared.protocol_sha256,
        "prompts": digest_prompts(prepared.requests),
        "stop ids": " ".join(map(str, prompt_format.stop_ids)),
        "limit": prepared.limit,
        "seed": prepared.seed,
        "model": model.name,
        "weights": model.weights_sha256,
        "engine": task_plan.engine.name,
        **{f"option {key}": value for key, value in record_options(task_plan.engine.options).items()},
        # A run from a version that graded answers with their thoughts must not resume.
        **({} if prompt_format.thought is None else {"thought": prompt_format.thought}),
        **({} if prompt_format.template_name is None else {"template": prompt_format.template_name}),
        **({"template arguments": " ".join(arguments)} if arguments else {}),
    }


def _check_unmerged_adapter(task_plan: TaskPlan, model: Model) -> list[Finding]:
    """Check an adapter that the engine applies without merging it into the weights."""
    folder = _find_unmerged_adapter(task_plan)
    if folder is None:
        return []
    return [*diagnose.check_adapter(folder, model), *diagnose.check_own_tokenizer(folder, model)]


def _find_unmerged_adapter(task_plan: TaskPlan) -> Path | None:
    """Return the folder of an adapter that the engine applies without merging it into the weights."""
    folder = getattr(task_plan.engine.options, "adapter", None)
    return None if folder is None else Path(folder)


def _report_findings(
    options: ScoringOptions, console: Console, name: str, noticed: Sequence[Finding]
) -> tuple[Finding, ...]:
    """Print the findings, and raise RefusedError if one refuses the model."""
    _raise_refusals(options, console, name, noticed)
    for finding in noticed:
        console.warn(f"{name}: [{finding.code}] {finding.message}")
    return tuple(noticed)


def _raise_refusals(options: ScoringOptions, console: Console, name: str, noticed: Sequence[Finding]) -> None:
    """Raise RefusedError if a finding refuses the model; print all of them first if the user asks for JSON."""
    with write_refusals_as_json(options, console):
        findings.raise_refusals(name, noticed, options.accept)


@contextmanager
def write_refusals_as_json(options: ScoringOptions, console: Console) -> Iterator[None]:
    """Write the findings of a refusal as JSON if the user asks for JSON."""
    try:
        yield
    except RefusedError as error:
        if options.as_json:
            console.write(records.encode_indented({"findings": error.findings}).decode())
        raise


def plan_task(options: ScoringOptions) -> TaskPlan:
    """Check what does not depend on a model: task, items, engine and its options."""
    findings.require_known_codes(options.accept)
    if options.model:  # now, since reading the items imports heavy libraries
        registry.require_model_name(options.model)
    task = plugins.load_task(options.task_name)
    with trace.span("choose engine"):
        engine = resolve_engine(options.engine, options.options, options.gpus)
    require_measuring_engine(task, engine)
    with trace.span("read problems"):
        problems = evaluate.select_problems(task, Split("test", mirror=options.mirror), options.limit, options.seed)
    return TaskPlan(task, problems, engine)


def resolve_engine(name: str | None, pairs: Sequence[str], wanted_gpus: int | None) -> ResolvedEngine:
    """Find an engine, parse its `key=value` options and assign GPUs, before anything expensive begins.

    Args:
        name: None chooses one.
        pairs: as for `parse_options`.
        wanted_gpus: GPUs in all; None leaves it to the engine.

    Raises:
        BenchError: no such engine, options that it refuses, or fewer GPUs than wanted.
    """
    name, reason = (name, "as you asked") if name else choose_default_engine()
    module = plugins.load_engine(name)
    options = parse_options(module.Options, pairs, f"engine {name}")
    return ResolvedEngine(name, module, options, gpus.assign_gpus(module, options, wanted_gpus), reason)


def require_measuring_engine(task: Task, engine: ResolvedEngine) -> None:
    """Refuse a task that compares likelihoods if the engine measures none."""
    compares = getattr(task, "MEASURES", False) or getattr(task, "choices", None) is not None
    if compares and getattr(engine.module, "measures", None) is None:
        what = f"{task.LABEL} compares how likely given texts are, which the engine '{engine.name}' cannot measure"
        raise BenchError(what, "give --engine vllm or transformers")


def _require_unused_name(model: Model, identity: ModelIdentity, leaderboards: Path) -> None:
    """Refuse a name that a model with other weights or settings has, before anything is generated."""
    for path in sorted(leaderboards.glob("*/*.json")):
        other = entries.read_entry(path).result
        if other.candidate != model.name:
            continue
        if other.model.weights_sha256 != model.weights_sha256:
            raise BenchError(f"{path} is a row of '{model.name}' with other weights", "give --name NAME to this one")
        if unlike := identity.unlike(other.model.identity):
            what = f"{path} is a row of '{model.name}' with the same weights, and this model has another {unlike}"
            raise BenchError(what, "give --name NAME to this one")


def choose_default_engine() -> tuple[str, str]:
    """Return (name, reason): vllm if a GPU and vllm are available, else transformers."""
    if importlib.util.find_spec("vllm") is None:
        return "transformers", "chosen because vllm is not installed"
    import torch

    if torch.cuda.device_count() == 0:
        return "transformers", "chosen because there is no GPU"
    return "vllm", "chosen because there are a GPU and vllm"
