"""JCRNet: the published size, its equations, ablations and normalisation."""

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

from llie_core.losses.paired import jcrnet_loss
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer, jcrnet
from llie_core.models.jcrnet import (
    ABLATIONS,
    LBP,
    NEVER_RUN,
    SFTL,
    DetailEnhancement,
    ExposureBlock,
    GradientStep,
)
from llie_core.reporting.published import load, table

PAPER_FORMS = {"modulation": "paper", "retinex": "paper", "rgb": "paper"}
PARTS = {  # what a network without the part must not have, by the names of its tensors
    "w/o FES": ("fes.",),
    "w/o JRS": ("jrs.",),
    "w/o IAS": ("ias.", "fes.ssb."),
    "w/o E-D": ("fes.encoder_decoder.",),
    "w/o CAB": ("shallow.1.",),
    "w/o SSB": ("fes.ssb.",),
    "w/o l_rgb": ("jrs.correct.inner_", "jrs.correct.enter.", "jrs.correct.between."),
    "w/o l_m": ("jrs.refine.enhance.", "jrs.refine.modulation.", "jrs.refine.sftl_"),
}


def make(**options) -> jcrnet.JCRNet:
    torch.manual_seed(0)
    return create_enhancer("jcrnet", **options)


@lru_cache
def tensor_names(ablation: str) -> frozenset[str]:
    return frozenset(make(ablation=ablation).state_dict())


def pairs(batch: int, size: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    """Smooth seeded targets and dark images of them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, size // 4, size // 4, generator=generator)
    target = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return {"image": 0.2 * target**2, "target": target}


def step(model, optimizer, batch) -> float:
    loss = jcrnet_loss(model.training_outputs(batch["image"]), batch)["total"]
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


class TestSizes:
    def test_exact_reading_has_the_published_size(self):
        """With the parameters that the released file defines and never runs."""
        cells = [cell for cell in table("jcrnet", "VII") if cell.method == "jcrnet"]
        published = {cell.unit: cell.value for cell in cells}
        model = make()
        parameters = count_parameters(model) + NEVER_RUN
        giga = count_macs(model, (384, 384)).macs / 1e9
        assert (NEVER_RUN, parameters, round(giga, 3)) == (48_686, 2_012_747, 219.696)
        assert round(parameters / 1e6, 2) == published["M"]
        assert giga == pytest.approx(published["G"], rel=3e-4)

    def test_of_the_other_reading(self):
        model = make(reading="text")
        giga = count_macs(model, (384, 384)).macs / 1e9
        assert (count_parameters(model), round(giga, 2)) == (2_019_089, 221.20)

    @pytest.mark.parametrize(
        "options, parameters, gmac",
        [
            ({"modulation": "paper"}, 1_816_477, 197.95),
            ({"retinex": "paper"}, 1_964_061, 219.70),
            ({"rgb": "paper"}, 2_094_751, 238.91),
            ({"modulation": "paper", "rgb": "paper"}, 1_947_167, 217.17),
        ],
    )
    def test_of_the_printed_forms(self, options, parameters, gmac):
        model = make(**options)
        assert count_parameters(model) == parameters
        assert round(count_macs(model, (384, 384)).macs / 1e9, 2) == gmac

    def test_ablations_are_those_of_the_tables(self):
        rows = {cell.variant for cell in load("jcrnet") if cell.variant.startswith("w/o")}
        assert rows == set(ABLATIONS) - {""} == set(PARTS)

    @pytest.mark.parametrize("ablation", PARTS)
    def test_table_of_ablations_is_as_measured(self, ablation):
        (line,) = (row for row in jcrnet.__doc__.splitlines() if row[4:].startswith(ablation + " "))
        model = make(ablation=ablation)
        measured = count_parameters(model) / 1e6, count_macs(model, (384, 384)).macs / 1e9
        assert line.split()[-2:] == [f"{measured[0]:.3f}", f"{measured[1]:.1f}"]


@pytest.mark.parametrize("ablation", PARTS)
class TestAblations:
    def test_lacks_the_part_and_nothing_else(self, ablation):
        whole, left = tensor_names(""), tensor_names(ablation)
        missing = PARTS[ablation]
        for prefix in missing:
            assert any(name.startswith(prefix) for name in whole)
            assert not any(name.startswith(prefix) for name in left)
        others = {name for name in whole if not name.startswith(missing)}
        assert others - left <= {"jrs.correct.leave.weight", "jrs.correct.leave.bias"}

    def test_gradients_reach_every_parameter(self, ablation):
        """From some of eight starts: a PReLU whose inputs are all positive leaves its slope be."""
        reached = set()
        for seed in range(8):
            torch.manual_seed(seed)
            model, batch = create_enhancer("jcrnet", ablation=ablation), pairs(2, size=12)
            noise = torch.randn(2, 3, 12, 12)
            jcrnet_loss(model.training_outputs(noise), batch)["total"].backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, f"{name} has no gradient"
                assert torch.isfinite(parameter.grad).all(), name
                if parameter.grad.abs().sum() > 0:
                    reached.add(name)
        assert reached == {name for name, _ in model.named_parameters()}

    def test_outputs_are_those_of_the_stages_left(self, ablation):
        outputs = make(ablation=ablation).training_outputs(pairs(2)["image"])
        expected = {"image", "ssb_image", "jrs_image", "residual"} - {
            "w/o FES": {"ssb_image"},
            "w/o SSB": {"ssb_image"},
            "w/o JRS": {"jrs_image"},
            "w/o IAS": {"residual"},
        }.get(ablation, set())
        assert set(outputs) == expected
        assert all(image.shape == (2, 3, 16, 16) for image in outputs.values())


class TestStages:
    def test_gradient_step_goes_a_learned_way_towards_x(self):
        """With blocks that pass their input on, Eq. (1) is image − r (image − x)."""
        block = GradientStep()
        for res in (block.res_1, block.res_2):
            torch.nn.init.zeros_(res.narrow.weight)
            torch.nn.init.zeros_(res.narrow.bias)
        image, x = torch.full((1, 3, 4, 4), 0.8), torch.full((1, 3, 4, 4), 0.2)
        torch.testing.assert_close(block(image, x, torch.tensor([0.25])), torch.full_like(x, 0.5))

    def test_one_slope_serves_all_gradient_steps(self):
        model = make()
        steps = [module for module in model.modules() if isinstance(module, GradientStep)]
        assert len(steps) == 2
        assert not any("slope" in name for name in steps[0].state_dict())
        assert model.slope.numel() == 1

    def test_half_of_an_encoders_channels_are_normalised(self):
        level = make().fes.encoder_decoder.encode[0]
        x = torch.rand(2, 40, 8, 8)
        with torch.no_grad():
            y = level.conv_1(x)
            y[:, :30] = level.norm(y[:, :30])
            y = F.leaky_relu(level.conv_2(F.leaky_relu(y, 0.2)), 0.2) + level.shortcut(x)
            torch.testing.assert_close(level(x), y)

    def test_darkening_takes_off_what_lightening_adds(self):
        lighten, darken = ExposureBlock(1, 2), ExposureBlock(-1, 2)
        darken.load_state_dict(lighten.state_dict())
        x = torch.rand(1, 3, 6, 6)
        between = lighten.decode(lighten.encode(x))
        torch.testing.assert_close((lighten(x) + darken(x)) / 2, between)
        assert (lighten(x) - darken(x)).abs().max() > 0

    @pytest.mark.parametrize("reading", ["size", "text"])
    def test_merged_features_are_added_to_the_step_or_to_the_input(self, reading):
        model, x = make(reading=reading).eval(), pairs(1)["image"]
        torch.nn.init.zeros_(model.ias.merge[1].weight)
        outputs = model.training_outputs(x)
        step = model.ias.step(outputs["jrs_image"], x, model.slope)
        base = {"size": step, "text": x}[reading]
        torch.testing.assert_close(outputs["image"], base + outputs["residual"])

    @pytest.mark.parametrize("reading, calls, heads", [("size", 1, 2), ("text", 2, 1)])
    def test_readings_of_what_stages_share(self, reading, calls, heads):
        """How often shallow features are computed; how many (S_c, S_h) there are."""
        model, seen = make(reading=reading), []
        model.shallow.register_forward_hook(lambda *_args: seen.append(1))
        model(pairs(1)["image"])
        modulation = model.jrs.refine.modulation
        first, second = modulation(torch.rand(1, 1, 4, 4))
        assert len(seen) == calls and len(modulation.heads) == heads
        assert torch.equal(first[0], second[0]) == (heads == 1)

    @pytest.mark.parametrize("reading, kernel", [("size", (2, 2)), ("text", (4, 4))])
    def test_sizes_double_by_transposed_convolutions(self, reading, kernel):
        up = make(reading=reading).fes.encoder_decoder.up
        assert {layer.kernel_size for layer in up} == {kernel}

    def test_edge_map_and_attention_of_the_lbp_are_alive_at_the_start(self):
        x = pairs(1)["image"]
        for seed in range(20):
            torch.manual_seed(seed)
            assert DetailEnhancement("released")(x).max() > 0
            attention = LBP("size").aggregate[0]
            assert attention.w_1(torch.cat([x, x], dim=1).mean((2, 3), keepdim=True)).min() > 0


class TestFormsOfThePaper:
    def test_modulation_is_the_product_of_eq_5(self):
        s_1, s_c, s_h = (torch.randn(1, 64, 3, 3) for _ in range(3))
        layer = SFTL("paper")
        torch.testing.assert_close(layer(s_1, s_c, s_h), s_c * s_1 + s_h)
        assert count_parameters(layer) == 0
        assert not torch.allclose(SFTL("released")(s_1, s_c, s_h), s_c * s_1 + s_h)

    def test_retinex_is_the_quotient_of_eq_6(self):
        x = pairs(1)["image"]
        released = make().eval().training_outputs(x)
        paper = make(retinex="paper").eval().training_outputs(x)
        torch.testing.assert_close(
            paper["jrs_image"], released["ssb_image"] / (released["jrs_image"] + 1e-5)
        )
        assert released["jrs_image"].min() > 0 and released["jrs_image"].max() < 1

    @pytest.mark.parametrize("form, maps", [("paper", 3), ("released", 1)])
    def test_channels_meet_only_in_the_released_detail_enhancement(self, form, maps):
        torch.manual_seed(0)
        net, x = DetailEnhancement(form), torch.rand(1, 3, 8, 8)
        bluer = x + torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1, 1)
        before, after = net(x), net(bluer)
        assert before.shape == (1, maps, 8, 8)
        assert torch.equal(before[:, 0], after[:, 0]) == (form == "paper")
        assert not torch.equal(before[:, -1], after[:, -1])


class TestTraining:
    @pytest.mark.parametrize(
        "options", [{}, PAPER_FORMS, {"ablation": "w/o IAS"}, {"reading": "text"}]
    )
    def test_running_statistics_serve_after_a_few_small_batches(self, options):
        """Batches of 2: with running statistics the loss is near that with the batch's own."""
        model = make(**options)
        optimizer = torch.optim.Adam(model.parameters(), 2e-4)
        test = pairs(4, seed=99)
        start = step(model, optimizer, pairs(2))
        for k in range(1, 12):
            step(model, optimizer, pairs(2, seed=k))
        with torch.no_grad():
            own = jcrnet_loss(model.training_outputs(test["image"]), test)["total"].item()
            outputs = model.eval().training_outputs(test["image"])
        running = jcrnet_loss(outputs, test)["total"].item()
        assert running < 0.6 * start and running < 1.5 * own
        assert outputs["image"].min() > -0.5 and outputs["image"].max() < 1.5
