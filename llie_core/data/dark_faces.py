"""Darkened copies of a normal-light face data set, for training and for test."""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

from llie_core.data.darkening import DarkeningRange, darken, quantise
from llie_core.dataset import SizedDataset

# image (3, H, W) in [0, 1], generator → darkened image and the parameters on record
Darkener = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, dict]]


def physical_darkener(ranges: DarkeningRange | None = None) -> Darkener:
    """Darkening by the physical model of darkening.py."""
    ranges = ranges or DarkeningRange()

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        parameters = ranges.draw(rng)
        return darken(image, parameters), parameters.as_dict()

    return apply


def exposure_darkener(model, low: float = 0.05, high: float = 0.30) -> Darkener:
    """Darkening by a trained exposure-conditioned enhancer, target exposure uniform (Sec. 3.1)."""

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        exposure = round(float(rng.uniform(low, high)), 4)
        dark = model.enhance(torch.from_numpy(image)[None], exposure=exposure)[0]
        return quantise(dark.numpy()), {"exposure_target": exposure}

    return apply


class NormalLight(Dataset):
    """The normal-light side of a paired set, as a darkener's training input."""

    def __init__(self, source: SizedDataset):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        return {"image": item["target"], "name": item["name"]}

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {"source": self.source.describe(), "side": "normal light"}


class DarkFaces(Dataset):
    """Wrap a face data set: `image` becomes the darkened image, `target` the original.

    size: training crops of size × size (drawn anew every epoch, around a face half of the time);
    None keeps whole images. Faces cut by the crop to less than half are marked `ignore`.
    """

    def __init__(
        self, source: SizedDataset, darkener: Darkener, size: int | None = None, seed: int = 0
    ):
        self.source, self.darkener, self.size, self.seed = source, darkener, size, seed

    def __len__(self) -> int:
        return len(self.source)

    @property
    def names(self) -> list[str]:
        """Names of the items, where the source knows them without reading any."""
        return self.source.names

    def describe(self) -> dict:
        """What identifies the items; the darkener with its network, if it has one."""
        own = {"darkener": self.darkener, "size": self.size, "seed": self.seed}
        return {"source": self.source.describe(), **own}

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
