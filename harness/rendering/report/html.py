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

from baseline_bench.analysis.compare import ALPHA, comparable, compare
from baseline_bench.analysis.statistics import wilson
from baseline_bench.core.markup import UNKNOWN, visible
from baseline_bench.rendering.report.answers import Answers, Reading
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.data import Line, Study
from baseline_bench.rendering.report.deck import NO_CHECKPOINTS, against_base, answer
from baseline_bench.rendering.report.findings import Finding
from baseline_bench.rendering.report.safe_text import html

_HERE = Path(__file__).parent
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def page(study: Study, findings: Sequence[Finding], figures: Sequence[Figure], reading: Reading, again: str) -> str:
    """The whole page; `again` is the command that makes it. It works from a file, without a network."""
    style = (_HERE / "page.css").read_text(encoding="utf-8") + _style_of(figures)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=f"default-src 'none'; style-src '{_sha(style)}'; script-src '{_sha(script)}'; base-uri 'none'; "
        "form-action 'none'",
        title=escape(f"{study.name} · {visible(study.label)}"),
        heading=escape(study.name),
        task=escape(visible(study.label)),
        items=f"{len(reading.items):,}",
        measure=study.measure,
        rows=len(study.lines),
        answer="".join(f"<li>{html(sentence)}</li>" for sentence in answer(study, findings)),
        findings="".join(map(_finding, findings)) or "<p>No claims file was judged.</p>",
        figures="".join(_figure(place, figure) for place, figure in enumerate(figures)) + _absent(figures),
        table="".join(_group(base, lines) for base, lines in study.groups),
        questions="" if reading.with_questions else _WITHOUT.format(name=escape(study.name)),
        again=escape(again),
        style=style,
        script=script,
        data=_json(_data(study, reading)),
        packed="".join(_packed(place, one) for place, one in enumerate(reading.answers)),
    )


_WITHOUT = (
    '<p class="note">The questions are not part of this copy: the data set is not ours to hand on. '
    "<code>bench report {name} --datasets DIR</code>, DIR holding it in the hub's layout, makes a page with them.</p>"
)


def _sha(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _style_of(figures: Sequence[Figure]) -> str:
    """The style that the figures share, once, and only for what is drawn in them."""
    styles = dict.fromkeys(style for figure in figures for style in _STYLE.findall(figure.svg))
    return "".join(f"\n{style}" for style in styles)


def _figure(place: int, figure: Figure) -> str:
    svg = _STYLE.sub("", figure.svg)
    for part in ("title", "desc"):
        svg = svg.replace(f'<{part} id="{part}">', f'<{part} id="figure-{place}-{part}">', 1)
    svg = svg.replace('"title desc"', f'"figure-{place}-title figure-{place}-desc"', 1)
    return (
        f'<figure><h3>{html(figure.takeaway)}</h3><div class="scroll" tabindex="0">{svg}</div>'
        f"<figcaption>{html(figure.note)}</figcaption></figure>"
    )


def _absent(figures: Sequence[Figure]) -> str:
    drawn = {figure.file for figure in figures}
    return "" if "checkpoints.svg" in drawn else f'<p class="note">{escape(NO_CHECKPOINTS).replace("`", "")}</p>'


def _finding(finding: Finding) -> str:
    lines = "".join(f"<li>{html(line)}</li>" for line in finding.evidence)
    return (
        f'<article class="finding {finding.kind}"><p class="badge">{html(finding.verdict)}</p>'
        f"<h3>{html(finding.hypothesis)}</h3><p>{html(finding.published)}</p>"
        f"<details><summary>Evidence</summary><ul>{lines}</ul></details></article>"
    )


def _group(base: str, lines: Sequence[Line]) -> str:
    head = f'<tr class="base"><th colspan="9" scope="rowgroup"><code>{escape(visible(base))}</code></th></tr>'
    return head + "".join(map(_row, lines))


def _row(line: Line) -> str:
    counts = line.entry.result.counts
    low, high = wilson(counts.correct, counts.total)
    cells = [f"{line.percent:.2f}", f"{100 * low:.1f}–{100 * high:.1f}", *against_base(line)]
    cells += [f"{100 * count / counts.total:.1f}" for count in (counts.strict, counts.unread, counts.cut)]
    cells.append(UNKNOWN if line.loss is None else f"{line.loss:.3f}")
    marks = line.entry.result.marks
    warned = f", warned: {escape(visible(', '.join(marks)))}" if marks else ""
    name = f'<th scope="row"><code>{escape(visible(line.label))}</code>{warned}</th>'
    return f"<tr>{name}{''.join(f'<td>{escape(one)}</td>' for one in cells)}</tr>"


def _packed(place: int, answers: Answers) -> str:
    """A block of data, which no browser runs; base64 has no character that could end it."""
    return f'<script type="text/plain" id="packed-{place}">{base64.b64encode(answers.packed).decode()}</script>\n'


def _json(value: Any) -> str:
    """JSON that cannot end its script element, nor open a comment in it: no <, > or & stands in it."""
    told = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(study: Study, reading: Reading) -> dict[str, Any]:
    items: dict[str, Any] = {
        "ids": [item.id for item in reading.items],
        "golds": [item.gold for item in reading.items],
        "questions": [item.question for item in reading.items] if reading.with_questions else None,
    }
    files = {line.path.name: place for place, line in enumerate(study.lines)}
    told = zip(study.lines, reading.answers, strict=True)
    rows = [_row_data(line, answers, files.get(line.home or "")) for line, answers in told]
    return {"items": items, "rows": rows, "pairs": _pairs(study.lines)}


def _row_data(line: Line, answers: Answers, base: int | None) -> dict[str, Any]:
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


def _pairs(lines: Sequence[Line]) -> dict[str, Any]:
    """For every two rows the difference in points, its interval and exact p; or why they cannot be compared."""
    told: dict[str, Any] = {}
    for (one, first), (other, second) in combinations(enumerate(lines), 2):
        why = comparable(first.entry, second.entry)
        if why is None:
            found = compare(first.entry, second.entry)
            numbers = (100 * found.pairs.difference, 100 * found.interval.low, 100 * found.interval.high)
            told[f"{one}-{other}"] = [*(round(number, 6) for number in numbers), rounded(found.p)]
        else:
            told[f"{one}-{other}"] = why
    return told


def rounded(p: float) -> float:
    """Three digits, on the same side of 5 % as the p value: the page's verdict for two rows is read off them."""
    told = float(f"{p:.3g}")
    return told if (told < ALPHA) == (p < ALPHA) else 0.0499
