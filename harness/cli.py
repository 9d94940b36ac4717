"""The `bench` command: parse, call one story, print. The only place that reads environment variables.

A story is a function `story(order, screen)` in a module that is imported only once its command is known, so that
`bench --help` costs no library.
"""

import argparse
import errno
import importlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import harness
from harness.errors import BenchError
from harness.markup import visible

Parser = argparse.ArgumentParser
DESCRIPTION = "Did the fine-tune help, and may I believe the number?"
STARTS = "Start with `bench quickstart`; `bench COMMAND --help` tells the rest."
FULL = (errno.ENOSPC, errno.EDQUOT)
_KEY = re.compile(r"^((?:-o|--o\w*=)?key=).*", re.DOTALL)
_CREDENTIALS = re.compile(r"(://)[^/@]*@")


@dataclass(frozen=True, slots=True)
class Command:
    """One word of the command line.

    Attributes:
        story: "module:function:Order"; the parsed arguments become the Order's fields.
    """

    name: str
    help: str
    story: str
    arguments: Callable[[Parser], None]


def _model(parser: Parser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a name of `bench list models`, org/name[@revision], or a folder"
    )


def _places(parser: Parser) -> None:
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


def _engine(parser: Parser) -> None:
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


def _scoring(parser: Parser) -> None:
    parser.add_argument("--task", default="gsm8k", metavar="NAME", help="a name of `bench list tasks`, or a .py file")
    parser.add_argument("--name", metavar="NAME", help="what the row is called (default: the model's name)")
    _engine(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="score a seeded random subset of N items")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which subset (default: 0)")
    parser.add_argument(
        "--leaderboards",
        type=Path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where the row goes (default: leaderboards)",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default: runs)")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the folder of this very run")
    parser.add_argument(
        "--again", action="store_true", help="start anew instead of resuming or reporting a finished run"
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the entry alone, as JSON")
    _places(parser)


def _baseline(parser: Parser) -> None:
    _model(parser)
    _scoring(parser)


def _score(parser: Parser) -> None:
    parser.add_argument("model", metavar="FOLDER", help="a folder with config.json, *.safetensors and a tokenizer")
    _scoring(parser)


def _show(parser: Parser) -> None:
    parser.add_argument("what", nargs="+", metavar="RUN", help="a run's folder or a leaderboard entry (.json)")
    only = parser.add_mutually_exclusive_group()
    for kind, text in (
        ("wrong", "answers that are wrong"),
        ("cut", "answers cut at the token limit"),
        ("unread", "answers nothing could be read from"),
    ):
        only.add_argument(f"--{kind}", dest="only", action="store_const", const=kind, help=f"only {text}")
    parser.add_argument("-n", dest="most", type=int, default=20, metavar="N", help="at most N answers (default: 20)")


def _board(parser: Parser) -> None:
    parser.add_argument("--leaderboards", type=Path, default=Path("leaderboards"), metavar="DIR")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where pages and entries do not agree")
    parser.add_argument("--base", metavar="REF", help="with --check: fail too where an entry of REF was changed")
    parser.add_argument("--task", dest="tasks", action="append", default=[], metavar="FILE", help="a task of your own")
    _places(parser)


def _regrade(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--task", metavar="FILE", help="the task's file, where the task is not one of ours")
    parser.add_argument("--leaderboards", type=Path, metavar="DIR", help="add a row with the new verdicts there")


def _grade(parser: Parser) -> None:
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--gold", metavar="N", help="judge the completion on stdin against this answer")
    one.add_argument("--cases", type=Path, metavar="FILE", help="judge a JSONL file of {completion, gold} lines")


def _list(parser: Parser) -> None:
    parser.add_argument("kind", choices=("models", "tasks", "engines", "trainers", "recipes"))


def _doctor(parser: Parser) -> None:
    _model(parser)
    parser.add_argument("--task", default="word-problems", metavar="NAME", help="whose prompts to look at")
    parser.add_argument("--answers", type=int, default=3, metavar="N", help="answers to generate (default: 3)")
    _engine(parser)
    _places(parser)


def _quickstart(parser: Parser) -> None:
    parser.add_argument("--model", default="smollm2-135m-it-q4_1", metavar="MODEL")
    _scoring(parser)
    place = Path("quickstart")
    parser.set_defaults(task="word-problems", leaderboards=place / "leaderboards", runs=place / "runs")


COMMANDS = (
    Command("baseline", "score a model and add its row to the leaderboard", "harness.bench:baseline:Order", _baseline),
    Command("score", "the same for a folder of weights, such as a fine-tune", "harness.bench:score:Order", _score),
    Command("show", "read what a model wrote", "harness.reading:show:Show", _show),
    Command("board", "render the leaderboard's pages, or check them", "harness.boards:board:Board", _board),
    Command("quickstart", "score a small real model here, in minutes", "harness.bench:quickstart:Order", _quickstart),
    Command("doctor", "what would make this model score wrongly", "harness.doctor:doctor:Doctor", _doctor),
    Command("regrade", "judge a run's answers again, without its model", "harness.bench:regrade:Regrade", _regrade),
    Command("grade", "judge completions by the answer reader alone", "harness.reading:grade:Grade", _grade),
    Command(
        "list", "the models, tasks, engines, trainers and recipes there are", "harness.reading:listing:Listing", _list
    ),
)


def parser() -> Parser:
    """The whole grammar; building it imports nothing."""
    main_parser = Parser(prog="bench", description=DESCRIPTION, epilog=STARTS)
    main_parser.add_argument("--version", action="version", version=f"bench {harness.__version__}")
    words = main_parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        sub = words.add_parser(command.name, help=command.help, description=command.help.capitalize() + ".")
        command.arguments(sub)
        sub.set_defaults(story=command.story)
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 something the user can mend, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = vars(parser().parse_args(words))
    module_name, function, order = arguments.pop("story").split(":")
    arguments.pop("command")
    _hush_libraries()
    with _own_stdout(for_good=argv is None) as data:
        try:
            module = importlib.import_module(module_name)
            screen = importlib.import_module("harness.display").Screen(data, sys.stderr)
            fields = getattr(module, order).__dataclass_fields__
            given = {
                "words": shlex.join(["bench", *map(_without_secret, words)]),
                "commit": os.environ.get("BENCH_COMMIT"),
                **arguments,
            }
            asked = getattr(module, order)(**{name: value for name, value in given.items() if name in fields})
            return int(getattr(module, function)(asked, screen))
        except BenchError as error:
            return _failed(str(error))
        except KeyboardInterrupt:
            sys.stderr.write("bench: stopped; finished answers are kept, the same command goes on with the rest\n")
            return 130
        except BrokenPipeError:
            return 0
        except OSError as error:
            if error.errno not in FULL:
                raise
            where = error.filename or "stdout"
            return _failed(f"cannot write {where}: {error.strerror}: free some space, then give the same command again")


def _failed(told: str) -> int:
    """One line, whatever a path, a library or a server put into it; nothing in it can command a terminal."""
    sys.stderr.write(f"bench: {visible(' '.join(told.split()))}\n")
    return 1


@contextmanager
def _own_stdout(for_good: bool) -> Iterator[TextIO]:
    """Keep stdout for data alone: whatever a library prints meanwhile goes to stderr.

    Args:
        for_good: what libraries print when the process ends goes there as well; else stdout is given back.
    """
    sys.stdout.flush()
    try:
        data = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        os.dup2(2, 1)
    except OSError:
        yield sys.stdout
        return
    try:
        yield data
    finally:
        sys.stdout.flush()
        if not for_good:
            os.dup2(data.fileno(), 1)
        with suppress(OSError):  # told already, or nobody reads
            data.close()


def _without_secret(word: str) -> str:
    """A word of the command as it may stand in a committed entry."""
    return _CREDENTIALS.sub(r"\1***@", _KEY.sub(r"\1***", word))


def _hush_libraries() -> None:
    """Defaults for libraries that would talk over the progress bar; what the user has set stays."""
    for name, value in (
        ("DATASETS_VERBOSITY", "critical"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("OMP_WAIT_POLICY", "PASSIVE"),  # threads that spin beside another program made answers nine times slower
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ):
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    sys.exit(main())
