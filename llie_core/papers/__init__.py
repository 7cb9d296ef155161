"""One folder a paper: its study, its report, the published tables and the claims.

A paper is found by its folder: `papers/<name>/study.py` with one subclass of `Study`.
"""

import importlib
from typing import TYPE_CHECKING

from llie_core.names import unknown
from llie_core.reporting.published import list_papers

if TYPE_CHECKING:
    from llie_core.papers.study import Study

__all__ = ["list_papers", "open_study", "study_of"]


def study_of(paper: str) -> "type[Study]":
    """The study class of a paper; ValueError naming the known ones."""
    if paper not in list_papers():
        raise unknown("paper", paper, list_papers())
    module = importlib.import_module(f"{__name__}.{paper}.study")
    from llie_core.papers.study import Study

    own = [x for x in vars(module).values() if isinstance(x, type) and issubclass(x, Study)]
    (study,) = [x for x in own if x.__module__ == module.__name__]
    study.paper = paper
    return study


def open_study(paper: str, profile: str = "quick", dataset: str = "", **settings) -> "Study":
    """A paper's study under a profile; settings may be nested: `train={"lr": 2e-4}`.

    Raises:
        ValueError, TypeError: unknown paper, profile, data set or setting, or a wrong value.
    """
    return study_of(paper).open(profile, dataset, **settings)
