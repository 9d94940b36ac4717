"""`bench pr-report`: what a branch adds to the leaderboards, judged and told in one comment for its reviewer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.compare import Comparison, comparable, compare, is_base, kind
from baseline_bench.analysis.differences import differences, untrained
from baseline_bench.analysis.multiple_testing import holm
from baseline_bench.core.display import Screen
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code
from baseline_bench.core.records import replace_file
from baseline_bench.core.types import Step
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, comment
from baseline_bench.rendering.pr_model import Contest, Example, Proposed, Report, Withdrawn
from baseline_bench.results import entries, git_history
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import steps
from baseline_bench.results.completions import CommittedCompletion, read_lines
from baseline_bench.results.git_history import Additions, Stand

_EXAMPLES = 5
_LINK = re.compile(r"https?://[A-Za-z0-9._~:/%@-]+")


@dataclass(frozen=True, slots=True)
class Order:
    """What to report.

    Attributes:
        base: the ref that the branch is to be merged into.
        out: the file that takes the comment; None for stdout.
        link: where the repository's files can be read at the head's commit, or None.
        tasks: files of tasks that are none of ours, for the check.
        mirror: a folder of data sets, for the check.
    """

    leaderboards: Path
    base: str
    out: Path | None
    link: str | None
    tasks: list[str]
    mirror: Path | None


@dataclass(frozen=True, slots=True)
class _Bout:
    """A new row and one that it is compared with, before anything is adjusted."""

    role: Literal["base", "incumbent"]
    against: Row
    found: Comparison


def pr_report(order: Order, screen: Screen) -> int:
    """Write the comment. Faults of the board are told in it and do not change the exit status: the check's does.

    Raises:
        BenchError: no repository, no such base, no such folder, or a link that is none.
    """
    if order.link is not None and not _LINK.fullmatch(order.link):
        raise BenchError(f"{order.link!r} is no address", "give one such as https://github.com/owner/name/blob/COMMIT")
    told = comment.render(_report(order, git_history.since(order.leaderboards, order.base), _faults(order)))
    if order.out is None:
        screen.write(told)
    else:
        replace_file(order.out, told.encode())
    return 0


def _report(order: Order, added: Additions, faults: tuple[str, ...]) -> Report:
    rows = [(stand, row) for stand in added.boards for row in _ordered(stand.new)]
    bouts = [_bouts(stand, row) for stand, row in rows]
    p_values = [bout.found.p for of_row, _ in bouts for bout in of_row]
    adjusted = iter(holm(p_values))
    proposed = []
    for (stand, row), (of_row, remarks) in zip(rows, bouts, strict=True):
        contests = tuple(
            _contest(order.leaderboards, added.commit, stand, row, (bout, next(adjusted))) for bout in of_row
        )
        proposed.append(
            Proposed(
                board=stand.name,
                row=row,
                contests=contests,
                remarks=tuple(remarks),
                steps=_steps(order.leaderboards / stand.name / row.file),
                changes=differences(row.entry, contests[-1].against.entry) if contests else (),
            )
        )
    return Report(
        base=order.base,
        commit=added.commit,
        link=None if order.link is None else order.link.rstrip("/"),
        prefix=added.prefix,
        faults=faults,
        rows=tuple(proposed),
        retractions=tuple(Withdrawn(stand.name, one) for stand in added.boards for one in stand.retracted),
        unsound=sum(len(stand.unsound) for stand in added.boards),
    )


def _faults(order: Order) -> tuple[str, ...]:
    """The faults of `bench board --check --base`."""
    return tuple(map(str, checking.check(order.leaderboards, Regrader(order.tasks, order.mirror), order.base)))


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.entry.result.candidate, row.entry.created, row.file))


def _bouts(stand: Stand, row: Row) -> tuple[list[_Bout], list[str]]:
    """What a new row is compared with, and why it is not compared with more."""
    if any(one.entry == row.file for one in stand.retracted):
        return [], ["retracted in this pull request, not judged"]
    own = row.entry.result.base_sha256
    if own is None and _is_reference(stand, row):
        return [], ["no candidate: the base of other rows, or scored before; shown in the table"]
    base, no_base = _base(stand, row, own)
    incumbent, no_incumbent = _incumbent(stand, row, own)
    pairs: list[tuple[Literal["base", "incumbent"], Row | None]] = [("base", base), ("incumbent", incumbent)]
    bouts = [
        _Bout(role, other, compare(row.entry, other.entry, system=True)) for role, other in pairs if other is not None
    ]
    return bouts, [why for why in (no_base, no_incumbent) if why is not None]


def _base(stand: Stand, row: Row, own: str | None) -> tuple[Row | None, str | None]:
    """The newest row of the weights that this one was trained from, and why there is none.

    A comparable one, or else one that makes a system comparison; of the merge-base, or else of the pull request.
    """
    if own is None:
        return None, "not trained here, so that no base is known"
    gone = {one.entry for one in (*stand.withdrawn, *stand.retracted)}
    rows = [other for other in (*stand.old, *stand.new) if is_base(other.entry, row.entry) and other.file not in gone]
    if not rows:
        return None, "no row of its base on the board: score it with `bench score RUN --with-base`"
    by_kind = {
        name: [other for other in rows if kind(row.entry, other.entry).name == name]
        for name in ("comparable", "system comparison", "not comparable")
    }
    fit = by_kind["comparable"] or by_kind["system comparison"]
    if not fit:
        why = "; ".join(map(str, kind(row.entry, rows[-1].entry).differs))
        return None, f"**not comparable** with its base: {code(why)}"
    before = {other.file for other in stand.old}
    return max(fit, key=lambda other: (other.file in before, other.entry.created, other.file)), None


def _incumbent(stand: Stand, row: Row, own: str | None) -> tuple[Row | None, str | None]:
    """The best full row of the same task at the merge-base that is comparable and stands, and why there is none."""
    if row.entry.result.selection.limit is not None:
        return None, "a partial run, so that it has no incumbent"
    gone = {one.entry for one in stand.withdrawn}
    mine = {own, _weights(row)} - {None}
    rows = [
        other
        for other in stand.old
        if other.entry.result.task.label == row.entry.result.task.label
        and other.entry.result.selection.limit is None
        and other.file not in gone
        and _weights(other) not in mine
    ]
    fit = [other for other in rows if comparable(row.entry, other.entry) is None]
    if not fit:
        why = "none is comparable" if rows else "there is none"
        return None, f"no incumbent: of the other full rows of its task at the merge-base {why}"
    return min(fit, key=lambda other: (-other.entry.result.counts.correct, other.entry.created, other.file)), None


def _is_reference(stand: Stand, row: Row) -> bool:
    """The weights of this row are the base of a new row, or were on the board at the merge-base."""
    bases = {other.entry.result.base_sha256 for other in stand.new}
    known = {_weights(other) for other in stand.old}
    return untrained(row.entry) and _weights(row) is not None and _weights(row) in bases | known


def _weights(row: Row) -> str | None:
    return row.entry.result.model.weights_sha256


def _contest(folder: Path, commit: str, stand: Stand, row: Row, judged: tuple[_Bout, float]) -> Contest:
    bout, p = judged
    try:
        now, then = (git_history.answers(folder, commit, f"{stand.name}/{one.file}") for one in (row, bout.against))
        gained, lost = _moved((row, bout.against), (now, then))
    except BenchError:  # of the row at the merge-base; the numbers stand without its answers
        gained, lost = (), ()
    return Contest(bout.role, bout.against, bout.found, p, gained, lost)


def _moved(
    rows: tuple[Row, Row], written: tuple[Sequence[CommittedCompletion], Sequence[CommittedCompletion]]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The first items that the first row gained, and those that it lost."""
    right = [hex_to_bits(row.entry.result.bits.correct, row.entry.result.counts.total) for row in rows]
    if [len(lines) for lines in written] != [len(bits) for bits in right]:
        return (), ()
    gained: list[Example] = []
    lost: list[Example] = []
    for now, then, one, other in zip(*written, *right, strict=True):
        if one != other:
            (gained if one else lost).append(Example(now.id, now.gold, then.shown, now.shown))
    return tuple(gained[:_EXAMPLES]), tuple(lost[:_EXAMPLES])


def _steps(path: Path) -> tuple[Step, ...]:
    losses = entries.losses_path(path)
    return tuple(steps(read_lines(losses))) if losses.is_file() else ()
