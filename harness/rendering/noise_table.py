"""What repeated runs say on a board's page: under which differences nothing is told, and what other settings move."""

from collections.abc import Iterator, Sequence

from baseline_bench.analysis.noise import Apart, apart, floor, newest
from baseline_bench.core.markup import UNKNOWN, cell, code
from baseline_bench.rendering.formatting import LEFT, RIGHT, written
from baseline_bench.results.board import Board
from baseline_bench.results.noise import Noise

_COLUMNS = (("model", LEFT), ("task", LEFT), ("engine, device", LEFT), ("settings", LEFT),
            ("runs", RIGHT), ("right", RIGHT), ("flipped %", RIGHT), ("floor", LEFT))  # fmt: skip
_LEGEND = (
    "The same command, given again. A difference of fewer items than its **floor** means nothing between two rows of "
    "those settings. Settings are told where the records of a model differ, or no row here shares them."
)


def floors(noise: Sequence[Noise], board: Board) -> str:
    """The newest record of each model and settings as a line of a table, then what moved between unlike settings."""
    records = newest(noise)
    lines = [_line(one, records, board) for one in records]
    parts = [_LEGEND, written(_COLUMNS, lines)]
    parts += ["\n".join(map(_apart, found))] if (found := apart(records)) else []
    return "\n\n".join(parts)


def _line(noise: Noise, records: Sequence[Noise], board: Board) -> Iterator[str]:
    (least, most), beyond = noise.spread, floor(noise).least
    yield cell(noise.candidate)
    yield cell(noise.task.label)
    yield cell(f"{noise.engine.version}, {noise.provenance.device}")
    yield _settings(noise, records, board)
    yield f"{len(noise.runs)}"
    yield f"{least:,}" if least == most else f"{least:,}–{most:,}"
    yield f"{100 * noise.flip_rate:.1f}"
    told = f"{beyond:,} of {noise.items:,} items ({100 * beyond / noise.items:.2f} points)"
    yield "none: every answer was equal in every token" if beyond == 1 else told


def _settings(noise: Noise, records: Sequence[Noise], board: Board) -> str:
    """The settings that tell a record from the others of its model, and those that no row of the board shares."""
    mine = noise.engine.settings
    others = [one.engine.settings for one in records if one.candidate == noise.candidate]
    shared = {pair for row in board.rows for pair in row.result.engine.settings.items()}
    alone = {pair for pair in mine.items() if board.rows and pair not in shared}
    unlike = {pair for pair in mine.items() if any(other.get(pair[0]) != pair[1] for other in others)}
    told = [
        cell(_setting(name, mine[name])) + (" (no row here)" if (name, mine[name]) in alone else "")
        for name in sorted({name for name, _ in alone | unlike})
    ]
    return ", ".join(told) or UNKNOWN


def _setting(name: str, value: object) -> str:
    return f"{name}={str(value).lower()}"


def _apart(found: Apart) -> str:
    """Two settings that ask a model for the same, and how many items they do not agree on."""
    one, other = found.first, found.second
    told = (
        f"- Between {_side(one, other)} ({one.runs[0].right:,} right) and {_side(other, one)} "
        f"({other.runs[0].right:,} right) {found.flips:,} items of {code(one.candidate)} flip, {found.lost:,} and "
        f"{found.won:,}: "
    )
    if not found.even:
        return f"{told}too uneven for rounding alone, so rows of the one and of the other are no measure of each other."
    points = 100 * found.least / one.items
    return (
        f"{told}what rounding may decide, also where a command repeats itself. Between rows of unlike settings a "
        f"difference of fewer than {found.least:,} items ({points:.2f} points) may be no more than that."
    )


def _side(one: Noise, other: Noise) -> str:
    """What one record has that the other has not, its version and device first."""
    places = (one.engine.version, other.engine.version), (one.provenance.device, other.provenance.device)
    told = [str(mine) for mine, theirs in places if mine != theirs]
    mine, theirs = one.engine.settings, other.engine.settings
    told += [_setting(name, mine[name]) for name in sorted(mine) if (name, mine[name]) not in theirs.items()]
    return ", ".join(map(code, told)) or "the other's settings without them"
