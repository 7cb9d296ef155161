"""Semantic segmentation in daylight and at night: Cityscapes and NightCity (CamVid: camvid.py).

- Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016.
- Tan et al., "Night-time scene parsing with a large real dataset", IEEE TIP 2021 (NightCity).

Item: image (3, H, W), mask (H, W) int64 train ids with 255 ignored, name.
"""

from pathlib import Path

import torch
from torch import Tensor

from llie_core.data.folders import FileSet, absent, images_in, matched_entries, require
from llie_core.data.images import image_size
from llie_core.data.masks import mask_size, read_ids
from llie_core.data.registry import find_folder

IGNORED = 255
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
# Label ids (34 classes) of the 19 train ids, in the order of CITYSCAPES_CLASSES.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


class Segmentation(FileSet):
    """Images with a label map each; `lookup` (256,) maps stored values to train ids.

    `invalid`, an entry of the lookup, marks values that the labelling cannot hold.
    """

    classes: tuple[str, ...]
    invalid = -1

    def __init__(self, *arguments, lookup: Tensor, **options):
        super().__init__(*arguments, **options)
        self.lookup = lookup

    def frame(self, index: int) -> tuple[int, int]:
        return mask_size(self.path(index, "mask"))

    def extras(self, index: int) -> dict:
        path = self.path(index, "mask")
        stored = read_ids(path)
        known = stored.clamp(0, 255)
        mask = self.lookup[known]
        wrong = stored[(mask == self.invalid) | (known != stored)]
        if len(wrong):
            raise ValueError(f"{self.name}: {path} holds {int(wrong[0])}: {self.hint}")
        return {"mask": mask}

    hint = "no value of its labelling"


def ids_to_train_ids() -> Tensor:
    """(256,) Cityscapes label ids (0 … 33) → train ids; 255, licence plates, is ignored."""
    lookup = torch.full((256,), Segmentation.invalid)
    lookup[[*range(34), IGNORED]] = IGNORED
    lookup[list(LABEL_IDS)] = torch.arange(len(LABEL_IDS))
    return lookup


def train_ids() -> Tensor:
    """(256,) the identity on 0 … 18 and 255."""
    lookup = torch.full((256,), Segmentation.invalid)
    known = [*range(len(LABEL_IDS)), IGNORED]
    lookup[known] = torch.tensor(known)
    return lookup


# labelling → endings of its files, as releases of the two sets have them.
_ENDINGS = {
    "ids": ("_gtFine_labelIds", "_labelIds"),
    "train-ids": ("_gtFine_labelTrainIds", "_labelTrainIds", "_trainIds"),
}
_LOOKUPS = {"ids": ids_to_train_ids, "train-ids": train_ids}


class _Street(Segmentation):
    """Shared by Cityscapes and NightCity, which are labelled alike.

    labels: "ids" (34 classes), "train-ids" (19), or "auto": as the file names say.
    """

    classes = CITYSCAPES_CLASSES
    hint = "pass labels='ids' for 34 classes or labels='train-ids' for 19"

    def __init__(self, name, root, split, folders, ending, labels, missing):
        require(name, "labels", labels, ("auto", *_ENDINGS))
        images = images_in(folders[0], deep=True, ending=ending)
        stored, masks = _label_files(folders[1], labels)
        masks = self.of_split(masks, images, split)
        entries = matched_entries(name, root, folders, images, masks, "mask", missing)
        if not entries:
            raise absent(name, f"no image in {folders[0]} with a label map in {folders[1]}")
        options = {"options": {"labels": stored}, "lookup": _LOOKUPS[stored]()}
        super().__init__(name, root, split, list(entries.values()), **options)

    def of_split(self, masks: dict, images: dict, split: str) -> dict:
        """The label maps that belong to the split."""
        return masks


def _label_files(folder: Path, labels: str) -> tuple[str, dict[str, str]]:
    """The labelling, and key → label file; names without a known ending count as they are."""
    wanted = tuple(_ENDINGS) if labels == "auto" else (labels,)
    for labelling in wanted:
        for ending in _ENDINGS[labelling]:
            found = images_in(folder, deep=True, ending=ending)
            if found:
                return labelling, found
    return wanted[-1], images_in(folder, deep=True)


class Cityscapes(_Street):
    """Cityscapes, 19 classes: leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY."""

    def __init__(self, root, split="val", labels="auto", missing="error"):
        root = Path(root)
        folders = [find_folder(root, f"{top}/{split}") for top in ("leftImg8bit", "gtFine")]
        if None in folders:
            raise absent("cityscapes", f"no leftImg8bit/{split} and gtFine/{split} in {root}")
        super().__init__("cityscapes", root, split, folders, "_leftImg8bit", labels, missing)


class NightCity(_Street):
    """NightCity, 19 classes: NightCity-images/images/SPLIT and NightCity-label/label/SPLIT, or
    SPLIT/img and SPLIT/lbl as NightCity-fine has them.

    The relabelled val of NightLab holds a label of Dubai_0016, which is a train image: it is
    left out. Its label maps are twice as large as the images: of such a map every second pixel
    of every second row is taken.
    """

    stray = "Dubai_0016"

    def __init__(self, root, split="val", labels="auto", missing="error"):
        root = Path(root)
        nested = ("NightCity-{0}/{1}/{2}", "NightCity-{0}/NightCity-{0}/{1}/{2}")
        images = [n.format("images", "images", split) for n in nested] + [f"{split}/img"]
        masks = [n.format("label", "label", split) for n in nested] + [f"{split}/lbl"]
        folders = find_folder(root, *images), find_folder(root, *masks)
        if None in folders:
            raise absent("nightcity", f"no folders {images[0]} and {masks[0]} in {root}")
        self.left_out: list[str] = []
        super().__init__("nightcity", root, split, folders, "", labels, missing)

    def of_split(self, masks: dict, images: dict, split: str) -> dict:
        if split == "val" and (self.stray in masks or self.stray in images):
            self.left_out = [self.stray]
            images.pop(self.stray, None)
        return {key: file for key, file in masks.items() if key not in self.left_out}

    def frame(self, index: int) -> tuple[int, int]:
        """The map's size, or the part of it that is the image's."""
        width, height = super().frame(index)
        times = max(width, height) // max(image_size(self.path(index))[0])
        return (width // times, height // times) if times > 1 else (width, height)

    def extras(self, index: int) -> dict:
        mask = super().extras(index)["mask"]
        times = mask.shape[1] // self.frame(index)[0]
        return {"mask": mask[::times, ::times]}
