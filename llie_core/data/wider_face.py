"""WIDER FACE in its official layout.

S. Yang, P. Luo, C. C. Loy, X. Tang, "WIDER FACE: A Face Detection Benchmark", CVPR 2016.

    <root>/WIDER_{train,val}/images/EVENT/NAME.jpg
    <root>/wider_face_split/wider_face_{train,val}.mat
    <root>/wider_face_split/wider_face_{train,val}_bbx_gt.txt      (or _bbx_gt.subset.txt)
    <root>/eval_tools/ground_truth/wider_{easy,medium,hard}_val.mat    (optional, for evaluation)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.data.folders import FileSet, absent, require
from llie_core.data.images import frame_holding
from llie_core.data.registry import dataset_spec

SPLITS = ("train", "val")
LEVELS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Annotation:
    """Faces of one image as annotated: boxes (N, 4) x, y, w, h; invalid (N,) bool."""

    name: str
    boxes: np.ndarray
    invalid: np.ndarray


class WiderFace(FileSet):
    """One split of WIDER FACE, image by image.

    Args:
        root: folder that holds `WIDER_val`, `wider_face_split` and, for the official subsets,
            `eval_tools`.
        split: "train" or "val" (the test faces are not public).
        annotations: "mat", "txt", or "auto" (the first that is there, in this order).
        missing: "error", or "skip" to keep only the images that are present.
        half: "a" or "b" for a trial with the validation images alone: those of every other event,
            by name (a: from the first), are `val`, those of the other events `train`.

    An item is a dict with

    - `image` (3, H, W) float32 RGB in [0, 1];
    - `boxes` (N, 4) float32 xyxy in pixels, x2 = x + w (outside the image as annotated, if so);
    - `ignore` (N,) bool: marked invalid by the annotators, or of no size. An image without faces
      carries one box of zeros, as in the official files: with it the official tool counts what is
      detected there, without it the image would be skipped;
    - `name`: "EVENT/NAME.jpg";
    - `keep`: dict of easy, medium, hard → (N,) bool, the official subsets whose lists are there
      (validation only; empty otherwise).

    Raises:
        FileNotFoundError: annotations or images are not there; one line says what and where.
        ValueError: an unknown option, or a file that does not hold what it should.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        annotations: str = "auto",
        missing: str = "error",
        half: str = "",
    ):
        name = f"wider-val-{half}" if half else "wider-face"
        require(name, "split", split, SPLITS)
        require(name, "half", half, ("", "a", "b"))
        require("wider-face", "annotations", annotations, ("auto", "mat", "txt"))
        require("wider-face", "missing", missing, ("error", "skip"))
        of_half, split = split, "val" if half else split
        root, images = Path(root), f"WIDER_{split}/images"
        if not (root / f"WIDER_{split}").is_dir():
            raise absent(name, f"no folder WIDER_{split} in {root}")
        source = _annotation_file(root, split, annotations)
        read = read_mat if source.suffix == ".mat" else _read_txt
        self.faces = _present(list(read(source)), source, root / images, missing)
        subsets = _subset_files(root) if split == "val" else {}
        self.keep = {level: read_subset(p, self.faces) for level, p in subsets.items()}
        if half:
            self.faces = _of_events(self.faces, (half == "a") == (of_half == "val"))
        entries = [{"name": a.name, "image": f"{images}/{a.name}"} for a in self.faces]
        count = sum(len(a.boxes) for a in self.faces)
        options = {"faces": count, "subsets": sorted(self.keep)}
        texts = [path.relative_to(root).as_posix() for path in (source, *subsets.values())]
        super().__init__(name, root, of_half, entries, options, annotations=texts)

    def extras(self, index: int) -> dict:
        """The item without its image (nothing is decoded)."""
        annotation = self.faces[index]
        boxes = torch.from_numpy(annotation.boxes.astype(np.float32))
        sizes = boxes[:, 2:]
        return {
            "boxes": torch.cat([boxes[:, :2], boxes[:, :2] + sizes], 1),
            "ignore": torch.from_numpy(annotation.invalid) | (sizes <= 0).any(1),
            "keep": {level: masks[annotation.name] for level, masks in self.keep.items()},
        }

    def frame(self, index: int) -> tuple[int, int] | None:
        return frame_holding(self.path(index), self.extras(index)["boxes"])


def _present(found: list[Annotation], source: Path, folder: Path, missing: str) -> list[Annotation]:
    present = [a for a in found if (folder / a.name).is_file()]
    if not present or (missing == "error" and len(present) < len(found)):
        kept = {a.name for a in present}
        first = next((a.name for a in found if a.name not in kept), "any image")
        raise FileNotFoundError(
            f"wider-face: {len(found) - len(present)} of {len(found)} images named in "
            f'{source.name} are not in {folder} (first: {first}); pass missing="skip" to use those '
            f"that are present; {dataset_spec('wider-face').where()}"
        )
    return present


def _of_events(faces: list[Annotation], first: bool) -> list[Annotation]:
    """Those of every other event by name, from the first event or from the second."""
    events = sorted({face.name.split("/")[0] for face in faces})
    chosen = set(events[0 if first else 1 :: 2])
    return [face for face in faces if face.name.split("/")[0] in chosen]


def _annotation_file(root: Path, split: str, kind: str) -> Path:
    folder = root / "wider_face_split"
    stem = f"wider_face_{split}"
    endings = {"mat": [".mat"], "txt": ["_bbx_gt.txt", "_bbx_gt.subset.txt"]}
    wanted = endings["mat"] + endings["txt"] if kind == "auto" else endings[kind]
    for ending in wanted:
        if (folder / f"{stem}{ending}").is_file():
            return folder / f"{stem}{ending}"
    raise FileNotFoundError(
        f"wider-face: no {' or '.join(stem + e for e in wanted)} in {folder}; "
        f"{dataset_spec('wider-face').where()}"
    )


def _load_mat(path: Path, *fields: str) -> list[np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=fields)
        return [content[field] for field in fields]
    except (ValueError, KeyError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a WIDER FACE file: {error}") from error


def _by_image(events: np.ndarray, files: np.ndarray, *lists: np.ndarray) -> Iterator[tuple]:
    """Walk the nested cells: yields "EVENT/NAME.jpg" and the entry of every list."""
    for e, (event,) in enumerate(events[:, 0]):
        for f, (stem,) in enumerate(files[e, 0][:, 0]):
            yield (f"{event}/{stem}.jpg", *(cells[e, 0][f, 0] for cells in lists))


def read_mat(path: Path) -> Iterator[Annotation]:
    fields = ("event_list", "file_list", "face_bbx_list", "invalid_label_list")
    for name, boxes, invalid in _by_image(*_load_mat(path, *fields)):
        yield Annotation(name, boxes.reshape(-1, 4), invalid.reshape(-1).astype(bool))


def _read_txt(path: Path) -> Iterator[Annotation]:
    """A name, a count, then a line "x y w h blur expression illumination invalid …" per face.

    A count of 0 stands for the one box of zeros that the `.mat` holds for such an image; most
    releases write it out in a line of its own.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    at = 0
    while at < len(lines):
        try:
            name, count = lines[at].strip(), int(lines[at + 1])
            if not name.endswith(".jpg"):
                raise ValueError(f"{name!r} is not an image name")
            rows = [line.split()[:8] for line in lines[at + 2 : at + 2 + max(count, 1)]]
            listed = count > 0 or (rows and len(rows[0]) == 8)
            values = np.array(rows if listed else [[0] * 8], dtype=np.int64).reshape(-1, 8)
            if len(values) < count:
                raise ValueError(f"{count} faces announced, {len(values)} found")
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}: no valid entry at line {at + 1}: {error}") from error
        yield Annotation(name, values[:, :4], values[:, 7].astype(bool))
        at += 2 + (len(values) if listed else 0)


def _subset_files(root: Path) -> dict[str, Path]:
    """Level → list of its faces, for the lists that are there."""
    folder = root / "eval_tools" / "ground_truth"
    paths = {level: folder / f"wider_{level}_val.mat" for level in LEVELS}
    return {level: path for level, path in paths.items() if path.is_file()}


def read_subset(path: Path, annotations: list[Annotation]) -> dict[str, Tensor]:
    """Name → bool mask over the image's faces."""
    fields = ("event_list", "file_list", "face_bbx_list", "gt_list")
    entries = {name: rest for name, *rest in _by_image(*_load_mat(path, *fields))}
    masks = {}
    for annotation in annotations:
        boxes, indices = entries.get(annotation.name, (np.empty((0, 4)), np.empty(0)))
        if not np.array_equal(boxes.reshape(-1, 4), annotation.boxes):
            raise ValueError(f"{path}: its faces of {annotation.name} are not those annotated")
        mask = np.zeros(len(annotation.boxes), dtype=bool)
        chosen = indices.reshape(-1).astype(np.int64) - 1  # the lists count from 1
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(mask):
            raise ValueError(f"{path}: lists more faces of {annotation.name} than there are")
        mask[chosen] = True
        masks[annotation.name] = torch.from_numpy(mask)
    return masks
