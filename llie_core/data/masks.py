"""Reading label maps and saliency masks exactly: stored values, never colours or interpolation."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.files import reading

_WHOLE_NUMBERS = ("L", "P", "I", "I;16", "1")


def read_ids(path: Path) -> Tensor:
    """The class ids of a label image as stored (palette indices, not colours): (H, W) int64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable, or a colour image; the message is one line that names it.
    """
    image = _open(path)
    if image.mode not in _WHOLE_NUMBERS:
        raise ValueError(f"{path} is a {image.mode} image; a label map holds one id a pixel")
    return torch.from_numpy(np.asarray(image).astype(np.int64))


def read_saliency(path: Path) -> Tensor:
    """A saliency mask (1, H, W) float32, 1 where the image's grey value is above 128, else 0."""
    grey = np.asarray(_open(path).convert("L"))
    return torch.from_numpy((grey > 128).astype(np.float32))[None]


def mask_size(path: Path) -> tuple[int, int]:
    """(W, H) of a mask, from the file's header."""
    from PIL import Image

    with reading(path, "mask"), Image.open(path) as image:
        return image.size


def _open(path: Path):
    from PIL import Image

    with reading(path, "mask"), Image.open(path) as image:
        image.load()
        return image.copy()
