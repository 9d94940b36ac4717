"""`bench check`: what would make a recipe train wrongly, told in seconds on a CPU, before any weights are loaded."""

import json
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
from baseline_bench.core.display import Console, build_facts_table, replace_control_characters
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Model, Problem, Sample, Split, TrainingExample
from baseline_bench.evaluation import runs
from baseline_bench.models import registry
from baseline_bench.models.tokens import ModelTokenizer, encode_prompt
from baseline_bench.training import contamination, recipes, rows
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.rows import TrainingSet
from rich.text import Text

USUAL_SUPERVISED_SHARE = (0.05, 0.95)
_SEAM_CHECKS = 64
_MAX_SHOWN = 5
_NF4_BYTES = 0.53  # bytes of a number in 4 bits with its share of the constants
_NORMS_PER_BLOCK = {"llama": 2, "mistral": 2, "qwen2": 2, "qwen3": 2, "gemma": 2, "gemma2": 4, "gemma3_text": 4}
_MEMORY_OPTIONS = {"precision", "weights", "optimizer", "batch", "forward_tokens", "gradient_checkpointing"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A recipe to look at, with what is to differ from it; or a file to look for a task's test items in."""

    recipe: str | None = argument("a name of `bench list recipes`, or a .toml file", "RECIPE", None)
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()
    data: str | None = option("--data", "look in this file alone for a task's test items", "FILE")
    task: str | None = option("--task", "whose test items (default: the recipe's task, else gsm8k)", "NAME")
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """A decoder's size: blocks, (name, inputs, outputs) of each linear layer of a block, the other numbers of a block
    (norms, biases), numbers outside the blocks (a tied head counted once), tokens of the vocabulary, width.
    """

    layers: int
    linears: tuple[tuple[str, int, int], ...]
    others: int
    outside: int
    vocabulary: int
    hidden: int


def run(options: Options, console: Console) -> int:
    """Print what was found; exit status 1 where something would make the training, or its score, wrong.

    Raises:
        BenchError: the recipe, its data or its task cannot be read, or neither recipe nor data is given.
    """
    if (options.recipe is None) == (options.data is None):
        raise BenchError("bench check looks at one thing", "give a recipe, or --data FILE")
    if options.data is not None:
        return _check_file(options, console)
    if options.task is not None:
        raise BenchError("--task goes with --data, and a recipe names its own", f"--set task={options.task}")
    recipe = recipes.read_recipe(str(options.recipe), options.sets, options.base)
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
        with runs.explaining_write_errors(options.cache):
            model = registry.resolve_model(recipes.resolve_path(recipe, "base"), options.cache)
        speech = tokenizer.load_tokenizer(model)
    except BenchError as error:
        findings.append(f"rows and sizes were not looked at, since the base is not at hand: {error}; or --base MODEL")
    else:
        findings += _check_rows(recipe, samples, speech, model, console)
    findings += _check_leaks(samples, task, options.mirror, console)
    if root := contamination.find_shared_origin(
        recipe.derived_from, recipes.resolve_path(recipe, "data"), recipes.resolve_path(recipe, "task")
    ):
        findings.append(f"the data was made from items of {root}: scores on {recipe.task} would mean nothing")
    console.print(Text("\nfindings:", style="bold"))
    for finding in findings or ["nothing that would make this recipe train wrongly"]:
        console.print(Text(f"- {replace_control_characters(finding)}", style="red" if findings else "green"))
    return 1 if findings else 0


def count_steps(count: int, batch: int, epochs: float, max_steps: int | None) -> tuple[int, int]:
    """(steps of an optimizer, rows of the last one); a part of an epoch takes that part of the rows."""
    whole, part = int(epochs), epochs - int(epochs)
    epoch_rows = [count] * whole + ([max(1, round(part * count))] if part > 0 else [])
    windows = [min(batch, left - start) for left in epoch_rows for start in range(0, left, batch)]
    windows = windows[:max_steps]
    return len(windows), windows[-1]


def read_shape(config: Mapping[str, Any]) -> DecoderShape | None:
    """Sizes of a decoder from its config.json alone; None for a family whose arithmetic is not known here."""
    text = config.get("text_config", config)
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
    """(numbers trained with these options, numbers in all with adapters); None where the family is not known here.

    Options with `r` and `targets` are adapters: r * (inputs + outputs) numbers for every linear layer they target.
    """
    found = read_shape(config)
    if found is None:
        return None
    base = found.outside + found.layers * (found.others + sum(i * o for _, i, o in found.linears))
    if not _is_adapter(options):
        return base, base
    each = sum(options.r * (i + o) for name, i, o in found.linears if name in options.targets)
    return found.layers * each, base + found.layers * each


def estimate_memory(
    config: Mapping[str, Any], options: Any, tokens: int, supervised: int
) -> tuple[tuple[str, float], ...] | None:
    """(what, bytes) of a training on one device, good for "will it fit" and for nothing finer; None where not known.

    Args:
        tokens: of one forward pass.
        supervised: those of them that have logits.
    """
    found, size = read_shape(config), count_trainable(config, options)
    if found is None or size is None or not all(hasattr(options, key) for key in _MEMORY_OPTIONS):
        return None
    (trained, total), half = size, 2 if options.precision == "bf16" else 4
    linear = found.layers * sum(i * o for _, i, o in found.linears)
    if _is_adapter(options):
        held = 2 if "bf16" in (options.precision, options.weights) else 4
        packed = (held - _NF4_BYTES) * linear if hasattr(options, "double_quantization") else 0.0
        weights, gradients, embedded = held * (total - trained) - packed + 4 * trained, 4 * trained, 0
    else:
        held = 4 if options.weights == "fp32" else 2
        weights = held * total + (half * linear if half < held else 0.0)  # autocast keeps a cast copy
        gradients, embedded = held * trained, found.vocabulary * found.hidden
    states = 8 * trained if options.optimizer == "adamw" else 2 * (trained - embedded) + 8 * embedded
    block = half * sum(i + o for _, i, o in found.linears) + 8 * found.hidden
    blocks = half * found.hidden * found.layers + block if options.gradient_checkpointing else block * found.layers
    activations = tokens * blocks + supervised * found.vocabulary * 8
    return ("weights", weights), ("gradients", gradients), ("optimizer", states), ("activations", activations)


def describe_prompt_mismatch(
    messages: Sequence[Message], row: TrainingExample, task: Task, speech: ModelTokenizer
) -> str | None:
    """Why a row's prompt is not the scorer's for the same question, from the last user turn on; None where it is.

    Where the row has all of the task's worked examples, the whole prompt must be the scorer's.
    """
    tokenizer, how, last = speech.tokenizer, speech.manner, messages[-1]
    shots = task.messages(Problem(row.id, last.content, "", ""))[:-1]
    scored, trained = encode_prompt(tokenizer, how, (*shots, last)), row.token_ids[: row.start]
    if tuple(messages[:-1]) == shots:
        return None if trained == scored else "the whole prompt differs"
    alone = encode_prompt(tokenizer, how, (last,))
    turn = len(alone) - _count_common_prefix(alone, encode_prompt(tokenizer, how, (Message("user", "?"),)))
    same = _count_common_prefix(trained[::-1], scored[::-1])
    return None if same >= turn else f"{turn - same} of the last turn's {turn} tokens differ"


def _count_common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading ids two sequences share."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _is_adapter(options: Any) -> bool:
    return hasattr(options, "r") and hasattr(options, "targets") and getattr(options, "method", "lora") == "lora"


def _check_rows(
    recipe: Recipe, samples: Sequence[Sample], speech: ModelTokenizer, model: Model, console: Console
) -> list[str]:
    """Rows, steps and sizes for this base."""
    try:
        made = rows.tokenise_samples(samples, speech.tokenizer, speech.manner, maxsize)
    except BenchError as error:
        return [str(error)]
    task, config = (
        plugins.load_task(recipes.resolve_path(recipe, "task")),
        json.loads((model.folder / "config.json").read_bytes()),
    )
    longest = max(made.rows, key=lambda row: len(row.token_ids))
    over = [row.id for row in made.rows if len(row.token_ids) > recipe.max_length]
    share, looked = made.supervised / made.tokens, _spread_evenly(len(made.rows))
    odd = [(made.rows[n].id, describe_prompt_mismatch(samples[n].messages, made.rows[n], task, speech)) for n in looked]
    findings = [f"the seam of {name} is not the scorer's: {why}" for name, why in odd if why][:_MAX_SHOWN]
    facts = [
        ("rows", f"{len(made.rows):,}, digest {made.sha256[:12]}"),
        ("tokens", f"{made.tokens:,}, {made.tokens / len(made.rows):.0f} a row"),
        ("supervised", f"{made.supervised:,} tokens, {share:.1%}"),
        ("longest row", f"{len(longest.token_ids)} tokens ({longest.id}); {len(over)} over {recipe.max_length}"),
        ("BOS, stop token", "as this model needs them, in every row"),
        ("seam", f"as in scoring in {sum(not why for _, why in odd)} of {len(looked)} rows looked at"),
        *_estimate_costs(recipe.options, config, made, len(longest.token_ids)),
    ]
    console.print(build_facts_table(f"\n{model.name} ({model.source}, {model.revision or 'no revision'})", facts))
    for row in dict.fromkeys((made.rows[0], made.rows[-1])):
        console.print(
            Text(f"\n{row.id}, ⟦supervised⟧:", style="bold"),
            Text(replace_control_characters(_mark_completion(row, speech))),
        )
    if over:
        named = ", ".join(over[:_MAX_SHOWN]) + (", ..." if len(over) > _MAX_SHOWN else "")
        findings.append(f"{len(over)} rows are longer than max_length = {recipe.max_length}: {named}")
    if speech.context is not None and len(longest.token_ids) > speech.context:
        findings.append(f"{longest.id} has {len(longest.token_ids)} tokens, the model takes {speech.context}")
    if not USUAL_SUPERVISED_SHARE[0] <= share <= USUAL_SUPERVISED_SHARE[1]:
        findings.append(
            f"{share:.1%} of the tokens are supervised, where {USUAL_SUPERVISED_SHARE[0]:.0%} to "
            f"{USUAL_SUPERVISED_SHARE[1]:.0%} is usual"
        )
    return findings + _find_missing_targets(recipe.options, config)


def _spread_evenly(count: int) -> list[int]:
    """At most 64 places among so many, evenly spread, first and last included."""
    return sorted({round(n * (count - 1) / (_SEAM_CHECKS - 1)) for n in range(_SEAM_CHECKS)})


def _mark_completion(row: TrainingExample, speech: ModelTokenizer) -> str:
    parts = (row.token_ids[: row.start], row.token_ids[row.start :])
    prompt, completion = (speech.tokenizer.decode(list(part), skip_special_tokens=False) for part in parts)
    return f"{prompt}⟦{completion}⟧"


def _estimate_costs(options: Any, config: Mapping[str, Any], made: TrainingSet, longest: int) -> list[tuple[str, str]]:
    """Steps, numbers and memory, as far as this trainer's options and this family tell."""
    facts, size = [], count_trainable(config, options)
    batch = getattr(options, "batch", None)
    if batch is not None and hasattr(options, "epochs"):
        count, last = count_steps(len(made.rows), batch, options.epochs, getattr(options, "max_steps", None))
        facts.append(("steps", f"{count:,} of {batch} rows, the last of {last}"))
    if size is None:
        return [*facts, ("trained", f"not worked out for model_type {config.get('model_type')}")]
    facts.append(("trained", f"{size[0]:,} of {size[1]:,} numbers, {size[0] / size[1]:.2%}"))
    tokens = max(longest, min(getattr(options, "forward_tokens", 0), longest * (batch or 1)))
    if need := estimate_memory(config, options, tokens, round(tokens * made.supervised / made.tokens)):
        told = ", ".join(f"{what} {part / machine.GIB:.1f}" for what, part in need)
        total = sum(part for _, part in need) / machine.GIB
        facts.append(("memory", f"about {total:.1f} GiB ({told}); here: {_describe_memory()}"))
    return facts


def _find_missing_targets(options: Any, config: Mapping[str, Any]) -> list[str]:
    """Targets that no layer is called: PEFT passes over them in silence as long as one target is found."""
    found = read_shape(config)
    there = [name for name, _, _ in found.linears] if found else []
    lost = [name for name in getattr(options, "targets", ()) if there and name not in there]
    return [f"no layer of the base is called {', '.join(lost)}; it has {', '.join(there)}"] if lost else []


def _describe_memory() -> str:
    """The first GPU's memory where there is one, else main memory."""
    if machine.has_accelerator():
        import torch

        if torch.cuda.device_count():
            return f"{torch.cuda.get_device_properties(0).total_memory / machine.GIB:.1f} GiB on the GPU"
    room = machine.available_memory()
    return "not known" if room is None else f"{room / machine.GIB:.1f} GiB of main memory"


def _check_file(options: Options, console: Console) -> int:
    """Only the leaks, for any file; exit status 1 where a whole test question is in it."""
    from baseline_bench.training import data  # loads datasets

    samples = data.load_texts(Path(str(options.data)).expanduser())
    found = _check_leaks(samples, plugins.load_task(options.task or "gsm8k"), options.mirror, console)
    return 1 if found else 0


def _check_leaks(samples: Sequence[Sample], task: Task, mirror: Path | None, console: Console) -> list[str]:
    """Every pair is printed; only whole questions are a finding, since people do write the same 13 words."""
    items = task.problems(Split("test", mirror=mirror))
    found = contamination.find_leaks(samples, items)
    shared = len({item for _, item in found.ngram})
    told = f"{len(found.exact)} exact; {shared} of {len(items)} items share {found.n} words in a row with a row"
    console.print(build_facts_table("\nleaks", [(task.LABEL, told)]))
    for pairs, kind in ((found.exact, "exact"), (found.ngram, f"{found.n} words")):
        console.write("".join(f"{kind}: {item} in {sample}\n" for sample, item in pairs))
    many = len({sample for sample, _ in found.exact})
    return [f"{many} rows hold test questions of {task.LABEL} word for word"] if many else []
