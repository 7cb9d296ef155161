"""The number by which a training on pairs chooses its weights."""

import torch
from torch import nn

from llie_core.dataset import SizedDataset
from llie_core.metrics.quality import psnr
from llie_core.tasks.base import enhanced, loader


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
