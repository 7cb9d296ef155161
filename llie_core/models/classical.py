"""Enhancers without parameters: the input itself, a gamma curve, histogram equalisation, CLAHE.

Global histogram equalisation (HE) follows R. C. Gonzalez, R. E. Woods, "Digital Image
Processing", on scikit-image's cumulative distribution; CLAHE is K. Zuiderveld, "Contrast Limited
Adaptive Histogram Equalization", Graphics Gems IV, 1994, as scikit-image implements it. The
methods without learning that the papers compare with beside these stand in histogram.py,
retinex.py, variational.py and fusion.py, on the two bases here.

The papers compare with HE and CLAHE but do not say on which channel or with which settings. Both
work on the HSV value V = max(R, G, B) here (scikit-image's choice for colour images): RGB is
scaled by V'/V, so hue and saturation stay and the result stays in [0, 1].
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.models.base import Enhancer
from llie_core.models.large import (
    WHOLE_PIXELS,
    in_tile,
    of_whole_image,
    resized,
    rows_at_size,
    small_copy,
)

ROWS = 256  # of a large image, at a time
LINE_RADIUS, LINE_EPSILON = 2, 1e-4  # pixels of the small copy; squares of values in [0, 1]


class Identity(Enhancer):
    """The input itself, a row of every comparison."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Gamma(Enhancer):
    """One gamma curve for all pixels and channels: x ** exponent, differentiable.

    Args:
        exponent: below 1 brightens. The default 1/2.2 is the usual display gamma, applied once
            more: dark tones as if the image held linear light.
    """

    def __init__(self, exponent: float = 1 / 2.2):
        super().__init__()
        if not exponent > 0:
            raise ValueError(f"exponent={exponent}: expected a number above 0")
        self.exponent = exponent

    def forward(self, x: Tensor) -> Tensor:
        # The slope of the power is infinite at 0; black passes unchanged, with a finite one.
        return torch.where(x > 0, x.clamp(min=1e-8) ** self.exponent, x)


class ValueEnhancer(Enhancer):
    """Base of methods that map the HSV value of each image; no gradients.

    Subclasses define `map_value(value)`: (H, W) in [0, 1] → the same, for one image that is not
    constant. Constant images are returned as they are: they have no contrast to enhance.
    """

    exports = "it is computed by NumPy"

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        value = x.amax(dim=1).clamp(0, 1)  # (B, H, W)
        mapped = torch.stack([v if v.min() == v.max() else self.map_value(v) for v in value])
        # Black has no hue: it takes its new value as grey.
        colour = torch.where(value[:, None] > 0, x / value[:, None].clamp(min=1e-8), 1.0)
        return colour * mapped[:, None]


def levels_of(value: Tensor) -> np.ndarray:
    """The nearest of the 256 levels of 8-bit images: (H, W) in [0, 1] → (H, W) uint8."""
    return (value * 255).round().byte().cpu().numpy()


def through_curve(value: Tensor, curve: np.ndarray) -> Tensor:
    """Map (H, W) in [0, 1] by a curve given at the 256 levels, linear between them."""
    points = torch.from_numpy(curve).to(value)  # (256,)
    level = value * 255
    below = level.floor().clamp(max=254).long()
    return torch.lerp(points[below], points[below + 1], level - below)


class HistogramEqualization(ValueEnhancer):
    """Global histogram equalisation of the HSV value over 256 levels.

    The curve sends level k to (cdf(k) − cdf_min) / (1 − cdf_min), cdf_min being that of the
    darkest level present, so the darkest becomes 0 and the brightest 1; between the levels of
    8-bit images it is linear.
    """

    def map_value(self, value: Tensor) -> Tensor:
        from skimage.exposure import cumulative_distribution

        cdf, levels = cumulative_distribution(levels_of(value))  # from the darkest to the brightest
        if cdf[0] == 1:  # all pixels on one level
            return value
        curve = np.interp(np.arange(256), levels, (cdf - cdf[0]) / (1 - cdf[0]))
        return through_curve(value, curve)


class CLAHE(ValueEnhancer):
    """Contrast-limited adaptive histogram equalisation of the HSV value.

    scikit-image's `equalize_adapthist`: 8×8 tiles, 256 bins; it stretches the result to [0, 1].

    Args:
        clip_limit: in (0, 1], higher gives more contrast. The default, scikit-image's, is near
            the 2.0 usual with OpenCV, which counts in units of 1/256.
    """

    def __init__(self, clip_limit: float = 0.01):
        super().__init__()
        if not 0 < clip_limit <= 1:
            raise ValueError(f"clip_limit={clip_limit}: expected a number in (0, 1]")
        self.clip_limit = clip_limit

    def map_value(self, value: Tensor) -> Tensor:
        from skimage.exposure import equalize_adapthist

        mapped = equalize_adapthist(value.double().cpu().numpy(), clip_limit=self.clip_limit)
        return torch.from_numpy(mapped).to(value)


class ArrayEnhancer(Enhancer):
    """Base of methods that NumPy and SciPy compute, one image at a time, in float64; no gradients.

    Subclasses define `enhance_array(image)`: (H, W, 3) in [0, 1] → the same shape, finite; values
    outside [0, 1] are for `enhance` to clamp.
    """

    exports = "it is computed by NumPy"

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        images = x.clamp(0, 1).cpu().double().permute(0, 2, 3, 1).numpy()  # (B, H, W, 3)
        enhanced = np.stack([self.enhance_array(image) for image in images])
        return torch.from_numpy(enhanced).permute(0, 3, 1, 2).to(x)


class GainEnhancer(ArrayEnhancer):
    """Base of methods that multiply each pixel by a gain: R, G and B by the same.

    Subclasses define `gain(image)`: (H, W, 3) in [0, 1] → (H, W), finite. On images of more than
    `WHOLE_PIXELS` it is estimated on a small copy. There it depends on its neighbourhood in the
    value V = max(R, G, B) linearly, gain = a·V + b, as in a guided filter (K. He, J. Sun, "Fast
    Guided Filter", arXiv 1505.00996, 2015); a and b are brought to full size and meet its own V, so
    that the gain follows the edges of the image and not those of the copy.
    """

    estimate_pixels = 2**16

    def gain(self, image: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} defines no gain")

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        return image * self.gain(image)[..., None]

    def any_size(self, x: Tensor) -> Tensor:
        if x.shape[-2] * x.shape[-1] <= WHOLE_PIXELS and not in_tile():
            return super().any_size(x)
        return torch.cat([self._by_a_small_gain(image[None]) for image in x])

    def _by_a_small_gain(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) → the same shape."""

        def estimated() -> Tensor:
            image = small_copy(x)[0].clamp(0, 1).permute(1, 2, 0).cpu().double().numpy()
            return torch.from_numpy(self.gain(image))[None, None].to(x)

        gain = of_whole_image(estimated)  # (1, 1, h, w)
        if gain.shape[-2:] == x.shape[-2:]:
            return x * gain
        small = resized(x, gain.shape[-2:]).clamp(0, 1)
        line = local_line(small.amax(dim=1, keepdim=True), gain)  # (1, 2, h, w)
        low, high = gain.aminmax()
        result, height = torch.empty_like(x), x.shape[-2]
        for top in range(0, height, ROWS):
            part = slice(top, min(height, top + ROWS))
            a, b = rows_at_size(line, part, (height, x.shape[-1])).split(1, dim=1)
            own = x[..., part, :]
            result[..., part, :] = own * (a * own.amax(dim=1, keepdim=True) + b).clamp(low, high)
        return result


def local_line(guide: Tensor, values: Tensor) -> Tensor:
    """Slope and offset of the line through values over guide around each pixel, both (1, 1, h, w) →
    (1, 2, h, w): those of a guided filter of radius `LINE_RADIUS`."""

    def mean(one: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(one, [LINE_RADIUS] * 4, mode="replicate"), side, stride=1)

    side = 2 * LINE_RADIUS + 1
    guide_mean, value_mean = mean(guide), mean(values)
    covariance = mean(guide * values) - guide_mean * value_mean
    slope = covariance / ((mean(guide * guide) - guide_mean.square()).clamp(min=0) + LINE_EPSILON)
    return torch.cat([mean(slope), mean(value_mean - slope * guide_mean)], dim=1)
