"""Retinex enhancers that minimise a functional of illumination and reflectance: LIME, JED, SDD.

Total variation stands in all of them as a weighted sum of squared differences, |∇t| ≈ (∇t)²/|∇t'|
with t' known, so each step is one sparse linear system (smoothing.py). Images are RGB in [0, 1].
"""

import numpy as np

from llie_core.imaging import LUMA
from llie_core.models.classical import ArrayEnhancer, GainEnhancer
from llie_core.models.smoothing import (
    Edges,
    adjoint_differences,
    differences,
    laplacian,
    smooth,
    solve,
)

EPSILON = 1e-3  # smallest difference that weights tell from zero
DARKEST = 1e-3  # illumination below this would only amplify black
ONE_LEVEL = 1 / 255  # of 8-bit images


def windowed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of a map over 2·⌊2.5σ⌋ + 1 pixels a side, zeros outside."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, sigma, mode="constant", truncate=2.5) if values.size else values


def structure_weights(image: np.ndarray, sigma: float) -> Edges:
    """LIME's third strategy, made quadratic: 1 / ((|G * ∇t| + ε)(|∇t| + ε)) for (H, W).

    Differences that cancel within the window are texture and get smoothed; edges, whose
    differences add up, stay.
    """
    horizontal, vertical = (
        1 / ((np.abs(windowed(d, sigma)) + EPSILON) * (np.abs(d) + EPSILON))
        for d in differences(image)
    )
    return horizontal, vertical


def scaled(edges: Edges, factor: float) -> Edges:
    return edges[0] * factor, edges[1] * factor


class LIME(GainEnhancer):
    r"""Illumination map estimation; the image divided by its refined maximum of R, G, B.

    X. Guo, Y. Li, H. Ling, "LIME: Low-Light Image Enhancement via Illumination Map Estimation",
    IEEE TIP 26(2), 2017.

    .. math:: \min_T \|T - \hat T\|^2 + \alpha \sum_d \sum_x
        \frac{W_d(x) (\nabla_d T(x))^2}{|\nabla_d \hat T(x)| + \epsilon}, \qquad
        \hat T = \max_c L^c, \qquad W_d = \frac{1}{|G_\sigma * \nabla_d \hat T| + \epsilon}

    (the sped-up solver with weighting strategy III), then R = L / T^γ.

    Args:
        alpha: strength of the smoothing. The paper's 0.15.
        gamma: exponent of the illumination. The paper's 0.8.
        sigma: of the Gaussian window in pixels. The paper's 2.

    Differs from the paper: the result is not denoised (the paper may apply BM3D to its
    luminance). ε is 0.001. Differences do not wrap around the border. Mean PSNR on LOL's eval15:
    16.71 dB, paper 5 prints 16.76.
    """

    def __init__(self, alpha: float = 0.15, gamma: float = 0.8, sigma: float = 2.0):
        super().__init__()
        if not (alpha >= 0 and gamma >= 0 and sigma > 0):
            raise ValueError(
                f"alpha={alpha}, gamma={gamma}: expected at least 0; sigma={sigma}: above 0"
            )
        self.alpha, self.gamma, self.sigma = alpha, gamma, sigma

    def gain(self, image: np.ndarray) -> np.ndarray:
        estimate = image.max(axis=2)  # (H, W)
        weights = structure_weights(estimate, self.sigma)
        illumination = smooth(estimate, scaled(weights, self.alpha))
        return 1 / illumination.clip(DARKEST) ** self.gamma


class JED(ArrayEnhancer):
    r"""Joint enhancement and denoising: first the illumination, then a denoised reflectance.

    X. Ren, M. Li, W.-H. Cheng, J. Liu, "Joint Enhancement and Denoising Method via Sequential
    Decomposition", ISCAS 2018 (arXiv 1804.08468). The model is S = R ∘ L + noise.

    .. math:: \min_L \|L - \hat L\|^2 + \alpha \|A \circ \nabla L\|_1, \qquad
        \min_R \|R - S/L\|^2 + \beta \|W \circ \nabla R\|^2 + \omega \|\nabla R - G\|^2

    W = 1/(|∇S| ∘ L) smooths most where the image is dark and flat, that is, where there is more
    noise than signal; G = (1 + λ exp(−|∇S|/σ)) ∘ ∇S are the image's own differences, the faint
    ones raised most. The result is R ∘ L^{1/γ}.

    Args:
        alpha, beta, omega, lam: α, β, ω, λ, as set by the script that runs the authors' code.
        sigma: σ on the scale of [0, 1].
        gamma: of the illumination's correction.

    Differs from the paper: we had no copy of it and their code is compiled; the functionals are as
    others describe them and what that leaves open is inferred. L̂ is BT.601 luma, as in the authors'
    outputs; A is LIME's third strategy; W, in place of W², is the weight of the quadratic term,
    with |∇S| ∘ L + 1/255 below (a weight scaled into [0, 1] denoises nothing at this β, a squared
    one blurs everything); each channel has its own R. σ = 10/255 and γ = 2.2 are those of the
    robust Retinex model of the same group. Mean PSNR on LOL's eval15: 13.92 dB (with max(R, G, B)
    for L̂ 12.91), at 384×384 pixels, antialiased, 14.08. Paper 3 prints 15.90 for a split of its
    own at that size.
    """

    def __init__(
        self,
        alpha: float = 0.001,
        beta: float = 0.007,
        omega: float = 0.016,
        lam: float = 6.0,
        sigma: float = 10 / 255,
        gamma: float = 2.2,
    ):
        super().__init__()
        if not all(value >= 0 for value in (alpha, beta, omega, lam)):
            raise ValueError(
                f"alpha={alpha}, beta={beta}, omega={omega}, lam={lam}: expected at least 0"
            )
        if not (sigma > 0 and gamma > 0):
            raise ValueError(f"sigma={sigma}, gamma={gamma}: expected numbers above 0")
        self.alpha, self.beta, self.omega, self.lam = alpha, beta, omega, lam
        self.sigma, self.gamma = sigma, gamma

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        estimate = image @ np.array(LUMA)  # L̂ (H, W)
        weights = structure_weights(estimate, sigma=2.0)
        illumination = smooth(estimate, scaled(weights, self.alpha)).clip(DARKEST)
        channels = [self.reflectance(channel, illumination) for channel in np.moveaxis(image, 2, 0)]
        return np.stack(channels, axis=2) * illumination[..., None] ** (1 / self.gamma)

    def reflectance(self, channel: np.ndarray, illumination: np.ndarray) -> np.ndarray:
        """R of one channel S (H, W): (1 + β DᵀWD + ω DᵀD) R = S/L + ω DᵀG."""
        from scipy import sparse

        light = illumination[:, 1:], illumination[1:]  # of an edge: that of its later pixel
        weights, targets = [], []
        for difference, lit in zip(differences(channel), light, strict=True):
            size = np.abs(difference)
            weights.append(self.beta / (size * lit + ONE_LEVEL) + self.omega)
            targets.append((1 + self.lam * np.exp(-size / self.sigma)) * difference)  # G
        start = channel / illumination
        matrix = sparse.eye(channel.size) + laplacian(tuple(weights))
        right = start + self.omega * adjoint_differences(tuple(targets))
        return solve(matrix.tocsr(), right, start)


class SDD(ArrayEnhancer):
    r"""Semi-decoupled decomposition: illumination by Gaussian total variation, then reflectance.

    S. Hao, X. Han, Y. Guo, X. Xu, M. Wang, "Low-Light Image Enhancement with Semi-Decoupled
    Decomposition", IEEE TMM 22(12), 2020.

    B, the smoothed max(R, G, B), guides the illumination; the reflectance sees the illumination
    but not the other way round (hence semi-decoupled). For k = 1, 2, …

    .. math:: I_k = \arg\min_I \|I - B\|^2 + \alpha\, GTV(I), \qquad
        R_k = \arg\min_R \|I_k \circ R - S\|^2 + \beta\, GTV(R) + \delta \|\nabla R\|_1

    GTV weighs squared differences by 1/(max(|∇t|, ε) · exp((∇(G * t))²/2σ²)), ‖∇R‖₁ by
    1/max(|∇t|, ε), with t the layer before (Eqs. 16, 17): I_{k−1}, and S/I_k for R. It stops when
    I or the value max(R, G, B) of R changes by less than 1 %. The result is R ∘ I^{1/γ}.

    Args:
        alpha, beta, delta: of the functionals; `guide` is that of B. The authors' script's.
        gamma: of the illumination's correction. Theirs, 2.2.
        iterations: at most; the script's 20. Two or three are usual.

    R is solved to a relative residual of 1 %, as in the script; a tenth of that moved the PSNR of
    a dark image of LOL by 1e-5 dB.

    Differs from the authors' script: its Gaussian (σ = 1) in GTV blurs along rows only, ours both
    ways. The illumination is kept above 0.001. Mean PSNR on LOL's eval15: 13.34 dB; paper 3
    prints 15.69 for a split of its own at 384×384 pixels.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        beta: float = 0.0001,
        delta: float = 0.001,
        guide: float = 5.0,
        gamma: float = 2.2,
        iterations: int = 20,
    ):
        super().__init__()
        if not all(value >= 0 for value in (alpha, beta, delta, guide)):
            raise ValueError(
                f"alpha={alpha}, beta={beta}, delta={delta}, guide={guide}: expected at least 0"
            )
        if not (gamma > 0 and iterations >= 1):
            raise ValueError(f"gamma={gamma}: expected above 0; iterations={iterations}: from 1")
        self.alpha, self.beta, self.delta, self.guide = alpha, beta, delta, guide
        self.gamma, self.iterations = gamma, iterations

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        illumination, reflectance = self.decompose(image)
        return reflectance * illumination[..., None] ** (1 / self.gamma)

    def decompose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) → I (H, W), R (H, W, 3)."""
        illumination = image.max(axis=2)
        guide = smooth(illumination, scaled(gtv_weights(illumination, EPSILON), self.guide))  # B
        reflectance = np.ones_like(image)
        for _ in range(self.iterations):
            before = illumination, reflectance.max(axis=2)
            weights = scaled(gtv_weights(illumination), self.alpha)
            illumination = smooth(guide, weights).clip(DARKEST)
            channels = np.moveaxis(image, 2, 0)
            reflectance = np.stack([self.reflectance(c, illumination) for c in channels], axis=2)
            after = illumination, reflectance.max(axis=2)
            if min(map(relative_change, before, after)) < 0.01:
                break
        return illumination, reflectance

    def reflectance(self, channel: np.ndarray, illumination: np.ndarray) -> np.ndarray:
        """R of one channel S (H, W): (I² + β DᵀUD + δ DᵀQD) R = I ∘ S."""
        from scipy import sparse

        start = channel / illumination
        pairs = zip(gtv_weights(start), tv_weights(start), strict=True)
        weights = tuple(self.beta * gtv + self.delta * tv for gtv, tv in pairs)
        matrix = sparse.diags(illumination.ravel() ** 2) + laplacian(weights)
        return solve(matrix.tocsr(), illumination * channel, start, tolerance=0.01)


def tv_weights(image: np.ndarray, epsilon: float = 1e-4) -> Edges:
    """1 / max(|∇t|, ε) of (H, W), Eq. (17)."""
    horizontal, vertical = (1 / np.maximum(np.abs(d), epsilon) for d in differences(image))
    return horizontal, vertical


def gtv_weights(image: np.ndarray, epsilon: float = 1e-4) -> Edges:
    """1 / (max(|∇t|, ε) · exp((∇(G * t))² / 2)) of (H, W), Eq. (16); G: σ = 1, 5×5 pixels."""
    from scipy.ndimage import gaussian_filter

    blurred = differences(gaussian_filter(image, 1.0, mode="nearest", truncate=2.0))
    pairs = zip(tv_weights(image, epsilon), blurred, strict=True)
    horizontal, vertical = (weight * np.exp(-(d**2) / 2) for weight, d in pairs)
    return horizontal, vertical


def relative_change(before: np.ndarray, after: np.ndarray) -> float:
    """‖after − before‖ / ‖before‖, with 0 / 0 = 0."""
    return float(np.linalg.norm(after - before) / max(np.linalg.norm(before), 1e-12))
