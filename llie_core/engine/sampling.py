"""Which samples a step sees, and its random numbers: functions of seed and step alone."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset

from llie_core.dataset import SizedDataset


class BatchDraws:
    """Lists of draws for each step: shuffled epochs without a gap, one slice per process.

    A draw is epoch × length + index, so that crops and noise vary from epoch to epoch.
    """

    def __init__(
        self, length: int, batch_size: int, steps: int, seed: int,
        start: int = 0, rank: int = 0, world_size: int = 1,
    ):  # fmt: skip
        if length < 1:
            raise ValueError("the training set is empty")
        self.length, self.batch_size, self.steps, self.seed = length, batch_size, steps, seed
        self.start, self.rank, self.world_size = start, rank, world_size
        self._epoch, self._order = -1, np.arange(length)

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size
        for step in range(self.start, self.steps):
            draws = [self._draw(n) for n in range(step * size, (step + 1) * size)]
            yield draws[self.rank :: self.world_size]

    def _draw(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return epoch * self.length + int(self._order[place])


class Drawn(Dataset):
    """A data set asked by draw instead of by index: `sample(index, draw)` where it has one."""

    def __init__(self, data: SizedDataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: int) -> dict:
        index = draw % len(self.data)
        if hasattr(self.data, "sample"):
            return self.data.sample(index, draw)
        return self.data[index]


def seed_everything(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch, NumPy and random from (seed, step, rank)."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    # torch.manual_seed also visits what the process does not use, which takes it 0.2 ms.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    np.random.seed(value)
    random.seed(value)
