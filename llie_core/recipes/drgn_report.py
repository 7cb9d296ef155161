"""What the report of paper 4 shows besides what papers 3 to 5 share (paired_report.py): its tables,
pictures, audit and verdicts. What of it is a thing of its own lies in

    drgn_degradation.py       whether the learned degradation collapsed, and what it looks like
    drgn_claims.py            the measured claims
    drgn_detection_report.py  Table 4 and Fig. 7
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.drgn import VARIANTS
from llie_core.published import table as published_table
from llie_core.recipes.drgn import PAIRS, REAL_NAME, DrgnRecipe, DrgnSettings
from llie_core.recipes.drgn_claims import measurements
from llie_core.recipes.drgn_detection import STANDS_FOR, detection_sets
from llie_core.recipes.drgn_detection_report import tells_apart
from llie_core.recipes.paired_report import (
    Source,
    colour_share,
    colour_shares,
    examples,
    no_copy,
    shown_keys,
    verdicts_by,
)
from llie_core.recipes.paired_scores import lacking_weights
from llie_core.reporting.claims import Context, Verdict
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table, conditions, published_beside_measured
from llie_core.runs import Run

COST_SIZE = (384, 384)  # at which the paper states its cost
QUALITY = ("psnr", "ssim", "fsim")  # of Tables 1 and 2
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


# Pictures --------------------------------------------------------------------------------------


def scenes(recipe: DrgnRecipe, settings: DrgnSettings) -> dict[str, list]:
    """Figs. 1, 4 and 5: data set → examples of it; the own test pairs, then further sets."""
    keys = shown_keys(recipe, settings)
    found = {settings.dataset: examples(recipe, settings, keys, count=3)}
    for name, data in recipe.further_sets(settings)[0].items():
        found[name] = examples(recipe, settings, keys, 1, name, data)
    return found


def luma_shares(recipe: DrgnRecipe, settings: DrgnSettings) -> tuple[dict[str, Tensor], Tensor]:
    """Fig. 6: histogram of Y by row and that of the ground truth, for `figures.histograms`."""
    example = examples(recipe, settings, shown_keys(recipe, settings), count=2)[-1]
    return colour_shares(example, luma=True), colour_share(example.target, luma=True)


# Verdicts --------------------------------------------------------------------------------------


def verdicts(recipe: DrgnRecipe, settings: DrgnSettings, scores: Scores) -> list[Verdict]:
    """The verdict on every claim, by each set of scores that is of its sets or stands for them."""
    first, *others = _sources(recipe, settings, scores)
    sources = [replace(first, measured=measurements(recipe, settings)), *others]
    return verdicts_by("drgn", sources, _why_not)


def _why_not(sets: Sequence[str]) -> str:
    """Why none of the scores are of some sets of the paper."""
    if set(sets) == {"real63"}:
        return "its pictures are not listed, and DICM and MEF were not given and scored"
    blind = set(sets) <= set(STANDS_FOR.values())
    return no_copy(sets) + ("; in its stand-in the detector finds too little" if blind else "")


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
        if found and tells_apart(found):
            sources.append(Source(frozenset({wanted}), found, context))
    return sources


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
