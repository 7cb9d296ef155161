"""Enhancers by synthetic exposures, fusion and inverted dehazing: BIMEF, CRM, MF, Dong.

BIMEF and CRM share Ying's camera response model and estimate of the scene's illumination, MF
fuses three versions of an illumination over scales, Dong dehazes the negative.
"""

import numpy as np

from llie_core.models.classical import ArrayEnhancer, GainEnhancer
from llie_core.models.smoothing import differences, resize, smooth

CAMERA = (-0.3293, 1.1258)  # a, b of the response model, fitted by its authors to 201 real cameras
EPSILON = 1e-3
OFFSET = 0.01  # that BIMEF's script takes off the exposed copy


def exposed(image: np.ndarray, ratio: float | np.ndarray) -> np.ndarray:
    r"""The image as if taken with `ratio` times the exposure, by the beta-gamma response model.

    .. math:: g(P, k) = e^{b (1 - k^a)}\, P^{k^a}

    Exposures compose, g(g(P, k), m) = g(P, k m); black stays black; for k > 1 white exceeds 1.

    Args:
        image: of any shape, not below 0.
        ratio: k, above 0, of a shape that broadcasts with the image's.
    """
    a, b = CAMERA
    power = ratio**a
    return np.exp(b * (1 - power)) * image**power


def scene_illumination(image: np.ndarray, strength: float) -> np.ndarray:
    """Ying's T: max(R, G, B) smoothed at half the size, (H, W, 3) → (H, W) in [0, 1].

    The weight of a difference ∇ is strength / (|Σ ∇| · |∇| + ε), the sum running over five
    neighbours along it.
    """
    from scipy.ndimage import correlate1d

    brightest = image.max(axis=2)
    height, width = brightest.shape
    small = resize(brightest, (max(1, height // 2), max(1, width // 2)))
    weights = []
    for difference, axis in zip(differences(small), (1, 0), strict=True):
        total = difference
        if difference.size:
            total = correlate1d(difference, np.ones(5), axis=axis, mode="constant")
        weights.append(strength / (np.abs(total) * np.abs(difference) + EPSILON))
    return resize(smooth(small, tuple(weights)), (height, width)).clip(0, 1)


def entropy(values: np.ndarray) -> float:
    """Shannon entropy in bits of values on the 256 levels of 8-bit images, clipped to them."""
    levels = (values.clip(0, 1) * 255).round().astype(np.int64)
    counts = np.bincount(levels.ravel())
    share = counts[counts > 0] / levels.size
    return float(-(share * np.log2(share)).sum())


class BIMEF(ArrayEnhancer):
    r"""Fuses the image with a copy of the exposure that shows most in its dark parts.

    Z. Ying, G. Li, W. Gao, "A Bio-Inspired Multi-Exposure Fusion Framework for Low-Light Image
    Enhancement", arXiv 1711.00591, 2017.

    .. math:: R = W \circ P + (1 - W) \circ (g(P, \hat k) - 0.01), \quad W = T^\mu, \quad
        \hat k = \arg\max_k H(g(B, k))

    H is the entropy, B the geometric mean of R, G, B at the under-exposed pixels (T < 0.5) of a
    50×50 copy, g the camera response model (`exposed`), T the scene's illumination.

    Args:
        mu: exponent of the weight. The paper's 0.5.
        strength: of the smoothing of T. The authors' script's 0.5.
        largest: bound of the exposure ratio. The script's 7.

    Differs from the paper: 0.01 is taken off the exposed copy, as in the authors' script, so black
    falls below 0. Without under-exposed pixels the image is returned as it is, as in the script.
    Differs from the script: differences do not wrap around the border. Mean PSNR on LOL's eval15:
    13.87 dB, paper 5 prints 13.88.
    """

    def __init__(self, mu: float = 0.5, strength: float = 0.5, largest: float = 7.0):
        super().__init__()
        if not (mu >= 0 and strength >= 0 and largest > 1):
            raise ValueError(
                f"mu={mu}, strength={strength}: expected at least 0; largest={largest}: above 1"
            )
        self.mu, self.strength, self.largest = mu, strength, largest

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        illumination = scene_illumination(image, self.strength)
        ratio = self.best_ratio(image, illumination)
        if ratio is None:
            return image
        weight = illumination[..., None] ** self.mu
        return weight * image + (1 - weight) * (exposed(image, ratio) - OFFSET)

    def best_ratio(self, image: np.ndarray, illumination: np.ndarray) -> float | None:
        """k̂, between 1 and `largest`; None where no pixel is under-exposed."""
        from scipy.optimize import minimize_scalar

        copy = [resize(channel, (50, 50)).clip(0, 1) for channel in np.moveaxis(image, 2, 0)]
        dark = resize((illumination < 0.5).astype(np.float64), (50, 50)) > 0.5
        brightness = np.cbrt(np.prod(copy, axis=0))[dark]  # B
        if brightness.size == 0:
            return None
        found = minimize_scalar(
            lambda ratio: -entropy(exposed(brightness, ratio)),
            bounds=(1, self.largest),
            method="bounded",
        )
        return float(found.x)


class CameraResponse(ArrayEnhancer):
    r"""CRM: every pixel exposed anew, in inverse proportion to the scene's illumination there.

    Z. Ying, G. Li, Y. Ren, R. Wang, W. Wang, "A New Low-Light Image Enhancement Algorithm Using
    Camera Response Model", ICCV Workshops 2017.

    .. math:: R(x) = g(P(x), K(x)), \qquad K = \min(1/T, K_{max})

    with the camera response model g (`exposed`) and the smoothed illumination T.

    Args:
        strength: of the smoothing of T. The authors' script's 0.5.
        largest: K_max. The script's 7.

    Differs from the authors' script: differences do not wrap around the border.
    """

    def __init__(self, strength: float = 0.5, largest: float = 7.0):
        super().__init__()
        if not (strength >= 0 and largest >= 1):
            raise ValueError(
                f"strength={strength}: expected at least 0; largest={largest}: at least 1"
            )
        self.strength, self.largest = strength, largest

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        illumination = scene_illumination(image, self.strength)
        ratio = 1 / np.maximum(illumination, 1 / self.largest)
        return exposed(image, ratio[..., None])


def guided_filter(guide: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Edge-preserving smoothing of (H, W) by a grey guide (He, Sun, Tang, TPAMI 2013)."""
    from scipy.ndimage import uniform_filter

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, 2 * radius + 1, mode="nearest")

    guide_mean, image_mean = mean(guide), mean(image)
    covariance = mean(guide * image) - guide_mean * image_mean
    variance = mean(guide * guide) - guide_mean**2
    slope = covariance / (variance + epsilon)
    return mean(slope) * guide + mean(image_mean - slope * guide_mean)


def gaussian_pyramid(image: np.ndarray, count: int) -> list[np.ndarray]:
    """`count` levels of (H, W), each half the one before: blurred by [1 4 6 4 1]/16, decimated."""
    from scipy.ndimage import correlate1d

    kernel = np.array([1, 4, 6, 4, 1]) / 16
    levels = [image]
    for _ in range(count - 1):
        blurred = correlate1d(levels[-1], kernel, axis=0, mode="nearest")
        levels.append(correlate1d(blurred, kernel, axis=1, mode="nearest")[::2, ::2])
    return levels


def fuse(images: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """Σ_k w_k · image_k, level by level of the images' Laplacian pyramids: all (H, W).

    The weights must add up to 1 at every pixel; they are blended through Gaussian pyramids, as in
    T. Mertens, J. Kautz, F. Van Reeth, "Exposure Fusion", Pacific Graphics 2007.
    """
    count = max(1, int(np.log2(min(images[0].shape))))
    fused = None
    pyramids = [gaussian_pyramid(image, count) for image in images]
    shares = [gaussian_pyramid(weight, count) for weight in weights]
    for level in reversed(range(count)):
        shape = pyramids[0][level].shape
        total = np.zeros(shape) if fused is None else resize(fused, shape)
        for pyramid, share in zip(pyramids, shares, strict=True):
            detail = pyramid[level]
            if level + 1 < count:
                detail = detail - resize(pyramid[level + 1], shape)
            total += share[level] * detail
        fused = total
    return fused


class MultiScaleFusion(GainEnhancer):
    r"""MF: fuses the illumination with a brighter and a locally equalised copy of itself.

    X. Fu, D. Zeng, Y. Huang, Y. Liao, X. Ding, J. Paisley, "A Fusion-Based Enhancing Method for
    Weakly Illuminated Images", Signal Processing 129, 2016. (Paper 5 here cites another work of
    the first author under this name, the weighted variational model SRIE.)

    1. Illumination I: max(R, G, B), closed by a disk, refined by a guided filter. Reflectance
       R = image / I.
    2. Inputs I₁ = I, I₂ = (2/π) arctan(λ I) with λ = 10 + (1 − mean I)/mean I, I₃ = CLAHE of I.
    3. Weights exp(−(I_k − 0.5)²/(2·0.25²)) · I_k, normalised over k at each pixel.
    4. Multi-scale fusion of the I_k; the result is R times the fused illumination.

    Args:
        disk: radius of the closing in pixels.
        radius, epsilon: of the guided filter, the value max(R, G, B) being the guide.

    Differs from the paper: the sizes of disk and filter are taken from a reimplementation; the
    pyramid has as many levels as fit. The second factor of the paper's weights,
    1 + cos(αH + φ)·S, is the same for all k and cancels in the normalisation, so it is left out.
    CLAHE is scikit-image's, which first stretches I to the full range. I is kept above 0.001.
    Mean PSNR on LOL's eval15: 17.08 dB; paper 5 prints 18.79.
    """

    def __init__(self, disk: int = 7, radius: int = 2, epsilon: float = 0.004):
        super().__init__()
        if not (disk >= 0 and radius >= 0 and epsilon > 0):
            raise ValueError(
                f"disk={disk}, radius={radius}: expected at least 0; epsilon={epsilon}: above 0"
            )
        self.disk, self.radius, self.epsilon = disk, radius, epsilon

    def gain(self, image: np.ndarray) -> np.ndarray:
        illumination = self.illumination(image.max(axis=2))
        inputs = self.inputs(illumination)
        weights = [np.exp(-((one - 0.5) ** 2) / 0.125) * one for one in inputs]
        total = np.sum(weights, axis=0)
        adjusted = fuse(inputs, [weight / total for weight in weights])
        return adjusted / illumination

    def illumination(self, value: np.ndarray) -> np.ndarray:
        """(H, W) → I (H, W) in [0.001, 1]."""
        from scipy.ndimage import grey_closing

        across = np.arange(-self.disk, self.disk + 1)
        disk = across[:, None] ** 2 + across**2 <= self.disk**2
        closed = grey_closing(value, footprint=disk, mode="nearest")
        return guided_filter(value, closed, self.radius, self.epsilon).clip(EPSILON, 1)

    def inputs(self, illumination: np.ndarray) -> list[np.ndarray]:
        """I₁, I₂, I₃ of I, (H, W) each."""
        from skimage.exposure import equalize_adapthist

        mean = illumination.mean()
        brighter = 2 / np.pi * np.arctan((10 + (1 - mean) / mean) * illumination)
        flat = np.ptp(illumination) < 1 / 255  # has no contrast to equalise
        equalised = illumination if flat else equalize_adapthist(illumination)
        return [illumination, brighter, equalised]


class InvertedDehazing(ArrayEnhancer):
    r"""Dong: the negative of a dark image is like a hazy one; it is dehazed and inverted back.

    X. Dong, G. Wang, Y. Pang, W. Li, J. Wen, W. Meng, Y. Lu, "Fast Efficient Algorithm for
    Enhancement of Low Lighting Video", ICME 2011.

    With R = 1 − image:

    .. math:: t(x) = 1 - \omega \min_{y \in \Omega(x)} \min_c R^c(y) / A^c, \qquad
        J = \frac{R - A}{P\,t} + A, \qquad P = 2t \;(t < 0.5), \; 1 \;\text{else}

    and the result is 1 − J. The airlight A is the brightest pixel (sum of R, G, B) among the 100
    whose smallest channel is highest.

    Args:
        omega: share of the haze removed. The paper's 0.8.
        patch: side of Ω in pixels.
        candidates: for A. The paper's 100.

    Differs from the paper: it serves videos and reuses t and A from frame to frame; here is one
    image. We know no printed size of Ω; 7 gives the mean PSNR on LOL's eval15 that tables print.
    """

    def __init__(self, omega: float = 0.8, patch: int = 7, candidates: int = 100):
        super().__init__()
        if not (0 <= omega < 1 and patch >= 1 and candidates >= 1):
            raise ValueError(
                f"omega={omega}: expected in [0, 1); patch={patch}, candidates={candidates}: from 1"
            )
        self.omega, self.patch, self.candidates = omega, patch, candidates

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        from scipy.ndimage import minimum_filter

        negative = 1 - image  # R
        airlight = self.airlight(negative)
        relative = (negative / np.maximum(airlight, 1e-6)).min(axis=2)
        # A's own choice keeps `relative` at 1 at most, hence t at 1 − ω at least.
        t = 1 - self.omega * minimum_filter(relative, self.patch, mode="nearest")
        removed = np.where(t < 0.5, 2 * t * t, t)[..., None]  # P t
        return 1 - ((negative - airlight) / removed + airlight)

    def airlight(self, negative: np.ndarray) -> np.ndarray:
        """A of (H, W, 3) → (3,)."""
        pixels = negative.reshape(-1, 3)
        haziest = np.argsort(-pixels.min(axis=1), kind="stable")[: self.candidates]
        return pixels[haziest[pixels[haziest].sum(axis=1).argmax()]]
