"""Frozen task models: `create_recognizer(name)`; a model's file is imported on demand.

Another recognizer adds one line to the table below and one file beside this one.
"""

from importlib import import_module

from llie_core.names import unknown
from llie_core.recognizers.base import Recognizer

__all__ = ["Recognizer", "create_recognizer", "list_recognizers", "recognizer_titles"]

# name → title as tables show it, "module:class"
_RECOGNIZERS = {
    "cpn": ("CPN", "cpn:CPN"),
    "mtcnn": ("MTCNN", "mtcnn:MTCNN"),
    "retinaface": ("RetinaFace", "retinaface:RetinaFace"),
    "deeplabv3plus": ("DeepLabV3+", "deeplabv3plus:DeepLabV3Plus"),
    "tinaface": ("TinaFace", "tinaface:TinaFace"),
    "ssdlite": ("SSDLite", "ssdlite:SSDLite"),
    "classifier": ("EfficientNet-Lite0", "classifier:Classifier"),
    "yolov4": ("YOLOv4", "yolov4:YOLOv4"),
    "light_detector": ("light detector", "light_detector:LightDetector"),
    "vst": ("VST", "vst:VST"),
    "saliency_net": ("saliency network", "saliency_net:SaliencyNet"),
}


def recognizer_titles() -> dict[str, str]:
    """Name → title of all recognizers."""
    return {name: title for name, (title, _) in _RECOGNIZERS.items()}


def list_recognizers() -> list[str]:
    """Names of all recognizers that `create_recognizer` builds."""
    return list(_RECOGNIZERS)


def create_recognizer(name: str, frozen: bool = True, **options) -> Recognizer:
    """Build a recognizer.

    Args:
        name: one of `list_recognizers()`.
        frozen: leave it False to the run that trains the recognizer itself; see `Recognizer`.
        options: the constructor's keyword arguments; an unknown one is a TypeError.

    Raises:
        ValueError: unknown name; the message gives the nearest match and the known names.
        ImportError, WeightsNotAvailable: a package that it needs is absent; the message says how to
            install it.
    """
    if name not in _RECOGNIZERS:
        raise unknown("recognizer", name, _RECOGNIZERS)
    module, _, cls = _RECOGNIZERS[name][1].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), cls)(frozen=frozen, **options)
