"""What holds of every metric of images: batches, precision, devices, bad input, absent weights.

The regressions of BRISQUE and SSEQ and NIQE's Gaussian are made up here, in files of the authors'
forms, so that nothing is skipped where theirs are absent; test_naturalness.py has their numbers.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.io import savemat
from seeded import seeded
from test_quality_metrics import random_backbone

from llie_core.metrics import brisque, fsim, gt_mean, lpips, niqe, psnr, sseq, ssim
from llie_core.metrics.quality import SSIM_FAMILIES, lpips_network
from llie_core.weights import WeightsNotAvailable, weights_table


@dataclass(frozen=True)
class Metric:
    """A metric of pairs or of images alone; least: its smallest image."""

    call: object
    least: tuple[int, int] = (1, 1)
    pair: bool = True


PAIRED = {
    "psnr": Metric(psnr),
    **{f"ssim-{f}": Metric(partial(ssim, family=f), (11, 11)) for f in SSIM_FAMILIES},
    "fsim": Metric(fsim, (16, 16)),
    "fsimc": Metric(partial(fsim, chromatic=True), (16, 16)),
    "lpips": Metric(lpips, (32, 32)),
}
ALONE = {
    "niqe": Metric(niqe, (96, 192), pair=False),
    "brisque": Metric(brisque, (16, 16), pair=False),
    "sseq": Metric(sseq, (33, 33), pair=False),
}
METRICS = PAIRED | ALONE
every = pytest.mark.parametrize("name", METRICS)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Name → file of weights in the authors' forms, with seeded values."""
    folder, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(0)
    niqe_content = {"mu_prisparam": rng.random((1, 36)), "cov_prisparam": np.eye(36)}
    savemat(folder / "niqe", niqe_content, appendmat=False)
    vectors = rng.uniform(-1, 1, (5, 36))
    rows = (" ".join(f"{i}:{v:.6f}" for i, v in enumerate(row, start=1)) for row in vectors)
    support = "\n".join(f"{c:.4f} {row}" for c, row in zip(rng.normal(0, 9, 5), rows, strict=True))
    (folder / "brisque").write_text(f"gamma 0.05\nrho -40\nSV\n{support}\n")
    ranges = "\n".join(f"{i} -1 10" for i in range(1, 37))
    (folder / "brisque-range").write_text(f"x\n-1 1\n{ranges}\n")

    def machine(columns: int) -> dict:
        parameters = np.array([[0], [2], [3], [0.5]])
        return {
            "Parameters": parameters, "rho": rng.random((10 if columns > 1 else 1, 1)),
            "ProbA": -np.ones((10, 1)), "ProbB": np.zeros((10, 1)), "nSV": np.ones((5, 1)),
            "sv_coef": rng.normal(0, 1, (5, columns)), "SVs": rng.uniform(-1, 1, (5, 12)),
        }  # fmt: skip

    regressors = np.empty((1, 5), dtype=object)
    regressors[0] = [machine(1) for _ in range(5)]
    limits = {"fmin": -10 * np.ones((1, 12)), "fmax": 10 * np.ones((1, 12))}
    content = {"svmmodel": machine(4), "svrmodel": regressors, **limits}
    savemat(folder / "sseq", content, appendmat=False)
    torch.save(random_backbone("alex"), folder / "lpips-alex")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def weights(made_up, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(next(iter(made_up.values())).parent))
    for name, path in made_up.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = replace(weights_table()[name], file=name, bytes=path.stat().st_size, sha256=digest)
        monkeypatch.setitem(weights_table(), name, entry)


def images_for(name: str, batch: int = 1, size: tuple[int, int] = ()) -> list[torch.Tensor]:
    """Smooth seeded images with some noise, and noisier copies for a metric of pairs."""
    height, width = size or np.add(METRICS[name].least, (7, 20)).tolist()
    coarse = seeded(batch, 3, height // 8 + 2, width // 8 + 2, seed=height)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    images = [
        (smooth + spread * (seeded(*smooth.shape, seed=s) - 0.5)).clamp(0, 1)
        for s, spread in enumerate((0.1, 0.3), start=1)
    ]
    return images if METRICS[name].pair else images[:1]


@every
def test_batch_is_its_singles_in_any_dtype(weights, name):
    metric, images = METRICS[name].call, images_for(name, batch=3)
    values = metric(*images)
    assert values.shape == (3,) and values.dtype == torch.float64 and torch.isfinite(values).all()
    singles = torch.cat([metric(*(image[i : i + 1] for image in images)) for i in range(3)])
    torch.testing.assert_close(values, singles, rtol=1e-4 if name == "lpips" else 0, atol=1e-9)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        low = [image.to(dtype) for image in images]
        torch.testing.assert_close(metric(*low), metric(*(image.double() for image in low)))


@pytest.mark.parametrize("name", ALONE)
def test_a_constant_image_has_no_score_and_spoils_no_other(weights, name):
    metric, (image,) = METRICS[name].call, images_for(name, size=(96, 192))
    constant = [torch.full_like(image, level / 255) for level in range(0, 256, 15)]
    values = metric(torch.cat([*constant, image]))
    assert values[:-1].isnan().all()
    assert values[-1].item() == pytest.approx(metric(image).item(), abs=1e-9)


@pytest.mark.gpu
@every
def test_values_on_the_gpu_are_those_on_the_cpu(weights, name):
    images = images_for(name, batch=2)
    values = METRICS[name].call(*(image.cuda() for image in images))
    assert values.device.type == "cuda"
    atol = 1e-3 if name == "lpips" else 1e-7
    torch.testing.assert_close(values.cpu(), METRICS[name].call(*images), rtol=0, atol=atol)


@pytest.mark.parametrize("name", [*METRICS, "gt_mean"])
def test_bad_input_is_named(weights, name):
    metric = gt_mean if name == "gt_mean" else METRICS[name].call
    x, *others = images_for("psnr" if name == "gt_mean" else name)
    nan = x.clone()
    nan[0, 0, 0, 0] = torch.nan
    for bad, message in (
        (nan, "holds NaN or Inf"),
        (nan.nan_to_num(torch.inf), "holds NaN or Inf"),
        (x[:0], "empty batch"),
        (x[0], r"must be \(B, 3, H, W\)"),
        (x[:, :1], r"must be \(B, 3, H, W\)"),
        (x * 255, "divide 8-bit values by 255"),
        (x - 0.5, "clamp"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            metric(bad, *([bad] if others else []))
        assert str(caught.value).startswith(f"{name.split('-')[0].removesuffix('c')}: ")
    for bad, kind in (((x * 255).to(torch.uint8), "uint8"), (x.numpy(), "ndarray")):
        with pytest.raises(TypeError, match=kind):
            metric(bad, *others)
    for other in others:
        with pytest.raises(ValueError, match=r"prediction is .* but reference is"):
            metric(x, other[..., 1:])
        with pytest.raises(ValueError, match="reference holds NaN or Inf"):
            metric(x, nan)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        *((name, (metric.least[0] - 1, 300), f"at least {metric.least[0]}")
          for name, metric in METRICS.items() if name != "psnr"),
        ("niqe", (191, 191), "two whole blocks"),
    ],
)  # fmt: skip
def test_small_images_are_named(weights, name, size, message):
    with pytest.raises(ValueError, match=message):
        METRICS[name].call(*images_for(name, size=size))


@pytest.mark.parametrize("name", ["niqe", "brisque", "sseq", "lpips"])
def test_without_weights_the_command_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsNotAvailable, match=f"llie weights fetch {name}"):
        METRICS[name].call(*images_for(name))
    assert not list(tmp_path.iterdir())


def test_large_batches_are_worked_on_in_parts(monkeypatch):
    from llie_core.metrics import quality

    images = images_for("ssim-valid", batch=5)
    whole = ssim(*images)
    monkeypatch.setitem(quality.CHUNK_PIXELS, "cpu", 2 * images[0][0, 0].numel())
    assert torch.equal(ssim(*images), whole)


def test_lpips_refuses_a_state_that_does_not_fit_and_choices_are_named():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"features\.0\.weight \(64, 3, 11, 11\)"):
        lpips_network("alex", {})
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="choose one of 'alex', 'vgg'"):
        lpips_network("squeeze", {})
    with pytest.raises(ValueError, match="choose one of 'alex', 'vgg'"):
        lpips(*images_for("lpips"), "resnet")
    with pytest.raises(ValueError, match="'valid', 'padded', 'downsampled', '3d'"):
        ssim(*images_for("ssim-valid"), "gaussian")
