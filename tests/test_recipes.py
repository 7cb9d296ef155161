"""The recipe of paper 2: its rows, what retrains and what only scores anew, and a smoke run."""

import csv
import dataclasses
import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from llie_core import runs
from llie_core.data.images import write_image
from llie_core.recipes import get_recipe, joint, list_recipes
from llie_core.recipes.base import Recipe
from llie_core.recipes.face_scores import SUBSETS
from llie_core.recipes.joint_rows import variant_of
from llie_core.reporting.scores import read_scores, select
from llie_core.runs import Run, RunKey

TINY = {"size": 48, "train_count": 4, "test_size": 128, "test_count": 4, "steps": 2}
TRAINED = ("1:0", "2:1", "2:1@tinaface")


@pytest.fixture(scope="module")
def recipe():
    return get_recipe("joint")


def settings_of(**overrides):
    return joint.JointRecipe().settings("smoke", **{**TINY, **overrides})


# Rows and keys --------------------------------------------------------------------------------


def test_papers_are_found_by_name():
    assert "joint" in list_recipes()
    assert all(get_recipe(name).name == name for name in list_recipes())
    with pytest.raises(ValueError, match=r"no paper 'jiont'; did you mean 'joint'\? \(known: "):
        get_recipe("jiont")
    with pytest.raises(ValueError, match=r"no paper 'x' \(known: "):
        get_recipe("x")


@pytest.mark.parametrize("name", list_recipes())
def test_profiles_carry_their_own_name_and_a_known_data_set(name):
    recipe = get_recipe(name)
    assert {"smoke", "quick", "paper"} <= set(recipe.profiles)
    for profile, preset in recipe.profiles.items():
        assert preset.profile == profile and preset.dataset in recipe.datasets
        assert recipe.settings(profile) == preset
    assert recipe.profiles["quick"].dataset == recipe.datasets[0]


def test_a_data_set_of_another_paper_is_refused(recipe):
    with pytest.raises(ValueError, match=r"joint has no data set 'lol' \(known: builtin-faces, w"):
        recipe.settings("smoke", dataset="lol")


def test_a_ratio_that_is_none_is_refused_with_the_settings(recipe):
    with pytest.raises(ValueError, match="'half': write W_up:W_down"):
        recipe.settings("smoke", ratios=["1:0", "half"])


def test_paper_profile_trains_the_eight_ratios_of_table_4_2(recipe):
    from llie_core.published import table

    variants = {cell.variant for cell in table("joint", "4.2")}
    assert set(recipe.profiles["paper"].ratios) == variants and len(variants) == 8
    assert recipe.profiles["quick"].ratios == ("1:0", "2:1", "0:1", "2:1@tinaface")


@pytest.mark.parametrize(
    ("row", "recognizer", "variant"),
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
def test_a_row_is_named_by_its_ratio_and_by_who_trains_it(row, recognizer, variant):
    assert variant_of(row, recognizer) == variant


def test_a_row_asked_for_twice_is_one(recipe):
    settings = settings_of(ratios=["2:1", "2:1@mtcnn", "1:0", "1:0@tinaface"])
    assert [k.variant for k in recipe.rows(settings) if k.variant] == ["2:1", "1:0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratios": ["2:1@yolo"]}, "ratio '2:1@yolo': behind @ stands one of mtcnn, tinaface"),
        ({"recognizer": "yolo"}, "'yolo' is none of mtcnn, tinaface"),
        ({"readers": ["tinaface"]}, "readers: mtcnn trains and has to read too"),
        ({"tinaface": "large"}, "tinaface: choose small or resnet50"),
    ],
)
def test_unknown_recognizers_are_refused_with_the_settings(recipe, given, message):
    with pytest.raises(ValueError, match=message):
        recipe.settings("smoke", **given)


def test_the_whole_tinaface_needs_its_authors_file(recipe, tmp_path):
    settings = settings_of(tinaface="resnet50")
    with pytest.raises(ValueError, match=r"checkpoint is needed \(setting tinaface_weights\)"):
        recipe.reader(settings, "tinaface")
    settings = settings_of(tinaface="resnet50", tinaface_weights=str(tmp_path / "none.pth"))
    with pytest.raises(FileNotFoundError):
        recipe.reader(settings, "tinaface")


def test_rows_are_the_baselines_the_original_and_every_ratio_and_seed(recipe):
    settings = settings_of(ratios=["1:0", "2:1"], seeds=[0, 3])
    rows = recipe.rows(settings)
    assert [(k.model, k.variant, k.seed) for k in rows] == [
        ("identity", "", 0), ("gamma", "", 0), ("clahe", "", 0), ("original", "", 0),
        ("zero_dce_pp", "1:0", 0), ("zero_dce_pp", "1:0", 3),
        ("zero_dce_pp", "2:1", 0), ("zero_dce_pp", "2:1", 3),
    ]  # fmt: skip
    assert [recipe.is_trained(k) for k in rows] == [False] * 4 + [True] * 4
    assert {(k.paper, k.dataset, k.profile) for k in rows} == {("joint", "builtin-faces", "smoke")}
    assert len({k.directory for k in rows}) == len(rows)


def test_keys_as_the_command_line_names_them(recipe):
    settings = settings_of()
    assert recipe.parse_key(settings, "", "", 4) == RunKey(
        "joint", "builtin-faces", "smoke", "zero_dce_pp", "2:1", 4
    )
    assert recipe.parse_key(settings, "zero_dce_pp", "3:1", 0).variant == "3:1"
    darkener = recipe.parse_key(settings, "ec_zero_dce", "", 0)
    assert darkener == recipe.darkener_key(settings)
    assert (darkener.dataset, darkener.model) == ("builtin-photos", "ec_zero_dce")
    recognizer = recipe.parse_key(settings, "tinaface", "", 0)
    assert recipe.is_trained(recognizer) and not recipe.is_scored(recognizer)
    with pytest.raises(ValueError, match="trains zero_dce_pp, ec_zero_dce and tinaface, not 'jc"):
        recipe.parse_key(settings, "jcrnet", "", 0)
    with pytest.raises(ValueError, match="'two': write W_up:W_down"):
        recipe.parse_key(settings, "", "two", 0)


def test_a_run_has_a_folder_that_any_file_system_takes(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    key = recipe.key(settings_of(), "zero_dce_pp", "2:1", 3)
    assert str(key) == "joint/builtin-faces/smoke/zero_dce_pp+2:1/seed3"
    folder = tmp_path / "joint" / "builtin-faces" / "smoke" / "zero_dce_pp+2-1" / "seed3"
    assert key.directory == folder.resolve()


def test_the_seed_decides_the_first_weights(recipe):
    def start(seed):
        key = recipe.key(settings_of(), "zero_dce_pp", "2:1", seed)
        return recipe.build(key, settings_of()).state_dict()["e_conv1.point_conv.weight"]

    assert torch.equal(start(0), start(0)) and not torch.equal(start(0), start(1))


def test_context_says_whose_data_it_is(recipe):
    assert dataclasses.astuple(recipe.context(settings_of(seeds=[0, 1]))) == (
        "builtin-faces", "smoke", 2, False,
    )  # fmt: skip
    assert recipe.context(recipe.settings("paper")).papers_own
    # The thesis's detector is the whole TinaFace, its data all of WIDER FACE: nothing else can
    # be called reproduced.
    for given in ({"recognizer": "mtcnn"}, {"tinaface": "small"}, {"missing": "skip"}):
        assert not recipe.context(recipe.settings("paper", **given)).papers_own


# What retrains, what only scores anew, what does neither --------------------------------------


def train_hash(ratio="2:1", seed=0, **overrides):
    recipe, settings = joint.JointRecipe(), settings_of(**overrides)
    key = recipe.key(settings, "zero_dce_pp", ratio, seed)
    return recipe.experiment(key, settings).train_hash()


@pytest.fixture
def eval_hash(tmp_path, monkeypatch):
    """eval_hash(model, **overrides) of a row, without measuring anything."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    monkeypatch.setattr(joint.JointRecipe, "measure", lambda *_arguments: ([], []))

    def of(model="identity", **overrides):
        recipe, settings = joint.JointRecipe(), settings_of(**overrides)
        key = recipe.key(settings, model)
        assert recipe.evaluate(key, settings, "cpu") == []
        return json.loads((key.directory / "scores.json").read_text())["eval_hash"]

    return of


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 3}, {"batch_size": 4}, {"lr": 2e-3}, {"schedule": "constant"},
        {"weight_decay": 0.0}, {"grad_clip": 0.2}, {"precision": "mixed"}, {"size": 64},
        {"train_count": 8}, {"ratio": "3:1"}, {"ratio": "1:0"}, {"seed": 1},
        {"ratio": "2:1@tinaface"}, {"recognizer": "tinaface"}, {"face_windows": 5},
    ],
    ids=str,
)  # fmt: skip
def test_what_decides_the_weights_trains_anew(change):
    assert train_hash(**change) != train_hash()


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 1}, {"test_count": 5}, {"test_size": 160}, {"score_threshold": 0.8},
        {"ratios": ["2:1"]}, {"seeds": [0, 1]}, {"darkener_steps": 9},
        {"readers": ["mtcnn"]}, {"recognizer_steps": 3},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_decide_the_weights_trains_nothing(change):
    assert train_hash(**change) == train_hash()


def test_equal_ratios_are_one_training_and_the_number_of_processes_is_another():
    assert train_hash("2:1") == train_hash("4:2")
    recipe, settings = joint.JointRecipe(), settings_of()
    experiment = recipe.experiment(recipe.key(settings, "zero_dce_pp", "2:1"), settings)
    assert experiment.train_hash(2) != experiment.train_hash(1)


@pytest.mark.parametrize(
    "change",
    [
        {"test_count": 5}, {"test_size": 160}, {"score_threshold": 0.8}, {"readers": ["mtcnn"]},
        {"recognizer_steps": 3},
    ],
    ids=str,
)  # fmt: skip
def test_what_decides_the_test_scores_anew(change, eval_hash):
    assert eval_hash(**change) != eval_hash()


@pytest.mark.parametrize(
    "change", [{"workers": 1}, {"seeds": [0, 1]}, {"ratios": ["2:1"]}, {"train_count": 8}], ids=str
)
def test_what_does_not_decide_the_test_scores_nothing(change, eval_hash):
    assert eval_hash(**change) == eval_hash()


def test_new_weights_are_scored_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    seen = []

    def measure(_recipe, key, *_arguments):
        seen.append(key)
        return [], []

    monkeypatch.setattr(joint.JointRecipe, "measure", measure)
    recipe = joint.JointRecipe()

    def fit_and_evaluate(**overrides):
        settings = settings_of(**overrides)
        key = recipe.key(settings, "zero_dce_pp", "1:0")
        recipe.fit(key, settings, "cpu")
        recipe.evaluate(key, settings, "cpu")
        return len(seen)

    assert [fit_and_evaluate(), fit_and_evaluate(), fit_and_evaluate(lr=2e-3)] == [1, 1, 2]


@pytest.fixture
def edited(monkeypatch):
    """edited(module): from now on that module's code counts as changed."""
    original = runs._module_digest

    def edit(changed):
        def digest(name):
            value, imported = original(name)
            return (value + "changed" if name == changed else value), imported

        monkeypatch.setattr(runs, "_module_digest", digest)

    return edit


@pytest.mark.parametrize(
    ("module", "trains", "scores"),
    [
        ("llie_core.models.zero_dce", True, None),
        ("llie_core.losses.task_driven", True, None),
        ("llie_core.losses.zero_reference", True, None),
        ("llie_core.recognizers.mtcnn", True, True),
        ("llie_core.training", True, None),
        ("llie_core.data.darkening", True, True),
        ("llie_core.synthetic.photos", True, True),
        ("llie_core.synthetic.faces", True, True),
        ("llie_core.metrics.faces", False, True),
        ("llie_core.metrics.quality", False, True),
        ("llie_core.models.classical", False, True),
        ("llie_core.reporting.figures", False, False),
        ("llie_core.reporting.tables", False, False),
        ("llie_core.reporting.execute", False, False),
        ("llie_core.reporting.claims", False, False),
        ("llie_core.cli", False, False),
    ],
)
def test_changed_code_redoes_its_half_only(module, trains, scores, edited, eval_hash):
    before = train_hash(), eval_hash("clahe")
    edited(module)
    assert (train_hash() != before[0]) is trains
    if scores is not None:  # None: scored anew in any case, as the weights change
        assert (eval_hash("clahe") != before[1]) is scores


def test_the_detector_counts_only_where_it_is_asked(edited):
    before = train_hash("1:0")
    edited("llie_core.recognizers.mtcnn")
    assert train_hash("1:0") == before


# A smoke run ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """One tiny reproduction of the recipe: recipe, settings, scores, results folder."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    folder = tmp_path_factory.mktemp("smoke")
    recipe, settings = get_recipe("joint"), settings_of()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        scores = recipe.reproduce(settings, "cpu")
        yield SimpleNamespace(recipe=recipe, settings=settings, scores=scores, folder=folder)


@pytest.fixture
def results(smoke, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(smoke.folder))
    return smoke


METRICS = [
    ("ap", "easy", "fraction", "higher", "face-ap-height"),
    ("ap", "medium", "fraction", "higher", "face-ap-height"),
    ("ap", "hard", "fraction", "higher", "face-ap-height"),
    ("recall", "all", "fraction", "higher", "face-recall"),
    ("fp_per_image", "all", "per image", "lower", "face-fp-per-image"),
]
QUALITY = ("psnr", "all", "dB", "higher", "psnr-rgb-float")


def test_every_row_is_scored_by_every_metric_and_reader(results):
    measured = [
        (s.label, s.recognizer, s.metric, s.subset, s.unit, s.direction, s.protocol)
        for s in results.scores
        if not s.subset.endswith("px")
    ]
    labels = [key.method for key in results.recipe.rows(results.settings)]
    assert labels[-3:] == [f"zero_dce_pp+{variant}" for variant in TRAINED]
    expected = []
    for label in labels:
        expected += [(label, who, *m) for who in ("mtcnn", "tinaface") for m in METRICS]
        # The originals are what PSNR compares with.
        expected += [(label, "mtcnn", *QUALITY)] * (label != "original")
    assert measured == expected


def test_ranges_of_height_split_the_faces(results):
    for label in ("identity", "zero_dce_pp+2:1"):
        for reader in ("mtcnn", "tinaface"):
            own = select(results.scores, label=label, metric="ap", recognizer=reader)
            parts = [s for s in own if s.subset.endswith("px")]
            (hard,) = select(own, subset="hard")
            assert sum(s.n for s in parts) == hard.n and len(parts) > 1
            assert {s.protocol for s in parts} == {"face-ap-height"}


def test_every_field_of_a_score_says_what_it_is(results):
    from llie_core.metrics.protocols import load_protocols

    for score in results.scores:
        key = RunKey("joint", "builtin-faces", "smoke", score.method, score.variant, score.seed)
        assert score.run == str(key) and key in results.recipe.rows(results.settings)
        assert (score.dataset, score.split, score.profile) == ("builtin-faces", "test", "smoke")
        assert score.recognizer in ("mtcnn", "tinaface") and score.precision == "float32"
        assert score.device.startswith("CPU") and math.isfinite(score.value) and score.n > 0
        protocol = load_protocols()[score.protocol]
        assert (protocol.unit, protocol.direction) == (score.unit, score.direction)
        trained = score.method == "zero_dce_pp"
        assert (score.steps_done, score.steps_planned) == ((2, 322_000) if trained else (0, 0))
        assert score.weights == ("trained here" if trained else "none")


def test_counts_are_those_of_the_test_set(results):
    data, _ = results.recipe.test_data(results.settings)
    faces = {s: sum(int(item["keep"][s].sum()) for item in data) for s in SUBSETS}
    for score in results.scores:
        if score.subset.endswith("px"):
            continue
        by_metric = {"ap": faces.get(score.subset), "recall": faces["hard"]}
        assert score.n == by_metric.get(score.metric, 4), (score.metric, score.subset)
    for score in select(results.scores, unit="fraction"):
        assert 0 <= score.value <= 1


def test_normal_light_is_recognized_better_than_the_dark(results):
    found = select(results.scores, metric="recall", recognizer="mtcnn")
    recall = {s.label: s.value for s in found}
    assert recall["original"] > recall["identity"]


def test_scores_are_stored_beside_the_run_and_all_together(results):
    together = read_scores(results.folder / "joint" / "builtin-faces" / "smoke" / "scores.csv")
    assert together == results.scores
    for key in results.recipe.rows(results.settings):
        assert read_scores(key.directory / "scores.csv") == select(together, run=str(key))


def test_what_stands_behind_each_score_is_kept_image_by_image(results):
    data, _ = results.recipe.test_data(results.settings)
    for key in results.recipe.rows(results.settings):
        with (key.directory / "per_image.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == [item["name"] for item in data]
        assert [json.loads(row["darkening"]) for row in rows] == [i["darkening"] for i in data]
        assert [int(row["faces"]) for row in rows] == [len(item["boxes"]) for item in data]
        for reader in ("mtcnn", "tinaface"):
            own = select(results.scores, run=str(key), recognizer=reader)
            scores = {s.metric: s.value for s in own}
            recalls = [(float(r[f"recall_{reader}"]), int(r["faces"])) for r in rows]
            found = sum(recall * faces for recall, faces in recalls if faces)
            # Recall is written with four decimals.
            assert found / sum(faces for _, faces in recalls) == pytest.approx(
                scores["recall"], abs=1e-4
            )
            false = sum(int(row[f"false_positives_{reader}"]) for row in rows) / len(rows)
            assert false == pytest.approx(scores["fp_per_image"])
        if key.model == "original":
            assert {row["psnr"] for row in rows} == {""}
        else:
            mean = sum(float(row["psnr"]) for row in rows) / len(rows)
            (score,) = select(results.scores, run=str(key), metric="psnr")
            assert mean == pytest.approx(score.value, abs=1e-4)


def test_a_trained_row_leaves_log_stamp_and_weights(results):
    run = Run(results.recipe.key(results.settings, "zero_dce_pp", "2:1"))
    assert [row["step"] for row in run.read_log()] == [0, 1]
    stamp = run.read_stamp()
    assert (stamp["steps_done"], stamp["steps_planned"], stamp["world_size"]) == (2, 322_000, 1)
    assert stamp["run"] == dataclasses.asdict(run.key)
    content = json.loads((run.directory / "settings.json").read_text())
    assert content["w_up"] == 1.0 and content["w_down"] == 0.5
    assert content["recognizer"] == "mtcnn" and content["data"]["name"] == "builtin-faces"
    assert run.weights_path.stat().st_size > 4 * 10_561


def test_a_second_call_does_no_work(results, monkeypatch):
    def forbidden(*_arguments, **_options):
        raise AssertionError("nothing changed, so nothing should be done")

    monkeypatch.setattr(joint.JointRecipe, "measure", forbidden)
    monkeypatch.setattr("llie_core.training._Trainer", forbidden)
    assert results.recipe.reproduce(results.settings, "cpu") == results.scores


def test_what_is_worth_keeping_is_kept_with_the_detector(results, tmp_path, monkeypatch):
    from llie_core.recipes import base

    monkeypatch.setattr(base, "project_root", lambda: tmp_path)
    further = results.recipe.key(results.settings, "identity").directory / "scores-wider-face.csv"
    shutil.copy(further.with_name("scores.csv"), further)
    try:
        target = results.recipe.keep(results.settings)
    finally:
        further.unlink()
    assert target == tmp_path / "results" / "reference" / "joint" / "builtin-faces"
    assert read_scores(target / "scores.csv") == results.scores
    own = select(results.scores, label="identity")
    assert read_scores(target / "scores-wider-face.csv") == own
    for name in ("tinaface+small", "zero_dce_pp+2-1@tinaface"):
        kept = {path.name for path in (target / name / "seed0").iterdir()}
        assert {"weights.safetensors", "stamp.json", "log.csv", "settings.json"} <= kept
        assert "checkpoint.pt" not in kept


def test_another_threshold_scores_the_same_weights_anew(results, monkeypatch, tmp_path):
    shutil.copytree(results.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    monkeypatch.setattr("llie_core.training._Trainer", None)  # nothing may be trained
    settings = settings_of(score_threshold=2.0)  # above every score
    trained = results.recipe.key(settings, "zero_dce_pp", "2:1")
    weights = Run(trained).weights_path.read_bytes()
    results.recipe.fit(trained, settings, "cpu")
    for key in (trained, results.recipe.key(settings, "original")):
        anew = {
            s.metric: s.value
            for s in select(results.recipe.evaluate(key, settings, "cpu"), recognizer="mtcnn")
        }
        before = {
            s.metric: s.value for s in select(results.scores, run=str(key), recognizer="mtcnn")
        }
        assert anew["recall"] == anew["fp_per_image"] == 0
        assert anew["ap"] == before["ap"] and anew.get("psnr") == before.get("psnr")
    assert before["recall"] > 0  # of the originals
    assert Run(trained).weights_path.read_bytes() == weights


def test_what_is_not_trained_cannot_be_loaded(results):
    key = results.recipe.key(results.settings, "zero_dce_pp", "1:3")
    with pytest.raises(FileNotFoundError, match=r"zero_dce_pp\+1:3/seed0: not trained yet"):
        results.recipe.load(key, results.settings)


# What the report shows of it ------------------------------------------------------------------


def test_headline_compares_alone_with_joint(results, tmp_path, monkeypatch):
    doctored = [
        dataclasses.replace(score, value={"1:0": 0.123, "2:1": 0.456}.get(score.variant, 0.789))
        for score in results.scores
    ]
    text = results.recipe.headline(doctored)
    assert text.count("0.123 alone, 0.456 joint") == 3 and "0.789" not in text
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    results.recipe.write_headline(results.settings, doctored)
    path = tmp_path / "joint" / "builtin-faces" / "smoke" / "headline.json"
    assert json.loads(path.read_text()) == {"device": doctored[0].device, "headline": text}


def test_provenance_and_logs_cover_the_trained_rows(results):
    table = results.recipe.provenance(results.settings)
    assert [row[:2] for row in table.rows] == [
        [f"zero_dce_pp+{variant}, seed 0", "2 of 322000"] for variant in TRAINED
    ]
    logs = results.recipe.logs(results.settings)
    assert tuple(logs) == TRAINED and all(len(log) == 2 for log in logs.values())
    assert "down" in logs["2:1"][0] and "down" not in logs["1:0"][0]


def test_panels_show_the_four_groups_with_sure_detections(results):
    from llie_core.recipes import joint_report

    keys = joint_report.group_keys(results.recipe, results.settings)
    assert [key.method for key in keys] == [
        "identity", "zero_dce_pp+1:0", "zero_dce_pp+2:1", "original",
    ]  # fmt: skip
    (row,) = joint_report.detections(results.recipe, results.settings, keys, pictures=1)
    assert [panel.label for panel in row] == ["identity", "1:0", "2:1", "original"]
    for panel in row:
        assert panel.image.shape == (3, 128, 128) and panel.boxes.shape == (len(panel.scores), 4)
        assert (panel.scores >= 0.5).all()
    assert row[0].image.mean() < row[3].image.mean()


def test_tables_about_data_and_first_losses(results):
    from llie_core.recipes import joint_report

    summary = joint_report.data_summary(results.recipe, results.settings)
    (cells,) = summary.rows
    assert cells[:2] == ["builtin-faces", "4"]
    assert int(cells[3]) <= int(cells[4]) <= int(cells[5]) and float(cells[6]) < float(cells[7])
    losses = joint_report.first_losses(results.recipe, results.settings)
    alone, both, tinaface = losses.rows
    assert tinaface[0] == "2:1@tinaface" and float(tinaface[4]) > 0
    assert alone[0] == "1:0" and alone[3:5] == ["–", "–"] and both[0] == "2:1"
    total = float(both[2]) + 0.5 * float(both[4])  # Eq. (3.14)
    assert float(both[5]) == pytest.approx(total, abs=0.011)


def test_measurements_answer_every_measured_claim(results):
    from llie_core.recipes import joint_report

    answers = joint_report.measurements(results.recipe, results.settings, results.scores)
    assert answers["curve_monotone"][0] is True
    assert all(why for holds, why in answers.values() if holds is None)
    found = joint_report.verdicts(results.recipe, results.settings, results.scores)
    assert list(found) == ["mtcnn", "tinaface"]
    for verdicts in found.values():
        assert len(verdicts) == 44
        assert not [v for v in verdicts if v.verdict.startswith("reproduced")]  # on built-in data
        assert all(v.verdict for v in verdicts)
    rows = joint_report.verdicts_side_by_side(found).rows
    assert {"2.01", "2.15", "2.39"} <= {row[0] for row in rows} and len(rows[0]) == 4


def test_every_abstract_method_is_answered():
    assert not joint.JointRecipe.__abstractmethods__ and Recipe.__abstractmethods__


# The official layout --------------------------------------------------------------------------


@pytest.fixture
def wider(shared_data, tmp_path, monkeypatch):
    """WIDER FACE in its official layout with one real picture, for training and validation."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    source, root = shared_data / "WIDER_FACE", tmp_path / "WIDER_FACE"
    picture = min(source.rglob("13_Interview*.jpg"), key=lambda path: path.stat().st_size)
    (root / "wider_face_split").mkdir(parents=True)
    (root / "eval_tools").symlink_to(source / "eval_tools")
    (listing,) = (source / "wider_face_split").glob("wider_face_val_bbx_gt*.txt")
    lines = listing.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(picture.name))
    entry = "\n".join(lines[at : at + 2 + int(lines[at + 1])]) + "\n"
    for split in ("train", "val"):
        folder = root / f"WIDER_{split}" / "images" / picture.parent.name
        folder.mkdir(parents=True)
        (folder / picture.name).symlink_to(picture)
        (root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt").write_text(entry)
    return {"dataset": "wider-face", "data": str(tmp_path), "darkener_steps": 1, "steps": 1}


def test_the_recipe_runs_on_the_official_layout(wider):
    recipe, settings = get_recipe("joint"), settings_of(**wider)
    run = recipe.fit(recipe.parse_key(settings, "", "2:1", 0), settings, "cpu")
    row = run.read_log()[0]
    assert row["total"] == pytest.approx(row["up"] + 0.5 * row["down"], rel=1e-6)
    content = json.loads((run.directory / "settings.json").read_text())
    darkener = Run(recipe.darkener_key(settings))
    assert content["data"]["darkener"] == runs.file_hash(darkener.weights_path)
    scores = recipe.evaluate(recipe.key(settings, "identity"), settings, "cpu")
    official = [s for s in scores if not s.subset.endswith("px")]
    assert [(s.metric, s.subset) for s in official] == [m[:2] for m in (*METRICS * 2, QUALITY)]
    assert {s.protocol for s in select(official, metric="ap")} == {"face-ap-wider"}
    (psnr,) = select(scores, metric="psnr")
    assert psnr.n == 1 and psnr.value > 0


def test_on_wider_face_every_row_is_read_once(wider, tmp_path):
    recipe = get_recipe("joint")
    few = {"ratios": ("1:0",), "readers": ("mtcnn",), "steps": 1, "darkener_steps": 1}
    assert recipe.wider_scores(recipe.settings("smoke", **few), "cpu") == []
    external = tmp_path / "external" / "llflow" / "builtin-faces"
    external.mkdir(parents=True)
    settings = recipe.settings(
        "smoke", seeds=(0, 1), wider_face=wider["data"], external=str(tmp_path / "external"), **few
    )
    trained = recipe.key(settings, "zero_dce_pp", "1:0", 0)
    recipe.fit(trained, settings, "cpu")
    scores = recipe.wider_scores(settings, "cpu")
    hard = select(scores, metric="ap", subset="hard")
    assert [s.label for s in hard] == ["identity", "gamma", "clahe", "original", "zero_dce_pp+1:0"]
    assert {(s.dataset, s.split) for s in scores} == {("wider-face", "val")}
    assert {s.seed for s in hard} == {0}
    assert list((Run(trained).directory / "detections" / "mtcnn").rglob("*.txt"))
    assert recipe.wider_scores(settings, "cpu") == scores


def test_another_darkener_trains_and_scores_anew(wider):
    recipe = get_recipe("joint")

    def identity(**overrides):
        settings = settings_of(**{**wider, **overrides})
        key = recipe.key(settings, "zero_dce_pp", "2:1")
        return recipe.experiment(key, settings).train_hash(), recipe.test_data(settings)[1]

    (train, test), (other_train, other_test) = identity(), identity(darkener_steps=3)
    assert train != other_train and test != other_test


def test_an_external_method_becomes_a_row_under_the_same_protocol(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    folder = tmp_path / "external" / "llflow" / "builtin-faces"
    recipe = get_recipe("joint")
    plain = recipe.settings("smoke", test_count=3, test_size=96)
    data, _ = recipe.test_data(plain)
    for index in range(2):  # as a method that returns its input, and misses the last picture
        write_image(folder / f"{data[index]['name']}.png", data[index]["image"])
    settings = recipe.settings(
        "smoke", test_count=3, test_size=96, external=str(tmp_path / "external")
    )
    key = recipe.key(settings, "llflow")
    assert key in recipe.rows(settings) and key not in recipe.rows(plain)
    assert not recipe.is_trained(key)
    scores = recipe.evaluate(key, settings, "cpu")
    assert {score.weights for score in scores} == {"external"}
    two = recipe.settings("smoke", test_count=2, test_size=96)
    same = recipe.evaluate(recipe.key(two, "identity"), two, "cpu")
    assert [s.value for s in scores] == pytest.approx([s.value for s in same])
    assert "1 without an image: test-00002" in repr(recipe.external_table(settings))


def test_external_folders_are_checked(tmp_path):
    recipe = get_recipe("joint")
    settings = recipe.settings("smoke", external=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no METHOD/builtin-faces/ folder"):
        recipe.rows(settings)
    (tmp_path / "clahe" / "builtin-faces").mkdir(parents=True)
    with pytest.raises(ValueError, match="clahe is a method of our own"):
        recipe.rows(settings)
