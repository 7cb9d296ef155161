"""One recipe a paper: settings, models, objectives, which rows and tables it fills."""

import difflib
import importlib

_RECIPES = {
    "recognition": "llie_core.recipes.recognition:RecognitionRecipe",
    "joint": "llie_core.recipes.joint:JointRecipe",
    "jcrnet": "llie_core.recipes.jcrnet:JcrnetRecipe",
    "drgn": "llie_core.recipes.drgn:DrgnRecipe",
    "neid": "llie_core.recipes.neid:NeidRecipe",
}


def list_recipes() -> list[str]:
    """Names of the papers that can be run."""
    return list(_RECIPES)


def get_recipe(paper: str):
    """The recipe of a paper; ValueError naming the known ones."""
    if paper not in _RECIPES:
        near = difflib.get_close_matches(paper, _RECIPES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no paper {paper!r}{hint} (known: {', '.join(_RECIPES)})")
    module, _, attribute = _RECIPES[paper].partition(":")
    return getattr(importlib.import_module(module), attribute)()
