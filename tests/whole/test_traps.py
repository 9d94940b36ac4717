"""Ways in which a fine-tune is silently not what it seems: each is either impossible here or caught."""

import pytest
import tiny_lora
import tiny_training
import torch
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Request, Sample, Sampling, Split, TrainingExample
from baseline_bench.engines import transformers as engine
from baseline_bench.evaluation import evaluate
from baseline_bench.models import merge, tokenizer, weight_checks
from baseline_bench.models.merge import MergeOptions
from baseline_bench.trainers import _adapter, _network, _sft, full, lora, qlora
from baseline_bench.training.rows import check_example, tokenise_samples
from safetensors.torch import load_file
from transformers import GemmaConfig, GemmaForCausalLM

pytestmark = [
    # The name that every transformers 5 knows.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning"),
    # PEFT asks transformers by an old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

MANNERS = ("chatml", "gemma", "plain")


@pytest.fixture(scope="module", params=MANNERS)
def each(request, tmp_path_factory):
    """A tiny model of each prompt format."""
    return tiny_training.model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


def common_end(first, second) -> int:
    """How many ids at the end are the same."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def answer(folder, row):
    """What a folder's model writes greedily after a row's prompt, by the engine that scores."""
    model = tiny_training.at(folder)
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu"))
    stop_ids = tokenizer.load_tokenizer(model).prompt_format.stop_ids
    request = Request(row.id, row.token_ids[: row.start])
    return dict(generator.complete([request], Sampling(len(row.token_ids)), stop_ids))[row.id]


def test_every_row_ends_with_a_supervised_stop_token_and_supervises_its_solution_alone(each):
    """The supervised span, decoded, is the solution and the stop; what comes before it is the prompt."""
    model_tokenizer = tokenizer.load_tokenizer(each)
    samples = tiny_training.samples(9)
    for sample, row in zip(samples, tiny_training.rows(each, 9), strict=True):
        told = model_tokenizer.tokenizer.decode(list(row.token_ids[row.start : -1]), skip_special_tokens=False)
        assert told == (sample.solution if model_tokenizer.prompt_format.style == "template" else f" {sample.solution}")
        assert row.token_ids[-1] in model_tokenizer.prompt_format.stop_ids
        assert sample.messages[-1].content in model_tokenizer.tokenizer.decode(
            list(row.token_ids[: row.start]), skip_special_tokens=False
        )
        assert check_example(row, model_tokenizer.prompt_format) == []


def test_every_row_begins_as_its_family_does(tmp_path):
    """One BOS for Gemma, which the template writes and the tokenizer would write again; none where there is no rule."""
    base = tiny_training.model(tmp_path, "gemma")
    prompt_format = tokenizer.load_tokenizer(base).prompt_format
    assert prompt_format.bos_id is not None
    for row in tiny_training.rows(base, 3):
        assert (row.token_ids[0], row.token_ids.count(prompt_format.bos_id)) == (prompt_format.bos_id, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda ids, start, bos: (ids[1:], start - 1), "does not begin with BOS"),
        (lambda ids, start, bos: ((bos, *ids), start + 1), "holds BOS twice"),
        (lambda ids, start, bos: (ids[:-1], start), "does not end with a stop token"),
        (lambda ids, start, bos: (ids, 0), "supervises its prompt"),
        (lambda ids, start, bos: (ids, len(ids) - 1), "supervises nothing but its stop token"),
        (lambda ids, start, bos: ((*ids, ids[-1]), start), "holds a stop token before its end"),
    ],
)
def test_a_row_that_is_wrong_is_seen(tmp_path, change, told):
    """Missing or double BOS, a stop that is cut or comes early, a prompt in the loss, a solution left out of it."""
    base = tiny_training.model(tmp_path, "gemma")
    prompt_format = tokenizer.load_tokenizer(base).prompt_format
    (row,) = tiny_training.rows(base, 1)
    ids, start = change(row.token_ids, row.start, prompt_format.bos_id)
    assert told in check_example(TrainingExample("bad", ids, start), prompt_format)


def test_a_row_that_is_too_long_stops_the_run_by_name(base):
    """Nothing is cut: cutting would eat the answer, which stands at the end."""
    model_tokenizer = tokenizer.load_tokenizer(base)
    lengths = [len(row.token_ids) for row in tiny_training.rows(base, 9)]
    with pytest.raises(BenchError, match=rf"\d of 9 rows are longer .*train-\d.*max_length={max(lengths)} takes them"):
        tokenise_samples(
            tiny_training.samples(9), model_tokenizer.tokenizer, model_tokenizer.prompt_format, max(lengths) - 1
        )
    assert (
        len(
            tokenise_samples(
                tiny_training.samples(9), model_tokenizer.tokenizer, model_tokenizer.prompt_format, max(lengths)
            ).rows
        )
        == 9
    )


def test_a_trained_prompt_is_the_scored_one(each):
    """With as many shots the whole of it; with none everything from the last question to the answer's first token."""
    model_tokenizer, task = tokenizer.load_tokenizer(each), plugins.load_task("word-problems")
    asked = evaluate.select_problems(task, Split("test"), 3, 0)
    scored = evaluate.prepare_task(task, asked, model_tokenizer, 0)
    for problem, request in zip(scored.problems, scored.requests, strict=True):
        messages = task.messages(problem)
        shown, bare = (
            tokenise_samples(
                [Sample("a", turns, problem.solution)], model_tokenizer.tokenizer, model_tokenizer.prompt_format, 4096
            ).rows[0]
            for turns in (messages, messages[-1:])
        )
        assert shown.token_ids[: shown.start] == request.token_ids
        shared = common_end(bare.token_ids[: bare.start], request.token_ids)
        assert problem.question in model_tokenizer.tokenizer.decode(
            list(request.token_ids[-shared:]), skip_special_tokens=False
        )


def test_a_model_that_learned_one_row_repeats_it_and_stops(each, tmp_path):
    """From data to training to scoring by one seam: the engine's answer is the solution, ended by the stop token."""
    (row,) = tiny_training.rows(each, 1)
    options = tiny_training.full(lr=5e-3, epochs=60, output_dtype="bfloat16")
    made = tiny_training.run(full.train, each, [row], tmp_path, options)
    assert made.losses[-1] < 0.05 < made.losses[0]
    written = answer(made.trained.weights, row)
    assert written.finish_reason == "stop"
    assert written.token_ids == row.token_ids[row.start :]
    assert written.text.strip() == tiny_training.samples(1)[0].solution


def test_an_adapter_that_learned_one_row_repeats_it_once_merged(base, tmp_path):
    """The same by LoRA with activations computed twice, through the merge."""
    (row,) = tiny_training.rows(base, 1)
    options = tiny_training.lora(lr=2e-2, epochs=80, r=8, alpha=16, gradient_checkpointing=True)
    made = tiny_training.run(lora.train, base, [row], tmp_path / "run", options)
    merge.merge_adapter(base.folder, made.trained.weights, tmp_path / "whole", MergeOptions(dtype="float32"))
    assert answer(tmp_path / "whole", row).token_ids == row.token_ids[row.start :]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_adapter_learns(each, tmp_path, checkpointing):
    """Every B leaves 0 in the first step, also where activations are computed twice."""
    options = tiny_training.lora(max_steps=1, gradient_checkpointing=checkpointing)
    made = tiny_training.run(lora.train, each, tiny_training.rows(each, 2), tmp_path, options)
    tensors = load_file(made.trained.weights / "adapter_model.safetensors")
    ups = {name: bool(torch.count_nonzero(tensor)) for name, tensor in tensors.items() if "lora_B" in name}
    assert len(ups) == 2 * len(options.targets)
    assert all(ups.values())


def test_every_adapter_over_4_bits_learns(base, tmp_path):
    """What is looked at before the first step and after the last leaves the base as it is held while training."""
    rows, options = tiny_training.rows(base, 4), tiny_training.qlora(batch=2)
    made = tiny_training.run(qlora.train, base, rows[:2], tmp_path, options, held_out=rows[2:])
    tensors = load_file(made.trained.weights / "adapter_model.safetensors")
    assert all(bool(torch.count_nonzero(tensor)) for name, tensor in tensors.items() if "lora_B" in name)
    assert (made.trained.kind, made.trained.quantised) == ("adapter", "nf4")
    assert made.trained.held_out_loss > 0


def test_an_adapter_that_gets_no_gradient_stops_the_run(base, tmp_path):
    """Named, after the first backward pass."""

    def build(job, _device):
        network = _adapter.attach_adapters(_network.load_base(job, torch.float32), job)
        for name, parameter in network.named_parameters():
            if "layers.1.mlp.up_proj.lora_B" in name:
                parameter.requires_grad_(requires_grad=False)
        return network

    method = _sft.TrainingMethod("adapter", build, _adapter.save_adapter, _adapter.require_gradients)
    with pytest.raises(BenchError, match=r"1 adapters get no gradient, .*layers\.1\.mlp\.up_proj\.lora_B"):
        tiny_training.run(
            lambda job: _sft.run_training(job, method),
            base,
            tiny_training.rows(base, 2),
            tmp_path,
            tiny_training.lora(),
        )


def test_the_study_trains_19_611_648_of_2_525_784_064_numbers(base, tmp_path):
    """Golden: r 16 beside all seven projections of Gemma 2B, where its slides claim 30 million; no weight is made."""
    config = GemmaConfig(
        vocab_size=256000,
        hidden_size=2048,
        intermediate_size=16384,
        num_hidden_layers=18,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
    )
    with torch.device("meta"):
        network = GemmaForCausalLM(config)
        job = tiny_training.job(base, (), tmp_path, tiny_training.lora(r=16, alpha=32))
        adapted = _adapter.attach_adapters(network, job)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == 19_611_648
    assert _network.count_parameters(adapted) == 2_525_784_064


def test_the_recipes_targets_are_trained_and_not_pefts(tmp_path):
    """Counted by the shapes of the tiny Gemma: seven projections of two layers, where PEFT's own would be q and v."""
    base = tiny_training.model(tmp_path / "base", "gemma")
    wide, narrow, inner = 128 + 128, 128 + 64, 128 + 256
    made = tiny_training.run(
        lora.train, base, tiny_training.rows(base, 1), tmp_path / "run", tiny_training.lora(max_steps=1)
    )
    assert made.trained.trainable == 4 * 2 * (2 * wide + 2 * narrow + 3 * inner)
    assert made.trained.parameters == made.trained.trainable + sum(
        parameter.numel() for parameter in tiny_training.plain(base.folder).parameters()
    )


def test_targets_that_the_model_does_not_have_are_refused(base, tmp_path):
    """All of them named, also where others are there."""
    options = tiny_training.lora(targets=("q_proj", "c_attn", "wi"))
    with pytest.raises(BenchError, match="has no layers named c_attn, wi: correct `targets`"):
        tiny_training.run(lora.train, base, tiny_training.rows(base, 1), tmp_path, options)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_adapters_are_held_in_fp32(base, tmp_path, precision):
    """Whatever the base beside them is computed in."""
    options = tiny_training.lora(precision=precision, max_steps=1)
    made = tiny_training.run(lora.train, base, tiny_training.rows(base, 2), tmp_path, options)
    tensors = load_file(made.trained.weights / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_a_pure_bf16_training_leaves_most_weights_where_they_were(base, tmp_path):
    """At 1e-5 a step is less than half of what bf16 can tell apart; over an fp32 master nearly all weights move."""
    folder = tiny_lora.recast(base.folder, tmp_path / "bf16", torch.bfloat16)
    half = tiny_training.at(folder)
    rows, changed = tiny_training.rows(half, 8), {}
    for kept in ("bf16", "fp32"):
        options = tiny_training.full(lr=1e-5, precision="bf16", weights=kept, optimizer="adamw_8bit", epochs=4)
        made = tiny_training.run(full.train, half, rows, tmp_path / kept, options)
        changed[kept] = weight_checks.check_full_weights(made.trained.weights, folder).changed
    assert changed["bf16"] < 0.2
    assert changed["fp32"] > 0.95
