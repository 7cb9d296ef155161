r"""Losses of the two stages of DRGN: learning the degradation, then refining.

"Degrade is Upgrade: Learning Degradation for Low-light Image Enhancement", K. Jiang, Z. Wang,
Z. Wang, C. Chen, P. Yi, T. Lu, C.-W. Lin, AAAI 2022, Secs. 2.1 to 2.3.

    I_D = G_de(I_L)    I_{L,ref} = I_ref + I_D    I_{D,ref} = G_de(I_{L,ref})
    I_B = I_L − I_D    I_{B,ref} = I_{L,ref} − I_{D,ref}

I_ref is a normal-light image of another set, paired with nothing; a batch holds it as
`reference`. The objectives are given the networks they need and import none.

Differs from the paper:
- Eqs. (5) and (6) are objectives of the discriminators: `adversary_loss`. In Eq. (7) the
  generator's counterparts stand in their place (losses/adversarial.py).
- p(·) in Eq. (6) is not defined. Here it is the softmax over all values of one image. It cancels
  a constant: for small images of N values KL is about the variance of I_D − I_{D,ref} divided by 2.
- Eq. (7) never sees the normal-light image: any I_D that is the same for every input has KL = 0
  and is nearly its minimum. It is implemented as printed. `degradation_monitor` tells a collapse,
  and is logged; an anchor ‖I_L − I_D − I‖, of weight 0 unless asked for, holds I_B to the target.
- Eq. (9): the Charbonnier penalty is averaged over the values, SSIM over the images; which SSIM is
  the caller's choice.
- I_{L,ref} is not clamped, and in the second stage it is data: no gradient passes through I_D.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llie_core.imaging import check_alike, full_precision
from llie_core.losses.adversarial import discriminator_loss, generator_adversarial
from llie_core.losses.paired import charbonnier

ADVERSARIAL_WEIGHT = 1e-5  # α of Eq. (7)
SSIM_WEIGHT = -0.2  # λ of Eq. (9)
# Measured with LW-DRGN on LOL patches: Eq. (7) as printed ends at 0.003 to 0.009 within 80 steps,
# I_D held by the anchor at 0.1.
COLLAPSED_BELOW = 0.01


def kl_of_images(image: Tensor, other: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of two images read as distributions (Eq. 6).

    .. math:: L_{kl} = \sum_n p_n(x) \log \frac{p_n(x)}{p_n(y)}, \qquad
        p_n(x) = \frac{e^{x_n}}{\sum_m e^{x_m}}

    n counts all channels and pixels of one image. 0 for images equal up to a constant.

    Args:
        image, other: x and y, (B, C, H, W), of one shape; any real values.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike("kl_of_images", image, other)
    log_p = full_precision(image).flatten(1).log_softmax(dim=1)  # (B, C·H·W)
    log_q = full_precision(other).flatten(1).log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()  # Eq. (6)


def degradation_loss(
    degradation: Tensor,
    degradation_ref: Tensor,
    logits_low_ref: Tensor,
    logits_degradation_ref: Tensor,
    kl_weight: float = 1.0,
) -> dict[str, Tensor]:
    r"""The generator's loss of the first stage.

    .. math:: L_{DeG} = 10^{-5} (L_{adv,low} + L_{adv,de}) + L_{kl}

    Args:
        degradation, degradation_ref: I_D and I_{D,ref}, (B, 3, H, W).
        logits_low_ref: of I_{L,ref} by the discriminator of low-light images.
        logits_degradation_ref: of I_{D,ref} by the discriminator of degradations.
        kl_weight: 0 for Table 1's "w/o KL".

    Returns:
        Scalars `total`, `adversarial_low`, `adversarial_degradation`, `kl`; the terms without
        their weights.
    """
    terms = {
        "adversarial_low": generator_adversarial(logits_low_ref),
        "adversarial_degradation": generator_adversarial(logits_degradation_ref),
        "kl": kl_of_images(degradation, degradation_ref),
    }
    adversarial = terms["adversarial_low"] + terms["adversarial_degradation"]
    total = ADVERSARIAL_WEIGHT * adversarial + kl_weight * terms["kl"]  # Eq. (7)
    return {"total": total, **terms}


def refinement_loss(
    image: Tensor,
    target: Tensor,
    ssim: Callable[[Tensor, Tensor], Tensor] | None,
    ssim_weight: float = SSIM_WEIGHT,
) -> dict[str, Tensor]:
    r"""The loss of the second stage for one kind of pairs; Eq. (9) is the sum over two.

    .. math:: L_{ReG} = \sqrt{(I^* - I)^2 + \epsilon^2} - 0.2\, SSIM(I^*, I), \qquad
        \epsilon = 10^{-3}

    Args:
        image, target: I* and I, (B, 3, H, W); I* is not clamped.
        ssim: (prediction, reference) → (B,) or a scalar, with a gradient. None leaves the term
            out, which needs `ssim_weight` 0.
        ssim_weight: λ; 0 for Table 1's "w/o SSIM".

    Returns:
        Scalars `total`, `charbonnier` and, with a weight, `ssim`; the terms without their weights.
        At its least, `total` is 1e-3 − 0.2.

    Raises:
        ValueError: a weight without `ssim`, an `ssim` without a gradient, or shapes that differ.
    """
    terms = {"charbonnier": charbonnier(image, target, eps=1e-3)}
    total = terms["charbonnier"]
    if ssim_weight:
        terms["ssim"] = _similarity(image, target, ssim).to(total.dtype)
        total = total + ssim_weight * terms["ssim"]  # Eq. (9)
    return {"total": total, **terms}


@torch.no_grad()
def degradation_monitor(
    degradation: Tensor, threshold: float = COLLAPSED_BELOW
) -> dict[str, Tensor]:
    """Whether the learned degradation still depends on the image.

    A convolutional network that ignores its input gives a constant, borders apart.

    Args:
        degradation: I_D of images that are not constant themselves, (B, 3, H, W).
        threshold: least mean deviation, in units of the images.

    Returns:
        Scalars `degradation_std` and `degradation_range`: standard deviation and maximum −
        minimum over the pixels of a channel, both means over channels and images; `collapsed`,
        a bool: the deviation is below the threshold.
    """
    values = full_precision(degradation).flatten(2)  # (B, 3, H·W)
    std = values.std(dim=2, correction=0).mean()
    span = (values.amax(dim=2) - values.amin(dim=2)).mean()
    return {"degradation_std": std, "degradation_range": span, "collapsed": std < threshold}


class DegradationObjective:
    """First stage (DeG): Eq. (7) for the generator, Eqs. (5) and (6) for the discriminators.

    The trainer updates `adversary` by `adversary_loss`, the model by calling this.

    Args:
        g_de: the generator in training, (B, 3, H, W) → (B, 3, H, W).
        discriminators: a module with `low` and `degradation`, each (B, 3, H, W) → logits.
        kl_weight: 0 for Table 1's "w/o KL".
        anchor_weight: of the mean of |I_L − I_D − I|, which the paper does not have.
    """

    def __init__(
        self,
        g_de: nn.Module,
        discriminators: nn.Module,
        kl_weight: float = 1.0,
        anchor_weight: float = 0.0,
    ):
        self.g_de = g_de
        self.adversary: Any = discriminators  # nn.Module's attributes have no type
        self.kl_weight, self.anchor_weight = kl_weight, anchor_weight

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The generator's loss.

        Args:
            outputs: `degradation`, I_D (B, 3, H, W).
            batch: `reference`, I_ref; with an anchor, `image` I_L and `target` I; (B, 3, H, W).

        Returns:
            What `degradation_loss` and `degradation_monitor` give; with an anchor, `anchor`.
        """
        degradation = outputs["degradation"]
        low_ref = synthetic_low(degradation, batch)
        degradation_ref = self.g_de(low_ref)
        terms = degradation_loss(
            degradation,
            degradation_ref,
            self.adversary.low(low_ref),
            self.adversary.degradation(degradation_ref),
            self.kl_weight,
        )
        if self.anchor_weight:
            terms["anchor"] = (batch["image"] - degradation - batch["target"]).abs().mean()
            terms["total"] = terms["total"] + self.anchor_weight * terms["anchor"]
        return terms | degradation_monitor(degradation)

    def adversary_loss(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The discriminators' loss: Eqs. (5) and (6), summed; nothing reaches the generator.

        Args:
            outputs: `degradation`, I_D (B, 3, H, W).
            batch: `image` I_L and `reference` I_ref, (B, 3, H, W).

        Returns:
            Scalars `total`, `low`, `degradation`.
        """
        with torch.no_grad():
            degradation = outputs["degradation"].detach()
            low_ref = synthetic_low(degradation, batch)
            degradation_ref = self.g_de(low_ref)
        low, of_degradation = self.adversary.low, self.adversary.degradation
        terms = {
            "low": discriminator_loss(low(batch["image"]), low(low_ref)),  # Eq. (5)
            "degradation": discriminator_loss(
                of_degradation(degradation), of_degradation(degradation_ref)
            ),  # Eq. (6)
        }
        return {"total": terms["low"] + terms["degradation"], **terms}


class RefinementObjective:
    """Second stage (ReG): Eq. (9) on the given pairs and on the synthetic ones.

    Args:
        ssim: (prediction, reference) → (B,) or a scalar, with a gradient; None for "w/o SSIM".
        drgn: the network in training, I_L → I*, for the synthetic pairs; None leaves them out
            (Table 1's "w/o DL-DA").
        ssim_weight: λ; 0 for "w/o SSIM".
    """

    def __init__(
        self,
        ssim: Callable[[Tensor, Tensor], Tensor] | None,
        drgn: nn.Module | None = None,
        ssim_weight: float = SSIM_WEIGHT,
    ):
        self.ssim, self.drgn, self.ssim_weight = ssim, drgn, ssim_weight

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The loss and its terms.

        Args:
            outputs: `image` I*; for synthetic pairs `degradation` I_D; (B, 3, H, W) each.
            batch: `target` I; for synthetic pairs `reference` I_ref; (B, 3, H, W) each.

        Returns:
            What `refinement_loss` gives for the given pairs; for the synthetic pairs the same
            terms as `charbonnier_ref` and `ssim_ref`, added to `total`.
        """
        terms = refinement_loss(outputs["image"], batch["target"], self.ssim, self.ssim_weight)
        if self.drgn is None:
            return terms
        low_ref = synthetic_low(outputs["degradation"].detach(), batch)
        image_ref = self.drgn(low_ref)  # Eq. (8)
        synthetic = refinement_loss(image_ref, batch["reference"], self.ssim, self.ssim_weight)
        terms["total"] = terms["total"] + synthetic.pop("total")  # Eq. (9)
        return terms | {f"{name}_ref": value for name, value in synthetic.items()}


def synthetic_low(degradation: Tensor, batch: Mapping) -> Tensor:
    """I_{L,ref} = I_ref + I_D, (B, 3, H, W), not clamped (Sec. 2.3).

    Raises:
        ValueError: the batch has no `reference`, or one of another shape than I_D.
    """
    if "reference" not in batch:
        raise ValueError("the batch has no 'reference': normal-light images to be degraded")
    reference = batch["reference"]
    if reference.shape != degradation.shape:
        shapes = f"{tuple(reference.shape)}, the degradation {tuple(degradation.shape)}"
        raise ValueError(f"reference has shape {shapes}; crop them alike")
    return reference + degradation


def _similarity(image: Tensor, target: Tensor, ssim: Callable | None) -> Tensor:
    if ssim is None:
        raise ValueError("ssim_weight is not 0 but there is no ssim; set it to 0 for 'w/o SSIM'")
    value = ssim(image, target).mean()
    # A metric under no_grad would be logged and train nothing.
    if image.requires_grad and not value.requires_grad:
        raise ValueError("ssim has no gradient; pass one that is differentiable")
    return value
