"""Methods without learning: the input itself, gamma, and those that map the HSV value."""

import numpy as np
import pytest
import torch
from seeded import dark_images

from llie_core.models import create_enhancer as make


def test_identity_returns_the_input():
    x = dark_images()
    assert torch.equal(make("identity").enhance(x), x)


class TestGamma:
    def test_known_values(self):
        x = torch.tensor([0.0, 0.25, 1.0]).view(1, 3, 1, 1)
        y = make("gamma", exponent=0.5).enhance(x)
        torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 0.5, 1.0]))
        default = make("gamma").enhance(x).flatten()[1].item()
        assert default == pytest.approx(0.25 ** (1 / 2.2), abs=1e-6)

    def test_slope_is_finite_at_black(self):
        x = torch.zeros(1, 3, 2, 2, requires_grad=True)
        make("gamma")(x).sum().backward()
        assert torch.isfinite(x.grad).all()


def hue_and_saturation(rgb: torch.Tensor) -> np.ndarray:
    from skimage.color import rgb2hsv

    return rgb2hsv(rgb[0].permute(1, 2, 0).double().numpy())[..., :2]


@pytest.mark.parametrize("name", ["he", "clahe", "ldr", "lrs"])
class TestValueMethods:
    def test_keep_hue_and_saturation(self, name):
        x = dark_images(1)
        y = make(name).enhance(x)
        assert (y - x).abs().max() > 0.05
        kept = y[0].amax(dim=0).numpy() > 0.05  # both are noise in nearly black pixels
        np.testing.assert_allclose(
            hue_and_saturation(y)[kept], hue_and_saturation(x)[kept], atol=1e-4
        )

    def test_constant_images_return_unchanged(self, name):
        for value in (0.0, 0.3, 1.0):
            x = torch.full((1, 3, 24, 24), value)
            torch.testing.assert_close(make(name).enhance(x), x, rtol=0, atol=1e-6)
        pixel = torch.tensor([0.2, 0.1, 0.0]).view(1, 3, 1, 1)
        torch.testing.assert_close(make(name).enhance(pixel), pixel)


class TestHistogramEqualization:
    def test_agrees_with_scikit_image_up_to_the_stretch(self):
        from skimage.exposure import equalize_hist

        levels = (dark_images(1)[0].amax(dim=0) * 255).round().byte()
        theirs = equalize_hist(levels.numpy(), nbins=256)  # its curve starts at cdf_min, not 0
        theirs = (theirs - theirs.min()) / (1 - theirs.min())
        ours = make("he").enhance((levels.float() / 255).expand(1, 3, -1, -1))[0, 0]
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


class TestCLAHE:
    @pytest.mark.parametrize("options", [{}, {"clip_limit": 0.1}], ids=str)
    def test_is_scikit_image_on_colour(self, options):
        from skimage.exposure import equalize_adapthist

        x = dark_images(1)
        limit = {"clip_limit": 0.01} | options
        theirs = equalize_adapthist(x[0].permute(1, 2, 0).double().numpy(), **limit)
        ours = make("clahe", **options).enhance(x)[0].permute(1, 2, 0)
        # HSV there and back differs from scaling in the last digits of float32.
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3)
