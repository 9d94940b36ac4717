"""GSM8K, one shot: grade-school word problems whose answer is one number (Cobbe et al. 2021, arXiv:2110.14168).

The data is the hub's `openai/gsm8k` (test 1,319, train 7,473; configs main and socratic), or a mirror in a folder. The
worked example of every prompt is bench's own and in neither split, so no candidate has trained on it.
"""

from baseline_bench.tasks import _gsm8k

LABEL, READER, SAMPLING, REPOSITORY, problems, messages, grade = _gsm8k.build_task(shots=1)
EXAMPLE = _gsm8k.OWN_EXAMPLE
