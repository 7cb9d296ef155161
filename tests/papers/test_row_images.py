"""Images of rows: regions, errors, histograms, lines of panels."""

import pytest
import torch

from llie_core.papers.images import (
    Example,
    colour_share,
    colour_shares,
    comparison,
    detailed_region,
    details,
    error_maps,
    gradient,
    in_lines,
    pair_lines,
)


def example(target=True):
    """A grey image of 40×60 with a chequerboard of 10×10 at row 24, column 45."""
    image = torch.full((3, 40, 60), 0.5)
    image[:, 24:34, 45:55] = (torch.arange(10)[:, None] + torch.arange(10)) % 2.0
    dark = 0.1 * image
    outputs = {"identity": dark, "neid": image.clone()}
    return Example("one", dark, outputs, image if target else None, {"neid": "NEID"})


@pytest.mark.parametrize("target", [True, False])
def test_the_region_lies_where_most_detail_is(target):
    x0, y0, x1, y1 = detailed_region(example(target), side=0.25)
    assert (x1 - x0, y1 - y0) == (10, 10)
    assert abs(x0 - 45) <= 1 and abs(y0 - 24) <= 1


def test_an_image_without_detail_has_a_region_inside_it():
    grey = Example("grey", torch.zeros(3, 5, 7), {}, torch.ones(3, 5, 7))
    assert detailed_region(grey) == (0, 0, 1, 1)


def test_images_stand_over_their_parts_under_the_titles_of_the_rows():
    one = example()
    lines = comparison(one, columns=2)
    assert [[panel.label for panel in line] for line in lines] == [
        ["identity", "NEID"], ["", ""], ["ground truth"], [""],
    ]  # fmt: skip
    x0, y0, x1, y1 = detailed_region(one)
    assert torch.equal(lines[1][1].image, one.target[:, y0:y1, x0:x1])
    assert lines[0][0].regions.tolist() == [[x0, y0, x1, y1]]
    assert [panel.label for panel in details(one)] == ["identity", "NEID", "ground truth"]
    assert torch.equal(details(one)[1].image, lines[1][1].image)
    assert [panel.label for panel in details(example(target=False))] == ["identity", "NEID"]


@pytest.mark.parametrize("count, lengths", [(0, []), (5, [5]), (7, [4, 3]), (13, [5, 5, 3])])
def test_lines_are_few_and_even(count, lengths):
    lines = in_lines(list(range(count)))
    assert [len(line) for line in lines] == lengths
    assert [item for line in lines for item in line] == list(range(count))


def test_pairs_stand_one_above_the_other():
    data = [{"name": str(i), "image": torch.zeros(3, 2, 2), "target": torch.ones(3, 2, 2)}
            for i in range(5)]  # fmt: skip
    low, normal = pair_lines(data, 3)
    assert [panel.label for panel in low] == ["0", "2", "4"]
    assert all(panel.image.max() == 0 for panel in low)
    assert all(panel.image.min() == 1 for panel in normal)


def test_gradient_of_a_ramp_is_its_slope():
    ramp = torch.arange(6.0)[None, None, None] * 0.3 + torch.arange(5.0)[:, None] * 0.4
    lengths = gradient(ramp.expand(1, 3, 5, 6))
    torch.testing.assert_close(lengths[..., :-1, :-1], torch.full((1, 3, 4, 5), 0.5))
    assert lengths.shape == (1, 3, 5, 6) and lengths[..., -1, -1].max() == 0


def test_errors_are_means_over_the_channels():
    target = torch.zeros(3, 2, 2)
    output = torch.stack([torch.full((2, 2), v) for v in (0.1, -0.2, 0.6)])
    (one,) = error_maps(Example("x", target, {"neid": output}, target))
    assert one.label == "neid"
    torch.testing.assert_close(one.values, torch.full((2, 2), 0.3))


def test_histograms_count_every_pixel_once():
    image = torch.tensor([0.0, 0.24, 0.26, 1.0]).expand(3, 1, 4).clone()
    image[2] = 1.5  # what is outside [0, 1] counts as its end
    share = colour_share(image, bins=4)
    assert share.tolist() == [[0.5, 0.25, 0, 0.25]] * 2 + [[0, 0, 0, 1]]
    luma = colour_share(torch.full((3, 2, 2), 0.6), bins=4, luma=True)
    assert luma.tolist() == [[0, 0, 1, 0]]
    assert set(colour_shares(example())) == {"identity", "NEID"}


def test_the_ground_truth_is_not_shown_twice_where_a_row_gives_it():
    truth = torch.rand(3, 4, 4)
    dark = truth / 9
    shown = {"identity": dark, "original": truth, "copy": truth.clone()}
    one = Example("1", dark, shown, truth, {"original": "normal light"})
    assert list(one.all()) == ["identity", "copy", "ground truth"]
    assert list(one.shown()) == ["identity", "normal light", "copy"]
