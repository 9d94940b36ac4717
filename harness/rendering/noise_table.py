"""Renders the noise section of a board's page: the noise floors, and the items that other settings flip."""

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
    "The same command, repeated. Between two rows of these settings, ignore a difference of fewer problems than the "
    "**floor**. Settings are listed where the records of a model differ, or where no row here has them."
)


def render_noise_table(noise: Sequence[NoiseRecord], board: Board) -> str:
    """Render one line for the newest record of each model and settings, then the items that flip between settings."""
    records = select_newest_records(noise)
    lines = [_row_cells(one, records, board) for one in records]
    parts = [_LEGEND, render_table(_COLUMNS, lines)]
    if settings_flips := find_settings_flips(records):
        parts.append("\n".join(map(_describe_settings_flips, settings_flips)))
    return "\n\n".join(parts)


def _row_cells(noise: NoiseRecord, records: Sequence[NoiseRecord], board: Board) -> Iterator[str]:
    (least, most), floor = noise.spread, compute_noise_floor(noise).least
    yield table_cell(noise.candidate)
    yield table_cell(noise.task.label)
    yield table_cell(f"{noise.engine.version}, {noise.provenance.device}")
    yield _describe_settings(noise, records, board)
    yield f"{len(noise.runs)}"
    yield f"{least:,}" if least == most else f"{least:,}–{most:,}"
    yield f"{100 * noise.flip_rate:.1f}"
    floor_text = f"{floor:,} of {noise.items:,} problems ({100 * floor / noise.items:.2f} points)"
    yield "none: every answer was equal in every token" if floor == 1 else floor_text


def _describe_settings(noise: NoiseRecord, records: Sequence[NoiseRecord], board: Board) -> str:
    """List the settings that differ among the model's records, and those that no row of the board has."""
    own_settings = noise.engine.settings
    others = [one.engine.settings for one in records if one.candidate == noise.candidate]
    shared = {pair for row in board.rows for pair in row.result.engine.settings.items()}
    alone = {pair for pair in own_settings.items() if board.rows and pair not in shared}
    unlike = {pair for pair in own_settings.items() if any(other.get(pair[0]) != pair[1] for other in others)}
    setting_texts = [
        table_cell(_format_setting(name, own_settings[name]))
        + (" (no row here)" if (name, own_settings[name]) in alone else "")
        for name in sorted({name for name, _ in alone | unlike})
    ]
    return ", ".join(setting_texts) or UNKNOWN_MARK


def _format_setting(name: str, value: object) -> str:
    return f"{name}={str(value).lower()}"


def _describe_settings_flips(settings_flips: SettingsFlips) -> str:
    """Describe on how many items two settings of one model disagree, and whether rounding may explain it."""
    first, second = settings_flips.first, settings_flips.second
    summary = (
        f"- Between {_describe_record(first, second)} ({first.runs[0].right:,} right) and "
        f"{_describe_record(second, first)} ({second.runs[0].right:,} right) {settings_flips.flips:,} problems of "
        f"{code_span(first.candidate)} flip, {settings_flips.lost:,} and {settings_flips.won:,}: "
    )
    if not settings_flips.even:
        return f"{summary}too uneven for rounding alone, so do not compare rows of one with rows of the other."
    points = 100 * settings_flips.least / first.items
    return (
        f"{summary}rounding may explain that, even where a repeated command gives equal answers. Between rows "
        f"of different settings, ignore less than {settings_flips.least:,} problems ({points:.2f} points)."
    )


def _describe_record(one: NoiseRecord, other: NoiseRecord) -> str:
    """Describe how one record differs from the other: version and device first, then settings."""
    places = (one.engine.version, other.engine.version), (one.provenance.device, other.provenance.device)
    parts = [str(mine) for mine, theirs in places if mine != theirs]
    mine, theirs = one.engine.settings, other.engine.settings
    parts += [_format_setting(name, mine[name]) for name in sorted(mine) if (name, mine[name]) not in theirs.items()]
    return ", ".join(map(code_span, parts)) or "the other's settings without them"
