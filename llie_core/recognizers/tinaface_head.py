"""Targets, anchors, box coding, assignment, loss and detections of TinaFace (see tinaface.py).

Y. Zhu, H. Cai, S. Zhang, C. Wang, Y. Xiong, "TinaFace: Strong but Simple Baseline for Face
Detection", arXiv:2011.13183, 2020; numbers that the paper leaves out are those of its release.
Boxes are xyxy in pixels of the network's input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import distance_box_iou_loss, nms, sigmoid_focal_loss

from llie_core.recognizers.multibox import assigned, decode
from llie_core.recognizers.targets import Objects

ANCHORS = 3  # in a place: sides 2^(4/3), 2^(5/3) and 4 strides
HEIGHT_TO_WIDTH = 1.3
POSITIVE_IOU = 0.35  # of an anchor with the face that it has to find
BOX_WEIGHT = 2.0
CLASS_POWER, IOU_POWER = 0.8, 1.2  # of the two probabilities in a score
LEAST_HEIGHT = 9.0  # pixels of the image as it was given
NMS_IOU = 0.45


def scaled_size(size: tuple[int, int], test_size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width after scaling (H, W) to a test size as `TinaFace` takes it."""
    if test_size is None:
        return size
    factor = min(test_size[0] / min(size), test_size[1] / max(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def make_anchors(sizes: list[tuple[int, int]], strides: tuple[int, ...], like: Tensor) -> Tensor:
    """Anchors of all levels, places row by row, three in each: (A, 4).

    An anchor's side, √(width · height), is 2^(4/3), 2^(5/3) or 4 strides, its height 1.3 times
    its width; it is centred on column and row times the stride, and nothing is rounded.

    Args:
        sizes: rows and columns of each level's map. strides: pixels a place, finest first.
        like: a tensor of the wanted type and device.
    """
    levels = []
    for (rows, columns), stride in zip(sizes, strides, strict=True):
        side = stride * 2 ** torch.tensor([4 / 3, 5 / 3, 2.0], dtype=torch.float64)  # (3,)
        width = side / HEIGHT_TO_WIDTH**0.5
        half = torch.stack([width, width * HEIGHT_TO_WIDTH], 1) / 2  # (3, 2)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = stride * torch.stack([x, y], 2).reshape(-1, 1, 2)  # (rows · columns, 1, 2)
        levels.append(torch.cat([centre - half, centre + half], 2).reshape(-1, 4))
    return torch.cat(levels).to(like)


def detection_loss(
    classes: Tensor, deltas: Tensor, overlaps: Tensor, anchors: Tensor, faces: list[Objects]
) -> dict[str, Tensor]:
    r"""Focal loss of all anchors, DIoU and IoU losses of those that have a face to find.

    .. math:: L = \frac{1}{\sum_b \max(P_b, 1)} \Big( \sum_a \mathrm{focal}(c_a)
        + 2 \sum_{a \in P} \mathrm{DIoU}(d_a, g_a)
        + \sum_{a \in P} \mathrm{BCE}(o_a, \mathrm{IoU}(d_a, g_a)) \Big)

    P are the anchors assigned to a face g, P_b those of image b, d the decoded boxes; focal has
    γ = 2 and α = 0.25. The IoU is the target of the third term, without gradient.
    Anchors that would have to find an ignored face are left out.

    Args:
        classes, overlaps: logits (B, A). deltas: (B, A, 4). anchors: (A, 4).
        faces: one `Objects` per image.

    Returns:
        Scalars `total`, and `class`, `box` and `iou` without their weights of 1, 2 and 1.
    """
    positive, background, wanted = assigned(anchors, faces, POSITIVE_IOU, POSITIVE_IOU)
    counted = positive | background
    found = decode(anchors.expand_as(deltas)[positive], deltas[positive])  # (P, 4)

    focal = sigmoid_focal_loss(classes[counted], positive[counted].to(classes), reduction="sum")
    box = distance_box_iou_loss(found, wanted, reduction="sum")
    target = paired_iou(found.detach(), wanted)
    iou = F.binary_cross_entropy_with_logits(overlaps[positive], target, reduction="sum")
    number = positive.sum(1).clamp(min=1).sum()
    terms = {"class": focal / number, "box": box / number, "iou": iou / number}
    return {"total": terms["class"] + BOX_WEIGHT * terms["box"] + terms["iou"], **terms}


def detections(
    classes: Tensor,
    boxes: Tensor,
    overlaps: Tensor,
    inside: tuple[int, int],
    scale: tuple[float, float],
    threshold: float,
) -> dict[str, Tensor]:
    """One image's faces, best first.

    A score is class^0.8 · iou^1.2 of the two probabilities. Boxes are cut to the image and brought
    to the pixels of the image as given, where those less than 9 high are dropped.

    Args:
        classes, overlaps: logits (A,). boxes: (A, 4) in pixels of the network's input.
        inside: height and width of the image there.
        scale: factors of height and width from the image as given.
        threshold: least score.

    Returns:
        `boxes` (N, 4) and `scores` (N,).
    """
    scores = classes.sigmoid() ** CLASS_POWER * overlaps.sigmoid() ** IOU_POWER
    kept = scores > threshold
    scores, boxes = scores[kept], boxes[kept]
    (height, width), (down, across) = inside, scale
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
    boxes = boxes / boxes.new_tensor([across, down, across, down])
    size = boxes[:, 2:] - boxes[:, :2]
    kept = (size[:, 1] >= LEAST_HEIGHT) & (size[:, 0] > 0)
    scores, boxes = scores[kept], boxes[kept]
    kept = nms(boxes, scores, NMS_IOU)
    return {"boxes": boxes[kept], "scores": scores[kept]}


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N,) of the boxes a (N, 4) and b (N, 4), row by row."""
    overlap = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    inside = overlap.clamp(min=0).prod(1)
    return inside / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inside)
