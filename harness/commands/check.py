"""`bench check`: find what would make a recipe train wrongly, in seconds on a CPU, before any weights are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any

from baseline_bench.core import machine, plugins
from baseline_bench.core.command_options import (
    argument,
    cache_option,
    datasets_option,
    option,
    recipe_base_option,
    recipe_keys_option,
)
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import MAX_SHOWN, BenchError, list_first
from baseline_bench.core.types import Message, Model, Problem, Sample, Split, TrainingExample
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.models.tokens import ModelTokenizer, encode_prompt
from baseline_bench.training import contamination, recipes, resolve_candidate, rows
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.rows import TrainingSet
from rich.text import Text

USUAL_SUPERVISED_SHARE = (0.05, 0.95)
_SEAM_CHECKS = 64
_NF4_BYTES = 0.53  # bytes of a number in 4 bits with its share of the constants
_NORMS_PER_BLOCK = {"llama": 2, "mistral": 2, "qwen2": 2, "qwen3": 2, "gemma": 2, "gemma2": 4, "gemma3_text": 4}
_MEMORY_OPTIONS = {"precision", "weights", "optimizer", "batch", "forward_tokens", "gradient_checkpointing"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A recipe to check, with changes to its keys; or a file to search for a task's test items."""

    recipe: str | None = argument("a name of `bench list recipes`, or a .toml file", "RECIPE", None)
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()
    data: str | None = option("--data", "look in this file alone for a task's test items", "FILE")
    task: str | None = option("--task", "whose test items (default: the recipe's task, else gsm8k)", "NAME")
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """A decoder's size: its blocks, (name, inputs, outputs) of each linear layer of a block, the other parameters of a
    block (norms, biases), the parameters outside the blocks (a tied head counted once), vocabulary size and width.
    """

    layers: int
    linears: tuple[tuple[str, int, int], ...]
    others: int
    outside: int
    vocabulary: int
    hidden: int


def run(options: Options, console: Console) -> int:
    """Print the findings; exit with 1 if one of them would make the training, or its score, wrong.

    Raises:
        BenchError: the recipe, its data or its task cannot be read, or neither recipe nor data is given.
    """
    if (options.recipe is None) == (options.data is None):
        raise BenchError("bench check looks at one thing", "give a recipe, or --data FILE")
    console.say(f"checking {options.recipe or options.data}")
    if options.data is not None:
        return _check_file(options, console)
    if options.task is not None:
        raise BenchError("--task goes with --data, and a recipe names its own", f"--set task={options.task}")
    recipe = recipes.read_recipe(str(options.recipe), options.sets, options.base)
    base = _read_base_name(recipe)
    task = plugins.load_task(recipes.resolve_path(recipe, "task"))
    from baseline_bench.training import data as training_data  # loads datasets

    samples = training_data.load_samples(recipe, options.mirror)
    data = " ".join(part for part in (recipe.data, recipe.config, recipe.split) if part)
    facts = [("base", recipe.base), ("trainer", recipe.trainer), ("data", f"{data}, {recipe.shots} shots")]
    console.print(build_facts_table(recipe.name, [("digest", recipes.digest_recipe(recipe)), *facts]))
    findings: list[str] = []
    from baseline_bench.models import tokenizer  # loads transformers

    try:
        console.say(f"base {recipe.base}: looking for it, fetching what is missing")
        model = resolve_candidate.resolve_base_model(base, options.cache)
        model_tokenizer = tokenizer.load_tokenizer(model)
    except BenchError as error:
        findings.append(f"rows and sizes were not looked at, since the base is not at hand: {error}; or --base MODEL")
    else:
        findings += _check_rows(recipe, samples, model_tokenizer, model, console)
    findings += _check_leaks(samples, task, options.mirror, console)
    findings += _check_origin(recipe)
    console.print(Text("\nfindings:", style="bold"))
    for finding in findings or ["nothing that would make this recipe train wrongly"]:
        console.print(Text(f"- {finding}", style="red" if findings else "green"))
    return 1 if findings else 0


def _read_base_name(recipe: Recipe) -> str:
    """Read the name or folder of the base; a mistyped name is an error, a folder that is absent only a finding."""
    base = recipes.resolve_path(recipe, "base")
    if not registry.is_folder_name(base):
        registry.require_model_name(base)
    return base


def _check_origin(recipe: Recipe) -> list[str]:
    """Report training data that was made from the items of the task that the candidate will be scored on."""
    data, scored_on = (recipes.resolve_path(recipe, key) for key in ("data", "task"))
    root = contamination.find_shared_origin(recipe.derived_from, data, scored_on)
    return [f"the data was made from items of {root}: scores on {recipe.task} would mean nothing"] if root else []


def count_steps(count: int, batch: int, epochs: float, max_steps: int | None) -> tuple[int, int]:
    """Return (optimizer steps, rows of the last one); a fraction of an epoch takes that fraction of the rows."""
    whole, part = int(epochs), epochs - int(epochs)
    epoch_rows = [count] * whole + ([max(1, round(part * count))] if part > 0 else [])
    windows = [min(batch, remaining - start) for remaining in epoch_rows for start in range(0, remaining, batch)]
    windows = windows[:max_steps]
    return len(windows), windows[-1]


def read_shape(config: Mapping[str, Any]) -> DecoderShape | None:
    """Read a decoder's size from its config.json alone; return None for an unknown model family."""
    text = weights.get_text_config(config)
    kind = text.get("model_type")
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    if kind not in _NORMS_PER_BLOCK or any(key not in text for key in needed):
        return None
    hidden, inner, layers, heads, vocabulary = (int(text[key]) for key in needed)
    head = int(text.get("head_dim") or hidden // heads)
    query, value = heads * head, int(text.get("num_key_value_heads") or heads) * head
    attention = (("q_proj", hidden, query), ("k_proj", hidden, value), ("v_proj", hidden, value))
    mlp = (("gate_proj", hidden, inner), ("up_proj", hidden, inner), ("down_proj", inner, hidden))
    others = _NORMS_PER_BLOCK[kind] * hidden
    if kind in ("qwen3", "gemma3_text"):
        others += 2 * head
    if kind == "qwen2" or text.get("attention_bias"):
        others += query + 2 * value + (0 if kind == "qwen2" else hidden)
    if text.get("mlp_bias"):
        others += 2 * inner + hidden
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", kind.startswith("gemma")))
    return DecoderShape(
        layers=layers,
        linears=(*attention, ("o_proj", query, hidden), *mlp),
        others=others,
        outside=vocabulary * hidden * (1 if tied else 2) + hidden,
        vocabulary=vocabulary,
        hidden=hidden,
    )


def count_trainable(config: Mapping[str, Any], options: Any) -> tuple[int, int] | None:
    """Return (trained parameters, all parameters including adapters); None for an unknown model family.

    Options with `r` and `targets` are adapters: r * (inputs + outputs) parameters for every linear layer they target.
    """
    shape = read_shape(config)
    if shape is None:
        return None
    base = shape.outside + shape.layers * (shape.others + sum(i * o for _, i, o in shape.linears))
    if not _is_adapter(options):
        return base, base
    per_layer = sum(options.r * (i + o) for name, i, o in shape.linears if name in options.targets)
    return shape.layers * per_layer, base + shape.layers * per_layer


def estimate_memory(
    config: Mapping[str, Any], options: Any, tokens: int, supervised: int
) -> tuple[tuple[str, float], ...] | None:
    """Estimate the bytes of a training on one device as (what, bytes); good only for "will it fit". None if unknown.

    Args:
        tokens: tokens of one forward pass.
        supervised: how many of them have logits.
    """
    shape, size = read_shape(config), count_trainable(config, options)
    if shape is None or size is None or not all(hasattr(options, key) for key in _MEMORY_OPTIONS):
        return None
    (trained, total), half = size, 2 if options.precision == "bf16" else 4
    linear = shape.layers * sum(i * o for _, i, o in shape.linears)
    if _is_adapter(options):
        bytes_per_weight = 2 if "bf16" in (options.precision, options.weights) else 4
        packed = (bytes_per_weight - _NF4_BYTES) * linear if hasattr(options, "double_quantization") else 0.0
        weights, gradients, embedded = bytes_per_weight * (total - trained) - packed + 4 * trained, 4 * trained, 0
    else:
        bytes_per_weight = 4 if options.weights == "fp32" else 2
        weights = bytes_per_weight * total + (
            half * linear if half < bytes_per_weight else 0.0
        )  # autocast keeps a cast copy
        gradients, embedded = bytes_per_weight * trained, shape.vocabulary * shape.hidden
    states = 8 * trained if options.optimizer == "adamw" else 2 * (trained - embedded) + 8 * embedded
    block = half * sum(i + o for _, i, o in shape.linears) + 8 * shape.hidden
    blocks = half * shape.hidden * shape.layers + block if options.gradient_checkpointing else block * shape.layers
    activations = tokens * blocks + supervised * shape.vocabulary * 8
    return ("weights", weights), ("gradients", gradients), ("optimizer", states), ("activations", activations)


def describe_prompt_mismatch(
    messages: Sequence[Message], row: TrainingExample, task: Task, model_tokenizer: ModelTokenizer
) -> str | None:
    """Return how a row's prompt differs from the scorer's for the same question, from the last user turn on, or None.

    If the row has all of the task's worked examples, the whole prompt must equal the scorer's.
    """
    tokenizer, prompt_format, last = model_tokenizer.tokenizer, model_tokenizer.prompt_format, messages[-1]
    shots = task.messages(Problem(row.id, last.content, "", ""))[:-1]
    scored, trained = encode_prompt(tokenizer, prompt_format, (*shots, last)), row.token_ids[: row.start]
    if tuple(messages[:-1]) == shots:
        return None if trained == scored else "the whole prompt differs"
    single_turn = encode_prompt(tokenizer, prompt_format, (last,))
    turn = len(single_turn) - _count_common_prefix(
        single_turn, encode_prompt(tokenizer, prompt_format, (Message("user", "?"),))
    )
    same = _count_common_prefix(trained[::-1], scored[::-1])
    return None if same >= turn else f"{turn - same} of the last turn's {turn} tokens differ"


def _count_common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _is_adapter(options: Any) -> bool:
    return hasattr(options, "r") and hasattr(options, "targets") and getattr(options, "method", "lora") == "lora"


def _check_rows(
    recipe: Recipe, samples: Sequence[Sample], model_tokenizer: ModelTokenizer, model: Model, console: Console
) -> list[str]:
    """Check the rows against this base and print rows, steps and sizes; return the findings."""
    try:
        training_set = rows.tokenise_samples(samples, model_tokenizer.tokenizer, model_tokenizer.prompt_format, maxsize)
    except BenchError as error:
        return [str(error)]
    task = plugins.load_task(recipes.resolve_path(recipe, "task"))
    config = read_object(model.folder / "config.json", "restore the file")
    longest = max(training_set.rows, key=lambda row: len(row.token_ids))
    too_long = [row.id for row in training_set.rows if len(row.token_ids) > recipe.max_length]
    share = training_set.supervised / training_set.tokens
    mismatches, seam = _check_seams(samples, training_set, task, model_tokenizer)
    findings = mismatches[:MAX_SHOWN]
    facts = [
        ("rows", f"{len(training_set.rows):,}, digest {training_set.sha256[:12]}"),
        ("tokens", f"{training_set.tokens:,}, {training_set.tokens / len(training_set.rows):.0f} a row"),
        ("supervised", f"{training_set.supervised:,} tokens, {share:.1%}"),
        ("longest row", f"{len(longest.token_ids)} tokens ({longest.id}); {len(too_long)} over {recipe.max_length}"),
        ("BOS, stop token", "as this model needs them, in every row"),
        ("seam", seam),
        *_estimate_costs(recipe.options, config, training_set, len(longest.token_ids)),
    ]
    console.print(build_facts_table(f"\n{model.name} ({model.source}, {model.revision or 'no revision'})", facts))
    for row in dict.fromkeys((training_set.rows[0], training_set.rows[-1])):
        console.print(Text(f"\n{row.id}, ⟦supervised⟧:", style="bold"), Text(_mark_completion(row, model_tokenizer)))
    if too_long:
        findings.append(
            f"{len(too_long)} rows are longer than max_length = {recipe.max_length}: {list_first(too_long)}"
        )
    if model_tokenizer.context is not None and len(longest.token_ids) > model_tokenizer.context:
        findings.append(f"{longest.id} has {len(longest.token_ids)} tokens, the model takes {model_tokenizer.context}")
    low, high = USUAL_SUPERVISED_SHARE
    if not low <= share <= high:
        findings.append(f"{share:.1%} of the tokens are supervised, where {low:.0%} to {high:.0%} is usual")
    noticed = diagnose.check_token_ids(model.folder, training_set.rows)
    if _is_adapter(recipe.options):  # which trains no row of the embedding
        noticed += diagnose.check_trained_tokens(model.folder, model_tokenizer)
    return findings + [finding.message for finding in noticed] + _find_missing_targets(recipe.options, config)


def _check_seams(
    samples: Sequence[Sample], training_set: TrainingSet, task: Task, model_tokenizer: ModelTokenizer
) -> tuple[list[str], str]:
    """Return one finding per checked row whose prompt is not the scorer's, and a line with their number."""
    findings, indices = [], _spread_evenly(len(training_set.rows))
    for index in indices:
        row = training_set.rows[index]
        if mismatch := describe_prompt_mismatch(samples[index].messages, row, task, model_tokenizer):
            findings.append(f"the seam of {row.id} is not the scorer's: {mismatch}")
    return findings, f"as in scoring in {len(indices) - len(findings)} of {len(indices)} rows looked at"


def _spread_evenly(count: int) -> list[int]:
    """Return at most 64 evenly spread indices below `count`, including the first and the last."""
    return sorted({round(n * (count - 1) / (_SEAM_CHECKS - 1)) for n in range(_SEAM_CHECKS)})


def _mark_completion(row: TrainingExample, model_tokenizer: ModelTokenizer) -> str:
    parts = (row.token_ids[: row.start], row.token_ids[row.start :])
    prompt, completion = (model_tokenizer.tokenizer.decode(list(part), skip_special_tokens=False) for part in parts)
    return f"{prompt}⟦{completion}⟧"


def _estimate_costs(
    options: Any, config: Mapping[str, Any], training_set: TrainingSet, longest: int
) -> list[tuple[str, str]]:
    """Return steps, parameters and memory, as far as the trainer's options and the model family give them."""
    facts, size = [], count_trainable(config, options)
    batch = getattr(options, "batch", None)
    if batch is not None and hasattr(options, "epochs"):
        count, last = count_steps(len(training_set.rows), batch, options.epochs, getattr(options, "max_steps", None))
        facts.append(("steps", f"{count:,} of {batch} rows, the last of {last}"))
    if size is None:
        return [*facts, ("trained", f"not worked out for model_type {config.get('model_type')}")]
    facts.append(("trained", f"{size[0]:,} of {size[1]:,} numbers, {size[0] / size[1]:.2%}"))
    tokens = max(longest, min(getattr(options, "forward_tokens", 0), longest * (batch or 1)))
    if memory := estimate_memory(
        config, options, tokens, round(tokens * training_set.supervised / training_set.tokens)
    ):
        parts = ", ".join(f"{what} {part / machine.GIB:.1f}" for what, part in memory)
        total = sum(part for _, part in memory) / machine.GIB
        facts.append(("memory", f"about {total:.1f} GiB ({parts}); here: {_describe_memory()}"))
    return facts


def _find_missing_targets(options: Any, config: Mapping[str, Any]) -> list[str]:
    """Report targets that match no layer: PEFT silently ignores them as long as one target matches."""
    shape = read_shape(config)
    layer_names = [name for name, _, _ in shape.linears] if shape else []
    missing = [name for name in getattr(options, "targets", ()) if layer_names and name not in layer_names]
    return [f"no layer of the base is called {', '.join(missing)}; it has {', '.join(layer_names)}"] if missing else []


def _describe_memory() -> str:
    if machine.has_accelerator():
        import torch

        if torch.cuda.device_count():
            return f"{torch.cuda.get_device_properties(0).total_memory / machine.GIB:.1f} GiB on the GPU"
    available = machine.available_memory()
    return "not known" if available is None else f"{available / machine.GIB:.1f} GiB of main memory"


def _check_file(options: Options, console: Console) -> int:
    """Check any file for leaks alone; return 1 if it contains a whole test question."""
    from baseline_bench.training import data  # loads datasets

    samples = data.load_texts(Path(str(options.data)).expanduser())
    findings = _check_leaks(samples, plugins.load_task(options.task or "gsm8k"), options.mirror, console)
    return 1 if findings else 0


def _check_leaks(samples: Sequence[Sample], task: Task, mirror: Path | None, console: Console) -> list[str]:
    """Print every leaking pair; only whole questions are findings, since people do write the same 13 words."""
    items = task.problems(Split("test", mirror=mirror))
    leaks = contamination.find_leaks(samples, items)
    shared = len({item for _, item in leaks.ngram})
    counts = f"{len(leaks.exact)} exact; {shared} of {len(items)} items share {leaks.n} words in a row with a row"
    console.print(build_facts_table("\nleaks", [(task.LABEL, counts)]))
    for pairs, kind in ((leaks.exact, "exact"), (leaks.ngram, f"{leaks.n} words")):
        console.write("".join(f"{kind}: {item} in {sample}\n" for sample, item in pairs))
    leaking_rows = len({sample for sample, _ in leaks.exact})
    return [f"{leaking_rows} rows hold test questions of {task.LABEL} word for word"] if leaking_rows else []
