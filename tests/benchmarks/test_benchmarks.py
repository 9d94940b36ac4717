"""The frame of the benchmarks is exact, its scripts run, and the page is what their results give; nothing is timed."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from dataclasses import replace
from xml.etree import ElementTree

import datasets
import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from paths import ROOT
from safetensors.torch import load_file

from benchmarks import (
    _folding,
    _scoring_peers,
    checks,
    children,
    command_line,
    measuring,
    record,
    render,
    timeline,
    verdict,
)
from benchmarks.cpu_scoring import Peer
from benchmarks.measuring import Arm, Target
from benchmarks.record import Goal, Side, Spread

SAMPLES = {"bench": [{"seconds": 2.0}, {"seconds": 4.0}, {"seconds": 3.0}], "peer": [{"seconds": 8.0}] * 3}
TARGET = Target("seconds", "bench", "peer", at_most=0.5)


def keep(folder, question="merging", samples=None, targets=(TARGET,), **more):
    """Keep samples under a plain title."""
    told = {"title": "Merging", "how": "Whole processes.", **more}
    return measuring.keep(question, samples or SAMPLES, targets, results=folder, **told)


def test_arms_run_in_turns_and_warm_ups_are_dropped():
    """A B, A B, A B; the first round counts for nothing."""
    ran = []
    arms = [Arm(name, lambda name=name: {"count": float(ran.append(name) or len(ran))}) for name in "AB"]
    samples = measuring.interleave(arms, 2, warmups=1, say=lambda _: None)
    assert "".join(ran) == "ABABAB"
    assert samples == {"A": [{"count": 3.0}, {"count": 5.0}], "B": [{"count": 4.0}, {"count": 6.0}]}


def test_a_peer_that_may_fail_spoils_no_other_arm_and_ours_may_not():
    """It is told and left out of every later round; any other failure ends the question."""
    ran, told = [], []

    def fails():
        ran.append("peer")
        raise BenchError("no such library")

    arms = [Arm("peer", fails, may_fail=True), Arm("bench", lambda: {"count": float(ran.append("bench") or len(ran))})]
    assert measuring.interleave(arms, 2, say=told.append) == {"bench": [{"count": 2.0}, {"count": 3.0}]}
    assert ran == ["peer", "bench", "bench"]
    assert "peer failed and is left out: no such library" in told
    with pytest.raises(BenchError, match="no such library"):
        measuring.interleave([replace(arms[0], may_fail=False)], 1, say=told.append)


def test_two_arms_of_one_name_are_refused():
    """Their samples would be mixed."""
    with pytest.raises(ValueError, match="one name"):
        measuring.interleave([Arm("A", dict), Arm("A", dict)], 1)


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1, "at_most": 2}])
def test_a_target_has_one_bound(bounds):
    """None says nothing, and two are two targets."""
    with pytest.raises(ValueError, match="one bound"):
        Target("seconds", "bench", None, **bounds)


def test_questions_of_one_day_share_a_file_and_a_later_run_replaces_an_earlier(tmp_path, monkeypatch):
    """Each question's last samples stand in the day's file of the machine that BENCH_MACHINE names."""
    monkeypatch.setenv("BENCH_MACHINE", "here")
    keep(tmp_path)
    keep(tmp_path, "study", title="A study")
    path = keep(tmp_path, samples={**SAMPLES, "bench": [{"seconds": 1.0}] * 3})
    assert [path] == list(tmp_path.iterdir())
    assert path.name.endswith("-here.json")
    day = record.read(path)
    assert list(day.questions) == ["merging", "study"]
    assert day.questions["merging"].arms["bench"].measures["seconds"] == Spread(1.0, 1.0, 1.0)
    assert day.questions["study"].arms["bench"].measures["seconds"] == Spread(3.0, 2.0, 4.0)


def test_machines_of_one_name_and_other_cores_have_files_of_their_own(tmp_path, monkeypatch):
    """Two hosts with the same GPU: the second one's figures are not put under the first one's cores."""
    monkeypatch.setenv("BENCH_MACHINE", "here")
    first = keep(tmp_path)
    cores = record.read(first).machine.cores
    value = json.loads(first.read_text())
    value["machine"]["cores"] = cores + 1
    first.write_bytes(records.encode_indented(value))
    second = keep(tmp_path, "study", title="A study")
    assert second.name == first.name.replace("here", f"here-{cores}-cores")
    assert keep(tmp_path) == second
    assert list(record.read(first).questions) == ["merging"]
    assert record.read(second).machine.cores == cores
    assert sorted(record.read(second).questions) == ["merging", "study"]
    value["machine"]["cores"] = cores
    value["machine"]["processor"] = "another"
    second.write_bytes(records.encode_indented(value))
    with pytest.raises(BenchError, match="of another machine"):
        keep(tmp_path)


def test_a_target_of_what_nobody_measured_is_noticed_before_anything_is_written(tmp_path):
    """A page could not be rendered of it."""
    with pytest.raises(KeyError):
        keep(tmp_path, targets=[Target("tokens_per_second", "bench", "peer", at_least=1)])
    assert list(tmp_path.iterdir()) == []


def test_results_name_neither_host_nor_folder(tmp_path, monkeypatch):
    """They are published; the commit is the one that a copy without its history is told."""
    monkeypatch.setenv("BENCH_COMMIT", "0123abc-dirty")
    path = keep(tmp_path)
    text = path.read_text()
    assert socket.gethostname() not in text
    assert str(ROOT) not in text
    assert str(tmp_path) not in text
    question = record.read(path).questions["merging"]
    assert (question.commit, question.dirty) == ("0123abc", True)


def test_a_file_of_other_keys_is_refused(tmp_path):
    """A result that was edited by hand into something else does not reach the page."""
    path = keep(tmp_path)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "more": 1}))
    with pytest.raises(BenchError, match="more"):
        record.read(path)


@pytest.mark.parametrize(
    ("bound", "theirs", "value", "least", "most", "yes"),
    [
        ({"at_most": 0.5}, "peer", 0.375, 0.25, 0.5, True),
        ({"at_least": 0.4}, "peer", 0.375, 0.25, 0.5, False),
        ({"at_most": 2.5}, None, 3.0, 2.0, 4.0, False),
    ],
)
def test_a_ratio_is_of_medians_and_its_spread_of_rounds(bound, theirs, value, least, most, yes):
    """Without a peer the measure itself is held against its bound."""
    arms = {
        name: Side(tuple(rows), {"seconds": Spread(sorted(row["seconds"] for row in rows)[1], 0.0, 0.0)})
        for name, rows in SAMPLES.items()
    }
    goal = replace(Goal("seconds", "bench", theirs, None, None), **bound)
    assert record.reached(goal, arms) == record.Reached(value, least, most, yes)


def test_a_child_is_given_variables_and_folder_and_what_it_prints_is_kept(tmp_path):
    """Both streams go to the log."""
    code = "import os, sys; print(os.environ['ASKED'], os.getcwd(), file=sys.stderr); print('done')"
    log = tmp_path / "log.txt"
    sample = measuring.timed([sys.executable, "-c", code], env={"ASKED": "this"}, cwd=tmp_path, log=log)
    assert set(sample) == {"seconds", "peak_gib"}
    assert set(log.read_text().splitlines()) == {f"this {tmp_path}", "done"}


def test_a_child_that_fails_is_an_error_that_ends_with_what_it_said():
    """The cause of a failed benchmark is seen without looking for a log."""
    with pytest.raises(BenchError, match=r"status 3:\n(?s:.*)no such thing"):
        measuring.timed([sys.executable, "-c", "import sys; print('no such thing'); sys.exit(3)"])


def test_memory_is_that_of_the_whole_tree():
    """A child's child counts with its parent."""
    inner = "x = bytearray(80 << 20); print('ready', flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        whole = children._resident(child.pid)
        child.communicate(b"\n")
    assert whole > 80 << 20 or not children._PROC.is_dir()
    assert children._resident(child.pid) == 0


def test_the_page_tells_the_newest_result_of_each_question_and_machine(tmp_path, monkeypatch):
    """What was measured before stays in its file, and off the page."""
    monkeypatch.setenv("BENCH_MACHINE", "here")
    path = keep(tmp_path, notes=["A note."])
    day = record.read(path)
    later = replace(day.questions["merging"], measured="2999-01-01T00:00:00Z", title="Merging, later")
    (tmp_path / "2999-01-01-here.json").write_bytes(
        record.records.encode_indented(replace(day, questions={"merging": later}))
    )
    page = render.page(tmp_path).decode()
    assert "## Merging, later: here" in page
    assert "## Merging: here" not in page
    row = "| Merging, later | here | seconds of bench | peer | at most 0.5 | 0.375 [0.250, 0.500] | yes |"
    assert row in page
    assert "| bench | 3 | 3.00 [2.00, 4.00] |" in page
    assert "\n- A note.\n" in page


def test_a_missed_target_is_told_as_missed(tmp_path):
    """In words that the eye finds."""
    keep(tmp_path, targets=[replace(TARGET, at_most=0.1)])
    assert "| **no** |" in render.page(tmp_path).decode()


def test_a_page_of_other_bytes_fails_the_check(tmp_path, capsys):
    """And passes it once it is rendered."""
    keep(tmp_path / "results")
    words = ["--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]
    assert render.main([*words, "--check"]) == 1
    assert "python -m benchmarks.render" in capsys.readouterr().err
    assert render.main(words) == 0
    assert render.main([*words, "--check"]) == 0


def test_the_page_of_this_repository_is_what_its_results_give():
    """docs/performance.md is rendered, never written."""
    assert render.main(["--check"]) == 0


def test_quick_never_touches_the_kept_results(capsys):
    """A tiny version measures nothing: it must be told where else to write."""
    with pytest.raises(SystemExit):
        measuring.asked("", 3, ["--quick"])
    assert "--results" in capsys.readouterr().err


def test_repeats_are_one_or_more():
    """A benchmark without a repetition has no median."""
    with pytest.raises(SystemExit):
        measuring.asked("", 3, ["--repeats", "0"])


def test_the_command_line_is_measured(tmp_path):
    """The script runs: real processes, a small board of sound entries, every target judged."""
    assert command_line.main(["--quick", "--results", str(tmp_path)]) == 0
    (day,) = [record.read(path) for path in tmp_path.iterdir()]
    question = day.questions["command_line"]
    assert {goal.ours for goal in question.targets} == set(question.arms) - {command_line.BARE}


def test_the_checks_of_a_board_and_of_a_model_are_measured(tmp_path):
    """The script runs: a sound board is checked cold and against a base, and the trace of a real run is read."""
    assert checks.main(["--quick", "--results", str(tmp_path)]) == 0
    (day,) = [record.read(path) for path in tmp_path.iterdir()]
    *boards, model = day.questions["checks"].arms.values()
    assert len(boards) == 2
    assert 0 < model.measures["check_seconds"].median < model.measures["seconds"].median


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_both_ways_of_merging_give_the_same_weights(tmp_path):
    """What is timed against PEFT does PEFT's work: the tensors differ by rounding alone."""
    base = tiny_lora.recast(tiny.build(tmp_path / "tiny"), tmp_path / "base", torch.bfloat16)
    _folding.adapter(base, tmp_path / "lora")
    _folding.fold(base, tmp_path / "ours", tmp_path / "lora")
    _folding.peft(base, tmp_path / "theirs", tmp_path / "lora")
    ours, theirs, before = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs", "base"))
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=2**-7, atol=2**-9)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in ours.items())


def test_the_plain_loop_answers_the_prompts_that_bench_asks(tmp_path, monkeypatch):
    """Its prompts are written as text only where that text gives bench's own token ids."""
    monkeypatch.setattr(_scoring_peers, "MOST", 8)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    mirror = data(tmp_path / "data")
    asked = Peer(str(tiny.build(tmp_path / "model")), str(tmp_path), batch=2)
    _scoring_peers.write(asked, str(mirror), 3)
    assert len((tmp_path / "prompts.jsonl").read_text().splitlines()) == 3
    assert 3 <= _scoring_peers.loop(asked)["tokens"] <= 3 * 8


def data(folder):
    """A mirror of a few questions."""
    rows = [{"question": f"What is {number} and 1?", "answer": f"#### {number + 1}"} for number in range(5)]
    place = folder / "openai" / "gsm8k"
    (place / "main").mkdir(parents=True)
    (place / "main" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = "  data_files:\n  - split: test\n    path: main/test.jsonl\n"
    (place / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n{files}---\n")
    return folder


def test_the_wheel_holds_no_benchmark():
    """They are run in a clone."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert not any(name.startswith("benchmarks") for name in table["packages"])
    assert os.access(ROOT / "benchmarks" / "measuring.py", os.R_OK)


def test_a_trace_is_summed_by_kind_and_drawn_by_process(tmp_path):
    """While the command waits, its child's phases count; each process has a band, and names are escaped."""
    events = [
        {"ph": "M", "name": "process_name", "args": {"name": "bench"}, "pid": 1},
        {"ph": "M", "name": "process_name", "args": {"name": "a.b:train_in_child"}, "pid": 2},
        {"ph": "X", "name": "import torch", "ts": 0, "dur": 4e6, "pid": 1},
        {"ph": "X", "name": "wait", "ts": 4e6, "dur": 6e6, "pid": 1, "args": {"children": [2]}},
        {"ph": "X", "name": "train", "ts": 3e6, "dur": 6e6, "pid": 2},
        {"ph": "X", "name": "a < b", "ts": 5e6, "dur": 1e6, "pid": 2},
    ]
    file = tmp_path / "trace.json"
    file.write_text("[\n" + "".join(json.dumps(event) + ",\n" for event in events))
    sums = verdict.group_phases(file)
    assert {name: seconds for name, seconds in sums.items() if seconds} == {
        "imports_seconds": 4,
        "training_seconds": 4,
        "rest_seconds": 2,
    }
    drawing = ElementTree.fromstring(timeline.draw(file))
    space = "{http://www.w3.org/2000/svg}"
    assert [title.text for title in drawing.iter(f"{space}title")] == [
        "import torch, 4.0 s",
        "train, 6.0 s",
        "a < b, 1.0 s",
    ]
    assert {"bench", "training"} <= {text.text for text in drawing.iter(f"{space}text")}
