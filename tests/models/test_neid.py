"""NEID: sizes, the ×2 core, both branches, deployment, the rows of Table 2."""

import numpy as np
import pytest
import torch
from PIL import Image
from seeded import changed, seeded, state_of

from llie_core.data import collate, open_dataset
from llie_core.losses.colour import neid_loss
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.base import pad_to_multiple
from llie_core.models.neid import VARIANTS, WIDTHS, FeatureFusing, halve
from llie_core.reporting.published import load

UNET = "U-net architecture"


def make(variant: str = "", init: str = "pytorch", seed: int = 0):
    """A seeded model; from PyTorch's start, since from the paper's all images are nearly 0."""
    torch.manual_seed(seed)
    return create_enhancer("neid", variant=variant, init=init).eval()


class TestSizes:
    """No sizes are published: 11.13 M, 8.08 M and 3.09 GMAC are those of the inferred layers."""

    @pytest.mark.parametrize(
        "variant, training, use",
        [
            ("", 11_127_704, 8_076_396),
            # DR: 1×1 layer 262,656, decoder 3,047,840, head 3,468; FF 50,208; U-net head 867.
            ("LE + DR", 7_763_532 + 262_656 + 3_047_840 + 3_468, 7_763_532),
            ("LE", 7_763_532, 7_763_532),
            (UNET, 7_763_532 - 3_468 + 867, 7_763_532 - 3_468 + 867),
        ],
    )
    def test_parameters(self, variant, training, use):
        model = make(variant)
        assert count_parameters(model) == training
        assert count_parameters(model.deploy()) == use
        if variant == "":
            assert training == pytest.approx(11.13e6, rel=0.01)
            assert use == pytest.approx(8.08e6, rel=0.01)

    def test_parameters_of_group_normalisation(self):
        # A weight and a bias a channel, after both convolutions of 5 levels and of 2 × 4 levels.
        channels = sum(WIDTHS) + 2 * sum(WIDTHS[:-1])
        model = create_enhancer("neid", norm="group")
        assert count_parameters(model) == 11_127_704 + 2 * 2 * channels == 11_135_512

    def test_multiply_adds(self):
        model = make()
        half = count_macs(model, (128, 128), "forward_half").macs
        assert half == pytest.approx(3.09e9, rel=0.01)
        assert count_macs(model.deploy(), (128, 128), "forward_half").macs == half
        assert count_macs(model, (256, 256)).macs == half  # bicubic halving is not counted
        # The U-net sees four times the pixels, which Sec. 3.3 counts as the gain.
        assert count_macs(make(UNET), (256, 256)).macs == pytest.approx(4 * half, rel=0.03)

    def test_initial_weights(self):
        model = make(init="paper")
        weights = [p.flatten() for name, p in model.named_parameters() if "weight" in name]
        for values in (weights[0], torch.cat(weights)):
            assert values.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(values.mean().item()) < 4 * 0.02 / len(values) ** 0.5
        biases = [p for name, p in model.named_parameters() if "bias" in name]
        assert all((p == 0.1).all() for p in biases)
        zero = create_enhancer("neid", init="paper", bias=0.0)
        assert not any(p.any() for name, p in zero.named_parameters() if "bias" in name)
        assert make().encoder.levels[0][0].bias.any()


class TestHalving:
    def test_is_pillows_bicubic(self):
        x = seeded(1, 3, 24, 34)
        channels = [
            Image.fromarray(c).resize((17, 12), Image.Resampling.BICUBIC) for c in x[0].numpy()
        ]
        ours = halve(x)[0]
        torch.testing.assert_close(ours, torch.from_numpy(np.stack(channels)), rtol=0, atol=1e-5)

    def test_odd_sizes_keep_the_scale(self):
        """A ramp loses every other value and is not stretched."""
        ramp = torch.arange(21.0).expand(1, 3, 21, 21) / 21
        torch.testing.assert_close(halve(ramp)[0, 0, 0, 2:8], (2 * torch.arange(2.0, 8) + 0.5) / 21)


class TestFullSize:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("size", [(64, 96), (45, 71), (1, 1), (2, 3), (33, 16)])
    def test_every_output_has_the_size_of_the_input(self, variant, size):
        x = seeded(1, 3, *size)
        model = make(variant)
        with torch.no_grad():
            outputs = model.training_outputs(x)
            image = model(x)
        assert all(output.shape == x.shape for output in outputs.values())
        assert set(outputs) == ({"image", "detail"} if "DR" in (variant or "DR") else {"image"})
        torch.testing.assert_close(outputs["image"], image, rtol=0, atol=0)

    def test_pads_at_the_far_edges_and_crops_back(self):
        model, x = make(), seeded(1, 3, 45, 71)
        with torch.no_grad():
            half = pad_to_multiple(halve(x), 16)
            assert half.shape[-2:] == (32, 48)
            whole = model.forward_half(half)
            torch.testing.assert_close(model(x), whole[..., :45, :71], rtol=0, atol=0)

    def test_the_core_doubles_any_size(self):
        with torch.no_grad():
            assert make().forward_half(seeded(1, 3, 7, 19)).shape == (1, 3, 14, 38)

    def test_the_unet_has_no_core(self):
        with pytest.raises(ValueError, match="full size"):
            make(UNET).forward_half(seeded(1, 3, 16, 16))


class TestBranches:
    def test_dr_reaches_le_through_ff_only(self):
        x = seeded(1, 3, 32, 32)
        for variant, changes in (("", True), ("LE + DR", False)):
            model = make(variant)
            with torch.no_grad():
                before = model(x)
                model.detail_layer.weight.mul_(3)
                assert torch.equal(model(x), before) != changes

    def test_both_branches_train_the_encoder(self):
        model, x = make("LE + DR"), seeded(1, 3, 32, 32)
        outputs = model.training_outputs(x)
        for output in outputs.values():
            (gradient,) = torch.autograd.grad(
                output.square().mean(), model.encoder.levels[0][0].weight, retain_graph=True
            )
            assert gradient.any()

    def test_fusing_by_hand(self):
        """Gates read the details' means; a weighs light, b weighs detail."""
        fusing = FeatureFusing(channels=2, reduction=1)
        with torch.no_grad():
            fusing.squeeze.weight.copy_(torch.eye(2))
            fusing.squeeze.bias.zero_()
            fusing.excite.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0], [0, -1]]))
            fusing.excite.bias.copy_(torch.tensor([0.0, 0, 2, 0]))
        light, detail = seeded(1, 2, 3, 4), seeded(1, 2, 3, 4, seed=1) * 5
        m0, m1 = detail[0].mean(dim=(1, 2)).tolist()
        a0, a1, b0, b1 = torch.tensor([m0, m1, 2.0, -m1]).sigmoid().tolist()
        expected = torch.stack(
            [a0 * light[0, 0] + b0 * detail[0, 0], a1 * light[0, 1] + b1 * detail[0, 1]]
        )
        torch.testing.assert_close(fusing(light, detail)[0], expected)


class TestDeploy:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_same_image_bit_for_bit(self, variant):
        model = make(variant)
        before = state_of(model)
        deployed = model.deploy()
        for size in ((48, 64), (37, 53)):
            x = seeded(2, 3, *size)
            assert torch.equal(deployed.enhance(x), model.enhance(x))
            with torch.no_grad():
                assert torch.equal(deployed(x), model(x))
                assert set(deployed.training_outputs(x)) == {"image"}
        assert not changed(model, before)

    def test_holds_none_of_the_details_decoder(self):
        model = make()
        deployed = model.deploy().state_dict()
        dropped = set(model.state_dict()) - set(deployed)
        decoder = {name for name in model.state_dict() if name.startswith("detail_decoder.")}
        assert dropped == decoder and len(decoder) == 26
        # FF still needs the branch's own layer …
        assert {"detail_layer.weight", "fusing.squeeze.weight"} <= set(deployed)
        # … and nothing does where there is no FF.
        names = make("LE + DR").deploy().state_dict()
        assert not [name for name in names if name.startswith(("detail", "fusing"))]

    def test_is_a_copy(self):
        model = make()
        deployed = model.deploy()
        with torch.no_grad():
            model.encoder.levels[0][0].weight.zero_()
        assert deployed.encoder.levels[0][0].weight.any()
        assert "detail" in model.training_outputs(seeded(1, 3, 32, 32))


def test_variants_are_those_published():
    printed = dict.fromkeys(cell.variant for cell in load("neid") if cell.table == "2")
    assert list(printed) == list(VARIANTS[::-1])


def test_the_published_start_leaves_black_by_the_printed_loss():
    """From biases of 0 the colour loss holds the image at black; from 0.1 it does not."""
    data = open_dataset("builtin-photos", "train", size=32, count=2)
    batch = collate([data[0], data[1]])
    target = batch["target"]
    black = -10 * target.square().mean().log10()
    for bias, steps in ((0.1, 60), (0.0, 10)):
        torch.manual_seed(0)
        model = create_enhancer("neid", init="paper", bias=bias).train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
        for _ in range(steps):
            optimizer.zero_grad()
            neid_loss(model.training_outputs(batch["image"]), batch)["total"].backward()
            optimizer.step()
        with torch.no_grad():
            image = model(batch["image"])
        psnr = -10 * (image.clamp(0, 1) - target).square().mean().log10()
        if bias:
            assert image.mean() > 0.2 and psnr > black + 3
        else:
            assert image.mean() < 0.01 and psnr < black + 0.1
