"""Tables that papers 3, 4 and 5 share: pairs, one output under every protocol, unpaired sets."""

from collections.abc import Iterable

from torch import Tensor

from llie_core.data.wrappers import spread
from llie_core.metrics.protocols import Protocol, evaluate, load_protocols
from llie_core.models import Enhancer
from llie_core.names import metric_title
from llie_core.papers.paired import PairedStudy
from llie_core.papers.rows import Row
from llie_core.reporting.scores import Score
from llie_core.reporting.tables import Table, set_table


def data_table(study: PairedStudy) -> Table:
    """Pairs of each split, their sizes, and how dark they are (of at most 20 pairs a split)."""
    rows = []
    for split, data in (
        ("train", study.train_pairs), ("val", study.val_pairs), ("test", study.test_pairs),
    ):  # fmt: skip
        items = [data[index] for index in spread(len(data), 20)]
        sizes = sorted({"{1}×{0}".format(*item["image"].shape[1:]) for item in items})
        shown = sizes if len(sizes) < 4 else [sizes[0], "…", sizes[-1]]
        dark, light = (
            sum(item[side].mean().item() for item in items) / len(items)
            for side in ("image", "target")
        )
        rows.append([split, str(len(data)), ", ".join(shown), f"{dark:.3f}", f"{light:.3f}"])
    header = ["split", "pairs", "width×height", "mean, low light", "mean, normal light"]
    return Table(f"Pairs of {study.settings.dataset}", header, rows)


def protocol_table(study: PairedStudy, row: Row) -> Table:
    """One output of one row under every protocol that images allow, side by side."""
    data = study.row_data(row, study.main_set)
    if data is None:
        raise ValueError(f"{row.label}: no images of {study.main_set.name}")
    item = data[0]
    output = study.load_as(Enhancer, row, "cpu").enhance(item["image"][None])
    low_light = item.get("input", item["image"])
    others = {"pair": item["target"][None], "low-light": low_light[None]}
    rows = []
    for p in load_protocols().values():
        if p.by_default:
            value = _under(p, output, others.get(p.inputs))
            rows.append([p.id, metric_title(p.metric), value, p.unit, p.description])
    caption = f"{row.shown} on {item['name']}: one output under every protocol"
    note = "Numbers under two protocols are not comparable; tables name the one they stand under."
    return Table(caption, ["protocol", "metric", "value", "unit", "what it is"], rows, note)


def unpaired_table(study: PairedStudy, scores: Iterable[Score]) -> Table:
    """Every row on the paper's sets without ground truth, or why there are none."""
    found, absent = study.unpaired
    names = [test_set.name for test_set in found]
    caption = "Images without ground truth (lower is better)"
    titles = {row.label: row.shown for row in study.rows()}
    return set_table(scores, names, study.unpaired_protocols, titles, absent, caption)


def _under(protocol: Protocol, output: Tensor, reference: Tensor | None) -> str:
    """The value under one protocol, or why there is none."""
    if protocol.gt_mean == "illumination-ratio":
        return "–"  # the ratio would be an input of the network
    if why := protocol.missing_weights():
        return why
    try:
        return f"{evaluate(protocol, output, reference).item():.{protocol.decimals}f}"
    except ValueError as error:  # too small an image for the metric
        return f"not defined: {error}"
