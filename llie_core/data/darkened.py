"""A darkened set: made once, named, and read back by every row and seed of a study.

A trained darkener takes seconds for an image of WIDER FACE, and the images have to be the same for
every training and every row of a table. Item i lies in the folder as i.png (lossless: a darkened
image is on the 8-bit grid), with what was asked and reached beside it.
"""

import json
from pathlib import Path

from llie_core.data.dark_faces import DarkFaces
from llie_core.data.images import read_image, write_image
from llie_core.data.wrappers import Wrapped
from llie_core.files import write_text


class CachedDark(Wrapped):
    """The items of `source`, equal bit by bit, darkened at the first reading.

    Processes may share the folder: each file is written whole, and all would write the same.

    Args:
        source: its normal-light side is read from the source itself.
        folder: under it, `name` is the folder of these images.
        name: of the set, with the hash of all that decides it: source, darkener and its weights,
            seed.
    """

    def __init__(self, source: DarkFaces, folder: Path, name: str):
        super().__init__(source)
        self.folder = Path(folder) / name

    def describe(self) -> dict:
        """The source's own: the items are the same, wherever they lie."""
        return self.source.describe()

    def __getitem__(self, index: int) -> dict:
        path = self.folder / f"{index}.png"
        record = path.with_suffix(".json")
        if record.exists() and path.exists():
            bright = self.source.source[index]
            dark = {"image": read_image(path), "target": bright["image"]}
            return {**bright, **dark, "darkening": json.loads(record.read_text(encoding="utf-8"))}
        item = self.source[index]
        write_image(path, item["image"])
        # The record comes last: where it is, the image is whole.
        write_text(record, json.dumps(item["darkening"]))
        # As read back: a darkener that rounds otherwise would else differ from reading to reading.
        return {**item, "image": read_image(path)}
