"""results.candidate: a training's record and loss history, in its folder and in the entries of its rows."""

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_indented
from baseline_bench.core.types import Step
from baseline_bench.rendering import checking, leaderboard
from baseline_bench.results import audit, candidate, entries
from baseline_bench.results.candidate import (
    BaseRecord,
    Candidate,
    DataRecord,
    LossLog,
    MergeSummary,
    TrainingCost,
    TrainingRecord,
)
from baseline_bench.results.completions import decompress_file
from baseline_bench.results.entry import Entry
from hypothesis import given
from hypothesis import strategies as st
from samples import answers, entry, regrade, result, sha

MERGE = MergeSummary("bfloat16", sha("base"), sha("adapter"), sha("merged"), 14, 9, 0.31, None, 1e-4, 0.99, 300)


def step(number: int, loss: float = 2.0, seconds: float = 0.0, supervised: int = 10) -> Step:
    """One of ten steps of four rows."""
    return Step(number, 10, loss, 1e-4, 0.5, 4, 100, supervised, seconds)


def history(folder: Path, *steps: Step) -> bytes:
    """The bytes of the loss history of these steps."""
    losses = LossLog(folder)
    for one in steps:
        losses.append(one)
    return losses.path.read_bytes()


def _cost(steps: list[Step]) -> TrainingCost:
    """What follows from the steps, and a machine."""
    seconds, speed = candidate.sum_seconds(steps), candidate.compute_samples_per_second(steps)
    return TrainingCost(len(steps), 4 * len(steps), 100 * len(steps), 10 * len(steps), seconds, speed, 2**30, "CPU", 1)


def made(losses: bytes) -> Candidate:
    """The record of a training with this loss history."""
    steps = candidate.parse_steps(losses)
    return Candidate(
        schema=1,
        created="2026-11-22T12:00:00Z",
        recipe="lora-main",
        recipe_sha256=sha("recipe"),
        values={"lr": 1e-4, "max_steps": None, "targets": "q_proj,v_proj", "batch": 4},
        seed=0,
        base=BaseRecord("tiny", "folder", None, None, sha("base"), sha("tokenizer"), None),
        data=DataRecord("rows.jsonl", sha("rows"), 40, 1000, 100, ("other",)),
        kind="adapter",
        weights="weights",
        weights_sha256=sha("adapter"),
        checkpoints={"5": "checkpoint-000005"},
        trainable=10,
        parameters=1000,
        changed=None,
        quantised=None,
        final_loss=candidate.compute_final_loss(steps),
        held_out_loss=None,
        losses_sha256=hashlib.sha256(losses).hexdigest(),
        cost=_cost(steps),
        libraries={"torch": "2.11.0"},
    )


def test_a_candidate_names_the_commit_that_trained_it_where_one_is_known(tmp_path, losses):
    """Records of before lack the key and keep their bytes; a new one is read back with it."""
    older = made(losses)
    assert b"git_commit" not in encode_indented(older)
    assert b"begun" not in encode_indented(older)
    newer = replace(older, git_commit="0123456789012345678901234567890123456789", begun="2026-11-22T11:00:00Z")
    candidate.write_candidate(newer, tmp_path)
    assert candidate.read_candidate(tmp_path) == newer
    candidate.write_candidate(older, tmp_path)
    assert candidate.read_candidate(tmp_path) == older


@pytest.fixture
def losses(tmp_path) -> bytes:
    """Ten falling losses."""
    return history(tmp_path, *(step(number, 2.0 - number / 10, number / 5) for number in range(1, 11)))


def trained(losses: bytes, **over):
    """The entry of a row whose weights were trained so."""
    record = TrainingRecord(**{"candidate": made(losses), "step": 5, "merge": MERGE} | over)
    source = f"trained:lora-main@{sha('recipe')[:12]}"
    model = replace(result().model, source=source, weights_sha256=MERGE.merged_sha256)
    return entry(replace(result(), model=model, training=record))


def test_a_candidate_is_read_as_it_was_written(tmp_path, losses):
    """All of the record survives its file, which is spelled in one way only."""
    candidate.write_candidate(made(losses), tmp_path)
    assert candidate.read_candidate(tmp_path) == made(losses)
    assert (tmp_path / candidate.CANDIDATE_FILE).read_bytes() == encode_indented(made(losses))


def test_a_folder_without_the_record_is_no_candidate(tmp_path):
    """Its training was not finished, and the way out is to go on with it."""
    (tmp_path / "weights").mkdir()
    with pytest.raises(BenchError) as caught:
        candidate.read_candidate(tmp_path)
    assert caught.value.way_out


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-30],
        lambda text: text.replace('"seed": 0', '"seed": "0"'),
        lambda text: text.replace('"seed": 0,', ""),
        lambda text: text.replace('"seed": 0', '"seed": 0, "more": 1'),
        lambda text: text.replace('"kind": "adapter"', '"kind": "soup"'),
        lambda text: text.replace('"schema": 1', '"schema": 2'),
    ],
    ids=["torn", "mistyped", "lacking", "unknown", "another kind", "another schema"],
)
def test_a_damaged_record_is_refused(tmp_path, losses, damage):
    """A candidate is not half understood."""
    text = encode_indented(made(losses)).decode()
    assert damage(text) != text
    (tmp_path / candidate.CANDIDATE_FILE).write_text(damage(text))
    with pytest.raises(BenchError, match=r"candidate\.json.*train again with --again"):
        candidate.read_candidate(tmp_path)


def test_losses_come_back_in_order(tmp_path):
    """One line a step, written as it comes; numbers keep six digits."""
    history(tmp_path, step(1, 2.123456789), step(2, 1.5))
    assert [one.loss for one in LossLog(tmp_path).read()] == [2.12346, 1.5]
    assert (tmp_path / candidate.LOSS_FILE).read_bytes().count(b"\n") == 2


def test_a_resumed_training_replaces_the_steps_it_does_again(tmp_path):
    """What the killed run wrote from there on goes, a torn last line too; what it wrote before stays."""
    history(tmp_path, *(step(number, 2.0) for number in range(1, 6)))
    with (tmp_path / candidate.LOSS_FILE).open("ab") as file:
        file.write(b'{"number": 6, "lo')
    assert len(LossLog(tmp_path).read()) == 5
    again = LossLog(tmp_path)
    again.append(step(4, 1.0))
    again.append(step(5, 1.0))
    assert [(one.number, one.loss) for one in again.read()] == [(1, 2), (2, 2), (3, 2), (4, 1), (5, 1)]


def test_a_training_from_the_start_leaves_nothing_of_the_killed_one(tmp_path):
    """Without a state to resume from, every step is done again."""
    history(tmp_path, step(1, 2.0), step(2, 2.0))
    assert len(candidate.parse_steps(history(tmp_path, step(1, 1.0)))) == 1


def test_no_history_is_no_steps(tmp_path):
    """A training that never reported has none."""
    assert LossLog(tmp_path).read() == []


def test_seconds_of_all_parts_are_added():
    """A resumed training counts from 0 again; both parts were paid for."""
    unbroken = [step(number, seconds=2.0 * number) for number in range(1, 5)]
    resumed = [*unbroken[:3], step(4, seconds=1.5), step(5, seconds=3.5)]
    assert candidate.sum_seconds(unbroken) == 8
    assert candidate.sum_seconds(resumed) == 6 + 3.5


def test_speed_is_of_the_last_part_without_its_first_step():
    """The first step pays for what is set up once; four rows in two seconds are two a second."""
    slow_start = [step(1, seconds=30), step(2, seconds=32), step(3, seconds=34)]
    assert candidate.compute_samples_per_second(slow_start) == 2
    resumed = [*slow_start, step(4, seconds=9), step(5, seconds=10)]
    assert candidate.compute_samples_per_second(resumed) == 4
    assert candidate.compute_samples_per_second(slow_start[:1]) is None
    assert candidate.compute_samples_per_second([*slow_start, step(4, seconds=9)]) is None
    assert candidate.compute_samples_per_second([]) is None
    assert candidate.compute_samples_per_second([step(1, seconds=0), step(2, seconds=3)]) == 1.33  # two decimals


def test_the_final_loss_is_over_supervised_tokens_of_the_last_tenth():
    """Of twenty steps the last two count, each by its tokens; of fewer than ten the last one."""
    twenty = [step(number, 9.0) for number in range(1, 19)]
    assert candidate.compute_final_loss([*twenty, step(19, 1.0, supervised=30), step(20, 2.0, supervised=10)]) == 1.25
    assert candidate.compute_final_loss([step(1, 3.0), step(2, 2.0)]) == 2.0


@given(st.lists(st.tuples(st.floats(0.001, 100), st.integers(1, 1000)), min_size=1, max_size=40))
def test_the_final_loss_lies_among_the_losses(told):
    """It is a mean: never outside what was seen."""
    steps = [step(number, loss, supervised=count) for number, (loss, count) in enumerate(told, 1)]
    losses = [loss for loss, _ in told]
    assert min(losses) - 1e-6 <= candidate.compute_final_loss(steps) <= max(losses) + 1e-6


def test_names_tell_base_recipe_seed_and_step():
    """A checkpoint on the way is another set of weights than the last, and so has another name."""
    assert candidate.build_candidate_name("tiny", "lora-main", 1, None) == "tiny+lora-main-s1"
    assert candidate.build_candidate_name("tiny", "lora-main", 1, 8) == "tiny+lora-main-s1-step8"


def test_an_entry_tells_how_its_weights_were_made(tmp_path, losses):
    """Candidate, step and merge survive the entry's file, and the loss history stands beside it."""
    path = entries.write_entry(trained(losses), answers(), tmp_path, losses)
    assert entries.read_entry(path) == trained(losses)
    assert gzip.decompress(entries.losses_path(path).read_bytes()) == losses
    assert entries.verify_entry(path, regrade) == []
    assert len(list(tmp_path.glob("2026*"))) == 3


@pytest.mark.parametrize(
    ("over", "weights"),
    [
        ({"candidate": None}, None),
        ({"merge": None, "step": None}, MERGE.merged_sha256),
        ({"merge": None, "step": 5}, sha("the last step's")),
    ],
    ids=["an adapter from elsewhere", "whole weights", "whole weights of a step on the way"],
)
def test_an_adapter_from_elsewhere_and_whole_weights_have_their_parts(tmp_path, losses, over, weights):
    """No candidate where nothing was trained here, and then no history; no merge where nothing was merged."""
    beside = None if "candidate" in over else losses
    if "merge" in over:
        over = {**over, "candidate": replace(made(losses), kind="full", weights_sha256=weights)}
    path = entries.write_entry(trained(losses, **over), answers(), tmp_path, beside)
    assert entries.read_entry(path).result.training == trained(losses, **over).result.training
    assert entries.verify_entry(path, regrade) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda of: replace(of, timings=replace(of.timings, generated_tokens=23)), "generated_tokens"),
        (lambda of: with_training(of, step=6), "that step"),
        (lambda of: with_training(of, step=None, merge=None, candidate=whole(of)), "weights that answered"),
        (lambda of: with_training(of, merge=replace(MERGE, base_sha256=sha("other"))), "merge.base_sha256"),
        *(
            (lambda of, key=key: with_cost(of, **{key: 3}), f"cost.{key}")
            for key in ("rows", "tokens", "supervised", "seconds", "samples_per_second")
        ),
    ],
)
def test_what_an_entry_says_twice_must_agree(tmp_path, losses, change, name):
    """Training, totals and tokens, though every digest fits: by the audit that check, comment and verification use."""
    path = entries.write_entry(change(trained(losses)), answers(), tmp_path, losses)
    assert [name in fault for fault in entries.verify_entry(path)] == [True]


def whole(of: Entry) -> Candidate:
    """The entry's candidate as other whole weights."""
    return replace(of.result.training.candidate, kind="full", weights_sha256=sha("other"))


def with_training(of: Entry, **changes) -> Entry:
    """The entry with another training record, its digest worked out again."""
    return Entry.of(replace(of.result, training=replace(of.result.training, **changes)), of.created, of.timings)


def with_cost(of: Entry, **changes) -> Entry:
    """The entry whose training cost something else."""
    record = of.result.training.candidate
    return with_training(of, candidate=replace(record, cost=replace(record.cost, **changes)))


def test_a_trained_row_is_not_written_without_its_losses(tmp_path, losses):
    """Nor with those of another training, nor a history beside a row that was not trained."""
    for of, beside, told in (
        (trained(losses), None, "lacks its loss history"),
        (trained(losses), losses.replace(b"1.9", b"1.8"), "losses_sha256"),
        (entry(), losses, "nothing was trained"),
    ):
        with pytest.raises(ValueError, match=told):
            entries.write_entry(of, answers(), tmp_path / "board", beside)
    assert not (tmp_path / "board").exists()


def test_a_record_that_does_not_follow_from_its_losses_is_not_written(tmp_path, losses):
    """Final loss and steps are counted again."""
    for over in ({"final_loss": 0.5}, {"cost": replace(made(losses).cost, steps=9)}):
        of = entry(replace(result(), training=TrainingRecord(replace(made(losses), **over), None, None)))
        with pytest.raises(ValueError, match="do not follow from the loss history"):
            entries.write_entry(of, answers(), tmp_path / "board", losses)


@pytest.fixture
def board(tmp_path, losses) -> Path:
    """The entry of a trained row on a rendered board."""
    path = entries.write_entry(trained(losses), answers(), tmp_path / "leaderboards" / "counting", losses)
    leaderboard.update_pages(tmp_path / "leaderboards")
    return path


def check(board: Path) -> str:
    """What `bench board --check` says of the whole folder."""
    return "\n".join(map(str, checking.find_faults(board.parents[1], regrade)))


def test_a_sound_trained_row_passes_the_check(board):
    """Nothing is said of it."""
    assert check(board) == ""


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda path, lines: path.unlink(), "lacks its loss history"),
        (lambda path, lines: path.write_bytes(gzip.compress(lines.replace(b"1.9", b"1.8"))), "losses_sha256"),
        (lambda path, lines: path.write_bytes(b"torn"), ".loss.jsonl.gz"),
        (lambda path, lines: (path.rename(path.with_name("x")), path.symlink_to("x")), "is a link"),
    ],
    ids=["removed", "edited", "torn", "linked"],
)
def test_a_touched_loss_history_is_found(board, losses, tamper, told):
    """`bench board --check` names the entry and what is wrong."""
    tamper(entries.losses_path(board), losses)
    out = check(board)
    assert told in out
    assert board.name.removesuffix(".json") in out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seconds": "2"}, "line 10: seconds must be a number"),
        ({"loss": "low"}, "line 10: loss must be a number"),
        ({"loss": float("nan")}, "line 10: not JSON"),
        ({"supervised": 0}, "without supervised tokens"),
        ({"supervised": True}, "line 10: supervised must be an integer"),
        ({"rows": 10**400}, "line 10: rows must be an integer below"),
        ({"tokens": -1}, "line 10: rows, tokens or seconds are negative"),
        ({"number": 9}, "line 10: step 9 does not come after"),
        ({"more": 1}, "line 10: the top level has unknown keys"),
        (None, "line 1: not JSON"),
    ],
)
def test_a_loss_history_that_no_training_writes_is_a_fault(board, losses, change, told):
    """Entry and digests are made to fit it, and the check says what is wrong in it; nothing ends in a traceback."""
    lines = losses.splitlines()
    history = b"" if change is None else b"\n".join([*lines[:-1], json.dumps(json.loads(lines[-1]) | change).encode()])
    record = replace(made(losses), losses_sha256=hashlib.sha256(history).hexdigest())
    path = board.parent / f"{entries.build_file_stem(trained(losses, candidate=record))}.json"
    path.write_bytes(encode_indented(trained(losses, candidate=record)))
    entries.completions_path(board).rename(entries.completions_path(path))
    entries.losses_path(path).write_bytes(gzip.compress(history))
    board.unlink()
    entries.losses_path(board).unlink()
    assert told in check(path)


def test_a_training_at_no_time_is_a_fault(losses):
    """Claims are told from afterthoughts by it: another spelling, or a day that no month has, is none."""
    for time in ("yesterday", "2026-11-22T12:00:00+00:00", "2026-02-30T12:00:00Z", ""):
        problems = audit.check_numbers(trained(losses, candidate=replace(made(losses), created=time)))
        assert problems == [f"created is no UTC time such as 2026-11-22T12:00:00Z: {time!r}"]
        problems = audit.check_numbers(trained(losses, candidate=replace(made(losses), begun=time)))
        assert problems == [f"begun is no UTC time such as 2026-11-22T12:00:00Z: {time!r}"]


def test_a_loss_history_without_its_entry_is_found(board):
    """What an entry left behind is told, with the command that removes it."""
    beside = entries.losses_path(board)
    beside.rename(beside.with_name("2026-11-22-stray-000000000000.loss.jsonl.gz"))
    out = check(board)
    assert "stray-000000000000.loss.jsonl.gz: completions or losses without their entry" in out


def test_a_second_entry_of_a_name_is_found_with_other_weights(board):
    """The later one is named; which of the two has the wrong name is for a person to say."""
    other = trained(decompress_file(entries.losses_path(board)), merge=None)
    other = entry(replace(other.result, model=replace(other.result.model, weights_sha256=sha("other"))))
    path = entries.write_entry(other, answers(), board.parent, decompress_file(entries.losses_path(board)))
    leaderboard.update_pages(board.parents[1])
    later = max(path, board)
    assert later.name in check(board)


def test_losses_alone_decide_nothing_about_a_score(losses):
    """The digest of the result covers the training: another loss history is another result."""
    other = made(losses.replace(b"1.9", b"1.8"))
    assert trained(losses).result_sha256 != trained(losses, candidate=other).result_sha256
    assert json.loads(encode_indented(trained(losses)))["result"]["training"]["step"] == 5
