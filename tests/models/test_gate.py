"""The gate: how far it lets an enhancement go, and why."""

import math

import pytest
import torch

from llie_core.models.base import Enhancer
from llie_core.models.gate import (
    BRIGHT,
    LARGEST_CHANGE,
    NEWLY_CLIPPED,
    Gated,
    clipped_share,
    enhance_gated,
)


class Lift(Enhancer):
    """Adds a constant, and at most reaches 1."""

    def __init__(self, lift):
        super().__init__()
        self.lift = lift

    def forward(self, x):
        return x + self.lift


def grey(*levels):
    """One pixel a level: (1, 3, 1, N)."""
    return torch.tensor(levels).expand(1, 3, 1, -1).contiguous()


def test_dark_images_get_all_of_it():
    x = torch.full((1, 3, 8, 8), 0.1)
    result = enhance_gated(Lift(0.5), x)
    assert isinstance(result, Gated) and result.strength == 1 and result.reason == ""
    torch.testing.assert_close(result.image, torch.full_like(x, 0.6))


def test_bright_images_change_by_30_db_at_most():
    x = torch.full((1, 3, 8, 8), BRIGHT + 0.02)
    result = enhance_gated(Lift(0.2), x)
    assert result.reason == "bright already, mean luma 0.44"
    change = (result.image - x).square().mean().sqrt().item()
    assert change <= LARGEST_CHANGE + 1e-6
    assert result.strength == pytest.approx(LARGEST_CHANGE / 0.2, abs=1 / 256)
    assert change == pytest.approx(10 ** (-30 / 20), abs=0.2 / 256)
    # Less than that is left as it is.
    assert enhance_gated(Lift(0.03), x).strength == 1


def test_clipping_lowers_the_strength_until_few_pixels_clip():
    x = grey(*torch.linspace(0.05, 0.3, 100).tolist())
    assert clipped_share(x, (x + 0.85).clamp(max=1)) > 0.5
    result = enhance_gated(Lift(0.85), x)
    assert result.reason == "more than 5% of the pixels would clip" and 0.5 < result.strength < 1
    assert clipped_share(x, result.image) <= NEWLY_CLIPPED
    more = torch.lerp(x, (x + 0.85).clamp(max=1), result.strength + 2 / 256)
    assert clipped_share(x, more) > NEWLY_CLIPPED


def test_clipped_pixels_are_those_at_an_end_where_the_input_is_not():
    x = grey(0.5, 0.5, 0.5, 1.0)
    y = grey(0.5, 1.0, 0.0, 1.0)
    assert clipped_share(x, y) == 0.5
    y[0, 1:, 0, 1] = 0.5  # one channel is enough
    assert clipped_share(x, y) == 0.5


def test_what_is_asked_for_is_the_most():
    x = torch.full((1, 3, 4, 4), 0.8)
    assert enhance_gated(Lift(0.1), x, strength=0.1).strength == 0.1
    result = enhance_gated(Lift(0.1), x, strength=0.6)
    assert result.strength == pytest.approx(LARGEST_CHANGE / 0.1, abs=0.6 / 256)
    free = enhance_gated(Lift(0.1), x, strength=0.6, gate=False)
    torch.testing.assert_close(free.image, x + 0.06)
    assert torch.equal(enhance_gated(Lift(0.1), x, strength=0).image, x)


def test_large_images_are_read_on_a_grid(monkeypatch):
    from llie_core.models import gate

    x = torch.rand(1, 3, 120, 90, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.5
    whole = enhance_gated(Lift(0.3), x)
    monkeypatch.setattr(gate, "READ_PIXELS", 1000)
    assert enhance_gated(Lift(0.3), x).strength == pytest.approx(whole.strength, abs=0.02)


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        enhance_gated(Lift(0), torch.zeros(1, 3, 2, 2), strength)


def test_one_image_at_a_time():
    with pytest.raises(ValueError, match="x holds 2 images"):
        enhance_gated(Lift(0), torch.zeros(2, 3, 2, 2))
