"""Samples a second of training a small model, which is bound by kernel launches: ours against a plain loop."""

from collections.abc import Sequence

from benchmarks import _models, training
from benchmarks._models import SMALL, TINY
from benchmarks.measuring import Target, asked


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked(f"Training {SMALL}.", 1, words)
    where = _models.places()
    model = _models.shaped(TINY, where) if how.quick else _models.small(where)
    targets = [Target("samples_per_second", way.name, None, at_least=150) for way in training.OURS]
    ways = (*training.OURS, *training.PADDED)
    training.measure("training_small", f"Training {SMALL}", how, model, ways, targets)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
