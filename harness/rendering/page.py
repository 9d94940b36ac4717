"""Renders a board's page and the index of boards, as Markdown that no text in a record can break or decorate."""

from collections.abc import Iterator, Sequence
from math import ceil

from baseline_bench.analysis.board_comparisons import (
    ComparedBoard,
    RecipeSummary,
    measure_discordance,
    summarise_recipes,
)
from baseline_bench.analysis.statistics import DEFAULT_DISCORDANCE, resolvable_difference
from baseline_bench.core.findings import CODES
from baseline_bench.core.markup import code_span, table_cell
from baseline_bench.core.types import Sampling
from baseline_bench.rendering import row_tables
from baseline_bench.rendering.board_lines import fold_rows
from baseline_bench.rendering.formatting import SURVIVES_MARK, format_percent
from baseline_bench.rendering.noise_table import render_noise_table
from baseline_bench.results.board import Board, BoardTable, Row, build_tables, list_moved_rows, list_withdrawn_rows
from baseline_bench.results.entry import Result
from baseline_bench.results.foreign import ExternalResult, record_path
from baseline_bench.results.noise import NoiseRecord

MARKER = "<!-- Rendered by `bench board` from the entries. Never edited: change nothing here, run it again. -->"
_MAX_NAMES = 20
_HOW_TO_READ = """\
## How to read a row

1. **exact match**: problems whose answer, as read from the completion, equals the gold answer; Wilson's interval. \
**strict**: right and in the task's own format. **unread**: no answer was found. **cut**: ended at the token limit.
2. **against base**: points gained over the newest row of its base with the same prompts, engine, settings and \
device. It estimates the gain of these weights on problems like these. The 95 % interval decides: above 0 is ▲ better, \
below 0 is ▼ worse. If the recipe declares a margin, the 90 % interval decides against it: inside the margin on both \
sides is ≈ equivalent, only not worse by the margin is ≥ non-inferior. Everything else is ? inconclusive. A dash: the \
base has no such row.
3. Lines are sorted by name, not by rank; a name that begins with + continues that of the base above it. \
Inconclusive does not mean equal. One seed shows these weights, not their recipe. A line of several seeds shows their \
mean, with intervals over new training seeds and new problems; `bench compare recipe:A recipe:B` compares recipes. A \
line of checkpoints or older runs shows the newest row of the last step. Every single row is in the block below its \
table.
4. **prompt**: `template` is the model's own chat template, `text` is plain text. **tokens/s**, of single rows and in \
the CSV, is speed on that device and says nothing about quality.
5. **entry**: the row's record: one bit a problem, and every digest and setting. All completions are stored next to \
it. L0 to L3 say what somebody checked: L0 its numbers, L1 its judgements, L2 its completions token for token, L3 \
only that its score is within the noise of repeated runs.
"""
_SURVIVES_NOTE = """\
{mark} also holds among all {number:,} comparisons with bases on this board (p, where the interval ends at 0, is below \
0.05 after Holm)."""
_RECIPES_INTRO = "Recipes on problems like these; 95 % intervals over new training seeds and new problems:"
_EXTERNAL_RESULTS_INTRO = """\
## Results of other harnesses, not verified

As their files state them: with other prompts, readers and settings. They are compared with no row."""
_REGRADES_INTRO = """\
## Judged again by a newer reader

These rows have other judgements under the newest version of their task. Rows that are not listed keep every \
judgement. The entries and the tables above keep the judgements of their own version."""
_STORE_RULES = """\
Every run is one entry, `<board>/<date>-<candidate>-<hash of its content>.json`, with all its completions next to it. \
Entries are only added: `bench board --check --base REF` fails if one was changed, renamed or removed; `bench retract` \
withdraws a wrong one by a record that says why. The pages, tables and plots are rendered from \
the entries by `bench board`; after a merge conflict, run it again. This folder may grow to {budget}.
"""


def render_board_page(
    judged: ComparedBoard, noise: Sequence[NoiseRecord] = (), claims: str = "", elsewhere: Sequence[ExternalResult] = ()
) -> str:
    """Render the page of a board: a section for each version of its tasks, then claims, noise and withdrawn rows.

    Args:
        judged: the board, its rows compared with their bases.
        noise: the board's noise records.
        claims: the summary of the claims judged on this board, as Markdown without a heading.
        elsewhere: results of other harnesses.
    """
    board, withdrawn_rows = judged.board, list_withdrawn_rows(judged.board)
    parts = [MARKER, f"# {board.name}"]
    parts += [f"[Every row with all numbers]({board.name}.csv), as CSV."] if board.rows else []
    parts += [*(part for table in judged.tables for part in _render_section(judged, table))]
    parts += ["## Claims", claims] if claims else []
    parts += ["## Noise", render_noise_table(noise, board)] if noise else []
    if elsewhere:
        parts += [_EXTERNAL_RESULTS_INTRO, "\n".join(_render_external_result(one, board.name) for one in elsewhere)]
    if moved_rows := list_moved_rows(board):
        parts += [_REGRADES_INTRO, row_tables.render_moved_rows(board.name, moved_rows)]
    if withdrawn_rows:
        parts += ["## Superseded and retracted", row_tables.render_withdrawn_rows(board.name, withdrawn_rows)]
    rows = [row for table in judged.tables for row in table.rows]
    parts += [*explain_warnings(rows), *_explain_gaps(rows)]
    return "\n\n".join([*parts, _HOW_TO_READ])


def explain_warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line on the finding codes after "warned" and one on the advisories, each where a row has any."""
    codes = sorted({mark.partition(" ")[0] for row in rows for mark in row.result.marks})
    if codes:
        meanings = "; ".join(
            f"{code_span(code)}: {CODES[code][1] if code in CODES else 'of another version'}" for code in codes
        )
        yield f"**warned**: what the checks found; (accepted): scored although bench refuses it. {meanings}."
    affects = {advisory.id: advisory.affects for row in rows for advisory in row.advisories}
    if affects:
        meanings = "; ".join(f"{code_span(code)}: {code_span(text)}" for code, text in sorted(affects.items()))
        yield f"**advisories**: faults of earlier versions of bench that may have changed these rows. {meanings}."


def _explain_gaps(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line on rows whose model is known in part, and one on those whose logits nobody checked."""
    if any(row.result.model.is_partly_known for row in rows):
        yield (
            f"**model known in part** ({row_tables.PARTLY_KNOWN_MARK}): the entry does not hold every setting of the "
            "model that can move an answer, because it is older than that record or a server gave the answers."
        )
    checks = [row.result.checks for row in rows]
    if unchecked := sum(one is None or one.logits == "unchecked" for one in checks):
        yield (
            f"**logits unchecked**: for {unchecked:,} of the {len(rows):,} rows nobody saw whether all numbers that "
            "tokens were chosen by were finite: vLLM and servers do not show them, and older entries do not say."
        )


def _render_external_result(one: ExternalResult, board: str) -> str:
    """Render a result of another harness, with a list of what is not known about it."""
    score = f"{one.metric},{one.filter}"
    shots = "" if one.shots is None else f", {one.shots:,} shots"
    part = "" if one.total in (None, one.items) else f", a part of {one.total:,} problems"
    where = ", ".join(text for text in (one.engine, one.dtype, one.device) if text)
    right = f"{format_percent(one.right, one.items, 2)} % ({one.right:,} of {one.items:,}{part})"
    return (
        f"- {code_span(one.candidate)}: {right}, "
        f"{code_span(one.tool)}, {code_span(one.task)}{shots}, "
        f"{code_span(score)}{', ' + code_span(where) if where else ''}; not known: "
        f"{', '.join(one.unknown)}. [record]({board}/{record_path(one)})"
    )


def _render_section(judged: ComparedBoard, table: BoardTable) -> Iterator[str]:
    yield f"## {code_span(table.label)}"
    yield _describe_protocol(judged, table)
    if table.newer is not None:
        yield _list_incumbents_to_rescore(table)
    if table.full:
        yield from _render_full_rows(judged, table)
    if table.partial:
        yield "### Partial runs (not comparable with full ones)"
        shared = row_tables.find_shared_notes(judged, table.partial)
        yield row_tables.describe_shared_notes(shared)
        yield row_tables.render_partial_rows(judged, table.partial, shared)


def _render_full_rows(judged: ComparedBoard, table: BoardTable) -> Iterator[str]:
    """Render the full runs folded into lines, then every single one in a block that opens at a click."""
    name, lines = judged.board.name, fold_rows(judged, table)
    shared = row_tables.find_shared_notes(judged, table.full)
    if table.newer is None:
        yield f"![Exact match of each row with its 95 % interval, its base's as a band]({name}.svg)"
    yield row_tables.describe_shared_notes(shared)
    yield row_tables.render_lines(judged, lines, shared)
    if any(row.file in judged.against for row in table.full):
        yield _SURVIVES_NOTE.format(mark=SURVIVES_MARK, number=len(judged.against))
    if len(lines) < len(table.full):
        yield f"<details><summary>All {len(table.full):,} rows, and the seeds of each recipe</summary>"
        if recipe_lines := [_describe_recipe(recipe) for recipe in summarise_recipes(judged, table)]:
            yield "\n".join([_RECIPES_INTRO, "", *recipe_lines])
        yield row_tables.render_single_rows(judged, table.full, shared)
        yield "</details>"


def _describe_protocol(judged: ComparedBoard, table: BoardTable) -> str:
    result = table.rows[0].result
    bar = (
        ""
        if result.task.bar is None
        else "A problem counts as right, and as a match here, if its {} reaches {}. ".format(
            *map(code_span, result.task.bar)
        )
    )
    return bar + (
        f"{result.selection.total:,} problems, reader {code_span(result.task.reader)}, "
        f"{describe_sampling(result.sampling)}, at most "
        f"{result.sampling.max_tokens:,} tokens, protocol `{result.task.protocol_sha256[:12]}`. "
        f"{_describe_resolution(result, measure_discordance(judged, table))}"
    )


def describe_sampling(sampling: Sampling) -> str:
    """Describe in words how answers are sampled."""
    nucleus = "" if sampling.top_p is None else f", top_p {sampling.top_p:g}"
    description = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:.2f}{nucleus}"
    return (
        description if sampling.draws is None else f"{description}, {sampling.draws:,} draws a problem judged together"
    )


def _describe_resolution(result: Result, discordance: tuple[float, int] | None) -> str:
    share, pairs = discordance or (0.0, 0)
    disagreement = f"{100 * share:.1f} % of the problems"
    if share == 0:
        share = DEFAULT_DISCORDANCE
        reason = (
            "most rows here differ on none from their base"
            if pairs
            else "no row here has a base to say how many it really is"
        )
        disagreement = f"{100 * share:.0f} % of the problems; {reason}"
    elif pairs == 1:
        disagreement += ", as the one candidate here and its base do"
    else:
        disagreement += f", the median of the {pairs:,} candidates here against their bases"
    difference = resolvable_difference(result.selection.total, share)
    if difference is None:
        return (
            "Too few items to resolve any difference between two rows (80 % power, rows that disagree on "
            f"{disagreement})."
        )
    points = ceil(1000 * difference) / 10  # never rounded down: the power would be below 80 %
    return (
        f"Two full rows can resolve a difference of {points:.1f} points (80 % power at the 5 % level, rows "
        f"that disagree on {disagreement})."
    )


def _list_incumbents_to_rescore(table: BoardTable) -> str:
    newest = code_span(table.newer.label) if table.newer is not None else ""
    if not table.waiting:
        judged = "scored or judged again" if table.regraded else "scored"
        return f"An older version of the task: every candidate here is {judged} under {newest}."
    names = ", ".join(map(code_span, table.waiting[:_MAX_NAMES]))
    more = len(table.waiting) - _MAX_NAMES
    rest = f" and {more:,} more" if more > 0 else ""
    return f"An older version of the task. Incumbents to score again under {newest}: {names}{rest}."


def _describe_recipe(recipe: RecipeSummary) -> str:
    contrast = recipe.contrast
    against = "no comparable run of its base here"
    if contrast is not None:
        against = f"against its base {row_tables.format_comparison(contrast)}"
    return (
        f"- Recipe {code_span(recipe.name)} (`{recipe.digest[:12]}`) on {code_span(recipe.base)}, seeds "
        f"{', '.join(map(str, recipe.seeds))}: mean {100 * recipe.mean:.2f} %, {against}."
    )


def render_index(boards: Sequence[Board], budget: str) -> str:
    """Render the page that lists the boards and says how results are stored."""
    head = "|board|task|problems|full runs|partial runs|\n|---|---|---:|---:|---:|"
    lines = [line for board in sorted(boards, key=lambda board: board.name) for line in _index_lines(board)]
    listed = "\n".join([head, *lines]) if lines else "No runs yet."
    return "\n\n".join([MARKER, "# Leaderboards", listed, _STORE_RULES.format(budget=budget)])


def _index_lines(board: Board) -> Iterator[str]:
    if not (tables := build_tables(board)):
        reason = "every run is withdrawn" if board.rows else "results of other harnesses alone"
        yield f"|[{board.name}]({board.name}.md)|{reason}||0|0|"
    for table in tables:
        total = table.rows[0].result.selection.total
        yield (
            f"|[{board.name}]({board.name}.md)|{table_cell(table.label)}|{total:,}|{len(table.full):,}|"
            f"{len(table.partial):,}|"
        )
