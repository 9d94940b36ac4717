"""GSM8K, zero shots: the items of `gsm8k` asked without worked examples.

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The prompt does not state the answer format, so `strict` counts only models that learned it in training. Use it to
compare with scores published without examples, and to measure what the examples of other tasks contribute.
"""

from functools import partial

from baseline_bench.tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-0shot@v2"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = _gsm8k.REPOSITORY
DERIVED_FROM = {"test": ("gsm8k",)}

problems = partial(_hub.problems, REPOSITORY)
# The question alone.
messages = partial(_gsm8k.build_conversation, ())
grade = _answers.grade
