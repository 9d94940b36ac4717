"""commands.init: what `bench init` writes works as a newcomer uses it, and nothing is overwritten."""

import io
import json
import shlex
import tomllib
from importlib import metadata
from pathlib import Path

import own_task
import pytest
import tiny
import yaml
from baseline_bench import cli
from baseline_bench.commands.init import Options, find_requirement, run
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.training import recipes
from paths import ROOT

WRITTEN = {
    ".gitattributes",
    ".github/actions/bench/action.yml",
    ".github/workflows/bench-comment.yml",
    ".github/workflows/bench.yml",
    ".gitignore",
    "README.md",
    "bench.toml",
    "leaderboards/README.md",
    "recipes/my-lora.toml",
    "tasks/my_task.py",
}
UNKNOWN = "baseline-bench @ git+https://URL_OF_BENCH@COMMIT"
TASK, RECIPE = "tasks/my_task.py", "recipes/my-lora.toml"


def begun(folder: Path) -> str:
    """What `bench init` says."""
    out = io.StringIO()
    assert run(Options(folder=folder), Console(out, io.StringIO())) == 0
    return out.getvalue()


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A repository of one's own, just begun, as the current folder."""
    begun(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


def files(folder: Path) -> set[str]:
    """Every file, relative to the folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_everything_that_a_repository_needs_is_written_and_named(tmp_path):
    """Into a folder that need not be there, with what to do next."""
    told = begun(tmp_path / "a" / "b")
    assert files(tmp_path / "a" / "b") == WRITTEN
    assert all(f"written  {tmp_path / 'a' / 'b' / name}\n" in told for name in WRITTEN)
    assert "bench baseline smollm2-135m-it-q4_1 --task my-task" in told


def test_what_is_there_is_left_and_named_and_ours_is_shown(tmp_path):
    """A file of the user's keeps its bytes, a link stays a link, and the rest is written all the same."""
    (tmp_path / "README.md").write_bytes(b"mine\r\n")
    (tmp_path / ".gitattributes").symlink_to("nowhere")
    told = begun(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == b"mine\r\n"
    assert (tmp_path / ".gitattributes").is_symlink()
    assert f"left     {tmp_path / 'README.md'} is yours" in told
    assert "         | leaderboards/**/*.jsonl.gz binary linguist-generated\n" in told
    assert files(tmp_path) == WRITTEN - {".gitattributes"}


def test_a_second_time_changes_nothing(tmp_path):
    """Every file is there already."""
    begun(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in WRITTEN}
    told = begun(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in WRITTEN} == before
    assert told.count("there    ") == len(WRITTEN)


def test_a_file_in_a_folder_s_place_is_one_clear_error(tmp_path):
    """Nothing is moved out of the way."""
    (tmp_path / "tasks").write_text("")
    with pytest.raises(BenchError, match="tasks is no folder"):
        begun(tmp_path)


def test_the_recipe_is_complete_and_is_read_from_where_it_lies(mine, capfd):
    """Every key is stated, and `bench show recipe` prints it; its task and data are the file beside it."""
    recipe = recipes.read_recipe(RECIPE)
    stated = {line.partition(" = ")[0] for line in Path(RECIPE).read_text().splitlines() if " = " in line}
    assert {key for key, value in recipes.collect_values(recipe).items() if value is not None} == stated - {"# "}
    assert Path(recipes.resolve_path(recipe, "task")).resolve() == (mine / TASK).resolve()
    assert cli.main(["show", "recipe", RECIPE]) == 0
    assert 'trainer = "lora"' in capfd.readouterr().out


def test_the_recipe_passes_the_check(mine, capfd):
    """`bench check` finds neither a leak between the task's splits nor anything that would train wrongly."""
    base = tiny.build(mine / "model")
    assert cli.main(["check", RECIPE, "--base", str(base)]) == 0
    told = capfd.readouterr().out
    assert "0 exact; 0 of 64 items share" in told
    assert "nothing that would make this recipe train wrongly" in told


def test_a_first_row_is_scored_and_the_board_checks(mine, capfd):
    """`bench baseline` on the scaffolded task adds a row; `bench board --check` finds nothing wrong."""
    model = tiny.build(mine / "model")
    assert cli.main(["board", "--check"]) == 0
    assert cli.main(["baseline", str(model), "--task", TASK, "--engine", "scripted", "--json"]) == 0
    (page,) = [path for path in mine.glob("leaderboards/*.md") if path.name != "README.md"]
    assert "`my-task-1shot@v1`" in page.read_text()
    capfd.readouterr()
    assert cli.main(["board", "--check"]) == 0
    assert capfd.readouterr().out == ""
    (entry,) = mine.glob("leaderboards/*/*.json")
    assert cli.main(["show", str(entry), "-n", "1"]) == 0
    assert "Before the bus to Lyon leaves" in capfd.readouterr().out


def test_no_answer_of_the_example_s_form_is_cut(mine):
    """No tokenizer makes more tokens of a solution than it has characters."""
    task = plugins.load_task("my-task")
    assert max(len(problem.solution) for problem in task.problems(Split())) < task.SAMPLING.max_tokens


def test_a_task_of_one_s_own_is_remembered_after_its_first_row(tmp_path, monkeypatch, capfd):
    """Every command then knows it without its file; removed from bench.toml, its answers cannot be judged again."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model")
    (tmp_path / "sums.py").write_text(own_task.TASK)
    assert cli.main(["baseline", str(model), "--task", "sums.py", "--engine", "scripted", "--json"]) == 0
    assert (tmp_path / "bench.toml").read_text().endswith('[tasks]\nsums = "sums.py"\n')
    assert cli.main(["board", "--check"]) == 0
    capfd.readouterr()
    (entry,) = tmp_path.glob("leaderboards/*/*.json")
    assert cli.main(["show", str(entry)]) == 0
    assert "1+1?" in capfd.readouterr().out
    (tmp_path / "bench.toml").unlink()
    assert cli.main(["board", "--check"]) == 1
    assert "its task 'sums' is not here" in capfd.readouterr().out


def test_a_diff_and_a_report_know_a_remembered_task(tmp_path, monkeypatch, capfd):
    """Both print its questions, which no entry stores; without bench.toml neither can."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model")
    graded = own_task.TASK.replace("True, True", "completion.text == problem.answer, True")
    (tmp_path / "sums.py").write_text(graded)
    for name, text in (("right", "2"), ("wrong", "3")):
        Path("script.jsonl").write_text(json.dumps({"id": "a", "text": text}))
        words = ["--engine", "scripted", "-o", "script=script.jsonl", "--name", name]
        assert cli.main(["score", str(model), "--task", "sums.py", *words]) == 0

    def ask() -> tuple[bool, bool]:
        capfd.readouterr()
        assert cli.main(["diff", "right", "wrong"]) == 0
        assert cli.main(["report", "sums", "--board", "sums"]) == 0
        return "1+1?" in capfd.readouterr().out, "1+1?" in Path("reports/sums/index.html").read_text()

    assert ask() == (True, True)
    (tmp_path / "bench.toml").unlink()
    assert ask() == (False, False)


def test_the_readme_leads_to_a_pull_request_with_a_row(mine, git, capfd, forked_children):
    """Its commands as they stand, with a tiny base, in a new repository with a remote: a sound board, and a comment."""
    base, model = "smollm2-135m-it-q4_1", str(tiny.build(mine.parent / "model"))
    Path(RECIPE).write_text(Path(RECIPE).read_text().replace(base, model))
    remote = mine.parent / "remote.git"
    git("init", "-q", "--bare", str(remote))
    inside = ("-C", str(mine))
    git(*inside, "init", "-q", "-b", "main")
    git(*inside, "remote", "add", "origin", str(remote))
    git(*inside, "add", ".")
    git(*inside, "commit", "-q", "-m", "Begin")
    git(*inside, "push", "-q", "-u", "origin", "main")
    ran = []
    for line in Path("README.md").read_text().rpartition("```sh\n")[2].partition("```")[0].splitlines():
        program, *words = shlex.split(line.replace(base, model), comments=True)
        ran.append(words[0])
        if program == "git":
            git(*inside, *words)
        else:
            assert cli.main(words) == 0
    assert ran.index("train-and-score") < ran.index("pr-report") < ran.index("push")
    comment = capfd.readouterr().out.rpartition("<!-- bench pr-report -->")[2]
    assert "my-lora" in comment
    assert "origin/my-lora" in git(*inside, "branch", "-r")


@pytest.mark.parametrize(
    ("recorded", "requirement"),
    [
        (None, "baseline-bench==1.2"),
        ({"url": "https://e.org/b.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
         "baseline-bench @ git+https://e.org/b.git@abc"),
        ({"url": "https://e.org/b.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "py"},
         "baseline-bench @ git+https://e.org/b.git@abc#subdirectory=py"),
        ({"url": "https://e.org/b.whl", "archive_info": {}}, "baseline-bench @ https://e.org/b.whl"),
        ({"url": "file:///work/b", "dir_info": {"editable": True}}, None),
        ({"url": "file:///b.whl", "archive_info": {}}, None),
    ],
)  # fmt: skip
def test_the_requirement_is_what_pip_recorded(recorded, requirement, tmp_path, monkeypatch):
    """A version only where the copy came from an index; nothing where another machine cannot get it."""
    folder = tmp_path / "baseline_bench-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: baseline-bench\nVersion: 1.2\n")
    if recorded is not None:
        (folder / "direct_url.json").write_text(json.dumps(recorded))
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(folder))
    assert find_requirement() == requirement


@pytest.mark.parametrize("name", ["bench", "bench-comment"])
def test_the_workflows_are_ours_but_for_the_install(mine, name):
    """What this repository uses is what users get, with the version that wrote the pages."""
    own, theirs = (
        yaml.safe_load((folder / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
        for folder in (ROOT, mine)
    )
    for flow, action in ((own, "./"), (theirs, "./.github/actions/bench")):
        (job,) = flow["jobs"].values()
        assert job["steps"][-1].pop("uses") == action
        given = job["steps"][-1].pop("with", {})
    assert own == theirs
    assert given == ({"requirement": find_requirement() or UNKNOWN} if name == "bench" else {})


def test_the_action_is_ours(mine):
    """Theirs is a copy, so that a repository depends on no other one on GitHub."""
    assert (mine / ".github" / "actions" / "bench" / "action.yml").read_bytes() == (ROOT / "action.yml").read_bytes()


@pytest.mark.parametrize("requirement", ["a==1", 'a @ git+https://e.org/b.git@c#subdirectory=p"y', "a: b # c"])
def test_a_requirement_arrives_in_the_workflow_as_it_is(tmp_path, monkeypatch, requirement):
    """YAML reads back every character."""
    monkeypatch.setattr("baseline_bench.commands.init.find_requirement", lambda: requirement)
    begun(tmp_path)
    flow = yaml.safe_load((tmp_path / ".github" / "workflows" / "bench.yml").read_text(encoding="utf-8"))
    assert flow["jobs"]["board"]["steps"][-1]["with"] == {"requirement": requirement}


def test_every_command_that_is_told_exists(mine):
    """In the README as in the workflow."""
    text = Path("README.md").read_text() + Path(".github/actions/bench/action.yml").read_text()
    named = {line.split()[1] for line in text.replace("`", "\n").splitlines() if line.strip().startswith("bench ")}
    assert {"baseline", "board", "check", "train-and-score"} <= named
    assert named <= set(cli.HELP) | {"pr-report"}


@pytest.mark.parametrize("spellings", [("my_sums.py", "my-sums", "./my_sums.py"), ("sums", "my_sums.py", "sums")])
def test_a_task_by_its_file_and_by_its_name_is_one_task(tmp_path, monkeypatch, spellings):
    """One run, one row and one line of bench.toml, also where a person chose the name; an unfinished run is resumed."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model")
    Path("my_sums.py").write_text(own_task.TASK)
    if "sums" in spellings:
        Path("bench.toml").write_text('[tasks]\nsums = "my_sums.py"\n')

    def score(task: str) -> Path:
        assert cli.main(["baseline", str(model), "--task", task, "--engine", "scripted"]) == 0
        (run,) = Path("runs").iterdir()
        return run

    for task in (*spellings, str(tmp_path / "my_sums.py")):
        run = score(task)
        (entry,) = Path("leaderboards").glob("*/*.json")
    for task in spellings[:2]:
        (run / "entry.json").unlink()
        score(task)
    ((name, file),) = tomllib.loads(Path("bench.toml").read_text())["tasks"].items()
    assert (name, file) == (entry.parent.name, "my_sums.py")
    assert name in spellings
    Path("other").mkdir()
    Path("other/my_sums.py").write_text(own_task.TASK)
    assert cli.main(["baseline", str(model), "--task", "other/my_sums.py", "--engine", "scripted"]) == 0
    assert len(list(Path("runs").iterdir())) == 2  # another file is another task
