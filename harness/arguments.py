"""What each command takes; with `harness.cli` the only reader of environment variables."""

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
    parser.add_argument(
        "-o",
        "--option",
        dest="options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the engine, such as dtype=float32; may be repeated",
    )


def scoring(parser: Parser) -> None:
    parser.add_argument("--task", default="gsm8k", metavar="NAME", help="a name of `bench list tasks`, or a .py file")
    parser.add_argument("--name", metavar="NAME", help="what the row is called (default: the model's name)")
    engine(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="score a seeded random subset of N items")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which subset (default: 0)")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the folder of this very run")
    output(parser)


def output(parser: Parser) -> None:
    parser.add_argument(
        "--leaderboards",
        type=Path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where the row goes (default: leaderboards)",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument(
        "--again", action="store_true", help="start anew instead of resuming or reporting a finished run"
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the entry alone, as JSON")
    places(parser)


def baseline(parser: Parser) -> None:
    model(parser)
    scoring(parser)


def score(parser: Parser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN|FOLDER", help="a training run, an adapter, or a folder of weights"
    )
    parser.add_argument("--base", metavar="MODEL", help="the base of an adapter that does not name it")
    parser.add_argument(
        "--with-base", action="store_true", help="score the bases too, through the same engine, and compare with them"
    )
    scoring(parser)
    parser.set_defaults(model="")


def recipe(parser: Parser) -> None:
    parser.add_argument("--base", metavar="MODEL", help="another base than the recipe's")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="another value for a recipe's key"
    )


def training(parser: Parser, seed: str) -> None:
    recipe(parser)
    parser.add_argument("--seed", dest=seed, type=int, default=0, metavar="S", help="of the training (default: 0)")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="processes that share the work (default: 1)")
    parser.add_argument(
        "--checkpoints", type=int, default=0, metavar="K", help="keep K sets of weights on the way, evenly spread"
    )


def train(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a name of `bench list recipes`, or a .toml file")
    training(parser, "seed")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument("--again", action="store_true", help="train anew, in another folder")
    places(parser)


def merge(parser: Parser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN|ADAPTER", help="a training run, or a folder that PEFT wrote")
    parser.add_argument("--base", metavar="MODEL", help="the base of an adapter that does not name it")
    parser.add_argument("--step", type=int, metavar="N", help="the weights kept after this step (default: the last)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where an adapter's merged weights go")
    places(parser)


def study(parser: Parser) -> None:
    parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="names of `bench list recipes`, or .toml files; one base each"
    )
    training(parser, "train_seed")
    parser.add_argument("--task", default="", metavar="NAME", help="the exam (default: the recipe's own task)")
    parser.add_argument("--name", metavar="NAME", help="what the row is called (default: base, recipe and seed)")
    parser.add_argument(
        "--reuse-base", action="store_true", help="compare with the base's newest comparable row, do not score it again"
    )
    engine(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="score a seeded random subset of N items")
    output(parser)
    parser.set_defaults(model="", run=None, seed=0)


def sweep(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a name of `bench list recipes`, or a .toml file")
    parser.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="KEY=V,V",
        help="values of a hyper-parameter, such as lr=1e-4,2e-4; repeated, every combination is tried",
    )
    recipe(parser)
    parser.add_argument(
        "--fraction", type=float, default=0.25, metavar="F", help="share of the rest to train on (default: 0.25)"
    )
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="train rows kept to choose by (default: 256, a tenth at most)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of split and training (default: 0)")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="processes that share the work (default: 1)")
    engine(parser)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/sweep"), metavar="DIR", help="where tries lie (default: runs/sweep)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="where the winning recipe goes (default: RECIPE-BASE.toml, here)"
    )
    places(parser)
    # What a sweep shares with scoring and does not ask for: it scores its own items and adds no row.
    parser.set_defaults(model="", task="", name=None, limit=None, run=None, again=False, as_json=False)
    parser.set_defaults(leaderboards=Path("leaderboards"))


def check(parser: Parser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name of `bench list recipes`, or a .toml file")
    recipe(parser)
    parser.add_argument("--data", metavar="FILE", help="look in this file alone for a task's test items")
    parser.add_argument("--task", metavar="NAME", help="whose test items (default: the recipe's task, else gsm8k)")
    places(parser)


def show(parser: Parser) -> None:
    parser.add_argument(
        "what", nargs="+", metavar="RUN", help="a run's folder or a leaderboard entry (.json); or `recipe NAME`"
    )
    only = parser.add_mutually_exclusive_group()
    for kind, text in (
        ("wrong", "answers that are wrong"),
        ("cut", "answers cut at the token limit"),
        ("unread", "answers nothing could be read from"),
    ):
        only.add_argument(f"--{kind}", dest="only", action="store_const", const=kind, help=f"only {text}")
    parser.add_argument("-n", dest="most", type=int, default=20, metavar="N", help="at most N answers (default: 20)")
    recipe(parser)


def board(parser: Parser) -> None:
    parser.add_argument("--leaderboards", type=Path, default=Path("leaderboards"), metavar="DIR")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where pages and entries do not agree")
    parser.add_argument("--base", metavar="REF", help="with --check: fail too where an entry of REF was changed")
    parser.add_argument("--task", dest="tasks", action="append", default=[], metavar="FILE", help="a task of your own")
    places(parser)


def regrade(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--task", metavar="FILE", help="the task's file, where the task is not one of ours")
    parser.add_argument("--leaderboards", type=Path, metavar="DIR", help="add a row with the new verdicts there")


def grade(parser: Parser) -> None:
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--gold", metavar="N", help="judge the completion on stdin against this answer")
    one.add_argument("--cases", type=Path, metavar="FILE", help="judge a JSONL file of {completion, gold} lines")


def listing(parser: Parser) -> None:
    parser.add_argument("kind", choices=("models", "tasks", "engines", "trainers", "recipes"))


def doctor(parser: Parser) -> None:
    model(parser)
    parser.add_argument("--task", default="word-problems", metavar="NAME", help="whose prompts to look at")
    parser.add_argument("--answers", type=int, default=3, metavar="N", help="answers to generate (default: 3)")
    engine(parser)
    places(parser)


def quickstart(parser: Parser) -> None:
    parser.add_argument("--model", default="smollm2-135m-it-q4_1", metavar="MODEL", help="default: %(default)s")
    scoring(parser)
    place = Path("quickstart")
    parser.set_defaults(task="word-problems", leaderboards=place / "leaderboards", runs=place / "runs")
    parser.set_defaults(recipes=["quickstart-lora"], sets=[], base=None, train_seed=0, gpus=1, checkpoints=0)
    parser.set_defaults(reuse_base=True)
