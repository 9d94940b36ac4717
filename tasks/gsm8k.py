"""GSM8K, one shot: grade-school word problems whose answer is one number (Cobbe et al. 2021, arXiv:2110.14168).

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The data is the hub's `openai/gsm8k` (test 1,319, train 7,473; configs main and socratic), or a mirror in a folder. The
worked example of every prompt is bench's own and in neither split, so no candidate has trained on it.
"""

from functools import partial

from baseline_bench.tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-1shot@v2"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = _gsm8k.REPOSITORY
EXAMPLE = _gsm8k.OWN_EXAMPLE

problems = partial(_hub.problems, REPOSITORY)
# One worked example as a turn of its own, then the question; every prompt shares this beginning.
messages = partial(_gsm8k.build_conversation, (EXAMPLE,))
grade = _answers.grade
