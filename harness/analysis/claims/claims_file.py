"""A claims file: hypotheses about rows, written down before the rows exist, each with the tests that will judge it."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.records import OMIT_WHEN_NONE, decode_record, digest

_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")
_FIX_ADVICE = "mend the file; leaderboards/claims/study.toml shows every key"
_MAX_PUBLISHED_ITEMS = 2_000  # of a published row: Boschloo's test takes half a minute at 1,300
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowSelector:
    """A row of the board: the candidate of this recipe, base and seed, or without a recipe the base itself."""

    base: str
    recipe: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    seed: int | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def name(self) -> str:
        """As a row of a board is called."""
        return self.base if self.recipe is None else f"{self.base}+{self.recipe}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """McNemar's exact test on the same items; the hypothesis says which side is `better`."""

    test: Literal["mcnemar"]
    family: str
    better: RowSelector
    worse: RowSelector


@dataclass(frozen=True, slots=True)
class LossTest:
    """The `worse` side ends with the lower training loss, and does not score higher for it."""

    test: Literal["loss"]
    better: RowSelector
    worse: RowSelector


@dataclass(frozen=True, slots=True)
class RatioTest:
    """`measure` of the first side's training over the second's is at most `at_most`."""

    test: Literal["ratio"]
    measure: Literal["samples_per_second"]
    first: RowSelector
    second: RowSelector
    at_most: float


@dataclass(frozen=True, slots=True)
class CountsTest:
    """Boschloo's exact test on two published counts, named as in the file's `rows`."""

    test: Literal["boschloo"]
    family: str
    better: str
    worse: str


Contrast = PairedTest | LossTest | RatioTest | CountsTest
_TEST_TYPES: Mapping[str, type[Contrast]] = {
    "mcnemar": PairedTest,
    "loss": LossTest,
    "ratio": RatioTest,
    "boschloo": CountsTest,
}


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """A row of a published table: `right` of `total` items; which items is not known."""

    name: str
    right: int
    total: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A hypothesis; `published` is what was reported before, in words."""

    id: str
    hypothesis: str
    published: str
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True, slots=True)
class ClaimsFile:
    """One file of claims.

    Attributes:
        name: the file's stem.
        board: on whose page the claims are told.
        task: the label that rows must have.
        alpha: the level of every family, and of tests outside a family.
        least_items: scored items that both sides need; for a published table 1.
        families: name and rule of each; p values are adjusted by Holm within one.
        claims: in the file's order.
        source: of a table that was published before; None for claims that are judged on the board's rows.
        all_items: items of the whole task, of which that table has some; None elsewhere.
        rows: of that table.
    """

    name: str
    board: str
    task: str
    alpha: float
    least_items: int
    families: Mapping[str, str]
    claims: tuple[Claim, ...]
    source: str | None = None
    all_items: int | None = None
    rows: tuple[PublishedCount, ...] = ()

    @property
    def contrasts(self) -> tuple[tuple[Claim, Contrast], ...]:
        """Every contrast with its claim, in the file's order: a contrast's place here is its number."""
        return tuple((claim, contrast) for claim in self.claims for contrast in claim.contrasts)

    def row(self, name: str) -> PublishedCount:
        """The row of the published table with that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, slots=True)
class _RegisteredHeader:
    """The top of a file that is judged on the board's rows."""

    schema: Literal[1]
    name: str
    board: str
    task: str
    alpha: float
    least_items: int
    families: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _PublishedHeader:
    """The top of a file that reads a published table again; `registered = false` marks it."""

    schema: Literal[1]
    registered: Literal[False]
    name: str
    board: str
    task: str
    source: str
    all_items: int
    alpha: float
    families: Mapping[str, str]
    rows: tuple[PublishedCount, ...]


@dataclass(frozen=True, slots=True)
class _ClaimHeader:
    """A claim without its contrasts, whose keys depend on their test."""

    id: str
    hypothesis: str
    published: str


def find_family(contrast: Contrast) -> str | None:
    """Its family, or None."""
    return contrast.family if isinstance(contrast, PairedTest | CountsTest) else None


def name_sides(contrast: Contrast) -> tuple[str, str]:
    """What its two sides are called, the one that is said to be better first."""
    if isinstance(contrast, CountsTest):
        return contrast.better, contrast.worse
    better, worse = get_sides(contrast)
    return better.name, worse.name


def read_claims(path: Path) -> ClaimsFile:
    """The claims of a file that exists. Errors as in `parse`."""
    return parse_claims(path.read_bytes(), path.name)


def parse_claims(data: bytes, where: str) -> ClaimsFile:
    """The claims that TOML spells, every key known and every reference sound.

    Raises:
        BenchError: naming every problem at once, and for an unknown key the known ones.
    """
    try:
        spelled = tomllib.loads(data.decode())
    except ValueError as error:
        raise BenchError(f"{where}: not TOML ({error})", _FIX_ADVICE) from None
    problems: list[str] = []
    claims = _decode_claims(spelled.pop("claims", None), problems)
    kind: type[_PublishedHeader | _RegisteredHeader] = (
        _PublishedHeader if "registered" in spelled else _RegisteredHeader
    )
    top = _decode_part(kind, spelled, "the file", problems)
    made = None if top is None else _build_claims_file(top, claims)
    if made is None or (problems := [*problems, *_check_claims(made, where)]):
        raise combine_problems(problems, where, _FIX_ADVICE)
    return made


def _build_claims_file(top: _RegisteredHeader | _PublishedHeader, claims: tuple[Claim, ...]) -> ClaimsFile:
    made = ClaimsFile(top.name, top.board, top.task, top.alpha, 1, top.families, claims)
    if isinstance(top, _PublishedHeader):
        return replace(made, source=top.source, all_items=top.all_items, rows=top.rows)
    return replace(made, least_items=top.least_items)


def _decode_part(kind: type[T], value: object, at: str, problems: list[str]) -> T | None:
    try:
        return decode_record(kind, value, at, "")
    except BenchError as error:
        problems.append(error.what.replace(": the top level ", " "))
        return None


def _decode_claims(value: object, problems: list[str]) -> tuple[Claim, ...]:
    """Every claim that can be read; the others are problems."""
    if not isinstance(value, list) or not value:
        problems.append("the file has no [[claims]]")
        return ()
    made = []
    for number, item in enumerate(value, start=1):
        at = f"claim {number}"
        if not isinstance(item, dict) or not isinstance(item.get("contrasts"), list) or not item["contrasts"]:
            problems.append(f"{at} has no [[claims.contrasts]]")
            continue
        told = _decode_part(_ClaimHeader, {key: part for key, part in item.items() if key != "contrasts"}, at, problems)
        read = [_decode_contrast(part, f"{at}, contrast {i}", problems) for i, part in enumerate(item["contrasts"], 1)]
        if told is not None:
            made.append(Claim(told.id, told.hypothesis, told.published, tuple(filter(None, read))))
    return tuple(made)


def _decode_contrast(value: Any, at: str, problems: list[str]) -> Contrast | None:
    test = value.get("test") if isinstance(value, dict) else None
    if not isinstance(test, str) or test not in _TEST_TYPES:
        problems.append(f"{at}: test must be one of {', '.join(_TEST_TYPES)}, not {test!r:.60}")
        return None
    return _decode_part(_TEST_TYPES[test], value, at, problems)


def _check_claims(made: ClaimsFile, where: str) -> list[str]:
    """What no type can say."""
    problems = [] if made.name == Path(where).stem else [f"name is {made.name!r:.60}, not the file's"]
    if not _NAME_PATTERN.fullmatch(made.name) or not _NAME_PATTERN.fullmatch(made.board):
        problems.append("name and board are made of a-z, 0-9, - and _")
    if not 0 < made.alpha < 1:
        problems.append(f"alpha must lie between 0 and 1, not {made.alpha}")
    if made.least_items < 1 or (made.all_items is not None and made.all_items < 1):
        problems.append("least_items and all_items are at least 1")
    wrong = [row for row in made.rows if not 0 <= row.right <= row.total or not 1 <= row.total <= _MAX_PUBLISHED_ITEMS]
    no = f"no count of 1 to {_MAX_PUBLISHED_ITEMS:,} items"
    problems += [f"row {row.name!r:.60}: {row.right} of {row.total} is {no}" for row in wrong]
    problems += _check_duplicates("claim", [claim.id for claim in made.claims])
    problems += _check_duplicates("row", [row.name for row in made.rows])
    for claim in made.claims:
        problems += _check_duplicates(
            f"{claim.id!r:.60}: contrast", [_format_contrast(contrast) for contrast in claim.contrasts]
        )
        for number, contrast in enumerate(claim.contrasts, start=1):
            problems += [f"{claim.id!r:.60}, contrast {number}: {what}" for what in _check_contrast(made, contrast)]
    return problems


def _check_contrast(made: ClaimsFile, contrast: Contrast) -> list[str]:
    stray = (made.source is not None) != isinstance(contrast, CountsTest)
    problems = ["boschloo is for published tables, which have no other test"] * stray
    if (one := find_family(contrast)) is not None and one not in made.families:
        problems.append(f"no family {one!r:.60} (known: {', '.join(made.families)})")
    if isinstance(contrast, CountsTest):
        rows = [row.name for row in made.rows]
        problems += [
            f"no row {name!r:.60} (known: {', '.join(rows)})" for name in name_sides(contrast) if name not in rows
        ]
    else:
        halves = [side for side in get_sides(contrast) if (side.recipe is None) != (side.seed is None)]
        problems += ["a side names a recipe and a seed, or neither"] * bool(halves)
        if contrast.test != "mcnemar" and any(side.recipe is None for side in get_sides(contrast)):
            problems.append(f"{contrast.test} needs trainings on both sides")
    if len(set(name_sides(contrast))) == 1:
        problems.append("both sides are the same")
    return problems


def get_sides(contrast: PairedTest | LossTest | RatioTest) -> tuple[RowSelector, RowSelector]:
    """The two sides, the one that is said to be better first."""
    return (contrast.first, contrast.second) if isinstance(contrast, RatioTest) else (contrast.better, contrast.worse)


def _format_contrast(contrast: Contrast) -> str:
    return f"{contrast.test} of {' and '.join(name_sides(contrast))} ({digest(contrast)[:8]})"


def _check_duplicates(what: str, values: Sequence[str]) -> list[str]:
    return [f"{what} {value!r:.90} stands twice" for value in sorted(set(values)) if values.count(value) > 1]
