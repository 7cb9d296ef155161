"""Networks that spandrel recognises, of files with the right names and shapes, and as rows."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from seeded import Touches, seeded

from llie_core.cli import main
from llie_core.data.images import read_image, write_image
from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.models import create_enhancer
from llie_core.papers import open_study
from llie_core.tasks.quality import Cost

spandrel = pytest.importorskip("spandrel", reason="the extra [spandrel] is not installed")

SMALL = {"n_feat": 8, "stage": 1, "num_blocks": [1, 1, 1]}


def retinexformer(**changes):
    from spandrel.architectures.RetinexFormer import RetinexFormer

    torch.manual_seed(3)
    return RetinexFormer(**SMALL | changes).eval()


def hvi_cidnet():
    from spandrel.architectures.HVICIDNet import HVICIDNet

    torch.manual_seed(3)
    return HVICIDNet(channels=[8, 8, 16, 32], heads=[1, 2, 4, 8]).eval()


def nafnet():
    from spandrel.architectures.NAFNet import NAFNet

    torch.manual_seed(3)
    net = NAFNet(width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]).eval()
    for block in net.modules():  # its blocks start as the identity
        if hasattr(block, "beta"):
            torch.nn.init.constant_(block.beta, 0.5)
    return net


def upscaler():
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)


NETWORKS = {"RetinexFormer": retinexformer, "HVI-CIDNet": hvi_cidnet, "NAFNet": nafnet}


@pytest.fixture
def file(tmp_path):
    torch.save({"params": retinexformer().state_dict()}, tmp_path / "LOL_v1.pth")
    return tmp_path / "LOL_v1.pth"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_a_file_is_its_authors(name, tmp_path):
    network, x = NETWORKS[name](), seeded(2, 3, 32, 40)
    torch.save(network.state_dict(), tmp_path / "any.bin")
    model = create_enhancer("checkpoint", weights=tmp_path / "any.bin")
    assert model.architecture == name and model.learned and not model.training
    assert count_parameters(model) == count_parameters(network)
    with torch.no_grad():
        own = torch.cat([network(one).clamp(0, 1) for one in x.split(1)])
    torch.testing.assert_close(model.enhance(x), own, atol=2e-6, rtol=0)


def test_published_sizes(tmp_path):
    from spandrel.architectures.HVICIDNet import HVICIDNet

    published = {"retinexformer": retinexformer(n_feat=40, num_blocks=[1, 2, 2]),
                 "hvi": HVICIDNet()}  # fmt: skip
    models = {}
    for name, network in published.items():
        torch.save(network.state_dict(), tmp_path / "a.pth")
        models[name] = create_enhancer("checkpoint", weights=tmp_path / "a.pth")
    assert round(count_parameters(models["retinexformer"]) / 1e6, 2) == 1.61
    assert round(count_parameters(models["hvi"]) / 1e6, 2) == 1.98
    macs = count_macs(models["retinexformer"], (256, 256)).macs / 2**30
    assert 15.57 * 0.99 < macs < 15.57  # the published count has some work that torch's has not
    # HVI-CIDNet indexes by its image's values: its MACs are not counted, the rest is measured.
    found = Cost((32, 32), runs=1, seconds=0.01).measure(models["hvi"], None, torch.device("cpu"))
    assert {measured.metric for measured in found[0]} == {"parameters", "latency"}


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (33, 50)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size(name, size, tmp_path):
    save_file(NETWORKS[name]().state_dict(), tmp_path / "a.safetensors")
    image = create_enhancer("checkpoint", weights=tmp_path / "a.safetensors").enhance(
        seeded(2, 3, *size)
    )
    assert image.shape == (2, 3, *size) and image.isfinite().all()
    assert not image.is_inference()  # so that a network may be trained behind it


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {"params": {k: v * 0 for k, v in state.items()}, "params_ema": state},
    ],
    ids=["DataParallel", "averaged"],
)
def test_what_training_scripts_wrap_weights_in(wrap, tmp_path):
    network, x = retinexformer(), seeded(1, 3, 16, 16)
    torch.save(wrap(network.state_dict()), tmp_path / "a.pth")
    with torch.no_grad():
        own = network(x).clamp(0, 1)
    model = create_enhancer("checkpoint", weights=tmp_path / "a.pth")
    torch.testing.assert_close(model.enhance(x), own)


def test_other_files_get_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {name: value[..., :1] for name, value in retinexformer().state_dict().items()}
    files = {
        "malicious": {"params": Touches(tmp_path / "owned")},
        "unknown": {"a.weight": torch.zeros(3)},
        "misshapen": wrong,
        "larger": upscaler().state_dict(),
        "a list": [torch.zeros(3)],
    }
    expected = {
        "malicious": "not a tensors-only checkpoint (UnpicklingError)",
        "unknown": "no network that spandrel recognises",
        "misshapen": "not a network as spandrel builds it (RuntimeError)",
        "larger": (
            "SPAN (SR, channels 3 to 3) does not map RGB images to RGB images of the same size"
        ),
        "a list": "expected a state dict of tensors, got list",
    }
    for name, content in files.items():
        for suffix in (".pth", ".pt"):  # spandrel itself would read the latter as TorchScript
            path = tmp_path / f"{name}{suffix}"
            torch.save(content, path)
            with pytest.raises(ValueError) as caught:
                create_enhancer("checkpoint", weights=path)
            assert str(caught.value) == f"{path}: {expected[name]}"
    assert not (tmp_path / "owned").exists()
    with pytest.raises(FileNotFoundError, match="no file of weights at absent"):
        create_enhancer("checkpoint", weights="absent")
    with pytest.raises(ValueError, match="no file was read"):
        create_enhancer("checkpoint").enhance(seeded(1, 3, 8, 8))


def test_without_spandrel_the_command_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r"pip install 'llie-core\[spandrel\]'"):
        create_enhancer("checkpoint", weights=file)


def test_an_image_that_the_memory_does_not_reach_for_is_refused(file, monkeypatch):
    monkeypatch.setattr("llie_core.models.checkpoint.free_memory", lambda device: 2**30)
    model = create_enhancer("checkpoint", weights=file)
    large = torch.zeros(1, 1, 1, 1).expand(1, 3, 4000, 6000)
    with pytest.raises(MemoryError, match="RetinexFormer takes an image whole: 69 GiB for 6000×4"):
        model.enhance(large)


# As a row, and on the command line ---------------------------------------------------------------


def study_with(file, label="retinexformer"):
    return open_study("neid", "smoke", released={label: str(file)})


def test_it_is_a_row_of_a_study(file, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    study = study_with(file)
    row = study.row("retinexformer")
    scores = study.evaluate(row, test_sets=[study.main_set, study.cost_set])
    found = {s.metric: s for s in scores}
    assert {s.weights for s in scores} == {"released"} and found["psnr"].n == 2
    assert found["parameters"].value == count_parameters(retinexformer())
    assert study.titles["retinexformer"] == "retinexformer"
    item = study.test_pairs[0]
    assert study.load(row, "cpu").enhance(item["image"][None]).shape[1:] == item["image"].shape
    # Another file under the label and the name is evaluated anew.
    torch.save({"params": retinexformer(n_feat=16).state_dict()}, file)
    again = study_with(file)
    (fresh,) = [s for s in again.evaluate(row, test_sets=[study.main_set]) if s.metric == "psnr"]
    assert fresh.value != found["psnr"].value


def test_a_misspelt_model_of_a_file_is_named(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    study = study_with(tmp_path / "a.pth", "zero_dec")
    expected = r"released: .*a\.pth: no network that spandrel recognises, and 'zero_dec' names no "
    with pytest.raises(ValueError, match=f"{expected}model; did you mean 'zero_dce'"):
        study.load(study.row("zero_dec"), "cpu")
    with pytest.raises(ValueError, match="no enhancer 'zero_dec'; did you mean 'zero_dce'"):
        study = study_with("", "zero_dec")
        study.load(study.row("zero_dec"), "cpu")


def test_enhance_takes_a_checkpoint(file, tmp_path, capsys):
    write_image(tmp_path / "a.png", seeded(3, 21, 30))
    assert main(["enhance", str(tmp_path / "a.png"), "--checkpoint", str(file), "--no-gate"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a-enhanced.png'}: RetinexFormer\n"
    given = read_image(tmp_path / "a.png")[None]
    expected = create_enhancer("checkpoint", weights=file).enhance(given)[0]
    written = read_image(tmp_path / "a-enhanced.png")
    torch.testing.assert_close(written, expected, atol=0.5 / 255 + 1e-5, rtol=0)
    assert main(["enhance", str(tmp_path), str(tmp_path / "out"), "--checkpoint", str(file)]) == 0
    lines = (tmp_path / "out" / ".enhanced.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"] for line in lines} == {"a.png", "a-enhanced.png"}


def test_a_checkpoint_leaves_no_choice_of_model(file, tmp_path, capsys):
    write_image(tmp_path / "a.png", seeded(3, 8, 8))
    image = str(tmp_path / "a.png")
    for more in (["--model", "lime"], ["--weights", "released"]):
        assert main(["enhance", image, "--checkpoint", str(file), *more]) == 2
        assert "--checkpoint says which model it is" in capsys.readouterr().err


def test_a_file_of_a_model_that_is_here_is_named(tmp_path, capsys):
    write_image(tmp_path / "a.png", seeded(3, 8, 8))
    save_file(create_enhancer("sci").state_dict(), tmp_path / "sci.pt")
    arguments = ["enhance", str(tmp_path / "a.png"), "--checkpoint", str(tmp_path / "sci.pt")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said == (
        f"llie: {tmp_path / 'sci.pt'}: no network that spandrel recognises; it fits --model sci\n"
    )
