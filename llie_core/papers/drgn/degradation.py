"""What the first trainings of paper 4 learned: whether I_D collapsed, what it looks like, and the
properties that the paper's claims state of it, measured on test images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from llie_core.data.darkening import Darkening, darken
from llie_core.data.transforms import crop
from llie_core.data.wrappers import spread
from llie_core.losses.degradation import COLLAPSED_BELOW, degradation_monitor
from llie_core.models import Enhancer
from llie_core.models.drgn import TwoStep
from llie_core.names import title_of
from llie_core.papers.drgn.study import ANCHORED, RIVAL, DrgnStudy
from llie_core.papers.images import colour_share, examples
from llie_core.papers.rows import Row
from llie_core.papers.study import enhanced
from llie_core.reporting.claims import Measured
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import summarise
from llie_core.reporting.tables import Table

SIDE = 96  # of the parts of test images on which degradations are measured
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
EXPOSURES = (0.10, 0.02)  # slight and severe darkness, gains in linear light
# Methods of Table 2 that can be run on images darkened here; other programs' images are given.
RIVALS = ("lime", RIVAL)
HALF = 0.5  # least shared part of two histograms that are called alike
APART = 5.0  # least difference of pairs that are called different, of 255 levels


@dataclass(frozen=True)
class Samples:
    """Parts of test images, (B, 3, side, side) each: I_L, its ground truth I, and I_ref, the
    ground truth of another one, so that I_ref and I_L show different scenes."""

    low: Tensor
    target: Tensor
    reference: Tensor


def samples(study: DrgnStudy, count: int = 8) -> Samples:
    """`count` images, evenly over the test pairs, cut about their centres."""
    items = [study.test_pairs[index] for index in spread(len(study.test_pairs), count)]
    side = min([SIDE, *(n // 4 * 4 for item in items for n in item["image"].shape[1:])])
    parts = []
    for item in items:
        _, height, width = item["image"].shape
        parts.append(crop(item, (width - side) // 2, (height - side) // 2, (side, side)))
    low, target = (torch.stack([part[key] for part in parts]) for key in ("image", "target"))
    return Samples(low, target, target.roll(max(1, len(target) // 2), dims=0))


def shown_rows(study: DrgnStudy) -> list[Row]:
    """The rows of the first seed that give enhanced images, in their order."""
    return [row for row in study.first_seed() if enhanced(row)]


def learned(study: DrgnStudy) -> list[tuple[Row, TwoStep]]:
    """The rows of the first seed that learn a degradation, with their trained networks."""
    return [(row, study.load_as(TwoStep, row, "cpu")) for row in study.first_seed() if row.needs]


def first_logs(study: DrgnStudy) -> dict[str, list[dict[str, float]]]:
    """Title → log of its first training, of the rows of the first seed."""
    rows = [row for row in study.first_seed() if row.needs]
    return {row.shown: study.run(row.needs[0]).read_log() for row in rows}


# Table and figures -----------------------------------------------------------------------------


def degradation_table(study: DrgnStudy) -> Table:
    """The collapse monitor: what each first training makes of dark test images."""
    seen, logs, rows = samples(study), first_logs(study), []
    for row, model in learned(study):
        assert model.g_de is not None  # the rows that need a first training
        with torch.no_grad():
            degradation = model.g_de(seen.low)
        truth, log = seen.low - seen.target, logs[row.shown]
        monitor = degradation_monitor(degradation, truth)
        rows.append([
            row.shown, str(len(log)), f"{log[-1]['kl']:.2e}", f"{monitor['degradation_std']:.4f}",
            f"{monitor['true_std']:.4f}", f"{monitor['degradation_range']:.4f}",
            f"{degradation.mean():+.4f}", f"{truth.mean():+.4f}",
            "collapsed" if monitor["collapsed"] else "depends on the image",
        ])  # fmt: skip
    header = ["row", "steps of DeG", "KL at the end", "std of I_D", "std of I_L − I",
              "range of I_D", "mean of I_D", "mean of I_L − I", "I_D"]  # fmt: skip
    note = (
        f"Over {len(seen.low)} parts of test images. Collapsed: the standard deviation of I_D "
        f"within an image, mean over images, is below {COLLAPSED_BELOW} of that of I_L − I. "
        "Eq. (7) never sees the normal-light image; the anchored rows, ours, also have "
        "|I_L − I_D − I|."
    )
    return Table("Does the learned degradation collapse?", header, rows, note)


def degradation_panels(study: DrgnStudy) -> list[list[Panel]]:
    """A line a row: I_L, −I_D, I_B, and I_ref with the same degradation put on it."""
    seen, lines = samples(study, 4), []
    for row, model in learned(study):
        with torch.no_grad():
            made = model.degrade(seen.reference, seen.low)
        lines.append([
            Panel(f"{row.shown}: I_L", seen.low[-1]),
            Panel("subtracted: −I_D", -made["degradation"][-1]),
            Panel("left: I_B = I_L − I_D", (seen.low - made["degradation"])[-1]),
            Panel("I", seen.target[-1]),
            Panel("I_ref", seen.reference[-1]),
            Panel("made: I_L,ref = I_ref + I_D,ref", made["low_ref"][-1]),
        ])  # fmt: skip
    return lines


def strength_panels(study: DrgnStudy) -> list[list[Panel]]:
    """A line a row: one normal-light image with the degradation of a dark one at several
    strengths, and its mean."""
    seen, lines = samples(study, 4), []
    for row, model in learned(study):
        line = []
        for strength in STRENGTHS:
            image = model.darken(seen.reference[-1:], seen.low[-1:], strength)[0]
            line.append(Panel(f"strength {strength:g}: {image.mean():.3f}", image))
        lines.append([*line, Panel(f"{row.shown}: real I_L", seen.low[-1])])
    return lines


# Measured claims -------------------------------------------------------------------------------


def measurements(study: DrgnStudy) -> dict[str, Measured]:
    """Properties that claims state, measured: name → answer."""
    models = {row.label: model for row, model in learned(study)}
    checks = (pairs_made, pairs_without_limit, degradation_controlled, degradations_alike)
    seen, levels = samples(study), brightness_levels(study)
    return {check.__name__: of_drgn(models, seen, check) for check in checks} | {
        "kl_accelerates": kl_accelerates(study),
        "rivals_brighten_alike": levelled(levels, RIVALS, alike=True),
        "fits_degradation": levelled(levels, ("drgn",), alike=False),
        "luma_histogram_near": luma_histogram_near(study),
    }


def of_drgn(
    models: Mapping[str, TwoStep], seen: Samples, check: Callable[[TwoStep, Samples], Measured]
) -> Measured:
    """The answer for the paper's own network; what the anchored ones give stands beside."""
    if "drgn" not in models:
        return None, "needs the row drgn"
    holds, words = check(models["drgn"], seen)
    anchored = {label: model for label, model in models.items() if ANCHORED in label}
    beside = [f"{title_of(label)}: {check(model, seen)[1]}" for label, model in anchored.items()]
    return holds, "; ".join([words, *beside])


@torch.no_grad()
def pairs_made(model: TwoStep, seen: Samples) -> Measured:
    """Claim 4.02: a made image is nearer in brightness to a dark one than to its normal one."""
    made = model.degrade(seen.reference, seen.low)["low_ref"].clamp(0, 1).mean().item()
    normal, dark = seen.reference.mean().item(), seen.low.mean().item()
    words = f"mean of I_ref {normal:.3f}, of I_L,ref {made:.3f}, of real dark images {dark:.3f}"
    return abs(made - dark) < abs(made - normal), words


def pairs_without_limit(model: TwoStep, seen: Samples) -> Measured:
    """Claim 4.08: one image with the degradations of several looks different each time."""
    one = seen.reference[:1].expand_as(seen.low)
    made = 255 * model.darken(one, seen.low).flatten(1)  # (B, 3·H·W)
    apart = torch.cdist(made, made, p=1) / made.shape[1]
    least = apart[~torch.eye(len(made), dtype=torch.bool)].min().item()
    words = f"{len(made)} pairs of one image: the nearest two are {least:.2f} of 255 levels apart"
    return least > APART, words + f" (limit {APART:g})"


def degradation_controlled(model: TwoStep, seen: Samples) -> Measured:
    """Claim 4.11: the stronger, the darker, by more than 0.01 of the range a step."""
    means = [model.darken(seen.reference, seen.low, s).mean().item() for s in STRENGTHS]
    falls = [a - b for a, b in pairwise(means)]
    steps = zip(STRENGTHS, means, strict=True)
    words = ", ".join(f"{mean:.3f} at strength {strength:g}" for strength, mean in steps)
    return min(falls) > 0.01, f"mean brightness {words}"


@torch.no_grad()
def degradations_alike(model: TwoStep, seen: Samples) -> Measured:
    """Claim 4.12: histograms of I_L and I_L,ref, and of I_D and I_D,ref, share half or more."""
    made = model.degrade(seen.reference, seen.low)
    images = _shared(seen.low, made["low_ref"])
    degradations = _shared((made["degradation"] + 1) / 2, (made["degradation_ref"] + 1) / 2)
    words = f"shared part of the histograms: images {images:.0%}, degradations {degradations:.0%}"
    return min(images, degradations) >= HALF, f"{words} (limit {HALF:.0%})"


def _shared(images: Tensor, others: Tensor) -> float:
    """Part that the luma histograms of two batches of images share, mean over the images."""
    pairs = zip(images, others, strict=True)
    parts = [torch.minimum(colour_share(a, luma=True), colour_share(b, luma=True)).sum()
             for a, b in pairs]  # fmt: skip
    return torch.stack(parts).mean().item()


def kl_accelerates(study: DrgnStudy) -> Measured:
    """Claim 4.18: over the first half of the second training, the content loss is lower."""
    found = {}
    for label in ("drgn", "drgn+w/o KL"):
        runs = [study.run(row) for row in study.rows() if row.label == label and row.is_trained]
        logs = [log for run in runs if (log := run.read_log())]
        if not logs:
            return None, f"needs the row {label}, trained here"
        halves = [log[: max(1, len(log) // 2)] for log in logs]
        found[label] = summarise(
            summarise(line["charbonnier"] for line in half).mean for half in halves
        )
    words = ", ".join(f"{title_of(label)} {one:.4f}" for label, one in found.items())
    holds = found["drgn"].mean < found["drgn+w/o KL"].mean
    return holds, f"mean content loss, first half: {words}"


def brightness_levels(study: DrgnStudy) -> dict[str, tuple[tuple[float, float], float]]:
    """Label → mean brightness after it of slightly and of severely darkened images, and the
    normal one; "identity": before."""
    target = samples(study).target
    normal = target.mean().item()
    dark = [
        torch.stack([torch.from_numpy(darken(np.asarray(x), Darkening(e))) for x in target])
        for e in EXPOSURES
    ]
    found = {}
    for row in shown_rows(study):
        if row.source != "external":
            model = study.load_as(Enhancer, row, "cpu")
            slight, severe = (model.enhance(images).mean().item() for images in dark)
            found[row.label] = (slight, severe), normal
    return found


def levelled(levels: Mapping, labels: Iterable[str], alike: bool) -> Measured:
    """Claims 4.31 and 4.32: whether rows bring slight and severe darkness nearer to each other.

    levels: of `brightness_levels`; alike: the claim is that none does; otherwise that all do.
    """
    present = [label for label in labels if label in levels]
    if not present or "identity" not in levels:
        return None, f"needs the rows identity and {' or '.join(labels)}"
    (slight, severe), normal = levels["identity"]
    before, nearer = slight - severe, []
    words = [f"before {slight:.3f} and {severe:.3f}"]
    for label in present:
        (slight, severe), _ = levels[label]
        nearer.append(abs(slight - severe) < before)
        words.append(f"{title_of(label)} {slight:.3f} and {severe:.3f}")
    evidence = f"mean brightness, slightly and severely dark, of normally {normal:.3f}: "
    return (not any(nearer) if alike else all(nearer)), evidence + "; ".join(words)


def luma_histogram_near(study: DrgnStudy) -> Measured:
    """Claim 4.33: shared part with the truth's histogram of Y, over four images as in Fig. 6."""
    shares: dict[str, list[float]] = {}
    every = [row for row in study.rows() if enhanced(row)]
    for seed in study.settings.seeds:
        rows = [row for row in every if row.seed == seed or not row.is_trained]
        for one in examples(study, rows, count=4):
            truth = colour_share(one.truth, luma=True)
            for label, image in one.outputs.items():
                share = torch.minimum(colour_share(image, luma=True), truth).sum().item()
                shares.setdefault(label, []).append(share)
    means = {label: summarise(values).mean for label, values in shares.items()}
    if "drgn" not in means:
        return None, "needs the row drgn"
    others = [mean for label, mean in means.items() if "drgn" not in label]
    words = ", ".join(f"{title_of(label)} {mean:.0%}" for label, mean in means.items())
    return means["drgn"] >= max([HALF, *others]), f"shared with the truth's histogram: {words}"
