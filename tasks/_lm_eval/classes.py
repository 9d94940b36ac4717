"""A task that lm-eval writes as a Python class: made with its data, or around one document to judge answers by."""

import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks._yaml_loader import load_yaml

from harness.errors import BenchError

# The key of a file whose class has the data from Unitxt.
_RECIPE = "recipe"


@dataclass(frozen=True, slots=True)
class Written:
    """A task's file that names a class: the class, and all that the file says."""

    kind: type[Any]
    file: Mapping[str, Any]


class _Nothing(str):
    """An empty text, and every field of it another."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return self if isinstance(key, str) else super().__getitem__(key)


class _Blank(dict[str, Any]):
    """A document of which nothing is known."""

    def __missing__(self, key: str) -> _Nothing:
        return _Nothing()


class _Documents(list[Mapping[str, Any]]):
    """Documents as a task looks at them when it is made."""

    @property
    def features(self) -> Mapping[str, Any]:
        """The fields, which nobody asks for more than their names."""
        return self[0]


class _Everywhere(dict[str, Any]):
    """A data set that has every split, and the same documents in each."""

    def __init__(self, documents: _Documents) -> None:
        super().__init__()
        self._documents = documents

    def __missing__(self, split: str) -> _Documents:
        return self._documents

    def __contains__(self, split: object) -> bool:
        return True


def read(path: Path) -> Written:
    """What a task's file says; errors are those of what its class imports."""
    file = load_yaml(path)
    return Written(file["class"], file)


def rules(written: Written) -> str:
    """The program of the class: what it takes out of an answer and how it judges stands nowhere else.

    Where that is a recipe's, the recipe and the version of what reads it are told as well.
    """
    told = {"class": inspect.getsource(written.kind)}
    if (recipe := written.file.get(_RECIPE)) is not None:
        told |= {_RECIPE: recipe, "unitxt": _recipes().read(recipe).library}
    return json.dumps(told)


def require(written: Written, metric: str) -> None:
    """Look whether what judges can be had, where that is known before anything is judged.

    Raises:
        BenchError: the metric needs a library that is not installed.
    """
    if (recipe := written.file.get(_RECIPE)) is not None:
        _recipes().require(recipe, metric)


def repository(written: Written, task: Any) -> str | None:
    """The data set on the hub; None where the data come from elsewhere."""
    if (recipe := written.file.get(_RECIPE)) is None:
        return str(task.DATASET_PATH)
    found: str | None = _recipes().read(recipe).repository
    return found


def with_data(written: Written, folder: str | None) -> Any:
    """lm-eval's own task object, its data from the hub or from a folder in the hub's layout."""
    if folder is None:
        return _made(written, {})
    if (recipe := written.file.get(_RECIPE)) is None:
        return _made(written, {"DATASET_PATH": folder})
    with _recipes().in_folder(recipe, folder) as there:
        return _made(Written(written.kind, {**written.file, _RECIPE: there}), {})


def judge(written: Written, document: Mapping[str, Any] | None) -> Any:
    """The task around one document, or around a blank one; no data set is read."""
    if document is None and _RECIPE in written.file:
        document = _Blank(metrics=list(_recipes().read(written.file[_RECIPE]).metrics))
    rows = _Everywhere(_Documents([_Blank() if document is None else document]))

    def download(self: Any, *_: object, **_more: object) -> None:
        self.dataset = rows

    return _made(written, {"download": download})


def asked(task: Any, name: str) -> tuple[Mapping[str, Any], int]:
    """How answers are generated, as the class says it with every question, and how many likelihoods it wants besides.

    Raises:
        BenchError: a question asks for something else than one generated answer and likelihoods.
    """
    found = task.construct_requests(_Blank(), "")
    requests = found if isinstance(found, list) else [found]
    kinds = [request.request_type for request in requests]
    if kinds != ["generate_until"] + ["loglikelihood"] * (len(kinds) - 1):
        what = f"lm-eval's '{name}' asks of every question {' and '.join(kinds)}"
        raise BenchError(what, "only tasks that generate one answer are scored; lm_eval run scores this one")
    return requests[0].args[1], len(kinds) - 1


def _made(written: Written, changed: Mapping[str, Any]) -> Any:
    """An object of the class with other members in their places, made as lm-eval makes it."""
    kind = type(written.kind.__name__, (written.kind,), dict(changed))
    takes = "config" in inspect.signature(kind).parameters
    return kind(config=dict(written.file)) if takes else kind()


def _recipes() -> Any:
    """What reads recipes: a module that needs Unitxt, which few tasks do."""
    try:
        return importlib.import_module("tasks._lm_eval.recipes")
    except ModuleNotFoundError as error:
        what = f"the task is a recipe of Unitxt, and {error.name} is not installed"
        raise BenchError(what, "pip install unitxt") from error
