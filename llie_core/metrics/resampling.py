"""The bootstrap over images: how far other images of the kind could move a number.

Each draw takes as many images as there are, with replacement; the interval holds the middle 95 % of
what the draws give (the percentile method). Draws are the same in each call.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

DRAWS, LEVEL = 5000, 0.95
OF_SETS = 1000  # draws of what is no mean over images, which takes longer

Interval = tuple[float, float]


@lru_cache(maxsize=4)
def drawn_counts(images: int, draws: int = DRAWS) -> np.ndarray:
    """How often each draw takes each image: (draws, images) float64, read-only."""
    drawn = np.random.default_rng(0).integers(0, images, (draws, images))
    places = (drawn + np.arange(draws)[:, None] * images).ravel()
    counts = np.bincount(places, minlength=draws * images).reshape(draws, images).astype(float)
    counts.setflags(write=False)
    return counts


def middle(values: np.ndarray) -> Interval:
    """The ends of the interval of what the draws gave, NaN left out."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap(
    values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> Interval:
    """The interval of the mean of some values; weights: as for `drawn_means`."""
    return middle(drawn_means(values, weights))


def drawn_means(
    values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """The mean of some values in each draw.

    weights: of the values, at least 0, where the mean is weighted; a draw whose weights are all 0
    is left out. Raises ValueError without values or with one that is not finite.
    """
    known = np.asarray(values, float)
    shares = np.ones(known.size) if weights is None else np.asarray(weights, float)
    if not (known.size and np.isfinite(known).all() and shares.sum() > 0):
        raise ValueError("an interval needs values, all finite, and a weight above 0")
    counts = drawn_counts(known.size)
    total = counts @ shares  # (DRAWS,)
    return (counts @ (known * shares))[total > 0] / total[total > 0]
