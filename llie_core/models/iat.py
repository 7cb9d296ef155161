r"""IAT: a gain and an offset for every pixel, then one colour matrix and one gamma an image.

"You Only Need 90K Parameters to Adapt Light: a Light Weight Transformer for Image Enhancement and
Exposure Correction", Z. Cui, K. Li, L. Gu, S. Su, P. Gao, Z. Jiang, Y. Qiao, T. Harada, BMVC 2022,
arXiv:2205.14871.

.. math:: y = \mathrm{clip}\bigl(W\,(x \odot M + A),\ 10^{-8},\ 1\bigr)^{\gamma}

A local branch of convolutions in the form of a transformer's blocks gives M and A at full size. In
a global branch ten learned queries attend to the image at a quarter of its size; one gives γ, nine
the colour matrix W.

91,154 parameters, of which the paper says 90 k.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32, without_autocast
from llie_core.models.base import Enhancer
from llie_core.models.large import of_whole_image
from llie_core.tensors import read_released

WIDTH = 16  # of the local branch
DIM, HEADS, QUERIES = 64, 4, 10  # of the global branch
DROPPED = (0.01, 0.05, 0.1)  # share of images for which a block's residual is dropped in training
LAYER_SCALE = 1e-4


class Dropped(nn.Module):
    """Stochastic depth: in training, a residual is dropped for a share of the images."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, residual: Tensor) -> Tensor:
        if not self.training:
            return residual
        left = 1 - self.share
        drawn = torch.rand(len(residual), 1, 1, 1, device=residual.device) < left
        return residual * (drawn / left).to(residual.dtype)


class ColourNorm(nn.Module):
    """What stands for layer norm: a mixing of the channels, a scale and a shift, all learned."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, channels))
        self.color = nn.Parameter(torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.alpha.view(-1, 1, 1), self.beta.view(-1, 1, 1)
        return F.conv2d(x, self.color[..., None, None]) * scale + shift


class PixelMlp(nn.Module):
    """Two 1×1 convolutions and a GELU between."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LocalBlock(nn.Module):
    """A transformer's block with a 5×5 depthwise convolution in place of attention."""

    def __init__(self, channels: int, dropped: float):
        super().__init__()
        self.pos_embed = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1, self.norm2 = ColourNorm(channels), ColourNorm(channels)
        self.conv1, self.conv2 = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.attn = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.mlp = PixelMlp(channels, 4 * channels)
        self.gamma_1 = nn.Parameter(LAYER_SCALE * torch.ones(1, channels, 1, 1))
        self.gamma_2 = nn.Parameter(LAYER_SCALE * torch.ones(1, channels, 1, 1))
        self.dropped = Dropped(dropped)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        mixed = self.conv2(self.attn(self.conv1(self.norm1(x))))
        x = x + self.dropped(self.gamma_1 * mixed)
        return x + self.dropped(self.gamma_2 * self.mlp(self.norm2(x)))


class LocalBranch(nn.Module):
    """Gain M ≥ 0 and offset A in [−1, 1], each (B, 3, H, W)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.mul_blocks = nn.Sequential(*(LocalBlock(WIDTH, share) for share in DROPPED))
        self.add_blocks = nn.Sequential(*(LocalBlock(WIDTH, share) for share in DROPPED))
        self.mul_end = nn.Sequential(nn.Conv2d(WIDTH, 3, 3, padding=1), nn.ReLU())
        self.add_end = nn.Sequential(nn.Conv2d(WIDTH, 3, 3, padding=1), nn.Tanh())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kernel = module.kernel_size[0] * module.kernel_size[1]
                fan_out = kernel * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, (2 / fan_out) ** 0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.leaky_relu(self.conv1(x), 0.2)  # (B, 16, H, W)
        gain, offset = self.mul_blocks(y) + y, self.add_blocks(y) + y
        return in_float32(self.mul_end, gain), in_float32(self.add_end, offset)


class Embedding(nn.Module):
    """(B, 3, H, W) → (B, 64, ⌈H/4⌉, ⌈W/4⌉)."""

    def __init__(self):
        super().__init__()
        half = DIM // 2
        self.proj = nn.Sequential(
            nn.Conv2d(3, half, 3, stride=2, padding=1), nn.BatchNorm2d(half), nn.GELU(),
            nn.Conv2d(half, DIM, 3, stride=2, padding=1), nn.BatchNorm2d(DIM),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class QueryAttention(nn.Module):
    """Ten learned queries, the same for every image, attend to it: (B, N, 64) → (B, 10, 64)."""

    def __init__(self):
        super().__init__()
        self.q = nn.Parameter(torch.ones(1, QUERIES, DIM))
        self.k, self.v = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, DIM, bias=False)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(t) for t in (self.q.expand(len(x), -1, -1), self.k(x), self.v(x)))
        y = F.scaled_dot_product_attention(q, k, v)  # (B, 4, 10, 16)
        return self.proj(y.transpose(1, 2).flatten(2))


def heads(x: Tensor) -> Tensor:
    """(B, N, 64) → (B, 4, N, 16)."""
    return x.unflatten(2, (HEADS, DIM // HEADS)).transpose(1, 2)


class TokenMlp(nn.Module):
    """Two linear layers and a GELU between."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Generator(nn.Module):
    """(B, 64, h, w) → one token a query, (B, 10, 64)."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn, self.mlp = QueryAttention(), TokenMlp()

    def forward(self, x: Tensor) -> Tensor:
        tokens = (x + self.pos_embed(x)).flatten(2).transpose(1, 2)  # (B, h·w, 64)
        y = self.attn(self.norm1(tokens))
        return y + self.mlp(self.norm2(y))


class GlobalBranch(nn.Module):
    """γ (B, 1, 1, 1) and the colour matrix W (B, 3, 3)."""

    def __init__(self):
        super().__init__()
        self.gamma_base = nn.Parameter(torch.ones(1))
        self.color_base = nn.Parameter(torch.eye(3))
        self.conv_large = Embedding()
        self.generator = Generator()
        self.gamma_linear, self.color_linear = nn.Linear(DIM, 1), nn.Linear(DIM, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.generator.attn.v.weight)  # γ and W start from their bases

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.generator(self.conv_large(x))  # (B, 10, 64)
        gamma = in_float32(self.gamma_linear, tokens[:, :1]) + self.gamma_base
        colour = in_float32(self.color_linear, tokens[:, 1:]).view(-1, 3, 3) + self.color_base
        return gamma[..., None], colour


class IAT(Enhancer):
    """IAT for low light; layers bear the released names."""

    def __init__(self):
        super().__init__()
        self.local_net = LocalBranch()
        self.global_net = GlobalBranch()

    def forward(self, x: Tensor) -> Tensor:
        gain, offset = self.local_net(x)
        gamma, colour = of_whole_image(lambda: self.global_net(x))
        with without_autocast(x):
            y = torch.einsum("bij,bjhw->bihw", colour, x * gain + offset)
        return y.clamp(1e-8, 1.0) ** gamma

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' checkpoint, a plain state dict.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes.
        """
        self.load_state_dict(read_released(path, self.state_dict()))
