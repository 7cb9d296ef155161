"""Zero-DCE, Zero-DCE++ and EC-Zero-DCE: sizes, curves, released checkpoints, darkening."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from released import Layers
from safetensors.torch import save_file
from seeded import dark_images, seeded
from torch import nn

from llie_core.data import open_dataset
from llie_core.data.wrappers import spread
from llie_core.files import project_root
from llie_core.losses.zero_reference import zero_reference_total
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.models.ec_zero_dce import lightness
from llie_core.models.zero_dce import light_curve


class TestPublishedSizes:
    def test_parameters(self):
        assert count_parameters(create_enhancer("zero_dce")) == 79_416
        assert count_parameters(create_enhancer("zero_dce_pp")) == 10_561

    @pytest.mark.parametrize(
        "name, options, size, published",
        [
            ("zero_dce", {}, (1024, 512), 41.5),
            ("zero_dce_pp", {}, (1024, 512), 5.28),
            # Published for 1024×512, cropped to multiples of 12 as the released test does …
            ("zero_dce_pp", {"scale_factor": 12}, (1020, 504), 0.036),
            # … where we keep all pixels: 86×43 are looked at instead of 85×42.
            ("zero_dce_pp", {"scale_factor": 12}, (1024, 512), 0.037),
        ],
    )
    def test_multiply_adds(self, name, options, size, published):
        digits = len(str(published).partition(".")[2])
        macs = count_macs(create_enhancer(name, **options), size).macs
        assert round(macs / 1e9, digits) == published

    def test_initial_weights(self):
        torch.manual_seed(0)
        model = create_enhancer("zero_dce")
        weights = torch.cat([p.flatten() for n, p in model.named_parameters() if "weight" in n])
        assert weights.std().item() == pytest.approx(0.02, rel=0.02)
        assert abs(weights.mean().item()) < 3 * 0.02 / len(weights) ** 0.5
        assert all((p == 0).all() for n, p in model.named_parameters() if "bias" in n)

    def test_released_initialisation_is_the_default_of_pytorch(self):
        torch.manual_seed(0)
        model = create_enhancer("zero_dce_pp", init="released")
        # Uniform in ±1/√fan_in: 1/3 for 3×3 kernels of one channel, 1/8 for 64 inputs.
        assert 0.25 < model.e_conv5.depth_conv.weight.abs().max() <= 1 / 3
        assert 0.1 < model.e_conv5.point_conv.weight.abs().max() <= 1 / 8
        thesis = create_enhancer("zero_dce_pp")
        assert thesis.e_conv5.depth_conv.weight.std().item() == pytest.approx(0.02, rel=0.1)


class TestCurve:
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64).view(1, 1, 1, -1)

    @pytest.mark.parametrize("a", [-1.0, -0.3, 0.0, 0.7, 1.0])
    def test_one_step(self, a):
        y = light_curve(self.grid, (torch.tensor(a),))
        torch.testing.assert_close(y, self.grid + a * self.grid * (1 - self.grid))
        assert y[..., 500].item() == pytest.approx(0.5 + a / 4)

    def test_two_steps_by_hand(self):
        half, ones = torch.full((1, 1, 1, 1), 0.5), (torch.ones(1),) * 2
        # released: .5 → .75 → .75 + .75·.25; thesis: .5 → .75 → .75 + .5·.25
        assert light_curve(half, ones).item() == pytest.approx(0.9375)
        assert light_curve(half, ones, "thesis").item() == pytest.approx(0.875)

    def test_model_uses_the_chosen_curve(self):
        released, thesis = (create_enhancer("zero_dce", curve=c) for c in ("released", "thesis"))
        nn.init.constant_(released.e_conv7.bias, 0.5)
        thesis.load_state_dict(released.state_dict())
        x = seeded(1, 3, 8, 8)
        maps = released.training_outputs(x)["curve_maps"].split(3, dim=1)
        torch.testing.assert_close(released(x), light_curve(x, maps))
        torch.testing.assert_close(thesis(x), light_curve(x, maps, "thesis"))
        assert (released(x) - thesis(x)).abs().max() > 0.01


def released_forward(state: dict, x: torch.Tensor, scale: int = 1) -> torch.Tensor:
    """The released networks in few words: r from the network, eight times x + r·(x² − x)."""

    use = Layers(state)

    def layer(n, *inputs):
        y, name = torch.cat(inputs, 1), f"e_conv{n}"
        if f"{name}.weight" in state:
            return use.conv(name, y)
        return use.conv(f"{name}.point_conv", use.conv(f"{name}.depth_conv", y))

    small = x if scale == 1 else F.interpolate(x, scale_factor=1 / scale, mode="bilinear")
    y1 = layer(1, small).relu()
    y2 = layer(2, y1).relu()
    y3 = layer(3, y2).relu()
    y4 = layer(4, y3).relu()
    y6 = layer(6, y2, layer(5, y3, y4).relu()).relu()
    r = layer(7, y1, y6).tanh()
    if scale != 1:
        r = nn.UpsamplingBilinear2d(scale_factor=scale)(r)
    assert use.read == set(state)
    for step in r.split(3, 1) * (24 // r.shape[1]):
        x = x + step * (x**2 - x)
    return x


class TestReleasedWeights:
    """Against files of the released names and shapes with random values (the authors' own bytes
    are not redistributed here) and a re-statement of the released forward pass."""

    def state(self, separable: bool) -> dict[str, torch.Tensor]:
        model = create_enhancer("zero_dce_pp" if separable else "zero_dce")
        generator, state = torch.Generator().manual_seed(7), {}
        for name, own in model.state_dict().items():
            gain = 0.1 if name.endswith("bias") else (2 / own[0].numel()) ** 0.5
            state[name] = gain * torch.randn(own.shape, generator=generator)
        return state

    def load(self, model, state, folder):
        torch.save(state, folder / "Epoch99.pth")
        model.load_released_weights(folder / "Epoch99.pth")
        return model

    @pytest.mark.parametrize("prefix", ["", "module."])
    @pytest.mark.parametrize(
        "name, scale, size",
        [
            ("zero_dce", 1, (37, 53)),
            ("zero_dce_pp", 1, (37, 53)),
            ("zero_dce_pp", 12, (48, 72)),
            ("zero_dce_pp", 12, (12, 24)),
        ],
    )
    def test_equals_the_released_forward(self, tmp_path, name, scale, size, prefix):
        state = self.state(separable=name == "zero_dce_pp")
        model = create_enhancer(name, **({"scale_factor": scale} if scale > 1 else {}))
        self.load(model, {prefix + n: v for n, v in state.items()}, tmp_path)
        x = seeded(2, 3, *size)
        with torch.no_grad():
            ours, theirs = model(x), released_forward(state, x, scale)
        assert (theirs - x).abs().max() > 0.1  # the curve does something
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)

    def test_size_is_kept_where_the_released_code_crops(self):
        model = create_enhancer("zero_dce_pp", scale_factor=12, init="released")
        x = seeded(1, 3, 50, 61)
        y = model(x)
        assert y.shape == x.shape
        # The first 48×60 pixels of the padded image are not the cropped image: the map is
        # interpolated over another extent. Training works at full size, whatever the factor.
        model.scale_factor = 1
        torch.testing.assert_close(model(x), model.training_outputs(x)["image"])
        assert not torch.equal(model(x), y)

    def test_another_networks_file_and_a_runs_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"another model's weights.*and 39 more"):
            self.load(create_enhancer("zero_dce"), self.state(separable=True), tmp_path)
        model = create_enhancer("zero_dce")
        save_file(model.state_dict(), tmp_path / "weights.safetensors")
        with pytest.raises(ValueError, match="load it as the weights of a run"):
            model.load_released_weights(tmp_path / "weights.safetensors")


class TestLightness:
    def test_equals_scikit_image(self):
        from skimage.color import rgb2lab

        rgb = seeded(1, 3, 40, 40).pow(3)  # dark values meet all branches
        rgb[..., 0, 0] = 0
        rgb[..., 0, 1] = 1
        theirs = rgb2lab(rgb[0].permute(1, 2, 0).double().numpy())[..., 0] / 100
        # scikit-image's luminance weights have two more digits: 5e-5 in Y.
        np.testing.assert_allclose(lightness(rgb)[0, 0].numpy(), theirs, atol=1e-4)

    def test_known_values(self):
        # Middle grey of 18.42 % luminance has L* = 50; the pure sRGB primaries are well known.
        grey = 1.055 * 0.184187 ** (1 / 2.4) - 0.055
        colours = [(grey,) * 3, (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 1, 1)]
        rgb = torch.tensor(colours).T.reshape(1, 3, 1, 6)
        expected = torch.tensor([0.5, 0.5324, 0.8774, 0.3230, 0.0, 1.0])
        torch.testing.assert_close(lightness(rgb).flatten(), expected, rtol=0, atol=1e-4)

    def test_gradient(self):
        rgb = torch.tensor([0.02, 0.3, 0.9, 0.001, 0.005, 0.002], dtype=torch.float64)
        rgb = rgb.view(2, 3, 1, 1).requires_grad_()
        assert torch.autograd.gradcheck(lightness, rgb)
        black = torch.zeros(1, 3, 1, 1, requires_grad=True)
        lightness(black).sum().backward()
        assert torch.isfinite(black.grad).all()


class TestECZeroDCE:
    size = (32, 48)

    def make(self):
        torch.manual_seed(0)
        return create_enhancer("ec_zero_dce")

    def test_parameters(self):
        assert count_parameters(self.make()) == 69_896
        assert count_parameters(create_enhancer("ec_zero_dce", width=8, iterations=10)) == 5_674

    def test_only_darkens(self):
        x = torch.cat([dark_images(), seeded(2, 3, *self.size)])
        for exposure in (0.05, 0.3):
            assert (self.make().enhance(x, exposure) <= x + 1e-6).all()

    def test_lamps_keep_their_light(self):
        x = dark_images(1)
        x[..., 4:9, 7:12] = torch.tensor([1.0, 1.0, 0.8]).view(1, 3, 1, 1)
        lamp = (lightness(x) > 0.97).expand_as(x)
        assert 0 < lamp.sum() == 75
        y = self.make().enhance(x, 0.05)
        torch.testing.assert_close(y[lamp], x[lamp], rtol=0, atol=1e-6)
        assert (y[~lamp] < 0.9 * x[~lamp]).all()

    def test_keeps_the_ratios_of_the_channels(self):
        x = dark_images(1).double()
        y = self.make().double().enhance(x, 0.1)
        torch.testing.assert_close(y[:, 0] * x[:, 2], y[:, 2] * x[:, 0])

    def test_training_outputs(self):
        model, x = self.make(), dark_images(4)
        torch.manual_seed(5)
        outputs = model.training_outputs(x)
        assert outputs["curve_maps"].shape == (4, 8, *self.size)
        assert (outputs["curve_maps"] < 0).all() and (outputs["curve_maps"] > -1).all()
        exposure = outputs["exposure"]
        assert exposure.shape == (4,) and len(exposure.unique()) == 4
        assert exposure.min() >= 0.05 and exposure.max() <= 0.3
        torch.manual_seed(5)
        assert torch.equal(model.training_outputs(x)["exposure"], exposure)
        torch.testing.assert_close(model(x, exposure), outputs["image"])

    def test_the_mean_of_a_photograph_is_the_exposure_asked_for(self):
        from skimage import data

        x = F.interpolate(
            torch.tensor(data.astronaut()).permute(2, 0, 1)[None] / 255, (64, 64), mode="area"
        )
        for exposure in (0.05, 0.1, 0.2, 0.3):
            y = self.make().enhance(x, exposure)
            assert y.mean().item() == pytest.approx(exposure, abs=1e-4)
            assert (y <= x + 1e-6).all()

    def test_one_shift_an_image_is_the_second_step(self):
        """σ⁻¹ of the map with and without the second step differ by one number."""
        model, x = self.make(), seeded(2, 3, *self.size)
        plain, reached = (
            model.training_outputs(x, 0.2, reach=reach)["curve_maps"] for reach in (False, True)
        )
        shifts = (-reached).logit() - (-plain).logit()
        torch.testing.assert_close(
            shifts, shifts[:, :1, :1, :1].expand_as(shifts), atol=1e-3, rtol=0
        )
        assert shifts[:, 0, 0, 0].abs().min() > 0.01

    def test_a_white_sky_is_dimmed_to_half_of_the_exposure(self):
        x = torch.full((1, 3, *self.size), 0.5)
        x[..., :24] = 1.0
        y = self.make().enhance(x, 0.05)
        torch.testing.assert_close(y[..., :24], torch.full_like(y[..., :24], 0.05))
        assert y.mean().item() == pytest.approx(0.05, abs=1e-5)
        # Where the rest is too dark for its half, the sky makes up for it.
        x[..., 24:] = 0.01
        y = self.make().enhance(x, 0.3)
        torch.testing.assert_close(y[..., 24:], x[..., 24:], atol=1e-4, rtol=0)
        assert y.mean().item() == pytest.approx(0.3, abs=1e-5)

    def test_an_image_darker_than_the_exposure_stays_as_it_is(self):
        dim = torch.full((1, 3, *self.size), 0.1)
        torch.testing.assert_close(self.make().enhance(dim, 0.3), dim, atol=1e-4, rtol=0)

    def test_held_out_photographs_reach_the_exposure(self, shared_data):
        """48 photographs of WIDER FACE, which the kept weights have not seen, at 64 pixels."""
        photos = open_dataset("wider-face", "val", shared_data, missing="skip")
        small = torch.cat(
            [
                F.interpolate(photos[i]["image"][None], (64, 64), mode="area")
                for i in spread(len(photos), 48)
            ]
        )
        kept = sorted(project_root().glob("results/reference/joint/*/*/weights/ec_zero_dce-*"))
        model = create_enhancer("ec_zero_dce", weights=kept[0])
        for exposure in (0.05, 0.10, 0.15, 0.20, 0.25, 0.30):
            errors = (model.enhance(small, exposure).mean((1, 2, 3)) - exposure).abs()
            assert errors.mean() <= 0.02, exposure  # measured: at most 0.0024
            assert (errors[small.mean((1, 2, 3)) > exposure] < 1e-3).all()

    def test_exposure_belongs_to_its_image(self):
        model, x = self.make(), dark_images(2)
        both = model.enhance(x, torch.tensor([0.05, 0.3]))
        torch.testing.assert_close(both[:1], model.enhance(x[:1], 0.05))
        torch.testing.assert_close(both[1:], model.enhance(x[1:], 0.3))
        assert not torch.equal(both[:1], model.enhance(x[:1], 0.3))

    @pytest.mark.parametrize("exposure", [0.04, 0.31, float("nan"), torch.tensor([0.1, 0.4])])
    def test_exposure_out_of_range(self, exposure):
        with pytest.raises(ValueError, match=r"out of range \[0.05, 0.3\]"):
            self.make().enhance(dark_images(2), exposure)

    def test_exposure_of_another_batch(self):
        with pytest.raises(ValueError, match=r"one number or \(2,\)"):
            self.make().enhance(dark_images(2), torch.full((3,), 0.1))

    def test_an_enhancer_knows_no_exposure(self):
        with pytest.raises(TypeError, match="exposure"):
            create_enhancer("zero_dce").enhance(dark_images(), exposure=0.1)

    def test_trained_brightness_follows_the_exposure(self):
        """A short training on photographs: E orders the mean brightness of the results."""
        from skimage import data

        photographs = [data.astronaut(), data.chelsea(), data.coffee()]
        small = torch.cat(
            [
                F.interpolate(torch.tensor(p).permute(2, 0, 1)[None] / 255, (96, 96), mode="area")
                for p in photographs
            ]
        )
        torch.manual_seed(0)
        model = create_enhancer("ec_zero_dce", width=16)
        before = self.brightness(model, small)
        optimizer = torch.optim.Adam(model.parameters(), 4e-3)
        for step in range(80):
            top, left = 48 * (step % 2), 48 * (step // 2 % 2)
            x = small[..., top : top + 48, left : left + 48].repeat(2, 1, 1, 1)
            outputs = model.training_outputs(x)
            exposure = outputs["exposure"]
            loss = zero_reference_total(outputs, x, "ec_zero_dce", exposure=exposure)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after = self.brightness(model, small)
        # Measured: 0.120, 0.124, 0.145, 0.173, 0.204, 0.232; before, within 0.02 of one another.
        assert (after.diff() > 0.001).all(), after
        assert after[-1] - after[0] > 0.08, after
        assert (before[-1] - before[0]).abs() < 0.03, before

    @staticmethod
    def brightness(model, x):
        """Mean of the images darkened with E = 0.05, 0.10 … 0.30, without the second step."""
        with torch.no_grad():
            return torch.stack([model(x, 0.05 * k).mean() for k in range(1, 7)])
