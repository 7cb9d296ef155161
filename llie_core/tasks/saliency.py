"""Saliency: a frozen network finds what stands out in the enhanced images.

Items need `mask` (1, H, W); with a `target`, PSNR is measured too.
"""

import torch
from torch import Tensor

from llie_core.metrics import psnr
from llie_core.metrics.protocols import load_protocols
from llie_core.metrics.saliency import SaliencyScores
from llie_core.recognizers import Recognizer
from llie_core.tasks.base import Measured, Task, mean
from llie_core.tasks.quality import MAIN

# Column of paper 3's Table IX → protocol. It does not say which F and E are meant; its header is
# the line that a common toolbox prints, in which avgF and Em are those at an adaptive threshold.
MEASURES = {
    "mae": "sal-mae",
    "max_f": "sal-max-f",
    "avg_f": "sal-adaptive-f",
    "weighted_f": "sal-weighted-f",
    "s_measure": "sal-s",
    "e_measure": "sal-adaptive-e",
}


def saliency_masks(batch: dict) -> Tensor:
    """The targets of a saliency network: masks (B, 1, H, W)."""
    return batch["mask"]


class Saliency(Task):
    """Saliency maps of a recognizer against masks."""

    name = "saliency"

    def __init__(self, recognizer: Recognizer, batch_size: int = 4):
        self.recognizer, self.batch_size = recognizer, batch_size

    def meter(self, device: torch.device, normal_light: bool) -> "SaliencyMeter":
        return SaliencyMeter(self.recognizer.to(device), normal_light)


class SaliencyMeter:
    """The six measures, and of each image the share found salient, the mask's share and MAE."""

    def __init__(self, recognizer: Recognizer, normal_light: bool = False):
        self.recognizer, self.normal_light = recognizer, normal_light
        self.scores, self.count = SaliencyScores(), 0
        self.psnr: list[float] = []

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        masks = saliency_masks(batch).to(images.device)
        found = self.recognizer.predict(images)  # (B, 1, H, W)
        self.scores.update(found, masks)
        self.count += len(images)
        if "target" in batch and not self.normal_light:
            self.psnr += psnr(images, batch["target"].to(images.device)).tolist()
        errors = self.scores.per_image()["mae"][-len(images) :].tolist()
        return [
            {"name": name, "salient": f"{f.mean():.5f}", "mask": f"{m.mean():.5f}",
             "mae": f"{error:.5f}"}
            for name, f, m, error in zip(batch["name"], found, masks, errors, strict=True)
        ]  # fmt: skip

    def compute(self) -> list[Measured]:
        values, drawn = self.scores.compute(), self.scores.drawn()
        names = {metric: load_protocols()[protocol].metric for metric, protocol in MEASURES.items()}
        measured = [
            Measured(metric, values[own], self.count, MEASURES[metric], drawn=drawn[own])
            for metric, own in names.items()
        ]
        if self.psnr:
            measured.append(Measured("psnr", mean(self.psnr), self.count, MAIN["psnr"]))
        return measured
