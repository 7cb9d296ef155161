"""The field's published numbers beside the measured rows."""

import itertools

import matplotlib
import pytest

matplotlib.use("Agg")

from llie_core.reporting import field, field_chart
from llie_core.reporting.field import (
    DATASETS,
    GT_MEAN,
    field_table,
    load_field,
    sources,
)


def cell(source, title, gt_mean, dataset, metric):
    (row,) = [r for r in load_field() if (r.source, r.title, r.gt_mean) == (source, title, gt_mean)]
    return row.cells.get((dataset, metric))


def test_every_row_has_a_described_source_and_numbers_within_reason():
    assert {row.source for row in load_field()} | {field.HERE} == set(sources())
    assert all({"cite", "place", "protocol"} <= set(about) for about in sources().values())
    for row in load_field():
        assert row.cells and row.gt_mean in GT_MEAN, row
        assert row.parameters is None or 0 < row.parameters < 1000
        assert not row.work or ("work" in sources()[row.source] and float(row.work) > 0)
        for dataset, metric in row.cells:
            low, high = (5, 35) if metric == "psnr" else (0.3, 1)
            assert low < row.value(dataset, metric) < high, row


def test_no_row_stands_twice():
    keys = [(row.source, row.title, row.gt_mean) for row in load_field()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("place", "printed"),
    [
        (("retinexformer", "Retinexformer", "no", "lol", "psnr"), "25.16"),
        (("retinexformer", "MIRNet", "no", "lol-v2-syn", "ssim"), "0.876"),
        (("retinexformer", "KinD", "no", "lol-v2-real", "psnr"), "14.74"),
        (("retinexformer-readme", "Retinexformer", "yes", "lol-v2-real", "psnr"), "27.71"),
        (("hvi-cidnet", "HVI-CIDNet, best SSIM", "yes", "lol-v2-real", "psnr"), "28.3926"),
        (("hvi-cidnet", "HVI-CIDNet, no perceptual loss", "no", "lol", "psnr"), "23.5000"),
        (("cpga-net", "CPGA-Net++", "no", "lol-v2-syn", "psnr"), "24.31"),
        (("darkir", "DarkIR-m", "no", "lol-v2-real", "ssim"), "0.880"),
        (("lyt-net", "LYT-Net, TensorFlow", "yes", "lol-v2-syn", "psnr"), "29.39"),
        (("reti-diff", "Reti-Diff", "not stated", "lol-v2-syn", "ssim"), "0.951"),
        (("rerun", "SCI, medium", "no", "lol", "psnr"), "14.85"),
        (("rerun", "FLOL, trained on LOL-v2-real", "no", "lol-v2-real", "psnr"), None),
    ],
)
def test_known_cells(place, printed):
    assert cell(*place) == printed


def test_numbers_with_and_without_gt_mean_stand_in_tables_of_their_own():
    tables = {key: field_table(key) for key in GT_MEAN}
    named = {key: {row[0] for row in table.rows if row[1] != field.HERE}
             for key, table in tables.items()}  # fmt: skip
    assert "LYT-Net, PyTorch" in named["yes"] - named["no"] - named["not stated"]
    assert "LLFlow" in named["not stated"] - named["no"] - named["yes"]
    published = [(row[0], row[1]) for table in tables.values() for row in table.rows
                 if row[1] != field.HERE]  # fmt: skip
    assert len(published) == len(load_field())
    with pytest.raises(ValueError, match="gt_mean='maybe'"):
        field_table("maybe")


def test_measured_rows_carry_size_work_and_interval():
    rows = {row[0]: row for row in field_table("no").rows if row[1] == field.HERE}
    assert rows["NEID"][2:4] == ["8.08228", "11.9"] and "[" in rows["NEID"][4]
    assert rows["MF"][2:4] == ["0", "–"]
    assert rows["MF"][6:] == ["–"] * 4  # LOL-v2 was not measured
    assert not [row for row in field_table("not stated").rows if row[1] == field.HERE]
    note = field_table("no").note
    assert "15 images decide little" in note and "± 1." in note


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_chart_has_a_mark_for_each_kind(dataset, monkeypatch):
    drawn = []
    monkeypatch.setattr(field_chart, "show", lambda figure, alt: drawn.append((figure, alt)))
    field_chart.cost_chart("no", dataset)
    ((figure, alt),) = drawn
    (axis,) = figure.axes
    handles, labels = axis.get_legend_handles_labels()
    marks = {
        name: handle.get_marker()
        for handle, name in zip(handles, labels, strict=True)
        if name in field_chart.MARKS
    }
    assert len(set(marks.values())) == len(marks)
    assert field_chart.PUBLISHED in marks and (field_chart.TRAINED in marks) == (dataset == "lol")
    assert axis.get_xscale() == "log"
    assert "Retinexformer" in alt and "LYT-Net" not in alt  # GT-mean only
    boxes = [text.get_window_extent() for text in axis.texts]
    pairs = list(itertools.combinations(boxes, 2))
    assert len(pairs) > 100 and not any(a.overlaps(b) for a, b in pairs)
    matplotlib.pyplot.close(figure)
