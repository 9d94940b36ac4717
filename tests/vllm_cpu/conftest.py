"""The suite of the real vLLM on a CPU; it runs in an environment of its own (`make test-vllm`)."""

import json
import subprocess
import sys

import pytest
from baseline_bench.core.command_options import cache_folder
from baseline_bench.models import registry

MODEL = "smollm2-135m-it-q4_1"


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """Run a `bench` command in one folder for the whole suite; its entry, its run's completions by id."""
    folder = tmp_path_factory.mktemp("bench")

    def run(*words: str) -> tuple[dict, dict]:
        runs = folder / "-".join(word for word in words if word.isalnum())
        command = [sys.executable, "-m", "baseline_bench.cli", *words, "--runs", str(runs), "--json"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True, timeout=1200)
        (completions,) = runs.glob("*/completions.jsonl")
        lines = [json.loads(line) for line in completions.read_text(encoding="utf-8").splitlines()]
        return json.loads(done.stdout), {line["id"]: line for line in lines}

    return run


@pytest.fixture(scope="session")
def model():
    """The embedded model, fetched and dequantised if need be."""
    return registry.resolve_model(MODEL, cache_folder())
