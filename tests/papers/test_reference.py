"""Reference runs: what is kept of a study, when it is refused, and what is in git."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from llie_core.engine import runs
from llie_core.engine.settings import override
from llie_core.files import project_root, read_rows
from llie_core.metrics.resampling import OF_SETS, middle
from llie_core.papers import open_study, reference
from llie_core.reporting import scores as reporting_scores
from llie_core.reporting.drawn import kept_draws
from llie_core.reporting.scores import read_scores, reference_scores, select

KEPT = sorted((project_root() / "results" / "reference").glob("*/*/*/scores.csv"))
kept = pytest.mark.parametrize("path", KEPT, ids=lambda path: "/".join(path.parts[-4:-1]))
MIB = 2**20


# In git ------------------------------------------------------------------------------------------


@kept
def test_every_trained_row_has_its_run_and_its_log(path):
    trained = {(s.label, s.seed) for s in read_scores(path) if s.steps_planned}
    rows = {
        (line["label"], int(line["seed"])): line for line in read_rows(path.with_name("runs.csv"))
    }
    logs = {(line["label"], int(line["seed"])) for line in read_rows(path.with_name("logs.csv"))}
    assert trained and trained <= set(rows) and set(rows) == logs
    for line in rows.values():
        assert line["commit"] and line["train_hash"] and int(line["steps_done"])


@kept
def test_kept_weights_are_of_the_paper_and_can_be_read(path):
    for file in path.parent.glob("weights/*.safetensors"):
        with safe_open(file, "pt") as weights:
            assert list(weights.keys())


def test_what_is_in_git_stays_small():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=project_root(), capture_output=True,
                            text=True, check=False)  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [project_root() / name for name in listed.stdout.split("\0") if name]
    sizes = {file: file.stat().st_size for file in files if file.exists()}
    weights = sum(size for file, size in sizes.items() if file.parent.name == "weights")
    records = sum(size for file, size in sizes.items() if "reference" in file.parts) - weights
    assert sum(sizes.values()) < 24 * MIB and weights < 12 * MIB and records < 5 * MIB


def test_the_joint_reference_has_three_seeds_of_each_ratio():
    scores = reference_scores("joint", "wider-val-a")
    for ratio in ("1:0", "3:1@retinaface", "2:1@retinaface", "1:1@retinaface", "0:1@retinaface"):
        for reader in ("retinaface", "mtcnn"):
            hard = select(scores, label=f"zero_dce_pp+{ratio}", metric="ap", subset="hard",
                          recognizer=reader)  # fmt: skip
            assert sorted(score.seed for score in hard) == [0, 1, 2]
    assert reference_scores("joint", "nowhere") == []


# Keeping -----------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(reference, "project_root", lambda: tmp_path)
    monkeypatch.setattr(runs, "commit", lambda: "c0ffee")
    from llie_core.papers import study as studies

    monkeypatch.setattr(studies, "commit", lambda: "c0ffee")
    return open_study("neid", "smoke", baselines=["gamma"], rows=["neid"],
                      evaluation={"cost_size": [16, 24]},
                      pairs={"size": 16, "test_size": 24})  # fmt: skip


@pytest.fixture
def faces(study):
    """A study whose main number, AP, is no mean over images, evaluated without training."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    return open_study("joint", "smoke", recognizer="mtcnn", readers=["mtcnn"], ratios=[])


def test_kept_runs_hold_scores_images_runs_and_logs(study):
    study.train()
    scores = study.evaluate()
    folder = reference.keep(study, weights=["neid"])
    assert folder.parts[-5:] == ("results", "reference", "neid", "builtin-photos", "smoke")
    assert set(read_scores(folder / "scores.csv")) == set(scores)
    images = read_rows(folder / "per_image" / "quality-builtin-photos.csv")
    assert [line["label"] for line in images] == ["gamma"] * 2 + ["neid"] * 2
    assert [line["label"] for line in read_rows(folder / "runs.csv")] == ["neid"]
    assert len(read_rows(folder / "logs.csv")) == 2
    assert (folder / "weights" / "neid-seed0.safetensors").exists()
    before = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    assert reference.keep(study) == folder  # once more, in place of the first
    assert {path: path.read_bytes() for path in folder.rglob("*.csv")} == before


def test_average_precisions_are_kept_in_draws_of_their_images(faces, monkeypatch):
    monkeypatch.setattr(reporting_scores, "project_root", reference.project_root)
    faces.train()
    scores = faces.evaluate()
    ap = [score for score in scores if score.metric == "ap" and score.low < score.high]
    assert {score.label for score in ap} == {"identity", "gamma", "clahe"}
    for score in ap:
        draws = faces.draws_of(score)
        assert len(draws.images) == 6 and len(draws.values) == OF_SETS
        assert middle(draws.values) == pytest.approx((score.low, score.high), abs=1e-3)
    folder = reference.keep(faces)
    folder.rename(folder.with_name("reference"))
    for score in ap:
        kept, own = kept_draws("joint", faces.settings.dataset, score), faces.draws_of(score)
        if score.subset not in ("easy", "medium", "hard"):  # no claim compares it
            assert kept is None
            continue
        assert kept.images == own.images
        np.testing.assert_array_equal(kept.values, own.values)
    (psnr,) = select(scores, metric="psnr", label="gamma")  # a mean: by the values of its images
    assert middle(faces.draws_of(psnr).values) == pytest.approx((psnr.low, psnr.high), abs=1e-3)


def test_draws_that_were_changed_are_refused(faces):
    faces.train()
    faces.evaluate()
    (file,) = faces.run(faces.row("gamma")).directory.glob("drawn/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="changed since it was written; delete it and run again"):
        faces.evaluate()
    file.unlink()
    faces.evaluate()
    assert file.exists()


@pytest.mark.parametrize("at", ["write_scores", "write_log", "first move", "second move"])
def test_what_was_kept_is_not_lost_where_keeping_fails(study, monkeypatch, at):
    study.train()
    study.evaluate()
    folder = reference.keep(study)
    before = (folder / "scores.csv").read_bytes()
    moves, rename = [], Path.rename

    def fail(*_arguments):
        raise OSError("no space left")

    def counted(path, to):
        moves.append(path)
        return fail() if len(moves) == 1 + (at == "second move") else rename(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "rename", counted) if "move" in at else (reference, at, fail)))
        with pytest.raises(OSError, match="no space left"):
            reference.keep(study)
    if at != "second move":
        assert (folder / "scores.csv").read_bytes() == before
    assert reference.keep(study) == folder and (folder / "scores.csv").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_weights_that_cannot_be_kept_leave_no_folder(study):
    study.train()
    study.evaluate()
    for label, message in (("nied", "no row 'nied'; did you mean"), ("gamma", "it has none")):
        with pytest.raises(ValueError, match=message):
            reference.keep(study, [label])
    assert not (reference.project_root() / "results" / "reference").exists()


def test_unfinished_runs_are_not_kept(study):
    with pytest.raises(FileNotFoundError, match="not trained yet"):
        reference.keep(study)
    study.train()
    with pytest.raises(FileNotFoundError, match="not evaluated on"):
        reference.keep(study)


def test_scores_of_other_settings_are_not_kept(study):
    study.train()
    study.evaluate()
    other = override(study.settings, {"evaluation": {"protocols": []}})
    with pytest.raises(FileNotFoundError, match="not evaluated on quality-builtin-photos under th"):
        reference.keep(type(study)(other))
    reference.keep(study)


def test_scores_are_kept_only_where_they_were_written_whole(study):
    """A kill between scores and record leaves a file that counts for nothing."""
    study.train()
    study.evaluate()
    folder = study.run(study.row("neid")).directory / "scores"
    (folder / "cost-builtin-photos.json").unlink()
    kept = read_scores(reference.keep(study) / "scores.csv")
    assert {s.metric for s in select(kept, label="neid")} & {"parameters", "macs"} == set()
    assert select(kept, label="neid", metric="psnr") and select(kept, label="gamma")
    quality = folder / "quality-builtin-photos.csv"
    whole = quality.read_text()
    quality.write_text(whole.replace("psnr", "ssim", 1))
    with pytest.raises(ValueError, match="changed since it was written; delete it and run again"):
        reference.keep(study)
    quality.write_text(whole)
    quality.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="not evaluated on"):
        reference.keep(study)


@pytest.mark.parametrize(
    ("commits", "message"),
    [(["c0ffee+"], r"changed files \(c0ffee\+\)"), (["c0ffee", "decade"], "several commits")],
)
def test_dirty_or_mixed_commits_are_not_kept(study, monkeypatch, commits, message):
    study.train()
    study.evaluate()
    found = reference.recorded_scores
    monkeypatch.setattr(
        reference, "recorded_scores",
        lambda path: [dataclasses.replace(s, commit=c) for s in found(path) for c in commits],
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        reference.keep(study)


def test_long_logs_are_thinned_to_their_last_line(tmp_path):
    log = [{"step": float(step), "total": 1 / (step + 1)} for step in range(1001)]
    reference.write_log(tmp_path / "logs.csv", {("a", 0): log})
    lines = read_rows(tmp_path / "logs.csv")
    assert len(lines) == reference.LOG_ROWS
    assert (lines[0]["step"], lines[-1]["step"]) == ("0", "1000")
