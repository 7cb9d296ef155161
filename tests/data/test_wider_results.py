"""Detections in the official text format: what is written, and what is read back."""

import pytest
import torch

from llie_core.data.wider_results import read_detections, write_detections
from llie_core.metrics.faces import wider_ap

NAME = "0--Parade/0_Parade_marchingband_1_20.jpg"


def found(*faces):
    values = torch.tensor(faces, dtype=torch.float32).reshape(-1, 5)
    return {"boxes": values[:, :4], "scores": values[:, 4]}


def test_a_file_has_name_number_and_faces_best_first(tmp_path):
    write_detections(tmp_path, [NAME], [found((1, 2, 4, 8, 0.25), (10, 20, 40.5, 60, 0.75))])
    text = (tmp_path / "0--Parade/0_Parade_marchingband_1_20.txt").read_text()
    assert text == "0_Parade_marchingband_1_20\n2\n10 20 30.5 40 0.75\n1 2 3 6 0.25\n"


def test_names_may_hold_dots(tmp_path):
    name = "1--Event/a.b.jpg"
    write_detections(tmp_path, [name], [found((1, 2, 4, 8, 0.25))])
    assert (tmp_path / "1--Event" / "a.b.txt").is_file()
    assert len(read_detections(tmp_path, [name])[0]["scores"]) == 1


def test_an_image_without_faces_has_a_file(tmp_path):
    write_detections(tmp_path, [NAME], [found()])
    (read,) = read_detections(tmp_path, [NAME])
    assert read["boxes"].shape == (0, 4) and read["scores"].shape == (0,)


def test_what_is_read_back_has_the_same_ap(tmp_path):
    generator = torch.Generator().manual_seed(0)
    names = [f"1--Event/{i}.jpg" for i in range(12)]
    truth, predictions = [], []
    for _ in names:
        corner = 400 * torch.rand(6, 2, generator=generator)
        boxes = torch.cat([corner, corner + 8 + 60 * torch.rand(6, 2, generator=generator)], 1)
        truth.append(boxes)
        moved = boxes + 6 * torch.randn(6, 4, generator=generator)
        predictions.append({"boxes": moved, "scores": torch.rand(6, generator=generator)})
    keep = [torch.ones(6, dtype=torch.bool) for _ in names]
    write_detections(tmp_path, names, predictions)
    read = read_detections(tmp_path, names)
    before = wider_ap(predictions, truth, keep)
    assert 0.05 < before < 0.95
    assert wider_ap(read, truth, keep) == pytest.approx(before, abs=1e-6)
    for given, back in zip(predictions, read, strict=True):
        order = given["scores"].argsort(descending=True)
        torch.testing.assert_close(back["boxes"].float(), given["boxes"][order], atol=1e-5, rtol=0)
        assert torch.equal(back["scores"].float(), given["scores"][order])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line should name the image, 0_Parade_marchingband_1_20"),
        ("another\n0\n", "its first line should name the image"),
        ("{stem}\n2\n1 2 3 4 .5\n", "2 faces announced, 1 found"),
        ("{stem}\n1\n1 2 3 4\n", "line 3: a face is x y w h score"),
        ("{stem}\n1\n1 2 x 4 .5\n", "not a number"),
        ("{stem}\nmany\n", "not a number"),
    ],
)
def test_what_is_not_of_the_format_is_named(tmp_path, text, message):
    path = tmp_path / "0--Parade" / "0_Parade_marchingband_1_20.txt"
    path.parent.mkdir()
    path.write_text(text.format(stem=path.stem))
    with pytest.raises(ValueError, match=message) as error:
        read_detections(tmp_path, [NAME])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_image_that_was_never_looked_at_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no detections of this image"):
        read_detections(tmp_path, [NAME])
