"""LIME, JED, SDD and the smoothing on the pixel grid, against dense systems built by loops."""

import numpy as np
import pytest
import torch
from seeded import dark_images

from llie_core.models import create_enhancer
from llie_core.models.smoothing import (
    COARSEST,
    Multigrid,
    differences,
    laplacian,
    resize,
    smooth,
    solve,
)
from llie_core.models.variational import gtv_weights, tv_weights


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def dense_laplacian(horizontal: np.ndarray, vertical: np.ndarray) -> np.ndarray:
    """Σ_edges w (e_p − e_q)(e_p − e_q)ᵀ, edge by edge."""
    height, width = len(horizontal), vertical.shape[1]
    matrix = np.zeros((height * width,) * 2)
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1, horizontal)] * (x + 1 < width)
            neighbours += [(y + 1, x, vertical)] * (y + 1 < height)
            for v, u, weights in neighbours:
                p, q = y * width + x, v * width + u
                matrix[p, p] += weights[y, x]
                matrix[q, q] += weights[y, x]
                matrix[p, q] -= weights[y, x]
                matrix[q, p] -= weights[y, x]
    return matrix


def random_weights(height: int, width: int, decades: float = 5) -> tuple[np.ndarray, np.ndarray]:
    numbers = generator(1)
    return (
        10 ** (decades * numbers.random((height, width - 1))),
        10 ** (decades * numbers.random((height - 1, width))),
    )


class TestSmoothing:
    @pytest.mark.parametrize("size", [(4, 6), (1, 7), (5, 1), (1, 1)])
    def test_laplacian_as_by_loops(self, size):
        weights = random_weights(*size)
        np.testing.assert_allclose(laplacian(weights).toarray(), dense_laplacian(*weights))

    def test_solves_across_multigrid_levels(self):
        """Weights over five decades, 48×45 unknowns: two levels, one of odd width."""
        from scipy.sparse import eye

        image, weights = generator().random((48, 45)), random_weights(48, 45)
        assert image.size > 2 * COARSEST
        expected = np.linalg.solve(np.eye(image.size) + dense_laplacian(*weights), image.ravel())
        matrix = (eye(image.size) + laplacian(weights)).tocsr()
        found = solve(matrix, image, image, tolerance=1e-10)
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-8)
        np.testing.assert_allclose(smooth(image, weights).ravel(), expected, atol=1e-3)

    def test_multigrid_cycle_is_symmetric_and_positive(self):
        from scipy.sparse import eye

        matrix = (eye(60 * 70) + laplacian(random_weights(60, 70))).tocsr()
        cycle = Multigrid(matrix, (60, 70)).cycle
        one, other = generator().normal(size=(2, 60 * 70))
        assert one @ cycle(other) == pytest.approx(other @ cycle(one))
        assert one @ cycle(one) > 0

    def test_multigrid_keeps_the_number_of_iterations_down(self):
        """Plain conjugate gradients need more than ten times as many."""
        from scipy.sparse import eye
        from scipy.sparse.linalg import LinearOperator, cg

        image = generator().random((96, 100))
        weights = random_weights(96, 100, decades=3)
        matrix = (eye(image.size) + laplacian(weights)).tocsr()
        counts = []
        for cycle in (Multigrid(matrix, image.shape).cycle, lambda residual: residual):
            steps = []
            operator = LinearOperator(matrix.shape, cycle)
            cg(matrix, image.ravel(), rtol=1e-4, M=operator, callback=steps.append)
            counts.append(len(steps))
        assert counts[0] < 40 and counts[1] > 10 * counts[0]

    def test_resize(self):
        image = np.tile(np.linspace(0, 1, 40), (30, 1))
        half = resize(image, (15, 20))
        np.testing.assert_allclose(half[:, 2:-2], image.reshape(15, 2, 20, 2).mean((1, 3))[:, 2:-2])
        np.testing.assert_allclose(resize(np.full((3, 5), 0.7), (8, 2)), 0.7)


def gaussian(offset: int, sigma: float) -> float:
    return np.exp(-(offset**2) / (2 * sigma**2))


def windowed_by_loops(values: np.ndarray, sigma: float = 2.0, radius: int = 5) -> np.ndarray:
    span = range(-radius, radius + 1)
    total = sum(gaussian(k, sigma) for k in span)
    result = np.zeros_like(values)
    for y, x in np.ndindex(*values.shape):
        for v in span:
            for u in span:
                if 0 <= y + v < values.shape[0] and 0 <= x + u < values.shape[1]:
                    share = gaussian(v, sigma) * gaussian(u, sigma) / total**2
                    result[y, x] += share * values[y + v, x + u]
    return result


def as_array(images: torch.Tensor) -> np.ndarray:
    return images[0].permute(1, 2, 0).double().numpy()


def small_array() -> np.ndarray:
    return as_array(dark_images(1, (11, 9)))


@pytest.mark.parametrize("name", ["lime", "jed", "sdd"])
class TestEveryMethod:
    def test_black_stays_black_and_grey_grey(self, name):
        model = create_enhancer(name)
        assert model(torch.zeros(1, 3, 12, 8)).abs().max() == 0
        y = model(dark_images(1)[:, :1].expand(-1, 3, -1, -1))
        torch.testing.assert_close(y[:, 1:], y[:, :1].expand(-1, 2, -1, -1))


class TestLIME:
    def make(self):
        return create_enhancer("lime")

    def test_whole_method_as_by_a_dense_system(self):
        image = small_array()
        estimate = image.max(axis=2)
        weights = [
            0.15 / (np.abs(windowed_by_loops(d)) + 0.001) / (np.abs(d) + 0.001)
            for d in differences(estimate)
        ]
        system = np.eye(estimate.size) + dense_laplacian(*weights)
        light = np.linalg.solve(system, estimate.ravel()).reshape(estimate.shape)
        expected = image / light[..., None] ** 0.8
        np.testing.assert_allclose(self.make().enhance_array(image), expected, rtol=1e-4)


class TestJED:
    def make(self):
        return create_enhancer("jed")

    def test_reflectance_as_by_a_dense_system(self):
        """Minimum of |R − S/L|² + β Σ W (∇R)² + ω Σ (∇R − G)², gradient set to zero by hand."""
        image = small_array()
        channel, light = image[..., 1], 0.1 + 0.5 * generator().random((11, 9))
        gradient, weights = np.zeros(channel.size), []
        pixel = np.arange(channel.size).reshape(channel.shape)
        edges = [(pixel[:, :-1], pixel[:, 1:]), (pixel[:-1], pixel[1:])]
        flat, lit = channel.ravel(), light.ravel()
        for first, second in edges:
            step = flat[second] - flat[first]
            weights.append(0.007 / (np.abs(step) * lit[second] + 1 / 255) + 0.016)
            target = (1 + 6 * np.exp(-np.abs(step) * 255 / 10)) * step
            for p, q, g in zip(first.ravel(), second.ravel(), target.ravel(), strict=True):
                gradient[q] += 0.016 * g
                gradient[p] -= 0.016 * g
        system = np.eye(channel.size) + dense_laplacian(*weights)
        expected = np.linalg.solve(system, flat / lit + gradient).reshape(channel.shape)
        found = self.make().reflectance(channel, light)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_without_regularisers_it_is_a_gamma_curve_of_the_luma(self):
        image = small_array()
        plain = create_enhancer("jed", alpha=0, beta=0, omega=0).enhance_array(image)
        luma = (image * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
        np.testing.assert_allclose(plain, image / luma * luma ** (1 / 2.2), rtol=1e-4)

    def test_denoises_flat_dark_areas_and_keeps_edges(self):
        clean = np.full((40, 40, 3), 0.05)
        clean[:, 20:] = 0.25
        noisy = (clean + generator().normal(0, 0.01, clean.shape)).clip(0, 1)
        denoised, amplified = (
            create_enhancer("jed", **options).enhance_array(noisy)
            for options in ({}, {"alpha": 0, "beta": 0, "omega": 0})
        )
        for half in (slice(2, 17), slice(23, 38)):
            assert denoised[:, half].std() < 0.4 * amplified[:, half].std()
        step = denoised[:, 21].mean() - denoised[:, 18].mean()
        assert step > 0.8 * (0.25 ** (1 / 2.2) - 0.05 ** (1 / 2.2))


class TestSDD:
    def make(self):
        return create_enhancer("sdd")

    def test_weights_by_hand(self):
        ramp = np.tile(np.arange(12) * 0.1, (9, 1))
        horizontal, vertical = tv_weights(ramp)
        np.testing.assert_allclose(horizontal, 10)
        np.testing.assert_allclose(vertical, 1e4)  # flat: 1/ε
        horizontal, vertical = gtv_weights(ramp)
        np.testing.assert_allclose(horizontal[:, 3:-3], 10 * np.exp(-(0.1**2) / 2))
        np.testing.assert_allclose(vertical, 1e4)

    def test_reflectance_as_by_a_dense_system(self):
        image = small_array()
        channel, light = image[..., 0], 0.2 + 0.5 * generator().random((11, 9))
        ratio = channel / light
        pairs = zip(gtv_weights(ratio), tv_weights(ratio), strict=True)
        weights = [0.0001 * gtv + 0.001 * tv for gtv, tv in pairs]
        system = np.diag(light.ravel() ** 2) + dense_laplacian(*weights)
        expected = np.linalg.solve(system, (light * channel).ravel()).reshape(channel.shape)
        found = self.make().reflectance(channel, light)
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_without_regularisers_it_is_a_gamma_curve_of_the_value(self):
        image = small_array()
        options = {"alpha": 0, "beta": 0, "delta": 0, "guide": 0}
        plain = create_enhancer("sdd", **options).enhance_array(image)
        value = image.max(axis=2, keepdims=True)
        np.testing.assert_allclose(plain, image / value * value ** (1 / 2.2), rtol=1e-4)

    def test_the_layers_make_up_the_image(self):
        image = as_array(dark_images(1, (32, 48)))
        light, reflectance = self.make().decompose(image)
        assert light.shape == (32, 48) and light.min() > 0
        error = np.linalg.norm(light[..., None] * reflectance - image) / np.linalg.norm(image)
        assert error < 0.05  # what is lost is noise and texture
        assert differences(light)[0].std() < 0.5 * differences(image.max(axis=2))[0].std()

    def test_stops_when_a_layer_settles(self):
        image = as_array(dark_images(1, (24, 24)))
        layers = [create_enhancer("sdd", iterations=k).decompose(image)[0] for k in (1, 2, 20, 21)]
        np.testing.assert_array_equal(layers[2], layers[3])
        assert np.abs(layers[1] - layers[0]).max() > 0
