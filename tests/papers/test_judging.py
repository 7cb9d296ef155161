"""Differences of rows among the findings."""

import numpy as np
from made import a_score
from safetensors.numpy import load_file

from llie_core.papers import judging, open_study
from llie_core.papers.joint.study import read_by
from llie_core.reporting.scores import kept_scores, mean_of, reference_folder

JOINT, ALONE = "zero_dce_pp+2:1", "zero_dce_pp+1:0"


def test_a_difference_is_that_of_the_draws_that_both_rows_have_in_common():
    study = open_study("joint", "reference", "wider-val-a")
    scores = read_by(kept_scores("joint", "wider-val-a"), "retinaface")
    pairs = [(JOINT, ALONE), (JOINT, ""), ("original", JOINT)]
    ((question, answer),) = judging.differences(study, scores, pairs, "ap", "hard", "RetinaFace")
    assert question == "By how much, and how sure (RetinaFace)?"
    folder = reference_folder("joint", "wider-val-a")
    drawn = load_file(folder / "drawn" / "faces-wider-val-a.safetensors")

    def row(label):
        found = [drawn[f"{label}|{seed}|retinaface|ap|hard"].astype(float) for seed in range(3)]
        return np.mean(found, axis=0)

    low, high = np.quantile(row(f"{JOINT}@retinaface") - row(ALONE), (0.025, 0.975))
    values = [mean_of(scores, label=x, metric="ap", subset="hard").mean for x in (JOINT, ALONE)]
    first = f"{values[0] - values[1]:+.3f} [{low:+.3f}, {high:+.3f}];"
    assert f"Zero-DCE++ joint (2:1) over Zero-DCE++ alone (1:0) {first}" in answer
    assert answer.count(" over Zero-DCE++") == 2 and "unpaired" not in answer


def test_without_intervals_nothing_is_said():
    scores = [a_score(label=label, metric="psnr", value=20.0) for label in ("neid", "gamma")]
    study = open_study("neid", "smoke")
    assert judging.differences(study, scores, [("neid", "gamma")], "psnr") == []


def test_rows_without_draws_are_as_if_independent():
    scores = [
        a_score(label=label, metric="psnr", value=value, low=value - 1, high=value + 1)
        for label, value in (("neid", 20.0), ("gamma", 19.0))
    ]
    ((_, answer),) = judging.differences(
        open_study("neid", "smoke"), scores, [("neid", "gamma")], "psnr"
    )
    assert answer.endswith("NEID over gamma 1/2.2 +1.00 [-0.41, +2.41] unpaired.")
