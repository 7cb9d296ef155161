"""Networks as ONNX files: what is written, what is refused, what a file says of itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded import seeded
from torch import nn

from llie_core import export
from llie_core.cli import main
from llie_core.export import OnnxEnhancer, export_onnx, quantize, score_files
from llie_core.metrics import psnr
from llie_core.models import MODELS, create_enhancer, list_enhancers
from llie_core.models.base import Enhancer
from llie_core.models.curve_refine import shrink


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


def test_int8_needs_images_and_a_folder_that_holds_them(tmp_path, capsys):
    target = str(tmp_path / "a.onnx")
    for options, words in (
        (["--int8"], "--int8 needs --data, the folder of LOL"),
        (["--int8", "--data", str(tmp_path)], "lol"),
        (["--data", str(tmp_path / "none")], "is no folder"),
        (["--weights", str(tmp_path / "none")], "none"),
    ):
        assert main(["export-model", "gem_pam", target, *options]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and words in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["gem_pam", "a.png"], "a.png: name a file that ends in .onnx"),
     (["gempam", "a.onnx"], "did you mean 'gem_pam'?"),
     (["jcrnet", "a.onnx"], "jcrnet needs --weights"),
     (["clahe", "a.onnx"], "CLAHE does not export: it is computed by NumPy")],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["export-model", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and words in said.err
    assert not list(tmp_path.iterdir())


def test_pooling_as_onnx_computes_it_is_adaptive_pooling(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    for height, width in ((64, 64), (65, 200), (3, 63), (129, 640)):
        x = seeded(2, 3, height, width)
        torch.testing.assert_close(shrink(x), F.adaptive_avg_pool2d(x, 64), atol=1e-6, rtol=0)


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

    @pytest.mark.parametrize(
        "name", [n for n in list_enhancers() if create_enhancer(n).learned and n in MODELS]
    )
    def test_every_network_exports_with_weights_that_do_something(self, tmp_path, name):
        model, generator = create_enhancer(name), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():  # some start at zero
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        done = export_onnx(model, tmp_path / "a.onnx", {})
        assert len(done.sizes) == 3 and done.difference <= export.TOLERANCE

    def test_int8_is_near_smaller_and_keeps_the_metadata(self, tmp_path):
        import onnx

        whole, small = tmp_path / "a.onnx", tmp_path / "b.onnx"
        export_onnx(Small(), whole, {"model": "small"})
        quantize(whole, small, [seeded(1, 3, 33, 50, seed=k) for k in range(4)])
        kept = {entry.key: entry.value for entry in onnx.load(small).metadata_props}
        assert kept == {"model": "small", "multiple": "4",
                        "precision": "int8 convolutions, ranges of 4 images"}  # fmt: skip
        image = seeded(1, 3, 45, 31, seed=9)
        exact = Small().enhance(image)
        torch.testing.assert_close(OnnxEnhancer(whole).enhance(image), exact, atol=1e-5, rtol=0)
        assert 30 < psnr(OnnxEnhancer(small).enhance(image), exact).item() < 70
        pairs = [(image, exact)] * 2
        first, second = score_files([whole, small], pairs)
        assert first.psnr > second.psnr > 30 and min(first.seconds, second.seconds) > 0

    def test_int8_without_an_image_leaves_nothing(self, tmp_path):
        export_onnx(Small(), tmp_path / "a.onnx", {})
        with pytest.raises(ValueError, match="no image to measure the ranges"):
            quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", [])
        assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]

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
