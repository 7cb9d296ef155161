"""What the reports of papers 3, 4 and 5 share: regions, errors, histograms, cost, whose numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from llie_core.recipes.paired_report import (
    Cost,
    Example,
    colour_share,
    colour_shares,
    comparison,
    cost_table,
    costs,
    detailed_region,
    details,
    error_maps,
    gradient,
    in_lines,
)
from llie_core.reporting.scores import Score
from llie_core.reporting.tables import conditions, published_beside_measured

SCORE = Score(
    run="neid/builtin-photos/quick/neid/seed0", method="neid", variant="", recognizer="",
    dataset="builtin-photos", split="test", subset="all", metric="psnr", unit="dB",
    direction="higher", value=17.126, n=16, seed=0, protocol="psnr-rgb-float", profile="quick",
    device="CPU (1 threads)", precision="float32", steps_done=150, steps_planned=117_500,
    weights="trained here",
)  # fmt: skip


def example(target=True):
    """A grey picture of 40×60 with a chequerboard of 10×10 at row 24, column 45."""
    picture = torch.full((3, 40, 60), 0.5)
    picture[:, 24:34, 45:55] = (torch.arange(10)[:, None] + torch.arange(10)) % 2.0
    dark = 0.1 * picture
    return Example("one", dark, {"identity": dark, "neid": picture}, picture if target else None)


# Pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [True, False])
def test_the_region_lies_where_most_detail_is(target):
    x0, y0, x1, y1 = detailed_region(example(target), side=0.25)
    assert (x1 - x0, y1 - y0) == (10, 10)
    assert abs(x0 - 45) <= 1 and abs(y0 - 24) <= 1


def test_a_picture_without_detail_has_a_region_inside_it():
    flat = Example("flat", torch.zeros(3, 5, 7), {}, torch.ones(3, 5, 7))
    assert detailed_region(flat) == (0, 0, 1, 1)


def test_pictures_stand_over_their_parts_in_lines():
    one = example()
    lines = comparison(one, columns=2)
    assert [[panel.label for panel in line] for line in lines] == [
        ["identity", "neid"], ["", ""], ["ground truth"], [""],
    ]  # fmt: skip
    x0, y0, x1, y1 = detailed_region(one)
    assert torch.equal(lines[1][1].image, one.target[:, y0:y1, x0:x1])
    assert lines[0][0].regions.tolist() == [[x0, y0, x1, y1]]
    assert [panel.label for panel in details(one)] == ["identity", "neid", "ground truth"]
    assert torch.equal(details(one)[1].image, lines[1][1].image)
    assert [panel.label for panel in details(example(target=False))] == ["identity", "neid"]


def test_items_in_lines():
    assert in_lines([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert in_lines([], 2) == []


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
    assert set(colour_shares(example())) == {"identity", "neid"}


# Cost ------------------------------------------------------------------------------------------


def test_costs_are_counted_at_every_size_and_timed_where_asked():
    models = {"wide": nn.Conv2d(3, 4, 1), "thin": nn.Conv2d(3, 1, 1)}
    found = costs(models, ((8, 8), (16, 16)), "cpu", timed=((8, 8),))
    assert [(c.label, c.size) for c in found] == [
        ("wide", (8, 8)), ("thin", (8, 8)), ("wide", (16, 16)), ("thin", (16, 16)),
    ]  # fmt: skip
    assert [c.macs for c in found] == [12 * 64, 3 * 64, 12 * 256, 3 * 256]
    assert [c.milliseconds is None for c in found] == [False, False, True, True]
    assert found[1].milliseconds > 0 and found[1].parameters == 4
    assert found[1].memory == 4 * (4 + 3 * 64 + 64)


def test_ratios_are_to_the_row_named_at_the_same_size():
    found = [
        Cost("full", (4, 6), 2_000_000, 8_000_000_000, 2**22, 10.0),
        Cost("half", (4, 6), 3_000_000, 2_000_000_000, 2**20, 4.0),
        Cost("full", (8, 6), 2_000_000, 16_000_000_000, 2**23, None),
    ]
    table = cost_table(found, "full", "not run (why)", "cpu", "Cost")
    assert table.rows == [
        ["6×4", "full", "2.00 (1.00)", "8.0 (1.00)", "4 (1.00)", "10 (1.00)"],
        ["6×4", "half", "3.00 (1.50)", "2.0 (0.25)", "1 (0.25)", "4 (0.40)"],
        ["6×8", "full", "2.00 (1.00)", "16.0 (1.00)", "8 (1.00)", "not run (why)"],
    ]
    assert all(len(row) == len(table.header) for row in table.rows)


# Whose numbers stand in a published table --------------------------------------------------------


def cells_of(table, label):
    return next(row for row in table.rows if row[0] == label)[1:]


def test_built_in_pairs_fill_the_columns_of_the_set_they_stand_for():
    options = {"caption": "Table 2", "decimals": 2}
    shown = published_beside_measured("neid", "2", [SCORE], stands_for="lol", **options)
    assert cells_of(shown, "LE + DR + FF") == ["22.83", "17.13"]
    assert cells_of(shown, "LE") == ["20.78", "not run"]
    assert shown.note.startswith("Published: lol. Here: builtin-photos (test split)")
    other = published_beside_measured("neid", "2", [SCORE], stands_for="dicm", **options)
    assert cells_of(other, "LE + DR + FF") == ["22.83", "not run"]
    assert "nothing was measured" in other.note


@pytest.mark.parametrize(
    "dataset, cell", [("lol", "17.13"), ("mit-adobe-fivek", "not run"), ("dicm", "not run")]
)
def test_another_set_never_stands_for_the_papers(dataset, cell):
    scores = [replace(SCORE, dataset=dataset)]
    table = published_beside_measured("neid", "2", scores, "", decimals=2, stands_for="lol")
    assert cells_of(table, "LE + DR + FF") == ["22.83", cell]


def test_each_score_goes_to_the_column_of_its_own_set():
    scores = [
        replace(SCORE, method="he", metric="niqe", unit="index", dataset=name, value=value)
        for name, value in (("dicm", 3.0), ("lime", 4.0))
    ]
    table = published_beside_measured("jcrnet", "II", scores, "", decimals=1, stands_for="lol")
    measured = [cell for row in table.rows for cell in row[2::2] if cell not in ("not run", "–")]
    assert sorted(measured) == ["3.0", "4.0"]


def test_costs_are_of_no_data_set():
    score = replace(SCORE, method="jcrnet", metric="parameters", unit="count", value=2_010_000)
    table = published_beside_measured("jcrnet", "VII", [score], "", decimals=2, stands_for="lol")
    assert "2.01" in [cell for row in table.rows for cell in row[2::2]]
    assert table.note.startswith("Published: no data set is named.")


def test_a_table_may_be_flipped_and_take_the_places_of_its_units():
    scores = [SCORE, replace(SCORE, metric="ssim", unit="index", value=0.71239)]
    table = published_beside_measured(
        "neid", "1", scores, "Table 1", decimals=None, stands_for="lol", flip=True
    )
    assert table.header == [
        "", "PSNR↑, published", "PSNR↑, here", "SSIM↑, published", "SSIM↑, here",
    ]  # fmt: skip
    assert len(table.rows) == 11 and table.rows[0][0] == "BIMEF [25]"
    assert cells_of(table, "Ours") == ["22.83", "17.13", "0.78", "0.712"]


def test_conditions_give_the_span_of_counts():
    scores = [replace(SCORE, metric="latency", n=n) for n in (5, 800, 22)]
    assert "n = 16 (psnr all); n = 5 to 800 (latency all); " in conditions([SCORE, *scores])
