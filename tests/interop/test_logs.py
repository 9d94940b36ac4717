"""interop: logs of other tools, read, paired and compared like rows."""

import csv
import importlib.util
import json
import math
import random
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path

import lm_eval_side as side
import pytest
from baseline_bench import cli
from baseline_bench.analysis.outcomes import PairedDifference
from baseline_bench.analysis.statistics import PairCounts
from baseline_bench.commands import compare
from baseline_bench.core import archives, plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.interop import log_pairs
from baseline_bench.interop.sample_logs import read_log
from baseline_bench.results import completions, lookup
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA, ROOT

BOARDS = ROOT / "leaderboards"
ROWS = [f"2026-11-30-smollm2-135m-it-q4_1{row}" for row in ("-lora-1000-s0-b61ac373e5b8", "-33aa5eb635af")]
INSPECT = [DATA / "inspect" / f"{name}.eval" for name in ("before", "after")]


def run(first, second, **how) -> str:
    """What `bench compare` prints; `metric` may be one or several."""
    out, metric = StringIO(), how.pop("metric", None) or []
    how["metric"] = [metric] if isinstance(metric, str) else metric
    options = compare.Options(first=str(first), second=str(second), leaderboards=BOARDS, **how)
    assert compare.run(options, Console(out, StringIO())) == 0
    return out.getvalue()


def record(first, second, **how) -> dict:
    """What `bench compare --json` prints."""
    return json.loads(run(first, second, as_json=True, **how))


def refused(first, second, **how) -> BenchError:
    """The error of a comparison."""
    with pytest.raises(BenchError) as caught:
        run(first, second, **how)
    assert "\n" not in str(caught.value)
    return caught.value


def write_lines(path: Path, lines) -> Path:
    """A file of one JSON value a line."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def as_csv(path: Path, right: dict) -> Path:
    """Bits as a CSV."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "correct"), *((name, int(bit)) for name, bit in right.items())])
    return path


def as_lm_eval(path: Path, right: dict, name="strict-match") -> Path:
    """Bits as lm-eval's samples, each under two filters of which the other has everything wrong."""
    lines = [
        {"doc_id": int(place), "doc": {"question": f"{place}?"}, "target": place, "resps": [["#### 1"]]}
        | {"filtered_resps": ["1"], "filter": filtered, "metrics": ["exact_match"], "exact_match": value}
        for filtered in (name, "other")
        for place, value in ((place, float(bit and filtered == name)) for place, bit in right.items())
    ]
    return write_lines(path, lines)


def as_every_eval_ever(path: Path, right: dict) -> Path:
    """Bits as instance-level lines of Every Eval Ever."""
    lines = [
        {"schema_version": "0.3.0", "evaluation_id": "a/b/1", "model_id": f"org/{path.stem}", "evaluation_name": "sums"}
        | {"sample_id": f"sum-{place}", "interaction_type": "single_turn", "output": {"raw": [f"it is {bit}"]}}
        | {"input": {"raw": f"{place}?", "reference": [place]}, "evaluation": {"score": float(bit), "is_correct": bit}}
        | {"answer_attribution": [{"turn_idx": 0, "source": "output.raw", "extracted_value": str(bit)}]}
        for place, bit in right.items()
    ]
    return write_lines(path, lines)


def as_inspect(path: Path, right: dict) -> Path:
    """Bits as the `.json` form of a log of inspect."""
    samples = [
        {"id": int(place), "epoch": 1, "input": f"{place}?", "target": place, "output": {"completion": f"it is {bit}"}}
        | {"scores": {"match": {"value": "C" if bit else "I", "answer": str(bit)}}}
        for place, bit in right.items()
    ]
    log = {"version": 2, "status": "success", "eval": {"model": f"mock/{path.stem}"}, "samples": samples}
    path.write_text(json.dumps(log))
    return path


WRITERS = {"csv": as_csv, "jsonl": as_lm_eval, "eee.jsonl": as_every_eval_ever, "json": as_inspect}


@pytest.mark.parametrize("ending", WRITERS)
@settings(max_examples=25, deadline=None)
@given(
    table=st.lists(st.integers(0, 12), min_size=4, max_size=4).filter(any),
    seed=st.integers(0, 2**32),
    margin=st.sampled_from([None, 0.01, 0.2, 0.9]),
)
def test_generated_logs_of_every_kind_give_the_outcome_of_their_table(ending, tmp_path_factory, table, seed, margin):
    """The counts of both, of the first alone, of the second alone and of neither, whatever the order of the lines."""
    folder, draw = tmp_path_factory.mktemp("logs"), random.Random(seed)
    bits = [bit for bit, count in zip(((1, 1), (1, 0), (0, 1), (0, 0)), table, strict=True) for _ in range(count)]
    draw.shuffle(bits)
    sides = []
    for number, name in enumerate(("first", "second")):
        places = list(range(len(bits)))
        draw.shuffle(places)
        right = {str(place): bool(bits[place][number]) for place in places}
        sides.append(WRITERS[ending](folder / f"{name}.{ending}", right))
    metric = "exact_match,strict-match" if ending == "jsonl" else None
    found = record(*sides, metric=metric, margin=margin)
    expected = PairedDifference(PairCounts(*table), margin)
    numbers = found["numbers"]
    assert [numbers[kind] for kind in ("both", "won", "lost", "neither")] == table
    assert found["outcome"] == expected.outcome
    assert (numbers["low"], numbers["high"]) == pytest.approx(tuple(expected.interval), abs=1e-12)
    assert numbers["p"] == pytest.approx(expected.p)
    assert [flip["id"].removeprefix("sum-") for flip in found["flips"]] == [
        str(place) for place, (one, other) in enumerate(bits) if one != other
    ]


def test_reasons_are_told_as_far_as_a_log_tells(tmp_path):
    """A log of inspect tells of a cut answer and an unread one; a CSV tells nothing, and its items are listed by id."""
    found = record(*INSPECT, metric="match")
    assert {flip["id"]: (flip["won"], flip["cause"]) for flip in found["flips"]} == {
        "q2": (True, "answer"),
        "q3": (False, "answer"),
        "q4": (True, "unread"),
    }
    assert {flip["id"]: flip["cause"] for flip in record(*INSPECT, metric="includes")["flips"]}["q4"] == "stopping"
    printed = run(*INSPECT, metric="match")
    assert "The answer is 8" in printed
    assert "cut at the token limit" in printed
    markdown = run(*INSPECT, metric="match", markdown=True)
    assert markdown.count("<details>") == markdown.count("</details>") == 3
    logs = [as_csv(tmp_path / f"{name}.csv", {"a": bit, "b": not bit}) for name, bit in (("x", True), ("y", False))]
    assert [flip["cause"] for flip in record(*logs)["flips"]] == ["unknown", "unknown"]
    assert "1 won: a\n1 lost: b" in "\n".join(line.rstrip() for line in run(*logs).splitlines())


def test_every_id_of_logs_without_texts_is_shown(tmp_path):
    """Seven won items come first, and the lost one is not cut off behind them."""
    bits = {f"q{index}": index < 7 for index in range(8)}
    logs = [as_csv(tmp_path / "x.csv", bits), as_csv(tmp_path / "y.csv", {key: not bit for key, bit in bits.items()})]
    for shown in (run(*logs), run(*logs, markdown=True)):
        assert "7 won: q0, q1, q2, q3, q4, q5, q6" in shown
        assert "1 lost: q7" in shown


def test_the_same_text_judged_differently_is_its_own_reason(tmp_path):
    """Both filters of lm-eval read the same answer here."""
    one, other = (as_lm_eval(tmp_path / f"{name}.jsonl", {"0": name == "a"}) for name in "ab")
    found = record(one, other, metric="exact_match,strict-match")
    assert [flip["cause"] for flip in found["flips"]] == ["judgement"]


def test_several_metrics_are_named_and_one_is_chosen(tmp_path):
    """Two scorers, two filters, filters without names, and a metric that is not 0 or 1."""
    assert str(refused(*INSPECT)).endswith("match; includes")
    log = as_lm_eval(tmp_path / "a.jsonl", {"0": True, "1": False})
    assert refused(log, log).way_out.endswith("--metric: exact_match,strict-match; exact_match,other")
    assert refused(log, log, metric="acc").way_out.endswith("exact_match,strict-match; exact_match,other")
    old = [{key: line[key] for key in line if key not in ("filter", "metrics")} for line in lines_of(log)]
    unnamed = write_lines(tmp_path / "old.jsonl", old)
    assert refused(unnamed, unnamed).way_out.endswith("exact_match,unnamed-1; exact_match,unnamed-2")
    single = write_lines(tmp_path / "single.jsonl", old[:2])
    assert record(single, log, metric="exact_match,strict-match")["numbers"]["both"] == 1
    renamed = write_lines(tmp_path / "renamed.jsonl", [{**line, "filter": "none"} for line in lines_of(log)[:2]])
    strict = write_lines(tmp_path / "strict.jsonl", lines_of(log)[:2])
    assert "two metrics" in refused(renamed, strict).what


def lines_of(path: Path) -> list:
    """The values of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("value", [math.nan, 0.5, "C", None, [1], 10**400, 2])
@pytest.mark.parametrize("ending", ["jsonl", "eee.jsonl"])
def test_a_score_that_is_neither_right_nor_wrong_is_refused(ending, value, tmp_path):
    """NaN, a share, a text, nothing."""
    log = WRITERS[ending](tmp_path / f"a.{ending}", {"0": True, "1": False})
    lines = lines_of(log)
    holder, key = (lines[0], "exact_match") if ending == "jsonl" else (lines[0]["evaluation"], "score")
    holder[key] = value
    refused(write_lines(tmp_path / f"b.{ending}", lines), log, metric="exact_match,strict-match" * (ending == "jsonl"))


@pytest.mark.parametrize("ending", WRITERS)
def test_other_items_and_items_twice_are_refused_by_name(ending, tmp_path):
    """The difference names the ids and their number; nothing is intersected."""
    write = WRITERS[ending]
    metric = "exact_match,strict-match" if ending == "jsonl" else None
    one = write(tmp_path / f"a.{ending}", dict.fromkeys("0123", True))
    other = write(tmp_path / f"b.{ending}", dict.fromkeys("1239", True))
    what = refused(one, other, metric=metric).what
    assert what.count("1 of 4") == 2
    assert ("0)" in what, "9)" in what) == (True, True)
    if ending != "json":
        lines = other.read_text().splitlines(keepends=True)
        (tmp_path / f"c.{ending}").write_text("".join([*lines, lines[1]]))
        assert "more than one" in refused(one, tmp_path / f"c.{ending}", metric=metric).what


def test_equal_ids_with_other_questions_are_refused(tmp_path):
    """Two tasks number their documents from 0; ids alone prove nothing where the log holds the question."""
    one = as_lm_eval(tmp_path / "a.jsonl", {"0": True})
    lines = lines_of(one)
    for line in lines:
        line["doc"] = {"question": "another?"}
    other = write_lines(tmp_path / "b.jsonl", lines)
    assert "something else" in refused(one, other, metric="exact_match,strict-match").what
    (tmp_path / "a.csv").write_text("id,correct,question\n0,1,0?\n")
    (tmp_path / "b.csv").write_text("id,correct,question\n0,1,1?\n")
    assert "something else" in refused(tmp_path / "a.csv", tmp_path / "b.csv").what


def test_two_tools_are_paired_by_the_question(tmp_path):
    """Their ids differ; a question that is asked twice pairs nothing."""
    one = as_every_eval_ever(tmp_path / "a.jsonl", {"0": True, "1": False})
    other = as_inspect(tmp_path / "b.json", {"1": True, "0": True})
    found = record(one, other)
    assert (found["paired_by"], [flip["id"] for flip in found["flips"]]) == ("question", ["sum-1"])
    lines = [{**line, "input": {"raw": "same?", "reference": []}} for line in lines_of(one)]
    assert "twice" in refused(write_lines(tmp_path / "c.jsonl", lines), other).what


def test_each_log_of_two_tools_has_a_metric_of_its_own(tmp_path):
    """Both have several here: a metric of one is none of the other, so both are named."""
    log = as_lm_eval(tmp_path / "a.jsonl", {"0": True, "1": False})
    other = as_inspect(tmp_path / "b.json", {"0": True, "1": True})
    value = json.loads(other.read_text())
    for sample in value["samples"]:
        sample["scores"]["includes"] = {"value": "I"}
    other.write_text(json.dumps(value))
    found = record(log, other, metric=["exact_match,strict-match", "match"])
    assert (found["first"]["measure"], found["second"]["measure"]) == ("exact_match,strict-match", "match")
    assert (found["numbers"]["both"], found["numbers"]["lost"]) == (1, 1)
    assert "several" in refused(other, log, metric=["exact_match,strict-match", "match", "includes"]).what


@pytest.mark.parametrize("named", [True, False])
def test_samples_of_several_tasks_in_one_file_are_refused(named, tmp_path):
    """Each task numbers its documents from 0; a filter alone would take the items of the first task."""
    log = as_lm_eval(tmp_path / "a.jsonl", {"0": True, "1": False})
    lines = [*lines_of(log)[:2], *({**line, "doc": {"question": "of another task?"}} for line in lines_of(log)[2:])]
    if not named:
        lines = [{key: line[key] for key in line if key not in ("filter", "metrics")} for line in lines]
    both = write_lines(tmp_path / "b.jsonl", lines)
    metric = "exact_match,strict-match" if named else "exact_match,unnamed-1"
    assert "several documents" in refused(both, both, metric=metric).what


def test_every_sample_of_an_archive_counts_whatever_its_id(tmp_path):
    """HumanEval's ids hold a slash, and so do the members' names; an archive with a part of its run is refused."""
    log = as_inspect(tmp_path / "a.json", {"0": True, "1": False, "2": True})
    value = json.loads(log.read_text())
    samples, header = value.pop("samples"), value | {"results": {"completed_samples": 3}}
    names = ("HumanEval/0", "2", "odd \n?:*")
    for path, count in (("whole", 3), ("part", 2)):
        with zipfile.ZipFile(tmp_path / f"{path}.eval", "w") as archive:
            archive.writestr("header.json", json.dumps(header))
            archive.writestr("summaries.json", "[]")
            for name, sample in list(zip(names, samples, strict=True))[:count]:
                archive.writestr(f"samples/{name}_epoch_1.json", json.dumps({**sample, "id": name}))
    assert set(read_log(tmp_path / "whole.eval").items) == set(names)
    assert "2 of the 3 samples" in refused(tmp_path / "part.eval", tmp_path / "part.eval").what


def test_a_csv_has_one_column_of_each_name_however_it_is_written(tmp_path):
    """A column twice would win silently; the case of a name, blanks, a byte order mark and a long text do no harm."""
    plain, odd = as_csv(tmp_path / "a.csv", {"x": True, "y": False}), tmp_path / "b.csv"
    odd.write_bytes(b"\xef\xbb\xbfID, Correct ,text\r\nx,TRUE,%b\r\ny,0.0,\r\n" % (b"a" * 200_000))
    assert [record(plain, odd)["numbers"][kind] for kind in ("both", "won", "lost", "neither")] == [1, 0, 0, 1]
    for header in ("id,correct,correct", "id,correct,Correct", "id;correct;a", "id,id,correct"):
        odd.write_text(f"{header}\nx,1,0\ny,0,1\n")
        assert "one column" in refused(plain, odd).what


def test_options_of_other_comparisons_are_refused_for_logs(tmp_path):
    """A base or a metric that decides nothing would seem to have decided something."""
    log = as_csv(tmp_path / "a.csv", {"x": True})
    assert "--base" in refused(log, log, base="smollm2-135m-it-q4_1").what
    assert "--metric" in refused("recipe:a", "recipe:b", metric="acc").what


def test_names_of_any_length_make_a_line_that_can_be_read(tmp_path, capfd):
    """The ids of a stranger's log are in the error, of which both ends are shown."""
    log = as_csv(tmp_path / "a.csv", {"x" * 1_000_000: True})
    other = as_csv(tmp_path / "b.csv", {"y": True})
    assert cli.main(["compare", str(log), str(other)]) == 1
    told = capfd.readouterr().err
    assert len(told) < 10_000
    assert told.endswith("never intersected\n")


def test_a_run_of_inspect_that_did_not_finish_is_refused(tmp_path):
    """Its samples are a part, and those with an error have no score."""
    log = as_inspect(tmp_path / "a.json", {"0": True, "1": False})
    value = json.loads(log.read_text())
    (tmp_path / "b.json").write_text(json.dumps({**value, "status": "error"}))
    assert "did not finish" in refused(log, tmp_path / "b.json").what
    value["samples"][0] |= {"scores": {}, "error": {"message": "x"}}
    (tmp_path / "c.json").write_text(json.dumps(value))
    assert "no score" in refused(log, tmp_path / "c.json").what


def test_an_archive_is_read_within_limits(tmp_path, monkeypatch):
    """A member that decompresses to more than the limit, a damaged one, and a method that allocates at will."""
    bomb = tmp_path / "bomb.eval"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/a.json", b" " * 2**20)
    monkeypatch.setattr(archives, "DATA_LIMIT", 2**16)
    assert "decompressed" in refused(bomb, bomb).what
    with zipfile.ZipFile(tmp_path / "lzma.eval", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("samples/a.json", b" ")
    assert "unusual" in refused(tmp_path / "lzma.eval", bomb).what
    whole = INSPECT[0].read_bytes()
    for at in (10, 200, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.eval").write_bytes(whole[:at])
        refused(tmp_path / "cut.eval", INSPECT[0], metric="match")


@pytest.mark.skipif(
    importlib.util.find_spec("inspect_ai") is None,
    reason="inspect_ai, 325 MB, made the committed logs; without it they alone are read",
)
@pytest.mark.parametrize("log_format", ["eval", "json"])
def test_fresh_logs_of_inspect_are_read_like_the_committed_ones(log_format, tmp_path):
    """Where inspect_ai is installed; both of its formats."""
    subprocess.run([sys.executable, DATA / "inspect" / "make_logs.py", tmp_path, log_format], check=True)
    for log in INSPECT:
        assert read_log(tmp_path / f"{log.stem}.{log_format}", ["match"]).items == read_log(log, ["match"]).items


@pytest.fixture(scope="module")
def lm_eval_logs(tmp_path_factory):
    """The answers of two committed rows, as the real lm-eval logs and judges them on the exported task."""
    pytest.importorskip("lm_eval")
    from lm_eval import evaluator, tasks
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker

    class Answering(LM):
        def __init__(self, answers):
            super().__init__()
            self.answers = answers

        def generate_until(self, requests):
            return [self.answers[request.doc["question"]] for request in requests]

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    folder = tmp_path_factory.mktemp("lm-eval")
    assert cli.main(["export", "lm-eval", "word-problems", str(folder / "task")]) == 0
    manager = tasks.TaskManager(include_path=str(folder / "task"), include_defaults=False)
    name = next(each for each in manager.all_subtasks if each.endswith("_text"))
    questions = {one.id: one.question for one in plugins.load_task("word-problems").problems(Split("test"))}
    logs = []
    for row in ROWS:
        lines = completions.read_completions(BOARDS / "word-problems" / f"{row}.jsonl.gz")
        model = Answering({questions[line.id]: line.text for line in lines})
        loaded = manager.load(name)
        loaded["tasks"][name].set_fewshot_seed(1234)
        found = evaluator.evaluate(model, loaded, bootstrap_iters=0, log_samples=True)
        tracker = EvaluationTracker(str(folder / row))
        tracker.save_results_aggregated(found, found["samples"])
        tracker.save_results_samples(name, found["samples"][name])
        logs.append(next((folder / row).rglob("samples_*.jsonl")))
    return logs


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in side.OFFLINE:
        monkeypatch.setenv(name, "1")


def test_two_logs_of_the_real_lm_eval_are_compared(lm_eval_logs):
    """Its flexible filter judges nearly as we do; its two filters are two metrics."""
    ours = record(*ROWS)["numbers"]
    theirs = record(*lm_eval_logs, metric="exact_match,flexible-extract")
    assert theirs["outcome"] == "better"
    assert theirs["paired_by"].startswith("id; the content of 256 of 256")
    assert abs(theirs["numbers"]["won"] - ours["won"]) <= 5
    assert "strict-match" in refused(*lm_eval_logs).way_out


def test_a_log_of_lm_eval_against_our_row_is_paired_by_the_question(lm_eval_logs):
    """Our task knows its questions, proven by the row's digest; the same answers flip only where the judges differ."""
    found = record(lm_eval_logs[0], ROWS[0], metric="exact_match,flexible-extract")
    assert (found["paired_by"], found["second"]["tool"]) == ("question", "bench")
    assert {flip["cause"] for flip in found["flips"]} <= {"judgement", "unread"}
    assert len(found["flips"]) <= 5
    across = record(ROWS[0], lm_eval_logs[1], metric="exact_match,flexible-extract")
    assert across["outcome"] == "better"


def test_a_csv_against_our_row_is_paired_by_the_problem_s_id(tmp_path):
    """A CSV of one row's bits gives the numbers of the two rows; another problem is refused."""
    entry = lookup.find_entry(ROWS[0], BOARDS)
    right = {name: item.correct for name, item in log_pairs.read_row(entry, {}).items.items()}
    ours, theirs = record(*ROWS), record(as_csv(tmp_path / "a.csv", right), ROWS[1])
    assert {**theirs["numbers"], "flips": None} == {**ours["numbers"], "flips": None}
    del right[next(iter(right))]
    assert "1 of 256" in refused(as_csv(tmp_path / "b.csv", right), ROWS[1]).what
