"""What a report says of each hypothesis: its verdict, and the evidence one line a contrast."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.claims import claims_file as files
from baseline_bench.analysis.claims import judge, registration
from baseline_bench.analysis.claims.claims_file import CountsTest, LossTest, RatioTest, name_sides
from baseline_bench.analysis.claims.evidence import ContrastEvidence
from baseline_bench.analysis.claims.judge import JudgedContrast
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.report.safe_text import ExternalName, ReviewedText, Sentence, format_count, format_p_value
from baseline_bench.results import retractions

ClaimStatus = Literal["holds", "fails", "open", "late"]
# The order in which they are said: what speaks against a hypothesis first.
_VERDICT_ORDER = (
    "refuted",
    "mixed",
    "supported",
    "supported in part",
    "premise not met",
    "not resolved",
    "not judged",
)
_STATUS_BY_VERDICT: dict[str, ClaimStatus] = {"refuted": "fails", "supported": "holds"}


@dataclass(frozen=True, slots=True)
class ReportedClaim:
    """A judged hypothesis.

    Attributes:
        kind: how it came out, for its colour; "late" where it is supported, but not shown to be older than its runs.
        word: the verdict in one word or two.
        verdict: the verdict with the number of contrasts behind it.
        published: what was reported before this repository's runs.
        evidence: one sentence a contrast.
    """

    hypothesis: Sentence
    kind: ClaimStatus
    word: str
    verdict: Sentence
    published: Sentence
    evidence: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class ReportedClaims:
    """A judged claims file: the task version it is of, and its findings; None and nothing where there is no file."""

    task: str | None
    findings: tuple[ReportedClaim, ...]


def judge_claims_file(leaderboards: Path, board: str, name: str, wanted: bool) -> ReportedClaims:
    """Judge a claims file over a board's entries, all of them, whichever rows a report shows.

    Args:
        leaderboards: the folder; claims lie in `claims/` there.
        board: whose entries.
        name: of the claims file.
        wanted: an absent file, or one of another board, is an error.

    Raises:
        BenchError: the file is no sound claims file, or it is wanted and not there or not of this board.
    """
    path = leaderboards / "claims" / f"{name}.toml"
    if not path.is_file():
        if wanted:
            raise BenchError(f"no claims file {path}", "give the name of a file of leaderboards/claims")
        return ReportedClaims(None, ())
    told = files.read_claims(path)
    if told.board != board:
        if wanted:
            raise BenchError(f"{path.name} is about the board {told.board!r}", f"give --board {told.board}")
        return ReportedClaims(None, ())
    rows = leaderboard.load_board(leaderboards, board).rows
    retracted = {one.entry for one in retractions.read_records(leaderboards / board).retractions}
    found = judge.judge_claims(told, rows, lambda: registration.find_registration(path, told), retracted)
    return ReportedClaims(None if told.source else told.task, tuple(map(_report_claim, found.findings)))


def tally_claims(findings: Sequence[ReportedClaim]) -> Sentence:
    """How many hypotheses came out how."""
    if not findings:
        return ("No hypothesis was written down before these runs.",)
    counts = Counter((finding.word, finding.kind == "late") for finding in findings)
    parts = [
        f"{counts[word, late]} {word}{' post hoc' if late else ''}"
        for word in _VERDICT_ORDER
        for late in (False, True)
        if counts[word, late]
    ]
    return (f"Of {format_count(len(findings), 'hypothesis', 'hypotheses')}: {', '.join(parts)}.",)


def _report_claim(found: judge.JudgedClaim) -> ReportedClaim:
    word = found.verdict
    kind = _STATUS_BY_VERDICT.get(word, "open")
    late = f"; {found.late} not shown to be older than their runs" if found.late else ""
    return ReportedClaim(
        hypothesis=(ReviewedText(found.claim.hypothesis[:1].upper() + found.claim.hypothesis[1:]),),
        kind="late" if kind == "holds" and found.late else kind,
        word=word,
        verdict=(f"{word.capitalize()}{_format_verdict_counts(found)}{late}",),
        published=("Published before: ", ReviewedText(found.claim.published), "."),
        evidence=tuple(map(_describe_contrast, found.judged)),
    )


def _format_verdict_counts(found: judge.JudgedClaim) -> str:
    """How many contrasts came out how, where the one word for all of them does not say it."""
    of, counts = len(found.judged), found.counted
    if len(counts) == 1:
        return f" in {of} of {format_count(of, 'contrast')}"
    told = sorted(counts.items(), key=lambda one: _VERDICT_ORDER.index(one[0]))
    return f": of {format_count(of, 'contrast')} " + ", ".join(f"{count} {word}" for word, count in told)


def _describe_contrast(judged: JudgedContrast) -> Sentence:
    better, worse = name_sides(judged.contrast)
    start: Sentence = (ExternalName(better), " against ", ExternalName(worse), ": ")
    if judged.evidence is None:
        return (*start, "not judged, ", ReviewedText(judged.why))
    late = "" if judged.timing == "registered" else f" ({judged.timing})"
    needed = f"; {judged.needed:,} items would settle a difference of this size" if judged.needed else ""
    return (*start, f"{_describe_evidence(judged, judged.evidence)}: {judged.verdict}{late}{needed}")


def _describe_evidence(judged: JudgedContrast, evidence: ContrastEvidence) -> str:
    """The numbers that a contrast's test looks at."""
    if isinstance(judged.contrast, RatioTest) and evidence.measured is not None:
        one, other = evidence.measured
        return (
            f"{one:,.1f} and {other:,.1f} samples a second, {one / other:.2f} times, "
            f"at most {judged.contrast.at_most:.2f} was said"
        )
    (right, total), (others, asked) = evidence.counts
    low, high = map(format_points, evidence.interval)
    gap = f"{format_points(evidence.difference)} points [{low}, {high}]"
    counted = f"{right:,} and {others:,} of {total:,}" if total == asked else f"{right} of {total}, {others} of {asked}"
    told = f"{counted} right, {gap}"
    if isinstance(judged.contrast, LossTest) and evidence.measured is not None:
        told = f"loss {evidence.measured[0]:.3f} and {evidence.measured[1]:.3f}; {told}"
        return told if evidence.p is None else f"{told}, p {format_p_value(evidence.p)}"
    test = "Boschloo" if isinstance(judged.contrast, CountsTest) else "exact McNemar"
    return told if judged.adjusted is None else f"{told}, {test}, Holm p {format_p_value(judged.adjusted)}"
