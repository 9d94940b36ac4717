"""The data of a pull request's comment: its new rows, their comparisons, and its retractions."""

from dataclasses import dataclass
from typing import Literal

from baseline_bench.analysis.compare import Comparison
from baseline_bench.analysis.differences import Difference
from baseline_bench.analysis.item_changes import CompletionPair
from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.core.types import Step
from baseline_bench.results.board import Row
from baseline_bench.results.retractions import Retraction


@dataclass(frozen=True, slots=True)
class ProposedComparison:
    """A new row compared with one other.

    Attributes:
        role: what the other row is to the new one.
        against: that row.
        found: the paired comparison, the new row first; a system comparison where more than the weights differs.
        p: its p value, adjusted by Holm over the whole pull request.
        examples: items that one row alone answers right; empty where the completions could not be read.
    """

    role: Literal["base", "incumbent"]
    against: Row
    found: Comparison
    p: float
    examples: tuple[CompletionPair, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The outcome as one of all comparisons of the pull request."""
        return self.found.decide_adjusted(self.p)


@dataclass(frozen=True, slots=True)
class ProposedRow:
    """A new row.

    Attributes:
        board: its board's name.
        row: the entry.
        contests: what it was compared with, its base first.
        remarks: why something was not compared, one sentence each; only bench's words and `code` spans.
        steps: the loss history of its training; empty where bench did not train it.
        changes: what else differs from the row it was last compared with, this row first.
        has_losses_file: whether the repository holds its loss history, to link to it.
    """

    board: str
    row: Row
    contests: tuple[ProposedComparison, ...]
    remarks: tuple[str, ...]
    steps: tuple[Step, ...]
    changes: tuple[Difference, ...]
    has_losses_file: bool = True


@dataclass(frozen=True, slots=True)
class PullRequestReport:
    """Everything that the comment shows.

    Attributes:
        base: the ref that was compared with.
        commit: the merge-base.
        link: where the repository's files can be read at the head's commit, without a slash at the end, or None.
        prefix: of the leaderboards' folder inside the repository, such as "leaderboards/".
        faults: what `bench board --check` says, a line each.
        rows: the new rows, in the order of their boards and names.
        retractions: the new ones, each with its board's name.
        unsound: how many new entries have faults and are not judged.
    """

    base: str
    commit: str
    link: str | None
    prefix: str
    faults: tuple[str, ...]
    rows: tuple[ProposedRow, ...]
    retractions: tuple[tuple[str, Retraction], ...]
    unsound: int
