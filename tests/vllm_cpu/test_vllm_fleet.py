"""Two real vLLM engines on one CPU answer as one does, and one that is killed leaves its answers to the other."""

import importlib
import os
import signal
import sys
from pathlib import Path

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample
from baseline_bench.engines.multi_gpu import distributed

sys.path.append(str(Path(__file__).parent.parent))
tiny = importlib.import_module("tiny")

ASKED = [Request(f"q{s}", tuple((5 * i * i + 3 * s + 7) % 500 + 5 for i in range(20 + s))) for s in range(12)]
ROWS = [TrainingExample(request.id, (*request.token_ids, 9, 30), len(request.token_ids)) for request in ASKED]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """A tiny Llama."""
    folder = tiny.build(tmp_path_factory.mktemp("models") / "plain", "plain")
    return Model("tiny", "folder", None, folder, None, None)


def alive(group: int) -> bool:
    """Whether a process group has a process that is no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, leader = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(leader) == group and state != "Z":
            return True
    return False


def test_two_engines_answer_as_one_and_outlive_each_other(model):
    """Token ids in float32 are equal, solutions as likely; of a killed worker nothing stays, vLLM's own process too."""
    engine, lines = plugins.load_engine("vllm"), []
    options = engine.Options(dtype="float32", context=512, kv_gib=1)
    held = distributed.MultiGpuStarter("vllm", (None, None), lines.append).load(model, options)
    groups = [worker.process.pid for worker in held._workers]
    try:
        two = dict(held.complete(ASKED, Sampling(16), ()))
        likely = dict(held.logprobs(ROWS))
        os.kill(groups[1], signal.SIGKILL)
        rest = dict(held.complete(ASKED, Sampling(16), ()))
    finally:
        held.close()
    assert held.settings["gpus"] == 2
    assert rest == two
    assert [line.partition(" was killed")[0] for line in lines] == ["engine 2 of 2"]
    assert not alive(groups[1])
    one = engine.load(model, options)
    try:
        assert two == dict(one.complete(ASKED, Sampling(16), ()))
        alone = dict(one.logprobs(ROWS))
    finally:
        one.close()
    assert (
        max(abs(a - b) for row in ROWS for a, b in zip(likely[row.id].logprobs, alone[row.id].logprobs, strict=True))
        < 1e-4
    )
