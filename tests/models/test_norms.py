"""Group normalisation: the layer's values, single pixels, tiles."""

import pytest
import torch
from seeded import seeded
from torch import nn

from llie_core.models.large import given, whole_values
from llie_core.models.norms import GroupNorm


def norm(groups, channels):
    layer = GroupNorm(groups, channels)
    nn.init.uniform_(layer.weight)
    nn.init.uniform_(layer.bias)
    return layer


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_it_is_pytorchs_layer(groups):
    layer, x = norm(groups, 8), seeded(3, 8, 5, 7)
    expected = nn.functional.group_norm(x, groups, layer.weight, layer.bias, layer.eps)
    assert torch.equal(layer(x), expected)


def test_as_many_groups_as_channels_take_a_single_pixel():
    layer = norm(4, 4)
    expected = layer.bias.view(1, 4, 1, 1)  # the pixel is its own mean
    torch.testing.assert_close(layer(seeded(1, 4, 1, 1)), expected)


def test_a_tile_has_the_statistics_of_the_whole_image():
    layer, x = norm(2, 4), seeded(1, 4, 6, 10)
    values = whole_values(lambda: layer(x))
    with given(values):
        tile = layer(x[..., 3:8])
    torch.testing.assert_close(tile, layer(x)[..., 3:8])
