"""Semantic segmentation: a frozen recognizer reads the enhanced images; mIoU over the whole set.

Items need `mask` (H, W), 255 ignored.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from llie_core.data import mask_targets
from llie_core.metrics.segmentation import SegmentationIoU, drawn_miou
from llie_core.recognizers import Recognizer
from llie_core.tasks.base import Measured, Task
from llie_core.tasks.quality import Appearance


class Segmentation(Task):
    """mIoU of what a recognizer finds.

    Args:
        recognizer: `predict(images)` → class ids (B, H, W).
        classes: their names, by id.
        parts: measure IoU of every class too, and brightness and PSNR of the images.
        batch_size: images a batch; 1 where they differ in size.
    """

    name = "segmentation"

    def __init__(
        self, recognizer: Recognizer, classes: Sequence[str], parts: bool = True,
        batch_size: int = 8,
    ):  # fmt: skip
        self.recognizer, self.classes = recognizer, tuple(classes)
        self.parts, self.batch_size = parts, batch_size

    def meter(self, device: torch.device, normal_light: bool) -> "SegmentationMeter":
        appearance = Appearance(normal_light) if self.parts else None
        return SegmentationMeter(self.recognizer.to(device), self.classes, appearance)


class SegmentationMeter:
    """The confusion matrix of each image, and of their sum the mIoU."""

    def __init__(
        self, recognizer: Recognizer, classes: tuple[str, ...], appearance: Appearance | None
    ):
        self.recognizer, self.classes, self.appearance = recognizer, classes, appearance
        self.matrices: list[Tensor] = []

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        predicted = self.recognizer.predict(images)  # (B, H, W)
        masks = mask_targets(batch).to(images.device)
        if self.appearance:
            self.appearance.update(images, batch)
        return [
            {"name": name, "miou": self._add(*pair)}
            for name, *pair in zip(batch["name"], predicted, masks, strict=True)
        ]

    def compute(self) -> list[Measured]:
        whole, matrices = SegmentationIoU(len(self.classes)), torch.stack(self.matrices)
        whole.matrix, images = matrices.sum(0), len(matrices)
        found, drawn = whole.compute(), drawn_miou(matrices)
        measured = [Measured("miou", found["miou"], images, "seg-miou", drawn=drawn)]
        if self.appearance is None:
            return measured
        measured += [
            Measured("iou", value, images, "seg-iou-class", subset=name)
            for name, value in zip(self.classes, found["per_class"].tolist(), strict=True)
            if value == value  # NaN: neither in the truth nor predicted
        ]
        return measured + self.appearance.compute()

    def _add(self, predicted: Tensor, mask: Tensor) -> str:
        """Take one image; its own mIoU, over the classes that occur in it, empty without labelled
        pixels."""
        one = SegmentationIoU(len(self.classes))
        one.update(predicted[None], mask[None])
        assert one.matrix is not None  # an image has been seen
        self.matrices.append(one.matrix)
        return f"{one.compute()['miou']:.4f}" if one.matrix.any() else ""
