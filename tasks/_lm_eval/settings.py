"""What a row takes from a task of lm-eval: a metric that says right or wrong, behind one filter, and how it draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS, DEFAULT_OTHER_SEED
from lm_eval.models.utils import normalize_gen_kwargs

from harness.errors import BenchError
from harness.types import Sampling

ANOTHER = "name another task of `lm_eval ls tasks`"
# The one metric of lm-eval's own for generated text that says right or wrong of an answer, and names that tasks with a
# function of their own give to such a one; the others are degrees.
EXACT = "exact_match"
RIGHT_OR_WRONG = (EXACT, "em", "acc", "accuracy", "contains", "prompt_level_strict_acc")
SEEN_OR_HEARD = "asks about pictures or sounds"
# Keys of generation_kwargs that are understood; others would be asked of an engine that does not know them.
_KNOWN = ("until", "max_gen_toks", "do_sample", "temperature", "top_p", "num_beams")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `lm-eval:NAME[,METRIC[,FILTER][=BAR]]` asks for.

    Attributes:
        name: of the task.
        metric: what is to be counted; None takes the task's own metric that says right or wrong.
        bar: the degree from which on an answer is right (up to which, where less is better); None where the metric
            itself says right or wrong.
        filter: what takes the answer out of the text, as lm-eval names it behind a metric ("exact_match,maj@64"); None
            takes flexible-extract, or the task's first.
    """

    name: str
    metric: str | None = None
    bar: float | None = None
    filter: str | None = None

    def __str__(self) -> str:
        return ",".join(word for word in (self.name, self.metric, self.filter) if word is not None) + self.reached

    @property
    def reached(self) -> str:
        """The bar as it is said behind the metric, every digit of it; nothing where there is none."""
        if self.bar is None:
            return ""
        short = f"{self.bar:g}"
        return f"={short if float(short) == self.bar else repr(self.bar)}"


def parse(text: str) -> Asked:
    """What stands behind `lm-eval:`.

    Raises:
        BenchError: the bar is no number, or a filter is named without the metric behind it.
    """
    name, _, counted = text.partition(",")
    said, equals, bar = counted.partition("=")
    metric, _, chosen = said.partition(",")
    if chosen and not metric:
        raise BenchError(f"'{text}' names a filter and no metric", f"say it as lm-eval:{name},{EXACT},{chosen}")
    if not equals:
        return Asked(name, metric or None, None, chosen or None)
    try:
        return Asked(name, metric, float(bar), chosen or None)
    except ValueError:
        raise BenchError(f"'{bar}' is no number", f"say it as lm-eval:{name},{said or 'METRIC'}=0.5") from None


def metric(named: Sequence[str], asked: Asked, *, own: bool, functions: bool) -> str:
    """The name of the metric that is counted.

    Args:
        named: the task's metrics.
        asked: what the user wants counted.
        own: the task judges by a program of its own, which gives the metrics their names.
        functions: some are functions, which may give numbers under other names than their own (pass@1 of pass_at_k);
            whether they do is told once they have judged.

    Raises:
        BenchError: the task has no such metric, or none that says right or wrong, and no bar is given.
    """
    if asked.metric is not None:
        if asked.metric not in named and not functions:
            raise BenchError(f"lm-eval's '{asked.name}' has no metric '{asked.metric}'", f"it has {', '.join(named)}")
        return asked.metric
    known = list(named[:1]) if own else [EXACT]
    if counted := [name for name in known if name in named and name in RIGHT_OR_WRONG]:
        return counted[0]
    raise BenchError(
        f"lm-eval's '{asked.name}' is judged by degrees ({', '.join(named)}), and a row counts right and wrong",
        f"say from which degree on an answer is right, such as --task lm-eval:{asked.name},{named[0]}=0.5",
    )


def metrics(config: Any) -> list[str]:
    """The names of a task's metrics, in lm-eval's order; its default for generated text where the task names none."""
    named = [each["metric"] for each in config.metric_list or [{"metric": EXACT}]]
    return [each.__name__ if callable(each) else str(each) for each in named]


def refused(config: Any) -> str | None:
    """Why a task that generates cannot be a row; None where it can."""
    drawn: Mapping[str, Any] = config.generation_kwargs or {}
    strange = [key for key in drawn if not key.startswith("max_") and key not in _KNOWN]
    reasons = (
        (config.doc_to_image or config.doc_to_audio, SEEN_OR_HEARD),
        (
            drawn.get("num_beams", 1) != 1 and normalize_gen_kwargs(dict(drawn), 1).get("do_sample"),
            "draws among beams, which no engine here does",
        ),
        (strange, f"generates by {', '.join(strange)}, which no engine here knows"),
        (config.use_prompt, "takes its prompts from another library (use_prompt)"),
    )
    return next((why for wrong, why in reasons if wrong), None)


def sampling(given: Mapping[str, Any], draws: int = 1) -> Sampling:
    """How answers are drawn: greedily, or by lm-eval's seed where the task asks for a temperature.

    Args:
        given: the task's generation_kwargs.
        draws: answers that the task wants to each question (`repeats`).
    """
    several = None if draws == 1 else draws
    beams = int(given.get("num_beams", 1))
    asked = normalize_gen_kwargs(dict(given), DEFAULT_MAX_GEN_TOKS)
    stop, most, temperature = tuple(asked["until"]), int(asked["max_gen_toks"]), float(asked.get("temperature", 0))
    if temperature == 0:
        return Sampling(max_tokens=most, stop=stop, draws=several, beams=None if beams == 1 else beams)
    share = float(asked.get("top_p", 1))
    return Sampling(most, temperature, stop, seed=DEFAULT_OTHER_SEED, top_p=share if share < 1 else None, draws=several)
