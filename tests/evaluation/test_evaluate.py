"""evaluation.evaluate: what is asked, kept and judged, with a generator that does as it is told."""

import pytest
import tiny
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Judgement, Problem, Request, Sampling, Split
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.models import tokens
from transformers import AutoTokenizer


class Forgetful:
    """A generator that leaves some requests unanswered."""

    version, context = "forgetful 1", 1000

    def __init__(self, answered: int, ids: tuple[int, ...] | None = (5, 6)) -> None:
        self.answered, self.ids, self.asked, self.settings = answered, ids, [], {}

    def complete(self, requests, sampling, stop_ids):
        """Answer the first few."""
        self.asked = [request.id for request in requests]
        for request in requests[: self.answered]:
            yield request.id, Completion("#### 1", self.ids, "stop")

    def close(self):
        """Nothing to give back."""


@pytest.fixture(scope="module")
def model_tokenizer(tmp_path_factory):
    """A tiny model's tokenizer and prompt format."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.build(tmp_path_factory.mktemp("tiny"), "chatml"))
    return tokens.ModelTokenizer(tokenizer, tokens.detect_prompt_format(tokenizer, None, [], "llama"), None, "")


@pytest.fixture(scope="module")
def prepared(model_tokenizer):
    """Twelve word problems for it."""
    task = plugins.load_task("word-problems")
    return evaluate.prepare_task(task, evaluate.select_problems(task, Split(), 12, 0), model_tokenizer, 0)


def test_what_a_run_holds_is_not_asked_again(prepared, model_tokenizer, tmp_path):
    """A second generator gets only what the first left open."""
    first, second = Forgetful(5), Forgetful(12)
    with runs.Run(tmp_path, {}) as run, pytest.raises(BenchError, match="left 7 of 12 questions unanswered"):
        evaluate.generate_completions(prepared, first, run, model_tokenizer, lambda *progress: None)
    with runs.Run(tmp_path, {}) as run:
        seen = []
        assert (
            evaluate.generate_completions(
                prepared, second, run, model_tokenizer, lambda *progress: seen.append(progress)
            )
            == 14
        )
    assert second.asked == first.asked[5:]
    assert (seen[0][0], seen[-1][0]) == (5, 12)


def test_answers_without_token_ids_count_no_tokens(prepared, model_tokenizer, tmp_path):
    """A server may report none."""
    seen = []
    with runs.Run(tmp_path, {}) as run:
        evaluate.generate_completions(
            prepared, Forgetful(12, None), run, model_tokenizer, lambda *progress: seen.append(progress)
        )
    assert (seen[0], seen[-1]) == ((0, 0), (12, 0))


def test_a_missing_answer_is_an_error_and_never_a_zero(prepared):
    """Grading half a run is refused."""
    with pytest.raises(BenchError, match="12 of 12 answers are missing"):
        evaluate.judge_completions(prepared.task, prepared.problems, {})


def test_prompts_that_leave_too_little_room_are_refused_with_the_longest(prepared):
    """A context that cuts the protocol's tokens short would be a silent limit."""
    lengths = {request.id: len(request.token_ids) for request in prepared.requests}
    longest, *_, shortest = sorted(lengths, key=lengths.__getitem__, reverse=True)
    room = lengths[longest] + prepared.task.SAMPLING.max_tokens
    evaluate.require_context(prepared, room)
    many = sum(length == lengths[longest] for length in lengths.values())
    told = f"prompts are too long: {longest} has {lengths[longest]} tokens"
    with pytest.raises(BenchError, match=f"^{many} {told}"):
        evaluate.require_context(prepared, room - 1)
    with pytest.raises(BenchError, match=f"^12 {told}"):
        evaluate.require_context(prepared, lengths[shortest] + prepared.task.SAMPLING.max_tokens - 1)


def test_a_limit_of_everything_is_a_full_run(prepared, model_tokenizer):
    """`--limit` with every item does not make the row a partial one; with one item less it does."""
    whole, part = (
        evaluate.prepare_task(
            prepared.task, evaluate.select_problems(prepared.task, Split(), limit, 3), model_tokenizer, 3
        )
        for limit in (prepared.total, prepared.total - 1)
    )
    assert (len(whole.problems), whole.limit, whole.seed) == (prepared.total, None, None)
    assert (len(part.problems), part.limit, part.seed) == (prepared.total - 1, prepared.total - 1, 3)


@pytest.mark.parametrize(
    ("problems", "told"), [([], "no problems"), ([Problem(name, "", "1", "") for name in "baa"], "'a' twice")]
)
def test_an_empty_task_and_a_doubled_id_are_refused(prepared, problems, told):
    """Bits need items, each with a name of its own."""

    class Task:
        LABEL = "odd@v1"

        def problems(self, split):
            return problems

    with pytest.raises(BenchError, match=told):
        evaluate.select_problems(Task(), Split(), None, 0)


def test_a_further_draw_has_a_name_of_its_own():
    """Names are stored, so that a killed run finds its draws again; what is measured is asked once."""
    questions = Request("q", (1,)), Request("m", (1, 2), start=1)
    collector = evaluate.SampleCollector(questions, 3, {"q, draw 2": Completion("", (1,), "stop")})
    assert [request.id for request in collector.requests] == ["q", "q, draw 3", "m"]


def test_an_engine_that_cannot_measure_is_refused_before_it_generates():
    """It is one line for the user."""
    generator = Forgetful(1)
    requests = Request("q", (1,)), Request("m", (1, 2), start=1)
    with pytest.raises(BenchError, match="forgetful 1 measures no likelihoods"):
        next(evaluate.stream_completions(requests, generator, Sampling(4), ()))
    assert generator.asked == []


def test_a_score_counts_each_kind_by_itself():
    """Right, strict, unread and cut are counted over the same items."""
    verdicts = [
        Judgement("a", "1", "hash", True, True, "stop"),
        Judgement("b", "1", "last-number", True, False, "length"),
        Judgement("c", None, "no-number", False, False, "length"),
    ]
    counted = evaluate.count_judgements(verdicts)
    assert (counted.total, counted.correct, counted.strict, counted.unread, counted.cut) == (3, 2, 1, 1, 2)
