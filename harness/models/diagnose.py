"""Find faults in a model's files that would make it score wrongly; every run and `bench doctor` use these checks."""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, build_finding, build_unchecked, raise_refusals
from baseline_bench.core.types import Model, Request, TrainingExample
from baseline_bench.models import adapter, template_checks, weights
from baseline_bench.models.tokens import SAMPLE_TEXT, ModelTokenizer, Tokenizer, collect_special_ids, encode_prompt

# An exponent of all ones is infinity or NaN; in F8_E4M3 the mantissa too is all ones in NaN. The raw bits are checked,
# because numpy has no bf16.
_EXPONENTS = {
    "F8_E4M3": ("u1", 0x7F),
    "F8_E5M2": ("u1", 0x7C),
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
_BLOCK = 2**24
_EIGHT_BITS = ("F8_E4M3", "F8_E5M2")
_EIGHT_BIT_TWO = 0x40  # the number 2 in both
_SCALE_NAME = re.compile(r"(.+?)(?:\.weight)?[._]scale(?:_inv|_weight)?")


def diagnose_model(
    model: Model, model_tokenizer: ModelTokenizer, engine: str, requests: Iterable[Request] = ()
) -> list[Finding]:
    """Check a model's weights, configuration, tokenizer and chat template, and its prompts, without loading it."""
    return [
        *check_weights(model.folder, engine),
        *template_checks.check_prompt_format(model_tokenizer, model),
        *check_trained_tokens(model.folder, model_tokenizer),
        *check_token_ids(model.folder, requests),
    ]


def check_weights(folder: Path, engine: str) -> list[Finding]:
    """Check a whole checkpoint for extra or missing tensors, NaN, and a saved head that engines ignore."""
    tensors = weights.read_tensors(folder)
    findings = _compare_tensors(folder, tensors, engine)
    wrong = [tensor.name for tensor in tensors if not _is_finite(tensor)]
    if wrong:
        message = f"{len(wrong)} tensors hold NaN or infinity, {wrong[0]} first: train again with a lower learning rate"
        findings.append(build_finding("weights-not-finite", message))
    by_name = {tensor.name: tensor for tensor in tensors}
    return [*findings, *_check_scales(by_name), *_check_head(folder, by_name)]


def _check_scales(tensors: Mapping[str, weights.Tensor]) -> Iterator[Finding]:
    """Check that 8-bit floats have their scale; without one half of a matrix's numbers are below 2 in magnitude."""
    scaled = {match[1] for name in tensors if (match := _SCALE_NAME.fullmatch(name))}
    lost = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype in _EIGHT_BITS and name.removesuffix(".weight") not in scaled
        if tensor.size and np.median(_map_bits(tensor) & 0x7F) >= _EIGHT_BIT_TWO
    ]
    if lost:
        message = f"{len(lost)} tensors in 8 bits have lost their scales, {lost[0]} first: save the checkpoint again"
        yield build_finding("weights-missing", message)


def _compare_tensors(folder: Path, tensors: Sequence[weights.Tensor], engine: str) -> list[Finding]:
    """Run `tensor_check`, except without torch, where a server loads the weights."""
    if importlib.util.find_spec("torch") is None:
        return [build_unchecked("torch is not installed")]
    from baseline_bench.models import tensor_check  # loads torch

    findings: list[Finding] = tensor_check.check_tensors(folder, tensors, engine)
    return findings


def check_adapter(folder: Path, base: Model, named: str | None = None) -> list[Finding]:
    """Check an adapter for unusable files, missing or unused pairs, and another revision of its base.

    Args:
        named: that model's name as the user or the adapter gave it, perhaps with `@revision`.
    """
    try:
        tensors = {tensor.name: tensor for tensor in weights.read_tensors(base.folder)}
        lora = adapter.read_adapter(folder)
        lora = adapter.fit_to_base(lora, base.folder, tensors)
    except BenchError as error:
        return [build_finding("unusable", str(error))]
    return [*_check_pairs(lora, base), *_check_base_revision(lora, base, named)]


def _check_pairs(lora: adapter.Adapter, base: Model) -> Iterator[Finding]:
    """Check that the layers with a pair are the linear layers that the adapter's configuration selects."""
    if importlib.util.find_spec("torch") is None:
        yield build_unchecked("torch is not installed")
        return
    from baseline_bench.models import tensor_check  # loads torch

    targets = [pair.target for pair in lora.pairs]
    names, layers = tensor_check.name_weights(base.folder, targets), tensor_check.list_linear_layers(base.folder)
    paired = {names.get(target, target).removesuffix(".weight") for target in targets}
    if lora.places["target_modules"] is None:
        yield build_unchecked(f"{lora.folder} names no target_modules")
    elif paired.isdisjoint(layers) and not all(target.endswith(weights.EMBEDDINGS) for target in targets):
        yield build_unchecked("transformers does not name the layers of the base as the adapter does")
    else:
        converted = dict.fromkeys((target.removesuffix(".weight") for target in targets if target not in names), False)
        lacking, unused = lora.compare_pairs(layers | converted, paired)
        yield from _report_pairs(lora.folder, lacking, unused)


def _report_pairs(folder: Path, lacking: Sequence[str], unused: Sequence[str]) -> Iterator[Finding]:
    if lacking:
        message = (
            f"{folder} has no pair for {len(lacking)} of the layers that its configuration selects in the base, "
            f"{lacking[0]} first: copy the whole adapter, or save it again with PEFT's save_pretrained"
        )
        yield build_finding("adapter-incomplete", message)
    if unused:
        message = (
            f"{folder} holds {len(unused)} pairs that its configuration does not select in the base and PEFT does not "
            f"load, {unused[0]} first: restore the {weights.ADAPTER_CONFIG} that they were saved with"
        )
        yield build_finding("adapter-unused", message)


def _check_base_revision(lora: adapter.Adapter, base: Model, named: str | None) -> Iterator[Finding]:
    """Check that the adapter names this revision of its base; a hub snapshot folder's name is its revision."""
    revision = lora.revision
    if revision in (None, "", "main") or (named is not None and named.endswith(f"@{revision}")):
        return
    snapshot = base.folder.resolve()
    base_revision = base.revision or (snapshot.name if snapshot.parent.name == "snapshots" else None)
    if base_revision is not None and base_revision.startswith(str(revision)):
        return
    message = (
        f"{lora.folder} was trained on revision {revision} of {lora.base}, and the base at hand is "
        f"{'of no known revision' if base_revision is None else base_revision}: give --base {lora.base}@{revision}"
    )
    yield build_finding("adapter-revision", message)


def check_own_tokenizer(folder: Path, base: Model) -> list[Finding]:
    """Compare the tokenizer of a candidate's folder, if it has one, with the base's."""
    if not weights.has_tokenizer(folder):
        return []
    from baseline_bench.models.tokenizer import load_tokenizer  # loads transformers

    return compare_tokenizers(load_tokenizer(replace(base, folder=folder)), load_tokenizer(base))


def compare_tokenizers(own: ModelTokenizer, base: ModelTokenizer) -> list[Finding]:
    """Report how a candidate's tokenizer differs from its base's: another chat template, splits or tokens."""
    findings = []
    if own.prompt_format.template_sha256 != base.prompt_format.template_sha256:
        own_digest, base_digest = (each.prompt_format.template_sha256 for each in (own, base))
        message = (
            f"its chat template is not its base's ({_shorten_digest(own_digest)}, its base's is "
            f"{_shorten_digest(base_digest)}): put the template "
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
    elif own.tokenizer_sha256 != base.tokenizer_sha256 and not _split_alike(own.tokenizer, base.tokenizer):
        message = "its tokenizer splits text otherwise than its base's: copy tokenizer.json of the base, or train again"
        findings.append(build_finding("tokenizer-not-base", message))
    return findings


def _split_alike(one: Tokenizer, base: Tokenizer) -> bool:
    """Return whether two tokenizers split a text alike that holds every token of the second."""
    text = SAMPLE_TEXT + base.decode(list(range(len(base))), skip_special_tokens=True)
    return one.encode(text, add_special_tokens=False) == base.encode(text, add_special_tokens=False)


def check_trained_tokens(folder: Path, model_tokenizer: ModelTokenizer) -> list[Finding]:
    """Check that the model can write the token that ends an answer, and read those that its template writes."""
    prompt_format, tokenizer = model_tokenizer.prompt_format, model_tokenizer.tokenizer
    tensors = {tensor.name: tensor for tensor in weights.read_tensors(folder)}
    embedding = _find_embedding(tensors)
    output = embedding if weights.is_head_tied(folder) else _find_head(tensors) or embedding
    written = {*encode_prompt(tokenizer, prompt_format, template_checks.TURNS)} & collect_special_ids(tokenizer)
    written.discard(prompt_format.end_id)
    # Of tokens beyond the embedding `check_token_ids` reports those that a prompt holds.
    read = [token for token in sorted(written) if embedding is None or token < embedding.shape[0]]
    kinds = (
        ("end-token-untrained", output, [prompt_format.end_id], "its end-of-answer token", "no answer ends"),
        ("prompt-token-untrained", embedding, read, "its template's token", "prompts lose its meaning"),
    )
    findings = []
    for code, matrix, tokens, what, loss in kinds:
        for token in tokens:
            if (problem := _describe_untrained_row(matrix, token, loss)) is not None:
                text = f"{what} {token} {tokenizer.decode([token], skip_special_tokens=False)} {problem}"
                findings.append(build_finding(code, text))
    return findings


def require_readable(model: Model, texts: Iterable[Request | TrainingExample]) -> None:
    """Refuse a model that has no embedding for a token of the texts."""
    raise_refusals(model.name, check_token_ids(model.folder, texts), ())


def check_token_ids(folder: Path, texts: Iterable[Request | TrainingExample]) -> list[Finding]:
    """Check that a model has an embedding for each token of the texts; a tokenizer may have unused ids beyond it."""
    embedding = _find_embedding({tensor.name: tensor for tensor in weights.read_tensors(folder)})
    config = weights.get_text_config(weights.read_config(folder))
    rows = config.get("vocab_size") if embedding is None else embedding.shape[0]
    largest = {text.id: max(text.token_ids, default=0) for text in texts}
    beyond = [name for name, token in largest.items() if type(rows) is int and token >= rows]
    if not beyond:
        return []
    message = (
        f"{len(beyond)} of {len(largest)} texts hold tokens that the model cannot read, {beyond[0]} first with the id "
        f"{largest[beyond[0]]}, and its embedding has {rows} rows: restore the tokenizer that it was trained with, or "
        "enlarge the embedding (resize_token_embeddings) and train again"
    )
    return [build_finding("unusable", message)]


def _describe_untrained_row(matrix: weights.Tensor | None, token: int, loss: str) -> str | None:
    """Describe why a token's row was never trained after the vocabulary was enlarged: zero, missing or another's."""
    if matrix is None or matrix.dtype not in _EXPONENTS or len(matrix.shape) != 2:
        return None
    if token >= matrix.shape[0]:
        return (
            f"is none of the {matrix.shape[0]} rows of {matrix.name}, and can never be written: enlarge the "
            "embedding (resize_token_embeddings) and train again"
        )
    rows = _map_bits(matrix).reshape(matrix.shape)
    row = rows[token]
    way_out = f"it was never trained, so that {loss}: train its row (modules_to_save) or use a token that was"
    if not row.any():
        return f"has a row of zeros in {matrix.name}: {way_out}"
    alike = np.flatnonzero(rows[:, 0] == row[0])
    twins = [int(other) for other in alike if other != token and np.array_equal(rows[other], row)]
    return (
        f"has the very row of {len(twins)} other tokens ({twins[0]} first) in {matrix.name}: {way_out}"
        if twins
        else None
    )


def _check_head(folder: Path, tensors: Mapping[str, weights.Tensor]) -> Iterator[Finding]:
    head, embedding = _find_head(tensors), _find_embedding(tensors)
    if weights.is_head_tied(folder) and head is not None and embedding is not None and not _are_equal(head, embedding):
        message = (
            f"config.json ties the head to the embedding, and {weights.HEAD} is saved apart with other numbers, "
            "which engines "
            "drop: set tie_word_embeddings to false where the head was trained, else save the model again"
        )
        yield build_finding("head-dropped", message)


def _find_head(tensors: Mapping[str, weights.Tensor]) -> weights.Tensor | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith(weights.HEAD)), None)


def _find_embedding(tensors: Mapping[str, weights.Tensor]) -> weights.Tensor | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith(weights.EMBEDDINGS)), None)


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
    """Map the numbers' raw bits from the file; access reads them."""
    kind = np.dtype(_EXPONENTS[tensor.dtype][0])
    return np.memmap(tensor.file, kind, "r", offset=tensor.begin, shape=(tensor.size // kind.itemsize,))


def _shorten_digest(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]
