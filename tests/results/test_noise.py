"""results.noise and analysis.noise: records of repeated runs, and which differences mean nothing."""

import json
from dataclasses import replace

import pytest
import samples
from baseline_bench.analysis import noise as judging
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest, encode_indented
from baseline_bench.results import entries, noise
from baseline_bench.results.bits import bits_to_hex, hex_to_bits
from baseline_bench.results.noise import BatchPasses, NoiseRecord, NoiseRun
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT
from scipy.stats import poisson, skellam

BOARD = ROOT / "leaderboards" / "gsm8k"


def run(right: set[int], traces: list[str], how: str = "all") -> NoiseRun:
    """A run over as many items as traces, in which these items are right."""
    items = len(traces)
    none = bits_to_hex([False] * items)
    correct = bits_to_hex([place in right for place in range(items)])
    return NoiseRun(how, items, correct, none, none, digest(traces), 2.0, 10 * items)


def record(rights: list[set[int]], changed: list[int] | None = None, items: int = 100) -> NoiseRecord:
    """Runs of which the n-th has other tokens in the first `changed[n]` items, right in these places."""
    changed = changed or [10 * number for number in range(len(rights))]
    traces = [
        [f"{number if place < most else 0}-{place}" for place in range(items)] for number, most in enumerate(changed)
    ]
    of = samples.result()
    return NoiseRecord(
        schema=1,
        created="2026-11-22T12:00:00Z",
        candidate=of.candidate,
        task=of.task,
        selection=replace(of.selection, total=items, scored=items),
        model=of.model,
        prompts_sha256=of.prompts_sha256,
        engine=of.engine,
        provenance=of.provenance,
        runs=tuple(run(right, own) for right, own in zip(rights, traces, strict=True)),
        pairs=noise.pair_runs(traces),
        passes=None,
    )


def test_a_record_comes_back_as_it_was_written(tmp_path):
    """Reading gives what was written; writing it again changes nothing; a board without noise has no records."""
    made = record([{1, 2}, {2}, {2, 3, 4}])
    assert noise.read_records(tmp_path) == ()
    path = noise.write_record(made, tmp_path)
    assert noise.write_record(made, tmp_path) == path
    assert path.parent == tmp_path / "noise"
    assert path.name == noise.build_record_name(made)
    assert noise.read_records(tmp_path) == (made,)


def test_records_are_sorted_by_time(tmp_path):
    """The newest one is the last, whatever the names are."""
    made = [replace(record([{1}, {2}]), created=f"2026-11-{day}T12:00:00Z") for day in ("23", "21", "22")]
    for one in made:
        noise.write_record(one, tmp_path)
    assert [one.created[8:10] for one in noise.read_records(tmp_path)] == ["21", "22", "23"]


def test_rates_are_means_over_all_pairs():
    """Three runs with 2, 1 and 3 right: items 1, 3 and 4 flip, each in two of the three pairs."""
    made = record([{1, 2}, {2}, {2, 3, 4}])
    assert made.spread == (1, 3)
    assert made.unsteady == 3
    assert made.flip_rate == pytest.approx(6 / (3 * 100))
    assert [pair.equal for pair in made.pairs] == [90, 80, 80]
    assert made.equal_share == pytest.approx(250 / 300)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda made: replace(made, runs=made.runs[:1], pairs=()), "fewer than two runs"),
        (lambda made: replace(made, pairs=made.pairs[:-1]), "not every pair"),
        (lambda made: replace(made, prompts_sha256="abc"), "prompts_sha256 is no sha256"),
        (lambda made: replace(made, created="today"), "no UTC time"),
        (lambda made: replace(made, selection=replace(made.selection, scored=99)), "does not fit the limit"),
        (lambda made: replace(made, runs=(replace(made.runs[0], items=99), *made.runs[1:])), "not those of 100 items"),
        (lambda made: replace(made, runs=(replace(made.runs[0], cut="0"), *made.runs[1:])), "not those of 100 items"),
        (lambda made: replace(made, runs=(replace(made.runs[0], answers="x"), *made.runs[1:])), "answers is no sha256"),
        (lambda made: replace(made, runs=(replace(made.runs[0], seconds=-1.0), *made.runs[1:])), "negative"),
        (
            lambda made: replace(made, runs=(replace(made.runs[0], unread=made.runs[0].correct), *made.runs[1:])),
            "both correct and unread",
        ),
        (
            lambda made: replace(made, pairs=(replace(made.pairs[0], equal=100), *made.pairs[1:])),
            "do not fit their digests",
        ),
        (
            lambda made: replace(made, pairs=(made.pairs[0], replace(made.pairs[1], equal=99), made.pairs[2])),
            "more answers changed their judgement",
        ),
        (
            lambda made: replace(made, passes=BatchPasses(replace(made.selection, scored=3, limit=3), made.runs, ())),
            "not those of 3 items",
        ),
    ],
)
def test_a_record_whose_parts_do_not_fit_is_refused(change, told, tmp_path):
    """It is neither written nor read, and what is wrong is named."""
    bad = change(record([{1, 2}, {2}, {2, 3, 4}]))
    with pytest.raises(ValueError, match=told):
        noise.write_record(bad, tmp_path)
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / noise.build_record_name(bad)).write_bytes(encode_indented(bad))
    with pytest.raises(BenchError, match=told):
        noise.read_records(tmp_path)


def test_an_edited_file_is_refused(tmp_path):
    """Another spelling, another name, an unknown key and a link are all seen."""
    made = record([{1}, {2}])
    path = noise.write_record(made, tmp_path)
    good = path.read_bytes()
    for bad, told in (
        (good.replace(b"  ", b" "), "does not follow from its content"),
        (good.replace(b'"seconds": 2', b'"seconds": 3'), "does not follow from its content"),
        (json.dumps({**json.loads(good), "note": "x"}).encode(), "unknown keys 'note'"),
    ):
        path.write_bytes(bad)
        with pytest.raises(BenchError, match=told):
            noise.read_records(tmp_path)
    path.write_bytes(good)
    path.with_name("link.json").symlink_to(path)
    with pytest.raises(BenchError, match="a link"):
        noise.read_records(tmp_path)


@given(st.floats(0.01, 300))
def test_the_range_is_that_of_skellams_distribution(flips):
    """It is the smallest whole number with 95 % of the differences inside, as scipy has it."""
    reach = judging.bound_difference(flips)
    law = skellam(flips / 2, flips / 2)
    assert law.cdf(reach) - law.cdf(-reach - 1) >= 0.95 - 1e-9
    assert reach == 0 or law.cdf(reach - 1) - law.cdf(-reach) < 0.95 + 1e-9


@pytest.mark.parametrize("events", [0, 1, 3, 20, 200])
def test_the_upper_limit_of_a_mean_is_garwoods(events):
    """With this mean, so few events have a probability of 5 %."""
    assert poisson.cdf(events, judging._poisson_upper_limit(events)) == pytest.approx(0.05, rel=1e-9)


def test_the_floor_follows_from_the_larger_of_what_was_seen_and_what_flips_let_expect():
    """One way: three runs far apart; the other: many flips that happened to cancel."""
    apart = record([set(), set(range(9)), set()], changed=[0, 20, 0])
    assert judging.compute_noise_floor(apart).seen == 9
    assert judging.compute_noise_floor(apart).least == 10
    level = record([set(range(8)), set(range(8, 16))], changed=[0, 20])
    found = judging.compute_noise_floor(level)
    assert (found.seen, found.expected) == (0, judging.bound_difference(16))
    assert found.least == found.expected + 1
    assert found.most == judging.bound_difference(judging._poisson_upper_limit(16)) > found.expected
    assert judging.describe_noise_floor(level) == (
        f"ignore a difference of fewer than {found.least} problems between two rows like {level.candidate}'s of 100 "
        f"problems on transformers 5.17.0 and CPU "
        f"(2 runs: the largest difference was 0; {found.expected} covers 95 % where 16 problems flip, "
        f"as between two of them; so few runs leave {found.most} possible)"
    )


def test_runs_that_never_flipped_still_leave_noise_possible():
    """Other tokens and no flip: a mean of 3.0 unsteady items would have stayed silent in one of twenty cases."""
    quiet = record([{1}, {1}, {1}])
    found = judging.compute_noise_floor(quiet)
    assert (found.seen, found.expected) == (0, 0)
    assert found.most == judging.bound_difference(2 / 3 * 2.9957)
    assert found.least == found.most + 1
    assert "no problem flipped" in judging.describe_noise_floor(quiet)


def test_the_pair_with_the_most_flips_counts():
    """Two runs alike and a third one apart: a row of each kind may well be compared."""
    clusters = record([{1}, {1}, set(range(2, 14))], changed=[0, 0, 50])
    found = judging.compute_noise_floor(clusters)
    assert (found.seen, found.flips) == (11, 13)
    three = judging.compute_noise_floor(record([{1}, {2}, {3}]))
    assert three.most == judging.bound_difference(2 / 3 * judging._poisson_upper_limit(3))
    assert found.expected == judging.bound_difference(13)
    assert clusters.flip_rate == pytest.approx(26 / 300)


def test_runs_equal_in_every_token_have_no_noise():
    """Then every difference counts, as far as so few runs tell."""
    same = record([{1}, {1}, {1}], changed=[0, 0, 0])
    assert judging.compute_noise_floor(same).least == 1
    assert judging.describe_noise_floor(same).startswith("all 3 runs are equal in every token: they show no noise")


def test_equal_runs_of_an_engine_that_mixes_batches_prove_little():
    """Where a pass asked otherwise changed an answer, the runs' silence counts as that of any few runs."""
    same = record([{1}, {1}, {1}], changed=[0, 0, 0])
    traces = [["a", "b"], ["a", "c"]]
    runs = (run({0}, traces[0]), run({0}, traces[1], "batch 1"))
    mixed = replace(same, passes=BatchPasses(replace(same.selection, scored=2, limit=2), runs, noise.pair_runs(traces)))
    assert noise.check_record(mixed) == []
    found = judging.compute_noise_floor(mixed)
    assert found.least == found.most + 1
    assert "not all of them where prompts shared their batches otherwise" in judging.describe_noise_floor(mixed)


def test_the_boards_own_repetitions_lie_within_each_others_noise():
    """Three rows of one base on one H100, scored by three commands: what they differ by, the floor calls nothing."""
    of = [entries.read_entry(path) for path in sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-*.json"))]
    rows = [
        entry
        for entry in of
        if entry.result.candidate == "smollm2-135m-it-q4_1"
        and entry.result.selection.limit is None
        and "H100" in entry.result.provenance.device
    ]
    assert len(rows) >= 3
    first = rows[0].result
    traces = [[str(bit) for bit in hex_to_bits(entry.result.bits.correct, 1319)] for entry in rows]
    made = NoiseRecord(
        schema=1,
        created="2026-11-22T12:00:00Z",
        candidate=first.candidate,
        task=first.task,
        selection=first.selection,
        model=first.model,
        prompts_sha256=first.prompts_sha256,
        engine=first.engine,
        provenance=first.provenance,
        runs=tuple(
            NoiseRun("all", 1319, one.bits.correct, one.bits.unread, one.bits.cut, digest(own), None, None)
            for one, own in zip((entry.result for entry in rows), traces, strict=True)
        ),
        pairs=noise.pair_runs(traces),
        passes=None,
    )
    assert noise.check_record(made) == []
    low, high = made.spread
    assert high - low < judging.compute_noise_floor(made).least
