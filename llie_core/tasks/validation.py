"""The numbers by which trainings choose their weights."""

import torch
from torch import nn

from llie_core.dataset import SizedDataset
from llie_core.metrics.quality import psnr
from llie_core.tasks.base import Task, enhanced, loader


class ValidationTask:
    """validate(model): a task's number of the enhanced validation images; higher is better.

    Args:
        task: what is measured, its recognizer frozen.
        metric: which of its numbers, on the whole set.
    """

    def __init__(self, task: Task, data: SizedDataset, metric: str):
        self.task, self.data, self.metric = task, data, metric

    def __call__(self, model: nn.Module) -> float:
        measured, _ = self.task.measure(model, self.data, next(model.parameters()).device)
        return next(one.value for one in measured if one.metric == self.metric)


class ValidationPSNR:
    """validate(model): mean PSNR over validation pairs, in dB; higher is better."""

    def __init__(self, data: SizedDataset, batch_size: int = 1, workers: int = 0):
        self.data, self.batch_size, self._workers = data, batch_size, workers

    def __call__(self, model: nn.Module) -> float:
        device = next(model.parameters()).device
        values = [
            psnr(enhanced(model, batch["image"].to(device)), batch["target"].to(device))
            for batch in loader(self.data, self.batch_size, self._workers)
        ]
        return float(torch.cat(values).mean())
