"""commands.compare and commands.plan with recipes, on the committed boards."""

import io
import json
import re

import pytest
from baseline_bench import cli
from baseline_bench.commands import compare, plan
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from committed_rows import BASE
from paths import ROOT

BOARDS = ROOT / "leaderboards"
FULL, LORA = "recipe:full-main", "recipe:lora-main"


def compared(first: str, second: str, **how: object) -> str:
    """What `bench compare` prints."""
    data = io.StringIO()
    options = compare.Options(first=first, second=second, leaderboards=BOARDS, **how)  # type: ignore[arg-type]
    assert compare.run(options, Console(data, io.StringIO())) == 0
    return data.getvalue()


def planned(*recipes: str, **design: object) -> list[list[str]]:
    """The words of each line that `bench plan` prints."""
    data = io.StringIO()
    first, second = recipes or (None, None)
    options = plan.Options(first=first, second=second, leaderboards=BOARDS, **design)  # type: ignore[arg-type]
    assert plan.run(options, Console(data, io.StringIO())) == 0
    return [line.split() for line in data.getvalue().splitlines()]


def test_the_record_has_all_that_the_table_shows():
    """Who, digests, seeds, right answers, estimand, difference, variance, forecast, and both sides against the base."""
    record = json.loads(compared(FULL, LORA, base=BASE, as_json=True))
    assert [sum(record[side]["right"]) for side in ("first", "second")] == [541, 453]
    assert [record[side]["seeds"] for side in ("first", "second")] == [list(range(10, 18))] * 2
    assert (record["problems"], record["task"]) == (1319, "gsm8k-1shot@v2")
    numbers = record["numbers"]
    assert numbers["outcome"] == "better"
    assert 0 < numbers["low"] < numbers["difference"] < numbers["high"]
    assert sum(numbers["variance"].values()) == pytest.approx(1)
    assert numbers["forecast"]["advice"] == "nothing"
    assert [one["outcome"] for one in record["against_base"]] == ["better", "better"]
    assert BASE in record["base"]
    sides = [record[side]["left_out"] for side in ("first", "second")]
    assert [len(files) for files in sides] == [3, 4]
    assert [*sides[0], *sides[1]] == list(record["left_out"])
    table = compared(FULL, LORA, base=BASE)
    for shown in ("better", "+0.83", "s10 64, s11 70, s12 75", record["first"]["digest"][:12], record["estimand"]):
        assert shown in table
    assert [table.count(f"left out of {side}") for side in ("first", "second")] == [3, 4]


def test_a_margin_decides_where_the_interval_does_not():
    """The other way round is worse whatever the margin; LoRA with TRL's trainer is within two points of our own."""
    record = json.loads(compared("recipe:trl-lora-main", LORA, base=BASE, as_json=True, margin=0.02))
    numbers = record["numbers"]
    assert numbers["low"] < numbers["low_90"] < numbers["difference"] < numbers["high_90"] < numbers["high"]
    assert (numbers["outcome"], numbers["margin"]) == ("equivalent", 0.02)
    assert json.loads(compared(LORA, FULL, base=BASE, as_json=True, margin=0.02))["numbers"]["outcome"] == "worse"


def test_markdown_is_a_table_of_the_same_facts():
    """Each line has two cells, and texts of entries are in code spans."""
    lines = compared(FULL, LORA, base=BASE, markdown=True).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 10
    assert all(row.count("|") == 3 for row in rows)
    assert f"`{BASE}`" in compared(FULL, LORA, base=BASE, markdown=True)


def test_the_page_shows_what_its_commands_print(monkeypatch, capfd):
    """On the rows of this repository; a line that ends in dots is cut there."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "compare-recipes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\nbench ([^\n]*)\n```\n\n```\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for command, shown in blocks:
        assert cli.main(command.split()) == 0
        printed = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
        for line, expected in zip(printed, shown.splitlines(), strict=False):
            assert line.startswith(expected.removesuffix("..."))


@pytest.mark.parametrize(("first", "second"), [(FULL, BASE), (BASE, LORA)])
def test_a_recipe_is_compared_with_a_recipe_alone(first, second):
    """A row on the other side is refused; the base has an option of its own, which rows do not take."""
    with pytest.raises(BenchError, match="compared with a recipe"):
        compared(first, second)
    with pytest.raises(BenchError, match="for recipes"):
        compared(f"{BASE}+full-main-s0", BASE, base=BASE)


def test_a_mistyped_recipe_is_answered_with_the_closest():
    """Of the recipes that have rows."""
    with pytest.raises(BenchError, match="no row of recipe:full-mian: did you mean 'full-main'"):
        compared("recipe:full-mian", LORA)


def test_a_plan_of_two_recipes_takes_variance_and_costs_from_their_rows():
    """One table of three designs; a larger gain is found more often; other seeds and items are planned as given."""
    lines = planned(FULL, LORA, base=BASE, gain=0.01)
    designs = [line for line in lines if "points" in line and "±" in " ".join(line)]
    assert len(designs) == 3
    assert designs[0][-3:] == ["0.0", "GPU", "min"]
    other = planned(FULL, LORA, base=BASE, gain=0.03, seeds=4, items=500)
    assert ["as", "planned", "4", "500"] in [line[:4] for line in other]
    with pytest.raises(BenchError, match="51 seeds are outside"):
        planned(FULL, LORA, base=BASE, gain=0.01, seeds=51)
    with pytest.raises(BenchError, match="compared with a recipe"):
        planned(FULL, "x", gain=0.01)
    with pytest.raises(BenchError, match="their own baseline"):
        planned(FULL, LORA, base=BASE, gain=0.01, baseline=0.05)


def test_a_plan_by_hand_counts_completions():
    """From the spread between seeds and the flips; both must be possible, and --seeds needs the spread."""
    lines = planned(baseline=0.05, gain=0.01, seed_sd=0.004, seeds=3, discordance=0.06, flips=0.05)
    assert ["as", "planned", "3", "1,319"] in [line[:4] for line in lines]
    assert sum(line[-2:] == ["2,638", "completions"] for line in lines) == 2
    for wrong in ({"seeds": 3}, {"seeds": 1, "seed_sd": 0.1}, {"flips": 0.6}):
        with pytest.raises(BenchError):
            planned(baseline=0.05, gain=0.01, **wrong)
    with pytest.raises(BenchError, match="nothing to plan"):
        planned(gain=0.01)
