"""Enhancers by Retinex filters: MSR and NPE, against loops, SciPy's filters and closed forms."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from seeded import dark_images

from llie_core.models import create_enhancer
from llie_core.models.retinex import bi_log, bright_pass, gaussian_surround, neighbour_shares


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).random((height, width, 3)) ** 3


class TestMultiScaleRetinex:
    def make(self):
        return create_enhancer("msr")

    @pytest.mark.parametrize("scale", [1.5, 4.0])
    def test_surround_is_a_gaussian_with_mirrored_borders(self, scale):
        image = random_image(19, 24)
        sigma = scale / np.sqrt(2)  # exp(−r²/c²) = exp(−r²/2σ²)
        expected = gaussian_filter(image, (sigma, sigma, 0), mode="reflect", truncate=12)
        np.testing.assert_allclose(gaussian_surround(image, scale), expected, atol=1e-3)

    def test_one_scale_as_written_down(self):
        image = random_image(30, 40)
        light = 1 + 255 * image
        surround = gaussian_filter(light, (4, 4, 0), mode="reflect", truncate=8)
        total = light[..., 0] + light[..., 1] + light[..., 2]
        result = np.log10(light / surround) * 46 * np.log10(125 * light / total[..., None])
        low, high = np.percentile(result, [1, 99], axis=(0, 1))
        model = create_enhancer("msr", scales=(4 * np.sqrt(2),))
        np.testing.assert_allclose(
            model.enhance_array(image), (result - low) / (high - low), atol=1e-3
        )

    def test_clips_one_percent_at_either_end_of_each_channel(self):
        y = self.make()(dark_images(1, (50, 40)))
        for beyond in (y < 0, y > 1):
            share = beyond.double().mean(dim=(0, 2, 3))
            assert share == pytest.approx(0.01, abs=0.001)

    def test_constant_channels_return_unchanged(self):
        x = dark_images(1)
        x[:, 2] = 0.25
        y = self.make().enhance(x)
        assert torch.isfinite(y).all() and y[:, :2].std() > 0.1
        constant = torch.full((1, 3, 9, 9), 0.3)
        torch.testing.assert_close(self.make().enhance(constant), constant)


class TestNaturalnessPreserved:
    def make(self):
        return create_enhancer("npe")

    levels = np.random.default_rng(5).integers(0, 80, (9, 11)).astype(np.int32)

    def shares_by_loops(self) -> np.ndarray:
        height, width = self.levels.shape
        counts = np.zeros((256, 256))
        for y in range(height):
            for x in range(width):
                for v in range(max(y - 1, 0), min(y + 2, height)):
                    for u in range(max(x - 1, 0), min(x + 2, width)):
                        counts[self.levels[y, x], self.levels[v, u]] += (v, u) != (y, x)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        win = (self.levels.max() - self.levels.min()) // 32
        assert win == 2
        padded = np.pad(shares, ((0, 0), (win, win)))
        return sum(padded[:, k : k + 256] for k in range(2 * win + 1)) / (2 * win + 1)

    def test_shares_as_by_loops(self):
        np.testing.assert_allclose(neighbour_shares(self.levels), self.shares_by_loops(), atol=1e-6)

    def test_bright_pass_as_by_loops(self):
        shares = self.shares_by_loops()
        expected = np.zeros(self.levels.shape)
        height, width = expected.shape
        for y in range(height):
            for x in range(width):
                here, weights, values = self.levels[y, x], [], []
                for v in range(y - 2, y + 3):
                    for u in range(x - 2, x + 3):
                        inside = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
                        there = self.levels[inside]
                        if there >= here:
                            weights.append(shares[here, there])
                            values.append(there)
                total = sum(weights)
                expected[y, x] = np.dot(weights, values) / total if total else here
        np.testing.assert_allclose(bright_pass(self.levels, 5), expected, rtol=1e-5)

    def test_bi_log_matches_the_shape(self):
        # Weighted by log(L + 1), the share of pixels up to a level becomes that of log(z + 1).
        illumination = np.arange(60.0).repeat(3).reshape(12, 15)
        mapped = bi_log(illumination)
        shape = np.log1p(np.arange(256)).cumsum() / np.log1p(np.arange(256)).sum()
        weight = np.log1p(illumination)
        for level in (5, 20, 40, 59):
            share = weight[illumination <= level].sum() / weight.sum()
            z = mapped[illumination == level][0]
            assert np.interp(z, np.arange(256), shape) == pytest.approx(share, abs=1e-9)
        assert mapped.max() == pytest.approx(255) and (np.diff(mapped.ravel()) >= 0).all()

    def test_hue_and_saturation_stay(self):
        x = dark_images(1)
        y = self.make()(x)
        ratio = y / x.clamp(min=1e-6)
        spread = ratio.amax(dim=1) - ratio.amin(dim=1)
        assert spread[x.amax(dim=1) > 0.02].max() < 1e-3

    def test_black_stays_black(self):
        assert self.make()(torch.zeros(1, 3, 8, 8)).abs().max() == 0
