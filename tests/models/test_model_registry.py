"""The registry of models: names, records, weights of runs and of authors; padding."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from seeded import changed, seeded

from llie_core.cli.image_files import weights_hash
from llie_core.hashing import file_digest
from llie_core.models import (
    MODELS,
    ModelSpec,
    create_enhancer,
    list_darkeners,
    list_enhancers,
    model_spec,
)
from llie_core.models.base import Enhancer, pad_to_multiple
from llie_core.papers.rows import build_released, released_row
from llie_core.weights import WeightsNotAvailable, weights_table


def test_listings_hold_no_stages_and_darkeners_are_not_enhancers():
    assert list_darkeners() == ["ec_zero_dce"] and list_enhancers()[0] == "identity"
    others = {"drgn_degradation", "lw_drgn_degradation", "checkpoint"}
    assert set(MODELS) - set(list_enhancers()) - set(list_darkeners()) == others


def test_records_name_titles_and_known_weights():
    assert model_spec("zero_dce_pp").title == "Zero-DCE++" and model_spec("neid").title == "NEID"
    assert len({spec.title for spec in MODELS.values()}) == len(MODELS)
    for spec in MODELS.values():
        reads = hasattr(create_enhancer(spec.name), "load_released_weights")
        assert reads == (spec.released in weights_table() or spec.kind == "checkpoint")


def test_unknown_name_gives_the_nearest_and_the_known():
    for call in (create_enhancer, model_spec):
        with pytest.raises(ValueError, match="no enhancer 'Zero-DCE'; did you mean 'zero_dce'"):
            call("Zero-DCE")
        with pytest.raises(ValueError, match=r"no enhancer 'qqq' \(known: identity, .*neid\)"):
            call("qqq")


def test_one_method_does_not_import_the_others():
    code = (
        "import sys; from llie_core.models import create_enhancer; create_enhancer('gamma');"
        "loaded = {m.split('.')[2] for m in sys.modules if m.startswith('llie_core.models.')};"
        "heavy = {'skimage', 'scipy', 'pandas', 'torchvision', 'safetensors'} & set(sys.modules);"
        "assert loaded == {'base', 'classical', 'large'}, loaded; assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_method_elsewhere_is_one_record(monkeypatch):
    spec = ModelSpec("mine", "Mine", "llie_core.models.classical:Gamma")
    monkeypatch.setitem(MODELS, "mine", spec)
    assert "mine" in list_enhancers() and create_enhancer("mine", exponent=1.0).exponent == 1.0


class TestWeights:
    @pytest.fixture
    def state(self):
        torch.manual_seed(5)
        return create_enhancer("zero_dce", curve="thesis").state_dict()

    @pytest.fixture
    def checkpoint(self, state, tmp_path):
        """A file as the authors write theirs: −A under DataParallel's names."""
        torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "a.pth")
        return tmp_path / "a.pth"

    @pytest.fixture
    def fetched(self, checkpoint, monkeypatch):
        """That file in the weights folder, as `llie weights fetch zero-dce` puts it there."""
        monkeypatch.setenv("LLIE_WEIGHTS", str(checkpoint.parent))
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        size = checkpoint.stat().st_size
        entry = replace(weights_table()["zero-dce"], file="a.pth", bytes=size, sha256=digest)
        monkeypatch.setitem(weights_table(), "zero-dce", entry)
        return checkpoint

    def test_a_run_and_the_authors_are_told_apart_by_content(self, state, checkpoint, tmp_path):
        (tmp_path / "run").mkdir()
        save_file(state, tmp_path / "run" / "weights.pth")  # whatever it is called
        run = create_enhancer("zero_dce", weights=tmp_path / "run" / "weights.pth")
        authors = create_enhancer("zero_dce", weights=str(checkpoint))
        x = seeded(1, 3, 16, 16)
        maps = [m.training_outputs(x)["curve_maps"] for m in (run, authors)]
        torch.testing.assert_close(maps[0], -maps[1])
        assert not run.training and not changed(run, state)

    def test_released_is_the_fetched_file(self, fetched):
        released = create_enhancer("zero_dce", weights="released")
        assert not changed(released, create_enhancer("zero_dce", weights=fetched).state_dict())

    def test_another_checkpoint_of_the_authors_goes_by_its_name(self, fetched, monkeypatch):
        other = replace(weights_table()["zero-dce"], name="zero-dce-other")
        monkeypatch.setitem(weights_table(), "zero-dce-other", other)
        named = create_enhancer("zero_dce", weights="zero-dce-other")
        assert not changed(named, create_enhancer("zero_dce", weights=fetched).state_dict())
        assert weights_hash("zero_dce", Path("zero-dce-other")) == file_digest(fetched)
        row = released_row("zero_dce", "zero-dce-other")
        assert not changed(build_released(row), named.state_dict())
        fetched.unlink()
        with pytest.raises(WeightsNotAvailable, match="llie weights fetch zero-dce-other"):
            build_released(row)

    def test_released_is_checked_by_its_hash(self, fetched):
        fetched.write_bytes(fetched.read_bytes()[:-1] + b"!")
        with pytest.raises(WeightsNotAvailable, match=r"damaged.*llie weights fetch zero-dce"):
            create_enhancer("zero_dce", weights="released")

    def test_released_without_a_file_names_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
        with pytest.raises(WeightsNotAvailable, match="llie weights fetch zero-dce-pp"):
            create_enhancer("zero_dce_pp", weights="released")

    def test_models_without_released_weights_name_those_that_have_some(self):
        with pytest.raises(ValueError, match=r"of jcrnet are known \(known: zero_dce, zero_dce_p"):
            create_enhancer("jcrnet", weights="released")

    def test_what_is_no_such_file_gets_one_line(self, state, checkpoint, tmp_path):
        garbage = tmp_path / "garbage.safetensors"
        garbage.write_bytes(b"\x00\xff\x00\x00\x00\x00\x00\x00{ not a header")
        # Headers of 4 EiB, and of 90 MB, of which the file has none.
        huge, beyond = tmp_path / "huge.safetensors", tmp_path / "beyond.safetensors"
        for path, length in ((huge, 2**62), (beyond, 90_000_000)):
            path.write_bytes(length.to_bytes(8, "little") + b"{}")
        save_file(state, other := tmp_path / "zero_dce.safetensors")
        for name, path, error, words in (
            ("zero_dce", tmp_path / "absent", FileNotFoundError, "no file of weights at"),
            ("zero_dce", garbage, ValueError, "not a readable safetensors file"),
            ("zero_dce", huge, ValueError, "not a readable safetensors file .*header too large"),
            ("zero_dce", beyond, ValueError, "not a readable safetensors file .*invalid header"),
            ("zero_dce_pp", other, ValueError, "another model's weights"),
            ("zero_dce_pp", checkpoint, ValueError, "another model's weights"),
            ("jcrnet", checkpoint, ValueError, "another model's weights"),
        ):
            with pytest.raises(error, match=words) as caught:
                create_enhancer(name, weights=path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class TestPadding:
    def test_mirrors_at_the_far_edges(self):
        x = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 4, 5)
        padded = pad_to_multiple(x, 4)
        assert padded.shape == (1, 1, 4, 8)
        assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]

    def test_repeats_where_the_axis_is_too_short_and_leaves_multiples(self):
        x = torch.tensor([[1.0, 2.0]]).view(1, 1, 1, 2)
        assert pad_to_multiple(x, 4)[0, 0].tolist() == [[1, 2, 2, 2]] * 4
        x = seeded(1, 3, 8, 12)
        assert pad_to_multiple(x, 4) is x

    @pytest.mark.parametrize("size", [(37, 53), (1, 1), (16, 24)])
    def test_enhance_pads_clamps_and_crops(self, size):
        class Sees(Enhancer):
            multiple = 8

            def forward(self, x):
                self.seen = x.shape[-2:]
                return x + 0.25

        model, x = Sees(), seeded(2, 3, *size)
        torch.testing.assert_close(model.enhance(x), (x + 0.25).clamp(max=1))
        assert all(side % 8 == 0 for side in model.seen)
