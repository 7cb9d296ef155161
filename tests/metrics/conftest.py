"""A photograph with known answers."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def coffee_and_dark() -> torch.Tensor:
    """(2, 3, 400, 600): scikit-image's coffee, and darkened with gamma 2.2."""
    from skimage import data

    coffee = data.coffee()
    dark = np.round(255 * (coffee / 255.0) ** 2.2).astype(np.uint8)
    return torch.from_numpy(np.stack([coffee, dark]) / 255.0).float().permute(0, 3, 1, 2)
