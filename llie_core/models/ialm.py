"""IALM: exposure, gamma and smoothing with predicted parameters, trained by a recognizer's loss.

"Improving Low-Light Image Recognition Performance Based on Image-Adaptive Learnable Module",
S. Ono, Y. Ogino, T. Toizumi, A. Ito, M. Tsukada, VISAPP 2024; the baseline of paper 1, which says
what it consists of: three modules, each an image operation with a predictor of its parameter.

    exposure    x · 2^e                     |e| < 7
    gamma       x^g, x ≥ 1e-4               1/5 < g < 5
    smoothing   x + s·(blur(x) − x)         |s| < 1, a 5×5 Gaussian of standard deviation 1

Differs from the paper: the layers are unpublished. The predictors follow IA-YOLO's (W. Liu et al.,
AAAI 2022: a 256×256 copy, five 3×3 convolutions of stride 2, two linear layers); with three of
them the size is 492,099 parameters, which is what paper 1's Table 4 leaves for IALM (0.5 M).
IA-YOLO's ranges (|e| ≤ 3.5, 1/2.5 ≤ g ≤ 2.5, by tanh) are wider here, and v / (1 + |v|)
bounds a prediction v: on night streets all three parameters ended at their bounds, where tanh has
no slope left. Measured there (64×128, 100 steps): e .58, s .40, but g .21, still next to its bound,
as with a bound of 1/10 (.11, 70 steps). The smoothing operation is our choice; s may turn
negative (it then sharpens), because a share that stops at 0 has no slope there. Every module starts
as the identity, but for values below 1e-4.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32, without_autocast
from llie_core.models.base import Enhancer
from llie_core.models.gem_pam import zero_init
from llie_core.models.large import of_whole_image

PREDICTOR_SIZE = 256  # side of what the predictors see, in pixels
PREDICTOR_WIDTHS = (16, 32, 32, 32, 32)
MAX_EXPOSURE = 7.0  # in stops
MAX_GAMMA = 5.0
BOUNDS = {
    "exposure": (-MAX_EXPOSURE, MAX_EXPOSURE),
    "gamma": (1 / MAX_GAMMA, MAX_GAMMA),
    "smoothing": (-1.0, 1.0),
}
SATURATED = 0.95  # of its bound, beyond which a parameter hardly moves
LEAST = 1e-4  # below it the slope of x^g explodes
BLUR_SIDE, BLUR_SIGMA = 5, 1.0


class Predictor(nn.Module):
    """One number an image, within (−1, 1), zero at the start."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *PREDICTOR_WIDTHS[:-1]), PREDICTOR_WIDTHS, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.1)]
        side = PREDICTOR_SIZE // 2 ** len(PREDICTOR_WIDTHS)
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(PREDICTOR_WIDTHS[-1] * side * side, 64)
        self.head = nn.Linear(64, 1)
        zero_init(self.head)

    def forward(self, small: Tensor) -> Tensor:
        """(B, 3, 256, 256) → (B, 1, 1, 1), in float32 under autocast, too."""
        features = self.features(small)  # (B, 2048)
        value = in_float32(self.head, F.leaky_relu(self.hidden(features), 0.1))
        return F.softsign(value)[..., None, None]


def gaussian_blur(x: Tensor) -> Tensor:
    """(B, C, H, W) blurred by the 5×5 Gaussian; borders repeat their pixels."""
    offsets = torch.arange(BLUR_SIDE, dtype=x.dtype, device=x.device) - BLUR_SIDE // 2
    weights = torch.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    weights = weights / weights.sum()
    channels = x.shape[1]
    rows = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    padded = F.pad(x, [BLUR_SIDE // 2] * 4, mode="replicate")
    # In the image's own precision: bfloat16 has fewer levels than an 8-bit image.
    with without_autocast(x):
        return F.conv2d(F.conv2d(padded, rows, groups=channels), rows.mT, groups=channels)


class IALM(Enhancer):
    """Exposure, gamma and smoothing modules, one after the other: 492,099 parameters."""

    margin, bytes_per_pixel = BLUR_SIDE // 2, 100

    def __init__(self):
        super().__init__()
        self.exposure, self.gamma, self.smoothing = Predictor(), Predictor(), Predictor()

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """`image` (B, 3, H, W) and its parameters (B, 1, 1, 1): `exposure`, `gamma`, `smoothing`.

        exposure in stops, gamma as the exponent, smoothing as the share of the blur; and
        `saturation`, a scalar: the share of the parameters that are at their bounds.
        """
        stops = of_whole_image(lambda: self.exposure(_small(x)))
        exposure = MAX_EXPOSURE * stops
        exposed = x * 2**exposure
        bend = of_whole_image(lambda: self.gamma(_small(exposed)))
        gamma = torch.exp(math.log(MAX_GAMMA) * bend)
        bent = exposed.clamp(min=LEAST) ** gamma
        smoothing = of_whole_image(lambda: self.smoothing(_small(bent)))
        smooth = torch.lerp(bent, gaussian_blur(bent), smoothing)
        saturation = (torch.cat([stops, bend, smoothing]).abs() > SATURATED).float().mean()
        return {
            "image": smooth, "exposure": exposure, "gamma": gamma, "smoothing": smoothing,
            "saturation": saturation,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.training_outputs(x)["image"]


def share_at_bounds(name: str, values: Tensor) -> float:
    """Share of values of a parameter that lie beyond SATURATED of their bound."""
    scale = math.log(MAX_GAMMA) if name == "gamma" else BOUNDS[name][1]
    predicted = (values.log() if name == "gamma" else values) / scale
    return (predicted.abs() > SATURATED).float().mean().item()


def _small(x: Tensor) -> Tensor:
    """What a predictor sees: the image as the modules before have made it, at 256×256."""
    size = (PREDICTOR_SIZE, PREDICTOR_SIZE)
    return F.interpolate(x, size, mode="bilinear", antialias=True)
