"""A claims file: hypotheses about rows, written down before the rows exist, each with its tests."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.records import OMIT_WHEN_NONE, decode_record, digest
from baseline_bench.core.untrusted import parse_toml, read_bytes

_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")
_FIX_ADVICE = "correct the file; docs/claims.md and leaderboards/claims/study.toml show every key"
_DIGEST_PATTERN = re.compile("[0-9a-f]{12,64}")
_MIN_POWER = 0.80
_MAX_ALPHA = 0.10
_LEAST_IMPLAUSIBLE_MARGIN = 0.5
_MAX_PUBLISHED_ITEMS = 2_000  # of a published row: Boschloo's test takes half a minute at 1,300
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowSelector:
    """Selects a row of the board: the candidate of this recipe, base and seed, or the base itself without a recipe."""

    base: str
    recipe: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    seed: int | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def name(self) -> str:
        """The name of the row on a board."""
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


@dataclass(frozen=True, slots=True)
class RunSelector:
    """Selects the runs of a recipe, one a declared seed; without recipe, digest and seeds a run of the base itself.

    Attributes:
        base: the model's name.
        recipe: its name; None for the base.
        digest: of the recipe's keys that move weights, its first 12 digits or more.
        seeds: the training seeds, every one of which is needed.
    """

    base: str
    recipe: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    digest: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    seeds: tuple[int, ...] | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def name(self) -> str:
        """The name of the base, or of the recipe with its digest and seeds."""
        if self.recipe is None or self.digest is None or self.seeds is None:
            return self.base
        return f"{self.base}+{self.recipe}@{self.digest[:12]}-s{','.join(map(str, self.seeds))}"


@dataclass(frozen=True, slots=True)
class Prediction:
    """A contrast of schema 2: what `first` less `second` will show, and the power of the design that is to show it.

    Attributes:
        test: "rows" compares one run a side on the same problems, "recipes" the declared seeds over seeds and problems.
        power: the chance, by `bench plan`, that the design shows what is predicted.
        gain: the true difference for which it has this power, a share.
        margin: the largest difference that does not matter, a share; optional for "better".
    """

    test: Literal["rows", "recipes"]
    family: str
    first: RunSelector
    second: RunSelector
    predicted: Literal["better", "equivalent", "non-inferior"]
    power: float
    gain: float
    margin: float | None = field(default=None, metadata=OMIT_WHEN_NONE)


RowContrast = PairedTest | LossTest | RatioTest | CountsTest
Contrast = RowContrast | Prediction
_TEST_TYPES: Mapping[str, type[RowContrast]] = {
    "mcnemar": PairedTest,
    "loss": LossTest,
    "ratio": RatioTest,
    "boschloo": CountsTest,
}
_PREDICTION_TYPES: Mapping[str, type[Prediction]] = {"rows": Prediction, "recipes": Prediction}


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """A row of a published table: `right` of `total` items; the single items are not known."""

    name: str
    right: int
    total: int


@dataclass(frozen=True, slots=True)
class _ClaimHeader:
    """A claim without its contrasts, whose keys depend on their test."""

    id: str
    hypothesis: str
    published: str


@dataclass(frozen=True, slots=True)
class Claim(_ClaimHeader):
    """A hypothesis; `published` is what was reported before, in words."""

    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True, slots=True)
class ClaimsFile:
    """One file of claims.

    Attributes:
        name: the file's stem.
        board: the board whose page shows the claims.
        task: the label that rows must have.
        alpha: the level of every family, and of tests outside a family.
        least_items: scored items that both sides need; for a published table 1.
        families: name and rule of each; p values are adjusted by Holm within a family.
        claims: in the file's order.
        source: of a published table; None for claims that are judged on the board's rows.
        all_items: number of items of the whole task, for a published table; None elsewhere.
        rows: of the published table.
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
        """Every contrast with its claim, in the file's order; the index here is the contrast's number."""
        return tuple((claim, contrast) for claim in self.claims for contrast in claim.contrasts)

    @property
    def predicts(self) -> bool:
        """Whether it is of schema 2: every contrast is a `Prediction`, judged on the first runs after it."""
        return any(isinstance(contrast, Prediction) for _, contrast in self.contrasts)

    def row(self, name: str) -> PublishedCount:
        """Return the row of the published table with that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, slots=True)
class _RegisteredHeader:
    """The top-level keys of a file that is judged on the board's rows; the schema says which tests it has."""

    schema: Literal[1, 2]
    name: str
    board: str
    task: str
    alpha: float
    least_items: int
    families: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _PublishedHeader:
    """The top-level keys of a file that judges a published table; `registered = false` marks it."""

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


def find_family(contrast: Contrast) -> str | None:
    """Return the contrast's family, or None."""
    return contrast.family if isinstance(contrast, PairedTest | CountsTest | Prediction) else None


def name_sides(contrast: Contrast) -> tuple[str, str]:
    """Return the names of both sides, the one claimed to be better first."""
    if isinstance(contrast, CountsTest):
        return contrast.better, contrast.worse
    if isinstance(contrast, Prediction):
        return contrast.first.name, contrast.second.name
    better, worse = get_sides(contrast)
    return better.name, worse.name


def read_claims(path: Path) -> ClaimsFile:
    """Read the claims of an existing file. Errors as in `parse_claims`."""
    return parse_claims(read_bytes(path, _FIX_ADVICE), path.name)


def parse_claims(data: bytes, where: str) -> ClaimsFile:
    """Parse claims from TOML and check every key and reference.

    Raises:
        BenchError: naming all problems at once, and for an unknown key the known ones.
    """
    document = parse_toml(data, where, _FIX_ADVICE)
    problems: list[str] = []
    tests = _PREDICTION_TYPES if document.get("schema") == 2 else _TEST_TYPES
    claims = _decode_claims(document.pop("claims", None), tests, problems)
    kind: type[_PublishedHeader | _RegisteredHeader] = (
        _PublishedHeader if "registered" in document else _RegisteredHeader
    )
    header = _decode_part(kind, document, "the file", problems)
    claims_file = None if header is None else _build_claims_file(header, claims)
    if claims_file is None or (problems := [*problems, *_check_claims(claims_file, where)]):
        raise combine_problems(problems, where, _FIX_ADVICE)
    return claims_file


def _build_claims_file(header: _RegisteredHeader | _PublishedHeader, claims: tuple[Claim, ...]) -> ClaimsFile:
    claims_file = ClaimsFile(header.name, header.board, header.task, header.alpha, 1, header.families, claims)
    if isinstance(header, _PublishedHeader):
        return replace(claims_file, source=header.source, all_items=header.all_items, rows=header.rows)
    return replace(claims_file, least_items=header.least_items)


def _decode_part(kind: type[T], value: object, toml_path: str, problems: list[str]) -> T | None:
    try:
        return decode_record(kind, value, toml_path, "")
    except BenchError as error:
        problems.append(error.what.replace(": the top level ", " "))
        return None


def _decode_claims(value: object, tests: Mapping[str, type[Contrast]], problems: list[str]) -> tuple[Claim, ...]:
    """Decode every readable claim and add the others to `problems`."""
    if not isinstance(value, list) or not value:
        problems.append("the file has no [[claims]]")
        return ()
    decoded_claims = []
    for number, item in enumerate(value, start=1):
        toml_path = f"claim {number}"
        if not isinstance(item, dict) or not isinstance(item.get("contrasts"), list) or not item["contrasts"]:
            problems.append(f"{toml_path} has no [[claims.contrasts]]")
            continue
        header = _decode_part(
            _ClaimHeader, {key: part for key, part in item.items() if key != "contrasts"}, toml_path, problems
        )
        contrasts = [
            _decode_contrast(part, tests, f"{toml_path}, contrast {i}", problems)
            for i, part in enumerate(item["contrasts"], 1)
        ]
        if header is not None:
            decoded_claims.append(Claim(header.id, header.hypothesis, header.published, tuple(filter(None, contrasts))))
    return tuple(decoded_claims)


def _decode_contrast(
    value: Any, tests: Mapping[str, type[Contrast]], toml_path: str, problems: list[str]
) -> Contrast | None:
    test = value.get("test") if isinstance(value, dict) else None
    if not isinstance(test, str) or test not in tests:
        problems.append(f"{toml_path}: test must be one of {', '.join(tests)}, not {test!r:.60}")
        return None
    return _decode_part(tests[test], value, toml_path, problems)


def _check_claims(claims_file: ClaimsFile, where: str) -> list[str]:
    """List the problems that types cannot express."""
    problems = [] if claims_file.name == Path(where).stem else [f"name is {claims_file.name!r:.60}, not the file's"]
    if not _NAME_PATTERN.fullmatch(claims_file.name) or not _NAME_PATTERN.fullmatch(claims_file.board):
        problems.append("name and board are made of a-z, 0-9, - and _")
    if not 0 < claims_file.alpha <= _MAX_ALPHA:
        problems.append(f"alpha must be above 0 and at most {_MAX_ALPHA:g}, not {claims_file.alpha:g}")
    if claims_file.least_items < 1 or (claims_file.all_items is not None and claims_file.all_items < 1):
        problems.append("least_items and all_items are at least 1")
    wrong = [
        row for row in claims_file.rows if not 0 <= row.right <= row.total or not 1 <= row.total <= _MAX_PUBLISHED_ITEMS
    ]
    reason = f"no count of 1 to {_MAX_PUBLISHED_ITEMS:,} items"
    problems += [f"row {row.name!r:.60}: {row.right} of {row.total} is {reason}" for row in wrong]
    problems += _check_duplicates("claim", [claim.id for claim in claims_file.claims])
    problems += _check_duplicates("row", [row.name for row in claims_file.rows])
    for claim in claims_file.claims:
        problems += _check_duplicates(
            f"{claim.id!r:.60}: contrast", [_format_contrast(contrast) for contrast in claim.contrasts]
        )
        for number, contrast in enumerate(claim.contrasts, start=1):
            problems += [
                f"{claim.id!r:.60}, contrast {number}: {problem}" for problem in _check_contrast(claims_file, contrast)
            ]
    return problems


def _check_contrast(claims_file: ClaimsFile, contrast: Contrast) -> list[str]:
    stray = (claims_file.source is not None) != isinstance(contrast, CountsTest)
    problems = ["boschloo is for published tables, which have no other test"] * stray
    if (family := find_family(contrast)) is not None and family not in claims_file.families:
        problems.append(f"no family {family!r:.60} (known: {', '.join(claims_file.families)})")
    if isinstance(contrast, Prediction):
        problems += _check_prediction(contrast)
    elif isinstance(contrast, CountsTest):
        rows = [row.name for row in claims_file.rows]
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


def _check_prediction(contrast: Prediction) -> Iterator[str]:
    """Yield the problems of a contrast of schema 2, each with the key's name."""
    for key, side in (("first", contrast.first), ("second", contrast.second)):
        yield from (f"{key}: {problem}" for problem in _check_runs(contrast.test, side))
    if contrast.test == "recipes" and contrast.first.recipe is None and contrast.second.recipe is None:
        yield "recipes needs a recipe on one side; rows compares two bases"
    if contrast.margin is None and contrast.predicted != "better":
        yield f"{contrast.predicted} needs a margin"
    if contrast.margin is not None and not 0 < contrast.margin < _LEAST_IMPLAUSIBLE_MARGIN:
        yield f"margin must be a share above 0 and below {_LEAST_IMPLAUSIBLE_MARGIN:g}, not {contrast.margin:g}"
    if not 0 < contrast.power < 1:
        yield f"power must be a share above 0 and below 1, as bench plan gives it, not {contrast.power:g}"
    elif contrast.power < _MIN_POWER:
        yield f"power {contrast.power:g} is below {_MIN_POWER}: change the design (seeds, problems), not the threshold"
    least, most = {
        "better": (0.0, 1.0),
        "equivalent": (-(contrast.margin or 1.0), contrast.margin or 1.0),
        "non-inferior": (-(contrast.margin or 1.0), 1.0),
    }[contrast.predicted]
    if not least < contrast.gain < most:
        yield f"gain must be above {least:g} and below {most:g} for {contrast.predicted}, not {contrast.gain:g}"


def _check_runs(test: str, side: RunSelector) -> Iterator[str]:
    trained = [value is not None for value in (side.recipe, side.digest, side.seeds)]
    if any(trained) and not all(trained):
        yield "a side names a recipe, its digest and its seeds, or only a base"
    if side.digest is not None and not _DIGEST_PATTERN.fullmatch(side.digest):
        yield f"digest must be 12 to 64 hex digits in lower case, not {side.digest!r:.80}"
    if side.seeds is not None and (not side.seeds or list(side.seeds) != sorted(set(side.seeds)) or side.seeds[0] < 0):
        yield "seeds must be numbers from 0 on, in ascending order, each once"
    elif side.seeds is not None and (len(side.seeds) == 1) != (test == "rows"):
        yield f"rows compares one seed, recipes two or more, not {len(side.seeds)}"


def get_sides(contrast: PairedTest | LossTest | RatioTest) -> tuple[RowSelector, RowSelector]:
    """Return the two sides, the one claimed to be better first."""
    return (contrast.first, contrast.second) if isinstance(contrast, RatioTest) else (contrast.better, contrast.worse)


def _format_contrast(contrast: Contrast) -> str:
    return f"{contrast.test} of {' and '.join(name_sides(contrast))} ({digest(contrast)[:8]})"


def _check_duplicates(kind: str, values: Sequence[str]) -> list[str]:
    return [f"{kind} {value!r:.90} appears twice" for value in sorted(set(values)) if values.count(value) > 1]
