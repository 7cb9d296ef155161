"""Losses of NEID (paper 5): Huber on the image, MSE on the details, cosine distance of the colours.

Z. Jiang et al., "Bridge the Vision Gap from Field to Command", 2021, Sec. 2.3.

Differs from the paper:
- δ of the Huber loss is not stated. It is 0.1 here: at 1, on images in [0, 1], Eq. (2) is half
  the MSE and nothing of Huber's is left.
- Printed, Eq. (3) compares the details with the ground truth. Sec. 2.2 has DR do super-resolution
  of the *low-light* image, so its target is the full-size low-light crop; `detail_target="target"`
  is the printed form. Eq. (3) is read as a mean over all values.
- Hue and saturation have no slope where a colour is grey, and hue none at its ends (red is 0 and
  1). A value or a chroma below 1/255 divides as 1/255, which touches no colour of an 8-bit
  image; exact grey has hue 0, as usual, and no slope; the cosine carries a constant (see
  `cosine_distance`). `hue="circular"` compares angles instead, without the jump.
- The network's output is not bounded, HSV is: the colours are read from images cut to [0, 1].
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.imaging import check_alike, full_precision
from llie_core.names import check_choice

HUES = ("printed", "circular")
DETAIL_TARGETS = ("image", "target")
# Least value and chroma that hue and saturation divide by: one step of an 8-bit image.
LEAST = 1 / 255


def huber(prediction: Tensor, target: Tensor, delta: float = 0.1) -> Tensor:
    r"""Squares of small residuals, absolute values of large ones: Eq. (1), Eq. (2).

    .. math:: L_\delta(a) = \tfrac12 a^2 \;(|a| \le \delta), \quad
        \delta |a| - \tfrac12 \delta^2 \;\text{else}; \qquad a = I_{GT} - I_{LE}

    Args:
        prediction, target: tensors of one shape.
        delta: δ > 0, where the square turns into a line.

    Returns:
        Scalar, the mean over all values.

    Raises:
        ValueError: other shapes than each other's, or δ ≤ 0.
    """
    check_alike("huber", prediction, target)
    if not delta > 0:
        raise ValueError(f"huber needs delta > 0, got {delta}")
    return F.huber_loss(full_precision(prediction), full_precision(target), delta=delta)


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    r"""HSV of RGB images, differentiable.

    .. math:: V = \max(R, G, B), \quad C = V - \min(R, G, B), \quad S = C / V

    .. math:: 6 H = (G - B) / C \bmod 6, \quad (B - R) / C + 2, \quad (R - G) / C + 4

    with the maximum in R, G, B. Slopes are finite everywhere: C and V below 1/255 divide as 1/255,
    and where C = 0, H = S = 0 without a slope.

    Args:
        rgb: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 3, H, W): hue as a part of a full turn, saturation and value, all in [0, 1].
    """
    r, g, b = rgb.unbind(dim=1)  # (B, H, W)
    value = rgb.amax(dim=1)
    chroma = value - rgb.amin(dim=1)
    divisor = chroma.clamp(min=LEAST)
    sector = torch.where(
        value == r,
        (g - b) / divisor,
        torch.where(value == g, (b - r) / divisor + 2, (r - g) / divisor + 4),
    )
    hue = torch.where(chroma > 0, (sector / 6).remainder(1.0), 0.0)
    saturation = chroma / value.clamp(min=LEAST)
    return torch.stack([hue, saturation, value], dim=1)


def cosine_distance(prediction: Tensor, target: Tensor, epsilon: float = 1e-6) -> Tensor:
    r"""1 − cosine of the angle between two images, each taken as one long vector.

    .. math:: 1 - \frac{\overline{pt} + \epsilon}
        {\sqrt{(\overline{p^2} + \epsilon)(\overline{t^2} + \epsilon)}}

    with means over all values of an image: the cosine, once each vector has been given one more
    component. It makes the distance 0 between two zero vectors and gives it slopes there.

    Args:
        prediction, target: (B, …).

    Returns:
        (B,), one distance per image, in [0, 1] for vectors without negative values.
    """
    p, t = prediction.flatten(1), target.flatten(1)  # (B, N)
    dot = (p * t).mean(dim=1) + epsilon
    squares = (p.square().mean(dim=1) + epsilon) * (t.square().mean(dim=1) + epsilon)
    return 1 - dot / squares.sqrt()


def colour_loss(prediction: Tensor, target: Tensor, hue: str = "printed") -> Tensor:
    r"""Cosine distances of hue and saturation: Eqs. (4) to (6).

    .. math:: L_{Color} = (1 - \cos(H_p, H_{GT})) + (1 - \cos(S_p, S_{GT}))

    Hue and saturation are flattened over the pixels of an image. The cosine does not see a common
    factor: an image with all saturations halved has the same S term.

    Args:
        prediction, target: (B, 3, H, W) RGB; what is outside [0, 1] is cut off.
        hue: "printed" takes H in [0, 1); "circular" the points (cos 2πH, sin 2πH), whose distance
            is the mean of 1 − cos of the angles between hues, so that the reds at 0 and 1 meet.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: unknown hue, or other shapes than each other's.
    """
    check_choice(HUES, hue=hue)
    check_alike("colour_loss", prediction, target)
    h_p, s_p, _ = rgb_to_hsv(full_precision(prediction).clamp(0, 1)).unbind(dim=1)  # (B, H, W)
    h_t, s_t, _ = rgb_to_hsv(full_precision(target).clamp(0, 1)).unbind(dim=1)
    if hue == "circular":
        h_p, h_t = _on_circle(h_p), _on_circle(h_t)  # (B, 2, H, W)
    l_h = cosine_distance(h_p, h_t)  # Eq. (5)
    l_s = cosine_distance(s_p, s_t)  # Eq. (6)
    return (l_h + l_s).mean()  # Eq. (4)


def neid_loss(
    outputs: Mapping[str, Tensor],
    batch: Mapping,
    delta: float = 0.1,
    lambda_mse: float = 0.1,
    lambda_colour: float = 0.1,
    hue: str = "printed",
    detail_target: str = "image",
) -> dict[str, Tensor]:
    r"""The objective of NEID: :math:`L_{Huber} + \lambda_1 L_{MSE} + \lambda_2 L_{Color}`, Eq. (7).

    Args:
        outputs: `image` (B, 3, H, W) and, from models with a DR decoder, `detail` (B, 3, H, W).
        batch: `image`, the full-size low-light crops, and `target`, the normal-light ones, both
            (B, 3, H, W).
        delta: δ of `huber`.
        lambda_mse, lambda_colour: λ₁ and λ₂, both 0.1 in the paper, "to balance the losses".
        hue: see `colour_loss`.
        detail_target: which of the batch is DR's target: "image", or as Eq. (3) prints, "target".

    Returns:
        Scalars `total` (weighted) and, without their weights, `huber`, `colour` and, where there
        are details, `mse`.

    Raises:
        ValueError: an unknown choice, or outputs that are not of the size of their targets.
    """
    check_choice(DETAIL_TARGETS, detail_target=detail_target)
    image, target = outputs["image"], batch["target"]
    terms = {"huber": huber(image, target, delta), "colour": colour_loss(image, target, hue)}
    total = terms["huber"] + lambda_colour * terms["colour"]
    if "detail" in outputs:
        detail, wanted = outputs["detail"], batch[detail_target]
        check_alike("neid_loss", detail, wanted)
        terms["mse"] = F.mse_loss(full_precision(detail), full_precision(wanted))  # Eq. (3)
        total = total + lambda_mse * terms["mse"]  # Eq. (7)
    return {"total": total, **terms}


def _on_circle(hue: Tensor) -> Tensor:
    """Hues (B, H, W) in turns → points (B, 2, H, W) of the unit circle."""
    angle = 2 * math.pi * hue
    return torch.stack([angle.cos(), angle.sin()], dim=1)
