"""What a report says of each hypothesis: its verdict, and the evidence one line a contrast."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.claims import claims_file as files
from baseline_bench.analysis.claims import judge, registration
from baseline_bench.analysis.claims.claims_file import Counted, Loss, Ratio, names
from baseline_bench.analysis.claims.evidence import Evidence
from baseline_bench.analysis.claims.judge import Judged
from baseline_bench.analysis.statistics import points
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.report.safe_text import Name, Prose, Sentence, number, probability
from baseline_bench.results import retractions

Kind = Literal["holds", "fails", "open", "late"]
# The order in which they are said: what speaks against a hypothesis first.
_WORDS = (
    "refuted",
    "mixed",
    "supported",
    "supported in part",
    "premise not met",
    "not resolved",
    "not judged",
)
_KINDS: dict[str, Kind] = {"refuted": "fails", "supported": "holds"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A judged hypothesis.

    Attributes:
        kind: how it came out, for its colour; "late" where it is supported, but not shown to be older than its runs.
        word: the verdict in one word or two.
        verdict: the verdict with the number of contrasts behind it.
        published: what was reported before this repository's runs.
        evidence: one sentence a contrast.
    """

    hypothesis: Sentence
    kind: Kind
    word: str
    verdict: Sentence
    published: Sentence
    evidence: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judged claims file: the task version it is of, and its findings; None and nothing where there is no file."""

    task: str | None
    findings: tuple[Finding, ...]


def read(leaderboards: Path, board: str, name: str, wanted: bool) -> Judgement:
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
        return Judgement(None, ())
    told = files.read(path)
    if told.board != board:
        if wanted:
            raise BenchError(f"{path.name} is about the board {told.board!r}", f"give --board {told.board}")
        return Judgement(None, ())
    rows = leaderboard.load(leaderboards, board).rows
    retracted = {one.entry for one in retractions.read(leaderboards / board).retractions}
    found = judge.judge(told, rows, lambda: registration.since(path, told), retracted)
    return Judgement(None if told.source else told.task, tuple(map(_finding, found.findings)))


def tally(findings: Sequence[Finding]) -> Sentence:
    """How many hypotheses came out how."""
    if not findings:
        return ("No hypothesis was written down before these runs.",)
    counts = Counter((finding.word, finding.kind == "late") for finding in findings)
    parts = [
        f"{counts[word, late]} {word}{' post hoc' if late else ''}"
        for word in _WORDS
        for late in (False, True)
        if counts[word, late]
    ]
    return (f"Of {number(len(findings), 'hypothesis', 'hypotheses')}: {', '.join(parts)}.",)


def _finding(found: judge.Finding) -> Finding:
    word = found.verdict
    kind = _KINDS.get(word, "open")
    late = f"; {found.late} not shown to be older than their runs" if found.late else ""
    return Finding(
        hypothesis=(Prose(found.claim.hypothesis[:1].upper() + found.claim.hypothesis[1:]),),
        kind="late" if kind == "holds" and found.late else kind,
        word=word,
        verdict=(f"{word.capitalize()}{_counted(found)}{late}",),
        published=("Published before: ", Prose(found.claim.published), "."),
        evidence=tuple(map(_contrast, found.judged)),
    )


def _counted(found: judge.Finding) -> str:
    """How many contrasts came out how, where the one word for all of them does not say it."""
    of, counts = len(found.judged), found.counted
    if len(counts) == 1:
        return f" in {of} of {number(of, 'contrast')}"
    told = sorted(counts.items(), key=lambda one: _WORDS.index(one[0]))
    return f": of {number(of, 'contrast')} " + ", ".join(f"{count} {word}" for word, count in told)


def _contrast(judged: Judged) -> Sentence:
    better, worse = names(judged.contrast)
    start: Sentence = (Name(better), " against ", Name(worse), ": ")
    if judged.evidence is None:
        return (*start, "not judged, ", Prose(judged.why))
    late = "" if judged.timing == "registered" else f" ({judged.timing})"
    needed = f"; {judged.needed:,} items would settle a difference of this size" if judged.needed else ""
    return (*start, f"{_told(judged, judged.evidence)}: {judged.verdict}{late}{needed}")


def _told(judged: Judged, evidence: Evidence) -> str:
    """The numbers that a contrast's test looks at."""
    if isinstance(judged.contrast, Ratio) and evidence.measured is not None:
        one, other = evidence.measured
        return (
            f"{one:,.1f} and {other:,.1f} samples a second, {one / other:.2f} times, "
            f"at most {judged.contrast.at_most:.2f} was said"
        )
    (right, total), (others, asked) = evidence.counts
    low, high = map(points, evidence.interval)
    gap = f"{points(evidence.difference)} points [{low}, {high}]"
    counted = f"{right:,} and {others:,} of {total:,}" if total == asked else f"{right} of {total}, {others} of {asked}"
    told = f"{counted} right, {gap}"
    if isinstance(judged.contrast, Loss) and evidence.measured is not None:
        told = f"loss {evidence.measured[0]:.3f} and {evidence.measured[1]:.3f}; {told}"
        return told if evidence.p is None else f"{told}, p {probability(evidence.p)}"
    test = "Boschloo" if isinstance(judged.contrast, Counted) else "exact McNemar"
    return told if judged.adjusted is None else f"{told}, {test}, Holm p {probability(judged.adjusted)}"
