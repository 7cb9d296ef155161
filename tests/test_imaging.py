"""Input checks, luma, sRGB and the SSIM map that all rooms share."""

import numpy as np
import pytest
import torch
from seeded import seeded

from llie_core import imaging


def test_images_in_range_pass_within_rounding():
    x = seeded(1, 3, 4, 4)
    x[0, 0, 0, :2] = torch.tensor([-5e-5, 1 + 5e-5])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert imaging.check_images("here", x=x.to(dtype), y=x.to(dtype)) is None


@pytest.mark.parametrize(
    ("value", "options", "words"),
    [
        (float("nan"), {}, "here: x holds NaN or Inf"),
        (float("-inf"), {"bounded": False}, "here: x holds NaN or Inf"),
        (-2e-4, {}, r"here: x must lie in \[0, 1\] but holds -0.0002 to "),
        (1.01, {}, r"here: x must lie in \[0, 1\] but holds .* to 1.01; clamp it"),
        (2.01, {"most": 2.0}, r"here: x must lie in \[0, 2\] but holds"),
        (0.5, {"smallest": 5}, "here: x is 4×4; both sides must be at least 5"),
    ],
)
def test_one_bad_value_is_named(value, options, words):
    x = seeded(1, 3, 4, 4)
    x[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=words) as caught:
        imaging.check_images("here", x=x, **options)
    assert "\n" not in str(caught.value)


def test_what_is_asked_for_is_allowed():
    x = seeded(1, 3, 4, 4)
    assert not imaging.check_images("here", most=2.0, x=2 * x)
    assert not imaging.check_images("here", bounded=False, x=300 * x - 100)
    # Reads no values, or there are none.
    assert not imaging.check_shapes("here", x=torch.full((1, 3, 2, 2), torch.nan))
    assert not imaging.check_images("here", x=torch.empty(1, 3, 2, 2, device="meta"))


def test_images_on_two_devices_are_named():
    x = torch.ones(1, 3, 2, 2)
    with pytest.raises(ValueError, match="here: x is on cpu but y is on meta"):
        imaging.check_shapes("here", x=x, y=x.to("meta"))


def test_luma_by_hand():
    rgb = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64).view(1, 3, 1, 1)
    expected = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    assert imaging.luma(rgb).item() == pytest.approx(expected, abs=1e-15)
    assert imaging.luma(rgb[0]).shape == (1, 1, 1)


def test_srgb_is_the_same_for_arrays_and_tensors_and_undone():
    values = seeded(200, dtype=torch.float64)
    linear = imaging.srgb_to_linear(values)
    arrays = imaging.srgb_to_linear(values.numpy())
    np.testing.assert_allclose(linear.numpy(), arrays, rtol=1e-14)
    back = imaging.linear_to_srgb(linear.numpy())
    np.testing.assert_allclose(back, values.numpy(), atol=1e-6)
    assert imaging.srgb_to_linear(0.5) == pytest.approx(0.214041, abs=1e-6)


def test_ssim_map_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    x, y = (seeded(1, 1, 30, 40, seed=s, dtype=torch.float64) for s in (0, 1))
    _, whole = structural_similarity(
        x[0, 0].numpy(), y[0, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    ours = imaging.ssim_map(x, y)[0, 0]
    np.testing.assert_allclose(ours.numpy(), whole[5:-5, 5:-5], atol=1e-12)
    assert imaging.ssim_map(x[..., :4, :7], y[..., :4, :7]).shape == (1, 1, 1, 1)
