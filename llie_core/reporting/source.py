"""Source code as a report shows it."""

import ast
import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Code


def source(*objects: Callable) -> Code:
    """The lines of functions or classes without their docstrings, highlighted."""
    return Code("\n\n".join(map(_without_docstrings, objects)), language="python")


def _without_docstrings(code: Callable) -> str:
    text = textwrap.dedent(inspect.getsource(code))
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        first = node.body[0] if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            dropped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = text.splitlines()
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped)
