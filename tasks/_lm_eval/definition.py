"""Find a task of the installed lm-eval by name, and refuse one that cannot be a row; lm-eval's own words are kept.

The index of all its files takes ten seconds to build, so the one folder that defines the name is looked for first.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval
from lm_eval.tasks import TaskManager

from harness.errors import BenchError, nearest
from harness.types import Sampling
from tasks._lm_eval import classes, settings
from tasks._lm_eval.settings import ANOTHER, Asked

LIBRARY = Path(lm_eval.__file__).parent / "tasks"
GOLD = "gold"
# The consent that Hugging Face's code_eval asks for, too.
CONSENT = "HF_ALLOW_CODE_EVAL"
_ROW = "bench"
# Filters that look at the document, for its choices or by a program of the task.
_LOOKING = ("custom", "multi_choice_regex")
# What a file of lm-eval raises that lacks a library, its metric's script, or a field that a blank document has not.
_LOADING = (AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
# What a judge of texts and golds alone has no use for: prompts, shots and the data set.
_BARE: Mapping[str, object] = {
    "test_split": _ROW,
    "validation_split": None,
    "training_split": None,
    "fewshot_split": None,
    "fewshot_config": None,
    "num_fewshot": 0,
    "process_docs": None,
    "doc_to_decontamination_query": None,
    "should_decontaminate": False,
    "doc_to_image": None,
    "doc_to_audio": None,
}


@dataclass(frozen=True, slots=True)
class Definition:
    """What lm-eval says of a task before any of its data is read.

    Attributes:
        name: as `lm_eval run --tasks` takes it.
        version: as the task's file says it.
        repository: the data set on the hub; None where a program of lm-eval's makes the questions.
        filters: names of what reads an answer, in lm-eval's order.
        metric: what judges it, and is counted.
        whole: the judge is given the whole document: a function of the task's own, one that looks choices up, or a
            filter that is a program (a code task's puts question and answer together).
        shows: its questions have pictures or sounds.
        sampling: lm-eval's stops, its limit or 256 where the task names none, and how it draws.
        rules: lm-eval's definition of filters and metrics, as text.
        likelihoods: how many of them lm-eval measures of every question beside the answer; none is measured here.
    """

    name: str
    version: str
    repository: str | None
    filters: tuple[str, ...]
    metric: str
    whole: bool
    shows: bool
    sampling: Sampling
    rules: str
    likelihoods: int = 0


def load(name: str, folder: str | None = None, metadata: Mapping[str, object] | None = None) -> Any:
    """lm-eval's own task object with its data, from the hub or from a folder in the hub's layout.

    Args:
        name: of the task.
        folder: of the data set.
        metadata: what a program is given that makes the questions; beside what the task's file gives it.

    Raises:
        BenchError: lm-eval has no such task.
    """
    if (written := _class(name)) is not None:
        return classes.with_data(written, folder)
    changed: dict[str, object] = {} if folder is None else {"dataset_path": folder}
    if metadata:
        told = (_manager(name).task_index[name].cfg or {}).get("metadata", {})
        changed["metadata"] = {**told, **metadata}
    return _changed(name, **changed)


def judge(name: str, document: Mapping[str, object] | None = None) -> Any:
    """lm-eval's task with its filters and its metric, and no data.

    Args:
        name: of the task.
        document: one document of the task, where its own fields are needed to judge; None where a gold text is enough.
    """
    if (written := _class(name)) is not None:
        return classes.judge(written, document)
    row: Mapping[str, object] = {GOLD: ""} if document is None else document
    bare = dict(_BARE)
    if document is None:
        bare |= {"doc_to_text": GOLD, "doc_to_target": GOLD, "doc_to_choice": None}
    return _changed(name, custom_dataset=lambda **_: {_ROW: datasets.Dataset.from_list([dict(row)])}, **bare)


def read(asked: Asked) -> Definition:
    """What the task's file says.

    Raises:
        BenchError: there is no such task, or it cannot be a row, and why.
    """
    name, manager = asked.name, _manager(asked.name)
    if manager.task_index[name].kind.name not in ("TASK", "PY_TASK"):
        raise BenchError(f"lm-eval's '{name}' is a group of tasks", f"{ANOTHER} that is one task")
    file = manager.task_index[name].cfg or {}
    _require_questions(name, file)
    try:
        written = _class(name)
        task = judge(name)
    except (*_LOADING, SystemExit) as error:  # a file of lm-eval may leave
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise BenchError(f"lm-eval cannot load its task '{name}': {told}", "install what it names") from error
    if why := settings.refused(task.config):
        raise BenchError(f"lm-eval's '{name}' {why}", ANOTHER)
    return _of_file(task.config, file, asked) if written is None else _of_class(written, task, asked)


def _of_file(config: Any, file: Mapping[str, Any], asked: Asked) -> Definition:
    own = callable(config.process_results)
    functions = any(callable(each["metric"]) for each in config.metric_list or ())
    return Definition(
        name=asked.name,
        version=str((config.metadata or {}).get("version", "unversioned")),
        repository=None if "custom_dataset" in file else str(config.dataset_path),
        filters=tuple(each["name"] for each in config.filter_list or [{"name": "none"}]),
        metric=settings.metric(settings.metrics(config), asked, own=own, functions=functions),
        whole=own or "doc_to_choice" in file or _by_program(config),
        shows=any(file.get(key) for key in ("doc_to_image", "doc_to_audio")),
        sampling=settings.sampling(config.generation_kwargs, config.repeats),
        rules=json.dumps(_rules(config), sort_keys=True, default=str),
    )


def _of_class(written: classes.Written, task: Any, asked: Asked) -> Definition:
    generated, likelihoods = classes.asked(task, asked.name)
    metric = settings.metric(list(task.aggregation()), asked, own=True, functions=False)
    classes.require(written, metric)
    return Definition(
        name=asked.name,
        version=str(task.VERSION),
        repository=classes.repository(written, task),
        filters=("none",),
        metric=metric,
        whole=True,
        shows=bool(getattr(written.kind, "MULTIMODAL", False)),
        sampling=settings.sampling(generated),
        rules=classes.rules(written),
        likelihoods=likelihoods,
    )


@cache
def _class(name: str) -> classes.Written | None:
    """The class of a task that is one; None for a task that is a file of settings."""
    entry = _manager(name).task_index[name]
    return classes.read(Path(entry.yaml_path)) if "class" in (entry.cfg or {}) else None


def _changed(name: str, **changed: object) -> Any:
    """lm-eval's task object of a file, with other values for keys of its definition."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it tells of every key that was changed
    made = _manager(name).load({"group": _ROW, "task": [{"task": name, **changed}]})
    return made["tasks"][name]


@cache
def _manager(name: str) -> TaskManager:
    """Whatever of lm-eval knows the name: one folder, or all of it."""
    line = re.compile(rf"^task: *[\"']?{re.escape(name)}[\"']? *(#.*)?$".encode(), re.MULTILINE)
    family = name.partition("_")[0]
    for file in sorted(LIBRARY.rglob("*.yaml"), key=lambda file: (family not in file.parts, file)):
        if line.search(file.read_bytes()):
            manager = TaskManager(include_path=str(file.parent), include_defaults=False)
            if name in manager.all_subtasks:
                return manager
    manager = TaskManager()
    if name not in manager.all_tasks:
        near = nearest(name, manager.all_subtasks, "").partition("known:")[0]
        raise BenchError(f"lm-eval has no task '{name}'", f"{near}lm_eval ls tasks lists them")
    return manager


def _require_questions(name: str, config: Mapping[str, Any]) -> None:
    output = config.get("output_type", "generate_until")
    if output != "generate_until":
        what = f"lm-eval's '{name}' is of the kind {output}: it compares how likely given texts are"
        raise BenchError(what, "only tasks of the kind generate_until are scored; lm_eval run scores this one")
    if not {"custom_dataset", "class", "dataset_path"} & set(config):
        raise BenchError(f"lm-eval's '{name}' names no data set", ANOTHER)
    if config.get("unsafe_code") and os.environ.get(CONSENT) != "1":
        what = f"lm-eval's '{name}' runs what a model wrote as a program"
        raise BenchError(what, f"where nothing can be harmed, {CONSENT}=1 allows it; or {ANOTHER}")


def _by_program(config: Any) -> bool:
    steps = [step["function"] for each in config.filter_list or () for step in each["filter"]]
    return any(step in _LOOKING or not isinstance(step, str) for step in steps)


def _rules(config: Any) -> dict[str, object]:
    named = config.to_dict()
    return {key: named.get(key) for key in ("filter_list", "metric_list", "process_results")}
