"""commands.verify: how far an entry can be checked again, and what each level takes."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.commands import reproduce, verify
from baseline_bench.commands.verify import Options
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest
from baseline_bench.evaluation import runs
from baseline_bench.results import entries, noise, retractions
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import (
    CommittedCompletion,
    decompress_file,
    parse_completions,
    serialise_completions,
)
from baseline_bench.results.entry import Entry
from baseline_bench.results.noise import NoiseRecord, NoiseRun
from baseline_bench.tasks import _answers, word_problems
from paths import ROOT

BOARD = ROOT / "leaderboards" / "gsm8k"
OPTIONS = ("-o", "dtype=float32", "-o", "device=cpu", "-o", "batch_size=3")


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """A folder with a tiny model and a board with its row: four answers by transformers in float32 on the CPU."""
    place = tmp_path_factory.mktemp("scored")
    model = tiny.build(place / "model", "chatml")
    words = ["score", str(model), "--task", "word-problems", "--limit", "4", "--engine", "transformers", *OPTIONS]
    assert cli.main([*words, "--leaderboards", str(place / "leaderboards"), "--runs", str(place / "scoring")]) == 0
    return place


@pytest.fixture
def place(scored, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(scored, tmp_path / "there"))


def entry_of(place: Path) -> Path:
    """The one row."""
    (path,) = (place / "leaderboards" / "word-problems").glob("*.json")
    return path


def order(place: Path, level: int, **changed: object) -> Options:
    """The row to be checked with the model beside it."""
    plain = Options(
        entries=[entry_of(place)],
        level=level,
        model=str(place / "model"),
        options=[],
        again=False,
        tasks=[],
        runs=place / "runs",
        mirror=None,
        cache=place / "cache",
        words="bench verify entry",
        commit="0" * 40,
    )
    return replace(plain, **changed)


def options_in(folder: Path, name: str, mirror: Path | None = None) -> Options:
    """An entry to be graded again, everything in one folder."""
    return Options(entries=[folder / name], runs=folder, cache=folder, mirror=mirror, words="bench verify")


def verified(asked: Options) -> tuple[int, str]:
    """(exit status, what is printed)."""
    data = io.StringIO()
    status = verify.run(asked, Console(data, io.StringIO()))
    return status, data.getvalue()


def said(place: Path) -> tuple[retractions.Verification, ...]:
    """The records on the board."""
    return retractions.read_records(entry_of(place).parent).verifications


def forge(place: Path, change: Callable[[CommittedCompletion], CommittedCompletion]) -> None:
    """Replace the row by one whose completions are others, every digest worked out again."""
    path = entry_of(place)
    entry, beside = entries.read_entry(path), entries.completions_path(path)
    lines = [change(line) for line in parse_completions(decompress_file(beside), beside.name)]
    told = hashlib.sha256(serialise_completions(lines)).hexdigest()
    result = replace(entry.result, completions_sha256=told, solutions=None)
    for old in path.parent.glob(f"{path.name.removesuffix('.json')}*"):
        old.unlink()
    entries.write_entry(Entry.of(result, entry.created, entry.timings), lines, path.parent)


def band(entry: Entry, right: tuple[int, ...]) -> NoiseRecord:
    """A noise record of the entry's own model and engine, whose runs have so many of its items right."""
    of, items = entry.result, entry.result.counts.total
    none = Bits.of([]).correct.rjust(-(-items // 4), "0")
    traces = [[f"{place}-{place < count}" for place in range(items)] for count in right]
    ones = [f"{((1 << count) - 1) << (4 * len(none) - count):0{len(none)}x}" for count in right]
    return NoiseRecord(
        schema=1,
        created="2026-11-22T12:00:00Z",
        candidate=of.candidate,
        task=of.task,
        selection=of.selection,
        model=of.model,
        prompts_sha256=of.prompts_sha256,
        engine=of.engine,
        provenance=of.provenance,
        runs=tuple(
            NoiseRun("all", items, bits, none, none, digest(own), None, None)
            for bits, own in zip(ones, traces, strict=True)
        ),
        pairs=noise.pair_runs(traces),
        passes=None,
    )


def test_a_row_of_an_older_reader_is_generated_again(tmp_path, monkeypatch):
    """Level 2 plans the task as the version that the entry names."""
    model = tiny.build(tmp_path / "model", "chatml")
    with monkeypatch.context() as past:
        for name, value in (
            ("LABEL", "word-problems-1shot@v1"),
            ("READER", "final-number@v1"),
            ("grade", _answers.EARLIER_READERS["final-number@v1"]),
        ):
            past.setattr(word_problems, name, value)
        words = ["score", str(model), "--task", "word-problems", "--limit", "2", "--engine", "transformers", *OPTIONS]
        assert (
            cli.main([*words, "--leaderboards", str(tmp_path / "leaderboards"), "--runs", str(tmp_path / "old")]) == 0
        )
    assert entries.read_entry(entry_of(tmp_path)).result.task.label == "word-problems-1shot@v1"
    status, text = verified(order(tmp_path, 2))
    assert status == 0, text
    assert [record.level for record in said(tmp_path)] == [2]


def test_level_0_takes_the_entry_alone(place):
    """The record says what was looked at and what the next level takes, and names the entry by its content."""
    status, page = verified(order(place, 0))
    assert status == 0
    (record,) = said(place)
    assert record.level == 0
    assert record.entry_sha256 == hashlib.sha256(entry_of(place).read_bytes()).hexdigest()
    assert record.missing == (verify.NEXT_LEVEL[0],)
    assert record.provenance.command == "bench verify entry"
    assert "0 (asked: 0)" in page


def test_level_1_grades_the_committed_completions_again(place):
    """By the task's own golds, for this task brings its data; what level 2 takes is told with engine and device."""
    assert verified(order(place, 1))[0] == 0
    (record,) = said(place)
    assert record.level == 1
    assert "golds: the task's own" in record.found[-1]
    assert "transformers" in record.missing[0]


def test_a_real_row_reaches_level_1_without_its_weights(tmp_path):
    """A row of the board whose data is not at hand is graded by its committed golds, and the record says so."""
    source = next(iter(sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-full-main-s0-*.json"))))
    for path in BOARD.glob(f"{source.name.removesuffix('.json')}*"):
        shutil.copy(path, tmp_path / path.name)
    asked = options_in(tmp_path, source.name)
    assert verified(asked)[0] == 0
    (record,) = retractions.read_records(tmp_path).verifications
    assert record.level == 1
    assert "those committed" in record.found[-1]
    assert "vllm 0.26.0" in record.missing[0]
    assert "H100" in record.missing[0]


def test_a_folder_without_the_task_s_data_says_nothing_against_a_row(tmp_path):
    """It stays at level 0, and the folder is named."""
    source = next(iter(sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-full-main-s0-*.json"))))
    for path in BOARD.glob(f"{source.name.removesuffix('.json')}*"):
        shutil.copy(path, tmp_path / path.name)
    (tmp_path / "empty").mkdir()
    mirror = tmp_path / "empty"
    asked = options_in(tmp_path, source.name, mirror)
    status, page = verified(asked)
    assert status == 1
    (record,) = retractions.read_records(tmp_path).verifications
    assert record.level == 0
    assert "openai/gsm8k" in record.missing[0]
    assert "contradict" not in page


def test_answers_that_come_out_token_for_token_again_reach_level_2(place):
    """The engine's settings are those of the entry; nothing was unlike."""
    status, page = verified(order(place, 2))
    assert status == 0
    (record,) = said(place)
    assert record.level == 2
    assert record.found[-1] == "generated again: all 4 answers came out token for token again"
    assert record.missing == (verify.NEXT_LEVEL[2],)
    assert "2 (asked: 2)" in page
    (folder,) = (place / "runs").iterdir()
    resolved = json.loads((folder / "engine.json").read_text())
    assert (resolved["setting dtype"], resolved["setting batch_size"]) == ("float32", 3)


def test_a_completion_that_no_weights_gave_is_caught(place):
    """Every digest was made to fit and level 1 is content, for the number read is the same; the tokens are not."""
    path = entry_of(place)
    first = parse_completions(decompress_file(entries.completions_path(path)), "here")[0]
    text = f"{first.text[:5]} ~ {first.text[8:]}"
    forged = replace(first, text=text, ids_sha256=digest([1, 2, 3])[:16])
    forge(place, lambda line: forged if line.id == first.id else line)
    status, page = verified(order(place, 2))
    assert status == 1
    (record,) = said(place)
    assert record.level == 1
    assert record.found[-1].startswith(
        "generated again: 1 of 4 answers differ in their tokens, the earliest from token"
    )
    assert record.missing[0] == "level 2: every answer equal in every token"
    assert "1 (asked: 2)" in page


@pytest.mark.parametrize("level", [2, 3])
def test_a_text_that_its_tokens_do_not_give_is_caught(place, level):
    """Whoever edits a text and leaves the digest of its tokens reaches level 1 and no further, whatever the noise."""
    noise.write_record(band(entries.read_entry(entry_of(place)), (0, 4)), entry_of(place).parent)
    forge(place, lambda line: replace(line, text=f"~{line.text}"))
    status, page = verified(order(place, level))
    assert status == 1
    (record,) = said(place)
    assert record.level == 1
    assert record.missing[0].startswith("levels 2 and 3: 4 of 4 answers are committed otherwise than their tokens give")
    assert f"1 (asked: {level})" in page


def test_a_changed_digest_alone_is_caught(place):
    """The text is the one that comes out, and the ids are said to be others."""
    forge(place, lambda line: replace(line, ids_sha256=digest([line.id])[:16]))
    assert verified(order(place, 2))[0] == 1
    assert (
        said(place)[0].found[-1] == "generated again: 4 of 4 answers differ in their tokens, none of them in its text"
    )


def test_what_was_not_as_for_the_entry_is_named(place):
    """Another batch size may well give the same tokens; then the level is reached, and the difference told."""
    verified(order(place, 2, options=["batch_size=1"]))
    assert "unlike: setting batch_size: 3 for the entry, 1 here" in said(place)[0].found


def test_other_weights_are_refused_before_anything_is_generated(place):
    """Which weights are wanted is told; the record is that of level 1, for nothing was learnt of the entry."""
    tiny.build(place / "other", "chatml", seed=1)
    verified(order(place, 1))
    status, page = verified(order(place, 2, model=str(place / "other")))
    assert status == 1
    (record,) = said(place)
    assert record.level == 1
    assert "before level 2" in page
    assert "the entry's are" in page
    assert not (place / "runs").exists()


def test_an_entry_that_contradicts_itself_gets_no_record(place):
    """Neither edited numbers nor edited completions leave a record; the status is 1 and the reason is told."""
    path = entry_of(place)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"transformers ", b"transformerz ", 1))
    status, page = verified(order(place, 0))
    assert (status, said(place)) == (1, ())
    assert "level 0 fails" in page
    path.write_bytes(good)
    forge(place, lambda line: replace(line, text=f"{line.text} #### {line.gold}"))
    status, page = verified(order(place, 1))
    assert (status, said(place)) == (1, ())
    assert "level 1 fails: the correct bits do not follow" in page


@pytest.mark.parametrize("part", [{"name": "strange", "label": "strange-0shot@v1"}, {"reader": "other@v9"}])
def test_what_cannot_be_graded_here_does_not_contradict_itself(place, part):
    """A task or a reader that is not here keeps an entry at level 0, with a record; it is no fault of the entry."""
    path = entry_of(place)
    entry, beside = entries.read_entry(path), entries.completions_path(path)
    lines = parse_completions(decompress_file(beside), beside.name)
    result = replace(entry.result, task=replace(entry.result.task, **part), solutions=None)
    for old in path.parent.glob(f"{path.name.removesuffix('.json')}*"):
        old.unlink()
    entries.write_entry(Entry.of(result, entry.created, entry.timings), lines, path.parent)
    status, page = verified(order(place, 1))
    assert status == 1
    (record,) = said(place)
    assert record.level == 0
    assert "here" in record.missing[0]
    assert "contradict" not in page


def test_level_3_lacks_a_noise_record(place):
    """Equal tokens are level 2; without recorded noise there is no band to lie in."""
    status, _ = verified(order(place, 3))
    assert status == 1
    (record,) = said(place)
    assert record.level == 2
    assert "a noise record" in record.missing[0]


def test_level_3_is_a_score_inside_the_recorded_noise(place):
    """Tokens that differ do not keep a score from lying inside; the record says both."""
    forge(place, lambda line: replace(line, ids_sha256=digest([line.id])[:16]))
    noise.write_record(band(entries.read_entry(entry_of(place)), (0, 2, 1)), entry_of(place).parent)
    assert verified(order(place, 3))[0] == 0
    (record,) = said(place)
    assert (record.level, record.missing) == (3, ())
    assert "4 of 4 answers differ" in record.found[2]
    assert "3 runs of these weights call" in record.found[-1]


def test_a_score_outside_the_noise_does_not_reach_level_3(place):
    """Runs that were equal in every token leave no room at all."""
    path = entry_of(place)
    entry = entries.read_entry(path)
    record = band(entry, (1, 1))
    here = verify.LevelReached(1, (), ("level 2: ...", verify.NEXT_LEVEL[2]), "CPU")
    outcome = reproduce.Reproduction(4, (1,), 0, entry.result.counts.correct + 1, (), "CPU", None)
    noise.write_record(record, path.parent)
    found = verify._verify_within_noise(path, entry, outcome, here)
    assert found.level == 1
    assert "1 or more a difference" in found.missing[-1]


def test_noise_of_another_engine_or_device_is_no_band(place):
    """Only a record of the same weights, prompts, engine, settings and device counts; of several the newest."""
    entry = entries.read_entry(entry_of(place))
    fitting = band(entry, (0, 1))
    others = [
        replace(fitting, engine=replace(fitting.engine, version="transformers 1")),
        replace(fitting, engine=replace(fitting.engine, settings={})),
        replace(fitting, provenance=replace(fitting.provenance, device="another")),
        replace(fitting, model=replace(fitting.model, weights_sha256="0" * 64)),
        replace(fitting, prompts_sha256="0" * 64),
    ]
    assert verify.find_noise_record(entry, others) is None
    newer = replace(fitting, created="2026-11-23T12:00:00Z")
    assert verify.find_noise_record(entry, [fitting, newer, *others]) is newer


def test_the_same_finding_is_not_written_twice(place):
    """A board that is verified every night does not grow by it."""
    verified(order(place, 1))
    verified(order(place, 1, words="bench verify the same entry"))
    assert len(said(place)) == 1


def test_a_killed_verification_goes_on_and_a_finished_one_begins_anew(place):
    """Finished answers are kept until all are compared; then nothing of them is trusted by the next one."""
    verified(order(place, 2))
    (folder,) = (place / "runs").iterdir()
    lines = (folder / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "completions.jsonl").write_bytes(b"".join(lines[:2]))
    (folder / "verdicts.jsonl").unlink()
    assert verified(order(place, 2))[0] == 0
    assert len(runs.read_completions(folder)) == 4
    verified(order(place, 2))
    assert len(list((place / "runs").iterdir())) == 2


def test_a_level_that_there_is_not_is_refused(place):
    """There are four."""
    with pytest.raises(BenchError, match="there is no level 4"):
        verified(order(place, 4))
