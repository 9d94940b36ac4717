"""Find a task, an engine or a trainer by the name of a bundled file, by path, or by a package's entry point.

The folders are the registry: a new file is a new name; bench.toml names tasks of the current folder. Plug-ins are
loaded by name and never imported by statement, so that only the command that needs a heavy library loads it.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from baseline_bench.core.command_options import cache_folder
from baseline_bench.core.contracts import Engine, ExternalTrainer, Task, Trainer
from baseline_bench.core.errors import BenchError, suggest_extra, suggest_library, suggest_name
from baseline_bench.core.records import write_atomically
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.core.untrusted import parse_toml, read_bytes

PluginKind = Literal["task", "engine", "trainer"]

PACKAGES: dict[PluginKind, str] = {kind: f"baseline_bench.{kind}s" for kind in typing.get_args(PluginKind)}
REQUIRED_MEMBERS: dict[PluginKind, tuple[str, ...]] = {
    "task": ("LABEL", "READER", "SAMPLING", "problems", "messages", "grade"),
    "engine": ("Options", "load"),
    "trainer": ("Options", "train"),
}
# A trainer that is another program defines these in place of `train`.
EXTERNAL_TRAINER_MEMBERS = ("Options", "files", "command", "weights")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "problems": ("split",),
    "messages": ("problem",),
    "grade": ("problem", "completion"),
    "load": ("model", "options"),
    **dict.fromkeys(("train", "files", "command", "weights"), ("job",)),
}
# Prefixes of tasks that another library defines (lm-eval:gsm8k), and the module that adapts them.
LIBRARY_ADAPTERS = {"lm-eval": "baseline_bench.tasks._lm_eval"}
# The module that adapts a trainer that is another program.
EXTERNAL_TRAINER_ADAPTER = "baseline_bench.trainers._foreign"
# Follows the name of a task with another limit of generated tokens, and precedes the version in its label.
_TOKEN_LIMIT = re.compile(r"\+max-tokens=(?P<limit>-?[0-9]{1,9})(?=@[^@]*$|$)")
# In the current folder: names tasks of its repository, so that every command knows them.
OWN_TASKS_FILE = Path("bench.toml")
_OWN_TASKS_HEAD = (
    "# Tasks of this repository, known by name to every command of bench that runs in this folder.\n[tasks]\n"
)
# Import names of earlier versions.
OLD_NAMES = ("harness", "tasks", "trainers")
EXTRAS = {
    "torch": "transformers",
    "transformers": "transformers",
    "gguf": "transformers",
    "accelerate": "transformers",
    "vllm": "vllm",
    "peft": "train",
    "bitsandbytes": "train",
    "cairosvg": "figures",
    "httpx2": "openai",
    "lm_eval": "lm-eval",
    "trl": "trl",
}


def list_names(kind: PluginKind) -> tuple[str, ...]:
    """List every name of this kind, sorted: bundled files and the entry points of installed packages."""
    return tuple(sorted({*_find_files(kind), *_find_entry_points(kind)}))


class TaskVariant:
    """A task with some members replaced, such as its label and its limit of tokens."""

    def __init__(self, task: Task, **members: Any) -> None:
        self._task = task
        vars(self).update(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def limit_tokens(task: Task, limit: int | None) -> Task:
    """Return the task with another limit of generated tokens, under a label of its own; None returns the task.

    Raises:
        BenchError: the task generates nothing, or has this very limit, which its own label means.
    """
    if limit is None:
        return task
    if limit < 1 or task.SAMPLING.max_tokens in (0, limit):
        own = "generates nothing" if task.SAMPLING.max_tokens == 0 else f"has a limit of {task.SAMPLING.max_tokens}"
        raise BenchError(f"--max-tokens {limit}: {task.LABEL} {own}", "leave it out, or give another number from 1")
    sampling = dataclasses.replace(task.SAMPLING, max_tokens=limit)
    return typing.cast(Task, TaskVariant(task, LABEL=add_token_limit(task.LABEL, limit), SAMPLING=sampling))


def add_token_limit(name: str, limit: int | None) -> str:
    """Return a task's name or label with a limit of its own: `gsm8k-1shot+max-tokens=1024@v1`."""
    if limit is None:
        return name
    stem, at, version = name.rpartition("@") if "@" in name else (name, "", "")
    return f"{stem}+max-tokens={limit}{at}{version}"


def split_token_limit(name: str) -> tuple[str, int | None]:
    """Split what `add_token_limit` made; None for a name or label without a limit of its own."""
    match = _TOKEN_LIMIT.search(name)
    return (name, None) if match is None else (name[: match.start()] + name[match.end() :], int(match["limit"]))


def require_name(kind: PluginKind, name: str) -> None:
    """Refuse, without importing a plug-in, a name that none has; `load_*` checks a path or another library's task.

    Raises:
        BenchError: with the closest name.
    """
    name, _ = split_token_limit(name)
    known = list_names(kind)
    if name not in known and not name.endswith(".py") and name.partition(":")[0] not in LIBRARY_ADAPTERS:
        raise BenchError(f"no {kind} '{name}'", suggest_name(name, known, f"bench list {kind}s"))


def load_task(name: str) -> Task:
    """Load the task of that name, of that file (`./my_task.py`), or of another library (`lm-eval:gsm8k`).

    A name may end with a limit of its own: see `add_token_limit`.
    """
    name, limit = split_token_limit(name)
    if limit is not None:
        return limit_tokens(load_task(name), limit)
    library, colon, task_name = name.partition(":")
    if colon and library in LIBRARY_ADAPTERS:
        library_task: Task = _import_adapter(LIBRARY_ADAPTERS[library], f"the task '{name}'").task(task_name)
        return library_task
    task: Task = _load_plugin("task", name)
    return task


def find_task_name(board: str, label: str) -> str | None:
    """Find the name by which `load_task` loads an entry's task; None if the task is not installed here.

    Args:
        board: the task's name in the entry, in a board's characters ("lm-eval-gsm8k").
        label: the task's label in the entry ("lm-eval/gsm8k@3.0").
    """
    label, limit = split_token_limit(label)
    if limit is not None:
        name = find_task_name(board.removesuffix(f"-max-tokens-{limit}"), label)
        return None if name is None else add_token_limit(name, limit)
    library, slash, versioned = label.partition("/")
    if slash and library in LIBRARY_ADAPTERS:
        return f"{library}:{versioned.rpartition('@')[0]}"
    own = _read_own_tasks().get(board)
    if own is not None and not (own.is_file() and _build_mark_path(own).is_file()):
        return None
    return board if board in list_names("task") else None


def build_board_name(task: str) -> str:
    """Return the name of a task's board: the task's name, or its file's, in characters that suit a file name."""
    task, limit = split_token_limit(task)
    library, colon, file = task.rpartition(":")
    name = f"{library}{colon}{Path(file).stem}" if file.endswith((".py", ".yaml", ".yml")) else task
    name = add_token_limit(name, limit)
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower().replace("_", "-")).strip("-_") or "task"


def name_task(task: str) -> str:
    """Return the one name of a task that is given by its name or its file.

    A file of the current folder has the name in bench.toml, or else the one that `remember_task` will write there. A
    file elsewhere, or one whose name another task has, is its own name.
    """
    file, limit = split_token_limit(task)
    if not file.endswith(".py"):
        return task
    path = Path(file).expanduser().resolve()
    if not path.is_relative_to(Path.cwd().resolve()):
        return task
    own = {each.resolve(): name for name, each in _read_own_tasks().items()}
    name = own.get(path) or build_board_name(file)
    return add_token_limit(name, limit) if path in own or name not in list_names("task") else task


def is_library_task(label: str) -> bool:
    """Return whether a label names another library's task, which needs its items to judge an answer."""
    return label.partition("/")[0] in LIBRARY_ADAPTERS


def remember_task(task: str) -> bool:
    """Mark a task's file as one that this machine ran, and add it to bench.toml; return whether it is new there.

    Without the mark no row of a board loads the file: a stranger's bench.toml must not run code in a check.

    Args:
        task: as given to `load_task`.
    """
    path, here = (_read_own_tasks().get(task) or Path(task)).expanduser().resolve(), Path.cwd().resolve()
    if path.suffix != ".py" or not path.is_relative_to(here):
        return False
    mark = _build_mark_path(path)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    name = name_task(task)
    if name == task or name in list_names("task"):
        return False
    text = OWN_TASKS_FILE.read_text(encoding="utf-8") if OWN_TASKS_FILE.is_file() else _OWN_TASKS_HEAD
    line = f"{name} = {json.dumps(path.relative_to(here).as_posix())}\n"
    write_atomically(OWN_TASKS_FILE, f"{text.rstrip()}\n{line}".encode())
    return True


def load_engine(name: str) -> Engine:
    """Load the engine of that name; raise BenchError now if a library that it imports later is not installed."""
    engine: Engine = _load_plugin("engine", name)
    require_libraries(getattr(engine, "LIBRARIES", ()), f"the engine '{name}'")
    return engine


def load_trainer(name: str) -> Trainer:
    """Load the trainer of that name, or of that file (`./my_trainer.py`)."""
    module = _load_plugin("trainer", name)
    if _is_external_trainer(module):
        return _ExternalTrainerAdapter(module, module.Options, module.__doc__)
    trainer: Trainer = module
    return trainer


@dataclasses.dataclass
class _ExternalTrainerAdapter:
    """Makes an external trainer's module usable as a `Trainer`."""

    module: ExternalTrainer
    Options: type[Any]
    __doc__: str | None

    def train(self, job: Job) -> TrainingResult:
        """Run the external program; see `baseline_bench.trainers._foreign.run_trainer`."""
        result: TrainingResult = _import_adapter(EXTERNAL_TRAINER_ADAPTER, "this trainer").run_trainer(self.module, job)
        return result


def require_libraries(libraries: Sequence[str], what: str) -> None:
    """Refuse if a library is not installed, without importing any; the BenchError names the extra that has it."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise explain_missing_library(
                ModuleNotFoundError(name=library), f"{what} needs a library that is not installed"
            )


def _import_adapter(module: str, what: str) -> Any:
    """Import the module that adapts external plug-ins to the contracts, by name as plug-ins are."""
    with _explaining_import(what):
        return importlib.import_module(module)


def _load_plugin(kind: PluginKind, name: str) -> Any:
    if name.endswith(".py"):
        return _require_contract(kind, _import_file(kind, Path(name).expanduser()), name)
    require_name(kind, name)
    files, points = _find_files(kind), _find_entry_points(kind)
    if name in files and name in points:
        what = f"the {kind} '{name}' is defined here and by the package entry point '{points[name].value}'"
        raise BenchError(what, "uninstall that package or rename its entry point")
    if name in files and name not in _find_bundled_files(kind):
        return _require_contract(kind, _import_file(kind, files[name]), name)
    with _explaining_import(f"the {kind} '{name}'"):
        bundled = f"{PACKAGES[kind]}.{name.replace('-', '_')}"
        module = points[name].load() if name in points else importlib.import_module(bundled)
    return _require_contract(kind, module, name)


def _find_files(kind: PluginKind) -> dict[str, Path]:
    return {**_find_bundled_files(kind), **(_read_own_tasks() if kind == "task" else {})}


def _find_bundled_files(kind: PluginKind) -> dict[str, Path]:
    files = (f for f in find_folder(kind).glob("*.py") if not f.name.startswith("_"))
    return {file.stem.replace("_", "-"): file for file in files}


def _read_own_tasks() -> dict[str, Path]:
    if not OWN_TASKS_FILE.is_file():
        return {}
    tables = parse_toml(read_bytes(OWN_TASKS_FILE, "correct it"), str(OWN_TASKS_FILE), "correct it")
    tasks = tables.pop("tasks", None)
    if tables or not isinstance(tasks, dict) or not all(map(_is_own_task, tasks.items())):
        raise BenchError(
            f"{OWN_TASKS_FILE} must hold one table [tasks] with names and files of this folder",
            'write lines such as my-task = "my_task.py"',
        )
    if taken := sorted(tasks.keys() & _find_bundled_files("task").keys()):
        raise BenchError(f"{OWN_TASKS_FILE} names a task '{taken[0]}', which bench has", "rename it there")
    return {name: Path(file) for name, file in tasks.items()}


def _is_own_task(line: tuple[str, object]) -> bool:
    """Tell whether a line of bench.toml has a plain name and a file below the current folder."""
    name, file = line
    inside = isinstance(file, str) and not Path(file).is_absolute() and ".." not in Path(file).parts
    return inside and re.fullmatch(r"[\w.+-]+", name, re.ASCII) is not None


def _build_mark_path(path: Path) -> Path:
    """Return the path of the mark that this machine ran this file, as it is now, as a task."""
    content = read_bytes(path.resolve(), "give the file of a task")
    return cache_folder() / "own-tasks" / hashlib.sha256(bytes(path.resolve()) + b"\0" + content).hexdigest()


def find_folder(kind: PluginKind) -> Path:
    """Return the folder whose files are the plug-ins of this kind."""
    return Path(importlib.import_module(PACKAGES[kind]).__path__[0])


def _find_entry_points(kind: PluginKind) -> dict[str, EntryPoint]:
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"bench.{kind}s"):
        if point.name in points and points[point.name].value != point.value:
            what = f"two packages define the {kind} '{point.name}': '{points[point.name].value}' and '{point.value}'"
            raise BenchError(what, "uninstall one of them")
        points[point.name] = point
    return points


def _import_file(kind: PluginKind, path: Path) -> ModuleType:
    if not path.is_file():
        raise BenchError(f"no file {path}", f"give the path of a {kind} file, or a name: {', '.join(list_names(kind))}")
    name = f"bench_{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"{path} cannot be loaded as Python", "give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with _explaining_import(str(path)):
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise BenchError(f"{path}, line {error.lineno}: {error.msg}", "correct the file") from error
    return module


@contextmanager
def _explaining_import(what: str) -> Iterator[None]:
    """Raise BenchError, which begins with `what`, if the import needs a missing library or ends the program."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise explain_missing_library(error, f"{what} needs a library that is not installed") from error
    except SystemExit as error:
        status = "" if error.code is None else f" ({error.code})"
        way_out = 'keep such calls below `if __name__ == "__main__":`'
        raise BenchError(f"{what} ends the program when it is imported{status}", way_out) from error


def _require_contract(kind: PluginKind, module: Any, name: str) -> Any:
    members, contract = (
        (EXTERNAL_TRAINER_MEMBERS, "Foreign")
        if kind == "trainer" and _is_external_trainer(module)
        else (REQUIRED_MEMBERS[kind], kind.capitalize())
    )
    problems = [problem for member in members if (problem := _describe_member_problem(module, member, contract))]
    absent = [member for member in members if not hasattr(module, member)]
    problems = ([f"lacks {', '.join(absent)}"] if absent else []) + problems
    if problems:
        file = getattr(module, "__file__", name)
        way_out = f"a {kind} has {', '.join(members)}: see the class {contract} in harness/core/contracts.py"
        raise BenchError(f"the {kind} '{name}' ({file}) {'; '.join(problems)}", way_out)
    return module


def _is_external_trainer(module: Any) -> bool:
    return not hasattr(module, "train") and any(hasattr(module, member) for member in EXTERNAL_TRAINER_MEMBERS[1:])


def _describe_member_problem(module: Any, member: str, contract: str) -> str | None:
    """Describe what is wrong with a member, as far as possible without calling it; None if nothing is."""
    value = getattr(module, member, None)
    if member == "Options" and value is not None:
        return _describe_options_problem(value, contract)
    if member not in _PARAMETERS or value is None:
        return None
    called = f"{member}({', '.join(_PARAMETERS[member])})"
    if not callable(value):
        return f"has {member} that is no function: {called} is called"
    try:
        inspect.signature(value).bind(*_PARAMETERS[member])
    except TypeError:
        return f"has {member}{inspect.signature(value)}, and {called} is called"
    except ValueError:
        return None  # written in C, without a signature
    return None


def _describe_options_problem(kind: Any, contract: str) -> str | None:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        return "has Options that must be a frozen dataclass"
    needed = ("python", "time_limit", "batch") if contract == "Foreign" else ()
    absent = [name for name in needed if name not in kind.__dataclass_fields__]
    subclass = "make them a subclass of baseline_bench.trainers._options.ExternalOptions"
    return f"has Options without {', '.join(absent)}: {subclass}" if absent else None


def explain_missing_library(
    error: ModuleNotFoundError, what: str = "this needs a library that is not installed"
) -> BenchError:
    """Return the error that tells a user how to install a missing library.

    Raises:
        ModuleNotFoundError: the error itself if a module of bench is missing, which is a bug.
    """
    library = (error.name or "").partition(".")[0]
    if library == "baseline_bench":
        raise error
    if library in OLD_NAMES:
        new = "baseline_bench" if library == "harness" else f"baseline_bench.{library}"
        return BenchError(f"{error.name} is a name of earlier versions", f"import {new} instead of {library}")
    extra = EXTRAS.get(library)
    return BenchError(f"{what}: {library}", suggest_extra(extra) if extra else suggest_library(library))


def list_plugins(kind: PluginKind) -> Iterator[tuple[str, str]]:
    """Yield (name, file or entry point) of every plug-in, for `bench list`, without importing any."""
    files = _find_files(kind)
    points = _find_entry_points(kind)
    for name in list_names(kind):
        yield name, str(files[name]) if name in files else f"package entry point {points[name].value}"
