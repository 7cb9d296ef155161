"""Images, maps, histograms, charts: what is drawn, and what the alt text says."""

import base64
import io
import re
from dataclasses import replace

import matplotlib
import pytest
import torch
from matplotlib import pyplot
from PIL import Image

matplotlib.use("Agg")

from made import a_score

from llie_core.reporting import figures
from llie_core.reporting.published import table as published_table


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


def panel(label, boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return figures.Panel(label, torch.rand(3, 16, 16) * 1.2, boxes, torch.ones(len(boxes)))


def test_images_draw_every_box_and_count_them_in_the_alt_text(shown):
    row = [panel("dark", []), panel("joint", [(1, 1, 5, 5), (8, 8, 14, 14)])]
    figures.images([row, row[:1]], "Fig. 4.1: detections")
    ((figure, alt),) = shown
    assert alt == "Fig. 4.1: detections. joint: 2 detections"
    assert [axis.get_title() for axis in figure.axes] == ["dark", "joint", "dark", ""]
    assert [len(axis.patches) for axis in figure.axes] == [0, 2, 0, 0]
    assert not any(axis.axison for axis in figure.axes)
    assert pyplot.get_fignums() == []  # closed, or a long report keeps every figure


def test_bodies_are_drawn_limb_by_limb_within_the_image(shown):
    joints = torch.tensor([[[2.0, 2.0], [8.0, 40.0], [5.0, 5.0]]])
    body = figures.Panel("pose", torch.rand(3, 16, 12), joints=joints, limbs=((0, 1), (1, 2)))
    figures.images([[body]], "Fig. 2")
    (axis,) = shown[0][0].axes
    assert len(axis.lines) == 2
    assert axis.get_xlim() == (-0.5, 11.5) and axis.get_ylim() == (15.5, -0.5)


def test_training_curves_have_one_axis_a_term_and_one_line_a_run(shown):
    def rows(**terms):
        return [{"step": float(i), **{k: v + i for k, v in terms.items()}} for i in range(40)]

    logs = {"1:0": rows(total=2.0, up=1.0), "0:1": rows(total=1.0, down=1.0), "unfinished": []}
    figures.training_curves(logs, ["total", "up", "down", "absent"], "Training curves")
    ((figure, alt),) = shown
    assert alt == "Training curves"
    assert [axis.get_title() for axis in figure.axes] == ["total", "up", "down"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 1, 1]
    # A window of two of the 40 values 2, 3, 4, …: 2, 2.5, 3.5, 4.5, …
    assert figure.axes[0].lines[0].get_ydata()[:4].tolist() == pytest.approx([2, 2.5, 3.5, 4.5])


def test_regions_are_marked_and_are_no_detections(shown):
    regions = torch.tensor([[2, 3, 6, 8]])
    figures.images([[figures.Panel("dark", torch.rand(3, 12, 16), regions=regions)]], "Fig. 5")
    ((figure, alt),) = shown
    (mark,) = figure.axes[0].patches
    assert alt == "Fig. 5."
    assert (mark.get_xy(), mark.get_width(), mark.get_height()) == ((1.5, 2.5), 4, 5)


def test_maps_share_one_scale_and_tell_their_means(shown):
    maps = [figures.Map("gamma", torch.full((4, 6), 0.25)), figures.Map("neid", torch.zeros(4, 6))]
    figures.heat_maps([maps, maps[:1]], 0.3, "mean |error|", "Errors")
    ((figure, alt),) = shown
    assert alt == (
        "Errors. mean |error|, mean over the image: gamma 0.250; neid 0.000; gamma 0.250"
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
    legend = axis.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["neid", "LE"]
    figure.draw_without_rendering()  # it covers no line
    assert legend.get_window_extent().x0 >= axis.get_window_extent().x1 - 1
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "linear")


def test_line_charts_may_be_logarithmic(shown):
    figures.line_chart({"a": [(1, 10), (10, 1000)]}, "pixels", "MAC", "Cost", log=True)
    (axis,) = shown[0][0].axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_a_run_has_one_colour_in_every_axis_of_the_training_curves(shown):
    both, alone = [{"total": 2.0, "down": 1.0}] * 3, [{"total": 1.0}] * 3
    figures.training_curves({"alone": alone, "joint": both}, ["total", "down", "absent"], "curves")
    ((figure, _),) = shown
    total, down = figure.axes
    assert [len(axis.lines) for axis in (total, down)] == [2, 1]
    assert down.lines[0].get_color() == total.lines[1].get_color() != total.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["alone", "joint"]


# Comparison of rows ----------------------------------------------------------------------------

SCORE = a_score()


def test_comparisons_have_a_line_a_row_with_seeds_mean_and_published_value(shown):
    scores = [
        replace(SCORE, label="gamma", value=16.0), SCORE, replace(SCORE, value=19.0, seed=1),
        replace(SCORE, metric="ssim", protocol="ssim-valid-gaussian"),
    ]  # fmt: skip
    printed = published_table("neid", "2")
    figures.comparison_chart(scores, "psnr", published=printed, title="PSNR", titles={"neid": "N"})
    ((figure, alt),) = shown
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["N", "gamma 1/2.2"]
    means, published = axis.lines
    assert means.get_xdata().tolist() == [18, 16] and means.get_marker() == "|"
    assert (published.get_xdata().tolist(), published.get_ydata().tolist()) == ([22.83], [0])
    assert published.get_marker() != "o"
    (seeds,) = axis.collections
    assert sorted(map(tuple, seeds.get_offsets().tolist())) == [(16, 1), (17, 0), (19, 0)]
    assert axis.get_xlabel() == "PSNR, dB (higher is better)"
    assert alt.startswith(
        "PSNR. PSNR: N 18.000 ± 1.414; gamma 1/2.2 16.000. published (lol): N 22.830. "
        "builtin-photos (test split); profile quick"
    )


def test_scores_of_a_whole_set_bring_their_interval(shown):
    figures.comparison_chart([replace(SCORE, low=16.0, high=18.5)], "psnr")
    ((figure, _),) = shown
    _, ends = figure.axes[0].collections
    assert ends.get_segments()[0].tolist() == [[16.0, 0], [18.5, 0]]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["mean", "95 % interval over images"]


def test_the_best_row_is_first_whatever_the_direction(shown):
    scores = [replace(SCORE, label=label, metric="niqe", protocol="niqe-live", value=value)
              for label, value in (("gamma", 5.0), ("clahe", 3.0), ("neid", 4.0))]  # fmt: skip
    figures.comparison_chart(scores, "niqe")
    axis = shown[0][0].axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["CLAHE", "NEID", "gamma 1/2.2"]
    assert axis.get_xlabel() == "NIQE (lower is better)"


def test_what_has_no_better_end_is_charted_without_one(shown):
    scores = [replace(SCORE, metric="brightness", protocol="brightness", value=0.3, label=label)
              for label in ("identity", "neid")]  # fmt: skip
    figures.comparison_chart(scores, "brightness")
    assert shown[0][0].axes[0].get_xlabel() == "brightness"


def test_published_percents_stand_at_the_fractions_of_scores(shown):
    cell = published_table("recognition", "3")[0]
    score = replace(SCORE, label=cell.label, metric=cell.metric, subset=cell.subset, value=0.4,
                    protocol="seg-miou")  # fmt: skip
    figures.comparison_chart([score], cell.metric, cell.subset, published=[cell])
    (x,) = shown[0][0].axes[0].lines[1].get_xdata()
    assert cell.unit == "percent" and x == pytest.approx(cell.value / 100)


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no score of ssim on all to chart"):
        figures.comparison_chart([SCORE], "ssim")


def test_compared_images_are_small_named_and_one_is_the_main_one(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", lambda shown: pages.append(shown.data))
    row = [panel("<dark>", []), panel("joint", [(1, 1, 5, 5)]), panel("ground truth", [])]
    figures.compare(row, "Test image 1")
    figures.compare(row, "Test image 1", "ground truth")
    page, other = pages
    assert re.findall(r'alt="([^"]*)" data-main', other) == ["Test image 1, ground truth"]
    assert re.findall(r'alt="(.*?)"( data-main)?', page) == [
        ("Test image 1, &lt;dark&gt;", ""), ("Test image 1, joint: 1 detections", " data-main"),
        ("Test image 1, ground truth", ""),
    ]  # fmt: skip
    for source in re.findall(r'base64,([^"]*)"', page):
        image = Image.open(io.BytesIO(base64.b64decode(source)))
        assert image.size == (432, 432) and image.format == "JPEG"
    assert pyplot.get_fignums() == []


def test_what_there_is_nothing_of_is_said_in_words(monkeypatch):
    said = []
    monkeypatch.setattr(figures, "display", lambda one: said.append(one.data))
    figures.images([], "Fig. 7")
    figures.training_curves({"IAT": []}, ["total"], "Training curves")
    assert said == [
        "<p>Fig. 7: none in this run.</p>",
        "<p>Training curves: nothing was trained in this run.</p>",
    ]
