"""A colour cast over images."""

import pytest
import torch

from llie_core.data.cast import ColourCast
from llie_core.data.darkening import linear_to_srgb, srgb_to_linear


class Grey(torch.utils.data.Dataset):
    def __getitem__(self, index):
        grey = torch.full((3, 2, 2), 0.5)
        return {"image": grey, "target": grey, "name": "grey"}

    def describe(self):
        return {"name": "grey"}


def test_the_image_is_scaled_in_linear_light_and_the_target_stays():
    gains = (0.6, 1.0, 0.7)
    item = ColourCast(Grey(), gains)[0]
    expected = [float(linear_to_srgb(srgb_to_linear(0.5) * gain)) for gain in gains]
    found = item["image"][:, 0, 0].tolist()
    assert found == pytest.approx(expected, abs=0.51 / 255)
    levels = item["image"] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert torch.equal(item["target"], Grey()[0]["target"])


def test_the_gains_identify_the_data():
    assert ColourCast(Grey(), (0.6, 1.0, 0.7)).describe() == {
        "source": {"name": "grey"}, "ColourCast": {"gains": [0.6, 1.0, 0.7]},
    }  # fmt: skip
