"""`bench export lm-eval`: write one of bench's tasks as files that lm-eval runs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.command_options import argument, datasets_option
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Problem, Split
from baseline_bench.results.board import split_task_label

# The task whose filters and metric judge in lm-eval, which does not have bench's reader.
LM_EVAL_TASK = "gsm8k"
# JSON is valid YAML except for these characters, which YAML treats as line breaks or refuses.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The task to write, and the folder to write it to."""

    task: str = argument("a name of `bench list tasks`, or a .py file", "TASK")
    folder: Path = argument("default: %(default)s", "DIR", Path("lm-eval"))
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Write the task as lm-eval's own files, one for models with a chat template and one for those without.

    Raises:
        BenchError: the task is lm-eval's own, draws several answers, or has prompts that lm-eval files cannot express.
    """
    if ":" in options.task and not options.task.endswith(".py"):
        raise BenchError(f"{options.task} is lm-eval's own", f"lm_eval run --tasks {options.task.partition(':')[2]}")
    console.say(f"reading the task {options.task}")
    task = plugins.load_task(options.task)
    if task.SAMPLING.draws is not None:
        what = f"{task.LABEL} draws several answers, of which lm-eval's {LM_EVAL_TASK} judges the first alone"
        raise BenchError(what, "score it with bench")
    problems = list(task.problems(Split("test", mirror=options.mirror)))
    shots = _find_shots(task, problems)
    name = "bench_" + re.sub(r"[^a-z0-9]+", "_", task.LABEL.lower()).strip("_")  # for lm-eval's command line
    grading = _build_grading_config(task)
    chat = {
        "task": name,
        **_write_questions(problems, options.folder, name),
        **_build_prompt_config(task, shots),
        **grading,
    }
    text = {
        **chat,
        "task": f"{name}_text",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
    }
    files = [_write_task_file(options.folder, task, config) for config in (chat, text)]
    run = f"lm_eval run --model hf --model_args pretrained=MODEL --include_path {options.folder} --tasks"
    rows = [("written", ", ".join(map(str, files)))]
    rows += [("chat template", f"{run} {name} --apply_chat_template --fewshot_as_multiturn True")]
    rows += [("none", f"{run} {name}_text")]
    console.print(build_facts_table(f"{task.LABEL} for lm-eval", rows))
    return 0


def _find_shots(task: Task, problems: Sequence[Problem]) -> tuple[Message, ...]:
    """Return the worked examples, which must be the same for every question."""
    if not problems:
        raise BenchError(f"{task.LABEL} has no problems", "check the data set")
    shots = task.messages(problems[0])[:-1]
    for problem in problems:
        if task.messages(problem) != (*shots, Message("user", problem.question)):
            what = f"{problem.id} of {task.LABEL} is not asked as the same examples and then its question"
            raise BenchError(what, "lm-eval can draw such prompts by a program alone: score it with bench")
    if [turn.role for turn in shots] != ["user", "assistant"] * (len(shots) // 2):
        raise BenchError(f"the examples of {task.LABEL} are not question and answer by turns", "score it with bench")
    return shots


def _write_questions(problems: Sequence[Problem], folder: Path, name: str) -> dict[str, object]:
    """Write the questions to a file and return the settings by which lm-eval finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    rows = [{"id": problem.id, "question": problem.question, "answer": problem.solution} for problem in problems]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    files = {"data_files": {"test": str(file.resolve())}}
    return {"dataset_path": "json", "dataset_kwargs": files, "test_split": "test"}


def _build_prompt_config(task: Task, shots: Sequence[Message]) -> dict[str, object]:
    sampling = task.SAMPLING
    pairs = zip(shots[::2], shots[1::2], strict=True)
    examples = [{"question": question.content, "answer": answer.content} for question, answer in pairs]
    return {
        "output_type": "generate_until",
        "doc_to_text": "question",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "fewshot_delimiter": "",
        "num_fewshot": len(examples),
        "fewshot_config": {"sampler": "first_n", "samples": examples},
        "generation_kwargs": {
            "until": list(sampling.stop),
            "max_gen_toks": sampling.max_tokens,
            "do_sample": sampling.temperature > 0,
            "temperature": sampling.temperature,
            **({} if sampling.top_p is None else {"top_p": sampling.top_p}),
        },
        "repeats": 1,
    }


def _build_grading_config(task: Task) -> dict[str, object]:
    """Return lm-eval's filters and metric for numbers, as the installed lm-eval defines them."""
    from baseline_bench.tasks import _lm_eval_numbers  # loads lm_eval

    judge: Any = _lm_eval_numbers.NumberJudge(LM_EVAL_TASK)
    metadata = {"version": split_task_label(task.LABEL)[1], "label": task.LABEL, "judged_like": judge.label}
    return {**judge.rules, "metadata": metadata}


def _write_task_file(folder: Path, task: Task, config: Mapping[str, object]) -> Path:
    file = folder / f"{config['task']}.yaml"
    lines = [f"# {task.LABEL} as bench asks it; lm-eval's own filters and metric judge, not bench's reader."]
    for key, value in config.items():
        text = json.dumps(value, ensure_ascii=False)
        lines.append(f"{key}: " + _NOT_YAML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
