"""YOLOv4: one-stage detection of COCO's 80 classes.

A. Bochkovskiy, C.-Y. Wang, H.-Y. M. Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection",
arXiv:2004.10934, 2020; the detector of paper 4 (DRGN). The network is that of the authors'
yolov4.cfg: CSPDarknet53 with Mish, spatial pyramid pooling, a path aggregation neck with leaky
ReLU, three heads with three anchors each. The loss is in yolov4_loss.py.

Differs from the paper:
- images are letterboxed (scaled with their ratio kept, centred, the rest grey), by an antialiased
  bilinear filter that lets the gradient reach every pixel; the authors' program stretches them;
- a box grows to at most 62.5 times its anchor, so that no exponential overflows;
- nothing of the training recipe is here (mosaic, CutMix, DropBlock, label smoothing).

The public weights are not here: `load_darknet_weights` reads the authors' yolov4.weights, whose
layout and size (257,717,640 bytes) its tests hold to with a file that they write themselves.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, full_precision
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.targets import Objects, best_detections, checked_objects
from llie_core.recognizers.yolov4_loss import yolov4_loss

STRIDES = (8, 16, 32)
ANCHORS = (  # width and height in pixels of the network's input, three a stride
    ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0)),
    ((36.0, 75.0), (76.0, 55.0), (72.0, 146.0)),
    ((142.0, 110.0), (192.0, 243.0), (459.0, 401.0)),
)
SCALE_XY = (1.2, 1.1, 1.05)
GREY = 0.5  # around a letterboxed image, as in the authors' program
LARGEST = 4.135  # log 62.5
HEADER_BYTES = 20  # version: three int32; images seen in training: int64


class YOLOv4(Recognizer):
    """YOLOv4: 64,363,101 parameters with 80 classes, 30.05 GMAC at 416×416.

    Args:
        frozen: see `Recognizer`.
        classes: number of classes; labels count from 0, in COCO's order for the public weights.
        test_size: side of the square that images are letterboxed to, a multiple of 32.
    """

    def __init__(self, frozen: bool = True, classes: int = 80, test_size: int = 416):
        super().__init__()
        if test_size <= 0 or test_size % STRIDES[-1]:
            raise ValueError(f"test_size={test_size}: expected a multiple of {STRIDES[-1]}")
        self.classes, self.test_size = classes, test_size
        # In the order of yolov4.cfg, on which load_darknet_weights depends.
        self.backbone = CSPDarknet53()
        self.neck = Neck(3 * (5 + classes))
        self.register_buffer("anchors", torch.tensor(ANCHORS), persistent=False)  # (3, 3, 2)
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw predictions (B, 3 (5 + classes), S / s, S / s) at strides s = 8, 16, 32 of images
        (B, 3, S, S) in [0, 1]."""
        return [full_precision(y) for y in self.neck(*self.backbone(x))]

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Box, objectness and class loss; see `yolov4_loss` for the formula and normalisation.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image: boxes (N, 4) xyxy in pixels, labels (N,) from 0, and
                optionally ignore (N,) bool: such objects are neither sought nor background.

        Returns:
            `total` and its parts `box`, `objectness` and `class`, weights included; scalars.
        """
        check_shapes("YOLOv4.loss", images=images)
        objects = checked_objects(targets, images, self.classes)
        x, scale, offset = letterbox(images.to(self.anchors.dtype), self.test_size)
        moved = [
            Objects(o.boxes * scale + offset, o.labels, o.ignored * scale + offset) for o in objects
        ]
        rows = self.decode(self(x))
        return yolov4_loss(rows, moved, self.anchors.flatten(0, 1), self.test_size)

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        score_threshold: float = 0.005,
        nms_iou: float = 0.45,
        detections: int = 100,
    ) -> list[dict[str, Tensor]]:
        """Find objects.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            score_threshold: least score, objectness times class probability. The default keeps
                doubtful boxes, as curves over the score need them.
            nms_iou: of two boxes of one class that overlap more, the lesser goes.
            detections: at most so many boxes an image (COCO evaluates 100).

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image, `scores` (N,),
            descending, and `labels` (N,).
        """
        check_images("YOLOv4.predict", images=images)
        x, scale, offset = letterbox(images.to(self.anchors.dtype), self.test_size)
        boxes, objectness, classes = self.decode(self(x))
        boxes = (boxes - offset) / scale
        scores = objectness.sigmoid().unsqueeze(2) * classes.sigmoid()  # (B, N, classes)
        limits = (score_threshold, nms_iou, detections)
        size = images.shape[2:]
        return [best_detections(b, s, size, *limits) for b, s in zip(boxes, scores, strict=True)]

    def decode(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, N, 4) xyxy in pixels of the network's input, objectness logits (B, N) and
        class logits (B, N, classes); N runs over strides, anchors, rows and columns."""
        parts = [self._decode(y, i) for i, y in enumerate(maps)]
        return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))

    def _decode(self, y: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the i-th stride's map (B, 3 (5 + classes), h, w)."""
        y = y.unflatten(1, (3, -1)).permute(0, 1, 3, 4, 2)  # (B, 3, h, w, 5 + classes)
        height, width = y.shape[2:4]
        rows = torch.arange(height, device=y.device)
        columns = torch.arange(width, device=y.device)
        cell = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2)  # (h, w, 2)
        centre = y[..., :2].sigmoid() * SCALE_XY[i] - (SCALE_XY[i] - 1) / 2
        centre = (centre + cell) * STRIDES[i]
        extent = y[..., 2:4].clamp(max=LARGEST).exp() * self.anchors[i, :, None, None]
        boxes = torch.cat([centre - extent / 2, centre + extent / 2], -1)
        return boxes.flatten(1, 3), y[..., 4].flatten(1), y[..., 5:].flatten(1, 3)

    def load_darknet_weights(self, path: str | Path) -> None:
        """Load a darknet .weights file: three int32 (version) and an int64 (images seen), then
        for each convolution of the configuration in turn its batch norm's bias, weight, mean and
        variance (or its own bias), and its weights, all float32 and little-endian.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not of this network's size, another version, or not all finite.
        """
        state = _read_darknet(Path(path), darknet_tensors(self))
        self.load_state_dict(state, strict=False)  # only the counts of batches are not there


def darknet_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a .weights file by their names here, in the order of the file."""
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            if module.norm is None:
                tensors[f"{name}.conv.bias"] = module.conv.bias
            else:
                parts = ("bias", "weight", "running_mean", "running_var")
                tensors |= {f"{name}.norm.{part}": getattr(module.norm, part) for part in parts}
            tensors[f"{name}.conv.weight"] = module.conv.weight
    return tensors


def _read_darknet(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; download the authors' yolov4.weights there")
    sizes = [tensor.numel() for tensor in expected.values()]
    wanted, present = HEADER_BYTES + 4 * sum(sizes), path.stat().st_size
    if present != wanted:
        state = "truncated, or of" if present < wanted else "of"
        raise ValueError(
            f"{path}: {present} bytes, this network needs {wanted}: {state} another network"
        )
    major, minor, _ = np.fromfile(path, "<i4", 3)
    if not 2 <= 10 * major + minor < 1000:
        raise ValueError(f"{path}: not a darknet file of version 0.2 or later ({major}.{minor})")
    values = torch.from_numpy(np.fromfile(path, "<f4", offset=HEADER_BYTES))
    if not torch.isfinite(values).all():
        raise ValueError(f"{path}: damaged: not all of its weights are finite")
    parts = zip(expected.items(), values.split(sizes), strict=True)
    return {name: part.view_as(tensor) for (name, tensor), part in parts}


def letterbox(images: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 3, H, W) scaled to fit a grey square of `size`, centred.

    Returns:
        (B, 3, size, size); scale and offset (4,) each, for x, y, x, y: a box of the image lies at
        box · scale + offset. Sides are whole pixels, so the two scales differ a little.
    """
    height, width = images.shape[2:]
    ratio = size / max(height, width)
    h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
    top, left = (size - h) // 2, (size - w) // 2
    x = F.interpolate(images, (h, w), mode="bilinear", antialias=True)
    x = F.pad(x, (left, size - w - left, top, size - h - top), value=GREY)
    scale = images.new_tensor([w / width, h / height]).repeat(2)
    return x, scale, images.new_tensor([left, top]).repeat(2)


class CSPDarknet53(nn.Module):
    """Features (B, 256, H/8, W/8), (B, 512, H/16, W/16) and (B, 1024, H/32, W/32)."""

    def __init__(self):
        super().__init__()
        self.stem = Convolution(3, 32, 3, nn.Mish())
        self.stages = nn.ModuleList(
            [
                Stage(32, 64, blocks=1, split=64, hidden=32),
                Stage(64, 128, blocks=2, split=64, hidden=64),
                Stage(128, 256, blocks=8, split=128, hidden=128),
                Stage(256, 512, blocks=8, split=256, hidden=256),
                Stage(512, 1024, blocks=4, split=512, hidden=512),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[2:]


class Stage(nn.Module):
    """Half the size; then residual blocks on one of two branches (a cross-stage partial stage)."""

    def __init__(self, in_channels: int, channels: int, blocks: int, split: int, hidden: int):
        super().__init__()
        self.down = Convolution(in_channels, channels, 3, nn.Mish(), stride=2)
        self.bypass = Convolution(channels, split, 1, nn.Mish())
        self.enter = Convolution(channels, split, 1, nn.Mish())
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    Convolution(split, hidden, 1, nn.Mish()),
                    Convolution(hidden, split, 3, nn.Mish()),
                )
                for _ in range(blocks)
            ]
        )
        self.leave = Convolution(split, split, 1, nn.Mish())
        self.merge = Convolution(2 * split, channels, 1, nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        y = self.enter(x)
        for block in self.blocks:
            y = y + block(y)
        return self.merge(torch.cat([self.leave(y), self.bypass(x)], 1))


class Neck(nn.Module):
    """Spatial pyramid pooling, the way up to stride 8 and down again, and the three heads."""

    def __init__(self, outputs: int):
        super().__init__()
        self.before_pooling = zigzag(1024, 512, 3)
        self.after_pooling = zigzag(2048, 512, 3)
        self.up16, self.side16 = leaky(512, 256, 1), leaky(512, 256, 1)
        self.merge16 = zigzag(512, 256, 5)
        self.up8, self.side8 = leaky(256, 128, 1), leaky(256, 128, 1)
        self.merge8 = zigzag(256, 128, 5)
        self.head8 = head(128, outputs)
        self.down16 = leaky(128, 256, 3, stride=2)
        self.out16 = zigzag(512, 256, 5)
        self.head16 = head(256, outputs)
        self.down32 = leaky(256, 512, 3, stride=2)
        self.out32 = zigzag(1024, 512, 5)
        self.head32 = head(512, outputs)

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> list[Tensor]:
        x = self.before_pooling(c32)
        pooled = [F.max_pool2d(x, k, stride=1, padding=k // 2) for k in (13, 9, 5)]
        p32 = self.after_pooling(torch.cat([*pooled, x], 1))  # (B, 512, H/32, W/32)
        up = F.interpolate(self.up16(p32), scale_factor=2)
        p16 = self.merge16(torch.cat([self.side16(c16), up], 1))  # (B, 256, H/16, W/16)
        up = F.interpolate(self.up8(p16), scale_factor=2)
        p8 = self.merge8(torch.cat([self.side8(c8), up], 1))  # (B, 128, H/8, W/8)
        n16 = self.out16(torch.cat([self.down16(p8), p16], 1))
        n32 = self.out32(torch.cat([self.down32(n16), p32], 1))
        return [self.head8(p8), self.head16(n16), self.head32(n32)]


class Convolution(nn.Module):
    """Convolution with batch norm and activation, or (without one) with a bias and nothing more."""

    def __init__(self, inputs: int, outputs: int, kernel: int, activation=None, stride: int = 1):
        super().__init__()
        bare = activation is None
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bare)
        self.norm = None if bare else nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.norm is None else self.activation(self.norm(x))


def leaky(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Convolution:
    return Convolution(inputs, outputs, kernel, nn.LeakyReLU(0.1), stride)


def zigzag(inputs: int, channels: int, count: int) -> nn.Sequential:
    """1×1 convolutions to `channels` and 3×3 ones to twice as many, in turn, `count` in all."""
    layers = [leaky(inputs, channels, 1)]
    for _ in range(count // 2):
        layers += [leaky(channels, 2 * channels, 3), leaky(2 * channels, channels, 1)]
    return nn.Sequential(*layers)


def head(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(leaky(channels, 2 * channels, 3), Convolution(2 * channels, outputs, 1))
