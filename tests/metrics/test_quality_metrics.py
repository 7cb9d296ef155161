"""PSNR, SSIM, FSIM, LPIPS and GT-mean against known answers, libraries and closed forms."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from llie_core.metrics import dists, fsim, gt_mean, lpips, ms_ssim, psnr, ssim
from llie_core.metrics.quality import dists_network, lpips_network


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """8-bit (H, W, 3) → float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image / 255.0).float().permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def coffee_pair() -> tuple[torch.Tensor, torch.Tensor]:
    from skimage import data

    coffee = data.coffee()
    dark = np.round(255 * (coffee / 255.0) ** 2.2).astype(np.uint8)
    return to_tensor(coffee), to_tensor(dark)


def seeded_images() -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(0)
    a = r.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + r.integers(-20, 21, a.shape), 0, 255).astype(np.uint8)
    return a, b


def random_pair(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(height * width)
    x = torch.rand(batch, 3, height, width, generator=g)
    y = (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    return x, y


def random_backbone(backbone: str) -> dict[str, torch.Tensor]:
    """A seeded random backbone of LPIPS: the trained one is never downloaded."""
    from torchvision import models

    with torch.device("meta"):
        shapes = {"alex": models.alexnet, "vgg": models.vgg16}[backbone]().features.state_dict()
    g, state = torch.Generator().manual_seed(0), {}
    for name, like in shapes.items():
        if like.ndim == 4:
            scale = (2 / like[0].numel()) ** 0.5
            state[f"features.{name}"] = torch.randn(like.shape, generator=g) * scale
        else:
            state[f"features.{name}"] = torch.zeros(like.shape)
    return state


# Known answers. The printed ones come from float32 libraries, so SSIM is held to 2e-6 of them;
# the float64 runs of the same libraries are held to 1e-9 below.


def test_psnr_known_answers(coffee_pair):
    assert psnr(*coffee_pair).item() == pytest.approx(14.305843, abs=1e-6)
    assert psnr(*map(to_tensor, seeded_images())).item() == pytest.approx(26.829731, abs=1e-6)


@pytest.mark.parametrize(
    ("family", "known"),
    [("valid", 0.525909), ("padded", 0.525547), ("downsampled", 0.538127), ("3d", 0.642632)],
)
def test_ssim_known_answers(coffee_pair, family, known):
    assert ssim(*coffee_pair, family=family).item() == pytest.approx(known, abs=2e-6)


def test_fsim_known_answers(coffee_pair):
    assert fsim(*coffee_pair).item() == pytest.approx(0.927349, abs=1e-6)
    assert fsim(*coffee_pair, chromatic=True).item() == pytest.approx(0.918694, abs=1e-6)
    pair = [to_tensor(image) for image in seeded_images()]
    assert fsim(*pair).item() == pytest.approx(0.988843, abs=1e-6)
    assert fsim(*pair, chromatic=True).item() == pytest.approx(0.984714, abs=1e-6)


# Libraries, on odd sizes, in float64.


@pytest.mark.parametrize("size", [(11, 11), (37, 53), (64, 41)])
def test_psnr_and_valid_ssim_are_those_of_scikit_image(size):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x, y = (t.double() for t in random_pair(*size))
    a, b = (t[0].permute(1, 2, 0).numpy() for t in (x, y))
    expected = structural_similarity(
        a, b, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-9)
    expected = peak_signal_noise_ratio(a, b, data_range=1.0)
    assert psnr(x, y).item() == pytest.approx(expected, abs=1e-9)


def test_padded_ssim_is_that_of_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = (t.double() for t in random_pair(37, 53))
    expected = structural_similarity_index_measure(x, y, data_range=1.0).item()
    assert ssim(x, y, "padded").item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [(37, 53), (385, 400)])  # 385 is the least size that is pooled
def test_downsampled_ssim_is_that_of_piq(size):
    import piq

    x, y = (t.double() for t in random_pair(*size))
    expected = piq.ssim(x, y, data_range=1.0).item()
    assert ssim(x, y, "downsampled").item() == pytest.approx(expected, abs=1e-9)


def test_3d_ssim_is_a_plain_convolution_with_replicated_borders():
    from scipy.ndimage import correlate1d

    x, y = (t.double() for t in random_pair(23, 31))
    taps = np.exp(-(np.arange(-5.0, 6) ** 2) / 4.5)
    taps /= taps.sum()

    def blur(volume: np.ndarray) -> np.ndarray:
        for axis in range(3):
            volume = correlate1d(volume, taps, axis=axis, mode="nearest")
        return volume

    a, b = x[0].numpy(), y[0].numpy()
    mean_a, mean_b = blur(a), blur(b)
    va, vb = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)
    expected = (top / ((mean_a**2 + mean_b**2 + 1e-4) * (va + vb + 9e-4))).mean()
    assert ssim(x, y, "3d").item() == pytest.approx(expected, abs=1e-9)


# Closed forms.


def constant_image(*colour: float) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)


def test_gt_mean_definitions_in_closed_form():
    # 8-bit levels: x = (51, 102, 153), y = (102, 102, 204)
    x, y = constant_image(0.2, 0.4, 0.6), constant_image(0.4, 0.4, 0.8)
    grey_x, grey_y = 0.299 * 51 + 0.587 * 102 + 0.114 * 153, 0.299 * 102 + 0.587 * 102 + 0.114 * 204
    ratios = {
        "grey-8bit": round(grey_y) / round(grey_x),
        "rgb-output-unclamped": grey_y / 102,
        "bgr-weights": (0.114 * 102 + 0.587 * 102 + 0.299 * 204)
        / (0.114 * 51 + 0.587 * 102 + 0.299 * 153),
        "all-channels-unclamped": 136 / 102,
    }
    assert len(set(ratios.values())) == 4
    for definition, ratio in ratios.items():
        torch.testing.assert_close(gt_mean(x, y, definition), x * ratio, rtol=0, atol=1e-9)


def test_gt_mean_clips_by_definition_only():
    x, y = constant_image(0.1, 0.1, 0.9), constant_image(0.5, 0.5, 0.5)
    for definition in ("grey-8bit", "bgr-weights"):
        assert gt_mean(x, y, definition).max() == 1
    for definition in ("rgb-output-unclamped", "all-channels-unclamped"):
        adjusted = gt_mean(x, y, definition)
        assert adjusted.max() > 1
        with pytest.raises(ValueError, match="0, 1"):
            psnr(adjusted, y)
        assert torch.isfinite(psnr(adjusted, y, bounded=False)).all()
        assert torch.isfinite(ssim(*(t.repeat(1, 1, 3, 3) for t in (adjusted, y)), bounded=False))


def test_gt_mean_of_a_black_prediction_stays_black():
    x, y = constant_image(0, 0, 0), constant_image(0.5, 0.5, 0.5)
    assert gt_mean(x, y).abs().max() == 0


def test_gt_mean_by_illumination_ratio_is_no_image_operation():
    x, y = random_pair(8, 8)
    with pytest.raises(ValueError, match="input of the network"):
        gt_mean(x, y, "illumination-ratio")
    with pytest.raises(ValueError, match="grey-8bit"):
        gt_mean(x, y, "grey")


# LPIPS with a random backbone.


@pytest.mark.parametrize(
    ("backbone", "known"),
    [("alex", (0.033033378, 0.033144750)), ("vgg", (0.059362136, 0.060891304))],
)
def test_lpips_is_that_of_the_authors_package(backbone, known):
    """Their package (lpips 0.1.4) on these images with this random backbone."""
    network = lpips_network(backbone, random_backbone(backbone))
    x, y = random_pair(35, 50, batch=2)
    assert lpips(x, y, network=network).tolist() == pytest.approx(known, abs=1e-6)
    assert lpips(x, x, network=network).abs().max() == 0
    with torch.no_grad():  # scaled to [−1, 1] as the network takes them
        by_hand = network(2 * x - 1, 2 * y - 1).flatten().tolist()
    assert by_hand == pytest.approx(known, abs=1e-6)


def test_the_room_is_lazy():
    code = (
        "import sys, llie_core.metrics as m; assert 'psnr' in dir(m); "
        "assert not {'torch', 'llie_core.metrics.quality'} & set(sys.modules); m.psnr, m.niqe; "
        "heavy = {'piq', 'scipy', 'skimage', 'torchvision', 'torchmetrics'}; "
        "assert 'llie_core.metrics.quality' in sys.modules and not heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unknown_name_of_the_room():
    import llie_core.metrics

    with pytest.raises(AttributeError, match="psnrr"):
        llie_core.metrics.psnrr  # noqa: B018


def test_ms_ssim_is_that_of_torchmetrics():
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as reference,
    )

    x, y = (t.double() for t in random_pair(177, 190, batch=2))
    expected = reference(x, y, data_range=1.0, reduction="none")
    assert torch.allclose(ms_ssim(x, y), expected, rtol=0, atol=1e-7)  # its weights are float32
    assert ms_ssim(x, x).tolist() == pytest.approx([1.0, 1.0])
    assert ms_ssim(x, 1 - x).tolist() == [0.0, 0.0]  # negative contrast
    with pytest.raises(ValueError, match="at least 176"):
        ms_ssim(x[..., :175, :], y[..., :175, :])


def test_ms_ssim_of_coffee(coffee_pair):
    assert ms_ssim(*coffee_pair).item() == pytest.approx(0.8551922, abs=1e-6)


@pytest.fixture(scope="module")
def random_dists() -> torch.nn.Module:
    return dists_network(random_backbone("vgg"))


def test_dists_of_identical_images_is_zero_and_a_batch_is_its_images(random_dists):
    x, y = random_pair(40, 48, batch=2)
    assert dists(x, x, random_dists).tolist() == pytest.approx([0, 0], abs=1e-5)
    both = dists(x, y, random_dists)
    assert both.dtype == torch.float64 and (both > 1e-3).all()
    alone = [dists(x[i : i + 1], y[i : i + 1], random_dists).item() for i in (0, 1)]
    assert both.tolist() == pytest.approx(alone, abs=1e-6)


def test_dists_is_one_less_the_weighted_similarity_of_means_and_covariances(random_dists):
    x, y = random_pair(40, 48)
    share, start = 0.0, 0
    weights = random_dists.alpha.flatten(), random_dists.beta.flatten()
    assert len(weights[0]) + len(weights[1]) == 2950
    for a, b in zip(random_dists.forward_once(x), random_dists.forward_once(y), strict=True):
        a, b = (t[0].flatten(1).double() for t in (a, b))
        mean = 2 * a.mean(1) * b.mean(1) + 1e-6
        mean /= a.mean(1) ** 2 + b.mean(1) ** 2 + 1e-6
        both = ((a - a.mean(1, keepdim=True)) * (b - b.mean(1, keepdim=True))).mean(1)
        texture = (2 * both + 1e-6) / (a.var(1, correction=0) + b.var(1, correction=0) + 1e-6)
        own = [w[start : start + len(a)].double() for w in weights]
        share += (own[0] * mean + own[1] * texture).sum().item()
        start += len(a)
    expected = 1 - share / sum(w.sum().item() for w in weights)
    assert dists(x, y, random_dists).item() == pytest.approx(expected, abs=1e-4)


def test_dists_maps_the_backbone_and_needs_it(random_dists, tmp_path, monkeypatch):
    from llie_core.weights import WeightsNotAvailable

    state = random_backbone("vgg")
    assert torch.equal(random_dists.stage5[-2].weight, state["features.28.weight"])
    with pytest.raises(ValueError, match=r"the backbone needs features\.0\.weight"):
        dists_network({})
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    x, y = random_pair(40, 48)
    with pytest.raises(WeightsNotAvailable, match="llie weights fetch lpips-vgg"):
        dists(x, y)
