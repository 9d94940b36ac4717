"""A recipe is one flat TOML file that states a whole training: base, trainer, data and every hyper-parameter."""

import dataclasses
import difflib
import json
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core import plugins, records
from baseline_bench.core.errors import BenchError, gathered, nearest
from baseline_bench.core.options import WORDS, kinds_of
from baseline_bench.trainers import _options as trainer_options

FOLDER = plugins.folder("trainer") / "recipes"

_REQUIRED = ("base", "trainer", "task", "data", "lr")
_FILES = (".py", ".jsonl", ".parquet")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "nothing"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes a candidate.

    Attributes:
        name: the file's name without `.toml`.
        base: name of the model to start from, as `bench baseline` takes it.
        trainer: a name, or the path of a .py file.
        task: whose prompts the rows are written in, and whose test items must not be among them.
        data: a task (its train split), a data set of the hub, or a .jsonl or .parquet file.
        config: which manner or part of the data, where there is more than one.
        split: which split of it.
        shots: worked examples before the question of every row.
        max_length: tokens of a row at most; a longer row is an error and never cut.
        derived_from: the tasks whose items the data was made from.
        options: the trainer's Options.
        path: of the file.
        overridden: keys that were set from outside the file.
    """

    name: str
    base: str
    trainer: str
    task: str
    data: str
    config: str | None
    split: str
    shots: int
    max_length: int
    derived_from: tuple[str, ...]
    options: Any
    path: Path
    overridden: tuple[str, ...]


_HINTS: dict[str, Any] = {
    key: hint
    for key, hint in typing.get_type_hints(Recipe).items()
    if key not in ("name", "options", "path", "overridden")
}
_DEFAULTS: dict[str, Any] = {"config": None, "split": "train", "shots": 0, "max_length": 1024, "derived_from": ()}
_LEAST = {"shots": 0, "max_length": 2}


def names() -> tuple[str, ...]:
    """The recipes that lie here, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def path(name: str) -> Path:
    """The file of a recipe: of that name here, or anywhere (`./my-recipe.toml`).

    Raises:
        BenchError: there is none.
    """
    if name.endswith(".toml"):
        found = Path(name).expanduser()
        if not found.is_file():
            raise BenchError(f"no file {found}", f"give the path of a recipe, or a name: {', '.join(names())}")
        return found
    if name not in names():
        raise BenchError(f"no recipe '{name}'", nearest(name, names(), "bench list recipes"))
    return FOLDER / f"{name}.toml"


def read(name: str, overrides: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Read a recipe and set what is to differ from its file.

    Args:
        name: of a recipe here, or the path of a .toml file.
        overrides: `key=value` texts such as "lr=1e-4"; lists are separated by commas, "none" stands for nothing.
        base: another base than the file's.

    Raises:
        BenchError: no such recipe, not TOML, or keys and values that do not fit; all problems at once.
    """
    file = path(name)
    table = _table(file)
    texts, problems = _texts(overrides, base)
    kind = _options(_trainer(file, table, texts))
    hints = {**_HINTS, **typing.get_type_hints(kind)}
    given = _given(hints, table, texts, problems)
    problems += [f"{key} must be {least} or more" for key, least in _LEAST.items() if given.get(key, least) < least]
    if missing := [key for key in _required(kind) if key not in {**table, **texts}]:
        problems.append(f"lacks {', '.join(missing)}")
    try:
        options = kind(**{key: value for key, value in given.items() if key not in _HINTS}) if not problems else None
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise gathered(problems, str(file), f"the keys of a recipe for this trainer are {', '.join(hints)}")
    own = {**_DEFAULTS, **{key: value for key, value in given.items() if key in _HINTS}}
    return Recipe(name=file.stem, options=options, path=file, overridden=tuple(texts), **own)


def place(recipe: Recipe, key: str) -> str:
    """The value of a key that may be a path, ready for use: one in the file starts from where the file lies.

    A path that was set from outside starts from the current folder, as paths on a command line do.
    """
    return _placed(recipe.path, str(getattr(recipe, key)), outside=key in recipe.overridden)


def values(recipe: Recipe) -> dict[str, object]:
    """Every key with its value as it was resolved, for a record; paths stay as they are written."""
    own = {key: getattr(recipe, key) for key in _HINTS}
    options = {field.name: getattr(recipe.options, field.name) for field in dataclasses.fields(recipe.options)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in {**own, **options}.items()}


def digest(recipe: Recipe) -> str:
    """Sha256 over every resolved key: a default that is stated and one that is left out are the same recipe."""
    return records.digest(values(recipe))


def text(recipe: Recipe) -> str:
    """The recipe as a flat and complete TOML file; read again, it has the same digest."""
    lines = [f"{key} = {_toml(value)}" for key, value in values(recipe).items() if value is not None]
    return "\n".join([f"# {' '.join(recipe.name.split())}, every key as it was resolved.", *lines]) + "\n"


def show_recipe(name: str, sets: Sequence[str], base: str | None) -> str:
    """A recipe as it would be trained, with its digest: what `bench show recipe NAME` prints."""
    recipe = read(name, sets, base)
    return f"{text(recipe)}# digest {digest(recipe)}\n"


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{file} is not TOML: {error}", "correct that line; texts stand in quotes") from error
    except ValueError as error:
        raise BenchError(f"{file} is not UTF-8: {error}", "save the file as UTF-8") from error


def _texts(overrides: Sequence[str], base: str | None) -> tuple[dict[str, str], list[str]]:
    """(key to text, what is no `key=value`)."""
    pairs = [pair.partition("=") for pair in overrides]
    texts = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    return texts | ({} if base is None else {"base": base}), [
        f"'{key}' is not key=value" for key, sign, _ in pairs if not sign
    ]


def _trainer(file: Path, table: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """The trainer's name or path: all else that a recipe may say hangs on it."""
    named = texts.get("trainer", table.get("trainer"))
    if not isinstance(named, str):
        missing = [key for key in _REQUIRED if key not in {**table, **texts}]
        told = f"lacks {', '.join(missing)}" if missing else "trainer takes a text"
        raise BenchError(f"{file}: {told}", f"name a trainer: {', '.join(plugins.names('trainer'))}, or a .py file")
    return _placed(file, named, outside="trainer" in texts)


def _options(trainer: str) -> type[Any]:
    """The Options of a trainer: of ours without importing torch, of any other from its module.

    Raises:
        BenchError: no such trainer, or one that has a key of every recipe among its own.
    """
    ours = trainer in plugins.names("trainer")
    light = getattr(trainer_options, trainer.capitalize(), None) if ours else None
    kind: type[Any] = plugins.trainer(trainer).Options if light is None else light
    if twice := [field.name for field in dataclasses.fields(kind) if field.name in _HINTS]:
        raise BenchError(
            f"the trainer '{trainer}' has options that every recipe has: {', '.join(twice)}", "rename them"
        )
    return kind


def _given(
    hints: Mapping[str, Any], table: Mapping[str, Any], texts: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    """Every stated key with its value; what is wrong is added to `problems`."""
    given: dict[str, Any] = {}
    for key, value in {**table, **texts}.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            problems.append(f"no key '{key}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
            continue
        try:
            given[key] = _spelled(hints[key], texts[key]) if key in texts else _checked(hints[key], value)
        except ValueError as error:
            problems.append(f"{key} takes {error}")
    return given


def _required(kind: type[Any]) -> list[str]:
    fields = dataclasses.fields(kind)
    bare = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    known = {*_HINTS, *(field.name for field in fields)}
    return list(dict.fromkeys([*(key for key in _REQUIRED if key in known), *bare]))


def _placed(file: Path, value: str, *, outside: bool) -> str:
    if not (value.endswith(_FILES) or value.startswith((".", "~", "/"))):
        return value
    found = Path(value).expanduser()
    return str((found if outside else file.parent / found).absolute())


def _named(hint: Any) -> str:
    return " or ".join(_KINDS.get(kind, "a list of texts") for kind in kinds_of(hint))


def _checked(hint: Any, value: Any) -> Any:
    """A value of the file, as the field holds it; ValueError tells what the field takes."""
    kinds = kinds_of(hint)
    if type(value) in kinds and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    if float in kinds and type(value) is int:
        return float(value)
    if isinstance(value, list) and _is_list(kinds) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, str) and (float in kinds or int in kinds) and _is_number(value):
        raise ValueError(f"{_named(hint)}: write {value} without quotes")
    raise ValueError(f"{_named(hint)}, not {'a table' if isinstance(value, dict) else repr(value)}")


def _spelled(hint: Any, value: str) -> Any:
    """The value that a text on the command line stands for; ValueError tells what the field takes."""
    kinds = kinds_of(hint)
    if type(None) in kinds and value.lower() == "none":
        return None
    if bool in kinds and value.lower() in WORDS:
        return WORDS[value.lower()]
    if _is_list(kinds):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if str in kinds and value:
        return value
    for kind in (int, float):
        if kind in kinds and _is_number(value, kind):
            return kind(value)
    raise ValueError(f"{_named(hint)}, not '{value}'")


def _is_list(kinds: tuple[Any, ...]) -> bool:
    return any(typing.get_origin(kind) is tuple for kind in kinds)


def _is_number(value: str, kind: type[int] | type[float] = float) -> bool:
    try:
        return math.isfinite(kind(value))
    except (ValueError, OverflowError):
        return False


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(
        value, str
    ):  # a JSON text is a TOML text, but for the one control character that JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
