"""The results tables of the five papers, cell by cell, as they are printed.

One CSV file a paper (papers/<name>/published.csv), one row a cell, under the same keys as
measured scores; `subset` is "all" where the paper names no part of the data set, and for costs.
`row` and `column` place the cell in the body of its table (title and check-mark columns apart),
`title` and `header` are the printed row and column titles, their levels joined by " / ". A printed
cell that holds three numbers ("18.35/18.32/19.38") is three rows, one below the other. A place
without an entry is one where the paper prints a dash.

`value` is the number to compute with, `printed` the string on the page; they differ where the page
has a misprint, a thousands comma, or seconds (latency is kept in ms). `status` is
    printed      as it stands
    misprint     kept as printed; `note` says what is probably meant
    not_legible  the text at hand has lost the cell; no value
"""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llie_core.files import read_rows
from llie_core.names import join_label, unknown

FOLDER = Path(__file__).parents[1] / "papers"


@dataclass(frozen=True)
class PublishedValue:
    """One cell of a published results table; the field order is that of the CSV files."""

    table: str
    row: int
    column: int
    title: str
    header: str
    method: str
    variant: str
    recognizer: str
    dataset: str
    split: str
    subset: str
    metric: str
    unit: str
    direction: str
    value: float | None
    printed: str
    status: str
    note: str

    @property
    def label(self) -> str:
        """The row's label, as scores have it."""
        return join_label(self.method, self.variant)


@lru_cache
def list_papers() -> tuple[str, ...]:
    """Names of the papers, in the order of their numbers: the folders that hold a study."""
    numbers = {}
    for path in FOLDER.glob("*/study.py"):
        claims = tomllib.loads(path.with_name("claims.toml").read_text(encoding="utf-8"))
        numbers[path.parent.name] = claims["number"]
    return tuple(sorted(numbers, key=lambda name: (numbers[name], name)))


@lru_cache
def load(paper: str) -> tuple[PublishedValue, ...]:
    """All cells of a paper's results tables, in the order of the tables and of their rows.

    Raises ValueError for an unknown paper.
    """
    if paper not in list_papers():
        raise unknown("paper", paper, list_papers())
    return tuple(map(_parse, read_rows(FOLDER / paper / "published.csv")))


def table(paper: str, number: str) -> list[PublishedValue]:
    """The cells of one table; `number` as printed ("1", "4.1", "VII"; DRGN's fourth: "4a", "4b").

    Raises ValueError for an unknown paper or table.
    """
    cells = [cell for cell in load(paper) if cell.table == number]
    if not cells:
        known = ", ".join(dict.fromkeys(cell.table for cell in load(paper)))
        raise ValueError(f"paper {paper!r} has no results table {number!r}; known: {known}")
    return cells


def _parse(record: dict[str, str]) -> PublishedValue:
    cells: dict[str, Any] = {
        **record,
        "row": int(record["row"]),
        "column": int(record["column"]),
        "value": float(record["value"]) if record["value"] else None,
    }
    return PublishedValue(**cells)
