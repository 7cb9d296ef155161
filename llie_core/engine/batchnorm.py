"""Batch-norm statistics that fit the weights they are evaluated with.

In training, running statistics average batches of the last steps, whose weights have changed since;
after a short training, or one at a high rate, evaluation mode then differs from training mode. Here
they are computed anew: the mean, over some training batches, of each batch's mean and variance.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

MOST_BATCHES = 16


def tracked_norms(model: nn.Module) -> list[BatchNorm]:
    """The batch norms whose running statistics training changes; a frozen part has none.

    The model is left in the mode that it is in.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    norms = (module for module in model.modules() if isinstance(module, BatchNorm))
    found = [norm for norm in norms if norm.training and norm.track_running_stats]
    for module, mode in modes:
        module.training = mode
    return found


@torch.no_grad()
def recompute_statistics(
    model: nn.Module,
    norms: list[BatchNorm],
    forward: Callable[[dict], object],
    batches: Iterable[dict],
) -> None:
    """Set the running statistics of `norms` to their means over batches.

    forward(batch) runs the model, in which everything but these norms is in evaluation mode. The
    statistics of a norm that no batch reaches stay as they are. The model ends in evaluation mode.
    """
    model.eval()
    before, momenta = _copied(norms), [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for equal weights of all batches
    for batch in batches:
        forward(batch)
    for norm, momentum, old in zip(norms, momenta, before, strict=True):
        norm.eval()
        norm.momentum = momentum
        if not norm.num_batches_tracked:
            norm.load_state_dict(old, strict=False)


@contextmanager
def restored(norms: list[BatchNorm]) -> Iterator[None]:
    """The statistics of `norms` are afterwards as before."""
    before = _copied(norms)
    try:
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.load_state_dict(old, strict=False)


def _copied(norms: list[BatchNorm]) -> list[dict]:
    return [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
