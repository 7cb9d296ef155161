"""The small saliency network: its size, loss and predictions."""

import math

import pytest
import torch
from seeded import seeded

from llie_core.metrics.cost import count_macs
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.saliency_net import soft_iou_loss


def discs(count, size=48):
    """Discs of random colours on dark noise, and their masks."""
    line = torch.arange(size) + 0.5
    centre, radius = 12 + seeded(count, 2, 1) * (size - 24), 6 + 6 * seeded(count, 1, 1, seed=1)
    y, x = (line - centre[:, 0])[:, :, None], (line - centre[:, 1])[:, None, :]
    masks = (y**2 + x**2 < radius**2).float()[:, None]
    images = 0.3 * seeded(count, 3, size, size) + masks * (
        0.1 + 0.6 * seeded(count, 3, 1, 1, seed=2)
    )
    return images, masks


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return create_recognizer("saliency_net")


def test_it_is_small(net):
    assert count_macs(net, (192, 192)).macs == pytest.approx(0.2293e9, rel=0.001)


# Loss


def test_soft_iou_by_hand():
    p = torch.tensor([[[[0.5, 1.0], [0.0, 0.0]]]])
    m = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    assert soft_iou_loss(p, m).item() == pytest.approx(1 - 2.5 / 4)
    assert soft_iou_loss(m, m) == 0
    empty = torch.zeros_like(m)
    assert soft_iou_loss(empty, empty) == 0
    assert soft_iou_loss(p, empty).item() == pytest.approx(1 - 1 / 2.5)
    both = soft_iou_loss(torch.cat([p, m]), torch.cat([m, m]))
    assert both.item() == pytest.approx((1 - 2.5 / 4) / 2)


def test_soft_iou_gradient():
    p, m = seeded(2, 1, 3, 4).double().requires_grad_(), (seeded(2, 1, 3, 4, seed=1) > 0.5).double()
    assert torch.autograd.gradcheck(soft_iou_loss, (p, m))


def test_flat_logits(net, monkeypatch):
    monkeypatch.setattr(net, "forward", lambda x: torch.zeros(2, 1, 16, 16))
    masks = torch.zeros(2, 1, 20, 30)
    masks[:, :, :10] = 1
    terms = net.loss(torch.zeros(2, 3, 20, 30), masks)
    assert terms["bce"].item() == pytest.approx(math.log(2), rel=1e-5)
    assert terms["iou"].item() == pytest.approx(1 - 151 / 451, rel=1e-5)  # 150 of 300 + 300 − 150
    torch.testing.assert_close(terms["total"], terms["bce"] + terms["iou"])


# Predictions


def test_large_images_are_made_smaller(net, monkeypatch):
    seen = []
    monkeypatch.setattr(net, "forward", lambda x: seen.append(x.shape[2:]) or x[:, :1, ::2, ::2])
    for size in ((400, 320), (150, 190), (64, 500), (10, 10)):
        assert net.predict(seeded(1, 3, *size)).shape[2:] == size
    assert seen == [(192, 160), (160, 192), (32, 192), (32, 32)]


def test_it_learns_one_batch():
    """In 40 steps; and what it learnt in normal light it loses in the dark."""
    torch.manual_seed(0)
    net = create_recognizer("saliency_net", frozen=False)
    images, masks = discs(6)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    first = net.loss(images, masks)["total"].item()
    for _ in range(40):
        optimiser.zero_grad()
        net.loss(images, masks)["total"].backward()
        optimiser.step()
    net.freeze()
    assert net.loss(images, masks)["total"] < 0.15 * first
    assert ((net.predict(images) > 0.5) == (masks > 0.5)).float().mean() > 0.99
    assert net.loss(0.1 * images, masks)["total"] > 2 * net.loss(images, masks)["total"]
