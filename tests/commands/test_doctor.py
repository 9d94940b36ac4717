"""`bench doctor` says of a candidate's files what would make it score wrongly, each finding with its way out."""

import json
import re
import shutil
from pathlib import Path

import baseline_bench
import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.models import weights
from safetensors.torch import load_file, save_file
from tiny_study import bench

pytestmark = pytest.mark.usefixtures("forked_children")

EMBEDDING = "model.embed_tokens.weight"
SOUND = "nothing that would make this model score wrongly"
NAN = float("nan")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A base whose head is tied, another one, one whose head is not, an adapter of the first, and one fine-tuned."""
    folder = tmp_path_factory.mktemp("doctor") / "here"
    tiny.build(folder / "base")
    tiny.build(folder / "other", seed=1)
    tiny.build(folder / "untied", "plain")
    shutil.copytree(folder / "base", folder / "tuned")
    change(folder / "tuned", lambda tensors: [tensor.mul_(1.01) for tensor in tensors.values()])
    adapter = tiny_lora.build(folder / "base", folder / "adapter", size=0.05)
    config = adapter / weights.ADAPTER_CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "./base"}))
    return folder


@pytest.fixture
def here(prepared, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "here")


def findings(here: Path, capfd, *words: object) -> list[str]:
    """What doctor finds, the exit status agreeing with it; no answers are generated unless `words` ask for them."""
    asked = words if "--answers" in words else (*words, "--answers", "0")
    capfd.readouterr()
    status = bench(here, "doctor", *asked)
    out = capfd.readouterr().out
    lines = " ".join(out.partition("findings:")[2].split()).removeprefix("- ").split(" - ")
    assert status == (0 if lines == [SOUND] else 1)
    return lines


def change(folder: Path, of, file: str = weights.SINGLE_FILE) -> None:
    """Change a folder's tensors."""
    tensors = load_file(folder / file)
    of(tensors)
    save_file(tensors, folder / file, {"format": "pt"})


def edit(file: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "words", [("base",), ("adapter", "--base", "./base"), ("untied",), ("tuned", "--base", "./base")]
)
def test_what_is_sound_has_no_findings(here, capfd, words):
    """A base, an adapter with the base that it names, whole weights beside their base."""
    assert findings(here, capfd, *words) == [SOUND]


@pytest.mark.parametrize(
    ("words", "model", "base"),
    [
        (("base",), "base", None),
        (("tuned", "--base", "./base"), "tuned", "base"),
        (("adapter", "--base", "./base"), "adapter", "base"),
        (("adapter", "--base", "./other"), "adapter", "other"),
        (("trained", "--base", "./base"), "trained/checkpoint-20", "base"),
    ],
)
def test_the_folders_that_were_looked_at_are_printed(here, capfd, words, model, base):
    """Of the model and of its base, the checkpoint of a trainer's output included, to a person and in the record."""
    for step in (3, 20):
        shutil.copytree(here / "adapter", here / "trained" / f"checkpoint-{step}")
    bench(here, "doctor", *words, "--answers", "0", "--json")
    files = json.loads(capfd.readouterr().out)["files"]
    assert {what: None if place is None else Path(place) for what, place in files.items()} == {
        "model": (here / model).resolve(),
        "base": None if base is None else (here / base).resolve(),
    }
    bench(here, "doctor", *words, "--answers", "0")
    printed = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert printed[: 1 + (base is not None)] == [f"{what}: {place}" for what, place in files.items() if place]


def lose_tokenizer(here):
    """As a trainer does that was given no tokenizer to save."""
    (here / "tuned" / "tokenizer.json").unlink()


def copy_end(here):
    """Rows of tokens that were added and never trained are often one and the same."""
    change(here / "tuned", lambda tensors: tensors[EMBEDDING][2].copy_(tensors[EMBEDDING][5]))


def cut_end(here):
    """A token that was added to the tokenizer alone."""
    change(here / "tuned", lambda tensors: tensors.update({EMBEDDING: tensors[EMBEDDING][:2].clone()}))
    edit(here / "tuned" / "config.json", vocab_size=2, eos_token_id=1, pad_token_id=0, bos_token_id=0)


def other_template(here):
    """One turn less of it."""
    file = here / "tuned" / "chat_template.jinja"
    file.write_text(file.read_text().replace("You are a tiny model that counts.", "Count."))


@pytest.mark.parametrize(
    ("harm", "words", "told"),
    [
        (
            lose_tokenizer,
            (),
            "the tokenizer is missing (tokenizer.json or tokenizer.model): copy the tokenizer's files",
        ),
        (
            copy_end,
            (),
            "token 2 <|im_end|> has the very row of 1 other tokens (5 first) in model.embed_tokens.weight: it",
        ),
        (other_template, ("--base", "./base"), "its chat template is not its base's ("),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_with_whole_weights_is_one_finding(here, capfd, harm, words, told):
    """By the files alone, with the way out; nothing else is found because of it."""
    harm(here)
    (finding,) = findings(here, capfd, "tuned", *words)
    assert told in finding


def test_tokens_beyond_the_embedding_can_be_neither_written_nor_read(here, capfd):
    """The one that ends answers, and those of the prompt."""
    cut_end(here)
    end, prompt = findings(here, capfd, "tuned")
    assert "token 2 <|im_end|> is none of the 2 rows of model.embed_tokens.weight, and can never be written" in end
    assert "1 of 1 texts hold tokens that the model cannot read" in prompt


def spoil(tensors):
    """One number."""
    next(iter(tensors.values()))[0, 0] = NAN


def test_an_adapter_that_broke_is_found(here, capfd):
    """Before it is merged."""
    change(here / "adapter", spoil, "adapter_model.safetensors")
    (finding,) = findings(here, capfd, "adapter", "--base", "./base")
    assert "1 tensors hold numbers that are not finite" in finding
    assert finding.rpartition(": ")[2]


def test_an_adapter_of_another_base_is_found(here, capfd):
    """Of the same shape it is told by its name, of another shape by its tensors."""
    (told,) = findings(here, capfd, "adapter", "--base", "./other")
    assert "says that it was trained on ./base, and not on ./other: leave --base out, or name that model" in told
    half = {name: tensor[:128] for name, tensor in load_file(here / "other" / weights.SINGLE_FILE).items()}
    save_file(
        {name: tensor.clone() for name, tensor in half.items()}, here / "other" / weights.SINGLE_FILE, {"format": "pt"}
    )
    told = findings(here, capfd, "adapter", "--base", "./other")
    assert "does not fit" in told[0]


def test_answers_that_never_end_are_told_with_the_padding_that_hides_their_end(here, capfd):
    """By generation: an adapter is merged for it; padding that is the stop token is what trainers mask."""
    words = ("--engine", "transformers", "-o", "dtype=float32", "--answers", "1")
    (told,) = findings(here, capfd, "adapter", "--base", "./base", *words)
    assert "no answer ended by itself: 2 <|im_end|> was never learned" in told
    assert (here / "adapter" / "merged" / weights.SINGLE_FILE).is_file()
    edit(here / "tuned" / "tokenizer_config.json", pad_token="<|im_end|>")
    (told,) = findings(here, capfd, "tuned", *words)
    assert "2 <|im_end|> ends answers and is the padding too, which trainers leave out of the loss" in told


def test_pickled_weights_are_found_and_not_loaded(here, capfd):
    """The file is not opened."""
    (here / "tuned" / weights.SINGLE_FILE).unlink()
    torch.save({}, here / "tuned" / "pytorch_model.bin")
    (told,) = findings(here, capfd, "tuned")
    assert "pickled weights (pytorch_model.bin) run code when they are loaded: safetensors only" in told


SECRETS = {
    "HF_TOKEN": "hf_plantedPlantedPlanted",
    "MY_API_KEY": 'quoted"and\\odd-käy',
    "WANDB_PASSWORD": "0123456789",
}


@pytest.fixture
def failing_run(tmp_path, monkeypatch) -> Path:
    """A run whose records hold secrets and names in every way that is known, and answers that are nobody's business."""
    monkeypatch.setenv("HOME", str(tmp_path / "people" / "jane.roe"))
    monkeypatch.setenv("LOGNAME", "janeroe")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-07.lab.example")
    monkeypatch.chdir(tmp_path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = {
        "model": f"{tmp_path}/people/jane.roe/models/secretive",
        "data": "/home/otheruser/data",
        "note": "janeroe on gpu-07, " + ", ".join(SECRETS.values()),
        "endpoint": "http://me:pass1234@internal.corp:8000/v1",
        "error": "401 for hf_anotherTokenOfSomebody, Authorization: Bearer abcdef.ghi, api_key=9plain",
        "command": "serve --api-key flagged -o 'token=two words' --seed 4; password='small words' eyJhbGci.eyJz.x",
        "api_token": 'four "more" words',
        "max_tokens": 512,
        "pad_token": 0,
        "dtype": "bfloat16",
    }
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"settings": settings}))
    (run / "engine.json").write_text(json.dumps({"version": "transformers 5.17.0"}))
    (run / "completions.jsonl").write_text('{"text": "private words"}\n')
    (run / "huge.json").write_text(" " * (2**20 + 1))
    return run


def test_a_bundle_shows_no_secret_and_no_name(failing_run, tmp_path):
    """Neither from the environment, nor of a known form, nor in an address; answers are left out."""
    assert bench(tmp_path, "doctor", str(failing_run), "--bundle", "bundle.txt") == 0
    text = (tmp_path / "bundle.txt").read_text()
    private = [*SECRETS.values(), "jane.roe", "janeroe", "otheruser", "gpu-07", "lab.example", "internal.corp"]
    private += ["pass1234", "hf_another", "abcdef.ghi", "9plain", "käy", "private words"]
    private += ["flagged", "two words", "small words", "more", "eyJ"]
    assert [word for word in private if word in text or json.dumps(word)[1:-1] in text] == []


def test_a_bundle_keeps_what_explains_a_failure(failing_run, tmp_path, capfd):
    """Versions and machine, settings and the engine; what it contains is printed."""
    assert bench(tmp_path, "doctor", str(failing_run), "--bundle", "bundle.txt") == 0
    printed = [line.partition(":")[0] for line in capfd.readouterr().out.splitlines()]
    parts = re.split(r"^== (\S+) ==$", (tmp_path / "bundle.txt").read_text(), flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert printed == list(sections) == ["versions", "engine.json", "run.json"]
    versions = json.loads(sections["versions"])
    assert versions["bench"] == baseline_bench.__version__
    assert versions["libraries"]["torch"] == torch.__version__
    assert json.loads(sections["engine.json"]) == {"version": "transformers 5.17.0"}
    kept = json.loads(sections["run.json"])["settings"]
    assert (kept["dtype"], kept["max_tokens"], kept["pad_token"]) == ("bfloat16", 512, 0)
    assert kept["model"] == "~/models/secretive"
    assert "--seed 4" in kept["command"]


def test_a_bundle_of_no_run_is_the_versions_alone(tmp_path, capfd):
    """Without a model, too; a folder without records is an error, and so is neither."""
    assert bench(tmp_path, "doctor", "--bundle", "bundle.txt") == 0
    assert capfd.readouterr().out.startswith("versions:")
    (tmp_path / "empty").mkdir()
    for words in (["empty", "--bundle", "other.txt"], ["--bundle", "none/other.txt"], []):
        assert bench(tmp_path, "doctor", *words) == 1
        assert capfd.readouterr().err.startswith("bench: ")
    assert not (tmp_path / "other.txt").exists()
