"""Anchors of one-stage detectors: the coding of boxes, assignment, and the MultiBox loss.

W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016. Boxes are xyxy.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from llie_core.imaging import constant
from llie_core.recognizers.targets import Objects

DELTA_SCALE = (0.1, 0.1, 0.2, 0.2)
LARGEST = math.log(1000 / 16)  # change of a side that is decoded, as a logarithm


def by_anchor(x: Tensor, values: int) -> Tensor:
    """What a level's head gives of n anchors in each place, (B, n · values, h, w), as
    (B, h · w · n, values): place by place, row by row."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)


def encode(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Deltas (N, 4) that lead from anchors (N, 4) to boxes (N, 4); `decode` undoes it.

    Centres move in units of a tenth of the anchor's sides, sides grow by e to a fifth of a delta.
    """
    (start, size), (end, wanted) = _centre_size(anchors), _centre_size(boxes)
    deltas = torch.cat([(end - start) / size, (wanted / size).log()], 1)
    return deltas / constant(DELTA_SCALE, deltas)


def decode(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (N, 4) of deltas (N, 4) at anchors (N, 4); sides change by 62.5 at most."""
    start, size = _centre_size(anchors)
    deltas = deltas * constant(DELTA_SCALE, deltas)
    centre = start + deltas[:, :2] * size
    half = size * deltas[:, 2:].clamp(-LARGEST, LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def assign(anchors: Tensor, boxes: Tensor, positive: float, least: float) -> Tensor:
    """Which box each anchor has to find: its index, or −1 for none, (A,).

    An anchor finds the box that it overlaps most, from an IoU of `positive` up. The anchors that
    overlap a box most, if by `least` or more, find that box even if they overlap another one more;
    of several such boxes, the last.

    Args:
        anchors: (A, 4). boxes: (N, 4). least: more than 0.
    """
    if not len(boxes):
        return torch.full((len(anchors),), -1, device=anchors.device)
    overlap = box_iou(boxes, anchors)  # (N, A)
    best, box = overlap.max(0)  # (A,)
    box = torch.where(best >= positive, box, -1)
    most = overlap.amax(1, keepdim=True)  # (N, 1)
    order = torch.arange(1, len(boxes) + 1, device=anchors.device)[:, None]
    theirs = (((overlap == most) & (most >= least)) * order).amax(0)  # (A,), 0 for none
    return torch.where(theirs > 0, theirs - 1, box)


def assigned(
    anchors: Tensor, objects: list[Objects], positive: float, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The anchors (A, 4) of a batch that have a box to find, and those that have none.

    Returns:
        found (B, A) bool: with a box to find; background (B, A) bool: with none, not even one that
        is to be ignored; boxes (P, 4): of the anchors in `found`, image by image.
    """
    boxes = [(o.boxes.to(anchors), o.ignored.to(anchors)) for o in objects]
    which = torch.stack([assign(anchors, own, positive, least) for own, _ in boxes])  # (B, A)
    ignored = torch.stack([assign(anchors, other, positive, least) for _, other in boxes]) >= 0
    wanted = torch.cat([own[a[a >= 0]] for (own, _), a in zip(boxes, which, strict=True)])
    return which >= 0, (which < 0) & ~ignored, wanted


def multibox_loss(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    objects: list[Objects],
    positive: float,
    least: float,
    negatives: int,
    box_weight: float,
) -> dict[str, Tensor]:
    r"""Loss of a detector of one class, with the hardest of the background anchors.

    .. math:: L = \frac{1}{\sum_b \max(P_b, 1)} \Big( \sum_{a \in P \cup N} \mathrm{BCE}(s_a)
        + w \sum_{a \in P} \mathrm{smoothL1}(d_a - d^*_a) \Big)

    P are the anchors that have a box to find, P_b those of image b; N are the background anchors
    of largest loss, `negatives` times max(P_b, 1) in image b. Smooth L1 is summed over four deltas.

    Args:
        logits: (B, A), of the class. deltas: (B, A, 4). anchors: (A, 4).
        objects: one `Objects` per image.
        positive, least: see `assign`.
        negatives: background anchors a positive one. box_weight: w.

    Returns:
        Scalars `total`, and `class` and `box` without the weight w.
    """
    found, background, boxes = assigned(anchors, objects, positive, least)
    number = found.sum(1).clamp(min=1)  # (B,)
    each = F.binary_cross_entropy_with_logits(logits, found.to(logits), reduction="none")
    rank = each.detach().masked_fill(~background, -1).argsort(1, descending=True).argsort(1)
    hardest = background & (rank < negatives * number[:, None])
    wanted = encode(anchors.expand_as(deltas)[found], boxes)  # (P, 4)
    terms = {
        "class": each[found | hardest].sum() / number.sum(),
        "box": F.smooth_l1_loss(deltas[found], wanted, reduction="sum") / number.sum(),
    }
    return {"total": terms["class"] + box_weight * terms["box"], **terms}


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sides of boxes (N, 4), both (N, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
