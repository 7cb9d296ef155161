"""The loss of SCI: closed forms and a plain loop."""

import math

import pytest
import torch
from seeded import seeded

from llie_core.losses.illumination import guided_smoothness, sci_loss


def test_a_constant_illumination_costs_nothing_and_neither_does_one_pixel():
    guide = seeded(1, 3, 6, 7)
    assert guided_smoothness(torch.full_like(guide, 0.3), guide) == 0
    assert guided_smoothness(seeded(2, 3, 1, 1), seeded(2, 3, 1, 1)) == 0


def test_equals_a_loop_over_neighbours():
    light, guide = seeded(1, 3, 4, 5, dtype=torch.float64), seeded(1, 3, 4, 5, seed=1).double() / 5
    matrix = torch.tensor(
        [[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]]
    ).double()
    colours = (matrix @ guide[0].reshape(3, -1)).reshape(3, 4, 5)
    expected = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            found = [
                math.exp(-(colours[:, i, j] - colours[:, i + dy, j + dx]).square().sum() / 0.02)
                * (light[0, :, i, j] - light[0, :, i + dy, j + dx]).abs().sum()
                for i in range(4)
                for j in range(5)
                if (dy or dx) and 0 <= i + dy < 4 and 0 <= j + dx < 5
            ]
            expected += sum(found) / max(1, len(found))
    assert guided_smoothness(light, guide).item() == pytest.approx(expected.item(), rel=1e-6)


def test_is_summed_over_stages():
    seen, light = seeded(4, 3, 6, 6), seeded(4, 3, 6, 6, seed=1)
    both = sci_loss({"image": seen[:2], "illumination": light, "stage_input": seen}, {})
    assert both["fidelity"] == pytest.approx(2 * (light - seen).square().mean().item())
    each = [
        sci_loss({"image": s, "illumination": i, "stage_input": s}, {})["total"]
        for s, i in zip(seen.split(2), light.split(2), strict=True)
    ]
    torch.testing.assert_close(both["total"], sum(each))
    torch.testing.assert_close(both["total"], 1.5 * both["fidelity"] + both["smoothness"])
