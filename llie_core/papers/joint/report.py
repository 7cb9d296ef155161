"""What the report of paper 2 shows beside its scores: findings, tables by detector, detections,
audit; the claims are judged in claims.py."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.data.wrappers import spread
from llie_core.dataset import SizedDataset, items
from llie_core.files import read_rows
from llie_core.models import Enhancer
from llie_core.models.zero_dce import RGBCurves
from llie_core.names import split_label, title_of
from llie_core.papers import judging
from llie_core.papers.audit import audit_table, counted
from llie_core.papers.joint.study import (
    GROUPS,
    TINAFACE,
    JointStudy,
    read_by,
    split_variant,
    trainers,
)
from llie_core.papers.rows import Row, build_model
from llie_core.papers.study import TestSet
from llie_core.recognizers import Recognizer
from llie_core.reporting.figures import Panel
from llie_core.reporting.published import PublishedValue, load
from llie_core.reporting.published import table as published
from llie_core.reporting.scores import (
    Score,
    best_untrained,
    mean_of,
    reference_folder,
    reference_scores,
    select,
)
from llie_core.reporting.tables import (
    Table,
    conditions,
    mean_cell,
    published_beside_measured,
)
from llie_core.synthetic.faces import FACES
from llie_core.synthetic.photos import photograph
from llie_core.tasks.faces import HEIGHTS, SUBSETS, FaceDetection, height_name

SMALL = 32  # px; faces lower than this are small ones here
AUDIT_SIZE = (512, 1024)  # (H, W)
MAP_IMAGES = 64  # test images on which the curve maps are taken

# Tables ----------------------------------------------------------------------------------------


def reader_title(study: JointStudy, reader: str) -> str:
    """A detector as tables show it."""
    return study.tinaface_row.shown if reader == TINAFACE else title_of(reader)


def best_run(study: JointStudy) -> JointStudy:
    """The study of the kept run that is judged first, with its own detectors; else this one."""
    dataset = study.reference_dataset
    folder = reference_folder("joint", dataset)
    return study.open(folder.name, dataset) if folder else study


def best_evidence(study: JointStudy) -> list[Score]:
    """The scores of the reference run on this data set, if one is kept, else of this run."""
    dataset = study.settings.dataset
    scores = reference_scores("joint", dataset) or select(study.evaluate(), dataset=dataset)
    untrained = [row for row in study.rows() if not row.is_trained]
    order = [row.label for row in (*untrained, *study.possible_rows(), *study.rows())]
    known = [score for score in by_readers(study, scores) if score.label in order]
    return sorted(known, key=lambda score: order.index(score.label))


def by_readers(study: JointStudy, scores: Iterable[Score]) -> list[Score]:
    """Scores of the study's detectors, of rows that no other detector's loss has trained."""
    readers = study.settings.readers
    return [
        score
        for score in scores
        if score.recognizer in readers
        and split_variant(split_label(score.label)[1])[1] in (*readers, split_variant("")[1])
    ]


def printed_cells() -> list[PublishedValue]:
    """The cells of both tables, each row and subset once."""
    return list({(cell.label, cell.subset): cell for cell in load("joint")}.values())


def findings(study: JointStudy, scores: Sequence[Score]) -> Table:
    """One sentence a question, by the scores of one data set and each detector."""
    rows, known = [], trainers(scores)
    for reader in study.settings.readers:
        title, trainer = reader_title(study, reader), reader
        if known and reader not in known:
            trainer = known[0]
        by = "" if trainer == reader else f" by {reader_title(study, trainer)}'s loss"
        own = read_by(scores, reader, trainer)
        dark, alone, joint, normal = (_words(own, label) for label in GROUPS)
        best, count = best_untrained(select(own, metric="ap", subset="hard"))
        untrained = "None was evaluated."
        if best:
            untrained = f"After {title_of(best)} {_words(own, best)}, the best of {count}."
        rows += [
            [f"Does joint training{by} help {title}?",
             f"After joint training {joint}; after Zero-DCE++ alone {alone}."],
            [f"What do methods without training give {title}?", untrained],
            [f"How far is that from normal light for {title}?",
             f"In low light {dark}; in normal light {normal}."],
        ]  # fmt: skip
        low, by_itself, jointly, light = GROUPS
        pairs = [(jointly, by_itself), (jointly, low), (jointly, best), (light, jointly)]
        rows += judging.differences(study, own, pairs, "ap", "hard", title)
    note = f"AP on hard faces, recall; mean over seeds. {judging.evidence(study, _shown(scores))}"
    return Table("What was found", ["question", "finding"], rows, note)


def _words(scores: Sequence[Score], label: str) -> str:
    ap, recall = (
        mean_cell(select(scores, label=label, metric=metric, subset=subset), 3)
        for metric, subset in (("ap", "hard"), ("recall", "all"))
    )
    return f"AP {ap}, recall {recall}"


def _shown(scores: Iterable[Score]) -> list[Score]:
    return [s for s in scores if (s.metric, s.subset) in (("ap", "hard"), ("recall", "all"))]


def thesis_tables(study: JointStudy, scores: Sequence[Score]) -> list[Table]:
    """Tables 4.1 and 4.2, published beside measured, for each detector."""
    captions = {"4.1": "AP of four groups of test images", "4.2": "AP by the ratio W_up : W_down"}
    tables = []
    for number, caption in captions.items():
        for reader in study.settings.readers:
            whole = f"Table {number}: {caption}, read by {reader_title(study, reader)}"
            own = read_by(scores, reader)
            tables.append(published_beside_measured("joint", number, own, whole))
    return tables


def groups_table(study: JointStudy, scores: Sequence[Score], caption: str) -> Table:
    """The four groups: AP as printed (TinaFace, WIDER FACE) and as each detector has it here."""
    readers, names, rows = study.settings.readers, study.titles, []
    for label in GROUPS:
        printed = {c.subset: c.printed for c in published("joint", "4.1") if c.label == label}
        cells = [printed[subset] for subset in SUBSETS]
        for reader in readers:
            own = select(read_by(scores, reader), label=label, metric="ap")
            cells += [mean_cell(select(own, subset=subset), 3) for subset in SUBSETS]
        rows.append([title_of(label, names), *cells])
    columns = ("published", *(reader_title(study, reader) for reader in readers))
    header = ["", *[f"{subset}, {column}" for column in columns for subset in SUBSETS]]
    measured = [s for s in scores if s.metric == "ap" and s.subset in SUBSETS]
    return Table(caption, header, rows, "Measured: " + conditions(measured))


def every_row_table(study: JointStudy, scores: Sequence[Score]) -> Table:
    """Every row before every detector, those too that another detector's loss has trained."""
    readers, names, rows = study.settings.readers, study.row_titles, []
    for label in dict.fromkeys(s.label for s in scores):
        of_row = select(scores, label=label)
        cells = [
            mean_cell(select(of_row, recognizer=reader, metric=metric, subset=subset), 3)
            for reader in readers
            for metric, subset in (("ap", "hard"), ("recall", "all"), ("fp_per_image", "all"))
        ]
        quality = mean_cell(select(of_row, metric="psnr"), 2)
        quality = "–" if label == GROUPS[3] else quality  # normal light is what PSNR is taken to
        rows.append([title_of(label, names), *cells, quality])
    words = ("AP, hard", "recall", "false positives an image")
    columns = [reader_title(study, reader) for reader in readers]
    header = ["", *[f"{what}, {column}" for column in columns for what in words], "PSNR, dB"]
    shown = [s for s in scores if s.subset in ("hard", "all")]
    note = "A row that names no detector is trained by MTCNN's loss, if by any. Measured: "
    return Table("Every row before every detector", header, rows, note + conditions(shown))


def wider_tables(study: JointStudy, scores: Sequence[Score]) -> list[Table]:
    """The four groups, then every row, before each detector on WIDER FACE."""
    if not scores:
        rows = [[name, why] for name, why in study.absent().items()]
        return [Table("WIDER FACE: not run", ["data set", "why"], rows)]
    caption = "Table 4.1 on WIDER FACE: AP by the official protocol"
    return [groups_table(study, scores, caption), every_row_table(study, scores)]


def data_summary(study: JointStudy) -> Table:
    """Images, faces per subset and mean brightness of the test set; one image at a time."""
    data = study.data(study.main_set)
    count = without = 0
    faces, dark, light = dict.fromkeys(SUBSETS, 0), 0.0, 0.0
    missed: list[float] = []
    for item in items(data):
        count += 1
        if "exposure_target" in item["darkening"]:
            missed.append(abs(item["darkening"]["mean"] - item["darkening"]["exposure_target"]))
        without += not len(item["boxes"])
        dark, light = dark + item["image"].mean().item(), light + item["target"].mean().item()
        for subset in SUBSETS:
            faces[subset] += int(item["keep"][subset].sum())
    header = ["", "images", "without a face", *SUBSETS, "mean, low light", "mean, normal light"]
    cells = [study.settings.dataset, *map(str, (count, without, *faces.values()))]
    cells += [f"{dark / count:.2f}", f"{light / count:.2f}"]
    note = (
        f"EC-Zero-DCE: mean |mean − E| {sum(missed) / count:.4f}, largest {max(missed):.4f}."
        if missed
        else ""
    )
    caption = "Test set: faces by subset (each contains the ones before)"
    return Table(caption, header, [cells], note)


def losses_table(study: JointStudy) -> Table:
    """The losses of the first training step, before and after they are brought to one range, and
    of the last twentieth of the steps."""
    terms, rows = ("up_raw", "up", "down_raw", "down", "total"), []
    for title, log in study.logs().items():
        last = log[-max(1, len(log) // 20) :]
        for when, part in (("first", log[:1]), ("last", last)):
            of = {t: sum(step[t] for step in part) / len(part) for t in terms if t in part[0]}
            # W_up is 1 wherever it is not 0, so the rest of the total is the detector's.
            share = (of["total"] - of.get("up", 0.0)) / of["total"]
            cells = [f"{of[t]:.2f}" if t in of else "–" for t in terms]
            rows.append([title, when, *cells, f"{share:.0%}"])
    header = ["", "steps", "L_up", "L_up / s_up", "L_down", "L_down / s_down", "L_total",
              "detector's share"]  # fmt: skip
    note = "Last: the mean over the last twentieth of the steps."
    return Table("Losses of the first and the last steps", header, rows, note)


@torch.no_grad()
def curve_maps(study: JointStudy) -> Table:
    """How far the curve map A of each trained row varies within images and between them."""
    rows, data = [], study.data(study.main_set)
    chosen = spread(len(data), MAP_IMAGES)
    for row in (row for row in study.first_seed() if row.is_trained):
        model = study.load_as(RGBCurves, row, "cpu")
        images = (data[index]["image"][None] for index in chosen)
        within, means = map_statistics(model.training_outputs(x)["curve_maps"] for x in images)
        colours = ", ".join(f"{mean:.3f}" for mean in means.mean(0)[:3].tolist())
        between = means.std(0, correction=0).mean().item()
        rows.append([row.shown, colours, f"{within:.1e}", f"{between:.1e}"])
    header = ["", "mean A (R, G, B)", "sd within an image", "sd between images"]
    note = (
        f"{len(chosen)} of {len(data)} test images of {study.settings.dataset}, first seed; the "
        "mean of the channels' standard deviations (of 24 maps the mean A is that of the first "
        "three). A row whose two deviations are near 0 applies one curve to every pixel of every "
        "image."
    )
    return Table("Curve maps of every trained row", header, rows, note)


def map_statistics(maps: Iterable[Tensor]) -> tuple[float, Tensor]:
    """Of maps (1, C, H, W), one at a time: mean standard deviation over pixels; means (N, C)."""
    spreads, means = [], []
    for one in maps:
        pixels = one[0].flatten(1)  # (C, H·W)
        spreads.append(pixels.std(1, correction=0).mean())
        means.append(pixels.mean(1))
    return torch.stack(spreads).mean().item(), torch.stack(means)


def audit() -> Table:
    """Parameters and work of enhancers and detectors against what their own papers print, which
    cited.csv holds with its source."""
    cited = read_rows(Path(__file__).with_name("cited.csv"))
    networks = []
    for line in cited:
        name, option = line["network"], line["options"]
        key, _, value = option.partition("=")
        options = {key: int(value) if value.isdecimal() else value} if key else {}
        printed = {key: line[key] for key in ("parameters", "macs") if line[key]}
        size, more = AUDIT_SIZE if line["macs"] else None, {"option": option or "–"}
        model = build_model(name, options)
        networks.append(counted(title_of(name), model, size, published=printed, more=more))
    for name in ("ec_zero_dce", "mtcnn"):
        networks.append(counted(title_of(name), build_model(name, {})))
    sources = "; ".join(dict.fromkeys(f"{title_of(x['network'])}: {x['source']}" for x in cited))
    note = (
        f"Published: {sources}. The thesis prints none. Convolutions only. Ours keeps every pixel "
        "where the released test crops to multiples of 12 (its 0.036 is for 1020×504). EC-Zero-DCE "
        "is our re-statement."
    )
    return audit_table("joint", networks, AUDIT_SIZE, note)


# Small faces -----------------------------------------------------------------------------------


def gains_by_height(
    study: JointStudy, scores: Sequence[Score]
) -> dict[str, list[tuple[float, float]]]:
    """Row and detector → (face height in pixels, AP gained over the low-light image)."""
    names, lines = study.titles, {}
    for reader in study.settings.readers:
        own = read_by(scores, reader)
        for label in GROUPS[1:]:
            gains = [(_middle(span), _gain(own, label, span)) for span in HEIGHTS]
            title = f"{title_of(label, names)}, {reader_title(study, reader)}"
            lines[title] = [(x, gain) for x, gain in gains if gain is not None]
    return lines


def small_faces_gain(study: JointStudy, scores: Sequence[Score]) -> Table:
    """By face height: does joint training gain more AP on small faces than on large?"""
    rows = []
    for reader in study.settings.readers:
        own = read_by(scores, reader)
        small, large = (
            _mean_gain(own, [span for span in HEIGHTS if (span[1] <= SMALL) == low])
            for low in (True, False)
        )
        if small is None or large is None:
            rows.append([reader_title(study, reader), "–", "–", "not run"])
        else:
            title, more = reader_title(study, reader), small - large
            rows.append([title, f"{small:+.3f}", f"{large:+.3f}", f"{more:+.3f}"])
    header = ["read by", f"faces under {SMALL} px", "others", "difference"]
    note = "Joint training less the low-light image; mean over heights, weighted by faces."
    return Table("AP gained by joint training, by face height", header, rows, note)


def _gain(scores: Sequence[Score], label: str, span: tuple[int, int]) -> float | None:
    after, before = (
        mean_of(scores, label=row, metric="ap", subset=height_name(*span))
        for row in (label, GROUPS[0])
    )
    return after.mean - before.mean if after.seeds and before.seeds else None


def _mean_gain(scores: Sequence[Score], spans: Sequence[tuple[int, int]]) -> float | None:
    """Mean gain of joint training over ranges of height, weighted by their faces."""
    total = faces = 0.0
    for span in spans:
        gain = _gain(scores, GROUPS[2], span)
        if gain is not None:
            dark = select(scores, label=GROUPS[0], metric="ap", subset=height_name(*span))
            total, faces = total + gain * dark[0].n, faces + dark[0].n
    return total / faces if faces else None


def _middle(span: tuple[int, int]) -> float:
    """Where a range of heights stands on the axis."""
    least, most = span
    return (least + most) / 2 if most < HEIGHTS[-1][1] else 1.25 * least


# Figures ---------------------------------------------------------------------------------------


def group_rows(study: JointStudy) -> list[Row]:
    """The four groups of Table 4.1 for the main detector: dark, alone, joint, normal light."""
    wanted = (*GROUPS[:2], study.main_row().label, GROUPS[3])
    rows = {row.label: row for row in study.first_seed()}
    return [rows[label] for label in wanted if label in rows]


def ratio_rows(study: JointStudy) -> list[Row]:
    """The low-light image and one row a trained ratio, as Fig. 4.3 shows them."""
    return [study.row(GROUPS[0]), *(row for row in study.first_seed() if row.is_trained)]


def annotated(study: JointStudy, images: int = 3) -> list[list[Panel]]:
    """Test images with faces, in low light and in normal light, with the annotated boxes."""
    lines: list[list[Panel]] = [[], []]
    for item in _with_faces(study.data(study.main_set), images):
        lines[0].append(Panel(f"{item['name']}, low light", item["image"]))
        lines[1].append(Panel("normal light, annotated", item["target"], regions=item["boxes"]))
    return lines


def detections(
    study: JointStudy, rows: Sequence[Row], images: int, test_set: TestSet | None = None
) -> list[list[Panel]]:
    """For each of the first images with faces of a test set (default: the main one), one panel a
    row, detections ≥ 0.5."""
    test_set = test_set or study.main_set
    task = study.task(test_set)
    assert isinstance(task, FaceDetection)
    detector = task.readers[study.settings.recognizer].cpu()
    models = [study.load_as(Enhancer, row, "cpu") for row in rows]
    return [
        [_panel(row, model, detector, item) for row, model in zip(rows, models, strict=True)]
        for item in _with_faces(study.data(test_set), images)
    ]


def _panel(row: Row, model: Enhancer, detector: Recognizer, item: dict) -> Panel:
    given = item["target"] if row.normal_light else item["image"]
    image = model.enhance(given[None])
    found = detector.predict(image)[0]
    sure = found["scores"] >= 0.5
    return Panel(row.shown, image[0], found["boxes"][sure], found["scores"][sure])


def exposures(study: JointStudy, targets: Sequence[float]) -> list[Panel]:
    """A normal-light photograph darkened by EC-Zero-DCE to each target exposure (Fig. 3.1)."""
    row = study.darkener_row
    study.train(row, quiet=True)
    model = study.load_as(Enhancer, row, "cpu")
    photo = _portrait(study.settings.faces.test_size)
    images = [photo, *(model.enhance(photo[None], exposure=e)[0] for e in targets)]
    labels = ["normal light", *(f"E = {e:.2f}" for e in targets)]
    return [
        Panel(f"{label}, mean {image.mean():.3f}", image)
        for label, image in zip(labels, images, strict=True)
    ]


def _portrait(size: int) -> Tensor:
    """A photograph (3, size, size) in [0, 1] of a head and its surroundings."""
    source = FACES["test"]
    x0, y0, x1, y1 = source.box
    x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, 0.9 * (y1 - y0)
    box = (x - reach, y - reach, x + reach, y + reach)
    image = photograph(source.photo).resize((size, size), box=box)
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 255


def _with_faces(data: SizedDataset, count: int) -> list[dict]:
    found: list[dict] = []
    for item in items(data):
        if len(found) == count:
            break
        if len(item["boxes"]) >= 2:
            found.append(item)
    return found
