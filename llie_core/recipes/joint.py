"""Paper 2: Zero-DCE++ trained jointly with a frozen face detector.

Wang Jingchao, "Task-Oriented Low Light Enhancement", MSAI master project, Nanyang Technological
University, 2024.

Two detectors read every row: MTCNN with its public weights, and TinaFace, the thesis's own, either
small and trained here by day, or whole with its authors' file. A row is named by its ratio
W_up:W_down, with "@tinaface" or "@mtcnn" behind it where another detector's loss trains it than the
one of the setting `recognizer`.

Differs from the paper: s_up and s_down bring the two losses to one range (see
losses/task_driven.py); on built-in faces the pictures are darkened by a physical model, and
easy/medium/hard go by the height of the face.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, face_targets, open_dataset
from llie_core.data.dark_faces import DarkFaces, NormalLight, exposure_darkener
from llie_core.data.darkened import CachedDark
from llie_core.files import project_root, results_dir
from llie_core.losses.task_driven import JointLoss, weights_of_ratio
from llie_core.losses.zero_reference import WEIGHTS, darkening_loss, upstream_loss
from llie_core.recipes.base import Measured, Recipe, Scoring, keep_run
from llie_core.recipes.face_recognizers import (
    TINAFACE,
    small_tinaface,
    tinaface_experiment,
    tinaface_key,
)
from llie_core.recipes.face_scores import (
    HEIGHTS,
    face_scores,
    image_rows,
    look,
    quality_scores,
    through_files,
)
from llie_core.recipes.joint_rows import (
    ALONE,
    JOINT,
    RATIOS,
    RECOGNIZERS,
    check_ratio,
    read_by,
    split_variant,
    variant_of,
)
from llie_core.recipes.settings import Settings
from llie_core.recognizers import create_recognizer
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import Run, RunKey, content_hash, file_hash
from llie_core.synthetic.faces import FACE_HEIGHTS
from llie_core.training import Experiment, TrainSettings, load_weights

FIXED_ROWS = ("identity", "gamma", "clahe")
WIDER = "wider-face"


@dataclass(frozen=True)
class JointSettings(Settings):
    """Settings of the joint training. Sizes in pixels, counts in images.

    recognizer: whose loss trains a row that names no other; readers: which detectors read every
    row; tinaface: "small", trained here (recognizer_*: steps, pictures a step, rate, size of
    pictures), or "resnet50" with its authors' file tinaface_weights.
    face_windows, image_windows: windows that MTCNN's loss draws around each face and over each
    picture; ratios: W_up:W_down of the runs trained, perhaps with @recognizer; size: training
    crop; score_threshold, tinaface_threshold: least score at which a detection of MTCNN's or
    TinaFace's counts for recall and false positives;
    missing: "skip" runs on a partial copy of WIDER FACE, of which the records then say so;
    wider_face: folder of a WIDER FACE copy, whole or in part, as a further test set; planned_steps:
    of the published schedule (epochs are not stated there: Zero-DCE++'s 100 on 12,880 images).
    """

    recognizer: str = "mtcnn"
    readers: tuple[str, ...] = RECOGNIZERS
    tinaface: str = "small"
    tinaface_weights: str = ""
    recognizer_steps: int = 500
    recognizer_batch: int = 8
    recognizer_lr: float = 3e-3
    recognizer_size: int = 128
    face_windows: int = 4
    image_windows: int = 16
    ratios: tuple[str, ...] = (ALONE, JOINT, "0:1", f"{JOINT}@{TINAFACE}")
    size: int = 128
    train_count: int = 512
    test_size: int = 256
    test_count: int = 64
    steps: int = 120
    planned_steps: int = 322_000
    batch_size: int = 4
    lr: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 1e-4
    grad_clip: float = 0.1
    precision: str = "float32"
    darkener_steps: int = 120
    score_threshold: float = 0.9
    tinaface_threshold: float = 0.5
    missing: str = "error"
    wider_face: str = ""

    def __post_init__(self):
        super().__post_init__()
        for name in (self.recognizer, *self.readers):
            if name not in RECOGNIZERS:
                known = ", ".join(RECOGNIZERS)
                raise ValueError(f"recognizer, readers: {name!r} is none of {known}")
        if self.recognizer not in self.readers:
            raise ValueError(f"readers: {self.recognizer} trains and has to read too")
        if self.tinaface not in ("small", "resnet50"):
            raise ValueError("tinaface: choose small or resnet50")
        for ratio in self.ratios:
            check_ratio(ratio)


PROFILES = {
    "smoke": JointSettings(
        "builtin-faces", "smoke", ratios=(ALONE, JOINT, f"{JOINT}@{TINAFACE}"), size=64,
        recognizer_steps=2, recognizer_batch=2, recognizer_size=64, train_count=8, test_size=128,
        test_count=6, steps=4, batch_size=2, darkener_steps=4,
    ),
    "quick": JointSettings(
        "builtin-faces", "quick", test_count=48, recognizer_steps=280, recognizer_batch=6,
    ),
    "reference": JointSettings(
        "builtin-faces", "reference", seeds=(0, 1, 2), face_windows=8, image_windows=48, size=160,
        ratios=(ALONE, "3:1", JOINT, "1:1", "0:1", f"{JOINT}@{TINAFACE}"), train_count=2048,
        test_count=192, steps=400, darkener_steps=400, recognizer_steps=700,
    ),
    "paper": JointSettings(
        WIDER, "paper", recognizer=TINAFACE, tinaface="resnet50", face_windows=8,
        image_windows=48, ratios=RATIOS, size=512,
        steps=322_000, lr=1e-4, schedule="constant", precision="mixed", workers=8,
        darkener_steps=20_000,
    ),
}  # fmt: skip


class JointRecipe(Recipe):
    name = "joint"
    title = "Zero-DCE++ trained jointly with a frozen face detector"
    profiles = PROFILES
    datasets = ("builtin-faces", WIDER)
    score_code = (
        __name__,
        "llie_core.recipes.face_scores",
        "llie_core.metrics.faces",
        "llie_core.metrics.quality",
        "llie_core.recognizers.mtcnn",
        "llie_core.recognizers.tinaface",
    )

    def rows(self, settings: JointSettings) -> list[RunKey]:
        untrained = (*FIXED_ROWS, *self.external_folders(settings), "original")
        fixed = [self.key(settings, model) for model in untrained]
        trained = [
            self.key(settings, "zero_dce_pp", ratio, seed)
            for ratio in settings.ratios
            for seed in settings.seeds
        ]
        return fixed + list(dict.fromkeys(trained))

    def key(self, settings: JointSettings, model: str, ratio: str = "", seed: int = 0) -> RunKey:
        """The key of a row; `model` "original" stands for the normal-light pictures."""
        variant = variant_of(ratio, settings.recognizer) if ratio else ""
        return RunKey(self.name, settings.dataset, settings.profile, model, variant, seed)

    def data_options(self, settings: JointSettings) -> dict:
        return {"missing": settings.missing} if settings.dataset == WIDER else {}

    def parse_key(self, settings: JointSettings, model: str, variant: str, seed: int) -> RunKey:
        """The key of a run as the command line names it; default: the joint training at 2:1."""
        model = model or "zero_dce_pp"
        if model == "ec_zero_dce":
            return self.darkener_key(settings)
        if model == TINAFACE:
            return tinaface_key(settings)
        if model != "zero_dce_pp":
            raise ValueError(f"joint trains zero_dce_pp, ec_zero_dce and tinaface, not {model!r}")
        check_ratio(variant or JOINT)
        return self.key(settings, model, variant or JOINT, seed)

    def darkener_key(self, settings: JointSettings) -> RunKey:
        """The run that trains EC-Zero-DCE to darken, shared by all rows."""
        return RunKey(self.name, "builtin-photos", settings.profile, "ec_zero_dce")

    def is_trained(self, key: RunKey) -> bool:
        return key.model in ("zero_dce_pp", "ec_zero_dce", TINAFACE)

    def is_scored(self, key: RunKey) -> bool:
        return key.model == "zero_dce_pp" or not self.is_trained(key)

    def build(self, key: RunKey, settings: JointSettings) -> nn.Module:
        return small_tinaface(key) if key.model == TINAFACE else super().build(key, settings)

    def test_split(self, settings: JointSettings) -> str:
        return "val" if settings.dataset == WIDER else "test"

    def experiment(self, key: RunKey, settings: JointSettings) -> Experiment:
        if key.model == "ec_zero_dce":
            return self._darkener_experiment(key, settings)
        if key.model == TINAFACE:
            return tinaface_experiment(key, settings)
        ratio, trainer = split_variant(key.variant)
        w_up, w_down = weights_of_ratio(ratio)
        recognizer, known = self.trained_on(settings, trainer) if w_down else (None, {})
        data, source = self.train_data(settings)
        code = ["llie_core.models.zero_dce", "llie_core.losses.task_driven"]
        code += ["llie_core.losses.zero_reference", "llie_core.data.darkening"]
        if w_down:
            code.append(f"llie_core.recognizers.{trainer}")
        return Experiment(
            key=key,
            model=self.build(key, settings),
            objective=JointLoss(upstream_loss, recognizer, face_targets, w_up, w_down),
            data=data,
            collate=collate,
            settings=TrainSettings(
                steps=settings.steps,
                batch_size=settings.batch_size,
                lr=settings.lr,
                schedule=settings.schedule,
                weight_decay=settings.weight_decay,
                grad_clip=settings.grad_clip,
                precision=settings.precision,
                workers=settings.workers,
            ),
            identity={
                "loss_weights": WEIGHTS["thesis"],
                "w_up": w_up,
                "w_down": w_down,
                "recognizer": trainer if w_down else "",
                **known,
                "data": source,
            },
            code=(
                *code,
                "llie_core.synthetic.photos",
                "llie_core.synthetic.faces",
                "llie_core.data.dark_faces",
            ),
            planned_steps=settings.planned_steps,
        )

    def trained_on(self, settings: JointSettings, name: str) -> tuple[nn.Module, dict]:
        """The frozen recognizer whose loss trains the enhancer, and what identifies it."""
        if name == TINAFACE:
            return self.reader(settings, name), {"weights": self.weights_of(settings, name)}
        windows = {
            "windows_per_face": settings.face_windows,
            "windows_per_image": settings.image_windows,
        }
        return create_recognizer(name, **windows), {"windows": list(windows.values())}

    def reader(self, settings: JointSettings, name: str) -> nn.Module:
        """A frozen detector with its weights; ValueError as `tinaface_path`."""
        if name != TINAFACE:
            return create_recognizer(name)
        path = self.tinaface_path(settings)
        recognizer = create_recognizer(TINAFACE, backbone=settings.tinaface)
        if settings.tinaface == "small":
            load_weights(recognizer, path)
        else:
            recognizer.load_released_weights(path)
        return recognizer.eval()

    def weights_of(self, settings: JointSettings, name: str) -> str:
        """Hash of a detector's weights; "" for MTCNN's, which come with its package."""
        return file_hash(self.tinaface_path(settings)) if name == TINAFACE else ""

    def tinaface_path(self, settings: JointSettings) -> Path:
        """TinaFace's weights: of the small one, trained if need be, or its authors' file.

        Raises:
            ValueError: TinaFace whole, without its authors' file.
        """
        if settings.tinaface == "small":
            return self.fit(tinaface_key(settings), settings, quiet=True).weights_path
        if not settings.tinaface_weights:
            raise ValueError(
                "tinaface: its authors' checkpoint is needed (setting tinaface_weights), or the "
                "small one that is trained here (tinaface=small)"
            )
        return project_root() / settings.tinaface_weights

    def test_identity(self, settings: JointSettings) -> dict:
        return {
            "recognizer": settings.recognizer,
            "readers": {name: self.weights_of(settings, name) for name in settings.readers},
            "score_thresholds": [settings.score_threshold, settings.tinaface_threshold],
            "subsets": FACE_HEIGHTS,
            "heights": [list(span) for span in HEIGHTS],
        }

    def measure(
        self, key: RunKey, settings: JointSettings, model, device
    ) -> tuple[list[Measured], list[dict]]:
        data = self.row_data(key, settings)[0]
        return self.read(key, settings, model, data, settings.dataset, device)

    def read(
        self, key: RunKey, settings: JointSettings, model, data: Dataset, name: str, device
    ) -> tuple[list[Measured], list[dict]]:
        """What every reader makes of a row on a data set: scores, and what stands behind them.

        On WIDER FACE detections go through files in the official text format, which are kept.
        """
        names = sorted(settings.readers, key=lambda name: name != settings.recognizer)
        readers = {name: self.reader(settings, name).to(device) for name in names}
        batches = _test_loader(data, name, settings.workers)
        seen = look(model, readers, batches, device, bright=key.model == "original")
        if name == WIDER:
            folder = Run(key).directory / "detections"
            seen = {reader: through_files(folder / reader, one) for reader, one in seen.items()}
        protocol = "face-ap-wider" if name == WIDER else "face-ap-height"
        least = {"mtcnn": settings.score_threshold, TINAFACE: settings.tinaface_threshold}
        scores = [s for n, one in seen.items() for s in face_scores(one, n, protocol, least[n])]
        return scores + quality_scores(seen[names[0]]), image_rows(seen, least)

    def wider_scores(self, settings: JointSettings, device=None) -> list[Score]:
        """Every row on WIDER FACE, of the first seed; none without a folder."""
        if not settings.wider_face:
            return []
        root = project_root() / settings.wider_face
        data, identity = self.darkened(settings, open_dataset(WIDER, "val", root, missing="skip"))
        scores = []
        for key in self.wider_rows(settings):
            scoring = Scoring(
                partial(self._on_wider, key, settings, data),
                data=identity,
                test=self.test_identity(settings),
                file=WIDER,
                about={"dataset": WIDER, "split": "val"},
            )
            scores += self.scored_once(key, settings, scoring, device)
        return scores

    def _on_wider(self, key: RunKey, settings: JointSettings, data: Dataset, model, device):
        return self.read(key, settings, model, data, WIDER, device)

    def wider_rows(self, settings: JointSettings) -> list[RunKey]:
        """The rows of the first seed, without other programs', which have not seen WIDER FACE."""
        elsewhere = self.external_folders(settings)
        rows = [key for key in self.rows(settings) if key.model not in elsewhere]
        return [key for key in rows if not self.is_trained(key) or key.seed == settings.seeds[0]]

    def keep(self, settings: JointSettings, rows: list[RunKey] | None = None) -> Path:
        target = super().keep(settings, rows)
        for key in (tinaface_key(settings), self.darkener_key(settings)):
            if Run(key).weights_path.exists():
                keep_run(Run(key), target)
        return target

    def is_papers_own(self, settings: JointSettings) -> bool:
        own_detector = settings.recognizer == TINAFACE and settings.tinaface == "resnet50"
        return settings.dataset == WIDER and settings.missing == "error" and own_detector

    def headline(self, scores: list[Score]) -> str:
        scores = read_by(scores, scores[0].recognizer) if scores else []
        parts = []
        for words, metric, subset in (
            ("AP on hard faces", "ap", "hard"),
            ("recall", "recall", "all"),
            ("false positives a picture", "fp_per_image", "all"),
        ):
            alone, joint = (
                summarise(
                    s.value for s in select(scores, variant=ratio, metric=metric, subset=subset)
                )
                for ratio in (ALONE, JOINT)
            )
            if alone.seeds and joint.seeds:
                parts.append(f"{words} {alone:.3f} alone, {joint:.3f} joint")
        return "Zero-DCE++: " + ("; ".join(parts) or f"{ALONE} and {JOINT} were not both run")

    def train_data(self, settings: JointSettings) -> tuple[Dataset, dict]:
        """The training set and what identifies it."""
        if settings.dataset == "builtin-faces":
            data = open_dataset(
                "builtin-faces", "train", size=settings.size, count=settings.train_count
            )
            return data, data.describe()
        source = open_dataset(WIDER, "train", settings.data, **self.data_options(settings))
        darkener, weights = self._trained_darkener(settings)
        data = DarkFaces(source, darkener, settings.size)
        return data, {**source.describe(), "size": settings.size, "darkener": weights}

    def test_data(self, settings: JointSettings) -> tuple[Dataset, dict]:
        """The test set and what identifies it."""
        if settings.dataset == "builtin-faces":
            data = open_dataset(
                "builtin-faces", "test", size=settings.test_size, count=settings.test_count
            )
            return data, data.describe()
        source = open_dataset(WIDER, "val", settings.data, **self.data_options(settings))
        return self.darkened(settings, source)

    def darkened(self, settings: JointSettings, source: Dataset) -> tuple[Dataset, dict]:
        """Whole pictures with faces, darkened once for all rows, and what identifies them."""
        darkener, weights = self._trained_darkener(settings)
        identity = {**source.describe(), "darkener": weights}
        folder = results_dir() / "darkened"
        return CachedDark(DarkFaces(source, darkener), folder, content_hash(identity)), identity

    def _trained_darkener(self, settings: JointSettings):
        key = self.darkener_key(settings)
        self.fit(key, settings)
        return exposure_darkener(self.load(key, settings, "cpu")), file_hash(Run(key).weights_path)

    def _darkener_experiment(self, key: RunKey, settings: JointSettings) -> Experiment:
        data = NormalLight(
            open_dataset("builtin-photos", "train", size=64, count=settings.train_count)
        )
        return Experiment(
            key=key,
            model=self.build(key, settings),
            objective=darkening_loss,
            data=data,
            collate=collate,
            settings=TrainSettings(
                steps=settings.darkener_steps,
                batch_size=6,
                lr=2e-3,
                schedule="cosine",
                weight_decay=1e-4,
                grad_clip=0.1,
            ),
            identity={"data": data.source.describe(), "loss_weights": WEIGHTS["ec_zero_dce"]},
            code=(
                "llie_core.models.ec_zero_dce",
                "llie_core.losses.zero_reference",
                "llie_core.synthetic.photos",
                "llie_core.synthetic.faces",
                "llie_core.data.dark_faces",
            ),
        )


def _test_loader(data: Dataset, name: str, workers: int) -> DataLoader:
    # Pictures of WIDER FACE differ in size, so they go one at a time.
    size = 1 if name == WIDER else 8
    return DataLoader(data, batch_size=size, collate_fn=collate, num_workers=workers)
