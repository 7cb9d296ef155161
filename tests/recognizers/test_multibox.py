"""Anchors of one-stage detectors: coding, assignment and the MultiBox loss."""

import math

import pytest
import torch
from seeded import seeded

from llie_core.recognizers.multibox import assign, by_anchor, decode, encode, multibox_loss
from llie_core.recognizers.targets import Objects

# Coding


def test_coding_is_undone():
    corner, size = 40 * seeded(50, 2), 5 + 30 * seeded(50, 2, seed=1)
    boxes = torch.cat([corner, corner + size], 1)
    anchors = torch.cat([corner - 3, corner + 2 + 20 * seeded(50, 2, seed=2)], 1)
    deltas = encode(anchors, boxes)
    torch.testing.assert_close(decode(anchors, deltas), boxes, rtol=0, atol=1e-4)
    assert not encode(boxes, boxes).any()


def test_coding_by_hand():
    anchor = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    box = torch.tensor([[1.0, 5.0, 21.0, 25.0]])  # centre +6, +5; twice as wide, as high
    expected = torch.tensor([[0.6 / 0.1, 0.25 / 0.1, math.log(2) / 0.2, 0.0]])
    torch.testing.assert_close(encode(anchor, box), expected)


def test_a_side_grows_by_62_at_most():
    anchor = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    for delta, factor in ((1e4, 62.5), (-1e4, 1 / 62.5)):
        box = decode(anchor, torch.tensor([[0.0, 0.0, delta, delta]]))
        torch.testing.assert_close(box[0, 2:] - box[0, :2], torch.full((2,), 10 * factor))


# Assignment


def test_a_box_is_asked_of_its_best_anchor_from_the_least_overlap():
    """10 of 40 pixels: below 0.35 for all anchors, above 0.2 for the best."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]])
    box = torch.tensor([[0.0, 0.0, 10.0, 40.0]])
    assert assign(anchors, box, 0.35, 0.35).tolist() == [-1, -1, -1]
    assert assign(anchors, box, 0.35, 0.2).tolist() == [0, -1, -1]
    assert assign(anchors, box, 0.35, 0.26).tolist() == [-1, -1, -1]
    # A box that no anchor touches is asked of none.
    assert assign(anchors, box + 100, 0.5, 1e-3).tolist() == [-1, -1, -1]


# Loss

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]])


def objects(boxes, ignored=()):
    boxes = torch.tensor(boxes).reshape(-1, 4)
    return Objects(boxes, torch.zeros(len(boxes)), torch.tensor(ignored).reshape(-1, 4))


def bce(logit, wanted):
    return math.log1p(math.exp(-logit if wanted else logit))


def test_loss_by_hand():
    """Two images; one object, 2 pixels right of the first anchor, and two negatives for it."""
    logits = torch.tensor([[1.0, -1.0, 2.0, 0.5], [3.0, -2.0, 0.0, 1.0]])
    deltas = torch.zeros(2, 4, 4)
    deltas[0, 0, 2] = 0.5
    found = [objects([[2.0, 0.0, 12.0, 10.0]]), objects([])]
    terms = multibox_loss(logits, deltas, ANCHORS, found, 0.5, 1e-3, 2, 3.0)
    # Of the second image, as if it had one object: the two negatives of largest logit.
    classes = bce(1.0, True) + bce(2.0, False) + bce(0.5, False) + bce(3.0, False) + bce(1.0, False)
    assert terms["class"].item() == pytest.approx(classes / 2, rel=1e-6)
    shift = 0.2 / 0.1  # smooth L1: 2 − 0.5, and 0.5²/2 of the width
    assert terms["box"].item() == pytest.approx((shift - 0.5 + 0.125) / 2, rel=1e-6)
    torch.testing.assert_close(terms["total"], terms["class"] + 3 * terms["box"])


def test_ignored_objects_are_no_background():
    logits = torch.zeros(1, 4, requires_grad=True)
    found = [objects([], [[0.0, 0.0, 10.0, 10.0]])]
    multibox_loss(logits, torch.zeros(1, 4, 4), ANCHORS, found, 0.5, 1e-3, 7, 1.0)[
        "total"
    ].backward()
    assert (logits.grad[0] != 0).tolist() == [False, True, True, True]


def test_loss_gradcheck():
    logits = (seeded(2, 4, dtype=torch.float64) - 0.5).requires_grad_()
    deltas = (seeded(2, 4, 4, seed=1, dtype=torch.float64) - 0.5).requires_grad_()
    found = [objects([[2.0, 1.0, 12.0, 9.0], [41.0, 0.0, 49.0, 11.0]]), objects([])]

    def total(logits, deltas):
        return multibox_loss(logits, deltas, ANCHORS.double(), found, 0.5, 0.1, 1, 2.0)["total"]

    assert torch.autograd.gradcheck(total, (logits, deltas))


def test_what_a_head_gives_is_ordered_by_place_then_anchor():
    """Two anchors of three values in 1 × 2 places: channel c of place p holds 10 p + c."""
    x = torch.arange(6.0).view(1, 6, 1, 1) + torch.tensor([0.0, 10.0]).view(1, 1, 1, 2)
    assert by_anchor(x, 3)[0].tolist() == [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
