"""The textures of street surfaces, close by and far away: albedo and lit windows by place.

Textures are anchored in the world, in metres on their surface, so that they shrink with the
distance; what is finer than a pixel fades to its mean.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from llie_core.imaging import srgb_to_linear
from llie_core.synthetic.streets.canvas import (
    ASPHALT,
    BRICK,
    FACADE,
    FINE,
    FOLIAGE,
    GRASS,
    PANEL,
    PAVING,
    PLAIN,
    Camera,
    Canvas,
)

_TILE = 256  # side of the noise tile


@dataclass
class Buffers:
    """What is seen at each pixel: albedo and emission (3, H, W) linear; place, normal (3, H, W) in
    metres, the place relative to the camera's foot; wrap and texture (H, W)."""

    albedo: np.ndarray
    emission: np.ndarray
    place: np.ndarray
    normal: np.ndarray
    wrap: np.ndarray
    texture: np.ndarray


def trace(canvas: Canvas) -> Buffers:
    """Look up what the camera sees, with textures."""
    paint, rows = canvas.surfaces()
    colours = rows[:, :3].astype(np.uint8)[paint]  # (FINE · H, FINE · W, 3)
    albedo = _linear_table()[np.asarray(Image.fromarray(colours).reduce(FINE))]
    centre = paint[FINE // 2 :: FINE, FINE // 2 :: FINE]  # (H, W)
    place, normal = _places(canvas.camera, rows, centre)
    texture = rows[:, 7].astype(np.int16)[centre]
    emission = np.ascontiguousarray(rows[:, 12:15][centre].transpose(2, 0, 1))
    buffers = Buffers(
        np.ascontiguousarray(albedo.transpose(2, 0, 1)), emission, place, normal,
        rows[:, 11][centre], texture,
    )  # fmt: skip
    _apply_textures(buffers, rows, centre, canvas.camera)
    return buffers


@cache
def _linear_table() -> np.ndarray:
    """8-bit sRGB → linear (256,)."""
    return srgb_to_linear(np.arange(256, dtype=np.float32) / 255).astype(np.float32)


def _places(camera: Camera, rows, centre) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel's ray meets its plane (3, H, W), and the plane's normal (3, H, W)."""
    across, up = camera.rays()
    normal = np.ascontiguousarray(rows[:, 3:6][centre].transpose(2, 0, 1))
    slope = normal[0] * across + normal[1] * up + normal[2]
    # Smoothing takes edges a little past their plane's horizon, where the ray would miss it.
    depth = rows[:, 6][centre] / np.minimum(slope, -1e-5)
    depth = np.clip(depth, 0.3, 1e4)
    return np.stack([across * depth, up * depth + camera.eye, depth]), normal


@cache
def _noise_tile() -> tuple[np.ndarray, np.ndarray]:
    """White and cloudy noise, periodic, mean 0 and deviation 1 (N, N) each."""
    white = np.random.default_rng(0).standard_normal((_TILE, _TILE))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE), np.fft.rfftfreq(_TILE),
                                      indexing="ij"))  # fmt: skip
    frequency[0, 0] = np.inf
    cloudy = np.fft.irfft2(np.fft.rfft2(white) / frequency**1.5, white.shape)
    return white.astype(np.float32), (cloudy / cloudy.std()).astype(np.float32)


def _noise(tile: np.ndarray, u, v, per_metre: float, phase) -> np.ndarray:
    """The noise at places (u, v) in metres."""
    i = (u * per_metre).astype(np.int32) + phase
    j = (v * per_metre).astype(np.int32) + (phase >> 8)
    return tile[i & (_TILE - 1), j & (_TILE - 1)]


def _hash(i, j, phase) -> np.ndarray:
    """A number in [0, 1) for each cell (i, j) of a grid."""
    mixed = i.astype(np.uint32) * np.uint32(73856093) ^ j.astype(np.uint32) * np.uint32(19349663)
    mixed ^= phase.astype(np.uint32) * np.uint32(83492791)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(1274126177)
    return ((mixed >> np.uint32(8)) & np.uint32(0xFFFF)).astype(np.float32) / 65536


def cloudy_noise(u, v, phase: int) -> np.ndarray:
    """Cloudy noise at places (u, v) in cells of the tile, interpolated; mean 0, deviation 1."""
    tile, edge = _noise_tile()[1], _TILE - 1
    i, j = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    a, b = u - i, v - j
    i, j = i + phase, j + (phase >> 8)
    rows, columns = (i & edge, i + 1 & edge), (j & edge, j + 1 & edge)
    near = tile[rows[0], columns[0]] * (1 - a) + tile[rows[1], columns[0]] * a
    far = tile[rows[0], columns[1]] * (1 - a) + tile[rows[1], columns[1]] * a
    return near * (1 - b) + far * b


@dataclass
class _Patch:
    """The pixels of one texture: coordinates on the surface in metres, and how far it is blurred.

    sharp: 1 where the texture's period spans several pixels, 0 where it is finer than a pixel.
    """

    u: np.ndarray
    v: np.ndarray
    pitch: np.ndarray
    phase: np.ndarray
    sharp: np.ndarray
    lift: np.ndarray
    albedo: np.ndarray
    emission: np.ndarray


def _apply_textures(buffers: Buffers, rows, centre, camera: Camera) -> None:
    shape = centre.shape
    flat = centre.ravel()
    place = buffers.place.reshape(3, -1)
    normal = np.abs(rows[:, 3:6])
    axis = np.where(normal[:, 1] > 0.7, 2, np.where(normal[:, 0] > 0.7, 1, 0))
    albedo, emission = buffers.albedo.reshape(3, -1), buffers.emission.reshape(3, -1)
    order = np.argsort(buffers.texture.ravel(), kind="stable")
    kinds = buffers.texture.ravel()[order]
    for texture, apply in _TEXTURES.items():
        start, stop = np.searchsorted(kinds, (texture, texture + 1))
        if start == stop:
            continue
        here = order[start:stop]
        patch = _patch(place[:, here], rows[flat[here]], axis[flat[here]], camera)
        patch.albedo, patch.emission = albedo[:, here], emission[:, here]
        apply(patch)
        albedo[:, here], emission[:, here] = patch.albedo, patch.emission
    np.clip(albedo, 0.004, 0.95, out=albedo)
    buffers.albedo, buffers.emission = albedo.reshape(3, *shape), emission.reshape(3, *shape)


def _patch(place, rows, axis, camera: Camera) -> _Patch:
    x, y, z = place
    u, v = np.where(axis == 1, z, x), np.where(axis == 2, z, y)
    pixel = z / camera.focal
    across = pixel * np.where(axis == 1, z / np.maximum(np.abs(x), 0.5), 1)
    upwards = pixel * np.where(axis == 2, z / camera.eye, 1)
    pitch = rows[:, 9:11].T
    sharp = np.minimum(pitch[0] / across, pitch[1] / upwards) / 2.5 - 0.6
    phase = rows[:, 8].astype(np.int32)
    return _Patch(u, v, pitch, phase, np.clip(sharp, 0, 1), y, place, place)


def _plain(patch: _Patch) -> None:
    white, cloudy = _noise_tile()
    grain = 0.05 * _noise(white, patch.u, patch.v, 24, patch.phase)
    patch.albedo *= 1 + grain + 0.07 * _noise(cloudy, patch.u, patch.v, 20, patch.phase)


def _asphalt(patch: _Patch) -> None:
    white, cloudy = _noise_tile()
    grain = 0.10 * _noise(white, patch.u, patch.v, 22, patch.phase)
    worn = 0.13 * _noise(cloudy, patch.u, 0.3 * patch.v, 10, patch.phase)
    patch.albedo *= np.clip(1 + grain + worn, 0.45, 1.6)


def _paving(patch: _Patch) -> None:
    i, j = patch.u / patch.pitch[0], patch.v / patch.pitch[1]
    row, column = np.floor(j), np.floor(i + 0.5 * (np.floor(j) % 2))
    gap = ((i + 0.5 * (row % 2)) % 1 < 0.12) | (j % 1 < 0.12)
    tone = 0.85 + 0.3 * _hash(column.astype(np.int32), row.astype(np.int32), patch.phase)
    slab = np.where(gap, 0.6, tone) - 1
    grain = 0.06 * _noise(_noise_tile()[0], patch.u, patch.v, 12, patch.phase)
    patch.albedo *= 1 + patch.sharp * slab + grain + (1 - patch.sharp) * -0.05


def _brick(patch: _Patch) -> None:
    i, j = patch.u / patch.pitch[0], patch.v / patch.pitch[1]
    row = np.floor(j)
    i = i + 0.5 * (row % 2)
    tone = 0.68 + 0.6 * _hash(np.floor(i).astype(np.int32), row.astype(np.int32), patch.phase)
    mortar = (i % 1 < 0.1) | (j % 1 < 0.18)
    brick = np.where(mortar, 1.3, tone) - 1
    stains = 0.14 * _noise(_noise_tile()[1], patch.u, patch.v, 14, patch.phase)
    patch.albedo *= np.clip(1 + patch.sharp * brick + stains, 0.3, 1.7)


def _panel(patch: _Patch) -> None:
    rib = (patch.u / patch.pitch[0]) % 1 < 0.14
    patch.albedo *= 1 - 0.25 * patch.sharp * rib
    _plain(patch)


def _foliage(patch: _Patch) -> None:
    white, cloudy = _noise_tile()
    leaves = 0.16 * _noise(white, patch.u, patch.v, 6, patch.phase)
    leaves += 0.22 * _noise(white, patch.u, patch.v, 21, patch.phase + 5)
    clumps = 0.24 * _noise(cloudy, patch.u, patch.v, 14, patch.phase)
    patch.albedo *= np.clip(1 + leaves + clumps, 0.25, 2.2)
    yellow = np.clip(0.25 * _noise(cloudy, patch.u, patch.v, 9, patch.phase + 77), -0.3, 0.5)
    patch.albedo[0] *= 1 + yellow


def _grass(patch: _Patch) -> None:
    white, cloudy = _noise_tile()
    blades = 0.2 * _noise(white, 2 * patch.u, patch.v, 16, patch.phase)
    bare = _noise(cloudy, patch.u, patch.v, 6, patch.phase + 31)
    patch.albedo *= np.clip(1 + blades + 0.12 * bare, 0.3, 1.8)
    patch.albedo[0] *= 1 + np.clip(0.2 * bare, -0.1, 0.45)


def _facade(patch: _Patch) -> None:
    """Rows of windows, some lit at night; shop windows below."""
    phase = patch.phase
    kind = _hash(phase, phase * 0, phase)  # one number for the whole house
    i, j = patch.u / patch.pitch[0], patch.lift / patch.pitch[1]
    column, storey = np.floor(i).astype(np.int32), np.floor(j).astype(np.int32)
    a, b = i % 1, j % 1
    shop = (storey == 0) & (kind > 0.35)
    wide = np.where(shop, 0.42, 0.2 + 0.12 * kind)
    low, high = np.where(shop, 0.14, 0.26), np.where(shop, 0.8, 0.8)
    aside = np.abs(a - 0.5)
    pane = (aside < wide) & (b > low) & (b < high)
    frame = (aside < wide + 0.05) & (b > low - 0.06) & (b < high + 0.04) & ~pane
    draw = _hash(column, storey, phase)
    stain = 0.07 * _noise(_noise_tile()[1], patch.u, patch.v, 9, phase)
    ledge = np.where(b < 0.06, -0.22, 0.0) + np.where(frame, np.where(kind > 0.5, 0.3, -0.3), 0.0)
    patch.albedo *= 1 + patch.sharp * ledge + stain
    glass = np.stack([0.05 + 0.12 * draw, 0.07 + 0.14 * draw, 0.09 + 0.17 * draw])
    share = pane * patch.sharp + (1 - patch.sharp) * 0.35  # far away: the mean of wall and glass
    patch.albedo += share * (glass - patch.albedo)
    lit = draw * 7.31 % 1 < np.where(shop, 0.55, 0.06 + 0.3 * kind)
    warm = (draw * 13.7) % 1
    bright = (0.4 + 2.0 * (draw * 29.3 % 1)) * np.where(shop, 1.6, 1.0)
    bright *= lit * share * (0.75 + 0.5 * b)
    patch.emission += bright * np.stack([1.0 + 0 * warm, 0.62 + 0.3 * warm, 0.28 + 0.55 * warm])


_TEXTURES = {
    PLAIN: _plain, ASPHALT: _asphalt, PAVING: _paving, FACADE: _facade, BRICK: _brick,
    FOLIAGE: _foliage, GRASS: _grass, PANEL: _panel,
}  # fmt: skip
