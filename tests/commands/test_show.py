"""`bench show` takes a candidate's name, and prints the question where the task's items are at hand."""

import io
import shutil
from pathlib import Path

import pytest
from baseline_bench.commands import show
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from paths import ROOT

BOARD = ROOT / "leaderboards" / "word-problems"


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One committed row on a board."""
    folder = tmp_path_factory.mktemp("boards") / "word-problems"
    folder.mkdir()
    for path in BOARD.glob("2026-11-30-smollm2-135m-it-q4_1-33aa5eb635af.*"):
        shutil.copyfile(path, folder / path.name)
    return folder.parent


def printed(boards: Path, what: str) -> str:
    """What is printed for one answer."""
    out = io.StringIO()
    assert show.run(show.Options(what=[what], leaderboards=boards, most=1), Console(out, io.StringIO())) == 0
    return out.getvalue()


def test_a_row_is_shown_by_its_name_with_the_question(boards: Path) -> None:
    """The entry stores no question, so that it comes from the task's own items."""
    (path,) = boards.glob("*/*.json")
    out = printed(boards, "smollm2-135m-it-q4_1")
    (first, *_) = plugins.load_task("word-problems").problems(Split("test"))
    assert first.question in out.replace("\n", " ")
    assert out == printed(boards, str(path))


@pytest.mark.parametrize(("what", "meant"), [("smollm2-135m-it-q41", "smollm2-135m-it-q4_1"), ("{}/word-problem", "")])
def test_a_mistyped_name_or_folder_is_answered_with_the_closest(boards: Path, what: str, meant: str) -> None:
    """A row's name on the boards, and a folder among its neighbours."""
    with pytest.raises(BenchError) as caught:
        printed(boards, what.format(boards))
    assert f"did you mean '{meant or boards / 'word-problems'}'?" in str(caught.value.way_out)
