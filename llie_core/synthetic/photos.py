"""`builtin-photos`: photographs that the dependencies ship, darkened; no download.

They let everything be tried end to end; results on them say nothing about the papers' own sets.
Sources: scikit-image's astronaut, chelsea, coffee, rocket and stereo motorcycle images, and
matplotlib's portrait of Grace Hopper (public domain or CC0; see those packages).
"""

from dataclasses import asdict
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from llie_core.data.darkening import DarkeningRange, darken, quantise

# Split by photograph; the stereo pair is one scene, so both of its images stay together.
PHOTOS = {
    "train": ("astronaut", "coffee", "motorcycle_left", "motorcycle_right"),
    "val": ("chelsea",),
    "test": ("rocket", "grace_hopper"),
}
SPLIT_SEEDS = {"train": 0, "val": 1, "test": 2}


@cache
def photograph(name: str) -> Image.Image:
    """One of the photographs in PHOTOS as an 8-bit RGB image."""
    if name == "grace_hopper":
        from matplotlib import cbook

        path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        return Image.open(path).convert("RGB")
    from skimage import data

    if name.startswith("motorcycle"):
        left, right, _ = data.stereo_motorcycle()
        return Image.fromarray(left if name.endswith("left") else right)
    return Image.fromarray(getattr(data, name)()).convert("RGB")


class DarkenedPhotos(Dataset):
    """Shared by the built-in sets: item i is a pure function of split, seed, size and i."""

    name: str
    darkness: DarkeningRange

    def __init__(self, split="train", size=256, count=256, seed=0, darkness=None):
        if split not in SPLIT_SEEDS:
            raise ValueError(f"split {split!r}: the built-in sets have {', '.join(SPLIT_SEEDS)}")
        self.split, self.size, self.count, self.seed = split, size, count, seed
        self.darkness = darkness or type(self).darkness

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self.count:
            raise IndexError(
                f"{self.name} {self.split} holds {self.count} items, asked for {index}"
            )
        return self._make(index, np.random.default_rng([SPLIT_SEEDS[self.split], self.seed, index]))

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        fields = {key: getattr(self, key) for key in ("name", "split", "size", "count", "seed")}
        return {**fields, "darkness": asdict(self.darkness)}

    def pair(self, image: Image.Image, rng: np.random.Generator) -> dict:
        target = quantise(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255)
        parameters = self.darkness.draw(rng)
        return {
            "image": torch.from_numpy(darken(target, parameters)),  # (3, size, size)
            "target": torch.from_numpy(target),  # (3, size, size)
            "darkening": parameters.as_dict(),
        }


class BuiltinPhotos(DarkenedPhotos):
    """`builtin-photos`: pairs of crops, darkened and normal.

    Item: image (3, size, size) low-light, target (3, size, size), name, darkening (dict).
    The same index always gives the same pair; `seed` moves to another set of pairs.
    """

    name = "builtin-photos"
    darkness = DarkeningRange()

    def _make(self, index: int, rng: np.random.Generator) -> dict:
        names = PHOTOS[self.split]
        name = names[index % len(names)]
        pair = self.pair(random_crop(photograph(name), self.size, rng), rng)
        return {**pair, "name": f"{name}-{index:05d}"}


def random_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A square of random place and extent, resized to `size`, flipped half of the time."""
    side = int(min(image.size) * rng.uniform(0.5, 1.0))
    x = int(rng.integers(image.width - side + 1))
    y = int(rng.integers(image.height - side + 1))
    crop = image.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop
