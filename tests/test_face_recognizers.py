"""The face detectors of paper 2: what the small TinaFace learns, and doubtful faces."""

from types import SimpleNamespace

import pytest
import torch

from llie_core.data import face_targets, open_dataset
from llie_core.recipes.face_recognizers import faces_found, tinaface_experiment, tinaface_key
from llie_core.recognizers import create_recognizer
from llie_core.training import fit, load_weights

SETTINGS = SimpleNamespace(
    profile="smoke", recognizer_steps=40, recognizer_batch=4, recognizer_lr=3e-3,
    recognizer_size=64, workers=0,
)  # fmt: skip


def test_the_small_tinaface_learns_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    key = tinaface_key(SETTINGS)
    run = fit(tinaface_experiment(key, SETTINGS), "cpu", quiet=True)
    recognizer = create_recognizer("tinaface", backbone="small")
    data = open_dataset("builtin-crowd", "test", size=64, count=24)
    batch = {name: [data[i][name] for i in range(24)] for name in ("image", "boxes", "ignore")}
    images, targets = torch.stack(batch["image"]), face_targets(batch)
    with torch.no_grad():
        before = recognizer.loss(images, targets)["total"]
        load_weights(recognizer, run.weights_path)
        after = recognizer.loss(images, targets)["total"]
    assert after < 0.85 * before


def test_each_detector_gives_doubtful_faces_too():
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    data = open_dataset("builtin-faces", "test", size=160)
    images = torch.stack([data[i]["image"] for i in range(8)])  # in the dark
    for recognizer in (create_recognizer("mtcnn"), create_recognizer("tinaface", backbone="small")):
        found = faces_found(recognizer, images)
        assert len(found) == 8
        for one in found:
            assert one["boxes"].shape == (len(one["scores"]), 4)
    scores = torch.cat([one["scores"] for one in faces_found(create_recognizer("mtcnn"), images)])
    assert len(scores) and scores.min() < 0.6  # below what MTCNN takes by itself
