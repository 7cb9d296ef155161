"""What papers 3, 4 and 5 share: an enhancer trained on pairs, scored under named protocols.

    pairs ─▶ crops, turned and mirrored ─▶ enhancer ─▶ the paper's loss
    validation pairs, carved from train, choose the weights; the test is read once

Beside the paper's own network and its ablations stand methods that learn nothing, and any other
program's pictures from an external folder. A subclass names its networks, loss and rows.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.wrappers import Augmented, Cached
from llie_core.metrics import psnr
from llie_core.metrics.cost import count_macs, count_parameters, latency
from llie_core.metrics.protocols import evaluate, load_protocols
from llie_core.recipes.base import Measured, Recipe
from llie_core.recipes.settings import Settings
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import RunKey
from llie_core.training import Experiment, TrainSettings
from llie_core.weights import WeightsNotAvailable

# The protocol under which each metric stands in the tables; any other bears its own id as metric.
MAIN = {
    "psnr": "psnr-rgb-float",
    "ssim": "ssim-valid-gaussian",
    "fsim": "fsim-yiq-luma",
    "lpips": "lpips-alex",
    "niqe": "niqe-live",
    "brisque": "brisque-live",
    "sseq": "sseq-live",
}
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
    two looks at the validation pairs; cost_size: (H, W) at which MACs and latency are taken.
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

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.protocols if name not in load_protocols()]
        if unknown:
            raise ValueError(f"protocols: {unknown[0]!r} is no entry of protocols.toml")
        if len(self.cost_size) != 2:
            raise ValueError("cost_size: give (height, width)")


class PairedRecipe(Recipe):
    """A paper whose enhancer is trained on pairs. `trained_rows` are all that can be asked for."""

    datasets = PAIRED_SETS
    trained_rows: tuple[str, ...]
    loss_code: tuple[str, ...]
    score_code = (
        "llie_core.recipes.paired",
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
        return Experiment(
            key=key,
            model=self.build(key, settings),
            objective=self.objective(key, settings),
            data=data,
            collate=collate,
            settings=self.train_settings(key, settings),
            identity={"data": data.describe(), **self.loss_identity(key, settings)},
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

    def validator(self, settings: PairedSettings):
        """validate(model): mean PSNR over the validation pairs."""
        data = self.pairs(settings, "val")

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
        return {"protocols": list(self.protocols(settings)), "cost_size": list(settings.cost_size)}

    def protocols(self, settings: PairedSettings) -> tuple[str, ...]:
        """The protocols to score under: those asked for, or all that pictures allow."""
        if settings.protocols:
            return settings.protocols
        known = load_protocols().values()
        return tuple(
            p.id for p in known
            if p.inputs in ("pair", "image") and p.gt_mean != "illumination-ratio"
        )  # fmt: skip

    def measure(self, key: RunKey, settings: PairedSettings, model, device):
        values: dict[str, list[float]] = {}
        names: list[str] = []
        for batch in _loader(self.row_data(key, settings)[0], settings):
            names += batch["name"]
            output, target = model.enhance(batch["image"].to(device)), batch["target"].to(device)
            for protocol in self.protocols(settings):
                found = scored(protocol, output, target)
                if found is not None:
                    values.setdefault(protocol, []).extend(found.tolist())
        scores = [measured(protocol, found) for protocol, found in values.items()]
        if key.seed == settings.seeds[0] and key.model not in self.external_folders(settings):
            scores += cost(model, tuple(settings.cost_size), device)
        rows = zip(*([f"{v:.5f}" for v in found] for found in values.values()), strict=True)
        images = [
            {"name": name, **dict(zip(values, row, strict=True))}
            for name, row in zip(names, rows, strict=True)
        ]
        return scores, images

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


def scored(protocol: str, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor | None:
    """Values (B,) under a protocol, or None where its weights are not at hand."""
    single = load_protocols()[protocol].inputs == "image"
    try:
        return evaluate(protocol, output, None if single else target)
    except WeightsNotAvailable:
        return None


def measured(protocol: str, values: list[float]) -> Measured:
    """The mean over pictures, under the metric's name if the protocol is the metric's main one."""
    known = load_protocols()[protocol]
    name = known.metric if MAIN.get(known.metric) == protocol else protocol
    mean = sum(values) / len(values)
    return Measured(name, "all", mean, known.unit, known.direction, len(values), protocol)


def cost(model: nn.Module, size: tuple[int, int], device) -> list[Measured]:
    """Parameters, MACs (where they can be counted) and latency of an enhancer."""
    time = latency(model, size, device, runs=5, seconds=0.5)
    found = [
        Measured("parameters", "all", count_parameters(model), "count", "lower", 1,
                 "cost-parameters"),
        Measured("latency", "all", time.median_ms, "ms", "lower", time.runs, "cost-latency"),
    ]  # fmt: skip
    macs = count_macs(model, size).macs
    if macs is not None:
        found.append(Measured("macs", "all", macs, "MAC", "lower", 1, "cost-macs"))
    return found


def _loader(data: Dataset, settings: PairedSettings) -> DataLoader:
    # Pictures of a set on disk may differ in size, so they go one at a time.
    size = 8 if settings.dataset == "builtin-photos" else 1
    return DataLoader(data, batch_size=size, collate_fn=collate, num_workers=settings.workers)


@lru_cache(maxsize=6)
def _photos(split: str, size: int, count: int) -> Dataset:
    return Cached(open_dataset("builtin-photos", split, size=size, count=count))


@lru_cache(maxsize=3)
def _opened(name: str, split: str, root: str, val: int) -> Dataset:
    data = open_dataset(name, split, root, val=val)
    # LOL's 485 pairs take 0.7 GB; FiveK's 5,000 at full size would not fit.
    return Cached(data) if name == "lol" else data
