"""Read the final number from a model's text and judge it, whatever the formatting of a right or wrong answer.

docs/reading-answers.md lists the rules in order and every choice of policy. These are the rules of version 2; version 1
(`_answers_v1`) still judges the rows that name it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from baseline_bench.core.types import Completion, Judgement, Problem
from baseline_bench.models import thoughts
from baseline_bench.tasks import _answers_v1
from baseline_bench.tasks._answers_v1 import LONGEST
from baseline_bench.tasks._notation import rewrite_notation
from baseline_bench.tasks._numbers import equal, numbers
from baseline_bench.tasks._statements import Reading

__all__ = ["EARLIER_READERS", "LONGEST", "READER", "Reading", "equal", "grade", "is_strict_answer", "read_answer"]

READER = "final-number@v2"

_FINAL_CHANNEL = re.compile(r"<\|channel\|>final[^<\n]{0,40}(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>")
_OPENING_TOKENS = re.compile(
    r"(?:\s*(?:<(?:bos|pad|s|\|turn)>|<[|｜](?!channel)[^<>\s]{1,40}[|｜]>)(?:assistant\b|model\b)?)+"
)
_END_OF_TURN = re.compile(
    r"<(?:/s|[be]os|pad|(?:end|start)_of_(?:turn|utterance)|[|｜][^<>\s|｜]{1,40}[|｜]|\|turn|turn\|)>|\[/?INST\]",
    re.IGNORECASE,
)
_THOUGHT_OR_TURN = re.compile(
    r"(?:\[(?=/?THINK\])|◁(?=/?think▷)|<(?=/?(?i:think(?:ing)?|thoughts?|seed:think|reasoning|reflection|scratchpad)>))"
    r"(?P<close>/)?[A-Za-z:]++[>\]▷]|"
    r"\n[ \t]{0,3}(?:#{1,6} )?(?:\*\*)?(?:Question|QUESTION|Q|Human|HUMAN|User|USER)(?:\*\*)?:|"
    r"\n[ \t]*(?:user|human|assistant|model|system)[ \t]*\n"
)
# Openings of another problem. Before an answer they may belong to this one, as the sub-questions of a solution do.
_OPENING = re.compile(
    r"(?:\A|\n)[ \t]{0,3}(?:(?:#{1,6} ?)?(?:\*\*)?(?:"
    r"(?:Problem|Exercise|Instruction|Input|Task)(?P<number> ?[0-9]{1,3})?|System|Prompt|Student|(?P<short>A(?=[*:]))|"
    r"(?P<next>(?:Follow[- ]?up|Next|Another|New|Bonus) (?:question|problem))|"
    r"(?:Question|Q|Example)(?P<question> ?[0-9]{1,3}))(?:\*\*)?(?::|[ \t]*\n)|"
    r"#{1,6} ?(?:\*\*)?(?:Question|Problem|Next (?:question|problem))\b[^\n]{0,20}\n|"
    r"\[(?:Question|Problem)\]|(?-i:user|assistant): )",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"[0-9]")
_BARE_NUMBER = re.compile(r"[^A-Za-z0-9]*[0-9][^A-Za-z]*")
_SENTENCE_END = re.compile(r"[.!?]\s|\n")
_FINAL_TOTAL = re.compile(r"\bfinal (?=(?:result|total|amount|value)\b)", re.IGNORECASE)
_CONCLUSION = re.compile(r"\b(?:so|thus|therefore|hence)\b|(?<![^\n])A:(?=[^:\n]*\n*\Z)", re.IGNORECASE)
_KNOWN_QUANTITY = re.compile(r"(?<=[0-9] )((?!each\b)[A-Za-z'-]{1,20} for the )[0-9]+(?= [a-z])")
# A whole statement of another answer: a number at the end of the text may be cut short.
_CORRECTION = re.compile(
    r"(?:\banswer|\bfinal (?:result|total|amount|value))\b[*_\"')\]}]{0,6}(?: (?:is|was)(?: not)?\b| ?[:=])"
    r"(?!\s*\n\s*[0-9]{1,2}[.)][ \t]+[A-Za-z*])"
    r"[^A-Za-z0-9.!?]{0,20}\.?[0-9](?:[^A-Za-z.!?\n]|\.(?=[0-9]))*"
    r"(?:(?!(?:times|of|more|less|if)\b)[A-Za-z/%°²³]+[ *$)]{0,4}){0,4}(?:[.!\n]|(?<![0-9.,])\Z)",
    re.IGNORECASE,
)
_DOUBT = re.compile(r"\b(?:if|would|wrong|common|incorrect)\b[^.!?\n]*\Z", re.IGNORECASE)

ReadFunction = Callable[[str, bool], Reading]


def read_answer(text: str, finished: bool = False) -> Reading:
    r"""Read the final answer.

    The first rule that matches: the last `####` line that opens with a number; the last `\boxed{}`, or the last "the
    answer is" or "Answer:" with the first number after it if that follows the box; the last number; number words only
    in a text without digits. Runs in linear time on the last `LONGEST` characters, evaluates nothing and never raises.

    Args:
        text: what the model wrote, without the thoughts that its token ids show.
        finished: the model ended it, so that a number at its end is whole.
    """
    visible = _visible_text(text)
    if visible is None:
        return Reading(None, "unclosed-think")
    shown = rewrite_notation(visible[-LONGEST:]) + "\n" * finished
    for rule in (_answers_v1.read_hash, _read_box_or_cue, _read_last):
        reading = rule(shown)
        if reading is not None:
            return reading
    return Reading(None, "no-number")


def is_strict_answer(text: str, gold: str) -> bool:
    """Tell whether the last `####` line is GSM8K's own `#### N`, a number alone on its line, and equals `gold`."""
    return _answers_v1.matches_format(_visible_text(text), gold, read_answer(text))


def _grade(
    read: ReadFunction, is_strict: Callable[[str, str], bool], problem: Problem, completion: Completion
) -> Judgement:
    """Judge one completion against the problem's gold answer; never raises for anything a model can write.

    Of several draws the most frequent answer counts, the earliest of equally frequent ones (self-consistency, Wang et
    al. 2023, arXiv:2203.11171); rule and format are those of the first draw with that answer.
    """
    readings = [read(draw.text, draw.finish_reason == "stop") for draw in completion.draws]
    votes = Counter(reading.answer for reading in readings if reading.answer)
    chosen = max(range(len(readings)), key=lambda number: votes[readings[number].answer or ""])  # the first of ties
    reading = readings[chosen]
    correct = reading.answer is not None and equal(reading.answer, problem.answer)
    return Judgement(
        problem_id=problem.id,
        answer=reading.answer,
        rule=reading.rule,
        correct=correct,
        strict=correct and is_strict(completion.draws[chosen].text, problem.answer),
        finish=completion.finish,
    )


grade = partial(_grade, read_answer, is_strict_answer)
EARLIER_READERS: Mapping[str, Callable[[Problem, Completion], Judgement]] = {
    _answers_v1.READER: partial(_grade, lambda text, _: _answers_v1.read_answer(text), _answers_v1.is_strict_answer)
}
"""How earlier versions grade, by the READER that their rows name."""


def _visible_text(text: str) -> str | None:
    """Drop text after the model's turn, its thoughts and further problems; None if a thought was never closed."""
    start, end = thoughts.find_answer([thoughts.TextPiece(text)], None)
    if 0 < start == end:
        return None
    text = text[start:]
    channels = list(_FINAL_CHANNEL.finditer(text))
    if channels:
        text = text[channels[-1].end() :]
    elif "<|channel|>" in text:
        return None
    opening_tokens = _OPENING_TOKENS.match(text)
    text = text if opening_tokens is None else text[opening_tokens.end() :]
    visible = _answers_v1.visible_text(text, _END_OF_TURN, _THOUGHT_OR_TURN)
    return None if visible is None else visible[: _find_next_problem(visible)]


def _find_next_problem(visible: str) -> int:
    """Return where another problem opens behind an answer, else the length of the text."""
    start, numbered = 0, False
    concluded: bool | None = None
    for opening in _OPENING.finditer(visible):
        part = visible[start : opening.start()]
        is_numbered = bool(opening["number"] or opening["question"])
        if _answers_v1.read_hash(part) or _answers_v1.find_boxes(part):
            return opening.start()
        # Of questions that the solution asks itself, the next one is a step; so is one before a final answer.
        if opening["next"] and _DIGIT.search(part) and "?" not in part:
            concluded = _states_answer(visible[opening.end() :]) if concluded is None else concluded
            if not concluded:
                return opening.start()
        # After "Question 1: ...", "Question 2: ..." is a step of the same solution, whose cues are no final answers.
        if not (numbered and is_numbered) and (
            _CORRECTION.search(_FINAL_TOTAL.sub("", part))
            if opening["short"]
            else _answers_v1.read_cue(part) or (start == 0 and _BARE_NUMBER.fullmatch(part))
        ):
            return opening.start()
        start, numbered = opening.start(), numbered or is_numbered
    return len(visible)


def _states_answer(text: str) -> bool:
    return bool(_answers_v1.read_hash(text) or _answers_v1.find_boxes(text) or _answers_v1.read_cue(text))


def _read_box_or_cue(shown: str) -> Reading | None:
    """Read the last box or a whole correction behind it; without a box, the last cue."""
    boxes = _answers_v1.find_boxes(shown)
    if not boxes:
        return _answers_v1.read_cue(_drop_intermediate_total(shown))
    tail = _drop_intermediate_total(shown[boxes[-1][2] :])
    for correction in reversed(list(_CORRECTION.finditer(tail))):
        cue = _answers_v1.read_cue(correction.group())
        if (
            cue
            and cue.rule != "unfinished"
            and not _DOUBT.search(tail, max(0, correction.start() - 200), correction.start())
        ):
            return cue
    return _answers_v1.read_box(shown)


def _drop_intermediate_total(shown: str) -> str:
    """Write "final total" as "total" where a later sentence concludes another number: it is a step then."""
    last_digit = max(shown.rfind(digit) for digit in "0123456789")
    ends = [match.end() for match in _SENTENCE_END.finditer(shown, 0, max(last_digit, 0))]
    if not ends or not _CONCLUSION.search(shown, ends[-1]) or not _FINAL_TOTAL.search(shown):
        return shown
    equation = shown.rfind("=", ends[-1])
    concluded = [number.text for number in numbers(shown, max(ends[-1], equation + 1))]
    cue = _answers_v1.read_cue(shown)
    if cue and cue.answer and any(text and equal(text, cue.answer) for text in concluded):
        return shown
    return _FINAL_TOTAL.sub("", shown[: ends[-1]]) + shown[ends[-1] :]


def _read_last(shown: str) -> Reading | None:
    """Read the last number; in "7 buses for the 40 children" the second one was known before."""
    return _answers_v1.read_last(_KNOWN_QUANTITY.sub(r"\1", shown))
