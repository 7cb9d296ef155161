r"""Frames of a video: what a method estimates is smoothed over time, not the pixels.

A method that estimates a gain, a curve or maps for every frame anew flickers as its estimates do.
They are smoothed by an exponential mean,

.. math:: e_t = e_{t-1} + s\,(\hat e_t - e_{t-1}), \quad s = \alpha + (1 - \alpha)\,c, \quad
          \alpha = 1 - \exp(-\Delta t / \tau)

where ê_t is the estimate from frame t (`Enhancer.estimate_from`) and c in [0, 1] is how far that
place of the frame changed, beyond a change of the light of all places alike: maps follow what
moves at once and leave no trail. Values that stand for the whole frame have c = 0. At a cut all
begins anew. The limits are choices of this project.

The strength is one a scene (gate.py): the lowest that the gate leaves to the frames it reads.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from llie_core.imaging import luma
from llie_core.models.base import Enhancer
from llie_core.models.gate import allowed_strength

TAU = 0.5  # seconds
GRID = 16  # places of a frame along each axis at which its light is compared
LEAST_LIGHT = 0.02  # added to luma, so that noise in black is no change
MOVED = math.log(1.5)  # a change of light by this factor, beside that of the others, is c = 1
CUT = 0.5  # mean of c from which on a frame begins a scene
GATE_SECONDS = 1.0  # between the frames of a scene that the gate reads


def places(x: Tensor) -> Tensor:
    """Logarithm of the light at each place of a frame: (1, 3, H, W) → (1, 1, 16, 16)."""
    return (F.adaptive_avg_pool2d(luma(x), GRID) + LEAST_LIGHT).log()


def changed(light: Tensor, before: Tensor) -> Tensor:
    """c at each place, in [0, 1], from `places` of two frames."""
    ratio = light - before
    return ((ratio - ratio.median()).abs() / MOVED).clamp(max=1)


@dataclass(frozen=True)
class Scene:
    """The frames from one cut to the next.

    first: number of its first frame. seconds: when that is shown. strength: of all its frames.
    reason: why it is lower than asked, or "".
    """

    first: int
    seconds: float
    strength: float
    reason: str = ""


class Survey:
    """The first pass over a video: its scenes, and the strength of each.

    Args:
        strength, gate: as of `gate.enhance_gated`.
    """

    def __init__(self, model: Enhancer, strength: float = 1.0, gate: bool = True):
        self.model, self.strength, self.gate = model, strength, gate
        self.scenes: list[Scene] = []
        self.frames = 0
        self._light: Tensor | None = None
        self._gated = 0.0

    def see(self, x: Tensor, seconds: float) -> None:
        """Take the next frame, (1, 3, h, w) in [0, 1]: a small copy will do."""
        light, before = places(x), self._light
        if before is None or changed(light, before).mean() > CUT:
            self.scenes.append(Scene(self.frames, seconds, self.strength))
            self._gated = -math.inf
        if self.gate and seconds - self._gated >= GATE_SECONDS:
            self._lower_strength(x)
            self._gated = seconds
        self._light = light
        self.frames += 1

    def _lower_strength(self, x: Tensor) -> None:
        strength, reason = allowed_strength(x, self.model.enhance(x).to(x.dtype), self.strength)
        if strength < self.scenes[-1].strength:
            self.scenes[-1] = replace(self.scenes[-1], strength=strength, reason=reason)


class Steady:
    """Enhances the frames of a video in their order.

    smooths: whether the method estimates anything that is smoothed; known after the first frame.
    """

    def __init__(self, model: Enhancer, tau: float = TAU):
        self.model, self.tau, self.smooths = model, tau, False
        self._estimate: list = []
        self._light: Tensor | None = None
        self._shape = torch.Size()
        self._seconds = 0.0

    def __call__(self, x: Tensor, seconds: float, begins: bool = False) -> Tensor:
        """The enhanced frame.

        Args:
            x: (1, 3, H, W) in [0, 1].
            seconds: when it is shown.
            begins: whether it begins a scene; a frame of another size does too.

        Returns:
            (1, 3, H, W) in [0, 1].
        """
        estimate = self.model.estimate_from(x)
        self.smooths = bool(estimate)
        if not estimate:
            return self.model.enhance(x)
        light = places(x)
        if self._light is not None and not begins and x.shape == self._shape:
            alpha = 1 - math.exp(-max(seconds - self._seconds, 0) / self.tau)
            c = F.max_pool2d(changed(light, self._light), 3, 1, 1)  # with what is around it

            def smooth(new: Tensor, old: Tensor) -> Tensor:
                if new.ndim < 4 or min(new.shape[-2:]) == 1:  # of the whole frame
                    return torch.lerp(old, new, alpha)
                here = F.interpolate(c, new.shape[-2:], mode="bilinear").to(new)
                return torch.lerp(old, new, alpha + (1 - alpha) * here)

            estimate = tree_map(smooth, estimate, self._estimate)
        self._estimate, self._light = estimate, light
        self._shape, self._seconds = x.shape, seconds
        return self.model.enhance_with(x, estimate)


class Flicker:
    """Mean absolute change of the mean luma from frame to frame within scenes, and that mean."""

    def __init__(self):
        self._changes, self._lights = 0.0, 0.0
        self._steps = self._frames = 0
        self._before = 0.0

    def see(self, x: Tensor, begins: bool) -> None:
        """Take the next frame, (1, 3, H, W)."""
        light = float(luma(x).mean())
        if not begins:
            self._changes += abs(light - self._before)
            self._steps += 1
        self._before = light
        self._lights += light
        self._frames += 1

    @property
    def change(self) -> float:
        return self._changes / max(self._steps, 1)

    @property
    def light(self) -> float:
        return self._lights / max(self._frames, 1)
