"""Adapt a task or a group of lm-eval to bench: lm-eval's own objects build the requests, filter and judge.

`--task lm-eval:arc_easy` sends the prompts of `lm_eval run --tasks arc_easy`: with a chat template those under
`--apply_chat_template --fewshot_as_multiturn True`, without one the plain text.
"""

import io
import json
import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from itertools import groupby
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from baseline_bench.core.errors import BenchError, first_line, suggest_name
from baseline_bench.core.mirrors import reading_data_set
from baseline_bench.core.records import digest
from baseline_bench.core.types import (
    Completion,
    ItemEvidence,
    Judgement,
    LogLikelihood,
    Message,
    Problem,
    Request,
    Split,
)
from baseline_bench.models.tokens import ModelTokenizer
from baseline_bench.tasks import _lm_eval_files as files
from baseline_bench.tasks._lm_eval_files import GENERATION, ROLLING, MemberTask, TaskSpec
from baseline_bench.tasks._lm_eval_model import EngineLM
from datasets.exceptions import DatasetsError
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

# What lm-eval's regex filters return without a match.
INVALID_ANSWER = "[invalid]"
OFFLINE_HINT = "name a folder that holds it in the hub's layout: --datasets DIR or BENCH_DATASETS"
_PLACEHOLDER = Completion("", (), "stop", likelihoods=(LogLikelihood(0.0, greedy=False, tokens=1),))
# What lm-eval's functions raise for an unsuitable file, library or answer.
_ERRORS = (ArithmeticError, AssertionError, DatasetsError, ImportError, LookupError, OSError, TypeError, ValueError)


class SerialisedTurns(str):
    """A conversation that lm-eval passes to a chat template, kept as JSON until the model is known."""

    __slots__ = ()


class _Document(NamedTuple):
    """One document, its lm-eval task, and lm-eval's requests for it."""

    task: Any
    doc: Mapping[str, Any]
    instances: list[Instance]


class LmEvalTask:
    """A task or a group of the installed lm-eval; satisfies `baseline_bench.core.contracts.Task`.

    `correct` is the named metric after the named filter; `strict` is the same after strict-match, if there is one.

    Args:
        spec: its name, the metric and filter that judge it, and the threshold.

    Raises:
        BenchError: lm-eval has no such task, or the task cannot be a row.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._asked = spec
        self._name, version, self._members = files.find_task(spec.name)
        first = self._members[0]
        self._key, self.SAMPLING = _require_common_metric(self._name, self._members, spec)
        metric, _, chosen = self._key.partition(",")
        self._strict = self._key
        if "strict-match" in first.filters and spec.filter is None:
            self._strict = f"{metric},strict-match"
        self._less = first.metrics.get(metric) is False
        self.MEASURES = first.output != GENERATION
        self.REPOSITORY = str(first.file["dataset_path"])
        self.LABEL = f"lm-eval/{','.join(filter(None, (self._name, *spec[1:3])))}{spec.bar}@{version}"
        metric_text = f"{metric}{spec.bar},{chosen}{',less' if self._less else ''}" if self._key else "aggregates"
        configs = [member.config.to_dict() for member in self._members]
        rules = [
            [str(config.get(key)) for key in ("filter_list", "metric_list", "process_results")] for config in configs
        ]
        self.READER = f"lm-eval/{metric_text}@{digest(rules)[:8]}"
        self._tasks: dict[str, Any] = {}
        self._items: dict[str, dict[str, _Document]] = {}
        self._mirror: Path | None = None

    def problems(self, split: Split) -> list[Problem]:
        """Return every document in lm-eval's order; shots are drawn over all, so a limit changes no prompt.

        Raises:
            BenchError: training items are requested, or the data set cannot be loaded.
        """
        if split.name == "train":
            raise BenchError(f"{self.LABEL} is scored and not trained on", "name a task of ours, or a file, as data")
        if not self._items or split.mirror != self._mirror:
            self._tasks = {member.task_name: self._loaded(member, split.mirror) for member in self._members}
            self._items, self._mirror = {"template": dict(self._documents("template"))}, split.mirror
        return [_build_problem(name, item) for name, item in self._items["template"].items()]

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """Return the conversation of the document's first request; a text measured as a whole is a user's turn."""
        return tuple(Message(turn["role"], turn["content"]) for turn in _read_turns(self._item(problem)))

    def asked_sha256(self, problem: Problem, style: str = "template") -> str:
        """Return the digest of all requests of a document, in the form for the prompt style."""
        return digest([[each.request_type, *map(str, each.args)] for each in self._item(problem, style).instances])

    def requests(self, problem: Problem, model_tokenizer: ModelTokenizer) -> list[Request]:
        """Return all requests to the model for a document, as lm-eval's own methods make them.

        Raises:
            BenchError: an empty choice, or a conversation that the model's template cannot write.
        """
        recorded: list[Request] = []

        def write_down(batch: Sequence[Request]) -> list[Completion]:
            recorded.extend(batch)
            return [_PLACEHOLDER] * len(batch)

        model = EngineLM(model_tokenizer, write_down)
        for instance in self._item(problem, model_tokenizer.prompt_format.style).instances:
            context, *rest = instance.args
            text = model.apply_chat_template(json.loads(context)) if isinstance(context, SerialisedTurns) else context
            getattr(model, instance.request_type)([replace(instance, arguments=(text, *rest))])
        if len(recorded) == 1:
            return [replace(recorded[0], id=problem.id)]
        return [
            replace(request, id=f"{problem.id}, request {n}", item=problem.id) for n, request in enumerate(recorded, 1)
        ]

    def grade(self, problem: Problem, completion: Completion) -> Judgement:
        """Judge by lm-eval's own metric; a text measured as a whole has no judgement, and every bit is 0."""
        results, filtered = self._judged(problem, completion)
        correct, strict = (bool(self._key) and self._right(problem, results, key) for key in (self._key, self._strict))
        return Judgement(
            problem_id=problem.id,
            answer=None if filtered == INVALID_ANSWER else filtered,
            rule=self._key or "aggregates",
            correct=correct,
            strict=strict,
            finish=completion.finish,
        )

    def evidence(self, problem: Problem, completion: Completion, style: str) -> ItemEvidence:
        """Return the digest of the document's requests, and every metric that has a number for it."""
        results, _ = self._judged(problem, completion)
        numbers = {key: self._number(problem, key, value) for key, value in results.items()}
        return ItemEvidence(self.asked_sha256(problem, style), {k: v for k, v in numbers.items() if math.isfinite(v)})

    def aggregates(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float] | None:
        """Return the aggregate results of texts measured as a whole, which have no bits; None for other tasks."""
        return None if self._key else self.totals(problems, completions)

    def totals(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float]:
        """Compute what `lm_eval run` reports of these items: each metric per filter, groups weighted by size."""
        values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for problem, completion in zip(problems, completions, strict=True):
            for key, value in self._judged(problem, completion)[0].items():
                values[key][self._item(problem).task.task_name].append(value)
        totals = {}
        for key, by_task in values.items():
            sums = [len(each) * _aggregate_metric(self._tasks[name], key, each) for name, each in by_task.items()]
            totals[key] = math.fsum(sums) / sum(map(len, by_task.values()))
        return {key: total for key, total in totals.items() if math.isfinite(total)}

    def _judged(self, problem: Problem, completion: Completion) -> tuple[dict[str, Any], str]:
        """Return lm-eval's results by "metric,filter", and what the selected filter extracted from the responses."""
        task, doc, instances = self._item(problem)
        likelihoods = iter(completion.likelihoods)
        for instance in instances:
            instance.filtered_resps = {}
            if instance.request_type == GENERATION:
                instance.resps = [draw.text for draw in completion.draws]
            elif instance.request_type == ROLLING:
                instance.resps = [sum(each.single for each in likelihoods)]
            else:
                instance.resps = [((likelihood := next(likelihoods)).single, likelihood.greedy)] * (
                    instance.repeats or 1
                )
        task._instances = instances
        metrics: dict[str, Any] = {}
        try:
            with redirect_stdout(io.StringIO()), _seed_like_lm_eval():
                task.apply_filters()
                for name in instances[0].filtered_resps:
                    results = task.process_results(doc, [each.filtered_resps[name] for each in instances])
                    metrics |= {f"{metric},{name}": value for metric, value in results.items()}
        except _ERRORS as error:
            what = f"{self.LABEL} cannot judge {problem.id}: {first_line(error)}"
            raise BenchError(what, files.NAME_ANOTHER) from error
        if instances[0].request_type == GENERATION:
            return metrics, str(instances[0].filtered_resps.get(self._key.partition(",")[2], INVALID_ANSWER))
        likeliest = max(instances, key=lambda each: each.resps[0])
        return metrics, str(likeliest.args[1] if len(instances) > 1 else likeliest.resps[0])

    def _right(self, problem: Problem, results: Mapping[str, Any], key: str) -> bool:
        metric, bar = key.partition(",")[0], self._asked.bar
        if key not in results:
            way_out = suggest_name(key, list(results), f"--task lm-eval:{self._name},METRIC")
            raise BenchError(f"{self.LABEL} gives no {metric} for an item", way_out)
        value = self._number(problem, key, results[key])
        if not bar and value not in (0, 1):
            message = f"{self.LABEL} gives {results[key]!s:.40} for {metric}, and a row counts right and wrong"
            raise BenchError(message, f"a bar makes it so, such as {metric}=0.5; or {files.NAME_ANOTHER}")
        threshold = float(bar[1:] or 1)
        return value <= threshold if self._less and bar else value >= threshold

    def _number(self, problem: Problem, key: str, value: Any) -> float:
        """Return one item's value of a metric; under a threshold or other aggregation, that of a corpus of one."""
        if isinstance(value, Real | np.number | np.bool_) and not (
            self._asked.bar and key in (self._key, self._strict)
        ):
            return float(value)
        return _aggregate_metric(self._item(problem).task, key, [value])

    def _item(self, problem: Problem, style: str = "template") -> _Document:
        if style not in self._items and self._tasks:
            self._items[style] = dict(self._documents(style))
        if problem.id not in self._items.get(style, {}):
            raise BenchError(f"the items of {self.LABEL} are not at hand", OFFLINE_HINT)
        return self._items[style][problem.id]

    def _documents(self, style: str) -> Iterator[tuple[str, _Document]]:
        """Yield each document with its requests, as lm-eval's evaluator builds them."""
        chat = style == "template"
        for name, task in self._tasks.items():
            stem = "test" if len(self._tasks) == 1 else name
            task.set_fewshot_seed(DEFAULT_OTHER_SEED)
            with redirect_stderr(io.StringIO()):  # a progress bar
                task.build_all_requests(
                    apply_chat_template=chat, fewshot_as_multiturn=chat, chat_template=_keep_turns if chat else None
                )
            for number, group in groupby(task.instances, key=lambda each: each.doc_id):
                instances = list(group)
                yield f"{stem}-{number}", _Document(task, instances[0].doc, instances)

    def _loaded(self, member: MemberTask, mirror: Path | None) -> Any:
        """Build lm-eval's own task object with its data, from the hub or from a folder in the hub's layout."""
        repository, file = str(member.file["dataset_path"]), dict(member.file)
        folder = None if mirror is None else mirror / repository
        if folder is not None:
            if not folder.is_dir():
                raise BenchError(f"no {repository} in the folder {mirror}, for {self.LABEL}", OFFLINE_HINT)
            file["dataset_path"] = str(folder)
        try:
            with (
                reading_data_set(folder),
                redirect_stdout(io.StringIO()),
                files.use_packaged_nltk(),
                _seed_like_lm_eval(),
            ):
                return ConfigurableTask(config=file)
        except (StopIteration, *_ERRORS) as error:
            raise BenchError(f"cannot load {repository} for {self.LABEL}: {first_line(error)}", OFFLINE_HINT) from error


@cache
def task(name: str) -> LmEvalTask:
    """Return the task named after `lm-eval:`, cached because lm-eval reads many files to find it."""
    return LmEvalTask(TaskSpec.of(name))


def _require_common_metric(name: str, members: Sequence[MemberTask], spec: TaskSpec) -> tuple[str, Any]:
    """Return the metric and the sampling that all members share; else raise BenchError with those of each."""
    keys = [member.counted(spec) for member in members]
    ways = [(key, member.sampling) for key, member in zip(keys, members, strict=True)]
    if any(way != ways[0] for way in ways):
        descriptions = ", ".join(
            f"{each.task_name} ({key or 'no metric'})" for each, key in zip(members, keys, strict=True)
        )
        what = "metric" if len(set(keys)) > 1 else "way of generating"
        raise BenchError(f"the members of lm-eval's group '{name}' share no {what}: {descriptions}", "name one of them")
    return ways[0]


def _keep_turns(turns: Sequence[Mapping[str, str]], **_: object) -> SerialisedTurns:
    """Act as a chat template that keeps the turns as JSON."""
    return SerialisedTurns(json.dumps(turns, ensure_ascii=False))


def _read_turns(item: _Document) -> list[dict[str, Any]]:
    context = item.instances[0].args[0]
    turns = json.loads(context) if isinstance(context, SerialisedTurns) else [{"role": "user", "content": context}]
    return list(turns)


def _build_problem(name: str, item: _Document) -> Problem:
    """Build a problem from a document; its gold answer is lm-eval's target as text."""
    target = item.task.doc_to_target(item.doc)
    question = next((turn["content"] for turn in reversed(_read_turns(item)) if turn["role"] == "user"), "")
    if isinstance(target, int) and item.task.config.doc_to_choice is not None and not item.task.multiple_input:
        choices = item.task.doc_to_choice(item.doc)
        target = choices[target] if 0 <= target < len(choices) else target
    return Problem(name, question, str(target), "")


def _aggregate_metric(task: Any, key: str, values: list[Any]) -> float:
    """Apply lm-eval's aggregation; NaN if it returns no number."""
    try:
        return float(task.aggregation()[key.partition(",")[0]](values))
    except _ERRORS:
        return math.nan


@contextmanager
def _seed_like_lm_eval() -> Iterator[None]:
    """Seed random generators as `lm_eval run` does before it loads a task, and restore them afterwards."""
    saved_states = random.getstate(), np.random.get_state()
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    if (detector := sys.modules.get("langdetect")) is not None:
        detector.DetectorFactory.seed = DEFAULT_RANDOM_SEED
    try:
        yield
    finally:
        random.setstate(saved_states[0])
        np.random.set_state(saved_states[1])
