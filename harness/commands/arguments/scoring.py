"""What the commands take that ask a model, or read what it answered."""

from pathlib import Path

from baseline_bench.commands.arguments.shared import (
    Parser,
    accept,
    boards,
    engine,
    model,
    options,
    output,
    own_tasks,
    places,
)
from baseline_bench.commands.arguments.training import recipe


def gpus(parser: Parser) -> None:
    parser.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="how many share the questions, an engine on each (default: all for vllm, else 1)",
    )


def scoring(parser: Parser) -> None:
    parser.add_argument(
        "--task",
        default="gsm8k",
        metavar="NAME",
        help="a name of `bench list tasks`, a .py file, or lm-eval:NAME[,METRIC[,FILTER][=BAR]]",
    )
    parser.add_argument("--name", metavar="NAME", help="what the row is called (default: the model's name)")
    engine(parser)
    gpus(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="score a seeded random subset of N items")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which subset (default: 0)")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the folder of this very run")
    output(parser)


def baseline(parser: Parser) -> None:
    model(parser)
    scoring(parser)


def score(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="RUN|FOLDER|NAME",
        help="a training run, an adapter, a trainer's output, a folder of weights, or org/name[@revision] of the hub",
    )
    parser.add_argument("--base", metavar="MODEL", help="the base of an adapter (default: the one that it names)")
    parser.add_argument(
        "--with-base", action="store_true", help="score the bases too, through the same engine, and compare with them"
    )
    scoring(parser)
    parser.set_defaults(model="")


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


def noise(parser: Parser) -> None:
    model(parser)
    parser.add_argument("--task", default="gsm8k", metavar="NAME", help="a name of `bench list tasks`, or a .py file")
    parser.add_argument("--name", metavar="NAME", help="what its rows are called (default: the model's name)")
    parser.add_argument(
        "--runs", dest="times", type=int, default=3, metavar="K", help="how often to score it (default: 3)"
    )
    parser.add_argument(
        "--passes",
        default="all,shuffled,8,1",
        metavar="HOW,HOW",
        help="ways to ask in one more engine: all at once, shuffled, batches of N, or none (default: %(default)s)",
    )
    parser.add_argument("--items", type=int, default=64, metavar="N", help="items of each such pass (default: 64)")
    engine(parser)
    gpus(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="score a seeded random subset of N items")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which subsets (default: 0)")
    boards(parser)
    parser.add_argument(
        "--runs-dir", dest="runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)"
    )
    parser.add_argument("--again", action="store_true", help="measure anew, in another folder")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the record alone, as JSON")
    accept(parser)
    places(parser)
    parser.set_defaults(run=None)


def verify(parser: Parser) -> None:
    parser.add_argument("entries", nargs="+", type=Path, metavar="ENTRY", help="an entry's .json in its board's folder")
    parser.add_argument(
        "--against",
        choices=("lm-eval",),
        help="judge the completions of entries or runs by lm-eval too, and list every verdict that differs",
    )
    parser.add_argument(
        "--level",
        type=int,
        choices=(0, 1, 2, 3),
        default=1,
        help="0 numbers, 1 graded again, 2 generated again, 3 inside the noise (default: 1)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="where the weights are: a name, a folder, or a training's run (default: as the entry names them)",
    )
    options(parser, "of the entry's engine, over the settings that the entry names")
    parser.add_argument(
        "--again", action="store_true", help="generate anew instead of going on with an unfinished check"
    )
    own_tasks(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    places(parser)


def doctor(parser: Parser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a name of `bench list models`, org/name[@revision], a folder of weights, an adapter, or a training run",
    )
    parser.add_argument("--base", metavar="MODEL", help="what it was trained from (default: as an adapter names it)")
    parser.add_argument("--task", default="word-problems", metavar="NAME", help="whose prompts to look at")
    parser.add_argument("--answers", type=int, default=3, metavar="N", help="answers to generate (default: 3)")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the findings alone, as JSON")
    engine(parser)
    places(parser)


def quickstart(parser: Parser) -> None:
    parser.add_argument("--model", default="smollm2-135m-it-q4_1", metavar="MODEL", help="default: %(default)s")
    scoring(parser)
    place = Path("quickstart")
    parser.set_defaults(task="word-problems", leaderboards=place / "leaderboards", runs=place / "runs")
    parser.set_defaults(recipes=["quickstart-lora"], sets=[], base=None, train_seed=0, checkpoints=0)
    parser.set_defaults(reuse_base=True)


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
