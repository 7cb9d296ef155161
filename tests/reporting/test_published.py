"""The published tables: complete and well-formed.

What the papers' texts state of them is a claim each, which test_claims.py tries on the cells.
"""

from collections import Counter, defaultdict
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from statistics import mean

import pytest

from llie_core.reporting.published import list_papers, load, table

# (paper, table): legible cells, the sum of their printed numbers, rows, columns, dashes.
# The sums were taken from the papers' text apart from the transcription, so a slipped digit shows.
TABLES = {
    ("recognition", "1"): (20, "517.3", 5, 4, 0),
    ("recognition", "2"): (2, "41.2", 5, 2, 0),
    ("recognition", "3"): (5, "103.5", 5, 1, 0),
    ("recognition", "4"): (10, "1208.7", 5, 2, 0),
    ("recognition", "5"): (4, "106.3", 4, 1, 0),
    ("joint", "4.1"): (12, "11.1527", 4, 3, 0),
    ("joint", "4.2"): (24, "22.2510", 8, 3, 0),
    ("jcrnet", "I"): (345, "3341.606", 15, 23, 0),
    ("jcrnet", "II"): (240, "3786.379", 20, 12, 0),
    ("jcrnet", "III"): (48, "703.857", 4, 12, 0),
    ("jcrnet", "IV"): (32, "396.255", 4, 8, 0),
    ("jcrnet", "V"): (24, "275.621", 6, 4, 0),
    ("jcrnet", "VI"): (16, "178.231", 4, 4, 0),
    ("jcrnet", "VII"): (18, "781.33", 3, 6, 0),
    ("jcrnet", "VIII"): (90, "3147.116", 9, 10, 0),
    ("jcrnet", "IX"): (108, "80.961", 6, 18, 0),
    ("drgn", "1"): (18, "120.560", 6, 3, 0),
    ("drgn", "2"): (162, "3594.601", 15, 11, 3),
    ("drgn", "3"): (32, "300.875", 4, 8, 0),
    ("drgn", "4a"): (22, "667.385", 5, 5, 3),
    ("drgn", "4b"): (25, "1156.619", 5, 5, 0),
    ("neid", "1"): (22, "200.59", 2, 11, 0),
    ("neid", "2"): (4, "84.94", 4, 1, 0),
}

HIGHER = (
    "psnr ssim fsim ap miou map precision iou max_f avg_f weighted_f s_measure e_measure fps cn cd"
)
LOWER = "lpips niqe brisque sseq mae parameters flops latency"
UNITS = {
    "psnr": {"dB"},
    "ap": {"fraction", "percent"},
    **{metric: {"percent"} for metric in ("miou", "map", "precision", "iou")},
    "parameters": {"M"},
    "flops": {"G"},
    "latency": {"ms"},
    "fps": {"frames/s"},
}
OURS = "zero_dce zero_dce_pp gem_pam ialm jcrnet drgn lw_drgn neid"
CLASSICAL = "he clahe ldr lrs jed sdd lime msr npe bimef crm dong mf"
CITED = (
    "retinexnet kind kind_pp glad mirnet enlightengan deepupe ssien dln sci ruas uretinex llflow "
    "iat snr csdnet flw ddnet"
)
NO_ENHANCEMENT = "identity original"  # the low-light input; the normal-light image
METHODS = set(f"{OURS} {CLASSICAL} {CITED} {NO_ENHANCEMENT}".split())

ALL = [(paper, cell) for paper in list_papers() for cell in load(paper)]
LEGIBLE = [(paper, cell) for paper, cell in ALL if cell.status != "not_legible"]
each_table = pytest.mark.parametrize(("paper", "number"), TABLES)


# Completeness and form ---------------------------------------------------------------------------


@each_table
def test_every_legible_cell_of_a_table_is_there(paper, number):
    cells = [cell for cell in table(paper, number) if cell.status != "not_legible"]
    count, total, *_ = TABLES[paper, number]
    assert len(cells) == count
    plain = [cell.printed.replace(",", "").replace("34. I", "34.1") for cell in cells]
    assert sum(map(Decimal, plain)) == Decimal(total)


def test_no_other_table_is_there():
    assert {(paper, cell.table) for paper, cell in ALL} == set(TABLES)


def test_only_the_lost_rows_of_one_table_are_not_legible():
    lost = [cell for _, cell in ALL if cell.status == "not_legible"]
    assert lost == [cell for cell in table("recognition", "2") if cell.method != "identity"]
    assert len(lost) == 8
    assert all(cell.value is None and cell.printed == "" and cell.note for cell in lost)
    assert {cell.method for cell in lost} == {"llflow", "zero_dce", "ialm", "gem_pam"}


@each_table
def test_a_table_can_be_drawn_again_from_its_rows_and_columns(paper, number):
    cells = table(paper, number)
    _, _, rows, columns, dashes = TABLES[paper, number]
    places = Counter((cell.row, cell.column) for cell in cells)
    grid = {(row, column) for row in range(rows) for column in range(columns)}
    assert set(places.values()) == {1}
    assert set(places) <= grid
    assert len(grid) - len(places) == dashes
    for line, title in (("row", "title"), ("column", "header")):
        titles = {(getattr(cell, line), getattr(cell, title)) for cell in cells}
        assert len(titles) == (rows if line == "row" else columns), f"one {title} a {line}"
        assert len({name for _, name in titles}) == len(titles), f"two {line}s share a {title}"


def test_dashes_stand_where_the_paper_prints_them():
    drgn_2 = {(cell.metric, cell.method) for cell in table("drgn", "2")}
    assert not {("parameters", "lime"), ("latency", "lime"), ("flops", "lime")} & drgn_2
    drgn_4a = {(cell.metric, cell.method) for cell in table("drgn", "4a")}
    assert not {(metric, "identity") for metric in ("precision", "iou", "map")} & drgn_4a


@each_table
def test_keys_name_one_cell_each(paper, number):
    keys = [
        (c.label, c.recognizer, c.dataset, c.split, c.subset, c.metric)
        for c in table(paper, number)
    ]
    assert len(set(keys)) == len(keys)


def test_vocabulary():
    directions = dict.fromkeys(HIGHER.split(), "higher") | dict.fromkeys(LOWER.split(), "lower")
    for _, cell in ALL:
        assert cell.status in {"printed", "misprint", "not_legible"}, cell
        assert cell.direction == directions[cell.metric], cell
        assert cell.unit in UNITS.get(cell.metric, {""}), cell
        assert cell.method in METHODS, cell
        assert cell.recognizer in {"", "cpn", "deeplabv3plus", "tinaface", "yolov4", "vst"}, cell
        assert cell.split == ("test" if cell.dataset else ""), cell
        assert cell.title and cell.header, cell
        assert cell.label == "+".join(filter(None, (cell.method, cell.variant))), cell
        assert cell.subset, cell  # "all" where the paper names no part, as in scores
        cost = cell.metric in {"parameters", "flops", "latency", "fps"}
        assert bool(cell.dataset) is not cost, cell
    assert {cell.method for _, cell in ALL} == METHODS


def test_value_is_what_is_printed():
    exceptions = []
    for paper, cell in LEGIBLE:
        in_seconds = (paper, cell.metric) == ("drgn", "latency")
        if cell.printed in {"34. I", "1,027.9"}:
            exceptions.append((cell.printed, cell.value))
            continue
        expected = Decimal(cell.printed) * (1000 if in_seconds else 1)
        assert Decimal(str(cell.value)) == expected, cell
    assert exceptions == [("34. I", 34.1), ("1,027.9", 1027.9)]


def test_misprints_are_kept_and_explained():
    misprints = [(paper, cell) for paper, cell in ALL if cell.status == "misprint"]
    assert all(cell.note for _, cell in misprints)
    places = Counter((paper, cell.table, cell.printed) for paper, cell in misprints)
    single = {
        ("recognition", "1", "34. I"): 1, ("joint", "4.2", "0.9380"): 1,
        ("jcrnet", "I", "20.920"): 2, ("jcrnet", "I", "12.946"): 2,
        ("jcrnet", "I", "29.214"): 2, ("jcrnet", "I", "28.393"): 2, ("jcrnet", "I", "0.390"): 2,
        ("jcrnet", "II", "20.400"): 1, ("jcrnet", "III", "28.400"): 1,
    }  # fmt: skip
    assert {place: places.pop(place) for place in single} == single
    # the two rows of Table VI whose check marks are swapped against their names
    assert {key[:2] for key in places} == {("jcrnet", "VI")}
    assert places.total() == 8


# The tables among themselves ---------------------------------------------------------------------


def test_a_cell_that_stands_in_two_tables_is_the_same_but_once():
    values = defaultdict(dict)
    for paper, cell in LEGIBLE:
        key = (paper, cell.label, cell.recognizer, cell.dataset, cell.subset, cell.metric)
        values[key][cell.table] = cell.value
    shared = {key: by_table for key, by_table in values.items() if len(by_table) > 1}
    assert len(shared) == 36
    differing = {key[3:]: v for key, v in shared.items() if len(set(v.values())) > 1}
    assert differing == {("lime", "all", "brisque"): {"II": 20.4, "III": 28.4}}


def parts_of(paper, average):
    """The cells whose mean a printed average cell is."""
    return [
        Decimal(str(cell.value))
        for cell in table(paper, average.table)
        if (cell.method, cell.metric) == (average.method, average.metric)
        and cell.subset != "mean"
        and cell.dataset in average.dataset.split("+")
    ]


def test_jcrnet_totals_are_the_means_of_four_phones():
    averages = [cell for cell in table("jcrnet", "VIII") if cell.subset == "mean"]
    assert len(averages) == 18
    for cell in averages:
        parts = parts_of("jcrnet", cell)
        assert len(parts) == 4
        # halves go either way in print: 5.4845 → 5.484, 77.3815 → 77.382
        assert abs(mean(parts) - Decimal(str(cell.value))) <= Decimal("0.0005"), cell


def test_drgn_averages_are_means_cut_off_not_rounded():
    averages = [cell for cell in table("drgn", "2") if cell.subset == "mean"]
    assert len(averages) == 33
    not_rounded = []
    for cell in averages:
        parts = parts_of("drgn", cell)
        assert len(parts) == 3
        digits = Decimal(cell.printed)
        assert mean(parts).quantize(digits, ROUND_DOWN) == digits, cell
        if mean(parts).quantize(digits, ROUND_HALF_UP) != digits:
            not_rounded.append(cell)
    # 11 of the 33 are one unit below the rounded mean, and say so
    assert len(not_rounded) == 11
    assert all("cut off" in cell.note for cell in not_rounded)


# The interface -----------------------------------------------------------------------------------


def test_unknown_paper_or_table_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'retinex'.*recognition, joint, jcrnet, drgn, neid"):
        load("retinex")
    with pytest.raises(ValueError, match=r"no results table '4'; known: 1, 2, 3, 4a, 4b"):
        table("drgn", "4")
