"""What the files of the installed lm-eval say of a task or a group, before any of its data is read.

lm-eval builds an object only with its data, and its index of all files takes ten seconds: the folder that defines a
name is looked for first, and the configuration is read as lm-eval's own factory reads it.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import nltk
from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY
from lm_eval.config.task import TaskConfig
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS, DEFAULT_OTHER_SEED
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from harness.errors import BenchError, nearest
from harness.types import Sampling

LIBRARY = Path(lm_eval.__file__).parent / "tasks"
ANOTHER = "name another task of `lm_eval ls tasks`"
GENERATION, ROLLING = "generate_until", "loglikelihood_rolling"
EXACT = "exact_match"
# Metrics that are 0 or 1 for an item, in the order in which a task's own are looked through.
BITS = ("acc", EXACT, "em", "accuracy", "contains", "prompt_level_strict_acc", "acc_norm")
# The consent that Hugging Face's code_eval asks for, too.
CONSENT = "HF_ALLOW_CODE_EVAL"
_GENERATES_BY = ("until", "max_gen_toks", "do_sample", "temperature", "top_p")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `lm-eval:NAME[,METRIC[,FILTER]][=BAR]` asks for.

    Attributes:
        name: of a task or a group, or the path of a YAML file that defines one.
        metric: what says right or wrong; None takes the first of `BITS` that the task has.
        filter: what takes the answer out of the responses; None takes flexible-extract, or the task's first.
        bar: the value from which on an item is right (up to which, where less is better); None for metrics of 0 and 1.
    """

    name: str
    metric: str | None = None
    filter: str | None = None
    bar: float | None = None

    @classmethod
    def of(cls, text: str) -> "Asked":
        """Parse what follows `lm-eval:`; BenchError for a bar that is no number."""
        words, equals, bar = text.partition("=")
        name, metric, chosen = (word or None for word in (*words.split(",", 2), "", "")[:3])
        try:
            return cls(name or "", metric, chosen, float(bar) if equals else None)
        except ValueError:
            raise BenchError(f"'{bar}' is no number", f"say it as lm-eval:{words}=0.5") from None

    @property
    def reached(self) -> str:
        """The bar with every digit of it, such as "=0.5"; empty where there is none."""
        if self.bar is None:
            return ""
        short = f"{self.bar:g}"
        return f"={short if float(short) == self.bar else repr(self.bar)}"

    def label(self, name: str) -> str:
        """The same with the task's own name in place of a path."""
        return ",".join(word for word in (name, self.metric, self.filter) if word) + self.reached


@dataclass(frozen=True, slots=True)
class Member:
    """One task as its file configures it.

    Attributes:
        name: as lm-eval's results call it.
        file: all keys; functions are resolved.
    """

    name: str
    file: Mapping[str, Any]

    @property
    def config(self) -> Any:
        """lm-eval's own reading of the file."""
        return TaskConfig(**dict(self.file))

    @property
    def output(self) -> str:
        """multiple_choice, loglikelihood, loglikelihood_rolling or generate_until."""
        return str(self.file.get("output_type", GENERATION))

    @property
    def metrics(self) -> dict[str, bool]:
        """The names of its metrics in lm-eval's order; True where more is better or the file does not say."""
        named = self.file.get("metric_list") or [{"metric": each} for each in DEFAULT_METRIC_REGISTRY[self.output]]
        return {
            getattr(each["metric"], "__name__", str(each["metric"])): each.get("higher_is_better", True)
            for each in named
        }

    @property
    def filters(self) -> list[str]:
        """The names of what takes answers out of responses, in lm-eval's order."""
        return [each["name"] for each in self.file.get("filter_list") or [{"name": "none"}]]

    @property
    def sampling(self) -> Sampling:
        """How answers are generated; no token where likelihoods are measured.

        Raises:
            BenchError: the task generates in a manner that no engine here knows.
        """
        config = self.config
        if self.output != GENERATION:
            return Sampling(max_tokens=0)
        given = config.generation_kwargs
        if strange := [key for key in given if not key.startswith("max_") and key not in _GENERATES_BY]:
            raise BenchError(f"lm-eval's '{self.name}' generates by {', '.join(strange)}, as no engine does", ANOTHER)
        asked = normalize_gen_kwargs(dict(given), DEFAULT_MAX_GEN_TOKS)
        draws = None if config.repeats == 1 else config.repeats
        stop, most, temperature = tuple(asked["until"]), int(asked["max_gen_toks"]), float(asked.get("temperature", 0))
        if temperature == 0:
            return Sampling(max_tokens=most, stop=stop, draws=draws)
        share = float(asked.get("top_p", 1))
        top_p = share if share < 1 else None
        return Sampling(most, temperature, stop, seed=DEFAULT_OTHER_SEED, top_p=top_p, draws=draws)


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for: its own name, the version that its file declares, and its tasks."""

    name: str
    version: str
    members: tuple[Member, ...]


@cache
def find(name: str) -> Named:
    """The task or group of that name, or of that YAML file.

    Raises:
        BenchError: lm-eval has none of that name, cannot read its file, or a member cannot be a row.
    """
    own = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else None
    if own is not None and not own.is_file():
        raise BenchError(f"no file {own}", "give the path of a YAML file of lm-eval's, or a task's name")
    manager = _manager(name) if own is None else TaskManager(include_path=str(own.parent), include_defaults=False)
    entry = manager.task_index.get(name) if own is None else _entry(manager, own)
    if entry is None:
        raise BenchError(f"{own} defines neither a task nor a group", "give it the key 'task' or 'group'")
    with offline(), _reading(entry.name):
        built = _Files().build(entry, registry=manager.task_index)
    members = tuple(_members(built))
    own_version = (getattr(built, "metadata", None) or {}).get("version")
    versions = sorted({str(member.file["metadata"].get("version", "unversioned")) for member in members})
    return Named(entry.name, str(own_version or "+".join(versions)), members)


@contextmanager
def offline() -> Iterator[None]:
    """Let lm-eval's files find nltk's tokenizers where a package holds them, and download none."""
    package = find_spec("llama_index.core") if find_spec("llama_index") else None
    if package is not None and package.origin:
        nltk.data.path.append(str(Path(package.origin).parent / "_static" / "nltk_cache"))

    def refuse(what: str, **_: object) -> None:
        raise BenchError(f"nltk's {what} is not at hand", f"pip install llama-index-core, or set NLTK_DATA to {what}")

    before, nltk.download = nltk.download, refuse
    try:
        yield
    finally:
        nltk.download = before
        if package is not None and package.origin:
            nltk.data.path.pop()


class _Files(TaskFactory):  # type: ignore[misc]
    """lm-eval's own factory, which here reads configurations and builds no task around data."""

    def _build_task(self, entry: Any, overrides: dict[str, Any] | None) -> Any:
        _require_possible(Member(entry.name, entry.cfg or {}))
        file = self._load_full_config(entry, overrides)
        return SimpleNamespace(
            task_name=file["task"], file={k: v for k, v in file.items() if k not in ("tag", "group")}
        )


def _members(built: Any) -> Iterator[Member]:
    """The tasks of a group and of its groups, in lm-eval's order."""
    if isinstance(built, list) or hasattr(built, "child_names"):
        for child in built:
            yield from _members(child)
    elif hasattr(built, "file"):
        yield Member(built.task_name, built.file)
    else:
        raise BenchError(f"the group defines '{built.task_name}' inside itself", "give that task a file of its own")


def _require_possible(member: Member) -> None:
    name, file = member.name, member.file
    if "class" in file:
        raise BenchError(f"lm-eval's '{name}' is a Python class and not a file of settings", ANOTHER)
    if file.get("doc_to_image") or file.get("doc_to_audio"):
        raise BenchError(f"lm-eval's '{name}' shows pictures or plays sounds", ANOTHER)
    if file.get("use_prompt") or "dataset_path" not in file:
        raise BenchError(f"lm-eval's '{name}' takes its prompts or its questions from a program", ANOTHER)
    if file.get("unsafe_code") and os.environ.get(CONSENT) != "1":
        what = f"lm-eval's '{name}' runs what a model wrote as a program"
        raise BenchError(what, f"where nothing can be harmed, {CONSENT}=1 allows it; or {ANOTHER}")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise BenchError(f"lm-eval cannot read its task '{name}': {told}", "install what it names") from error


def _entry(manager: TaskManager, file: Path) -> Any:
    there = (entry for entry in manager.task_index.values() if entry.yaml_path is not None)
    return next((entry for entry in there if Path(entry.yaml_path).samefile(file)), None)


@cache
def _manager(name: str) -> TaskManager:
    """Whatever of lm-eval knows the name: one folder, or all of it for groups, whose members are in others."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it tells of every key and every step
    line = re.compile(rf"^task: *[\"']?{re.escape(name)}[\"']? *(#.*)?$".encode(), re.MULTILINE)
    family = name.partition("_")[0]
    for file in sorted(LIBRARY.rglob("*.yaml"), key=lambda file: (family not in file.parts, file)):
        if line.search(file.read_bytes()):
            manager = TaskManager(include_path=str(file.parent), include_defaults=False)
            if name in manager.all_subtasks:
                return manager
    manager = TaskManager()
    if name not in manager.all_tasks:
        near = nearest(name, manager.all_tasks, "").partition("known:")[0]
        raise BenchError(f"lm-eval has no task '{name}'", f"{near}lm_eval ls tasks lists them")
    return manager


def chosen_metric(member: Member, asked: Asked) -> str:
    """The metric that says right or wrong of the member's items.

    Raises:
        BenchError: it has no such metric, or none of 0 and 1 and no bar is asked for.
    """
    named, name = member.metrics, member.name
    # A function may give numbers under other names than its own, which is known once it has judged.
    own = callable(member.file.get("process_results")) or any(
        callable(each["metric"]) for each in member.file.get("metric_list") or ()
    )
    if asked.metric is not None:
        if asked.metric not in named and not own:
            raise BenchError(
                f"lm-eval's '{name}' has no metric '{asked.metric}'", nearest(asked.metric, list(named), "")
            )
        return asked.metric
    first = (EXACT, *BITS) if member.output == GENERATION else BITS
    if found := next((metric for metric in first if metric in named), None):
        return found
    raise BenchError(
        f"lm-eval's '{name}' is judged by degrees ({', '.join(named)}), and a row counts right and wrong",
        f"say from which degree on an answer is right, such as --task lm-eval:{name},{next(iter(named))}=0.5",
    )


def chosen_filter(member: Member, asked: Asked, usual: Sequence[str]) -> str:
    """What takes the answer out of the responses; `usual` names those taken first where none is asked for.

    Raises:
        BenchError: it has no such filter.
    """
    if asked.filter is None:
        return next((name for name in usual if name in member.filters), member.filters[0])
    if asked.filter not in member.filters:
        told = nearest(asked.filter, member.filters, f"lm-eval:{member.name},METRIC,FILTER")
        raise BenchError(f"lm-eval's '{member.name}' has no filter '{asked.filter}'", told)
    return asked.filter
