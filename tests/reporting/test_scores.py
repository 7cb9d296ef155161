"""Scores: exact round trip through CSV, refusal of anything else, and how a mean is written."""

import math
from dataclasses import replace
from statistics import stdev

import pytest
from made import HARD, a_score

from llie_core.reporting import scores as module
from llie_core.reporting.scores import (
    best_untrained,
    kept_scores,
    read_scores,
    reference_scores,
    select,
    summarise,
    write_scores,
)

SCORE = a_score(**HARD | {"value": 0.1 + 0.2})


def test_round_trip_keeps_every_field_and_its_type(tmp_path):
    scores = [
        SCORE,
        replace(SCORE, recognizer="", value=-1e-300, seed=7),
        replace(SCORE, value=math.inf, device='a "quoted", cüda\ndevice'),
    ]
    write_scores(tmp_path / "deep" / "scores.csv", scores)
    back = read_scores(tmp_path / "deep" / "scores.csv")
    assert back == scores
    assert [type(v) for v in vars(back[0]).values()] == [type(v) for v in vars(SCORE).values()]


def test_round_trip_of_nan_and_of_nothing(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores(path, [replace(SCORE, value=math.nan)])
    assert math.isnan(read_scores(path)[0].value)
    write_scores(path, [])
    assert read_scores(path) == []


def test_writing_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores(path, [SCORE, SCORE])
    write_scores(path, [SCORE])
    assert read_scores(path) == [SCORE]
    assert list(tmp_path.iterdir()) == [path]


COLUMNS = ",".join(vars(SCORE))


@pytest.mark.parametrize("text", ["", "label,value\nidentity,1\n", f"{COLUMNS},mood\n"])
def test_foreign_columns_are_refused(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"scores\.csv: its columns are not those of a score"):
        read_scores(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(",96,", ",many,"),  # no number
        lambda line: line.rsplit(",", 3)[0],  # cells too few
        lambda line: line + ",surplus",  # cells too many
    ],
)
def test_a_bad_line_is_refused_by_number(tmp_path, change):
    path = tmp_path / "scores.csv"
    write_scores(path, [SCORE, SCORE])
    header, first, second = path.read_text().splitlines()
    path.write_text("\n".join([header, first, change(second)]) + "\n")
    with pytest.raises(ValueError, match=r"scores\.csv, line 3: not a score"):
        read_scores(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="scores"):
        read_scores(tmp_path / "scores.csv")


def test_unit_and_direction_are_the_protocols():
    assert (SCORE.unit, SCORE.direction) == ("fraction", "higher")
    niqe = replace(SCORE, metric="niqe", protocol="niqe-live")
    assert (niqe.unit, niqe.direction) == ("index", "lower")


def test_summary_of_seeds():
    summary = summarise(iter([1.0, 2.0, 4.0]))
    assert summary.mean == pytest.approx(7 / 3)
    assert summary.sd == pytest.approx(math.sqrt(7 / 3)) == pytest.approx(stdev([1, 2, 4]))
    assert summary.seeds == 3


def test_summary_of_one_and_of_none():
    one, none = summarise([0.5]), summarise([])
    assert (one.mean, one.seeds, none.seeds) == (0.5, 1, 0)
    assert math.isnan(one.sd) and math.isnan(none.mean) and math.isnan(none.sd)


@pytest.mark.parametrize(
    ("values", "spec", "text"),
    [
        ([0.94], ".4f", "0.9400"),
        ([0.5, 0.7], ".2f", "0.60 ± 0.14"),
        ([-0.5, -0.7], "+.2f", "-0.60 ± 0.14"),
        ([0.5, 0.7], "+.1f", "+0.6 ± 0.1"),
        ([3.0, 3.0], ".1f", "3.0 ± 0.0"),
        ([], ".3f", "nan"),
    ],
)
def test_summary_as_text(values, spec, text):
    assert f"{summarise(values):{spec}}" == text


def test_select():
    other = replace(SCORE, label="identity", seed=1)
    assert select([SCORE, other], label="identity") == [other]
    assert select(iter([SCORE, other]), metric="ap", seed=0) == [SCORE]
    assert select([SCORE, other], metric="psnr") == []


# Reference runs ----------------------------------------------------------------------------------


def test_the_best_method_without_training():
    values = {"identity": 9.0, "gamma": 1.0, "lime": 3.0, "original": 9.0}
    scores = [a_score(label=x, value=v, weights="none") for x, v in values.items()]
    scores.append(a_score(label="neid", value=5.0, weights="trained here"))
    assert best_untrained(scores) == ("lime", 2)
    errors = [replace(score, metric="mae", protocol="sal-mae") for score in scores]
    assert best_untrained(errors) == ("gamma", 2)  # the lower the better
    assert best_untrained([]) == ("", 0)


def test_the_best_reference_that_is_kept_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    assert kept_scores("joint", "builtin-faces") == reference_scores("joint", "builtin-faces") == []
    root = tmp_path / "results" / "reference" / "joint" / "builtin-faces"
    other = replace(SCORE, dataset="wider-face")
    for profile in ("reference", "paper"):  # of the published schedule where there is one
        kept = [replace(score, profile=profile) for score in (SCORE, other)]
        write_scores(root / profile / "scores.csv", kept)
        assert kept_scores("joint", "builtin-faces") == kept
        assert reference_scores("joint", "builtin-faces") == kept[:1]
        assert reference_scores("joint", "builtin-faces", "wider-face") == kept[1:]
