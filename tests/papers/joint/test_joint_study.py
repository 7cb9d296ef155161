"""The study of paper 2: its rows, what trains and evaluates anew, and a smoke run."""

import dataclasses
import json

import pytest
import torch

from llie_core.data import dark_faces, face_targets, open_dataset
from llie_core.engine.fit import fit, train_hash
from llie_core.engine.reuse import identity, modules_behind
from llie_core.files import read_rows
from llie_core.hashing import content_hash, file_hash
from llie_core.losses.zero_reference import zero_reference_total
from llie_core.models import create_enhancer
from llie_core.papers import open_study
from llie_core.papers.joint import report
from llie_core.papers.joint import study as studies
from llie_core.papers.joint.study import GROUPS, RATIOS, read_by, variant_of
from llie_core.recognizers import create_recognizer
from llie_core.reporting.published import table as published
from llie_core.reporting.scores import select
from llie_core.tasks.faces import SUBSETS
from llie_core.tensors import load_weights

# Makes the smoke profile run in seconds.
TINY = {
    "faces": {"size": 48, "train_count": 4, "test_size": 128, "test_count": 4},
    "train": {"steps": 2},
    "tinaface": {"size": 64, "train": {"steps": 2, "batch_size": 2}},
    "ratios": ["1:0", "2:1", "2:1@tinaface"],
}
TRAINED = ("zero_dce_pp+1:0", "zero_dce_pp+2:1", "zero_dce_pp+2:1@tinaface")


def tiny(**changes):
    """The smoke study at TINY; changes of a section go into that section."""
    given = {
        name: {**TINY.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return open_study("joint", "smoke", **{**TINY, **given})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty results folder."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


# Rows and settings -----------------------------------------------------------------------------


def test_the_paper_profile_trains_the_eight_ratios_of_table_4_2():
    *ratios, smooth, maps = open_study("joint", "paper").settings.ratios
    assert set(ratios) == {cell.variant for cell in published("joint", "4.2")}
    assert len(ratios) == 8 and tuple(ratios) == RATIOS
    assert (smooth, maps) == ("1:0~W3=200", "1:0~24 maps")
    assert set(RATIOS) <= set(open_study("joint", "reference").settings.ratios)


@pytest.mark.parametrize(
    ("ratio", "recognizer", "variant"),
    [
        ("2:1", "mtcnn", "2:1"),
        ("2:1@mtcnn", "tinaface", "2:1"),
        ("2:1", "tinaface", "2:1@tinaface"),
        ("2:1@tinaface", "mtcnn", "2:1@tinaface"),
        ("1:0@tinaface", "mtcnn", "1:0"),
        ("1:0", "tinaface", "1:0"),
        ("0:1@tinaface", "mtcnn", "0:1@tinaface"),
    ],
)
def test_a_row_is_named_by_its_ratio_and_by_who_trains_it(ratio, recognizer, variant):
    assert variant_of(ratio, recognizer) == variant


def test_rows_are_the_baselines_normal_light_and_every_ratio_and_seed():
    rows = tiny(ratios=["1:0", "2:1", "2:1@mtcnn", "1:0@tinaface"], seeds=[0, 3]).rows()
    assert [(row.label, row.seed, row.is_trained) for row in rows] == [
        *((label, 0, False) for label in ("identity", "gamma", "clahe", "original")),
        *((label, seed, True) for label in TRAINED[:2] for seed in (0, 3)),
    ]
    assert [row.label for row in rows if row.normal_light] == ["original"]


@pytest.mark.parametrize("profile", ["smoke", "quick", "reference", "paper"])
def test_adam_has_its_default_parameters_in_every_profile(profile):
    settings = open_study("joint", profile).settings
    for train in (settings.train, settings.darkener):
        assert (train.weight_decay, train.grad_clip) == (0.0, 0.0)


def test_the_thesis_tests_at_a_twelfth_of_the_size():
    for profile, factor in (("paper", 12), ("quick", 1)):
        study = open_study("joint", profile)
        assert study.settings.upstream.scale_factor == factor
        assert study.joint_row("2:1", seed=0).build().scale_factor == factor


def test_settings_reach_the_enhancer_and_its_loss():
    study = tiny(upstream={"curve": "thesis", "init": "released", "scale_factor": 3,
                           "form": "thesis", "exposure": 7.0})  # fmt: skip
    experiment = study.experiment(study.row("zero_dce_pp+1:0"))
    assert (experiment.model.curve, experiment.model.scale_factor) == ("thesis", 3)
    torch.manual_seed(0)
    expected = create_enhancer("zero_dce_pp", init="released").state_dict()
    assert torch.equal(experiment.model.state_dict()["e_conv1.depth_conv.bias"],
                       expected["e_conv1.depth_conv.bias"])  # fmt: skip
    x = torch.rand(2, 3, 32, 32)
    outputs = experiment.model.training_outputs(x)
    weights = {"spatial": 1.0, "exposure": 7.0, "colour": 5.0, "smoothness": 1600.0}
    ours = experiment.objective.upstream(outputs, {"image": x})["total"]
    assert ours == zero_reference_total(outputs, x, weights, form="thesis")["total"]


def test_the_named_variant_has_the_smoothness_of_zero_dce():
    study, x = tiny(ratios=["2:1~W3=200", "1:0~W3=200@tinaface"]), torch.rand(2, 3, 32, 32)
    joint, alone = (row for row in study.rows() if row.is_trained)
    assert (joint.label, alone.label) == ("zero_dce_pp+2:1~W3=200", "zero_dce_pp+1:0~W3=200")
    assert joint.shown == "Zero-DCE++ joint (2:1, W3 = 200)"
    loss = study.experiment(joint).objective
    assert (loss.w_up, loss.w_down) == (1.0, 0.5)
    outputs = study.experiment(joint).model.training_outputs(x)
    expected = zero_reference_total(outputs, x, "zero_dce")["total"]  # weights 1, 10, 5, 200
    assert loss.upstream(outputs, {"image": x})["total"] == expected
    assert study.row("zero_dce_pp+2:1~W3=200").is_trained


def test_retinaface_trains_and_reads_as_a_setting():
    try:
        create_recognizer("retinaface")
    except FileNotFoundError as why:
        pytest.skip(str(why))
    given = {"readers": ["mtcnn", "retinaface"], "recognizer": "retinaface", "ratios": ["2:1"]}
    study = tiny(**given, retinaface={"threshold": 0.6})
    (row,) = (row for row in study.rows() if row.is_trained)
    assert row.label == "zero_dce_pp+2:1@retinaface" and study.least_score == 0.6
    assert row.shown == "Zero-DCE++ joint (2:1, RetinaFace's loss)" and not row.needs
    task = study.task(study.main_set)
    assert list(task.readers) == ["retinaface", "mtcnn"]
    experiment = study.experiment(row)
    batch = first_batch(experiment)
    terms = experiment.objective(experiment.model.training_outputs(batch["image"]), batch)
    assert terms["down"].isfinite() and "down_box" in terms
    assert not study.is_papers_own()


def test_the_variant_of_24_maps_is_the_network_of_zero_dce():
    row = tiny(ratios=["1:0~24 maps"]).row("zero_dce_pp+1:0~24 maps")
    model, loss = row.build(), tiny().experiment(row).objective
    assert row.shown == "Zero-DCE++ alone (1:0, 24 maps)" and row.model == "zero_dce"
    x = torch.rand(1, 3, 16, 16)
    outputs = model.training_outputs(x)
    assert outputs["curve_maps"].shape == (1, 24, 16, 16)
    expected = zero_reference_total(outputs, x, "zero_dce")["total"]
    assert loss.upstream(outputs, {"image": x})["total"] == expected


def test_rows_read_as_the_thesis_has_them():
    study = tiny(ratios=["1:0", "2:1", "0:1@tinaface"])
    assert [row.shown for row in study.rows()] == [
        "input", "gamma 1/2.2", "CLAHE", "normal light", "Zero-DCE++ alone (1:0)",
        "Zero-DCE++ joint (2:1)", "Zero-DCE++, detector's loss (0:1, TinaFace's loss)",
    ]  # fmt: skip


def test_every_ratio_and_what_others_need_is_a_row_by_name():
    study = tiny()
    for label in (
        "zero_dce_pp+3:2",
        "zero_dce_pp+2:3",
        "zero_dce_pp+1:3",
        "zero_dce_pp+1:3@tinaface",
    ):
        assert study.row(label).is_trained
    assert study.row("ec_zero_dce").dataset == "builtin-photos"
    assert study.row("tinaface").dataset == "builtin-crowd"
    assert [row.label for row in study.row("zero_dce_pp+2:1@tinaface").needs] == ["tinaface"]
    assert study.row("zero_dce_pp+2:1").needs == ()
    assert study.main_row().label == "zero_dce_pp+2:1"
    with pytest.raises(ValueError, match=r"no row 'zero_dce_pp\+two'; did you mean"):
        study.row("zero_dce_pp+two")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratios": ["1:0", "half"]}, "'half': write W_up:W_down"),
        ({"ratios": ["0:0"]}, "'0:0': both parts"),
        ({"ratios": ["2:1~W3=20"]}, "ratio '2:1~W3=20': behind ~ stands one of W3=200, 24 maps"),
        ({"upstream": {"form": "printed"}}, "upstream.*form"),
        ({"upstream": {"scale_factor": 0}}, "upstream.scale_factor must be at least 1"),
        ({"ratios": ["2:1@yolo"]}, "ratio '2:1@yolo': behind @ stands one of mtcnn, tinaface, r"),
        ({"recognizer": "tinafce"}, "no recognizer 'tinafce'; did you mean 'tinaface'"),
        ({"readers": ["tinaface"]}, "readers: mtcnn trains and has to read too"),
        ({"readers": ["mtcnn", "tinaface"]}, "readers: the small tinaface finds too few faces"),
        ({"tinaface": {"backbone": "large"}}, "tinaface.backbone='large': choose one of 'small'"),
        ({"steps": 3}, "now train.steps: write"),
        ({"darkener_steps": 3}, "now darkener.steps"),
    ],
    ids=str,
)
def test_what_no_setting_can_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        tiny(**given)


WHOLE = {"readers": ["mtcnn", "tinaface"], "tinaface": {"backbone": "resnet50"}}


@pytest.mark.parametrize("profile", ["reference", "paper"])
def test_retinaface_trains_the_longer_profiles_where_it_is_installed(profile, monkeypatch):
    for there, readers in ((True, ("retinaface", "mtcnn")), (False, ("mtcnn",))):
        monkeypatch.setattr(studies, "available", lambda name, there=there: there)
        study = open_study("joint", profile)
        assert study.settings.readers == readers and study.settings.recognizer == readers[0]
        joint = "zero_dce_pp+2:1@retinaface" if there else "zero_dce_pp+2:1"
        assert joint in {row.label for row in study.rows()}


def test_the_whole_tinaface_needs_its_authors_file(folder):
    study = tiny(**WHOLE)
    with pytest.raises(ValueError, match=r"checkpoint is needed \(setting tinaface: {weights: "):
        study.train()
    assert not folder.exists()  # nothing was trained before
    with pytest.raises(ValueError, match="tinaface: the file of its authors' checkpoint is needed"):
        study.task(study.main_set)
    study = tiny(tinaface={"backbone": "resnet50", "weights": "none.pth"})
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        study.load(study.row("tinaface"))


def test_only_the_thesis_own_run_can_reproduce_it():
    own = {"recognizer": "tinaface", "readers": ["tinaface"], "tinaface": {"weights": "a.pth"}}
    assert open_study("joint", "paper", **own).is_papers_own()
    for given in (
        {},
        {"recognizer": "mtcnn", "readers": ["mtcnn"], "tinaface": {"backbone": "small"}},
        own | {"faces": {"missing": "skip"}},
    ):  # fmt: skip
        assert not open_study("joint", "paper", **given).is_papers_own()
    assert not tiny().is_papers_own()


# What trains anew, what only evaluates anew, what does neither -----------------------------------


def hash_of(label="zero_dce_pp+2:1", **changes):
    study = tiny(**changes)
    return train_hash(study.experiment(study.row(label)))


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"batch_size": 4}}, {"train": {"schedule": "constant"}},
        {"train": {"weight_decay": 1e-4}}, {"train": {"grad_clip": 0.2}},
        {"upstream": {"smoothness": 200.0}}, {"upstream": {"form": "thesis"}},
        {"upstream": {"curve": "thesis"}},
        {"label": "zero_dce_pp+2:1~W3=200"},
        {"faces": {"size": 64}}, {"faces": {"train_count": 8}}, {"mtcnn": {"face_windows": 5}},
        {"label": "zero_dce_pp+3:1"}, {"label": "zero_dce_pp+1:0"},
    ],
    ids=str,
)  # fmt: skip
def test_what_decides_the_weights_trains_anew(change):
    assert hash_of(**change) != hash_of()


@pytest.mark.parametrize(
    "change",
    [
        {"faces": {"test_count": 5}}, {"faces": {"test_size": 160}}, {"ratios": ["2:1", "4:2"]},
        {"mtcnn": {"threshold": 0.8}}, {"darkener": {"steps": 9}}, {"tinaface": {"size": 32}},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_decide_the_weights_trains_nothing(change):
    study, row = tiny(**change), "zero_dce_pp+2:1"
    assert train_hash(study.experiment(study.row(row))) == hash_of()
    assert study.run(study.row(row)).directory == tiny().run(tiny().row(row)).directory


def test_another_start_has_a_folder_of_its_own():
    rows = [tiny(upstream={"init": init}).row("zero_dce_pp+2:1") for init in ("thesis", "released")]
    assert rows[0].settings_hash != rows[1].settings_hash


def test_equal_ratios_are_one_training():
    assert hash_of("zero_dce_pp+4:2", ratios=["4:2"]) == hash_of()


def test_the_detector_counts_only_where_it_trains():
    study = tiny()
    behind = {label: modules_behind(study.experiment(study.row(label))) for label in TRAINED[:2]}
    mtcnn = "llie_core.recognizers.mtcnn"
    assert mtcnn in behind["zero_dce_pp+2:1"] and mtcnn not in behind["zero_dce_pp+1:0"]


def test_what_decides_the_test_evaluates_anew(results):
    def hashed(**changes):
        study = results(**changes)
        return content_hash([identity(study.task(study.main_set)), identity(study.main_set.data)])

    before = hashed()
    for change in (
        {"faces": {"test_count": 5}}, {"faces": {"test_size": 160}},
        {"mtcnn": {"threshold": 0.8}},
    ):  # fmt: skip
        assert hashed(**change) != before, change
    for change in ({"seeds": [0, 1]}, {"ratios": ["2:1"]}, {"faces": {"train_count": 8}}):
        assert hashed(**change) == before, change


# Training with the real detectors ----------------------------------------------------------------


def first_batch(experiment):
    # Item 1 of this seed holds faces, so that all of the detector's terms have something to say.
    items = [experiment.data[i] for i in range(len(experiment.data))]
    return experiment.collate([item for item in items if len(item["boxes"])][:2])


def gradients(ratio, one=None):
    """Gradient of the total at the untrained enhancer; the detector's windows are drawn alike."""
    study = tiny(faces={"size": 64})
    experiment = study.experiment(study.row(f"zero_dce_pp+{ratio}"))
    model, objective = experiment.model.train(), experiment.objective
    one = one or first_batch(experiment)
    torch.manual_seed(0)
    objective.prepare(model, [one])
    torch.manual_seed(0)
    terms = objective(model.training_outputs(one["image"]), one)
    terms["total"].backward()
    return experiment, one, terms, torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_detectors_gradient_reaches_every_layer_of_the_enhancer():
    experiment, _, terms, _ = gradients("0:1")
    assert terms["total"].item() == pytest.approx(1, abs=1e-5)
    for name, parameter in experiment.model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    (detector,) = experiment.objective.modules
    assert all(p.grad is None for p in detector.parameters())


def test_joint_gradient_is_the_weighted_sum_of_both():
    _, one, terms, both = gradients("2:1")
    assert terms["up"].item() == pytest.approx(1, abs=1e-5)
    assert terms["down"].item() == pytest.approx(1, abs=1e-5)
    up, down = gradients("1:0", one)[-1], gradients("0:1", one)[-1]
    assert down.norm() > 1e-6 and up.norm() > 1e-6
    assert torch.allclose(both, up + 0.5 * down, rtol=1e-3, atol=1e-6 * both.abs().max().item())


def test_the_small_tinaface_learns_from_its_training(folder):
    train = {"steps": 40, "batch_size": 4}
    study = tiny(tinaface={"size": 64, "train": train})
    row = study.row("tinaface")
    fit(study.experiment(row), study.run(row), "cpu", quiet=True)
    recognizer = create_recognizer("tinaface", backbone="small")
    data = open_dataset("builtin-crowd", "test", size=64, count=24)
    batch = {name: [data[i][name] for i in range(24)] for name in ("image", "boxes", "ignore")}
    images, targets = torch.stack(batch["image"]), face_targets(batch)
    with torch.no_grad():
        before = recognizer.loss(images, targets)["total"]
        load_weights(recognizer, study.run(row).checked_weights())
        after = recognizer.loss(images, targets)["total"]
    assert after < 0.85 * before


# A smoke run -----------------------------------------------------------------------------------


METRICS = [
    *(("ap", subset, "face-ap-height") for subset in SUBSETS),
    ("recall", "all", "face-recall"),
    ("fp_per_image", "all", "face-fp-per-image"),
]


def test_every_row_is_scored_by_every_metric(results, scores):
    measured = [
        (s.label, s.recognizer, s.metric, s.subset, s.protocol)
        for s in scores
        if not s.subset.endswith("px")
    ]
    labels = [row.label for row in results().rows()]
    assert tuple(labels[-3:]) == TRAINED
    expected = []
    for label in labels:
        expected += [(label, "mtcnn", *m) for m in METRICS]
        # The normal-light images are what PSNR compares with.
        expected += [(label, "mtcnn", "psnr", "all", "psnr-rgb-float")] * (label != "original")
    assert measured == expected


def test_counts_are_those_of_the_test_set(results, scores):
    data = results().main_set.data
    faces = {s: sum(int(item["keep"][s].sum()) for item in data) for s in SUBSETS}
    for score in scores:
        by_metric = {"ap": faces.get(score.subset), "recall": faces["hard"]}
        if not score.subset.endswith("px"):
            assert score.n == by_metric.get(score.metric, 4), (score.metric, score.subset)
        if score.unit == "fraction":
            assert 0 <= score.value <= 1
    own = select(scores, label="identity", metric="ap")  # ranges of height split the faces
    parts = [s.n for s in own if s.subset.endswith("px")]
    assert sum(parts) == faces["hard"] and len(parts) > 1


def test_the_log_holds_both_losses_and_their_weighted_sum(results):
    logs = results().logs()
    alone, both, tinaface = logs.values()
    assert [len(log) for log in logs.values()] == [2, 2, 2]
    assert "down" not in alone[0] and "down_onet_class" in both[0] and "down_iou" in tinaface[0]
    for row in both:
        assert row["total"] == pytest.approx(row["up"] + 0.5 * row["down"], rel=1e-6)


def test_faces_are_found_better_in_normal_light(scores):
    found = select(scores, metric="recall", recognizer="mtcnn")
    recall = {s.label: s.value for s in found}
    assert recall["original"] > recall["identity"]


def test_what_is_behind_each_score_is_kept_image_by_image(results, scores):
    study = results()
    items = [study.main_set.data[i] for i in range(4)]
    for row in study.rows():
        path = study.run(row).directory / "per_image" / f"{study.main_set.key}.csv"
        lines = read_rows(path)
        assert [line["name"] for line in lines] == [item["name"] for item in items]
        assert [json.loads(line["darkening"]) for line in lines] == [i["darkening"] for i in items]
        value = {s.metric: s.value for s in select(scores, label=row.label, recognizer="mtcnn")}
        found = [(float(x["recall_mtcnn"]), int(x["faces"])) for x in lines]
        hits = sum(recall * faces for recall, faces in found if faces)
        # Recall is written with four decimals.
        assert hits / sum(faces for _, faces in found) == pytest.approx(value["recall"], abs=1e-4)
        false = sum(int(x["false_positives_mtcnn"]) for x in lines) / len(lines)
        assert false == pytest.approx(value["fp_per_image"])
        # A face is found where its own score reaches the operating point.
        of_faces = [float(word) for x in lines for word in x["scores_mtcnn"].split()]
        sure = sum(score >= study.least_score for score in of_faces)
        assert len(of_faces) == sum(faces for _, faces in found) and sure == round(hits)
        assert [len(x["heights"].split()) for x in lines] == [int(x["faces"]) for x in lines]


def test_another_threshold_reads_the_same_weights_anew(results, scores):
    study = results(mtcnn={"threshold": 2.0})  # above every score
    anew = {
        s.metric: s.value for s in study.evaluate(study.row("original")) if s.recognizer == "mtcnn"
    }
    before = {s.metric: s.value for s in select(scores, label="original", recognizer="mtcnn")}
    assert anew["recall"] == anew["fp_per_image"] == 0 and before["recall"] > 0
    assert anew["ap"] == before["ap"]


def test_a_detector_reads_what_its_own_loss_has_trained(scores):
    labels = set(dict.fromkeys(s.label for s in read_by(scores, "mtcnn")))
    assert labels == {*GROUPS, "gamma", "clahe"}
    (trained,) = select(scores, label=TRAINED[2], metric="recall")
    as_read = dataclasses.replace(trained, recognizer="tinaface")
    assert read_by([as_read], "tinaface") == [dataclasses.replace(as_read, label=GROUPS[2])]


# The official layout ---------------------------------------------------------------------------


@pytest.fixture
def wider(shared_data, tmp_path, folder):
    """WIDER FACE in its official layout with one real image, for training and validation."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    source, root = shared_data / "WIDER_FACE", tmp_path / "WIDER_FACE"
    image = min(source.rglob("13_Interview*.jpg"), key=lambda path: path.stat().st_size)
    (root / "wider_face_split").mkdir(parents=True)
    (root / "eval_tools").symlink_to(source / "eval_tools")
    (listing,) = (source / "wider_face_split").glob("wider_face_val_bbx_gt*.txt")
    lines = listing.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(image.name))
    entry = "\n".join(lines[at : at + 2 + int(lines[at + 1])]) + "\n"
    for split in ("train", "val"):
        own = root / f"WIDER_{split}" / "images" / image.parent.name
        own.mkdir(parents=True)
        (own / image.name).symlink_to(image)
        (root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt").write_text(entry)
    return tmp_path


QUICKLY = {"train": {"steps": 1}, "darkener": {"steps": 1}, "ratios": ["1:0"]}


def test_the_study_runs_on_the_official_layout(wider):
    study = tiny(dataset="wider-face", data=str(wider), **QUICKLY)
    row = study.row("zero_dce_pp+2:1")
    assert [needed.label for needed in row.needs] == ["ec_zero_dce"]
    study.test_sets()
    with pytest.raises(FileNotFoundError, match="ec_zero_dce/seed0: not trained yet"):
        study.experiment(row)
    (run,) = study.train(row, quiet=True)
    log = run.read_log()[0]
    assert log["total"] == pytest.approx(log["up"] + 0.5 * log["down"], rel=1e-6)
    scores = study.evaluate(study.row("identity"))
    official = [s for s in scores if not s.subset.endswith("px")]
    assert {s.protocol for s in select(official, metric="ap")} == {"face-ap-wider"}
    assert {(s.dataset, s.split) for s in scores} == {("wider-face", "val")}
    (psnr,) = select(scores, metric="psnr")
    assert psnr.n == 1 and psnr.value > 0
    assert study.absent() == {} and len(study.test_sets()) == 1
    table = report.data_summary(study)
    assert table.rows[0][:3] == ["wider-face", "1", "0"]
    assert table.note.startswith("EC-Zero-DCE: mean |mean − E| 0.00")
    assert [t.rows[0][0] for t in report.wider_tables(study, scores)] == ["input", "input"]
    assert report.best_evidence(study)[0].dataset == "wider-face"


def test_wider_face_is_darkened_once_for_all_rows_and_seeds(wider, folder, monkeypatch):
    darkened, made = dark_faces.DarkFaces.__getitem__, []
    monkeypatch.setattr(
        dark_faces.DarkFaces, "__getitem__",
        lambda self, i: made.append(self.source.split) or darkened(self, i),
    )  # fmt: skip
    given = {**QUICKLY, "ratios": ["1:0", "2:1"], "seeds": [0, 1], "train": {"steps": 3}}
    study = tiny(dataset="wider-face", data=str(wider), **given)
    darkener = study.row("ec_zero_dce")
    assert not darkener.dataset  # trained on the photographs of WIDER FACE
    study.train(quiet=True)
    study.evaluate()
    assert made == ["train", "val"]
    train, val = sorted(path.name for path in (folder / "darkened").iterdir())
    assert train.startswith("wider-face-train-") and val.startswith("wider-face-val-")
    (record,) = (folder / "darkened" / val).glob("*.json")
    about = json.loads(record.read_text())
    assert abs(about["mean"] - about["exposure_target"]) < 2e-3
    photos = study.experiment(darkener).data.describe()
    assert photos["source"]["split"] == "train" and photos["Augmented"]["size"] == 64


def test_the_trial_on_wider_faces_validation_part_tests_on_events_it_has_not_seen(
    shared_data, folder
):
    faces = {"missing": "skip", "long_side": 96}
    study = tiny(dataset="wider-val-b", data=str(shared_data), faces=faces, **QUICKLY)
    study.check_data()
    study.train(study.row("ec_zero_dce"), quiet=True)
    crops, test = study.train_data(study.load(study.row("ec_zero_dce"))), study.main_set
    names = [{name.split("/")[0] for name in data.names} for data in (crops, study.data(test))]
    assert len(names[0]) == len(names[1]) == 2 and not names[0] & names[1]
    item = study.data(test)[0]
    assert max(item["image"].shape) == 96 and item["boxes"].max() <= 97
    assert test.name == "wider-val-b" and not study.is_papers_own() and not study.absent()


def test_another_darkener_trains_and_evaluates_anew(wider):
    def hashes(steps):
        study = tiny(
            dataset="wider-face", data=str(wider), **QUICKLY | {"darkener": {"steps": steps}}
        )
        study.train(study.row("ec_zero_dce"), quiet=True)
        test = identity(study.data(study.main_set))
        weights = file_hash(study.run(study.row("ec_zero_dce")).weights_path)
        return train_hash(study.experiment(study.row(TRAINED[0]))), content_hash(test), weights

    assert all(a != b for a, b in zip(hashes(1), hashes(3), strict=True))


def test_wider_face_is_a_second_test_set_where_a_folder_is_given(wider):
    few = {**QUICKLY, "seeds": [0, 1], "external": str(wider / "external")}
    outputs = wider / "external" / "llflow" / "builtin-faces"
    outputs.mkdir(parents=True)
    study = tiny(**few, faces={"wider_face": str(wider)})
    assert [one.name for one in study.test_sets()] == ["builtin-faces", "wider-face"]
    scores = study.evaluate(test_sets=[study.wider_set])
    hard = select(scores, metric="ap", subset="hard")
    assert [s.label for s in hard] == ["identity", "gamma", "clahe", "original", TRAINED[0]]
    assert {s.seed for s in hard} == {0}  # nor the images that were not made for this set
    run = study.run(study.row(TRAINED[0]))
    assert list((run.directory / "files" / "faces-wider-face" / "mtcnn").rglob("*.txt"))
    none = tiny(**QUICKLY)
    assert [one.name for one in none.test_sets()] == ["builtin-faces"]
    assert none.absent() == {"wider-face": "no folder given (setting faces: {wider_face: FOLDER})"}
