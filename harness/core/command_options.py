"""Derive a command's arguments from its Options, a frozen dataclass whose fields carry their help text.

A field made by `argument` or `option` is on the command line; any other field keeps its default. The annotation gives
the type: `bool` is a switch, `list` may be repeated, `Literal` lists the choices.
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
    """A positional argument; with a default it may be left out.

    Args:
        help_text: what `bench COMMAND --help` says of it.
        metavar: what the help calls its value; empty shows the choices.
        default: the value where it is left out.
    """
    return _field((), help_text, metavar, default, None)


def option(flags: str, help_text: str, metavar: str = "", default: Any = None, one_of: str | None = None) -> Any:
    """An option of the command line.

    Args:
        flags: such as "--task" or "-o --option"; the field's name may be another.
        help_text: what `bench COMMAND --help` says of it; "%(default)s" stands for the default.
        metavar: what the help calls its value; empty for switches and choices.
        default: the value where it is not given, or a function that returns it.
        one_of: the group of options of which one at most may be given; exactly one where the name ends with "!".
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
        place: Any = parser
        if (group := declared["one_of"]) is not None:
            if group not in groups:
                groups[group] = parser.add_mutually_exclusive_group(required=group.endswith("!"))
            place = groups[group]
        place.add_argument(*(declared["flags"] or (field.name,)), **_keywords(field, hints[field.name], declared))


def datasets_folder() -> Path | None:
    """The folder of data sets that the environment names (BENCH_DATASETS), or None for the hub."""
    named = os.environ.get("BENCH_DATASETS")
    return Path(named) if named else None


def cache_folder() -> Path:
    """Where models are kept: BENCH_CACHE, else the user's cache folder."""
    named = os.environ.get("BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "baseline-bench"
    return Path(named).expanduser()


def _field(flags: tuple[str, ...], help_text: str, metavar: str, default: Any, one_of: str | None) -> Any:
    metadata = {_KEY: {"flags": flags, "help": help_text, "metavar": metavar, "one_of": one_of}}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _keywords(field: dataclasses.Field[Any], hint: Any, declared: dict[str, Any]) -> dict[str, Any]:
    """What argparse's `add_argument` takes for a field."""
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
    elif positional and not required:
        keywords["nargs"] = "?"
    if typing.get_origin(kind) is Literal:
        return {**keywords, "choices": typing.get_args(kind), "type": type(typing.get_args(kind)[0])}
    return {**keywords, "type": kind}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


# Options that several commands share. Each call makes a field of its own, as dataclasses need.
ENTRY = "a candidate's name, or the path or file name of an entry (.json)"


def leaderboards_option() -> Any:
    """`--leaderboards`, a Path."""
    text = "the folder of the leaderboards (default: %(default)s)"
    return option("--leaderboards", text, "DIR", Path("leaderboards"))


def board_option() -> Any:
    """`--board`, a name or None."""
    return option("--board", "look on this board alone (default: on all)", "NAME")


def datasets_option() -> Any:
    """`--datasets`, a Path or None."""
    text = "a folder of data sets in the hub's layout (default: BENCH_DATASETS, else the hub)"
    return option("--datasets", text, "DIR", datasets_folder)


def cache_option() -> Any:
    """`--cache`, a Path."""
    return option("--cache", "where models are kept (default: BENCH_CACHE, else %(default)s)", "DIR", cache_folder)


def engine_option() -> Any:
    """`--engine`, a name or None."""
    text = "vllm, transformers, openai or scripted (default: vllm where a GPU and vllm are there, else transformers)"
    return option("--engine", text, "NAME")


def engine_settings_option() -> Any:
    """`-o`, "key=value" texts."""
    text = "a setting of the engine, such as dtype=float32; may be repeated"
    return option("-o --option", text, "KEY=VALUE", list)


def accept_option() -> Any:
    """`--accept`, codes of findings."""
    text = "go on with a model that this finding would refuse, and record it; may be repeated"
    return option("--accept", text, "CODE", list)


def own_tasks_option() -> Any:
    """`--task`, files of tasks that are none of ours."""
    return option("--task", "a task of your own; may be repeated", "FILE", list)


def recipe_base_option() -> Any:
    """`--base`, a model's name or None."""
    return option("--base", "another base than the recipe's", "MODEL")


def recipe_keys_option() -> Any:
    """`--set`, "key=value" texts."""
    return option("--set", "another value for a recipe's key; may be repeated", "KEY=VALUE", list)


def checkpoints_option() -> Any:
    """`--checkpoints`, a number."""
    return option("--checkpoints", "keep K sets of weights on the way, evenly spread", "K", 0)


def trackers_option() -> Any:
    """`--log`, names of trackers."""
    return option("--log", "report every step to a tracker, such as tensorboard; may be repeated", "NAME", list)
