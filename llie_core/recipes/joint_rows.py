"""How paper 2 names its rows: by the ratio of the two losses, and by who trains and who reads.

"2:1" is W_up : W_down with MTCNN's loss, "2:1@tinaface" the same with TinaFace's.
"""

from collections.abc import Iterable
from dataclasses import replace

from llie_core.losses.task_driven import weights_of_ratio
from llie_core.recipes.face_recognizers import TINAFACE
from llie_core.reporting.scores import Score

RATIOS = ("1:0", "1:1", "3:2", "2:1", "3:1", "2:3", "1:3", "0:1")  # rows of Table 4.2
ALONE, JOINT = "1:0", "2:1"  # Zero-DCE++ by itself; the thesis's choice
RECOGNIZERS = ("mtcnn", TINAFACE)


def split_variant(variant: str) -> tuple[str, str]:
    """Ratio and the recognizer whose loss trains: "2:1@tinaface", or "2:1" for MTCNN."""
    ratio, _, trainer = variant.partition("@")
    return ratio, trainer or RECOGNIZERS[0]


def variant_of(ratio: str, recognizer: str) -> str:
    """The variant of a row: the ratio, and the recognizer where it matters and is not MTCNN.

    recognizer: the one whose loss trains where `ratio` names none.
    """
    weights, _, trainer = ratio.partition("@")
    trainer = trainer or recognizer
    needed = weights_of_ratio(weights)[1] and trainer != RECOGNIZERS[0]
    return f"{weights}@{trainer}" if needed else weights


def check_ratio(ratio: str) -> None:
    """ValueError where `ratio` is not W_up:W_down, perhaps with @recognizer."""
    weights, at, trainer = ratio.partition("@")
    if at and trainer not in RECOGNIZERS:
        raise ValueError(f"ratio {ratio!r}: behind @ stands one of {', '.join(RECOGNIZERS)}")
    weights_of_ratio(weights)


def read_by(scores: Iterable[Score], reader: str) -> list[Score]:
    """The thesis's rows for one detector, which reads what its own loss has trained.

    Rows without a detector's loss are there too; variants are plain ratios, as the tables have it.
    """
    own = []
    for score in scores:
        ratio, trainer = split_variant(score.variant)
        trained = bool(ratio) and bool(weights_of_ratio(ratio)[1])
        if score.recognizer == reader and (not trained or trainer == reader):
            own.append(replace(score, variant=ratio))
    return own
