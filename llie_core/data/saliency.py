"""Salient object detection: images with masks, and the choice of the dark ones among them.

Item: image (3, H, W), mask (1, H, W) float32 of 0 and 1, name.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from llie_core.data.folders import Entry, FileSet, absent, folders_in, images_in, matched_entries
from llie_core.data.images import read_image
from llie_core.data.masks import mask_size, read_saliency
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out
from llie_core.imaging import LUMA

IMAGES = ("images", "image", "imgs", "img", "RGB", "RGB_left", "left", "V")
MASKS = ("ground_truth_mask", "GT", "masks", "mask", "gts", "groundtruth")


class SaliencyFolder(FileSet):
    """One saliency set (a folder of images and one of masks), or several side by side.

    Splits: "test" of a low-light choice, or "all" and a seeded 70/10/20 as train, val and test.

    Args:
        darkest: take that many of the darkest images by mean luma (BT.601 weights on the
            encoded values); describe() records the brightest mean among them. JCRNet chose its
            low-light subsets by hand and does not list them. 0 takes all.
    """

    def __init__(self, root, split="all", name="ecssd", darkest=0, seed=0, missing="error"):
        root = Path(root)
        found = _collect(name, root, missing)
        options: dict = {"darkest": darkest, "seed": seed}
        if darkest:
            chosen, limit = darkest_of(root, tuple(found[key]["image"] for key in found), darkest)
            found = {key: entry for key, entry in found.items() if entry["image"] in chosen}
            options["mean_luma_below"] = round(limit, 5)
        keys = list(found)
        if split != "all" and not darkest:
            parts = {"val": max(1, len(keys) // 10), "test": max(1, len(keys) // 5)}
            keys = held_out(name, split, keys, **parts, seed=seed)
        super().__init__(name, root, split, [found[key] for key in keys], options)

    def frame(self, index: int) -> tuple[int, int]:
        return mask_size(self.path(index, "mask"))

    def extras(self, index: int) -> dict:
        return {"mask": read_saliency(self.path(index, "mask"))}


def _collect(name: str, root: Path, missing: str) -> dict[str, Entry]:
    """Key → entry, over the root if it holds images and masks, else over its subfolders."""
    entries = {}
    for base in (root, *folders_in(root)):
        sides = find_folder(base, *IMAGES), find_folder(base, *MASKS)
        if None in sides:
            continue
        images, masks = (images_in(folder, deep=True) for folder in sides)
        prefix = "" if base == root else f"{base.name}/"
        found = matched_entries(name, root, sides, images, masks, "mask", missing)
        for key, entry in found.items():
            entries[prefix + key] = entry | {"name": prefix + entry["name"]}
        if base == root:
            break
    if not entries:
        raise absent(name, f"no folders {IMAGES[0]} and {MASKS[0]} (or the like) in {root}")
    return entries


@lru_cache(maxsize=8)
def darkest_of(root: Path, files: tuple[str, ...], count: int) -> tuple[frozenset[str], float]:
    """The `count` files of the lowest mean luma, ties by name, and the highest mean among them."""
    with ThreadPoolExecutor() as pool:
        luma = list(pool.map(lambda file: mean_luma(root / file), files))
    order = sorted(zip(luma, files, strict=True))[:count]
    return frozenset(file for _, file in order), order[-1][0]


def mean_luma(path: Path) -> float:
    """Mean of 0.299 R + 0.587 G + 0.114 B over an image, in [0, 1]."""
    means = read_image(path).double().mean((1, 2))
    return float((means * means.new_tensor(LUMA)).sum())
