"""Day and night light on a painted street, in linear light, and the camera that records it.

    surfaces ─▶ albedo, place, normal ─┬─▶ sun + sky ─────────────────────▶ exposure ─▶ day
               (textures)              └─▶ sky glow + lamps + own beam
                                           + what emits + halos ─▶ exposure ─▶ noise ─▶ night

Day and night share the albedo and the geometry. Radiance is albedo × irradiance (the factor 1/π is
left out). Shot noise has the variance light / photons and is drawn from a normal distribution
together with the read noise, as in darkening.py.
"""

import numpy as np

from llie_core.data.darkening import quantise
from llie_core.imaging import linear_to_srgb
from llie_core.synthetic.streets.canvas import CLOUDS, Camera, Canvas, Halo, Light
from llie_core.synthetic.streets.scene import Scene, Sky
from llie_core.synthetic.streets.textures import Buffers, cloudy_noise

BRIGHTEST = 12  # lights that shine on objects; the others are only seen
HALO = 5.0  # radiance of a halo's core


def day_light(buffers: Buffers, scene: Scene) -> np.ndarray:
    """Radiance in daylight (3, H, W): the sun with the houses' shadows, the sky, and haze."""
    sun, share = np.array(scene.sky.sun, dtype=np.float32), scene.sky.sunlight
    facing = np.tensordot(sun, buffers.normal, 1)
    wrap = buffers.wrap
    direct = np.maximum(0, (facing + wrap) / (1 + wrap)) * _sunlit(buffers.place, scene)
    ambient = 0.55 + 0.35 * buffers.normal[1] + 0.12 * np.tanh(buffers.place[1] / 3)
    warm = np.array([1.08, 1.0, 0.86], np.float32).reshape(3, 1, 1)
    blue = np.array([0.86, 0.97, 1.15], np.float32).reshape(3, 1, 1)
    light = buffers.albedo * (2.1 * share * direct * warm + (1.35 - 0.65 * share) * ambient * blue)
    sky = _day_sky(buffers, scene)
    air = 1 - np.exp(-buffers.place[2] / 420)
    light += air * (0.55 * blue - light)
    return np.where(buffers.texture == CLOUDS, sky, light)


def _day_sky(buffers: Buffers, scene: Scene) -> np.ndarray:
    across, up = buffers.place[0] / buffers.place[2], buffers.place[1] / buffers.place[2]
    high = np.clip(up * 2.2, 0, 1)
    clear = [0.62 - 0.38 * high, 0.74 - 0.3 * high, 0.92 - 0.12 * high]
    spread = 1 / (np.maximum(up, 0) + 0.15)
    cover = cloudy_noise(26 * across * spread, 60 * spread, scene.sky.seed & 0xFFFF)
    veil = np.clip(0.35 * cover + 1.15 - 1.25 * scene.sky.sunlight, 0, 1)
    grey = 0.72 + 0.12 * np.clip(cover, -1, 1)
    return np.stack([c + veil * (grey - c) for c in clear])


def _sunlit(place: np.ndarray, scene: Scene) -> np.ndarray:
    """0 where the houses on the sun's side shade, else 1 (H, W)."""
    sx, sy, sz = scene.sky.sun
    side = 1 if sx > 0 else -1
    plots = [plot for plot in scene.plots if plot.side == side]
    if abs(sx) < 0.05 or not plots:
        return np.ones(place.shape[1:], np.float32)
    heights = np.zeros(512, np.float32)
    for plot in plots:
        heights[128 + int(plot.z0) : 128 + int(plot.z1)] = plot.height
    reach = (side * plots[0].edge - place[0]) / sx  # to the plane of the house fronts
    meets = np.clip(place[2] + reach * sz + 128, 0, 511).astype(np.int32)
    shaded = (reach > 0.05) & (place[1] + reach * sy < heights[meets])
    return np.where(shaded, np.float32(0.08), np.float32(1))


def night_light(buffers: Buffers, scene: Scene, canvas: Canvas) -> np.ndarray:
    """Radiance by night (3, H, W): sky glow, lamps and beams, what emits, and halos."""
    sky = scene.sky
    glow = np.array(sky.glow, np.float32).reshape(3, 1, 1)
    light = glow * (0.6 + 0.4 * buffers.normal[1])
    strong = sorted(canvas.lights, key=lambda lamp: -max(lamp.colour) / lamp.place[2] ** 1.5)
    for lamp in strong[:BRIGHTEST]:
        light += irradiance(lamp, buffers) * _column(lamp.colour)
    if sky.own_beam:
        light += _own_beam(buffers, sky.own_beam) * _column((1.0, 0.97, 0.9))
    radiance = buffers.albedo * light + buffers.emission
    up = np.clip(buffers.place[1] / buffers.place[2], 0, None)
    heaven = glow * (0.4 + np.exp(-5 * up))
    radiance = np.where(buffers.texture == CLOUDS, heaven, radiance)
    for halo in canvas.halos:
        _add_halo(radiance, halo, buffers.place[2], scene.camera)
    return radiance


def _column(colour) -> np.ndarray:
    return np.array(colour, np.float32).reshape(3, 1, 1)


def irradiance(lamp: Light, buffers: Buffers) -> np.ndarray:
    """Irradiance of a lamp of unit strength (H, W), inverse-square, without cast shadows."""
    dx, dy, dz = (np.float32(p) - q for p, q in zip(lamp.place, buffers.place, strict=True))
    square = dx * dx + dy * dy + dz * dz + np.float32(1e-6)
    normal, wrap = buffers.normal, buffers.wrap
    distance = np.sqrt(square)
    facing = (normal[0] * dx + normal[1] * dy + normal[2] * dz) / distance
    facing = np.maximum(0, (facing + wrap) / (1 + wrap))
    if lamp.aim is None:  # a shade above: it shines downwards
        lobe = np.clip(dy / distance * 1.25, 0, 1)
    else:
        ax, ay, az = lamp.aim
        lobe = np.clip(-(ax * dx + ay * dy + az * dz) / distance, 0, 1) ** 2
        lobe = lobe * lobe
        lobe *= lobe
    return facing * lobe / np.maximum(square, np.float32(0.15))


def _own_beam(buffers: Buffers, strength: float) -> np.ndarray:
    """The dipped beams of the car that carries the camera (H, W)."""
    x, y, z = buffers.place
    square = x * x + (y - 0.7) ** 2 + z * z
    across, up = x / z, (y - 0.7) / z
    falloff = 1 + np.exp(np.minimum((up - 0.01) / 0.02, 80))  # beyond, float32 overflows
    beam = np.exp(-((across / 0.45) ** 2)) / falloff
    # Seen from just below the camera: grazing on the ground, straight on what faces it.
    distance = np.sqrt(square)
    facing = -(buffers.normal[0] * x + buffers.normal[1] * (y - 0.7) + buffers.normal[2] * z)
    facing = np.maximum(0, (facing / distance + buffers.wrap) / (1 + buffers.wrap))
    return strength * beam * facing / (square + 4)


def _add_halo(radiance, halo: Halo, depth: np.ndarray, camera: Camera) -> None:
    """Add the glow around a lamp that is seen."""
    x, y = camera.project(*halo.place)
    height, width = depth.shape
    column, row = int(np.floor(x)), int(np.floor(y))
    if 0 <= row < height and 0 <= column < width and depth[row, column] < halo.place[2] - 0.6:
        return
    core = max(0.6, halo.radius * camera.focal / halo.place[2])  # pixels
    reach = int(9 * core) + 2
    y0, y1 = max(row - reach, 0), min(row + reach + 1, height)
    x0, x1 = max(column - reach, 0), min(column + reach + 1, width)
    if y0 >= y1 or x0 >= x1:
        return
    rows = (np.arange(y0, y1, dtype=np.float32) + 0.5 - y)[:, None]
    columns = (np.arange(x0, x1, dtype=np.float32) + 0.5 - x)[None]
    spread = (rows * rows + columns * columns) / np.float32(core * core)
    glow = np.maximum(0, (1 + spread) ** np.float32(-1.5) - 0.0015)
    strength = HALO * np.array(halo.colour, np.float32) / max(halo.colour)
    radiance[:, y0:y1, x0:x1] += strength.reshape(3, 1, 1) * glow


# The camera -----------------------------------------------------------------------------------


def develop(radiance: np.ndarray, aim: float, noise: Sky | None = None) -> np.ndarray:
    """Blur of the lens, exposure to the mean intensity `aim`, noise, sRGB, 8 bit: (3, H, W)."""
    light = _lens(radiance)
    light *= np.float32(_exposure(light, aim))
    if noise is not None:
        rng = np.random.default_rng(noise.seed)
        variance = light / np.float32(noise.photons) + np.float32(noise.read**2)
        light += np.sqrt(variance) * rng.standard_normal(light.shape, dtype=np.float32)
    return quantise(linear_to_srgb(np.clip(light, 0, 1)))


def _lens(light: np.ndarray) -> np.ndarray:
    """A small blur, of 3 × 3 pixels."""
    edge = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = 0.14 * (edge[:, :-2] + edge[:, 2:]) + 0.72 * edge[:, 1:-1]
    return 0.14 * (rows[:, :, :-2] + rows[:, :, 2:]) + 0.72 * rows[:, :, 1:-1]


def _exposure(light: np.ndarray, aim: float) -> float:
    """The gain at which the mean of the encoded image is `aim`, by bisection in log scale."""
    some = np.ascontiguousarray(light[:, 1::3, 1::3])
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(13):
        middle = (low + high) / 2
        mean = linear_to_srgb(np.minimum(some * np.float32(np.exp(middle)), 1)).mean()
        low, high = (middle, high) if mean < aim else (low, middle)
    return float(np.exp((low + high) / 2))
