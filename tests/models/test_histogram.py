"""Enhancers by histogram: LDR and LRS, against loops and closed forms."""

import numpy as np
import pytest
import torch
from seeded import seeded

from llie_core.models import create_enhancer
from llie_core.models.histogram import layer_steps, pair_histogram


def grey(levels) -> torch.Tensor:
    """Levels 0 … 255 (H, W) → image (1, 3, H, W)."""
    return (torch.as_tensor(levels).float() / 255).expand(1, 3, -1, -1)


def levels_after(name: str, levels, **options) -> np.ndarray:
    enhanced = create_enhancer(name, **options).enhance(grey(levels))
    assert torch.equal(enhanced[:, 0], enhanced[:, 2])  # grey stays grey
    return enhanced[0, 0].double().numpy() * 255


def random_levels(*shape: int, top: int = 256) -> np.ndarray:
    return np.random.default_rng(4).integers(0, top, shape)


@pytest.mark.parametrize("name", ["ldr", "lrs"])
def test_one_level_with_faint_noise_stays_near(name):
    x = 0.5 + 1e-4 * seeded(1, 1, 9, 9).expand(-1, 3, -1, -1)
    model = create_enhancer(name)
    assert (model.enhance(x) - x).abs().max() < 0.2 and torch.isfinite(model(x)).all()


class TestLayeredDifference:
    def test_pairs_are_counted_as_by_loops(self):
        levels = random_levels(5, 7).astype(np.uint8)
        counts = np.zeros((256, 256))
        for y in range(5):
            for x in range(7):
                for other in [(y, x + 1)] * (x < 6) + [(y + 1, x)] * (y < 4):
                    low, high = sorted((int(levels[y, x]), int(levels[other])))
                    counts[low, high] += 1
        np.testing.assert_array_equal(pair_histogram(levels), counts)
        assert counts.sum() == 5 * 6 + 4 * 7

    @pytest.mark.parametrize("layer", [1, 2, 7, 128, 254, 255])
    def test_a_layer_as_by_loops(self, layer):
        """Step k lies within the pairs (i, i + l) with i < k ≤ i + l, levels counted from 0."""
        pairs = np.random.default_rng(layer).random(256 - layer)
        asked, spanning = np.zeros(255), np.zeros(255)
        for i, count in enumerate(pairs):
            for k in range(i + 1, i + layer + 1):
                asked[k - 1] += count
                spanning[k - 1] += 1
        expected = (asked - asked.min()) / spanning
        expected /= max(expected.sum(), 1e-9)
        np.testing.assert_allclose(layer_steps(pairs, layer), expected, atol=1e-12)
        assert layer_steps(pairs, layer).sum() == pytest.approx(float(layer < 255))

    def test_two_neighbouring_levels_take_the_whole_range(self):
        # One layer, one pair: all of the contrast goes between its two levels.
        levels = np.array([[100, 140], [140, 100]])
        assert levels_after("ldr", levels).flatten() == pytest.approx([0, 255, 255, 0], abs=1e-4)

    def test_three_levels_by_hand(self):
        # Pairs 10–11 and 11–12 once each, all in layer 1, where a step spans one pair: halves.
        assert levels_after("ldr", np.array([[10, 11, 12]])).flatten() == pytest.approx(
            [0, 127.5, 255], abs=1e-3
        )
        # 11–12 three times: h = log 2 against log 4, so the steps are 1/3 and 2/3.
        assert levels_after("ldr", np.array([[10, 11, 12, 11, 12]])).flatten() == pytest.approx(
            [0, 85, 255, 85, 255], abs=1e-3
        )

    def test_black_and_white_return_unchanged(self):
        levels = np.array([[0, 255, 0], [255, 255, 0]])
        np.testing.assert_allclose(levels_after("ldr", levels), levels, atol=1e-4)

    def test_alpha_weighs_the_layers(self):
        # Layer 1 has s = log 4 (three pairs), layer 40 log 2 (one): weights 1 and 0.5^alpha.
        levels = np.array([[10, 11, 10, 11, 51]])
        for alpha in (0.1, 2.5):
            after = levels_after("ldr", levels, alpha=alpha)[0]
            expected = 255 / (1 + 0.5**alpha)
            assert after == pytest.approx([0, expected, 0, expected, 255], abs=1e-3)


class TestRegionStretching:
    def test_as_by_ranks(self):
        levels = random_levels(16, 16)
        expected = np.zeros((16, 16))
        for low, high in ((0, 85), (86, 170), (171, 255)):
            inside = (levels >= low) & (levels <= high)
            for y, x in zip(*np.nonzero(inside), strict=True):
                share = (levels[inside] <= levels[y, x]).mean()
                expected[y, x] = low + (high - low) * share
        np.testing.assert_allclose(levels_after("lrs", levels), expected, atol=1e-3)

    def test_dark_images_stay_in_the_dark_third_and_fill_it(self):
        after = levels_after("lrs", random_levels(32, 32, top=20))
        assert after.max() == pytest.approx(85, abs=1e-3)
        assert after.mean() == pytest.approx(85 / 2, abs=4)

    def test_strength_mixes_with_the_input(self):
        levels = random_levels(8, 8)
        none, half, full = (levels_after("lrs", levels, strength=s) for s in (0.0, 0.5, 1.0))
        np.testing.assert_allclose(none, levels, atol=1e-3)
        np.testing.assert_allclose(half, (none + full) / 2, atol=1e-3)
