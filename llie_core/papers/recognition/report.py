"""What the reports of paper 1 show beside the scores: findings, what is recognized, costs, audit;
enhancers across recognizers and the measured claims are in claims.py."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from llie_core.data import dataset_spec
from llie_core.data.wrappers import spread
from llie_core.dataset import items
from llie_core.models import create_enhancer
from llie_core.models.ialm import BOUNDS, IALM, share_at_bounds
from llie_core.names import title_of
from llie_core.papers import judging
from llie_core.papers.audit import audit_table, counted
from llie_core.papers.images import Example, examples
from llie_core.papers.recognition.study import (
    DAY,
    NIGHT,
    TUNED,
    RecognitionStudy,
    Streets,
    intensity_of,
)
from llie_core.recognizers import Recognizer, create_recognizer
from llie_core.reporting.claims import load_claims
from llie_core.reporting.figures import Panel
from llie_core.reporting.published import PublishedValue
from llie_core.reporting.published import table as published
from llie_core.reporting.scores import Score, Summary, best_untrained, mean_of, select
from llie_core.reporting.tables import NOT_RUN, Table, published_beside_measured
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
OF_TASK = {"segmentation": ("3", "4", "5"), "pose": ("1", "2")}  # tables
COSTS = {"segmentation": "4", "pose": "2"}
IALM_IMAGES = 64  # test images on which IALM's parameters are shown
SHOWN = ("identity", "zero_dce", "ialm", "gem_pam")  # rows of Figs. 2 and 3
# Sets whose normal-light images are of other scenes than the low-light ones.
OTHER_SCENES = ("camvid", "nightcity")
# CamVid's 11 classes in the colours of the Cityscapes classes that they correspond to.
CAMVID_COLOURS = (10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18)

# Findings and tables ---------------------------------------------------------------------------


def findings(study: RecognitionStudy, scores: Sequence[Score]) -> Table:
    """A sentence a question, from scores of one data set; "not run" where a row is absent."""
    low, ours, zero_dce, ialm, gem, pam = (
        _words(row_summary(study, scores, label))
        for label in (
            "identity", "gem_pam", "zero_dce", "ialm", "gem_pam+w/o PAM", "gem_pam+w/o GEM"
        )
    )  # fmt: skip
    day, metric = _words(in_normal_light(study, scores)), study.downstream.title
    own = select(scores, metric=study.downstream.metric)
    best, count = best_untrained(select(own, subset=study.downstream.whole))
    untrained = "none was evaluated"
    if best:
        untrained = f"{title_of(best)} {_words(row_summary(study, scores, best))}"
        untrained = f"{metric} {untrained}, the best of {count}"
    of_light = "What does low light cost it?"
    if study.settings.dataset in OTHER_SCENES:
        of_light = "What does it find in normal light (other scenes), and in low light?"
    rows = [
        ["Does the recognizer find more behind GEM+PAM?",
         f"{metric} {low} without it, {ours} with it."],
        ["More than behind enhancement for the human eye, or IALM?",
         f"{metric}: Zero-DCE {zero_dce}, IALM {ialm}, GEM+PAM {ours}."],
        ["What do methods without training give?", f"{untrained}."],
        ["Do both modules contribute?",
         f"{metric} without PAM {gem}, without GEM {pam}, with both {ours}."],
        [of_light, f"{metric} {day} in normal light, {low} in low light."],
    ]  # fmt: skip
    if darker := _on_darker_images(study, scores):
        rows.append(["And where the images are darkened further?", f"{metric} {darker}."])
    others = ("identity", "zero_dce", "ialm", best, "gem_pam+w/o PAM", "gem_pam+w/o GEM")
    pairs = [("gem_pam", other) for other in others]
    rows += judging.differences(study, own, pairs, study.downstream.metric, study.downstream.whole)
    used = [s for s in own if s.subset in (study.downstream.whole, DAY) or intensity_of(s.subset)]
    note = f"{study.downstream.title}, mean over seeds. {judging.evidence(study, used)}"
    return Table("What was found", ["question", "finding"], rows, note)


def _on_darker_images(study: RecognitionStudy, scores: Sequence[Score]) -> str:
    """The task's number without GEM+PAM and with it, by the mean intensity that the low-light
    images are darkened to; "" where none are."""
    metric, words = study.downstream.metric, []
    for subset in sorted({s.subset for s in scores if intensity_of(s.subset)}, key=intensity_of):
        low, ours = (
            _words(mean_of(scores, label=x, metric=metric, subset=subset))
            for x in ("identity", "gem_pam")
        )
        words.append(f"{low} without GEM+PAM, {ours} with it at a mean of {subset.split()[1]}")
    return "; ".join(words) + " of 255" * bool(words)


def row_summary(study: RecognitionStudy, scores: Iterable[Score], label: str) -> Summary:
    """A row's number of the task over seeds, on the whole test set in low light."""
    own = study.downstream
    return mean_of(scores, label=label, metric=own.metric, subset=own.whole)


def in_normal_light(study: RecognitionStudy, scores: Iterable[Score]) -> Summary:
    """The recognizer's number on normal-light images, where nothing is enhanced."""
    return mean_of(scores, metric=study.downstream.metric, subset=DAY)


def _words(found: Summary) -> str:
    return f"{found:.3f}" if found.seeds else NOT_RUN


def columns(study: RecognitionStudy) -> list[tuple[str, str]]:
    """(metric, subset) of the score table."""
    metric = study.downstream.metric
    subsets = {"miou": (DAY, "all"), "ap": (DAY, "LL-A", "LL-N", "LL-H", "LL-E")}[metric]
    return [*((metric, subset) for subset in subsets), ("brightness", "all"), ("psnr", "all")]


def printed(study: RecognitionStudy) -> list[PublishedValue]:
    """The cells of the paper's tables of this task."""
    return [cell for number in OF_TASK[study.downstream.kind] for cell in _cells(number)]


def _cells(number: str, metric: str = "") -> list[PublishedValue]:
    return [c for c in published("recognition", number) if metric in ("", c.metric)]


def paper_tables(study: RecognitionStudy, scores: Sequence[Score]) -> list[Table]:
    """The paper's tables of this task, published beside measured."""
    return [
        published_beside_measured(
            "recognition", number, scores, f"Table {number}: {CAPTIONS[number]}", decimals=1
        )
        for number in OF_TASK[study.downstream.kind]
    ]


def recognizer_table(study: RecognitionStudy, scores: Sequence[Score]) -> Table:
    """The frozen recognizer in normal light and in low light, before any enhancement."""
    metric, row = study.downstream.title, study.recognizer_row
    day, low = in_normal_light(study, scores), row_summary(study, scores, "identity")
    same = study.settings.dataset not in OTHER_SCENES
    known = same and day.seeds and low.seeds and day.mean
    lost = f"{1 - low.mean / day.mean:.0%}" if known else "–"
    cells = [_words(day), _words(low)]
    header = ["recognizer", f"{metric}, normal light", f"{metric}, low light", "lost"]
    weights = "Its authors' weights"
    if row.is_trained:
        weights = f"Trained here, {study.run(row).read_stamp()['steps_done']} steps"
    rows, note = [[row.shown, *cells, lost]], f"{weights}; frozen for every row."
    if not same:
        note += " The two lights are of other scenes, so what is lost is not known."
    tuned = select(scores, metric=study.downstream.metric, subset=TUNED)
    if tuned:
        rows.append([study.tuned_row.shown, "–", f"{mean_of(tuned):.3f}", "–"])
        note += " The last row was trained on in low light, without an enhancer."
    return Table("The recognizer that every row uses", header, rows, note)


def by_darkness(
    study: RecognitionStudy, scores: Sequence[Score]
) -> dict[str, list[tuple[float, float]]]:
    """Title of a row → (mean intensity of the low-light images, of 255; the task's number, mean
    over seeds), from dark to bright; empty where no darker images were evaluated."""
    own = study.downstream
    light = select(scores, label="identity", metric="brightness", subset="all")
    subsets = {s.subset: intensity_of(s.subset) for s in scores if intensity_of(s.subset)}
    if light:
        subsets |= {own.whole: 255 * light[0].value}
    series: dict[str, list[tuple[float, float]]] = {}
    for label in dict.fromkeys(
        s.label for s in select(scores, metric=own.metric, subset=own.whole)
    ):
        for subset, mean in sorted(subsets.items(), key=lambda pair: pair[1]):
            found = select(scores, label=label, metric=own.metric, subset=subset)
            if found:
                point = mean, mean_of(found).mean
                series.setdefault(title_of(label, study.titles), []).append(point)
    return {title: points for title, points in series.items() if len(points) > 1}


def class_table(study: RecognitionStudy, scores: Sequence[Score]) -> Table:
    """IoU of every class, a row a class, a column a method; mean over seeds. Pose has none."""
    if not isinstance(study.downstream, Streets):
        return Table("IoU of every class", ["class", "IoU"], [], "Pose has no classes.")
    found = select(scores, metric="iou")
    present = dict.fromkeys(score.label for score in found)
    labels = sorted(present, key=[*study.titles, *present].index)
    rows = []
    for name in study.downstream.classes:
        values = [mean_of(found, label=x, subset=name) for x in labels]
        rows.append([name, *(f"{v:.3f}" if v.seeds else "–" for v in values)])
    header = ["class", *(title_of(label, study.titles) for label in labels)]
    profiles = ", ".join(dict.fromkeys(score.profile for score in found))
    return Table("IoU of every class in low light", header, rows, f"Measured: profile {profiles}.")


def subset_table(study: RecognitionStudy) -> Table:
    """Images and brightness of the test set, by subset where there are any; one at a time."""
    data, sums = study.images("test", NIGHT), {"": [0, 0.0]}
    for item in items(data):
        for subset in {"", item.get("subset", "")}:
            found = sums.setdefault(subset, [0, 0.0])
            found[0] += 1
            found[1] += item["image"].mean().item()
    rows = []
    for subset, (count, total) in sorted(sums.items()):
        mean = total / count
        rows.append([subset or "all", str(count), f"{mean:.4f}", f"{255 * mean:.1f}"])
    header = ["subset", "images", "mean intensity", "of 255"]
    name = study.settings.dataset
    return Table(f"Test set of {name}", header, rows, dataset_spec(name).note)


REFUSED = "refused"


def cost_table(study: RecognitionStudy, scores: Sequence[Score]) -> Table:
    """Latency of enhancer and recognizer together, as a ratio to the recognizer's own."""
    number = COSTS[study.downstream.kind]
    paper = {cell.label: cell.value for cell in _cells(number, "latency") if cell.value}
    latency = {s.label: s.value for s in select(scores, metric="latency")}
    parameters = {s.label: s.value for s in select(scores, metric="parameters")}
    rows = []
    alone = latency.get("identity")
    for label, count in parameters.items():
        ratio = f"{paper[label] / paper['identity']:.2f}" if label in paper else "–"
        time = latency.get(label)
        here = f"{time / alone:.2f}" if time and alone else REFUSED
        rows.append([title_of(label, study.titles), f"{count / 1e6:.2f}",
                     f"{time:.1f}" if time else REFUSED, ratio, here])  # fmt: skip
    header = ["before the recognizer", "parameters, M", "latency here, ms",
              "ratio to the recognizer alone, published", "ratio here"]  # fmt: skip
    height, width = study.settings.evaluation.cost_size
    device = select(scores, metric="parameters")[0].device
    note = (
        f"{width}×{height}, batch 1, float32, {device}. {study.timing()} {REFUSED}: faster than "
        f"the recognizer alone, which is not possible. Published: RTX 3060, Table {number}."
    )
    return Table("Cost: each enhancer with its recognizer", header, rows, note)


def audit(study: RecognitionStudy) -> Table:
    """Parameters and work of the enhancers and of the recognizers, against what is published."""
    size = study.settings.evaluation.cost_size
    (sentence,) = (c for c in load_claims("recognition") if c.id == "1.07")
    size_in_text = f"{sentence.check['values']['all']} M (in the text)"
    networks = []
    for label, options, words in (
        ("gem_pam", {}, size_in_text),
        ("gem_pam+w/o PAM", {"modules": "gem"}, ""),
        ("gem_pam+w/o GEM", {"modules": "pam"}, ""),
        ("ialm", {}, _enhancer_size("ialm")),
        ("zero_dce", {}, _enhancer_size("zero_dce")),
    ):
        model = create_enhancer(label.partition("+")[0], **options)
        more = {"parameters": words} if words else {}
        networks.append(counted(title_of(label), model, size, published=more))
    recognizers = {
        "4": ("deeplabv3plus", create_recognizer("deeplabv3plus")),
        "2": ("cpn", create_recognizer("cpn", backbone="resnet50")),
    }
    for number, (name, recognizer) in recognizers.items():
        printed = {"parameters": f"{_parameters(number, 'identity').printed} M"}
        networks.append(counted(title_of(name), recognizer, published=printed))
    used = study.recognizer_row
    networks.append(counted(f"{used.shown}, as used here", used.build()))
    note = (
        "The paper's DeepLabV3+ has a dense atrous pyramid (5,225,203 parameters with MobileNetV2 "
        "less its last layer); the library's, used here, a separable one. The paper has no table "
        "of GEM+PAM's layers: ours is a reading that comes to the same number."
    )
    return audit_table("recognition", networks, size, note)


def _parameters(number: str, label: str) -> PublishedValue:
    return next(cell for cell in _cells(number, "parameters") if cell.label == label)


def _enhancer_size(label: str) -> str:
    """What Table 4, which counts the recognizer too, leaves for an enhancer."""
    both, alone = _parameters("4", label), _parameters("4", "identity")
    left = float(both.printed) - float(alone.printed)
    return f"{left:.1f} M ({both.printed} − {alone.printed})"


@torch.no_grad()
def ialm_table(study: RecognitionStudy) -> Table:
    """What IALM's predictors give on the test images, and how near it is to their bounds; of the
    first seed, one image at a time."""
    header = ["parameter", "mean", "sd", "bounds", "share beyond 99 % of a bound"]
    caption = "What IALM learns"
    row = next((row for row in study.first_seed() if row.label == "ialm"), None)
    if row is None:
        return Table(caption, header, [["–", NOT_RUN, NOT_RUN, "–", NOT_RUN]], "IALM was not run.")
    model, data = study.load_as(IALM, row, "cpu"), study.images("test", NIGHT)
    found: dict[str, list[float]] = {name: [] for name in BOUNDS}
    for index in spread(len(data), IALM_IMAGES):
        outputs = model.training_outputs(data[index]["image"][None])
        for name in BOUNDS:
            found[name].append(outputs[name].item())
    rows = []
    for name, (low, high) in BOUNDS.items():
        values = torch.tensor(found[name])
        at_bound = share_at_bounds(name, values)
        cells = [f"{values.mean():.3f}", f"{values.std(correction=0):.3f}", f"{low:g} to {high:g}"]
        rows.append([name, *cells, f"{at_bound:.0%}"])
    note = f"{len(found['gamma'])} test images in low light, seed {row.seed}."
    return Table(caption, header, rows, note)


# Figures ---------------------------------------------------------------------------------------


def logs(study: RecognitionStudy) -> dict[str, list[dict[str, float]]]:
    """Title → training log, of the recognizer and the rows of the first seed."""
    row = study.recognizer_row
    own = {row.shown: study.run(row).read_log()} if row.is_trained else {}
    return own | study.logs()


def contact_sheet(study: RecognitionStudy, scenes: int) -> list[list[Panel]]:
    """Test images: normal light where it is known, low light, labels; a scene a line, or, as poses
    are upright, a scene a column."""
    lines = [_scene(study, item) for item in test_items(study, scenes)]
    if isinstance(study.downstream, Streets):
        return lines
    return [list(line) for line in zip(*lines, strict=True)]


def _scene(study: RecognitionStudy, item: dict) -> list[Panel]:
    line = [Panel("low light", item["image"])]
    if "mask" in item:
        line.append(Panel("labels", coloured(item["mask"], study.settings.dataset)))
        return [Panel("normal light", item["target"]), *line] if "target" in item else line
    return [_annotated("normal light, joints", item), *line]


def _annotated(title: str, item: dict) -> Panel:
    """A person in normal light with the annotated joints."""
    return Panel(title, item["target"], joints=item["joints"][None], limbs=LIMBS)


def test_items(study: RecognitionStudy, count: int) -> list[dict]:
    """`count` items, evenly over the low-light test set."""
    data = study.images("test", NIGHT)
    return [data[index] for index in spread(len(data), count)]


def predictions(study: RecognitionStudy, count: int) -> list[list[Panel]]:
    """Figs. 2 and 3: `count` test images as the rows give them, with what is recognized."""
    rows = [r for r in study.first_seed() if r.label in SHOWN or study.is_given(r)]
    recognizer, lines = study.recognizer(), []
    segmented = isinstance(study.downstream, Streets)
    for example, item in zip(examples(study, rows, count), test_items(study, count), strict=True):
        if segmented:
            lines += _segmented(study, recognizer, example, item)
        else:
            posed = [
                Panel(title, x, joints=recognizer.predict(x[None])["joints"], limbs=LIMBS)
                for title, x in example.shown().items()
            ]
            lines.append([*posed, _annotated("annotated", item)])
    return lines


def _segmented(
    study: RecognitionStudy, recognizer: Recognizer, example: Example, item: dict
) -> list[list[Panel]]:
    """A line of enhanced images, and below it one of what is recognized in them."""
    dataset, shown = study.settings.dataset, example.shown()
    enhanced = [Panel(title, image) for title, image in shown.items()]
    found = [
        Panel(f"{title}: recognized", coloured(recognizer.predict(image[None])[0], dataset))
        for title, image in shown.items()
    ]
    light = [] if example.target is None else [Panel("normal light", example.target)]
    return [[*enhanced, *light], [*found, Panel("annotated", coloured(item["mask"], dataset))]]


def comparisons(study: RecognitionStudy, count: int) -> dict[str, list[Panel]]:
    """Title → what is compared at one place, of `count` test images: as the rows give them, and
    what is recognized in them, which for poses is drawn onto the images."""
    lines, dataset = predictions(study, count), study.settings.dataset
    kinds = ["", ": what is recognized"] if isinstance(study.downstream, Streets) else [""]
    titles = [f"Test image {n} of {dataset}{kind}" for n in range(1, count + 1) for kind in kinds]
    return dict(zip(titles, lines, strict=True))


def coloured(mask: Tensor, dataset: str) -> Tensor:
    """Class ids (H, W) as an image (3, H, W) in Cityscapes' colours; 255 is black."""
    palette = torch.tensor(STREET_PALETTE, dtype=torch.float32) / 255
    if dataset == "camvid":
        palette = palette[list(CAMVID_COLOURS)]
    palette = torch.cat([palette, torch.zeros(1, 3)])
    return palette[mask.clamp(max=len(palette) - 1)].permute(2, 0, 1)
