"""The losses of NEID: closed forms, HSV against colorsys, gradients, colours without a hue."""

import colorsys
import math

import numpy as np
import pytest
import torch
from seeded import seeded as uniform

from llie_core.losses.colour import (
    DETAIL_TARGETS,
    HUES,
    colour_loss,
    cosine_distance,
    huber,
    neid_loss,
    rgb_to_hsv,
)


def seeded(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return uniform(*shape, seed=seed, dtype=dtype)


def image_of(*colours: tuple[float, float, float]) -> torch.Tensor:
    """One pixel per colour: (1, 3, 1, N) in float64."""
    return torch.tensor(colours, dtype=torch.float64).T[None, :, None]


class TestHuber:
    @pytest.mark.parametrize(
        "residual, expected",
        [
            (0.0, 0.0),
            (0.05, 0.05**2 / 2),
            (-0.05, 0.05**2 / 2),
            (0.1, 0.1**2 / 2),  # both pieces meet at δ
            (0.4, 0.1 * 0.4 - 0.1**2 / 2),
            (-0.4, 0.1 * 0.4 - 0.1**2 / 2),
        ],
    )
    def test_by_hand(self, residual, expected):
        target = torch.full((2, 3, 4, 5), 0.5, dtype=torch.float64)
        assert huber(target + residual, target).item() == pytest.approx(expected, abs=1e-15)

    @pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
    def test_delta_must_be_positive(self, delta):
        with pytest.raises(ValueError, match="delta > 0"):
            huber(seeded(1, 3, 2, 2), seeded(1, 3, 2, 2), delta)


class TestHSV:
    def test_all_levels_of_a_coarse_8_bit_cube_are_those_of_colorsys(self):
        levels = np.array([0, 1, 2, 51, 127, 128, 254, 255]) / 255
        rgb = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
        expected = np.array([colorsys.rgb_to_hsv(*colour) for colour in rgb])
        ours = rgb_to_hsv(torch.from_numpy(rgb).T[None, :, None])[0, :, 0].T.numpy()
        assert np.abs(ours - expected).max() <= 1e-12

    def test_tiny_chroma_fades_to_the_grey_convention(self):
        hue, saturation, _ = rgb_to_hsv(image_of((0.5 + 1e-4, 0.5, 0.5 - 1e-4)))[0, :, 0, 0]
        assert hue.item() == pytest.approx(1e-4 * 255 / 6)
        assert saturation.item() == pytest.approx(2e-4 / (0.5 + 1e-4))

    @pytest.mark.parametrize("value", [0.0, 1e-7, 0.3, 1.0])
    @pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-5])
    def test_slopes_are_bounded_at_grey(self, value, noise):
        x = (value + noise * seeded(1, 3, 6, 6)).requires_grad_()
        rgb_to_hsv(x).sum().backward()
        assert torch.isfinite(x.grad).all()
        # Hue at most 255 / 6 an argument, saturation at most 255, value 1.
        assert x.grad.abs().max() <= 2 * (255 / 6 + 255 + 1)
        if noise == 0:  # no direction is better than another, and V shares its slope
            torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 3))


class TestCosineDistance:
    def test_by_hand(self):
        p = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
        t = torch.tensor([[4.0, 3.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        expected = torch.tensor([1 - 24 / 25, 1.0, 0.0], dtype=torch.float64)
        torch.testing.assert_close(cosine_distance(p, t), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(cosine_distance(p, t, 0.0), expected, rtol=0, atol=1e-12)

    def test_zero_vectors(self):
        zero, one = torch.zeros(1, 8), torch.ones(1, 8)
        assert cosine_distance(zero, zero).item() == 0
        assert cosine_distance(zero, one).item() == pytest.approx(1, abs=2e-3)
        assert torch.isnan(cosine_distance(zero, zero, 0.0))  # what the constant is for


class TestColourLoss:
    def test_by_hand(self):
        """H_p = (0, 1/3), H_GT = (2/3, 1/3); S_p = (1, 1), S_GT = (1, 1/2)."""
        prediction = image_of((1, 0, 0), (0, 0.8, 0))
        target = image_of((0, 0, 0.4), (0.3, 0.6, 0.3))
        l_h = 1 - (1 / 3) / math.sqrt(4 / 9 + 1 / 9)
        l_s = 1 - 1.5 / math.sqrt(2 * 1.25)
        loss = colour_loss(prediction, target).item()
        assert loss == pytest.approx(l_h + l_s, abs=1e-4)

    def test_circular_by_hand(self):
        """Angles 0 and 120°, 240° and 120° apart: 1 − cos is 1.5 and 0."""
        prediction = image_of((1, 0, 0), (0, 0.8, 0))
        target = image_of((0, 0, 0.4), (0, 0.6, 0))
        loss = colour_loss(prediction, target, "circular").item()
        assert loss == pytest.approx(1.5 / 2, abs=1e-4)

    def test_reds_meet_on_the_circle_only(self):
        """Two reds a step from each other, on both sides of H = 0; a blue pixel beside them."""
        prediction = image_of((0.8, 0.2, 0.202), (0.2, 0.2, 0.8))
        target = image_of((0.8, 0.202, 0.2), (0.2, 0.2, 0.8))
        assert colour_loss(prediction, target).item() > 0.1
        assert colour_loss(prediction, target, "circular").item() < 1e-4

    @pytest.mark.parametrize("hue", HUES)
    def test_equal_colours_cost_nothing_at_any_brightness(self, hue):
        x = 0.2 + 0.7 * seeded(2, 3, 6, 6)
        assert colour_loss(x, x, hue).item() == pytest.approx(0, abs=1e-9)
        assert colour_loss(0.5 * x, x, hue).item() == pytest.approx(0, abs=1e-9)

    def test_reads_what_a_display_shows(self):
        x = seeded(1, 3, 6, 6)
        target = seeded(1, 3, 6, 6, seed=1)
        torch.testing.assert_close(
            colour_loss(3 * x - 1, target), colour_loss((3 * x - 1).clamp(0, 1), target)
        )

    def test_unknown_hue(self):
        with pytest.raises(ValueError, match="hue='lab': choose one of 'printed', 'circular'"):
            colour_loss(seeded(1, 3, 2, 2), seeded(1, 3, 2, 2), "lab")


class TestTotal:
    def case(self, *names: str) -> tuple[dict, dict]:
        outputs = {name: seeded(2, 3, 6, 8, seed=i) for i, name in enumerate(names)}
        batch = {"image": seeded(2, 3, 6, 8, seed=5) / 4, "target": seeded(2, 3, 6, 8, seed=6)}
        return outputs, batch

    def test_weights_of_the_paper(self):
        outputs, batch = self.case("image", "detail")
        losses = neid_loss(outputs, batch)
        assert set(losses) == {"total", "huber", "mse", "colour"}
        torch.testing.assert_close(losses["huber"], huber(outputs["image"], batch["target"], 0.1))
        torch.testing.assert_close(losses["colour"], colour_loss(outputs["image"], batch["target"]))
        # The details' target is the low-light image at full size.
        mse = (outputs["detail"] - batch["image"]).square().mean()
        torch.testing.assert_close(losses["mse"], mse)
        expected = losses["huber"] + 0.1 * losses["mse"] + 0.1 * losses["colour"]
        torch.testing.assert_close(losses["total"], expected)

    def test_equation_3_as_printed(self):
        outputs, batch = self.case("image", "detail")
        assert DETAIL_TARGETS == ("image", "target")
        losses = neid_loss(outputs, batch, detail_target="target")
        mse = (outputs["detail"] - batch["target"]).square().mean()
        torch.testing.assert_close(losses["mse"], mse)

    def test_settings_reach_their_terms(self):
        outputs, batch = self.case("image", "detail")
        losses = neid_loss(outputs, batch, 0.3, lambda_mse=2.0, lambda_colour=3.0, hue="circular")
        image, target = outputs["image"], batch["target"]
        torch.testing.assert_close(losses["huber"], huber(image, target, 0.3))
        torch.testing.assert_close(losses["colour"], colour_loss(image, target, "circular"))
        expected = losses["huber"] + 2 * losses["mse"] + 3 * losses["colour"]
        torch.testing.assert_close(losses["total"], expected)

    def test_models_without_details_have_no_such_term(self):
        outputs, batch = self.case("image")
        losses = neid_loss(outputs, batch)
        assert set(losses) == {"total", "huber", "colour"}
        torch.testing.assert_close(losses["total"], losses["huber"] + 0.1 * losses["colour"])

    def test_other_shapes_and_choices_are_named(self):
        outputs, batch = self.case("image", "detail")
        for name in outputs:
            odd = outputs | {name: outputs[name][:1]}
            with pytest.raises(ValueError, match=r"\(1, 3, 6, 8\) and \(2, 3, 6, 8\)"):
                neid_loss(odd, batch)
        with pytest.raises(ValueError, match="detail_target='edges'"):
            neid_loss(outputs, batch, detail_target="edges")
