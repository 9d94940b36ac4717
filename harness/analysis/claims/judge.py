"""What a board's rows say of claims: each contrast judged by the test it named, in its family, or why it cannot be."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.analysis.claims.claims_file import Claim, ClaimsFile, Contrast, LossTest, RatioTest, find_family
from baseline_bench.analysis.claims.evidence import ContrastEvidence, EntryFile, gather_evidence
from baseline_bench.analysis.claims.registration import Registration, RegistrationCommit
from baseline_bench.analysis.multiple_testing import holm_adjust, unpaired_items_needed
from baseline_bench.analysis.statistics import items_needed

ContrastVerdict = Literal["supported", "refuted", "not resolved", "premise not met", "not judged"]
RegistrationTiming = Literal["registered", "post hoc", "registration unknown", "published before"]


@dataclass(frozen=True, slots=True)
class JudgedContrast:
    """A contrast and its verdict.

    Attributes:
        contrast: what was to be judged.
        verdict: "supported" or "refuted" by the test at its level; "not resolved" where the test finds neither;
            "premise not met" where the side that was to have the lower loss has not; "not judged" without evidence.
        timing: "post hoc" where a row is older than the contrast; such a verdict is no test of a prediction.
        evidence: None where it is not judged.
        why: the reason for that; else empty.
        adjusted: p by Holm within the family, or p itself without a family.
        needed: items a row on which the difference seen would be found with 80 % power at `alpha` over the number of
            contrasts judged in the family; None where nothing differs or the verdict is reached.
        since: the commit that registered it.
    """

    contrast: Contrast
    verdict: ContrastVerdict
    timing: RegistrationTiming
    evidence: ContrastEvidence | None = None
    why: str = ""
    adjusted: float | None = None
    needed: int | None = None
    since: RegistrationCommit | None = None


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """A claim and what became of its contrasts."""

    claim: Claim
    judged: tuple[JudgedContrast, ...]

    @property
    def counted(self) -> Counter[ContrastVerdict]:
        """Contrasts by verdict."""
        return Counter(one.verdict for one in self.judged)

    @property
    def verdict(self) -> str:
        """One word for the claim.

        "supported" or "refuted": every contrast that could be judged is; "refuted" too where some are, none is
        supported and the rest is open. "supported in part": some are, none is refuted. "mixed": both happened. "not
        resolved": neither did. "not judged": no contrast could be.
        """
        counts = self.counted
        told = len(self.judged) - counts["not judged"]
        if not told:
            return "not judged"
        if counts["supported"] and counts["refuted"]:
            return "mixed"
        if counts["refuted"]:
            return "refuted"
        if counts["supported"]:
            return "supported" if counts["supported"] == told else "supported in part"
        return "premise not met" if counts["premise not met"] == told else "not resolved"

    @property
    def late(self) -> int:
        """Judged contrasts of which it is not shown that they were registered before their rows."""
        return sum(one.timing in ("post hoc", "registration unknown") for one in self.judged if one.evidence)


@dataclass(frozen=True, slots=True)
class JudgedClaims:
    """A file of claims, judged."""

    claims: ClaimsFile
    findings: tuple[JudgedClaim, ...]

    def family(self, name: str) -> tuple[int, int]:
        """(contrasts of the family that were judged, all of them)."""
        ours = [one for finding in self.findings for one in finding.judged if find_family(one.contrast) == name]
        return sum(one.evidence is not None for one in ours), len(ours)


def judge_claims(
    claims: ClaimsFile,
    rows: Sequence[EntryFile],
    registered: Callable[[], Registration],
    retracted: Collection[str] = (),
) -> JudgedClaims:
    """Every claim of a file, over a board's entries.

    Args:
        claims: what to judge.
        rows: entries in any order; which of several is taken does not depend on it.
        registered: asks git; called only if a contrast of a registered file can be judged.
        retracted: file names of entries that no longer count.
    """
    looked = [gather_evidence(claims, contrast, rows, retracted) for _, contrast in claims.contrasts]
    adjusted = _adjust_p_values(claims, looked)
    ask = claims.source is None and any(isinstance(one, ContrastEvidence) for one in looked)
    registration = registered() if ask else Registration(False, (None,) * len(looked))
    found = iter(
        _judge_contrast(claims, place, looked[place], adjusted[place], registration) for place in range(len(looked))
    )
    return JudgedClaims(
        claims, tuple(JudgedClaim(claim, tuple(next(found) for _ in claim.contrasts)) for claim in claims.claims)
    )


def _adjust_p_values(claims: ClaimsFile, looked: Sequence[ContrastEvidence | str]) -> list[tuple[float | None, int]]:
    """For each contrast p by Holm within its family, and how many contrasts of the family were judged."""
    adjusted: list[tuple[float | None, int]] = [
        (one.p if isinstance(one, ContrastEvidence) else None, 1) for one in looked
    ]
    for name in claims.families:
        tested = [
            (place, one.p)
            for place, one in enumerate(looked)
            if isinstance(one, ContrastEvidence)
            and one.p is not None
            and find_family(claims.contrasts[place][1]) == name
        ]
        for (place, _), p in zip(tested, holm_adjust([p for _, p in tested]), strict=True):
            adjusted[place] = p, len(tested)
    return adjusted


def _judge_contrast(
    claims: ClaimsFile,
    place: int,
    looked: ContrastEvidence | str,
    adjusted: tuple[float | None, int],
    registration: Registration,
) -> JudgedContrast:
    contrast, since = claims.contrasts[place][1], registration.since[place]
    if isinstance(looked, str):
        return JudgedContrast(contrast, "not judged", _classify_timing(claims, None, since, registration), why=looked)
    p, size = adjusted
    word = _decide_verdict(contrast, looked, p, claims.alpha)
    needed = _count_needed_items(looked, claims.alpha / size) if word == "not resolved" else None
    timing = _classify_timing(claims, looked, since, registration)
    return JudgedContrast(contrast, word, timing, looked, "", p, needed, since if timing == "registered" else None)


def _classify_timing(
    claims: ClaimsFile, evidence: ContrastEvidence | None, since: RegistrationCommit | None, registration: Registration
) -> RegistrationTiming:
    if claims.source is not None:
        return "published before"
    if evidence is None:
        return "registered"  # nothing was run: a contrast still is ahead of its rows
    if not registration.known:
        return "registration unknown"
    if since is None or evidence.begun is None:
        return "post hoc"
    # Both are UTC in one spelling, in which the order of texts is the order of times.
    return "registered" if since.time < evidence.begun else "post hoc"


def _decide_verdict(contrast: Contrast, evidence: ContrastEvidence, p: float | None, alpha: float) -> ContrastVerdict:
    if isinstance(contrast, RatioTest) and evidence.measured is not None:
        return "supported" if evidence.measured[0] / evidence.measured[1] <= contrast.at_most else "refuted"
    if (
        isinstance(contrast, LossTest)
        and evidence.measured is not None
        and evidence.measured[1] >= evidence.measured[0]
    ):
        return "premise not met"
    if p is None or p >= alpha:
        return "not resolved"
    return "supported" if evidence.difference > 0 else "refuted"


def _count_needed_items(evidence: ContrastEvidence, alpha: float) -> int | None:
    """Items a row that would show what was seen, were it true; paired ones by Connor, counts alone by Fleiss."""
    (right, total), (other, asked) = evidence.counts
    if evidence.discordance is not None:
        needed = items_needed(evidence.difference, evidence.discordance, alpha=alpha)
    else:
        needed = unpaired_items_needed(right / total, other / asked, alpha=alpha)
    return needed if needed is not None and needed > total else None
