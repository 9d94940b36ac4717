"""engines.transformers: our decode loop writes what transformers' own `generate` writes."""

import pytest
import tiny
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample
from baseline_bench.engines import _teacher_forcing as teacher
from baseline_bench.engines import _top_p_sampling as drawing
from baseline_bench.engines import transformers as engine
from baseline_bench.engines._cache import (
    MIN_PREFIX,
    SPARE_POSITIONS,
    GrowingLayer,
    build_growing_cache,
    compact_rows,
    compute_shared_prefix,
)
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicLayer

TEXTS = ("Tom has 3 apples", "A", "How many apples does Anna have if she buys 5 and eats 2 of them?", "5 + 5 =", "Why?")


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def model(request, tmp_path_factory):
    """A tiny model of each manner; Gemma's has sliding windows and soft-capping."""
    folder = tiny.build(tmp_path_factory.mktemp(request.param), request.param)
    return Model("tiny", "folder", None, folder, None, None)


def asked(model) -> list[Request]:
    """Prompts of very different lengths."""
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    return [Request(f"q{i}", tuple(tokenizer.encode(text) or [1])) for i, text in enumerate(TEXTS)]


def answers(model, sampling, stop_ids=(), **options):
    """Every completion by id, in float32 on the CPU."""
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu", **options))
    return dict(generator.complete(asked(model), sampling, stop_ids))


def test_batches_of_any_size_write_what_generate_writes_alone(model):
    """Padding, batching and rows that leave the batch change no token of a greedy answer."""
    network = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    stop = next(iter(answers(model, Sampling(6)).values())).token_ids[3]
    by_size = [answers(model, Sampling(12), [stop], batch_size=size) for size in (1, 3, 5)]
    for request in asked(model):
        ids = torch.tensor([request.token_ids])
        alone = network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=0,
        )
        wanted = tuple(alone[0, ids.shape[1] :].tolist())
        assert [answer[request.id].token_ids for answer in by_size] == [wanted] * 3
        assert by_size[0][request.id].finish_reason == ("stop" if wanted[-1] == stop else "length")


def test_a_cache_that_grows_in_place_holds_what_transformers_own_holds():
    """Bit for bit, past the end of its room and after rows have left; what was handed out before stays as it was."""
    torch.manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()
    rows, early = 4, None
    for step in range(3 * SPARE_POSITIONS):
        states = [torch.randn(rows, 2, 7 if step == 0 else 1, 8) for _ in range(2)]
        told = [layer.update(*states) for layer in (ours, theirs)]
        assert all(torch.equal(a, b) for a, b in zip(*told, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length() == 7 + step
        early = early or (told[0][0], told[0][0].clone())
        if step in (5, SPARE_POSITIONS + 5):
            index = torch.tensor([0, 2, 3][: rows - 1])
            rows -= 1
            ours.batch_select_indices(index)
            theirs.batch_select_indices(index)
    assert torch.equal(*early)


@given(st.sets(st.integers(0, 11), min_size=1), st.integers(0, 2**16))
def test_rows_that_leave_are_replaced_by_the_last_ones(places, seed):
    """Whoever stays among the first keeps its place, and the cache holds what transformers' own does."""
    order = compact_rows(sorted(places))
    assert sorted(order) == sorted(places)
    assert [place for place in order if place < len(order)] == [place for place in range(len(order)) if place in places]
    assert all(row in (place, *range(len(order), 12)) for place, row in enumerate(order))
    torch.manual_seed(seed)
    ours, theirs = GrowingLayer(), DynamicLayer()
    for states in (torch.randn(12, 2, 5, 4), torch.randn(12, 2, 1, 4)):
        for layer in (ours, theirs):
            layer.update(states, states + 1)
    for layer in (ours, theirs):
        layer.batch_select_indices(torch.tensor(order))
    more = torch.randn(len(order), 2, 1, 4)
    told = [layer.update(more, more + 1) for layer in (ours, theirs)]
    assert all(torch.equal(a, b) for a, b in zip(*told, strict=True))


def test_only_layers_that_keep_every_token_grow_in_place(model):
    """A sliding window's layer stays transformers' own."""
    config = AutoConfig.from_pretrained(model.folder)
    sliding = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or []]
    sliding = sliding or [False] * config.num_hidden_layers
    assert [isinstance(layer, GrowingLayer) for layer in build_growing_cache(config).layers] == [
        not each for each in sliding
    ]


def common(model, length=40) -> list[Request]:
    """Prompts that begin alike."""
    same = tuple((7 * i * i + 3) % 200 + 5 for i in range(length))
    return [Request(one.id, same + one.token_ids) for one in asked(model)]


def test_a_beginning_that_all_share_is_computed_once_and_changes_no_token(model):
    """In float32, in batches of any size; where a layer has a sliding window nothing is shared."""
    told = {}
    for caching in (True, False):
        for size in (1, 3, 5):
            options = engine.Options(dtype="float32", device="cpu", batch_size=size, prefix_caching=caching)
            answers = engine.load(model, options).complete(common(model), Sampling(12), ())
            told[caching, size] = {name: completion.token_ids for name, completion in answers}
    assert len({tuple(sorted(one.items())) for one in told.values()}) == 1


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1] * 40 + [2], [1] * 40 + [3, 4]], 40),
        ([[1] * 40, [1] * 40 + [3, 4]], 39),
        ([[1] * 40, [1] * 40], 39),
        ([[1] * MIN_PREFIX + [2], [1] * MIN_PREFIX + [3]], MIN_PREFIX),
        ([[1] * (MIN_PREFIX - 1) + [2], [1] * (MIN_PREFIX - 1) + [3]], None),
        ([[1] * 40], None),
    ],
)
def test_of_every_prompt_something_is_left_to_be_computed(tmp_path_factory, prompts, length):
    """The shared beginning is no longer than the shortest prompt less one token; a short one is not worth a pass."""
    network = AutoModelForCausalLM.from_pretrained(tiny.build(tmp_path_factory.mktemp("plain") / "m", "plain"))
    found = compute_shared_prefix(network, prompts)
    assert (found.length if found else None) == length
    if found:
        plain = network(torch.tensor([prompts[0][:length]])).past_key_values.layers
        assert all(
            torch.allclose(keys, layer.keys, atol=1e-5) for (keys, _), layer in zip(found.states, plain, strict=True)
        )
        assert {states.shape[-2] for layer in found.cache(network.config, 3).layers for states in [layer.keys]} == {
            length
        }


def test_a_sliding_window_shares_no_beginning(tmp_path_factory):
    """It counts places, and padding would stand among them."""
    network = AutoModelForCausalLM.from_pretrained(tiny.build(tmp_path_factory.mktemp("gemma") / "m", "gemma"))
    assert compute_shared_prefix(network, [[5] * 40 + [6], [5] * 40 + [7]]) is None


def test_a_stop_text_ends_an_answer_and_is_cut_from_it(model):
    """The ids run to the stop text, the text does not hold it."""
    free = answers(model, Sampling(12))
    mark = next(text for text in (c.text[2:4] for c in free.values()) if text.strip())
    for request_id, completion in answers(model, Sampling(12, stop=(mark,))).items():
        assert mark not in completion.text
        if mark in free[request_id].text:
            assert completion.finish_reason == "stop"
            assert completion.token_ids == free[request_id].token_ids[: len(completion.token_ids)]


def test_every_request_is_answered_once_as_it_ends(model):
    """Short answers come before long ones of the same batch; each id comes once."""
    stop = answers(model, Sampling(3))["q0"].token_ids[2]
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu"))
    order = [(request_id, len(c.token_ids)) for request_id, c in generator.complete(asked(model), Sampling(9), [stop])]
    assert sorted(request_id for request_id, _ in order) == [r.id for r in asked(model)]
    assert [length for _, length in order] == sorted(length for _, length in order)


def test_drawn_answers_depend_on_the_seed_and_not_on_the_batch(model):
    """A temperature above 0 draws by seed and problem, so batching changes nothing."""
    warm = Sampling(8, temperature=1.0, seed=3)
    one, five = (answers(model, warm, batch_size=size) for size in (1, 5))
    assert {i: c.token_ids for i, c in one.items()} == {i: c.token_ids for i, c in five.items()}
    other = answers(model, Sampling(8, temperature=1.0, seed=4))
    assert {i: c.token_ids for i, c in one.items()} != {i: c.token_ids for i, c in other.items()}


def test_a_nucleus_is_the_fewest_likeliest_tokens_that_reach_the_share(model):
    """The one that crosses the share is the last; so small a share that one token reaches it is greedy."""
    odds = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]])
    assert drawing.apply_top_p(odds, 0.6).tolist() == [[0.0, 0.5, 0.0, 0.25], odds[1, :1].tolist() + [0.0] * 3]
    assert drawing.apply_top_p(odds, 1.0).tolist() == odds.tolist()
    tight = answers(model, Sampling(8, temperature=1.0, seed=3, top_p=1e-6))
    assert {i: c.token_ids for i, c in tight.items()} == {
        i: c.token_ids for i, c in answers(model, Sampling(8)).items()
    }


def rows(model) -> list[TrainingExample]:
    """Prompts of very different lengths, each before a solution of another length."""
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    solutions = [
        tuple(tokenizer.encode(text)) for text in ("#### 3", "He has 12 + 7 = 19 apples. #### 19", "5", "A", "no")
    ]
    asked = zip(asked_ids(model), solutions, strict=True)
    return [TrainingExample(f"q{i}", prompt + solution, len(prompt)) for i, (prompt, solution) in enumerate(asked)]


def asked_ids(model) -> list[tuple[int, ...]]:
    """The ids of the prompts alone."""
    return [request.token_ids for request in asked(model)]


def forward(network, row: TrainingExample) -> list[float]:
    """The row alone through a plain forward pass of transformers."""
    with torch.inference_mode():
        logprobs = network(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
    return [float(logprobs[place - 1, row.token_ids[place]]) for place in range(row.start, len(row.token_ids))]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_log_probabilities_are_those_of_a_plain_forward_pass(model, size):
    """Whatever stands beside a row in its batch, each token has the log-probability it has alone."""
    network = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu", batch_size=size))
    found = dict(generator.logprobs(rows(model)))
    assert sorted(found) == [row.id for row in rows(model)]
    for row in rows(model):
        assert found[row.id].logprobs == pytest.approx(forward(network, row), abs=1e-4)


def test_a_pass_makes_no_more_logits_than_memory_was_meant_for(model, monkeypatch):
    """Where two rows need too many, each goes alone; every row comes once, and no order changes a value."""
    wide = rows(model)
    assert [len(batch) for batch in teacher.group_batches(wide, 64, 512)] == [5]
    assert [len(batch) for batch in teacher.group_batches(wide, 2, 512)] == [2, 2, 1]
    monkeypatch.setattr(teacher, "MAX_LOGITS", 512)
    assert [len(batch) for batch in teacher.group_batches(wide, 64, 512)] == [1] * 5
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu"))
    alone = dict(generator.logprobs(wide))
    monkeypatch.undo()
    for name, measured in generator.logprobs(wide[::-1]):
        assert measured.logprobs == pytest.approx(alone[name].logprobs, abs=1e-4)


@pytest.mark.parametrize("manner", ["chatml", "gemma"])
@pytest.mark.parametrize("caching", [True, False])
def test_texts_behind_one_context_are_measured_as_if_alone(manner, caching, tmp_path):
    """Whatever they share (all a beginning, some a whole context), with and without layers of a sliding window."""
    folder = tiny.build(tmp_path / "model", manner)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    shared = tuple(5 + n % 400 for n in range(300))
    contexts = [(*shared, *range(10, 10 + 7 * n)) for n in range(1, 4)]
    texts = [(20,), (21, 22, 23), (24, 25)]
    asked = [TrainingExample(f"{i}-{j}", (*c, *t), len(c)) for i, c in enumerate(contexts) for j, t in enumerate(texts)]
    options = engine.Options(dtype="float32", device="cpu", batch_size=4, prefix_caching=caching)
    found = dict(engine.load(Model("tiny", "folder", None, folder, None, None), options).logprobs(asked))
    assert sorted(found) == sorted(row.id for row in asked)
    for row in asked:
        assert found[row.id].logprobs == pytest.approx(forward(network, row), abs=1e-4)


def test_answers_after_measuring_are_those_before(model):
    """Nothing of a measurement stays in the network."""
    generator = engine.load(model, engine.Options(dtype="float32", device="cpu"))
    before = dict(generator.complete(asked(model), Sampling(8), ()))
    list(generator.logprobs(rows(model)))
    assert dict(generator.complete(asked(model), Sampling(8), ())) == before


def test_a_device_that_is_not_there_is_refused_with_those_that_are(model):
    """The way out lists what this machine's torch sees."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BenchError, match=r"sees no cuda.*cpu"):
        engine.load(model, engine.Options(device="cuda"))


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"device": "tpu"}, {"batch_size": 0}, {"threads": 0}])
def test_options_that_make_no_sense_are_refused(options):
    """The dataclass itself refuses them."""
    with pytest.raises(ValueError, match="must be"):
        engine.Options(**options)
