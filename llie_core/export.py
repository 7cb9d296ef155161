"""Networks as ONNX files, checked against PyTorch.

The file takes `image`, (1, 3, H, W) float32 RGB in [0, 1], and gives `enhanced`, the same shape,
clamped to [0, 1]. H and W are free multiples of what the network needs; pad an image by mirroring
and crop the result. Needs the extra `onnx`: `pip install 'llie-core[onnx]'`.
"""

import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from llie_core.files import atomic
from llie_core.models.base import Enhancer

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
    absent = [package for package in PACKAGES if not importlib.util.find_spec(package)]
    if absent:
        raise ImportError(
            f"ONNX needs {', '.join(absent)}; install with: pip install 'llie-core[onnx]'"
        )
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
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
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
