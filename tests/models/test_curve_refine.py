"""CurveRefine: sizes, the identity it starts from, tiles by the whole image's context."""

import pytest
import torch
from seeded import seeded
from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.curve_refine import CONTEXT, shrink


@pytest.fixture
def model():
    """With layers that start at zero moved off it, so that every part of it shows."""
    torch.manual_seed(0)
    model = create_enhancer("curve_refine")
    refine = model.refine
    for layer in (model.curves, model.mixing, refine.scale, refine.leave):
        nn.init.normal_(layer.weight, std=0.05)
        nn.init.normal_(layer.bias, std=0.05)
    return model.eval()


def test_sizes():
    model = create_enhancer("curve_refine")
    assert count_parameters(model) == 86_826 <= 100_000
    assert round(count_macs(model, (400, 600)).macs / 1e9, 2) == 1.86


@pytest.mark.parametrize("size", [(1, 1), (13, 17), (64, 96)])
def test_starts_as_the_identity(size):
    x = seeded(2, 3, *size)
    torch.testing.assert_close(create_enhancer("curve_refine").enhance(x), x, rtol=0, atol=1e-6)


def test_curves_fix_black_and_white_and_rows_of_the_matrix_add_up_to_one(model):
    nn.init.normal_(model.curves.weight, std=2)
    nn.init.normal_(model.mixing.weight, std=2)
    grey = torch.linspace(0, 1, 64).expand(1, 3, 8, 64)
    curves = model.training_outputs(grey)["curve_image"]
    assert (curves[..., 0].abs() < 1e-5).all() and ((curves[..., -1] - 1).abs() < 1e-5).all()
    code = model.context(shrink(grey))
    torch.testing.assert_close(model.matrix(code).sum(2), torch.ones(1, 3))


def test_a_tile_with_the_context_of_the_whole_is_that_part_of_the_whole(model):
    x = seeded(1, 3, 128, 192)
    with torch.no_grad():
        whole = model(x)
        part = model(x[..., 32:, 40:152], context=shrink(x))
        alone = model(x[..., 32:, 40:152])
    # Away from the tile's own border, which the refinement sees some 40 pixels around.
    inner = (..., slice(40, None), slice(40, -40))
    torch.testing.assert_close(part[inner], whole[..., 32:, 40:152][inner], rtol=0, atol=1e-6)
    assert (alone - whole[..., 32:, 40:152])[inner].abs().max() > 1e-4


def test_pooled_features_are_dropped_in_training_only(model):
    x = seeded(1, 3, 16, 16)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_context_is_means_over_areas():
    x = seeded(1, 3, 2 * CONTEXT, 3 * CONTEXT)
    expected = x.unflatten(3, (CONTEXT, 3)).unflatten(2, (CONTEXT, 2)).mean((3, 5))
    torch.testing.assert_close(shrink(x), expected)
