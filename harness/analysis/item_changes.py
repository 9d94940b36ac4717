"""Show why single items changed: both answers to each question that exactly one row got right."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from baseline_bench.analysis.compare import ItemChange, list_item_changes
from baseline_bench.core.markup import make_visible
from baseline_bench.core.types import Completion, Finish, Judgement, Problem
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.completions import CommittedCompletion, restore_completion
from baseline_bench.results.entry import Entry

GradeFunction = Callable[[Problem, Completion], Judgement]


@dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """What one row generated for a question, and how it was judged.

    Attributes:
        text: as it was committed.
        finish: why generation ended; None where a log of another tool does not tell.
        read: the answer that was read; None if none was.
        rule: of the reader that matched, or why none did; None where the task's reader is not available.
        correct: as the entry records it.
    """

    text: str
    finish: Finish | None
    read: str | None
    rule: str | None
    correct: bool


@dataclass(frozen=True, slots=True)
class CompletionPair:
    """An item that exactly one of two rows got right. `question` is None where the task's data is not available."""

    id: str
    question: str | None
    gold: str
    move: ItemChange
    first: JudgedCompletion
    second: JudgedCompletion


@dataclass(frozen=True, slots=True)
class EntryCompletions:
    """A row with its committed completions, in item order."""

    entry: Entry
    lines: tuple[CommittedCompletion, ...]


def iterate_changed_items(
    first: EntryCompletions, second: EntryCompletions, grade: GradeFunction | None, questions: Mapping[str, str]
) -> Iterator[CompletionPair]:
    """Yield every item that exactly one of two rows got right, lazily and in item order.

    Args:
        first, second: the rows, comparable or as a system comparison.
        grade: the reader of their task, to show what was read; None where it is not available.
        questions: text by item id, where known.

    Raises:
        BenchError: the rows cannot be compared.
    """
    for move in list_item_changes(first.entry, second.entry):
        if move.cause == "format":
            continue
        line = first.lines[move.place]
        answers = [_judge_completion(one, move.place, grade) for one in (first, second)]
        yield CompletionPair(line.id, questions.get(line.id), line.gold, move, answers[0], answers[1])


def render_markdown(items: Sequence[CompletionPair], first: str, second: str) -> str:
    """Render the items as Markdown, each folded under its id; no text of a model or data set can leave its block.

    Args:
        items: in the order of the output.
        first, second: the rows' names, as plain text.
    """
    return "\n".join(part for item in items for part in _render_item(item, (first, second)))


def fence_text(text: str, line_end: str = "\r\n|\n|\r") -> str:
    """Return a fenced block that shows `text`: its fence is longer than any run of backticks inside.

    Line ends stay, every other control, invisible or direction-changing character is spelled out; GitHub renders
    nothing inside as Markdown, a mention, a link or LaTeX.
    """
    shown = "\n".join(make_visible(line.replace("\t", "    ")) for line in re.split(line_end, text))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"


def describe_judgement(answer: JudgedCompletion, gold: str) -> str:
    """Describe a judgement in one line: right or wrong, what was read by which rule, and why generation ended."""
    if answer.rule is None:
        read = "nothing read" if answer.read is None else "its reader is not here"
    else:
        read = f"read {'nothing' if answer.read is None else answer.read} by {answer.rule}"
    ended = {"length": "cut at the token limit", "stop": "stopped by itself", None: "its end is not logged"}
    verdict = "right" if answer.correct else "wrong"
    return make_visible(f"{verdict}: gold {gold}, {read}, {ended[answer.finish]}")


def _judge_completion(row: EntryCompletions, index: int, grade: GradeFunction | None) -> JudgedCompletion:
    line, bits = row.lines[index], row.entry.result.bits
    correct, unread = (hex_to_bits(bit_text, len(row.lines))[index] for bit_text in (bits.correct, bits.unread))
    if grade is None:
        return JudgedCompletion(line.shown, line.finish, None if unread else "?", None, correct)
    judgement = grade(Problem(line.id, "", line.gold, ""), restore_completion(line))
    return JudgedCompletion(line.shown, line.finish, judgement.answer, judgement.rule, correct)


def _render_item(item: CompletionPair, names: tuple[str, str]) -> Iterator[str]:
    won = "won" if item.move.won else "lost"
    yield f"<details><summary>{won}: {_escape_inline(item.id)} ({item.move.cause})</summary>"
    yield ""
    if item.question is not None:
        yield from (fence_text(item.question), "")
    for name, answer in zip(names, (item.first, item.second), strict=True):
        yield from (
            f"{_escape_inline(name)}: {_escape_inline(describe_judgement(answer, item.gold))}",
            "",
            fence_text(answer.text),
            "",
        )
    yield from ("</details>", "")


def _escape_inline(text: str) -> str:
    """Escape untrusted text within a line: every Markdown and HTML mark becomes a number, and GitHub links nothing."""
    marks = re.sub(r"[^\w .,()=+%-]|_", lambda match: f"&#{ord(match[0])};", make_visible(text))
    return f"<code>{marks}</code>"
