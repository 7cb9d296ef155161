"""CurveRefine: curves for the whole image, then a small network for noise and colour. Ours.

From no paper: a network below 100 k parameters that anyone may put before a photograph. It joins
what is known to suffice on LOL with few parameters: one tone curve an image, as the gamma of
CPGA-Net+ (S.-E. Weng et al., arXiv:2409.05274) and the colour matrix of IAT (Z. Cui et al., BMVC
2022) are, here the curve of Zero-DCE with one value a step and channel in place of maps; and a
residual network behind it.

    context (the image at 64×64) ─▶ code ─▶ curves, colour matrix, scales of features
    image ─▶ curves ─▶ colour matrix ─▶ y;   y + refine([image, y]; code)

The weights that the project ships (`weights="reference"`) were trained by
`llie fit neid --profile photographs --data FOLDER` on LOL's our485 (research; its page states no
licence) and, as normal-light images, 181 of Zero-DCE's training images and CamVid's train part
(both CC BY-NC 4.0): 6,000 steps. LOL eval15: 19.68 dB, SSIM .779, without GT-mean; its ground
truths come back at 31.52 dB. Photographs that are half dark stay nearly as they are.

The curve keeps 0 at 0 and 1 at 1, and the matrix keeps grey grey, so that neither clips a grey
image; what a normal-light image needs is the identity, where both start. `refine` works at half
and a quarter of the size and reaches some 20 pixels around each, so that an image may be enhanced
in tiles: every tile with the context of the whole image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32, without_autocast
from llie_core.models.base import Enhancer
from llie_core.models.large import of_whole_image
from llie_core.models.zero_dce import ITERATIONS, light_curve

CONTEXT = 64  # side of the small copy that curves are estimated from
WIDTHS = (32, 40)  # of the features at half and at a quarter of the size
CODE = 64
DROPPED = 0.3  # share of the pooled features, in training: LOL has 399 training scenes


class Context(nn.Module):
    """The code of a whole image: three strided convolutions, mean and maximum over the image."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 32), code: int = CODE):
        super().__init__()
        inputs = (6, *widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip(inputs, widths, strict=True)
        )
        self.dropped = nn.Dropout(DROPPED)
        self.code = nn.Linear(2 * widths[-1], code)

    def forward(self, context: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1] → (B, code)."""
        # The logarithm spreads what is nearly black, where low-light images differ.
        y = torch.cat([context, (context + 0.01).log() / 4 + 1], dim=1)  # (B, 6, 64, 64)
        for conv in self.convs:
            y = F.leaky_relu(conv(y), 0.1)
        pooled = torch.cat([y.mean(dim=(2, 3)), y.amax(dim=(2, 3))], dim=1)
        return F.leaky_relu(self.code(self.dropped(pooled)), 0.1)


class Refine(nn.Module):
    """The residual of an image from [x, y], its features scaled by the code."""

    def __init__(self, widths: tuple[int, int] = WIDTHS, code: int = CODE):
        super().__init__()
        half, quarter = widths
        self.enter = nn.Conv2d(24, half, 3, padding=1)
        self.scale = nn.Linear(code, 2 * half)
        self.down = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.coarse2 = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.up = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.fine = nn.Conv2d(half, half, 3, padding=1)
        self.leave = nn.Conv2d(half, 12, 3, padding=1)
        for layer in (self.scale, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        """x, y (B, 3, H, W), H and W multiples of 4; code (B, code) → (B, 3, H, W), signed."""
        gain, shift = self.scale(code)[..., None, None].chunk(2, dim=1)  # (B, half, 1, 1)
        half = self.enter(F.pixel_unshuffle(torch.cat([x, y], dim=1), 2))  # (B, half, H/2, W/2)
        half = F.leaky_relu(half * (1 + gain) + shift, 0.1)
        quarter = F.leaky_relu(self.down(half), 0.1)  # (B, quarter, H/4, W/4)
        inner = F.leaky_relu(self.coarse(quarter), 0.1)
        quarter = F.leaky_relu(self.coarse2(inner) + quarter, 0.1)
        half = F.leaky_relu(self.up(quarter) + half, 0.1)
        half = F.leaky_relu(self.fine(half), 0.1) + half
        return F.pixel_shuffle(in_float32(self.leave, half), 2)


class CurveRefine(Enhancer):
    """Curves and a colour matrix for the whole image, then refinement of every pixel."""

    multiple, margin, bytes_per_pixel = 4, 48, 400
    context_size = CONTEXT

    def __init__(self):
        super().__init__()
        self.context = Context()
        self.curves = nn.Linear(CODE, 3 * ITERATIONS)
        self.mixing = nn.Linear(CODE, 6)  # of the colour matrix, beside its diagonal
        self.refine = Refine()
        for layer in (self.curves, self.mixing):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.outputs(x, context)["image"]

    def training_outputs(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """`image` and `curve_image`, the one before refinement, both (B, 3, H, W)."""
        return self.outputs(x, context)

    def outputs(self, x: Tensor, context: Tensor | None) -> dict[str, Tensor]:
        """Both images of x (B, 3, H, W); context: `shrink` of the whole image that x is part of,
        None where x is the whole."""
        code = of_whole_image(lambda: self.context(shrink(x) if context is None else context))
        maps = torch.tanh(in_float32(self.curves, code))[..., None, None].split(3, dim=1)
        y = light_curve(x, maps)  # maps: (B, 3, 1, 1) each
        with without_autocast(x):
            y = torch.einsum("bij,bjhw->bihw", self.matrix(code), y)
        return {"image": y + self.refine(x, y, code), "curve_image": y}

    def matrix(self, code: Tensor) -> Tensor:
        """Colour matrices (B, 3, 3); each row adds up to 1, so that grey stays grey."""
        mixing = in_float32(self.mixing, code) / 2  # (B, 6)
        zero = torch.zeros_like(mixing[:, :1])
        other = torch.cat([zero, mixing[:, :3], zero, mixing[:, 3:], zero], dim=1).view(-1, 3, 3)
        return other + torch.diag_embed(1 - other.sum(dim=2))


def shrink(x: Tensor) -> Tensor:
    """(B, 3, H, W) of any size → (B, 3, 64, 64), means over areas."""
    if torch.compiler.is_exporting():  # ONNX has no such pooling of images of any size
        return area_means(x.shape[-2]) @ x @ area_means(x.shape[-1]).T
    return F.adaptive_avg_pool2d(x, CONTEXT)


def area_means(side: int) -> Tensor:
    """(64, side): each row averages what a cell of adaptive pooling does."""
    cell, pixel = torch.arange(CONTEXT)[:, None], torch.arange(side)
    starts, ends = cell * side // CONTEXT, ((cell + 1) * side + CONTEXT - 1) // CONTEXT
    within = ((pixel >= starts) & (pixel < ends)).float()
    return within / within.sum(1, keepdim=True)
