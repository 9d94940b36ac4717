"""The structure of the code: packages and arrows as docs/architecture.md draws them, and names that mean one thing."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from paths import DATA, ROOT

FOLDERS = ("harness", "tasks", "trainers")
PACKAGES = sorted(place for place in (ROOT / "harness").rglob("__init__.py") if place.parent.name != "harness")
# What every plug-in calls its options, and what a command does.
SHARED_NAMES = {"Options"}
# An old name that means something else today: a line of a board.
CLASHES = {"Row"}
# Prints one arrow a line; in a process of its own, since an editable install hides two of the three folders from grimp.
ARROWS = """
import grimp
graph = grimp.build_graph("baseline_bench", cache_dir=None)
for module in graph.modules - {"baseline_bench"}:
    for imported in graph.find_modules_directly_imported_by(module) - {"baseline_bench"}:
        print(module.split(".")[1], imported.split(".")[1])
"""


def files() -> list[Path]:
    """Every module of the product."""
    return [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def definitions(file: Path) -> list[str]:
    """The names that a module defines at its top level."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


def test_the_page_draws_the_arrows_that_there_are(tmp_path):
    """Every arrow between two packages, but for those into core, which all of them import."""
    place = tmp_path / "baseline_bench"
    place.mkdir()
    for part in (*(ROOT / "harness").iterdir(), ROOT / "tasks", ROOT / "trainers"):
        (place / part.name).symlink_to(part)
    command = [sys.executable, "-P", "-c", ARROWS]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, check=True)
    arrows = {tuple(line.split()) for line in found.stdout.decode().splitlines()}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", page, re.MULTILINE))
    assert drawn == {(above, below) for above, below in arrows if below not in (above, "core")}


def test_few_modules_are_in_no_package():
    """Three at most: a newcomer opens the folder and sees packages."""
    assert len(list((ROOT / "harness").glob("*.py"))) <= 3


@pytest.mark.parametrize("place", PACKAGES, ids=lambda place: place.parent.name)
def test_a_package_says_what_it_is_for_and_where_to_start(place):
    """In two sentences."""
    text = ast.get_docstring(ast.parse(place.read_text(encoding="utf-8"))) or ""
    assert len(re.findall(r"[.;:](?:\s|$)", text)) >= 2


def test_no_two_classes_share_a_name():
    """A name that is read anywhere means one class."""
    names = Counter(
        node.name
        for file in files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1 and name not in SHARED_NAMES] == []


def test_no_old_word_names_a_module_or_a_public_function_or_class():
    """One word for each concept: tests/data/old_names.txt has those that are gone, docs/glossary.md those in use."""
    old = set((DATA / "old_names.txt").read_text(encoding="utf-8").split()) - CLASHES
    assert len(old) > 50
    assert [str(file) for file in files() if file.stem in old] == []
    assert [f"{file}: {name}" for file in files() for name in definitions(file) if name in old] == []


def test_our_own_modules_are_imported_by_statement():
    """But for commands, plug-ins and the work of child processes, which are found by name."""
    by_name = re.compile(r"import_module\(")
    found = {file.relative_to(ROOT).as_posix() for file in files() if by_name.search(file.read_text(encoding="utf-8"))}
    assert found <= {
        "harness/__init__.py",  # public names, loaded when they are used
        "harness/cli.py",
        "harness/core/child_process.py",
        "harness/core/plugins.py",
        "tasks/gsm_symbolic.py",  # another library
        "trainers/__init__.py",
    }
