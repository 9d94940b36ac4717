"""Send a training's steps to TensorBoard and other trackers through accelerate; they change no number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baseline_bench.core.errors import BenchError, suggest_library, suggest_name
from baseline_bench.core.types import Step, Value

PROJECT = "bench"
_PACKAGES = {"comet_ml": "comet-ml"}


def require_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that accelerate does not know or that is not installed, before anything is trained."""
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = tuple(sorted(LOGGER_TYPE_TO_CLASS))
    installed = [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in known:
            raise BenchError(f"no tracker '{name}'", suggest_name(name, known, "those that accelerate knows"))
        if name not in installed:
            what = f"--log {name} needs a library that is not installed"
            raise BenchError(what, suggest_library(_PACKAGES.get(name, name)))


@contextmanager
def track_steps(names: Sequence[str], folder: Path, values: Mapping[str, Value]) -> Iterator[Callable[[Step], None]]:
    """Yield the function to call with every step; finish the trackers at the end.

    The first step starts them: they ask accelerate which process this is, and only a trainer may decide that.

    Args:
        names: tracker names; if empty, nothing is imported.
        folder: the run's folder; trackers that write files use a subfolder of their own name.
    """
    started: list[Any] = []

    def track(step: Step) -> None:
        if names and not started:
            started.extend(_start_tracker(name, folder, values) for name in names)
        for tracker in started:
            metrics = {f"train/{name}": getattr(step, name) for name in ("loss", "lr", "grad_norm", "supervised")}
            tracker.log({name: value for name, value in metrics.items() if value is not None}, step=step.number)

    try:
        yield track
    finally:
        for tracker in started:
            tracker.finish()


def _start_tracker(name: str, folder: Path, values: Mapping[str, Value]) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(name, str(folder)) if kind.requires_logging_directory else kind(PROJECT)
    tracker.start()
    stated = {key: value for key, value in values.items() if value is not None}
    tracker.store_init_configuration({"run": folder.name, **stated})
    return tracker
