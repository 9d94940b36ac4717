"""models.identity and manifest: two models of equal tensors, and a conversion that was damaged."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.analysis.compare import classify_comparison
from baseline_bench.analysis.differences import list_differences
from baseline_bench.analysis.noise import select_newest_records
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.evaluation import runs
from baseline_bench.models import identity, manifest, registry, tokenizer, wheels
from baseline_bench.rendering import comparison_text
from baseline_bench.results import audit
from baseline_bench.results.entry import Entry, Result
from board_samples import repeated
from corpus import entries as models_of
from corpus.boards import IDENTITY, OTHER, row
from gguf_file import file as gguf_file  # noqa: F401 - a fixture
from samples import entry

QUICK = ("--task", "word-problems", "--engine", "scripted", "--limit", "5", "--json")


def described(folder: Path) -> identity.ModelDescription:
    """What identifies the model in a folder."""
    model = Model("model", "folder", None, folder, None, None)
    return identity.describe_model(model, tokenizer.load_tokenizer(model))


def test_an_unknown_architecture_is_identified_by_its_file(tmp_path: Path) -> None:
    """The values count as they are written; dtype, null and the older spelling of rope change nothing."""
    config = {"model_type": "of-tomorrow", "width": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}
    older = {"model_type": "of-tomorrow", "width": 8, "rope_theta": 5.0, "torch_dtype": "float16", "more": None}
    digests = []
    for number, values in enumerate((config, older, {**config, "width": 9})):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(json.dumps(values))
        digests.append(identity._read_config(tmp_path / str(number)))
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model's folder, and its run of five items that was killed after two answers."""
    monkeypatch.chdir(tmp_path)
    model = tiny.build(tmp_path / "model", "chatml")
    assert cli.main(["score", str(model), *QUICK]) == 0
    (run,) = Path("runs").iterdir()
    shutil.rmtree("leaderboards")
    (run / "entry.json").unlink()
    lines = (run / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "completions.jsonl").write_bytes(b"".join(lines[:2]))
    return model, run


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("config.json", {"rms_norm_eps": 1e-5}, "config.json rms_norm_eps was the default, now 1e-05"),
        ("config.json", {"rope_parameters": {"rope_theta": 5e5}}, "rope_parameters.rope_theta was the default, now"),
        ("generation_config.json", {"eos_token_id": 5}, "generation_config.json eos_token_id was 2, now 5"),
        ("config.json", {"dtype": "bfloat16", "transformers_version": "4.44.2"}, None),
    ],
)
def test_a_killed_run_goes_on_with_the_same_model_only(
    killed: tuple[Path, Path], file: str, values: dict[str, Any], told: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """A value changed between kill and resume is named with both values; another spelling of dtype is none."""
    model, run = killed
    models_of.edit(model / file, **values)
    assert cli.main(["score", str(model), *QUICK]) == (0 if told is None else 1)
    assert told is None or told in capfd.readouterr().err
    assert len((run / "completions.jsonl").read_bytes().splitlines()) == (5 if told is None else 2)


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
    model, run = killed
    _as_an_older_version_left_it(run)
    assert cli.main(["score", str(model), *QUICK]) == 1
    assert "by an older version, which did not record" in capfd.readouterr().err
    assert cli.main(["score", str(model), *QUICK, "--again"]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_a_run_that_an_older_version_finished_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is neither refused nor repeated; --again scores it again."""
    monkeypatch.chdir(tmp_path)
    words = ["score", str(tiny.build(tmp_path / "model", "chatml")), *QUICK]
    assert cli.main(words) == 0
    first = json.loads(capfd.readouterr().out)
    (run,) = Path("runs").iterdir()
    _as_an_older_version_left_it(run)
    assert cli.main(words) == 0
    assert json.loads(capfd.readouterr().out) == first
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
    assert [one.what for one in classify_comparison(*pair).differs] == ["config.json"]
    assert "config.json" in [one.what for one in list_differences(*pair)]
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
    """It is said once; two older rows have nothing of it."""
    pair = compared(row(identity=None), row())
    assert classify_comparison(*pair).name == "comparable"
    assert [(one.what, one.first, one.second) for one in list_differences(*pair)] == [
        ("identity", "known in part", "known")
    ]
    assert list_differences(*compared(row(identity=None), row(identity=None))) == ()


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
        (replace(IDENTITY, config_sha256="0" * 63), 1),
        (replace(IDENTITY, template_sha256="0" * 64), 1),
    ],
)
def test_the_digests_of_an_identity_are_audited(changed: Any, problems: int) -> None:
    """Each is a sha256, and its template is the model's."""
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
