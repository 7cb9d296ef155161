r"""RUAS: an illumination by unrolled steps, then a denoiser, both of searched cells.

"Retinex-inspired Unrolling with Cooperative Prior Architecture Search for Low-light Image
Enhancement", R. Liu, L. Ma, J. Zhang, X. Fan, Z. Luo, CVPR 2021, arXiv:2012.05609.

.. math:: \hat t_k = M(u_{k-1}) - \tfrac{1}{2}(u_{k-1} - y), \quad t_k = \mathrm{cell}_k(\hat t_k),
          \quad u_k = y / t_k

M is the maximum over a small window, the first estimate is M(y). After three steps a denoiser of
three cells takes off what it finds. 3,438 parameters; the searched cells are those of the released
network. `denoise=False` ends before the denoiser, as the authors do with their files for FiveK
(`upe`) and DARK FACE (`dark`).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer
from llie_core.tensors import read_released

STEPS = 3
LIGHT_WIDTH, NOISE_WIDTH = 3, 6
PLACES = ("c1_d", "c1_r", "c2_d", "c2_r", "c3_d", "c3_r", "c4")
# What was searched for each place: kernel, dilation, whether the input is added; None: nothing.
LIGHT_CELL = (None, (1, 1, True), (3, 2, True), (3, 1, False), (3, 1, False), None, (3, 1, False))
NOISE_CELL = ((1, 1, True), (1, 1, True), (3, 2, True), None, (1, 1, True), (1, 1, True), None)


class Searched(nn.Module):
    """One convolution, with its input added or not."""

    def __init__(self, channels: int, kernel: int, dilation: int, residual: bool):
        super().__init__()
        padding = kernel // 2 * dilation
        self.op = nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x) + x if self.residual else self.op(x)


class Cell(nn.Module):
    """Three stages that each set features aside (d) and hand others on (r); all are fused."""

    def __init__(self, channels: int, searched: tuple):
        super().__init__()
        for place, found in zip(PLACES, searched, strict=True):
            self.add_module(place, Searched(channels, *found) if found else nn.Identity())
        self.c5 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        aside = []
        for stage in ("c1", "c2", "c3"):
            aside.append(F.leaky_relu(self.get_submodule(f"{stage}_d")(x), 0.05))
            x = F.leaky_relu(self.get_submodule(f"{stage}_r")(x) + x, 0.05)
        last = F.leaky_relu(self.get_submodule("c4")(x), 0.05)
        return in_float32(self.c5, torch.cat([*aside, last], dim=1))


class LightStep(nn.Module):
    """y and u (B, 3, H, W) → the next u in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.cell = Cell(LIGHT_WIDTH, LIGHT_CELL)

    def forward(self, y: Tensor, u: Tensor | None) -> Tensor:
        estimate = window_maximum(y) if u is None else window_maximum(u) - 0.5 * (u - y)
        light = torch.sigmoid(self.cell(estimate)).clamp(0.001, 1.0)
        return (y / light).clamp(0, 1)


def window_maximum(x: Tensor) -> Tensor:
    """The maximum of each pixel, its right, its lower neighbour and the one between; 0 outside."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, stride=1)


class Lighten(nn.Module):
    """The unrolled steps."""

    def __init__(self):
        super().__init__()
        self.iems = nn.ModuleList(LightStep() for _ in range(STEPS))

    def forward(self, y: Tensor) -> Tensor:
        u = self.iems[0](y, None)
        for step in self.iems[1:]:
            u = step(y, u)
        return u


class Denoise(nn.Module):
    """An image less the noise that three cells find in it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, NOISE_WIDTH, 3, padding=1)
        self.nrms = nn.ModuleList(Cell(NOISE_WIDTH, NOISE_CELL) for _ in range(STEPS))
        self.activate = nn.Sequential(nn.Conv2d(NOISE_WIDTH, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        features = self.stem(x)
        for cell in self.nrms:
            features = cell(features)
        return x - self.activate(features)


class RUAS(Enhancer):
    """RUAS; layers bear the released names.

    Args:
        denoise: with the denoiser, as the authors use their file for LOL.
    """

    def __init__(self, denoise: bool = True):
        super().__init__()
        self.enhance_net = Lighten()
        self.denoise_net = Denoise() if denoise else None

    def forward(self, x: Tensor) -> Tensor:
        lit = self.enhance_net(x)
        return lit if self.denoise_net is None else self.denoise_net(lit)

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' checkpoint, a plain state dict.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes.
        """
        whole = self if self.denoise_net is not None else RUAS()
        state = read_released(path, whole.state_dict())
        self.load_state_dict({name: state[name] for name in self.state_dict()})
