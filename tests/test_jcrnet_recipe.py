"""The recipe of paper 3: rows, further sets and stand-ins, saliency, tables, verdicts, figures."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_trees import lol, pairs, picture, save

from llie_core.data.darkening import linear_to_srgb, srgb_to_linear
from llie_core.data.wrappers import Augmented
from llie_core.models.jcrnet import ABLATIONS
from llie_core.published import load
from llie_core.recipes import get_recipe, jcrnet, jcrnet_charts, jcrnet_report, paired
from llie_core.recipes.jcrnet import CAST, PHONES, UNPAIRED, VIDEO, Cast, JcrnetRecipe, phone_means
from llie_core.recipes.jcrnet_saliency import saliency_sets
from llie_core.recipes.paired_report import TRUTH, Example, examples, shown_keys
from llie_core.reporting import figures
from llie_core.reporting.scores import Score, read_scores, select
from llie_core.runs import Run, RunKey, file_hash

TINY = {
    "baselines": ["identity", "gamma"], "models": ["jcrnet", "jcrnet+w/o JRS"], "test_size": 32,
    "further_size": [32, 48], "saliency": ["builtin-streets", "ecssd"],
}  # fmt: skip
SIX = {"mae", "max_f", "avg_f", "weighted_f", "s_measure", "e_measure"}


def settings_of(**overrides):
    return get_recipe("jcrnet").settings("smoke", **{**TINY, **overrides})


@pytest.fixture(scope="module")
def recipe():
    return get_recipe("jcrnet")


# Settings, rows and keys -----------------------------------------------------------------------


def test_the_paper_profile_is_the_published_recipe(recipe):
    paper = recipe.settings("paper")
    assert (paper.dataset, paper.size, paper.batch_size, paper.turns) == ("lol", 256, 10, "all")
    assert (paper.lr, paper.lr_final, paper.schedule) == (2e-4, 1e-6, "cosine")
    assert paper.grad_clip > 0 and paper.val_count == 15 and paper.val_size == 0
    assert paper.steps == paper.planned_steps == 250 * 1400 // 10
    assert paper.models == recipe.trained_rows and len(paper.models) == 9
    assert paper.further_size == paper.cost_size == (384, 384)
    assert paper.joined == ("brightening-train",) and paper.precision == "mixed"
    assert not recipe.is_papers_own(paper)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"retinex": "printed"}, "retinex: choose one of released, paper"),
        ({"further_size": [384]}, "further_size: give"),
        ({"saliency_size": [32, 64, 3]}, "saliency_size: give"),
        ({"models": ["jcrnet+w/o JRS"]}, "models: name jcrnet itself"),
        ({"saliency": ["duts"]}, "saliency: 'duts' is none of builtin-streets, ecssd"),
        ({"saliency_model": "u2net"}, "saliency_model: choose saliency_net or vst"),
        ({"saliency_model": "vst"}, "vst needs saliency_weights"),
    ],
)
def test_wrong_settings_are_named(overrides, words):
    with pytest.raises(ValueError, match=words):
        settings_of(**overrides)


def test_all_thirteen_that_learn_nothing_are_rows(recipe):
    labels = [key.method for key in recipe.rows(recipe.settings("quick"))]
    assert labels == [
        "identity", "gamma", "clahe", "he", "ldr", "lrs", "jed", "sdd", "lime", "msr", "npe",
        "bimef", "crm", "dong", "mf", "jcrnet",
    ]  # fmt: skip


def test_ablations_are_named_as_in_the_tables(recipe):
    printed = {c.variant for c in load("jcrnet") if c.method == "jcrnet"} - {"mindspore"}
    assert {row.removeprefix("jcrnet").removeprefix("+") for row in recipe.trained_rows} == printed
    settings = settings_of(modulation="paper")
    model = recipe.build(recipe.key(settings, "jcrnet", "w/o FES"), settings)
    assert model.ablation == "w/o FES" and model.fes is None


def test_printed_forms_reach_the_network_and_the_hash(recipe):
    hashes = set()
    for form in ({}, {"modulation": "paper"}, {"retinex": "paper"}, {"rgb": "paper"}):
        settings = settings_of(**form)
        experiment = recipe.experiment(recipe.key(settings, "jcrnet"), settings)
        hashes.add(experiment.train_hash())
    assert experiment.model.jrs.refine.enhance.maps == 3  # rgb="paper"
    assert len(hashes) == 4


def test_keys_as_the_command_line_names_them(recipe):
    settings = settings_of()
    assert recipe.parse_key(settings, "", "", 3) == recipe.key(settings, "jcrnet", seed=3)
    assert recipe.parse_key(settings, "jcrnet", "w/o JRS", 0).variant == "w/o JRS"
    reader = recipe.parse_key(settings, "saliency_net", "", 4)
    assert reader == RunKey("jcrnet", "builtin-streets", "smoke", "saliency_net")
    assert recipe.parse_key(settings, "saliency_net", "ecssd", 0).dataset == "ecssd"
    assert recipe.is_trained(reader) and not recipe.is_scored(reader)
    with pytest.raises(ValueError, match=r"not 'jcrnet\+w/o IAS2'"):
        recipe.parse_key(settings, "jcrnet", "w/o IAS2", 0)


def test_weights_are_chosen_on_crops_held_out_of_train(recipe):
    settings = settings_of(val_size=16)
    held_out = recipe.pairs(settings, "val")
    assert isinstance(held_out, Augmented) and held_out[0]["image"].shape == (3, 16, 16)
    torch.testing.assert_close(held_out[0]["image"], held_out[0]["image"])
    key = recipe.key(settings, "jcrnet")
    whole = settings_of(val_size=0)
    assert recipe.pairs(whole, "val")[0]["image"].shape == (3, 32, 32)
    hashes = [recipe.experiment(key, s).train_hash() for s in (settings, whole)]
    assert hashes[0] != hashes[1]


def test_training_pairs_of_two_sets_are_joined(recipe, tmp_path):
    lol(tmp_path / "LOL", train=6)
    pairs(tmp_path / "Brightening_Train", ["a.png", "b.png"], start=90)
    about = {"dataset": "lol", "data": str(tmp_path), "val_count": 2}
    joined = settings_of(**about, joined=["brightening-train"])
    assert len(recipe.pairs(settings_of(**about), "train")) == 4
    assert len(recipe.pairs(joined, "train")) == 6
    assert recipe.train_data(joined)[5]["image"].shape == (3, 16, 16)
    shutil.rmtree(tmp_path / "Brightening_Train")
    with pytest.raises(FileNotFoundError, match=r"brightening-train: .*get it from"):
        recipe.pairs(joined, "train")


# Further sets and stand-ins --------------------------------------------------------------------


def tree(root):
    """Copies of some of the paper's sets, two to ten tiny pictures each, and VV left out."""
    for i, name in enumerate(("DICM", "LIME", "MEF")):
        for j in range(3):
            save(root / name / f"{j}.png", picture(10 * i + j, (40, 30)) // 4)
    pairs(root / "COCO_low_light", ["1.png", "2.png"], size=(40, 30))
    for phone in PHONES:
        save(root / "LLIV-Phone" / phone / "f.png", picture(7, (40, 30)) // 8)
    for i in range(10):
        save(root / "ECSSD" / "images" / f"{i}.png", picture(i, (40, 30)))
        mask = np.zeros((30, 40))
        mask[8:20, 10 : 20 + i] = 255
        save(root / "ECSSD" / "ground_truth_mask" / f"{i}.png", mask)
    return root


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("sets"))


def test_further_sets_are_found_by_their_names_and_brought_to_one_size(recipe, sets):
    settings = settings_of(no_reference=str(sets), no_reference_count=2)
    found, lacking = recipe.further_sets(settings)
    assert [(one.name, one.subset) for one in found] == [
        ("builtin-photos-cast", "all"), ("dicm", "all"), ("lime", "all"), ("mef", "all"),
        ("coco-low-light", "all"), *((VIDEO, phone) for phone in PHONES),
    ]  # fmt: skip
    assert set(lacking) == {"exdark", "npe", "vv", "mit-adobe-fivek"}
    assert lacking["vv"].startswith("no folder VV in") and "get it from" in lacking["vv"]
    dicm, coco = found[1].data, found[4].data
    assert len(dicm) == 2 and dicm[0]["image"].shape == coco[0]["target"].shape == (3, 32, 48)
    assert torch.equal((dicm[0]["image"] * 255).round() / 255, dicm[0]["image"])


def test_phones_that_are_there_are_found_without_the_others(recipe, sets, tmp_path):
    shutil.copytree(sets / "LLIV-Phone", tmp_path / "LLIV-Phone")
    shutil.rmtree(tmp_path / "LLIV-Phone" / PHONES[0])
    found, lacking = recipe.further_sets(settings_of(no_reference=str(tmp_path)))
    assert [one.subset for one in found if one.name == VIDEO] == list(PHONES[1:])
    assert lacking[VIDEO].startswith(f"no folder of frames for {PHONES[0]} in")


def test_a_folder_of_another_set_is_not_taken_for_a_set(recipe, sets):
    settings = settings_of(no_reference=str(sets / "LIME"))
    assert list(recipe.no_reference_data(settings)[0]) == ["lime"]
    found, lacking = saliency_sets(settings)
    assert list(found) == ["builtin-streets"] and lacking["ecssd"].startswith("no folder ECSSD")


def test_without_a_folder_nothing_further_is_looked_for(recipe):
    found, lacking = recipe.further_sets(settings_of())
    assert [one.name for one in found] == ["builtin-photos-cast"]
    assert set(lacking) == {*UNPAIRED, *jcrnet.PAIRS, VIDEO}
    assert set(lacking.values()) == {"no folder given (setting no_reference)"}


def test_the_cast_scales_red_and_blue_of_the_dark_picture_in_linear_light():
    class One(torch.utils.data.Dataset):
        def __getitem__(self, index):
            grey = torch.full((3, 2, 2), 0.5)
            return {"image": grey, "target": grey, "name": "grey"}

        def describe(self):
            return {"name": "one"}

    item = Cast(One())[0]
    expected = [float(linear_to_srgb(srgb_to_linear(0.5) * gain)) for gain in CAST]
    found = item["image"][:, 0, 0].tolist()
    assert found == pytest.approx(expected, abs=0.51 / 255)
    assert found[1] > found[2] > found[0] and torch.equal(item["target"], One()[0]["target"])
    assert Cast(One()).describe()["Cast"] == {"gains": [0.6, 1.0, 0.7]}


def test_phones_are_averaged_as_table_viii_does():
    score = a_score("niqe", VIDEO, subset="", value=0.0)
    printed = {c.subset: c.value for c in load("jcrnet")
               if (c.table, c.method, c.metric) == ("VIII", "jcrnet", "niqe")}  # fmt: skip
    four = [replace(score, subset=phone, value=printed[phone], n=2) for phone in PHONES]
    (mean,) = phone_means(four)
    assert (mean.subset, mean.n) == ("mean", 8)
    assert mean.value == pytest.approx(printed["mean"], abs=5e-4)
    assert phone_means(four[:3]) == []


def a_score(metric, dataset, **about):
    """A score of JCRNet as another run would hold it."""
    fields = {
        "run": "r", "method": "jcrnet", "variant": "", "recognizer": "", "split": "test",
        "subset": "all", "unit": "", "direction": "lower", "value": 1.0, "n": 2, "seed": 0,
        "protocol": f"{metric}-live", "profile": "paper", "device": "CPU", "precision": "float32",
        "steps_done": 5, "steps_planned": 5, "weights": "trained here",
    }  # fmt: skip
    return Score(metric=metric, dataset=dataset, **fields | about)


# Runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(recipe, sets, tmp_path_factory):
    """The smoke profile once, with further sets and another program's pictures."""
    folder, external = (tmp_path_factory.mktemp(name) for name in ("results", "external"))
    settings = settings_of(no_reference=str(sets), external=str(external))
    for name, data in (
        ("builtin-photos", recipe.test_data(settings)[0]),
        ("coco-low-light", recipe.further_sets(settings)[0][4].data),
        ("builtin-streets", saliency_sets(settings)[0]["builtin-streets"]),
    ):
        for index in range(len(data)):
            image = data[index]["target"]  # this program gets everything right
            pixels = (image * 255).round().permute(1, 2, 0).numpy()
            save(external / "snr" / name / f"{data[index]['name'].split('.')[0]}.png", pixels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        patch.setenv("LLIE_WEIGHTS", str(folder))  # none there
        scores = jcrnet_report.run(recipe, settings)
    return folder, settings, scores


@pytest.fixture
def folder(done, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    monkeypatch.setenv("LLIE_WEIGHTS", str(done[0]))
    return done[0]


def test_every_row_is_scored_on_the_pairs_and_ours_under_a_cast(done):
    _, _, scores = done
    rows = {"identity", "gamma", "snr", "jcrnet", "jcrnet+w/o JRS"}
    assert {s.label for s in select(scores.main, metric="psnr")} == rows
    assert {s.label for s in select(scores.main, metric="ssim")} == rows
    cast = select(scores.further, dataset="builtin-photos-cast", metric="psnr")
    assert {s.label for s in cast} == rows - {"snr"}
    plain, green = (select(of, label="gamma", metric="psnr")[0].value for of in (scores.main, cast))
    assert green < plain
    parameters = {s.label: s.value for s in select(scores.main, metric="parameters")}
    assert parameters["jcrnet"] == 2_019_089 and parameters["jcrnet+w/o JRS"] < 0.9e6
    assert not select(scores.main, label="snr", metric="latency")


def test_pairs_of_table_i_are_scored_beside_lol(done):
    coco = select(done[2].further, dataset="coco-low-light")
    assert {s.label for s in coco} == {"identity", "gamma", "snr", "jcrnet", "jcrnet+w/o JRS"}
    assert select(coco, label="snr", metric="psnr")[0].value == math.inf
    assert select(coco, label="jcrnet", metric="psnr")[0].n == 2
    assert not select(done[2].further, dataset="dicm")  # neither NIQE's weights nor BRISQUE's


def test_unpaired_sets_and_phones_are_scored_where_the_weights_are(
    recipe, done, folder, shared_data, tmp_path, monkeypatch
):
    shutil.copytree(folder, tmp_path / "results")
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    monkeypatch.setattr(JcrnetRecipe, "no_reference_protocols", ("brisque-live",))
    settings = replace(done[1], baselines=("identity",), models=("jcrnet",), protocols=(
        "psnr-rgb-float",))  # fmt: skip
    found = select(recipe.further_scores(settings, "cpu"), metric="brisque", label="jcrnet")
    assert {s.dataset for s in found} == {"dicm", "lime", "mef", VIDEO}
    assert {s.subset for s in select(found, dataset=VIDEO)} == {*PHONES, "mean"}
    assert all(s.protocol == "brisque-live" and s.steps_done == 2 for s in found)


def test_saliency_is_read_after_some_rows_and_by_day(done):
    scores = done[2].saliency
    assert {s.metric for s in scores} == SIX | {"psnr"}
    assert {s.recognizer for s in scores} == {"saliency_net"}
    streets, ecssd = (
        {s.label for s in select(scores, dataset=d)} for d in ("builtin-streets", "ecssd")
    )
    assert ecssd == {"identity", "gamma", "jcrnet", "original"}
    assert streets == ecssd | {"snr"}
    for metric in SIX:  # the program that gives the scene by day is read as the scene by day
        snr, day = (
            select(scores, dataset="builtin-streets", label=label, metric=metric)[0]
            for label in ("snr", "original")
        )
        assert snr.value == pytest.approx(day.value, abs=1e-9)
        assert snr.direction == ("lower" if metric == "mae" else "higher")
    assert not select(scores, label="original", metric="psnr")
    assert {s.protocol for s in select(scores, metric="e_measure")} == {"sal-max-e"}


def test_further_scores_are_kept_beside_the_others(done, folder):
    kept = read_scores(folder / "jcrnet" / "builtin-photos" / "smoke" / "scores-further.csv")
    assert kept == done[2].further + done[2].saliency


def test_a_second_run_trains_and_scores_nothing(recipe, done, folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("measured again")

    monkeypatch.setattr(paired, "scored", fail)
    monkeypatch.setattr(jcrnet, "read_saliency", fail)
    assert jcrnet_report.run(recipe, done[1]) == done[2]


def test_a_new_saliency_network_reads_again_but_trains_no_enhancer(
    recipe, done, folder, tmp_path, monkeypatch
):
    copy = tmp_path / "results"
    shutil.copytree(folder, copy)
    monkeypatch.setenv("LLIE_RESULTS", str(copy))
    weights = Run(recipe.key(done[1], "jcrnet")).weights_path
    before = file_hash(weights)
    again = replace(done[1], saliency_steps=3, saliency=("builtin-streets",), external="")
    scores = recipe.saliency_scores(again, "cpu")
    assert file_hash(weights) == before
    assert [s.value for s in scores] != [
        s.value for s in select(done[2].saliency, dataset="builtin-streets") if s.label != "snr"
    ]


def test_the_saliency_network_is_frozen_and_only_seen_by_day_in_training(recipe, done, folder):
    recognizer, weights = recipe.saliency_recognizer(done[1], "builtin-streets")
    assert recognizer.frozen and not any(p.requires_grad for p in recognizer.parameters())
    key = recipe.saliency_key(done[1], "builtin-streets")
    assert weights == file_hash(Run(key).weights_path)
    described = recipe.experiment(key, done[1]).data.describe()
    assert described["source"]["light"] == "day" and described["source"]["split"] == "train"
    dark = saliency_sets(done[1])[0]["ecssd"][0]
    assert dark["image"].mean() < 0.5 * dark["target"].mean()


def test_vst_reads_with_its_authors_weights(recipe, tmp_path, monkeypatch):
    class Loaded(torch.nn.Module):
        frozen = False

        def load_released_weights(self, path):
            self.path = path

        def freeze(self):
            self.frozen = True
            return self

    monkeypatch.setattr(jcrnet, "create_recognizer", lambda name, frozen: Loaded())
    file = tmp_path / "RGB_VST.pth"
    file.write_bytes(b"weights")
    settings = settings_of(saliency_model="vst", saliency_weights=str(file))
    recognizer, weights = recipe.saliency_recognizer(settings, "builtin-streets")
    assert recognizer.frozen and recognizer.path == file and weights == file_hash(file)


# Tables ----------------------------------------------------------------------------------------


def test_every_printed_cell_stands_in_a_table(done):
    shown = {}
    for number in ("I", "II", "III", "IV", "V", "VI", "VIII", "IX"):
        found = jcrnet_report.paper_table(number, done[2])
        assert all(len(row) == len(table.header) for table in found for row in table.rows)
        shown[number] = [
            cell.removesuffix(" *") for table in found for row in table.rows
            for title, cell in zip(table.header, row, strict=True) if title.endswith("published")
        ]  # fmt: skip
    shown["VII"] = [
        cell for row in jcrnet_report.cost_table(done[1], done[2].main).rows for cell in row[1::2]
    ]
    for number, cells in shown.items():
        assert sorted(cells) == sorted(c.printed for c in load("jcrnet") if c.table == number)
    assert sum(map(len, shown.values())) == 921


def cells_of(table, row):
    (found,) = [line for line in table.rows if line[0] == row]
    return dict(zip(table.header, found, strict=True))


def test_stand_ins_fill_their_own_tables_and_say_so(done):
    lol_, coco, mit = jcrnet_report.paper_table("I", done[2])
    ours = select(done[2].main, label="jcrnet", metric="psnr")[0].value
    row = cells_of(lol_, "Deep Learning / OursPT")
    assert (row["PSNR↑, published"], row["PSNR↑, here"]) == ("24.901", f"{ours:.3f}")
    assert "These stand in for lol: built-in photographs" in lol_.note
    there = select(done[2].further, label="jcrnet", dataset="coco-low-light", metric="psnr")[0]
    assert cells_of(coco, "Deep Learning / OursPT")["PSNR↑, here"] == f"{there.value:.3f}"
    assert "stand in" not in coco.note
    assert mit.note.startswith("Not run here.") and "OursMS prints the same number" in mit.note
    assert cells_of(mit, "Traditional / HE")["PSNR↑, here"] == "not run"
    assert cells_of(lol_, "Deep Learning / OursMS")["PSNR↑, here"] == "not run"


def test_toys_are_stood_in_for_by_the_cast(done):
    toys, other = jcrnet_report.paper_table("V", done[2])
    assert [row[0] for row in toys.rows] == ["Toys / w/o JRS", "Toys / Full"]
    cast = select(done[2].further, dataset="builtin-photos-cast", label="jcrnet+w/o JRS")
    value = select(cast, metric="psnr")[0].value
    assert cells_of(toys, "Toys / w/o JRS")["PSNR↑, here"] == f"{value:.3f}"
    assert "the test pairs under a green cast" in toys.note
    assert cells_of(other, "LOL / w/o E-D")["PSNR↑, here"] == "not run"


def test_numbers_on_lol_say_that_the_papers_test_pairs_are_others(done):
    main = [replace(s, dataset="lol") for s in done[2].main]
    table = jcrnet_report.paper_table("I", replace(done[2], main=main))[0]
    assert "Published on 100 of LOL's 500 pairs" in table.note and "stand in" not in table.note


def test_table_ix_takes_the_streets_for_the_first_set_only(done):
    *measured, rgb, depth, thermal = jcrnet_report.saliency_tables(done[2])
    assert [table.caption for table in measured] == [
        "Saliency on builtin-streets, dark", "Saliency on ecssd, dark",
    ]  # fmt: skip
    ours = select(done[2].saliency, dataset="builtin-streets", label="jcrnet", metric="mae")[0]
    assert cells_of(rgb, "Ours")["MAE↓, here"] == f"{ours.value:.3f}"
    assert "drawn streets by night" in rgb.note
    assert "Not run here." in depth.note and "Not run here." in thermal.note


def test_cost_is_counted_at_the_papers_size_and_timed_at_its_own(done):
    table = jcrnet_report.cost_table(done[1], done[2].main)
    row = cells_of(table, "Ours")
    assert (row["Params(M)↓, here"], row["FLOPs (G)↓, here"]) == ("2.02", "221.20")
    assert float(row["FPS(s)↑, here"]) > 0 and "48×32" in table.note


def test_what_is_not_run_says_why(recipe, done, folder):
    rows = dict(jcrnet_report.lacking_table(recipe, done[1]).rows)
    assert rows["niqe"] == "not available: llie weights fetch niqe"
    assert rows["vv"].startswith("no folder VV")
    assert "cannot be re-run" in rows["Fig. 12(c)"]
    (ablations,) = [name for name in rows if "w/o IAS" in name]
    assert "w/o JRS" not in ablations and "models:" in rows[ablations]


def test_audit_holds_the_network_against_the_paper():
    rows = {row[0]: row[1:] for row in jcrnet_report.audit().rows}
    published, here, gmac, ours = map(float, rows["jcrnet"])
    assert here == pytest.approx(published, rel=0.01) and ours == pytest.approx(gmac, rel=0.01)
    assert set(rows) >= {name for name in ABLATIONS if name}
    assert {"as printed: modulation", "as printed: retinex", "as printed: rgb"} < set(rows)


# Verdicts --------------------------------------------------------------------------------------


def test_every_claim_gets_a_verdict_by_the_scores_that_are_of_its_set(recipe, done, folder):
    found = {v.claim.id: v for v in jcrnet_report.verdicts(recipe, done[1], done[2])}
    assert len(found) == 81 and all(v.verdict for v in found.values())
    assert not any(v.verdict.startswith(("reproduced", "not reproduced")) for v in found.values())
    # Toys by the cast (NIQE is not there), saliency by streets and ECSSD, PSNR by the pairs.
    assert found["3.57"].verdict.startswith(("does not hold on builtin-photos-cast", "not run (no"))
    assert "builtin-photos-cast" not in found["3.58"].verdict
    assert "builtin-streets (smoke, 1 seed)" in found["3.77"].verdict
    assert "ecssd (smoke, 1 seed)" in found["3.77"].verdict
    assert found["3.48"].verdict.startswith("cannot be re-run")
    assert found["3.35"].verdict.startswith("contradicted")
    assert found["3.11"].verdict == found["3.02"].verdict  # a restatement


def test_sets_of_which_there_is_no_copy_are_named(recipe, done, folder):
    settings = replace(done[1], dataset="lol")
    main = [replace(s, dataset="lol") for s in done[2].main]
    scores = jcrnet_report.Scores(main, [], [])
    found = {v.claim.id: v.verdict for v in jcrnet_report.verdicts(recipe, settings, scores)}
    assert found["3.43"] == "not run (no copy of dicm, mef, vv was given)"
    assert found["3.77"] == "not run (not measured in this run)"


def test_whole_sets_after_the_papers_training_are_its_own():
    paper = get_recipe("jcrnet").settings("paper")
    for name, n, own in (("lime", 10, True), ("lime", 8, False), ("coco-low-light", 959, False)):
        context = jcrnet_report._context(paper, name, [a_score("niqe", name, n=n)])
        assert context.papers_own is own
    shorter = replace(paper, joined=())
    assert not jcrnet_report._context(shorter, "lime", [a_score("niqe", "lime", n=10)]).papers_own


def test_bias_is_what_is_found_salient_less_what_is(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    settings = settings_of()
    for model, shares in (("identity", (0.1, 0.1)), ("jcrnet", (0.32, 0.30))):
        directory = recipe.key(settings, model).directory
        directory.mkdir(parents=True)
        lines = "".join(f"{i},{share},0.3,0\n" for i, share in enumerate(shares))
        text = f"name,salient,mask,mae\n{lines}"
        (directory / "per_image-saliency-builtin-streets.csv").write_text(text, encoding="utf-8")
    found = jcrnet_report.measurements(recipe, settings, "builtin-streets")
    holds, evidence = found["balance_helps_saliency"]
    assert holds and "off by 0.2000 as it is, by 0.0100 after JCRNet" in evidence


# Figures ---------------------------------------------------------------------------------------


def test_charts_say_in_words_who_is_best(done, monkeypatch):
    said = []
    monkeypatch.setattr(jcrnet_charts, "show", lambda figure, alt: said.append((figure, alt)))
    jcrnet_charts.metric_chart(done[2].main)
    jcrnet_charts.mean_chart(done[2].main + done[2].further)
    (lines, first), (_, second) = said
    assert "best psnr: published jcrnet, here snr" in first and "niqe: published ddnet" in first
    assert len(lines.axes) == 5
    assert "published, 9 sets: lowest niqe jcrnet" in second
    for figure, _ in said:
        figures.plt.close(figure)


def test_means_are_of_rows_that_are_on_every_set():
    values = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "y", 4.0), ("b", "x", 9.0)]
    assert jcrnet_charts._over_sets(values) == ({"a": 2.0}, 2)
    assert jcrnet_charts._over_sets([]) == ({}, 0)


def test_pictures_of_ablations_are_those_that_were_run(recipe, done, folder):
    plain = jcrnet_report.ablation_examples(recipe, done[1], jcrnet_report.STAGES, count=1)
    cast = jcrnet_report.ablation_examples(recipe, done[1], jcrnet_report.STAGES, 1, cast=True)
    assert list(plain[0].all()) == ["identity", "jcrnet", "jcrnet+w/o JRS", TRUTH]
    assert torch.equal(plain[0].target, cast[0].target)
    assert not torch.equal(plain[0].dark, cast[0].dark)
    assert [panel.label for panel in jcrnet_report.line(plain[0])] == list(plain[0].all())
    table = jcrnet_report.colour_table(plain, cast)
    assert [row[0] for row in table.rows] == ["test pairs"] * 4 + ["green cast"] * 4
    means = [float(cell) for cell in table.rows[3][2:5]]
    assert means == pytest.approx(plain[0].target.mean((1, 2)).tolist(), abs=5e-4)


def test_further_pictures_are_shown_set_by_set(recipe, done, folder):
    found = jcrnet_report.further_examples(recipe, done[1])
    assert list(found) == ["dicm", "lime", "mef", "coco-low-light"]
    assert list(found["coco-low-light"][0].outputs) == [
        "identity", "gamma", "snr", "jcrnet", "jcrnet+w/o JRS",
    ]  # fmt: skip
    assert "snr" not in found["dicm"][0].outputs and found["dicm"][0].target is None


def test_perceptual_distance_is_zero_where_pictures_agree(folder):
    target = torch.rand(3, 8, 8)
    other = target.clone()
    other[:, :4] = 1 - other[:, :4]
    one = Example("one", target, {"same": target, "other": other}, target)
    ((same, far),), unit = jcrnet_report.distance_maps([one])
    assert unit == "CIEDE2000 (LPIPS not available: llie weights fetch lpips-alex)"
    assert same.values.abs().max() < 1e-4
    assert far.values[:4].mean() > 5 and far.values[4:].abs().max() < 1e-4


def test_lpips_is_mapped_where_its_weights_are(tmp_path, monkeypatch):
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alex.pth")
    monkeypatch.setattr(jcrnet_report, "lacking_weights", lambda name: "")
    monkeypatch.setattr(jcrnet_report, "find", lambda name: tmp_path / "alex.pth")
    target = torch.rand(3, 64, 64)
    half = torch.cat([target[..., :32], 1 - target[..., 32:]], dim=-1)
    one = Example("one", target, {"half": half}, target)
    ((far,),), unit = jcrnet_report.distance_maps([one])
    assert unit == "LPIPS (AlexNet)" and far.values.shape == (64, 64)
    assert far.values[:, :8].mean() < far.values[:, -8:].mean()


def test_short_lines_share_one():
    assert jcrnet_report.side_by_side([[1, 2], [3, 4], [5, 6], [7, 8]]) == [
        [1, 2, 3, 4, 5, 6],
        [7, 8],
    ]
    assert jcrnet_report.side_by_side([[1] * 7, [2] * 7]) == [[1] * 7, [2] * 7]


def test_failures_are_the_pictures_of_lowest_psnr(recipe, done, folder):
    lines, table = jcrnet_report.failures(recipe, done[1], count=1)
    path = Run(recipe.key(done[1], "jcrnet")).directory / "per_image.csv"
    values = [line.split(",") for line in path.read_text(encoding="utf-8").split()[1:]]
    worst = min(values, key=lambda row: float(row[1]))
    assert table.rows[0][:2] == [worst[0], f"{float(worst[1]):.2f}"]
    assert [panel.label for panel in lines[0]] == ["identity", "jcrnet", TRUTH]


def test_noise_is_taken_where_the_truth_is_black():
    target = torch.ones(3, 4, 6)
    target[..., 3:] = 0.0
    image = torch.zeros(3, 4, 6)
    image[..., ::2] = 0.25
    assert jcrnet_report._noise_in_black(image, target) == "0.2500"
    assert jcrnet_report._noise_in_black(image, torch.ones(3, 4, 6)) == "–"


def test_failures_need_the_protocol_that_they_are_sorted_by(recipe, done, folder, tmp_path):
    settings = replace(done[1], profile="other")
    directory = recipe.key(settings, "jcrnet").directory
    directory.mkdir(parents=True)
    (directory / "per_image.csv").write_text("name,ssim-valid-gaussian\na,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Fig\. 17 needs psnr-rgb-float"):
        jcrnet_report.failures(recipe, settings)


def test_saliency_panels_show_what_is_found_below_the_picture(recipe, done, folder):
    lines = jcrnet_report.saliency_panels(recipe, done[1])
    assert len(lines) == 4  # two sets
    assert [panel.label for panel in lines[0]] == [
        "identity", "gamma", "snr", "jcrnet", "original", "builtin-streets, truth below",
    ]  # fmt: skip
    assert len(lines[1]) == 6 and set(lines[1][-1].image.unique().tolist()) == {0.0, 1.0}
    assert all(panel.image.shape[0] == 3 for line in lines for panel in line)


def test_a_copy_of_lol_is_tested_on_eval15(recipe, shared_data):
    settings = settings_of(dataset="lol", data=str(shared_data))
    data = recipe.test_data(settings)[0]
    assert len(data) == 15 and data[0]["image"].shape == (3, 400, 600)
    keys = shown_keys(recipe, settings, ("identity",))
    (one,) = examples(recipe, settings, keys, 1)
    assert one.target.shape == (3, 400, 600)
