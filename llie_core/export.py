"""Networks as ONNX files, checked against PyTorch.

The file takes `image`, (1, 3, H, W) float32 RGB in [0, 1], and gives `enhanced`, the same shape,
clamped to [0, 1]. H and W are free multiples of what the network needs; pad an image by mirroring
and crop the result (`OnnxEnhancer`). In an int8 file, the convolutions have 8-bit weights, a scale
a channel, and 8-bit inputs with ranges measured on photographs; the rest stays float32. Needs the
extra `onnx`: `pip install 'llie-core[onnx]'`.
"""

import importlib.util
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor, nn

from llie_core.files import atomic
from llie_core.metrics import psnr
from llie_core.models.base import Enhancer, pad_to_multiple

TOLERANCE = 1e-4  # largest difference to PyTorch
SIZES = ((1, 1), (2, 3), (5, 4))  # that are checked, in multiples
LEAST_SIDE = 64  # of the checked images
OPSET = 20
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written. sizes: (H, W) that were checked. difference: the largest found."""

    path: Path
    multiple: int
    sizes: tuple[tuple[int, int], ...]
    difference: float


class _Clamped(nn.Module):
    def __init__(self, model: Enhancer):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).clamp(0, 1)


def export_onnx(model: Enhancer, path: str | Path, metadata: dict[str, str]) -> Exported:
    """Write an enhancer as an ONNX file and compare it with PyTorch at three sizes.

    Args:
        model: an enhancer on the CPU whose class says that it exports (`exports`).
        path: target; written only where the check holds.
        metadata: name → text, kept in the file.

    Raises:
        ValueError: the model does not export, or the file computes something else.
        ImportError: the extra is not installed.
    """
    name = type(model).__name__
    if model.exports:
        raise ValueError(f"{name} does not export: {model.exports}")
    _require_packages()
    multiple = model.grid or model.multiple
    wrapped = _Clamped(model).eval()
    with atomic(Path(path)) as temporary:
        _write(wrapped, temporary, multiple, {**metadata, "multiple": str(multiple)})
        sizes, difference = _check(wrapped, temporary, multiple)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{path}: the ONNX file of {name} differs from PyTorch by {difference:.2g} "
                f"(at most {TOLERANCE:g}); nothing was kept"
            )
    return Exported(Path(path), multiple, sizes, difference)


def _require_packages() -> None:
    absent = [package for package in PACKAGES if not importlib.util.find_spec(package)]
    if absent:
        raise ImportError(
            f"ONNX needs {', '.join(absent)}; install with: pip install 'llie-core[onnx]'"
        )


def _write(model: nn.Module, path: Path, multiple: int, metadata: dict[str, str]) -> None:
    side = multiple * -(-LEAST_SIDE // multiple)
    height, width = (torch.export.Dim(axis, min=1, max=8192) for axis in ("height", "width"))
    if multiple > 1:
        height, width = multiple * height, multiple * width
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            model, (torch.rand(1, 3, side, side + multiple),), dynamo=True, opset_version=OPSET,
            input_names=["image"], output_names=["enhanced"], verbose=False,
            dynamic_shapes={"image": {2: height, 3: width}},
        )  # fmt: skip
    assert program is not None  # as dynamo=True has it
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)


def _check(
    model: nn.Module, path: Path, multiple: int
) -> tuple[tuple[tuple[int, int], ...], float]:
    """The sizes that were compared and the largest difference."""
    session = _session(path)
    base = multiple * -(-LEAST_SIDE // multiple)
    generator = torch.Generator().manual_seed(0)
    sizes, largest = [], 0.0
    for down, across in SIZES:
        size = (base + (down - 1) * multiple, base + (across - 1) * multiple)
        image = 0.3 * torch.rand(1, 3, *size, generator=generator)
        (found,) = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            expected = model(image)
        sizes.append(size)
        largest = max(largest, (torch.from_numpy(found) - expected).abs().max().item())
    return tuple(sizes), largest


def _session(path: Path):
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


# int8 ------------------------------------------------------------------------------------------


def quantize(source: Path, target: Path, images: Iterable[Tensor]) -> None:
    """Write a file of `export_onnx` with convolutions in int8, and its metadata.

    Args:
        images: (1, 3, H, W) in [0, 1], low-light ones: the ranges are those that they span.

    Raises:
        ValueError: no image.
        ImportError: the extra is not installed.
    """
    _require_packages()
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    multiple = _multiple(_session(source))
    inputs = [{"image": pad_to_multiple(image, multiple).numpy()} for image in images]
    if not inputs:
        raise ValueError(f"{target}: no image to measure the ranges of int8 on")

    class Reader(CalibrationDataReader):
        rest = iter(inputs)

        def get_next(self) -> dict | None:
            return next(self.rest, None)

    with atomic(target) as temporary, tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")  # shapes inferred, batch norms in convolutions
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(temporary), Reader(), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "ConvTranspose"], per_channel=True,
        )  # fmt: skip
        model, kept = onnx.load(temporary), onnx.load(source).metadata_props
        about = {entry.key: entry.value for entry in kept}
        about["precision"] = f"int8 convolutions, ranges of {len(inputs)} images"
        onnx.helper.set_model_props(model, about)
        onnx.save(model, temporary)


class OnnxEnhancer:
    """A file of `export_onnx` or `quantize` in onnxruntime on the CPU: images of any size."""

    def __init__(self, path: str | Path):
        self.session = _session(Path(path))
        self.multiple = _multiple(self.session)

    def enhance(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) float32 RGB in [0, 1] → the same shape, in [0, 1]."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple).numpy()
        (found,) = self.session.run(None, {"image": padded})
        return torch.from_numpy(found)[..., :height, :width]


def _multiple(session) -> int:
    return int(session.get_modelmeta().custom_metadata_map["multiple"])


@dataclass(frozen=True)
class Scored:
    """PSNR over pairs, as images of 8 bits, in dB, and median seconds an image."""

    psnr: float
    seconds: float


def score_files(paths: Iterable[Path], pairs: Iterable[tuple[Tensor, Tensor]]) -> list[Scored]:
    """Files on the same pairs, (1, 3, H, W) in [0, 1] each, by turns."""
    models = [OnnxEnhancer(path) for path in paths]
    found: list[list[tuple[float, float]]] = [[] for _ in models]
    for low, high in pairs:
        for model, values in zip(models, found, strict=True):
            start = time.perf_counter()
            image = model.enhance(low)
            seconds = time.perf_counter() - start
            values.append((psnr((image * 255).round() / 255, high).item(), seconds))
    return [Scored(mean(v for v, _ in one), median(s for _, s in one)) for one in found]
