"""What the report of paper 2 shows beside its scores: pictures, audit, measured claims."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from llie_core.data import open_dataset
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.zero_dce import light_curve
from llie_core.published import PublishedValue
from llie_core.published import table as published
from llie_core.recipes.face_scores import HEIGHTS, SUBSETS, height_name
from llie_core.recipes.joint import JointRecipe, JointSettings
from llie_core.recipes.joint_rows import ALONE, JOINT, read_by
from llie_core.recognizers import create_recognizer
from llie_core.reporting.claims import NUMBERS, Verdict, judge
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table, conditions, published_beside_measured
from llie_core.runs import Run, RunKey

# The four groups of Table 4.1, as scores name them.
GROUPS = ("identity", f"zero_dce_pp+{ALONE}", f"zero_dce_pp+{JOINT}", "original")
SMALL = 32  # px; faces lower than this are small ones here


def thesis_tables(scores: Sequence[Score], readers: Sequence[str]) -> list[Table]:
    """Tables 4.1 and 4.2, published beside measured, for each detector."""
    titles = {"4.1": "AP of four groups of test images", "4.2": "AP by the ratio W_up : W_down"}
    return [
        published_beside_measured(
            "joint", number, read_by(scores, reader), f"Table {number}: {title}, read by {reader}"
        )
        for number, title in titles.items()
        for reader in readers
    ]


def side_by_side(scores: Sequence[Score], readers: Sequence[str], caption: str) -> Table:
    """The four groups: AP as printed (TinaFace, WIDER FACE) and as each detector has it here."""
    rows = []
    for label in GROUPS:
        printed = [c for c in published("joint", "4.1") if label in _names(c)]
        cells = [next(c.printed for c in printed if c.subset == subset) for subset in SUBSETS]
        for reader in readers:
            own = select(read_by(scores, reader), label=label, metric="ap")
            cells += [_mean(select(own, subset=subset)) for subset in SUBSETS]
        rows.append([label, *cells])
    header = ["", *[f"{s}, {who}" for who in ("published", *readers) for s in SUBSETS]]
    measured = [s for s in scores if s.metric == "ap" and s.subset in SUBSETS]
    return Table(caption, header, rows, "Measured: " + conditions(measured))


def wider_tables(scores: Sequence[Score], readers: Sequence[str]) -> list[Table]:
    """The four groups, then every row, before each detector on WIDER FACE."""
    if not scores:
        rows = [["wider-face", "no folder given (setting wider_face)"]]
        return [Table("WIDER FACE: not run", ["data set", "why"], rows)]
    caption = "Table 4.1 on WIDER FACE: AP by the official protocol"
    return [side_by_side(scores, readers, caption), crossed(scores, readers)]


def crossed(scores: Sequence[Score], readers: Sequence[str]) -> Table:
    """Every row before every detector, those too that another detector's loss has trained."""
    rows = []
    for label in dict.fromkeys(s.label for s in scores):
        of_row = [select(scores, label=label, recognizer=reader) for reader in readers]
        cells = [
            _mean(select(of, metric=metric, subset=subset))
            for of in of_row
            for metric, subset in (("ap", "hard"), ("recall", "all"), ("fp_per_image", "all"))
        ]
        rows.append([label, *cells, _mean(select(scores, label=label, metric="psnr"), ".2f")])
    words = ("AP, hard", "recall", "false positives a picture")
    header = ["", *[f"{what}, {reader}" for reader in readers for what in words], "PSNR, dB"]
    shown = [s for s in scores if s.subset in ("hard", "all")]
    note = "“2:1@tinaface” is trained by TinaFace's loss, “2:1” by MTCNN's. Measured: "
    return Table("Every row before every detector", header, rows, note + conditions(shown))


def gains_by_height(
    scores: Sequence[Score], readers: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Row and detector → (face height in pixels, AP gained over the dark picture)."""
    lines = {}
    for reader in readers:
        own = read_by(scores, reader)
        for label in GROUPS[1:]:
            gains = [(_middle(span), _gain(own, label, span)) for span in HEIGHTS]
            lines[f"{label}, {reader}"] = [(x, gain) for x, gain in gains if gain is not None]
    return lines


def small_faces_gain(scores: Sequence[Score], readers: Sequence[str]) -> Table:
    """Claim 2.15 by face height: does joint training gain more AP on small faces than on large?"""
    rows = []
    for reader in readers:
        own = read_by(scores, reader)
        small, large = (
            _mean_gain(own, [span for span in HEIGHTS if (span[1] <= SMALL) == low])
            for low in (True, False)
        )
        known = small is not None and large is not None
        verdict = ("holds" if small > large else "does not hold") if known else "not run"
        rows.append([reader, *(f"{g:+.3f}" if known else "–" for g in (small, large)), verdict])
    header = ["read by", f"faces under {SMALL} px", "others", "small faces gain more"]
    note = "Joint training less the dark picture; mean over ranges of height, weighted by faces."
    return Table("AP gained by joint training, by face height (claim 2.15)", header, rows, note)


def verdicts(
    recipe: JointRecipe, settings: JointSettings, scores: Sequence[Score]
) -> dict[str, list[Verdict]]:
    """Detector → the verdict on every claim; the measured ones are of the main detector."""
    main = settings.recognizer
    measured = measurements(recipe, settings, read_by(scores, main))
    context = recipe.context(settings)
    found = {main: judge("joint", read_by(scores, main), context, measured)}
    for reader in settings.readers:
        if reader != main:  # the thesis has one detector only
            other = replace(context, papers_own=False)
            found[reader] = judge("joint", read_by(scores, reader), other)
    return found


def verdicts_side_by_side(found: dict[str, list[Verdict]]) -> Table:
    """The claims that AP decides, and what each detector's numbers say of them."""
    rows = [
        [same[0].claim.id, same[0].claim.says, *(v.verdict for v in same)]
        for same in zip(*found.values(), strict=True)
        if same[0].claim.kind in NUMBERS
    ]
    return Table("Claims decided by AP, by detector", ["claim", "says", *found], rows)


def _gain(scores: Sequence[Score], label: str, span: tuple[int, int]) -> float | None:
    both = [
        select(scores, label=row, metric="ap", subset=height_name(*span))
        for row in (label, GROUPS[0])
    ]
    if not all(both):
        return None
    after, before = (summarise(s.value for s in of).mean for of in both)
    return after - before


def _mean_gain(scores: Sequence[Score], spans: Sequence[tuple[int, int]]) -> float | None:
    """Mean gain of joint training over ranges of height, weighted by their faces."""
    gains = {span: _gain(scores, GROUPS[2], span) for span in spans}
    faces = {
        span: select(scores, label=GROUPS[0], metric="ap", subset=height_name(*span))[0].n
        for span, gain in gains.items()
        if gain is not None
    }
    if not faces:
        return None
    return sum(gains[span] * n for span, n in faces.items()) / sum(faces.values())


def _names(cell: PublishedValue) -> tuple[str, str]:
    """A printed row's label, as scores name it, with a variant and without."""
    return f"{cell.method}+{cell.variant}", cell.method


def _middle(span: tuple[int, int]) -> float:
    """Where a range of heights stands on the axis."""
    least, most = span
    return (least + most) / 2 if most < HEIGHTS[-1][1] else 1.25 * least


def _mean(scores: Sequence[Score], form: str = ".3f") -> str:
    return format(summarise(s.value for s in scores), form) if scores else "not run"


def group_keys(recipe: JointRecipe, settings: JointSettings) -> list[RunKey]:
    """The four groups of Table 4.1 for the main detector: dark, alone, joint, normal light."""
    seed, rows = settings.seeds[0], recipe.rows(settings)
    trained = [recipe.key(settings, "zero_dce_pp", ratio, seed) for ratio in (ALONE, JOINT)]
    dark, bright = (recipe.key(settings, model) for model in ("identity", "original"))
    return [dark, *(key for key in trained if key in rows), bright]


def ratio_keys(recipe: JointRecipe, settings: JointSettings) -> list[RunKey]:
    """The dark picture and one row a trained ratio, as Fig. 4.3 shows them."""
    seed = settings.seeds[0]
    trained = [recipe.key(settings, "zero_dce_pp", ratio, seed) for ratio in settings.ratios]
    return [recipe.key(settings, "identity"), *trained]


def detections(
    recipe: JointRecipe, settings: JointSettings, keys: list[RunKey], pictures: int
) -> list[list[Panel]]:
    """For each of the first test pictures with faces, one panel a row, detections ≥ 0.5."""
    recognizer = recipe.reader(settings, settings.recognizer)
    models = {key: recipe.load(key, settings, "cpu") for key in keys}
    data, _ = recipe.test_data(settings)
    return [
        [_panel(key, models[key], recognizer, item) for key in keys]
        for item in _with_faces(data, pictures)
    ]


def exposures(
    recipe: JointRecipe, settings: JointSettings, targets: tuple[float, ...]
) -> list[Panel]:
    """A normal-light photograph darkened by EC-Zero-DCE to each target exposure (Fig. 3.1)."""
    key = recipe.darkener_key(settings)
    recipe.fit(key, settings)
    model = recipe.load(key, settings, "cpu")
    photos = open_dataset("builtin-photos", "test", size=settings.test_size, count=2)
    photo = photos[1]["target"]  # the portrait; the rocket's picture is dark to begin with
    images = [photo, *(model.enhance(photo[None], exposure=e)[0] for e in targets)]
    labels = ["original", *(f"E = {e:.2f}" for e in targets)]
    nothing = torch.zeros(0, 4), torch.zeros(0)
    return [
        Panel(f"{label}\nmean {image.mean():.3f}", image, *nothing)
        for label, image in zip(labels, images, strict=True)
    ]


def data_summary(recipe: JointRecipe, settings: JointSettings) -> Table:
    """Pictures, faces per subset and mean brightness of the test set."""
    data, _ = recipe.test_data(settings)
    items = [data[i] for i in range(len(data))]
    faces = [[item["keep"][s].sum().item() for item in items] for s in ("easy", "medium", "hard")]
    without = sum(len(item["boxes"]) == 0 for item in items)
    dark, light = (
        sum(item[side].mean().item() for item in items) / len(items) for side in ("image", "target")
    )
    row = [str(len(items)), str(without), *[str(sum(counts)) for counts in faces]]
    header = ["", "pictures", "without a face", "easy", "medium", "hard", "mean, dark", "normal"]
    cells = [settings.dataset, *row, f"{dark:.2f}", f"{light:.2f}"]
    return Table("Test set: faces by subset (each contains the ones before)", header, [cells])


def first_losses(recipe: JointRecipe, settings: JointSettings) -> Table:
    """The losses of the first training step, before and after they are brought to one range."""
    rows = []
    for ratio in settings.ratios:
        log = Run(recipe.key(settings, "zero_dce_pp", ratio, settings.seeds[0])).read_log()
        terms = ("up_raw", "up", "down_raw", "down", "total")
        rows.append([ratio, *(f"{log[0][t]:.2f}" if t in log[0] else "–" for t in terms)])
    header = ["W_up : W_down", "L_up", "L_up / s_up", "L_down", "L_down / s_down", "L_total"]
    return Table("Losses of the first step", header, rows)


def audit() -> Table:
    """Parameters and GMACs at 1024×512 (rows × columns: 512 × 1024) against published figures."""
    rows = []
    for label, options, parameters, macs in (
        ("zero_dce", {}, "79,416", "41.5"),
        ("zero_dce_pp", {}, "10,561", "5.28"),
        ("zero_dce_pp", {"scale_factor": 12}, "10,561", "0.036"),
    ):
        model = create_enhancer(label, **options)
        giga_macs = count_macs(model, (512, 1024)).macs / 1e9
        scale = options.get("scale_factor", 1)
        rows.append([label, f"1/{scale}", parameters, f"{count_parameters(model):,}", macs,
                     f"{giga_macs:.3g}"])  # fmt: skip
    for label, printed, model in (
        ("ec_zero_dce", "not published", create_enhancer("ec_zero_dce")),
        ("tinaface (ResNet-50)", "37.98 M", create_recognizer("tinaface")),
        ("tinaface, small", "ours", create_recognizer("tinaface", backbone="small")),
        ("mtcnn", "not published", create_recognizer("mtcnn")),
    ):
        count = f"{count_parameters(model):,}"
        rows.append([label, "–", printed, count, "not published", "not counted"])
    header = ["model", "curve map", "parameters, published", "here", "GMAC, published", "here"]
    note = (
        "One multiply-add counts 1; convolutions only. The released code crops to multiples of 12 "
        "(its 0.036 is for 1020×504), ours keeps every pixel. ec_zero_dce is our re-statement."
    )
    return Table("Audit at 1024×512", header, rows, note)


def measurements(
    recipe: JointRecipe, settings: JointSettings, scores: list[Score]
) -> dict[str, tuple[bool | None, str]]:
    """Properties that claims state, measured: name → (holds, evidence) or (None, why not)."""
    needs = "needs a trained zero_dce with 24 maps, which this report does not train"
    return {
        "curve_monotone": curve_is_monotone(),
        "maps_equal": (None, needs),
        "one_map_enough": (None, needs),
        "size_insensitive": _size_insensitive(recipe, settings),
        "scale_factor": _scale_factor_matters_little(recipe, settings),
        "quality_not_detection": _quality_is_not_detection(scores),
        "joint_step_slower": _joint_step_is_slower(recipe, settings),
    }


def curve_is_monotone() -> tuple[bool, str]:
    """Claim 2.05: the eightfold curve rises on [0, 1] and keeps 0 and 1, for A in [−1, 1]."""
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    worst = {}
    for curve in ("released", "thesis"):
        maps = [(torch.full_like(x, a),) * 8 for a in torch.linspace(-1, 1, 41).tolist()]
        results = [light_curve(x, map8, curve) for map8 in maps]
        ends = all(abs(y[0]) < 1e-12 and abs(y[-1] - 1) < 1e-12 for y in results)
        worst[curve] = min(y.diff().min().item() for y in results) if ends else float("-inf")
    evidence = "; ".join(f"{k}: smallest step {v:.1e} of 1001 points" for k, v in worst.items())
    return worst["released"] > -1e-12, evidence


def _panel(key: RunKey, model: nn.Module, recognizer: nn.Module, item: dict) -> Panel:
    source = item["target"] if key.model == "original" else item["image"]
    image = model.enhance(source[None])
    found = recognizer.predict(image)[0]
    sure = found["scores"] >= 0.5
    return Panel(key.variant or key.model, image[0], found["boxes"][sure], found["scores"][sure])


def _with_faces(data, count: int) -> list[dict]:
    found = []
    for i in range(len(data)):
        item = data[i]
        if len(item["boxes"]) >= 2:
            found.append(item)
        if len(found) == count:
            break
    return found


def _joint_model_and_images(recipe, settings, count: int = 8):
    key = recipe.key(settings, "zero_dce_pp", settings.ratios[-1], settings.seeds[0])
    data, _ = recipe.test_data(settings)
    images = torch.stack([data[i]["image"] for i in range(min(count, len(data)))])
    return recipe.load(key, settings, "cpu"), images


def _size_insensitive(recipe, settings) -> tuple[bool | None, str]:
    if settings.dataset != "builtin-faces":
        return None, "measured on built-in pictures of one size only"
    model, images = _joint_model_and_images(recipe, settings)
    half = nn.functional.interpolate(images, scale_factor=0.5, mode="area")
    whole = nn.functional.interpolate(model.enhance(images), scale_factor=0.5, mode="area")
    difference = (model.enhance(half) - whole).abs().mean().item()
    return difference < 0.02, f"mean |difference| at half the size {difference:.4f} (limit 0.02)"


def _scale_factor_matters_little(recipe, settings) -> tuple[bool | None, str]:
    if settings.dataset != "builtin-faces":
        return None, "measured on built-in pictures of one size only"
    model, images = _joint_model_and_images(recipe, settings)
    full = model.enhance(images)
    model.scale_factor = 12
    difference = (model.enhance(images) - full).abs().mean().item()
    return difference < 0.02, f"mean |difference|, map at 1/12: {difference:.4f} (limit 0.02)"


def _quality_is_not_detection(scores: list[Score]) -> tuple[bool | None, str]:
    """Claim 2.21: some row looks better (PSNR) than another and is detected worse (AP, hard)."""
    labels = dict.fromkeys(s.label for s in select(scores, metric="psnr"))
    values = {
        label: tuple(
            summarise(s.value for s in select(scores, label=label, metric=m, subset=subset)).mean
            for m, subset in (("psnr", "all"), ("ap", "hard"))
        )
        for label in labels
    }
    for a, (psnr_a, ap_a) in values.items():
        for b, (psnr_b, ap_b) in values.items():
            if psnr_a > psnr_b + 0.5 and ap_a < ap_b - 0.005:
                numbers = f"PSNR {psnr_a:.2f} > {psnr_b:.2f} dB, AP {ap_a:.3f} < {ap_b:.3f}"
                return True, f"{a} against {b}: {numbers}"
    return False, "no pair of rows with better PSNR (by 0.5 dB) and lower AP (by 0.005)"


def _joint_step_is_slower(recipe, settings) -> tuple[bool | None, str]:
    seconds = {}
    for ratio in (ALONE, JOINT):
        if ratio not in settings.ratios:
            return None, f"needs the ratio {ratio}"
        stamp = Run(recipe.key(settings, "zero_dce_pp", ratio, settings.seeds[0])).read_stamp()
        seconds[ratio] = stamp["seconds"] / stamp["steps_done"]
    evidence = ", ".join(f"{ratio}: {s:.3f} s a step" for ratio, s in seconds.items())
    return seconds[JOINT] > seconds[ALONE], evidence
