"""rows: every training row is the scorer's own prompt, then the solution, then the token that ends it."""

from dataclasses import replace

import pytest
import tiny
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Model, Sample, Split, TrainingExample
from baseline_bench.models import tokenizer
from baseline_bench.models.tokens import ModelTokenizer, encode_completion, encode_prompt
from baseline_bench.training import rows
from baseline_bench.training.rows import TrainingSet, check_example, tokenise_samples
from hypothesis import given
from hypothesis import strategies as st

MANNERS = ("chatml", "gemma", "plain")
LONG = 4096


@pytest.fixture(scope="module")
def speeches(tmp_path_factory) -> dict[str, ModelTokenizer]:
    """One tiny model of each manner."""
    folder = tmp_path_factory.mktemp("models")
    return {manner: speech_of(tiny.build(folder / manner, manner)) for manner in MANNERS}


def speech_of(folder) -> ModelTokenizer:
    """How a folder of weights wants to be spoken to."""
    return tokenizer.load_tokenizer(Model(folder.name, "folder", None, folder, None, None))


@pytest.fixture(params=MANNERS)
def speech(request, speeches) -> ModelTokenizer:
    """Each of them."""
    return speeches[request.param]


def sample(question="What is 2+3?", solution="It is 5.\n#### 5", name="train-1") -> Sample:
    """One example without shots."""
    return Sample(name, (Message("user", question),), solution)


def row_of(speech: ModelTokenizer, one: Sample) -> TrainingExample:
    """The row of one sample."""
    return tokenise_samples([one], speech.tokenizer, speech.manner, LONG).rows[0]


def with_shots(shots: int) -> tuple[Sample, tuple[Message, ...]]:
    """A training sample of the task with so many worked examples, and the scorer's messages of the same question."""
    task = plugins.load_task("word-problems")
    problem = task.problems(Split("train"))[0]
    messages = task.messages(problem)
    return Sample(problem.id, messages[len(messages) - 1 - 2 * shots :], problem.solution), messages


def test_a_row_is_the_prompt_and_the_completion(speech):
    """Supervised is exactly the solution and the stop token; the prompt is the scorer's."""
    one = sample()
    row = row_of(speech, one)
    assert row.token_ids[: row.start] == encode_prompt(speech.tokenizer, speech.manner, one.messages)
    assert row.token_ids[row.start :] == encode_completion(speech.tokenizer, speech.manner, one.solution)
    told = speech.tokenizer.decode(list(row.token_ids[row.start : -1]), skip_special_tokens=False)
    assert told.strip() == one.solution
    assert check_example(row, speech.manner) == []


def test_the_whole_prompt_is_the_scorer_s_where_the_shots_are(speech):
    """With the task's own number of shots a training prompt and a scoring prompt are the same ids."""
    one, messages = with_shots(1)
    assert one.messages == messages
    row = row_of(speech, one)
    assert row.token_ids[: row.start] == encode_prompt(speech.tokenizer, speech.manner, messages)


def test_the_seam_is_the_scorer_s_without_shots_too(speech):
    """From the last user turn to the completion's first token the ids equal the scorer's for the same question."""
    one, messages = with_shots(0)
    assert len(one.messages) == 1
    row, scored = row_of(speech, one), encode_prompt(speech.tokenizer, speech.manner, messages)
    asked = row.token_ids[: row.start]
    common = next(length for length in range(len(asked), 0, -1) if scored[-length:] == asked[-length:])
    assert one.messages[0].content in speech.tokenizer.decode(list(asked[-common:]), skip_special_tokens=False)


def test_bos_follows_the_family_s_rule(speeches):
    """Gemma has one BOS before everything, ChatML's opens every turn, a plain tokenizer that adds none gets none."""
    ids = {manner: row_of(speech, sample()).token_ids for manner, speech in speeches.items()}
    bos = {manner: speech.tokenizer.bos_token_id for manner, speech in speeches.items()}
    assert speeches["gemma"].manner.bos == "separate"
    assert (ids["gemma"][0], ids["gemma"].count(bos["gemma"])) == (bos["gemma"], 1)
    assert speeches["chatml"].manner.bos == "template"
    assert (ids["chatml"][0], ids["chatml"].count(bos["chatml"])) == (bos["chatml"], 3)
    assert speeches["plain"].manner.bos == "none"
    assert bos["plain"] not in ids["plain"]


def test_a_row_ends_with_the_token_that_ends_an_answer(speeches):
    """Of a template its end of turn, which for Gemma no configuration names; of a plain model eos. It is supervised."""
    ends = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>", "plain": "</s>"}
    for manner, speech in speeches.items():
        row = row_of(speech, sample())
        assert speech.tokenizer.decode([row.token_ids[-1]], skip_special_tokens=False) == ends[manner]
        assert row.token_ids[-1] in speech.manner.stop_ids
        assert row.start < len(row.token_ids) - 1


def test_counts_and_digest_are_over_all_rows(speech):
    """The digest sees ids, spans and order, and not the names."""
    made = tokenise_samples([sample(), sample("What is 4+5?", "#### 9")], speech.tokenizer, speech.manner, LONG)
    assert made.tokens == sum(len(row.token_ids) for row in made.rows)
    assert made.supervised == made.tokens - sum(row.start for row in made.rows)
    one, other = made.rows
    assert TrainingSet.of([replace(one, id="other"), other]).sha256 == made.sha256
    shifted = replace(one, start=one.start + 1)
    assert len({rows.TrainingSet.of(r).sha256 for r in ([one, other], [other, one], [shifted, other], [one])}) == 4


def test_rows_that_are_too_long_are_named_and_none_is_cut(speech):
    """Truncation would eat the answer: the run stops with the ids and the length that takes them all."""
    samples = [sample(name=f"train-{number}") for number in range(2)]
    samples += [sample("2 and 3? " * (20 + number), name=f"train-{number}") for number in range(2, 9)]
    longest = max(len(row_of(speech, one).token_ids) for one in samples)
    with pytest.raises(BenchError, match="7 of 9 rows are longer than max_length = 60") as caught:
        tokenise_samples(samples, speech.tokenizer, speech.manner, 60)
    assert "train-2, train-3, train-4, train-5, train-6, ..." in caught.value.what
    assert f"--set max_length={longest} " in caught.value.way_out
    kept = tokenise_samples(samples, speech.tokenizer, speech.manner, longest)
    assert max(len(row.token_ids) for row in kept.rows) == longest


@pytest.mark.parametrize("solution", ["", " \n"])
def test_an_empty_solution_is_refused(speech, solution):
    """There is nothing to learn from it but to say nothing."""
    with pytest.raises(BenchError, match="train-1 has an empty solution"):
        tokenise_samples([sample(solution=solution)], speech.tokenizer, speech.manner, LONG)


def test_no_sample_is_refused(speech):
    """An empty split is told before anything is loaded."""
    with pytest.raises(BenchError, match="nothing to train on"):
        tokenise_samples([], speech.tokenizer, speech.manner, LONG)


def test_a_solution_that_holds_a_stop_token_is_refused(speeches):
    """What comes after it would never be written by the model that learned it."""
    for manner, mark in (("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("plain", "</s>")):
        speech = speeches[manner]
        with pytest.raises(BenchError, match="train-1 holds a stop token before its end"):
            tokenise_samples([sample(solution=f"#### 5{mark} more")], speech.tokenizer, speech.manner, LONG)


def test_a_question_that_holds_bos_is_refused(speeches):
    """Text that spells a special token becomes one."""
    speech = speeches["gemma"]
    with pytest.raises(BenchError, match=r"train-1 holds BOS twice|writes BOS twice"):
        tokenise_samples([sample("What is <bos> 2+3?")], speech.tokenizer, speech.manner, LONG)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: replace(row, token_ids=row.token_ids[1:], start=row.start - 1), "does not begin with BOS"),
        (lambda row: replace(row, token_ids=row.token_ids[:1] + row.token_ids, start=row.start + 1), "BOS twice"),
        (lambda row: replace(row, token_ids=row.token_ids[:-1]), "does not end with a stop token"),
        (lambda row: replace(row, start=0), "supervises its prompt"),
        (lambda row: replace(row, start=len(row.token_ids) - 1), "supervises nothing but its stop token"),
        (lambda row: replace(row, token_ids=(*row.token_ids, row.token_ids[-1])), "a stop token before its end"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(speeches, change, told):
    """Each trap by its name; a sound row has none."""
    how = speeches["gemma"].manner
    row = row_of(speeches["gemma"], sample())
    assert check_example(row, how) == []
    assert told in "; ".join(check_example(change(row), how))


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1).filter(str.strip)


@given(question=PLAIN, solution=PLAIN, manner=st.sampled_from(MANNERS))
def test_any_text_makes_a_sound_row(speeches, question, solution, manner):
    """Whatever is asked and answered, the row has its BOS, its seam and its stop token, and nothing is lost."""
    speech = speeches[manner]
    row = row_of(speech, sample(question, solution))
    assert check_example(row, speech.manner) == []
    told = speech.tokenizer.decode(list(row.token_ids[row.start : -1]), skip_special_tokens=False)
    assert told == (solution if speech.manner.style == "template" else f" {solution}")
