"""What a folder of results says of this machine: `has QUESTION` by its exit status, and a short `table`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record
from benchmarks.measuring import this_machine
from benchmarks.record import Goal, Question


def main(words: Sequence[str] | None = None) -> int:
    """RESULTS has QUESTION, or RESULTS table."""
    results, *rest = sys.argv[1:] if words is None else words
    found = of_this_machine(Path(results))
    if rest[0] == "has":
        return 0 if rest[1] in found else 1
    sys.stdout.write(table(found))
    return 0


def of_this_machine(results: Path) -> dict[str, Question]:
    """Every question that this machine answered, the newest answer of each."""
    mine = f"-{this_machine().name}.json"
    files = [path for path in sorted(results.glob("*.json")) if path.name[len("2026-01-01") :] == mine]
    return {name: told for path in files for name, told in record.read(path).questions.items()}


def table(questions: dict[str, Question]) -> str:
    """A line a target, and the medians of every arm's first measures."""
    lines = []
    for name, told in questions.items():
        lines.append(f"{name}: {told.title}")
        for arm, side in told.arms.items():
            shown = ", ".join(f"{measure} {spread.median:.4g}" for measure, spread in side.measures.items())
            lines.append(f"    {arm}: {shown}")
        lines += [f"  {_target(goal, told)}" for goal in told.targets]
    return "\n".join([*lines, ""])


def _target(goal: Goal, told: Question) -> str:
    bound = f"at least {goal.at_least}" if goal.at_least is not None else f"at most {goal.at_most}"
    against = f" over that of {goal.theirs}" if goal.theirs is not None else ""
    found = record.reached(goal, told.arms)
    verdict = "reached" if found.yes else "MISSED"
    return f"{verdict}: {goal.measure} of {goal.ours}{against}: {found.value:.3g}, {bound}"


if __name__ == "__main__":
    raise SystemExit(main())
