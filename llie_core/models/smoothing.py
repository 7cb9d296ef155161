"""Edge-aware smoothing of maps on the pixel grid, shared by the methods that estimate illumination.

Neighbouring pixels p, q are joined by edges; what belongs to edges is a pair of arrays, horizontal
(H, W − 1) and vertical (H − 1, W). Smoothing with edge weights w minimises

    Σ_p a_p (t_p − s_p)² + Σ_pq w_pq (t_p − t_q)²,    so    (diag(a) + L_w) t = a s

with the grid's Laplacian L_w = Dᵀ diag(w) D, D being `differences`. There are no edges across the
border. Such systems are solved by conjugate gradients, preconditioned by a multigrid cycle on
aggregates of 2×2 pixels: time and memory grow with the number of pixels only.
"""

import numpy as np

Edges = tuple[np.ndarray, np.ndarray]  # horizontal (H, W − 1), vertical (H − 1, W)

COARSEST = 1000  # unknowns below which a level is solved directly
DAMPING = 0.7  # of the Jacobi smoother; below 1 it converges for these matrices
SWEEPS = 2
ITERATIONS = 1000  # at most; a tenth of it is usual at the slowest


def differences(image: np.ndarray) -> Edges:
    """Forward differences ∇_h, ∇_v of (H, W): right minus left, lower minus upper."""
    return np.diff(image, axis=1), np.diff(image, axis=0)


def adjoint_differences(edges: Edges) -> np.ndarray:
    """Dᵀ: edge values → (H, W), the adjoint of `differences` (minus the divergence)."""
    horizontal, vertical = edges
    image = np.zeros((len(horizontal), vertical.shape[1]))
    image[:, 1:] += horizontal
    image[:, :-1] -= horizontal
    image[1:] += vertical
    image[:-1] -= vertical
    return image


def laplacian(weights: Edges):
    """L_w as a sparse (H·W, H·W) matrix, pixels in row order; constants are its null space."""
    from scipy import sparse

    horizontal, vertical = weights
    pixel = np.arange(len(horizontal) * vertical.shape[1]).reshape(len(horizontal), -1)
    first = np.concatenate([pixel[:, :-1].ravel(), pixel[:-1].ravel()])
    second = np.concatenate([pixel[:, 1:].ravel(), pixel[1:].ravel()])
    weight = np.concatenate([horizontal.ravel(), vertical.ravel()])
    off = sparse.coo_matrix((weight, (first, second)), (pixel.size, pixel.size)).tocsr()
    off = off + off.T
    return (sparse.diags(np.asarray(off.sum(axis=1)).ravel()) - off).tocsr()


class Multigrid:
    """A symmetric W-cycle for a matrix on a grid: residual → approximate correction."""

    def __init__(self, matrix, shape: tuple[int, int]):
        from scipy import sparse
        from scipy.sparse.linalg import splu

        self.levels = []
        while matrix.shape[0] > COARSEST:
            height, width = shape
            shape = (-(-height // 2), -(-width // 2))
            block = (np.arange(height) // 2)[:, None] * shape[1] + np.arange(width) // 2
            entries = (np.ones(block.size), (np.arange(block.size), block.ravel()))
            spread = sparse.csr_matrix(entries)  # (pixels, blocks): a block's value to its pixels
            self.levels.append((matrix, DAMPING / matrix.diagonal(), spread))
            matrix = (spread.T @ matrix @ spread).tocsr()
        self.coarsest = splu(matrix.tocsc())

    def cycle(self, residual: np.ndarray, level: int = 0) -> np.ndarray:
        if level == len(self.levels):
            return self.coarsest.solve(residual)
        matrix, jacobi, spread = self.levels[level]
        x = jacobi * residual
        for _ in range(SWEEPS - 1):
            x += jacobi * (residual - matrix @ x)
        for visit in range(1 if level == 0 else 2):
            if visit:
                x += jacobi * (residual - matrix @ x)
            x += spread @ self.cycle(spread.T @ (residual - matrix @ x), level + 1)
        for _ in range(SWEEPS):
            x += jacobi * (residual - matrix @ x)
        return x


def solve(matrix, right: np.ndarray, start: np.ndarray, tolerance: float = 1e-4) -> np.ndarray:
    """Solve matrix · t = right for a symmetric positive definite matrix on the grid.

    Args:
        matrix: sparse (H·W, H·W).
        right, start: right side and first guess, (H, W) float64.
        tolerance: the norm of the residual to reach, as a share of that of the right side.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    precondition = LinearOperator(matrix.shape, Multigrid(matrix, right.shape).cycle)
    t, _ = cg(
        matrix, right.ravel(), x0=start.ravel(), rtol=tolerance, maxiter=ITERATIONS, M=precondition
    )
    return t.reshape(right.shape)


def smooth(image: np.ndarray, weights: Edges) -> np.ndarray:
    """The minimum above for a = 1: (H, W) → (H, W), in the image's range up to the tolerance."""
    from scipy import sparse

    return solve((sparse.eye(image.size) + laplacian(weights)).tocsr(), image, image)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic resampling (a = −0.5) with antialiasing: (H, W) float64 → `size`; may overshoot."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return F.interpolate(x, size, mode="bicubic", antialias=True)[0, 0].numpy()
