"""`bench show`: read what a model wrote."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.command_options import argument, option, recipe_base_option, recipe_keys_option
from baseline_bench.core.display import Console, replace_control_characters
from baseline_bench.core.markup import make_visible
from baseline_bench.core.types import Judgement
from baseline_bench.evaluation.stored_answers import JudgedProblem, read_judged_problems
from baseline_bench.results import entries
from baseline_bench.training import recipes
from rich.rule import Rule
from rich.text import Text

# As many draws of one question, and as many characters of what it is judged by, as a reader can take in.
_MAX_DRAWS, _MAX_LENGTH = 8, 300


@dataclass(frozen=True, kw_only=True)
class Options:
    """Runs or entries, and which of their answers; or `recipe NAME`, with what differs from it."""

    what: list[str] = argument("a run's folder or a leaderboard entry (.json); or `recipe NAME`", "RUN")
    wrong: bool = option("--wrong", "only answers that are wrong", default=False, one_of="only")
    cut: bool = option("--cut", "only answers cut at the token limit", default=False, one_of="only")
    unread: bool = option("--unread", "only answers nothing could be read from", default=False, one_of="only")
    most: int = option("-n", "at most N answers (default: %(default)s)", "N", 20)
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()

    @property
    def only(self) -> str | None:
        """The one kind of answers that is asked for, or None."""
        return next((kind for kind in ("wrong", "cut", "unread") if getattr(self, kind)), None)


def run(options: Options, console: Console) -> int:
    """Print questions, completions and verdicts, those asked for; or a recipe as it would be trained."""
    if options.what[0] == "recipe" and len(options.what) > 1:
        console.write("\n".join(recipes.describe_recipe(name, options.sets, options.base) for name in options.what[1:]))
        return 0
    for what in options.what:
        found = read_judged_problems(Path(what))
        chosen = [a for a in found if _is_wanted(a.verdict, options.only)]
        for answered in chosen[: options.most]:
            _print_problem(answered, console)
        left = len(chosen) - min(len(chosen), options.most)
        kind = options.only or "in all"
        console.print(
            Text(f"{what}: {len(found)} answers, {len(chosen)} {kind}" + (f", {left} not shown (-n)" if left else ""))
        )
        entry = Path(what) if what.endswith(".json") else Path(what) / "entry.json"
        checks = entries.read_entry(entry).result.checks if entry.is_file() else None
        if checks is not None:
            console.print(*(Text(make_visible(f"{name}: {value}")) for name, value in checks.facts))
    return 0


def _is_wanted(verdict: Judgement, only: str | None) -> bool:
    kinds = {"wrong": not verdict.correct, "cut": verdict.finish == "length", "unread": verdict.answer is None}
    return only is None or kinds[only]


def _print_problem(answered: JudgedProblem, console: Console) -> None:
    verdict = answered.verdict
    console.data.print(Rule(Text(answered.problem.id), align="left"))
    if answered.problem.question:
        console.print(Text(replace_control_characters(answered.problem.question), style="bold"))
    draws = answered.completion.draws
    for number, draw in enumerate(draws[:_MAX_DRAWS], 1):
        if len(draws) > 1:
            console.print(Text(f"draw {number} of {len(draws)}", style="dim"))
        if draw.answer_start:
            console.print(
                Text(replace_control_characters(draw.text[: draw.answer_start]), style="dim"),
                Text("[the answer:]", style="dim"),
            )
        console.print(Text(replace_control_characters(draw.answer.text)))
    if len(draws) > _MAX_DRAWS:
        console.print(Text(f"{len(draws) - _MAX_DRAWS} more draws, among the completions", style="dim"))
    read = verdict.answer if verdict.answer is not None else "nothing"
    judged = "right" if verdict.correct else "wrong"
    style = "green" if verdict.correct else "red"
    text = (
        f"{judged}: gold {_shorten(answered.problem.answer)}, read {_shorten(read)} by {verdict.rule}, {verdict.finish}"
    )
    console.print(Text(replace_control_characters(text), style=style))


def _shorten(text: str) -> str:
    """A gold or what was read, which may be a whole document or program, as far as a line can say it."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text):,} characters)"
