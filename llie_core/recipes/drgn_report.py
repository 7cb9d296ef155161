"""What the report of paper 4 shows besides what papers 3 to 5 share (paired_report.py): its tables,
whether the learned degradation collapsed and what it looks like, detections (Fig. 7), audit, the
measured claims and the verdicts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from llie_core.data.darkening import Darkening, darken
from llie_core.data.transforms import crop
from llie_core.losses.degradation import COLLAPSED_BELOW, degradation_monitor
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.drgn import VARIANTS, TwoStep
from llie_core.published import table as published_table
from llie_core.recipes.drgn import (
    ANCHORED,
    PAIRS,
    REAL_NAME,
    DrgnRecipe,
    DrgnSettings,
)
from llie_core.recipes.drgn_detection import (
    MEASURES,
    STANDS_FOR,
    DetectionSet,
    detection_sets,
)
from llie_core.recipes.paired import lacking_weights, spread
from llie_core.recipes.paired_report import colour_share, colour_shares, examples, shown_keys
from llie_core.reporting.claims import Claim, Context, Verdict, judge
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table, conditions, published_beside_measured
from llie_core.runs import Run

COST_SIZE = (384, 384)  # at which the paper states its cost
QUALITY = ("psnr", "ssim", "fsim")  # of Tables 1 and 2
SIDE = 96  # of the parts of test pictures on which degradations are looked at
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
EXPOSURES = (0.10, 0.02)  # slight and severe darkness, gains in linear light
HALF = 0.5  # least shared part of two histograms that are called alike
APART = 5.0  # least difference of pairs that are called different, of 255 levels
LEAST_MAP50 = 0.05  # of some row; below it, a detector tells rows apart by chance only
NAMES = {"test148": "Test148", "lol1000": "LOL1000", "voc144": "VOC144"}
ASK = 'ask for them by the setting models: [drgn, "drgn+w/o KL", …]'


@dataclass(frozen=True)
class Scores:
    """All scores of a report: on the pairs trained on, on further sets, of detection."""

    main: list[Score]
    further: list[Score]
    detection: list[Score]


def run(recipe: DrgnRecipe, settings: DrgnSettings) -> Scores:
    """Train what is to be trained, and score every row on every set that there is."""
    main = recipe.reproduce(settings)
    return Scores(main, recipe.further_scores(settings), recipe.detection_scores(settings))


# Tables ----------------------------------------------------------------------------------------


def table_1(scores: Scores) -> Table:
    """Table 1, the ablation: on LOL1000 where it is at hand, else on the report's own pairs."""
    here = select(scores.further, dataset="lol1000") or scores.main
    return published_beside_measured("drgn", "1", here, "Table 1: ablation", decimals=3)


def table_2(scores: Scores) -> Table:
    """Table 2's quality, a row a method: PSNR / SSIM / FSIM on each set, as printed and here."""
    cells = [c for c in published_table("drgn", "2") if c.metric in QUALITY]
    printed: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        printed.setdefault((cell.method, cell.dataset), {})[cell.metric] = cell.printed
    sets = list(dict.fromkeys(cell.dataset for cell in cells))
    here = {scores.main[0].dataset: scores.main}
    here |= {name: found for name in PAIRS if (found := select(scores.further, dataset=name))}
    methods = [c.method for c in cells] + [s.label for s in scores.main]
    rows = [
        [
            method,
            *(_joined(printed.get((method, name), {})) for name in sets),
            *(_joined(_measured(select(found, label=method))) for found in here.values()),
        ]
        for method in dict.fromkeys(methods)
    ]
    titles = [f"{NAMES.get(name, 'average')}, published" for name in sets]
    header = ["PSNR / SSIM / FSIM", *titles, *[f"{name}, here" for name in here]]
    used = [s for found in here.values() for s in found if s.metric in QUALITY]
    note = f"Published: drgn trained on LOL. Here: {conditions(used)}"
    return Table("Table 2: quality", header, rows, note)


def cost_table(settings: DrgnSettings, scores: list[Score]) -> Table:
    """Table 2's cost, a row a method: parameters, work at 384×384, time."""
    cells = {(c.method, c.metric): c for c in published_table("drgn", "2")}
    counted = {name: create_enhancer(name) for name in ("drgn", "lw_drgn")}
    rows = []
    for method in dict.fromkeys([*(m for m, _ in cells), *(s.label for s in scores)]):
        printed = [
            cells[method, metric].printed if (method, metric) in cells else "–"
            for metric in ("parameters", "flops", "latency")
        ]
        model = counted.get(method.partition("+")[0]) if "w/o" not in method else None
        work = f"{count_macs(model, COST_SIZE).macs / 1e9:.2f}" if model else "–"
        size, time = (select(scores, label=method, metric=m) for m in ("parameters", "latency"))
        rows.append([
            method,
            printed[0], f"{size[0].value / 1e6:.3f}" if size else "not run",
            printed[1], work if size else "not run",
            printed[2], f"{time[0].value / 1e3:.3f}" if time else "not run",
        ])  # fmt: skip
    header = ["", "parameters, M, published", "here", "GFlops, published", "GMAC, here",
              "time, s, published", "here"]  # fmt: skip
    height, width = settings.cost_size
    device = next((s.device for s in select(scores, metric="latency")), "no device")
    note = (
        "The published GFlops of DRGN are multiply-adds: its layers have that many. Published "
        "time: 384×384, device not stated (it was trained on a Titan Xp). Here: "
        f"{width}×{height}, one picture, float32, {device}."
    )
    return Table("Table 2: cost", header, rows, note)


def table_3(scores: Scores) -> Table:
    """Table 3, real photographs: DICM and MEF, of which Real63 has 63 pictures, not listed."""
    pooled = select(scores.further, dataset=REAL_NAME)
    table = published_beside_measured(
        "drgn", "3", pooled, "Table 3: real photographs", decimals=3, flip=True
    )
    studied = [i for i, title in enumerate(table.header) if title.startswith(("CN", "CD"))]
    asked = {i for i in studied if table.header[i].endswith("here")}
    rows = [
        ["cannot be re-run" if i in asked else cell for i, cell in enumerate(row)]
        for row in table.rows
    ]
    note = (
        "Real63 is not listed; here it is all of DICM and MEF that is given. CN and CD are scores "
        f"by 30 persons. {table.note}"
    )
    return replace(table, rows=rows, note=note)


def table_4(recipe: DrgnRecipe, settings: DrgnSettings, scores: Scores) -> list[Table]:
    """Tables 4(a) and 4(b), once for each set that is theirs or stands in for it."""
    tables = []
    for part, wanted in (("4a", "coco1000"), ("4b", "exdark")):
        for one in detection_sets(settings)[0]:
            if STANDS_FOR[one.name] != wanted:
                continue
            found = select(scores.detection, dataset=one.name)
            caption = f"Table {part}: {wanted} as published, {one.name} here"
            table = published_beside_measured("drgn", part, found, caption, decimals=2, flip=True)
            header = [title.rpartition(" / ")[2] for title in table.header]
            tables.append(replace(table, header=header))
    return tables


def detection_tables(scores: Scores) -> list[Table]:
    """Every row on each detection set: mAP in both readings, precision, matched IoU, quality."""
    metrics = (*MEASURES, "psnr", "ssim", "niqe", "sseq")
    tables = []
    for name in dict.fromkeys(score.dataset for score in scores.detection):
        found = select(scores.detection, dataset=name)
        shown = [metric for metric in metrics if select(found, metric=metric)]
        rows = [
            [label, *(_cell(select(found, label=label, metric=metric)) for metric in shown)]
            for label in dict.fromkeys(score.label for score in found)
        ]
        note = (
            f"Measured: {conditions(found)} map is COCO's (IoU .50 to .95), map_50 at IoU 0.5; "
            "original: the scene by day."
        )
        tables.append(Table(f"Detection on {name}", ["", *shown], rows, note))
    return tables


def lacking_table(recipe: DrgnRecipe, settings: DrgnSettings) -> Table:
    """What of the paper was not run here, and why."""
    rows = [[name, why] for name, why in recipe.further_sets(settings)[1].items()]
    rows += [[p, why] for p in recipe.no_reference_protocols if (why := lacking_weights(p))]
    rows += [[name, why] for name, why in detection_sets(settings)[1].items()]
    absent = [row for row in recipe.trained_rows if row not in settings.models]
    rows += [[", ".join(absent), ASK]] if absent else []
    rows += [
        ["LIME to EnlightenGAN", "other programs: their pictures go into the folder `external`"],
        ["Real63", "63 pictures of DICM and MEF, not listed; all that is given of both stands in"],
        ["NightSurveillance", "named in the text; the paper prints no table of it"],
        ["CN and CD of Table 3", "a study with 30 persons cannot be re-run"],
    ]
    return Table("Not run, and why", ["what", "why"], rows)


def audit() -> Table:
    """Parameters and GMAC at 384×384 of the networks, against the published ones."""
    rows = []
    for label, name, options, published in (
        ("drgn", "drgn", {}, ("4.773", "110.59")),
        ("lw_drgn", "lw_drgn", {}, ("0.660", "18.15")),
        *((f"drgn+{v}", "drgn", {"variant": v}, ("not published",) * 2) for v in VARIANTS[1:3]),
    ):
        model = create_enhancer(name, **options)
        macs = count_macs(model, COST_SIZE).macs / 1e9
        rows.append([label, published[0], f"{count_parameters(model) / 1e6:.3f}", published[1],
                     f"{macs:.2f}"])  # fmt: skip
    header = ["network", "parameters, M, published", "here", "GFlops, published", "GMAC here"]
    note = (
        "One multiply-add counts 1, as in the published figures. Widths are not printed; ours meet "
        "both figures within 0.2 %. Uniform 64 channels, another reading, would be 225.8 GMAC. The "
        "text's 8.37 % of KinD's parameters for LW-DRGN is 8.23 % by its own table."
    )
    return Table("Audit at 384×384", header, rows, note)


def _joined(values: Mapping[str, str]) -> str:
    return " / ".join(values.get(metric, "–") for metric in QUALITY) if values else "–"


def _measured(scores: list[Score]) -> dict[str, str]:
    """Metric → mean over seeds as text, of the metrics of Table 2 that were measured."""
    places = {"psnr": 2, "ssim": 3, "fsim": 3}
    found = {metric: select(scores, metric=metric, subset="all") for metric in QUALITY}
    return {m: f"{summarise(s.value for s in of):.{places[m]}f}" for m, of in found.items() if of}


def _cell(scores: list[Score]) -> str:
    if not scores:
        return "–"
    places = 2 if scores[0].unit in ("dB", "index") else 3
    return f"{summarise(score.value for score in scores):.{places}f}"


# The learned degradation -----------------------------------------------------------------------


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


# Pictures --------------------------------------------------------------------------------------


def scenes(recipe: DrgnRecipe, settings: DrgnSettings) -> dict[str, list]:
    """Figs. 1, 4 and 5: data set → examples of it; the own test pairs, then further sets."""
    keys = shown_keys(recipe, settings)
    found = {settings.dataset: examples(recipe, settings, keys, count=3)}
    for name, data in recipe.further_sets(settings)[0].items():
        found[name] = examples(recipe, settings, keys, 1, name, data)
    return found


def detections(recipe: DrgnRecipe, settings: DrgnSettings) -> list[list[Panel]]:
    """Fig. 7: one picture of each detection set as each row gives it, with the strongest of what is
    found in it: as many boxes as it has objects."""
    lines = []
    for one in detection_sets(settings)[0]:
        if not one.detector:
            continue
        detector, _ = recipe.detector(settings, one.detector)
        item = one.data[_busiest(one)]
        boxes = item["boxes"][~item["ignore"]]
        count = len(boxes)
        panels = [Panel(f"{one.name}: truth", item["image"], boxes, torch.ones(count))]
        for key in shown_keys(recipe, settings):
            if key.model not in recipe.external_folders(settings):
                image = recipe.load(key, settings, "cpu").enhance(item["image"][None])
                panels.append(_found(key.method, image, detector, count))
        if one.paired:
            panels.append(_found("original", item["target"][None], detector, count))
        lines += [panels[start : start + 4] for start in range(0, len(panels), 4)]
    return lines


def _busiest(one: DetectionSet, among: int = 8) -> int:
    """The one of the first pictures with most objects."""
    counts = [int((~one.data[i]["ignore"]).sum()) for i in range(min(among, len(one.data)))]
    return counts.index(max(counts))


def _found(label: str, image: Tensor, detector, count: int) -> Panel:
    found = detector.predict(image)[0]  # by falling score
    return Panel(label, image[0], found["boxes"][:count], found["scores"][:count])


def luma_shares(recipe: DrgnRecipe, settings: DrgnSettings) -> tuple[dict[str, Tensor], Tensor]:
    """Fig. 6: histogram of Y by row and that of the ground truth, for `figures.histograms`."""
    example = examples(recipe, settings, shown_keys(recipe, settings), count=2)[-1]
    return colour_shares(example, luma=True), colour_share(example.target, luma=True)


# Measured claims -------------------------------------------------------------------------------

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


# Verdicts --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Scores that judge claims: which of the paper's sets they are of or stand for, and what a
    verdict has to name."""

    covers: frozenset[str]
    scores: list[Score]
    context: Context


def verdicts(recipe: DrgnRecipe, settings: DrgnSettings, scores: Scores) -> list[Verdict]:
    """The verdict on every claim, by each set of scores that is of its sets or stands for them."""
    measured = measurements(recipe, settings)
    sources = _sources(recipe, settings, scores)
    judged = [judge("drgn", s.scores, s.context, measured) for s in sources]
    merged: dict[str, Verdict] = {}
    for position, first in enumerate(judged[0]):
        claim = first.claim
        wanted = claim_sets(claim)
        found = [of[position] for s, of in zip(sources, judged, strict=True) if wanted & s.covers]
        if claim.restates:
            merged[claim.id] = replace(first, verdict=merged[claim.restates].verdict)
        else:
            merged[claim.id] = _merged(first, found) if wanted else first
    return list(merged.values())


def claim_sets(claim: Claim) -> set[str]:
    """The paper's data sets that a claim's check names; a mean over sets names each of them."""
    named = [check.get("dataset", []) for check in claim.checks]
    each = [name for one in named for name in ([one] if isinstance(one, str) else one)]
    return {part for name in each for part in name.split("+")}


def _merged(first: Verdict, found: list[Verdict]) -> Verdict:
    """What the sources found, or why nothing was."""
    if first.verdict.startswith(("contradicted", "cannot")):
        return first
    if not found:
        sets = sorted(claim_sets(first.claim))
        why = f"no copy of {', '.join(sets)} was given"
        if sets == ["real63"]:
            why = "its pictures are not listed, and DICM and MEF were not given and scored"
        if set(sets) <= set(STANDS_FOR.values()):
            why += "; in its stand-in the detector finds too little"
        return replace(first, verdict=f"not run ({why})", evidence="")
    decided = [v for v in found if not v.verdict.startswith("not run")] or found[:1]
    words, evidence = (
        "; ".join(dict.fromkeys(filter(None, (getattr(v, name) for v in decided))))
        for name in ("verdict", "evidence")
    )
    return replace(first, verdict=words, evidence=evidence)


def _sources(recipe: DrgnRecipe, settings: DrgnSettings, scores: Scores) -> list[Source]:
    own = [name for name in PAIRS if select(scores.further, dataset=name)]
    # Claims of time are of 384×384.
    timed = tuple(settings.cost_size) == COST_SIZE
    main = [score for score in scores.main if timed or score.metric != "latency"]
    # The pairs of the report's own stand for all sets of quality of which there is no copy.
    sources = [Source(frozenset(PAIRS) - {*own}, main, recipe.context(settings))]
    published = settings.profile == "paper" and settings.dataset == "lol"
    for name in own:
        context = Context(name, settings.profile, len(settings.seeds), published)
        sources.append(Source(frozenset({name}), select(scores.further, dataset=name), context))
    apart = [(REAL_NAME, "real63", scores.further)]
    apart += [(name, wanted, scores.detection) for name, wanted in STANDS_FOR.items()]
    for name, wanted, of in apart:
        found = select(of, dataset=name)
        # Real63 is not listed, COCO1000 not published, and which part of ExDark it was not said.
        context = Context(name, settings.profile, len(settings.seeds), papers_own=False)
        if found and _tells_apart(found):
            sources.append(Source(frozenset({wanted}), found, context))
    return sources


def _tells_apart(scores: list[Score]) -> bool:
    """Whether a detector finds enough in some row for its numbers to mean something."""
    maps = select(scores, metric="map_50")
    return not maps or max(s.value for s in maps if s.label != "original") >= LEAST_MAP50


def provenance(recipe: DrgnRecipe, settings: DrgnSettings) -> Table:
    """Where the numbers come from: the rows' trainings, and those that they build on."""
    table = recipe.provenance(settings)
    first = [recipe.degradation_key(k) for k in recipe.rows(settings) if recipe.is_trained(k)]
    keys = [key for key in dict.fromkeys(first) if key] + [recipe.detector_key(settings)]
    rows = []
    for key in keys:
        stamp = Run(key).read_stamp()
        if stamp:
            steps = f"{stamp['steps_done']} of {stamp['steps_planned']}"
            versions = f"torch {stamp['torch']}, {stamp['commit']}"
            rows.append([f"{key.method}, seed {key.seed}", steps, f"{stamp['seconds']:.0f} s",
                         stamp["device"], versions, stamp["train_hash"]])  # fmt: skip
    return replace(table, rows=[*table.rows, *rows])
