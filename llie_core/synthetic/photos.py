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


class Composites(Dataset):
    """Shared by the built-in sets: item i is a pure function of split, seed, size and i."""

    name: str
    splits: tuple[str, ...] = tuple(SPLIT_SEEDS)

    def __init__(self, split="train", size=256, count=256, seed=0):
        if split not in self.splits:
            raise ValueError(f"{self.name} has the splits {', '.join(self.splits)}, not {split!r}")
        self.split, self.size, self.count, self.seed = split, size, count, seed

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
        return {key: getattr(self, key) for key in ("name", "split", "size", "count", "seed")}


class DarkenedPhotos(Composites):
    """Those of a normal-light image and its darkened copy."""

    darkness: DarkeningRange

    def __init__(self, split="train", size=256, count=256, seed=0, darkness=None):
        super().__init__(split, size, count, seed)
        self.darkness = darkness or type(self).darkness

    def describe(self) -> dict:
        return super().describe() | {"darkness": asdict(self.darkness)}

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


def random_crop(
    image: Image.Image, size: int, rng: np.random.Generator, least: float = 0.5
) -> Image.Image:
    """A square of random place and extent (`least` of the shorter side, or more), resized to
    `size`, flipped half of the time."""
    side = int(min(image.size) * rng.uniform(least, 1.0))
    x = int(rng.integers(image.width - side + 1))
    y = int(rng.integers(image.height - side + 1))
    crop = image.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def free_place(
    taken: list[tuple], extent: tuple[float, float], margin: float, size: int,
    rng: np.random.Generator, tries: int,
) -> tuple[float, float] | None:  # fmt: skip
    """A corner of a box of this width and height inside the image and clear of the `taken` boxes
    by `margin`, or None."""
    width, height = extent
    for _ in range(tries):
        x = rng.uniform(0, max(1.0, size - width))
        y = rng.uniform(0, max(1.0, size - height))
        if all(
            x > b[2] + margin or x + width < b[0] - margin
            or y > b[3] + margin or y + height < b[1] - margin
            for b in taken
        ):  # fmt: skip
            return x, y
    return None
