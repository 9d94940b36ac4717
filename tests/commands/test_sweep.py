"""commands.sweep: real trainings of a tiny model, chosen by held-out train rows, and the winner's recipe."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.commands import sweep
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.evaluation import runs
from baseline_bench.results import candidate
from baseline_bench.training import recipes

pytestmark = pytest.mark.usefixtures("forked_children")

RECIPE = """\
base = "{base}"
trainer = "{trainer}"
task = "word-problems"
data = "{data}"
lr = 1e-3
max_steps = 2
batch = 2
optimizer = "adamw"
precision = "fp32"
"""
DIVERGES = "lr=1e30"


def order(recipe: Path, *words: str) -> sweep.Options:
    """What the command line makes of the words."""
    given = [str(recipe), "--engine", "transformers", "--runs", str(recipe.parent / "runs"), *words]
    return replace(cli.parse_options("sweep", given), words="bench sweep", commit=None)


def run(recipe: Path, *words: str) -> tuple[str, str]:
    """(what a sweep prints, what it warns of)."""
    data, talk = io.StringIO(), io.StringIO()
    assert sweep.run(order(recipe, *words), Console(data, talk)) == 0
    return data.getvalue(), talk.getvalue()


def recipe_in(folder: Path, base: Path, trainer: str = "full", data: str = "word-problems") -> Path:
    """A recipe file with a base beside it, named by a relative path."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(base, folder / "tiny", dirs_exist_ok=True)
    path = folder / "mine.toml"
    path.write_text(RECIPE.format(base="./tiny", trainer=trainer, data=data))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny base."""
    return tiny.build(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def swept(base, tmp_path_factory) -> tuple[Path, list[str], str, str]:
    """(the recipe, the words, what was printed, what was warned of) of a sweep with two good tries and a bad one."""
    recipe = recipe_in(tmp_path_factory.mktemp("swept") / "recipes", base)
    winner = recipe.parent.parent / "chosen" / "winner.toml"
    words = ["--grid", f"lr=1e-3,1e-2,{DIVERGES[3:]}", "--held-out", "4", "--fraction", "0.02", "--write", str(winner)]
    return recipe, words, *run(recipe, *words)


def made(recipe: Path) -> dict[float, Path]:
    """Folders of the candidates by their learning rates."""
    folders = [path.parent for path in sorted(recipe.parent.glob("runs/*/candidate.json"))]
    return {float(candidate.read_candidate(folder).values["lr"]): folder for folder in folders}


def test_every_try_is_a_line_and_the_base_the_first(swept):
    """Values, steps, losses and score of each; the one chosen is marked, and the rule that decided is told."""
    recipe, _, out, _ = swept
    lines = out.splitlines()
    assert lines[0].split()[0] == "tried"
    assert lines[1].startswith("tiny@")
    assert "of 4)" in lines[1]
    for line, rate in zip(lines[2:4], ("1e-3", "1e-2"), strict=True):
        found = candidate.read_candidate(made(recipe)[float(rate)])
        assert line.split()[:4] == [f"lr={rate}", "2", f"{found.final_loss:.4f}", f"{found.held_out_loss:.4f}"]
        assert "of 4)" in line
    lowest = min(made(recipe).values(), key=lambda folder: candidate.read_candidate(folder).held_out_loss)
    best = f"{candidate.read_candidate(lowest).values['lr']:g}"
    (chosen,) = [line for line in lines[2:5] if line.rstrip().endswith("chosen")]
    assert float(chosen.split()[0].removeprefix("lr=")) == float(best)
    assert "4 of 2,000 train rows (seed 0), trained on 40; no test item was scored" in out
    assert "by the lowest held-out loss among the 2 of 3 tries" in out


def test_a_try_that_diverges_is_a_line_and_cannot_win(swept):
    """The sweep goes on without it, and leaves no candidate of it."""
    recipe, _, out, warned = swept
    (line,) = [line for line in out.splitlines() if line.startswith(DIVERGES)]
    assert "failed: " in line
    assert f"{DIVERGES} failed: " in warned
    assert set(made(recipe)) == {1e-3, 1e-2}


def test_the_written_recipe_is_the_winning_one(swept, monkeypatch):
    """Its comment tells what was tried; its base is found from where it lies, from whatever folder it is used."""
    recipe, words, out, _ = swept
    file = Path(words[-1])
    monkeypatch.chdir("/")
    read = recipes.read_recipe(str(file))
    rates = {f"lr={rate}": folder for rate, folder in made(recipe).items()}
    (line,) = [line for line in out.splitlines() if line.startswith("chosen: ")]
    chosen = next(folder for text, folder in rates.items() if float(text[3:]) == float(line.split()[1][3:-1]))
    assert recipes.collect_values(read) == recipes.collect_values(
        recipes.read_recipe(str(recipe), [f"lr={read.options.lr}"])
    ) | {"base": "../recipes/tiny"}
    assert read.options.lr == candidate.read_candidate(chosen).values["lr"]
    assert Path(recipes.resolve_path(read, "base")).resolve() == (recipe.parent / "tiny").resolve()
    comment = [line for line in file.read_text().splitlines() if line.startswith("# ")]
    assert comment[0] == "# Chosen by `bench sweep`: bench sweep"
    assert [line.split(" | ")[0] for line in comment if " | " in line][2:] == [
        "# lr=1e-3",
        "# lr=1e-2",
        f"# {DIVERGES}",
    ]


def test_what_chooses_is_train_data_that_no_try_has_seen(swept):
    """Both parts are recorded with every training; all tries share them, and no test item is among them."""
    recipe, _, _, _ = swept
    tests = {problem.question for problem in plugins.load_task("word-problems").problems(Split("test"))}
    parts = set()
    for folder in made(recipe).values():
        kept, held = ([row[0] for row in json.loads((folder / f"{n}.json").read_bytes())] for n in ("rows", "held_out"))
        parts.add((*kept, "|", *held))
        assert not {*kept} & {*held}
        assert all(name.startswith("train-") for name in (*kept, *held))
        (answered,) = folder.glob("held-out-*")
        problems = runs.read_problems(answered)
        assert [problem.id for problem in problems] == held
        assert not tests & {problem.question for problem in problems}
    assert len(parts) == 1


def test_a_sweep_is_no_result(swept):
    """It adds no row to any board."""
    recipe, _, _, _ = swept
    assert not list(recipe.parent.parent.rglob("leaderboards"))
    assert not list(recipe.parent.rglob("entry.json"))


def test_a_killed_sweep_goes_on_where_it_stood(swept):
    """Finished trainings and answers stay as they are, half-written ones are completed, and the choice is the same."""
    recipe, words, out, _ = swept
    written = Path(words[-1])
    before = written.read_bytes()
    folder = made(recipe)[1e-3]
    trained = {place: (place / "candidate.json").read_bytes() for place in made(recipe).values()}
    (answered,) = folder.glob("held-out-*")
    answers = (answered / "completions.jsonl").read_bytes()
    (answered / "completions.jsonl").write_bytes(answers[: answers.index(b"\n") + 20])
    (answered / "verdicts.jsonl").unlink()
    written.unlink()
    assert run(recipe, *words)[0] == out
    assert written.read_bytes() == before
    assert {place: (place / "candidate.json").read_bytes() for place in made(recipe).values()} == trained
    kept = runs.read_completions(answered)
    assert (answered / "completions.jsonl").read_bytes().startswith(answers[: answers.index(b"\n") + 1])
    assert kept.keys() == {problem.id for problem in runs.read_problems(answered)}


def test_adapters_on_data_without_readable_answers_are_chosen_by_loss(base, tmp_path, monkeypatch):
    """No score is made up, no engine is started; the recipe lies in the current folder under its own digest."""
    rows = [{"question": f"Who has apple {i}?", "answer": "Tom has it, he says."} for i in range(12)]
    recipe_in(tmp_path, base, "lora", "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.chdir(tmp_path)
    out, warned = run(Path("mine.toml"), "--grid", "lr=1e-3,1e-2", "--held-out", "3", "--fraction", "1")
    assert "no scores: 3 held-out solutions have no answer to be read" in warned
    assert "by the lowest held-out loss alone" in out
    assert "the best lr is the " in out
    (file,) = tmp_path.glob("mine-*.toml")
    read = recipes.read_recipe(str(file))
    assert (
        recipes.digest_recipe(read)
        == candidate.read_candidate(made(tmp_path / "mine.toml")[read.options.lr]).recipe_sha256
    )
    assert not list(tmp_path.rglob("completions.jsonl"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--grid", "lrr=1,2"], "no key 'lrr'"),
        (["--grid", "lr=1,fast"], "lr takes a number, not 'fast'"),
        (["--grid", "lr=1,2", "--fraction", "0"], "--fraction 0.0 is out of range"),
        (["--grid", "lr=1,2", "--held-out", "2000"], "--held-out 2000 of 2000 rows is out of range"),
        (["--grid", "lr=1,2", "-o", "dtypo=float32"], "no option 'dtypo'"),
        (["--grid", "lr=1,2", "--engine", "transformer"], "no engine 'transformer'"),
        (["--grid", "lr=1,2", "--write", "{recipe}"], "exists and was not written by a sweep"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_trained(base, tmp_path, words, told):
    """One line, and nothing is written."""
    recipe = recipe_in(tmp_path, base)
    before = recipe.read_bytes()
    with pytest.raises(BenchError, match=told) as caught:
        run(recipe, *(word.format(recipe=recipe) for word in words))
    assert "\n" not in str(caught.value)
    assert recipe.read_bytes() == before
    assert not (tmp_path / "runs").exists()
