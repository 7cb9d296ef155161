"""Paper 2: Zero-DCE++ trained jointly with a frozen face detector.

Wang Jingchao, "Task-Oriented Low Light Enhancement", MSAI master project, Nanyang Technological
University, 2024.

Differs from the paper: the recognizer is MTCNN with its public weights (TinaFace follows); s_up and
s_down bring the two losses to one range (see losses/task_driven.py); on built-in faces the pictures
are darkened by a physical model, and easy/medium/hard go by the height of the face.
"""

import json
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, face_targets, open_dataset
from llie_core.data.builtin import FACE_HEIGHTS
from llie_core.data.dark_faces import DarkFaces, NormalLight, exposure_darkener
from llie_core.losses.task_driven import JointLoss, weights_of_ratio
from llie_core.losses.zero_reference import WEIGHTS, darkening_loss, upstream_loss
from llie_core.metrics import psnr
from llie_core.metrics.faces import detection_rates, wider_ap
from llie_core.recipes.base import Measured, Recipe
from llie_core.recipes.settings import Settings
from llie_core.recognizers import create_recognizer
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import Run, RunKey, file_hash
from llie_core.training import Experiment, TrainSettings

RATIOS = ("1:0", "1:1", "3:2", "2:1", "3:1", "2:3", "1:3", "0:1")  # rows of Table 4.2
ALONE, JOINT = "1:0", "2:1"  # Zero-DCE++ by itself; the thesis's choice
SUBSETS = ("easy", "medium", "hard")
FIXED_ROWS = ("identity", "gamma", "clahe")
# Least face probability after P-, R- and O-Net at test: the usual ones for the first two, and a
# low one for the last, so that curves over the score are nearly whole.
MTCNN_THRESHOLDS = (0.6, 0.7, 0.05)


@dataclass(frozen=True)
class JointSettings(Settings):
    """Settings of the joint training. Sizes in pixels, counts in images.

    face_windows, image_windows: windows that MTCNN's loss draws around each face and over each
    picture; ratios: W_up:W_down of the runs trained; size: training crop; score_threshold: of the
    operating point at which recall and false positives are counted; missing: "skip" runs on a
    partial copy of WIDER FACE, of which the records then say so; planned_steps: of the published
    schedule (epochs are not stated there: Zero-DCE++'s 100 on 12,880 images).
    """

    recognizer: str = "mtcnn"
    face_windows: int = 4
    image_windows: int = 16
    ratios: tuple[str, ...] = (ALONE, JOINT, "0:1")
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
    missing: str = "error"

    def __post_init__(self):
        super().__post_init__()
        for ratio in self.ratios:
            weights_of_ratio(ratio)


PROFILES = {
    "smoke": JointSettings(
        "builtin-faces", "smoke", ratios=(ALONE, JOINT), size=64, train_count=8, test_size=128,
        test_count=6, steps=4, batch_size=2, darkener_steps=4,
    ),
    "quick": JointSettings("builtin-faces", "quick"),
    "reference": JointSettings(
        "builtin-faces", "reference", seeds=(0, 1, 2), face_windows=8, image_windows=48, size=160,
        train_count=2048, test_count=192, steps=400, darkener_steps=400,
    ),
    "paper": JointSettings(
        "wider-face", "paper", face_windows=8, image_windows=48, ratios=RATIOS, size=512,
        steps=322_000, lr=1e-4, schedule="constant", precision="mixed", workers=8,
        darkener_steps=20_000,
    ),
}  # fmt: skip


class JointRecipe(Recipe):
    name = "joint"
    title = "Zero-DCE++ trained jointly with a frozen face detector"
    profiles = PROFILES
    datasets = ("builtin-faces", "wider-face")
    score_code = (
        __name__,
        "llie_core.metrics.faces",
        "llie_core.metrics.quality",
        "llie_core.recognizers.mtcnn",
    )

    def rows(self, settings: JointSettings) -> list[RunKey]:
        untrained = (*FIXED_ROWS, *self.external_folders(settings), "original")
        fixed = [self.key(settings, model) for model in untrained]
        trained = [
            self.key(settings, "zero_dce_pp", ratio, seed)
            for ratio in settings.ratios
            for seed in settings.seeds
        ]
        return fixed + trained

    def key(self, settings: JointSettings, model: str, ratio: str = "", seed: int = 0) -> RunKey:
        """The key of a row; `model` "original" stands for the normal-light pictures."""
        return RunKey(self.name, settings.dataset, settings.profile, model, ratio, seed)

    def data_options(self, settings: JointSettings) -> dict:
        return {"missing": settings.missing} if settings.dataset == "wider-face" else {}

    def parse_key(self, settings: JointSettings, model: str, variant: str, seed: int) -> RunKey:
        """The key of a run as the command line names it; default: the joint training at 2:1."""
        model = model or "zero_dce_pp"
        if model == "ec_zero_dce":
            return self.darkener_key(settings)
        if model != "zero_dce_pp":
            raise ValueError(f"joint trains zero_dce_pp and ec_zero_dce, not {model!r}")
        weights_of_ratio(variant or JOINT)
        return self.key(settings, model, variant or JOINT, seed)

    def darkener_key(self, settings: JointSettings) -> RunKey:
        """The run that trains EC-Zero-DCE to darken, shared by all rows."""
        return RunKey(self.name, "builtin-photos", settings.profile, "ec_zero_dce")

    def is_trained(self, key: RunKey) -> bool:
        return key.model in ("zero_dce_pp", "ec_zero_dce")

    def is_scored(self, key: RunKey) -> bool:
        return key.model != "ec_zero_dce"

    def test_split(self, settings: JointSettings) -> str:
        return "val" if settings.dataset == "wider-face" else "test"

    def experiment(self, key: RunKey, settings: JointSettings) -> Experiment:
        if key.model == "ec_zero_dce":
            return self._darkener_experiment(key, settings)
        w_up, w_down = weights_of_ratio(key.variant)
        recognizer = self.trained_on(settings) if w_down else None
        data, source = self.train_data(settings)
        code = ["llie_core.models.zero_dce", "llie_core.losses.task_driven"]
        code += ["llie_core.losses.zero_reference", "llie_core.data.darkening"]
        if w_down:
            code.append(f"llie_core.recognizers.{settings.recognizer}")
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
                "recognizer": settings.recognizer if w_down else "",
                "windows": [settings.face_windows, settings.image_windows] if w_down else [],
                "data": source,
            },
            code=(*code, "llie_core.data.builtin", "llie_core.data.dark_faces"),
            planned_steps=settings.planned_steps,
        )

    def trained_on(self, settings: JointSettings) -> torch.nn.Module:
        """The frozen recognizer whose loss trains the enhancer."""
        return create_recognizer(
            settings.recognizer,
            windows_per_face=settings.face_windows,
            windows_per_image=settings.image_windows,
        )

    def test_identity(self, settings: JointSettings) -> dict:
        return {
            "recognizer": settings.recognizer,
            "score_threshold": settings.score_threshold,
            "subsets": FACE_HEIGHTS,
        }

    def measure(
        self, key: RunKey, settings: JointSettings, model, device
    ) -> tuple[list[Measured], list[dict]]:
        recognizer = create_recognizer(settings.recognizer).to(device)
        data, _ = self.row_data(key, settings)
        seen: list[Seen] = []
        for batch in _test_loader(data, settings):
            image, target = batch["image"].to(device), batch["target"].to(device)
            output = target if key.model == "original" else model.enhance(image)
            found = recognizer.predict(output, MTCNN_THRESHOLDS)
            quality = [None] * len(found) if key.model == "original" else psnr(output, target)
            if "keep" not in batch:
                raise FileNotFoundError(
                    "wider-face: the easy, medium and hard lists are needed for the scores "
                    "(eval_tools/ground_truth/wider_{easy,medium,hard}_val.mat)"
                )
            fields = ("name", "darkening", "boxes", "ignore", "keep")
            parts = zip(found, quality, *(batch[field] for field in fields), strict=True)
            seen += [Seen(*part) for part in parts]
        scores = face_scores(seen, settings) + quality_scores(seen)
        return scores, [image_row(image, settings.score_threshold) for image in seen]

    def is_papers_own(self, settings: JointSettings) -> bool:
        return settings.dataset == "wider-face" and settings.recognizer == "tinaface"

    def headline(self, scores: list[Score]) -> str:
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
        source = open_dataset("wider-face", "train", settings.data, **self.data_options(settings))
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
        source = open_dataset("wider-face", "val", settings.data, **self.data_options(settings))
        darkener, weights = self._trained_darkener(settings)
        return DarkFaces(source, darkener), {**source.describe(), "darkener": weights}

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
                "llie_core.data.builtin",
                "llie_core.data.dark_faces",
            ),
        )


@dataclass(frozen=True)
class Seen:
    """One test picture and what the detector found: boxes (N, 4), ignore (N,), keep by subset."""

    found: dict[str, torch.Tensor]
    psnr: torch.Tensor | None
    name: str
    darkening: dict
    boxes: torch.Tensor
    ignore: torch.Tensor
    keep: dict[str, torch.Tensor]


def face_scores(seen: list[Seen], settings: JointSettings) -> list[Measured]:
    """AP by subset, and recall and false positives at the operating point."""
    protocol = "face-ap-wider" if settings.dataset == "wider-face" else "face-ap-height"
    found, truth = [image.found for image in seen], [image.boxes for image in seen]
    scores = []
    for subset in SUBSETS:
        kept = [image.keep[subset] for image in seen]
        n = int(sum(k.sum() for k in kept))
        if n:  # a subset without a face has no AP
            ap = wider_ap(found, truth, kept)
            scores.append(Measured("ap", subset, ap, "fraction", "higher", n, protocol))
    valid = [~image.ignore for image in seen]
    rates = detection_rates(found, truth, valid, score=settings.score_threshold)
    recall, false = rates["recall"], rates["false_positives_per_image"]
    n, pictures = int(sum(v.sum() for v in valid)), len(seen)
    return [
        *scores,
        Measured("recall", "all", recall, "fraction", "higher", n, "face-recall"),
        Measured("fp_per_image", "all", false, "per image", "lower", pictures, "face-fp-per-image"),
    ]


def quality_scores(seen: list[Seen]) -> list[Measured]:
    """Mean PSNR against the normal-light pictures; nothing for those pictures themselves."""
    values = [float(image.psnr) for image in seen if image.psnr is not None]
    if not values:
        return []
    mean = sum(values) / len(values)
    return [Measured("psnr", "all", mean, "dB", "higher", len(values), "psnr-rgb-float")]


def image_row(image: Seen, score: float) -> dict:
    """One picture's line of per_image.csv: how it was darkened, what was found in it."""
    rates = detection_rates([image.found], [image.boxes], [~image.ignore], score=score)
    return {
        "name": image.name,
        "faces": int((~image.ignore).sum()),
        "recall": f"{rates['recall']:.4f}",
        "false_positives": round(rates["false_positives_per_image"]),
        "psnr": "" if image.psnr is None else f"{float(image.psnr):.4f}",
        "darkening": json.dumps(image.darkening),
    }


def _test_loader(data, settings: JointSettings) -> DataLoader:
    # Pictures of WIDER FACE differ in size, so they go one at a time.
    size = 8 if settings.dataset == "builtin-faces" else 1
    return DataLoader(data, batch_size=size, collate_fn=collate, num_workers=settings.workers)
