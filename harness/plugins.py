"""Find a task, an engine or a trainer: by file name here, by path, or by a package's entry point.

The folders are the registry: a new file is a new name. Plug-ins are loaded by name and never imported by statement, so
that a heavy library is only paid for by the command that needs it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.contracts import Engine, Task, Trainer
from harness.errors import BenchError, nearest

Kind = Literal["task", "engine", "trainer"]

HOUSE = Path(__file__).resolve().parent.parent
FOLDERS: dict[Kind, str] = {"task": "tasks", "engine": "harness.engines", "trainer": "trainers"}
MEMBERS: dict[Kind, tuple[str, ...]] = {
    "task": ("LABEL", "READER", "SAMPLING", "problems", "messages", "grade"),
    "engine": ("Options", "load"),
    "trainer": ("Options", "train"),
}
EXTRAS = {
    "torch": "transformers",
    "transformers": "transformers",
    "gguf": "transformers",
    "accelerate": "transformers",
    "vllm": "vllm",
    "peft": "train",
    "bitsandbytes": "train",
    "httpx2": "openai",
}


def names(kind: Kind) -> tuple[str, ...]:
    """Every name of this kind, sorted: our files and the entry points of installed packages."""
    return tuple(sorted({*_files(kind), *_entry_points(kind)}))


def task(name: str) -> Task:
    """The task of that name, or of that file (`./my_task.py`)."""
    found: Task = _load("task", name)
    return found


def engine(name: str) -> Engine:
    """The engine of that name; what it loads later and is not installed is told now."""
    found: Engine = _load("engine", name)
    require(getattr(found, "LIBRARIES", ()), f"the engine '{name}'")
    return found


def trainer(name: str) -> Trainer:
    """The trainer of that name, or of that file (`./my_trainer.py`)."""
    found: Trainer = _load("trainer", name)
    return found


def require(libraries: Sequence[str], what: str) -> None:
    """Tell what is not installed, without loading anything.

    Raises:
        BenchError: a library is missing; the error names the extra that brings it.
    """
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise _missing(ModuleNotFoundError(name=library), f"{what} needs a library that is not installed")


def room(module: str) -> Any:
    """Import one of our own modules by name: those whose libraries are heavy or optional.

    Raises:
        BenchError: a library is missing; the error names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error, f"{module} needs a library that is not installed") from error


def _load(kind: Kind, name: str) -> Any:
    if name.endswith(".py"):
        return _checked(kind, _from_path(kind, Path(name).expanduser()), name)
    ours, theirs = _files(kind), _entry_points(kind)
    if name in ours and name in theirs:
        raise BenchError(
            f"the {kind} '{name}' is defined here and by the package entry point '{theirs[name].value}'",
            "uninstall that package or rename its entry point",
        )
    if name not in ours and name not in theirs:
        raise BenchError(f"no {kind} '{name}'", nearest(name, names(kind), f"bench list {kind}s"))
    try:
        module = theirs[name].load() if name in theirs else _ours(kind, name)
    except ModuleNotFoundError as error:
        raise _missing(error, f"the {kind} '{name}' needs a library that is not installed") from error
    return _checked(kind, module, name)


def _files(kind: Kind) -> dict[str, Path]:
    folder = HOUSE.joinpath(*FOLDERS[kind].split("."))
    return {f.stem.replace("_", "-"): f for f in folder.glob("*.py") if not f.name.startswith("_")}


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"bench.{kind}s"):
        if point.name in found and found[point.name].value != point.value:
            raise BenchError(
                f"two packages define the {kind} '{point.name}': '{found[point.name].value}' and '{point.value}'",
                "uninstall one of them",
            )
        found[point.name] = point
    return found


def _ours(kind: Kind, name: str) -> ModuleType:
    package = FOLDERS[kind]
    _claim(package.partition(".")[0])
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def _claim(package: str) -> None:
    """Make `package` mean the folder beside harness, whatever else of that name the current folder offers."""
    ours = HOUSE / package / "__init__.py"
    loaded = sys.modules.get(package)
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve() != ours:
            raise BenchError(f"another package named '{package}' is already imported: {loaded.__file__}", "rename it")
        return
    spec = importlib.util.spec_from_file_location(package, ours, submodule_search_locations=[str(ours.parent)])
    if spec is None or spec.loader is None:
        raise BenchError(f"{ours.parent} is not a package", "install baseline-bench again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


def _from_path(kind: Kind, path: Path) -> ModuleType:
    if not path.is_file():
        raise BenchError(f"no file {path}", f"give the path of a {kind} file, or a name: {', '.join(names(kind))}")
    for package in ("tasks", "trainers"):
        _claim(package)
    name = f"bench_{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"{path} cannot be loaded as Python", "give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error, f"{path} needs a library that is not installed") from error
    except SyntaxError as error:
        raise BenchError(f"{path}, line {error.lineno}: {error.msg}", "mend the file") from error
    return module


def _checked(kind: Kind, module: Any, name: str) -> Any:
    absent = [member for member in MEMBERS[kind] if not hasattr(module, member)]
    if absent:
        where = getattr(module, "__file__", name)
        raise BenchError(
            f"the {kind} '{name}' ({where}) lacks {', '.join(absent)}",
            f"a {kind} has {', '.join(MEMBERS[kind])}: see the class {kind.capitalize()} in harness/contracts.py",
        )
    return module


def _missing(error: ModuleNotFoundError, what: str) -> BenchError:
    library = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(library)
    way_out = f"pip install 'baseline-bench[{extra}]'" if extra else f"pip install {library}"
    return BenchError(f"{what}: {library}", way_out)


def known(kind: Kind) -> Iterator[tuple[str, str]]:
    """(name, where it comes from) of every plug-in, for `bench list`; nothing is imported."""
    files = _files(kind)
    points = _entry_points(kind)
    for name in names(kind):
        yield name, str(files[name]) if name in files else f"package entry point {points[name].value}"
