r"""Cascaded pyramid network (CPN) for the pose of one person, with light-specific batch norm.

CPN: Y. Chen, Z. Wang, Y. Peng, Z. Zhang, G. Yu, J. Sun, "Cascaded Pyramid Network for Multi-Person
Pose Estimation", CVPR 2018. Its form for low light: S. Lee, J. Rim, B. Jeong, G. Kim, B. Woo,
H. Lee, S. Cho, S. Kwak, "Human Pose Estimation in Extremely Low-Light Conditions", CVPR 2023
(ExLPose), which paper 1 uses as its recognizer.

A ResNet gives features at strides 4 to 32. GlobalNet, a feature pyramid, predicts the heat maps of
all joints from each of its four levels; RefineNet brings the four levels to stride 4, through more
bottlenecks the coarser they are, and predicts the final maps. The backbone has two sets of batch
norm, 0 for low light and 1 for well-lit images; all else is shared.

Differs from the paper:
- `loss` is CPN's, for one light a call; that ExLPose also pulls the features of both lights
  together is in losses/task_driven.py (BothLights), to which `features` gives them.
- The released test mirrors with flip pairs that are off by one; here left joints change with right
  ones. What differs in heat maps: heatmaps.py.
- Weights start from He's initialisation in all parts; the papers start the backbone from ImageNet
  (`load_imagenet_backbone`).
  The batch norms that give the maps start at a weight of 10, about the spread of a target, not 1:
  with 1, Adam takes thousands of steps to reach a peak of 255 (measured on `tiny`, 60 steps at
  0.005: the refined loss falls to 88 instead of 296).
- Backbones `resnet18`, `tiny` and `efficientnet_lite0` are ours, for small machines; the last one
  starts from ImageNet (see classifier.py), and reads images of both lights in its normalisation.
"""

import copy
import csv
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, constant, in_float32
from llie_core.names import check_choice
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.classifier import BACKBONE, MEAN, STD, imagenet_features
from llie_core.recognizers.heatmaps import (
    DECODING_KERNEL,
    STRIDE,
    decode,
    inside_only,
    pose_loss,
)
from llie_core.tensors import read_released

LIGHTS = {"low": 0, "well": 1}  # name → set of batch norm
MEAN_LEVEL = 0.4  # what low-light channels are scaled to
WELL_LIT = ((0.3457, 0.3460, 0.3463), (0.1477, 0.1482, 0.1483))  # mean and sd, ExLPose's code

INITIAL_SPREAD = 10.0  # of the maps, about that of a target
BATCHES = "num_batches_tracked"  # of batch norms, which not every version of the file holds
CLASSIFIER = {"weight": (1000, 2048), "bias": (1000,)}  # of torchvision's ResNet-50, not read

FLIP_PAIRS = {
    14: tuple((j, j + 1) for j in range(0, 12, 2)),  # ExLPose: the limbs; head and neck stay
    17: tuple((j, j + 1) for j in range(1, 17, 2)),  # COCO: the nose stays
}


@dataclass(frozen=True)
class Shape:
    """A backbone: blocks a stage, channels of the first, bottlenecks or not; pyramid width."""

    blocks: tuple[int, ...]
    width: int
    bottleneck: bool
    pyramid: int


BACKBONES = {
    "resnet50": Shape((3, 4, 6, 3), 64, True, 256),
    "resnet18": Shape((2, 2, 2, 2), 64, False, 256),
    "tiny": Shape((2, 2, 2, 2), 16, False, 64),  # resnet18 at a quarter of all widths
}
PRETRAINED_PYRAMID = 128  # channels of the pyramid on ImageNet's backbone


class LightNorm(nn.Module):
    """Batch norm with a set of weights and statistics for each light; with one set, the usual."""

    def __init__(self, channels: int, sets: int):
        super().__init__()
        self.sets = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(sets))

    def forward(self, x: Tensor, light: int) -> Tensor:
        return self.sets[light](x)


class Residual(nn.Module):
    """Convolutions with batch norm and ReLU beside a shortcut, which is projected where it must be.

    Args:
        inputs: channels in. widths, kernels: channels out and kernel side of each convolution.
        stride: of the first 3×3 convolution.
        sets: sets of batch norm.
        project: convolve the shortcut although its size would fit.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, ...],
        kernels: tuple[int, ...],
        stride: int = 1,
        sets: int = 1,
        project: bool = False,
    ):
        super().__init__()
        strides = [1] * len(kernels)
        strides[kernels.index(3)] = stride
        self.convs = nn.ModuleList(
            conv(*channels, kernel, step)
            for channels, kernel, step in zip(
                pairwise((inputs, *widths)), kernels, strides, strict=True
            )
        )
        self.norms = nn.ModuleList(LightNorm(width, sets) for width in widths)
        self.shortcut = self.shortcut_norm = None
        if project or stride != 1 or inputs != widths[-1]:
            self.shortcut = conv(inputs, widths[-1], 1, stride)
            self.shortcut_norm = LightNorm(widths[-1], sets)

    def forward(self, x: Tensor, light: int = 0) -> Tensor:
        out = x
        for i, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = norm(layer(out if i == 0 else F.relu(out)), light)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), light)
        return F.relu(out + x)


class ResNet(nn.Module):
    """(B, 3, H, W) → four features, coarsest first: strides 32, 16, 8, 4; then what the stem gives
    before its batch norm, stride 2."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.stem = conv(3, shape.width, 7, 2)
        self.stem_norm = LightNorm(shape.width, len(LIGHTS))
        self.stages = nn.ModuleList()
        channels, self.channels = shape.width, []
        for stage, blocks in enumerate(shape.blocks):
            width = shape.width * 2**stage
            widths, kernels = ((width, width), (3, 3))
            if shape.bottleneck:
                widths, kernels = (width, width, 4 * width), (1, 3, 1)
            layers = nn.ModuleList()
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Residual(channels, widths, kernels, stride, len(LIGHTS)))
                channels = widths[-1]
            self.stages.append(layers)
            self.channels.insert(0, channels)

    def forward(self, x: Tensor, light: int) -> list[Tensor]:
        first = self.stem(x)  # (B, C, H/2, W/2)
        x = F.relu(self.stem_norm(first, light))
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, C, H/4, W/4)
        features = [first]
        for stage in self.stages:
            for block in stage:
                x = block(x, light)
            features.insert(0, x)
        return features


class PretrainedBackbone(nn.Module):
    """ImageNet's backbone as `ResNet` is: every batch norm is there once a light."""

    channels = (320, 112, 40, 24)

    def __init__(self):
        super().__init__()
        self.features = imagenet_features((1, 2, 3, 4))
        for parent in list(self.features.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, SwitchedNorm(child))

    def forward(self, x: Tensor, light: int) -> list[Tensor]:
        for module in self.features.modules():
            if isinstance(module, SwitchedNorm):
                module.light = light
        mean, std = (constant(values, x)[:, None, None] for values in (MEAN, STD))
        return self.features((x - mean) / std)[::-1]


class SwitchedNorm(nn.Module):
    """Copies of a batch norm, one a light, for a network that calls it with x alone."""

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__()
        self.sets = nn.ModuleList(copy.deepcopy(norm) for _ in LIGHTS)
        self.light = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.sets[self.light](x)


class Head(nn.Module):
    """Heat maps of all joints from one level of the pyramid, at the size that is asked for."""

    def __init__(self, width: int, joints: int):
        super().__init__()
        self.mix = conv_norm(width, width, 1)
        self.predict = conv(width, joints, 3)
        self.norm = nn.BatchNorm2d(joints)

    def forward(self, level: Tensor, size: tuple[int, int]) -> Tensor:
        maps = in_float32(self.predict, F.relu(self.mix(level)))
        return self.norm(resized(maps, size))


class GlobalNet(nn.Module):
    """The feature pyramid, and a head on each of its levels; coarsest first."""

    def __init__(self, channels: list[int], width: int, joints: int):
        super().__init__()
        self.laterals = nn.ModuleList(conv_norm(c, width, 1) for c in channels)
        self.ups = nn.ModuleList(conv_norm(width, width, 1) for _ in channels[1:])
        self.heads = nn.ModuleList(Head(width, joints) for _ in channels)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Four features → levels (B, width, …), and maps (B, J, H/4, W/4) from each."""
        levels = []
        for i, (feature, lateral) in enumerate(zip(features, self.laterals, strict=True)):
            level = F.relu(lateral(feature))
            if i:
                level = level + self.ups[i - 1](resized(levels[-1], feature.shape[2:]))
            levels.append(level)
        size = features[-1].shape[2:]
        return levels, [head(v, size) for head, v in zip(self.heads, levels, strict=True)]


class RefineNet(nn.Module):
    """All levels at stride 4, after three bottlenecks for the coarsest and none for the finest."""

    def __init__(self, width: int, joints: int, levels: int = 4):
        super().__init__()
        self.chains = nn.ModuleList(
            nn.Sequential(*(self._bottleneck(width, width) for _ in range(levels - 1 - i)))
            for i in range(levels)
        )
        self.fuse = self._bottleneck(levels * width, width)
        self.predict = conv(width, joints, 3)
        self.norm = nn.BatchNorm2d(joints)

    @staticmethod
    def _bottleneck(inputs: int, width: int) -> Residual:
        return Residual(inputs, (width // 2, width // 2, width), (1, 3, 1), project=True)

    def forward(self, levels: list[Tensor]) -> Tensor:
        size = levels[-1].shape[2:]
        wide = [resized(chain(v), size) for chain, v in zip(self.chains, levels, strict=True)]
        maps = in_float32(self.predict, self.fuse(torch.cat(wide, 1)))  # (B, J, H/4, W/4)
        return self.norm(maps)


class CPN(Recognizer):
    """CPN with light-specific batch norm: 27,425,356 parameters, 7.27 GMAC at 256×192 (resnet50).

    Images are crops around one person each, RGB in [0, 1] (scaled ones may exceed 1), 256×192 in
    the papers. Any size works: sides are padded to a multiple of 4 with black, right and below.

    Args:
        frozen: see `Recognizer`.
        backbone: "resnet50" (the papers'), "resnet18", "tiny" (0.9 M parameters in all), or
            "efficientnet_lite0" (3.8 M), from ImageNet.
        joints: 14 (ExLPose) or 17 (COCO).
        light: "low" or "well": the set of batch norm used where a call names none; an attribute,
            to be changed at any time. The recognizer's own training moves only the set that it
            uses, so use a recognizer in a light that it was trained in. Well-lit images are
            normalised by ExLPose's mean and standard deviation.
        scale_input: multiply each channel of low-light images so that its mean is 0.4, as ExLPose
            does. Off by default: the task of an enhancer before it is just that gain.

    Raises:
        ValueError: an unknown backbone or light, or a number of joints without flip pairs.
    """

    def __init__(
        self,
        frozen: bool = True,
        backbone: str = "resnet50",
        joints: int = 14,
        light: str = "low",
        scale_input: bool = False,
    ):
        super().__init__()
        check_choice((*BACKBONES, BACKBONE), backbone=backbone)
        check_choice(FLIP_PAIRS, joints=joints)
        check_choice(LIGHTS, light=light)
        self.name, self.joints, self.light = backbone, joints, light
        self.scale_input = scale_input
        pretrained = backbone == BACKBONE
        self.backbone = PretrainedBackbone() if pretrained else ResNet(BACKBONES[backbone])
        pyramid = PRETRAINED_PYRAMID if pretrained else BACKBONES[backbone].pyramid
        self.global_net = GlobalNet(list(self.backbone.channels), pyramid, joints)
        self.refine_net = RefineNet(pyramid, joints)
        self._initialise()
        if frozen:
            self.freeze()

    def forward(
        self, images: Tensor, light: str | None = None, mean: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Heat maps (B, J, ⌈H/4⌉, ⌈W/4⌉), 255 at a joint: four global ones and the refined one.

        Args:
            images: (B, 3, H, W).
            light: "low" or "well"; None: the attribute's.
            mean: (B, 3), for `scale_input`; see `scale_to_mean`.
        """
        return self.heat_maps(self.features(images, light, mean))

    def features(
        self, images: Tensor, light: str | None = None, mean: Tensor | None = None
    ) -> list[Tensor]:
        """What the backbone gives, arguments as `forward`: strides 32, 16, 8, 4, and the stem's of
        a ResNet."""
        light = self.light if light is None else light
        check_choice(LIGHTS, light=light)
        return self.backbone(self.prepared(images, light, mean), LIGHTS[light])

    def heat_maps(self, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The maps of `forward`, from `features`."""
        levels, maps = self.global_net(features[:4])
        return maps, self.refine_net(levels)

    def loss(
        self,
        images: Tensor,
        targets: dict[str, Tensor],
        light: str | None = None,
        mean: Tensor | None = None,
        features: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """CPN's loss on crops; `pose_loss` says what it is and how it is normalised.

        Args:
            images: (B, 3, H, W).
            targets: `joints` (B, J, 3): x, y in pixels of the images, and visibility 0, 1 or 2;
                `mean` (B, 3) where `scale_input` needs that of the whole images.
            light, mean: see `forward`; a mean of None is that of the targets.
            features: those of the images, where they are at hand.

        Returns:
            `total`, `global` and `refined`, scalars.

        Raises:
            ValueError: joints of another shape.
        """
        check_shapes("CPN.loss", images=images)
        joints = torch.as_tensor(targets["joints"], dtype=torch.float32, device=images.device)
        if joints.shape != (len(images), self.joints, 3):
            raise ValueError(
                f"joints must be ({len(images)}, {self.joints}, 3), got {tuple(joints.shape)}"
            )
        if features is None:
            features = self.features(images, light, targets.get("mean") if mean is None else mean)
        return pose_loss(*self.heat_maps(features), inside_only(joints, images.shape[2:]))

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        light: str | None = None,
        mean: Tensor | None = None,
        flip: bool = True,
        blur: int = DECODING_KERNEL,
    ) -> dict[str, Tensor]:
        """Joints of the person in each image.

        Args:
            images: (B, 3, H, W).
            light, mean: see `forward`.
            flip: average the maps with those of the mirrored image.
            blur: kernel of the Gaussian blur before decoding; 0 for none. See `decode`.

        Returns:
            `joints` (B, J, 3): x, y in pixels of the images, and a score each; `scores` (B,), the
            mean of a person's, as OKS AP ranks them (the released code multiplies them by the
            score of the box, which is 1 for annotated boxes).
        """
        check_images("CPN.predict", images=images)
        images = _padded(images)  # before mirroring, so that the cells of both maps coincide
        _, maps = self(images, light, mean)
        if flip:
            _, mirrored = self(images.flip(3), light, mean)
            maps = (maps + mirrored.flip(3)[:, self.mirror_order()]) / 2
        joints = decode(maps, blur)
        return {"joints": joints, "scores": joints[..., 2].mean(1)}

    def load_released_weights(self, path: str | Path) -> None:
        """Load the ExLPose authors' checkpoint, whose names are listed in cpn_released.csv.

        Raises:
            FileNotFoundError: no such file.
            ValueError: this is not resnet50 with 14 joints; the file is not a tensors-only
                checkpoint, or has other names or shapes.
        """
        if (self.name, self.joints) != ("resnet50", 14):
            raise ValueError(
                "the released weights are of resnet50 with 14 joints, "
                f"this is {self.name} with {self.joints}"
            )
        ours = released_names()
        own = self.state_dict()
        state = read_released(path, {name: own[mine] for name, mine in ours.items()})
        self.load_state_dict({ours[name]: value for name, value in state.items()})

    def load_imagenet_backbone(self, path: str | Path) -> None:
        """Start resnet50 from torchvision's classifier of ImageNet (its state dict), for both
        lights alike; all else stays as it is.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another backbone, or another network's file.
        """
        if self.name != "resnet50":
            raise ValueError(f"ImageNet's file is of resnet50, this is {self.name}")
        own, first, released = self.state_dict(), "backbone.", "resnet_lsbn."
        ours: dict[str, list[str]] = {}
        for name, mine in released_names().items():
            if mine.startswith(first) and not mine.endswith(BATCHES):
                theirs = re.sub(r"\.bns\.\d", "", name.removeprefix(released))
                ours.setdefault(theirs, []).append(mine)
        wanted = {name: own[mine[0]] for name, mine in ours.items()}
        wanted |= {f"fc.{part}": torch.empty(shape) for part, shape in CLASSIFIER.items()}
        state = read_released(path, wanted, without=BATCHES)
        copies = {mine: state[name] for name, names in ours.items() for mine in names}
        self.load_state_dict(own | copies)

    def _initialise(self) -> None:
        random = [self.global_net, self.refine_net]
        if isinstance(self.backbone, ResNet):
            random.insert(0, self.backbone)
        for module in (m for part in random for m in part.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for part in (*self.global_net.heads, self.refine_net):
            nn.init.constant_(part.norm.weight, INITIAL_SPREAD)

    def prepared(self, images: Tensor, light: str, mean: Tensor | None) -> Tensor:
        """Images as the backbone takes them: weights' type, padded, normalised or scaled."""
        x = _padded(images.to(self.refine_net.predict.weight.dtype))
        if light == "well":
            if not isinstance(self.backbone, ResNet):
                return x  # it normalises by itself
            centre, spread = (constant(values, x)[:, None, None] for values in WELL_LIT)
            return (x - centre) / spread
        return scale_to_mean(x, mean) if self.scale_input else x

    def mirror_order(self) -> list[int]:
        """The joint that each joint becomes in a mirrored image."""
        order = list(range(self.joints))
        for left, right in FLIP_PAIRS[self.joints]:
            order[left], order[right] = right, left
        return order


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, then batch norm."""
    return nn.Sequential(conv(inputs, outputs, kernel), nn.BatchNorm2d(outputs))


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, …) to the size (h, w), bilinear, corners on corners."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def scale_to_mean(images: Tensor, mean: Tensor | None = None) -> Tensor:
    """Each channel times 0.4 / its mean, not clipped: ExLPose's preprocessing for low light.

    Args:
        images: (B, 3, H, W).
        mean: (B, 3), the mean of the whole image's channels, in [0, 1] (ExLPose scales the
            image before it is cropped); None: the images' own.

    Returns:
        (B, 3, H, W); a black image stays black.
    """
    mean = images.mean((2, 3)) if mean is None else mean.to(images)
    return images * (MEAN_LEVEL / mean.clamp(min=1e-4))[..., None, None]


def released_names() -> dict[str, str]:
    """Names of the ExLPose authors' tensors → ours, from cpn_released.csv (a layer a row)."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {}
    with Path(__file__).with_name("cpn_released.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            theirs, mine = row["released"], row["ours"]
            if row["kind"] == "conv":
                names[f"{theirs}.weight"] = f"{mine}.weight"
            elif row["kind"] == "norm":
                names |= {f"{theirs}.{part}": f"{mine}.{part}" for part in norm}
            else:  # a light norm
                for light in LIGHTS.values():
                    sets = (f"{theirs}.bns.{light}", f"{mine}.sets.{light}")
                    names |= {f"{sets[0]}.{part}": f"{sets[1]}.{part}" for part in norm}
    return names


def _padded(images: Tensor) -> Tensor:
    """Black at the right and below, up to multiples of a map's cell."""
    height, width = images.shape[2:]
    margins = (0, -width % STRIDE, 0, -height % STRIDE)
    return F.pad(images, margins) if any(margins) else images
