"""The report of paper 3 after a smoke run: scores by set, tables, verdicts, charts, images."""

import math
import shutil
from dataclasses import replace

import made
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dataset_trees import exdark, noise_image, pairs, save
from test_jcrnet_study import tiny, tree

from llie_core.data.unpaired import PHONES
from llie_core.hashing import file_hash
from llie_core.metrics.protocols import Protocol, evaluate
from llie_core.models.jcrnet import ABLATIONS
from llie_core.papers import judging, open_study
from llie_core.papers.images import TRUTH, Example
from llie_core.papers.jcrnet import figures, report
from llie_core.papers.jcrnet.study import SALIENCY, VIDEO, JcrnetStudy
from llie_core.reporting.claims import Context
from llie_core.reporting.published import load
from llie_core.reporting.scores import select

SIX = {"mae", "max_f", "avg_f", "weighted_f", "s_measure", "e_measure"}
ROWS = {"identity", "gamma", "jcrnet", "jcrnet+w/o JRS"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The smoke study once, with copies of other sets and another program's images: its results
    folder, its settings, its scores."""
    folder, external, sets = (tmp_path_factory.mktemp(x) for x in ("results", "external", "sets"))
    given = {"evaluation": {"sets": str(tree(sets))}}
    study = tiny(**given)
    shown = (study.main_set, study.others.sets[0], study.saliency.sets[0])
    for test_set, data in ((one, study.data(one)) for one in shown):
        for item in (data[index] for index in range(len(data))):
            pixels = (item["target"] * 255).round().permute(1, 2, 0)  # it gets everything right
            save(external / "snr" / test_set.name / f"{item['name'].split('.')[0]}.png", pixels)
    given["external"] = str(external)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        patch.setenv("LLIE_WEIGHTS", str(folder))  # none there
        scores = tiny(**given).evaluate()
    return folder, given, scores


@pytest.fixture
def study(done, monkeypatch):
    """The finished study, opened anew."""
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    monkeypatch.setenv("LLIE_WEIGHTS", str(done[0]))
    return tiny(**done[1])


@pytest.fixture
def scores(done):
    return done[2]


def value(scores, **wanted):
    (score,) = select(scores, **wanted)
    return score.value


def a_score(metric, dataset, **about):
    """A score of JCRNet as another run would hold it."""
    own = {"label": "jcrnet", "metric": metric, "dataset": dataset, "value": 1.0, "n": 2}
    own |= {"protocol": f"{metric}-live", "profile": "paper", "steps_done": 5, "steps_planned": 5}
    return made.a_score(**own | about)


def cells_of(table, row):
    (found,) = [line for line in table.rows if line[0] == row]
    return dict(zip(table.header, found, strict=True))


# Scores ----------------------------------------------------------------------------------------


def test_every_row_is_evaluated_on_the_pairs_and_ours_under_a_cast(study, scores):
    pairs, others = report.of_pairs(study, scores), report.of_other_sets(study, scores)
    assert {s.label for s in select(pairs, metric="psnr")} == {*ROWS, "snr"}
    cast = select(others, dataset="builtin-photos-cast", metric="psnr")
    assert {s.label for s in cast} == ROWS
    assert value(cast, label="gamma") < value(pairs, label="gamma", metric="psnr")
    coco = select(others, dataset="coco-low-light", metric="psnr")
    assert {s.label for s in coco} == {*ROWS, "snr"} and value(coco, label="snr") == math.inf
    # Neither NIQE's weights nor BRISQUE's are there.
    assert {s.metric for s in select(others, dataset="dicm")} == {"brightness", "burnt_share"}
    parameters = {s.label: s.value for s in select(pairs, metric="parameters")}
    assert parameters["jcrnet"] == 1_964_061 and parameters["jcrnet+w/o JRS"] < 0.9e6
    assert not select(pairs, label="snr", metric="latency")


def test_unpaired_sets_and_phones_are_evaluated_where_the_weights_are(
    study, done, shared_data, tmp_path, monkeypatch
):
    shutil.copytree(done[0], tmp_path / "results")
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    monkeypatch.setattr(JcrnetStudy, "unpaired_protocols", ("brisque-live",))
    sets = [*study.unpaired.sets, *study.others.sets[1:]]
    found = report.of_other_sets(study, study.evaluate(study.row("jcrnet"), test_sets=sets))
    assert {s.dataset for s in found} == {"dicm", "lime", "mef", VIDEO}
    assert {s.subset for s in select(found, dataset=VIDEO)} == {*PHONES, "mean"}
    assert all(s.protocol == "brisque-live" and s.steps_done == 2 for s in found)


def test_phones_are_averaged_as_table_viii_does():
    printed = {c.subset: c.value for c in load("jcrnet")
               if (c.table, c.label, c.metric) == ("VIII", "jcrnet", "niqe")}  # fmt: skip
    four = [a_score("niqe", VIDEO, subset=phone, value=printed[phone]) for phone in PHONES]
    (mean,) = report.phone_means(four)
    assert (mean.subset, mean.n) == ("mean", 8)
    assert mean.value == pytest.approx(printed["mean"], abs=5e-4)
    assert report.phone_means(four[:3]) == []


def test_saliency_is_read_after_some_rows_and_in_normal_light(scores):
    found = report.of_saliency(scores)
    assert {s.metric for s in found} == SIX | {"psnr"}
    assert {s.recognizer for s in found} == {"saliency_net"}
    streets = select(found, dataset="builtin-streets")
    for metric in SIX:  # the program that gives the normal-light image is read as that is
        snr, normal = (value(streets, label=label, metric=metric) for label in ("snr", "original"))
        assert snr == pytest.approx(normal, abs=1e-9)
    assert not select(found, label="original", metric="psnr")
    assert {s.label for s in select(found, dataset="ecssd")} == {
        "identity", "gamma", "jcrnet", "original",
    }  # fmt: skip


def test_a_new_saliency_network_reads_again_but_trains_no_enhancer(
    study, done, tmp_path, monkeypatch
):
    copy = tmp_path / "results"
    shutil.copytree(done[0], copy)
    monkeypatch.setenv("LLIE_RESULTS", str(copy))
    weights = study.run(study.row("jcrnet")).weights_path
    before = file_hash(weights)
    again = tiny(saliency={"sets": ["builtin-streets"], "train": {"steps": 3, "batch_size": 2}})
    new = again.evaluate(again.row("gamma"), again.row("jcrnet"), test_sets=again.saliency.sets)
    old = [s for s in select(report.of_saliency(done[2]), dataset="builtin-streets")
           if s.label in ("gamma", "jcrnet")]  # fmt: skip
    assert file_hash(weights) == before and len(new) == len(old)
    assert [s.value for s in new] != [s.value for s in old]


# The paper's sets from the folder of the data --------------------------------------------------

UNPAIRED = {"DICM": 69, "LIME": 10, "MEF": 17, "NPE": 42, "VV": 26}  # folder → official images


@pytest.fixture(scope="module")
def from_data(tmp_path_factory, shared_data):
    """A tiny run with all of the paper's sets but LOL in one folder, in their official layouts, a
    few images each: study and scores."""
    root, size = tmp_path_factory.mktemp("data"), (192, 96)
    for i, name in enumerate(UNPAIRED):
        save(root / name / "1.png", noise_image(i, size) // 4)
    exdark(root / "ExDark", size)
    for phone in ("Huawei Mate 20 Pro", "LG_M322", "OPPO-R17", "Xiaomi_Mi_Mix_3"):
        save(root / "LLIV-Phone" / phone / "1.png", noise_image(9, size) // 8)
    pairs(root / "COCO_low_light", ["1.png"], size=size)
    save(root / "MIT-Adobe-FiveK" / "test" / "input" / "1.png", noise_image(1, size) // 4)
    save(root / "MIT-Adobe-FiveK" / "test" / "expertC" / "1.png", noise_image(1, size))
    mask = np.zeros(size[::-1])
    mask[30:60, 40:99] = 255
    saliency = {"ECSSD": "images", "saliency_rgb/DUTS": "images", "saliency_rgbd/NLPR": "RGB",
                "saliency_rgbt/VT821": "RGB"}  # fmt: skip
    for folder, images in saliency.items():
        for j in range(10 if folder == "ECSSD" else 1):
            save(root / folder / images / f"{j}.png", noise_image(j, size))
            save(root / folder / "GT" / f"{j}.png", mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
        study = tiny(
            data=str(root), baselines=["identity", "he"], evaluation={"size": size[::-1]},
            saliency={"sets": SALIENCY},
        )  # fmt: skip
        sets = [*study.unpaired.sets, *study.others.sets, *study.saliency.sets]
        yield study, study.evaluate(test_sets=sets, device="cpu")


def test_the_folder_of_the_data_gives_every_table_its_numbers(from_data):
    study, scores = from_data
    assert study.absent() == {}
    for number, sets, row in (
        ("I", ("coco-low-light", "mit-adobe-fivek"), "Traditional / HE"),
        ("II", ("exdark", "dicm", "lime", "mef", "npe", "vv"), "T / HE"),
        ("III", ("exdark", "dicm", "lime", "mef", "npe", "vv"), "w/o JRS"),
        ("VIII", (VIDEO,), "Ours"),
        ("IX", SALIENCY[2:], "Ours"),
    ):  # fmt: skip
        tables = {
            t.caption.partition(", ")[2]: t for t in report.paper_table(study, number, scores)
        }
        for name in sets:
            here = {title: cell for title, cell in cells_of(tables[name], row).items()
                    if title.endswith("here") and "LPIPS" not in title}  # fmt: skip
            assert here and all(float(cell) is not None for cell in here.values()), (number, name)
            assert "stand in" not in tables[name].note


def test_their_resampler_is_plain_bilinear_and_named_at_the_papers_size(from_data):
    study, scores = from_data
    assert {s.protocol for s in select(scores, dataset="dicm", metric="niqe")} == {"niqe-live"}
    at_384 = tiny(data=study.settings.data, evaluation={"size": [384, 384]})
    (dicm,) = [one for one in at_384.unpaired.sets if one.name == "dicm"]
    protocols = [p.id for p in at_384.task(dicm).protocols if p.metric in ("niqe", "brisque")]
    assert protocols in ([], ["niqe-live-384-bilinear", "brisque-live-384-bilinear"])
    plain = dicm.data.source[0]["image"]
    expected = F.interpolate(plain[None], (384, 384), mode="bilinear")[0]
    torch.testing.assert_close(dicm.data[0]["image"], expected, atol=0.51 / 255, rtol=0)


# Findings and tables ---------------------------------------------------------------------------


def test_findings_are_sentences_made_of_scores(study, scores):
    pairs = report.of_pairs(study, scores)
    streets = select(report.of_saliency(scores), dataset="builtin-streets")
    ahead, parts, saliency, apart = report.findings(study, pairs + streets).rows
    assert "]: JCRNet over gamma 1/2.2 " in apart[1] and "; over JCRNet without JRS " in apart[1]
    pairs = [score for score in pairs if score.label != "jcrnet+w/o JRS"]
    ours, gamma = (f"{value(pairs, label=x, metric='psnr'):.2f}" for x in ("jcrnet", "gamma"))
    assert ahead[1] == f"{ours} dB against {gamma} dB of gamma 1/2.2, the best of 1."
    assert parts[1].startswith(f"JCRNet {ours} dB; JCRNet without JRS ")
    error = value(streets, label="original", metric="mae")
    assert f", {error:.3f} in normal light" in saliency[1]
    error = value(streets, label="gamma", metric="mae")
    assert saliency[1].endswith(
        f", {error:.3f} after gamma 1/2.2 (the best of 1 without training)."
    )
    assert [row[1] for row in report.findings(study, pairs).rows[1:3]] == [
        f"Not evaluated; {report.ASK}.", "Not evaluated.",
    ]  # fmt: skip


def test_findings_say_which_rows_were_not_evaluated(study, scores):
    pairs = report.of_pairs(study, scores)
    ours = f"{value(pairs, label='jcrnet', metric='psnr'):.2f} dB"
    trained = [score for score in pairs if score.label not in ("gamma", "identity")]
    trained = [score for score in trained if score.weights == "trained here"]
    answer = report.findings(study, trained).rows[0][1]
    assert answer == f"{ours}; no method without training was evaluated (setting baselines)."
    gamma = f"{value(pairs, label='gamma', metric='psnr'):.2f} dB of gamma 1/2.2, the best of 1."
    without = [score for score in pairs if score.label != "jcrnet"]
    ahead, parts, _ = (row[1] for row in report.findings(study, without).rows)
    assert ahead == f"JCRNet was not evaluated (setting rows); {gamma}"
    assert parts == f"Not evaluated; {report.ASK}."


def test_the_best_evidence_is_the_reference_run_else_this_one(study, scores, monkeypatch):
    kept = [a_score("psnr", "lol", label=label, steps_planned=0) for label in ("mf", "identity")]
    monkeypatch.setattr(report, "reference_scores", lambda *_names: kept)
    assert [s.label for s in report.best_evidence(study)][:2] == ["identity", "mf"]
    monkeypatch.setattr(report, "reference_scores", lambda *_names: [])
    found = report.best_evidence(study)
    assert {s.dataset for s in found} == {"builtin-photos", "builtin-streets"}
    assert all(score in scores for score in found)


def test_every_printed_cell_stands_in_a_table(study, scores):
    shown = {}
    for number in (*report.TABLES, "IX"):
        found = report.paper_table(study, number, scores)
        assert all(len(row) == len(table.header) for table in found for row in table.rows)
        shown[number] = [
            cell.removesuffix(" *") for table in found for row in table.rows
            for title, cell in zip(table.header, row, strict=True) if title.endswith("published")
        ]  # fmt: skip
    shown["VII"] = [cell for row in report.cost_table(study, scores).rows for cell in row[1::2]]
    for number, cells in shown.items():
        assert sorted(cells) == sorted(c.printed for c in load("jcrnet") if c.table == number)
    assert sum(map(len, shown.values())) == 921


def test_stand_ins_fill_their_own_tables_and_say_so(study, scores):
    lol, coco, mit = report.paper_table(study, "I", scores)
    ours = value(report.of_pairs(study, scores), label="jcrnet", metric="psnr")
    row = cells_of(lol, "Deep Learning / OursPT")
    assert (row["PSNR↑, published"], row["PSNR↑, here"]) == ("24.901", f"{ours:.3f}")
    assert "stand in for lol: built-in photographs, darkened (builtin-photos)." in lol.note
    there = value(scores, label="jcrnet", dataset="coco-low-light", metric="psnr")
    assert cells_of(coco, "Deep Learning / OursPT")["PSNR↑, here"] == f"{there:.3f}"
    assert "stand in" not in coco.note
    assert mit.note.startswith("Not run here.") and "OursMS prints the same number" in mit.note
    assert cells_of(mit, "Traditional / HE")["PSNR↑, here"] == "not run"
    assert cells_of(lol, "Deep Learning / OursMS")["PSNR↑, here"] == "not run"


@pytest.mark.parametrize(
    ("reader", "words"),
    [("saliency_net", "a small network trained on normal-light ones"), ("vst", "VST")],
)
def test_streets_that_stand_in_name_their_reader(study, scores, reader, words):
    streets = select(report.of_saliency(scores), dataset="builtin-streets")
    read = [replace(score, recognizer=reader) for score in streets]
    note = report.paper_table(study, "IX", read)[0].note
    assert f"drawn streets at night (builtin-streets), read by {words}." in note


def test_toys_are_stood_in_for_by_the_cast(study, scores):
    toys, other = report.paper_table(study, "V", scores)
    assert [row[0] for row in toys.rows] == ["Toys / w/o JRS", "Toys / Full"]
    cast = value(scores, dataset="builtin-photos-cast", label="jcrnet+w/o JRS", metric="psnr")
    assert cells_of(toys, "Toys / w/o JRS")["PSNR↑, here"] == f"{cast:.3f}"
    assert "for toys: the test pairs under a green cast (builtin-photos-cast)." in toys.note
    assert cells_of(other, "LOL / w/o E-D")["PSNR↑, here"] == "not run"


def test_numbers_on_lol_say_that_the_papers_test_pairs_are_others(scores):
    on_lol = tiny(dataset="lol")
    pairs = [replace(s, dataset="lol") for s in select(scores, dataset="builtin-photos")]
    table = report.paper_table(on_lol, "I", pairs)[0]
    assert "Published on 100 of LOL's 500 pairs" in table.note and "stand in" not in table.note
    native = cells_of(table, "Deep Learning / OursPT")["PSNR↑, here"]
    resized = [
        replace(s, dataset="lol-384", value=s.value + 1) for s in select(pairs, metric="psnr")
    ]
    table = report.paper_table(on_lol, "I", pairs + resized)[0]
    ours = cells_of(table, "Deep Learning / OursPT")["PSNR↑, here"]
    assert float(ours) == pytest.approx(float(native) + 1) and "stand in" not in table.note
    (source,) = [
        one for one in report.sources(on_lol, pairs + resized, judging.context(on_lol), {})
        if one.context.dataset == "lol-384"
    ]  # fmt: skip
    assert source.covers == {"lol"} and not source.context.papers_own


def test_table_ix_takes_the_streets_for_the_first_set_only(study, scores):
    *measured, rgb, depth, thermal = report.saliency_tables(study, scores)
    assert [table.caption for table in measured] == [
        "Saliency on builtin-streets, low-light", "Saliency on ecssd, low-light",
    ]  # fmt: skip
    assert [row[0] for row in measured[1].rows] == [
        "input", "gamma 1/2.2", "JCRNet", "normal light",
    ]  # fmt: skip
    ours = value(scores, dataset="builtin-streets", label="jcrnet", metric="mae")
    assert cells_of(rgb, "Ours")["MAE↓, here"] == f"{ours:.3f}"
    assert "drawn streets at night" in rgb.note
    assert "Not run here." in depth.note and "Not run here." in thermal.note


def test_cost_is_counted_at_the_papers_size_and_timed_at_its_own(study, scores):
    table = report.cost_table(study, scores)
    row = cells_of(table, "Ours")
    assert (row["Params(M)↓, here"], row["FLOPs (G)↓, here"]) == ("1.96", "219.70")
    # Frames a second of another size than the paper's stand in no cell, and decide no claim.
    assert row["FPS(s)↑, here"] == "not run" and "48×32" in table.note
    at_size = tiny(evaluation={"cost_size": [384, 384]})
    row = cells_of(report.cost_table(at_size, scores), "Ours")
    latency = value(report.of_pairs(study, scores), label="jcrnet", metric="latency")
    assert row["FPS(s)↑, here"] == f"{1000 / latency:.2f}"
    context = judging.context(study)
    for one, there in ((study, False), (at_size, True)):
        own = report.sources(one, scores, context, {})[0].scores
        assert bool(select(own, label="jcrnet", metric="fps")) is there


def test_what_is_not_run_says_why(study):
    rows = dict(report.absent_table(study).rows)
    assert rows["NIQE"] == "not available: llie weights fetch niqe"
    reasons = {name: why for names, why in rows.items() for name in names.split(", ")}
    assert reasons["vv"].startswith("no folder VV")
    assert "cannot be re-run" in rows["Fig. 12(c)"]
    (ablations,) = [name for name in rows if "without IAS" in name]
    assert "without JRS" not in ablations and "rows:" in rows[ablations]


def test_audit_holds_the_network_against_the_paper():
    rows = {row[0]: row[1:] for row in report.audit().rows}
    assert rows["JCRNet, never-run layers counted"] == [
        "2.01 M", "2,012,747", "219.74", "219.696",
    ]  # fmt: skip
    assert rows["JCRNet"] == ["2.01 M", "1,964,061", "219.74", "219.696"]
    assert rows["JCRNet, reading: text"][1::2] == ["2,019,089", "221.200"]
    assert set(rows) >= {f"JCRNet {x.replace('w/o', 'without')}" for x in ABLATIONS if x}
    assert {f"JCRNet as printed: {x}" for x in ("modulation", "retinex", "rgb")} < set(rows)


# Verdicts --------------------------------------------------------------------------------------


def verdicts_of(study, scores):
    """Verdicts by these scores alone, without those of the reference run."""
    measured = {one.name: report.measurements(study, one) for one in study.saliency.sets}
    found = report.judged(study, scores, judging.context(study, scores), measured)
    return {verdict.claim.id: verdict for verdict in found}


def test_every_claim_gets_a_verdict_by_the_scores_that_are_of_its_set(study, scores):
    assert len(report.verdicts(study, scores)) == 81
    found = verdicts_of(study, scores)
    assert len(found) == 81 and all(v.verdict for v in found.values())
    assert not any(v.verdict.startswith(("reproduced", "not reproduced")) for v in found.values())
    # Toys by the cast (NIQE is not there), saliency by streets and ECSSD, PSNR by the pairs.
    assert found["3.57"].verdict.startswith(("does not hold on builtin-photos-cast", "not run (no"))
    assert "builtin-photos-cast" not in found["3.58"].verdict
    assert found["3.77"].verdict == "inconclusive (1 seed; an ordering takes 3)"
    assert found["3.77"].evidence.count("share found salient off by") == 2  # streets and ECSSD
    assert found["3.48"].verdict.startswith("cannot be re-run")
    assert found["3.35"].verdict.startswith("contradicted")
    assert found["3.11"].verdict == found["3.02"].verdict  # a restatement


def test_sets_of_which_there_is_no_copy_are_named(scores):
    on_lol = tiny(dataset="lol", saliency={"sets": []})
    pairs = [replace(s, dataset="lol") for s in select(scores, dataset="builtin-photos")]
    found = verdicts_of(on_lol, pairs)
    assert found["3.43"].verdict == "not run (no copy of dicm, mef, vv was given)"
    assert found["3.77"].verdict == "not run (not measured in this run)"


@pytest.mark.parametrize("burnt, words", [(0.2, "holds on lol"), (0.001, "does not hold on lol")])
def test_claims_about_what_images_show_are_decided_by_their_statistics(burnt, words):
    """Three seeds each: burnt share with and without IAS on LOL, brightness on NPE."""
    study = tiny(dataset="lol", saliency={"sets": []})
    scores = [
        a_score(metric, dataset, label=label, seed=seed, value=value, protocol=metric)
        for metric, dataset, label, value in (
            ("burnt_share", "lol", "jcrnet", 0.01), ("burnt_share", "lol", "jcrnet+w/o IAS", burnt),
            ("added_noise_in_black", "lol", "jcrnet", 0.02), ("brightness", "npe", "jcrnet", 0.7),
        )
        for seed in range(3)
    ]  # fmt: skip
    judged = report.judged(study, scores, Context("lol", "reference", 3, False), {})
    found = {verdict.claim.id: verdict for verdict in judged}
    assert found["3.62"].verdict == f"{words} (reference, 3 seeds)"
    assert found["3.64"].verdict == found["3.62"].verdict  # restates it
    assert found["3.71"].verdict == "holds on lol (reference, 3 seeds)"
    assert found["3.19"].verdict == "does not hold on npe (reference, 3 seeds)"  # too bright
    assert found["3.66"].verdict == "not run (no copy of exdark was given)"
    assert found["3.14"].verdict == "left to the eye"


def test_whole_sets_after_the_papers_training_are_its_own():
    paper, pairs = open_study("jcrnet", "paper"), a_score("psnr", "lol")

    def own(name, n, papers_own=True):
        context = Context("lol", "paper", 3, papers_own)
        found = report.sources(paper, [pairs, a_score("niqe", name, n=n)], context, {})
        assert not found[0].context.papers_own  # its test pairs are not listed
        return found[1].context.papers_own

    assert own("lime", 10)
    assert not own("lime", 8) and not own("coco-low-light", 959)
    assert not own("lime", 10, papers_own=False)


def test_bias_is_what_is_found_salient_less_what_is(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = tiny()
    (test_set,) = study.saliency.sets
    for label, shares in (("identity", (0.1, 0.1)), ("jcrnet", (0.32, 0.30))):
        path = study.run(study.row(label)).directory / "per_image" / f"{test_set.key}.csv"
        path.parent.mkdir(parents=True)
        lines = "".join(f"{i},{share},0.3,0\n" for i, share in enumerate(shares))
        path.write_text(f"name,salient,mask,mae\n{lines}", encoding="utf-8")
    holds, evidence = report.measurements(study, test_set)["balance_helps_saliency"]
    assert holds and "off by 0.2000 on the input, by 0.0100 after JCRNet" in evidence
    alone = tiny(baselines=["gamma"])
    answer = report.measurements(alone, alone.saliency.sets[0])["balance_helps_saliency"]
    assert answer == (None, "needs the rows identity and jcrnet")


# Figures ---------------------------------------------------------------------------------------


def test_charts_say_in_words_who_is_best(study, scores, monkeypatch):
    said = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: said.append((figure, alt)))
    pairs = report.of_pairs(study, scores)
    figures.metric_chart(study, pairs)
    figures.mean_chart(study, pairs + report.of_other_sets(study, scores))
    (lines, first), (_, second) = said
    assert "best PSNR: published JCRNet, here snr" in first
    assert "best NIQE: published DDNet, here not run" in first
    assert len(lines.axes) == 5
    names = [label.get_text() for label in lines.axes[-1].get_xticklabels()]
    assert {"KinD++", "JCRNet", "OursMS", "gamma 1/2.2"} < set(names)
    assert "published, 9 sets: lowest NIQE JCRNet" in second
    for figure, _ in said:
        figures.plt.close(figure)


def test_means_are_of_rows_that_are_on_every_set():
    values = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "y", 4.0), ("b", "x", 9.0)]
    assert figures.over_sets(values) == ({"a": 2.0}, 2)
    assert figures.over_sets([]) == ({}, 0)


def test_images_of_ablations_are_those_that_were_run(study):
    plain = figures.ablation_examples(study, figures.STAGES, count=1)
    cast = figures.ablation_examples(study, figures.STAGES, 1, study.cast_set)
    assert list(plain[0].all()) == ["input", "JCRNet", "JCRNet without JRS", TRUTH]
    assert torch.equal(plain[0].target, cast[0].target)
    assert not torch.equal(plain[0].dark, cast[0].dark)
    assert [panel.label for panel in plain[0].panels()] == list(plain[0].all())
    table = figures.colour_table({"test pairs": plain, "green cast": cast})
    assert [row[0] for row in table.rows] == ["test pairs"] * 4 + ["green cast"] * 4
    means = [float(cell) for cell in table.rows[3][2:5]]
    assert means == pytest.approx(plain[0].target.mean((1, 2)).tolist(), abs=5e-4)


def test_stages_are_shown_on_exdark_where_it_is_at_hand(study, from_data):
    assert list(figures.stage_examples(study, count=1)) == ["test pairs", "green cast"]
    of_data, _ = from_data
    of_data.train(quiet=True)
    found = figures.stage_examples(of_data, count=1)
    assert list(found) == ["test pairs", "green cast", "ExDark"]
    (one,) = found["ExDark"]
    assert one.target is None and list(one.outputs) == ["identity", "jcrnet", "jcrnet+w/o JRS"]
    assert [row[0] for row in figures.colour_table(found).rows[-3:]] == ["ExDark"] * 3


def test_images_bear_their_niqe_and_brisque(shared_data, monkeypatch, tmp_path):
    image = torch.rand(3, 96, 192, generator=torch.Generator().manual_seed(0))
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    assert figures.scores_of(image) == ""
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    expected = [evaluate(name, image[None]).item() for name in ("niqe-live", "brisque-live")]
    assert figures.scores_of(image) == "N {:.2f}, B {:.2f}".format(*expected)
    assert "N " not in figures.scores_of(image[:, :50])  # too small for NIQE
    one = Example("one", image, {"jcrnet": image}, None, {"jcrnet": "JCRNet"})
    (panel,) = figures.with_naturalness(one)
    assert panel.label.startswith("JCRNet N ")


def test_three_parts_of_an_image_are_for_brightness_colour_and_exposure():
    dark, truth = torch.zeros(3, 32, 32), torch.zeros(3, 32, 32)
    dark[:, 24:, 24:] = truth[:, 24:, 24:] = 0.9  # bright already
    truth[:, :8, :8] = 0.6  # most brightness is missing here
    truth[0, 24:, :8] = 0.5  # red
    titles = {"identity": "input", "gamma": "gamma", "jcrnet": "JCRNet"}
    one = Example("one", dark, {"identity": dark, "gamma": dark, "jcrnet": truth}, truth, titles)
    marked, *parts = figures.triple(one)
    assert [panel.label for panel in marked] == ["input", "JCRNet", TRUTH]
    corners = [[0, 0, 8, 8], [0, 24, 8, 32], [24, 24, 32, 32]]
    assert marked[0].regions.tolist() == corners
    for line, (x0, y0, x1, y1) in zip(parts, corners, strict=True):
        assert torch.equal(line[1].image, truth[:, y0:y1, x0:x1])


def test_images_are_shown_set_by_set(study):
    (pair,) = figures.pair_examples(study, 1)
    assert list(pair.outputs) == ["identity", "gamma", "snr", "jcrnet", "jcrnet+w/o JRS"]
    found = figures.other_examples(study)
    assert list(found) == ["dicm", "lime", "mef", "coco-low-light"]
    assert list(found["coco-low-light"][0].outputs) == list(pair.outputs)
    assert "snr" not in found["dicm"][0].outputs and found["dicm"][0].target is None


def test_perceptual_distance_is_zero_where_images_agree(study):
    target = torch.rand(3, 8, 8)
    other = target.clone()
    other[:, :4] = 1 - other[:, :4]
    one = Example("one", target, {"same": target, "other": other}, target)
    ((same, far),), _, unit = figures.distance_maps([one])
    assert unit == "CIEDE2000"  # no weights of LPIPS here
    assert same.values.abs().max() < 1e-4
    assert far.values[:4].mean() > 5 and far.values[4:].abs().max() < 1e-4


def test_lpips_is_mapped_where_its_weights_are(tmp_path, monkeypatch):
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alex.pth")
    monkeypatch.setattr(Protocol, "missing_weights", lambda self: "")
    monkeypatch.setattr(figures, "find", lambda name: tmp_path / "alex.pth")
    target = torch.rand(3, 64, 64)
    half = torch.cat([target[..., :32], 1 - target[..., 32:]], dim=-1)
    one = Example("one", target, {"half": half}, target)
    ((far,),), _, unit = figures.distance_maps([one])
    assert unit == "LPIPS (AlexNet)" and far.values.shape == (64, 64)
    assert far.values[:, :8].mean() < far.values[:, -8:].mean()


def test_short_lines_share_one():
    assert figures.side_by_side([[1, 2], [3, 4], [5, 6], [7, 8]]) == [[1, 2, 3, 4, 5, 6], [7, 8]]
    assert figures.side_by_side([[1] * 7, [2] * 7]) == [[1] * 7, [2] * 7]


def test_failures_are_the_images_of_lowest_psnr(study):
    lines, table = figures.failures(study, count=1)
    measured = study.per_image(study.row("jcrnet"), study.main_set)
    worst = min(measured, key=lambda image: float(image["psnr-rgb-float"]))
    assert table.rows[0][:2] == [worst["name"], f"{float(worst['psnr-rgb-float']):.2f}"]
    assert [panel.label for panel in lines[0]] == ["input", "JCRNet", TRUTH]
    assert table.header[2:] == [f"noise in black, {panel.label}" for panel in lines[0]]


def test_noise_is_taken_where_the_truth_is_black():
    target = torch.ones(3, 4, 6)
    target[..., 3:] = 0.0
    image = torch.zeros(3, 4, 6)
    image[..., ::2] = 0.25
    assert figures.noise_in_black(image, target) == 0.25
    assert figures.noise_in_black(image, torch.ones(3, 4, 6)) is None


def test_failures_need_the_protocol_that_they_are_sorted_by(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = tiny()
    path = study.run(study.row("jcrnet")).directory / "per_image" / f"{study.main_set.key}.csv"
    path.parent.mkdir(parents=True)
    path.write_text("name,ssim-valid-gaussian\na,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Fig\. 17 needs psnr-rgb-float"):
        figures.failures(study)


def test_saliency_panels_show_what_is_found_below_the_image(study):
    lines = figures.saliency_panels(study)
    assert len(lines) == 4  # two sets
    assert [panel.label for panel in lines[0]] == [
        "input", "gamma 1/2.2", "snr", "JCRNet", "normal light", "builtin-streets (below: mask)",
    ]  # fmt: skip
    assert len(lines[1]) == 6 and set(lines[1][-1].image.unique().tolist()) == {0.0, 1.0}
    assert all(panel.image.shape[0] == 3 for line in lines for panel in line)
