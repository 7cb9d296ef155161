"""Paper 1's report: tables and figures of a tiny run, enhancers across recognizers, claims."""

import dataclasses
import shutil
import weakref

import pytest
import torch
from made import MIOU, a_score
from test_recognition_study import PERSONS, SETS, tiny

from llie_core.data import dataset_spec
from llie_core.hashing import file_hash
from llie_core.models import create_enhancer
from llie_core.papers import judging
from llie_core.papers.recognition import claims, report
from llie_core.reporting.scores import select

SCORE = a_score(**MIOU | {"value": 0.0, "profile": "smoke"})


def both():
    """The studies of both tasks at the size that was run."""
    return {"segmentation": tiny(), "pose": tiny(PERSONS)}


@pytest.mark.parametrize("dataset", list(SETS))
def test_report_parts_hold_what_was_measured(results, dataset):
    study, scores = tiny(dataset), results[dataset]
    for table in (
        report.findings(study, scores), report.recognizer_table(study, scores),
        report.cost_table(study, scores), report.subset_table(study), report.audit(study),
        report.class_table(study, scores), *report.paper_tables(study, scores),
    ):  # fmt: skip
        assert all(len(row) == len(table.header) for row in table.rows)
        assert ("<table" in table._repr_html_()) == bool(table.rows)
    assert "not run" not in str(report.findings(study, scores).rows[0])
    if dataset == "builtin-streets":
        assert report.class_table(study, scores).note == "Measured: profile smoke."
    assert report.subset_table(study).note == dataset_spec(dataset).note
    lines = report.predictions(study, 2)
    assert all(panel.image.shape[0] == 3 for line in lines for panel in line)
    last = "normal light" if dataset == "builtin-streets" else "annotated"
    assert [panel.label for panel in lines[0]] == ["input", "Zero-DCE", "GEM+PAM", last]
    titles = list(report.comparisons(study, 2))
    assert titles[0] == f"Test image 1 of {dataset}" and len(titles) == len(lines)
    sheet = report.contact_sheet(study, 2)
    assert len(sheet) == 2 and len(sheet[0]) >= 2
    assert list(report.logs(study))[:2] == [study.recognizer_row.shown, "Zero-DCE"]


def test_lights_of_other_scenes_are_no_cost(results, monkeypatch):
    """As on CamVid, whose normal-light images show other streets than its dusk ones."""
    assert "camvid" in report.OTHER_SCENES
    study, scores = tiny(), results["builtin-streets"]
    assert report.findings(study, scores).rows[4][0] == "What does low light cost it?"
    monkeypatch.setattr(report, "OTHER_SCENES", ("builtin-streets",))
    question, answer = report.findings(study, scores).rows[4]
    assert "other scenes" in question and "cost" not in question and "in normal light" in answer
    table = report.recognizer_table(study, scores)
    assert table.rows[0][-1] == "–" and "of other scenes" in table.note


def test_findings_tell_of_darker_images_where_they_were_evaluated(results):
    values = {"identity": 0.3, "gem_pam": 0.2}
    darker = [
        dataclasses.replace(SCORE, label=x, subset=subset, value=v)
        for x, v in values.items() for subset in ("mean 10", "mean 2")
    ]  # fmt: skip
    scores = results["builtin-streets"]
    assert report.findings(tiny(), [*scores, *darker]).rows[5][1] == (
        "mIoU 0.300 without GEM+PAM, 0.200 with it at a mean of 2; "
        "0.300 without GEM+PAM, 0.200 with it at a mean of 10 of 255."
    )
    assert "darkened" not in str([row[0] for row in report.findings(tiny(), scores).rows])


def test_percent_stands_beside_percent_and_other_programs_wait(results):
    scores = results["builtin-streets"]
    table = report.paper_tables(tiny(), scores)[0]
    row = next(row for row in table.rows if row[0] == "Ours and DeepLabV3+")
    measured = select(scores, label="gem_pam", metric="miou", subset="all")[0].value
    assert row[1:] == ["34.4", f"{100 * measured:.1f}"]
    assert next(row for row in table.rows if row[0].startswith("LLFLow"))[2] == "not run"


def test_audit_takes_what_is_published_from_the_tables():
    cells = {row[0]: row[1:3] for row in report.audit(tiny()).rows}
    assert cells["GEM+PAM"] == ["0.577 M (in the text)", "577,294"]
    assert cells["IALM"] == ["0.5 M (5.7 − 5.2)", "492,099"]
    assert cells["Zero-DCE"][0] == "0.1 M (5.3 − 5.2)"
    assert cells["DeepLabV3+"] == ["5.2 M", "4,383,139"]
    assert cells["CPN"] == ["27.4 M", "27,425,356"]
    assert cells["DeepLabV3+ (mobilenet_v2), as used here"] == ["not published", "4,383,139"]
    pose = {row[0]: row[2] for row in report.audit(tiny(PERSONS)).rows}
    assert 0.8e6 < int(pose["CPN (tiny), as used here"].replace(",", "")) < 1e6


def test_the_subset_table_holds_one_image_at_a_time(monkeypatch):
    study, alive = tiny(PERSONS), []

    class Watched:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            assert sum(one() is not None for one in alive) < 2, "images are kept"
            image = torch.full((3, 8, 8), 0.1 * index)
            alive.append(weakref.ref(image))
            return {"image": image, "subset": ("LL-N", "LL-E")[index % 2]}

    monkeypatch.setattr(study, "images", lambda split, light: Watched())
    rows = report.subset_table(study).rows
    assert [row[:3] for row in rows] == [
        ["all", "6", "0.2500"], ["LL-E", "3", "0.3000"], ["LL-N", "3", "0.2000"],
    ]  # fmt: skip


# Enhancers across recognizers ------------------------------------------------------------------


def test_enhancers_are_crossed_over_recognizers(results):
    studies = both()
    table = claims.cross_table(studies)
    assert [row[0] for row in table.rows] == ["none", "segmentation", "pose"]
    own = select(results["builtin-streets"], label="gem_pam", metric="miou", subset="all")[0]
    assert table.rows[1][1] == f"{own.value:.3f}"
    casts = claims.casts(studies)
    assert list(casts) == ["input", "GEM+PAM for segmentation", "GEM+PAM for pose"]
    for cast in casts.values():
        assert cast[:3].mean().item() == pytest.approx(1, abs=1e-5)
    assert len(claims.cast_table(studies).rows) == 3


def test_a_training_by_other_settings_or_code_is_not_crossed(results, finished, tmp_path,
                                                            monkeypatch):  # fmt: skip
    folder = shutil.copytree(finished[0], tmp_path / "results")
    monkeypatch.setenv("LLIE_RESULTS", str(folder))
    studies = both()
    assert claims.missing_for_crossing(studies) == ""
    run = studies["pose"].run(studies["pose"].row("gem_pam"))
    run.write_json("stamp.json", run.read_stamp() | {"train_hash": "another"})
    why = claims.missing_for_crossing(studies)
    assert why.startswith(f"needs {run} by the profile's settings and this code; of two")
    assert claims.cross_table(studies).rows == [["–", "not run", "not run"]]


def test_crossing_says_what_it_needs_and_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    studies = claims.both_tasks(tiny(seeds=[1]))
    assert [s.settings.dataset for s in studies.values()] == list(SETS)
    assert studies["pose"].settings.seeds == (1,)
    table = claims.cross_table(studies)
    assert "not run" in table.rows[0] and "make reproduce PAPER=recognition" in table.note
    assert "not run" in claims.cast_table(studies).rows[0]
    holds, why = claims.casts_differ(studies)
    assert holds is None and "builtin-streets" in why
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pose", "segmentation", "answers"),
    [
        ([1.1, 0.8, 1.1], [0.9, 1.2, 0.9], (True, True)),
        ([1.2, 1.1, 0.7], [1.2, 1.1, 0.7], (False, False)),  # reddish
        ([0.9, 1.2, 0.9], [1.1, 0.8, 1.1], (False, False)),
        ([1.01, 0.98, 1.01], [0.99, 1.02, 0.99], (False, False)),  # within the limit
    ],
)
def test_tints_are_against_the_input(pose, segmentation, answers, monkeypatch):
    before = torch.tensor([1.2, 1.0, 0.8, 0.1])
    found = {"input": before, "segmentation": before * torch.tensor([*segmentation, 2.0]),
             "pose": before * torch.tensor([*pose, 2.0])}  # fmt: skip
    monkeypatch.setattr(claims, "missing_for_crossing", lambda _studies: "")
    monkeypatch.setattr(claims, "casts", lambda _studies: found)
    measured = claims.tints(dict.fromkeys(("segmentation", "pose")))
    assert (measured["purple_of_pose"][0], measured["green_of_segmentation"][0]) == answers


@pytest.mark.parametrize(
    ("own", "foreign", "helps"),
    [(0.2, 0.15, True), (0.2, 0.25, False), (0.09, 0.05, False)],  # the last hurts less only
)
def test_an_enhancer_has_to_help_its_own_recognizer(own, foreign, helps):
    found = {("none", task): [0.1] for task in ("segmentation", "pose")}
    found |= {(a, b): [own if a == b else foreign] for a in ("segmentation", "pose")
              for b in ("segmentation", "pose")}  # fmt: skip
    holds, words = claims.helps_its_own(found)
    assert holds is helps and words.startswith(f"segmentation: own {own - 0.1:+.3f}, foreign ")


# Claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", list(SETS))
def test_every_claim_gets_a_verdict(results, dataset):
    study, scores = tiny(dataset), results[dataset]
    measured = claims.measurements(study, scores, both())
    assert all(holds is not None for name, (holds, _) in measured.items()
               if name not in ("gem_input_size", "deeper_pam"))  # fmt: skip
    assert "needs the rows gem_pam and gem_pam+GEM 128" in measured["gem_input_size"][1]
    verdicts = judging.verdicts(study, scores, measured)
    assert len(verdicts) == 51 and all(v.verdict for v in verdicts)
    assert not any(v.verdict.startswith(("reproduced", "not reproduced")) for v in verdicts)
    assert {v.claim.id: v.verdict for v in verdicts}["1.02"].startswith("holds on builtin-streets")


def measured_rows(values):
    """Scores of mIoU by label."""
    return [dataclasses.replace(SCORE, label=label, value=value) for label, value in values.items()]


@pytest.mark.parametrize(("large", "holds"), [(0.405, True), (0.42, False)])
def test_a_larger_input_of_gem_is_compared(large, holds):
    scores = measured_rows({"gem_pam": 0.4, "gem_pam+GEM 128": large})
    assert claims.gem_input_size(tiny(), scores)[0] is holds


@pytest.mark.parametrize(
    ("alone", "deep", "holds"), [(0.3, 0.395, True), (0.3, 0.35, False), (0.45, 0.45, False)]
)
def test_a_deeper_pam_is_compared(alone, deep, holds):
    values = {"gem_pam": 0.4, "gem_pam+w/o GEM": alone, "gem_pam+w/o GEM, deep PAM": deep}
    assert claims.deeper_pam(tiny(), measured_rows(values))[0] is holds
    del values["gem_pam+w/o GEM, deep PAM"]
    assert claims.deeper_pam(tiny(), measured_rows(values))[0] is None


def test_rows_of_one_value_share_their_mean_rank():
    """Ranks 1, 2, 3, 4 and 1, 3, 3, 3: r = 0.775, however the rows are ordered."""
    for order in (1, -1):
        rows = list(zip("abcd", (10.0, 11.0, 12.0, 13.0), (0.1, 0.2, 0.2, 0.2), strict=True))
        found = [
            dataclasses.replace(SCORE, label=label, metric=metric, value=value)
            for label, psnr, miou in rows[::order]
            for metric, value in (("psnr", psnr), ("miou", miou))
        ]
        holds, words = claims.quality_not_recognition(tiny(), found)
        assert holds is False and "+0.77 (limit 0.5)" in words


def test_parameters_of_ialm_are_shown_with_their_bounds(monkeypatch):
    study = tiny(rows=["ialm"])
    torch.manual_seed(0)
    model = create_enhancer("ialm")
    torch.nn.init.constant_(model.gamma.head.bias, -1000.0)  # next to the lower bound
    monkeypatch.setattr(type(study), "load_as", lambda *_: model)
    rows = {row[0]: row[1:] for row in report.ialm_table(study).rows}
    assert rows["exposure"] == ["0.000", "0.000", "-7 to 7", "0%"]
    assert rows["gamma"] == ["0.200", "0.000", "0.2 to 5", "100%"]
    assert "not run" in report.ialm_table(tiny()).rows[0]


def test_training_leaves_the_shared_recognizer_as_it_was(results):
    study = tiny()
    weights = study.run(study.recognizer_row).checked_weights()
    before = file_hash(weights)
    holds, evidence = claims.recognizer_unchanged(study)
    assert holds and "373 tensors, 0 changed, 0 with a gradient" in evidence
    assert file_hash(weights) == before
