"""Writes the two logs of this folder with the real inspect_ai and its mock model: `python make_logs.py FOLDER eval`.

The committed ones were written by inspect_ai 0.3.285 under Python 3.11 (`pip install inspect-ai`, 325 MB with what it
needs, which is why the suite does not install it). They hold four sums and two scorers; nothing is downloaded.
"""

import sys
from pathlib import Path

import inspect_ai
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes, match

MODEL = "mockllm/model"
# A last word for each of four sums: the second run gets one wrong and is cut at another.
ANSWERS = {"before": ("2", "4", "5", "8"), "after": ("2", "5", "6", "cut")}


def answer(word: str) -> ModelOutput:
    """Build an answer; its counts of tokens keep inspect_ai from downloading a tokenizer."""
    stop_reason = "max_tokens" if word == "cut" else "stop"
    output = ModelOutput.from_content(MODEL, f"The answer is {word}", stop_reason=stop_reason)
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


def write_log(folder: Path, name: str, log_format: str) -> Path:
    """Run the task and return the log, as FOLDER/NAME.eval or .json."""
    sums = [Sample(id=f"q{n}", input=f"What is {n} + {n}?", target=str(2 * n)) for n in range(1, 5)]
    task = inspect_ai.Task(dataset=MemoryDataset(sums), scorer=[match(numeric=True), includes()], name="sums")
    model = get_model(MODEL, custom_outputs=[answer(word) for word in ANSWERS[name]])
    (log,) = inspect_ai.eval(
        task,
        model=model,
        log_dir=str(folder / "logs"),
        log_format=log_format,
        display="none",
        max_samples=1,
        log_realtime=False,
    )
    return Path(log.location.removeprefix("file://")).rename(folder / f"{name}.{log_format}")


if __name__ == "__main__":
    for each in ANSWERS:
        write_log(Path(sys.argv[1]), each, sys.argv[2])
