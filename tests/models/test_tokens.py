"""models.tokens: one way from a conversation to token ids."""

from pathlib import Path

import pytest
import tiny
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Request, Sample
from baseline_bench.models import tokens
from baseline_bench.training import rows
from transformers import AddedToken, AutoTokenizer

TURNS = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))


def speaker(folder: Path, manner: str, **given):
    """A tiny model's tokenizer and the manner worked out for it."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.build(folder, manner))
    settings = {"declared_bos": None, "eos_ids": [], "model_type": "gemma2" if manner == "gemma" else "llama", **given}
    return tokenizer, tokens.detect_prompt_format(tokenizer, **settings)


def test_chatml_prompts_begin_with_their_own_turn_and_no_second_bos(tmp_path):
    """In ChatML the BOS opens every turn: nothing is put before the template's own beginning."""
    tokenizer, how = speaker(tmp_path, "chatml")
    ids = tokens.encode_prompt(tokenizer, how, TURNS)
    assert (how.style, how.bos, how.bos_id) == ("template", "template", None)
    assert ids[0] == tokenizer.bos_token_id
    assert ids[1] != tokenizer.bos_token_id
    assert tokenizer.decode(ids).endswith("assistant\n")


def test_gemma_prompts_have_exactly_one_bos_in_front(tmp_path):
    """A Gemma prompt is BOS, then something that is not BOS."""
    tokenizer, how = speaker(tmp_path, "gemma")
    ids = tokens.encode_prompt(tokenizer, how, TURNS)
    assert how.bos == "separate"
    assert (ids[0], ids.count(how.bos_id)) == (tokenizer.bos_token_id, 1)


def test_a_separate_bos_is_added_where_the_tokenizer_adds_none(tmp_path):
    """The tokenizer of a Gemma GGUF adds no BOS; the family's rule does."""
    tokenizer, how = speaker(tmp_path, "plain", declared_bos="separate", eos_ids=[2])
    ids = tokens.encode_prompt(tokenizer, how, TURNS)
    assert tokenizer.encode("a", add_special_tokens=True)[0] != tokenizer.bos_token_id
    assert (ids[0], ids.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)


_BOS_TEMPLATE = "{{ bos_token }}{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"


@pytest.mark.parametrize(
    ("manner", "template", "rule"),
    [
        ("plain", _BOS_TEMPLATE, "separate"),
        ("plain", _BOS_TEMPLATE.partition("{%")[0] + _BOS_TEMPLATE, "template"),
        ("gemma", None, "separate"),
        ("plain", None, "none"),
    ],
    ids=["one of the template's", "two of the template's", "the tokenizer's", "nobody's"],
)
def test_who_writes_the_bos_is_seen_from_a_conversation_and_from_plain_text(manner, template, rule, tmp_path):
    """One in the template is enough where the tokenizer adds none; without a template the tokenizer decides."""
    tokenizer, _ = speaker(tmp_path, manner, eos_ids=[2])
    tokenizer.chat_template = template
    how = tokens.detect_prompt_format(tokenizer, None, [2], "llama")
    assert how.bos == rule
    assert (how.bos_id == tokenizer.bos_token_id) == (rule == "separate")


def test_half_an_emoji_in_a_whole_prompt_is_refused_by_name(tmp_path):
    """A tokenizer would replace it silently; the whole emoji is encoded."""
    tokenizer, how = speaker(tmp_path, "plain", eos_ids=[2])
    with pytest.raises(BenchError, match=r"^item 7 holds \\ud83d"):
        tokens.encode_with_bos(tokenizer, how, "a\ud83d b", "item 7")
    assert tokens.encode_with_bos(tokenizer, how, "a\U0001f600 b", "item 7")


def test_a_model_without_a_template_is_asked_in_text(tmp_path):
    """Question and Answer in words, ending without a space."""
    tokenizer, how = speaker(tmp_path, "plain")
    assert how.style == "text"
    assert tokens.render_prompt(tokenizer, TURNS) == (
        "Question: What is 2+3?\nAnswer: #### 5\n\nQuestion: What is 4+5?\nAnswer:"
    )


def test_the_template_s_end_of_turn_is_a_stop_id(tmp_path):
    """Gemma's configuration names only <eos>, its template ends turns with <end_of_turn>: both end an answer."""
    tokenizer, how = speaker(tmp_path, "gemma")
    assert set(tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>"])) <= set(how.stop_ids)


def test_every_eos_of_the_configurations_is_a_stop_id(tmp_path):
    """Ids of config and generation config are taken over."""
    assert {7, 9} <= set(speaker(tmp_path, "chatml", eos_ids=[7, 9])[1].stop_ids)


@pytest.mark.parametrize("kind", ["chatml", "gemma", "plain"])
def test_a_doubled_bos_is_one_at_the_very_beginning(tmp_path, kind):
    """ChatML's BOS opens every turn, and is doubled no more than another's that stands once."""
    tokenizer, how = speaker(tmp_path, kind)
    ids = tokens.encode_prompt(tokenizer, how, TURNS)
    assert not tokens.has_doubled_bos(tokenizer, ids)
    assert tokens.has_doubled_bos(tokenizer, (tokenizer.bos_token_id,) * 2)
    if how.style == "template":
        tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
        assert tokens.has_doubled_bos(tokenizer, tokens.encode_prompt(tokenizer, how, TURNS))


def test_a_model_that_nothing_could_stop_is_refused(tmp_path):
    """Without any stop id every answer would be cut."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.build(tmp_path, "plain"))
    tokenizer.eos_token = None
    with pytest.raises(BenchError, match="ends an answer"):
        tokens.detect_prompt_format(tokenizer, None, [], "llama")


def test_a_declared_bos_that_the_tokenizer_lacks_is_refused(tmp_path):
    """models.toml may not ask for a BOS there is not."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.build(tmp_path, "plain"))
    tokenizer.bos_token = None
    with pytest.raises(BenchError, match="needs a separate BOS"):
        tokens.detect_prompt_format(tokenizer, "separate", [2], "llama")


def test_a_template_that_prints_the_date_is_given_a_fixed_day(tmp_path):
    """A prompt may not change overnight."""
    tokenizer, _ = speaker(tmp_path, "chatml")
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    assert tokens.render_prompt(tokenizer, TURNS).startswith("26 Jul 2024")


@pytest.mark.parametrize(
    ("kind", "end"),
    [("chatml", "<|im_start|>assistant\nIt is"), ("gemma", "<start_of_turn>model\nIt is"), ("plain", "Answer: It is")],
)
def test_an_answer_that_the_prompt_begins_goes_on_behind_its_last_word(tmp_path, kind, end):
    """The turn is left open, and a solution that goes on is taken as it stands."""
    tokenizer, how = speaker(tmp_path, kind)
    asked = (Message("user", "12 + 7?"), Message("assistant", "It is"))
    assert tokens.render_prompt(tokenizer, asked).endswith(end)
    written = tokens.encode_completion(tokenizer, how, " 19.", goes_on=True)
    assert (tokenizer.decode(written[:-1]), written[-1]) == (" 19.", how.end_id)
    (row,) = rows.tokenise_samples([Sample("train-0", asked, " 19.")], tokenizer, how, 64).rows
    assert row.token_ids[row.start :] == written


def test_a_completion_ends_at_its_first_stop_id_and_before_its_first_stop_text(tmp_path):
    """What follows a stop id or a stop text is not read, and special tokens are not shown."""
    tokenizer, how = speaker(tmp_path, "chatml")
    ids = tokenizer.encode("five\nQuestion: six", add_special_tokens=False)
    stop = tokenizer.eos_token_id
    assert tokens.decode_completion(tokenizer, [*ids, stop, *ids], how.stop_ids, ()) == "five\nQuestion: six"
    assert tokens.decode_completion(tokenizer, [*ids, stop], how.stop_ids, ("six", "\nQuestion:")) == "five"


def test_special_tokens_and_the_stop_id_are_no_part_of_an_answer(tmp_path):
    """Neither a special token within it nor the id that ends it, even where that is an ordinary token."""
    tokenizer, _ = speaker(tmp_path, "chatml")
    five, six = (tokenizer.encode(text, add_special_tokens=False) for text in ("five", " six"))
    (stop,) = tokenizer.encode("!", add_special_tokens=False)
    assert tokens.decode_completion(tokenizer, [*five, tokenizer.pad_token_id, *six, stop], [stop], ()) == "five six"


@pytest.mark.parametrize("special", [True, False])
def test_only_an_added_token_behind_a_turn_ends_it(tmp_path, special):
    """Ordinary tokens that the template writes before it end no answer, nor does a line break that was added."""
    tokenizer, _ = speaker(tmp_path, "chatml")
    tokenizer.add_tokens([AddedToken("\n\n", special=False), AddedToken("<end>", special=special)])
    end = tokenizer.convert_tokens_to_ids("<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} so.\n\n<end>{% endfor %}"
    how = tokens.detect_prompt_format(tokenizer, None, [], "llama")
    assert tokens.find_turn_ending(tokenizer) == (" so.\n\n<end>", (end,))
    assert set(how.stop_ids) == {tokenizer.eos_token_id, end}


def test_control_tokens_are_known_by_role_too(tmp_path):
    """A model without a template writes none of them in its prompts."""
    tokenizer, how = speaker(tmp_path, "plain")
    roles = {tokenizer.bos_token_id: "<s>", tokenizer.eos_token_id: "</s>", tokenizer.pad_token_id: "<unk>"}
    assert tokens.collect_control_tokens(tokenizer, how) == roles


def test_the_ids_digest_tells_order_and_borders():
    """The same ids cut otherwise give another digest."""
    cuts = [[(1, 2), (3,)], [(1,), (2, 3)], [(3,), (1, 2)], [(1, 2, 3)]]
    assert len({tokens.digest_id_sequences(cut) for cut in cuts}) == len(cuts)


def test_the_prompts_digest_is_that_of_their_ids_and_tells_where_an_answer_is_measured():
    """Most prompts have no such place, and their digest is older than it."""
    plain, measured = (Request("a", (5, 6, 7), start=start) for start in (None, 2))
    assert tokens.digest_prompts([plain]) == tokens.digest_id_sequences([plain.token_ids])
    assert tokens.digest_prompts([measured]) != tokens.digest_prompts([plain])
