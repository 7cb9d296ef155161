"""EC-Zero-DCE: an exposure-conditioned darkener, to make low-light images from normal ones.

S. Zhou, C. Li, C. C. Loy, "LEDNet: Joint Low-light Enhancement and Deblurring in the Dark",
ECCV 2022 (EC-Zero-DCE is part of its data pipeline); used in §3.1 of the thesis on task-oriented
joint training (paper 2).

The curve of Zero-DCE, reversed: L_n = L_{n−1} − a_n · L_{n−1} · (1 − L_{n−1}) with a in (0, 1),
on the lightness L of CIELAB. The network sees L and a map of the wanted exposure E. Pixels with
L > 0.97 (lamps, windows) keep their L: their exposure map holds L itself and the result is set
to L there. RGB is scaled by L_low / (L + 1e-8), which leaves hue and saturation alone.

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

Training: `zero_reference_total(outputs, x, "ec_zero_dce", exposure=outputs["exposure"])`, Adam
2e-3 with cosine decay, as the thesis without weight decay or clipping. Measured on photographs, six
64×64 crops a step, 150 steps: E of 0.05, 0.10, 0.20 give means of 0.10, 0.12, 0.19.
"""

import torch
from torch import Tensor, nn

from llie_core.imaging import srgb_to_linear
from llie_core.models.zero_dce import ITERATIONS, WIDTH, DCENet, light_curve

EXPOSURE_RANGE = (0.05, 0.30)
SATURATED = 0.97


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
    weights = linear.new_tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)
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

    def __init__(self, width: int = WIDTH, iterations: int = ITERATIONS):
        super().__init__(2, iterations, width=width)
        # Measured: N(0, 0.02) hears of E too late; from PyTorch's default weights, with E scaled
        # to the span of L and a start in the middle of the range, the mean soon follows E.
        with torch.no_grad():
            self.e_conv1.weight[:, 1] *= 4
        nn.init.constant_(self.e_conv7.bias, -1.0)

    def forward(self, x: Tensor, exposure: float | Tensor) -> Tensor:
        """Darken x (B, 3, H, W) in [0, 1] to mean brightness about `exposure`, one or (B,)."""
        return self.training_outputs(x, exposure)["image"]

    def training_outputs(
        self, x: Tensor, exposure: float | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Darkened images and what their loss needs.

        Args:
            x: (B, 3, H, W) in [0, 1].
            exposure: E, one number or one per image (B,); None draws each from U(0.05, 0.30)
                with torch's global (CPU) generator.

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
        a = torch.sigmoid(self.estimate(torch.cat([light, wanted], dim=1)))
        low_light = light_curve(light, (-a).split(1, dim=1))
        low_light = torch.where(saturated, light, low_light)
        image = x * (low_light / (light + 1e-8))
        return {"image": image, "curve_maps": -a, "exposure": exposure}

    def enhance(self, x: Tensor, exposure: float | Tensor = 0.1) -> Tensor:
        """Darken images of any size to exposure E in [0.05, 0.30], one number or one per image."""
        return super().enhance(x, exposure=exposure)


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
