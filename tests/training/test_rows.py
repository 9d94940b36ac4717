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
def tokenizers(tmp_path_factory) -> dict[str, ModelTokenizer]:
    """One tiny model of each manner."""
    folder = tmp_path_factory.mktemp("models")
    return {manner: tokenizer_of(tiny.build(folder / manner, manner)) for manner in MANNERS}


def tokenizer_of(folder) -> ModelTokenizer:
    """How a folder of weights wants to be spoken to."""
    return tokenizer.load_tokenizer(Model(folder.name, "folder", None, folder, None, None))


@pytest.fixture(params=MANNERS)
def model_tokenizer(request, tokenizers) -> ModelTokenizer:
    """Each of them."""
    return tokenizers[request.param]


def sample(question="What is 2+3?", solution="It is 5.\n#### 5", name="train-1") -> Sample:
    """One example without shots."""
    return Sample(name, (Message("user", question),), solution)


def row_of(model_tokenizer: ModelTokenizer, one: Sample) -> TrainingExample:
    """The row of one sample."""
    return tokenise_samples([one], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG).rows[0]


def with_shots(shots: int) -> tuple[Sample, tuple[Message, ...]]:
    """A training sample of the task with so many worked examples, and the scorer's messages of the same question."""
    task = plugins.load_task("word-problems")
    problem = task.problems(Split("train"))[0]
    messages = task.messages(problem)
    return Sample(problem.id, messages[len(messages) - 1 - 2 * shots :], problem.solution), messages


def test_a_row_is_the_prompt_and_the_completion(model_tokenizer):
    """Supervised is exactly the solution and the stop token; the prompt is the scorer's."""
    one = sample()
    row = row_of(model_tokenizer, one)
    assert row.token_ids[: row.start] == encode_prompt(
        model_tokenizer.tokenizer, model_tokenizer.prompt_format, one.messages
    )
    assert row.token_ids[row.start :] == encode_completion(
        model_tokenizer.tokenizer, model_tokenizer.prompt_format, one.solution
    )
    told = model_tokenizer.tokenizer.decode(list(row.token_ids[row.start : -1]), skip_special_tokens=False)
    assert told.strip() == one.solution
    assert check_example(row, model_tokenizer.prompt_format) == []


def test_the_whole_prompt_is_the_scorer_s_where_the_shots_are(model_tokenizer):
    """With the task's own number of shots a training prompt and a scoring prompt are the same ids."""
    one, messages = with_shots(1)
    assert one.messages == messages
    row = row_of(model_tokenizer, one)
    assert row.token_ids[: row.start] == encode_prompt(
        model_tokenizer.tokenizer, model_tokenizer.prompt_format, messages
    )


def test_the_seam_is_the_scorer_s_without_shots_too(model_tokenizer):
    """From the last user turn to the completion's first token the ids equal the scorer's for the same question."""
    one, messages = with_shots(0)
    assert len(one.messages) == 1
    row, scored = (
        row_of(model_tokenizer, one),
        encode_prompt(model_tokenizer.tokenizer, model_tokenizer.prompt_format, messages),
    )
    asked = row.token_ids[: row.start]
    common = next(length for length in range(len(asked), 0, -1) if scored[-length:] == asked[-length:])
    assert one.messages[0].content in model_tokenizer.tokenizer.decode(list(asked[-common:]), skip_special_tokens=False)


def test_bos_follows_the_family_s_rule(tokenizers):
    """Gemma has one BOS before everything, ChatML's opens every turn, a plain tokenizer that adds none gets none."""
    ids = {manner: row_of(model_tokenizer, sample()).token_ids for manner, model_tokenizer in tokenizers.items()}
    bos = {manner: model_tokenizer.tokenizer.bos_token_id for manner, model_tokenizer in tokenizers.items()}
    assert tokenizers["gemma"].prompt_format.bos == "separate"
    assert (ids["gemma"][0], ids["gemma"].count(bos["gemma"])) == (bos["gemma"], 1)
    assert tokenizers["chatml"].prompt_format.bos == "template"
    assert (ids["chatml"][0], ids["chatml"].count(bos["chatml"])) == (bos["chatml"], 3)
    assert tokenizers["plain"].prompt_format.bos == "none"
    assert bos["plain"] not in ids["plain"]


def test_a_row_ends_with_the_token_that_ends_an_answer(tokenizers):
    """Of a template its end of turn, which for Gemma no configuration names; of a plain model eos. It is supervised."""
    ends = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>", "plain": "</s>"}
    for manner, model_tokenizer in tokenizers.items():
        row = row_of(model_tokenizer, sample())
        assert model_tokenizer.tokenizer.decode([row.token_ids[-1]], skip_special_tokens=False) == ends[manner]
        assert row.token_ids[-1] in model_tokenizer.prompt_format.stop_ids
        assert row.start < len(row.token_ids) - 1


def test_counts_and_digest_are_over_all_rows(model_tokenizer):
    """The digest sees ids, spans and order, and not the names."""
    made = tokenise_samples(
        [sample(), sample("What is 4+5?", "#### 9")], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG
    )
    assert made.tokens == sum(len(row.token_ids) for row in made.rows)
    assert made.supervised == made.tokens - sum(row.start for row in made.rows)
    one, other = made.rows
    assert TrainingSet.of([replace(one, id="other"), other]).sha256 == made.sha256
    shifted = replace(one, start=one.start + 1)
    assert len({rows.TrainingSet.of(r).sha256 for r in ([one, other], [other, one], [shifted, other], [one])}) == 4


def test_rows_that_are_too_long_are_named_and_none_is_cut(model_tokenizer):
    """Truncation would eat the answer: the run stops with the ids and the length that takes them all."""
    samples = [sample(name=f"train-{number}") for number in range(2)]
    samples += [sample("2 and 3? " * (20 + number), name=f"train-{number}") for number in range(2, 9)]
    longest = max(len(row_of(model_tokenizer, one).token_ids) for one in samples)
    with pytest.raises(BenchError, match="7 of 9 rows are longer than max_length = 60") as caught:
        tokenise_samples(samples, model_tokenizer.tokenizer, model_tokenizer.prompt_format, 60)
    assert "train-2, train-3, train-4, train-5, train-6, ..." in caught.value.what
    assert f"--set max_length={longest} " in caught.value.way_out
    kept = tokenise_samples(samples, model_tokenizer.tokenizer, model_tokenizer.prompt_format, longest)
    assert max(len(row.token_ids) for row in kept.rows) == longest


@pytest.mark.parametrize("solution", ["", " \n"])
def test_an_empty_solution_is_refused(model_tokenizer, solution):
    """There is nothing to learn from it but to say nothing."""
    with pytest.raises(BenchError, match="train-1 has an empty solution"):
        tokenise_samples([sample(solution=solution)], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG)


def test_no_sample_is_refused(model_tokenizer):
    """An empty split is told before anything is loaded."""
    with pytest.raises(BenchError, match="nothing to train on"):
        tokenise_samples([], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG)


def test_a_solution_that_holds_a_stop_token_is_refused(tokenizers):
    """What comes after it would never be written by the model that learned it."""
    for manner, mark in (("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("plain", "</s>")):
        model_tokenizer = tokenizers[manner]
        with pytest.raises(BenchError, match="train-1 holds a stop token before its end"):
            tokenise_samples(
                [sample(solution=f"#### 5{mark} more")], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG
            )


def test_a_question_that_holds_bos_is_refused(tokenizers):
    """Text that spells a special token becomes one."""
    model_tokenizer = tokenizers["gemma"]
    with pytest.raises(BenchError, match=r"train-1 holds BOS twice|writes BOS twice"):
        tokenise_samples([sample("What is <bos> 2+3?")], model_tokenizer.tokenizer, model_tokenizer.prompt_format, LONG)


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
def test_what_is_wrong_with_a_row_is_told(tokenizers, change, told):
    """Each trap by its name; a sound row has none."""
    how = tokenizers["gemma"].prompt_format
    row = row_of(tokenizers["gemma"], sample())
    assert check_example(row, how) == []
    assert told in "; ".join(check_example(change(row), how))


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1).filter(str.strip)


@given(question=PLAIN, solution=PLAIN, manner=st.sampled_from(MANNERS))
def test_any_text_makes_a_sound_row(tokenizers, question, solution, manner):
    """Whatever is asked and answered, the row has its BOS, its seam and its stop token, and nothing is lost."""
    model_tokenizer = tokenizers[manner]
    row = row_of(model_tokenizer, sample(question, solution))
    assert check_example(row, model_tokenizer.prompt_format) == []
    text = model_tokenizer.tokenizer.decode(list(row.token_ids[row.start : -1]), skip_special_tokens=False)
    assert text == (solution if model_tokenizer.prompt_format.style == "template" else f" {solution}")
