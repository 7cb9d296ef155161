"""OKS AP: known answer, closed forms of OKS, subsets, properties, bad input."""

import math

import pytest
import torch

from llie_core.metrics.pose import SIGMAS, KeypointAP


def people(count, joints=14, seed=0):
    """Persons (N, J, 3) in pixels, all joints labelled, and their boxes (N, 4)."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 1, 2, generator=generator) * 500
    xy = corner + torch.rand(count, joints, 2, generator=generator) * 120
    boxes = torch.cat([xy.amin(1), xy.amax(1)], dim=1)
    return torch.cat([xy, torch.full((count, joints, 1), 2.0)], dim=2), boxes


def table(ids, joints, boxes, **others):
    return {"image_ids": ids, "joints": joints, "boxes": boxes, **others}


def found(ids, joints, scores):
    return {"image_ids": ids, "joints": joints, "scores": scores}


def score(predictions, targets, images=None, **settings):
    meter = KeypointAP(**settings)
    meter.update(predictions, targets)
    return meter.compute(images)


def known_case():
    j = torch.arange(1.0, 15.0)
    truth = torch.stack([10 * j, 5 * j, torch.full_like(j, 2)], dim=1)  # (14, 3)
    moved = [truth[:, :2] + torch.tensor(by) for by in ((5.0, 0.0), (0.0, 12.0), (90.0, 90.0))]
    boxes = torch.tensor([[0.0, 0.0, 150.0, 80.0]] * 2)
    return (
        found([1, 2, 2], torch.stack(moved), [0.9, 0.8, 0.95]),
        table([1, 2], truth.expand(2, 14, 3), boxes),
    )


def test_known_answer():
    expected = {"ap": 0.351485, "ap_50": 0.666667, "ap_75": 0.252475, "ar": 0.6}
    assert score(*known_case()) == pytest.approx(expected, abs=1e-6)


def test_known_answer_from_lists_in_two_batches_and_string_ids():
    predictions, targets = known_case()
    names = {1: "a/01.png", 2: "b/02.png"}
    meter = KeypointAP()
    for image in (2, 1):
        rows = [i for i, j in enumerate(predictions["image_ids"]) if j == image]
        persons = [i for i, j in enumerate(targets["image_ids"]) if j == image]
        meter.update(
            found(
                [names[image]] * len(rows),
                predictions["joints"][rows].tolist(),
                [predictions["scores"][i] for i in rows],
            ),
            table(
                [names[image]] * len(persons),
                targets["joints"][persons].tolist(),
                targets["boxes"][persons].tolist(),
            ),
        )
    assert meter.compute()["ap"] == pytest.approx(0.351485, abs=1e-6)


def test_nothing_is_printed(capsys):
    score(*known_case())
    assert capsys.readouterr().out == ""


def test_area_is_053_of_the_box_unless_given():
    predictions, targets = known_case()
    by_default = score(predictions, targets)
    assert score(predictions, targets | {"areas": [6360.0, 6360.0]}) == by_default
    assert score(predictions, targets, area_of_box=1.0)["ap"] > by_default["ap"] * 1.2


@pytest.mark.parametrize("joint", [0, 4, 6, 13])
def test_similarity_of_one_joint_follows_its_sigma(joint):
    """With one labelled joint OKS = exp(-d^2 / (8 s^2 sigma^2)), so AP steps down as d grows."""
    truth, boxes = people(1)
    truth[:, :, 2] = 0
    truth[:, joint, 2] = 2
    area = 0.53 * (boxes[0, 2:] - boxes[0, :2]).prod().item()
    for oks, passed in ((0.52, 1), (0.72, 5), (0.77, 6), (0.96, 10)):
        distance = math.sqrt(-8 * area * SIGMAS["exlpose"][joint] ** 2 * math.log(oks))
        pose = truth[:, :, :2].clone()
        pose[0, joint, 0] += distance
        result = score(found([7], pose, [0.5]), table([7], truth, boxes))
        whole = dict.fromkeys(("ap", "ar"), passed / 10)
        assert result == pytest.approx(whole | {"ap_50": 1, "ap_75": float(passed > 5)})


@pytest.mark.parametrize(("name", "joints"), [("exlpose", 14), ("coco", 17)])
def test_perfect_poses(name, joints):
    truth, boxes = people(6, joints)
    ids = [0, 0, 1, 2, 2, 2]
    result = score(
        found(ids, truth, torch.linspace(0.2, 0.9, 6)), table(ids, truth, boxes), sigmas=name
    )
    assert result == pytest.approx(dict.fromkeys(("ap", "ap_50", "ap_75", "ar"), 1.0), abs=1e-9)


def test_sigmas_are_the_published_ones():
    assert sum(SIGMAS["exlpose"]) == pytest.approx(1.15)
    assert SIGMAS["exlpose"][6:8] == (0.107, 0.107)
    assert SIGMAS["exlpose"][12:] == (0.079, 0.079)
    from pycocotools.cocoeval import Params

    assert SIGMAS["coco"] == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist())


def test_subsets():
    truth, boxes = people(3)
    good, bad = truth[:, :, :2], truth[:, :, :2] + 400
    poses = torch.stack([good[0], bad[1], good[2]])
    meter = KeypointAP()
    meter.update(found([1, 2, 3], poses, [0.9, 0.8, 0.7]), table([1, 2, 3], truth, boxes))
    assert meter.compute([1, 3])["ap"] == pytest.approx(1)
    assert meter.compute(torch.tensor([2]))["ap"] == 0
    assert meter.compute()["ar"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="none in 1 images"):
        meter.compute([99])


def test_order_of_images_does_not_matter_even_with_equal_scores():
    truth, boxes = people(8)
    generator = torch.Generator().manual_seed(3)
    poses = truth[:, :, :2] + 25 * torch.rand(8, 1, 2, generator=generator)
    ids, scores = torch.arange(8), torch.full((8,), 0.5)
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    expected = score(found(ids, poses, scores), table(ids, truth, boxes))
    assert 0 < expected["ap"] < 1
    assert expected == score(
        found(ids[order], poses[order], scores[order]),
        table(ids[order], truth[order], boxes[order]),
    )


def test_poses_on_an_image_without_persons_are_false_positives():
    truth, boxes = people(1)
    poses = torch.cat([truth, truth])
    result = score(found([1, 2], poses, [0.5, 0.9]), table([1], truth, boxes))
    assert result["ap"] == pytest.approx(0.5)


def test_no_poses_found():
    truth, boxes = people(2)
    result = score(found([], [], []), table([1, 2], truth, boxes))
    assert result == {"ap": 0, "ap_50": 0, "ap_75": 0, "ar": 0}


def test_at_most_20_poses_an_image():
    truth, boxes = people(1)
    wrong = (truth + 600).expand(20, 14, 3)
    poses = torch.cat([wrong, truth])
    targets = table([1], truth, boxes)
    assert score(found([1] * 21, poses, [0.9] * 20 + [0.1]), targets)["ar"] == 0
    assert score(found([1] * 20, poses[1:], [0.9] * 19 + [0.1]), targets)["ar"] == 1


def test_persons_without_labelled_joints_and_crowds_are_ignored():
    truth, boxes = people(2)
    truth[1, :, 2] = 0
    poses, scores = truth[:1], [0.9]
    assert score(found([1], poses, scores), table([1, 2], truth, boxes))["ar"] == 1
    truth[1, :, 2] = 2
    targets = table([1, 2], truth, boxes)
    assert score(found([1], poses, scores), targets)["ar"] == 0.5
    assert score(found([1], poses, scores), targets | {"ignore": [False, True]})["ar"] == 1


def test_no_ground_truth():
    with pytest.raises(ValueError, match="labelled joint"):
        KeypointAP().compute()
    truth, boxes = people(1)
    truth[:, :, 2] = 0
    with pytest.raises(ValueError, match="labelled joint"):
        score(found([1], truth, [0.5]), table([1], truth, boxes))


def test_bad_input():
    truth, boxes = people(2)
    good = found([1, 2], truth, [0.5, 0.6]), table([1, 2], truth, boxes)
    holed = truth.clone()
    holed[0, 0, 0] = torch.nan
    cases = [
        ({"joints": holed}, {}, "predictions: joints hold NaN"),
        ({"scores": [0.5, math.inf]}, {}, "predictions: scores hold NaN or Inf"),
        ({"scores": [0.5]}, {}, "predictions differ in length"),
        ({"joints": truth[:, :13]}, {}, r"\(N, 14, 2\)"),
        ({}, {"joints": holed}, "targets: joints hold NaN"),
        ({}, {"joints": truth[:, :, :2]}, r"\(N, 14, 3\)"),
        ({}, {"boxes": boxes[:1]}, "targets differ in length"),
        ({}, {"areas": [1.0]}, "targets differ in length"),
        ({}, {"boxes": boxes.flip(1)}, "x1 <= x2"),
    ]
    for prediction, target, words in cases:
        with pytest.raises(ValueError, match=words):
            score(good[0] | prediction, good[1] | target)
    with pytest.raises(ValueError, match="predictions have no scores"):
        score({"image_ids": [1, 2], "joints": truth}, good[1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigmas": "halpe"}, "'exlpose', 'coco'"),
        ({"sigmas": [0.1, 0.0]}, "positive"),
        ({"sigmas": []}, "positive"),
        ({"area_of_box": 0}, "positive"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        KeypointAP(**settings)
