"""Derive a command's arguments from its Options, a frozen dataclass whose fields carry their help text.

Fields declared with `argument` or `option` are on the command line; any other field keeps its default. The annotation
gives the type: `bool` is a switch, `list` may be repeated, `tuple` takes several values, `Literal` lists the choices.
"""

import argparse
import dataclasses
import os
import types
import typing
from pathlib import Path
from typing import Any, Literal

MUST_BE_GIVEN = dataclasses.MISSING
_KEY = "argument"


def argument(help_text: str, metavar: str = "", default: Any = MUST_BE_GIVEN) -> Any:
    """Declare a positional argument; with a default it is optional.

    Args:
        help_text: its text in `bench COMMAND --help`.
        metavar: the name of its value in the help; empty shows the choices.
        default: the value if the argument is omitted.
    """
    return _field((), help_text, metavar, default, None)


def option(flags: str, help_text: str, metavar: str = "", default: Any = None, one_of: str | None = None) -> Any:
    """Declare an option.

    Args:
        flags: such as "--task" or "-o --option"; the field's name may differ.
        help_text: its text in `bench COMMAND --help`; "%(default)s" is replaced by the default.
        metavar: the name of its value in the help; empty for switches and choices.
        default: the value if the option is omitted, or a function that returns it.
        one_of: a group of options of which at most one may be given; exactly one if the name ends with "!".
    """
    return _field(tuple(flags.split()), help_text, metavar, default, one_of)


def add_arguments(parser: argparse.ArgumentParser, options: type[Any]) -> None:
    """Add the fields of a command's Options to its parser, in their order."""
    hints = typing.get_type_hints(options)
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        declared = field.metadata.get(_KEY)
        if declared is None:
            continue
        target: Any = parser
        if (group := declared["one_of"]) is not None:
            if group not in groups:
                groups[group] = parser.add_mutually_exclusive_group(required=group.endswith("!"))
            target = groups[group]
        target.add_argument(*(declared["flags"] or (field.name,)), **_keywords(field, hints[field.name], declared))


def datasets_folder() -> Path | None:
    """Return the folder of data sets that BENCH_DATASETS names, or None for the hub."""
    folder = os.environ.get("BENCH_DATASETS")
    return Path(folder) if folder else None


def cache_folder() -> Path:
    """Return the folder that keeps models: BENCH_CACHE, else the user's cache folder."""
    folder = os.environ.get("BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "baseline-bench"
    return Path(folder).expanduser()


def _field(flags: tuple[str, ...], help_text: str, metavar: str, default: Any, one_of: str | None) -> Any:
    metadata = {_KEY: {"flags": flags, "help": help_text, "metavar": metavar, "one_of": one_of}}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _keywords(field: dataclasses.Field[Any], hint: Any, declared: dict[str, Any]) -> dict[str, Any]:
    """Build the keyword arguments of argparse's `add_argument` for a field."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    required, positional = default is MUST_BE_GIVEN, not declared["flags"]
    keywords: dict[str, Any] = {"help": declared["help"]}
    if declared["metavar"]:
        keywords["metavar"] = declared["metavar"]
    if not positional:
        keywords |= {"dest": field.name, "required": required}
    if not required:
        keywords["default"] = default
    kind = next(each for each in _alternatives(hint) if each is not types.NoneType)
    if kind is bool:
        return {**keywords, "action": "store_false" if default else "store_true"}
    if typing.get_origin(kind) is list:
        (kind,) = typing.get_args(kind)
        keywords |= {"nargs": "+" if required else "*"} if positional else {"action": "append"}
    elif typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
        keywords["nargs"] = "+"
    elif positional and not required:
        keywords["nargs"] = "?"
    if typing.get_origin(kind) is Literal:
        return {**keywords, "choices": typing.get_args(kind), "type": type(typing.get_args(kind)[0])}
    return {**keywords, "type": kind}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


# Options that several commands share. Each call creates a new field, as dataclasses require.
ENTRY = "a candidate's name, or the path or file name of an entry (.json)"


def leaderboards_option() -> Any:
    """Declare `--leaderboards`, a Path."""
    text = "the folder of the leaderboards (default: %(default)s)"
    return option("--leaderboards", text, "DIR", Path("leaderboards"))


def board_option() -> Any:
    """Declare `--board`, a name or None."""
    return option("--board", "look on this board alone (default: on all)", "NAME")


def datasets_option() -> Any:
    """Declare `--datasets`, a Path or None."""
    text = "a folder of data sets in the hub's layout (default: BENCH_DATASETS, else the hub)"
    return option("--datasets", text, "DIR", datasets_folder)


def cache_option() -> Any:
    """Declare `--cache`, a Path."""
    return option("--cache", "where models are kept (default: BENCH_CACHE, else %(default)s)", "DIR", cache_folder)


def engine_option() -> Any:
    """Declare `--engine`, a name or None."""
    text = "vllm, transformers, openai or scripted (default: vllm where a GPU and vllm are there, else transformers)"
    return option("--engine", text, "NAME")


def engine_settings_option() -> Any:
    """Declare `-o`, "key=value" texts."""
    text = "a setting of the engine, such as dtype=float32; may be repeated"
    return option("-o --option", text, "KEY=VALUE", list)


def accepted_findings_option() -> Any:
    """Declare `--accept`, codes of findings."""
    text = "go on with a model that this finding would refuse, and record it; may be repeated"
    return option("--accept", text, "CODE", list)


def own_tasks_option() -> Any:
    """Declare `--task`, files of the user's own tasks."""
    return option("--task", "a task of your own; may be repeated", "FILE", list)


def recipe_base_option() -> Any:
    """Declare `--base`, a model's name or None."""
    return option("--base", "another base than the recipe's", "MODEL")


def recipe_keys_option() -> Any:
    """Declare `--set`, "key=value" texts."""
    return option("--set", "another value for a recipe's key; may be repeated", "KEY=VALUE", list)


def checkpoints_option() -> Any:
    """Declare `--checkpoints`, a number."""
    return option("--checkpoints", "keep K sets of weights on the way, evenly spread", "K", 0)


def trackers_option() -> Any:
    """Declare `--log`, names of trackers."""
    return option("--log", "report every step to a tracker, such as tensorboard; may be repeated", "NAME", list)
