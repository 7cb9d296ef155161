"""Losses of DRGN: closed forms, hand-computed equations, both stages in training."""

import math

import pytest
import torch
from seeded import seeded
from torch import nn

from llie_core.losses.adversarial import discriminator_loss, generator_adversarial
from llie_core.losses.degradation import (
    ADVERSARIAL_WEIGHT,
    COLLAPSED_BELOW,
    DegradationObjective,
    RefinementObjective,
    degradation_loss,
    degradation_monitor,
    kl_of_images,
    refinement_loss,
)
from llie_core.losses.paired import charbonnier
from llie_core.metrics import ssim as ssim_metric
from llie_core.models.drgn import MFN, Discriminators, TwoStep


def likeness(prediction: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Stands in for SSIM: 1 for equal images, differentiable, one value an image."""
    return 1 - (prediction - reference).square().mean(dim=(1, 2, 3))


class TestAdversarial:
    def test_printed_equations(self):
        real, fake = (3 * seeded(2, 1, 4, 4, seed=s, dtype=torch.float64) - 1 for s in (0, 1))
        d_real, d_fake = real.sigmoid(), fake.sigmoid()
        printed = -d_real.log().mean() - (1 - d_fake).log().mean()  # Eq. (5)
        torch.testing.assert_close(discriminator_loss(real, fake), printed)
        torch.testing.assert_close(generator_adversarial(fake), -d_fake.log().mean())

    @pytest.mark.parametrize("value", [-1e30, -1e4, 1e4, 1e30])
    def test_finite_at_large_logits(self, value):
        for loss in (generator_adversarial, lambda x: discriminator_loss(x, x)):
            logits = torch.full((2, 1, 2, 2), value, requires_grad=True)
            loss(logits).backward()
            assert torch.isfinite(loss(logits)) and torch.isfinite(logits.grad).all()
            assert logits.grad.abs().sum() <= 1

    def test_generator_keeps_its_slope_where_it_is_found_out(self):
        logits = torch.full((1, 1, 1, 1), -50.0, requires_grad=True)
        generator_adversarial(logits).backward()
        assert logits.grad.item() == pytest.approx(-1)


class TestKL:
    def test_two_pixels(self):
        # p = (1/4, 3/4), q = (1/2, 1/2)
        x = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 1, 2)
        forth = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
        back = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
        flat = torch.zeros_like(x)
        assert kl_of_images(x, flat, "sum").item() == pytest.approx(forth)
        assert kl_of_images(flat, x, "sum").item() == pytest.approx(back)
        assert kl_of_images(x, flat).item() == pytest.approx(forth / 2)
        # The mean over the images of a batch; pixels and channels count alike.
        pair = kl_of_images(torch.cat([x, flat]), torch.cat([flat, flat]), "sum")
        assert pair.item() == pytest.approx(forth / 2)
        channels = kl_of_images(x.transpose(1, 3), flat.transpose(1, 3), "sum")
        assert channels.item() == pytest.approx(forth)

    def test_the_mean_is_that_of_pytorch(self):
        x, y = (seeded(2, 3, 8, 8, seed=s).flatten(1) for s in (0, 1))
        expected = nn.functional.kl_div(y.log_softmax(1), x.softmax(1), reduction="none").mean()
        images = (z.view(2, 3, 8, 8) for z in (x, y))
        torch.testing.assert_close(kl_of_images(*images), expected)

    def test_unknown_reduction(self):
        with pytest.raises(ValueError, match="batchmean"):
            kl_of_images(seeded(1, 3, 2, 2), seeded(1, 3, 2, 2), "batchmean")

    @pytest.mark.parametrize("scale", [1e4, 1e30])
    def test_finite_for_large_values(self, scale):
        x = (scale * (seeded(2, 3, 4, 4) - 0.5)).requires_grad_()
        kl = kl_of_images(x, -x.detach())
        kl.backward()
        assert torch.isfinite(kl) and kl > 0 and torch.isfinite(x.grad).all()


class TestDegradationLoss:
    def parts(self):
        images = (seeded(2, 3, 4, 4, seed=s) for s in (0, 1))
        logits = (seeded(2, 1, 2, 2, seed=s) - 0.5 for s in (2, 3))
        return *images, *logits

    def test_equation_7(self):
        degradation, degradation_ref, low, de = self.parts()
        loss = degradation_loss(degradation, degradation_ref, low, de)
        assert ADVERSARIAL_WEIGHT == 1e-5
        adversarial = (1 + (-low).exp()).log().mean() + (1 + (-de).exp()).log().mean()
        expected = 1e-5 * adversarial + kl_of_images(degradation, degradation_ref)
        torch.testing.assert_close(loss["total"], expected)
        assert set(loss) == {"total", "adversarial_low", "adversarial_degradation", "kl"}

    def test_without_kl(self):
        loss = degradation_loss(*self.parts(), kl_weight=0.0)
        adversarial = loss["adversarial_low"] + loss["adversarial_degradation"]
        torch.testing.assert_close(loss["total"], 1e-5 * adversarial)
        assert loss["kl"] > 0  # still seen


class TestRefinementLoss:
    def test_equation_9(self):
        target = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
        image = target + 0.3
        loss = refinement_loss(image, target, likeness)
        root, like = math.sqrt(0.09 + 1e-6), 1 - 0.09
        assert loss["charbonnier"].item() == pytest.approx(root)
        assert loss["ssim"].item() == pytest.approx(like)
        assert loss["total"].item() == pytest.approx(root - 0.2 * like)

    def test_without_ssim(self):
        image, target = seeded(1, 3, 4, 4), seeded(1, 3, 4, 4, seed=1)
        loss = refinement_loss(image, target, None, ssim_weight=0.0)
        assert set(loss) == {"total", "charbonnier"}
        torch.testing.assert_close(loss["total"], charbonnier(image, target, eps=1e-3))
        with pytest.raises(ValueError, match="there is no ssim"):
            refinement_loss(image, target, None)

    def test_a_metric_without_gradient_is_refused(self):
        image = seeded(1, 3, 16, 16).requires_grad_()
        with pytest.raises(ValueError, match="ssim has no gradient"):
            refinement_loss(image, seeded(1, 3, 16, 16, seed=1), ssim_metric)

    def test_type_is_that_of_the_images(self):
        loss = refinement_loss(seeded(1, 3, 16, 16), seeded(1, 3, 16, 16, seed=1), ssim_metric)
        assert {value.dtype for value in loss.values()} == {torch.float32}  # the metric: float64


class TestMonitor:
    def halves(self, difference: float) -> torch.Tensor:
        """Images of two grey halves, a deviation of `difference` / 2."""
        x = torch.zeros(2, 3, 4, 8)
        x[..., 4:] = difference
        return x

    def test_constants_are_a_collapse(self):
        colour = torch.tensor([-0.5, -0.1, 0.3]).view(1, 3, 1, 1)
        seen = degradation_monitor(colour.expand(4, 3, 8, 8), seeded(4, 3, 8, 8))
        assert seen["collapsed"]
        assert seen["degradation_std"].item() == pytest.approx(0, abs=1e-6)
        assert seen["degradation_range"] == 0

    def test_known_spread(self):
        seen = degradation_monitor(self.halves(-0.4), self.halves(-0.6))
        assert seen["degradation_std"].item() == pytest.approx(0.2)
        assert seen["degradation_range"].item() == pytest.approx(0.4)
        assert seen["true_std"].item() == pytest.approx(0.3)
        assert not seen["collapsed"]

    @pytest.mark.parametrize("true", [0.01, 0.6])
    def test_it_is_judged_against_the_truth(self, true):
        """.01 is where an untrained network stands: a collapse where the truth is .6."""
        for part, collapsed in ((1.01, False), (0.99, True)):
            made = self.halves(part * COLLAPSED_BELOW * true)
            assert degradation_monitor(made, self.halves(true))["collapsed"] == collapsed

    def test_no_gradient_and_one_pixel(self):
        seen = degradation_monitor(seeded(1, 3, 1, 1).requires_grad_(), seeded(1, 3, 1, 1))
        assert not seen["degradation_std"].requires_grad
        assert seen["degradation_std"] == 0


class Mean(nn.Module):
    """A discriminator of one weight: logits w · x̄."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        return self.weight * x.mean(dim=(1, 2, 3))


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.degradation = Mean(2.0), Mean(-3.0)


class Scaling(nn.Module):
    """A generator of one weight: w · x."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.tensor(weight)), 0

    def forward(self, x):
        self.calls += 1
        return self.weight * x


def scaling(de: float = -0.5, re: float = 2.0) -> TwoStep:
    """Both generators of one weight."""
    return TwoStep(Scaling(de), Scaling(re), multiple=1)


def batch_of(size: int = 4) -> dict[str, torch.Tensor]:
    return {
        "image": 0.1 * seeded(2, 3, size, size),
        "target": seeded(2, 3, size, size),
        "reference": seeded(2, 3, size, size, seed=1),
    }


def softplus(x):
    return (1 + x.exp()).log()


class TestDegradationObjective:
    """G_de(x) = −½ x: I_D = −I_L/2, I_{D,ref} = −(I_ref + I_D)/2, I_{L,ref} = I_ref + I_{D,ref}."""

    def objective(self, **options):
        model, batch = scaling().degradation_stage(), batch_of()
        objective = DegradationObjective(Means(), **options)
        return objective, batch, model, objective.outputs(model, batch)

    def by_hand(self, batch, second_pass=True):
        first = batch["reference"] - batch["image"] / 2
        return -batch["image"] / 2, -first / 2, batch["reference"] - first / 2

    def test_generator(self):
        objective, batch, _, outputs = self.objective()
        terms = objective(outputs, batch)
        degradation, degradation_ref, low_ref = self.by_hand(batch)
        low = softplus(-2 * low_ref.mean(dim=(1, 2, 3))).mean()
        of_degradation = softplus(3 * degradation_ref.mean(dim=(1, 2, 3))).mean()
        kl = kl_of_images(degradation, degradation_ref)
        torch.testing.assert_close(terms["adversarial_low"], low)
        torch.testing.assert_close(terms["adversarial_degradation"], of_degradation)
        torch.testing.assert_close(terms["total"], 1e-5 * (low + of_degradation) + kl)
        seen = degradation_monitor(degradation, batch["image"] - batch["target"])
        torch.testing.assert_close({name: terms[name] for name in seen}, seen)
        assert "anchor" not in terms

    def test_one_pass(self):
        objective, batch, _, outputs = self.objective(second_pass=False, kl="sum")
        first = batch["reference"] - batch["image"] / 2
        torch.testing.assert_close(outputs["low_ref"], first)
        torch.testing.assert_close(outputs["degradation_ref"], -first / 2)
        kl = kl_of_images(-batch["image"] / 2, -first / 2, "sum")
        torch.testing.assert_close(objective(outputs, batch)["kl"], kl)

    def test_discriminators(self):
        objective, batch, _, outputs = self.objective()
        terms = objective.adversary_loss(outputs, batch)
        degradation, degradation_ref, low_ref = (x.mean(dim=(1, 2, 3)) for x in self.by_hand(batch))
        image = batch["image"].mean(dim=(1, 2, 3))
        low = softplus(-2 * image).mean() + softplus(2 * low_ref).mean()  # Eq. (5)
        de = softplus(3 * degradation).mean() + softplus(-3 * degradation_ref).mean()  # Eq. (6)
        torch.testing.assert_close(terms["low"], low)
        torch.testing.assert_close(terms["degradation"], de)
        torch.testing.assert_close(terms["total"], low + de)

    def test_each_side_moves_its_own_weights(self):
        objective, batch, model, outputs = self.objective()
        objective.adversary_loss(outputs, batch)["total"].backward()
        assert model.g_de.weight.grad is None
        assert all(p.grad.abs() > 0 for p in objective.adversary.parameters())
        objective.adversary.requires_grad_(False)
        objective(outputs, batch)["total"].backward()
        assert model.g_de.weight.grad.abs() > 0

    def test_the_generator_runs_twice_a_step(self):
        objective, batch, model, outputs = self.objective()
        objective.adversary_loss(outputs, batch)
        objective(outputs, batch)
        assert model.g_de.calls == 2

    def test_without_kl_and_with_an_anchor(self):
        objective, batch, _, outputs = self.objective(kl_weight=0.0, anchor_weight=0.5)
        terms = objective(outputs, batch)
        anchor = (1.5 * batch["image"] - batch["target"]).abs().mean()
        adversarial = terms["adversarial_low"] + terms["adversarial_degradation"]
        torch.testing.assert_close(terms["anchor"], anchor)
        torch.testing.assert_close(terms["total"], 1e-5 * adversarial + 0.5 * anchor)

    def test_bad_batches(self):
        objective, batch, model, _ = self.objective()
        with pytest.raises(ValueError, match="no 'reference'"):
            objective.outputs(model, {"image": batch["image"]})
        with pytest.raises(ValueError, match="crop them alike"):
            objective.outputs(model, batch | {"reference": seeded(2, 3, 4, 8)})

    def test_a_constant_degradation_nearly_minimises_the_printed_loss(self):
        class Constant(nn.Module):
            def forward(self, x):
                return torch.full_like(x, -0.3)

        batch, objective = batch_of(), DegradationObjective(Means(), kl="sum")
        stage = TwoStep(Constant(), nn.Identity(), multiple=1).degradation_stage()
        terms = objective(objective.outputs(stage, batch), batch)
        assert terms["kl"] == 0 and terms["collapsed"] and terms["total"] < 1e-4


class TestRefinementObjective:
    """G_de(x) = −½ x, G_re(x) = 2 x: I* = 3 I_L."""

    @pytest.mark.parametrize("second_pass", [True, False])
    def test_given_and_synthetic_pairs(self, second_pass):
        batch, model = batch_of(), scaling()
        objective = RefinementObjective(likeness, second_pass=second_pass)
        outputs = objective.outputs(model, batch)
        terms = objective(outputs, batch)
        low_ref = batch["reference"] - batch["image"] / 2
        if second_pass:
            low_ref = batch["reference"] - low_ref / 2
        images = 3 * batch["image"], 3 * low_ref
        torch.testing.assert_close((outputs["image"], outputs["image_ref"]), images)
        pairs = ((images[0], batch["target"]), (images[1], batch["reference"]))
        parts = [charbonnier(*pair, eps=1e-3) - 0.2 * likeness(*pair).mean() for pair in pairs]
        torch.testing.assert_close(terms["total"], sum(parts))
        torch.testing.assert_close(terms["charbonnier_ref"], charbonnier(*pairs[1]))
        torch.testing.assert_close(terms["ssim_ref"], likeness(*pairs[1]).mean())
        assert set(terms) == {"total", "charbonnier", "ssim", "charbonnier_ref", "ssim_ref"}
        assert (model.g_de.calls, model.g_re.calls) == (3 if second_pass else 2, 1)

    def test_pairs_darkened_by_hand_take_the_place_of_the_learned_ones(self):
        batch, model = batch_of(), scaling()
        batch["reference_low"] = 0.1 * batch["reference"]
        objective = RefinementObjective(likeness)
        outputs = objective.outputs(model, batch)
        images = 3 * batch["image"], 3 * batch["reference_low"]
        torch.testing.assert_close((outputs["image"], outputs["image_ref"]), images)
        assert (model.g_de.calls, model.g_re.calls) == (1, 1)

    def test_without_synthetic_pairs(self):
        batch, model = batch_of(), scaling()
        del batch["reference"]
        objective = RefinementObjective(likeness, synthetic=False)
        terms = objective(objective.outputs(model, batch), batch)
        expected = refinement_loss(3 * batch["image"], batch["target"], likeness)
        torch.testing.assert_close(terms, expected)

    def test_without_ssim(self):
        batch = batch_of()
        objective = RefinementObjective(None, ssim_weight=0.0)
        terms = objective(objective.outputs(scaling(), batch), batch)
        assert set(terms) == {"total", "charbonnier", "charbonnier_ref"}
        total = terms["charbonnier"] + terms["charbonnier_ref"]
        torch.testing.assert_close(terms["total"], total)

    def test_the_first_generator_gets_no_gradient(self):
        batch, model = batch_of(), scaling()
        objective = RefinementObjective(likeness)
        objective(objective.outputs(model, batch), batch)["total"].backward()
        assert model.g_de.weight.grad is None and model.g_re.weight.grad is not None


class TestBothStages:
    """With the networks themselves, few channels wide."""

    def model(self) -> TwoStep:
        torch.manual_seed(0)
        return TwoStep(*(MFN((8, 8, 8), (1, 1, 1)) for _ in range(2)), multiple=4)

    def train(self, model, objective, batch, steps: int = 40, rate: float = 2e-3) -> list[dict]:
        optimizer, log = torch.optim.Adam(model.parameters(), rate), []
        adversary = getattr(objective, "adversary", None)
        rival = adversary and torch.optim.Adam(adversary.parameters(), rate)
        for _ in range(steps):
            outputs = objective.outputs(model, batch)
            own = {}
            if adversary:
                cut = {name: value.detach() for name, value in outputs.items()}
                adversary.requires_grad_(True)
                loss = objective.adversary_loss(cut, batch)
                rival.zero_grad()
                loss["total"].backward()
                rival.step()
                adversary.requires_grad_(False)
                own = {f"adversary_{name}": value.item() for name, value in loss.items()}
            terms = objective(outputs, batch)
            optimizer.zero_grad()
            terms["total"].backward()
            optimizer.step()
            log.append(own | {name: value.item() for name, value in terms.items()})
        return log

    def test_the_divergence_shrinks_and_the_discriminator_learns(self):
        stage = self.model().degradation_stage()
        objective = DegradationObjective(Discriminators(), kl="sum", second_pass=False)
        log = self.train(stage, objective, batch_of(16))
        assert log[-1]["kl"] < 0.2 * log[0]["kl"]
        # Normal-light images with hardly a degradation are easily discerned from dark ones.
        assert log[-1]["adversary_low"] < 0.5 < log[0]["adversary_low"]

    def test_anchor_keeps_the_degradation_alive(self):
        stage, batch = self.model().degradation_stage(), batch_of(16)
        objective = DegradationObjective(Discriminators(), anchor_weight=1.0)
        log = self.train(stage, objective, batch)
        assert log[-1]["anchor"] < 0.7 * log[0]["anchor"]
        assert not log[-1]["collapsed"]
        # I_B comes near the target: darkness is a negative degradation.
        assert stage.training_outputs(batch["image"])["degradation"].mean() < -0.2
