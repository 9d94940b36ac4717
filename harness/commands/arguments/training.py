"""What the commands take that make candidates."""

from pathlib import Path

from baseline_bench.commands.arguments.shared import Parser, accept, engine, output, places


def recipe(parser: Parser) -> None:
    parser.add_argument("--base", metavar="MODEL", help="another base than the recipe's")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="another value for a recipe's key"
    )


def training(parser: Parser, seed: str) -> None:
    recipe(parser)
    parser.add_argument("--seed", dest=seed, type=int, default=0, metavar="S", help="of the training (default: 0)")
    parser.add_argument(
        "--checkpoints", type=int, default=0, metavar="K", help="keep K sets of weights on the way, evenly spread"
    )
    parser.add_argument(
        "--log", action="append", default=[], metavar="NAME", help="tell a tracker every step, such as tensorboard"
    )


def train(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a name of `bench list recipes`, or a .toml file")
    training(parser, "seed")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="processes that share the work (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument("--again", action="store_true", help="train anew, in another folder")
    places(parser)


def merge(parser: Parser) -> None:
    parser.add_argument(
        "folder", metavar="RUN|ADAPTER", help="a training run, an adapter's folder, or org/name[@revision] of the hub"
    )
    parser.add_argument("--base", metavar="MODEL", help="the base of an adapter (default: the one that it names)")
    parser.add_argument("--step", type=int, metavar="N", help="the weights kept after this step (default: the last)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where an adapter's merged weights go")
    accept(parser)
    places(parser)


def study(parser: Parser) -> None:
    parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="names of `bench list recipes`, or .toml files; one base each"
    )
    training(parser, "train_seed")
    parser.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="how many train together, and then share the questions (default: 1, and as in `bench score`)",
    )
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
    parser.set_defaults(model="", task="", name=None, limit=None, run=None, again=False, as_json=False, accept=[])
    parser.set_defaults(leaderboards=Path("leaderboards"))


def check(parser: Parser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name of `bench list recipes`, or a .toml file")
    recipe(parser)
    parser.add_argument("--data", metavar="FILE", help="look in this file alone for a task's test items")
    parser.add_argument("--task", metavar="NAME", help="whose test items (default: the recipe's task, else gsm8k)")
    places(parser)
