"""Face detections as text files, as the WIDER FACE evaluation takes them.

    <folder>/EVENT/NAME.txt      NAME
                                 number of faces
                                 x y w h score        a line a face, best first

Boxes are in pixels, x and y of the upper left corner; w = x2 − x1, h = y2 − y1, as the tool adds
the edge pixel itself.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from llie_core.files import write_text


def write_detections(
    folder: Path, names: Sequence[str], predictions: Sequence[dict[str, Tensor]]
) -> None:
    """One file per image.

    Args:
        folder: is made where it is not there.
        names: of the images, "EVENT/NAME.jpg".
        predictions: `boxes` (N, 4) xyxy and `scores` (N,) of each image.
    """
    for name, found in zip(names, predictions, strict=True):
        order = found["scores"].argsort(descending=True, stable=True)
        boxes, scores = found["boxes"][order].double(), found["scores"][order].double()
        faces = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores[:, None]], 1)
        lines = [Path(name).stem, str(len(faces))]
        lines += [" ".join(f"{value:.9g}" for value in face) for face in faces.tolist()]
        write_text(_path(folder, name), "\n".join(lines) + "\n")


def read_detections(folder: Path, names: Sequence[str]) -> list[dict[str, Tensor]]:
    """`boxes` (N, 4) xyxy float64 and `scores` (N,) float64 of each image.

    Raises:
        FileNotFoundError: an image has no file.
        ValueError: a file that is not of this format; says which and where.
    """
    return [_read(_path(folder, name), Path(name).stem) for name in names]


def _path(folder: Path, name: str) -> Path:
    return Path(folder) / Path(name).parent / f"{Path(name).stem}.txt"


def _read(path: Path, name: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no detections of this image (an empty list has a file)")
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < 2 or lines[0].strip().removesuffix(".jpg") != name:
        raise ValueError(f"{path}: its first line should name the image, {name}")
    try:
        faces = [[float(value) for value in line.split()] for line in lines[2:] if line.strip()]
        announced = int(lines[1])
    except ValueError as error:
        raise ValueError(f"{path}: not a number: {error}") from None
    wrong = next((i for i, face in enumerate(faces) if len(face) != 5), None)
    if wrong is not None:
        raise ValueError(f"{path}, line {wrong + 3}: a face is x y w h score")
    if announced != len(faces):
        raise ValueError(f"{path}: {announced} faces announced, {len(faces)} found")
    values = torch.tensor(faces, dtype=torch.float64).reshape(-1, 5)
    corners = torch.cat([values[:, :2], values[:, :2] + values[:, 2:4]], 1)
    return {"boxes": corners, "scores": values[:, 4]}
