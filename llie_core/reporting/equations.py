"""Equations of a notebook's text as images, so that an HTML report needs no script to show them.

JupyterLab renders $…$ and $$…$$ itself; here matplotlib draws them, as SVG, for the export.
"""

import base64
import html
import io
import re

CODE = re.compile(r"(```.*?```|`[^`]*`)", re.S)
EQUATION = re.compile(r"\$\$(.+?)\$\$|\$([^$\s](?:[^$\n]*[^$\s])?)\$", re.S)
# What LaTeX knows and matplotlib does not, in the form that it does.
REWRITTEN = (
    (r"\\tag\{(.*?)\}", r"\\qquad (\1)"),
    (r"\\[td]?frac\s*(\w)\s*(\w)", r"\\frac{\1}{\2}"),
    (r"\\[td]frac", r"\\frac"),
    (r"\\(mathcal|mathbb|mathbf|mathrm)\s+(\w)", r"\\\1{\2}"),
    (r"\\[bB]igg?[lr]?(?![a-zA-Z])", ""),
    (r"\\[lr]Vert", r"\\Vert"),
    (r"\\(le|ge|ne)(?![a-zA-Z])", r"\\\1q"),
)


def with_equations(text: str) -> str:
    """Markdown with its equations as images; code, and what cannot be drawn, as it stands."""
    parts = CODE.split(text)
    return "".join(part if i % 2 else EQUATION.sub(_image, part) for i, part in enumerate(parts))


def svg(equation: str) -> tuple[bytes, float]:
    """An equation (LaTeX without its dollars) as SVG, and how far it reaches below its line, in pt.

    Raises:
        ValueError: matplotlib cannot draw it.
    """
    from matplotlib import mathtext, rc_context
    from matplotlib.font_manager import FontProperties

    tex = " ".join(equation.split())
    for pattern, form in REWRITTEN:
        tex = re.sub(pattern, form, tex)
    drawn = io.BytesIO()
    with rc_context({"mathtext.fontset": "cm"}):
        depth = mathtext.math_to_image(f"${tex}$", drawn, FontProperties(size=13), format="svg")
    return drawn.getvalue(), float(depth)


def _image(match: re.Match) -> str:
    block, inline = match.groups()
    tex = (block or inline).strip()
    try:
        drawn, depth = svg(tex)
    except ValueError:
        return match[0]
    # A bar in the alt text would end a cell of a Markdown table.
    alt = html.escape(" ".join(tex.split())).replace("|", "&#124;")
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}"
    style = "display: block; margin: 0.8em auto" if block else f"vertical-align: {-depth:.1f}pt"
    return f'<img class="equation" alt="{alt}" style="{style}" src="{source}">'
