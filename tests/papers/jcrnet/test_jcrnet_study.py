"""The study of paper 3: settings, rows, training pairs, its other test sets and their stand-ins."""

import shutil

import numpy as np
import pytest
import torch
from dataset_trees import lol, noise_image, pairs, save

from llie_core.data.unpaired import PHONES
from llie_core.data.wrappers import Augmented
from llie_core.engine.fit import train_hash
from llie_core.papers import open_study, study_of
from llie_core.papers.jcrnet import study as studies
from llie_core.papers.jcrnet.study import PAIRS, VIDEO, VST_FILE
from llie_core.papers.paired import NO_FOLDER
from llie_core.papers.rows import External, Row
from llie_core.reporting.published import load

# Makes the smoke profile run in seconds.
TINY = {
    "baselines": ["identity", "gamma"],
    "rows": ["jcrnet", "jcrnet+w/o JRS"],
    "pairs": {"size": 16, "test_size": 32},
    "evaluation": {"size": [32, 48]},
    "saliency": {"sets": ["builtin-streets", "ecssd"]},
}


def tiny(**changes):
    """The smoke study at TINY; changes of a section go into that section."""
    merged = {
        name: {**TINY[name], **value} if isinstance(value, dict) and name in TINY else value
        for name, value in changes.items()
    }
    return open_study("jcrnet", "smoke", **{**TINY, **merged})


def tree(root):
    """Copies of some of the paper's sets, one to ten tiny images each, and VV left out."""
    for i, name in enumerate(("DICM", "LIME", "MEF")):
        for j in range(3):
            save(root / name / f"{j}.png", noise_image(10 * i + j, (40, 30)) // 4)
    pairs(root / "COCO_low_light", ["1.png", "2.png"], size=(40, 30))
    for phone in PHONES:
        save(root / "LLIV-Phone" / phone / "f.png", noise_image(7, (40, 30)) // 8)
    for i in range(10):
        save(root / "ECSSD" / "images" / f"{i}.png", noise_image(i, (40, 30)))
        mask = np.zeros((30, 40))
        mask[8:20, 10 : 20 + i] = 255
        save(root / "ECSSD" / "ground_truth_mask" / f"{i}.png", mask)
    return root


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("sets"))


# Settings and rows -----------------------------------------------------------------------------


def test_the_paper_profile_is_the_published_recipe():
    study = open_study("jcrnet", "paper")
    settings = study.settings
    pairs, train = settings.pairs, settings.train
    assert settings.network.reading == "size"
    assert (settings.dataset, pairs.size, pairs.flips, pairs.val_count) == ("lol", 256, "all", 15)
    assert (train.batch_size, train.lr, train.lr_final, train.schedule) == (
        10, 2e-4, 1e-6, "cosine",
    )  # fmt: skip
    assert train.grad_clip == 0 and pairs.val_size == 0 and train.precision == "auto"
    assert train.steps == train.planned_steps == 250 * 1400 // 10
    assert settings.rows == study.trained_labels and len(settings.rows) == 9
    assert settings.evaluation.size == settings.evaluation.cost_size == (384, 384)
    assert settings.joined == ("brightening-train",)
    assert study.is_papers_own()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"retinex": "printed"}}, "network.retinex='printed': choose one of"),
        ({"network": {"reading": "paper"}}, "network.reading='paper': choose one of"),
        ({"evaluation": {"size": [384]}}, "evaluation.size: expected 2 values"),
        ({"saliency": {"size": [32, 64, 3]}}, "saliency.size: expected 2 values"),
        ({"rows": ["jcrnet+w/o JRS"]}, "rows: name jcrnet itself"),
        ({"saliency": {"sets": ["duts"]}}, r"saliency.sets='duts': choose one of 'builtin-streets"),
        ({"saliency": {"model": "u2net"}}, "saliency.model='u2net': choose one of 'saliency_net'"),
        ({"saliency": {"backbone": "vgg"}}, "saliency.backbone='vgg': choose one of 'plain'"),
        ({"saliency": ["ecssd"]}, r"saliency: expected settings such as \{KEY: VALUE\}"),
    ],
)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tiny(**changes)


def test_saliency_starts_from_imagenet_in_the_reference_where_it_is_installed(monkeypatch):
    for there, backbone in ((True, "efficientnet_lite0"), (False, "plain")):
        monkeypatch.setattr(studies, "available", lambda name, there=there: there)
        for profile, expected in (("reference", backbone), ("quick", "plain")):
            row = open_study("jcrnet", profile).saliency_row("builtin-streets")
            assert row.options["backbone"] == expected


def test_all_rows_without_training_stand_before_jcrnet():
    rows = open_study("jcrnet", "quick").rows()
    assert [row.label for row in rows] == [
        "identity", "gamma", "clahe", "he", "ldr", "lrs", "jed", "sdd", "lime", "msr", "npe",
        "bimef", "crm", "dong", "mf", "jcrnet", "original",
    ]  # fmt: skip
    assert [row.label for row in rows if row.is_trained] == ["jcrnet"]
    assert [row.shown for row in rows if row.normal_light] == ["normal light"]


def test_ablations_are_named_as_in_the_tables():
    printed = {c.label for c in load("jcrnet") if c.method == "jcrnet"} - {"jcrnet+mindspore"}
    assert set(study_of("jcrnet").trained_labels) == printed
    row = tiny(network={"modulation": "paper"}).row("jcrnet+w/o FES")
    assert row.shown == "JCRNet without FES"
    assert row.build().ablation == "w/o FES" and row.build().fes is None


def test_printed_forms_reach_the_network_and_the_hash():
    hashes = set()
    for form in (
        {}, {"reading": "text"}, {"modulation": "paper"}, {"retinex": "paper"}, {"rgb": "paper"},
    ):  # fmt: skip
        study = tiny(network=form)
        experiment = study.experiment(study.row("jcrnet"))
        hashes.add(train_hash(experiment))
    assert experiment.model.jrs.refine.enhance.maps == 3  # rgb="paper"
    assert len(hashes) == 5


# Training pairs --------------------------------------------------------------------------------


def test_weights_are_chosen_on_crops_held_out_of_train():
    cropped, whole = tiny(pairs={"val_size": 16}), tiny(pairs={"val_size": 0})
    assert isinstance(cropped.val_pairs, Augmented)
    assert cropped.val_pairs[0]["image"].shape == (3, 16, 16)
    assert torch.equal(cropped.val_pairs[0]["image"], cropped.val_pairs[0]["image"])
    assert whole.val_pairs[0]["image"].shape == (3, 32, 32)
    hashes = [train_hash(study.experiment(study.row("jcrnet"))) for study in (cropped, whole)]
    assert hashes[0] != hashes[1]


def test_training_pairs_of_two_sets_are_joined(tmp_path):
    lol(tmp_path / "LOL", train=6)
    pairs(tmp_path / "Brightening_Train", ["a.png", "b.png"], start=90)
    about = {"dataset": "lol", "data": str(tmp_path), "pairs": {"val_count": 2}}
    joined = tiny(**about, joined=["brightening-train"])
    assert len(tiny(**about).train_pairs) == 4 and len(joined.train_pairs) == 6
    assert joined.train_data[5]["image"].shape == (3, 16, 16)
    shutil.rmtree(tmp_path / "Brightening_Train")
    with pytest.raises(FileNotFoundError, match=r"brightening-train: .*get it from"):
        tiny(**about, joined=["brightening-train"]).check_data()


def test_the_papers_split_of_lol_can_be_asked_for(tmp_path):
    lol(tmp_path / "LOL", train=108, test=4)
    about = {"dataset": "lol", "data": str(tmp_path)}
    split = tiny(**about, pairs={"val_count": 2, "parts": "400/100"})
    found = {part: split.open_pairs(part).names for part in ("train", "val", "test")}
    assert {part: len(names) for part, names in found.items()} == {
        "train": 10, "val": 2, "test": 100,
    }  # fmt: skip
    assert not set(found["test"]) & {*found["train"], *found["val"]}
    assert split.official_count(split.main_set) == 100
    assert tiny(**about).official_count(split.main_set) == 15


# Test sets -------------------------------------------------------------------------------------


def test_lol_is_also_evaluated_at_the_size_of_table_i(shared_data, monkeypatch, tmp_path):
    """PSNR, SSIM and NIQE of methods whose published values (15.255, 0.485, 6.506 for HE) are of
    another split; antialiased, HE's NIQE is 4.48."""
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    expected = {
        "he": (15.88, 0.484, 6.669), "clahe": (12.97, 0.522, 6.067), "ldr": (16.24, 0.581),
        "lrs": (10.19, 0.420),
    }  # fmt: skip
    study = tiny(dataset="lol", data=str(shared_data), baselines=tuple(expected))
    (resized,) = study.resized_sets
    assert "quality-lol-384" in keys_of(study) and "quality-lol" in keys_of(study)
    monkeypatch.setattr("llie_core.papers.jcrnet.study.METRICS", ("psnr", "ssim"))
    (quick,) = tiny(dataset="lol", data=str(shared_data)).resized_sets
    for label, values in expected.items():
        test_set = resized if len(values) == 3 else quick
        scores = study.evaluate(study.row(label), test_sets=[test_set], device="cpu")
        assert all(s.protocol.endswith("-384-bilinear") and s.n == 15 for s in scores)
        found = {s.metric: s.value for s in scores}
        for metric, value in zip(("psnr", "ssim", "niqe"), values, strict=False):
            digits = len(str(value).partition(".")[2])
            assert found[metric] == pytest.approx(value, abs=0.6 * 10**-digits), (label, metric)


def test_only_lol_has_that_set():
    assert tiny().resized_sets == []


def keys_of(study):
    return [test_set.key for test_set in study.test_sets()]


def test_other_sets_are_found_by_their_names_and_brought_to_one_size(sets):
    study = tiny(evaluation={"sets": str(sets), "count": 2})
    assert keys_of(study) == [
        "quality-builtin-photos", "cost-builtin-photos", "quality-dicm", "quality-lime",
        "quality-mef", "quality-builtin-photos-cast", "quality-coco-low-light",
        *(f"quality-{VIDEO}-{phone}" for phone in PHONES),
        "saliency-builtin-streets", "saliency-ecssd",
    ]  # fmt: skip
    absent = study.absent()
    assert set(absent) == {"exdark", "npe", "vv", "mit-adobe-fivek"}
    assert absent["vv"].startswith("no folder VV in") and "get it from" in absent["vv"]
    dicm, coco = (study.data(one) for one in study.test_sets()[2:7:4])
    assert len(dicm) == 2 and dicm[0]["image"].shape == coco[0]["target"].shape == (3, 32, 48)
    assert torch.equal((dicm[0]["image"] * 255).round() / 255, dicm[0]["image"])


def test_phones_that_are_there_are_found_without_the_others(sets, tmp_path):
    shutil.copytree(sets / "LLIV-Phone", tmp_path / "LLIV-Phone")
    shutil.rmtree(tmp_path / "LLIV-Phone" / PHONES[0])
    study = tiny(evaluation={"sets": str(tmp_path)})
    found = [one.subset for one in study.test_sets() if one.name == VIDEO]
    assert found == list(PHONES[1:])
    assert study.absent()[VIDEO].startswith(f"no folder of frames for {PHONES[0]} in")


def test_a_folder_of_another_set_is_not_taken_for_a_set(sets):
    study = tiny(evaluation={"sets": str(sets / "LIME")})
    assert [one.name for one in study.unpaired.sets] == ["lime"]
    assert [one.name for one in study.saliency.sets] == ["builtin-streets"]
    assert study.absent()["ecssd"].startswith("no folder ECSSD")


def test_without_a_folder_the_stand_ins_are_left():
    study = tiny()
    assert [key.partition("-")[2] for key in keys_of(study)] == [
        "builtin-photos", "builtin-photos", "builtin-photos-cast", "builtin-streets",
    ]  # fmt: skip
    assert set(study.absent()) == {*study.unpaired_sets, *PAIRS, VIDEO, "ecssd"}
    assert set(study.absent().values()) == {NO_FOLDER}


def test_a_copy_of_lol_is_tested_on_eval15(shared_data):
    data = tiny(dataset="lol", data=str(shared_data)).test_pairs
    assert len(data) == 15 and data[0]["image"].shape == (3, 400, 600)


# Rows by test set, and the networks that read saliency -----------------------------------------


def test_which_rows_are_evaluated_where(sets):
    study = tiny(evaluation={"sets": str(sets)})
    theirs = Row("snr", "identity", weights=External(sets))
    found = {
        test_set.key: {row.label for row in [*study.rows(), theirs] if test_set.rows(row)}
        for test_set in study.test_sets()
    }
    every = {"identity", "gamma", "jcrnet", "jcrnet+w/o JRS", "snr"}
    assert found["quality-builtin-photos"] == found["quality-dicm"] == every
    assert found["quality-coco-low-light"] == found[f"quality-{VIDEO}-{PHONES[0]}"] == every
    assert found["quality-builtin-photos-cast"] == every
    assert found["cost-builtin-photos"] == every - {"snr"}
    read = {"identity", "gamma", "jcrnet", "snr", "original"}
    assert found["saliency-builtin-streets"] == found["saliency-ecssd"] == read


def test_the_reader_learns_from_normal_light_and_reads_low_light(sets):
    study = tiny(evaluation={"sets": str(sets)})
    streets, ecssd = study.row("saliency_net", 4), study.row("saliency_net+ecssd")
    assert streets.seed == 0  # one reader for all seeds
    assert str(study.run(streets)) == "jcrnet/builtin-streets/smoke/saliency_net/seed0"
    assert study.run(ecssd).dataset == "ecssd"
    described = study.experiment(streets).data.describe()["source"]
    assert (described["light"], described["split"], described["count"]) == ("day", "train", 4)
    dark = {one.name: study.data(one)[0] for one in study.saliency.sets}
    for item in dark.values():
        assert item["image"].mean() < 0.6 * item["target"].mean()
    assert len(study.experiment(ecssd).data) == 7  # of ten


def test_vst_reads_with_its_authors_weights(tmp_path, monkeypatch):
    loaded = []

    class Loaded(torch.nn.Module):
        def load_released_weights(self, path):
            loaded.append(path)

        def freeze(self):
            return self

    monkeypatch.setattr("llie_core.papers.rows.create_recognizer", lambda *_a, **_k: Loaded())
    named = tiny(saliency={"model": "vst", "weights": str(tmp_path / "other.pth")})
    absent = tiny(saliency={"model": "vst"}, data=str(tmp_path)).absent()
    assert absent["builtin-streets"].startswith(f"no {VST_FILE} in {tmp_path}; VST's authors")
    (tmp_path / VST_FILE).touch()
    found = tiny(saliency={"model": "vst"}, data=str(tmp_path))  # in the folder of the data
    for study, file in ((named, "other.pth"), (found, VST_FILE)):
        (test_set,) = study.saliency.sets
        assert isinstance(study.task(test_set).recognizer, Loaded)
        assert loaded.pop() == tmp_path / file and test_set.recognizer == "vst"
        assert [row.label for row in test_set.needs] == ["vst"]
