"""Parse `-o key=value` texts into a frozen dataclass, with nothing silently ignored."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.core.types import Value

BOOLEAN_WORDS = {"true": True, "false": False, "yes": True, "no": False}


def parse_options(kind: type[Any], pairs: Sequence[str], owner: str) -> Any:
    """Build `kind` from `key=value` texts; report all problems in one error.

    Args:
        kind: a frozen dataclass whose fields are str, int, float or bool, each possibly `| None`.
        pairs: such as ["dtype=float32", "batch_size=8"].
        owner: whose options these are, for the error ("engine vllm").

    Raises:
        BenchError: not `key=value`, an unknown key, a value of another type, or one that the class refuses.
    """
    hints = typing.get_type_hints(kind)
    known = tuple(field.name for field in dataclasses.fields(kind))
    values: dict[str, object] = {}
    problems = []
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            problems.append(f"'{pair}' is not key=value")
        elif key not in known:
            problems.append(f"no option '{key}', " + suggest_name(key, known, f"options of {owner}"))
        else:
            try:
                values[key] = _parse_value(hints[key], text)
            except ValueError:
                problems.append(f"{key} takes {_describe_type(hints[key])}, not '{text}'")
    if problems:
        raise combine_problems(problems, f"options of {owner}", "correct the -o options")
    try:
        return kind(**values)
    except ValueError as error:
        raise BenchError(f"options of {owner}: {error}", "correct the -o options") from error


def list_field_types(hint: Any) -> tuple[Any, ...]:
    """Return the types that a field accepts."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _parse_value(hint: Any, text: str) -> object:
    kinds = list_field_types(hint)
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds:
        if text.lower() not in BOOLEAN_WORDS:
            raise ValueError(text)
        return BOOLEAN_WORDS[text.lower()]
    for kind in (int, float):
        if kind in kinds:
            return kind(text)
    return text


def _describe_type(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return " or ".join(words[kind] for kind in list_field_types(hint))


def record_options(values: Any) -> dict[str, Value]:
    """Return the options that a resumed run must repeat, as plain settings.

    Fields whose metadata says secret or neutral are omitted; a neutral option changes no answer.
    """
    shown = [field.name for field in dataclasses.fields(values) if not field.metadata.keys() & {"secret", "neutral"}]
    return {name: getattr(values, name) for name in shown}


def format_settings(values: Mapping[str, Value] | None) -> list[str]:
    """Format values as sorted `key=value` texts, each value as JSON; an empty list for None."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted((values or {}).items())]
