"""The first training's generator as a tool: pairs without end (Sec. 2.3), for `llie darken`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llie_core.data.darkening import Darkener, quantise
from llie_core.dataset import SizedDataset
from llie_core.losses.degradation import COLLAPSED_BELOW, degradation_monitor
from llie_core.models.drgn import TwoStep

SIDE = 64  # of the parts by which a collapse is seen


def degradation_darkener(
    model: TwoStep,
    lows: SizedDataset,
    strength: tuple[float, float] = (0.5, 1.5),
    second_pass: bool = True,
) -> Darkener:
    """Darkening by a trained DRGN or LW-DRGN, for `data.synthesis.write_pairs`.

    Args:
        model: trained, on any device; the images are on the CPU.
        lows: low-light images (items with `image` and `name`) whose degradations are taken.
        strength: range from which each image's is drawn; (1, 1) is as learned.
        second_pass: see `TwoStep.darken`.

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
            torch.Generator().manual_seed(place), second_pass,
        )[0].cpu()  # fmt: skip
        about = {"degradation_of": low["name"], "strength": amount, "seed": place}
        return quantise(dark.numpy()), about

    return apply


@torch.no_grad()
def collapse_of(model: TwoStep, normals: Sequence[Tensor], lows: Sequence[Tensor]) -> str:
    """What is wrong with a degradation that hardly depends on the image; "" where nothing is.

    Args:
        normals, lows: as many images (3, H, W) of each. The ground truth of `lows` is not known;
            `normals` stand in for it. With one of less than four pixels a side nothing is said.
    """
    device = next(model.parameters()).device
    side = min([SIDE, *(n for image in (*normals, *lows) for n in image.shape[1:])]) // 4 * 4
    if not side:
        return ""
    low, normal = (
        torch.stack([image[:, :side, :side] for image in images]).to(device)
        for images in (lows, normals)
    )
    seen = degradation_monitor(model.degrade(normal, low)["degradation"], low - normal)
    if not seen["collapsed"]:
        return ""
    return (
        f"the learned degradation has collapsed: it varies by {seen['degradation_std']:.4f} over "
        f"an image, less than {COLLAPSED_BELOW} of the {seen['true_std']:.4f} that dark and normal "
        "images differ by; the pairs are worth nothing, train the model anew"
    )
