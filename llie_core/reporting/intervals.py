"""Intervals of means over images: how much a few test images decide."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

from llie_core.metrics.resampling import Interval, bootstrap
from llie_core.reporting.scores import Score


def with_interval(score: Score, images: Sequence[Mapping]) -> Score:
    """A score with its interval over images, where it bears none and is a mean over images.

    images: lines of its row and seed, an image each. It is a mean where a column named as its
    protocol or metric holds as many values as it counts, with this mean.
    """
    if math.isfinite(score.low) or not math.isfinite(score.value):
        return score
    for name in (score.protocol, score.metric):
        values = [float(line[name]) for line in images if line.get(name) not in (None, "")]
        if score.n != len(values) or not values:
            continue
        if math.isclose(fmean(values), score.value, rel_tol=1e-3, abs_tol=1e-4):  # they are rounded
            low, high = bootstrap(values)
            return replace(score, low=low, high=high)
    return score


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
