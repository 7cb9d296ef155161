"""Train one run, resume it, or reuse it: hashes, locks and stamps around the loop."""

from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from llie_core.engine.batchnorm import recompute_statistics
from llie_core.engine.distributed import default_device, first_says, join_process_group
from llie_core.engine.loop import Experiment, Training
from llie_core.engine.reuse import content_hash, identity, trees
from llie_core.engine.runs import Run, environment, existing_hash, file_hash
from llie_core.engine.sampling import BatchDraws, Drawn
from llie_core.files import atomic, locked
from llie_core.tensors import load_weights


def train_hash(experiment: Experiment, world_size: int = 1, settings_hash: str = "") -> str:
    """What decides the weights: values and code of everything behind an experiment.

    settings_hash: the run's, which covers options that decide only how the weights start.
    """
    decided = replace(experiment, workers=0)
    return content_hash(
        {
            "experiment": identity(decided),
            "world_size": world_size,
            "settings": settings_hash,
            "code": code_of(experiment),
        }
    )


def code_of(experiment: Experiment) -> dict[str, str]:
    """Module → hash, of all code that decides the weights."""
    return trees(experiment, Training, BatchDraws, recompute_statistics)


def fit(
    experiment: Experiment, run: Run, device: str | torch.device | None = None, *, quiet=False
) -> str:
    """Train, resume or reuse one run; returns its train hash. The model ends with its weights.

    Under torchrun or `launch`, every process calls this; gradients are averaged over processes
    (each takes batch_size / world_size samples) and rank 0 writes the files.

    Raises:
        TrainingStopped: a loss term or the gradient became NaN or infinite.
    """
    rank, world_size = join_process_group()
    device = torch.device(device or default_device(rank))
    wanted = train_hash(experiment, world_size, run.settings_hash)
    # The first process decides for all, since the files may change between two looks at them. One
    # training of a run at a time: the others wait with the first for its lock. Reading a finished
    # run takes none.
    if not first_says(run.is_finished(wanted)):
        with locked(run.lock_path, str(run)) if rank == 0 else nullcontext():
            if not first_says(run.is_finished(wanted)):
                _train(experiment, run, wanted, device, rank, world_size, quiet)
    if rank == 0:
        run.tidy()
    load_weights(experiment.model, run.checked_weights())
    experiment.model.to(device).eval()
    return wanted


def _train(experiment, run, wanted, device, rank, world_size, quiet) -> None:
    training = Training(experiment, run, wanted, device, rank, world_size, quiet)
    if rank == 0:
        run.write_json("settings.json", {"run": vars(run), "experiment": identity(experiment)})
    training.train()
    if rank == 0:
        _finish(training, run)
    if world_size > 1:
        dist.barrier()


def _pixels(experiment: Experiment) -> dict[str, int]:
    """Pixels that a training on crops sees, steps × batch × area, and those planned."""
    settings = experiment.settings
    if not settings.planned_pixels:
        return {}
    height, width = Drawn(experiment.data)[0]["image"].shape[-2:]
    seen = settings.steps * settings.batch_size * height * width
    return {"pixels_done": seen, "pixels_planned": settings.planned_pixels}


def _finish(training: Training, run: Run) -> None:
    """Write weights and stamp; the checkpoint has served."""
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
        "steps_done": settings.steps,
        "steps_planned": settings.planned_steps or settings.steps,
        **_pixels(training.experiment),
        "resumed_at": training.start,
        "selected_step": training.best.get("step", settings.steps),
        "seconds": training.seconds(),
        "precision": settings.precision if training.device.type == "cuda" else "float32",
        "world_size": training.world_size,
        **environment(training.device),
        "code": code_of(training.experiment),
    }
    run.write_json("stamp.json", stamp)
    run.checkpoint_path.unlink(missing_ok=True)
