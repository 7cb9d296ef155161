"""Equations in reports: drawn without a script, with their LaTeX as alt text."""

import re
from pathlib import Path

import nbformat
import pytest

from llie_core.reporting.equations import svg, with_equations

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_equations_become_images_with_their_latex_as_alt_text():
    page = with_equations("Here $a < b$ and\n\n$$|x| = \\tfrac12 y \\tag{3}$$\n\nend.")
    assert page.startswith('Here <img class="equation" alt="a &lt; b" style="vertical-align: ')
    assert 'alt="&#124;x&#124; = \\tfrac12 y \\tag{3}" style="display: block' in page
    assert page.count('src="data:image/svg+xml;base64,') == 2 and page.endswith("\n\nend.")


@pytest.mark.parametrize(
    "text", ["`$a$` costs", "```\n$$a$$\n```", "from 5 $ to 7 $", r"$\nonsense x$", "no equation"]
)
def test_code_prices_and_what_cannot_be_drawn_stay(text):
    assert with_equations(text) == text


def test_an_equation_reaches_below_its_line():
    drawn, depth = svg(r"\frac1N \mathcal H_{x}\big(y\big)")
    assert b"<svg" in drawn and depth > 2 > svg("x")[1]
    with pytest.raises(ValueError):
        svg(r"\nonsense")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_equation_of_the_notebooks_can_be_drawn(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            page = with_equations(cell.source)
            shown = re.sub(r'alt="[^"]*"|```.*?```|`[^`]*`', "", page, flags=re.S)
            assert "$" not in shown, shown
