"""Where street scenes are painted: a pinhole camera and a canvas of flat surfaces, far to near.

World: x right, y up, z ahead, in metres; the camera stands at (0, eye, 0) and faces along z. The
canvas holds no colours but, at each point, which surface is seen there (for the light, in
light.py) and which object or class (for the labels). They differ on purpose: one sees
through a fence or a wheel, yet the whole of it is labelled.
"""

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

FINE = 2  # surfaces are painted at this multiple of the image's size, for smooth edges
INSTANCE = 256  # a region's number is INSTANCE · object + class
SKY = 10
# Textures, made in light.py.
TEXTURES = ("plain", "sky", "asphalt", "paving", "facade", "brick", "foliage", "grass", "panel")
PLAIN, CLOUDS, ASPHALT, PAVING, FACADE, BRICK, FOLIAGE, GRASS, PANEL = range(len(TEXTURES))

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; `centre` and `horizon` are the vanishing point in pixels, `focal` too."""

    height: int
    width: int
    focal: float
    centre: float
    horizon: float
    eye: float

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """A point of the world with z > 0 in pixels."""
        scale = self.focal / z
        return self.centre + scale * x, self.horizon - scale * (y - self.eye)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """x / z of the columns (1, W) and (y − eye) / z of the rows (H, 1), at pixel centres."""
        columns = (np.arange(self.width, dtype=np.float32) + 0.5 - self.centre) / self.focal
        rows = (self.horizon - np.arange(self.height, dtype=np.float32) - 0.5) / self.focal
        return columns[None].astype(np.float32), rows[:, None].astype(np.float32)


class Material(NamedTuple):
    """Of what a surface is made.

    colour: sRGB, 0 … 255. pitch: the texture's periods in metres. phase: an integer that shifts the
    texture and chooses among its variants. wrap: 0 a flat surface, 1 one rounded or rough enough to
    be lit from all around. emits: linear RGB sent out at night.
    """

    colour: tuple[int, int, int]
    texture: int = PLAIN
    pitch: tuple[float, float] = (1.0, 1.0)
    phase: int = 0
    wrap: float = 0.1
    emits: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Light(NamedTuple):
    """A light at night: linear RGB, of that irradiance at one metre. aim: the unit vector of a
    beam, or None for a lamp that shines downwards."""

    place: Point
    colour: tuple[float, float, float]
    aim: Point | None = None


class Halo(NamedTuple):
    """The glow of a colour around a lamp that is seen; radius in metres."""

    place: Point
    colour: tuple[float, float, float]
    radius: float


class Canvas:
    """Surfaces seen by a camera, each painted over those before.

    After painting: `surfaces()` and `regions()`, and what shines at night: `lights`, `halos`.
    """

    def __init__(self, camera: Camera):
        self.camera = camera
        size = (FINE * camera.width, FINE * camera.height)
        self._images = [Image.new("I", size, value) for value in (0, SKY)]
        self._paint, self._label = (ImageDraw.Draw(image) for image in self._images)
        self._rows: list[tuple] = []
        self.lights: list[Light] = []
        self.halos: list[Halo] = []
        self.row(Material((128, 160, 220), CLOUDS), (0.0, 0.0, -1.0), -1e4)

    def row(self, material: Material, normal: Point, offset: float) -> int:
        """Enter a surface on the plane normal · (P − eye) = offset; returns its number."""
        m = material
        row = (*m.colour, *normal, offset, m.texture, m.phase, *m.pitch, m.wrap, *m.emits)
        self._rows.append(row)
        return len(self._rows) - 1

    def facing(self, material: Material, z: float) -> int:
        """Enter a surface that faces the camera at the distance z."""
        return self.row(material, (0.0, 0.0, -1.0), -z)

    def face(self, points: list[Point], material: Material, region: int | None = None) -> int:
        """Paint a flat polygon of the world; region None leaves the labels as they are."""
        row = self.row(material, *self.plane(points))
        self.fill([self.camera.project(*point) for point in points], row, region)
        return row

    def fill(self, polygon: list[tuple[float, float]], row: int | None, region: int | None) -> None:
        """Paint a polygon given in pixels with a surface, a region, or both."""
        fine = [(FINE * x - 0.5, FINE * y - 0.5) for x, y in polygon]
        if row is not None:
            self._paint.polygon(fine, fill=row)
        if region is not None:
            self._label.polygon(fine, fill=region)

    def stroke(self, points: list[Point], width: float, row: int, region: int | None) -> None:
        """Paint a line through points of the world, `width` metres thick."""
        fine = [tuple(FINE * v - 0.5 for v in self.camera.project(*point)) for point in points]
        thick = max(FINE, round(FINE * self.camera.focal * width / points[0][2]))
        self._paint.line(fine, fill=row, width=thick)
        if region is not None:
            self._label.line(fine, fill=region, width=thick)

    def limb(self, a: Point, b: Point, radii: tuple[float, float], row: int, region: int) -> None:
        """Paint a tapering rod from a to b with round ends; radii in metres."""
        (ax, ay), (bx, by) = self.camera.project(*a), self.camera.project(*b)
        ra, rb = (r * self.camera.focal / p[2] for r, p in zip(radii, (a, b), strict=True))
        length = hypot(bx - ax, by - ay) or 1.0
        ux, uy = (bx - ax) / length, (by - ay) / length
        ends = [(bx, by, rb, t) for t in _ROUND] + [(ax, ay, -ra, t) for t in _ROUND]
        polygon = [
            (x + r * (c * ux - s * uy), y + r * (c * uy + s * ux)) for x, y, r, (c, s) in ends
        ]
        self.fill(polygon, row, region)

    def surfaces(self) -> tuple[np.ndarray, np.ndarray]:
        """The surface at each fine point (FINE · H, FINE · W), and a row of numbers for each."""
        return np.asarray(self._images[0]), np.array(self._rows, dtype=np.float32)

    def regions(self) -> np.ndarray:
        """The region at each pixel (H, W)."""
        return np.asarray(self._images[1])[FINE // 2 :: FINE, FINE // 2 :: FINE]

    def plane(self, points: list[Point]) -> tuple[Point, float]:
        """Unit normal towards the camera and offset of the plane through three of the points."""
        a, b, c = points[0], points[1], points[2]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = (nx * nx + ny * ny + nz * nz) ** 0.5 or 1.0
        offset = (nx * a[0] + ny * (a[1] - self.camera.eye) + nz * a[2]) / length
        sign = -1.0 if offset > 0 else 1.0  # the camera lies on the side the normal points to
        return (sign * nx / length, sign * ny / length, sign * nz / length), sign * offset


_ROUND = [(cos(t), sin(t)) for t in (-pi / 2, -pi / 4, 0.0, pi / 4, pi / 2)]
