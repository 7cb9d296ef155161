"""`builtin-faces`: one real face of a photograph composited on others, darkened; no download."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from llie_core.data.darkening import DarkeningRange
from llie_core.synthetic.photos import DarkenedPhotos, free_place, photograph, random_crop

# Face-free backgrounds of the composites; the test's are photographs that training never shows.
BACKGROUNDS = {
    "train": ("coffee", "motorcycle_left"),
    "val": ("coffee", "motorcycle_left"),
    "test": ("chelsea", "rocket"),
}
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


class BuiltinFaces(DarkenedPhotos):
    """`builtin-faces`: one real face composited at many scales and poses on real backgrounds.

    Item: image (3, size, size) darkened composite, target the normal-light one, boxes (N, 4) xyxy
    in pixels, ignore (N,), keep {"easy", "medium", "hard"} → (N,) by face height (FACE_HEIGHTS),
    name, darkening (dict). About three images in ten hold no face. The face of the test split
    is another person's than in training, on other backgrounds.
    """

    name = "builtin-faces"
    # Darker and noisier than the photographs: MTCNN still finds faces at a tenth of the brightness.
    darkness = DarkeningRange(
        exposure=(0.004, 0.03), photons=(1000.0, 4000.0), read=(0.0005, 0.001)
    )

    def _make(self, index: int, rng: np.random.Generator) -> dict:
        image, boxes = self._compose(rng)
        height = boxes[:, 3] - boxes[:, 1]
        return {
            **self.pair(image, rng),
            "boxes": boxes,
            "ignore": torch.zeros(len(boxes), dtype=torch.bool),
            "keep": {subset: height >= least for subset, least in FACE_HEIGHTS.items()},
            "name": f"{self.split}-{index:05d}",
        }

    def _compose(self, rng: np.random.Generator) -> tuple[Image.Image, torch.Tensor]:
        name = BACKGROUNDS[self.split][rng.integers(len(BACKGROUNDS[self.split]))]
        image = random_crop(photograph(name), self.size, rng)
        source = FACES[self.split]
        wanted = 0 if rng.random() < 0.3 else int(rng.integers(1, 5))
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(wanted):
            height = float(np.exp(rng.uniform(np.log(14), np.log(0.45 * self.size))))
            squeeze = rng.uniform(0.85, 1.0)  # narrower, as a head turned a little to the side
            head, width = _head(source, height, squeeze, rng)
            place = free_place(boxes, (width, height), 0.35 * height, self.size, rng, tries=20)
            if place is not None:
                box = (*place, place[0] + width, place[1] + height)
                centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
                corner = (round(centre[0] - head.width / 2), round(centre[1] - head.height / 2))
                image.paste(head.convert("RGB"), corner, head.getchannel("A"))
                boxes.append(box)
        return image, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


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
