"""`bench pr-report`: describe and judge what a branch adds to the leaderboards, in one comment for its reviewer.

Better and worse are adjusted by Holm's method over the p values of all comparisons of the pull request.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.compare import classify_comparison, compare_entries, explain_incomparability, is_base
from baseline_bench.analysis.differences import is_untrained, list_differences
from baseline_bench.analysis.item_changes import EntryCompletions, iterate_changed_items
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.core.command_options import datasets_option, leaderboards_option, option, own_tasks_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code_span
from baseline_bench.core.records import write_atomically
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, comment
from baseline_bench.rendering.pr_model import ProposedComparison, ProposedRow, PullRequestReport
from baseline_bench.rendering.report.data import read_steps
from baseline_bench.results import entries, git_history
from baseline_bench.results.board import Row
from baseline_bench.results.git_history import BoardChanges, BranchChanges

_MAX_EXAMPLES = 5
_LINK_PATTERN = re.compile(r"https?://[A-Za-z0-9._~:/%@-]+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The branch to compare with, and where the comment goes."""

    base: str = option("--base", "the branch that takes the pull request (default: %(default)s)", "REF", "origin/main")
    leaderboards: Path = leaderboards_option()
    out: Path | None = option("--out", "where the comment goes (default: stdout)", "FILE")
    link: str | None = option(
        "--link", "where files can be read, as https://github.com/owner/name/blob/COMMIT (default: no links)", "URL"
    )
    tasks: list[str] = own_tasks_option()
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Write the comment. It lists the board's faults, which leave the exit status alone: `bench board --check` sets it.

    Raises:
        BenchError: no repository, no such base, no such folder, or an invalid link.
    """
    if options.link is not None and not _LINK_PATTERN.fullmatch(options.link):
        raise BenchError(
            f"{options.link!r} is no address", "give one such as https://github.com/owner/name/blob/COMMIT"
        )
    console.say(f"checking what this branch adds to {options.leaderboards} since {options.base}")
    changes = git_history.find_branch_changes(options.leaderboards, options.base)
    faults = checking.find_faults(options.leaderboards, Regrader(options.tasks, options.mirror), options.base)
    text = comment.render_comment(_build_report(options, changes, tuple(map(str, faults))))
    if options.out is None:
        console.write(text)
    else:
        write_atomically(options.out, text.encode())
    return 0


def _build_report(options: Options, changes: BranchChanges, faults: tuple[str, ...]) -> PullRequestReport:
    rows = [
        (board, row)
        for board in changes.boards
        for row in sorted(board.new, key=lambda row: (row.result.candidate, row.entry.created, row.file))
    ]
    comparisons = [_compare_row(board, row) for board, row in rows]
    p_values = [comparison.found.p for of_row, _ in comparisons for comparison in of_row]
    adjusted = iter(holm_adjust(p_values))
    proposed = []
    for (board, row), (of_row, remarks) in zip(rows, comparisons, strict=True):
        adjusted_comparisons = tuple(
            _add_examples(options.leaderboards, changes.commit, board, row, replace(comparison, p=next(adjusted)))
            for comparison in of_row
        )
        proposed.append(
            ProposedRow(
                board=board.name,
                row=row,
                contests=adjusted_comparisons,
                remarks=tuple(remarks),
                steps=read_steps(options.leaderboards / board.name / row.file, row.entry),
                changes=list_differences(row.entry, adjusted_comparisons[-1].against.entry)
                if adjusted_comparisons
                else (),
                has_losses_file=entries.losses_path(options.leaderboards / board.name / row.file).is_file(),
            )
        )
    return PullRequestReport(
        base=options.base,
        commit=changes.commit,
        link=None if options.link is None else options.link.rstrip("/"),
        prefix=changes.prefix,
        faults=faults,
        rows=tuple(proposed),
        retractions=tuple((board.name, retraction) for board in changes.boards for retraction in board.retracted),
        unsound=sum(len(board.unsound) for board in changes.boards),
    )


def _compare_row(board: BoardChanges, row: Row) -> tuple[list[ProposedComparison], list[str]]:
    """Compare a new row with its base and the incumbent, p unadjusted; explain comparisons that are not made."""
    if any(retraction.entry == row.file for retraction in board.retracted):
        return [], ["retracted in this pull request, not judged"]
    if row.result.base is None and _is_reference_model(board, row):
        return [], ["no candidate: the base of other rows, or scored before; shown in the table"]
    base, no_base = _find_base(board, row)
    incumbent, no_incumbent = _find_incumbent(board, row)
    pairs: list[tuple[Literal["base", "incumbent"], Row | None]] = [("base", base), ("incumbent", incumbent)]
    comparisons = []
    for role, other in pairs:
        if other is not None:
            found = compare_entries(row.entry, other.entry, system=True)
            comparisons.append(ProposedComparison(role, other, found, found.p))
    return comparisons, [reason for reason in (no_base, no_incumbent) if reason is not None]


def _find_base(board: BoardChanges, row: Row) -> tuple[Row | None, str | None]:
    """Return the newest row of the model that this one was trained from, or why there is none.

    Prefer a comparable row to a system comparison, then a row of the merge-base to one of the pull request.
    """
    if row.result.base is None:
        return None, "not trained here, so that no base is known"
    retracted_files = {retraction.entry for retraction in (*board.withdrawn, *board.retracted)}
    rows = [
        other
        for other in (*board.old, *board.new)
        if is_base(other.entry, row.entry) and other.file not in retracted_files
    ]
    if not rows:
        return None, "no row of its base on the board: score it with `bench score RUN --with-base`"
    kinds = [classify_comparison(row.entry, other.entry) for other in rows]
    kind = next((name for name in ("comparable", "system comparison") if name in [one.name for one in kinds]), None)
    if kind is None:
        return None, f"**not comparable** with its base: {code_span('; '.join(map(str, kinds[-1].differs)))}"
    comparable = [other for other, one in zip(rows, kinds, strict=True) if one.name == kind]
    old_files = {other.file for other in board.old}
    return max(comparable, key=lambda other: (other.file in old_files, other.entry.created, other.file)), None


def _find_incumbent(board: BoardChanges, row: Row) -> tuple[Row | None, str | None]:
    """Return the best comparable full row of the task that counts at the merge-base, or why there is none."""
    if row.result.selection.limit is not None:
        return None, "a partial run, so that it has no incumbent"
    retracted_files = {retraction.entry for retraction in board.withdrawn}
    own_weights = {row.result.base_sha256, _get_weights(row)} - {None}
    rows = [
        other
        for other in board.old
        if other.result.task.label == row.result.task.label
        and other.result.selection.limit is None
        and other.file not in retracted_files
        and _get_weights(other) not in own_weights
    ]
    comparable = [other for other in rows if explain_incomparability(row.entry, other.entry) is None]
    if not comparable:
        reason = "none is comparable" if rows else "there is none"
        return None, f"no incumbent: of the other full rows of its task at the merge-base {reason}"
    return min(comparable, key=lambda other: (-other.result.counts.correct, other.entry.created, other.file)), None


def _is_reference_model(board: BoardChanges, row: Row) -> bool:
    """Tell whether a row's model is the base of a new row, or was on the board at the merge-base."""
    known = [*(other.result.base for other in board.new), *(other.result.model.key for other in board.old)]
    return is_untrained(row.entry) and any(key is not None and key.matches(row.result.model.key) for key in known)


def _get_weights(row: Row) -> str | None:
    return row.result.model.weights_sha256


def _add_examples(
    folder: Path, commit: str, board: BoardChanges, row: Row, comparison: ProposedComparison
) -> ProposedComparison:
    try:
        new, old = (
            EntryCompletions(
                compared.entry, git_history.read_committed_completions(folder, commit, board.name, compared)
            )
            for compared in (row, comparison.against)
        )
    except BenchError:  # of the row at the merge-base; the numbers do not need its answers
        return comparison
    if not len(new.lines) == len(old.lines) == comparison.found.pairs.total:
        return comparison
    changed = list(iterate_changed_items(new, old, None, {}))
    gained, lost = ([one for one in changed if one.move.won is won][:_MAX_EXAMPLES] for won in (True, False))
    return replace(comparison, examples=(*gained, *lost))
