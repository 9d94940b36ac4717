"""Read recipes: flat TOML files that state a whole training: base, trainer, data and every hyper-parameter."""

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from baseline_bench.analysis.recipe_key import digest_weight_keys
from baseline_bench.core import plugins, records
from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.core.options import BOOLEAN_WORDS, list_field_types
from baseline_bench.core.untrusted import parse_toml, read_bytes
from baseline_bench.models import registry
from baseline_bench.models.weights import digest_weights
from baseline_bench.trainers import _options as trainer_options

FOLDER = plugins.find_folder("trainer") / "recipes"

_REQUIRED = ("base", "trainer", "task", "data", "lr")
_FILE_SUFFIXES = (".py", ".jsonl", ".parquet")
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "nothing"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete description of a training.

    Attributes:
        name: the file's name without `.toml`.
        base: name of the model to start from, as `bench baseline` takes it.
        trainer: a name, or the path of a .py file.
        task: the task whose prompt format the rows use, and whose test items must not be among them.
        data: a task (its train split), a data set of the hub, or a .jsonl or .parquet file.
        config: the configuration of the data set, if it has several.
        shots: worked examples before the question of every row.
        max_length: maximum tokens of a row; a longer row is an error and never cut.
        derived_from: the tasks whose items the data was made from.
        margin: the largest difference from the base that does not matter, a share of the problems; it changes no
            weights.
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
    margin: float | None
    options: Any
    path: Path
    overridden: tuple[str, ...]


_HINTS: dict[str, Any] = {
    key: hint
    for key, hint in typing.get_type_hints(Recipe).items()
    if key not in ("name", "options", "path", "overridden")
}
_DEFAULTS: dict[str, Any] = {"split": "train", "shots": 0, "max_length": 1024, "derived_from": ()}
_DEFAULTS |= {"config": None, "margin": None}
# Keys that came later, with the defaults that mean what older recipes did.
_LATER_KEYS = {"margin": None, "fused_kernels": True}
_MIN_VALUES = {"shots": 0, "max_length": 2}


def list_recipes() -> tuple[str, ...]:
    """List the built-in recipes, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find_recipe_file(name: str) -> Path:
    """Return the file of a recipe: a built-in one by name, or any by path (`./my-recipe.toml`)."""
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise BenchError(f"no file {path}", f"give the path of a recipe, or a name: {', '.join(list_recipes())}")
        return path
    if name not in list_recipes():
        raise BenchError(f"no recipe '{name}'", suggest_name(name, list_recipes(), "bench list recipes"))
    return FOLDER / f"{name}.toml"


def read_recipe(name: str, overrides: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Read a recipe and apply the overrides.

    Args:
        name: a built-in recipe, or the path of a .toml file.
        overrides: `key=value` texts such as "lr=1e-4"; commas separate list items, "none" means None.

    Raises:
        BenchError: no such recipe, not TOML, or invalid keys and values; all problems at once.
    """
    file = find_recipe_file(name)
    way_out = "correct that line and save the file as UTF-8; quote texts"
    table = parse_toml(read_bytes(file, way_out), str(file), way_out)
    texts, problems = _parse_overrides(overrides, base)
    kind = _find_options_type(_find_trainer(file, table, texts))
    hints = {**_HINTS, **typing.get_type_hints(kind)}
    values = _read_values(hints, table, texts, problems)
    problems += [
        f"{key} must be {least} or more" for key, least in _MIN_VALUES.items() if values.get(key, least) < least
    ]
    if (margin := values.get("margin")) is not None and not 0 < margin < 1:
        problems.append("margin must be above 0 and below 1: 0.01 for one point")
    if missing := [key for key in _list_required_keys(kind) if key not in {**table, **texts}]:
        problems.append(f"lacks {', '.join(missing)}")
    try:
        options = kind(**{key: value for key, value in values.items() if key not in _HINTS}) if not problems else None
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise combine_problems(problems, str(file), f"the keys of a recipe for this trainer are {', '.join(hints)}")
    recipe_values = {**_DEFAULTS, **{key: value for key, value in values.items() if key in _HINTS}}
    return Recipe(name=file.stem, options=options, path=file, overridden=tuple(texts), **recipe_values)


def require_known_names(recipe: Recipe, tasks: Sequence[str] = ()) -> None:
    """Refuse a base, or a task of the recipe or of `tasks`, that does not exist; this imports no heavy library."""
    registry.require_model_name(resolve_path(recipe, "base"))
    for name in (resolve_path(recipe, "task"), *tasks):
        plugins.require_name("task", name)


def resolve_path(recipe: Recipe, key: str) -> str:
    """Return the value of a key that may be a path, ready for use: a path in the file is relative to the file.

    A path that was set from outside is relative to the current folder, as paths on a command line are.
    """
    return _resolve_value(recipe.path, str(getattr(recipe, key)), outside=key in recipe.overridden)


def collect_values(recipe: Recipe) -> dict[str, object]:
    """Return every key with its resolved value, for a record; paths stay as they are written.

    Later keys are absent while they have their defaults, so that records and digests from before them keep their bytes.
    """
    values = {key: getattr(recipe, key) for key in _HINTS}
    values |= {field.name: getattr(recipe.options, field.name) for field in dataclasses.fields(recipe.options)}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key not in _LATER_KEYS or value != _LATER_KEYS[key]
    }


def serialise_recipe(recipe: Recipe) -> dict[str, object]:
    """Return the recipe as plain values: a child process may not know the class of its options."""
    origin = {"name": recipe.name, "path": str(recipe.path), "overridden": list(recipe.overridden)}
    return {**origin, "values": collect_values(recipe)}


def restore_recipe(recipe_json: Mapping[str, Any]) -> Recipe:
    """Rebuild, in a child process, the recipe from the values of `serialise_recipe`; its file is not read again."""
    path, overridden = Path(recipe_json["path"]), tuple(recipe_json["overridden"])
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe_json["values"].items()
    }
    kind = _find_options_type(_resolve_value(path, values["trainer"], outside="trainer" in overridden))
    own_values = {key: values.pop(key, _DEFAULTS.get(key)) for key in _HINTS}
    return Recipe(name=recipe_json["name"], options=kind(**values), path=path, overridden=overridden, **own_values)


def digest_recipe(recipe: Recipe) -> str:
    """Return the sha256 over every resolved key: stating a default or leaving it out gives the same digest."""
    return records.digest(collect_values(recipe))


def digest_trainer(recipe: Recipe) -> str | None:
    """Return the sha256 of a trainer that is a file; None for the others, which the commit identifies."""
    trainer = Path(resolve_path(recipe, "trainer"))
    return sha256(trainer.read_bytes()).hexdigest() if trainer.suffix == ".py" else None


def format_recipe(recipe: Recipe) -> str:
    """Format the recipe as a flat and complete TOML file; reading it again gives the same digest."""
    lines = [f"{key} = {_format_value(value)}" for key, value in collect_values(recipe).items() if value is not None]
    return "\n".join([f"# {' '.join(recipe.name.split())}, every key as it was resolved.", *lines]) + "\n"


def describe_recipe(name: str, sets: Sequence[str], base: str | None) -> str:
    """Describe a recipe as it would be trained, with its two digests: the output of `bench show recipe NAME`."""
    recipe = read_recipe(name, sets, base)
    folder = Path(resolve_path(recipe, "base"))
    weights_sha256 = digest_weights(folder) if folder.is_dir() and recipe.base not in registry.list_names() else None
    moving = digest_weight_keys(collect_values(recipe), weights_sha256, digest_trainer(recipe))
    return f"{format_recipe(recipe)}# digest {digest_recipe(recipe)}\n# of the keys that move weights {moving}\n"


def _parse_overrides(overrides: Sequence[str], base: str | None) -> tuple[dict[str, str], list[str]]:
    """Return (key to text, problems with texts that are not `key=value`)."""
    pairs = [pair.partition("=") for pair in overrides]
    texts = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    return texts | ({} if base is None else {"base": base}), [
        f"'{key}' is not key=value" for key, sign, _ in pairs if not sign
    ]


def _find_trainer(file: Path, table: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return the trainer's name or path, which decides the recipe's other keys."""
    trainer = texts.get("trainer", table.get("trainer"))
    if not isinstance(trainer, str):
        missing = [key for key in _REQUIRED if key not in {**table, **texts}]
        problem = f"lacks {', '.join(missing)}" if missing else "trainer takes a text"
        what = f"{file}: {problem}"
        raise BenchError(what, f"name a trainer: {', '.join(plugins.list_names('trainer'))}, or a .py file")
    return _resolve_value(file, trainer, outside="trainer" in texts)


def _find_options_type(trainer: str) -> type[Any]:
    """Return a trainer's Options: of a built-in one without importing torch, of any other from its module."""
    is_builtin = trainer in plugins.list_names("trainer")
    builtin_options = getattr(trainer_options, trainer.capitalize(), None) if is_builtin else None
    kind: type[Any] = plugins.load_trainer(trainer).Options if builtin_options is None else builtin_options
    if duplicates := [field.name for field in dataclasses.fields(kind) if field.name in _HINTS]:
        what = f"the trainer '{trainer}' has options that every recipe has: {', '.join(duplicates)}"
        raise BenchError(what, "rename them")
    return kind


def _read_values(
    hints: Mapping[str, Any], table: Mapping[str, Any], texts: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    """Return every stated key with its value; append what is wrong to `problems`."""
    values: dict[str, Any] = {}
    for key, value in {**table, **texts}.items():
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            problems.append(f"no key '{key}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
            continue
        try:
            values[key] = _parse_value(hints[key], texts[key]) if key in texts else _check_value(hints[key], value)
        except ValueError as error:
            problems.append(f"{key} takes {error}")
    return values


def _list_required_keys(kind: type[Any]) -> list[str]:
    fields = dataclasses.fields(kind)
    without_default = [
        f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    known = {*_HINTS, *(field.name for field in fields)}
    return list(dict.fromkeys([*(key for key in _REQUIRED if key in known), *without_default]))


def _resolve_value(file: Path, value: str, *, outside: bool) -> str:
    if not (value.endswith(_FILE_SUFFIXES) or value.startswith((".", "~", "/"))):
        return value
    path = Path(value).expanduser()
    return str((path if outside else file.parent / path).absolute())


def _describe_type(hint: Any) -> str:
    return " or ".join(_TYPE_NAMES.get(kind, "a list of texts") for kind in list_field_types(hint))


def _check_value(hint: Any, value: Any) -> Any:
    """Return a value of the file as the field holds it; the ValueError says what the field takes."""
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
    """Parse a text of the command line into a value; the ValueError says what the field takes."""
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
    if isinstance(value, str):  # a JSON string is a TOML string, except for the one control character JSON keeps
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
