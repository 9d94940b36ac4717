"""Read the files of the installed lm-eval for a task or a group, before any of its data is read.

lm-eval builds an object only with its data, and indexing all its files takes ten seconds. This module first searches
the folder that defines a name, then reads configurations as lm-eval's own factory does.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval
import nltk
from baseline_bench.core.errors import BenchError, first_line, suggest_name
from baseline_bench.core.types import Sampling
from lm_eval.api.group import Group
from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY
from lm_eval.config.task import TaskConfig
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS, DEFAULT_OTHER_SEED
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

NAME_ANOTHER = "name another task of `lm_eval ls tasks`"
GENERATION, ROLLING = "generate_until", "loglikelihood_rolling"
LENIENT_FILTER = "flexible-extract"
# Metrics that are 0 or 1 for an item, in order of preference.
BINARY_METRICS = ("acc", "exact_match", "em", "accuracy", "contains", "prompt_level_strict_acc", "acc_norm")
_GENERATION_KEYS = ("until", "max_gen_toks", "do_sample", "temperature", "top_p")


class TaskSpec(NamedTuple):
    """The parts of `lm-eval:NAME[,METRIC[,FILTER]][=BAR]`; NAME may be the path of a YAML file."""

    name: str
    metric: str | None
    filter: str | None
    bar: str

    @classmethod
    def of(cls, text: str) -> "TaskSpec":
        """Parse what follows `lm-eval:`; BenchError for a threshold that is not a number."""
        words, equals, bar = text.partition("=")
        if equals and not re.fullmatch(r"[-+.0-9e]+", bar):
            raise BenchError(f"'{bar}' is no number", f"say it as lm-eval:{words}=0.5")
        name, metric, chosen = (*words.split(",", 2), None, None)[:3]
        return cls(name or "", metric or None, chosen or None, equals + bar)


@dataclass(frozen=True, slots=True)
class MemberTask:
    """One task: its name in lm-eval's results, and all keys of its file, with functions resolved."""

    task_name: str
    file: Mapping[str, Any]

    @property
    def config(self) -> Any:
        """The file as parsed by lm-eval."""
        return TaskConfig(**dict(self.file))

    @property
    def output(self) -> str:
        """multiple_choice, loglikelihood, loglikelihood_rolling or generate_until."""
        return str(self.file.get("output_type", GENERATION))

    @property
    def metrics(self) -> dict[str, bool]:
        """The names of its metrics in lm-eval's order, and whether higher is better (the default)."""
        metric_list = self.file.get("metric_list") or [
            {"metric": metric} for metric in DEFAULT_METRIC_REGISTRY[self.output]
        ]
        names = [getattr(metric["metric"], "__name__", str(metric["metric"])) for metric in metric_list]
        return {name: metric.get("higher_is_better", True) for name, metric in zip(names, metric_list, strict=True)}

    @property
    def filters(self) -> list[str]:
        """The names of the filters that extract answers from responses, in lm-eval's order."""
        return [each["name"] for each in self.file.get("filter_list") or [{"name": "none"}]]

    @property
    def sampling(self) -> Sampling:
        """How answers are generated; no tokens for likelihoods. BenchError for an unsupported setting."""
        if self.output != GENERATION:
            return Sampling(max_tokens=0)
        config = self.config
        if unsupported := [
            key for key in config.generation_kwargs if key not in _GENERATION_KEYS and key[:4] != "max_"
        ]:
            what = f"no engine generates by {', '.join(unsupported)}, as '{self.task_name}' does"
            raise BenchError(what, NAME_ANOTHER)
        settings = normalize_gen_kwargs(dict(config.generation_kwargs), DEFAULT_MAX_GEN_TOKS)
        temperature, top_p = float(settings.get("temperature", 0)), float(settings.get("top_p", 1))
        return Sampling(
            max_tokens=int(settings["max_gen_toks"]),
            temperature=temperature,
            stop=tuple(settings["until"]),
            seed=DEFAULT_OTHER_SEED if temperature else None,
            top_p=top_p if temperature and top_p < 1 else None,
            draws=None if config.repeats == 1 else config.repeats,
        )

    def counted(self, spec: TaskSpec) -> str:
        """Choose the "metric,filter" that judges items; empty for texts measured as a whole.

        Raises:
            BenchError: the task has no such metric or filter, or no metric of 0 and 1 and the spec has no threshold.
        """
        if self.output == ROLLING:
            return ""
        metrics, metric = self.metrics, spec.metric
        preferred = ("exact_match", *BINARY_METRICS) if self.output == GENERATION else BINARY_METRICS
        metric = metric or next((name for name in preferred if name in metrics), None)
        if metric is None:
            way_out = f"say from which degree on it is right: lm-eval:{spec.name},{next(iter(metrics))}=0.5"
            raise BenchError(f"lm-eval's '{self.task_name}' is judged by degrees alone: {', '.join(metrics)}", way_out)
        # A function may return metrics under names other than its own; they are known only once it has judged.
        listed = self.file.get("metric_list") or ()
        has_function = callable(self.file.get("process_results")) or any(callable(each["metric"]) for each in listed)
        default_filter = LENIENT_FILTER if LENIENT_FILTER in self.filters else self.filters[0]
        for kind, name, known in (
            ("metric", metric, list(metrics)),
            ("filter", spec.filter or default_filter, self.filters),
        ):
            if name not in known and not (kind == "metric" and has_function):
                way_out = suggest_name(name, known, f"lm-eval:{spec.name},METRIC,FILTER")
                raise BenchError(f"lm-eval's '{self.task_name}' has no {kind} '{name}'", way_out)
        return f"{metric},{spec.filter or default_filter}"


class FoundTask(NamedTuple):
    """The task or group behind a name: its own name, the version that its file declares, and its tasks."""

    name: str
    version: str
    members: tuple[MemberTask, ...]


@cache
def find_task(name: str) -> FoundTask:
    """Find the task or group with that name, or of that YAML file.

    Raises:
        BenchError: lm-eval has no such name, cannot read its file, or a member cannot be a row.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it logs every key and every step
    manager = _build_manager(name)
    entry: Any = manager.task_index.get(name)
    if name.endswith(".yaml"):
        entries_with_files = (each for each in manager.task_index.values() if each.yaml_path is not None)
        entry = next(
            (each for each in entries_with_files if Path(each.yaml_path).samefile(Path(name).expanduser())), None
        )
    if entry is None:
        raise BenchError(f"{name} defines neither a task nor a group", "give it the key 'task' or 'group'")
    try:
        with use_packaged_nltk():
            built = _ConfigurationFactory().build(entry, registry=manager.task_index)
    except (AttributeError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
        message = first_line(error)
        raise BenchError(f"lm-eval cannot read its task '{entry.name}': {message}", "install what it names") from error
    members = tuple(_iterate_members(built))
    versions = sorted({str(member.file["metadata"].get("version", "unversioned")) for member in members})
    group_version = (getattr(built, "metadata", None) or {}).get("version")
    return FoundTask(entry.name, str(group_version or "+".join(versions)), members)


@contextmanager
def use_packaged_nltk() -> Iterator[None]:
    """Let lm-eval's files find nltk's tokenizers in an installed package, and refuse downloads."""
    package = find_spec("llama_index.core") if find_spec("llama_index") else None
    saved = nltk.download, list(nltk.data.path)
    if package is not None and package.origin:
        nltk.data.path.append(str(Path(package.origin).parent / "_static" / "nltk_cache"))

    def refuse(what: str, **_: object) -> None:
        raise BenchError(f"nltk's {what} is not at hand", f"pip install llama-index-core, or set NLTK_DATA to {what}")

    nltk.download = refuse
    try:
        yield
    finally:
        nltk.download, nltk.data.path[:] = saved


class _ConfigurationFactory(TaskFactory):  # type: ignore[misc]
    """lm-eval's factory, changed to read configurations without building tasks and loading data."""

    def _build_task(self, entry: Any, overrides: dict[str, Any] | None) -> Any:
        _require_supported(entry.name, entry.cfg or {})
        file = self._load_full_config(entry, overrides)
        task_file = {key: value for key, value in file.items() if key not in ("tag", "group")}
        return MemberTask(file["task"], task_file)


def _iterate_members(built: Any) -> Iterator[MemberTask]:
    """Yield the tasks of a group and of its subgroups, in lm-eval's order."""
    if isinstance(built, MemberTask):
        yield built
    elif isinstance(built, list | Group):
        for child in built:
            yield from _iterate_members(child)
    else:
        raise BenchError(f"the group defines '{built.task_name}' inside itself", "give that task a file of its own")


def _require_supported(name: str, file: Mapping[str, Any]) -> None:
    reasons = {
        "is a Python class and not a file of settings": "class" in file,
        "shows pictures or plays sounds": file.get("doc_to_image") or file.get("doc_to_audio"),
        "takes its prompts or its questions from a program": file.get("use_prompt") or "dataset_path" not in file,
        "runs what a model wrote as a program, which HF_ALLOW_CODE_EVAL=1 allows": file.get("unsafe_code")
        and os.environ.get("HF_ALLOW_CODE_EVAL") != "1",
    }
    if why := next((reason for reason, holds in reasons.items() if holds), None):
        raise BenchError(f"lm-eval's '{name}' {why}", NAME_ANOTHER)


@cache
def _build_manager(name: str) -> TaskManager:
    """Build a manager that knows the name: of one folder, or of all lm-eval for groups, whose members are elsewhere."""
    if name.endswith(".yaml"):
        if not (file := Path(name).expanduser()).is_file():
            raise BenchError(f"no file {file}", "give the path of a YAML file of lm-eval's, or a task's name")
        return TaskManager(include_path=str(file.parent), include_defaults=False)
    line = re.compile(rf"^task: *[\"']?{re.escape(name)}[\"']? *(#.*)?$".encode(), re.MULTILINE)
    family, library = name.partition("_")[0], Path(lm_eval.__file__).parent / "tasks"
    for file in sorted(library.rglob("*.yaml"), key=lambda file: (family not in file.parts, file)):
        if line.search(file.read_bytes()):
            manager = TaskManager(include_path=str(file.parent), include_defaults=False)
            if name in manager.all_subtasks:
                return manager
    manager = TaskManager()
    if name not in manager.all_tasks:
        raise BenchError(f"lm-eval has no task '{name}'", suggest_name(name, manager.all_tasks, "lm_eval ls tasks"))
    return manager
