"""trainers._sft: the loop's gradient is exact however a step is cut, and rows never see one another."""

import math
import shutil
from types import SimpleNamespace

import pytest
import tiny_training
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import TrainingExample
from baseline_bench.models import weight_checks
from baseline_bench.trainers import _device, _masks, _network, _sft, full
from baseline_bench.trainers._packing import count_tokens, pack_examples
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

# The name that every transformers 5 knows.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")

MANNERS = ("chatml", "gemma", "plain")


@pytest.fixture(scope="module", params=MANNERS)
def each(request, tmp_path_factory):
    """A tiny model of each manner."""
    return tiny_training.model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


def unwritten(network, state, folder, job):
    """Nothing is written."""


def first_gradient(base, rows, folder, **options) -> tuple[float, dict[str, torch.Tensor]]:
    """(loss, gradient) of the first step."""
    kept: dict[str, torch.Tensor] = {}

    def keep(network):
        kept.update({name: p.grad.clone() for name, p in network.named_parameters()})

    method = _sft.TrainingMethod("full", tiny_training.loaded, unwritten, keep)
    settings = tiny_training.full(max_steps=1, **options)
    made = tiny_training.run(lambda job: _sft.run_training(job, method), base, rows, folder, settings)
    return made.losses[0], kept


def own_gradient(base, rows) -> tuple[float, dict[str, torch.Tensor]]:
    """The same by transformers alone: row by row, weighted by supervised tokens."""
    network = tiny_training.plain(base.folder)
    total = sum(tiny_training.summed_loss(network, row) for row in rows) / tiny_training.supervised(rows)
    total.backward()
    return total.item(), {name: parameter.grad for name, parameter in network.named_parameters()}


def near(found, wanted) -> None:
    """Both losses, and every gradient, within the rounding of fp32."""
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def sighted(network):
    """It takes no notice of positions and masks, and so every row sees those before it."""
    plain = network.forward
    network.forward = lambda position_ids, attention_mask=None, **given: plain(**given)
    return network


@pytest.mark.parametrize("checkpointing", [False, True])
def test_eight_passes_of_one_row_one_of_eight_and_any_between_have_one_gradient(each, tmp_path, checkpointing):
    """8 x 1 == 1 x 8 == padding-free 8 == transformers' own, with activations kept or computed twice."""
    rows = tiny_training.rows(each, 8)
    wanted = own_gradient(each, rows)
    for forward_tokens in (1, 150, 8192):
        options = {"forward_tokens": forward_tokens, "gradient_checkpointing": checkpointing}
        near(first_gradient(each, rows, tmp_path / str(forward_tokens), **options), wanted)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_attention_has_the_same_gradient(base, tmp_path, attention):
    """Packed rows of a Llama under sdpa and under eager attention have the gradient of the rows alone."""
    rows = tiny_training.rows(base, 5)
    near(first_gradient(base, rows, tmp_path, attention=attention), own_gradient(base, rows))


def test_rows_longer_than_a_sliding_window_have_the_same_gradient(tmp_path):
    """Gemma 2 looks back 256 tokens in every other layer, in the loop as in transformers itself."""
    base = tiny_training.model(tmp_path / "base", "gemma")
    rows = [TrainingExample("long", tuple(7 + place % 400 for place in range(300)), 20), *tiny_training.rows(base, 2)]
    near(first_gradient(base, rows, tmp_path / "run"), own_gradient(base, rows))


def test_a_last_window_of_one_row_weighs_its_tokens_and_no_more(each, tmp_path):
    """One row at batch 8 has the gradient of its own mean loss, not an eighth of it."""
    rows = tiny_training.rows(each, 1)
    near(first_gradient(each, rows, tmp_path), own_gradient(each, rows))


def test_the_way_a_step_is_cut_changes_no_step_of_a_training(base, tmp_path):
    """17 rows at batch 8: every loss and norm, the last window's of one row too, and the weights.

    Those move by 5e-3; AdamW lets rounding through where a gradient is next to nothing.
    """
    rows = tiny_training.rows(base, 17)
    runs = {
        tokens: tiny_training.run(
            full.train, base, rows, tmp_path / str(tokens), tiny_training.full(forward_tokens=tokens, epochs=2)
        )
        for tokens in (1, 8192)
    }
    one, packed = runs[1], runs[8192]
    assert [step.rows for step in packed.steps] == [8, 8, 1, 8, 8, 1]
    assert packed.losses == pytest.approx(one.losses, abs=1e-5)
    assert packed.norms == pytest.approx(one.norms, rel=1e-4)
    first, second = (load_file(run.trained.weights / "model.safetensors") for run in (one, packed))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-4


def test_a_step_tells_what_it_saw(base, tmp_path):
    """Golden: numbers, totals, rows, tokens and rates of every step."""
    rows = tiny_training.rows(base, 10)
    made = tiny_training.run(full.train, base, rows, tmp_path, tiny_training.full(warmup=0, final_lr=0.5))
    assert [(step.number, step.total, step.rows) for step in made.steps] == [(1, 2, 8), (2, 2, 2)]
    assert [step.lr for step in made.steps] == pytest.approx([1e-3, 5e-4])
    assert sum(step.tokens for step in made.steps) == sum(len(row.token_ids) for row in rows)
    assert sum(step.supervised for step in made.steps) == tiny_training.supervised(rows)


def test_attention_that_is_not_blind_stops_the_run(base, tmp_path):
    """A network that takes no notice of positions would train rows on their neighbours."""
    with pytest.raises(BenchError, match=r"packed rows see one another: .* moves \d+% towards .*forward_tokens=1"):
        tiny_training.run(
            tiny_training.changed(sighted), base, tiny_training.rows(base, 3), tmp_path, tiny_training.full()
        )


def test_rows_that_are_never_packed_need_no_blindness(base, tmp_path):
    """The way out that the error names is one: with a row a pass there is no neighbour to see."""
    rows, options = tiny_training.rows(base, 3), tiny_training.full(forward_tokens=1)
    made = tiny_training.run(tiny_training.changed(sighted), base, rows, tmp_path / "sighted", options)
    assert made.losses == tiny_training.run(full.train, base, rows, tmp_path / "blind", options).losses


def test_a_model_with_dropout_of_its_own_is_not_taken_for_one_that_peeks(tmp_path, base):
    """Dropout moves a row, too; the comparison is made without."""
    folder = tmp_path / "dropout"
    shutil.copytree(base.folder, folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"attention_dropout": 0.0', '"attention_dropout": 0.3'))
    rows, options = tiny_training.rows(base, 3), tiny_training.full(attention="eager")
    made, plain = (
        tiny_training.run(full.train, model, rows, tmp_path / name, options)
        for name, model in (("dropping", tiny_training.at(folder)), ("plain", base))
    )
    assert made.losses[0] != plain.losses[0]  # dropout is on while training


def test_dropout_is_off_for_a_comparison_and_on_again_behind_it():
    """Modules with weights stay as they are, and what was off before stays off."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.Dropout().eval())
    with _sft._disable_dropout(network):
        assert [module.training for module in network] == [True, False, False]
    assert [module.training for module in network] == [True, True, False]


@pytest.mark.parametrize(("clip", "bound"), [(0.0, math.inf), (100.0, 100.0), (0.25, 0.25)])
def test_the_gradient_is_clipped_to_its_norm(base, tmp_path, clip, bound):
    """Where it is larger, and never where clip is 0; the step tells the norm before."""
    norms = []

    def measure(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # The optimizer divides by its grad_scale as it reads them.
        norms.append(float(torch.nn.utils.get_total_norm(gradients)) / float(getattr(optimizer, "grad_scale", 1.0)))

    hook = register_optimizer_step_pre_hook(measure)
    made = tiny_training.run(
        full.train, base, tiny_training.rows(base, 4), tmp_path, tiny_training.full(clip=clip, max_steps=1)
    )
    hook.remove()
    assert made.norms[0] > 0.5
    assert norms == pytest.approx([min(made.norms[0], bound)], rel=1e-4)


def test_processes_that_did_not_find_one_another_are_refused(base, tmp_path):
    """Each would train on all rows of a step and call it its share."""
    with pytest.raises(BenchError, match="2 processes were started, 1 found one another"):
        tiny_training.run(full.train, base, tiny_training.rows(base, 2), tmp_path, tiny_training.full(), processes=2)


def test_frozen_parameters_are_not_counted_as_trained(base, tmp_path):
    """A row says how many numbers were trained, and of how many."""

    def freeze(network):
        network.model.embed_tokens.requires_grad_(requires_grad=False)
        return network

    rows, options = tiny_training.rows(base, 2), tiny_training.full(max_steps=1)
    made = tiny_training.run(tiny_training.changed(freeze), base, rows, tmp_path, options).trained
    assert made.parameters - made.trainable == 512 * 128


class EagerGraphs:
    """Stands in for recorded passes without a GPU: each adds to the gradients where they were when it was recorded."""

    def __init__(self, predictions, network, dtype):
        self.predictions, self.network, self.dtype = predictions, network, dtype
        self.sizes, self.places = set(), []

    def record(self, groups):
        """Run every pass once, as a warm-up does."""
        for rows in groups:
            self.sizes.add(count_tokens(rows))
            self._run(pack_examples(rows), 1.0)
        self.places = self._find_places()

    def backward(self, packed, share):
        """Run a pass of a recorded size."""
        assert (packed.ids.shape[1], len(packed.predict)) in self.sizes
        assert self._find_places() == self.places
        return self._run(packed, share)

    def _find_places(self):
        return [parameter.grad.data_ptr() for parameter in self.network.parameters()]

    def _run(self, packed, share):
        mask = _masks.build_masks(self.network.config, packed.positions, self.dtype)
        loss = torch.nn.functional.cross_entropy(self.predictions(packed, mask), packed.labels, reduction="sum") * share
        loss.backward()
        return loss.detach()


def test_replayed_passes_train_as_plain_ones_and_find_the_gradients_where_they_were(base, tmp_path, monkeypatch):
    """Every pass to come is recorded, recording leaves no gradient behind, and no step moves the gradients."""
    monkeypatch.setattr(_sft, "CudaGraphs", EagerGraphs)
    rows, options = tiny_training.rows(base, 6), tiny_training.full(batch=3, epochs=2, forward_tokens=128)

    def train_replayed(job):
        method = _sft.TrainingMethod("full", tiny_training.loaded, unwritten)
        loop = _sft._TrainingLoop(job, method, _device.build_accelerator(options))
        assert loop.graphs is None  # on a CPU
        accelerator = loop.accelerator
        loop.accelerator = SimpleNamespace(num_processes=1, device=torch.device("cuda"))
        loop.graphs = loop._recorded()
        loop.accelerator = accelerator
        assert isinstance(loop.graphs, EagerGraphs)
        return loop.run()

    replayed = tiny_training.run(train_replayed, base, rows, tmp_path / "replayed", options)
    plain = tiny_training.run(full.train, base, rows, tmp_path / "plain", options)
    assert len(plain.steps) == 4
    assert replayed.losses == pytest.approx(plain.losses, rel=1e-5)
    assert replayed.norms == pytest.approx(plain.norms, rel=1e-4)


def test_a_step_on_a_cpu_is_reported_before_the_next_begins(base, tmp_path):
    """Nothing waits on a device, so nobody need wait for ten steps."""
    stepped, seen = [], []
    hook = register_optimizer_step_pre_hook(lambda *_: stepped.append(0))
    try:
        options = tiny_training.full(batch=1, max_steps=3)
        rows = tiny_training.rows(base, 3)
        tiny_training.run(full.train, base, rows, tmp_path, options, report=lambda step: seen.append(len(stepped)))
    finally:
        hook.remove()
    assert seen == [1, 2, 3]


def test_states_are_saved_at_every_interval_and_not_after_the_last_step(base, tmp_path, monkeypatch):
    """The weights themselves follow the last step."""
    saved = []
    monkeypatch.setattr("baseline_bench.trainers._resume_state.save_state", lambda *given: saved.append(given[3]))
    for interval in (0, 2, 3):
        options = tiny_training.full(batch=1, checkpoint_steps=interval)
        tiny_training.run(full.train, base, tiny_training.rows(base, 6), tmp_path / str(interval), options)
        saved.append("end")
    assert saved == ["end", 2, 4, "end", 3, "end"]


def test_soft_capped_attention_is_computed_as_the_model_means_it(tmp_path):
    """Attention `auto` is eager for Gemma 2 and sdpa for others."""
    for manner, wanted in (("gemma", "eager"), ("chatml", "sdpa")):
        base = tiny_training.model(tmp_path / manner, manner)
        job = tiny_training.job(base, (), tmp_path / "run", tiny_training.full())
        assert _network.load_base(job, torch.float32).config._attn_implementation == wanted


def test_the_held_out_loss_is_the_one_transformers_computes(each, tmp_path):
    """Over the weights as trained, a mean over supervised tokens."""
    rows = tiny_training.rows(each, 12)
    made = tiny_training.run(full.train, each, rows[:8], tmp_path, tiny_training.full(), held_out=rows[8:])
    with torch.no_grad():
        network = tiny_training.plain(made.trained.weights)
        wanted = sum(tiny_training.summed_loss(network, row).item() for row in rows[8:])
    assert made.trained.held_out_loss == pytest.approx(wanted / tiny_training.supervised(rows[8:]), rel=1e-5)


def test_no_held_out_rows_no_held_out_loss(base, tmp_path):
    """Unknown is None."""
    made = tiny_training.run(full.train, base, tiny_training.rows(base, 2), tmp_path, tiny_training.full())
    assert made.trained.held_out_loss is None


@pytest.mark.parametrize(
    ("wanted", "steps"), [(0, []), (1, [4]), (2, [3, 5]), (3, [2, 4, 6]), (99, [1, 2, 3, 4, 5, 6, 7])]
)
def test_intermediate_weights_are_spread_evenly(base, tmp_path, wanted, steps):
    """Of eight steps; each is a folder of whole weights, no two alike, and the last step is not among them."""
    options = tiny_training.full(batch=1)
    made = tiny_training.run(full.train, base, tiny_training.rows(base, 8), tmp_path, options, checkpoints=wanted)
    assert sorted(made.trained.checkpoints) == steps
    folders = [*made.trained.checkpoints.values(), made.trained.weights]
    digests = {weight_checks.check_full_weights(folder, base.folder).sha256 for folder in folders}
    assert len(digests) == len(steps) + 1
