"""Darkened images, made once and read back afterwards.

A trained darkener takes seconds for an image of WIDER FACE, and every row of a table needs the
same ones. Item i lies in the folder as i.png (lossless: a darkened image is on the 8-bit grid)
with the parameters of its darkening beside it.
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
        source: of whole images; their normal-light side is read from the source itself.
        folder: under it, `key` names the folder of these images.
        key: hash of all that decides them: source, darkener and its weights, seed.

    Raises:
        ValueError: the source draws crops, which differ from reading to reading.
    """

    def __init__(self, source: DarkFaces, folder: Path, key: str):
        if source.size is not None:
            raise ValueError("only whole images can be kept, not random crops")
        super().__init__(source)
        self.folder = Path(folder) / key

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
