"""The recipe of paper 1: rows, one shared frozen recognizer, what retrains, smoke runs, report."""

import shutil

import dataset_trees as trees
import pytest
import torch

from llie_core.data import collate
from llie_core.data.wrappers import MeanScaled
from llie_core.recipes import get_recipe, recognition, recognition_report
from llie_core.recipes.recognition_tasks import TASKS, BothLights
from llie_core.recognizers import create_recognizer
from llie_core.reporting.claims import judge
from llie_core.reporting.scores import select
from llie_core.reporting.tables import published_beside_measured
from llie_core.runs import Run, RunKey, file_hash

TINY = {
    "models": ["zero_dce", "gem_pam", "gem_pam+w/o PAM"], "train_count": 6, "test_count": 3,
    "cost_size": [32, 64],
}  # fmt: skip
SETS = {"builtin-streets": {"size": [32, 64]}, "builtin-streets-pose": {"size": [64, 48]}}


def settings_of(dataset="builtin-streets", **overrides):
    sizes = SETS.get(dataset, {})
    return get_recipe("recognition").settings(
        "smoke", dataset=dataset, **{**TINY, **sizes, **overrides}
    )


@pytest.fixture(scope="module")
def recipe():
    return get_recipe("recognition")


# Settings and rows -----------------------------------------------------------------------------


def test_each_data_set_has_presets_of_its_own(recipe):
    assert recipe.settings("quick").recognizer == "deeplabv3plus"
    assert recipe.settings("quick", dataset="builtin-streets-pose").recognizer == "cpn"
    assert recipe.settings("paper").dataset == "nightcity"
    pose = recipe.settings("paper", dataset="exlpose")
    assert (pose.backbone, pose.size, pose.batch_size, pose.lr) == ("resnet50", (256, 192), 8, 5e-4)
    for dataset, presets in recognition.PRESETS.items():
        for profile, preset in presets.items():
            assert (preset.dataset, preset.profile) == (dataset, profile)
            assert recipe.settings(profile, dataset=dataset) == preset
    with pytest.raises(ValueError, match="no data set 'lol'"):
        recipe.settings("smoke", dataset="lol")
    with pytest.raises(ValueError, match=r"no profile 'paper' \(known: smoke, quick, reference\)"):
        recipe.settings("paper", dataset="camvid")


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"models": ["gem_pam", "jcrnet"]}, "models: 'jcrnet' is none of"),
        ({"models": []}, "models: 'nothing'"),
        ({"size": [16, 64]}, "size: give"),
        ({"cost_size": [64]}, "cost_size: give"),
    ],
)
def test_wrong_settings_are_named(overrides, words):
    with pytest.raises(ValueError, match=words):
        settings_of(**overrides)


def test_rows_are_the_recognizer_the_baselines_and_what_is_trained(recipe):
    rows = recipe.rows(settings_of(seeds=[0, 2]))
    assert [(k.method, k.seed) for k in rows] == [
        ("deeplabv3plus", 0), ("identity", 0), ("gamma", 0), ("clahe", 0), ("original", 0),
        ("zero_dce", 0), ("zero_dce", 2), ("gem_pam+w/o PAM", 0), ("gem_pam+w/o PAM", 2),
        ("gem_pam", 0), ("gem_pam", 2),
    ]  # fmt: skip
    assert [recipe.is_trained(k) for k in rows] == [True] + [False] * 4 + [True] * 6


def test_keys_as_the_command_line_names_them(recipe):
    settings = settings_of()
    assert recipe.parse_key(settings, "", "", 3).method == "gem_pam"
    assert recipe.parse_key(settings, "gem_pam", "w/o GEM", 0).variant == "w/o GEM"
    assert recipe.parse_key(settings, "deeplabv3plus", "", 5) == recipe.recognizer_key(settings)
    with pytest.raises(ValueError, match="not 'cpn'"):
        recipe.parse_key(settings, "cpn", "", 0)


@pytest.mark.parametrize(
    "variant, kept", [("", {"gem", "pam"}), ("w/o PAM", {"gem"}), ("w/o GEM", {"pam"})]
)
def test_ablations_lack_their_module(recipe, variant, kept):
    settings = settings_of()
    model = recipe.build(recipe.key(settings, "gem_pam", variant), settings)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == kept


# Runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(recipe, tmp_path_factory):
    """Both tasks run once, at smoke size: (results folder, scores by data set)."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        scores = {name: recipe.reproduce(settings_of(name), "cpu") for name in SETS}
    return folder, scores


@pytest.fixture
def folder(done, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    return done[0]


def test_every_row_has_its_number_under_a_named_protocol(done):
    seg, pose = (done[1][name] for name in SETS)
    labels = {"identity", "gamma", "clahe", "original", "zero_dce", "gem_pam", "gem_pam+w/o PAM"}
    assert {s.label for s in select(seg, metric="miou", subset="all")} == labels
    assert {s.label for s in select(pose, metric="ap", subset="LL-A")} == labels
    assert {s.protocol for s in select(seg, metric="miou")} == {"seg-miou"}
    assert {s.protocol for s in select(pose, metric="ap")} == {"pose-oks-ap-exlpose"}
    assert select(seg, method="deeplabv3plus", subset="day")
    assert select(pose, method="cpn", subset="day")
    assert {s.subset for s in select(pose, label="identity", metric="ap")} <= {
        "LL-A", "LL-N", "LL-H", "LL-E",
    }  # fmt: skip


def test_quality_brightness_and_cost_stand_beside(done):
    seg = done[1]["builtin-streets"]
    assert {s.label for s in select(seg, metric="psnr")} >= {"identity", "gem_pam"}
    assert not select(seg, label="original", metric="psnr")
    dark, day = (
        select(seg, label=x, metric="brightness")[0].value for x in ("identity", "original")
    )
    assert dark < 0.5 * day
    parameters = {s.label: s.value for s in select(seg, metric="parameters")}
    assert parameters["gem_pam"] - parameters["identity"] == 577_294
    assert parameters["identity"] == 4_383_139
    assert all(s.value > 0 for s in select(seg, metric="latency"))


def test_training_leaves_the_shared_recognizer_as_it_was(recipe, folder):
    settings = settings_of()
    weights = Run(recipe.recognizer_key(settings)).weights_path
    stamped = Run(recipe.key(settings, "gem_pam")).directory / "settings.json"
    assert file_hash(weights) in stamped.read_text()
    holds, evidence = recognition_report.recognizer_unchanged(recipe, settings)
    assert holds, evidence


def test_the_recognizer_decides_the_rows_that_its_loss_trains(
    recipe, folder, tmp_path, monkeypatch
):
    settings = settings_of()
    ours, own = recipe.key(settings, "gem_pam"), recipe.key(settings, "zero_dce")
    before = {k: recipe.experiment(k, settings).train_hash() for k in (ours, own)}
    copy = tmp_path / "results"
    shutil.copytree(folder, copy)
    monkeypatch.setenv("LLIE_RESULTS", str(copy))
    again = settings_of(recognizer_steps=3)
    recipe.fit(recipe.recognizer_key(again), again, "cpu")
    after = {k: recipe.experiment(k, again).train_hash() for k in (ours, own)}
    assert after[ours] != before[ours] and after[own] == before[own]


def test_a_second_run_trains_and_scores_nothing(recipe, folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("measured again")

    monkeypatch.setattr(recognition.RecognitionRecipe, "measure", fail)
    assert len(recipe.reproduce(settings_of(), "cpu")) > 7


def test_per_image_values_stand_behind_the_mean(recipe, folder):
    text = (recipe.key(settings_of(), "gem_pam").directory / "per_image.csv").read_text()
    lines = text.split()
    assert lines[0] == "name,miou" and len(lines) == 1 + settings_of().test_count


# The report ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", list(SETS))
def test_report_parts_hold_what_was_measured(recipe, folder, done, dataset):
    settings, scores = settings_of(dataset), done[1][dataset]
    for table in (
        recognition_report.recognizer_table(recipe, settings, scores),
        recognition_report.cost_table(recipe, settings, scores),
        recognition_report.subset_table(recipe, settings),
        recognition_report.class_table(scores, settings),
        recognition_report.audit(settings),
    ):
        assert all(len(row) == len(table.header) for row in table.rows)
        assert "<table>" in table._repr_html_() and table.rows
    lines = recognition_report.predictions(recipe, settings, 2)
    assert all(panel.image.shape[0] == 3 for line in lines for panel in line)
    labels = [panel.label for panel in lines[0]]
    assert labels == ["identity", "zero_dce", "gem_pam", "annotated"]
    sheet = recognition_report.contact_sheet(recipe, settings, 2)
    assert len(sheet) == 2 and len(sheet[0]) >= 2


def test_enhancers_are_crossed_over_recognizers(recipe, folder):
    table = recognition_report.cross_table(recipe, settings_of())
    assert [row[0] for row in table.rows] == ["none", "segmentation", "pose"]
    assert all(float(cell) >= 0 for row in table.rows for cell in row[1:])
    casts = recognition_report.casts(recipe, settings_of())
    assert len(casts) == 3
    for cast in casts.values():
        assert cast[:3].mean().item() == pytest.approx(1, abs=1e-5)


def test_crossing_says_what_it_lacks(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    table = recognition_report.cross_table(recipe, settings_of())
    assert "not run" in table.rows[0] and "make reproduce PAPER=recognition" in table.note
    holds, why = recognition_report.casts_differ(recipe, settings_of())
    assert holds is None and "builtin-streets" in why


@pytest.mark.parametrize("dataset", list(SETS))
def test_every_claim_gets_a_verdict(recipe, folder, done, dataset):
    settings, scores = settings_of(dataset), done[1][dataset]
    measured = recognition_report.measurements(recipe, settings, scores)
    verdicts = judge("recognition", scores, recipe.context(settings), measured)
    assert len(verdicts) == 51 and all(v.verdict for v in verdicts)
    assert not any(v.verdict.startswith(("reproduced", "not reproduced")) for v in verdicts)
    by_id = {v.claim.id: v.verdict for v in verdicts}
    assert by_id["1.02"].startswith("holds on builtin-streets")


def test_published_percent_stands_beside_measured_percent(done):
    scores = done[1]["builtin-streets"]
    table = published_beside_measured("recognition", "3", scores, "Table 3", decimals=1)
    row = next(row for row in table.rows if row[0] == "Ours and DeepLabV3+")
    measured = select(scores, label="gem_pam", metric="miou", subset="all")[0].value
    assert row[1:] == ["34.4", f"{100 * measured:.1f}"]
    llflow = next(row for row in table.rows if row[0].startswith("LLFLow"))
    assert llflow[2] == "not run"


# Tasks -----------------------------------------------------------------------------------------


def test_pose_recognizer_learns_each_light_in_its_own_batch_norm():
    torch.manual_seed(0)
    recognizer = create_recognizer("cpn", frozen=False, backbone="tiny").train()
    task = TASKS["builtin-streets-pose"]
    data = task.data(settings_of("builtin-streets-pose"), "train", "night")
    batch = collate([data[i] for i in range(2)])
    terms = BothLights(recognizer, task.targets)({"image": batch["image"]}, batch)
    torch.testing.assert_close(terms["total"], terms["low_light"] + terms["well_lit"])
    terms["total"].backward()
    assert all(p.grad is not None for n, p in recognizer.named_parameters())


def test_scaled_pose_pictures_have_the_level_of_the_whole_picture():
    class One:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {"image": torch.full((3, 4, 4), 0.1), "mean": torch.tensor([0.05, 0.1, 0.0])}

        def describe(self):
            return {"name": "one"}

    image = MeanScaled(One())[0]["image"]
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([0.8, 0.4, 2.0]))
    settings = settings_of("builtin-streets-pose", scale_input=True)
    data = TASKS["builtin-streets-pose"].data(settings, "train", "night")
    assert isinstance(data, MeanScaled) and "MeanScaled" in data.describe()


def test_the_papers_own_layouts_run_from_day_to_night(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    for split in ("train", "val"):
        trees.street_pair(tmp_path, split, ["a_1", "b_2"])
    settings = recipe.settings(
        "paper", data=str(tmp_path / "nightcity"), day_data=str(tmp_path / "cityscapes"),
        size=[32, 64], models=["gem_pam"], steps=1, batch_size=2, recognizer_steps=1,
        recognizer_batch=2, cost_size=[32, 64], workers=0,
    )  # fmt: skip
    scores = recipe.reproduce(settings, "cpu")
    assert select(scores, label="gem_pam", metric="miou")[0].split == "val"
    assert {s.recognizer for s in scores} == {"deeplabv3plus"}
    assert recipe.context(settings).papers_own
    row = recipe.key(settings, "gem_pam")
    assert Run(row).read_stamp()["steps_planned"] == 18_750


def test_exlpose_runs_by_subset(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    trees.exlpose(tmp_path / "ExLPose")
    settings = recipe.settings(
        "paper", dataset="exlpose", data=str(tmp_path / "ExLPose"), backbone="tiny",
        models=["gem_pam"], steps=1, batch_size=2, recognizer_steps=1, recognizer_batch=2,
        cost_size=[64, 48], workers=0,
    )  # fmt: skip
    scores = recipe.reproduce(settings, "cpu")
    ours = select(scores, label="gem_pam", metric="ap")
    assert {s.subset for s in ours} == {"LL-A", "LL-N"}
    assert {s.recognizer for s in ours} == {"cpn"}


def test_a_camvid_copy_runs_end_to_end(recipe, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    few = {"size": [32, 48], "models": ["gem_pam"], "data": str(shared_data)}
    settings = recipe.settings("smoke", dataset="camvid", cost_size=[32, 64], **few)
    data, identity = recipe.test_data(settings)
    assert len(data) == 62  # the dusk half of the test split
    assert recipe.rows(settings)[-1] == RunKey("recognition", "camvid", "smoke", "gem_pam")
    assert recipe.load_recognizer is not None and identity
    run = recipe.fit(recipe.recognizer_key(settings), settings, "cpu")
    scores = recipe.evaluate(recipe.key(settings, "identity"), settings, "cpu")
    assert run.weights_path.exists()
    assert select(scores, metric="miou", subset="all")[0].n == 62


def test_an_absent_set_is_named_with_where_to_get_it(recipe):
    settings = recipe.settings("smoke", dataset="camvid", data="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"camvid: .*get it from"):
        recipe.reproduce(settings, "cpu")


# Keeping a run ---------------------------------------------------------------------------------


def test_finished_runs_are_kept_with_half_the_bytes(recipe, folder, tmp_path, monkeypatch):
    from llie_core.recipes import base
    from llie_core.reporting.scores import read_scores

    monkeypatch.setattr(base, "project_root", lambda: tmp_path)
    settings = settings_of()
    kept = recipe.keep(settings)
    assert kept == tmp_path / "results" / "reference" / "recognition" / "builtin-streets"
    home, run = kept / "gem_pam+w-o_PAM" / "seed0", Run(recipe.key(settings, "gem_pam", "w/o PAM"))
    assert (home / "stamp.json").read_text() == (run.directory / "stamp.json").read_text()
    assert not (home / "checkpoint.pt").exists()
    sizes = [p.stat().st_size for p in (home / "weights.safetensors", run.weights_path)]
    assert sizes[0] < 0.6 * sizes[1]
    rows = {score.label for score in read_scores(kept / "scores.csv")}
    assert {"identity", "gem_pam", "gem_pam+w/o PAM", "deeplabv3plus"} <= rows
