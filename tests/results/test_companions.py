"""results.companions: completions outside the repository are checked like those next to their entry."""

import gzip
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError, UnreachableError
from baseline_bench.results import companions, completions, entries
from baseline_bench.results.companions import COMPLETIONS, load_completions, locate_companion, move_companions
from samples import add, answers, entry, regrade, result

DIGEST = result().completions_sha256


@pytest.fixture
def board(tmp_path) -> Path:
    """A board in leaderboards with a store, a folder next to them."""
    (tmp_path / "leaderboards" / "counting").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "leaderboards" / "store.toml").write_text('completions = "../store"')
    return tmp_path / "leaderboards" / "counting"


def stored(board: Path) -> Path:
    """The file of the sample's completions in the store."""
    return board.parent.parent / "store" / f"{DIGEST}{COMPLETIONS}"


def test_a_row_leaves_only_its_entry_in_the_repository(board):
    """Its completions are in the store under the digest that the entry holds, and are checked from there."""
    path = add(board)
    assert [file.name for file in board.iterdir()] == [path.name]
    assert [file.name for file in stored(board).parent.iterdir()] == [stored(board).name]
    assert entries.verify_entry(path, regrade) == []
    assert load_completions(path, entry()) == answers()


def test_writing_a_row_again_rewrites_nothing_and_mends_the_store(board):
    """Another zlib's bytes of the same lines stay; other lines under the name go."""
    add(board)
    other = gzip.compress(completions.decompress_file(stored(board)), compresslevel=1)
    stored(board).write_bytes(other)
    path = add(board)
    assert stored(board).read_bytes() == other
    stored(board).write_bytes(gzip.compress(b"{}\n"))
    assert entries.verify_entry(path) != []
    assert entries.verify_entry(add(board)) == []


def test_a_file_next_to_the_entry_comes_first_and_stays_there(board):
    """As on a board whose rows are older than its store."""
    (board.parent / "store.toml").rename(board.parent / "later.toml")
    path = add(board)
    (board.parent / "later.toml").rename(board.parent / "store.toml")
    assert add(board) == path
    assert locate_companion(path, entry(), COMPLETIONS) == entries.completions_path(path)
    assert list(stored(board).parent.iterdir()) == []


def swap(file: Path) -> None:
    """Sound completions of another row."""
    file.write_bytes(completions.compress_lines(completions.serialise_completions(answers(right=6))))


def cut(file: Path) -> None:
    """As a file that was fetched in part."""
    file.write_bytes(file.read_bytes()[:50])


def link(file: Path) -> None:
    """The same lines, outside the store."""
    shutil.move(file, file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def pipe(file: Path) -> None:
    """A pipe, which never ends."""
    file.unlink()
    os.mkfifo(file)


def explode(file: Path) -> None:
    """A small file of many lines."""
    file.write_bytes(gzip.compress(bytes(completions.MAX_BYTES + 1), compresslevel=1))


def pad(file: Path) -> None:
    """The same lines, behind which a file without content goes on and on."""
    with file.open("r+b") as padded:
        padded.truncate(completions.MAX_BYTES + 1)


@pytest.mark.parametrize("harm", [swap, cut, link, pipe, explode, pad, Path.unlink])
def test_what_was_tampered_with_in_the_store_is_found_and_never_used(board, harm, monkeypatch):
    """By the check and by whoever reads completions; the twin is the sound row before."""
    monkeypatch.setattr(completions, "MAX_BYTES", 2**16)
    path = add(board)
    assert entries.verify_entry(path, regrade) == []
    harm(stored(board))
    assert len(entries.verify_entry(path, regrade)) == 1
    with pytest.raises(BenchError):
        load_completions(path, entry())


@pytest.mark.parametrize("text", ["../secret", "../store/" + "0" * 64, "0" * 63 + "\n", "F" * 64])
def test_a_digest_that_is_a_path_leads_nowhere(board, text):
    """An entry is a stranger's text: only 64 hex digits name a file."""
    (board.parent.parent / "secret.jsonl.gz").write_bytes(gzip.compress(b""))
    forged = entry(replace(result(), completions_sha256=text))
    assert locate_companion(board / "x.json", forged, COMPLETIONS) is None


def test_a_store_that_is_not_there_is_told_from_one_that_lacks_a_file(board):
    """Nothing is known of the one; the other is a fault. Neither reading nor writing creates its folder."""
    path = add(board)
    stored(board).parent.rename(board.parent.parent / "unmounted")
    audited = entries.audit_entry(path, regrade)
    assert audited.faults == ()
    assert "is no folder" in (audited.unreachable or "")
    for use in (lambda: load_completions(path, entry()), lambda: add(board, result("other"))):
        with pytest.raises(UnreachableError):
            use()
    assert [file.name for file in board.iterdir()] == [path.name]
    assert not stored(board).parent.exists()
    (board.parent.parent / "unmounted").rename(stored(board).parent)
    assert entries.audit_entry(path, regrade).unreachable is None


@pytest.mark.parametrize(
    "text",
    ['completions = ""', "completions = 1", "", "[", 'completions = "a\\u0000b"', 'completions = "https://x/y"']
    + [f'completions = "hf://{rest}"' for rest in ("datasets/one", "datasets/../x", "models/a/b", "datasets/a/b/c")],
)
def test_what_names_no_store_is_one_line(board, text):
    """With what to write."""
    (board.parent / "store.toml").write_text(text)
    with pytest.raises(BenchError) as caught:
        add(board)
    assert caught.value.way_out
    assert list(board.iterdir()) == []


@pytest.mark.parametrize("place", ["../store", "hf://datasets/org/store_1.x"])
def test_a_folder_and_a_data_set_are_stores(board, place):
    """The twins; the folder is relative to the file, whatever the working directory."""
    (board.parent / "store.toml").write_text(f'completions = "{place}"')
    found = companions.read_store(board.parent)
    assert found is not None
    assert found.repository == (None if place.startswith(".") else "org/store_1.x")
    assert found.repository or found.folder.samefile(board.parent.parent / "store")


def test_files_move_out_and_back_in_byte_for_byte(board):
    """Two rows of equal answers share one file; an unsound file stays for the check to find."""
    (board.parent / "store.toml").rename(board.parent / "later.toml")
    paths = [add(board), add(board, result("twin")), add(board, result("bad"))]
    rows = {path: entries.read_entry(path) for path in paths}
    beside = [entries.completions_path(path) for path in paths]
    cut(beside[2])
    odd = gzip.compress(completions.decompress_file(beside[0]), compresslevel=1)
    beside[0].write_bytes(odd)
    beside[1].write_bytes(odd)
    with pytest.raises(BenchError, match=r"no .*store.toml"):
        list(move_companions(board.parent, rows, "out"))
    (board.parent / "later.toml").rename(board.parent / "store.toml")
    assert list(move_companions(board.parent, rows, "out")) == beside[:2]
    assert [path.exists() for path in beside] == [False, False, True]
    assert list(move_companions(board.parent, rows, "out")) == []
    assert list(move_companions(board.parent, rows, "in")) == beside[:2]
    assert [path.read_bytes() for path in beside[:2]] == [odd, odd]
    assert stored(board).is_file()


def test_nothing_is_removed_that_the_store_does_not_hold(board, monkeypatch):
    """As when a disk loses what was written."""
    (board.parent / "store.toml").rename(board.parent / "later.toml")
    path = add(board)
    (board.parent / "later.toml").rename(board.parent / "store.toml")
    monkeypatch.setattr(companions.Store, "add", lambda *_: None)
    assert list(move_companions(board.parent, {path: entry()}, "out")) == []
    assert entries.completions_path(path).is_file()
