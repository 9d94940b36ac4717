"""What the docs site shows can be done: commands parse, the tutorial runs, and the menu has every page."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import notebook
import pytest
import tiny
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.options import parse_options
from baseline_bench.training import recipes
from paths import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
REPORTS = ("runs.md",)  # what was typed on a day, as it was then


def list_commands(page: Path) -> list[list[str]]:
    """The commands in a page's shell blocks, and in its tables where these show other programs' commands too."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    spans = re.findall(r"`(bench [^` ]+ [^`]+)`", text) if page.name.startswith("from-") else []
    commands = [line for line in [*lines, *spans] if line.startswith("bench ") and "$" not in line]
    return [shlex.split(line.partition(" | ")[0], comments=True) for line in commands]


def parse(words: list[str]) -> None:
    """Parse a command as the program does, with the settings of the engine and the keys of the recipe that it names."""
    name, rest = cli.split_command(words[1:])
    options = cli.parse_options(name, rest)
    if (engine := getattr(options, "engine", None)) in ("openai", "scripted", "transformers"):
        parse_options(plugins.load_engine(engine).Options, options.options, engine)
    for recipe in getattr(options, "recipes", [getattr(options, "recipe", None)]):
        if recipe in recipes.list_recipes() and "trainer=" not in " ".join(options.sets):
            recipes.read_recipe(recipe, options.sets, options.base)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in REPORTS], ids=lambda page: page.stem)
def test_every_command_of_a_page_parses(page, capfd):
    """A command that the program would refuse is on no page."""
    for words in list_commands(page):
        try:
            parse(words)
        except (BenchError, SystemExit):
            pytest.fail(f"{shlex.join(words)}: {capfd.readouterr().err}")


def test_the_pages_for_newcomers_show_commands():
    """The twin: there is something to parse."""
    assert all(len(list_commands(DOCS / f"from-{name}.md")) > 7 for name in ("lm-eval", "trl"))


def test_the_script_of_the_study_gives_commands_that_parse(tmp_path):
    """A shell runs it, with a program in place of ours that prints its words; base, four candidates, both sizes."""
    text = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    script = next(block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "set -e" in block)
    stub = tmp_path / "bench"
    stub.write_text('#!/bin/sh\nprintf "%s\\t" bench "$@"; echo\n')
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, env=environment, capture_output=True, text=True, check=True)
    commands = [line.strip("\t").split("\t") for line in done.stdout.splitlines()]
    for words in commands:
        parse(words)
    trained = [words for words in commands if words[1] == "train-and-score"]
    assert all("google/gemma-2b-it" in words for words in trained)
    assert [("--limit" in words, sum(word.startswith("seeds-") for word in words)) for words in trained] == [
        *[(True, 2), (True, 1), (True, 1)],
        *[(False, 2), (False, 1), (False, 1)],
    ]


def test_the_study_s_numbers_are_the_published_ones():
    """Each candidate of the page has the count of leaderboards/claims/published.toml."""
    published = tomllib.loads((ROOT / "leaderboards" / "claims" / "published.toml").read_text(encoding="utf-8"))
    page = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (base|(?:full|LoRA), \w+) \| (\d+) \|", page, re.MULTILINE)
    expected = [(row["name"], row["right"]) for row in published["rows"]]
    assert [(name.lower().replace(", ", "-"), int(right)) for name, right in shown] == expected


def test_every_page_is_in_the_menu():
    """As `mkdocs build --strict` demands, which `make docs` runs."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    names = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name != "package.md"]
    assert [name for name in names if f": {name}\n" not in menu] == []


def test_the_tutorial_runs_and_shows_what_its_cells_give(tmp_path):
    """All cells run in a new process, with a tiny model; those that read the repository's board show what they give."""
    model = tiny.build(tmp_path / "model")
    (tmp_path / "docs").mkdir()
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    parameters = f"MODEL, STEPS, PROBLEMS = {str(model)!r}, 2, 4"
    command = [sys.executable, "-P", notebook.__file__, parameters]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path / "docs", env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    cells, given = notebook.list_code(notebook.read_notebook()), json.loads(done.stdout)
    pairs = [(cell, outputs, cell["outputs"]) for cell, outputs in zip(cells, given, strict=True)]
    assert [count_lines(shown) for _, shown, _ in pairs] == [count_lines(kept) for _, _, kept in pairs]
    *exact, picture = [(shown, kept) for cell, shown, kept in pairs if notebook.reads_committed_rows(cell)]
    assert len(exact) == 2
    assert all(shown == kept for shown, kept in exact)
    assert all(outputs[0]["data"]["image/svg+xml"][0].startswith("<svg") for outputs in picture)


def count_lines(outputs: list[dict]) -> list[int]:
    """How many lines a cell prints."""
    return [len(output.get("text", ())) for output in outputs]
