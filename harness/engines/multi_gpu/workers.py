"""Start a worker process that holds an engine."""

from baseline_bench.core.child_process import Worker, build_environment, share_threads


class EngineWorker(Worker):
    """The parent's end of one process that holds an engine.

    Args:
        engine: its name, for `plugins.load_engine`.
        position: (which worker, of how many), counted from 0.
        device: its CUDA_VISIBLE_DEVICES; None leaves this process's.
    """

    memory_advice = run_again = "give the same command again: finished answers are kept"

    def __init__(self, engine: str, position: tuple[int, int], device: str | None) -> None:
        number, of = position
        name = f"engine {number + 1} of {of}" if of > 1 else "the engine's process"
        name += "" if device is None else f" (GPU {device})"
        self.gpus = 1 if device is None else device.count(",") + 1
        gpu_variables = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        environment = build_environment(share_threads(of), gpu_variables)
        super().__init__("baseline_bench.engines.multi_gpu.child:EngineServer", [engine], environment, name, of)
