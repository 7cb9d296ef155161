"""Street scenes: the objects and their places, drawn at random.

`draw_scene` decides everything (layout, poses, weather, lamps, exposures) without a pixel, so that
persons can be listed quickly; paint.py paints it. Both depend on their arguments alone.
"""

from dataclasses import dataclass, field
from math import cos, pi

import numpy as np

from llie_core.synthetic.streets.bodies import Body, draw_body, draw_rider
from llie_core.synthetic.streets.canvas import Camera
from llie_core.synthetic.streets.vehicles import SIZES, Frame

ROAD, SIDEWALK, BUILDING, WALL, FENCE, VEGETATION, TERRAIN, PERSON, RIDER = (
    0, 1, 2, 3, 4, 8, 9, 11, 12,
)  # fmt: skip
VEHICLES = {"car": 13, "truck": 14, "bus": 15, "train": 16, "motorcycle": 17, "bicycle": 18}
FAR = 130.0
LANE = 3.3


@dataclass(frozen=True)
class Sky:
    """Weather, lamps and camera of a scene. Colours are linear RGB.

    sun: unit vector towards it; sunlight: its share of the daylight; day, night: mean intensities
    (sRGB) that the two exposures aim at; photons, read: the night's noise, as in darkening.py.
    """

    sun: tuple[float, float, float]
    sunlight: float
    day: float
    night: float
    glow: tuple[float, float, float]
    lamp: tuple[float, float, float]
    own_beam: float
    photons: float
    read: float
    seed: int


@dataclass(frozen=True)
class Plot:
    """What lines the street on one side (−1 left, 1 right) from z0 to z1, at |x| = edge."""

    side: int
    kind: str
    z0: float
    z1: float
    edge: float
    height: float
    seed: int


def length_of(kind: str) -> float:
    """Metres that a vehicle takes along its way; 0 for anything else."""
    return SIZES[kind][0] if kind in SIZES else 0.0


@dataclass
class SceneObject:
    """A movable object or street furniture: `kind`, its place, and the numbers it is drawn with."""

    kind: str
    frame: Frame
    seed: int
    driving: bool = False
    body: Body | None = None
    numbers: tuple = ()

    @property
    def depth(self) -> float:
        """Where it goes in the order of painting; a long object goes by its near end."""
        reach = max(0.0, length_of(self.kind) / 2 - 3.0)
        return self.frame.z - reach * abs(cos(self.frame.heading))

    def extent(self, camera: Camera) -> tuple[float, float, float, float]:
        """The box xyxy in pixels around the whole person or (usual) vehicle, beyond the image
        too; other objects have none (all 0)."""
        if self.body:
            return tuple(self.body.seen(camera)[1].tolist())
        if self.kind not in VEHICLES:
            return 0.0, 0.0, 0.0, 0.0
        length, w, tall = SIZES[self.kind]
        s = length / 2
        corners = [
            camera.project(*self.frame.at(a, y, b))
            for a in (-s, s) for b in (-w, w) for y in (0.0, tall)
        ]  # fmt: skip
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass
class Scene:
    """A street before it is painted; the camera drives in the lane at x = 0.

    road: x of its edges. walk, verge: widths of the sidewalk and of the grass before it, left and
    right. crossing: where a side street begins, 0 for none. marks: seed of the ground's textures.
    base: class of the ground beyond. objects: far to near.
    """

    camera: Camera
    sky: Sky
    road: tuple[float, float]
    walk: tuple[float, float]
    verge: tuple[float, float]
    crossing: float
    marks: int
    base: int
    plots: list[Plot] = field(default_factory=list)
    objects: list[SceneObject] = field(default_factory=list)

    def persons(self) -> list[tuple[int, Body]]:
        """Persons on foot with the numbers of their regions, near ones first."""
        found = [(k + 1, t.body) for k, t in enumerate(self.objects) if t.kind == "person"]
        return found[::-1]


def draw_scene(rng: np.random.Generator, size: tuple[int, int], crowd: bool = False) -> Scene:
    """Lay out a street for an image (H, W). crowd: more persons, and nearer."""
    camera = _draw_camera(rng, size)
    left = 0.5 * LANE + LANE * int(rng.integers(1, 3))
    right = 0.5 * LANE + LANE * int(rng.random() < 0.25)
    parking = (2.3 * (rng.random() < 0.5), 2.3 * (rng.random() < 0.5))
    verge = tuple(float(rng.uniform(1.2, 2.6)) if rng.random() < 0.4 else 0.0 for _ in range(2))
    walk = tuple(float(rng.uniform(2.6, 5.4)) for _ in range(2))
    scene = Scene(
        camera, draw_sky(rng), (-(left + parking[0]), right + parking[1]), walk, verge,
        crossing=float(rng.uniform(14, 34)) if rng.random() < 0.6 else 0.0,
        marks=int(rng.integers(1 << 30)), base=TERRAIN if rng.random() < 0.6 else SIDEWALK,
    )  # fmt: skip
    for side in (-1, 1):
        _draw_plots(rng, scene, side)
    _draw_traffic(rng, scene, left, right, parking)
    _draw_persons(rng, scene, crowd)
    _draw_furniture(rng, scene)
    scene.objects.sort(key=lambda o: -o.depth)
    return scene


def _draw_camera(rng, size) -> Camera:
    height, width = size
    return Camera(
        height, width, focal=float(rng.uniform(1.55, 1.95)) * height,
        centre=float(rng.uniform(0.42, 0.58)) * width,
        horizon=float(rng.uniform(0.42, 0.5)) * height, eye=float(rng.uniform(1.35, 1.7)),
    )  # fmt: skip


def draw_sky(rng: np.random.Generator) -> Sky:
    """Draw the weather, the lamps and the exposures."""
    azimuth, elevation = rng.uniform(0, 2 * pi), rng.uniform(0.35, 1.1)
    sun = (np.cos(elevation) * np.sin(azimuth), np.sin(elevation),
           np.cos(elevation) * np.cos(azimuth))  # fmt: skip
    sodium, led = np.array((1.0, 0.52, 0.16)), np.array((0.86, 0.95, 1.0))
    share = rng.choice((0.0, 0.25, 1.0), p=(0.5, 0.15, 0.35))
    lamp = (1 - share) * sodium + share * led
    haze = 0.6 * lamp / lamp.mean() + 0.4 * np.array((0.5, 0.8, 1.5))
    return Sky(
        tuple(float(v) for v in sun), float(rng.choice((0.25, 0.75, 0.85))),
        day=float(rng.uniform(0.36, 0.5)), night=float(np.exp(rng.uniform(*np.log((0.03, 0.12))))),
        glow=tuple(float(v) for v in haze * np.exp(rng.uniform(*np.log((0.012, 0.05))))),
        lamp=tuple(float(v) for v in lamp * rng.uniform(0.7, 1.4)),
        own_beam=float(rng.choice((0.0, 60.0, 120.0), p=(0.25, 0.4, 0.35))),
        photons=float(np.exp(rng.uniform(*np.log((1500, 8000))))),
        read=float(rng.uniform(0.0004, 0.0014)), seed=int(rng.integers(2**31)),
    )  # fmt: skip


# Kinds and how often each comes.
_TRAFFIC = {"car": 0.38, "truck": 0.09, "bus": 0.09, "train": 0.07, "motorcycle": 0.11,
            "bicycle": 0.11, "none": 0.15}  # fmt: skip
_PARKED = {"car": 0.84, "truck": 0.08, "motorcycle": 0.08}
_CROSSING = {"car": 0.2, "bus": 0.2, "truck": 0.2, "motorcycle": 0.2, "bicycle": 0.2}
_PLOTS = {"building": 0.51, "wall": 0.14, "fence": 0.2, "hedge": 0.06, "park": 0.09}


def _pick(rng: np.random.Generator, shares: dict) -> str:
    """One of the keys, as often as its share of 1 says."""
    left = rng.random()
    for key, share in shares.items():
        left -= share
        if left < 0:
            return key
    return key


def _draw_plots(rng, scene: Scene, side: int) -> None:
    """Buildings, walls, fences and greenery along one side, with a gap at the crossing."""
    index = (side + 1) // 2
    edge = abs(scene.road[index]) + scene.verge[index] + scene.walk[index]
    town = rng.uniform(5, 22)
    z = 2.0
    while z < FAR - 10:
        z1 = z + float(rng.uniform(7, 20)) * (1 + z / 120)
        if scene.crossing and z < scene.crossing + 9 and z1 > scene.crossing:
            if z >= scene.crossing - 3:
                z = scene.crossing + 9
                continue
            z1 = scene.crossing
        kind = _pick(rng, _PLOTS)
        heights = {"building": town * rng.uniform(0.6, 1.4), "wall": rng.uniform(1.4, 3.2),
                   "fence": rng.uniform(1.0, 2.0), "hedge": rng.uniform(1.0, 2.2)}  # fmt: skip
        height = float(heights.get(kind, 0.0))
        setback = float(rng.uniform(0, 1.0)) if kind == "building" else 0.0
        seed = int(rng.integers(2**31))
        scene.plots.append(Plot(side, kind, z, min(z1, FAR), edge + setback, height, seed))
        z = z1


def _draw_traffic(rng, scene: Scene, left, right, parking) -> None:
    lanes = [(0.0, 0.0), *((-LANE * (k + 1), pi) for k in range(round(left / LANE - 0.5)))]
    lanes += [(LANE, 0.0)] * (right > LANE)
    for x, heading in lanes:
        z = float(rng.uniform(7, 24)) if x == 0 else float(rng.uniform(5, 18))
        while z < 75:
            kind = _pick(rng, _TRAFFIC)
            if kind != "none":
                z += length_of(kind) / 2
                _add_vehicle(rng, scene, kind, x + float(rng.normal(0, 0.12)), z, heading, True)
                z += length_of(kind) / 2
            z += float(rng.uniform(3, 14))
    for side, room in zip((-1, 1), parking, strict=True):
        z = float(rng.uniform(4, 14))
        while room and z < 60:
            if rng.random() < 0.7:
                kind = _pick(rng, _PARKED)
                x = scene.road[(side + 1) // 2] - side * 1.15
                z += length_of(kind) / 2
                heading = (0.0 if side > 0 else pi) + float(rng.normal(0, 0.03))
                _add_vehicle(rng, scene, kind, x, z, heading, False)
                z += length_of(kind) / 2
            z += float(rng.uniform(0.8, 6))
    if scene.crossing and rng.random() < 0.5:
        kind = _pick(rng, _CROSSING)
        heading = pi / 2 * (1 if rng.random() < 0.5 else -1) + float(rng.normal(0, 0.08))
        x, z = float(rng.uniform(*scene.road)), scene.crossing + 5.5
        _add_vehicle(rng, scene, kind, x, z, heading, True)


def _add_vehicle(rng, scene: Scene, kind, x, z, heading, driving) -> None:
    """Add a vehicle where it meets no other, with its rider if it is a driven cycle."""
    reach = length_of(kind) / 2
    for other in scene.objects:
        apart = reach + max(1.0, length_of(other.kind)) / 2
        if abs(other.frame.z - z) < apart and abs(other.frame.x - x) < 2.4:
            return
    frame, seed = Frame(x, z, heading), int(rng.integers(2**31))
    scene.objects.append(SceneObject(kind, frame, seed, driving))
    if driving and kind in ("motorcycle", "bicycle"):
        bent = (0.97, float(rng.uniform(0.15, 0.5)))
        saddle, lean = (0.84, 0.2) if kind == "motorcycle" else bent
        seat = frame.at(-0.2, 0.0, 0.0)
        body = draw_rider(rng, seat[0], seat[2] - 0.02, heading, saddle, lean)
        place = Frame(x, z - 0.02, heading)
        scene.objects.append(SceneObject("rider", place, seed, body=body))


def _draw_persons(rng, scene: Scene, crowd: bool) -> None:
    """Persons on the sidewalks and crossing the road; the nearer, the fewer metres apart."""
    nearest, furthest = (5.0, 17.0) if crowd else (5.5, 36.0)
    for _ in range(int(rng.integers(6, 11)) if crowd else int(rng.integers(6, 15))):
        z = float(np.exp(rng.uniform(np.log(nearest), np.log(furthest))))
        if rng.random() < (0.5 if crowd else 0.25):
            low, high = scene.road if not crowd else (-0.42 * z / 1.1, 0.42 * z / 1.1)
            x = float(rng.uniform(low, high))
        else:
            side = int(rng.integers(2))
            x = abs(scene.road[side]) + scene.verge[side] + rng.uniform(0.3, scene.walk[side] - 0.4)
            x = float(x if side else -x)
        heading = float(pi / 2 * rng.integers(4) + rng.normal(0, 0.45))
        gap = 0.8 if crowd else 0.6
        if any(abs(o.frame.x - x) < _room(o, gap) and abs(o.frame.z - z) < _long(o, gap)
               for o in scene.objects):  # fmt: skip
            continue
        body = draw_body(rng, x, z, heading)
        scene.objects.append(SceneObject("person", Frame(x, z, heading), body.seed, body=body))


def _room(other: SceneObject, gap: float) -> float:
    return gap if other.kind in ("person", "rider") else 1.5


def _long(other: SceneObject, gap: float) -> float:
    return length_of(other.kind) / 2 + gap


def _draw_furniture(rng, scene: Scene) -> None:
    """Lamp posts, trees, traffic lights, signs, bins and parked cycles along the kerbs."""
    spacing, height = float(rng.uniform(14, 24)), float(rng.uniform(5.5, 8.5))
    lit_sides = (-1, 1) if rng.random() < 0.6 else (int(rng.choice((-1, 1))),)
    for side in (-1, 1):
        kerb = scene.road[(side + 1) // 2] + side * 0.45
        if side in lit_sides:
            for z in np.arange(float(rng.uniform(7, 18)), 90, spacing):
                numbers = (height, -side * float(rng.uniform(0.8, 2.0)))
                scene.objects.append(
                    SceneObject("lamp", Frame(kerb, float(z), 0), 0, numbers=numbers)
                )
        _draw_row(rng, scene, side, kerb)
    if scene.crossing:
        z = scene.crossing - 0.8
        phase = int(rng.choice((0, 1, 2), p=(0.4, 0.15, 0.45)))
        for side in (-1, 1) if rng.random() < 0.8 else (1,):
            numbers = (float(rng.uniform(2.5, 3.4)), phase, float(rng.uniform(1.0, 1.35)))
            x = scene.road[(side + 1) // 2] + side * 0.6
            scene.objects.append(SceneObject("signal", Frame(x, z, 0), 0, numbers=numbers))


def _draw_row(rng, scene: Scene, side: int, kerb: float) -> None:
    index = (side + 1) // 2
    inner = kerb + side * (scene.verge[index] / 2 if scene.verge[index] else 0.2)
    if rng.random() < 0.55:
        for z in np.arange(float(rng.uniform(9, 20)), 80, float(rng.uniform(8, 16))):
            place = Frame(inner, float(z + rng.normal(0, 0.6)), 0)
            numbers = (float(rng.uniform(4.5, 9)),)
            scene.objects.append(
                SceneObject("tree", place, int(rng.integers(2**31)), numbers=numbers)
            )
    for _ in range(int(rng.integers(1, 4))):
        place = Frame(kerb, float(rng.uniform(7, 32)), 0)
        numbers = (float(rng.uniform(1.9, 2.6)), int(rng.integers(7)), float(rng.uniform(0.3, 0.5)))
        scene.objects.append(SceneObject("sign", place, 0, numbers=numbers))
    if rng.random() < 0.35:
        place = Frame(kerb + side * 0.5, float(rng.uniform(6, 20)), 0)
        scene.objects.append(SceneObject("bin", place, int(rng.integers(2**31))))
    if rng.random() < 0.5:
        start, heading = float(rng.uniform(6, 22)), float(rng.normal(pi / 2, 0.35))
        kind = "bicycle" if rng.random() < 0.65 else "motorcycle"
        for k in range(int(rng.integers(1, 4))):
            _add_vehicle(
                rng, scene, kind, kerb + side * 1.1, start + 1.9 * k, heading, driving=False
            )
