"""GSM-Symbolic, one shot: GSM8K's test questions as templates with new names and numbers (arXiv:2410.05229).

Question: Ann peels 6 onions a minute and fries 30 onions in 8 minutes. How long does she take for 60 onions?

    Peeling takes 60 / 6 = 10 minutes and frying 60 / 30 * 8 = 16 minutes, so she takes 10 + 16 = 26 minutes.
    #### 26

The generators of the package reasoning-gym (extra `symbolic`) make the items, in one pinned version, since another may
make other texts. Even template numbers are scored, odd ones are for training. Each template gives the same number of
items, of which no two differ only by names. Answers are positive integers; 20 unsuitable templates are left out. The
package's closing sentence ("Give the result ...") is dropped: a row differs from one of `gsm8k` only by its items.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from random import Random
from typing import Any

from baseline_bench.core.errors import BenchError, suggest_extra
from baseline_bench.core.types import Problem, Split
from baseline_bench.tasks import _answers, _gsm8k

LABEL = "gsm-symbolic-1shot@v2"
READER = _answers.READER
SAMPLING = _gsm8k.SAMPLING
LIBRARIES = ("reasoning_gym",)
DERIVED_FROM = {"test": ("gsm8k",), "train": ("gsm8k",)}

# The worked example of `gsm8k` as a turn of its own, then the question; every prompt shares this beginning.
messages = partial(_gsm8k.build_conversation, (_gsm8k.OWN_EXAMPLE,))
grade = _answers.grade

PACKAGE, VERSION = "reasoning-gym", "0.1.25"
MADE_WITH = f"{PACKAGE} {VERSION}"
# Found with 1,000 items of each template, by checking every division and every truncation to whole numbers.
EXCLUDED_TEMPLATES = frozenset(
    {
        *(2, 3, 4, 40, 49, 60, 75, 99),  # a remainder is dropped in a step, so the answer is wrong
        *(9, 17, 24),  # the answer can be 0 or negative
        *(25, 27, 84, 89),  # answers are floats
        *(46, 52, 66),  # a text contains an unrounded float: 0.6666666666666666
        *(33, 53),  # they give only 30 and 15 problems
    }
)

_MODULE = "reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic"
_PER_TEMPLATE = {"test": 24, "train": 60}
_REMAINDER = {"test": 0, "train": 1}
_ATTEMPTS = 2000
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_INSTALL = suggest_extra("symbolic")

TemplateGenerator = Callable[[Random, float], dict[str, Any]]


def problems(split: Split) -> list[Problem]:
    """Return every problem of the split, cycling through the templates so that each stretch of it is mixed.

    Raises:
        BenchError: the config is not "main", or reasoning-gym is missing or of another version.
    """
    if split.config != "main":
        raise BenchError(f"gsm-symbolic has no config {split.config!r}", "it has: main")
    problem_streams = [_generate_problems(generator, split.name) for generator in load_templates(split.name).values()]
    texts = [item for items in zip(*problem_streams, strict=True) for item in items]
    return [
        Problem(f"{split.name}-{number}", question, answer, solution)
        for number, (question, answer, solution) in enumerate(texts)
    ]


def load_templates(split: str) -> dict[int, TemplateGenerator]:
    """Load one split's generators by template number; BenchError if reasoning-gym is missing or another version."""
    try:
        package, installed = importlib.import_module(_MODULE), metadata.version(PACKAGE)
    except ModuleNotFoundError as error:
        message = f"the task 'gsm-symbolic' needs a library that is not installed: {error.name}"
        raise BenchError(message, _INSTALL) from error
    if installed != VERSION:
        raise BenchError(f"{LABEL} is made with {MADE_WITH}, and {installed} is installed", _INSTALL)
    generators = package.GSMSymbolicDataset(package.GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    usable_numbers = [number for number in sorted(package.tasks_ok) if number not in EXCLUDED_TEMPLATES]
    return {number: generators[number] for number in usable_numbers if number % 2 == _REMAINDER[split]}


def _generate_problems(generator: TemplateGenerator, split: str) -> Iterator[tuple[str, str, str]]:
    """Yield (question, answer, solution) without repeated numbers, as many as each template of the split gives.

    Problems that differ only in names and words count as the same. A generator gets the attempt's number as its seed
    and 1.0 as the difficulty, the only one that exists.
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
