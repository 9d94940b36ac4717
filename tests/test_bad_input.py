"""Bad input gets one clear line with the way out and exit 1, and nothing half written is left."""

import http.server
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import broken
import datasets
import pytest
import samples
from test_hub import Hub

from harness.cli import main
from harness.weights import SINGLE


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        words: the command line; {names} are those of the fixture `world`.
        told: what the one line must contain, among it the way out.
        missing: libraries that are not installed.
        disk: bytes that a file may have before the disk is full.
        environment: of a process of its own, for what libraries read only once.
        began: generation had begun, so that its run may be kept.
    """

    what: str
    words: str
    told: tuple[str, ...]
    missing: tuple[str, ...] = ()
    disk: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    began: bool = False


ASK = "--task word-problems --limit 4 --engine scripted"
SCORE = "score {tiny} " + ASK
REAL = "score {tiny} --task word-problems --limit 4 --engine transformers"
SERVED = "score {tiny} --task word-problems --limit 4 --engine openai -o tries=1 -o endpoint="
HUB = f"baseline org/gated {ASK}"
ENDPOINT, NOWHERE = {"HF_ENDPOINT": "{hub}"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
DATA = "score {tiny} --engine scripted --limit 1 --datasets {world}"
PROTOCOL = ("is not the completions protocol", "check the endpoint")
NEEDY = (
    *(f"harness.engines.{name}" for name in ("vllm", "openai", "transformers")),
    "harness.tokenizer",
    "harness.checkpoint",
)
TABLE = (
    Row("unknown model", f"baseline smolm2-135m-it {ASK}", ("did you mean smollm2-135m-it?",)),
    Row("unknown task", "score {tiny} --task word-prolems", ("did you mean 'word-problems'?", "bench list tasks")),
    Row("unknown engine", "score {tiny} --task word-problems --engine script", ("did you mean 'scripted'?",)),
    Row("a name with a line break", f"score a\x85b\x1b[2J {ASK}", (r"no folder a b\u{1b}[2J",)),
    Row("vllm is missing", "score {tiny} --engine vllm", ("pip install 'baseline-bench[vllm]'",), ("vllm",)),
    Row("httpx2 is missing", "score {tiny} --engine openai", ("'baseline-bench[openai]'",), ("httpx2",)),
    Row("torch is missing", "score {tiny} --engine transformers", ("'baseline-bench[transformers]'",), ("torch",)),
    Row("no tokenizers", SCORE, ("'baseline-bench[transformers]'",), ("transformers",)),
    Row(
        "gguf is missing",
        f"baseline smollm2-135m-it-q4_1 {ASK} --cache {{world}}/empty",
        ("'baseline-bench[transformers]'",),
        ("gguf",),
    ),
    Row("unreachable hub", HUB, ("cannot be reached", "name a folder instead"), environment=NOWHERE),
    Row("the hub is forbidden", HUB, ("is not in the hub's cache", "name a folder instead"), environment=OFFLINE),
    Row("gated model", HUB, ("accept the licence", "hf auth login"), environment=ENDPOINT),
    Row("hub's cache is a file", HUB, ("cannot use", "HF_HOME"), environment={**ENDPOINT, "HF_HOME": "{words}"}),
    Row("unreachable data set", "score {tiny}", ("cannot load openai/gsm8k", "--datasets DIR"), environment=OFFLINE),
    Row("no folder", f"score {{world}}/none {ASK}", ("no folder", "`bench baseline` takes names")),
    Row("folder without config", f"score {{no_config}} {ASK}", ("config.json is missing",)),
    Row("folder without weights", f"score {{no_weights}} {ASK}", ("holds no weights (model.safetensors",)),
    Row("folder without tokenizer", f"score {{no_tokenizer}} {ASK}", ("the tokenizer is missing",)),
    Row("pickled weights", f"score {{pickled}} {ASK}", ("safetensors only", "save_pretrained")),
    Row("truncated weights", f"score {{cut}} {ASK}", ("is truncated", "anew")),
    Row("adapter", f"score {{adapter}} {ASK}", ("an adapter, not a whole model", "bench merge")),
    Row("config of another model", REAL.replace("tiny", "deep"), ("9 tensors that its weights lack", "restore")),
    Row("torn tokenizer", f"score {{torn_tokenizer}} {ASK}", ("no usable tokenizer", "copy tokenizer.json")),
    Row("torn template", f"score {{torn_template}} {ASK}", ("the chat template", "restore it")),
    Row(
        "prompt longer than the context", f"score {{short}} {ASK}", ("must fit into a context of 200", "longer context")
    ),
    Row(
        "no such mirror",
        "score {tiny} --engine scripted --datasets {world}/none",
        ("no openai/gsm8k", "--datasets DIR"),
    ),
    Row("empty data set", f"{DATA}/empty", ("openai/gsm8k", "--datasets DIR"), environment=OFFLINE),
    Row("unparsable data set", f"{DATA}/unparsable", ("Parquet magic bytes", "--datasets DIR"), environment=OFFLINE),
    Row("missing columns", f"{DATA}/columns", ("lacks the columns answer", "it has: question, solution")),
    Row("unreadable gold answer", f"{DATA}/gold", ("no readable '#### N'", "test-1", "mend")),
    Row("limit 0", SCORE.replace("4", "0"), ("--limit 0 is out of range", "from 1 to 256")),
    Row("limit below 0", SCORE.replace("4", "-1"), ("--limit -1 is out of range", "from 1 to 256")),
    Row("limit beyond the task", SCORE.replace("4", "257"), ("--limit 257 is out of range", "from 1 to 256")),
    Row("unknown option", f"{SCORE} -o pase=1", ("did you mean 'pace'?", "mend the -o options")),
    Row("option of another kind", f"{REAL} -o batch_size=few", ("takes a whole number or none", "mend")),
    Row("option out of range", f"{REAL} -o threads=-1", ("threads must be 1 or more",)),
    Row("no such device", f"{REAL} -o device=cpu:x", ("give -o device=",)),
    Row("no script", f"{SCORE} -o script={{world}}/none", ("no script", "give a JSONL file")),
    Row("unparsable script", f"{SCORE} -o script={{words}}", ("line 1 is not a scripted answer", 'write {"id"')),
    Row("runs in a file", f"{SCORE} --runs {{words}}", ("cannot write", "make it writable")),
    Row("run is a file", f"{SCORE} --run {{words}}", ("cannot write", "make it writable")),
    Row("leaderboards in a file", f"{SCORE} --leaderboards {{words}}", ("cannot write", "same command"), began=True),
    Row("cache is a file", f"baseline smollm2-135m-it-q4_1 {ASK} --cache {{words}}", ("cannot make", "--cache DIR")),
    Row("full disk at once", SCORE, ("cannot write runs/", "free some space"), disk=500),
    Row("full disk at an answer", f"{SCORE} -o script={{script}}", ("cannot write runs/",), disk=2000, began=True),
    Row("full disk at the entry", SCORE, ("cannot write runs/", "same command again"), disk=2000, began=True),
    Row("GPU out of memory", SCORE.replace("scripted", "crowded"), ("-o batch_size=32",)),
    Row("no server", SERVED + "http://127.0.0.1:9/v1", ("start the server", "-o endpoint=")),
    Row("server without a list", SERVED + "{server}/list/v1", PROTOCOL),
    Row("server of web pages", SERVED + "{server}/page/v1", PROTOCOL),
    Row("server of torn packages", SERVED + "{server}/packed/v1", PROTOCOL),
    Row("server of a boundless context", SERVED + "{server}/context/v1", PROTOCOL),
    Row("server without an answer", SERVED + "{server}/choices/v1", PROTOCOL),
    Row("server of impossible ids", SERVED + "{server}/ids/v1", PROTOCOL),
    Row("server that refuses", SERVED + "{server}/refuse/v1", ("refused with 400", "nothing was graded")),
    Row("server of another model", SERVED + "{server}/choices/v1 -o served=x", ("serves m", "-o served=NAME")),
    Row("no task file", "score {tiny} --task ./none.py", ("no file none.py", "word-problems")),
    Row("task file without a contract", "score {tiny} --task {world}/half.py", ("lacks READER", "harness/types.py")),
    Row(
        "task with one id twice",
        "score {tiny} --engine scripted --task {world}/twice.py",
        ("'a' twice", "make ids unique"),
    ),
    Row("show: no run", "show {tiny}", ("no run in", "give the folder")),
    Row("show: damaged run", "show {damaged}", ("line 2 is damaged", "--again")),
    Row("show: no entry", "show {tiny}/config.json", ("config.json", "restore the file")),
    Row("regrade: no run", "regrade {tiny}", ("no run in", "give the folder")),
    Row("grade: no file", "grade --cases {world}/none", ("no file", "give a JSONL file")),
    Row("grade: no text", f"grade --cases {{tiny}}/{SINGLE}", ("line 1 is not a case", 'write {"completion"')),
    Row("board: no folder", "board --leaderboards {world}/none", ("no folder", "give the folder")),
    Row("board: base alone", "board --base main", ("bench board --check --base main",)),
    Row("doctor: no folder", "doctor ./none", ("does not exist", "name the folder")),
)


@pytest.fixture(scope="module")
def addresses():
    """A hub and a server of nonsense on the loopback."""
    servers = {
        "hub": Hub({"gated": {}}),
        "server": http.server.ThreadingHTTPServer(("127.0.0.1", 0), broken.Nonsense),
    }
    threads = [threading.Thread(target=server.serve_forever) for server in servers.values()]
    for thread in threads:
        thread.start()
    yield {name: f"http://127.0.0.1:{server.server_port}" for name, server in servers.items()}
    for server, thread in zip(servers.values(), threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What is broken, and a run of the whole model whose second answer is damaged."""
    world = tmp_path_factory.mktemp("world")
    broken.build(world)
    assert main(f"{SCORE} --run {{damaged}} --leaderboards {{boards}}".format_map(Names(world)).split()) == 0
    with (world / "damaged" / "completions.jsonl").open("r+b") as file:
        file.seek(len(file.readline()))
        file.write(b"?")
    return world


class Names(dict):
    """What a {name} of the table stands for: an address, or a place in the world."""

    def __init__(self, world: Path, **addresses: str) -> None:
        super().__init__(addresses, world=world)

    def __missing__(self, name: str) -> str:
        return str(self["world"] / name)


def tree(folder: Path) -> dict[str, int]:
    """Every file and its size."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@contextmanager
def disk(size: int | None) -> Iterator[None]:
    """No file may grow beyond this many bytes."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or unlimited[0], unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def alone(words: list[str], environment: dict[str, str]) -> int:
    """The exit status of the command in a process of its own, which writes where this one does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "BENCH_"))}
    settings = {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", **environment}
    command = [sys.executable, "-m", "harness.cli", *words]
    return subprocess.run(command, env={**kept, **settings}, check=False, timeout=120).returncode


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_bad_input_is_one_line_with_the_way_out(row, world, addresses, tmp_path, capfd, monkeypatch):
    """Exit 1, one line on stderr, nothing on stdout, and no file but the answers a run already has."""
    names = Names(world, **addresses)
    words = row.words.format_map(names).split(" ")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(world / "packages")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for library in row.missing:
        monkeypatch.setitem(sys.modules, library, None)
        for name in NEEDY:
            monkeypatch.delitem(sys.modules, name, raising=False)
    before = tree(world)
    if row.environment:
        home = {"HF_HOME": str(tmp_path / "home")}
        status = alone(words, home | {name: value.format_map(names) for name, value in row.environment.items()})
    else:
        with disk(row.disk):
            status = main(words)
    out, err = capfd.readouterr()
    assert (status, out) == (1, "")
    assert err.startswith("bench: "), err
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert not [words for words in row.told if words not in err], err
    assert tree(world) == before
    assert {Path(name).parts[0] for name in tree(here)} == ({"runs"} if row.began else set())


def test_a_full_disk_leaves_no_completions_without_their_entry(tmp_path):
    """Completions fit and are removed again, since the entry does not fit."""
    with disk(1000), pytest.raises(OSError, match="File too large"):
        samples.add(tmp_path)
    assert tree(tmp_path) == {}


def test_a_run_whose_row_could_not_be_added_adds_one_row_when_it_goes_on(world, tmp_path, capfd, monkeypatch):
    """A page that cannot be written costs no answer; the same command brings the board up to date."""
    monkeypatch.chdir(tmp_path)
    words = SCORE.format_map(Names(world)).split()
    page = Path("leaderboards", "word-problems.md")
    page.mkdir(parents=True)
    assert main(words) == 1
    assert capfd.readouterr().err.startswith("bench: cannot write leaderboards: Is a directory")
    page.rmdir()
    assert main(words) == 0
    assert main(["board", "--check"]) == 0
    assert len(list(tmp_path.glob("leaderboards/*/*.json"))) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "words",
    [
        "",
        "nonsense",
        "score",
        "score x --limit many",
        "list x",
        "grade",
        "grade --gold 1 --cases x",
        "show x --cut --wrong",
    ],
)
def test_wrong_usage_exits_2_and_shows_the_usage(words, tmp_path, capfd, monkeypatch):
    """The grammar is told on stderr, and nothing is done."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("usage: bench")
    assert tree(tmp_path) == {}
