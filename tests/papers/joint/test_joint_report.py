"""Paper 2's report: its tables over two detectors, on scores made up for the purpose, and the rest
on a tiny run."""

import dataclasses
import json
import weakref
from functools import partial

import pytest
import torch
from made import HARD, UNTRAINED, a_score
from test_joint_study import TRAINED, tiny

from llie_core.papers import judging, open_study
from llie_core.papers.joint import claims, faces, report
from llie_core.papers.joint.study import GROUPS
from llie_core.reporting.scores import select
from llie_core.tasks.faces import HEIGHTS, SUBSETS, height_name
from llie_core.weights import available

READERS = ("mtcnn", "tinaface")
VALUES = dict(zip((*GROUPS, TRAINED[2]), (0.1, 0.3, 0.4, 0.9, 0.5), strict=True))
# Read by both detectors; tables need no weights.
STUDY = tiny(readers=list(READERS), tinaface={"backbone": "resnet50", "weights": "none.pth"})


def score(label, reader, subset, value, metric="ap", n=10):
    own = {"label": label, "recognizer": reader, "subset": subset, "metric": metric}
    return a_score(**HARD | UNTRAINED | own | {"value": value, "n": n})


@pytest.fixture
def made_up():
    """Another AP for every row, reader and subset, so that a cell that strays is seen."""
    return [
        score(label, reader, subset, value + 0.01 * place + 0.001 * READERS.index(reader))
        for label, value in VALUES.items()
        for reader in READERS
        for place, subset in enumerate(SUBSETS)
    ]


def test_the_four_groups_stand_side_by_side(made_up):
    table = report.groups_table(STUDY, made_up, "groups")
    assert list(table.header[1:4]) == ["easy, published", "medium, published", "hard, published"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Zero-DCE++ joint (2:1)"] == [
        "0.9478", "0.9387", "0.8998", "0.400", "0.410", "0.420", "0.501", "0.511", "0.521",
    ]  # fmt: skip
    assert rows["normal light"][:4] == ["0.9631", "0.9564", "0.9301", "0.900"]
    table = report.groups_table(STUDY, [s for s in made_up if s.label != TRAINED[2]], "groups")
    assert table.rows[2][-3:] == ["not run"] * 3


def test_every_row_stands_before_every_detector(made_up):
    made_up += [score("identity", "mtcnn", "all", 7.5, metric="psnr")]
    rows = {row[0]: row[1:] for row in report.every_row_table(STUDY, made_up).rows}
    assert rows["Zero-DCE++ joint (2:1)"][::3] == ["0.420", "0.421", "not run"]
    assert rows["Zero-DCE++ joint (2:1, TinaFace's loss)"][0] == "0.520"
    assert rows["input"][-1] == "7.50" and rows["input"][1] == "not run"


def test_the_printed_tables_are_shown_for_each_detector(made_up):
    tables = report.thesis_tables(STUDY, made_up)
    assert [t.caption.partition(":")[0] for t in tables] == ["Table 4.1"] * 2 + ["Table 4.2"] * 2
    assert list(tables[0].rows[2][1:3]) == ["0.9478", "0.4000"]
    assert list(tables[1].rows[2][1:3]) == ["0.9478", "0.5010"]


def test_findings_name_the_rows_numbers_for_each_detector(made_up):
    table = report.findings(STUDY, made_up)
    said = [row[1] for row in table.rows]
    assert said[0] == (
        "After joint training AP 0.420, recall not run; "
        "after Zero-DCE++ alone AP 0.320, recall not run."
    )
    assert "in normal light AP 0.921" in said[5] and "1 seed" not in table.note


def test_findings_compare_with_the_best_method_without_training(made_up):
    trained = [
        dataclasses.replace(s, weights="trained here") for s in made_up if s.label in TRAINED
    ]
    plain = [dataclasses.replace(s, label="clahe") for s in made_up if s.label == "identity"]
    assert report.findings(STUDY, trained).rows[1][1] == "None was evaluated."
    answer = report.findings(STUDY, [*trained, *plain]).rows[1][1]
    assert answer.startswith("After CLAHE AP ") and answer.endswith(", the best of 1.")


def by_height(gain_of):
    return [
        score(label, "mtcnn", height_name(*span), 0.5 + gain, n=i + 1)
        for i, span in enumerate(HEIGHTS)
        for label, gain in ((GROUPS[0], 0.0), (GROUPS[2], gain_of(i)))
    ]


def test_gain_by_height_is_the_difference_to_the_low_light_image():
    lines = report.gains_by_height(STUDY, by_height(lambda i: 0.05 * i))
    heights, gains = zip(*lines["Zero-DCE++ joint (2:1), MTCNN"], strict=True)
    assert heights == (8, 20, 28, 40, 72, 120)
    assert gains == pytest.approx([0.05 * i for i in range(6)])
    assert lines["normal light, MTCNN"] == []


@pytest.mark.parametrize(
    ("gain_of", "cells"),
    [
        # Ranges under 32 px hold 1, 2 and 3 faces, the others 4, 5 and 6.
        (lambda i: 0.6 - 0.1 * i, ["+0.467", "+0.187", "+0.280"]),
        (lambda i: 0.1 * i, ["+0.133", "+0.413", "-0.280"]),
    ],
)
def test_whether_small_faces_gain_more(gain_of, cells):
    table = report.small_faces_gain(STUDY, by_height(gain_of))
    assert table.rows == [["MTCNN", *cells], ["TinaFace", "–", "–", "not run"]]


def test_wider_face_says_why_it_was_not_run(made_up):
    (table,) = report.wider_tables(STUDY, [])
    assert table.rows == [["wider-face", STUDY.absent()["wider-face"]]]
    assert len(report.wider_tables(STUDY, made_up)) == 2


# On a tiny run ---------------------------------------------------------------------------------


def test_headline_compares_alone_with_joint(results, scores):
    values = {GROUPS[1]: 0.123, GROUPS[2]: 0.456}
    doctored = [dataclasses.replace(s, value=values.get(s.label, 0.789)) for s in scores]
    study = results()
    text = study.headline(doctored)
    assert text.count("0.123 alone, 0.456 joint") == 3 and "0.789" not in text
    study.record(doctored, [])
    record = json.loads((study.folder / "headline.json").read_text())
    assert (record["device"], record["headline"]) == (doctored[0].device, text)


def test_panels_show_the_four_groups_with_sure_detections(results):
    study = results()
    rows = report.group_rows(study)
    assert tuple(row.label for row in rows) == GROUPS
    (line,) = report.detections(study, rows, images=1)
    assert [panel.label for panel in line] == [row.shown for row in rows]
    for panel in line:
        assert panel.image.shape == (3, 128, 128) and panel.boxes.shape == (len(panel.scores), 4)
        assert (panel.scores >= 0.5).all()
    assert line[0].image.mean() < line[3].image.mean()
    low, normal = report.annotated(study, images=1)
    assert low[0].image.mean() < normal[0].image.mean() and len(normal[0].regions) >= 2
    assert [row.label for row in report.ratio_rows(study)] == ["identity", *TRAINED]


def test_exposures_follow_what_is_asked(results):
    strip = report.exposures(results(), (0.3, 0.05))
    assert [panel.label.partition(",")[0] for panel in strip] == [
        "normal light", "E = 0.30", "E = 0.05",
    ]  # fmt: skip


def test_the_variant_of_ours_is_no_row_of_the_thesis():
    ours = score("zero_dce_pp+2:1~W3=200", "mtcnn", "hard", 0.4)
    assert [s.label for s in report.read_by([ours], "mtcnn")] == ["zero_dce_pp+2:1~W3=200"]


def test_statistics_of_maps_are_within_and_between_images():
    # One image of two halves, one constant: sd within .1 and 0, means .3 and .5.
    halves = torch.cat([torch.full((1, 3, 2, 2), 0.2), torch.full((1, 3, 2, 2), 0.4)], dim=3)
    within, means = report.map_statistics([halves, torch.full((1, 3, 5, 7), 0.5)])
    assert within == pytest.approx(0.05)
    torch.testing.assert_close(means, torch.tensor([[0.3] * 3, [0.5] * 3]))


def test_curve_maps_of_every_trained_row_are_shown(results):
    study = results()
    trained = [row for row in study.first_seed() if row.is_trained]
    table = report.curve_maps(study)
    assert [row[0] for row in table.rows] == [row.shown for row in trained]
    data, model = study.data(study.main_set), study.load(trained[0], "cpu")
    with torch.no_grad():
        maps = [
            model.training_outputs(data[i]["image"][None])["curve_maps"] for i in range(len(data))
        ]
    means = torch.stack([one.mean((0, 2, 3)) for one in maps])
    assert [float(x) for x in table.rows[0][1].split(",")] == pytest.approx(
        means.mean(0).tolist(), abs=6e-4
    )
    assert float(table.rows[0][3]) == pytest.approx(
        means.std(0, correction=0).mean().item(), rel=0.06
    )


def test_tables_about_data_losses_and_networks(results):
    study = results()
    (cells,) = report.data_summary(study).rows
    assert cells[:2] == ["builtin-faces", "4"]
    assert int(cells[3]) <= int(cells[4]) <= int(cells[5]) and float(cells[6]) < float(cells[7])
    table = report.losses_table(study).rows
    alone, _, both, last, tinaface, _ = table
    assert alone[:2] == ["Zero-DCE++ alone (1:0)", "first"] and alone[4:6] == ["–", "–"]
    assert alone[-1] == "0%" and last[1] == "last" and float(tinaface[5]) > 0
    up, down = float(both[3]), float(both[5])
    assert float(both[6]) == pytest.approx(up + 0.5 * down, abs=0.011)  # Eq. (3.14)
    assert float(both[7][:-1]) == pytest.approx(50 * down / (up + 0.5 * down), abs=1.5)
    counted = {(row[0], row[1]): row[2:] for row in report.audit().rows}
    assert counted["Zero-DCE++", "–"] == ["10,561", "10,561", "5.28", "5.282"]
    assert counted["Zero-DCE++", "scale_factor=12"] == ["10,561", "10,561", "0.036", "0.037"]
    assert counted["TinaFace", "backbone=resnet50"][:2] == ["37.98 M", "37,979,636"]
    assert counted["MTCNN", "–"][:2] == ["not published", "495,850"]


def test_the_data_summary_holds_one_image_at_a_time(results, monkeypatch):
    study, alive = results(), []

    class Watched:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index == 5:
                raise IndexError
            assert sum(one() is not None for one in alive) < 2, "images are kept"
            image = torch.full((3, 8, 8), 0.1 * index)
            alive.append(weakref.ref(image))
            keep = dict.fromkeys(SUBSETS, torch.ones(1, dtype=torch.bool))
            return {"image": image, "target": torch.ones(3, 8, 8), "boxes": torch.zeros(1, 4),
                    "keep": keep, "darkening": {}}  # fmt: skip

    monkeypatch.setattr(study, "data", lambda _test_set: Watched())
    (row,) = report.data_summary(study).rows
    assert row[1:] == ["5", "0", "5", "5", "5", "0.20", "1.00"]


def test_every_claim_has_a_verdict_and_the_measured_ones_are_measured(results, scores):
    study = results()
    answers = claims.measurements(study, scores)
    assert answers["curve_monotone"][0] is True
    assert all(why for holds, why in answers.values() if holds is None)
    found = claims.verdicts(study, scores)
    assert len(found) == 44 and all(v.verdict for v in found)
    assert not [v for v in found if v.verdict.startswith("reproduced")]  # on built-in data
    rows = claims.verdicts_by_detector(study, scores).rows
    assert {"2.01", "2.15", "2.39"} <= {row[0] for row in rows} and len(rows[0]) == 3


def test_maps_that_are_constants_say_nothing_of_size(results):
    study = results()
    answers = claims.properties_of_the_network(study)
    assert all(holds is None and "constants" in why for holds, why in answers.values())
    assert claims.maps_are_alike(study) == (None, "needs the ratio 1:0~24 maps")


def test_one_map_is_compared_with_eight():
    """Both under W3 = 200; the thesis's own row has another weight."""
    made = [score(GROUPS[1], "mtcnn", "hard", 0.9),
            score(f"{GROUPS[1]}~W3=200", "mtcnn", "hard", 0.5)]  # fmt: skip
    assert claims.one_map_is_enough(STUDY, made)[0] is None
    for ap, holds in ((0.501, True), (0.6, False)):
        eight = score("zero_dce_pp+1:0~24 maps", "mtcnn", "hard", ap)
        assert claims.one_map_is_enough(STUDY, [*made, eight])[0] is holds


@pytest.mark.parametrize(
    ("joint", "holds"), [([9, 3, 4, 3, 4, 3], True), ([9, 1, 1, 1, 1, 1], False),
                         ([9, 3, 3, 1, 3, 3], None)],
)  # fmt: skip
def test_steps_are_timed_in_turn(results, monkeypatch, joint, holds):
    study, calls = results(), []
    times = {True: iter(joint), False: iter([9, 2, 2, 2, 2, 2])}  # the first warms up

    def timed_step(experiment):
        detector = bool(experiment.objective.modules)
        return lambda: calls.append(detector) or next(times[detector])

    monkeypatch.setattr(claims, "timed_step", timed_step)
    found, words = claims.joint_step_is_slower(study)
    assert found is holds and calls == [False, True] * 6
    assert "1:0: 2.000 s" in words and "median of 5 rounds, load average" in words


def test_a_timed_step_is_one_of_the_training(results):
    experiment = results().experiment(results().row(GROUPS[2]))
    assert claims.timed_step(experiment)() > 0
    assert all(p.grad is not None for p in experiment.model.parameters())


def of_faces(dark, alone, joint, normal, height):
    values = {"dark": dark, "alone": alone, "joint": joint, "normal": normal, "height": height}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("some_are_missed", ([0.9, 0], [0] * 2, [0] * 2, [0.9] * 2, [50] * 2),
         ([0.9] * 2, [0] * 2, [0] * 2, [0.9] * 2, [50] * 2)),
        ("joint_scores_higher", ([0] * 2, [0.8, 0], [0.9] * 2, [0.9] * 2, [50] * 2),
         ([0] * 2, [0.9, 0], [0.8] * 2, [0.9] * 2, [50] * 2)),
        ("large_lose_little", ([0.85, 0], [0] * 2, [0] * 2, [0.9] * 2, [48, 47]),
         ([0.7, 0.9], [0] * 2, [0] * 2, [0.9] * 2, [48, 47])),
        ("joint_is_nearest", ([0.5], [0.6], [0.8], [0.9], [50]),
         ([0.5], [0.8], [0.6], [0.9], [50])),
        ("small_are_missed", ([0, 0.9], [0] * 2, [0] * 2, [0.9] * 2, [31, 50]),
         ([0.9, 0], [0] * 2, [0] * 2, [0.9] * 2, [31, 50])),
        ("small_score_far_below", ([0.5, 0.9], [0] * 2, [0] * 2, [0.9] * 2, [31, 50]),
         ([0.8, 0.1], [0] * 2, [0] * 2, [0.9] * 2, [31, 50])),
        ("small_come_back", ([0], [0.9], [0.9], [0.9], [31]), ([0], [0], [0.9], [0.9], [31])),
        ("alone_loses", ([0.9], [0.4], [0.9], [0.9], [31]), ([0.4], [0.4], [0.9], [0.9], [31])),
        ("joint_finds_the_lost", ([0.8], [0.4], [0.9], [0.9], [31]),
         ([0.8], [0.4], [0.7], [0.9], [31])),
    ],
)  # fmt: skip
def test_scores_of_single_faces_decide(name, yes, no):
    check = faces.CHECKS[name]
    assert check(of_faces(*yes), 0.75)[0] is True and check(of_faces(*no), 0.75)[0] is False


def test_seeds_that_disagree_decide_nothing(results):
    study = results()
    answers = iter([(True, "a"), (False, "b")])
    seeds = [of_faces([0], [0], [0], [0], [9])] * 2
    assert faces.over_seeds(lambda *_: next(answers), seeds, study) == (
        None, "the seeds disagree: a; b",
    )  # fmt: skip
    del seeds[0]["alone"]
    found = faces.over_seeds(faces.alone_loses, seeds, study)
    assert found == (None, "needs the row of alone")


def test_claims_on_single_faces_are_of_the_main_detector(results, scores):
    study = results()
    found = faces.face_measurements(study, [])
    missed = int(found["some_are_missed"][1].split(", ")[1].split()[0])
    recall = {s.label: s.value * s.n for s in select(scores, metric="recall")}
    assert missed >= round(recall["original"] - recall["identity"]) > 0
    worse = [dataclasses.replace(s, value=0.1) for s in scores]
    assert all(holds is None for holds, _ in faces.face_measurements(study, worse).values())


def test_better_quality_and_worse_detection_is_found():
    made = [
        score("gamma", "mtcnn", "all", 20, "psnr"),
        score("gamma", "mtcnn", "hard", 0.3),
        score("clahe", "mtcnn", "all", 15, "psnr"),
        score("clahe", "mtcnn", "hard", 0.5),
    ]
    holds, evidence = claims.quality_is_not_detection(STUDY, made)
    assert holds and evidence.startswith("gamma 1/2.2 against CLAHE: PSNR 20.00 > 15.00 dB")
    assert claims.quality_is_not_detection(STUDY, select(made, label="gamma"))[0] is False


# The kept run on real faces ----------------------------------------------------------------------

needs_retinaface = pytest.mark.skipif(
    not available("retinaface"), reason="the kept run's detector is not installed"
)


@needs_retinaface
def test_findings_are_those_of_the_kept_run_on_real_faces_by_its_own_detector():
    best = report.best_run(open_study("joint", "smoke"))
    assert (best.settings.dataset, best.settings.recognizer) == ("wider-val-a", "retinaface")
    evidence = report.best_evidence(best)  # without a copy of the data
    assert {score.profile for score in evidence} == {"reference"}
    assert report.findings(best, evidence).rows[0][0] == "Does joint training help RetinaFace?"
    other = open_study("joint", "reference", "wider-val-b")
    assert report.best_run(other).settings.dataset == "wider-val-b"


@needs_retinaface
def test_both_halves_judge_each_claim_by_the_detector_that_trained_there():
    study = open_study("joint", "smoke")
    found = judging.verdicts(study, [], {}, partial(claims.judged, ""))
    (first,) = (v.verdict for v in found if v.claim.id == "2.01")
    assert "wider-val-a (reference, 3 seeds)" in first and "wider-val-b (reference, 3 s" in first
    assert open_study("joint", "reference", "wider-val-a").other_folds == ()


@needs_retinaface
def test_kept_rows_are_compared_in_pairs_under_the_labels_of_the_thesis():
    study = open_study("joint", "reference", "wider-val-a")
    found = judging.verdicts(study, [], {}, partial(claims.judged, ""))
    evidence = {v.claim.id: v.evidence for v in found}["2.01"]
    assert "over images" in evidence and "unpaired" not in evidence
