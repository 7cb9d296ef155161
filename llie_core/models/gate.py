"""Enhancement of photographs that may need none: a strength, and a gate that lowers it.

Enhancers are made for low-light images. On a normal-light photograph most of them brighten what is
bright already, and some clip nearly every pixel. `enhance_gated` blends the result with the input,

    y_s = x + s · (enhance(x) − x),    0 ≤ s ≤ 1,

and lowers s by bisection where y_s would do harm:

- more than `NEWLY_CLIPPED` of the pixels reach the end of the range in some channel, where x does
  not reach it in any, or
- x is bright already (mean luma above `BRIGHT`) and y_s differs from it by more than
  `LARGEST_CHANGE` (root mean square over pixels and channels).

The limits are choices of this project, for all methods alike; docs/DEFAULT.md has what they do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llie_core.imaging import luma
from llie_core.models.base import Enhancer

NEWLY_CLIPPED = 0.05  # share of the pixels
BRIGHT = 0.42  # mean BT.601 luma
LARGEST_CHANGE = 10 ** (-30 / 20)  # 30 dB
DARK_END, BRIGHT_END = 0.5 / 255, 250 / 255  # a channel beyond them is clipped
STEPS = 8  # of the bisection: s to 1/256 of what was asked
READ_PIXELS = 2**20  # pixels that the gate reads, a regular grid of the image's


@dataclass(frozen=True)
class Gated:
    """An enhanced image and how far the gate let the enhancement go.

    image: (1, 3, H, W) in [0, 1]. strength: s. reason: why it is lower than asked, or "".
    """

    image: Tensor
    strength: float
    reason: str = ""


def enhance_gated(
    model: Enhancer, x: Tensor, strength: float = 1.0, gate: bool = True, **condition
) -> Gated:
    """Enhance one photograph of any size, and no more than does good.

    Args:
        model: any enhancer.
        x: (1, 3, H, W) float RGB in [0, 1].
        strength: s, in [0, 1]; 0 is the input, 1 what the method makes of it.
        gate: False leaves the strength as asked.
        condition: what `model.enhance` takes besides.

    Raises:
        TypeError, ValueError: a strength outside [0, 1], several images, or no such image.
    """
    if not 0 <= strength <= 1:  # before the work
        raise ValueError(f"strength {strength} must lie in [0, 1]")
    if len(x) != 1:
        raise ValueError(f"enhance_gated: x holds {len(x)} images; give one at a time")
    return gated(x, model.enhance(x, **condition), strength, gate)


def gated(x: Tensor, enhanced: Tensor, strength: float = 1.0, gate: bool = True) -> Gated:
    """What `enhance_gated` makes of an image and its enhanced one, (1, 3, H, W) in [0, 1] both.

    The memory of `enhanced` is used for the result.
    """
    x = x.to(enhanced.dtype)
    lowered, reason = allowed_strength(x, enhanced, strength) if gate else (strength, "")
    if lowered < 1:
        torch.lerp(x, enhanced, lowered, out=enhanced)
    return Gated(enhanced, lowered, reason)


def clipped_share(x: Tensor, y: Tensor) -> float:
    """Share of the pixels of y that are clipped in some channel where x is in none: both
    (1, 3, H, W) in [0, 1]."""
    return float((_clipped(y) & ~_clipped(x)).float().mean())


def _clipped(x: Tensor) -> Tensor:
    return ((x <= DARK_END) | (x >= BRIGHT_END)).any(dim=1)


def allowed_strength(x: Tensor, enhanced: Tensor, strength: float) -> tuple[float, str]:
    """The largest strength, up to the one asked for, that does no harm, and what would else."""
    step = max(1, round((x.shape[-2] * x.shape[-1] / READ_PIXELS) ** 0.5))
    x, enhanced = x[..., ::step, ::step], enhanced[..., ::step, ::step]
    change = float((enhanced - x).square().mean().sqrt())
    light = float(luma(x).mean())

    def clips(s: float) -> bool:
        return clipped_share(x, torch.lerp(x, enhanced, s)) > NEWLY_CLIPPED

    def changes(s: float) -> bool:
        return light > BRIGHT and s * change > LARGEST_CHANGE

    reasons = []
    if changes(strength):
        reasons.append(f"bright already, mean luma {light:.2f}")
    if clips(strength):
        reasons.append(f"more than {NEWLY_CLIPPED:.0%} of the pixels would clip")
    if not reasons:
        return strength, ""
    return _bisected(strength, lambda s: changes(s) or clips(s)), "; ".join(reasons)


def _bisected(high: float, harms: Callable[[float], bool]) -> float:
    """The largest value in [0, high], to `STEPS` halvings, that does not harm; `high` does."""
    low = 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if harms(middle) else (middle, high)
    return low
