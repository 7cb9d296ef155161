"""What the reports of paper 1 show beside the scores: pictures, audit, measured claims."""

import torch
from torch import Tensor, nn

from llie_core.data import dataset_spec
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.published import table as published_table
from llie_core.recipes.recognition import RecognitionRecipe, RecognitionSettings
from llie_core.recipes.recognition_tasks import class_names, test_batches
from llie_core.recognizers import create_recognizer
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table
from llie_core.runs import Run, RunKey
from llie_core.synthetic.streets import STREET_PALETTE

# Pairs of joints that a skeleton joins, in ExLPose's order of joints.
LIMBS = (
    (12, 13), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (1, 7), (6, 7), (6, 8),
    (8, 10), (7, 9), (9, 11),
)  # fmt: skip
CAPTIONS = {
    "1": "pose AP by darkness",
    "2": "cost with the pose model, 256×192",
    "3": "segmentation",
    "4": "cost with DeepLabV3+, 1024×512",
    "5": "ablation, segmentation",
}
SHOWN = ("identity", "zero_dce", "ialm", "gem_pam")
# CamVid's 11 classes in the colours of the Cityscapes classes that they correspond to.
CAMVID_COLOURS = (10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18)


def keys_shown(recipe: RecognitionRecipe, settings: RecognitionSettings) -> list[RunKey]:
    """The rows of Figures 2 and 3 that there are, for the first seed."""
    seed = settings.seeds[0]
    keys = [k for k in recipe.rows(settings) if k.seed in (seed, 0) and not k.variant]
    return [k for row in SHOWN for k in keys if k.model == row]


def contact_sheet(recipe: RecognitionRecipe, settings: RecognitionSettings, scenes: int):
    """Scenes by day, at night and their labels: (scene by day, night, labels) a line."""
    data, _ = recipe.test_data(settings)
    lines = []
    for index in _spread(len(data), scenes):
        item = data[index]
        line = [Panel("night", item["image"])]
        if "target" in item:
            line.insert(0, Panel("day", item["target"]))
        if "mask" in item:
            line.append(Panel("labels", coloured(item["mask"], settings.dataset)))
        else:
            body = item["joints"][None]
            line[0] = Panel("day, joints", line[0].image, joints=body, limbs=LIMBS)
        lines.append(line)
    return lines


def predictions(recipe: RecognitionRecipe, settings: RecognitionSettings, count: int):
    """Figures 2 and 3: a line of enhanced pictures and, below it, one of what is recognized."""
    task, recognizer = recipe.task(settings), recipe.load_recognizer(settings)
    data, _ = recipe.test_data(settings)
    models = {key: recipe.load(key, settings, "cpu") for key in keys_shown(recipe, settings)}
    lines = []
    for index in _spread(len(data), count):
        item = data[index]
        outputs = {key.method: model.enhance(item["image"][None]) for key, model in models.items()}
        if task.name == "pose":
            lines.append([_skeleton(n, x, recognizer) for n, x in outputs.items()])
            lines[-1].append(Panel("annotated", item["target"], joints=item["joints"][None],
                                   limbs=LIMBS))  # fmt: skip
            continue
        truth = coloured(item["mask"], settings.dataset)
        lines.append([Panel(n, x[0]) for n, x in outputs.items()] + [Panel("annotated", truth)])
        found = [coloured(recognizer.predict(x)[0], settings.dataset) for x in outputs.values()]
        day = item.get("target", item["image"])
        labels = ["recognized"] * len(found) + ["by day" if "target" in item else "as it is"]
        lines.append([Panel(n, x) for n, x in zip(labels, [*found, day], strict=True)])
    return lines


def coloured(mask: Tensor, dataset: str) -> Tensor:
    """Class ids (H, W) as a picture (3, H, W) in Cityscapes' colours; 255 is black."""
    palette = torch.tensor(STREET_PALETTE, dtype=torch.float32) / 255
    if dataset == "camvid":
        palette = palette[list(CAMVID_COLOURS)]
    palette = torch.cat([palette, torch.zeros(1, 3)])
    return palette[mask.clamp(max=len(palette) - 1)].permute(2, 0, 1)


def recognizer_table(recipe: RecognitionRecipe, settings, scores: list[Score]) -> Table:
    """The frozen recognizer by day and at night, before any enhancement."""
    metric = recipe.task(settings).metric
    night = "all" if metric == "miou" else "LL-A"
    by_day = select(scores, method=settings.recognizer, metric=metric, subset="day")
    at_night = select(scores, label="identity", metric=metric, subset=night)
    cells = [f"{s[0].value:.3f}" if s else "not run" for s in (by_day, at_night)]
    whole = by_day[0].value if by_day else 0.0
    lost = f"{1 - at_night[0].value / whole:.0%}" if whole and at_night else "–"
    header = ["recognizer", f"{metric} by day", f"{metric} at night", "lost"]
    stamp = Run(recipe.recognizer_key(settings)).read_stamp()
    note = f"Trained here, {stamp['steps_done']} steps; frozen for every row."
    row = [f"{settings.recognizer} ({settings.backbone})", *cells, lost]
    return Table("The recognizer that every row uses", header, [row], note)


def class_table(scores: list[Score], settings: RecognitionSettings) -> Table:
    """IoU of every class, a row a class, a column a method; mean over seeds."""
    found = select(scores, metric="iou")
    labels = list(dict.fromkeys(score.label for score in found))
    rows = []
    for name in class_names(settings.dataset):
        values = [summarise(s.value for s in select(found, label=x, subset=name)) for x in labels]
        rows.append([name, *(f"{v:.3f}" if v.seeds else "–" for v in values)])
    return Table("IoU of every class at night", ["class", *labels], rows)


def audit(settings: RecognitionSettings) -> Table:
    """Parameters and GMAC of the enhancers and of the recognizers, against what is published."""
    height, width = settings.cost_size
    rows = []
    for label, options, published in (
        ("gem_pam", {}, "577 k"),
        ("gem_pam", {"modules": "gem"}, "not published"),
        ("gem_pam", {"modules": "pam"}, "not published"),
        ("ialm", {}, "0.5 M (5.7 − 5.2)"),
        ("zero_dce", {}, "0.1 M (5.3 − 5.2)"),
    ):
        model = create_enhancer(label, **options)
        only = {"gem": " w/o PAM", "pam": " w/o GEM"}.get(options.get("modules", ""), "")
        rows.append([label + only, published, f"{count_parameters(model):,}",
                     f"{count_macs(model, (height, width)).macs / 1e9:.3f}"])  # fmt: skip
    for name, options, published in (
        ("deeplabv3plus", {}, "5.2 M"),
        ("cpn", {"backbone": "resnet50"}, "27.4 M"),
    ):
        model = create_recognizer(name, **options)
        rows.append([name, published, f"{count_parameters(model):,}", "–"])
    header = ["model", "parameters, published", "here", f"GMAC at {width}×{height}"]
    note = (
        "One multiply-add counts 1. The paper's DeepLabV3+ has a dense atrous pyramid (5,225,203 "
        "parameters with MobileNetV2 less its last layer); the library's, used here, a separable "
        "one. Its 577 k has no table of layers: ours is a reading that comes to the same number."
    )
    return Table("Audit", header, rows, note)


def cost_table(recipe: RecognitionRecipe, settings, scores: list[Score]) -> Table:
    """Latency of enhancer and recognizer together, as a ratio to the recognizer's own."""
    number = "4" if settings.recognizer == "deeplabv3plus" else "2"
    cells = [c for c in published_table("recognition", number) if c.metric == "latency"]
    printed = {cell.method: cell.value for cell in cells if cell.value}
    latency = {s.label: s for s in reversed(select(scores, metric="latency"))}
    rows = []
    for label, here in reversed(latency.items()):
        parameters = select(scores, label=label, metric="parameters")[0].value / 1e6
        ratio = f"{printed[label] / printed['identity']:.2f}" if label in printed else "–"
        rows.append([label, f"{parameters:.2f}", f"{here.value:.1f}", ratio,
                     f"{here.value / latency['identity'].value:.2f}"])  # fmt: skip
    height, width = settings.cost_size
    header = ["before the recognizer", "parameters, M", "latency here, ms",
              "ratio to the recognizer alone, published", "ratio here"]  # fmt: skip
    device = next(iter(latency.values())).device
    note = f"{width}×{height}, batch 1, float32, {device}. Published: RTX 3060, Table {number}."
    return Table("Cost: each enhancer with its recognizer", header, rows, note)


def subset_table(recipe: RecognitionRecipe, settings: RecognitionSettings) -> Table:
    """Pictures and brightness of the test set, by subset where there are any."""
    data, _ = recipe.test_data(settings)
    items = [data[i] for i in range(len(data))]
    rows = []
    for subset in dict.fromkeys(["", *sorted({i.get("subset", "") for i in items})]):
        chosen = [i for i in items if subset in ("", i.get("subset", ""))]
        bright = sum(i["image"].mean().item() for i in chosen) / len(chosen)
        rows.append([subset or "all", str(len(chosen)), f"{bright:.4f}", f"{255 * bright:.1f}"])
    header = ["subset", "items", "mean intensity", "of 255"]
    note = dataset_spec(settings.dataset).note
    return Table(f"Test set of {settings.dataset}", header, rows, note)


# Measured claims -------------------------------------------------------------------------------


def measurements(
    recipe: RecognitionRecipe, settings: RecognitionSettings, scores: list[Score]
) -> dict[str, tuple[bool | None, str]]:
    """Properties that claims state, measured: name → (holds, evidence) or (None, why not)."""
    return {
        "recognizer_unchanged": recognizer_unchanged(recipe, settings),
        "gem_input_size": (None, "needs a GEM trained on a larger copy, which no row is"),
        "deeper_pam": (None, "the deeper PAM that it would take is neither printed nor built"),
        "quality_not_recognition": quality_not_recognition(recipe, settings, scores),
        "casts_differ": casts_differ(recipe, settings),
    }


def recognizer_unchanged(recipe, settings) -> tuple[bool | None, str]:
    """Claim 1.02: one training step through the frozen recognizer leaves all its tensors alone."""
    recognizer, data = recipe.load_recognizer(settings), recipe.test_data(settings)[0]
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    batch = next(iter(test_batches(data, 2, 0)))
    model = create_enhancer("gem_pam").train()
    image = model.training_outputs(batch["image"])["image"]
    recognizer.loss(image, recipe.task(settings).targets(batch))["total"].backward()
    changed = [n for n, v in recognizer.state_dict().items() if not torch.equal(v, before[n])]
    taught = [n for n, p in recognizer.named_parameters() if p.grad is not None]
    evidence = f"{len(before)} tensors, {len(changed)} changed, {len(taught)} with a gradient"
    return not changed and not taught, evidence


def quality_not_recognition(recipe, settings, scores) -> tuple[bool | None, str]:
    """Claim 1.44: rank correlation of PSNR (against the scene by day) and recognition, by row."""
    metric = recipe.task(settings).metric
    subset = "all" if metric == "miou" else "LL-A"
    pairs = []
    for label in dict.fromkeys(s.label for s in select(scores, metric="psnr")):
        values = (
            summarise(s.value for s in select(scores, label=label, metric=m, subset=where)).mean
            for m, where in (("psnr", "all"), (metric, subset))
        )
        pairs.append(tuple(values))
    if len(pairs) < 4:
        return None, "no picture of the same scene by day to take the quality from"
    ranks = torch.tensor(pairs).argsort(0).argsort(0).float()
    correlation = torch.corrcoef(ranks.T)[0, 1].item()
    evidence = f"rank correlation of PSNR and {metric} over {len(pairs)} rows: {correlation:+.2f}"
    return correlation < 0.5, evidence + " (limit 0.5)"


# Two recognizers, and what was trained for one used with the other ------------------------------


def both_tasks(recipe: RecognitionRecipe, settings) -> dict[str, RecognitionSettings]:
    """Task → settings of both built-in sets in this profile; empty elsewhere."""
    if not settings.dataset.startswith("builtin"):
        return {}
    names = {"segmentation": "builtin-streets", "pose": "builtin-streets-pose"}
    return {
        task: settings
        if settings.dataset == name
        else recipe.settings(settings.profile, dataset=name, seeds=settings.seeds)
        for task, name in names.items()
    }


def missing_for_crossing(recipe: RecognitionRecipe, settings) -> str:
    """Why the cross table cannot be made now, or nothing."""
    tasks = both_tasks(recipe, settings)
    if not tasks:
        return "the other task has no data set with the same scenes"
    for other in tasks.values():
        keys = [recipe.key(other, "gem_pam", seed=s) for s in other.seeds]
        for key in (recipe.recognizer_key(other), *keys):
            if not Run(key).weights_path.exists():
                return f"needs {key}: run both reports (make reproduce PAPER=recognition)"
    return ""


def cross_scores(recipe: RecognitionRecipe, settings) -> dict[tuple[str, str], list[float]]:
    """(enhancer trained for, recognizer of) → the recognizer's number, one a seed.

    "none" is no enhancement. Task metric: mIoU, or AP of all persons.
    """
    tasks = both_tasks(recipe, settings)
    found: dict[tuple[str, str], list[float]] = {}
    for reader, own in tasks.items():
        recognizer = recipe.load_recognizer(own)
        metric = recipe.task(own).metric
        for trained_for, other in {"none": None, **tasks}.items():
            for seed in own.seeds if other else own.seeds[:1]:
                model = create_enhancer("identity")
                if other:
                    model = recipe.load(recipe.key(other, "gem_pam", seed=seed), other, "cpu")
                batches = test_batches(recipe.test_data(own)[0], own.batch_size, 0)
                measured, _ = recipe.task(own).score(recognizer, model, batches, "cpu")
                value = next(m.value for m in measured if m.metric == metric)
                found.setdefault((trained_for, reader), []).append(value)
    return found


def cross_table(recipe: RecognitionRecipe, settings) -> Table:
    """§5: the enhancer trained for one recognizer, used with the other."""
    header = ["GEM + PAM trained for", "segmentation: mIoU", "pose: AP"]
    caption = "Enhancers across recognizers (§5)"
    reason = missing_for_crossing(recipe, settings)
    if reason:
        return Table(caption, header, [["–", "not run", "not run"]], f"Not run: {reason}.")
    found = cross_scores(recipe, settings)
    rows = [
        [row, *(f"{summarise(found[row, reader]):.3f}" for reader in ("segmentation", "pose"))]
        for row in ("none", "segmentation", "pose")
    ]
    note = f"Built-in streets, profile {settings.profile}, seeds {list(settings.seeds)}."
    return Table(caption, header, rows, note)


def cast_table(recipe: RecognitionRecipe, settings) -> Table:
    """§5: the mean colour that each enhancer gives to the same pictures."""
    header = ["pictures", "red / mean", "green / mean", "blue / mean", "brightness"]
    reason = missing_for_crossing(recipe, settings)
    if reason:
        return Table("Colour casts (§5)", header, [["–", *["not run"] * 4]], f"Not run: {reason}.")
    rows = [
        [label, *(f"{c:.3f}" for c in cast[:3].tolist()), f"{cast[3]:.3f}"]
        for label, cast in casts(recipe, settings).items()
    ]
    note = "Over the night pictures of the segmentation test set, first seed."
    return Table("Colour casts (§5)", header, rows, note)


def casts(recipe: RecognitionRecipe, settings) -> dict[str, Tensor]:
    """Label → mean R, G, B over their mean, and the mean, of the same night pictures."""
    tasks = both_tasks(recipe, settings)
    data, _ = recipe.test_data(tasks["segmentation"])
    images = torch.stack([data[i]["image"] for i in range(min(16, len(data)))])
    models: dict[str, nn.Module] = {"as they are": create_enhancer("identity")}
    for task, own in tasks.items():
        key = recipe.key(own, "gem_pam", seed=own.seeds[0])
        models[f"GEM + PAM for {task}"] = recipe.load(key, own, "cpu")
    found = {}
    for label, model in models.items():
        channels = model.enhance(images).mean((0, 2, 3))
        mean = channels.mean()
        found[label] = torch.cat([channels / mean.clamp(min=1e-6), mean[None]])
    return found


def casts_differ(recipe, settings) -> tuple[bool | None, str]:
    """Claim 1.47: casts differ between recognizers, and an enhancer helps its own one only."""
    reason = missing_for_crossing(recipe, settings)
    if reason:
        return None, reason
    found, colours = cross_scores(recipe, settings), list(casts(recipe, settings).values())
    apart = (colours[1][:3] - colours[2][:3]).abs().max().item()
    gains = {}
    for reader, other in (("segmentation", "pose"), ("pose", "segmentation")):
        none = found["none", reader][0]
        gains[reader] = tuple(summarise(found[t, reader]).mean - none for t in (reader, other))
    words = [f"{r}: own {own:+.3f}, foreign {far:+.3f}" for r, (own, far) in gains.items()]
    own_better = all(own > far for own, far in gains.values())
    evidence = f"largest difference of a channel's share {apart:.3f} (limit 0.05); "
    return apart > 0.05 and own_better, evidence + "; ".join(words)


def _skeleton(label: str, image: Tensor, recognizer) -> Panel:
    return Panel(label, image[0], joints=recognizer.predict(image)["joints"], limbs=LIMBS)


def _spread(length: int, count: int) -> list[int]:
    """`count` indices, evenly over the set."""
    return torch.linspace(0, length - 1, min(count, length)).round().long().unique().tolist()
