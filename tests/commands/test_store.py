"""commands.board and every reader of completions, on real rows whose completions are in a store."""

import gzip
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.results import entries
from baseline_bench.results.companions import COMPLETIONS
from hub_server import Hub
from paths import ROOT

BASE, NEW = ("2026-12-01-smollm2-135m-it-q4_1-" + name for name in ("831094defb42", "varied-lora-250-s0-ebec62d904bc"))
BOARD = Path("leaderboards", "word-problems")


def git(*words: str) -> None:
    """One git command that must succeed."""
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)


def copy(stem: str) -> None:
    """Copy a committed row with its completions."""
    for file in (ROOT / BOARD).glob(f"{stem}.*"):
        shutil.copy(file, BOARD)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A repository whose main branch has one row with its completions, and names a store that is still empty."""
    monkeypatch.chdir(tmp_path)
    BOARD.mkdir(parents=True)
    copy(BASE)
    Path("leaderboards", "store.toml").write_text('completions = "../store"')
    Path(".gitignore").write_text("store*/\n")
    Path("store").mkdir()
    assert cli.main(["board"]) == 0
    git("init", "-b", "main")
    git("add", "-A")
    git("commit", "-m", "base")
    return tmp_path


def add_row() -> None:
    """A second row, which the main branch lacks, with its completions in the store."""
    copy(NEW)
    assert cli.main(["board", "--move-completions", "out"]) == 0


def file_in_store(stem: str) -> Path:
    """Where the store has a row's completions."""
    digest = entries.read_entry(BOARD / f"{stem}.json").result.completions_sha256
    return Path("store", f"{digest}{COMPLETIONS}")


def check(capfd, *words: str) -> tuple[int, str]:
    """The exit status of the check, and what it prints."""
    capfd.readouterr()
    status = cli.main(["board", "--check", *words])
    return status, "".join(capfd.readouterr())


def test_every_command_prints_the_same_from_the_store(place, capfd):
    """Wherever the completions are; the pull request's comment alone drops a link to a file that left."""
    copy(NEW)
    assert cli.main(["board"]) == 0
    commands = [
        ["show", str(BOARD / f"{NEW}.json"), "-n", "3"],
        ["compare", BASE, NEW],
        ["diff", BASE, NEW],
        ["verify", str(BOARD / f"{NEW}.json"), "--level", "1"],
        ["export", "csv"],
        ["regrade", str(BOARD)],
        ["pr-report", "--base", "main"],
        ["board", "--check"],
    ]

    def printed() -> list[str]:
        out = []
        for words in commands:
            assert cli.main(words) == 0
            out.append(capfd.readouterr().out.partition("\nrecord ")[0])  # the record's name holds the time
            shutil.rmtree(BOARD / "verifications", ignore_errors=True)
        return out

    capfd.readouterr()
    before = printed()
    assert cli.main(["board", "--move-completions", "out"]) == 0
    assert sorted(file.suffix for file in BOARD.iterdir()) == [".json", ".json"]
    capfd.readouterr()
    link = f"; `{NEW}.loss.jsonl.gz`"
    assert link in before[-2]
    assert printed() == [text.replace(link, "") for text in before]


def test_a_report_reads_the_store(place):
    """Answers and loss curves: the page is the same, byte for byte."""
    copy(NEW)
    words = ["report", "--board", "word-problems", "--out", "after"]
    assert cli.main(words) == 0
    Path("after").rename("before")
    assert cli.main(["board", "--move-completions", "out"]) == 0
    assert cli.main(words) == 0
    names = [file.relative_to("before") for file in sorted(Path("before").rglob("*")) if file.is_file()]
    assert len(names) > 3
    assert [name for name in names if Path("before", name).read_bytes() != Path("after", name).read_bytes()] == []


def test_completions_may_move_out_and_back_against_a_base(place, capfd):
    """A file that is gone is a fault unless the store gives its lines."""
    assert check(capfd, "--base", "main")[0] == 0
    assert cli.main(["board", "--move-completions", "out"]) == 0
    assert check(capfd, "--base", "main")[0] == 0
    file_in_store(BASE).rename("kept")
    status, told = check(capfd, "--base", "main")
    assert (status, "lacks its completions" in told) == (1, True)
    Path("kept").rename(file_in_store(BASE))
    Path("store").rename("store2")
    status, told = check(capfd, "--base", "main", "--accept-unreachable-store")
    assert (status, told.count("removed or renamed since")) == (1, len(list(Path("store2").iterdir())))
    Path("store2").rename("store")
    assert cli.main(["board", "--move-completions", "in"]) == 0
    assert check(capfd, "--base", "main")[0] == 0
    git("diff", "--exit-code")


def test_a_file_that_was_tampered_with_in_the_store_is_a_fault(place, capfd):
    """The twin is the check before."""
    add_row()
    assert check(capfd)[0] == 0
    lines = gzip.decompress(file_in_store(NEW).read_bytes())
    file_in_store(NEW).write_bytes(gzip.compress(lines.replace(b"1", b"2", 1)))
    status, told = check(capfd)
    assert (status, "does not hold what its name says" in told, ": 1 faults" in told) == (1, True, True)


def test_a_store_out_of_reach_is_counted_and_fails_unless_accepted(place, capfd):
    """All rows without a base; with one, only what it does not hold unchanged. Nothing is advised to be deleted."""
    add_row()
    git("add", "-A")
    git("commit", "-m", "out")
    Path("store").rename("store2")
    status, told = check(capfd)
    assert (status, "2 rows were checked without their completions" in told, "git rm" in told) == (1, True, False)
    assert "2 entries (numbers, digests, completions, losses, judgements; of 2 the numbers alone)" in told
    status, told = check(capfd, "--accept-unreachable-store")
    assert (status, "note: leaderboards/store.toml: 2 rows were checked without" in told) == (0, True)
    assert check(capfd, "--base", "HEAD")[0] == 0
    Path("leaderboards", "store.toml").write_text('completions = "../store3"')
    assert "2 rows were checked without their completions" in check(capfd, "--base", "HEAD")[1]
    git("checkout", "leaderboards/store.toml")
    Path("store2").rename("store")
    assert check(capfd)[0] == 0


@pytest.mark.parametrize("tampered", [True, False])
def test_a_store_out_of_reach_hides_no_fault_of_a_file_that_is_here(place, capfd, tampered):
    """The row's loss history is in the store, and its completions are next to its entry."""
    add_row()
    companion = BOARD / f"{NEW}{COMPLETIONS}"
    lines = gzip.decompress(file_in_store(NEW).read_bytes())
    companion.write_bytes(gzip.compress(lines.replace(b"1", b"2", 1) if tampered else lines))
    Path("store").rename("store2")
    status, output = check(capfd, "--accept-unreachable-store")
    assert (status, "completions_sha256 is not the digest" in output) == ((1, True) if tampered else (0, False))
    assert "2 rows were checked without their completions" in output


def test_a_new_row_whose_store_is_out_of_reach_is_never_accepted(place, capfd):
    """Nobody has read what its numbers are said to follow from; rows of the base were checked when they came."""
    add_row()
    Path("store").rename("store2")
    status, output = check(capfd, "--base", "main", "--accept-unreachable-store")
    assert (status, f"{NEW}.json: is new since the base" in output) == (1, True)
    git("add", "-A")
    git("commit", "-m", "rows")
    status, output = check(capfd, "--base", "HEAD", "--accept-unreachable-store")
    assert (status, "is new since the base" in output) == (0, False)


def test_a_comment_judges_no_row_whose_store_is_out_of_reach(place, capfd):
    """It says so first."""
    add_row()
    Path("store").rename("store2")
    capfd.readouterr()
    assert cli.main(["pr-report", "--base", "main"]) == 0
    output = capfd.readouterr().out
    assert "rows were checked without their completions" in output
    assert "1 new entry not judged, for faults" in output


@pytest.fixture
def hub():
    """A hub with an empty data set, which knows one token that may write."""
    server = Hub({"store": {}})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def bench(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, since the hub's library reads its settings once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    home = {"HF_HOME": str(Path("home").absolute()), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-m", "baseline_bench.cli", *words],
        env={**kept, **home, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_data_set_of_a_hub_is_a_store(hub, tmp_path, monkeypatch):
    """Rows are uploaded, fetched once into the cache and verified, from a hub on the loopback that speaks its HTTP."""
    monkeypatch.chdir(tmp_path)
    Path("leaderboards").mkdir()
    Path("leaderboards", "store.toml").write_text('completions = "hf://datasets/org/store"')
    words = ["score", str(tiny.build(tmp_path / "model", "chatml")), "--task", "word-problems"]
    words += ["--engine", "scripted", "--limit", "6"]
    address, files = {"HF_ENDPOINT": hub.address}, hub.files["store"]
    done = bench(*words, **address)
    assert (done.returncode, list(BOARD.iterdir()), files) == (1, [], {})
    assert "hf auth login" in done.stderr
    assert bench(*words, **address, HF_TOKEN="hf_writer").returncode == 0
    (path,) = BOARD.iterdir()
    (name,) = files
    assert name == entries.read_entry(path).result.completions_sha256 + COMPLETIONS
    checked = ("board", "--check")
    assert bench(*checked, **address, BENCH_CACHE="cache").returncode == 0
    assert bench(*checked, HF_HUB_OFFLINE="1", BENCH_CACHE="cache").returncode == 0
    Path("cache", "completions", name).write_bytes(b"torn")
    assert bench(*checked, **address, BENCH_CACHE="cache").returncode == 0
    for settings in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        done = bench(*checked, **settings, BENCH_CACHE="other")
        assert (done.returncode, "1 rows were checked without their completions" in done.stdout) == (1, True)
    sound = files[name]
    for harmed, told in (
        (gzip.compress(b"{}\n"), "does not hold what its name says"),
        (None, "lacks its completions"),
    ):
        files.clear()
        files.update({} if harmed is None else {name: harmed})
        done = bench(*checked, **address, BENCH_CACHE="other")
        assert (done.returncode, told in done.stdout) == (1, True)
    files[name] = sound
    assert bench("board", "--move-completions", "in", **address, BENCH_CACHE="other").returncode == 0
    assert [file.read_bytes() for file in BOARD.glob(f"*{COMPLETIONS}")] == [sound]
