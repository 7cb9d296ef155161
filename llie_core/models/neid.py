"""NEID: brighten a half-size image and double its size, guided by a branch that refines details.

"Bridge the Vision Gap from Field to Command: A Deep Learning Network Enhancing Illumination and
Details", Z. Jiang, C. Liu, Y. Wang, K. Li, A. Men, H. Wang, H. Luo, 2021 ("paper 5" here).

A U-net encoder reads the low-light image at half its size. Two decoders, each with a sub-pixel
convolution at its end, double it again: Light Enhancement (LE) gives the bright image, Detail
Refinement (DR) the low-light image at full size, in training only. At the bottleneck, Feature
Fusing (FF) weighs the channels of both,

    F = a · F_LE + b · F_DR,    (a, b) = sigmoid(FC(ReLU(FC(GAP(F_DR))))),

and LE decodes F. At use the DR decoder is dropped: `deploy`.

Differs from the paper, which gives neither layers nor sizes:
- Widths 32 to 512, the 512 → 512 1×1 layer of DR and the 512 → 32 → 1024 layers of FF are
  inferred: 11.13 M parameters in training, 8.08 M and 3.09 GMAC for 128×128 → 256×256 at use.
  F_DR needs that layer of its own, otherwise FF would weigh a tensor by itself.
- Printed, the input is the *ground truth* made smaller (Sec. 3.2), which trains no low-light
  network. Here it is the paired low-light crop, halved by bicubic interpolation with antialias
  (each output pixel sees 8×8 inputs; the kind of bicubic is not stated), not clamped.
- The first row of Table 2, "U-net architecture", is read as LE without the upsampling module: it
  works at full size, and a 3×3 convolution to RGB ends it.
- All weights start from N(0, 0.02²) and biases from a constant, as printed; the constant is not
  stated. It is 0.1 here: from 0 the first image is 0 to four digits, where hue and saturation hang
  on the last bits, and the colour loss holds it there (LOL, 64² crops, batch 4, Adam 1e-4: 8.1 dB
  after 299 steps; from 0.1, 14.2 dB after 100 and 17.5 dB after 999). `init="pytorch"` is
  PyTorch's default start.
- `norm="group"` is not of the paper, whose U-net has no normalisation: it normalises after each 3×3
  convolution of a level, in 8 groups, with 7,808 parameters more. Without it brightness is learned
  slowly (LOL, profile reference, row "neid+ours", seed 0, 1,000 steps, best on the validation
  pairs: 16.6 dB, with it 19.7). On crops, whose statistics are not a scene's, the printed loss is
  better off without (profile quick, best on its validation pairs: 20.4 dB, with it 15.5).
- Sizes: odd ones are padded by a row or column, and the half-size image to a multiple of 16; both
  by mirroring, and both are cropped at the end.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer, normal_init, pad_to_multiple
from llie_core.models.large import of_whole_image
from llie_core.models.norms import GroupNorm
from llie_core.names import check_choice

WIDTHS = (32, 64, 128, 256, 512)
REDUCTION = 16  # of the channels between the two fully connected layers of FF
# Rows of Table 2, by the column `variant` of the published.csv of the paper; "" is the whole model.
VARIANTS = ("", "LE + DR", "LE", "U-net architecture")
INITS = ("paper", "pytorch")
NORMS = ("none", "group")
GROUPS = 8  # of norm "group"
BIAS = 0.1  # the constant from which biases start, with init "paper"


def halve(x: Tensor) -> Tensor:
    """Bicubic reduction with antialias: (B, 3, H, W) → (B, 3, ⌈H/2⌉, ⌈W/2⌉).

    Odd sizes are padded to even ones first, so that the scale is ½ exactly.
    """
    x = pad_to_multiple(x, 2)
    half = (x.shape[-2] // 2, x.shape[-1] // 2)
    return F.interpolate(x, size=half, mode="bicubic", antialias=True)


def double_conv(inputs: int, outputs: int, norm: str = "none") -> nn.Sequential:
    """Two 3×3 convolutions that keep the size, each with a normalisation, if any, and a ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
        if norm == "group":
            layers.append(GroupNorm(GROUPS, outputs))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Contracting path of the U-net, shared by both branches (Sec. 2.1)."""

    def __init__(self, norm: str = "none", widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        pairs = zip((3, *widths[:-1]), widths, strict=True)
        self.levels = nn.ModuleList(double_conv(i, o, norm) for i, o in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → features of all levels, (B, 32, H, W) … (B, 512, H/16, W/16)."""
        features = [self.levels[0](x)]
        for level in self.levels[1:]:
            features.append(level(F.max_pool2d(features[-1], 2)))
        return features


class Decoder(nn.Module):
    """Expansive path of the U-net and its RGB head.

    Args:
        scale: 2 ends in a sub-pixel convolution, which doubles the size; 1 in a convolution.
        norm: one of `NORMS`.
    """

    def __init__(self, scale: int, norm: str = "none", widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        pairs = [(widths[i], widths[i - 1]) for i in range(len(widths) - 1, 0, -1)]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairs)
        # The level's own features stand beside the skipped ones: 2 · o = i channels.
        self.levels = nn.ModuleList(double_conv(2 * o, o, norm) for _, o in pairs)
        self.head = nn.Conv2d(widths[0], 3 * scale**2, 3, padding=1)
        self.scale = scale

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Bottleneck (B, 512, H/16, W/16) and skips, finest first → (B, 3, scale·H, scale·W)."""
        y = bottleneck
        for up, level, skip in zip(self.ups, self.levels, reversed(skips), strict=True):
            y = level(torch.cat([up(y), skip], dim=1))
        return F.pixel_shuffle(in_float32(self.head, y), self.scale)


class FeatureFusing(nn.Module):
    """Channel weights for both branches, computed from the details' features (Sec. 2.2)."""

    def __init__(self, channels: int = WIDTHS[-1], reduction: int = REDUCTION):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, 2 * channels)

    def forward(self, light: Tensor, detail: Tensor) -> Tensor:
        """F_LE and F_DR, both (B, C, h, w) → their weighted sum (B, C, h, w)."""
        pooled = of_whole_image(lambda: detail.mean(dim=(2, 3)))  # (B, C)
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))  # (B, 2C)
        a, b = weights[..., None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return a * light + b * detail


class NEID(Enhancer):
    """NEID and the rows of its ablation, Table 2.

    Args:
        variant: one of `VARIANTS`; "" is LE + DR + FF.
        init: "paper", N(0, 0.02²) with constant biases, or "pytorch", its layers' default.
        bias: the constant of init "paper".
        norm: after each 3×3 convolution but the heads: "none" or "group".

    Raises:
        ValueError: unknown variant, init or norm.
    """

    # It pads by itself: the halved image to multiples of 16.
    margin, grid, bytes_per_pixel = 192, 32, 300

    def __init__(
        self, variant: str = "", init: str = "paper", bias: float = BIAS, norm: str = "none"
    ):
        super().__init__()
        check_choice(VARIANTS, variant=variant)
        check_choice(INITS, init=init)
        check_choice(NORMS, norm=norm)
        self.variant, self.init, self.bias, self.norm = variant, init, bias, norm
        self.scale = 1 if variant == "U-net architecture" else 2
        self.encoder = Encoder(norm)
        self.light_decoder = Decoder(self.scale, norm)
        self.detail_layer = self.detail_decoder = self.fusing = None
        if variant in ("", "LE + DR"):
            self.detail_layer = nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 1)
            self.detail_decoder = Decoder(self.scale, norm)
        if variant == "":
            self.fusing = FeatureFusing()
        if init == "paper":
            normal_init(self, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The bright image: full-size (B, 3, H, W) of any size → (B, 3, H, W)."""
        return self._at_full_size(x, detail=False)["image"]

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """What the loss needs for full-size low-light images (B, 3, H, W), all of that size.

        Returns:
            `image`, I_LE; with a DR decoder also `detail`, I_DR.
        """
        return self._at_full_size(x, detail=True)

    def forward_half(self, x: Tensor) -> Tensor:
        """The ×2 core: half-size low-light images (B, 3, h, w) of any size → (B, 3, 2h, 2w).

        Raises:
            ValueError: the variant "U-net architecture" has none, it works at full size.
        """
        if self.scale == 1:
            raise ValueError(f"neid {self.variant!r} works at full size and has no ×2 core")
        return self.branches(x, detail=False)["image"]

    def deploy(self) -> "NEID":
        """A copy for use only: without the DR decoder and, where nothing fuses it, without DR.

        Its images are those of this model, bit for bit; it has no `detail` to train with.
        """
        deployed = copy.deepcopy(self)
        deployed.detail_decoder = None
        if deployed.fusing is None:
            deployed.detail_layer = None
        return deployed

    def _at_full_size(self, x: Tensor, detail: bool) -> dict[str, Tensor]:
        height, width = x.shape[-2:]
        outputs = self.branches(halve(x) if self.scale == 2 else x, detail)
        return {name: output[..., :height, :width] for name, output in outputs.items()}

    def branches(self, x: Tensor, detail: bool) -> dict[str, Tensor]:
        """Both branches on x (B, 3, h, w), DR's decoder only if asked for: (B, 3, s·h, s·w)."""
        height, width = (self.scale * side for side in x.shape[-2:])
        *skips, light = self.encoder(pad_to_multiple(x, 2 ** (len(WIDTHS) - 1)))
        outputs, fused = {}, light
        if self.detail_layer is not None:
            features = F.relu(self.detail_layer(light))  # F_DR, (B, 512, h/16, w/16)
            if self.fusing is not None:
                fused = self.fusing(light, features)
            if detail and self.detail_decoder is not None:
                outputs["detail"] = self.detail_decoder(features, skips)
        outputs["image"] = self.light_decoder(fused, skips)
        return {name: output[..., :height, :width] for name, output in outputs.items()}


class BrightenThenEnlarge(Enhancer):
    """One network brightens the half-size image, another one doubles the result (Sec. 2.2)."""

    def __init__(self, brighten: Enhancer, enlarge: NEID):
        super().__init__()
        self.brighten, self.enlarge = brighten, enlarge

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bright = self.brighten(halve(x)).clamp(0, 1)  # (B, 3, ⌈H/2⌉, ⌈W/2⌉)
        return self.enlarge.forward_half(bright)[..., :height, :width]
