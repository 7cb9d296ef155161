"""Enhancers without parameters: the input itself, gamma, histogram equalisation, CLAHE."""

import numpy as np
import pytest
import torch
from enhancer_contract import EnhancerContract

from llie_core.metrics.cost import count_parameters
from llie_core.models import create_enhancer


class TestIdentity(EnhancerContract):
    name = "identity"

    def test_returns_the_input(self):
        x = self.images()
        assert torch.equal(self.make().enhance(x), x)


class TestGamma(EnhancerContract):
    name = "gamma"

    def test_known_values(self):
        x = torch.tensor([0.0, 0.25, 1.0]).view(1, 3, 1, 1)
        y = create_enhancer("gamma", exponent=0.5).enhance(x)
        torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 0.5, 1.0]))
        default = self.make().enhance(x).flatten()[1].item()
        assert default == pytest.approx(0.25 ** (1 / 2.2), abs=1e-6)

    def test_slope_is_finite_at_black(self):
        x = torch.zeros(1, 3, 2, 2, requires_grad=True)
        self.make()(x).sum().backward()
        assert torch.isfinite(x.grad).all()

    @pytest.mark.parametrize("exponent", [0, -1.0, float("nan")])
    def test_bad_exponent(self, exponent):
        with pytest.raises(ValueError, match="exponent"):
            create_enhancer("gamma", exponent=exponent)


def hue_and_saturation(rgb: torch.Tensor) -> np.ndarray:
    from skimage.color import rgb2hsv

    return rgb2hsv(rgb[0].permute(1, 2, 0).double().numpy())[..., :2]


class ValueMethod(EnhancerContract):
    def test_keeps_hue_and_saturation(self):
        x = self.images(1)
        y = self.make().enhance(x)
        assert (y - x).abs().max() > 0.05
        kept = y[0].amax(dim=0).numpy() > 0.05  # both are noise in nearly black pixels
        np.testing.assert_allclose(
            hue_and_saturation(y)[kept], hue_and_saturation(x)[kept], atol=1e-4
        )

    @pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
    def test_constant_images_return_unchanged(self, value):
        x = torch.full((1, 3, 24, 24), value)
        torch.testing.assert_close(self.make().enhance(x), x, rtol=0, atol=1e-6)
        pixel = torch.tensor([0.2, 0.1, 0.0]).view(1, 3, 1, 1)
        torch.testing.assert_close(self.make().enhance(pixel), pixel)

    def test_grey_stays_grey(self):
        y = self.make().enhance(self.images(1)[:, :1].expand(-1, 3, -1, -1))
        assert torch.equal(y[:, 0], y[:, 1]) and torch.equal(y[:, 0], y[:, 2])

    def test_stretches_8_bit_images_to_the_full_range(self):
        x = (self.images(1) * 255).round() / 255
        value = self.make().enhance(x).amax(dim=1)
        assert value.min() == pytest.approx(0, abs=1e-6) and value.max() == pytest.approx(1)


class TestHistogramEqualization(ValueMethod):
    name = "he"

    def test_textbook_example(self):
        # Levels 50, 50, 100, 200: cdf 2/4, 3/4, 4/4, so (cdf − 1/2) / (1/2) = 0, 0, 1/2, 1.
        grey = torch.tensor([50.0, 50.0, 100.0, 200.0]).view(1, 1, 2, 2) / 255
        y = self.make().enhance(grey.expand(1, 3, 2, 2))
        expected = torch.tensor([0.0, 0.0, 0.5, 1.0])
        torch.testing.assert_close(y[0, 0].flatten(), expected, rtol=0, atol=1e-5)

    def test_agrees_with_scikit_image_up_to_the_stretch(self):
        from skimage.exposure import equalize_hist

        levels = (self.images(1)[0].amax(dim=0) * 255).round().byte()
        theirs = equalize_hist(levels.numpy(), nbins=256)  # its curve starts at cdf_min, not 0
        theirs = (theirs - theirs.min()) / (1 - theirs.min())
        ours = self.make().enhance((levels.float() / 255).expand(1, 3, -1, -1))[0, 0]
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)

    def test_order_is_kept_between_levels(self):
        ramp = torch.linspace(0.1, 0.4, 1000).view(1, 1, 10, 100).expand(1, 3, -1, -1)
        assert (self.make().enhance(ramp)[0, 0].flatten().diff() >= 0).all()


class TestCLAHE(ValueMethod):
    name = "clahe"

    def test_is_scikit_image_on_colour(self):
        from skimage.exposure import equalize_adapthist

        x = self.images(1)
        theirs = equalize_adapthist(x[0].permute(1, 2, 0).double().numpy(), clip_limit=0.01)
        ours = self.make().enhance(x)[0].permute(1, 2, 0)
        # HSV there and back differs from scaling in the last digits of float32.
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3)

    def test_clip_limit_raises_local_contrast(self):
        x = torch.nn.functional.avg_pool2d(self.images(1, (256, 256)), 8, stride=1)
        low, high = (
            create_enhancer("clahe", clip_limit=limit).enhance(x).diff(dim=-1).abs().mean()
            for limit in (0.005, 0.1)
        )
        assert high > 1.2 * low

    def test_bad_clip_limit(self):
        with pytest.raises(ValueError, match="clip_limit"):
            create_enhancer("clahe", clip_limit=0)


CLASSICAL = "identity gamma he clahe ldr lrs jed sdd lime msr npe bimef crm dong mf"


@pytest.mark.parametrize("name", CLASSICAL.split())
def test_there_are_no_parameters(name):
    assert count_parameters(create_enhancer(name)) == 0
