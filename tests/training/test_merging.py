"""`bench merge` and `bench score`: what was trained here or elsewhere becomes whole weights, once, and is scored."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import tiny_lora
import tiny_study
import torch
from baseline_bench.analysis.compare import is_base
from baseline_bench.core import locks
from baseline_bench.core.locks import FolderLock
from baseline_bench.models import manifest, merge, weights
from baseline_bench.models.adapter import MergeOptions
from baseline_bench.results import candidate
from baseline_bench.training import merging
from corpus.entries import edit
from safetensors.torch import load_file, save_file
from tiny_study import SCRIPTED, bench, only, rows

pytestmark = pytest.mark.usefixtures("forked_children")

TASK = ("--task", "word-problems", *SCRIPTED)
COPIED = """\
import shutil
from pathlib import Path
from dataclasses import dataclass
from baseline_bench.core.types import Step, TrainingResult

@dataclass(frozen=True, slots=True)
class Options:
    adapter: str

def train(job):
    for name in ("weights", "checkpoint-000001"):
        shutil.copytree(job.options.adapter, job.folder / name)
    job.report(Step(1, 2, 2.0, 0.1, None, 1, 10, 5, 0.5))
    job.report(Step(2, 2, 1.0, 0.1, None, 1, 10, 5, 1.0))
    return TrainingResult("adapter", job.folder / "weights", {1: job.folder / "checkpoint-000001"}, 10, 100)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A Gemma base, an adapter from elsewhere, and a training that made one like it with a checkpoint; merged."""
    folder = tiny_study.build(tmp_path_factory.mktemp("merging") / "here", "gemma")
    tiny_lora.build(folder / "base", folder / "adapter", size=0.05)
    (folder / "own.py").write_text(COPIED)
    text = tiny_study.RECIPE.replace("{trainer}", "own.py").partition("lr =")[0]
    (folder / "own.toml").write_text(f'{text}adapter = "{folder / "adapter"}"\n')
    assert bench(folder, "train", "own.toml") == 0
    assert bench(folder, "merge", only(folder, "runs/*")) == 0
    assert bench(folder, "merge", "adapter", "--base", "./base") == 0
    return folder


@pytest.fixture
def here(prepared, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "here")


def said(capfd) -> str:
    """The one line on stderr of a command that failed."""
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bench: ")]
    return line


def test_a_training_s_adapter_becomes_whole_weights(prepared):
    """Beside their record, with the base's tokenizer and names; every target changed and nothing else."""
    run = only(prepared, "runs/*")
    record = json.loads((run / "merged" / merging.RECORD_FILE).read_bytes())
    base, merged = (load_file(folder / weights.SINGLE_FILE) for folder in (prepared / "base", run / "merged"))
    assert weights.digest_weights(run / "merged") == record["merged_sha256"]
    assert record["base_sha256"] == weights.digest_weights(prepared / "base")
    assert base.keys() == merged.keys()
    changed = {name for name in base if not torch.equal(base[name].bfloat16(), merged[name].bfloat16())}
    assert len(changed) == record["targets"] == 14
    assert all("_proj" in name for name in changed)
    assert (run / "merged" / "tokenizer.json").read_bytes() == (prepared / "base" / "tokenizer.json").read_bytes()


def test_what_merging_lost_is_recorded_with_its_effect(prepared, capfd):
    """The norm of what rounding took, and what the merged model says of the probes beside the unmerged one."""
    run = only(prepared, "runs/*")
    assert bench(prepared, "merge", run) == 0
    record, out = json.loads((run / "merged" / merging.RECORD_FILE).read_bytes()), capfd.readouterr().out
    assert 0 <= record["rel_err"] < 1
    assert 0 <= record["mean_kl"] < 0.05
    assert 0.8 < record["greedy_agreement"] <= 1
    assert record["positions"] > 100
    for word in ("14 tensors in bfloat16", "% of the change", "KL", "greedy agreement"):
        assert word in " ".join(out.split())


def test_a_merge_is_done_once(here):
    """The second time nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("*")}
    assert bench(here, "merge", only(here, "runs/*")) == 0
    assert {path: path.stat().st_mtime_ns for path in (here / "runs").rglob("*")} == before


@pytest.mark.parametrize("last", [merging.RECORD_FILE, manifest.MANIFEST_FILE])
def test_a_merge_that_was_killed_is_done_again(here, last):
    """Record and manifest are written last: without one of them merged weights are taken for torn."""
    merged = only(here, "runs/*/merged")
    (merged / last).unlink()
    (merged / weights.SINGLE_FILE).write_bytes(b"torn")
    assert bench(here, "merge", only(here, "runs/*")) == 0
    assert weights.digest_weights(merged) == json.loads((merged / merging.RECORD_FILE).read_bytes())["merged_sha256"]


def test_a_merge_that_is_killed_while_it_removes_a_torn_one_stops_no_later_merge(tmp_path, monkeypatch):
    """The torn folder has another name before its first file goes."""
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / merge.RECORD_FILE).write_text("{}")
    monkeypatch.setattr(merging.shutil, "rmtree", lambda folder, **_: Path(folder / "gone").read_bytes())
    with pytest.raises(FileNotFoundError):
        merging.merge_in_child((tmp_path, None, tmp_path, merged, (), MergeOptions()), None, 0)
    assert not merged.exists()


def test_drafts_of_killed_merges_are_swept(here):
    """Those of this very folder: nothing else that is hidden there, and none of another's."""
    run = only(here, "runs/*")
    shutil.rmtree(run / "merged")
    own = [run / f".merged-{number:032x}" for number in range(2)]
    others = [run / f".{name}-{0:032x}" for name in ("merged-000002", "remerged")] + [run / ".merged-notes"]
    for folder in (*own, *others):
        folder.mkdir()
        (folder / "torn").write_text("torn")
    assert bench(here, "merge", run) == 0
    assert sorted(path for path in run.iterdir() if path.name.startswith(".")) == sorted(others)


def test_a_merge_waits_for_another_into_the_same_folder(here, monkeypatch):
    """The draft of a live process is left to it; what it merged meanwhile is not merged again."""
    run = only(here, "runs/*")
    merged, draft, asked = run / "merged", run / f".merged-{1:032x}", threading.Event()
    merged.rename(draft)
    lock = locks._lock_descriptor

    def tell(descriptor, *, wait):
        asked.set()
        lock(descriptor, wait=wait)

    request = None, None, None, merged, (), MergeOptions()
    with FolderLock(run, wait=False, name=".merged.lock"):
        monkeypatch.setattr(locks, "_lock_descriptor", tell)
        other = threading.Thread(target=merging.merge_in_child, args=(request, None, 0))
        other.start()
        asked.wait()
        draft.rename(merged)
    other.join()
    assert merging._is_merged(merged)
    assert not list(run.glob(".*"))


def test_a_checkpoint_is_merged_beside_the_last(here):
    """`--step` names it; a step that was not kept is answered with those that were."""
    run = only(here, "runs/*")
    assert bench(here, "merge", run, "--step", 1) == 0
    assert weights.digest_weights(run / "merged-000001") == weights.digest_weights(run / "merged")


def perturb(file: Path) -> None:
    """Change one number of a file of tensors, or the bytes of another file."""
    if file.suffix == ".json":
        file.write_text(file.read_text() + "\n")
        return
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("words", "change", "told"),
    [
        (("merge", "{run}", "--step", "7"), None, "kept no weights of step 7: steps: 1"),
        (("merge", "{run}", "--out", "there"), None, "leave --base and --out out"),
        (("merge", "{run}", "--base", "./base"), None, "leave --base and --out out"),
        (("score", "{run}", "--base", "./base"), None, "leave --base and --out out"),
        (("merge", "adapter", "--base", "./base", "--step", "1"), None, "an adapter, which has no steps"),
        (("merge", "base"), None, "neither a training run nor an adapter"),
        (("merge", "nowhere"), None, "no folder nowhere: give a folder of weights, org/name of the hub"),
        (("merge", "adapter", "--base", "./other"), None, "since then the base changed"),
        (
            ("merge", "adapter", "--base", "./base"),
            "adapter/adapter_model.safetensors",
            "since then the adapter changed",
        ),
        (("merge", "adapter", "--base", "./base"), "adapter/merged/model.safetensors", "the merged weights changed"),
        (("merge", "adapter", "--base", "./base"), "adapter/merged/config.json", "since then config.json changed"),
        (("merge", "{run}"), "{run}/merged/config.json", "since then config.json changed"),
        (("merge", "{run}"), "base/model.safetensors", "than the adapter was trained on"),
        (("merge", "{run}"), "{run}/merged/model.safetensors", "the merged weights changed"),
        (("merge", "{run}"), "{run}/weights/adapter_model.safetensors", "since then the adapter changed"),
    ],
)
def test_what_is_not_what_was_merged_is_refused(here, capfd, words, change, told):
    """Neither stale weights nor options that would be ignored pass in silence."""
    run = str(only(here, "runs/*"))
    tiny.build(here / "other", "gemma", seed=1)
    asked = here / "runs" / Path(run).name / "training.json"
    asked.write_text(asked.read_text().replace(json.loads(asked.read_text())["base"], str(here / "base")))
    if change is not None:
        perturb(here / change.format(run=run))
    prepared = TASK if words[0] == "score" else ()
    assert bench(here, *(word.format(run=run) for word in words), *prepared) == 1
    assert told in said(capfd)


def test_an_adapter_without_a_base_is_asked_for_one(here, capfd):
    """Where its configuration names none, or one that nobody knows."""
    config = here / "adapter" / "adapter_config.json"
    named = json.loads(config.read_text())
    config.write_text(json.dumps(named | {"base_model_name_or_path": None}))
    assert bench(here, "merge", "adapter") == 1
    assert "does not name its base: give --base MODEL" in said(capfd)
    config.write_text(json.dumps(named | {"base_model_name_or_path": "no-such-model"}))
    assert bench(here, "merge", "adapter") == 1
    assert "no-such-model" in said(capfd)


def test_an_adapter_of_another_shape_is_refused(here, capfd):
    """A base with other layers is not the adapter's, and nothing is left behind."""
    tiny.build(here / "plain", "plain")
    config = here / "plain" / "config.json"
    shutil.rmtree(here / "adapter" / "merged")
    tensors = load_file(here / "plain" / weights.SINGLE_FILE)
    cut = {name: tensor for name, tensor in tensors.items() if ".layers.1." not in name}
    save_file(cut, here / "plain" / weights.SINGLE_FILE, {"format": "pt"})
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    assert bench(here, "merge", "adapter", "--base", "./plain") == 1
    assert said(capfd)
    assert not (here / "adapter" / "merged").exists()


def test_a_place_of_one_s_own_for_a_merged_adapter(here, capfd):
    """`--out` leaves the adapter's folder as it was."""
    shutil.rmtree(here / "adapter" / "merged")
    before = sorted(path.name for path in (here / "adapter").iterdir())
    assert bench(here, "merge", "adapter", "--base", "./base", "--out", "there") == 0
    assert sorted(path.name for path in (here / "adapter").iterdir()) == before
    weights.inspect_checkpoint(here / "there")
    assert "there" in capfd.readouterr().out


def test_a_trained_run_is_scored_with_its_training(here, capfd):
    """In the training's own folder; the row tells candidate and merge, and is held against its base's row."""
    run = only(here, "runs/*")
    assert bench(here, "score", "base", *TASK) == 0
    capfd.readouterr()
    assert bench(here, "score", run, *TASK) == 0
    assert "own-s0 against base@" in capfd.readouterr().out
    base, made = rows(here)
    assert base.result.training is None
    assert made.result.training.candidate == candidate.read_candidate(run)
    assert made.result.training.merge.merged_sha256 == made.result.model.weights_sha256
    assert len(list(run.glob("word-problems-*/entry.json"))) == 1
    assert bench(here, "board", "--check") == 0


def test_an_adapter_from_elsewhere_is_scored_with_its_merge(here, capfd):
    """No candidate and no losses, for nobody here saw the training; the name tells base and adapter."""
    assert bench(here, "score", "adapter", "--base", "./base", *TASK) == 0
    (row,) = rows(here)
    assert row.result.training.candidate is None
    assert row.result.training.merge.base_sha256 == weights.digest_weights(here / "base")
    assert row.result.training.merge.base_identity is not None
    assert row.result.candidate.endswith(f"+adapter@{row.result.training.merge.adapter_sha256[:8]}")
    assert not list(here.glob("leaderboards/*/*.loss.jsonl.gz"))
    assert bench(here, "board", "--check") == 0
    capfd.readouterr()


def test_a_trained_run_is_scored_beside_its_base(here, capfd):
    """`--with-base` asks the base too, by the same command, and adds its row; the second time nothing is added."""
    run = only(here, "runs/*")
    for _ in range(2):
        assert bench(here, "score", run, "--with-base", *TASK) == 0
        assert "own-s0 against base@" in capfd.readouterr().out
    base, made = rows(here)
    assert base.result.training is None
    record = made.result.training
    assert record.candidate.base.identity == record.merge.base_identity is not None
    assert is_base(base, made)
    assert bench(here, "board", "--check") == 0


def test_a_base_of_another_config_is_not_what_was_trained_on(here, capfd):
    """Its other spelling is; a merge that was made before does not help."""
    run = only(here, "runs/*")
    asked = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps({**asked, "base": str(here / "base")}))
    config = json.loads((here / "base" / "config.json").read_text())
    (here / "base" / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}, sort_keys=True))
    assert bench(here, "merge", run) == 0
    edit(here / "base" / "config.json", rms_norm_eps=0.5)
    assert bench(here, "merge", run) == 1
    assert "than the adapter was trained on" in said(capfd)


def test_several_folders_are_scored_by_one_command(here, capfd):
    """A run, an adapter's base and whole weights; `--name` is for one."""
    run = only(here, "runs/*")
    assert bench(here, "score", "base", run, *TASK) == 0
    assert len(rows(here)) == 2
    assert bench(here, "score", "base", run, "--name", "mine", *TASK) == 1
    assert "--name and --run are for one folder" in said(capfd)


def test_a_candidate_is_not_scored_on_what_its_data_was_made_from(here, capfd):
    """Declared with the data, kept in the record, refused before anything is merged or asked."""
    run = only(here, "runs/*")
    made = candidate.read_candidate(run)
    candidate.write_candidate(replace(made, data=replace(made.data, derived_from=("word-problems",))), run)
    assert bench(here, "score", run, *TASK) == 1
    assert "was made from items of word-problems" in said(capfd)
    assert not (here / "leaderboards").exists()


def test_weights_that_are_not_the_candidate_s_are_not_scored(here, capfd):
    """Whole weights are hashed before they are asked."""
    assert bench(here, "train", "full.toml") == 0
    run = only(here, "runs/full-*")
    perturb(run / "weights" / weights.SINGLE_FILE)
    capfd.readouterr()
    assert bench(here, "score", run, *TASK) == 1
    assert "holds other weights than candidate.json says" in said(capfd)


@pytest.mark.parametrize(("kl", "agreement", "warned"), [(0.001, 0.99, False), (0.03, 0.99, True), (0.001, 0.9, True)])
def test_a_merge_that_changed_the_model_is_warned_of(kl, agreement, warned):
    """By its effect and not by its norm: rounding that takes a third of the change may change no answer."""
    merge = candidate.MergeSummary("bfloat16", "", "", "", 14, 9, 0.32, None, kl, agreement, 300)
    told = merging.describe_merge_loss(merge)
    assert (told is not None) == warned
    assert told is None or "--set output_dtype=float32 with -o dtype=float32 loses nothing" in told


def test_a_merge_never_takes_the_place_of_what_it_did_not_make(here, capfd):
    """A folder of the user's is refused as a place for merged weights, and left as it is."""
    run, place = only(here, "runs/*"), here / "mine"
    place.mkdir()
    (place / "notes.txt").write_text("keep me")
    assert bench(here, "merge", run / "weights", "--base", here / "base", "--out", place) == 1
    assert "exists already" in said(capfd)
    assert (place / "notes.txt").read_text() == "keep me"
