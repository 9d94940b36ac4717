"""lm-eval as a whole process on our questions and our shot: its own task file, its own filters, its own vLLM."""

import json
import sys
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError

from benchmarks.measuring import timed

TASK = "bench_gsm8k_1shot"
# Where lm-eval may look nothing up: everything lies on the disk.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
_NUMBER = "(-?[$0-9.,]{2,})|(-?[0-9]+)"


def command(folder: Path, place: Path, mirror: Path | None, *, eager: bool, limit: int | None) -> list[str]:
    """What scores a folder of weights in bfloat16, answers kept as ours are.

    Args:
        folder: of the model.
        place: takes the task's file and what lm-eval writes.
        mirror: a folder of data sets in the hub's layout; None asks the hub.
        eager: vLLM's enforce_eager.
        limit: the first so many questions; None takes all.
    """
    import torch

    place.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    (place / f"{TASK}.yaml").write_text(json.dumps(_task(mirror), indent=1), encoding="utf-8")
    settings = [f"pretrained={folder}", "dtype=bfloat16", f"enforce_eager={eager}", "gpu_memory_utilization=0.9"]
    settings += [] if torch.cuda.is_available() else ["kv_cache_memory_bytes=2147483648"]
    words = ["run", "--model", "vllm", "--model_args", ",".join(settings), "--batch_size", "auto"]
    words += ["--tasks", TASK, "--include_path", str(place), "--apply_chat_template", "--fewshot_as_multiturn", "True"]
    words += ["--gen_kwargs", "max_gen_toks=512", "--output_path", str(place / "out"), "--log_samples"]
    words += [] if limit is None else ["--limit", str(limit)]
    return [sys.executable, "-m", "lm_eval", *words]


def run(folder: Path, place: Path, mirror: Path | None, *, eager: bool, limit: int | None) -> dict[str, float]:
    """One whole process: seconds, GiB at the peak, and its two scores in per cent.

    Raises:
        BenchError: lm-eval failed, or wrote no result.
    """
    asked = command(folder, place, mirror, eager=eager, limit=limit)
    found = timed(asked, env=OFFLINE, cwd=place)
    written = sorted((place / "out").rglob("results_*.json"))
    if not written:
        raise BenchError("lm-eval wrote no result", "run its command by hand")
    scores = json.loads(written[-1].read_bytes())["results"][TASK]
    for name in ("strict-match", "flexible-extract"):
        found[f"{name.partition('-')[0]}_percent"] = 100 * float(scores[f"exact_match,{name}"])
    return found


def _task(mirror: Path | None) -> dict[str, object]:
    """lm-eval's own gsm8k but for shot, prompt and place of the data: a worked example as a turn, then the question."""
    from baseline_bench.tasks import gsm8k  # loads datasets

    task = plugins.load_task("gsm8k")
    question, answer = gsm8k.EXAMPLE
    return {
        "task": TASK,
        "dataset_path": "openai/gsm8k" if mirror is None else str((mirror / "openai/gsm8k").resolve()),
        "dataset_name": "main",
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "num_fewshot": 1,
        "fewshot_config": {"sampler": "first_n", "samples": [{"question": question, "answer": answer}]},
        "generation_kwargs": {"until": list(task.SAMPLING.stop), "do_sample": False, "temperature": 0.0},
        "repeats": 1,
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "ignore_punctuation": False,
                "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
            }
        ],
        "filter_list": [
            _filter("strict-match", "#### (\\-?[0-9\\.\\,]+)", None),
            _filter("flexible-extract", _NUMBER, -1),
        ],
        "metadata": {"version": 1},
    }


def _filter(name: str, pattern: str, group: int | None) -> dict[str, object]:
    picked = {"function": "regex", "regex_pattern": pattern, **({} if group is None else {"group_select": group})}
    return {"name": name, "filter": [picked, {"function": "take_first"}]}
