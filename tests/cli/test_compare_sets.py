"""`llie compare METHOD… --data SET`: its numbers, intervals, page and files; what fails."""

import re

import pytest
import torch
from seeded import seeded

from llie_core.cli import main
from llie_core.data.images import read_image, write_image
from llie_core.files import read_rows
from llie_core.metrics import psnr
from llie_core.metrics.resampling import bootstrap
from llie_core.models import create_enhancer
from llie_core.side_by_side import Found, Method, open_set, protocols_for, ranking

PSNR = "psnr-rgb-float"


@pytest.fixture(autouse=True)
def aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "no weights"))


@pytest.fixture
def pairs(tmp_path):
    """A folder of three pairs, and another program's images of two of them."""
    for number in range(3):
        target = seeded(3, 24, 30, seed=number)
        name = f"{number}.png"
        write_image(tmp_path / "mine" / "high" / name, target)
        write_image(tmp_path / "mine" / "low" / name, target * (0.1 + 0.05 * number))
        if number:
            write_image(tmp_path / "theirs" / name, target * 0.9)
    return tmp_path / "mine"


def test_numbers_are_those_of_the_images(pairs, tmp_path, capsys):
    assert main(["compare", "gamma", "theirs", "--data", str(pairs), "--html", "out.html"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "mine, only split: 3 images" in said.out
    assert said.out.splitlines()[-1] == "out.html, out.csv, out-images.csv"
    low, high = ([read_image(pairs / part / f"{n}.png")[None] for n in range(3)]
                 for part in ("low", "high"))  # fmt: skip
    gamma = create_enhancer("gamma")
    expected = {
        "input": [psnr(x, y).item() for x, y in zip(low, high, strict=True)],
        "gamma 1/2.2": [psnr(gamma.enhance(x), y).item() for x, y in zip(low, high, strict=True)],
        "theirs": [psnr(read_image(tmp_path / "theirs" / f"{n}.png")[None], high[n]).item()
                   for n in (1, 2)],
    }  # fmt: skip
    rows = {
        line["method"]: line for line in read_rows(tmp_path / "out.csv") if line["protocol"] == PSNR
    }
    assert set(rows) == set(expected)
    for method, values in expected.items():
        low_end, high_end = bootstrap(values)
        row = rows[method]
        assert float(row["mean"]) == pytest.approx(sum(values) / len(values), abs=2e-5)
        assert float(row["low"]) == pytest.approx(low_end, abs=2e-5)
        assert float(row["high"]) == pytest.approx(high_end, abs=2e-5)
        assert int(row["n"]) == len(values)
    each = [line for line in read_rows(tmp_path / "out-images.csv") if line["method"] == "theirs"]
    assert [line["name"] for line in each] == ["1.png", "2.png"]
    assert rows["theirs"]["parameters"] == "–" and rows["gamma 1/2.2"]["parameters"] == "0"
    assert "Fewer images than the set: theirs." in said.out
    # The first line has the highest PSNR; the others stand to it by the images that both have.
    table = said.out.splitlines()
    assert table[2].startswith("theirs") and table[2].rstrip().endswith("–")
    gap = sum(expected["gamma 1/2.2"][1:]) / 2 - sum(expected["theirs"]) / 2
    assert f"{gap:+.2f} [".replace("-", "−") in table[3]
    assert "3 images decide little: the 95 % interval of PSNR is ± " in said.out


def test_the_page_reads_offline(pairs, tmp_path):
    assert main(["compare", "gamma", "theirs", "--data", str(pairs)]) == 0
    text = (tmp_path / "mine-compared.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?:', text)
    titles = ["input", "theirs", "gamma 1/2.2", "ground truth"]
    found = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert found == ["input", "gamma 1/2.2", "ground truth", *titles * 2]
    assert "images decide little" in text.split("<table")[0]
    protocols = 3  # PSNR and SSIM, PSNR with GT-mean
    assert text.count("data:image/png;base64,") == protocols


def found(title, *values):
    """A method and its PSNR of some images."""
    method = Method(title, title, create_enhancer("gamma"))
    return Found(method, {PSNR: {str(n): value for n, value in enumerate(values)}}, [])


def test_methods_without_values_stand_last_and_nothing_is_said_of_them(pairs):
    _, data = open_set(str(pairs))
    result = ranking("mine", "test", data, [PSNR], [], [found("none"), found("some", 9, 8)], "cpu")
    assert [row[0] for row in result.table().rows] == ["some", "none"]
    assert result.table().rows[1][-2:] == ["–", "–"] and "tell" not in result.decided()
    result = ranking("mine", "test", data, [PSNR], [], [found("none"), found("no other")], "cpu")
    assert result.decided() == "No image has a value of PSNR."


def test_methods_that_the_images_do_not_tell_apart_are_named(pairs):
    methods = [
        found("worse", 9, 9, 9, 8),
        found("close", 30, 10, 20, 19.6),
        found("best", 20, 20, 20, 20),
    ]
    _, data = open_set(str(pairs))
    result = ranking("mine", "test", data, [PSNR], [], methods, "cpu")
    assert [one.method.title for one in result.ranked] == ["best", "close", "worse"]
    assert "They do not tell close from best." in result.decided()
    assert result.table().marks == {}
    apart = ranking("mine", "test", data, [PSNR], [], [methods[0], methods[2]], "cpu")
    assert apart.table().marks == {(0, 4): "best"}
    rows = {row[0]: row[-1] for row in result.table().rows}
    # Of the 256 draws of (10, −10, 0, −.4), 5 have a mean below −7.5 and 5 one above 7.4.
    assert rows["close"] == "−0.10 [−7.50, +7.40]" and rows["worse"].startswith("−11.25 [")


def test_one_image_has_no_interval(pairs, tmp_path, capsys):
    for side in ("low", "high"):
        for path in sorted((pairs / side).iterdir())[1:]:
            path.unlink()
    assert main(["compare", "gamma", "--data", str(pairs)]) == 0
    said = capsys.readouterr().out
    assert "One image decides nothing: its values have no interval." in said
    (row,) = (line for line in said.splitlines() if line.startswith("input"))
    assert "[" not in row and " −" in row  # the difference to the first


def test_images_without_ground_truth_and_without_weights_of_a_metric(pairs, refused):
    said = refused(["compare", "gamma", "--data", str(pairs / "low")])
    assert "no metric for images without ground truth is at hand" in said
    assert "llie weights fetch niqe" in said and "llie compare METHOD… PHOTO…" in said


def test_protocols_by_name_and_some_images(pairs, tmp_path, capsys):
    arguments = ["compare", "gamma", "--data", str(pairs), "--count", "2"]
    also = ("fsim-yiq-luma", "ssim-3d", "brightness")
    assert main([*arguments, *(word for name in also for word in ("--protocol", name))]) == 0
    found = read_rows(tmp_path / "mine-compared.csv")
    assert {line["protocol"] for line in found} >= {PSNR, *also}
    assert {line["n"] for line in found} == {"2"}
    header = capsys.readouterr().out.splitlines()[1]
    titles = ["PSNR, dB ↑", "SSIM ↑", "PSNR, GT-mean, dB ↑", "FSIM ↑", "ssim-3d ↑", "brightness"]
    assert re.split(" {2,}", header)[4:] == [*titles, "to the first"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gamma", "SET"], ["to compare on its images; as images of another program it needs"]),
        (["gamma", "--data", "lol"], ["say where it is: --data lol=FOLDER"]),
        (["gamma", "--data", "loll"], ["no data set 'loll'; did you mean 'lol'?"]),
        (["gamma", "--data", "lol=nowhere"], ["lol: nowhere is no folder"]),
        (["gamma", "--data", "my_set=theirs"], ["given without a name: theirs"]),
        (["gamma", "--data", "SET", "--protocol", "seg-miou"], ["no protocol of images"]),
        (["gamma", "--data", "SET", "--protocol", "psnrr"], ["no protocol of images"]),
        (["gamma", "a.jpg", "--data", "SET"], ["a.jpg: on a set, name methods only"]),
        (["gamma", "--recognizer", "mtcnn", "--data", "SET"], ["--recognizer is of photographs"]),
        (["gamma", "--strength", "0.5", "--data", "SET"], ["--strength is of photographs"]),
        (["gamma", "--no-gate", "--data", "SET"], ["--no-gate is of photographs"]),
        (["gamma", "--count", "-1", "--data", "SET"], ["--count -1: it must not be negative"]),
        (["gamma", "--split", "val", "--data", "SET"], ["mine: it is one set, without splits"]),
        (["identity", "--data", "SET"], ["name a method to compare"]),
        (["theirs", "again=theirs", "theirs=theirs", "--data", "SET"], ["have one title"]),
        (["absent.pth", "--data", "SET"], ["no file of weights at absent.pth"]),
        (["zero_dce", "--data", "SET"], ["zero_dce needs --weights"]),
        (["gamma", "--html", "a.png", "--data", "SET"], ["name a file that ends in .html"]),
    ],
)
def test_wrong_use_is_one_line(pairs, refused, tmp_path, words, expected):
    refused(["compare", *(str(pairs) if word == "SET" else word for word in words)], *expected)
    assert not list(tmp_path.glob("*.html")) and not list(tmp_path.glob("*.csv"))


def test_a_method_that_fails_stops_no_other(pairs, tmp_path, capsys):
    write_image(tmp_path / "wrong" / "0.png", seeded(3, 5, 5))
    assert main(["compare", "wrong", "gamma", "--data", str(pairs)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "0.png is 5 × 5, but 0.png is 24 × 30" in said.err
    assert {line["method"] for line in read_rows(tmp_path / "mine-compared.csv")} == {
        "input", "gamma 1/2.2",
    }  # fmt: skip


def test_a_checkpoint_is_compared_by_its_file(pairs, tmp_path):
    pytest.importorskip("spandrel", reason="the extra [spandrel] is not installed")
    from spandrel.architectures.RetinexFormer import RetinexFormer

    from llie_core.engine.runs import file_hash

    small = RetinexFormer(n_feat=8, stage=1, num_blocks=[1, 1, 1])
    torch.save({"params": small.state_dict()}, tmp_path / "LOL.pth")
    assert main(["compare", "LOL.pth", "again=LOL.pth", "--data", str(pairs)]) == 0
    found = [x for x in read_rows(tmp_path / "mine-compared.csv") if x["protocol"] == PSNR]
    own = {line["method"]: line for line in found if line["weights"] == "file"}
    assert set(own) == {"LOL.pth", "again, LOL.pth"}
    assert len({line["mean"] for line in own.values()}) == 1
    assert {x["sha256"] for x in own.values()} == {file_hash(tmp_path / "LOL.pth")}
    write_image(tmp_path / "a.png", seeded(3, 16, 20))
    assert main(["compare", "LOL.pth", "a.png"]) == 0
    assert "<figcaption>LOL.pth</figcaption>" in (tmp_path / "a-compared.html").read_text()


def test_parts_of_pairs_in_a_folder_are_named_and_never_taken_for_images(pairs, tmp_path):
    parts = tmp_path / "made"
    parts.mkdir()
    pairs.rename(parts / "train")
    with pytest.raises(ValueError, match="made: pairs lie in train; name one by --split"):
        open_set(str(parts))
    with pytest.raises(ValueError, match=r"made: pairs lie in train$"):
        open_set(str(parts), "test")
    name, data = open_set(str(parts), "train")
    assert name == "made" and len(data) == 3 and "target" in data[0]


def test_the_order_of_lightness_is_measured_against_the_low_light_image(tmp_path):
    for number in range(2):
        write_image(tmp_path / "mine" / "low" / f"{number}.png", seeded(3, 60, 70, seed=number))
        write_image(tmp_path / "mine" / "high" / f"{number}.png", seeded(3, 60, 70, seed=9))
    assert main(["compare", "gamma", "--data", "mine", "--protocol", "loe-imresize"]) == 0
    found = {x["method"]: x for x in read_rows(tmp_path / "mine-compared.csv")
             if x["protocol"] == "loe-imresize"}  # fmt: skip
    assert float(found["input"]["mean"]) == 0 and int(found["gamma 1/2.2"]["n"]) == 2


def test_sets_by_their_folders(pairs, tmp_path):
    official = tmp_path / "LOL" / "eval15"
    official.parent.mkdir()
    pairs.rename(official)
    for given in ("lol=LOL", "LOL"):
        name, data = open_set(given)
        assert name == "lol" and len(data) == 3
    name, data = open_set("builtin-photos")
    assert name == "builtin-photos" and "target" in data[0]
    assert PSNR in protocols_for(data)[0]
