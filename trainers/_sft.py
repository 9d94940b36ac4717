"""The training loop: supervised fine-tuning, padding-free, normalised by supervised tokens, resumable.

`full`, `lora` and `qlora` only choose which parameters are trained and how they are saved. The loss of a step is the
mean over the supervised tokens of the whole effective batch, whatever the number of GPUs and forward passes: 8 x 1,
1 x 8 and one packed pass give the same gradient.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from baseline_bench.core import trace
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Step, TrainingExample, TrainingResult
from baseline_bench.trainers import _device, _fused_kernels, _masks, _network, _optimizer, _resume_state
from baseline_bench.trainers._graphs import CudaGraphs
from baseline_bench.trainers._loss_monitor import DivergedTrainingError, LossMonitor
from baseline_bench.trainers._options import Full
from baseline_bench.trainers._packing import PackedPass, group_rows, pack_examples, pack_process_share, split_into_steps
from torch.nn.functional import cross_entropy

# Largest share of the effect of seeing its neighbour that a packed row may show; bf16 rounding gives a few hundredths.
_MAX_LEAK_SHARE = 0.25
_REPORT_EVERY = 10


def _check_nothing(network: Any) -> None:
    """Check nothing."""


@dataclass(frozen=True, slots=True)
class TrainingMethod:
    """The parts in which trainers differ.

    Attributes:
        kind: what is saved.
        build: (job, device) to the network, in which exactly the trained parameters require gradients.
        save: (network, its whole state, folder, job) writes the trained weights.
        check: runs after the first backward pass; raises BenchError if a parameter that should learn does not.
        quantised: the quantised format of the base while training, or None.
    """

    kind: Literal["full", "adapter"]
    build: Callable[[Job, torch.device], Any]
    save: Callable[[Any, Mapping[str, torch.Tensor], Path, Job], None]
    check: Callable[[Any], None] = _check_nothing
    quantised: str | None = None


def run_training(job: Job, method: TrainingMethod) -> TrainingResult:
    """Train and save the weights.

    Raises:
        BenchError: the loss is not finite or diverges, memory or disk is full, a parameter that should learn does not,
            packed rows see one another, or this machine cannot run the recipe.
    """
    accelerator = _device.build_accelerator(job.options)
    if accelerator.num_processes != job.processes:
        what = f"{job.processes} processes were started, {accelerator.num_processes} found one another"
        raise BenchError(what, "leave --gpus out, or check what accelerate finds (accelerate env)")
    with _device.explain_out_of_memory(job.options, accelerator.num_processes):
        return _TrainingLoop(job, method, accelerator).run()


class _TrainingLoop:
    """One process's part of a training; several processes, one a GPU, train one network."""

    def __init__(self, job: Job, method: TrainingMethod, accelerator: Accelerator) -> None:
        options: Full = job.options
        _resume_state.seed_randomness(job.seed)
        with trace.span("load weights"):
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
        self.fused = self._fuse_kernels()
        self.graphs = self._recorded()

    def run(self) -> TrainingResult:
        """Run every step from the last saved state on, then save the weights."""
        checkpoint_steps = _spread_checkpoints(len(self.plan), self.job.checkpoints)
        try:
            self._steps(checkpoint_steps)
        except DivergedTrainingError:
            self._finish()
            raise
        held_out = self._evaluate(self.job.held_out) if self.job.held_out else None
        self._save(self.job.folder / "weights")
        self._finish()
        return TrainingResult(
            kind=self.method.kind,
            weights=self.job.folder / "weights",
            checkpoints={number: self._checkpoint(number) for number in checkpoint_steps},
            trainable=self.trainable,
            parameters=self.parameters,
            held_out_loss=held_out,
            quantised=self.method.quantised,
            fused_kernels=self.fused,
        )

    def _steps(self, checkpoint_steps: Sequence[int]) -> None:
        """Run the remaining steps; save weights and states when they are due."""
        first = _resume_state.load_state(self.accelerator, self.network, self.optimizer, self.job.folder) + 1
        if first == 1:
            self._require_blind()
        monitor = LossMonitor(
            self._report, len(self.plan), _REPORT_EVERY if self.accelerator.device.type == "cuda" else 1
        )
        save_interval = self.options.checkpoint_steps
        for number in range(first, len(self.plan) + 1):
            window = self.plan[number - 1]
            rate = _optimizer.compute_learning_rate(number, len(self.plan), self.options)
            # A resumed run was already checked in its first session.
            loss, norm = self._step(window, rate, check=number == 1)
            monitor.add(number, loss, norm, rate, window)
            if number in checkpoint_steps:
                monitor.flush()
                self._save(self._checkpoint(number))
            if save_interval and number % save_interval == 0 and number < len(self.plan):
                monitor.flush()
                _resume_state.save_state(self.accelerator, self.network, self.optimizer, number, self.job.folder)
        monitor.flush()

    def _fuse_kernels(self) -> bool:
        """Let liger-kernel compute parts of the network where it can; return whether it does."""
        if not (self.options.fused_kernels and self.accelerator.device.type == "cuda"):
            return False
        shortest = min(self.job.rows, key=lambda row: len(row.token_ids))
        with trace.span("fuse kernels"), torch.no_grad():
            return _fused_kernels.fuse(
                self.accelerator.unwrap_model(self.network), lambda: float(self._nats([shortest]).mean())
            )

    def _recorded(self) -> CudaGraphs | None:
        """Record every pass size as a CUDA graph where possible: on one GPU, without dropout or checkpointing."""
        options, accelerator = self.options, self.accelerator
        is_single_gpu = accelerator.num_processes == 1 and accelerator.device.type == "cuda"
        prevents_graphs = options.gradient_checkpointing or bool(getattr(options, "dropout", False))
        if prevents_graphs or not (options.cuda_graph and is_single_gpu):
            return None
        graphs = CudaGraphs(self._predictions, self.network, self.dtype)
        groups = (rows for window in self.plan for rows in group_rows(window, 0, 1, options.forward_tokens))
        with trace.span("record CUDA graphs"):
            graphs.record(groups)
        self.optimizer.zero_grad(set_to_none=False)
        return graphs

    def _step(
        self, window: Sequence[TrainingExample], rate: float, *, check: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one step; return (loss, gradient norm), both still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._backward(window)
        if check:
            self.method.check(self.accelerator.unwrap_model(self.network))
        norm = _optimizer.clip_gradients(self.network, self.optimizer, self.accelerator, self.options)
        self.optimizer.step()
        if check:
            _optimizer.require_full_embeddings(self.accelerator.unwrap_model(self.network), self.optimizer)
        self.optimizer.zero_grad(set_to_none=self.graphs is None)
        return self.accelerator.reduce(loss, "sum"), norm

    def _backward(self, window: Sequence[TrainingExample]) -> torch.Tensor:
        """Add the gradient of the window's mean loss; return this process's part of that loss."""
        accelerator = self.accelerator
        count = sum(len(row.token_ids) - row.start for row in window)
        passes = pack_process_share(
            window, accelerator.process_index, accelerator.num_processes, self.options.forward_tokens
        )
        if self.graphs is not None:
            return torch.stack([self.graphs.backward(packed, 1 / count) for packed in passes]).sum()
        total = torch.zeros((), device=accelerator.device)
        for number, packed in enumerate(passes, 1):
            last = number == len(passes)
            with nullcontext() if last else accelerator.no_sync(self.network):
                loss = self._loss(packed) / count
                # Gradients are averaged over processes, but the sum is needed.
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        return total

    def _loss(self, packed: PackedPass) -> torch.Tensor:
        """Compute the sum over supervised tokens, in nats; logits are computed only for these."""
        return cross_entropy(*self._logits(packed), reduction="sum")

    def _logits(self, packed: PackedPass) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute ([supervised, vocabulary] logits in fp32, labels)."""
        device_pass = packed.to(self.accelerator.device)
        plain = self.accelerator.unwrap_model(self.network)
        return self._predictions(
            device_pass, _masks.build_masks(plain.config, device_pass.positions, self.dtype)
        ), device_pass.labels

    def _predictions(self, device_pass: PackedPass, mask: Any) -> torch.Tensor:
        with self._autocast():
            out = self.network(
                input_ids=device_pass.ids,
                position_ids=device_pass.positions,
                attention_mask=mask,
                logits_to_keep=device_pass.predict,
                use_cache=False,
            )
        logits: torch.Tensor = out.logits[0].float()
        return logits

    def _autocast(self) -> Any:
        uses_bf16 = self.options.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16) if uses_bf16 else nullcontext()

    @torch.no_grad()
    def _require_blind(self) -> None:
        """Check that the second of two packed rows is scored as if alone, not as a continuation of the first.

        Rounding changes its loss too, but in no direction; seeing the first row changes it as the joined row shows.

        Raises:
            BenchError: it sees the first row.
        """
        pair = sorted(self.job.rows, key=lambda row: len(row.token_ids))[:2]
        if len(pair) < 2 or sum(len(row.token_ids) for row in pair) > self.options.forward_tokens:
            return  # no two rows ever share a pass
        first, second = pair
        first_length = len(first.token_ids)
        joined = TrainingExample(second.id, first.token_ids + second.token_ids, first_length + second.start)
        with _disable_dropout(self.network):
            unpacked_loss, packed_loss, joined_loss = (
                self._nats(rows) for rows in ([second], [first, second], [joined])
            )
        packed_change, joined_change = packed_loss[-len(unpacked_loss) :] - unpacked_loss, joined_loss - unpacked_loss
        leak = float((packed_change * joined_change).sum() / joined_change.square().sum().clamp(min=1e-12))
        if abs(leak) > _MAX_LEAK_SHARE:  # a NaN is reported as such after the first step
            raise BenchError(
                f"packed rows see one another: {second.id} moves {leak:.0%} towards a row that goes on from {first.id}",
                "--set attention=eager, or --set forward_tokens=1 to train without packing",
            )

    def _nats(self, rows: Sequence[TrainingExample]) -> torch.Tensor:
        """Compute the loss of every supervised token of rows in one pass."""
        return cross_entropy(*self._logits(pack_examples(rows)), reduction="none")

    @torch.no_grad()
    def _evaluate(self, rows: Sequence[TrainingExample]) -> float:
        """Compute the mean loss over the supervised tokens of these rows."""
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
        """Delete the saved state, which is no longer needed."""
        if self.accelerator.is_main_process:
            (self.job.folder / _resume_state.STATE_FILE).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()


@contextmanager
def _disable_dropout(network: torch.nn.Module) -> Iterator[None]:
    """Turn off dropout. Modules with weights stay in training mode: in `eval` bitsandbytes permanently packs 4-bit
    weights on a CPU for inference, and adapters then get no gradient.
    """
    # Attention applies dropout itself, without a dropout module.
    weightless_modules = [
        module for module in network.modules() if module.training and not list(module.parameters(recurse=False))
    ]
    for module in weightless_modules:
        module.training = False
    try:
        yield
    finally:
        for module in weightless_modules:
            module.training = True


def _spread_checkpoints(total: int, count: int) -> tuple[int, ...]:
    """Choose the steps after which intermediate weights are saved, evenly spread, without the last step."""
    return tuple(sorted({round(total * index / (count + 1)) for index in range(1, count + 1)} - {0, total}))
