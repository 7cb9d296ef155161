"""What an image shows without a judgement of its quality: brightness, burnt values, colour, noise.

All take `(B, 3, H, W)` float RGB in [0, 1] (and, where named, the ground truth of the same shape)
and return `(B,)`.
"""

import torch
from torch import Tensor

BURNT = 0.98  # values above it are over-exposed
BLACK = 0.1  # pixels whose ground truth has a mean below it are black
BINS = 64  # of a histogram over [0, 1]
GREEN = 1  # index of the channel


def brightness(x: Tensor) -> Tensor:
    """Mean of all values."""
    return x.mean(dim=(1, 2, 3))


def burnt_share(x: Tensor) -> Tensor:
    """Share of the values above 0.98."""
    return (x > BURNT).to(x.dtype).mean(dim=(1, 2, 3))


def colour_cast(x: Tensor, reference: Tensor) -> Tensor:
    """Largest difference of a channel's share of the image's light to that of the reference."""
    return (_shares(x) - _shares(reference)).abs().amax(dim=1)


def green_excess(x: Tensor, reference: Tensor) -> Tensor:
    """Green's share of the image's light less that of the reference."""
    return (_shares(x) - _shares(reference))[:, GREEN]


def histogram_overlap(x: Tensor, reference: Tensor) -> Tensor:
    """Common part of the 64-bin histograms of R, G and B, mean over these: 1 for equal ones."""
    both = [
        torch.stack([torch.stack([torch.histc(c, BINS, 0, 1) for c in image]) for image in images])
        for images in (x, reference)
    ]
    return torch.minimum(*both).sum(dim=2).mean(dim=1) / x[0, 0].numel()


def noise_in_black(x: Tensor, reference: Tensor) -> Tensor:
    """Mean |difference of horizontal neighbours| where the reference is black, NaN without it."""
    black = reference.mean(dim=1)[..., 1:] < BLACK  # (B, H, W - 1)
    differences = x.diff(dim=-1).abs().mean(dim=1)
    return (differences * black).sum(dim=(1, 2)) / black.sum(dim=(1, 2))


def added_noise_in_black(x: Tensor, reference: Tensor) -> Tensor:
    """`noise_in_black` less that of the reference itself."""
    return noise_in_black(x, reference) - noise_in_black(reference, reference)


def _shares(x: Tensor) -> Tensor:
    """Each channel's share of the light, (B, 3); a third each for black."""
    means = x.mean(dim=(2, 3)) + 1e-6
    return means / means.sum(dim=1, keepdim=True)
