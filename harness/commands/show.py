"""`bench show`: print what a model wrote."""

from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.core.command_options import (
    ENTRY,
    argument,
    board_option,
    datasets_option,
    leaderboards_option,
    option,
    recipe_base_option,
    recipe_keys_option,
)
from baseline_bench.core.display import Console
from baseline_bench.core.markup import make_visible
from baseline_bench.core.types import Judgement
from baseline_bench.evaluation import regrading
from baseline_bench.evaluation.stored_answers import JudgedProblem, read_judged_problems, read_questions
from baseline_bench.results import entries, lookup
from baseline_bench.results.entry import Entry
from baseline_bench.training import recipes
from rich.rule import Rule
from rich.text import Text

# The most draws of one question, and characters of an answer, that a reader can take in.
_MAX_DRAWS, _MAX_LENGTH = 8, 300


@dataclass(frozen=True, kw_only=True)
class Options:
    """Runs or entries, and which of their answers; or `recipe NAME`, with changes to its keys."""

    what: list[str] = argument(f"a run's folder; {ENTRY}; or `recipe NAME`", "RUN|ENTRY")
    wrong: bool = option("--wrong", "only answers that are wrong", default=False, one_of="only")
    cut: bool = option("--cut", "only answers cut at the token limit", default=False, one_of="only")
    unread: bool = option("--unread", "only answers nothing could be read from", default=False, one_of="only")
    most: int = option("-n", "at most N answers (default: %(default)s)", "N", 20)
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()
    mirror: Path | None = datasets_option()
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()

    @property
    def only(self) -> str | None:
        """Return the one requested kind of answers, or None."""
        return next((kind for kind in ("wrong", "cut", "unread") if getattr(self, kind)), None)


def run(options: Options, console: Console) -> int:
    """Print the requested questions, completions and judgements; or a recipe as it would be trained."""
    if options.what[0] == "recipe" and len(options.what) > 1:
        console.write("\n".join(recipes.describe_recipe(name, options.sets, options.base) for name in options.what[1:]))
        return 0
    for what in options.what:
        console.say(f"reading {what}")
        path = _find_path(what, options)
        entry_file = path if path.suffix == ".json" else path / "entry.json"
        entry = entries.read_entry(entry_file) if entry_file.is_file() else None
        problems = _add_questions(read_judged_problems(path), entry, options, console)
        chosen = [problem for problem in problems if _is_wanted(problem.verdict, options.only)]
        for judged_problem in chosen[: options.most]:
            _print_problem(judged_problem, console)
        hidden = len(chosen) - min(len(chosen), options.most)
        more = f", {hidden} not shown (-n)" if hidden else ""
        console.print_line(Text(f"{path}: {len(problems)} answers, {len(chosen)} {options.only or 'in all'}{more}"))
        if entry is not None and (checks := entry.result.checks) is not None:
            console.print(*(Text(make_visible(f"{name}: {value}")) for name, value in checks.facts))
    return 0


def _find_path(what: str, options: Options) -> Path:
    """Find a run's folder or an entry's file; what is no path is a candidate's name on the boards."""
    path = Path(what)
    if path.exists() or len(path.parts) > 1 or not options.leaderboards.is_dir():
        return path
    return lookup.find_entry(what, options.leaderboards, options.board).path


def _add_questions(
    problems: list[JudgedProblem], entry: Entry | None, options: Options, console: Console
) -> list[JudgedProblem]:
    """Add the questions, which an entry does not store, from the task's data where it is at hand."""
    if entry is None or all(judged.problem.question for judged in problems):
        return problems
    questions = read_questions(regrading.find_reader_task(entry), entry, options.mirror, console)
    if not questions:
        console.say("questions are shown by their ids: give --datasets DIR, or the run's folder")
    return [
        replace(judged, problem=replace(judged.problem, question=questions.get(judged.problem.id, "")))
        for judged in problems
    ]


def _is_wanted(judgement: Judgement, only: str | None) -> bool:
    kinds = {"wrong": not judgement.correct, "cut": judgement.finish == "length", "unread": judgement.answer is None}
    return only is None or kinds[only]


def _print_problem(judged_problem: JudgedProblem, console: Console) -> None:
    judgement = judged_problem.verdict
    console.data.print(Rule(Text(judged_problem.problem.id), align="left"))
    if judged_problem.problem.question:
        console.print(Text(judged_problem.problem.question, style="bold"))
    draws = judged_problem.completion.draws
    for number, draw in enumerate(draws[:_MAX_DRAWS], 1):
        if len(draws) > 1:
            console.print(Text(f"draw {number} of {len(draws)}", style="dim"))
        if draw.answer_start:
            console.print(Text(draw.text[: draw.answer_start], style="dim"), Text("[the answer:]", style="dim"))
        console.print(Text(draw.answer.text))
    if len(draws) > _MAX_DRAWS:
        console.print(Text(f"{len(draws) - _MAX_DRAWS} more draws, among the completions", style="dim"))
    read = judgement.answer if judgement.answer is not None else "nothing"
    judged = "right" if judgement.correct else "wrong"
    style = "green" if judgement.correct else "red"
    gold = _shorten(judged_problem.problem.answer)
    text = f"{judged}: gold {gold}, read {_shorten(read)} by {judgement.rule}, {judgement.finish}"
    console.print(Text(text, style=style))


def _shorten(text: str) -> str:
    """Shorten a gold or read answer, which may be a whole document or program, to fit on a line."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text):,} characters)"
