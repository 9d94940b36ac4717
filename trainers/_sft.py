"""The one training loop: supervised fine-tuning, padding-free, normalised by supervised tokens, resumable.

`full`, `lora` and `qlora` say only which numbers are trained and how they are written. One step sees the whole
effective batch, whatever the number of GPUs and forward passes: its loss is the sum over all supervised tokens divided
by their number, so that 8 x 1, 1 x 8 and one packed pass give the same gradient.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Step, TrainingExample, TrainingResult
from baseline_bench.trainers import _device, _masks, _network, _optimizer, _resume_state
from baseline_bench.trainers._graphs import CudaGraphs
from baseline_bench.trainers._loss_monitor import DivergedTrainingError, LossMonitor
from baseline_bench.trainers._options import Full
from baseline_bench.trainers._packing import PackedPass, pack_examples, pack_process_share, split_into_steps
from torch.nn.functional import cross_entropy

# How far towards seeing its neighbour a packed row may lean; rounding in bf16 makes a few hundredths.
_MAX_LEAK_SHARE = 0.25
_REPORT_EVERY = 10


def _check_nothing(network: Any) -> None:
    """Nothing to check."""


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """What tells one trainer from another.

    Attributes:
        kind: what is written.
        build: (job, device) to the network, exactly what is trained requiring gradients.
        save: (network, its whole state, folder, job) writes what was trained.
        check: after the first backward pass, everything that should learn does, or BenchError.
        quantised: how the base is held while training, or None.
    """

    kind: Literal["full", "adapter"]
    build: Callable[[Job, torch.device], Any]
    save: Callable[[Any, Mapping[str, torch.Tensor], Path, Job], None]
    check: Callable[[Any], None] = _check_nothing
    quantised: str | None = None


def run_training(job: Job, method: TrainingMethod) -> TrainingResult:
    """Train and write.

    Raises:
        BenchError: the loss is not finite or rises for good, memory or disk ends, something should learn and does
            not, packed rows see one another, or the recipe asks for what this machine cannot run.
    """
    accelerator = _device.build_accelerator(job.options)
    if accelerator.num_processes != job.processes:
        raise BenchError(
            f"{job.processes} processes were started, {accelerator.num_processes} found one another",
            "leave --gpus out, or check what accelerate finds (accelerate env)",
        )
    with _device.explain_out_of_memory(job.options, accelerator.num_processes):
        return _TrainingLoop(job, method, accelerator).run()


class _TrainingLoop:
    """One training in one process; several of them, one a GPU, train one network."""

    def __init__(self, job: Job, method: TrainingMethod, accelerator: Accelerator) -> None:
        options: Full = job.options
        _resume_state.seed_randomness(job.seed)
        network = method.build(job, accelerator.device)
        network.train()
        if options.gradient_checkpointing:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.parameters = _network.count_parameters(network)
        optimizer = _optimizer.build_optimizer(network, options, accelerator.num_processes)
        self.job, self.method, self.accelerator, self.options = job, method, accelerator, options
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.plan = split_into_steps(job.rows, options.batch, options.epochs, job.seed)[: options.max_steps]
        exact = options.precision == "fp32" and options.weights == "fp32"
        self.dtype = torch.float32 if exact else torch.bfloat16
        self.graphs = self._recorded()

    def run(self) -> TrainingResult:
        """Every step from where a killed run stood, then the weights."""
        keep = _spread_checkpoints(len(self.plan), self.job.checkpoints)
        try:
            self._steps(keep)
        except DivergedTrainingError:
            self._finish()
            raise
        held_out = self._evaluate(self.job.held_out) if self.job.held_out else None
        self._save(self.job.folder / "weights")
        self._finish()
        return TrainingResult(
            kind=self.method.kind,
            weights=self.job.folder / "weights",
            checkpoints={number: self._checkpoint(number) for number in keep},
            trainable=self.trainable,
            parameters=self.parameters,
            held_out_loss=held_out,
            quantised=self.method.quantised,
        )

    def _steps(self, keep: Sequence[int]) -> None:
        """Every step that is left; weights and states are kept where they are due."""
        first = _resume_state.load_state(self.accelerator, self.network, self.optimizer, self.job.folder) + 1
        if first == 1:
            self._require_blind()
        watch = LossMonitor(
            self._report, len(self.plan), _REPORT_EVERY if self.accelerator.device.type == "cuda" else 1
        )
        often = self.options.checkpoint_steps
        for number in range(first, len(self.plan) + 1):
            window = self.plan[number - 1]
            rate = _optimizer.compute_learning_rate(number, len(self.plan), self.options)
            # The learning of a resumed run was seen in its first one.
            loss, norm = self._step(window, rate, check=number == 1)
            watch.add(number, loss, norm, rate, window)
            if number in keep:
                watch.flush()
                self._save(self._checkpoint(number))
            if often and number % often == 0 and number < len(self.plan):
                watch.flush()
                _resume_state.save_state(self.accelerator, self.network, self.optimizer, number, self.job.folder)
        watch.flush()

    def _recorded(self) -> CudaGraphs | None:
        """Every size of pass as a CUDA graph, where that can be: on one GPU, with nothing drawn or computed twice."""
        options, accelerator = self.options, self.accelerator
        alone = accelerator.num_processes == 1 and accelerator.device.type == "cuda"
        drawn = options.gradient_checkpointing or bool(getattr(options, "dropout", False))
        if drawn or not (options.cuda_graph and alone):
            return None
        made = CudaGraphs(self._predictions, self.network, self.dtype)
        made.record(
            packed for window in self.plan for packed in pack_process_share(window, 0, 1, options.forward_tokens)
        )
        self.optimizer.zero_grad(set_to_none=False)
        return made

    def _step(
        self, window: Sequence[TrainingExample], rate: float, *, check: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss, gradient norm) of one step, both still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._backward(window)
        if check:
            self.method.check(self.accelerator.unwrap_model(self.network))
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        norm = self.accelerator.clip_grad_norm_(trained, self.options.clip or math.inf)
        self.optimizer.step()
        if check:
            _optimizer.require_full_embeddings(self.accelerator.unwrap_model(self.network), self.optimizer)
        self.optimizer.zero_grad(set_to_none=self.graphs is None)
        return self.accelerator.reduce(loss, "sum"), norm

    def _backward(self, window: Sequence[TrainingExample]) -> torch.Tensor:
        """Add the gradient of the window's mean loss; this process's part of that loss."""
        accelerator = self.accelerator
        count = sum(len(row.token_ids) - row.start for row in window)
        passes = pack_process_share(
            window, accelerator.process_index, accelerator.num_processes, self.options.forward_tokens
        )
        if self.graphs is not None:
            return torch.stack([self.graphs.backward(packed, 1 / count) for packed in passes]).sum()
        total = torch.zeros((), device=accelerator.device)
        for place, packed in enumerate(passes, 1):
            last = place == len(passes)
            with nullcontext() if last else accelerator.no_sync(self.network):
                loss = self._loss(packed) / count
                # Processes are averaged when gradients are shared; the sum is wanted.
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        return total

    def _loss(self, packed: PackedPass) -> torch.Tensor:
        """Summed over the supervised tokens, in nats; the vocabulary's logits are computed for these alone."""
        return cross_entropy(*self._logits(packed), reduction="sum")

    def _logits(self, packed: PackedPass) -> tuple[torch.Tensor, torch.Tensor]:
        """([supervised, vocabulary] in fp32, labels)."""
        here = packed.to(self.accelerator.device)
        plain = self.accelerator.unwrap_model(self.network)
        return self._predictions(here, _masks.build_masks(plain.config, here.positions, self.dtype)), here.labels

    def _predictions(self, here: PackedPass, mask: Any) -> torch.Tensor:
        with self._autocast():
            out = self.network(
                input_ids=here.ids,
                position_ids=here.positions,
                attention_mask=mask,
                logits_to_keep=here.predict,
                use_cache=False,
            )
        logits: torch.Tensor = out.logits[0].float()
        return logits

    def _autocast(self) -> Any:
        wanted = self.options.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16) if wanted else nullcontext()

    @torch.no_grad()
    def _require_blind(self) -> None:
        """The second of two packed rows is scored as if it stood alone, and not as if it went on from the first.

        Rounding moves a row, too, but in no direction; seeing the first moves it the whole way.

        Raises:
            BenchError: it sees the first one.
        """
        pair = sorted(self.job.rows, key=lambda row: len(row.token_ids))[:2]
        if len(pair) < 2 or sum(len(row.token_ids) for row in pair) > self.options.forward_tokens:
            return  # no two rows ever share a pass
        first, second = pair
        begun = len(first.token_ids)
        joined = TrainingExample(second.id, first.token_ids + second.token_ids, begun + second.start)
        with _disable_dropout(self.network):
            alone, packed, seeing = (self._nats(rows) for rows in ([second], [first, second], [joined]))
        moved, whole = packed[-len(alone) :] - alone, seeing - alone
        lean = float((moved * whole).sum() / whole.square().sum().clamp(min=1e-12))
        if abs(lean) > _MAX_LEAK_SHARE:  # a NaN is told as such after the first step
            raise BenchError(
                f"packed rows see one another: {second.id} moves {lean:.0%} towards a row that goes on from {first.id}",
                "--set attention=eager, or --set forward_tokens=1 to train without packing",
            )

    def _nats(self, rows: Sequence[TrainingExample]) -> torch.Tensor:
        """Loss of every supervised token of rows in one pass."""
        return cross_entropy(*self._logits(pack_examples(rows)), reduction="none")

    @torch.no_grad()
    def _evaluate(self, rows: Sequence[TrainingExample]) -> float:
        """Mean loss over the supervised tokens of these rows."""
        accelerator = self.accelerator
        total = torch.zeros((), device=accelerator.device)
        passes = pack_process_share(
            rows, accelerator.process_index, accelerator.num_processes, self.options.forward_tokens
        )
        with _disable_dropout(self.network):
            for packed in passes:
                total += self._loss(packed)
        count = sum(len(row.token_ids) - row.start for row in rows)
        return float(accelerator.reduce(total, "sum")) / count

    def _save(self, folder: Path) -> None:
        state = self.accelerator.get_state_dict(self.network)
        if self.accelerator.is_main_process:
            self.method.save(self.accelerator.unwrap_model(self.network), state, folder, self.job)
        self.accelerator.wait_for_everyone()

    def _checkpoint(self, number: int) -> Path:
        return self.job.folder / f"checkpoint-{number:06}"

    def _report(self, step: Step) -> None:
        if self.accelerator.is_main_process:
            self.job.report(step)

    def _finish(self) -> None:
        """The state to resume from is no longer needed."""
        if self.accelerator.is_main_process:
            (self.job.folder / _resume_state.STATE_FILE).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()


@contextmanager
def _disable_dropout(network: torch.nn.Module) -> Iterator[None]:
    """No dropout. What holds weights stays in training: in `eval` bitsandbytes packs 4-bit weights on a CPU for
    inference and for good, and adapters get no gradient any more.
    """
    # Attention draws by itself, without a module of torch's.
    drawing = [part for part in network.modules() if part.training and not list(part.parameters(recurse=False))]
    for part in drawing:
        part.training = False
    try:
        yield
    finally:
        for part in drawing:
            part.training = True


def _spread_checkpoints(total: int, wanted: int) -> tuple[int, ...]:
    """The steps after which intermediate weights are kept, evenly spread, the last step left out."""
    return tuple(sorted({round(total * place / (wanted + 1)) for place in range(1, wanted + 1)} - {0, total}))
