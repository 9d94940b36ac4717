"""commands.noise: the same model several times, each time by an engine of its own, and one record of it."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import tiny
from baseline_bench.analysis.noise import describe_noise_floor
from baseline_bench.commands import noise as noise_command
from baseline_bench.commands.noise import Options
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Request, Sampling
from baseline_bench.evaluation import repeat, runs
from baseline_bench.results import noise

pytestmark = pytest.mark.usefixtures("forked_children")


def order(place: Path, **changed: object) -> Options:
    """Two runs of a tiny model by scripted answers, without passes."""
    plain = Options(
        model=str(place / "model"),
        task="word-problems",
        name="tiny",
        engine="scripted",
        options=[],
        gpus=None,
        limit=6,
        seed=0,
        leaderboards=place / "leaderboards",
        runs=place / "runs",
        run=None,
        again=False,
        accept=[],
        as_json=False,
        mirror=None,
        cache=place / "cache",
        words="bench noise model",
        commit="0" * 40,
        times=2,
        passes="none",
        items=3,
    )
    return replace(plain, **changed)


def told(asked: Options) -> str:
    """What the story prints."""
    data = io.StringIO()
    assert noise_command.run(asked, Console(data, io.StringIO())) == 0
    return data.getvalue()


def records(asked: Options) -> tuple[noise.NoiseRecord, ...]:
    """The records of the board."""
    return noise.read_records(asked.leaderboards / "word-problems")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Options:
    """Two runs and four passes that the transformers engine really made, in three child processes."""
    place = tmp_path_factory.mktemp("real")
    tiny.build(place / "model", "chatml")
    made = order(
        place, engine="transformers", options=["dtype=float32", "device=cpu"], passes="all,shuffled,2,1", limit=4
    )
    told(made)
    return made


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory) -> Options:
    """Two runs of scripted answers."""
    made = order(tmp_path_factory.mktemp("scripted"))
    tiny.build(Path(made.model), "chatml")
    told(made)
    return made


@pytest.fixture
def copied(rehearsed, tmp_path) -> Options:
    """The scripted runs, to be changed; every run is whole, so that no engine is started for them."""
    shutil.copytree(Path(rehearsed.model).parent, tmp_path / "there")
    there = tmp_path / "there"
    return replace(rehearsed, model=str(there / "model"), leaderboards=there / "leaderboards", runs=there / "runs")


def test_a_model_on_a_cpu_in_float32_repeats_itself(real):
    """Every answer of both runs is equal in every token, and the sentence says so; no row was added."""
    (made,) = records(real)
    assert [run.how for run in made.runs] == ["all", "all"]
    assert [run.items for run in made.runs] == [4, 4]
    assert made.equal_share == 1
    assert made.flip_rate == 0
    assert all(run.seconds is not None and run.tokens is not None for run in made.runs)
    assert made.engine.settings["dtype"] == "float32"
    assert made.selection.limit == 4
    assert describe_noise_floor(made).startswith("all 2 runs are equal in every token")
    assert [path.name for path in real.leaderboards.iterdir()] == ["word-problems"]
    assert list((real.leaderboards / "word-problems").glob("*.json")) == []


def test_passes_ask_a_seeded_subset_in_every_manner(real):
    """Four manners over the same three items, each compared with each; the subset is part of the runs' items."""
    (made,) = records(real)
    assert made.passes is not None
    assert [run.how for run in made.passes.runs] == ["all", "shuffled", "batch 2", "batch 1"]
    assert made.passes.selection.scored == 3
    assert len(made.passes.pairs) == 6
    asked = [runs.read_completions(folder) for folder in sorted(real.runs.glob("*/pass-3-*"))]
    assert len(asked) == 4
    whole = runs.read_completions(next(real.runs.glob("*/run-1")))
    assert all(set(answers) < set(whole) and len(answers) == 3 for answers in asked)


def test_a_finished_command_starts_nothing_and_adds_nothing(rehearsed):
    """Given again it reports the same record, with the same date."""
    before = records(rehearsed)
    page = told(rehearsed)
    assert records(rehearsed) == before
    assert "runs 1, 2" in page
    assert "6 of 6 answers equal in every token" in page
    assert json.loads(told(replace(rehearsed, as_json=True)))["created"] == before[0].created


def test_a_killed_run_goes_on_where_it_stood(copied):
    """The answers that were there stay as they were; the seconds of a run in two pieces are not known."""
    (folder,) = copied.runs.glob("*/run-2")
    lines = (folder / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "completions.jsonl").write_bytes(b"".join(lines[:4]) + b'{"torn')
    (folder / "seconds.json").unlink()
    told(copied)
    assert (folder / "completions.jsonl").read_bytes() == b"".join(lines)
    assert [run.seconds is None for run in records(copied)[-1].runs] == [False, True]


def test_runs_that_differ_are_counted_item_by_item(copied):
    """One answer with other tokens and another judgement: one flip, and a floor above it."""
    (folder,) = copied.runs.glob("*/run-2")
    problems = runs.read_problems(folder)
    lines = [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]
    gold = problems[0].answer
    line = next(line for line in lines if line["id"] == problems[0].id)
    line.update(text=f"#### {gold}", token_ids=list(f"#### {gold}".encode()))
    (folder / "completions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = told(copied)
    made = next(one for one in records(copied) if one.equal_share < 1)
    assert made.flip_rate == pytest.approx(1 / 6)
    assert made.spread == (0, 1)
    assert [pair.equal for pair in made.pairs] == [5]
    assert "1 flips, 5 of 6 answers equal in every token" in page
    assert "ignore a difference of fewer than" in page.splitlines()[-1]


def test_runs_that_met_another_engine_are_not_compared(copied):
    """A driver that changed between two runs is named."""
    path = next(copied.runs.glob("*/run-2")) / "engine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "driver": "999.1"}))
    with pytest.raises(BenchError, match=r"ran on another engine than .* \(driver was None, then 999\.1\)"):
        told(copied)


def test_the_record_names_the_libraries_that_answered(copied):
    """They are the runs' own, whatever is installed where the record is written."""
    for path in copied.runs.glob("*/*/engine.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "library torch": "1.2.3"}))
    next(copied.runs.glob("*/noise.json")).unlink()
    told(copied)
    assert "1.2.3" in {one.provenance.libraries["torch"] for one in records(copied)}


def test_again_measures_anew_in_a_folder_of_its_own(copied):
    """The finished runs stay, and other settings never meet them."""
    told(replace(copied, again=True))
    folders = list(copied.runs.iterdir())
    assert len(folders) == 2
    assert all((folder / noise_command.RECORD_FILE).is_file() for folder in folders)


class Listening:
    """A generator that notes which prompts it is handed together."""

    version = "listening 1"
    settings: ClassVar[dict[str, str]] = {}
    context = 100

    def __init__(self) -> None:
        self.handed: list[list[str]] = []

    def complete(self, requests, sampling, stop_ids):
        self.handed.append([request.id for request in requests])
        for request in requests:
            yield request.id, Completion("1", (1,), "stop")

    def close(self) -> None:
        self.handed.append([])


@pytest.mark.parametrize(("size", "groups"), [(None, ["abcde"]), (2, ["ab", "cd", "e"]), (1, list("abcde"))])
def test_a_batch_is_handed_over_when_the_one_before_is_answered(size, groups):
    """Eight at a time means that the ninth prompt meets none of the first eight."""
    inner = Listening()
    requests = [Request(name, (1,)) for name in "abcde"]
    answers = repeat._BatchedGenerator(inner, size).complete(requests, Sampling(8), [])
    assert [name for name, _ in answers] == list("abcde")
    assert ["".join(group) for group in inner.handed] == groups


@pytest.mark.parametrize(
    ("changed", "told_so"),
    [
        ({"times": 1}, "1 runs show no noise: give --times 3 or more"),
        ({"runs": Path("3")}, "give --times 3"),
        ({"passes": "all,some"}, "no pass 'some'"),
        ({"passes": "0"}, "no pass '0'"),
        ({"items": 0}, "--items 0 leaves nothing to ask"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_anything_is_loaded(tmp_path, changed, told_so):
    """The reason and the way out are told; nothing is written."""
    with pytest.raises(BenchError, match=told_so):
        told(order(tmp_path, **changed))
    assert list(tmp_path.iterdir()) == []
