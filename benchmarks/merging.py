"""How long it takes to merge a LoRA of gemma-2b's shape on a CPU with every proof, and how much memory; beside PEFT."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from baseline_bench.core import machine
from baseline_bench.models import weights

from benchmarks import _models, bench
from benchmarks.measuring import Arm, Asked, Target, asked, interleave, keep, timed

OURS, FOLD, PEFT = "bench merge", "bench's fold and proofs alone", "PEFT merge_and_unload and save_pretrained"
HOW = (
    "Whole processes, from start to the merged folder on disk. The adapter has rank 16 on all linear projections, "
    "random numbers; base and result are bf16. `bench merge` reads base and result back, compares every tensor, takes "
    "the digests of base, adapter and result, and measures what the merge did to predictions (KL, beside base plus "
    "adapter in fp32); PEFT proves nothing. Memory is the most that the process tree held, mapped files included."
)
NOTES = (
    "The target of time is met without the effect: fold and proofs alone are the second arm. Measuring the effect is "
    "the rest, 66 to 70 s of 106 to 108 on 2 cores with AVX-512 BF16: its fp32 pass over four probes is 3.0 TFLOP, 39 "
    "s at the 77 GFLOPS seen there, the bf16 pass ran at 245 GFLOPS.",
    "Tried: blocks of 4 MiB in place of 16 (folding took 1.1 s of one core a GiB, 2.5 before; no bit changes); the "
    "reference over the base's bf16 weights, widened layer by layer (6.0 GiB, 12.4 before; logits within 1e-5); "
    "the four probes in one pass.",
)
_SPARE = 2


def main(words: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    order = asked(__doc__ or "", 3, words)
    where = _models.places()
    base = _models.shaped(_models.TINY if order.quick else _models.GEMMA_2B, where).folder
    size = weights.count_bytes(base)
    machine.require_disk(where.cache, 2 * size, "merging beside its base")
    with tempfile.TemporaryDirectory(prefix="merging-", dir=where.cache) as place:
        folder = Path(place)
        timed(bench.python("-m", "benchmarks._folding", "adapter", base, folder / "lora"), env=bench.environment())
        samples = interleave(arms(base, folder), order.repeats)
    _keep(samples, order, base)
    return 0


def arms(base: Path, folder: Path) -> list[Arm]:
    """The whole command, its first half alone, and PEFT; each result is removed before the next begins."""
    lora, out = folder / "lora", folder / "out"
    ours = bench.command("merge", lora, "--base", base, "--out", out)
    fold = bench.python("-m", "benchmarks._folding", "fold", base, out, lora)
    peft = bench.python("-m", "benchmarks._folding", "peft", base, out, lora)
    return [Arm(name, _Run(command, out)) for name, command in ((OURS, ours), (FOLD, fold), (PEFT, peft))]


class _Run:
    """One command that fills a folder, which is emptied again."""

    def __init__(self, command: Sequence[str], out: Path) -> None:
        self._command = command
        self._out = out

    def __call__(self) -> Mapping[str, float]:
        try:
            return timed(self._command, env=bench.environment())
        finally:
            shutil.rmtree(self._out, ignore_errors=True)


def _keep(samples: Mapping[str, Sequence[Mapping[str, float]]], order: Asked, base: Path) -> None:
    shards: dict[Path, int] = {}
    for tensor in weights.read_tensors(base):
        shards[tensor.file] = shards.get(tensor.file, 0) + tensor.size
    room = max(shards.values()) / 2**30 + _SPARE
    targets = [
        Target("seconds", OURS, PEFT, at_most=1.2),
        Target("peak_gib", OURS, None, at_most=round(room, 2)),
    ]
    title = "Merging an adapter of gemma-2b's shape on a CPU"
    keep("merging", samples, targets, title=title, how=HOW, notes=NOTES, results=order.results)


if __name__ == "__main__":
    raise SystemExit(main())
