"""Pairs of checkpoints of equal tensors: the same model in another spelling, or another model."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import IDENTITY_PARTS, Model, ModelIdentity, Value
from baseline_bench.evaluation import runs
from baseline_bench.models import identity, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from corpus.cases import Case, Check, Found, Run

_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
PROCESSOR = "processor_config.json"
_IMAGES = {"do_resize": True, "image_processor_type": "NewFast", "size": {"height": 8, "width": 8}}
_NEW_PROCESSOR = {"image_seq_length": 16, "processor_class": "New"}
_OLD = "transformers 4 wrote this spelling"


@cache
def base() -> Path:
    """What each second checkpoint is made of."""
    folder = tiny.build(Path(tempfile.mkdtemp(prefix="bench-corpus-")) / "model")
    (folder / PROCESSOR).write_text(json.dumps({**_NEW_PROCESSOR, "image_processor": _IMAGES}))
    return folder


def describe(folder: Path, adapter: Path | None = None) -> ModelIdentity:
    """What identifies the model in a folder."""
    model = Model("model", "folder", None, folder, None, None)
    return identity.describe_model(model, tokenizer.load_tokenizer(model), adapter)


def list_changed(one: ModelIdentity, other: ModelIdentity) -> list[str]:
    """The parts whose digests differ."""
    return [part for (part, digest), (_, second) in zip(one.parts, other.parts, strict=True) if digest != second]


def resumes(run: Path, one: ModelIdentity, other: ModelIdentity, parts: list[str]) -> bool:
    """Whether a run of one model goes on under the other, or a refusal does not name each of these parts."""
    runs.Run(run, one.settings or {}).close()
    try:
        runs.Run(run, other.settings or {}).close()
    except BenchError as error:
        return not all(f"{part} " in error.what for part in parts)
    return True


def look(made: Path, _: Run) -> list[Found]:
    """The parts of the two models that differ; their digests, the whole and a killed run agree."""
    one, other = describe(base()), describe(made)
    parts = list(one.compare(other))
    assert list_changed(one, other) == parts
    assert resumes(made.parent / "run", one, other, parts) == (one.sha256 == other.sha256) == (not parts)
    return [(part, "unlike") for part in parts]


def _forget(part: str) -> Check:
    """An identity without this part."""

    def of(settings: Mapping[str, Value], defaults: Mapping[str, Value] | None) -> ModelIdentity:
        return ModelIdentity.of({k: v for k, v in settings.items() if not k.startswith(part)}, defaults)

    return Check("models.identity:ModelIdentity", SimpleNamespace(of=of))


def _copy(change: Callable[[Path], None], folder: Path) -> Path:
    made = folder / "model"
    shutil.copytree(base(), made)
    change(made)
    return made


def edit(file: Path, *removed: str, **values: Any) -> None:
    """Change values of a JSON file."""
    held = json.loads(file.read_text())
    held = {key: value for key, value in {**held, **values}.items() if key not in removed}
    file.write_text(json.dumps(held, indent=1))


def _config(*removed: str, **values: Any) -> Callable[[Path], None]:
    return lambda made: edit(made / "config.json", *removed, **values)


def _generation(**values: Any) -> Callable[[Path], None]:
    return lambda made: edit(made / "generation_config.json", **values)


def _tokens(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def changed(made: Path) -> None:
        held = json.loads((made / "tokenizer.json").read_text())
        change(held)
        (made / "tokenizer.json").write_text(json.dumps(held))

    return changed


def _saved_again(made: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    for path in set(made.iterdir()) - {made / PROCESSOR}:
        path.unlink()
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)


def saved_by_transformers_4(made: Path) -> None:
    """Spell a checkpoint that transformers 5 saved as transformers 4 does."""
    theta = json.loads((made / "config.json").read_text())["rope_parameters"]["rope_theta"]
    edit(made / "config.json", "rope_parameters", "dtype", rope_theta=theta, rope_scaling=None, temperature=0.6,
         torch_dtype="bfloat16", transformers_version="4.44.2", _name_or_path="org/model")  # fmt: skip
    edit(made / "generation_config.json", eos_token_id=[2], do_sample=True, temperature=0.6, top_p=0.9)
    template = made / "chat_template.jinja"
    edit(made / "tokenizer_config.json", chat_template=template.read_text())
    template.unlink()
    _tokens(_old_merges)(made)
    (made / "preprocessor_config.json").write_text(json.dumps({**_IMAGES, "processor_class": "Old", "_more": 1}))
    edit(made / PROCESSOR, "image_processor", processor_class="Old")


def _reordered(made: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        held = json.loads((made / name).read_text())
        (made / name).write_text(json.dumps(dict(reversed(held.items())), separators=(",", ":")))


def _old_merges(held: dict[str, Any]) -> None:
    held["model"]["merges"] = [" ".join(pair) for pair in held["model"]["merges"]]
    pad = {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>", "pad_to_multiple_of": None}
    held["padding"] = {"strategy": "BatchLongest", "direction": "Left", **pad}


def lose_merge(made: Path) -> None:
    """Remove the last merge of the tokenizer."""
    _tokens(lambda held: held["model"]["merges"].pop())(made)


def _special(held: dict[str, Any]) -> None:
    held["added_tokens"].append({**held["added_tokens"][0], "id": 300, "content": _token(held, 300)})


def _token(held: dict[str, Any], place: int) -> str:
    return next(token for token, number in held["model"]["vocab"].items() if number == place)


def _template(made: Path) -> None:
    path = made / "chat_template.jinja"
    path.write_text(path.read_text().replace("counts", "counts twice"))


def quantise(made: Path) -> None:
    """Add a quantiser's own file."""
    (made / "quantize_config.json").write_text('{"bits": 4, "group_size": 128}')


def enlarge_images(made: Path) -> None:
    """Change a setting of the processor."""
    edit(made / PROCESSOR, image_processor={**_IMAGES, "size": {"height": 16, "width": 8}})


def _case(name: str, source: str, change: Callable[[Path], None], twin: str, part: str | None = None) -> Case:
    found = ((part, "unlike"),) if part else ()
    return Case(name, source, partial(_copy, change), found, twin, (_PARTS[part],) if part else ())


_CONFIG, _SETTINGS, _WORDS, _TURNS = "config.json", "generation_config.json", "tokenizer", "chat template"
_PARTS = {part: _forget(part) for part in IDENTITY_PARTS}
_FOUND = "review: the entry had no digest of it"
CASES = (
    _case("other-rope", "MarinFold#184", _config(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **_LLAMA3}),
          "old-rope", _CONFIG),
    _case("other-epsilon", _FOUND, _config(rms_norm_eps=1e-5), "explicit-defaults", _CONFIG),
    _case("other-activation", _FOUND, _config(hidden_act="gelu"), "old-dtype", _CONFIG),
    _case("other-class", "vLLM loads what architectures names", _config(architectures=["GraniteForCausalLM"]),
          "no-class", _CONFIG),
    _case("quantised", "a 4-bit config over the same files", _config(quantization_config={"quant_method": "gptq"}),
          "private-keys", "quantisation"),
    _case("quantised-own-file", "AutoGPTQ and vLLM know a file of its own", quantise, "private-keys", "quantisation"),
    _case("other-image-size", "a processor of another size", enlarge_images, "saved-by-transformers-4", "processor"),
    _case("saved-by-transformers-4", _OLD, saved_by_transformers_4, "other-image-size"),
    _case("other-end", _FOUND, _generation(eos_token_id=5), "saved-again", _SETTINGS),
    _case("other-temperature", "the task decides how tokens are drawn", _generation(temperature=0.6), "other-end"),
    _case("merge-lost", _FOUND, lose_merge, "old-merges", _WORDS),
    _case("token-made-special", _FOUND, _tokens(_special), "reordered", _WORDS),
    _case("other-template", _FOUND, _template, "reordered", _TURNS),
    _case("saved-again", "save_pretrained after from_pretrained", _saved_again, "other-end"),
    _case("old-rope", _OLD, _config("rope_parameters", rope_theta=10000.0, rope_scaling=None), "other-rope"),
    _case("explicit-defaults", "a newer transformers writes more keys",
          _config(attention_bias=False, rms_norm_eps=1e-6, sliding_window=None), "other-epsilon"),
    _case("old-dtype", _OLD, _config("dtype", torch_dtype="bfloat16", transformers_version="4.44.2"),
          "other-activation"),
    _case("no-class", "a config written by hand", _config("architectures"), "other-class"),
    _case("private-keys", "Unsloth and older versions write them",
          _config(_name_or_path="org/model", unsloth_version="2025.1", use_cache=False), "quantised"),
    _case("old-merges", "tokenizers before 0.20 wrote merges as texts", _tokens(_old_merges), "merge-lost"),
    _case("reordered", "another JSON writer", _reordered, "other-template"),
)  # fmt: skip
