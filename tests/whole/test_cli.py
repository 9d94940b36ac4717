"""The `bench` command: data alone on stdout, talk on stderr, and every word does what its help says."""

import argparse
import gzip
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from announced import unannounced
from baseline_bench import cli
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.command_options import add_arguments
from baseline_bench.core.types import Split
from baseline_bench.evaluation import protocol
from baseline_bench.models import registry
from own_task import TASK
from paths import DATA, ROOT
from samples import printed_entries

pytestmark = pytest.mark.usefixtures("forked_children")

HELP = DATA / "help.txt"
HEAVY = {"datasets", "huggingface_hub", "numpy", "pyarrow", "rich", "scipy", "scipy.stats", "torch", "transformers"}
LIGHT = {"numpy", "rich", "scipy"}
BOARDS = ROOT / "leaderboards"
ITEMS = 6
ESCAPE = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny real model; the scripted engine uses only its tokenizer."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder, as wide as a page."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(file: Path) -> list[str]:
    """Six answers: three right, one wrong with an escape in it, one unread, one cut and unread; the ids in order."""
    chosen = protocol.select_problems(plugins.load_task("word-problems").problems(Split()), ITEMS, 0)
    texts = [*(f"#### {p.answer}" for p in chosen[:3]), f"{ESCAPE}\n#### -1", "I do not know.", "word " * 100]
    lines = [json.dumps({"id": p.id, "text": text}) for p, text in zip(chosen, texts, strict=True)]
    file.write_text("\n".join(lines))
    return [problem.id for problem in chosen]


def words(model: Path) -> list[str]:
    """The command that scores the script."""
    asked = ["score", str(model), "--task", "word-problems", "--limit", str(ITEMS)]
    return [*asked, "--engine", "scripted", "-o", "script=script.jsonl"]


@pytest.fixture
def scored(model, here, capfd) -> tuple[Path, Path, list[str]]:
    """(run, entry, ids) of the script, scored."""
    ids = script(here / "script.jsonl")
    assert main(words(model)) == 0
    capfd.readouterr()
    (run,), (entry,) = Path("runs").iterdir(), Path("leaderboards").glob("*/*.json")
    return run, entry, ids


def told(capfd, *argv: str) -> str:
    """What a command that succeeds prints; of the answers it says only that one of six was cut."""
    assert main(argv) == 0
    out, err = capfd.readouterr()
    assert all("[answers-cut]" in line and "--max-tokens" in line for line in unannounced(err)), err
    return out


def test_the_help_names_the_commands_of_every_day_first(here, capfd):
    """`bench --help` is the golden file, and its first five commands are those of every day."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert (ended.value.code, capfd.readouterr().out) == (0, HELP.read_text())
    assert list(cli.HELP)[:3] == ["quickstart", "baseline", "score"]
    assert max(map(len, HELP.read_text().splitlines())) <= 80


def test_bench_without_a_command_prints_its_help(capfd):
    """All of it on stdout, as a success: nothing went wrong."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert (ended.value.code, capfd.readouterr()) == (0, (HELP.read_text(), ""))


def test_a_flag_that_many_commands_have_means_one_thing():
    """`--limit` draws a subset, `-n` shows the first of many, `--runs` is a folder: one meaning of each."""
    meanings: dict[str, set[str]] = {"--limit": set(), "-n": set(), "--runs": set()}
    for name in cli.HELP:
        parser = argparse.ArgumentParser()
        add_arguments(parser, cli.load_command(name).Options)
        for action in parser._actions:
            for flag in meanings.keys() & set(action.option_strings):
                meanings[flag].add(" ".join((action.help or "").split()[:3]))
    assert meanings == {"--limit": {"score a seeded"}, "-n": {"at most N"}, "--runs": {"the folder of"}}


def test_a_mistyped_command_is_answered_with_the_closest(capfd):
    """As wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main(["bord", "--check"])
    assert ended.value.code == 2
    assert "no command 'bord': did you mean 'board'?" in capfd.readouterr().err


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_the_completion_of_a_shell_names_every_command(shell, capfd):
    """Two-word commands, options and their choices are there too."""
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    printed = capfd.readouterr().out
    assert ended.value.code == 0
    assert [word for name in cli.HELP for word in name.split() if word not in printed] == []
    assert all(word in printed for word in ("leaderboards", "word", "gain"))


def test_bash_completes_commands_options_choices_and_files(here, capfd):
    """What a real bash offers after the words so far."""
    with pytest.raises(SystemExit):
        main(["--print-completion", "bash"])
    (here / "recipe.toml").write_text("")
    cases = {
        "pr": "pr-report",
        "export c": "csv",
        "verify --lev": "--level",
        "board --sort g": "gain",
        "train re": "recipe.toml",
    }
    ask = "COMP_WORDS=(bench $1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_bench; echo ${COMPREPLY[@]}"
    offer = f"{capfd.readouterr().out}\noffer() {{ {ask}; }}\n" + "".join(f"offer '{words}'\n" for words in cases)
    done = subprocess.run(["bash", "-c", offer], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == list(cases.values())


@pytest.mark.parametrize(
    ("argv", "light"), [(["--help"], set()), (["--version"], set()), (["baseline", "--help"], LIGHT)]
)
def test_help_loads_no_heavy_library(argv, light):
    """Asking what there is costs no more than Python itself; what a command takes, no more than its own module."""
    asked = f"import sys\nfrom baseline_bench.cli import main\ntry:\n    main({argv})\nexcept SystemExit:\n    pass\n"
    code = f"{asked}print(sorted({HEAVY - light} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bench" in done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        ("baseline smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("noise smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("baseline smollm2-135m-it-q4_1 --task word-problem", "'word-problems'"),
        ("baseline smollm2-135m-it-q4_1 --engine transformer", "'transformers'"),
        ("noise smollm2-135m-it-q4_1 --engine transformer", "'transformers'"),
        ("score smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("score ./seed-0", "'seed-00'"),
        ("train quickstart-lora --base smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("train lora-socratik", "'lora-socratic'"),
        ("train lora-main --set task=gsm8", "'gsm8k'"),
        ("train-and-score lora-main lora-socratik", "'lora-socratic'"),
        ("train-and-score lora-main --base smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("train-and-score lora-main --base smollm2-135m-it-q4_1 --task word-problem", "'word-problems'"),
        ("train-and-score lora-main --base smollm2-135m-it-q4_1 --engine transformer", "'transformers'"),
        ("sweep lora-main --grid lr=1e-4 --base smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        ("check lora-main --base smollm2-135m-it-q41", "'smollm2-135m-it-q4_1'"),
        (f"compare recipe:lora-mian recipe:full-main --leaderboards {BOARDS}", "'lora-main'"),
        (f"compare smollm2-135m-it-q41 gemma --leaderboards {BOARDS}", "'smollm2-135m-it-q4_1'"),
        (f"diff smollm2-135m-it-q41 gemma --leaderboards {BOARDS}", "'smollm2-135m-it-q4_1'"),
        (f"show smollm2-135m-it-q41 --leaderboards {BOARDS}", "'smollm2-135m-it-q4_1'"),
    ],
)
def test_a_mistyped_name_loads_no_heavy_library(argv, meant, tmp_path):
    """The closest name is found before an import that takes seconds."""
    (tmp_path / "seed-00").mkdir()
    code = f"import sys\nfrom baseline_bench.cli import main\nmain({argv.split()})\n"
    code += f"print(sorted({HEAVY - LIGHT} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert f"did you mean {meant}" in done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", registry.list_names()),
        ("tasks", plugins.list_names("task")),
        ("engines", plugins.list_names("engine")),
        ("trainers", plugins.list_names("trainer")),
        ("recipes", sorted(path.stem for path in (plugins.find_folder("trainer") / "recipes").glob("*.toml"))),
    ],
)
def test_list_prints_one_name_a_line_with_what_it_stands_for(kind, names, here, capfd):
    """Every name that the other commands take is there, with where it comes from."""
    lines = told(capfd, "list", kind).splitlines()
    assert [line.split()[0] for line in lines] == list(names)
    assert all(len(line.split()) > 1 for line in lines)


def test_grade_judges_the_completion_on_stdin(here, capfd, monkeypatch):
    """One JSON object with what was read, by which rule, and whether it is right."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"9 eggs at $2 \xff make\n#### 18")))
    judged = json.loads(told(capfd, "grade", "--gold", "18"))
    assert judged == {"answer": "18", "correct": True, "strict": True, "rule": "hash"}


def test_grade_judges_a_file_of_cases_in_its_order(here, capfd):
    """One JSON object a line; what Unicode counts as a line's end inside a completion ends none."""
    cases = [("so 18", "18"), ("first\u2028then 7\x85", "18"), ("", "18"), ("#### 18", "18.0")]
    lines = [json.dumps({"completion": text, "gold": gold}, ensure_ascii=False) for text, gold in cases]
    (here / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")
    judged = [json.loads(line) for line in told(capfd, "grade", "--cases", "cases.jsonl").splitlines()]
    assert [(verdict["answer"], verdict["correct"]) for verdict in judged] == [
        ("18", True),
        ("7", False),
        (None, False),
        ("18", True),
    ]


def test_score_prints_the_entry_and_reports_a_finished_run_without_generating(model, here, capfd):
    """Stdout is the entry's file and the findings, the second time too, though the script is gone by then."""
    script(here / "script.jsonl")
    first = told(capfd, *words(model), "--json")
    (entry,), (run,) = here.glob("leaderboards/*/*.json"), here.glob("runs/*")
    assert printed_entries(first) == [entry.read_text()]
    (cut,) = json.loads(first)["findings"]
    assert cut["code"] == "answers-cut"
    assert "--max-tokens N" in cut["message"]  # the remedy
    (here / "script.jsonl").unlink()
    assert told(capfd, *words(model), "--json") == first
    assert list(here.glob("runs/*")) == [run]
    assert list(here.glob("leaderboards/*/*.json")) == [entry]


def test_again_scores_anew_in_a_folder_of_its_own(model, scored, here, capfd):
    """The finished run stays as it was beside the new one."""
    run, _, ids = scored
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert f"{ITEMS} of 256" in told(capfd, *words(model), "--again")
    assert sorted(path.name for path in Path("runs").iterdir()) == [run.name, f"{run.name}-2"]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert len((Path("runs") / f"{run.name}-2" / "completions.jsonl").read_bytes().splitlines()) == len(ids)


@pytest.mark.parametrize(
    ("only", "places"), [("--wrong", (3, 4, 5)), ("--cut", (5,)), ("--unread", (4, 5)), (None, range(6))]
)
@pytest.mark.parametrize("kind", ["run", "entry"])
def test_show_prints_the_answers_asked_for(scored, capfd, only, places, kind):
    """Of a run's folder as of an entry with its completions: id, text, verdict, and how many there are."""
    run, entry, ids = scored
    what = str(run if kind == "run" else entry)
    out = told(capfd, "show", what, *([only] if only else []))
    assert [line.split()[0] for line in out.splitlines() if line.startswith("test-")] == [ids[i] for i in places]
    assert f"{what}: 6 answers, {len(places)} {only.strip('-') if only else 'in all'}" in out
    assert ("I do not know." in out) == (4 in places)
    assert "?" in out  # the questions


def test_show_stops_at_the_number_asked_for(scored, capfd):
    """What is left out is counted."""
    assert "6 answers, 6 in all, 4 not shown (-n)" in told(capfd, "show", str(scored[0]), "-n", "2")


def test_a_completion_cannot_command_the_terminal(scored, capfd):
    """Escapes that a model wrote are shown as what they are."""
    out = told(capfd, "show", str(scored[0]), "--wrong")
    assert "\ufffd[2J\ufffd]0;owned" in out
    assert not {"\x1b", "\x07"} & set(out)


def test_regrade_needs_no_model_and_says_which_verdicts_changed(model, here, capfd):
    """The run's folder is enough: a verdict that was tampered with is found and put right."""
    copy = shutil.copytree(model, here / "copy")
    script(here / "script.jsonl")
    told(capfd, *words(copy))
    shutil.rmtree(copy)
    (run,) = here.glob("runs/*")
    verdicts = (run / "verdicts.jsonl").read_text()
    assert "none" in told(capfd, "regrade", str(run)).splitlines()[-1]
    (run / "verdicts.jsonl").write_text(verdicts.replace('"correct": true', '"correct": false', 1))
    assert "1: test-" in told(capfd, "regrade", str(run)).splitlines()[-1]
    assert (run / "verdicts.jsonl").read_text() == verdicts


def test_board_renders_what_is_stale_and_checks_what_was_touched(scored, here, capfd):
    """Only stale pages are written and named; a check writes nothing and names the file and `bench board`."""
    page = Path("leaderboards", "word-problems.md")
    text = page.read_text()
    assert told(capfd, "board") == ""
    assert main(["board", "--check"]) == 0
    out, err = capfd.readouterr()
    (announced, told_at_the_end) = err.splitlines()  # in a pipe too
    assert out == ""
    assert "checking" in announced
    assert "checked 1 entries" in told_at_the_end
    page.write_text(text.replace("50.00", "90.00"))
    assert main(["board", "--check"]) == 1
    assert capfd.readouterr().out == f"{page}: is not what the entries give; fix: `bench board`\n"
    assert told(capfd, "board") == f"{page}\n"
    assert page.read_text() == text


def test_a_board_check_finds_completions_that_were_edited(scored, capfd):
    """The entry's file is named and the exit status is 1."""
    completions = scored[1].with_suffix(".jsonl.gz")
    completions.write_bytes(gzip.compress(gzip.decompress(completions.read_bytes()).replace(b"-1", b"-2")))
    assert main(["board", "--check"]) == 1
    assert all(line.startswith(str(scored[1])) for line in capfd.readouterr().out.splitlines())


def test_quickstart_prints_the_board_and_where_to_go(model, here, capfd, monkeypatch):
    """Everything it writes lies in one folder of its own; two of its recipe's steps show the way as well as all."""
    short = replace(
        cli.parse_options("quickstart", ["--model", str(model), "--limit", "4", "--engine", "scripted"]),
        sets=["max_steps=2", "batch=2"],
    )
    with monkeypatch.context() as patch:
        patch.setattr(cli, "parse_options", lambda name, words: short)
        out = told(capfd, "quickstart")
    steps = [shlex.split(line) for line in out.rpartition("\nNext\n")[2].splitlines() if line.startswith("  bench ")]
    assert [step[1] for step in steps] == ["diff", "compare", "baseline", "train-and-score"]
    assert "| candidate |" not in out
    assert main(steps[0][1:]) == main(steps[1][1:]) == 0
    assert [path.name for path in here.iterdir()] == ["quickstart"]


def test_a_trace_names_the_phases_and_adds_up(model, here):
    """The file holds every phase, the table all the time from the start of the process; stdout keeps to the data."""
    script(here / "script.jsonl")
    command = [sys.executable, "-P", "-m", "baseline_bench.cli", *words(model), "--json", "--trace", "trace.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (entry,) = printed_entries(done.stdout)
    assert json.loads(entry)["result"]["counts"]["correct"] == 3
    rows = [line.split(maxsplit=4) for line in done.stderr.splitlines() if " %  " in line]
    seconds = {name: float(value) for value, _, _, _, name in rows}
    total = float(done.stderr.splitlines()[-1].split()[0])
    assert abs(sum(seconds.values()) - total) <= 0.005 * len(seconds)
    assert {"start Python", "import torch", "tokenise", "write entry", "render boards"} <= set(seconds)
    assert list(seconds)[-1] == "other"
    events = json.loads((here / "trace.json").read_text().rstrip().rstrip(",") + "]")
    assert set(seconds) - {"other"} <= {event["name"] for event in events}


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("nowhere/trace.json", "cannot write nowhere/trace.json: "),
        ("pipe", "pipe is no regular file: "),
        ("/dev/null", "/dev/null is no regular file: "),
        (".", ". is no regular file: "),
    ],
)
def test_a_trace_that_cannot_be_written_is_one_line(model, here, capfd, file, told):
    """Before any work; a named pipe does not wait for its reader."""
    script(here / "script.jsonl")
    os.mkfifo("pipe")
    assert main([*words(model), "--trace", file]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"bench: {told}")
    assert not Path("runs").exists()


def test_doctor_shows_the_prompt_the_answers_and_what_is_wrong(model, here, capfd):
    """Random weights never end an answer: that is a finding, and findings are exit status 1."""
    problems = ", ".join(f'Problem("{name}", "What is {name}?", "2", "2")' for name in ("1+1", "2+0"))
    (here / "sums.py").write_text(TASK.replace('Problem("a", "1+1?", "2", "2")', problems))
    asked = ["doctor", str(model), "--task", "./sums.py", "--engine", "transformers", "-o", "dtype=float32"]
    assert main([*asked, "--answers", "2"]) == 1
    out, err = capfd.readouterr()
    assert unannounced(err) == []
    assert "<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant" in out
    assert "stop ids         2 <|im_end|>" in out
    assert "\n1+1: right" in out
    assert "\n2+0: right" in out
    assert "no answer ended by itself" in out
    assert "nothing that would make this model score wrongly" in told(capfd, *asked, "--answers", "0")


def test_ctrl_c_keeps_the_answers_and_says_how_to_go_on(model, here, capfd):
    """Exit 130 without a traceback; the same command asks only for what is missing."""
    command = [*words(model)[:-1], "pace=0.2"]
    # A shell that starts tests in the background has them ignore Ctrl-C.
    heeding = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    heeding += "; from baseline_bench.cli import main"
    code = [sys.executable, "-c", f"{heeding}; sys.exit(main())", *command]
    with subprocess.Popen(code, stderr=subprocess.PIPE, text=True) as process:
        while not any(file.stat().st_size for file in here.glob("runs/*/completions.jsonl")):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    told_at_the_end = (
        "bench: stopped before the end; what is finished is kept, the same command goes on with the rest\n"
    )
    assert process.returncode == 130
    assert said.endswith(told_at_the_end)  # what it announced comes before
    assert "Traceback" not in said
    (completions,) = here.glob("runs/*/completions.jsonl")
    kept = completions.read_bytes()
    told(capfd, *command)
    assert completions.read_bytes().startswith(kept)
    assert 1 <= len(kept.splitlines()) < len(completions.read_bytes().splitlines()) == ITEMS


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("export csv", "comparing the rows of leaderboards"),
        ("plan recipe:a recipe:b --gain 0.05", "computing what the designs would show"),
        ("regrade runs/none", "grading the answers of runs/none again"),
        ("board", "rendering the pages of leaderboards"),
        ("board --show", "comparing the rows of leaderboards"),
        ("show none", "reading none"),
        ("verify none.json", "verifying none.json"),
        ("retract none --why wrong", "withdrawing none, rendering the pages of leaderboards"),
        ("import lm-eval none.json", "importing none.json, rendering the pages of leaderboards"),
        ("check none.toml", "checking none.toml"),
        ("doctor none", "checking none"),
        ("export lm-eval none", "reading the task none"),
        ("report", "comparing the rows of leaderboards/gsm8k and drawing the figures"),
        ("pr-report", "checking what this branch adds to leaderboards since origin/main"),
    ],
)
def test_what_takes_seconds_is_announced_in_a_pipe(here, capfd, command, told):
    """Before anything is read, so before the error of an empty folder too."""
    main(command.split())
    assert capfd.readouterr().err.splitlines()[0] == told


def test_a_scoring_announces_its_phases_in_a_pipe(model, here, capfd):
    """The search for the model, the engine and why it is this one, its loading, and the answers, each in one line."""
    script(here / "script.jsonl")
    assert main(words(model)) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if not unannounced(line)]
    name = said[-1].partition(":")[0]
    assert name.startswith(f"{model.name}@")
    assert said == [
        f"model {model}: looking for it, fetching what is missing",
        "engine scripted, as you asked",
        f"engine scripted: loading {name}",
        f"{name}: 6 requests",
    ]


def test_ctrl_c_in_a_check_is_one_line(monkeypatch, capfd):
    """A check keeps nothing, so it promises nothing; its processes print no traceback."""
    code = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from baseline_bench.core import parallel\nparallel._count_cores = lambda: 2\n"
    code += "from baseline_bench.rendering import checking\nfrom baseline_bench import cli\n"
    code += "def check(*_): os.write(1, b'began\\n'); signal.pause()\nchecking._check_entry = check\n"
    code += "raise SystemExit(cli.main(['board', '--check']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        announced, *began = (process.stdout.readline() for _ in range(3))
        os.killpg(process.pid, signal.SIGINT)
        rest = process.communicate()[0]
    assert "checking every entry of leaderboards" in announced
    assert began == ["began\n"] * 2
    assert (process.returncode, rest) == (130, "bench: stopped before the end\n")


def descriptors() -> tuple[int, int]:
    """(the file that stdout is, how many files are open)."""
    return os.fstat(1).st_ino, len(list(Path("/dev/fd").iterdir()))


def test_what_a_library_prints_is_not_data(model, here, capfd):
    """It goes to stderr while the command runs; afterwards stdout is what it was and no descriptor is left open."""
    chatter = "def problems(split):\n    import os\n    os.write(1, b'chatter')\n    return"
    (here / "loud.py").write_text(TASK.replace("def problems(split): return", chatter))
    before = descriptors()
    assert main(["score", str(model), "--task", "./loud.py", "--engine", "scripted", "--json"]) == 0
    assert descriptors() == before
    out, err = capfd.readouterr()
    assert "".join(unannounced(err.replace("chatter", "chatter\n", 1))) == "chatter"
    assert json.loads(out)["result"]["task"]["name"] == "loud"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize(
    ("stdout", "status", "line"),
    [("closed pipe", 0, ""), ("/dev/full", 1, "bench: cannot write stdout: No space left")],
)
def test_a_stdout_that_takes_nothing_is_no_traceback(stdout, status, line):
    """A reader that has seen enough is no error; a full disk is, in one line."""
    if stdout == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(stdout, os.O_WRONLY)
    command = [sys.executable, "-m", "baseline_bench.cli", "list", "models"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == status
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == status
