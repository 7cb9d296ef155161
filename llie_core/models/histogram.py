"""Enhancers that map levels by a curve drawn from the image's histogram: LDR, LRS.

Both work on the HSV value over the 256 levels of 8-bit images, as HE and CLAHE do here
(classical.py): hue and saturation stay, values between two levels are mapped linearly, constant
images are returned as they are.
"""

import numpy as np
from torch import Tensor

from llie_core.models.classical import ValueEnhancer, levels_of, through_curve


def pair_histogram(levels: np.ndarray) -> np.ndarray:
    """How often two levels are neighbours: (H, W) uint8 → (256, 256), entry [k, k + l] for l ≥ 0.

    Every pair of horizontal or vertical neighbours counts once, whichever is the brighter.
    """
    counts = np.zeros(256 * 256)
    for one, other in ((levels[:, 1:], levels[:, :-1]), (levels[1:], levels[:-1])):
        pairs = np.minimum(one, other).astype(np.int64) * 256 + np.maximum(one, other)
        counts += np.bincount(pairs.ravel(), minlength=256 * 256)
    return counts.reshape(256, 256)


class LayeredDifference(ValueEnhancer):
    r"""LDR: stretches the level differences that neighbouring pixels show often.

    C. Lee, C. Lee, C.-S. Kim, "Contrast Enhancement Based on Layered Difference Representation of
    2D Histograms", IEEE TIP 22(12), 2013.

    In layer l, h^l_k counts neighbours of levels k and k + l, on a logarithmic scale (Eq. 2). Such
    a pair asks for contrast at each of the l steps between its levels, so step k is asked for by

    .. math:: m^l_k = \sum_{i=k-l+1}^{k} h^l_i \quad\text{(Eq. 30)},\qquad
        d^l_k \propto \frac{m^l_k - \min_i m^l_i}{u^l_k} \quad\text{(Eq. 33)}

    u^l_k being the number of pairs in layer l that span step k (Eq. 31). Layers are joined with
    weights (Eqs. 23, 24)

    .. math:: w_l = (s_l / \max_i s_i)^\alpha, \quad s_l = \sum_k h^l_k, \qquad
        d = \sum_l w_l\, d^l / \textstyle\sum_k d^l_k

    and the steps d, scaled to a sum of 1, add up to the curve, which leads from 0 to 1.

    Args:
        alpha: of the weights; higher lets fewer layers speak. The paper's 2.5.

    In colour the curve maps the HSV value, so that hue stays. An image whose pairs ask for all
    steps alike (of black and white only, say) is returned as it is.
    """

    def __init__(self, alpha: float = 2.5):
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha={alpha}: expected a number above 0")
        self.alpha = alpha

    def map_value(self, value: Tensor) -> Tensor:
        histogram = np.log1p(pair_histogram(levels_of(value)))  # Eq. (2)
        steps, sums = np.zeros((255, 255)), np.zeros(255)  # row l − 1: layer l
        for layer in range(1, 256):
            pairs = np.diagonal(histogram, layer)  # h^l, (256 − l,)
            sums[layer - 1] = pairs.sum()
            steps[layer - 1] = layer_steps(pairs, layer)
        steps = ((sums / max(sums.max(), 1e-9)) ** self.alpha) @ steps  # Eqs. (23), (24)
        if steps.sum() == 0:  # no step is asked for more than another: one level, or two extremes
            return value
        curve = np.concatenate([[0.0], steps.cumsum() / steps.sum()])  # (256,)
        return through_curve(value, curve)


def layer_steps(pairs: np.ndarray, layer: int) -> np.ndarray:
    """d^l of one layer: h^l (256 − l,) → (255,) with sum 1, or zeros where no step stands out."""
    step = np.arange(1, 256)
    spanning = np.minimum(step, 256 - layer) - np.maximum(step - layer, 0)  # u^l, Eq. (31)
    asked = np.convolve(pairs, np.ones(layer))  # m^l, Eq. (30)
    steps = (asked - asked.min()) / spanning  # Eq. (33)
    return steps / max(steps.sum(), 1e-9)


class RegionStretching(ValueEnhancer):
    """LRS: equalises the dark, the middle and the bright third of the levels, each within itself.

    S. Srinivasan, N. Balram, "Adaptive Contrast Enhancement Using Local Region Stretching",
    Proc. Asian Symposium on Information Display, 2006. "Regions" are those of the histogram.

    Levels lo … hi of a region keep that range: k becomes lo + (hi − lo) · c(k), c being the
    cumulative distribution among the region's own pixels. An image whose pixels are all dark
    therefore stays in the dark third.

    Args:
        bounds: last levels of the dark and of the middle region.
        strength: share of the equalised level in the result, the input's level being the rest.

    Differs from the paper: we had no copy of it and follow what others' descriptions agree on.
    There the strength of each region depends on its spread (mean absolute deviation of its
    levels) through curves that we do not know; it is one constant here. At full strength the mean
    PSNR on LOL's eval15 is 10.09 dB, at 384×384 pixels 10.23; paper 3 prints 10.22 at that size.
    """

    def __init__(self, bounds: tuple[int, int] = (85, 170), strength: float = 1.0):
        super().__init__()
        if not 0 <= bounds[0] < bounds[1] < 255:
            raise ValueError(f"bounds={bounds}: expected two rising levels in [0, 254]")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength={strength}: expected a number in [0, 1]")
        self.bounds, self.strength = tuple(bounds), strength

    def map_value(self, value: Tensor) -> Tensor:
        counts = np.bincount(levels_of(value).ravel(), minlength=256)
        level = np.arange(256.0)
        curve = level.copy()
        dark, middle = self.bounds
        for low, high in ((0, dark), (dark + 1, middle), (middle + 1, 255)):
            total = counts[low : high + 1].cumsum()
            if total[-1]:
                curve[low : high + 1] = low + (high - low) * total / total[-1]
        return through_curve(value, (level + self.strength * (curve - level)) / 255)
