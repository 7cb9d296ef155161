"""JCRNet: correct colour, refine detail and balance exposure in three stages.

"Joint Correcting and Refinement for Balanced Low-Light Image Enhancement", N. Yu, H. Shi, Y. Han,
arXiv:2309.16128 ("paper 3" here).

    x ─▶ FES ─▶ x_A, features ─▶ JRS ─▶ x_J ─▶ IAS ─▶ image

FES, feature extraction: a learned gradient step, shallow features with channel attention (CAB),
an encoder-decoder (E-D) and the self-supervised block (SSB), which predicts an image x_A that the
loss compares with the target, and lets it gate the features.
JRS, joint refinement: an edge map of x_A yields (S_c, S_h), which scale and shift features of x_A;
a residual network corrects their colour.
IAS, illumination adjustment: a second gradient step, features of both stages merged, and a
lightening-darkening block (LBP) that adds the residual R_F of back projection.

Measured: 1,964,061 parameters, with the `NEVER_RUN` 2,012,747, and 219.696 GMAC at 384×384
(published: 2.01 M, 219.74 G).

The authors released network and losses in MindSpore (github.com/woshiyll/JCRNet, commit 3e60252)
without weights, training script or loader, and with a configuration of the work they build on; the
network does not run. As here, it has 2×2 transposed convolutions and a head set for each SFTL.
Unlike here, stage 3 has a shallow block of its own and adds to x, the SSB is 1×1 and has no gate,
the LBP sees x only and has a 1×1 convolution for λ, and the gradient steps are constants.

Differs from the paper:
- Three things in Sec. III-B are not what the released file does. By default ours are released: an
  SFTL is a convolution of [S_1, S_c] plus S_h; x_J is the corrected image itself; detail is
  enhanced in RGB together. `modulation`, `retinex`, `rgb` = "paper" give the product of Eq. (5),
  the quotient of Eq. (6), and convolutions "separately for each RGB channel".
- Eq. (1) has a step of 1; ours is learned, from 0.5. Stage 3 steps from x_J, towards the same x.
- Widths are unpublished, but for the 128 channels of colour correction and the LBP's 64 → 32 → 64,
  which would add 0.14 M and 20 G: here aggregation leaves 3 channels and the LBP's blocks halve
  those, rounded down to 1 as in the released file.
- `reading="size"` is inferred from the published size, which counts can only support: the E-D
  doubles sizes by 2×2 transposed convolutions; each SFTL has heads of its own for its (S_c, S_h);
  stage 3 takes the shallow features of stage 1, computed once, and adds what it merges to the image
  of its own gradient step. The paper's 2.01 M are taken to count layers that the released file
  defines and never runs (`NEVER_RUN`); here they do not exist.
- `reading="text"` is the other form, 2,019,089 parameters and 221.20 GMAC: both SFTLs have one
  (S_c, S_h), as the text reads; stage 3 computes its shallow features anew, with the weights of
  stage 1, and adds to x; the E-D doubles sizes by 4×4 transposed convolutions, the mirror of its
  halving ones; the LBP's blocks have 2 channels; colour correction has no biases.
- The edge map's last convolution and the LBP's attention of one hidden channel start with positive
  weights and no bias: from PyTorch's default start the edge map was zero everywhere for 28 of 60
  seeds.
- λ of Eq. (7) is learned, from 1.

Ablations (`ablation=`, the names of Tables III to VI; the paper does not say what stands in for
the part). Table VI's check marks contradict its names; ours go by the names.

    name       missing: stand-in                                             M parameters  GMAC
    w/o FES    first step, E-D, SSB: stage 2 sees x; stage 3 its own features only  1.231  180.9
    w/o JRS    stage 2: x_J = x_A                                                   0.793   47.5
    w/o IAS    stage 3, the SSB's gate with it: image = x_J                         1.899  210.2
    w/o E-D    encoder-decoder: shallow features go on                              1.275  187.3
    w/o CAB    channel attention block, in both stages: its input goes on           1.934  215.4
    w/o SSB    gate and supervision: x_A is predicted, but not compared             1.949  217.4
    w/o l_rgb  colour correction: a 1×1 convolution and a sigmoid                   1.151  100.1
    w/o l_m    edge map, (S_c, S_h) and SFTLs: convolutions of S only               1.682  178.3
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llie_core.imaging import in_float32, without_autocast
from llie_core.models.base import Enhancer
from llie_core.models.large import of_whole_image
from llie_core.models.norms import GroupNorm
from llie_core.names import check_choice

FORMS = ("released", "paper")
READINGS = ("size", "text")
# Parameters that the released file defines and never runs: two 3×3 convolutions 40 → 64 → 40, and
# in stage 2 a 3×3 one 4 → 64 with its batch norm and another batch norm of 3 channels.
NEVER_RUN = (23_104 + 23_080) + (2_368 + 128) + 6
# Rows of Tables III to VI, as the paper's published.csv names them; "" is the whole network.
ABLATIONS = (
    "",
    "w/o FES",
    "w/o JRS",
    "w/o IAS",
    "w/o E-D",
    "w/o CAB",
    "w/o SSB",
    "w/o l_rgb",
    "w/o l_m",
)
WIDTHS = (40, 60, 80)  # channels at full, half and quarter size
FEATURES, CONDITION, CORRECTION = 64, 32, 128  # of stage 2
MERGED = 56  # of stage 3
EPSILON = 1e-5  # keeps the quotient of Eq. (6) finite


def conv(inputs: int, outputs: int, size: int = 3, bias: bool = True, groups: int = 1) -> nn.Conv2d:
    """Convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias, groups=groups)


class PositiveConv(nn.Conv2d):
    """1×1 convolution to few channels that starts with positive weights and no bias: from PyTorch's
    default start the ReLU behind it is zero everywhere for about half of the seeds."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            self.weight.abs_()
            if self.bias is not None:
                self.bias.zero_()


# ---- Parts of several stages


class ResBlock(nn.Module):
    """3×3 to 64 channels, PReLU, 3×3 back to 3, plus the input; the slope is the network's one."""

    def __init__(self):
        super().__init__()
        self.widen, self.narrow = conv(3, 64), conv(64, 3)

    def forward(self, image: Tensor, slope: Tensor) -> Tensor:
        return image + in_float32(self.narrow, F.prelu(self.widen(image), slope))


class GradientStep(nn.Module):
    """One step from an image towards agreement with the low-light input x."""

    def __init__(self):
        super().__init__()
        self.res_1, self.res_2 = ResBlock(), ResBlock()
        self.rate = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, x: Tensor, slope: Tensor) -> Tensor:
        return image - self.rate * self.res_2(self.res_1(image, slope) - x, slope)  # Eq. (1)


class ChannelAttention(nn.Module):
    """Squeeze, excitation and scaling of channels: (B, C, H, W) → the same shape."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        kind = PositiveConv if hidden == 1 else nn.Conv2d
        self.w_1 = kind(channels, hidden, 1, bias=False)
        self.w_2 = conv(hidden, channels, 1, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        z = of_whole_image(lambda: u.mean(dim=(2, 3), keepdim=True))  # Eq. (2): (B, C, 1, 1)
        s = torch.sigmoid(self.w_2(F.relu(self.w_1(z))))  # Eq. (3)
        return u * s  # Eq. (4)


class CAB(nn.Module):
    """Residual channel attention block."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, bias=False),
            nn.PReLU(),
            conv(channels, channels, bias=False),
            ChannelAttention(channels, reduction=4),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


# ---- Stage 1: feature extraction


class Level(nn.Module):
    """Two 3×3 convolutions and a 1×1 shortcut; an encoder's normalises half of the channels."""

    def __init__(self, inputs: int, outputs: int, normalise: bool):
        super().__init__()
        self.conv_1, self.conv_2 = conv(inputs, outputs), conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1)
        half = outputs // 2  # as many groups as channels: instance normalisation
        self.norm = GroupNorm(half, half) if normalise else None

    def forward(self, features: Tensor) -> Tensor:
        y = self.conv_1(features)
        if self.norm is not None:
            first, second = y.chunk(2, dim=1)
            y = torch.cat([self.norm(first), second], dim=1)
        y = F.leaky_relu(self.conv_2(F.leaky_relu(y, 0.2)), 0.2)
        return y + self.shortcut(features)


class EncoderDecoder(nn.Module):
    """Three levels: (B, 40, H, W) → the same shape; H and W are multiples of 4."""

    def __init__(self, reading: str):
        super().__init__()
        full, half, quarter = WIDTHS
        double = {"size": (2, 2, 0), "text": (4, 2, 1)}[reading]  # kernel, stride, padding
        wider, narrower = ((full, half), (half, quarter)), ((quarter, half), (half, full))
        self.encode = nn.ModuleList(Level(*pair, normalise=True) for pair in wider)
        self.down = nn.ModuleList(
            nn.Conv2d(to, to, 4, stride=2, padding=1, bias=False) for _, to in wider
        )
        self.bottom = Level(quarter, quarter, normalise=True)
        self.up = nn.ModuleList(nn.ConvTranspose2d(*pair, *double) for pair in narrower)
        self.skip = nn.ModuleList(conv(*pair) for pair in narrower)
        self.decode = nn.ModuleList(Level(2 * to, to, normalise=False) for _, to in narrower)

    def forward(self, features: Tensor) -> Tensor:
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            skips.append(encode(features))  # (B, 60, H, W), then (B, 80, H/2, W/2)
            features = down(skips[-1])
        features = self.bottom(features)  # (B, 80, H/4, W/4)
        for up, skip, decode in zip(self.up, self.skip, self.decode, strict=True):
            features = decode(torch.cat([up(features), skip(skips.pop())], dim=1))
        return features


class SSB(nn.Module):
    """Self-supervised block: the predicted image decides which features go on."""

    def __init__(self, channels: int):
        super().__init__()
        self.keep = conv(channels, channels, bias=False)
        self.gate = conv(3, channels, bias=False)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        return features + self.keep(features) * torch.sigmoid(self.gate(image))


class FES(nn.Module):
    """x → x_A (B, 3, H, W), shallow and gated features, each (B, 40, H, W)."""

    def __init__(self, ablation: str, reading: str):
        super().__init__()
        width = WIDTHS[0]
        self.step = GradientStep()
        self.encoder_decoder = None if ablation == "w/o E-D" else EncoderDecoder(reading)
        self.predict = conv(width, 3, bias=False)
        # Only stage 3 uses the gated features.
        self.ssb = None if ablation in ("w/o SSB", "w/o IAS") else SSB(width)

    def forward(
        self, x: Tensor, shallow: nn.Module, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x_r = self.step(x, x, slope)
        early = features = shallow(x_r)
        if self.encoder_decoder is not None:
            features = self.encoder_decoder(features)
        x_a = x_r + in_float32(self.predict, features)
        if self.ssb is not None:
            features = self.ssb(features, x_a)
        return x_a, early, features


# ---- Stage 2: joint refinement


class DetailEnhancement(nn.Module):
    """E: image (B, 3, H, W) → edge map (B, 1, H, W), or one for each of R, G, B (B, 3, H, W)."""

    def __init__(self, rgb: str):
        super().__init__()
        self.maps = groups = 3 if rgb == "paper" else 1
        layers, inputs = [], 3
        for width in (32, 32, 64, 64):
            layers += [conv(inputs, groups * width, groups=groups), nn.ReLU()]
            inputs = groups * width
        last = PositiveConv(inputs, groups, 1, groups=groups)
        self.body = nn.Sequential(*layers, last, nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


class Heads(nn.Module):
    """Condition (B, 32, H, W) → (S_c, S_h), each (B, 64, H, W)."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = self._head(3), self._head(1)

    @staticmethod
    def _head(size: int) -> nn.Sequential:
        first, last = conv(CONDITION, CONDITION, size), conv(CONDITION, FEATURES, size)
        return nn.Sequential(first, nn.LeakyReLU(0.1), last)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale(condition), self.shift(condition)


class Modulation(nn.Module):
    """Edge maps Φ → (S_c, S_h) of the first and of the second SFTL; one for both with one head."""

    def __init__(self, maps: int, heads: int):
        super().__init__()
        condition = (conv(maps, 64), nn.ReLU(), conv(64, 64, 1), nn.ReLU(), conv(64, CONDITION, 1))
        self.condition = nn.Sequential(*condition)
        self.heads = nn.ModuleList(Heads() for _ in range(heads))

    def forward(self, edges: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        condition = self.condition(edges)  # (B, 32, H, W)
        pairs = [head(condition) for head in self.heads]
        return pairs[0], pairs[-1]


class SFTL(nn.Module):
    """Spatial feature transform of S_1 by (S_c, S_h), all (B, 64, H, W)."""

    def __init__(self, form: str):
        super().__init__()
        self.mix = conv(2 * FEATURES, FEATURES) if form == "released" else None

    def forward(self, s_1: Tensor, s_c: Tensor, s_h: Tensor) -> Tensor:
        if self.mix is None:
            return s_c * s_1 + s_h  # Eq. (5)
        return F.leaky_relu(self.mix(torch.cat([s_1, s_c], dim=1)), 0.01) + s_h


class Refinement(nn.Module):
    """S: residual block on features of x_A, each of its convolutions behind an SFTL."""

    def __init__(self, modulation: str, rgb: str, heads: int, modulated: bool):
        super().__init__()
        self.stem = conv(3, FEATURES)
        self.conv_1, self.conv_2 = conv(FEATURES, FEATURES), conv(FEATURES, FEATURES)
        self.enhance = DetailEnhancement(rgb) if modulated else None
        self.modulation = Modulation(self.enhance.maps, heads) if modulated else None
        self.sftl_1, self.sftl_2 = (SFTL(modulation) if modulated else None for _ in range(2))

    def forward(self, x_a: Tensor) -> Tensor:
        features = self.stem(x_a)  # (B, 64, H, W)
        if self.modulation is None:
            return features + self.conv_2(F.relu(self.conv_1(features)))
        first, second = self.modulation(self.enhance(x_a))
        y = F.relu(self.conv_1(self.sftl_1(features, *first)))
        return features + self.conv_2(self.sftl_2(y, *second))


class ColourCorrection(nn.Module):
    """R: features (B, 64, H, W) → image (B, 3, H, W) in (0, 1); two residual blocks."""

    def __init__(self, bias: bool):
        super().__init__()
        self.enter = self._layer(FEATURES, bias)
        self.inner_1, self.inner_2, self.between, self.inner_3, self.inner_4 = (
            self._layer(CORRECTION, bias) for _ in range(5)
        )
        self.leave = conv(CORRECTION, 3, 1)

    @staticmethod
    def _layer(inputs: int, bias: bool) -> nn.Sequential:
        return nn.Sequential(conv(inputs, CORRECTION, bias=bias), nn.BatchNorm2d(CORRECTION))

    def forward(self, features: Tensor) -> Tensor:
        a = F.relu(self.enter(features))  # (B, 128, H, W)
        y = F.relu(self.inner_2(F.relu(self.inner_1(a))) + a)
        b = F.relu(self.inner_3(F.relu(self.between(y))))
        return torch.sigmoid(in_float32(self.leave, F.relu(self.inner_4(b) + b)))


class JRS(nn.Module):
    """x_A → x_J, both (B, 3, H, W)."""

    def __init__(self, ablation: str, modulation: str, retinex: str, rgb: str, reading: str):
        super().__init__()
        self.retinex, by_size = retinex, reading == "size"
        heads = 2 if by_size else 1
        self.refine = Refinement(modulation, rgb, heads, modulated=ablation != "w/o l_m")
        plain = nn.Sequential(conv(FEATURES, 3, 1), nn.Sigmoid())
        self.correct = plain if ablation == "w/o l_rgb" else ColourCorrection(bias=by_size)

    def forward(self, x_a: Tensor) -> Tensor:
        features = self.refine(x_a)
        plain = isinstance(self.correct, nn.Sequential)
        corrected = in_float32(self.correct, features) if plain else self.correct(features)
        return x_a / (corrected + EPSILON) if self.retinex == "paper" else corrected  # Eq. (6)


# ---- Stage 3: illumination adjustment


class ExposureBlock(nn.Module):
    """Lightening (sign 1) or darkening (sign −1) of (B, 3, H, W) by an offset of its code."""

    def __init__(self, sign: int, width: int):
        super().__init__()
        self.sign = sign
        self.encode = nn.Sequential(conv(3, width), nn.PReLU())
        self.offset = nn.Sequential(conv(width, width), nn.PReLU())
        self.decode = conv(width, 3)

    def forward(self, image: Tensor) -> Tensor:
        code = self.encode(image)  # (B, width, H, W)
        return self.decode(code + self.sign * self.offset(code))


class LBP(nn.Module):
    """Lightening by back projection: x and x_J → the residual R_F, all (B, 3, H, W)."""

    def __init__(self, reading: str):
        super().__init__()
        if reading == "size":
            width, layers = 1, (ChannelAttention(6, reduction=6), conv(6, 3, 1), nn.PReLU())
        else:
            width, layers = 2, (ChannelAttention(6, reduction=1), conv(6, 3, 1))
        self.aggregate = nn.Sequential(*layers)
        self.l_1, self.d, self.l_2 = (ExposureBlock(sign, width) for sign in (1, -1, 1))
        self.balance = nn.Parameter(torch.tensor(1.0))  # λ

    def forward(self, x: Tensor, x_j: Tensor) -> Tensor:
        x_f = self.aggregate(torch.cat([x, x_j], dim=1))
        return self.l_2(self.balance * x_f - self.d(self.l_1(x_f)))  # Eq. (7)


class IAS(nn.Module):
    """x, x_J and what stage 1 leaves → image and R_F, both (B, 3, H, W).

    features: those of stage 1, shallow ones first; () without it.
    """

    def __init__(self, inputs: int, reading: str):
        super().__init__()
        self.reading = reading
        self.step = GradientStep()
        self.merge = nn.Sequential(conv(inputs, MERGED, bias=False), conv(MERGED, 3, bias=False))
        self.lbp = LBP(reading)

    def forward(
        self,
        x: Tensor,
        x_j: Tensor,
        features: tuple[Tensor, ...],
        shallow: nn.Module,
        slope: Tensor,
    ) -> tuple[Tensor, Tensor]:
        stepped = self.step(x_j, x, slope)
        if self.reading == "text" or not features:
            features = (shallow(stepped), *features[1:])  # each (B, 40, H, W)
        base = x if self.reading == "text" else stepped
        with without_autocast(x):  # seven channels at most, close to the image
            residual = self.lbp(x, x_j)
        widen, narrow = self.merge
        merged = in_float32(narrow, widen(torch.cat(features, dim=1)))
        return base + merged + residual, residual


# ---- The network


class JCRNet(Enhancer):
    """The three stages, or one of the ablated networks.

    Args:
        ablation: "" or a name in `ABLATIONS`, see the file's head.
        modulation: "released", or "paper" for Eq. (5) as printed.
        retinex: "released", or "paper" for the quotient of Eq. (6).
        rgb: "released", or "paper" for detail enhancement with weights of its own for each of
            R, G, B; the three edge maps then make one condition.
        reading: "size" or "text": what the paper leaves open, see the file's head.

    Raises:
        ValueError: another name or form; the message lists the known.
    """

    multiple, margin, bytes_per_pixel = 4, 72, 3600

    def __init__(
        self,
        ablation: str = "",
        modulation: str = "released",
        retinex: str = "released",
        rgb: str = "released",
        reading: str = "size",
    ):
        super().__init__()
        check_choice(ABLATIONS, ablation=ablation)
        check_choice(FORMS, modulation=modulation, retinex=retinex, rgb=rgb)
        check_choice(READINGS, reading=reading)
        self.ablation, width = ablation, WIDTHS[0]
        attention = () if ablation == "w/o CAB" else (CAB(width),)
        self.slope = nn.Parameter(torch.tensor([0.25]))
        self.shallow = nn.Sequential(conv(3, width, bias=False), *attention)
        self.fes = None if ablation == "w/o FES" else FES(ablation, reading)
        refined = (ablation, modulation, retinex, rgb, reading)
        self.jrs = None if ablation == "w/o JRS" else JRS(*refined)
        merged = width if self.fes is None else 2 * width
        self.ias = None if ablation == "w/o IAS" else IAS(merged, reading)

    def forward(self, x: Tensor) -> Tensor:
        return self.training_outputs(x)["image"]

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """The images of all stages, each (B, 3, H, W); H and W are multiples of 4.

        Returns:
            `image`, and of the stages that the ablation leaves: `ssb_image` x_A (where it is
            supervised), `jrs_image` x_J, `residual` R_F (signed).
        """
        x_a, features = x, ()
        outputs = {}
        if self.fes is not None:
            x_a, *features = self.fes(x, self.shallow, self.slope)
            if self.ablation != "w/o SSB":
                outputs["ssb_image"] = x_a
        image = x_j = x_a
        if self.jrs is not None:
            image = x_j = outputs["jrs_image"] = self.jrs(x_a)
        if self.ias is not None:
            image, outputs["residual"] = self.ias(x, x_j, tuple(features), self.shallow, self.slope)
        return {"image": image, **outputs}
