r"""CPGA-Net+: channel priors and one gamma an image, joined by attention.

"Rethinking Theoretical Illumination for Efficient Low-Light Image Enhancement", S.-E. Weng,
C.-Y. Hsiao, L.-W. Lu, Y.-S. Huang, T.-H. Chen, S.-G. Miaou, R. Christanto, arXiv:2409.05274v4.

A local branch of four blocks after the model of atmospheric scattering, each with a transmission t
and a light A from the features, and a global branch that estimates one gamma an image:

.. math:: x' = (x - A)\, t + A \qquad y = x^\gamma + x - F([x^\gamma, x])

The second form, "intersection-aware" fusion, joins the two branches: of what both add, F takes off
what they have in common. It also follows each of the two inner blocks.

60,378 parameters; 9.4 GMAC at 600×400. `local=False` is the form that the paper calls BDSF: the
image itself takes the place of the local branch's, 20 k parameters and 2.1 GMAC, with the same
weights and, as published, the same PSNR and SSIM on LOL.

Differs from the released network: sizes are padded to even ones, which its up-sampling needs; γ
starts at 1, where the released start may lie outside of its range, from where no gradient leads
back. CPGA-Net++ (ConvNeXt blocks, masks) is not here.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer
from llie_core.models.large import of_whole_image
from llie_core.tensors import read_released

WIDTH = 8  # channels of the local branch
FUSED = 16  # channels of the global branch and of the fusion
LEAST = 1e-4  # to which blocks and fusions are clamped, and to 1
GAMMAS = (0.01, 4.0)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Convolution padded by half of its kernel."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


class ResBlock(nn.Module):
    """Two 3×3 convolutions and the input, reduced to their size where the first has a stride."""

    def __init__(self, channels: int, stride: int = 1, activation: type[nn.Module] = nn.GELU):
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, stride=stride), activation(), conv(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.body(x)
        if residual.shape != x.shape:
            x = F.interpolate(x, size=residual.shape[-2:], mode="bilinear")
        return residual + x


class Transmission(nn.Module):
    """t (B, 1, H, W), from features and the maximum, minimum and mean over their channels."""

    def __init__(self, inputs: int, width: int = WIDTH // 2):
        super().__init__()
        self.prep = nn.Sequential(conv(3, width), nn.GELU())
        self.conv = ResBlock(width + inputs)
        self.postp = conv(width + 2 * inputs, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        priors = (x.amax(1, keepdim=True), x.amin(1, keepdim=True), x.mean(1, keepdim=True))
        y = self.prep(torch.cat(priors, dim=1))
        y = self.conv(torch.cat([y, x], dim=1))
        return self.postp(F.gelu(torch.cat([y, x], dim=1)))


class Light(nn.Module):
    """A (B, outputs, H, W), from features at full and at half size; H and W are even."""

    def __init__(self, inputs: int, outputs: int, width: int = WIDTH):
        super().__init__()
        self.conv1_A = conv(inputs, width, 1)
        self.conv2_A = nn.Sequential(ResBlock(width, stride=2))
        self.conv3_A = ResBlock(width)
        doubled = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv4_A = nn.Sequential(conv(2 * width, width), doubled, ResBlock(width))
        self.conv5_A = conv(2 * width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        full = self.conv1_A(x)
        half = self.conv2_A(full)
        y = self.conv4_A(F.gelu(torch.cat([self.conv3_A(half), half], dim=1)))
        return self.conv5_A(torch.cat([y, full], dim=1))


class ChannelPrior(nn.Module):
    """One block of the local branch: features (B, inputs, H, W) → (B, outputs, H, W) in [1e-4, 1].

    It restores what scattering takes: (x − A) t + A.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.prep_module = nn.Sequential(conv(inputs, outputs), nn.GELU())
        self.t_module = Transmission(inputs)
        self.a_module = Light(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        t, light = self.t_module(x), self.a_module(x)
        return ((self.prep_module(x) - light) * t + light).clamp(LEAST, 1.0)


class Fusion(nn.Module):
    """x^γ + x less what both have in common, (B, channels, H, W) → the same, in [1e-4, 1]."""

    def __init__(self, channels: int, activation: type[nn.Module], width: int = FUSED):
        super().__init__()
        self.conv1_post_g = conv(2 * channels, width, 1)
        self.conv2_post_g = ResBlock(width, activation=activation)
        self.conv3_post_g = conv(width, channels, 1)

    def forward(self, x: Tensor, gamma: Tensor) -> Tensor:
        powered = x**gamma
        common = self.conv1_post_g(torch.cat([powered, x], dim=1))
        common = in_float32(self.conv3_post_g, self.conv2_post_g(common))
        return (powered + x - common).clamp(LEAST, 1.0)


class ChannelAttention(nn.Module):
    """A weight for each channel, from its mean and its maximum."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(channels, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.fc(mean) + self.fc(largest))


class SpatialAttention(nn.Module):
    """A weight for each place, from the mean and the maximum over channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv1(pooled))


class AttentionBlock(nn.Module):
    """Residual block with batch norm, channel attention, then spatial attention."""

    def __init__(self, channels: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels, stride=stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels), nn.BatchNorm2d(channels)
        self.ca, self.sa = ChannelAttention(channels), SpatialAttention()
        self.downsample = conv(channels, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.gelu(self.bn1(self.conv1(x)))))
        y = self.ca(y) * y
        y = self.sa(y) * y
        return F.gelu(y + self.downsample(x))


class GammaEstimate(nn.Module):
    """One gamma an image: (B, 3, H, W) → (B, 1, 1, 1) in [0.01, 4]."""

    def __init__(self, width: int = FUSED):
        super().__init__()
        self.conv1_g = conv(3, width)
        self.conv2_g = nn.Sequential(AttentionBlock(width, stride=2))
        self.conv3_g = nn.Sequential(AttentionBlock(width), AttentionBlock(width))
        self.conv4_g = conv(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        full = self.conv1_g(x)
        half = self.conv3_g(self.conv2_g(full))
        half = half + F.interpolate(full, size=half.shape[-2:], mode="bilinear")
        gamma = in_float32(self.conv4_g, half)
        return gamma.mean((2, 3), keepdim=True).clamp(*GAMMAS)


class CPGANetPlus(Enhancer):
    """CPGA-Net+; layers bear the released names.

    Args:
        local: with the local branch, or, False, without it (BDSF).
    """

    multiple = 2

    def __init__(self, local: bool = True):
        super().__init__()
        self.local = local
        self.ga_est = GammaEstimate()
        self.iaaf = Fusion(3, nn.ReLU)
        if local:
            self.cpblks_pre = ChannelPrior(3, WIDTH)
            self.cpblks = nn.ModuleList(ChannelPrior(WIDTH, WIDTH) for _ in range(2))
            self.iaafblks = nn.ModuleList(Fusion(WIDTH, nn.GELU) for _ in range(2))
            self.cpblk_post = ChannelPrior(WIDTH, 3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.ga_est.conv4_g.weight)
        nn.init.ones_(self.ga_est.conv4_g.bias)

    def forward(self, x: Tensor) -> Tensor:
        gamma = of_whole_image(lambda: self.ga_est(x))
        return self.iaaf(self.restored(x, gamma) if self.local else x, gamma)

    def restored(self, x: Tensor, gamma: Tensor) -> Tensor:
        """The local branch's image, (B, 3, H, W) from 1e-4."""
        y = self.cpblks_pre(x)  # (B, 8, H, W)
        for block, fusion in zip(self.cpblks, self.iaafblks, strict=True):
            y = block(y) + y
            y = fusion(y, gamma) + y
        return self.cpblk_post(y) + x

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' checkpoint, `state_dict` beside their optimizer's.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes.
        """
        state = read_released(path, (self if self.local else CPGANetPlus()).state_dict())
        self.load_state_dict({name: state[name] for name in self.state_dict()})
