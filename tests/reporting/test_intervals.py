"""Intervals of means over images."""

import math
from dataclasses import replace

import numpy as np
import pytest

from llie_core.metrics.resampling import bootstrap
from llie_core.reporting.intervals import half_widths, intervals, with_interval
from llie_core.reporting.scores import reference_scores, select


def test_the_interval_of_many_normal_values_is_the_known_one():
    """Mean ± 1.96 σ/√n: 0 ± .098 for n = 400, σ = 1."""
    values = np.random.default_rng(1).standard_normal(400)
    values = (values - values.mean()) / values.std()
    low, high = bootstrap(values)
    assert (low, high) == pytest.approx((-0.098, 0.098), abs=0.005)
    assert bootstrap(values) == (low, high)


def test_weights_weigh_and_a_draw_without_any_is_left_out():
    values = np.random.default_rng(1).standard_normal(60)
    assert bootstrap(values, np.ones(60)) == bootstrap(values)
    assert bootstrap([*values, 9.0], [*np.ones(60), 0.0])[1] < 1
    assert bootstrap([1.0, 5.0], [1.0, 0.0]) == (1.0, 1.0)
    with pytest.raises(ValueError, match="a weight above 0"):
        bootstrap([1.0, 2.0], [0.0, 0.0])


def test_equal_values_have_no_width_and_none_are_refused():
    assert bootstrap([2.0, 2.0]) == (2.0, 2.0)
    for values in ([], [1.0, float("inf")]):
        with pytest.raises(ValueError, match="all finite"):
            bootstrap(values)


def score(value, n, **changes):
    one = select(reference_scores("neid", "lol"), metric="psnr")[0]
    return replace(one, value=value, n=n, low=-math.inf, high=math.inf, **changes)


def test_a_mean_bears_the_interval_of_its_images():
    values = np.random.default_rng(1).uniform(10, 20, 40)
    images = [{"name": str(i), "psnr-rgb-float": f"{value:.4f}"} for i, value in enumerate(values)]
    found = with_interval(score(values.mean(), 40), images)
    assert (found.low, found.high) == pytest.approx(bootstrap(values), abs=1e-4)
    by_metric = [{"name": line["name"], "psnr": line["psnr-rgb-float"]} for line in images]
    assert with_interval(score(values.mean(), 40), by_metric) == found
    # An image without a value is none of those that count.
    assert with_interval(score(values.mean(), 40), [*images, {"psnr-rgb-float": ""}]) == found
    assert with_interval(replace(found, low=1.0, high=2.0), images).low == 1.0


def test_what_is_no_mean_of_its_images_bears_none():
    images = [{"name": "a", "psnr-rgb-float": "1.0"}, {"name": "b", "psnr-rgb-float": "3.0"}]
    assert math.isfinite(with_interval(score(2.0, 2), images).low)
    endless = [{"psnr-rgb-float": "inf"}] * 2
    for value, n, lines in (
        (2.1, 2, images), (2.0, 1, images), (2.0, 2, []), (2.0, 0, []), (math.inf, 2, endless),
    ):  # fmt: skip
        assert with_interval(score(value, n), lines).low == -math.inf


def test_reference_runs_bear_the_intervals_of_their_means():
    kept = select(reference_scores("neid", "lol"), metric="psnr", label="neid")
    low, high = intervals(kept)["neid"]
    assert low < np.mean([one.value for one in kept]) < high
    assert high - low > 1  # 15 images decide little


def test_ends_are_averaged_over_seeds():
    kept = select(reference_scores("recognition", "camvid"), metric="miou", subset="all")
    a, b, *_, c = kept
    ends = [replace(a, label="a", low=0.1, high=0.5), replace(b, label="a", low=0.3, high=0.6)]
    without = replace(c, low=-math.inf, high=math.inf)
    assert intervals([*ends, without]) == {"a": pytest.approx((0.2, 0.55))}


def test_half_of_the_interval_stands_in_words():
    found = {"AP": [(0.1, 0.3), (0.2, 0.6)], "mIoU": [(0.5, 0.52)], "recall": []}
    words = "95 % intervals over images, median of the rows: AP ± 0.15, mIoU ± 0.01"
    assert half_widths(found) == words and half_widths({"AP": []}) == ""
