"""Noise for images that a darkener has made without any."""

import numpy as np

NOISES = ("none", "gaussian", "poisson")
LEVELS = {"none": 0.0, "gaussian": 0.01, "poisson": 1000.0}  # where no level is given


def add_noise(image: np.ndarray, name: str, level: float, rng: np.random.Generator) -> np.ndarray:
    """The image with noise, clipped to [0, 1]; float32 as the image.

    Args:
        image: (3, H, W) in [0, 1].
        name: "gaussian", of one standard deviation everywhere; "poisson", counts whose variance
            is their mean, as of light itself (in encoded values here, not in linear light);
            "none".
        level: standard deviation, or counts at full scale.

    Raises:
        ValueError: as check_noise.
    """
    check_noise(name, level)
    if name == "none":
        return image
    if name == "gaussian":
        noisy = image + level * rng.standard_normal(image.shape, dtype=np.float32)
    else:
        noisy = rng.poisson(np.clip(image, 0, 1) * level) / level
    return np.clip(noisy, 0, 1).astype(np.float32)


def check_noise(name: str, level: float) -> None:
    """ValueError for an unknown noise, a level that is no positive number, or a standard deviation
    above 1, which surely means the scale 0–255."""
    if name not in NOISES:
        raise ValueError(f"noise {name!r}: choose one of {', '.join(NOISES)}")
    if name != "none" and not 0 < level < float("inf"):
        raise ValueError(f"noise level {level}: it must be a positive number")
    if name == "gaussian" and level > 1:
        raise ValueError(f"noise level {level}: give a standard deviation on the scale 0–1")
