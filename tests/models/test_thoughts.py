"""A thought that the prompt opened, or whose delimiters are special tokens, is never graded."""

import csv
import hashlib
import json
import shutil
from contextlib import chdir, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import samples
import tiny
from baseline_bench import cli
from baseline_bench.commands import reproduce
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Message, Problem, Split
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.models import registry, thoughts, tokenizer, tokens
from baseline_bench.models.thoughts import TextPiece
from baseline_bench.models.tokens import AnswerLocator, ModelTokenizer
from baseline_bench.rendering.formatting import format_shares
from baseline_bench.results import audit, entries
from baseline_bench.results.completions import (
    build_committed_completion,
    read_completions,
    restore_completion,
    serialise_completions,
)
from baseline_bench.results.entry import Entry
from corpus import templates
from tiny_study import bench
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

ITEMS = 6
SUMS = f'''
"""Sums of two numbers."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums-0shot@v1", Sampling(max_tokens=64)
def problems(split):
    return [Problem(f"test-{{n}}", f"What is {{n}}+3?", str(n + 3), f"#### {{n + 3}}") for n in range({ITEMS})]
def messages(problem):
    return (Message("user", problem.question),)
'''
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("<|im_start|>assistant\n<think>\n", "</think>"),
        ("<think>\n\n</think>\n\n", None),
        ("<thinking>", "</think>"),
        ("[/INST][THINK]", "[/THINK]"),
        ("[THINK]Hm.[/THINK]", None),
        ("<|start|>assistant<|channel|>analysis<|message|>", FINAL),
        (f"<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{FINAL}", None),
        ("<|turn>model\n<|channel>thought\n", "<channel|>"),
        ("<|turn>model\n<|channel>thought\n<channel|>", None),
        ("<|im_start|>assistant\n", None),
        ("I think [so] <b>thus</b>", None),
    ],
)
def test_a_thought_is_open_until_its_own_family_closes_it(text, family):
    """Every family's delimiters, and what is none."""
    assert thoughts.find_open_family(text) == family


def pieces(text: str) -> list[TextPiece]:
    """Every part in «» as one special token."""
    parts = [(part.partition("»"), number) for number, part in enumerate(text.split("«"))]
    cut = [
        piece
        for (special, _, rest), number in parts
        for piece in ((TextPiece(special, special=True), TextPiece(rest)) if number else (TextPiece(special),))
    ]
    return [piece for piece in cut if piece.text]


@pytest.mark.parametrize(
    ("said", "family", "answer"),
    [
        ("«[THINK]»Maybe 3.«[/THINK]»So 4", None, "So 4"),
        ("First «[THINK]»3«[/THINK]» then «[THINK]»5«[/THINK]» 4", None, " 4"),
        ("«[THINK]»Maybe 3", None, ""),
        ("Maybe 3«[/THINK]»4", None, "4"),
        ("«[THINK]»[THINK] again«[/THINK]»4", None, "4"),
        ("[THINK]Maybe 3", None, ""),  # ordinary text at the very beginning
        ("\n<think>Maybe 3</think>4", None, "4"),
        ("<seed:think>Maybe 3</seed:think>4", None, "4"),
        ("<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4", None, "4"),
        ("So [THINK]Maybe 3", None, "So [THINK]Maybe 3"),  # ordinary text, in a family that is not in play
        ("So <think>Maybe 3", None, "So <think>Maybe 3"),  # the reader's
        ("Maybe 3</think>4", "</think>", "4"),
        ("<think>Maybe 3</think>4", "</think>", "4"),  # the model opens once more what the prompt opened
        ("Maybe 3</think>4 <think>or 5</think>6", "</think>", "6"),
        ("Maybe 3</think>4 <think>or 5", "</think>", ""),
        ("Maybe [/THINK] 3", "</think>", ""),
        ("Maybe 3«</think>»4", "</think>", "4"),
        ("«<|channel|>»analysis«<|message|>»3«<|end|>»«<|start|>»assistant«<|channel|>»final«<|message|>»4", None, "4"),
        ("«<|channel|>»analysis«<|message|>»3«<|end|>»", None, ""),
        ("«<|channel|>»commentary to=f «<|constrain|>»json«<|message|>»3«<|call|>»", None, ""),
        ("«<|channel|>»final«<|message|>»4", None, "4"),
        ("«<|channel|>»final «<|constrain|>»json«<|message|>»4", None, "4"),
        ("«<|channel>»thought\n3«<channel|>»4", None, "4"),
        ("«<|channel>»thought\n3", None, ""),
        ("«<|im_start|>»4", None, "4"),
        ("", "</think>", ""),
    ],
)
def test_the_answer_starts_behind_the_last_thought(said, family, answer):
    """Special tokens are not in the text that is stored; a thought that is never closed has no answer."""
    cut = pieces(said)
    text = "".join(piece.text for piece in cut if not piece.special)
    assert text[slice(*thoughts.find_answer(cut, family))] == answer


def model_tokenizer(folder: Path) -> ModelTokenizer:
    """Of a model's folder."""
    return tokenizer.load_tokenizer(registry.resolve_model(str(folder), folder / "cache"))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> dict[str, ModelTokenizer]:
    """Tiny models: one whose prompt opens a thought, one with special delimiters, harmony's, and ChatML."""
    place = tmp_path_factory.mktemp("models")
    special = dict.fromkeys(("[THINK]", "[/THINK]"), True)
    return {
        "opens": model_tokenizer(templates.template(templates.THINKS, place / "opens", manner="chatml")),
        "closes": model_tokenizer(templates.template(templates.THINKS_NOT, place / "closes", manner="chatml")),
        "special": model_tokenizer(templates.template(templates.CHATML, place / "special", "chatml", special)),
        "harmony": model_tokenizer(templates.template(templates.HARMONY, place / "harmony", tokens=templates._HARMONY)),
        "chatml": model_tokenizer(tiny.build(place / "chatml")),
    }


def test_what_a_prompt_opens_is_a_property_of_the_model(spoken):
    """By what the template writes behind the question."""
    found = {name: one.prompt_format.thought for name, one in spoken.items()}
    assert found == {"opens": "</think>", "closes": None, "special": None, "harmony": None, "chatml": None}


def test_what_a_template_says_of_thoughts_opens_none(tmp_path):
    """Magistral's system turn shows how to think; a question may hold a delimiter too."""
    told = "<|im_start|>system\nThink first: <think>\nyour thought<|im_end|>\n" + templates.CHATML
    assert model_tokenizer(templates.template(told, tmp_path / "model", manner="chatml")).prompt_format.thought is None


class Asks:
    """A task whose last turn begins the answer, or whose own text does."""

    def __init__(self, begins: str = "", text: str = "") -> None:
        self.begins = begins
        if text:
            self.text = lambda problem: problem.question + text

    def messages(self, problem):
        """The question, and how the answer begins."""
        begun = (Message("assistant", self.begins),) if self.begins else ()
        return (Message("user", problem.question), *begun)


PROBLEM = Problem("a", "2+3? Do not write <think>", "5", "")


@pytest.mark.parametrize(
    ("model", "task", "family"),
    [
        ("opens", Asks(), "</think>"),
        ("opens", Asks("The answer is"), None),  # no generation prompt is written
        ("chatml", Asks(), None),
        ("chatml", Asks("<think>\nOkay,"), "</think>"),
        ("chatml", Asks("<think>\n</think>\n\n"), None),
        ("chatml", Asks(text="<think>\n"), None),  # its own text is for models without a template
    ],
)
def test_a_begun_answer_may_open_a_thought(spoken, model, task, family):
    """Where the task begins the answer, its words count and not the template's."""
    assert tokens.find_open_thought(spoken[model].prompt_format, task, PROBLEM) == family


def test_a_text_of_the_task_s_own_may_open_a_thought(spoken):
    """As base models are asked to reason: `Assistant: <think>`."""
    how = replace(spoken["chatml"].prompt_format, style="text")
    problem = replace(PROBLEM, question="2+3?")
    assert tokens.find_open_thought(how, Asks(text="\nAssistant: <think>\n"), problem) == "</think>"
    assert tokens.find_open_thought(how, Asks(text="\nAssistant:"), problem) is None


def said(one: ModelTokenizer, text: str, *, stop: bool = True) -> Completion:
    """What a model wrote, token ids and stored text as an engine gives them."""
    ids = (*one.tokenizer.encode(text, add_special_tokens=False), *([one.prompt_format.end_id] if stop else []))
    return Completion(tokens.decode_completion(one.tokenizer, ids, one.prompt_format.stop_ids, ()), ids, "stop")


@pytest.mark.parametrize(
    ("model", "text", "stored", "answer"),
    [
        ("special", "[THINK]Maybe 3.[/THINK]\n\nIt is 4 apples", "Maybe 3.\n\nIt is 4 apples", "\n\nIt is 4 apples"),
        ("special", "[THINK]Maybe 3 apples.", "Maybe 3 apples.", ""),
        ("special", "It is 4 apples", "It is 4 apples", "It is 4 apples"),
        ("harmony", f"{ANALYSIS}3?<|end|><|start|>assistant{FINAL}é 4", "analysis3?assistantfinalé 4", "é 4"),
        ("harmony", f"{ANALYSIS}Maybe 3", "analysisMaybe 3", ""),
        ("chatml", "[THINK]Maybe 3", "[THINK]Maybe 3", ""),
        ("chatml", "<think>Maybe 3</think>4", "<think>Maybe 3</think>4", "4"),
        ("chatml", "So [THINK]Maybe 3", "So [THINK]Maybe 3", "So [THINK]Maybe 3"),
        ("opens", "Maybe 3</think>4", "Maybe 3</think>4", "4"),
        ("opens", "Maybe 3", "Maybe 3", ""),
        ("closes", "Maybe 3", "Maybe 3", "Maybe 3"),
    ],
)
def test_token_ids_say_where_an_answer_starts(spoken, model, text, stored, answer):
    """The stored text has lost its special tokens; what is graded is behind the thought."""
    one = spoken[model]
    completion = said(one, text)
    found = AnswerLocator(one, ()).started(completion, one.prompt_format.thought)
    assert (found.text, found.answer.text) == (stored, answer)
    assert found.token_ids == completion.token_ids


def test_every_draw_has_an_answer_of_its_own(spoken):
    """One thinks, one never ends, one answers at once."""
    one = spoken["special"]
    first, *more = (said(one, text) for text in ("[THINK]3[/THINK]4", "[THINK]3", "4"))
    found = AnswerLocator(one, ()).started(replace(first, more=tuple(more)), None)
    assert [draw.answer_start for draw in found.draws] == [1, 1, 0]
    assert [draw.text for draw in found.answer.draws] == ["4", "", "4"]
    line = build_committed_completion(Problem("a", "", "4", ""), found)
    assert line.answer_starts == (1, 1, 0)
    assert [draw.text for draw in restore_completion(line).answer.draws] == ["4", "", "4"]


def test_a_text_that_ends_inside_a_thought_has_no_answer(spoken):
    """A stop text cuts what follows it, though the model wrote on and closed its thought."""
    one = spoken["special"]
    ids = one.tokenizer.encode("[THINK]3 Question: so[/THINK]4", add_special_tokens=False)
    text = tokens.decode_completion(one.tokenizer, ids, (), (" Question:",))
    assert text == "3"
    assert AnswerLocator(one, (" Question:",)).started(Completion(text, tuple(ids), "stop"), None).answer.text == ""


def test_ids_that_are_no_tokenizer_s_say_nothing(spoken):
    """A rehearsal's are bytes, whatever tokens have these ids: the text alone is read."""
    one = spoken["special"]
    ids = (one.tokenizer.encode("[THINK]", add_special_tokens=False)[0], 7)
    assert AnswerLocator(one, ()).started(Completion("#### 4", ids, "stop"), None).answer_start == 0
    assert AnswerLocator(one, ()).started(Completion("3[/THINK]4", ids, "stop"), "[/THINK]").answer.text == "4"
    assert AnswerLocator(one, ()).started(Completion("#### 4", ids, "stop"), "[/THINK]").answer.text == ""


def test_a_text_that_lost_its_delimiters_is_refused(spoken):
    """A server's text without ids: whether its special tokens enclosed a thought, nobody knows; others are read."""
    with pytest.raises(BenchError, match="token ids"):
        AnswerLocator(spoken["special"], ()).started(Completion("Maybe 3 So 4", None, "stop"), None)
    shown = Completion("[THINK]3[/THINK]4", None, "stop")
    assert AnswerLocator(spoken["special"], ()).started(shown, None).answer.text == "4"
    assert AnswerLocator(spoken["chatml"], ()).started(Completion("#### 4", None, "stop"), None).answer_start == 0
    assert (
        AnswerLocator(spoken["opens"], ()).started(Completion("3</think>4", None, "stop"), "</think>").answer.text
        == "4"
    )
    assert AnswerLocator(spoken["opens"], ()).started(Completion("Maybe 3", None, "stop"), "</think>").answer.text == ""


def test_a_tokenizer_that_drops_the_first_space_loses_no_character(spoken):
    """Tokenizers of SentencePiece's kind write a leading space only inside a text."""
    words = {word: place for place, word in enumerate(["[THINK]", "[/THINK]", "</s>", "▁so", "▁3", "▁4", "<x>"])}
    backend = Tokenizer(WordLevel(words, unk_token="</s>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["[THINK]", "[/THINK]", "<x>"]
    own = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", additional_special_tokens=special)
    one = ModelTokenizer(own, tokens.detect_prompt_format(own, None, [], "llama"), None, "")
    ids = (0, 3, 4, 1, 3, 6, 5, 6, 5, 2)  # a special token of no family cuts the answer twice
    text = tokens.decode_completion(own, ids, one.prompt_format.stop_ids, ())
    assert text == "so 3 so 4 4"
    assert AnswerLocator(one, ()).started(Completion(text, ids, "stop"), None).answer.text == " so 4 4"


class Writes:
    """A generator that writes these texts as a model's tokens."""

    version, context = "writes 1", 4096

    def __init__(self, one: ModelTokenizer, texts: list[str]) -> None:
        self.one, self.texts, self.settings = one, texts, {}

    def complete(self, requests, sampling, stop_ids):
        """One text a request, as long as there are texts."""
        for request, text in zip(requests, self.texts, strict=False):
            yield request.id, said(self.one, text)

    def close(self):
        """Nothing to give back."""


def test_a_run_that_is_gone_on_with_keeps_where_answers_start(spoken, tmp_path):
    """In memory and in its file, before and after the interruption."""
    one, task = spoken["special"], plugins.load_task("word-problems")
    chosen = evaluate.select_problems(task, Split(), 3, 0)
    prepared = evaluate.prepare_task(task, chosen, one, 0)
    with runs.Run(tmp_path, {}) as run, pytest.raises(BenchError):
        evaluate.generate_completions(prepared, Writes(one, ["[THINK]3[/THINK]4"]), run, one, lambda *progress: None)
    with runs.Run(tmp_path, {}) as run:
        assert [each.answer_start for each in run.finished.values()] == [1]
        evaluate.generate_completions(prepared, Writes(one, ["[THINK]3", "4"]), run, one, lambda *progress: None)
        verdicts = evaluate.judge_completions(task, prepared.problems, run.finished)
    assert [each.answer_start for each in runs.read_completions(tmp_path).values()] == [1, 1, 0]
    assert [verdict.answer for verdict in verdicts] == ["4", None, "4"]


@pytest.fixture(scope="module")
def thinking(tmp_path_factory) -> Path:
    """A model whose prompt opens a thought, scored with thoughts that are never closed and with those that are."""
    here = tmp_path_factory.mktemp("thinking") / "here"
    templates.template(templates.THINKS, here / "model", manner="chatml")
    (here / "sums.py").write_text(SUMS)
    for name, end in (("open", ""), ("closed", "?\n</think>\n\n")):
        texts = [f"Okay. {n}+3. Maybe it is {n + 3 if name == 'open' else 99}" for n in range(ITEMS)]
        answers = [f"{text}{end}{f'#### {n + 3}' if end else ''}" for n, text in enumerate(texts)]
        lines = (json.dumps({"id": f"test-{n}", "text": text}) for n, text in enumerate(answers))
        (here / f"{name}.jsonl").write_text("\n".join(lines))
        words = ("--task", "./sums.py", "--engine", "scripted", "-o", f"script={name}.jsonl", "--name", name)
        assert bench(here, "score", "model", *words) == 0
    return here


def row(here: Path, name: str) -> tuple[Path, Entry]:
    """The row of this name."""
    (path,) = here.glob(f"leaderboards/sums/*-{name}-*.json")
    return path, entries.read_entry(path)


def test_a_thought_that_is_never_closed_is_not_graded(thinking):
    """Though each of them names the right number."""
    result = row(thinking, "open")[1].result
    counts = result.counts
    assert (counts.correct, counts.unread, counts.total) == (0, ITEMS, ITEMS)
    assert result.unfinished_thoughts == ITEMS


def test_unfinished_thoughts_are_shown_with_the_row(thinking, capfd):
    """On the page, in the CSV, in the comment's cells and in the terminal; nothing where no answer thinks."""
    page = (thinking / "leaderboards" / "sums.md").read_text()
    assert page.count("100.0 in a thought") == page.count("|0.0, 0.0 in a thought|") == 1
    table = csv.DictReader((thinking / "leaderboards" / "sums.csv").read_text().splitlines())
    assert {line["candidate"]: line["unfinished_thoughts"] for line in table} == {"open": str(ITEMS), "closed": "0"}
    assert list(format_shares(row(thinking, "open")[1].result))[-1] == "0.0, 100.0 in a thought"
    assert list(format_shares(samples.result()))[-1] == "8.3"
    capfd.readouterr()
    with chdir(thinking):
        assert cli.main(["show", str(row(thinking, "open")[0])]) == 0
    assert f"{ITEMS} answers ended inside a thought" in capfd.readouterr().out


@pytest.mark.parametrize("count", [None, 0, ITEMS + 1])
def test_a_count_of_unfinished_thoughts_that_was_changed_is_found(thinking, count):
    """It follows from the completions."""
    path, entry = row(thinking, "open")
    lines = read_completions(entries.completions_path(path))
    checks = replace(entry.result.checks, unfinished_thoughts=count)
    forged = replace(entry, result=replace(entry.result, checks=checks))
    assert "unfinished_thoughts does not follow from the completions" in audit.check_completions(forged, lines, b"")
    assert "unfinished_thoughts does not follow from the completions" not in audit.check_completions(entry, lines, b"")


def test_a_thought_that_is_closed_is_followed_by_its_answer(thinking):
    """The sound twin: every answer is right and in the task's own format."""
    path, entry = row(thinking, "closed")
    assert (entry.result.counts.correct, entry.result.counts.strict) == (ITEMS, ITEMS)
    line = read_completions(entries.completions_path(path))[0]
    assert line.text[line.answer_starts[0] :] == "\n\n#### 3"
    assert entry.result.unfinished_thoughts == 0


@pytest.mark.parametrize("level", [0, 1])
def test_both_levels_use_where_an_answer_starts(thinking, level):
    """Rows whose thoughts were not graded are what the completions say."""
    assert bench(thinking, "board", "--check", "--task", "./sums.py") == 0
    words = ("--level", level, "--task", "./sums.py")
    assert all(bench(thinking, "verify", row(thinking, name)[0], *words) == 0 for name in ("open", "closed"))


@pytest.mark.parametrize(
    ("starts", "unfinished"),
    [(None, None), ((1,), 0), ((10_000,), ITEMS), ((-1,), ITEMS), ((0,), ITEMS), ((5, 5), ITEMS)],
)
def test_an_answer_start_that_was_changed_is_found(thinking, tmp_path, starts, unfinished):
    """However well the digests are made again: it is not inside its text, or the bits are not what is read there."""
    inside = starts in (None, (1,))
    here = shutil.copytree(thinking, tmp_path / "here")
    path, entry = row(here, "open")
    lines = read_completions(entries.completions_path(path))
    changed = tuple(replace(line, answer_starts=starts) for line in lines)
    checks = replace(entry.result.checks, unfinished_thoughts=unfinished)
    forged = _forged(replace(entry, result=replace(entry.result, checks=checks)), changed)
    path.unlink()
    entries.completions_path(path).unlink()
    with nullcontext() if inside else pytest.raises(ValueError, match="start inside"):  # level 0
        entries.write_entry(forged, changed, path.parent)
    assert not inside or bench(here, "board", "--check", "--task", "./sums.py") == 1


def _forged(entry: Entry, lines) -> Entry:
    result = replace(entry.result, completions_sha256=hashlib.sha256(serialise_completions(lines)).hexdigest())
    return Entry.of(result, entry.created, entry.timings)


def test_older_entries_say_nothing_of_where_answers_start(thinking):
    """A line generated again is not altered because it says so now; another text is, and so is a newer entry's."""
    now = read_completions(entries.completions_path(row(thinking, "closed")[0]))
    then = tuple(replace(line, answer_starts=None) for line in now)
    assert reproduce._count_altered_lines(then, now, starts=False) == 0
    assert reproduce._count_altered_lines(then, now, starts=True) == ITEMS
    assert reproduce._count_altered_lines(now, now, starts=True) == 0
    assert reproduce._count_altered_lines(now, then, starts=True) == ITEMS
    assert reproduce._count_altered_lines([replace(line, text="4") for line in then], now, starts=False) == ITEMS


@pytest.mark.parametrize(("stored", "kept"), [("185", "185"), ("18 5", "18"), ("18", "18")])
def test_an_older_entry_keeps_the_text_behind_a_special_token(stored, kept):
    """The text that the same ids decoded to then is no alteration; any other text is."""
    line = build_committed_completion(PROBLEM, Completion(stored, (1, 2, 3), "stop"))
    found = reproduce._match_stored_text(lambda ids: "185", line, Completion("18", (1, 2, 3), "stop"))
    assert found.text == kept


def test_an_engine_s_own_tokens_are_read(thinking, tmp_path):
    """A model of random weights never closes its thought: none of its answers is read, by score or by doctor."""
    here = shutil.copytree(thinking, tmp_path / "here")
    words = ("--task", "./sums.py", "--engine", "transformers", "-o", "dtype=float32")
    assert bench(here, "score", "model", "--name", "real", *words) == 0
    path, entry = row(here, "real")
    assert entry.result.counts.unread == ITEMS
    lines = read_completions(entries.completions_path(path))
    assert all(line.answer_starts == (len(line.text),) for line in lines)


def test_doctor_reads_answers_as_score_does(thinking, capfd):
    """The same function, the same verdict."""
    for name, judged in (("open", "wrong, read None"), ("closed", "right, read ")):
        words = ("--task", "./sums.py", "--engine", "scripted", "-o", f"script={name}.jsonl", "--answers", "2")
        capfd.readouterr()
        assert bench(thinking, "doctor", "model", *words) == 0
        assert capfd.readouterr().out.count(judged) == 2


def test_what_is_shown_marks_the_answer(thinking, capfd):
    """A reader sees the thought and where the answer begins."""
    path, _ = row(thinking, "closed")
    with chdir(thinking):
        assert cli.main(["show", str(path), "-n", "1"]) == 0
    shown = capfd.readouterr().out
    assert "Maybe it is 99" in shown
    assert shown.index("</think>") < shown.index("[the answer:]") < shown.index("#### 3")


def test_a_run_of_a_program_that_graded_thoughts_is_not_gone_on_with(thinking, tmp_path, capfd):
    """Its answers do not say where they start."""
    here = shutil.copytree(thinking, tmp_path / "here")
    (run,) = (here / "runs").glob("*closed*")
    (run / "entry.json").unlink()
    settings = json.loads((run / "run.json").read_text())
    del settings["settings"]["thought"]
    (run / "run.json").write_text(json.dumps(settings))
    words = ("--task", "./sums.py", "--engine", "scripted", "-o", "script=closed.jsonl", "--name", "closed")
    assert bench(here, "score", "model", *words) == 1
    assert "thought was None" in capfd.readouterr().err


def test_lm_eval_judges_the_answer_alone_too(thinking, capfd):
    """Its flexible-extract would take the right number out of each thought."""
    pytest.importorskip("lm_eval")
    (run,) = (thinking / "runs").glob("*open*")
    capfd.readouterr()
    assert bench(thinking, "verify", run, "--against", "lm-eval", "--task", "./sums.py") == 0
    assert "0 right, flexible-extract 0; apart on 0" in " ".join(capfd.readouterr().out.split())


@pytest.fixture(scope="module")
def marked(tmp_path_factory) -> ModelTokenizer:
    """Like SmolLM2: ChatML, with special tokens that neither its template nor its stop ids name."""
    special = dict.fromkeys(("<|endoftext|>", "<|box|>", "[THINK]", "[/THINK]"), True)
    folder = templates.template(templates.CHATML, tmp_path_factory.mktemp("marked") / "model", "chatml", special)
    return model_tokenizer(folder)


# (what a model writes, the text that is stored, the answer that is graded)
SPECIAL = [
    ("18<|endoftext|>5", "18", "18"),
    ("#### 18<|endoftext|>Human: 3+4?\n#### 7", "#### 18", "#### 18"),
    ("#### 18<|im_start|>user\n3+4?<|im_end|>", "#### 18", "#### 18"),
    ("<|im_start|>assistant\n#### 18<|endoftext|>5", "assistant\n#### 18", "assistant\n#### 18"),
    ("\n<|endoftext|>#### 18<|endoftext|>5", "\n#### 18", "\n#### 18"),
    ("<|im_start|>assistant<|endoftext|>\n18", "assistant\n18", "assistant\n18"),
    ("18<|box|>5", "18\ufffd5", "18\ufffd5"),
    ("<|box|>18<|box|> eggs", "18 eggs", "18 eggs"),
    ("[THINK]3<|endoftext|>4<|box|>5[/THINK]18<|endoftext|>[THINK]7[/THINK]8", "34518", "18"),
    ("[THINK]3[/THINK]<|endoftext|>18<|box|>5", "318\ufffd5", "18\ufffd5"),
    ("[THINK]3<|endoftext|>4", "34", ""),
    ("[THINK]3[/THINK]1[THINK]4[/THINK]8", "3148", "8"),
    ("18 <|endoftext|>", "18 ", "18 "),
]


@pytest.mark.parametrize(("text", "stored", "answer"), SPECIAL)
def test_a_special_token_ends_an_answer_or_keeps_its_words_apart(marked, text, stored, answer):
    """One that ends a text or a turn ends the answer, outside a thought and behind its first word."""
    found = AnswerLocator(marked, ()).started(said(marked, text, stop=False), None)
    assert (found.text, found.answer.text) == (stored, answer)


@pytest.mark.parametrize(
    ("text", "stored", "answer"),
    [
        ("#### 18<|im_end|>\n<|im_start|>user\n3+4?", "#### 18", "#### 18"),
        ("<|im_start|>18<unk>5", "18\ufffd5", "18\ufffd5"),
        ("<think>3<|im_end|></think>18<|im_end|>5", "<think>3</think>18", "18"),
        ("18 <b>eggs</b>", "18 <b>eggs</b>", "18 <b>eggs</b>"),
    ],
)
def test_a_server_s_text_is_cut_where_it_shows_special_tokens(tmp_path, text, stored, answer):
    """Without token ids, the tokens that the server writes out count as those of other engines do."""
    one = model_tokenizer(templates.template(templates.CHATML, tmp_path / "model", "chatml", {"<unk>": True}))
    found = AnswerLocator(one, ()).started(Completion(text, None, "stop"), None)
    assert (found.text, found.answer.text) == (stored, answer)


def test_no_thought_of_harmony_ends_at_its_end_of_turn(spoken):
    """A channel ends with the token that ends a turn; the answer of the final one does too."""
    one = spoken["harmony"]
    text = f"{ANALYSIS}3?<|end|><|start|>assistant{FINAL}4<|end|><|start|>user<|message|>3+4?"
    ids = tuple(one.tokenizer.encode(text, add_special_tokens=False))
    written = Completion(tokens.decode_completion(one.tokenizer, ids, (), ()), ids, "length")
    how = replace(one.prompt_format, stop_ids=())
    assert AnswerLocator(replace(one, prompt_format=how), ()).started(written, None).answer.text == "4"
