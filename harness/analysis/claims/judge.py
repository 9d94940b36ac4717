"""Judge claims on a board's rows: each contrast by the test that it names, corrected within its family."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.analysis.claims.claims_file import (
    Claim,
    ClaimsFile,
    Contrast,
    LossTest,
    Prediction,
    RatioTest,
    find_family,
)
from baseline_bench.analysis.claims.evidence import ContrastEvidence, gather_evidence
from baseline_bench.analysis.claims.predictions import PredictionEvidence, gather_prediction
from baseline_bench.analysis.claims.registration import Registration, RegistrationCommit
from baseline_bench.analysis.multiple_testing import holm_adjust, unpaired_items_needed
from baseline_bench.analysis.statistics import items_needed
from baseline_bench.results.board import Row

ContrastVerdict = Literal["supported", "refuted", "inconclusive", "not resolved", "premise not met", "not judged"]
RegistrationTiming = Literal["registered", "post hoc", "registration unknown", "published before"]


@dataclass(frozen=True, slots=True)
class JudgedContrast:
    """A contrast with its verdict.

    Attributes:
        contrast: the contrast that was judged.
        verdict: "supported" or "refuted" by the test at its level; where the test finds neither, "inconclusive" for a
            prediction and "not resolved" elsewhere;
            "premise not met" where the side expected to have the lower loss does not; "not judged" without evidence.
        timing: "post hoc" where a row is older than the contrast; such a verdict tests no prediction.
        evidence: None where it is not judged.
        why: why it is not judged; else empty.
        adjusted: p by Holm within the family, or p itself without a family.
        needed: items a row that find the observed difference with 80 % power at `alpha` over the number of
            contrasts judged in the family; None without a difference or if the verdict is reached.
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
    """A claim with its judged contrasts."""

    claim: Claim
    judged: tuple[JudgedContrast, ...]

    @property
    def counted(self) -> Counter[ContrastVerdict]:
        """Number of contrasts by verdict."""
        return Counter(contrast.verdict for contrast in self.judged)

    @property
    def verdict(self) -> str:
        """One word for the claim.

        "supported": every judged contrast is. "refuted": at least one is, and none is supported. "supported in
        part": some are, none is refuted. "mixed": some are supported, some refuted. "not resolved" or "inconclusive":
        none is either. "not judged": no contrast could be judged. A prediction counts even if it could not be judged:
        a claim with one that is missing is supported in part.
        """
        counts = self.counted
        judged_count = len(self.judged) - counts["not judged"]
        if not judged_count:
            return "not judged"
        judged_count += sum(one.verdict == "not judged" and isinstance(one.contrast, Prediction) for one in self.judged)
        if counts["supported"] and counts["refuted"]:
            return "mixed"
        if counts["refuted"]:
            return "refuted"
        if counts["supported"]:
            return "supported" if counts["supported"] == judged_count else "supported in part"
        if counts["inconclusive"]:
            return "inconclusive"
        return "premise not met" if counts["premise not met"] == judged_count else "not resolved"

    @property
    def late(self) -> int:
        """Number of judged contrasts not proven to be registered before their rows."""
        return sum(
            contrast.timing in ("post hoc", "registration unknown") for contrast in self.judged if contrast.evidence
        )


@dataclass(frozen=True, slots=True)
class JudgedClaims:
    """A file of claims, judged."""

    claims: ClaimsFile
    findings: tuple[JudgedClaim, ...]

    def family(self, name: str) -> tuple[int, int]:
        """Return (judged contrasts of the family, all contrasts of the family)."""
        members = [
            contrast
            for finding in self.findings
            for contrast in finding.judged
            if find_family(contrast.contrast) == name
        ]
        return sum(contrast.evidence is not None for contrast in members), len(members)


def judge_claims(
    claims: ClaimsFile,
    rows: Sequence[Row],
    registered: Callable[[], Registration],
    retracted: Collection[str] = (),
) -> JudgedClaims:
    """Judge every claim of a file on a board's entries.

    Args:
        claims: the claims to judge.
        rows: entries in any order; the result does not depend on the order.
        registered: asks git; called only for predictions, or if a contrast of a registered file can be judged.
        retracted: file names of entries that no longer count.
    """
    no_registration = Registration(False, (None,) * len(claims.contrasts))
    registration = registered() if claims.predicts else no_registration
    evidence_or_reasons = [
        _gather(claims, index, rows, retracted, registration) for index in range(len(claims.contrasts))
    ]
    adjusted = _adjust_p_values(claims, evidence_or_reasons)
    if (
        not claims.predicts
        and claims.source is None
        and any(isinstance(one, ContrastEvidence) for one in evidence_or_reasons)
    ):
        registration = registered()
    judged_contrasts = (
        _judge_contrast(claims, index, evidence, adjusted[index], registration)
        for index, evidence in enumerate(evidence_or_reasons)
    )
    return JudgedClaims(
        claims,
        tuple(JudgedClaim(claim, tuple(next(judged_contrasts) for _ in claim.contrasts)) for claim in claims.claims),
    )


def _gather(
    claims: ClaimsFile, index: int, rows: Sequence[Row], retracted: Collection[str], registration: Registration
) -> ContrastEvidence | str:
    contrast, since = claims.contrasts[index][1], registration.since[index]
    if not isinstance(contrast, Prediction):
        return gather_evidence(claims, contrast, rows, retracted)
    if not registration.known:
        return "no git history says when it was registered"
    return gather_prediction(claims, contrast, rows, retracted, None if since is None else since.time)


def _adjust_p_values(
    claims: ClaimsFile, evidence_or_reasons: Sequence[ContrastEvidence | str]
) -> list[tuple[float | None, int]]:
    """Return, for each contrast, p by Holm within its family and the number of the family's contrasts that count.

    These are the judged ones, and every prediction: one that is not judged counts as p = 1.
    """
    adjusted: list[tuple[float | None, int]] = [
        (evidence.p if isinstance(evidence, ContrastEvidence) else None, 1) for evidence in evidence_or_reasons
    ]
    for name in claims.families:
        members = [
            (index, evidence.p if isinstance(evidence, ContrastEvidence) else 1.0 if claims.predicts else None)
            for index, evidence in enumerate(evidence_or_reasons)
            if find_family(claims.contrasts[index][1]) == name
        ]
        tested = [(index, p) for index, p in members if p is not None]
        for (index, _), p in zip(tested, holm_adjust([p for _, p in tested]), strict=True):
            adjusted[index] = p, len(tested)
    return adjusted


def _judge_contrast(
    claims: ClaimsFile,
    index: int,
    evidence_or_reason: ContrastEvidence | str,
    adjusted: tuple[float | None, int],
    registration: Registration,
) -> JudgedContrast:
    contrast, since = claims.contrasts[index][1], registration.since[index]
    if isinstance(evidence_or_reason, str):
        return JudgedContrast(
            contrast, "not judged", _classify_timing(claims, None, since, registration), why=evidence_or_reason
        )
    p, family_size = adjusted
    verdict = _decide_verdict(contrast, evidence_or_reason, p, claims.alpha)
    needed = _count_needed_items(evidence_or_reason, claims.alpha / family_size) if verdict == "not resolved" else None
    timing = _classify_timing(claims, evidence_or_reason, since, registration)
    return JudgedContrast(
        contrast, verdict, timing, evidence_or_reason, "", p, needed, since if timing == "registered" else None
    )


def _classify_timing(
    claims: ClaimsFile, evidence: ContrastEvidence | None, since: RegistrationCommit | None, registration: Registration
) -> RegistrationTiming:
    if claims.source is not None:
        return "published before"
    if evidence is None:
        return "registered"  # nothing was run: the contrast has no rows yet
    if not registration.known:
        return "registration unknown"
    if since is None or evidence.begun is None:
        return "post hoc"
    # Both are UTC in one format, so comparing texts compares times.
    return "registered" if since.time < evidence.begun else "post hoc"


def _decide_verdict(contrast: Contrast, evidence: ContrastEvidence, p: float | None, alpha: float) -> ContrastVerdict:
    if isinstance(contrast, RatioTest) and evidence.measured is not None:
        return "supported" if evidence.measured[0] / evidence.measured[1] <= contrast.at_most else "refuted"
    if isinstance(contrast, LossTest) and evidence.measured and evidence.measured[1] >= evidence.measured[0]:
        return "premise not met"
    if p is None or p >= alpha:
        return "inconclusive" if isinstance(contrast, Prediction) else "not resolved"
    as_predicted = evidence.as_predicted if isinstance(evidence, PredictionEvidence) else evidence.difference > 0
    return "supported" if as_predicted else "refuted"


def _count_needed_items(evidence: ContrastEvidence, alpha: float) -> int | None:
    """Compute the items a row that would show the observed difference: paired by Connor, counts by Fleiss."""
    (right, total), (other_right, other_total) = evidence.counts
    if evidence.discordance is not None:
        needed = items_needed(evidence.difference, evidence.discordance, alpha=alpha)
    else:
        needed = unpaired_items_needed(right / total, other_right / other_total, alpha=alpha)
    return needed if needed is not None and needed > total else None
