"""Nothing in an entry or its completions can be changed, forged or lost without being noticed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, digest, encode_indented
from baseline_bench.core.types import Judgement
from baseline_bench.results.completions import compress_lines, serialise_completions
from baseline_bench.results.entries import build_file_stem, completions_path, verify_entry, write_entry
from baseline_bench.results.entry import Entry
from samples import LEAVES, add, altered, answers, entry, move, regrade, result

BASE = result()


@pytest.mark.parametrize("at", LEAVES, ids=lambda at: ".".join(map(str, at)))
def test_no_leaf_can_be_changed_in_place(tmp_path: Path, at: tuple[str | int, ...]) -> None:
    """Any single value that is changed in a file is noticed."""
    path = add(tmp_path)
    path.write_bytes(encode_indented(altered(json.loads(path.read_bytes()), at)))
    assert verify_entry(path) != []


@pytest.mark.parametrize("at", [at for at in LEAVES if at[0] != "timings"], ids=lambda at: ".".join(map(str, at)))
def test_no_leaf_of_the_result_can_be_changed_by_renaming_the_file(tmp_path: Path, at: tuple[str | int, ...]) -> None:
    """With a file name made to fit, the digest of the result still tells."""
    path = add(tmp_path)
    value = altered(json.loads(path.read_bytes()), at)
    path.write_bytes(encode_indented(value))
    try:
        move(path, path.with_name(f"{build_file_stem(decode_record(Entry, value, '', ''))}.json"))
    except (BenchError, OSError):  # no entry any more, or no name for a file
        assert verify_entry(path) != []
    else:
        assert all(verify_entry(item) for item in tmp_path.glob("*.json"))


FORGED = [
    at
    for at in LEAVES
    if at[:2] in {("result", "bits"), ("result", "counts"), ("result", "selection"), ("result", "completions_sha256")}
]


@pytest.mark.parametrize("at", FORGED, ids=lambda at: ".".join(map(str, at)))
def test_no_number_can_be_forged_with_its_digests(tmp_path: Path, at: tuple[str | int, ...]) -> None:
    """With digest and name made to fit, the arithmetic and the completions still tell."""
    value = altered(json.loads(encode_indented(entry())), at)
    value["result_sha256"] = digest(value["result"])
    forged = decode_record(Entry, value, "", "")
    move(add(tmp_path), tmp_path / f"{build_file_stem(forged)}.json")
    path = tmp_path / f"{build_file_stem(forged)}.json"
    path.write_bytes(encode_indented(forged))
    assert verify_entry(path) != []


def forge(folder: Path, **bits: str) -> Path:
    """An entry whose bits were changed together with counts, digests and name."""
    changed = replace(BASE.bits, **bits)
    forged = entry(replace(BASE, bits=changed, counts=changed.counts(12)))
    path = folder / f"{build_file_stem(forged)}.json"
    move(add(folder), path)
    path.write_bytes(encode_indented(forged))
    return path


@pytest.mark.parametrize("name", ["correct", "strict", "unread"])
def test_bits_that_do_not_follow_from_the_completions_are_found_by_grading_again(tmp_path: Path, name: str) -> None:
    """A consistent forgery passes the arithmetic (L0) and falls to the reader (L1)."""
    path = forge(tmp_path, **{name: "001" if name == "unread" else "fc0"})
    assert verify_entry(path) == []
    assert verify_entry(path, regrade) == [f"the {name} bits do not follow from the completions"]


def test_cut_bits_need_no_reader(tmp_path: Path) -> None:
    """How a text ended stands in the completions themselves."""
    assert verify_entry(forge(tmp_path, cut="000")) == ["the cut bits do not follow from the completions"]


def test_an_entry_has_one_spelling(tmp_path: Path) -> None:
    """Another blank, and a key that appears twice, are found although the values are the same."""
    path = add(tmp_path)
    data = path.read_bytes()
    for other in (data + b"\n", data.replace(b'"schema": 1,', b'"schema": 1,\n  "schema": 1,')):
        path.write_bytes(other)
        assert verify_entry(path) == ["is not spelled as bench spells entries"]


def test_an_item_cannot_be_right_and_unread(tmp_path: Path) -> None:
    """Bits that contradict one another are found by arithmetic."""
    assert verify_entry(forge(tmp_path, unread="803")) == ["an item is both correct and unread"]


def test_changed_or_lost_completions_are_found(tmp_path: Path) -> None:
    """Another text, a torn file and no file at all each have their line."""
    path = add(tmp_path)
    beside = completions_path(path)
    beside.write_bytes(compress_lines(serialise_completions(answers()).replace(b"do not know", b"do now know")))
    assert verify_entry(path) == ["completions_sha256 is not the digest of the completions"]
    beside.write_bytes(compress_lines(serialise_completions(answers()))[:-20])
    assert "cannot be decompressed" in verify_entry(path)[0]
    beside.write_bytes(compress_lines(b'{"id": 1}\n'))
    assert "lacks gold" in verify_entry(path)[0]
    beside.unlink()
    assert verify_entry(path) == [f"lacks its completions {beside.name}"]


def test_a_reader_that_cannot_be_had_is_a_problem_of_the_entry(tmp_path: Path) -> None:
    """Where the task of an entry is unknown the check says so and goes on."""

    def unknown(_: Entry, __: object) -> list[Judgement]:
        raise BenchError("no task 'counting'", "known: gsm8k")

    assert verify_entry(add(tmp_path), unknown) == ["no task 'counting'"]
    assert verify_entry(add(tmp_path), lambda _, __: []) == ["its items are not those that its limit and seed draw"]


def test_links_are_no_entries(tmp_path: Path) -> None:
    """A link out of the folder is neither followed nor quoted."""
    path = add(tmp_path / "elsewhere")
    board = tmp_path / "board"
    board.mkdir()
    link = board / path.name
    link.symlink_to(path)
    assert verify_entry(link) == [f"{path.name}: a link, not a file"]
    assert "cannot be read" in verify_entry(board / "absent.json")[0]


def test_every_item_has_one_completion(tmp_path: Path) -> None:
    """Completions of other items, or of one item twice, do not stand for the selection."""
    twice = (*answers()[:11], answers()[10])
    with pytest.raises(ValueError, match=r"^an item has two completions$"):
        write_entry(entry(result("base", twice)), twice, tmp_path)
    other = tuple(replace(item, id=f"train-{item.id}") for item in answers())
    ids = replace(result("base", other).selection, ids_sha256=BASE.selection.ids_sha256)
    with pytest.raises(ValueError, match=r"^selection\.ids_sha256 is not the digest of the completions' ids$"):
        write_entry(entry(replace(result("base", other), selection=ids)), other, tmp_path)
