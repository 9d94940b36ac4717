"""What a model's files alone show that would make it score wrongly; the same checks before every run and in doctor."""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.types import Model
from baseline_bench.models import adapter, template_checks, weights
from baseline_bench.models.tokens import ModelTokenizer

# An exponent of ones is infinity or NaN; the bits are looked at as they lie, for numpy has no bf16.
_EXPONENTS = {
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
_HEAD_NAME, _EMBEDDINGS = "lm_head.weight", ("embed_tokens.weight", "wte.weight")
_BLOCK = 2**24


def diagnose_model(looked_at: Model, speech: ModelTokenizer, engine: str) -> list[Finding]:
    """Every check of whole weights, their configuration, tokenizer and chat template; nothing is loaded.

    Args:
        looked_at: a whole checkpoint; see `weights.inspect` for what makes it one.
        speech: its tokenizer and manner.
        engine: the name of what would load it.
    """
    return [
        *check_weights(looked_at.folder, engine),
        *template_checks.check_prompt_format(speech, looked_at),
        *check_end_token(looked_at.folder, speech),
    ]


def check_weights(folder: Path, engine: str) -> list[Finding]:
    """What is wrong with whole weights: tensors too many or too few, NaN, a head with numbers that are not used.

    Args:
        folder: a whole checkpoint; see `weights.inspect` for what makes it one.
        engine: the name of what would load it.
    """
    tensors = weights.read_tensors(folder)
    found = _compare_tensors(folder, tensors, engine)
    wrong = [tensor.name for tensor in tensors if not _is_finite(tensor)]
    if wrong:
        message = f"{len(wrong)} tensors hold NaN or infinity, {wrong[0]} first: train again with a lower learning rate"
        found.append(build_finding("weights-not-finite", message))
    return [*found, *_check_head(folder, {tensor.name: tensor for tensor in tensors})]


def _compare_tensors(folder: Path, tensors: Sequence[weights.Tensor], engine: str) -> list[Finding]:
    """What `tensor_check` finds; nothing without torch, where the weights are a server's to load."""
    if importlib.util.find_spec("torch") is None:
        return []
    from baseline_bench.models import tensor_check  # loads torch

    found: list[Finding] = tensor_check.check_tensors(folder, tensors, engine)
    return found


def check_adapter(folder: Path, base: Model, named: str | None = None) -> list[Finding]:
    """What is wrong with an adapter: files that cannot be used, pairs that it lacks, another revision of its base.

    Args:
        folder: as PEFT writes it.
        base: the model that it is to be merged into.
        named: as the user or the adapter calls that model, which may end in `@revision`.
    """
    try:
        tensors = {tensor.name: tensor for tensor in weights.read_tensors(base.folder)}
        found = adapter.read_adapter(folder)
        adapter.require_fits_base(found, base.folder, tensors, tied=_is_head_tied(base.folder) is True)
    except BenchError as error:
        return [build_finding("unusable", str(error))]
    return [*_check_missing_pairs(found, base), *_check_base_revision(found, base, named)]


def _check_missing_pairs(found: adapter.Adapter, base: Model) -> Iterator[Finding]:
    """Whether a linear layer that the adapter's configuration selects has no pair."""
    if importlib.util.find_spec("torch") is None:
        return
    from baseline_bench.models import tensor_check  # loads torch

    layers = tensor_check.list_linear_layers(base.folder)
    if lacking := found.unpaired(layers):
        message = (
            f"{found.folder} has no pair for {len(lacking)} of the layers that its configuration selects in the base, "
            f"{lacking[0]} first: copy the whole adapter, or save it again with PEFT's save_pretrained"
        )
        yield build_finding("adapter-incomplete", message)


def _check_base_revision(found: adapter.Adapter, base: Model, named: str | None) -> Iterator[Finding]:
    """Whether the adapter names another revision of its base; a snapshot folder of the hub's cache bears its own."""
    wanted = found.revision
    if wanted in (None, "", "main") or (named is not None and named.endswith(f"@{wanted}")):
        return
    place = base.folder.resolve()
    here = base.revision or (place.name if place.parent.name == "snapshots" else None)
    if here is not None and here.startswith(str(wanted)):
        return
    message = (
        f"{found.folder} was trained on revision {wanted} of {found.base}, and the base at hand is "
        f"{'of no known revision' if here is None else here}: give --base {found.base}@{wanted}"
    )
    yield build_finding("adapter-revision", message)


def compare_tokenizers(own: ModelTokenizer, base: ModelTokenizer) -> list[Finding]:
    """How a candidate's own tokenizer differs from its base's: another chat template, tokens that the base lacks."""
    findings = []
    if own.manner.template_sha256 != base.manner.template_sha256:
        one, other = (told.manner.template_sha256 for told in (own, base))
        message = (
            f"its chat template is not its base's ({_shorten_digest(one)}, its base's is "
            f"{_shorten_digest(other)}): put the template "
            "that it was trained with into the folder that is scored, and score the base with its own"
        )
        findings.append(build_finding("template-not-base", message))
    known = {str(token) for token in base.tokenizer.added_tokens_decoder.values()}
    added = [str(token) for token in own.tokenizer.added_tokens_decoder.values() if str(token) not in known]
    if added:
        message = (
            f"its tokenizer has tokens that its base's lacks ({', '.join(added[:5])}): an adapter trains no rows for "
            "them; train the embedding too, or use the base's own tokens"
        )
        findings.append(build_finding("tokenizer-not-base", message))
    return findings


def check_end_token(folder: Path, told: ModelTokenizer) -> list[Finding]:
    """Whether the token that ends an answer can be written; see `_end_of_answer`."""
    return [build_finding("end-token-untrained", message) for message in _describe_end_token_problems(folder, told)]


def _describe_end_token_problems(folder: Path, told: ModelTokenizer) -> list[str]:
    """Whether the token that ends an answer can be written at all, by its row of the output matrix.

    A row that is zero, missing or also another token's is as it was made when the vocabulary was enlarged.

    Args:
        folder: a whole checkpoint.
        told: its tokenizer and manner.
    """
    matrix = _find_output_matrix(folder)
    if matrix is None or matrix.dtype not in _EXPONENTS or len(matrix.shape) != 2:
        return []
    end = told.manner.end_id
    token = f"its end-of-answer token {end} {told.tokenizer.decode([end], skip_special_tokens=False)}"
    if end >= matrix.shape[0]:
        return [
            f"{token} is none of the {matrix.shape[0]} rows of {matrix.name}, and can never be written: enlarge the "
            "embedding (resize_token_embeddings) and train again"
        ]
    rows = _map_bits(matrix).reshape(matrix.shape)
    row = rows[end]
    way_out = "it was never trained, so that no answer ends: train its row (modules_to_save) or end answers with eos"
    if not row.any():
        return [f"{token} has a row of zeros in {matrix.name}: {way_out}"]
    alike = np.flatnonzero(rows[:, 0] == row[0])
    twins = [int(other) for other in alike if other != end and np.array_equal(rows[other], row)]
    if twins:
        return [f"{token} has the very row of {len(twins)} other tokens ({twins[0]} first) in {matrix.name}: {way_out}"]
    return []


def _check_head(folder: Path, tensors: Mapping[str, weights.Tensor]) -> Iterator[Finding]:
    head = next((tensor for name, tensor in tensors.items() if name.endswith(_HEAD_NAME)), None)
    embedding = _find_embedding(tensors)
    if _is_head_tied(folder) and head is not None and embedding is not None and not _are_equal(head, embedding):
        message = (
            f"config.json ties the head to the embedding, and {_HEAD_NAME} is saved apart with other numbers, "
            "which engines "
            "drop: set tie_word_embeddings to false where the head was trained, else save the model again"
        )
        yield build_finding("head-dropped", message)


def _find_output_matrix(folder: Path) -> weights.Tensor | None:
    tensors = {tensor.name: tensor for tensor in weights.read_tensors(folder)}
    return _find_embedding(tensors) if _is_head_tied(folder) else tensors.get(_HEAD_NAME) or _find_embedding(tensors)


def _find_embedding(tensors: Mapping[str, weights.Tensor]) -> weights.Tensor | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith(_EMBEDDINGS)), None)


def _is_head_tied(folder: Path) -> bool | None:
    """Whether the head is the embedding, by config.json or else by its class's default; None where nobody knows."""
    config = _read_config(folder)
    inner = config.get("text_config")
    told = (inner if isinstance(inner, dict) else {}).get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if isinstance(told, bool) or importlib.util.find_spec("torch") is None:
        return told if isinstance(told, bool) else None
    from baseline_bench.models import tensor_check  # loads torch

    default: bool | None = tensor_check.ties_head_by_default(folder)
    return default


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else {}
    except (ValueError, RecursionError):
        value = {}
    return value if isinstance(value, dict) else {}


def _is_finite(tensor: weights.Tensor) -> bool:
    if tensor.dtype not in _EXPONENTS or tensor.size == 0:
        return True
    mask, numbers = _EXPONENTS[tensor.dtype][1], _map_bits(tensor)
    parts = (numbers[begin : begin + _BLOCK] for begin in range(0, numbers.size, _BLOCK))
    return not any(bool(((part & mask) == mask).any()) for part in parts)


def _are_equal(one: weights.Tensor, other: weights.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape) or one.dtype not in _EXPONENTS:
        return False
    return bool(np.array_equal(_map_bits(one), _map_bits(other)))


def _map_bits(tensor: weights.Tensor) -> npt.NDArray[Any]:
    """The numbers' bits as they lie in the file, not read before they are looked at."""
    kind = np.dtype(_EXPONENTS[tensor.dtype][0])
    return np.memmap(tensor.file, kind, "r", offset=tensor.begin, shape=(tensor.size // kind.itemsize,))


def _shorten_digest(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]
