"""MTCNN face detector, with the pretrained weights that facenet-pytorch ships.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", IEEE Signal Processing Letters 23(10), 2016.

Differs from the paper:
- the networks and the cascade are facenet-pytorch's (there is no landmark term in the loss);
- the loss reads fresh windows of the given images, the same ones in all three networks, where the
  paper trains each network on the false alarms of the one before;
- hard mining picks the hardest negatives, three to a positive, where the paper keeps the hardest
  70 % of all windows.
"""

import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, roi_align

from llie_core.imaging import check_images, check_shapes, full_precision
from llie_core.recognizers.base import Recognizer

# Name, side of the input window, layer that gives the class before softmax (0 other, 1 face).
STAGES = (("pnet", 12, "conv4_1"), ("rnet", 24, "dense5_1"), ("onet", 48, "dense6_1"))
POSITIVE_IOU = 0.65  # with the face's square
NEGATIVE_IOU = 0.3  # with the box of every face, ignored ones too
NEGATIVES_PER_POSITIVE = 3
BOX_WEIGHT = 0.5  # α_box of the paper
PYRAMID_FACTOR = 0.709  # √½, about: every level of the pyramid has half the pixels


@dataclass(frozen=True)
class Windows:
    """Square windows of a batch: image (N,) long, boxes (N, 4), face (N,) bool, offsets (N, 4).

    Offsets lead from the window's edges to the face's, in units of the window's side; they are 0
    where the window shows no face.
    """

    image: Tensor
    boxes: Tensor
    face: Tensor
    offsets: Tensor


class MTCNN(Recognizer):
    """P-, R- and O-Net of MTCNN.

    Args:
        frozen: see `Recognizer`.
        min_face_size: faces whose longer side is below it are neither sought nor trained on
            (pixels). P-Net's own window is 12 pixels wide.
        windows_per_face: square windows drawn around each face in a step, the first undisturbed.
        windows_per_image: square windows drawn over each image in a step, as background. At most
            so many windows per image, on average, show faces.

    Raises:
        ImportError: facenet-pytorch is not installed.
    """

    def __init__(
        self,
        frozen: bool = True,
        min_face_size: float = 12.0,
        windows_per_face: int = 6,
        windows_per_image: int = 24,
    ):
        super().__init__()
        self.pnet, self.rnet, self.onet = _pretrained_networks()
        self.min_face_size = min_face_size
        self.windows_per_face = windows_per_face
        self.windows_per_image = windows_per_image
        if frozen:
            self.freeze()

    def loss(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        r"""Loss of the three networks on windows of the images.

        .. math:: L = \sum_{s \in \{P, R, O\}} \Big( \frac{1}{|W|} \sum_{w \in W} \mathrm{CE}_s(w)
                  + \frac{0.5}{4 |W^+|} \sum_{w \in W^+} \| o_s(w) - o^*(w) \|^2 \Big)

        W+ are windows on faces (IoU ≥ 0.65 with the square around the face), W holds W+ and the
        hardest background windows (IoU < 0.3 with every face), three for each of W+, or three an
        image where W+ is empty. Every term is thus a mean over windows of the whole batch and
        does not grow with its size or its number of faces; a mean over nothing is 0.

        Windows are drawn from torch's global CPU generator: the same seed gives the same loss.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: one dict per image with `boxes` (N, 4) xyxy in pixels and, optionally,
                `ignore` (N,) bool: such faces are neither sought nor used as background.

        Returns:
            `total` and, for each network, `<network>_class` and `<network>_box` (before the
            weight of 0.5), all scalars.
        """
        check_shapes("MTCNN.loss", images=images)
        faces = Faces.of(targets, images, self.min_face_size)
        windows = self.draw_windows(faces, *images.shape[2:], batch=len(images))
        images = images.to(self._dtype)
        if not len(windows.image):
            nothing = 0.0 * images.sum()
            names = [f"{stage}_{term}" for stage, _, _ in STAGES for term in ("class", "box")]
            return dict.fromkeys(["total", *names], nothing)
        terms = {}
        for stage, size, head in STAGES:
            crops = window_crops(images, windows, size)
            logits, offsets = stage_outputs(getattr(self, stage), head, crops)
            terms[f"{stage}_class"] = class_loss(logits, windows.face, len(images))
            terms[f"{stage}_box"] = _box_loss(offsets, windows)
        total = sum(v * (BOX_WEIGHT if k.endswith("_box") else 1) for k, v in terms.items())
        return {"total": total, **terms}

    @torch.no_grad()
    def predict(
        self, images: Tensor, thresholds: tuple[float, float, float] = (0.6, 0.6, 0.05)
    ) -> list[dict[str, Tensor]]:
        """Find faces with the full cascade.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            thresholds: least face probability that leaves P-, R- and O-Net. The defaults keep
                doubtful faces, as curves over the score need them; the usual operating point is
                (0.6, 0.7, 0.7).

        Returns:
            one dict per image: `boxes` (N, 4) xyxy in pixels, cut to the image, and `scores`
            (N,), O-Net's face probability, descending. N is 0 where nothing is found and where
            the image is smaller than `min_face_size`.
        """
        check_images("MTCNN.predict", images=images)
        height, width = images.shape[2:]
        pixels = 255 * images.to(self._dtype).permute(0, 2, 3, 1)  # (B, H, W, 3)
        if min(height, width) * (12.0 / self.min_face_size) < 12:  # not one level of the pyramid
            found = [pixels.new_zeros(0, 5).cpu().numpy()] * len(images)
        else:
            found, _ = _cascade()(
                pixels, self.min_face_size, self.pnet, self.rnet, self.onet, thresholds,
                PYRAMID_FACTOR, images.device,
            )  # fmt: skip
        return [_prediction(rows, pixels, height, width) for rows in found]

    @property
    def _dtype(self) -> torch.dtype:
        return self.pnet.conv1.weight.dtype

    def draw_windows(self, faces: "Faces", height: int, width: int, batch: int) -> Windows:
        """Windows on faces first, then on background; on the CPU."""
        on_face = faces.wanted.nonzero().flatten().repeat_interleave(self.windows_per_face)
        boxes, fits = _face_windows(faces.boxes[on_face], self.windows_per_face, height, width)
        chosen = fits.nonzero().flatten()
        chosen = chosen[torch.randperm(len(chosen))[: batch * self.windows_per_image]]
        on_face, boxes = on_face[chosen], boxes[chosen]
        side = boxes[:, 2:3] - boxes[:, :1]
        offsets = (faces.boxes[on_face] - boxes) / side

        image = torch.arange(batch).repeat_interleave(self.windows_per_image)
        background = _random_squares(len(image), height, width, self.min_face_size)
        overlap = box_iou(background, faces.boxes)  # (B * windows_per_image, F)
        same_image = image[:, None] == faces.image
        empty = ((overlap < NEGATIVE_IOU) | ~same_image).all(1)
        image, background = image[empty], background[empty]
        return Windows(
            image=torch.cat([faces.image[on_face], image]),
            boxes=torch.cat([boxes, background]),
            face=torch.arange(len(boxes) + len(background)) < len(boxes),
            offsets=torch.cat([offsets, torch.zeros_like(background)]),
        )


@dataclass(frozen=True)
class Faces:
    """All faces of a batch, on the CPU: boxes (F, 4) within the image, image (F,), wanted (F,)."""

    boxes: Tensor
    image: Tensor
    wanted: Tensor

    @classmethod
    def of(cls, targets: list[dict[str, Tensor]], images: Tensor, least: float) -> "Faces":
        """Faces too small, ignored, or more than half outside the image are not wanted."""
        if len(targets) != len(images):
            raise ValueError(f"{len(images)} images need as many targets, got {len(targets)}")
        boxes, ignore = zip(*map(_checked_target, targets), strict=True)
        image = torch.arange(len(targets)).repeat_interleave(torch.tensor(list(map(len, boxes))))
        boxes, ignore = torch.cat(boxes), torch.cat(ignore)
        height, width = images.shape[2:]
        limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
        inside = torch.minimum(boxes.clamp(min=0), limit)
        sides, visible = boxes[:, 2:] - boxes[:, :2], inside[:, 2:] - inside[:, :2]
        wanted = ~ignore & (sides > 0).all(1) & (visible.amax(1) >= least)
        wanted &= visible.prod(1) >= 0.5 * sides.prod(1)
        # A box of negative size would have a negative area; it ends where it begins instead.
        inside[:, 2:] = torch.maximum(inside[:, :2], inside[:, 2:])
        return cls(inside, image, wanted)


def _checked_target(target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) float64 and ignore (N,) bool, both on the CPU."""
    boxes = torch.as_tensor(target["boxes"]).detach().to("cpu", torch.float64)
    if boxes.numel() == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not torch.isfinite(boxes).all():
        raise ValueError(f"face boxes must be finite and (N, 4), got {tuple(boxes.shape)}")
    ignore = target.get("ignore")
    ignore = torch.zeros(len(boxes)) if ignore is None else torch.as_tensor(ignore)
    if ignore.shape != (len(boxes),):
        raise ValueError(f"`ignore` must be ({len(boxes)},), got {tuple(ignore.shape)}")
    return boxes, ignore.detach().to("cpu", torch.bool)


def _face_windows(faces: Tensor, repeat: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Jittered squares around faces, and which of them overlap the face's own square enough.

    Args:
        faces: (M, 4), every face `repeat` times in a row; its first window is not jittered.

    Returns:
        windows (M, 4) within the image; fits (M,) bool.
    """
    centre = (faces[:, :2] + faces[:, 2:]) / 2
    side = (faces[:, 2:] - faces[:, :2]).amax(1)  # MTCNN squares its candidates to the longer side
    jitter = torch.rand(len(faces), 3, dtype=faces.dtype) * 2 - 1  # (M, 3) in (−1, 1)
    jitter[::repeat] = 0
    square = _square(centre, side, height, width)
    windows = _square(
        centre + 0.2 * jitter[:, :2] * side[:, None], side * 1.25 ** jitter[:, 2], height, width
    )
    return windows, _paired_iou(windows, square) >= POSITIVE_IOU


def _random_squares(count: int, height: int, width: int, least: float) -> Tensor:
    """Squares (count, 4) anywhere in the image, sides log-uniform from `least` to the largest."""
    most = float(min(height, width))
    least = min(float(least), most)
    u = torch.rand(count, 3, dtype=torch.float64)
    side = least * (most / least) ** u[:, 2]
    centre = torch.stack([width * u[:, 0], height * u[:, 1]], 1)
    return _square(centre, side, height, width)


def _square(centre: Tensor, side: Tensor, height: int, width: int) -> Tensor:
    """Squares (N, 4) xyxy of a centre (N, 2) and side (N,), moved (and shrunk) into the image."""
    side = side.clamp(max=min(height, width))[:, None]  # (N, 1)
    room = torch.tensor([width, height], dtype=side.dtype) - side  # (N, 2)
    corner = torch.minimum((centre - side / 2).clamp(min=0), room)
    return torch.cat([corner, corner + side], 1)


def _paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N,) of the boxes a (N, 4) and b (N, 4), row by row."""
    overlap = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    inside = overlap.clamp(min=0).prod(1)
    return inside / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inside)


def window_crops(images: Tensor, windows: Windows, size: int) -> Tensor:
    """Windows resampled to (N, 3, size, size) in MTCNN's range: (255 x − 127.5) / 128."""
    rois = torch.cat([windows.image[:, None].to(windows.boxes), windows.boxes], 1).to(images)
    crops = roi_align(images, rois, (size, size), aligned=True)  # adaptive: averages, never skips
    return (255 * crops - 127.5) / 128


def stage_outputs(net: nn.Module, head: str, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Class logits (N, 2), caught before the network's softmax, and box offsets (N, 4)."""
    caught = []
    handle = getattr(net, head).register_forward_hook(lambda *call: caught.append(call[-1]))
    try:
        offsets = net(crops)[0]
    finally:
        handle.remove()
    return full_precision(caught[0]).flatten(1), full_precision(offsets).flatten(1)


def class_loss(logits: Tensor, face: Tensor, batch: int) -> Tensor:
    """Cross-entropy, mean over all windows on faces and the hardest of the others.

    Args:
        logits: (N, 2). face: (N,) bool, on the CPU. batch: number of images.
    """
    positives = int(face.sum())
    face = face.to(logits.device)
    each = F.cross_entropy(logits, face.long(), reduction="none")  # (N,)
    wanted = NEGATIVES_PER_POSITIVE * (positives or batch)
    hardest = each[~face].topk(min(wanted, len(each) - positives)).values
    return torch.cat([each[face], hardest]).mean()


def _box_loss(offsets: Tensor, windows: Windows) -> Tensor:
    """Mean squared error of the box offsets over the windows on faces."""
    face = windows.face.to(offsets.device)
    if not face.any():
        return 0.0 * offsets.sum()
    return F.mse_loss(offsets[face], windows.offsets.to(offsets)[face])


def _pretrained_networks() -> tuple[nn.Module, nn.Module, nn.Module]:
    """PNet, RNet and ONet with the shipped weights, read as tensors only."""
    try:
        with warnings.catch_warnings():  # of its progress bars, which nothing here uses
            warnings.simplefilter("ignore")
            import facenet_pytorch
            from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
    except ImportError as error:
        raise ImportError(
            "MTCNN needs facenet-pytorch; install it with "
            f"`pip install --no-deps facenet-pytorch==2.6.0` ({error})"
        ) from error
    folder = Path(facenet_pytorch.__file__).parent / "data"
    networks = PNet(pretrained=False), RNet(pretrained=False), ONet(pretrained=False)
    for network, (name, _, _) in zip(networks, STAGES, strict=True):
        weights = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    return networks


def _cascade() -> types.FunctionType:
    """facenet-pytorch's `detect_face`, except for how it cuts candidates at the image's edge.

    The package skips a candidate that lies wholly outside the image, but keeps its box, and then
    fails on two lengths that differ. Here such a candidate becomes a sliver of the edge, which the
    next network rejects. The package itself is left as it is.
    """
    from facenet_pytorch.models.utils import detect_face as package

    return types.FunctionType(
        package.detect_face.__code__, {**vars(package), "pad": _window_edges}, "detect_face"
    )


def _window_edges(boxes: Tensor, width: int, height: int) -> tuple:
    """Rows y…ey and columns x…ex (both counted from 1, inclusive) of candidates, never empty."""
    x, y, ex, ey = boxes[:, :4].trunc().int().cpu().numpy().T
    x, y = x.clip(1, width), y.clip(1, height)
    return y, ey.clip(y, height), x, ex.clip(x, width)


def _prediction(rows, pixels: Tensor, height: int, width: int) -> dict[str, Tensor]:
    """One image's rows (x1, y1, x2, y2, score) of the cascade as boxes and scores."""
    rows = torch.as_tensor(rows.astype("float64")).reshape(-1, 5)
    boxes = rows[:, :4].clone()
    boxes[:, :2] -= 1  # the cascade counts pixels from 1 and includes the last: left edge at x − 1
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    order = rows[:, 4].argsort(descending=True, stable=True)
    order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]
    return {"boxes": boxes[order].to(pixels), "scores": rows[order, 4].to(pixels)}
