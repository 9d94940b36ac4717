"""The models that the questions ask: where they lie, and shapes with random weights, made once and kept."""

from dataclasses import asdict, dataclass
from pathlib import Path

from baseline_bench.core import child_process
from baseline_bench.core.command_options import cache_folder, datasets_folder
from baseline_bench.core.types import Model
from baseline_bench.evaluation import runs
from baseline_bench.models import registry, weights

SMALL = "smollm2-135m-it-q4_1"


@dataclass(frozen=True, slots=True)
class Shape:
    """A Gemma of random weights.

    Attributes:
        name: of its folder.
        hidden, intermediate, layers, heads, head_dim: as GemmaConfig names them; there is one head of keys and values.
        vocabulary: rows of the embedding, which is tied to the head.
        words: of the tokenizer, a byte-level BPE trained on GSM8K's train split; fewer than `vocabulary`.
    """

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    head_dim: int
    vocabulary: int
    words: int


# google/gemma-2b-it's config.json: 2,506,172,416 parameters.
GEMMA_2B = Shape("gemma-2b-shape", 2048, 16384, 18, 8, 256, 256_000, 16_000)
TINY = Shape("tiny-shape", 128, 256, 2, 2, 64, 2_048, 2_000)


@dataclass(frozen=True, slots=True)
class Places:
    """Where models are kept and data sets lie; the hub stands in for a mirror that is None."""

    cache: Path
    mirror: Path | None


def places() -> Places:
    """As the `bench` command takes them from BENCH_CACHE and BENCH_DATASETS."""
    return Places(cache_folder(), datasets_folder())


def small(where: Places) -> Model:
    """The embedded model, fetched and dequantised if need be: no arm pays for that."""
    with runs.explaining_write_errors(where.cache):
        return registry.resolve_model(SMALL, where.cache)


def shaped(shape: Shape, where: Places) -> Model:
    """A shape's folder in the cache; made in a process of its own, on the GPU where there is one."""
    folder = where.cache / "shapes" / shape.name
    if not (folder / "config.json").is_file():
        asked = {"shape": asdict(shape), "folder": str(folder), "mirror": str(where.mirror) if where.mirror else None}
        child_process.call_in_child("benchmarks._shapes:work", asked)
    return Model(shape.name, "folder", None, folder, None, weights.digest_weights(folder))
