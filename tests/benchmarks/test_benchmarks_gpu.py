"""The questions of `benchmarks/` that need a GPU, as far as a CPU can show that they would run there."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny_training
import torch
from baseline_bench.core import plugins
from baseline_bench.core.types import Completion, Model, Split
from baseline_bench.models import tokenizer, weights
from baseline_bench.tasks import gsm8k
from baseline_bench.training import recipes
from baseline_bench.training.rows import tokenise_samples
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks import (
    _lm_eval,
    _models,
    _peers,
    _profiles,
    _shapes,
    _told,
    _trainings,
    cold_start,
    generation,
    measuring,
    scaling,
    startup,
    training,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

STEPS, SKIP = training._QUICK
SETS = [f"max_steps={STEPS}", "batch=8", "checkpoint_steps=0", "optimizer=adamw"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Model:
    """A tiny base."""
    return tiny_training.model(tmp_path_factory.mktemp("base") / "tiny")


def order(base: Model, way: training.Way, sets: list[str]) -> dict:
    """What a child is handed for one way of training."""
    rows = [[row.id, row.start, list(row.token_ids)] for row in tiny_training.rows(base, STEPS * 8)]
    return {
        "recipe": way.recipe,
        "sets": sets,
        "folder": str(base.folder),
        "rows": rows,
        "steps": STEPS,
        "skip": SKIP,
        "seed": 0,
        "gpus": 1,
        "per_device": way.per_device,
        "padding_free": way.padding_free,
    }


@pytest.mark.parametrize("way", training.OURS, ids=lambda way: way.name)
def test_a_few_steps_of_our_trainers_are_measured_and_write_no_weights(base, way, tmp_path, monkeypatch):
    """Samples, tokens, seconds and memory come back, and nothing is left on the disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = _trainings.work(order(base, way, SETS), None, 0)
    assert set(found) == {"samples_per_second", "tokens_per_second", "seconds_a_step", "peak_gib"}
    assert all(value > 0 for value in found.values())
    assert found["samples_per_second"] * found["seconds_a_step"] == pytest.approx(8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", training.PADDED, ids=lambda way: way.name)
def test_the_plain_loop_is_measured_by_the_same(base, way):
    """One padded pass of eight rows a step, of full fine-tuning and of LoRA."""
    found = _peers.plain(order(base, way, SETS), None, 0)
    assert found["samples_per_second"] * found["seconds_a_step"] == pytest.approx(8)


def test_the_other_processes_of_a_training_measure_nothing(base):
    """The first one alone is told of steps; the others end without an error."""
    assert _trainings.work(order(base, training.OURS[0], SETS), None, 1) == {}


def test_flops_count_frozen_numbers_for_less_and_attention_by_the_square_of_the_length(tmp_path):
    """6 a trained and 4 a frozen number and token; 6 x layers x heads x head size x length squared a row."""
    LlamaConfig(hidden_size=64, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=3).save_pretrained(
        tmp_path
    )
    assert _trainings.flops(tmp_path, [10, 20], 0, 100) == 6 * 100 * 30 + 6 * 3 * 64 * 500
    assert _trainings.flops(tmp_path, [10], 100, 7) == (400 + 42) * 10 + 6 * 3 * 64 * 100


def test_every_way_of_training_names_a_function_and_a_recipe_that_are_there():
    """A misspelt one would only be found on the GPU."""
    for way in (*training.OURS, *training.PADDED, *training.STUDY, *training.TRL):
        module, _, function = way.work.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert recipes.read_recipe(way.recipe).options.batch == training.BATCH


def test_gemma_2b_has_the_published_number_of_parameters():
    """2,506,172,416, as its model page's safetensors state."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(_shapes.config(asdict(_models.GEMMA_2B)))
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_506_172_416


def test_a_shape_is_a_whole_checkpoint_that_trains_as_gemma_does(gsm8k_mirror, tmp_path):
    """Weights and tokenizer load, a row begins with BOS, and the turn's end is supervised."""
    folder = tmp_path / "shape"
    asked = {"shape": asdict(_models.TINY), "folder": str(folder), "mirror": str(gsm8k_mirror)}
    _shapes.work(asked, None, 0)
    weights.inspect_checkpoint(folder)
    model = Model("shape", "folder", None, folder, None, weights.digest_weights(folder))
    model_tokenizer = tokenizer.load_tokenizer(model)
    (row,) = tokenise_samples(
        tiny_training.samples(1), model_tokenizer.tokenizer, model_tokenizer.prompt_format, 4096
    ).rows
    assert row.token_ids[0] == model_tokenizer.tokenizer.bos_token_id
    assert row.token_ids[-1] == model_tokenizer.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert max(row.token_ids) < _models.TINY.words


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_hsh_192x192_64x3_2x1_v_bz_NNT", "matrix_products"),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16>", "matrix_products"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)", "attention"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel", "attention"),
        ("void kOptimizerStatic8bit2StateBlockwise<float, 1, 256, 1>", "optimizer"),
        ("void at::native::multi_tensor_apply_kernel<LpNormFunctor<float, (NormType)1>>", "gradient_norm"),
        ("void at::native::vectorized_elementwise_kernel<4, bfloat16_copy_kernel_cuda>", "copies_and_casts"),
        ("Memset (Device)", "fills"),
        ("void cunn_SoftMaxForward<4, float, LogSoftMaxForwardEpilogue>", "losses"),
        ("void at::native::reduce_kernel<512, 1, MeanOps<float>>", "reductions"),
        ("void at::native::vectorized_elementwise_kernel<4, GeluCUDAKernelImpl>", "elementwise"),
        ("something_new", "other"),
    ],
)
def test_a_kernel_is_counted_once_under_what_it_is_for(name, kind):
    """By names as CUDA libraries give them."""
    assert _profiles.kind(name) == kind
    found = _profiles.grouped([(name, 2.0), (name, 1.0)])
    assert found[f"{kind}_ms"] == sum(found.values()) == 3.0


def test_a_study_trains_on_the_rows_that_bench_trains_on(gsm8k_mirror, base):
    """The first rows of the train split, without a shot."""
    rows = training.taken(base, _models.Places(Path(), gsm8k_mirror), 3)
    assert [name for name, _, _ in rows] == ["train-0", "train-1", "train-2"]
    question = plugins.load_task("gsm8k").problems(Split("train", mirror=gsm8k_mirror))[0].question
    assert question[:20] in tokenizer.load_tokenizer(base).tokenizer.decode(rows[0][2])


@pytest.mark.parametrize(
    ("saved", "extra", "prompts"),
    [
        ([1.0, 3.0], 2.0, 15.0),  # half of the way from 10 to 20
        ([1.0, 3.0], 0.5, 5.0),  # before the first
        ([1.0, 3.0], 6.0, 40.0),  # beyond the last, along the line through it
        ([1.0, 3.0], 0.0, 0.0),
        ([-1.0, -2.0], 1.0, None),
    ],
)
def test_compiling_pays_from_where_what_it_saves_meets_what_its_start_costs(saved, extra, prompts):
    """Between the counts that were tried along straight lines."""
    assert startup.break_even([10, 20], saved, extra) == prompts


def test_the_note_of_a_start_names_prompts_and_tokens():
    """2 s more to load, 0.1 s saved a prompt: 20 prompts of 128 tokens."""
    eager = [{"load_seconds": 10.0, "answer_10_seconds": 2.0, "answer_40_seconds": 8.0}]
    compiled = [{"load_seconds": 12.0, "answer_10_seconds": 1.0, "answer_40_seconds": 4.0}]
    samples = {"eager": eager, "compiled": compiled}
    (note,) = startup.pays(samples, "eager", "compiled", (10, 40), 128)
    assert "2.0 s more" in note
    assert "20 prompts of 128 tokens on, 2,560 tokens" in note
    (note,) = startup.pays(samples, "compiled", "eager", (10, 40), 128)
    assert note == "eager: no longer to load than compiled (2.0 s less)."


def test_lm_eval_is_asked_the_same_shot_and_takes_its_data_from_the_disk(tmp_path):
    """The task's file names the mirror, our worked example and our stop text; the command the folder and 512 tokens."""
    words = _lm_eval.command(Path("/models/base"), tmp_path, tmp_path / "mirror", eager=False, limit=None)
    told = json.loads((tmp_path / f"{_lm_eval.TASK}.yaml").read_text(encoding="utf-8"))
    assert told["dataset_path"] == str(tmp_path / "mirror" / "openai" / "gsm8k")
    assert told["fewshot_config"]["samples"][0]["question"] == gsm8k.EXAMPLE[0]
    assert told["generation_kwargs"]["until"] == ["\nQuestion:"]
    assert "pretrained=/models/base,dtype=bfloat16,enforce_eager=False" in words[words.index("--model_args") + 1]
    assert words[words.index("--gen_kwargs") + 1] == "max_gen_toks=512"
    assert "--limit" not in words


def test_lm_eval_counts_by_the_better_of_its_two_settings():
    """The one with the lower median."""
    samples = {cold_start.EAGER: [{"seconds": 60.0}], cold_start.COMPILED: [{"seconds": 55.0}]}
    assert cold_start.better(samples) == cold_start.COMPILED


def test_after_one_round_of_all_arms_bench_and_the_faster_setting_go_on():
    """What cannot count does not cost every round."""
    seconds = {cold_start.OURS: 50.0, cold_start.PLAIN: 90.0, cold_start.EAGER: 60.0, cold_start.COMPILED: 95.0}
    arms = [measuring.Arm(name, lambda taken=taken: {"seconds": taken}) for name, taken in seconds.items()]
    counts = {name: len(taken) for name, taken in cold_start.rounds(arms, 3).items()}
    assert counts == {cold_start.OURS: 3, cold_start.PLAIN: 1, cold_start.EAGER: 3, cold_start.COMPILED: 1}
    assert {len(taken) for taken in cold_start.rounds(arms, 1).values()} == {1}


class Echo:
    """A generator that answers every prompt with its last token."""

    version, settings, context = "echo", {}, 4096

    def complete(self, requests, sampling, stop_ids):
        """Each request once, in order."""
        for request in requests:
            yield request.id, Completion("x", request.token_ids[-1:] * sampling.max_tokens, "length")

    def close(self) -> None:
        """Nothing to give back."""


def test_an_answer_through_bench_is_written_and_counted(gsm8k_mirror, base, tmp_path):
    """The quick prepared's answers are cut at its own length, kept, and their tokens counted."""
    prepared, model_tokenizer = generation.examination(base, _models.Places(Path(), gsm8k_mirror), quick=True)
    answers: generation.Answers = {}
    found = generation.through_bench(Echo(), prepared, model_tokenizer, tmp_path, answers)
    assert found["tokens"] == len(prepared.requests) * prepared.task.SAMPLING.max_tokens
    assert set(answers) == {request.id for request in prepared.requests}


def test_an_exam_several_times_over_has_ids_of_its_own_and_no_stop(gsm8k_mirror, base):
    """Every copy of a request is a request, answered to the last token that is asked for."""
    asked = {"folder": str(base.folder), "mirror": str(gsm8k_mirror), "copies": 3, "tokens": 5, "quick": True}
    prepared, model_tokenizer = scaling._many(asked, base)
    assert len({request.id for request in prepared.requests}) == len(prepared.requests) == 12
    assert prepared.task.SAMPLING.max_tokens == 5
    assert prepared.task.SAMPLING.stop == model_tokenizer.prompt_format.stop_ids == ()


@pytest.mark.parametrize("count", [1, 2])
def test_scaling_measures_so_many_engines(gsm8k_mirror, base, count):
    """On a CPU the transformers engine stands in; start and generation are told apart."""
    asked = {"folder": str(base.folder), "mirror": str(gsm8k_mirror), "copies": 1, "tokens": 2, "quick": True}
    found = scaling.generated(asked, count)
    assert 4 <= found["tokens"] <= 8
    assert found["load_seconds"] > 0


def test_gpu_sh_goes_on_after_a_failure_and_skips_what_was_answered(tmp_path):
    """A question with a result on this machine is not asked again; a failing one is named, and the exit status is 1."""
    measuring.keep("answered", {"a": [{"seconds": 2.0}]}, [], title="Answered", how="By hand.", results=tmp_path)
    script = Path(_told.__file__).with_name("gpu.sh")
    done = subprocess.run(
        ["bash", str(script), "no_such_question", "answered"],
        env={**os.environ, "RESULTS": str(tmp_path), "LOGS": str(tmp_path / "logs"), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no_such_question: FAILED" in done.stdout
    assert "answered: answered before" in done.stdout
    assert "a: seconds 2" in done.stdout


def test_the_table_says_what_was_reached(tmp_path):
    """A line for each target, with the value and its bound."""
    samples = {"ours": [{"seconds": 1.0}], "theirs": [{"seconds": 2.0}]}
    targets = [measuring.Target("seconds", "ours", "theirs", at_most=0.4)]
    measuring.keep("question", samples, targets, title="A question", how="By hand.", results=tmp_path)
    told = _told.table(_told.of_this_machine(tmp_path))
    assert "MISSED: seconds of ours over that of theirs: 0.5, at most 0.4" in told
