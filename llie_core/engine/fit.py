"""Train one run, resume it, or reuse it: hashes, locks and stamps around the loop."""

import sys
from contextlib import nullcontext, suppress
from dataclasses import replace

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from llie_core.devices import PRECISIONS, precision_on
from llie_core.engine.averaging import Average
from llie_core.engine.batchnorm import recompute_statistics, tracked_norms
from llie_core.engine.distributed import default_device, first_says, join_process_group
from llie_core.engine.loop import Experiment, Training
from llie_core.engine.records import read_checkpoint, write_progress
from llie_core.engine.reuse import changed_since, identity, trees
from llie_core.engine.runs import Run, environment, existing_hash
from llie_core.engine.sampling import BatchDraws, Drawn
from llie_core.files import atomic, locked
from llie_core.hashing import content_hash, file_hash
from llie_core.tensors import load_weights


def train_hash(
    experiment: Experiment, settings_hash: str = "", precision: str = "", world_size: int = 1
) -> str:
    """What decides the weights: values and code of everything behind an experiment.

    settings_hash: the run's, which covers options that decide only how the weights start;
    precision: what "auto" comes to; world_size: the number of processes, over which a batch is
    shared out. It counts for models with batch norms, each of which sees the part of its process
    (there is no SyncBN). Elsewhere it is left out: it changes sums in their last digits and what is
    random within a step.
    """
    precision = precision or experiment.settings.precision
    decided = replace(
        experiment, workers=0, settings=replace(experiment.settings, precision=precision)
    )
    content = {
        "experiment": identity(decided),
        "settings": settings_hash,
        "code": code_of(experiment),
    }
    if world_size > 1 and tracked_norms(experiment.model):
        content["processes"] = world_size
    return content_hash(content)


def accepted_hashes(experiment: Experiment, run: Run, world_size: int = 1) -> dict[str, str]:
    """Precision → train hash of the trainings that count as this run's; with precision "auto", of
    each."""
    asked = experiment.settings.precision
    return {
        one: train_hash(experiment, run.settings_hash, one, world_size)
        for one in (PRECISIONS if asked == "auto" else (asked,))
    }


def code_of(experiment: Experiment) -> dict[str, str]:
    """Module → hash, of all code that decides the weights."""
    return trees(experiment, Training, Average, BatchDraws, recompute_statistics)


def fit(
    experiment: Experiment, run: Run, device: str | torch.device | None = None, *, quiet=False
) -> str:
    """Train, resume or reuse one run; returns its train hash. The model ends with its weights.

    With precision "auto" a finished run counts whichever precision it was trained in: the results
    of another machine are not trained anew.

    Under torchrun or `launch`, every process calls this; gradients are averaged over processes
    (each takes batch_size / world_size samples) and rank 0 writes the files.

    Raises:
        TrainingStopped: a loss term or the gradient became NaN or infinite.
    """
    rank, world_size = join_process_group()
    device = torch.device(device or default_device(rank))
    precision = first_says(precision_on(device, experiment.settings.precision))
    counted = accepted_hashes(experiment, run, world_size)

    def finished() -> str:
        return next((one for one in counted.values() if run.is_finished(one)), "")

    # The first process decides for all, since the files may change between two readings. One
    # training of a run at a time: the others wait with the first for its lock. Reading a finished
    # run takes none.
    if not first_says(finished()):
        with locked(run.lock_path, str(run)) if rank == 0 else nullcontext():
            if not first_says(finished()):
                training = Training(
                    experiment, run, counted[precision], device, precision, rank, world_size, quiet
                )
                _train(training, run)
    if rank == 0:
        run.tidy()
    load_weights(experiment.model, run.checked_weights())
    experiment.model.to(device).eval()
    return finished()


def _train(training: Training, run: Run) -> None:
    if training.rank == 0:
        if why := _why_anew(run, training.train_hash):
            print(f"{run}: {why}", file=sys.stderr)
        described = {"run": vars(run), "experiment": identity(training.experiment)}
        run.write_json("settings.json", described)
    try:
        training.train()
    except Exception as error:
        if training.rank == 0:
            _record_failure(run, error)
        raise
    if training.rank == 0:
        _finish(training, run)
    if training.world_size > 1:
        dist.barrier()


def _why_anew(run: Run, train_hash: str) -> str:
    """What an earlier training in this folder was that does not count for this one; "" where there
    is none, or one that is resumed."""
    if stamp := run.read_stamp():
        if not run.weights_path.exists():
            return f"trained anew, because {run.weights_path.name} is gone"
        modules = ", ".join(changed_since(stamp.get("code", {})))
        changed = f"the code has changed ({modules})" if modules else (
            "its data, the rows it builds on, precision or processes have changed"
        )  # fmt: skip
        return f"trained anew, because {changed} since it was finished"
    checkpoint = read_checkpoint(run.checkpoint_path, torch.device("cpu"))
    if checkpoint.get("train_hash", train_hash) == train_hash:
        return ""
    return (
        f"begun anew, not resumed after {checkpoint['step']} steps, because code, data, the rows "
        "it builds on, precision or processes have changed since"
    )


def _record_failure(run: Run, error: Exception) -> None:
    """Write why a training failed, for `llie runs --status`; a full disk leaves no record."""
    known = run.read_progress()
    line = next(iter(str(error).splitlines()), type(error).__name__)
    with suppress(OSError):
        write_progress(run.progress_path, known.get("step", 0), known.get("seconds", 0.0), line)


def _pixels(experiment: Experiment, steps: int) -> dict[str, int]:
    """Pixels that a training on crops sees, steps × batch × area, and those planned."""
    settings = experiment.settings
    if not settings.planned_pixels:
        return {}
    height, width = Drawn(experiment.data)[0]["image"].shape[-2:]
    seen = steps * settings.batch_size * height * width
    return {"pixels_done": seen, "pixels_planned": settings.planned_pixels}


def _finish(training: Training, run: Run) -> None:
    """Write weights and stamp; what a training that is not finished leaves has served."""
    settings = training.settings
    tensors = {k: v.contiguous().cpu() for k, v in training.model.state_dict().items()}
    with atomic(run.weights_path) as temporary:
        save_file(tensors, temporary)
    stamp = {
        "run": vars(run),
        "train_hash": training.train_hash,
        "weights_sha256": file_hash(run.weights_path),
        "log_sha256": existing_hash(run.log_path),
        "validation_sha256": existing_hash(run.validation_path),
        "steps_done": training.done,
        "steps_planned": settings.planned_steps or settings.steps,
        **_pixels(training.experiment, training.done),
        "resumed_at": training.start,
        "selected_step": training.best.get("step", training.done),
        "seconds": training.seconds(),
        "precision": training.precision,
        "world_size": training.world_size,
        **environment(training.device),
        "code": code_of(training.experiment),
    }
    run.write_json("stamp.json", stamp)
    run.checkpoint_path.unlink(missing_ok=True)
    run.progress_path.unlink(missing_ok=True)
