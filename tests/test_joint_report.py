"""Paper 2's tables over two detectors, on scores made up for the purpose."""

import pytest

from llie_core.recipes import joint_report
from llie_core.recipes.face_scores import HEIGHTS, SUBSETS, height_name
from llie_core.recipes.joint_rows import read_by
from llie_core.reporting.scores import Score

READERS = ("mtcnn", "tinaface")
VARIANTS = ("", "1:0", "2:1", "2:1@tinaface")


def score(label, reader, subset, value, metric="ap", n=10):
    method, _, variant = label.partition("+")
    return Score(
        run="r", method=method, variant=variant, recognizer=reader, dataset="builtin-faces",
        split="test", subset=subset, metric=metric, unit="fraction", direction="higher",
        value=value, n=n, seed=0, protocol="face-ap-height", profile="quick", device="CPU",
        precision="float32", steps_done=0, steps_planned=0, weights="none",
    )  # fmt: skip


def value_of(label, reader, subset):
    """Another number for every cell, so that a cell that strays is seen."""
    base = {"identity": 0.1, "original": 0.9}.get(label.partition("+")[0], 0.2)
    base += 0.1 * VARIANTS.index(label.partition("+")[2])
    return base + 0.01 * SUBSETS.index(subset) + 0.001 * READERS.index(reader)


@pytest.fixture
def scores():
    labels = ["identity", *(f"zero_dce_pp+{v}" for v in VARIANTS[1:]), "original"]
    return [
        score(label, reader, subset, value_of(label, reader, subset))
        for label in labels
        for reader in READERS
        for subset in SUBSETS
    ]


def test_a_detector_reads_what_its_own_loss_has_trained(scores):
    for reader, trained in (("mtcnn", 0.4), ("tinaface", 0.501)):
        own = read_by(scores, reader)
        labels = dict.fromkeys(s.label for s in own)
        assert list(labels) == ["identity", "zero_dce_pp+1:0", "zero_dce_pp+2:1", "original"]
        (joint,) = [s for s in own if s.variant == "2:1" and s.subset == "easy"]
        assert joint.value == pytest.approx(trained)


def test_the_four_groups_stand_side_by_side(scores):
    table = joint_report.side_by_side(scores, READERS, "groups")
    assert list(table.header[1:4]) == ["easy, published", "medium, published", "hard, published"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["zero_dce_pp+2:1"] == [
        "0.9478", "0.9387", "0.8998", "0.400", "0.410", "0.420", "0.501", "0.511", "0.521",
    ]  # fmt: skip
    assert rows["original"][:4] == ["0.9631", "0.9564", "0.9301", "0.900"]
    alone = [s for s in scores if s.label != "zero_dce_pp+2:1@tinaface"]
    table = joint_report.side_by_side(alone, READERS, "groups")
    assert table.rows[2][-3:] == ["not run"] * 3


def test_every_row_stands_before_every_detector(scores):
    scores += [score("identity", "mtcnn", "all", 7.5, metric="psnr")]
    table = joint_report.crossed(scores, READERS)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["zero_dce_pp+2:1"][::3] == ["0.420", "0.421", "not run"]
    assert rows["zero_dce_pp+2:1@tinaface"][0] == "0.520"
    assert rows["identity"][-1] == "7.50" and rows["identity"][1] == "not run"


def by_height(gain_of):
    return [
        score(label, "mtcnn", height_name(*span), 0.5 + gain, n=n)
        for i, span in enumerate(HEIGHTS)
        for n in [i + 1]
        for label, gain in (("identity", 0.0), ("zero_dce_pp+2:1", gain_of(i)))
    ]


def test_gain_by_height_is_the_difference_to_the_dark_picture():
    lines = joint_report.gains_by_height(by_height(lambda i: 0.05 * i), ["mtcnn"])
    assert [x for x, _ in lines["zero_dce_pp+2:1, mtcnn"]] == [8, 20, 28, 40, 72, 120]
    gains = [gain for _, gain in lines["zero_dce_pp+2:1, mtcnn"]]
    assert gains == pytest.approx([0.05 * i for i in range(6)])
    assert lines["original, mtcnn"] == []


@pytest.mark.parametrize(
    ("gain_of", "cells"),
    [
        # Ranges under 32 px hold 1, 2 and 3 faces, the others 4, 5 and 6.
        (lambda i: 0.6 - 0.1 * i, ["+0.467", "+0.187", "holds"]),
        (lambda i: 0.1 * i, ["+0.133", "+0.413", "does not hold"]),
    ],
)
def test_whether_small_faces_gain_more(gain_of, cells):
    table = joint_report.small_faces_gain(by_height(gain_of), ["mtcnn", "tinaface"])
    assert table.rows == [["mtcnn", *cells], ["tinaface", "–", "–", "not run"]]


def test_the_printed_tables_are_shown_for_each_detector(scores):
    tables = joint_report.thesis_tables(scores, READERS)
    assert [t.caption.partition(":")[0] for t in tables] == ["Table 4.1"] * 2 + ["Table 4.2"] * 2
    assert list(tables[0].rows[2][1:3]) == ["0.9478", "0.4000"]
    assert list(tables[1].rows[2][1:3]) == ["0.9478", "0.5010"]
