"""Maps, histograms, line charts and marked regions: what is drawn, and what the alt text says."""

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

from llie_core.reporting import figures


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would display: a list of (figure, alt text)."""
    displayed = []
    monkeypatch.setattr(
        figures,
        "display",
        lambda figure, metadata: displayed.append((figure, metadata["image/png"]["alt"])),
    )
    return displayed


def test_regions_are_marked_and_are_no_detections(shown):
    regions = torch.tensor([[2, 3, 6, 8]])
    figures.pictures([[figures.Panel("dark", torch.rand(3, 12, 16), regions=regions)]], "Fig. 5")
    ((figure, alt),) = shown
    (mark,) = figure.axes[0].patches
    assert alt == "Fig. 5."
    assert (mark.get_xy(), mark.get_width(), mark.get_height()) == ((1.5, 2.5), 4, 5)


def test_maps_share_one_scale_and_tell_their_means(shown):
    maps = [figures.Map("gamma", torch.full((4, 6), 0.25)), figures.Map("neid", torch.zeros(4, 6))]
    figures.heat_maps([maps, maps[:1]], 0.3, "mean |error|", "Errors")
    ((figure, alt),) = shown
    assert alt == (
        "Errors. mean |error|, mean over the picture: gamma 0.250; neid 0.000; gamma 0.250"
    )
    drawn = [image for axis in figure.axes[:4] for image in axis.images]
    assert len(drawn) == 3 and {image.get_clim() for image in drawn} == {(0, 0.3)}
    assert figure.axes[0].get_title() == "gamma\nmean 0.250"
    assert [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()] == ["mean |error|"]


def test_histograms_stand_beside_the_reference(shown):
    reference = torch.zeros(3, 8)
    reference[:, 4] = 1
    half = torch.zeros(3, 8)
    half[:, 4] = half[:, 0] = 0.5
    shares = {"dark": torch.eye(8)[:1].repeat(3, 1), "neid": half, "same": reference}
    figures.histograms(shares, reference, "Colours")
    ((figure, alt),) = shown
    assert alt == "Colours. Shared with the reference's histogram: dark 0%; neid 50%; same 100%"
    assert [axis.get_title() for axis in figure.axes] == ["dark", "neid", "same"]
    for axis in figure.axes:
        assert [line.get_linestyle() for line in axis.lines] == ["--"] * 3
        assert len(axis.collections) == 3


def test_histograms_of_grey_fill_more_lines_than_one(shown):
    grey = torch.full((1, 4), 0.25)
    figures.histograms({str(i): grey for i in range(5)}, grey, "Luma")
    axes = shown[0][0].axes
    assert len(axes) == 8 and [len(axis.lines) for axis in axes] == [1] * 5 + [0] * 3


def test_line_charts_have_one_line_a_series_and_tell_the_ends(shown):
    series = {"neid": [(50, 11.5), (100, 14.0)], "LE": [(50, 10.0)], "not trained": []}
    figures.line_chart(series, "step", "PSNR, dB", "Validation")
    ((figure, alt),) = shown
    assert alt == "Validation. PSNR, dB by step: neid 14 at 100; LE 10 at 50"
    (axis,) = figure.axes
    assert [line.get_xdata().tolist() for line in axis.lines[:2]] == [[50, 100], [50]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("step", "PSNR, dB")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["neid", "LE"]
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "linear")


def test_line_charts_may_be_logarithmic(shown):
    figures.line_chart({"a": [(1, 10), (10, 1000)]}, "pixels", "MAC", "Cost", log=True)
    (axis,) = shown[0][0].axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
