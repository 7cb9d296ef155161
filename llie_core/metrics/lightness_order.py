r"""Lightness order error (LOE): whether an enhanced image keeps which of two places is the lighter.

.. math:: \mathrm{LOE} = \frac{1}{m} \sum_x \sum_y [L(x) \ge L(y)] \oplus [L_e(x) \ge L_e(y)]

L is the largest of R, G and B at a place, m the number of places; 0 keeps every order. The image
that it is compared with is the one before enhancement (some papers take the ground truth: not
comparable). S. Wang, J. Zheng, H.-M. Hu, B. Li, IEEE TIP 22(9), 2013.

Both are sampled first to a short side of about 50, and two rules are in use whose numbers are not
comparable: the paper's text shrinks by 50 / min(H, W); the MATLAB code in circulation takes every
⌊min(H, W) / 50⌋-th pixel of the largest value within 15 × 15.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.imaging import check_images
from llie_core.metrics.matlab import imresize
from llie_core.metrics.quality import to_uint8_levels
from llie_core.names import check_choice

LOE_SAMPLINGS = ("imresize", "local-max")
_SIDE = 50
_WINDOW = 15
_PAIRS = 2**24  # that are compared at once: bounds the memory


@torch.no_grad()
def loe(enhanced: Tensor, low_light: Tensor, sampling: str = "imresize") -> Tensor:
    """LOE of each image, on 8-bit levels.

    Args:
        enhanced, low_light: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 50.
        sampling: one of LOE_SAMPLINGS: the paper's rule (MATLAB's imresize, bicubic and
            antialiased, rounded to 8 bits), or that of the code in circulation.

    Returns:
        `(B,)` float64: places of the other order, mean over places; 0 for identical images.
    """
    check_choice(LOE_SAMPLINGS, sampling=sampling)
    check_images("loe", _SIDE, enhanced=enhanced, low_light=low_light)
    sampled = _resized if sampling == "imresize" else _local_maxima
    before, after = (
        sampled((to_uint8_levels(x) * 255).round().amax(dim=1)).flatten(1)  # (B, m)
        for x in (low_light, enhanced)
    )
    values = [_disorder(*pair) for pair in zip(before, after, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=before.device)


def _resized(lightness: Tensor) -> Tensor:
    """(B, H, W) → a short side of 50, as MATLAB's imresize of a uint8 image."""
    height, width = lightness.shape[-2:]
    ratio = _SIDE / min(height, width)
    size = (int(height * ratio + 0.5), int(width * ratio + 0.5))  # MATLAB: halves round up
    return (imresize(lightness.double(), size=size) + 0.5).floor().clamp(0, 255)


def _local_maxima(lightness: Tensor) -> Tensor:
    """(B, H, W) → every step-th pixel, from the step-th, of the largest values around."""
    step = min(lightness.shape[-2:]) // _SIDE
    largest = F.max_pool2d(lightness[:, None], _WINDOW, stride=1, padding=_WINDOW // 2)[:, 0]
    return largest[:, step - 1 :: step, step - 1 :: step]


def _disorder(before: Tensor, after: Tensor) -> float:
    """Places (m,) whose order to a place differs, mean over the places."""
    total = 0
    for rows in torch.arange(len(before), device=before.device).split(
        max(1, _PAIRS // len(before))
    ):
        orders = (level[rows, None] >= level for level in (before, after))  # (r, m) each
        total += int(torch.logical_xor(*orders).sum())
    return total / len(before)
