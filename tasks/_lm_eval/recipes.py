"""A task that Unitxt makes from a recipe: questions, metrics and the data set's name stand in Unitxt's catalogue."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unitxt import __version__, settings
from unitxt.api import load_recipe
from unitxt.artifact import fetch_artifact
from unitxt.operator import MissingRequirementsError
from unitxt.stream import EmptyStreamError

from harness.errors import BenchError


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is known of a recipe before any data is read.

    Attributes:
        metrics: as the documents name them ("metrics.accuracy").
        repository: the data set on the hub; None where the data come from elsewhere.
        library: the version of Unitxt: what a recipe's words mean stands in its catalogue.
    """

    metrics: tuple[str, ...]
    repository: str | None
    library: str


def read(recipe: str) -> Recipe:
    """Look a recipe up ("card=cards.ag_news,template=templates.classification.multi_class.title")."""
    made = _made(recipe)
    return Recipe(tuple(made.metrics or made.card.task.metrics), getattr(made.card.loader, "path", None), __version__)


def require(recipe: str, metric: str) -> None:
    """Make a metric of the recipe, under the name that lm-eval gives it.

    Raises:
        BenchError: the metric needs a library that is not installed.
    """
    name = next(each for each in read(recipe).metrics if each.replace("metrics.", "") == metric)
    try:
        fetch_artifact(name)
    except MissingRequirementsError as error:
        lacking = ", ".join([*error.missing_packages, *error.version_mismatched_packages])
        way_out = "; ".join(error.installation_instructions)
        raise BenchError(f"Unitxt's metric '{metric}' needs {lacking}, which is not installed", way_out) from error


@contextmanager
def in_folder(recipe: str, folder: str) -> Iterator[Any]:
    """The recipe over a data set that lies in a folder, which is read anew; the documents are those of the hub's.

    Raises:
        ValueError: the folder has too few rows for the splits that the recipe makes of them.
    """
    made = _made(recipe)
    loader = made.card.loader
    loader.path = folder
    if loader.data_classification_policy is None:
        loader.data_classification_policy = ["public"]  # what Unitxt says of the hub's; each document holds it
    with settings.context(loader_cache_size=0):
        try:
            yield made
        except EmptyStreamError as error:
            raise ValueError(f"too few rows: {getattr(error, 'original_error', error)}") from error


def _made(recipe: str) -> Any:
    logging.getLogger("unitxt").setLevel(logging.ERROR)  # it tells of every step, and where results are printed
    return load_recipe(recipe)
