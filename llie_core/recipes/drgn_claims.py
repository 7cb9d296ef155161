"""Paper 4's measured claims: properties that it states of its method, measured on test pictures."""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from llie_core.data.darkening import Darkening, darken
from llie_core.models.drgn import TwoStep
from llie_core.recipes.drgn import ANCHORED, DrgnRecipe, DrgnSettings
from llie_core.recipes.drgn_degradation import STRENGTHS, Samples, learned, samples
from llie_core.recipes.paired_report import colour_share, colour_shares, examples, shown_keys
from llie_core.reporting.scores import summarise
from llie_core.runs import Run

EXPOSURES = (0.10, 0.02)  # slight and severe darkness, gains in linear light
HALF = 0.5  # least shared part of two histograms that are called alike
APART = 5.0  # least difference of pairs that are called different, of 255 levels

Answer = tuple[bool | None, str]


def measurements(recipe: DrgnRecipe, settings: DrgnSettings) -> dict[str, Answer]:
    """Properties that claims state, measured: name → (holds, evidence) or (None, why not)."""
    checks: dict[str, Callable[[TwoStep, Samples], Answer]] = {
        "pairs_made": pairs_made,
        "pairs_without_limit": pairs_without_limit,
        "degradation_controlled": degradation_controlled,
        "degradations_alike": degradations_alike,
    }
    models, seen = learned(recipe, settings), samples(recipe, settings)
    answers = {name: _of_drgn(models, seen, check) for name, check in checks.items()}
    levels = levelled(recipe, settings)
    return answers | {
        "learned_beats_handmade": (None, "needs a twin trained on pairs that are darkened by hand"),
        "kl_accelerates": kl_accelerates(recipe, settings),
        "rivals_brighten_alike": _levels(levels, ("gamma", "clahe"), alike=True),
        "fits_degradation": _levels(levels, ("drgn",), alike=False),
        "luma_histogram_near": luma_histogram_near(recipe, settings),
    }


def _of_drgn(models: Mapping[str, TwoStep], seen: Samples, check: Callable) -> Answer:
    """The answer for the paper's own network; what the anchored ones give stands beside."""
    if "drgn" not in models:
        return None, "needs the row drgn"
    holds, words = check(models["drgn"], seen)
    beside = [f"{label}: {check(m, seen)[1]}" for label, m in models.items() if ANCHORED in label]
    return holds, "; ".join([words, *beside])


@torch.no_grad()
def pairs_made(model: TwoStep, seen: Samples) -> Answer:
    """Claim 4.02: a made picture is nearer in brightness to a dark one than to its normal one."""
    made = model.degrade(seen.reference, seen.low)["low_ref"].clamp(0, 1).mean().item()
    normal, dark = seen.reference.mean().item(), seen.low.mean().item()
    words = f"mean of I_ref {normal:.3f}, of I_L,ref {made:.3f}, of real dark pictures {dark:.3f}"
    return abs(made - dark) < abs(made - normal), words


def pairs_without_limit(model: TwoStep, seen: Samples) -> Answer:
    """Claim 4.08: one picture with the degradations of several looks different each time."""
    one = seen.reference[:1].expand_as(seen.low)
    made = 255 * model.darken(one, seen.low).flatten(1)  # (B, 3·H·W)
    apart = torch.cdist(made, made, p=1) / made.shape[1]
    least = apart[~torch.eye(len(made), dtype=torch.bool)].min().item()
    words = f"{len(made)} pairs of one picture: the nearest two are {least:.2f} of 255 levels apart"
    return least > APART, words + f" (limit {APART:g})"


def degradation_controlled(model: TwoStep, seen: Samples) -> Answer:
    """Claim 4.11: the stronger, the darker, by more than 0.01 of the range a step."""
    means = [model.darken(seen.reference, seen.low, s).mean().item() for s in STRENGTHS]
    falls = [a - b for a, b in pairwise(means)]
    steps = zip(STRENGTHS, means, strict=True)
    words = ", ".join(f"{mean:.3f} at strength {strength:g}" for strength, mean in steps)
    return min(falls) > 0.01, f"mean brightness {words}"


@torch.no_grad()
def degradations_alike(model: TwoStep, seen: Samples) -> Answer:
    """Claim 4.12: histograms of I_L and I_L,ref, and of I_D and I_D,ref, share half or more."""
    made = model.degrade(seen.reference, seen.low)
    pictures = _shared(seen.low, made["low_ref"])
    degradations = _shared((made["degradation"] + 1) / 2, (made["degradation_ref"] + 1) / 2)
    words = f"shared part of the histograms: pictures {pictures:.0%}, degradations"
    return min(pictures, degradations) >= HALF, f"{words} {degradations:.0%} (limit {HALF:.0%})"


def _shared(images: Tensor, others: Tensor) -> float:
    """Part that the luma histograms of two batches of images share, mean over the images."""
    pairs = zip(images, others, strict=True)
    parts = [torch.minimum(colour_share(a, luma=True), colour_share(b, luma=True)).sum()
             for a, b in pairs]  # fmt: skip
    return torch.stack(parts).mean().item()


def kl_accelerates(recipe: DrgnRecipe, settings: DrgnSettings) -> Answer:
    """Claim 4.18: over the first half of the second training, the content loss is lower."""
    means = {}
    for label in ("drgn", "drgn+w/o KL"):
        if label not in settings.models:
            return None, f"needs the row {label}"
        model, _, variant = label.partition("+")
        log = Run(recipe.key(settings, model, variant, settings.seeds[0])).read_log()
        half = log[: max(1, len(log) // 2)]
        means[label] = summarise(row["charbonnier"] for row in half).mean
    words = ", ".join(f"{label} {mean:.4f}" for label, mean in means.items())
    return means["drgn"] < means["drgn+w/o KL"], f"mean content loss, first half: {words}"


def levelled(
    recipe: DrgnRecipe, settings: DrgnSettings
) -> dict[str, tuple[tuple[float, float], float]]:
    """Row → mean brightness after it of slightly and of severely darkened pictures, and the
    normal one; "identity": before."""
    target = samples(recipe, settings).target
    normal = target.mean().item()
    dark = [
        torch.stack([torch.from_numpy(darken(np.asarray(x), Darkening(e))) for x in target])
        for e in EXPOSURES
    ]
    found = {}
    for key in shown_keys(recipe, settings):
        if key.model not in recipe.external_folders(settings):
            model = recipe.load(key, settings, "cpu")
            found[key.method] = tuple(model.enhance(x).mean().item() for x in dark), normal
    return found


def _levels(levels: Mapping, rows: Iterable[str], alike: bool) -> Answer:
    """Claims 4.31 and 4.32: whether rows bring slight and severe darkness nearer to each other.

    alike: the claim is that none does; otherwise that all do.
    """
    present = [row for row in rows if row in levels]
    if not present or "identity" not in levels:
        return None, f"needs the rows identity and {' or '.join(rows)}"
    (slight, severe), normal = levels["identity"]
    before, nearer = slight - severe, []
    words = [f"before {slight:.3f} and {severe:.3f}"]
    for row in present:
        (slight, severe), _ = levels[row]
        nearer.append(abs(slight - severe) < before)
        words.append(f"{row} {slight:.3f} and {severe:.3f}")
    evidence = f"mean brightness, slightly and severely dark, of normally {normal:.3f}: "
    return (not any(nearer) if alike else all(nearer)), evidence + "; ".join(words)


def luma_histogram_near(recipe: DrgnRecipe, settings: DrgnSettings) -> Answer:
    """Claim 4.33: shared part with the truth's histogram of Y, over four pictures as in Fig. 6."""
    found = examples(recipe, settings, shown_keys(recipe, settings), count=4)
    shares: dict[str, list[float]] = {}
    for one in found:
        truth = colour_share(one.target, luma=True)
        for label, share in colour_shares(one, luma=True).items():
            shares.setdefault(label, []).append(torch.minimum(share, truth).sum().item())
    means = {label: summarise(values).mean for label, values in shares.items()}
    if "drgn" not in means:
        return None, "needs the row drgn"
    others = [mean for label, mean in means.items() if "drgn" not in label]
    words = ", ".join(f"{label} {mean:.0%}" for label, mean in means.items())
    return means["drgn"] >= max([HALF, *others]), f"shared with the truth's histogram: {words}"
