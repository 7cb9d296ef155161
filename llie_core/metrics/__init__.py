"""Metrics by the names users rely on; each file of the room is imported when its name is asked for.

`from llie_core.metrics import psnr, niqe` loads the quality and naturalness files only, and
`import llie_core.metrics.faces` loads neither (PEP 562).
"""

from importlib import import_module

_HOME = {
    "psnr": "quality",
    "ssim": "quality",
    "fsim": "quality",
    "lpips": "quality",
    "ms_ssim": "quality",
    "dists": "quality",
    "loe": "lightness_order",
    "gt_mean": "quality",
    "niqe": "naturalness",
    "brisque": "naturalness",
    "sseq": "naturalness",
    "count_parameters": "cost",
    "count_macs": "cost",
    "latencies": "cost",
    "latency": "cost",
    "load_protocols": "protocols",
    "evaluate": "protocols",
    "score_pairs": "protocols",
    "mean_defined": "protocols",
    "why_undefined": "protocols",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
