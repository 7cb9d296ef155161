"""Parameters and multiply-accumulates of networks, counted and set beside the paper's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.reporting.published import PublishedValue, load
from llie_core.reporting.tables import Table


@dataclass(frozen=True)
class Counted:
    """A network's parameters and multiply-accumulates, counted; `macs` None where they are not.

    label: its row in the paper's tables, "" for none; published: what the paper's text, or the
    network's own paper, prints of "parameters" or "macs"; more: further columns, title → cell.
    """

    title: str
    parameters: int
    macs: int | None = None
    label: str = ""
    published: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)


def counted(
    title: str, model: nn.Module, size: tuple[int, int] | None = None, **about: Any
) -> Counted:
    """A line of `audit_table`; the work is counted on one image of (H, W), if a size is given.

    about: further fields of Counted.
    """
    macs = count_macs(model, size).macs if size else None
    return Counted(title, count_parameters(model), macs, **about)


def audit_table(
    paper: str, networks: Iterable[Counted], size: tuple[int, int], note: str = ""
) -> Table:
    """Parameters and work of networks on an image of (H, W), published beside counted.

    Published are the cells of published.csv under `parameters` and, taken to count a
    multiply-accumulate once, `flops` and `macs`; the note says where a paper counts otherwise.
    """
    networks, cells = list(networks), load(paper)
    more = list(dict.fromkeys(name for network in networks for name in network.more))
    rows = []
    for network in networks:
        own = [cell for cell in cells if network.label and cell.label == network.label]
        macs = "not counted" if network.macs is None else f"{network.macs / 1e9:.3f}"
        size_printed = network.published.get("parameters") or _printed(own, "parameters")
        work_printed = network.published.get("macs") or _printed(own, "flops", "macs")
        rows.append([network.title, *(network.more.get(name, "–") for name in more),
                     size_printed, f"{network.parameters:,}", work_printed, macs])  # fmt: skip
    height, width = size
    header = ["network", *more, "parameters, published", "here",
              f"GMAC for {width}×{height}, published", "here"]  # fmt: skip
    return Table("Audit", header, rows, f"One multiply-add counts 1. {note}".strip())


def _printed(cells: Iterable[PublishedValue], *metrics: str) -> str:
    """The cells of some metrics as printed, with the unit where it is a prefix ("2.01 M")."""
    found = [cell for cell in cells if cell.metric in metrics and cell.printed]
    words = dict.fromkeys(f"{c.printed} M" if c.unit == "M" else c.printed for c in found)
    return " / ".join(words) or "not published"
