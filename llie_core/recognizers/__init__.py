"""Frozen task models: `create_recognizer(name)`; a model's file is imported on demand.

Another recognizer adds one line to the table below and one file beside this one.
"""

from importlib import import_module
from typing import NamedTuple

from llie_core.names import unknown
from llie_core.recognizers.base import Recognizer

__all__ = [
    "Recognizer",
    "create_recognizer",
    "list_recognizers",
    "pretrained_recognizers",
    "recognizer_titles",
]


class _Record(NamedTuple):
    """title: as tables show it. builder: "module:class". finds: what it finds in photographs with
    the weights that it is built with, "" where it has to be trained first."""

    title: str
    builder: str
    finds: str = ""


_RECOGNIZERS = {
    "cpn": _Record("CPN", "cpn:CPN"),
    "mtcnn": _Record("MTCNN", "mtcnn:MTCNN", "face"),
    "retinaface": _Record("RetinaFace", "retinaface:RetinaFace", "face"),
    "deeplabv3plus": _Record("DeepLabV3+", "deeplabv3plus:DeepLabV3Plus"),
    "tinaface": _Record("TinaFace", "tinaface:TinaFace"),
    "ssdlite": _Record("SSDLite", "ssdlite:SSDLite", "person"),
    "classifier": _Record("EfficientNet-Lite0", "classifier:Classifier", "class"),
    "yolov4": _Record("YOLOv4", "yolov4:YOLOv4"),
    "light_detector": _Record("light detector", "light_detector:LightDetector"),
    "vst": _Record("VST", "vst:VST"),
    "saliency_net": _Record("saliency network", "saliency_net:SaliencyNet"),
}


def pretrained_recognizers() -> dict[str, str]:
    """Name → what it finds ("face", "person", "class"), of those that are built with weights of
    real images."""
    return {name: record.finds for name, record in _RECOGNIZERS.items() if record.finds}


def recognizer_titles() -> dict[str, str]:
    """Name → title of all recognizers."""
    return {name: record.title for name, record in _RECOGNIZERS.items()}


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
    module, _, cls = _RECOGNIZERS[name].builder.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), cls)(frozen=frozen, **options)
