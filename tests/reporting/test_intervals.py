"""Intervals of means over images."""

import math
from dataclasses import replace

import numpy as np
import pytest

from llie_core.metrics.resampling import bootstrap
from llie_core.reporting.intervals import half_widths, intervals, kept_images, set_intervals
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


def test_seeds_of_an_image_are_averaged_first():
    lines = [
        {"label": "a", "name": name, "seed": seed, "p": value}
        for name, seed, value in (
            ("1", 0, "1.0"),
            ("1", 1, "3.0"),
            ("2", 0, "2.0"),
            ("2", 1, "2.0"),
        )
    ]
    other = [{"label": "b", "name": "1", "p": "inf"}, {"label": "c", "name": "1", "p": ""}]
    assert intervals([*lines, *other], "p") == {"a": (2.0, 2.0)}


def test_reference_runs_give_values_of_each_image():
    found = intervals(kept_images("neid", "lol", "lol"), "psnr-rgb-float")
    low, high = found["neid"]
    assert low < 17.34 < high and high - low > 1  # 15 images decide little
    assert kept_images("neid", "none", "lol") == []


def test_ends_of_a_number_of_a_whole_set_are_averaged_over_seeds():
    kept = select(reference_scores("recognition", "camvid"), metric="miou", subset="all")
    a, b, *_, c = kept
    ends = [replace(a, label="a", low=0.1, high=0.5), replace(b, label="a", low=0.3, high=0.6)]
    without = replace(c, low=-math.inf, high=math.inf)
    assert set_intervals([*ends, without]) == {"a": pytest.approx((0.2, 0.55))}


def test_half_of_the_interval_stands_in_words():
    found = {"AP": [(0.1, 0.3), (0.2, 0.6)], "mIoU": [(0.5, 0.52)], "recall": []}
    words = "95 % intervals over images, median of the rows: AP ± 0.15, mIoU ± 0.01"
    assert half_widths(found) == words and half_widths({"AP": []}) == ""
