"""Answers of whole runs that say nothing, and sound ones that look much like them."""

from collections.abc import Sequence
from pathlib import Path

from baseline_bench.results.answers import find_answer_faults
from baseline_bench.results.completions import CommittedCompletion

from corpus.cases import Case, Found, Run

Answers = list[CommittedCompletion]


def look(answers: Answers, _: Run) -> list[Found]:
    """What every run of these answers finds, and every check of its row."""
    return [(one.code, one.severity) for one in find_answer_faults(answers)]


def build_completions(texts: Sequence[str], cut: int = 0) -> Answers:
    """Committed completions of these texts, the first ones cut."""
    ends = ["length"] * cut + ["stop"] * (len(texts) - cut)
    return [
        CommittedCompletion(f"test-{n}", "1", end, 1, None, text)
        for n, (text, end) in enumerate(zip(texts, ends, strict=True))
    ]


def _case(name: str, twin: str, texts: Sequence[str], code: str | None = None, cut: int = 0, source: str = "") -> Case:
    def build(_: Path) -> Answers:
        return build_completions(texts, cut)

    return Case(name, source or "found by hand", build, ((code, "warn"),) if code else (), twin)


def _counted(total: int) -> list[str]:
    return [f"It is {number}." for number in range(total)]


_EMPTY, _CONSTANT, _CUT = "answers-empty", "answers-constant", "answers-cut"
_SENTENCE, _NAN = "I cannot answer that question.", "vLLM writes token 0 for NaN"
_MIXED = ["The answer is 3.", "The answer is 4.", "The answer is 3.", "The answer is 3."]
CASES = (
    _case("all empty", "one answer", [""] * 4, _EMPTY),
    _case("blanks", "one answer", ["", " ", "\n", ""], _EMPTY),
    _case("few and all empty", "one answer", [""] * 3, _EMPTY),
    _case("one token", "one token but one", ["!" * 400] * 6, _CONSTANT, source=_NAN),
    _case("one token, of any length", "one token but one", ["!" * n for n in (40, 64, 64, 17)], _CONSTANT, source=_NAN),
    _case("repeated pieces", "a sum of equal numbers", ["the " * 30, "a b " * 40, "", "1, " * 20], _CONSTANT),
    _case("one sentence", "one sentence, three times", [_SENTENCE] * 4, _CONSTANT),
    _case("one letter, sixteen times", "one letter, six times", ["A"] * 16, _CONSTANT),
    _case("one answer", "all empty", ["", "", "", "#### 5"]),
    _case("one sentence, three times", "one sentence", [_SENTENCE] * 3),
    _case("one letter, six times", "one letter, sixteen times", ["A"] * 6),
    _case("two sentences", "one sentence", _MIXED),
    _case("one token but one", "one token", ["!" * 64, "!" * 64, "!" * 64, "It is 12."]),
    _case("a sum of equal numbers", "repeated pieces", ["3, 3, 3 makes 9", "9", "11", "12"]),
    _case("one of nine is cut", "one of ten is cut", _counted(9), _CUT, 1),
    _case("11 % are cut", "10 % are cut", _counted(100), _CUT, 11),
    _case("all are cut", "none is cut", _counted(3), _CUT, 3),
    _case("one of ten is cut", "one of nine is cut", _counted(10), cut=1),
    _case("10 % are cut", "11 % are cut", _counted(100), cut=10),
    _case("none is cut", "all are cut", _counted(3)),
)
