"""Prediction with support vector machines that libsvm trained: radial basis kernel, float64.

Chang, Lin: LIBSVM, a library for support vector machines, ACM TIST 2(3), 2011. Models are read from
its text files or from structures of its MATLAB interface; nothing is trained here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llie_core.metrics.matlab import to_tensor


def scale(features: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Features `(B, d)` mapped so that low to high, `(d,)` each, becomes −1 to 1; not clipped."""
    low, high = low.to(features), high.to(features)
    return -1 + 2 * (features - low) / (high - low)


@dataclass(frozen=True)
class Regressor:
    """Support vector regression with a radial basis kernel, as libsvm stores it."""

    gamma: float
    rho: float
    coefficients: torch.Tensor  # (n,)
    vectors: torch.Tensor  # (n, d)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Values of `(B, d)` samples: `(B,)`."""
        return _kernel(x, self.vectors, self.gamma) @ self.coefficients - self.rho


@dataclass(frozen=True)
class Classifier:
    """Support vector classification with pairwise sigmoids, as libsvm stores it."""

    gamma: float
    rho: torch.Tensor  # (k(k-1)/2,), pairs (0, 1), (0, 2), …, (k-2, k-1)
    slope: torch.Tensor
    intercept: torch.Tensor
    counts: tuple[int, ...]  # support vectors of each class
    coefficients: torch.Tensor  # (n, k-1)
    vectors: torch.Tensor  # (n, d)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Class probabilities of `(B, d)` samples: `(B, k)`."""
        kernel = _kernel(x, self.vectors, self.gamma).split(self.counts, dim=1)
        weights = self.coefficients.split(self.counts)
        k = len(self.counts)
        pairwise = x.new_zeros(len(x), k, k)
        for pair, (i, j) in enumerate(torch.combinations(torch.arange(k)).tolist()):
            decision = kernel[i] @ weights[i][:, j - 1] + kernel[j] @ weights[j][:, i]
            decision = decision - self.rho[pair]
            wins = torch.sigmoid(-(self.slope[pair] * decision + self.intercept[pair]))
            pairwise[:, i, j] = wins.clamp(1e-7, 1 - 1e-7)
            pairwise[:, j, i] = 1 - pairwise[:, i, j]
        return torch.stack([couple(p) for p in pairwise])


def _kernel(x: torch.Tensor, vectors: torch.Tensor, gamma: float) -> torch.Tensor:
    return torch.exp(-gamma * (x[:, None] - vectors).square().sum(dim=-1))  # (B, n)


def couple(pairwise: torch.Tensor) -> torch.Tensor:
    """Class probabilities `(k,)` from pairwise ones `(k, k)`: entry (i, j) is P(i | i or j).

    Method 2 of Wu, Lin, Weng, JMLR 5, 2004; the diagonal must be 0, and one NaN makes all NaN.
    libsvm stops early, at 0.005/k; its answer, not the exact one, is part of the SSEQ score.
    """
    k = len(pairwise)
    if pairwise.isnan().any():
        return pairwise.new_full((k,), torch.nan)
    matrix = -pairwise.mT * pairwise
    matrix.diagonal().copy_(pairwise.square().sum(dim=0))
    p = pairwise.new_full((k,), 1 / k)
    for _ in range(max(100, k)):
        gradient = matrix @ p
        energy = p @ gradient
        if (gradient - energy).abs().max() < 0.005 / k:
            break
        for t in range(k):
            step = (energy - gradient[t]) / matrix[t, t]
            p[t] += step
            energy = energy + step * (step * matrix[t, t] + 2 * gradient[t])
            energy, p = energy / (1 + step) ** 2, p / (1 + step)
            gradient = (gradient + step * matrix[t]) / (1 + step)
    return p


def regressor_from_text(path: str, dimensions: int) -> Regressor:
    """The regressor of a libsvm model file (text), whose vectors have `dimensions` entries."""
    head, _, body = Path(path).read_text(encoding="ascii").partition("SV\n")
    settings = dict(line.split(maxsplit=1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines()]
    vectors = torch.zeros(len(rows), dimensions, dtype=torch.float64)
    for i, row in enumerate(rows):  # "coefficient 1:value 3:value …", zeros left out
        for entry in row[1:]:
            index, value = entry.split(":")
            vectors[i, int(index) - 1] = float(value)
    coefficients = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
    return Regressor(float(settings["gamma"]), float(settings["rho"]), coefficients, vectors)


def ranges_from_text(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest value of each feature, `(d,)` each, from a file of libsvm's svm-scale."""
    lines = Path(path).read_text(encoding="ascii").splitlines()[2:]  # after "x" and "-1 1"
    pairs = [[float(value) for value in line.split()[1:]] for line in lines]
    limits = torch.tensor(pairs, dtype=torch.float64)  # (d, 2)
    return limits[:, 0], limits[:, 1]


def regressor_from_mat(cell: np.ndarray) -> Regressor:
    """The regressor of libsvm's MATLAB structure, a `(1, 1)` array as `read_mat` gives it."""
    stored = cell[0, 0]
    return Regressor(
        gamma=float(stored["Parameters"][3, 0]),
        rho=float(stored["rho"][0, 0]),
        coefficients=to_tensor(stored["sv_coef"]).reshape(-1),
        vectors=to_tensor(stored["SVs"]),
    )


def classifier_from_mat(cell: np.ndarray) -> Classifier:
    """The classifier of libsvm's MATLAB structure, a `(1, 1)` array as `read_mat` gives it."""
    stored = cell[0, 0]
    return Classifier(
        gamma=float(stored["Parameters"][3, 0]),
        rho=to_tensor(stored["rho"]).reshape(-1),
        slope=to_tensor(stored["ProbA"]).reshape(-1),
        intercept=to_tensor(stored["ProbB"]).reshape(-1),
        counts=tuple(int(n) for n in stored["nSV"].ravel()),
        coefficients=to_tensor(stored["sv_coef"]),
        vectors=to_tensor(stored["SVs"]),
    )
