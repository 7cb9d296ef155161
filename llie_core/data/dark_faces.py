"""Darkened copies of a normal-light face data set, and the training crops of them."""

import numpy as np
import torch
import torch.nn.functional as F

from llie_core.data.darkening import Darkener, quantise
from llie_core.data.synthesis import generator
from llie_core.data.transforms import crop
from llie_core.data.wrappers import Drawn, Wrapped
from llie_core.dataset import SizedDataset


def exposure_darkener(model, low: float = 0.05, high: float = 0.30) -> Darkener:
    """Darkening by a trained exposure-conditioned enhancer, target exposure uniform (Sec. 3.1).

    On record: `exposure_target`, E as asked for, and `mean`, that of the darkened image.
    """

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        exposure = round(float(rng.uniform(low, high)), 4)
        device = next(model.parameters()).device
        bright = torch.from_numpy(image)[None].to(device)
        dark = quantise(model.enhance(bright, exposure=exposure)[0].cpu().numpy())
        return dark, {"exposure_target": exposure, "mean": round(float(dark.mean()), 4)}

    return apply


class DarkFaces(Wrapped):
    """Wrap a face data set: `image` becomes the darkened image, `target` the original.

    How an item is darkened depends on seed and its name alone.
    """

    def __init__(self, source: SizedDataset, darkener: Darkener, seed: int = 0):
        # The darkener is recorded with its network, if it has one.
        super().__init__(source, darkener=darkener, seed=seed)
        self.darkener, self.seed = darkener, seed

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        rng = generator(self.seed, item["name"])
        dark, parameters = self.darkener(item["image"].numpy(), rng)
        made = {"image": torch.from_numpy(dark), "target": item["image"], "darkening": parameters}
        return {**item, **made}


class FaceCrops(Drawn):
    """Training crops of size × size pixels, drawn anew every epoch, around a face half of the time.

    Smaller images are padded with black. Faces cut by the crop to less than half are marked
    `ignore`.
    """

    def __init__(self, source: SizedDataset, size: int, seed: int = 0):
        super().__init__(source, size=size, seed=seed)
        self.size, self.seed = size, seed

    def sample(self, index: int, draw: int) -> dict:
        return crop_faces(self.source[index], self.size, np.random.default_rng([self.seed, draw]))


def crop_faces(item: dict, size: int, rng: np.random.Generator) -> dict:
    """A size × size crop of `image`, and of `target` where there is one, with its boxes."""
    boxes = item["boxes"]
    _, height, width = item["image"].shape
    low_x, low_y = max(0, width - size), max(0, height - size)
    x, y = int(rng.integers(low_x + 1)), int(rng.integers(low_y + 1))
    valid = torch.nonzero(~item["ignore"]).flatten()
    if len(valid) and rng.random() < 0.5:
        x0, y0, x1, y1 = boxes[valid[rng.integers(len(valid))]].tolist()
        x = int(np.clip((x0 + x1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_x))
        y = int(np.clip((y0 + y1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_y))
    margins = (0, max(0, size - width), 0, max(0, size - height))
    kept = {key: item[key] for key in ("boxes", "ignore", "name", "darkening") if key in item}
    padded = {key: F.pad(item[key], margins) for key in ("image", "target") if key in item}
    return crop(padded | kept, x, y, (size, size))
