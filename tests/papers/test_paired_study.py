"""What papers 3, 4 and 5 share: unpaired sets, protocols, other programs' images, copies on disk,
and the tables about them. NEID stands for the three."""

import contextlib
import json
import shutil

import pytest
import torch
from dataset_trees import lol, noise_image, save

from llie_core.data.registry import Absent
from llie_core.data.transforms import resize
from llie_core.data.wrappers import Augmented, ForPhotographs
from llie_core.engine.reuse import identity
from llie_core.engine.runs import read_json, write_record
from llie_core.files import read_rows, write_rows
from llie_core.hashing import file_digest
from llie_core.papers import judging, open_study
from llie_core.papers import study as studies
from llie_core.papers.images import examples
from llie_core.papers.paired import NO_FOLDER, OTHER_NETWORKS
from llie_core.papers.paired_tables import data_table, protocol_table, unpaired_table
from llie_core.reporting.scores import select
from llie_core.tasks.quality import Cost, ImageQuality, QualityMeter

FIXED = ["identity", "gamma"]  # rows without training


def open_tiny(
    dataset="", sets="", rows=(), pairs=None, protocols=("psnr-rgb-float",), more=(), **changes
):
    pairs = {"size": 16, "train_count": 2, "test_size": 24} | (pairs or {})
    evaluation = {"sets": str(sets), "protocols": protocols, "unpaired": more,
                  "cost_size": [16, 24], "count": 0}  # fmt: skip
    return open_study("neid", "smoke", dataset, baselines=FIXED, rows=rows, pairs=pairs,
                      evaluation=evaluation, **changes)  # fmt: skip


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    yield
    shutil.rmtree(tmp_path / "results", ignore_errors=True)


@pytest.fixture
def unpaired(tmp_path):
    """LIME with three images and DICM with two; NPE is absent."""
    for name, count in (("LIME", 3), ("DICM", 2)):
        for i in range(count):
            save(tmp_path / "images" / name / f"{i}.png", noise_image(i, (192, 98)) // 4)
    return tmp_path / "images"


# Settings --------------------------------------------------------------------------------------


def test_a_released_checkpoint_of_the_papers_network_is_its_main_row():
    assert open_tiny(rows=["neid"], released={"neid": "own.pth"}).main_row().source == "released"
    for rows, label in ((["neid+LE", "neid"], "neid"), (["neid+LE"], "neid+LE"), ([], "neid")):
        row = open_tiny(rows=rows, seeds=[3, 4]).main_row()
        assert (row.label, row.seed, row.source) == (label, 3, "trained here")


def test_of_rows_with_one_seed_the_first_is_trained():
    study = open_tiny(rows=["neid", "neid+LE"], one_seed=["neid+LE"], seeds=[3, 4])
    trained = [(row.label, row.seed) for row in study.rows() if row.is_trained]
    assert trained == [("neid", 3), ("neid", 4), ("neid+LE", 3)]
    assert study.row("neid+LE", 4).seed == 4  # asked for by name
    assert judging.context(study).seeds == 1  # no claim about both rows is decided by three
    assert judging.context(open_tiny(rows=["neid"], seeds=[3, 4])).seeds == 2


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="protocols: 'psnr-best' is no entry"):
        open_tiny(protocols=["psnr-best"])
    with pytest.raises(ValueError, match=r"no row 'neid\+all'"):
        open_tiny(one_seed=["neid+all"]).rows()


def test_training_takes_crops_and_validation_may():
    study = open_tiny(pairs={"val_size": 8})
    assert isinstance(study.train_data, Augmented)
    assert study.train_data[0]["image"].shape == (3, 16, 16)
    assert study.val_pairs[0]["image"].shape == (3, 8, 8)


def test_whole_scenes_may_be_trained_on_and_validated(tmp_path):
    """On tiles, a network does not see how bright the scene is."""
    lol(tmp_path / "LOL", train=6, test=2)  # pairs of 24×16
    pairs = {"size": 0, "resize": [8, 12], "flips": "horizontal", "val_scale": 0.5, "val_count": 2}
    study = open_tiny("lol", rows=["neid"], pairs=pairs, data=str(tmp_path))
    item, whole = study.train_data[0], study.train_pairs[0]
    expected = resize(whole, (8, 12))["image"]
    assert any(torch.equal(item["image"], x) for x in (expected, expected.flip(-1)))
    assert study.val_pairs[0]["image"].shape == (3, 8, 12)
    assert torch.equal(study.val_pairs[0]["image"], study.val_pairs[0]["image"])
    (run,) = study.train(study.row("neid"), device="cpu", quiet=True)
    assert run.read_stamp()["pixels_done"] == 2 * 2 * 8 * 12
    assert open_study("jcrnet", "reference").settings.pairs.val_size == 0
    for wrong in ({}, {"resize": [8, 12]}):
        with pytest.raises(ValueError, match=r"pairs\.flips: all swaps height and width"):
            open_tiny(pairs={"size": 0, "flips": "all", **wrong})
    assert open_tiny(pairs={"size": 0, "resize": [8, 8]}).train_data[0]["image"].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("paper", "row", "steps", "batch", "side"),
    [
        ("jcrnet", "jcrnet", 35_000, 10, 256), ("neid", "neid", 117_500, 8, 256),
        ("drgn", "drgn", 28_800, 16, 96),
    ],
)  # fmt: skip
def test_the_schedules_pixels_are_planned_and_those_seen_recorded(paper, row, steps, batch, side):
    pairs = {"size": 16, "train_count": 4, "test_size": 24}
    study = open_study(paper, "smoke", pairs=pairs)
    (run,) = study.train(study.row(row), device="cpu", quiet=True)
    stamp, train = run.read_stamp(), study.settings.train
    assert stamp["pixels_planned"] == steps * batch * side**2
    assert stamp["pixels_done"] == train.steps * train.batch_size * 16**2
    assert "pixels_planned" not in json.dumps(study.row(row).given, default=str)


# Protocols -------------------------------------------------------------------------------------


def test_protocols_without_weights_are_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    study = open_tiny(protocols=["psnr-rgb-float", "niqe-live", "brisque-live"])
    scores = study.evaluate(study.row("gamma"), test_sets=[study.main_set], device="cpu")
    assert {score.protocol for score in scores} == {"psnr-rgb-float"}
    assert "ssim-3d" in open_tiny(protocols=()).protocols
    assert not any("illumination-ratio" in name for name in open_tiny(protocols=()).protocols)
    values = {row[0]: row[2] for row in protocol_table(study, study.row("gamma")).rows}
    assert float(values["psnr-rgb-float"]) > 0
    assert values["brisque-live"] == "not available: llie weights fetch brisque"
    assert values["psnr-rgb-float-gtmean-illumination-ratio"] == "–"


# Images without ground truth -------------------------------------------------------------------


def test_sets_without_ground_truth_are_found_or_named(unpaired):
    settings = {"sets": str(unpaired), "count": 2, "protocols": ["psnr-rgb-float"]}
    study = open_study("neid", "smoke", evaluation=settings)
    found, absent = study.unpaired
    assert {one.name: len(one.data) for one in found} == {"lime": 2, "dicm": 2}
    assert found[0].data.names == ["0.png", "2.png"]
    assert list(absent) == ["npe"] and "get it from" in absent["npe"]
    nothing = open_tiny()
    assert set(nothing.absent().values()) == {NO_FOLDER}
    table = unpaired_table(nothing, [])
    assert table.rows[0] == ["lime", "not run", NO_FOLDER]


def test_a_folder_of_images_is_not_taken_for_every_set(unpaired):
    save(unpaired / "a.png", noise_image(0, (40, 30)))
    found, absent = open_tiny(sets=unpaired).unpaired
    assert [one.name for one in found] == ["lime", "dicm"]
    assert absent["npe"].startswith("no folder NPE in")
    # The folder of one set alone is that set and no other.
    found, absent = open_tiny(sets=unpaired / "LIME").unpaired
    assert [one.name for one in found] == ["lime"] and set(absent) == {"npe", "dicm"}


def test_rows_are_evaluated_on_them(unpaired, shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    save(unpaired / "LIME" / "small.png", noise_image(9, (50, 40)))  # too small for NIQE
    study = open_tiny(sets=unpaired)
    scores = study.evaluate(device="cpu")
    found = [score for score in scores if score.dataset != "builtin-photos"]
    assert {(s.dataset, s.metric, s.protocol, s.n) for s in found} == {
        ("lime", "niqe", "niqe-live", 3), ("lime", "brisque", "brisque-live", 4),
        ("dicm", "niqe", "niqe-live", 2), ("dicm", "brisque", "brisque-live", 2),
    }  # fmt: skip
    path = study.run(study.row("gamma")).directory / "per_image/quality-lime.csv"
    lines = path.read_text().split()
    assert lines[0] == "name,niqe-live,brisque-live" and lines[-1].startswith("small.png,,")
    monkeypatch.setattr(QualityMeter, "update", lambda *_: 1 / 0)
    assert open_tiny(sets=unpaired).evaluate(device="cpu") == scores  # read back
    table = unpaired_table(study, scores)
    assert table.header == ["", "lime, NIQE", "lime, BRISQUE", "dicm, NIQE", "dicm, BRISQUE"]
    assert [row[0] for row in table.rows] == ["input", "gamma 1/2.2"]
    assert all(float(cell) for row in table.rows for cell in row[1:])
    assert "npe: not run" in table.note


def test_lightness_order_is_measured_on_them_where_it_is_asked_for(unpaired):
    study = open_tiny(sets=unpaired, more=["loe-imresize"])
    scores = study.evaluate(test_sets=study.unpaired.sets, device="cpu")
    found = {(s.dataset, s.label): s.value for s in scores if s.protocol == "loe-imresize"}
    assert found.keys() == {(d, m) for d in ("lime", "dicm") for m in ("identity", "gamma")}
    assert found["lime", "identity"] == 0
    with pytest.raises(ValueError, match="unpaired: psnr-rgb-float asks for a ground truth"):
        open_tiny(more=["psnr-rgb-float"])


def test_without_weights_the_table_says_how_to_get_them(unpaired, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(unpaired))
    study = open_tiny(sets=unpaired)
    scores = study.evaluate(test_sets=study.unpaired.sets, device="cpu")
    assert scores == []
    assert unpaired_table(study, scores).rows[0][1:3] == [
        "not available: llie weights fetch niqe", "not available: llie weights fetch brisque",
    ]  # fmt: skip


# Other programs' images ------------------------------------------------------------------------


def test_other_programs_images_become_rows(unpaired, tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    data = open_tiny().test_pairs
    for i in range(2):
        pixels = (data[i]["target"].permute(1, 2, 0).numpy() * 255).round()
        save(tmp_path / f"external/kind/builtin-photos/{data[i]['name']}.png", pixels)
    study = open_tiny(sets=unpaired, external=str(tmp_path / "external"))
    kind, lime = study.row("kind"), study.unpaired.sets[0]
    (score,) = study.evaluate(kind, test_sets=[study.main_set], device="cpu")
    assert score.value > 50 and score.weights == "external"
    assert study.external_table().rows == [["kind", "2", "every item has an image"]]
    rows = [study.row("gamma"), kind]
    (one,) = examples(study, rows, 1)
    assert torch.equal(one.outputs["kind"], one.target)
    # No image of a set: no score on it and no panel.
    (one,) = examples(study, rows, 1, lime)
    assert list(one.outputs) == ["gamma"] and one.target is None
    assert study.evaluate(kind, test_sets=[lime], device="cpu") == []
    save(tmp_path / "external/kind/lime/0.png", noise_image(0, (192, 98)))
    (one,) = examples(study, rows, 1, lime)
    assert list(one.outputs) == ["gamma", "kind"] and one.outputs["kind"].mean() > 0.4
    assert {s.n for s in study.evaluate(kind, test_sets=[lime], device="cpu")} == {1}


# Cost, copies on disk, tables ------------------------------------------------------------------


def test_cost_is_taken_of_the_first_seed_and_of_rows_without_one():
    study = open_tiny(rows=["neid"], seeds=[3, 4])
    costed = [(row.label, row.seed) for row in study.rows() if study.cost_set.rows(row)]
    assert costed == [("identity", 0), ("gamma", 0), ("neid", 3)]
    scores = study.evaluate(study.row("gamma"), test_sets=[study.cost_set], device="cpu")
    assert {score.metric for score in scores} == {"parameters", "latency"}


def test_rows_are_timed_together_and_a_refused_latency_is_taken_again(monkeypatch):
    study = open_tiny(rows=["neid"])
    sessions, plain = [], Cost.measure_together

    def measure_together(task, models, device):
        sessions.append([name.split("/")[3] for name in models])
        found = plain(task, models, device)
        if len(sessions) == 1:
            numbers, rounds = found[next(iter(models))]
            refused = [one for one in numbers if one.metric != "latency"]
            found[next(iter(models))] = refused, rounds
        return found

    monkeypatch.setattr(Cost, "measure_together", measure_together)

    def timed(*rows):
        scores = study.evaluate(*rows, test_sets=[study.cost_set], device="cpu")
        return {s.label: s.value for s in scores if s.metric == "latency"}

    together = ["identity", "gamma", "neid"]
    assert list(timed(*study.rows())) == ["gamma", "neid"] and sessions == [together]
    known = timed(*study.rows())
    assert list(known) == together and sessions == [together] * 2
    assert timed(*study.rows()) == known and timed(study.row("gamma")) == {"gamma": known["gamma"]}
    assert len(sessions) == 2
    timed(study.row("gamma"), study.row("neid"))  # beside other rows: other times
    assert sessions[2:] == [["gamma", "neid"]]
    assert study.timing().startswith("Latency: median of ")


def test_what_another_process_has_evaluated_meanwhile_is_read_back(monkeypatch):
    study, other = open_tiny(), open_tiny()
    row, evaluated = study.row("gamma"), []
    plain = studies.locked

    @contextlib.contextmanager
    def waiting(path, what):
        if not evaluated:  # the other process held the lock, and has ended
            evaluated.append(None)
            evaluated[0] = other.evaluate(row, test_sets=[other.main_set], device="cpu")
            monkeypatch.setattr(ImageQuality, "measure", lambda *_: 1 / 0)
        with plain(path, what):
            yield

    monkeypatch.setattr(studies, "locked", waiting)
    found = study.evaluate(row, test_sets=[study.main_set], device="cpu")
    assert found == evaluated[0] and found


def test_scores_of_an_earlier_version_are_measured_again():
    study = open_tiny()
    row = study.row("gamma")
    scores = study.evaluate(row, test_sets=[study.main_set], device="cpu")
    path = study.run(row).directory / f"scores/{study.main_set.key}.csv"
    lines = read_rows(path)
    write_rows(path, [{k: v for k, v in line.items() if k != "high"} for line in lines])
    record = read_json(path.with_suffix(".json"))
    write_record(path.with_suffix(".json"), record | {"sha256": file_digest(path)})
    assert study.evaluate(row, test_sets=[study.main_set], device="cpu") == scores
    assert read_rows(path) == lines


@pytest.mark.parametrize("dataset", ["lol", "mit-adobe-fivek"])
def test_layouts_on_disk_run_end_to_end(dataset, tmp_path):
    lol(tmp_path / "LOL", train=4, test=2)
    for part, count in (("train", 4), ("test", 2)):
        for i in range(count):
            save(tmp_path / f"FiveK/{part}/input/{i}.png", noise_image(i, (30, 20)) // 4)
            save(tmp_path / f"FiveK/{part}/expertC/{i}.png", noise_image(i, (30, 20)))
    pairs = {"size": 8, "val_count": 1}
    study = open_tiny(dataset, rows=["neid"], pairs=pairs, data=str(tmp_path))
    study.train(device="cpu")
    scores = study.evaluate(device="cpu")
    assert {s.n for s in select(scores, metric="psnr")} == {2}
    assert judging.context(study).papers_own is False
    (one,) = examples(study, study.first_seed(), 1)
    assert one.outputs["neid"].shape == one.target.shape
    assert [row[:2] for row in data_table(study).rows] == [
        ["train", "3"], ["val", "1"], ["test", "2"],
    ]  # fmt: skip
    assert [curve[-1][0] for curve in study.validation_curves().values()] == [2]
    assert list(study.logs()) == ["NEID"]


def test_an_absent_copy_is_named_with_where_to_get_it():
    study = open_tiny("lol", rows=["neid"], data="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"lol: .*get it from"):
        study.train(device="cpu")


def test_the_pairs_are_described():
    table = data_table(open_tiny())
    assert [row[:3] for row in table.rows] == [
        ["train", "2", "16×16"], ["val", "2", "24×24"], ["test", "2", "24×24"],
    ]  # fmt: skip
    assert all(float(row[3]) < float(row[4]) for row in table.rows)


@pytest.mark.parametrize("paper", ["jcrnet", "drgn", "neid"])
def test_weights_are_chosen_by_pairs_that_are_not_the_test_pairs(paper):
    study = open_study(paper, "smoke")
    row = next(row for row in study.possible_rows() if not row.needs or paper != "drgn")
    validate = study.experiment(row).validate
    assert identity(validate.data) == identity(study.val_pairs)
    assert identity(validate.data) != identity(study.test_pairs)
    images = [study.test_pairs[i]["target"] for i in range(len(study.test_pairs))]
    for i in range(len(study.val_pairs)):
        chosen = study.val_pairs[i]["target"]
        assert not any(torch.equal(chosen, x[..., : chosen.shape[-2], : chosen.shape[-1]])
                       for x in images)  # fmt: skip


# Other networks --------------------------------------------------------------------------------


def test_other_networks_are_rows_of_every_paired_study_by_name():
    for paper in ("jcrnet", "drgn", "neid"):
        study = open_study(paper, "smoke")
        for label in OTHER_NETWORKS:
            row = study.row(label)
            assert (row.label, row.model, row.source) == (label, label, "trained here")
            assert label not in {one.label for one in study.rows()}
    study = open_tiny(rows=["cpga_net_plus", "sci"])
    runs = study.train(device="cpu", quiet=True)
    # The schedule is no paper's, and nothing is said of its pixels.
    assert all("pixels_planned" not in run.read_stamp() for run in runs)
    losses = {run.label: set(run.read_log()[0]) for run in runs}
    assert "charbonnier" in losses["cpga_net_plus"] and "smoothness" in losses["sci"]
    scores = study.evaluate(device="cpu")
    assert {"cpga_net_plus", "sci"} <= {score.label for score in select(scores, metric="psnr")}


def test_the_default_trains_on_pairs_and_photographs_with_the_whole_images_context(tmp_path):
    lol(tmp_path / "LOL", train=4, test=2)
    for i in range(23):  # 20 of them are its validation part
        save(tmp_path / "ZeroDCE" / "train_data" / f"{i}.jpg", noise_image(i, (40, 32)))
    study = open_study(
        "neid", "photographs", data=str(tmp_path), baselines=FIXED,
        pairs={"size": 16, "val_count": 1, "photographs": ["zero-dce-train"]},
        train={"steps": 2, "validate_every": 2}, evaluation={"protocols": ["psnr-rgb-float"]},
    )  # fmt: skip
    (row,) = [row for row in study.rows() if row.is_trained]
    experiment = study.experiment(row)
    assert row.label == "curve_refine" and isinstance(experiment.data, ForPhotographs)
    item = experiment.data.sample(0, 0)
    assert item["image"].shape == (3, 16, 16) and item["context"].shape == (3, 64, 64)
    study.train(device="cpu", quiet=True)
    scores = study.evaluate(device="cpu")
    kept = select(scores, dataset="lol-normal-light", metric="psnr")
    assert {score.label for score in kept} == {"gamma", "curve_refine"}  # no input against itself
    with pytest.raises(Absent, match="camvid"):
        other = open_study("neid", "photographs", data=str(tmp_path), pairs={"val_count": 1})
        other.experiment(other.row("curve_refine"))


def test_a_set_of_newer_papers_is_trained_on_and_scored_like_any(tmp_path):
    for part, count in (("Train", 4), ("Test", 2)):
        for i in range(count):
            for k, side in enumerate(("Low", "Normal")):
                path = tmp_path / f"LOL-v2/Real_captured/{part}/{side}/{side.lower()}{i:05d}.png"
                save(path, noise_image(10 * i + k, (64, 56)))
    study = open_tiny(
        "lol-v2-real", rows=["neid"], pairs={"val_count": 1}, data=str(tmp_path),
        protocols=("psnr-rgb-float", "loe-imresize"), train={"steps": 1},
    )  # fmt: skip
    parts = [len(data) for data in (study.train_pairs, study.val_pairs, study.test_pairs)]
    assert parts == [3, 1, 2] and not study.is_papers_own()
    scores = study.evaluate()
    assert {s.n for s in select(scores, label="neid", dataset="lol-v2-real", metric="loe")} == {2}
    (loe,) = select(scores, label="identity", metric="loe")
    assert (loe.value, loe.protocol, loe.direction) == (0, "loe-imresize", "lower")
