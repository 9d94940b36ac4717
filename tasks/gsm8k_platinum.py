"""GSM8K-Platinum, one shot: GSM8K's test split with labels revised by hand (Vendrow et al. 2025, arXiv:2502.03461).

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The data is the hub's `madrylab/gsm8k-platinum` (test 1,209; config main), or a mirror in a folder: wrong answers are
corrected, ambiguous questions left out. Prompts are those of `gsm8k`. The column `cleaning_status` says what changed.
"""

from functools import partial

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Problem, Split
from baseline_bench.tasks import _answers, _gsm8k, _hub

LABEL = "gsm8k-platinum-1shot@v2"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
REPOSITORY = "madrylab/gsm8k-platinum"
SPLITS = ("test",)
DERIVED_FROM = {"test": ("gsm8k",)}

# The worked example of `gsm8k` as a turn of its own, then the question; every prompt shares this beginning.
messages = partial(_gsm8k.build_conversation, (_gsm8k.OWN_EXAMPLE,))
grade = _answers.grade


def problems(split: Split) -> list[Problem]:
    """Return every row of the test split in the data set's own order.

    Raises:
        BenchError: the train split is requested, or the data set cannot be reached, is empty, lacks a column, or a
            row's answer cannot be read.
    """
    if split.name not in SPLITS:
        way_out = f"train on GSM8K's own: data = {_gsm8k.REPOSITORY}"
        raise BenchError(f"{REPOSITORY} has no {split.name} split: all of it is made from GSM8K's test", way_out)
    return _hub.problems(REPOSITORY, split)
