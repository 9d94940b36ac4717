"""Completions whose obvious number is not their answer, and sound ones in which the same number is.

A completion has no codes: "refused" is one of which the number is not read.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from baseline_bench.core.types import Completion, Finish, Problem
from baseline_bench.models import registry, tokenizer, tokens
from baseline_bench.tasks._answers import grade

from corpus import templates
from corpus.cases import REFUSED, Case, Check, Found, Run

_SPECIAL = dict.fromkeys(("<|endoftext|>", "<|box|>"), True)


@dataclass(frozen=True)
class Written:
    """A completion, and the number that a careless reader takes.

    Attributes:
        folder: of the model whose token ids it is; None if only the text is known.
    """

    text: str
    number: str
    finish: Finish
    folder: Path | None = None


def look(written: Written, _: Run) -> list[Found]:
    """Read it as a run does, or as `bench grade` where only the text is known."""
    completion = Completion(written.text, None, written.finish)
    if written.folder is not None:
        one = tokenizer.load_tokenizer(registry.resolve_model(str(written.folder), written.folder / "cache"))
        ids = tuple(one.tokenizer.encode(written.text, add_special_tokens=False))
        text = tokens.decode_completion(one.tokenizer, ids, one.prompt_format.stop_ids, ())
        completion = tokens.AnswerLocator(one, ()).started(Completion(text, ids, written.finish), None).answer
    return [] if grade(Problem("a", "", written.number, ""), completion).correct else list(REFUSED)


def _build(text: str, number: str, finish: Finish, ids: bool, place: Path) -> Written:
    folder = templates.template(templates.CHATML, place, "chatml", _SPECIAL) if ids else None
    return Written(text, number, finish, folder)


def _pair(
    bad: str,
    number: str,
    sound: str,
    *checks: Check,
    ids: bool = False,
    finish: tuple[Finish, Finish] = ("stop", "stop"),
) -> tuple[Case, Case]:
    """Two completions: the number is not the answer of the first, and that of the second."""
    names = repr(bad), repr(sound)
    builds = [partial(_build, text, number, end, ids) for text, end in zip((bad, sound), finish, strict=True)]
    source = "found by hand"
    return (
        Case(names[0], source, builds[0], REFUSED, names[1], checks),
        Case(names[1], source, builds[1], (), names[0]),
    )


def _never(place: str) -> Check:
    return Check(place, re.compile(r"(?!)(x)"))


_NOTATION, _ANSWERS = "tasks._notation:", "tasks._answers:"
_AFTER, _WITH, _CALL = (_never(_NOTATION + name) for name in ("_AFTER_DIGITS", "_WITH_DIGITS", "_CALL"))
_OPERATOR, _MINUS = _never(_NOTATION + "_WORD_OPERATOR"), _never(_NOTATION + "_MINUS_BRACKET")
_UNLIKELY, _DENIED = _never(_NOTATION + "_UNLIKELY"), _never(_NOTATION + "_DENIED")
_OPENING, _THOUGHT = _never(_ANSWERS + "_OPENING"), _never(_ANSWERS + "_THOUGHT_OR_TURN")
_TURN = _never(_ANSWERS + "_END_OF_TURN")
_PLACE = Check(
    "models.thoughts:find_answer", lambda pieces, _: (0, sum(len(piece.text) for piece in pieces if not piece.special))
)
_BOUNDARY = Check("models.tokens:BOUNDARY", "")
PAIRS = (
    # Special tokens.
    _pair("18<|endoftext|>5", "185", "185<|endoftext|>3", _PLACE, _BOUNDARY, ids=True),
    _pair("#### 18<|endoftext|>Human: 3+4?\n#### 7", "7", "<|im_start|>assistant\n#### 7", _PLACE, ids=True),
    _pair("18<|box|>5", "185", "<|box|>185<|box|> eggs", _BOUNDARY, ids=True),
    # Algebra in plain text.
    _pair("There are 5! ways.", "5", "There are 5!", _AFTER),
    _pair("#### 5!", "5", "The answer is 5!", _never(_NOTATION + "_BARE_FACTORIAL")),
    _pair("The answer is 2 sqrt(3).", "2", "sqrt(4) = 2", _AFTER),
    _pair("#### sqrt(2)", "2", "The square root of 4 is 2.", _CALL, _WITH),
    _pair("#### 2*pi", "2", "2 pints", _AFTER),
    _pair("log(100)", "100", "They log 100 hours.", _CALL),
    _pair("The answer is the square root of 16.", "16", "She roots for 16.", _WITH),
    _pair("#### 5 choose 2", "5", "They choose 5", _OPERATOR),
    _pair("12 mod 5", "5", "12 mod 7 = 5", _OPERATOR),
    _pair("#### 101 base 2", "101", "#### 101 base hits", _OPERATOR),
    _pair("#### 1/2 of 36", "1/2", "#### 1/2 of it", _OPERATOR),
    _pair("The answer is 2e.", "2", "The answer is 2 e-mails.", _AFTER),
    _pair("#### 3a", "3", "It is 3a.m.", _AFTER),
    _pair("The answer is 5 squared.", "5", "The answer is 5 squared feet.", _AFTER),
    _pair("The answer is -(-3).", "-3", "The answer is -(3).", _MINUS),
    _pair("#### 2(3)", "2", "2 (a pair)", _AFTER),
    # Continuations.
    *(
        _pair(f"The answer is 18.\n{opening} 3+4?\nThe answer is 7.", "7", f"{opening} 7", _OPENING)
        for opening in ("System:", "Prompt:", "Student:", "A:", "Follow-up question:", "**Next question:**")
    ),
    _pair("She has 18 eggs.\nFollow-up question: 3+4?\n7", "7", "Eggs? 18\nNext question: Days? 7", _OPENING),
    _pair("18<turn|>\n<|turn>user\n7", "7", "<|turn>model\n7<turn|>", _TURN),
    # Denials.
    _pair("It is certainly not going to be 18.", "18", "It is certainly going to be 18.", _UNLIKELY),
    _pair("I doubt it is 18.", "18", "I have no doubt it is 18.", _UNLIKELY),
    _pair("It is wrong that the answer is 18.", "18", "It is true that the answer is 18.", _UNLIKELY),
    _pair("The answer is 18? This is incorrect.", "18", "The answer is 18? This is correct.", _DENIED),
    _pair("18 is wrong.", "18", "18 is right.", _DENIED),
    # Thoughts in a text.
    _pair("[THINK]7[/THINK]I cannot say.", "7", "[THINK]It[/THINK]7", _PLACE, _THOUGHT),
    _pair("So: [THINK]#### 7[/THINK] none.", "7", "So: [THINK]#### 8[/THINK] 7.", _THOUGHT),
    _pair("<|START_THINKING|>#### 7<|END_THINKING|>None.", "7", "<|START_RESPONSE|>7<|END_RESPONSE|>", _PLACE),
    _pair("<reasoning>\n#### 7</reasoning>None.", "7", "[Reasoning]\nSo it is 7", _THOUGHT),
    # A number at the end of a text that was cut may be cut short.
    _pair("\\boxed{20}. Wait.\n\nThe final answer is 18", "20", "\\boxed{20}\n\nThe answer is 2",
          Check(_ANSWERS + "_CORRECTION", re.compile(r"(?!)(x)")), finish=("stop", "length")),
)  # fmt: skip
CASES = tuple(case for pair in PAIRS for case in pair)
