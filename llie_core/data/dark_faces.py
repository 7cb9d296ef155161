"""Darkened copies of a normal-light face data set, for training and for test."""

import numpy as np
import torch

from llie_core.data.darkening import Darkener, quantise
from llie_core.data.wrappers import Wrapped
from llie_core.dataset import SizedDataset


def exposure_darkener(model, low: float = 0.05, high: float = 0.30) -> Darkener:
    """Darkening by a trained exposure-conditioned enhancer, target exposure uniform (Sec. 3.1)."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        exposure = round(float(rng.uniform(low, high)), 4)
        dark = model.enhance(torch.from_numpy(image)[None], exposure=exposure)[0]
        return quantise(dark.numpy()), {"exposure_target": exposure}

    return apply


class DarkFaces(Wrapped):
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

    def __getitem__(self, index: int) -> dict:
        return self.sample(index, index)

    def sample(self, index: int, draw: int) -> dict:
        """Item `index` with the crop and darkening of `draw`."""
        rng = np.random.default_rng([self.seed, draw])
        item = dict(self.source[index])
        if self.size is not None:
            item = crop_faces(item, self.size, rng)
        target = item["image"]
        dark, parameters = self.darkener(target.numpy(), rng)
        return {**item, "image": torch.from_numpy(dark), "target": target, "darkening": parameters}


def crop_faces(item: dict, size: int, rng: np.random.Generator) -> dict:
    """A size × size crop (zero-padded where the image is smaller) with its boxes."""
    image, boxes, ignore = item["image"], item["boxes"], item["ignore"]
    _, height, width = image.shape
    low_x, low_y = max(0, width - size), max(0, height - size)
    x, y = int(rng.integers(low_x + 1)), int(rng.integers(low_y + 1))
    valid = torch.nonzero(~ignore).flatten()
    if len(valid) and rng.random() < 0.5:
        x0, y0, x1, y1 = boxes[valid[rng.integers(len(valid))]].tolist()
        x = int(np.clip((x0 + x1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_x))
        y = int(np.clip((y0 + y1) / 2 - rng.uniform(0.2, 0.8) * size, 0, low_y))
    crop = image.new_zeros(3, size, size)
    part = image[:, y : y + size, x : x + size]
    crop[:, : part.shape[1], : part.shape[2]] = part
    moved = boxes - boxes.new_tensor([x, y, x, y])
    inside = moved.clamp(0, size)
    share = _area(inside) / _area(moved).clamp(min=1e-6)
    seen = share > 0
    return {
        "image": crop,
        "boxes": inside[seen],
        "ignore": (ignore | (share < 0.5))[seen],
        "name": item["name"],
    }


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
