"""What every recognizer keeps to: a task model whose loss can train the enhancer before it."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from llie_core.imaging import IMAGENET_MEAN, IMAGENET_STD


class Recognizer(nn.Module):
    """A task model that reads images and stays as it is.

    A frozen recognizer passes gradients to the images, but its weights need none and its
    statistics never change: it is in evaluation mode, and `train()` does nothing. Only the run
    that trains a recognizer builds it with `frozen=False` and ends with `freeze()`.

    A subclass calls `super().__init__()`, builds its modules, and ends its `__init__` with
    `if frozen: self.freeze()`. It preprocesses inside, so that images are always (B, 3, H, W) RGB
    in [0, 1], of any size, and implements

    - `loss(images, targets)` → dict with `total` and its named terms, scalars that are
      differentiable to the images; the docstring states the normalisation. Images may leave
      [0, 1], as an enhancer's do in training; their values are not read beforehand;
    - `predict(images)` → predictions in the coordinates of the images, without gradient. It
      refuses NaN, Inf and values outside [0, 1].

    Targets by task: segmentation masks (B, H, W) long with 255 ignored; faces and objects a list
    with one dict per image (`boxes` (N, 4) xyxy in pixels, optional `ignore` (N,) bool, `labels`);
    pose joints and boxes; saliency masks (B, 1, H, W).
    """

    def __init__(self):
        super().__init__()
        self.frozen = False

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """What the trainer asks of a model: while it is trained itself, a recognizer's objective
        is its own loss on the images as they are."""
        return {"image": images}

    def loss(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """Task loss on images (B, 3, H, W); see the class."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def predict(self, images: Tensor) -> Any:
        """Predictions on images (B, 3, H, W); see the class."""
        raise TypeError(f"{type(self).__name__} has no predictions")

    def hold_statistics(
        self,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        """Buffers `mean` and `std` (3, 1, 1) of the images, which files of weights do not hold."""
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def freeze(self) -> Self:
        """Stop all change: no parameter takes a gradient, evaluation mode for good."""
        super().train(False)
        self.requires_grad_(False)
        self.frozen = True
        return self

    def train(self, mode: bool = True) -> Self:
        """As usual while being trained; nothing happens while frozen."""
        return self if self.frozen else super().train(mode)
