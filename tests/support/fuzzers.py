"""Mutated samples of everything that strangers write, and what reads them: success or BenchError, within limits.

`tests/whole/test_fuzz.py` runs a few of each; `python -m tests.fuzz --minutes 60` runs for longer.
"""

import io
import json
import random
import shutil
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import board_samples
import samples
import tiny
import tiny_lora
from baseline_bench import cli
from baseline_bench.analysis.claims.claims_file import parse_claims
from baseline_bench.commands import compare, grade, import_lm_eval
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Request, Sampling
from baseline_bench.engines import openai, scripted
from baseline_bench.evaluation import runs
from baseline_bench.models import adapter, diagnose, registry, tokenizer, weights
from baseline_bench.results import completions, entries, foreign, noise, retractions
from baseline_bench.training import data, recipes
from paths import ROOT

# Of one case, in processor time: above the limits of what it reads.
LIMIT = 30.0
_LM_EVAL = ROOT / "tests" / "data" / "lm_eval"
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**9, 10**12, 10**30, -(10**30), 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(
        "",
        " ",
        "a",
        "0",
        "\ud83d",
        "\u202e",
        "\x1b[2J",
        "\x9b31m",
        "\u2028",
        "\x00",
        "../../x",
        "/dev/zero",
        "x" * 5000,
    ),
    *("(a+)+$", "(", "[[a]]", "(?P<number>x)", "(a|a)*b", ".*", "{{ 1/0 }}", [], {}, [[]], [1, "a", None], {"a": {}}),
)
_SNIPPETS = (
    *(b"NaN", b"Infinity", b"1e999", b"-", b"0", b"9" * 400, b"null", b"[", b"]", b"{", b"}", b'"', b",", b":", b"\n"),
    *(b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1b[2J", b"\\ud800", b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x80\xae"),
    *(
        b"[" * 2000,
        b"{% for i in range(99999) %}",
        b"{% endfor %}",
        b"{{",
        b"}}",
        b"{% set s = s ~ s %}",
        b"'a' * 10**9",
    ),
    *(b" = ", b"[a]\n", b"[[claims]]\n", b"inf", b"nan", b"1979-05-27", b'"""', b"\\", b"{{ messages }}", b"|tojson"),
)


@dataclass(frozen=True)
class Target:
    """What reads one kind of input.

    Attributes:
        name: of the kind.
        samples: valid inputs.
        read: reads an input as the program does.
    """

    name: str
    samples: tuple[bytes, ...]
    read: Callable[[bytes], object]


def mutate(sample: bytes, draw: random.Random) -> bytes:
    """Change a sample in one to four places: a JSON value, or bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        changed = _mutate_json(sample, draw) if draw.random() < 0.6 else None
        sample = _mutate_bytes(sample, draw) if changed is None else changed
    return sample


def _mutate_json(sample: bytes, draw: random.Random) -> bytes | None:
    """Replace, remove or rename one part of a JSON text, or of one line; None if it is not JSON."""
    lines = sample.split(b"\n") if sample[:1] == b"{" and b"\n{" in sample else [sample]
    number = draw.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except (ValueError, RecursionError):
        return None
    places = list(samples.leaves(value)) if isinstance(value, dict | list) and value else []
    if not places:
        return None
    place = draw.choice(places)
    place = place[: draw.randint(1, len(place))]
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    kind = draw.random()
    if kind < 0.15 and isinstance(parent, dict):
        del parent[place[-1]]
    elif kind < 0.25 and isinstance(parent, dict):
        parent[draw.choice(("a", "", "\x1b[2J", "__metadata__", "\ud800"))] = parent.pop(place[-1])
    else:
        parent[place[-1]] = draw.choice(_VALUES)
    lines[number] = json.dumps(value, ensure_ascii=draw.random() < 0.8).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _mutate_bytes(sample: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(sample))
    to = min(len(sample), at + draw.choice((1, 2, 8, 64)))
    kind = draw.randrange(6)
    if kind == 0:
        return sample[:at]
    if kind == 1:
        return sample[:at] + sample[to:]
    if kind == 2:
        return sample[:to] + sample[at:]
    if kind == 3:
        return sample[:at] + bytes(draw.randrange(256) for _ in range(to - at)) + sample[to:]
    return sample[:at] + draw.choice(_SNIPPETS) + sample[at if kind == 4 else to :]


def run_case(target: Target, case: bytes) -> str | None:
    """Read one input.

    Returns:
        The error's line as a terminal gets it; None for an input that is read.

    Raises:
        AssertionError: the line would make a terminal obey, or the case took too long.
        Exception: the reader's own, which is a fault.
    """
    signal.signal(signal.SIGPROF, _raise_too_slow)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        target.read(case)
    except BenchError as error:
        return _shown(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _raise_too_slow(*_: object) -> None:
    raise AssertionError(f"more than {LIMIT} seconds")


def _shown(error: BenchError) -> str:
    talk, kept = io.StringIO(), sys.stderr
    sys.stderr = talk
    try:
        cli._fail(str(error))
    finally:
        sys.stderr = kept
    line = talk.getvalue()
    require_harmless(line.removesuffix("\n"))
    assert len(line) < 20_000, f"a line of {len(line)} characters"
    return line


# Controls, surrogates, line and paragraph separators. Blanks and visible signs, as U+0601, do no harm.
_OBEYED = ("Cc", "Cs", "Zl", "Zp")
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def require_harmless(text: str) -> None:
    """Fail if a terminal would obey a character of the text or show it out of order."""
    bad = [c for c in text if c != "\t" and (unicodedata.category(c) in _OBEYED or c in _DIRECTIONS)]
    assert not bad, f"{bad[:3]!r} in {text[:200]!r}"
    text.encode()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _print(case: bytes) -> None:
    """Print a text to a terminal in every way."""
    out, talk = _Terminal(), _Terminal()
    console, text = Console(out, talk), case.decode("utf-8", "replace")
    console.data.no_color = console.talk.no_color = True
    console.print(text)
    console.say(text)
    console.warn(text)
    console.write(text)
    for line in (out.getvalue() + talk.getvalue()).replace("\x1b[2m", "").replace("\x1b[0m", "").split("\n"):
        require_harmless(line)


def _file(folder: Path, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """What writes an input to a file of a folder and reads that."""

    def read_file(case: bytes) -> object:
        path = folder / name
        path.write_bytes(case)
        return read(path)

    folder.mkdir(parents=True, exist_ok=True)
    return read_file


def _model_file(base: Path, name: str) -> Target:
    """One file of a model's folder, read as before every score."""
    folder = base.with_name(f"with-{name}")
    shutil.copytree(base, folder)
    model = Model("tiny", "folder", None, folder, None, None)

    def read(path: Path) -> None:
        weights.inspect_checkpoint(folder)
        diagnose.diagnose_model(model, tokenizer.load_tokenizer(model), "transformers")
        tokenizer._CACHE.clear()

    return Target(name, ((base / name).read_bytes(),), _file(folder, name, read))


def _adapter_file(base: Path, folder: Path, name: str) -> Target:
    copy = folder.with_name(f"adapter-with-{name}")
    shutil.copytree(folder, copy)
    layers = {f"model.layers.{n}.self_attn.{kind}_proj": False for n in range(2) for kind in "qkvo"}

    def read(path: Path) -> None:
        adapter.read_adapter(copy).compare_pairs(layers, {"model.layers.0.self_attn.q_proj"})

    patterns = json.loads((folder / adapter.ADAPTER_CONFIG).read_bytes()) | {
        "rank_pattern": {"q_proj": 4},
        "alpha_pattern": {".*v_proj": 8},
        "target_modules": r".*\.(q|v)_proj",
        "layers_pattern": ["layers"],
        "layers_to_transform": [0, 1],
    }
    more = (json.dumps(patterns).encode(),) if name == adapter.ADAPTER_CONFIG else ()
    return Target(f"adapter's {name}", ((folder / name).read_bytes(), *more), _file(copy, name, read))


def _lm_eval(folder: Path, kind: str) -> Target:
    """lm-eval's results or samples, one of them mutated."""
    folder.mkdir()
    files = {name: next(_LM_EVAL.glob(f"{name}_*")) for name in ("results", "samples")}
    for name, file in files.items():
        shutil.copy(file, folder / name)

    def read(path: Path) -> None:
        for metric in (None, "exact_match,none"):
            options = import_lm_eval.Options(file=folder / "results", samples=folder / "samples", metric=metric)
            foreign.write_record(import_lm_eval._build_result(options), folder / "board")

    return Target(f"lm-eval's {kind}", (files[kind].read_bytes(),), _file(folder, kind, read))


def _logs(folder: Path) -> Iterator[Target]:
    """Logs of other tools, one of two mutated, whose other has the opposite scores; both are described and printed."""
    folder.mkdir()
    line = {"sample_id": "a", "evaluation_name": "b", "input": {"raw": "1?", "reference": ["1"]}, "model_id": "a/b"}
    line |= {"output": {"raw": ["1"]}, "evaluation": {"score": 1.0, "is_correct": True}}
    sample = {"id": 1, "epoch": 1, "input": [{"role": "user", "content": "1?"}], "target": ["1"]}
    sample |= {"scores": {"match": {"value": "C", "answer": "1"}}, "output": {"completion": "1", "choices": [{}]}}
    run = {"status": "success", "eval": {"model": "a"}, "samples": [sample]}
    inspect_files = [path.read_bytes() for path in sorted((ROOT / "tests" / "data" / "inspect").glob("*.eval"))]
    samples_file = next(_LM_EVAL.glob("samples_*")).read_bytes()
    for kind, ending, case, opposite in (
        ("lm-eval", "jsonl", samples_file, samples_file.replace(b'match": 0', b'match": 1')),
        ("Every Eval Ever", "jsonl", *_opposites(line, b"1.0", b"true", b"0.0", b"false")),
        ("inspect", "json", *_opposites(run, b'"C"', b'"C"', b'"I"', b'"I"')),
        ("inspect", "eval", *inspect_files),
        ("CSV", "csv", b"id,correct,text\na,1,x\nb,0,y\n", b"id,correct,text\na,0,x\nb,1,\n"),
    ):
        other = folder / f"{kind}.other.{ending}"
        other.write_bytes(opposite)

        def read(path: Path, other: Path = other) -> None:
            for how in ({}, {"as_json": True}, {"markdown": True}):
                metric = ["match"] if path.suffix == ".eval" else []
                options = compare.Options(first=str(path), second=str(other), metric=metric, **how)
                compare.run(options, Console(io.StringIO(), io.StringIO()))

        yield Target(f"a log of {kind} in {ending}", (case,), _file(folder, f"{kind}.{ending}", read))


def _opposites(value: object, *marks: bytes) -> tuple[bytes, bytes]:
    """A log, and what it is with its first two marks replaced by the last two."""
    data = json.dumps(value).encode() + b"\n"
    return data, data.replace(marks[0], marks[2]).replace(marks[1], marks[3])


def _answers(model: Model) -> tuple[Target, Target, Target]:
    """A server's completions, log-probabilities and list of models."""
    served = openai._ServedModel("m", "1", 4096, tiny.VOCABULARY)
    tokens = tokenizer.AutoTokenizer.from_pretrained(model.folder, local_files_only=True)

    class Client:
        def send(self, method: str, path: str, body: object) -> Any:
            return openai._parse_response(200, self.answer, path)

        def close(self) -> None:
            pass

    client = Client()
    generator = openai.ServerGenerator(client, tokens, openai.Options(), served)  # type: ignore[arg-type]
    request, sampling = Request("a", (1, 2)), Sampling(max_tokens=16)

    def complete(case: bytes) -> None:
        client.answer = case
        list(generator.complete([request], sampling, (0,)))

    def measure(case: bytes) -> None:
        client.answer = case
        row = openai.TrainingExample("a", (1, 2, 3), 1)
        list(generator.logprobs([row]))

    def load(case: bytes) -> None:
        client.answer = case
        openai._choose_served(client.send("GET", "models", None), openai.Options())

    choice = {"text": "18", "finish_reason": "stop", "token_ids": [65, 66]}
    logprobs = [None, {"2": {"logprob": -0.5, "rank": 1}}, {"3": {"logprob": -1.5}, "4": {"logprob": -0.1}}]
    return (
        Target("a completion", (json.dumps({"choices": [choice]}).encode(),), complete),
        Target("log-probabilities", (json.dumps({"choices": [{"prompt_logprobs": logprobs}]}).encode(),), measure),
        Target("a list of models", (json.dumps({"data": [{"id": "m", "max_model_len": 4096}]}).encode(),), load),
    )


def _records(folder: Path) -> list[Target]:
    """Stored files, each under its own name however it is mutated."""
    board = folder / "board"
    path = samples.add(board)
    lines = completions.decompress_file(entries.completions_path(path))
    packed = folder / "completions.gz"
    packed.write_bytes(entries.completions_path(path).read_bytes())
    row = board_samples.row(samples.result())
    retracted = retractions.write_record(board_samples.retraction(row, "a reason"), board)
    measured = noise.write_record(board_samples.repeated([[1], [2]]), board)
    readers: list[tuple[str, Path, Callable[[Path], object]]] = [
        ("an entry", path, lambda file: _require_sound(entries.verify_entry(file))),
        ("packed completions", packed, completions.read_completions),
        (
            "a retraction",
            retracted,
            lambda _: _require_sound([str(one) for one in retractions.check_records(board)[1]]),
        ),
        ("noise", measured, lambda _: noise.read_records(board)),
    ]
    return [
        Target("completions", (lines,), lambda case: completions.parse_completions(case, "here")),
        *(Target(name, (file.read_bytes(),), _file(file.parent, file.name, read)) for name, file, read in readers),
    ]


def _require_sound(faults: list[str]) -> None:
    """Raise what a reader lists."""
    if faults:
        raise BenchError("; ".join(faults))


def build_targets(folder: Path) -> tuple[Target, ...]:
    """Write what the targets need below a folder and return them all."""
    base = tiny.build(folder / "base")
    lora = tiny_lora.build(base, folder / "lora", targets=("q_proj", "v_proj"))
    model = Model("tiny", "folder", None, base, None, None)
    task = plugins.load_task("word-problems")
    row = b'{"question": "1+1?", "answer": "#### 2"}\n'
    turns = b'{"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "#### 1"}]}\n'
    recipe = (ROOT / "trainers" / "recipes" / "lora-main.toml").read_bytes()
    claims = next((ROOT / "leaderboards" / "claims").glob("*.toml"))
    answers = b'{"id": "a", "text": "18", "token_ids": [1, 2], "finish": "stop"}\n'
    lines = b'{"id": "a", "text": "18"}\n{"id": "b", "text": "\\ud83d"}\n'

    def rows(path: Path) -> None:
        data.load_texts(path)
        data._convert_records(data._read_file(path), task, 0, str(path))

    def graded(path: Path) -> None:
        grade.run(grade.Options(gold=None, cases=path), Console(io.StringIO(), io.StringIO()))

    def register(case: bytes) -> None:
        registry.parse_registry(case.decode("utf-8", "replace"))

    def read_script(path: Path) -> None:
        scripted.load(model, scripted.Options(str(path)))

    def read_run(path: Path) -> None:
        runs.read_completions(path.parent)

    models = [_model_file(base, name) for name in sorted(path.name for path in base.iterdir())]
    return (
        *models,
        *(_adapter_file(base, lora, name) for name in (adapter.ADAPTER_CONFIG, adapter.WEIGHTS)),
        *(_lm_eval(folder / kind, kind) for kind in ("results", "samples")),
        *_logs(folder / "logs"),
        *_answers(model),
        *_records(folder / "records"),
        Target("rows", (row * 3, turns * 2), _file(folder, "rows.jsonl", rows)),
        Target("a recipe", (recipe,), _file(folder, "r.toml", lambda path: recipes.read_recipe(str(path)))),
        Target("claims", (claims.read_bytes(),), lambda case: parse_claims(case, claims.name)),
        Target("models.toml", (registry.REGISTRY_FILE.read_bytes(),), register),
        Target("a script", (lines,), _file(folder, "s.jsonl", read_script)),
        Target("cases", (b'{"completion": "#### 18", "gold": "18"}\n',), _file(folder, "cases.jsonl", graded)),
        Target("a run's completions", (answers,), _file(folder / "run", "completions.jsonl", read_run)),
        Target("what is printed", ("a [b]\u202e\x1b[2J {c}\n\t你 e\u0301".encode(),), _print),
    )
