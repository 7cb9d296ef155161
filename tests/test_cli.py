"""The `llie` command, called in process: what it prints, writes and refuses."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llie_core import cli
from llie_core.cli import main
from llie_core.data.images import read_image
from llie_core.recognizers import list_recognizers

TINY = ["--set", "steps=1", "--set", "size=32", "--set", "batch_size=1", "--set", "train_count=2"]
TINY += ["--set", "test_size=128", "--set", "test_count=4", "--device", "cpu"]
COMMANDS = (
    "fit",
    "keep",
    "enhance",
    "darken",
    "models",
    "datasets",
    "score",
    "weights",
    "report",
    "bench",
)


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("GOMP_SPINCOUNT", "20000")  # main sets it, and the test puts it back
    return tmp_path / "results"


@pytest.fixture
def refused(capsys):
    """refused(arguments, expected): exit code 2 and one line on stderr with `expected` in it."""

    def check(arguments, *expected):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("llie: ") and said.err.count("\n") == 1, said.err
        for text in expected:
            assert text in said.err
        return said.err

    return check


# Help -----------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    for command in COMMANDS:
        assert f"\n    {command} " in text, command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0 and f"llie {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fti"], ["fit"], ["enhance", "a"], ["fit", "j", "-x"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "usage: llie" in capsys.readouterr().err


def test_help_is_instant_because_nothing_heavy_is_imported():
    program = (
        "import contextlib, sys\n"
        "from llie_core.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'PIL', 'matplotlib', 'pandas', 'papermill', 'skimage'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stdout + done.stderr


# Listings -------------------------------------------------------------------------------------


def test_models_are_listed_with_their_parameters(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    parts = {words[0]: words[1:] for words in map(str.split, lines)}
    assert " ".join(parts["zero_dce"]) == "79,416 41.52 GMAC = 83.05 GFLOP"
    assert parts["zero_dce_pp"][0] == "10,561" and "GMAC" in parts["zero_dce_pp"]
    assert parts["clahe"] == ["0", "not", "counted"] and "ec_zero_dce" in parts
    assert list(parts).index("enhancers") < list(parts).index("darkeners")
    listed = [line.strip() for line in lines[lines.index("recognizers") + 1 :]]
    assert listed == list_recognizers() and "deeplabv3plus" in listed


def test_datasets_are_listed_with_source_and_terms(capsys):
    from llie_core.data import list_datasets

    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    for spec in list_datasets():
        assert spec.name in text and spec.terms in text and spec.source in text


# Training -------------------------------------------------------------------------------------


def test_keep_needs_finished_runs(capsys):
    assert main(["keep", "recognition", "--profile", "smoke"]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("llie: ") and "scores.csv" in line and "\n" not in line


def test_fit_trains_scores_and_says_where_the_weights_are(capsys, results):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    arguments = ["fit", "joint", "--profile", "smoke", "--variant", "1:0", "--seed", "2"]
    assert main([*arguments, *TINY]) == 0
    text = capsys.readouterr().out
    folder = results / "joint" / "builtin-faces" / "smoke" / "zero_dce_pp+1-0" / "seed2"
    assert text.startswith("joint/builtin-faces/smoke/zero_dce_pp+1:0/seed2: 1 steps in ")
    assert str(folder / "weights.safetensors") in text and (folder / "scores.csv").exists()
    for metric in ("ap easy", "ap medium", "ap hard", "recall all", "psnr all"):
        assert metric in " ".join(text.split()), metric
    assert "(n = 4, psnr-rgb-float)" in text


def test_fit_may_leave_the_scores_out(capsys, results):
    arguments = ["fit", "joint", "--profile", "smoke", "--variant", "1:0", "--no-score", *TINY]
    assert main(arguments) == 0
    assert "psnr" not in capsys.readouterr().out
    assert list(results.rglob("stamp.json")) and not list(results.rglob("scores.csv"))


def test_fit_trains_the_darkener_by_name(capsys, results):
    arguments = ["fit", "joint", "--profile", "smoke", "--model", "ec_zero_dce", "--no-score"]
    assert main([*arguments, "--set", "darkener_steps=1", *TINY]) == 0
    assert "joint/builtin-photos/smoke/ec_zero_dce/seed0: 1 steps" in capsys.readouterr().out


def test_trained_weights_enhance_a_picture(tmp_path, results, capsys):
    main(["fit", "joint", "--profile", "smoke", "--variant", "1:0", "--no-score", *TINY])
    (weights,) = results.rglob("weights.safetensors")
    Image.new("RGB", (13, 7), (40, 30, 20)).save(tmp_path / "dark.png")
    arguments = ["enhance", str(tmp_path / "dark.png"), str(tmp_path / "out")]
    assert main([*arguments, "--model", "zero_dce_pp", "--weights", str(weights)]) == 0
    assert read_image(tmp_path / "out" / "dark.png").shape == (3, 7, 13)


def test_a_key_of_fit_may_be_json_or_a_plain_word():
    assert cli._overrides(["steps=5", "lr=1e-3", 'ratios=["1:0"]', "schedule=cosine"]) == {
        "steps": 5, "lr": 0.001, "ratios": ["1:0"], "schedule": "cosine",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["jint"], ["no paper 'jint'; did you mean 'joint'?", "known: "]),
        (["joint", "--profile", "fast"], ["no profile 'fast'", "known: smoke, quick"]),
        (["joint", "--dataset", "lol"], ["joint has no data set 'lol'", "known: builtin-faces"]),
        (["joint", "--variant", "two"], ["ratio 'two': write W_up:W_down, such as 2:1"]),
        (["joint", "--variant", "0:0"], ["ratio '0:0': both parts"]),
        (["joint", "--model", "neid"], ["ec_zero_dce and tinaface, not 'neid'"]),
        (["joint", "--set", "stps=3"], ["unknown setting 'stps'; did you mean 'steps'?"]),
        (["joint", "--set", "steps"], ["--set steps: write KEY=VALUE"]),
        (["joint", "--set", "steps=many"], ["steps: expected int, got 'many'"]),
        (["joint", "--set", "steps=0"], ["steps, batch_size and checkpoint_every must be at"]),
        (
            ["joint", "--set", "seeds=[1]"],
            ["--set seeds=[1]: this setting has an option", "--seed"],
        ),
        (["joint", "--set", "profile=x"], ["has an option of its own, --profile"]),
        (["joint", "--seed", "-1"], ["seeds and workers must not be negative"]),
        (["joint", "--processes", "0"], ["processes at least 1"]),
        (["joint", "--set", "recognizer=tinafce"], ["'tinafce' is none of mtcnn, tinaface"]),
        (["joint", "--dataset", "wider-face"], ["wider-face: say where it is", "--data", "WIDER"]),
        (
            ["joint", "--dataset", "wider-face", "--data", "nowhere"],
            ["nowhere", "get it from", "WIDER FACE project page"],
        ),
    ],
    ids=lambda value: " ".join(value) if value and "joint" in value else "",
)
def test_fit_refuses_in_one_line(arguments, expected, refused, results):
    profile = [] if "--profile" in arguments else ["--profile", "smoke"]
    refused(["fit", *arguments, *profile, "--no-score"], *expected)
    assert not list(results.rglob("*.safetensors"))


def test_an_incomplete_data_set_is_named(refused, tmp_path):
    root = tmp_path / "WIDER_FACE"
    (root / "wider_face_split").mkdir(parents=True)
    arguments = ["fit", "joint", "--profile", "smoke", "--dataset", "wider-face"]
    refused([*arguments, "--data", str(tmp_path)], str(root), "WIDER_train", "project page")


# Pictures -------------------------------------------------------------------------------------


def noise(*shape, top=255, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    """Pictures of every kind that users have, one of them cut short, beside a file of words."""
    folder = tmp_path / "pictures"
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
    (folder / "words.txt").write_text("no picture")
    return folder


SIZES = {"good": (20, 31), "grey": (17, 9), "alpha": (12, 14), "deep": (11, 10), "tiny": (1, 1)}


@pytest.mark.parametrize("arguments", [[], ["--model", "gamma"], ["--model", "he"]])
def test_enhance_takes_every_kind_and_names_what_it_cannot_read(
    folder, tmp_path, capsys, arguments
):
    assert main(["enhance", str(folder), str(tmp_path / "out"), *arguments]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"llie: cannot read image {folder / 'truncated.jpg'}: ")
    assert said.err.count("\n") == 1 and "5 of 6 pictures written" in said.out
    written = {path.stem: read_image(path) for path in (tmp_path / "out").iterdir()}
    assert {name: tuple(image.shape[1:]) for name, image in written.items()} == SIZES
    assert written["good"].mean() > read_image(folder / "good.png").mean()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["enhance", "nowhere", "out"], ["nowhere: no such picture or folder"]),
        (["enhance", ".", "out"], ["holds no picture", ".png"]),
        (["enhance", "day.png", "out", "--model", "zerodce"], ["did you mean 'zero_dce'?"]),
        (["enhance", "day.png", "out", "--model", "zero_dce"], ["zero_dce needs --weights"]),
        (["enhance", "day.png", "out", "--weights", "w"], ["no file of weights at w"]),
        (
            ["enhance", "day.png", "out", "--model", "zero_dce", "--released", "w.pth"],
            ["no file of weights at w.pth"],
        ),
        (["enhance", "day.png", "out", "--released", "w"], ["clahe has no released checkpoint"]),
        (["enhance", "day.png", "day.png"], ["day.png"]),
        (["darken", "day.png", "out", "--exposure", "0"], ["exposure 0.0 must lie in (0, 1]"]),
        (["darken", "day.png", "out", "--exposure", "2"], ["exposure 2.0 must lie in (0, 1]"]),
        (["darken", "day.png", "out", "--exposure", "-1"], ["exposure -1.0 must lie in (0, 1]"]),
        (
            ["darken", "day.png", "out", "--model", "clahe"],
            ["'clahe' does not darken (known: physical, ec_zero_dce, drgn, lw_drgn)"],
        ),
    ],
    ids=lambda value: " ".join(value) if value[0] in COMMANDS else "",
)
def test_pictures_are_refused_in_one_line(arguments, expected, refused, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if "day.png" in arguments:
        Image.new("RGB", (8, 8)).save("day.png")
    before = sorted(Path().iterdir())
    refused(arguments, *expected)
    assert sorted(Path().iterdir()) == before


def test_results_never_replace_the_pictures(folder, refused, tmp_path):
    before = (folder / "good.png").read_bytes()
    refused(["enhance", str(folder), str(folder)], "would replace a picture; name another folder")
    refused(["enhance", str(folder / "good.png"), str(folder / ".." / "pictures")], "good.png")
    assert (folder / "good.png").read_bytes() == before


def test_enhance_keeps_the_tree_of_its_source(tmp_path, capsys):
    (tmp_path / "in" / "event").mkdir(parents=True)
    for name in ("a.png", "event/a.jpg"):
        Image.new("RGB", (4, 4), (50,) * 3).save(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert main(["enhance", str(tmp_path / "in"), str(out), "--model", "identity"]) == 0
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert written == {"a.png", "event/a.png"}


def test_pictures_of_one_stem_do_not_replace_each_other(tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "in").mkdir()
    for name, level in (("a.png", 20), ("a.bmp", 90), ("b.png", 50)):
        Image.new("RGB", (4, 4), (level,) * 3).save(tmp_path / "in" / name)
    assert main(["enhance", str(tmp_path / "in"), str(out), "--model", "identity"]) == 0
    written = {path.name: round(read_image(path).mean().item() * 255) for path in out.iterdir()}
    assert written == {"a.png.png": 20, "a.bmp.png": 90, "b.png": 50}


# Reports, failures ----------------------------------------------------------------------------


def test_report_passes_its_parameters_on(tmp_path, monkeypatch, capsys):
    asked = []
    path = tmp_path / "parameters.yml"
    path.write_text("dataset: toy\nprofile: smoke\nseeds: [0, 1]\n")
    monkeypatch.setattr(
        "llie_core.reporting.execute.build_report",
        lambda *arguments: asked.append(arguments) or "the page",
    )
    assert main(["report", "joint", "--parameters", str(path)]) == 0
    assert asked == [("joint", {"dataset": "toy", "profile": "smoke", "seeds": [0, 1]})]
    assert capsys.readouterr().out == "the page\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "No such file"),
        ("", "the parameters lack dataset, profile"),
        ("dataset: a", "the parameters lack profile"),
        ("a: [1\nb: 2", "no valid YAML"),
    ],
)
def test_report_refuses_bad_parameters(tmp_path, refused, text, expected):
    path = tmp_path / "parameters.yml"
    if text is not None:
        path.write_text(text)
    refused(["report", "joint", "--parameters", str(path)], expected)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RuntimeError("out of memory"), 1, "llie: out of memory\n"),
        (ValueError("bad"), 2, "llie: bad\n"),
        (PermissionError(13, "Permission denied", "x"), 2, "llie: [Errno 13] Permission denied"),
        (KeyboardInterrupt(), 130, "llie: interrupted; run the same command again to resume\n"),
    ],
)
def test_exit_codes(error, code, line, monkeypatch, capsys):
    def fail(_options):
        raise error

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=fail)
    monkeypatch.setattr(cli, "_parser", lambda: parser)
    assert main([]) == code
    assert capsys.readouterr().err.startswith(line)
