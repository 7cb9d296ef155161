"""The evaluation loop, one for every task.

    dark image ─▶ enhancer ─▶ enhanced image ─▶ meter.update ─▶ values of each image
                                                meter.compute ─▶ numbers with their protocols

A task says which meter gathers what; a frozen recognizer that reads the images is the task's.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from llie_core.data import collate
from llie_core.dataset import SizedDataset


@dataclass(frozen=True)
class Measured:
    """One number: `protocol` names an entry of protocols.toml, `n` counts what it is a mean over.

    recognizer: which one read the images, "" for none; drawn: the number in each draw of images
    (metrics/resampling.py), of one that is no mean over them.
    """

    metric: str
    value: float
    n: int
    protocol: str
    subset: str = "all"
    recognizer: str = ""
    drawn: np.ndarray | None = field(default=None, compare=False)


class Meter(Protocol):
    """Gathers what a task measures over the batches of a test set."""

    def update(self, images: Tensor, batch: dict, /) -> list[dict]:
        """Take enhanced images (B, 3, H, W) in [0, 1]; returns the values of each image."""
        ...

    def compute(self) -> list[Measured]:
        """The numbers over all images."""
        ...


class Task(ABC):
    """What is measured on a test set. Its attributes identify it, recognizers included."""

    name: str
    batch_size = 1  # images of a set on disk may differ in size

    @abstractmethod
    def meter(self, device: torch.device, normal_light: bool) -> Meter:
        """A new meter. normal_light: the images are the normal-light ones."""

    def beside(self, folder: Path) -> "Task":
        """The task as it leaves files, such as detections, in a folder; itself without any."""
        return self

    def measure(
        self, model: nn.Module, data: SizedDataset | None, device: torch.device,
        normal_light: bool = False, workers: int = 0,
    ) -> tuple[list[Measured], list[dict]]:  # fmt: skip
        """The numbers of an enhancer on a test set, and the values of each image.

        Args:
            model: an enhancer on the device, in eval mode.
            data: None only for a task that reads no images.
            normal_light: read the normal-light image in place of the enhanced one.
            workers: processes that load the data.
        """
        if data is None:
            raise TypeError(f"{self.name}: no images to measure")
        meter, rows = self.meter(device, normal_light), []
        if workers:
            data[0]  # fills `Cached` sets before the processes copy them
        for batch in loader(data, self.batch_size, workers):
            rows += meter.update(images_of(model, batch, device, normal_light), batch)
        return meter.compute(), rows


def loader(data: SizedDataset, batch_size: int, workers: int) -> DataLoader:
    """The batches of a data set, in order."""
    # DataLoader takes whatever has a length and items; its stub asks for torch's own class.
    dataset: Any = data
    return DataLoader(dataset, batch_size, collate_fn=collate, num_workers=workers)


def images_of(model: nn.Module, batch: dict, device: torch.device, normal_light: bool) -> Tensor:
    """The images (B, 3, H, W) of a batch that are measured: enhanced, or the normal-light ones."""
    if normal_light:
        # In the layout of enhanced images, on which a recognizer's rounding depends.
        return batch["target"].to(device, memory_format=torch.channels_last)
    return enhanced(model, batch["image"].to(device))


def enhanced(model: nn.Module, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) through an enhancer, whose room tasks do not import."""
    # nn.Module's stub gives its attributes no type that can be called.
    return model.enhance(images)  # type: ignore[operator]


def mean(values: list[float]) -> float:
    """The mean of a list that is not empty."""
    return sum(values) / len(values)
