"""`llie darken`: what it writes, records and refuses."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from llie_core.cli import image_files, main
from llie_core.cli.darken import OWN, RECORD
from llie_core.data import open_dataset
from llie_core.data.darkening import Darkening, darken
from llie_core.data.images import read_image
from llie_core.data.noise import NOISES
from llie_core.data.paired import read_records
from llie_core.engine import reuse
from llie_core.models import create_enhancer
from llie_core.models.ec_zero_dce import SATURATED, lightness


def records(folder):
    return {record["name"]: record["darkening"] for record in read_records(folder / RECORD)}


@pytest.fixture
def photos(tmp_path):
    """Three images, one of them in a folder below."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    (folder / "event").mkdir(parents=True)
    for name, size in (("a.png", (20, 24)), ("event/b.jpg", (33, 17)), ("grey.png", (9, 8))):
        values = rng.integers(60, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(values)
        (image.convert("L") if name == "grey.png" else image).save(folder / name)
    return folder


@pytest.fixture
def torn(photos):
    """A damaged image among them."""
    (photos / "torn.jpg").write_bytes((photos / "event/b.jpg").read_bytes()[:400])
    return photos / "torn.jpg"


@pytest.fixture
def low(tmp_path):
    """A folder of one dark image."""
    (tmp_path / "low").mkdir()
    Image.new("RGB", (16, 16), (20, 10, 5)).save(tmp_path / "low" / "night.png")
    return tmp_path / "low"


@pytest.fixture
def weights(tmp_path):
    """Weights files of untrained darkeners, by name."""

    def of(name):
        torch.manual_seed(0)
        path = tmp_path / f"{name}.safetensors"
        save_file(create_enhancer(name).state_dict(), path)
        return str(path)

    return of


def test_images_of_another_origin_in_the_target_folder_stay(photos, tmp_path, refused):
    (tmp_path / "other").mkdir()
    Image.new("RGB", (9, 9), (200, 0, 0)).save(tmp_path / "other" / "a.png")
    before = (tmp_path / "other" / "a.png").read_bytes()
    line = refused(["darken", str(photos), str(tmp_path / "other")])
    assert "a.png exists already; name another folder" in line
    assert (tmp_path / "other" / "a.png").read_bytes() == before


def test_the_tree_is_kept_and_every_image_is_on_record(photos, torn, tmp_path, capsys):
    out = tmp_path / "dark"
    assert main(["darken", str(photos), str(out), "--exposure", "0.05", "--seed", "3"]) == 1
    said = capsys.readouterr()
    assert str(torn) in said.err and said.err.count("\n") == 1
    assert "3 of 4 images" in said.out
    found = records(out)
    assert set(found) == {"a.png", "event/b.jpg", "grey.png"}
    for name, about in found.items():
        assert about["exposure"] == 0.05
        again = darken(read_image(photos / name).numpy(), Darkening(**about))
        written = read_image((out / name).with_suffix(".png"))
        assert torch.equal(torch.from_numpy(again), written)


def test_an_image_goes_by_seed_and_name_alone(photos, tmp_path):
    for out, seed in (("one", "0"), ("other", "1")):
        assert main(["darken", str(photos), str(tmp_path / out), "--seed", seed]) == 0
    assert main(["darken", str(photos / "a.png"), str(tmp_path / "alone")]) == 0
    one, other, alone = (records(tmp_path / name) for name in ("one", "other", "alone"))
    assert alone["a.png"] == one["a.png"] != other["a.png"]


def test_a_stopped_call_goes_on_and_another_request_starts_anew(photos, tmp_path):
    out = tmp_path / "dark"
    arguments = ["darken", str(photos), str(out), "--exposure", "0.05", "0.2"]
    assert main(arguments) == 0
    lines = (out / RECORD).read_text().splitlines(keepends=True)
    (out / RECORD).write_text("".join(lines[:-1]) + lines[-1][:20])  # killed while writing
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert main(arguments) == 0
    assert (out / RECORD).read_text() == "".join(lines)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert sum(after[path] != before[path] for path in before) == 1
    assert main([*arguments, "--seed", "1"]) == 0
    assert len(read_records(out / RECORD)) == 6


def test_an_image_that_was_replaced_is_darkened_anew(photos, torn, tmp_path):
    out = tmp_path / "dark"
    assert main(["darken", str(photos), str(out)]) == 1
    Image.new("RGB", (9, 5), (200, 190, 180)).save(torn)
    Image.new("RGB", (7, 6), (200, 190, 180)).save(photos / "a.png")
    before = (out / "event" / "b.png").stat().st_mtime_ns
    assert main(["darken", str(photos), str(out)]) == 0
    assert read_image(out / "torn.png").shape == (3, 5, 9)
    assert read_image(out / "a.png").shape == (3, 6, 7)
    assert (out / "event" / "b.png").stat().st_mtime_ns == before


def test_images_of_earlier_code_are_darkened_anew(photos, tmp_path, monkeypatch):
    out = tmp_path / "dark"
    assert main(["darken", str(photos), str(out)]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    monkeypatch.setattr(reuse, "module_tree", lambda name: f"another {name}")
    assert main(["darken", str(photos), str(out)]) == 0
    assert all(path.stat().st_mtime_ns != time for path, time in before.items())


def test_a_name_that_is_no_utf_8_and_an_image_without_one(tmp_path, capsys):
    odd = os.fsencode(tmp_path / "in") + b"/bad\xff.png"
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4), (90, 90, 90)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", odd)  # noqa: PTH104 (a path of bytes)
    assert main(["darken", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert os.listdir(os.fsencode(tmp_path / "out") + b"/") != []  # noqa: PTH208
    with pytest.raises(SystemExit):
        main(["darken", str(tmp_path / "in"), str(tmp_path / "out"), "--seed", "-1"])
    assert "argument --seed: '-1': expected a whole number from 0 up" in capsys.readouterr().err


def test_a_target_in_the_source_is_no_source(photos, capsys):
    for _ in range(2):
        assert main(["darken", str(photos), str(photos / "dark")]) == 0
        assert "3 of 3 images are in" in capsys.readouterr().out
    assert set(records(photos / "dark")) == {"a.png", "event/b.jpg", "grey.png"}
    assert not (photos / "dark" / "dark").exists()


def test_one_stem_in_one_folder_keeps_its_suffix(photos, tmp_path):
    Image.new("RGB", (4, 4), (90,) * 3).save(photos / "a.bmp")
    Image.new("RGB", (4, 4), (90,) * 3).save(photos / "event" / "a.png")
    Image.new("RGB", (4, 4), (90,) * 3).save(photos / ".a.png")
    out = tmp_path / "dark"
    assert main(["darken", str(photos), str(out)]) == 0
    made = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert made == {"a.png.png", "a.bmp.png", "event/a.png", "event/b.png", "grey.png"}


def test_a_link_to_nowhere_is_named_and_the_others_go_on(photos, tmp_path, capsys):
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    assert main(["darken", str(photos), str(tmp_path / "dark")]) == 1
    said = capsys.readouterr()
    assert "gone.png" in said.err and "3 of 4 images" in said.out


def test_exposures_are_drawn_from_the_range_and_lamps_stay(photos, tmp_path, weights):
    lamp = np.full((16, 16, 3), 120, np.uint8)
    lamp[4:6, 4:6] = 255
    Image.fromarray(lamp).save(photos / "lamp.png")
    out = tmp_path / "dark"
    model = ["--model", "ec_zero_dce", "--weights", weights("ec_zero_dce")]
    assert main(["darken", str(photos), str(out), *model]) == 0
    found = records(out)
    targets = [about["exposure_target"] for about in found.values()]
    assert len(set(targets)) == 4 and all(0.05 <= target <= 0.30 for target in targets)
    dark = read_image(out / "lamp.png")
    bright = lightness(read_image(photos / "lamp.png")[None])[0, 0] > SATURATED
    assert bright.sum() == 4 and (dark[:, bright] == 1).all() and dark[:, ~bright].max() < 0.4
    for about in found.values():
        assert about["noise"] == "none"
        assert abs(about["mean"] - about["exposure_target"]) < 2e-3  # the 8-bit grid
    assert main(["darken", str(photos), str(out), *model, "--exposure", "0.2"]) == 0
    assert {about["exposure_target"] for about in records(out).values()} == {0.2}


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_noise_comes_by_name(photos, tmp_path, weights, noise):
    model = ["--model", "ec_zero_dce", "--weights", weights("ec_zero_dce"), "--exposure", "0.2"]
    for out, more in (("plain", []), ("noisy", ["--noise", noise]), ("again", ["--noise", noise])):
        assert main(["darken", str(photos), str(tmp_path / out), *model, *more]) == 0
    plain, noisy, again = (read_image(tmp_path / o / "a.png") for o in ("plain", "noisy", "again"))
    assert torch.equal(noisy, again) and not torch.equal(noisy, plain)
    assert (noisy - plain).abs().mean() < 0.03
    assert records(tmp_path / "noisy")["a.png"]["noise"] == noise


def test_weights_go_by_name_as_for_enhance(photos, tmp_path, refused, capsys):
    command = ["darken", str(photos), "--model", "ec_zero_dce", "--device", "cpu"]
    for out, more in (("named", ["--weights", "reference"]), ("default", [])):
        assert main([*command[:2], str(tmp_path / out), *command[2:], *more]) == 0
    made = [(tmp_path / out / RECORD).read_text() for out in ("named", "default")]
    assert made[0] == made[1]
    capsys.readouterr()
    refused([*command[:2], str(tmp_path / "out"), *command[2:], "--weights", "released"],
            "no released weights of ec_zero_dce are known")  # fmt: skip


def test_the_hash_of_pairs_is_that_of_the_weights_that_were_loaded(
    photos, tmp_path, weights, monkeypatch
):
    """Under a name, too; no weights of a degradation are shipped."""
    path, asked = Path(weights("lw_drgn")), []
    Image.new("RGB", (16, 16), (20, 10, 5)).save(photos / "a.png")
    loaded = image_files.trained_model("lw_drgn", path, "cpu")[:2]
    monkeypatch.setattr(image_files, "trained_model", lambda *_, **__: (*loaded, "reference"))
    monkeypatch.setattr(image_files, "weights_hash", lambda *of: asked.append(of) or "hash")
    command = ["darken", str(photos), str(tmp_path / "out"), "--model", "lw_drgn"]
    assert main([*command, "--low", str(photos)]) == 0
    asked_for = json.loads((tmp_path / "out" / "darkening.json").read_text())["darkener"]
    assert asked == [("lw_drgn", "reference")] and asked_for["weights"] == "hash"


def test_no_image_to_darken_is_said_by_its_name(torn, low, tmp_path, weights, capsys):
    source = tmp_path / "torn"
    source.mkdir()
    torn.rename(source / "torn.jpg")
    arguments = ["darken", str(source), str(tmp_path / "pairs"), "--model", "lw_drgn"]
    assert main([*arguments, "--low", str(low), "--weights", weights("lw_drgn")]) == 1
    assert "torn.jpg" in capsys.readouterr().err


def test_pairs_by_a_learned_degradation(photos, low, tmp_path, weights):
    out = tmp_path / "pairs"
    arguments = ["darken", str(photos), str(out), "--model", "lw_drgn", "--low", str(low)]
    arguments += ["--weights", weights("lw_drgn"), "--strength", "0.5", "1.5"]
    assert main(arguments) == 0
    pairs = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == 3 and {p["darkening"]["degradation_of"] for p in pairs} == {"night.png"}
    assert all(0.5 <= pair["darkening"]["strength"] <= 1.5 for pair in pairs)
    for pair in pairs:
        high = read_image(out / "high" / f"{pair['file']}.png")
        assert torch.equal(high, read_image(photos / pair["name"]))
        assert read_image(out / "low" / f"{pair['file']}.png").shape == high.shape


def test_what_cannot_be_read_is_left_out_of_the_pairs_and_named(
    photos, torn, low, tmp_path, weights, capsys
):
    out = tmp_path / "pairs"
    (low / "cut.png").write_bytes(b"no image")
    arguments = ["darken", str(photos), str(out), "--model", "lw_drgn", "--low", str(low)]
    arguments += ["--weights", weights("lw_drgn"), "--device", "cpu"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "torn.jpg" in said.err and "cut.png" in said.err and said.err.count("\n") == 3
    assert "has collapsed" in said.err  # the network is not trained
    assert "3 pairs written" in said.out
    made = (out / "pairs.jsonl").read_bytes()
    assert main(arguments) == 1 and "0 pairs written" in capsys.readouterr().out
    assert (out / "pairs.jsonl").read_bytes() == made
    data = open_dataset("coco1000", "test", tmp_path / "pairs")
    assert len(data) == 3 and data[0]["darkening"]["degradation_of"] == "night.png"


def test_a_collapsed_degradation_is_named_and_the_second_pass_can_be_left_out(
    photos, tmp_path, capsys
):
    """I_D = −0.3 everywhere, then I_D = −0.8 · I_L: only the first depends on no image."""
    model, low = create_enhancer("lw_drgn"), tmp_path / "low"
    low.mkdir()
    values = np.random.default_rng(0).integers(0, 60, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(values).save(low / "night.png")
    with torch.no_grad():
        for value in model.g_de.parameters():
            value.zero_()
        model.g_de.reconstruct.bias.fill_(-0.3)
    path = tmp_path / "w.safetensors"
    save_file(model.state_dict(), path)
    command = ["darken", str(photos), "--model", "lw_drgn", "--low", str(low), "--weights", path]
    command = list(map(str, command))
    assert main([*command[:2], str(tmp_path / "one"), *command[2:]]) == 0
    said = capsys.readouterr().err
    assert "the learned degradation has collapsed" in said and said.count("\n") == 1
    with torch.no_grad():  # stem, then reconstruct, hand the image through
        for channel in range(3):
            model.g_de.stem.weight[channel, channel, 1, 1] = 1
            model.g_de.reconstruct.weight[channel, channel, 1, 1] = -0.8
        model.g_de.reconstruct.bias.zero_()
    save_file(model.state_dict(), path)
    made = {}
    for out, more in (("two", []), ("single", ["--one-pass"])):
        assert main([*command[:2], str(tmp_path / out), *command[2:], *more]) == 0
        made[out] = read_image(next((tmp_path / out / "low").rglob("a*.png")))
    assert not capsys.readouterr().err
    image = read_image(photos / "a.png")
    # x − 0.8 · low, then x − 0.8 · (x − 0.8 · low): the latter by the brightness of x itself.
    assert made["two"].mean() < 0.6 * image.mean() < made["single"].mean()


def test_help_groups_the_options_by_their_models(capsys):
    with pytest.raises(SystemExit):
        main(["darken", "--help"])
    text = capsys.readouterr().out
    for option, models in OWN.items():
        before = text[: text.index(f"\n  --{option.replace('_', '-')}")]
        titles = [line for line in before.splitlines() if line.endswith(":")]
        assert titles[-1] == f"{', '.join(models)}:", option
    assert all(name in text for name in NOISES)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--weights", "w"], "--weights belongs to ec_zero_dce, drgn, lw_drgn, not to physical"),
        (["--exposure", "0.1", "nan"], "--exposure: give one number, or a rising range"),
        (["--model", "ec_zero_dce", "--noise-level", ".1"], "--noise-level needs --noise gaussian"),
        (["--model", "drgn", "--low", "x", "--strength", "-1"], "--strength -1.0: it must not"),
        (["--model", "drgn", "--low", "x", "--strength", "inf"], "--strength: give one number"),
        (["--noise", "gaussian"], "--noise belongs to ec_zero_dce, not to physical"),
        (["--one-pass"], "--one-pass belongs to drgn, lw_drgn, not to physical"),
        (["--strength", "1"], "--strength belongs to drgn, lw_drgn, not to physical"),
        (["--exposure", "0.3", "0.2"], "--exposure: give one number, or a rising range"),
        (["--exposure", ".1", ".2", ".3"], "--exposure: give one number, or a rising range"),
        (["--model", "ec_zero_dce", "--noise", "salt"], "noise 'salt': choose one of none, ga"),
        (["--model", "ec_zero_dce", "--noise", "poisson", "--noise-level", "0"], "noise level 0"),
        (["--model", "ec_zero_dce", "--exposure", "0.5"], "knows (0.05, 0.3) only"),
        (["--model", "drgn", "--exposure", "0.1"], "--exposure belongs to physical, ec_zero_dce"),
        (["--model", "drgn"], "drgn needs --low, a folder of low-light images"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(photos, tmp_path, capsys, arguments, expected):
    assert main(["darken", str(photos), str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
