"""Tables as HTML: what a report's style and script expect of them. All text is escaped."""

import base64
import csv
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NOT_RUN = "not run"
NO_NUMBER = (NOT_RUN, "–", "inf", "nan", "", "not legible", "not published", "not counted")
LONG = 160  # characters of a note that stays open
WORDY = 40  # characters of a cell, by which its column is a column of sentences


@dataclass(frozen=True)
class _Column:
    """A column as it is shown: of the cells at `here`, and beside them the `published` ones."""

    title: str
    here: int
    published: int | None = None
    kind: str = "text"  # or "number", or "text long" for sentences


def table_html(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "",
    marks: Mapping[tuple[int, int], str] = {}, filters: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> str:  # fmt: skip
    """A table with a link to it as CSV.

    Two columns "X, published" and "X, here" (or "here") become one, with their difference. Rows of
    which nothing was run are folded away below, and so is a table of nothing else; of a table
    without any entry the note is shown alone.

    Args:
        marks: (row, column) → "best" or "second".
        filters: titles of columns by whose entries a reader may choose rows.
        groups: titles of columns; the rows of each of their entries are folded behind a line that
            counts them. Such a column is shown if its cells say more than the line does.
    """
    if not any(str(cell) not in (NOT_RUN, "–", "") for row in rows for cell in row):
        title = f"<strong>{html.escape(caption)}</strong>"
        return f'<p class="note">{title}: {html.escape(note or NOT_RUN)}</p>'
    header = [title or "row" for title in header]
    columns = _columns(header, rows)
    titles = [header.index(name) for name in groups]
    say_more = {place for place in titles for row in rows if choice(row[place]) != str(row[place])}
    shown_columns = [c for c in columns if c.here not in titles or c.here in say_more]
    shown = _Shown(caption, header, rows, shown_columns, marks, filters)
    if groups:
        text = _grouped(shown, titles)
    else:
        run = [number for number, row in enumerate(rows) if not _is_not_run(row, columns)]
        rest = [number for number in range(len(rows)) if number not in run]
        if run:
            text = shown.table(run, shown.title())
            words = f"{len(rest)} of {len(rows)} rows were not run here"
        else:
            text, words = "", f"{caption}: not run here, {len(rest)} rows as published"
        if rest:
            inside = shown.table(rest, "" if run else shown.title())
            text += _details(words, inside)
    return text + _note(note)


@dataclass(frozen=True)
class _Shown:
    """What the tables of one caption share."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    columns: Sequence[_Column]
    marks: Mapping[tuple[int, int], str]
    filters: Sequence[str]

    def title(self, tag: str = "caption") -> str:
        link = _download(self.caption, self.header, self.rows)
        return f"<{tag}>{html.escape(self.caption)} {link}</{tag}>"

    def table(self, numbers: Sequence[int], title: str, caption: str = "") -> str:
        """A table of the rows of some numbers; `title`: its caption element."""
        kinds = ["sortable"] if len(numbers) > 2 else []
        if len(self.columns) <= 3 and all(c.kind == "number" for c in self.columns[1:]):
            kinds.append("narrow")  # which a phone shows as a table
        classes = f' class="{" ".join(kinds)}"' if kinds else ""
        label = html.escape(caption or self.caption)
        head = "".join(map(_head, self.columns))
        lines = "".join(map(self._line, numbers))
        return (
            f'<div class="table" role="region" tabindex="0" aria-label="{label}">'
            f"<table{classes}{_data('filters', self.filters)}>{title}"
            f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        )

    def _line(self, number: int) -> str:
        row = self.rows[number]
        chosen = [choice(row[self.header.index(name)]) for name in self.filters]
        cells = _cells(number, row, self.columns, self.marks)
        return f"<tr{_data('choices', chosen)}>{cells}</tr>"


def _data(name: str, texts: Sequence[str]) -> str:
    """An attribute for the script, a JSON list; "" for none."""
    return f' data-{name}="{html.escape(json.dumps(texts))}"' if texts else ""


def _grouped(shown: _Shown, titles: Sequence[int]) -> str:
    """The rows of each entry of some columns behind a line, in the order of the rows."""
    found: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(shown.rows):
        found.setdefault(tuple(choice(row[place]) for place in titles), []).append(number)
    parts = []
    for entry, numbers in found.items():
        words = ", ".join(entry)
        parts.append(_details(f"{words}: {len(numbers)}",
                              shown.table(numbers, "", f"{shown.caption}, {words}")))  # fmt: skip
    return f'<div class="groups">{shown.title("h3")}{"".join(parts)}</div>'


def _details(words: str, inside: str) -> str:
    summary = f"<summary>{html.escape(words)}</summary>"
    return f'<details class="folded">{summary}{inside}</details>'


def choice(cell: object) -> str:
    """What a reader chooses rows by: a verdict without its reasons, a place without its page."""
    return re.split(r" \(| on |[;,]", str(cell).strip())[0]


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
        wordy = any(len(str(row[here])) > WORDY for row in rows)
        kind = "number" if numbers else "text long" if wordy else "text"
        found.append(_Column(name if paired else title, here, position if paired else None, kind))
        position = here + 1
    return found


def _is_not_run(row: Sequence[str], columns: Sequence[_Column]) -> bool:
    """Whether a row has published numbers and none of here."""
    pairs = [column for column in columns if column.published is not None]
    absent = (NOT_RUN, "–", "cannot be re-run")
    return bool(pairs) and all(str(row[column.here]) in absent for column in pairs)


def _head(column: _Column) -> str:
    pair = '<small class="printed">paper</small>' if column.published is not None else ""
    return f'<th scope="col" class="{column.kind}">{html.escape(column.title)}{pair}</th>'


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
        kind, key = column.kind, ""
        if kind == "number":
            sort = number_in(value)
            if sort is None and column.published is not None:
                sort = number_in(row[column.published])
            key = f' data-sort="{"" if sort is None else sort}"'
        title = f' data-title="{html.escape(column.title)}"' if place else ""
        if place and column.published is None and value in ("–", ""):
            kind += " none"  # which a phone leaves out
        cells.append(f'<td class="{kind}"{key}{title}>{text}</td>')
    return "".join(cells)


def _printed(published: str, here: str) -> str:
    """The paper's number under ours, with the difference where both are in one unit; "" where the
    paper has none."""
    if published in ("–", "", "not published"):
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
