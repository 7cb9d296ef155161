"""An enhancer before a recognizer: `FrontEnd` wraps any torch module, the project's or a user's."""

from typing import Any

import torch
from torch import Tensor, nn

from llie_core.models.base import Enhancer


class FrontEnd(nn.Module):
    """Calls a recognizer with enhanced images.

    In evaluation, as after `.eval()`, images of any size are enhanced without gradients, as
    `enhancer.enhance` does. In training, the recognizer's loss reaches the enhancer: its outputs
    are clamped to [0, 1], and H and W must be multiples of `enhancer.multiple`. The recognizer is
    frozen by default: no gradients of its parameters, and always in evaluation mode.

    Args:
        enhancer: any enhancer.
        recognizer: any module that is called with images (B, 3, H, W) in [0, 1], or with a list
            of (3, H, W), as torchvision's detectors are; what else it needs is passed on.
        freeze: False leaves its parameters trainable; its mode follows the front end's, at first
            the enhancer's.

    Attributes:
        frozen: whether the recognizer is frozen.
    """

    def __init__(self, enhancer: Enhancer, recognizer: nn.Module, freeze: bool = True):
        super().__init__()
        self.enhancer, self.recognizer, self.frozen = enhancer, recognizer, freeze
        if freeze:
            recognizer.requires_grad_(False)
        self.train(enhancer.training)

    def train(self, mode: bool = True) -> "FrontEnd":
        """Training mode of all but a frozen recognizer."""
        super().train(mode)
        if self.frozen:
            self.recognizer.eval()
        return self

    def forward(self, images: Tensor | list[Tensor], *arguments: Any, **options: Any) -> Any:
        """What the recognizer makes of the enhanced images.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1], or a list of (3, H, W) of any sizes.
            arguments, options: of the recognizer, after the images.

        Raises:
            TypeError, ValueError: no such images; one line.
        """
        if isinstance(images, Tensor):
            enhanced: Tensor | list[Tensor] = self.enhanced(images)
        else:
            enhanced = [self.enhanced(image[None])[0] for image in images]
        return self.recognizer(enhanced, *arguments, **options)

    def enhanced(self, images: Tensor) -> Tensor:
        """The images (B, 3, H, W) that the recognizer gets."""
        if self.training and torch.is_grad_enabled():
            return self.enhancer.training_outputs(images)["image"].clamp(0, 1)
        return self.enhancer.enhance(images)
