"""Models, data sets, task files, an engine and a server that are broken in one thing each."""

import http.server
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import tiny
from baseline_bench.core import plugins
from baseline_bench.core.types import Split
from baseline_bench.models.weights import SINGLE_FILE
from own_task import TASK, package

CROWDED = '''
"""An engine whose GPU has no memory left when the first batch is computed."""
import torch
from transformers import AutoConfig, AutoTokenizer
from baseline_bench.engines.transformers import Options, TransformersGenerator

class Network:
    device = torch.device("cpu")
    def __init__(self, config):
        self.config = config
    def __call__(self, **_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\\nSee the documentation.")

def load(model, options):
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    settings = {"device": "cuda", "batch_size": options.batch_size or 64, "prefix_caching": False}
    return TransformersGenerator(Network(AutoConfig.from_pretrained(model.folder)), tokenizer, settings)
'''
CARDS = {"data": [{"id": "m"}]}
README = "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test-*\n---\n"


class Nonsense(http.server.BaseHTTPRequestHandler):
    """Answers GET and POST under /<kind>/v1 with that kind of nonsense."""

    def do_GET(self):
        """The list of models."""
        self.reply(200, "<p>\nnot here\x1b[2J</p>" if self.path.startswith("/page/") else CARDS)

    def do_POST(self):
        """A completion without an answer, or a refusal."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(400 if self.path.startswith("/refuse/") else 200, {"choices": []})

    def reply(self, status, body):
        """Status and body; who has heard enough nonsense may hang up."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


def build(world: Path) -> None:
    """Fill a folder with everything that is broken, and the whole model `tiny`."""
    models(world)
    mirror(world / "empty", question=[""][:0], answer=[""][:0])
    mirror(world / "columns", question=["How many?"], solution=["#### 3"])
    mirror(world / "gold", question=["How many?", "How many?"], answer=["Three.\n#### 3", "Three."])
    mirror(world / "unparsable", question=["How many?"], answer=["#### 3"]).write_bytes(b"PAR1 and nothing else")
    (world / "half.py").write_text("LABEL = 'half@v1'\n")
    (world / "twice.py").write_text(
        TASK.replace('Problem("a", "1+1?", "2", "2")', '*[Problem("a", "1+1?", "2", "")] * 2')
    )
    (world / "words").write_text("not JSON\n")
    trainings(world)
    script = [json.dumps({"id": f"test-{number}", "text": "word " * 100}) for number in range(256)]
    (world / "script").write_text("\n".join(script))
    package(world / "packages", "crowded_plugin", "[bench.engines]\ncrowded = crowded_plugin\n", CROWDED)


def trainings(world: Path) -> None:
    """A sound recipe with its rows, and what may stand in their place; a training that was never finished."""
    recipe = f'base = "{world / "tiny"}"\ntrainer = "lora"\n'
    (world / "short.toml").write_text(recipe)
    (world / "rows.toml").write_text(f'{recipe}task = "word-problems"\ndata = "rows.jsonl"\nlr = 1e-4\n')
    (world / "words.toml").write_text("base = tiny\n")
    item = plugins.load_task("word-problems").problems(Split("test"))[0]
    data = {"rows": ("How many are 2 and 3 apples?", "#### 5"), "leaky": (item.question, item.solution)}
    for name, (question, answer) in data.items():
        (world / f"{name}.jsonl").write_text(json.dumps({"question": question, "answer": answer}))
    (world / "empty.jsonl").touch()
    (world / "odd.jsonl").write_text('{"this": "is", "no": "row"}')
    (world / "unfinished").mkdir()
    (world / "unfinished" / "training.json").write_text("{}")


def models(world: Path) -> None:
    """The whole model, and copies of it that lack or distort one file."""
    whole = tiny.build(world / "tiny")
    broken = {
        "no_config": {"config.json": None},
        "no_weights": {SINGLE_FILE: None},
        "no_tokenizer": {"tokenizer.json": None},
        "pickled": {SINGLE_FILE: None, "pytorch_model.bin": b"\x80\x04."},
        "cut": {SINGLE_FILE: (whole / SINGLE_FILE).read_bytes()[:-1]},
        "adapter": {SINGLE_FILE: None, "adapter_config.json": b"{}"},
        "deep": {"config.json": altered(whole, num_hidden_layers=3)},
        "short": {"config.json": altered(whole, max_position_embeddings=200)},
        "torn_tokenizer": {"tokenizer.json": b'{"model":'},
        "torn_template": {"chat_template.jinja": b"{% if %}"},
    }
    for name, files in broken.items():
        shutil.copytree(whole, world / name)
        for file, data in files.items():
            (world / name / file).unlink() if data is None else (world / name / file).write_bytes(data)


def mirror(folder: Path, **columns: list[str]) -> Path:
    """A mirror of openai/gsm8k with these columns as its test split; the file that holds them."""
    data = folder / "openai" / "gsm8k"
    (data / "main").mkdir(parents=True)
    (data / "README.md").write_text(README)
    file = data / "main" / "test-00000-of-00001.parquet"
    pa.parquet.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), file)
    return file


def altered(folder: Path, **values: int) -> bytes:
    """The config of a model with other values."""
    return json.dumps({**json.loads((folder / "config.json").read_bytes()), **values}).encode()
