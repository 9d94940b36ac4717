"""A foreign trainer is three functions; whatever its command does, there is a sound candidate or one message."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import tiny_lora
import tiny_training
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.models import weights
from safetensors.torch import load_file, save_file

# A whole foreign trainer; its script moves every norm of the base, or does whatever replaces it.
TRAINER = '''
from baseline_bench.trainers._foreign import format_jsonl
from baseline_bench.trainers._options import ExternalOptions as Options

SCRIPT = """
{script}
"""

def files(job):
    return {{"train.py": SCRIPT.replace("BASE", str(job.base.folder)), "rows.jsonl": format_jsonl(job.rows)}}

def command(job):
    return ["python", "train.py"]

def weights(job):
    return "out"
'''
SOUND = """
import json, shutil
from safetensors.numpy import load_file, save_file
print("training", len(open("rows.jsonl").readlines()), "rows")
shutil.copytree("BASE", "out")
tensors = load_file("out/model.safetensors")
for name in [name for name in tensors if "norm" in name]:
    tensors[name] += 0.5
save_file(tensors, "out/model.safetensors", {"format": "pt"})
history = [{"step": n, "loss": 3.0 - n, "learning_rate": 0.1, "epoch": n / 2} for n in (1, 2)]
json.dump({"log_history": [*history, {"step": 2, "train_runtime": 8.0}]}, open("out/trainer_state.json", "w"))
"""
DONE = "\njson.dump({'log_history': [{'step': 1, 'loss': 1, 'learning_rate': 1}]}, open('trainer_state.json', 'w'))\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def train(base, tmp_path):
    """Train by a script of one's own over five rows, three a step."""

    def run(script=SOUND, **over):
        path = tmp_path / "own.py"
        path.write_text(TRAINER.format(script=script.replace("\\", "\\\\")))
        trainer = plugins.load_trainer(str(path))
        given = {key: over.pop(key) for key in ("checkpoints", "processes") if key in over}
        options = trainer.Options(**{"batch": 3, "time_limit": 100.0} | over)
        return tiny_training.run(trainer.train, base, tiny_training.rows(base, 5), tmp_path / "run", options, **given)

    return run


def refused(train, script=SOUND, **over) -> str:
    """What is told, by one error, where nothing was kept."""
    with pytest.raises(BenchError) as caught:
        train(script, **over)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_three_functions_are_a_trainer(train, base, tmp_path):
    """Its weights are handed on with the base's own tokenizer and config; its history becomes steps of known rows."""
    made = train()
    assert (made.trained.kind, made.trained.weights) == ("full", tmp_path / "run" / "weights")
    for name in ("tokenizer.json", "config.json"):
        assert (made.trained.weights / name).read_bytes() == (base.folder / name).read_bytes()
    assert [(step.number, step.total, step.loss, step.rows, step.seconds) for step in made.steps] == [
        (1, 2, 2.0, 3, 4.0),
        (2, 2, 1.0, 2, 8.0),
    ]
    tokens = sum(len(row.token_ids) for row in tiny_training.rows(base, 5))
    assert sum(step.tokens for step in made.steps) == tokens
    count = sum(tensor.numel() for tensor in load_file(made.trained.weights / "model.safetensors").values())
    assert made.trained.parameters == made.trained.trainable == count
    assert made.trained.libraries["torch"]
    assert "training 5 rows" in (tmp_path / "run" / "foreign.log").read_text()


def test_the_rows_are_our_token_ids_with_what_is_not_supervised_masked(train, base, tmp_path):
    """No text, no template: ids, a mask of ones, and labels that are -100 up to where a row's completion starts."""
    train()
    lines = (tmp_path / "run" / "foreign" / "rows.jsonl").read_text().splitlines()
    for line, row in zip(lines, tiny_training.rows(base, 5), strict=True):
        told = json.loads(line)
        assert tuple(told["input_ids"]) == row.token_ids
        assert told["labels"] == [-100] * row.start + list(row.token_ids[row.start :])
        assert told["attention_mask"] == [1] * len(row.token_ids)


def test_a_trainer_that_fails_is_told_with_the_end_of_its_log(train, tmp_path):
    """Status, last lines, where the whole log lies; no weights."""
    told = refused(train, "print('loading')\nraise SystemExit('no GPU here')")
    assert told.startswith("own: its command ended with status 1; its log ends: loading | no GPU here: look into ")
    assert "own: it was killed by the system" in refused(train, "import os\nos.kill(os.getpid(), 9)")
    assert not (tmp_path / "run" / "weights").exists()


def test_a_trainer_that_hangs_is_ended_with_all_that_it_started(train, tmp_path):
    """At the time limit; a grandchild does not live on."""
    script = "import subprocess, sys\nprint('begun', flush=True)\n"
    script += "subprocess.run([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'])"
    told = refused(train, script, time_limit=2.0)
    assert "ended after 2 seconds, the recipe's time_limit; its log ends: begun" in told
    assert "--set time_limit=SECONDS" in told
    await_end(str(tmp_path / "run"))


def await_end(place: str) -> None:
    """What was killed takes a moment to be gone."""
    for _ in range(500):
        if not running(place):
            return
        time.sleep(0.02)
    assert running(place) == []


def running(place: str) -> list[str]:
    """Processes that work in a folder below this one."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found += [str(cwd)] if str(cwd.readlink()).startswith(place) else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("print('done')", "ended without an error and left no weights in .*out; its log ends: done"),
        ("import os; os.mkdir('out')", "left no weights in .*out; its log is empty"),
        (SOUND.replace("trainer_state.json", "other.json"), "it reported no loss; .*logging_steps = 1"),
        (SOUND.replace('"step": n', '"step": 10 * n'), "not every step from 1 to 2"),
        (SOUND.replace("3.0 - n", "float('nan')"), "its loss became nan at step 1; .*lower the learning rate"),
        (SOUND.replace('"learning_rate": 0.1', '"rate": 1'), "step 1 of its history has no learning_rate"),
        (SOUND.replace("+= 0.5", "+= 0"), "training changed no weight"),
        (SOUND.replace("+= 0.5", "*= float('nan')"), "holds NaN or infinity"),
        ("import json, os\nos.symlink('BASE', 'out')" + DONE, "leads out of the run's folder"),
    ],
    ids=["silent", "empty", "no loss", "not every step", "nan loss", "no rate", "unchanged", "nan", "linked"],
)
def test_a_trainer_that_leaves_no_sound_training_leaves_no_weights(train, base, tmp_path, script, told):
    """Each is told in one line, and the base is as it was."""
    with pytest.raises(BenchError, match=told):
        train(script)
    assert not (tmp_path / "run" / "weights").exists()
    assert weights.digest_weights(base.folder) == base.weights_sha256


@pytest.mark.parametrize("other", ["another", "wider"])
def test_another_model_s_weights_are_no_candidate(train, tmp_path, other):
    """One of the same shapes is told by its direction, one of others by its tensors."""
    folder = tiny.build(tmp_path / "other", "gemma" if other == "wider" else "chatml", seed=1)
    told = refused(train, SOUND.replace("BASE", str(folder)))
    causes = {"wider": "does not hold the tensors of its base"}
    assert causes.get(other, "it wrote another model's weights: their cosine") in told
    assert "its log ends: training 5 rows" in told
    assert not (tmp_path / "run" / "weights").exists()


def adapter_script(folder: Path) -> str:
    """A trainer that hands out an adapter that lies elsewhere."""
    return f"import json, shutil\nshutil.copytree('{folder}', 'out'){DONE}"


def test_an_adapter_is_handed_on_under_its_base_s_name(train, base, tmp_path):
    """A path of this machine does not stay in it; its numbers are counted beside the base's."""
    folder = tiny_lora.build(base.folder, tmp_path / "adapter")
    made = train(adapter_script(folder))
    config = json.loads((made.trained.weights / "adapter_config.json").read_text())
    assert (made.trained.kind, config["base_model_name_or_path"]) == ("adapter", "tiny")
    assert 0 < made.trained.trainable < made.trained.parameters


def test_an_adapter_of_another_base_is_no_candidate(train, base, tmp_path):
    """By the base that it names, or by shapes that do not fit."""
    other = tiny.build(tmp_path / "other", "gemma")
    folder = tiny_lora.build(other, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert "its adapter says that it was trained on" in refused(train, adapter_script(folder))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    tensors = load_file(folder / "adapter_model.safetensors")
    deeper = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in tensors.items()}
    save_file(deeper, folder / "adapter_model.safetensors")
    assert "does not fit" in refused(train, adapter_script(folder))
    assert not (tmp_path / "run" / "weights").exists()


def test_the_interpreter_is_the_recipe_s(train, tmp_path):
    """Its python runs the command, its libraries are recorded; one that is not there is told before anything runs."""
    link = tmp_path / "python-of-my-own"
    link.write_text(f'#!/bin/sh\nexport OWN=1\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    assert "own" in refused(
        train, "import os\nraise SystemExit('own' if 'OWN' in os.environ else 'other')", python=str(link)
    )
    assert "python no-such-python is not there: --set python=PATH" in refused(train, python="no-such-python")
    link.write_text("#!/bin/sh\necho hello\n")
    assert "is no Python that runs" in refused(train, python=str(link))


def test_what_an_interpreter_lacks_is_told_with_how_to_install_it(train, base, tmp_path):
    """By the name of the package, into that interpreter."""
    path = tmp_path / "needy.py"
    path.write_text(TRAINER.format(script=SOUND) + '\nLIBRARIES = ("no-such-library",)\n')
    trainer = plugins.load_trainer(str(path))
    job = tiny_training.job(base, tiny_training.rows(base, 2), tmp_path / "run", trainer.Options())
    with pytest.raises(BenchError, match=r"lacks no-such-library: .*python.* -m pip install no-such-library"):
        trainer.train(job)


@pytest.mark.parametrize(("over"), [{"processes": 2}, {"checkpoints": 1}])
def test_what_a_foreign_trainer_cannot_share_is_refused(train, over):
    """--gpus and --checkpoints are for trainers that know of them."""
    assert "leave both out" in refused(train, **over)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "def command(job):",
            "def other(job):",
            "own.py) lacks command: a trainer has Options, files, command, weights",
        ),
        ("def command(job):", "def command():", "has command(), and command(job) is called"),
        ("import ExternalOptions as Options", "import Full as Options", "has Options without python, time_limit"),
        ("def weights(job):", "weights = 'out'\ndef other(job):", "has weights that is no function"),
        ('return ["python", "train.py"]', 'return "python train.py"', "own.py: command(job) must give a list of words"),
        ('return ["python", "train.py"]', "return []", "own.py: command(job) must give a list of words"),
        ('return ["python", "train.py"]', 'return ["no-such-program"]', "there is no program no-such-program"),
        ('return "out"', 'return "/out"', "own.py: weights(job) must give the path of a folder below its own"),
        ('"rows.jsonl":', '"../rows.jsonl":', "own.py: files(job) must give names of files below its folder"),
        ("format_jsonl(job.rows)", "job.rows", "own.py: files(job) must give names of files below its folder"),
    ],
)
def test_a_foreign_trainer_that_breaks_its_contract_is_named(base, tmp_path, old, new, told):
    """File, member, and what was expected."""
    text = TRAINER.format(script=SOUND)
    assert old in text
    path = tmp_path / "own.py"
    path.write_text(text.replace(old, new))

    def train():
        trainer = plugins.load_trainer(str(path))
        options = trainer.Options(batch=3)
        trainer.train(tiny_training.job(base, tiny_training.rows(base, 2), tmp_path / "run", options))

    with pytest.raises(BenchError) as caught:
        train()
    assert told in str(caught.value)


def test_a_launcher_may_end_what_it_started_elsewhere(train, tmp_path):
    """It is asked to end before it is made to: what it put into a session of its own it can then end itself."""
    script = "import signal, subprocess, sys\n"
    script += (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    )
    script += "signal.signal(signal.SIGTERM, lambda *_: (child.kill(), print('ended it', flush=True), sys.exit(0)))\n"
    script += "child.wait()"
    assert "its log ends: ended it" in refused(train, script, time_limit=2.0)
    await_end(str(tmp_path / "run"))


def test_a_killed_training_takes_its_command_with_it(base, tmp_path):
    """The command ends when the process that asked for it does, however that ended."""
    script = "import os, signal, subprocess, sys; "
    script += "from baseline_bench.trainers import _child_guard as _leash\n"
    script += (
        "subprocess.Popen([sys.executable, _leash.__file__, sys.executable, '-c', 'import time; time.sleep(600)'],"
    )
    script += " stdin=subprocess.PIPE, start_new_session=True)\nprint(sys.stdin.readline())\nos.kill(os.getpid(), 9)"
    place = tmp_path / "there"
    place.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, cwd=place)
    while len(running(str(place))) < 3:
        time.sleep(0.02)
    parent.communicate(b"go\n")
    assert parent.returncode == -9
    await_end(str(place))
