"""The recipe of paper 4: two trainings a row, what retrains, detection, report, darkener."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from llie_core.data.darkening import DarkeningRange, quantise
from llie_core.data.images import read_image, write_image
from llie_core.data.synthesis import write_pairs
from llie_core.data.wrappers import Augmented, Darkened, WithReference
from llie_core.models.drgn import TwoStep
from llie_core.recipes import (
    drgn,
    drgn_claims,
    drgn_degradation,
    drgn_detection,
    drgn_detection_report,
    drgn_report,
    get_recipe,
)
from llie_core.recognizers import create_recognizer
from llie_core.reporting.scores import select
from llie_core.runs import Run, RunKey, file_hash
from llie_core.training import load_weights

MODELS = ["drgn", "drgn+w/o SSIM", "lw_drgn+anchored"]


def settings_of(**overrides):
    return get_recipe("drgn").settings("smoke", **{"models": MODELS, **overrides})


@pytest.fixture(scope="module")
def recipe():
    return get_recipe("drgn")


# Settings, rows and keys -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"scale": [1.0]}, "scale: give two values"),
        ({"street_size": [96]}, "street_size: give two values"),
        ({"lol_parts": "480/20"}, "lol_parts: the built-in pairs have one split only"),
        ({"protocols": ["psnr"]}, "protocols: 'psnr' is no entry"),
    ],
)
def test_wrong_settings_are_named(overrides, words):
    with pytest.raises(ValueError, match=words):
        settings_of(**overrides)


def test_rows_are_the_baselines_and_what_is_trained(recipe):
    labels = [(key.method, key.seed) for key in recipe.rows(settings_of(seeds=[0, 2]))]
    assert labels[:3] == [("identity", 0), ("gamma", 0), ("clahe", 0)]
    assert [label for label, seed in labels[3:] if seed == 2] == MODELS
    with pytest.raises(ValueError, match=r"models: 'drgn\+w/o TV' is none of drgn, lw_drgn"):
        recipe.rows(settings_of(models=["drgn+w/o TV"]))


def test_first_trainings_are_shared_where_they_are_the_same(recipe):
    settings = settings_of()
    firsts = {
        row: recipe.degradation_key(recipe.key(settings, *row.split("+")))
        for row in (*MODELS, "lw_drgn", "drgn+w/o DL-DA", "drgn+w/o KL", "drgn+w/o MSR")
    }
    assert firsts["drgn"] == firsts["drgn+w/o SSIM"] and firsts["drgn+w/o DL-DA"] is None
    methods = [key.method for row, key in firsts.items() if key and row != "drgn+w/o SSIM"]
    assert methods == [
        "drgn_degradation", "lw_drgn_degradation+anchored", "lw_drgn_degradation",
        "drgn_degradation+w/o KL", "drgn_degradation+w/o MSR",
    ]  # fmt: skip
    assert all(recipe.is_trained(k) and not recipe.is_scored(k) for k in firsts.values() if k)


def test_keys_as_the_command_line_names_them(recipe):
    settings = settings_of()
    assert recipe.parse_key(settings, "", "", 3).method == "drgn"
    first = recipe.parse_key(settings, "drgn_degradation", "w/o KL", 1)
    assert (first.method, first.seed) == ("drgn_degradation+w/o KL", 1)
    assert recipe.parse_key(settings, "light_detector", "", 4) == recipe.detector_key(settings)
    with pytest.raises(ValueError, match="learns no degradation"):
        recipe.parse_key(settings, "drgn_degradation", "w/o DL-DA", 0)
    with pytest.raises(ValueError, match="drgn trains drgn, lw_drgn"):
        recipe.parse_key(settings, "neid", "", 0)


def test_the_paper_profile_is_the_published_schedule(recipe):
    settings = recipe.settings("paper")
    schedule = recipe.train_settings(recipe.key(settings, "drgn"), settings)
    assert (settings.size, schedule.batch_size, settings.lol_parts) == (96, 16, "480/20")
    # 24 patches of each of 480 pictures in batches of 16 are 720 steps an epoch: 20, then 40.
    assert (settings.degradation_steps, schedule.steps) == (14_400, 28_800)
    rates = [schedule.lr_at(step) for step in (0, 5999, 6000, 12_000, 28_799)]
    assert rates == pytest.approx([5e-4, 5e-4, 4.5e-4, 4.05e-4, 5e-4 * 0.9**4])
    assert {f"drgn+{v}" for v in ("w/o DL-DA", "w/o MSR", "w/o KL", "w/o SSIM")} < {
        *settings.models
    }


@pytest.mark.parametrize(
    "variant, kl, anchor",
    [("", 1.0, 0.0), ("w/o KL", 0.0, 0.0), ("w/o MSR", 1.0, 0.0), ("anchored", 1.0, 1.0)],
)
def test_the_first_training_is_the_printed_loss_unless_a_variant_says_so(
    recipe, variant, kl, anchor
):
    key = RunKey("drgn", "builtin-photos", "smoke", "drgn_degradation", variant)
    experiment = recipe.experiment(key, settings_of())
    objective = experiment.objective
    assert (objective.kl_weight, objective.anchor_weight) == (kl, anchor)
    assert experiment.validate is None and experiment.planned_steps == 14_400
    names = {name.split(".")[0] for name, _ in experiment.model.named_parameters()}
    assert names == {"g_de"} and objective.g_de is experiment.model.g_de


def test_the_second_training_of_the_ablations(recipe):
    objective = recipe.objective(recipe.key(settings_of(), "drgn", "w/o SSIM"), settings_of())
    assert objective.ssim is None and objective.ssim_weight == 0
    objective = recipe.objective(recipe.key(settings_of(), "drgn"), settings_of())
    assert objective.ssim_weight == -0.2
    one_step = recipe.experiment(recipe.key(settings_of(), "drgn", "w/o DL-DA"), settings_of())
    assert one_step.objective.drgn is None and one_step.model.g_de is None
    assert one_step.identity["degradation"] == ""


# Data ------------------------------------------------------------------------------------------


class Pictures(torch.utils.data.Dataset):
    """Pictures of one grey value each, with boxes; `target` where asked for."""

    def __init__(self, levels, size=(3, 24, 24), paired=False):
        self.levels, self.size, self.paired = levels, size, paired

    def __len__(self):
        return len(self.levels)

    def __getitem__(self, index):
        image = torch.full(self.size, self.levels[index])
        item = {"image": image, "name": f"p{index}", "boxes": torch.tensor([[1.0, 2, 9, 8]])}
        return item | ({"target": 2 * image} if self.paired else {})

    def describe(self):
        return {"levels": self.levels}


def test_references_come_from_the_other_set_and_depend_on_the_draw_alone():
    pairs = Augmented(Pictures([0.1, 0.2], paired=True), size=16)
    data = WithReference(pairs, Pictures([0.6, 0.7, 0.8], size=(3, 40, 48)), "horizontal")
    item = data.sample(1, 5)
    assert item["reference"].shape == item["image"].shape == (3, 16, 16)
    assert torch.equal(item["reference"], data.sample(0, 5)["reference"])
    seen = {round(data.sample(0, draw)["reference"].mean().item(), 1) for draw in range(20)}
    assert seen == {0.6, 0.7, 0.8}
    paired = WithReference(pairs, Pictures([0.3], paired=True))  # of a paired set the targets
    assert paired[0]["reference"].mean().item() == pytest.approx(0.6)
    assert data.describe()["WithReference"]["references"] == {"levels": [0.6, 0.7, 0.8]}
    with pytest.raises(ValueError, match="flips='sideways'"):
        WithReference(pairs, Pictures([0.3]), "sideways")


def test_darkened_pictures_keep_their_boxes_and_do_not_change():
    ranges = DarkeningRange(exposure=(0.1, 0.2))
    data = Darkened(Pictures([0.5, 0.5]), ranges)
    item = data[0]
    assert torch.equal(item["image"], data[0]["image"]) and item["image"].mean() < 0.35
    assert torch.equal(item["target"], torch.full((3, 24, 24), 128 / 255))
    assert 0.1 <= item["darkening"]["exposure"] <= 0.2 and len(item["boxes"]) == 1
    assert item["darkening"] != data[1]["darkening"]  # by name, not by picture
    assert item["darkening"] != Darkened(Pictures([0.5]), ranges, seed=1)[0]["darkening"]


def test_a_folder_of_references_is_read(recipe, tmp_path):
    write_image(tmp_path / "a.png", torch.full((3, 20, 20), 0.8))
    settings = settings_of(reference=str(tmp_path))
    item = recipe.train_data(settings).sample(0, 0)
    assert torch.equal(item["reference"], torch.full((3, 16, 16), 204 / 255))
    built_in = recipe.references(settings_of())
    assert built_in.describe()["seed"] != recipe.pairs(settings_of(), "train").describe()["seed"]


# Runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(recipe, tmp_path_factory):
    """The recipe run once, at smoke size: (results folder, scores)."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        return folder, drgn_report.run(recipe, settings_of())


@pytest.fixture
def folder(done, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    return done[0]


def test_the_second_training_keeps_the_learned_degradation(recipe, folder):
    settings = settings_of()
    key = recipe.key(settings, "drgn")
    first, whole = Run(recipe.degradation_key(key)).weights_path, recipe.load(key, settings, "cpu")
    stage = recipe.build(recipe.degradation_key(key), settings)
    load_weights(stage, first)
    start = recipe.build(key, settings)
    for name, value in whole.g_de.state_dict().items():
        assert torch.equal(value, stage.g_de.state_dict()[name]), name
    moved = {n for n, v in whole.g_re.state_dict().items()
             if not torch.equal(v, start.g_re.state_dict()[n])}  # fmt: skip
    assert "reconstruct.weight" in moved
    assert not torch.equal(stage.g_de.reconstruct.weight, start.g_de.reconstruct.weight)
    assert file_hash(first) in (Run(key).directory / "settings.json").read_text()


def test_both_trainings_log_their_terms(recipe, folder):
    first = drgn_degradation.first_log(recipe, settings_of(), "lw_drgn+anchored")[-1]
    assert {"kl", "anchor", "degradation_std", "collapsed", "adversary_low"} < set(first)
    logs = recipe.logs(settings_of())
    assert {"charbonnier", "charbonnier_ref", "ssim_ref"} < set(logs["drgn"][-1])
    assert "charbonnier_ref" in logs["w/o SSIM"][-1] and "ssim" not in logs["w/o SSIM"][-1]


def test_the_first_training_decides_the_second(recipe, folder, tmp_path, monkeypatch):
    keys = [
        recipe.key(settings_of(), "lw_drgn", "anchored"),
        recipe.key(settings_of(), "drgn", "w/o DL-DA"),
    ]
    before = [recipe.experiment(key, settings_of()).train_hash() for key in keys]
    shutil.copytree(folder, tmp_path / "results")
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    again = settings_of(degradation_steps=3)
    after = [recipe.experiment(key, again).train_hash() for key in keys]
    assert after[0] != before[0] and after[1] == before[1]


def test_a_second_run_trains_and_scores_nothing(recipe, folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("done again")

    monkeypatch.setattr(drgn, "detect", fail)
    monkeypatch.setattr(drgn.DrgnRecipe, "measure", fail)
    monkeypatch.setattr("llie_core.training._Trainer", fail)
    again = drgn_report.run(recipe, settings_of())
    assert len(again.detection) > 50 and len(again.main) > 15


def test_every_row_has_its_numbers_under_a_named_protocol(recipe, done):
    scores = done[1]
    rows = {"identity", "gamma", "clahe", *MODELS}
    assert {s.label for s in select(scores.main, metric="psnr", subset="all")} == rows
    parameters = {s.label: s.value for s in select(scores.main, metric="parameters")}
    assert parameters["drgn"] == 4_781_296 and parameters["lw_drgn+anchored"] == 659_952
    for name in ("builtin-streets-darkened", "builtin-streets"):
        found = select(scores.detection, dataset=name)
        assert {s.label for s in select(found, metric="map")} == {*rows, "original"}
        assert {s.label for s in select(found, metric="psnr")} == rows
        assert {s.recognizer for s in found} == {"light_detector"}
    protocols = {s.metric: s.protocol for s in scores.detection}
    assert protocols["iou"] == "det-matched-iou-25" and protocols["map"] == "det-map-coco"
    assert scores.further == []


def test_per_image_values_stand_behind_the_detection(recipe, folder, done):
    run = Run(recipe.key(settings_of(), "gamma"))
    lines = (run.directory / "per_image-detection-builtin-streets.csv").read_text().splitlines()
    assert lines[0] == "name,psnr-rgb-float,ssim-valid-gaussian,objects,detections"
    values = [float(line.split(",")[1]) for line in lines[1:]]
    score = select(done[1].detection, label="gamma", dataset="builtin-streets", metric="psnr")[0]
    assert sum(values) / len(values) == pytest.approx(score.value, abs=1e-4)


def test_another_programs_pictures_are_a_row_before_the_detector(
    recipe, folder, tmp_path, monkeypatch
):
    shutil.copytree(folder, tmp_path / "results")
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    settings = settings_of(external=str(tmp_path / "theirs"))
    sets = {one.name: one.data for one in drgn_detection.detection_sets(settings)[0]}
    data = {"builtin-photos": recipe.test_data(settings)[0], **sets}
    for name in ("builtin-photos", "builtin-streets-darkened"):
        item = data[name][0]
        write_image(tmp_path / "theirs" / "kind" / name / f"{item['name']}.png", item["target"])
    found = select(recipe.detection_scores(settings, "cpu"), label="kind")
    assert {s.dataset for s in found} == {"builtin-streets-darkened"}
    psnr = select(found, metric="psnr")[0]
    assert (psnr.n, psnr.weights) == (1, "external") and psnr.value > 60


# Copies of COCO and ExDark ---------------------------------------------------------------------

COPIES = {"detection_size": [48, 64], "detection_count": 2, "models": ["lw_drgn+anchored"]}


def test_what_copies_lack_is_said(recipe, tmp_path):
    _, lacking = drgn_detection.detection_sets(settings_of())
    assert set(lacking) == {"coco-darkened", "exdark"}
    _, lacking = drgn_detection.detection_sets(settings_of(detection_data=str(tmp_path)))
    assert "cocodataset.org" in lacking["coco-darkened"]
    rows = drgn_report.lacking_table(recipe, settings_of()).rows
    assert ["NightSurveillance", "named in the text; the paper prints no table of it"] in rows


def test_a_coco_copy_is_darkened_and_scored_without_a_detector(
    recipe, folder, shared_data, tmp_path, monkeypatch
):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    settings = settings_of(detection_data=str(shared_data), **COPIES)
    sets, lacking = drgn_detection.detection_sets(settings)
    assert [one.name for one in sets][2:] == ["coco-darkened", "exdark"]
    assert "yolov4_weights" in lacking["coco-darkened, detection"]
    coco = sets[2]
    assert coco.data[0]["image"].mean() < coco.data[0]["target"].mean() and coco.detector == ""
    key = recipe.key(settings, "gamma")
    scores = recipe._detected(key, settings, coco, None, "", "cpu")
    assert {s.metric for s in scores} == {"psnr", "ssim"} and scores[0].n == 2


def test_yolov4_reads_the_copies_in_cocos_classes(recipe, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    settings = settings_of(
        detection_data=str(shared_data), yolov4_weights="yolov4.weights", **COPIES
    )
    for one in drgn_detection.detection_sets(settings)[0][2:]:
        assert one.detector == "yolov4"
        stand_in = create_recognizer("light_detector", classes=80)
        key = recipe.key(settings, "identity")
        scores = recipe._detected(key, settings, one, stand_in, "hash", "cpu")
        assert {s.metric for s in scores} >= {"map", "map_50", "precision", "iou"}
        assert {(s.dataset, s.recognizer) for s in scores} == {(one.name, "yolov4")}
    with pytest.raises(FileNotFoundError, match=r"yolov4\.weights"):
        recipe.detector(settings, "yolov4")


# Further sets ----------------------------------------------------------------------------------


def test_a_copy_of_a_set_of_table_2_is_scored_and_judged(
    recipe, folder, done, tmp_path, monkeypatch
):
    results, sets = tmp_path / "results", tmp_path / "sets"
    shutil.copytree(folder, results)
    monkeypatch.setenv("LLIE_RESULTS", str(results))
    for side, level in (("low", 0.1), ("high", 0.4)):
        write_image(sets / "Test148" / side / "1.png", torch.full((3, 32, 32), level))
    settings = settings_of(no_reference=str(sets))
    found, lacking = recipe.further_sets(settings)
    assert set(found) == {"test148"} and {"lol1000", "voc144", "dicm", "mef"} == set(lacking)
    scores = dataclasses.replace(done[1], further=recipe.further_scores(settings, "cpu"))
    psnr = select(scores.further, dataset="test148", metric="psnr", label="identity")[0]
    assert psnr.value == pytest.approx(10.5, abs=0.1) and psnr.n == 1
    assert drgn_report.table_2(scores).header[-2:] == ["builtin-photos, here", "test148, here"]
    sources = drgn_report._sources(recipe, settings, scores)
    covers = {source.context.dataset: source.covers for source in sources}
    assert covers["test148"] == {"test148"}
    assert covers["builtin-photos"] == {"lol1000", "voc144"}


def test_a_folder_of_pairs_is_not_taken_for_every_set(recipe, tmp_path):
    for side in ("low", "high"):
        write_image(tmp_path / side / "1.png", torch.full((3, 32, 32), 0.2))
    found, lacking = recipe.further_sets(settings_of(no_reference=str(tmp_path)))
    assert not found and set(lacking) == {"dicm", "mef", "test148", "lol1000", "voc144"}
    assert lacking["voc144"].startswith("no folder VOC144 in") and "MBLLEN" in lacking["voc144"]
    found, lacking = recipe.further_sets(settings_of())
    assert not found and set(lacking.values()) == {"no folder given (setting no_reference)"}


@pytest.mark.parametrize("best", [0.4, 0.04])
def test_detection_is_judged_where_the_detector_finds_something(
    recipe, folder, done, monkeypatch, best
):
    monkeypatch.setattr(drgn_report, "measurements", lambda *_arguments: {})
    found = [
        dataclasses.replace(s, value=best if s.label == "drgn" else best / 2)
        for s in done[1].detection
        if s.metric in ("map", "map_50", "precision", "iou")
    ]
    scores = dataclasses.replace(done[1], detection=found)
    verdicts = {v.claim.id: v for v in drgn_report.verdicts(recipe, settings_of(), scores)}
    if best < drgn_detection_report.LEAST_MAP50:
        words = "no copy of exdark was given; in its stand-in the detector finds too little"
        assert verdicts["4.42"].verdict == f"not run ({words})"
    else:
        assert verdicts["4.42"].verdict == "holds on builtin-streets (smoke, 1 seed)"
        assert "precision +0.2000" in verdicts["4.42"].evidence
        assert "retinexnet, zero_dce, kind" in verdicts["4.38"].verdict


def test_dicm_and_mef_count_by_their_pictures(done):
    like = done[1].main[0]
    scores = [
        dataclasses.replace(like, dataset=name, metric="niqe", value=value, n=n)
        for name, value, n in (("dicm", 3.0, 3), ("mef", 7.0, 1))
    ]
    (pooled,) = drgn._pooled(scores)
    assert (pooled.dataset, pooled.value, pooled.n) == ("dicm+mef", 4.0, 4)
    assert drgn._pooled(scores[:1]) == []


# The report ------------------------------------------------------------------------------------


def test_tables_are_whole(recipe, folder, done):
    settings, scores = settings_of(), done[1]
    tables = [
        drgn_report.table_1(scores), drgn_report.table_2(scores), drgn_report.table_3(scores),
        drgn_report.cost_table(settings, scores.main), drgn_report.audit(),
        *drgn_detection_report.detection_tables(scores.detection),
        *drgn_detection_report.table_4(settings, scores.detection),
        drgn_degradation.degradation_table(recipe, settings),
        drgn_report.provenance(recipe, settings),
    ]  # fmt: skip
    for table in tables:
        assert table.rows and all(len(row) == len(table.header) for row in table.rows)
    rows = {row[0]: row for row in drgn_report.table_2(scores).rows}
    assert rows["drgn"][2] == "19.88 / 0.889 / 0.916" and rows["kind"][-1] == "–"
    assert rows["drgn"][-1].startswith(f"{select(scores.main, label='drgn')[0].value:.2f} / ")
    studied = drgn_report.table_3(scores)
    assert [row[-1] for row in studied.rows] == ["cannot be re-run"] * 8
    cost = {row[0]: row[1:5] for row in drgn_report.cost_table(settings, scores.main).rows}
    assert cost["drgn"] == ["4.773", "4.781", "110.59", "110.43"]
    assert cost["lw_drgn+anchored"] == ["–", "0.660", "–", "18.17"]
    assert cost["kind"] == ["8.016", "not run", "78.40", "not run"]


def test_pictures_of_the_degradation_and_of_what_is_found(recipe, folder):
    settings = settings_of()
    assert list(drgn_degradation.learned(recipe, settings)) == MODELS
    lines = drgn_degradation.degradation_panels(recipe, settings)
    assert [line[0].label.removesuffix(": I_L") for line in lines] == MODELS
    taken, left = -lines[0][1].image, lines[0][2].image
    torch.testing.assert_close(left, lines[0][0].image - taken)
    strengths = drgn_degradation.strength_panels(recipe, settings)[0]
    assert torch.equal(strengths[0].image, lines[0][4].image)  # strength 0 leaves the picture
    found = drgn_detection_report.detections(recipe, settings)
    assert [p.label for p in found[1]][-1] == "original" and len(found) == 4
    shares, truth = drgn_report.luma_shares(recipe, settings)
    assert set(shares) == {"identity", "gamma", "clahe", *MODELS} and truth.shape[0] == 1


def test_every_claim_gets_a_verdict_from_the_set_that_it_is_about(recipe, folder, done):
    verdicts = {v.claim.id: v for v in drgn_report.verdicts(recipe, settings_of(), done[1])}
    assert len(verdicts) == 44 and all(v.verdict for v in verdicts.values())
    assert not any(v.verdict.startswith(("reproduced", "not rep")) for v in verdicts.values())
    assert verdicts["4.35"].verdict.startswith("cannot be re-run")
    assert "its pictures are not listed" in verdicts["4.34"].verdict
    assert verdicts["4.01"].verdict.startswith("not run (no numbers for drgn+w/o DL-DA")
    assert "builtin-photos (smoke, 1 seed)" in verdicts["4.19"].verdict  # drgn+w/o SSIM was run
    assert "kl" not in verdicts["4.18"].verdict and "drgn+w/o KL" in verdicts["4.18"].verdict
    assert verdicts["4.27"].verdict.startswith("not run")  # the pictures timed are not 384×384


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
    """Dark pictures of a fifth of the brightness, and normal ones of other scenes."""
    target = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    target = target * torch.linspace(0.6, 0.9, 4).view(4, 1, 1, 1)
    return drgn_degradation.Samples(target / 5, target, target.roll(1, dims=0))


def test_a_collapsed_degradation_makes_no_pairs(seen):
    nothing = degrading(0.0, -0.01)
    assert drgn_claims.pairs_made(nothing, seen)[0] is False
    assert drgn_claims.pairs_without_limit(nothing, seen)[0] is False
    assert drgn_claims.degradation_controlled(nothing, seen)[0] is False
    assert drgn_claims.degradations_alike(nothing, seen)[0] is False


def test_the_true_degradation_makes_pairs_and_can_be_set(seen):
    true = degrading(-4.0)  # I_D = I_L − I, as I = 5 · I_L
    assert drgn_claims.pairs_made(true, seen)[0] is True
    holds, words = drgn_claims.pairs_without_limit(true, seen)
    assert holds is True and words.startswith("4 pairs of one picture")
    assert drgn_claims.degradation_controlled(true, seen)[0] is True


def test_equal_degradations_of_equal_pictures_are_alike(seen):
    same = drgn_degradation.Samples(seen.low, seen.target, seen.low)
    holds, words = drgn_claims.degradations_alike(degrading(0.0), same)
    assert holds is True and "pictures 100%, degradations 100%" in words


def test_claims_about_rows_that_were_not_run_say_so(seen):
    holds, words = drgn_claims._of_drgn({}, seen, drgn_claims.pairs_made)
    assert holds is None and words == "needs the row drgn"
    both = {"drgn": degrading(0.0), "drgn+anchored": degrading(-4.0)}
    holds, words = drgn_claims._of_drgn(both, seen, drgn_claims.pairs_made)
    assert holds is False and "drgn+anchored: mean of I_ref" in words


@pytest.mark.parametrize("after, nearer", [((0.40, 0.35), True), ((0.60, 0.30), False)])
def test_levelling_is_judged_by_what_is_left_of_the_difference(after, nearer):
    levels = {"identity": ((0.2, 0.1), 0.5), "gamma": (after, 0.5), "drgn": (after, 0.5)}
    assert drgn_claims._levels(levels, ("gamma", "clahe"), alike=True)[0] is not nearer
    holds, words = drgn_claims._levels(levels, ("drgn",), alike=False)
    assert holds is nearer and "before 0.200 and 0.100" in words
    assert drgn_claims._levels({}, ("drgn",), alike=False)[0] is None


# The generator as a tool -----------------------------------------------------------------------


def test_a_folder_is_darkened_with_learned_degradations(tmp_path):
    lows = Pictures([0.05, 0.15], size=(3, 20, 20))
    darkener = drgn.degradation_darkener(degrading(-2.0), lows, strength=(0.5, 1.5))
    source = Pictures([0.9, 0.9, 0.9])
    source.names = ["p0", "p1", "p2"]
    about = {"model": "drgn"}
    assert write_pairs(source, darkener, tmp_path / "a", about) == 3
    write_pairs(source, darkener, tmp_path / "b", about)
    records = [json.loads(x) for x in (tmp_path / "a" / "pairs.jsonl").read_text().splitlines()]
    for record in records:
        dark = read_image(tmp_path / "a" / "low" / f"{record['file']}.png")
        assert torch.equal(dark, read_image(tmp_path / "b" / "low" / f"{record['file']}.png"))
        made = record["darkening"]
        taken = 2 * made["strength"] * lows.levels[int(made["degradation_of"][1:])]
        assert dark.mean().item() == pytest.approx(230 / 255 - taken, abs=0.004)
        assert 0.5 <= made["strength"] <= 1.5
    assert len({record["darkening"]["strength"] for record in records}) == 3


def test_strength_one_is_the_degradation_as_learned():
    lows = Pictures([0.1], size=(3, 24, 24))
    darkener = drgn.degradation_darkener(degrading(-3.0), lows, strength=(1, 1))
    image = np.full((3, 24, 24), 0.8, np.float32)
    dark, about = darkener(image, np.random.default_rng(0))
    np.testing.assert_array_equal(dark, quantise(image - np.float32(0.3)))
    assert about["strength"] == 1.0 and about["degradation_of"] == "p0"
    with pytest.raises(ValueError, match="rising range"):
        drgn.degradation_darkener(degrading(-3.0), lows, strength=(1.5, 0.5))
