"""Face data sets of the registry: WIDER FACE (its reader is wider_face.py) and DARK FACE."""

from pathlib import Path

import torch
from torch import Tensor

from llie_core.data import wider_face
from llie_core.data.folders import FileSet, absent, files_in, folder_fingerprint, images_in, match
from llie_core.data.images import frame_holding
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out, split_names


class WiderFace(wider_face.WiderFace):
    """WIDER FACE with what the registry's sets have besides: names, files, describe."""

    name = "wider-face"

    def __init__(self, root, split="val", annotations="auto", missing="error"):
        if not (Path(root) / f"WIDER_{split}").is_dir():
            raise absent(self.name, f"no folder WIDER_{split} in {root}")
        super().__init__(root, split, annotations, missing)
        self.found = len(self)

    @property
    def names(self) -> list[str]:
        """Names of the items, without reading any."""
        return [annotation.name for annotation in self.annotations]

    def files(self) -> dict[str, list[str]]:
        """Role → paths relative to the root."""
        return {"image": [f"WIDER_{self.split}/images/{name}" for name in self.names]}

    def path(self, index: int) -> Path:
        """The file of an item."""
        return self.images / self.names[index]

    def image_files(self, index: int) -> list[Path]:
        """The image files of an item."""
        return [self.path(index)]

    def whole(self, index: int) -> dict:
        """The item, for checks of the files."""
        return self[index]

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "files": folder_fingerprint(self.root, [*self.files()["image"], *self.texts]),
            "faces": sum(len(annotation.boxes) for annotation in self.annotations),
            "subsets": sorted(self.keep),
        }


class DarkFace(FileSet):
    """DARK FACE (Yang et al., "Advancing image understanding in poor visibility environments",
    IEEE TIP 2020): image/N.png and label/N.txt, a count and then "x1 y1 x2 y2" a line.

    Item: image, boxes (N, 4) xyxy in pixels, ignore (N,) (boxes without extent), name.

    Args:
        val: images held out of the public 6,000 as the split "val".
    """

    def __init__(self, root, split="train", val=500, seed=0, missing="error"):
        root = Path(root)
        folder, labels = find_folder(root, "image"), find_folder(root, "label")
        if folder is None or labels is None:
            raise absent("dark-face", f"no folders image and label in {root}")
        images = images_in(folder)
        texts = {path.stem: path.name for path in files_in(labels) if path.suffix == ".txt"}
        keys = match("dark-face", images, texts, (folder, labels), missing)
        if not keys:
            raise absent("dark-face", f"no image in {folder}")
        chosen = held_out("dark-face", split_names(keys, val=val, seed=seed), split)
        entries = [
            {
                "name": images[key],
                "image": f"{folder.name}/{images[key]}",
                "annotation": f"{labels.name}/{texts[key]}",
            }
            for key in chosen
        ]
        options = {"val": val, "seed": seed}
        super().__init__("dark-face", root, split, entries, options, found=len(keys))

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
