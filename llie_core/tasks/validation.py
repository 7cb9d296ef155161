"""The number by which a training on pairs chooses its weights."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate
from llie_core.metrics.quality import psnr


class ValidationPSNR:
    """validate(model): mean PSNR over validation pairs, in dB; higher is better."""

    def __init__(self, data: Dataset, batch_size: int = 1, workers: int = 0):
        self.data, self.batch_size, self._workers = data, batch_size, workers

    def __call__(self, model: nn.Module) -> float:
        device = next(model.parameters()).device
        batches = DataLoader(
            self.data, self.batch_size, collate_fn=collate, num_workers=self._workers
        )
        values = [
            psnr(model.enhance(batch["image"].to(device)), batch["target"].to(device))
            for batch in batches
        ]
        return float(torch.cat(values).mean())
