"""MATLAB's own conventions, for metrics whose authors wrote MATLAB: rgb2gray, imresize, .mat files.

Rounding, antialiasing and borders are MATLAB's, because the scores depend on them; the usual Python
functions of these names differ. Conventions of one line stand where used, marked "MATLAB:".
"""

import math
from functools import lru_cache

import torch

from llie_core.metrics.quality import in_float64


def grey_levels(images: torch.Tensor) -> torch.Tensor:
    """8-bit grey as MATLAB's rgb2gray of a uint8 image gives it: `(B, H, W)`, whole 0 to 255."""
    levels = (in_float64(images).clamp(0, 1) * 255).round()
    # First row of the inverse of the NTSC matrix; the usual .299 .587 .114 rounds otherwise.
    red, green, blue = 0.298936021293775, 0.587043074451121, 0.114020904255103
    grey = levels[:, 0] * red + levels[:, 1] * green + levels[:, 2] * blue
    return (grey + 0.5).floor()


def imresize(
    images: torch.Tensor, scale: float = 1.0, size: tuple[int, int] | None = None
) -> torch.Tensor:
    """Bicubic resizing as MATLAB's imresize: antialiased when shrinking, mirrored at the borders.

    Args:
        images: `(..., H, W)` float.
        scale: > 0; the new sides are ⌈scale·H⌉ and ⌈scale·W⌉.
        size: the new sides themselves, each with its own scale; overrides `scale`.

    Returns:
        `(..., new H, new W)`, neither rounded nor clipped.
    """
    for dim in (-2, -1):
        length = images.shape[dim]
        new = size[dim] if size else math.ceil(length * scale)
        indices, weights = _taps(length, new / length if size else scale, new)
        shape = (-1, 1) if dim == -2 else (-1,)
        total = 0.0
        for index, weight in zip(indices, weights, strict=True):
            tap = images.index_select(dim, index.to(images.device))
            total = total + tap * weight.to(images).view(shape)
        images = total
    return images


@lru_cache(maxsize=64)
def _taps(length: int, scale: float, new: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Source indices and weights of every output sample, `(taps, new)` each."""
    shrink = min(scale, 1.0)  # antialiasing widens the kernel by 1/scale, only when shrinking
    centre = torch.arange(1, new + 1, dtype=torch.float64)
    centre = centre / scale + 0.5 * (1 - 1 / scale)  # in MATLAB's coordinates, from 1
    first = (centre - 2 / shrink).floor()
    source = first + torch.arange(math.ceil(4 / shrink) + 2, dtype=torch.float64)[:, None]
    weights = _cubic(shrink * (centre - source))
    mirrored = torch.remainder(source - 1, 2 * length).long()
    mirrored = torch.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    return mirrored, weights / weights.sum(dim=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys's cubic kernel with a = −1/2."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))


@lru_cache(maxsize=4)
def read_mat(path: str) -> dict:
    """The variables of a MATLAB file by name, as scipy reads them; kept for the next call.

    Structures and cells are arrays of their own; `to_tensor` converts numeric matrices.
    """
    from scipy.io import loadmat

    return loadmat(path)


def to_tensor(stored) -> torch.Tensor:
    """A float64 tensor of a matrix that `read_mat` gave, sparse or dense; same shape."""
    dense = stored.toarray() if hasattr(stored, "toarray") else stored
    return torch.tensor(dense, dtype=torch.float64)
