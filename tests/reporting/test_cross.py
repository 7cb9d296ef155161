"""The table of every enhancer before every recognizer, from files of images."""

import pytest
from made import MIOU, UNTRAINED, a_score

from llie_core.files import read_rows, write_rows
from llie_core.reporting import scores as scores_of
from llie_core.reporting.cross import (
    Reading,
    cross_tables,
    kept_readings,
    read_folder,
    report_readings,
)
from llie_core.reporting.scores import write_scores


def score(dataset="camvid", metric="miou", recognizer="deeplabv3plus", label="identity", seed=0,
          value=0.5):  # fmt: skip
    run = f"recognition/{dataset}/quick/{label}/seed{seed}"
    own = {"run": run, "label": label, "recognizer": recognizer, "dataset": dataset, "seed": seed}
    return a_score(**MIOU | UNTRAINED | own | {"metric": metric, "value": value})


def test_images_weigh_by_their_faces():
    values = {"identity": {"a": [0.0], "b": [0.0]}, "clahe": {"a": [1.0], "b": [0.0]}}
    reading = Reading("mtcnn", "builtin-faces", "run", "faces", values, {"a": 3.0, "b": 1.0})
    assert reading.gain("clahe") == (0.75, 0.0, 1.0)


def test_gains_are_paired_and_seeds_averaged():
    """Two seeds of a row; the image that it alone was given has no pair."""
    reading = Reading("mtcnn", "builtin-faces", "run", "faces")
    reading.values = {
        "identity": {"a": [0.2], "b": [0.6]},
        "clahe": {"a": [0.5, 0.3], "b": [0.8, 0.8], "c": [9.0]},
        "original": {"a": [1.0], "b": [1.0]},
    }
    reading.weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert reading.gain("clahe") == pytest.approx((0.2, 0.2, 0.2))
    assert reading.gain("gamma") is None and not reading.blind
    reading.task = "saliency"  # whose MAE is better below
    assert reading.gain("clahe")[0] == pytest.approx(-0.2) and reading.blind


@pytest.mark.parametrize(("gains", "blind"), [
    ((0.02, 0.02, 0.03), False),  # little, but in every image
    ((0.6, -0.1, 0.0), True),
    ((0.0, 0.0, 0.0), True),
])  # fmt: skip
def test_a_recognizer_is_blind_unless_normal_light_is_surely_better(gains, blind):
    reading = Reading("mtcnn", "builtin-faces", "run", "faces")
    names = dict(zip("abc", gains, strict=True))
    reading.values = {
        "identity": {name: [0.2] for name in names},
        "original": {name: [0.2 + gain] for name, gain in names.items()},
    }
    reading.weights = dict.fromkeys(names, 1.0)
    assert reading.blind is blind


@pytest.fixture
def folder(tmp_path):
    """Faces read by two detectors, one image without a face, and a file of a task without one."""
    scores = [score("builtin-faces", "ap", reader) for reader in ("mtcnn", "retinaface")]
    write_scores(tmp_path / "scores.csv", scores)
    lines = [
        {"label": label, "seed": 0, "name": name, "faces": faces, "recall_mtcnn": value,
         "recall_retinaface": 0.5}
        for label, values in (("identity", (0.0, 0.5)), ("clahe", (0.5, 1.0)), ("original", (1, 1)))
        for (name, faces), value in zip((("a", 4), ("b", 2)), values, strict=True)
    ]  # fmt: skip
    lines.append(lines[0] | {"name": "c", "faces": 0, "recall_mtcnn": "nan"})
    write_rows(tmp_path / "per_image" / "faces-builtin-faces.csv", lines)
    write_rows(tmp_path / "per_image" / "quality-lol.csv", [{"label": "identity", "name": "a"}])
    return tmp_path


def test_the_table_of_a_folder(folder):
    (table,) = cross_tables(read_folder(folder, "this run"))
    assert table.caption.endswith("every recognizer: faces")
    assert table.header == [
        "", "MTCNN, builtin-faces: recall, n = 2",
        "RetinaFace (blind), builtin-faces: recall, n = 2",
    ]  # fmt: skip
    assert [row[0] for row in table.rows] == ["low light", "best", "normal light", "CLAHE"]
    assert [row[1] for row in table.rows] == [
        f"{1 / 6:.3f}", f"{4 / 6:.3f} (CLAHE)", "1.000", "+0.500 [+0.500, +0.500]",
    ]  # fmt: skip
    assert table.rows[3][2] == "+0.000 [+0.000, +0.000]"
    assert table.note.endswith("Runs: this run.")


def test_a_recognizers_own_row_is_no_enhancer(folder):
    path = folder / "per_image" / "faces-builtin-faces.csv"
    lines = read_rows(path)
    write_rows(path, [*lines, lines[0] | {"label": "mtcnn"}])
    assert "mtcnn" not in read_folder(folder, "")[0].values


def test_runs_of_a_report_are_read_by_their_scores(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    report = tmp_path / "recognition" / "camvid" / "quick"
    rows = [score(label=label, seed=seed) for label in ("identity", "clahe") for seed in (0, 1)]
    write_scores(report / "scores.csv", rows)
    for label, value in (("identity", 0.25), ("clahe", 0.5)):
        for seed in (0, 1):
            own = report / label / "0123" / f"seed{seed}"
            write_scores(
                own / "scores" / "segmentation-camvid.csv", [score(label=label, seed=seed)]
            )
            lines = [{"name": "a", "miou": value}, {"name": "b", "miou": ""}]
            write_rows(own / "per_image" / "segmentation-camvid.csv", lines)
    (reading,) = report_readings("quick")
    assert reading.recognizer == "deeplabv3plus" and reading.run == "recognition/camvid/quick"
    assert reading.values["clahe"] == {"a": [0.5, 0.5]}
    assert report_readings("smoke") == []
    earlier = report / "clahe" / "4567" / "seed0"  # of other settings: another value
    write_scores(earlier / "scores" / "segmentation-camvid.csv", [score(label="clahe", value=0.9)])
    write_rows(earlier / "per_image" / "segmentation-camvid.csv", [{"name": "a", "miou": 0.9}])
    assert report_readings("quick")[0].values["clahe"] == {"a": [0.5, 0.5]}
    (report / "scores.csv").write_text("label,value\nclahe,1\n")  # of an earlier version
    assert report_readings("quick") == []


def test_kept_runs_are_in_the_table():
    readings = kept_readings()
    mtcnn = next(r for r in readings if (r.recognizer, r.dataset) == ("mtcnn", "wider-val-a"))
    low, normal = mtcnn.mean("identity"), mtcnn.mean("original")
    assert low < normal and mtcnn.gain("original")[0] == pytest.approx(normal - low)
    tables = cross_tables(readings)
    shown = [reading for reading in readings if reading.values]
    assert sum(len(table.header) - 1 for table in tables) == len(shown)
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.header)} and len(table.header) < 8


def test_a_set_without_the_column_is_named(folder):
    write_scores(folder / "scores.csv", [score("builtin-faces", "ap", "mtcnn"), score("streets")])
    lines = [{"label": "identity", "seed": 0, "name": "a", "objects": 2, "detections": "1"}]
    write_rows(folder / "per_image" / "detection-streets.csv", lines)
    readings = read_folder(folder, "drgn/lol/reference")
    objects, faces = cross_tables(readings)
    said = "Not kept of single images: recall of streets (drgn/lol/reference)."
    assert objects.note.endswith(said) and said not in faces.note
    assert len(faces.header) == 3 and len(readings) == 3


def test_a_set_kept_by_a_profile_of_no_paper_alone_is_left_out(tmp_path, monkeypatch):
    kept = tmp_path / "results" / "reference" / "neid" / "lol" / "photographs"
    write_scores(kept / "scores.csv", [score()])
    monkeypatch.setattr(scores_of, "project_root", lambda: tmp_path)
    assert kept_readings() == []
