"""Darkened copies of a normal-light face data set, for training and for test."""

import numpy as np
import torch
import torch.nn.functional as F

from llie_core.data.darkening import Darkener, quantise
from llie_core.data.transforms import crop
from llie_core.data.wrappers import Drawn
from llie_core.dataset import SizedDataset


def exposure_darkener(model, low: float = 0.05, high: float = 0.30) -> Darkener:
    """Darkening by a trained exposure-conditioned enhancer, target exposure uniform (Sec. 3.1)."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        exposure = round(float(rng.uniform(low, high)), 4)
        dark = model.enhance(torch.from_numpy(image)[None], exposure=exposure)[0]
        return quantise(dark.numpy()), {"exposure_target": exposure}

    return apply


class DarkFaces(Drawn):
    """Wrap a face data set: `image` becomes the darkened image, `target` the original.

    size: training crops of size × size (drawn anew every epoch, around a face half of the time);
    None keeps whole images. Faces cut by the crop to less than half are marked `ignore`.
    """

    def __init__(
        self, source: SizedDataset, darkener: Darkener, size: int | None = None, seed: int = 0
    ):
        # The darkener is recorded with its network, if it has one.
        super().__init__(source, darkener=darkener, size=size, seed=seed)
        self.darkener, self.size, self.seed = darkener, size, seed

    def sample(self, index: int, draw: int) -> dict:
        rng = np.random.default_rng([self.seed, draw])
        item = dict(self.source[index])
        if self.size is not None:
            item = crop_faces(item, self.size, rng)
        target = item["image"]
        dark, parameters = self.darkener(target.numpy(), rng)
        return {**item, "image": torch.from_numpy(dark), "target": target, "darkening": parameters}


def crop_faces(item: dict, size: int, rng: np.random.Generator) -> dict:
    """A size × size crop (zero-padded where the image is smaller) with its boxes."""
    image, boxes = item["image"], item["boxes"]
    _, height, width = image.shape
    low_x, low_y = max(0, width - size), max(0, height - size)
    x, y = int(rng.integers(low_x + 1)), int(rng.integers(low_y + 1))
    valid = torch.nonzero(~item["ignore"]).flatten()
    if len(valid) and rng.random() < 0.5:
        x0, y0, x1, y1 = boxes[valid[rng.integers(len(valid))]].tolist()
        x = int(np.clip((x0 + x1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_x))
        y = int(np.clip((y0 + y1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_y))
    padded = F.pad(image, (0, max(0, size - width), 0, max(0, size - height)))
    faces = {key: item[key] for key in ("boxes", "ignore", "name")}
    return crop({"image": padded, **faces}, x, y, (size, size))
