"""Noise by name: its mean, its variance, its range."""

import numpy as np
import pytest

from llie_core.data.noise import add_noise, check_noise


@pytest.mark.parametrize(
    ("name", "level", "variance"),
    [
        ("gaussian", 0.02, lambda x: np.full_like(x, 0.02**2)),
        ("poisson", 500.0, lambda x: x / 500.0),
    ],
)
def test_noise_keeps_the_mean_and_has_the_variance_it_says(name, level, variance):
    values = np.array([0.2, 0.5, 0.7], np.float32)
    image = np.broadcast_to(values[:, None, None], (3, 200, 200)).copy()
    noisy = add_noise(image, name, level, np.random.default_rng(0)).astype(np.float64)
    assert noisy.mean((1, 2)) == pytest.approx(values, abs=1e-3)
    assert noisy.var((1, 2)) == pytest.approx(variance(values.astype(np.float64)), rel=0.03)


@pytest.mark.parametrize("name", ["none", "gaussian", "poisson"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_noise_of_even_images_stays_in_range(name, value):
    image = np.full((3, 8, 9), value, np.float32)
    noisy = add_noise(image, name, 100.0 if name == "poisson" else 0.05, np.random.default_rng(1))
    assert noisy.dtype == np.float32 and noisy.shape == image.shape
    assert noisy.min() >= 0 and noisy.max() <= 1
    if name == "none" or (name, value) == ("poisson", 0.0):
        assert np.array_equal(noisy, image)


def test_a_standard_deviation_on_0_to_255_is_refused():
    with pytest.raises(ValueError, match="standard deviation on the scale 0–1"):
        check_noise("gaussian", 25.0)


def test_clipped_gaussian_noise_lifts_black_by_the_half_normal_mean():
    black = np.zeros((3, 300, 300), np.float32)
    noisy = add_noise(black, "gaussian", 0.1, np.random.default_rng(0))
    # E[max(0, N(0, σ²))] = σ / √(2π)
    assert noisy.mean() == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.01)


@pytest.mark.parametrize(("name", "level"), [("gaussian", -1.0), ("poisson", float("nan"))])
def test_a_level_that_is_none_is_refused(name, level):
    with pytest.raises(ValueError, match="it must be a positive number"):
        add_noise(np.zeros((3, 2, 2), np.float32), name, level, np.random.default_rng(0))
