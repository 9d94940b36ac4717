"""GSM8K, no shot: the items of `gsm8k` asked without worked examples.

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

Nothing is said of the form of the answer, so `strict` counts only what a model or its fine-tuning brings along. For
numbers that were published without examples, and to see what the examples of the others are worth.
"""

from functools import partial

from baseline_bench.tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-0shot@v1"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = _gsm8k.REPOSITORY
DERIVED_FROM = {"test": ("gsm8k",)}

problems = partial(_hub.problems, REPOSITORY)
# The question alone.
messages = partial(_gsm8k.build_conversation, ())
grade = _answers.grade
