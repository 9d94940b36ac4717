"""GSM-Symbolic, one shot: GSM8K's test questions as templates with other names and numbers (arXiv:2410.05229).

Question: Ann peels 6 onions a minute and fries 30 onions in 8 minutes. How long does she take for 60 onions?

    Peeling takes 60 / 6 = 10 minutes and frying 60 / 30 * 8 = 16 minutes, so she takes 10 + 16 = 26 minutes.
    #### 26

The items are made here by the generators of the package reasoning-gym (extra `symbolic`), of one version alone: another
may tell other stories. Templates of even number are scored, those of odd number trained on; each gives as many items,
of which no two differ by names only. Answers are whole numbers above nothing; 20 templates are left out for cause. The
package's closing sentence ("Give the result ...") is not asked: a row differs from one of `gsm8k` by its items alone.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from random import Random
from typing import Any

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Problem, Split
from baseline_bench.tasks import _answers, _gsm8k

LABEL = "gsm-symbolic-1shot@v1"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
LIBRARIES = ("reasoning_gym",)
DERIVED_FROM = {"test": ("gsm8k",), "train": ("gsm8k",)}

# The worked example of `gsm8k` as a turn of its own, then the question; every prompt shares this beginning.
messages = partial(_gsm8k.build_conversation, (_gsm8k.OWN_EXAMPLE,))
grade = _answers.grade

PACKAGE, VERSION = "reasoning-gym", "0.1.25"
MADE_WITH = f"{PACKAGE} {VERSION}"
# Found by 1,000 items of each template, with every division and every cut to whole numbers looked at.
EXCLUDED_TEMPLATES = frozenset(
    {
        *(2, 3, 4, 40, 49, 60, 75, 99),  # a remainder is dropped on the way, so that the answer is wrong
        *(9, 17, 24),  # the answer can be nothing or less than that
        *(25, 27, 84, 89),  # answers are floats
        *(46, 52, 66),  # a float with all its digits stands in a text: 0.6666666666666666
        *(33, 53),  # 30 and 15 problems are all that they give
    }
)

_MODULE = "reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic"
_PER_TEMPLATE = {"test": 24, "train": 60}
_REMAINDER = {"test": 0, "train": 1}
_ATTEMPTS = 2000
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_INSTALL = "pip install 'baseline-bench[symbolic]'"

TemplateGenerator = Callable[[Random, float], dict[str, Any]]


def problems(split: Split) -> list[Problem]:
    """Every problem of the split; the templates take turns, so that each stretch of it is mixed.

    Raises:
        BenchError: the config is not "main", or reasoning-gym is missing or of another version.
    """
    if split.config != "main":
        raise BenchError(f"gsm-symbolic has no config {split.config!r}", "it has: main")
    makers = [_generate_problems(generator, split.name) for generator in load_templates(split.name).values()]
    made = [item for items in zip(*makers, strict=True) for item in items]
    return [
        Problem(f"{split.name}-{number}", question, answer, solution)
        for number, (question, answer, solution) in enumerate(made)
    ]


def load_templates(split: str) -> dict[int, TemplateGenerator]:
    """The generators of one split by the number of their template, in order.

    Raises:
        BenchError: reasoning-gym is missing or of another version.
    """
    try:
        package, installed = importlib.import_module(_MODULE), metadata.version(PACKAGE)
    except ModuleNotFoundError as error:
        what = f"the task 'gsm-symbolic' needs a library that is not installed: {error.name}"
        raise BenchError(what, _INSTALL) from error
    if installed != VERSION:
        raise BenchError(f"{LABEL} is made with {MADE_WITH}, and {installed} is installed", _INSTALL)
    generators = package.GSMSymbolicDataset(package.GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    kept = [number for number in sorted(package.tasks_ok) if number not in EXCLUDED_TEMPLATES]
    return {number: generators[number] for number in kept if number % 2 == _REMAINDER[split]}


def _generate_problems(generator: TemplateGenerator, split: str) -> Iterator[tuple[str, str, str]]:
    """Yield (question, answer, solution), no two with the same numbers, as many as every template of the split gives.

    Names and words do not count as a difference: a problem that changes only those is the same problem. A generator
    gets the attempt's number as its seed, and 1.0 as the difficulty, the only one there is.
    """
    seen: set[tuple[str, ...]] = set()
    for attempt in range(_ATTEMPTS):
        item = generator(Random(attempt), 1.0)
        question, answer = item["question"], item["answer"]
        numbers = (*_NUMBER.findall(question), answer)
        if numbers in seen:
            continue
        seen.add(numbers)
        yield question, answer, item["metadata"]["answer_cot"]
        if len(seen) == _PER_TEMPLATE[split]:
            return
    raise ValueError(f"a template of {MADE_WITH} gives too few problems: {len(seen)}")
