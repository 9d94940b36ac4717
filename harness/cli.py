"""The `bench` program: find the command, parse its options, run it, and turn errors into one line and an exit code.

A command is a module of `baseline_bench.commands` with a frozen dataclass `Options` and a function
`run(options, console)`. Only the given command's module is imported, so that `bench --help` loads no library.
"""

import argparse
import errno
import importlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import ModuleType
from typing import Any, TextIO

import baseline_bench
from baseline_bench.core.command_options import add_arguments
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.markup import make_visible

DESCRIPTION = "Did the fine-tune help, and may I believe the number?"
EPILOG = "Start with `bench quickstart`; `bench COMMAND --help` says what a command takes."
COMMANDS = {
    "Score": {
        "quickstart": "baseline, fine-tune and outcome of a small model, in minutes",
        "baseline": "score a model and add its row to the leaderboard",
        "score": "score training runs, adapters and folders of weights",
        "train-and-score": "train, score candidates and base, and say whether it helped",
        "noise": "score a model several times to see which gains mean nothing",
    },
    "Compare and publish": {
        "compare": "compare two rows, recipes or logs, and say which is better",
        "diff": "read both answers to the questions on which two rows differ",
        "plan": "say how many problems or seeds would resolve a gain",
        "board": "render the leaderboard's pages, or check them",
        "pr-report": "describe a pull request's new rows in one comment",
        "report": "render a study's report, and a page to read every answer on",
    },
    "Check": {
        "doctor": "find what would make a model score wrongly",
        "check": "check a recipe before any GPU minute",
        "verify": "check an entry again, up to generating its answers again",
        "show": "read what a model wrote",
        "grade": "grade completions by the answer reader alone",
        "regrade": "grade a run's or a board's answers again, without the model",
        "retract": "withdraw an entry, and say why",
    },
    "Train": {
        "train": "train a candidate, without scoring it",
        "sweep": "choose hyper-parameters on held-out train data",
        "merge": "merge an adapter into whole weights, and check the result",
    },
    "Exchange": {
        "export csv": "print entries as CSV, as on their board",
        "export hf": "write .eval_results and model-card metadata for the hub",
        "export lm-eval": "write a task as files that lm-eval runs",
        "import lm-eval": "import a score of lm-eval, which is shown apart from the rows",
        "init": "write what a repository of your own needs",
        "list": "list the models, tasks, engines, trainers and recipes",
    },
}
HELP = {name: text for group in COMMANDS.values() for name, text in group.items()}
# Commands that go on where they were stopped.
RESUMED = {*COMMANDS["Score"], "verify", "train", "sweep"}
SHELLS = ("bash", "zsh", "fish")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEY = re.compile(r"^((?:-o|--o\w*=)?key=).*", re.DOTALL)
_CREDENTIALS = re.compile(r"(://)[^/@]*@")
_LONGEST_ERROR = 8_000  # characters: a terminal still shows what came before


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 success, 1 an error that the user can fix, 2 wrong usage, 130 interrupted."""
    start_time, words = time.monotonic(), list(sys.argv[1:] if argv is None else argv)
    name, rest = split_command(words)
    quieten_libraries()
    try:
        options = parse_options(name, rest)
        display = importlib.import_module("baseline_bench.core.display")  # rich, once the options are right
        with _own_stdout(until_exit=argv is None) as data:
            console, file = display.Console(data, sys.stderr), getattr(options, "trace", None)
            trace = importlib.import_module("baseline_bench.core.trace") if file else None
            with trace.record_command(file, console, start_time) if trace else nullcontext():
                return int(load_command(name).run(options, console))
    except BenchError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(str(importlib.import_module("baseline_bench.core.plugins").explain_missing_library(error)))
    except KeyboardInterrupt:
        kept = "; what is finished is kept, the same command goes on with the rest" if name in RESUMED else ""
        sys.stderr.write(f"bench: stopped before the end{kept}\n")
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = error.filename or "stdout"
        return _fail(f"cannot write {where}: {error.strerror}: free some space, then give the same command again")


def load_command(name: str) -> ModuleType:
    """Import the module of a command."""
    return importlib.import_module(f"baseline_bench.commands.{re.sub('[ -]', '_', name)}")


def parse_options(name: str, words: Sequence[str]) -> Any:
    """Parse the words after a command's name into its Options; exit with help or a usage error if argparse does."""
    kind = load_command(name).Options
    text = HELP[name]
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=f"{text[0].upper()}{text[1:]}.")
    add_arguments(parser, kind)
    parsed = vars(parser.parse_args(list(words)))
    values = {key: tuple(value) if parser.get_default(key) == () else value for key, value in parsed.items()}
    typed = {"words": _quote([*name.split(), *words]), "commit": os.environ.get("BENCH_COMMIT")}
    return kind(**values, **{key: value for key, value in typed.items() if key in kind.__dataclass_fields__})


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split into the command's name and its own words; exit with help if there are no words, else a usage error."""
    for count in (2, 1):
        if (name := " ".join(words[:count])) in HELP and len(words) >= count:
            return name, list(words[count:])
    parser = argparse.ArgumentParser(
        prog="bench",
        usage="bench [-h] [--version] COMMAND ...",
        description=DESCRIPTION,
        epilog=_list_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bench {baseline_bench.__version__}")
    parser.add_argument("command", metavar="COMMAND", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument(
        "--print-completion", choices=SHELLS, metavar="SHELL", action=_PrintCompletion, help=f"for {', '.join(SHELLS)}"
    )
    is_option = bool(words) and words[0].startswith("-")
    unknown = " ".join(parser.parse_args(list(words if is_option else words[:1]) or ["--help"]).command)
    forms = [name for name in HELP if name.startswith(f"{unknown} ")]
    if forms:
        parser.error(f"'{unknown}' needs one more word: {', '.join(forms)}")
    parser.error(f"no command '{unknown}': {suggest_name(unknown, tuple(HELP), 'bench --help')}")
    raise AssertionError("argparse ends the program")


class _PrintCompletion(argparse.Action):
    """Prints what makes a shell complete commands, options, their choices and files."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, shell: Any, option: object = None) -> None:  # noqa: ARG002
        """Print it, and exit."""
        shtab = importlib.import_module("shtab")
        whole = argparse.ArgumentParser("bench")
        groups = {"": whole.add_subparsers()}
        for name, text in HELP.items():
            first, _, last = name.rpartition(" ")
            if first not in groups:
                groups[first] = groups[""].add_parser(first, help="").add_subparsers()
            command = groups[first].add_parser(last, help=text)
            add_arguments(command, load_command(name).Options)
            for action in command._actions:
                if action.nargs != 0 and action.choices is None:
                    vars(action)["complete"] = shtab.FILE
        sys.stdout.write(f"{shtab.complete(whole, shell)}\n")
        parser.exit()


def _list_commands() -> str:
    lines = []
    for group, commands in COMMANDS.items():
        lines += [f"{group}:", *(f"  {name:<16} {text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, EPILOG])


def _fail(text: str) -> int:
    """Print an error as one line without control characters; of a long one, as with a stranger's names, both ends."""
    line = make_visible(" ".join(text.split()))
    shown = line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR // 2]} ... {line[-_LONGEST_ERROR // 2 :]}"
    sys.stderr.write(f"bench: {shown}\n")
    return 1


@contextmanager
def _own_stdout(until_exit: bool) -> Iterator[TextIO]:
    """Reserve stdout for data; redirect to stderr whatever libraries print meanwhile.

    Args:
        until_exit: keep the redirection until the process exits; else restore stdout at the end of the context.
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
        if not until_exit:
            os.dup2(data.fileno(), 1)
        with suppress(OSError):  # reported already, or nobody reads
            data.close()


def _quote(words: Sequence[str]) -> str:
    """Return the command as a committed entry may store it: quoted for a shell, without secrets."""
    return shlex.join(["bench", *(_CREDENTIALS.sub(r"\1***@", _KEY.sub(r"\1***", word)) for word in words)])


def quieten_libraries() -> None:
    """Set quiet defaults for libraries that print over the progress bar; keep what the user has set."""
    for name, value in (
        ("DATASETS_VERBOSITY", "critical"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("OMP_WAIT_POLICY", "PASSIVE"),  # spinning threads next to another program made answers nine times slower
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ):
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    sys.exit(main())
