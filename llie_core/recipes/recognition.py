"""Paper 1: GEM + PAM, trained by the loss of a frozen recognizer.

Two tasks, one a report: segmentation (builtin-streets, camvid, nightcity) and pose
(builtin-streets-pose, exlpose). Every row is the frozen recognizer behind one enhancer:

    identity, gamma, clahe     nothing learned
    an external folder         LLFlow, as the paper has it, or any other program's pictures
    zero_dce                   trained for human vision, by its own losses on the night pictures
    ialm, gem_pam, and its     trained by the recognizer's loss
    variants w/o PAM, w/o GEM

The recognizer is a run of its own, trained once by day (pose: on both lights) and shared.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.data import Dataset

from llie_core.data import collate
from llie_core.losses.task_driven import TaskLoss
from llie_core.losses.zero_reference import WEIGHTS, zero_reference_total
from llie_core.metrics.cost import count_parameters, latency
from llie_core.models import create_enhancer
from llie_core.recipes.base import Measured, Recipe
from llie_core.recipes.recognition_tasks import TASKS, Pipeline, Task, test_batches
from llie_core.recipes.recognizer_training import recognizer_experiment
from llie_core.recipes.settings import Settings, make_settings
from llie_core.recognizers import Recognizer
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import Run, RunKey, file_hash
from llie_core.training import Experiment, TrainSettings, load_weights

FIXED_ROWS = ("identity", "gamma", "clahe")
TRAINED_ROWS = ("zero_dce", "ialm", "gem_pam+w/o PAM", "gem_pam+w/o GEM", "gem_pam")
ABLATIONS = {"": "both", "w/o PAM": "gem", "w/o GEM": "pam"}


@dataclass(frozen=True)
class RecognitionSettings(Settings):
    """Settings of paper 1. Sizes as (H, W) in pixels, counts in scenes.

    backbone: of the recognizer; models: trained rows, "model" or "model+variant"; day_data: folder
    of Cityscapes, where the recognizer of NightCity is trained; train_count, test_count: scenes of
    the built-in sets; zero_dce_*, recognizer_*: of the trainings besides the rows by the
    recognizer's loss; planned_steps: the paper prints no number of epochs: 50 here; scale_input:
    pose pictures come with each channel scaled to a mean of 0.4 (Lee et al.'s low-light input), off
    because the gain is GEM's task; cost_size: at which parameters and latency are taken (the
    paper's); missing: "skip" reads a partial copy of ExLPose, of which the records then say so.
    """

    recognizer: str = "deeplabv3plus"
    backbone: str = "mobilenet_v2"
    size: tuple[int, ...] = (64, 128)
    models: tuple[str, ...] = TRAINED_ROWS
    day_data: str = ""
    train_count: int = 192
    test_count: int = 32
    steps: int = 60
    batch_size: int = 8
    lr: float = 5e-4
    zero_dce_steps: int = 60
    zero_dce_lr: float = 1e-3
    recognizer_steps: int = 180
    recognizer_batch: int = 8
    recognizer_lr: float = 1e-3
    planned_steps: int = 18_750
    precision: str = "float32"
    scale_input: bool = False
    cost_size: tuple[int, ...] = (512, 1024)
    missing: str = "error"

    def __post_init__(self):
        super().__post_init__()
        for name in ("size", "cost_size"):
            if len(getattr(self, name)) != 2 or min(getattr(self, name)) < 32:
                raise ValueError(f"{name}: give (height, width), each at least 32 pixels")
        unknown = [row for row in self.models if row not in TRAINED_ROWS]
        if unknown or not self.models:
            known = ", ".join(TRAINED_ROWS)
            raise ValueError(f"models: {(unknown or ['nothing'])[0]!r} is none of {known}")


_STREETS = RecognitionSettings("builtin-streets", "quick")
_POSE = replace(
    _STREETS, dataset="builtin-streets-pose", recognizer="cpn", backbone="tiny", size=(128, 96),
    recognizer_steps=160, recognizer_lr=5e-3, train_count=96, test_count=24, steps=45,
    cost_size=(256, 192),
)  # fmt: skip
_CAMVID = replace(_STREETS, dataset="camvid", size=(176, 240))
_SMOKE = {
    "profile": "smoke", "models": ("zero_dce", "gem_pam"), "train_count": 16, "test_count": 4,
    "steps": 2, "zero_dce_steps": 2, "recognizer_steps": 4, "batch_size": 4, "recognizer_batch": 4,
    "cost_size": (64, 128),
}  # fmt: skip
_PAPER = {
    "profile": "paper", "zero_dce_steps": 75_000, "zero_dce_lr": 1e-4, "steps": 18_750,
    "recognizer_steps": 60_000, "precision": "mixed", "workers": 8,
}  # fmt: skip
PRESETS: dict[str, dict[str, RecognitionSettings]] = {
    "builtin-streets": {
        "smoke": replace(_STREETS, **_SMOKE),
        "quick": _STREETS,
        "reference": replace(
            _STREETS, profile="reference", seeds=(0, 1, 2), size=(96, 192), train_count=384,
            test_count=64, steps=100, zero_dce_steps=80, recognizer_steps=500,
        ),
    },
    "camvid": {
        "smoke": replace(_CAMVID, **{**_SMOKE, "size": (64, 96)}),
        "quick": replace(_CAMVID, size=(96, 128)),
        "reference": replace(
            _CAMVID, profile="reference", seeds=(0, 1, 2), steps=240, zero_dce_steps=160,
            recognizer_steps=1000,
        ),
    },
    "nightcity": {
        "paper": replace(_STREETS, **{**_PAPER, "dataset": "nightcity", "size": (512, 1024)}),
    },
    "builtin-streets-pose": {
        "smoke": replace(_POSE, **{**_SMOKE, "cost_size": (64, 96)}),
        "quick": _POSE,
        "reference": replace(
            _POSE, profile="reference", seeds=(0, 1, 2), train_count=512, test_count=128,
            steps=160, zero_dce_steps=160, recognizer_steps=1000,
        ),
    },
    "exlpose": {
        "paper": replace(
            _POSE, **{**_PAPER, "dataset": "exlpose", "backbone": "resnet50", "size": (256, 192)}
        ),
    },
}  # fmt: skip


class RecognitionRecipe(Recipe):
    name = "recognition"
    title = "GEM + PAM, trained by the loss of a frozen recognizer"
    profiles = PRESETS["nightcity"] | PRESETS["builtin-streets"]
    datasets = tuple(PRESETS)
    score_code = (
        __name__,
        "llie_core.recipes.recognition_tasks",
        "llie_core.metrics.segmentation",
        "llie_core.metrics.pose",
        "llie_core.metrics.quality",
    )

    def settings(self, profile: str, **overrides) -> RecognitionSettings:
        """A profile's preset, each data set having its own, with overrides, checked."""
        offering = [name for name, presets in PRESETS.items() if profile in presets]
        dataset = overrides.get("dataset", (offering or self.datasets)[0])
        if dataset not in PRESETS:
            known = ", ".join(PRESETS)
            raise ValueError(f"{self.name} has no data set {dataset!r} (known: {known})")
        return make_settings(PRESETS[dataset], profile, **overrides)

    def task(self, settings: RecognitionSettings) -> Task:
        """Segmentation or pose, as the data set has it."""
        return TASKS[settings.dataset]

    # Rows --------------------------------------------------------------------------------------

    def rows(self, settings: RecognitionSettings) -> list[RunKey]:
        untrained = [*FIXED_ROWS, *self.external_folders(settings)]
        if settings.dataset.startswith("builtin"):
            untrained.append("original")  # the same scene by day
        fixed = [self.key(settings, model) for model in untrained]
        trained = [
            self.key(settings, *_split(row), seed)
            for row in TRAINED_ROWS
            if row in settings.models
            for seed in settings.seeds
        ]
        return [self.recognizer_key(settings), *fixed, *trained]

    def key(self, settings, model: str, variant: str = "", seed: int = 0) -> RunKey:
        """The key of a row; `model` "original" stands for the scene by day."""
        return RunKey(self.name, settings.dataset, settings.profile, model, variant, seed)

    def recognizer_key(self, settings: RecognitionSettings) -> RunKey:
        """The run that trains the recognizer, shared by all rows and seeds."""
        return self.key(settings, settings.recognizer)

    def parse_key(self, settings, model: str, variant: str, seed: int) -> RunKey:
        """The key of a run as the command line names it; default: GEM + PAM."""
        model = model or "gem_pam"
        if model == settings.recognizer:
            return self.recognizer_key(settings)
        row = f"{model}+{variant}" if variant else model
        if row not in TRAINED_ROWS:
            known = ", ".join([settings.recognizer, *TRAINED_ROWS])
            raise ValueError(f"recognition trains {known}, not {row!r}")
        return self.key(settings, model, variant, seed)

    def is_trained(self, key: RunKey) -> bool:
        return key.model in ("zero_dce", "ialm", "gem_pam", "deeplabv3plus", "cpn")

    def is_papers_own(self, settings: RecognitionSettings) -> bool:
        return settings.dataset in ("nightcity", "exlpose")

    def build(self, key: RunKey, settings: RecognitionSettings) -> nn.Module:
        torch.manual_seed(key.seed)
        if key.model == settings.recognizer:
            return self.task(settings).recognizer(settings, frozen=False)
        if key.model == "gem_pam":
            return create_enhancer("gem_pam", modules=ABLATIONS[key.variant])
        return super().build(key, settings)

    # Training ----------------------------------------------------------------------------------

    def experiment(self, key: RunKey, settings: RecognitionSettings) -> Experiment:
        if key.model == settings.recognizer:
            return self._recognizer_experiment(key, settings)
        task, by_task = self.task(settings), key.model != "zero_dce"
        data = task.augmented(task.data(settings, "train", "night"))
        recognizer, weights = self.frozen_recognizer(settings) if by_task else (None, "")
        steps = settings.steps if by_task else settings.zero_dce_steps
        return Experiment(
            key=key,
            model=self.build(key, settings),
            objective=TaskLoss(recognizer, task.targets) if by_task else own_losses,
            data=data,
            collate=collate,
            settings=TrainSettings(
                steps=steps,
                batch_size=settings.batch_size,
                lr=settings.lr if by_task else settings.zero_dce_lr,
                weight_decay=0.0 if by_task else 1e-4,
                grad_clip=0.0 if by_task else 0.1,
                precision=settings.precision,
                workers=settings.workers,
            ),
            identity={
                "data": data.describe(),
                "recognizer": weights,
                "loss_weights": {} if by_task else WEIGHTS["zero_dce"],
            },
            code=(
                f"llie_core.models.{key.model}",
                "llie_core.losses.task_driven" if by_task else "llie_core.losses.zero_reference",
                *(task.code if by_task else ()),
                *self._data_code(settings),
            ),
            planned_steps=max(steps, settings.planned_steps),
        )

    def frozen_recognizer(self, settings: RecognitionSettings) -> tuple[Recognizer, str]:
        """The trained recognizer, frozen, and the hash of its weights; trained first if need be."""
        key = self.recognizer_key(settings)
        self.fit(key, settings)
        return self.load_recognizer(settings), file_hash(Run(key).weights_path)

    def load_recognizer(self, settings: RecognitionSettings) -> Recognizer:
        """The recognizer as its finished run left it, frozen."""
        recognizer = self.task(settings).recognizer(settings, frozen=False)
        load_weights(recognizer, Run(self.recognizer_key(settings)).weights_path)
        return recognizer.freeze()

    def _recognizer_experiment(self, key: RunKey, settings: RecognitionSettings) -> Experiment:
        task = self.task(settings)
        recognizer, data = self.build(key, settings), task.recognizer_data(settings)
        code = (*task.code, "llie_core.losses.task_driven", *self._data_code(settings))
        return recognizer_experiment(
            key, recognizer, task.recognizer_objective(recognizer), data, settings, "recognizer",
            code, {"backbone": settings.backbone},
        )  # fmt: skip

    def _data_code(self, settings) -> tuple[str, ...]:
        built_in = settings.dataset.startswith("builtin")
        return ("llie_core.synthetic.streets",) if built_in else ("llie_core.data.transforms",)

    # Scores ------------------------------------------------------------------------------------

    def check_data(self, settings: RecognitionSettings) -> None:
        self.task(settings).data(settings, "train", "night")
        if settings.dataset == "nightcity":
            self.task(settings).data(settings, "train", "day")

    def test_data(self, settings: RecognitionSettings) -> tuple[Dataset, dict]:
        data = self.task(settings).data(settings, "test", "night")
        return data, data.describe()

    def row_data(self, key: RunKey, settings: RecognitionSettings) -> tuple[Dataset, dict]:
        if key.model == settings.recognizer:
            data = self.task(settings).data(settings, "test", "day")
            return data, data.describe()
        return super().row_data(key, settings)

    def test_split(self, settings: RecognitionSettings) -> str:
        return "val" if settings.dataset == "nightcity" else "test"

    def test_identity(self, settings: RecognitionSettings) -> dict:
        weights = Run(self.recognizer_key(settings)).weights_path
        if not weights.exists():
            self.fit(self.recognizer_key(settings), settings)
        return {
            "recognizer": settings.recognizer,
            "weights": file_hash(weights),
            "cost_size": list(settings.cost_size),
            "cost_seed": settings.seeds[0],
        }

    def measure(self, key: RunKey, settings: RecognitionSettings, model, device):
        task, recognizer = self.task(settings), self.load_recognizer(settings).to(device)
        data = self.row_data(key, settings)[0]
        batches = test_batches(data, settings.batch_size, settings.workers)
        light = "original" if key.model == "original" else "night"
        if key.model == settings.recognizer:
            model, light = create_enhancer("identity"), "day"
        scores, images = task.score(recognizer, model, batches, device, light)
        if light == "night" and key.seed == settings.seeds[0] and not self._external(key, settings):
            scores += cost(model, recognizer, tuple(settings.cost_size), device)
        return scores, images

    def headline(self, scores: list[Score]) -> str:
        metric, subset = ("ap", "LL-A") if select(scores, metric="ap") else ("miou", "all")
        night, ours = (
            summarise(s.value for s in select(scores, label=row, metric=metric, subset=subset))
            for row in ("identity", "gem_pam")
        )
        if not (night.seeds and ours.seeds):
            return "GEM + PAM was not run"
        words = {"ap": "pose AP in low light", "miou": "mIoU at night"}[metric]
        return f"{words}: {night:.3f} as it is, {ours:.3f} after GEM + PAM"

    def _external(self, key: RunKey, settings) -> bool:
        return key.model in self.external_folders(settings)


def own_losses(outputs: dict, batch: dict) -> dict[str, torch.Tensor]:
    """Zero-DCE's own losses with the weights of its release: trained for human vision."""
    return zero_reference_total(outputs, batch["image"], weights="zero_dce")


def cost(model: nn.Module, recognizer: Recognizer, size: tuple[int, int], device) -> list[Measured]:
    """Parameters of enhancer and recognizer together, and the time of both on one picture."""
    time = latency(Pipeline(model, recognizer), size, device, warm_up=1, runs=4, seconds=0.3)
    count = count_parameters(model) + count_parameters(recognizer)
    return [
        Measured("parameters", "all", count, "count", "lower", 1, "cost-parameters"),
        Measured("latency", "all", time.median_ms, "ms", "lower", time.runs, "cost-latency"),
    ]


def _split(row: str) -> tuple[str, str]:
    model, _, variant = row.partition("+")
    return model, variant
