"""Persons of street scenes: their joints in metres, and how they are painted.

A body stands at its feet's place on the ground and faces `heading`, measured from straight ahead
(0: seen from behind) towards the right; its left is its own left.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from llie_core.synthetic.streets.canvas import Camera, Canvas, Material, Point

# The order of ExLPose's 14 joints.
STREET_JOINTS = (
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
)  # fmt: skip
_L_SHOULDER, _R_SHOULDER, _L_HIP, _R_HIP, _HEAD, _NECK = 0, 1, 6, 7, 12, 13
# Lengths and radii as shares of the body's height.
UPPER_ARM, FOREARM, THIGH, SHANK = 0.175, 0.155, 0.245, 0.245
HEAD_RADIUS = 0.062
_REACH = (0.05,) * 4 + (0.035,) * 2 + (0.07,) * 2 + (0.05,) * 2 + (0.055,) * 2 + (0.05, 0.06)


@dataclass(frozen=True)
class Body:
    """One person. Angles in radians; `legs` and `arms` hold those of the left, then the right.

    legs: (swing of the thigh to the front, bend of the knee). arms: (swing to the front, bend of
    the elbow, spread to the side). riding: height of the saddle in metres, or 0 on foot.
    girth: thickness of the limbs against the usual. seed: of the clothes.
    """

    x: float
    z: float
    heading: float
    height: float
    legs: tuple[tuple[float, float], tuple[float, float]]
    arms: tuple[tuple[float, float, float], tuple[float, float, float]]
    lean: float = 0.0
    riding: float = 0.0
    girth: float = 1.0
    seed: int = 0

    def joints(self) -> np.ndarray:
        """The 14 joints (14, 3): x, y, z in metres."""
        front = np.array([sin(self.heading), 0.0, cos(self.heading)])
        left = np.array([-cos(self.heading), 0.0, sin(self.heading)])
        up = np.array([0.0, 1.0, 0.0])
        joints = np.zeros((14, 3))
        spine = up * cos(self.lean) + front * sin(self.lean)
        neck = 0.31 * spine  # from the middle of the hips
        joints[_NECK], joints[_HEAD] = neck, neck + 0.13 * spine
        for side, sign in enumerate((1.0, -1.0)):
            shoulder = neck - 0.035 * spine + sign * 0.105 * left
            joints[side] = shoulder
            joints[2 + side], joints[4 + side] = self._arm(side, shoulder, front, sign * left, up)
            hip = sign * 0.055 * left
            joints[6 + side] = hip
            joints[8 + side], joints[10 + side] = self._leg(side, hip, front, up)
        if self.riding:
            joints = joints * self.height + up * self.riding
        else:
            joints = (joints - up * (joints[10:12, 1].min() - 0.045)) * self.height
        return joints + np.array([self.x, 0.0, self.z])

    def _arm(self, side, shoulder, front, outwards, up):
        swing, bend, spread = self.arms[side]
        down = -up * cos(spread) + outwards * sin(spread)
        elbow = shoulder + UPPER_ARM * (front * sin(swing) + down * cos(swing))
        wrist = elbow + FOREARM * (front * sin(swing + bend) + down * cos(swing + bend))
        return elbow, wrist

    def _leg(self, side, hip, front, up):
        swing, bend = self.legs[side]
        knee = hip + THIGH * (front * sin(swing) - up * cos(swing))
        return knee, knee + SHANK * (front * sin(swing - bend) - up * cos(swing - bend))

    def seen(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """The joints in pixels (14, 2), and the box (4,) xyxy that holds the whole body."""
        joints = self.joints()
        places = np.array([camera.project(*joint) for joint in joints.tolist()])
        margin = np.array(_REACH) * max(1.0, self.girth) * self.height * camera.focal / self.z
        low = (places - margin[:, None]).min(0)
        return places, np.concatenate([low, (places + margin[:, None]).max(0)])


def draw_body(rng: np.random.Generator, x: float, z: float, heading: float) -> Body:
    """A person on foot: walking, standing or with a raised arm."""
    stride = float(rng.uniform(0.25, 0.6)) if rng.random() < 0.75 else float(rng.uniform(0, 0.1))
    phase = float(rng.choice([-1, 1]) * rng.uniform(0.5, 1))
    swing = stride * phase
    legs = tuple((s * swing, _bend(rng, s * swing, stride)) for s in (1, -1))
    arms = tuple(_arm_pose(rng, -s * 0.9 * swing, 0.12 if stride > 0.1 else 0.2) for s in (1, -1))
    return Body(
        x, z, heading, float(np.clip(rng.normal(1.72, 0.1), 1.2, 1.95)), legs, arms,
        lean=float(rng.uniform(-0.02, 0.1)), girth=float(rng.uniform(0.85, 1.35)),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip


def _bend(rng, swing: float, stride: float) -> float:
    """The leg behind bends its knee more than the leg in front."""
    return float(abs(rng.normal(0, 0.08)) + (0.9 if swing < 0 else 0.2) * stride * rng.random())


def _arm_pose(rng, swing: float, spread: float) -> tuple[float, float, float]:
    kind = rng.random()
    spread = float(rng.uniform(0.05, 0.12 + spread))
    if kind < 0.62:
        return swing, float(rng.uniform(0.05, 0.5)), spread
    if kind < 0.82:  # something held before the chest
        return float(rng.uniform(0.0, 0.5)), float(rng.uniform(1.2, 2.2)), spread
    if kind < 0.92:  # raised to the side
        return (
            float(rng.uniform(-0.2, 0.4)),
            float(rng.uniform(0, 0.6)),
            float(rng.uniform(0.9, 2.6)),
        )
    return float(rng.uniform(1.2, 2.7)), float(rng.uniform(0, 0.5)), spread  # pointing ahead


def draw_rider(rng, x: float, z: float, heading: float, saddle: float, lean: float) -> Body:
    """A rider with the feet on pedals or rests and the hands on the bars."""
    push = float(rng.uniform(-1, 1))
    legs = tuple(
        (1.05 + 0.35 * s * push, 1.25 + 0.35 * s * push + float(rng.normal(0, 0.05)))
        for s in (1, -1)
    )
    arms = tuple((lean + 0.75, 0.35 + float(rng.normal(0, 0.06)), 0.2) for _ in range(2))
    return Body(
        x, z, heading, float(np.clip(rng.normal(1.72, 0.08), 1.5, 1.9)), legs, arms, lean,
        riding=saddle, girth=float(rng.uniform(0.9, 1.25)), seed=int(rng.integers(2**31)),
    )  # fmt: skip


_SKIN = ((236, 196, 168), (222, 172, 136), (180, 128, 92), (130, 88, 62), (92, 62, 46))
_HAIR = ((28, 24, 22), (62, 44, 30), (110, 78, 44), (170, 140, 90), (150, 150, 150), (90, 34, 24))
_TROUSERS = ((34, 38, 52), (52, 66, 100), (90, 84, 74), (28, 28, 30), (140, 128, 104), (96, 60, 44))


@dataclass(frozen=True)
class Clothes:
    """Surface numbers by part of the body, and what is worn."""

    shirt: int
    sleeves: int
    trousers: int
    skin: int
    hair: int
    shoes: int
    bag: int
    coat: bool
    backpack: bool


def _dress(canvas: Canvas, body: Body, helmet: bool) -> Clothes:
    rng = np.random.default_rng(body.seed)
    bright = rng.integers(20, 245, 3) if rng.random() < 0.7 else np.full(3, rng.integers(30, 235))
    shirt = tuple(int(v) for v in bright)
    skin = _SKIN[rng.integers(len(_SKIN))]
    cap = tuple(int(v) for v in rng.integers(30, 240, 3))
    colours = {
        "shirt": shirt,
        "sleeves": skin if rng.random() < 0.25 else tuple(int(0.88 * v) for v in shirt),
        "trousers": _TROUSERS[rng.integers(len(_TROUSERS))],
        "skin": skin,
        "hair": cap if helmet or rng.random() < 0.15 else _HAIR[rng.integers(len(_HAIR))],
        "shoes": (30, 28, 28) if rng.random() < 0.6 else (215, 212, 205),
        "bag": tuple(int(v) for v in rng.integers(20, 170, 3)),
    }
    phase = int(rng.integers(1 << 16))
    rows = {
        part: canvas.facing(Material(colour, phase=phase, wrap=0.8), body.z)
        for part, colour in colours.items()
    }
    coat, backpack = bool(rng.random() < 0.3), bool(rng.random() < 0.25)
    return Clothes(**rows, coat=coat, backpack=backpack)


def paint_body(canvas: Canvas, body: Body, region: int, helmet: bool = False) -> None:
    """Paint a person, the far side of the body first."""
    joints = body.joints()
    points: list[Point] = [tuple(joint) for joint in joints.tolist()]
    wear = _dress(canvas, body, helmet)
    thick = 0.5 * (1 + body.girth) * body.height
    left_far = joints[_L_SHOULDER, 2] > joints[_R_SHOULDER, 2]
    far, near = (0, 1) if left_far else (1, 0)
    _paint_arm(canvas, points, far, thick, wear, region)
    for side in (far, near):
        _paint_leg(canvas, points, side, thick, wear, region)
    away = cos(body.heading) > 0.2
    if not away and wear.backpack:
        _paint_bag(canvas, body, points, wear, region)
    _paint_torso(canvas, points, thick * body.girth, wear, region)
    if away and wear.backpack:
        _paint_bag(canvas, body, points, wear, region)
    _paint_head(canvas, body, points, wear, region)
    _paint_arm(canvas, points, near, thick, wear, region)


def _paint_arm(canvas, points, side, thick, wear, region):
    shoulder, elbow, wrist = (points[k + side] for k in (0, 2, 4))
    canvas.limb(shoulder, elbow, (0.032 * thick, 0.026 * thick), wear.sleeves, region)
    canvas.limb(elbow, wrist, (0.025 * thick, 0.019 * thick), wear.sleeves, region)
    hand = tuple(w + 0.2 * (w - e) for w, e in zip(wrist, elbow, strict=True))
    canvas.limb(wrist, hand, (0.02 * thick, 0.021 * thick), wear.skin, region)


def _paint_leg(canvas, points, side, thick, wear, region):
    hip, knee, ankle = (points[k + side] for k in (6, 8, 10))
    canvas.limb(hip, knee, (0.056 * thick, 0.04 * thick), wear.trousers, region)
    canvas.limb(knee, ankle, (0.038 * thick, 0.027 * thick), wear.trousers, region)
    toe = _beyond(points, ankle, 0.05 * thick)
    canvas.limb(ankle, toe, (0.027 * thick, 0.02 * thick), wear.shoes, region)


def _beyond(points, ankle, reach):
    """A point `reach` in front of an ankle and a little lower."""
    (lx, _, lz), (rx, _, rz) = points[_L_HIP], points[_R_HIP]
    apart = ((rx - lx) ** 2 + (rz - lz) ** 2) ** 0.5 or 1.0
    # The front is a quarter turn from the line from the right hip to the left.
    return (
        ankle[0] + reach * (lz - rz) / apart,
        ankle[1] - 0.5 * reach,
        ankle[2] - reach * (lx - rx) / apart,
    )


def _paint_torso(canvas, points, thick, wear, region):
    middle = _between(points[_L_HIP], points[_R_HIP], 0.5)
    hem = 0.16 if wear.coat else 0.0
    for side in (0, 1):
        shoulder, hip = points[side], points[6 + side]
        low = _between(shoulder, hip, 1.0 + hem * 2.2)
        canvas.limb(shoulder, low, (0.042 * thick, 0.052 * thick), wear.shirt, region)
    canvas.limb(
        _between(points[_NECK], middle, 0.16), middle, (0.075 * thick, 0.07 * thick), wear.shirt,
        region,
    )  # fmt: skip


def _paint_bag(canvas, body, points, wear, region):
    high, low = (_between(points[_NECK], points[_L_HIP], t) for t in (0.2, 0.75))
    back = (-0.08 * sin(body.heading) * body.height, 0.0, -0.08 * cos(body.heading) * body.height)
    ends = [tuple(v + b for v, b in zip(point, back, strict=True)) for point in (high, low)]
    canvas.limb(*ends, (0.07 * body.height, 0.085 * body.height), wear.bag, region)


def _paint_head(canvas, body, points, wear, region):
    neck, head = points[_NECK], points[_HEAD]
    radius = HEAD_RADIUS * body.height
    canvas.limb(neck, _between(neck, head, 0.5), (0.032 * body.height,) * 2, wear.skin, region)
    # The joint "head" is the crown; the skull's middle lies a radius below it.
    centre = _between(head, neck, HEAD_RADIUS / 0.13)
    chin = _between(head, neck, 0.78)
    turned = sin(body.heading) * 0.35 * radius
    canvas.limb(chin, centre, (0.75 * radius, radius), wear.hair, region)
    if cos(body.heading) < 0.45:  # the face is seen
        low = (chin[0] + turned, chin[1], chin[2])
        high = (centre[0] + turned, centre[1] - 0.2 * radius, centre[2])
        canvas.limb(low, high, (0.68 * radius, 0.78 * radius), wear.skin, region)


def _between(a: Point, b: Point, t: float) -> Point:
    return tuple(p + t * (q - p) for p, q in zip(a, b, strict=True))
