"""analysis.claims.predictions: schema 2 is judged by the first runs after its registration, or not at all."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from baseline_bench.analysis.claims import predictions
from baseline_bench.analysis.claims.claims_file import ClaimsFile, parse_claims
from baseline_bench.analysis.claims.judge import JudgedContrast, judge_claims
from baseline_bench.analysis.claims.registration import Registration
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.analysis.recipe_key import digest_weight_keys
from baseline_bench.analysis.statistics import Interval
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import claims_page
from board_samples import labelled, right, trained
from claimed import LEADERBOARDS, Filed, ahead
from samples import entry, partial, result, sha

ITEMS = 400
DIGEST = digest_weight_keys({"lr": 1e-4})
HEAD = """
schema = 2
name = "mine"
board = "counting"
task = "counting-0shot@v1"
alpha = 0.05
least_items = 400
[families]
recipes = "holm over every declared contrast"
[[claims]]
id = "it-helps"
hypothesis = "the recipe helps"
published = ""
"""
RECIPES = f"""
[[claims.contrasts]]
test = "recipes"
family = "recipes"
first = {{ recipe = "tune", digest = "{DIGEST}", base = "b", seeds = [10, 11, 12] }}
second = {{ recipe = "other", digest = "{DIGEST[:12]}", base = "b", seeds = [10, 11, 12] }}
predicted = "better"
gain = 0.05
power = 0.9
"""
ROWS = f"""
[[claims.contrasts]]
test = "rows"
family = "recipes"
first = {{ recipe = "tune", digest = "{DIGEST}", base = "b", seeds = [10] }}
second = {{ base = "b" }}
predicted = "better"
gain = 0.05
power = 0.9
"""
MARGIN = 'predicted = "non-inferior"\nmargin = 0.05'


def run(recipe: str | None, seed: int, places: Iterable[int], hour: int = 12, **changes: object) -> Filed:
    """A run of a recipe, or of the base, scored at that hour; one that is changed has other training records."""
    made = right(result("b") if recipe is None else trained("b", recipe, seed), places, ITEMS)
    if made.training is not None and made.training.candidate is not None:
        candidate = replace(made.training.candidate, **changes)
        made = replace(made, training=replace(made.training, candidate=candidate))
    return Filed(f"{recipe}-s{seed}-{hour}.json", entry(made, f"2026-11-22T{hour}:00:00Z"))


def seeds(recipe: str, count: int, spread: int = 0) -> list[Filed]:
    """Runs of seeds 10 to 12, with about so many items right, the same ones but for the first."""
    return [run(recipe, seed, range(seed, seed + count + spread * (seed - 11))) for seed in (10, 11, 12)]


def claims(*contrasts: str) -> ClaimsFile:
    """A file of one claim."""
    return parse_claims((HEAD + "".join(contrasts)).encode(), "mine.toml")


def judged(
    of: ClaimsFile, rows: Iterable[Filed], registered: Registration | None = None, retracted: tuple[str, ...] = ()
) -> list[JudgedContrast]:
    """The contrasts over these rows, registered before all of them unless another time is given."""
    found = judge_claims(of, list(rows), lambda: registered or ahead(len(of.contrasts)), retracted)
    claims_page.render_page("", found)
    return list(found.findings[0].judged)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("power = 0.9", "power = 0.79", "power 0.79 is below 0.8"),
        ("power = 0.9", "power = 1", "power must be"),
        ("power = 0.9\n", "", "lacks power"),
        ("gain = 0.05", "gain = -0.05", "gain must be"),
        ('"better"', '"equivalent"', "equivalent needs a margin"),
        ('"better"', '"non-inferior"', "non-inferior needs a margin"),
        ('"better"', '"better"\nmargin = 0', "margin must be"),
        ('"better"', '"better"\nmargin = 0.5', "margin must be"),
        ('"better"', '"better"\nmargin = 0.99', "margin must be"),
        ("alpha = 0.05", "alpha = 0.101", "alpha must be"),
        ("alpha = 0.05", "alpha = 0.0", "alpha must be"),
        ('"better"', '"worse"', "predicted must be"),
        (f'"{DIGEST[:12]}"', '"abc"', "second: digest must be"),
        (f'digest = "{DIGEST[:12]}", ', "", "second: a side names a recipe, its digest and its seeds"),
        ("seeds = [10, 11, 12] }", "seeds = [10] }", "first: rows compares one seed, recipes two or more, not 1"),
        ("seeds = [10, 11, 12] }", "seeds = [10, 10] }", "first: seeds must be"),
        ('test = "recipes"', 'test = "mcnemar"', "test must be one of rows, recipes"),
        ('family = "recipes"', 'family = "rows"', "no family 'rows'"),
        ("schema = 2", "schema = 3", "schema must be 1 or 2"),
    ],
)
def test_a_faulty_prediction_is_refused_by_its_key(old: str, new: str, key: str):
    """Its twin at a level of 10 %, with a power of 80 %, a wide margin, a short digest and a base alone is read."""
    text = HEAD + RECIPES
    assert old in text
    with pytest.raises(BenchError) as caught:
        parse_claims(text.replace(old, new, 1).encode(), "mine.toml")
    assert key in caught.value.what
    sound = RECIPES.replace("0.9", "0.8").replace('predicted = "better"', MARGIN.replace("0.05", "0.49"))
    read = parse_claims((HEAD.replace("alpha = 0.05", "alpha = 0.10") + sound + ROWS).encode(), "mine.toml")
    assert [contrast.test for _, contrast in read.contrasts] == ["recipes", "rows"]


def test_a_prediction_is_judged_over_its_seeds():
    """Better is supported, the other way round refuted, equal recipes are inconclusive; the interval says the same."""
    for first, second, verdict, outcome in (
        (120, 60, "supported", "better"),
        (60, 120, "refuted", "worse"),
        (60, 60, "inconclusive", "inconclusive"),
    ):
        (one,) = judged(claims(RECIPES), [*seeds("tune", first, 3), *seeds("other", second, 3)])
        assert (one.verdict, one.evidence.outcome, one.timing) == (verdict, outcome, "registered")
        assert one.evidence.counts == ((3 * first, 3 * ITEMS), (3 * second, 3 * ITEMS))
        assert set(one.evidence.runs[0]) == {10, 11, 12}


@pytest.mark.parametrize(
    ("predicted", "won", "lost", "verdict"),
    [
        ("non-inferior", 6, 2, "supported"),
        ("non-inferior", 100, 0, "supported"),
        ("non-inferior", 8, 24, "inconclusive"),
        ("non-inferior", 0, 60, "refuted"),
        ("equivalent", 4, 4, "supported"),
        ("equivalent", 100, 0, "refuted"),
        ("equivalent", 24, 8, "inconclusive"),
    ],
)
def test_a_margin_is_judged_by_the_90_percent_interval(predicted: str, won: int, lost: int, verdict: str):
    """Supported where that interval is within a margin of 5 points, refuted where it is wholly beyond it."""
    of = claims(
        ROWS.replace('predicted = "better"', MARGIN)
        .replace("non-inferior", predicted)
        .replace("gain = 0.05", "gain = 0")
    )
    (one,) = judged(of, [run("tune", 10, range(won)), run(None, 0, range(ITEMS - lost, ITEMS))])
    assert one.verdict == verdict
    low, high = one.evidence.margin_interval
    within = low > -0.05 and (high < 0.05 or predicted == "non-inferior")
    assert (verdict == "supported") == within
    assert 0 < one.evidence.p <= 1
    assert (one.evidence.p < 0.05) == (verdict != "inconclusive")


def test_the_first_run_of_a_seed_is_judged_whatever_the_order():
    """A second run of the same seed, with more right answers, changes nothing; nor does a partial or other recipe."""
    rows = [run("tune", 10, range(30)), run(None, 0, range(30))]
    late = run("tune", 10, range(200), hour=14)
    limited = run("tune", 10, range(200), hour=11)
    limited = Filed("partial.json", entry(partial(limited.entry.result), limited.entry.created))
    others = [late, limited, run("tune", 10, range(200), hour=10, values={"lr": 2e-4})]
    for found in ([*rows, *others], [*others, *rows]):
        (one,) = judged(claims(ROWS), found)
        assert (one.verdict, one.evidence.runs[0]) == ("inconclusive", {10: rows[0].file})
    (one,) = judged(claims(ROWS), [late, rows[1]])
    assert (one.verdict, one.evidence.runs) == ("supported", ({10: late.file}, {None: rows[1].file}))


@pytest.mark.parametrize("way", ["partial", "another task", "a kept step"])
def test_other_weights_of_a_seed_that_were_seen_first_are_an_obstacle(way: str):
    """A look at one training of a seed and then a full run of another would choose; one training may be seen often."""

    def look(hour: int, seed: int = 10, **changes: object) -> Filed:
        seen = run("tune", seed, range(90), hour, **changes).entry
        of = {
            "partial": partial(seen.result),
            "another task": labelled(seen.result, "counting-0shot@v2"),
            "a kept step": replace(seen.result, training=replace(seen.result.training, step=5)),
        }[way]
        return Filed("look.json", entry(of, seen.created))

    other = {"weights_sha256": sha("trained again")}
    rows = [run("tune", 10, range(200)), run(None, 0, range(30))]
    (one,) = judged(claims(ROWS), [*rows, look(11, **other)], retracted=("look.json",))
    assert (one.verdict, one.evidence) == ("not judged", None)
    assert "look.json" in one.why
    late = ahead(1, "2026-11-22T10:30:00Z")
    for sound in (
        look(11),
        look(14, **other),
        look(11, 11, **other),
        look(11, **other, values={"lr": 2e-4}),
        look(11, **other, created="2026-11-22T10:00:00Z"),
        run("tune", 10, range(90), 14),
    ):
        (one,) = judged(claims(ROWS), [*rows, sound], late)
        assert (one.verdict, one.evidence.runs[0]) == ("supported", {10: rows[0].file})


def test_a_retracted_first_run_is_not_replaced():
    """Retracting the run would otherwise choose the next one."""
    rows = [run("tune", 10, range(30)), run("tune", 10, range(200), hour=14), run(None, 0, range(30))]
    (one,) = judged(claims(ROWS), rows, retracted=(rows[0].file,))
    assert (one.verdict, one.evidence) == ("not judged", None)
    assert rows[0].file in one.why


def test_runs_older_than_the_registration_are_not_judged():
    """Neither post hoc: they are ignored, and the first one after it counts. Training is part of a run."""
    rows = [run("tune", 10, range(200)), run(None, 0, range(30), hour=16)]
    (one,) = judged(claims(ROWS), rows, ahead(1, "2026-11-22T11:30:00Z"))
    assert (one.verdict, one.timing, one.evidence) == ("not judged", "registered", None)
    again = run("tune", 10, range(30), hour=15, created="2026-11-22T14:00:00Z", weights_sha256=sha("again"))
    (one,) = judged(claims(ROWS), [*rows, again], ahead(1, "2026-11-22T11:30:00Z"))
    assert one.evidence.runs[0] == {10: again.file}
    resumed = run("tune", 10, range(30), hour=15, created="2026-11-22T14:00:00Z", begun="2026-11-22T11:00:00Z")
    assert judged(claims(ROWS), [*rows, resumed], ahead(1, "2026-11-22T11:30:00Z"))[0].verdict == "not judged"
    for unknown in (Registration(False, (None,)), Registration(True, (None,))):
        assert judged(claims(ROWS), rows, unknown)[0].verdict == "not judged"


def test_weights_that_were_scored_before_the_registration_predict_nothing():
    """A training that repeats bit for bit would give the known result again; a base is always known."""
    known, base = run("tune", 10, range(200), hour=10), run(None, 0, range(30), hour=10)
    rows = [run("tune", 10, range(200), hour=15, created="2026-11-22T14:00:00Z"), run(None, 0, range(30), hour=16)]
    registered = ahead(1, "2026-11-22T11:30:00Z")
    (one,) = judged(claims(ROWS), [known, *rows], registered, retracted=(known.file,))
    assert (one.verdict, one.evidence) == ("not judged", None)
    assert known.file in one.why
    other = run("tune", 10, range(200), hour=10, weights_sha256=sha("of another machine"))
    assert judged(claims(ROWS), [other, base, *rows], registered)[0].verdict == "supported"


def test_a_missing_seed_is_not_judged_and_named():
    """Two of three seeds are no recipe as it was declared."""
    rows = [*seeds("tune", 120), *seeds("other", 60)]
    (one,) = judged(claims(RECIPES), rows[:-1])
    assert (one.verdict, one.evidence) == ("not judged", None)
    assert "b+other-s12" in one.why
    assert judged(claims(RECIPES), rows)[0].verdict == "supported"


def test_one_model_does_not_count_as_several_seeds():
    """The same weights under two seeds are one training; each with weights of its own they are judged."""
    rows = [*seeds("tune", 120), *seeds("other", 60)]
    result, created = rows[1].entry.result, rows[1].entry.created
    weights = rows[0].entry.result.model.weights_sha256
    same = Filed(rows[1].file, entry(replace(result, model=replace(result.model, weights_sha256=weights)), created))
    (one,) = judged(claims(RECIPES), [rows[0], same, *rows[2:]])
    assert (one.verdict, one.evidence) == ("not judged", None)
    assert judged(claims(RECIPES), rows)[0].verdict == "supported"


@pytest.mark.parametrize("seed", [10, 12])
def test_runs_that_cannot_be_compared_are_not_judged(seed: int):
    """Another engine, other training data, or fewer items than were asked for."""
    rows = [*seeds("tune", 120), *seeds("other", 60)]
    place = [row.file for row in rows].index(f"tune-s{seed}-12.json")
    candidate = rows[place].entry.result.training.candidate
    result = rows[place].entry.result
    engine = replace(result, engine=replace(result.engine, version="another"))
    for other in (
        Filed(rows[place].file, entry(engine, rows[place].entry.created)),
        run("tune", seed, range(120), data=replace(candidate.data, sha256="0" * 64)),
        run("tune", seed, range(120), base=replace(candidate.base, weights_sha256="0" * 64)),
    ):
        assert judged(claims(RECIPES), [*rows[:place], other, *rows[place + 1 :]])[0].verdict == "not judged"
    short = parse_claims((HEAD.replace("least_items = 400", "least_items = 401") + RECIPES).encode(), "mine.toml")
    assert judged(short, rows)[0].verdict == "not judged"


def test_code_and_machines_that_differ_within_a_side_are_named_and_no_obstacle():
    """The commit of the training and of the scoring, its driver and a library; equal sides have nothing to name."""
    (same,) = judged(claims(RECIPES), [*seeds("tune", 120), *seeds("other", 60)])
    assert same.evidence.differs == ((), ())
    rows = [*seeds("tune", 120), *seeds("other", 60)]
    moved = run("tune", 12, range(12, 132), git_commit="1" * 40, libraries={"torch": "2.12.0"})
    of = moved.entry.result
    provenance = replace(of.provenance, git_commit="2" * 40, driver="575", libraries={"torch": "2.12.0"})
    rows[2] = Filed(moved.file, entry(replace(of, provenance=provenance), moved.entry.created))
    (one,) = judged(claims(RECIPES), rows)
    page = claims_page.render_page("", judge_claims(claims(RECIPES), rows, lambda: ahead(1)))
    names = ("driver", "bench commit", "library torch", "training commit", "training library torch")
    assert page.count(", ".join(f"`{name}`" for name in names)) == 1
    assert (one.verdict, one.evidence.differs) == (same.verdict, (names, ()))


def test_holm_counts_every_declared_contrast():
    """A contrast without runs is p = 1: the other's p is doubled, and the claim is supported in part only."""
    rows = [run("tune", 10, range(20)), run(None, 0, range(12))]
    (alone,) = judged(claims(ROWS), rows)
    both = claims(ROWS, RECIPES)
    one, missing = judged(both, rows)
    assert (alone.verdict, alone.adjusted) == ("supported", alone.evidence.p)
    assert one.adjusted == pytest.approx(holm_adjust([alone.evidence.p, 1.0])[0])
    assert (one.verdict, missing.verdict) == ("supported", "not judged")
    found = judge_claims(both, rows, lambda: ahead(2))
    assert (found.findings[0].verdict, found.family("recipes")) == ("supported in part", (1, 2))
    rows = [run("tune", 10, range(18)), run(None, 0, range(12))]
    assert [judged(of, rows)[0].verdict for of in (claims(ROWS), both)] == ["supported", "inconclusive"]


@pytest.mark.parametrize("level", [0.01, 0.24, 0.26, 0.49])
def test_the_least_level_is_found_up_to_one_half(level: float):
    """An interval of half-width 1 - 2a is within 1 - 2 * level from that level on; one that never is has level 1."""

    def interval_at(confidence: float) -> Interval:
        return Interval(-confidence, confidence)

    assert predictions._find_level(lambda one: one.high <= 1 - 2 * level, interval_at) == pytest.approx(level)
    assert predictions._find_level(lambda one: one.high < 0, interval_at) == 1


def test_the_documented_prediction_is_one():
    """docs/claims.md shows a whole contrast of schema 2."""
    shown = (LEADERBOARDS.parent / "docs" / "claims.md").read_text().split("```toml\n")[2].partition("```")[0]
    ((_, contrast),) = claims(shown.replace('"method"', '"recipes"')).contrasts
    assert (contrast.test, contrast.predicted, contrast.margin) == ("recipes", "non-inferior", 0.01)
