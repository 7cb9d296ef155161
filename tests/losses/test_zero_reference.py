"""Zero-reference losses: hand-computed cases, plain loops, the epsilon of the colour loss."""

import numpy as np
import pytest
import torch
from seeded import seeded

from llie_core.losses.zero_reference import (
    FORMS,
    WEIGHTS,
    colour_constancy,
    exposure_control,
    illumination_smoothness,
    spatial_consistency,
    zero_reference_total,
)

# ---- Plain loops over pixels and regions, in double precision


def loop_regions(image: np.ndarray, patch: int) -> np.ndarray:
    """Means of patch×patch regions and RGB of one image (3, H, W); the rest is left out."""
    _, height, width = image.shape
    ph, pw = min(patch, height), min(patch, width)
    means = np.zeros((height // ph, width // pw))
    for r, c in np.ndindex(means.shape):
        means[r, c] = image[:, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw].mean()
    return means


def loop_spatial(enhanced, original, form):
    y, i = loop_regions(enhanced, 4), loop_regions(original, 4)
    total = 0.0
    for r, c in np.ndindex(y.shape):
        for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            inside = 0 <= r + dr < y.shape[0] and 0 <= c + dc < y.shape[1]
            if form == "released":
                there = (y[r + dr, c + dc], i[r + dr, c + dc]) if inside else (0.0, 0.0)
                total += ((y[r, c] - there[0]) - (i[r, c] - there[1])) ** 2
            elif inside:
                dy, di = y[r, c] - y[r + dr, c + dc], i[r, c] - i[r + dr, c + dc]
                total += (abs(dy) - abs(di)) ** 2
    return total / y.size


def loop_exposure(enhanced, exposure, form):
    regions = loop_regions(enhanced, 16).flatten()
    return np.mean([(y - exposure) ** 2 if form == "released" else y - exposure for y in regions])


def loop_colour(enhanced, form):
    r, g, b = (channel.mean() for channel in enhanced)
    squares = [(r - g) ** 2, (r - b) ** 2, (g - b) ** 2]
    return sum(squares) if form == "thesis" else sum(s**2 for s in squares) ** 0.5


def loop_smoothness(maps, form):
    channels, height, width = maps.shape
    down = across = both = 0.0
    for k, r, c in np.ndindex(maps.shape):
        dy = maps[k, r, c] - maps[k, r - 1, c] if r else 0.0
        dx = maps[k, r, c] - maps[k, r, c - 1] if c else 0.0
        down, across, both = down + dy**2, across + dx**2, both + (abs(dx) + abs(dy)) ** 2
    if form == "thesis":
        return both / (channels / 3)
    return 2 * (down / max((height - 1) * width, 1) + across / max(height * (width - 1), 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(8, 12), (19, 35), (33, 17), (3, 9), (1, 7), (1, 1)])
class TestAgainstLoops:
    """Batch of three; 19×35, 33×17 are no multiples of a patch, 3×9, 1×7, 1×1 are smaller."""

    def value(self, loss: torch.Tensor) -> float:
        assert loss.ndim == 0
        return loss.item()

    def mean(self, theirs: list[float]):
        return pytest.approx(np.mean(theirs), rel=1e-9, abs=1e-12)

    def pair(self, size):
        return (seeded(3, 3, *size, seed=s, dtype=torch.float64) for s in (0, 1))

    def test_spatial(self, size, form):
        enhanced, original = self.pair(size)
        theirs = [
            loop_spatial(e, o, form)
            for e, o in zip(enhanced.numpy(), original.numpy(), strict=True)
        ]
        assert self.value(spatial_consistency(enhanced, original, form)) == self.mean(theirs)

    def test_exposure(self, size, form):
        enhanced, _ = self.pair(size)
        theirs = [loop_exposure(e, 0.6, form) for e in enhanced.numpy()]
        assert self.value(exposure_control(enhanced, form=form)) == self.mean(theirs)
        levels = (0.05, 0.1, 0.3)
        theirs = [loop_exposure(e, k, form) for e, k in zip(enhanced.numpy(), levels, strict=True)]
        each = torch.tensor(levels, dtype=torch.float64)
        assert self.value(exposure_control(enhanced, each, form)) == self.mean(theirs)

    def test_colour(self, size, form):
        enhanced, _ = self.pair(size)
        theirs = [loop_colour(e, form) for e in enhanced.numpy()]
        assert self.value(colour_constancy(enhanced, form, epsilon=0.0)) == self.mean(theirs)

    def test_smoothness(self, size, form):
        maps = 2 * seeded(3, 6, *size, dtype=torch.float64) - 1
        theirs = [loop_smoothness(a, form) for a in maps.numpy()]
        assert self.value(illumination_smoothness(maps, form)) == self.mean(theirs)


def test_exposure_sees_regions_not_pixels():
    x = torch.zeros(1, 3, 16, 32)
    x[..., ::2] = 1.0
    assert exposure_control(x, 0.5) == 0
    assert exposure_control(x, 0.5, patch=1).item() == pytest.approx(0.25)


class TestColourEpsilon:
    def test_is_not_felt_off_grey(self):
        x = torch.tensor([0.5, 0.5, 0.501]).view(1, 3, 1, 1)  # channel means 1e-3 apart
        exact = colour_constancy(x.double(), epsilon=0.0).item()
        assert colour_constancy(x).item() == pytest.approx(exact, rel=1e-3)
        assert colour_constancy(torch.full((1, 3, 2, 2), 0.5)).item() == pytest.approx(1e-8)

    def test_plain_root_has_no_slope_at_grey(self):
        x = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
        colour_constancy(x, epsilon=0.0).backward()
        assert torch.isnan(x.grad).any()  # what the epsilon is for


class TestTotal:
    def outputs(self):
        return {"image": seeded(2, 3, 32, 32), "curve_maps": seeded(2, 24, 32, 32) - 0.5}

    @pytest.mark.parametrize(
        "name, published",
        [
            ("zero_dce", (1, 10, 5, 200)),
            ("zero_dce_pp", (1, 10, 5, 1600)),
            ("thesis", (1, 10, 5, 1600)),
        ],
    )
    def test_published_weights(self, name, published):
        assert tuple(WEIGHTS[name].values()) == published
        outputs, original = self.outputs(), seeded(2, 3, 32, 32, seed=5)
        losses = zero_reference_total(outputs, original, name)
        terms = [losses[term].item() for term in ("spatial", "exposure", "colour", "smoothness")]
        expected = sum(w * t for w, t in zip(published, terms, strict=True))
        assert losses["total"].item() == pytest.approx(expected, rel=1e-5)
        assert terms == [
            spatial_consistency(outputs["image"], original).item(),
            exposure_control(outputs["image"]).item(),
            colour_constancy(outputs["image"]).item(),
            illumination_smoothness(outputs["curve_maps"]).item(),
        ]

    def test_own_weights_and_exposure_per_image(self):
        outputs, each = self.outputs(), torch.tensor([0.1, 0.3])
        weights = {"spatial": 0.0, "exposure": 1.0, "colour": 0.0, "smoothness": 0.0}
        losses = zero_reference_total(outputs, outputs["image"], weights, exposure=each)
        torch.testing.assert_close(losses["total"], exposure_control(outputs["image"], each))

    def test_forms_differ(self):
        outputs, original = self.outputs(), seeded(2, 3, 32, 32, seed=5)
        released, thesis = (zero_reference_total(outputs, original, form=f) for f in FORMS)
        assert all(not torch.isclose(released[name], thesis[name]) for name in released)


class TestBadInput:
    def test_unknown_form(self):
        x = seeded(1, 3, 8, 8)
        calls = [
            lambda: spatial_consistency(x, x, "paper"),
            lambda: exposure_control(x, form="paper"),
            lambda: colour_constancy(x, "paper"),
            lambda: illumination_smoothness(x, "paper"),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="form='paper'"):
                call()

    @pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 1, 8, 8)])
    def test_exposure_of_another_shape(self, shape):
        with pytest.raises(ValueError, match=r"one number or \(2,\)"):
            exposure_control(seeded(2, 3, 8, 8), torch.full(shape, 0.5))

    def test_unknown_weights(self):
        outputs = {"image": seeded(1, 3, 8, 8), "curve_maps": seeded(1, 3, 8, 8)}
        with pytest.raises(ValueError, match=r"no weights 'dce' \(known: zero_dce"):
            zero_reference_total(outputs, outputs["image"], "dce")
        with pytest.raises(ValueError, match="expected"):
            zero_reference_total(outputs, outputs["image"], {"spatial": 1.0})

    def test_printed_smoothness_of_single_channel_maps(self):
        with pytest.raises(ValueError, match="8 channels"):
            illumination_smoothness(seeded(1, 8, 4, 4), "thesis")
