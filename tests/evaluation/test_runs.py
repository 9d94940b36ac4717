"""evaluation.runs: a run's folder survives whatever happens to its process."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Judgement, LogLikelihood, Problem
from baseline_bench.evaluation import runs

SETTINGS = {"task": "sums", "dtype": "float32", "limit": None}
ANSWER = Completion("#### 5 – fünf", (1, 2, 3), "stop")


def test_a_finished_answer_is_there_when_the_run_is_opened_again(tmp_path):
    """All of it comes back as it was, half an emoji too, and is in the file as soon as it is stored."""
    measured = LogLikelihood(-1.5, True, 2)
    further = Completion("half \ud83d an emoji", (4,), "stop", answer_start=5)
    kept = {
        "test-0": ANSWER,
        "test-1": Completion("", None, "length"),
        "test-2": Completion("<think>.</think>5", (1,), "stop", (further,), 16, (measured,)),
    }
    folder = tmp_path / "runs" / "run"
    with runs.Run(folder, SETTINGS) as run:
        for number, (name, completion) in enumerate(kept.items(), 1):
            run.append(name, completion)
            assert len(runs.read_completions(folder)) == number
    with runs.Run(folder, SETTINGS) as run:
        assert run.finished == runs.read_completions(folder) == kept


def test_a_run_s_files_are_the_documented_ones(tmp_path):
    """Golden: other versions resume and regrade them."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
    told = (tmp_path / "run.json").read_text()
    assert json.loads(told) | {"started": ""} == {
        "schema": 1,
        "key": "89639a73c8d6",
        "settings": SETTINGS,
        "started": "",
    }
    assert told == json.dumps(json.loads(told), indent=2, sort_keys=True) + "\n"
    assert (tmp_path / "completions.jsonl").read_text() == (
        '{"key": "89639a73c8d6", "id": "test-0", "text": "#### 5 \\u2013 f\\u00fcnf", "token_ids": [1, 2, 3], '
        '"finish": "stop"}\n'
    )


@pytest.mark.parametrize("torn", [b'{"key": "x', b'{"id": "test-1"}', b"\xff\x00\x00"])
def test_a_torn_last_line_is_dropped_and_cut_off(tmp_path, torn):
    """What a kill left of a line is removed, so that the next line does not grow onto it."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
    with (tmp_path / "completions.jsonl").open("ab") as file:
        file.write(torn)
    with runs.Run(tmp_path, SETTINGS) as run:
        assert set(run.finished) == {"test-0"}
        run.append("test-1", ANSWER)
    assert set(runs.read_completions(tmp_path)) == {"test-0", "test-1"}


def test_a_temporary_file_of_a_killed_process_is_removed(tmp_path):
    """The run's lock is held by then, so nobody writes it any more; the user's own file stays."""
    (left, own) = (tmp_path / f".engine.json.{'0' * 32}.tmp", tmp_path / ".notes.tmp")
    left.touch()
    own.touch()
    runs.Run(tmp_path, SETTINGS).close()
    assert (left.exists(), own.exists()) == (False, True)


def test_an_answer_is_kept_once(tmp_path):
    """A second answer to one problem is a bug of the engine and never overwrites the first."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
        with pytest.raises(ValueError, match="finished before"):
            run.append("test-0", ANSWER)


def test_a_resume_under_other_settings_is_refused_with_all_that_differs(tmp_path):
    """Every setting that changed is named with both values, and so is the way out."""
    runs.Run(tmp_path, SETTINGS).close()
    with pytest.raises(BenchError) as error:
        runs.Run(tmp_path, {**SETTINGS, "dtype": "bfloat16", "limit": 8})
    assert "dtype was float32, now bfloat16; limit was None, now 8" in str(error.value)
    assert "--again" in str(error.value)


def test_an_unfinished_run_that_recorded_no_identity_is_of_an_older_version(tmp_path):
    """What the model's configuration was is not known: it is neither resumed nor told as a change of settings."""
    runs.Run(tmp_path, SETTINGS).close()
    with pytest.raises(BenchError, match="by an older version"):
        runs.Run(tmp_path, {**SETTINGS, "chat template": "0" * 12})


def test_a_setting_of_the_model_that_was_not_stored_was_the_default(tmp_path):
    """Only what differs from a class's default is stored; of other settings nothing is known."""
    first, second = {"config.json a": 1, "config.json b": 2}, {"config.json a": 1, "seed": 3}
    runs.Run(tmp_path, {**SETTINGS, **first}).close()
    runs.Run(tmp_path, {**SETTINGS, **first}).close()
    with pytest.raises(BenchError) as error:
        runs.Run(tmp_path, {**SETTINGS, **second})
    assert "(config.json b was 2, now the default; seed was None, now 3)" in error.value.what


def test_a_finished_run_of_an_older_version_is_matched_without_the_identity(tmp_path):
    """Once it is finished, nothing is asked any more; one that recorded an identity is held to it."""
    settings = {**SETTINGS, "config.json a": 1}
    assert runs.match_recorded_settings(tmp_path, settings) == settings
    for recorded, matched in ((SETTINGS, SETTINGS), ({**SETTINGS, "config.json b": 2}, settings)):
        runs.write_json(tmp_path / "run.json", {"settings": recorded})
        (tmp_path / "entry.json").unlink(missing_ok=True)
        assert runs.match_recorded_settings(tmp_path, settings) == settings
        (tmp_path / "entry.json").write_text("{}")
        assert runs.match_recorded_settings(tmp_path, settings) == matched
    (tmp_path / "run.json").write_text("{")
    assert runs.match_recorded_settings(tmp_path, settings) == settings


def test_a_run_may_go_on_with_another_number_of_gpus(tmp_path):
    """All numbers are told in their turn, one where it was one throughout is not, and nothing is refused."""
    told = []
    for place, numbers in enumerate(([1, 1], [4, 4], [4, 1, 4], [1, 2])):
        for number in numbers:
            with runs.Run(tmp_path / str(place), SETTINGS) as run:
                run.confirm({"device": "cuda"} | ({} if number == 1 else {"setting gpus": number}))
                run.append(f"test-{len(run.finished)}", ANSWER)
        told.append(runs.read_json(tmp_path / str(place) / "engine.json").get("setting gpus"))
    assert told == [None, 4, "4, then 1", "1, then 2"]


def test_a_resume_on_another_device_is_refused(tmp_path):
    """What the engine resolved is held to as well, once an answer depends on it."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.confirm({"device": "cpu"})
        run.append("test-0", ANSWER)
    with runs.Run(tmp_path, SETTINGS) as run, pytest.raises(BenchError, match="device was cpu, now cuda"):
        run.confirm({"device": "cuda"})


def test_resolved_settings_bind_once_an_answer_depends_on_them(tmp_path):
    """A run without an answer may move to another device; one that never stored its device takes the first."""
    for device in ("cpu", "half \ud83d"):
        with runs.Run(tmp_path / "empty", SETTINGS) as run:
            run.confirm({"device": device})
            assert run.resolved == {"device": device}
    with runs.Run(tmp_path / "empty", SETTINGS) as run:
        assert run.resolved == {"device": "half \ud83d"}
    with runs.Run(tmp_path / "answered", SETTINGS) as run:
        run.append("test-0", ANSWER)
        with pytest.raises(BenchError, match="no engine"):
            _ = run.resolved
        run.confirm({"device": "cuda"})


def test_a_run_belongs_to_one_process_at_a_time(tmp_path):
    """A second opening is refused while the first holds the folder, and the first is not disturbed."""
    with runs.Run(tmp_path, SETTINGS) as run:
        with pytest.raises(BenchError, match=f"process {os.getpid()} on this host"):
            runs.Run(tmp_path, SETTINGS)
        run.append("test-0", ANSWER)
    with runs.Run(tmp_path, SETTINGS) as run:
        assert set(run.finished) == {"test-0"}


def fail(folder, *answered: str) -> None:
    """Open a run, store these answers, and fail."""
    with runs.Run(folder, SETTINGS) as run:
        for name in answered:
            run.append(name, ANSWER)
        raise KeyError


def test_a_run_that_fails_before_its_first_answer_leaves_nothing(tmp_path):
    """A folder that held something else keeps it; with an answer the run stays, to be resumed."""
    with pytest.raises(KeyError):
        fail(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KeyError):
        fail(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(KeyError):
        fail(tmp_path / "run", "test-0")
    with pytest.raises(KeyError):
        fail(tmp_path / "run")
    with runs.Run(tmp_path / "run", SETTINGS) as run:
        assert set(run.finished) == {"test-0"}


def test_a_run_that_fails_keeps_the_answers_to_single_requests(tmp_path):
    """A problem of several requests may have been answered in part; the engine must be the same then, too."""

    def fail_half_way():
        with runs.Run(tmp_path, SETTINGS) as run:
            run.confirm({"device": "cpu"})
            run.keep("test-0, choice 1", ANSWER)
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    with runs.Run(tmp_path, SETTINGS) as run:
        assert (run.finished, run.kept) == ({}, {"test-0, choice 1": ANSWER})
        with pytest.raises(BenchError, match="device was cpu, now cuda"):
            run.confirm({"device": "cuda"})


def test_a_run_that_is_refused_lets_go_of_its_folder(tmp_path):
    """It keeps the files that were there, and the right settings open it at once."""
    runs.Run(tmp_path, SETTINGS).close()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BenchError, match="other settings"):
        runs.Run(tmp_path, {**SETTINGS, "limit": 8})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    runs.Run(tmp_path, SETTINGS).close()


def test_a_new_run_that_cannot_be_opened_leaves_nothing(tmp_path, monkeypatch):
    """Its settings were written before, and are removed."""
    monkeypatch.setattr(runs.Run, "_completions", lambda run, name: {}[name])
    with pytest.raises(KeyError):
        runs.Run(tmp_path / "run", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_answers_of_another_run_are_not_taken_over(tmp_path):
    """Each line carries its run's key; model B never gets model A's answers."""
    with runs.Run(tmp_path / "a", SETTINGS) as run:
        run.append("test-0", ANSWER)
    runs.Run(tmp_path / "b", {**SETTINGS, "task": "other"}).close()
    (tmp_path / "b" / "completions.jsonl").write_bytes((tmp_path / "a" / "completions.jsonl").read_bytes())
    with pytest.raises(BenchError, match="another run"):
        runs.Run(tmp_path / "b", {**SETTINGS, "task": "other"})


def test_a_problem_that_is_answered_twice_is_refused(tmp_path):
    """Two processes wrote, or somebody joined two files."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
    file = tmp_path / "completions.jsonl"
    file.write_bytes(file.read_bytes() * 2)
    with pytest.raises(BenchError, match="another run"):
        runs.Run(tmp_path, SETTINGS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_one_clear_line(tmp_path):
    """What the system says is passed on with the way out, and the answer is not counted as kept."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run._file.close()
        run._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed with the run
        with pytest.raises(BenchError, match="No space left on device"):
            run.append("test-0", ANSWER)
        assert run.finished == {}


def test_an_answer_that_was_written_in_part_is_an_error(tmp_path):
    """A file may take less than it was given without a word."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run._file.close()
        run._file = SimpleNamespace(write=lambda data: len(data) - 1, close=lambda: None)
        with pytest.raises(BenchError, match="No space left on device"):
            run.append("test-0", ANSWER)


@pytest.mark.parametrize(("line", "told"), [(1, "line 1 is damaged"), (2, "line 2 is damaged")])
def test_a_damaged_line_is_named(tmp_path, line, told):
    """Only the last line may be torn."""
    with runs.Run(tmp_path, SETTINGS) as run:
        for number in range(3):
            run.append(f"test-{number}", ANSWER)
    lines = (tmp_path / "completions.jsonl").read_bytes().split(b"\n")
    lines[line - 1] = lines[line - 1][:-4]
    (tmp_path / "completions.jsonl").write_bytes(b"\n".join(lines))
    for read in (lambda: runs.Run(tmp_path, SETTINGS), lambda: runs.read_completions(tmp_path)):
        with pytest.raises(BenchError, match=told):
            read()


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"settings": 3}', '{"settings": null}'])
def test_a_record_without_settings_is_a_damaged_run(tmp_path, text):
    """JSON of another shape is no bug of bench's."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
    (tmp_path / "run.json").write_text(text)
    for read in (lambda: runs.Run(tmp_path, SETTINGS), lambda: runs.read_task_name(tmp_path)):
        with pytest.raises(BenchError) as raised:
            read()
        assert str(tmp_path / "run.json") in raised.value.what


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_an_engine_s_record_that_is_no_object_is_a_damaged_run(tmp_path, text):
    """Neither a resumed run nor its entry takes it for settings."""
    with runs.Run(tmp_path, SETTINGS) as run:
        run.append("test-0", ANSWER)
        run.confirm({"device": "cpu"})
    (tmp_path / "engine.json").write_text(text)
    with runs.Run(tmp_path, SETTINGS) as run:
        for read in (lambda: run.confirm({"device": "cpu"}), lambda: run.resolved):
            with pytest.raises(BenchError) as raised:
                read()
            assert str(tmp_path / "engine.json") in raised.value.what


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        runs.Run(tmp_path / "file" / "run", SETTINGS)


def test_problems_and_verdicts_come_back_in_order(tmp_path):
    """Line separators and control characters inside a question break nothing."""
    problems = [Problem("b", "two\u2028lines\x85 | and", "5", ""), Problem("a", "", "-1", "")]
    verdicts = [
        Judgement("b", None, "no-number", False, False, "length"),
        Judgement("a", "5", "hash", True, True, "stop"),
    ]
    runs.write_problems(tmp_path, problems)
    runs.write_judgements(tmp_path, verdicts)
    assert (runs.read_problems(tmp_path), runs.read_judgements(tmp_path)) == (problems, verdicts)


def test_a_folder_that_is_no_run_says_what_to_give(tmp_path):
    """Reading commands name what a run is; one that was never graded has no judgement."""
    assert runs.read_judgements(tmp_path) == []
    with pytest.raises(BenchError, match="no run in"):
        runs.read_completions(tmp_path)
    with pytest.raises(BenchError, match="no run in"):
        runs.read_problems(tmp_path)


def test_a_json_file_is_replaced_whole(tmp_path):
    """No temporary file is left beside it."""
    for value in ({"a": 1}, {"a": 2}):
        runs.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
