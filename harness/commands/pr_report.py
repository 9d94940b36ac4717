"""`bench pr-report`: what a branch adds to the leaderboards, judged and told in one comment for its reviewer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.compare import (
    Comparison,
    classify_comparison,
    compare_entries,
    explain_incomparability,
    is_base,
)
from baseline_bench.analysis.differences import is_untrained, list_differences
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.core.command_options import datasets_option, leaderboards_option, option, own_tasks_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code_span
from baseline_bench.core.records import write_atomically
from baseline_bench.core.types import Step
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, comment
from baseline_bench.rendering.pr_model import (
    ItemExample,
    ProposedComparison,
    ProposedRetraction,
    ProposedRow,
    PullRequestReport,
)
from baseline_bench.results import entries, git_history
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import parse_steps
from baseline_bench.results.completions import CommittedCompletion, decompress_file
from baseline_bench.results.git_history import BoardChanges, BranchChanges

_MAX_EXAMPLES = 5
_LINK_PATTERN = re.compile(r"https?://[A-Za-z0-9._~:/%@-]+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to describe."""

    base: str = option("--base", "the branch that takes the pull request (default: %(default)s)", "REF", "origin/main")
    leaderboards: Path = leaderboards_option()
    out: Path | None = option("--out", "where the comment goes (default: stdout)", "FILE")
    link: str | None = option(
        "--link", "where files can be read, as https://github.com/owner/name/blob/COMMIT (default: no links)", "URL"
    )
    tasks: list[str] = own_tasks_option()
    mirror: Path | None = datasets_option()


@dataclass(frozen=True, slots=True)
class _UnadjustedComparison:
    """A new row and one that it is compared with, before anything is adjusted."""

    role: Literal["base", "incumbent"]
    against: Row
    found: Comparison


def run(options: Options, console: Console) -> int:
    """Write the comment. Faults of the board are told in it and do not change the exit status: the check's does.

    Raises:
        BenchError: no repository, no such base, no such folder, or a link that is none.
    """
    if options.link is not None and not _LINK_PATTERN.fullmatch(options.link):
        raise BenchError(
            f"{options.link!r} is no address", "give one such as https://github.com/owner/name/blob/COMMIT"
        )
    told = comment.render_comment(
        _build_report(
            options, git_history.find_branch_changes(options.leaderboards, options.base), _find_faults(options)
        )
    )
    if options.out is None:
        console.write(told)
    else:
        write_atomically(options.out, told.encode())
    return 0


def _build_report(options: Options, added: BranchChanges, faults: tuple[str, ...]) -> PullRequestReport:
    rows = [(stand, row) for stand in added.boards for row in _sort_rows(stand.new)]
    bouts = [_compare_row(stand, row) for stand, row in rows]
    p_values = [bout.found.p for of_row, _ in bouts for bout in of_row]
    adjusted = iter(holm_adjust(p_values))
    proposed = []
    for (stand, row), (of_row, remarks) in zip(rows, bouts, strict=True):
        contests = tuple(
            _build_comparison(options.leaderboards, added.commit, stand, row, (bout, next(adjusted))) for bout in of_row
        )
        proposed.append(
            ProposedRow(
                board=stand.name,
                row=row,
                contests=contests,
                remarks=tuple(remarks),
                steps=_read_steps(options.leaderboards / stand.name / row.file),
                changes=list_differences(row.entry, contests[-1].against.entry) if contests else (),
            )
        )
    return PullRequestReport(
        base=options.base,
        commit=added.commit,
        link=None if options.link is None else options.link.rstrip("/"),
        prefix=added.prefix,
        faults=faults,
        rows=tuple(proposed),
        retractions=tuple(ProposedRetraction(stand.name, one) for stand in added.boards for one in stand.retracted),
        unsound=sum(len(stand.unsound) for stand in added.boards),
    )


def _find_faults(options: Options) -> tuple[str, ...]:
    """The faults of `bench board --check --base`."""
    return tuple(
        map(str, checking.find_faults(options.leaderboards, Regrader(options.tasks, options.mirror), options.base))
    )


def _sort_rows(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.entry.result.candidate, row.entry.created, row.file))


def _compare_row(stand: BoardChanges, row: Row) -> tuple[list[_UnadjustedComparison], list[str]]:
    """What a new row is compared with, and why it is not compared with more."""
    if any(one.entry == row.file for one in stand.retracted):
        return [], ["retracted in this pull request, not judged"]
    own = row.entry.result.base_sha256
    if own is None and _is_reference_model(stand, row):
        return [], ["no candidate: the base of other rows, or scored before; shown in the table"]
    base, no_base = _find_base(stand, row, own)
    incumbent, no_incumbent = _find_incumbent(stand, row, own)
    pairs: list[tuple[Literal["base", "incumbent"], Row | None]] = [("base", base), ("incumbent", incumbent)]
    bouts = [
        _UnadjustedComparison(role, other, compare_entries(row.entry, other.entry, system=True))
        for role, other in pairs
        if other is not None
    ]
    return bouts, [why for why in (no_base, no_incumbent) if why is not None]


def _find_base(stand: BoardChanges, row: Row, own: str | None) -> tuple[Row | None, str | None]:
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
        name: [other for other in rows if classify_comparison(row.entry, other.entry).name == name]
        for name in ("comparable", "system comparison", "not comparable")
    }
    fit = by_kind["comparable"] or by_kind["system comparison"]
    if not fit:
        why = "; ".join(map(str, classify_comparison(row.entry, rows[-1].entry).differs))
        return None, f"**not comparable** with its base: {code_span(why)}"
    before = {other.file for other in stand.old}
    return max(fit, key=lambda other: (other.file in before, other.entry.created, other.file)), None


def _find_incumbent(stand: BoardChanges, row: Row, own: str | None) -> tuple[Row | None, str | None]:
    """The best full row of the same task at the merge-base that is comparable and stands, and why there is none."""
    if row.entry.result.selection.limit is not None:
        return None, "a partial run, so that it has no incumbent"
    gone = {one.entry for one in stand.withdrawn}
    mine = {own, _get_weights(row)} - {None}
    rows = [
        other
        for other in stand.old
        if other.entry.result.task.label == row.entry.result.task.label
        and other.entry.result.selection.limit is None
        and other.file not in gone
        and _get_weights(other) not in mine
    ]
    fit = [other for other in rows if explain_incomparability(row.entry, other.entry) is None]
    if not fit:
        why = "none is comparable" if rows else "there is none"
        return None, f"no incumbent: of the other full rows of its task at the merge-base {why}"
    return min(fit, key=lambda other: (-other.entry.result.counts.correct, other.entry.created, other.file)), None


def _is_reference_model(stand: BoardChanges, row: Row) -> bool:
    """The weights of this row are the base of a new row, or were on the board at the merge-base."""
    bases = {other.entry.result.base_sha256 for other in stand.new}
    known = {_get_weights(other) for other in stand.old}
    return is_untrained(row.entry) and _get_weights(row) is not None and _get_weights(row) in bases | known


def _get_weights(row: Row) -> str | None:
    return row.entry.result.model.weights_sha256


def _build_comparison(
    folder: Path, commit: str, stand: BoardChanges, row: Row, judged: tuple[_UnadjustedComparison, float]
) -> ProposedComparison:
    bout, p = judged
    try:
        now, then = (
            git_history.read_committed_completions(folder, commit, f"{stand.name}/{one.file}")
            for one in (row, bout.against)
        )
        gained, lost = _list_examples((row, bout.against), (now, then))
    except BenchError:  # of the row at the merge-base; the numbers stand without its answers
        gained, lost = (), ()
    return ProposedComparison(bout.role, bout.against, bout.found, p, gained, lost)


def _list_examples(
    rows: tuple[Row, Row], written: tuple[Sequence[CommittedCompletion], Sequence[CommittedCompletion]]
) -> tuple[tuple[ItemExample, ...], tuple[ItemExample, ...]]:
    """The first items that the first row gained, and those that it lost."""
    right = [hex_to_bits(row.entry.result.bits.correct, row.entry.result.counts.total) for row in rows]
    if [len(lines) for lines in written] != [len(bits) for bits in right]:
        return (), ()
    gained: list[ItemExample] = []
    lost: list[ItemExample] = []
    for now, then, one, other in zip(*written, *right, strict=True):
        if one != other:
            (gained if one else lost).append(ItemExample(now.id, now.gold, then.shown, now.shown))
    return tuple(gained[:_MAX_EXAMPLES]), tuple(lost[:_MAX_EXAMPLES])


def _read_steps(path: Path) -> tuple[Step, ...]:
    losses = entries.losses_path(path)
    return tuple(parse_steps(decompress_file(losses))) if losses.is_file() else ()
