"""Images that are in two splits or two sets, found by their decoded pixels.

File names, formats without loss and metadata do not matter; a copy that was compressed again has
other pixels and is not recognised.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from llie_core.data.folders import images_in
from llie_core.data.images import read_image
from llie_core.data.registry import find_folder

Digests = dict[str, str]  # content of an image → where it is

LISTED = 5
# LOL-v2's own test images, below the data root; it is no set of the registry.
LOL_V2 = tuple(f"{top}/Real_captured/Test" for top in ("LOL-v2", "LOLv2", "LOL_v2"))
# Sets not to be used together: what is trained on, and what would be tested on.
OVERLAPS = (("brightening-train", "lol1000"),)


def digest(image: Tensor) -> str:
    """Of an image's shape and values."""
    shape = str(tuple(image.shape)).encode()
    return hashlib.blake2b(shape + image.numpy().tobytes(), digest_size=16).hexdigest()


def leaks_within(digests: dict[str, Digests]) -> list[str]:
    """What the splits of one set share, except "all", which holds the others."""
    splits = [split for split in digests if split != "all"]
    pairs = [(a, b) for i, a in enumerate(splits) for b in splits[i + 1 :]]
    found = [(a, b, _shared(digests[a], digests[b])) for a, b in pairs]
    return [f"leak: {a} and {b} share {shared}" for a, b, shared in found if shared]


def leaks_across(
    digests: dict[str, dict[str, Digests]], root: Path, workers: int | None
) -> Iterator[tuple[str, str]]:
    """Set → note, for sets that are known to overlap and are both here.

    digests: set → split → its images. LOL-v2 is looked for below `root` and beside it.
    """
    for first, second in OVERLAPS:
        if first in digests and second in digests:
            shared = _shared(_training(digests[first]), digests[second].get("test", {}))
            yield first, f"leak: shares with {second} {shared or 'no image pixel by pixel'}"
    test = find_folder(root, *LOL_V2) or find_folder(root.parent, *LOL_V2)
    if test and "lol" in digests:
        shared = _shared(_training(digests["lol"]), _folder(test, workers))
        yield "lol", f"leak: train and LOL-v2's test share {shared or 'no image pixel by pixel'}"


def _training(splits: dict[str, Digests]) -> Digests:
    """The training part with what is held out of it for validation."""
    return splits.get("train", {}) | splits.get("val", {})


def _shared(first: Digests, second: Digests) -> str:
    """The images that both hold, in words; empty where there is none."""
    common = sorted(set(first) & set(second), key=lambda content: first[content])
    pairs = list(dict.fromkeys(f"{first[c]} = {second[c]}" for c in common))
    more = ", …" if len(pairs) > LISTED else ""
    return f"{len(pairs)} images: {', '.join(pairs[:LISTED])}{more}" if pairs else ""


def _folder(folder: Path, workers: int | None) -> Digests:
    files = list(images_in(folder, deep=True).values())
    with ThreadPoolExecutor(workers) as pool:
        contents = pool.map(lambda file: digest(read_image(folder / file)), files)
        return dict(zip(contents, files, strict=True))
