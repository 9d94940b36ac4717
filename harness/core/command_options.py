"""Derive a command's arguments from its Options, a frozen dataclass whose fields carry their help text.

Fields declared with `argument` or `option` are on the command line; any other field keeps its default. The annotation
gives the type: `bool` is a switch, `list` may be repeated, `tuple` takes several values, `Literal` lists the choices.
"""

import argparse
import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.options import list_field_types

MUST_BE_GIVEN = dataclasses.MISSING
_KEY = "argument"


def argument(help_text: str, metavar: str = "", default: Any = MUST_BE_GIVEN) -> Any:
    """Declare a positional argument; with a default it is optional. The help shows choices without a metavar."""
    return _field((), help_text, metavar, default, None)


def option(flags: str, help_text: str, metavar: str = "", default: Any = None, one_of: str | None = None) -> Any:
    """Declare an option.

    Args:
        flags: such as "--task" or "-o --option"; the field's name may differ.
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


def build_options(kind: type[Any], given: Mapping[str, Any], **fields: Any) -> Any:
    """Build a command's Options from options by their long names (`max_tokens`) and from `fields` by the fields' names.

    A repeated option takes a list, or a dictionary for `key=value`; a folder may be a text. Raises BenchError for an
    unknown option.
    """
    hints = typing.get_type_hints(kind)
    declared = {field: field.metadata.get(_KEY, {}).get("flags") for field in dataclasses.fields(kind)}
    known = {flags[-1][2:].replace("-", "_"): field for field, flags in declared.items() if flags}
    for option_name, value in given.items():
        if (field := known.get(option_name)) is None or field.name in fields:
            raise BenchError(f"no option '{option_name}'", suggest_name(option_name, tuple(known), "_ in place of -"))
        pairs = [f"{key}={text}" for key, text in value.items()] if isinstance(value, Mapping) else None
        is_path = isinstance(value, str) and Path in list_field_types(hints[field.name])
        fields[field.name] = Path(value) if is_path else not value if field.default is True else pairs or value
    return kind(**fields)


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
    kind = next(each for each in list_field_types(hint) if each is not types.NoneType)
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


# Options that several commands share: a call creates a new field, as dataclasses require.
ENTRY = "a candidate's name, or the path or file name of an entry (.json)"
leaderboards_option = partial(
    option, "--leaderboards", "the folder of the leaderboards (default: %(default)s)", "DIR", Path("leaderboards")
)
board_option = partial(option, "--board", "look on this board alone (default: on all)", "NAME")
datasets_option = partial(
    option,
    "--datasets",
    "a folder of data sets in the hub's layout (default: BENCH_DATASETS, else the hub)",
    "DIR",
    datasets_folder,
)
cache_option = partial(
    option, "--cache", "where models are kept (default: BENCH_CACHE, else %(default)s)", "DIR", cache_folder
)
engine_option = partial(
    option,
    "--engine",
    "vllm, transformers, openai or scripted (default: vllm where a GPU and vllm are there, else transformers)",
    "NAME",
)
engine_settings_option = partial(
    option, "-o --option", "a setting of the engine, such as dtype=float32; may be repeated", "KEY=VALUE", list
)
accepted_findings_option = partial(
    option,
    "--accept",
    "go on with a model that this finding would refuse, and record it; may be repeated",
    "CODE",
    list,
)
template_option = partial(
    option,
    "--template",
    "another of the model's named chat templates, or a .jinja file (default: its template named default)",
    "NAME",
)
template_arguments_option = partial(
    option,
    "--template-arg",
    "a variable of the chat template, such as enable_thinking=false; may be repeated",
    "KEY=VALUE",
    list,
)
own_tasks_option = partial(option, "--task", "a task of your own; may be repeated", "FILE", list)
recipe_base_option = partial(option, "--base", "another base than the recipe's", "MODEL")
recipe_keys_option = partial(option, "--set", "another value for a recipe's key; may be repeated", "KEY=VALUE", list)
checkpoints_option = partial(option, "--checkpoints", "keep K sets of weights on the way, evenly spread", "K", 0)
trace_option = partial(option, "--trace", "write to FILE, for ui.perfetto.dev, and print where the time goes", "FILE")
trackers_option = partial(
    option, "--log", "report every step to a tracker, such as tensorboard; may be repeated", "NAME", list
)
