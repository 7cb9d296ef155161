"""Charts and images of paper 3's report: lines over the methods and three parts of an image
(Fig. 1), means over the sets (12), ablations (13, 14, 16), perceptual distances (15), failures
(17), saliency (18).
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from torch import Tensor
from torch.utils.data import Subset

from llie_core.data.wrappers import spread
from llie_core.imaging import luma
from llie_core.metrics import appearance
from llie_core.metrics.protocols import evaluate, load_protocols
from llie_core.metrics.quality import lpips_network
from llie_core.names import metric_title
from llie_core.papers.images import TRUTH, Example, examples, largest_region, part
from llie_core.papers.jcrnet.study import METRICS, JcrnetStudy
from llie_core.papers.study import TestSet, enhanced
from llie_core.reporting.figures import WIDTH, Map, Panel, show
from llie_core.reporting.published import load
from llie_core.reporting.published import table as published_table
from llie_core.reporting.scores import Score, mean_of, select, summarise
from llie_core.reporting.tables import Table
from llie_core.tasks.quality import MAIN
from llie_core.tasks.saliency import Saliency
from llie_core.weights import find

FES_PARTS = ("jcrnet+w/o E-D", "jcrnet+w/o CAB", "jcrnet+w/o SSB")
COMPARED = ("identity", "he", "clahe", "lime", "mf", "jcrnet")  # in Fig. 1
STAGES = ("jcrnet+w/o FES", "jcrnet+w/o JRS", "jcrnet+w/o IAS")


# Charts ------------------------------------------------------------------------------------------


def method_names(study: JcrnetStudy) -> dict[str, str]:
    """Label → title, of the study's rows and of the methods that only the paper has."""
    printed = {c.label: c.header.split(" / ")[-1] for c in published_table("jcrnet", "I")}
    return printed | study.titles


def metric_chart(study: JcrnetStudy, scores: Sequence[Score]) -> None:
    """Fig. 1: lines over the methods for each metric of Table I, as printed for LOL and as here.

    scores: on the pairs trained on.
    """
    names = method_names(study)
    printed = [cell for cell in published_table("jcrnet", "I") if cell.dataset == "lol"]
    labels = list(dict.fromkeys([c.label for c in printed] + [s.label for s in scores]))
    figure, axes = plt.subplots(
        len(METRICS), figsize=(WIDTH, 1.3 * len(METRICS) + 1), sharex=True, constrained_layout=True
    )
    ours, words = f"here, {scores[0].dataset}", []
    for axis, metric in zip(axes, METRICS, strict=True):
        here = select(scores, metric=metric)
        lines = {
            "published, LOL": {
                c.label: c.value for c in printed if c.metric == metric and c.value is not None
            },
            ours: {s.label: mean_of(here, label=s.label).mean for s in here},
        }
        for title, values in lines.items():
            heights = [values.get(label, math.nan) for label in labels]  # a gap where there is none
            axis.plot(range(len(labels)), heights, marker="o", markersize=4, label=title)
        axis.set(ylabel=metric_title(metric))
        best = max if load_protocols()[MAIN[metric]].direction == "higher" else min
        found = [names[best(v, key=v.__getitem__)] if v else "not run" for v in lines.values()]
        words.append(f"best {metric_title(metric)}: published {found[0]}, here {found[1]}")
    axes[0].legend(fontsize=8)
    axes[-1].set_xticks(range(len(labels)), [names[x] for x in labels], rotation=90)
    figure.suptitle("Fig. 1: metrics by method")
    sns.despine(figure)
    show(figure, f"Fig. 1: metrics by method. {'; '.join(words)}")


def mean_chart(study: JcrnetStudy, scores: Sequence[Score]) -> None:
    """Fig. 12 (a, b): mean BRISQUE and NIQE over the data sets, as printed and as measured.

    scores: on all sets.
    """
    names = method_names(study)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 6.5), sharey=True, constrained_layout=True)
    words = []
    for axis, metric in zip(axes, ("brisque", "niqe"), strict=True):
        cells = [c for c in load("jcrnet") if c.table in ("I", "II") and c.metric == metric]
        printed, sets = over_sets(
            (c.label, c.dataset, c.value) for c in cells if c.value is not None
        )
        lines = {f"published, {sets} sets": printed}
        found = [s for s in select(scores, metric=metric, subset="all", recognizer="")
                 if not s.dataset.endswith(("-cast", "-384"))]  # fmt: skip
        here, count = over_sets((s.label, s.dataset, s.value) for s in found)
        if here:
            lines[f"here, {count} set{'s' * (count != 1)}"] = here
        order = sorted({*printed, *here}, key=(here | printed).__getitem__)
        for title, values in lines.items():
            shown = [label for label in order if label in values]
            sns.scatterplot(
                x=[values[x] for x in shown], y=[names[x] for x in shown], ax=axis, label=title
            )
        axis.set(xlabel=f"mean {metric_title(metric)}, lower is better", ylabel="")
        axis.legend(fontsize=8)
        words += [
            f"{x}: lowest {metric_title(metric)} {names[min(v, key=v.__getitem__)]}"
            for x, v in lines.items()
        ]
    figure.suptitle("Fig. 12 (a), (b): means over data sets")
    sns.despine(figure)
    show(figure, f"Fig. 12 (a), (b): means over data sets. {'; '.join(words)}")


def over_sets(values: Iterable[tuple[str, str, float]]) -> tuple[dict[str, float], int]:
    """(row, data set, value) → row → mean over its data sets, of the rows that are on as many as
    any, and how many these are."""
    by_row: dict[str, dict[str, list[float]]] = {}
    for row, dataset, value in values:
        by_row.setdefault(row, {}).setdefault(dataset, []).append(value)
    count = max((len(sets) for sets in by_row.values()), default=0)
    means = {
        row: summarise(summarise(of).mean for of in sets.values()).mean
        for row, sets in by_row.items()
        if len(sets) == count
    }
    return means, count


# Images ------------------------------------------------------------------------------------------


def pair_examples(study: JcrnetStudy, count: int) -> list[Example]:
    """Figs. 4, 5: test pairs as every row enhances them."""
    return examples(study, filter(enhanced, study.first_seed()), count)


def other_examples(study: JcrnetStudy) -> dict[str, list[Example]]:
    """Figs. 5 to 10: data set → an image of it as every row gives it, of the sets at hand."""
    sets = [*study.unpaired.sets, *study.others.sets]
    rows = [row for row in study.first_seed() if enhanced(row)]
    return {one.name: examples(study, rows, 1, one) for one in sets if not one.subset}


def triple(example: Example) -> list[list[Panel]]:
    """Fig. 1: an image as some rows give it, three parts marked, and each part enlarged: where most
    brightness is missing, where the ground truth is most colourful, where the input is brightest;
    apart from each other.
    """
    truth = example.truth
    regions: list[tuple[int, int, int, int]] = []
    missing, colour = luma(truth - example.dark)[0], truth.amax(0) - truth.amin(0)
    for values in (missing, colour, luma(example.dark)[0]):  # (H, W)
        for x0, y0, x1, y1 in regions:
            values[y0:y1, x0:x1] = -1e3
        regions.append(largest_region(values, 0.25))
    shown = [(title, image) for label, title in example.titles.items() if label in COMPARED
             for image in [example.outputs.get(label)] if image is not None]  # fmt: skip
    shown.append((TRUTH, truth))
    marked = [Panel(title, image, regions=torch.tensor(regions)) for title, image in shown]
    parts = [[Panel("", part(image, region)) for _, image in shown] for region in regions]
    return [marked, *parts]


def ablation_examples(
    study: JcrnetStudy, labels: Iterable[str], count: int = 2, test_set: TestSet | None = None
) -> list[Example]:
    """Images (default: of the test pairs) as the input, those of the ablations that were run, and
    JCRNet show them."""
    wanted = {"identity", *labels, "jcrnet"}
    rows = [row for row in study.first_seed() if row.label in wanted]
    return examples(study, rows, count, test_set or study.main_set)


def stage_examples(study: JcrnetStudy, count: int = 2) -> dict[str, list[Example]]:
    """Figs. 13 and 14: what they are of → images without single stages: test pairs, the same under
    a green cast, and ExDark (14 f) where it is at hand."""
    sets = {"test pairs": study.main_set, "green cast": study.cast_set}
    for one in study.unpaired.sets:
        if one.name == "exdark":
            sets["ExDark"] = one
    return {kind: ablation_examples(study, STAGES, count, one) for kind, one in sets.items()}


def stage_lines(found: Mapping[str, Sequence[Example]]) -> list[list[Panel]]:
    """Those images, for `figures.images`, each with its NIQE and BRISQUE as in Fig. 13."""
    return side_by_side([with_naturalness(one) for of in found.values() for one in of])


def with_naturalness(example: Example) -> list[Panel]:
    """`Example.panels` with NIQE and BRISQUE in the labels."""
    return [
        replace(panel, label=f"{panel.label} {scores_of(panel.image)}".strip())
        for panel in example.panels()
    ]


def scores_of(image: Tensor) -> str:
    """NIQE (N) and BRISQUE (B) of an image (3, H, W) in words; "" without their weights, and for
    images that are too small."""
    words = []
    for letter, name in (("N", MAIN["niqe"]), ("B", MAIN["brisque"])):
        if not load_protocols()[name].missing_weights():
            with contextlib.suppress(ValueError):
                words.append(f"{letter} {evaluate(name, image[None].clamp(0, 1)).item():.2f}")
    return ", ".join(words)


def side_by_side(lines: list[list], columns: int = 6) -> list[list]:
    """Short lines of images or maps, one after the other as far as `columns` go."""
    each = max(1, columns // len(lines[0]))
    return [
        [panel for line in lines[start : start + each] for panel in line]
        for start in range(0, len(lines), each)
    ]


def colour_table(found: Mapping[str, Sequence[Example]]) -> Table:
    """Mean colour and over-exposed share of the images of Figs. 13 and 14, by kind and row."""
    rows = []
    for kind, of in found.items():
        for title in of[0].all():
            images = [one.all()[title] for one in of]
            means = torch.stack([image.mean((1, 2)) for image in images]).mean(0)
            burnt = sum((image > 0.98).float().mean().item() for image in images) / len(images)
            rows.append([kind, title, *(f"{value:.3f}" for value in means), f"{burnt:.1%}"])
    header = ["images", "row", "red", "green", "blue", "values above 0.98"]
    return Table("Figs. 13 and 14: colour and exposure", header, rows)


def distance_maps(found: Sequence[Example]) -> tuple[list[list[Map]], float, str]:
    """Fig. 15: perceptual distance of each row to the ground truth by pixel (H, W), the limit of
    the colour scale, and the distance's name.

    LPIPS before its mean over the image; without its weights the colour difference CIEDE2000.
    """
    if load_protocols()[MAIN["lpips"]].missing_weights():
        between, limit, unit = _colour_difference, 40.0, "CIEDE2000"
    else:
        between, limit, unit = _spatial_lpips, 0.5, "LPIPS (AlexNet)"
    lines = [
        [Map(title, between(image, one.truth)) for title, image in one.shown().items()]
        for one in found
    ]
    return side_by_side(lines), limit, unit


def _spatial_lpips(image: Tensor, target: Tensor) -> Tensor:
    state = torch.load(find("lpips-alex"), map_location="cpu", weights_only=True)
    network: Any = lpips_network("alex", state)  # the package has no types
    network.spatial = True
    with torch.no_grad():
        return network(image[None].float(), target[None].float(), normalize=True)[0, 0]


def _colour_difference(image: Tensor, target: Tensor) -> Tensor:
    from skimage.color import deltaE_ciede2000, rgb2lab

    first, second = (rgb2lab(x.permute(1, 2, 0).double().numpy()) for x in (image, target))
    return torch.from_numpy(deltaE_ciede2000(first, second)).float()


def failures(study: JcrnetStudy, count: int = 2) -> tuple[list[list[Panel]], Table]:
    """Fig. 17: the test images on which JCRNet's PSNR is lowest.

    Raises:
        ValueError: the rows were not evaluated under the main protocol of PSNR.
    """
    measured = study.per_image(study.row("jcrnet"), study.main_set)
    if MAIN["psnr"] not in measured[0]:
        raise ValueError(f"Fig. 17 needs {MAIN['psnr']} among the setting evaluation.protocols")
    values = [float(image[MAIN["psnr"]]) for image in measured]
    worst = sorted(range(len(values)), key=values.__getitem__)[:count]
    rows = [row for row in study.first_seed() if row.label in ("identity", "jcrnet")]
    data: Any = Subset(study.test_pairs, worst)  # type: ignore[arg-type]  # only read by index
    test_set = replace(study.main_set, data=data)
    found = examples(study, rows, count, test_set)
    cells = []
    for index, one in zip(worst, found, strict=True):
        noise = [noise_in_black(image, one.truth) for image in one.all().values()]
        shown = ["–" if value is None else f"{value:.4f}" for value in noise]
        cells.append([one.name, f"{values[index]:.2f}", *shown])
    header = ["image", "PSNR, dB", *(f"noise in black, {title}" for title in found[0].all())]
    note = "Noise: mean |difference of neighbours in a row| where the ground truth is below 0.1."
    table = Table("Fig. 17: where JCRNet does worst", header, cells, note)
    return side_by_side([one.panels() for one in found]), table


def noise_in_black(image: Tensor, target: Tensor) -> float | None:
    """`appearance.noise_in_black` of one image (3, H, W); None where no target pixel is black."""
    noise = appearance.noise_in_black(image[None], target[None]).item()
    return None if math.isnan(noise) else noise


def saliency_panels(study: JcrnetStudy) -> list[list[Panel]]:
    """Fig. 18: of each set an image as each row gives it, and below what is found salient."""
    lines = []
    for test_set in study.saliency.sets:
        rows = [row for row in study.first_seed() if test_set.rows(row)]
        data, task = study.data(test_set), study.task(test_set)
        assert isinstance(task, Saliency)
        recognizer = task.recognizer.cpu()
        (one,), (index,) = examples(study, rows, 1, test_set), spread(len(data), 1)
        maps = [_grey(recognizer.predict(image[None])) for image in one.outputs.values()]
        lines.append([Panel(title, image) for title, image in one.shown().items()])
        lines[-1].append(Panel(f"{test_set.name} (below: mask)", one.dark))
        lines.append([Panel("", x) for x in [*maps, _grey(data[index]["mask"][None])]])
    return lines


def _grey(found: Tensor) -> Tensor:
    """A map (1, 1, H, W) as an image (3, H, W)."""
    return found[0].float().expand(3, -1, -1)
