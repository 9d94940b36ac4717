"""One model before one exam: everything that is worked out before an engine starts.

All that could change an answer is gathered here as plain settings, so that a resumed run can be held to them.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from baseline_bench.core import findings, plugins, records
from baseline_bench.core.command_options import (
    accept_option,
    argument,
    cache_option,
    datasets_option,
    engine_option,
    engine_settings_option,
    leaderboards_option,
    option,
)
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, RefusedError
from baseline_bench.core.options import parse_options, record_options
from baseline_bench.core.types import Model, ModelIdentity, Problem, Split, Value
from baseline_bench.engines.multi_gpu import gpus
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models import diagnose, registry
from baseline_bench.models.tokens import ModelTokenizer, digest_prompts
from baseline_bench.results import entries
from baseline_bench.results.candidate import TrainingRecord


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What is scored, how, and where results go: the options that every command which asks a model shares.

    Attributes:
        words: the command as it was typed, without secrets.
        commit: of this program where it runs without its repository, or None.
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
    run: Path | None = option("--run", "the folder of this very run", "DIR")
    leaderboards: Path = leaderboards_option()
    runs: Path = option("--runs", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    again: bool = option(
        "--again", "start from the beginning instead of resuming or reporting a finished run", default=False
    )
    as_json: bool = option("--json", "print entry and findings alone, as JSON", default=False)
    accept: list[str] = accept_option()
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()
    words: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """One model before one exam: all that was worked out before the engine starts.

    Attributes:
        findings: what the checks noticed; refusals among them were accepted by the user.
        identity: what the model is apart from its tensors.
    """

    options: ScoringOptions
    engine: str
    model: Model
    speech: ModelTokenizer
    exam: PreparedTask
    settings: dict[str, Value]
    training: TrainingRecord | None
    findings: tuple[Finding, ...] = ()
    identity: ModelIdentity | None = None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What an order asks of whatever model.

    Attributes:
        problems: every item, and the chosen ones.
        why: this engine.
        exams: what was made of the items for each tokenizer so far.
    """

    task: Task
    problems: tuple[list[Problem], list[Problem]]
    engine: str
    why: str
    options: Any
    exams: list[tuple[ModelTokenizer, PreparedTask]] = field(default_factory=list)

    def exam(self, speech: ModelTokenizer, seed: int) -> PreparedTask:
        """The items as token ids, made once for all models that share a tokenizer."""
        known = next((exam for whose, exam in self.exams if whose is speech), None)
        if known is None:
            known = evaluate.prepare_task(self.task, self.problems, speech, seed)
            self.exams.append((speech, known))
        return known


def plan_evaluation(options: ScoringOptions, console: Console, asked: TaskPlan | None = None) -> EvaluationPlan:
    """Check the order, find the model, turn the items into token ids. Nothing is written and no weights are loaded."""
    asked = asked or plan_task(options)
    console.say(f"model {options.model}: looking for it, fetching what is missing")
    with runs.explaining_write_errors(options.cache):
        model = registry.resolve_model(options.model, options.cache)
    return plan_model(options, console, model, None, asked)


def plan_model(
    options: ScoringOptions,
    console: Console,
    model: Model,
    training: TrainingRecord | None,
    asked: TaskPlan | None = None,
    found: Sequence[Finding] = (),
) -> EvaluationPlan:
    """The same for a model that lies here already, such as one that was just trained.

    Args:
        options: what is scored.
        console: where to talk.
        model: whole weights.
        training: what made them, or None.
        asked: of every model of the command; None works it out.
        found: what checks of an adapter noticed before it was merged.

    Raises:
        BenchError: among others a finding that refuses the model and that the user has not accepted.
    """
    from baseline_bench.models import (
        identity,  # loads transformers
        tokenizer,  # loads transformers
    )

    asked = asked or plan_task(options)
    console.say(f"engine {asked.engine}: {asked.why}")
    model = replace(model, name=options.name or model.name)
    speech = tokenizer.load_tokenizer(model)
    described = identity.describe_model(model, speech)
    _require_unused_name(model, described.identity, options.leaderboards)
    noticed = [*found, *_check_unmerged_adapter(asked, model), *diagnose.diagnose_model(model, speech, asked.engine)]
    checked = _report_findings(options, console, model.name, noticed)
    exam = asked.exam(speech, options.seed)
    if speech.context is not None:
        evaluate.require_context(exam, speech.context)
    settings = {**_collect_run_settings(options, asked, model, speech, exam), **described.settings}
    return EvaluationPlan(options, asked.engine, model, speech, exam, settings, training, checked, described.identity)


def _collect_run_settings(
    options: ScoringOptions, asked: TaskPlan, model: Model, speech: ModelTokenizer, exam: PreparedTask
) -> dict[str, Value]:
    """What a resumed run must have in common with its beginning, besides the model's identity."""
    return {
        "task": options.task,
        "protocol": exam.protocol_sha256,
        "prompts": digest_prompts(exam.requests),
        "stop ids": " ".join(map(str, speech.manner.stop_ids)),
        "limit": exam.limit,
        "seed": exam.seed,
        "model": model.name,
        "weights": model.weights_sha256,
        "engine": asked.engine,
        **{f"option {key}": value for key, value in record_options(asked.options).items()},
        # A run whose answers were graded with their thoughts does not resume.
        **({} if speech.manner.thought is None else {"thought": speech.manner.thought}),
    }


def _check_unmerged_adapter(asked: TaskPlan, model: Model) -> list[Finding]:
    """What is wrong with an adapter that the engine puts beside the weights instead of merging it into them."""
    folder = getattr(asked.options, "adapter", None)
    return [] if folder is None else diagnose.check_adapter(Path(folder), model)


def _report_findings(
    options: ScoringOptions, console: Console, name: str, found: Sequence[Finding]
) -> tuple[Finding, ...]:
    """Show what the checks noticed, and end where a finding refuses the model."""
    with write_refusals_as_json(options, console):
        findings.raise_refusals(name, found, options.accept)
    for one in found:
        console.warn(f"{name}: [{one.code}] {one.message}")
    return tuple(found)


@contextmanager
def write_refusals_as_json(options: ScoringOptions, console: Console) -> Iterator[None]:
    """Write the findings of a refusal as JSON, where the user asks for JSON."""
    try:
        yield
    except RefusedError as error:
        if options.as_json:
            console.write(records.encode_indented({"findings": error.findings}).decode())
        raise


def plan_task(options: ScoringOptions) -> TaskPlan:
    """Check what does not hang on a model: task, items, engine and its options."""
    findings.require_known_codes(options.accept)
    task = plugins.load_task(options.task)
    engine, why = (options.engine, "as asked") if options.engine else choose_default_engine()
    module = plugins.load_engine(engine)
    chosen = parse_options(module.Options, options.options, f"engine {engine}")
    gpus.assign_gpus(module, chosen, options.gpus)  # refused here, not after hours of training
    require_measuring_engine(task, engine, module)
    problems = evaluate.select_problems(task, Split("test", mirror=options.mirror), options.limit, options.seed)
    return TaskPlan(task, problems, engine, why, chosen)


def require_measuring_engine(task: Task, name: str, engine: Any) -> None:
    """Refuse a task that compares likelihoods where the engine measures none.

    Raises:
        BenchError: naming the task and the engine.
    """
    compares = getattr(task, "MEASURES", False) or getattr(task, "choices", None) is not None
    if compares and getattr(engine, "measures", None) is None:
        what = f"{task.LABEL} compares how likely given texts are, which the engine '{name}' cannot measure"
        raise BenchError(what, "give --engine vllm or transformers")


def choose_run_folder(sitting: EvaluationPlan) -> Path:
    """Where this run lies: the unfinished or equal one of this name, else the next free number."""
    options = sitting.options
    if options.run is not None and options.again:
        raise BenchError("--again and --run do not go together", "name a new folder with --run, or leave --run out")
    if options.run is not None:
        return options.run
    part = "" if sitting.exam.limit is None else f"-{sitting.exam.limit}-seed{sitting.exam.seed}"
    names = (Path(options.task).stem, sitting.model.name, sitting.engine)
    stem = "-".join(map(entries.slugify, names)) + part
    number = 1
    place: Path = options.runs / stem
    while (place / "run.json").exists():
        finished, same = (
            (place / "entry.json").exists(),
            _read_run_settings(place) == runs.match_recorded_settings(place, sitting.settings),
        )
        if (same and not (options.again and finished)) or not (finished or options.again):
            break
        number += 1
        place = options.runs / f"{stem}-{number}"
    return place


def _read_run_settings(place: Path) -> object:
    """What a run was started with; None where its record is damaged."""
    try:
        return runs.read_json(place / "run.json")["settings"]
    except (BenchError, KeyError, TypeError):
        return None


def _require_unused_name(model: Model, identity: ModelIdentity, leaderboards: Path) -> None:
    """Two models never share a name: noticed before anything is generated.

    Raises:
        BenchError: an entry of that name has other weights, or another configuration, tokenizer or template.
    """
    for path in sorted(leaderboards.glob("*/*.json")):
        other = entries.read_entry(path).result
        if other.candidate != model.name:
            continue
        if other.model.weights_sha256 != model.weights_sha256:
            raise BenchError(f"{path} is a row of '{model.name}' with other weights", "give --name NAME to this one")
        if unlike := identity.unlike(other.model.identity):
            what = f"{path} is a row of '{model.name}' with the same weights, and with another {unlike}"
            raise BenchError(what, "give --name NAME to this one")


def choose_default_engine() -> tuple[str, str]:
    """(name, why): vllm where a GPU and vllm are there, else transformers."""
    if importlib.util.find_spec("vllm") is None:
        return "transformers", "vllm is not installed"
    import torch

    if torch.cuda.device_count() == 0:
        return "transformers", "no GPU is there"
    return "vllm", "a GPU and vllm are there"
