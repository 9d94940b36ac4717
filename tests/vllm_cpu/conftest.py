"""The suite of the real vLLM on a CPU; it runs in an environment of its own (`make test-vllm`)."""

import json
from contextlib import chdir

import pytest
from baseline_bench import cli
from baseline_bench.core.command_options import cache_folder
from baseline_bench.models import registry

MODEL = "smollm2-135m-it-q4_1"


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """Run a `bench` command in one folder for the whole suite; its entry, its run's completions by id.

    It runs in this process, which has imported torch and transformers; vLLM still gets a process of its own.
    """
    folder = tmp_path_factory.mktemp("bench")

    def run(*words: str) -> tuple[dict, dict]:
        runs = folder / "-".join(word for word in words if word.isalnum())
        with chdir(folder):
            assert cli.main([*words, "--runs", str(runs)]) == 0
        (entry,) = runs.glob("*/entry.json")
        lines = [json.loads(line) for line in (entry.parent / "completions.jsonl").read_bytes().splitlines()]
        return json.loads(entry.read_bytes()), {line["id"]: line for line in lines}

    return run


@pytest.fixture(scope="session")
def model():
    """The embedded model, fetched and dequantised if need be."""
    return registry.resolve_model(MODEL, cache_folder())
