"""What the report of paper 5 shows besides what papers 3 to 5 share: findings, Fig. 1, the audit,
the cost against a full-resolution U-net, and its measured claims."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.dataset import items
from llie_core.devices import device_name
from llie_core.engine.distributed import default_device
from llie_core.losses.colour import rgb_to_hsv
from llie_core.metrics import psnr
from llie_core.metrics.cost import count_macs, count_parameters, latencies
from llie_core.metrics.memory import peak_memory
from llie_core.models import Enhancer
from llie_core.models.neid import NEID, VARIANTS, halve
from llie_core.names import title_of
from llie_core.papers import judging
from llie_core.papers.audit import audit_table, counted
from llie_core.papers.images import (
    TRUTH,
    Example,
    comparison,
    detailed_region,
    details,
    examples,
    gradient,
    part,
)
from llie_core.papers.neid.study import OWN_LOSS, SEQUENCE, TITLES, UNET, NeidStudy
from llie_core.papers.rows import Row
from llie_core.papers.study import one_timing
from llie_core.reporting.claims import Measured
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, best_untrained, mean_of, select
from llie_core.reporting.tables import Table

FOUR_K = (2160, 3840)
FULL, LE_ALONE, AT_USE = "U-net at full size", "LE alone", "NEID at use"
# Of Fig. 9.
DETAIL_ROWS = ("gamma", "clahe", "lime", "npe", "neid", f"neid+{OWN_LOSS}", f"neid+{UNET}")
FIGURES = {"lime": "6", "npe": "7", "dicm": "8"}
CAPTIONS = {"1": "quantitative evaluation on LOL", "2": "ablation, PSNR in dB"}

# Findings --------------------------------------------------------------------------------------


def findings(study: NeidStudy, scores: Sequence[Score]) -> Table:
    """A sentence a question, from scores of one report; "not evaluated" where rows are absent."""
    scores, titles = select(scores, metric="psnr", dataset=scores[0].dataset), study.row_titles
    best, count = best_untrained(scores)
    share = _work("", (256, 256)) / _work(UNET, (256, 256))
    unet, unfused, own_loss = (
        _against(scores, label, titles)
        for label in (f"neid+{UNET}", "neid+LE + DR", f"neid+{OWN_LOSS}")
    )
    branch = _against(scores, "neid+LE", titles, "neid+LE + DR")
    classical = "none was evaluated (setting baselines)"
    if best:
        classical = f"{_against(scores, best, titles)}, the best of {count}"
    cost = f"NEID needs {share:.2f} of the multiply-adds of the U-net at full size"
    rows = [
        ["Is a quarter of the pixels enough?", f"{cost}; {unet}."],
        ["Does the detail branch help?", f"Without fusing {branch}."],
        ["Does fusing its features help?", f"{unfused}."],
        ["What does the printed loss cost?", f"{own_loss}."],
        ["Is it better than methods without training?", f"{classical}."],
    ]  # fmt: skip
    others = (f"neid+{UNET}", "neid+LE + DR", f"neid+{OWN_LOSS}", best)
    rows += judging.differences(study, scores, [("neid", x) for x in others], "psnr")
    note = f"PSNR, mean over seeds. {judging.evidence(study, scores)}"
    return Table("What was found", ["question", "finding"], rows, note)


def _against(
    scores: Sequence[Score], label: str, titles: Mapping[str, str], own: str = "neid"
) -> str:
    """A row's PSNR (NEID's) against another row's, in words."""
    ours, other = (mean_of(scores, label=x, metric="psnr") for x in (own, label))
    title = title_of(label, titles)
    for found, name in ((ours, title_of(own, titles)), (other, title)):
        if not found.seeds:
            return f"{name}: not evaluated (setting rows)"
    return f"{ours:.2f} dB against {other:.2f} dB of {title}"


# The two losses ----------------------------------------------------------------------------------


def loss_table(study: NeidStudy, scores: Sequence[Score]) -> Table:
    """The printed loss and ours side by side, each NEID's: its settings, what becomes of reds, and
    what the detail branch adds to the half-size image, over the test pairs of this run."""
    rows = []
    for row in (row for row in study.first_seed() if row.model == "neid" and row.is_trained):
        if row.compose or row.options["variant"]:
            continue
        loss, model = row.given["loss"], study.load_as(NEID, row, "cpu")
        seen = [_of_pair(model, pair) for pair in items(study.test_pairs)]
        kept, refined, enlarged = (torch.stack(x).nanmean().item() for x in zip(*seen, strict=True))
        rows.append([
            row.shown, f"{loss.delta:g}", loss.hue, f"{loss.lambda_mse:g}",
            f"{loss.lambda_colour:g}", f"{mean_of(scores, label=row.label, metric='psnr'):.2f}",
            "no red" if math.isnan(kept) else f"{kept:.1%}", f"{refined:.2f}", f"{enlarged:.2f}",
        ])  # fmt: skip
    header = ["row", "δ", "hue", "λ₁", "λ₂", "PSNR, dB", "reds kept", "details, dB", "bicubic, dB"]
    note = (
        "Reds kept: of the pixels that are red in the ground truth (hue within 30°, saturation "
        "above 0.3, value above 0.2), those whose hue is so in the output. Details: PSNR of the "
        "detail branch to the full-size low-light image; bicubic: that of the half-size image, "
        "enlarged. The printed hue has red at 0 and at 1, which its cosine keeps apart."
    )
    return Table("The printed loss and ours", header, rows, note)


@torch.no_grad()
def _of_pair(model: NEID, item: Mapping) -> tuple[Tensor, Tensor, Tensor]:
    """Reds kept, and PSNR of details and of plain enlargement to the low-light image."""
    dark, target = item["image"][None], item["target"][None]
    outputs = model.training_outputs(dark)
    enlarged = F.interpolate(halve(dark), scale_factor=2, mode="bicubic", antialias=True)
    height, width = dark.shape[-2:]
    return (
        reds_kept(outputs["image"].clamp(0, 1), target),
        psnr(outputs["detail"].clamp(0, 1), dark)[0],
        psnr(enlarged[..., :height, :width].clamp(0, 1), dark)[0],
    )


def reds_kept(output: Tensor, target: Tensor) -> Tensor:
    """Share of the red pixels of a ground truth (1, 3, H, W) that are red in the output; NaN where
    there are none."""
    hue, saturation, value = rgb_to_hsv(target).unbind(dim=1)  # (1, H, W)
    red = _is_red(hue) & (saturation > 0.3) & (value > 0.2)
    return _is_red(rgb_to_hsv(output)[:, 0])[red].float().mean()


def _is_red(hue: Tensor) -> Tensor:
    """Whether hues, as parts of a turn, lie within 30° of 0."""
    return torch.minimum(hue, 1 - hue) < 1 / 12


# Figures ---------------------------------------------------------------------------------------


def teaser(example: Example, row: Row) -> list[Panel]:
    """Fig. 1: what is sent, what the paper's network (row: `study.main_row()`) makes of it, and the
    part with most detail of each.

    Raises:
        ValueError: the example has no image of that row.
    """
    if row.label not in example.outputs:
        raise ValueError(f"Fig. 1 {_needs(row.label)}")
    output, region = example.outputs[row.label], detailed_region(example)
    sent = Panel("(b) low light", example.dark)
    if row.model == "neid" and row.options.get("variant") != UNET:
        sent = Panel("(b) low light, half the size", halve(example.dark[None])[0])
    panels = [
        sent,
        Panel(f"(a) {row.shown}", output, regions=torch.tensor([region])),
        Panel("(c) detail of (a)", part(output, region)),
    ]
    if example.target is not None:
        panels.append(Panel("the same detail, " + TRUTH, part(example.target, region)))
    return panels


def detail_lines(study: NeidStudy, count: int) -> tuple[list[list[Panel]], str]:
    """Fig. 9: the part with most detail of some images of `detail_set`, enlarged, by row; and what
    they are, as the figure's title."""
    labels = (*DETAIL_ROWS, study.main_row().label)
    rows = [r for r in study.first_seed() if r.label in labels or study.is_given(r)]
    test_set, why = study.detail_set
    lines = [details(one, 0.125) for one in examples(study, rows, count, test_set)]
    what = f"{test_set.name}, ground truth of expert C"
    if why:
        what = f"{test_set.name}, which stand in for MIT-Adobe FiveK ({why})"
    return lines, f"Fig. 9: the most detailed part of images of {what}"


def unpaired_lines(study: NeidStudy) -> dict[str, list[list[Panel]]]:
    """Figs. 6 to 8: title → an image of each set there is, with an enlarged part."""
    lines = {}
    for test_set in study.unpaired.sets:
        (one,) = examples(study, study.first_seed(), 1, test_set)
        name = test_set.name
        title = f"Fig. {FIGURES[name]}: images of {name.upper()}, and a part of each enlarged"
        lines[title] = comparison(one)
    return lines


# Audit and cost --------------------------------------------------------------------------------


def audit() -> Table:
    """Parameters in training and at use, and the work of the rows of Table 2."""
    networks = []
    for variant in reversed(VARIANTS):
        model = NEID(variant=variant)
        more = {
            "parameters in training": f"{count_parameters(model):,}",
            "input": "256×256" if variant == UNET else "128×128",
        }
        title = variant or "LE + DR + FF"
        networks.append(counted(title, model.deploy(), (256, 256), more=more))
    note = (
        "The paper publishes neither layers nor sizes: these are of our reading. At use the "
        "decoder and the head of DR are dropped; FF still needs its 1×1 layer."
    )
    return audit_table("neid", networks, (256, 256), note)


@dataclass(frozen=True)
class NetworkCost:
    """Of one image of (H, W): macs and memory (bytes) counted, milliseconds measured or None."""

    title: str
    size: tuple[int, int]
    parameters: int
    macs: int
    memory: int
    milliseconds: float | None
    load: float = 0.0  # largest load average while it was timed


def costs(
    networks: Mapping[str, nn.Module], sizes: Sequence[tuple[int, int]], device: str,
    timed: Sequence[tuple[int, int]] = (),
) -> list[NetworkCost]:  # fmt: skip
    """Every network at every size. timed: the sizes at which latency is taken, on `device`."""
    found = []
    for size in sizes:
        taken = {}
        if size in timed:
            # A call at 4K is long enough to need no warm-up and few repetitions.
            warm_up, rounds = (1, 9) if size[0] * size[1] < 1e6 else (0, 3)
            with one_timing("neid"):
                taken = latencies(networks, size, device, warm_up=warm_up, runs=rounds, seconds=0)
        for title, model in networks.items():
            counts = count_parameters(model), _macs(model, size), peak_memory(model, size)
            time = taken.get(title)
            timing = (time.median_ms, max(time.loads)) if time else (None, 0.0)
            found.append(NetworkCost(title, size, *counts, *timing))
    return found


def cost_table(found: Sequence[NetworkCost], against: str, untimed: str, device: str) -> Table:
    """A line a network and size; in brackets the ratio to the row `against` at that size.

    untimed: why there is no latency where there is none.
    """
    base = {cost.size: cost for cost in found if cost.title == against}
    rows = []
    for cost in found:
        other = base[cost.size]
        height, width = cost.size
        time = untimed
        if cost.milliseconds is not None and other.milliseconds is not None:
            time = _ratio(cost.milliseconds, other.milliseconds, 1, ".0f")
        rows.append([f"{width}×{height}", cost.title,
                     _ratio(cost.parameters, other.parameters, 1e6, ".2f"),
                     _ratio(cost.macs, other.macs, 1e9, ".1f"),
                     _ratio(cost.memory, other.memory, 2**20, ",.0f"), time])  # fmt: skip
    header = ["image", "network", "parameters, M", "GMAC", "peak memory, MiB", "latency, ms"]
    note = (
        f"In brackets: the ratio to {against}. One multiply-add counts 1. Memory: weights and the "
        "largest set of tensors alive at once, counted in float32; what a library takes besides is "
        f"left out. Latency: one image, float32, {device_name(device)}, median of rounds in turn, "
        f"load average up to {max((cost.load for cost in found), default=0):.1f}."
    )
    return Table("Cost against a full-resolution U-net", header, rows, note)


def cost_against_unet(study: NeidStudy) -> Table:
    """The paper's point: half the sides against a U-net that works on all pixels."""
    return cost_table(_costs(study), FULL, "not run (set time_4k)", default_device())


def _ratio(value: float, base: float, unit: float, form: str) -> str:
    return f"{value / unit:{form}} ({value / base:.2f})"


@lru_cache(maxsize=2)  # measured once: the table and the claims show the same times
def _costs(study: NeidStudy) -> list[NetworkCost]:
    networks = {FULL: NEID(variant=UNET), LE_ALONE: NEID(variant="LE"), AT_USE: NEID().deploy()}
    device, sizes = default_device(), (study.settings.evaluation.cost_size, FOUR_K)
    with_4k = device != "cpu" or study.settings.time_4k
    return costs(networks, sizes, device, sizes if with_4k else sizes[:1])


def _two(study: NeidStudy, size: tuple[int, int]) -> tuple[NetworkCost, NetworkCost]:
    """Costs of the U-net and of NEID at one size."""
    found = {cost.title: cost for cost in _costs(study) if cost.size == size}
    return found[FULL], found[AT_USE]


def _work(variant: str, size: tuple[int, int]) -> int:
    """Multiply-accumulates of a variant at use."""
    return _macs(NEID(variant=variant).deploy(), size)


def _macs(model: nn.Module, size: tuple[int, int]) -> int:
    macs = count_macs(model, size).macs
    assert macs is not None  # all networks here have parameters
    return macs


# Measured claims -------------------------------------------------------------------------------


def measurements(study: NeidStudy, scores: Sequence[Score]) -> dict[str, Measured]:
    """Properties that claims state, measured, by the name that a check gives."""
    return {
        "details_at_little_cost": details_at_little_cost(study),
        "detail_branch_free": detail_branch_free(study),
        "half_size_cheaper": half_size_cheaper(study, scores),
        "joint_beats_sequence": with_psnr(scores, SEQUENCE),  # claim 5.09
        "no_extra_memory": no_extra_memory(study, scores),
        "brightness_even": brightness_even(study),
    }


def details_at_little_cost(study: NeidStudy) -> Measured:
    """Claim 5.01: over LE alone, details (gradients) come closer to the truth for ≤ 5 % work."""
    alone, ours = (_work(variant, (400, 600)) for variant in ("LE", ""))
    words = f"{ours / alone - 1:+.1%} work over LE alone (limit 5 %)"
    found = _over_test_set(study, ("neid", "neid+LE"), gradient_error)
    if isinstance(found, str):
        return None, f"{found}; {words}"
    ours_error, alone_error = found
    evidence = f"mean error of gradients {ours_error:.4f} against {alone_error:.4f}; {words}"
    return bool(ours_error < alone_error and ours <= 1.05 * alone), evidence


def detail_branch_free(study: NeidStudy) -> Measured:
    """Claim 5.05: without DR's decoder and head the images are the same, bit for bit."""
    if all(row.label != "neid" for row in study.rows()):
        return None, _needs("neid")
    model = study.load_as(NEID, study.row("neid"), "cpu")
    (one,) = examples(study, [], 1)
    at_use = model.deploy()
    same = torch.equal(model.enhance(one.dark[None]), at_use.enhance(one.dark[None]))
    dropped = count_parameters(model) - count_parameters(at_use)
    left = count_parameters(at_use.detail_layer)
    evidence = (
        f"{dropped / 1e6:.2f} M parameters dropped, images {'the same' if same else 'differ'}; "
        f"what is left of DR is the 1×1 layer that FF reads, {left / 1e6:.2f} M"
    )
    return same and dropped > 0, evidence


def half_size_cheaper(study: NeidStudy, scores: Sequence[Score]) -> Measured:
    """Claim 5.07: less work and time than the U-net at full size, and no lower PSNR."""
    height, width = size = study.settings.evaluation.cost_size
    full, ours = _two(study, size)
    assert ours.milliseconds is not None and full.milliseconds is not None  # this size is timed
    faster = ours.milliseconds < full.milliseconds and ours.macs < full.macs
    words = (
        f"{ours.macs / full.macs:.2f} of the work and "
        f"{ours.milliseconds / full.milliseconds:.2f} of the time at {width}×{height}"
    )
    return with_psnr(scores, UNET, faster, words, as_good=True)


def no_extra_memory(study: NeidStudy, scores: Sequence[Score]) -> Measured:
    """Claim 5.10: no more work and memory than the U-net at full size, and a higher PSNR."""
    full, ours = _two(study, FOUR_K)
    within = ours.macs <= full.macs and ours.memory <= full.memory
    words = (
        f"{ours.macs / full.macs:.2f} of the work and "
        f"{ours.memory / full.memory:.2f} of the memory at 4K"
    )
    return with_psnr(scores, UNET, within, words)


def brightness_even(study: NeidStudy) -> Measured:
    """Claim 5.12: the error of brightness varies less over the image than the U-net's."""
    found = _over_test_set(study, ("neid", f"neid+{UNET}"), unevenness)
    if isinstance(found, str):
        return None, found
    ours, full = found
    evidence = (
        f"spread of the brightness error over 8×8 parts of an image: {ours:.4f} against "
        f"{full:.4f} of the U-net at full size"
    )
    return bool(ours < full), evidence


def with_psnr(
    scores: Sequence[Score], variant: str, holds: bool = True, words: str = "", as_good=False
) -> Measured:
    """Whether `holds`, and NEID's PSNR is above another row's (as_good: or equal to it); None
    without these rows."""
    labels = "neid", f"neid+{variant}"
    ours, other = found = [mean_of(scores, label=label, metric="psnr") for label in labels]
    for label, one in zip(labels, found, strict=True):
        if not one.seeds:
            return None, "; ".join(filter(None, (_needs(label), words)))
    quality = f"PSNR {ours:.2f} dB against {other:.2f} dB of {TITLES.get(variant, variant)}"
    better = ours.mean >= other.mean if as_good else ours.mean > other.mean
    return holds and better, "; ".join(filter(None, (quality, words)))


def _needs(label: str) -> str:
    return f"needs the row {label} (setting rows)"


def _over_test_set(
    study: NeidStudy, labels: tuple[str, str], measure: Callable[[Tensor, Tensor], Tensor]
) -> list[float] | str:
    """`measure(output, target)`, the mean over the test pairs and seeds, of two rows."""
    means = []
    for label in labels:
        rows = [row for row in study.rows() if row.label == label]
        if not rows:
            return _needs(label)
        values = []
        for row in rows:
            model, device = study.load_as(Enhancer, row), default_device()
            for item in items(study.test_pairs):
                output = model.enhance(item["image"][None].to(device)).cpu()
                values.append(measure(output, item["target"][None]).item())
        means.append(sum(values) / len(values))
    return means


def gradient_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean difference of the lengths of gradients, images (1, 3, H, W)."""
    return (gradient(output) - gradient(target)).abs().mean()


def unevenness(output: Tensor, target: Tensor) -> Tensor:
    """Standard deviation of the mean error over 8×8 parts of an image."""
    return F.adaptive_avg_pool2d((output - target).mean(dim=1, keepdim=True), 8).std()
