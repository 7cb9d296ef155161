"""Paper 4's learned degradation in the report: whether it collapsed, and what it looks like."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llie_core.data.transforms import crop
from llie_core.losses.degradation import COLLAPSED_BELOW, degradation_monitor
from llie_core.models.drgn import TwoStep
from llie_core.recipes.drgn import DrgnRecipe, DrgnSettings
from llie_core.recipes.further import spread
from llie_core.recipes.paired_report import shown_keys
from llie_core.reporting.figures import Panel
from llie_core.reporting.tables import Table
from llie_core.runs import Run

SIDE = 96  # of the parts of test pictures on which degradations are looked at
STRENGTHS = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Samples:
    """Parts of test pictures, (B, 3, side, side) each: I_L, its ground truth I, and I_ref, the
    ground truth of another one, so that I_ref and I_L show different scenes."""

    low: Tensor
    target: Tensor
    reference: Tensor


def samples(recipe: DrgnRecipe, settings: DrgnSettings, count: int = 8) -> Samples:
    """`count` pictures, evenly over the test set, cut about their centres."""
    data, _ = recipe.test_data(settings)
    items = [data[index] for index in spread(len(data), count)]
    side = min([SIDE, *(n // 4 * 4 for item in items for n in item["image"].shape[1:])])
    parts = [crop(item, *_corner(item["image"], side), (side, side)) for item in items]
    low, target = (torch.stack([part[key] for part in parts]) for key in ("image", "target"))
    return Samples(low, target, target.roll(max(1, len(target) // 2), dims=0))


def _corner(image: Tensor, side: int) -> tuple[int, int]:
    return (image.shape[2] - side) // 2, (image.shape[1] - side) // 2


def learned(recipe: DrgnRecipe, settings: DrgnSettings) -> dict[str, TwoStep]:
    """Row → its trained network, of the rows of the first seed that learn a degradation."""
    keys = [key for key in shown_keys(recipe, settings) if recipe.is_trained(key)]
    models = {key.method: recipe.load(key, settings, "cpu") for key in keys}
    return {label: model for label, model in models.items() if model.g_de is not None}


def degradation_table(recipe: DrgnRecipe, settings: DrgnSettings) -> Table:
    """The collapse monitor: what each first training makes of dark test pictures."""
    seen = samples(recipe, settings)
    rows = []
    for label, model in learned(recipe, settings).items():
        with torch.no_grad():
            degradation = model.g_de(seen.low)
        monitor = degradation_monitor(degradation)
        log = first_log(recipe, settings, label)
        rows.append([
            label, str(len(log)), f"{log[-1]['kl']:.2e}", f"{monitor['degradation_std']:.4f}",
            f"{monitor['degradation_range']:.4f}", f"{degradation.mean():+.4f}",
            f"{(seen.low - seen.target).mean():+.4f}",
            "collapsed" if monitor["collapsed"] else "depends on the picture",
        ])  # fmt: skip
    header = ["row", "steps of DeG", "KL at the end", "std of I_D", "range of I_D", "mean of I_D",
              "mean of I_L − I", "I_D"]  # fmt: skip
    note = (
        f"Over {len(seen.low)} parts of test pictures. Collapsed: the standard deviation of I_D "
        f"within a picture, mean over pictures, is below {COLLAPSED_BELOW}. Eq. (7) never sees "
        "the normal-light picture, so a constant I_D nearly minimises it; the anchored rows, ours, "
        "also have |I_L − I_D − I|."
    )
    return Table("Does the learned degradation collapse?", header, rows, note)


def first_log(recipe: DrgnRecipe, settings: DrgnSettings, label: str) -> list[dict[str, float]]:
    """The log of a row's first training, of the first seed."""
    model, _, variant = label.partition("+")
    key = recipe.degradation_key(recipe.key(settings, model, variant, settings.seeds[0]))
    return Run(key).read_log()


def first_logs(recipe: DrgnRecipe, settings: DrgnSettings) -> dict[str, list[dict[str, float]]]:
    """Row → log of its first training, for `figures.training_curves`."""
    labels = [row for row in recipe.trained_rows if row in settings.models]
    return {x: first_log(recipe, settings, x) for x in labels if "w/o DL-DA" not in x}


def degradation_panels(recipe: DrgnRecipe, settings: DrgnSettings) -> list[list[Panel]]:
    """A line a row: I_L, −I_D, I_B, and I_ref with the same degradation put on it."""
    seen = samples(recipe, settings, 4)
    lines = []
    for label, model in learned(recipe, settings).items():
        with torch.no_grad():
            made = model.degrade(seen.reference, seen.low)
        base = seen.low - made["degradation"]
        lines.append([
            Panel(f"{label}: I_L", seen.low[-1]),
            Panel("taken off: −I_D", -made["degradation"][-1]),
            Panel("left: I_B = I_L − I_D", base[-1]),
            Panel("I", seen.target[-1]),
            Panel("I_ref", seen.reference[-1]),
            Panel("made: I_L,ref = I_ref + I_D", made["low_ref"][-1]),
        ])  # fmt: skip
    return lines


def strength_panels(recipe: DrgnRecipe, settings: DrgnSettings) -> list[list[Panel]]:
    """A line a row: one normal-light picture with the degradation of a dark one at several
    strengths, and its mean."""
    seen = samples(recipe, settings, 4)
    lines = []
    for label, model in learned(recipe, settings).items():
        images = [
            model.darken(seen.reference[-1:], seen.low[-1:], strength)[0] for strength in STRENGTHS
        ]
        labels = [f"strength {strength:g}: {image.mean():.3f}"
                  for strength, image in zip(STRENGTHS, images, strict=True)]  # fmt: skip
        lines.append([Panel(x, image) for x, image in zip(labels, images, strict=True)])
        lines[-1].append(Panel(f"{label}: real I_L", seen.low[-1]))
    return lines
