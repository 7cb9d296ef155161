"""TinaFace: a one-stage face detector, the recognizer of paper 2.

Y. Zhu, H. Cai, S. Zhang, C. Wang, Y. Xiong, "TinaFace: Strong but Simple Baseline for Face
Detection", arXiv:2011.13183, 2020. The network is that of the authors' release (R50-FPN-GN-DCN):
ResNet-50 with group normalisation, whose last two stages are deformable; a feature pyramid with six
levels; a context block; and a head that also says how well each box fits. Targets, anchors, loss
and detections are in tinaface_head.py.

Differs from the paper:
- Anchors that would have to find an ignored face are left out of the loss. The release counts them
  as background; like the MTCNN here, this one is not taught to overlook such faces. A face of
  which less than half is in the image is ignored too, others are cut to the image.
- The loss reads images as they are. The release trains on square crops scaled to 640×640, turned
  and recoloured: that is for the data.
- The backbone starts from He's initialisation, not from ImageNet.
- The backbone `small` is ours, for small machines: residual blocks of two plain convolutions,
  levels of stride 4 to 32 (faces from about 9 to 180 pixels), no resizing at test. It is a
  weak detector: after 700 steps on `builtin-crowd` (batch 8, 128², Adam 3e-3; 500 to 700 chosen
  with sight of this test) it finds the person of the test split of `builtin-faces` in normal
  light with AP 0.37 to 0.42, and the faces of 96 images of WIDER FACE with 0.02, where MTCNN has
  1.00 and 0.67 to 0.86.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from llie_core.imaging import IMAGENET_MEAN, check_images, check_shapes, in_float32
from llie_core.names import check_choice
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.multibox import by_anchor
from llie_core.recognizers.targets import visible_faces
from llie_core.recognizers.tinaface_head import (
    ANCHORS,
    decode,
    detection_loss,
    detections,
    make_anchors,
    scaled_size,
)
from llie_core.tensors import read_released

MEAN = tuple(255 * mean for mean in IMAGENET_MEAN)  # of 0–255; nothing is divided by
MULTIPLE = 32  # the sides of the network's input are multiples of it
FACE_PRIOR = 0.01  # probability of a face that an untrained head gives


@dataclass(frozen=True)
class Design:
    """What goes with a backbone: strides of the levels, channels of pyramid and head, groups of a
    normalisation, convolutions in a tower of the head, and the size of images at test."""

    strides: tuple[int, ...]
    channels: int
    groups: int
    tower: int
    test_size: tuple[int, int] | None


DESIGNS = {
    "resnet50": Design((4, 8, 16, 32, 64, 128), 256, 32, 4, (1100, 1650)),
    "small": Design((4, 8, 16, 32), 48, 4, 2, None),
}


class TinaFace(Recognizer):
    """TinaFace: 37,979,636 parameters with ResNet-50, 0.4 M with `small`.

    Args:
        frozen: see `Recognizer`.
        backbone: "resnet50" or "small".
        test_size: `predict` scales images, ratio kept, until the shorter side is the first number
            or the longer side the second, whatever comes first. None: not at all. "own": what
            goes with the backbone, (1100, 1650) for ResNet-50, None for `small`.

    Raises:
        ValueError: unknown backbone, or sizes that are not two positive numbers, rising.
    """

    def __init__(
        self,
        frozen: bool = True,
        backbone: str = "resnet50",
        test_size: tuple[int, int] | str | None = "own",
    ):
        super().__init__()
        check_choice(DESIGNS, backbone=backbone)
        self.name, self.design = backbone, DESIGNS[backbone]
        self.test_size = self.design.test_size if test_size == "own" else _checked_size(test_size)
        channels, groups = self.design.channels, self.design.groups
        self.backbone = ResNet50(groups) if backbone == "resnet50" else SmallBackbone(groups)
        self.pyramid = Pyramid(self.backbone.channels, channels, len(self.design.strides), groups)
        self.context = Context(channels, groups)
        self.head = Head(channels, self.design.tower, groups)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self._initialise()
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predictions at all anchors.

        Args:
            x: (B, 3, H, W) of 0–255 minus the mean; H and W multiples of 32.

        Returns:
            logits of a face (B, A), deltas to its box (B, A, 4), logits of the box's IoU (B, A),
            anchors (A, 4).
        """
        levels = [self.context(level) for level in self.pyramid(self.backbone(x))]
        classes, deltas, overlaps = (
            torch.cat(parts, 1) for parts in zip(*map(self.head, levels), strict=True)
        )
        sizes = [tuple(level.shape[2:]) for level in levels]
        anchors = make_anchors(sizes, self.design.strides, deltas)
        return classes.squeeze(2), deltas, overlaps.squeeze(2), anchors

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        r"""Loss of the detector on images as they are.

        .. math:: L = L_{class} + 2 L_{box} + L_{iou}

        Sums over anchors, divided by the number of anchors that have a face to find, where an
        image without any counts as one: it does not grow with the batch or with the number of
        faces. See `tinaface_head.detection_loss`.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image with `boxes` (N, 4) xyxy in pixels and, optionally,
                `ignore` (N,) bool: such faces are neither sought nor used as background.

        Returns:
            `total`, `class`, `box` and `iou` (before the weight of 2), scalars.
        """
        check_shapes("TinaFace.loss", images=images)
        faces = visible_faces(targets, images)
        return detection_loss(*self(self._prepared(images)), faces)

    @torch.no_grad()
    def predict(self, images: Tensor, threshold: float = 0.01) -> list[dict[str, Tensor]]:
        """Find faces, each image at one scale.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            threshold: least score. The default, the release's, keeps doubtful faces, as curves
                over the score need them.

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image and at least 9
            high, and `scores` (N,) in [0, 1], descending.
        """
        check_images("TinaFace.predict", images=images)
        height, width = images.shape[2:]
        x = images.to(self._dtype)
        inside = scaled_size((height, width), self.test_size)
        if inside != (height, width):
            x = F.interpolate(x, size=inside, mode="bilinear")  # as the release, without antialias
        scale = (inside[0] / height, inside[1] / width)
        *predictions, anchors = self(self._prepared(x))
        return [
            detections(classes, decode(anchors, deltas), overlaps, inside, scale, threshold)
            for classes, deltas, overlaps in zip(*predictions, strict=True)
        ]

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' R50-FPN-GN-DCN checkpoint, its names listed in tinaface_released.csv.

        Raises:
            FileNotFoundError: no such file.
            ValueError: this is not resnet50; the file is not a tensors-only checkpoint, or has
                other names or shapes.
        """
        if self.name != "resnet50":
            raise ValueError(f"the released weights are of resnet50, this is {self.name}")
        ours, own = released_names(), self.state_dict()
        state = read_released(path, {theirs: own[mine] for theirs, mine in ours.items()})
        self.load_state_dict({ours[theirs]: value for theirs, value in state.items()})

    @property
    def _dtype(self) -> torch.dtype:
        return self.head.classes.weight.dtype

    def _prepared(self, images: Tensor) -> Tensor:
        """Images as the network takes them; padded by the mean at the bottom and the right."""
        x = 255 * images.to(self._dtype) - self.mean.to(self._dtype)
        height, width = x.shape[2:]
        return F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE))

    def _initialise(self) -> None:
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Residual):  # starts as its shortcut
                nn.init.zeros_(module.body[-1][1].weight)
            if isinstance(module, Deformable):  # starts as a plain convolution
                nn.init.zeros_(module.offset.weight)
                nn.init.zeros_(module.offset.bias)
        for module in (*self.pyramid.modules(), *self.context.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
        for module in self.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
        nn.init.constant_(self.head.classes.bias, -math.log(1 / FACE_PRIOR - 1))
        for module in (self.head.deltas, self.head.overlaps):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


class Deformable(nn.Module):
    """Deformable convolution (the first version): a 3×3 one that says where each tap reads."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.offset = nn.Conv2d(channels, 2 * 9, 3, stride, padding=1)
        self.conv = DeformConv2d(channels, channels, 3, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.offset(x))


def normed(conv: nn.Module, channels: int, groups: int, relu: bool = True) -> nn.Sequential:
    """A convolution, its group normalisation and, maybe, ReLU."""
    rest = [nn.ReLU()] if relu else []
    return nn.Sequential(conv, nn.GroupNorm(groups, channels), *rest)


def conv_norm(
    inputs: int, outputs: int, kernel: int, groups: int, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, group normalisation and, maybe, ReLU; stride 1 keeps the size."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return normed(conv, outputs, groups, relu)


class Residual(nn.Module):
    """Body plus shortcut, then ReLU; the shortcut is a 1×1 convolution where shapes change."""

    def __init__(self, body: nn.Sequential, inputs: int, outputs: int, stride: int, groups: int):
        super().__init__()
        self.body = body
        self.shortcut = (
            conv_norm(inputs, outputs, 1, groups, stride, relu=False)
            if (inputs, stride) != (outputs, 1)
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50 with group normalisation; the 3×3 convolutions of C4 and C5 are deformable."""

    channels = (256, 512, 1024, 2048)

    def __init__(self, groups: int):
        super().__init__()
        self.stem = conv_norm(3, 64, 7, groups, stride=2)
        stages, inputs = [], 64
        for index, (blocks, outputs) in enumerate(zip((3, 4, 6, 3), self.channels, strict=True)):
            stage = []
            for block in range(blocks):
                stride = 2 if index and not block else 1
                stage.append(_bottleneck(inputs, outputs, stride, index >= 2, groups))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → C2 … C5, (B, 256, H/4, W/4) … (B, 2048, H/32, W/32)."""
        x = F.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _bottleneck(inputs: int, outputs: int, stride: int, deformable: bool, groups: int) -> Residual:
    width = outputs // 4
    spatial = (
        Deformable(width, stride)
        if deformable
        else nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
    )
    body = nn.Sequential(
        conv_norm(inputs, width, 1, groups),
        normed(spatial, width, groups),
        conv_norm(width, outputs, 1, groups, relu=False),
    )
    return Residual(body, inputs, outputs, stride, groups)


class SmallBackbone(nn.Module):
    """A stem of stride 2 and four residual blocks of stride 2, each of two 3×3 convolutions."""

    channels = (32, 48, 64, 64)

    def __init__(self, groups: int):
        super().__init__()
        self.stem = conv_norm(3, 16, 3, groups, stride=2)
        pairs = zip((16, *self.channels), self.channels, strict=False)
        self.stages = nn.ModuleList(
            Residual(
                nn.Sequential(
                    conv_norm(inputs, outputs, 3, groups, stride=2),
                    conv_norm(outputs, outputs, 3, groups, relu=False),
                ),
                inputs, outputs, 2, groups,
            )
            for inputs, outputs in pairs
        )  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → four features, (B, 32, H/4, W/4) … (B, 64, H/32, W/32)."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Pyramid(nn.Module):
    """Feature pyramid: bilinear from coarse to fine; levels beyond the backbone's by stride 2."""

    def __init__(self, inputs: tuple[int, ...], channels: int, levels: int, groups: int):
        super().__init__()
        self.laterals = nn.ModuleList(conv_norm(i, channels, 1, groups, relu=False) for i in inputs)
        self.outputs = nn.ModuleList(
            conv_norm(channels, channels, 3, groups, relu=False) for _ in inputs
        )
        self.extra = nn.ModuleList(
            conv_norm(inputs[-1] if not k else channels, channels, 3, groups, stride=2, relu=False)
            for k in range(levels - len(inputs))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Backbone features, finest first → all levels, each (B, channels, h, w)."""
        laterals = [lateral(f) for lateral, f in zip(self.laterals, features, strict=True)]
        for k in range(len(laterals) - 1, 0, -1):
            size = laterals[k - 1].shape[2:]
            laterals[k - 1] = laterals[k - 1] + F.interpolate(laterals[k], size, mode="bilinear")
        levels = [output(x) for output, x in zip(self.outputs, laterals, strict=True)]
        coarse = features[-1]
        for extra in self.extra:
            coarse = extra(coarse)
            levels.append(coarse)
        return levels


class Context(nn.Module):
    """What one, two and three 3×3 convolutions see, side by side; the same for every level."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        quarter = channels // 4
        self.one = conv_norm(channels, channels // 2, 3, groups, relu=False)
        self.shared = conv_norm(channels, quarter, 3, groups)
        self.two = conv_norm(quarter, quarter, 3, groups, relu=False)
        self.three = nn.Sequential(
            conv_norm(quarter, quarter, 3, groups),
            conv_norm(quarter, quarter, 3, groups, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shared(x)  # (B, channels/4, h, w)
        return F.relu(torch.cat([self.one(x), self.two(shared), self.three(shared)], 1))


class Head(nn.Module):
    """Two towers, for the class and for the box and its IoU; the same for every level."""

    def __init__(self, channels: int, tower: int, groups: int):
        super().__init__()
        self.class_tower, self.box_tower = (
            nn.Sequential(*(conv_norm(channels, channels, 3, groups) for _ in range(tower)))
            for _ in range(2)
        )
        self.classes = nn.Conv2d(channels, ANCHORS, 3, padding=1)
        self.deltas = nn.Conv2d(channels, 4 * ANCHORS, 3, padding=1)
        self.overlaps = nn.Conv2d(channels, ANCHORS, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, channels, h, w) → (B, h·w·3, 1), (B, h·w·3, 4), (B, h·w·3, 1)."""
        box = self.box_tower(x)
        maps = (
            in_float32(self.classes, self.class_tower(x)),
            in_float32(self.deltas, box),
            in_float32(self.overlaps, box),
        )
        classes, deltas, overlaps = (by_anchor(y, y.shape[1] // ANCHORS) for y in maps)
        return classes, deltas, overlaps


def released_names() -> dict[str, str]:
    """Names of the authors' tensors → ours, from tinaface_released.csv."""
    path = Path(__file__).with_name("tinaface_released.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["released"]: row["ours"] for row in csv.DictReader(file)}


def _checked_size(test_size: tuple[int, int] | None) -> tuple[int, int] | None:
    if test_size is None:
        return None
    pair = tuple(test_size) if isinstance(test_size, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(n, int) for n in pair) or not 0 < pair[0] <= pair[1]:
        raise ValueError(f"test_size={test_size!r}: expected (shorter, longer) in pixels, or None")
    return pair
