r"""Losses of the two stages of DRGN: learning the degradation, then refining.

"Degrade is Upgrade: Learning Degradation for Low-light Image Enhancement", K. Jiang, Z. Wang,
Z. Wang, C. Chen, P. Yi, T. Lu, C.-W. Lin, AAAI 2022, Secs. 2.1 to 2.3.

    I_D = G_de(I_L)    I_{D,ref} = G_de(I_ref + I_D)    I_{L,ref} = I_ref + I_{D,ref}
    I_B = I_L − I_D    I_{B,ref} = I_{L,ref} − G_de(I_{L,ref})

I_ref is a normal-light image of another set, paired with nothing; a batch holds it as
`reference`. The objectives run the model that they are handed (`outputs`) and import none.

Differs from the paper:
- Eqs. (5) and (6) are objectives of the discriminators: `adversary_loss`. In Eq. (7) the
  generator's counterparts stand in their place (losses/adversarial.py).
- p(·) in Eq. (6) is not defined. Here it is the softmax over all values of one image. It cancels
  a constant: the sum is about half the variance of I_D − I_{D,ref}.
- Printed, Eq. (6) is a sum over n. Here it is the mean, as losses usually are: at the start the
  sum is .046 and 1e-5 times the adversaries 1.4e-5, the mean 3.7e-6 (64² crops), and α is there "to
  balance" both. LW-DRGN on LOL, 64² crops, batch 4, Adam 1e-3: after 20 steps the deviation of
  I_D within an image is .006 by the sum and .16 by the mean (.26 in one pass; I_L − I: .06 to .14).
  `kl="sum"` is the printed form.
- Sec. 2.3 reformulates I_{L,ref} = I_ref + I_D, which has the structure of I_L's scene on it, as
  I_ref + I_{D,ref}, where I_{D,ref} is that of the first sum. `second_pass=False` stays with the
  first: I_{L,ref} = I_ref + I_D, I_{D,ref} = G_de(I_{L,ref}).
- Eq. (7) never sees the normal-light image. `degradation_monitor` tells a collapse to a constant,
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
from llie_core.names import check_choice

ADVERSARIAL_WEIGHT = 1e-5  # α of Eq. (7)
SSIM_WEIGHT = -0.2  # λ of Eq. (9)
REDUCTIONS = ("mean", "sum")
# Least deviation of I_D, as a part of that of I_L − I. Measured with LW-DRGN on LOL patches: .1
# before training and after 20 steps by the sum of Eq. (6), above 1 after 20 by the mean.
COLLAPSED_BELOW = 0.2


def kl_of_images(image: Tensor, other: Tensor, reduction: str = "mean") -> Tensor:
    r"""Kullback-Leibler divergence of two images read as distributions (Eq. 6).

    .. math:: L_{kl} = \frac1N \sum_n p_n(x) \log \frac{p_n(x)}{p_n(y)}, \qquad
        p_n(x) = \frac{e^{x_n}}{\sum_m e^{x_m}}

    n counts all N channels and pixels of one image. 0 for images equal up to a constant.

    Args:
        image, other: x and y, (B, C, H, W), of one shape; any real values.
        reduction: "mean" over n, or "sum", without 1/N.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: the shapes differ, or an unknown reduction.
    """
    check_choice(REDUCTIONS, reduction=reduction)
    check_alike("kl_of_images", image, other)
    log_p = full_precision(image).flatten(1).log_softmax(dim=1)  # (B, C·H·W)
    log_q = full_precision(other).flatten(1).log_softmax(dim=1)
    terms = log_p.exp() * (log_p - log_q)  # Eq. (6)
    return terms.mean() if reduction == "mean" else terms.sum(dim=1).mean()


def degradation_loss(
    degradation: Tensor,
    degradation_ref: Tensor,
    logits_low_ref: Tensor,
    logits_degradation_ref: Tensor,
    kl_weight: float = 1.0,
    kl: str = "mean",
) -> dict[str, Tensor]:
    r"""The generator's loss of the first stage.

    .. math:: L_{DeG} = 10^{-5} (L_{adv,low} + L_{adv,de}) + L_{kl}

    Args:
        degradation, degradation_ref: I_D and I_{D,ref}, (B, 3, H, W).
        logits_low_ref: of I_{L,ref} by the discriminator of low-light images.
        logits_degradation_ref: of I_{D,ref} by the discriminator of degradations.
        kl_weight: 0 for Table 1's "w/o KL"; kl: see `kl_of_images`.

    Returns:
        Scalars `total`, `adversarial_low`, `adversarial_degradation`, `kl`; the terms without
        their weights.
    """
    terms = {
        "adversarial_low": generator_adversarial(logits_low_ref),
        "adversarial_degradation": generator_adversarial(logits_degradation_ref),
        "kl": kl_of_images(degradation, degradation_ref, kl),
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
def degradation_monitor(degradation: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Whether the learned degradation still depends on the image.

    A convolutional network that ignores its input gives a constant, borders apart.

    Args:
        degradation: I_D of images that are not constant themselves, (B, 3, H, W).
        truth: I_L − I of the same images, (B, 3, H, W).

    Returns:
        Scalars `degradation_std` and `degradation_range`: standard deviation and maximum −
        minimum over the pixels of a channel, both means over channels and images; `true_std`, the
        deviation of the truth; `collapsed`, a bool: the deviation is below `COLLAPSED_BELOW` times
        that of the truth.
    """
    values = full_precision(degradation).flatten(2)  # (B, 3, H·W)
    std, true_std = (
        x.std(dim=2, correction=0).mean() for x in (values, full_precision(truth).flatten(2))
    )
    return {
        "degradation_std": std,
        "degradation_range": (values.amax(dim=2) - values.amin(dim=2)).mean(),
        "true_std": true_std,
        "collapsed": std < COLLAPSED_BELOW * true_std,
    }


class DegradationObjective:
    """First stage (DeG): Eq. (7) for the generator, Eqs. (5) and (6) for the discriminators.

    The trainer runs the model by `outputs`, then updates `adversary` by `adversary_loss` and the
    model by calling this.

    Args:
        discriminators: a module with `low` and `degradation`, each (B, 3, H, W) → logits.
        kl_weight: 0 for Table 1's "w/o KL"; kl: see `kl_of_images`.
        anchor_weight: of the mean of |I_L − I_D − I|, which the paper does not have.
        second_pass: of Sec. 2.3; see the module.
    """

    def __init__(
        self,
        discriminators: nn.Module,
        kl_weight: float = 1.0,
        anchor_weight: float = 0.0,
        kl: str = "mean",
        second_pass: bool = True,
    ):
        self.adversary: Any = discriminators  # nn.Module's attributes have no type
        self.kl_weight, self.anchor_weight, self.kl = kl_weight, anchor_weight, kl
        self.second_pass = second_pass

    def outputs(self, model: Any, batch: Mapping) -> dict[str, Tensor]:
        """The model on a batch: `degradation`, `low_ref`, `degradation_ref`, (B, 3, H, W) each.

        Args:
            model: the network in training, with `degrade` (models/drgn.py).
            batch: `image` I_L and `reference` I_ref, (B, 3, H, W) each.
        """
        return model.degrade(_reference(batch), batch["image"], self.second_pass)

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The generator's loss.

        Args:
            outputs: of `outputs`.
            batch: `image` I_L and `target` I, for the monitor and the anchor; (B, 3, H, W).

        Returns:
            What `degradation_loss` and `degradation_monitor` give; with an anchor, `anchor`.
        """
        degradation, degradation_ref = outputs["degradation"], outputs["degradation_ref"]
        truth = batch["image"] - batch["target"]
        terms = degradation_loss(
            degradation,
            degradation_ref,
            self.adversary.low(outputs["low_ref"]),
            self.adversary.degradation(degradation_ref),
            self.kl_weight,
            self.kl,
        )
        if self.anchor_weight:
            terms["anchor"] = (truth - degradation).abs().mean()
            terms["total"] = terms["total"] + self.anchor_weight * terms["anchor"]
        return terms | degradation_monitor(degradation, truth)

    def adversary_loss(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The discriminators' loss: Eqs. (5) and (6), summed; nothing reaches the generator.

        Args:
            outputs: of `outputs`.
            batch: `image` I_L, (B, 3, H, W).

        Returns:
            Scalars `total`, `low`, `degradation`.
        """
        low, of_degradation = self.adversary.low, self.adversary.degradation
        made = {name: value.detach() for name, value in outputs.items()}
        terms = {
            "low": discriminator_loss(low(batch["image"]), low(made["low_ref"])),  # Eq. (5)
            "degradation": discriminator_loss(
                of_degradation(made["degradation"]), of_degradation(made["degradation_ref"])
            ),  # Eq. (6)
        }
        return {"total": terms["low"] + terms["degradation"], **terms}


class RefinementObjective:
    """Second stage (ReG): Eq. (9) on the given pairs and on the synthetic ones.

    Where the batch has `reference_low`, I_ref darkened by hand, it is I_{L,ref} (ours: what the
    learned degradation is to be better than).

    Args:
        ssim: (prediction, reference) → (B,) or a scalar, with a gradient; None for "w/o SSIM".
        synthetic: False leaves the synthetic pairs out (Table 1's "w/o DL-DA").
        ssim_weight: λ; 0 for "w/o SSIM".
        second_pass: of Sec. 2.3; see the module.
    """

    def __init__(
        self,
        ssim: Callable[[Tensor, Tensor], Tensor] | None,
        synthetic: bool = True,
        ssim_weight: float = SSIM_WEIGHT,
        second_pass: bool = True,
    ):
        self.ssim, self.synthetic, self.ssim_weight = ssim, synthetic, ssim_weight
        self.second_pass = second_pass

    def outputs(self, model: Any, batch: Mapping) -> dict[str, Tensor]:
        """The model on a batch: `image` I*, and, of synthetic pairs, `image_ref` I*_ref.

        G_de is that of the first stage and frozen, so it runs without gradients; G_re runs once,
        on both kinds of pairs.

        Args:
            model: the network in training, with `degrade`, `g_de`, `g_re` (models/drgn.py).
            batch: `image` I_L; for synthetic pairs `reference` I_ref; (B, 3, H, W) each.
        """
        if not self.synthetic:
            return model.training_outputs(batch["image"])
        low = batch["image"]
        with torch.no_grad():
            if "reference_low" in batch:
                lows = torch.cat([low, batch["reference_low"]])
                bases = lows - model.g_de(lows)  # (2B, 3, H, W)
            else:
                made = model.degrade(_reference(batch), low, self.second_pass)
                low_ref = made["low_ref"]
                # In one pass, I_{D,ref} is that of I_{L,ref} already.
                of_ref = model.g_de(low_ref) if self.second_pass else made["degradation_ref"]
                bases = torch.cat([low - made["degradation"], low_ref - of_ref])
        image, image_ref = model.g_re(bases).chunk(2)  # Eq. (8)
        return {"image": image, "image_ref": image_ref}

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping) -> dict[str, Tensor]:
        """The loss and its terms.

        Args:
            outputs: of `outputs`.
            batch: `target` I; for synthetic pairs `reference` I_ref; (B, 3, H, W) each.

        Returns:
            What `refinement_loss` gives for the given pairs; for the synthetic pairs the same
            terms as `charbonnier_ref` and `ssim_ref`, added to `total`.
        """
        terms = refinement_loss(outputs["image"], batch["target"], self.ssim, self.ssim_weight)
        if not self.synthetic:
            return terms
        image_ref, reference = outputs["image_ref"], batch["reference"]
        synthetic = refinement_loss(image_ref, reference, self.ssim, self.ssim_weight)
        terms["total"] = terms["total"] + synthetic.pop("total")  # Eq. (9)
        return terms | {f"{name}_ref": value for name, value in synthetic.items()}


def _reference(batch: Mapping) -> Tensor:
    if "reference" not in batch:
        raise ValueError("the batch has no 'reference': normal-light images to be degraded")
    return batch["reference"]


def _similarity(image: Tensor, target: Tensor, ssim: Callable | None) -> Tensor:
    if ssim is None:
        raise ValueError("ssim_weight is not 0 but there is no ssim; set it to 0 for 'w/o SSIM'")
    value = ssim(image, target).mean()
    # A metric under no_grad would be logged and train nothing.
    if image.requires_grad and not value.requires_grad:
        raise ValueError("ssim has no gradient; pass one that is differentiable")
    return value
