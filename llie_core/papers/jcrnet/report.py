"""What the report of paper 3 shows: findings, its tables set by set, audit, verdicts.

Its charts and images are in figures.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llie_core.data import dataset_spec
from llie_core.data.unpaired import PHONES
from llie_core.metrics.cost import count_macs
from llie_core.metrics.protocols import load_protocols
from llie_core.models import create_enhancer
from llie_core.models.jcrnet import ABLATIONS, NEVER_RUN
from llie_core.names import join_label, metric_title, title_of
from llie_core.papers import judging
from llie_core.papers.audit import audit_table, counted
from llie_core.papers.jcrnet.study import (
    COST_SIZE,
    ECSSD,
    LOL_384,
    METRICS,
    PAIRS,
    READERS,
    SALIENCY,
    VIDEO,
    JcrnetStudy,
)
from llie_core.papers.paired import QUICK_PROTOCOLS
from llie_core.papers.study import TestSet
from llie_core.recognizers import create_recognizer
from llie_core.reporting.claims import Context, Measured, Verdict
from llie_core.reporting.published import PublishedValue
from llie_core.reporting.published import table as published_table
from llie_core.reporting.scores import (
    Score,
    best_untrained,
    mean_of,
    reference_scores,
    select,
    summarise,
)
from llie_core.reporting.sources import Source, verdicts_by
from llie_core.reporting.tables import (
    Table,
    conditions,
    published_beside_measured,
    reasons_table,
    score_table,
)
from llie_core.tasks.quality import MAIN
from llie_core.tasks.saliency import MEASURES

# Of the table of all rows; GT-mean PSNR last.
COLUMNS = [(m, "all") for m in ("psnr", "ssim", "lpips", "niqe", "brisque", QUICK_PROTOCOLS[-1])]
TABLES = ("I", "II", "III", "IV", "V", "VI", "VIII")
RGB = SALIENCY[2]
# Set of the paper → what its columns hold where it cannot be had; "{set}" is the one at hand.
STAND_INS = {
    "lol": "built-in photographs, darkened ({set})",
    "toys": "the test pairs under a green cast ({set})",
    RGB: "drawn streets at night ({set}), read by {reader}",
}
READ_BY = {"saliency_net": "a small network trained on normal-light ones", "vst": "VST"}
READ_AS = {"identity": "on the input", "jcrnet": "after JCRNet", "original": "in normal light"}
ASK = 'ask for ablations by the setting rows: [jcrnet, "jcrnet+w/o JRS", …]'


# Scores by what they are of ----------------------------------------------------------------------


def of_pairs(study: JcrnetStudy, scores: Sequence[Score]) -> list[Score]:
    """Those on the test pairs of the set trained on, costs included."""
    return select(scores, dataset=study.settings.dataset, recognizer="")


def of_saliency(scores: Sequence[Score]) -> list[Score]:
    """Those of what a saliency network finds."""
    return [score for score in scores if score.recognizer]


def of_other_sets(study: JcrnetStudy, scores: Sequence[Score]) -> list[Score]:
    """Those on other sets, the green cast and the means over the phones included."""
    other = [s for s in select(scores, recognizer="") if s.dataset != study.settings.dataset]
    return other + phone_means(other)


def phone_means(scores: list[Score]) -> list[Score]:
    """Table VIII's last columns: the mean over the phones, where all four were evaluated."""
    groups: dict[tuple, list[Score]] = {}
    for score in select(scores, dataset=VIDEO):
        groups.setdefault((score.run, score.metric), []).append(score)
    return [
        replace(of[0], subset="mean", value=mean_of(of).mean,
                n=sum(s.n for s in of))
        for of in groups.values() if len(of) == len(PHONES)
    ]  # fmt: skip


# Findings ----------------------------------------------------------------------------------------


def best_evidence(study: JcrnetStudy) -> list[Score]:
    """Scores on the pairs and of saliency on streets: of the reference run on LOL where one is
    kept, else of this run."""
    if kept := reference_scores("jcrnet", "lol"):
        order = {row.label: place for place, row in enumerate(study.open("paper").rows())}
        kept = sorted(kept, key=lambda score: order.get(score.label, len(order)))
        return kept + reference_scores("jcrnet", "lol", SALIENCY[0])
    scores = study.evaluate()
    return of_pairs(study, scores) + select(of_saliency(scores), dataset=SALIENCY[0])


def findings(study: JcrnetStudy, scores: list[Score]) -> Table:
    """A sentence a question, from scores of one report; "not evaluated" where rows are absent."""
    pairs = select(scores, metric="psnr", recognizer="", dataset=scores[0].dataset)
    saliency = select(of_saliency(scores), metric="mae", dataset=SALIENCY[0])
    best, count = best_untrained(pairs)
    own = mean_of(pairs, label="jcrnet")
    ours = f"{own:.2f} dB" if own.seeds else "JCRNet was not evaluated (setting rows)"
    others = "no method without training was evaluated (setting baselines)"
    if best:
        others = f"{mean_of(pairs, label=best):.2f} dB of {title_of(best)}, the best of {count}"
    parts = [
        f"{title_of(label)} {mean_of(pairs, label=label):.2f} dB"
        for label in dict.fromkeys(s.label for s in pairs if s.label.startswith("jcrnet+"))
    ]
    seen, of = best_untrained(saliency)
    untrained = (
        {seen: f"after {title_of(seen)} (the best of {of} without training)"} if seen else {}
    )
    read = [
        f"{mean_of(found):.3f} {what}"
        for label, what in (READ_AS | untrained).items()
        if (found := select(saliency, label=label))
    ]
    rows = [
        ["Is it ahead of methods without training?",
         f"{ours}{' against ' if own.seeds and best else '; '}{others}."],
        ["Do its parts each matter?", f"JCRNet {own:.2f} dB; {'; '.join(parts)}."
         if parts and own.seeds else
         f"Not evaluated; {ASK}."],
        ["Does a saliency network find more in its images?",
         f"Its error on streets at night: {', '.join(read)}." if read else "Not evaluated."],
    ]  # fmt: skip
    without = dict.fromkeys(s.label for s in pairs if s.label.startswith("jcrnet+"))
    compared = [("jcrnet", x) for x in (best, *without)]
    rows += judging.differences(study, pairs, compared, "psnr")
    note = f"PSNR and MAE, mean over seeds. {judging.evidence(study, pairs)}"
    if saliency:
        note += f" Saliency: {conditions(saliency)}"
    return Table("What was found", ["question", "finding"], rows, note)


# Tables ------------------------------------------------------------------------------------------


def row_table(study: JcrnetStudy, scores: list[Score], caption: str) -> Table:
    """Every row on pairs."""
    return score_table(scores, COLUMNS, caption, study.titles)


def paper_table(study: JcrnetStudy, number: str, scores: list[Score]) -> list[Table]:
    """One of Tables I to VI, VIII and IX, published beside measured, a table a data set.

    Table I has a row a method here, as Table II has it in print.
    """
    cells, flip = published_table("jcrnet", number), number == "I"
    found = []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        pool = _pool(study, scores, dataset)
        if number == "I" and dataset == "lol":  # at the paper's size where it was evaluated
            pool = select(scores, dataset=LOL_384) or pool
        whole = published_beside_measured(
            "jcrnet", number, pool, f"Table {number}, {dataset}", decimals=3, flip=flip
        )
        own = [cell for cell in cells if cell.dataset == dataset]
        found.append(replace(_part_of(whole, own, flip), note=_note(own, pool, dataset)))
    return found


def _pool(study: JcrnetStudy, scores: list[Score], dataset: str) -> list[Score]:
    """The scores on one of the paper's sets, or on what stands in for it."""
    pairs, others = of_pairs(study, scores), of_other_sets(study, scores)
    saliency = of_saliency(scores)
    own = select(pairs + others + saliency, dataset=dataset)
    if own or dataset not in STAND_INS:
        return own
    if dataset == "toys":
        return [score for score in others if score.dataset.endswith("-cast")]
    pool = saliency if dataset == RGB else pairs
    return [score for score in pool if score.dataset.startswith("builtin-")]


def _part_of(whole: Table, cells: list[PublishedValue], flip: bool) -> Table:
    """The rows and columns of a table that hold some cells; the set's name is in the caption."""
    names = [(c.title, c.header)[::-1] if flip else (c.title, c.header) for c in cells]
    titles, headers = ({name[i] for name in names} for i in (0, 1))
    columns = [0, *(i for i, t in enumerate(whole.header) if t.rsplit(", ", 1)[0] in headers)]
    rows = [[row[i] for i in columns] for row in whole.rows if row[0] in titles]
    prefixes = {header.split(" / ")[0] for header in headers if " / " in header}
    shown = [whole.header[i] for i in columns]
    if len(prefixes) == 1:
        shown = [title.removeprefix(f"{next(iter(prefixes))} / ") for title in shown]
    return replace(whole, header=shown, rows=rows)


def _note(cells: list[PublishedValue], pool: list[Score], dataset: str) -> str:
    """What both halves of a table are of; notes on misprints, each once."""
    wanted = {(cell.metric, cell.subset) for cell in cells}
    used = [score for score in pool if (score.metric, score.subset) in wanted]
    remarks: dict[str, list[str]] = {}
    for cell in cells:
        if cell.status == "misprint" and cell.note:
            remarks.setdefault(cell.note, []).append(f"{cell.title}, {cell.header}")
    words = [f"Here: {conditions(used)}" if used else "Not run here."]
    if used and used[0].dataset not in (dataset, LOL_384):
        reader = READ_BY.get(used[0].recognizer, "")
        what = STAND_INS[dataset].format(set=used[0].dataset, reader=reader)
        words.append(f"These stand in for {dataset}: {what}.")
    elif used and dataset == "lol":
        words.append("Published on 100 of LOL's 500 pairs, which the paper does not list.")
    return " ".join([*words, *(f"* {'; '.join(of)}: {note}" for note, of in remarks.items())])


def cost_table(study: JcrnetStudy, scores: list[Score]) -> Table:
    """Table VII: parameters, work and speed, all at the paper's 384×384."""
    own = select(of_pairs(study, scores), label="jcrnet")
    here, rates = select(own, metric="parameters"), frame_rates(own)
    macs = count_macs(create_enhancer("jcrnet"), COST_SIZE).macs
    assert macs is not None  # it has parameters
    here.append(replace(here[0], metric="flops", value=macs / 1e9, protocol="cost-macs"))
    size = study.settings.evaluation.cost_size
    here += rates if size == COST_SIZE else []
    table = published_beside_measured("jcrnet", "VII", here, "Table VII", decimals=2, flip=True)
    shown = ", ".join(f"{rate.value:.2f}" for rate in rates)
    note = (
        f"The published size counts {NEVER_RUN:,} parameters of layers that never run, ours does "
        "not. Published: GTX 3090, 100 images of 384×384; its FLOPs count a multiply-add once, and "
        f"so do ours. Frames a second here: {shown} of {size[1]}×{size[0]}, one image at a time, "
        f"float32, {here[0].device}{'.' if size == COST_SIZE else '; of another size, so no cell.'}"
        f" {study.timing()}"
    )
    return replace(table, note=note)


def frame_rates(scores: Sequence[Score]) -> list[Score]:
    """Frames a second, of the latencies among some scores."""
    return [
        replace(score, metric="fps", value=1000 / score.value)
        for score in select(scores, metric="latency")
    ]


def saliency_tables(study: JcrnetStudy, scores: list[Score]) -> list[Table]:
    """What was measured on each saliency set, and Table IX."""
    columns = [(metric, "all") for metric in (*MEASURES, "psnr")]
    found = of_saliency(scores)
    measured = [
        score_table(select(found, dataset=name), columns, f"Saliency on {name}, low-light",
                    study.titles)
        for name in dict.fromkeys(score.dataset for score in found)
    ]  # fmt: skip
    return [*measured, *paper_table(study, "IX", scores)]


def absent_table(study: JcrnetStudy) -> Table:
    """What of the paper was not run here, and why."""
    missing = {m: load_protocols()[MAIN[m]].missing_weights() for m in METRICS}
    others = [title_of(x) for x in study.trained_labels if x not in study.settings.rows]
    rows = [
        *([metric_title(metric), why] for metric, why in missing.items() if why),
        *([name, why] for name, why in study.absent().items()),
        *([[", ".join(others), ASK]] if others else []),
        ["learned rivals", "other programs: put their images into a folder (setting external)"],
        ["OursMS", "the released MindSpore file does not run and comes without weights"],
        ["Fig. 12(c)", "a study with 20 persons cannot be re-run"],
    ]
    return reasons_table(rows)


def audit() -> Table:
    """Parameters and GMAC at 384×384: network, ablations, printed forms, the other reading."""
    forms = [
        *((title_of(label), {"ablation": name}, label) for name in ABLATIONS
          for label in [join_label("jcrnet", name)]),
        *((f"JCRNet as printed: {name}", {name: "paper"}, "")
          for name in ("modulation", "retinex", "rgb")),
        ("JCRNet, reading: text", {"reading": "text"}, ""),
    ]  # fmt: skip
    networks = [
        counted(title, create_enhancer("jcrnet", **options), COST_SIZE, label=label)
        for title, options, label in forms
    ]
    whole = replace(networks[0], title="JCRNet, never-run layers counted")
    networks.insert(1, replace(whole, parameters=whole.parameters + NEVER_RUN))
    networks.append(counted("saliency network (Table IX)", create_recognizer(READERS[0])))
    note = (
        f"The published size comes out exactly with the {NEVER_RUN:,} parameters of layers that "
        "the authors' MindSpore file defines and never runs; counts support this reading and "
        "cannot prove it. The file does not run and has no weights: it has a head set for each "
        "SFTL and 2×2 transposed convolutions, as here; two shallow blocks, an SSB of 1×1 without "
        "a gate, an LBP of x only and constant gradient steps, unlike here. Its forms of Eqs. (5) "
        "and (6) are the default; the equations as printed and the other reading are switches "
        "(settings network: {modulation, retinex, rgb, reading})."
    )
    return audit_table("jcrnet", networks, COST_SIZE, note)


# Verdicts ----------------------------------------------------------------------------------------


def verdicts(study: JcrnetStudy, scores: list[Score]) -> list[Verdict]:
    """The verdict on every claim, by the reference run and by this one."""
    measured = {one.name: measurements(study, one) for one in study.saliency.sets}
    return judging.verdicts(study, scores, measured, judged)


def judged(
    study: JcrnetStudy, scores: Sequence[Score], context: Context, measured: Mapping
) -> list[Verdict]:
    """By each set of one run's scores that is of a claim's sets or stands for them.

    The built-in pairs stand for all sets of quality, the cast for Toys, drawn streets and darkened
    ECSSD for the sets of Table IX. measured: saliency set → what was measured on it.
    """
    return verdicts_by("jcrnet", sources(study, scores, context, measured))


def sources(
    study: JcrnetStudy, scores: Sequence[Score], context: Context, measured: Mapping
) -> list[Source]:
    """The scores that judge claims, a source a data set, that trained on first.

    The paper's own are its sets without ground truth, whole, after its own training.
    """
    builtin = dataset_spec(context.dataset).builtin
    pairs = {"lol", *PAIRS, *study.unpaired_sets, VIDEO} if builtin else {context.dataset}
    of_own = replace(context, papers_own=False)
    own = of_pairs(study, scores)
    if study.settings.evaluation.cost_size == COST_SIZE:
        own += frame_rates(own)
    found = [Source(frozenset(pairs), own, of_own)]
    others, saliency = of_other_sets(study, scores), of_saliency(scores)
    for name in dict.fromkeys(score.dataset for score in others):
        of = select(others, dataset=name)
        whole = name in study.unpaired_sets and of[0].n in dataset_spec(name).expected.values()
        there = replace(context, dataset=name, papers_own=context.papers_own and whole)
        covers = {LOL_384: {"lol"}}.get(name, {"toys"} if name.endswith("-cast") else {name})
        found.append(Source(frozenset(covers), of, there))
    for name in dict.fromkeys(score.dataset for score in saliency):
        covers = set(SALIENCY[2:]) if name in (SALIENCY[0], ECSSD) else {name}
        of, there = select(saliency, dataset=name), replace(of_own, dataset=name)
        found.append(Source(frozenset(covers), of, there, measured.get(name, {})))
    return found


def measurements(study: JcrnetStudy, test_set: TestSet) -> dict[str, Measured]:
    """Properties that claims state, measured on a saliency set."""
    dark, ours = (
        summarise(abs(_bias(study.per_image(row, test_set))) for row in study.rows()
                  if row.label == label)
        for label in ("identity", "jcrnet")
    )  # fmt: skip
    if not (dark.seeds and ours.seeds):
        return {"balance_helps_saliency": (None, "needs the rows identity and jcrnet")}
    # Claim 3.77: bias is the share found salient less the share that is.
    evidence = f"share found salient off by {dark:.4f} on the input, by {ours:.4f} after JCRNet"
    return {"balance_helps_saliency": (ours.mean < dark.mean, evidence)}


def _bias(images: list[dict[str, str]]) -> float:
    """Mean of what is found salient less what is, as shares of the images."""
    return summarise(float(image["salient"]) - float(image["mask"]) for image in images).mean
