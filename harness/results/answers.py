"""Find what is wrong with a run's answers as a whole: empty, the same for every question, or often cut."""

from collections.abc import Sequence

from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.results.completions import CommittedCompletion

FINDING_CODES = ("answers-empty", "answers-constant", "answers-cut")
# The share of cut answers above which a score says as much about the limit as about the model.
MAX_CUT_SHARE = 0.1
# Fewer answers may be equal by chance, as may fewer short ones: a letter of a choice, "yes", a small number.
MIN_ANSWERS, MIN_SHORT_ANSWERS = 4, 16
_MAX_SHORT_LENGTH = 16
# An answer that repeats one piece of text at least this often is degenerate.
_MIN_REPEATS = 8


def find_answer_faults(completions: Sequence[CommittedCompletion]) -> tuple[Finding, ...]:
    """Find patterns of a run's answers that no working model produces, and too many cut answers.

    Args:
        completions: of every item of the run; items whose text was measured, not generated, are ignored.
    """
    cut = sum(line.finish == "length" for line in completions)
    if cut <= MAX_CUT_SHARE * len(completions):
        return _find_degenerate_answers(completions)
    message = (
        f"{cut} of {len(completions)} answers were cut at the limit of tokens: read them with `bench show --cut`; "
        "--max-tokens N sets another limit, on a board of its own; `bench doctor` says if no stop token is known"
    )
    return (*_find_degenerate_answers(completions), build_finding("answers-cut", message))


def count_unfinished_thoughts(completions: Sequence[CommittedCompletion]) -> int | None:
    """Count the items of which an answer ended inside its thought; None if no answer of the run has a thought."""
    thoughts = [line for line in completions if line.answer_starts is not None]
    unfinished = (any(0 < start == len(text) for start, text in line.draws) for line in thoughts)
    return sum(unfinished) if thoughts else None


def _find_degenerate_answers(completions: Sequence[CommittedCompletion]) -> tuple[Finding, ...]:
    texts = [line.text.strip() for line in completions if not line.likelihoods]
    if texts and not any(texts):
        message = f"all {len(texts)} answers are empty: read the prompt with `bench doctor`"
        return (build_finding("answers-empty", message),)
    if len(texts) < MIN_ANSWERS or not (_are_identical(texts) or all(map(_is_repeated_piece, texts))):
        return ()
    message = (
        f"all {len(texts)} answers are the same, or one repeated piece of text ({texts[0][:20]!r}): read them with "
        "`bench show`, and look at the model with `bench doctor`"
    )
    return (build_finding("answers-constant", message),)


def _are_identical(texts: Sequence[str]) -> bool:
    """Tell whether all texts are the same, and not by chance."""
    return len(set(texts)) == 1 and (len(texts) >= MIN_SHORT_ANSWERS or len(texts[0]) > _MAX_SHORT_LENGTH)


def _is_repeated_piece(text: str) -> bool:
    """Tell whether a text is one short piece repeated; an empty text counts."""
    for length in range(1, 1 + min(16, len(text) // _MIN_REPEATS)):
        if text == (text[:length] * (len(text) // length + 1))[: len(text)]:
            return True
    return not text
