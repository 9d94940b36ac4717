"""`bench merge`: merge an adapter into whole weights, and check the result."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baseline_bench.commands import summary
from baseline_bench.core import findings
from baseline_bench.core.command_options import accepted_findings_option, argument, cache_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.training import merging, resolve_candidate
from baseline_bench.training.merging import CandidateWeights
from baseline_bench.training.resolve_candidate import CandidateSource

if TYPE_CHECKING:
    from baseline_bench.commands.score import Options as ScoreOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """A candidate or an adapter to merge into whole weights."""

    folder: str = argument("a training run, an adapter's folder, or org/name[@revision] of the hub", "RUN|ADAPTER")
    base: str | None = option("--base", "the base of an adapter (default: the one that it names)", "MODEL")
    step: int | None = option("--step", "the weights kept after this step (default: the last)", "N")
    out: Path | None = option("--out", "where an adapter's merged weights go", "DIR")
    accept: list[str] = accepted_findings_option()
    cache: Path = cache_option()


def run(options: Options, console: Console) -> int:
    """Make whole weights of a candidate's adapter, or of an adapter from elsewhere."""
    findings.require_known_codes(options.accept)
    source = resolve_candidate.find_source(options.folder, options.cache, console)
    weights = make_whole_weights(source, options, console, options.step, options.out)
    for finding in weights.findings:
        console.warn(f"{source.label}: [{finding.code}] {finding.message}")
    summary.show_merge(weights, console)
    return 0


def make_whole_weights(
    source: CandidateSource,
    options: "Options | ScoreOptions",
    console: Console,
    step: int | None = None,
    out: Path | None = None,
) -> CandidateWeights:
    """Return the whole weights of a training run or of an adapter."""
    if source.kind == "training":
        if options.base is not None or out is not None:
            what = f"{source.name} is a training run, which has its base and its place"
            raise BenchError(what, "leave --base and --out out")
        return merging.make_whole_weights(Path(source.name), step, options.cache, console, options.accept)
    if source.kind == "whole":
        what = f"{source.name} is neither a training run nor an adapter"
        raise BenchError(what, "give a folder that holds one of them")
    if step is not None:
        what = f"{source.name} is an adapter, which has no steps"
        raise BenchError(what, "leave --step out, or give the training run")
    return resolve_candidate.merge_adapter(source, options.base, options.cache, console, out, options.accept)
