"""Data sets that need no download, made from photographs that the dependencies ship.

They let everything be tried end to end; results on them say nothing about the papers' own sets.
Sources: scikit-image's astronaut, chelsea, coffee, rocket and stereo motorcycle pictures, and
matplotlib's portrait of Grace Hopper (public domain or CC0; see those packages).
"""

from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import Dataset

from llie_core.data.darkening import DarkeningRange, darken, quantise

# Split by photograph; the stereo pair is one scene, so both of its pictures stay together.
PHOTOS = {
    "train": ("astronaut", "coffee", "motorcycle_left", "motorcycle_right"),
    "val": ("chelsea",),
    "test": ("rocket", "grace_hopper"),
}
# Face-free backgrounds of the composites; the test's are photographs that training never shows.
BACKGROUNDS = {
    "train": ("coffee", "motorcycle_left"),
    "val": ("coffee", "motorcycle_left"),
    "test": ("chelsea", "rocket"),
}
SPLIT_SEEDS = {"train": 0, "val": 1, "test": 2}
# Lower bounds on the face's height in pixels; each subset contains the ones before it.
FACE_HEIGHTS = {"easy": 48, "medium": 28, "hard": 0}


@dataclass(frozen=True)
class FaceSource:
    """A photograph's face: box x0, y0, x1, y1 in its pixels (as MTCNN finds it in daylight)."""

    photo: str
    box: tuple[int, int, int, int]


FACES = {
    "train": FaceSource("astronaut", (181, 62, 268, 172)),
    "val": FaceSource("astronaut", (181, 62, 268, 172)),
    "test": FaceSource("grace_hopper", (174, 120, 356, 340)),
}


@cache
def photograph(name: str) -> Image.Image:
    """One of the photographs in PHOTOS as an 8-bit RGB picture."""
    if name == "grace_hopper":
        from matplotlib import cbook

        path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        return Image.open(path).convert("RGB")
    from skimage import data

    if name.startswith("motorcycle"):
        left, right, _ = data.stereo_motorcycle()
        return Image.fromarray(left if name.endswith("left") else right)
    return Image.fromarray(getattr(data, name)()).convert("RGB")


class _Builtin(Dataset):
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

    def _pair(self, picture: Image.Image, rng: np.random.Generator) -> dict:
        target = quantise(np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255)
        parameters = self.darkness.draw(rng)
        return {
            "image": torch.from_numpy(darken(target, parameters)),  # (3, size, size)
            "target": torch.from_numpy(target),  # (3, size, size)
            "darkening": parameters.as_dict(),
        }


class BuiltinPhotos(_Builtin):
    """`builtin-photos`: pairs of crops, darkened and normal.

    Item: image (3, size, size) low-light, target (3, size, size), name, darkening (dict).
    The same index always gives the same pair; `seed` moves to another set of pairs.
    """

    name = "builtin-photos"
    darkness = DarkeningRange()

    def _make(self, index: int, rng: np.random.Generator) -> dict:
        names = PHOTOS[self.split]
        name = names[index % len(names)]
        pair = self._pair(_random_crop(photograph(name), self.size, rng), rng)
        return {**pair, "name": f"{name}-{index:05d}"}


class BuiltinFaces(_Builtin):
    """`builtin-faces`: one real face composited at many scales and poses on real backgrounds.

    Item: image (3, size, size) darkened composite, target the normal-light one, boxes (N, 4) xyxy
    in pixels, ignore (N,), keep {"easy", "medium", "hard"} → (N,) by face height (FACE_HEIGHTS),
    name, darkening (dict). About three pictures in ten hold no face. The face of the test split
    is another person's than in training, on other backgrounds.
    """

    name = "builtin-faces"
    # Darker and noisier than the photographs: MTCNN still finds faces at a tenth of the brightness.
    darkness = DarkeningRange(
        exposure=(0.004, 0.03), photons=(1000.0, 4000.0), read=(0.0005, 0.001)
    )

    def _make(self, index: int, rng: np.random.Generator) -> dict:
        picture, boxes = self._compose(rng)
        height = boxes[:, 3] - boxes[:, 1]
        return {
            **self._pair(picture, rng),
            "boxes": boxes,
            "ignore": torch.zeros(len(boxes), dtype=torch.bool),
            "keep": {subset: height >= least for subset, least in FACE_HEIGHTS.items()},
            "name": f"{self.split}-{index:05d}",
        }

    def _compose(self, rng: np.random.Generator) -> tuple[Image.Image, torch.Tensor]:
        name = BACKGROUNDS[self.split][rng.integers(len(BACKGROUNDS[self.split]))]
        picture = _random_crop(photograph(name), self.size, rng)
        source = FACES[self.split]
        wanted = 0 if rng.random() < 0.3 else int(rng.integers(1, 5))
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(wanted):
            height = float(np.exp(rng.uniform(np.log(14), np.log(0.45 * self.size))))
            squeeze = rng.uniform(0.85, 1.0)  # narrower, as a head turned a little to the side
            head, width = _head(source, height, squeeze, rng)
            box = _free_place(boxes, width, height, self.size, rng)
            if box is not None:
                centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
                corner = (round(centre[0] - head.width / 2), round(centre[1] - head.height / 2))
                picture.paste(head.convert("RGB"), corner, head.getchannel("A"))
                boxes.append(box)
        return picture, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _random_crop(picture: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A square of random place and extent, resized to `size`, flipped half of the time."""
    side = int(min(picture.size) * rng.uniform(0.5, 1.0))
    x = int(rng.integers(picture.width - side + 1))
    y = int(rng.integers(picture.height - side + 1))
    crop = picture.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _head(source, height, squeeze, rng) -> tuple[Image.Image, float]:
    """The head as an RGBA patch centred on the face, and the width of the face in it."""
    x0, y0, x1, y1 = source.box
    scale = height / (y1 - y0)
    width = (x1 - x0) * scale * squeeze
    reach_x, reach_y = 0.85 * (x1 - x0), 0.85 * (y1 - y0)
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    region = (centre_x - reach_x, centre_y - reach_y, centre_x + reach_x, centre_y + reach_y)
    size = (max(4, round(2 * reach_x * scale * squeeze)), max(4, round(2 * reach_y * scale)))
    patch = photograph(source.photo).resize(size, Image.Resampling.BICUBIC, region)
    gain = rng.uniform(0.8, 1.1)
    patch = patch.point(lambda value: min(255, round(value * gain)))
    mask = Image.new("L", size, 0)
    inset = (0.08 * size[0], 0.08 * size[1])
    ImageDraw.Draw(mask).ellipse((*inset, size[0] - inset[0], size[1] - inset[1]), fill=255)
    patch.putalpha(mask.filter(ImageFilter.GaussianBlur(0.04 * size[1])))
    if rng.random() < 0.5:
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return patch.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC), width


def _free_place(taken, width, height, size, rng, tries=20):
    """A box of this size inside the picture and clear of the `taken` ones, or None."""
    for _ in range(tries):
        x = rng.uniform(0, max(1.0, size - width))
        y = rng.uniform(0, max(1.0, size - height))
        box = (x, y, x + width, y + height)
        margin = 0.35 * height
        if all(
            box[0] > b[2] + margin or box[2] < b[0] - margin
            or box[1] > b[3] + margin or box[3] < b[1] - margin
            for b in taken
        ):  # fmt: skip
            return box
    return None
