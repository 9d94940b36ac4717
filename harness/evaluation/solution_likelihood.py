"""Measure how likely a loaded model finds the task's own worked solutions: a signal where exact match is near 0.

Each solution stands after its prompt as a training would put it there, the prompt being the very ids that were asked.
"""

from collections.abc import Sequence
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Generator, LogprobGenerator
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.options import parse_options
from baseline_bench.core.records import write_atomically
from baseline_bench.core.types import TokenLogprobs, TrainingExample
from baseline_bench.evaluation import runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models.tokens import ModelTokenizer, encode_completion, starts_answer
from baseline_bench.results import solutions
from baseline_bench.results.entry import Entry, SolutionLikelihood

WITHOUT_SOLUTIONS = "the row stands without its solutions' log-probabilities"
_SCORE_AGAIN = "score the model anew with --again"


def should_measure(engine: str, pairs: Sequence[str]) -> bool:
    """Whether an engine measures under these `key=value` options; one that says nothing of it does not."""
    module = plugins.load_engine(engine)
    measures = getattr(module, "measures", None)
    return measures is not None and bool(measures(parse_options(module.Options, pairs, f"engine {engine}")))


def is_missing(run: Path, engine: str, pairs: Sequence[str]) -> bool:
    """Whether a run is without what its engine would measure under these options."""
    return not (run / solutions.SOLUTIONS_FILE).is_file() and should_measure(engine, pairs)


def measure_solutions(
    exam: PreparedTask, speech: ModelTokenizer, generator: Generator, run: Path, console: Console
) -> bool:
    """Measure every scored item's solution and keep the lines in the run's folder, whole or not at all.

    What cannot be measured is left out and said; the answers, which are what a row is about, stand.

    Returns:
        Whether they were measured here.

    Raises:
        NotFiniteError: a log-probability is NaN or infinite, so that the answers are not to be believed either.
    """
    if not isinstance(generator, LogprobGenerator):
        return False
    if absent := sum(not problem.solution.strip() for problem in exam.problems):
        console.say(f"solutions are not measured: {absent} of {len(exam.problems)} items have none")
        return False
    if len(exam.requests) > len(exam.problems):
        console.say("solutions are not measured: an item takes several requests")
        return False
    try:
        asked = build_examples(exam, speech)
        _require_context(asked, generator.context)
        found = _measure_lines(asked, generator, console)
    except NotFiniteError:
        raise
    except BenchError as error:
        console.warn(f"{WITHOUT_SOLUTIONS}: {error.what} ({error.way_out})")
        return False
    with runs.explaining_write_errors(run):
        write_atomically(run / solutions.SOLUTIONS_FILE, found)
    return True


def build_examples(exam: PreparedTask, speech: ModelTokenizer) -> list[TrainingExample]:
    """Prompt and worked solution of every scored item, in item order, stop token included."""
    found = []
    for problem, request in zip(exam.problems, exam.requests, strict=True):
        goes_on = starts_answer(exam.task.messages(problem))
        solution = encode_completion(speech.tokenizer, speech.manner, problem.solution, goes_on=goes_on)
        found.append(TrainingExample(problem.id, request.token_ids + solution, len(request.token_ids)))
    return found


def read_summary(run: Path) -> SolutionLikelihood | None:
    """What the lines in a run's folder come to; None where nothing was measured.

    Raises:
        BenchError: they are damaged.
    """
    path = run / solutions.SOLUTIONS_FILE
    return solutions.summarise_likelihoods(path.read_bytes(), str(path)) if path.is_file() else None


def read_lines(entry: Entry, run: Path) -> bytes | None:
    """The lines that belong beside the entry of a run; None where it names none.

    Raises:
        BenchError: the run has lost them.
    """
    if entry.result.solutions is None:
        return None
    path = run / solutions.SOLUTIONS_FILE
    if not path.is_file():
        raise BenchError(f"{run} has lost its {solutions.SOLUTIONS_FILE}", f"restore it, or {_SCORE_AGAIN}")
    return path.read_bytes()


def _require_context(asked: list[TrainingExample], context: int) -> None:
    # One more than it is long: vLLM always generates a token.
    worst = max(asked, key=lambda row: len(row.token_ids))
    if len(worst.token_ids) >= context:
        raise BenchError(
            f"prompt and solution of {worst.id} have {len(worst.token_ids)} tokens, the context has {context}",
            "raise the engine's context (-o context=N) where the model allows",
        )


def _measure_lines(asked: list[TrainingExample], generator: LogprobGenerator, console: Console) -> bytes:
    # Judged once the engine has told everything: what is left in flight would answer the next question.
    found: dict[str, TokenLogprobs] = {}
    tokens = 0
    with console.progress("solutions", len(asked)) as bar:
        for name, measured in generator.logprobs(asked):
            found[name] = measured
            tokens += len(measured.logprobs)
            bar(len(found), tokens)
    return solutions.serialise_likelihoods(
        [solutions.build_item_likelihood(row.id, found[row.id].logprobs) for row in asked]
    )
