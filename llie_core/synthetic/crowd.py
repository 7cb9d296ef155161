"""`builtin-crowd`: daylight faces of many people, to train a small face detector; no download.

scikit-image ships 200 grey patches of 25×25 pixels, from "Labeled Faces in the Wild" (Huang et al.,
2007): 100 faces of different people, and 100 patches without any. Here the faces, tinted, and the
astronaut's head, which is the only sharp one, are composited at many scales on face-free images;
the other patches and plain ovals are composited likewise, so that a pasted edge is no sign of a
face. Neither the person nor the backgrounds of the test split of `builtin-faces` appear.
"""

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from llie_core.synthetic.faces import FACES
from llie_core.synthetic.photos import Composites, free_place, photograph, random_crop

BACKGROUNDS = ("coffee", "motorcycle_left", "motorcycle_right", "brick", "grass", "gravel",
               "immunohistochemistry", "hubble_deep_field", "text", "moon")  # fmt: skip
# The face's box in a patch, in parts of its sides: the median of what MTCNN finds in the 100.
PATCH_BOX = (0.054, -0.032, 0.813, 0.955)
PATCHES = 100  # faces, and as many without
SKIN = ((255, 219, 190), (241, 194, 152), (224, 172, 120), (180, 125, 85), (130, 85, 60))
LEAST = 12  # pixels; least height of a face
HELD_OUT = 20  # faces of the split "test"


class BuiltinCrowd(Composites):
    """Composites with their faces.

    Item: image (3, size, size) in [0, 1], boxes (N, 4) xyxy in pixels, ignore (N,), name. About
    three images in ten hold no face. The split "test" has 20 faces of its own.

    Raises:
        ValueError: a split other than train and test.
    """

    name = "builtin-crowd"
    splits = ("train", "test")

    def __init__(self, split: str = "train", size: int = 128, count: int = 2048, seed: int = 0):
        super().__init__(split, size, count, seed)

    @property
    def names(self) -> list[str]:
        """Names of the items."""
        return [f"{self.split}-{index:05d}" for index in range(self.count)]

    def _make(self, index: int, rng: np.random.Generator) -> dict:
        composite, boxes = self._compose(rng)
        values = np.asarray(composite, dtype=np.float32).transpose(2, 0, 1) / 255
        image = _developed(values, rng)
        return {
            "image": torch.from_numpy(image),  # (3, size, size)
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "ignore": torch.zeros(len(boxes), dtype=torch.bool),
            "name": f"{self.split}-{index:05d}",
        }

    def _compose(self, rng: np.random.Generator) -> tuple[Image.Image, list]:
        background = photograph(BACKGROUNDS[rng.integers(len(BACKGROUNDS))])
        image = random_crop(background, self.size, rng, least=0.3)
        faces = 0 if rng.random() < 0.3 else int(rng.integers(1, 5))
        taken: list[tuple[float, float, float, float]] = []
        boxes = []
        for number in range(faces + int(rng.integers(0, 4))):
            is_face = number < faces
            patch, part = self.face(rng) if is_face else _no_face(rng)
            height = float(np.exp(rng.uniform(np.log(LEAST), np.log(0.7 * self.size))))
            box = _paste(image, patch, part, height, taken, rng)
            if box is not None:
                taken.append(box)
                boxes += [box] * is_face
        return image, boxes

    def face(self, rng: np.random.Generator) -> tuple[Image.Image, tuple]:
        """An image of a head, and where its face is, in parts of its sides."""
        if self.split == "train" and rng.random() < 0.25:
            return _astronaut()
        first, last = (0, HELD_OUT) if self.split == "test" else (HELD_OUT, PATCHES)
        return _tinted(patches()[rng.integers(first, last)], rng), PATCH_BOX


@cache
def patches() -> np.ndarray:
    """The patches (200, 25, 25) in [0, 1]: PATCHES faces, then as many without."""
    from skimage import data

    return data.lfw_subset().astype(np.float32)


@cache
def _astronaut() -> tuple[Image.Image, tuple]:
    x0, y0, x1, y1 = FACES["train"].box
    reach = 0.3 * (y1 - y0)
    region = (x0 - reach, y0 - reach, x1 + reach, y1 + reach)
    width, height = region[2] - region[0], region[3] - region[1]
    head = photograph(FACES["train"].photo).crop(tuple(round(v) for v in region))
    part = (reach / width, reach / height, 1 - reach / width, 1 - reach / height)
    return head, part


def _tinted(patch: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A grey patch in a colour of skin; now and then it stays grey."""
    colour = np.array(SKIN[rng.integers(len(SKIN))], np.float32) * rng.uniform(0.85, 1.0, 3)
    if rng.random() < 0.15:
        colour = np.full(3, 255.0)
    # Grey 0.6 becomes the colour; highlights go on towards white.
    values = patch[..., None] / 0.6 * colour if rng.random() < 0.5 else patch[..., None] * colour
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _no_face(rng: np.random.Generator) -> tuple[Image.Image, tuple]:
    """A patch without a face, tinted like faces, or a plain oval of skin."""
    if rng.random() < 0.5:
        return _tinted(patches()[PATCHES + rng.integers(PATCHES)], rng), PATCH_BOX
    shade = np.linspace(rng.uniform(0.3, 1), rng.uniform(0.3, 1), 25, dtype=np.float32)
    plain = np.tile(shade, (25, 1))
    return _tinted(plain if rng.random() < 0.5 else plain.T.copy(), rng), PATCH_BOX


def _paste(image, patch, part, height, taken, rng) -> tuple | None:
    """Paste a patch so that its face is `height` high; the face's box, or None without room."""
    stretch = rng.uniform(0.85, 1.1)
    scale = height / ((part[3] - part[1]) * patch.height)
    size = (max(4, round(patch.width * scale * stretch)), max(4, round(patch.height * scale)))
    patch = patch.resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part = (1 - part[2], part[1], 1 - part[0], part[3])
    patch.putalpha(_mask(size, rng))
    patch = patch.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
    inside = [p * s for p, s in zip(part, size * 2, strict=True)]
    extent = inside[2] - inside[0], inside[3] - inside[1]
    corner = free_place(taken, extent, 0.3 * extent[1], image.width, rng, tries=10)
    if corner is None:
        return None
    place = round(corner[0] - inside[0]), round(corner[1] - inside[1])
    image.paste(patch.convert("RGB"), place, patch.getchannel("A"))
    return tuple(v + place[i % 2] for i, v in enumerate(inside))


def _mask(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Which part of a patch is pasted: an oval, or nearly all of it, with a soft edge."""
    mask = Image.new("L", size, 0)
    inset = rng.uniform(0.0, 0.08) * min(size)
    corners = (inset, inset, size[0] - inset, size[1] - inset)
    draw = ImageDraw.Draw(mask)
    if rng.random() < 0.7:
        draw.ellipse(corners, fill=255)
    else:
        draw.rounded_rectangle(corners, radius=0.25 * min(size), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.06) * size[1]))


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, colour balance and noise as cameras differ; (3, H, W) in [0, 1]."""
    gains = rng.uniform(0.6, 1.2) * rng.uniform(0.92, 1.08, (3, 1, 1))
    image = np.clip(image * gains, 0, 1) ** rng.uniform(0.7, 1.4)
    noise = rng.uniform(0, 0.04) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + noise, 0, 1).astype(np.float32)
