"""Paper 1: GEM+PAM, trained by the loss of a frozen recognizer.

S. Ono, Y. Ogino, T. Toizumi, A. Ito, M. Tsukada, "Recognition-Oriented Low-Light Image Enhancement
based on Global and Pixelwise Optimization".

Two downstream tasks, a report each: segmentation (builtin-streets, camvid, nightcity) and pose
(builtin-streets-pose, exlpose). Every row is an enhancer before the same frozen recognizer:

    identity, gamma, clahe     nothing learned
    an external folder         LLFlow, as the paper has it, or any other program's images
    original                   the normal-light image of the same scene, where there is one
    zero_dce                   trained for human vision, by its own losses on low-light images
    ialm, gem_pam, and its     trained by the recognizer's loss
    variants w/o PAM, w/o GEM

The recognizer is trained once, on normal-light images (pose: on both lights), or read from its
authors' file (setting recognizer: {weights: FILE}), and shared.

Differs from the paper: it names neither epochs nor augmentation; ours are in settings.py. Training
images of segmentation are mirrored half of the time, those of pose are not.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

from llie_core.data import mask_targets, open_dataset, pose_targets
from llie_core.data.camvid import CAMVID_CLASSES
from llie_core.data.exlpose import ExLPose
from llie_core.data.pose import ScaledPersons
from llie_core.data.segmentation import CITYSCAPES_CLASSES
from llie_core.data.wrappers import Augmented, Cached, DarkenedTo, MeanScaled, Resized
from llie_core.dataset import SizedDataset
from llie_core.engine.loop import Experiment
from llie_core.files import project_root
from llie_core.hashing import file_hash
from llie_core.losses.task_driven import BothLights, TaskLoss
from llie_core.losses.zero_reference import zero_dce_loss
from llie_core.names import split_label, title_of
from llie_core.papers.recognition.settings import (
    BY_DATASET,
    BY_RECOGNIZER,
    HUMAN_VISION,
    PAPERS_OWN,
    TRAINED,
    RecognitionSettings,
    is_pose,
    paper,
    quick,
    reference,
    smoke,
)
from llie_core.papers.rows import BASELINES, NORMAL_LIGHT, Released, Row, Trained
from llie_core.papers.study import Study, TestSet
from llie_core.recognizers import Recognizer
from llie_core.recognizers.cpn import CPN
from llie_core.reporting.scores import Score, mean_of, select
from llie_core.tasks.base import Task
from llie_core.tasks.pose import ALL, Pose
from llie_core.tasks.quality import Cost
from llie_core.tasks.segmentation import Segmentation
from llie_core.tasks.validation import ValidationTask

DAY, NIGHT = "day", "night"  # the two lights; NIGHT stands for any low light
TUNED = "tuned in low light"  # subset of scores by the recognizer that was trained there too


# The downstream tasks --------------------------------------------------------------------------


@dataclass(frozen=True)
class Downstream(ABC):
    """What the two tasks differ in.

    metric: the number that the paper's tables print, shown as `title`; whole: its subset on all of
    a test set;
    least: of it in normal light, below which the recognizer is near chance and decides no claim;
    learns_in: light of the recognizer's training images; targets: batch → the recognizer's targets.
    """

    settings: RecognitionSettings

    kind: ClassVar[str]
    metric: ClassVar[str]
    title: ClassVar[str]
    whole: ClassVar[str]
    least: ClassVar[float]
    learns_in: ClassVar[str]
    targets: ClassVar[Callable]

    @abstractmethod
    def options(self) -> dict:
        """Arguments of the recognizer's constructor."""

    @abstractmethod
    def open(self, split: str, light: str) -> SizedDataset:
        """The images of a split in a light, as they are evaluated."""

    @abstractmethod
    def task(self, recognizer: Recognizer, light: str = NIGHT, parts: bool = False) -> Task:
        """What is measured on images of a light: the whole set's metric, and its parts."""

    def augmented(self, data: SizedDataset) -> SizedDataset:
        """Training images as rows and recognizer are given them."""
        return data

    def drawn_for_recognizer(self, data: SizedDataset) -> SizedDataset:
        """Training images of the recognizer, from `augmented` ones."""
        return data

    def objective(self, recognizer: Recognizer) -> TaskLoss:
        """The recognizer's own objective."""
        return TaskLoss(recognizer, self.targets)

    def drawn(self, split: str, light: str) -> SizedDataset:
        """The built-in images."""
        settings = self.settings
        train, test = settings.scenes.train_count, settings.evaluation.test_count
        return open_dataset(
            settings.dataset, split, size=settings.scenes.size, light=light,
            count=train if split == "train" else test,
        )  # fmt: skip


class Streets(Downstream):
    """Segmentation: the recognizer learns in normal light (Cityscapes) and reads NightCity."""

    kind, metric, title, whole = "segmentation", "miou", "mIoU", "all"
    least, learns_in = 0.1, DAY
    targets = staticmethod(mask_targets)

    def augmented(self, data: SizedDataset) -> SizedDataset:
        return Augmented(data, flips="horizontal") if self.settings.scenes.flips else data

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by id."""
        return CAMVID_CLASSES if self.settings.dataset == "camvid" else CITYSCAPES_CLASSES

    def options(self) -> dict:
        return {"classes": len(self.classes), "encoder": self.settings.recognizer.backbone}

    def open(self, split: str, light: str) -> SizedDataset:
        name, root, scenes = self.settings.dataset, self.settings.data, self.settings.scenes
        if name == "builtin-streets":
            return Cached(self.drawn(split, light))
        if name == "camvid":
            data = open_dataset(name, split, root, subset=DAY if light == DAY else "dusk")
            return Cached(Resized(data, scenes.size, quantised=True))
        if light == DAY:
            name, root = "cityscapes", scenes.day_data or root
        official = "val" if split == "test" else split
        return Resized(open_dataset(name, official, root), scenes.size)

    def task(self, recognizer: Recognizer, light: str = NIGHT, parts: bool = False) -> Task:
        return Segmentation(recognizer, self.classes, parts=parts)


class Persons(Downstream):
    """Pose of single persons (ExLPose): the recognizer learns in both lights."""

    kind, metric, title, whole = "pose", "ap", "AP", ALL
    least, learns_in = 0.2, NIGHT
    targets = staticmethod(pose_targets)

    def drawn_for_recognizer(self, data: SizedDataset) -> SizedDataset:
        scales = self.settings.recognizer.scales
        if scales == (1.0, 1.0):
            return data
        if not isinstance(data, ExLPose):
            raise ValueError("recognizer.scales: not with scenes.scale_input")
        return ScaledPersons(data, scales)

    def objective(self, recognizer: Recognizer) -> TaskLoss:
        return BothLights(recognizer, self.targets, self.settings.recognizer.gram)

    def options(self) -> dict:
        own = self.settings.recognizer
        return {"joints": 14, "backbone": own.backbone, "scale_input": own.scale_input}

    def open(self, split: str, light: str) -> SizedDataset:
        name, root, scenes = self.settings.dataset, self.settings.data, self.settings.scenes
        if name == "exlpose":
            if scenes.size != ExLPose.size:
                raise ValueError(f"scenes.size: the crops of ExLPose are {ExLPose.size}")
            lit = {"light": "well"} if light == DAY else {"light": "low", "paired": True}
            data = open_dataset(name, split, root, missing=scenes.missing, **lit)
        else:  # crops are resized, so they are rounded before they are held as 8 bits
            data = Cached(Resized(self.drawn(split, light), scenes.size, quantised=True))
        return MeanScaled(data) if scenes.scale_input and light != DAY else data

    def task(self, recognizer: Recognizer, light: str = NIGHT, parts: bool = False) -> Task:
        assert isinstance(recognizer, CPN)
        return Pose(recognizer, "well" if light == DAY else "low", parts=parts)


# The study -------------------------------------------------------------------------------------


class RecognitionStudy(Study):
    title = "GEM+PAM, trained by the loss of a frozen recognizer"
    question = "Does a frozen recognizer find more behind an enhancer trained by its own loss?"
    datasets = tuple(BY_DATASET)
    profiles = {"smoke": smoke, "quick": quick, "reference": reference, "paper": paper}
    settings: RecognitionSettings

    @classmethod
    def default_datasets(cls, profile: str, data: str = "") -> tuple[str, ...]:
        return PAPERS_OWN if profile == "paper" else super().default_datasets(profile)

    def is_papers_own(self) -> bool:
        # The paper's recognizers are pretrained ones.
        given = isinstance(self.recognizer_row.weights, Released)
        return self.settings.dataset in PAPERS_OWN and given

    def blind_readers(self, scores: Iterable[Score]) -> dict[str, str]:
        own = self.downstream
        found = select(scores, metric=own.metric, subset=DAY)
        day = mean_of(found)
        why = f"near chance: {own.title} {day:.3f} in normal light, less than {own.least:g}"
        return {score.recognizer: why for score in found} if day.mean < own.least else {}

    @cached_property
    def downstream(self) -> Downstream:
        """Segmentation or pose, as the data set has it."""
        return (Persons if is_pose(self.settings.dataset) else Streets)(self.settings)

    # Rows --------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        settings = self.settings
        labels = [x for x in TRAINED if x in settings.rows and x not in settings.released]
        given = self.given_rows((*BASELINES, *labels))
        fixed = [*(Row(model, model) for model in BASELINES), *given]
        if settings.dataset.startswith("builtin"):
            fixed.append(NORMAL_LIGHT)
        return [*fixed, *(self.trained_row(x, seed) for x in labels for seed in settings.seeds)]

    def possible_rows(self) -> list[Row]:
        return [self.trained_row(label, self.settings.seeds[0]) for label in TRAINED]

    def main_row(self) -> Row:
        chosen = (label for label in ("gem_pam", *TRAINED) if label in self.settings.rows)
        label = next(chosen, "gem_pam")
        compared = {row.label: row for row in self.first_seed()}  # trained here, or released
        return compared.get(label) or self.trained_row(label, self.settings.seeds[0])

    def trained_row(self, label: str, seed: int) -> Row:
        """A row that is trained, by the recognizer's loss or by Zero-DCE's own."""
        given, settings = {"scenes": self.settings.scenes}, self.settings
        if label == HUMAN_VISION:
            trained = Trained(self.human_vision_experiment, given | {"train": settings.zero_dce})
            return Row(label, label, weights=trained, seed=seed)
        trained = Trained(self.recognition_experiment, given | {"train": settings.train})
        model, _ = split_label(label)
        options = BY_RECOGNIZER.get(label, {})
        return Row(label, model, options, trained, seed, (self.recognizer_row,))

    def method_row(self, name: str, seed: int) -> Row:
        """Another enhancer, trained as GEM+PAM is: by the recognizer's loss."""
        return self.trained_row(name, seed)

    @property
    def recognizer_row(self) -> Row:
        """The recognizer, shared by all rows and seeds: trained here, or its authors'."""
        own = self.settings.recognizer
        options, title = self.downstream.options(), f"{title_of(own.model)} ({own.backbone})"
        if own.weights:
            return Row(own.model, own.model, options, Released(own.weights), title=title)
        read: dict[str, Any] = {"scenes": self.settings.scenes, "recognizer": own}
        if own.start:
            read["start"] = file_hash(project_root() / own.start)
        trained = Trained(self.recognizer_experiment, read)
        return Row(own.model, own.model, options, trained, title=title)

    def recognizer(self, device: str = "cpu") -> Recognizer:
        """The trained recognizer, frozen."""
        return self.load_as(Recognizer, self.recognizer_row, device)

    @property
    def tuned_row(self) -> Row:
        """The recognizer after a further training in low light, of which it is the upper bound."""
        own, row = self.settings.recognizer, self.recognizer_row
        read = {"scenes": self.settings.scenes, "tuning": own.tuning, "train": own.train}
        trained = Trained(self.tuning_experiment, read)
        label, title = f"{row.label}+{TUNED}", f"{row.shown}, {TUNED}"
        return Row(label, row.model, row.options, trained, needs=(row,), title=title)

    # Training ----------------------------------------------------------------------------------

    def images(self, split: str, light: str) -> SizedDataset:
        """The images of a split in a light, opened once."""
        key = f"{split} {light}"
        if key not in self._data:
            self._data[key] = self.downstream.open(split, light)
        return self._data[key]

    def train_images(self, light: str) -> SizedDataset:
        """Training images, mirrored where the task has it."""
        return self.downstream.augmented(self.images("train", light))

    def check_data(self) -> None:
        own = self.settings.recognizer
        self.images("train", NIGHT)
        if not own.weights:
            self.images("train", self.downstream.learns_in)
        for name, file in (("weights", own.weights), ("start", own.start)):
            if file and not (project_root() / file).is_file():
                raise FileNotFoundError(f"recognizer.{name}: no file {project_root() / file}")

    def recognition_experiment(self, row: Row, recognizer: Recognizer) -> Experiment:
        """An enhancer trained by the frozen recognizer's loss, and nothing else."""
        loss = TaskLoss(recognizer, self.downstream.targets)
        train, validate = self.settings.train, None
        if train.validate_every:
            task = self.downstream.task(recognizer)
            validate = ValidationTask(task, self.images("val", NIGHT), self.downstream.metric)
        data = self.train_images(NIGHT)
        return self.training(row, row.build(), loss, data, train, validate)

    def human_vision_experiment(self, row: Row) -> Experiment:
        """Zero-DCE trained by its own losses."""
        data = self.train_images(NIGHT)
        return self.training(row, row.build(), zero_dce_loss, data, self.settings.zero_dce)

    def recognizer_experiment(self, row: Row) -> Experiment:
        """The recognizer, before it is frozen."""
        recognizer, downstream, own = row.build(), self.downstream, self.settings.recognizer
        assert isinstance(recognizer, Recognizer)
        if own.start:
            assert isinstance(recognizer, CPN)  # as the settings have it
            recognizer.load_imagenet_backbone(project_root() / own.start)
        data = downstream.drawn_for_recognizer(self.train_images(downstream.learns_in))
        loss = downstream.objective(recognizer)
        return self.training(row, recognizer, loss, data, own.train)

    def tuning_experiment(self, row: Row, recognizer: Recognizer) -> Experiment:
        """The recognizer trained on in low light, without an enhancer."""
        own, tuned = self.settings.recognizer, row.build()
        assert isinstance(tuned, Recognizer)
        tuned.load_state_dict(recognizer.state_dict())
        train = replace(own.train, steps=own.tuning, lr=own.train.lr / 5)
        loss = TaskLoss(tuned, self.downstream.targets)
        return self.training(row, tuned, loss, self.train_images(NIGHT), train)

    # Test sets ---------------------------------------------------------------------------------

    def test_sets(self) -> list[TestSet]:
        tuned = [self.tuned_set] if self.settings.recognizer.tuning else []
        return [self.main_set, self.day_set, *tuned, *self.darker_sets, self.cost_set]

    @cached_property
    def main_set(self) -> TestSet:
        """Low-light images."""
        return self._set(self.settings.dataset, NIGHT, partial(self.downstream.task, parts=True))

    @cached_property
    def day_set(self) -> TestSet:
        """Normal-light images: what the recognizer reaches where nothing is to be enhanced."""
        name = "cityscapes" if self.settings.dataset == "nightcity" else self.settings.dataset
        task = partial(self.downstream.task, light=DAY)
        return self._set(name, DAY, task, subset=DAY, rows=is_input)

    @cached_property
    def tuned_set(self) -> TestSet:
        """Low-light images as they are, read by the recognizer that was tuned on such."""
        name, task, row = self.settings.dataset, self.downstream.task, self.tuned_row
        return self._set(name, NIGHT, task, row, subset=TUNED, rows=is_input)

    @cached_property
    def darker_sets(self) -> list[TestSet]:
        """The low-light images at the mean intensities of the settings."""
        return [
            self._set(self.settings.dataset, NIGHT, self.downstream.task, subset=at_mean(mean),
                      data=Cached(DarkenedTo(self.images("test", NIGHT), mean)))
            for mean in self.settings.evaluation.means
        ]  # fmt: skip

    @cached_property
    def cost_set(self) -> TestSet:
        """Parameters and latency of enhancer and recognizer together."""
        task = partial(Cost, self.settings.evaluation.cost_size, warm_up=1, runs=4, seconds=0.3)
        return self._set(self.settings.dataset, "", task, kind="cost", rows=self.is_timed)

    def _set(
        self, name: str, light: str, task: Callable[..., Task], reader: Row | None = None, **about
    ) -> TestSet:
        """reader: the recognizer; by default the frozen one of all rows."""
        reader = reader or self.recognizer_row
        about = {
            "data": self.images("test", light) if light else None, "kind": self.downstream.kind,
            "split": "val" if self.settings.dataset == "nightcity" else "test",
        } | about  # fmt: skip
        return TestSet(name, task=task, needs=(reader,), recognizer=reader.label, **about)

    def headline(self, scores: list[Score]) -> str:
        own = self.downstream
        low, ours = (
            mean_of(scores, label=label, metric=own.metric, subset=own.whole)
            for label in ("identity", "gem_pam")
        )
        if not (low.seeds and ours.seeds):
            return "GEM+PAM was not run"
        return f"{own.title} in low light: {low:.3f} as it is, {ours:.3f} after GEM+PAM"


def at_mean(mean: float) -> str:
    """The subset of scores on test images darkened to a mean intensity, of 255."""
    return f"mean {mean:g}"


def intensity_of(subset: str) -> float:
    """The mean intensity of such a subset; 0 for another one."""
    word, _, number = subset.partition(" ")
    return float(number) if word == "mean" else 0.0


def is_input(row: Row) -> bool:
    """For a test set on which images are read as they are."""
    return row.model == "identity" and row.weights is None and not row.normal_light
