"""Intervals of means over images: how much a few test images decide."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, median

import numpy as np

from llie_core.files import read_rows
from llie_core.metrics.resampling import Interval, bootstrap
from llie_core.reporting.scores import Score, reference_folder


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


def half_widths(found: Mapping[str, Iterable[Interval]]) -> str:
    """How far other images of the kind could move the numbers of a table, in words: by metric half
    the interval, the median of the rows; "" where there is no interval."""
    words = [
        f"{title} ± {median((high - low) / 2 for low, high in of):.2g}"
        for title, own in found.items()
        if (of := list(own))
    ]
    start = "95 % intervals over images, median of the rows: "
    return start + ", ".join(words) if words else ""


def kept_images(paper: str, dataset: str, test_set: str) -> list[dict[str, str]]:
    """What was measured of each image of a test set in the reference runs of a data set."""
    folder = reference_folder(paper, dataset)
    return read_rows(folder / "per_image" / f"quality-{test_set}.csv") if folder else []


def set_intervals(scores: Iterable[Score]) -> dict[str, Interval]:
    """Label → interval of a number of a whole set, such as AP, its ends averaged over seeds.

    scores: of one metric and subset; labels without ends are left out.
    """
    found: dict[str, list[Interval]] = {}
    for score in scores:
        if math.isfinite(score.low):
            found.setdefault(score.label, []).append((score.low, score.high))
    ends = {label: zip(*own, strict=True) for label, own in found.items()}
    return {label: (fmean(low), fmean(high)) for label, (low, high) in ends.items()}
