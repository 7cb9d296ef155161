"""A light object detector, for machines without a GPU and sets that YOLOv4 never saw.

It is FCOS (Z. Tian, C. Shen, H. Chen, T. He, "FCOS: Fully Convolutional One-Stage Object
Detection", ICCV 2019) with torchvision's heads, assignment and loss, on a small backbone. It is no
paper's model: paper 4 measures detection with YOLOv4 (yolov4.py), and figures of the two are not
to be compared.

Differs from the paper: a plain backbone of 24 to 128 channels, a feature pyramid of 64 channels at
strides 4 to 32, for small images with small objects, and towers of two convolutions. Distances to
the sides of a box are a softplus, not an exponential. Objects to be ignored take their places out
of the class loss. Weights start at random; nothing is downloaded.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from llie_core.imaging import check_images, check_shapes, full_precision
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.targets import Objects, best_detections, checked_objects

STRIDES = (4, 8, 16, 32)
WIDTHS = (48, 96, 128, 128)  # channels at these strides
PYRAMID = 64  # channels of the feature pyramid and the heads
NEVER = -100.0  # a logit whose probability, loss and gradient are 0


class LightDetector(Recognizer):
    """FCOS of 1,040,069 parameters (8 classes), to be trained (`frozen=False`) before it is of use.

    Args:
        frozen: see `Recognizer`.
        classes: number of classes; labels count from 0. 8: those of `builtin-streets`.
    """

    def __init__(self, frozen: bool = True, classes: int = 8):
        super().__init__()
        self.classes = classes
        ratios = ((1.0,),) * len(STRIDES)
        self.fcos = FCOS(
            Backbone(),
            classes,
            anchor_generator=AnchorGenerator(tuple((s,) for s in STRIDES), ratios),
            head=FCOSHead(PYRAMID, 1, classes, num_convs=2),
        )
        # Distances that a ReLU cuts at 0 have no slope there, and one side of all boxes stays 0.
        regression = self.fcos.head.regression_head
        regression.bbox_reg = nn.Sequential(regression.bbox_reg, nn.Softplus())
        self.hold_statistics()
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The heads' outputs on images (B, 3, H, W) in [0, 1], H and W multiples of 32, over the A
        places of all strides: cls_logits (B, A, classes), bbox_regression (B, A, 4) and
        bbox_ctrness (B, A, 1)."""
        return self.fcos.head(self._features(x))

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        r"""FCOS's loss: focal loss of the classes, GIoU loss of the boxes, BCE of the centerness.

        .. math:: L = \frac{1}{\max(1, |P|)} \Big( \sum_a \mathrm{FL}(s_a)
                  + \sum_{a \in P} (1 - \mathrm{GIoU}(b_a, b^*_a) + \mathrm{BCE}(c_a, c^*_a)) \Big)

        P are the places of the whole batch that are asked for an object, so that L grows neither
        with the batch nor with its objects. It is the same in training mode and outside it, apart
        from the batch norm of the backbone, whose statistics only training mode changes.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image: boxes (N, 4) xyxy in pixels, labels (N,) from 0, and
                optionally ignore (N,) bool: such objects are neither sought nor background.

        Returns:
            `total` and its parts `class`, `box` and `centerness`, scalars.
        """
        check_shapes("LightDetector.loss", images=images)
        objects = checked_objects(targets, images, self.classes)
        outputs, places, counts = self._outputs(images)
        ignored = torch.stack([ignored_places(places, o) for o in objects])  # (B, A)
        outputs["cls_logits"] = outputs["cls_logits"].masked_fill(ignored.unsqueeze(2), NEVER)
        wanted = [{"boxes": o.boxes, "labels": o.labels} for o in objects]
        # FCOS itself has a loss in training mode alone; its parts do not ask for the mode.
        parts = self.fcos.compute_loss(wanted, outputs, [places] * len(images), counts)
        terms = {
            "class": parts["classification"],
            "box": parts["bbox_regression"],
            "centerness": parts["bbox_ctrness"],
        }
        return {"total": sum(terms.values()), **terms}

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        score_threshold: float = 0.0025,
        nms_iou: float = 0.6,
        detections: int = 100,
    ) -> list[dict[str, Tensor]]:
        """Find objects; the score is class probability times centerness, as YOLOv4's is class
        probability times objectness. (torchvision takes its root, by which a threshold of 0.25
        would let pass what is worth 0.06.)

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            score_threshold, nms_iou, detections: see `best_detections`.

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image, `scores` (N,),
            descending, and `labels` (N,).
        """
        check_images("LightDetector.predict", images=images)
        outputs, places, _ = self._outputs(images)
        centerness = outputs["bbox_ctrness"].sigmoid()  # (B, A, 1)
        scores = outputs["cls_logits"].sigmoid() * centerness  # (B, A, classes)
        boxes = self.fcos.box_coder.decode(
            outputs["bbox_regression"], places.expand(len(images), -1, -1)
        )
        limits = (score_threshold, nms_iou, detections)
        size = images.shape[2:]
        return [best_detections(b, s, size, *limits) for b, s in zip(boxes, scores, strict=True)]

    def _outputs(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, list[int]]:
        """The heads' outputs, the places as squares (A, 4) of their stride, and how many there
        are at each stride."""
        height, width = images.shape[2:]
        x = images.to(self.mean.dtype)
        x = F.pad(x, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]), mode="replicate")
        features = self._features(x)
        listed = ImageList(x, [tuple(x.shape[2:])])
        (places,) = self.fcos.anchor_generator(listed, features)
        outputs = {name: full_precision(x) for name, x in self.fcos.head(features).items()}
        return outputs, places, [f.shape[2] * f.shape[3] for f in features]

    def _features(self, x: Tensor) -> list[Tensor]:
        return self.fcos.backbone((x - self.mean) / self.std)


def ignored_places(places: Tensor, objects: Objects) -> Tensor:
    """Which places (A, 4) have their centre in an ignored object and in no other, (A,) bool."""
    centre = (places[:, :2] + places[:, 2:]) / 2
    return _within(centre, objects.ignored) & ~_within(centre, objects.boxes)


def _within(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points (A, 2) lie in any of the boxes (N, 4), (A,) bool."""
    above = points[:, None] >= boxes[:, :2]
    below = points[:, None] <= boxes[:, 2:]
    return (above & below).all(2).any(1)


class Backbone(nn.Module):
    """Features (B, 64, H / s, W / s) at strides s = 4, 8, 16, 32, as FCOS asks of a backbone."""

    out_channels = PYRAMID

    def __init__(self):
        super().__init__()
        self.stem = _convolution(3, 24, stride=2)
        self.stages = nn.ModuleList()
        channels = 24
        for width in WIDTHS:
            self.stages.append(
                nn.Sequential(_convolution(channels, width, stride=2), _convolution(width, width))
            )
            channels = width
        self.pyramid = FeaturePyramidNetwork(list(WIDTHS), PYRAMID)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = {}
        for stride, stage in zip(STRIDES, self.stages, strict=True):
            x = stage(x)
            features[str(stride)] = x
        return list(self.pyramid(features).values())


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
