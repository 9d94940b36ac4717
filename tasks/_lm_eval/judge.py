"""What lm-eval says of a text: its filters take an answer out, its metric judges it; no data set is read."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from numbers import Real
from typing import Any

from lm_eval.api.instance import Instance

from harness.errors import BenchError
from tasks._lm_eval import chance
from tasks._lm_eval import definition as definitions
from tasks._lm_eval.definition import Definition
from tasks._lm_eval.likelihoods import Likelihood, extremes
from tasks._lm_eval.settings import ANOTHER, Asked

# What lm-eval's regex filters give where nothing matched.
NOTHING = "[invalid]"
# Opens a gold that is a whole document, where the judge is given all of it.
_DOCUMENT = '{"lm-eval document":'
# Of how many documents, spread over all, it is found out whether a metric looks at a likelihood.
_PROBES = 16


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a filter took out of one answer, with what judges it."""

    task: Any
    gold: str
    document: Mapping[str, Any]
    answer: Any

    def judged(self, likely: Sequence[Likelihood] = ()) -> Mapping[str, Any]:
        """What lm-eval says of it by metric, had its model measured these likelihoods."""
        with chance.of_an_item(self.gold):
            found: Mapping[str, Any] = self.task.process_results(self.document, [self.answer, *likely])
        return found


@dataclass(frozen=True, slots=True)
class Reading:
    """What one filter of lm-eval makes of a text.

    Attributes:
        text: what the filter took out; None where it says that nothing matched.
        value: what the metric says of it: 0 or 1, or a degree where a bar was given; NaN, which reaches no bar, where
            the metric has no number for the text.
        correct: the value is 1, or reaches the bar.
    """

    text: str | None
    value: float
    correct: bool


class Judge:
    """The filters and the metric of one task.

    Args:
        definition: what its file says.
        asked: what is counted, and from which degree on an answer is right.
        label: names the task in errors.

    Attributes:
        lost: why lm-eval's aggregation gave no number the last time; None where it did not fail.
    """

    def __init__(self, definition: Definition, asked: Asked, label: str) -> None:
        self._definition = definition
        self._bar = asked.bar
        self._label = label
        self._bare = None if definition.whole else definitions.judge(definition.name)
        self._reader: Any = None
        self.lost: Exception | None = None

    def readings(self, gold: str, texts: Sequence[str]) -> Mapping[str, Reading]:
        """What each filter takes out of an answer, and what the metric says of it.

        Args:
            gold: lm-eval's target, as `gold` made it.
            texts: what a model wrote, a text for each of the task's draws.

        Raises:
            BenchError: the metric gives no single number for an answer, or a share of its draws and no bar is there, or
                looks at a likelihood that is not measured.
        """
        task, document, taken = self._filtered(gold, texts)
        found = {}
        for name, answer in taken.items():
            if self._bar is None and len(texts) > 1 and not isinstance(answer, str):
                what = f"{self._label} judges {len(texts)} draws by the share of them that is right"
                raise BenchError(what, f"a bar makes it a verdict, such as {self._definition.metric}=0.5")
            one = _Taken(task, gold, document, answer)
            value, *others = (
                self._value(task, one.judged(likely)) for likely in extremes(self._definition.likelihoods)
            )
            if any(repr(other) != repr(value) for other in others):
                raise self._looking([one])
            found[name] = Reading(None if answer == NOTHING else str(answer), value, self._right(task, value))
        return found

    def require_measured(self, golds: Sequence[str]) -> None:
        """Judge some of the task's own solutions together, where lm-eval measures likelihoods beside the answers.

        Raises:
            BenchError: the metric looks at them.
        """
        if not self._definition.likelihoods:
            return
        solved = self._solved([(gold, *self._filtered(gold, [""])[:2]) for gold in _spread(golds)])
        if self._moves(solved, self._definition.metric):
            raise self._looking(solved)

    def totals(self, written: Iterable[tuple[str, Sequence[str]]]) -> dict[str, float]:
        """What lm-eval tells of answers together: each metric behind each filter, by lm-eval's own aggregation.

        Args:
            written: (gold, texts) of every answer.

        Returns:
            Such as {"exact_match,flexible-extract": 0.22, "bleu,none": 31.4}; a metric that has no total is left out,
            and so is one that looks at a likelihood that is not measured.
        """
        behind: dict[str, list[_Taken]] = defaultdict(list)
        for gold, texts in written:
            task, document, taken = self._filtered(gold, texts)
            for name, answer in taken.items():
                behind[name].append(_Taken(task, gold, document, answer))
        return {
            f"{metric},{name}": total
            for name, answers in behind.items()
            for metric, total in self._sums(answers).items()
        }

    def gold(self, target: object, document: Mapping[str, object], solution: str) -> str:
        """What a committed answer is judged by: the target's text, or the document where that is not enough.

        Raises:
            BenchError: the document holds what is no plain data, such as a picture.
        """
        if not self._definition.whole and not isinstance(target, list):
            return solution
        if self._definition.shows:
            document = {key: value for key, value in document.items() if _is_plain(value)}
        try:
            return json.dumps({"lm-eval document": document}, ensure_ascii=False, separators=(", ", ":"))
        except TypeError as error:
            raise BenchError(f"a document of {self._label} is no plain data: {error}", ANOTHER) from error

    def _filtered(self, gold: str, texts: Sequence[str]) -> tuple[Any, Mapping[str, object], dict[str, Any]]:
        """The judging task, the document, and what each filter takes out of the texts."""
        whole = gold.startswith(_DOCUMENT)
        document = json.loads(gold)["lm-eval document"] if whole else {definitions.GOLD: gold}
        task = self._task(document, whole)
        asked = Instance("generate_until", document, ("", {}), 0, (self._definition.name, 0, len(texts)), list(texts))
        task._instances = [asked]
        task.apply_filters()
        return task, document, {name: asked.filtered_resps[name] for name in self._definition.filters}

    def _task(self, document: Mapping[str, object], whole: bool) -> Any:
        if self._bare is not None and not whole:
            return self._bare
        if self._reader is None:
            self._reader = definitions.judge(self._definition.name, document)
        return self._reader

    def _value(self, task: Any, results: Mapping[str, Any]) -> float:
        """One answer's number; what lm-eval keeps of it for a corpus' number is that of a corpus of one."""
        metric = self._definition.metric
        if metric not in results:
            what = f"{self._label} gives no {metric} for an answer"
            raise BenchError(
                what, f"it gives {', '.join(results)}: name one, as in lm-eval:{self._definition.name},NAME"
            )
        value = results[metric]
        if self._bar is not None:
            number = value if isinstance(value, Real) else self._together(task, metric, [value])
            return nan if number is None else float(number)
        if value not in (0, 1):
            what = f"{self._label} gives {value!s:.40} for {metric}, and a row counts right and wrong"
            raise BenchError(what, f"a bar makes it so, such as {metric}=0.5; or {ANOTHER}")
        return float(value)

    def _right(self, task: Any, value: float) -> bool:
        if self._bar is None:
            return bool(value)
        # lm-eval says None of a function of which the task's file does not tell: more is better then.
        less = task.higher_is_better().get(self._definition.metric) is False
        return value <= self._bar if less else value >= self._bar

    def _kept(self, answers: Sequence[_Taken], likely: Sequence[Likelihood]) -> dict[str, list[Any]]:
        """What lm-eval keeps of each answer, by metric, had its model measured these likelihoods."""
        each, kept = self._definition.likelihoods, defaultdict(list)
        for place, one in enumerate(answers):
            measured = likely[place * each : (place + 1) * each]
            for metric, value in one.judged(measured).items():
                kept[metric].append(value)
        return kept

    def _sums(self, answers: Sequence[_Taken]) -> dict[str, float]:
        """The total of each metric that has one, and the same one whatever the likelihoods are."""
        each, task, found = self._definition.likelihoods, answers[-1].task, {}
        solved = self._solved([(one.gold, one.task, one.document) for one in _spread(answers)]) if each else []
        kept = [self._kept(answers, likely * len(answers)) for likely in extremes(each)]
        for metric in kept[0]:
            if each and self._moves(solved, metric):
                continue
            total, *others = (self._together(task, metric, values[metric]) for values in kept)
            if total is not None and all(repr(other) == repr(total) for other in others):
                found[metric] = total
        return found

    def _solved(self, documents: Iterable[tuple[str, Any, Mapping[str, Any]]]) -> list[_Taken]:
        """Documents answered by what the task itself calls right."""
        return [_Taken(task, gold, document, str(task.doc_to_target(document))) for gold, task, document in documents]

    def _moves(self, answers: Sequence[_Taken], metric: str) -> bool:
        """Whether a metric's total of these answers is another where lm-eval's model measures other likelihoods."""
        totals = (
            self._together(answers[-1].task, metric, self._kept(answers, likely)[metric])
            for likely in extremes(len(answers) * self._definition.likelihoods)
        )
        return len({repr(total) for total in totals}) > 1

    def _looking(self, answers: Sequence[_Taken]) -> BenchError:
        name, metric = self._definition.name, self._definition.metric
        what = f"{self._label}: {metric} looks at a likelihood that lm-eval measures, and none is measured here"
        free = [other for other in answers[-1].task.aggregation() if not self._moves(answers, other)]
        if not free:
            return BenchError(what, f"all metrics of the task do; {ANOTHER}")
        return BenchError(
            what, f"it is not looked at by {', '.join(free)}: name one, as in lm-eval:{name},{free[0]}=0.5"
        )

    def _together(self, task: Any, metric: str, values: list[Any]) -> float | None:
        """lm-eval's aggregation of what it kept of each answer; None where it cannot be taken."""
        self.lost = None
        try:
            total = task.aggregation()[metric](values)
        except (ArithmeticError, ImportError, KeyError, LookupError, OSError, TypeError, ValueError) as error:
            self.lost = error
            return None
        return float(total) if isinstance(total, Real) else None


def _is_plain(value: object) -> bool:
    """Whether a document's field can be written down; a picture or a sound, at which no judge looks, cannot."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _spread(all_of_them: Sequence[Any]) -> Sequence[Any]:
    """A few of them, from the first on at one distance."""
    return all_of_them[:: -(-len(all_of_them) // _PROBES)]
