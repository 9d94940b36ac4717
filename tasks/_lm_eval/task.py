"""A task of lm-eval as one of ours: its prompts, stops, limits, filters and metric are lm-eval's own.

`--task lm-eval:gsm8k` asks what `lm_eval run --tasks gsm8k` asks: with a chat template what it asks under
`--apply_chat_template --fewshot_as_multiturn True`, without one its plain text.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from math import isnan
from typing import Any

from datasets.exceptions import DatasetsError
from lm_eval.api.utils import maybe_delimit
from lm_eval.defaults import DEFAULT_OTHER_SEED

from harness import media
from harness.errors import BenchError
from harness.media import Medium
from harness.mirrors import as_it_lies
from harness.quiet import no_bars
from harness.types import Completion, Message, Problem, Split, Verdict
from tasks._lm_eval import chance, settings
from tasks._lm_eval import definition as definitions
from tasks._lm_eval.judge import Judge, Reading

LENIENT, STRICT = "flexible-extract", "strict-match"
MADE = "give what it asks for behind its name: lm-eval:NAME?tokenizer=FOLDER&max_seq_lengths=[4096]"
# What a program that makes questions may raise where it lacks what it is to be given.
_PROGRAM = (AssertionError, ImportError, LookupError, TypeError)
OFFLINE = "name a folder that holds it in the hub's layout: --datasets DIR or BENCH_DATASETS"


class LmEvalTask:
    """A task of the installed lm-eval; satisfies `harness.contracts.Task`.

    `correct` is the metric behind the filter flexible-extract, or behind the first filter where none has that name;
    `strict` is the one behind strict-match, or the same as `correct`. Both are lm-eval's own: neither holds the other.
    Where a filter is asked for, both are behind it. A task that draws several answers is judged by all of them.

    Args:
        asked: its name as `lm_eval run --tasks` takes it, what is counted, and from which degree on it is right.

    Raises:
        BenchError: lm-eval has no such task, or it cannot be a row, and why.
    """

    media: Callable[[Problem], tuple[Medium, ...]]

    def __init__(self, asked: settings.Asked) -> None:
        self.definition = definitions.read(asked)
        names, rules = self.definition.filters, self.definition.rules
        bar = asked.reached
        self._lenient = _filter(asked, names)
        self._strict = STRICT if STRICT in names and asked.filter is None else self._lenient
        self._measured = self.definition.metric if bar else None
        self.LABEL = f"lm-eval/{asked}@{self.definition.version}"
        digest = hashlib.sha256(rules.encode()).hexdigest()[:8]
        self.READER = f"lm-eval/{self.definition.metric}{bar},{self._lenient}@{digest}"
        self.SAMPLING = self.definition.sampling
        self.REPOSITORY = self.definition.repository
        self._turns: dict[str, tuple[Message, ...]] = {}
        self._texts: dict[str, str] = {}
        self._metadata = asked.given
        self._asked: dict[Split, list[Problem]] = {}
        self._media: dict[str, tuple[Medium, ...]] = {}
        if self.definition.shows:
            self.media = self._shown
        self._judge = Judge(self.definition, asked, self.LABEL)

    def problems(self, split: Split) -> list[Problem]:
        """Every document in lm-eval's order, its shots drawn as one process of lm-eval draws them for all documents.

        Raises:
            BenchError: training items are asked for, or the data set cannot be loaded.
        """
        if split.name == "train":
            raise BenchError(f"{self.LABEL} is scored and not trained on", "name a task of ours, or a file, as data")
        if split not in self._asked:
            with chance.of_a_run():
                self._asked[split] = self._drawn(self._loaded(split))
        return list(self._asked[split])

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The description as a system turn, the shots as turns and the question, in lm-eval's wording.

        Where the task begins the answer (`gen_prefix`), that is the last turn.

        Raises:
            BenchError: `problems` has not given this problem.
        """
        return self._turns[self._given(problem)]

    def text(self, problem: Problem) -> str:
        """The whole prompt for a model without a chat template: lm-eval's plain text."""
        return self._texts[self._given(problem)]

    def grade(self, problem: Problem, completion: Completion) -> Verdict:
        """What lm-eval says of one completion; never raises where lm-eval's own function does not."""
        readings = self.readings(problem.answer, *(draw.text for draw in completion.draws))
        lenient = readings[self._lenient]
        rule = self._lenient if self._measured is None else f"{self._measured} {lenient.value:.4g}"
        return Verdict(
            problem_id=problem.id,
            answer=lenient.text,
            rule=rule if lenient.text is not None else "nothing-matched",
            correct=lenient.correct,
            strict=readings[self._strict].correct,
            finish=completion.finish,
        )

    def readings(self, gold: str, *texts: str) -> Mapping[str, Reading]:
        """What each filter takes out of an answer, and what the metric says of it; no data is read.

        Args:
            gold: lm-eval's target, as `problems` gives it in `answer`.
            texts: what a model wrote: one text, or one for each of the task's draws.
        """
        return self._judge.readings(gold, texts)

    def totals(self, written: Iterable[tuple[str, Sequence[str]]]) -> dict[str, float]:
        """What `lm_eval run` would tell of these (gold, texts): each metric behind each filter, for all of them."""
        return self._judge.totals(written)

    def picks(self, name: str) -> str:
        """Which of its matches a filter takes, in words: "the first match", "the last match", or "its own rule"."""
        filters = {each["name"]: each["filter"] for each in json.loads(self.definition.rules).get("filter_list") or ()}
        chosen = next((step.get("group_select", 0) for step in filters.get(name, ()) if "regex_pattern" in step), None)
        return "the first match" if chosen == 0 else "the last match" if chosen == -1 else "its own rule"

    def _shown(self, problem: Problem) -> tuple[Medium, ...]:
        """What stands at the `<image>` and `<audio>` of a question, in order; `media` of the contract where it does."""
        return self._media[self._given(problem)]

    def _without(self, name: str) -> tuple[Medium, ...]:
        what = f"lm-eval shows no picture and plays no sound with {name} of {self.LABEL}, which is about them"
        raise BenchError(what, f"it would be asked without; {settings.ANOTHER}")

    def _given(self, problem: Problem) -> str:
        if problem.id not in self._turns:
            raise BenchError(f"{self.LABEL} has no question '{problem.id}'", "ask for its problems first")
        return problem.id

    def _drawn(self, task: Any) -> list[Problem]:
        documents = list(task.eval_docs)
        manner = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": _as_json}
        asked, told, found = _contexts(task, documents, **manner), _contexts(task, documents), []
        for number, document in enumerate(documents):
            name, turns = f"test-{number}", json.loads(asked[number])
            self._turns[name] = tuple(Message(turn["role"], turn["content"]) for turn in turns)
            self._texts[name] = told[number]
            if self.definition.shows:
                self._media[name] = tuple(_media(task, document)) or self._without(name)
            found.append(self._problem(name, task, document))
        self._require_judge(found[0])
        self._judge.require_measured([problem.answer for problem in found])
        return found

    def _require_judge(self, problem: Problem) -> None:
        """Let the task judge one of its own solutions, before anything is generated that it could not judge."""
        try:
            drawn = [problem.solution] * (self.SAMPLING.draws or 1)
            found = self.readings(problem.answer, *drawn)[self._lenient]
            if isnan(found.value):
                raise self._judge.lost or ValueError(f"no number for {self.definition.metric}")
        except (ArithmeticError, AssertionError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
            what = f"{self.LABEL} cannot judge its own solution of {problem.id}: {_told(error)}"
            raise BenchError(what, f"install what it names, or {settings.ANOTHER}") from error

    def _problem(self, name: str, task: Any, document: Mapping[str, object]) -> Problem:
        """Make a problem; its gold is lm-eval's target, or the document where that is no single text."""
        target = task.doc_to_target(document)
        if isinstance(target, int) and task.config.doc_to_choice is not None:
            solution = str(task.doc_to_choice(document)[target])
        else:
            solution = str(target[0]) if isinstance(target, list) and target else str(target)
        question = next(turn.content for turn in reversed(self._turns[name]) if turn.role == "user")
        begun = task.doc_to_prefix(document) or ""
        # A solution goes on where the task has begun it, behind the space that lm-eval puts between the two.
        written = maybe_delimit(begun, solution).removeprefix(begun) if begun else solution
        if begun:
            question = f"{question}\n\n{begun}"
        return Problem(name, question, self._judge.gold(target, document, solution), written)

    def _loaded(self, split: Split) -> Any:
        folder = None
        if split.mirror is not None and self.REPOSITORY is not None:
            folder = split.mirror / self.REPOSITORY
            if not folder.is_dir():
                raise BenchError(f"no {self.REPOSITORY} in the folder {split.mirror}", OFFLINE)
        try:
            with no_bars(), redirect_stdout(io.StringIO()), as_it_lies(folder):
                return definitions.load(self.definition.name, None if folder is None else str(folder), self._metadata)
        except (OSError, DatasetsError, ValueError, *_PROGRAM) as error:
            if self.REPOSITORY is None:
                what = f"the program of {self.LABEL} makes no questions: {_told(error)}"
                raise BenchError(what, f"{MADE}; or {OFFLINE}") from error
            raise BenchError(f"cannot load {self.REPOSITORY} for {self.LABEL}: {_told(error)}", OFFLINE) from error


@cache
def task(name: str) -> LmEvalTask:
    """The task of that name; each is made once, for lm-eval reads many files to find it."""
    return LmEvalTask(settings.parse(name))


def _told(error: Exception) -> str:
    """What an error says, in a line; Unitxt puts a box before it, and keeps what was said."""
    said = getattr(error, "original_error", error)
    return next(iter(str(said).strip().splitlines()), type(said).__name__)


def _filter(asked: settings.Asked, names: Sequence[str]) -> str:
    """Behind which filter the metric is counted.

    Raises:
        BenchError: the task has no such filter.
    """
    if asked.filter is None:
        return LENIENT if LENIENT in names else names[0]
    if asked.filter not in names:
        raise BenchError(f"lm-eval's '{asked.name}' has no filter '{asked.filter}'", f"it has {', '.join(names)}")
    return asked.filter


def _contexts(task: Any, documents: Sequence[Any], **manner: object) -> list[str]:
    """The prompt of every document: the shots are drawn one document after another, whatever is scored."""
    task.set_fewshot_seed(DEFAULT_OTHER_SEED)
    shots = task.config.num_fewshot or 0
    return [
        task.fewshot_context(document, num_fewshot=shots, gen_prefix=task.doc_to_prefix(document), **manner)
        for document in documents
    ]


def _media(task: Any, document: Mapping[str, Any]) -> Iterator[Medium]:
    """What the task shows or plays of a document, as it hands it to a model of lm-eval's."""
    hears = bool(task.config.doc_to_audio)
    pictures = task.doc_to_image(document) if task.config.doc_to_image or not hears else None
    sounds = task.doc_to_audio(document) if hears else None
    yield from (media.picture(each) for each in pictures or ())
    yield from (media.sound(each["array"], int(each["sampling_rate"])) for each in sounds or ())


def _as_json(turns: Sequence[Mapping[str, str]], **_manner: object) -> str:
    """Stand in for a chat template, and keep the turns."""
    return json.dumps(turns)
