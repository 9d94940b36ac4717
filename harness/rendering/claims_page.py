"""Renders the page of a claims file, with the evidence of every contrast, and its summary on a board's page."""

from collections.abc import Iterator, Sequence

from baseline_bench.analysis.claims.claims_file import ClaimsFile, Contrast, LossTest, Prediction, RatioTest, name_sides
from baseline_bench.analysis.claims.evidence import ContrastEvidence
from baseline_bench.analysis.claims.judge import JudgedClaim, JudgedClaims, JudgedContrast
from baseline_bench.analysis.claims.predictions import PredictionEvidence
from baseline_bench.analysis.multiple_testing import unpaired_power
from baseline_bench.analysis.statistics import format_points, wilson_interval
from baseline_bench.core.markup import UNKNOWN_MARK, code_span, table_cell
from baseline_bench.rendering.formatting import quote_sentence

# Words for numbers that were known before their claim was written: they were not predicted.
_REANALYSIS_VERDICTS = {
    "supported": "stands",
    "supported in part": "stands in part",
    "refuted": "stands the other way round",
}
_PREDICTION_COLUMNS = ("predicted", "planned", "90 % interval", "outcome", "prediction")
_HOW_TO_READ = """\
## How to read it

1. **better**, **worse**: as the claim predicts them. **right**: items that each of them got right. **difference**: \
better less worse in points, with its 95 % interval. **cut**: answers that ended at the token limit, which may be why.
2. **p**: of the test that the file names. **Holm p**: adjusted within the family, over the contrasts that could be \
judged; it decides. A loss is judged by p alone, a ratio (first side over second) by its limit. Of several comparable \
pairs of rows the newest is taken.
3. **supported**, **refuted**: Holm p is below the level, and the sign is the predicted one, or the other one. \
**premise not met**: the side that was to end with the lower loss did not. **not judged**: there is no evidence yet.
4. **not resolved**: the test finds neither; it is no proof of equality. The items are those on which the difference \
seen would be found with 80 % power, at the level over the number of contrasts judged in the family.
5. **post hoc**: a row is older than the contrast in git; it describes, and tests no prediction.
"""
_HOW_TO_READ_AGAIN = """\
## How to read it

1. **right**: items that each side got right; which ones is not known, so that rows cannot be paired. **difference**: \
better less worse in points, with its 95 % interval (Newcombe's, of independent counts).
2. **p**: Boschloo's exact test on the counts. **Holm p**: adjusted within the family; it decides.
3. **stands**: Holm p is below the level. The numbers were known before the claim was written: none is a prediction \
that came true.
4. **not resolved**: {items} could not tell it from chance; it is no proof of equality. The items needed are those on \
which the difference seen would be found with 80 % power, at the level over the number of contrasts in the family.
5. **power**: the chance of finding the difference seen, were it true, on all items of the task, at the level of one \
test.
"""
_HOW_TO_READ_PREDICTIONS = """\
## How to read it

1. **first**, **second**: the declared runs, each the first of its seed that was trained and scored after the contrast \
was committed; later runs of a seed do not count. **right**: over all seeds of a side. **difference**: first less \
second in points, with its 95 % interval. Several seeds a side estimate these recipes on problems like these (new \
seeds, new problems), one run a side these weights on problems like these. **cut %**: answers that ended at the token \
limit.
2. **predicted**: *better*, or by a margin in points that was declared with the claim: *equivalent* (within it on both \
sides) or *non-inferior* (not worse by more than it). **planned**: the power with which the design shows this, and for \
which true difference.
3. **outcome**: what the intervals decide, whatever was predicted: better or worse by the 95 % interval, equivalent or \
non-inferior by the 90 % interval and the margin.
4. **p**: of *better* the level at which the interval ends at 0. With a margin it is the least one-sided level at \
which the interval is within the margin, or wholly beyond it. **Holm p**: adjusted within the family, over the \
contrasts declared in it: one that is not judged counts as p = 1. It decides.
5. **prediction**: *supported* or *refuted* where Holm p is below the level, and it speaks for the prediction, or for \
its opposite: worse, or a difference beyond the margin. *inconclusive*: neither. *not judged*: runs are missing or \
cannot be compared, or a seed was trained again after a look.
"""


def render_page(marker: str, findings: JudgedClaims) -> str:
    """Render the Markdown page of one claims file; nothing in it depends on the day.

    The page is the same before and after the commit that adds its file: a new contrast is post hoc for all existing
    rows, and a commit is named only where it is older than the rows.
    """
    claims = findings.claims
    is_published = claims.source is not None
    title = "The published table, read again" if is_published else "Claims"
    items = f"{max((row.total for row in claims.rows), default=0):,} items"
    parts = [marker, f"# {title}: {code_span(claims.name)}", _render_facts(claims)]
    parts += [_render_published_rows(claims) if is_published else _describe_registration(findings)]
    parts += ["## Outcomes", _render_claims(findings), "## Contrasts", _render_contrasts(findings)]
    parts += ["## Families", _render_families(findings)]
    how_to_read = _HOW_TO_READ_PREDICTIONS if claims.predicts else _HOW_TO_READ
    return "\n\n".join([*parts, _HOW_TO_READ_AGAIN.format(items=items) if is_published else how_to_read])


def render_summary(judged: Sequence[JudgedClaims]) -> str:
    """Render the table for a board's page: one line a claim, with a link to its page; published tables last."""
    lines = [
        f"|[{findings.claims.name}](claims/{findings.claims.name}.md)|{table_cell(finding.claim.id)}"
        f"|{quote_sentence(finding.claim.hypothesis)}|{format_claim_verdict(finding)}|{format_verdict_counts(finding)}|"
        for findings in sorted(judged, key=lambda one: bool(one.claims.rows))
        for finding in findings.findings
    ]
    return "\n".join(["|claims|claim|hypothesis|outcome|contrasts|", "|---|---|---|---|---|", *lines])


def format_claim_verdict(finding: JudgedClaim) -> str:
    """Format the verdict of a claim, marked as late where a contrast is younger than its rows."""
    timings = [one.timing for one in finding.judged if one.evidence is not None]
    word = _format_verdict(finding.verdict, is_published="published before" in timings)
    for late in ("registration unknown", "post hoc"):
        if times := timings.count(late):
            return f"{late}: {word}" if times == len(timings) else f"{word}, {times} of {len(timings)} {late}"
    return word


def format_verdict_counts(finding: JudgedClaim) -> str:
    """Count the contrasts of a claim by verdict: "supported on 5 of 8, not resolved on 3"."""
    is_published = any(one.timing == "published before" for one in finding.judged)
    counts = finding.counted.most_common()
    first, *rest = [f"{_format_verdict(word, is_published=is_published)} on {count}" for word, count in counts]
    return ", ".join([f"{first} of {len(finding.judged)}", *rest])


def format_contrast_verdict(judged: JudgedContrast) -> str:
    """Format the verdict of one contrast, with the items that would settle it, or why it is not judged."""
    word = _format_verdict(judged.verdict, is_published=judged.timing == "published before")
    if judged.timing in ("post hoc", "registration unknown"):
        word = f"{judged.timing}: {word}"
    if judged.why:
        return f"{word}: {table_cell(judged.why)}"
    if judged.verdict == "not resolved":
        word = f"{word} ({_format_needed_items(judged)})"
    if judged.evidence is not None and judged.evidence.choices > 1:
        word = f"{word}, newest of {judged.evidence.choices} pairs"
    return word


def _format_verdict(word: str, *, is_published: bool) -> str:
    return _REANALYSIS_VERDICTS.get(word, word) if is_published else word


def _format_needed_items(judged: JudgedContrast) -> str:
    if judged.needed is not None:
        return f"takes about {float(f'{judged.needed:.3g}'):,.0f} items"
    seen = judged.evidence is not None and judged.evidence.difference != 0
    return "on the edge: the formula asks for no more items" if seen else "no difference was seen"


def _render_facts(claims: ClaimsFile) -> str:
    file, level = f"[`{claims.name}.toml`]({claims.name}.toml)", f"{100 * claims.alpha:g} %"
    board = f"[{claims.board}](../{claims.board}.md)"
    if claims.source is not None:
        return (
            f"{quote_sentence(claims.source)}: {quote_sentence(claims.task)}, in {file}, at the level of {level}. "
            "It was published "
            f"before this repository had a row; the board {board} shows what its own rows say."
        )
    return (
        f"Hypotheses of {file}, judged on the rows of the board {board} under {code_span(claims.task)}, at the "
        "level of "
        f"{level}, with at least {claims.least_items:,} scored items on both sides."
    )


def _describe_registration(findings: JudgedClaims) -> str:
    """Say which judged contrasts were committed to git before their rows."""
    judged = [one for finding in findings.findings for one in finding.judged if one.evidence is not None]
    commits = sorted({one.since for one in judged if one.since is not None}, key=lambda since: since.time)
    registered_count = sum(one.timing == "registered" for one in judged)
    unknown_count = sum(one.timing == "registration unknown" for one in judged)
    if not judged:
        return "No contrast can be judged yet."
    if unknown_count:
        return (
            f"There is no git history here: whether the {len(judged)} judged contrasts came before their rows is open."
        )
    if not registered_count:
        return f"All {len(judged)} judged contrasts are post hoc: a row is older than the contrast in git."
    commit_names = ", ".join(f"`{since.commit[:12]}` ({since.time})" for since in commits)
    registered_text = (
        f"{registered_count} of {len(judged)} judged contrasts were committed before their rows were trained or "
        f"scored: {commit_names}."
    )
    return registered_text if registered_count == len(judged) else f"{registered_text} The others are post hoc."


def _render_published_rows(claims: ClaimsFile) -> str:
    lines = [
        f"|{table_cell(row.name)}|{row.right:,}|{row.total:,}|{100 * row.right / row.total:.1f}"
        f"|{100 * low:.1f}–{100 * high:.1f}|"
        for row in claims.rows
        for low, high in [wilson_interval(row.right, row.total)]
    ]
    return "\n".join(["|row|right|items|%|95 % interval|", "|---|---:|---:|---:|:---:|", *lines])


def _render_claims(findings: JudgedClaims) -> str:
    lines = [
        f"|{table_cell(finding.claim.id)}|{quote_sentence(finding.claim.hypothesis)}|{format_claim_verdict(finding)}|{format_verdict_counts(finding)}"
        f"|{quote_sentence(finding.claim.published)}|"
        for finding in findings.findings
    ]
    return "\n".join(["|claim|hypothesis|outcome|contrasts|published|", "|---|---|---|---|---|", *lines])


def _render_contrasts(findings: JudgedClaims) -> str:
    """Render one line a contrast; a published table ends with the power on all items, others with cuts and losses."""
    claims = findings.claims
    last = ("cut %", "losses, speeds") if claims.all_items is None else (f"power on {claims.all_items:,} items",)
    names_of = ("claim", "better", "worse", "right", "difference", "p", "Holm p", *last, "outcome")
    aligned = ("---", "---", "---", ":---:", ":---:", "---:", "---:", *[":---:"] * len(last), "---")
    if claims.predicts:
        names_of = ("claim", "first", "second", "right", "difference", "p", "Holm p", "cut %", *_PREDICTION_COLUMNS)
        aligned = (*aligned[:8], *["---"] * len(_PREDICTION_COLUMNS))
    cells = _prediction_cells if claims.predicts else _contrast_cells
    lines = [
        "|".join(["", table_cell(finding.claim.id), *cells(claims, one), format_contrast_verdict(one), ""])
        for finding in findings.findings
        for one in finding.judged
    ]
    table = "\n".join(["|".join(["", *row, ""]) for row in (names_of, aligned)] + lines)
    return "\n\n".join([table, *_list_side_differences(findings)])


def _list_side_differences(findings: JudgedClaims) -> Iterator[str]:
    """Yield one line for each side of a prediction within which code, libraries or machines differ."""
    for finding in findings.findings:
        for one in finding.judged:
            differs = one.evidence.differs if isinstance(one.evidence, PredictionEvidence) else ()
            for name, parts in zip(name_sides(one.contrast), differs, strict=False):
                if parts:
                    shown = ", ".join(map(code_span, parts))
                    yield f"{code_span(finding.claim.id)}, {code_span(name)}: differs within the side: {shown}."


def _contrast_cells(claims: ClaimsFile, judged: JudgedContrast) -> Iterator[str]:
    evidence, contrast = judged.evidence, judged.contrast
    yield from _link_sides(claims, judged)
    if evidence is None:
        yield from [UNKNOWN_MARK] * (6 if claims.all_items is None else 5)
        return
    yield from [UNKNOWN_MARK] * 2 if isinstance(contrast, RatioTest) else _score_cells(evidence)
    yield _format_p_value(evidence.p)
    yield _format_p_value(None if isinstance(contrast, LossTest) else judged.adjusted)
    if claims.all_items is not None:
        yield _format_power(evidence, claims.all_items)
        return
    yield UNKNOWN_MARK if isinstance(contrast, RatioTest) else _format_cut(evidence)
    yield _format_measured(contrast, evidence)


def _prediction_cells(claims: ClaimsFile, judged: JudgedContrast) -> Iterator[str]:
    evidence, contrast = judged.evidence, judged.contrast
    if not isinstance(contrast, Prediction):
        raise TypeError(f"{contrast} is no prediction")
    if isinstance(evidence, PredictionEvidence):
        for name, runs in zip(name_sides(contrast), evidence.runs, strict=True):
            links = [f"[{'row' if seed is None else f's{seed}'}](../{claims.board}/{runs[seed]})" for seed in runs]
            yield f"{table_cell(name)}: {', '.join(links)}"
        yield from _score_cells(evidence)
        yield _format_p_value(evidence.p)
        yield _format_p_value(judged.adjusted)
        yield _format_cut(evidence)
    else:
        yield from map(table_cell, name_sides(contrast))
        yield from [UNKNOWN_MARK] * 5
    margin = "" if contrast.margin is None else f", margin {100 * contrast.margin:.2f}"
    yield f"{contrast.predicted}{margin}"
    yield f"{100 * contrast.power:.1f} % for {format_points(contrast.gain)}"
    if isinstance(evidence, PredictionEvidence):
        yield f"[{', '.join(map(format_points, evidence.margin_interval))}]"
        yield evidence.outcome
    else:
        yield from [UNKNOWN_MARK] * 2


def _format_cut(evidence: ContrastEvidence) -> str:
    if evidence.cut is None:
        return UNKNOWN_MARK
    return " : ".join(f"{100 * cut / total:.1f}" for cut, (_, total) in zip(evidence.cut, evidence.counts, strict=True))


def _score_cells(evidence: ContrastEvidence) -> Iterator[str]:
    (right, total), (other_right, other_total) = evidence.counts
    low, high = evidence.interval
    of = f"of {total:,}" if total == other_total else f"of {total:,} and {other_total:,}"
    yield f"{right:,} : {other_right:,} {of}"
    yield f"{format_points(evidence.difference)} [{format_points(low)}, {format_points(high)}]"


def _link_sides(claims: ClaimsFile, judged: JudgedContrast) -> Iterator[str]:
    """Yield both names, linked to the entries that were compared."""
    files = (None, None) if judged.evidence is None or judged.evidence.files is None else judged.evidence.files
    for name, file in zip(name_sides(judged.contrast), files, strict=True):
        yield table_cell(name) if file is None else f"[{table_cell(name)}](../{claims.board}/{file})"


def _format_power(evidence: ContrastEvidence, all_items: int) -> str:
    (right, total), (other_right, other_total) = evidence.counts
    power = unpaired_power(right / total, other_right / other_total, all_items)
    return f"{power:.3f}" if power < 0.9995 else "above .999"


def _format_measured(contrast: Contrast, evidence: ContrastEvidence) -> str:
    if evidence.measured is None:
        return UNKNOWN_MARK
    first, second = evidence.measured
    if isinstance(contrast, RatioTest):
        return f"{first:,.1f} : {second:,.1f} a second = {first / second:.2f}, at most {contrast.at_most:.2f}"
    return f"{first:.3f} : {second:.3f} nats"


def _render_families(findings: JudgedClaims) -> str:
    lines = [
        f"|{table_cell(name)}|{quote_sentence(rule)}|{judged} of {total}|"
        for name, rule in findings.claims.families.items()
        for judged, total in [findings.family(name)]
    ]
    return "\n".join(["|family|rule|contrasts judged|", "|---|---|---:|", *lines])


def _format_p_value(value: float | None) -> str:
    if value is None:
        return UNKNOWN_MARK
    return "<.0001" if value < 0.0001 else f"{value:.4f}"
