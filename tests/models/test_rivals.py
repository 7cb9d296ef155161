"""SCI, RUAS, IAT, CPGA-Net+: sizes, released names and shapes, forward passes restated."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from released import Layers
from seeded import seeded
from torch import Tensor, nn

from llie_core.cli import main
from llie_core.data import open_dataset
from llie_core.metrics import psnr, ssim
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import MODELS, create_enhancer
from llie_core.models.records import rivals
from llie_core.papers import list_papers
from llie_core.recognizers import list_recognizers
from llie_core.reporting.published import load
from llie_core.weights import WeightsNotAvailable, find


class TestPublishedSizes:
    @pytest.mark.parametrize(
        "name, options, parameters",
        [
            ("sci", {}, 258),
            ("ruas", {}, 3_438),
            ("iat", {}, 91_154),
            ("cpga_net_plus", {}, 60_378),
            ("cpga_net_plus", {"local": False}, 20_042),
        ],
    )
    def test_parameters(self, name, options, parameters):
        assert count_parameters(create_enhancer(name, **options)) == parameters

    @pytest.mark.parametrize(
        "name, options, size, published",
        [
            ("sci", {}, (400, 600), 0.0583),  # 243 a pixel: three convolutions 3 → 3
            ("ruas", {}, (400, 600), 0.7841),  # 3,267 a pixel: all weights but the biases
            ("cpga_net_plus", {}, (400, 600), 9.356),
            ("cpga_net_plus", {"local": False}, (400, 600), 2.141),
        ],
    )
    def test_multiply_adds(self, name, options, size, published):
        # CPGA-Net+'s count has batch norms, pooling and up-sampling in it, 2 %.
        macs = count_macs(create_enhancer(name, **options), size).macs
        assert published * 0.98 < macs / 1e9 <= published + 5e-5

    def test_iats_multiply_adds_are_published_without_the_mixing_of_its_norms(self):
        # Twelve norms of the local branch mix 16 channels, as a product that was not counted.
        mixing = 12 * 16 * 16 * 256**2
        macs = count_macs(create_enhancer("iat"), (256, 256)).macs - mixing
        assert round(macs / 1e9, 2) == 1.44


# The forward passes restated ----------------------------------------------------------------------


def random_state(name: str) -> dict[str, Tensor]:
    """A file's tensors with random values, under which signals keep their size."""
    model = create_enhancer(name, **({"stages": 3} if name == "sci" else {}))
    generator, state = torch.Generator().manual_seed(2), {}
    for key, own in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
            continue
        value = torch.randn(own.shape, generator=generator)
        if key.endswith("running_var"):
            value = 1 + value.square()
        elif value.ndim > 1 and "alpha" not in key and "beta" not in key:
            value = value / max(1, value[0].numel()) ** 0.5
        state[key] = value if value.ndim > 1 else value / 2
    if name == "sci":  # whose blocks share their weights, which its file lists once more for each
        state = {key.replace("enhance_net.", "enhance."): v for key, v in state.items()}
        for shared, block in (
            ("enhance.conv.", "enhance.blocks.0."),
            *(("calibrate.convs.", f"calibrate.blocks.{i}.") for i in range(3)),
        ):
            state |= {k.replace(shared, block): v for k, v in state.items() if k.startswith(shared)}
    return state


def sci_released(use: Layers, x: Tensor) -> Tensor:
    y = use.conv("enhance.in_conv.0", x).relu()
    y = y + use.norm("enhance.blocks.0.1", use.conv("enhance.blocks.0.0", y)).relu()
    light = (use.conv("enhance.out_conv.0", y).sigmoid() + x).clamp(1e-4, 1)
    return (x / light).clamp(0, 1)


def ruas_released(use: Layers, x: Tensor, denoise: bool = True) -> Tensor:
    def op(name, y, dilation=1):
        weight, bias = use[f"{name}.op.weight"], use[f"{name}.op.bias"]
        padding = weight.shape[-1] // 2 * dilation
        return F.conv2d(y, weight, bias, padding=padding, dilation=dilation)

    def act(y):
        return F.leaky_relu(y, 0.05)

    def light_cell(name, y):
        first = act(y)
        y = act(op(f"{name}.c1_r", y) + 2 * y)
        second = act(op(f"{name}.c2_d", y, 2) + y)
        y = act(op(f"{name}.c2_r", y) + y)
        third = act(op(f"{name}.c3_d", y))
        y = act(2 * y)
        last = act(op(f"{name}.c4", y))
        return use.conv(f"{name}.c5", torch.cat([first, second, third, last], 1))

    def noise_cell(name, y):
        first = act(op(f"{name}.c1_d", y) + y)
        y = act(op(f"{name}.c1_r", y) + 2 * y)
        second = act(op(f"{name}.c2_d", y, 2) + y)
        y = act(2 * y)
        third = act(op(f"{name}.c3_d", y) + y)
        y = act(op(f"{name}.c3_r", y) + 2 * y)
        return use.conv(f"{name}.c5", torch.cat([first, second, third, act(y)], 1))

    def maximum(y):
        framed = torch.zeros(*y.shape[:2], y.shape[2] + 1, y.shape[3] + 1, dtype=y.dtype)
        framed[..., :-1, :-1] = y
        rows = torch.maximum(framed[..., :-1, :], framed[..., 1:, :])
        return torch.maximum(rows[..., :-1], rows[..., 1:])

    u = None
    for i in range(3):
        t = maximum(x) if u is None else maximum(u) - (u - x) / 2
        t = light_cell(f"enhance_net.iems.{i}.cell", t).sigmoid().clamp(0.001, 1)
        u = (x / t).clamp(0, 1)
    if not denoise:
        return u
    y = use.conv("denoise_net.stem", u)
    for i in range(3):
        y = noise_cell(f"denoise_net.nrms.{i}", y)
    return u - use.conv("denoise_net.activate.0", y)


def iat_released(use: Layers, x: Tensor) -> Tensor:
    def colour_norm(name, y):
        mixed = torch.tensordot(y.permute(0, 2, 3, 1), use[f"{name}.color"], ([-1], [-1]))
        mixed = mixed * use[f"{name}.alpha"].flatten() + use[f"{name}.beta"].flatten()
        return mixed.permute(0, 3, 1, 2)

    def block(name, y):
        y = y + use.conv(f"{name}.pos_embed", y)
        z = colour_norm(f"{name}.norm1", y)
        for layer in ("conv1", "attn", "conv2"):
            z = use.conv(f"{name}.{layer}", z)
        y = y + use[f"{name}.gamma_1"] * z
        z = F.gelu(use.conv(f"{name}.mlp.fc1", colour_norm(f"{name}.norm2", y)))
        return y + use[f"{name}.gamma_2"] * use.conv(f"{name}.mlp.fc2", z)

    y = F.leaky_relu(use.conv("local_net.conv1", x), 0.2)
    ends = {}
    for kind in ("mul", "add"):
        z = y
        for i in range(3):
            z = block(f"local_net.{kind}_blocks.{i}", z)
        ends[kind] = use.conv(f"local_net.{kind}_end.0", z + y)
    image = x * ends["mul"].relu() + ends["add"].tanh()

    z = use.norm("global_net.conv_large.proj.1", use.conv("global_net.conv_large.proj.0", x, 2))
    z = use.conv("global_net.conv_large.proj.3", F.gelu(z), 2)
    z = use.norm("global_net.conv_large.proj.4", z)
    own = "global_net.generator"
    z = (z + use.conv(f"{own}.pos_embed", z)).flatten(2).transpose(1, 2)
    n = F.layer_norm(z, (64,), use[f"{own}.norm1.weight"], use[f"{own}.norm1.bias"])
    k, v = (use.linear(f"{own}.attn.{name}", n).view(len(x), -1, 4, 16) for name in "kv")
    q = use[f"{own}.attn.q"].view(10, 4, 16)
    share = torch.einsum("qhc,bnhc->bhqn", q, k).div(4).softmax(-1)
    z = use.linear(f"{own}.attn.proj", torch.einsum("bhqn,bnhc->bqhc", share, v).flatten(2))
    n = F.layer_norm(z, (64,), use[f"{own}.norm2.weight"], use[f"{own}.norm2.bias"])
    z = z + use.linear(f"{own}.mlp.fc2", F.gelu(use.linear(f"{own}.mlp.fc1", n)))
    gamma = use.linear("global_net.gamma_linear", z[:, 0]) + use["global_net.gamma_base"]
    colour = use.linear("global_net.color_linear", z[:, 1:]).view(-1, 3, 3)
    colour = colour + use["global_net.color_base"]
    mixed = torch.stack([torch.tensordot(c, i, 1) for c, i in zip(colour, image, strict=True)])
    return mixed.clamp(1e-8, 1) ** gamma[..., None, None]


def cpga_released(use: Layers, x: Tensor, local: bool = True) -> Tensor:
    def res(name, y, stride=1, act: Callable = F.gelu):
        z = use.conv(f"{name}.body.2", act(use.conv(f"{name}.body.0", y, stride)))
        return z + (y if stride == 1 else F.interpolate(y, size=z.shape[-2:], mode="bilinear"))

    def prior(name, y):
        t, a = f"{name}.t_module", f"{name}.a_module"
        stats = torch.stack([y.max(1).values, y.min(1).values, y.mean(1)], dim=1)
        z = torch.cat([F.gelu(use.conv(f"{t}.prep.0", stats)), y], 1)
        t = use.conv(f"{t}.postp", F.gelu(torch.cat([res(f"{t}.conv", z), y], 1)))
        full = use.conv(f"{a}.conv1_A", y)
        half = res(f"{a}.conv2_A.0", full, 2)
        z = use.conv(f"{a}.conv4_A.0", F.gelu(torch.cat([res(f"{a}.conv3_A", half), half], 1)))
        z = res(f"{a}.conv4_A.2", nn.UpsamplingBilinear2d(scale_factor=2)(z))
        light = use.conv(f"{a}.conv5_A", torch.cat([z, full], 1))
        own = F.gelu(use.conv(f"{name}.prep_module.0", y))
        return ((own - light) * t + light).clamp(1e-4, 1)

    def fusion(name, y, act):
        powered = y**gamma
        z = use.conv(f"{name}.conv1_post_g", torch.cat([powered, y], 1))
        common = use.conv(f"{name}.conv3_post_g", res(f"{name}.conv2_post_g", z, act=act))
        return (powered + y - common).clamp(1e-4, 1)

    def attention(name, y, stride=1):
        z = F.gelu(use.norm(f"{name}.bn1", use.conv(f"{name}.conv1", y, stride)))
        z = use.norm(f"{name}.bn2", use.conv(f"{name}.conv2", z))
        pooled = [F.adaptive_avg_pool2d(z, 1), F.adaptive_max_pool2d(z, 1)]
        z = z * sum(use.conv(f"{name}.ca.fc.2", use.conv(f"{name}.ca.fc.0", p).relu())
                    for p in pooled).sigmoid()  # fmt: skip
        maps = torch.stack([z.mean(1), z.max(1).values], dim=1)
        z = z * use.conv(f"{name}.sa.conv1", maps).sigmoid()
        return F.gelu(z + (y if stride == 1 else use.conv(f"{name}.downsample", y, stride)))

    full = use.conv("ga_est.conv1_g", x)
    z = attention("ga_est.conv2_g.0", full, 2)
    z = attention("ga_est.conv3_g.1", attention("ga_est.conv3_g.0", z))
    z = z + F.interpolate(full, size=z.shape[-2:], mode="bilinear")
    gamma = use.conv("ga_est.conv4_g", z).mean((2, 3), keepdim=True).clamp(0.01, 4)
    y = x
    if local:
        y = prior("cpblks_pre", x)
        for i in range(2):
            y = prior(f"cpblks.{i}", y) + y
            y = fusion(f"iaafblks.{i}", y, F.gelu) + y
        y = prior("cpblk_post", y) + x
    return fusion("iaaf", y, F.relu)


RELEASED = [
    ("sci", {}, sci_released), ("ruas", {}, ruas_released), ("iat", {}, iat_released),
    ("cpga_net_plus", {}, cpga_released), ("ruas", {"denoise": False}, ruas_released),
    ("cpga_net_plus", {"local": False}, cpga_released),
]  # fmt: skip
# Weights of SCI that its file lists twice, or that only its training uses; counts of batches.
UNUSED = re.compile(r"enhance\.conv\.|calibrate\.|.*num_batches_tracked")


@pytest.mark.parametrize("name, options, restated", RELEASED, ids=lambda v: str(v)[:20])
class TestReleasedWeights:
    """Files of the released names with random values: the authors' own bytes are not redistributed
    here. The restatements read tensors by the released names; sizes are published (above)."""

    def test_equals_the_released_forward(self, tmp_path, name, options, restated):
        state = random_state(name)
        torch.save({"state_dict": state, "epoch": 1}, tmp_path / "released.pth")
        model = create_enhancer(name, weights=tmp_path / "released.pth", **options).double()
        layers = Layers({n: v.double() for n, v in state.items()})
        x = 0.4 * seeded(2, 3, 24, 36, dtype=torch.float64)
        with torch.no_grad():
            ours, theirs = model(x), restated(layers, x, **options)
        assert theirs.std() > 0.05 and (theirs - x).abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        assert options or not [n for n in set(state) - layers.read if not UNUSED.match(n)]

    def test_another_file_is_refused(self, tmp_path, name, options, restated):
        state = random_state(name)
        first = next(iter(state))
        torch.save({n: v for n, v in state.items() if n != first}, tmp_path / "released.pth")
        with pytest.raises(ValueError, match=f"another model's weights: tensor '{first}' is mis"):
            create_enhancer(name, weights=tmp_path / "released.pth", **options)


def test_the_calibration_of_sci_bears_the_released_names():
    state = random_state("sci")
    own = {name.rpartition(".")[0] for name in state if name.startswith("calibrate.")}
    inner = [f"{block}.{k}" for block in ("convs", *(f"blocks.{i}" for i in range(3)))
             for k in (0, 1, 3, 4)]  # fmt: skip
    ends = ("in_conv.0", "in_conv.1", "out_conv.0")
    assert own == {f"calibrate.{name}" for name in (*ends, *inner)}
    kernels = {name: value.shape for name, value in state.items() if value.ndim == 4}
    assert kernels["calibrate.in_conv.0.weight"] == (16, 3, 3, 3)
    assert kernels["calibrate.convs.0.weight"] == (16, 16, 3, 3)
    assert kernels["calibrate.out_conv.0.weight"] == (3, 16, 3, 3)


@pytest.mark.parametrize(
    "name, file, options, expected",
    [
        ("sci", "sci-medium", {}, (14.85, 0.524)),
        ("sci", "sci-difficult", {}, (13.87, 0.529)),
        ("sci", "sci-easy", {}, (9.63, 0.374)),
        ("iat", "iat-lol", {}, (23.38, 0.808)),
        ("cpga_net_plus", "cpga-net-plus-lol", {"local": False}, (22.52, 0.814)),
    ],
)
def test_the_authors_files_give_their_figures_on_lol(name, file, options, expected, shared_data):
    """Measured with the authors' own code and files: eval15, 8 bits, without GT-mean (the SSIM of
    SCI's difficult and easy: with theirs in this network)."""
    try:
        file = find(file)
    except WeightsNotAvailable as error:
        pytest.skip(str(error))
    pairs = open_dataset("lol", "test", shared_data / "LOL")
    model = create_enhancer(name, weights=file, **options)
    found = []
    for item in pairs:
        image, target = model.enhance(item["image"][None]), item["target"][None]
        image = (image * 255).round() / 255
        found.append((float(psnr(image, target)), float(ssim(image, target))))
    mean = torch.tensor(found).mean(0).tolist()
    assert mean[0] == pytest.approx(expected[0], abs=0.05)
    assert mean[1] == pytest.approx(expected[1], abs=0.002)


def test_only_trained_stages_hold_the_calibration():
    model = create_enhancer("sci", stages=3)
    outputs = model.training_outputs(seeded(2, 3, 8, 8))
    assert outputs["illumination"].shape == outputs["stage_input"].shape == (6, 3, 8, 8)
    torch.testing.assert_close(outputs["stage_input"][:2], seeded(2, 3, 8, 8))
    assert outputs["illumination"].min() >= 1e-4 and outputs["illumination"].max() <= 1


def test_every_stage_divides_the_low_light_image_by_its_illumination():
    x, calibrated = seeded(2, 3, 8, 8), []
    model = create_enhancer("sci", stages=3)
    model.calibrate.register_forward_hook(lambda _, given, __: calibrated.append(given[0]))
    illuminations = model.training_outputs(x)["illumination"].chunk(3)
    for image, illumination in zip(calibrated, illuminations, strict=False):  # the last needs none
        torch.testing.assert_close(image, (x / illumination).clamp(0, 1))
    assert len(calibrated) == 2


@pytest.mark.parametrize("local", [True, False])
def test_gamma_starts_at_one_and_learns(local):
    model = create_enhancer("cpga_net_plus", local=local)
    x = 0.4 * seeded(2, 3, 24, 36)
    assert model.ga_est(x).flatten().tolist() == [1, 1]
    nn.init.normal_(model.ga_est.conv4_g.weight, std=0.01)
    (model(x) - 0.7).square().mean().backward()
    for name, parameter in model.ga_est.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_an_odd_size_is_kept_where_the_released_network_needs_even_ones():
    x = seeded(1, 3, 13, 17)
    assert create_enhancer("cpga_net_plus").enhance(x).shape == x.shape


def test_every_learned_method_of_the_papers_is_built_here_or_has_its_line():
    """Where code and weights are, or the method itself: nothing in both."""
    published = {cell.method for paper in list_papers() for cell in load(paper)}
    others = {rival.name for rival in rivals()}
    recognizers = {*list_recognizers(), "original"}
    assert published - {*MODELS} - recognizers <= others
    assert not others & {*MODELS} and len(others) == len(rivals())
    later = {rival.name for rival in rivals() if rival.by == "checkpoint"}
    assert others - published == later == {"retinexformer", "hvi-cidnet"}


def test_the_listing_of_rivals_names_code_weights_and_terms(capsys):
    assert main(["models", "--rivals"]) == 0
    said = capsys.readouterr().out
    assert "SCI: built here, --model sci --weights released\n" in said
    assert "llie weights fetch sci-medium" in said
    for rival in rivals():
        assert f"{rival.title}: " in said and rival.code in said and rival.terms in said
        assert re.fullmatch(r"[\w-]+/[\w-]+ @ [0-9a-f]{7}", rival.code)
