"""The child processes of scoring on a CPU: the prompts as text with lm-eval's task over them, and a plain loop."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from baseline_bench.core import plugins
from baseline_bench.core.types import Model, Split
from baseline_bench.evaluation import protocol
from baseline_bench.models import tokenizer
from baseline_bench.models.tokens import encode_prompt
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.cpu_scoring import MEASURED, MOST, Peer

TASK = "gsm8k"
STOPS = 3


def write(asked: Peer, mirror: str, limit: int) -> None:
    """The very prompts that bench asks, as text, with lm-eval's task over them.

    Raises:
        ValueError: the text gives other token ids.
    """
    task = plugins.load_task(TASK)
    everything = task.problems(Split("test", mirror=Path(mirror) if mirror else None))
    model_tokenizer = tokenizer.load_tokenizer(Model("asked", "folder", None, Path(asked.model), None, None))
    lines = []
    for problem in protocol.select_problems(everything, limit, 0):
        ids = list(encode_prompt(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task.messages(problem)))
        text = model_tokenizer.tokenizer.decode(ids, skip_special_tokens=False)
        if model_tokenizer.tokenizer.encode(text, add_special_tokens=False) != ids:
            raise ValueError(f"{problem.id}: the prompt as text is another prompt")
        lines.append(json.dumps({"prompt": text, "answer": problem.answer}))
    place = Path(asked.place)
    (place / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ends = [
        model_tokenizer.tokenizer.decode([end], skip_special_tokens=False)
        for end in model_tokenizer.prompt_format.stop_ids
    ]
    until = [*ends[:STOPS], *task.SAMPLING.stop]
    (place / "peer.yaml").write_text(_task(place / "prompts.jsonl", until, MOST), encoding="utf-8")


def loop(asked: Peer) -> Mapping[str, float]:
    """Padded batches in the data set's order through `generate`."""
    words = AutoTokenizer.from_pretrained(asked.model, padding_side="left", local_files_only=True)
    network = AutoModelForCausalLM.from_pretrained(
        asked.model, dtype=getattr(torch, asked.dtype), local_files_only=True
    )
    lines = (Path(asked.place) / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["prompt"] for line in lines]
    loaded = time.perf_counter()
    count = 0
    for start in range(0, len(texts), asked.batch):
        given = words(texts[start : start + asked.batch], return_tensors="pt", padding=True, add_special_tokens=False)
        given.pop("token_type_ids", None)
        rows = network.generate(**given, max_new_tokens=MOST, do_sample=False)
        count += sum(_written(row, words.eos_token_id) for row in rows[:, given["input_ids"].shape[1] :].tolist())
    return measures(time.perf_counter() - loaded, count)


def _task(prompts: Path, until: Sequence[str], most: int) -> str:
    """YAML takes JSON's texts and lists as they are."""
    rows = {
        "task": "peer",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(prompts)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 0,
        "generation_kwargs": {"until": list(until), "max_gen_toks": most, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in rows.items())


def _written(row: Sequence[int], end: int) -> int:
    """Tokens up to the end and with it; `generate` fills finished rows up."""
    return row.index(end) + 1 if end in row else len(row)


def measures(generating: float, tokens: int) -> Mapping[str, float]:
    return {"generate_seconds": generating, "tokens": tokens, "tokens_per_second": tokens / generating}


def keep(asked: Peer, found: Mapping[str, float]) -> None:
    """Leave what was measured where the parent looks for it."""
    (Path(asked.place) / MEASURED).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    what, told, *more = sys.argv[1:]
    given = Peer(**json.loads(told))
    if what == "write":
        write(given, more[0], int(more[1]))
    else:
        keep(given, loop(given))
