"""A task of lm-eval as one of ours: its prompts, stops, limits, filters and metric are lm-eval's own.

`--task lm-eval:gsm8k` asks what `lm_eval run --tasks gsm8k` asks: with a chat template what it asks under
`--apply_chat_template --fewshot_as_multiturn True`, without one its plain text.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from datasets.exceptions import DatasetsError
from lm_eval.api.instance import Instance
from lm_eval.defaults import DEFAULT_OTHER_SEED

from harness.errors import BenchError
from harness.mirrors import as_it_lies
from harness.quiet import no_bars
from harness.types import Completion, Message, Problem, Split, Verdict
from tasks import _lm_eval_definition as definitions

LENIENT, STRICT = "flexible-extract", "strict-match"
# What lm-eval's regex filters give where nothing matched.
NOTHING = "[invalid]"
# Opens a gold that is a whole document, where a task's own function judges and is given all of it.
_DOCUMENT = '{"lm-eval document":'
OFFLINE = "name a folder that holds it in the hub's layout: --datasets DIR or BENCH_DATASETS"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one filter of lm-eval makes of a text.

    Attributes:
        text: what the filter took out; None where it says that nothing matched.
        correct: what the metric says of it.
    """

    text: str | None
    correct: bool


class LmEvalTask:
    """A task of the installed lm-eval; satisfies `harness.contracts.Task`.

    `correct` is the metric behind the filter flexible-extract, or behind the first filter where none has that name;
    `strict` is the one behind strict-match, or the same as `correct`. Both are lm-eval's own: neither holds the other.

    Args:
        name: as `lm_eval run --tasks` takes it.

    Raises:
        BenchError: lm-eval has no such task, or it cannot be a row, and why.
    """

    def __init__(self, name: str) -> None:
        self.definition = definitions.read(name)
        names, rules = self.definition.filters, self.definition.rules
        self._lenient = LENIENT if LENIENT in names else names[0]
        self._strict = STRICT if STRICT in names else self._lenient
        self.LABEL = f"lm-eval/{name}@{self.definition.version}"
        digest = hashlib.sha256(rules.encode()).hexdigest()[:8]
        self.READER = f"lm-eval/{self.definition.metric},{self._lenient}@{digest}"
        self.SAMPLING = self.definition.sampling
        self.REPOSITORY = self.definition.repository
        self._turns: dict[str, tuple[Message, ...]] = {}
        self._asked: dict[Split, list[Problem]] = {}
        self._delimiters = (" ", "\n\n")
        self._judge = None if self.definition.own_judge else definitions.judge(name)
        self._reader: Any = None

    def problems(self, split: Split) -> list[Problem]:
        """Every document in lm-eval's order, its shots drawn as one process of lm-eval draws them for all documents.

        Raises:
            BenchError: training items are asked for, or the data set cannot be loaded.
        """
        if split.name == "train":
            raise BenchError(f"{self.LABEL} is scored and not trained on", "name a task of ours, or a file, as data")
        if split not in self._asked:
            self._asked[split] = self._drawn(self._loaded(split))
        return list(self._asked[split])

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The description as a system turn, the shots as turns and the question, in lm-eval's wording.

        Raises:
            BenchError: `problems` has not given this problem.
        """
        if problem.id not in self._turns:
            raise BenchError(f"{self.LABEL} has no question '{problem.id}'", "ask for its problems first")
        return self._turns[problem.id]

    def text(self, problem: Problem) -> str:
        """The whole prompt for a model without a chat template: turns and lm-eval's delimiters."""
        turns, (target, shot) = self.messages(problem), self._delimiters
        after = {"system": "", "user": target, "assistant": shot}
        told = [turn.content + after[turn.role] for turn in turns[:-1]]
        return "".join([*told, turns[-1].content])

    def grade(self, problem: Problem, completion: Completion) -> Verdict:
        """What lm-eval says of one completion; never raises where lm-eval's own function does not."""
        readings = self.readings(problem.answer, completion.text)
        lenient = readings[self._lenient]
        return Verdict(
            problem_id=problem.id,
            answer=lenient.text,
            rule=self._lenient if lenient.text is not None else "nothing-matched",
            correct=lenient.correct,
            strict=readings[self._strict].correct,
            finish=completion.finish_reason,
        )

    def readings(self, gold: str, text: str) -> Mapping[str, Reading]:
        """What each filter takes out of a text, and what the metric says of it; no data is read.

        Args:
            gold: lm-eval's target, as `problems` gives it in `answer`.
            text: what a model wrote.
        """
        document = json.loads(gold)["lm-eval document"] if gold.startswith(_DOCUMENT) else {definitions.GOLD: gold}
        judge = self._judge_of(document)
        asked = Instance("generate_until", document, ("", {}), 0, (self.definition.name, 0, 1), [text])
        judge._instances = [asked]
        judge.apply_filters()
        return {name: self._reading(judge, document, asked.filtered_resps[name]) for name in self.definition.filters}

    def picks(self, name: str) -> str:
        """Which of its matches a filter takes, in words: "the first match", "the last match", or "its own rule"."""
        filters = {each["name"]: each["filter"] for each in json.loads(self.definition.rules)["filter_list"] or ()}
        chosen = next((step.get("group_select", 0) for step in filters.get(name, ()) if "regex_pattern" in step), None)
        return "the first match" if chosen == 0 else "the last match" if chosen == -1 else "its own rule"

    def _drawn(self, task: Any) -> list[Problem]:
        shots = task.config.num_fewshot or 0
        task.set_fewshot_seed(DEFAULT_OTHER_SEED)
        self._delimiters = (task.fewshot_cfg.target_delimiter, task.fewshot_cfg.fewshot_delimiter)
        found = []
        for number, document in enumerate(task.eval_docs):
            # The shots are drawn one document after another: all are asked for, whatever is scored.
            asked = json.loads(
                task.fewshot_context(
                    document, shots, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=_as_json
                )
            )
            name = f"test-{number}"
            self._turns[name] = tuple(Message(turn["role"], turn["content"]) for turn in asked)
            found.append(self._problem(name, task.doc_to_target(document), document))
        return found

    def _reading(self, judge: Any, document: Mapping[str, object], found: Any) -> Reading:
        value = judge.process_results(document, [found]).get(self.definition.metric)
        if value not in (0, 1):
            what = f"{self.LABEL} gives {value!r:.40} for {self.definition.metric}, and a row counts right and wrong"
            raise BenchError(what, definitions.ANOTHER)
        return Reading(None if found == NOTHING else str(found), bool(value))

    def _judge_of(self, document: Mapping[str, object]) -> Any:
        if self._judge is not None and definitions.GOLD in document:
            return self._judge
        if self._reader is None:
            self._reader = definitions.judge(self.definition.name, document)
        return self._reader

    def _problem(self, name: str, target: object, document: Mapping[str, object]) -> Problem:
        """Make a problem; its gold is lm-eval's target, or the document where that is no single text."""
        solution = str(target[0]) if isinstance(target, list) and target else str(target)
        gold = solution
        if self.definition.own_judge or isinstance(target, list):
            try:
                gold = json.dumps({"lm-eval document": document}, ensure_ascii=False, separators=(", ", ":"))
            except TypeError as error:
                raise BenchError(f"{name} of {self.LABEL} is no plain data: {error}", definitions.ANOTHER) from error
        return Problem(name, self._turns[name][-1].content, gold, solution)

    def _loaded(self, split: Split) -> Any:
        where = {}
        if split.mirror is not None:
            folder = split.mirror / self.REPOSITORY
            if not folder.is_dir():
                raise BenchError(f"no {self.REPOSITORY} in the folder {split.mirror}", OFFLINE)
            where = {"dataset_path": str(folder)}
        try:
            with no_bars(), as_it_lies(split.mirror and split.mirror / self.REPOSITORY):
                return definitions.load(self.definition.name, **where)
        except (OSError, DatasetsError, ValueError) as error:
            told = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BenchError(f"cannot load {self.REPOSITORY} for {self.LABEL}: {told}", OFFLINE) from error


@cache
def task(name: str) -> LmEvalTask:
    """The task of that name; each is made once, for lm-eval reads many files to find it."""
    return LmEvalTask(name)


def _as_json(turns: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
    """Stand in for a chat template, and keep the turns."""
    if not add_generation_prompt:
        raise ValueError("tasks that begin an answer are refused")
    return json.dumps(turns)
