"""GSM8K, five shots: the items of `gsm8k` asked after five worked examples.

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The examples are bench's own and in neither split (that of `gsm8k`, then `_gsm8k_examples.toml`), each as two turns of
the conversation. Published five-shot scores used rows of the train split instead.
"""

from functools import partial

from baseline_bench.tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-5shot@v2"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = _gsm8k.REPOSITORY
DERIVED_FROM = {"test": ("gsm8k",)}
EXAMPLES = _gsm8k.select_examples(5)

problems = partial(_hub.problems, REPOSITORY)
# The five worked examples as turns of their own, then the question; every prompt shares this beginning.
messages = partial(_gsm8k.build_conversation, EXAMPLES)
grade = _answers.grade
