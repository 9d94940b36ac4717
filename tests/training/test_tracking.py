"""tracking: steps go to accelerate's trackers, TensorBoard's files into the run folder, and no number changes."""

import struct
import sys
from types import SimpleNamespace

import pytest
import tiny_study
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Step
from baseline_bench.results import candidate
from baseline_bench.training import tracking
from tiny_study import bench, history, only

pytestmark = pytest.mark.usefixtures("forked_children")

STEP = Step(3, 9, 1.5, 0.25, None, 4, 100, 40, 2.0)


class Tracker:
    """Keeps what it is told."""

    requires_logging_directory = False
    made: list["Tracker"] = []  # noqa: RUF012

    def __init__(self, *given):
        self.given, self.told = given, []
        self.made.append(self)

    def start(self):
        self.told.append("started")

    def store_init_configuration(self, values):
        self.told.append(values)

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.told.append("finished")


class InFolder(Tracker):
    """One that writes files."""

    requires_logging_directory = True


@pytest.fixture
def trackers(monkeypatch):
    """Two trackers in place of accelerate's, a third whose package is not installed; those that were started."""
    kinds = {"plain": Tracker, "filed": InFolder, "comet_ml": Tracker}
    module = SimpleNamespace(LOGGER_TYPE_TO_CLASS=kinds, get_available_trackers=lambda: ["plain", "filed"])
    monkeypatch.setitem(sys.modules, "accelerate.tracking", module)
    monkeypatch.setattr(Tracker, "made", [])
    return Tracker.made


def test_every_tracker_is_told_every_step_once_and_then_the_end(trackers, tmp_path):
    """Those that write files get the run's folder; a norm that a trainer does not tell is left out, as is a key without
    a value.
    """
    with tracking.track_steps(("plain", "filed"), tmp_path / "run", {"lr": 0.1, "max_steps": None}) as track:
        assert trackers == []
        track(STEP)
        track(STEP)
    plain, filed = trackers
    assert (plain.given, filed.given) == (("bench",), ("filed", str(tmp_path / "run")))
    told = (3, {"train/loss": 1.5, "train/lr": 0.25, "train/supervised": 40})
    assert plain.told == filed.told == ["started", {"run": "run", "lr": 0.1}, told, told, "finished"]


def test_a_training_that_fails_ends_its_trackers(trackers, tmp_path):
    """Nothing is left open."""

    def fail():
        with tracking.track_steps(("plain",), tmp_path, {}) as track:
            track(STEP)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert trackers[0].told[-1] == "finished"


def test_without_trackers_nothing_is_imported(monkeypatch, tmp_path):
    """Accelerate need not be there; with one it must."""
    monkeypatch.setitem(sys.modules, "accelerate.tracking", None)
    tracking.require_trackers(())
    with tracking.track_steps((), tmp_path, {}) as track:
        track(STEP)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImportError):
        tracking.require_trackers(("plain",))
    with tracking.track_steps(("plain",), tmp_path, {}) as track, pytest.raises(ImportError):
        track(STEP)


def test_a_tracker_that_cannot_be_told_is_named_before_anything_is_trained(trackers):
    """By what to install, or by those that there are."""
    tracking.require_trackers(("plain", "filed"))
    with pytest.raises(
        BenchError, match=r"--log comet_ml needs a library that is not installed: .*pip install comet-ml"
    ):
        tracking.require_trackers(("plain", "comet_ml"))
    with pytest.raises(BenchError, match=r"no tracker 'plan': did you mean 'plain'\?"):
        tracking.require_trackers(("plan",))


def scalars(folder) -> list[tuple[int, str, float]]:
    """(step, name, value) of every number in TensorBoard's files: records of length, checksum, event, checksum."""
    from tensorboardX.proto import event_pb2

    event = event_pb2.Event
    found = []
    for file in folder.glob("events*"):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (size,) = struct.unpack_from("<Q", data, place)
            told = event.FromString(data[place + 12 : place + 12 + size])
            found += [(told.step, value.tag, value.simple_value) for value in told.summary.value if value.tag]
            place += 16 + size
    return found


def test_tensorboard_s_files_lie_in_the_run_folder_and_hold_its_losses(tmp_path):
    """By the real library; weights and recipe are those of a training that told nobody."""
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")
    folder = tiny_study.build(tmp_path / "here")
    assert bench(folder, "train", "lora.toml", "--log", "tensorboard") == 0
    run = only(folder, "runs/*")
    told = {step: value for step, name, value in scalars(run / "tensorboard") if name == "train/loss"}
    losses = {step["number"]: step["loss"] for step in history(run)}
    assert told.keys() == losses.keys()
    assert [told[step] for step in losses] == pytest.approx(list(losses.values()), rel=1e-4)
    assert bench(folder, "train", "lora.toml", "--again", "--runs", "others") == 0
    one, other = candidate.read_candidate(run), candidate.read_candidate(only(folder, "others/*"))
    assert (one.weights_sha256, one.recipe_sha256) == (other.weights_sha256, other.recipe_sha256)
