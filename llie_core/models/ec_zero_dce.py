"""EC-Zero-DCE: an exposure-conditioned darkener, to make low-light images from normal ones.

S. Zhou, C. Li, C. C. Loy, "LEDNet: Joint Low-light Enhancement and Deblurring in the Dark",
ECCV 2022 (EC-Zero-DCE is part of its data pipeline); used in §3.1 of the thesis on task-oriented
joint training (paper 2).

The curve of Zero-DCE, reversed: L_n = L_{n−1} − a_n · L_{n−1} · (1 − L_{n−1}) with a in (0, 1),
on the lightness L of CIELAB. The network sees L and a map of the wanted exposure E. Pixels with
L > 0.97 (lamps, windows) keep their L: their exposure map holds L itself and the result is set
to L there. RGB is scaled by L_low / (L + 1e-8), which leaves hue and saturation alone.

In use there is a second step: one number t an image shifts the network's output, a = σ(z + t), and
bisection finds the t at which the mean of the result is E. Where the pixels that keep their L, such
as a white sky, would alone make up more than half of E, one factor dims them to that half. Only an
image that is darker than E itself ends elsewhere: it stays as it is.

Differs from the paper:
- Its network is 256 channels wide with a second branch for E (7,154,186 parameters), too heavy
  for CPUs, and its training code is unreleased. Ours is a DCE-Net of 32 channels with E as a
  second input channel.
- Its curve maps come from tanh and may brighten; ours come from a sigmoid and only darken.
- It leaves keeping lamps to the network; here it is exact.
- Its loader adds noise afterwards; that belongs to the data, not to this model.
- Its script reads BGR files and converts them as RGB; ours is RGB throughout.
- The thesis only says that E is set low and Zero-DCE retrained. That, too, is possible here:
  `ZeroDCE` trained with a low `exposure` in its loss, one model per E.
- The second step is ours. Measured with the kept weights on 48 photographs of WIDER FACE, E = 0.05
  to 0.30: mean |mean − E| .077 to .089 without it; with it 1e-5 and, at 0.25 and 0.30, where one
  and three of the photographs are darker than E, .0007 and .0024.

Training: `zero_reference_total(outputs, x, "ec_zero_dce", exposure=outputs["exposure"])`, Adam
2e-3 with cosine decay, as the thesis without weight decay or clipping; without the second step.
"""

import torch
from torch import Tensor, nn

from llie_core.imaging import constant, srgb_to_linear
from llie_core.models.large import of_whole_image
from llie_core.models.zero_dce import ITERATIONS, WIDTH, DCENet, light_curve

EXPOSURE_RANGE = (0.05, 0.30)
SATURATED = 0.97
SHIFTS = (-16.0, 16.0)  # bounds of t
HALVINGS = 20  # of their distance; t then errs by 3e-5, the mean by less
KEPT_SHARE = 0.5  # of E, which pixels that keep their L may make up


def lightness(rgb: Tensor) -> Tensor:
    r"""CIELAB lightness of sRGB images, as a fraction: L*/100.

    .. math:: c_{lin} = c / 12.92 \;(c \le 0.04045), \quad ((c + 0.055) / 1.055)^{2.4}
        \;\text{else}; \qquad Y = 0.2126 R + 0.7152 G + 0.0722 B

    .. math:: L^* = 116\, Y^{1/3} - 16 \;(Y > (6/29)^3), \quad (29/3)^3\, Y \;\text{else}

    (IEC 61966-2-1; CIE 15, white point Y = 1.) Differentiable, with finite slopes at black.

    Args:
        rgb: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W), in [0, 1] for such input.
    """
    linear = srgb_to_linear(rgb)
    weights = constant((0.2126, 0.7152, 0.0722), linear).view(1, 3, 1, 1)
    y = (linear * weights).sum(dim=1, keepdim=True)  # (B, 1, H, W)
    knee = (6 / 29) ** 3
    # Both branches are evaluated everywhere; the clamp keeps the root's slope finite at black.
    root = 1.16 * y.clamp(min=knee) ** (1 / 3) - 0.16
    return torch.where(y > knee, root, (29 / 3) ** 3 / 100 * y)


class ECZeroDCE(DCENet):
    """Darkener with a wanted exposure E in [0.05, 0.30]; 69,896 parameters by default.

    Args:
        width: channels of the hidden layers.
        iterations: number of curve steps, one map each.
    """

    pools = True  # the second step's shift is that of the whole image
    exports = "it takes an exposure beside the image"

    def __init__(self, width: int = WIDTH, iterations: int = ITERATIONS):
        super().__init__(2, iterations, width=width)
        # Measured: with N(0, 0.02), E reaches the output too late; from PyTorch's default weights,
        # with E scaled to the span of L and a start in the middle of the range, the mean soon
        # follows E.
        with torch.no_grad():
            self.e_conv1.weight[:, 1] *= 4
        nn.init.constant_(self.e_conv7.bias, -1.0)

    def forward(self, x: Tensor, exposure: float | Tensor, reach: bool = False) -> Tensor:
        """Darken x (B, 3, H, W) in [0, 1] to mean brightness about `exposure`, one or (B,).

        reach: take the second step, so that the mean is E.
        """
        return self.training_outputs(x, exposure, reach)["image"]

    def training_outputs(
        self, x: Tensor, exposure: float | Tensor | None = None, reach: bool = False
    ) -> dict[str, Tensor]:
        """Darkened images and what their loss needs.

        Args:
            x: (B, 3, H, W) in [0, 1].
            exposure: E, one number or one per image (B,); None draws each from U(0.05, 0.30)
                with torch's global (CPU) generator.
            reach: take the second step.

        Returns:
            `image` (B, 3, H, W), `curve_maps` A = −a (B, iterations, H, W), `exposure` (B,).

        Raises:
            ValueError: E out of range, or of another shape.
        """
        if exposure is None:
            low, high = EXPOSURE_RANGE
            exposure = low + (high - low) * torch.rand(len(x))
        exposure = _checked_exposure(exposure, x)  # (B,)
        light = lightness(x)  # (B, 1, H, W)
        saturated = light > SATURATED
        wanted = torch.where(saturated, light, exposure.view(-1, 1, 1, 1))
        z = self.estimate(torch.cat([light, wanted], dim=1))  # (B, iterations, H, W)
        shift, kept = 0.0, 1.0
        if reach:
            shift, kept = of_whole_image(lambda: self._second_step(x, light, z, exposure))
        a, low_light = _darkened(light, z + shift)
        low_light = torch.where(saturated, light * kept, low_light)
        image = x * (low_light / (light + 1e-8))
        return {"image": image, "curve_maps": -a, "exposure": exposure}

    @staticmethod
    def _second_step(
        x: Tensor, light: Tensor, z: Tensor, exposure: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The shift t and the factor of the kept pixels, (B, 1, 1, 1) each."""
        wanted = exposure.view(-1, 1, 1, 1)
        grey = x.mean(1, keepdim=True) / (light + 1e-8)  # of the result, for each unit of L_low
        others = grey * (light <= SATURATED)

        def mean(of: Tensor) -> Tensor:
            return of.mean((1, 2, 3), keepdim=True)

        lamps = mean(grey * light) - mean(others * light)  # what the kept pixels add to the mean
        least = (KEPT_SHARE * wanted / lamps.clamp(min=1e-8)).clamp(max=1)
        rest = wanted - least * lamps
        low, high = (torch.full_like(wanted, bound) for bound in SHIFTS)
        for _ in range(HALVINGS):
            shift = (low + high) / 2
            bright = mean(others * _darkened(light, z + shift)[1]) > rest
            low, high = torch.where(bright, shift, low), torch.where(bright, high, shift)
        left = wanted - mean(others * _darkened(light, z + high)[1])
        return high, torch.maximum(left / lamps.clamp(min=1e-8), least).clamp(max=1)

    def enhance(self, x: Tensor, exposure: float | Tensor = 0.1) -> Tensor:
        """Darken images of any size to a mean of E in [0.05, 0.30], one number or one per image.

        The second step is taken; an image that is darker than E stays as it is.
        """
        return super().enhance(x, exposure=exposure, reach=True)


def _darkened(light: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """a = σ(z) (B, iterations, H, W), and what its curves make of L (B, 1, H, W)."""
    a = torch.sigmoid(z)
    return a, light_curve(light, (-a).split(1, dim=1))


def _checked_exposure(exposure: float | Tensor, x: Tensor) -> Tensor:
    """E as a tensor (B,) beside x, or one clear line."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    exposure = torch.as_tensor(exposure, dtype=dtype, device=x.device)
    if exposure.shape not in ((), x.shape[:1]):
        shape = tuple(exposure.shape)
        raise ValueError(f"exposure has shape {shape}, expected one number or ({len(x)},)")
    low, high = EXPOSURE_RANGE
    # The tolerance is for 0.05 and 0.30 in lower precision; NaN fails the test too.
    if not bool(((exposure >= low - 1e-4) & (exposure <= high + 1e-4)).all()):
        raise ValueError(f"exposure {exposure.tolist()} is out of range [{low}, {high}]")
    return exposure.expand(len(x))
