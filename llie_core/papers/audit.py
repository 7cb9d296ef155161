"""Parameters and multiply-accumulates of a network, counted to be set beside the paper's."""

from typing import Any

from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.reporting.tables import Counted


def counted(
    title: str, model: nn.Module, size: tuple[int, int] | None = None, **about: Any
) -> Counted:
    """A line of `audit_table`; the work is counted on one image of (H, W), if a size is given.

    about: further fields of Counted.
    """
    macs = count_macs(model, size).macs if size else None
    return Counted(title, count_parameters(model), macs, **about)
