"""What the reports of papers 3, 4 and 5 share: pictures of the rows, enlarged parts, error maps,
histograms, one output under every protocol, cost, verdicts by more than one data set.

    keys = shown_keys(recipe, settings)
    found = examples(recipe, settings, keys, count=3)
    figures.pictures(comparison(found[0]), "Fig. 5")            # pictures, marked; parts below
    figures.pictures([details(one) for one in found], "Fig. 9")    # enlarged parts only
    figures.heat_maps(in_lines(error_maps(found[0])), 0.3, "mean |error|", "Fig. 5")
    figures.histograms(colour_shares(found[0]), colour_share(found[0].target), "Fig. 11")
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from llie_core.data.external import ExternalOutputs
from llie_core.metrics.cost import count_macs, count_parameters, latency
from llie_core.metrics.memory import peak_memory
from llie_core.metrics.protocols import evaluate, load_protocols
from llie_core.recipes.further import spread
from llie_core.recipes.paired import PairedRecipe, PairedSettings
from llie_core.recipes.paired_scores import lacking_weights
from llie_core.reporting.claims import Claim, Context, Verdict, judge
from llie_core.reporting.figures import Map, Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table, conditions
from llie_core.runs import Run, RunKey, device_name

TRUTH = "ground truth"
ONCE = {"warm_up": 0, "runs": 1}
LUMA = (0.299, 0.587, 0.114)  # BT.601 weights of R, G, B

# Pictures --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One test picture as every row gives it: images (3, H, W) in [0, 1] by the row's label.

    target: the ground truth, or None. A row that has no picture of this one is left out.
    """

    name: str
    dark: Tensor
    outputs: Mapping[str, Tensor]
    target: Tensor | None

    def all(self) -> dict[str, Tensor]:
        """The rows' images and, at the end, the ground truth if there is one."""
        truth = {} if self.target is None else {TRUTH: self.target}
        return {**self.outputs, **truth}


def shown_keys(
    recipe: PairedRecipe, settings: PairedSettings, rows: Sequence[str] = ()
) -> list[RunKey]:
    """The rows of the first seed, in their order; `rows` ("neid", "neid+LE") keeps those only."""
    keys = recipe.rows(settings)
    first = [k for k in keys if k.seed == settings.seeds[0] or not recipe.is_trained(k)]
    return [k for k in first if not rows or k.method in rows]


def examples(
    recipe: PairedRecipe, settings: PairedSettings, keys: Iterable[RunKey], count: int,
    name: str = "", data: Dataset | None = None,
) -> list[Example]:  # fmt: skip
    """`count` pictures, evenly over the test set, as the rows give them (on the CPU).

    name, data: a further test set, such as one of `recipe.no_reference_data(settings)`.
    """
    shown = recipe.test_data(settings)[0] if data is None else data
    items = [shown[index] for index in spread(len(shown), count)]
    outputs: list[dict[str, Tensor]] = [{} for _ in items]
    for key in keys:  # one network in memory at a time
        seen = shown
        if key.model in recipe.external_folders(settings):
            seen = (
                recipe.row_data(key, settings)[0]
                if data is None
                else recipe.further_row_data(key, settings, name, data)
            )
        model = recipe.load(key, settings, "cpu")
        for item, found in zip(items, outputs, strict=True):
            image = _seen(item, seen)
            if image is not None:
                found[key.method] = model.enhance(image[None])[0]
    return [
        Example(item["name"], item["image"], found, item.get("target"))
        for item, found in zip(items, outputs, strict=True)
    ]


def comparison(example: Example, side: float = 0.25, columns: int = 6) -> list[list[Panel]]:
    """Lines for `figures.pictures`: pictures with the region marked, and below each its part.

    side: of the square region, as a part of the picture's shorter side; it lies where the ground
    truth (without one: the brightened input) has most detail. columns: pictures a line.
    """
    region = detailed_region(example, side)
    images = list(example.all().items())
    marked, lines = torch.tensor([region]), []
    for chunk in in_lines(images, columns):
        lines.append([Panel(label, image, regions=marked) for label, image in chunk])
        lines.append([Panel("", _part(image, region)) for _, image in chunk])
    return lines


def in_lines(items: Sequence, columns: int = 6) -> list[Sequence]:
    """Items, such as panels or maps, in lines of at most `columns`."""
    return [items[start : start + columns] for start in range(0, len(items), columns)]


def details(example: Example, side: float = 0.25) -> list[Panel]:
    """The most detailed part of one picture, enlarged, by row: a line for `figures.pictures`."""
    region = detailed_region(example, side)
    return [Panel(label, _part(image, region)) for label, image in example.all().items()]


def detailed_region(example: Example, side: float = 0.25) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the square with the largest sum of gradients."""
    image = example.dark.clamp(min=0) ** (1 / 2.2) if example.target is None else example.target
    height, width = image.shape[-2:]
    length = max(1, round(side * min(height, width)))
    change = gradient(image[None]).mean(dim=1, keepdim=True)  # (1, 1, H, W)
    sums = F.avg_pool2d(change, length, stride=1)[0, 0]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return x, y, x + length, y + length


def gradient(images: Tensor) -> Tensor:
    """Length of the gradient by differences of neighbours: (B, 3, H, W) → the same shape."""
    dx = F.pad(images.diff(dim=-1), (0, 1, 0, 0))
    dy = F.pad(images.diff(dim=-2), (0, 0, 0, 1))
    return (dx.square() + dy.square()).sqrt()


# Errors and colours ----------------------------------------------------------------------------


def error_maps(example: Example) -> list[Map]:
    """Mean absolute difference to the ground truth over the channels, by row: (H, W) in [0, 1]."""
    return [
        Map(label, (image - example.target).abs().mean(dim=0))
        for label, image in example.outputs.items()
    ]


def colour_share(image: Tensor, bins: int = 64, luma: bool = False) -> Tensor:
    """Histogram of an image (3, H, W) in [0, 1]: (3, bins), each channel summing to 1.

    luma: (1, bins) of BT.601 luma instead.
    """
    if luma:
        image = (image * image.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
    counts = torch.stack([torch.histc(c, bins, 0, 1) for c in image.clamp(0, 1)])
    return counts / counts.sum(dim=1, keepdim=True)


def colour_shares(example: Example, bins: int = 64, luma: bool = False) -> dict[str, Tensor]:
    """`colour_share` of every row's image, for `figures.histograms`."""
    return {label: colour_share(image, bins, luma) for label, image in example.outputs.items()}


# Tables ----------------------------------------------------------------------------------------


def protocol_table(
    recipe: PairedRecipe, settings: PairedSettings, key: RunKey, index: int = 0
) -> Table:
    """One output of one row under every protocol that pictures allow, side by side."""
    item = recipe.row_data(key, settings)[0][index]
    output = recipe.load(key, settings, "cpu").enhance(item["image"][None])
    rows = []
    for p in load_protocols().values():
        if p.inputs not in ("pair", "image"):
            continue
        value = _under(p, output, item["target"][None] if p.inputs == "pair" else None)
        rows.append([p.id, p.metric, value, p.unit, p.description])
    caption = f"{key.method} on {item['name']}: one output under every protocol"
    note = "Numbers under two protocols are not comparable; tables name the one they stand under."
    return Table(caption, ["protocol", "metric", "value", "unit", "what it is"], rows, note)


def no_reference_table(
    recipe: PairedRecipe, settings: PairedSettings, scores: Sequence[Score]
) -> Table:
    """Rows by method, a column a set and metric; `scores` of `recipe.no_reference_scores`."""
    found, lacking = recipe.no_reference_data(settings)
    protocols = [load_protocols()[name] for name in recipe.no_reference_protocols]
    columns = [(name, p) for name in found for p in protocols]
    rows = [
        [label, *(_cell(scores, label, name, p) for name, p in columns)]
        for label in dict.fromkeys(key.method for key in recipe.rows(settings))
    ]
    header = ["", *[f"{name}, {p.metric}" for name, p in columns]]
    words = [f"{name}: not run, {why}" for name, why in lacking.items()]
    caption = "Pictures without ground truth (lower is better)"
    if not found:
        rows = [[name, "not run", why] for name, why in lacking.items()]
        return Table(caption, ["set", "scores", "why"], rows)
    return Table(caption, header, rows, " ".join([f"Measured: {conditions(scores)}", *words]))


def data_table(recipe: PairedRecipe, settings: PairedSettings) -> Table:
    """Pairs of each split, their sizes, and how dark they are (of at most 20 pairs a split)."""
    rows = []
    for split in ("train", "val", "test"):
        data = recipe.pairs(settings, split)
        items = [data[index] for index in spread(len(data), 20)]
        sizes = sorted({"{1}×{0}".format(*item["image"].shape[1:]) for item in items})
        shown = sizes if len(sizes) < 4 else [sizes[0], "…", sizes[-1]]
        dark, light = (
            sum(item[side].mean().item() for item in items) / len(items)
            for side in ("image", "target")
        )
        rows.append([split, str(len(data)), ", ".join(shown), f"{dark:.3f}", f"{light:.3f}"])
    header = ["split", "pairs", "width×height", "mean, low light", "mean, normal light"]
    return Table(f"Pairs of {settings.dataset}", header, rows)


def validation_curves(
    recipe: PairedRecipe, settings: PairedSettings
) -> dict[str, list[tuple[float, float]]]:
    """Row → (step, mean PSNR of the validation pairs), for `figures.line_chart`."""
    curves = {}
    for key in shown_keys(recipe, settings):
        path = Run(key).directory / "validation.csv"
        if recipe.is_trained(key) and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()[1:]
            curves[key.method] = [tuple(map(float, line.split(","))) for line in lines]
    return curves


# Verdicts --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Scores that judge claims.

    covers: the paper's data sets that they are of, or stand in for; context: what a verdict has to
    name; measured: name → (holds, evidence) of the claims that are measured, where they were.
    """

    covers: frozenset[str]
    scores: Sequence[Score]
    context: Context
    measured: Mapping[str, tuple[bool | None, str]] = field(default_factory=dict)


def no_copy(sets: Sequence[str]) -> str:
    """Why there is no verdict by any of the paper's sets."""
    return f"no copy of {', '.join(sets)} was given"


def verdicts_by(
    paper: str, sources: Sequence[Source], why_not: Callable[[Sequence[str]], str] = no_copy
) -> list[Verdict]:
    """The verdict on every claim, by each of the sources that is of its data sets.

    Claims of no data set are the first source's; measured ones are judged where they were measured.
    why_not: says of a claim's sets why none of the sources is of them.
    """
    judged = [judge(paper, s.scores, s.context, s.measured) for s in sources]
    merged: dict[str, Verdict] = {}
    for position, first in enumerate(judged[0]):
        claim = first.claim
        if claim.restates:
            merged[claim.id] = replace(first, verdict=merged[claim.restates].verdict)
            continue
        found = [of[position] for s, of in zip(sources, judged, strict=True) if _is_of(s, claim)]
        found = found or ([] if claim_sets(claim) else [first])
        merged[claim.id] = _joined(first, found, why_not)
    return list(merged.values())


def claim_sets(claim: Claim) -> set[str]:
    """The paper's data sets that a claim's check names; "a+b" is a mean over two."""
    named = [check.get("dataset", []) for check in claim.checks]
    each = [name for one in named for name in ([one] if isinstance(one, str) else one)]
    return {part for name in each for part in name.split("+")}


def _is_of(source: Source, claim: Claim) -> bool:
    if claim.kind == "measured":
        return claim.check["name"] in source.measured
    return bool(claim_sets(claim) & source.covers)


def _joined(first: Verdict, found: Sequence[Verdict], why_not: Callable) -> Verdict:
    """What the sources found, or why nothing was."""
    if first.verdict.startswith(("contradicted", "cannot")):
        return first
    if not found:
        why = why_not(sorted(claim_sets(first.claim)))
        return replace(first, verdict=f"not run ({why})", evidence="")
    decided = [v for v in found if not v.verdict.startswith("not run")] or found[:1]
    words, evidence = (
        "; ".join(dict.fromkeys(filter(None, (getattr(v, name) for v in decided))))
        for name in ("verdict", "evidence")
    )
    return replace(first, verdict=words, evidence=evidence)


# Cost ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Of one picture of (H, W): macs and memory (bytes) counted, milliseconds measured or None."""

    label: str
    size: tuple[int, int]
    parameters: int
    macs: int
    memory: int
    milliseconds: float | None


def costs(
    models: Mapping[str, nn.Module], sizes: Sequence[tuple[int, int]], device,
    timed: Sequence[tuple[int, int]] = (),
) -> list[Cost]:  # fmt: skip
    """Every network at every size. timed: the sizes at which latency is taken, on `device`."""
    found = []
    for size in sizes:
        for label, model in models.items():
            taken = None
            if size in timed:
                # A call at 4K is long enough to need neither warm-up nor many of its kind.
                often = {"warm_up": 1, "runs": 3} if size[0] * size[1] < 1e6 else ONCE
                taken = latency(model, size, device, **often, seconds=0).median_ms
            work = count_macs(model, size).macs
            memory = peak_memory(model, size)
            found.append(Cost(label, size, count_parameters(model), work, memory, taken))
    return found


def cost_table(found: Sequence[Cost], against: str, untimed: str, device, caption: str) -> Table:
    """A line a network and size; in brackets the ratio to the row `against` at that size.

    untimed: why there is no latency where there is none.
    """
    base = {cost.size: cost for cost in found if cost.label == against}
    rows = []
    for cost in found:
        other = base[cost.size]
        height, width = cost.size
        time = untimed
        if cost.milliseconds is not None:
            time = _ratio(cost.milliseconds, other.milliseconds, 1, ".0f")
        rows.append([f"{width}×{height}", cost.label,
                     _ratio(cost.parameters, other.parameters, 1e6, ".2f"),
                     _ratio(cost.macs, other.macs, 1e9, ".1f"),
                     _ratio(cost.memory, other.memory, 2**20, ",.0f"), time])  # fmt: skip
    header = ["picture", "network", "parameters, M", "GMAC", "peak memory, MiB", "latency, ms"]
    note = (
        f"In brackets: the ratio to {against}. One multiply-add counts 1. Memory: weights and the "
        "largest set of tensors alive at once, counted in float32; what a library takes besides is "
        f"left out. Latency: one picture, float32, {device_name(device)}."
    )
    return Table(caption, header, rows, note)


def _ratio(value: float, base: float, unit: float, form: str) -> str:
    return f"{value / unit:{form}} ({value / base:.2f})"


def _cell(scores: Sequence[Score], label: str, name: str, protocol) -> str:
    """A row's mean on a set over seeds, or why there is none."""
    found = select(scores, label=label, dataset=name, metric=protocol.metric)
    if not found:
        return lacking_weights(protocol.id) or "not run"
    return f"{summarise(s.value for s in found):.{protocol.decimals}f}"


def _under(protocol, output: Tensor, reference: Tensor | None) -> str:
    """The value under one protocol, or why there is none."""
    if protocol.gt_mean == "illumination-ratio":
        return "–"  # the ratio would be an input of the network
    if lacking := lacking_weights(protocol.id):
        return lacking
    try:
        return f"{evaluate(protocol, output, reference).item():.{protocol.decimals}f}"
    except ValueError as error:  # too small a picture for the metric
        return f"not defined: {error}"


def _part(image: Tensor, region: tuple[int, int, int, int]) -> Tensor:
    x0, y0, x1, y1 = region
    return image[:, y0:y1, x0:x1]


def _seen(item: dict, seen: Dataset | None) -> Tensor | None:
    """The picture that a row is given for an item: its own, another program's, or none."""
    if not isinstance(seen, ExternalOutputs):
        return None if seen is None else item["image"]
    return seen.output(seen.names.index(item["name"])) if item["name"] in seen.names else None
