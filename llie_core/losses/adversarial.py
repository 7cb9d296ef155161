r"""Adversarial losses on logits, D = σ(logits): the discriminator's and the generator's.

I. Goodfellow et al., "Generative Adversarial Nets", NIPS 2014; used by "Degrade is Upgrade"
(K. Jiang et al., AAAI 2022, paper 4), Eqs. (5) and (6).

Differs from the paper:
- Eqs. (5) and (6), −log D(real) − log(1 − D(fake)), are printed as part of the generator's loss.
  They are what the discriminator minimises: a generator that minimised −log(1 − D(fake)) would
  seek to be found out. The generator gets the non-saturating counterpart −log D(fake); the other
  usual reading, log(1 − D(fake)), has the same aim but hardly a slope while D is sure of itself.
- "real" does not depend on the generator's loss, though in Eq. (6) it, too, is an output of the
  generator.
"""

import torch.nn.functional as F
from torch import Tensor

from llie_core.imaging import full_precision


def generator_adversarial(logits_fake: Tensor) -> Tensor:
    r"""The generator's loss: its outputs should pass for real.

    .. math:: -\log D(x_{fake}) = \log(1 + e^{-l})

    log 2 where the discriminator cannot tell. Finite for all finite logits; the slope in each
    lies in [−1, 0].

    Args:
        logits_fake: l, the discriminator's answer to the generator's outputs, any shape.

    Returns:
        Scalar, the mean over all logits (patches and images).
    """
    return F.softplus(-full_precision(logits_fake)).mean()


def discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    r"""The discriminator's loss, Eqs. (5) and (6).

    .. math:: -\log D(x_{real}) - \log(1 - D(x_{fake}))

    2 log 2 for a discriminator that cannot tell.

    Args:
        logits_real, logits_fake: its answers to real and to generated inputs, any shapes.

    Returns:
        Scalar, the sum of the two means.
    """
    real = F.softplus(-full_precision(logits_real)).mean()
    fake = F.softplus(full_precision(logits_fake)).mean()
    return real + fake  # Eq. (5), (6)
