"""GSM8K, eight shots: the items of `gsm8k` asked behind eight worked examples.

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The examples are our own and in neither split (that of `gsm8k`, then `_gsm8k_examples.toml`), each as two turns of the
conversation. Eight is the number that Wei et al. 2022 (arXiv:2201.11903) showed; their texts are others.
"""

from harness.types import Completion, Message, Problem, Split, Verdict
from tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-8shot@v1"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = _gsm8k.REPOSITORY
DERIVED_FROM = {"test": ("gsm8k",)}
EXAMPLES = _gsm8k.shown(8)


def problems(split: Split) -> list[Problem]:
    """Every row of the split in the data set's own order.

    Raises:
        BenchError: the data set cannot be reached, is empty, lacks a column, or a row's answer cannot be read.
    """
    return _hub.problems(REPOSITORY, split)


def messages(problem: Problem) -> tuple[Message, ...]:
    """The eight worked examples as turns of their own, then the question; every prompt shares this beginning."""
    return _gsm8k.conversation(EXAMPLES, problem)


def grade(problem: Problem, completion: Completion) -> Verdict:
    """Judge one completion by the final number it states."""
    return _answers.grade(problem, completion)
