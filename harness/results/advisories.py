"""Advisories: faults of earlier versions of bench, and which stored rows they may have changed.

Those of bench are in advisories.toml of this package; a repository adds its own in `leaderboards/advisories.toml`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from baseline_bench.core.errors import combine_problems
from baseline_bench.core.records import OMIT_WHEN_NONE, decode_record, parse_time
from baseline_bench.core.untrusted import parse_toml, read_bytes
from baseline_bench.results.entry import Entry

FILE = "advisories.toml"
_FIX_ADVICE = "correct the file; docs/how-to-read-a-row.md shows an advisory with every key"
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,9}")


@dataclass(frozen=True, slots=True)
class Advisory:
    """A fault that may have changed numbers of rows.

    Attributes:
        id: its name, as pages show it.
        affects: which numbers, and how, in one sentence.
        where: for a field of the entry, such as "result.engine.name", patterns of its text in lower case, of which one
            must match; an empty list asks for a field that is absent. Every condition must hold.
        fixed_in: the first version of bench without the fault; None if it does not matter.
        before: rows created at this time or later are not affected, UTC; None if it does not matter.
    """

    id: str
    affects: str
    where: Mapping[str, tuple[str, ...]]
    fixed_in: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    before: str | None = field(default=None, metadata=OMIT_WHEN_NONE)

    def matches(self, entry: Entry) -> bool:
        """Tell whether the fault may have changed the entry's numbers."""
        if self.before is not None and entry.created >= self.before:  # both UTC in one format
            return False
        version = entry.result.provenance.bench
        if self.fixed_in is not None and _parse_version(version) >= _parse_version(self.fixed_in):
            return False
        return all(_is_met(_get_value(entry, path), patterns) for path, patterns in self.where.items())

    def describe(self) -> str:
        """Return the advisory in one line."""
        return f"advisory {self.id}: {self.affects}"


@dataclass(frozen=True, slots=True)
class _AdvisoriesFile:
    advisories: tuple[Advisory, ...]


def read_advisories(leaderboards: Path | None) -> tuple[Advisory, ...]:
    """Read the advisories of bench, then those of a leaderboards folder.

    Raises:
        BenchError: a file is no list of advisories, or its advisories have faults; the message names all of a file.
    """
    known: tuple[Advisory, ...] = ()
    for path in (Path(__file__).with_name(FILE), *([leaderboards / FILE] if leaderboards is not None else [])):
        if path.exists():
            document = parse_toml(read_bytes(path, _FIX_ADVICE), str(path), _FIX_ADVICE)
            added = decode_record(_AdvisoriesFile, document, str(path), _FIX_ADVICE).advisories
            known += added
            counts = Counter(advisory.id for advisory in known)
            problems = [f"advisories share the id {name!r:.80}" for name, count in counts.items() if count > 1]
            if path.parent == leaderboards:  # a test checks bench's own
                problems += [problem for advisory in added for problem in _list_problems(advisory)]
            if problems:
                raise combine_problems(problems, str(path), _FIX_ADVICE)
    return known


def find_advisories(entry: Entry, advisories: Sequence[Advisory]) -> tuple[Advisory, ...]:
    """Find the advisories that concern an entry."""
    return tuple(advisory for advisory in advisories if advisory.matches(entry))


def _list_problems(advisory: Advisory) -> Iterator[str]:
    name = f"{advisory.id!r:.80}"
    if not advisory.where and advisory.fixed_in is None and advisory.before is None:
        yield f"{name} has no condition and concerns every row"
    if advisory.before is not None and parse_time(advisory.before) is None:
        yield f"{name}: before is no time such as 2026-11-22T12:00:00Z"
    if advisory.fixed_in is not None and not _VERSION.fullmatch(advisory.fixed_in):
        yield f"{name}: fixed_in is no version such as 0.2.0"
    for path, patterns in advisory.where.items():
        kind = _find_field_type(path)
        if kind is None:
            yield f"{name}: an entry has no field {path!r:.80}"
        elif patterns and (is_dataclass(kind) or get_origin(kind) is Mapping):
            yield f"{name}: {path!r:.80} is a record; name one of its fields"


def _find_field_type(path: str) -> Any:
    """Return the type of an entry's field such as "result.engine.settings.dtype", without None; None if there is none.

    A mapping such as the settings may have any key.
    """
    kind: Any = Entry
    for name in path.split("."):
        if is_dataclass(kind):
            kind = get_type_hints(kind).get(name)
        else:
            kind = get_args(kind)[1] if get_origin(kind) is Mapping else None
        others = [option for option in get_args(kind) if option is not NoneType]
        if get_origin(kind) is UnionType and len(others) == 1:
            kind = others[0]
    return kind


def _parse_version(text: str) -> tuple[int, ...]:
    match = _VERSION.match(text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _get_value(entry: Entry, path: str) -> object:
    """Return the value of a field such as "result.engine.settings.dtype"; None if there is none."""
    value: object = entry
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value


def _is_met(value: object, patterns: Sequence[str]) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    if not patterns:
        return value is None
    return any(
        fnmatchcase(str(one).lower(), pattern.lower()) for one in values if one is not None for pattern in patterns
    )
