"""BIMEF, CRM, MF and Dong: against loops, dense systems and closed forms."""

import numpy as np
import pytest
import torch
from seeded import dark_images, seeded
from test_variational import as_array, dense_laplacian

from llie_core.models import create_enhancer
from llie_core.models.fusion import (
    entropy,
    exposed,
    fuse,
    gaussian_pyramid,
    guided_filter,
    scene_illumination,
)
from llie_core.models.smoothing import differences, resize


def random_image(height: int, width: int, top: float = 1.0) -> np.ndarray:
    return top * np.random.default_rng(6).random((height, width, 3))


class TestCameraModel:
    def test_known_values(self):
        assert exposed(np.array([0.0, 0.3, 1.0]), 1.0) == pytest.approx([0, 0.3, 1])
        assert exposed(np.array([0.0]), 7.0) == 0
        # 2^−0.3293 = 0.79591; e^(1.1258 · 0.20409) = 1.25831; 0.5^0.79591 = 0.57597
        assert exposed(np.array([0.5]), 2.0) == pytest.approx(1.25831 * 0.57597, abs=2e-5)

    def test_illumination_as_by_a_dense_system(self):
        """On an image of twice the size, so that the half-sized map is known."""
        image = as_array(seeded(1, 3, 18, 14, seed=7))
        small = resize(image.max(axis=2), (9, 7))
        weights = []
        for axis, difference in ((1, differences(small)[0]), (0, differences(small)[1])):
            total = np.zeros_like(difference)
            for y, x in np.ndindex(*difference.shape):
                for k in range(-2, 3):
                    place = [y, x]
                    place[axis] += k
                    if 0 <= place[axis] < difference.shape[axis]:
                        total[y, x] += difference[tuple(place)]
            weights.append(0.5 / (np.abs(total * difference) + 0.001))
        system = np.eye(small.size) + dense_laplacian(*weights)
        smooth = np.linalg.solve(system, small.ravel()).reshape(small.shape)
        expected = resize(smooth, (18, 14)).clip(0, 1)
        np.testing.assert_allclose(scene_illumination(image, 0.5), expected, atol=1e-4)

    def test_entropy(self):
        assert entropy(np.full(7, 0.4)) == 0
        assert entropy(np.array([0.0, 0.25, 0.5, 1.0])) == pytest.approx(2)
        assert entropy(np.array([1.0, 1.5, 0.2, 0.2])) == pytest.approx(1)  # clipped to white
        assert entropy(np.array([0.1, 0.1, 0.1, 0.9])) == pytest.approx(0.811278, abs=1e-6)


class TestBIMEF:
    def make(self):
        return create_enhancer("bimef")

    def test_ratio_has_nearly_the_highest_entropy(self):
        image = random_image(60, 60, top=0.2) ** 1.5
        illumination = scene_illumination(image, 0.5)
        model = self.make()
        small = np.stack([resize(image[..., c], (50, 50)).clip(0, 1) for c in range(3)])
        brightness = (small[0] * small[1] * small[2]) ** (1 / 3)
        found = entropy(exposed(brightness, model.best_ratio(image, illumination)))
        best = max(entropy(exposed(brightness, ratio)) for ratio in np.linspace(1, 7, 300))
        assert best - entropy(brightness) > 0.5 and found > best - 0.1

    def test_weights_mix_the_image_with_its_exposure(self):
        image = random_image(24, 32, top=0.3)
        model = self.make()
        light = scene_illumination(image, 0.5)
        ratio = model.best_ratio(image, light)
        bright = exposed(image, ratio) - 0.01
        share = (model.enhance_array(image) - bright) / (image - bright)
        np.testing.assert_allclose(share, np.sqrt(light)[..., None].repeat(3, 2), rtol=1e-6)
        assert 1 < ratio <= 7

    def test_black_falls_by_the_constant_of_the_script(self):
        np.testing.assert_allclose(self.make().enhance_array(np.zeros((12, 10, 3))), -0.01)

    def test_well_lit_images_return_unchanged(self):
        image = 0.7 + random_image(16, 16, top=0.2)
        np.testing.assert_array_equal(self.make().enhance_array(image), image)


class TestCameraResponse:
    def make(self):
        return create_enhancer("crm")

    @pytest.mark.parametrize("value", [0.5, 0.05])
    def test_constant_grey_by_hand(self, value):
        power = min(1 / value, 7) ** -0.3293
        expected = np.exp(1.1258 * (1 - power)) * value**power
        y = self.make()(torch.full((1, 3, 12, 10), value))
        torch.testing.assert_close(y, torch.full_like(y, expected))

    def test_each_pixel_has_its_own_exposure(self):
        image = random_image(12, 10)
        ratio = np.minimum(1 / scene_illumination(image, 0.5), 7)
        expected = exposed(image, ratio[..., None])
        np.testing.assert_allclose(self.make().enhance_array(image), expected)


class TestFusion:
    def test_constant_weights_give_the_weighted_mean(self):
        one, other = np.random.default_rng(8).random((2, 37, 50))
        shares = [np.full((37, 50), 0.3), np.full((37, 50), 0.7)]
        np.testing.assert_allclose(fuse([one, other], shares), 0.3 * one + 0.7 * other, atol=1e-12)

    def test_a_hard_seam_between_flat_images_is_blended_over_the_image(self):
        left = (np.arange(64) < 32)[None] * np.ones((64, 1))
        fused = fuse([np.zeros((64, 64)), np.ones((64, 64))], [left, 1 - left])
        assert fused[:, :16].max() < 0.5 < fused[:, -16:].min()
        assert np.abs(np.diff(fused, axis=1)).max() < 0.05

    def test_pyramid_halves_and_keeps_constants(self):
        levels = gaussian_pyramid(np.full((9, 14), 0.4), 4)
        assert [level.shape for level in levels] == [(9, 14), (5, 7), (3, 4), (2, 2)]
        assert all(np.allclose(level, 0.4) for level in levels)

    def test_pyramid_by_hand(self):
        impulse = np.zeros((1, 9))
        impulse[0, 4] = 16
        np.testing.assert_allclose(gaussian_pyramid(impulse, 2)[1], [[0, 1, 6, 1, 0]])

    def test_guided_filter_as_by_loops(self):
        guide, image = np.random.default_rng(9).random((2, 8, 9))
        pad = 2  # twice the radius: lines are fitted in windows, then averaged over windows
        wide_guide, wide_image = (np.pad(a, pad + 2, mode="edge") for a in (guide, image))
        height, width = wide_guide.shape
        slope, offset = np.zeros((2, height, width))
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                g = wide_guide[y - 1 : y + 2, x - 1 : x + 2].ravel()
                p = wide_image[y - 1 : y + 2, x - 1 : x + 2].ravel()
                slope[y, x] = np.cov(g, p, bias=True)[0, 1] / (g.var() + 0.01)
                offset[y, x] = p.mean() - slope[y, x] * g.mean()
        found = guided_filter(guide, image, 1, 0.01)
        for y in range(1, 7):  # inside: at the border the window means themselves are extended
            for x in range(1, 8):
                window = slice(y + 3, y + 6), slice(x + 3, x + 6)
                expected = slope[window].mean() * guide[y, x] + offset[window].mean()
                assert found[y, x] == pytest.approx(expected)


class TestMultiScaleFusion:
    def make(self):
        return create_enhancer("mf")

    def test_inputs_by_hand(self):
        illumination = np.full((8, 8), 0.1)
        first, brighter, equalised = self.make().inputs(illumination)
        np.testing.assert_array_equal(first, illumination)
        np.testing.assert_allclose(brighter, 2 / np.pi * np.arctan(19 * 0.1))  # λ = 10 + 0.9/0.1
        np.testing.assert_array_equal(equalised, illumination)  # without contrast

    def test_constant_grey_by_hand(self):
        """All scales alike: the weighted mean of the inputs, twice the plain one."""
        y = self.make()(torch.full((1, 3, 24, 20), 0.1))
        bright = 2 / np.pi * np.arctan(1.9)
        plain = 2 * np.exp(-(0.4**2) / 0.125) * 0.1
        lit = np.exp(-((bright - 0.5) ** 2) / 0.125) * bright
        expected = (plain * 0.1 + lit * bright) / (plain + lit)
        torch.testing.assert_close(y, torch.full_like(y, expected))

    def test_illumination_is_closed_and_smooth(self):
        value = np.full((30, 30), 0.8)
        value[12:16, 12:16] = 0.1  # a dark spot smaller than the disk
        np.testing.assert_allclose(self.make().illumination(value), 0.8, atol=0.02)
        value[:, 15:] = 0.1  # an edge stays
        illumination = self.make().illumination(value)
        assert illumination[5, [5, 28]] == pytest.approx([0.8, 0.1])

    def test_the_second_weight_of_the_paper_cancels(self):
        """1 + cos(αH + φ)·S is one factor for all inputs of a pixel."""
        from skimage.color import rgb2hsv

        image = as_array(dark_images(1))
        model = self.make()
        inputs = model.inputs(model.illumination(image.max(axis=2)))
        hue, saturation, _ = np.moveaxis(rgb2hsv(image), 2, 0)
        factor = 1 + np.cos(2 * 2 * np.pi * hue + np.deg2rad(250)) * saturation
        weights = [np.exp(-((one - 0.5) ** 2) / (2 * 0.25**2)) * one * factor for one in inputs]
        fused = fuse(inputs, [weight / sum(weights) for weight in weights])
        expected = image / inputs[0][..., None] * fused[..., None]
        np.testing.assert_allclose(model.enhance_array(image), expected, rtol=1e-6, atol=1e-9)


class TestInvertedDehazing:
    def make(self):
        return create_enhancer("dong")

    def test_whole_method_as_by_loops(self):
        image = random_image(12, 13, top=0.6)
        image[:6] *= 0.3  # where t falls below 0.5
        negative = 1 - image
        pixels = sorted(negative.reshape(-1, 3).tolist(), key=lambda p: -min(p))[:20]
        light = np.array(max(pixels, key=sum))
        expected = np.zeros_like(image)
        for y, x in np.ndindex(12, 13):
            window = negative[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            t = 1 - 0.8 * (window / light).min()
            removed = 2 * t * t if t < 0.5 else t
            expected[y, x] = 1 - ((negative[y, x] - light) / removed + light)
        found = create_enhancer("dong", patch=5, candidates=20).enhance_array(image)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_saturated_colours_stay_finite(self):
        x = torch.zeros(1, 3, 10, 10)
        x[:, 0, :5], x[:, 1, 5:], x[:, 2, :, 5:] = 1, 1, 1
        assert torch.isfinite(self.make()(x)).all()
