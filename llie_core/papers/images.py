"""Images of a study's rows, for its figures: comparisons, enlarged parts, error maps, histograms.

found = examples(study, study.first_seed(), count=3)
figures.images(comparison(found[0]), "Fig. 5")              # images, marked; their parts below
figures.images([details(one) for one in found], "Fig. 9")   # enlarged parts only
figures.heat_maps(in_lines(error_maps(found[0])), 0.3, "mean |error|", "Fig. 5")
figures.histograms(colour_shares(found[0]), colour_share(found[0].target), "Fig. 11")
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.data.external import ExternalOutputs
from llie_core.data.wrappers import spread
from llie_core.dataset import SizedDataset
from llie_core.imaging import luma as luma_of
from llie_core.models import Enhancer
from llie_core.papers.rows import Row
from llie_core.papers.study import Study, TestSet
from llie_core.reporting.figures import Map, Panel

TRUTH = "ground truth"


@dataclass(frozen=True)
class Example:
    """One test image as every row gives it: images (3, H, W) in [0, 1] by the row's label.

    target: the ground truth, or None; titles: label → what figures call it, where not the label.
    A row that has no image of this one is left out.
    """

    name: str
    dark: Tensor
    outputs: Mapping[str, Tensor]
    target: Tensor | None
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def truth(self) -> Tensor:
        """The ground truth; ValueError where there is none."""
        if self.target is None:
            raise ValueError(f"{self.name}: no ground truth")
        return self.target

    def shown(self) -> dict[str, Tensor]:
        """Title → image of the rows."""
        return {self.titles.get(label, label): image for label, image in self.outputs.items()}

    def all(self) -> dict[str, Tensor]:
        """Title → image: the rows and, at the end, the ground truth if there is one, which is not
        shown twice where a row gives it."""
        shown = {title: image for title, image in self.shown().items() if image is not self.target}
        return shown if self.target is None else {**shown, TRUTH: self.target}

    def panels(self) -> list[Panel]:
        """All images with their titles, a line for `figures.images`."""
        return [Panel(title, image) for title, image in self.all().items()]


def examples(
    study: Study, rows: Iterable[Row], count: int, test_set: TestSet | None = None
) -> list[Example]:
    """`count` images, evenly over a test set (default: the study's first), as the rows give them.

    Rows of one seed; the images are on the CPU.
    """
    test_set = test_set or study.test_sets()[0]
    data = study.data(test_set)
    items = [data[index] for index in spread(len(data), count)]
    rows = list(rows)
    outputs: list[dict[str, Tensor]] = [{} for _ in items]
    for row in rows:  # one network in memory at a time
        given = study.row_data(row, test_set)
        as_it_is = row.normal_light or given is None
        model = None if as_it_is else study.load_as(Enhancer, row, "cpu")
        for item, found in zip(items, outputs, strict=True):
            image = _given(item, given, row)
            if image is not None:
                found[row.label] = image if model is None else model.enhance(image[None])[0]
    titles = {row.label: row.shown for row in rows}
    return [
        Example(item["name"], item["image"], found, item.get("target"), titles)
        for item, found in zip(items, outputs, strict=True)
    ]


def _given(item: dict, given: SizedDataset | None, row: Row) -> Tensor | None:
    """The image that a row is given for an item: its own, another program's, or none."""
    if row.normal_light:
        return item.get("target")
    if not isinstance(given, ExternalOutputs):
        return None if given is None else item["image"]
    return given.output(given.names.index(item["name"])) if item["name"] in given.names else None


def pair_lines(data: SizedDataset, count: int = 6) -> list[list[Panel]]:
    """Lines for `figures.images`: low-light images, evenly over a data set of pairs, and below
    each its normal-light image."""
    items = [data[index] for index in spread(len(data), count)]
    dark = [Panel(item["name"], item["image"]) for item in items]
    return [dark, [Panel("", item["target"]) for item in items]]


# Parts -----------------------------------------------------------------------------------------


def comparison(example: Example, columns: int = 6) -> list[list[Panel]]:
    """Lines for `figures.images`: images with the region marked, and below each its part.

    The region lies where the ground truth (without one: the brightened input) has most detail.
    columns: images a line.
    """
    region = detailed_region(example)
    marked, lines = torch.tensor([region]), []
    for chunk in in_lines(list(example.all().items()), columns):
        lines.append([Panel(title, image, regions=marked) for title, image in chunk])
        lines.append([Panel("", part(image, region)) for _, image in chunk])
    return lines


def in_lines(items: Sequence, columns: int = 6) -> list[Sequence]:
    """Items, such as panels or maps, in as few lines of at most `columns` and as even as can be."""
    lines = -(-len(items) // columns)
    long = -(-len(items) // max(1, lines))
    return [items[line * long : (line + 1) * long] for line in range(lines)]


def details(example: Example, side: float = 0.25) -> list[Panel]:
    """The most detailed part of one image, enlarged, by row: a line for `figures.images`."""
    region = detailed_region(example, side)
    return [Panel(title, part(image, region)) for title, image in example.all().items()]


def detailed_region(example: Example, side: float = 0.25) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the square with the largest sum of gradients."""
    image = example.dark.clamp(min=0) ** (1 / 2.2) if example.target is None else example.target
    return largest_region(gradient(image[None])[0].mean(dim=0), side)


def largest_region(values: Tensor, side: float) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the square, of `side` of the shorter side, with the largest sum of values
    (H, W)."""
    length = max(1, round(side * min(values.shape)))
    sums = F.avg_pool2d(values[None, None], length, stride=1)[0, 0]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return x, y, x + length, y + length


def part(image: Tensor, region: tuple[int, int, int, int]) -> Tensor:
    """A region (x0, y0, x1, y1) of an image (3, H, W)."""
    x0, y0, x1, y1 = region
    return image[:, y0:y1, x0:x1]


def gradient(images: Tensor) -> Tensor:
    """Length of the gradient by differences of neighbours: (B, 3, H, W) → the same shape."""
    dx = F.pad(images.diff(dim=-1), (0, 1, 0, 0))
    dy = F.pad(images.diff(dim=-2), (0, 0, 0, 1))
    return (dx.square() + dy.square()).sqrt()


# Errors and colours ----------------------------------------------------------------------------


def error_maps(example: Example) -> list[Map]:
    """Mean absolute difference to the ground truth over the channels, by row: (H, W) in [0, 1]."""
    return [
        Map(title, (image - example.truth).abs().mean(dim=0))
        for title, image in example.shown().items()
    ]


def colour_share(image: Tensor, bins: int = 64, luma: bool = False) -> Tensor:
    """Histogram of an image (3, H, W) in [0, 1]: (3, bins), each channel summing to 1.

    luma: (1, bins) of BT.601 luma instead.
    """
    image = luma_of(image) if luma else image
    counts = torch.stack([torch.histc(c, bins, 0, 1) for c in image.clamp(0, 1)])
    return counts / counts.sum(dim=1, keepdim=True)


def colour_shares(example: Example, luma: bool = False) -> dict[str, Tensor]:
    """`colour_share` of every row's image, for `figures.histograms`."""
    return {title: colour_share(image, luma=luma) for title, image in example.shown().items()}
