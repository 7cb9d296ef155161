"""Procedural streets: their labels, the two lights, the persons and their crops."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch

from llie_core.data import list_datasets, open_dataset
from llie_core.data.darkening import linear_to_srgb, srgb_to_linear
from llie_core.data.exlpose import EXLPOSE_JOINTS
from llie_core.data.pose import to_image
from llie_core.synthetic.streets.bodies import SHANK, STREET_JOINTS, THIGH, UPPER_ARM, draw_body
from llie_core.synthetic.streets.canvas import INSTANCE, SKY, Camera, Canvas, Light, Material
from llie_core.synthetic.streets.light import day_light, develop, irradiance, night_light
from llie_core.synthetic.streets.paint import paint_scene
from llie_core.synthetic.streets.scene import PERSON, ROAD, VEHICLES, SceneObject, draw_scene
from llie_core.synthetic.streets.sets import (
    EXTREME_BELOW,
    LEAST_HEIGHT,
    LEAST_JOINTS,
    NORMAL_FROM,
    SALIENT_COUNT,
    STREET_CLASSES,
    STREET_OBJECTS,
    STREET_PALETTE,
    BuiltinStreets,
    BuiltinStreetsPose,
    marked_joints,
    render,
    subset_of,
    worth_a_crop,
)
from llie_core.synthetic.streets.textures import Buffers, trace
from llie_core.synthetic.streets.vehicles import Frame

SMALL = (64, 128)


@pytest.fixture(scope="module")
def items():
    return list(open_dataset("builtin-streets", "train", count=24))


@pytest.fixture(scope="module")
def crops():
    return open_dataset("builtin-streets-pose", "train", count=4, scene=(160, 320), seed=3)


def on_8_bit_grid(image):
    levels = image.double() * 255
    return torch.allclose(levels, levels.round(), atol=1e-4)


def same(a, b):
    return all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
        for key in a.keys() | b.keys()
    )


# Names ----------------------------------------------------------------------------------------


def test_names_follow_cityscapes_and_exlpose():
    assert len(STREET_CLASSES) == len(STREET_PALETTE) == len(set(STREET_PALETTE)) == 19
    assert STREET_CLASSES[ROAD] == "road" and STREET_CLASSES[SKY] == "sky"
    assert STREET_OBJECTS == ("person", "rider", "car", "truck", "bus", "train", "motorcycle",
                              "bicycle")  # fmt: skip
    assert all(STREET_CLASSES[number] == name for name, number in VEHICLES.items())
    assert STREET_JOINTS == EXLPOSE_JOINTS


def test_both_sets_are_registered():
    tasks = {spec.name: spec.task for spec in list_datasets() if "streets" in spec.name}
    assert tasks == {"builtin-streets": "segmentation", "builtin-streets-pose": "pose"}
    for name in tasks:
        for split in ("train", "val", "test"):
            assert open_dataset(name, split, count=1).split == split


# Items ----------------------------------------------------------------------------------------


def test_an_item_holds_what_its_docstring_says(items):
    for item in items:
        count = len(item["boxes"])
        assert item["image"].shape == item["target"].shape == (3, 128, 256)
        assert item["mask"].shape == (128, 256) and item["mask"].dtype == torch.int64
        assert item["saliency"].shape == (1, 128, 256)
        assert item["boxes"].shape == (count, 4) and item["boxes"].dtype == torch.float32
        assert item["labels"].shape == (count,) and item["labels"].dtype == torch.int64
        assert item["ignore"].shape == (count,) and item["ignore"].dtype == torch.bool
        persons = len(item["person_boxes"])
        assert item["person_joints"].shape == (persons, 14, 3)
        assert item["person_boxes"].shape == (persons, 4)
        assert torch.equal(item["mean"], item["image"].mean((1, 2)))
        for side in ("image", "target"):
            assert item[side].dtype == torch.float32 and on_8_bit_grid(item[side])
            assert 0 <= item[side].min() <= item[side].max() <= 1
    assert len({item["name"] for item in items}) == len(items)


def test_every_class_and_void_appear(items):
    seen = torch.cat([item["mask"].unique() for item in items]).unique().tolist()
    assert seen == [*range(19), 255]
    labels = torch.cat([item["labels"][~item["ignore"]] for item in items]).unique()
    assert labels.tolist() == list(range(len(STREET_OBJECTS)))


def test_items_can_be_made_again_and_differ_by_index_seed_and_split():
    data = BuiltinStreets("train", SMALL, count=3)
    assert len(list(data)) == 3  # iteration ends with an IndexError
    assert same(data[1], data[1])
    assert same(data[0], BuiltinStreets("train", SMALL, count=9)[0])
    others = [data[1], BuiltinStreets("train", SMALL, 3, seed=1)[0]]
    others += [BuiltinStreets(split, SMALL, 3)[0] for split in ("val", "test")]
    assert not any(torch.equal(data[0]["mask"], other["mask"]) for other in others)


def test_day_and_night_share_every_label():
    night, day = (BuiltinStreets("val", SMALL, 2, light=light)[1] for light in ("night", "day"))
    assert torch.equal(night["target"], day["image"]) and "target" not in day
    for key in ("mask", "saliency", "boxes", "labels", "ignore", "person_joints", "person_boxes"):
        assert torch.equal(night[key], day[key]), key


def test_saliency_can_be_the_task():
    plain = BuiltinStreets("test", SMALL, 2)[0]
    item = BuiltinStreets("test", SMALL, 2, task="saliency")[0]
    assert torch.equal(item["mask"], plain["saliency"]) and item["mask"].dtype == torch.float32
    assert torch.equal(item["image"], plain["image"])


@pytest.mark.parametrize("size", [(45, 77), (32, 32), (96, 50), (33, 201)])
def test_any_size_will_do(size):
    item = BuiltinStreets("train", size, 2)[1]
    assert item["image"].shape == (3, *size) and item["mask"].shape == size
    assert item["saliency"].shape == (1, *size)
    assert torch.isfinite(item["image"]).all()


def test_a_larger_image_shows_the_same_scene():
    small, large = (
        BuiltinStreets("train", size, 1, light="day")[0] for size in (SMALL, (128, 256))
    )
    halved = large["mask"][1::2, 1::2]
    assert (halved == small["mask"]).float().mean() > 0.93


def test_what_identifies_a_set_is_described():
    base = BuiltinStreets().describe()
    changes = [{"split": "val"}, {"size": SMALL}, {"count": 5}, {"seed": 1}, {"light": "day"}]
    for change in [*changes, {"task": "saliency"}]:
        assert BuiltinStreets(**change).describe() != base
    base = BuiltinStreetsPose().describe()
    changes = [*changes[:1], *changes[2:], {"size": (64, 48)}, {"scene": SMALL}]
    for change in [*changes, {"subset": "LL-E"}]:
        assert BuiltinStreetsPose(**change).describe() != base


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="builtin-streets: split='dev' is not one of train, val"):
        BuiltinStreets("dev")
    with pytest.raises(ValueError, match="light='dusk' is not one of night, day"):
        BuiltinStreetsPose(light="dusk")
    with pytest.raises(ValueError, match="task='pose' is not one of segmentation, saliency"):
        BuiltinStreets(task="pose")
    with pytest.raises(ValueError, match="subset='LL' is not one of LL-A, LL-N"):
        BuiltinStreetsPose(subset="LL")
    with pytest.raises(ValueError, match=r"scenes of \(31, 64\) pixels; 32 is the least"):
        BuiltinStreets(size=(31, 64))
    with pytest.raises(IndexError, match="builtin-streets train holds 2 items, asked for 2"):
        BuiltinStreets(size=SMALL, count=2)[2]


# Labels ---------------------------------------------------------------------------------------


def test_boxes_fit_the_mask_tightly(items):
    for item in items:
        covered = torch.zeros(len(STREET_OBJECTS), 128, 256, dtype=torch.bool)
        for (x0, y0, x1, y1), label in zip(
            item["boxes"].int().tolist(), item["labels"].tolist(), strict=True
        ):
            inside = item["mask"][y0:y1, x0:x1] == 11 + label
            edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
            assert all(edge.any() for edge in edges)
            covered[label, y0:y1, x0:x1] = True
        for label in range(len(STREET_OBJECTS)):
            assert covered[label][item["mask"] == 11 + label].all()


def test_small_and_hidden_objects_are_ignored(items):
    ignored = kept = 0
    for item in items:
        sides = item["boxes"][:, 2:] - item["boxes"][:, :2]
        assert item["ignore"][sides.prod(1) < 24].all()
        ignored, kept = ignored + item["ignore"].sum(), kept + (~item["ignore"]).sum()
    assert 0.05 < ignored / (ignored + kept) < 0.5


def test_nearest_large_objects_are_the_salient_ones():
    data = BuiltinStreets("train", (128, 256), 6, light="day")
    for index in range(6):
        item, scene = data[index], data.scene(index)
        regions = render(scene, ("day",)).regions
        salient = set(np.unique(regions[item["saliency"][0].numpy() > 0]).tolist())
        numbers, pixels = np.unique(regions[regions >= INSTANCE], return_counts=True)
        large = [n for n, p in zip(numbers, pixels, strict=True) if p >= 0.006 * regions.size]
        large.sort(key=lambda n: scene.objects[n // INSTANCE - 1].frame.z)
        assert salient == set(large[:SALIENT_COUNT]) or not large


def test_joints_lie_in_their_boxes_and_on_their_persons(items):
    seen = 0
    for item in items:
        near = torch.nn.functional.max_pool2d(
            (item["mask"] == PERSON).float()[None, None], 3, 1, 1
        )[0, 0]
        for joints, box in zip(item["person_joints"], item["person_boxes"], strict=True):
            marked = joints[joints[:, 2] > 0]
            assert (marked[:, :2] >= box[:2]).all() and (marked[:, :2] <= box[2:]).all()
            assert (joints[joints[:, 2] == 0] == 0).all()
            x, y = joints[joints[:, 2] == 2][:, :2].long().T
            assert (near[y, x] == 1).all()
            seen += len(x)
    assert seen > 200


def test_hidden_joints_are_labelled_as_hidden():
    scene = draw_scene(np.random.default_rng(0), (128, 256))
    body = draw_body(np.random.default_rng(1), 0.5, 14.0, 0.0)
    person = SceneObject("person", Frame(0.5, 14.0, 0.0), 1, body=body)
    bus = SceneObject("bus", Frame(0.5, 13.4 - 6.5, pi / 2), 2)
    for objects, hidden in (([person], False), ([person, bus], True)):
        scene.objects = objects
        regions = paint_scene(scene).regions()
        visible = (regions == INSTANCE + PERSON).any()
        assert visible != hidden
        marks = marked_joints(body, INSTANCE + PERSON, scene.camera, regions)[:, 2]
        assert set(marks.tolist()) == ({1.0} if hidden else {2.0})
        assert worth_a_crop(magnified(scene, 400)) == ([] if hidden else [0])


def magnified(scene, height):
    """The scene taken in more pixels."""
    times = height / scene.camera.height
    camera = scene.camera
    larger = Camera(
        height, round(camera.width * times), camera.focal * times, camera.centre * times,
        camera.horizon * times, camera.eye,
    )  # fmt: skip
    return replace(scene, camera=larger)


# Geometry -------------------------------------------------------------------------------------


def test_ground_lies_at_its_distance():
    camera = Camera(100, 200, focal=150.0, centre=100.0, horizon=40.0, eye=1.5)
    assert camera.project(1.0, 1.5, 10.0) == (115.0, 40.0)
    canvas = Canvas(camera)
    canvas.face([(-9, 0, 1), (9, 0, 1), (9, 0, 60), (-9, 0, 60)], Material((90, 90, 90)), ROAD)
    place = trace(canvas).place[:, 84, 100]  # pixel centre (100.5, 84.5)
    depth = 150 * 1.5 / 44.5
    assert place == pytest.approx([depth * 0.5 / 150, 0.0, depth], abs=1e-4)
    assert canvas.regions()[84, 100] == ROAD and canvas.regions()[10, 100] == SKY


def test_left_and_right_are_the_persons_own():
    camera = Camera(128, 256, 200.0, 128.0, 60.0, 1.5)
    for heading, sign in ((pi, 1), (0.0, -1)):  # facing the camera, seen from behind
        body = draw_body(np.random.default_rng(2), 0.0, 8.0, heading)
        places, _ = body.seen(camera)
        assert (np.sign(places[0, 0] - places[1, 0]), np.sign(places[6, 0] - places[7, 0])) == (
            sign, sign,
        )  # fmt: skip
    walking = draw_body(np.random.default_rng(2), 0.0, 8.0, pi / 2)  # to the right
    assert walking.joints()[0, 2] > walking.joints()[1, 2]  # its left side is the far one


@pytest.mark.parametrize("seed", range(5))
def test_a_mirrored_body_has_mirrored_joints(seed):
    rng = np.random.default_rng(seed)
    body = draw_body(rng, 1.3, 9.0, float(rng.uniform(-pi, pi)))
    twin = replace(body, x=-body.x, heading=-body.heading, legs=body.legs[::-1],
                   arms=body.arms[::-1])  # fmt: skip
    swapped = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
    assert twin.joints()[swapped] * [-1, 1, 1] == pytest.approx(body.joints())


@pytest.mark.parametrize("seed", range(5))
def test_limbs_keep_their_lengths_and_the_feet_the_ground(seed):
    body = draw_body(np.random.default_rng(seed), 0.0, 9.0, 1.0)
    joints = body.joints()
    lengths = np.linalg.norm(joints[[2, 8, 9, 10, 11]] - joints[[0, 6, 7, 8, 9]], axis=1)
    expected = [UPPER_ARM, THIGH, THIGH, SHANK, SHANK]
    assert lengths[1:] == pytest.approx(body.height * np.array(expected[1:]))
    assert lengths[0] <= body.height * UPPER_ARM + 1e-9
    assert 0 < joints[10:12, 1].min() < 0.1
    assert joints[12, 1] == pytest.approx(body.height, rel=0.1)  # the crown


# Light ----------------------------------------------------------------------------------------


def test_nights_are_dark_and_near_the_mean_they_aim_at(items):
    data = BuiltinStreets("train", count=24)
    for index, item in enumerate(items):
        sky = data.scene(index).sky
        assert 0.03 <= sky.night <= 0.12
        assert float(item["image"].mean()) == pytest.approx(sky.night, rel=0.1)
        assert float(item["target"].mean()) == pytest.approx(sky.day, rel=0.05)
        assert item["image"].mean() < 0.4 * item["target"].mean()
    clipped = [bool((item["image"] == 1).any()) for item in items]
    assert sum(clipped) > len(items) / 2  # lamps are out of the camera's range


def one_car(heading, driving):
    """A scene with one car ahead, and where its lamp seen by the camera lies."""
    scene = draw_scene(np.random.default_rng(5), (128, 256))
    scene.objects = [SceneObject("car", Frame(-1.0, 9.0, heading), 3, driving)]
    canvas = paint_scene(scene)
    return night_light(trace(canvas), scene, canvas), canvas


@pytest.mark.parametrize(("heading", "red"), [(pi, False), (0.0, True)])
def test_lamps_of_a_driving_car_are_lit(heading, red):
    lit, canvas = one_car(heading, True)
    off, dark = one_car(heading, False)
    assert len(canvas.halos) == 2 and not dark.halos
    for halo in canvas.halos:
        x, y = (int(v) for v in canvas.camera.project(*halo.place))
        assert canvas.regions()[y, x] == INSTANCE + VEHICLES["car"]
        lamp = lit[:, y, x]
        assert lamp[0] > 20 * off[0, y, x]
        assert (lamp[0] > 3 * lamp[2]) == red


def flat(distance, count=1):
    """Buffers of one white wall that faces the camera's side at z = distance."""
    place = np.zeros((3, 1, count), np.float32)
    place[2] = distance
    normal = np.zeros_like(place)
    normal[2] = -1
    zeros = np.zeros((1, count), np.float32)
    return Buffers(np.ones_like(place), 0 * place, place, normal, zeros, zeros)


def test_lamps_fall_off_with_the_square_of_the_distance():
    beam = Light((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), aim=(0.0, 0.0, 1.0))
    near, far = (float(irradiance(beam, flat(d))[0, 0]) for d in (10.0, 20.0))
    assert near == pytest.approx(1 / 100, rel=2e-3) and near / far == pytest.approx(4, rel=2e-3)
    away = beam._replace(aim=(0.0, 0.0, -1.0))
    assert irradiance(away, flat(10.0))[0, 0] == 0
    lamp = Light((0.0, -5.0, 5.0), (1.0, 1.0, 1.0))  # below: a street lamp shines downwards
    assert irradiance(lamp, flat(10.0))[0, 0] == 0


def test_the_exposure_meets_its_aim_and_the_noise_its_variance():
    light = np.full((3, 90, 90), 0.37, np.float32)
    assert develop(light, 0.25).mean() == pytest.approx(0.25, abs=0.003)
    sky = draw_scene(np.random.default_rng(0), (64, 64)).sky
    noisy = develop(light, 0.4, replace(sky, photons=500.0, read=0.01))
    linear = srgb_to_linear(noisy.astype(np.float64))
    level = float(srgb_to_linear(np.array(0.4)))
    assert linear.var() == pytest.approx(level / 500 + 1e-4, rel=0.06)  # 24,300 samples
    assert noisy.mean() == pytest.approx(0.4, abs=0.004)
    assert float(linear_to_srgb(np.array(level))) == pytest.approx(0.4)


def test_houses_shade_the_street_in_normal_light():
    scene = draw_scene(np.random.default_rng(5), (96, 192))
    scene.objects = []
    images = []
    for height in (0.0, 40.0):
        scene.plots = [replace(plot, height=height) for plot in scene.plots]
        scene.sky = replace(scene.sky, sun=(0.8, 0.6, 0.0), sunlight=0.85)
        canvas = paint_scene(scene)
        images.append(day_light(trace(canvas), scene)[:, 80:, 60:130].mean())
    assert images[1] < 0.6 * images[0]


# Crops of persons -----------------------------------------------------------------------------


def test_crops_have_the_form_of_pose_items(crops):
    assert len(crops) >= 4
    for index in range(len(crops)):
        item = crops[index]
        assert item["image"].shape == item["target"].shape == (3, 256, 192)
        assert item["joints"].shape == (14, 3) and item["boxes"].shape == (4,)
        width, height = item["region"][2:] - item["region"][:2]
        assert abs(float(width / height) - 192 / 256) < 0.05
        assert item["boxes"][3] - item["boxes"][1] >= LEAST_HEIGHT - 20  # cut by the image
        assert (item["joints"][:, 2] > 0).sum() >= LEAST_JOINTS
        assert item["image"].mean() < item["target"].mean()


def test_joints_of_a_crop_map_back_to_the_scene(crops):
    for index, (number, k) in enumerate(crops.persons):
        item = crops[index]
        scene = crops.scene(number)
        places, box = scene.objects[k].body.seen(scene.camera)
        marked = item["joints"][:, 2] > 0
        back = to_image(item["joints"], item["region"], (256, 192))[marked]
        assert back[:, :2].numpy() == pytest.approx(places[marked.numpy()], abs=1e-3)
        assert item["image_id"] == number and f"{number:05d}" in item["name"]
        assert (item["boxes"].numpy() >= np.clip(box, 0, None) - 1e-3)[:2].all()


def test_crops_do_not_depend_on_the_order_they_are_asked_in(crops):
    again = open_dataset("builtin-streets-pose", "train", count=4, scene=(160, 320), seed=3)
    backwards = [again[index] for index in reversed(range(len(again)))][::-1]
    assert all(same(a, b) for a, b in zip(crops, backwards, strict=True))


def test_in_normal_light_the_crop_is_the_nights_target(crops):
    day = open_dataset(
        "builtin-streets-pose", "train", count=4, scene=(160, 320), seed=3, light="day"
    )
    assert torch.equal(day[0]["image"], crops[0]["target"]) and "target" not in day[0]
    assert torch.equal(day[0]["joints"], crops[0]["joints"])


def test_subsets_part_the_persons_by_brightness():
    assert [subset_of(mean) for mean in (NORMAL_FROM, 0.06, EXTREME_BELOW, 0.03)] == [
        "LL-N", "LL-H", "LL-H", "LL-E",
    ]  # fmt: skip
    options = {"count": 40, "scene": (160, 320)}
    whole = open_dataset("builtin-streets-pose", "test", **options)
    parts = {
        subset: open_dataset("builtin-streets-pose", "test", subset=subset, **options).persons
        for subset in ("LL-N", "LL-H", "LL-E")
    }
    assert sorted(person for part in parts.values() for person in part) == sorted(whole.persons)
    assert all(len(part) > 0.15 * len(whole) for part in parts.values())
    dark = open_dataset("builtin-streets-pose", "test", subset="LL-E", **options)[0]
    assert dark["subset"] == "LL-E" and dark["mean"].mean() < 1.1 * EXTREME_BELOW
