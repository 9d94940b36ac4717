"""What repeated runs say on a board's page: under which differences nothing is told, and what other settings move."""

from collections.abc import Iterator, Sequence

from baseline_bench.analysis.noise import SettingsFlips, compute_noise_floor, find_settings_flips, select_newest_records
from baseline_bench.core.markup import UNKNOWN_MARK, code_span, table_cell
from baseline_bench.rendering.formatting import ALIGN_LEFT, ALIGN_RIGHT, render_table
from baseline_bench.results.board import Board
from baseline_bench.results.noise import NoiseRecord

_TEXT_COLUMNS = ("model", "task", "engine, device", "settings")
_COLUMNS = (
    *((name, ALIGN_LEFT) for name in _TEXT_COLUMNS),
    *((name, ALIGN_RIGHT) for name in ("runs", "right", "flipped %")),
    ("floor", ALIGN_LEFT),
)
_LEGEND = (
    "The same command, given again. A difference of fewer items than its **floor** means nothing between two rows of "
    "those settings. Settings are told where the records of a model differ, or no row here shares them."
)


def render_noise_table(noise: Sequence[NoiseRecord], board: Board) -> str:
    """The newest record of each model and settings as a line of a table, then what moved between unlike settings."""
    records = select_newest_records(noise)
    lines = [_row_cells(one, records, board) for one in records]
    parts = [_LEGEND, render_table(_COLUMNS, lines)]
    parts += ["\n".join(map(_describe_settings_flips, found))] if (found := find_settings_flips(records)) else []
    return "\n\n".join(parts)


def _row_cells(noise: NoiseRecord, records: Sequence[NoiseRecord], board: Board) -> Iterator[str]:
    (least, most), beyond = noise.spread, compute_noise_floor(noise).least
    yield table_cell(noise.candidate)
    yield table_cell(noise.task.label)
    yield table_cell(f"{noise.engine.version}, {noise.provenance.device}")
    yield _describe_settings(noise, records, board)
    yield f"{len(noise.runs)}"
    yield f"{least:,}" if least == most else f"{least:,}–{most:,}"
    yield f"{100 * noise.flip_rate:.1f}"
    told = f"{beyond:,} of {noise.items:,} items ({100 * beyond / noise.items:.2f} points)"
    yield "none: every answer was equal in every token" if beyond == 1 else told


def _describe_settings(noise: NoiseRecord, records: Sequence[NoiseRecord], board: Board) -> str:
    """The settings that tell a record from the others of its model, and those that no row of the board shares."""
    mine = noise.engine.settings
    others = [one.engine.settings for one in records if one.candidate == noise.candidate]
    shared = {pair for row in board.rows for pair in row.result.engine.settings.items()}
    alone = {pair for pair in mine.items() if board.rows and pair not in shared}
    unlike = {pair for pair in mine.items() if any(other.get(pair[0]) != pair[1] for other in others)}
    told = [
        table_cell(_format_setting(name, mine[name])) + (" (no row here)" if (name, mine[name]) in alone else "")
        for name in sorted({name for name, _ in alone | unlike})
    ]
    return ", ".join(told) or UNKNOWN_MARK


def _format_setting(name: str, value: object) -> str:
    return f"{name}={str(value).lower()}"


def _describe_settings_flips(found: SettingsFlips) -> str:
    """Two settings that ask a model for the same, and how many items they do not agree on."""
    one, other = found.first, found.second
    told = (
        f"- Between {_describe_record(one, other)} ({one.runs[0].right:,} right) and {_describe_record(other, one)} "
        f"({other.runs[0].right:,} right) {found.flips:,} items of {code_span(one.candidate)} flip, {found.lost:,} and "
        f"{found.won:,}: "
    )
    if not found.even:
        return f"{told}too uneven for rounding alone, so rows of the one and of the other are no measure of each other."
    points = 100 * found.least / one.items
    return (
        f"{told}what rounding may decide, also where a command repeats itself. Between rows of unlike settings a "
        f"difference of fewer than {found.least:,} items ({points:.2f} points) may be no more than that."
    )


def _describe_record(one: NoiseRecord, other: NoiseRecord) -> str:
    """What one record has that the other has not, its version and device first."""
    places = (one.engine.version, other.engine.version), (one.provenance.device, other.provenance.device)
    told = [str(mine) for mine, theirs in places if mine != theirs]
    mine, theirs = one.engine.settings, other.engine.settings
    told += [_format_setting(name, mine[name]) for name in sorted(mine) if (name, mine[name]) not in theirs.items()]
    return ", ".join(map(code_span, told)) or "the other's settings without them"
