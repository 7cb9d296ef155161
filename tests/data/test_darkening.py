"""Physical darkening: the tone curve, exposure, gamma, white balance, noise, quantisation."""

from dataclasses import replace

import numpy as np
import pytest

from llie_core.data.darkening import (
    Darkening,
    DarkeningRange,
    darken,
    linear_to_srgb,
    quantise,
    srgb_to_linear,
)


def grey(value, size=8):
    return np.full((3, size, size), value, dtype=np.float32)


def test_srgb_curve_at_known_points_and_back():
    # IEC 61966-2-1: mid grey, the joint of its two pieces, and the ends.
    assert srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404114, abs=1e-7)
    assert srgb_to_linear(np.array(0.04045)) == pytest.approx(0.0031308, abs=1e-7)
    assert srgb_to_linear(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    values = np.linspace(0, 1, 257)
    assert linear_to_srgb(srgb_to_linear(values)) == pytest.approx(values, abs=1e-6)


def test_exposure_scales_linear_light():
    # 0.5 is 0.21404 in linear light; a quarter of it encodes to 0.25664, level 65 of 255.
    dark = darken(grey(0.5), Darkening(exposure=0.25))
    assert (dark.shape, dark.dtype) == ((3, 8, 8), np.float32)
    expected = linear_to_srgb(np.array(0.21404114 / 4))
    assert np.unique(dark * 255).round(4).tolist() == [round(float(expected) * 255)] == [65]


def test_gamma_is_a_power_of_the_encoded_image():
    plain = linear_to_srgb(0.25 * srgb_to_linear(np.array(0.5)))
    dark = darken(grey(0.5), Darkening(exposure=0.25, gamma=2.0))
    assert dark.max() * 255 == pytest.approx(round(float(plain) ** 2 * 255), abs=1e-3)


def test_white_balance_touches_red_and_blue_only():
    base = darken(grey(0.5), Darkening(exposure=0.25))
    warm = darken(grey(0.5), Darkening(exposure=0.25, red=1.5, blue=0.5))
    assert (warm[0] > base[0]).all() and (warm[2] < base[2]).all()
    assert np.array_equal(warm[1], base[1])
    red = linear_to_srgb(np.array(1.5 * 0.21404114 / 4))
    assert warm[0].max() * 255 == pytest.approx(round(float(red) * 255), abs=1e-3)


def test_noise_has_the_variance_of_shot_and_read_noise():
    # Linear light 0.2, 200 electrons at full scale: variance 0.2 / 200 + 0.02² = 0.0014.
    encoded = float(linear_to_srgb(np.array(0.2)))
    noisy = darken(grey(encoded, 200), Darkening(exposure=1.0, photons=200, read=0.02, seed=3))
    light = srgb_to_linear(noisy.astype(np.float64))
    assert light.mean() == pytest.approx(0.2, abs=5e-4)  # 120,000 samples: standard error 1e-4
    assert light.var() == pytest.approx(0.0014, rel=0.03)
    shot_only = darken(grey(encoded, 200), Darkening(exposure=1.0, photons=200, seed=3))
    assert srgb_to_linear(shot_only.astype(np.float64)).var() == pytest.approx(0.001, rel=0.03)


def test_noise_belongs_to_the_seed():
    parameters = Darkening(exposure=0.1, photons=500, read=0.001, seed=5)
    first = darken(grey(0.7), parameters)
    assert np.array_equal(first, darken(grey(0.7), parameters))
    assert not np.array_equal(first, darken(grey(0.7), replace(parameters, seed=6)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"exposure": 0}, "exposure 0 must lie"),
        ({"exposure": 1.5}, "exposure 1.5 must lie"),
        ({"exposure": float("nan")}, "exposure nan must lie"),
        ({"exposure": 0.1, "gamma": 0}, "gamma, red and blue must be positive"),
        ({"exposure": 0.1, "blue": -1}, "must be positive"),
        ({"exposure": 0.1, "photons": -1}, "photons and read not negative"),
        ({"exposure": 0.1, "read": -1}, "photons and read not negative"),
    ],
)
def test_impossible_darkening_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Darkening(**bad)


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (8, 8, 3), (1, 3, 8, 8)])
def test_darken_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"needs an image \(3, H, W\), got shape"):
        darken(np.zeros(shape, np.float32), Darkening(exposure=0.1))


def test_drawn_parameters_lie_in_their_ranges_and_are_what_is_recorded():
    ranges = DarkeningRange()
    rng = np.random.default_rng(0)
    drawn = [ranges.draw(rng) for _ in range(500)]
    for name in ("exposure", "gamma", "photons", "read"):
        low, high = getattr(ranges, name)
        values = [getattr(d, name) for d in drawn]
        assert low <= min(values) < max(values) <= high
    low, high = ranges.white_balance
    assert all(low <= d.red <= high and low <= d.blue <= high for d in drawn)
    assert all(Darkening(**d.as_dict()) == d for d in drawn)
    # Log-uniform: half of the exposures lie below the geometric mean of the ends.
    middle = np.sqrt(ranges.exposure[0] * ranges.exposure[1])
    assert np.median([d.exposure for d in drawn]) == pytest.approx(middle, rel=0.1)


def test_quantise_rounds_to_256_levels_and_clips():
    image = np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0])
    assert (quantise(image) * 255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255])
    assert np.array_equal(quantise(quantise(image)), quantise(image))
