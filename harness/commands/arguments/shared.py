"""What several commands take; with `baseline_bench.cli` the only reader of environment variables."""

import argparse
import os
from pathlib import Path

Parser = argparse.ArgumentParser


def model(parser: Parser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a name of `bench list models`, org/name[@revision], or a folder"
    )


def places(parser: Parser) -> None:
    cache = os.environ.get("BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "baseline-bench"
    mirror = os.environ.get("BENCH_DATASETS")
    parser.add_argument(
        "--datasets",
        dest="mirror",
        type=Path,
        metavar="DIR",
        default=Path(mirror) if mirror else None,
        help="a folder of data sets in the hub's layout (default: BENCH_DATASETS, else the hub)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=Path(cache).expanduser(),
        help="where models are kept (default: BENCH_CACHE, else %(default)s)",
    )


def engine(parser: Parser) -> None:
    parser.add_argument(
        "--engine",
        metavar="NAME",
        help="vllm, transformers, openai or scripted (default: vllm where a GPU and vllm are there, else transformers)",
    )
    options(parser, "a setting of the engine, such as dtype=float32; may be repeated")


def options(parser: Parser, text: str) -> None:
    parser.add_argument("-o", "--option", dest="options", action="append", default=[], metavar="KEY=VALUE", help=text)


def output(parser: Parser) -> None:
    boards(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument(
        "--again", action="store_true", help="start anew instead of resuming or reporting a finished run"
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="print entry and findings alone, as JSON")
    accept(parser)
    places(parser)


def accept(parser: Parser) -> None:
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="CODE",
        help="go on with a model that this finding would refuse, and record it; may be repeated",
    )


def boards(parser: Parser) -> None:
    parser.add_argument(
        "--leaderboards",
        type=Path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="the folder of the leaderboards (default: leaderboards)",
    )


def own_tasks(parser: Parser) -> None:
    parser.add_argument("--task", dest="tasks", action="append", default=[], metavar="FILE", help="a task of your own")
