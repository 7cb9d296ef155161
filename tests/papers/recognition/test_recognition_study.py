"""Paper 1's study: settings of each data set, rows, one shared frozen recognizer, test sets."""

import dataset_trees as trees
import pytest
import torch

from llie_core.data import collate
from llie_core.data.wrappers import MeanScaled
from llie_core.engine.fit import train_hash
from llie_core.losses.task_driven import BothLights
from llie_core.papers import open_study, study_of
from llie_core.papers.recognition import report, settings
from llie_core.papers.recognition.study import TUNED, at_mean
from llie_core.papers.trainings import trainings
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
    assert (pose.train.batch_size, pose.train.lr, pose.train.precision) == (8, 5e-4, "auto")
    own = pose.recognizer  # as Lee et al. train it
    assert (own.train.batch_size, own.train.weight_decay, own.gram) == (32, 1e-5, 1e-4)
    epochs = [own.train.lr_at(357 * epoch) for epoch in (0, 5, 6, 12, 31)]
    assert epochs == pytest.approx([5e-4, 5e-4, 2.5e-4, 1.25e-4, 5e-4 / 32])
    assert own.scales == (0.7, 1.35) and own.scale_input and not pose.scenes.scale_input
    assert cls.open("quick").settings.recognizer.model == "deeplabv3plus"
    assert cls.open("quick", PERSONS).settings.recognizer.model == "cpn"
    # 50 and 200 epochs of the paper's set of the task, whatever is trained on here.
    for dataset, steps in (("builtin-streets", (18750, 75_000)), (PERSONS, (71_250, 285_000))):
        found = cls.open("quick", dataset).settings
        assert (found.train.planned_steps, found.zero_dce.planned_steps) == steps
    assert (pose.train.steps, pose.train.planned_steps) == (71_250, 71_250)
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
        ({"recognizer": {"gram": 0.1}}, "gram are of a CPN, not of deeplabv3plus"),
        ({"recognizer": {"scales": [0.5, 1.0]}}, "recognizer.scales: only the crops of ExLPose"),
        ({"recognizer": {"scales": [2.0, 1.0]}}, "scales: .* a rising range"),
        ({"recognizer": {"weights": "a", "start": "b"}}, "a checkpoint has no start"),
        (
            {"recognizer": {"model": "cpn", "scale_input": True}, "scenes": {"scale_input": True}},
            "scale_input: of the images or of the recognizer",
        ),
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
    alone = tiny(rows=["zero_dce"], released={"zero_dce": "Epoch99.pth"})
    assert alone.main_row().source == "released"


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


def test_a_checkpoint_stands_in_place_of_the_training(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    file = tmp_path / "deeplab.pth"
    study = tiny(recognizer={"weights": str(file)}, rows=["gem_pam"])
    with pytest.raises(FileNotFoundError, match=r"recognizer.weights: no file .*deeplab.pth"):
        study.train()
    reader = create_recognizer("deeplabv3plus", **study.downstream.options())
    torch.save(reader.network.state_dict(), file)
    assert study.recognizer_row.source == "released"
    study.train(quiet=True)
    study.evaluate()
    used = study.recognizer().state_dict()
    assert all(torch.equal(used[name], value) for name, value in reader.state_dict().items())
    assert [run.label for run in trainings(study)] == ["gem_pam"]
    table = report.recognizer_table(study, [])
    assert table.note == "Its authors' weights; frozen for every row."
    assert list(report.logs(study)) == ["GEM+PAM"]
    own = open_study("recognition", "paper", recognizer={"weights": str(file)})
    assert own.is_papers_own() and not open_study("recognition", "paper").is_papers_own()


def test_a_cpn_scales_inside_by_the_mean_of_the_image_as_it_was_taken():
    study = tiny(PERSONS, recognizer={"scale_input": True})
    reader = study.recognizer_row.build()
    item = study.images("test", "night")[0]
    targets = study.downstream.targets(collate([item]))
    torch.testing.assert_close(targets["mean"][0], item["mean"])
    low = reader.prepared(item["image"][None], "low", targets["mean"])
    torch.testing.assert_close(low[0], item["image"] * (0.4 / item["mean"])[:, None, None])
    brighter = reader.prepared(2 * item["image"][None], "low", targets["mean"])
    torch.testing.assert_close(brighter, 2 * low)  # an enhancer's gain stays


def test_an_imagenet_start_is_part_of_the_run(tmp_path):
    from torchvision.models import resnet50

    file, own = tmp_path / "resnet50.pth", {"backbone": "resnet50"}
    torch.save(resnet50().state_dict(), file)
    study = tiny(PERSONS, recognizer=own | {"start": str(file)})
    plain = tiny(PERSONS, recognizer=own)
    assert study.recognizer_row.settings_hash != plain.recognizer_row.settings_hash
    model = study.experiment(study.recognizer_row).model
    stem = torch.load(file, weights_only=True)["conv1.weight"]
    assert torch.equal(model.backbone.stem.weight, stem)


# Sets on disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [True, False])
def test_nightcity_runs_with_cityscapes_in_normal_light(tmp_path, monkeypatch, beside):
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
    other = open_study("recognition", "paper", "exlpose", data=str(tmp_path / "ExLPose"),
                       scenes={"size": [128, 96]})  # fmt: skip
    with pytest.raises(ValueError, match=r"scenes.size: the crops of ExLPose are \(256, 192\)"):
        other.train()
    study = open_study(
        "recognition", "paper", "exlpose", data=str(tmp_path / "ExLPose"),
        evaluation={"cost_size": [64, 48]}, **{**ONE_STEP, "recognizer": small},
    )  # fmt: skip
    study.train()
    taught = study.experiment(study.recognizer_row)
    assert "ScaledPersons" in taught.data.describe() and taught.objective.gram == 1e-4
    assert {"gram", "low_light"} <= set(study.run(study.recognizer_row).read_log()[0])
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


def test_the_upper_bound_and_darker_images_are_scored_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = tiny(
        rows=["gem_pam"], train={"steps": 2, "batch_size": 2, "validate_every": 1},
        recognizer={"tuning": 2, "train": {"steps": 2, "batch_size": 2}},
        evaluation=TINY["evaluation"] | {"means": [10, 2]},
    )  # fmt: skip
    scores = study.evaluate()
    (tuned,) = select(scores, metric="miou", subset=TUNED)
    assert (tuned.label, tuned.recognizer) == ("identity", f"deeplabv3plus+{TUNED}")
    trained = study.experiment(study.tuned_row).settings
    assert (trained.steps, trained.lr) == (2, study.settings.recognizer.train.lr / 5)
    first = study.recognizer().state_dict()
    after = study.load(study.tuned_row, "cpu").state_dict()
    assert any(not torch.equal(first[name], after[name]) for name in first)
    for mean in (10, 2):
        darker = select(scores, metric="miou", subset=at_mean(mean))
        assert {s.label for s in darker} >= {"identity", "clahe", "gem_pam"}
    series = report.by_darkness(study, scores)
    assert [round(x) for x, _ in series["GEM+PAM"]][:2] == [2, 10]
    table = report.recognizer_table(study, scores)
    assert table.rows[1][0].endswith(TUNED) and float(table.rows[1][2]) == pytest.approx(
        tuned.value, abs=5e-4
    )
    (chosen,) = (row for row in study.rows() if row.label == "gem_pam")
    assert study.run(chosen).read_stamp()["selected_step"] in (1, 2)


@pytest.mark.parametrize("dataset", list(SETS))
def test_weights_are_chosen_by_images_that_are_not_tested(dataset):
    study = tiny(dataset, train={"validate_every": 1, "steps": 1})
    reader = study.recognizer_row.build()
    validate = study.recognition_experiment(study.row("gem_pam"), reader).validate
    tested = [study.main_set.data[i]["image"] for i in range(len(study.main_set.data))]
    assert len(validate.data) and not any(
        torch.equal(validate.data[i]["image"], x) for i in range(len(validate.data)) for x in tested
    )


@pytest.mark.parametrize("dataset", ["nightcity", "exlpose"])
def test_the_papers_sets_have_no_images_to_choose_weights_by(dataset):
    with pytest.raises(ValueError, match=f"train.validate_every: {dataset} has no images for it"):
        open_study("recognition", "paper", dataset, train={"validate_every": 5})


def test_darker_images_are_of_a_segmentation_only():
    with pytest.raises(ValueError, match="means: of a segmentation only"):
        tiny(PERSONS, evaluation=TINY["evaluation"] | {"means": [2]})


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


def test_the_papers_own_row_is_the_main_one_in_every_profile():
    for profile, dataset in (("smoke", ""), ("quick", ""), ("paper", "nightcity")):
        assert open_study("recognition", profile, dataset).main_row().label == "gem_pam"
    alone = open_study("recognition", "smoke", rows=["zero_dce"])
    assert alone.main_row().label == "zero_dce"
