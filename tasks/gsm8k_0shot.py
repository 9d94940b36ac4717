"""GSM8K, zero shots: the items of `gsm8k` asked without worked examples.

The prompt does not state the answer format, so `strict` counts only models that learned it in training. Use it to
compare with scores published without examples, and to measure what the examples of other tasks contribute.
"""

from baseline_bench.tasks import _gsm8k

LABEL, READER, SAMPLING, REPOSITORY, problems, messages, grade = _gsm8k.build_task(shots=0)
DERIVED_FROM = {"test": ("gsm8k",)}
