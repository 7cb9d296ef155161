"""The joint loss of paper 2: Eq. 3.14 in closed form, its scaling, and with the real detector."""

import pytest
import torch
from torch import nn

from llie_core.losses.task_driven import JointLoss, weights_of_ratio
from llie_core.recipes.joint import RATIOS

IMAGE = torch.zeros(1, 3, 2, 2)


class Level(nn.Module):
    """An enhancer with one parameter: every pixel of its output has this level."""

    def __init__(self, level=1.0):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def training_outputs(self, x):
        return {"image": x * 0 + self.level}


class Detector(nn.Module):
    """Stands for a recognizer: its loss is `factor` times the mean level, plus a part of it."""

    def __init__(self, factor=10.0):
        super().__init__()
        self.factor, self.calls, self.seen = factor, 0, None

    def loss(self, images, targets):
        self.calls, self.seen = self.calls + 1, targets
        total = self.factor * images.mean()
        return {"total": total, "box": total / 5}


class Upstream:
    """Its loss is `factor` times the squared mean level, scaled per batch."""

    def __init__(self, factor=4.0):
        self.factor, self.calls = factor, 0

    def __call__(self, outputs, batch):
        self.calls += 1
        total = self.factor * batch.get("weight", 1.0) * outputs["image"].mean().square()
        return {"total": total, "exposure": total / 2}


def joint(w_up=1.0, w_down=0.5, upstream=None, detector=None):
    return JointLoss(
        upstream or Upstream(), detector or Detector(), lambda batch: batch["boxes"], w_up, w_down
    )


def batch(**extra):
    return {"image": IMAGE, "boxes": "the boxes", **extra}


def evaluate(loss, model, one=None):
    return loss(model.training_outputs(IMAGE), one or batch())


def test_total_is_the_weighted_sum_of_both_losses():
    terms = evaluate(joint(2.0, 3.0), Level(0.5))  # L_up = 4 · 0.25 = 1, L_down = 10 · 0.5 = 5
    assert terms["total"].item() == pytest.approx(2 * 1 + 3 * 5)
    assert terms["up"].item() == terms["up_raw"].item() == pytest.approx(1)
    assert terms["down"].item() == terms["down_raw"].item() == pytest.approx(5)


def test_both_losses_start_at_one_after_prepare():
    model, loss = Level(0.5), joint(1.0, 0.5)
    loss.prepare(model, [batch()])
    assert (loss.s_up, loss.s_down) == pytest.approx((1, 5))
    terms = evaluate(loss, model)
    assert terms["up"].item() == pytest.approx(1) and terms["down"].item() == pytest.approx(1)
    assert terms["total"].item() == pytest.approx(1.5)  # W_up + W_down
    with torch.no_grad():
        model.level.mul_(2)  # L_up = 4, L_down = 10: the scales stay as they were
    terms = evaluate(loss, model)
    assert terms["total"].item() == pytest.approx(1.0 * 4 / 1 + 0.5 * 10 / 5)
    assert (terms["up_raw"].item(), terms["down_raw"].item()) == pytest.approx((4, 10))


def test_scales_are_means_over_the_batches():
    model, loss = Level(1.0), joint()
    loss.prepare(model, [batch(weight=1.0), batch(weight=2.0)])  # L_up = 4 and 8
    assert loss.s_up == pytest.approx(6)
    ups = [evaluate(loss, model, batch(weight=w))["up"].item() for w in (1.0, 2.0)]
    assert ups == pytest.approx([2 / 3, 4 / 3]) and sum(ups) / 2 == pytest.approx(1)


def test_gradient_is_that_of_the_scaled_sum():
    # d/dl of W_up · 4 l² / s_up + W_down · 10 l / s_down, with s of l = 0.5: 1 and 5.
    model, loss = Level(0.5), joint(1.0, 0.5)
    loss.prepare(model, [batch()])
    evaluate(loss, model)["total"].backward()
    assert model.level.grad.item() == pytest.approx(1.0 * 8 * 0.5 / 1 + 0.5 * 10 / 5)


def test_prepare_trains_nothing():
    model, loss = Level(0.5), joint()
    loss.prepare(model, [batch(), batch()])
    assert model.level.grad is None and model.level.item() == 0.5
    assert isinstance(loss.s_up, float) and isinstance(loss.s_down, float)


def test_every_term_of_both_losses_is_reported_by_name():
    terms = evaluate(joint(), Level(0.5))
    assert set(terms) == {
        "total", "up", "up_raw", "up_exposure", "down", "down_raw", "down_box",
    }  # fmt: skip
    assert terms["up_exposure"].item() == pytest.approx(0.5)
    assert terms["down_box"].item() == pytest.approx(1.0)


def test_recognizer_gets_the_targets_of_the_batch():
    detector = Detector()
    evaluate(joint(detector=detector), Level())
    assert detector.seen == "the boxes"


def test_weight_zero_skips_the_recognizer():
    detector = Detector()
    loss = joint(1.0, 0.0, detector=detector)
    loss.prepare(Level(), [batch()])
    terms = evaluate(loss, Level())
    assert detector.calls == 0 and set(terms) == {"total", "up", "up_raw", "up_exposure"}
    assert terms["total"].item() == pytest.approx(1)
    alone = JointLoss(Upstream(), None, lambda batch: None, 1.0, 0.0)
    assert evaluate(alone, Level())["total"].item() == pytest.approx(4)


def test_weight_zero_skips_the_upstream_loss():
    upstream = Upstream()
    loss = joint(0.0, 1.0, upstream=upstream)
    loss.prepare(Level(), [batch()])
    terms = evaluate(loss, Level())
    assert upstream.calls == 0 and set(terms) == {"total", "down", "down_raw", "down_box"}
    assert terms["total"].item() == pytest.approx(1)


def test_a_loss_of_zero_is_not_divided_by():
    loss = joint(upstream=Upstream(factor=0.0), detector=Detector(factor=0.0))
    loss.prepare(Level(), [batch()])
    assert (loss.s_up, loss.s_down) == (1.0, 1.0)
    assert evaluate(loss, Level())["total"].item() == 0


def test_a_nan_is_not_hidden_by_the_scaling():
    loss = joint(upstream=Upstream(factor=float("nan")))
    loss.prepare(Level(), [batch()])
    terms = evaluate(loss, Level())
    assert terms["up"].isnan() and terms["total"].isnan() and not terms["down"].isnan()


@pytest.mark.parametrize(("w_up", "w_down"), [(-1, 1), (1, -1), (0, 0)])
def test_impossible_weights_are_refused(w_up, w_down):
    with pytest.raises(ValueError, match=f"W_up {w_up} and W_down {w_down} must be ≥ 0"):
        joint(w_up, w_down)


def test_a_weight_needs_its_recognizer():
    with pytest.raises(ValueError, match="W_down > 0 needs a recognizer"):
        JointLoss(Upstream(), None, lambda batch: None, 1.0, 0.5)


@pytest.mark.parametrize(
    ("ratio", "weights"),
    [
        ("1:0", (1, 0)), ("1:1", (1, 1)), ("3:2", (1, 2 / 3)), ("2:1", (1, 0.5)),
        ("3:1", (1, 1 / 3)), ("2:3", (1, 1.5)), ("1:3", (1, 3)), ("0:1", (0, 1)),
    ],
)  # fmt: skip
def test_weights_of_the_eight_ratios(ratio, weights):
    assert ratio in RATIOS and len(RATIOS) == 8
    assert weights_of_ratio(ratio) == pytest.approx(weights)


@pytest.mark.parametrize("ratio", ["", "2", "2:1:1", "a:b", "2/1", ":"])
def test_what_is_no_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="write W_up:W_down, such as 2:1"):
        weights_of_ratio(ratio)


@pytest.mark.parametrize("ratio", ["0:0", "-1:1", "1:-2"])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(ValueError, match=f"ratio '{ratio}': both parts must be ≥ 0 and not both"):
        weights_of_ratio(ratio)


# With the real detector -----------------------------------------------------------------------


@pytest.fixture
def real(tmp_path, monkeypatch):
    """experiment(ratio) of the recipe on tiny pictures with MTCNN."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    from llie_core.recipes import get_recipe

    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    recipe = get_recipe("joint")
    settings = recipe.settings("smoke", size=64, train_count=4, steps=3, batch_size=2)

    def experiment(ratio):
        return recipe.experiment(recipe.key(settings, "zero_dce_pp", ratio), settings)

    return experiment


def first_batch(experiment):
    # Item 1 of this seed holds faces, so that all of the detector's terms have something to say.
    items = [experiment.data[i] for i in range(len(experiment.data))]
    return experiment.collate([item for item in items if len(item["boxes"])][:2])


def gradients(experiment, one):
    """Gradient of the total at the untrained enhancer; the detector's windows are drawn alike."""
    model, objective = experiment.model.train(), experiment.objective
    torch.manual_seed(0)
    objective.prepare(model, [one])
    torch.manual_seed(0)
    model.zero_grad()
    terms = objective(model.training_outputs(one["image"]), one)
    terms["total"].backward()
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    return terms, flat.clone()


def test_the_detectors_gradient_reaches_every_layer_of_the_enhancer(real):
    experiment = real("0:1")
    terms, _ = gradients(experiment, first_batch(experiment))
    assert terms["total"].item() == pytest.approx(1, abs=1e-5)
    for name, parameter in experiment.model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in experiment.objective.recognizer.parameters())


def test_joint_gradient_is_the_weighted_sum_of_both(real):
    joined = real("2:1")
    one = first_batch(joined)
    terms, both = gradients(joined, one)
    assert terms["up"].item() == pytest.approx(1, abs=1e-5)
    assert terms["down"].item() == pytest.approx(1, abs=1e-5)
    _, up = gradients(real("1:0"), one)
    _, down = gradients(real("0:1"), one)
    assert down.norm() > 1e-6 and up.norm() > 1e-6
    assert torch.allclose(both, up + 0.5 * down, rtol=1e-3, atol=1e-6 * both.abs().max().item())


def test_training_changes_the_enhancer_and_never_the_detector(real):
    from llie_core.training import fit

    experiment = real("2:1")
    detector = experiment.objective.recognizer
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    start = {k: v.clone() for k, v in experiment.model.state_dict().items()}
    run = fit(experiment, "cpu", quiet=True)
    after = detector.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m.training for m in detector.modules())
    assert not any(p.requires_grad for p in detector.parameters())
    trained = experiment.model.state_dict()
    assert all(not torch.equal(start[k], trained[k]) for k in start if k.endswith("weight"))
    log = run.read_log()
    assert len(log) == 3 and {"up", "down", "down_onet_class"} <= set(log[0])
    for row in log:
        assert row["total"] == pytest.approx(row["up"] + 0.5 * row["down"], rel=1e-6)
