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
from llie_core.data.registry import dataset_spec, find_folder
from llie_core.names import listed

Digests = dict[str, str]  # content of an image → where it is

LISTED = 5  # of what two splits of one set share
# Sets not to be used together: what is trained on, what would be tested on, and the folder of its
# test images.
OVERLAPS = (
    ("brightening-train", "lol1000", ""),
    ("lol", "lol-v2-real", "Test"),
    ("lol-v2-real", "lol", "eval15"),
)


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


def leaks_across(digests: dict[str, dict[str, Digests]], root: Path) -> Iterator[tuple[str, str]]:
    """Set → note, for sets that are known to overlap and are both here.

    digests: set → split → its images. Of a second set that was not asked for, the test images are
    looked for below `root` and beside it. Every image that two sets share is named.
    """
    for first, second, folder in OVERLAPS:
        if first not in digests:
            continue
        test = digests.get(second, {}).get("test") or _elsewhere(second, folder, root)
        if test:
            # The validation part is held out of the training part.
            trained = digests[first].get("train", {}) | digests[first].get("val", {})
            shared = _shared(trained, test, most=None)
            found = shared or "no image pixel by pixel"
            yield first, f"leak: train and {second}'s test share {found}"


def _elsewhere(name: str, folder: str, root: Path) -> Digests:
    """The test images of a set below `root` or beside it; none where there is no such folder."""
    spec = dataset_spec(name)
    places = [f"{top}/{folder}" for top in (spec.folder, *spec.also)]
    test = folder and (find_folder(root, *places) or find_folder(root.parent, *places))
    if not test:
        return {}
    files = list(images_in(test, deep=True).values())
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda file: digest(read_image(test / file)), files)
        return dict(zip(contents, files, strict=True))


def _shared(first: Digests, second: Digests, most: int | None = LISTED) -> str:
    """The images that both hold, in words, so many of them by name; empty where there is none."""
    common = sorted(set(first) & set(second), key=lambda content: first[content])
    pairs = list(dict.fromkeys(f"{first[c]} = {second[c]}" for c in common))
    return f"{len(pairs)} images: {listed(pairs, most or len(pairs))}" if pairs else ""
