r"""A small saliency network, for machines without a GPU and sets that VST never saw.

It follows O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, with the IoU loss beside cross-entropy of X. Qin et al., "BASNet:
Boundary-Aware Salient Object Detection", CVPR 2019. It is no paper's model: paper 3 measures
saliency with VST (vst.py), and figures of the two are not to be compared.

Differs from the papers: padded convolutions with batch normalisation, 16 to 96 channels, the first
level at half the size (the logits are interpolated back), no SSIM term. With ImageNet's backbone
the downward path is EfficientNet-Lite0 (see classifier.py).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, check_shapes, in_float32
from llie_core.names import check_choice
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.classifier import BACKBONE, MEAN, STD, imagenet_features
from llie_core.recognizers.targets import checked_masks

WIDTHS = (16, 32, 48, 64, 96)  # channels at strides 2, 4, 8, 16, 32
BACKBONES = ("plain", BACKBONE)


class SaliencyNet(Recognizer):
    """U-net, to be trained (`frozen=False`) before it is of use: 423,521 parameters (plain), or
    3,469,137 with ImageNet's backbone.

    Args:
        frozen: see `Recognizer`.
        size: the network sees images whose longer side is at most this, in pixels; larger ones
            are made smaller, and both sides are brought to multiples of 32.
        backbone: "plain", from random weights, or "efficientnet_lite0", from ImageNet's.
    """

    def __init__(self, frozen: bool = True, size: int = 192, backbone: str = "plain"):
        super().__init__()
        check_choice(BACKBONES, backbone=backbone)
        self.size = size
        if backbone == "plain":
            self.down, widths = Down(), WIDTHS
            self.hold_statistics()
        else:
            self.down = imagenet_features()
            widths = self.down.feature_info.channels()
            self.hold_statistics(MEAN, STD)
        self.up = nn.ModuleList([_convolution(i + o, o) for i, o in pairwise(reversed(widths))])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H / 2, W / 2) of images (B, 3, H, W) in [0, 1]; H, W multiples of 32."""
        *skips, x = self.down((x - self.mean) / self.std)  # at strides 2, 4, 8, 16, and 32
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, skip.shape[2:], mode="bilinear")
            x = up(torch.cat([x, skip], 1))
        return in_float32(self.head, x)

    def loss(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        r"""Binary cross-entropy and soft IoU.

        .. math:: L = \mathrm{BCE}(s, m) + \frac{1}{B} \sum_b
                  \Big( 1 - \frac{1 + \sum p\,m}{1 + \sum (p + m - p\,m)} \Big),
                  \quad p = \sigma(s)

        The BCE is a mean over pixels and images, the IoU is taken over the pixels of an image; one
        pixel is added to each side of it, so that an empty mask asks for an empty map.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: masks (B, 1, H, W), float in [0, 1] or bool.

        Returns:
            `total` and its two parts `bce` and `iou`, scalars.
        """
        check_shapes("SaliencyNet.loss", images=images)
        masks = checked_masks(targets, images)
        logits = self._logits(images)
        terms = {
            "bce": F.binary_cross_entropy_with_logits(logits, masks),
            "iou": soft_iou_loss(logits.sigmoid(), masks),
        }
        return {"total": terms["bce"] + terms["iou"], **terms}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Saliency (B, 1, H, W) in [0, 1] of images (B, 3, H, W)."""
        check_images("SaliencyNet.predict", images=images)
        return self._logits(images).sigmoid()

    def _logits(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H, W), at the images' own size."""
        height, width = images.shape[2:]
        scale = min(1.0, self.size / max(height, width))
        size = [max(32, 32 * round(side * scale / 32)) for side in (height, width)]
        x = F.interpolate(images.to(self.mean.dtype), size, mode="bilinear", antialias=True)
        return F.interpolate(self(x), (height, width), mode="bilinear", antialias=True)


class Down(nn.Module):
    """(B, 3, H, W) → features (B, WIDTHS[i], H / s, W / s) at strides s = 2, 4, 8, 16, 32."""

    def __init__(self):
        super().__init__()
        self.stem = _convolution(3, WIDTHS[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(i, o, stride=2), _convolution(o, o))
            for i, o in pairwise(WIDTHS)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


def soft_iou_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """1 − soft IoU of each image, one pixel added to both areas; mean over (B, 1, H, W)."""
    both = (probability * mask).sum((1, 2, 3))
    either = probability.sum((1, 2, 3)) + mask.sum((1, 2, 3)) - both
    return (1 - (1 + both) / (1 + either)).mean()


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
