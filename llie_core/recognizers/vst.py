r"""Visual Saliency Transformer (VST): salient object detection with transformers alone.

N. Liu, N. Zhang, K. Wan, L. Shao, J. Han, "Visual Saliency Transformer", ICCV 2021, the model for
RGB images. Its backbone is T2T-ViT_t-14: L. Yuan et al., "Tokens-to-Token ViT: Training Vision
Transformers from Scratch on ImageNet", ICCV 2021.

An image of 224×224 becomes tokens at strides 4, 8 and 16. A saliency token and a contour token
join those of stride 16; reverse T2T unfolds the tokens step by step back to stride 8, 4 and 1,
and at each step the two task tokens tell every place whether it is salient or on a contour.

Differs from the paper:
- structure, names and shapes are those of the released RGB model, where that says more than the
  paper: a Performer after the encoder's tokens are fused, attention in the T2T module scaled by
  the width of its input (147, 576), not of its queries (64), no dropout but the Performer's;
- contours are made from the masks as EGNet's are, which the authors trained on: a pixel whose
  central difference in x or y is not 0, hence two pixels wide. Masks and contours are made
  smaller by taking the nearest pixel, as theirs are;
- images are made 224×224 by an antialiased bilinear filter (that of Pillow, as in the released
  code), without the rounding to 8 bits; the recipe, not this file, crops and flips for training.

The released weights are not here: `load_released_weights` reads the authors' file, whose names and
shapes `vst_released.csv` lists, with ours beside them. Its tests write such a file themselves.
"""

import csv
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import (
    check_images,
    check_shapes,
    full_precision,
    in_float32,
    without_autocast,
)
from llie_core.recognizers.base import Recognizer
from llie_core.recognizers.targets import checked_masks
from llie_core.tensors import read_released

SIZE = 224  # side of the image that the network sees
WIDTH = 384  # of the tokens at stride 16
TOKEN = 64  # width of the tokens at strides 8 and 4
HEADS = 6
LOSS_WEIGHTS = (0.5, 0.5, 0.8, 1.0)  # of the predictions at strides 16, 8, 4, 1


class VST(Recognizer):
    """VST for RGB images: 44,555,606 parameters, the position code and ImageNet classifier of its
    backbone included (the released file holds both).

    Args:
        frozen: see `Recognizer`.
    """

    def __init__(self, frozen: bool = True):
        super().__init__()
        self.encoder = Encoder()
        self.convertor = Transformer(depth=4, heads=HEADS)
        self.decoder = Decoder()
        self.hold_statistics()
        if frozen:
            self.freeze()

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Saliency and contour logits of images (B, 3, 224, 224) in [0, 1].

        Returns:
            two lists, each (B, 1, 14, 14), (B, 1, 28, 28), (B, 1, 56, 56), (B, 1, 224, 224).
        """
        x16, x8, x4 = self.encoder((x - self.mean) / self.std)
        return self.decoder(self.convertor(x16), x8, x4)

    def loss(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        r"""Binary cross-entropy of saliency and contours at four sizes.

        .. math:: L = \sum_{s} w_s \big( \mathrm{BCE}(S_s, M_s) + \mathrm{BCE}(C_s, \partial M_s)
                  \big), \quad w = 0.5, 0.5, 0.8, 1 \text{ at } 14, 28, 56, 224

        Every BCE is a mean over the pixels and images of the batch, so L does not grow with them.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            targets: masks (B, 1, H, W), float in [0, 1] or bool; salient above 0.5.

        Returns:
            `total`, and its two parts `saliency` and `contour`, weights included; scalars.
        """
        check_shapes("VST.loss", images=images)
        masks = (checked_masks(targets, images) > 0.5).to(self.mean)
        saliency, contour = self(self._resized(images))
        terms = {
            "saliency": _weighted_bce(saliency, masks),
            "contour": _weighted_bce(contour, contours_of(masks)),
        }
        return {"total": terms["saliency"] + terms["contour"], **terms}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Saliency (B, 1, H, W) in [0, 1] of images (B, 3, H, W), resized back bilinearly."""
        check_images("VST.predict", images=images)
        saliency = self(self._resized(images))[0][-1].sigmoid()
        return _resize(saliency, images.shape[2:]).clamp(0, 1)

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' RGB_VST.pth.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes than the table's.
        """
        names, ours = released_names(), self.state_dict()
        released = read_released(path, {name: ours[own] for name, own in names.items()})
        self.load_state_dict({own: released[name] for name, own in names.items()})

    def _resized(self, images: Tensor) -> Tensor:
        return _resize(images.to(self.mean.dtype), (SIZE, SIZE))


def released_names() -> dict[str, str]:
    """Name in the released file → name here, of every tensor; from vst_released.csv."""
    with Path(__file__).with_name("vst_released.csv").open(encoding="utf-8", newline="") as file:
        return {row["released"]: row["ours"] for row in csv.DictReader(file)}


def contours_of(masks: Tensor) -> Tensor:
    """Contours (B, 1, H, W) of binary masks: 1 where a pixel's two neighbours in a row or column
    differ (at the image's edge: where it differs from its only neighbour)."""
    down = F.pad(masks, (0, 0, 1, 1), mode="replicate")
    across = F.pad(masks, (1, 1, 0, 0), mode="replicate")
    changes = (down[..., 2:, :] != down[..., :-2, :]) | (across[..., 2:] != across[..., :-2])
    return changes.to(masks)


def _weighted_bce(logits: list[Tensor], target: Tensor) -> Tensor:
    """Weighted sum over the sizes of the mean BCE with `target` (B, 1, H, W)."""
    target = F.interpolate(target, (SIZE, SIZE), mode="nearest-exact")
    total = target.new_zeros(())
    for weight, logit in zip(LOSS_WEIGHTS, logits, strict=True):
        small = F.interpolate(target, logit.shape[2:], mode="nearest-exact")
        total = total + weight * F.binary_cross_entropy_with_logits(logit, small)
    return total


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", antialias=True)


class Encoder(nn.Module):
    """T2T-ViT_t-14: tokens of stride 16 (B, 196, 384), 8 (B, 784, 64) and 4 (B, 3136, 64)."""

    def __init__(self):
        super().__init__()
        self.split4 = nn.Unfold(7, stride=4, padding=2)
        self.split = nn.Unfold(3, stride=2, padding=1)
        self.attention4 = TokenTransformer(3 * 7 * 7)
        self.attention8 = TokenTransformer(TOKEN * 3 * 3)
        self.project = nn.Linear(TOKEN * 3 * 3, WIDTH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(sinusoids((SIZE // 16) ** 2 + 1), requires_grad=False)
        self.transformer = Transformer(depth=14, heads=HEADS)
        # Not used: it keeps the released file whole, and the number of parameters as published.
        self.classifier = nn.Linear(WIDTH, 1000)
        self.apply(_truncated_normal)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x4 = self.attention4(self.split4(x).transpose(1, 2))  # (B, 3136, 147) → (B, 3136, 64)
        x8 = self.attention8(self.split(as_map(x4)).transpose(1, 2))  # (B, 784, 64)
        x16 = self.project(self.split(as_map(x8)).transpose(1, 2))  # (B, 196, 384)
        x16 = torch.cat([self.class_token.expand(len(x), -1, -1), x16], 1) + self.position
        return self.transformer(x16)[:, 1:], x8, x4


class Decoder(nn.Module):
    """Saliency and contour logits at strides 16, 8, 4 and 1; reverse T2T leads from each to the
    next, and the task tokens go along."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = mlp(WIDTH, WIDTH, WIDTH)
        self.saliency_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.contour_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.tasks = TaskTransformer(depth=4, heads=HEADS)
        self.saliency = NormMLP(WIDTH, WIDTH, TOKEN)
        self.contour = NormMLP(WIDTH, WIDTH, TOKEN)
        self.step8, self.step4 = Step(SIZE // 8), Step(SIZE // 4)
        self.saliency_up = ReverseT2T(SIZE, kernel=7, stride=4, padding=2)
        self.contour_up = ReverseT2T(SIZE, kernel=7, stride=4, padding=2)
        self.saliency_heads = nn.ModuleList([nn.Linear(TOKEN, 1) for _ in LOSS_WEIGHTS])
        self.contour_heads = nn.ModuleList([nn.Linear(TOKEN, 1) for _ in LOSS_WEIGHTS])
        self.apply(_xavier)

    def forward(self, x16: Tensor, x8: Tensor, x4: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        saliency_token = self.saliency_token.expand(len(x16), -1, -1)  # (B, 1, 384)
        contour_token = self.contour_token.expand(len(x16), -1, -1)
        tokens = torch.cat([saliency_token, self.mlp(self.norm(x16)), contour_token], 1)
        tokens, s16, c16 = self.tasks(tokens)  # (B, 1 + 196 + 1, 384), (B, 196, 384) twice
        tokens, s8, c8 = self.step8(tokens, x8)  # (B, 1 + 784 + 1, 384), (B, 784, 64) twice
        _, s4, c4 = self.step4(tokens, x4)  # (B, 3136, 64) twice
        saliency = [self.saliency(s16), s8, s4, self.saliency_up(s4)]
        contour = [self.contour(c16), c8, c4, self.contour_up(c4)]
        return _maps(self.saliency_heads, saliency), _maps(self.contour_heads, contour)


class Step(nn.Module):
    """Tokens to half the stride: reverse T2T, fusion with the encoder's tokens, task attention."""

    def __init__(self, side: int):
        super().__init__()
        self.narrow = NormMLP(WIDTH, TOKEN, TOKEN)
        self.up = ReverseT2T(side, kernel=3, stride=2, padding=1)
        self.fuse = mlp(2 * TOKEN, TOKEN, TOKEN)
        self.performer = Performer()
        self.widen = NormMLP(TOKEN, WIDTH, WIDTH)
        self.tasks = TaskTransformer(depth=2, heads=1)
        self.saliency = NormMLP(WIDTH, TOKEN, TOKEN)
        self.contour = NormMLP(WIDTH, TOKEN, TOKEN)

    def forward(self, tokens: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All tokens (B, 1 + N + 1, 384) and the encoder's (B, 4 N, 64) → all tokens
        (B, 1 + 4 N + 1, 384), saliency and contour features (B, 4 N, 64)."""
        saliency_token, x, contour_token = tokens[:, :1], tokens[:, 1:-1], tokens[:, -1:]
        x = self.fuse(torch.cat([self.up(self.narrow(x)), encoded], 2))  # (B, 4 N, 64)
        x = self.widen(self.performer(x))  # (B, 4 N, 384)
        tokens, s, c = self.tasks(torch.cat([saliency_token, x, contour_token], 1))
        return tokens, self.saliency(s), self.contour(c)


class ReverseT2T(nn.Module):
    """Every token becomes a kernel×kernel patch; overlapping patches add up to a finer grid."""

    def __init__(self, side: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.project = nn.Linear(TOKEN, TOKEN * kernel**2)
        self.fold = nn.Fold((side, side), kernel, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, 64) → (B, N stride², 64)"""
        return self.fold(self.project(x).transpose(1, 2)).flatten(2).transpose(1, 2)


class TaskTransformer(nn.Module):
    """Transformer over all tokens, then patch-task attention for each of the two tasks."""

    def __init__(self, depth: int, heads: int):
        super().__init__()
        self.transformer = Transformer(depth, heads)
        self.saliency, self.contour = TaskAttention(), TaskAttention()

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1 + N + 1, 384) → the same, and saliency and contour features (B, N, 384)."""
        tokens = self.transformer(tokens)
        saliency_token, x, contour_token = tokens[:, :1], tokens[:, 1:-1], tokens[:, -1:]
        return tokens, self.saliency(x, saliency_token), self.contour(x, contour_token)


class TaskAttention(nn.Module):
    """Patch tokens ask one task token; with a single key, a sigmoid stands for the softmax."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """x (B, N, 384), task (B, 1, 384) → (B, N, 384)"""
        q, t = self.q(self.norm(x)), self.norm(task)
        weight = (q @ self.k(t).transpose(1, 2) * WIDTH**-0.5).sigmoid()  # (B, N, 1)
        return x + self.proj(weight * self.v(t))


class Transformer(nn.Module):
    """Pre-norm transformer blocks of width 384, and a last norm."""

    def __init__(self, depth: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList([Block(heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(WIDTH)
        self.apply(_truncated_normal)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Block(nn.Module):
    """Self-attention and an MLP of three times the width, each added to its input."""

    def __init__(self, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(WIDTH, WIDTH, heads)
        self.mlp = mlp(WIDTH, 3 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))[0]
        return x + self.mlp(self.norm2(x))


class TokenTransformer(nn.Module):
    """The T2T module's block: width `dim` → 64, so the values stand in for the skipped input."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(TOKEN)
        self.attention = Attention(dim, TOKEN, heads=1)
        self.mlp = mlp(TOKEN, TOKEN, TOKEN)

    def forward(self, x: Tensor) -> Tensor:
        attended, values = self.attention(self.norm1(x))
        x = values + attended
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention (B, N, dim) → (B, N, width), and its values (B, N, width)."""

    def __init__(self, dim: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (B, N, 3, heads, width / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, width / heads) each
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(y.transpose(1, 2).flatten(2)), v.transpose(1, 2).flatten(2)


class Performer(nn.Module):
    """Attention in linear time by positive random features, and an MLP; width 64.

    K. Choromanski et al., "Rethinking Attention with Performers", ICLR 2021.
    """

    def __init__(self, features: int = TOKEN // 2, dropout: float = 0.1):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(TOKEN), nn.LayerNorm(TOKEN)
        self.kqv = nn.Linear(TOKEN, 3 * TOKEN)
        self.proj = nn.Linear(TOKEN, TOKEN)
        self.mlp = mlp(TOKEN, TOKEN, TOKEN)
        self.dropout = nn.Dropout(dropout)
        w = nn.init.orthogonal_(torch.empty(features, TOKEN)) * math.sqrt(features)
        self.w = nn.Parameter(w, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = full_precision(self.kqv(self.norm1(x))).chunk(3, dim=2)  # (B, N, 64) each
        with without_autocast(x):  # exponentials span more than bfloat16 resolves
            k, q = self.features(k), self.features(q)  # (B, N, 32)
            y = q @ (k.transpose(1, 2) @ v)  # (B, N, 64)
            y = y / (q @ k.sum(1).unsqueeze(2) + 1e-8)  # by (B, N, 1)
        x = x + self.dropout(self.proj(y))
        return x + self.dropout(self.mlp(self.norm2(x)))

    def features(self, x: Tensor) -> Tensor:
        """exp(w x − |x|² / 2) / √m, whose products estimate exp(q k)."""
        half_square = x.square().sum(2, keepdim=True) / 2
        return (x @ self.w.T - half_square).exp() / math.sqrt(len(self.w))


class NormMLP(nn.Module):
    """Layer norm and an MLP: widths dim → hidden → out."""

    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp = mlp(dim, hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x))


def mlp(dim: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, out))


def as_map(x: Tensor) -> Tensor:
    """Tokens (B, N², C) → map (B, C, N, N)."""
    side = math.isqrt(x.shape[1])
    return x.transpose(1, 2).unflatten(2, (side, side))


def _maps(heads: nn.ModuleList, levels: list[Tensor]) -> list[Tensor]:
    return [as_map(in_float32(head, x)) for head, x in zip(heads, levels, strict=True)]


def sinusoids(count: int) -> Tensor:
    """Position code (1, count, 384): sine and cosine in turn, wavelengths 2π … 2π · 10⁴."""
    pair = torch.arange(WIDTH, dtype=torch.float64) // 2
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10000 ** (2 * pair / WIDTH)
    even = torch.arange(WIDTH) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float()[None]


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
