"""analysis.claims.claims_file: a file of claims is read strictly, and every fault of it told at once."""

import pytest
from baseline_bench.analysis.claims.claims_file import parse_claims
from baseline_bench.core.errors import BenchError
from claimed import CLAIM, HEAD, LEADERBOARDS, LOSS, PAIRED


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("schema = 1", "schema = 3", "the file: schema must be 1 or 2, not 3"),
        ("schema = 1", "schema = 2", "claim 1, contrast 1: test must be one of rows, recipes, not 'mcnemar'"),
        (
            "alpha = 0.05",
            "alpha = 0.05\nbeta = 1",
            "the file has unknown keys 'beta' (known: schema, name, board, task",
        ),
        ("alpha = 0.05\n", "", "the file lacks alpha"),
        ("alpha = 0.05", "alpha = 5", "alpha must be above 0 and at most 0.1, not 5"),
        ('name = "mine"', 'name = "other"', "name is 'other', not the file's"),
        ('board = "counting"', 'board = "../x"', "name and board are made of a-z"),
        ("least_items = 60", "least_items = true", "least_items must be an integer, not True"),
        (
            'test = "mcnemar"',
            'test = "wald"',
            "claim 1, contrast 1: test must be one of mcnemar, loss, ratio, boschloo, not 'wald'",
        ),
        ('family = "base"', 'family = "none"', "no family 'none' (known: base)"),
        ('family = "base"\n', "", "claim 1, contrast 1 lacks family"),
        ("seed = 0 }", "sed = 0 }", "better has unknown keys 'sed' (known: base, recipe, seed)"),
        (", seed = 0 }", " }", "a side names a recipe and a seed, or neither"),
        (PAIRED, "", "claim 1 has no [[claims.contrasts]]"),
        (PAIRED, PAIRED + PAIRED, "appears twice"),
        (PAIRED, PAIRED + CLAIM + PAIRED, "claim 'it-helps' appears twice"),
        (CLAIM + PAIRED, "", "the file has no [[claims]]"),
        (
            PAIRED,
            LOSS.replace('recipe = "other", ', "").replace('b", seed = 0 }\n', 'b" }\n'),
            "loss needs trainings on both",
        ),
        (
            PAIRED,
            '[[claims.contrasts]]\ntest = "boschloo"\nfamily = "base"\nbetter = "x"\nworse = "y"\n',
            "boschloo is for published",
        ),
        (PAIRED, PAIRED + "= nonsense", "not TOML"),
        ("least_items = 60", "least_items = 0", "least_items and all_items are at least 1"),
        ('recipe = "tune", base = "b", seed = 0', 'base = "b"', "both sides are the same"),
    ],
)
def test_a_faulty_file_is_refused_with_what_is_wrong(old: str, new: str, what: str):
    """Unknown and missing keys, impossible values, references to nothing, and everything that appears twice."""
    text = (HEAD + CLAIM + PAIRED).replace(old, new, 1)
    with pytest.raises(BenchError) as caught:
        parse_claims(text.encode(), "mine.toml")
    assert what in caught.value.what
    assert caught.value.what.startswith("mine.toml: ")


def test_every_problem_of_a_file_is_told_at_once():
    """Nobody mends a file line by line."""
    text = (
        (HEAD + CLAIM + PAIRED)
        .replace("alpha = 0.05\n", "")
        .replace("mcnemar", "wald")
        .replace("published", "publshed")
    )
    with pytest.raises(BenchError, match=r"(?s)wald.*publshed.*alpha|publshed.*wald.*alpha"):
        parse_claims(text.encode(), "mine.toml")


def test_a_published_table_names_its_rows_and_has_no_other_test():
    """A row that is not there, a count that is none, registered = true, and McNemar on counts are refused."""
    text = (LEADERBOARDS / "claims" / "published.toml").read_text()
    for old, new, what in (
        ('better = "full-main"', 'better = "full"', "no row 'full' (known: base, full-main"),
        ("right = 31", "right = 131", "row 'full-main': 131 of 100 is no count"),
        ("right = 31\ntotal = 100", "right = 31\ntotal = 2001", "31 of 2001 is no count of 1 to 2,000 items"),
        ("registered = false", "registered = true", "registered must be false, not True"),
        ('name = "full-main"', 'name = "base"', "row 'base' appears twice"),
    ):
        with pytest.raises(BenchError) as caught:
            parse_claims(text.replace(old, new, 1).encode(), "published.toml")
        assert what in caught.value.what


def test_the_documented_file_is_one():
    """docs/claims.md shows a whole file; it is read as it stands, and asks what its text says."""
    shown = (LEADERBOARDS.parent / "docs" / "claims.md").read_text().partition("```toml\n")[2].partition("```")[0]
    claims = parse_claims(shown.encode(), "mine.toml")
    assert [(claim.id, contrast.test) for claim, contrast in claims.contrasts] == [("lora-helps", "mcnemar")]
