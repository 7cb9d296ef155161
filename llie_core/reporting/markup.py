"""Tables as HTML: what a report's style and script expect of them. All text is escaped."""

import base64
import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NOT_RUN = "not run"
NO_NUMBER = (NOT_RUN, "–", "inf", "nan", "", "not legible", "not published", "not counted")
LONG = 160  # characters of a note that stays open


@dataclass(frozen=True)
class _Column:
    """A column as it is shown: of the cells at `here`, and beside them the `published` ones."""

    title: str
    here: int
    published: int | None = None
    number: bool = False


def table_html(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "",
    marks: Mapping[tuple[int, int], str] = {}, filters: Sequence[str] = (),
) -> str:  # fmt: skip
    """A table with a link to it as CSV.

    Two columns "X, published" and "X, here" (or "here") become one, with their difference. Rows of
    which nothing was run are folded away below.

    Args:
        marks: (row, column) → "best" or "second".
        filters: titles of columns by whose entries a reader may choose rows.
    """
    columns = _columns(header, rows)
    run = [number for number, row in enumerate(rows) if not _is_not_run(row, columns)]
    folded = [number for number in range(len(rows)) if number not in run] if run else []
    shown = [number for number in range(len(rows)) if number not in folded]

    def lines(numbers: Iterable[int]) -> str:
        return "".join(f"<tr>{_cells(n, rows[n], columns, marks)}</tr>" for n in numbers)

    head = "".join(_head(column, filters) for column in columns)

    def table(numbers: Sequence[int], title: str) -> str:
        kind = "sortable" if len(numbers) > 2 else "short"
        return (
            f'<div class="table" role="region" tabindex="0" aria-label="{html.escape(caption)}">'
            f'<table class="{kind}">{title}<thead><tr>{head}</tr></thead>'
            f"<tbody>{lines(numbers)}</tbody></table></div>"
        )

    title = f"<caption>{html.escape(caption)} {_download(caption, header, rows)}</caption>"
    text = table(shown, title)
    if folded:
        words = f"{len(folded)} of {len(rows)} rows were not run here"
        text += f'<details class="folded"><summary>{words}</summary>{table(folded, "")}</details>'
    return text + _note(note)


def is_number(cell: object) -> bool:
    """Whether a cell is a number, perhaps with a unit or a mark, or says that there is none."""
    text = str(cell)
    return text in NO_NUMBER or re.match(r"[-+−<]?\.?\d", text) is not None


def number_in(cell: object) -> float | None:
    """The number that a cell begins with; None where it begins with none."""
    found = re.match(r"[-+−]?[\d,]*\.?\d+", str(cell))
    return float(found[0].replace("−", "-").replace(",", "")) if found else None


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[_Column]:
    found = []
    position = 0
    while position < len(header):
        title, following = str(header[position]), str((*header, "")[position + 1])
        name = title.removesuffix(", published")
        paired = name != title and following in (f"{name}, here", "here")
        here = position + paired
        numbers = all(is_number(row[i]) for row in rows for i in (position, here)) and bool(rows)
        found.append(_Column(name, here, position if paired else None, numbers)
                     if paired else _Column(title, here, None, numbers))  # fmt: skip
        position = here + 1
    return found


def _is_not_run(row: Sequence[str], columns: Sequence[_Column]) -> bool:
    """Whether a row has published numbers and none of here."""
    pairs = [column for column in columns if column.published is not None]
    return bool(pairs) and all(str(row[column.here]) in (NOT_RUN, "–") for column in pairs)


def _head(column: _Column, filters: Sequence[str]) -> str:
    kind = "number" if column.number else "text"
    chosen = " data-filter" if column.title in filters else ""
    pair = '<small class="printed">paper</small>' if column.published is not None else ""
    return f'<th scope="col" class="{kind}"{chosen}>{html.escape(column.title)}{pair}</th>'


def _cells(
    number: int, row: Sequence[str], columns: Sequence[_Column], marks: Mapping
) -> str:  # fmt: skip
    cells = []
    for place, column in enumerate(columns):
        value = str(row[column.here])
        text = html.escape(value)
        if mark := marks.get((number, column.here)):
            text = f'<span class="{mark}">{text}</span>'
        if column.published is not None:
            text += _printed(str(row[column.published]), value)
        sort = number_in(value) if column.number else None
        if sort is None and column.number and column.published is not None:
            sort = number_in(row[column.published])
        key = "" if not column.number else f' data-sort="{"" if sort is None else sort}"'
        title = f' data-title="{html.escape(column.title)}"' if place else ""
        kind = "number" if column.number else "text"
        if place and column.published is None and value in ("–", ""):
            kind += " none"  # which a phone leaves out
        cells.append(f'<td class="{kind}"{key}{title}>{text}</td>')
    return "".join(cells)


def _printed(published: str, here: str) -> str:
    """The paper's number under ours, with the difference where both are in one unit; "" where the
    paper has none."""
    if published in ("–", ""):
        return ""
    ours, theirs = number_in(here), _plain(published)
    off = ""
    if ours is not None and theirs is not None:
        decimals = len(published.partition(".")[2].strip(" *%"))
        off = f" ({ours - theirs:+.{decimals}f})".replace("-", "−")
    return f'<small class="printed">{html.escape(published)}{off}</small>'


def _plain(text: str) -> float | None:
    """A printed number; None of one with a unit, such as "2.01 M", or of several."""
    return number_in(text) if re.fullmatch(r"[-+−]?[\d,]*\.?\d+( \*)?", text) else None


def _download(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    content = base64.b64encode(file.getvalue().encode()).decode()
    name = re.sub(r"\W+", "-", caption).strip("-")[:60] or "table"
    return (
        f'<a class="csv" download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{content}" '
        f'aria-label="{html.escape(caption)} as CSV">CSV</a>'
    )


def _note(note: str) -> str:
    """A note; of a long one the beginning, and the rest on a click."""
    if not note:
        return ""
    if len(note) <= LONG:
        return f'<p class="note">{html.escape(note)}</p>'
    first, _, rest = note.partition(". ")
    if len(first) > LONG:
        first, _, rest = note.partition("; ")
    more = f"<p>{html.escape(rest)}</p>"
    return f'<details class="note"><summary>{html.escape(first)}</summary>{more}</details>'
