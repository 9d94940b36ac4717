"""The real lm-eval beside us: a model as it holds it, what it asks of a model, and data sets as it finds them."""

import json

import tiny

from harness import plugins, tokens
from harness.cli import main
from harness.types import Model


def sides(folder, manner):
    """A tiny model as lm-eval holds it, and its tokenizer as we speak to it."""
    folder = tiny.build(folder, manner)
    speech = plugins.room("harness.tokenizer").load(Model("tiny", "folder", None, folder, None, None))
    held = plugins.room("lm_eval.models.huggingface").HFLM(pretrained=str(folder), device="cpu")
    return held, speech


def asked_by_lm_eval(task, held, chat, limit):
    """(prompt, generation settings) of the first questions, as lm-eval's evaluator has them built."""
    task.set_fewshot_seed(1234)
    manner = {"apply_chat_template": chat, "fewshot_as_multiturn": chat}
    task.build_all_requests(limit=limit, **manner, chat_template=held.apply_chat_template if chat else None)
    return [instance.args for instance in task.instances]


def our_prompt(task, speech, problem):
    """The prompt as an engine's decoder would show it, and its ids."""
    chat = speech.manner.style == "template"
    text = getattr(task, "text", None)
    told = text(problem) if text and not chat else tokens.prompt_text(speech.tokenizer, task.messages(problem))
    return told, list(tokens.question(speech.tokenizer, speech.manner, task, problem).token_ids)


def held_ids(held, text):
    """The ids that lm-eval gives its model."""
    return held.tok_batch_encode([text])[0][0].tolist()


def hub_folder(place, repository, config, splits):
    """A data set in the hub's layout: one config, and the rows of each split."""
    folder = place / repository
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n")


def scored_twice(folder, task, mirror, capfd):
    """One model's two rows under one seed, each with a run and a board of its own here: their results, the words."""
    words = ["--engine", "transformers", "-o", "dtype=float32", "--datasets", str(mirror), "--task", task]
    rows = []
    for place in ("one", "two"):
        asked = ["baseline", str(folder), *words, "--leaderboards", place, "--run", f"run-{place}", "--json"]
        assert main(asked) == 0
        rows.append(json.loads(capfd.readouterr().out)["result"])
    assert rows[0]["completions_sha256"] == rows[1]["completions_sha256"]
    return rows[0], words
