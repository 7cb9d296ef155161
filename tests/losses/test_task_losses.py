"""The joint loss of paper 2: Eq. 3.14 in closed form, its scaling, and with the real detector."""

import pytest
import torch
from seeded import seeded
from torch import nn

from llie_core.losses.task_driven import (
    BothLights,
    JointLoss,
    TaskLoss,
    gram_distance,
    weights_of_ratio,
)

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
    detector = Detector()
    terms = evaluate(joint(detector=detector), Level(0.5))
    assert detector.seen == "the boxes"
    assert set(terms) == {
        "total", "up", "up_raw", "up_exposure", "down", "down_raw", "down_box",
    }  # fmt: skip
    assert terms["up_exposure"].item() == pytest.approx(0.5)
    assert terms["down_box"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_weight_zero_skips_its_loss(weights):
    upstream, detector = Upstream(), Detector()
    loss = joint(*weights, upstream, detector)
    loss.prepare(Level(), [batch()])
    terms = evaluate(loss, Level())
    assert (upstream.calls == 0, detector.calls == 0) == (not weights[0], not weights[1])
    own = {"up", "up_raw", "up_exposure"} if weights[0] else {"down", "down_raw", "down_box"}
    assert set(terms) == {"total"} | own
    assert terms["total"].item() == pytest.approx(1)
    if weights[0]:
        alone = JointLoss(Upstream(), None, lambda batch: None, 1.0, 0.0)
        assert evaluate(alone, Level())["total"].item() == pytest.approx(4)


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
    assert weights_of_ratio(ratio) == pytest.approx(weights)


@pytest.mark.parametrize("ratio", ["", "2", "2:1:1", "a:b", "2/1", ":"])
def test_what_is_no_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="write W_up:W_down, such as 2:1"):
        weights_of_ratio(ratio)


@pytest.mark.parametrize("ratio", ["0:0", "-1:1", "1:-2"])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(ValueError, match=f"ratio '{ratio}': both parts must be ≥ 0 and not both"):
        weights_of_ratio(ratio)


# What the recognizer reads ---------------------------------------------------------------------


class Reader(nn.Module):
    """A recognizer that keeps what it reads; its loss is the sum, its features are the image."""

    def loss(self, images, targets, light="", features=None):
        self.read = images if light != "well" else self.read
        return {"total": (images if features is None else features[0]).sum()}

    def features(self, images, light, mean):
        self.means = mean
        return [images]


@pytest.mark.parametrize("objective", ["task", "both lights", "joint"])
def test_the_recognizer_reads_images_clamped_as_enhance_clamps_them(objective):
    reader, image = Reader(), torch.tensor([-0.5, 0.0, 0.4, 1.0, 1.5]).requires_grad_()
    outputs, one = {"image": image}, {"target": torch.zeros(5)}
    if objective == "joint":
        loss = JointLoss(Upstream(), reader, lambda batch: None, 0.0, 1.0)
    else:
        loss = (TaskLoss if objective == "task" else BothLights)(reader, lambda batch: {})
    loss(outputs, one)["total"].backward()
    assert torch.equal(reader.read, torch.tensor([0.0, 0.0, 0.4, 1.0, 1.0]))
    assert image.grad.tolist() == [0, 1, 1, 1, 0]  # passes inside, ends included


def test_gram_distance_is_the_released_sum():
    low, well = ([seeded(2, c, 3, 2 + c, seed=s + c) for c in (4, 5)] for s in (0, 9))
    expected = 0.0
    for dark, lit in zip(low, well, strict=True):
        for a, b in zip(dark, lit, strict=True):  # an image at a time
            a, b = a.flatten(1), b.flatten(1)
            difference = (b @ b.T - a @ a.T).square().mean()
            expected += (1 / len(low)) * difference / a.shape[1] ** 2 / 4
    low = [x.requires_grad_() for x in low]
    well = [x.requires_grad_() for x in well]
    found = gram_distance(low, well)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(x.grad is None for x in well) and all(x.grad.abs().sum() > 0 for x in low)


def test_both_lights_are_pulled_together_by_the_gram_distance():
    image, target = seeded(2, 3, 4, 4), seeded(2, 3, 4, 4, seed=1)
    reader, mean = Reader(), torch.ones(2, 3)
    terms = [
        BothLights(reader, lambda batch: {"mean": mean}, gram)({"image": image}, {"target": target})
        for gram in (0.0, 0.5)
    ]
    assert "gram" not in terms[0] and terms[1]["gram"] == gram_distance([image], [target])
    torch.testing.assert_close(terms[1]["total"], terms[0]["total"] + 0.5 * terms[1]["gram"])
    assert reader.means is mean


def test_saturation_of_a_model_is_logged_with_the_loss():
    loss, image = TaskLoss(Reader(), lambda batch: None), torch.zeros(3)
    assert set(loss({"image": image}, {})) == {"total"}
    assert loss({"image": image, "saturation": torch.tensor(0.5)}, {})["saturation"] == 0.5
