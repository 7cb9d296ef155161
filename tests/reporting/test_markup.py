"""Tables as HTML: pairs of columns, marks, rows that were not run, notes, CSV."""

import base64
import csv
import html
import io
import json
import re

import pytest

from llie_core.reporting.markup import is_number, number_in, table_html

HEADER = ["", "PSNR↑, published", "PSNR↑, here", "parameters, published", "here"]
ROWS = [
    ["Ours", "24.901", "17.38", "2.01 M", "2,012,747"],
    ["KinD", "20.87 *", "not run", "–", "not run"],
]


def cells(page, row=0):
    body = re.findall(r"<tr[^>]*>(<td.*?)</tr>", page)[row]
    return re.findall(r"<td[^>]*>(.*?)</td>", body)


def test_published_stands_under_measured_with_the_difference():
    page = table_html("Table I", HEADER, ROWS)
    assert page.count("<th ") == 6  # three columns, of the table and of the folded rows
    title, psnr, parameters = cells(page)
    assert title == "Ours"
    assert psnr == '17.38<small class="printed">24.901 (−7.521)</small>'
    assert parameters == '2,012,747<small class="printed">2.01 M</small>'  # another unit


def test_rows_of_which_nothing_was_run_are_folded_with_their_count():
    page = table_html("Table I", HEADER, ROWS)
    shown, folded = page.split('<details class="folded">')
    assert "1 of 2 rows were not run here" in folded and "KinD" in folded
    assert "KinD" not in re.sub(r'href="[^"]*"', "", shown)
    whole = table_html("Table I", HEADER, ROWS[1:])  # nothing else to show
    assert whole.startswith('<details class="folded"><summary>Table I: not run here, 1 rows')
    assert whole.count("<table") == 1 and "<caption>Table I" in whole


def test_a_table_can_be_had_as_csv():
    page = table_html('Table I: "x"', HEADER, ROWS)
    name, content = re.search(
        r'download="([^"]*)" href="data:text/csv;[^,]*,([^"]*)"', page
    ).groups()
    read = list(csv.reader(io.StringIO(base64.b64decode(content).decode())))
    named = [title or "row" for title in HEADER]  # no column is without a name
    assert name == "Table-I-x.csv" and read == [named, *ROWS]
    assert '<th scope="col" class="text">row</th>' in table_html("T", ["", "a"], [["x", "1"]])


def test_marks_stand_on_their_cells_and_numbers_sort_as_numbers():
    page = table_html("T", ["", "a"], [["x", "1,234.5 ± 2"], ["y", "–"]], marks={(0, 1): "best"})
    assert '<td class="number" data-sort="1234.5" data-title="a"><span class="best">' in page
    assert '<td class="number none" data-sort="" data-title="a">–</td>' in page


def data(page, name):
    return [json.loads(html.unescape(x)) for x in re.findall(rf'data-{name}="([^"]*)"', page)]


def test_rows_say_what_a_reader_may_choose_by():
    page = table_html("T", ["a", "b"], [["x", "holds on y (z)"]], filters=["b"])
    assert data(page, "filters") == [["b"]] and data(page, "choices") == [["holds"]]


def test_rows_are_grouped_behind_lines_that_count_them():
    """A column is not shown again where the line says it all; a row can be chosen by it still."""
    rows = [["joint", "1", "not run (a)"], ["neid", "2", "holds on b"], ["joint", "3", "not run"]]
    chosen = ["paper", "verdict"]
    page = table_html("T", ["paper", "claim", "verdict"], rows, filters=chosen, groups=chosen)
    lines = re.findall(r"<summary>(.*?)</summary>", page)
    assert lines == ["joint, not run: 2", "neid, holds: 1"]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page) == ["claim", "verdict"] * 2
    assert [cells(page, row) for row in range(3)] == [
        ["1", "not run (a)"], ["3", "not run"], ["2", "holds on b"],
    ]  # fmt: skip
    assert data(page, "choices") == [["joint", "not run"]] * 2 + [["neid", "holds"]]
    assert page.count(">CSV</a>") == 1 and page.count("<details") == 2


def test_a_table_without_an_entry_is_its_note():
    page = table_html("What IALM learns", ["a", "b"], [["–", "not run"]], "IALM was not run.")
    assert page == '<p class="note"><strong>What IALM learns</strong>: IALM was not run.</p>'
    assert "<table" not in table_html("T", ["a"], [])


@pytest.mark.parametrize(
    ("note", "open_part", "folded"),
    [
        ("Short.", "Short.", ""),
        (f"First. {'x' * 200}", "First", "x" * 200),
        (f"Measured: lol; {'y' * 200}", "Measured: lol", "y" * 200),
    ],
)
def test_a_long_note_opens_on_a_click(note, open_part, folded):
    page = table_html("T", ["a"], [["b"]], note)
    if folded:
        assert f"<summary>{open_part}</summary><p>{folded}</p>" in page
    else:
        assert f'<p class="note">{open_part}</p>' in page


@pytest.mark.parametrize(
    ("text", "number"),
    [("17.38 ± .2", 17.38), ("−3.5", -3.5), ("2,012,747", 2012747), ("+.5", 0.5), ("–", None)],
)
def test_the_number_of_a_cell(text, number):
    assert number_in(text) == number and is_number(text)
