"""Pages follow from entries alone, and the check finds whatever was made up, edited, renamed or removed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_indented
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.checking import find_faults
from baseline_bench.rendering.leaderboard import list_boards, load_board, render_board
from baseline_bench.results.entries import completions_path, write_entry
from samples import LEAVES, add, altered, answers, entry, regrade, result, sha

BASE = result()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of leaderboards with one board of two entries, rendered."""
    folder = tmp_path / "leaderboards"
    add(folder / "counting", result("base"))
    add(folder / "counting", result("tuned"))
    leaderboard.update_pages(folder)
    return folder


def whats(folder: Path, **options: object) -> list[str]:
    """What the check says, without files and ways out."""
    return [fault.what for fault in find_faults(folder, **options)]  # type: ignore[arg-type]


def test_rendering_reads_the_entries_of_a_board(folder: Path) -> None:
    """A board's page and sheet, the list of boards, and nothing written on the way."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    texts = render_board(folder, load_board(folder, "counting"))
    assert sorted(texts) == ["counting.csv", "counting.md", "counting.svg"]
    assert texts["counting.md"].encode() == (folder / "counting.md").read_bytes()
    assert list_boards(folder) == ["counting"]
    assert "|[counting](counting.md)|`counting-0shot@v1`|12|2|0|" in (folder / "README.md").read_text()
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writing_touches_only_what_is_stale(folder: Path) -> None:
    """Up to date, nothing is written; after a new entry the pages of its board and the list are."""
    assert leaderboard.update_pages(folder) == []
    add(folder / "counting", result("other"))
    add(folder / "another", result("base"))
    names = {path.name for path in leaderboard.update_pages(folder)}
    rendered = {f"{board}{suffix}" for board in ("counting", "another") for suffix in (".md", ".csv", ".svg")}
    assert names == {*rendered, "README.md"}
    assert find_faults(folder, regrade) == []


def test_a_folder_without_entries_has_an_empty_list(tmp_path: Path) -> None:
    """A new repository has its README and no board."""
    leaderboard.update_pages(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert "No runs yet." in (tmp_path / "README.md").read_text()
    assert find_faults(tmp_path) == []


def test_unknown_boards_and_folders_are_named(folder: Path) -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(BenchError, match=r"no board 'gsm9k' in .*: boards: counting"):
        load_board(folder, "gsm9k")
    with pytest.raises(BenchError, match="no folder"):
        find_faults(folder / "absent")


def test_an_unsound_entry_is_not_rendered(folder: Path) -> None:
    """Numbers that do not follow from their bits never reach a page."""
    path = next((folder / "counting").glob("*.json"))
    path.write_bytes(path.read_bytes().replace(b'"correct": 5', b'"correct": 9'))
    with pytest.raises(BenchError, match="counts do not follow from the bits"):
        leaderboard.update_pages(folder)


def test_a_sound_folder_passes(folder: Path) -> None:
    """Nothing is wrong with what was just written."""
    assert find_faults(folder, regrade) == []


@pytest.mark.parametrize("at", LEAVES, ids=lambda at: ".".join(map(str, at)))
def test_the_check_finds_every_changed_leaf(folder: Path, at: tuple[str | int, ...]) -> None:
    """A single value changed in any entry gives a fault that names the file."""
    path = next((folder / "counting").glob("*.json"))
    path.write_bytes(encode_indented(altered(json.loads(path.read_bytes()), at)))
    assert path.as_posix() in [fault.file for fault in find_faults(folder)]


@pytest.mark.parametrize("name", ["counting.md", "counting.csv", "counting.svg", "README.md"])
@pytest.mark.parametrize("spoil", [lambda data: data + b" ", lambda data: data.replace(b"\n", b"\r\n"), None])
def test_a_page_that_differs_by_one_byte_is_stale(
    folder: Path, name: str, spoil: Callable[[bytes], bytes] | None
) -> None:
    """An edited, re-ended or missing page is a fault that `bench board` fixes."""
    path = folder / name
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(path.read_bytes()))
    (fault,) = find_faults(folder)
    assert str(fault) == f"{path.as_posix()}: is not what the entries give; fix: `bench board`"
    leaderboard.update_pages(folder)
    assert find_faults(folder) == []


def test_completions_and_entries_stand_together(folder: Path) -> None:
    """Completions without an entry and an entry without completions are each found."""
    first, second = sorted((folder / "counting").glob("*.json"))
    first.unlink()
    completions_path(second).unlink()
    leaderboard.update_pages(folder)
    assert whats(folder) == [
        "completions or losses without their entry",
        f"lacks its completions {completions_path(second).name}",
    ]


def test_forged_bits_are_found_by_grading_again(folder: Path) -> None:
    """Completions that say otherwise than the bits are a fault once a reader is given."""
    claimed = replace(BASE.bits, correct="fc0")
    forged = entry(replace(result("tuned2"), bits=claimed, counts=claimed.counts(12)))
    write_entry(forged, answers(), folder / "counting")
    leaderboard.update_pages(folder)
    assert whats(folder) == []
    assert whats(folder, regrade=regrade) == ["the correct bits do not follow from the completions"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"task": replace(BASE.task, protocol_sha256=sha("x"))}, "label 'counting-0shot@v1' has another protocol"),
        ({"task": replace(BASE.task, items_sha256=sha("x"))}, "label 'counting-0shot@v1' has another items"),
        ({"task": replace(BASE.task, reader="x")}, "label 'counting-0shot@v1' has another reader"),
        ({"sampling": replace(BASE.sampling, max_tokens=256)}, "label 'counting-0shot@v1' has another sampling"),
        ({"candidate": "base"}, "candidate 'base' has another weights"),
        ({"model": result("base").model, "candidate": "new"}, None),
        ({"model": replace(BASE.model, name="base"), "candidate": "new"}, "model 'base' has another weights"),
        (
            {
                "model": replace(BASE.model, name="base", weights_sha256=None),
                "candidate": "new",
                "engine": replace(BASE.engine, settings={"device": "server"}),
            },
            None,
        ),
    ],
)
def test_a_label_and_a_name_mean_one_thing(folder: Path, change: dict[str, object], what: str | None) -> None:
    """A second meaning is a fault of the later entry; the same weights twice, or unknown ones, are none."""
    path = add(folder / "counting", replace(BASE, **change), created="2026-11-23T12:00:00Z")  # type: ignore[arg-type]
    leaderboard.update_pages(folder)
    faults = find_faults(folder)
    assert [fault.file for fault in faults] == ([path.as_posix()] if what else [])
    assert all(what is not None and fault.what.startswith(f"{what} than in ") for fault in faults)


def test_a_label_means_one_thing_on_all_boards(folder: Path) -> None:
    """Another board cannot give a known label a second protocol."""
    of = replace(BASE, task=replace(BASE.task, protocol_sha256=sha("x")))
    path = add(folder / "zzz", of, created="2026-11-23T12:00:00Z")
    leaderboard.update_pages(folder)
    assert [fault.file for fault in find_faults(folder)] == [path.as_posix()]


def test_a_badly_named_board_hides_nothing(folder: Path) -> None:
    """A folder that cannot have a page is a fault, and the other pages are still compared."""
    add(folder / "my board", result("base"))
    (folder / "counting.md").write_bytes(b"")
    assert whats(folder) == [
        "is not what the entries give",
        "has no page, for its name, its entries or its records are not sound",
    ]


def test_an_unsound_board_leaves_the_list_of_boards_alone(folder: Path) -> None:
    """One broken entry is one cause: the list that counts it is not called stale on top."""
    path = add(folder / "other", result("base"))
    leaderboard.update_pages(folder)
    path.write_bytes(b"{}")
    assert [Path(fault.file).name for fault in find_faults(folder)] == ["other", path.name]


def test_a_linked_folder_is_no_board(folder: Path, tmp_path: Path) -> None:
    """Entries outside the folder cannot be shown as its own."""
    (folder / "linked").symlink_to(add(tmp_path / "outside").parent)
    assert list_boards(folder) == ["counting"]
    assert whats(folder) == ["is a link"]


def test_a_page_without_its_board_is_found(folder: Path) -> None:
    """When the last entry of a board goes, its page does not stay behind."""
    shutil.rmtree(folder / "counting")
    leaderboard.update_pages(folder)
    assert {Path(fault.file).name for fault in find_faults(folder)} == {"counting.md", "counting.csv", "counting.svg"}


def test_the_budget_of_the_folder_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than the README of the boards allows are a fault."""
    assert "50 MiB" in (folder / "README.md").read_text()
    monkeypatch.setattr(leaderboard, "SIZE_BUDGET", 1024)
    leaderboard.update_pages(folder)
    (fault,) = find_faults(folder)
    assert fault.what.endswith("over its budget of 1,024")


def test_a_fault_is_one_line(folder: Path) -> None:
    """A file name with a line end or a terminal code cannot forge a second fault."""
    (folder / "counting" / "x\ny\x1b[31m.jsonl.gz").write_bytes(b"")
    (fault,) = find_faults(folder)
    assert str(fault).isprintable()


CLAIMS = """
schema = 1
name = "mine"
board = "counting"
task = "counting-0shot@v1"
alpha = 0.05
least_items = 1

[families]
base = "holm"

[[claims]]
id = "one"
hypothesis = "tuned beats base"
published = "nowhere"

[[claims.contrasts]]
test = "mcnemar"
family = "base"
better = { recipe = "full", base = "base", seed = 0 }
worse = { base = "base" }
"""


@pytest.fixture
def claims(folder: Path) -> Path:
    """A claims file beside the boards, everything rendered."""
    path = folder / "claims" / "mine.toml"
    path.parent.mkdir()
    path.write_text(CLAIMS)
    leaderboard.update_pages(folder)
    return path


def test_claims_have_a_page_of_their_own_and_lines_on_their_board(folder: Path, claims: Path) -> None:
    """Both are rendered, checked, and mended by the one command; an edited page is stale."""
    assert find_faults(folder, regrade) == []
    assert "claims/mine.md" in (folder / "counting.md").read_text()
    claims.with_suffix(".md").write_text("supported")
    (fault,) = find_faults(folder)
    assert (fault.file, fault.fix) == (claims.with_suffix(".md").as_posix(), "`bench board`")
    assert [path.name for path in leaderboard.update_pages(folder)] == ["mine.md"]


def test_claims_of_a_board_without_rows_have_a_page(folder: Path, claims: Path) -> None:
    """A hypothesis is committed before any row that it judges."""
    claims.with_name("early.toml").write_text(CLAIMS.replace('"counting"', '"later"').replace('"mine"', '"early"'))
    assert [path.name for path in leaderboard.update_pages(folder)] == ["early.md"]
    assert find_faults(folder, regrade) == []


def test_claims_that_cannot_be_read_are_one_fault(folder: Path, claims: Path) -> None:
    """Nothing is rendered from them, and their page is not called an orphan on top."""
    claims.write_text("schema = 1")
    assert [fault.what[:10] for fault in find_faults(folder)] == ["mine.toml:"]
    with pytest.raises(BenchError, match=r"mine\.toml"):
        leaderboard.update_pages(folder)


def test_a_page_without_its_claims_is_found(folder: Path, claims: Path) -> None:
    """When a claims file goes, its page does not stay behind."""
    claims.unlink()
    leaderboard.update_pages(folder)
    assert [fault.file for fault in find_faults(folder)] == [claims.with_suffix(".md").as_posix()]
