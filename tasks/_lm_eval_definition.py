"""Find a task of the installed lm-eval by name, and refuse one that cannot be a row; lm-eval's own words are kept.

The index of all its files takes ten seconds to build, so the one folder that defines the name is looked for first.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from harness.errors import BenchError, nearest
from harness.types import Sampling

LIBRARY = Path(lm_eval.__file__).parent / "tasks"
ANOTHER = "name another task of `lm_eval ls tasks`"
# The one metric of lm-eval's own for generated text that says right or wrong of an answer, and names that tasks with a
# function of their own give to such a one; the others are degrees.
EXACT = "exact_match"
RIGHT_OR_WRONG = (EXACT, "em", "acc", "accuracy", "prompt_level_strict_acc")
GOLD = "gold"
_ROW = "bench"
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
}


@dataclass(frozen=True, slots=True)
class Definition:
    """What lm-eval says of a task before any of its data is read.

    Attributes:
        name: as `lm_eval run --tasks` takes it.
        version: as the task's file says it.
        repository: the data set on the hub.
        filters: names of what reads an answer, in lm-eval's order.
        metric: what judges it, and is counted.
        own_judge: the task judges with a function of its own, which is given the whole document.
        sampling: greedy, with lm-eval's stops, and its limit or 256 where the task names none.
        rules: lm-eval's definition of filters and metrics, as text.
    """

    name: str
    version: str
    repository: str
    filters: tuple[str, ...]
    metric: str
    own_judge: bool
    sampling: Sampling
    rules: str


def load(name: str, **changed: object) -> Any:
    """lm-eval's own task object, with other values for keys of its definition.

    Raises:
        BenchError: lm-eval has no such task, or it is a group, or a class written in Python.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it tells of every key that was changed
    manager = _manager(name)
    made = manager.load({"group": _ROW, "task": [{"task": name, **changed}]})
    return made["tasks"][name]


def judge(name: str, document: Mapping[str, object] | None = None) -> Any:
    """lm-eval's task with its filters and its metric, and no data.

    Args:
        name: of the task.
        document: one document of the task, where its own fields are needed to judge; None where a gold text is enough.
    """
    row: Mapping[str, object] = {GOLD: ""} if document is None else document
    bare = dict(_BARE) if document is not None else {**_BARE, "doc_to_text": GOLD, "doc_to_target": GOLD}
    return load(name, custom_dataset=lambda **_: {_ROW: datasets.Dataset.from_list([dict(row)])}, **bare)


def read(name: str) -> Definition:
    """What the task's file says.

    Raises:
        BenchError: there is no such task, or it cannot be a row, and why.
    """
    manager = _manager(name)
    kind = manager.task_index[name].kind.name
    if kind != "TASK":
        what = {"PY_TASK": "is written in Python, not as a file of settings"}.get(kind, "is a group of tasks")
        raise BenchError(f"lm-eval's '{name}' {what}", f"{ANOTHER} that is one task in a .yaml file")
    _require_questions(name, manager.task_index[name].cfg or {})
    try:
        config = judge(name).config
    except (ImportError, OSError) as error:
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise BenchError(f"lm-eval cannot load its task '{name}': {told}", "install what it names") from error
    if why := _refused(config):
        raise BenchError(f"lm-eval's '{name}' {why}", ANOTHER)
    metrics = [str(each["metric"]) for each in config.metric_list]
    own = callable(config.process_results)
    return Definition(
        name=name,
        version=str((config.metadata or {}).get("version", "unversioned")),
        repository=str(config.dataset_path),
        filters=tuple(each["name"] for each in config.filter_list or [{"name": "none"}]),
        metric=metrics[0] if own else EXACT,
        own_judge=own,
        sampling=_sampling(config.generation_kwargs),
        rules=json.dumps(_rules(config), sort_keys=True, default=str),
    )


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
    if "custom_dataset" in config:
        raise BenchError(f"lm-eval's '{name}' makes its questions by a program", ANOTHER)
    if config.get("unsafe_code"):
        raise BenchError(f"lm-eval's '{name}' runs what a model wrote as a program", ANOTHER)


def _refused(config: Any) -> str | None:
    """Why a task that generates cannot be a row; None where it can."""
    drawn = config.generation_kwargs or {}
    metrics = [str(each["metric"]) for each in config.metric_list or []]
    counted = metrics[:1] if callable(config.process_results) else [EXACT] if EXACT in metrics else []
    reasons = (
        (config.doc_to_image or config.doc_to_audio, "asks about pictures or sounds"),
        (config.dataset_path is None, "names no data set"),
        (config.repeats != 1, f"draws {config.repeats} answers to a question"),
        (drawn.get("do_sample") and float(drawn.get("temperature", 1)) > 0, "draws its answers at random"),
        (config.gen_prefix, "begins the model's answer (gen_prefix)"),
        (config.use_prompt, "takes its prompts from another library (use_prompt)"),
        (not metrics, "names no metric"),
        (
            not set(counted) & set(RIGHT_OR_WRONG),
            f"is judged by degrees ({', '.join(metrics)}), and a row counts right and wrong",
        ),
    )
    return next((why for wrong, why in reasons if wrong), None)


def _sampling(given: Mapping[str, Any]) -> Sampling:
    asked = normalize_gen_kwargs(dict(given), DEFAULT_MAX_GEN_TOKS)
    return Sampling(max_tokens=int(asked["max_gen_toks"]), stop=tuple(asked["until"]))


def _rules(config: Any) -> dict[str, object]:
    named = config.to_dict()
    return {key: named.get(key) for key in ("filter_list", "metric_list", "process_results")}
