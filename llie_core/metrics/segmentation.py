r"""Mean intersection over union of label maps, from one confusion matrix of the whole set.

.. math:: \mathrm{IoU}_c = \frac{M_{cc}}{\sum_j M_{cj} + \sum_i M_{ic} - M_{cc}}

with :math:`M_{ij}` the pixels of true class :math:`i` predicted as :math:`j`. It is the number of
torchmetrics' ``JaccardIndex(task="multiclass", ignore_index=255, average="macro")``: a class that
occurs neither in the truth nor in the predictions of the set is left out of the mean, one that is
only predicted counts as 0, and predictions on ignored pixels count nowhere. It is not the mean
over images that ``torchmetrics.segmentation.MeanIoU`` gives.
"""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from llie_core.metrics.resampling import OF_SETS, drawn_counts


class IoU(TypedDict):
    """miou: a fraction; per_class: (classes,) float64, NaN for a class that occurs nowhere."""

    miou: float
    per_class: Tensor


class SegmentationIoU:
    """Gathers a confusion matrix over batches, on the device of the first one.

    ``matrix``: ``(classes, classes)`` int64, rows the true class, columns the predicted one; None
    before the first ``update``.
    """

    def __init__(self, classes: int, ignore_index: int = 255) -> None:
        if classes < 1:
            raise ValueError(f"classes must be at least 1, got {classes}")
        if 0 <= ignore_index < classes:
            raise ValueError(f"ignore_index {ignore_index} is one of the {classes} classes")
        self.classes = classes
        self.ignore_index = ignore_index
        self.matrix: Tensor | None = None

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch of class ids, ``(B, H, W)`` integers each, the truth possibly ignored.

        ValueError for differing shapes or ids outside 0..classes-1, TypeError for scores (floats).
        """
        self._check(prediction, target)
        ignored = target == self.ignore_index
        # Ignored pixels get a row of their own, which is cut off.
        row = target.to(torch.int64).masked_fill(ignored, self.classes)
        cell = row.mul_(self.classes).add_(prediction).flatten()
        counts = torch.bincount(cell, minlength=(self.classes + 1) * self.classes)
        counts = counts.view(self.classes + 1, self.classes)[:-1]
        self.matrix = counts if self.matrix is None else self.matrix + counts.to(self.matrix.device)

    def compute(self) -> IoU:
        """The mean over the classes, and each class; ValueError if no labelled pixel was seen."""
        if self.matrix is None or not self.matrix.any():
            raise ValueError("mIoU needs at least one pixel that is not ignored: none was given")
        iou = class_iou(self.matrix)
        return {"miou": iou.nanmean().item(), "per_class": iou}

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        if prediction.shape != target.shape or prediction.numel() == 0:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have "
                "the same shape, (B, H, W), and hold at least one pixel"
            )
        for name, labels in (("prediction", prediction), ("target", target)):
            if labels.is_floating_point() or labels.dtype == torch.bool:
                raise TypeError(f"{name} must hold class ids (integers), got {labels.dtype}")
            outside = (labels < 0) | (labels >= self.classes)
            if name == "target":
                outside &= labels != self.ignore_index
            if outside.any():
                raise ValueError(
                    f"{name} holds class id {labels[outside][0].item()}: expected "
                    f"0..{self.classes - 1} (ignored in the target: {self.ignore_index})"
                )


def class_iou(matrices: Tensor) -> Tensor:
    """IoU of each class, ``(..., classes)`` float64, NaN where it occurs nowhere, of confusion
    matrices ``(..., classes, classes)``."""
    matrices = matrices.double()
    hit = matrices.diagonal(dim1=-2, dim2=-1)
    return hit / (matrices.sum(-2) + matrices.sum(-1) - hit)


def drawn_miou(matrices: Tensor) -> np.ndarray:
    """mIoU in each draw of images, ``(draws,)``, from the confusion matrix of each, ``(images,
    classes, classes)``."""
    flat = matrices.double().cpu().numpy().reshape(len(matrices), -1)
    drawn = torch.from_numpy(drawn_counts(len(flat), OF_SETS) @ flat)  # (draws, classes²)
    return class_iou(drawn.view(-1, *matrices.shape[1:])).nanmean(-1).numpy()
