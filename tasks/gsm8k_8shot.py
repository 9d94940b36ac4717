"""GSM8K, eight shots: the items of `gsm8k` asked after eight worked examples.

The examples are bench's own and in neither split (that of `gsm8k`, then `_gsm8k_examples.toml`). Wei et al. 2022
(arXiv:2201.11903) also used eight, with other texts.
"""

from baseline_bench.tasks import _gsm8k

LABEL, READER, SAMPLING, REPOSITORY, problems, messages, grade = _gsm8k.build_task(shots=8)
DERIVED_FROM = {"test": ("gsm8k",)}
