"""core.plugins: the folder is the registry; a path or a package's entry point works as well."""

import sys
import tomllib
from pathlib import Path

import pytest
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError, suggest_extra
from own_task import TASK, package
from paths import ROOT


def test_every_file_of_the_folders_is_a_name():
    """Files with a leading underscore are parts, not names; hyphens stand for underscores."""
    assert {"gsm8k", "word-problems"} <= set(plugins.list_names("task"))
    assert {"openai", "scripted", "transformers", "vllm"} == set(plugins.list_names("engine"))
    assert not [name for name in plugins.list_names("task") if name.startswith(("_", "-"))]


def test_a_file_of_one_s_own_works_by_path(tmp_path):
    """`--task ./my_task.py` needs no registration."""
    path = tmp_path / "my_task.py"
    path.write_text(TASK)
    assert plugins.load_task(str(path)).LABEL == "sums-0shot@v1"


def test_a_task_that_bench_toml_names_is_known_by_its_name(tmp_path, monkeypatch):
    """A scored file below the current folder is remembered once; others, and names of bench's own, are not."""
    (tmp_path / "here" / "tasks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for file in ("../elsewhere.py", "tasks/my_sums.py", "tasks/gsm8k.py"):
        Path(file).write_text(TASK)
    assert not any(map(plugins.remember_task, ("../elsewhere.py", "tasks/gsm8k.py", "word-problems")))
    assert not Path("bench.toml").exists()
    assert plugins.remember_task("./tasks/../tasks/my_sums.py")
    assert not plugins.remember_task("tasks/my_sums.py")
    assert tomllib.loads(Path("bench.toml").read_text()) == {"tasks": {"my-sums": "tasks/my_sums.py"}}
    assert plugins.load_task("my-sums").LABEL == "sums-0shot@v1"
    assert plugins.find_task_name("my-sums", "sums-0shot@v1") == "my-sums"
    assert plugins.load_task("gsm8k").LABEL == "gsm8k-1shot@v2"


def test_no_row_runs_a_file_that_bench_toml_names_and_this_machine_has_not_scored_with(tmp_path, monkeypatch):
    """A stranger's branch may hold both; a change of the file takes the mark away again."""
    monkeypatch.chdir(tmp_path)
    Path("sums.py").write_text(TASK)
    Path("bench.toml").write_text('[tasks]\nsums = "sums.py"\n')
    assert plugins.find_task_name("sums", "sums-0shot@v1") is None
    assert not plugins.remember_task("sums")
    assert plugins.find_task_name("sums", "sums-0shot@v1") == "sums"
    Path("sums.py").write_text(f"{TASK}\nraise SystemExit")
    assert plugins.find_task_name("sums", "sums-0shot@v1") is None


def test_what_a_person_wrote_into_bench_toml_stays(tmp_path, monkeypatch):
    """A line is added below comments and other tasks, with or without a newline at the end."""
    monkeypatch.chdir(tmp_path)
    Path("more.py").write_text(TASK)
    Path("bench.toml").write_text('# ours\n[tasks]\nsums = "sums.py" # kept')
    assert plugins.remember_task("more.py")
    assert Path("bench.toml").read_text() == '# ours\n[tasks]\nsums = "sums.py" # kept\nmore = "more.py"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tasks = [", "bench.toml: not TOML"),
        ("tasks = " + "[" * 100_000, "bench.toml: not TOML"),
        ('[tasks]\nmine = "/mine.py"\n', "files of this folder"),
        ('[tasks]\nmine = "../mine.py"\n', "files of this folder"),
        ('[tasks]\n"mi\\u001bne" = "mine.py"\n', "files of this folder"),
        ("[tasks]\na = 1\n", "must hold one table"),
        ("[task]\n", "must hold one table"),
        ('[tasks]\n[other]\na = "b"\n', "must hold one table"),
        ('[tasks]\ngsm8k = "mine.py"\n', "names a task 'gsm8k', which bench has"),
        ('[tasks]\nmine = "absent.py"\n', "no file absent.py"),
    ],
)
def test_a_bench_toml_that_cannot_be_meant_is_one_clear_error(tmp_path, monkeypatch, text, told):
    """Nothing in it is silently ignored."""
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text(text)
    with pytest.raises(BenchError, match=told):
        plugins.load_task("mine")


def test_an_entry_point_of_an_installed_package_is_a_name(tmp_path, monkeypatch):
    """Group bench.tasks; the module is loaded only when asked for."""
    package(tmp_path, "sums_plugin", "[bench.tasks]\nsums = sums_plugin\n", TASK)
    monkeypatch.syspath_prepend(tmp_path)
    assert "sums" in plugins.list_names("task")
    assert "sums_plugin" not in sys.modules
    assert plugins.load_task("sums").LABEL == "sums-0shot@v1"


def test_a_name_here_and_in_a_package_is_an_error(tmp_path, monkeypatch):
    """Neither wins silently."""
    package(tmp_path, "clash_plugin", "[bench.tasks]\nword-problems = clash_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BenchError, match="defined here and by the package entry point 'clash_plugin'"):
        plugins.load_task("word-problems")


def test_a_name_in_two_packages_is_an_error(tmp_path, monkeypatch):
    """Both packages are named."""
    package(tmp_path, "one_plugin", "[bench.tasks]\nsame = one_plugin\n")
    package(tmp_path, "two_plugin", "[bench.tasks]\nsame = two_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BenchError, match="two packages define the task 'same'"):
        plugins.load_task("same")


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("task", "gsm8", "did you mean 'gsm8k'"),
        ("task", "zzz", "known: gsm-symbolic, gsm8k"),
        ("engine", "vlm", "did you mean 'vllm'"),
        ("trainer", "lorra", "did you mean 'lora'.*bench list trainers"),
        ("task", "./absent.py", "no file absent.py"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(kind, name, told):
    """One line that shows the way out."""
    load = {"task": plugins.load_task, "engine": plugins.load_engine}.get(
        kind, lambda name: plugins._load_plugin(kind, name)
    )
    with pytest.raises(BenchError, match=told):
        load(name)


def test_a_plug_in_that_breaks_its_contract_is_named_with_what_it_lacks(tmp_path):
    """File, missing members and where the contract stands."""
    path = tmp_path / "half.py"
    path.write_text("LABEL = 'half@v1'\ndef problems(split): return []\n")
    with pytest.raises(
        BenchError, match=r"half\.py.* lacks READER, SAMPLING, messages, grade.*harness/core/contracts\.py"
    ):
        plugins.load_task(str(path))


def test_a_missing_library_is_answered_with_how_to_install_it(tmp_path):
    """The extra where one brings it, else the library itself."""
    path = tmp_path / "needy.py"
    path.write_text("import no_such_library\n")
    with pytest.raises(BenchError, match="pip install no_such_library"):
        plugins.load_task(str(path))
    error = plugins.explain_missing_library(ModuleNotFoundError(name="vllm.sampling_params"), "x")
    assert error.way_out == suggest_extra("vllm")


def test_in_a_clone_an_extra_comes_from_its_folder(monkeypatch, tmp_path):
    """A package index may not hold bench; `.` is the clone only in it."""
    monkeypatch.chdir(ROOT)
    assert suggest_extra("vllm").endswith("pip install -e '.[vllm]'")
    monkeypatch.chdir(tmp_path)
    assert suggest_extra("vllm").endswith(f"pip install -e '{ROOT}[vllm]'")


def test_a_file_with_a_syntax_error_is_named_with_its_line(tmp_path):
    """The user's file, the line, and no traceback."""
    path = tmp_path / "broken.py"
    path.write_text("a = 1\nb = (\n")
    with pytest.raises(BenchError, match=r"broken\.py, line 2"):
        plugins.load_task(str(path))


@pytest.mark.parametrize("line", ["raise SystemExit", "import sys; sys.exit(0)", "import sys; sys.exit('no licence')"])
@pytest.mark.parametrize("kind", ["task", "trainer"])
def test_a_file_that_exits_while_it_is_imported_is_named(kind, line, tmp_path):
    """It does not end bench, whatever status it exits with."""
    path = tmp_path / "leaving.py"
    path.write_text(line)
    with pytest.raises(BenchError) as raised:
        (plugins.load_task if kind == "task" else plugins.load_trainer)(str(path))
    assert str(path) in raised.value.what
    assert "SystemExit" not in raised.value.what


@pytest.mark.parametrize("guard", ["", 'if __name__ == "__main__": '], ids=["exits", "exits only as a program"])
def test_an_entry_point_that_exits_while_it_is_imported_is_named(guard, tmp_path, monkeypatch, capfd):
    """One line and the exit status of every broken plug-in; a file that is a program too may exit as one."""
    package(tmp_path, "leaving", "[bench.tasks]\ntheirs = leaving\n", f"{TASK}\n{guard}raise SystemExit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "leaving", raising=False)
    status = main(["doctor", "./absent", "--task", "theirs"])
    (*_, line) = capfd.readouterr().err.splitlines()
    assert status == 1
    assert ("theirs" in line) == (guard == "")


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("from harness.types import Problem", "baseline_bench instead of harness"),
        ("from tasks._answers import grade", "baseline_bench.tasks instead of tasks"),
        ("import trainers", "baseline_bench.trainers instead of trainers"),
    ],
)
def test_an_import_under_an_earlier_name_is_told_the_new_one(tmp_path, monkeypatch, line, new):
    """One line with the name to import instead, for files written before the code had one name."""
    # pytest puts the checkout and its tests on the path, where folders of these names can be imported by accident.
    elsewhere = [place for place in sys.path if Path(place).resolve() not in (ROOT, ROOT / "tests")]
    monkeypatch.setattr(sys, "path", elsewhere)
    path = tmp_path / "old.py"
    path.write_text(line)
    with pytest.raises(BenchError) as told:
        plugins.load_task(str(path))
    assert told.value.way_out == f"import {new}"


@pytest.mark.parametrize("active", [True, False])
def test_the_advice_for_a_missing_library_installs_it_for_this_python(tmp_path, monkeypatch, active):
    """`pip` alone is another environment's where this one is not active."""
    python = tmp_path / ".venv" / "bin" / "python"
    for file in (python, python.with_name("pip"), tmp_path / "other" / "pip"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(python.parent if active else tmp_path / "other"))
    for library in ("torch", "some-library"):
        way_out = str(plugins.explain_missing_library(ModuleNotFoundError(name=library)).way_out)
        assert way_out.startswith("pip install " if active else ".venv/bin/python -m pip install ")
