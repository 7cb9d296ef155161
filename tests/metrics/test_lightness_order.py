"""LOE against loops over pairs of places, closed forms and known answers."""

import numpy as np
import pytest
import torch
from test_quality_metrics import to_tensor

from llie_core.imaging import TooSmall
from llie_core.metrics import evaluate, loe
from llie_core.metrics.lightness_order import LOE_SAMPLINGS


def slow_loe(enhanced: np.ndarray, low_light: np.ndarray) -> float:
    """Of sampled lightness (m,): the definition, place by place."""
    pairs = zip(low_light, enhanced, strict=True)
    wrong = [np.sum((low >= low_light) != (high >= enhanced)) for low, high in pairs]
    return sum(wrong) / len(low_light)


def slow_maxima(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) 8 bit → lightness at every step-th pixel, indices from 1 as the MATLAB code has."""
    lightness = image.max(axis=2)
    height, width = lightness.shape
    step = min(height, width) // 50
    return np.array([
        [lightness[max(0, i * step - 8) : i * step + 7, max(0, j * step - 8) : j * step + 7].max()
         for j in range(1, width // step + 1)]
        for i in range(1, height // step + 1)
    ]).ravel()  # fmt: skip


def seeded(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(0)
    a = r.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return a, np.clip(a.astype(int) + r.integers(-20, 21, a.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sampling", LOE_SAMPLINGS)
def test_an_image_has_no_error_to_itself_nor_has_a_rising_curve_of_few_levels(sampling):
    image = to_tensor(seeded(60, 80)[0])
    assert loe(image, image, sampling).tolist() == [0.0]
    few = (image * 4).round() / 8  # five levels, halved: their order stays
    assert loe(few * 2, few, "local-max").tolist() == [0.0]


def test_a_flat_output_loses_every_strict_order():
    """Of m places, the pairs whose first is the darker are wrong: half of those that differ."""
    low = torch.zeros(1, 3, 50, 50)
    low[..., 25:] = 1.0  # 1,250 dark places, 1,250 light ones
    flat = torch.full_like(low, 0.5)
    assert loe(flat, low).item() == 1250 * 1250 / 2500
    assert loe(1 - low, low).item() == 2 * 1250 * 1250 / 2500


def test_places_without_resizing_are_compared_pair_by_pair():
    a, b = seeded(50, 52)
    expected = slow_loe(*(x.max(axis=2).ravel().astype(int) for x in (a, b)))
    assert loe(to_tensor(a), to_tensor(b)).item() == pytest.approx(expected, abs=1e-12)


def test_local_maxima_are_those_of_the_code_in_circulation():
    a, b = seeded(101, 110)  # every second pixel
    expected = slow_loe(slow_maxima(a), slow_maxima(b))
    found = evaluate("loe-local-max", to_tensor(a), to_tensor(b)).item()
    assert found == pytest.approx(expected, abs=1e-12)


def test_known_answers(coffee_and_dark):
    pair = coffee_and_dark.flip(0).split(1)
    assert loe(*pair).item() == pytest.approx(43.2421333, abs=1e-6)
    assert loe(*pair, "local-max").item() == pytest.approx(1.0304, abs=1e-6)


def test_small_images_and_unknown_rules_are_refused():
    image = torch.rand(1, 3, 49, 60)
    with pytest.raises(TooSmall, match="at least 50"):
        loe(image, image)
    with pytest.raises(ValueError, match="choose one of"):
        loe(torch.rand(1, 3, 60, 60), torch.rand(1, 3, 60, 60), "nearest")
    with pytest.raises(ValueError, match="needs the low-light image"):
        evaluate("loe-imresize", torch.rand(1, 3, 60, 60))
