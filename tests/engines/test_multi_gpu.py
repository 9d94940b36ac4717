"""engines.multi_gpu: several processes answer as one engine would, whatever becomes of them."""

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace

import fleet_engine
import pytest
import tiny
from announced import unannounced
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.child_process import ItemAnswered, RequestDone
from baseline_bench.core.contracts import LogprobGenerator, ReloadableGenerator, ReloadableGeneratorGroup
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample
from baseline_bench.engines import scripted
from baseline_bench.engines.multi_gpu import distributed, gpus
from baseline_bench.engines.multi_gpu.distributed import EngineWorker
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.plan import ResolvedEngine, resolve_engine
from baseline_bench.evaluation.reload_reference import ReferenceLogprobs

ENGINE = fleet_engine.__file__
PATIENCE = 60
ASKED = [Request(f"q{i}", (i, 3 * i + 1)) for i in range(11)]
ROWS = [TrainingExample(f"r{i}", (i, i + 1, i + 2), 1) for i in range(7)]
SEQUENCES = tuple(tuple((7 * i * i + 31 * s) % 32 for i in range(40)) for s in range(4))
HOLD = """\
import threading
from pathlib import Path
from baseline_bench.core import plugins
from baseline_bench.engines.multi_gpu import distributed
from baseline_bench.core.types import Model
options = plugins.load_engine({engine!r}).Options(pipe={pipe!r})
model = Model("m", "folder", None, Path({folder!r}), None, "m")
held = distributed.MultiGpuStarter({engine!r}, ("0", "1"), print).load(model, options)
threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One thread a process, as sums in another order are not what is tested."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def lines() -> list[str]:
    """What the user was told."""
    return []


@pytest.fixture
def models(tmp_path) -> list[Model]:
    """Two of one shape."""
    return [build(tmp_path / name, number) for name, number in (("base", 0), ("tuned", 5))]


@pytest.fixture
def pipe(tmp_path) -> Path:
    """A named pipe: its reader is told when the last process that holds it has ended."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def build(folder: Path, number: int) -> Model:
    """A checkpoint as far as a reload looks at it."""
    folder.mkdir()
    (folder / "number").write_text(str(number))
    (folder / "config.json").write_text("{}")
    tensors = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(tensors).to_bytes(8, "little") + tensors + bytes(4))
    return Model(folder.name, "folder", None, folder, None, f"{folder.name}-{number}")


def start(model: Model, count: int, lines: list[str], **options):
    """A loaded fleet; its devices are names only."""
    devices = tuple(map(str, range(count)))
    return distributed.MultiGpuStarter(ENGINE, devices, lines.append).load(model, fleet_engine.Options(**options))


def answers(generator) -> dict[str, str]:
    """What it says to every question, each said once."""
    told = [(name, completion.text) for name, completion in generator.complete(ASKED, Sampling(20), (1,))]
    assert len(dict(told)) == len(told)
    return dict(told)


def pool_of(engine: ResolvedEngine, lines: list[str]) -> EnginePool:
    """A pool that says its lines into a list."""
    return EnginePool(engine, SimpleNamespace(say=lines.append, warn=lines.append))


def warm(models, devices, lines, **options) -> EnginePool:
    """A warm fleet over these models."""
    pool = pool_of(ResolvedEngine(ENGINE, fleet_engine, fleet_engine.Options(**options), devices), lines)
    pool.references = {m.weights_sha256: ReferenceLogprobs.of(*single(m).prompt_logprobs(SEQUENCES)) for m in models}
    pool.sequences = SEQUENCES
    return pool


def single(model: Model) -> fleet_engine.Number:
    """The engine in this process."""
    return fleet_engine.load(model, fleet_engine.Options())


def ended(reader: int) -> bool:
    """Whether the last holder of the pipe ends; what they said before is read away."""
    while select.select([reader], [], [], PATIENCE)[0]:
        if not os.read(reader, 100):
            return True
    return False


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_are_those_of_one_engine(models, lines, count):
    """Every question is answered once, whoever answers; likewise the measured solutions; and nothing is said."""
    held = start(models[1], count, lines)
    try:
        assert answers(held) == answers(single(models[1]))
        assert dict(held.logprobs(ROWS)) == dict(single(models[1]).logprobs(ROWS))
        assert answers(held) == answers(single(models[1]))
    finally:
        held.close()
        held.close()
    assert (held.version, held.context) == ("number 1", 1_000_000)
    assert held.settings == {"device": "cpu", **({"gpus": count} if count > 1 else {})}
    assert lines == []


def test_engines_begin_to_end_after_the_last_plan_and_end_by_themselves(models, lines):
    """Not after the first of two; closing waits for them and kills none."""
    pool = warm(models[:2], (None, None), lines)
    plans = [SimpleNamespace(model=model) for model in models[:2]]
    pool.expect(plans)
    held, _ = pool.load(models[0])
    processes = [worker.process for worker in held._workers]
    pool.release(plans[0])
    assert answers(held) == answers(single(models[0]))
    pool.release(plans[1])
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    pool.close()


def test_a_fleet_can_what_its_engines_can(models, lines, tmp_path):
    """One that neither reloads nor measures makes a fleet that does neither."""
    able = start(models[0], 2, lines)
    able.close()
    plain = distributed.MultiGpuStarter("scripted", (None, None), lines.append).load(models[0], scripted.Options())
    try:
        assert answers(plain) == answers(scripted.load(models[0], scripted.Options()))
    finally:
        plain.close()
    kinds = (ReloadableGenerator, ReloadableGeneratorGroup, LogprobGenerator)
    assert [isinstance(able, kind) for kind in kinds] == [True] * 3
    assert [isinstance(plain, kind) for kind in kinds] == [False] * 3


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("what", ["complete", "logprobs"])
def test_a_process_that_computes_nan_ends_the_run(what, count, models, lines):
    """The error keeps its class across processes; the other process has the same weights and gets none of its items."""
    held = start(models[0], count, lines, overflows="0", after=1)
    try:
        with pytest.raises(NotFiniteError):
            answers(held) if what == "complete" else list(held.logprobs(ROWS))
    finally:
        held.close()
    assert lines == []


@pytest.mark.parametrize(
    ("how", "told"), [("killed", "was killed by the system, most likely"), ("refuses", "its engine has ended")]
)
def test_what_a_dead_worker_leaves_goes_to_the_others(models, lines, how, told):
    """One of three dies in the middle, by kill -9 or by its engine's end: nothing is lost or doubled."""
    held = start(models[0], 3, lines, **{how: "1"})
    try:
        assert answers(held) == answers(single(models[0]))
        (line,) = lines
        assert line.startswith("engine 2 of 3 (GPU 1)")
        assert told in line
        assert "its 2 unfinished items go to the others" in line
        assert answers(held) == answers(single(models[0]))
        with pytest.raises(BenchError, match="1 of 3 engines have ended"):
            held.reload(models[1])
    finally:
        held.close()


class Told(EngineWorker):
    """A worker without a process: what it says first lies in its pipe, what it says when it is asked again, then."""

    def __init__(self, number: int, first: list, then: list) -> None:
        self.name, self.of, self.gpus, self.busy = f"engine {number + 1} of 2", 2, 1, False
        self.connection, self._end = Pipe()
        self._waiting = [first, then]

    def ask(self, what, *arguments) -> None:
        """Say what is next; with nothing left it ends."""
        self.busy = True
        for said in self._waiting.pop(0):
            self._end.send(said)
        if not self._waiting or not self._waiting[0]:
            self._end.close()

    def end(self, patience=0.0) -> int:
        """As one that was killed."""
        self.busy = False
        self.connection.close()
        return -9


def test_a_worker_that_ends_while_another_is_done_leaves_its_items_to_it_once():
    """Both are heard in one go: what the other gets is begun after its own end was taken note of, not before."""
    dies = Told(0, [ItemAnswered("q0", 0)], [])
    stays = Told(1, [ItemAnswered("q1", 1), RequestDone()], [ItemAnswered("q2", 2), RequestDone()])
    warned = []
    dealt = distributed._DistributedCall("complete", (), warned.append, retires=True)
    answered = list(dealt.run([Request(f"q{i}", (1,)) for i in range(3)], [dies, stays]))
    assert answered == [("q0", 0), ("q1", 1), ("q2", 2)]
    assert len(warned) == 1


def test_when_the_last_worker_dies_what_was_answered_is_there(models, lines):
    """Each gave two answers before; the error is one, with a way out."""
    held, told = start(models[0], 2, lines, killed=fleet_engine.EVERY), {}
    try:
        with pytest.raises(BenchError, match=r"no engine is left: engine .*finished answers are kept"):
            told.update(held.complete(ASKED, Sampling(20), ()))
    finally:
        held.close()
    whole = answers(single(models[0]))
    assert {name: completion.text for name, completion in told.items()} == {f"q{i}": whole[f"q{i}"] for i in range(4)}
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (
            "killed",
            "the engine's process (GPU 0) was killed by the system, most likely for want of memory: give the same",
        ),
        ("refuses", "its engine has ended: see its log"),
    ],
)
def test_the_end_of_an_only_worker_is_told_as_it_is(models, lines, fails, told):
    """Without a word about others, and what it said itself unchanged."""
    held = start(models[0], 1, lines, **{fails: fleet_engine.EVERY})
    try:
        with pytest.raises(BenchError) as caught:
            dict(held.complete(ASKED, Sampling(20), ()))
    finally:
        held.close()
    assert str(caught.value).startswith(told)
    assert lines == []


def test_processes_may_begin_before_there_is_a_model(models, lines, pipe):
    """The ones that began are the ones that load, their libraries loaded by then; those without a model are ended."""
    begun = distributed.MultiGpuStarter(ENGINE, ("0", "1"), lines.append)
    begun.begin()
    before = [worker.process for worker in begun._begun]
    held = begun.load(models[1], fleet_engine.Options())
    try:
        assert [worker.process for worker in held._workers] == before
        assert answers(held) == answers(single(models[1]))
        begun.begin()
        idle = [worker.process for worker in begun._begun]
        begun.close()
        assert all(process.returncode is not None for process in idle)
        assert answers(held) == answers(single(models[1]))
    finally:
        held.close()


def variant(folder: Path, *lines: str) -> str:
    """The engine with more members, as a file."""
    path = folder / "variant.py"
    path.write_text("\n".join([Path(ENGINE).read_text(), *lines, ""]))
    return str(path)


def test_an_engine_that_stands_apart_has_a_process_even_alone(models, lines, tmp_path):
    """Any other engine is loaded in this process, where one is enough."""
    with pool_of(resolve_engine(ENGINE, (), None), lines) as pool:
        assert not isinstance(pool.load(models[1])[0], distributed.MultiGpuGenerator)
    with pool_of(resolve_engine(variant(tmp_path, "APART = True"), (), None), lines) as pool:
        held, _ = pool.load(models[1])
        assert isinstance(held, distributed.MultiGpuGenerator)
        assert answers(held) == answers(single(models[1]))
        assert held.settings == {"device": "cpu"}


@pytest.mark.parametrize("does", ["os.mkdir(__file__ + '.begun')", "raise BenchError('no library', 'install it')"])
def test_libraries_are_loaded_first_and_a_refusal_waits_for_the_model(models, lines, tmp_path, does):
    """A process begins with its engine's `begin`; what fails there is asked again where the model is loaded."""
    held = distributed.MultiGpuStarter(variant(tmp_path, "def begin():", f"    {does}"), (None,), lines.append).load(
        models[1], fleet_engine.Options()
    )
    try:
        assert Path(tmp_path / "variant.py.begun").is_dir() == ("mkdir" in does)
        assert answers(held) == answers(single(models[1]))
    finally:
        held.close()


def test_a_worker_that_cannot_measure_ends_no_other(models, lines):
    """Its refusal is told when the others are done, and all of them answer afterwards."""
    held = start(models[0], 2, lines, refuses="1", after=1)
    try:
        told = []
        with pytest.raises(BenchError, match=r"^its engine has ended: see its log$"):
            told.extend(name for name, _ in held.logprobs(ROWS))
        assert sorted(told) == ["r0", "r1", "r2", "r4", "r6"]
        assert lines == []
        held.reload(models[1])
    finally:
        held.close()


def test_whoever_goes_away_gets_no_stale_answers(models, lines, pipe):
    """A question left in the middle ends the workers that were at it."""
    held = start(models[0], 2, lines)
    try:
        asked = held.complete(ASKED, Sampling(20), ())
        next(asked)
        asked.close()
        with pytest.raises(BenchError, match="engines have ended"):
            held.prompt_logprobs(SEQUENCES)
    finally:
        held.close()


def test_a_model_that_one_worker_cannot_load_is_refused(models, lines, pipe):
    """The worker is named, its own words and way out stand, and the others end with what they started."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BenchError, match=r"^engine 2 of 2 \(GPU 1\): no memory for it: free the GPU$"):
        start(models[0], 2, lines, unloadable="1", pipe=str(pipe))
    os.close(os.open(pipe, os.O_WRONLY))  # the other may have been ended before it came to hold the pipe
    assert ended(reader)
    os.close(reader)


def test_engines_that_come_out_unlike_are_refused(models, lines):
    """Two kinds of GPU would give two kinds of answers."""
    with pytest.raises(BenchError, match="GPUs of one kind"):
        start(models[0], 2, lines, odd="1")


def test_a_bug_keeps_its_traceback(models, lines, capfd):
    """It is printed by the worker, and the error names its exit status."""
    lost = replace(models[0], folder=None)
    with pytest.raises(BenchError, match=r"the engine's process .*ended with status 1, its traceback is above"):
        start(lost, 1, lines)
    assert "TypeError" in capfd.readouterr().err


def test_closing_ends_every_process_of_every_engine(models, lines, pipe):
    """Those too that an engine started and forgot."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    held = start(models[0], 2, lines, pipe=str(pipe))
    held.close()
    assert ended(reader)
    os.close(reader)


def test_workers_end_when_their_parent_is_killed(models, pipe):
    """Even SIGKILL, of which no parent can tell, leaves no process that holds a GPU."""
    code = HOLD.format(engine=ENGINE, pipe=str(pipe), folder=str(models[0].folder))
    parent = subprocess.Popen([sys.executable, "-c", code])
    reader = os.open(pipe, os.O_RDONLY)
    there = 0
    while there < 2 and select.select([reader], [], [], PATIENCE)[0]:
        there += len(os.read(reader, 100))
    assert there == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ended(reader)
    os.close(reader)


def test_every_worker_is_reloaded_and_proved(models, lines):
    """The fleet goes from model to model, and answers as each."""
    engine = warm(models, ("0", "1"), lines)
    try:
        first, how = engine.load(models[0])
        assert (how.path, how.noise) == ("loaded", 0.0)
        assert answers(first) == answers(single(models[0]))
        second, how = engine.load(models[1])
        assert second is first
        assert (how.path, how.found.to_new) == ("reloaded", 0.0)
        assert answers(second) == answers(single(models[1]))
    finally:
        engine.close()
    assert lines == []


@pytest.mark.parametrize("stale", ["0", "1"])
def test_one_worker_with_old_weights_costs_a_restart_of_all(models, lines, stale):
    """The record keeps what was found of the worst worker; the new fleet holds the new weights."""
    engine = warm(models, ("0", "1"), lines, stale=stale)
    try:
        engine.load(models[0])
        held, how = engine.load(models[1])
        assert (how.path, how.found.to_old) == ("restarted", 0.0)
        assert how.found.flaw == how.why
        assert answers(held) == answers(single(models[1]))
    finally:
        engine.close()
    assert lines == [f"the engine restarts for tuned: {how.why}"]


def test_two_workers_of_transformers_write_the_tokens_of_one(tmp_path, lines):
    """A real model in fp32 on the CPU: every token id is the same."""
    folder = tiny.build(tmp_path / "tiny", "plain")
    model = Model("tiny", "folder", None, folder, None, None)
    options = plugins.load_engine("transformers").Options(dtype="float32", device="cpu", batch_size=4)
    asked = [Request(f"q{i}", tuple((11 * i * j + j + i) % 500 + 5 for j in range(9 + i % 5))) for i in range(14)]
    one, two = plugins.load_engine("transformers").load(model, options), None
    try:
        two = distributed.MultiGpuStarter("transformers", (None, None), lines.append).load(model, options)
        written = [dict(each.complete(asked, Sampling(24), (2,))) for each in (one, two)]
    finally:
        one.close()
        if two is not None:
            two.close()
    assert written[0] == written[1]
    assert len({completion.token_ids for completion in written[0].values()}) > 7


class Takes:
    """An engine that says how many GPUs one process of it takes."""

    @staticmethod
    def gpus(each: int) -> int:
        """The options are that number here."""
        return each


@pytest.mark.parametrize(
    ("engine", "each", "wanted", "found"),
    [
        (Takes, 1, None, ("3", "5", "GPU-7", "9", "11")),
        (Takes, 2, None, ("3,5", "GPU-7,9")),
        (Takes, 4, None, (None,)),
        (Takes, 8, None, (None,)),
        (Takes, 2, 4, ("3,5", "GPU-7,9")),
        (Takes, 2, 2, (None,)),
        (Takes, 1, 1, (None,)),
        (scripted, None, None, (None,)),
        (scripted, None, 2, ("3", "5")),
    ],
)
def test_gpus_are_chosen_among_those_that_are_visible(monkeypatch, engine, each, wanted, found):
    """All of them for an engine that says what it takes, as they were named; one process where nobody asks for more."""
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5,GPU-7,9,11,-1,13")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    assert gpus.assign_gpus(engine, each, wanted) == found


@pytest.mark.parametrize(
    ("each", "wanted", "there", "told"),
    [
        (1, 0, 2, "--gpus 0, but one engine process takes 1: give --gpus 1 or a multiple"),
        (2, 3, 4, "--gpus 3, but one engine process takes 2: give --gpus 2 or a multiple"),
        (1, 2, 0, "--gpus 2, but this machine's torch sees no GPU: leave --gpus out"),
        (1, 4, 2, "--gpus 4, but this machine's torch sees 2 GPUs: give --gpus 2"),
        (2, 4, 1, "--gpus 4, but this machine's torch sees 1 GPU: leave --gpus out"),
    ],
)
def test_gpus_that_are_not_there_are_refused(monkeypatch, each, wanted, there, told):
    """With a number that would do."""
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(BenchError) as caught:
        gpus.assign_gpus(Takes, each, wanted)
    assert str(caught.value) == told


def test_a_run_that_lost_every_engine_goes_on_with_other_gpus(tmp_path, monkeypatch, capfd):
    """One line and the way out; then the same command, with two GPUs for three, gives the row that one GPU gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpus, "list_visible_gpus", lambda: ("0", "1", "2"))
    model = tiny.build(tmp_path / "model", "chatml")
    words = ["score", str(model), "--task", "word-problems", "--limit", "9", "--engine", ENGINE, "--json"]
    assert cli.main([*words, "--gpus", "3", "-o", "killed=every"]) == 1
    *told, last = unannounced(capfd.readouterr().err)
    assert [line for line in told if "unfinished items go to the others" in line] == told
    assert last.startswith("bench: no engine is left")
    (kept,) = Path("runs").glob("*/completions.jsonl")
    assert len(kept.read_bytes().splitlines()) == 6
    assert cli.main([*words, "--gpus", "2"]) == 0
    resumed = json.loads(capfd.readouterr().out)["result"]
    assert cli.main([*words, "--again"]) == 0
    unbroken = json.loads(capfd.readouterr().out)["result"]
    assert resumed["engine"]["settings"]["gpus"] == "3, then 2"
    assert "gpus" not in unbroken["engine"]["settings"]
    assert resumed["completions_sha256"] == unbroken["completions_sha256"]
