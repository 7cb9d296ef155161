"""Intervals of means over images: how much a few test images decide."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

from llie_core.metrics.resampling import Interval, bootstrap
from llie_core.reporting.scores import Score

ImageLines = Sequence[Mapping[str, str]]  # what was measured of each image, by column


def with_interval(score: Score, images: ImageLines) -> Score:
    """A score with its interval over images, where it bears none and is a mean over images.

    images: lines of its row and seed, an image each.
    """
    if math.isfinite(score.low):
        return score
    values = [*values_behind(score, images)]
    if not values:
        return score
    low, high = bootstrap([value for _, value in values])
    return replace(score, low=low, high=high)


def values_behind(score: Score, images: ImageLines) -> list[tuple[str, float]]:
    """Name and value of each image that a score is the mean of; [] where it is no such mean.

    It is one where a column named as its protocol or metric holds as many values as it counts, with
    this mean.
    """
    if not math.isfinite(score.value):
        return []
    for column in (score.protocol, score.metric):
        lines = [line for line in images if line.get(column) not in (None, "")]
        values = [float(line[column]) for line in lines]
        if score.n != len(values) or not values:
            continue
        if math.isclose(fmean(values), score.value, rel_tol=1e-3, abs_tol=1e-4):  # they are rounded
            return [(line["name"], value) for line, value in zip(lines, values, strict=True)]
    return []


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


def intervals(scores: Iterable[Score]) -> dict[str, Interval]:
    """Label → interval over images, its ends averaged over seeds.

    scores: of one metric and subset; labels without ends are left out.
    """
    found: dict[str, list[Interval]] = {}
    for score in scores:
        if math.isfinite(score.low):
            found.setdefault(score.label, []).append((score.low, score.high))
    ends = {label: zip(*own, strict=True) for label, own in found.items()}
    return {label: (fmean(low), fmean(high)) for label, (low, high) in ends.items()}
