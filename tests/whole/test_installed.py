"""The wheel, installed beside a distribution that ships folders of the names that ours have in the checkout."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

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
    """What a command prints; it must end well."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, place: Path) -> Path:
    """The wheel of a project."""
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source], place)
    (wheel,) = place.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Our wheel, built from a copy of what git holds and of what it would hold."""
    place = tmp_path_factory.mktemp("ours")
    files = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT).splitlines()
    for name in files:
        if (
            name.startswith((*(f"{each}/" for each in NAMES), "pyproject.toml", "README.md"))
            and (ROOT / name).is_file()
        ):
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "source" / name).write_bytes((ROOT / name).read_bytes())
    return build(place / "source", place)


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


@pytest.fixture
def python(tmp_path) -> Path:
    """A fresh environment with the libraries that this one has, but not with our checkout."""
    venv.create(tmp_path / "env", with_pip=False)
    found = tmp_path / "env" / "bin" / "python"
    packages = Path(run([found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip())
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return found


def test_the_wheel_has_one_name_to_import(wheel):
    """Everything is below baseline_bench: no other distribution can overwrite it or be overwritten."""
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"baseline_bench"}


def test_another_distribution_of_the_same_folders_may_come_and_go(wheel, other, python, tmp_path):
    """`bench` lists and scores before, beside and after it; a task imports beside a `tasks.py`."""
    (tmp_path / "own.py").write_text(TASK)
    (tmp_path / "tasks.py").write_text("raise RuntimeError('not ours')\n")
    pip = [*PIP, "--python", python]
    bench = [python.parent / "bench"]

    def use() -> None:
        assert "gsm8k" in run([*bench, "list", "tasks"], tmp_path)
        assert "full-main" in run([*bench, "list", "recipes"], tmp_path)

    run([*pip, "install", "--no-deps", "--no-index", wheel], tmp_path)
    use()
    run([*pip, "install", "--no-deps", "--no-index", other], tmp_path)
    use()
    assert "sums" in run([*bench, "export", "lm-eval", "./own.py", "out"], tmp_path)
    run([*pip, "uninstall", "--yes", "other"], tmp_path)
    use()
