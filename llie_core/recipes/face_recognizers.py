"""The face detectors of paper 2: the training of the small TinaFace, and what each finds."""

import torch
from torch import Tensor, nn

from llie_core.data import collate, face_targets, open_dataset
from llie_core.losses.task_driven import TaskLoss
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.mtcnn import MTCNN
from llie_core.runs import RunKey
from llie_core.training import Experiment, TrainSettings

TINAFACE = "tinaface"
CROWD = "builtin-crowd"
# Least face probability after P-, R- and O-Net at test: the usual ones for the first two, and a
# low one for the last, so that curves over the score are nearly whole.
MTCNN_THRESHOLDS = (0.6, 0.7, 0.05)
# Below it the small TinaFace calls nearly every anchor a face: 25,000 boxes in a picture of WIDER
# FACE, for a difference in AP of at most .003 on the built-in faces.
SMALL_LEAST = 0.1


def recognizer_key(settings) -> RunKey:
    """The run that trains the small TinaFace by day, shared by all rows."""
    return RunKey("joint", CROWD, settings.profile, TINAFACE, "small")


def recognizer_experiment(key: RunKey, settings) -> Experiment:
    """The training of the small TinaFace on faces by day (settings.recognizer_*)."""
    count = settings.recognizer_steps * settings.recognizer_batch
    data = open_dataset(CROWD, "train", size=settings.recognizer_size, count=count)
    torch.manual_seed(key.seed)
    recognizer = create_recognizer(TINAFACE, frozen=False, backbone="small")
    return Experiment(
        key=key,
        model=recognizer,
        objective=TaskLoss(recognizer, face_targets),
        data=data,
        collate=collate,
        settings=TrainSettings(
            steps=settings.recognizer_steps,
            batch_size=settings.recognizer_batch,
            lr=settings.recognizer_lr,
            schedule="cosine",
            grad_clip=5.0,
            workers=settings.workers,
        ),
        identity={"data": data.describe()},
        code=(
            "llie_core.recognizers.tinaface",
            "llie_core.losses.task_driven",
            "llie_core.data.crowd",
        ),
    )


def faces_found(recognizer: nn.Module, images: Tensor) -> list[dict[str, Tensor]]:
    """`boxes` (N, 4) and `scores` (N,) in each of the images (B, 3, H, W), doubtful faces too."""
    if isinstance(recognizer, MTCNN):
        return recognizer.predict(images, MTCNN_THRESHOLDS)
    return recognizer.predict(images, *([SMALL_LEAST] if recognizer.name == "small" else []))
