"""One self-contained page of HTML: the deck's findings and figures, and every answer of every row to browse.

Nothing is fetched, and nothing from a model or a name is ever markup: texts written here are escaped, and those that
the script shows are set as text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

from baseline_bench.analysis.compare import ALPHA, compare_entries, explain_incomparability
from baseline_bench.analysis.statistics import wilson_interval
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible
from baseline_bench.rendering.report.answers import GradedCompletions, ReportCompletions
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.rendering.report.deck import NO_CHECKPOINTS, format_base_comparison, summarise_study
from baseline_bench.rendering.report.findings import ReportedClaim
from baseline_bench.rendering.report.safe_text import to_html

_HERE = Path(__file__).parent
_STYLE_PATTERN = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def render_page(
    study: Study, findings: Sequence[ReportedClaim], figures: Sequence[Figure], reading: ReportCompletions, again: str
) -> str:
    """The whole page; `again` is the command that makes it. It works from a file, without a network."""
    style = (_HERE / "page.css").read_text(encoding="utf-8") + _collect_style(figures)
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
        figures="".join(_render_figure(place, figure) for place, figure in enumerate(figures))
        + _explain_absent_figures(figures),
        table="".join(_render_group(base, lines) for base, lines in study.groups),
        questions="" if reading.with_questions else _QUESTIONS_OMITTED.format(name=escape(study.name)),
        again=escape(again),
        style=style,
        script=script,
        data=_encode_json(_build_page_data(study, reading)),
        packed="".join(_render_data_block(place, one) for place, one in enumerate(reading.answers)),
    )


_QUESTIONS_OMITTED = (
    '<p class="note">The questions are not part of this copy: the data set is not ours to hand on. '
    "<code>bench report {name} --datasets DIR</code>, DIR holding it in the hub's layout, makes a page with them.</p>"
)


def _hash_for_policy(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _collect_style(figures: Sequence[Figure]) -> str:
    """The style that the figures share, once, and only for what is drawn in them."""
    styles = dict.fromkeys(style for figure in figures for style in _STYLE_PATTERN.findall(figure.svg))
    return "".join(f"\n{style}" for style in styles)


def _render_figure(place: int, figure: Figure) -> str:
    svg = _STYLE_PATTERN.sub("", figure.svg)
    for part in ("title", "desc"):
        svg = svg.replace(f'<{part} id="{part}">', f'<{part} id="figure-{place}-{part}">', 1)
    svg = svg.replace('"title desc"', f'"figure-{place}-title figure-{place}-desc"', 1)
    return (
        f'<figure><h3>{to_html(figure.takeaway)}</h3><div class="scroll" tabindex="0">{svg}</div>'
        f"<figcaption>{to_html(figure.note)}</figcaption></figure>"
    )


def _explain_absent_figures(figures: Sequence[Figure]) -> str:
    drawn = {figure.file for figure in figures}
    return "" if "checkpoints.svg" in drawn else f'<p class="note">{escape(NO_CHECKPOINTS).replace("`", "")}</p>'


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
    counts = line.entry.result.counts
    low, high = wilson_interval(counts.correct, counts.total)
    cells = [f"{line.percent:.2f}", f"{100 * low:.1f}–{100 * high:.1f}", *format_base_comparison(line)]
    cells += [f"{100 * count / counts.total:.1f}" for count in (counts.strict, counts.unread, counts.cut)]
    cells.append(UNKNOWN_MARK if line.loss is None else f"{line.loss:.3f}")
    marks = line.entry.result.marks
    warned = f", warned: {escape(make_visible(', '.join(marks)))}" if marks else ""
    name = f'<th scope="row"><code>{escape(make_visible(line.label))}</code>{warned}</th>'
    return f"<tr>{name}{''.join(f'<td>{escape(one)}</td>' for one in cells)}</tr>"


def _render_data_block(place: int, answers: GradedCompletions) -> str:
    """A block of data, which no browser runs; base64 has no character that could end it."""
    return f'<script type="text/plain" id="packed-{place}">{base64.b64encode(answers.packed).decode()}</script>\n'


def _encode_json(value: Any) -> str:
    """JSON that cannot end its script element, nor open a comment in it: no <, > or & stands in it."""
    told = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _build_page_data(study: Study, reading: ReportCompletions) -> dict[str, Any]:
    items: dict[str, Any] = {
        "ids": [item.id for item in reading.items],
        "golds": [item.gold for item in reading.items],
        "questions": [item.question for item in reading.items] if reading.with_questions else None,
    }
    files = {line.path.name: place for place, line in enumerate(study.lines)}
    told = zip(study.lines, reading.answers, strict=True)
    rows = [_build_row_data(line, answers, files.get(line.home or "")) for line, answers in told]
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
    """For every two rows the difference in points, its interval and exact p; or why they cannot be compared."""
    told: dict[str, Any] = {}
    for (one, first), (other, second) in combinations(enumerate(lines), 2):
        why = explain_incomparability(first.entry, second.entry)
        if why is None:
            found = compare_entries(first.entry, second.entry)
            numbers = (100 * found.pairs.difference, 100 * found.interval.low, 100 * found.interval.high)
            told[f"{one}-{other}"] = [*(round(number, 6) for number in numbers), round_p_value(found.p)]
        else:
            told[f"{one}-{other}"] = why
    return told


def round_p_value(p: float) -> float:
    """Three digits, on the same side of 5 % as the p value: the page's verdict for two rows is read off them."""
    told = float(f"{p:.3g}")
    return told if (told < ALPHA) == (p < ALPHA) else 0.0499
