"""Networks as ONNX files: what is written, what is refused, what a file says of itself."""

import numpy as np
import pytest
import torch
from torch import nn

from llie_core import export
from llie_core.cli import main
from llie_core.export import export_onnx
from llie_core.models import create_enhancer, list_enhancers
from llie_core.models.base import Enhancer


def test_what_numpy_computes_does_not_export(tmp_path):
    for name in list_enhancers():
        model = create_enhancer(name)
        assert not (model.exports and model.learned)
    with pytest.raises(ValueError, match="CLAHE does not export: it is computed by NumPy"):
        export_onnx(create_enhancer("clahe"), tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())


def test_the_extra_is_named_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'llie-core\[onnx\]'"):
        export_onnx(create_enhancer("gamma"), tmp_path / "a.onnx", {})


class Small(Enhancer):
    multiple = 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(8, 3, 4, 4)

    def forward(self, x):
        return x + self.up(torch.tanh(self.down(x)))


class TestWithTheExtra:
    @pytest.fixture(autouse=True)
    def packages(self):
        for name in export.PACKAGES:
            pytest.importorskip(name, reason="the extra onnx is not installed")

    def test_any_size_and_metadata(self, tmp_path):
        import onnx
        import onnxruntime

        path = tmp_path / "small.onnx"
        done = export_onnx(Small(), path, {"model": "small", "terms": "free"})
        assert done.multiple == 4 and len(done.sizes) == 3 and done.difference <= 1e-4
        kept = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert kept == {"model": "small", "terms": "free", "multiple": "4"}
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        image = 0.3 * torch.rand(1, 3, 36, 100)
        (found,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(found, Small().enhance(image).numpy(), atol=1e-5)

    def test_a_file_that_computes_something_else_is_not_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr(export, "_check", lambda *_: (((64, 64),), 1e-3))
        with pytest.raises(ValueError, match=r"differs from PyTorch by 0.001 .*nothing was kept"):
            export_onnx(Small(), tmp_path / "a.onnx", {})
        assert not list(tmp_path.iterdir())

    def test_the_command_writes_the_weights_record(self, tmp_path, capsys):
        import onnx

        path = tmp_path / "gem.onnx"
        assert main(["export-model", "gem_pam", str(path)]) == 0
        assert "H and W multiples of 16; differs from PyTorch by" in capsys.readouterr().out
        kept = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert kept["weights"] == "reference" and kept["terms"].startswith("camvid (CC BY-NC")
        assert "gem_pam, seed 0" in kept["run"] and len(kept["sha256"]) >= 16
