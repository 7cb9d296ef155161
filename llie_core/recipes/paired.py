"""What papers 3, 4 and 5 share: an enhancer trained on pairs, scored under named protocols.

    pairs ─▶ crops, turned and mirrored ─▶ enhancer ─▶ the paper's loss
    validation pairs, carved from train, choose the weights; the test is read once

Beside the paper's own network and its ablations stand methods that learn nothing, and any other
program's pictures from an external folder. A subclass names its networks, loss and rows.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.external import ExternalOutputs
from llie_core.data.wrappers import Augmented, Cached
from llie_core.files import project_root
from llie_core.metrics import psnr
from llie_core.metrics.protocols import load_protocols
from llie_core.recipes.base import Recipe, Scoring
from llie_core.recipes.further import open_further, opened
from llie_core.recipes.paired_scores import MAIN, cost, lacking_weights, scored
from llie_core.recipes.settings import Settings
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import RunKey
from llie_core.training import Experiment, TrainSettings

QUICK_PROTOCOLS = (*(MAIN[m] for m in ("psnr", "ssim")), "psnr-rgb-float-gtmean-grey-8bit")
BASELINES = ("identity", "gamma", "clahe")
PAIRED_SETS = ("builtin-photos", "lol", "mit-adobe-fivek")


@dataclass(frozen=True)
class PairedSettings(Settings):
    """Settings of a training on pairs. Sizes in pixels, counts in pairs.

    models: trained rows, "model" or "model+variant"; baselines: rows that learn nothing; size: of
    the training crops; train_count, val_count, test_count, test_size: of the built-in pairs (of
    other sets, val_count pairs are held out of train); protocols: ids of protocols.toml, () for
    all that images allow; milestones, decay: of the schedule "step"; validate_every: steps between
    two looks at the validation pairs; cost_size: (H, W) at which MACs and latency are taken;
    no_reference: folder of pictures without ground truth (DICM, LIME, …), scored besides;
    no_reference_count: how many of each set, evenly over it, 0 for all.
    """

    models: tuple[str, ...] = ()
    baselines: tuple[str, ...] = BASELINES
    size: int = 64
    train_count: int = 128
    val_count: int = 8
    test_count: int = 16
    test_size: int = 128
    steps: int = 100
    planned_steps: int = 100
    batch_size: int = 8
    lr: float = 1e-3
    lr_final: float = 0.0
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    grad_clip: float = 0.0
    turns: str = "all"
    validate_every: int = 50
    precision: str = "float32"
    protocols: tuple[str, ...] = QUICK_PROTOCOLS
    cost_size: tuple[int, ...] = (256, 256)
    no_reference: str = ""
    no_reference_count: int = 0

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.protocols if name not in load_protocols()]
        if unknown:
            raise ValueError(f"protocols: {unknown[0]!r} is no entry of protocols.toml")
        if len(self.cost_size) != 2:
            raise ValueError("cost_size: give (height, width)")


class PairedRecipe(Recipe):
    """A paper whose enhancer is trained on pairs.

    trained_rows: all that can be asked for, the paper's own network first; stands_for: the data
    set of the paper's tables whose columns built-in pairs may fill; no_reference_sets: further
    test sets of the paper, without ground truth, and their protocols.
    """

    datasets = PAIRED_SETS
    trained_rows: tuple[str, ...]
    loss_code: tuple[str, ...]
    stands_for = "lol"
    no_reference_sets: tuple[str, ...] = ()
    no_reference_protocols: tuple[str, ...] = ("niqe-live", "brisque-live")
    score_code = (
        "llie_core.recipes.paired",
        "llie_core.recipes.paired_scores",
        "llie_core.recipes.further",
        "llie_core.metrics.protocols",
        "llie_core.metrics.quality",
        "llie_core.metrics.naturalness",
    )

    @abstractmethod
    def network(self, model: str, variant: str, settings) -> nn.Module:
        """The untrained network of a trained row."""

    @abstractmethod
    def objective(self, key: RunKey, settings):
        """objective(outputs, batch) of a trained row."""

    # Rows --------------------------------------------------------------------------------------

    def rows(self, settings: PairedSettings) -> list[RunKey]:
        untrained = [*settings.baselines, *self.external_folders(settings)]
        fixed = [self.key(settings, model) for model in untrained]
        unknown = [row for row in settings.models if row not in self.trained_rows]
        if unknown:
            known = ", ".join(self.trained_rows)
            raise ValueError(f"models: {unknown[0]!r} is none of {known}")
        trained = [
            self.key(settings, *split_row(row), seed)
            for row in self.trained_rows
            if row in settings.models
            for seed in settings.seeds
        ]
        return fixed + trained

    def key(self, settings, model: str, variant: str = "", seed: int = 0) -> RunKey:
        """The key of a row."""
        return RunKey(self.name, settings.dataset, settings.profile, model, variant, seed)

    def parse_key(self, settings, model: str, variant: str, seed: int) -> RunKey:
        """The key of a run as the command line names it; default: the paper's own network."""
        row = f"{model}+{variant}" if variant else model or self.trained_rows[0]
        if row not in self.trained_rows:
            raise ValueError(f"{self.name} trains {', '.join(self.trained_rows)}, not {row!r}")
        return self.key(settings, *split_row(row), seed)

    def is_trained(self, key: RunKey) -> bool:
        return key.model in {split_row(row)[0] for row in self.trained_rows}

    def build(self, key: RunKey, settings: PairedSettings) -> nn.Module:
        torch.manual_seed(key.seed)
        if self.is_trained(key):
            return self.network(key.model, key.variant, settings)
        return super().build(key, settings)

    # Data --------------------------------------------------------------------------------------

    def pairs(self, settings: PairedSettings, split: str) -> Dataset:
        """One split, as it lies on disk or as it is made; small sets stay in memory."""
        if settings.dataset == "builtin-photos":
            count = {"train": settings.train_count, "val": settings.val_count}
            size = settings.size if split == "train" else settings.test_size
            return _photos(split, size, count.get(split, settings.test_count))
        return _opened(settings.dataset, split, settings.data, settings.val_count)

    def train_data(self, settings: PairedSettings) -> Dataset:
        """Random crops of the training pairs, turned and mirrored."""
        return Augmented(self.pairs(settings, "train"), settings.size, settings.turns)

    def test_data(self, settings: PairedSettings) -> tuple[Dataset, dict]:
        data = self.pairs(settings, "test")
        return data, data.describe()

    def check_data(self, settings: PairedSettings) -> None:
        if settings.dataset != "builtin-photos":
            self.pairs(settings, "train")

    # Training ----------------------------------------------------------------------------------

    def experiment(self, key: RunKey, settings: PairedSettings) -> Experiment:
        data = self.train_data(settings)
        chosen_by = self.pairs(settings, "val").describe() if settings.validate_every else {}
        return Experiment(
            key=key,
            model=self.build(key, settings),
            objective=self.objective(key, settings),
            data=data,
            collate=collate,
            settings=self.train_settings(key, settings),
            identity={
                "data": data.describe(),
                "validation": chosen_by,
                **self.loss_identity(key, settings),
            },
            code=(type(self.build(key, settings)).__module__, *self.loss_code,
                  "llie_core.data.transforms"),
            planned_steps=settings.planned_steps,
            validate=self.validator(settings) if settings.validate_every else None,
        )  # fmt: skip

    def train_settings(self, key: RunKey, settings: PairedSettings) -> TrainSettings:
        """How a row is trained."""
        names = ("steps", "batch_size", "lr", "lr_final", "schedule", "milestones", "decay",
                 "grad_clip", "precision", "workers", "validate_every")  # fmt: skip
        return TrainSettings(**{name: getattr(settings, name) for name in names})

    def loss_identity(self, key: RunKey, settings: PairedSettings) -> dict:
        """What of the loss the code alone does not decide."""
        return {}

    def validator(self, settings: PairedSettings, data: Dataset | None = None):
        """validate(model): mean PSNR over the validation pairs, or over other pairs."""
        data = self.pairs(settings, "val") if data is None else data

        def validate(model: nn.Module) -> float:
            device = next(model.parameters()).device
            values = [
                psnr(model.enhance(batch["image"].to(device)), batch["target"].to(device))
                for batch in _loader(data, settings)
            ]
            return float(torch.cat(values).mean())

        return validate

    # Scores ------------------------------------------------------------------------------------

    def test_identity(self, settings: PairedSettings) -> dict:
        return {
            "protocols": list(self.protocols(settings)),
            "cost_size": list(settings.cost_size),
            "cost_seed": settings.seeds[0],
        }

    def protocols(self, settings: PairedSettings) -> tuple[str, ...]:
        """The protocols to score under: those asked for, or all that pictures allow, less those
        whose weights are not at hand."""
        known = load_protocols().values()
        possible = settings.protocols or tuple(
            p.id for p in known
            if p.inputs in ("pair", "image") and p.gt_mean != "illumination-ratio"
        )  # fmt: skip
        return tuple(name for name in possible if not lacking_weights(name))

    def measure(self, key: RunKey, settings: PairedSettings, model, device):
        data = self.row_data(key, settings)[0]
        scores, images = scored(model, _loader(data, settings), self.protocols(settings), device)
        once = key.seed == settings.seeds[0] or not self.is_trained(key)
        if once and key.model not in self.external_folders(settings):
            scores += cost(model, tuple(settings.cost_size), device)
        return scores, images

    # Test sets besides the own one ------------------------------------------------------------

    def no_reference_data(
        self, settings: PairedSettings
    ) -> tuple[dict[str, Dataset], dict[str, str]]:
        """Sets without ground truth: those found in the folder, and why the others are not."""
        return opened(self.no_reference_sets, partial(self.no_reference_set, settings))

    def no_reference_set(self, settings: PairedSettings, name: str) -> Dataset:
        """One set without ground truth; raises Absent."""
        return open_further(settings, name)

    def no_reference_scores(self, settings: PairedSettings, device=None) -> list[Score]:
        """Every row on every set without ground truth; each score names its set."""
        protocols = [p for p in self.no_reference_protocols if not lacking_weights(p)]
        sets = self.no_reference_data(settings)[0] if protocols else {}
        return [
            score
            for name, data in sets.items()
            for key in self.rows(settings)
            for score in self.evaluate_on(key, settings, name, data, protocols, device)
        ]

    def evaluate_on(
        self, key: RunKey, settings: PairedSettings, name: str, data: Dataset,
        protocols: Iterable[str], device=None,
    ) -> list[Score]:  # fmt: skip
        """Scores of one row on a further test set, read back if nothing changed.

        Another program's row has those pictures that lie in METHOD/`name`/, or no score.
        """
        data = self.further_row_data(key, settings, name, data)
        if data is None:
            return []
        batches = _one_by_one(data, settings)
        scoring = Scoring(
            lambda model, device: scored(model, batches, protocols, device),
            data=data.describe(),
            test={"protocols": list(protocols)},
            file=name,
            about={"dataset": name, "split": "test"},
        )
        return self.scored_once(key, settings, scoring, device)

    def further_row_data(self, key: RunKey, settings, name: str, data: Dataset) -> Dataset | None:
        """A further test set as a row sees it; None for a program that was not run on it."""
        if key.model not in self.external_folders(settings):
            return data
        folder = project_root() / settings.external / key.model / name
        return ExternalOutputs(folder, data, missing="skip") if folder.is_dir() else None

    def headline(self, scores: list[Score]) -> str:
        parts = []
        for row in (self.trained_rows[0], "gamma", "identity"):
            psnrs = [s.value for s in select(scores, label=row, metric="psnr")]
            if psnrs:
                parts.append(f"{row} {summarise(psnrs):.2f}")
        return f"PSNR, dB: {', '.join(parts)}" if parts else "nothing was scored"


def split_row(row: str) -> tuple[str, str]:
    """ "model+variant" as model and variant; the variant may be empty."""
    model, _, variant = row.partition("+")
    return model, variant


def _loader(data: Dataset, settings: PairedSettings) -> DataLoader:
    if settings.dataset != "builtin-photos":
        return _one_by_one(data, settings)
    return DataLoader(data, batch_size=8, collate_fn=collate, num_workers=settings.workers)


def _one_by_one(data: Dataset, settings: PairedSettings) -> DataLoader:
    # Pictures of a set on disk may differ in size.
    return DataLoader(data, batch_size=1, collate_fn=collate, num_workers=settings.workers)


@lru_cache(maxsize=6)
def _photos(split: str, size: int, count: int) -> Dataset:
    return Cached(open_dataset("builtin-photos", split, size=size, count=count))


@lru_cache(maxsize=3)
def _opened(name: str, split: str, root: str, val: int) -> Dataset:
    data = open_dataset(name, split, root, val=val)
    # LOL's 485 pairs take 0.7 GB; FiveK's 5,000 at full size would not fit.
    return Cached(data) if name == "lol" else data
