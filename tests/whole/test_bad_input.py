"""Bad input gets one clear line with the way out and exit 1, and nothing half written is left."""

import http.server
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import broken
import datasets
import pytest
import samples
from announced import unannounced
from bad_inputs import SCORE, TABLE
from baseline_bench.cli import main
from hub_server import Hub

pytestmark = pytest.mark.usefixtures("forked_children")

NEEDY = (
    *(f"baseline_bench.engines.{name}" for name in ("vllm", "openai", "transformers")),
    "baseline_bench.models.tokenizer",
    "baseline_bench.models.gguf",
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
    command = [sys.executable, "-m", "baseline_bench.cli", *words]
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
            monkeypatch.delattr(name, raising=False)
    before = tree(world)
    if row.environment:
        home = {"HF_HOME": str(tmp_path / "home")}
        status = alone(words, home | {name: value.format_map(names) for name, value in row.environment.items()})
    else:
        with disk(row.disk):
            status = main(words)
    out, err = capfd.readouterr()
    assert (status, out) == (1, "")
    (line,) = unannounced(err)
    assert line.startswith("bench: ")
    assert err.endswith(f"{line}\n")
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
    (line,) = unannounced(capfd.readouterr().err)
    assert line.startswith("bench: cannot write leaderboards: Is a directory")
    page.rmdir()
    assert main(words) == 0
    assert unannounced(capfd.readouterr().err) == []
    assert main(["board", "--check"]) == 0
    assert len(list(tmp_path.glob("leaderboards/*/*.json"))) == 1


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "score",
        "score x --limit many",
        "list x",
        "grade",
        "grade --gold 1 --cases x",
        "show x --cut --wrong",
        "train",
        "train x --gpus many",
        "train-and-score",
        "merge",
        "merge x y",
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


@pytest.mark.parametrize("words", ["grade --cases", "import lm-eval", "show recipe"])
def test_a_pipe_is_no_file_of_data(words, tmp_path, capfd):
    """Commands that read a named file do not wait for a writer."""
    pipe = tmp_path / "rows.toml"
    os.mkfifo(pipe)
    assert main([*words.split(), str(pipe)]) == 1
    assert len(unannounced(capfd.readouterr().err)) == 1
