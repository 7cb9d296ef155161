"""How a laid-out street is painted: ground, skyline, plots and objects, far to near."""

import numpy as np

from llie_core.synthetic.streets import roadside, vehicles
from llie_core.synthetic.streets.bodies import paint_body
from llie_core.synthetic.streets.canvas import (
    ASPHALT,
    BRICK,
    FACADE,
    FOLIAGE,
    GRASS,
    INSTANCE,
    PAVING,
    Canvas,
    Material,
)
from llie_core.synthetic.streets.scene import (
    BUILDING,
    FAR,
    FENCE,
    LANE,
    PERSON,
    RIDER,
    ROAD,
    SIDEWALK,
    TERRAIN,
    VEGETATION,
    VEHICLES,
    WALL,
    Plot,
    Scene,
    SceneObject,
)  # fmt: skip


def paint_scene(scene: Scene) -> Canvas:
    """Paint everything; region numbers are INSTANCE · (index among objects + 1) + class."""
    canvas = Canvas(scene.camera)
    _paint_ground(canvas, scene)
    _paint_skyline(canvas, scene)
    for plot in sorted(scene.plots, key=lambda plot: -plot.z0):
        _paint_plot(canvas, plot)
    for number, obj in enumerate(scene.objects, 1):
        _paint_object(canvas, scene, obj, INSTANCE * number)
    if scene.marks % 5 == 0:  # the own car's bonnet, void
        low, wide = scene.camera.height, scene.camera.width
        arch = [(-1.0, low), (0.1 * wide, 0.955 * low), (0.5 * wide, 0.925 * low),
                (0.9 * wide, 0.955 * low), (wide + 1.0, low)]  # fmt: skip
        canvas.fill(arch, canvas.facing(Material((30, 34, 40), wrap=0.2), 1.2), roadside.VOID)
    return canvas


def _flat(x0, x1, z0, z1, y=0.0):
    return [(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)]


def _paint_ground(canvas: Canvas, scene: Scene) -> None:
    rng = np.random.default_rng(scene.marks)
    phase = int(rng.integers(1 << 16))
    tone = int(rng.integers(78, 118))
    road = Material((tone, tone, tone + int(rng.integers(-4, 7))), ASPHALT, (1, 1), phase)
    warm = int(rng.integers(-6, 18))
    tile = int(rng.integers(112, 168))
    pitch = float(rng.uniform(0.5, 1.2))
    paving = Material((tile + warm, tile, tile - warm), PAVING, (pitch, pitch), phase)
    grass = Material(_grass(rng), GRASS, (1, 1), phase)
    low, high = 1.0, 300.0
    base = grass if scene.base == TERRAIN else paving
    canvas.face(_flat(-150, 150, low, 2000), base, scene.base)
    edges = [side * (abs(scene.road[k]) + scene.verge[k]) for k, side in enumerate((-1, 1))]
    outer = [e + s * (w + 1.2) for e, s, w in zip(edges, (-1, 1), scene.walk, strict=True)]
    canvas.face(_flat(*outer, low, high), paving, SIDEWALK)
    canvas.face(_flat(*edges, low, high), grass, TERRAIN)
    kerb = Material((min(255, tile + 30),) * 3, PAVING, (1.0, 5.0), phase)
    canvas.face(_flat(scene.road[0] - 0.25, scene.road[1] + 0.25, low, high), kerb, SIDEWALK)
    canvas.face(_flat(*scene.road, low, high), road, ROAD)
    if scene.crossing:
        canvas.face(_flat(-80, 80, scene.crossing, scene.crossing + 9), road, ROAD)
    _paint_marks(canvas, scene, rng, phase)


def _grass(rng):
    pick = ((92, 118, 58), (112, 122, 62), (126, 114, 74))[rng.integers(3)]
    return tuple(int(v + rng.normal(0, 6)) for v in pick)


def _paint_marks(canvas: Canvas, scene: Scene, rng, phase: int) -> None:
    """Lane marks and a zebra crossing; they are road."""
    tone = int(rng.integers(190, 235))
    paint = canvas.row(
        Material((tone, tone, tone), ASPHALT, (1, 1), phase), (0.0, 1.0, 0.0), -scene.camera.eye
    )
    lines = [x for x in (-1.5 * LANE, -0.5 * LANE, 0.5 * LANE) if scene.road[0] < x < scene.road[1]]
    project = canvas.camera.project
    stop = scene.crossing - 3.2 if scene.crossing else 0.0
    for x in lines:
        whole = x == -0.5 * LANE and rng.random() < 0.4
        dashes = [(1.5, 110.0)] if whole else [(z, z + 3.0) for z in np.arange(1.5, 90, 7.5)]
        for z0, z1 in dashes:
            if not stop or z1 < stop or z0 > stop + 13:
                quad = _flat(x - 0.08, x + 0.08, float(z0), float(z1))
                canvas.fill([project(*point) for point in quad], paint, None)
    for x in (scene.road[0] + 0.25, scene.road[1] - 0.25):
        quad = _flat(x - 0.06, x + 0.06, 1.2, stop or 110.0)
        canvas.fill([project(*point) for point in quad], paint, None)
    if scene.crossing:
        for x in np.arange(scene.road[0] + 0.5, scene.road[1] - 0.5, 1.0).tolist():
            quad = _flat(x, x + 0.5, scene.crossing - 2.8, scene.crossing - 0.2)
            canvas.fill([project(*point) for point in quad], paint, None)


def _paint_skyline(canvas: Canvas, scene: Scene) -> None:
    """Roofs and trees where the street ends."""
    rng = np.random.default_rng(scene.marks + 1)
    for x in np.arange(-130, 130, 13.0).tolist():
        wide, tall = float(rng.uniform(10, 22)), float(rng.uniform(6, 26))
        z = FAR + float(rng.uniform(5, 40))
        if rng.random() < 0.7:
            wall = [(x, 0, z), (x + wide, 0, z), (x + wide, tall, z), (x, tall, z)]
            canvas.face(wall, _facade(rng), BUILDING)
        else:
            green = Material((72, 92, 60), FOLIAGE, (1, 1), int(rng.integers(1 << 16)), 1.0)
            middle, radius = np.array([(x, 0.3 * tall)]), np.array([0.6 * wide])
            roadside.paint_clumps(canvas, rng, middle, radius, z, [canvas.facing(green, z)])


_WALLS = (
    (186, 172, 148), (160, 96, 74), (198, 192, 182), (140, 132, 122), (172, 150, 112),
    (120, 110, 108), (204, 178, 140), (150, 160, 166), (176, 126, 100), (96, 92, 92),
)  # fmt: skip


def _facade(rng) -> Material:
    colour = np.array(_WALLS[rng.integers(len(_WALLS))]) + rng.normal(0, 7, 3)
    pitch = float(rng.uniform(2.0, 3.6)), float(rng.uniform(2.9, 3.7))
    colour = tuple(int(v) for v in np.clip(colour, 0, 255))
    return Material(colour, FACADE, pitch, int(rng.integers(1 << 16)))


def _paint_plot(canvas: Canvas, plot: Plot) -> None:
    rng = np.random.default_rng(plot.seed)
    if plot.kind == "building":
        _paint_building(canvas, plot, rng)
        return
    # Open ground with trees behind whatever closes it off.
    for _ in range(int(rng.integers(1, 4)) + 2 * (plot.kind == "park")):
        x = plot.side * (plot.edge + float(rng.uniform(2.5, 12)))
        z = float(rng.uniform(plot.z0, plot.z1))
        if z > 4:
            roadside.paint_tree(canvas, x, z, float(rng.uniform(4, 10)), int(rng.integers(2**31)))
    x, (z0, z1) = plot.side * plot.edge, (plot.z0, plot.z1)
    panel = [(x, 0, z0), (x, 0, z1), (x, plot.height, z1), (x, plot.height, z0)]
    phase = int(rng.integers(1 << 16))
    if plot.kind == "wall":
        tones = ((158, 98, 78), (168, 164, 156), (140, 136, 130), (176, 150, 122))
        canvas.face(panel, Material(tones[rng.integers(4)], BRICK, (0.6, 0.3), phase), WALL)
    elif plot.kind == "hedge":
        canvas.face(panel, Material((62, 88, 46), FOLIAGE, (0.5, 0.5), phase, 0.9), VEGETATION)
    elif plot.kind == "fence":
        _paint_fence(canvas, plot, panel, rng)


def _paint_fence(canvas: Canvas, plot: Plot, panel, rng) -> None:
    """Rails and bars; what lies behind is seen between them."""
    tones = ((70, 74, 76), (168, 172, 174), (120, 92, 64), (44, 62, 54), (205, 205, 200))
    x, step = plot.side * plot.edge, float(rng.uniform(0.32, 0.6))
    row = canvas.row(Material(tones[rng.integers(5)], wrap=0.5), *canvas.plane(panel))
    project, bar = canvas.camera.project, float(rng.uniform(0.3, 0.65)) * step
    canvas.fill([project(*point) for point in panel], None, FENCE)
    for low, high in ((0.08, 0.2), (0.86, 1.0)):
        rail = [(x, low * plot.height, plot.z0), (x, low * plot.height, plot.z1),
                (x, high * plot.height, plot.z1), (x, high * plot.height, plot.z0)]  # fmt: skip
        canvas.fill([project(*point) for point in rail], row, None)
    for z in np.arange(plot.z0, plot.z1, step * (1 + plot.z0 / 40)).tolist():
        upright = [(x, 0, z), (x, 0, z + bar), (x, plot.height, z + bar), (x, plot.height, z)]
        canvas.fill([project(*point) for point in upright], row, None)


def _paint_building(canvas: Canvas, plot: Plot, rng) -> None:
    material = _facade(rng)
    x, back = plot.side * plot.edge, plot.side * (plot.edge + 14)
    z0, z1, tall = plot.z0, plot.z1, plot.height
    dull = material._replace(colour=tuple(int(0.92 * v) for v in material.colour))
    if tall < 11:  # a pitched roof, its ridge along the street
        tiles = ((122, 66, 52), (84, 84, 90), (100, 78, 66))[rng.integers(3)]
        ridge = (x + back) / 2
        slope = [(x, tall, z0), (x, tall, z1), (ridge, tall + 3, z1), (ridge, tall + 3, z0)]
        canvas.face(slope, Material(tiles, BRICK, (0.8, 0.8), material.phase), BUILDING)
        gable = [(x, 0, z0), (back, 0, z0), (back, tall, z0), (ridge, tall + 3, z0), (x, tall, z0)]
        canvas.face(gable, dull, BUILDING)
    else:
        canvas.face([(x, 0, z0), (back, 0, z0), (back, tall, z0), (x, tall, z0)], dull, BUILDING)
    canvas.face([(x, 0, z0), (x, 0, z1), (x, tall, z1), (x, tall, z0)], material, BUILDING)


def _paint_object(canvas: Canvas, scene: Scene, obj: SceneObject, instance: int) -> None:
    frame, kind = obj.frame, obj.kind
    if kind in ("person", "rider"):
        label = PERSON if kind == "person" else RIDER
        if kind == "person":
            vehicles.shadow(canvas, frame, 0.5, 0.6, Material((40, 40, 42)))
        paint_body(canvas, obj.body, instance + label, helmet=kind == "rider")
    elif kind in VEHICLES:
        region = instance + VEHICLES[kind]
        if kind in ("motorcycle", "bicycle"):
            motor = kind == "motorcycle"
            vehicles.paint_cycle(canvas, frame, obj.seed, motor, obj.driving, region)
        else:
            paint = {"car": vehicles.paint_car, "truck": vehicles.paint_truck,
                     "bus": vehicles.paint_bus, "train": vehicles.paint_train}[kind]  # fmt: skip
            paint(canvas, frame, obj.seed, obj.driving, region)
    elif kind == "lamp":
        height, reach = obj.numbers
        roadside.paint_lamp_post(canvas, frame.x, frame.z, height, scene.sky.lamp, reach)
    elif kind == "tree":
        roadside.paint_tree(canvas, frame.x, frame.z, *obj.numbers, obj.seed)
    elif kind == "signal":
        roadside.paint_signal(canvas, frame.x, frame.z, *obj.numbers)
    elif kind == "sign":
        roadside.paint_sign(canvas, frame.x, frame.z, *obj.numbers)
    else:
        roadside.paint_bin(canvas, frame.x, frame.z, obj.seed)
