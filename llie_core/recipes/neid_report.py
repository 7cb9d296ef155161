"""What the report of paper 5 shows besides what papers 3 to 5 share (paired_report.py): Fig. 1, the
audit, the cost against a full-resolution U-net, and its measured claims."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.neid import VARIANTS, halve
from llie_core.recipes.neid import SEQUENCE, UNET, NeidRecipe, NeidSettings
from llie_core.recipes.paired_report import (
    TRUTH,
    Cost,
    Example,
    comparison,
    cost_table,
    costs,
    detailed_region,
    details,
    examples,
    gradient,
    shown_keys,
)
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table
from llie_core.runs import RunKey
from llie_core.training import default_device

FOUR_K = (2160, 3840)
FULL, LE_ALONE, AT_USE = "U-net at full size", "LE alone", "NEID at use"
DETAIL_ROWS = ("gamma", "clahe", "lime", "npe", "neid")  # of Fig. 9, besides other programs'
FIGURES = {"lime": "6", "npe": "7", "dicm": "8"}
CAPTIONS = {"1": "quantitative evaluation on LOL", "2": "ablation, PSNR in dB"}

# Figures ---------------------------------------------------------------------------------------


def teaser(example: Example) -> list[Panel]:
    """Fig. 1: what is sent, what NEID makes of it, and the part with most detail of each."""
    output, region = example.outputs["neid"], detailed_region(example)
    x0, y0, x1, y1 = region
    marked = torch.tensor([region])
    panels = [
        Panel("(b) low light, half the size", halve(example.dark[None])[0]),
        Panel("(a) NEID", output, regions=marked),
        Panel("(c) detail of (a)", output[:, y0:y1, x0:x1]),
    ]
    if example.target is not None:
        panels.append(Panel("the same detail, " + TRUTH, example.target[:, y0:y1, x0:x1]))
    return panels


def detail_lines(recipe: NeidRecipe, settings: NeidSettings, count: int) -> list[list[Panel]]:
    """Fig. 9: the part with most detail of some test pictures, enlarged, by row."""
    rows = (*DETAIL_ROWS, f"neid+{UNET}", *recipe.external_folders(settings))
    keys = shown_keys(recipe, settings, rows)
    return [details(one) for one in examples(recipe, settings, keys, count)]


def no_reference_lines(
    recipe: NeidRecipe, settings: NeidSettings, count: int = 1
) -> dict[str, list[list[Panel]]]:
    """Figs. 6 to 8: title → `count` pictures of each set there is, with an enlarged part."""
    lines = {}
    for name, data in recipe.no_reference_data(settings)[0].items():
        found = examples(recipe, settings, shown_keys(recipe, settings), count, name, data)
        title = f"Fig. {FIGURES[name]}: pictures of {name.upper()}, and a part of each enlarged"
        lines[title] = [line for one in found for line in comparison(one)]
    return lines


# Audit and cost --------------------------------------------------------------------------------


def audit() -> Table:
    """Parameters in training and at use, and the work of the rows of Table 2."""
    rows = []
    for variant in reversed(VARIANTS):
        model = create_enhancer("neid", variant=variant)
        at_use = model.deploy()
        rows.append([variant or "LE + DR + FF", f"{count_parameters(model):,}",
                     f"{count_parameters(at_use):,}", "256×256" if variant == UNET else "128×128",
                     f"{count_macs(at_use, (256, 256)).macs / 1e9:.3f}"])  # fmt: skip
    header = ["row of Table 2", "parameters in training", "at use", "input", "GMAC for 256×256"]
    note = (
        "The paper publishes neither layers nor sizes: these are of our reading. One multiply-add "
        "counts 1. At use the decoder and the head of DR are dropped; FF still needs its 1×1 layer."
    )
    return Table("Audit", header, rows, note)


def cost_against_unet(settings: NeidSettings) -> Table:
    """The paper's point: half the pixels against a U-net that works on all of them."""
    untimed = "not run (set time_4k)"
    caption = "Cost against a full-resolution U-net"
    return cost_table(_costs(settings), FULL, untimed, default_device(), caption)


def _costs(settings: NeidSettings) -> list[Cost]:
    device, small = default_device(), tuple(settings.cost_size)
    timed = (small, FOUR_K) if device != "cpu" or settings.time_4k else (small,)
    return _measured_costs(small, timed, device)


# Measured once, so that the table and the claims show the same times.
@lru_cache(maxsize=2)
def _measured_costs(small, timed, device: str) -> list[Cost]:
    networks = {
        FULL: create_enhancer("neid", variant=UNET),
        LE_ALONE: create_enhancer("neid", variant="LE"),
        AT_USE: create_enhancer("neid").deploy(),
    }
    return costs(networks, (small, FOUR_K), device, timed)


def _two(settings: NeidSettings, size: tuple[int, ...]) -> tuple[Cost, Cost]:
    """Costs of the U-net and of NEID at one size."""
    found = {cost.label: cost for cost in _costs(settings) if cost.size == tuple(size)}
    return found[FULL], found[AT_USE]


# Measured claims -------------------------------------------------------------------------------


def measurements(
    recipe: NeidRecipe, settings: NeidSettings, scores: Sequence[Score]
) -> dict[str, tuple[bool | None, str]]:
    """Properties that claims state, measured: name → (holds, evidence) or (None, why not)."""
    return {
        "details_at_little_cost": details_at_little_cost(recipe, settings),
        "detail_branch_free": detail_branch_free(recipe, settings),
        "half_size_cheaper": half_size_cheaper(settings, scores),
        "joint_beats_sequence": joint_beats_sequence(scores),
        "no_extra_memory": no_extra_memory(settings, scores),
        "brightness_even": brightness_even(recipe, settings),
    }


def details_at_little_cost(recipe, settings) -> tuple[bool | None, str]:
    """Claim 5.01: over LE alone, details (gradients) come closer to the truth for ≤ 5 % work."""
    alone, ours = (
        count_macs(create_enhancer("neid", variant=v).deploy(), (400, 600)).macs for v in ("LE", "")
    )
    words = f"{ours / alone - 1:+.1%} work over LE alone (limit 5 %)"
    found = _over_test_set(recipe, settings, ("neid", "neid+LE"), _gradient_error)
    if isinstance(found, str):
        return None, f"{found}; {words}"
    ours_error, alone_error = found
    evidence = f"mean error of gradients {ours_error:.4f} against {alone_error:.4f}; {words}"
    return bool(ours_error < alone_error and ours <= 1.05 * alone), evidence


def detail_branch_free(recipe, settings) -> tuple[bool | None, str]:
    """Claim 5.05: without DR's decoder and head the pictures are the same, bit for bit."""
    model = recipe.load(recipe.key(settings, "neid", seed=settings.seeds[0]), settings, "cpu")
    at_use, (one,) = model.deploy(), examples(recipe, settings, [], 1)
    same = torch.equal(model.enhance(one.dark[None]), at_use.enhance(one.dark[None]))
    dropped = count_parameters(model) - count_parameters(at_use)
    left = count_parameters(at_use.detail_layer)
    evidence = (
        f"{dropped / 1e6:.2f} M parameters dropped, pictures {'the same' if same else 'differ'}; "
        f"what is left of DR is the 1×1 layer that FF reads, {left / 1e6:.2f} M"
    )
    return same and dropped > 0, evidence


def half_size_cheaper(settings, scores: Sequence[Score]) -> tuple[bool | None, str]:
    """Claim 5.07: less work and time than the U-net at full size, and no lower PSNR."""
    full, ours = _two(settings, settings.cost_size)
    height, width = settings.cost_size
    faster = ours.milliseconds < full.milliseconds and ours.macs < full.macs
    words = (
        f"{ours.macs / full.macs:.2f} of the work and "
        f"{ours.milliseconds / full.milliseconds:.2f} of the time at {width}×{height}"
    )
    return _and_psnr(scores, UNET, faster, words)


def joint_beats_sequence(scores: Sequence[Score]) -> tuple[bool | None, str]:
    """Claim 5.09: PSNR above that of a U-net at half the size, then super-resolution."""
    return _and_psnr(scores, SEQUENCE, True, "")


def no_extra_memory(settings, scores: Sequence[Score]) -> tuple[bool | None, str]:
    """Claim 5.10: no more work and memory than the U-net at full size, and a higher PSNR."""
    full, ours = _two(settings, FOUR_K)
    within = ours.macs <= full.macs and ours.memory <= full.memory
    words = (
        f"{ours.macs / full.macs:.2f} of the work and "
        f"{ours.memory / full.memory:.2f} of the memory at 4K"
    )
    return _and_psnr(scores, UNET, within, words)


def brightness_even(recipe, settings) -> tuple[bool | None, str]:
    """Claim 5.12: the error of brightness varies less over the picture than the U-net's."""
    found = _over_test_set(recipe, settings, ("neid", f"neid+{UNET}"), _unevenness)
    if isinstance(found, str):
        return None, found
    ours, full = found
    evidence = (
        f"spread of the brightness error over 8×8 parts of a picture: {ours:.4f} against "
        f"{full:.4f} of the U-net at full size"
    )
    return bool(ours < full), evidence


def _and_psnr(
    scores: Sequence[Score], variant: str, holds: bool, words: str
) -> tuple[bool | None, str]:
    """Whether `holds`, and NEID's PSNR is not below another row's; None without that row."""
    rows = (select(scores, label=row, metric="psnr") for row in ("neid", f"neid+{variant}"))
    ours, other = (summarise(s.value for s in found) for found in rows)
    if not (ours.seeds and other.seeds):
        return None, "; ".join(filter(None, (_asked_for(f"neid+{variant}"), words)))
    quality = f"PSNR {ours:.2f} dB against {other:.2f} dB of {variant}"
    return holds and ours.mean >= other.mean, "; ".join(filter(None, (quality, words)))


def _asked_for(row: str) -> str:
    return f"needs the row {row}, a variant to ask for"


def _over_test_set(recipe, settings, rows: tuple[str, str], measure) -> list[float] | str:
    """`measure(output, target)`, the mean over the test pairs and seeds, of two rows."""
    means = []
    for row in rows:
        keys = [key for key in recipe.rows(settings) if key.method == row]
        if not keys:
            return _asked_for(row)
        values = [v for key in keys for v in _by_picture(recipe, settings, key, measure)]
        means.append(sum(values) / len(values))
    return means


def _by_picture(recipe, settings, key: RunKey, measure) -> list[float]:
    data, model = recipe.test_data(settings)[0], recipe.load(key, settings)
    device = next(model.parameters()).device
    values = []
    for index in range(len(data)):
        item = data[index]
        output = model.enhance(item["image"][None].to(device)).cpu()
        values.append(measure(output, item["target"][None]).item())
    return values


def _gradient_error(output: Tensor, target: Tensor) -> Tensor:
    return (gradient(output) - gradient(target)).abs().mean()


def _unevenness(output: Tensor, target: Tensor) -> Tensor:
    """Standard deviation of the mean error over 8×8 parts of a picture."""
    return F.adaptive_avg_pool2d((output - target).mean(dim=1, keepdim=True), 8).std()
