"""What `bench export` and `bench import` take: one word more for each form in which results leave and come."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.commands.arguments.shared import Parser, boards, places

# Every kind names its own story, which takes the place of this one.
BY_ITS_KIND = ".commands.export_csv:export:Csv"
_ENTRY = "a candidate's name, or the path or file name of an entry (.json)"


@dataclass(frozen=True, slots=True)
class Kind:
    """One form: its word, what it is for, its story, and what it takes."""

    name: str
    help: str
    story: str
    arguments: Callable[[Parser], None]


def export(parser: Parser) -> None:
    _words(parser, EXPORTS)


def bring_in(parser: Parser) -> None:
    _words(parser, IMPORTS)


def _words(parser: Parser, kinds: tuple[Kind, ...]) -> None:
    words: argparse._SubParsersAction[Parser] = parser.add_subparsers(title="forms", metavar="WHAT", required=True)
    for kind in kinds:
        sub = words.add_parser(kind.name, help=kind.help, description=kind.help.capitalize() + ".")
        kind.arguments(sub)
        sub.set_defaults(story=kind.story)


def csv(parser: Parser) -> None:
    parser.add_argument("entries", nargs="+", metavar="ENTRY", help=_ENTRY)
    _board(parser)


def hf(parser: Parser) -> None:
    parser.add_argument("entry", metavar="ENTRY", help=_ENTRY)
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder of the model's repository; made if need be")
    parser.add_argument(
        "--task-id", metavar="ID", help="of the data set's eval.yaml (default: the data set's own name)"
    )
    parser.add_argument("--source", metavar="URL", help="where the entry can be read by anybody")
    _board(parser)


def lm_eval_task(parser: Parser) -> None:
    parser.add_argument("task", metavar="TASK", help="a name of `bench list tasks`, or a .py file")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("lm-eval"), metavar="DIR", help="default: %(default)s"
    )
    places(parser)


def lm_eval(parser: Parser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a results_*.json of lm-eval")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="its samples (default: those beside it)")
    parser.add_argument("--task", dest="of_task", metavar="NAME", help="which of its tasks (default: the only one)")
    parser.add_argument(
        "--metric",
        metavar="METRIC,FILTER",
        help="which of its scores, as exact_match,strict-match (default: the only one)",
    )
    parser.add_argument("--name", metavar="NAME", help="what it is called (default: the model's name)")
    parser.add_argument("--board", default="gsm8k", metavar="NAME", help="beside whose rows (default: %(default)s)")
    boards(parser)


def _board(parser: Parser) -> None:
    boards(parser)
    parser.add_argument("--board", metavar="NAME", help="look on this board alone (default: on all)")


EXPORTS = (
    Kind("csv", "print entries as CSV, as on their board", ".commands.export_csv:export:Csv", csv),
    Kind(
        "hf",
        "write .eval_results and model-card metadata for the Hugging Face hub",
        ".interop.export_hf:export:Hf",
        hf,
    ),
    Kind(
        "lm-eval",
        "write a task as files that lm-eval runs",
        ".interop.export_lm_eval_task:export:Export",
        lm_eval_task,
    ),
)
IMPORTS = (
    Kind(
        "lm-eval",
        "bring in a score of lm-eval with its items, shown apart and compared with nothing",
        ".interop.import_lm_eval:bring_in:ImportLmEval",
        lm_eval,
    ),
)
