"""An enhancer before a recognizer: `FrontEnd` wraps any torch module, the project's or a user's."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from llie_core.models.base import Enhancer


class FrontEnd(nn.Module):
    """Calls a recognizer with enhanced images.

    In evaluation, as after `.eval()`, images of any size are enhanced without gradients, as
    `enhancer.enhance` does. In training, the recognizer's loss reaches the enhancer: its outputs
    are clamped to [0, 1], and H and W must be multiples of `enhancer.multiple`. The recognizer is
    frozen by default: no gradients of its parameters, and in evaluation mode.

    Args:
        enhancer: any enhancer.
        recognizer: any module that is called with images (B, 3, H, W) in [0, 1], or with a list
            of (3, H, W), as torchvision's detectors are; what else it needs is passed on.
        freeze: False leaves its parameters trainable; its mode follows the front end's, at first
            the enhancer's.
        training_mode: while the front end trains, a frozen recognizer too is in training mode, but
            for its norms with statistics and its dropout. For one that returns its losses only
            there, as torchvision's detectors do.

    Attributes:
        frozen: whether the recognizer is frozen. training_mode: as above.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        recognizer: nn.Module,
        freeze: bool = True,
        training_mode: bool = False,
    ):
        super().__init__()
        self.enhancer, self.recognizer, self.frozen = enhancer, recognizer, freeze
        self.training_mode = training_mode
        if freeze:
            recognizer.requires_grad_(False)
        self.train(enhancer.training)

    def train(self, mode: bool = True) -> "FrontEnd":
        """Training mode of all but a frozen recognizer, whose mode `training_mode` decides."""
        super().train(mode)
        if self.frozen:
            for module in self.recognizer.modules():
                # These would change with the images, or draw at random.
                fixed = isinstance(module, (_NormBase, _DropoutNd))
                module.training = mode and self.training_mode and not fixed
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
            multiple = self.enhancer.multiple
            if images.shape[-2] % multiple or images.shape[-1] % multiple:
                raise ValueError(
                    f"{type(self.enhancer).__name__} trains on heights and widths that are "
                    f"multiples of {multiple}, not on {images.shape[-2]}×{images.shape[-1]}; crop "
                    "or resize the images"
                )
            return self.enhancer.training_outputs(images)["image"].clamp(0, 1)
        return self.enhancer.enhance(images)
