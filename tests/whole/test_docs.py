"""What README and docs say can be done is done here, word for word."""

import dataclasses
import json
import re
import subprocess
import tomllib
from importlib import import_module

import baseline_bench
import pytest
import terminal_picture
import tiny
import yaml
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.findings import CODES
from paths import ROOT

pytestmark = pytest.mark.usefixtures("forked_children")


def first_python(path: str) -> str:
    """The first block of Python of a page."""
    return re.search(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)[1]


def test_the_task_in_ten_lines_is_scored(tmp_path, monkeypatch, capfd):
    """The block is a whole task: saved as a file, it gives an entry on a board of its own, and the board checks."""
    code = first_python("docs/add-a-task.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "sums.py").write_text(code)
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    words = ["score", str(model), "--task", "./sums.py", "--engine", "scripted", "--limit", "9", "--json"]
    assert cli.main(words) == 0
    entry = json.loads(capfd.readouterr().out)
    assert (entry["result"]["task"]["name"], entry["result"]["counts"]["total"]) == ("sums", 9)
    assert cli.main(["board", "--check", "--task", "./sums.py"]) == 0


def test_the_trainer_in_ten_lines_makes_a_candidate(tmp_path, monkeypatch, capfd):
    """The block is a whole trainer: saved as a file and named in a recipe, it is trained, proved and scored."""
    code = first_python("docs/add-a-trainer.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "norms.py").write_text(code)
    base = tiny.build(tmp_path / "base", "chatml")
    monkeypatch.chdir(tmp_path)
    keys = ("trainer=./norms.py", "data=word-problems", "task=word-problems", "max_steps=2", "lr=0.1")
    sets = [word for key in (*keys, "optimizer=adamw", "precision=fp32") for word in ("--set", key)]
    words = ["train-and-score", "full-main", "--base", str(base), *sets, "--engine", "transformers", "--limit", "4"]
    assert cli.main([*words, "--json"]) == 0
    rows = capfd.readouterr().out.strip().replace("}\n{", "}\0{").split("\0")
    made = json.loads(rows[1])["result"]["training"]["candidate"]
    assert made["values"]["trainer"] == "./norms.py"
    assert 0 < made["trainable"] < made["parameters"] / 100
    assert 0 < made["changed"] < 0.01


def test_the_picture_of_readme_is_what_the_demo_prints():
    """README shows the first command of `make demo` in this repository, on the rows of its board."""
    assert terminal_picture.PICTURE.read_text(encoding="utf-8") == terminal_picture.draw_picture()


def test_the_demo_ends_with_commands_to_go_on_with():
    """They exist, and follow the last comparison."""
    listed = ["make", "--dry-run", "--always-make", "--silent", "demo"]
    printed = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    said = printed.rpartition(terminal_picture.list_demo_commands()[-1])[2]
    targets = re.findall(r"make ([a-z]+)", said)
    assert targets
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8") for target in targets)
    commands = re.findall(r"bench ([a-z]+)", said)
    assert commands
    assert set(commands) <= set(cli.HELP)


def test_every_command_that_the_pages_name_exists():
    """A page that shows a command that is not there fails here."""
    commands = {name.partition(" ")[0] for name in cli.HELP}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"(?:`|^)bench ([a-z][a-z-]+)\b", text, re.MULTILINE))
    assert named
    assert named <= commands


def test_every_link_of_the_pages_leads_somewhere():
    """Relative links of every page, at the top and in docs, name files that are there."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_name_every_task_and_engine():
    """Who adds a plug-in tells the reader."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("docs/tasks.md", "docs/engines.md"))
    assert [name for kind in ("task", "engine") for name in plugins.list_names(kind) if name not in text] == []


def test_the_citation_is_of_this_version():
    """CITATION.cff has what its format requires, and is not forgotten when the version changes."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == baseline_bench.__version__
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]


def test_the_supported_versions_are_those_that_pip_installs():
    """Each range of docs/compatibility.md is the one of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {need for needs in project["optional-dependencies"].values() for need in needs}
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    table = page.partition("## Supported versions\n")[2].partition("\n## ")[0]
    ranges = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", table, re.MULTILINE)
    assert len(ranges) > 5
    assert [one for one in ranges if one not in {*required, project["requires-python"]}] == []


def test_every_finding_is_explained():
    """The table is that of the code, in the same order; when a code is found is checked by test_corpus.py."""
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    table = page.partition("|code|severity|when|what it means|\n|---|---|---|---|\n")[2]
    rows = [tuple(line.strip("|").split("|")) for line in table.splitlines()]
    told = [(f"`{code}`", severity, meaning) for code, (severity, meaning) in CODES.items()]
    assert [(code, severity, meaning) for code, severity, _, meaning in rows] == told


def test_the_page_of_findings_says_what_each_engine_checks():
    """One line an engine; the last column is what its rows say without measured texts."""
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    lines = dict(re.findall(r"^\|`([a-z]+)`\|.*\|`(finite|unchecked)`\|$", page, re.MULTILINE))
    modules = {name: import_module(f"baseline_bench.engines.{name}") for name in plugins.list_names("engine")}
    assert lines == {
        name: "finite" if getattr(module, "LOGITS", False) else "unchecked" for name, module in modules.items()
    }


@pytest.mark.parametrize("name", [name for name in plugins.list_names("engine") if name != "vllm"])
def test_every_option_of_an_engine_is_told(name):
    """An option that no page names is one that nobody finds."""
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    options = [field.name for field in dataclasses.fields(plugins.load_engine(name).Options)]
    assert [option for option in options if f"`{option}`" not in section] == []
