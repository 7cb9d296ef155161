"""Zero-reference losses: what an enhanced image should be like, without a target.

C. Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement", CVPR 2020;
equation numbers are those of chapter 3 of the thesis on task-oriented joint training (paper 2).

Every function has two forms. "released" is what the authors' training code computes, and is for
training. "thesis" is the equation as printed, to show the difference: Eq. (3.9) has no square
and is minimised by black, Eq. (3.11) no mean over pixels.

Differs from the released code:
- An epsilon under the root of the colour loss: the plain root has no finite slope at exact grey.
- Images smaller than a pooling patch work: the patch shrinks to the image. Otherwise, as there,
  rows and columns beyond the last whole patch are left out.
- Half precision is computed in float32; a one-pixel-wide image has no smoothness term across.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.imaging import full_precision
from llie_core.names import check_choice, unknown

FORMS = ("released", "thesis")
SPATIAL_PATCH = 4

# W of Eq. (3.12), by the training they belong to. Those of the darkener are ours: it needs no
# colour term, since it scales the three channels of a pixel by one factor; measured, smoothness at
# 200 holds the mean brightness away from E, at 20 it lets bright regions turn darker than dim ones.
WEIGHTS: dict[str, dict[str, float]] = {
    "zero_dce": {"spatial": 1.0, "exposure": 10.0, "colour": 5.0, "smoothness": 200.0},
    "zero_dce_pp": {"spatial": 1.0, "exposure": 10.0, "colour": 5.0, "smoothness": 1600.0},
    "thesis": {"spatial": 1.0, "exposure": 10.0, "colour": 5.0, "smoothness": 1600.0},
    "ec_zero_dce": {"spatial": 1.0, "exposure": 10.0, "colour": 0.0, "smoothness": 100.0},
}


def spatial_consistency(enhanced: Tensor, original: Tensor, form: str = "released") -> Tensor:
    r"""Neighbouring regions should differ in the enhanced image as they do in the original.

    .. math:: L_{spa} = \frac{1}{K} \sum_{i=1}^K \sum_{j \in \Omega(i)}
        \big((Y_i - Y_j) - (I_i - I_j)\big)^2

    Y and I are means over 4×4 pixels and RGB of the two images, Ω(i) the four neighbours of
    region i. "released": outside the image Y = I = 0, so a border region's own change counts
    once per missing neighbour. "thesis" (Eq. 3.8): :math:`|Y_i - Y_j| - |I_i - I_j|`, and
    neighbours inside the image only.

    Args:
        enhanced, original: (B, 3, H, W).

    Returns:
        Scalar, the mean over the batch.
    """
    check_choice(FORMS, form=form)
    y, i = _regions(enhanced, SPATIAL_PATCH), _regions(original, SPATIAL_PATCH)  # (B, 1, h, w)
    if form == "released":
        # Differences are linear, so those of Y − I do; the frame of zeros is the outside.
        d = F.pad(y - i, (1, 1, 1, 1))
        centre, up, down = d[..., 1:-1, 1:-1], d[..., :-2, 1:-1], d[..., 2:, 1:-1]
        left, right = d[..., 1:-1, :-2], d[..., 1:-1, 2:]
        squares = [(centre - neighbour).square() for neighbour in (up, down, left, right)]
        return torch.stack(squares).sum(dim=0).mean()
    across = y.diff(dim=-1).abs() - i.diff(dim=-1).abs()
    down = y.diff(dim=-2).abs() - i.diff(dim=-2).abs()
    # Each pair of neighbours is met from both its regions.
    return 2 * (across.square().sum() + down.square().sum()) / y.numel()  # Eq. (3.8)


def exposure_control(
    enhanced: Tensor, exposure: float | Tensor = 0.6, form: str = "released", patch: int = 16
) -> Tensor:
    r"""Regions should have a given mean brightness E.

    .. math:: L_{exp} = \frac{1}{M} \sum_{k=1}^M (Y_k - E)^2

    Y is the mean over `patch`×`patch` pixels and RGB, regions do not overlap. "thesis" (Eq. 3.9)
    is :math:`\frac{1}{M} \sum (Y_k - E)` as printed: it may be negative and is least for black,
    so it can be shown but never minimised.

    Args:
        enhanced: (B, 3, H, W).
        exposure: E in [0, 1], one number or one per image (B,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: `exposure` is a tensor of another shape than () or (B,).
    """
    check_choice(FORMS, form=form)
    y = _regions(enhanced, patch)  # (B, 1, h, w)
    if isinstance(exposure, Tensor) and exposure.ndim:
        if exposure.shape != y.shape[:1]:
            shape = tuple(exposure.shape)
            raise ValueError(f"exposure has shape {shape}, expected one number or ({len(y)},)")
        exposure = exposure.to(y).view(-1, 1, 1, 1)
    difference = y - exposure
    return difference.square().mean() if form == "released" else difference.mean()  # Eq. (3.9)


def colour_constancy(enhanced: Tensor, form: str = "released", epsilon: float = 1e-16) -> Tensor:
    r"""The means J of the colour channels should agree (grey world).

    .. math:: L_{col} = \sqrt{\textstyle\sum_{(p,q)} (J_p - J_q)^4 + \epsilon}, \qquad
        (p, q) \in \{(R,G), (R,B), (G,B)\}

    "thesis" (Eq. 3.10): :math:`\sum (J_p - J_q)^2`. The released code has ε = 0, hence 0/0 in the
    gradient at exact grey. ε = 1e-16 makes the value there 1e-8 and the gradient 0; it is felt
    where channel means differ by less than 1e-4 only.

    Args:
        enhanced: (B, 3, H, W).

    Returns:
        Scalar, the mean over the batch.
    """
    check_choice(FORMS, form=form)
    means = full_precision(enhanced).mean(dim=(2, 3))  # (B, 3)
    squares = (means - means.roll(1, dims=1)).square()  # (B, 3): R−B, G−R, B−G
    if form == "thesis":
        return squares.sum(dim=1).mean()  # Eq. (3.10)
    return (squares.square().sum(dim=1) + epsilon).sqrt().mean()


def illumination_smoothness(curve_maps: Tensor, form: str = "released") -> Tensor:
    r"""Neighbouring pixels should have similar curves.

    .. math:: L_{tv} = 2 \sum_c \left( \frac{\sum (\Delta_y A_c)^2}{(H-1) W}
        + \frac{\sum (\Delta_x A_c)^2}{H (W-1)} \right)

    It is summed over the C channels: eight reused maps count once, so Zero-DCE++ weighs the term
    1600 where Zero-DCE, with 24 maps, weighs it 200. "thesis" (Eq. 3.11):
    :math:`\frac{1}{N} \sum_n \sum_{c \in RGB} (|\Delta_x A_n^c| + |\Delta_y A_n^c|)^2`, N the
    number of maps, summed over the pixels (nothing printed divides by their number, so it grows
    with the area); differences to the left and upper neighbour, 0 at the border.

    Args:
        curve_maps: A, (B, C, H, W); "thesis" wants three channels a map.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: form "thesis" and C is no multiple of 3.
    """
    check_choice(FORMS, form=form)
    a = full_precision(curve_maps)
    batch, channels, height, width = a.shape
    down, across = a.diff(dim=2), a.diff(dim=3)  # (B, C, H-1, W), (B, C, H, W-1)
    if form == "released":
        # An image of one row or column has no differences along it: the sum is 0, not 0/0.
        down = down.square().sum() / max((height - 1) * width, 1)
        across = across.square().sum() / max(height * (width - 1), 1)
        return 2 * (down + across) / batch
    if channels % 3:
        raise ValueError(f"form 'thesis' needs RGB curve maps, got {channels} channels")
    gradient = F.pad(down.abs(), (0, 0, 1, 0)) + F.pad(across.abs(), (1, 0, 0, 0))
    return gradient.square().sum() / (channels // 3) / batch  # Eq. (3.11)


def zero_reference_total(
    outputs: Mapping[str, Tensor],
    original: Tensor,
    weights: str | Mapping[str, float] = "zero_dce",
    exposure: float | Tensor = 0.6,
    form: str = "released",
) -> dict[str, Tensor]:
    """Weighted sum of the four losses, Eq. (3.12).

    Args:
        outputs: `image` (B, 3, H, W) and `curve_maps` (B, C, H, W), as `training_outputs` gives.
        original: the images enhanced, (B, 3, H, W).
        weights: a name in `WEIGHTS`, or numbers for spatial, exposure, colour and smoothness.
        exposure: E, one number or one per image (B,): a darkener's `outputs["exposure"]`.

    Returns:
        Scalars `total` (weighted) and `spatial`, `exposure`, `colour`, `smoothness`, these
        without their weights, so that logs of different weightings compare.

    Raises:
        ValueError: unknown weights or form.
    """
    weights = _known_weights(weights)
    terms = {
        "spatial": spatial_consistency(outputs["image"], original, form),
        "exposure": exposure_control(outputs["image"], exposure, form),
        "colour": colour_constancy(outputs["image"], form),
        "smoothness": illumination_smoothness(outputs["curve_maps"], form),
    }
    weighted = (weights[name] * term for name, term in terms.items())
    total = sum(weighted, start=original.new_zeros(()))  # Eq. (3.12)
    return {"total": total, **terms}


def zero_dce_loss(outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
    """Zero-DCE's own objective: Eq. (3.12) with the weights of its release, 1, 10, 5, 200."""
    return zero_reference_total(outputs, batch["image"], weights="zero_dce")


def upstream_loss(
    outputs: Mapping[str, Tensor],
    batch: Mapping,
    weights: str | Mapping[str, float] = "thesis",
    form: str = "released",
) -> dict[str, Tensor]:
    """L_up of paper 2: Eq. (3.12), as it is by default with weights 1, 10, 5, 1600.

    An objective: `outputs` of `training_outputs`, `batch["image"]` the images (B, 3, H, W);
    weights and form as `zero_reference_total` has them.
    """
    return zero_reference_total(outputs, batch["image"], weights, form=form)


def darkening_loss(outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
    """The objective of EC-Zero-DCE (Sec. 3.1): each image's own low exposure E as the target."""
    return zero_reference_total(
        outputs, batch["image"], weights="ec_zero_dce", exposure=outputs["exposure"]
    )


def _regions(images: Tensor, patch: int) -> Tensor:
    """Mean brightness of patch×patch regions: (B, 3, H, W) → (B, 1, H // patch, W // patch)."""
    grey = full_precision(images).mean(dim=1, keepdim=True)
    height, width = grey.shape[-2:]
    return F.avg_pool2d(grey, (min(patch, height), min(patch, width)))


def _known_weights(weights: str | Mapping[str, float]) -> Mapping[str, float]:
    """Weights by name or as given, with exactly the four terms."""
    if isinstance(weights, str):
        if weights not in WEIGHTS:
            raise unknown("weights", weights, WEIGHTS)
        return WEIGHTS[weights]
    terms = set(WEIGHTS["zero_dce"])
    if set(weights) != terms:
        raise ValueError(f"weights are for {sorted(weights)}, expected {sorted(terms)}")
    return weights
