"""Advisories: faults of earlier versions of bench, and which stored rows they may have changed.

Those of bench are in advisories.toml of this package; a repository adds its own in `leaderboards/advisories.toml`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from baseline_bench.core.errors import BenchError
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
        BenchError: a file is no list of advisories, or two share an id.
    """
    paths = [Path(__file__).with_name(FILE), *([leaderboards / FILE] if leaderboards is not None else [])]
    advisories = [advisory for path in paths if path.exists() for advisory in _read_file(path)]
    ids = [advisory.id for advisory in advisories]
    if repeated := sorted({name for name in ids if ids.count(name) > 1}):
        raise BenchError(f"{paths[-1]}: advisories share the id {repeated[0]!r:.80}", _FIX_ADVICE)
    return tuple(advisories)


def find_advisories(entry: Entry, advisories: Sequence[Advisory]) -> tuple[Advisory, ...]:
    """Find the advisories that concern an entry."""
    return tuple(advisory for advisory in advisories if advisory.matches(entry))


def _read_file(path: Path) -> tuple[Advisory, ...]:
    document = parse_toml(read_bytes(path, _FIX_ADVICE), str(path), _FIX_ADVICE)
    advisories = decode_record(_AdvisoriesFile, document, str(path), _FIX_ADVICE).advisories
    for advisory in advisories:
        if not advisory.where and advisory.fixed_in is None and advisory.before is None:
            raise BenchError(f"{path}: {advisory.id!r:.80} has no condition and concerns every row", _FIX_ADVICE)
        if advisory.before is not None and parse_time(advisory.before) is None:
            raise BenchError(
                f"{path}: {advisory.id!r:.80}: before is no time such as 2026-11-22T12:00:00Z", _FIX_ADVICE
            )
        if advisory.fixed_in is not None and not _VERSION.fullmatch(advisory.fixed_in):
            raise BenchError(f"{path}: {advisory.id!r:.80}: fixed_in is no version such as 0.2.0", _FIX_ADVICE)
    return advisories


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
