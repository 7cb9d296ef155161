"""Brightness, burnt values, casts, histograms and noise in black, on images with known answers."""

import math

import pytest
import torch

from llie_core.metrics import appearance
from llie_core.metrics.protocols import evaluate, load_protocols


def colour(*rgb: float, size: tuple[int, int] = (4, 6)) -> torch.Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, *size).clone()


def test_brightness_and_burnt_share_by_hand():
    x = torch.cat([colour(0.3, 0.6, 0.9), colour(1.0, 0.99, 0.5)])
    assert appearance.brightness(x).tolist() == pytest.approx([0.6, 0.83])
    assert appearance.burnt_share(x).tolist() == pytest.approx([0, 2 / 3])


def test_cast_is_a_matter_of_shares_not_of_brightness():
    grey, green = colour(0.2, 0.2, 0.2), colour(0.2, 0.4, 0.2)
    assert appearance.colour_cast(3 * grey, grey).item() == pytest.approx(0, abs=1e-5)
    assert appearance.colour_cast(green, grey).item() == pytest.approx(0.5 - 1 / 3, abs=1e-5)
    assert appearance.green_excess(green, grey).item() == pytest.approx(0.5 - 1 / 3, abs=1e-5)
    assert appearance.green_excess(grey, green).item() == pytest.approx(1 / 3 - 0.5, abs=1e-5)
    black = torch.zeros_like(grey)
    assert appearance.colour_cast(black, grey).item() == pytest.approx(0, abs=1e-5)


def test_overlap_is_what_histograms_have_in_common():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert appearance.histogram_overlap(x, x.flip(-1)).tolist() == pytest.approx([1, 1])
    half = colour(0.2, 0.2, 0.2)
    half[..., 3:] = 0.7
    assert appearance.histogram_overlap(half, colour(0.2, 0.2, 0.2)).item() == pytest.approx(0.5)
    assert appearance.histogram_overlap(colour(0.1, 0.1, 0.1), colour(0.2, 0.2, 0.2)).item() == 0


def test_noise_counts_where_the_truth_is_black_and_above_its_own():
    truth = colour(0.02, 0.02, 0.02)
    truth[..., 3:] = 0.9
    image = truth.clone()
    image[..., 1] += 0.25  # between columns 0, 1 and 1, 2, both black
    assert appearance.noise_in_black(image, truth).item() == pytest.approx(0.25)
    assert appearance.added_noise_in_black(image, truth).item() == pytest.approx(0.25)
    assert appearance.added_noise_in_black(truth, truth).item() == 0
    assert math.isnan(appearance.noise_in_black(image, colour(0.5, 0.5, 0.5)).item())


def test_they_are_protocols_that_have_to_be_asked_for():
    described = {"brightness", "burnt_share", "colour_cast", "green_excess", "histogram_overlap",
                 "added_noise_in_black"}  # fmt: skip
    known = load_protocols()
    assert described < set(known) and not any(known[name].by_default for name in described)
    x, y = colour(0.2, 0.4, 0.2), colour(0.2, 0.2, 0.2)
    for name in described:
        expected = getattr(appearance, name)(*((x,) if known[name].inputs == "image" else (x, y)))
        found = evaluate(name, x, y if known[name].inputs == "pair" else None)
        torch.testing.assert_close(found, expected, check_dtype=False, equal_nan=True)
