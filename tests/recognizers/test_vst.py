"""VST: its size, the released file, its parts, its loss and contours.

The authors' RGB_VST.pth is not here: the test of reading writes a file of its names and shapes
(llie_core/recognizers/vst_released.csv) with random values, and holds our network to a second
forward pass, written from the released names.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from released import Layers, released_table
from seeded import seeded
from torch import nn

from llie_core.metrics.cost import count_macs
from llie_core.recognizers import create_recognizer
from llie_core.recognizers import vst as module

# Name in the released file, shape, our name.
TABLE = [(row["released"], tuple(map(int, row["shape"].split())), row["ours"])
         for row in released_table(module)]  # fmt: skip


@pytest.fixture(scope="module")
def released():
    """Random values under the released names: norms near one, projections that keep the scale."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape, _ in TABLE:
        values = torch.randn(shape, generator=generator)
        norm = "norm" in name and name.endswith("weight")
        spread = shape[-1] ** -0.5 if len(shape) == 2 else 0.1
        state[name] = 1 + 0.1 * values if norm else spread * values
    return state


@pytest.fixture(scope="module")
def vst(released, tmp_path_factory):
    """VST with the weights of a file as the authors' training writes it."""
    path = tmp_path_factory.mktemp("vst") / "RGB_VST.pth"
    torch.save({f"module.{name}": value for name, value in released.items()}, path)
    model = create_recognizer("vst")
    model.load_released_weights(path)
    return model


# Size and weights


def test_macs(vst):
    """No published figure is at hand; 41.26 G is what the parts add up to."""
    assert count_macs(vst, (224, 224)).macs == pytest.approx(41.26e9, rel=0.001)


def test_the_table_names_every_tensor_once(vst):
    assert len({name for name, _, _ in TABLE}) == len(TABLE) == 492
    assert sum(math.prod(shape) for _, shape, _ in TABLE) == 44_555_606
    ours = {name: tuple(value.shape) for name, value in vst.state_dict().items()}
    assert {own: shape for _, shape, own in TABLE} == ours


def test_released_tensors_go_where_they_belong(vst, released):
    state = vst.state_dict()
    for name, _, own in TABLE:
        assert torch.equal(state[own], released[name]), name
    for name, own in {
        "rgb_backbone.tokens_to_token.project.bias": "encoder.project.bias",
        "rgb_backbone.blocks.13.mlp.fc2.bias": "encoder.transformer.blocks.13.mlp.2.bias",
        "transformer.encoderlayer.rgb_norm.weight": "convertor.norm.weight",
        "token_trans.contour_token_pre.k.weight": "decoder.tasks.contour.k.weight",
        "decoder.decoder1.att.kqv.bias": "decoder.step8.performer.kqv.bias",
        "decoder.token_pre_1_4.mlp2_c.2.weight": "decoder.step4.contour.mlp.2.weight",
        "decoder.decoder3_c.project.weight": "decoder.contour_up.project.weight",
        "decoder.pre_1_8.weight": "decoder.saliency_heads.1.weight",
    }.items():
        assert torch.equal(state[own], released[name])


class Released(Layers):
    """VST by the released names."""

    def linear(self, x, name):
        return super().linear(name, x)

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self[f"{name}.weight"], self[f"{name}.bias"])

    def mlp(self, x, name, first="0", second="2"):
        return self.linear(F.gelu(self.linear(x, f"{name}.{first}")), f"{name}.{second}")

    def attention(self, x, name, heads):
        width = self[f"{name}.qkv.weight"].shape[0] // 3
        q, k, v = self.linear(x, f"{name}.qkv").split(width, dim=2)
        parts = [t.reshape(len(x), -1, heads, width // heads).transpose(1, 2) for t in (q, k, v)]
        scale = (x.shape[2] // heads) ** -0.5
        y = (parts[0] @ parts[1].mT * scale).softmax(-1) @ parts[2]
        return self.linear(y.transpose(1, 2).reshape(len(x), -1, width), f"{name}.proj"), v

    def blocks(self, x, name, depth, heads):
        for k in range(depth):
            b = f"{name}.blocks.{k}"
            x = x + self.attention(self.norm(x, f"{b}.norm1"), f"{b}.attn", heads)[0]
            x = x + self.mlp(self.norm(x, f"{b}.norm2"), f"{b}.mlp", "fc1", "fc2")
        return x

    def t2t(self, x, name):
        y, v = self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attn", 1)
        y = y + v
        return y + self.mlp(self.norm(y, f"{name}.norm2"), f"{name}.mlp", "fc1", "fc2")

    def task(self, x, name, place):
        y = self.norm(x, f"{name}.norm")
        q, t = self.linear(y[:, 1:-1], f"{name}.q"), y[:, place][:, None]
        weight = torch.sigmoid(q @ self.linear(t, f"{name}.k").mT / math.sqrt(384))
        return x[:, 1:-1] + self.linear(weight @ self.linear(t, f"{name}.v"), f"{name}.proj")

    def both_tasks(self, x, name, depth, heads):
        x = self.blocks(x, f"{name}.encoderlayer", depth, heads)
        x = self.norm(x, f"{name}.encoderlayer.norm")
        saliency = self.task(x, f"{name}.saliency_token_pre", 0)
        return x, saliency, self.task(x, f"{name}.contour_token_pre", -1)

    def performer(self, x, name):
        k, q, v = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.kqv").split(64, dim=2)
        w = self[f"{name}.w"].T
        k, q = (torch.exp(t @ w - (t * t).sum(2, keepdim=True) / 2) / math.sqrt(32) for t in (k, q))
        weight = q @ k.mT  # all pairs, where the linear form never writes them out
        y = weight @ v / (weight.sum(2, keepdim=True) + 1e-8)
        x = x + self.linear(y, f"{name}.proj")
        return x + self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp")

    def up(self, x, name, side, kernel, stride, padding):
        y = self.linear(x, f"{name}.project").mT
        return F.fold(y, side, kernel, stride=stride, padding=padding).flatten(2).mT

    def step(self, tokens, encoded, k, name, side):
        d, p = f"decoder.decoder{k}", f"decoder.token_pre_{name}"
        x = self.mlp(self.norm(tokens[:, 1:-1], f"{d}.norm"), f"{d}.mlp")
        x = torch.cat([self.up(x, d, side, 3, 2, 1), encoded], 2)
        x = self.performer(self.mlp(x, f"{d}.concatFuse"), f"{d}.att")
        x = self.mlp(self.norm(x, f"{p}.norm"), f"{p}.mlp")
        x, s, c = self.both_tasks(torch.cat([tokens[:, :1], x, tokens[:, -1:]], 1), p, 2, 1)
        s = self.mlp(self.norm(s, f"{p}.norm2"), f"{p}.mlp2")
        return x, s, self.mlp(self.norm(c, f"{p}.norm2_c"), f"{p}.mlp2_c")

    def encode(self, x):
        """Tokens at 1/4, 1/8 and 1/16 of normalised images (B, 3, 224, 224)."""
        t = "rgb_backbone.tokens_to_token"
        x4 = self.t2t(F.unfold(x, 7, padding=2, stride=4).mT, f"{t}.attention1")
        x8 = self.t2t(F.unfold(square(x4), 3, padding=1, stride=2).mT, f"{t}.attention2")
        y = self.linear(F.unfold(square(x8), 3, padding=1, stride=2).mT, f"{t}.project")
        y = torch.cat([self["rgb_backbone.cls_token"].expand(len(x), -1, -1), y], 1)
        y = self.blocks(y + self["rgb_backbone.pos_embed"], "rgb_backbone", 14, 6)
        return x4, x8, self.norm(y, "rgb_backbone.norm")[:, 1:]

    def convert(self, y):
        """The tokens of both tasks around those of the image."""
        name = "transformer.encoderlayer"
        y = self.norm(self.blocks(y, name, 4, 6), f"{name}.rgb_norm")
        y = self.mlp(self.norm(y, "token_trans.norm"), "token_trans.mlp_s")
        first, last = (
            self[f"token_trans.{name}_token"].expand(len(y), -1, -1)
            for name in ("saliency", "contour")
        )
        return torch.cat([first, y, last], 1)

    def forward(self, x):
        """Logits of saliency and of contours at 1/16, 1/8, 1/4 and 1/1."""
        x4, x8, y = self.encode(x)
        y, s16, c16 = self.both_tasks(self.convert(y), "token_trans", 4, 6)
        s16 = self.mlp(self.norm(s16, "decoder.norm"), "decoder.mlp")
        c16 = self.mlp(self.norm(c16, "decoder.norm_c"), "decoder.mlp_c")
        y, s8, c8 = self.step(y, x8, 1, "1_8", 28)
        y, s4, c4 = self.step(y, x4, 2, "1_4", 56)
        s1 = self.up(s4, "decoder.decoder3", 224, 7, 4, 2)
        c1 = self.up(c4, "decoder.decoder3_c", 224, 7, 4, 2)
        return self.heads((s16, s8, s4, s1), ""), self.heads((c16, c8, c4, c1), "_c")

    def heads(self, tokens, end):
        sizes = ("1_16", "1_8", "1_4", "1_1")
        return [
            square(self.linear(t, f"decoder.pre_{size}{end}"))
            for size, t in zip(sizes, tokens, strict=True)
        ]


def square(x):
    """Tokens (B, N, C) as maps (B, C, √N, √N)."""
    return x.mT.reshape(len(x), x.shape[2], math.isqrt(x.shape[1]), -1)


def test_the_network_is_the_released_one(vst, released):
    x = seeded(1, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        ours = vst(x)
        theirs = Released(released).forward((x - mean[:, None, None]) / std[:, None, None])
    for mine, other in zip(ours[0] + ours[1], theirs[0] + theirs[1], strict=True):
        assert other.std() > 0.02
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    assert [tuple(s.shape) for s in ours[0]] == [(1, 1, n, n) for n in (14, 28, 56, 224)]


# Parts


def test_position_code():
    code = module.sinusoids(197)[0]
    assert code.shape == (197, 384)
    assert torch.equal(code[0], torch.tensor([0.0, 1.0]).repeat(192))
    for p, i in ((3, 0), (100, 10), (196, 382)):
        angle = p / 10000 ** (i / 384)
        expected = torch.tensor([math.sin(angle), math.cos(angle)])
        torch.testing.assert_close(code[p, i : i + 2], expected)


# Loss


def test_contours_are_two_pixels_wide():
    masks = torch.zeros(3, 1, 12, 15)
    masks[0, :, 3:9, 4:11] = 1
    masks[1, :, :5] = 1
    masks[2] = 1
    gradients = [np.gradient(m[0].numpy()) for m in masks]
    expected = np.stack([(gy != 0) | (gx != 0) for gy, gx in gradients])[:, None]
    contours = module.contours_of(masks)
    assert np.array_equal(contours.numpy(), expected)
    assert contours[1].sum() == 2 * 15 and contours[2].sum() == 0


def with_logits(vst, monkeypatch, make):
    sizes = (14, 28, 56, 224)
    monkeypatch.setattr(
        vst, "forward", lambda x: ([make(0, n) for n in sizes], [make(1, n) for n in sizes])
    )


def test_flat_logits_cost_ln_2_each(vst, monkeypatch):
    with_logits(vst, monkeypatch, lambda _, n: torch.zeros(2, 1, n, n))
    terms = vst.loss(seeded(2, 3, 20, 30), seeded(2, 1, 20, 30) > 0.5)
    for name in ("saliency", "contour"):
        assert terms[name].item() == pytest.approx(2.8 * math.log(2), rel=1e-5)
    assert terms["total"].item() == pytest.approx(5.6 * math.log(2), rel=1e-5)


def test_the_true_mask_and_contour_cost_nothing(vst, monkeypatch):
    mask = torch.zeros(1, 1, 448, 448)
    mask[..., 100:300, 50:333] = 0.9
    truth = [(mask > 0.5).float(), module.contours_of((mask > 0.5).float())]

    def logits(task, n, sign=1):
        at_224 = truth[task][..., 1::2, 1::2]  # the nearest pixel: centre 2 i + 1
        step = 224 // n
        return sign * 40 * (2 * at_224[..., step // 2 :: step, step // 2 :: step] - 1)

    with_logits(vst, monkeypatch, logits)
    assert vst.loss(torch.zeros(1, 3, 448, 448), mask)["total"] < 1e-6
    with_logits(
        vst, monkeypatch, lambda task, n: logits(task, n, -1 if (task, n) == (1, 56) else 1)
    )
    terms = vst.loss(torch.zeros(1, 3, 448, 448), mask)
    assert terms["contour"].item() == pytest.approx(0.8 * 40) and terms["saliency"] < 1e-6


def test_the_scale_of_attention_is_that_of_its_input():
    torch.manual_seed(0)
    attention = module.Attention(12, 4, heads=2)
    x = torch.randn(2, 5, 12)
    y, values = attention(x)
    q, k, v = attention.qkv(x).chunk(3, 2)
    heads = [
        (q[..., c] @ k[..., c].mT / math.sqrt(6)).softmax(2) @ v[..., c]
        for c in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(y, attention.proj(torch.cat(heads, 2)))
    torch.testing.assert_close(values, v)


def test_performer_estimates_attention():
    """With many random features its weights are those of softmax attention without a scale."""
    torch.manual_seed(0)
    performer = module.Performer(features=64).eval().double()
    with torch.no_grad():
        performer.w.copy_(torch.randn(64, 64))
        many = torch.cat([performer.features(0.3 * torch.randn(1, 2, 64).double())])
    assert many.shape == (1, 2, 64) and (many > 0).all()
    x = 0.1 * torch.randn(200, 1, 64).double()
    performer.w = nn.Parameter(torch.randn(20_000, 64).double())
    features = performer.features(x)[:, 0]
    torch.testing.assert_close(
        features @ features.T, (x[:, 0] @ x[:, 0].T).exp(), rtol=0.2, atol=0.0
    )


def test_reverse_t2t_adds_overlapping_patches():
    up = module.ReverseT2T(4, kernel=3, stride=2, padding=1)
    nn.init.zeros_(up.project.weight)
    nn.init.ones_(up.project.bias)
    line = torch.tensor([1.0, 2, 1, 1])  # patches centred on pixels 0 and 2 of 4
    expected = (line[:, None] * line).flatten()[:, None].expand(16, 64)
    torch.testing.assert_close(up(torch.randn(1, 4, 64))[0], expected)
