"""Judges the hypotheses of a report: the verdict of each, and its evidence with one line a contrast."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.claims import claims_file as files
from baseline_bench.analysis.claims import judge
from baseline_bench.analysis.claims.claims_file import CountsTest, LossTest, Prediction, RatioTest, name_sides
from baseline_bench.analysis.claims.evidence import ContrastEvidence
from baseline_bench.analysis.claims.judge import JudgedContrast
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.report.safe_text import ExternalName, ReviewedText, Sentence, format_count, format_p_value

ClaimStatus = Literal["holds", "fails", "open", "late"]
# The order in which verdicts are listed: those against a hypothesis first.
_VERDICT_ORDER = (
    "refuted",
    "mixed",
    "supported",
    "supported in part",
    "premise not met",
    "inconclusive",
    "not resolved",
    "not judged",
)
_STATUS_BY_VERDICT: dict[str, ClaimStatus] = {"refuted": "fails", "supported": "holds"}


@dataclass(frozen=True, slots=True)
class ReportedClaim:
    """A judged hypothesis.

    Attributes:
        kind: its colour on the page; "late" where it is supported but not shown to be older than its runs.
        word: the verdict in one word or two.
        verdict: the verdict with the number of contrasts behind it.
        published: what others reported before this repository's runs.
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
    """A judged claims file: its task version and findings; None and empty where there is no file."""

    task: str | None
    findings: tuple[ReportedClaim, ...]


def judge_claims_file(leaderboards: Path, board: str, name: str, wanted: bool) -> ReportedClaims:
    """Judge a claims file over all entries of a board, whichever rows the report shows.

    Args:
        leaderboards: the folder; it has the claims files in `claims/`.
        board: the board with the entries.
        name: of the claims file.
        wanted: whether an absent file, or one of another board, is an error.

    Raises:
        BenchError: the claims file is faulty; or it is wanted, and absent or about another board.
    """
    path = leaderboards / "claims" / f"{name}.toml"
    if not path.is_file():
        if wanted:
            raise BenchError(f"no claims file {path}", "give the name of a file of leaderboards/claims")
        return ReportedClaims(None, ())
    claims = files.read_claims(path)
    if claims.board != board:
        if wanted:
            raise BenchError(f"{path.name} is about the board {claims.board!r}", f"give --board {claims.board}")
        return ReportedClaims(None, ())
    judged_claims = leaderboard.judge_claims_file(path, claims, leaderboard.load_board(leaderboards, board))
    return ReportedClaims(None if claims.source else claims.task, tuple(map(_report_claim, judged_claims.findings)))


def tally_claims(findings: Sequence[ReportedClaim]) -> Sentence:
    """Count the hypotheses by verdict."""
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


def _report_claim(judged_claim: judge.JudgedClaim) -> ReportedClaim:
    word = judged_claim.verdict
    kind = _STATUS_BY_VERDICT.get(word, "open")
    late = f"; {judged_claim.late} not shown to be older than their runs" if judged_claim.late else ""
    return ReportedClaim(
        hypothesis=(ReviewedText(judged_claim.claim.hypothesis[:1].upper() + judged_claim.claim.hypothesis[1:]),),
        kind="late" if kind == "holds" and judged_claim.late else kind,
        word=word,
        verdict=(f"{word.capitalize()}{_format_verdict_counts(judged_claim)}{late}",),
        published=("Published before: ", ReviewedText(judged_claim.claim.published), "."),
        evidence=tuple(map(_describe_contrast, judged_claim.judged)),
    )


def _format_verdict_counts(judged_claim: judge.JudgedClaim) -> str:
    """Count the contrasts by verdict; all equal ones as "in 3 of 3 contrasts"."""
    total, counts = len(judged_claim.judged), judged_claim.counted
    if len(counts) == 1:
        return f" in {total} of {format_count(total, 'contrast')}"
    sorted_counts = sorted(counts.items(), key=lambda one: _VERDICT_ORDER.index(one[0]))
    return f": of {format_count(total, 'contrast')} " + ", ".join(f"{count} {word}" for word, count in sorted_counts)


def _describe_contrast(judged: JudgedContrast) -> Sentence:
    better, worse = name_sides(judged.contrast)
    start: Sentence = (ExternalName(better), " against ", ExternalName(worse), ": ")
    if judged.evidence is None:
        return (*start, "not judged, ", ReviewedText(judged.why))
    late = "" if judged.timing == "registered" else f" ({judged.timing})"
    needed = f"; {judged.needed:,} items would settle a difference of this size" if judged.needed else ""
    return (*start, f"{_describe_evidence(judged, judged.evidence)}: {judged.verdict}{late}{needed}")


def _describe_evidence(judged: JudgedContrast, evidence: ContrastEvidence) -> str:
    if isinstance(judged.contrast, RatioTest) and evidence.measured is not None:
        one, other = evidence.measured
        return (
            f"{one:,.1f} and {other:,.1f} samples a second, {one / other:.2f} times, "
            f"at most {judged.contrast.at_most:.2f} was said"
        )
    (right, total), (other_right, other_total) = evidence.counts
    low, high = map(format_points, evidence.interval)
    gap = f"{format_points(evidence.difference)} points [{low}, {high}]"
    counted = (
        f"{right:,} and {other_right:,} of {total:,}"
        if total == other_total
        else f"{right} of {total}, {other_right} of {other_total}"
    )
    evidence_text = f"{counted} right, {gap}"
    if isinstance(judged.contrast, LossTest) and evidence.measured is not None:
        evidence_text = f"loss {evidence.measured[0]:.3f} and {evidence.measured[1]:.3f}; {evidence_text}"
        return evidence_text if evidence.p is None else f"{evidence_text}, p {format_p_value(evidence.p)}"
    test = "Boschloo" if isinstance(judged.contrast, CountsTest) else "exact McNemar"
    if isinstance(judged.contrast, Prediction):
        test = f"{judged.contrast.predicted} predicted"
    holm = "" if judged.adjusted is None else f", {test}, Holm p {format_p_value(judged.adjusted)}"
    return evidence_text + holm
