"""A score as a run would have it."""

from dataclasses import replace

from llie_core.reporting.scores import Score

PSNR = Score(
    run="neid/builtin-photos/quick/neid/seed0", label="neid", recognizer="",
    dataset="builtin-photos", split="test", subset="all", metric="psnr", value=17.0, n=16, seed=0,
    protocol="psnr-rgb-float", profile="quick", device="CPU (1 threads)", precision="float32",
    steps_done=150, steps_planned=117_500, weights="trained here", commit="0123456789",
)  # fmt: skip
UNTRAINED = {"steps_done": 0, "steps_planned": 0, "weights": "none"}
HARD = {
    "label": "zero_dce_pp+2:1", "recognizer": "mtcnn", "dataset": "builtin-faces",
    "subset": "hard", "metric": "ap", "value": 0.5, "n": 96, "protocol": "face-ap-height",
}  # fmt: skip
MIOU = {
    "label": "identity", "recognizer": "deeplabv3plus", "dataset": "builtin-streets",
    "metric": "miou", "value": 0.5, "n": 4, "protocol": "seg-miou",
}  # fmt: skip


def a_score(**changes) -> Score:
    """PSNR of a trained NEID on the built-in pairs, with changes."""
    return replace(PSNR, **changes)
