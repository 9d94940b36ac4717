"""A task or a group of lm-eval as one of ours: lm-eval's own objects build the requests, filter and judge.

`--task lm-eval:arc_easy` asks what `lm_eval run --tasks arc_easy` asks: with a chat template what it asks under
`--apply_chat_template --fewshot_as_multiturn True`, without one its plain text.
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
from baseline_bench.core.mirrors import fresh_dataset_cache
from baseline_bench.core.quiet import hide_progress_bars
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

# What lm-eval's regex filters give where nothing matched.
INVALID_ANSWER = "[invalid]"
OFFLINE_HINT = "name a folder that holds it in the hub's layout: --datasets DIR or BENCH_DATASETS"
_PLACEHOLDER = Completion("", (), "stop", likelihoods=(LogLikelihood(0.0, greedy=False, tokens=1),))
# What lm-eval's functions raise where a file, a library or an answer is not as they want it.
_ERRORS = (ArithmeticError, AssertionError, DatasetsError, ImportError, LookupError, OSError, TypeError, ValueError)


class SerialisedTurns(str):
    """A conversation as lm-eval hands it to a chat template, kept as JSON until the model is known."""

    __slots__ = ()


class _Document(NamedTuple):
    """One document: the task that it belongs to, and what lm-eval asks of a model for it."""

    task: Any
    doc: Mapping[str, Any]
    instances: list[Instance]


class LmEvalTask:
    """A task or a group of the installed lm-eval; satisfies `baseline_bench.core.contracts.Task`.

    `correct` is the named metric behind the named filter; `strict` is the same behind strict-match, where there is one.

    Args:
        asked: its name, what says right or wrong, and from which value on.

    Raises:
        BenchError: lm-eval has no such task, or it cannot be a row, and why.
    """

    def __init__(self, asked: TaskSpec) -> None:
        self._asked = asked
        self._name, version, self._members = files.find_task(asked.name)
        first = self._members[0]
        self._key, self.SAMPLING = _require_common_metric(self._name, self._members, asked)
        metric, _, chosen = self._key.partition(",")
        self._strict = self._key
        if "strict-match" in first.filters and asked.filter is None:
            self._strict = f"{metric},strict-match"
        self._less = first.metrics.get(metric) is False
        self.MEASURES = first.output != GENERATION
        self.REPOSITORY = str(first.file["dataset_path"])
        self.LABEL = f"lm-eval/{','.join(filter(None, (self._name, *asked[1:3])))}{asked.bar}@{version}"
        counted = f"{metric}{asked.bar},{chosen}{',less' if self._less else ''}" if self._key else "aggregates"
        named = [member.config.to_dict() for member in self._members]
        rules = [[str(each.get(key)) for key in ("filter_list", "metric_list", "process_results")] for each in named]
        self.READER = f"lm-eval/{counted}@{digest(rules)[:8]}"
        self._tasks: dict[str, Any] = {}
        self._items: dict[str, dict[str, _Document]] = {}
        self._mirror: Path | None = None

    def problems(self, split: Split) -> list[Problem]:
        """Every document in lm-eval's order; shots are drawn over all of them, so that a limit changes no prompt.

        Raises:
            BenchError: training items are asked for, or the data set cannot be loaded.
        """
        if split.name == "train":
            raise BenchError(f"{self.LABEL} is scored and not trained on", "name a task of ours, or a file, as data")
        if not self._items or split.mirror != self._mirror:
            self._tasks = {member.task_name: self._loaded(member, split.mirror) for member in self._members}
            self._items, self._mirror = {"template": dict(self._documents("template"))}, split.mirror
        return [_build_problem(name, item) for name, item in self._items["template"].items()]

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The conversation of the document's first request; a text that is measured whole stands as a user's turn."""
        return tuple(Message(turn["role"], turn["content"]) for turn in _read_turns(self._item(problem)))

    def asked_sha256(self, problem: Problem, style: str = "template") -> str:
        """A digest of all requests of a document, as they are written for models with or without a chat template."""
        return digest([[each.request_type, *map(str, each.args)] for each in self._item(problem, style).instances])

    def requests(self, problem: Problem, speech: ModelTokenizer) -> list[Request]:
        """All that a model is asked for a document, written down by lm-eval's own methods.

        Raises:
            BenchError: an empty choice, or a conversation that the model's template cannot write.
        """
        written: list[Request] = []

        def write_down(asked: Sequence[Request]) -> list[Completion]:
            written.extend(asked)
            return [_PLACEHOLDER] * len(asked)

        model = EngineLM(speech, write_down)
        for instance in self._item(problem, speech.manner.style).instances:
            context, *rest = instance.args
            text = model.apply_chat_template(json.loads(context)) if isinstance(context, SerialisedTurns) else context
            getattr(model, instance.request_type)([replace(instance, arguments=(text, *rest))])
        if len(written) == 1:
            return [replace(written[0], id=problem.id)]
        return [replace(each, id=f"{problem.id}, request {n}", item=problem.id) for n, each in enumerate(written, 1)]

    def grade(self, problem: Problem, completion: Completion) -> Judgement:
        """lm-eval's own judgement; of a text that is measured whole there is none, and every bit is 0."""
        results, taken = self._judged(problem, completion)
        correct, strict = (bool(self._key) and self._right(problem, results, key) for key in (self._key, self._strict))
        return Judgement(
            problem_id=problem.id,
            answer=None if taken == INVALID_ANSWER else taken,
            rule=self._key or "aggregates",
            correct=correct,
            strict=strict,
            finish=completion.finish,
        )

    def evidence(self, problem: Problem, completion: Completion, style: str) -> ItemEvidence:
        """The digest of the document's requests, and every metric that is a number for it."""
        results, _ = self._judged(problem, completion)
        numbers = {key: self._number(problem, key, value) for key, value in results.items()}
        return ItemEvidence(self.asked_sha256(problem, style), {k: v for k, v in numbers.items() if math.isfinite(v)})

    def aggregates(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float] | None:
        """lm-eval's results of texts that are measured whole, which are neither right nor wrong; None for others."""
        return None if self._key else self.totals(problems, completions)

    def totals(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float]:
        """What `lm_eval run` reports of these items: each metric behind each filter, a group's weighted by size."""
        values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for problem, completion in zip(problems, completions, strict=True):
            for key, value in self._judged(problem, completion)[0].items():
                values[key][self._item(problem).task.task_name].append(value)
        found = {}
        for key, by_task in values.items():
            sums = [len(each) * _aggregate_metric(self._tasks[name], key, each) for name, each in by_task.items()]
            found[key] = math.fsum(sums) / sum(map(len, by_task.values()))
        return {key: total for key, total in found.items() if math.isfinite(total)}

    def _judged(self, problem: Problem, completion: Completion) -> tuple[dict[str, Any], str]:
        """What lm-eval says of the responses by "metric,filter", and what the counted filter took out of them."""
        task, doc, instances = self._item(problem)
        likelihoods = iter(completion.likelihoods)
        for instance in instances:
            instance.filtered_resps = {}
            if instance.request_type == GENERATION:
                instance.resps = [draw.text for draw in completion.draws]
            elif instance.request_type == ROLLING:
                instance.resps = [sum(each.single for each in likelihoods)]
            else:
                instance.resps = [((one := next(likelihoods)).single, one.greedy)] * (instance.repeats or 1)
        task._instances = instances
        found: dict[str, Any] = {}
        try:
            with redirect_stdout(io.StringIO()), _seed_like_lm_eval():
                task.apply_filters()
                for name in instances[0].filtered_resps:
                    results = task.process_results(doc, [each.filtered_resps[name] for each in instances])
                    found |= {f"{metric},{name}": value for metric, value in results.items()}
        except _ERRORS as error:
            raise BenchError(
                f"{self.LABEL} cannot judge {problem.id}: {first_line(error)}", files.NAME_ANOTHER
            ) from error
        if instances[0].request_type == GENERATION:
            return found, str(instances[0].filtered_resps.get(self._key.partition(",")[2], INVALID_ANSWER))
        likeliest = max(instances, key=lambda each: each.resps[0])
        return found, str(likeliest.args[1] if len(instances) > 1 else likeliest.resps[0])

    def _right(self, problem: Problem, results: Mapping[str, Any], key: str) -> bool:
        metric, bar = key.partition(",")[0], self._asked.bar
        if key not in results:
            way_out = suggest_name(key, list(results), f"--task lm-eval:{self._name},METRIC")
            raise BenchError(f"{self.LABEL} gives no {metric} for an item", way_out)
        value = self._number(problem, key, results[key])
        if not bar and value not in (0, 1):
            what = f"{self.LABEL} gives {results[key]!s:.40} for {metric}, and a row counts right and wrong"
            raise BenchError(what, f"a bar makes it so, such as {metric}=0.5; or {files.NAME_ANOTHER}")
        least = float(bar[1:] or 1)
        return value <= least if self._less and bar else value >= least

    def _number(self, problem: Problem, key: str, value: Any) -> float:
        """One item's value of a metric; of what lm-eval sums up otherwise, or a bar is for, that of a corpus of one."""
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
        """Each document with its requests, as lm-eval's evaluator has them built."""
        chat = style == "template"
        for name, task in self._tasks.items():
            stem = "test" if len(self._tasks) == 1 else name
            task.set_fewshot_seed(DEFAULT_OTHER_SEED)
            with redirect_stderr(io.StringIO()):  # a bar
                task.build_all_requests(
                    apply_chat_template=chat, fewshot_as_multiturn=chat, chat_template=_keep_turns if chat else None
                )
            for number, found in groupby(task.instances, key=lambda each: each.doc_id):
                instances = list(found)
                yield f"{stem}-{number}", _Document(task, instances[0].doc, instances)

    def _loaded(self, member: MemberTask, mirror: Path | None) -> Any:
        """lm-eval's own task object around its data, from the hub or from a folder in the hub's layout."""
        repository, file = str(member.file["dataset_path"]), dict(member.file)
        folder = None if mirror is None else mirror / repository
        if folder is not None:
            if not folder.is_dir():
                raise BenchError(f"no {repository} in the folder {mirror}, for {self.LABEL}", OFFLINE_HINT)
            file["dataset_path"] = str(folder)
        try:
            with (
                hide_progress_bars(),
                fresh_dataset_cache(folder),
                redirect_stdout(io.StringIO()),
                files.use_packaged_nltk(),
                _seed_like_lm_eval(),
            ):
                return ConfigurableTask(config=file)
        except (StopIteration, *_ERRORS) as error:
            raise BenchError(f"cannot load {repository} for {self.LABEL}: {first_line(error)}", OFFLINE_HINT) from error


@cache
def task(name: str) -> LmEvalTask:
    """The task that is named behind `lm-eval:`; each is made once, for lm-eval reads many files to find it."""
    return LmEvalTask(TaskSpec.of(name))


def _require_common_metric(name: str, members: Sequence[MemberTask], asked: TaskSpec) -> tuple[str, Any]:
    """What says right or wrong of all members' items, and how all of them are generated.

    Raises:
        BenchError: they share no metric or no manner; all of them are named.
    """
    keys = [member.counted(asked) for member in members]
    ways = [(key, member.sampling) for key, member in zip(keys, members, strict=True)]
    if any(way != ways[0] for way in ways):
        told = ", ".join(f"{each.task_name} ({key or 'no metric'})" for each, key in zip(members, keys, strict=True))
        what = "metric" if len(set(keys)) > 1 else "manner of generating"
        raise BenchError(f"the members of lm-eval's group '{name}' share no {what}: {told}", "name one of them")
    return ways[0]


def _keep_turns(turns: Sequence[Mapping[str, str]], **_: object) -> SerialisedTurns:
    """Stand in for a chat template, and keep the turns."""
    return SerialisedTurns(json.dumps(turns, ensure_ascii=False))


def _read_turns(item: _Document) -> list[dict[str, Any]]:
    context = item.instances[0].args[0]
    found = json.loads(context) if isinstance(context, SerialisedTurns) else [{"role": "user", "content": context}]
    return list(found)


def _build_problem(name: str, item: _Document) -> Problem:
    """A document as a problem; its gold is lm-eval's target as text."""
    target = item.task.doc_to_target(item.doc)
    question = next((turn["content"] for turn in reversed(_read_turns(item)) if turn["role"] == "user"), "")
    if isinstance(target, int) and item.task.config.doc_to_choice is not None and not item.task.multiple_input:
        choices = item.task.doc_to_choice(item.doc)
        target = choices[target] if 0 <= target < len(choices) else target
    return Problem(name, question, str(target), "")


def _aggregate_metric(task: Any, key: str, values: list[Any]) -> float:
    """lm-eval's aggregation; NaN where it gives no number."""
    try:
        return float(task.aggregation()[key.partition(",")[0]](values))
    except _ERRORS:
        return math.nan


@contextmanager
def _seed_like_lm_eval() -> Iterator[None]:
    """Throw dice as `lm_eval run` does, which seeds them before it loads a task; nobody else's are touched."""
    before = random.getstate(), np.random.get_state()
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    if (detector := sys.modules.get("langdetect")) is not None:
        detector.DetectorFactory.seed = DEFAULT_RANDOM_SEED
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
