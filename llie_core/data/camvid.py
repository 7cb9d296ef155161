"""CamVid: Brostow et al., "Semantic object classes in video", Pattern Recognition Letters 2009, in
the 11 classes of Badrinarayanan et al., "SegNet", IEEE TPAMI 2017.

Item: image (3, H, W), mask (H, W) int64, 0 … 10 with 255 ignored, name.
"""

from pathlib import Path

import torch

from llie_core.data.folders import Entry, absent, images_in, matched_entries, require
from llie_core.data.registry import find_folder
from llie_core.data.segmentation import IGNORED, Segmentation

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip


class CamVid(Segmentation):
    """CamVid, 11 classes, 255 the stored 11 (void): SPLIT/NAME and SPLITannot/NAME.

    Without a folder `val`, the last tenth of every sequence in train is the validation part:
    neighbouring frames are nearly equal, so frames drawn at random would be no test.

    Args:
        subset: "day", "dusk" (the sequence 0001TP), or "all".
    """

    classes = CAMVID_CLASSES

    def __init__(self, root, split="test", subset="all", missing="error"):
        require("camvid", "subset", subset, ("all", "day", "dusk"))
        root = Path(root)
        official = find_folder(root, "val") is not None
        folder = "train" if split == "val" and not official else split
        frames = _camvid_frames(root, folder, missing)
        found = len(frames)
        if not official and split != "test":
            late = _last_tenths(frames)
            frames = {k: e for k, e in frames.items() if (k in late) == (split == "val")}
        chosen = [
            entry for key, entry in frames.items()
            if subset in ("all", "dusk" if key.startswith("0001TP") else "day")
        ]  # fmt: skip
        lookup = torch.full((256,), self.invalid)
        lookup[:11], lookup[11], lookup[IGNORED] = torch.arange(11), IGNORED, IGNORED
        options = {"subset": subset, "val": "official" if official else "last tenth of sequences"}
        super().__init__("camvid", root, split, chosen, options, found=found, lookup=lookup)


def _camvid_frames(root: Path, folder: str, missing: str) -> dict[str, Entry]:
    sides = find_folder(root, folder), find_folder(root, f"{folder}annot")
    if None in sides:
        raise absent("camvid", f"no folders {folder} and {folder}annot in {root}")
    return matched_entries("camvid", root, sides, *map(images_in, sides), "mask", missing)


def _last_tenths(frames: dict[str, Entry]) -> set[str]:
    """The keys of the last tenth (at least one) of every sequence, by frame number."""
    sequences: dict[str, list[str]] = {}
    for key in sorted(frames):
        sequences.setdefault(key.split("_")[0], []).append(key)
    return {key for keys in sequences.values() for key in keys[-max(1, len(keys) // 10) :]}
