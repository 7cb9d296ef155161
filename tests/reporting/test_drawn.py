"""Differences of two rows over the images that both were measured on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made import HARD, UNTRAINED, a_score

from llie_core.metrics.resampling import OF_SETS, bootstrap, drawn_counts
from llie_core.reporting.drawn import (
    Differences,
    Draws,
    draws_behind,
    name_of,
    read_drawn,
    write_drawn,
)

IMAGES = 30


def score(label, value, seed=0, subset="easy", half=math.inf):
    given = {"label": label, "value": value, "seed": seed, "subset": subset, "n": IMAGES}
    ends = {"low": value - half, "high": value + half}
    return a_score(**HARD | UNTRAINED | {"commit": "c0ffee"} | given | ends)


def lines(values):
    """Of images whose mean is a score, as an evaluation writes them."""
    return [{"name": f"{i}.png", "ap": f"{value:.6f}"} for i, value in enumerate(values)]


def differing(by, seed=0):
    """Values of the same images behind two rows: far apart by image, little between the rows."""
    generator = np.random.default_rng(seed)
    hard = generator.uniform(0, 1, IMAGES)
    return hard, hard + by + generator.normal(0, 0.01, IMAGES)


def of_means(values):
    """`draws_of` for scores of these rows, label → values."""
    return lambda one: draws_behind(one, [(lines(values[one.label]), {})])


def test_rows_are_paired_image_by_image():
    low, high = differing(0.05)
    scores = [score("a", high.mean(), half=0.1), score("b", low.mean(), half=0.1)]
    paired = Differences(scores, of_means({"a": high, "b": low}))
    found = paired.interval("a", "b", "ap", ["easy"], [])
    assert found.paired and found[:2] == pytest.approx(bootstrap(high - low), abs=1e-5)
    assert 0.04 < found.low < found.high < 0.06
    # Without the images it is as wide as that of two independent means.
    mean = high.mean() - low.mean()
    wide = Differences(scores).interval("a", "b", "ap", ["easy"], [])
    assert not wide.paired
    assert wide[:2] == pytest.approx((mean - 0.1 * math.sqrt(2), mean + 0.1 * math.sqrt(2)))


def test_other_images_are_not_paired():
    low, high = differing(0.05)
    scores = [score("a", high.mean(), half=0.1), score("b", low.mean(), half=0.1)]

    def renamed(one):
        draws = of_means({"a": high, "b": low})(one)
        return draws._replace(images=("other",)) if one.label == "a" else draws

    assert Differences(scores, renamed).interval("a", "b", "ap", ["easy"], []) == (
        Differences(scores).interval("a", "b", "ap", ["easy"], [])
    )


def test_a_number_has_no_width_and_what_says_nothing_no_interval():
    low, _ = differing(0.05)
    scores = [score("b", low.mean()), score("c", 0.2)]
    found = Differences(scores, of_means({"b": low, "c": low}))
    whole = bootstrap(low)
    expected = (0.9 - whole[1], 0.9 - whole[0])
    assert found.interval(0.9, "b", "ap", ["easy"], [])[:2] == pytest.approx(expected, abs=1e-5)
    assert found.interval("b", "c", "ap", ["easy"], []) is None  # c's mean is none of its lines'
    assert found.interval("b", "absent", "ap", ["easy"], []) is None


def test_seeds_are_averaged_those_in_common():
    low, high = differing(0.05)
    by_seed = {0: high, 1: high + 0.02, 2: high + 9}
    scores = [score("a", v.mean(), seed) for seed, v in by_seed.items()] + [score("b", low.mean())]

    def draws_of(one):
        return draws_behind(one, [(lines(by_seed[one.seed] if one.label == "a" else low), {})])

    found = Differences(scores, draws_of).interval("a", "b", "ap", ["easy"], [0, 1])
    assert found[:2] == pytest.approx(bootstrap(high + 0.01 - low), abs=1e-5)


def test_a_gap_between_subsets_of_the_same_images_is_paired_too():
    easy, hard = differing(0.3)
    values = {"a": {"easy": easy + 0.1, "hard": hard + 0.3}, "b": {"easy": easy, "hard": hard}}
    scores = [score(x, v.mean(), 0, s) for x, of in values.items() for s, v in of.items()]

    def draws_of(one):
        return draws_behind(one, [(lines(values[one.label][one.subset]), {})])

    found = Differences(scores, draws_of).interval("a", "b", "ap", ["hard", "easy"], [])
    assert found[:2] == pytest.approx((0.2, 0.2), abs=1e-5)  # gains .3 and .1 in every image


def test_draws_of_whole_sets_are_written_and_paired(tmp_path):
    """A number that is no mean over images, such as an AP: a ratio of sums, here."""
    low, high = differing(0.05)
    counts, weights = drawn_counts(IMAGES, OF_SETS), np.linspace(1, 3, IMAGES)
    drawn = {x: counts @ (v * weights) / (counts @ weights) for x, v in (("a", high), ("b", low))}
    scores = [score("a", np.average(high, weights=weights), half=0.1), score("b", 0.4, half=0.1)]
    for one in scores:
        write_drawn(tmp_path / one.label, {name_of(one): drawn[one.label]})
    empty = lines([0.0] * IMAGES)

    def draws_of(one):
        return draws_behind(one, [(empty, read_drawn(tmp_path / one.label))])

    found = Differences(scores, draws_of).interval("a", "b", "ap", ["easy"], [])
    expected = np.quantile(drawn["a"] - drawn["b"], [0.025, 0.975])
    assert found[:2] == pytest.approx(expected, abs=5e-4)  # half precision
    without = [score("a", 0.5), score("b", 0.4)]  # no interval: these draws are not theirs
    assert Differences(without, draws_of).interval("a", "b", "ap", ["easy"], []) is None
    write_drawn(tmp_path / "a", {})
    assert read_drawn(tmp_path / "a") == {}


def test_the_first_task_that_measured_it_says_its_draws():
    low, _ = differing(0.05)
    one = score("b", low.mean())
    other = lines([0.0] * IMAGES)
    found = draws_behind(one, [([], {}), (other, {}), (lines(low), {})])
    assert isinstance(found, Draws) and len(found.images) == IMAGES
    assert draws_behind(replace(one, value=0.9), [(lines(low), {})]) is None
