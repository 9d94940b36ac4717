"""commands.compare and commands.diff: `bench compare` and `bench diff`, on real rows and small ones."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import samples
from baseline_bench.commands import compare, diff
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.results import entries, retractions
from baseline_bench.results.entry import CheckResults
from baseline_bench.results.retractions import Retraction
from committed_rows import BASE
from paths import ROOT

BOARDS = ROOT / "leaderboards"
TUNED, PLAIN = (
    f"2026-11-22-{BASE}-full-main-s0-9356e43ddd35",
    f"2026-11-22-{BASE}-e914a0405fa4",
)


class Terminal:
    """What a story printed, at a width."""

    def __init__(self, width: int = 140) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.screen = Console(self.out, self.err)
        self.screen.data.width = self.screen.talk.width = width

    def compare(self, first: str, second: str, boards: Path = BOARDS, **how) -> str:
        """`bench compare`; what it printed."""
        asked = {"board": None, "markdown": False, "as_json": False, **how}
        assert compare.run(compare.Options(first=first, second=second, leaderboards=boards, **asked), self.screen) == 0
        return self.out.getvalue()

    def diff(self, first: str, second: str, boards: Path = BOARDS, **how) -> str:
        """`bench diff`; what it printed."""
        asked = {"board": None, "only": None, "limit": 20, "markdown": False, "runs": [], "mirror": None, **how}
        assert diff.run(diff.Options(first=first, second=second, leaderboards=boards, **asked), self.screen) == 0
        return self.out.getvalue()


@pytest.fixture
def boards(tmp_path):
    """A board of two rows: `base` with 3 of 12 right, `better` with 5."""
    for name, right in (("base", 3), ("better", 5)):
        lines = samples.answers(right=right)
        entries.write_entry(samples.entry(samples.result(name, lines)), lines, tmp_path / "counting")
    return tmp_path


def lines(text: str) -> list[str]:
    """Without the spaces that fill a line."""
    return [line.rstrip() for line in text.splitlines()]


def test_compare_prints_the_outcome_first():
    """Then difference, items, causes, seeds and one sentence; then both rows; then what else differs."""
    out = lines(Terminal().compare(TUNED, PLAIN))
    assert out[0] == f"{BASE}+full-main-s0 against {BASE}"
    assert out[1].split() == ["outcome", "▲", "better"]
    assert "+3.41 points, 95 % interval +2.07 to +4.89" in out[2]
    assert any(line.startswith("among its seeds") for line in out)
    short = next(place for place, line in enumerate(out) if line.startswith("in short"))
    assert "The fine-tune helped" in out[short]
    assert out[short + 2 : short + 10 : 4] == [f"{BASE}+full-main-s0", BASE]
    assert [Path(line.strip()).name for line in out[short + 5 : short + 10 : 4]] == [f"{TUNED}.json", f"{PLAIN}.json"]
    assert "5.23 % (69 of 1,319), 95 % interval 4.2 to 6.6 %" in out[short + 3]
    assert "what else differs" in out
    assert any(line.split() == ["bench", "commit", "38a1263177d5", "9bec463b6d92"] for line in out)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_is_wider_than_the_terminal(width):
    """Neither of a comparison nor of answers; but a path is never broken."""
    terminal = Terminal(width)
    terminal.compare(TUNED, PLAIN)
    printed = terminal.diff(TUNED, PLAIN, limit=2)
    paths = [line for line in printed.splitlines() if f"{PLAIN}.json" in line or f"{TUNED}.json" in line]
    assert len(paths) == 4
    assert max(len(line) for line in printed.splitlines() if line not in paths) <= width


def test_names_with_rows_of_several_engines_give_the_comparable_pair():
    """The base has seven rows on the real board, the newest of another engine; each manner names the files it took."""
    names = (f"{BASE}+full-main-s0", BASE)
    files = [f"{TUNED}.json", f"2026-11-22-{BASE}-1bdaa593fdb6.json"]
    record = json.loads(Terminal().compare(*names, as_json=True))
    assert (record["kind"], [record["first"], record["second"]]) == ("comparable", files)
    for printed in (
        Terminal(200).compare(*names),
        Terminal().compare(*names, markdown=True),
        Terminal(200).diff(*names, limit=1),
        Terminal().diff(*names, limit=1, markdown=True),
    ):
        assert all(printed.count(file) == 1 for file in files)


@pytest.mark.parametrize("sides", [("base", "other"), ("other", "base")])
def test_a_name_with_rows_of_several_tasks_gives_the_pair_of_one_task(boards, sides):
    """Where no pair differs in its weights alone, a row under another token limit is left aside, though it is newer."""
    lines = samples.answers(right=4)
    other = samples.result("other", lines)
    served = replace(other.engine, settings={**other.engine.settings, "device": "server"})
    model = replace(other.model, weights_sha256=None)
    other = replace(other, engine=served, model=model, prompts_sha256=samples.sha("others"))
    entries.write_entry(samples.entry(other), lines, boards / "counting")
    base = samples.result("base", lines)
    task = replace(
        base.task, name="counting-max-tokens-9", label="counting-0shot+max-tokens=9@v1", protocol_sha256="9" * 64
    )
    limited = replace(base, task=task, sampling=replace(base.sampling, max_tokens=9))
    entries.write_entry(samples.entry(limited, "2026-11-29T12:00:00Z"), lines, boards / "counting-max-tokens-9")
    record = json.loads(Terminal().compare(*sides, boards, as_json=True))
    assert record["kind"] == "system comparison"
    assert all((boards / "counting" / record[side]).is_file() for side in ("first", "second"))


def marked(folder, name, right, **checks):
    """Add a row whose checks found something."""
    made = samples.result(name, samples.answers(right=right))
    lines = samples.answers(right=right)
    found = CheckResults(findings=("template-drops-turn",), accepted=("template-unread",), logits="finite")
    return entries.write_entry(
        samples.entry(replace(made, checks=replace(found, **checks))), lines, folder / "counting"
    )


def test_findings_of_a_row_come_before_the_outcome(boards):
    """Of a marked row its codes, wherever two rows are compared; of a row whose checks found nothing no word."""
    marked(boards, "odd", 4)
    marked(boards, "fine", 4, findings=(), accepted=())
    codes = ["template-drops-turn", "template-unread (accepted)"]
    record = json.loads(Terminal().compare("odd", "base", boards, as_json=True))
    assert record["findings"] == [codes, []]
    assert json.loads(Terminal().compare("fine", "base", boards, as_json=True))["findings"] == [[], []]
    for how in ("compare", "diff"):
        out = lines(getattr(Terminal(), how)("base", "odd", boards))
        outcome = next(place for place, line in enumerate(out) if line.startswith("outcome"))
        assert all(code in "".join(out[:outcome]) for code in codes)
        assert "warned" not in getattr(Terminal(), how)("base", "fine", boards)
    page = Terminal().compare("odd", "base", boards, markdown=True)
    assert page.index("`template-drops-turn`") < page.index("**inconclusive")


def test_two_rows_known_in_part_are_noted_in_every_format(boards):
    """In one line of the terminal, one field of the record and one row of Markdown."""
    out = Terminal().compare("better", "base", boards)
    assert len([line for line in lines(out) if line.startswith("identity ")]) == 1
    assert Terminal().compare("better", "base", boards, markdown=True).count("\n|identity|") == 1
    assert json.loads(Terminal().compare("better", "base", boards, as_json=True))["identity_note"]


def test_a_worse_row_is_no_error():
    """The exit status stays 0, for a machine as for a person."""
    assert "worse" in lines(Terminal().compare(PLAIN, TUNED))[1]


def test_rows_that_are_not_comparable_are_told_and_no_error():
    """The reason stands where numbers would; both rows and what differs follow."""
    out = Terminal().compare(PLAIN, f"2026-11-22-{BASE}-bf66e818482c")
    assert "not comparable: other selections (1319 of 1319" in out
    assert "McNemar" not in out
    assert "transformers 5.23.0" in out


def test_json_is_one_record(boards):
    """Proportions, counts and words; a script needs to read no table."""
    record = json.loads(Terminal().compare("better", "base", boards, as_json=True))
    assert (record["kind"], record["outcome"], record["seeds"]) == ("comparable", "inconclusive", None)
    assert record["estimand"].startswith("these weights on problems like these")
    numbers = record["numbers"]
    assert {key: numbers[key] for key in ("won", "lost", "both", "neither", "margin", "p")} == {
        "won": 2,
        "lost": 0,
        "both": 3,
        "neither": 7,
        "margin": None,
        "p": 0.5,
    }
    assert numbers["low"] < numbers["low_90"] <= 0 < numbers["difference"] < numbers["high_90"] < numbers["high"]
    assert record["numbers"]["flips"] == {"unread": [0, 0], "stopping": [0, 0], "answer": [2, 0], "format": [0, 0]}
    assert [one["what"] for one in record["differences"]] == ["weights"]


def test_a_margin_makes_rows_equivalent():
    """Two runs of one model differ on 12 of 1,319 problems: within two points; both intervals are shown."""
    again = f"2026-11-22-{BASE}-0fc1d4dd1419"
    record = json.loads(Terminal().compare(again, PLAIN, as_json=True, margin=0.02))
    assert (record["outcome"], record["numbers"]["margin"]) == ("equivalent", 0.02)
    page = Terminal().compare(again, PLAIN, markdown=True, margin=0.02)
    assert "**equivalent.**" in page
    assert "95 % interval" in page
    assert "within -2.00 to +2.00" in page


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.01, 2.0])
def test_a_margin_is_a_share(boards, margin):
    """One point is 0.01, and 2 is no share."""
    with pytest.raises(BenchError, match="--margin"):
        Terminal().compare("better", "base", boards, margin=margin)


def test_json_of_rows_that_are_not_comparable_has_no_numbers():
    """And says why."""
    record = json.loads(Terminal().compare(PLAIN, f"2026-11-22-{BASE}-bf66e818482c", as_json=True))
    assert (record["outcome"], record["numbers"], record["estimand"]) == ("not comparable", None, None)
    assert record["why"][0]["what"] == "selections"


def test_files_from_elsewhere_can_be_compared(boards, tmp_path):
    """Two entries by path, in a folder that is no board and holds other files; it may have no leaderboards at all."""
    made = [path.rename(tmp_path / path.name) for path in sorted((boards / "counting").glob("*.json"))]
    (tmp_path / "notes.json").write_text("{}")
    record = Terminal().compare(str(made[1]), str(made[0]), tmp_path / "nowhere")
    assert record.startswith("better against base")


def test_markdown_goes_into_a_comment(boards):
    """The shared words, unpadded."""
    out = Terminal(40).compare("better", "base", boards, markdown=True)
    assert out.startswith("### `better` against `base`\n\n**inconclusive.** These problems")


def test_a_withdrawn_row_is_compared_with_a_warning(boards):
    """Only where its file is named, and the reason is record."""
    path = next((boards / "counting").glob("*better*.json"))
    retractions.write_record(
        Retraction(1, "2026-11-23T12:00:00Z", path.name, "x", "a wrong template", None), path.parent
    )
    terminal = Terminal()
    assert "better against base" in terminal.compare(path.name, "base", boards)
    assert f"{path.name} was withdrawn: a wrong template" in terminal.err.getvalue()
    with pytest.raises(BenchError, match="withdrawn or covers a subset"):
        terminal.compare("better", "base", boards)


def test_diff_shows_both_answers_side_by_side(gsm8k_mirror):
    """In a wide terminal: the question, what either row wrote, what was read by which rule, and how it ended."""
    out = Terminal(140).diff(TUNED, PLAIN, only="cut", limit=1, mirror=gsm8k_mirror)
    assert out.startswith(f"{BASE}+full-main-s0 against {BASE}\noutcome: better\n")
    assert "test-89: won (stopping)" in out
    assert "Christina is planning a birthday party" in out
    row = next(line for line in out.splitlines() if "She needs 16*2" in line)
    assert "To solve this problem" in row
    last = next(line for line in out.splitlines() if "right: gold 24" in line)
    assert "read 24 by hash, stopped by itself" in last
    assert "wrong: gold 24, read 16 by last-number, cut at the token limit" in last
    assert lines(out)[-1] == "65 won, 20 lost, 1 of 11 shown (-n N shows more)"


def test_a_narrow_terminal_stacks_the_answers():
    """One under the other, each with its row's name."""
    out = lines(Terminal(80).diff(TUNED, PLAIN, limit=1))
    first, second = (out.index(name, 1) for name in (f"{BASE}+full-main-s0", BASE))
    assert first < second
    assert "#### 250" in out[first:second]
    assert "#### 20" in out[second:]


@pytest.mark.parametrize(
    ("only", "count"), [(None, 85), ("both", 85), ("won", 65), ("lost", 20), ("cut", 11), ("unread", 1)]
)
def test_only_what_was_asked_for_is_shown(only, count):
    """The counts are those that `bench compare` gives to each cause."""
    out = Terminal().diff(TUNED, PLAIN, only=only, limit=1319)
    assert out.count("gold ") == 2 * count
    assert lines(out)[-1] == f"65 won, 20 lost, {count} shown"


def test_questions_come_from_a_run_where_the_data_is_not_at_hand(boards, tmp_path):
    """Of the same id and gold answer alone; without either the item goes by its id."""
    assert "How many" not in Terminal().diff("better", "base", boards)
    run = tmp_path / "run"
    run.mkdir()
    problems = [
        {"id": "test-3", "question": "How many?", "gold": "3"},
        {"id": "test-4", "question": "Two?", "gold": "5"},
    ]
    (run / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    out = Terminal().diff("better", "base", boards, runs=[run])
    assert "How many?" in out
    assert "Two?" not in out


def test_a_task_that_is_not_here_is_shown_without_what_was_read(boards):
    """Whether an answer was right stands in the entry."""
    out = Terminal().diff("better", "base", boards)
    assert "right: gold 3, its reader is not here, stopped by itself" in out
    assert lines(out)[-1] == "2 won, 0 lost, 2 shown"


def test_diff_as_markdown_folds_every_item(gsm8k_mirror):
    """The outcome and counts first; then one block an item."""
    out = Terminal(40).diff(TUNED, PLAIN, only="lost", limit=3, markdown=True, mirror=gsm8k_mirror)
    assert out.startswith(
        f"### `{BASE}+full-main-s0` against `{BASE}`\n\n**better**: 65 won, 20 lost, 3 of 20 shown (-n N shows more)."
    )
    assert out.count("<details>") == out.count("</details>") == 3
    assert out.count("```text") == 9


def test_rows_that_are_not_comparable_have_no_diff():
    """Nothing is paired."""
    with pytest.raises(BenchError, match="not comparable: other selections"):
        Terminal().diff(PLAIN, f"2026-11-22-{BASE}-bf66e818482c")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_shows_nothing_is_refused(boards, limit):
    """Counts without a single answer are what `bench compare` is for."""
    with pytest.raises(BenchError, match="shows nothing"):
        Terminal().diff("better", "base", boards, limit=limit)


def test_control_characters_of_a_model_do_not_reach_the_terminal(tmp_path):
    """A completion can hold anything."""
    for name, right in (("a", 5), ("b", 4)):
        made = [*samples.answers(right=right)]
        place = made[4]
        made[4] = replace(place, text=place.text + "\x1b[2J\r" * (right == 4))
        entries.write_entry(samples.entry(samples.result(name, made)), made, tmp_path / "counting")
    out = Terminal().diff("a", "b", tmp_path)
    assert "�[2J" in out
    assert "\x1b[2J" not in out
