"""Intervals of means over images: how much a few test images decide."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from llie_core.files import read_rows
from llie_core.reporting.scores import reference_folder

DRAWS, LEVEL = 5000, 0.95  # of the bootstrap

Interval = tuple[float, float]


def bootstrap(
    values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> Interval:
    """The percentile interval of the mean of some values, each drawn again with replacement.

    Deterministic. weights: of the values, at least 0, where the mean is weighted; a draw whose
    weights are all 0 is left out. Raises ValueError without values or with one that is not finite.
    """
    known = np.asarray(values, float)
    shares = np.ones(known.size) if weights is None else np.asarray(weights, float)
    if not (known.size and np.isfinite(known).all() and shares.sum() > 0):
        raise ValueError("an interval needs values, all finite, and a weight above 0")
    drawn = np.random.default_rng(0).integers(0, known.size, (DRAWS, known.size))
    total = shares[drawn].sum(axis=1)  # (DRAWS,)
    means = (known * shares)[drawn].sum(axis=1)[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def intervals(per_image: Iterable[Mapping[str, str]], protocol: str) -> dict[str, Interval]:
    """Label → interval of the mean over images, each image's value averaged over seeds.

    per_image: lines with label, name and a column of the protocol; labels without finite values
    are left out.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for line in per_image:
        if line.get(protocol):
            images = found.setdefault(line["label"], {})
            images.setdefault(line["name"], []).append(float(line[protocol]))
    means = {label: [float(np.mean(v)) for v in images.values()] for label, images in found.items()}
    return {label: bootstrap(v) for label, v in means.items() if np.isfinite(v).all()}


def kept_images(paper: str, dataset: str, test_set: str) -> list[dict[str, str]]:
    """What was measured of each image of a test set in the reference runs of a data set."""
    folder = reference_folder(paper, dataset)
    return read_rows(folder / "per_image" / f"quality-{test_set}.csv") if folder else []
