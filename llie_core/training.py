"""One training loop for every objective, device and number of processes.

    batch ─▶ model.training_outputs(image) ─▶ objective(outputs, batch) ─▶ {"total", terms…}

A run is identified by its train hash; a finished run with the same hash is reused, an interrupted
one resumes. What a step computes depends only on settings, seed and step number (every step seeds
its own random numbers and the order of the data is a function of seed and step), so a resumed CPU
run ends in the same weights, bit for bit.
"""

import csv
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from llie_core.files import atomic, locked, write_text
from llie_core.runs import Run, RunKey, code_fingerprint, content_hash, environment, record

# objective(outputs, batch) → {"total", terms…}. It may offer
#   prepare(model, batches), called once with the untrained model and the first batches (the same
#     on every process);
#   adversary, a module, with adversary_loss(outputs, batch) → {"total", terms…}: before each step
#     of the model, a second Adam moves the adversary by its own loss on the detached outputs.
Objective = Callable[[dict, dict], dict[str, torch.Tensor]]


class TrainingStopped(RuntimeError):
    """A loss or gradient became NaN or infinite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train. `batch_size` is summed over all processes; `grad_clip` 0 means no clipping.

    schedule: "constant", "cosine" from `lr` to `lr_final` over `steps`, or "step": times `decay`
    at each of the `milestones` (numbers of steps).
    precision: "float32", or "mixed" (bfloat16 autocast of the enhancer on GPU; losses in float32).
    validate_every: steps between two looks at the validation part (0: none, the last weights stay).
    """

    steps: int
    batch_size: int
    lr: float = 1e-4
    lr_final: float = 0.0
    schedule: str = "constant"
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    precision: str = "float32"
    workers: int = 0
    checkpoint_every: int = 100
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    validate_every: int = 0

    def __post_init__(self):
        if self.schedule not in ("constant", "cosine", "step"):
            known = "'constant', 'cosine' and 'step'"
            raise ValueError(f"schedule {self.schedule!r}: known are {known}")
        if self.precision not in ("float32", "mixed"):
            raise ValueError(f"precision {self.precision!r}: known are 'float32' and 'mixed'")
        if self.steps < 1 or self.batch_size < 1 or self.checkpoint_every < 1:
            raise ValueError("steps, batch_size and checkpoint_every must be at least 1")
        if self.validate_every < 0:
            raise ValueError("validate_every must not be negative; 0 means never")

    def lr_at(self, step: int) -> float:
        """Learning rate of step 0 … steps − 1."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "step":
            return self.lr * self.decay ** sum(step >= milestone for milestone in self.milestones)
        progress = step / max(1, self.steps - 1)
        return self.lr_final + (self.lr - self.lr_final) * (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Experiment:
    """Enhancer + objective + data: everything `fit` needs for one run.

    data[i] gives one training sample; a data set may offer `sample(index, draw)` instead, where
    `draw` counts epochs × length + index, to vary crops or noise from epoch to epoch.
    identity: what else decides the result (paper settings, data fingerprint, upstream hashes).
    code: names of the modules whose syntax trees enter the train hash.
    planned_steps: steps of the published schedule, when `settings.steps` is a reduced run.
    validate: validate(model in eval mode) → a number, higher is better, on data carved from the
    training set; the weights with the highest one are kept.
    """

    key: RunKey
    model: nn.Module
    objective: Objective
    data: Dataset
    collate: Callable[[list[dict]], dict]
    settings: TrainSettings
    identity: dict = field(default_factory=dict)
    code: tuple[str, ...] = ()
    planned_steps: int | None = None
    validate: Callable[[nn.Module], float] | None = None

    def __post_init__(self):
        if bool(self.settings.validate_every) != (self.validate is not None):
            raise ValueError(f"{self.key}: validate and validate_every go together")

    def train_hash(self, world_size: int = 1) -> str:
        # Loader workers and the checkpoint interval change nothing in the result.
        settings = replace(self.settings, workers=0, checkpoint_every=1)
        return content_hash(
            {
                "settings": asdict(settings),
                "seed": self.key.seed,
                "identity": self.identity,
                "world_size": world_size,
                "code": code_fingerprint(__name__, *self.code),
            }
        )


def fit(experiment: Experiment, device: str | torch.device | None = None, *, quiet=False) -> Run:
    """Train, resume or reuse one run; return it finished. The model ends with its final weights.

    Under torchrun or `launch`, every process calls this; gradients are averaged over processes
    (each takes batch_size / world_size samples) and rank 0 writes the files.
    Raises TrainingStopped on a NaN or infinite loss term or gradient.
    """
    rank, world_size = _join_process_group()
    device = torch.device(device or default_device(rank))
    run = Run(experiment.key)
    train_hash = experiment.train_hash(world_size)
    if rank == 0:
        with locked(run.lock_path, str(run.key)):
            if not run.is_finished(train_hash):
                _Trainer(experiment, run, train_hash, device, rank, world_size, quiet).train()
    elif not run.is_finished(train_hash):
        _Trainer(experiment, run, train_hash, device, rank, world_size, quiet).train()
    load_weights(experiment.model, run.weights_path)
    experiment.model.to(device).eval()
    return run


def default_device(rank: int = 0) -> str:
    """The local CUDA device where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % torch.cuda.device_count()}"


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file (tensors only); names and shapes must match, or one line says how."""
    try:
        tensors = load_file(path)
    except Exception as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    check_tensors(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)


def check_tensors(found: dict, expected: dict, source: object) -> None:
    """Raise ValueError naming the first missing, unexpected or misshapen tensor."""
    for name, tensor in expected.items():
        if name not in found:
            raise ValueError(f"{source}: tensor {name!r} is missing; is this another model's file?")
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"{source}: tensor {name!r} has shape {tuple(found[name].shape)}, "
                f"the model needs {tuple(tensor.shape)}"
            )
    unexpected = sorted(set(found) - set(expected))
    if unexpected:
        raise ValueError(f"{source}: unexpected tensor {unexpected[0]!r}")


class _Step(nn.Module):
    """Enhancer and objective as one module, so that DDP sees a single forward."""

    def __init__(self, model: nn.Module, objective: Objective, adversary, mixed: bool):
        super().__init__()
        self.model, self.mixed = model, mixed
        # In lists: a frozen recognizer or an adversary is not DDP's to register.
        self._objective, self._adversary = [objective], [adversary]

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        image = batch["image"]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.mixed):
            outputs = self.model.training_outputs(image)
        outputs = {k: v.float() if torch.is_tensor(v) else v for k, v in outputs.items()}
        if self._adversary[0] is None:
            return self._objective[0](outputs, batch)
        rival = self._adversary[0].step(outputs, batch)
        terms = self._objective[0](outputs, batch)
        return terms | {f"adversary_{name}": value for name, value in rival.items()}


class _Adversary:
    """The objective's adversary with an optimizer of its own."""

    def __init__(self, objective: Objective, lr: float, device, world_size: int):
        self.module = objective.adversary.to(device).train()
        self.loss, self.world_size = objective.adversary_loss, world_size
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr)

    def step(self, outputs: dict, batch: dict) -> dict[str, torch.Tensor]:
        """One update on outputs that are cut from the model; its loss terms."""
        cut = {k: v.detach() if torch.is_tensor(v) else v for k, v in outputs.items()}
        self.module.requires_grad_(True)
        terms = self.loss(cut, batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        if self.world_size > 1:
            for parameter in self.module.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world_size
        self.optimizer.step()
        self.module.requires_grad_(False)  # the model's loss passes through it, no further
        return terms

    def state(self) -> dict:
        return {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict) -> None:
        self.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


class _Trainer:
    """State of one training: model, optimizer, step, log."""

    def __init__(self, experiment, run, train_hash, device, rank, world_size, quiet):
        self.experiment, self.run, self.train_hash = experiment, run, train_hash
        self.device, self.rank, self.world_size, self.quiet = device, rank, world_size, quiet
        self.settings: TrainSettings = experiment.settings
        if self.settings.batch_size % world_size:
            raise ValueError(
                f"batch_size {self.settings.batch_size} does not divide over {world_size} processes"
            )
        self.model = experiment.model.to(device).train()
        on_gpu = device.type == "cuda"
        if on_gpu:
            self.model = self.model.to(memory_format=torch.channels_last)
        objective, mixed = experiment.objective, on_gpu and self.settings.precision == "mixed"
        for part in vars(objective).values() if hasattr(objective, "__dict__") else ():
            if isinstance(part, nn.Module):  # a frozen recognizer works where its images are
                part.to(device)
        self.adversary = None
        if getattr(objective, "adversary", None) is not None:
            self.adversary = _Adversary(objective, self.settings.lr, device, world_size)
        step = _Step(self.model, objective, self.adversary, mixed)
        self.step_module = DistributedDataParallel(step) if world_size > 1 else step
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.settings.lr, weight_decay=self.settings.weight_decay
        )
        self._prepare_objective()
        self.pending: list[tuple[int, float, dict[str, torch.Tensor]]] = []
        self.best: dict = {}  # step, value, model: the weights that validated best
        self.start_step, self.earlier_seconds = self._resume()

    def _prepare_objective(self) -> None:
        """Show an objective that asks for it the first batches, with the untrained model."""
        if not hasattr(self.experiment.objective, "prepare"):
            return
        seed_everything(self.experiment.key.seed, 0)
        draws = BatchDraws(len(self.experiment.data), self.settings, self.experiment.key.seed)
        data = _Drawn(self.experiment.data)
        first = itertools.islice(iter(draws), min(4, self.settings.steps))
        batches = [self.experiment.collate([data[draw] for draw in batch]) for batch in first]
        moved = [_to_device(batch, self.device) for batch in batches]
        self.experiment.objective.prepare(self.model, moved)

    def train(self) -> None:
        self.began = time.perf_counter()
        if self.rank == 0:
            self._clean()
            self._write_settings()
        batches = self._loader()
        steps = range(self.start_step, self.settings.steps)
        hidden = self.quiet or self.rank > 0 or not sys.stderr.isatty()
        bar = tqdm(steps, desc=str(self.run.key), disable=hidden, leave=False)
        for step, batch in zip(bar, batches, strict=True):
            self._one_step(step, _to_device(batch, self.device))
            last = step + 1 == self.settings.steps
            every = self.settings.validate_every
            if every and (last or (step + 1) % every == 0):
                self._validate(step + 1)
            if last or (step + 1) % self.settings.checkpoint_every == 0:
                self._flush_log()
                self._save_checkpoint(step + 1)
        self._finish()

    def _one_step(self, step: int, batch: dict) -> None:
        seed_everything(self.experiment.key.seed, step, self.rank)
        lr = self.settings.lr_at(step)
        optimizers = [self.optimizer, *([self.adversary.optimizer] if self.adversary else [])]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = lr
        terms = self.step_module(batch)
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        limit = self.settings.grad_clip or math.inf
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.pending.append(
            (step, lr, {**_averaged(terms, self.world_size), "grad_norm": grad_norm})
        )
        # A GPU is asked for the values once in a while, a CPU at once: it stops before the update.
        if self.device.type == "cpu" or len(self.pending) >= 20:
            self._flush_log()
        self.optimizer.step()

    def _validate(self, step: int) -> None:
        """Keep the weights if they do better on the validation part than all before."""
        if self.rank > 0:
            return
        self._flush_log()
        self.model.eval()
        with torch.no_grad():
            value = float(self.experiment.validate(self.model))
        self.model.train()
        _append_rows(self.run.directory / "validation.csv", ["step", "value"], [[step, value]])
        if not self.best or value > self.best["value"]:
            tensors = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best = {"step": step, "value": value, "model": tensors}

    def _flush_log(self) -> None:
        """Bring the pending terms to the CPU, stop if one is not finite, append them to log.csv."""
        if not self.pending:
            return
        names = list(self.pending[0][2])
        values = torch.stack(
            [
                torch.stack([terms[n].detach().float() for n in names])
                for _, _, terms in self.pending
            ]
        ).tolist()
        rows = [[step, lr, *row] for (step, lr, _), row in zip(self.pending, values, strict=True)]
        self.pending = []
        for step, _, *row in rows:
            self._stop_unless_finite(step, dict(zip(names, row, strict=True)))
        if self.rank == 0:
            _append_rows(self.run.log_path, ["step", "lr", *names], rows)

    def _stop_unless_finite(self, step: int, terms: dict[str, float]) -> None:
        bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
        if not bad:
            return
        # A term spoils the total and the gradient too; name the term where there is one.
        named = {n: v for n, v in bad.items() if n not in ("total", "grad_norm")} or bad
        raise TrainingStopped(
            f"{self.run.key}: {', '.join(named)} is {next(iter(named.values()))} at step {step}; "
            f"training stopped, the checkpoint after {self._checkpoint_step()} steps is kept"
        )

    def _loader(self) -> Iterator[dict]:
        draws = BatchDraws(
            len(self.experiment.data), self.settings, self.experiment.key.seed,
            self.start_step, self.rank, self.world_size,
        )  # fmt: skip
        return iter(
            DataLoader(
                _Drawn(self.experiment.data),
                batch_sampler=draws,
                collate_fn=self.experiment.collate,
                num_workers=self.settings.workers,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_one_thread,
            )
        )

    def _resume(self) -> tuple[int, float]:
        """(step, seconds) to continue from: those of a checkpoint of the same hash, or zeros."""
        state = self._read_checkpoint()
        if self.world_size > 1:
            dist.barrier()  # nobody cleans up before everybody has read
        if state.get("train_hash") != self.train_hash:
            return 0, 0.0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.adversary:
            self.adversary.load(state["adversary"])
        self.best = state["best"]
        return state["step"], state["seconds"]

    def _read_checkpoint(self) -> dict:
        path = self.run.checkpoint_path
        if not path.exists():
            return {}
        try:
            return torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{path}: not a checkpoint of tensors ({str(error).splitlines()[0]}); "
                "delete it to train from the start"
            ) from error

    def _clean(self) -> None:
        """Drop log rows newer than the checkpoint, or all that another hash left."""
        if self.start_step:
            _truncate_log(self.run.log_path, self.start_step)
            _truncate_log(self.run.directory / "validation.csv", self.start_step + 1)
            return
        for name in (
            "stamp.json",
            "log.csv",
            "validation.csv",
            "checkpoint.pt",
            "scores.csv",
            "scores.json",
        ):
            (self.run.directory / name).unlink(missing_ok=True)

    def _save_checkpoint(self, step: int) -> None:
        if self.rank > 0:
            return
        state = {
            "train_hash": self.train_hash,
            "step": step,
            "seconds": self._seconds(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "adversary": self.adversary.state() if self.adversary else {},
            "best": self.best,
        }
        with atomic(self.run.checkpoint_path) as temporary:
            torch.save(state, temporary)

    def _checkpoint_step(self) -> int:
        return self._read_checkpoint().get("step", 0)

    def _seconds(self) -> float:
        return round(self.earlier_seconds + time.perf_counter() - self.began, 2)

    def _write_settings(self) -> None:
        content = {"train": asdict(self.settings), **self.experiment.identity}
        self.run.write_json("settings.json", record(self.run.key, **content))

    def _finish(self) -> None:
        if self.rank == 0:
            state = self.best["model"] if self.best else self.model.state_dict()
            tensors = {k: v.contiguous().cpu() for k, v in state.items()}
            with atomic(self.run.weights_path) as temporary:
                save_file(tensors, temporary)
            stamp = record(
                self.run.key,
                train_hash=self.train_hash,
                steps_done=self.settings.steps,
                steps_planned=self.experiment.planned_steps or self.settings.steps,
                resumed_at=self.start_step,
                selected_step=self.best.get("step", self.settings.steps),
                seconds=self._seconds(),
                precision=self.settings.precision if self.device.type == "cuda" else "float32",
                world_size=self.world_size,
                **environment(self.device),
            )
            self.run.write_json("stamp.json", stamp)
        if self.world_size > 1:
            dist.barrier()


class BatchDraws:
    """Lists of draws for each step: shuffled epochs without a gap, one slice per process."""

    def __init__(self, length, settings: TrainSettings, seed, start_step=0, rank=0, world_size=1):
        if length < 1:
            raise ValueError("the training set is empty")
        self.length, self.settings, self.seed = length, settings, seed
        self.start_step, self.rank, self.world_size = start_step, rank, world_size
        self._epoch, self._order = -1, None

    def __len__(self) -> int:
        return self.settings.steps - self.start_step

    def __iter__(self) -> Iterator[list[int]]:
        size = self.settings.batch_size
        for step in range(self.start_step, self.settings.steps):
            draws = [self._draw(n) for n in range(step * size, (step + 1) * size)]
            yield draws[self.rank :: self.world_size]

    def _draw(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return epoch * self.length + int(self._order[place])


class _Drawn(Dataset):
    """A data set asked by draw (epoch × length + index) instead of by index."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: int) -> dict:
        index = draw % len(self.data)
        if hasattr(self.data, "sample"):
            return self.data.sample(index, draw)
        return self.data[index]


def seed_everything(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch, NumPy and random from (seed, step, rank)."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


def launch(function: Callable, *args, processes: int = 1):
    """Call `function(*args)` in `processes` processes of one group; return rank 0's result.

    Works from a notebook (processes are spawned, so function and args must be picklable).
    """
    if processes == 1:
        return function(*args)
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        start_method="spawn",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
    )
    return elastic_launch(config, function)(*args)[0]


def _join_process_group() -> tuple[int, int]:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _averaged(terms: dict[str, torch.Tensor], world_size: int) -> dict[str, torch.Tensor]:
    """Loss terms as means over the processes, for the log."""
    detached = {name: value.detach() for name, value in terms.items()}
    if world_size > 1:
        stacked = torch.stack(list(detached.values()))
        dist.all_reduce(stacked)
        detached = dict(zip(detached, stacked / world_size, strict=True))
    return detached


def _to_device(batch: dict, device: torch.device) -> dict:
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


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _append_rows(path: Path, header: list[str], rows: list[list[float]]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(header)
        writer.writerows([[int(row[0]), *(f"{v:.8g}" for v in row[1:])] for row in rows])


def _truncate_log(path: Path, step: int) -> None:
    """Drop rows at or after `step`, written after the checkpoint that training resumes from."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [x for x in lines[1:] if x.endswith("\n") and int(x.split(",", 1)[0]) < step]
        write_text(path, "".join([lines[0], *kept]))
