"""What every recognizer keeps to, and how they are built by name."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from llie_core.recognizers import Recognizer, create_recognizer, list_recognizers
from llie_core.recognizers.base import check_images


class Small(Recognizer):
    def __init__(self, frozen=True, width=2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Dropout(), nn.Conv2d(width, 1, 1)
        )
        if frozen:
            self.freeze()


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_frozen_stays_frozen_inside_a_trained_model():
    whole = nn.Sequential(nn.Conv2d(3, 3, 1), small := Small())
    whole.train()
    assert whole[0].training
    assert not any(module.training for module in small.modules())
    assert not any(p.requires_grad for p in small.parameters())
    assert small.train() is small and small.train(False) is small


def test_statistics_do_not_move_while_frozen():
    small = Small()
    before = state(small)
    small.train()
    small.body(torch.rand(4, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


def test_unfrozen_trains_until_it_is_frozen():
    small = Small(frozen=False)
    assert small.training and all(p.requires_grad for p in small.parameters())
    small.eval()
    assert not small.body[1].training
    small.train()
    assert small.body[1].training
    before = state(small)
    small.body(torch.rand(4, 3, 8, 8))
    assert not torch.equal(before["body.1.running_mean"], small.body[1].running_mean)
    assert small.freeze() is small and not small.body[1].training
    small.train()
    assert not small.body[1].training and not any(p.requires_grad for p in small.parameters())


def test_a_recognizer_without_loss_or_predictions_says_so():
    with pytest.raises(TypeError, match="Small has no loss"):
        Small().loss(torch.rand(1, 3, 4, 4), [])
    with pytest.raises(TypeError, match="Small has no predictions"):
        Small().predict(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "uint8"),
        ([1.0], TypeError, "list"),
        (torch.zeros(3, 4, 4), ValueError, r"\(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"\(B, 3, H, W\)"),
        (torch.zeros(0, 3, 4, 4), ValueError, r"\(0, 3, 4, 4\)"),
    ],
)
def test_images_are_checked(images, error, match):
    with pytest.raises(error, match=match):
        check_images(images)


def test_unknown_name_gives_the_nearest_and_all_known():
    with pytest.raises(ValueError, match=r"'mtcn'.*Did you mean 'mtcnn'.*Known: .*mtcnn"):
        create_recognizer("mtcn")
    with pytest.raises(ValueError, match=r"'xyzzy'\. Known: "):
        create_recognizer("xyzzy")
    with pytest.raises(TypeError, match="colour"):
        create_recognizer("mtcnn", colour=3)


@pytest.mark.parametrize("name", list_recognizers())
def test_is_frozen_by_default(name):
    recognizer = create_recognizer(name)
    assert isinstance(recognizer, Recognizer)
    assert not any(p.requires_grad for p in recognizer.parameters())
    recognizer.train()
    assert not any(module.training for module in recognizer.modules())


def test_importing_the_room_imports_no_recognizer():
    code = (
        "import sys, llie_core.recognizers;"
        "assert 'facenet_pytorch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
