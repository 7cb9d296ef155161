"""Paper 5: NEID, light and detail from half the pixels.

Rows: Table 1's methods that learn nothing, run here (BIMEF, CRM, Dong, LIME, MF, MSR, NPE); its
learned rivals as an external folder; NEID and the ablations of Table 2.
"""

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from llie_core.losses.colour import neid_loss
from llie_core.models import create_enhancer
from llie_core.recipes.paired import BASELINES, PairedRecipe, PairedSettings
from llie_core.runs import RunKey

CLASSICAL = ("bimef", "crm", "dong", "lime", "mf", "msr", "npe")  # of Table 1
ABLATIONS = ("neid+U-net architecture", "neid+LE", "neid+LE + DR")  # of Table 2
PLANNED_STEPS = 2000 * 61  # 2000 epochs of 485 pairs in batches of 8


@dataclass(frozen=True)
class NeidSettings(PairedSettings):
    """Settings of NEID.

    delta: of the Huber loss; hue: "printed" or "circular" (losses/colour.py); detail_target:
    "image", the full-size low-light crop, or "target", Eq. (3) as printed; init: "paper", N(0,
    0.02²), or "pytorch", with which short trainings get off the ground (models/neid.py).
    """

    models: tuple[str, ...] = ("neid",)
    baselines: tuple[str, ...] = (*BASELINES, *CLASSICAL)
    delta: float = 0.1
    hue: str = "printed"
    detail_target: str = "image"
    init: str = "pytorch"
    planned_steps: int = PLANNED_STEPS
    cost_size: tuple[int, ...] = (400, 600)


_QUICK = NeidSettings("builtin-photos", "quick", steps=150, validate_every=50)
PROFILES = {
    "smoke": replace(
        _QUICK, profile="smoke", baselines=("identity", "gamma", "clahe", "msr"), size=32,
        train_count=8, val_count=2, test_count=2, test_size=48, steps=2, batch_size=2,
        validate_every=2, cost_size=(64, 96),
    ),
    "quick": _QUICK,
    "reference": replace(
        _QUICK, dataset="lol", profile="reference", size=96, val_count=15, steps=1500, lr=5e-4,
        validate_every=250, protocols=(), models=("neid",),
    ),
    "paper": replace(
        _QUICK, dataset="lol", profile="paper", models=("neid", *ABLATIONS), size=256,
        val_count=15, steps=PLANNED_STEPS, lr=1e-4, schedule="step",
        milestones=(500 * 61, 1000 * 61), decay=0.1, validate_every=61 * 20, precision="mixed",
        workers=8, protocols=(), init="paper",
    ),
}  # fmt: skip


class NeidRecipe(PairedRecipe):
    name = "neid"
    title = "NEID: light and detail from half the pixels"
    profiles = PROFILES
    trained_rows = ("neid", *ABLATIONS)
    loss_code = ("llie_core.losses.colour",)

    def network(self, model: str, variant: str, settings: NeidSettings) -> nn.Module:
        return create_enhancer(model, variant=variant, init=settings.init)

    def objective(self, key: RunKey, settings: NeidSettings):
        return partial(neid_loss, **self.loss_identity(key, settings))

    def loss_identity(self, key: RunKey, settings: NeidSettings) -> dict:
        return {
            "delta": settings.delta,
            "hue": settings.hue,
            "detail_target": settings.detail_target,
        }

    def is_papers_own(self, settings: NeidSettings) -> bool:
        return settings.dataset == "lol"
