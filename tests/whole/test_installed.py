"""The wheel in an environment with nothing but the libraries of a core install: no torch, no transformers."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import baseline_bench
import pytest
from packaging.requirements import Requirement
from paths import ROOT
from terminal_picture import list_demo_commands

NAMES = ("harness", "tasks", "trainers")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
TASK = """from baseline_bench.tasks._answers import READER, grade
from baseline_bench.core.types import Message, Problem, Sampling

LABEL, SAMPLING = "sums-0shot@v1", Sampling(max_tokens=64)


def problems(split):
    return [Problem("1", "What is 1+1?", "2", "#### 2")]


def messages(problem):
    return (Message("user", problem.question),)
"""


def run(command, folder) -> str:
    """What a command prints, without a PYTHONPATH that may name our checkout; it must end well."""
    words = [str(word) for word in command]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, place: Path) -> Path:
    """The wheel of a project."""
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source], place)
    (wheel,) = place.glob("*.whl")
    return wheel


def core_files() -> Iterator[Path]:
    """What the libraries of a core install, and those that they need, have at the top of site-packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [(Requirement(text), "") for text in project["dependencies"]]
    seen = set()
    for need, extra in needs:
        if (need.name, extra) in seen:
            continue
        seen.add((need.name, extra))
        needs += [(need, one) for one in need.extras]
        for other in map(Requirement, metadata.requires(need.name) or ()):
            if other.marker is None or other.marker.evaluate({"extra": extra}):
                needs.append((other, ""))
    for name in {name for name, _ in seen}:
        found = metadata.distribution(name)
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        yield from (Path(str(found.locate_file(top))) for top in tops)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what git holds of the package, and of what it would hold."""
    place = tmp_path_factory.mktemp("ours")
    files = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT).splitlines()
    for name in files:
        if (
            name.startswith((*(f"{each}/" for each in NAMES), "pyproject.toml", "LICENSE", "docs/package.md"))
            and (ROOT / name).is_file()
        ):
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "source" / name).write_bytes((ROOT / name).read_bytes())
    return place / "source"


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    """Our sdist."""
    place = tmp_path_factory.mktemp("sdist")
    run([sys.executable, "-c", f"from setuptools import build_meta as b; b.build_sdist({str(place)!r})"], source)
    (archive,) = place.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """Our wheel, built from the sdist."""
    return build(sdist, sdist.parent)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """The wheel of a stranger who calls three packages as we call three folders."""
    place = tmp_path_factory.mktemp("other")
    source = place / "source"
    for name in NAMES:
        (source / name).mkdir(parents=True)
        (source / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "other"\nversion = "1"\n[tool.setuptools]\npackages = {list(NAMES)!r}\n'
    )
    return build(source, place)


def make_environment(place: Path) -> Path:
    """The Python of a fresh environment with the libraries of a core install alone, and without our checkout."""
    venv.create(place / "env", with_pip=False)
    found = place / "env" / "bin" / "python"
    packages = Path(run([found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip())
    for path in set(core_files()):
        (packages / path.name).symlink_to(path)
    return found


@pytest.fixture
def python(tmp_path) -> Path:
    """The Python of a bare core install, without ours."""
    return make_environment(tmp_path)


def test_the_wheel_has_one_name_to_import(wheel):
    """Everything is below baseline_bench: no other distribution can overwrite it or be overwritten."""
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"baseline_bench"}


def test_the_sdist_lacks_nothing_that_the_wheel_has(wheel, source, tmp_path):
    """A wheel built from the sdist has the files, to the byte, of one built from the repository."""
    built = (zipfile.ZipFile(each) for each in (wheel, build(source, tmp_path)))
    ours, theirs = ({file.filename: file.CRC for file in each.infolist()} for each in built)
    assert len(ours) > 100
    assert ours == theirs


def test_a_package_index_would_take_the_wheel_and_the_sdist(wheel, sdist, tmp_path):
    """Their metadata and page pass the check that precedes an upload."""
    pytest.importorskip("twine", reason="twine is not installed: pip install 'baseline-bench[dev]'")
    checked = run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], tmp_path)
    assert checked.count("PASSED") == 2


def test_a_package_index_shows_a_page_without_links_into_the_repository(wheel):
    """The version is the code's, the licence is included, and every link is absolute: an index has no other files."""
    read = zipfile.ZipFile(wheel)
    (name,) = [name for name in read.namelist() if name.endswith("/METADATA")]
    facts = message_from_bytes(read.read(name))
    assert facts["Version"] == baseline_bench.__version__
    assert facts["License-File"] == "LICENSE"
    page = str(facts.get_payload())
    assert "pip install baseline-bench" in page
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("https://")] == []


def test_a_core_install_compares_rows_and_checks_their_board(wheel, python, tmp_path):
    """From the committed files alone: help, a list, `make demo`'s commands, a sound board, and how to install more."""
    run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], tmp_path)
    bench = [python.parent / "bench"]
    board = tmp_path / "leaderboards" / "word-problems"
    board.mkdir(parents=True)
    for name in ("c281e87180fc", "831094defb42"):
        for path in (ROOT / "leaderboards" / "word-problems").glob(f"*-{name}.*"):
            shutil.copy(path, board)
    assert "compare" in run([*bench, "--help"], tmp_path)
    assert "gsm8k" in run([*bench, "list", "tasks"], tmp_path)
    run([*bench, "board"], tmp_path)
    compared, answers = (run([*bench, *shlex.split(each)[1:]], tmp_path) for each in list_demo_commands())
    assert "outcome          ▲ better" in compared
    assert "2 of 141 shown" in answers
    assert run([*bench, "board", "--check"], tmp_path) == ""
    ask = "from baseline_bench.core.errors import suggest_extra; print(suggest_extra('figures'), end='')"
    advice = run([python, "-c", ask], tmp_path)  # without a clone, and from outside the environment
    assert advice == "env/bin/python -m pip install 'baseline-bench[figures]'"


def test_an_outcome_on_two_logs_is_a_minute_away_from_nothing(wheel, tmp_path, monkeypatch):
    """An empty folder, the core, our wheel, `bench compare`: less than 60 s, without the time that a network takes.

    The one assertion on time in this suite: the issue of the front door demands the count. No library has byte code
    yet, as after an install that compiles nothing. On a busy machine, the best of three is what the path takes.
    """
    seconds = []
    while not seconds or (len(seconds) < 3 and min(seconds) >= 60):
        start, place = time.monotonic(), tmp_path / str(len(seconds))
        place.mkdir()
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(place / "byte_code"))
        python = make_environment(place)
        run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], place)
        logs = [ROOT / "tests" / "data" / "inspect" / name for name in ("after.eval", "before.eval")]
        outcome = run([python.parent / "bench", "compare", *logs, "--metric", "match"], place)
        seconds.append(time.monotonic() - start)
        assert re.search(r"^outcome .*(better|worse|equivalent|non-inferior|inconclusive)$", outcome, re.MULTILINE)
    assert min(seconds) < 60


def test_another_distribution_of_the_same_folders_may_come_and_go(wheel, other, python, tmp_path):
    """`bench` lists recipes before, with and after it; a task of your own imports next to a `tasks.py`."""
    (tmp_path / "own.py").write_text(TASK)
    (tmp_path / "tasks.py").write_text("raise RuntimeError('not ours')\n")
    pip = [*PIP, "--python", python]
    bench = [python.parent / "bench"]

    def use() -> None:
        assert "full-main" in run([*bench, "list", "recipes"], tmp_path)

    run([*pip, "install", "--no-deps", "--no-index", wheel], tmp_path)
    use()
    run([*pip, "install", "--no-deps", "--no-index", other], tmp_path)
    use()
    (tmp_path / "leaderboards").mkdir()
    run([*bench, "board"], tmp_path)
    run([*bench, "board", "--check", "--task", "./own.py"], tmp_path)
    run([*pip, "uninstall", "--yes", "other"], tmp_path)
    use()
