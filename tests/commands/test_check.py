"""commands.check: what would make a recipe train wrongly is found before any weights are loaded."""

import io
import json
import shutil

import pytest
import tiny
import torch
from baseline_bench.commands import check
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Sample, Split
from baseline_bench.models import tokenizer
from baseline_bench.tasks import gsm8k, word_problems
from baseline_bench.trainers import _packing
from baseline_bench.training import recipes, rows
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

GEMMA_2B = {
    "model_type": "gemma",
    "vocab_size": 256000,
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
}
SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
FAMILIES = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {}),
    ("qwen2", {"head_dim": 8}),
    ("qwen3", {}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma3_text", {}),
]


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def base(request, tmp_path_factory):
    """A tiny model of each manner."""
    return tiny.build(tmp_path_factory.mktemp("base") / request.param, request.param)


@pytest.fixture(scope="module")
def chatml(tmp_path_factory):
    """A tiny model with a template."""
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


def model_tokenizer(folder):
    """The model's tokenizer and manner."""
    return tokenizer.load_tokenizer(Model("tiny", "folder", None, folder, None, None))


def run(folder, cache, recipe: str | None = "quickstart-lora", **given):
    """(exit status, what was printed) of a check with this base."""
    out = io.StringIO()
    values = {"sets": [], "base": str(folder), "data": None, "task": None, "mirror": None, **given}
    status = check.run(check.Options(recipe=recipe, cache=cache, **values), Console(out, io.StringIO()))
    return status, out.getvalue()


def write_rows(folder, questions) -> str:
    """A file of these questions, each answered."""
    lines = [json.dumps({"question": text, "answer": "So it is 5.\n#### 5"}) + "\n" for text in questions]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    return str(folder / "rows.jsonl")


def test_gemma_2b_has_the_numbers_that_its_shapes_give():
    """Golden: LoRA r 16 on all seven projections trains 19,611,648 of 2,525,784,064 numbers, adapters included."""
    assert check.count_trainable(GEMMA_2B, recipes.read_recipe("lora-main").options) == (19_611_648, 2_525_784_064)
    assert check.count_trainable(GEMMA_2B, recipes.read_recipe("qlora-main").options) == (19_611_648, 2_525_784_064)
    assert check.count_trainable(GEMMA_2B, recipes.read_recipe("full-main").options) == (2_506_172_416,) * 2


# PEFT asks transformers for it by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(("family", "more"), FAMILIES)
def test_the_arithmetic_is_that_of_the_real_model_and_of_peft(family, more):
    """Norms, biases, tied heads: config.json alone gives what transformers builds and what PEFT trains."""
    config = AutoConfig.for_model(family, **{**SMALL, **more})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    written = json.loads(config.to_json_string(use_diff=False))
    assert check.count_trainable(written, recipes.read_recipe("full-main").options) == (model.num_parameters(),) * 2
    options = recipes.read_recipe("lora-main", ["r=4", "targets=q_proj,v_proj,down_proj"]).options
    with torch.device("meta"):
        adapted = get_peft_model(model, LoraConfig(r=options.r, target_modules=list(options.targets)))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert check.count_trainable(written, options) == (trained, adapted.num_parameters())


def test_a_family_that_is_not_known_is_not_guessed():
    """Neither numbers nor memory are made up."""
    options = recipes.read_recipe("full-main").options
    for config in ({**GEMMA_2B, "model_type": "mamba"}, {"model_type": "llama"}):
        assert check.count_trainable(config, options) is None
        assert check.estimate_memory(config, options, 100, 50) is None
    assert check.estimate_memory(GEMMA_2B, object(), 100, 50) is None


def test_a_model_inside_a_larger_one_is_counted_by_its_text_part():
    """Configurations that nest the language model are read there."""
    nested = {"model_type": "gemma3", "text_config": {**GEMMA_2B, "model_type": "gemma3_text"}}
    assert check.read_shape(nested) == check.read_shape({**GEMMA_2B, "model_type": "gemma3_text"})
    assert check.read_shape({**GEMMA_2B, "text_config": None}) == check.read_shape(GEMMA_2B)


def test_memory_goes_by_what_is_held_and_what_is_trained():
    """Gemma-2B in fp32, its states too or in 8 bits, in bf16, as LoRA, in 4 bits: each part by its bytes a number."""
    parts = {
        name: dict(check.estimate_memory(GEMMA_2B, recipes.read_recipe(name).options, 2048, 1000))
        for name in ("full-main", "seeds-full-main", "lora-main", "qlora-main")
    }
    numbers, embedding = 2_506_172_416, 256000 * 2048
    linear = 18 * (9_437_184 + 100_663_296)
    assert parts["full-main"]["weights"] == 4 * numbers + 2 * linear
    assert parts["full-main"]["gradients"] == 4 * numbers
    assert parts["full-main"]["optimizer"] == 8 * numbers
    eight_bit = recipes.read_recipe("full-main", ("optimizer=adamw_8bit",)).options
    states = dict(check.estimate_memory(GEMMA_2B, eight_bit, 2048, 1000))["optimizer"]
    assert states == 2 * (numbers - embedding) + 8 * embedding
    assert parts["seeds-full-main"]["weights"] == parts["seeds-full-main"]["gradients"] == 2 * numbers
    assert parts["lora-main"]["weights"] == 2 * numbers + 4 * 19_611_648
    assert parts["lora-main"]["optimizer"] == 8 * 19_611_648
    assert parts["qlora-main"]["weights"] < 0.5 * parts["lora-main"]["weights"]
    assert parts["seeds-full-main"]["activations"] < parts["full-main"]["activations"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((7473, 8, 1.0, None), (935, 1)),
        ((7473, 8, 2.0, None), (1870, 1)),
        ((16, 8, 1.0, None), (2, 8)),
        ((100, 8, 0.5, None), (7, 2)),
        ((7473, 8, 1.0, 25), (25, 8)),
        ((3, 8, 1.0, 25), (1, 3)),
    ],
)
def test_steps_are_counted_with_the_last_window_s_rows(asked, told):
    """An epoch of GSM8K at 8 rows a step is 935 steps, the last of one row."""
    assert check.count_steps(*asked) == told
    count, batch, epochs, most = asked
    windows = _packing.split_into_steps(list(range(count)), batch, epochs, 0)[:most]
    assert told == (len(windows), len(windows[-1]))


def test_a_sound_recipe_has_no_findings(base, tmp_path):
    """Every manner of model: rows, steps and numbers are told, the supervised span is marked, exit status 0."""
    status, told = run(base, tmp_path)
    assert status == 0, told
    model = AutoModelForCausalLM.from_pretrained(base)
    options = recipes.read_recipe("quickstart-lora").options
    trained, total = check.count_trainable(json.loads((base / "config.json").read_text()), options)
    assert total == model.num_parameters() + trained
    assert f"{trained:,} of {total:,} numbers" in told
    for part in (
        recipes.digest_recipe(recipes.read_recipe("quickstart-lora", [], str(base))),
        "25 of 8 rows, the last of 8",
        "as in scoring in 64 of 64 rows",
        "GiB of main memory",
        "0 exact; 0 of 256 items",
        "nothing that would make this recipe train wrongly",
    ):
        assert part in told
    first = word_problems.problems(Split("train"))[0].solution
    marked = told[told.index("⟦", told.index("⟦supervised⟧") + 5) + 1 :].partition("⟧")[0]
    assert marked.strip().startswith(first)
    assert marked.strip() != first


def test_rows_that_are_too_long_are_counted_and_named(chatml, tmp_path):
    """By the recipe's length, and by the model's context."""
    status, told = run(chatml, tmp_path, sets=["max_length=100"])
    assert status == 1
    assert "rows are longer than max_length = 100: train-" in told
    long = write_rows(tmp_path, ["Why? " * tiny.CONTEXT])
    status, told = run(chatml, tmp_path, sets=[f"data={long}", "max_length=100000"])
    assert status == 1
    assert f"the model takes {tiny.CONTEXT}" in told


def test_a_strange_share_of_supervised_tokens_is_a_finding(chatml, tmp_path):
    """A page of prompt for a line of answer is seldom what was meant."""
    long = write_rows(tmp_path, ["Why? " * 500])
    status, told = run(chatml, tmp_path, sets=[f"data={long}", "max_length=100000"])
    assert status == 1
    assert "of the tokens are supervised, where 5% to 95% is usual" in told


def test_an_unsound_row_is_a_finding(chatml, tmp_path):
    """A stop token inside an answer would end it there for ever."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "a", "answer": "5<|im_end|>6"}), encoding="utf-8")
    status, told = run(chatml, tmp_path, sets=[f"data={tmp_path / 'rows.jsonl'}"])
    assert status == 1
    assert "rows-1 holds a stop token before its end" in told


@pytest.mark.parametrize(("recipe", "found"), [("quickstart-lora", True), ("full-main", False)])
def test_an_adapter_cannot_learn_an_untrained_end(recipe, found, chatml, tmp_path):
    """An adapter of the layers trains no row of the embedding; full training does."""
    base = shutil.copytree(chatml, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["model.embed_tokens.weight"][2].zero_()
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    long = write_rows(tmp_path, ["How many are 3 and 4 eggs?"])
    status, told = run(base, tmp_path, recipe=recipe, sets=[f"data={long}", "task=word-problems"])
    assert ("so that no answer ends" in told) == found
    assert status == 1 or not found


def test_targets_that_the_base_lacks_are_a_finding(chatml, tmp_path):
    """PEFT trains the others and says nothing."""
    status, told = run(chatml, tmp_path, sets=["targets=q_proj,c_attn"])
    assert status == 1
    assert "no layer of the base is called c_attn; it has q_proj, k_proj" in told


def test_training_on_test_questions_is_a_finding(chatml, tmp_path):
    """By the words, and by what the data says it was made from; every pair is printed."""
    problems = word_problems.problems(Split("test"))
    file = write_rows(tmp_path, ["What is 2+3?", problems[5].question.upper()])
    status, told = run(chatml, tmp_path, sets=[f"data={file}", "derived_from=word-problems"])
    assert status == 1
    assert "exact: test-5 in rows-2" in told
    assert "1 rows hold test questions of word-problems-1shot@v2 word for word" in told
    assert "the data was made from items of word-problems" in told


def test_a_base_that_is_not_at_hand_leaves_the_rest(tmp_path):
    """Data and leaks are looked at all the same; the missing base is a finding with a way out."""
    status, told = run(tmp_path / "gone", tmp_path)
    assert status == 1
    assert "rows and sizes were not looked at" in told
    assert "--base MODEL" in told
    assert "0 exact" in told


def test_a_file_alone_is_looked_at_for_leaks(tmp_path):
    """Whatever its columns; exact hits end with status 1, shared runs are told with status 0."""
    problems = word_problems.problems(Split("test"))
    file = tmp_path / "any.jsonl"
    file.write_text(json.dumps({"prompt": f"Solve: {problems[9].question}"}) + "\n", encoding="utf-8")
    status, told = run("", tmp_path, None, base=None, data=str(file), task="word-problems")
    assert (status, "exact: test-9 in any-1" in told) == (1, True)
    words = problems[9].question.split()
    file.write_text(json.dumps({"prompt": " ".join(words[:-3])}) + "\n", encoding="utf-8")
    status, told = run("", tmp_path, None, base=None, data=str(file), task="word-problems")
    assert (status, "13 words: test-9 in any-1" in told) == (0, True)


def test_a_file_is_compared_with_gsm8k_unless_told_otherwise(gsm8k_mirror, tmp_path):
    """The task of the boards is the default."""
    item = gsm8k.problems(Split("test", "main", gsm8k_mirror))[17]
    file = write_rows(tmp_path, [item.question])
    status, told = run("", tmp_path, None, base=None, data=file, mirror=gsm8k_mirror)
    assert (status, "exact: test-17 in rows-1" in told) == (1, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"recipe": None}, "looks at one thing: give a recipe, or --data FILE"),
        ({"data": "rows.jsonl"}, "looks at one thing"),
        ({"task": "gsm8k"}, "--task goes with --data, .*--set task=gsm8k"),
    ],
)
def test_a_command_that_says_too_much_or_too_little_is_refused(tmp_path, given, told):
    """A recipe or a file, and a task only with a file."""
    with pytest.raises(BenchError, match=told):
        run("", tmp_path, **given)


def test_a_seam_unlike_the_scorer_s_is_found(base):
    """A row whose last turn was tokenised otherwise, or lacks what opens the answer, does not pass."""
    known, problem = model_tokenizer(base), word_problems.problems(Split("train"))[3]
    for messages in (word_problems.messages(problem), word_problems.messages(problem)[-1:]):
        sample = Sample("row", messages, problem.solution)
        row = rows.tokenise_samples([sample], known.tokenizer, known.prompt_format, 10_000).rows[0]
        assert check.describe_prompt_mismatch(messages, row, word_problems, known) is None
        for place in (row.start - 1, row.start - 8):
            ids = (*row.token_ids[:place], *row.token_ids[place + 1 :])
            broken = type(row)(row.id, ids, row.start - 1)
            assert "differ" in check.describe_prompt_mismatch(messages, broken, word_problems, known)


def test_rows_looked_at_are_spread_over_all():
    """First and last are among them, and never more than there are."""
    assert check._spread_evenly(1) == [0]
    assert check._spread_evenly(3) == [0, 1, 2]
    places = check._spread_evenly(7473)
    assert (len(places), places[0], places[-1]) == (64, 0, 7472)
