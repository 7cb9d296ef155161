"""Zero-DCE and Zero-DCE++: pixel-wise light-enhancement curves, learned without references.

Zero-DCE: "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement", C. Guo, C. Li,
J. Guo, C. C. Loy, J. Hou, S. Kwong, R. Cong, CVPR 2020. Zero-DCE++: "Learning to Enhance
Low-Light Image via Zero-Reference Deep Curve Estimation", C. Li, C. Guo, C. C. Loy, TPAMI 2021.
Equation numbers are those of chapter 3 of the thesis on task-oriented joint training that uses
both as its upstream model ("paper 2" here).

A seven-layer network reads the image and gives curve maps A in [−1, 1]; the curve

    LE_n = LE_{n−1} + A_n · LE_{n−1} · (1 − LE_{n−1}),    LE_0 = I

(Eq. (3.2) is one step of it with one α, Eq. (3.3) and Eq. (3.4) several, Eq. (3.5) and Eq. (3.6)
have a map in place of α) is applied eight times to every pixel. It keeps 0 and 1 fixed and is
monotone. Zero-DCE estimates 24 maps (8 iterations × RGB); Zero-DCE++ has separable convolutions and
3 maps used 8 times.

Differs from the paper:
- The thesis prints Eqs. 3.4, 3.6 and 3.7 with the original I in place of LE_{n−1} as the factor.
  The released code and the two papers use LE_{n−1}, our default; `curve="thesis"` is the printed
  form, which leaves [0, 1] where A < 0.
- Released checkpoints hold −A (their curve is x + r·(x² − x)); `load_released_weights` flips it.
- The released Zero-DCE++ test crops images to multiples of 12; ours keeps every size.
- The thesis starts all weights from N(0, 0.02). The released Zero-DCE++ keeps PyTorch's default:
  in separable layers 0.02 is so small that, measured, weight decay drives layers 3 to 5 to zero
  before a gradient reaches them (the losses reached are alike). `init` chooses.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.devices import free_memory
from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer, normal_init, pad_to_multiple
from llie_core.models.large import (
    SMALL_PIXELS,
    WHOLE_PIXELS,
    in_tile,
    in_tiles,
    of_whole_image,
    rows_at_size,
    tile_side,
)
from llie_core.names import check_choice
from llie_core.tensors import read_released

ITERATIONS = 8
WIDTH = 32
FORMS = ("released", "thesis")
# `enhance` alone: sizes for which the curve's eight steps stay in a processor's cache.
STRIP_VALUES = 2**16  # of an image, in a strip of rows
TILE_SIDE, CUDA_TILE_SIDE = 512, 2048  # of the tiles in which the network runs, in pixels


def light_curve(image: Tensor, maps: tuple[Tensor, ...], curve: str = "released") -> Tensor:
    r"""Apply the light-enhancement curve once per map.

    .. math:: LE_n = LE_{n-1} + A_n\, LE_{n-1} (1 - LE_{n-1}), \qquad LE_0 = I

    With ``curve="thesis"`` the factor :math:`LE_{n-1}` before the bracket is :math:`I`.

    Args:
        image: I, (B, C, H, W) in [0, 1].
        maps: A_1 … A_n, each (B, C, H, W) in [−1, 1].

    Returns:
        LE_n, (B, C, H, W).
    """
    enhanced = image
    for a in maps:
        factor = image if curve == "thesis" else enhanced
        enhanced = enhanced + a * factor * (1 - enhanced)  # Eq. (3.6), Eq. (3.7)
    return enhanced


def curve_in_place(enhanced: Tensor, image: Tensor, maps: tuple[Tensor, ...], curve: str) -> Tensor:
    """`light_curve` in the memory of `enhanced`, which starts as the image; no gradients."""
    step = torch.empty_like(enhanced)
    for a in maps:
        factor = image if curve == "thesis" else enhanced
        torch.addcmul(factor, factor, enhanced, value=-1, out=step)
        enhanced.addcmul_(a, step)  # Eq. (3.6), Eq. (3.7)
    return enhanced


def conv3(inputs: int, outputs: int) -> nn.Module:
    """3×3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class SeparableConv(nn.Module):
    """Depthwise 3×3, then pointwise 1×1 convolution; both with bias, nothing between."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depth_conv = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.point_conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.point_conv(self.depth_conv(x))


class DCENet(Enhancer):
    """The seven-layer curve estimator (thesis, Fig. 3.3); layers bear the released names."""

    margin, pools, bytes_per_pixel = 7, False, 1400  # seven 3×3 convolutions, nothing pooled

    def __init__(self, inputs: int, outputs: int, width: int = WIDTH, conv=conv3):
        super().__init__()
        self.e_conv1 = conv(inputs, width)
        self.e_conv2 = conv(width, width)
        self.e_conv3 = conv(width, width)
        self.e_conv4 = conv(width, width)
        self.e_conv5 = conv(2 * width, width)
        self.e_conv6 = conv(2 * width, width)
        self.e_conv7 = conv(2 * width, outputs)

    def estimate(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W), before the output's activation."""
        x1 = F.relu(self.e_conv1(x))  # (B, width, H, W)
        x2 = F.relu(self.e_conv2(x1))
        x3 = F.relu(self.e_conv3(x2))
        x4 = F.relu(self.e_conv4(x3))
        x5 = F.relu(self.e_conv5(torch.cat([x3, x4], dim=1)))  # (B, 2·width, H, W) inside
        x6 = F.relu(self.e_conv6(torch.cat([x2, x5], dim=1)))
        return in_float32(self.e_conv7, torch.cat([x1, x6], dim=1))


class RGBCurves(DCENet):
    """What Zero-DCE and Zero-DCE++ share: RGB curve maps and the authors' checkpoints."""

    estimate_pixels = 2**17

    def __init__(self, outputs: int, conv, curve: str):
        super().__init__(3, outputs, conv=conv)
        check_choice(FORMS, curve=curve)
        self.curve, self.scale_factor = curve, 1

    def brighten(self, x: Tensor, maps: Tensor) -> Tensor:
        """Eight curve steps on x (B, 3, H, W) with maps (B, 24, H, W), or (B, 3, H, W) reused."""
        steps = maps.split(3, dim=1)
        return light_curve(x, steps * (ITERATIONS // len(steps)), self.curve)

    def any_size(self, x: Tensor) -> Tensor:
        """`forward` without gradients, faster and in less memory.

        The network runs in tiles and the curve in strips of rows, which changes nothing but the
        last digits. Maps of more than `WHOLE_PIXELS` are estimated on a smaller copy; the maps of a
        video's frame, by `estimate_from`, on a copy of `estimate_pixels` and nothing smaller.
        """
        height, width = x.shape[-2:]
        if in_tile():
            maps = of_whole_image(lambda: self.small_maps(x, 1)[0])
            return self._in_strips(x, lambda part: rows_at_size(maps, part, (height, width), True))
        factor = self.scale_factor
        if height * width > WHOLE_PIXELS:
            factor = max(factor, math.ceil((height * width / SMALL_PIXELS) ** 0.5))
        if factor == 1:
            side = CUDA_TILE_SIDE if x.is_cuda else TILE_SIDE
            allowed = tile_side(self.bytes_per_pixel, len(x), free_memory(x.device))
            side = min(side, allowed + 2 * self.margin)
            return in_tiles(self._tile, x, side, self.margin, pools=False)
        maps, size = self.small_maps(x, factor)

        def rows(part: slice) -> Tensor:
            return rows_at_size(maps, part, size, align_corners=True)[..., :width]

        return self._in_strips(x, rows)

    def _tile(self, x: Tensor) -> Tensor:
        maps = self.estimate(x.contiguous(memory_format=torch.channels_last)).tanh_().contiguous()
        return self._in_strips(x, lambda part: maps[..., part, :])

    def _in_strips(self, x: Tensor, maps_of: Callable[[slice], Tensor]) -> Tensor:
        """`brighten`, strip by strip: x (B, 3, H, W); rows → their maps (B, 3 or 24, rows, W)."""
        height, values = x.shape[-2], x.shape[0] * 3 * x.shape[-1]
        count = height if x.is_cuda else max(1, STRIP_VALUES // values)
        result = torch.empty_like(x)
        for top in range(0, height, count):
            part = slice(top, min(height, top + count))
            maps = maps_of(part).split(3, dim=1)
            image = x[..., part, :].contiguous()
            result[..., part, :] = curve_in_place(
                image.clone(), image, maps * (ITERATIONS // len(maps)), self.curve
            )
        return result

    def small_maps(self, x: Tensor, factor: int) -> tuple[Tensor, tuple[int, int]]:
        """Maps estimated at 1 / factor of the size, and the size that they stand for.

        The image is padded to a multiple of the factor, for the estimate only, and the map
        cropped back; on multiples this is what the released code computes.
        """
        padded = pad_to_multiple(x, factor)
        height, width = padded.shape[-2:]
        small = (height // factor, width // factor)
        small = F.interpolate(padded, size=small, mode="bilinear")
        maps = torch.tanh(self.estimate(small.contiguous(memory_format=torch.channels_last)))
        return maps, (height, width)  # (B, 3 or 24, H / factor, W / factor)

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """`image` (B, 3, H, W) and `curve_maps`, all maps A side by side as channels.

        Zero-DCE: (B, 24, H, W), RGB of the first iteration, RGB of the second, …;
        Zero-DCE++: (B, 3, H, W), always estimated at full size.
        """
        maps = torch.tanh(self.estimate(x))
        return {"image": self.brighten(x, maps), "curve_maps": maps}

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' checkpoint (a plain state dict), turning its −A into A.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, other names or shapes than this model's, or
                the safetensors of a run, which hold A itself.
        """
        state = read_released(path, self.state_dict())
        # tanh is odd, so negating the last linear layer negates the maps.
        last = "e_conv7.point_conv" if "e_conv7.point_conv.weight" in state else "e_conv7"
        for name in (f"{last}.weight", f"{last}.bias"):
            state[name] = -state[name]
        self.load_state_dict(state)


class ZeroDCE(RGBCurves):
    """Zero-DCE: 79,416 parameters, 24 curve maps.

    Args:
        curve: "released" or "thesis", see the file's head.
    """

    def __init__(self, curve: str = "released"):
        super().__init__(3 * ITERATIONS, conv3, curve)
        normal_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.training_outputs(x)["image"]


class ZeroDCEPlusPlus(RGBCurves):
    """Zero-DCE++: 10,561 parameters, one RGB curve map used eight times.

    Args:
        curve: "released" or "thesis", see the file's head.
        scale_factor: `forward` and `enhance` estimate the map on an image this many times
            smaller and interpolate it; an attribute, to be changed at any time.
            `training_outputs` works at full size whatever it is. The authors and the thesis
            train at 1 and test at 12.
        init: "thesis", N(0, 0.02) with zero biases, or "released", PyTorch's default.
    """

    def __init__(self, curve: str = "released", scale_factor: int = 1, init: str = "thesis"):
        super().__init__(3, SeparableConv, curve)
        check_choice(FORMS, init=init)
        if init == "thesis":
            normal_init(self)
        if scale_factor < 1 or scale_factor != int(scale_factor):
            raise ValueError(f"scale_factor={scale_factor}: expected a whole number from 1 up")
        self.scale_factor = int(scale_factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.brighten(x, self._scaled_map(x))

    def _scaled_map(self, x: Tensor) -> Tensor:
        """A (B, 3, H, W), estimated at 1 / scale_factor of the size."""
        if self.scale_factor == 1:
            return torch.tanh(self.estimate(x))
        maps, size = self.small_maps(x, self.scale_factor)
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
        return maps[..., : x.shape[-2], : x.shape[-1]]
