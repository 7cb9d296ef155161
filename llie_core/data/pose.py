"""Human pose: one item a person, cropped as CPN does (COCO keypoints; ExLPose: exlpose.py).

Y. Chen et al., "Cascaded pyramid network for multi-person pose estimation", CVPR 2018: its crop
is the box, widened by a tenth and heightened by 15 % of itself on every side, grown to the
input's shape about its centre, in whole pixels, resized bilinearly without antialiasing.

Item: image (3, 256, 192) the crop, black where it leaves the image; joints (J, 3) x, y in pixels
of the crop and visibility 0, 1 or 2; boxes (4,) the person as annotated, xyxy in the image;
region (4,) the crop's corners in the image; mean (3,) of the whole image's channels, which the
ExLPose recognizer scales by; image_id, name, subset; target, the well-lit crop, if `paired`.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.data.coco_json import coco_files, frame_of, present, read_coco, xyxy
from llie_core.data.folders import FileSet, check_frame, size_of
from llie_core.data.images import read_image
from llie_core.data.wrappers import Drawn

WIDEN, HEIGHTEN = 0.1, 0.15


def crop_region(box: Tensor, size: tuple[int, int], scale: float = 1.0) -> Tensor:
    """The region (4,) xyxy in whole pixels, of the shape `size` (H, W), to crop for a box (4,);
    `scale` times as wide and high."""
    centre, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).clamp(min=1)
    grown = extent * extent.new_tensor([1 + 2 * WIDEN, 1 + 2 * HEIGHTEN])
    shape = extent.new_tensor([size[1], size[0]])
    half = scale * shape * (grown / shape).max() / 2
    return torch.cat([centre - half, centre + half]).floor()


def crop_resized(image: Tensor, region: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) cropped to a region in whole pixels and resized; black outside the image."""
    x1, y1, x2, y2 = (int(v) for v in region)
    crop = image.new_zeros(3, y2 - y1, x2 - x1)
    inside = image[:, max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if inside.numel():
        top, left = max(-y1, 0), max(-x1, 0)
        crop[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    return F.interpolate(crop[None], size, mode="bilinear", align_corners=False)[0]


def to_crop(joints: Tensor, region: Tensor, size: tuple[int, int]) -> Tensor:
    """Joints (…, J, 2 or more) from the image into the crop: (x − x1) · W / (x2 − x1)."""
    return _moved(joints, (joints[..., :2] - region[..., None, :2]) * _scale(region, size))


def to_image(joints: Tensor, region: Tensor, size: tuple[int, int]) -> Tensor:
    """Joints (…, J, 2 or more) from the crop back into the image."""
    return _moved(joints, joints[..., :2] / _scale(region, size) + region[..., None, :2])


def _scale(region: Tensor, size: tuple[int, int]) -> Tensor:
    return region.new_tensor([size[1], size[0]]) / (region[..., 2:] - region[..., :2])[..., None, :]


def _moved(joints: Tensor, places: Tensor) -> Tensor:
    return torch.cat([places, joints[..., 2:]], -1)


class Persons(FileSet):
    """Persons with keypoints: an entry with its image each, and what is annotated.

    persons: the annotations, one an entry; records: image id → the file's entry of the image.
    """

    size = (256, 192)

    def __init__(self, *arguments, persons: list[dict], records: dict[int, dict], **options):
        super().__init__(*arguments, **options)
        self.persons, self.records = persons, records
        self._last: tuple[tuple, Tensor] | None = None  # persons of one image are neighbours

    def __getitem__(self, index: int) -> dict:
        return self.item(index)

    def item(self, index: int, scale: float = 1.0) -> dict:
        """A person; scale: of the region that is cropped."""
        person = self.persons[index]
        box = xyxy([person["bbox"]])[0]
        region = crop_region(box, self.size, scale)
        image = self._read(index)
        joints = torch.tensor(person["keypoints"], dtype=torch.float32).reshape(-1, 3)
        item = {
            "image": crop_resized(image, region, self.size),
            "joints": to_crop(joints, region, self.size),
            "boxes": box,
            "region": region,
            "mean": image.mean((1, 2)),
            "image_id": person["image_id"],
            "name": self.entries[index]["name"],
            "subset": person.get("subset", ""),
        }
        if "target" in self.entries[index]:
            path, frame = self.path(index, "target"), self.frame(index)
            bright = read_image(path, frame)
            check_frame(path, size_of(bright), frame)
            item["target"] = crop_resized(bright, region, self.size)
        return item

    def frame(self, index: int) -> tuple[int, int] | None:
        person = self.persons[index]
        return frame_of(self.records[person["image_id"]], self.path(index), [person["bbox"]])

    def whole(self, index: int) -> dict:
        """The whole image, for checks of the files."""
        return {"image": self._read(index), "name": self.entries[index]["name"]}

    def _read(self, index: int) -> Tensor:
        path, frame = wanted = self.path(index), self.frame(index)
        last = self._last  # a name of our own: other threads may move on meanwhile
        if last is None or last[0] != wanted:
            image = read_image(path, frame)
            check_frame(path, size_of(image), frame)
            last = self._last = (wanted, image)
        return last[1]


class ScaledPersons(Drawn):
    """Training crops of random size: the region is a factor of the range as wide and high.

    Lee et al. draw the factor from 0.7 to 1.35 and never crop more than 1.25 times the region.
    """

    most = 1.25

    def __init__(self, source: Persons, scales: tuple[float, float], seed: int = 0):
        super().__init__(source, scales=list(scales), most=self.most, seed=seed)
        self.persons, self.scales, self.seed = source, scales, seed

    def sample(self, index: int, draw: int) -> dict:
        """Item `index` with the factor of `draw`."""
        factor = np.random.default_rng([self.seed, draw]).uniform(*self.scales)
        return self.persons.item(index, min(factor, self.most))


def persons_of(images: dict, annotations: dict, ids: list[int]) -> list[dict]:
    """Annotated persons that have a labelled joint and are no crowd, image by image."""
    return [
        person
        for i in ids
        for person in sorted(annotations.get(i, []), key=lambda person: person["id"])
        if person.get("num_keypoints") and not person.get("iscrowd")
    ]


class CocoKeypoints(Persons):
    """COCO 2017 person keypoints, 17 joints."""

    def __init__(self, root, split="val", missing="error"):
        root = Path(root)
        source, folder = coco_files("coco-keypoints", root, split, "person_keypoints")
        images, annotations, _ = read_coco("coco-keypoints", source)
        ids = present("coco-keypoints", images, folder, missing)
        persons = persons_of(images, annotations, ids)
        here = folder.relative_to(root).as_posix()
        names = [images[person["image_id"]]["file_name"] for person in persons]
        entries = [
            {"name": f"{name}#{person['id']}", "image": f"{here}/{name}"}
            for name, person in zip(names, persons, strict=True)
        ]
        files = [source.relative_to(root).as_posix()]
        super().__init__(
            "coco-keypoints", root, split, entries,
            annotations=files, persons=persons, records=images,
        )  # fmt: skip
