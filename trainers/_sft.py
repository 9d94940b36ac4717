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
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.nn.functional import cross_entropy

from harness.errors import BenchError
from harness.types import Job, Row, Step, Trained
from trainers import _network, _optimizer, _state
from trainers._options import Full
from trainers._packing import Packed, pack, share, windows
from trainers._watch import Watch

# A packed row that could see its neighbour moves by tenths of a nat; rounding moves it by hundredths.
_BLIND = {torch.float32: 1e-3, torch.bfloat16: 0.05}
_READ_EVERY = 10


def _nothing(network: Any) -> None:
    """Nothing to check."""


@dataclass(frozen=True, slots=True)
class Method:
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
    check: Callable[[Any], None] = _nothing
    quantised: str | None = None


def run(job: Job, method: Method) -> Trained:
    """Train and write.

    Raises:
        BenchError: the loss is not finite or rises for good, memory or disk ends, something should learn and does
            not, packed rows see one another, or the recipe asks for what this machine cannot run.
    """
    accelerator = _accelerator(job.options)
    if accelerator.num_processes != job.processes:
        raise BenchError(
            f"{job.processes} processes were started, {accelerator.num_processes} found one another",
            "leave --gpus out, or check what accelerate finds (accelerate env)",
        )
    with _memory_told(job.options, accelerator.num_processes):
        return _Training(job, method, accelerator).run()


class _Training:
    """One training in one process; several of them, one a GPU, train one network."""

    def __init__(self, job: Job, method: Method, accelerator: Accelerator) -> None:
        options: Full = job.options
        _state.seed(job.seed)
        network = method.build(job, accelerator.device)
        network.train()
        if options.gradient_checkpointing:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.parameters = _network.parameters(network)
        optimizer = _optimizer.build(network, options, accelerator.num_processes)
        self.job, self.method, self.accelerator, self.options = job, method, accelerator, options
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.plan = windows(job.rows, options.batch, options.epochs, job.seed)[: options.max_steps]
        self.kept: dict[int, Path] = {}

    def run(self) -> Trained:
        """Every step from where a killed run stood, then the weights."""
        first = _state.load(self.accelerator, self.network, self.optimizer, self.job.folder) + 1
        if first == 1:
            self._require_blind()
        # The learning of a resumed run was seen in its first one.
        unseen = first == 1
        watch = Watch(self._report, len(self.plan), _READ_EVERY if self.accelerator.device.type == "cuda" else 1)
        keep = _spread(len(self.plan), self.job.checkpoints)
        for number in range(first, len(self.plan) + 1):
            window = self.plan[number - 1]
            rate = _optimizer.learning_rate(number, len(self.plan), self.options)
            loss, norm = self._step(window, rate, check=unseen)
            unseen = False
            watch.add(number, loss, norm, rate, window)
            if number in keep:
                watch.flush()
                self._save(self._checkpoint(number))
            if (
                self.options.checkpoint_steps
                and number % self.options.checkpoint_steps == 0
                and number < len(self.plan)
            ):
                watch.flush()
                _state.save(self.accelerator, self.network, self.optimizer, number, self.job.folder)
        watch.flush()
        held_out = self._evaluate(self.job.held_out) if self.job.held_out else None
        self._save(self.job.folder / "weights")
        self._finish()
        return Trained(
            kind=self.method.kind,
            weights=self.job.folder / "weights",
            checkpoints={number: self._checkpoint(number) for number in keep},
            trainable=self.trainable,
            parameters=self.parameters,
            held_out_loss=held_out,
            quantised=self.method.quantised,
        )

    def _step(self, window: Sequence[Row], rate: float, *, check: bool) -> tuple[torch.Tensor, torch.Tensor]:
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
        self.optimizer.zero_grad(set_to_none=True)
        return self.accelerator.reduce(loss, "sum"), norm

    def _backward(self, window: Sequence[Row]) -> torch.Tensor:
        """Add the gradient of the window's mean loss; this process's part of that loss."""
        accelerator = self.accelerator
        count = sum(len(row.token_ids) - row.start for row in window)
        passes = share(window, accelerator.process_index, accelerator.num_processes, self.options.forward_tokens)
        total = torch.zeros((), device=accelerator.device)
        for place, packed in enumerate(passes, 1):
            last = place == len(passes)
            with nullcontext() if last else accelerator.no_sync(self.network):
                loss = self._loss(packed) / count
                # Processes are averaged when gradients are shared; the sum is wanted.
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        return total

    def _loss(self, packed: Packed) -> torch.Tensor:
        """Summed over the supervised tokens, in nats; the vocabulary's logits are computed for these alone."""
        return cross_entropy(*self._logits(packed), reduction="sum")

    def _logits(self, packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
        """([supervised, vocabulary] in fp32, labels)."""
        here = packed.to(self.accelerator.device)
        with self._autocast():
            out = self.network(
                input_ids=here.ids, position_ids=here.positions, logits_to_keep=here.predict, use_cache=False
            )
        return out.logits[0].float(), here.labels

    def _autocast(self) -> Any:
        wanted = self.options.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16) if wanted else nullcontext()

    @torch.no_grad()
    def _require_blind(self) -> None:
        """The second of two packed rows is scored as if it stood alone.

        Raises:
            BenchError: it is not: it sees the first one.
        """
        if len(self.job.rows) < 2:
            return
        first, second = self.job.rows[:2]
        logits, labels = self._logits(pack([first, second]))
        together = cross_entropy(logits, labels, reduction="none")[-(len(second.token_ids) - second.start) :]
        alone = cross_entropy(*self._logits(pack([second])), reduction="none")
        apart = float((together - alone).abs().mean())
        exact = self.options.precision == "fp32" and self.options.weights == "fp32"
        if apart > _BLIND[torch.float32 if exact else torch.bfloat16]:
            raise BenchError(
                f"packed rows see one another: {second.id} moves by {apart:.3f} nats a token beside {first.id}",
                "--set attention=eager, or --set forward_tokens=1 to train without packing",
            )

    @torch.no_grad()
    def _evaluate(self, rows: Sequence[Row]) -> float:
        """Mean loss over the supervised tokens of these rows."""
        self.network.eval()
        accelerator = self.accelerator
        total = torch.zeros((), device=accelerator.device)
        for packed in share(rows, accelerator.process_index, accelerator.num_processes, self.options.forward_tokens):
            total += self._loss(packed)
        self.network.train()
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
            (self.job.folder / _state.FILE).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()


def _accelerator(options: Full) -> Accelerator:
    """DDP over the processes there are, or FSDP2 where the recipe shards."""
    # accelerate looks for several processes on a CPU only when it is told to stay there.
    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if options.sharding == "none":
        return Accelerator(cpu=cpu)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    accelerator = Accelerator(cpu=cpu, fsdp_plugin=plugin)
    if accelerator.num_processes == 1:
        raise BenchError("sharding = fsdp needs several GPUs", "--gpus 2 or more, or --set sharding=none")
    return accelerator


def _spread(total: int, wanted: int) -> tuple[int, ...]:
    """The steps after which intermediate weights are kept, evenly spread, the last step left out."""
    return tuple(sorted({round(total * place / (wanted + 1)) for place in range(1, wanted + 1)} - {0, total}))


@contextmanager
def _memory_told(options: Full, processes: int) -> Iterator[None]:
    """Turn what a full device says into one line with the way out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError; a CPU raises the plain one
        if not _is_out_of_memory(error):
            raise
        ways = []
        if options.forward_tokens > 1024:
            ways.append(f"--set forward_tokens={options.forward_tokens // 2}")
        if not options.gradient_checkpointing:
            ways.append("--set gradient_checkpointing=true")
        ways.append("--set sharding=fsdp with --gpus" if processes == 1 else "a smaller model")
        raise BenchError("training ran out of memory", ", or ".join(ways)) from error


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text
