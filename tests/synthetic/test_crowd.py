"""`builtin-crowd`: composites of many faces, none of them a test face of `builtin-faces`."""

import numpy as np
import pytest
import torch

from llie_core.data import open_dataset
from llie_core.recognizers import create_recognizer
from llie_core.synthetic.crowd import BACKGROUNDS as CROWD_BACKGROUNDS
from llie_core.synthetic.crowd import HELD_OUT, PATCH_BOX, PATCHES, BuiltinCrowd, patches
from llie_core.synthetic.faces import BACKGROUNDS, FACES


def test_items_are_functions_of_their_index():
    one, other = BuiltinCrowd(size=64, count=8), BuiltinCrowd(size=64, count=8, seed=1)
    for index in (0, 5):
        again = BuiltinCrowd(size=64, count=6)[index]
        assert torch.equal(one[index]["image"], again["image"])
        assert torch.equal(one[index]["boxes"], again["boxes"])
        assert not torch.equal(one[index]["image"], other[index]["image"])
    assert one.describe() != other.describe()
    with pytest.raises(IndexError):
        one[8]
    with pytest.raises(ValueError, match="splits train, test, not 'val'"):
        BuiltinCrowd("val")


def test_images_hold_what_the_contract_says():
    data = open_dataset("builtin-crowd", "train", size=96, count=60)
    counts = []
    for index in range(len(data)):
        item = data[index]
        image, boxes = item["image"], item["boxes"]
        assert image.shape == (3, 96, 96) and image.dtype == torch.float32
        assert image.min() >= 0 and image.max() <= 1
        assert boxes.shape == (len(item["ignore"]), 4) and not item["ignore"].any()
        sides = boxes[:, 2:] - boxes[:, :2]
        # 4 px is the least side of a patch, which rounds.
        assert (sides[:, 1] >= 11).all() and (sides[:, 1] <= 0.7 * 96 + 1).all()
        assert (boxes >= -1).all() and (boxes <= 97).all()
        counts.append(len(boxes))
    assert 0.1 < np.mean([count == 0 for count in counts]) < 0.5 and max(counts) >= 3


def test_training_shows_nothing_of_the_test():
    assert not set(CROWD_BACKGROUNDS) & set(BACKGROUNDS["test"])
    assert FACES["train"].photo != FACES["test"].photo
    shown = {"train": set(), "test": set()}
    for split, seen in shown.items():
        data = BuiltinCrowd(split, size=32)
        for draw in range(300):
            patch, _ = data.face(np.random.default_rng(draw))
            grey = np.asarray(patch.convert("L"), np.float32)
            if grey.shape == (25, 25):
                grey = (grey - grey.mean()) / grey.std()
                known = patches()[:PATCHES].reshape(PATCHES, -1)
                known = (known - known.mean(1, keepdims=True)) / known.std(1, keepdims=True)
                seen.add(int((known @ grey.ravel()).argmax()))
    assert shown["test"] <= set(range(HELD_OUT)) and len(shown["test"]) > 10
    assert not shown["train"] & shown["test"] and len(shown["train"]) > 50


def test_the_box_of_a_patch_is_where_mtcnn_sees_the_face():
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    detector, boxes = create_recognizer("mtcnn"), []
    for patch in patches()[:40]:
        image = torch.from_numpy(np.pad(patch, 25, mode="edge"))[None, None].expand(1, 3, -1, -1)
        image = torch.nn.functional.interpolate(image, scale_factor=3, mode="bicubic").clamp(0, 1)
        found = detector.predict(image, (0.6, 0.7, 0.9))[0]["boxes"]
        if len(found):
            boxes.append((found[0] - 75) / 75)
    assert len(boxes) > 30
    middle = torch.stack(boxes).median(0).values
    assert middle.tolist() == pytest.approx(PATCH_BOX, abs=0.04)
