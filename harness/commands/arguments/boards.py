"""What the commands take that compare, render and report rows."""

from pathlib import Path

from baseline_bench.commands.arguments.shared import Parser, boards, own_tasks, places


def board(parser: Parser) -> None:
    boards(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where pages and entries do not agree")
    parser.add_argument("--base", metavar="REF", help="with --check: fail too where an entry of REF was changed")
    own_tasks(parser)
    places(parser)


def compare(parser: Parser) -> None:
    pair(parser)
    manner = parser.add_mutually_exclusive_group()
    manner.add_argument("--markdown", action="store_true", help="print Markdown, for a pull request")
    manner.add_argument("--json", dest="as_json", action="store_true", help="print one JSON record")


def diff(parser: Parser) -> None:
    pair(parser)
    parser.add_argument(
        "--only",
        choices=("won", "lost", "both", "cut", "unread"),
        help="questions won, or lost, or moved by an answer that was cut, or not read (default: both won and lost)",
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="at most N questions (default: 20)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, each question folded")
    parser.add_argument(
        "--run",
        dest="runs",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a run's folder, for the questions where the data set is not at hand; may be repeated",
    )
    places(parser)


def plan(parser: Parser) -> None:
    parser.add_argument("--baseline", type=float, required=True, metavar="P", help="the score to beat, 0.20 for 20 %%")
    parser.add_argument(
        "--gain", type=float, required=True, metavar="G", help="what the other row has more, 0.05 for 5 points"
    )
    parser.add_argument(
        "--discordance",
        type=float,
        metavar="D",
        help="share of items that exactly one row gets right (default: as unrelated answers would, at most 0.25)",
    )
    parser.add_argument("--power", type=float, default=0.80, metavar="P", help="chance of finding it (default: 0.80)")
    parser.add_argument("--alpha", type=float, default=0.05, metavar="A", help="two-sided level (default: 0.05)")
    parser.add_argument("--items", type=int, metavar="N", help="what this many items would show")
    parser.add_argument(
        "--seed-sd", type=float, metavar="S", help="standard deviation of the score between training seeds, as a share"
    )


def retract(parser: Parser) -> None:
    parser.add_argument("entry", metavar="ENTRY", help="its path, or its file name on any board")
    parser.add_argument("--why", required=True, metavar="TEXT", help="one line for the reader of the board")
    parser.add_argument("--superseded-by", metavar="ENTRY", help="the entry of the same board that takes its place")
    boards(parser)


def pr_report(parser: Parser) -> None:
    parser.add_argument(
        "--base",
        default="origin/main",
        metavar="REF",
        help="what the branch is to be merged into (default: %(default)s)",
    )
    boards(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the comment goes (default: stdout)")
    parser.add_argument(
        "--link",
        metavar="URL",
        help="where files can be read, as https://github.com/owner/name/blob/COMMIT (default: named)",
    )
    own_tasks(parser)
    places(parser)


def report(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", default="study", metavar="NAME", help="of the report (default: study)")
    parser.add_argument("--board", default="gsm8k", metavar="NAME", help="whose rows (default: gsm8k)")
    parser.add_argument(
        "--claims", metavar="NAME", help="a file of leaderboards/claims (default: NAME, where there is one)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where it goes (default: reports/NAME)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="CANDIDATE", help="the rows to show (default: all)")
    boards(parser)
    parser.add_argument(
        "--without-questions", dest="questions", action="store_false", help="leave the questions' text out"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file is not what entries give"
    )
    places(parser)


def init(parser: Parser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: the current folder"
    )


def pair(parser: Parser) -> None:
    for name, text in (("first", "the row that wins or loses"), ("second", "what it is held against")):
        parser.add_argument(
            name, metavar=name.upper(), help=f"{text}: a candidate's name, or the path or file name of an entry (.json)"
        )
    boards(parser)
    parser.add_argument("--board", metavar="NAME", help="look on this board alone (default: on all)")
