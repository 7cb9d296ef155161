"""DARK FACE, a set of faces in the dark (WIDER FACE: wider_face.py)."""

from pathlib import Path

import torch
from torch import Tensor

from llie_core.data.folders import FileSet, absent, files_in, images_in, matched_entries
from llie_core.data.images import frame_holding
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out


class DarkFace(FileSet):
    """DARK FACE (Yang et al., "Advancing image understanding in poor visibility environments",
    IEEE TIP 2020): image/N.png and label/N.txt, a count and then "x1 y1 x2 y2" a line.

    Item: image, boxes (N, 4) xyxy in pixels, ignore (N,) (boxes without extent), name.

    Args:
        val, test: images held out of the public 6,000 as the splits "val" and "test", by the
            SHA-256 of seed and name (splits.py): the official test server is closed, so the test
            here is a choice of ours and comparable with no published number.
    """

    def __init__(self, root, split="train", val=500, test=1000, seed=0, missing="error"):
        root = Path(root)
        folder, labels = find_folder(root, "image"), find_folder(root, "label")
        if folder is None or labels is None:
            raise absent("dark-face", f"no folders image and label in {root}")
        images = images_in(folder)
        texts = {path.stem: path.name for path in files_in(labels) if path.suffix == ".txt"}
        sides = folder, labels
        found = matched_entries("dark-face", root, sides, images, texts, "annotation", missing)
        if not found:
            raise absent("dark-face", f"no image in {folder}")
        options = {"val": val, "test": test, "seed": seed}
        entries = [found[key] for key in held_out("dark-face", split, found, **options)]
        super().__init__("dark-face", root, split, entries, options, found=len(found))

    def frame(self, index: int) -> tuple[int, int] | None:
        return frame_holding(self.path(index), self._boxes(index))

    def extras(self, index: int) -> dict:
        corners = self._boxes(index)
        return {"boxes": corners, "ignore": (corners[:, 2:] <= corners[:, :2]).any(1)}

    def _boxes(self, index: int) -> Tensor:
        path = self.path(index, "annotation")
        try:
            count, *rows = path.read_text(encoding="utf-8").split("\n")
            boxes = [[float(value) for value in row.split()[:4]] for row in rows if row.strip()]
            corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            if len(corners) != int(count):
                raise ValueError(f"{count} faces announced, {len(corners)} found")
        except ValueError as error:
            raise ValueError(f"dark-face: {path}: {error}") from error
        return corners
