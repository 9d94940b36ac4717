"""leaks: whole test questions in training data are found however they are dressed, and shared runs are told."""

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Problem, Sample, Split
from baseline_bench.tasks import gsm8k
from baseline_bench.training import contamination

QUESTION = "A farmer sells 3/4 of his 60 eggs for 50 cents each, and keeps the rest. How much money does he make today?"
ITEM = Problem("test-0", QUESTION, "22.5", "#### 22.5")
SHORT = Problem("test-1", "What is 17 times 23?", "391", "#### 391")
BARE = Problem("test-2", "17 * 23", "391", "#### 391")


def sample(question, solution="It is so.", name="train-0"):
    """A training example that asks and answers."""
    return Sample(name, (Message("user", question),), solution)


@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.replace(" ", "\n\t "),
        QUESTION.replace(",", " --"),
        f"Solve it. {QUESTION}!",
    ],
    ids=["as it is", "case", "spaces", "signs", "inside"],
)
def test_a_test_question_is_found_however_it_is_dressed(text):
    """Case, signs, spaces and words around it do not hide it, neither in a question nor in a solution."""
    assert contamination.find_leaks([sample(text)], [ITEM]).exact == (("train-0", "test-0"),)
    assert contamination.find_leaks([sample("Say it.", text)], [ITEM]).exact == (("train-0", "test-0"),)


def test_thirteen_words_in_a_row_are_told_and_twelve_are_not():
    """The length is the literature's."""
    words = QUESTION.split()
    shared = " ".join(words[:12])  # 3/4 is two words
    found = contamination.find_leaks([sample(f"Yesterday {shared} cents")], [ITEM])
    assert (found.exact, found.ngram, found.n) == ((), (("train-0", "test-0"),), 13)
    assert contamination.find_leaks([sample(f"Yesterday {' '.join(words[:11])} cents")], [ITEM]).ngram == ()


def test_words_do_not_run_on_from_one_turn_into_the_next():
    """What stands in two texts stands in neither."""
    words = QUESTION.split()
    found = contamination.find_leaks([sample(" ".join(words[:11]), " ".join(words[11:]))], [ITEM])
    assert (found.exact, found.ngram) == ((), ())


def test_short_questions_are_found_whole():
    """A question of five words or more is found inside a text; a shorter one only where it is the whole text."""
    found = contamination.find_leaks(
        [sample("Tell me: what is 17 times 23? And 17 * 23?"), sample("17*23 =", name="b")], [SHORT, BARE]
    )
    assert found.exact == (("train-0", "test-1"), ("b", "test-2"))
    assert contamination.find_leaks([sample("?")], [Problem("test-3", "!", "1", "")]).exact == ()


def test_pairs_come_in_the_data_s_order_once_each():
    """A question that stands in both texts of a sample is one pair, and is no shared run besides."""
    double = sample(QUESTION, QUESTION, "b")
    found = contamination.find_leaks([sample(QUESTION, name="z"), double], [SHORT, ITEM])
    assert found.exact == (("z", "test-0"), ("b", "test-0"))
    assert found.ngram == ()


def test_gsm8k_train_and_test_share_no_question_and_three_runs_of_words(gsm8k_mirror):
    """Golden on the published data: nothing exact, and 3 of 1,319 test questions share 13 words with a training row."""
    train, test = (gsm8k.problems(Split(name, "main", gsm8k_mirror)) for name in ("train", "test"))
    found = contamination.find_leaks([sample(p.question, p.solution, p.id) for p in train], test)
    assert found.exact == ()
    assert {item for _, item in found.ngram} == {"test-581", "test-602", "test-632"}
    contamination.require_no_leaks(found)


def test_a_test_split_under_another_name_stops_the_run(gsm8k_mirror):
    """Every one of the test questions is found when they are trained on."""
    test = gsm8k.problems(Split("test", "main", gsm8k_mirror))
    found = contamination.find_leaks([sample(p.question, p.solution, f"row-{p.id}") for p in test], test)
    assert {(f"row-{p.id}", p.id) for p in test} <= set(found.exact)
    with pytest.raises(BenchError, match="1319 training rows hold test questions word for word: test-0 in row-test-0"):
        contamination.require_no_leaks(found)
