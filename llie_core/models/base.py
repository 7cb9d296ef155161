"""What every enhancer of this room shares: the contract, padding, initial weights.

An enhancer maps low-light RGB images to enhanced ones. A method implements `forward` and, if
its loss needs more than the image, `training_outputs`; `enhance` is inherited.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.devices import free_memory
from llie_core.imaging import check_images
from llie_core.models.large import (
    LEAST_SIDE,
    STATISTICS_PIXELS,
    WHOLE_PIXELS,
    downscaled,
    given,
    in_tiles,
    is_out_of_memory,
    tile_side,
    whole_values,
)

# ExLPose's low-light crops are scaled to a mean of 0.4 before they are enhanced and reach 2
# (data/wrappers.py, MeanScaled); every other image ends at 1.
BRIGHTEST = 2.0
FEATHER = 16  # pixels over which neighbouring tiles are blended


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the bottom and the right until H and W are multiples of `multiple`.

    An axis is mirrored; where it is too short to mirror (it must exceed the pad), its last
    row or column is repeated.
    """
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        x = F.pad(x, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate")
    if right:
        x = F.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return x


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; every submodule's own flag is restored after."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def normal_init(model: nn.Module, std: float = 0.02, bias: float = 0.0) -> None:
    """Weights of all convolutions and linear layers from N(0, std²), their biases constant."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
            nn.init.constant_(module.bias, bias)


class Enhancer(nn.Module):
    """Base of all enhancers.

    Subclasses define `forward(x, **condition)`: (B, 3, H, W) float RGB in [0, 1] → one tensor of
    the same size, not clamped. H and W may be assumed to be multiples of `multiple`.

    How large images are computed (models/large.py):
        margin: pixels beyond a tile that its result depends on; None: never in tiles. A network
            asks for what it takes from the whole image by `of_whole_image`; `pools`: whether any.
        grid: tiles start at its multiples; `multiple` unless a network pads by itself.
        bytes_per_pixel: of memory that `forward` needs at its peak.
        estimate_pixels: of the copy that `estimate_from` works on, at most.

    exports: why it cannot be an ONNX file, "" where it can (llie_core/export.py).
    """

    multiple: int = 1
    margin: int | None = None
    grid: int = 0
    pools: bool = True
    bytes_per_pixel: int = 4096
    estimate_pixels: int = STATISTICS_PIXELS
    exports: str = ""
    # Side of the small copy of the whole image that `training_outputs` takes as `context` beside a
    # crop; 0 where the method takes none.
    context_size: int = 0

    @property
    def learned(self) -> bool:
        """Whether it has parameters, so that it needs weights."""
        return next(self.parameters(), None) is not None

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """What the loss needs for a batch (B, 3, H, W): at least `image`, with gradients."""
        return {"image": self(x)}

    def enhance(self, x: Tensor, **condition) -> Tensor:
        """Enhance images of any size for use and for scores.

        Args:
            x: (B, 3, H, W) float RGB, finite, in [0, 1] (scaled crops may reach 2). Half
                precision is computed in float32.
            condition: what the method is conditioned on, if anything (its `forward` names it).

        Returns:
            (B, 3, H, W) in [0, 1], without gradients, in the type it was computed in: that of
            the model's parameters, or at least float32 for a method without parameters.

        Raises:
            TypeError, ValueError: input that is no such batch of images; one line.
        """
        check_images(f"{type(self).__name__}.enhance", most=BRIGHTEST, x=x)
        parameter = next(self.parameters(), None)
        dtype = (
            torch.promote_types(x.dtype, torch.float32) if parameter is None else parameter.dtype
        )
        with evaluating(self):
            return self.any_size(x.to(dtype), **condition).clamp(0, 1)

    def estimate_from(self, x: Tensor, **condition) -> list:
        """What the method takes from a whole image, apart from its pixels: a gain, a curve, maps,
        pooled features.

        Args:
            x, condition: as of `enhance`.

        Returns:
            Tensors or tuples of tensors (B, …), for `enhance_with`; [] where it takes nothing.
        """
        small = downscaled(x, self.estimate_pixels)
        return whole_values(lambda: self.enhance(small, **condition))

    def enhance_with(self, x: Tensor, estimate: list, **condition) -> Tensor:
        """`enhance` with an estimate of another pass, such as one smoothed over a video's frames.

        Args:
            x, condition: as of `enhance`, in any size.
            estimate: as `estimate_from` gives it, of x or of another image.

        Returns:
            As `enhance`.
        """
        with given(estimate):
            return self.enhance(x, **condition)

    def any_size(self, x: Tensor, **condition) -> Tensor:
        """`forward` on images of any size: at once or, where memory or `WHOLE_PIXELS` do not reach
        for that, in tiles."""

        def run(window: Tensor) -> Tensor:
            height, width = window.shape[-2:]
            # Channels last: on the CPU, depthwise convolutions are twice as fast.
            padded = pad_to_multiple(window, self.multiple)
            y = self(padded.contiguous(memory_format=torch.channels_last), **condition)
            return y[..., :height, :width]

        if self.margin is None:
            return run(x)
        pixels, free = x.numel() / 3, free_memory(x.device)
        side = tile_side(self.bytes_per_pixel, len(x), free)
        if pixels <= WHOLE_PIXELS and pixels * self.bytes_per_pixel <= free / 2:
            try:
                return run(x)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        while True:
            try:
                grid = self.grid or self.multiple
                return in_tiles(
                    run, x, side, self.margin, grid, FEATHER, self.pools, self.bytes_per_pixel
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or side <= LEAST_SIDE:
                    raise
                side //= 2
