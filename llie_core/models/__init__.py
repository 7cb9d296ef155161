"""Enhancers: `create_enhancer(name)` builds any of them; a method's file is imported on demand.

A further method adds one line to a table below and one file beside this one.
"""

import difflib
from importlib import import_module

from llie_core.models.base import Enhancer

__all__ = ["Enhancer", "create_enhancer", "list_darkeners", "list_enhancers"]

# name → "module:class". The input itself stands first: every comparison includes it.
_ENHANCERS = {
    "identity": "classical:Identity",
    "gamma": "classical:Gamma",
    "he": "classical:HistogramEqualization",
    "clahe": "classical:CLAHE",
    "ldr": "histogram:LayeredDifference",
    "lrs": "histogram:RegionStretching",
    "jed": "variational:JED",
    "sdd": "variational:SDD",
    "lime": "variational:LIME",
    "msr": "retinex:MultiScaleRetinex",
    "npe": "retinex:NaturalnessPreserved",
    "bimef": "fusion:BIMEF",
    "crm": "fusion:CameraResponse",
    "dong": "fusion:InvertedDehazing",
    "mf": "fusion:MultiScaleFusion",
    "zero_dce": "zero_dce:ZeroDCE",
    "zero_dce_pp": "zero_dce:ZeroDCEPlusPlus",
    "gem_pam": "gem_pam:GemPam",
    "ialm": "ialm:IALM",
    "jcrnet": "jcrnet:JCRNet",
    "drgn": "drgn:DRGN",
    "lw_drgn": "drgn:LWDRGN",
    "neid": "neid:NEID",
}

# Models that darken normal-light images (to synthesise training data).
_DARKENERS = {
    "ec_zero_dce": "ec_zero_dce:ECZeroDCE",
}


def list_enhancers() -> list[str]:
    """Names of all enhancers that `create_enhancer` builds, `identity` (the input) first."""
    return list(_ENHANCERS)


def list_darkeners() -> list[str]:
    """Names of the models that darken instead; `create_enhancer` builds them too."""
    return list(_DARKENERS)


def create_enhancer(name: str, **options) -> Enhancer:
    """Build an enhancer or a darkener with fresh weights.

    Args:
        name: one of `list_enhancers()` or `list_darkeners()`.
        options: the constructor's keyword arguments; an unknown one is a TypeError.

    Raises:
        ValueError: unknown name; the message gives the nearest match and the known names.
    """
    known = _ENHANCERS | _DARKENERS
    if name not in known:
        near = difflib.get_close_matches(str(name).lower().replace("-", "_"), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown enhancer {name!r}.{hint} Known: {', '.join(known)}")
    module, _, cls = known[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), cls)(**options)
