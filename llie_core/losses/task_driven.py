"""A recognizer's loss as the objective: alone (paper 1), or beside the enhancer's own (paper 2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from llie_core.imaging import full_precision


class TaskLoss:
    """The recognizer's loss on the model's image, nothing else (paper 1).

    With a frozen recognizer it trains the enhancer before it; with one that is not frozen, and is
    the model itself, it trains the recognizer. targets(batch) picks the recognizer's targets. The
    recognizer reads the image as `as_read` has it; `saturation`, where the model gives it, is
    logged.
    """

    def __init__(self, recognizer: nn.Module, targets: Callable[[dict], object]):
        self.recognizer: Any = recognizer  # a `Recognizer`, whose room losses do not import
        self.targets = targets

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks that the loss holds."""
        return (self.recognizer,)

    def __call__(self, outputs: dict, batch: dict) -> dict[str, torch.Tensor]:
        terms = self.recognizer.loss(as_read(outputs["image"]), self.targets(batch))
        return terms | ({"saturation": outputs["saturation"]} if "saturation" in outputs else {})


class BothLights(TaskLoss):
    r"""A pose recognizer's own objective: its loss in low light and in normal light, summed.

    Each light passes through a batch norm of its own (Lee et al.'s light-specific batch norm); the
    model's image is the low-light one, `batch["target"]` the normal-light one.

    gram: weight of `gram_distance`, which pulls the features of low light to those of normal light
    (theirs: 1e-4); 0 leaves it out.
    """

    def __init__(self, recognizer: nn.Module, targets: Callable[[dict], object], gram: float = 0.0):
        super().__init__(recognizer, targets)
        self.gram = gram

    def __call__(self, outputs: dict, batch: dict) -> dict[str, torch.Tensor]:
        targets: Any = self.targets(batch)
        images = {"low": as_read(outputs["image"]), "well": batch["target"]}
        features = {
            light: self.recognizer.features(image, light, targets.get("mean"))
            for light, image in images.items()
        }
        low, well = (
            self.recognizer.loss(images[light], targets, light=light, features=features[light])
            for light in images
        )
        terms = {
            "total": low["total"] + well["total"],
            "low_light": low["total"],
            "well_lit": well["total"],
        }
        if self.gram:
            terms["gram"] = gram_distance(features["low"], features["well"])
            terms["total"] = terms["total"] + self.gram * terms["gram"]
        return terms


def gram_distance(low: list[torch.Tensor], well: list[torch.Tensor]) -> torch.Tensor:
    r"""How far the channels of low-light features correlate otherwise than in normal light.

    .. math:: \frac{1}{4 L} \sum_l \sum_b \frac{1}{(h_l w_l)^2} \,
        \mathrm{mean}\,\big(G(W_{l,b}) - G(L_{l,b})\big)^2, \qquad G(F) = F F^T

    over the L layers l of features (B, C, h, w), five of a ResNet, and the images b of the batch,
    as the released code of Lee et al. has it (a fifth a layer, then a fourth); gradients go to low
    light alone.
    """
    total = low[0].new_zeros(())
    for dark, lit in zip(low, well, strict=True):
        dark, lit = full_precision(dark).flatten(2), full_precision(lit).detach().flatten(2)
        distance = (lit @ lit.mT - dark @ dark.mT).square().mean((1, 2))  # (B,)
        total = total + distance.sum() / dark.shape[2] ** 2 / len(low)
    return total / 4


class JointLoss:
    r"""L_total = W_up · L_up / s_up + W_down · L_down / s_down.   # Eq. (3.14)

    The thesis brings both losses "to the same range" without saying how. Here s_up and s_down are
    the means of L_up and L_down over the first training batches with the untrained enhancer, so
    that both start at 1 and their ratio is W_up : W_down from the first step; they stay fixed, and
    the log holds each loss before (`up_raw`, `down_raw`) and after (`up`, `down`) the division.

    upstream(outputs, batch) → dict with `total`, L_up of Eq. (3.13); recognizer.loss(images,
    targets) → dict with `total`, L_down of Eq. (3.1); targets(batch) picks the recognizer's
    targets. A weight of 0 skips that loss entirely.
    """

    def __init__(
        self,
        upstream: Callable[[dict, dict], dict],
        recognizer: nn.Module | None,
        targets: Callable[[dict], object],
        w_up: float,
        w_down: float,
    ):
        if min(w_up, w_down) < 0 or w_up + w_down == 0:
            raise ValueError(f"W_up {w_up} and W_down {w_down} must be ≥ 0 and not both 0")
        if w_down and recognizer is None:
            raise ValueError("W_down > 0 needs a recognizer")
        self.upstream, self.targets = upstream, targets
        self.recognizer: Any = recognizer  # a `Recognizer`, whose room losses do not import
        self.w_up, self.w_down = w_up, w_down
        self.s_up = self.s_down = 1.0

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks that the loss holds."""
        return () if self.recognizer is None else (self.recognizer,)

    @torch.no_grad()
    def prepare(self, model: Any, batches: list[dict]) -> None:
        """Measure s_up and s_down; the trainer calls this once, before the first step.

        model: the untrained `Enhancer`.
        """
        losses = [self._losses(model.training_outputs(batch["image"]), batch) for batch in batches]
        self.s_up = _mean([up["total"] for up, _ in losses])
        self.s_down = _mean([down["total"] for _, down in losses])

    def __call__(self, outputs: dict, batch: dict) -> dict[str, torch.Tensor]:
        up, down = self._losses(outputs, batch)
        scaled_up, scaled_down = up["total"] / self.s_up, down["total"] / self.s_down
        terms = {"total": self.w_up * scaled_up + self.w_down * scaled_down}  # Eq. (3.14)
        if self.w_up:
            terms |= {"up": scaled_up, "up_raw": up["total"]}
            terms |= {f"up_{name}": value for name, value in up.items() if name != "total"}
        if self.w_down:
            terms |= {"down": scaled_down, "down_raw": down["total"]}
            terms |= {f"down_{name}": value for name, value in down.items() if name != "total"}
        return terms

    def _losses(self, outputs: dict, batch: dict) -> tuple[dict, dict]:
        image = as_read(outputs["image"])
        nothing = {"total": image.new_zeros(())}
        up = self.upstream(outputs, batch) if self.w_up else nothing
        down = self.recognizer.loss(image, self.targets(batch)) if self.w_down else nothing
        return up, down


def as_read(image: torch.Tensor) -> torch.Tensor:
    """The image as a recognizer reads it in training and evaluation alike: clamped to [0, 1].

    That is what `Enhancer.enhance` returns. Pixels inside pass their gradient on, others none;
    0 and 1 are inside (with `clamp` alone a black pixel of a low-light image would be stuck).
    """
    return image.where((image >= 0) & (image <= 1), image.detach().clamp(0, 1))


def weights_of_ratio(ratio: str) -> tuple[float, float]:
    """W_up and W_down of a ratio as the thesis's Table 4.2 writes it: "2:1" → (1.0, 0.5).

    W_up is 1 except for "0:1", which is (0, 1).
    """
    try:
        up, down = (float(part) for part in ratio.split(":"))
    except ValueError:
        raise ValueError(f"ratio {ratio!r}: write W_up:W_down, such as 2:1") from None
    if min(up, down) < 0 or up + down == 0:
        raise ValueError(f"ratio {ratio!r}: both parts must be ≥ 0 and not both 0")
    return (1.0, down / up) if up else (0.0, 1.0)


def _mean(values: list[torch.Tensor]) -> float:
    """Mean of scalars, or 1 where there is nothing to divide by."""
    mean = float(torch.stack(values).mean())
    return mean if mean > 0 else 1.0
