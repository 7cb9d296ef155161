r"""DRGN and LW-DRGN: estimate the degradation of a low-light image, subtract it, refine the rest.

"Degrade is Upgrade: Learning Degradation for Low-light Image Enhancement", K. Jiang, Z. Wang,
Z. Wang, C. Chen, P. Yi, T. Lu, C.-W. Lin, AAAI 2022 ("paper 4" here).

Eq. (1) and Eq. (2), models of noise and of Retinex, are background; nothing here computes them. A
low-light image is I_L = I_D + ψ(I_D, I), Eq. (3): a degradation I_D, signed and mostly negative,
on a transformed normal-light image I. Two generators with weights of their own undo it, Eq. (4) and
Eq. (8):

    I_D = G_de(I_L),    I_B = I_L − I_D,    I* = G_re(I_B)

The degradation also goes onto other normal-light images, I_{L,ref} = I_ref + G_de(I_ref + I_D),
which gives more training pairs. Training is in two stages: `degradation_stage()` is G_de alone
with I_B as its image; then `g_de.requires_grad_(False)` and the whole network. See
losses/degradation.py.

Differs from the paper:
- Widths are unpublished. 24/64/72 channels for the three resolutions, channel attention with
  reduction 8, 3×3 transposed convolutions and biases meet the published 4.773 M parameters and
  110.59 GMAC at 384² within 0.1 %. (32/56/80 channels without biases, within 0.2 %, could not
  take one brightness off a whole image: I_D of a network without biases is 0 where I_L is.) The
  numbers of blocks are read as [2, 3, 4] residual groups of 3 blocks each; each group ends in a
  3×3 convolution.
- Eq. (11) aggregates by addition; a jump of two levels is two strided convolutions. Eq. (13) fuses
  level by level from the coarsest, by concatenation and a 1×1 convolution. G is the 5×5 binomial
  filter and every other pixel of its result.
- LW-DRGN is described in two sentences: one branch, attention-guided dense fusion. Ours: a stem at
  full size, six one-block modules at half size, after each of them attention over all outputs
  so far and a 1×1 convolution, attention with reduction 4, biases outside the modules (with them
  inside, .665 M); 0.660 M parameters and 18.17 GMAC (published: 0.660 M, 18.15).
- Ablations are of "similar complexity", nothing more is said. "w/o DL-DA" is one step,
  I* = G(I_L), with one generator √2 times as wide: 4,790,204 parameters, 111.21 GMAC. "w/o MSR"
  keeps the full-resolution branch alone, 54 channels wide: 762,558 parameters, 110.94 GMAC; with
  the parameters matched instead it would cost six times the MACs. "w/o KL" and "w/o SSIM" change
  the loss, not the network.
- The discriminators are not described. Ours judge patches of 63×63 pixels: four strided 3×3
  convolutions and one more. No normalisation, which would hide the brightness they are to judge.
- "Controllable degradation strengths" comes without an equation: `darken` adds strength times the
  degradation.
- Initial weights are unpublished. Ours are Xavier's, with biases 0: measured without biases, on
  LOL patches, Adam 5e-4, 36 steps of two seeds and 120 of a third, the loss is a fifth lower than
  from PyTorch's default, from which I_D and I* start near 0.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_images, in_float32
from llie_core.models.base import Enhancer, evaluating, pad_to_multiple
from llie_core.models.large import of_whole_image
from llie_core.names import check_choice

REDUCTION, LIGHT_REDUCTION = 8, 4  # of the channels in channel attention, of DRGN and LW-DRGN
BLOCKS = 3  # in a residual group
# Rows of Table 1, by the column `variant` of the published.csv of the paper; "" is the whole model.
VARIANTS = ("", "w/o DL-DA", "w/o MSR", "w/o KL", "w/o SSIM")
# Channels and residual groups of each resolution, full size first.
WIDTHS, GROUPS = (24, 64, 72), (2, 3, 4)
SINGLE_WIDTHS, SINGLE_GROUPS = (54,), (2,)
ONE_STEP_WIDTHS = (34, 91, 102)


def conv3(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Module:
    """3×3 convolution; stride 2 halves an even size."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


def conv1(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1, bias=bias)


def deconv(inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    """Transposed convolution that doubles the size, 3×3 or 4×4."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding=1, output_padding=kernel % 2)


class ChannelAttention(nn.Module):
    """Channels weighed by what their means say: (B, C, H, W) → the same shape."""

    def __init__(self, channels: int, reduction: int = REDUCTION, bias: bool = True):
        super().__init__()
        squeezed = channels // reduction
        self.squeeze = conv1(channels, squeezed, bias)
        self.excite = conv1(squeezed, channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        mean = of_whole_image(lambda: x.mean(dim=(2, 3), keepdim=True))  # (B, C, 1, 1)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class RCAB(nn.Module):
    """Residual channel attention block."""

    def __init__(self, channels: int, reduction: int = REDUCTION, bias: bool = True):
        super().__init__()
        self.body = nn.Sequential(
            conv3(channels, channels, bias=bias),
            nn.ReLU(),
            conv3(channels, channels, bias=bias),
            ChannelAttention(channels, reduction, bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResidualGroup(nn.Module):
    """Three RCABs and a convolution, around them a skip."""

    def __init__(self, channels: int):
        super().__init__()
        blocks = (RCAB(channels) for _ in range(BLOCKS))
        self.body = nn.Sequential(*blocks, conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class GaussianPyramid(nn.Module):
    """The image, a half, a quarter, …: (B, 3, H, W) → list of `levels` images, full size first."""

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        kernel = torch.outer(row, row).expand(3, 1, 5, 5).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        images = [x]
        for _ in range(self.levels - 1):
            # A mirrored border would need three pixels.
            padded = F.pad(images[-1], (2, 2, 2, 2), mode="replicate")
            images.append(F.conv2d(padded, self.kernel, stride=2, groups=3))
        return images


class MFN(nn.Module):
    """Multi-resolution fusion network: (B, 3, H, W) → (B, 3, H, W), linear (Fig. 3).

    H and W must be multiples of 2^(levels − 1). Level i has widths[i] channels and groups[i]
    residual groups.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, groups: tuple[int, ...] = GROUPS):
        super().__init__()
        levels = range(len(widths))

        def down(j: int, i: int) -> nn.Module:
            return nn.Sequential(*(conv3(widths[k], widths[k + 1], 2) for k in range(j, i)))

        def group(i: int) -> nn.Module:
            return nn.Sequential(*(ResidualGroup(widths[i]) for _ in range(groups[i])))

        self.pyramid = GaussianPyramid(len(widths))
        self.initial = nn.ModuleList(conv3(3, width) for width in widths)
        self.down = nn.ModuleList(nn.ModuleList(down(j, i) for j in range(i)) for i in levels)
        self.groups = nn.ModuleList(group(i) for i in levels)
        self.long = nn.ModuleList(conv1(2 * width, width) for width in widths)
        self.up = nn.ModuleList(deconv(widths[i], widths[i - 1]) for i in levels[1:])
        self.fuse = nn.ModuleList(conv1(2 * width, width) for width in widths[:-1])
        self.reconstruct = conv3(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        initial = [conv(image) for conv, image in zip(self.initial, self.pyramid(x), strict=True)]
        levels = []
        for i, own in enumerate(initial):  # (B, widths[i], H / 2^i, W / 2^i); Eq. (10)
            finer = [path(f) for path, f in zip(self.down[i], initial, strict=False)]
            msr = own + sum(finer)  # Eq. (11)
            levels.append(self.long[i](torch.cat([self.groups[i](msr), msr], dim=1)))  # Eq. (12)
        fused = levels.pop()
        for i in reversed(range(len(levels))):
            fused = self.fuse[i](torch.cat([levels[i], self.up[i](fused)], dim=1))
        return in_float32(self.reconstruct, fused)  # Eq. (13)


class LightGenerator(nn.Module):
    """Single-branch generator of LW-DRGN: (B, 3, H, W) → (B, 3, H, W), linear; even H and W."""

    def __init__(self, stem_width: int = 64, width: int = 36, modules: int = 6):
        super().__init__()
        self.stem = conv3(3, stem_width)
        self.down = conv3(stem_width, width, stride=2)
        bare = {"reduction": LIGHT_REDUCTION, "bias": False}
        self.blocks = nn.ModuleList(RCAB(width, **bare) for _ in range(modules))
        self.fusions = nn.ModuleList(
            nn.Sequential(ChannelAttention(n * width, **bare), conv1(n * width, width, False))
            for n in range(2, modules + 2)
        )
        self.up = deconv(width, stem_width, kernel=4)
        self.reconstruct = conv3(stem_width, 3)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)  # (B, 64, H, W)
        fused = self.down(stem)  # (B, 36, H/2, W/2)
        features = [fused]
        for block, fusion in zip(self.blocks, self.fusions, strict=True):
            features.append(block(fused))
            fused = fusion(torch.cat(features, dim=1))
        return in_float32(self.reconstruct, self.up(fused) + stem)


class Degrading(Enhancer):
    """A network with a degradation generator, `g_de`; None where it learns none."""

    # All that LW-DRGN sees. Of one generator of DRGN 6e-9 of the gradient lies beyond.
    margin, bytes_per_pixel = 56, 1300
    g_de: nn.Module | None

    def degrade(
        self, reference: Tensor, low: Tensor, second_pass: bool = True
    ) -> dict[str, Tensor]:
        """Synthetic low-light images with the degradation of real ones, with gradients (Sec. 2.3).

        Args:
            reference: I_ref, normal-light images (B, 3, H, W).
            low: I_L, low-light images of the same shape, usually of other scenes.
            second_pass: I_{L,ref} = I_ref + I_{D,ref}, whose structure is I_ref's alone; otherwise
                I_ref + I_D.

        Returns:
            `degradation` I_D = G_de(I_L), `degradation_ref` I_{D,ref} = G_de(I_ref + I_D),
            `low_ref` I_{L,ref} (not clamped); (B, 3, H, W) each.

        Raises:
            ValueError: the shapes differ, or this variant learns no degradation.
        """
        g_de = self._generator("degrade")
        if reference.shape != low.shape:
            shapes = f"{tuple(reference.shape)} and {tuple(low.shape)}"
            raise ValueError(f"degrade: reference and low have shapes {shapes}; crop them alike")
        degradation = g_de(low)
        first = reference + degradation
        degradation_ref = g_de(first)
        return {
            "degradation": degradation,
            "degradation_ref": degradation_ref,
            "low_ref": reference + degradation_ref if second_pass else first,
        }

    def _generator(self, method: str) -> nn.Module:
        if self.g_de is None:
            raise ValueError(f"{method}: the variant 'w/o DL-DA' learns no degradation")
        return self.g_de


class DegradationStage(Degrading):
    """G_de alone, its image being I_B = I_L − I_D: what the first stage trains."""

    def __init__(self, g_de: nn.Module, multiple: int):
        super().__init__()
        self.g_de, self.multiple = g_de, multiple

    def forward(self, x: Tensor) -> Tensor:
        return x - self.g_de(x)

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """`degradation` I_D and `image`, which is I_B; (B, 3, H, W) each."""
        degradation = self.g_de(x)
        return {"image": x - degradation, "degradation": degradation}


class TwoStep(Degrading):
    """What DRGN and LW-DRGN share: `g_de`, `g_re` and the uses of the learned degradation.

    Args:
        g_de, g_re: the generators, (B, 3, H, W) → (B, 3, H, W); without `g_de`, I* = G_re(I_L).
        multiple: of H and W that the generators need.
    """

    def __init__(self, g_de: nn.Module | None, g_re: nn.Module, multiple: int):
        super().__init__()
        self.g_de, self.g_re, self.multiple = g_de, g_re, multiple
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.training_outputs(x)["image"]

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """`image` I*, `degradation` I_D, `base` I_B, (B, 3, H, W) each; one step: `image` alone."""
        if self.g_de is None:
            return {"image": self.g_re(x)}
        degradation = self.g_de(x)  # Eq. (4)
        base = x - degradation
        return {"image": self.g_re(base), "degradation": degradation, "base": base}  # Eq. (8)

    def degradation_stage(self) -> DegradationStage:
        """The first stage as a model of its own; it shares G_de, so training it trains this one.

        Raises:
            ValueError: this variant learns no degradation.
        """
        return DegradationStage(self._generator("degradation_stage"), self.multiple)

    def darken(
        self,
        image: Tensor,
        reference_low: Tensor | None = None,
        strength: float = 1.0,
        generator: torch.Generator | None = None,
        second_pass: bool = True,
    ) -> Tensor:
        """Put the degradation of a low-light image on images: clamp(I_ref + strength · I_{D,ref}).

        I_D carries the structure of the image that it was read from, so that it is read again from
        I_ref + I_D (`degrade`). From a larger low-light image a part at a random place is taken,
        one place for the batch. Without such an image it is the image's own G_de(I_ref): G_de has
        seen low-light images only, so that is a guess for others.

        Args:
            image: I_ref, (B, 3, H, W) in [0, 1], any size.
            reference_low: I_L, one image (1, 3, h, w) or one for each I_ref (B, 3, h, w). One
                smaller than the image is enlarged to cover it; then a part as large is cut out.
            strength: from 0, the image itself; 1 is the degradation as learned.
            generator: for the place of the cut, on the CPU; None: torch's global one.
            second_pass: False adds strength · I_D itself, with the structure of its image.

        Returns:
            (B, 3, H, W) in [0, 1], without gradients, in the parameters' type.

        Raises:
            TypeError, ValueError: no such images, batches that do not fit, a strength that is
                negative or not finite, or a variant that learns no degradation.
        """
        g_de = self._generator("darken")
        check_images("darken", image=image)
        if not 0 <= strength < math.inf:
            raise ValueError(f"darken: strength {strength} must be a finite number from 0 up")
        dtype = next(self.parameters()).dtype
        image = low = image.to(dtype)
        if reference_low is not None:
            check_images("darken", reference_low=reference_low)
            if len(reference_low) not in (1, len(image)):
                counts = f"{len(reference_low)} low-light images for {len(image)} normal-light ones"
                raise ValueError(f"darken: {counts}; give one, or one for each")
            low = _cut_to(reference_low.to(image), image.shape[-2:], generator)
        with evaluating(self):
            degradation = g_de(pad_to_multiple(low, self.multiple))
            if second_pass and reference_low is not None:
                degradation = g_de(pad_to_multiple(image, self.multiple) + degradation)
            degradation = degradation[..., : image.shape[-2], : image.shape[-1]]
            return (image + strength * degradation).clamp(0, 1)


class DRGN(TwoStep):
    """DRGN: 4,769,762 parameters, 110.54 GMAC at 384×384.

    Args:
        variant: one of `VARIANTS`; the two that change the loss alone have the whole network.

    Raises:
        ValueError: unknown variant.
    """

    # It sees 250 pixels far, but beyond 96 lie 4e-8 of its gradient (at a random start): less than
    # float32 tells.
    margin = 96

    def __init__(self, variant: str = ""):
        check_choice(VARIANTS, variant=variant)
        if variant == "w/o DL-DA":
            super().__init__(None, MFN(ONE_STEP_WIDTHS), multiple=4)
        elif variant == "w/o MSR":
            single = (MFN(SINGLE_WIDTHS, SINGLE_GROUPS) for _ in range(2))
            super().__init__(*single, multiple=1)
        else:
            super().__init__(MFN(), MFN(), multiple=4)
        self.variant = variant


class LWDRGN(TwoStep):
    """LW-DRGN, the light-weight one: 660,286 parameters, 18.17 GMAC at 384×384."""

    def __init__(self):
        super().__init__(LightGenerator(), LightGenerator(), multiple=2)


def drgn_degradation(**options) -> DegradationStage:
    """The first stage of DRGN as a model of its own; options are DRGN's."""
    return DRGN(**options).degradation_stage()


def lw_drgn_degradation() -> DegradationStage:
    """The first stage of LW-DRGN as a model of its own."""
    return LWDRGN().degradation_stage()


class PatchDiscriminator(nn.Module):
    """Logits of "real" for overlapping patches: (B, 3, H, W) → (B, 1, ⌈H/16⌉, ⌈W/16⌉)."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 128)):
        super().__init__()
        ends = zip((3, *widths), widths, strict=False)
        strided = (nn.Conv2d(i, o, 3, 2, padding=1) for i, o in ends)
        layers = (layer for conv in strided for layer in (conv, nn.LeakyReLU(0.2)))
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Discriminators(nn.Module):
    """The two of the first stage: `low` for low-light images, `degradation` for degradations."""

    def __init__(self):
        super().__init__()
        self.low, self.degradation = PatchDiscriminator(), PatchDiscriminator()


def _cut_to(low: Tensor, size: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """A random (H, W) part of `low` (B, 3, h, w), enlarged first where it does not cover that."""
    scale = max(1.0, size[0] / low.shape[-2], size[1] / low.shape[-1])
    if scale > 1:
        enlarged = [
            max(s, round(side * scale)) for s, side in zip(size, low.shape[-2:], strict=True)
        ]
        low = F.interpolate(low, enlarged, mode="bilinear", align_corners=False)
    spare = [side - s for s, side in zip(size, low.shape[-2:], strict=True)]
    y, x = (int(torch.randint(room + 1, (), generator=generator)) for room in spare)
    return low[..., y : y + size[0], x : x + size[1]]
