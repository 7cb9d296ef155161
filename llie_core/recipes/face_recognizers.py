"""The face detectors of paper 2: the training of the small TinaFace, and what each finds."""

import torch
from torch import Tensor

from llie_core.data import face_targets, open_dataset
from llie_core.losses.task_driven import TaskLoss
from llie_core.recipes.recognizer_training import recognizer_experiment
from llie_core.recognizers import Recognizer, create_recognizer
from llie_core.recognizers.mtcnn import MTCNN
from llie_core.runs import RunKey
from llie_core.training import Experiment

TINAFACE = "tinaface"
CROWD = "builtin-crowd"
# Least face probability after P-, R- and O-Net at test: the usual ones for the first two, and a
# low one for the last, so that curves over the score are nearly whole.
MTCNN_THRESHOLDS = (0.6, 0.7, 0.05)
# Below it the small TinaFace calls nearly every anchor a face: 25,000 boxes in a picture of WIDER
# FACE, for a difference in AP of at most .003 on the built-in faces.
SMALL_LEAST = 0.1


def tinaface_key(settings) -> RunKey:
    """The run that trains the small TinaFace by day, shared by all rows."""
    return RunKey("joint", CROWD, settings.profile, TINAFACE, "small")


def small_tinaface(key: RunKey) -> Recognizer:
    """The untrained small TinaFace, initialised from the seed."""
    torch.manual_seed(key.seed)
    return create_recognizer(TINAFACE, frozen=False, backbone="small")


def tinaface_experiment(key: RunKey, settings) -> Experiment:
    """The training of the small TinaFace on faces by day (settings.recognizer_*)."""
    count = settings.recognizer_steps * settings.recognizer_batch
    data = open_dataset(CROWD, "train", size=settings.recognizer_size, count=count)
    recognizer = small_tinaface(key)
    code = ("llie_core.recognizers.tinaface", "llie_core.losses.task_driven",
            "llie_core.synthetic.crowd")  # fmt: skip
    objective = TaskLoss(recognizer, face_targets)
    return recognizer_experiment(
        key, recognizer, objective, data, settings, "recognizer", code, grad_clip=5.0
    )


def faces_found(recognizer: Recognizer, images: Tensor) -> list[dict[str, Tensor]]:
    """`boxes` (N, 4) and `scores` (N,) in each of the images (B, 3, H, W), doubtful faces too."""
    if isinstance(recognizer, MTCNN):
        return recognizer.predict(images, MTCNN_THRESHOLDS)
    if recognizer.name == "small":
        return recognizer.predict(images, SMALL_LEAST)
    return recognizer.predict(images)
