"""GSM8K, five shots: the items of `gsm8k` asked after five worked examples.

The examples are bench's own and in neither split (that of `gsm8k`, then `_gsm8k_examples.toml`). Published five-shot
scores used rows of the train split instead.
"""

from baseline_bench.tasks import _gsm8k

LABEL, READER, SAMPLING, REPOSITORY, problems, messages, grade = _gsm8k.build_task(shots=5)
DERIVED_FROM = {"test": ("gsm8k",)}
