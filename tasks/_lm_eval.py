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
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from datasets.exceptions import DatasetsError
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

from harness.errors import BenchError, nearest
from harness.mirrors import as_it_lies
from harness.quiet import no_bars
from harness.store.records import digest
from harness.tokens import Speech
from harness.types import Completion, Evidence, LogLikelihood, Message, Problem, Request, Split, Verdict
from tasks import _lm_eval_files as files
from tasks._lm_eval_files import GENERATION, ROLLING, Asked, Member
from tasks._lm_eval_model import EngineLM

LENIENT, STRICT = "flexible-extract", "strict-match"
# What lm-eval's regex filters give where nothing matched.
NOTHING = "[invalid]"
OFFLINE = "name a folder that holds it in the hub's layout: --datasets DIR or BENCH_DATASETS"
_PLACEHOLDER = Completion("", (), "stop", likelihoods=(LogLikelihood(0.0, greedy=False, tokens=1),))


class Turns(str):
    """A conversation as lm-eval hands it to a chat template, kept as JSON until the model is known."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Item:
    """One document: the task that it belongs to, and what lm-eval asks of a model for it."""

    task: Any
    doc: Mapping[str, Any]
    instances: tuple[Instance, ...]


class LmEvalTask:
    """A task or a group of the installed lm-eval; satisfies `harness.contracts.Task`.

    `correct` is the named metric behind the named filter; `strict` is the same behind strict-match, where there is one.

    Args:
        asked: its name, what says right or wrong, and from which value on.

    Raises:
        BenchError: lm-eval has no such task, or it cannot be a row, and why.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._named = files.find(asked.name)
        members = self._named.members
        self._rolling = members[0].output == ROLLING
        self._key = "" if self._rolling else _shared_metric(self._named.name, members, asked)
        first = members[0]
        metric, _, chosen = self._key.partition(",")
        self._less = not self._rolling and first.metrics.get(metric) is False
        self.SAMPLING = first.sampling
        self._strict = f"{metric},{STRICT}" if STRICT in first.filters and asked.filter is None else self._key
        if any((each.sampling, each.output == ROLLING) != (self.SAMPLING, self._rolling) for each in members):
            raise _refused(self._named.name, "members that are asked in different manners", members)
        self.MEASURES = first.output != GENERATION
        self.REPOSITORY = str(first.file["dataset_path"])
        self.LABEL = f"lm-eval/{asked.label(self._named.name)}@{self._named.version}"
        less = ",less" if self._less else ""
        counted = "aggregates" if self._rolling else f"{metric}{asked.reached},{chosen}{less}"
        self.READER = f"lm-eval/{counted}@{digest([_rules(member) for member in members])[:8]}"
        self._tasks: dict[str, Any] = {}
        self._items: dict[str, dict[str, _Item]] = {}
        self._mirror: Path | None = None

    def problems(self, split: Split) -> list[Problem]:
        """Every document in lm-eval's order; shots are drawn over all of them, so that a limit changes no prompt.

        Raises:
            BenchError: training items are asked for, or the data set cannot be loaded.
        """
        if split.name == "train":
            raise BenchError(f"{self.LABEL} is scored and not trained on", "name a task of ours, or a file, as data")
        if not self._items or split.mirror != self._mirror:
            self._items, self._mirror = {}, split.mirror
            members = self._named.members
            self._tasks = {member.name: self._loaded(member, split) for member in members}
            self._items["template"] = dict(self._documents("template"))
        return [_problem(name, item) for name, item in self._items["template"].items()]

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The conversation of the document's first request; a text that is measured whole stands as a user's turn."""
        context = self._item(problem).instances[0].args[0]
        turns = json.loads(context) if isinstance(context, Turns) else [{"role": "user", "content": context}]
        return tuple(Message(turn["role"], turn["content"]) for turn in turns)

    def asked_sha256(self, problem: Problem, style: str = "template") -> str:
        """A digest of all requests of a document, as they are written for models with or without a chat template."""
        return digest([[each.request_type, *map(_plain, each.args)] for each in self._item(problem, style).instances])

    def requests(self, problem: Problem, speech: Speech) -> list[Request]:
        """All that a model is asked for a document, written down by lm-eval's own methods.

        Raises:
            BenchError: an empty choice, or a prompt that the model's template cannot write.
        """
        written: list[Request] = []

        def record(asked: Sequence[Request]) -> list[Completion]:
            written.extend(asked)
            return [_PLACEHOLDER] * len(asked)

        model = EngineLM(speech, record)
        for instance in self._item(problem, speech.manner.style).instances:
            context, *rest = instance.args
            text = model.apply_chat_template(json.loads(context)) if isinstance(context, Turns) else context
            getattr(model, instance.request_type)([replace(instance, arguments=(text, *rest))])
        if len(written) == 1:
            return [replace(written[0], id=problem.id)]
        return [replace(each, id=f"{problem.id}, request {n}", item=problem.id) for n, each in enumerate(written, 1)]

    def grade(self, problem: Problem, completion: Completion) -> Verdict:
        """lm-eval's own judgement; of a text that is measured whole there is none, and every bit is 0."""
        if self._rolling:
            total = math.fsum(each.single for each in completion.likelihoods)
            return Verdict(problem.id, f"{total:.6g}", "aggregates", correct=False, strict=False, finish="stop")
        results, taken = self._judged(problem, completion)
        value = self._value(problem, results, self._key)
        return Verdict(
            problem_id=problem.id,
            answer=None if taken == NOTHING else taken,
            rule=self._key if self._asked.bar is None else f"{self._key.partition(',')[0]} {value:.4g}",
            correct=self._right(value),
            strict=self._right(self._value(problem, results, self._strict)),
            finish=completion.finish,
        )

    def evidence(self, problem: Problem, completion: Completion, style: str) -> Evidence:
        """The digest of the document's requests, and every metric that is a number for it."""
        results, _ = self._judged(problem, completion)
        task = self._item(problem).task
        numbers = {key: _number(task, key, value) for key, value in results.items()}
        return Evidence(self.asked_sha256(problem, style), {k: v for k, v in numbers.items() if math.isfinite(v)})

    def aggregates(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float] | None:
        """lm-eval's results of texts that are measured whole, which are neither right nor wrong; None for others."""
        return self.totals(problems, completions) if self._rolling else None

    def totals(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> dict[str, float]:
        """What `lm_eval run` reports of these items: each metric behind each filter, a group's weighted by size."""
        values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for problem, completion in zip(problems, completions, strict=True):
            for key, value in self._judged(problem, completion)[0].items():
                values[key][self._item(problem).task.task_name].append(value)
        found = {}
        for key, by_task in values.items():
            parts = [(len(each), _aggregate(self._tasks[name], key, each)) for name, each in by_task.items()]
            if all(total is not None for _, total in parts):
                found[key] = math.fsum(n * (total or 0.0) for n, total in parts) / sum(n for n, _ in parts)
        return found

    def _judged(self, problem: Problem, completion: Completion) -> tuple[dict[str, Any], str]:
        """What lm-eval says of the responses by "metric,filter", and what the counted filter took out of them."""
        item = self._item(problem)
        texts, likelihoods = [draw.text for draw in completion.draws], iter(completion.likelihoods)
        for instance in item.instances:
            instance.filtered_resps = {}
            if instance.request_type == GENERATION:
                instance.resps = list(texts)
            elif instance.request_type == ROLLING:
                instance.resps = [sum(each.single for each in likelihoods)]
            else:
                one = next(likelihoods)
                instance.resps = [(one.single, one.greedy)] * (instance.repeats or 1)
        item.task._instances = list(item.instances)
        with redirect_stdout(io.StringIO()), _seeded():
            item.task.apply_filters()
            found = {
                f"{metric},{name}": value
                for name in item.instances[0].filtered_resps
                for metric, value in self._processed(problem, item, name).items()
            }
        return found, _taken(item, self._key.partition(",")[2])

    def _processed(self, problem: Problem, item: _Item, name: str) -> Mapping[str, Any]:
        try:
            told = [each.filtered_resps[name] for each in item.instances]
            results: Mapping[str, Any] = item.task.process_results(item.doc, told)
        except (ArithmeticError, AssertionError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
            raise BenchError(f"{self.LABEL} cannot judge {problem.id}: {_told(error)}", files.ANOTHER) from error
        return results

    def _value(self, problem: Problem, results: Mapping[str, Any], key: str) -> float:
        metric = key.partition(",")[0]
        if key not in results:
            way_out = nearest(key, list(results), f"--task lm-eval:{self._named.name},METRIC")
            raise BenchError(f"{self.LABEL} gives no {metric} for an item", way_out)
        value = _number(self._item(problem).task, key, results[key])
        if self._asked.bar is None and value not in (0, 1):
            what = f"{self.LABEL} gives {results[key]!s:.40} for {metric}, and a row counts right and wrong"
            raise BenchError(what, f"a bar makes it so, such as {metric}=0.5; or {files.ANOTHER}")
        return value

    def _right(self, value: float) -> bool:
        if self._asked.bar is None:
            return bool(value)
        return value <= self._asked.bar if self._less else value >= self._asked.bar

    def _item(self, problem: Problem, style: str = "template") -> _Item:
        if style not in self._items and self._tasks:
            self._items[style] = dict(self._documents(style))
        if problem.id not in self._items.get(style, {}):
            raise BenchError(f"the items of {self.LABEL} are not at hand", OFFLINE)
        return self._items[style][problem.id]

    def _documents(self, style: str) -> Iterator[tuple[str, _Item]]:
        for name, task in self._tasks.items():
            stem = "test-" if len(self._tasks) == 1 else f"{name}-"
            for number, (doc, instances) in enumerate(_instances(task, name, chat=style == "template")):
                yield f"{stem}{number}", _Item(task, doc, instances)

    def _loaded(self, member: Member, split: Split) -> Any:
        """lm-eval's own task object around its data, from the hub or from a folder in the hub's layout."""
        repository, file = str(member.file["dataset_path"]), dict(member.file)
        folder = None if split.mirror is None else split.mirror / repository
        if folder is not None and not folder.is_dir():
            raise BenchError(f"no {repository} in the folder {split.mirror}, for {self.LABEL}", OFFLINE)
        if folder is not None:
            file["dataset_path"] = str(folder)
        try:
            with no_bars(), as_it_lies(folder), redirect_stdout(io.StringIO()), files.offline(), _seeded():
                return ConfigurableTask(config=file)
        except (OSError, DatasetsError, ImportError, LookupError, ValueError, StopIteration) as error:
            raise BenchError(f"cannot load {repository} for {self.LABEL}: {_told(error)}", OFFLINE) from error


@cache
def task(name: str) -> LmEvalTask:
    """The task that is named behind `lm-eval:`; each is made once, for lm-eval reads many files to find it."""
    return LmEvalTask(Asked.of(name))


def _shared_metric(name: str, members: Sequence[Member], asked: Asked) -> str:
    """The "metric,filter" that says right or wrong of all members' items.

    Raises:
        BenchError: they share none; their own are named.
    """
    if any(member.output == ROLLING for member in members):
        raise _refused(name, "members whose texts are measured whole, beside others", members)
    keys = {
        member.name: f"{files.chosen_metric(member, asked)},{files.chosen_filter(member, asked, (LENIENT,))}"
        for member in members
    }
    if len(set(keys.values())) > 1:
        told = ", ".join(f"{member} ({key})" for member, key in keys.items())
        raise BenchError(f"the members of lm-eval's group '{name}' share no metric: {told}", "name one of them")
    return keys[members[0].name]


def _refused(name: str, what: str, members: Sequence[Member]) -> BenchError:
    return BenchError(
        f"lm-eval's group '{name}' has {what}: {', '.join(member.name for member in members)}", "name one of them"
    )


def _rules(member: Member) -> object:
    """What reads and judges responses, as text."""
    named = member.config.to_dict()
    return json.dumps({key: named.get(key) for key in ("filter_list", "metric_list", "process_results")}, default=str)


def _instances(task: Any, name: str, *, chat: bool) -> Iterator[tuple[Mapping[str, Any], tuple[Instance, ...]]]:
    """Each document with its requests, as lm-eval's evaluator has them built."""
    task.set_fewshot_seed(DEFAULT_OTHER_SEED)
    shots, template = task.config.num_fewshot or 0, _kept if chat else None
    for number, doc in enumerate(task.eval_docs):
        context = task.fewshot_context(
            doc,
            num_fewshot=shots,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=template,
            gen_prefix=task.doc_to_prefix(doc),
        )
        metadata = (name, number, task.config.repeats)
        found = task.construct_requests(
            doc=doc, ctx=context, metadata=metadata, apply_chat_template=chat, chat_template=template
        )
        yield doc, tuple(found if isinstance(found, list) else [found])


def _kept(turns: Sequence[Mapping[str, str]], **_: object) -> Turns:
    """Stand in for a chat template, and keep the turns."""
    return Turns(json.dumps(turns, ensure_ascii=False))


def _problem(name: str, item: _Item) -> Problem:
    """A document as a problem; its gold is lm-eval's target as text."""
    context, target = item.instances[0].args[0], item.task.doc_to_target(item.doc)
    turns = json.loads(context) if isinstance(context, Turns) else []
    question = next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), str(context))
    if isinstance(target, int) and item.task.config.doc_to_choice is not None and not item.task.multiple_input:
        choices = item.task.doc_to_choice(item.doc)
        target = choices[target] if 0 <= target < len(choices) else target
    return Problem(name, question, str(target), "")


def _taken(item: _Item, name: str) -> str:
    """What the filter took out of a generated answer, or the likeliest of the texts that were measured."""
    first = item.instances[0]
    if first.request_type == GENERATION:
        return str(first.filtered_resps.get(name, NOTHING))
    if first.request_type == ROLLING or len(item.instances) == 1:
        return str(first.resps[0])
    return str(max(item.instances, key=lambda each: each.resps[0][0]).args[1])


def _number(task: Any, key: str, value: Any) -> float:
    """One item's value of a metric; what lm-eval keeps for a corpus' number is that of a corpus of one."""
    if isinstance(value, Real | np.number | np.bool_):
        return float(value)
    total = _aggregate(task, key, [value])
    return math.nan if total is None else total


def _aggregate(task: Any, key: str, values: list[Any]) -> float | None:
    """lm-eval's aggregation; None where it gives no number."""
    try:
        total = task.aggregation()[key.partition(",")[0]](values)
    except (ArithmeticError, ImportError, LookupError, OSError, TypeError, ValueError):
        return None
    return float(total) if isinstance(total, Real | np.number) else None


def _plain(argument: object) -> object:
    return argument if isinstance(argument, str) else json.dumps(argument, sort_keys=True, default=str)


def _told(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _seeded() -> Iterator[None]:
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
