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
from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.core.options import BOOLEAN_WORDS, list_field_types
from baseline_bench.trainers import _options as trainer_options

FOLDER = plugins.find_folder("trainer") / "recipes"

_REQUIRED = ("base", "trainer", "task", "data", "lr")
_FILE_SUFFIXES = (".py", ".jsonl", ".parquet")
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "nothing"}


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
_MIN_VALUES = {"shots": 0, "max_length": 2}


def list_recipes() -> tuple[str, ...]:
    """The recipes that lie here, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find_recipe_file(name: str) -> Path:
    """The file of a recipe: of that name here, or anywhere (`./my-recipe.toml`).

    Raises:
        BenchError: there is none.
    """
    if name.endswith(".toml"):
        found = Path(name).expanduser()
        if not found.is_file():
            raise BenchError(f"no file {found}", f"give the path of a recipe, or a name: {', '.join(list_recipes())}")
        return found
    if name not in list_recipes():
        raise BenchError(f"no recipe '{name}'", suggest_name(name, list_recipes(), "bench list recipes"))
    return FOLDER / f"{name}.toml"


def read_recipe(name: str, overrides: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Read a recipe and set what is to differ from its file.

    Args:
        name: of a recipe here, or the path of a .toml file.
        overrides: `key=value` texts such as "lr=1e-4"; lists are separated by commas, "none" stands for nothing.
        base: another base than the file's.

    Raises:
        BenchError: no such recipe, not TOML, or keys and values that do not fit; all problems at once.
    """
    file = find_recipe_file(name)
    table = _read_toml(file)
    texts, problems = _parse_overrides(overrides, base)
    kind = _find_options_type(_find_trainer(file, table, texts))
    hints = {**_HINTS, **typing.get_type_hints(kind)}
    given = _read_values(hints, table, texts, problems)
    problems += [
        f"{key} must be {least} or more" for key, least in _MIN_VALUES.items() if given.get(key, least) < least
    ]
    if missing := [key for key in _list_required_keys(kind) if key not in {**table, **texts}]:
        problems.append(f"lacks {', '.join(missing)}")
    try:
        options = kind(**{key: value for key, value in given.items() if key not in _HINTS}) if not problems else None
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise combine_problems(problems, str(file), f"the keys of a recipe for this trainer are {', '.join(hints)}")
    own = {**_DEFAULTS, **{key: value for key, value in given.items() if key in _HINTS}}
    return Recipe(name=file.stem, options=options, path=file, overridden=tuple(texts), **own)


def resolve_path(recipe: Recipe, key: str) -> str:
    """The value of a key that may be a path, ready for use: one in the file starts from where the file lies.

    A path that was set from outside starts from the current folder, as paths on a command line do.
    """
    return _resolve_value(recipe.path, str(getattr(recipe, key)), outside=key in recipe.overridden)


def collect_values(recipe: Recipe) -> dict[str, object]:
    """Every key with its value as it was resolved, for a record; paths stay as they are written."""
    own = {key: getattr(recipe, key) for key in _HINTS}
    options = {field.name: getattr(recipe.options, field.name) for field in dataclasses.fields(recipe.options)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in {**own, **options}.items()}


def digest_recipe(recipe: Recipe) -> str:
    """Sha256 over every resolved key: a default that is stated and one that is left out are the same recipe."""
    return records.digest(collect_values(recipe))


def format_recipe(recipe: Recipe) -> str:
    """The recipe as a flat and complete TOML file; read again, it has the same digest."""
    lines = [f"{key} = {_format_value(value)}" for key, value in collect_values(recipe).items() if value is not None]
    return "\n".join([f"# {' '.join(recipe.name.split())}, every key as it was resolved.", *lines]) + "\n"


def describe_recipe(name: str, sets: Sequence[str], base: str | None) -> str:
    """A recipe as it would be trained, with its digest: what `bench show recipe NAME` prints."""
    recipe = read_recipe(name, sets, base)
    return f"{format_recipe(recipe)}# digest {digest_recipe(recipe)}\n"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{file} is not TOML: {error}", "correct that line; texts stand in quotes") from error
    except ValueError as error:
        raise BenchError(f"{file} is not UTF-8: {error}", "save the file as UTF-8") from error


def _parse_overrides(overrides: Sequence[str], base: str | None) -> tuple[dict[str, str], list[str]]:
    """(key to text, what is no `key=value`)."""
    pairs = [pair.partition("=") for pair in overrides]
    texts = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    return texts | ({} if base is None else {"base": base}), [
        f"'{key}' is not key=value" for key, sign, _ in pairs if not sign
    ]


def _find_trainer(file: Path, table: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """The trainer's name or path: all else that a recipe may say hangs on it."""
    named = texts.get("trainer", table.get("trainer"))
    if not isinstance(named, str):
        missing = [key for key in _REQUIRED if key not in {**table, **texts}]
        told = f"lacks {', '.join(missing)}" if missing else "trainer takes a text"
        raise BenchError(
            f"{file}: {told}", f"name a trainer: {', '.join(plugins.list_names('trainer'))}, or a .py file"
        )
    return _resolve_value(file, named, outside="trainer" in texts)


def _find_options_type(trainer: str) -> type[Any]:
    """The Options of a trainer: of ours without importing torch, of any other from its module.

    Raises:
        BenchError: no such trainer, or one that has a key of every recipe among its own.
    """
    ours = trainer in plugins.list_names("trainer")
    light = getattr(trainer_options, trainer.capitalize(), None) if ours else None
    kind: type[Any] = plugins.load_trainer(trainer).Options if light is None else light
    if twice := [field.name for field in dataclasses.fields(kind) if field.name in _HINTS]:
        raise BenchError(
            f"the trainer '{trainer}' has options that every recipe has: {', '.join(twice)}", "rename them"
        )
    return kind


def _read_values(
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
            given[key] = _parse_value(hints[key], texts[key]) if key in texts else _check_value(hints[key], value)
        except ValueError as error:
            problems.append(f"{key} takes {error}")
    return given


def _list_required_keys(kind: type[Any]) -> list[str]:
    fields = dataclasses.fields(kind)
    bare = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    known = {*_HINTS, *(field.name for field in fields)}
    return list(dict.fromkeys([*(key for key in _REQUIRED if key in known), *bare]))


def _resolve_value(file: Path, value: str, *, outside: bool) -> str:
    if not (value.endswith(_FILE_SUFFIXES) or value.startswith((".", "~", "/"))):
        return value
    found = Path(value).expanduser()
    return str((found if outside else file.parent / found).absolute())


def _describe_type(hint: Any) -> str:
    return " or ".join(_TYPE_NAMES.get(kind, "a list of texts") for kind in list_field_types(hint))


def _check_value(hint: Any, value: Any) -> Any:
    """A value of the file, as the field holds it; ValueError tells what the field takes."""
    kinds = list_field_types(hint)
    if type(value) in kinds and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    if float in kinds and type(value) is int:
        return float(value)
    if isinstance(value, list) and _is_list(kinds) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, str) and (float in kinds or int in kinds) and _is_number(value):
        raise ValueError(f"{_describe_type(hint)}: write {value} without quotes")
    raise ValueError(f"{_describe_type(hint)}, not {'a table' if isinstance(value, dict) else repr(value)}")


def _parse_value(hint: Any, value: str) -> Any:
    """The value that a text on the command line stands for; ValueError tells what the field takes."""
    kinds = list_field_types(hint)
    if type(None) in kinds and value.lower() == "none":
        return None
    if bool in kinds and value.lower() in BOOLEAN_WORDS:
        return BOOLEAN_WORDS[value.lower()]
    if _is_list(kinds):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if str in kinds and value:
        return value
    for kind in (int, float):
        if kind in kinds and _is_number(value, kind):
            return kind(value)
    raise ValueError(f"{_describe_type(hint)}, not '{value}'")


def _is_list(kinds: tuple[Any, ...]) -> bool:
    return any(typing.get_origin(kind) is tuple for kind in kinds)


def _is_number(value: str, kind: type[int] | type[float] = float) -> bool:
    try:
        return math.isfinite(kind(value))
    except (ValueError, OverflowError):
        return False


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_format_value(item) for item in value)}]"
    if isinstance(
        value, str
    ):  # a JSON text is a TOML text, but for the one control character that JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
