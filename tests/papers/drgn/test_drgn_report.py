"""The report of paper 4: findings, tables, figures, measured claims, verdicts; and the darkener."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from test_drgn_study import ROWS
from torch import nn

from llie_core.data.darkening import quantise
from llie_core.data.images import read_image
from llie_core.data.synthesis import write_pairs
from llie_core.models.drgn import TwoStep
from llie_core.papers import judging
from llie_core.papers.drgn import degradation, report
from llie_core.papers.drgn.darkener import degradation_darkener
from llie_core.papers.drgn.study import DARKENED, LEAST_MAP50, STREETS
from llie_core.papers.paired import NO_FOLDER
from llie_core.reporting.published import table as published_table
from llie_core.reporting.scores import select

TITLES = ["DRGN", "DRGN without SSIM", "LW-DRGN anchored"]

# Tables and figures ----------------------------------------------------------------------------


def test_tables_are_whole(results, scores):
    study = results()
    tables = [
        report.findings(study, scores), report.table_1(study, scores), report.audit(),
        report.table_2(study, scores), report.table_3(scores), report.cost_table(study, scores),
        *report.detection_tables(study, scores), *report.table_4(scores),
        degradation.degradation_table(study), report.absent_table(study),
    ]  # fmt: skip
    for table in tables:
        assert table.rows and all(len(row) == len(table.header) for row in table.rows)
        labels = [cell for row in table.rows for cell in row[:1]]
        assert not any("+" in label and label != "KinD++" for label in labels), labels
    rows = {row[0]: row for row in report.table_2(study, scores).rows}
    assert rows["DRGN"][2] == "19.88 / 0.889 / 0.916" and rows["KinD"][-1] == "–"
    own = select(scores, dataset="builtin-photos", label="drgn", metric="psnr")[0]
    assert rows["DRGN"][-1].startswith(f"{own.value:.2f} / ")
    assert [row[-1] for row in report.table_3(scores).rows] == ["cannot be re-run"] * 8


def test_the_cost_is_published_beside_counted(results, scores):
    cost = {row[0]: row[1:5] for row in report.cost_table(results(), scores).rows}
    assert cost["DRGN"] == ["4.773", "4.770", "110.59", "110.54"]
    assert cost["LW-DRGN anchored"] == ["–", "0.660", "–", "18.17"]
    assert cost["DRGN without SSIM"][3] == "–"
    assert cost["KinD"] == ["8.016", "not run", "78.40", "not run"]
    audited = {row[0]: row for row in report.audit().rows}
    assert audited["LW-DRGN"][1:] == ["0.660 M", "660,286", "18.15", "18.166"]


def test_findings_name_what_was_not_evaluated(results, scores):
    found = dict(report.findings(results(), scores).rows)
    assert found["Are two steps better than one?"] == "DRGN without DL-DA: not evaluated"
    assert "standard deviation of I_D" in found["Is it the degradation that is learned?"]
    answer = next(words for question, words in found.items() if f"images of {STREETS}?" in question)
    assert ", gamma" in answer and ", normal light" in answer
    assert answer.count(" (the best of 1 without training)") == 1  # chosen by these very numbers
    level = [dataclasses.replace(s, label="lime") for s in scores if s.label == "gamma"]
    answer = dict(report.findings(results(), [*scores, *level]).rows)
    assert " (level with 1 more of the 2 without training)" in str(answer)
    one_step = [dataclasses.replace(s, label="drgn+w/o DL-DA") for s in scores if s.label == "drgn"]
    found = dict(report.findings(results(), [*scores, *one_step]).rows)
    assert "DRGN without DL-DA 0." in next(w for q, w in found.items() if f" {STREETS}?" in q)


def test_findings_are_of_lw_drgn_where_drgn_was_not_evaluated(results, scores):
    light = [dataclasses.replace(s, label="lw_drgn") for s in scores if s.label == "drgn"]
    others = [s for s in scores if s.label in ("identity", "gamma", "original")]
    found = dict(report.findings(results(), [*others, *light]).rows)
    better = found["Is LW-DRGN better than methods without training?"]
    assert better.startswith("LW-DRGN ") and "against gamma" in better
    assert better.endswith(", the best of 1")
    answer = next(words for question, words in found.items() if f"images of {STREETS}?" in question)
    assert answer.startswith("mAP50: LW-DRGN ")


def test_what_is_absent_is_said_with_the_reason(results):
    rows = dict(report.absent_table(results()).rows)
    assert rows["NightSurveillance"] == "named in the text; the paper prints no table of it"
    (sets,) = [name for name, why in rows.items() if why == NO_FOLDER]
    assert "voc144" in sets.split(", ")
    (absent,) = [name for name, why in rows.items() if why == report.WHY_NO_ROW]
    assert "LW-DRGN" in absent and "DRGN without SSIM" not in absent


def test_a_row_without_detections_is_not_called_not_run(scores):
    blind = [s for s in scores if s.metric not in ("precision", "iou")]
    table = report.table_4(blind)[0]
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["DRGN"]["IoU (%), here"] == "–" and rows["KinD"]["IoU (%), here"] == "not run"


def test_images_of_the_degradation_and_of_what_is_found(results):
    study = results()
    assert [row.label for row, _ in degradation.learned(study)] == ROWS
    lines = degradation.degradation_panels(study)
    assert [line[0].label.removesuffix(": I_L") for line in lines] == TITLES
    taken, left = -lines[0][1].image, lines[0][2].image
    torch.testing.assert_close(left, lines[0][0].image - taken)
    strengths = degradation.strength_panels(study)[0]
    assert torch.equal(strengths[0].image, lines[0][4].image)  # strength 0 leaves the image
    found = report.detections(study)
    assert len(found) == 6
    assert [line[-1].label for line in found[1::2]] == ["normal light"] * 3
    assert all(len(p.boxes) <= len(found[0][0].boxes) for p in [*found[0], *found[1]])
    (own,) = report.scenes(study).items()
    assert own[0] == "builtin-photos" and list(own[1][0].outputs) == ["identity", "gamma", *ROWS]
    shares, truth = report.luma_shares(study)
    assert list(shares) == ["input", "gamma 1/2.2", *TITLES] and truth.shape[0] == 1


def test_dicm_and_mef_count_by_their_images(scores):
    found = [
        dataclasses.replace(scores[0], dataset=name, metric="niqe", value=value, n=n)
        for name, value, n in (("dicm", 3.0, 3), ("mef", 7.0, 1))
    ]
    (pooled,) = report.pooled(found)
    assert (pooled.dataset, pooled.value, pooled.n) == ("dicm+mef", 4.0, 4)
    assert report.pooled(found[:1]) == []


# Verdicts --------------------------------------------------------------------------------------


def verdicts_of(study, scores, measured=None):
    """Verdicts by these scores alone, without those of the reference run."""
    found = report.judged(study, scores, judging.context(study, scores), measured or {})
    return {verdict.claim.id: verdict for verdict in found}


def test_every_claim_gets_a_verdict_from_the_set_that_it_is_about(results, scores):
    study = results()
    assert len(report.verdicts(study, scores)) == 44
    verdicts = verdicts_of(study, scores, degradation.measurements(study))
    assert len(verdicts) == 44 and all(v.verdict for v in verdicts.values())
    assert not any(v.verdict.startswith(("reproduced", "not rep")) for v in verdicts.values())
    assert verdicts["4.35"].verdict.startswith("cannot be re-run")
    assert "its images are not listed" in verdicts["4.34"].verdict
    assert verdicts["4.01"].verdict.startswith("not run (no numbers for DRGN without DL-DA")
    assert "measured: SSIM" in verdicts["4.19"].evidence  # drgn+w/o SSIM was run
    assert verdicts["4.18"].verdict == "not run (needs the row drgn+w/o KL, trained here)"
    assert verdicts["4.27"].verdict.startswith("not run")  # the images timed are not 384×384


@pytest.mark.parametrize("best", [0.4, 0.04])
def test_detection_is_judged_where_the_detector_finds_something(results, scores, best):
    (like,) = select(scores, label="drgn", dataset=STREETS, metric="map")
    found = [
        dataclasses.replace(
            like,
            label=label,
            dataset=name,
            metric=metric,
            value=value,
            seed=seed,
            low=-math.inf,
            high=math.inf,
        )
        for label, value in (("drgn", best), ("identity", best / 2), ("original", 1.0))
        for name in (DARKENED, STREETS)
        for metric in ("map", "map_50", "precision", "iou")
        for seed in range(3)
    ]
    others = select(scores, dataset="builtin-photos")
    verdicts = verdicts_of(results(seeds=[0, 1, 2]), [*others, *found])
    if best < LEAST_MAP50:
        assert "the detector finds too little to tell rows apart" in verdicts["4.42"].verdict
    else:
        assert verdicts["4.42"].verdict == "holds on builtin-streets (smoke, 3 seeds)"
        assert "precision +0.2000" in verdicts["4.42"].evidence
        assert "RetinexNet, Zero-DCE, KinD" in verdicts["4.38"].verdict


@pytest.mark.parametrize(("count", "own"), [(148, True), (16, False)])
def test_a_copy_of_a_set_of_table_2_is_shown_and_judged(results, scores, count, own):
    copy = [dataclasses.replace(s, dataset="test148", n=count) for s in scores
            if s.dataset == "builtin-photos" and s.metric == "psnr"]  # fmt: skip
    study = results()
    header = report.table_2(study, [*scores, *copy]).header
    assert header[-2:] == ["builtin-photos, here", "test148, here"]
    context = dataclasses.replace(judging.context(study), papers_own=True)
    found = report.sources(study, [*scores, *copy], context)
    sources = {one.context.dataset: one for one in found}
    assert sources["test148"].covers == {"test148"}
    assert sources["builtin-photos"].covers == {"lol1000", "voc144"}
    # The paper has no table of the pairs trained on, and its copy has to be whole.
    assert not sources["builtin-photos"].context.papers_own
    assert sources["test148"].context.papers_own is own


# Measured claims -------------------------------------------------------------------------------


def degrading(weight: float, constant: float = 0.0) -> TwoStep:
    """A network whose I_D is weight · I_L + constant."""
    g_de = nn.Conv2d(3, 3, 1)
    model = TwoStep(g_de, nn.Identity(), multiple=1)
    with torch.no_grad():
        g_de.weight.copy_(weight * torch.eye(3)[:, :, None, None])
        g_de.bias.fill_(constant)
    return model


@pytest.fixture(scope="module")
def seen():
    """Dark images of a fifth of the brightness, and normal ones of other scenes."""
    target = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    target = target * torch.linspace(0.6, 0.9, 4).view(4, 1, 1, 1)
    return degradation.Samples(target / 5, target, target.roll(1, dims=0))


def test_a_collapsed_degradation_makes_no_pairs(seen):
    nothing = degrading(0.0, -0.01)
    assert degradation.pairs_made(nothing, seen)[0] is False
    assert degradation.pairs_without_limit(nothing, seen)[0] is False
    assert degradation.degradation_controlled(nothing, seen)[0] is False
    assert degradation.degradations_alike(nothing, seen)[0] is False


def test_a_degradation_that_darkens_makes_pairs_and_can_be_set(seen):
    true = degrading(-0.8)  # what is a fifth as bright in one pass, .36 in the second
    assert degradation.pairs_made(true, seen)[0] is True
    holds, words = degradation.pairs_without_limit(true, seen)
    assert holds is True and words.startswith("4 pairs of one image")
    assert degradation.degradation_controlled(true, seen)[0] is True


def test_equal_degradations_of_equal_images_are_alike(seen):
    same = degradation.Samples(seen.low, seen.target, seen.low)
    holds, words = degradation.degradations_alike(degrading(0.0), same)
    assert holds is True and "images 100%, degradations 100%" in words


def test_claims_about_rows_that_were_not_run_say_so(seen):
    holds, words = degradation.of_drgn({}, seen, degradation.pairs_made)
    assert holds is None and words == "needs the row drgn"
    both = {"drgn": degrading(0.0), "drgn+anchored": degrading(-4.0)}
    holds, words = degradation.of_drgn(both, seen, degradation.pairs_made)
    assert holds is False and "DRGN anchored: mean of I_ref" in words


@pytest.mark.parametrize(("after", "nearer"), [((0.40, 0.35), True), ((0.60, 0.30), False)])
def test_levelling_is_judged_by_what_is_left_of_the_difference(after, nearer):
    levels = {"identity": ((0.2, 0.1), 0.5), "lime": (after, 0.5), "drgn": (after, 0.5)}
    assert degradation.levelled(levels, degradation.RIVALS, alike=True)[0] is not nearer
    holds, words = degradation.levelled(levels, ("drgn",), alike=False)
    assert holds is nearer and "before 0.200 and 0.100" in words
    assert degradation.levelled({}, ("drgn",), alike=False)[0] is None


def test_only_the_papers_own_rivals_decide_what_rivals_do(results):
    """Neither gamma nor CLAHE stands in Table 2."""
    printed = {cell.label for cell in published_table("drgn", "2")}
    assert set(degradation.RIVALS) == printed & {"lime", "zero_dce", "gamma", "clahe"}
    answer = degradation.measurements(results())["rivals_brighten_alike"]
    assert answer == (None, "needs the rows identity and lime or zero_dce")


# The generator as a tool -----------------------------------------------------------------------


class Grey(torch.utils.data.Dataset):
    """Images of one grey value each."""

    def __init__(self, levels, size):
        self.levels, self.size = levels, size
        self.names = [f"p{index}" for index in range(len(levels))]

    def __len__(self):
        return len(self.levels)

    def __getitem__(self, index):
        return {"image": torch.full((3, *self.size), self.levels[index]), "name": f"p{index}"}

    def describe(self):
        return {"levels": self.levels}


def test_a_folder_is_darkened_with_learned_degradations(tmp_path):
    lows = Grey([0.05, 0.15], size=(20, 20))
    darkener = degradation_darkener(degrading(-0.5), lows, strength=(0.5, 1.5))
    source = Grey([0.9, 0.9, 0.9], size=(24, 24))
    about = {"model": "drgn"}
    assert write_pairs(source, darkener, tmp_path / "a", about).pairs == 3
    write_pairs(source, darkener, tmp_path / "b", about)
    records = [json.loads(x) for x in (tmp_path / "a" / "pairs.jsonl").read_text().splitlines()]
    for record in records:
        dark = read_image(tmp_path / "a" / "low" / f"{record['file']}.png")
        assert torch.equal(dark, read_image(tmp_path / "b" / "low" / f"{record['file']}.png"))
        made = record["darkening"]
        first = 230 / 255 - 0.5 * lows.levels[int(made["degradation_of"][1:])]
        expected = 230 / 255 - made["strength"] * 0.5 * first
        assert dark.mean().item() == pytest.approx(expected, abs=0.004)
        assert 0.5 <= made["strength"] <= 1.5
    assert len({record["darkening"]["strength"] for record in records}) == 3


def test_strength_one_is_the_degradation_as_learned():
    image = np.full((3, 24, 24), 0.8, np.float32)
    # One pass: 0.8 − 0.5 · 0.1; two: 0.8 − 0.5 · (0.8 − 0.5 · 0.1).
    for second_pass, level in ((False, 0.75), (True, 0.425)):
        darkener = degradation_darkener(degrading(-0.5), Grey([0.1], (24, 24)), (1, 1), second_pass)
        dark, about = darkener(image, np.random.default_rng(0))
        np.testing.assert_array_equal(dark, quantise(np.full_like(image, level)))
    assert about["strength"] == 1.0 and about["degradation_of"] == "p0"
    with pytest.raises(ValueError, match="rising range"):
        degradation_darkener(degrading(-3.0), Grey([0.1], (24, 24)), strength=(1.5, 0.5))
