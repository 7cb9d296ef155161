"""`llie enhance` and `score`: images of every kind, weights, what fails, what pairs."""

import errno
import io
import json
import os
import struct
import sys
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import save_file

from llie_core.cli import main
from llie_core.data.images import read_image
from llie_core.engine import reuse
from llie_core.metrics import psnr
from llie_core.models import create_enhancer, model_spec
from llie_core.models.classical import Gamma
from llie_core.models.gate import enhance_gated
from llie_core.models.records import default_enhancer


def noise(*shape, top=255, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def shown(folder):
    """The files of a folder that are not hidden."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def save(path, level=50, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Images of every kind that users have, one of them cut short, beside a file of words."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(noise(20, 31, 3, top=60)).save(folder / "good.png")
    Image.fromarray(noise(64, 64, 3)).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.jpg").unlink()
    Image.fromarray(noise(17, 9)).save(folder / "grey.png")
    Image.fromarray(noise(12, 14, 4)).save(folder / "alpha.png")
    Image.fromarray(noise(11, 10, top=65535, dtype=np.uint16)).save(folder / "deep.png")
    Image.new("RGB", (1, 1), (10, 20, 30)).save(folder / "tiny.PNG")
    (folder / "words.txt").write_text("no image")
    return folder


SIZES = {"good": (20, 31), "grey": (17, 9), "alpha": (12, 14), "deep": (11, 10), "tiny": (1, 1)}


@pytest.mark.parametrize("arguments", [[], ["--model", "gamma"], ["--model", "he"]])
def test_every_kind_is_enhanced_and_what_cannot_be_read_is_named(
    folder, tmp_path, capsys, arguments
):
    assert main(["enhance", str(folder), str(tmp_path / "out"), *arguments]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"llie: cannot read image {folder / 'truncated.jpg'}: ")
    assert said.err.count("\n") == 1 and "5 of 6 images written" in said.out
    written = {path.stem: read_image(path) for path in shown(tmp_path / "out")}
    assert {name: tuple(image.shape[1:]) for name, image in written.items()} == SIZES
    assert written["good"].mean() > read_image(folder / "good.png").mean()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["enhance", "nowhere", "out"], ["nowhere: no such image or folder"]),
        (["enhance", ".", "out"], ["holds no image", ".png"]),
        (["enhance", "a.png", "out", "--model", "zerodce"], ["did you mean 'zero_dce'?"]),
        (
            ["enhance", "a.png", "out", "--model", "zero_dce"],
            ["zero_dce needs --weights: --weights released (after llie weights fetch zero-dce)"],
        ),
        (["enhance", "a.png", "out", "--model", "neid"], ["neid needs --weights: weights.safe"]),
        (
            ["enhance", "a.png", "out", "--model", "neid", "--weights", "reference"],
            ["no reference weights of neid are known (known: curve_refine, gem_pam, ec_zero_dce"],
        ),
        (
            ["enhance", "a.png", "out", "--model", "clahe", "--weights", "w"],
            ["w: clahe has no weights"],
        ),
        (["enhance", "a.png", "--strength", "1.5"], ["--strength 1.5 must lie in [0, 1]"]),
        (["enhance", "a.png", "out.bmp"], ["out.bmp: a.png is an image; written are .png, .jpg"]),
        (["enhance", "a.png", "../here/a.png"], ["would replace its source; name another file"]),
        (
            ["enhance", "a.png", "out", "--model", "zero_dce", "--weights", "w"],
            ["no file of weights at w"],
        ),
        (
            ["enhance", "a.png", "out", "--model", "sci", "--weights", "sci-easi"],
            ["no file of weights at sci-easi; did you mean 'sci-easy'?"],
        ),
        (["enhance", "a.png", "out", "--workers", "0"], ["--workers 0 must be 1 or more"]),
        (["enhance", ".", "a.png"], ["a.png is a file; name a folder to write into"]),
        (["enhance", ".", "-"], ["a folder does not go through a pipe; name a folder"]),
        (["enhance", "-", "."], ["what comes from a pipe has no name; name a file"]),
        (["enhance", "-", "out"], ["out: what comes from a pipe has no name; name a file"]),
        (["enhance", "a.png", "a.png"], ["a.png"]),
        (["darken", "a.png", "out", "--exposure", "0"], ["exposure 0.0 must lie in (0, 1]"]),
        (["darken", "a.png", "out", "--exposure", "2"], ["exposure 2.0 must lie in (0, 1]"]),
        (["darken", "a.png", "out", "--exposure", "-1"], ["exposure -1.0 must lie in (0, 1]"]),
        (
            ["darken", "a.png", "out", "--model", "clahe"],
            ["'clahe' does not darken (known: physical, ec_zero_dce, drgn, lw_drgn)"],
        ),
        (["score", "a.png", "nowhere"], ["nowhere: no such image or folder"]),
        (["score", "a.png", "."], ["give two files or two folders"]),
    ],
    ids=" ".join,
)
def test_refusals_are_one_line(arguments, expected, refused, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if "a.png" in arguments:
        Image.new("RGB", (8, 8)).save("a.png")
    before = sorted(Path().iterdir())
    refused(arguments, *expected)
    assert sorted(Path().iterdir()) == before


def test_16_bits_come_in_and_go_out(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    deep = noise(6, 9, 3, top=2000, dtype=np.uint16)  # below 3 % of the range
    tifffile.imwrite(source / "deep.tif", deep, photometric="rgb")
    (source / "deep.ppm").write_bytes(b"P6 9 6 65535\n" + deep.astype(">u2").tobytes())
    assert main(["enhance", str(source), str(out), "--model", "identity"]) == 0
    images = {path.name: read_image(path) for path in shown(out)}
    expected = torch.from_numpy(deep.astype(np.float32) / 65535).permute(2, 0, 1)
    for name in ("deep.tif.png", "deep.ppm.png"):
        assert torch.equal(images[name], expected)


def test_a_file_beside_the_source_is_not_replaced_unasked(tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"))
    Path("a-enhanced.png").write_bytes(b"mine")
    refused(["enhance", "a.png", "--model", "identity"], "a-enhanced.png exists already; --overw")
    save(Path("photos", "a.png"))
    Path("photos-enhanced").mkdir()
    Path("photos-enhanced", "a.png").write_bytes(b"mine")
    refused(["enhance", "photos", "--model", "identity"], "exists already; --overwrite replaces it")
    for kept in ("a-enhanced.png", "photos-enhanced/a.png"):
        assert Path(kept).read_bytes() == b"mine"
    assert main(["enhance", "a.png", "--model", "identity", "--overwrite"]) == 0


def test_results_of_earlier_commands_are_not_enhanced_again(tmp_path, capsys):
    for name in ("a.jpg", "b.png", "c-enhanced.png"):
        save(tmp_path / "in" / name)
    assert main(["enhance", str(tmp_path / "in" / "a.jpg"), "--model", "gamma"]) == 0
    capsys.readouterr()
    assert main(["enhance", str(tmp_path / "in"), str(tmp_path / "out"), "--model", "gamma"]) == 0
    said = capsys.readouterr()
    assert said.err == "llie: passed over, as results of earlier commands: a-enhanced.jpg\n"
    written = [path.name for path in shown(tmp_path / "out")]
    assert written == ["a.png", "b.png", "c-enhanced.png"]


def test_an_opaque_image_with_an_alpha_channel_loses_nothing(tmp_path, capsys):
    Image.new("RGBA", (8, 6), (90, 90, 90, 255)).save(tmp_path / "in.png")
    target = tmp_path / "out.png"
    assert main(["enhance", str(tmp_path / "in.png"), str(target), "--model", "identity"]) == 0
    assert capsys.readouterr().out == f"{target}: input\n"


def test_what_an_image_does_not_show_is_said(tmp_path, capsys):
    frames = [Image.new("RGB", (8, 6), (k, k, k)) for k in (10, 20, 30)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (8, 6), (90, 90, 90, 40)).save(tmp_path / "in.png")
    for name, words in (
        ("in.gif", "the first of 3 frames"),
        ("in.png", "its transparency over bl"),
    ):
        target = tmp_path / f"{name}.png"
        assert main(["enhance", str(tmp_path / name), str(target), "--model", "identity"]) == 0
        assert capsys.readouterr().out.startswith(f"{target}: input, {words}")


@pytest.mark.parametrize("command", ["enhance", "darken"])
def test_a_subfolder_that_may_not_be_read_is_named_and_the_others_go_on(
    command, tmp_path, monkeypatch, capsys
):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "locked" / "b.png")
    scandir = os.scandir

    def deny(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)
    more = ["--model", "identity"] if command == "enhance" else []
    assert main([command, str(tmp_path / "in"), str(tmp_path / "out"), *more]) == 0
    said = capsys.readouterr().err
    assert said == f"llie: {tmp_path / 'in' / 'locked'}: Permission denied; passed over\n"
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_closed_output_is_one_line(tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.png")
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["enhance", str(tmp_path / "a.png"), "-", "--model", "identity"]) == 2
    assert capsys.readouterr().err == "llie: standard output is closed; name a file to write\n"


def test_results_never_replace_the_images(folder, refused):
    before = (folder / "good.png").read_bytes()
    refused(
        ["enhance", str(folder), str(folder)],
        "results would lie among the images; name another folder",
    )
    refused(["enhance", str(folder / "good.png"), str(folder / ".." / "images")], "good.png")
    assert (folder / "good.png").read_bytes() == before


def test_the_tree_is_kept(tmp_path):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "event" / "a.jpg")
    out = tmp_path / "out"
    assert main(["enhance", str(tmp_path / "in"), str(out), "--model", "identity"]) == 0
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert written == {"a.png", "event/a.png"}


def test_images_of_one_stem_do_not_replace_each_other(tmp_path, refused, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    for name, level in (("a.png", 20), ("a.bmp", 90), ("b.png", 50)):
        save(source / name, level)
    assert main(["enhance", str(source), str(out), "--model", "identity"]) == 0
    written = {path.name: round(read_image(path).mean().item() * 255) for path in shown(out)}
    assert written == {"a.png.png": 20, "a.bmp.png": 90, "b.png": 50}
    save(source / "a.png.png")
    capsys.readouterr()
    refused(["enhance", str(source), str(out)], "two images go by one name")


def test_a_format_beside_a_named_file_is_refused(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    target = tmp_path / "b.png"
    assert main(["enhance", str(tmp_path / "a.png"), str(target), "--format", "webp"]) == 2
    assert capsys.readouterr().err == (
        f"llie: --format: the suffix of {target} says the format; leave it out\n"
    )
    assert not target.exists()


def test_formats_that_are_not_read_are_named_and_counted(tmp_path, capsys):
    source = tmp_path / "in"
    save(source / "a.png")
    for name in ("b.heic", "event/c.dng", "d.psd"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"other")
    assert main(["enhance", str(source), str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "1 of 1 images written" in said.out and said.err.count("\n") == 1
    assert "1 .dng, 1 .heic, 1 .psd not read (b.heic, d.psd, event/c.dng); convert" in said.err


def test_a_missing_package_for_videos_is_one_line_that_names_the_extra(
    tmp_path, monkeypatch, refused, capsys
):
    monkeypatch.setattr("llie_core.data.videos.can_read_videos", lambda: False)
    (tmp_path / "night.mp4").write_bytes(b"")
    command = ["enhance", str(tmp_path / "night.mp4"), str(tmp_path / "day.mp4")]
    refused(command, "night.mp4: .mp4 needs the package av", "pip install 'llie-core[video]'")
    save(tmp_path / "a.png")
    assert main(["enhance", str(tmp_path), str(tmp_path / "out")]) == 0
    assert "1 .mp4 not read (night.mp4)" in capsys.readouterr().err


# Images that fail -----------------------------------------------------------------------------

FAILURES = {
    "value": (ValueError("no number"), "no number"),
    "singular": (RuntimeError("Factor is exactly singular"), "Factor is exactly singular"),
    "allocator": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        "out of memory; scale the image down",
    ),
    "memory": (MemoryError(), "out of memory; scale the image down"),
    "index": (IndexError("index 3 is out of bounds"), "IndexError: index 3 is out of bounds"),
    "bare": (RuntimeError(), "RuntimeError"),
    "absent": (FileNotFoundError("gone"), "gone"),
    "name": (OSError(errno.ENAMETOOLONG, "File name too long"), "File name too long"),
}


@pytest.fixture
def three(tmp_path):
    """Three images; enhancing is recognized by the 5 pixels of the second one's width."""
    for name, width in (("a", 4), ("b", 5), ("c", 4)):
        save(tmp_path / "in" / f"{name}.png", size=(width, 4))
    return tmp_path / "in"


def failing(monkeypatch, error):
    enhance = Gamma.enhance

    def fail(self, image):
        if image.shape[-1] == 5:
            raise error
        return enhance(self, image)

    monkeypatch.setattr(Gamma, "enhance", fail)


@pytest.mark.parametrize(("error", "line"), FAILURES.values(), ids=FAILURES)
def test_one_failing_image_is_named_and_the_others_go_on(
    error, line, three, tmp_path, monkeypatch, capsys
):
    failing(monkeypatch, error)
    assert main(["enhance", str(three), str(tmp_path / "out"), "--model", "gamma"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"llie: {three / 'b.png'}: ") and line in said.err
    assert said.err.count("\n") == 1 and "2 of 3 images written" in said.out
    assert [path.name for path in shown(tmp_path / "out")] == ["a.png", "c.png"]


def test_a_decompression_bomb_is_one_line_and_the_others_go_on(three, tmp_path, capsys):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)  # 10.8 GB of pixels
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", compress(bytes(1000))) + chunk(b"IEND", b"")
    (three / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert main(["enhance", str(three), str(tmp_path / "out"), "--model", "gamma"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"llie: cannot read image {three / 'bomb.png'}: Image size (3600000")
    assert said.err.count("\n") == 1 and said.out.startswith("3 of 4 images written")
    assert len(shown(tmp_path / "out")) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_every_image_would_meet_ends_the_batch(number, three, tmp_path, monkeypatch, refused):
    failing(monkeypatch, OSError(number, os.strerror(number)))
    command = ["enhance", str(three), str(tmp_path / "out"), "--model", "gamma", "--workers", "1"]
    refused(command, os.strerror(number))
    assert [path.name for path in shown(tmp_path / "out")] == ["a.png"]


def test_the_longest_names_are_written_and_longer_ones_named(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / f"{'a' * 250}.png")
    save(source / "b.png")
    assert main(["enhance", str(source), str(out)]) == 0
    # Two of one stem keep their suffix, and with it their names would have 258 bytes.
    save(source / f"{'a' * 250}.bmp")
    capsys.readouterr()
    assert main(["enhance", str(source), str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.count("File name too long") == 2 and said.err.count("\n") == 3
    assert said.err.count("from before two images shared its name") == 1
    assert "1 of 3 images written" in said.out


def test_a_failing_image_does_not_stop_darkening(three, tmp_path, monkeypatch, capsys):
    from llie_core.data import darkening

    darken = darkening.darken

    def fail(image, parameters):
        if image.shape[-1] == 5:
            raise MemoryError
        return darken(image, parameters)

    monkeypatch.setattr(darkening, "darken", fail)
    assert main(["darken", str(three), str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert f"{three / 'b.png'}: out of memory" in said.err and "2 of 3 images are in" in said.out
    made = ["datasets", "make", "coco1000", "--data", str(three), "--out", str(tmp_path / "pairs")]
    assert main(made) == 1
    said = capsys.readouterr()
    assert "b.png: out of memory" in said.err and "2 pairs written" in said.out
    for option in ("--count", "--seed"):  # refused before anything is written
        with pytest.raises(SystemExit):
            main([*made[:-1], str(tmp_path / "none"), option, "-1"])
        assert f"argument {option}: '-1': expected a whole number" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# Weights --------------------------------------------------------------------------------------


@pytest.fixture
def enhanced(tmp_path, monkeypatch):
    """enhanced(model, weights): the exit code of enhancing one image with a file of weights."""
    save(tmp_path / "dark.png", size=(13, 7))

    def run(model, weights):
        arguments = ["enhance", str(tmp_path / "dark.png"), str(tmp_path / "out")]
        return main([*arguments, "--model", model, "--weights", str(weights)])

    return run


def weights_of(name, path):
    torch.manual_seed(0)
    model = create_enhancer(name)
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("model", "file"), [("zero_dce_pp", "weights.safetensors"), ("neid", "enhancer.pt")]
)
def test_the_weights_of_a_training_enhance(model, file, enhanced, tmp_path):
    path = weights_of(model, tmp_path / file)
    assert enhanced(model, path) == 0
    dark = read_image(tmp_path / "dark.png")[None]
    torch.manual_seed(0)
    expected = create_enhancer(model).eval().enhance(dark)[0]
    written = read_image(tmp_path / "out" / "dark.png")
    assert (written - expected).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("model", "file", "of", "expected"),
    [
        ("zero_dce", "w.safetensors", "zero_dce_pp", "; it fits --model zero_dce_pp\n"),
        ("clahe", "w.safetensors", "zero_dce", "clahe has no weights; it fits --model zero_dce\n"),
        ("drgn", "w.safetensors", "lw_drgn", "; it fits --model lw_drgn\n"),
        ("zero_dce", "w.pth", "zero_dce_pp", "another model's weights: tensor 'e_conv1.weight'"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_refused_with_what_they_fit(
    model, file, of, expected, enhanced, tmp_path, capsys
):
    path = weights_of(of, tmp_path / file)
    assert enhanced(model, path) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"llie: {path}: ") and expected in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


# Scoring --------------------------------------------------------------------------------------


def scores(out):
    """Protocol → (value, n) of the lines that `llie score` prints."""
    lines = [line.split() for line in out.splitlines()]
    return {words[0]: (words[1], int(words[words.index("=") + 1])) for words in lines}


def test_what_enhance_writes_is_scored_against_its_ground_truth(tmp_path, capsys):
    low, high, out = (tmp_path / name for name in ("low", "high", "out"))
    # Suffixes differ, one lies in a subfolder, two share a stem.
    names = {"1.jpg": "1.png", "event/1.bmp": "event/1.webp", "b.png": "b.png", "b.bmp": "b.bmp"}
    for place, (dark, normal) in enumerate(names.items()):
        save(low / dark, 20, (16, 16))
        save(high / normal, 60 + 40 * place, (16, 16))
    save(low / "alone.png", size=(16, 16))
    assert main(["enhance", str(low), str(out), "--model", "gamma"]) == 0
    capsys.readouterr()
    assert main(["score", str(out), str(high)]) == 0
    said = capsys.readouterr()
    assert said.err == f"llie: {out}: 1 without a partner (alone)\n"
    pairs = {"1.png": "1.png", "event/1.png": "event/1.webp", "b.png.png": "b.png",
             "b.bmp.png": "b.bmp"}  # fmt: skip
    expected = [psnr(read_image(out / a)[None], read_image(high / b)[None]).item()
                for a, b in pairs.items()]  # fmt: skip
    value, n = scores(said.out)["psnr-rgb-uint8"]
    assert n == 4 and float(value) == pytest.approx(np.mean(expected), abs=1e-4)
    assert main(["score", str(out), str(high), "--json"]) == 0
    (one,) = (x for x in json.loads(capsys.readouterr().out) if x["protocol"] == "psnr-rgb-uint8")
    assert one == {"protocol": "psnr-rgb-uint8", "value": pytest.approx(np.mean(expected)),
                   "unit": "dB", "n": 4, "note": ""}  # fmt: skip


def test_two_files_are_scored(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    save(tmp_path / "a.png", 20, (16, 16))
    save(tmp_path / "b.bmp", 60, (16, 16))
    assert main(["score", str(tmp_path / "a.png"), str(tmp_path / "b.bmp")]) == 0
    said = capsys.readouterr()
    assert scores(said.out)["psnr-rgb-uint8"] == ("16.0896", 1) and said.err == ""
    assert "n = 0  not available: llie weights fetch lpips-alex\n" in said.out


def test_images_without_a_reference_are_scored_by_what_needs_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    for name in ("a.png", "event/b.png"):
        save(tmp_path / "out" / name, 20, (64, 64))
        save(tmp_path / "low" / name, 10, (64, 64))
    assert main(["score", str(tmp_path / "out")]) == 1  # nothing has a number
    said = capsys.readouterr()
    assert {"niqe-live", "brisque-live"} <= set(scores(said.out)) and said.err == ""
    assert "psnr" not in said.out and "loe" not in said.out
    assert "n = 0  not available: llie weights fetch niqe\n" in said.out
    assert main(["score", str(tmp_path / "out"), "--low", str(tmp_path / "low")]) == 0
    assert scores(capsys.readouterr().out)["loe-imresize"] == ("0.0000", 2)


def test_a_pair_that_cannot_be_scored_is_named_and_the_others_go_on(tmp_path, capsys):
    for name in ("a", "b", "turned"):
        save(tmp_path / "out" / f"{name}.png", 20, (16, 12))
        save(tmp_path / "high" / f"{name}.png", 60, (12, 16) if name == "turned" else (16, 12))
    (tmp_path / "out" / "b.png").write_bytes(b"no image")
    assert main(["score", str(tmp_path / "out"), str(tmp_path / "high")]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 2 and f"cannot read image {tmp_path / 'out/b.png'}" in said.err
    assert "turned.png is 16×12 but" in said.err
    assert scores(said.out)["psnr-rgb-uint8"][1] == 1


def test_nothing_scored_is_no_success(tmp_path, refused, capsys):
    out, high = tmp_path / "out", tmp_path / "high"
    save(out / "a.png")
    save(high / "b.png")
    refused(["score", str(out), str(high)], "no image of", "(1) has a namesake in")
    (high / "a.png").write_bytes(b"no image")
    assert main(["score", str(out), str(high)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and f"cannot read image {high / 'a.png'}" in said.err
    (high / "heic").mkdir()
    (high / "a.png").rename(high / "heic" / "a.heic")
    (high / "b.png").unlink()
    refused(["score", str(out), str(high)], "holds no image", "1 .heic not read (heic/a.heic)")


# Strength and gate ----------------------------------------------------------------------------


@pytest.fixture
def bright(tmp_path):
    """A photograph that is bright already."""
    pixels = 110 + noise(40, 60, 3, top=120)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "bright.png")
    return tmp_path / "bright.png"


def test_a_second_photograph_is_no_target(bright, refused):
    """As where a shell's *.png names just two photographs."""
    other = bright.with_name("other.png")
    Image.new("RGB", (60, 40), (9, 9, 9)).save(other)
    before = other.read_bytes()
    line = refused(["enhance", str(bright), str(other), "--model", "gamma"])
    assert f"{other} exists already; --overwrite replaces it" in line
    assert other.read_bytes() == before


@pytest.mark.parametrize("source", [".", "a.png"])
def test_images_of_another_origin_in_the_target_folder_stay(source, three, tmp_path, refused):
    other = tmp_path / "other" / "a.png"
    save(other, 200)
    before = other.read_bytes()
    command = ["enhance", str(three / source), str(other.parent), "--model", "gamma"]
    assert f"{other} exists already; --overwrite replaces it" in refused(command)
    assert other.read_bytes() == before and [*other.parent.iterdir()] == [other]
    assert main([*command, "--overwrite"]) == 0
    assert other.read_bytes() != before


def test_the_gate_lowers_the_strength_and_the_line_says_so(bright, tmp_path, capsys):
    target = tmp_path / "out.png"
    assert main(["enhance", str(bright), str(target), "--model", "gamma"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{target}: gamma 1/2.2, strength 0.") and line.count("\n") == 1
    assert "bright already, mean luma 0.6" in line
    x = read_image(bright)[None]
    expected = enhance_gated(create_enhancer("gamma"), x).image[0]
    assert (read_image(target) - expected).abs().max() <= 0.5 / 255 + 1e-6
    again = ["enhance", str(bright), str(target), "--model", "gamma", "--no-gate", "--overwrite"]
    assert main(again) == 0
    assert capsys.readouterr().out == f"{target}: gamma 1/2.2\n"
    assert psnr(read_image(target)[None], x) < 20 < 29 < psnr(expected[None], x)


def test_strength_blends_result_and_input(bright, tmp_path):
    target = tmp_path / "out.png"
    command = ["enhance", str(bright), str(target), "--model", "gamma", "--no-gate", "--overwrite"]
    x = read_image(bright)
    for strength in (0.0, 0.3):
        assert main([*command, "--strength", str(strength)]) == 0
        expected = x + strength * (x ** (1 / 2.2) - x)
        assert (read_image(target) - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_a_folder_says_which_images_were_held_back(bright, tmp_path, capsys):
    save(tmp_path / "in" / "dark.png", 20, (16, 16))
    bright.rename(tmp_path / "in" / "bright.png")
    assert main(["enhance", str(tmp_path / "in"), "--model", "gamma"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("bright.png: strength 0.") and len(said) == 2
    assert said[1] == f"2 of 2 images written to {tmp_path / 'in-enhanced'}"


def test_the_default_is_what_the_page_chooses(tmp_path, capsys):
    save(tmp_path / "a.png", 20, (16, 16))
    assert main(["enhance", str(tmp_path / "a.png")]) == 0
    name, weights = default_enhancer()
    line = capsys.readouterr().out
    assert line == f"{tmp_path / 'a-enhanced.png'}: {model_spec(name).title}\n"
    expected = create_enhancer(name, weights).enhance(read_image(tmp_path / "a.png")[None])
    written = read_image(tmp_path / "a-enhanced.png")
    assert (written - expected[0]).abs().max() <= 0.51 / 255  # of 8 bits


# Resume, pipes --------------------------------------------------------------------------------


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in shown(folder)}


def test_the_same_command_does_what_is_left(three, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["enhance", str(three), str(out), "--model", "gamma"]
    assert main(command) == 0
    before = times(out)
    (out / "b.png").unlink()
    save(three / "c.png", 90, (4, 4))  # another image under its name
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == f"3 of 3 images written to {out}, 1 of them before\n"
    after = times(out)
    assert after["a.png"] == before["a.png"] and after["c.png"] != before["c.png"]
    (out / ".enhanced.jsonl").write_text('{"name": "a.png", "sta')  # cut by a kill
    assert main([*command, "--strength", "0.5"]) == 0
    assert times(out)["a.png"] != before["a.png"]
    assert main([*command, "--strength", "0.5"]) == 0
    assert "3 of them before" in capsys.readouterr().out


def test_other_code_of_the_gate_or_of_the_files_enhances_anew(three, tmp_path, capsys, monkeypatch):
    command = ["enhance", str(three), str(tmp_path / "out"), "--model", "gamma"]
    assert main(command) == 0
    tree = reuse.module_tree
    for module in ("models.gate", "data.photos", "models.classical"):
        monkeypatch.setattr(
            reuse, "module_tree", lambda name, own=f"llie_core.{module}": tree(name)
            if name != own else "another",
        )  # fmt: skip
        for end in ("out\n", "3 of them before\n"):
            capsys.readouterr()
            assert main(command) == 0
            assert capsys.readouterr().out.endswith(end), module


@pytest.mark.parametrize("named", [".", "sub/..", "../photos"])
def test_the_current_folder_goes_beside_itself(named, tmp_path, monkeypatch):
    save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert main(["enhance", named, "--model", "identity"]) == 0
    assert (tmp_path / "photos-enhanced" / "a.png").is_file()


def test_workers_are_counted_where_the_system_names_no_cores(three, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert main(["enhance", str(three), str(tmp_path / "out"), "--model", "identity"]) == 0
    assert len(shown(tmp_path / "out")) == 3


class Stream(io.BytesIO):
    """A text stream's bytes, as the interpreter offers them."""

    @property
    def buffer(self):
        return self


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_pipes(kind, tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.png", 20, (9, 5))
    out = Stream()
    monkeypatch.setattr("sys.stdin", Stream((tmp_path / "a.png").read_bytes()))
    monkeypatch.setattr("sys.stdout", out)
    assert main(["enhance", "-", "-", "--model", "gamma", "--format", kind]) == 0
    (tmp_path / "piped").write_bytes(out.getvalue())
    assert Image.open(tmp_path / "piped").format == {"png": "PNG", "jpg": "JPEG"}[kind]
    expected = read_image(tmp_path / "a.png") ** (1 / 2.2)
    assert (read_image(tmp_path / "piped") - expected).abs().max() <= 2 / 255
    assert capsys.readouterr().err == "-: gamma 1/2.2\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"no image", "cannot read image standard input: damaged"),
        (b"", "standard input is empty: pipe an image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "standard input is a video, which needs to be a file"),
    ],
)
def test_a_pipe_of_no_image_is_one_line(content, line, monkeypatch, refused):
    monkeypatch.setattr("sys.stdin", Stream(content))
    assert line in refused(["enhance", "-", "-"])


def test_a_result_by_a_name_that_is_shared_now_is_named(tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    save(source / "a.jpg")
    words = ["enhance", str(source), str(target), "--model", "identity"]
    assert main(words) == 0 and "a.png:" not in capsys.readouterr().err
    save(source / "a.png")
    save(source / "b.c.png")
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said == f"llie: {target / 'a.png'}: from before two images shared its name; remove it\n"
    assert {path.name for path in target.glob("*.png")} == {
        "a.png",
        "a.jpg.png",
        "a.png.png",
        "b.c.png",
    }


def test_a_darkener_is_sent_to_its_command(tmp_path, refused):
    save(tmp_path / "a.png")
    words = ["enhance", str(tmp_path / "a.png"), "--model", "ec_zero_dce"]
    refused(words, "ec_zero_dce darkens images: llie darken --model ec_zero_dce")
