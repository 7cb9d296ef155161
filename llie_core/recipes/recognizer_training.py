"""How a recipe trains a task model of its own, by day, before it is frozen."""

from collections.abc import Callable

from torch.utils.data import Dataset

from llie_core.data import collate
from llie_core.recognizers import Recognizer
from llie_core.runs import RunKey
from llie_core.training import Experiment, TrainSettings


def recognizer_experiment(
    key: RunKey,
    recognizer: Recognizer,
    objective: Callable,
    data: Dataset,
    settings,
    role: str,
    code: tuple[str, ...],
    identity: dict | None = None,
    **training,
) -> Experiment:
    """The training of `recognizer` under a cosine rate.

    Args:
        recognizer: not frozen; its loss is the objective's.
        data: pictures by day.
        settings: of the recipe; `<role>_steps`, `<role>_batch` and `<role>_lr` are the training's.
        code: modules that decide the weights.
        identity: what of the training code and data do not decide.
        training: further fields of TrainSettings.
    """
    steps, batch, rate = (getattr(settings, f"{role}_{name}") for name in ("steps", "batch", "lr"))
    return Experiment(
        key=key,
        model=recognizer,
        objective=objective,
        data=data,
        collate=collate,
        settings=TrainSettings(
            steps=steps, batch_size=batch, lr=rate, schedule="cosine", workers=settings.workers,
            **training,
        ),
        identity={"data": data.describe(), **(identity or {})},
        code=code,
    )  # fmt: skip
