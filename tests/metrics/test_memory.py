"""Peak memory in closed form: weights, the image, and the tensors alive at once."""

import pytest
import torch
from torch import nn

from llie_core.metrics.memory import peak_memory
from llie_core.models import create_enhancer

FLOAT = 4


def test_one_layer_holds_weights_image_and_output():
    layer = nn.Conv2d(3, 8, 3, padding=1)
    assert peak_memory(layer, (10, 20)) == FLOAT * ((3 * 9 + 1) * 8 + 3 * 200 + 8 * 200)


def test_a_tensor_that_is_no_longer_needed_is_freed():
    chain = nn.Sequential(*[nn.Conv2d(c, 8, 1, bias=False) for c in (3, 8, 8, 8)])
    weights = 3 * 8 + 3 * 64
    # Two maps of 8 channels at a time, however long the chain, and the caller's image.
    assert peak_memory(chain, (10, 10)) == FLOAT * (weights + 300 + 2 * 800)


def test_work_in_place_and_views_take_nothing():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.relu_().view(1, -1)

    assert peak_memory(InPlace(), (4, 4)) == FLOAT * 3 * 16


def test_skips_are_held_until_they_are_used():
    class Skip(nn.Module):
        def forward(self, x):
            skip = x + 1
            y = (skip + 1) + 1
            return torch.cat([skip, y], dim=1)

    # Image, skip, y and their concatenation, twice as large.
    assert peak_memory(Skip(), (5, 5)) == FLOAT * 75 * 5


def test_buffers_and_other_types_are_counted_by_their_size():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("by", torch.zeros(3, 1, 1, dtype=torch.float64))

        def forward(self, x):
            return x + self.by  # float64

    assert peak_memory(Shift(), (2, 2)) == 3 * 8 + 12 * FLOAT + 12 * 8


def test_the_model_is_left_as_it_is():
    model = create_enhancer("neid", variant="LE").train()
    peak_memory(model, (32, 32))
    assert model.training and next(model.parameters()).device.type == "cpu"


def test_half_the_size_takes_less_memory_at_4k():
    full, half = (create_enhancer("neid", variant=v) for v in ("U-net architecture", "LE"))
    assert peak_memory(half, (2160, 3840)) < 0.3 * peak_memory(full, (2160, 3840))
    assert peak_memory(half, (64, 64), "forward_half") > peak_memory(half, (64, 64))


def test_a_network_that_needs_values_is_named():
    class NeedsValues(nn.Module):
        def forward(self, x):
            return x * x.mean().item()

    with pytest.raises(ValueError, match=r"cannot count NeedsValues\.forward at 4×6"):
        peak_memory(NeedsValues(), (4, 6))
