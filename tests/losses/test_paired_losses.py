"""Losses against a target: closed forms and a plain loop."""

import numpy as np
import pytest
import torch
from seeded import seeded

from llie_core.losses.paired import (
    PlainLoss,
    charbonnier,
    edge_loss,
    jcrnet_loss,
    laplacian,
    structural_similarity,
)
from llie_core.metrics import ssim


def loop_blur(image: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Weighted mean of the 5×5 neighbours that are inside the image and present."""
    kernel = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
    height, width = image.shape
    out = np.zeros_like(image)
    for r, c in np.ndindex(image.shape):
        total = weight = 0.0
        for i, j in np.ndindex(5, 5):
            y, x = r + i - 2, c + j - 2
            if 0 <= y < height and 0 <= x < width and present[y, x]:
                total += kernel[i] * kernel[j] * image[y, x]
                weight += kernel[i] * kernel[j]
        out[r, c] = total / weight
    return out


def loop_laplacian(image: np.ndarray) -> np.ndarray:
    kept = np.zeros(image.shape, dtype=bool)
    kept[::2, ::2] = True
    return image - loop_blur(loop_blur(image, np.ones_like(kept)), kept)


class TestCharbonnier:
    def test_is_epsilon_where_images_agree(self):
        x = seeded(2, 3, 5, 7, dtype=torch.float64)
        assert charbonnier(x, x).item() == pytest.approx(1e-3, rel=1e-12)
        assert charbonnier(x, x, eps=0.25).item() == pytest.approx(0.25, rel=1e-12)

    def test_is_the_mean_over_all_values(self):
        prediction = torch.tensor([[[[0.3, 0.0], [1.0, 0.4]]]], dtype=torch.float64)
        target = torch.tensor([[[[0.0, 0.0], [0.6, 0.8]]]], dtype=torch.float64)
        # With eps 0.3 and 0.4: √(.09 + .09), .3, and twice √(.16 + .09) = .5.
        expected = (0.18**0.5 + 0.3 + 0.5 + 0.5) / 4
        assert charbonnier(prediction, target, eps=0.3).item() == pytest.approx(expected, rel=1e-12)

    def test_slope_is_zero_at_agreement_and_bounded(self):
        target = torch.zeros(3, dtype=torch.float64)
        x = torch.tensor([0.0, 100.0, -100.0], dtype=torch.float64, requires_grad=True)
        charbonnier(x, target).backward()
        assert (3 * x.grad).tolist() == pytest.approx([0, 1, -1])


class TestLaplacian:
    @pytest.mark.parametrize("at, centre", [((8, 8), 1 - 0.33**2), ((9, 9), 1 - 0.25**2)])
    def test_impulse(self, at, centre):
        """At a kept pixel 4·(.05² + .4² + .05²)² is taken off, at one between 4·(2·.25²)²."""
        image = torch.zeros(1, 1, 17, 17, dtype=torch.float64)
        image[..., at[0], at[1]] = 1
        assert laplacian(image)[..., at[0], at[1]].item() == pytest.approx(centre, rel=1e-12)

    @pytest.mark.parametrize("size", [(1, 1), (1, 6), (3, 4), (9, 7), (8, 12)])
    def test_agrees_with_a_loop(self, size):
        image = seeded(2, 3, *size, dtype=torch.float64)
        expected = [[loop_laplacian(channel) for channel in one] for one in image.numpy()]
        torch.testing.assert_close(laplacian(image).numpy(), np.array(expected))


class TestEdgeLoss:
    def test_is_the_charbonnier_of_laplacians(self):
        x, y = (seeded(2, 3, 7, 10, seed=seed, dtype=torch.float64) for seed in (1, 2))
        laplacians = [
            np.array([[loop_laplacian(channel) for channel in one] for one in z.numpy()])
            for z in (x, y)
        ]
        expected = np.sqrt((laplacians[0] - laplacians[1]) ** 2 + 1e-6).mean()
        assert edge_loss(x, y).item() == pytest.approx(expected, rel=1e-9)


class TestJCRNetLoss:
    outputs = {name: seeded(2, 3, 12, 8, seed=k) for k, name in enumerate(("image", "ssb_image"))}
    batch = {"target": seeded(2, 3, 12, 8, seed=5)}

    def test_sums_over_both_images(self):
        terms = jcrnet_loss(self.outputs, self.batch)
        target = self.batch["target"]
        expected = sum(
            charbonnier(image, target) + 0.05 * edge_loss(image, target)
            for image in self.outputs.values()
        )
        torch.testing.assert_close(terms["total"], expected)
        assert list(terms) == ["total", "charbonnier", "edge", "ssb_charbonnier", "ssb_edge"]
        assert terms["ssb_edge"] == edge_loss(self.outputs["ssb_image"], target)

    def test_without_a_supervised_stage(self):
        terms = jcrnet_loss({"image": self.outputs["image"]}, self.batch)
        assert list(terms) == ["total", "charbonnier", "edge"]
        torch.testing.assert_close(terms["total"], terms["charbonnier"] + 0.05 * terms["edge"])


class TestStructuralSimilarity:
    def test_equals_the_metric(self):
        x = seeded(2, 3, 24, 31)
        y = 0.6 * x + 0.4 * seeded(2, 3, 24, 31, seed=1)
        ours, metric = structural_similarity(x, y).double(), ssim(x, y)
        torch.testing.assert_close(ours, metric, rtol=0, atol=1e-5)
        in_float64 = structural_similarity(x.double(), y.double())
        torch.testing.assert_close(in_float64, metric, rtol=0, atol=1e-12)

    def test_two_constant_images_differ_by_their_means_alone(self):
        for value in (0.0, 0.5, 1.0):
            pair = torch.full((1, 3, 5, 7), value), torch.full((1, 3, 5, 7), 0.5)
            expected = (value + 1e-4) / (value**2 + 0.25 + 1e-4)
            assert structural_similarity(*pair).item() == pytest.approx(expected, rel=1e-4)


class TestPlainLoss:
    def test_is_the_weighted_sum_of_its_terms(self):
        image, curve, target = (seeded(2, 3, 16, 20, seed=s, dtype=torch.float64) for s in range(3))
        terms = PlainLoss()({"image": image, "curve_image": curve}, {"target": target})
        parts = [charbonnier(image, target), 1 - ssim(image, target).mean(),
                 charbonnier(curve, target)]  # fmt: skip
        names = ("charbonnier", "dissimilarity", "curve")
        torch.testing.assert_close([terms[name] for name in names], parts)
        expected = parts[0] + 0.4 * parts[1] + 0.5 * parts[2]
        torch.testing.assert_close(terms["total"], expected)
        alone = PlainLoss(similarity=0.2)({"image": image}, {"target": target})
        assert "curve" not in alone
        torch.testing.assert_close(alone["total"], parts[0] + 0.2 * parts[1])

    def test_networks_are_handed_the_context_of_a_crop_where_there_is_one(self):
        class Network(torch.nn.Module):
            def training_outputs(self, image, context=None):
                return {"image": image if context is None else image + context.mean()}

        batch = {"image": torch.zeros(1, 3, 8, 8)}
        assert PlainLoss().outputs(Network(), batch)["image"].max() == 0
        batch["context"] = torch.ones(1, 3, 4, 4)
        assert PlainLoss().outputs(Network(), batch)["image"].max() == 1
