"""Measure how likely a loaded model finds the task's own worked solutions: a signal if exact match is near 0.

Each solution follows its prompt as in training; the prompt has exactly the token ids of the request.
"""

from pathlib import Path

from baseline_bench.core import trace
from baseline_bench.core.contracts import Generator, LogprobGenerator
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.records import write_atomically
from baseline_bench.core.types import Model, TokenLogprobs, TrainingExample
from baseline_bench.evaluation import runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models import diagnose
from baseline_bench.models.tokens import ModelTokenizer, encode_completion, starts_answer
from baseline_bench.results import solutions
from baseline_bench.results.entry import Entry, SolutionLikelihood

WITHOUT_SOLUTIONS = "the row has no record of its solutions' log-probabilities"
_SCORE_AGAIN = "score the model again with --again"


def measure_solutions(
    prepared: PreparedTask,
    model: Model,
    model_tokenizer: ModelTokenizer,
    generator: Generator,
    run: Path,
    console: Console,
) -> bool:
    """Measure every scored item's solution and write the lines to the run's folder atomically.

    If they cannot be measured, print why and leave them out; the answers remain valid.

    Returns:
        Whether they were measured here.

    Raises:
        NotFiniteError: a log-probability is NaN or infinite, so that the answers cannot be trusted either.
    """
    if not isinstance(generator, LogprobGenerator):
        return False
    if absent := sum(not problem.solution.strip() for problem in prepared.problems):
        console.say(f"solutions are not measured: {absent} of {len(prepared.problems)} items have none")
        return False
    if len(prepared.requests) > len(prepared.problems):
        console.say("solutions are not measured: an item takes several requests")
        return False
    try:
        examples = build_examples(prepared, model_tokenizer)
        diagnose.require_readable(model, examples)
        _require_context(examples, generator.context)
        lines = _measure_lines(examples, generator, console)
    except NotFiniteError:
        raise
    except BenchError as error:
        console.warn(f"{WITHOUT_SOLUTIONS}: {error.what} ({error.way_out})")
        return False
    with runs.explaining_write_errors(run):
        write_atomically(run / solutions.SOLUTIONS_FILE, lines)
    return True


def build_examples(prepared: PreparedTask, model_tokenizer: ModelTokenizer) -> list[TrainingExample]:
    """Tokenize prompt and worked solution of every scored item, in item order, stop token included."""
    examples = []
    for problem, request in zip(prepared.problems, prepared.requests, strict=True):
        goes_on = starts_answer(prepared.task.messages(problem))
        solution = encode_completion(
            model_tokenizer.tokenizer, model_tokenizer.prompt_format, problem.solution, goes_on=goes_on
        )
        examples.append(TrainingExample(problem.id, request.token_ids + solution, len(request.token_ids)))
    return examples


def read_summary(run: Path) -> SolutionLikelihood | None:
    """Summarise the lines in a run's folder; None if nothing was measured; BenchError if they are damaged."""
    path = run / solutions.SOLUTIONS_FILE
    return solutions.summarise_likelihoods(path.read_bytes(), str(path)) if path.is_file() else None


def read_lines(entry: Entry, run: Path) -> bytes | None:
    """Read the lines to store with a run's entry; None if it names none; BenchError if the run has lost them."""
    if entry.result.solutions is None:
        return None
    path = run / solutions.SOLUTIONS_FILE
    if not path.is_file():
        raise BenchError(f"{run} has lost its {solutions.SOLUTIONS_FILE}", f"restore it, or {_SCORE_AGAIN}")
    return path.read_bytes()


def _require_context(examples: list[TrainingExample], context: int) -> None:
    # One token more than the text: vLLM always generates one.
    worst = max(examples, key=lambda example: len(example.token_ids))
    if len(worst.token_ids) >= context:
        what = f"prompt and solution of {worst.id} have {len(worst.token_ids)} tokens, the context has {context}"
        raise BenchError(what, "raise the engine's context (-o context=N) where the model allows")


def _measure_lines(examples: list[TrainingExample], generator: LogprobGenerator, console: Console) -> bytes:
    # Read all results before checking any: results left in flight would answer the next request.
    logprobs_by_id: dict[str, TokenLogprobs] = {}
    tokens = 0
    with trace.span("measure solutions"), console.progress("solutions", len(examples)) as bar:
        for name, measured in generator.logprobs(examples):
            logprobs_by_id[name] = measured
            tokens += len(measured.logprobs)
            bar(len(logprobs_by_id), tokens)
    return solutions.serialise_likelihoods(
        [solutions.build_item_likelihood(example.id, logprobs_by_id[example.id].logprobs) for example in examples]
    )
