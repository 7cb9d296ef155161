"""Files of weights: a run's, the authors', and what is neither."""

import pytest
import torch
from safetensors.torch import save_file
from seeded import Touches, changed, state_of
from torch import nn

from llie_core.tensors import load_weights, looks_like_safetensors, read_released


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


@pytest.fixture
def written(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "a.pth")
        return tmp_path / "a.pth"

    return write


def test_a_runs_file_is_loaded_and_told_from_a_checkpoint(model, tmp_path, written):
    save_file(model.state_dict(), tmp_path / "w")
    before = state_of(model)
    nn.init.zeros_(model[0].weight)
    load_weights(model, tmp_path / "w")
    assert not changed(model, before)
    assert looks_like_safetensors(tmp_path / "w")
    assert not looks_like_safetensors(written(before))
    (tmp_path / "empty").touch()
    assert not looks_like_safetensors(tmp_path / "empty")


@pytest.mark.parametrize("key", ["", "state_dict", "model", "params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_unwrapped(model, written, key, prefix):
    state = {prefix + name: value for name, value in model.state_dict().items()}
    content = {key: state, "epoch": 3, "optimizer": {"state": {}}} if key else state
    found = read_released(written(content), model.state_dict())
    torch.testing.assert_close(found, dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.bias"), r"tensor '0\.bias' is missing"),
        (lambda s: s.update(extra=torch.ones(1)), "tensor 'extra' is unexpected"),
        (
            lambda s: s.update({"0.bias": torch.ones(7)}),
            r"tensor '0\.bias' has shape \(7,\), the model needs \(2,\)",
        ),
        (lambda s: s.clear(), r"is missing; .* \(and 4 more\)"),
    ],
)
def test_other_tensors_get_one_line_in_either_form(model, written, tmp_path, change, words):
    state = dict(model.state_dict())
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    before = state_of(model)
    for call in (
        lambda: load_weights(model, tmp_path / "w.safetensors"),
        lambda: read_released(written(state), model.state_dict()),
    ):
        with pytest.raises(ValueError, match=f"another model's weights: .*{words}") as caught:
            call()
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not changed(model, before)


def test_what_is_no_file_of_weights_gets_one_line(model, written, tmp_path):
    whole = written(model.state_dict()).read_bytes()
    save_file(model.state_dict(), tmp_path / "w")
    with pytest.raises(ValueError, match="not the authors' checkpoint; load it as the weights of"):
        read_released(tmp_path / "w", model.state_dict())
    assert read_released(tmp_path / "w", model.state_dict(), safetensors=True)
    with pytest.raises(ValueError, match="expected a state dict of tensors, got dict"):
        read_released(written({**model.state_dict(), "epoch": 3}), model.state_dict())
    for content in (b"", b"<html>not found</html>", whole[:999]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ValueError, match="not a tensors-only checkpoint"):
            read_released(tmp_path / "bad", model.state_dict())
        with pytest.raises(ValueError, match="not a readable safetensors file"):
            load_weights(model, tmp_path / "bad")
    for call in (load_weights, lambda model, path: read_released(path, model.state_dict())):
        with pytest.raises(FileNotFoundError, match=r"no file of weights at .*none"):
            call(model, tmp_path / "none")


def test_code_in_a_checkpoint_is_not_run(model, written, tmp_path):
    with pytest.raises(ValueError, match="not a tensors-only checkpoint"):
        read_released(written(Touches(tmp_path / "ran")), model.state_dict())
    assert not (tmp_path / "ran").exists()
