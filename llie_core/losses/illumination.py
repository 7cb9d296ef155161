r"""The loss of SCI: an illumination close to the image it is of, and smooth where that is.

"Toward Fast, Flexible, and Robust Low-Light Image Enhancement", L. Ma, T. Ma, R. Liu, X. Fan,
Z. Luo, CVPR 2022.

Differs from the released code: σ is the paper's 0.1; with the released 10, all weights are nearly 1
whatever the image. Colours are converted pixel by pixel, where the released code reads planes of a
channel as if they were pixels. Differences are means over the neighbours inside the image.
The weight of green in Y is BT.601's .504, released .564.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from llie_core.imaging import constant, full_precision

FIDELITY = 1.5
SIGMA = 0.1
REACH = 2  # of the 5×5 neighbours
# Y, Cb, Cr from R, G, B in [0, 1], BT.601 in studio range; offsets fall out of differences.
_YCBCR = (0.257, 0.504, 0.098, -0.148, -0.291, 0.439, 0.439, -0.368, -0.071)


def sci_loss(outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
    r"""The objective of SCI, summed over its stages.

    .. math:: L = \sum_t 1.5\, \|x^t - v^t\|^2 + L_s(x^t, v^t)

    Args:
        outputs: of `SCI.training_outputs`: `illumination` x and `stage_input` v of all T stages,
            (B · T, 3, H, W), and `image` (B, 3, H, W).
        batch: not read; no ground truth is.

    Returns:
        Scalars `total`, `fidelity` and `smoothness`, the terms without the weight.
    """
    light, seen = (full_precision(outputs[name]) for name in ("illumination", "stage_input"))
    stages = len(light) // len(outputs["image"])
    fidelity = stages * (light - seen).square().mean()
    smoothness = stages * guided_smoothness(light, seen)
    return {
        "total": FIDELITY * fidelity + smoothness, "fidelity": fidelity, "smoothness": smoothness,
    }  # fmt: skip


def guided_smoothness(light: Tensor, guide: Tensor, sigma: float = SIGMA) -> Tensor:
    r"""Differences of neighbours in a 5×5 window, weighed by how alike the guide is there.

    .. math:: L_s = \sum_{j \in N(i)} w_{ij}\, |x_i - x_j|_1, \quad
              w_{ij} = \exp\Bigl(-\frac{\|y_i - y_j\|^2}{2 \sigma^2}\Bigr)

    y is the guide in YCbCr.

    Args:
        light, guide: x and the guide's RGB, (B, 3, H, W).

    Returns:
        Scalar: the sum over the 24 neighbours of means over pixels; 0 for one pixel.
    """
    colours = torch.einsum("ij,bjhw->bihw", constant(_YCBCR, guide).view(3, 3), guide)
    offsets = [(dy, dx) for dy in range(REACH + 1) for dx in range(-REACH, REACH + 1)
               if dy or dx > 0]  # fmt: skip
    total = light.new_zeros(())
    for dy, dx in offsets:
        if dy < light.shape[-2] and abs(dx) < light.shape[-1]:
            weight = (-_shifted(colours, dy, dx).square().sum(1) / (2 * sigma**2)).exp()
            total = total + (weight * _shifted(light, dy, dx).abs().sum(1)).mean()
    return 2 * total  # each pair is two neighbours


def _shifted(x: Tensor, dy: int, dx: int) -> Tensor:
    """x at (i, j) less x at (i + dy, j + dx), where both are inside; dy ≥ 0."""
    height, width = x.shape[-2:]
    left, right = max(0, -dx), width - max(0, dx)
    return x[..., : height - dy, left:right] - x[..., dy:, left + dx : right + dx]
