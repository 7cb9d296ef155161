"""Street scenes drawn by a program, in daylight and at night, with all labels: no download.

`builtin-streets` has masks, objects, persons and saliency of whole images;
`builtin-streets-pose` has crops of persons in the form of data/pose.py. A scene (scene.py)
is painted once (paint.py) and lit twice (light.py), so both lights share every label.
They let everything be tried end to end; results on them say nothing about the papers' own sets.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from llie_core.data.folders import require
from llie_core.data.pose import crop_region, crop_resized, to_crop
from llie_core.data.segmentation import CITYSCAPES_CLASSES
from llie_core.synthetic.photos import SPLIT_SEEDS
from llie_core.synthetic.streets.bodies import Body
from llie_core.synthetic.streets.canvas import INSTANCE, Camera
from llie_core.synthetic.streets.light import day_light, develop, night_light
from llie_core.synthetic.streets.paint import paint_scene
from llie_core.synthetic.streets.scene import PERSON, Scene, draw_scene
from llie_core.synthetic.streets.textures import trace

STREET_CLASSES = CITYSCAPES_CLASSES
# Cityscapes' colours of its 19 classes, RGB.
STREET_PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
# Labels of the boxes; object k is class k + 11.
STREET_OBJECTS = STREET_CLASSES[11:]
_FIRST_OBJECT = 11
# Objects below these are ignored: visible pixels, share of the whole that is seen.
LEAST_PIXELS, LEAST_SHARE = 24, 0.25
# Salient are the nearest objects that cover this share of the image, this many at the most.
SALIENT_SHARE, SALIENT_COUNT = 0.006, 3
# A night image's subset by the mean intensity (sRGB) that its exposure aims at: LL-N from 0.075,
# LL-E below 0.048, LL-H between them, about a third each; LL-A is all of them.
NORMAL_FROM, EXTREME_BELOW = 0.0756, 0.0476
SUBSETS = ("LL-A", "LL-N", "LL-H", "LL-E")
# Persons worth a crop: height in pixels, joints inside the image, share not behind others.
LEAST_HEIGHT, LEAST_JOINTS, LEAST_CLEAR = 48, 8, 0.5
_CACHED = 32  # scenes that the pose set keeps, 8 bit


def subset_of(mean: float) -> str:
    """LL-N, LL-H or LL-E by the mean intensity that a night image's exposure aims at."""
    return "LL-N" if mean >= NORMAL_FROM else "LL-E" if mean < EXTREME_BELOW else "LL-H"


@dataclass
class Rendered:
    """A scene's images (3, H, W) float32, None for a light that is not asked for, and its regions
    (H, W)."""

    day: np.ndarray | None
    night: np.ndarray | None
    regions: np.ndarray


def render(scene: Scene, lights: tuple[str, ...] = ("day", "night")) -> Rendered:
    """Paint a scene and light it."""
    canvas = paint_scene(scene)
    buffers = trace(canvas)
    sky, day, night = scene.sky, None, None
    if "day" in lights:
        day = develop(day_light(buffers, scene), sky.day)
    if "night" in lights:
        night = develop(night_light(buffers, scene, canvas), sky.night, sky)
    return Rendered(day, night, canvas.regions())


class _Streets(Dataset):
    """Shared by the two sets: scene i is a pure function of split, seed, size and i."""

    name: str
    crowd: bool

    def __init__(self, split, scene, count, seed, light):
        require(self.name, "split", split, SPLIT_SEEDS)
        require(self.name, "light", light, ("night", "day"))
        if min(scene) < 32:
            raise ValueError(f"{self.name}: scenes of {tuple(scene)} pixels; 32 is the least")
        self.split, self.scene_size, self.count = split, tuple(scene), count
        self.seed, self.light = seed, light

    def scene(self, index: int) -> Scene:
        """Scene `index` as laid out, before it is painted."""
        seeds = [SPLIT_SEEDS[self.split], self.seed, index, int(self.crowd)]
        return draw_scene(np.random.default_rng(seeds), self.scene_size, self.crowd)

    def _lights(self) -> tuple[str, ...]:
        return ("day",) if self.light == "day" else ("day", "night")

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} {self.split} holds {len(self)} items, asked for {index}")
        return index


class BuiltinStreets(_Streets):
    """`builtin-streets`: street scenes with masks, objects, persons and saliency.

    Item: image (3, H, W); target (3, H, W), the same in daylight (light="night" only); mask (H, W)
    int64, 0 … 18 in Cityscapes' order and 255 for none of them, or with task="saliency" the
    saliency; saliency (1, H, W) float, 1 on the nearest persons and vehicles; boxes (N, 4) xyxy of
    what is seen of each object, labels (N,) into STREET_OBJECTS, ignore (N,) bool: tiny or nearly
    hidden; person_joints (P, 14, 3) x, y, visibility (2 seen, 1 behind something, 0 outside the
    image, x and y then 0), person_boxes (P, 4) of whole bodies within the image, for every
    person on foot whose box is not ignored; mean (3,) of the image's channels; name.

    A joint that the person's own body hides counts as seen.

    Args:
        size: (H, W). count: number of scenes. light: "night" or "day".
    """

    name = "builtin-streets"
    crowd = False

    def __init__(
        self, split="train", size=(128, 256), count=256, seed=0, light="night",
        task="segmentation",
    ):  # fmt: skip
        super().__init__(split, size, count, seed, light)
        require(self.name, "task", task, ("segmentation", "saliency"))
        self.task = task

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        scene = self.scene(self._checked(index))
        seen = render(scene, self._lights())
        image = torch.from_numpy(seen.day if self.light == "day" else seen.night)
        labels = torch.from_numpy(seen.regions % INSTANCE).long()
        objects = find_objects(scene, seen.regions)
        saliency = torch.from_numpy(salient(objects, seen.regions))[None]
        item = {
            "image": image,
            "mask": saliency if self.task == "saliency" else labels,
            "saliency": saliency,
            "boxes": torch.from_numpy(objects.boxes),
            "labels": torch.from_numpy(objects.labels),
            "ignore": torch.from_numpy(objects.ignore),
            "mean": image.mean((1, 2)),
            "name": f"{self.split}-{index:05d}",
        }
        item["person_joints"], item["person_boxes"] = _persons(scene, seen.regions, objects)
        if self.light == "night":
            item["target"] = torch.from_numpy(seen.day)
        return item

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {
            "name": self.name, "split": self.split, "size": list(self.scene_size),
            "count": self.count, "seed": self.seed, "light": self.light, "task": self.task,
        }  # fmt: skip


@dataclass
class Objects:
    """What is seen of the objects: region numbers (N,), boxes (N, 4) float32 xyxy, labels (N,),
    ignore (N,) bool, pixels (N,) and distances in metres (N,)."""

    numbers: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray
    pixels: np.ndarray
    depths: np.ndarray


def find_objects(scene: Scene, regions: np.ndarray) -> Objects:
    """The objects of an image by their regions (H, W), in order of their numbers: far to near."""
    flat = regions.ravel()
    order = np.flatnonzero(flat >= INSTANCE)
    order = order[np.argsort(flat[order], kind="stable")]
    numbers, starts, pixels = np.unique(flat[order], return_index=True, return_counts=True)
    rows, columns = np.divmod(order, regions.shape[1])
    objects = [scene.objects[number // INSTANCE - 1] for number in numbers]
    if not len(numbers):
        none = np.zeros(0, np.int64)
        return Objects(none, np.zeros((0, 4), np.float32), none, none > 0, none, none / 1.0)
    ends = (np.minimum.reduceat(v, starts) for v in (columns, rows))
    others = (np.maximum.reduceat(v, starts) + 1 for v in (columns, rows))
    boxes = np.stack([*ends, *others], 1).astype(np.float32)
    wholes = np.array([_clipped(scene.camera, o.extent(scene.camera)) for o in objects])
    share = _areas(boxes) / np.maximum(_areas(wholes), 1)
    return Objects(
        numbers, boxes, (numbers % INSTANCE - _FIRST_OBJECT).astype(np.int64),
        (pixels < LEAST_PIXELS) | (share < LEAST_SHARE), pixels,
        np.array([o.frame.z for o in objects]),
    )  # fmt: skip


def _clipped(camera: Camera, box) -> np.ndarray:
    """The part of a box (4,) xyxy that lies in the image."""
    return np.clip(box, 0, (camera.width, camera.height) * 2)


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes (…, 4) xyxy."""
    return np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None), -1)


def salient(objects: Objects, regions: np.ndarray) -> np.ndarray:
    """1 on the nearest objects that are large enough, or on the largest if none is (H, W)."""
    if not len(objects.numbers):
        return np.zeros(regions.shape, np.float32)
    large = np.flatnonzero(objects.pixels >= SALIENT_SHARE * regions.size)
    nearest = large[np.argsort(objects.depths[large], kind="stable")][:SALIENT_COUNT]
    chosen = nearest if len(nearest) else objects.pixels.argmax()[None]
    return np.isin(regions, objects.numbers[chosen]).astype(np.float32)


def _inside(places: np.ndarray, camera: Camera) -> np.ndarray:
    """Which of the places (N, 2) lie in the image."""
    return ((places >= 0) & (places < (camera.width, camera.height))).all(1)


def marked_joints(body: Body, number: int, camera: Camera, regions: np.ndarray) -> np.ndarray:
    """Joints (14, 3) float32: x, y and visibility. A joint is seen where the person is seen at its
    pixel or one beside it."""
    places, _ = body.seen(camera)
    inside = _inside(places, camera)
    padded = np.pad(regions == number, 1)
    x, y = np.where(inside[:, None], places, 0).astype(np.int64).T
    seen = np.zeros(len(x), bool)
    for dy in range(3):
        for dx in range(3):
            seen |= padded[y + dy, x + dx]
    marks = np.where(inside, np.where(seen, 2, 1), 0)
    return np.concatenate([np.where(inside[:, None], places, 0), marks[:, None]], 1).astype(
        np.float32
    )


def _persons(scene: Scene, regions: np.ndarray, objects: Objects) -> tuple[Tensor, Tensor]:
    """person_joints (P, 14, 3) and person_boxes (P, 4) of the persons that are not ignored."""
    clear = set(objects.numbers[~objects.ignore].tolist())
    joints, boxes = [], []
    for index, body in scene.persons():
        number = INSTANCE * index + PERSON
        if number in clear:
            joints.append(marked_joints(body, number, scene.camera, regions))
            boxes.append(_clipped(scene.camera, body.seen(scene.camera)[1]))
    return (
        torch.from_numpy(np.array(joints, np.float32).reshape(-1, 14, 3)),
        torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)),
    )


# Crops of persons -----------------------------------------------------------------------------


class BuiltinStreetsPose(_Streets):
    """`builtin-streets-pose`: persons of street scenes, cropped as data/pose.py crops.

    The scenes are not those of `builtin-streets`: they hold more persons, and nearer ones. An item
    is a person on foot who is at least LEAST_HEIGHT pixels high, has LEAST_JOINTS joints inside the
    image and is not mostly behind something; which they are is known from the layout alone.

    Item: as in data/pose.py, with `subset` by `subset_of`, and `target`, the daylight crop, where
    light="night".

    Args:
        size: (H, W) of the crop. scene: (H, W) of the image. count: number of scenes.
        subset: "LL-A" for all persons, or one of SUBSETS.
    """

    name = "builtin-streets-pose"
    crowd = True

    def __init__(
        self, split="train", size=(256, 192), scene=(256, 512), count=64, seed=0, light="night",
        subset="LL-A",
    ):  # fmt: skip
        super().__init__(split, scene, count, seed, light)
        require(self.name, "subset", subset, SUBSETS)
        self.size, self.subset = tuple(size), subset
        self._rendered: OrderedDict[int, Rendered] = OrderedDict()

    @cached_property
    def persons(self) -> list[tuple[int, int]]:
        """(scene, index among its objects) of every item; lays out all scenes, paints none."""
        found = []
        for index in range(self.count):
            scene = self.scene(index)
            if self.subset in ("LL-A", subset_of(scene.sky.night)):
                found += [(index, k) for k in worth_a_crop(scene)]
        return found

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: int) -> dict:
        number, k = self.persons[self._checked(index)]
        scene, seen = self.scene(number), self._render(number)
        body, region_number = scene.objects[k].body, INSTANCE * (k + 1) + PERSON
        box = torch.from_numpy(_clipped(scene.camera, body.seen(scene.camera)[1])).float()
        region = crop_region(box, self.size)
        joints = marked_joints(body, region_number, scene.camera, seen.regions)
        image = _as_float(seen.day if self.light == "day" else seen.night)
        item = {
            "image": crop_resized(image, region, self.size),
            "joints": to_crop(torch.from_numpy(joints), region, self.size),
            "boxes": box,
            "region": region,
            "mean": image.mean((1, 2)),
            "image_id": number,
            "name": f"{self.split}-{number:05d}#{k}",
            "subset": subset_of(scene.sky.night),
        }
        if self.light == "night":
            item["target"] = crop_resized(_as_float(seen.day), region, self.size)
        return item

    def _render(self, number: int) -> Rendered:
        """Scene `number` with its images as 8 bit; the last few are kept."""
        if number in self._rendered:
            return self._rendered[number]
        seen = render(self.scene(number), self._lights())
        day, night = (
            None if image is None else np.round(image * 255).astype(np.uint8)
            for image in (seen.day, seen.night)
        )
        self._rendered[number] = Rendered(day, night, seen.regions)
        if len(self._rendered) > _CACHED:
            self._rendered.popitem(last=False)
        return Rendered(day, night, seen.regions)

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {
            "name": self.name, "split": self.split, "size": list(self.size),
            "scene": list(self.scene_size), "count": self.count, "seed": self.seed,
            "light": self.light, "subset": self.subset,
        }  # fmt: skip


def _as_float(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).float() / 255


def worth_a_crop(scene: Scene) -> list[int]:
    """Indices among a scene's objects of the persons that make an item, near ones first."""
    extents = np.array([_clipped(scene.camera, o.extent(scene.camera)) for o in scene.objects])
    found = []
    for number, body in scene.persons():
        index = number - 1
        places, whole = body.seen(scene.camera)
        inside = _inside(places, scene.camera)
        if whole[3] - whole[1] < LEAST_HEIGHT or inside.sum() < LEAST_JOINTS:
            continue
        box, nearer = extents[index], extents[number:]
        both = np.concatenate(
            [np.maximum(box[:2], nearer[:, :2]), np.minimum(box[2:], nearer[:, 2:])], 1
        )
        if _areas(both).max(initial=0.0) <= (1 - LEAST_CLEAR) * _areas(box):
            found.append(index)
    return found
