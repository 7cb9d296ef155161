"""The training loop, one for every objective, device and number of processes.

    batch ─▶ model.training_outputs(image) ─▶ objective(outputs, batch) ─▶ {"total", terms…}

What a step computes depends only on settings, seed and step number (sampling.py), so a training
that was interrupted and resumed on a CPU ends in the same weights, bit for bit; under `max_minutes`
the learning rate depends on the time too. Batch-norm
statistics are computed anew for every validation and at the end (batchnorm.py). Reuse, locks and
stamps are in fit.py, the log in records.py.

Mixed precision: model and objective run under bfloat16 autocast, an adversary and a recognizer
with them. Weights, losses, last layers, validation and all scores are in float32. Measured on one
thread of a processor with AVX512_BF16 (seconds of the processor a step, float32 / mixed):

    NEID 8 × 96²          .52 / .30      Zero-DCE++ 4 × 160²          .33 / .17
    JCRNet 4 × 64²       1.94 / .98      with MTCNN's loss, 2:1      1.10 / .81
    DRGN, first stage    1.23 / .72      Zero-DCE 8 × 96×192         1.22 / .64

and, after 60 steps from three seeds, mean ± deviation of the loss over the last twelve and PSNR on
the validation pairs: LW-DRGN −.0547 ± .031 / −.0544 ± .032 and 18.56 ± .42 / 18.55 ± .43 dB
(at one seed at most .0009 and .02 dB apart); NEID .0843 ± .0034 / .0830 ± .0059 and 11.7 ± 2.7 /
13.0 ± 1.0 dB.
"""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from llie_core.dataset import SizedDataset
from llie_core.devices import PRECISIONS
from llie_core.engine.averaging import Average
from llie_core.engine.batchnorm import (
    MOST_BATCHES,
    recompute_statistics,
    restored,
    tracked_norms,
)
from llie_core.engine.distributed import averaged, largest
from llie_core.engine.records import TrainingLog, read_checkpoint, write_checkpoint
from llie_core.engine.runs import Run
from llie_core.engine.sampling import BatchDraws, Drawn, seed_everything
from llie_core.engine.settings import Section, free
from llie_core.signals import ENDING, deferred

Terms = dict[str, Tensor]
SCHEDULES = ("constant", "cosine", "step")


class Objective(Protocol):
    """objective(outputs, batch) → scalars: `total`, which is minimised, and its named terms."""

    def __call__(self, outputs: dict, batch: dict, /) -> Terms: ...


@runtime_checkable
class HoldsModules(Protocol):
    """An objective with networks of its own, such as a frozen recognizer; moved to the device."""

    modules: tuple[nn.Module, ...]


@runtime_checkable
class Prepared(Protocol):
    """An objective that asks for the untrained model and the first batches, once."""

    def prepare(self, model: nn.Module, batches: list[dict], /) -> None: ...


@runtime_checkable
class RunsModel(Protocol):
    """An objective that runs the model itself, where its loss needs more than one pass."""

    def outputs(self, model: Any, batch: dict, /) -> dict: ...


@runtime_checkable
class Adversarial(Protocol):
    """An objective with an adversary: a second Adam moves it before each step of the model, by its
    own loss on the detached outputs."""

    adversary: nn.Module

    def adversary_loss(self, outputs: dict, batch: dict, /) -> Terms: ...


@dataclass(frozen=True)
class TrainSettings(Section):
    """How to train.

    batch_size: summed over all processes; accumulate: parts in which a process computes its share
    of a batch, one after the other, to save memory (batch norm sees a part); planned_steps: of the
    published schedule, where `steps` is a reduced run (0: the same); planned_pixels: of all crops
    of that schedule, where it has crops; schedule: "constant", "cosine" from `lr` to `lr_final`
    over `steps`, or "step": times `decay` at each of the `milestones`; grad_clip: largest gradient
    norm, 0 for no clipping; ema: decay of the average of the weights that is validated and kept
    (averaging.py), 0 for the weights themselves; precision: "float32", "mixed" (bfloat16 autocast,
    see above), or "auto": mixed where the device multiplies bfloat16 itself (devices.py);
    validate_every: steps between two evaluations of the validation part (0: none, the last weights
    are kept); max_minutes: after which the training ends with fewer steps, 0 for no limit (its
    schedule follows the time, so that a step no longer depends on settings, seed and step number
    alone, and such a run cannot be repeated bit for bit); checkpoint_seconds: between two
    checkpoints.
    """

    steps: int = 100
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 1e-3
    lr_final: float = 0.0
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    ema: float = 0.0
    precision: str = "float32"
    validate_every: int = 0
    max_minutes: float = 0.0
    planned_steps: int = free(0)
    planned_pixels: int = free(0)
    checkpoint_seconds: float = free(60.0)

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("schedule", SCHEDULES), ("precision", ("auto", *PRECISIONS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: choose one of {', '.join(known)}")
        if min(self.steps, self.batch_size, self.accumulate) < 1:
            raise ValueError("steps, batch_size and accumulate must be at least 1")
        if self.validate_every < 0 or self.max_minutes < 0:
            raise ValueError("validate_every and max_minutes must not be negative; 0 means never")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: a decay from 0 (none) to below 1, not {self.ema}")

    def lr_at(self, step: float) -> float:
        """Learning rate of step 0 … steps − 1."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "step":
            return self.lr * self.decay ** sum(step >= milestone for milestone in self.milestones)
        progress = step / max(1, self.steps - 1)
        return self.lr_final + (self.lr - self.lr_final) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Experiment:
    """Model + objective + data: everything that one training needs.

    data: data[i] is a training sample; a data set may offer `sample(index, draw)` instead, where
    `draw` counts epochs × length + index, to vary crops or noise from epoch to epoch.
    validate: (model in eval mode) → a number, higher is better, on data carved from the training
    set; the weights with the highest one are kept.
    workers: processes that load the data; they change no number.
    """

    model: nn.Module
    objective: Objective
    data: SizedDataset
    collate: Callable[[list[dict]], dict]
    settings: TrainSettings
    seed: int = 0
    validate: Callable[[nn.Module], float] | None = None
    workers: int = 0

    def __post_init__(self):
        if bool(self.settings.validate_every) != (self.validate is not None):
            raise ValueError("validate and validate_every go together")


class Training:
    """One training on one process of `world_size`: model, optimizer, step."""

    def __init__(
        self, experiment: Experiment, run: Run, train_hash: str, device: torch.device,
        precision: str, rank: int = 0, world_size: int = 1, quiet: bool = False,
    ):  # fmt: skip
        self.experiment, self.run, self.train_hash = experiment, run, train_hash
        self.device, self.rank, self.world_size, self.quiet = device, rank, world_size, quiet
        self.precision = precision
        self.settings = experiment.settings
        parts = world_size * self.settings.accumulate
        if self.settings.batch_size % parts:
            raise ValueError(
                f"batch_size {self.settings.batch_size} does not divide over {world_size} "
                f"processes, accumulate {self.settings.accumulate}"
            )
        self._build()
        self.log = TrainingLog(run, device, writes=rank == 0)
        self.best: dict[str, Any] = {}  # step, value, model: the weights that validated best
        self.start = self.done = 0  # steps
        self.earlier_seconds = 0.0

    def _build(self) -> None:
        on_gpu = self.device.type == "cuda"
        mixed = self.precision == "mixed"
        self.model = self.experiment.model.to(self.device).train()
        if on_gpu or mixed:
            self.model = self.model.to(memory_format=torch.channels_last)
        objective = self.experiment.objective
        for module in objective.modules if isinstance(objective, HoldsModules) else ():
            module.to(self.device)
        self.adversary = None
        if isinstance(objective, Adversarial):
            if self.settings.accumulate > 1:
                raise ValueError("accumulate: an adversary moves once for a whole batch; set it 1")
            self.adversary = Adversary(objective, self.settings.lr, self.device, self.world_size)
        self.norms = tracked_norms(self.model)
        self.plain_step = step = Step(self.model, objective, self.adversary, mixed)
        # DDP and Step share no class that has `no_sync`.
        self.step_module: Any = DistributedDataParallel(step) if self.world_size > 1 else step
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.settings.lr, weight_decay=self.settings.weight_decay,
            fused=True if on_gpu or mixed else None,
        )  # fmt: skip
        self.average = Average(self.model, self.settings.ema) if self.settings.ema else None

    # The loop ----------------------------------------------------------------------------------

    def train(self) -> None:
        """Run the steps that are left; the model ends with the weights to be kept.

        Raises:
            Interrupted: a signal arrived; the step was completed and a checkpoint written.
        """
        self._prepare_objective()
        self.resume()
        self.began = self.saved = time.perf_counter()
        self.share, _ = self._agreed(False)  # of max_minutes, as it was after the last step
        steps = range(self.start, self.settings.steps)
        hidden = self.quiet or self.rank > 0 or not sys.stderr.isatty()
        progress = tqdm(steps, desc=str(self.run), disable=hidden, leave=False)
        with deferred() as signals, progress as bar:
            for step, batch in zip(bar, self._batches(), strict=True):
                self.step(step, batch)
                self.done = step + 1
                self.share, stop = self._agreed(bool(signals))
                last = self.done == self.settings.steps or self.share >= 1
                every = self.settings.validate_every
                if every and (last or self.done % every == 0):
                    self.validate(self.done)
                waited = time.perf_counter() - self.saved
                if last or stop or waited > self.settings.checkpoint_seconds:
                    self.save(self.done)
                if last or stop:
                    break
        if self.best:
            self.model.load_state_dict(self.best["model"])
        elif self.rank == 0:
            if self.average:
                self.average.swap()
            self._fit_statistics()

    def step(self, step: int, batch: dict) -> None:
        """One update of the model, and of the adversary before it."""
        seed_everything(self.experiment.seed, step, self.rank)
        lr = self.settings.lr_at(max(step, self.share * (self.settings.steps - 1)))
        optimizers = [self.optimizer, *([self.adversary.optimizer] if self.adversary else [])]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        terms = averaged(self._gradients(batch), self.world_size)
        if limit := self.settings.grad_clip:
            terms["grad_norm"] = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # Raises before the update where a term is not finite.
        self.log.add(step, lr, terms)
        self.optimizer.step()
        if self.average:
            self.average.update(step)

    def _gradients(self, batch: dict) -> Terms:
        """Add up the gradients of a batch, part by part; the terms, means over the parts."""
        parts = split(batch, self.settings.accumulate)
        sums: Terms = {}
        for number, part in enumerate(parts, 1):
            last = number == len(parts) or self.world_size == 1
            with nullcontext() if last else self.step_module.no_sync():
                terms = self.step_module(to_device(part, self.device))
                (terms["total"] / len(parts)).backward()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(parts)
        return sums

    def validate(self, step: int) -> None:
        """Keep the weights if they do better on the validation part than all before."""
        if self.rank > 0 or self.experiment.validate is None:
            return
        with self.average.in_use() if self.average else nullcontext(), restored(self.norms):
            self._fit_statistics()
            self.model.eval()
            with torch.no_grad():
                value = float(self.experiment.validate(self.model))
            self.log.add_validation(step, value)
            if not self.best or value > self.best["value"]:
                tensors = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
                self.best = {"step": step, "value": value, "model": tensors}
        self.model.train()

    def _fit_statistics(self) -> None:
        """Batch-norm statistics of the weights at hand, from the first batches of the training; in
        float32, as everything is evaluated."""
        if self.norms:
            epoch = math.ceil(len(self.experiment.data) / self.settings.batch_size)
            batches = self._first_batches(min(MOST_BATCHES, epoch))
            recompute_statistics(self.model, self.norms, self.plain_step.run_model, batches)

    # Interruption ------------------------------------------------------------------------------

    def save(self, step: int) -> None:
        """Write a checkpoint after `step` steps.

        Raises:
            TrainingStopped: a weight is not finite.
        """
        self.log.flush()
        if not all(torch.isfinite(p).all() for p in self.model.parameters()):
            self.log.stop("a weight is not finite", step - 1)
        self.saved = time.perf_counter()
        if self.rank > 0:
            return
        state = {
            "train_hash": self.train_hash,
            "step": step,
            "seconds": self.seconds(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "adversary": self.adversary.state_dict() if self.adversary else {},
            "average": self.average.values if self.average else [],
            "best": self.best,
        }
        write_checkpoint(self.run.checkpoint_path, state)

    def resume(self) -> None:
        """Go on from a checkpoint of the same hash; what another hash left is removed."""
        state = read_checkpoint(self.run.checkpoint_path, self.device)
        if self.world_size > 1:
            dist.barrier()  # no process cleans up before all have read
        if state.get("train_hash") == self.train_hash:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.adversary:
                self.adversary.load_state_dict(state["adversary"])
            if self.average:
                self.average.values = state["average"]
            self.best = state["best"]
            self.start = self.done = state["step"]
            self.earlier_seconds = state["seconds"]
        self.log.restart(self.start)

    def seconds(self) -> float:
        """Time spent so far, that of interrupted calls included."""
        return round(self.earlier_seconds + time.perf_counter() - self.began, 2)

    def _agreed(self, stop: bool) -> tuple[float, bool]:
        """How much of `max_minutes` has passed, at most 1 (0 without such a limit), and whether to
        stop: the same in all processes."""
        limit = 60 * self.settings.max_minutes
        share = min(1.0, self.seconds() / limit) if limit else 0.0
        share, stopped = largest([share, float(stop)], self.world_size)
        return share, bool(stopped)

    # Data --------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[dict]:
        data, settings = Drawn(self.experiment.data), self.settings
        draws = BatchDraws(
            len(data), settings.batch_size, settings.steps, self.experiment.seed, self.start,
            self.rank, self.world_size,
        )  # fmt: skip
        if self.experiment.workers:
            data[0]  # fills `Cached` sets before the processes copy them
        return iter(
            DataLoader(
                data,
                batch_sampler=draws,
                collate_fn=self.experiment.collate,
                num_workers=self.experiment.workers,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_start_worker,
            )
        )

    def _first_batches(self, count: int) -> Iterator[dict]:
        """The first batches of the training, the same on every process."""
        seed_everything(self.experiment.seed, 0)
        settings, data = self.settings, Drawn(self.experiment.data)
        draws = BatchDraws(len(data), settings.batch_size, count, self.experiment.seed)
        for batch in draws:
            yield to_device(self.experiment.collate([data[draw] for draw in batch]), self.device)

    def _prepare_objective(self) -> None:
        """Show an objective that asks for it the first batches."""
        if isinstance(self.experiment.objective, Prepared):
            batches = list(self._first_batches(min(4, self.settings.steps)))
            self.experiment.objective.prepare(self.model, batches)


class Step(nn.Module):
    """Model and objective as one module, so that DDP sees a single forward."""

    def __init__(self, model: nn.Module, objective: Objective, adversary, mixed: bool):
        super().__init__()
        self.model, self.mixed = model, mixed
        # In lists: a frozen recognizer or an adversary is not DDP's to register.
        self._objective, self._adversary = [objective], [adversary]

    def outputs(self, batch: dict) -> dict:
        """What the model makes of a batch, in float32."""
        image = batch["image"]
        if isinstance(self._objective[0], RunsModel):
            outputs = self._objective[0].outputs(self.model, batch)
        else:
            # nn.Module's stub gives its attributes no type that can be called.
            outputs = self.model.training_outputs(image)  # type: ignore[operator]
        return {k: v.float() if torch.is_tensor(v) else v for k, v in outputs.items()}

    def run_model(self, batch: dict) -> None:
        """Run the model without an update; a recognizer in training is run by its objective."""
        outputs, objective = self.outputs(batch), self._objective[0]
        if isinstance(objective, HoldsModules) and self.model in objective.modules:
            objective(outputs, batch)

    def forward(self, batch: dict) -> Terms:
        device, rival = batch["image"].device, self._adversary[0]
        with autocast(device, self.mixed):
            outputs = self.outputs(batch)
        adversary_terms = rival.step(outputs, batch, self.mixed) if rival else {}
        with autocast(device, self.mixed):
            terms = self._objective[0](outputs, batch)
        return terms | {f"adversary_{name}": value for name, value in adversary_terms.items()}


class Adversary:
    """The objective's adversary with an optimizer of its own."""

    def __init__(self, objective: Adversarial, lr: float, device, world_size: int):
        self.module = objective.adversary.to(device).train()
        self.loss, self.world_size = objective.adversary_loss, world_size
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr)

    def step(self, outputs: dict, batch: dict, mixed: bool) -> Terms:
        """One update on outputs that are cut from the model; its loss terms."""
        cut = {k: v.detach() if torch.is_tensor(v) else v for k, v in outputs.items()}
        self.module.requires_grad_(True)
        with autocast(batch["image"].device, mixed):
            terms = self.loss(cut, batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        if self.world_size > 1:
            for parameter in self.module.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= self.world_size
        self.optimizer.step()
        self.module.requires_grad_(False)  # the model's loss passes through it, no further
        return terms

    def state_dict(self) -> dict:
        return {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def autocast(device: torch.device, mixed: bool) -> torch.autocast:
    """bfloat16 autocast, or none; weights that it has cast are cast anew once it is left."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)


def split(batch: dict, parts: int) -> list[dict]:
    """A batch as parts of equal size; every value is a tensor or a list with an entry a sample."""
    if parts == 1:
        return [batch]
    size = len(batch["image"]) // parts
    cuts = [slice(k * size, (k + 1) * size) for k in range(parts)]
    return [{name: value[cut] for name, value in batch.items()} for cut in cuts]


def to_device(batch: dict, device: torch.device) -> dict:
    """A batch with all its tensors on a device; images with channels last in memory."""

    def move(value):
        if torch.is_tensor(value):
            return value.to(device, non_blocking=True)
        if isinstance(value, dict):
            return {k: move(v) for k, v in value.items()}
        if isinstance(value, list):
            return [move(v) for v in value]
        return value

    moved = move(batch)
    moved["image"] = moved["image"].contiguous(memory_format=torch.channels_last)
    return moved


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    # A signal to all processes must not take the data from the step that ends in a checkpoint.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
