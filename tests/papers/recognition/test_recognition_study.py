"""Paper 1's study: settings of each data set, rows, one shared frozen recognizer, test sets."""

import dataset_trees as trees
import pytest
import torch

from llie_core.data import collate
from llie_core.data.wrappers import MeanScaled
from llie_core.engine.fit import train_hash
from llie_core.losses.task_driven import BothLights
from llie_core.papers import open_study, study_of
from llie_core.papers.recognition import settings
from llie_core.recognizers import create_recognizer
from llie_core.reporting.scores import select

TINY = {
    "rows": ["zero_dce", "gem_pam", "gem_pam+w/o PAM"],
    "scenes": {"size": [32, 64], "train_count": 6},
    "evaluation": {"test_count": 3, "cost_size": [32, 64]},
}
SETS = {"builtin-streets": [32, 64], "builtin-streets-pose": [64, 48]}
PERSONS = "builtin-streets-pose"
ONE_STEP = {
    "rows": ["gem_pam"], "workers": 0, "train": {"steps": 1, "batch_size": 2},
    "recognizer": {"train": {"steps": 1, "batch_size": 2}},
}  # fmt: skip


def tiny(dataset="builtin-streets", **changes):
    scenes = TINY["scenes"] | {"size": SETS.get(dataset, [32, 64])} | changes.pop("scenes", {})
    return open_study("recognition", "smoke", dataset, **{**TINY, "scenes": scenes, **changes})


# Settings and rows -----------------------------------------------------------------------------


def test_ablations_have_train_hashes_of_their_own():
    study = tiny(rows=["gem_pam", "gem_pam+w/o PAM", "gem_pam+w/o GEM"])
    rows = [row for row in study.rows() if row.is_trained]
    reader = create_recognizer("deeplabv3plus", **study.downstream.options())
    hashes = {train_hash(study.recognition_experiment(row, reader)) for row in rows}
    assert len(rows) == len(hashes) == len({row.settings_hash for row in rows}) == 3


def test_each_data_set_has_profiles_of_its_own():
    cls = study_of("recognition")
    paper, pose = cls.open("paper").settings, cls.open("paper", "exlpose").settings
    assert (paper.dataset, paper.scenes.size, paper.train.steps) == (
        "nightcity",
        (512, 1024),
        18750,
    )
    assert (pose.recognizer.backbone, pose.scenes.size) == ("resnet50", (256, 192))
    assert (pose.train.batch_size, pose.train.lr, pose.train.precision) == (8, 5e-4, "mixed")
    assert cls.open("quick").settings.recognizer.model == "deeplabv3plus"
    assert cls.open("quick", PERSONS).settings.recognizer.model == "cpn"
    for dataset in cls.datasets:
        own = ("paper",) if dataset in ("nightcity", "exlpose") else ("smoke", "quick", "reference")
        for profile in cls.profiles:
            if profile in own:
                assert cls.open(profile, dataset).settings.dataset == dataset
            else:
                with pytest.raises(ValueError, match=f"no profile of {dataset} '{profile}'"):
                    cls.open(profile, dataset)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rows": ["gem_pam", "jcrnet"]}, "no row 'jcrnet'"),
        ({"rows": []}, "no row ''"),
        ({"scenes": {"size": [16, 64]}}, "size: give"),
        ({"evaluation": {"cost_size": [64, 16]}}, "cost_size: give"),
        ({"recognizer_steps": 5}, "is now recognizer.train.steps"),
        ({"zero_dce_lr": 1e-4}, "is now zero_dce.lr"),
        ({"models": ["gem_pam"]}, "is now rows"),
        ({"backbone": "tiny"}, "is now recognizer.backbone"),
        ({"day_data": "/data"}, "is now scenes.day_data"),
        ({"steps": 5}, "is now train.steps"),
    ],
)
def test_wrong_and_earlier_settings_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny(**changes)


def test_rows_are_the_baselines_and_what_is_trained():
    study = tiny(seeds=[0, 2])
    assert [(row.label, row.seed) for row in study.rows()] == [
        ("identity", 0), ("gamma", 0), ("clahe", 0), ("original", 0), ("zero_dce", 0),
        ("zero_dce", 2), ("gem_pam+w/o PAM", 0), ("gem_pam+w/o PAM", 2), ("gem_pam", 0),
        ("gem_pam", 2),
    ]  # fmt: skip
    assert study.main_row().label == "gem_pam"
    assert "original" not in [x.label for x in open_study("recognition", "smoke", "camvid",
                                                          data="/nowhere").rows()]  # fmt: skip
    # A released checkpoint stands in the place of the trained row of its name.
    released = tiny(released={"zero_dce": "Epoch99.pth"}).rows()
    assert [row.source for row in released if row.label == "zero_dce"] == ["released"]


def test_every_row_is_found_by_its_label():
    study = tiny()
    assert study.row("gem_pam+w/o GEM", 3).seed == 3
    assert study.run(study.row("deeplabv3plus", 5)) == study.run(study.recognizer_row)
    assert study.row("gem_pam").shown == "GEM+PAM"
    assert study.row("gem_pam+w/o PAM").shown == "GEM+PAM without PAM"
    assert study.recognizer_row.shown == "DeepLabV3+ (mobilenet_v2)"
    with pytest.raises(ValueError, match="no row 'cpn'"):
        study.row("cpn")


@pytest.mark.parametrize(
    "label, kept",
    [("gem_pam", {"gem", "pam"}), ("gem_pam+w/o PAM", {"gem"}), ("gem_pam+w/o GEM", {"pam"})],
)
def test_ablations_leave_out_their_module(label, kept):
    model = tiny().row(label).build()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == kept


def test_the_recognizer_decides_the_rows_that_its_loss_trains():
    ours, own = (tiny().row(label) for label in ("gem_pam", "zero_dce"))
    assert [row.label for row in ours.needs] == ["deeplabv3plus"] and not own.needs
    again = tiny(recognizer={"train": {"steps": 3}})
    assert again.row("gem_pam").settings_hash != ours.settings_hash
    assert again.row("zero_dce").settings_hash == own.settings_hash
    assert tiny(evaluation={"test_count": 2}).row("gem_pam").settings_hash == ours.settings_hash


# Runs ------------------------------------------------------------------------------------------


def test_every_row_has_its_number_under_a_named_protocol(results):
    seg, pose = (results[name] for name in SETS)
    labels = {"identity", "gamma", "clahe", "original", "zero_dce", "gem_pam", "gem_pam+w/o PAM"}
    assert {s.label for s in select(seg, metric="miou", subset="all")} == labels
    assert {s.label for s in select(pose, metric="ap", subset="LL-A")} == labels
    assert {s.protocol for s in select(seg, metric="miou")} == {"seg-miou"}
    assert {s.protocol for s in select(pose, metric="ap")} == {"pose-oks-ap-exlpose"}
    assert {s.recognizer for s in seg} == {"deeplabv3plus"}
    assert {s.recognizer for s in pose} == {"cpn"}
    # The recognizer itself, on normal-light images.
    assert [(s.label, s.metric) for s in select(seg, subset="day")] == [("identity", "miou")]
    assert [(s.label, s.metric) for s in select(pose, subset="day")] == [("identity", "ap")]


def test_quality_brightness_and_cost_stand_beside(results):
    seg = results["builtin-streets"]
    assert {s.label for s in select(seg, metric="psnr")} >= {"identity", "gem_pam"}
    assert not select(seg, label="original", metric="psnr")
    dark, day = (
        select(seg, label=x, metric="brightness")[0].value for x in ("identity", "original")
    )
    assert dark < 0.5 * day
    parameters = {s.label: s.value for s in select(seg, metric="parameters")}
    assert parameters["gem_pam"] - parameters["identity"] == 577_294
    assert parameters["identity"] == 4_383_139 and "original" not in parameters
    assert all(s.value > 0 for s in select(seg, metric="latency"))
    planned = {s.label: s.steps_planned for s in seg}
    assert (planned["gem_pam"], planned["zero_dce"], planned["clahe"]) == (18_750, 75_000, 0)


def test_the_day_images_are_what_the_recognizer_learned_on():
    study = tiny()
    taught = study.experiment(study.recognizer_row).data
    assert taught.describe()["source"]["light"] == study.day_set.data.describe()["light"] == "day"
    assert study.experiment(study.row("zero_dce")).data.describe()["source"]["light"] == "night"
    assert study.main_set.data.describe()["light"] == "night"


def test_pose_recognizer_learns_each_light_in_its_own_batch_norm():
    study = tiny(PERSONS)
    experiment = study.experiment(study.recognizer_row)
    assert isinstance(experiment.objective, BothLights)
    recognizer = experiment.model.train()
    batch = collate([experiment.data[i] for i in range(2)])
    terms = experiment.objective({"image": batch["image"]}, batch)
    torch.testing.assert_close(terms["total"], terms["low_light"] + terms["well_lit"])
    terms["total"].backward()
    assert all(p.grad is not None for p in recognizer.parameters())


def test_scaled_pose_images_have_the_level_of_the_whole_image():
    class One:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {"image": torch.full((3, 4, 4), 0.1), "mean": torch.tensor([0.05, 0.1, 0.0])}

        def describe(self):
            return {"name": "one"}

    image = MeanScaled(One())[0]["image"]
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([0.8, 0.4, 2.0]))
    study = tiny(PERSONS, scenes={"scale_input": True})
    assert "MeanScaled" in study.images("train", "night").describe()
    assert "MeanScaled" not in study.images("test", "day").describe()


# Sets on disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [True, False])
def test_nightcity_runs_with_cityscapes_by_day(tmp_path, monkeypatch, beside):
    """scenes.day_data says where Cityscapes lies; left out, it is expected below `data`."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    for split in ("train", "val"):
        trees.street_pair(tmp_path, split, ["a_1", "b_2"])
    scenes = {"size": [32, 64]}
    if beside:
        scenes["day_data"] = str(tmp_path / "cityscapes")
    study = open_study(
        "recognition", "paper", data=str(tmp_path / "nightcity" if beside else tmp_path),
        scenes=scenes, evaluation={"cost_size": [32, 64]}, **ONE_STEP,
    )  # fmt: skip
    day, night = (study.images("train", light).describe()["source"] for light in ("day", "night"))
    assert (day["name"], night["name"]) == ("cityscapes", "nightcity")
    assert not study.is_papers_own()  # its recognizer is trained here, not given
    if beside:
        study.train()
        scores = study.evaluate()
        assert select(scores, label="gem_pam", metric="miou")[0].split == "val"
        assert [s.dataset for s in select(scores, subset="day")] == ["cityscapes"]


def test_exlpose_runs_by_subset(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    trees.exlpose(tmp_path / "ExLPose")
    small = ONE_STEP["recognizer"] | {"backbone": "tiny"}
    study = open_study(
        "recognition", "paper", "exlpose", data=str(tmp_path / "ExLPose"),
        evaluation={"cost_size": [64, 48]}, **{**ONE_STEP, "recognizer": small},
    )  # fmt: skip
    study.train()
    ours = study.evaluate(study.row("gem_pam"), test_sets=[study.main_set])
    assert {s.subset for s in select(ours, metric="ap")} == {"LL-A", "LL-N"}
    assert {s.recognizer for s in ours} == {"cpn"}


def test_a_camvid_copy_runs_end_to_end(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = open_study(
        "recognition", "smoke", "camvid", data=str(shared_data), rows=["gem_pam"],
        scenes={"size": [32, 48]},
    )  # fmt: skip
    assert len(study.main_set.data) == 62  # the dusk half of the test split
    scores = study.evaluate(study.row("identity"), test_sets=[study.main_set])
    assert study.run(study.recognizer_row).checked_weights()
    assert select(scores, metric="miou", subset="all")[0].n == 62


def test_an_absent_set_is_named_with_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = open_study("recognition", "smoke", "camvid", data="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"camvid: .*get it from"):
        study.train()


@pytest.mark.parametrize("profile", ["quick", "reference"])
def test_segmentation_starts_from_imagenet_where_it_is_installed(profile, monkeypatch):
    for there, backbone in ((True, "efficientnet_lite0"), (False, "mobilenet_v2")):
        monkeypatch.setattr(settings, "available", lambda name, there=there: there)
        for dataset in ("builtin-streets", "camvid"):
            study = open_study("recognition", profile, dataset)
            assert study.recognizer_row.options["encoder"] == backbone
        pose = open_study("recognition", profile, "builtin-streets-pose")
        assert pose.recognizer_row.options["backbone"] == "tiny"
