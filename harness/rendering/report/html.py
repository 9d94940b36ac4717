"""Renders one self-contained HTML page: the README's findings and figures, and every answer of every row to browse.

The page fetches nothing, and text from a model or a name is never markup: texts written here are escaped, and the
script sets its texts as text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from itertools import combinations, permutations
from os.path import commonprefix
from pathlib import Path
from string import Template
from typing import Any

from baseline_bench.analysis.compare import compare_entries, explain_incomparability
from baseline_bench.core.markup import make_visible
from baseline_bench.rendering.report.answers import GradedCompletions, ReportCompletions
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.rendering.report.deck import NO_CHECKPOINTS, format_numbers, summarise_study
from baseline_bench.rendering.report.findings import ReportedClaim
from baseline_bench.rendering.report.safe_text import to_html

_HERE = Path(__file__).parent
_STYLE_PATTERN = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def render_page(
    study: Study, findings: Sequence[ReportedClaim], figures: Sequence[Figure], reading: ReportCompletions, command: str
) -> str:
    """Render the whole page; `command` is what makes the report. The page works from a file, without a network."""
    style = (_HERE / "page.css").read_text(encoding="utf-8") + _collect_style(figures)
    no_checkpoints = f'<p class="note">{escape(NO_CHECKPOINTS).replace("`", "")}</p>'
    if any(figure.file == "checkpoints.svg" for figure in figures):
        no_checkpoints = ""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=f"default-src 'none'; style-src '{_hash_for_policy(style)}'; script-src '{_hash_for_policy(script)}'; "
        "base-uri 'none'; form-action 'none'",
        title=escape(f"{study.name} · {make_visible(study.label)}"),
        heading=escape(study.name),
        task=escape(make_visible(study.label)),
        items=f"{len(reading.items):,}",
        measure=study.measure,
        rows=len(study.lines),
        answer="".join(f"<li>{to_html(sentence)}</li>" for sentence in summarise_study(study, findings)),
        findings="".join(map(_render_claim, findings)) or "<p>No claims file was judged.</p>",
        figures="".join(_render_figure(index, figure) for index, figure in enumerate(figures)) + no_checkpoints,
        table="".join(_render_group(base, lines) for base, lines in study.groups),
        questions="" if reading.with_questions else _QUESTIONS_OMITTED.format(name=escape(study.name)),
        again=escape(command),
        style=style,
        script=script,
        data=_encode_json(_build_page_data(study, reading)),
        # No browser runs this type, and base64 has no character that could end the block.
        packed="".join(
            f'<script type="text/plain" id="packed-{index}">{base64.b64encode(completions.packed).decode()}</script>\n'
            for index, completions in enumerate(reading.answers)
        ),
    )


_QUESTIONS_OMITTED = (
    '<p class="note">The questions are not part of this copy: the data set is not ours to hand on. '
    "<code>bench report {name} --datasets DIR</code>, DIR holding it in the hub's layout, makes a page with them.</p>"
)


def _hash_for_policy(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _collect_style(figures: Sequence[Figure]) -> str:
    styles = dict.fromkeys(style for figure in figures for style in _STYLE_PATTERN.findall(figure.svg))
    return "".join(f"\n{style}" for style in styles)


def _render_figure(index: int, figure: Figure) -> str:
    svg = _STYLE_PATTERN.sub("", figure.svg)
    for part in ("title", "desc"):
        svg = svg.replace(f'<{part} id="{part}">', f'<{part} id="figure-{index}-{part}">', 1)
    svg = svg.replace('"title desc"', f'"figure-{index}-title figure-{index}-desc"', 1)
    return (
        f'<figure><h3>{to_html(figure.takeaway)}</h3><div class="scroll" tabindex="0">{svg}</div>'
        f"<figcaption>{to_html(figure.note)}</figcaption></figure>"
    )


def _render_claim(finding: ReportedClaim) -> str:
    lines = "".join(f"<li>{to_html(line)}</li>" for line in finding.evidence)
    return (
        f'<article class="finding {finding.kind}"><p class="badge">{to_html(finding.verdict)}</p>'
        f"<h3>{to_html(finding.hypothesis)}</h3><p>{to_html(finding.published)}</p>"
        f"<details><summary>Evidence</summary><ul>{lines}</ul></details></article>"
    )


def _render_group(base: str, lines: Sequence[ReportRow]) -> str:
    head = f'<tr class="base"><th colspan="9" scope="rowgroup"><code>{escape(make_visible(base))}</code></th></tr>'
    return head + "".join(map(_render_row, lines))


def _render_row(line: ReportRow) -> str:
    marks = line.row.marks
    warned = f", warned: {escape(make_visible(', '.join(marks)))}" if marks else ""
    name = f'<th scope="row"><code>{escape(make_visible(line.label))}</code>{warned}</th>'
    return f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in format_numbers(line))}</tr>"


def _encode_json(value: Any) -> str:
    """Encode JSON without <, > and &, so that it cannot end its script element or open a comment in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _build_page_data(study: Study, reading: ReportCompletions) -> dict[str, Any]:
    prompts = [item.prompt or "" for item in reading.items]
    start = commonprefix(prompts)  # noqa: RUF071  of texts, not of paths
    items: dict[str, Any] = {
        "ids": [item.id for item in reading.items],
        "golds": [item.gold for item in reading.items],
        "questions": [item.question for item in reading.items] if reading.with_questions else None,
        "prompts": [prompt.removeprefix(start) for prompt in prompts],
        "start": start,  # worked examples, which every prompt has
        "solutions": [item.solution or "" for item in reading.items],
    }
    files = {line.path.name: index for index, line in enumerate(study.lines)}
    lines_with_answers = zip(study.lines, reading.answers, strict=True)
    rows = [_build_row_data(line, answers, files.get(line.home or "")) for line, answers in lines_with_answers]
    return {"items": items, "rows": rows, "pairs": _compare_all_pairs(study.lines)}


def _build_row_data(line: ReportRow, answers: GradedCompletions, base: int | None) -> dict[str, Any]:
    result = line.entry.result
    rules = sorted(set(answers.rules))
    return {
        "name": line.title,
        "group": line.group,
        "base": base,
        "bits": {kind: getattr(result.bits, kind) for kind in ("correct", "strict", "unread", "cut")},
        "read": answers.read,
        "rules": rules,
        "rule": [rules.index(rule) for rule in answers.rules],
    }


def _compare_all_pairs(lines: Sequence[ReportRow]) -> dict[str, Any]:
    """Return for each two rows the numbers of their difference and its outcomes; or why they are incomparable.

    The numbers are the difference in points, both ends of its 95 % interval and p, where that interval ends at 0; the
    outcomes are of the first row against the second, and of the second against the first.
    """
    pairs: dict[str, Any] = {}
    for (first_index, first), (second_index, second) in combinations(enumerate(lines), 2):
        reason = explain_incomparability(first.entry, second.entry)
        if reason is None:
            comparison, mirrored = (
                compare_entries(one.entry, other.entry) for one, other in permutations((first, second))
            )
            numbers = (100 * comparison.pairs.difference, 100 * comparison.interval.low, 100 * comparison.interval.high)
            pairs[f"{first_index}-{second_index}"] = [
                *(round(number, 6) for number in numbers),
                float(f"{comparison.p:.3g}"),
                comparison.outcome,
                mirrored.outcome,
            ]
        else:
            pairs[f"{first_index}-{second_index}"] = reason
    return pairs
