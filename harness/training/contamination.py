"""Find test items among training data. Whole questions stop a run; shared runs of 13 words are reported.

Thirteen words is the length that GPT-3's authors used (Brown et al. 2020, arXiv:2005.14165, appendix C). A rewritten
question escapes both checks, so data also declares which tasks it was made from: a score means nothing if data and
task come from the same test items.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.types import Problem, Sample

_NGRAM_WORDS = 13
_SHORTEST_QUESTION = 5  # "What is 7 plus 5" may be a test item; fewer words occur in any text
_WORD = re.compile(r"[^\W_]+")

Ngram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeakReport:
    """Test items found in training data, as pairs (sample id, item id) in the data's order.

    Attributes:
        exact: a text of the sample contains the item's whole question, ignoring case, punctuation and spaces.
        ngram: other pairs that share at least `n` words in a row.
    """

    exact: tuple[tuple[str, str], ...]
    ngram: tuple[tuple[str, str], ...]
    n: int = _NGRAM_WORDS


def find_leaks(samples: Sequence[Sample], items: Sequence[Problem]) -> LeakReport:
    """Compare every text of every sample, solutions too, with every item's question."""
    questions = [_split_words(item.question) for item in items]
    whole, long = _index_questions(questions)
    sizes = sorted({len(gram) for gram in whole})
    exact: list[tuple[str, str]] = []
    ngram: list[tuple[str, str]] = []
    for sample in samples:
        equal: set[int] = set()
        shared: set[int] = set()
        for text in (*(message.content for message in sample.messages), sample.solution):
            words = _split_words(text)
            for item_index in _look_up_ngrams(long, _build_ngrams(words, _NGRAM_WORDS)):
                question = questions[item_index]
                (equal if question in _build_ngrams(words, len(question)) else shared).add(item_index)
            for size in sizes:
                equal |= _look_up_ngrams(
                    whole, _build_ngrams(words, size) if size >= _SHORTEST_QUESTION or len(words) == size else ()
                )
        exact += [(sample.id, items[item_index].id) for item_index in sorted(equal)]
        ngram += [(sample.id, items[item_index].id) for item_index in sorted(shared - equal)]
    return LeakReport(tuple(exact), tuple(ngram))


def require_no_leaks(leaks: LeakReport) -> None:
    """Refuse data that holds test items; the BenchError names the first ones."""
    if not leaks.exact:
        return
    listed = list_first([f"{item} in {sample}" for sample, item in leaks.exact])
    leaking_rows = len({sample for sample, _ in leaks.exact})
    what = f"{leaking_rows} training rows hold test questions word for word: {listed}"
    raise BenchError(what, "leave these rows out of the data; a score after training on them would mean nothing")


def _index_questions(questions: Sequence[Ngram]) -> tuple[dict[Ngram, list[int]], dict[Ngram, list[int]]]:
    """Return (questions of under 13 words, runs of 13 words of the others), each with the indices of their items."""
    whole: dict[Ngram, list[int]] = {}
    long: dict[Ngram, list[int]] = {}
    for item_index, words in enumerate(questions):
        if 0 < len(words) < _NGRAM_WORDS:
            whole.setdefault(words, []).append(item_index)
        for gram in set(_build_ngrams(words, _NGRAM_WORDS)):
            long.setdefault(gram, []).append(item_index)
    return whole, long


def _split_words(text: str) -> Ngram:
    return tuple(_WORD.findall(text.lower()))


def _build_ngrams(words: Ngram, size: int) -> Iterable[Ngram]:
    return zip(*(words[start:] for start in range(size)), strict=False)


def _look_up_ngrams(index: dict[Ngram, list[int]], grams: Iterable[Ngram]) -> set[int]:
    return {item_index for gram in index.keys() & set(grams) for item_index in index[gram]} if index else set()


def find_shared_origin(derived_from: Sequence[str], data: str, task: str) -> str | None:
    """Return the task from whose test items both the training data and this task come, or None.

    Args:
        derived_from: the tasks whose items the data was made from, as its recipe says.
        data: the training data; a task's name means its train split, which may be made from another task's test.
        task: name or file of the task to score; it keeps its own train split apart from its test split.
    """
    task, _ = plugins.split_token_limit(task)
    roots = [*derived_from, *(root for name in derived_from for root in _find_source_tasks(name, "test"))]
    if plugins.name_task(data) != plugins.name_task(task):
        roots += _find_source_tasks(data, "train")
    sources = set(map(plugins.name_task, roots))
    names = map(plugins.name_task, (task, *_find_source_tasks(task, "test")))
    return next((name for name in names if name in sources), None)


def require_separate_origins(derived_from: Sequence[str], data: str, task: str) -> None:
    """Refuse to score a candidate on a task whose items, or their sources, its training data was made from."""
    root = find_shared_origin(derived_from, data, task)
    if root is None:
        return
    too = "" if root == plugins.name_task(task) else f", as those of {task} were"
    raise BenchError(
        f"the training data was made from items of {root} (derived_from){too}, so a score on {task} would mean nothing",
        "score the candidate on another task, or train on other data",
    )


def _find_source_tasks(name: str, split: str) -> tuple[str, ...]:
    """Return the tasks whose test items this task's split was made from; empty for an unknown task."""
    if name not in plugins.list_names("task") and not (name.endswith(".py") and Path(name).is_file()):
        return ()
    return tuple(getattr(plugins.load_task(name), "DERIVED_FROM", {}).get(split, ()))
