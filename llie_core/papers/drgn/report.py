"""What the report of paper 4 shows besides what papers 3 to 5 share: findings, its tables, the
detections of Fig. 7, Fig. 6, and the verdicts. What the first trainings learned: degradation.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from llie_core.data import dataset_spec
from llie_core.dataset import items
from llie_core.metrics.cost import count_macs
from llie_core.metrics.protocols import load_protocols
from llie_core.models import Enhancer, create_enhancer
from llie_core.models.drgn import VARIANTS
from llie_core.names import join_label, metric_title, split_label, title_of
from llie_core.papers import judging
from llie_core.papers.audit import audit_table, counted
from llie_core.papers.drgn.degradation import first_logs, measurements, shown_rows
from llie_core.papers.drgn.study import (
    ANCHORED,
    COST_SIZE,
    FIRST,
    PAIRS,
    REAL,
    STANDS_FOR,
    DrgnStudy,
)
from llie_core.papers.images import Example, colour_share, colour_shares, examples
from llie_core.reporting.claims import Context, Verdict
from llie_core.reporting.figures import Panel
from llie_core.reporting.published import table as published_table
from llie_core.reporting.scores import (
    Score,
    best_untrained,
    kept_logs,
    mean_of,
    reference_scores,
    select,
)
from llie_core.reporting.sources import Source, no_copy, verdicts_by
from llie_core.reporting.tables import (
    NOT_RUN,
    Table,
    conditions,
    mean_cell,
    published_beside_measured,
    reasons_table,
)
from llie_core.tasks.detection import MEASURES, ObjectDetection

QUALITY = ("psnr", "ssim", "fsim")  # of Tables 1 and 2
REAL_NAME = "+".join(REAL)
SETS = {"test148": "Test148", "lol1000": "LOL1000", "voc144": "VOC144"}
ONE_STEP = "drgn+w/o DL-DA"  # without the first training
WHY_NO_ROW = 'ask for them by the setting rows: [drgn, "drgn+w/o KL", …]'

# Findings --------------------------------------------------------------------------------------


def reference() -> list[Score]:
    """The reference runs' scores on LOL and on the detection sets; empty where none are kept."""
    return [score for name in ("", *STANDS_FOR) for score in reference_scores("drgn", "lol", name)]


def findings(study: DrgnStudy, scores: Sequence[Score]) -> Table:
    """A sentence a question, from scores of one report and the logs of their trainings.

    Of DRGN where it was evaluated, else of LW-DRGN, where a question asks of one network alone.
    """
    own = select(scores, dataset=scores[0].dataset, metric="psnr")
    main = "drgn" if select(own, label="drgn") or not select(own, label="lw_drgn") else "lw_drgn"
    rival, count = best_untrained(own)
    untrained = "none was evaluated (setting baselines)"
    if rival:
        untrained = f"{_against(own, main, rival)}, the best of {count}"
    rows = [
        ["Are two steps better than one?", _against(own, "drgn", ONE_STEP)],
        ["Is it the degradation that is learned?", _learned(study, scores)],
        ["What does LW-DRGN lose, a seventh as large?", _against(own, "lw_drgn", "drgn")],
        [f"Is {title_of(main)} better than methods without training?", untrained],
    ]  # fmt: skip
    for name in dict.fromkeys(s.dataset for s in scores if s.metric == "map_50"):
        found = select(scores, dataset=name, metric="map_50")
        best, count = best_untrained(found)
        here = {score.label for score in found}
        # One step may serve a detector better than the eye; not every set has normal light.
        labels = [main, *({ONE_STEP} & here), "identity", best, *({"original"} & here)]
        means = {x: mean_of(found, label=x) for x in labels if x}
        words = ", ".join(
            f"{title_of(x)} {f'{mean:.3f}' if mean.seeds else NOT_RUN}"
            f"{f' ({_rank(found, best, count)})' * (x == best)}"
            for x, mean in means.items()
        )
        question = f"Does a detector find more on the {found[0].n} images of {name}?"
        rows.append(
            [question, "; ".join([f"mAP50: {words}", *study.blind_readers(found).values()])]
        )
    pairs = [("drgn", ONE_STEP), (f"drgn+{ANCHORED}", "drgn"), ("lw_drgn", "drgn"), (main, rival)]
    rows += judging.differences(study, own, pairs, "psnr")
    used = [s for s in scores if s in own or s.metric == "map_50"]
    note = f"Mean over seeds. {judging.evidence(study, used)}"
    return Table("What was found", ["question", "finding"], rows, note)


def _rank(scores: Sequence[Score], best: str, count: int) -> str:
    """ "the best of 3 without training", or of how many of them it is no better."""
    top = mean_of(scores, label=best).mean
    level = {s.label for s in scores if s.weights == "none" and round(s.value - top, 3) == 0}
    level -= {"identity", "original"}
    words = "the best of" if len(level) == 1 else f"level with {len(level) - 1} more of the"
    return f"{words} {count} without training"


def _learned(study: DrgnStudy, scores: Sequence[Score]) -> str:
    """The deviation of I_D within an image at the end of each first training: of the reference
    run, where the scores are its, else of this run."""
    logs: Mapping[str, Sequence[Mapping]] = first_logs(study)
    if scores[0] in reference():
        kept = kept_logs("drgn", "lol")
        logs = {title_of(label.replace(FIRST, "")): kept[label] for label in kept if FIRST in label}
    words = []
    for title, log in ((title, log) for title, log in logs.items() if log):
        own, true, collapsed = (
            float(log[-1][key]) for key in ("degradation_std", "true_std", "collapsed")
        )
        words.append(f"{title}: {'collapsed' if collapsed else 'not collapsed'}, standard "
                     f"deviation of I_D {own:.4f}, of I_L − I {true:.4f}")  # fmt: skip
    return "; ".join(words) or "no first training was run"


def _against(scores: Sequence[Score], label: str, other: str) -> str:
    """One row's PSNR against another's, in words."""
    parts = []
    for name in (label, other):
        mean = mean_of(scores, label=name)
        title = title_of(name)
        if not mean.seeds:
            return f"{title}: not evaluated"
        parts.append(f"{title} {mean:.2f} dB")
    return " against ".join(parts)


# Tables of quality and cost --------------------------------------------------------------------


def own_scores(study: DrgnStudy, scores: Iterable[Score]) -> list[Score]:
    """Those on the test pairs, costs included."""
    return select(scores, dataset=study.test_name)


def table_1(study: DrgnStudy, scores: Sequence[Score]) -> Table:
    """Table 1, the ablation: on LOL1000 where it is at hand, else on the report's own pairs."""
    here = select(scores, dataset="lol1000") or own_scores(study, scores)
    return published_beside_measured("drgn", "1", here, "Table 1: ablation", decimals=3)


def table_2(study: DrgnStudy, scores: Sequence[Score]) -> Table:
    """Table 2's quality, a row a method: PSNR / SSIM / FSIM on each set, as printed and here."""
    cells = [cell for cell in published_table("drgn", "2") if cell.metric in QUALITY]
    printed: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        printed.setdefault((cell.label, cell.dataset), {})[cell.metric] = cell.printed
    sets = list(dict.fromkeys(cell.dataset for cell in cells))
    names = (study.test_name, *PAIRS)
    here = {name: found for name in names if (found := select(scores, dataset=name))}
    rows = [
        [
            title,
            *(_joined(printed.get((label, name), {})) for name in sets),
            *(_joined(_measured(select(found, label=label))) for found in here.values()),
        ]
        for label, title in _titles(study, own_scores(study, scores)).items()
    ]
    titles = [f"{SETS.get(name, 'average')}, published" for name in sets]
    header = ["PSNR / SSIM / FSIM", *titles, *[f"{name}, here" for name in here]]
    used = [s for found in here.values() for s in found if s.metric in QUALITY]
    note = f"Published: DRGN trained on LOL. Here: {conditions(used)}"
    return Table("Table 2: quality", header, rows, note)


def cost_table(study: DrgnStudy, scores: Sequence[Score]) -> Table:
    """Table 2's cost, a row a method: parameters, work at 384×384, time."""
    cells = {(c.label, c.metric): c.printed for c in published_table("drgn", "2")}
    scores, rows = own_scores(study, scores), []
    work = {name: count_macs(create_enhancer(name), COST_SIZE).macs for name in ("drgn", "lw_drgn")}
    for label, title in _titles(study, scores).items():
        printed = [cells.get((label, m), "–") for m in ("parameters", "flops", "latency")]
        found = {m: select(scores, label=label, metric=m) for m in ("parameters", "latency")}
        size, time = (found[m][0].value if found[m] else None for m in found)
        model, variant = split_label(label)
        counted = work.get(model) if not variant.startswith("w/o") else None
        rows.append([
            title,
            printed[0], NOT_RUN if size is None else f"{size / 1e6:.3f}",
            printed[1], NOT_RUN if size is None else f"{counted / 1e9:.2f}" if counted else "–",
            printed[2], NOT_RUN if time is None else f"{time / 1e3:.3f}",
        ])  # fmt: skip
    header = ["", "parameters, M, published", "here", "GFlops, published", "GMAC, here",
              "time, s, published", "here"]  # fmt: skip
    height, width = study.settings.evaluation.cost_size
    device = next((s.device for s in select(scores, metric="latency")), "no device")
    note = (
        "The published GFlops of DRGN are multiply-adds: its layers have that many. Published "
        "time: 384×384, device not stated (it was trained on a Titan Xp). Here: "
        f"{width}×{height}, one image, float32, {device}. {study.timing()}"
    )
    return Table("Table 2: cost", header, rows, note)


def _titles(study: DrgnStudy, scores: Iterable[Score]) -> dict[str, str]:
    """Label → title, of the methods of Table 2 and then of the rows evaluated here."""
    ours = {s.label: study.titles[s.label] for s in scores}
    return {c.label: c.header for c in published_table("drgn", "2")} | ours


def _joined(values: Mapping[str, str]) -> str:
    return " / ".join(values.get(metric, "–") for metric in QUALITY) if values else "–"


def _measured(scores: Sequence[Score]) -> dict[str, str]:
    """Metric → mean over seeds as text, of the metrics of Table 2 that were measured."""
    places = {"psnr": 2, "ssim": 3, "fsim": 3}
    found = {metric: select(scores, metric=metric, subset="all") for metric in QUALITY}
    return {m: f"{mean_of(of):.{places[m]}f}" for m, of in found.items() if of}


def table_3(scores: Sequence[Score]) -> Table:
    """Table 3, real photographs: DICM and MEF, of which Real63 has 63 images, not listed."""
    table = published_beside_measured(
        "drgn", "3", pooled(scores), "Table 3: real photographs", decimals=3, flip=True
    )
    study = [i for i, title in enumerate(table.header) if title.startswith(("CN", "CD"))]
    asked = {i for i in study if table.header[i].endswith("here")}
    rows = [
        ["cannot be re-run" if i in asked else cell for i, cell in enumerate(row)]
        for row in table.rows
    ]
    note = (
        "Real63 is not listed; here it is all of DICM and MEF that is given. CN and CD are scores "
        f"by 30 persons. {table.note}"
    )
    return replace(table, rows=rows, note=note)


def pooled(scores: Iterable[Score]) -> list[Score]:
    """The mean over the images of DICM and MEF together, of rows that were evaluated on both."""
    groups: dict[tuple, list[Score]] = {}
    for score in scores:
        if score.dataset in REAL:
            groups.setdefault((score.run, score.metric), []).append(score)
    found = []
    for of in (group for group in groups.values() if len(group) == len(REAL)):
        n = sum(score.n for score in of)
        value = sum(score.n * score.value for score in of) / n
        found.append(replace(of[0], dataset=REAL_NAME, value=value, n=n))
    return found


def absent_table(study: DrgnStudy) -> Table:
    """What of the paper was not run here, and why."""
    known = load_protocols()
    rows = [[name, why] for name, why in study.absent().items()]
    rows += [
        [metric_title(known[name].metric), why]
        for name in study.unpaired_protocols
        if (why := known[name].missing_weights())
    ]
    absent = [title_of(x) for x in study.trained_labels if x not in study.settings.rows]
    rows += [[", ".join(absent), WHY_NO_ROW]] if absent else []
    rows += [
        [
            "MIRNet to EnlightenGAN",
            "other programs: put their images into a folder (setting external)",
        ],
        ["Real63", "63 images of DICM and MEF, not listed; all that is given of both stands in"],
        ["NightSurveillance", "named in the text; the paper prints no table of it"],
        ["CN and CD of Table 3", "a study with 30 persons cannot be re-run"],
    ]
    return reasons_table(rows)


def audit() -> Table:
    """Parameters and GMAC at 384×384 of the networks, against the published ones."""
    networks = []
    for name, variant in (("drgn", ""), ("lw_drgn", ""), *(("drgn", v) for v in VARIANTS[1:3])):
        model = create_enhancer(name, **({"variant": variant} if variant else {}))
        label = join_label(name, variant)
        networks.append(counted(title_of(label), model, COST_SIZE, label=label))
    note = (
        "So do the published figures, called Flops. Widths are not printed; ours meet both figures "
        "within 0.1 %. Uniform 64 channels, another reading, would be 225.8 GMAC. The text's "
        "8.37 % of KinD's parameters for LW-DRGN is 8.23 % by its own table."
    )
    return audit_table("drgn", networks, COST_SIZE, note)


# Detection -------------------------------------------------------------------------------------


def table_4(scores: Sequence[Score]) -> list[Table]:
    """Tables 4(a) and 4(b), once for each set that is theirs or stands in for it.

    "–" where a row was read but none of its detections counts.
    """
    tables = []
    for part, wanted in (("4a", "coco1000"), ("4b", "exdark")):
        labels = {cell.header: cell.label for cell in published_table("drgn", part)}
        for name in dict.fromkeys(s.dataset for s in scores if STANDS_FOR.get(s.dataset) == wanted):
            found = select(scores, dataset=name)
            caption = f"Table {part}: {wanted} as published, {name} here"
            table = published_beside_measured("drgn", part, found, caption, decimals=2, flip=True)
            read = {score.label for score in found if score.metric == "map"}
            blank = [i for i, title in enumerate(table.header) if title.startswith("Detection")]
            rows = [
                ["–" if i in blank and cell == NOT_RUN and labels[row[0]] in read else cell
                 for i, cell in enumerate(row)]
                for row in table.rows
            ]  # fmt: skip
            header = [title.rpartition(" / ")[2] for title in table.header]
            tables.append(replace(table, header=header, rows=rows))
    return tables


def detection_tables(study: DrgnStudy, scores: Sequence[Score]) -> list[Table]:
    """Every row on each detection set: mAP in both readings, precision, matched IoU, quality."""
    metrics = (*MEASURES, "psnr", "ssim", "niqe", "sseq")
    tables = []
    for name in dict.fromkeys(s.dataset for s in scores if s.dataset in STANDS_FOR):
        found = select(scores, dataset=name)
        shown = [metric for metric in metrics if select(found, metric=metric)]
        rows = [
            [study.titles[x], *(_mean(select(found, label=x, metric=metric)) for metric in shown)]
            for x in dict.fromkeys(score.label for score in found)
        ]
        note = (
            f"Measured: {conditions(found)} mAP is COCO's (IoU .50 to .95), mAP50 at IoU 0.5; "
            "–: no detection counts; normal light: the same scene in daylight."
        )
        header = ["", *map(metric_title, shown)]
        tables.append(Table(f"Detection on {name}", header, rows, note))
    return tables


def _mean(scores: Sequence[Score]) -> str:
    places = 2 if scores and scores[0].unit in ("dB", "index") else 3
    return mean_cell(scores, places, none="–")


def detections(study: DrgnStudy) -> list[list[Panel]]:
    """Fig. 7: one image of each detection set as each row gives it, with the strongest of what is
    found in it: as many boxes as it has objects."""
    lines = []
    for one in study.detection.sets:
        task = study.task(one)
        if not isinstance(task, ObjectDetection):
            continue
        first, detector = islice(items(study.data(one)), 8), task.detector.to("cpu")
        item = max(first, key=lambda item: int((~item["ignore"]).sum()))  # has most objects
        boxes = item["boxes"][~item["ignore"]]
        panels = [Panel(f"{one.name}: truth", item["image"], boxes, torch.ones(len(boxes)))]
        for row in filter(one.rows, study.first_seed()):
            if row.source != "external":
                given = item["target" if row.normal_light else "image"]
                image = study.load_as(Enhancer, row, "cpu").enhance(given[None])
                found = detector.predict(image)[0]  # by falling score
                best = (found[key][: len(boxes)] for key in ("boxes", "scores"))
                panels.append(Panel(row.shown, image[0], *best))
        lines += [panels[start : start + 4] for start in range(0, len(panels), 4)]
    return lines


# Images ----------------------------------------------------------------------------------------


def scenes(study: DrgnStudy) -> dict[str, list[Example]]:
    """Figs. 1, 4 and 5: data set → examples of it; the own test pairs, then other sets."""
    rows = shown_rows(study)
    found = {study.test_name: examples(study, rows, 3)}
    for one in (*study.unpaired.sets, *study.paired.sets):
        found[one.name] = examples(study, rows, 1, one)
    return found


def luma_shares(study: DrgnStudy) -> tuple[dict[str, Tensor], Tensor]:
    """Fig. 6: histogram of Y by row and that of the ground truth, for `figures.histograms`."""
    example = examples(study, shown_rows(study), 2)[-1]
    return colour_shares(example, luma=True), colour_share(example.truth, luma=True)


# Verdicts --------------------------------------------------------------------------------------


def verdicts(study: DrgnStudy, scores: Sequence[Score]) -> list[Verdict]:
    """The verdict on every claim, by the reference run and by this one."""
    return judging.verdicts(study, scores, measurements(study), judged)


def judged(
    study: DrgnStudy, scores: Sequence[Score], context: Context, measured: Mapping
) -> list[Verdict]:
    """By each set of one run's scores that is of a claim's sets or stands for them."""
    first, *others = sources(study, scores, context)
    return verdicts_by("drgn", [replace(first, measured=measured), *others], why_not)


def why_not(sets: Sequence[str]) -> str:
    """Why none of the scores are of some sets of the paper."""
    if set(sets) == {"real63"}:
        return "its images are not listed, and DICM and MEF were not given and evaluated"
    return no_copy(sets)


def sources(study: DrgnStudy, scores: Sequence[Score], context: Context) -> list[Source]:
    """The scores that judge claims, a source a data set, that trained on first."""
    at_hand = [name for name in PAIRS if select(scores, dataset=name)]
    # Claims of time are of 384×384.
    timed = study.settings.evaluation.cost_size == COST_SIZE
    own = [s for s in own_scores(study, scores) if timed or s.metric != "latency"]
    # The pairs of the set trained on stand for all sets of quality of which there is no copy.
    covered = frozenset(PAIRS) - {*at_hand}
    found = [Source(covered, own, replace(context, papers_own=False))]
    for name in at_hand:
        of, expected = select(scores, dataset=name), dataset_spec(name).expected["test"]
        whole = {s.n for s in select(of, metric="psnr")} == {expected}
        own_set = replace(context, dataset=name, papers_own=context.papers_own and whole)
        found.append(Source(frozenset({name}), of, own_set))
    apart = [(REAL_NAME, "real63", pooled(scores))]
    apart += [(name, wanted, select(scores, dataset=name)) for name, wanted in STANDS_FOR.items()]
    for name, wanted, of in apart:
        if of:
            # Real63 is not listed, COCO1000 not published, and which part of ExDark not said.
            blind = study.blind_readers(of)
            other = replace(context, dataset=name, papers_own=False, blind=blind)
            found.append(Source(frozenset({wanted}), of, other))
    return found
