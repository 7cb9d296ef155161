"""The photographs that recognizers of persons and faces read."""

import numpy as np
import pytest
import torch

from llie_core.synthetic.photos import photograph


@pytest.fixture(scope="session")
def portrait():
    """portrait(name): a photograph that the dependencies ship, (1, 3, H, W)."""

    def read(name):
        pixels = np.array(photograph(name).convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255

    return read


@pytest.fixture(scope="session")
def astronaut(portrait):
    """The head of scikit-image's astronaut, (1, 3, 256, 256); read_images.FACE lies in it."""
    return portrait("astronaut")[..., 10:266, 96:352]
