"""lm-eval beside us: small data sets as it finds them, its tasks over them, and what its own models say of them."""

import json

import yaml
from baseline_bench.core import plugins
from baseline_bench.core.types import Model, Sampling
from baseline_bench.evaluation import evaluate
from baseline_bench.models import tokenizer, tokens
from baseline_bench.tasks import _lm_eval_files, _lm_eval_model
from paths import DATA

FILES = DATA / "lm_eval_tasks"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
_THINGS = ("apples", "eggs", "pages", "birds", "trees", "dollars", "cents", "days", "shares")


def named(file):
    """A task of ours over a file of this folder."""
    return f"lm-eval:{FILES / file}.yaml"


def data(place, items=9):
    """The data sets of the files, in the hub's layout: questions with three choices, and sums."""
    letters = [
        {
            "question": f"Tom has {n} {thing} and buys {n + 1} more {thing}. What does he count?",
            "choices": [f"{2 * n + 1} {thing}", f"the {thing} of the morning", f"{thing} {n}"],
            "answer": n % 3,
        }
        for n, thing in ((n, _THINGS[n % len(_THINGS)]) for n in range(items))
    ]
    sums = [{"question": f"What is {n} + {n + 2}?", "answer": str(2 * n + 2)} for n in range(items)]
    hub_folder(place, "tiny/letters", "default", {"test": letters, "train": letters[::-1]})
    hub_folder(place, "tiny/sums", "default", {"test": sums, "train": sums[::-1]})
    return place


def hub_folder(place, repository, config, splits):
    """A data set in the hub's layout: one config, and the rows of each split."""
    folder = place / repository
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n")


def speech_of(folder):
    """A model's tokenizer as we speak to it."""
    return tokenizer.load_tokenizer(Model("tiny", "folder", None, folder, None, None))


def held(folder):
    """The model as lm-eval's own `hf` class holds it, in float32."""
    from lm_eval.models import huggingface

    kind = huggingface.HFLM
    return kind(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)


def ours(folder, sampling):
    """One of our engines as a model of lm-eval."""
    engine = plugins.load_engine("transformers")
    generator = engine.load(
        Model("tiny", "folder", None, folder, None, None), engine.Options(dtype="float32", device="cpu")
    )
    model_tokenizer = speech_of(folder)

    def ask(requests):
        found = dict(evaluate.stream_completions(requests, generator, sampling, model_tokenizer.prompt_format.stop_ids))
        return [found[request.id] for request in requests]

    return _lm_eval_model.EngineLM(model_tokenizer, ask)


def evaluated(model, file, mirror, *, chat):
    """What lm-eval's own evaluator finds with a model on a file of this folder: its results, and its samples."""
    from lm_eval import evaluator, tasks

    settings = yaml.safe_load((FILES / f"{file}.yaml").read_text())
    settings["dataset_path"] = str(mirror / settings["dataset_path"])
    loaded = tasks.TaskManager(include_defaults=False).load(settings)
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", task.config.num_fewshot or 0)
        task.set_fewshot_seed(1234)
    found = evaluator.evaluate(
        model, loaded, bootstrap_iters=0, apply_chat_template=chat, fewshot_as_multiturn=chat, log_samples=True
    )
    return found["results"][settings["task"]], found["samples"][settings["task"]]


def sampling_of(file):
    """How a file of this folder has answers generated."""
    return _lm_eval_files.find_task(str(FILES / f"{file}.yaml")).members[0].sampling or Sampling(0)


def our_prompt(task, model_tokenizer, problem):
    """The prompt as an engine's decoder would show it, and its ids."""
    chat = model_tokenizer.prompt_format.style == "template"
    text = getattr(task, "text", None)
    told = (
        text(problem) if text and not chat else tokens.render_prompt(model_tokenizer.tokenizer, task.messages(problem))
    )
    return told, list(
        tokens.build_request(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task, problem).token_ids
    )
