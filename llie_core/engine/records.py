"""What a training writes besides its weights: log, validation curve, checkpoint."""

import csv
import hashlib
import io
import math
import sys
from pathlib import Path
from typing import NoReturn

import torch

from llie_core.engine.runs import Run, write_record
from llie_core.files import appended, atomic, write_text

GPU_ROWS = 20  # steps after which a GPU is asked for its loss terms


class TrainingStopped(RuntimeError):
    """A loss, gradient or weight became NaN or infinite; the last good checkpoint is kept."""


class TrainingLog:
    """log.csv (step, lr, total, each term; grad_norm where it is clipped) and validation.csv
    (step, value) of a run.

    A GPU is asked for the values once in a while; on a CPU a step with a value that is not finite
    raises TrainingStopped before the update.
    """

    def __init__(self, run: Run, device: torch.device, writes: bool = True):
        self.run, self.writes = run, writes
        self.rows_before_flush = 1 if device.type == "cpu" else GPU_ROWS
        self._pending: list[tuple[int, float, dict[str, torch.Tensor]]] = []

    def restart(self, step: int) -> None:
        """Drop what is newer than the checkpoint to go on from, at step 0 all of it; and the error
        of an earlier call."""
        if not self.writes:
            return
        if step:
            _truncate(self.run.log_path, step)
            _truncate(self.run.validation_path, step + 1)
        else:
            left = [self.run.log_path, self.run.validation_path, self.run.checkpoint_path]
            for path in [*left, self.run.progress_path, self.run.directory / "stamp.json"]:
                path.unlink(missing_ok=True)
        seconds = self.run.read_progress().get("seconds", 0.0)
        write_progress(self.run.progress_path, step, seconds)

    def add(self, step: int, lr: float, terms: dict[str, torch.Tensor]) -> None:
        """Take the terms of a step."""
        self._pending.append((step, lr, terms))
        if len(self._pending) >= self.rows_before_flush:
            self.flush()

    def add_validation(self, step: int, value: float) -> None:
        """Take the validation part's value after `step` steps."""
        self.flush()
        if self.writes:
            _append(self.run.validation_path, ["step", "value"], [[step, value]])

    def flush(self) -> None:
        """Bring the pending terms to the CPU, stop where one is not finite, append them."""
        if not self._pending:
            return
        names = list(self._pending[0][2])
        values = torch.stack(
            [
                torch.stack([terms[n].detach().float() for n in names])
                for _, _, terms in self._pending
            ]
        ).tolist()
        rows = [[step, lr, *row] for (step, lr, _), row in zip(self._pending, values, strict=True)]
        self._pending = []
        for step, _, *row in rows:
            self._stop_unless_finite(int(step), dict(zip(names, row, strict=True)))
        if self.writes:
            _append(self.run.log_path, ["step", "lr", *names], rows)

    def _stop_unless_finite(self, step: int, terms: dict[str, float]) -> None:
        bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
        if not bad:
            return
        # A term spoils the total and the gradient too; name the term where there is one.
        named = {n: v for n, v in bad.items() if n not in ("total", "grad_norm")} or bad
        self.stop(f"{', '.join(named)} is {next(iter(named.values()))}", step)

    def stop(self, reason: str, step: int) -> NoReturn:
        """Raise TrainingStopped."""
        kept = read_checkpoint(self.run.checkpoint_path, torch.device("cpu")).get("step", 0)
        raise TrainingStopped(
            f"{self.run}: {reason} at step {step}; training stopped, the checkpoint after {kept} "
            "steps is kept"
        )


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a checkpoint: the SHA-256 of what follows (32 bytes), then torch's own format; and
    beside it how far the training is, to be shown."""
    content = io.BytesIO()
    torch.save(state, content)
    with atomic(path) as temporary:
        temporary.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
    write_progress(path.with_name("progress.json"), state["step"], state["seconds"])


def write_progress(path: Path, step: int, seconds: float, error: str = "") -> None:
    """Write how far a training is; error: why it failed."""
    write_record(path, {"step": step, "seconds": seconds, "error": error})


def read_checkpoint(path: Path, device: torch.device) -> dict:
    """A checkpoint's state, tensors only; empty where there is none.

    A damaged one is set aside, with one line that says so.
    """
    if not path.exists():
        return {}
    content = path.read_bytes()
    try:
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError("its SHA-256 is another")
        state = torch.load(io.BytesIO(content[32:]), map_location=device, weights_only=True)
        if not isinstance(state, dict) or "train_hash" not in state:
            raise ValueError("it holds no training state")
    except Exception as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        print(f"{path}: not a whole checkpoint ({reason}); set aside as {aside.name}, training "
              "starts anew", file=sys.stderr)  # fmt: skip
        return {}
    return state


def _append(path: Path, header: list[str], rows: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or not path.stat().st_size
    with appended(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(header)
        writer.writerows([[int(row[0]), *(f"{v:.8g}" for v in row[1:])] for row in rows])


def _truncate(path: Path, step: int) -> None:
    """Drop rows at or after `step`, written after the checkpoint that training resumes from."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [x for x in lines[1:] if x.endswith("\n") and int(x.split(",", 1)[0]) < step]
    write_text(path, "".join([*lines[:1], *kept]))
