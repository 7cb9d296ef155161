"""Images of any size: tiles that agree, and maps estimated on a small copy.

An image that is too large for a network as a whole goes through in overlapping tiles. What a
network takes from the whole image (gains, pooled features, statistics of a normalisation) would
differ from tile to tile. A network asks for it by `of_whole_image`; a pass over a small copy of the
image records the values, and every tile gets those. In a video, every frame gets those of its
own copy, smoothed over time (video.py).

Curve and gain models need no tiles: their maps are estimated on a small copy, brought to full size
row by row and applied there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

Value = TypeVar("Value")

WHOLE_PIXELS = 4_000_000  # of a batch that is computed at once, if the memory reaches
TILE_MEMORY = 2**30  # bytes that a tile may need
SMALL_PIXELS = 2**20  # of the copy that maps are estimated on
STATISTICS_PIXELS = 2**19  # of the copy that values of the whole image are taken from
STATISTICS_MEMORY = 2**30  # bytes that the pass over that copy may need
LEAST_SIDE = 64  # of a tile's own part


# Values of the whole image ---------------------------------------------------------------------


class _Values:
    """Values in the order in which a pass asks for them: recorded, then replayed."""

    def __init__(self):
        self.values: list[Any] = []
        self.position: int | None = None  # None: recording

    def take(self, compute: Callable[[], Value]) -> Value:
        if self.position is None:
            self.values.append(compute())
            return self.values[-1]
        self.position += 1
        return self.values[self.position - 1]


_values: ContextVar[_Values | None] = ContextVar("values of the whole image", default=None)


def of_whole_image(compute: Callable[[], Value]) -> Value:
    """`compute()`; in a tile, what it was for the small copy of the image."""
    values = _values.get()
    return compute() if values is None else values.take(compute)


def whole_values(run: Callable[[], object]) -> list[Any]:
    """What `run` asks for by `of_whole_image`, tensors or tuples of them, in its order."""
    values = _Values()
    with _using(values):
        run()
    return values.values


@contextmanager
def given(values: list[Any]) -> Iterator[None]:
    """In the block, one pass or one `in_tiles` gets these values in place of its own."""
    known = _Values()
    known.values, known.position = values, 0
    with _using(known):
        yield


def in_tile() -> bool:
    """Whether values of the whole image are recorded or replayed now."""
    return _values.get() is not None


@contextmanager
def _using(values: _Values) -> Iterator[None]:
    token = _values.set(values)
    try:
        yield
    finally:
        _values.reset(token)


# Tiles -----------------------------------------------------------------------------------------


def in_tiles(
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    side: int,
    margin: int,
    grid: int = 1,
    feather: int = 0,
    pools: bool = True,
    bytes_per_pixel: int = 1,
) -> Tensor:
    """`run` on overlapping windows of x, joined without seams.

    Args:
        run: (B, 3, h, w) → the same shape, h and w multiples of `grid` but at the image's end.
        x: (B, 3, H, W).
        side: of a window in pixels, its margins included.
        margin: pixels by which the result depends on its surroundings.
        grid: windows start at its multiples, so that strides fall where they fall in the whole.
        feather: pixels over which neighbours are blended.
        pools: whether `run` asks for values of the whole image.
        bytes_per_pixel: of memory that `run` needs.
    """
    margin += feather // 2
    margin = -(-margin // grid) * grid
    part = max(LEAST_SIDE, side - 2 * margin)
    part = -(-part // grid) * grid
    known = _values.get()
    if known and known.position is not None:
        values = known.values
    else:
        values = _recorded(run, x, bytes_per_pixel) if pools else []
        if known:  # in place of what a pass that ran out of memory has left
            known.values = values
    result = torch.zeros_like(x)
    for top, rows, down in _parts(x.shape[-2], part, margin, feather):
        for left, columns, across in _parts(x.shape[-1], part, margin, feather):
            with given(values):
                y = run(x[..., top, left])
            weight = (down[:, None] * across).to(x)  # (h, w)
            own = y[..., _within(rows, top), _within(columns, left)]
            result[..., rows, columns] += own * weight
    return result


def _recorded(run: Callable[[Tensor], Tensor], x: Tensor, bytes_per_pixel: int) -> list[Any]:
    """The values of the whole image that a pass over a small copy asks for; over a smaller one
    where the memory does not reach."""
    pixels = min(STATISTICS_PIXELS, STATISTICS_MEMORY // (len(x) * bytes_per_pixel))
    while True:
        small = downscaled(x, pixels)
        try:
            return whole_values(lambda small=small: run(small))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or pixels <= LEAST_SIDE**2:
                raise
            pixels //= 4


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _parts(
    length: int, part: int, margin: int, feather: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Of one axis: a window, what of it is used, and the weights there, which add up to 1."""
    half = feather / 2
    for start in range(0, length, part):
        stop = min(start + part, length)
        window = slice(max(0, start - margin), min(length, stop + margin))
        used = slice(max(0, start - feather // 2), min(length, stop + feather // 2))
        centre = torch.arange(used.start, used.stop) + 0.5
        weight = torch.ones(len(centre))
        if start and feather:
            weight = ((centre - start + half) / feather).clamp(0, 1)
        if stop < length and feather:
            weight = weight * ((stop + half - centre) / feather).clamp(0, 1)
        yield window, used, weight


def downscaled(x: Tensor, pixels: int) -> Tensor:
    """A copy of at most about so many pixels, antialiased; x itself where it has no more."""
    scale = (pixels / (x.shape[-2] * x.shape[-1])) ** 0.5
    if scale >= 1:
        return x
    return resized(x, [max(1, round(side * scale)) for side in x.shape[-2:]])


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) at another size (h, w), antialiased."""
    return F.interpolate(x, tuple(size), mode="bilinear", antialias=True)


def small_copy(x: Tensor) -> Tensor:
    """The copy of (B, 3, H, W) that maps are estimated on."""
    return downscaled(x, SMALL_PIXELS)


def tile_side(bytes_per_pixel: float, batch: int, free: int) -> int:
    """Side of the windows that the memory allows."""
    budget = min(TILE_MEMORY, free // 4)
    return max(LEAST_SIDE, int((budget / (batch * bytes_per_pixel)) ** 0.5))


def is_out_of_memory(error: BaseException) -> bool:
    line = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("allocate memory" in line or "out of memory" in line)
    )


# Maps ------------------------------------------------------------------------------------------


def rows_at_size(
    maps: Tensor, rows: slice, size: tuple[int, int], align_corners: bool = False
) -> Tensor:
    """Rows of what F.interpolate(maps, size, mode="bilinear") gives, without the others.

    Args:
        maps: (B, C, h, w).
        rows: of the result.
        size: (H, W) of the whole result.

    Returns:
        (B, C, rows, W).
    """
    height = maps.shape[-2]
    row = torch.arange(rows.start, rows.stop, dtype=torch.float32, device=maps.device)
    if align_corners:
        at = row * ((height - 1) / max(size[0] - 1, 1))
    else:
        at = ((row + 0.5) * (height / size[0]) - 0.5).clamp(min=0)
    above = at.floor().long().clamp(max=height - 1)
    below = (above + 1).clamp(max=height - 1)
    share = (at - above)[:, None].to(maps.dtype)
    mixed = torch.lerp(maps[..., above, :], maps[..., below, :], share)  # (B, C, rows, w)
    flat = mixed.flatten(1, 2)
    wide = F.interpolate(flat, size[1], mode="linear", align_corners=align_corners)
    return wide.view(*mixed.shape[:3], size[1])
