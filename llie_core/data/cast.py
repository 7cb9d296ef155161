"""A colour cast over images, as a light of that colour would give."""

import numpy as np
import torch

from llie_core.data.darkening import linear_to_srgb, quantise, srgb_to_linear
from llie_core.data.wrappers import Wrapped
from llie_core.dataset import SizedDataset


class ColourCast(Wrapped):
    """Images whose linear light is multiplied by gains of R, G, B, in 8 bits; targets stay."""

    def __init__(self, source: SizedDataset, gains: tuple[float, float, float]):
        super().__init__(source, gains=list(gains))
        self.gains = gains

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        gains = np.array(self.gains, np.float32).reshape(3, 1, 1)
        cast = linear_to_srgb(srgb_to_linear(item["image"].numpy()) * gains)
        return item | {"image": torch.from_numpy(quantise(cast))}
