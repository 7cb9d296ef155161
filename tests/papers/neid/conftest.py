"""NEID's study at the smallest size, run once."""

import shutil

import pytest

from llie_core.papers import open_study
from llie_core.papers.neid.study import SEQUENCE, UNET

ROWS = ["neid", f"neid+{UNET}", "neid+LE", f"neid+{SEQUENCE}"]
TINY = {
    "baselines": ["identity", "gamma"], "rows": ROWS,
    "pairs": {"size": 16, "train_count": 2, "test_size": 24},
    "evaluation": {
        "cost_size": [16, 24], "protocols": ["psnr-rgb-float", "ssim-valid-gaussian"],
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def open_tiny():
    """open_tiny(**changes): the study under TINY, with some settings replaced."""
    return lambda **changes: open_study("neid", "smoke", **{**TINY, **changes})


@pytest.fixture(scope="session")
def done(open_tiny, tmp_path_factory):
    """All rows run once on tiny images: (results folder, scores)."""
    folder = tmp_path_factory.mktemp("neid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        study = open_tiny()
        study.train(device="cpu")
        scores = study.evaluate(device="cpu")
    yield folder, scores
    shutil.rmtree(folder)  # the weights of four networks


@pytest.fixture
def study(open_tiny, done, monkeypatch):
    """The finished study, opened anew."""
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    return open_tiny()
