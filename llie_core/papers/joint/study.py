"""Paper 2: Zero-DCE++ trained jointly with a frozen face detector.

Wang Jingchao, "Task-Oriented Low Light Enhancement", MSAI master project, Nanyang Technological
University, 2024.

Rows: the low-light image, gamma, CLAHE, the normal-light image, and Zero-DCE++ by the ratio
W_up : W_down of its own loss and the detector's: "zero_dce_pp+2:1" with MTCNN's loss,
"zero_dce_pp+2:1@tinaface" with TinaFace's, "zero_dce_pp+2:1~W3=200" with another weight of the
smoothness, "zero_dce_pp+1:0~24 maps" the network of Zero-DCE. MTCNN with its public weights reads
every row; so can RetinaFace, with those of a package, which is of TinaFace's family and trains the
rows of the longer profiles where it is installed, and TinaFace, the thesis's own, where its
authors' file is given. A small TinaFace can be trained here and train rows; it finds too few faces
in normal light to be a reader.

Differs from the paper: s_up and s_down bring the two losses to one range (see
losses/task_driven.py); on built-in faces the images are darkened by a physical model, and
easy/medium/hard go by the height of the face. The thesis trains on dark images alone with
W3 = 1600; the loss is then least for a nearly constant map, one curve for every image (the report
shows how far each row's maps vary). W3 = 200, the weight of Zero-DCE, is ours. What the thesis
calls its test set can only be WIDER FACE's validation set: the test faces are not public, and its
row of normal light equals the validation figures of TinaFace's release.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from torch import nn

from llie_core.data import face_targets, open_dataset
from llie_core.data.dark_faces import DarkFaces, FaceCrops, exposure_darkener
from llie_core.data.darkened import CachedDark
from llie_core.data.wrappers import Augmented, Bounded, NormalLight
from llie_core.dataset import SizedDataset
from llie_core.engine.loop import Experiment, TrainSettings
from llie_core.engine.reuse import code, identity
from llie_core.engine.settings import Section, free, override
from llie_core.files import project_root, results_dir
from llie_core.hashing import content_hash
from llie_core.losses.task_driven import JointLoss, TaskLoss, weights_of_ratio
from llie_core.losses.zero_reference import FORMS, WEIGHTS, darkening_loss, upstream_loss
from llie_core.names import check_choice, split_label, title_of, unknown
from llie_core.papers.rows import BASELINES, NORMAL_LIGHT, Released, Row, Trained
from llie_core.papers.study import Study, StudySettings, TestSet
from llie_core.recognizers import Recognizer, create_recognizer
from llie_core.reporting.scores import Score, mean_of, reference_folder, select
from llie_core.reporting.sources import reference_doubt
from llie_core.tasks.faces import FaceDetection
from llie_core.weights import available

MODEL, DARKENER, TINAFACE = "zero_dce_pp", "ec_zero_dce", "tinaface"
RETINAFACE = "retinaface"
RECOGNIZERS = ("mtcnn", TINAFACE, RETINAFACE)
RATIOS = ("1:0", "1:1", "3:2", "2:1", "3:1", "2:3", "1:3", "0:1")  # rows of Table 4.2
# Ours: name behind ~ in a ratio → weights of L_up that it changes, and the network.
SMOOTH, MAPS = "W3=200", "24 maps"
VARIANTS = {SMOOTH: ({"smoothness": 200.0}, MODEL), MAPS: ({"smoothness": 200.0}, "zero_dce")}
ALONE, JOINT = "1:0", "2:1"  # Zero-DCE++ by itself; the thesis's choice
# The four groups of Table 4.1.
GROUPS = ("identity", f"{MODEL}+{ALONE}", f"{MODEL}+{JOINT}", "original")
# In normal light, on hard faces; a detector below it, or better in low light, decides no claim. The
# small TinaFace has .02. RetinaFace has .77 on the 96 images at hand at their own size, where 30 %
# of the hard faces are below 16 pixels, and .34 on half of them brought to 512, where 71 % are.
LEAST_AP = 0.2
BUILTIN, WIDER = "builtin-faces", "wider-face"
HALVES = ("wider-val-a", "wider-val-b")  # of WIDER FACE's validation part, by event
PHOTOS, CROWD = "builtin-photos", "builtin-crowd"
DARKENER_SIZE = 64  # of its training crops, in pixels; a curve map sees 15×15
# Of the published schedule: epochs are not stated there; Zero-DCE++'s 100 on 12,880 images.
PLANNED_STEPS = 322_000
# "Adam with default parameters": no weight decay; no clipping is named either.
TRAIN = TrainSettings(steps=120, planned_steps=PLANNED_STEPS, batch_size=4, schedule="cosine")
TRAIN_TINAFACE = TrainSettings(steps=500, lr=3e-3, schedule="cosine", grad_clip=5.0)
TRAIN_DARKENER = replace(TRAIN, planned_steps=0, batch_size=6, lr=2e-3)


@dataclass(frozen=True)
class FaceSettings(Section):
    """The images. Sizes in pixels, counts in images; counts and test_size of the built-in set.

    size: of the training crops; missing: "skip" runs on a partial copy of WIDER FACE, of which the
    records then say so; long_side: to which larger images of WIDER FACE are brought first, 0 for
    their own size; wider_face: folder of a WIDER FACE copy, whole or in part, as a second test set.
    """

    size: int = 128
    train_count: int = 512
    test_size: int = 256
    test_count: int = 64
    missing: str = "error"
    long_side: int = 0
    wider_face: str = free("")


@dataclass(frozen=True)
class UpstreamSettings(Section):
    """Zero-DCE++ and its own loss, Eq. (3.12).

    curve, init: see `ZeroDCEPlusPlus`; scale_factor: images are enhanced with maps estimated at
    1 / scale_factor of the size (training is at full size); form: of the terms, "released" or
    "thesis", as printed (see losses/zero_reference.py: its exposure term is least for black);
    spatial, exposure, colour, smoothness: weights of the terms, 1, W1, W2 and W3.
    """

    curve: str = "released"
    init: str = "thesis"
    scale_factor: int = 1
    form: str = "released"
    spatial: float = 1.0
    exposure: float = 10.0
    colour: float = 5.0
    smoothness: float = 1600.0

    def __post_init__(self):
        super().__post_init__()
        check_choice(FORMS, curve=self.curve, init=self.init, form=self.form)
        if self.scale_factor < 1:
            raise ValueError("scale_factor must be at least 1")

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term of the loss."""
        return {name: getattr(self, name) for name in WEIGHTS["thesis"]}


@dataclass(frozen=True)
class MtcnnSettings(Section):
    """MTCNN. face_windows, image_windows: windows that its loss draws around each face and over
    each image; threshold: least score at which a detection counts for recall and false positives.
    """

    face_windows: int = 4
    image_windows: int = 16
    threshold: float = 0.9


@dataclass(frozen=True)
class TinaFaceSettings(Section):
    """TinaFace. backbone: "small", trained here (train; size: of its training images), or
    "resnet50" with its authors' file (weights); threshold: as MTCNN's.
    """

    backbone: str = "small"
    weights: str = free("")
    size: int = 128
    threshold: float = 0.5
    train: TrainSettings = TRAIN_TINAFACE

    def __post_init__(self):
        super().__post_init__()
        check_choice(("small", "resnet50"), backbone=self.backbone)


@dataclass(frozen=True)
class RetinaFaceSettings(Section):
    """RetinaFace. threshold: as MTCNN's."""

    threshold: float = 0.5


@dataclass(frozen=True)
class JointSettings(StudySettings):
    """Settings of the joint training.

    ratios: W_up:W_down of the rows trained, perhaps with ~W3=200 (the smoothness's weight) or
    ~24 maps (Zero-DCE), then @recognizer; recognizer: whose loss trains a row that names no other;
    readers: which detectors read every row; upstream: the enhancer and its own loss; darkener: the
    training of EC-Zero-DCE, which darkens WIDER FACE.
    """

    ratios: tuple[str, ...] = (ALONE, JOINT, "0:1")
    recognizer: str = "mtcnn"
    readers: tuple[str, ...] = ("mtcnn",)
    faces: FaceSettings = FaceSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    mtcnn: MtcnnSettings = MtcnnSettings()
    tinaface: TinaFaceSettings = TinaFaceSettings()
    retinaface: RetinaFaceSettings = RetinaFaceSettings()
    train: TrainSettings = TRAIN
    darkener: TrainSettings = TRAIN_DARKENER

    # What is named without its section is the training's, not the recognizer's.
    renamed = {own: f"train.{own}" for own in vars(TRAIN)}

    def __post_init__(self):
        super().__post_init__()
        for name in (self.recognizer, *self.readers):
            if name not in RECOGNIZERS:
                raise unknown("recognizer", name, RECOGNIZERS)
        if self.recognizer not in self.readers:
            raise ValueError(f"readers: {self.recognizer} trains and has to read too")
        if TINAFACE in self.readers and self.tinaface.backbone == "small":
            raise ValueError(
                "readers: the small tinaface finds too few faces in normal light to read; give the "
                "authors' file of the whole one (tinaface: {backbone: resnet50, weights: FILE})"
            )
        for ratio in self.ratios:
            check_ratio(ratio)


def detectors() -> tuple[str, ...]:
    """The detectors with real weights that are installed; the first trains the longer profiles."""
    return (RETINAFACE, "mtcnn") if available(RETINAFACE) else ("mtcnn",)


def quick(dataset: str) -> JointSettings:
    return override(JointSettings(dataset, "quick"), {
        "faces": {"test_count": 48},
    })  # fmt: skip


def smoke(dataset: str) -> JointSettings:
    return override(JointSettings(dataset, "smoke"), {
        "ratios": (ALONE, JOINT),
        "faces": {"size": 64, "train_count": 8, "test_size": 128, "test_count": 6},
        "tinaface": {"size": 64, "train": {"steps": 2, "batch_size": 2}},
        "train": {"steps": 4, "batch_size": 2},
        "darkener": {"steps": 4},
    })  # fmt: skip


# A trial on a part of WIDER FACE that is there, such as its validation part alone.
OF_HALVES: dict[str, Any] = {
    "ratios": RATIOS,
    "faces": {"size": 128, "missing": "skip", "long_side": 512},
    "mtcnn": {"face_windows": 4, "image_windows": 16},
    "train": {"steps": 120, "lr": 1e-3, "grad_clip": 0.1},
    "darkener": {"steps": 400},
}


def reference(dataset: str) -> JointSettings:
    readers = detectors()
    return override(JointSettings(dataset, "reference"), {
        "seeds": (0, 1, 2),
        "ratios": (*RATIOS, f"{JOINT}@mtcnn", f"{ALONE}~{SMOOTH}", f"{JOINT}~{SMOOTH}",
                   f"{ALONE}~{MAPS}"),
        "recognizer": readers[0],
        "readers": readers,
        "faces": {"size": 160, "train_count": 2048, "test_count": 192},
        "mtcnn": {"face_windows": 8, "image_windows": 48},
        "train": {"steps": 400},
        "darkener": {"steps": 400},
    } | (OF_HALVES if dataset in HALVES else {}))  # fmt: skip


def paper(dataset: str) -> JointSettings:
    """By RetinaFace, else MTCNN. With TinaFace's file: recognizer: tinaface, readers: [tinaface,
    mtcnn], tinaface: {weights: FILE}."""
    readers = detectors()
    return override(JointSettings(dataset, "paper"), {
        "ratios": (*RATIOS, f"{ALONE}~{SMOOTH}", f"{ALONE}~{MAPS}"),
        "recognizer": readers[0],
        "readers": readers,
        "faces": {"size": 512},
        "upstream": {"scale_factor": 12},
        "mtcnn": {"face_windows": 8, "image_windows": 48},
        "tinaface": {"backbone": "resnet50"},
        "train": {"steps": PLANNED_STEPS, "lr": 1e-4, "schedule": "constant",
                  "precision": "auto"},
        "darkener": {"steps": 20_000},
        "workers": 8,
    })  # fmt: skip


class JointStudy(Study):
    title = "Zero-DCE++ trained jointly with a frozen face detector"
    question = "Does a detector find more faces after joint training than after Zero-DCE++ alone?"
    datasets = (BUILTIN, WIDER, *HALVES)
    profiles = {"smoke": smoke, "quick": quick, "reference": reference, "paper": paper}
    settings: JointSettings

    @classmethod
    def default_datasets(cls, profile: str, data: str = "") -> tuple[str, ...]:
        return (WIDER,) if profile == "paper" else super().default_datasets(profile)

    @property
    def reference_dataset(self) -> str:
        """WIDER FACE, else a half of its validation part, where runs on it are kept: real faces
        stand before built-in ones."""
        own = self.settings.dataset
        kept = (name for name in (WIDER, *HALVES) if reference_folder(self.paper, name))
        return next(kept, own) if own == BUILTIN else own

    @property
    def other_folds(self) -> tuple[str, ...]:
        first = self.reference_dataset
        if first not in HALVES or self.settings.dataset in HALVES:
            return ()
        kept = (name for name in HALVES if name != first and reference_folder(self.paper, name))
        return tuple(name for name in kept if not reference_doubt(self.paper, name))

    def blind_readers(self, scores: Iterable[Score]) -> dict[str, str]:
        found = select(scores, dataset=self.settings.dataset, metric="ap", subset="hard")
        blind = {}
        for reader in dict.fromkeys(score.recognizer for score in found):
            dark, normal = (
                mean_of(found, recognizer=reader, label=label) for label in (GROUPS[0], GROUPS[3])
            )
            if normal.mean < LEAST_AP or normal.mean < dark.mean:
                words = f"AP {normal:.3f} in normal light, {dark:.3f} in low light"
                blind[reader] = f"{reader} decides nothing: {words}"
        return blind

    def is_papers_own(self) -> bool:
        settings = self.settings
        own_detector = settings.recognizer == TINAFACE and settings.tinaface.backbone == "resnet50"
        return settings.dataset == WIDER and settings.faces.missing == "error" and own_detector

    # Rows --------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        settings = self.settings
        joint = [self.joint_row(ratio, seed=0) for ratio in settings.ratios]
        unique = {row.label: row for row in joint}
        return [
            *(Row(model, model) for model in BASELINES),
            *self.given_rows((*BASELINES, *unique)),
            NORMAL_LIGHT,
            *(replace(row, seed=seed) for row in unique.values() for seed in settings.seeds),
        ]

    def possible_rows(self) -> list[Row]:
        ratios = (*RATIOS, *(f"{ratio}~{name}" for ratio in RATIOS for name in VARIANTS))
        labels = (*ratios, *(f"{ratio}@{name}" for ratio in ratios for name in RECOGNIZERS))
        joint = [self.joint_row(ratio, self.settings.seeds[0]) for ratio in labels]
        return [*joint, self.darkener_row, self.tinaface_row]

    def main_row(self) -> Row:
        return self.row(f"{MODEL}+{variant_of(JOINT, self.settings.recognizer)}")

    def joint_row(self, ratio: str, seed: int) -> Row:
        """Zero-DCE++ at a ratio W_up:W_down, perhaps with @recognizer."""
        settings = self.settings
        variant = variant_of(ratio, settings.recognizer)
        weights, trainer = split_variant(variant)
        w_up, w_down, changes, model = loss_of(weights)
        own = settings.upstream
        read = {
            "weights": (w_up, w_down),
            "upstream": {"weights": own.weights | changes, "form": own.form},
            "trainer": trainer if w_down else "",
            "train": settings.train,
            "size": settings.faces.size,
        }
        needs = []
        if self.on_wider:
            read["missing"] = settings.faces.missing
            read |= {"side": settings.faces.long_side} if settings.faces.long_side else {}
            needs.append(self.darkener_row)
        else:
            read["count"] = settings.faces.train_count
        if w_down and trainer == TINAFACE:
            needs.append(self.tinaface_row)
        elif w_down and trainer == "mtcnn":
            read["windows"] = self._windows
        title = _title(weights, trainer if variant != weights else "")
        trained = Trained(self.joint_experiment, read)
        options: dict[str, Any] = {"curve": own.curve}
        if model == MODEL:
            options |= {"init": own.init, "scale_factor": own.scale_factor}
        return Row(
            f"{MODEL}+{variant}", model, options, trained, seed, needs=tuple(needs), title=title
        )

    def method_row(self, name: str, seed: int) -> Row:
        """Another enhancer, trained by the detector's loss alone, as the ratio 0:1 is: the own loss
        of Zero-DCE++ reads its curve maps."""
        if name == MODEL:
            raise ValueError(f"{name}: its rows are named by the setting `ratios`")
        return replace(self.joint_row("0:1", seed), label=name, model=name, options={}, title="")

    @cached_property
    def darkener_row(self) -> Row:
        """EC-Zero-DCE, trained to darken, shared by all rows."""
        faces = self.settings.faces
        read: dict[str, Any] = {"train": self.settings.darkener}
        read |= {"missing": faces.missing} if self.on_wider else {"count": faces.train_count}
        trained = Trained(self.darkener_experiment, read)
        return Row(DARKENER, DARKENER, weights=trained, dataset="" if self.on_wider else PHOTOS)

    @cached_property
    def tinaface_row(self) -> Row:
        """TinaFace: small and trained on normal-light images, or whole with its authors' file."""
        tinaface = self.settings.tinaface
        options = {"backbone": tinaface.backbone}
        if tinaface.backbone != "small":
            return Row(TINAFACE, TINAFACE, options, Released(tinaface.weights), title="TinaFace")
        trained = Trained(
            self.tinaface_experiment, {"train": tinaface.train, "size": tinaface.size}
        )
        return Row(TINAFACE, TINAFACE, options, trained, dataset=CROWD, title="TinaFace, small")

    # Training ----------------------------------------------------------------------------------

    def check_data(self) -> None:
        if self.on_wider:
            self._faces("train")
        needed = [*self._readers, *(one for row in self.rows() for one in row.needs)]
        if any(row.weights == Released("") for row in needed):
            raise ValueError(
                "tinaface: its authors' checkpoint is needed (setting tinaface: {weights: FILE}), "
                "or the small one that is trained here (tinaface: {backbone: small})"
            )

    def joint_experiment(self, row: Row, *needed: nn.Module) -> Experiment:
        """The joint training; `needed`: the darkener of WIDER FACE, the TinaFace that trains."""
        w_up, w_down = row.given["weights"]
        trainer = row.given["trainer"]
        darkener, *rest = needed if self.on_wider else (None, *needed)
        detector = rest[0] if rest else None
        if trainer and detector is None:
            detector = create_recognizer(trainer, **(self._windows if trainer == "mtcnn" else {}))
        upstream = partial(upstream_loss, **row.given["upstream"])
        loss = JointLoss(upstream, detector, face_targets, w_up, w_down)
        data = self.train_data(darkener)
        return self.training(row, row.build(), loss, data, self.settings.train)

    def darkener_experiment(self, row: Row) -> Experiment:
        """EC-Zero-DCE on crops of normal-light photographs, WIDER FACE's own where it is there."""
        faces = self.settings.faces
        if self.on_wider:
            images = self._faces("train")
            data: SizedDataset = Augmented(images, DARKENER_SIZE, flips="horizontal")
        else:
            pairs = open_dataset(PHOTOS, "train", size=DARKENER_SIZE, count=faces.train_count)
            data = NormalLight(pairs)
        return self.training(row, row.build(), darkening_loss, data, self.settings.darkener)

    def tinaface_experiment(self, row: Row) -> Experiment:
        """The small TinaFace on normal-light faces, each image once."""
        own, recognizer = self.settings.tinaface, row.build()
        count = own.train.steps * own.train.batch_size
        data = open_dataset(CROWD, "train", size=own.size, count=count)
        loss = TaskLoss(recognizer, face_targets)
        return self.training(row, recognizer, loss, data, own.train)

    @property
    def _windows(self) -> dict[str, Any]:
        own = self.settings.mtcnn
        return {"windows_per_face": own.face_windows, "windows_per_image": own.image_windows}

    # Data --------------------------------------------------------------------------------------

    def train_data(self, darkener: nn.Module | None = None) -> SizedDataset:
        """Low-light images with faces; of WIDER FACE crops of the set that `darkener` made."""
        faces = self.settings.faces
        if darkener is None:
            return open_dataset(BUILTIN, "train", size=faces.size, count=faces.train_count)
        return FaceCrops(darkened_set(self._faces("train"), "train", darkener), faces.size)

    @property
    def on_wider(self) -> bool:
        """Whether the study's data set is WIDER FACE, whole or a half of its validation part."""
        return self.settings.dataset != BUILTIN

    def _faces(self, split: str) -> SizedDataset:
        """Normal-light images of a split of the study's WIDER FACE."""
        settings, faces = self.settings, self.settings.faces
        data = open_dataset(settings.dataset, split, settings.data, missing=faces.missing)
        return Bounded(data, faces.long_side) if faces.long_side else data

    def test_sets(self) -> list[TestSet]:
        return [self.main_set, *([self.wider_set] if self._second else [])]

    def absent(self) -> dict[str, str]:
        if self._second or self.on_wider:
            return {}
        return {WIDER: "no folder given (setting faces: {wider_face: FOLDER})"}

    @property
    def _second(self) -> bool:
        return bool(self.settings.faces.wider_face) and not self.on_wider

    @cached_property
    def main_set(self) -> TestSet:
        """The test images of the set trained on."""
        faces = self.settings.faces
        if self.on_wider:
            return self._wider(self.settings.dataset, self._faces("val"))
        data = open_dataset(BUILTIN, "test", size=faces.test_size, count=faces.test_count)
        main = self.settings.recognizer
        return TestSet(BUILTIN, data, self.face_task, self._readers, "faces", recognizer=main)

    @cached_property
    def wider_set(self) -> TestSet:
        """A copy of WIDER FACE, whole or in part, for the rows of the first seed."""
        root = project_root() / self.settings.faces.wider_face
        whole = self._wider(WIDER, open_dataset(WIDER, "val", root, missing="skip"))
        return replace(whole, rows=lambda row: bool(self.first_seed([row])))

    def _wider(self, name: str, source: SizedDataset) -> TestSet:
        def darkened(*models: nn.Module) -> SizedDataset:
            return darkened_set(source, "val", models[-1])

        task = partial(self.face_task, official=True)
        return TestSet(
            name, darkened, task, (*self._readers, self.darkener_row), "faces",
            split="val", recognizer=self.settings.recognizer,
        )  # fmt: skip

    @property
    def _readers(self) -> tuple[Row, ...]:
        return (self.tinaface_row,) if TINAFACE in self.settings.readers else ()

    @property
    def least_score(self) -> float:
        """The main detector's operating point."""
        return self._least[self.settings.recognizer]

    @property
    def _least(self) -> dict[str, float]:
        settings = self.settings
        return {name: getattr(settings, name).threshold for name in RECOGNIZERS}

    def face_task(self, *models: nn.Module, official: bool = False) -> FaceDetection:
        """Every reader, the main one first; official: by WIDER FACE's protocol.

        models: the TinaFace that reads, and a darkener, which reads nothing.
        """
        settings = self.settings
        tinaface = [model for model in models if isinstance(model, Recognizer)]
        names = sorted(settings.readers, key=lambda name: name != settings.recognizer)
        readers = {
            name: tinaface[0] if name == TINAFACE else create_recognizer(name) for name in names
        }
        return FaceDetection(readers, {name: self._least[name] for name in names}, official)

    # Report ------------------------------------------------------------------------------------

    def headline(self, scores: list[Score]) -> str:
        own = read_by(select(scores, dataset=self.settings.dataset), self.settings.recognizer)
        parts = []
        for words, metric, subset in (
            ("AP on hard faces", "ap", "hard"),
            ("recall", "recall", "all"),
            ("false positives an image", "fp_per_image", "all"),
        ):
            alone, joint = (
                mean_of(own, label=row, metric=metric, subset=subset) for row in GROUPS[1:3]
            )
            if alone.seeds and joint.seeds:
                parts.append(f"{words} {alone:.3f} alone, {joint:.3f} joint")
        return "Zero-DCE++: " + ("; ".join(parts) or f"{ALONE} and {JOINT} were not both run")


def darkened_set(source: SizedDataset, split: str, darkener: nn.Module) -> CachedDark:
    """A split of WIDER FACE darkened once, image by image, for all rows and seeds (Sec. 3.1); it
    lies in results/darkened, named by what decides it."""
    dark = DarkFaces(source, exposure_darkener(darkener))
    key = content_hash([identity(dark), code(dark)])
    return CachedDark(dark, results_dir() / "darkened", f"{WIDER}-{split}-{key[:12]}")


# How rows are named ----------------------------------------------------------------------------


def loss_of(ratio: str) -> tuple[float, float, dict[str, float], str]:
    """W_up, W_down, weights of L_up that a variant of ours changes, and the network: of "2:1",
    "2:1~W3=200"."""
    weights, named, variant = ratio.partition("~")
    if named and variant not in VARIANTS:
        raise ValueError(f"ratio {ratio!r}: behind ~ stands one of {', '.join(VARIANTS)}")
    return (*weights_of_ratio(weights), *VARIANTS.get(variant, ({}, MODEL)))


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
    needed = loss_of(weights)[1] and trainer != RECOGNIZERS[0]
    return f"{weights}@{trainer}" if needed else weights


def check_ratio(ratio: str) -> None:
    """ValueError where `ratio` is not W_up:W_down, perhaps with @recognizer."""
    weights, at, trainer = ratio.partition("@")
    if at and trainer not in RECOGNIZERS:
        raise ValueError(f"ratio {ratio!r}: behind @ stands one of {', '.join(RECOGNIZERS)}")
    loss_of(weights)


def read_by(scores: Iterable[Score], reader: str, trained_by: str = "") -> list[Score]:
    """The thesis's rows for one detector, which reads what its own loss has trained.

    Rows without a detector's loss are there too; labels have plain ratios, as the tables do.
    trained_by: the detector whose loss has trained them, where it is another one.
    """
    own = []
    for score in scores:
        model, variant = split_label(score.label)
        ratio, _ = split_variant(variant)
        if score.recognizer == reader and trainer_of(score.label) in ("", trained_by or reader):
            own.append(replace(score, label=f"{model}+{ratio}" if ratio else model))
    return own


def trainers(scores: Iterable[Score]) -> list[str]:
    """The detectors whose losses have trained rows."""
    return list(dict.fromkeys(filter(None, (trainer_of(score.label) for score in scores))))


def trainer_of(label: str) -> str:
    """The detector whose loss has trained a row; "" for none."""
    model, variant = split_label(label)
    ratio, trainer = split_variant(variant)
    return trainer if model == MODEL and ratio and loss_of(ratio)[1] else ""


def _title(ratio: str, trainer: str) -> str:
    """ "Zero-DCE++ alone (1:0)", "joint training (2:1, TinaFace's loss)"."""
    w_up, w_down, *_ = loss_of(ratio)
    ratio = ratio.replace("~", ", ").replace("=", " = ")
    if not w_down:
        return f"Zero-DCE++ alone ({ratio})"
    inside = f"{ratio}, {title_of(trainer)}'s loss" if trainer else ratio
    return f"Zero-DCE++ joint ({inside})" if w_up else f"Zero-DCE++, detector's loss ({inside})"
