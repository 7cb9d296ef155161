"""The first training's generator as a tool: pairs without end (Sec. 2.3), for `llie darken`."""

import numpy as np
import torch

from llie_core.data.dark_faces import Darkener
from llie_core.data.darkening import quantise
from llie_core.dataset import SizedDataset
from llie_core.models.drgn import TwoStep


def degradation_darkener(
    model: TwoStep, lows: SizedDataset, strength: tuple[float, float] = (0.5, 1.5)
) -> Darkener:
    """Darkening by a trained DRGN or LW-DRGN, for `data.synthesis.write_pairs`.

    Args:
        model: trained, on any device; the images are on the CPU.
        lows: low-light images (items with `image` and `name`) whose degradations are taken.
        strength: range from which each image's is drawn; (1, 1) is as learned.

    Raises:
        ValueError: the range is not a rising one from 0 up.
    """
    if not 0 <= strength[0] <= strength[1]:
        raise ValueError(f"strength {strength}: give a rising range from 0 up")

    device = next(model.parameters()).device

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        low = lows[int(rng.integers(len(lows)))]
        amount, place = round(float(rng.uniform(*strength)), 4), int(rng.integers(2**31))
        dark = model.darken(
            torch.from_numpy(image)[None].to(device), low["image"][None], amount,
            torch.Generator().manual_seed(place),
        )[0].cpu()  # fmt: skip
        about = {"degradation_of": low["name"], "strength": amount, "seed": place}
        return quantise(dark.numpy()), about

    return apply
