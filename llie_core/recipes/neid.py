"""Paper 5: NEID, light and detail from half the pixels.

Rows: Table 1's methods that learn nothing, run here (BIMEF, CRM, Dong, LIME, MF, MSR, NPE); its
learned rivals as an external folder; NEID; by name the ablations of Table 2, and `SEQUENCE`, what
Sec. 2.2 argues against: a U-net that brightens the half-size picture, then a network for
super-resolution, trained on normal-light pictures only.

Every row is scored on the pairs and, where a folder is given (setting `no_reference`), on the sets
of Figs. 6 to 8, which have no ground truth.
"""

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn
from torch.utils.data import Dataset

from llie_core.data.wrappers import Augmented, Wrapped
from llie_core.losses.colour import DETAIL_TARGETS, HUES, neid_loss
from llie_core.models import Enhancer, create_enhancer
from llie_core.models.neid import INITS, halve
from llie_core.recipes.paired import BASELINES, PairedRecipe, PairedSettings
from llie_core.runs import RunKey, file_hash
from llie_core.training import Experiment

CLASSICAL = ("bimef", "crm", "dong", "lime", "mf", "msr", "npe")  # of Table 1
UNET = "U-net architecture"
ABLATIONS = (f"neid+{UNET}", "neid+LE", "neid+LE + DR")  # of Table 2
SEQUENCE = "U-net, then super-resolution"
PAIRS, BATCH = 470, 8  # LOL's 485 pairs less the 15 that weights are chosen by
PLANNED_STEPS = 2000 * PAIRS // BATCH  # 2000 epochs
MILESTONES = (500 * PAIRS // BATCH, 1000 * PAIRS // BATCH)


@dataclass(frozen=True)
class NeidSettings(PairedSettings):
    """Settings of NEID.

    delta: of the Huber loss; hue: "printed" or "circular" (losses/colour.py); detail_target:
    "image", the full-size low-light crop, or "target", Eq. (3) as printed; init: "paper", N(0,
    0.02²), or "pytorch", with which short trainings get off the ground (models/neid.py);
    time_4k: take the latency at 3840×2160 on a CPU too, half a minute a call and 7 GB.
    """

    models: tuple[str, ...] = ("neid",)
    baselines: tuple[str, ...] = (*BASELINES, *CLASSICAL)
    delta: float = 0.1
    hue: str = "printed"
    detail_target: str = "image"
    init: str = "pytorch"
    planned_steps: int = PLANNED_STEPS
    cost_size: tuple[int, ...] = (400, 600)
    time_4k: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("hue", HUES), ("detail_target", DETAIL_TARGETS), ("init", INITS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: choose one of {', '.join(known)}")
        if f"neid+{SEQUENCE}" in self.models and f"neid+{UNET}" not in self.models:
            raise ValueError(f"models: neid+{SEQUENCE} needs neid+{UNET} too")


_QUICK = NeidSettings("builtin-photos", "quick")
PROFILES = {
    "smoke": replace(
        _QUICK, profile="smoke", baselines=("identity", "gamma", "clahe", "msr"), size=32,
        train_count=8, val_count=2, test_count=2, test_size=48, steps=2, batch_size=2,
        validate_every=2, cost_size=(64, 96),
    ),
    # The rate stays high for long: under a cosine, so few steps end in a grey plateau.
    "quick": replace(
        _QUICK, train_count=256, steps=360, schedule="step", milestones=(300,), validate_every=60
    ),
    "reference": replace(
        _QUICK, dataset="lol", profile="reference", size=96, val_count=15, steps=5000,
        schedule="step", milestones=(4000, 4700), validate_every=500, protocols=(), time_4k=True,
    ),
    "paper": replace(
        _QUICK, dataset="lol", profile="paper", models=("neid", *ABLATIONS), size=256,
        val_count=15, steps=PLANNED_STEPS, lr=1e-4, schedule="step", milestones=MILESTONES,
        decay=0.1, validate_every=20 * PAIRS // BATCH, precision="mixed", workers=8, protocols=(),
        init="paper", time_4k=True,
    ),
}  # fmt: skip


class NeidRecipe(PairedRecipe):
    name = "neid"
    title = "NEID: light and detail from half the pixels"
    profiles = PROFILES
    trained_rows = ("neid", *ABLATIONS, f"neid+{SEQUENCE}")
    loss_code = ("llie_core.losses.colour",)
    score_code = (*PairedRecipe.score_code, __name__)
    no_reference_sets = ("lime", "npe", "dicm")  # Figs. 6, 7, 8

    def network(self, model: str, variant: str, settings: NeidSettings) -> nn.Module:
        # Super-resolution is what the light branch does, given a bright picture.
        variant = "LE" if variant == SEQUENCE else variant
        return create_enhancer(model, variant=variant, init=settings.init)

    def objective(self, key: RunKey, settings: NeidSettings):
        return partial(neid_loss, **_loss_options(settings))

    def loss_identity(self, key: RunKey, settings: NeidSettings) -> dict:
        return {**_loss_options(settings), "init": settings.init}

    def is_papers_own(self, settings: NeidSettings) -> bool:
        return settings.dataset == "lol"

    # Enhancement, then super-resolution ----------------------------------------------------------

    def experiment(self, key: RunKey, settings: NeidSettings) -> Experiment:
        experiment = super().experiment(key, settings)
        if key.variant != SEQUENCE:
            return experiment
        bright = {split: Bright(self.pairs(settings, split)) for split in ("train", "val")}
        data = Augmented(bright["train"], settings.size, settings.turns)
        validate = experiment.validate and self.validator(settings, bright["val"])
        identity = experiment.identity | {"data": data.describe()}
        return replace(experiment, data=data, identity=identity, validate=validate)

    def load(self, key: RunKey, settings: NeidSettings, device=None) -> nn.Module:
        model = super().load(key, settings, device)
        if key.variant != SEQUENCE:
            return model
        return BrightenThenEnlarge(super().load(self._first(key), settings, device), model)

    def row_data(self, key: RunKey, settings: NeidSettings) -> tuple[Dataset, dict]:
        data, identity = super().row_data(key, settings)
        if key.variant == SEQUENCE:
            weights = self.fit(self._first(key), settings, quiet=True).weights_path
            identity = {**identity, "first": file_hash(weights)}
        return data, identity

    def _first(self, key: RunKey) -> RunKey:
        """The run whose U-net brightens the picture, of the same seed."""
        return replace(key, variant=UNET)


def _loss_options(settings: NeidSettings) -> dict:
    return {name: getattr(settings, name) for name in ("delta", "hue", "detail_target")}


class Bright(Wrapped):
    """Normal-light pictures as input and target."""

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        return item | {"image": item["target"]}


class BrightenThenEnlarge(Enhancer):
    """One network brightens the half-size picture, another one doubles the result."""

    def __init__(self, brighten: Enhancer, enlarge: Enhancer):
        super().__init__()
        self.brighten, self.enlarge = brighten, enlarge

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bright = self.brighten(halve(x)).clamp(0, 1)  # (B, 3, ⌈H/2⌉, ⌈W/2⌉)
        return self.enlarge.forward_half(bright)[..., :height, :width]
