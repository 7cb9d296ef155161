"""Frames of a video: estimates smoothed over time, scenes, a strength a scene."""

import math

import pytest
import torch
import torch.nn.functional as F
from seeded import trained

from llie_core.models import create_enhancer, large, list_enhancers
from llie_core.models.base import Enhancer
from llie_core.models.gate import enhance_gated
from llie_core.models.large import of_whole_image
from llie_core.models.video import CUT, TAU, Flicker, Steady, Survey, changed, places

ESTIMATING = {
    "zero_dce", "zero_dce_pp", "iat", "cpga_net_plus", "curve_refine", "gem_pam", "ialm", "jcrnet",
    "drgn", "lw_drgn", "neid", "lime", "npe", "mf",
}  # fmt: skip


def scene(seed=0, height=48, width=64):
    """A dark still image with texture, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    fine = torch.rand(1, 3, height, width, generator=generator)
    return 0.25 * F.interpolate(coarse, (height, width)) + 0.02 * fine


class Exposing(Enhancer):
    """Brings the mean to ½ by a gain."""

    def forward(self, x):
        return x * of_whole_image(lambda: 0.5 / x.mean(dim=(1, 2, 3), keepdim=True))


class Mapping(Enhancer):
    """Multiplies every pixel by a map, which makes dark places brighter."""

    def forward(self, x):
        maps = of_whole_image(lambda: 1 / (x.mean(dim=1, keepdim=True) + 0.1))
        return x * F.interpolate(maps, x.shape[-2:], mode="bilinear")


# The contract ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_enhancers())
def test_an_estimate_and_its_use_are_the_method(name):
    model, x = trained(name), scene()
    estimate = model.estimate_from(x)
    assert bool(estimate) == (name in ESTIMATING)
    torch.testing.assert_close(model.enhance_with(x, estimate), model.enhance(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["zero_dce", "zero_dce_pp", "mf", "npe", "lime"])
def test_maps_from_a_smaller_copy_serve_the_image(name, monkeypatch):
    model = trained(name)
    x = F.interpolate(scene(), (192, 256), mode="bilinear")
    whole = model.enhance(x)
    monkeypatch.setattr(type(model), "estimate_pixels", 96 * 128)
    estimate = model.estimate_from(x)
    assert estimate[0].shape[-2:] == (96, 128)
    difference = (model.enhance_with(x, estimate) - whole).abs().mean()
    assert difference <= (whole - x).abs().mean() / 8


def test_an_estimate_serves_tiles_too(monkeypatch):
    model, x = trained("gem_pam"), scene(0, 150, 200)
    gains = [2 * model.estimate_from(x)[0]]
    whole = model.enhance_with(x, gains)
    monkeypatch.setattr("llie_core.models.base.WHOLE_PIXELS", 0)
    monkeypatch.setattr(large, "TILE_MEMORY", 0)
    torch.testing.assert_close(model.enhance_with(x, gains), whole, rtol=0, atol=0.5 / 255)
    assert (whole - model.enhance(x)).abs().mean() > 5 / 255


def test_an_estimate_is_recorded_in_tiles_where_memory_is_short(monkeypatch):
    class Pooling(Exposing):
        margin = 0

        def forward(self, x):
            y = super().forward(x)
            if y.shape[-1] > 128:
                raise torch.OutOfMemoryError("out of memory")
            return y

    x = scene()
    x = torch.cat([x] * 4, 3)
    monkeypatch.setattr(large, "STATISTICS_PIXELS", x[0, 0].numel() // 4)
    whole = Exposing().estimate_from(x)
    for free in (2**40, 0):  # the whole fails, or is not tried
        monkeypatch.setattr("llie_core.models.base.free_memory", lambda device, free=free: free)
        (found,) = Pooling().estimate_from(x)
        torch.testing.assert_close(found, whole[0], rtol=0.01, atol=0)


# Smoothing -------------------------------------------------------------------------------------


def test_the_estimate_is_an_exponential_mean_over_seconds():
    steady, dark, bright = Steady(Exposing()), scene(), 2 * scene()
    first = Exposing().estimate_from(dark)[0]
    second = Exposing().estimate_from(bright)[0]
    assert torch.equal(steady(dark, 0.0), Exposing().enhance(dark)) and steady.smooths
    alpha = 1 - math.exp(-0.1 / TAU)
    expected = (bright * torch.lerp(first, second, alpha)).clamp(0, 1)
    torch.testing.assert_close(steady(bright, 0.1), expected)
    # A new scene begins anew.
    assert torch.equal(steady(bright, 0.2, begins=True), Exposing().enhance(bright))


def test_a_blinking_lamp_does_not_make_the_rest_flicker():
    steady, smooth, single = Steady(Exposing()), Flicker(), Flicker()
    for i in range(60):
        x = scene()
        if i % 3 == 0:
            x[..., :12, :12] = 1.0
        smooth.see(steady(x, i / 30)[..., 24:, :], i == 0)
        single.see(Exposing().enhance(x)[..., 24:, :], i == 0)
    assert single.change > 0.05
    assert smooth.change < single.change / 5


def test_maps_follow_what_moves_and_leave_no_trail():
    def frame(left):
        x = torch.full((1, 3, 64, 64), 0.02)
        x[..., 24:40, left : left + 16] = 0.8
        return x

    steady = Steady(Mapping())
    for i in range(10):
        steady(frame(0), i / 30)
    after = steady(frame(40), 10 / 30)
    torch.testing.assert_close(after, Mapping().enhance(frame(40)), rtol=0, atol=2 / 255)
    # A change of the light as a whole is smoothed, at every place.
    brighter = Steady(Mapping())
    brighter(scene(), 0.0)
    alone, smoothed = Mapping().enhance(1.3 * scene()), brighter(1.3 * scene(), 1 / 30)
    kept = (Mapping().estimate_from(scene())[0] * 1.3 * scene()).clamp(0, 1)
    assert (smoothed - kept).abs().mean() < (smoothed - alone).abs().mean() / 5


def test_a_frame_of_another_size_begins_anew():
    steady, larger = Steady(create_enhancer("mf")), scene(0, 96, 128)
    steady(scene(), 0.0)
    alone = create_enhancer("mf").enhance(larger)
    torch.testing.assert_close(steady(larger, 0.04), alone, rtol=0, atol=1e-5)


def test_methods_that_estimate_nothing_are_applied_frame_by_frame():
    model = create_enhancer("clahe")
    steady = Steady(model)
    assert torch.equal(steady(scene(), 0.0), model.enhance(scene())) and not steady.smooths


# Scenes and strengths --------------------------------------------------------------------------


def test_a_cut_is_a_change_of_places_not_of_light():
    one, other = places(scene()), places(scene(1))
    assert changed(one, other).mean() > CUT > 0.1 > changed(places(1.4 * scene()), one).mean()
    noise = 0.02 * torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(5))
    black = torch.zeros(1, 3, 48, 64)
    assert changed(places(black + noise), places(black)).mean() < 0.1


def test_a_scene_has_one_strength_the_lowest_of_its_frames():
    class Lift(Enhancer):
        def forward(self, x):
            return x + 0.6

    survey = Survey(Lift())
    for i in range(30):
        x = scene()
        if i == 15:  # where the gate reads again: 40 % of the frame are bright
            x[..., :26] = 0.5
            expected = enhance_gated(Lift(), x)
        survey.see(x, i / 15)
    for i in range(30):
        survey.see(scene(1), 2 + i / 15)
    (first, second) = survey.scenes
    assert survey.frames == 60 and (second.first, second.seconds) == (30, 2.0)
    assert first.strength == expected.strength < 1 and first.reason == expected.reason != ""
    assert second.strength == 1 and second.reason == ""
    free = Survey(Lift(), 0.7, gate=False)
    free.see(scene(), 0.0)
    assert [one.strength for one in free.scenes] == [0.7]


def test_flicker_is_the_mean_change_of_mean_luma_within_scenes():
    flicker = Flicker()
    for level, begins in ((0.2, True), (0.3, False), (0.2, False), (0.9, True), (0.9, False)):
        flicker.see(torch.full((1, 3, 4, 4), level), begins)
    assert flicker.change == pytest.approx(0.2 / 3) and flicker.light == pytest.approx(0.5)
