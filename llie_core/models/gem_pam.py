"""GEM + PAM: global gains, then pixelwise adjustment, trained by a frozen recognizer's loss.

"Recognition-Oriented Low-Light Image Enhancement based on Global and Pixelwise Optimization",
S. Ono, Y. Ogino, T. Toizumi, A. Ito, M. Tsukada (paper 1 here).

    I_LR = 32×32 bilinear copy of I_input ─▶ GEM ─▶ a_R, a_G, a_B
    I_global = a · I_input        # Eq. (1)
    I_out = I_global + PAM(I_global)        # Eq. (2)

Both modules are small; nothing but the recognizer's loss on I_out trains them.

Differs from the paper, which gives no layer sizes, only 577 k parameters in all, six convolutions
in GEM, and four encoder and four decoder blocks in PAM:
- Widths (GEM 32; PAM 16-32-64-128 down, 64-32-16-8 up) are inferred; they give 577,294 parameters.
- "Bilinear interpolation" to 32×32 is taken with antialiasing: without it each of the 32×32 values
  would be that of four pixels of a large image.
- Output ranges and initialisation are not printed. Both modules start as the identity: a gain is
  the exponential of GEM's output, and the last layers of GEM and PAM start at zero. With PyTorch's
  default the gains start near zero or below, and GEM hardly moves beside PAM (measured). GEM's
  other layers start from He's initialisation with zero biases: PyTorch's default biases drown a
  dark image, so that the features before the last layer hardly depend on it (measured).
- I_out has no stated range. The recognizer reads it clamped to [0, 1] in training as in evaluation
  (losses/task_driven.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer
from llie_core.models.large import of_whole_image
from llie_core.names import check_choice

GEM_SIZE = 32  # side of I_LR in pixels
GEM_WIDTH = 32
ENCODER_WIDTHS = (16, 32, 64, 128)
DECODER_WIDTHS = (64, 32, 16, 8)
MODULES = ("both", "gem", "pam")


def zero_init(layer: nn.Conv2d | nn.Linear) -> None:
    """Weights and bias zero, so that the layer's branch starts without effect."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class GlobalEnhancement(nn.Module):
    """GEM: three gains from a 32×32 copy of the image, by six convolutions."""

    def __init__(self, size: int = GEM_SIZE):
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for inputs in (3, *[GEM_WIDTH] * 4):  # 32 → 16 → 8 → 4 → 2 → 1 pixels
            layers += [nn.Conv2d(inputs, GEM_WIDTH, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        for layer in self.features[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.head = nn.Conv2d(GEM_WIDTH, 3, 1)
        zero_init(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → gains a_R, a_G, a_B (B, 3, 1, 1), positive, 1 at the start."""
        small = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        features = self.features(small).mean((2, 3), keepdim=True)  # one pixel, for a size of 32
        return in_float32(self.head, features).exp()


class EncoderBlock(nn.Module):
    """Two 3×3 convolutions, batch norm, ReLU (`deep`: all of it twice); the pooling follows
    outside, after the skip."""

    def __init__(self, inputs: int, outputs: int, deep: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs)[: 1 + deep]:
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DecoderBlock(nn.Module):
    """Transposed convolution to twice the size, skip beside it, convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, skip: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.layers = nn.Sequential(
            nn.Conv2d(outputs + skip, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.layers(torch.cat([self.up(x), skip], dim=1))


class PixelwiseAdjustment(nn.Module):
    """PAM: a small U-net that gives f_local, what is added to every pixel."""

    def __init__(self, deep: bool = False):
        super().__init__()
        encoder_inputs = (3, *ENCODER_WIDTHS[:-1])
        decoder_inputs = (ENCODER_WIDTHS[-1], *DECODER_WIDTHS[:-1])
        skips = ENCODER_WIDTHS[::-1]
        self.encoder = nn.ModuleList(
            EncoderBlock(*widths, deep)
            for widths in zip(encoder_inputs, ENCODER_WIDTHS, strict=True)
        )
        self.decoder = nn.ModuleList(map(DecoderBlock, decoder_inputs, skips, DECODER_WIDTHS))
        self.head = nn.Conv2d(DECODER_WIDTHS[-1], 3, 1)
        zero_init(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 16 → f_local (B, 3, H, W), zero at the start."""
        skips = []
        for block in self.encoder:
            x = block(x)  # (B, 16 … 128, H … H/8, W … W/8)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(x, skip)  # (B, 64 … 8, H/8 … H, W/8 … W)
        return in_float32(self.head, x)


class GemPam(Enhancer):
    """GEM + PAM: 577,294 parameters, 11.1 GMAC at 1024×512.

    With one seed, each module starts alike in every ablation.

    Args:
        modules: "both", or one of the ablations of Table 5: "gem" alone (w/o PAM), "pam" alone
            (w/o GEM).
        gem_size: side in pixels of the copy that GEM sees, a multiple of 32; more than 32 is ours.
        deep: twice the convolutions in PAM's encoder (ours): 931,947 parameters in PAM.
    """

    margin, bytes_per_pixel = 80, 400

    def __init__(self, modules: str = "both", gem_size: int = GEM_SIZE, deep: bool = False):
        super().__init__()
        check_choice(MODULES, modules=modules)
        if gem_size < GEM_SIZE or gem_size % GEM_SIZE:
            raise ValueError(f"gem_size={gem_size}: expected a multiple of {GEM_SIZE}")
        # Both are always drawn, so that one does not shift the random numbers of the other.
        gem, pam = GlobalEnhancement(gem_size), PixelwiseAdjustment(deep)
        self.gem = gem if modules != "pam" else None
        self.pam = pam if modules != "gem" else None
        self.multiple = 16 if self.pam else 1
        if deep:
            self.margin = 112  # twice the encoder's convolutions reach 30 pixels farther

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """I_out as `image`, and what made it: `gains` (B, 3, 1, 1), `adjustment` (B, 3, H, W)."""
        outputs, gem = {"image": x}, self.gem
        if gem:
            outputs["gains"] = of_whole_image(lambda: gem(x))
            outputs["image"] = outputs["gains"] * x  # Eq. (1)
        if self.pam:
            outputs["adjustment"] = self.pam(outputs["image"])
            outputs["image"] = outputs["image"] + outputs["adjustment"]  # Eq. (2)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.training_outputs(x)["image"]
