"""What the report of paper 3 shows besides what papers 3 to 5 share (paired_report.py): its tables
set by set, ablations (Figs. 13, 14, 16), perceptual distances (15), failures (17), saliency (IX,
18), audit, verdicts. Its charts are in jcrnet_charts.py.
"""

import csv
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Subset

from llie_core.data import dataset_spec
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.metrics.quality import lpips_network
from llie_core.models import create_enhancer
from llie_core.models.jcrnet import ABLATIONS
from llie_core.published import PublishedValue
from llie_core.published import table as published_table
from llie_core.recipes.further import spread
from llie_core.recipes.jcrnet import PAIRS, UNPAIRED, VIDEO, JcrnetRecipe, JcrnetSettings
from llie_core.recipes.jcrnet_charts import METRICS
from llie_core.recipes.jcrnet_saliency import MEASURES, SALIENCY, SALIENCY_NET, saliency_sets
from llie_core.recipes.paired import QUICK_PROTOCOLS
from llie_core.recipes.paired_report import (
    Example,
    Source,
    examples,
    shown_keys,
    verdicts_by,
)
from llie_core.recipes.paired_scores import MAIN, lacking_weights
from llie_core.recognizers import create_recognizer
from llie_core.reporting.claims import Context, Verdict
from llie_core.reporting.figures import Map, Panel
from llie_core.reporting.scores import Score, select, summarise, write_scores
from llie_core.reporting.tables import Table, conditions, published_beside_measured, score_table
from llie_core.runs import Run
from llie_core.weights import find

COST_SIZE = (384, 384)  # at which the paper states its cost
# Of the first table of the report; GT-mean PSNR last.
COLUMNS = [(m, "all") for m in ("psnr", "ssim", "lpips", "niqe", "brisque", QUICK_PROTOCOLS[-1])]
FES_PARTS = ("jcrnet+w/o E-D", "jcrnet+w/o CAB", "jcrnet+w/o SSB")
STAGES = ("jcrnet+w/o FES", "jcrnet+w/o JRS", "jcrnet+w/o IAS")
# Set of the paper → what its columns hold where it cannot be had.
STAND_INS = {
    "lol": "built-in photographs, darkened",
    "toys": "the test pairs under a green cast",
    SALIENCY[2]: "drawn streets by night, read by a small network trained by day",
}
ASK = 'ask for ablations by the setting models: [jcrnet, "jcrnet+w/o JRS", …]'


@dataclass(frozen=True)
class Scores:
    """All scores of a report: on the pairs trained on, on further sets, of saliency."""

    main: list[Score]
    further: list[Score]
    saliency: list[Score]


def run(recipe: JcrnetRecipe, settings: JcrnetSettings) -> Scores:
    """Train what is to be trained, and score every row on every set that there is."""
    main = recipe.reproduce(settings)
    further, saliency = recipe.further_scores(settings), recipe.saliency_scores(settings)
    folder = recipe.rows(settings)[0].directory.parents[1]
    write_scores(folder / "scores-further.csv", further + saliency)
    return Scores(main, further, saliency)


# Tables ----------------------------------------------------------------------------------------


def paper_table(number: str, scores: Scores) -> list[Table]:
    """One of Tables I to VI, VIII and IX, published beside measured, a table a data set.

    Table I has a row a method here, as Table II has it in print.
    """
    cells, flip = published_table("jcrnet", number), number == "I"
    found = []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        pool = _pool(scores, dataset)
        whole = published_beside_measured(
            "jcrnet", number, pool, f"Table {number}, {dataset}", decimals=3, flip=flip
        )
        own = [cell for cell in cells if cell.dataset == dataset]
        found.append(replace(_part_of(whole, own, flip), note=_note(own, pool, dataset)))
    return found


def _pool(scores: Scores, dataset: str) -> list[Score]:
    """The scores on one of the paper's sets, or on what stands in for it."""
    everything = scores.main + scores.further + scores.saliency
    own = select(everything, dataset=dataset)
    if own or dataset not in STAND_INS:
        return own
    if dataset == "toys":
        return [score for score in scores.further if score.dataset.endswith("-cast")]
    pool = scores.saliency if dataset == SALIENCY[2] else scores.main
    return [score for score in pool if score.dataset.startswith("builtin-")]


def _part_of(whole: Table, cells: list[PublishedValue], flip: bool) -> Table:
    """The rows and columns of a table that hold some cells; the set's name is in the caption."""
    names = [(c.label, c.header)[::-1] if flip else (c.label, c.header) for c in cells]
    labels, headers = ({name[i] for name in names} for i in (0, 1))
    columns = [0, *(i for i, t in enumerate(whole.header) if t.rsplit(", ", 1)[0] in headers)]
    rows = [[row[i] for i in columns] for row in whole.rows if row[0] in labels]
    prefixes = {header.split(" / ")[0] for header in headers if " / " in header}
    titles = [whole.header[i] for i in columns]
    if len(prefixes) == 1:
        titles = [title.removeprefix(f"{next(iter(prefixes))} / ") for title in titles]
    return replace(whole, header=titles, rows=rows)


def _note(cells: list[PublishedValue], pool: list[Score], dataset: str) -> str:
    """What both halves of a table are of; notes on misprints, each once."""
    wanted = {(cell.metric, cell.subset) for cell in cells}
    used = [score for score in pool if (score.metric, score.subset) in wanted]
    remarks: dict[str, list[str]] = {}
    for cell in cells:
        if cell.status == "misprint" and cell.note:
            remarks.setdefault(cell.note, []).append(f"{cell.label}, {cell.header}")
    words = [f"Here: {conditions(used)}" if used else "Not run here."]
    if used and used[0].dataset != dataset:
        words.append(f"These stand in for {dataset}: {STAND_INS[dataset]}.")
    elif used and dataset == "lol":
        words.append("Published on 100 of LOL's 500 pairs, which the paper does not list.")
    return " ".join([*words, *(f"* {'; '.join(of)}: {note}" for note, of in remarks.items())])


def cost_table(settings: JcrnetSettings, scores: list[Score]) -> Table:
    """Table VII: parameters, work and speed; work is counted at the paper's 384×384."""
    model = create_enhancer("jcrnet")
    here = []
    for score in select(scores, label="jcrnet"):
        if score.metric == "parameters":
            here.append(score)
        if score.metric == "latency":
            about = {"metric": "fps", "unit": "frames/s", "value": 1000 / score.value}
            giga = count_macs(model, COST_SIZE).macs / 1e9
            work = {"metric": "flops", "unit": "G", "value": giga, "protocol": "cost-macs"}
            here += [replace(score, **about), replace(score, **work)]
    table = published_beside_measured("jcrnet", "VII", here, "Table VII", decimals=2, flip=True)
    height, width = settings.cost_size
    note = (
        "Published: GTX 3090, 100 pictures of 384×384; its FLOPs count a multiply-add once, and so "
        f"do ours, at 384×384. Frames a second here: pictures of {width}×{height}, one at a time, "
        f"float32, {here[0].device}."
    )
    return replace(table, note=note)


def saliency_tables(scores: Scores) -> list[Table]:
    """What was measured on each saliency set, and Table IX."""
    columns = [(metric, "all") for metric in (*MEASURES, "psnr")]
    sets = dict.fromkeys(score.dataset for score in scores.saliency)
    measured = [
        score_table(select(scores.saliency, dataset=name), columns, f"Saliency on {name}, dark")
        for name in sets
    ]
    return [*measured, *paper_table("IX", scores)]


def lacking_table(recipe: JcrnetRecipe, settings: JcrnetSettings) -> Table:
    """What of the paper was not run here, and why."""
    absent = {metric: lacking_weights(MAIN[metric]) for metric in METRICS}
    rows = [[metric, why] for metric, why in absent.items() if why]
    rows += [[name, why] for name, why in recipe.further_sets(settings)[1].items()]
    rows += [[name, why] for name, why in saliency_sets(settings)[1].items()]
    others = [row for row in recipe.trained_rows if row not in settings.models]
    rows += [[", ".join(others), ASK]] if others else []
    rows += [
        ["learned rivals", "other programs: their pictures go into the folder `external`"],
        ["OursMS", "the authors' MindSpore version is not published"],
        ["Fig. 12(c)", "a study with 20 persons cannot be re-run"],
    ]
    return Table("Not run, and why", ["what", "why"], rows)


def audit() -> Table:
    """Parameters and GMAC of the network, its printed forms and its ablations, at 384×384."""
    forms = [{"ablation": name} for name in ABLATIONS]
    forms += [{name: "paper"} for name in ("modulation", "retinex", "rgb")]
    rows = []
    for options in forms:
        model = create_enhancer("jcrnet", **options)
        ((name, value),) = options.items()
        label = f"as printed: {name}" if value == "paper" else value or "jcrnet"
        published = ("2.01", "219.74") if not value else ("not published",) * 2
        rows.append([label, published[0], f"{count_parameters(model) / 1e6:.3f}", published[1],
                     f"{count_macs(model, COST_SIZE).macs / 1e9:.1f}"])  # fmt: skip
    reader = create_recognizer(SALIENCY_NET)
    rows.append([f"{SALIENCY_NET} (Table IX)", "–", f"{count_parameters(reader) / 1e6:.3f}", "–",
                 "–"])  # fmt: skip
    header = ["network", "parameters, M, published", "here", "GMAC at 384×384, published", "here"]
    note = (
        "One multiply-add counts 1. Widths are not printed; ours are those of the released network "
        "where the text leaves them open. By default its released forms are used; the equations as "
        "printed are switches (settings modulation, retinex, rgb)."
    )
    return Table("Audit", header, rows, note)


# Pictures --------------------------------------------------------------------------------------


def further_examples(recipe: JcrnetRecipe, settings: JcrnetSettings, count: int = 1):
    """Figs. 5 to 10: data set → pictures of it as every row gives them, of the sets there are."""
    keys = shown_keys(recipe, settings)
    return {
        one.name: examples(recipe, settings, keys, count, one.name, one.data)
        for one in recipe.further_sets(settings)[0]
        if not one.rows and one.subset == "all"
    }


def ablation_examples(
    recipe: JcrnetRecipe, settings: JcrnetSettings, rows: tuple[str, ...], count: int = 2,
    cast: bool = False,
) -> list[Example]:  # fmt: skip
    """Pictures as the input, the ablations among `rows` that were run, and JCRNet show them.

    cast: the test pairs under a green cast.
    """
    keys = shown_keys(recipe, settings, ("identity", *rows, "jcrnet"))
    if not cast:
        return examples(recipe, settings, keys, count)
    (one,) = [s for s in recipe.further_sets(settings)[0] if s.name.endswith("-cast")]
    return examples(recipe, settings, keys, count, one.name, one.data)


def line(example: Example) -> list[Panel]:
    """The pictures of all rows and the ground truth, for `figures.pictures`."""
    return [Panel(label, image) for label, image in example.all().items()]


def side_by_side(lines: list[list], columns: int = 6) -> list[list]:
    """Short lines of pictures or maps, one after the other as far as `columns` go."""
    each = max(1, columns // len(lines[0]))
    return [
        [panel for line in lines[start : start + each] for panel in line]
        for start in range(0, len(lines), each)
    ]


def colour_table(plain: list[Example], cast: list[Example]) -> Table:
    """Mean colour and over-exposed share of the pictures of Figs. 13 and 14, by row."""
    rows = []
    for kind, found in (("test pairs", plain), ("green cast", cast)):
        for label in found[0].all():
            images = [one.all()[label] for one in found]
            means = torch.stack([image.mean((1, 2)) for image in images]).mean(0)
            burnt = sum((image > 0.98).float().mean().item() for image in images) / len(images)
            rows.append([kind, label, *(f"{value:.3f}" for value in means), f"{burnt:.1%}"])
    header = ["pictures", "row", "red", "green", "blue", "values above 0.98"]
    return Table("Figs. 13 and 14: colour and exposure", header, rows)


def distance_maps(found: list[Example]) -> tuple[list[list[Map]], str]:
    """Fig. 15: perceptual distance of each row to the ground truth by pixel (H, W), and its name.

    LPIPS before its mean over the picture; without its weights the colour difference CIEDE2000.
    """
    if lacking := lacking_weights("lpips-alex"):
        unit, between = f"CIEDE2000 (LPIPS {lacking})", _colour_difference
    else:
        unit, between = "LPIPS (AlexNet)", _spatial_lpips
    lines = [
        [Map(label, between(image, one.target)) for label, image in one.outputs.items()]
        for one in found
    ]
    return side_by_side(lines), unit


def _spatial_lpips(image: Tensor, target: Tensor) -> Tensor:
    state = torch.load(find("lpips-alex"), map_location="cpu", weights_only=True)
    network = lpips_network("alex", state)
    network.spatial = True
    with torch.no_grad():
        return network(image[None].float(), target[None].float(), normalize=True)[0, 0]


def _colour_difference(image: Tensor, target: Tensor) -> Tensor:
    from skimage.color import deltaE_ciede2000, rgb2lab

    first, second = (rgb2lab(x.permute(1, 2, 0).double().numpy()) for x in (image, target))
    return torch.from_numpy(deltaE_ciede2000(first, second)).float()


def failures(recipe: JcrnetRecipe, settings: JcrnetSettings, count: int = 2):
    """Fig. 17: the test pictures on which JCRNet's PSNR is lowest: (lines of pictures, a table)."""
    key = recipe.key(settings, "jcrnet", seed=settings.seeds[0])
    with (Run(key).directory / "per_image.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if MAIN["psnr"] not in rows[0]:
        raise ValueError(f"Fig. 17 needs {MAIN['psnr']} among the settings' protocols")
    values = [float(row[MAIN["psnr"]]) for row in rows]
    worst = sorted(range(len(values)), key=values.__getitem__)[:count]
    data = Subset(recipe.test_data(settings)[0], worst)
    keys = shown_keys(recipe, settings, ("identity", "jcrnet"))
    found = examples(recipe, settings, keys, count, settings.dataset, data)
    cells = [
        [one.name, f"{values[index]:.2f}", *map(_noise_in_black, _of(one), [one.target] * 3)]
        for index, one in zip(worst, found, strict=True)
    ]
    header = ["picture", "PSNR, dB", "noise in black, input", "JCRNet", "ground truth"]
    note = "Noise: mean |difference of neighbours in a row| where the ground truth is below 0.1."
    table = Table("Fig. 17: where JCRNet does worst", header, cells, note)
    return side_by_side([line(one) for one in found]), table


def _of(example: Example) -> list[Tensor]:
    return [example.dark, example.outputs["jcrnet"], example.target]


def _noise_in_black(image: Tensor, target: Tensor) -> str:
    black = target.mean(0)[:, 1:] < 0.1  # (H, W - 1)
    if not black.any():
        return "–"
    return f"{image.diff(dim=-1).abs().mean(0)[black].mean():.4f}"


def saliency_panels(
    recipe: JcrnetRecipe, settings: JcrnetSettings, count: int = 1
) -> list[list[Panel]]:
    """Fig. 18: a line of pictures as each row gives them, and below what is found salient."""
    lines = []
    for name, data in saliency_sets(settings)[0].items():
        recognizer, _ = recipe.saliency_recognizer(settings, name)
        rows = [key.method for key in recipe.saliency_rows(settings)]
        keys = shown_keys(recipe, settings, rows)
        found = examples(recipe, settings, keys, count, name, data)
        for one, index in zip(found, spread(len(data), count), strict=True):
            day = {} if one.target is None else {"original": one.target}
            images = {**one.outputs, **day}
            maps = [_grey(recognizer.predict(image[None])) for image in images.values()]
            lines.append([Panel(label, image) for label, image in images.items()])
            lines[-1].append(Panel(f"{name}, truth below", one.dark))
            lines.append([Panel("", found) for found in [*maps, _grey(data[index]["mask"][None])]])
    return lines


def _grey(found: Tensor) -> Tensor:
    """A map (1, 1, H, W) as a picture (3, H, W)."""
    return found[0].float().expand(3, -1, -1)


# Verdicts --------------------------------------------------------------------------------------


def measurements(
    recipe: JcrnetRecipe, settings: JcrnetSettings, name: str
) -> dict[str, tuple[bool | None, str]]:
    """Properties that claims state, measured on a saliency set: name → (holds, evidence)."""
    keys = [recipe.key(settings, "jcrnet", seed=seed) for seed in settings.seeds]
    dark, ours = (
        summarise(abs(_bias(Run(key), name)) for key in of)
        for of in ([recipe.key(settings, "identity")], keys)
    )
    # Claim 3.77: bias is the share found salient less the share that is.
    evidence = f"share found salient off by {dark:.4f} as it is, by {ours:.4f} after JCRNet"
    return {"balance_helps_saliency": (ours.mean < dark.mean, evidence)}


def _bias(run: Run, name: str) -> float:
    """Mean of what is found salient less what is, as shares of the pictures."""
    path = run.directory / f"per_image-saliency-{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return summarise(float(r["salient"]) - float(r["mask"]) for r in csv.DictReader(file)).mean


def verdicts(recipe: JcrnetRecipe, settings: JcrnetSettings, scores: Scores) -> list[Verdict]:
    """The verdict on every claim, by each set of scores that is of its sets or stands for them.

    The built-in pairs stand for all sets of quality, the cast for Toys, drawn streets and darkened
    ECSSD for the sets of Table IX.
    """
    return verdicts_by("jcrnet", _sources(recipe, settings, scores))


def _sources(recipe, settings: JcrnetSettings, scores: Scores) -> list[Source]:
    builtin = dataset_spec(settings.dataset).builtin
    pairs = {"lol", *PAIRS, *UNPAIRED, VIDEO} if builtin else {settings.dataset}
    sources = [Source(frozenset(pairs), scores.main, recipe.context(settings))]
    for name in dict.fromkeys(score.dataset for score in scores.further):
        found = select(scores.further, dataset=name)
        covers = {"toys"} if name.endswith("-cast") else {name}
        sources.append(Source(frozenset(covers), found, _context(settings, name, found)))
    for name in dict.fromkeys(score.dataset for score in scores.saliency):
        found = select(scores.saliency, dataset=name)
        covers = {name} if name in SALIENCY[2:] else set(SALIENCY[2:])
        measured = measurements(recipe, settings, name)
        sources.append(Source(frozenset(covers), found, _context(settings, name, found), measured))
    return sources


def _context(settings: JcrnetSettings, name: str, found: list[Score]) -> Context:
    """The paper's own are its sets without ground truth, whole, after its own training."""
    trained = settings.profile == "paper" and settings.dataset == "lol" and bool(settings.joined)
    whole = name in UNPAIRED and found[0].n in dataset_spec(name).expected.values()
    return Context(name, settings.profile, len(settings.seeds), trained and whole)
