"""DRGN and LW-DRGN: the published sizes, the equations, the learned darkening."""

import pytest
import torch
import torch.nn.functional as F
from seeded import changed, seeded, state_of
from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.drgn import (
    MFN,
    VARIANTS,
    Discriminators,
    GaussianPyramid,
    LightGenerator,
    PatchDiscriminator,
    TwoStep,
)
from llie_core.reporting.published import load


def small(**options) -> TwoStep:
    """DRGN's structure with few channels."""
    torch.manual_seed(0)
    return TwoStep(*(MFN((8, 8, 16), (1, 1, 1)) for _ in range(2)), multiple=4, **options)


class TestPublishedSizes:
    """Table 2: parameters, and work at 384×384 ("GFlops", multiply-adds)."""

    def measured(self, name: str, **options) -> tuple[float, float]:
        with torch.device("meta"):  # no values, no time to draw them
            model = create_enhancer(name, **options)
        return count_parameters(model) / 1e6, count_macs(model, (384, 384)).macs / 1e9

    @pytest.mark.parametrize(
        "name, published, ours",
        [
            ("drgn", (4.773, 110.59), (4.769762, 110.540)),
            ("lw_drgn", (0.660, 18.15), (0.660286, 18.166)),
        ],
    )
    def test_meets_the_published_figures(self, name, published, ours):
        measured = self.measured(name)
        assert measured == pytest.approx(published, rel=0.001)
        assert measured == pytest.approx(ours, abs=5e-4)

    @pytest.mark.parametrize(
        "variant, ours",
        [
            ("w/o DL-DA", (4.790204, 111.211)),
            # One resolution: the MACs can be kept, the parameters then cannot.
            ("w/o MSR", (0.762558, 110.935)),
            ("w/o KL", (4.769762, 110.540)),
            ("w/o SSIM", (4.769762, 110.540)),
        ],
    )
    def test_ablations_keep_the_complexity(self, variant, ours):
        measured = self.measured("drgn", variant=variant)
        assert measured == pytest.approx(ours, abs=5e-4)
        assert measured[1] == pytest.approx(110.59, rel=0.01)
        if variant != "w/o MSR":
            assert measured[0] == pytest.approx(4.773, rel=0.01)

    def test_variants_are_those_of_the_published_table(self):
        assert {cell.variant for cell in load("drgn") if cell.method == "drgn"} == set(VARIANTS)

    def test_discriminators_are_small(self):
        assert count_parameters(Discriminators()) == 2 * 241_985


def convolve(state, name, x, stride=1):
    weight = state[f"{name}.weight"]
    padding = weight.shape[-1] // 2
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride=stride, padding=padding)


def attention(state, name, x):
    y = convolve(state, f"{name}.squeeze", x.mean(dim=(2, 3), keepdim=True)).relu()
    return x * convolve(state, f"{name}.excite", y).sigmoid()


def rcab(state, name, x):
    y = convolve(state, f"{name}.body.0", x).relu()
    y = convolve(state, f"{name}.body.2", y)
    return x + attention(state, f"{name}.body.3", y)


def group(state, name, x):
    y = x
    for block in range(3):
        y = rcab(state, f"{name}.body.{block}", y)
    return x + convolve(state, f"{name}.body.3", y)


def deconvolve(state, name, x):
    weight = state[f"{name}.weight"]
    more = {"padding": 1, "output_padding": weight.shape[-1] % 2}
    return F.conv_transpose2d(x, weight, state[f"{name}.bias"], stride=2, **more)


def with_biases(net):
    """The network with biases that are not 0, and its state."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                value.copy_(torch.linspace(-0.1, 0.1, len(value)))
    return net.state_dict()


class TestNetworksByHand:
    """Against restatements in the paper's order of equations."""

    @torch.no_grad()
    def test_multi_resolution_fusion(self):
        torch.manual_seed(0)
        net = MFN((8, 16, 24), (2, 1, 1))
        w = with_biases(net)
        x1 = seeded(2, 3, 8, 12)
        _, x2, x3 = net.pyramid(x1)
        f1, f2, f3 = (convolve(w, f"initial.{i}", x) for i, x in enumerate((x1, x2, x3)))
        f1_to_2 = convolve(w, "down.1.0.0", f1, 2)
        f1_to_3 = convolve(w, "down.2.0.1", convolve(w, "down.2.0.0", f1, 2), 2)
        f2_to_3 = convolve(w, "down.2.1.0", f2, 2)
        msr1, msr2, msr3 = f1, f2 + f1_to_2, f3 + f1_to_3 + f2_to_3
        deep = [
            group(w, "groups.0.1", group(w, "groups.0.0", msr1)),
            group(w, "groups.1.0", msr2),
            group(w, "groups.2.0", msr3),
        ]
        long1, long2, long3 = (
            convolve(w, f"long.{i}", torch.cat(pair, 1))
            for i, pair in enumerate(zip(deep, (msr1, msr2, msr3), strict=True))
        )
        fused2 = convolve(w, "fuse.1", torch.cat([long2, deconvolve(w, "up.1", long3)], 1))
        fused1 = convolve(w, "fuse.0", torch.cat([long1, deconvolve(w, "up.0", fused2)], 1))
        expected = convolve(w, "reconstruct", fused1)
        assert expected.shape == x1.shape and expected.std() > 1e-4
        torch.testing.assert_close(net(x1), expected)

    @torch.no_grad()
    def test_light_generator(self):
        torch.manual_seed(0)
        net = LightGenerator(stem_width=8, width=4, modules=2)
        w, x = with_biases(net), seeded(2, 3, 6, 10)
        stem = convolve(w, "stem", x)
        m0 = convolve(w, "down", stem, 2)
        m1 = rcab(w, "blocks.0", m0)
        y = attention(w, "fusions.0.0", torch.cat([m0, m1], 1))
        m2 = rcab(w, "blocks.1", convolve(w, "fusions.0.1", y))
        y = attention(w, "fusions.1.0", torch.cat([m0, m1, m2], 1))
        y = deconvolve(w, "up", convolve(w, "fusions.1.1", y))
        torch.testing.assert_close(net(x), convolve(w, "reconstruct", y + stem))

    @pytest.mark.parametrize("name", ["drgn", "lw_drgn"])
    def test_one_brightness_can_be_taken_off_a_whole_image(self, name):
        """A generator without biases gives 0 for black, whatever it learned."""
        g_de = create_enhancer(name).g_de
        assert g_de.reconstruct.bias.shape == (3,)
        with torch.no_grad():
            black = torch.zeros(1, 3, 8, 8)
            assert not g_de(black).any()
            g_de.reconstruct.bias.fill_(-0.3)
            torch.testing.assert_close(g_de(black), torch.full_like(black, -0.3))

    def test_pyramid(self):
        pyramid = GaussianPyramid(3)
        constant = pyramid(torch.full((1, 3, 8, 12), 0.7))
        assert [tuple(image.shape[-2:]) for image in constant] == [(8, 12), (4, 6), (2, 3)]
        for image in constant:
            torch.testing.assert_close(image, torch.full_like(image, 0.7))
        impulse = torch.zeros(1, 3, 12, 12)
        impulse[:, 1, 4, 6] = 1  # even: at a kept pixel, whose neighbours are two pixels away
        _, half, _ = pyramid(impulse)
        row = torch.tensor([0, 1, 6, 1, 0]) / 16
        torch.testing.assert_close(half[0, 1, :5, 1:6], torch.outer(row, row))
        assert half[0, 0].abs().max() == 0  # channels do not mix
        assert not pyramid.state_dict()

    def test_outputs_are_linear_and_signed(self):
        degradation = create_enhancer("lw_drgn").g_de(seeded(1, 3, 16, 16))
        assert degradation.min() < 0 < degradation.max()


class TestTwoSteps:
    @pytest.mark.parametrize("name", ["drgn", "lw_drgn"])
    def test_equations(self, name):
        model, x = create_enhancer(name), seeded(1, 3, 8, 8)
        with torch.no_grad():
            outputs = model.training_outputs(x)
            assert set(outputs) == {"image", "degradation", "base"}
            torch.testing.assert_close(outputs["degradation"], model.g_de(x))
            torch.testing.assert_close(outputs["base"] + outputs["degradation"], x)
            torch.testing.assert_close(outputs["image"], model.g_re(outputs["base"]))
            torch.testing.assert_close(model(x), outputs["image"])

    def test_generators_are_alike_but_not_tied(self):
        model = create_enhancer("drgn")
        de, re = model.g_de.state_dict(), model.g_re.state_dict()
        assert {k: v.shape for k, v in de.items()} == {k: v.shape for k, v in re.items()}
        weights = [name for name in de if not name.endswith("bias")]
        assert not any(torch.equal(de[name], re[name]) for name in weights)

    def test_one_step_without_degradation_learning(self):
        model, x = create_enhancer("drgn", variant="w/o DL-DA"), seeded(1, 3, 8, 8)
        outputs = model.training_outputs(x)
        assert set(outputs) == {"image"}
        torch.testing.assert_close(outputs["image"], model.g_re(x))
        uses = {
            "degradation_stage": model.degradation_stage,
            "degrade": lambda: model.degrade(x, x),
            "darken": lambda: model.darken(x),
        }
        for name, use in uses.items():
            with pytest.raises(ValueError, match=f"{name}: .*learns no degradation"):
                use()

    def test_single_resolution_takes_any_size(self):
        model = create_enhancer("drgn", variant="w/o MSR")
        assert model.multiple == 1 and model(seeded(1, 3, 5, 7)).shape == (1, 3, 5, 7)


def test_attention_is_trained_from_some_start():
    """Three squeezed channels may be off at a start; not at all of eight."""
    reached = set()
    for seed in range(8):
        torch.manual_seed(seed)
        net = MFN((24, 24, 24), (1, 1, 1))
        net(seeded(2, 3, 8, 8)).square().mean().backward()
        reached |= {n for n, p in net.named_parameters() if p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in net.named_parameters()}


class TestStages:
    def test_first_stage_trains_the_generator_of_the_whole(self):
        model, x = small(), seeded(2, 3, 8, 8)
        before = state_of(model)
        stage = model.degradation_stage().train()
        outputs = stage.training_outputs(x)
        torch.testing.assert_close(outputs["degradation"], model.g_de(x))
        torch.testing.assert_close(outputs["image"], x - outputs["degradation"])
        torch.testing.assert_close(stage(x), outputs["image"])
        optimizer = torch.optim.Adam(stage.parameters(), 1e-3)
        outputs["image"].square().mean().backward()
        assert all(parameter.grad is None for parameter in model.g_re.parameters())
        optimizer.step()
        moved = changed(model, before)
        assert {"g_de.initial.2.weight", "g_de.reconstruct.weight"} <= moved
        assert all(name.startswith("g_de.") for name in moved)

    def test_first_stage_loads_into_another_model(self):
        torch.manual_seed(1)
        trained = TwoStep(*(MFN((8, 8, 16), (1, 1, 1)) for _ in range(2)), multiple=4)
        model, x = small(), seeded(1, 3, 8, 8)
        model.degradation_stage().load_state_dict(trained.degradation_stage().state_dict())
        torch.testing.assert_close(model.g_de(x), trained.g_de(x))
        assert not torch.equal(model.g_re(x), trained.g_re(x))

    @pytest.mark.parametrize("name", ["drgn", "lw_drgn"])
    def test_first_stage_has_a_builder_of_its_own(self, name):
        """It starts as the whole model's, and its weights load into that."""
        torch.manual_seed(3)
        stage = create_enhancer(f"{name}_degradation")
        torch.manual_seed(3)
        whole = create_enhancer(name)
        assert not changed(stage, whole.degradation_stage().state_dict())
        assert stage.multiple == whole.multiple

    def test_second_stage_leaves_a_frozen_generator_alone(self):
        model = small()
        model.g_de.requires_grad_(False)
        model.training_outputs(seeded(2, 3, 8, 8))["image"].square().mean().backward()
        assert all(p.grad is None for p in model.g_de.parameters())
        assert all(p.grad is not None for p in model.g_re.parameters())


class TestDegrade:
    def test_equations(self):
        model, reference, low = small(), seeded(2, 3, 8, 8), 0.1 * seeded(2, 3, 8, 8, seed=1)
        first = reference + model.g_de(low)
        for network in (model, model.degradation_stage()):
            made = network.degrade(reference, low)
            torch.testing.assert_close(made["degradation"], model.g_de(low))
            torch.testing.assert_close(made["degradation_ref"], model.g_de(first))
            torch.testing.assert_close(made["low_ref"], reference + model.g_de(first))
        torch.testing.assert_close(model.degrade(reference, low, False)["low_ref"], first)

    def test_gradients_reach_both_images_and_the_generator(self):
        model = small()
        reference, low = (seeded(1, 3, 8, 8, seed=s).requires_grad_() for s in (0, 1))
        made = model.degrade(reference, low)
        (made["low_ref"].square().mean() + made["degradation_ref"].square().mean()).backward()
        assert reference.grad.abs().sum() > 0 and low.grad.abs().sum() > 0
        assert all(p.grad is not None for p in model.g_de.parameters())

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and \(1, 3, 8, 12\)"):
            small().degrade(seeded(1, 3, 8, 8), seeded(1, 3, 8, 12))


class TestDarken:
    def make(self) -> TwoStep:
        """A model whose degradation is −½ of what it sees, so that results are known."""
        model = small()
        model.g_de = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            model.g_de.weight.copy_(-0.5 * torch.eye(3).view(3, 3, 1, 1))
        return model

    def test_own_degradation_and_strength(self):
        model, x = self.make(), seeded(2, 3, 9, 14)
        torch.testing.assert_close(model.darken(x), 0.5 * x)
        torch.testing.assert_close(model.darken(x, strength=0.5), 0.75 * x)
        assert torch.equal(model.darken(x, strength=0.0), x)
        assert (model.darken(x, strength=3.0) == 0).all()  # clamped

    def test_degradation_of_a_chosen_image(self):
        model, x, low = self.make(), seeded(2, 3, 9, 14), seeded(2, 3, 9, 14, seed=1)
        one = {"second_pass": False}
        torch.testing.assert_close(model.darken(x, low, **one), (x - 0.5 * low).clamp(0, 1))
        once = model.darken(x, low[:1], **one)
        torch.testing.assert_close(once, (x - 0.5 * low[:1]).clamp(0, 1))

    def test_the_second_pass_reads_the_degradation_from_the_image_itself(self):
        """I_ref + G_de(I_ref + I_D), by strength: x − s/2 · (x − low/2)."""
        model, x, low = self.make(), seeded(2, 3, 9, 14), seeded(2, 3, 9, 14, seed=1)
        for strength in (1.0, 0.4):
            expected = x - strength / 2 * (x - low / 2)
            torch.testing.assert_close(model.darken(x, low, strength), expected)

    def test_larger_images_are_cut_at_a_random_place(self):
        model, x = self.make(), torch.ones(1, 3, 6, 5)
        low = torch.arange(20.0 * 30).view(1, 1, 20, 30).expand(1, 3, 20, 30) / 600
        corners = set()
        for seed in range(8):
            place = torch.Generator().manual_seed(seed)
            y = model.darken(x, low, generator=place, second_pass=False)
            part = 2 * (1 - y)
            row, column = divmod(round(600 * part[0, 0, 0, 0].item()), 30)
            torch.testing.assert_close(part, low[..., row : row + 6, column : column + 5])
            corners.add((row, column))
        assert len(corners) > 4
        again = [model.darken(x, low, generator=torch.Generator().manual_seed(3)) for _ in "ab"]
        assert torch.equal(*again)

    @pytest.mark.parametrize("size", [(1, 1), (3, 40), (9, 5), (8, 13)])
    def test_smaller_images_are_enlarged_to_cover(self, size):
        model, x = self.make(), torch.ones(2, 3, 9, 14)
        y = model.darken(x, torch.full((1, 3, *size), 0.4), second_pass=False)
        torch.testing.assert_close(y, torch.full_like(x, 0.8))

    def test_real_generator_on_any_size(self):
        model = create_enhancer("lw_drgn").train()
        y = model.darken(seeded(1, 3, 7, 9), 0.1 * seeded(1, 3, 20, 11))
        assert y.shape == (1, 3, 7, 9) and y.min() >= 0 and y.max() <= 1
        assert not y.requires_grad and model.g_de.training

    @pytest.mark.parametrize(
        "low, strength, words",
        [
            (None, -0.1, "strength -0.1"),
            (None, float("nan"), "strength nan"),
            (None, float("inf"), "strength inf"),
            (seeded(3, 3, 8, 8), 1.0, "3 low-light images for 2 normal-light ones"),
            (seeded(2, 1, 8, 8), 1.0, r"reference_low.*\(2, 1, 8, 8\)"),
        ],
    )
    def test_bad_input_gets_one_clear_line(self, low, strength, words):
        with pytest.raises(ValueError, match=words):
            self.make().darken(seeded(2, 3, 8, 8), low, strength)


class TestDiscriminators:
    @pytest.mark.parametrize(
        "size, patches", [((96, 96), (6, 6)), ((37, 50), (3, 4)), ((1, 1),) * 2]
    )
    def test_one_logit_a_patch(self, size, patches):
        logits = PatchDiscriminator()(seeded(2, 3, *size))
        assert logits.shape == (2, 1, *patches)

    def test_patch_is_63_pixels(self):
        x = seeded(1, 3, 160, 160).requires_grad_()
        PatchDiscriminator()(x)[0, 0, 5, 5].backward()
        seen = x.grad.abs().sum(dim=(0, 1))
        for side in (seen.sum(dim=0), seen.sum(dim=1)):
            assert side.nonzero().flatten().tolist() == list(range(80 - 31, 80 + 32))

    def test_gradients_reach_every_parameter(self):
        torch.manual_seed(0)
        both, x = Discriminators(), seeded(2, 3, 32, 32)
        (both.low(x).square().mean() + both.degradation(x).square().mean()).backward()
        assert all(p.grad.abs().sum() > 0 for p in both.parameters())

    def test_brightness_is_seen(self):
        torch.manual_seed(0)
        net = PatchDiscriminator()
        dark, bright = net(torch.full((1, 3, 32, 32), 0.1)), net(torch.full((1, 3, 32, 32), 0.9))
        assert (dark - bright).abs().max() > 1e-3
