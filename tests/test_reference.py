"""The committed reference runs: readable, complete, and the sum of their parts."""

from pathlib import Path

import pytest
from safetensors import safe_open

from llie_core.files import project_root
from llie_core.reporting.scores import read_scores, reference_scores, select, summarise
from llie_core.runs import RunKey, read_json

REFERENCE = project_root() / "results" / "reference"
SETS = sorted(path.parent for path in REFERENCE.glob("*/*/scores.csv"))


@pytest.mark.parametrize("folder", SETS, ids=lambda path: "/".join(path.parts[-2:]))
def test_all_scores_of_a_set_are_those_of_its_runs(folder: Path):
    runs = [read_scores(path) for path in sorted(folder.glob("*/seed*/scores.csv"))]
    together = {score for scores in runs for score in scores}
    assert set(reference_scores(*folder.parts[-2:])) == together


@pytest.mark.parametrize("folder", SETS, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_trained_row_has_its_stamp_log_and_weights(folder: Path):
    trained = [s for s in reference_scores(*folder.parts[-2:]) if s.steps_planned]
    assert trained
    for s in {score.run: score for score in trained}.values():
        key = RunKey(*folder.parts[-2:], s.profile, s.method, s.variant, s.seed)
        home = folder / key.directory.parent.name / key.directory.name
        stamp = read_json(home / "stamp.json")
        assert stamp["steps_done"] and stamp["commit"] and stamp["train_hash"]
        assert len((home / "log.csv").read_text().splitlines()) == stamp["steps_done"] + 1
        with safe_open(home / "weights.safetensors", "pt") as weights:
            assert list(weights.keys())
        assert (home / "weights.safetensors").stat().st_size < 25 * 2**20


def test_joint_reference_has_three_seeds_of_each_ratio():
    scores = reference_scores("joint", "builtin-faces")
    for ratio in ("1:0", "3:1", "2:1", "1:1", "0:1", "2:1@tinaface"):
        for reader in ("mtcnn", "tinaface"):
            hard = select(scores, variant=ratio, metric="ap", subset="hard", recognizer=reader)
            assert sorted(score.seed for score in hard) == [0, 1, 2]
            assert 0 < summarise(score.value for score in hard).mean < 1
