"""`builtin-photos` and `builtin-faces`: pairs that can be made again, splits apart, boxes right."""

import numpy as np
import pytest
import torch

from llie_core.data import collate, face_targets
from llie_core.data.darkening import Darkening, DarkeningRange, darken
from llie_core.synthetic.faces import BACKGROUNDS, FACE_HEIGHTS, FACES, BuiltinFaces
from llie_core.synthetic.photos import PHOTOS, BuiltinPhotos, photograph

BUILTIN = (BuiltinPhotos, BuiltinFaces)


def on_8_bit_grid(image):
    levels = image.double() * 255
    return torch.allclose(levels, levels.round(), atol=1e-4)


def equal_items(a, b):
    return all(torch.equal(a[side], b[side]) for side in ("image", "target"))


def test_photographs_are_split_by_scene():
    scenes = {
        split: {n.removesuffix("_left").removesuffix("_right") for n in names}
        for split, names in PHOTOS.items()
    }
    assert not scenes["train"] & scenes["test"]
    assert not scenes["train"] & scenes["val"]
    assert not scenes["val"] & scenes["test"]


def test_test_faces_and_backgrounds_are_new_to_training():
    assert FACES["test"].photo != FACES["train"].photo == FACES["val"].photo
    assert not set(BACKGROUNDS["test"]) & set(BACKGROUNDS["train"])
    for names in BACKGROUNDS.values():
        assert not set(names) & {face.photo for face in FACES.values()}


@pytest.mark.parametrize("name", sorted({n for names in PHOTOS.values() for n in names}))
def test_every_photograph_is_there_without_a_download(name):
    image = photograph(name)
    assert image.mode == "RGB" and min(image.size) >= 300


@pytest.mark.parametrize("kind", BUILTIN)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_items_are_darkened_pairs_that_can_be_made_again(kind, split):
    data = kind(split, size=33, count=3)
    assert len(data) == len(list(data)) == 3  # iteration ends with an IndexError
    for index, item in enumerate(data):
        for side in ("image", "target"):
            assert item[side].shape == (3, 33, 33) and item[side].dtype == torch.float32
            assert 0 <= item[side].min() <= item[side].max() <= 1
            assert on_8_bit_grid(item[side])
        assert item["image"].mean() < 0.6 * item["target"].mean()
        again = darken(item["target"].numpy(), Darkening(**item["darkening"]))
        assert np.array_equal(again, item["image"].numpy())
        assert equal_items(item, data[index])


@pytest.mark.parametrize("kind", BUILTIN)
def test_index_seed_and_split_each_make_another_image(kind):
    data = kind("train", size=32, count=4)
    others = [data[1], kind("train", 32, 4, seed=1)[0], kind("val", 32, 4)[0]]
    assert not any(equal_items(data[0], other) for other in others)
    assert equal_items(data[0], kind("train", 32, count=9)[0])  # the count changes no item


@pytest.mark.parametrize("kind", BUILTIN)
def test_what_identifies_a_set_is_described(kind):
    base = kind("train", 32, 4).describe()
    assert base == kind("train", 32, 4).describe()
    changes = [{"split": "val"}, {"size": 33}, {"count": 5}, {"seed": 1}]
    changes.append({"darkness": DarkeningRange(exposure=(0.1, 0.2))})
    for change in changes:
        assert kind(**{"split": "train", "size": 32, "count": 4, **change}).describe() != base


@pytest.mark.parametrize("kind", BUILTIN)
def test_bad_index_and_split_are_named(kind):
    with pytest.raises(IndexError, match=r"builtin-.* train holds 2 items, asked for 2"):
        kind("train", 32, 2)[2]
    with pytest.raises(ValueError, match="has the splits train, val, test, not 'dev'"):
        kind("dev")


def test_photo_pairs_go_round_the_photographs():
    data = BuiltinPhotos("train", size=16, count=5)
    names = [item["name"].rsplit("-", 1)[0] for item in data]
    assert names == [*PHOTOS["train"], PHOTOS["train"][0]]


@pytest.fixture(scope="module")
def faces():
    return list(BuiltinFaces("test", size=128, count=40))


def test_face_boxes_lie_inside_the_image_and_apart(faces):
    for item in faces:
        boxes = item["boxes"]
        assert boxes.shape == (len(boxes), 4) and boxes.dtype == torch.float32
        assert (boxes >= 0).all() and (boxes <= 128).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 8).all()  # 14 pixels high and narrower at the least
        assert item["ignore"].tolist() == [False] * len(boxes)
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                overlap = torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])
                assert (overlap <= 0).any()


def test_subsets_of_faces_go_by_height(faces):
    for item in faces:
        height = item["boxes"][:, 3] - item["boxes"][:, 1]
        assert list(item["keep"]) == ["easy", "medium", "hard"]
        for subset, least in FACE_HEIGHTS.items():
            assert torch.equal(item["keep"][subset], height >= least)
        assert item["keep"]["hard"].all()
    totals = [sum(int(i["keep"][s].sum()) for i in faces) for s in FACE_HEIGHTS]
    assert 0 < totals[0] < totals[1] < totals[2]


def test_about_three_images_in_ten_hold_no_face(faces):
    # 40 draws of probability 0.3: three standard deviations are ± 0.22.
    empty = sum(len(item["boxes"]) == 0 for item in faces) / len(faces)
    assert 0.08 < empty < 0.52
    assert max(len(item["boxes"]) for item in faces) <= 4


def test_the_faces_are_where_the_boxes_say(faces):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    from llie_core.metrics.faces import detection_rates
    from llie_core.recognizers import create_recognizer

    with_faces = [item for item in faces if item["keep"]["medium"].any()][:10]
    found = create_recognizer("mtcnn").predict(torch.stack([i["target"] for i in with_faces]))
    rates = detection_rates(
        found, [i["boxes"] for i in with_faces], [i["keep"]["medium"] for i in with_faces], 0.9
    )
    assert rates["recall"] >= 0.8  # in normal light and at least 28 pixels high


def test_face_targets_pair_boxes_with_their_flags():
    items = [BuiltinFaces("train", 64, 6)[i] for i in range(6)]
    targets = face_targets(collate(items))
    assert len(targets) == 6
    for target, item in zip(targets, items, strict=True):
        assert set(target) == {"boxes", "ignore"}
        assert target["boxes"] is item["boxes"] and target["ignore"] is item["ignore"]
