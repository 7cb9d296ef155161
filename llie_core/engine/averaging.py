"""An exponential moving average of a model's weights.

B. T. Polyak, A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal
on Control and Optimization 30(4), 1992; with the exponential weights usual since.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a model's parameters, `decay` · average + (1 − decay) · weights a step.

    The decay of step t is at most (1 + t) / (10 + t), so that the start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step 0, 1, …"""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the averaged ones."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            held = parameter.clone()
            parameter.copy_(value)
            value.copy_(held)
