r"""The loss of YOLOv4, as the authors' yolov4.cfg sets it.

A. Bochkovskiy, C.-Y. Wang, H.-Y. M. Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection",
arXiv:2004.10934, 2020; CIoU: Z. Zheng et al., "Distance-IoU Loss: Faster and Better Learning for
Bounding Box Regression", AAAI 2020.

Differs from the authors' program:
- it states gradients alone, summed over an image; this is the loss that they are gradients of;
- a prediction that several objects of one class claim has a box term for each of them, as there;
  where the objects differ in class, theirs are divided by the number of classes and ours are not;
- any overlap above 0.7 lifts a prediction out of the background, whatever its class;
- objects marked to be ignored are no background either.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou_loss

from llie_core.recognizers.targets import Objects

STRIDES = (8, 16, 32)
IGNORE_ABOVE = 0.7  # IoU with an object from which a prediction is not background
ANCHOR_IOU = 0.213  # of shapes, from which an anchor beside the best is asked for an object
BOX_WEIGHT = 0.07  # iou_normalizer


def yolov4_loss(
    predictions: tuple[Tensor, Tensor, Tensor], objects: list[Objects], anchors: Tensor, size: int
) -> dict[str, Tensor]:
    r"""Sums over the predictions of an image, averaged over the B images.

    .. math:: L = \frac{1}{B} \Big( 0.07 \sum_{(o, n)} (1 - \mathrm{CIoU}(b_n, b_o))
              + \sum_{n \in P \cup N} \mathrm{BCE}(s_n, [n \in P])
              + \sum_{n \in P} \sum_c \mathrm{BCE}(s_{nc}, y_{nc}) \Big)

    An object o is asked of the prediction n in the cell of its centre whose anchor is most like it
    in shape, and of those whose anchor's shape has IoU > 0.213 with it; P are all predictions so
    asked. N are the others, but for those whose box has IoU > 0.7 with an object, or lies by more
    than 0.7 of its area in one that is ignored. The loss grows with the number of objects an image
    holds, not with the batch.

    Args:
        predictions: boxes (B, N, 4) xyxy, objectness logits (B, N), class logits (B, N, classes);
            N over strides, anchors, rows and columns.
        objects: B of them, in the same pixels as the boxes.
        anchors: (9, 2) widths and heights, three a stride.
        size: side of the network's square input.

    Returns:
        `total` and its parts `box`, `objectness`, `class`, weights included; scalars.
    """
    boxes, objectness, classes = predictions
    image, row, source = assign(objects, anchors, size)
    wanted = torch.cat([o.boxes for o in objects])[source]
    labels = torch.cat([o.labels for o in objects])[source]

    positive = torch.zeros_like(objectness, dtype=torch.bool)
    positive[image, row] = True
    counted = positive | background(boxes.detach(), objects)
    objectness_loss = F.binary_cross_entropy_with_logits(
        objectness[counted], positive[counted].to(objectness), reduction="sum"
    )
    names = torch.zeros_like(classes)
    names[image, row, labels] = 1
    class_loss = F.binary_cross_entropy_with_logits(
        classes[positive], names[positive], reduction="sum"
    )
    terms = {
        "box": BOX_WEIGHT * complete_box_iou_loss(boxes[image, row], wanted, reduction="sum"),
        "objectness": objectness_loss,
        "class": class_loss,
    }
    terms = {name: value / len(boxes) for name, value in terms.items()}
    return {"total": sum(terms.values()), **terms}


def assign(objects: list[Objects], anchors: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a prediction and an object that it is asked for.

    Objects whose centre lies outside the square are left out.

    Returns:
        image (P,), row (P,) among its N predictions, and number (P,) of the object in the whole
        batch.
    """
    boxes = torch.cat([o.boxes for o in objects])
    counts = torch.tensor([len(o.boxes) for o in objects], device=boxes.device)
    image_of = torch.arange(len(objects), device=boxes.device).repeat_interleave(counts)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2  # (T, 2)
    inside = ((centre >= 0) & (centre < size)).all(1)

    corner = torch.zeros_like(anchors)
    shapes = torch.cat([corner, anchors], 1)
    overlap = box_iou(boxes - boxes[:, :2].repeat(1, 2), shapes)  # (T, 9)
    asked = overlap > ANCHOR_IOU
    asked |= F.one_hot(overlap.argmax(1), len(anchors)).bool()
    source, anchor = (asked & inside[:, None]).nonzero(as_tuple=True)

    strides = torch.tensor(STRIDES, device=boxes.device)
    cells = size // strides  # (3,) cells along a side
    starts = F.pad(3 * cells**2, (1, 0)).cumsum(0)[:-1]  # (3,) first row of each stride
    level = anchor // 3
    x, y = (centre[source] / strides[level][:, None]).long().T
    row = starts[level] + ((anchor % 3) * cells[level] + y) * cells[level] + x
    return image_of[source], row, source


def background(boxes: Tensor, objects: list[Objects]) -> Tensor:
    """Which predicted boxes (B, N, 4) cover no object, (B, N) bool."""
    return torch.stack([_covers_nothing(b, o) for b, o in zip(boxes, objects, strict=True)])


def _covers_nothing(boxes: Tensor, objects: Objects) -> Tensor:
    free = (box_iou(boxes, objects.boxes) <= IGNORE_ABOVE).all(1)
    return free & (share_within(boxes, objects.ignored) <= IGNORE_ABOVE).all(1)


def share_within(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share (N, M) of each box's (N, 4) area that lies in each region (M, 4)."""
    low = torch.maximum(boxes[:, None, :2], regions[:, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[:, 2:])
    inside = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return inside / area.clamp(min=1e-9)[:, None]
