"""Trees, lamp posts, traffic lights, signs and bins of street scenes: how each is painted."""

from math import cos, pi, sin

import numpy as np

from llie_core.synthetic.streets.canvas import FOLIAGE, Canvas, Halo, Light, Material

POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, VOID = 5, 6, 7, 8, 255
LAMP_POWER = 220.0  # irradiance at one metre of a lamp of colour 1
_TURN = [2 * pi * k / 12 for k in range(12)]


def paint_tree(canvas: Canvas, x: float, z: float, height: float, seed: int) -> None:
    """A trunk and a crown of overlapping clumps, all vegetation."""
    rng = np.random.default_rng(seed)
    bark = canvas.facing(Material((88, 70, 54), FOLIAGE, (0.2, 0.2), 1, wrap=0.7), z)
    trunk = 0.42 * height
    canvas.limb((x, 0, z), (x, trunk, z), (0.035 * height, 0.02 * height), bark, VEGETATION)
    green = np.array(_GREENS[rng.integers(len(_GREENS))])
    count = 7 if z < 45 else 4
    spread = rng.uniform(0.22, 0.34) * height
    turns, reach = rng.uniform(0, 2 * pi, count), rng.uniform(0.2, 0.75, count) * spread
    shades = 0.8 + 0.4 * np.arange(count) / count + rng.uniform(-0.05, 0.05, count)
    colours = np.clip(shades[:, None] * green, 0, 255).astype(int).tolist()
    phases = rng.integers(1 << 16, size=count).tolist()
    rows = [
        canvas.facing(Material(tuple(colour), FOLIAGE, (0.5, 0.5), phase, 1.0), z)
        for colour, phase in zip(colours, phases, strict=True)
    ]
    middles = np.stack([x + reach * np.cos(turns), 0.66 * height + 0.9 * reach * np.sin(turns)], 1)
    paint_clumps(canvas, rng, middles, rng.uniform(0.45, 0.75, count) * spread, z, rows)


_GREENS = ((70, 104, 48), (92, 116, 52), (52, 88, 50), (120, 116, 50), (136, 106, 52))
_LEAVES = 18
_ROUND = np.linspace(0, 2 * pi, _LEAVES, endpoint=False)
_OUTLINE = np.stack([np.cos(_ROUND), 0.9 * np.sin(_ROUND)], 1)


def paint_clumps(canvas, rng, middles: np.ndarray, radii: np.ndarray, z: float, rows) -> None:
    """Ragged discs of leaves about `middles` (N, 2) at the distance z, radii (N,) in metres."""
    ragged = radii[:, None, None] * rng.uniform(0.75, 1.12, (len(radii), _LEAVES, 1))
    x, y = np.moveaxis(middles[:, None] + ragged * _OUTLINE, -1, 0)
    outlines = np.stack(canvas.camera.project(x, y, z), -1).tolist()
    for outline, row in zip(outlines, rows, strict=True):
        canvas.fill(outline, row, VEGETATION)


def paint_lamp_post(canvas, x: float, z: float, height: float, colour, reach: float) -> None:
    """A street lamp whose arm reaches over the road; at night it lights what is below."""
    steel = canvas.facing(Material((92, 96, 98), wrap=0.8), z)
    canvas.limb((x, 0, z), (x, height, z), (0.1, 0.06), steel, POLE)
    head = (x + reach, height + 0.25, z)
    canvas.stroke([(x, height, z), head], 0.09, steel, POLE)
    lens = canvas.facing(Material((200, 200, 190), emits=tuple(60 * c for c in colour)), z)
    half = 0.35 if reach > 0 else -0.35
    canvas.stroke([head, (head[0] + half, head[1], z)], 0.16, lens, POLE)
    place = (head[0] + half / 2, head[1] - 0.1, z)
    canvas.lights.append(Light(place, tuple(LAMP_POWER * c for c in colour)))
    canvas.halos.append(Halo(place, colour, 0.5))


_SIGNALS = ((3.5, 0.1, 0.05), (3.2, 1.4, 0.1), (0.1, 2.8, 1.6))
_OFF = ((92, 26, 22), (98, 74, 22), (22, 72, 50))


def paint_signal(canvas, x: float, z: float, height: float, phase: int, size: float) -> None:
    """A traffic light on a pole; `phase` 0 red, 1 amber, 2 green."""
    steel = canvas.facing(Material((74, 78, 80), wrap=0.8), z)
    canvas.limb((x, 0, z), (x, height, z), (0.09, 0.07), steel, POLE)
    half, tall = 0.21 * size, 1.05 * size
    low = height - 0.2 * size
    box = [(x - half, low, z), (x + half, low, z), (x + half, low + tall, z),
           (x - half, low + tall, z)]  # fmt: skip
    canvas.face(box, Material((26, 28, 28), wrap=0.4), TRAFFIC_LIGHT)
    for k in range(3):
        y = low + tall * (5 - 2 * k) / 6
        on = k == phase
        colour = tuple(min(255, 2 * v + 40) if on else v for v in _OFF[k])
        material = Material(colour, emits=_SIGNALS[k] if on else (0.0, 0.0, 0.0))
        lens = [(x + 0.72 * half * cos(t), y + 0.72 * half * sin(t), z) for t in _TURN]
        canvas.face(lens, material)
        if on:
            canvas.halos.append(Halo((x, y, z - 0.1), _SIGNALS[k], 0.22))


# Shape (corners and turn; 0 corners: a disc), rim and middle of the plates.
_PLATES = (
    (0, 0.0, (196, 28, 32), (238, 238, 236)),
    (3, pi / 2, (196, 28, 32), (238, 238, 236)),
    (0, 0.0, (30, 74, 160), (60, 110, 190)),
    (4, 0.0, (238, 238, 236), (236, 190, 40)),
    (8, pi / 8, (238, 238, 236), (190, 26, 30)),
    (4, pi / 4, (238, 238, 236), (28, 80, 164)),
    (3, -pi / 2, (196, 28, 32), (238, 238, 236)),
)


def paint_sign(canvas: Canvas, x: float, z: float, height: float, kind: int, size: float) -> None:
    """A traffic sign on a pole."""
    steel = canvas.facing(Material((150, 152, 154), wrap=0.8), z)
    canvas.limb((x, 0, z), (x, height + 0.3, z), (0.045, 0.045), steel, POLE)
    corners, turn, rim, middle = _PLATES[kind % len(_PLATES)]
    count = corners or 16
    for share, colour in ((1.0, rim), (0.72, middle)):
        plate = [
            (x + share * size * cos(turn + 2 * pi * k / count),
             height + share * size * sin(turn + 2 * pi * k / count), z - 0.02)
            for k in range(count)
        ]  # fmt: skip
        canvas.face(plate, Material(colour, wrap=0.1), TRAFFIC_SIGN)
    if kind >= 2:
        bar = [(x - 0.4 * size, height - 0.1 * size, z - 0.03)]
        bar += [(x + 0.4 * size, height - 0.1 * size, z - 0.03)]
        bar += [(x + 0.4 * size, height + 0.1 * size, z - 0.03)]
        bar += [(x - 0.4 * size, height + 0.1 * size, z - 0.03)]
        canvas.face(bar, Material((240, 240, 240) if kind != 3 else (30, 30, 30)))


def paint_bin(canvas: Canvas, x: float, z: float, seed: int) -> None:
    """A litter bin: none of the 19 classes, so void."""
    rng = np.random.default_rng(seed)
    material = Material(tuple(int(v) for v in rng.integers(30, 150, 3)), wrap=0.6)
    row = canvas.facing(material, z)
    canvas.limb((x, 0.12, z), (x, 0.85, z), (0.24, 0.28), row, VOID)
