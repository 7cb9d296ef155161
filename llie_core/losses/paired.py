r"""Losses against a normal-light target: Charbonnier, edges, and the objective of paper 3.

"Joint Correcting and Refinement for Balanced Low-Light Image Enhancement" (JCRNet), N. Yu,
H. Shi, Y. Han, arXiv:2309.16128, Sec. III-D. Images are float RGB in [0, 1]; all losses are
computed in at least float32.

Differs from the paper:
- Eqs. (8) and (9) print the norm of the whole image under the root. As in the works they come
  from, the root is taken per value and averaged: as printed, the loss grows with the image's
  size, and ε smooths nothing once a single value differs.
- Δ in Eq. (9) is not defined; it is the band-pass of a Laplacian pyramid, as in the cited work
  on deraining: the image minus its halved and doubled self, both blurred by [.05 .25 .4 .25 .05].
  Kernels are renormalised at the border, so that constants have Laplacian 0 there as well.
- The text gives one loss. It is summed over the final and the stage-1 image: the self-supervised
  block has its name and its use (Sec. III-A) from being supervised by the target.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import check_alike, constant, full_precision, ssim_map, without_autocast

EDGE_WEIGHT = 0.05
_KERNEL = (0.05, 0.25, 0.4, 0.25, 0.05)


def charbonnier(prediction: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Charbonnier's penalty, a smooth absolute difference (Eq. 8).

    .. math:: L_{char} = \frac{1}{N} \sum \sqrt{(x - x^{gt})^2 + \epsilon^2}

    It is `eps` where the images agree; its slope is bounded by 1 and is 0 there.

    Args:
        prediction, target: x and x^gt, of one shape.
        eps: ε, in units of the images.

    Returns:
        Scalar, the mean over all values.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike("charbonnier", prediction, target)
    difference = full_precision(prediction) - full_precision(target)
    return (difference.square() + eps**2).sqrt().mean()  # Eq. (8)


def edge_loss(prediction: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Charbonnier's penalty between the Laplacians of two images (Eq. 9).

    .. math:: L_{edge} = \frac{1}{N} \sum \sqrt{(\Delta x - \Delta x^{gt})^2 + \epsilon^2}

    Blind to a constant added to either image.

    Args:
        prediction, target: x and x^gt, (B, C, H, W).
        eps: ε, in units of the images.

    Returns:
        Scalar, the mean over all values.

    Raises:
        ValueError: the shapes differ.
    """
    return charbonnier(laplacian(prediction), laplacian(target), eps)  # Eq. (9)


def laplacian(image: Tensor) -> Tensor:
    """Finest level of a Laplacian pyramid: (B, C, H, W) → the same shape, signed.

    The image minus what is left of it after blurring, dropping every other row and column,
    putting zeros in their place and blurring again.
    """
    image = full_precision(image)
    height, width = image.shape[-2:]
    kept = image.new_zeros(1, 1, height, width)
    kept[..., ::2, ::2] = 1
    coarse = _blur(image, torch.ones_like(kept)) * kept
    return image - _blur(coarse, kept)


def jcrnet_loss(outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
    r"""The objective of JCRNet, summed over its two images (Eq. 10).

    .. math:: L_{total} = \sum_{x} L_{char}(x, x^{gt}) + 0.05\, L_{edge}(x, x^{gt})

    Args:
        outputs: of `training_outputs`: `image` and, unless the ablated network has none,
            `ssb_image`, each (B, 3, H, W).
        batch: `target`, the normal-light images (B, 3, H, W).

    Returns:
        Scalars `total`, `charbonnier` and `edge` of the final image and, with an `ssb_image`,
        `ssb_charbonnier` and `ssb_edge`; the terms without their weights.

    Raises:
        ValueError: an output and the target differ in shape.
    """
    target = batch["target"]
    terms = {
        "charbonnier": charbonnier(outputs["image"], target),
        "edge": edge_loss(outputs["image"], target),
    }
    total = terms["charbonnier"] + EDGE_WEIGHT * terms["edge"]  # Eq. (10)
    if "ssb_image" in outputs:
        terms["ssb_charbonnier"] = charbonnier(outputs["ssb_image"], target)
        terms["ssb_edge"] = edge_loss(outputs["ssb_image"], target)
        total = total + terms["ssb_charbonnier"] + EDGE_WEIGHT * terms["ssb_edge"]
    return {"total": total, **terms}


@dataclass(frozen=True)
class PlainLoss:
    """The loss of networks that belong to no paper here: Charbonnier's penalty and SSIM.

    similarity: weight of 1 − SSIM; curve: weight of the penalty of `curve_image`, the image before
    refinement, where the network gives one.
    """

    similarity: float = 0.4
    curve: float = 0.5

    def outputs(self, model: nn.Module, batch: Mapping) -> dict[str, Tensor]:
        """What the network makes of a batch, of crops with the context of the whole image where the
        batch has it."""
        whole = {"context": batch["context"]} if "context" in batch else {}
        return model.training_outputs(batch["image"], **whole)  # type: ignore[operator]

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """Scalars `total`, `charbonnier`, `dissimilarity` and, with a `curve_image`, `curve`; the
        terms without their weights. ValueError where output and target differ in shape."""
        image, target = outputs["image"], batch["target"]
        terms = {
            "charbonnier": charbonnier(image, target),
            "dissimilarity": 1 - structural_similarity(image, target).mean(),
        }
        total = terms["charbonnier"] + self.similarity * terms["dissimilarity"]
        if "curve_image" in outputs:
            terms["curve"] = charbonnier(outputs["curve_image"], target)
            total = total + self.curve * terms["curve"]
        return {"total": total, **terms}


def structural_similarity(prediction: Tensor, target: Tensor) -> Tensor:
    """SSIM of each image, differentiable: the mean of `imaging.ssim_map`.

    It is the number of the metric `ssim` in its default form, in at least float32 and for any
    values, so also for an output that is not clamped. Images narrower than the window get one of
    their own size.

    Args:
        prediction, target: (B, C, H, W), of one shape.

    Returns:
        (B,), 1 for equal images.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike("structural_similarity", prediction, target)
    similarity = ssim_map(full_precision(prediction), full_precision(target))
    return similarity.flatten(1).mean(dim=1)


def _blur(image: Tensor, present: Tensor) -> Tensor:
    """Mean of 5×5 neighbours (B, C, H, W), weighted, over the pixels where `present` is 1."""
    kernel = constant(_KERNEL, image)
    kernel = torch.outer(kernel, kernel).view(1, 1, 5, 5)
    channels = image.shape[1]
    with without_autocast(image):
        total = F.conv2d(image, kernel.expand(channels, 1, 5, 5), padding=2, groups=channels)
        return total / F.conv2d(present, kernel, padding=2)
