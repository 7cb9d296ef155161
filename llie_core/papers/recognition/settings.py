"""Settings of paper 1 and its profiles, a start for each data set."""

from dataclasses import dataclass
from typing import Any

from llie_core.engine.loop import TrainSettings
from llie_core.engine.settings import Section, free, override
from llie_core.names import unknown
from llie_core.papers.study import StudySettings
from llie_core.recognizers.classifier import BACKBONE as PRETRAINED
from llie_core.weights import available

# Trained by the recognizer's loss: label → options of the model.
BY_RECOGNIZER: dict[str, dict] = {
    "ialm": {},
    "gem_pam+w/o PAM": {"modules": "gem"},
    "gem_pam+w/o GEM": {"modules": "pam"},
    "gem_pam": {"modules": "both"},
    # For what the paper says but does not show: a GEM that sees more pixels, a deeper PAM alone.
    "gem_pam+GEM 128": {"gem_size": 128},
    "gem_pam+w/o GEM, deep PAM": {"modules": "pam", "deep": True},
}
HUMAN_VISION = "zero_dce"  # trained by its own losses
TRAINED = (HUMAN_VISION, *BY_RECOGNIZER)
OF_THE_PAPER = TRAINED[:-2]  # the rows of its tables
# The paper prints no number of epochs. Ours: 50 for what the recognizer's loss trains, 200 for
# Zero-DCE, of NightCity's 2,998 images or, at batch 8, ExLPose's some 11,400 persons.
STEPS_AN_EPOCH = {"nightcity": 375, "exlpose": 1_425}
EPOCHS = {"train": 50, "zero_dce": 200}
# Lee et al.'s training of ExLPose's recognizer (their released code): 32 epochs of 32 persons a
# step, the rate halved after every 6; augmented by the size of the crop alone.
EXLPOSE_EPOCH = 357
BY_LEE = TrainSettings(
    steps=32 * EXLPOSE_EPOCH, batch_size=32, lr=5e-4, schedule="step", decay=0.5, weight_decay=1e-5,
    milestones=tuple(epoch * EXLPOSE_EPOCH for epoch in range(6, 32, 6)),
)  # fmt: skip

BY_ITS_LOSS = TrainSettings(steps=60, lr=5e-4)
FOR_VISION = TrainSettings(steps=60, weight_decay=1e-4, grad_clip=0.1)
OF_RECOGNIZER = TrainSettings(steps=180, schedule="cosine")


def _check_size(name: str, size: tuple[int, int]) -> None:
    if min(size) < 32:
        raise ValueError(f"{name}: give (height, width), each at least 32 pixels, not {size}")


@dataclass(frozen=True)
class SceneSettings(Section):
    """Images. Sizes as (H, W) in pixels, at least 32.

    size: to which images are brought (ExLPose's crops have the one of its loader, 256×192);
    train_count: scenes of the built-in training sets; day_data: folder of Cityscapes, where the
    recognizer of NightCity is trained ("": below `data`); flips: mirror training images of
    segmentation half of the time (ours; the paper names no augmentation); scale_input: pose images
    come with each channel scaled to a mean of 0.4 (Lee et al.'s low-light input), so that the
    enhancer too sees them so; missing: "skip" reads a partial copy of ExLPose, of which the records
    then say so.
    """

    size: tuple[int, int] = (64, 128)
    train_count: int = 192
    day_data: str = free("")
    flips: bool = True
    scale_input: bool = False
    missing: str = "error"

    def __post_init__(self):
        super().__post_init__()
        _check_size("size", self.size)


@dataclass(frozen=True)
class RecognizerSettings(Section):
    """The frozen recognizer: model and backbone, as the registry has them, and its training.

    weights: file of its authors' checkpoint, which is then read in place of a training; start: file
    of ImageNet's weights, from which the backbone of a CPN of ResNet-50 starts; scale_input: a CPN
    multiplies each channel of a low-light image by what brings the whole image as it was taken to a
    mean of 0.4 (Lee et al.), after the enhancer, which sees the image as it is; scales: range of
    the random size of ExLPose's training crops; gram: see `BothLights`; tuning: steps, from the
    trained weights and at a fifth of the rate, on the low-light training images without an
    enhancer: what this recognizer can reach there at most (0: no such row).
    """

    model: str = "deeplabv3plus"
    backbone: str = "mobilenet_v2"
    weights: str = free("")
    start: str = free("")
    scale_input: bool = False
    scales: tuple[float, float] = (1.0, 1.0)
    gram: float = 0.0
    tuning: int = 0
    train: TrainSettings = OF_RECOGNIZER

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"scales: {self.scales} must be a rising range of positive factors")
        if self.weights and self.start:
            raise ValueError("weights: a checkpoint has no start; leave one of the two out")
        if self.model != "cpn" and (self.start or self.scale_input or self.gram):
            raise ValueError(f"start, scale_input and gram are of a CPN, not of {self.model}")


@dataclass(frozen=True)
class EvaluationSettings(Section):
    """test_count: scenes of the built-in test sets; cost_size: (H, W), the paper's, at which
    parameters and latency are taken; means: mean intensities, of 255, to which the test images of
    a segmentation are darkened in turn (ExLPose's test images have 2.0)."""

    test_count: int = 32
    means: tuple[float, ...] = ()
    cost_size: tuple[int, int] = (512, 1024)

    def __post_init__(self):
        super().__post_init__()
        _check_size("cost_size", self.cost_size)


@dataclass(frozen=True)
class RecognitionSettings(StudySettings):
    """Settings of paper 1.

    rows: trained rows by label (one that `released` names is the authors' instead); train: by the
    recognizer's loss; zero_dce: by its own losses.
    """

    rows: tuple[str, ...] = OF_THE_PAPER
    train: TrainSettings = BY_ITS_LOSS
    zero_dce: TrainSettings = FOR_VISION
    recognizer: RecognizerSettings = RecognizerSettings()
    scenes: SceneSettings = SceneSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def __post_init__(self):
        super().__post_init__()
        for label in self.rows or ("",):
            if label not in TRAINED:
                raise unknown("row", label, TRAINED)
        if self.dataset != "exlpose" and self.recognizer.scales != (1.0, 1.0):
            raise ValueError("recognizer.scales: only the crops of ExLPose are drawn so")
        if is_pose(self.dataset) and self.evaluation.means:
            raise ValueError("evaluation.means: of a segmentation only")
        if self.dataset in PAPERS_OWN and self.train.validate_every:  # their val is tested on
            raise ValueError(f"train.validate_every: {self.dataset} has no images for it here")
        if self.scenes.scale_input and self.recognizer.scale_input:
            raise ValueError("scale_input: of the images or of the recognizer, not of both")


# Profiles --------------------------------------------------------------------------------------

PAPERS_OWN = ("nightcity", "exlpose")
POSE = {
    "scenes": {"size": (128, 96), "train_count": 96},
    "recognizer": {"model": "cpn", "backbone": "tiny", "train": {"steps": 160, "lr": 5e-3}},
    "train": {"steps": 45},
    "evaluation": {"test_count": 24, "cost_size": (256, 192)},
}
BY_DATASET: dict[str, dict] = {
    "builtin-streets": {},
    "camvid": {"scenes": {"size": (96, 128)}},
    "nightcity": {"scenes": {"size": (512, 1024)}},
    "builtin-streets-pose": POSE,
    "exlpose": POSE | {"scenes": {"size": (256, 192)}},
}


def is_pose(dataset: str) -> bool:
    """Whether a data set is read by a pose network, else by a segmentation."""
    return BY_DATASET[dataset].get("recognizer", {}).get("model") == "cpn"


# What the longer runs on two cores change.
REFERENCE: dict[str, dict] = {
    "builtin-streets": {
        "scenes": {"size": (96, 192), "train_count": 384}, "evaluation": {"test_count": 64},
        "train": {"steps": 100}, "zero_dce": {"steps": 80}, "recognizer": {"train": {"steps": 500}},
    },
    "camvid": {
        "scenes": {"size": (176, 240)},
        "train": {"steps": 240, "batch_size": 4, "validate_every": 40},
        "zero_dce": {"steps": 160}, "recognizer": {"train": {"steps": 1000}, "tuning": 240},
        "evaluation": {"means": (30.0, 10.0, 5.0, 2.0)},
    },
    "builtin-streets-pose": {
        "scenes": {"train_count": 512}, "evaluation": {"test_count": 128}, "train": {"steps": 400},
        "zero_dce": {"steps": 160}, "recognizer": {"train": {"steps": 1000}},
    },
}  # fmt: skip


def _start(dataset: str, profile: str) -> RecognitionSettings:
    """What every profile of a data set starts from."""
    known = ("paper",) if dataset in PAPERS_OWN else ("smoke", "quick", "reference")
    if profile not in known:
        raise unknown(f"profile of {dataset}", profile, known)
    start = override(RecognitionSettings(dataset, profile), BY_DATASET[dataset])
    return override(start, {name: {"planned_steps": n} for name, n in _planned(dataset).items()})


def _planned(dataset: str) -> dict[str, int]:
    """Steps of the published schedules, on the paper's data set of the same task."""
    steps = STEPS_AN_EPOCH["exlpose" if is_pose(dataset) else "nightcity"]
    return {name: epochs * steps for name, epochs in EPOCHS.items()}


def smoke(dataset: str) -> RecognitionSettings:
    few = {"steps": 2, "batch_size": 4}
    cost_size = (64, 96) if is_pose(dataset) else (64, 128)
    changes: dict[str, Any] = {
        "rows": ("zero_dce", "gem_pam"), "train": few, "zero_dce": few,
        "recognizer": {"train": {"steps": 4, "batch_size": 4}},
        "scenes": {"train_count": 16}, "evaluation": {"test_count": 4, "cost_size": cost_size},
    }  # fmt: skip
    if dataset == "camvid":
        changes["scenes"] = {"size": (64, 96)}
    return override(_start(dataset, "smoke"), changes)


def quick(dataset: str) -> RecognitionSettings:
    return _pretrained(_start(dataset, "quick"))


def reference(dataset: str) -> RecognitionSettings:
    start = _pretrained(_start(dataset, "reference"))
    return override(start, {"seeds": (0, 1, 2), **REFERENCE[dataset]})


def _pretrained(settings: RecognitionSettings) -> RecognitionSettings:
    """The same with a segmentation that starts from ImageNet, where the weights are installed.

    On CamVid (176×240) it has mIoU .376 in normal light and .317 at dusk after 100 steps of 8
    images; from random weights, .344 and .159 after 1,000.
    """
    if is_pose(settings.dataset) or not available("efficientnet-lite0"):
        return settings
    return override(settings, {"recognizer": {"backbone": PRETRAINED}})


def paper(dataset: str) -> RecognitionSettings:
    start = _start(dataset, "paper")
    planned = _planned(dataset)
    changes: dict[str, Any] = {
        "rows": TRAINED,
        "train": {"steps": planned["train"], "precision": "auto"},
        "zero_dce": {"steps": planned["zero_dce"], "lr": 1e-4, "precision": "auto"},
        "recognizer": {"train": {"steps": 60_000}},
        "workers": 8,
    }  # fmt: skip
    if dataset == "exlpose":
        changes["recognizer"] = {
            "backbone": "resnet50", "scale_input": True, "scales": (0.7, 1.35), "gram": 1e-4,
            "train": BY_LEE,
        }  # fmt: skip
    return override(start, changes)
