"""The `bench` command: parse, call one story, print. The only place that reads environment variables.

A story is a function `story(order, screen)` in a module that is imported only once its command is known, so that
`bench --help` costs no library.
"""

import errno
import importlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

import baseline_bench
from baseline_bench.commands.arguments.shared import Parser
from baseline_bench.commands.table import COMMANDS
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import make_visible

DESCRIPTION = "Did the fine-tune help, and may I believe the number?"
GETTING_STARTED = "Start with `bench quickstart`; `bench COMMAND --help` tells the rest."
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_KEY_OPTION = re.compile(r"^((?:-o|--o\w*=)?key=).*", re.DOTALL)
_URL_CREDENTIALS = re.compile(r"(://)[^/@]*@")


def build_parser() -> Parser:
    """The whole grammar; building it imports nothing."""
    main_parser = Parser(prog="bench", description=DESCRIPTION, epilog=GETTING_STARTED)
    main_parser.add_argument("--version", action="version", version=f"bench {baseline_bench.__version__}")
    words = main_parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        sub = words.add_parser(command.name, help=command.help, description=command.help.capitalize() + ".")
        command.arguments(sub)
        sub.set_defaults(story=command.story)
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 something the user can mend, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = vars(build_parser().parse_args(words))
    module_name, function, order = arguments.pop("story").split(":")
    arguments.pop("command")
    _hush_libraries()
    with _reserve_stdout(for_good=argv is None) as data:
        try:
            module = importlib.import_module(module_name, "baseline_bench")
            console = importlib.import_module("baseline_bench.core.display").Console(data, sys.stderr)
            fields = getattr(module, order).__dataclass_fields__
            given = {
                "words": shlex.join(["bench", *map(_mask_secrets, words)]),
                "commit": os.environ.get("BENCH_COMMIT"),
                **arguments,
            }
            asked = getattr(module, order)(**{name: value for name, value in given.items() if name in fields})
            return int(getattr(module, function)(asked, console))
        except BenchError as error:
            return _print_error(str(error))
        except ModuleNotFoundError as error:
            from baseline_bench.core import plugins  # only where something is missing

            return _print_error(str(plugins.missing(error)))
        except KeyboardInterrupt:
            sys.stderr.write("bench: stopped; finished answers are kept, the same command goes on with the rest\n")
            return 130
        except BrokenPipeError:
            return 0
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS:
                raise
            where = error.filename or "stdout"
            return _print_error(
                f"cannot write {where}: {error.strerror}: free some space, then give the same command again"
            )


def _print_error(told: str) -> int:
    """One line, whatever a path, a library or a server put into it; nothing in it can command a terminal."""
    sys.stderr.write(f"bench: {make_visible(' '.join(told.split()))}\n")
    return 1


@contextmanager
def _reserve_stdout(for_good: bool) -> Iterator[TextIO]:
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


def _mask_secrets(word: str) -> str:
    """A word of the command as it may stand in a committed entry."""
    return _URL_CREDENTIALS.sub(r"\1***@", _KEY_OPTION.sub(r"\1***", word))


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
