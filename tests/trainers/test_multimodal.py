"""Models that also see: training adapts the text tower, and what is trained merges into files with other names."""

import pytest
import tiny_families
import tiny_training
from baseline_bench.models import adapter, diagnose, merge, weight_checks, weights
from baseline_bench.models.merge import MergeOptions
from baseline_bench.trainers import full, lora, qlora

# In transformers' model the text tower is model.language_model; the base's files say language_model.model.
TEXT, IN_FILES = "model.language_model.layers.", "language_model.model.layers."


pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks by an old name


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A multimodal Gemma 3."""
    return tiny_training.at(tiny_families.build(tmp_path_factory.mktemp("base") / "base", "multimodal Gemma 3"))


@pytest.mark.parametrize(("trainer", "options"), [(lora, tiny_training.lora()), (qlora, tiny_training.qlora())])
def test_an_adapter_of_the_text_tower_is_trained_and_merged(base, tmp_path, trainer, options):
    """Every projection of the text tower, and none of the vision tower, where some have the same names."""
    trained = tiny_training.run(trainer.train, base, tiny_training.rows(base, 4), tmp_path / "run", options).trained
    targets = [pair.target for pair in adapter.read_adapter(trained.weights).pairs]
    assert (len(targets), {target[: len(TEXT)] for target in targets}) == (14, {TEXT})
    assert diagnose.check_adapter(trained.weights, base) == []
    how = MergeOptions(dtype="float32", quantised=trained.quantised)
    record = merge.merge_adapter(base.folder, trained.weights, tmp_path / "out", how)
    assert (record.tensors, record.rel_err) == (14, 0)
    names = {tensor.name for tensor in weights.read_tensors(tmp_path / "out")}
    assert {target.replace(TEXT, IN_FILES) for target in targets} <= names
    assert diagnose.check_weights(tmp_path / "out", "transformers") == []


def test_whole_weights_are_saved_under_the_bases_names(base, tmp_path):
    """And count as a training of it."""
    options = tiny_training.full()
    trained = tiny_training.run(full.train, base, tiny_training.rows(base, 4), tmp_path / "run", options).trained
    assert {t.name for t in weights.read_tensors(trained.weights)} == {
        t.name for t in weights.read_tensors(base.folder)
    }
    assert weight_checks.check_full_weights(trained.weights, base.folder).changed > 0
    assert weight_checks.check_tied_embedding(trained.weights, base.folder) == []
