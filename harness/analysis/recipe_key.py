"""Identify a recipe by what moves weights: its keys, the base, the trainer's code and the training data."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath

from baseline_bench.core.records import digest
from baseline_bench.results.candidate import Candidate
from baseline_bench.results.entry import Entry
from baseline_bench.trainers import _options as trainer_options

# The digests of a recipe's keys, of its base's weights, and of its training data.
RecipeKey = tuple[str, str, str]
# Guards, programs, kernels and memory change weights by rounding at most, and a margin only judges them. An unknown key
# counts as one that moves them.
KEYS_WITHOUT_EFFECT = frozenset(
    (
        *("max_length", "derived_from", "margin", "python", "time_limit", "checkpoint_steps"),
        *("forward_tokens", "forward_rows", "gradient_checkpointing", "cuda_graph", "fused_kernels", "sharding"),
    )
)
_FILE_SUFFIXES = (".py", ".jsonl", ".parquet")


def build_recipe_key(entry: Entry) -> RecipeKey | None:
    """Return what seeds of one recipe share; None unless the row scores the last step of a training by bench.

    Held-out rows move no weights and are not part of the data.
    """
    if entry.result.step is not None or (candidate := entry.result.trained) is None:
        return None
    return digest_recipe_keys(candidate), candidate.base.weights_sha256, candidate.data.sha256


def digest_recipe_keys(candidate: Candidate) -> str:
    """Return the digest of the recipe of a training, as `digest_weight_keys` computes it."""
    base = candidate.base
    return digest_weight_keys(
        candidate.values, base.weights_sha256 if base.source == "folder" else None, candidate.trainer_sha256
    )


def digest_weight_keys(
    values: Mapping[str, object], base_sha256: str | None = None, trainer_sha256: str | None = None
) -> str:
    """Return the sha256 over the keys of a recipe that move weights; the seed is none of them.

    A key that a built-in trainer has by default and an omitted one are equal; of a file of data only the name counts.

    Args:
        values: the keys, resolved.
        base_sha256: of the weights, for a base that is a folder: it counts, whatever its path.
        trainer_sha256: of a trainer that is a file, likewise.
    """
    options = getattr(trainer_options, str(values.get("trainer")).capitalize(), None)
    defaults = {field.name: field.default for field in fields(options)} if is_dataclass(options) else {}
    contents = {"base": base_sha256, "trainer": trainer_sha256}
    moving = {**defaults, **values, **{key: sha256 for key, sha256 in contents.items() if sha256 is not None}}
    return digest(
        {
            key: _normalise(value)
            for key, value in moving.items()
            if key not in KEYS_WITHOUT_EFFECT and value is not None
        }
    )


def _normalise(value: object) -> object:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return PurePath(value).name if isinstance(value, str) and value.endswith(_FILE_SUFFIXES) else value
