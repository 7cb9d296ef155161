"""DeepLabV3+ as a frozen recognizer: size, loss, prediction, the library's checkpoints."""

import math

import pytest
import torch
from safetensors.torch import save_file

from llie_core.recognizers import create_recognizer


@pytest.fixture(scope="module")
def recognizer():
    torch.manual_seed(0)
    return create_recognizer("deeplabv3plus", classes=5)


@pytest.mark.parametrize("size", [(32, 48), (37, 53), (33, 16)])
def test_every_size_is_predicted_at_its_own(recognizer, size):
    x = torch.rand(2, 3, *size)
    assert recognizer.logits(x).shape == (2, 5, *size)
    labels = recognizer.predict(x)
    assert labels.shape == (2, *size) and labels.dtype == torch.int64
    assert labels.min() >= 0 and labels.max() <= 4


def test_loss_is_the_mean_over_labelled_pixels(recognizer):
    x = torch.rand(2, 3, 32, 32)
    mask = torch.randint(0, 5, (2, 32, 32))
    mask[:, :, 10:] = 255
    logits = recognizer.logits(x).log_softmax(1)
    picked = logits.gather(1, mask[:, None].clamp(max=4))[:, 0]
    expected = -picked[mask != 255].mean()
    torch.testing.assert_close(recognizer.loss(x, mask)["total"], expected)


def test_uniform_scores_cost_the_logarithm_of_the_classes(recognizer, monkeypatch):
    monkeypatch.setattr(
        type(recognizer), "logits", lambda self, images: images.new_zeros(2, 5, 8, 8)
    )
    loss = recognizer.loss(torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long))
    assert loss["total"].item() == pytest.approx(math.log(5), rel=1e-6)


def test_a_batch_without_labels_costs_nothing(recognizer):
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    loss = recognizer.loss(x, torch.full((1, 32, 32), 255))["total"]
    loss.backward()
    assert loss.item() == 0 and torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("kind", ["pth", "wrapped", "safetensors"])
def test_loads_what_the_library_saves(recognizer, tmp_path, kind):
    torch.manual_seed(1)
    other = create_recognizer("deeplabv3plus", classes=5)
    state = other.network.state_dict()
    if kind == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(state, path)
    else:
        path = tmp_path / "model.pth"
        torch.save({"state_dict": state} if kind == "wrapped" else state, path)
    x = torch.rand(1, 3, 32, 32)
    fresh = create_recognizer("deeplabv3plus", classes=5)
    fresh.load_released_weights(path)
    assert torch.equal(fresh.logits(x), other.logits(x))
    assert not torch.equal(fresh.logits(x), recognizer.logits(x))


def test_another_number_of_classes_is_named(recognizer, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(create_recognizer("deeplabv3plus", classes=3).network.state_dict(), path)
    with pytest.raises(ValueError, match=r"model.pth: another model.*segmentation_head"):
        recognizer.load_released_weights(path)


def test_its_own_run_can_train_it():
    torch.manual_seed(0)
    recognizer = create_recognizer("deeplabv3plus", frozen=False, classes=2).train()
    x = torch.rand(4, 3, 32, 32) * 0.2
    mask = torch.zeros(4, 32, 32, dtype=torch.long)
    x[:, :, :, 16:] += 0.7
    mask[:, :, 16:] = 1
    optimizer = torch.optim.Adam(recognizer.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = recognizer.loss(recognizer.training_outputs(x)["image"], mask)["total"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
