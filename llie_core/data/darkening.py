"""Physical darkening of a normal-light photograph, with every parameter on record.

sRGB ─▶ linear light ─▶ × exposure × white balance ─▶ shot and read noise ─▶ clip ─▶ tone curve
(sRGB, then a power `gamma`) ─▶ 8 bit. Shot noise has the Poisson variance, light / photons, and is
drawn from a normal distribution together with the read noise.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from llie_core.imaging import linear_to_srgb, srgb_to_linear


@dataclass(frozen=True)
class Darkening:
    """Parameters of one darkened image.

    exposure: gain in linear light, (0, 1]; gamma: power on the encoded image, ≥ 1 darkens;
    red, blue: white-balance gains against green; photons: electrons at full scale (0: no shot
    noise); read: standard deviation of the read noise in linear units; seed: of the noise.
    """

    exposure: float
    gamma: float = 1.0
    red: float = 1.0
    blue: float = 1.0
    photons: float = 0.0
    read: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.exposure <= 1:
            raise ValueError(f"exposure {self.exposure} must lie in (0, 1]")
        if min(self.gamma, self.red, self.blue) <= 0 or min(self.photons, self.read) < 0:
            raise ValueError("gamma, red and blue must be positive, photons and read not negative")

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class DarkeningRange:
    """Ranges from which `draw` takes an image's parameters (exposure and photons in log scale)."""

    exposure: tuple[float, float] = (0.02, 0.10)
    gamma: tuple[float, float] = (1.0, 1.2)
    white_balance: tuple[float, float] = (0.9, 1.1)
    photons: tuple[float, float] = (2000.0, 8000.0)
    read: tuple[float, float] = (0.0003, 0.001)

    def draw(self, rng: np.random.Generator) -> Darkening:
        """One image's parameters, rounded as they are recorded."""

        def log_uniform(low: float, high: float) -> float:
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))

        return Darkening(
            exposure=round(log_uniform(*self.exposure), 5),
            gamma=round(rng.uniform(*self.gamma), 3),
            red=round(rng.uniform(*self.white_balance), 3),
            blue=round(rng.uniform(*self.white_balance), 3),
            photons=round(log_uniform(*self.photons), 1),
            read=round(rng.uniform(*self.read), 6),
            seed=int(rng.integers(2**31)),
        )


def darken(image: np.ndarray, parameters: Darkening) -> np.ndarray:
    """Darken an sRGB image (3, H, W) in [0, 1]; returns float32 in [0, 1] on the 8-bit grid."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"darken needs an image (3, H, W), got shape {image.shape}")
    rng = np.random.default_rng(parameters.seed)
    gains = np.array([parameters.red, 1.0, parameters.blue], np.float32).reshape(3, 1, 1)
    light = srgb_to_linear(image.astype(np.float32)) * (np.float32(parameters.exposure) * gains)
    variance = np.full_like(light, parameters.read**2)
    if parameters.photons:
        variance += light / np.float32(parameters.photons)
    light += np.sqrt(variance) * rng.standard_normal(light.shape, dtype=np.float32)
    encoded = linear_to_srgb(np.clip(light, 0.0, 1.0))
    return quantise(encoded ** np.float32(parameters.gamma))


def quantise(image: np.ndarray) -> np.ndarray:
    """Round to the 8-bit grid, as a saved image is: float32 in [0, 1]."""
    return (np.round(np.clip(image, 0.0, 1.0) * 255) / 255).astype(np.float32)


# image (3, H, W) in [0, 1], generator → darkened image and the parameters on record
Darkener = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, dict]]


def physical_darkener(ranges: DarkeningRange | None = None) -> Darkener:
    """Darkening by the physical model."""
    ranges = ranges or DarkeningRange()

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        parameters = ranges.draw(rng)
        return darken(image, parameters), parameters.as_dict()

    return apply
