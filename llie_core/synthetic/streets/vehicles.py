"""The vehicles of street scenes: how each is painted, and the lights it carries.

A vehicle has a frame of its own: s along the length (the front is +s), y up, w to the left.
"""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from llie_core.synthetic.streets.canvas import PANEL, Canvas, Halo, Light, Material, Point

# Room that a vehicle takes in metres: length (the longest drawn), half the width, height.
SIZES = {
    "car": (4.8, 0.9, 1.5), "truck": (9.0, 1.2, 3.3), "bus": (12.0, 1.27, 3.1),
    "train": (28.0, 1.25, 3.4), "motorcycle": (2.2, 0.3, 1.1), "bicycle": (1.9, 0.2, 1.05),
}  # fmt: skip
GLASS = Material((52, 62, 74), wrap=0.3)
TYRE = Material((24, 24, 26), wrap=0.5)
HEADLAMP, TAILLAMP = (90.0, 84.0, 72.0), (9.0, 0.4, 0.2)
# Irradiance at one metre, linear RGB.
HEAD_BEAM, TAIL_BEAM = (220.0, 208.0, 184.0), (1.8, 0.08, 0.04)


@dataclass(frozen=True)
class Frame:
    """A vehicle's place, heading (0: away from the camera, towards +z; pi/2: to the right)."""

    x: float
    z: float
    heading: float

    def at(self, s: float, y: float, w: float) -> Point:
        c, d = cos(self.heading), sin(self.heading)
        return self.x + d * s - c * w, y, self.z + c * s + d * w

    def end(self, s, y0, y1, w0, w1) -> list[Point]:
        """A rectangle across the vehicle at s."""
        return [self.at(s, y0, w0), self.at(s, y0, w1), self.at(s, y1, w1), self.at(s, y1, w0)]

    def side(self, w, s0, s1, y0, y1) -> list[Point]:
        """A rectangle along the vehicle at w."""
        return [self.at(s0, y0, w), self.at(s1, y0, w), self.at(s1, y1, w), self.at(s0, y1, w)]

    def seen_side(self, half: float) -> float | None:
        """Which of the sides w = ± half the camera sees, or None."""
        away = self.x * -cos(self.heading) + self.z * sin(self.heading)  # (P − camera) · left
        return -half if away > half else half if away < -half else None

    def seen_end(self, half: float) -> float | None:
        """Which of the ends s = ± half the camera sees, or None."""
        away = self.x * sin(self.heading) + self.z * cos(self.heading)
        return -half if away > half else half if away < -half else None


def prism(canvas: Canvas, frame: Frame, profile, half: float, materials, region: int) -> None:
    """Paint a solid of width 2 · half. profile: [(s, y), …] from the front's foot over the top to
    the rear's foot. materials: of its faces one after the other, then of its sides.
    """
    eye = canvas.camera.eye
    for (s0, y0), (s1, y1), material in zip(profile, profile[1:], materials, strict=False):
        quad = [frame.at(s0, y0, -half), frame.at(s0, y0, half),
                frame.at(s1, y1, half), frame.at(s1, y1, -half)]  # fmt: skip
        # The face's outward normal in (s, y) is (y1 − y0, s0 − s1).
        ahead = (quad[0][0] + quad[1][0]) / 2, (quad[0][2] + quad[1][2]) / 2
        along = ahead[0] * sin(frame.heading) + ahead[1] * cos(frame.heading)
        if (y1 - y0) * along + (s0 - s1) * (y0 - eye) < 0:
            canvas.face(quad, material, region)
    side = frame.seen_side(half)
    if side is not None:
        canvas.face([frame.at(s, y, side) for s, y in profile], materials[-1], region)


def shadow(canvas: Canvas, frame: Frame, length: float, width: float, material: Material) -> None:
    """The dark ground below something; the ground keeps its label."""
    rim = [(length / 2 * _square(cos(t)), width / 2 * _square(sin(t))) for t in _TURN]
    canvas.face([frame.at(s, 0.01, w) for s, w in rim], material)


def _square(value: float) -> float:
    """Swell a circle towards its square."""
    return max(-1.0, min(1.0, 1.25 * value))


def wheels(canvas, frame: Frame, places, radius: float, w: float, region: int) -> None:
    """Wheels at the places s along the side w."""
    for s in places:
        rim = [frame.at(s + radius * cos(t), radius + radius * sin(t), w) for t in _TURN]
        canvas.face(rim, TYRE, region)
        hub = [frame.at(s + 0.5 * radius * cos(t), radius * (1 + 0.5 * sin(t)), w) for t in _TURN]
        canvas.face(hub, Material((140, 140, 145), wrap=0.5), region)


_TURN = [2 * pi * k / 12 for k in range(12)]


def lamps(canvas, frame: Frame, s: float, y: float, half: float, driving: bool, region) -> None:
    """Head lamps at s > 0, tail lamps at s < 0; they shine if the vehicle drives."""
    front = s > 0
    tone = (228, 228, 220) if front else (150, 22, 20)
    emits = (HEADLAMP if front else TAILLAMP) if driving else (0.0, 0.0, 0.0)
    material = Material(tone, wrap=0.3, emits=emits)
    for w in (-0.72 * half, 0.72 * half):
        step = 0.012 if front else -0.012
        canvas.face(frame.end(s + step, y - 0.09, y + 0.09, w - 0.17, w + 0.17), material, region)
    if driving:
        aim = _ahead(frame, front)
        colour, halo = (HEAD_BEAM, 0.3) if front else (TAIL_BEAM, 0.16)
        for w in (-0.72 * half, 0.72 * half):
            place = frame.at(s + 2 * step, y, w)
            canvas.halos.append(Halo(place, colour, halo))
        canvas.lights.append(Light(frame.at(s + 2 * step, y, 0.0), colour, aim))


def _ahead(frame: Frame, front: bool) -> Point:
    """The direction of the head lamps, or of the tail lamps."""
    sign = 1.0 if front else -1.0
    return sign * sin(frame.heading), -0.06, sign * cos(frame.heading)


def paint_car(canvas: Canvas, frame: Frame, seed: int, driving: bool, region: int) -> None:
    """A car, between a saloon and a van."""
    rng = np.random.default_rng(seed)
    paint = _PAINTS[rng.integers(len(_PAINTS))]
    paint = tuple(int(np.clip(v + rng.normal(0, 8), 12, 245)) for v in paint)
    body = Material(paint, wrap=0.25, phase=int(rng.integers(1 << 16)))
    length, half, tall = rng.uniform(3.7, 4.8), rng.uniform(0.83, 0.95), rng.uniform(1.4, 1.75)
    boxy = rng.random()  # 0: a saloon, 1: a van
    s, belt = length / 2, 0.6 * tall
    hood, screen = s - (0.26 - 0.2 * boxy) * length, s - (0.42 - 0.24 * boxy) * length
    rear = -s + (0.16 if boxy < 0.4 else 0.03) * length
    profile = [(s, 0.28), (s, 0.72), (hood, belt), (screen, tall), (rear - 0.06 * boxy, tall),
               (-s + 0.02, belt + 0.02), (-s, 0.75), (-s, 0.3)]  # fmt: skip
    shadow(canvas, frame, length + 0.2, 2 * half + 0.25, Material((20, 20, 22)))
    prism(canvas, frame, profile, half, (body, body, GLASS, body, GLASS, body, body, body), region)
    side = frame.seen_side(half)
    if side is not None:
        low, top = belt + 0.03, tall - 0.1
        for s0, s1, slant in ((screen + 0.02, (screen + rear) / 2 + 0.05, 0.35),
                              ((screen + rear) / 2 - 0.05, rear + 0.12, -0.2)):  # fmt: skip
            window = [(s0 + slant, low), (s1 - max(-slant, 0), low), (s1, top), (s0, top)]
            canvas.face([frame.at(a, b, side) for a, b in window], GLASS, region)
        wheels(canvas, frame, (0.31 * length, -0.31 * length), 0.31, side * 1.01, region)
    end = frame.seen_end(s)
    if end is not None:
        low, high = (0.3, 0.45)
        canvas.face(frame.end(end * 1.004, low, high, -half, half), Material((44, 44, 48)), region)
        canvas.face(
            frame.end(end * 1.006, 0.46, 0.58, -0.26, 0.26), Material((225, 222, 205)), region
        )
        lamps(canvas, frame, end, 0.68 if end > 0 else 0.82, half, driving, region)


_PAINTS = (
    (205, 208, 212), (232, 232, 230), (30, 31, 34), (86, 90, 96), (150, 154, 160), (126, 26, 28),
    (30, 52, 104), (52, 74, 60), (160, 140, 110), (196, 170, 40), (60, 110, 160),
)  # fmt: skip


def paint_truck(canvas: Canvas, frame: Frame, seed: int, driving: bool, region: int) -> None:
    """A truck: a cab with a ribbed box behind it."""
    rng = np.random.default_rng(seed)
    length, half, tall = rng.uniform(6.5, 9.0), rng.uniform(1.1, 1.25), rng.uniform(2.9, 3.7)
    cab = Material(tuple(int(v) for v in rng.integers(40, 235, 3)), wrap=0.2)
    tone = 225 if rng.random() < 0.5 else int(rng.integers(60, 200))
    cargo = tuple(int(np.clip(tone + v, 20, 245)) for v in rng.normal(0, 22, 3))
    box = Material(cargo, PANEL, (0.45, 5.0), int(rng.integers(1 << 16)))
    s, split = length / 2, length / 2 - 1.9
    shadow(canvas, frame, length, 2 * half + 0.3, Material((20, 20, 22)))

    def load():
        base = [(split - 0.15, 0.95), (split - 0.15, tall), (-s, tall), (-s, 0.95)]
        prism(canvas, frame, base, half, (box, box, box, box), region)
        chassis = [(split, 0.45), (split, 0.95), (-s, 0.95), (-s, 0.45)]
        dark = Material((36, 36, 38))
        prism(canvas, frame, chassis, 0.8 * half, (dark,) * 4, region)

    def front():
        nose = [(s, 0.4), (s, 1.45), (s - 0.25, 2.35), (split, 2.5), (split, 0.4)]
        prism(canvas, frame, nose, 0.96 * half, (cab, GLASS, cab, cab, cab), region)
        if (side := frame.seen_side(half)) is not None:
            canvas.face(frame.side(side, split + 0.55, s - 0.3, 1.45, 2.15), GLASS, region)

    facing = frame.seen_end(s)
    for part in (load, front) if facing and facing > 0 else (front, load):
        part()
    if (side := frame.seen_side(half)) is not None:
        wheels(canvas, frame, (s - 1.1, -s + 1.2, -s + 2.3), 0.48, side * 1.01, region)
    if facing is not None:
        lamps(canvas, frame, facing, 0.72, half, driving, region)


def paint_bus(canvas: Canvas, frame: Frame, seed: int, driving: bool, region: int) -> None:
    """A bus: one long box with tall windows, a dark skirt and a lit destination board."""
    rng = np.random.default_rng(seed)
    length, half, tall = rng.uniform(9.5, 12), 1.27, rng.uniform(2.95, 3.2)
    colours = ((200, 48, 36), (224, 186, 40), (60, 120, 70), (222, 222, 216), (50, 84, 150))
    livery = Material(colours[rng.integers(len(colours))], wrap=0.2)
    shadow(canvas, frame, length, 2 * half + 0.3, Material((20, 20, 22)))
    _coach(canvas, frame, length, half, tall, (0.35, 1.15, tall - 0.45), livery, driving, region,
           pane=1.5)  # fmt: skip
    if (side := frame.seen_side(half)) is not None:
        wheels(canvas, frame, (length / 2 - 2.4, -length / 2 + 2.6), 0.5, side * 1.005, region)
    end = frame.seen_end(length / 2)
    if end is not None:
        board = Material((40, 34, 20), emits=(3.0, 1.7, 0.3) if driving else (0.0, 0.0, 0.0))
        s = end * 1.004
        canvas.face(frame.end(s, tall - 0.36, tall - 0.1, -0.8, 0.8), board, region)
        lamps(canvas, frame, end, 0.7, half, driving, region)


def paint_train(canvas: Canvas, frame: Frame, seed: int, driving: bool, region: int) -> None:
    """A tram: low skirt, a band of windows, a stripe, doors and a pantograph."""
    rng = np.random.default_rng(seed)
    length, half, tall = rng.uniform(18, 28), 1.25, rng.uniform(3.2, 3.5)
    colours = ((222, 216, 196), (232, 232, 232), (204, 176, 60), (80, 132, 110))
    livery = Material(colours[rng.integers(len(colours))], PANEL, (3.2, 9.0), wrap=0.2)
    stripe = Material(tuple(int(v) for v in rng.integers(20, 190, 3)))
    _coach(canvas, frame, length, half, tall, (0.2, 1.05, tall - 0.75), livery, driving, region,
           pane=2.6)  # fmt: skip
    if (side := frame.seen_side(half)) is not None:
        canvas.face(frame.side(side * 1.004, -length / 2, length / 2, 0.7, 0.95), stripe, region)
        door = Material((70, 74, 80))
        for s in np.arange(-length / 2 + 3, length / 2 - 1, 5.5):
            canvas.face(frame.side(side * 1.008, s, s + 1.3, 0.35, tall - 0.7), door, region)
    top = [frame.at(s, y, 0) for s, y in ((-1.2, tall), (0.2, tall + 0.9), (1.2, tall + 1.3))]
    canvas.stroke(top, 0.08, canvas.facing(Material((40, 40, 42)), frame.z), region)
    end = frame.seen_end(length / 2)
    if end is not None:
        canvas.face(frame.end(end * 1.002, 0.55, 0.85, -half, half), stripe, region)
        lamps(canvas, frame, end, 0.8, half, driving, region)


def _coach(canvas, frame, length, half, tall, levels, livery, driving, region, pane) -> None:
    """A long box whose windows run from levels[1] to levels[2] and are lit when it drives."""
    foot, sill, lintel = levels
    s = length / 2
    profile = [(s, foot), (s, sill), (s - 0.12, tall - 0.1), (s - 0.3, tall), (-s + 0.3, tall),
               (-s + 0.12, tall - 0.1), (-s, sill), (-s, foot)]  # fmt: skip
    prism(canvas, frame, profile, half, (livery,) * 8, region)
    lit = (1.1, 1.0, 0.75) if driving else (0.0, 0.0, 0.0)
    glass = GLASS._replace(emits=lit)
    if (side := frame.seen_side(half)) is not None:
        for left in np.arange(-s + 0.5, s - pane, pane):
            panel = frame.side(side * 1.002, left, left + 0.88 * pane, sill, lintel)
            canvas.face(panel, glass, region)
    end = frame.seen_end(s)
    if end is not None:
        window = frame.end(end, sill + 0.05, lintel + 0.05, -0.88 * half, 0.88 * half)
        canvas.face(window, GLASS._replace(emits=tuple(0.3 * v for v in lit)), region)


def paint_cycle(canvas: Canvas, frame: Frame, seed: int, motor: bool, lit: bool, region) -> None:
    """A bicycle or a motorcycle; one sees through the bicycle's wheels."""
    rng = np.random.default_rng(seed)
    tone = Material(tuple(int(v) for v in rng.integers(20, 220, 3)), wrap=0.6)
    paint = canvas.facing(tone, frame.z)
    black = canvas.facing(Material((26, 26, 28), wrap=0.6), frame.z)
    radius, base = (0.31, 0.7) if motor else (0.34, 0.53)
    for s in (-base, base):
        rim = [frame.at(s + radius * cos(t), radius + radius * sin(t), 0) for t in (*_TURN, 0.0)]
        canvas.stroke(rim, 0.12 if motor else 0.05, black, region)
        canvas.fill([canvas.camera.project(*p) for p in rim], black if motor else None, region)
        if not motor:
            for t in (0.3, 1.35, 2.4):
                a, b = radius * cos(t), radius * sin(t)
                ends = [frame.at(s - a, radius - b, 0), frame.at(s + a, radius + b, 0)]
                canvas.stroke(ends, 0.01, canvas.facing(Material((120, 120, 124)), frame.z), None)
    (_motor_parts if motor else _bicycle_parts)(canvas, frame, base, radius, paint, black, region)
    if lit:
        place = frame.at(base, 0.85, 0)
        beam = tuple((0.5 if motor else 0.05) * v for v in HEAD_BEAM)
        canvas.lights.append(Light(place, beam, _ahead(frame, True)))
        if cos(frame.heading) < 0.3:
            canvas.halos.append(Halo(place, beam, 0.2))
        if cos(frame.heading) > -0.3:
            canvas.halos.append(Halo(frame.at(-base - 0.1, 0.6, 0), TAIL_BEAM, 0.12))


def _bicycle_parts(canvas, frame, base, radius, paint, black, region) -> None:
    hub, crank, seat, head = (-base, radius), (-0.08, 0.3), (-0.22, 0.88), (0.36, 0.86)
    for a, b in ((hub, crank), (crank, seat), (seat, head), (crank, head), (hub, seat),
                 (head, (base, radius)), (head, (0.34, 1.02))):  # fmt: skip
        canvas.stroke([frame.at(*a, 0), frame.at(*b, 0)], 0.05, paint, region)
    canvas.stroke([frame.at(-0.36, 0.93, 0), frame.at(-0.1, 0.93, 0)], 0.08, black, region)
    canvas.stroke([frame.at(0.36, 1.03, -0.26), frame.at(0.36, 1.03, 0.26)], 0.05, black, region)
    # A box or panniers over the hind wheel, so that it is no mere line when seen from behind.
    canvas.stroke([frame.at(-0.5, 0.5, 0), frame.at(-0.5, 0.72, 0)], 0.16, black, region)


def _motor_parts(canvas, frame, base, radius, paint, black, region) -> None:
    canvas.stroke([frame.at(-0.35, 0.5, 0), frame.at(0.3, 0.5, 0)], 0.42, black, region)
    canvas.stroke([frame.at(0.0, 0.8, 0), frame.at(0.38, 0.86, 0)], 0.34, paint, region)
    canvas.stroke([frame.at(-0.75, 0.82, 0), frame.at(0.0, 0.8, 0)], 0.2, black, region)
    canvas.stroke([frame.at(base, radius, 0), frame.at(0.48, 0.98, 0)], 0.14, paint, region)
    canvas.stroke([frame.at(0.46, 1.02, -0.36), frame.at(0.46, 1.02, 0.36)], 0.07, black, region)
    canvas.stroke([frame.at(-0.8, 0.6, 0), frame.at(-0.75, 0.85, 0)], 0.24, paint, region)
