"""Batch-norm statistics after a training: by hand, with validation, resumed, frozen."""

import dataclasses

import pytest
import torch
from test_loop import Killed, SquaredError, stack
from torch import nn
from torch.utils.data import Dataset

from llie_core.engine.batchnorm import MOST_BATCHES, tracked_norms
from llie_core.engine.fit import fit, train_hash
from llie_core.engine.loop import Experiment, TrainSettings
from llie_core.engine.runs import Run
from llie_core.engine.sampling import BatchDraws
from llie_core.recognizers import create_recognizer

BATCH = 4


class Images(Dataset):
    """Images of very different brightness, so that batches differ."""

    def __init__(self, count=8):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return {"image": image * (index + 1) / self.count, "target": 0.9 - image}


class Normed(nn.Module):
    """A batch norm in training, one within a frozen part, one that no image reaches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.frozen = Frozen()
        self.unused, self.untracked = (
            nn.BatchNorm2d(3),
            nn.BatchNorm2d(3, track_running_stats=False),
        )
        self.batches = 0

    def training_outputs(self, x):
        self.batches += 1
        return {"image": self.untracked(self.frozen(self.norm(self.conv(x))))}


class Frozen(nn.Sequential):
    def __init__(self):
        super().__init__(nn.BatchNorm2d(3))
        super().train(False)

    def train(self, mode=True):
        return self


def squared_error(outputs, batch):
    return {"total": (outputs["image"] - batch["target"]).square().mean()}


def run_of(label="normed"):
    return Run("paper", "toy", "smoke", label, "hash", 0)


def experiment(objective=squared_error, data=None, validate=None, **settings):
    given = {"steps": 6, "batch_size": BATCH, "lr": 0.05, "checkpoint_seconds": 0.0}
    given |= {"validate_every": 2 if validate else 0} | settings
    data = data or Images()
    return Experiment(
        Normed(), objective, data, stack, TrainSettings(**given), seed=1, validate=validate
    )


def by_hand(model, data, count):
    """Means over the first batches of the batch's mean and (unbiased) variance before the norm."""
    means, variances = [], []
    for draws in BatchDraws(len(data), BATCH, count, seed=1):
        batch = stack([data[draw % len(data)] for draw in draws])
        with torch.no_grad():
            features = model.conv(batch["image"]).transpose(0, 1).flatten(1)
        means.append(features.mean(1))
        variances.append(features.var(1))
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def test_statistics_after_a_fit_are_those_of_the_final_weights():
    made = experiment()
    fit(made, run_of(), "cpu")
    mean, variance = by_hand(made.model, made.data, 2)  # eight images are two batches
    torch.testing.assert_close(made.model.norm.running_mean, mean)
    torch.testing.assert_close(made.model.norm.running_var, variance)
    assert made.model.norm.momentum == 0.1


def test_frozen_and_unused_norms_stay_as_they_are():
    made = experiment()
    fit(made, run_of(), "cpu")
    for norm in (made.model.frozen[0], made.model.unused):
        assert torch.equal(norm.running_mean, torch.zeros(3))
        assert torch.equal(norm.running_var, torch.ones(3))


def test_the_number_of_processes_counts_where_norms_see_a_part_of_the_batch():
    model = Normed().eval()
    assert tracked_norms(model) == [model.norm, model.unused] and not model.norm.training
    made = dataclasses.replace(experiment(), model=model)
    assert train_hash(made) == train_hash(made, world_size=1) != train_hash(made, world_size=2)
    for norm in (model.norm, model.unused):
        norm.track_running_stats = False
    assert train_hash(made) == train_hash(made, world_size=2)


def test_at_most_sixteen_batches_are_read():
    made = experiment(data=Images(100), steps=1)
    fit(made, run_of(), "cpu")
    assert made.model.batches == 1 + MOST_BATCHES == 17
    mean, _ = by_hand(made.model, made.data, 16)
    torch.testing.assert_close(made.model.norm.running_mean, mean)


def test_a_model_without_batch_norm_is_run_for_its_steps_only():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.batches = nn.Conv2d(3, 3, 1), 0

        training_outputs = Normed.training_outputs
        norm = frozen = untracked = staticmethod(lambda x: x)

    made = dataclasses.replace(experiment(), model=Plain())
    fit(made, run_of(), "cpu")
    assert made.model.batches == 6


def test_validation_sees_fitting_statistics_and_leaves_the_training_alone():
    seen = []

    def validate(model):
        assert not model.training
        seen.append((model.norm.running_mean.clone(), by_hand(model, Images(), 2)[0]))
        return len(seen)

    made, plain = experiment(validate=validate), experiment()
    fit(made, run_of(), "cpu")
    fit(plain, run_of("plain"), "cpu")
    assert len(seen) == 3
    for found, expected in seen:
        torch.testing.assert_close(found, expected)
    # The last weights validate best here: those of a training without validation.
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], tensor), name


class Last:
    """validate(model): the last weights are the best."""

    def __init__(self):
        self._calls = 0

    def __call__(self, model):
        self._calls += 1
        return self._calls


@pytest.mark.parametrize("step", [3, 4, 5])
def test_a_killed_training_with_validation_resumes_bit_for_bit(step):
    whole = experiment(SquaredError(), validate=Last())
    fit(whole, run_of("whole"), "cpu")
    with pytest.raises(Killed):
        fit(experiment(SquaredError(step), validate=Last()), run_of(), "cpu")
    later = Last()
    later._calls = 10
    again = experiment(SquaredError(), validate=later)
    fit(again, run_of(), "cpu")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_a_recognizer_in_training_is_run_by_its_objective():
    from llie_core.losses.task_driven import TaskLoss

    class Masks(Images):
        def __getitem__(self, index):
            image = super().__getitem__(index)["image"].repeat(1, 6, 6)[:, :32, :32]
            return {"image": image, "mask": (image[0] > 0.3).long()}

    torch.manual_seed(0)
    model = create_recognizer("deeplabv3plus", frozen=False, classes=2)
    loss = TaskLoss(model, lambda batch: batch["mask"])
    settings = TrainSettings(steps=2, batch_size=BATCH, lr=0.01)
    made = Experiment(model, loss, Masks(), stack, settings)
    fit(made, run_of("reader"), "cpu")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(norm.num_batches_tracked == 2 for norm in norms)
    assert all(norm.running_mean.abs().sum() > 0 for norm in norms)
