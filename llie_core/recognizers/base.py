"""What every recognizer keeps to: a task model whose loss can train the enhancer before it."""

from typing import Any, Self

from torch import Tensor, nn


class Recognizer(nn.Module):
    """A task model that reads images and stays as it is.

    A frozen recognizer passes gradients to the images, but its weights need none and its
    statistics never change: it is in evaluation mode, and `train()` does nothing. Only the run
    that trains a recognizer builds it with `frozen=False` and ends with `freeze()`.

    A subclass calls `super().__init__()`, builds its modules, and ends its `__init__` with
    `if frozen: self.freeze()`. It preprocesses inside, so that images are always (B, 3, H, W) RGB
    in [0, 1], of any size, and implements

    - `loss(images, targets)` → dict with `total` and its named terms, scalars that are
      differentiable to the images; the docstring states the normalisation;
    - `predict(images)` → predictions in the coordinates of the images, without gradient.

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

    def freeze(self) -> Self:
        """Stop all change: no parameter takes a gradient, evaluation mode for good."""
        super().train(False)
        self.requires_grad_(False)
        self.frozen = True
        return self

    def train(self, mode: bool = True) -> Self:
        """As usual while being trained; nothing happens while frozen."""
        return self if self.frozen else super().train(mode)


def check_images(images: Tensor) -> None:
    """Raise where `images` is not a float tensor (B, 3, H, W) with something in it."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"a recognizer expects float images in [0, 1], got {kind}")
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise ValueError(f"a recognizer expects images (B, 3, H, W), got {tuple(images.shape)}")
