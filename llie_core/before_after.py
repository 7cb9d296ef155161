"""A photograph before and after enhancement, by several methods, and what recognizers find in each.

`llie compare` and notebooks/start_here.ipynb show it: `compare_photo`, then `page`.
"""

import html
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.data.photos import read_photo
from llie_core.files import project_root
from llie_core.imaging import luma
from llie_core.models import Enhancer, create_enhancer, list_enhancers, model_spec
from llie_core.models.gate import enhance_gated
from llie_core.names import title_of, unknown
from llie_core.recognizers import (
    Recognizer,
    create_recognizer,
    list_recognizers,
    pretrained_recognizers,
)
from llie_core.weights import WeightsNotAvailable, available

SIDE = 1280  # of a photograph's longer side, in pixels
THRESHOLD = 0.7  # least score of a detection that is shown
CLASSES = 3  # of a classifier that are named


@dataclass(frozen=True)
class Finding:
    """What a recognizer finds in one image, in words and, from a detector, as boxes (N, 4) xyxy in
    pixels with scores (N,)."""

    words: str
    boxes: Tensor
    scores: Tensor


def title_of_method(label: str) -> str:
    """As pages call what a command line names: "zero_dce=released" is "Zero-DCE, released"."""
    name, _, weights = label.partition("=")
    return ", ".join(filter(None, (title_of(name), Path(weights).name)))


@dataclass(frozen=True)
class Version:
    """One form of a photograph. image: (3, H, W) in [0, 1]. strength: what the gate left of the
    one asked for, and the reason; findings: by the recognizer's name."""

    label: str
    image: Tensor
    strength: float
    reason: str
    findings: Mapping[str, Finding]

    @property
    def title(self) -> str:
        """As a page calls it."""
        return title_of_method(self.label)


@dataclass(frozen=True, repr=False)
class Compared:
    """The versions of a photograph, the input first. full: (H, W) of the file. threshold: least
    score of the detections that are in the findings."""

    name: str
    full: tuple[int, int]
    threshold: float
    versions: Sequence[Version]

    def _repr_html_(self) -> str:
        return embedded(self)

    def __repr__(self) -> str:
        return repr(self.table())

    def panels(self) -> list:
        """The versions as `reporting.figures` shows them, detections drawn."""
        from llie_core.reporting.figures import Panel

        finds, panels = pretrained_recognizers(), []
        for version in self.versions:
            drawn = [(finds[name], f) for name, f in version.findings.items() if len(f.boxes)]
            panels.append(
                Panel(
                    version.title,
                    version.image.cpu(),
                    boxes=torch.cat([torch.zeros(0, 4), *(f.boxes for _, f in drawn)]),
                    scores=torch.cat([torch.zeros(0), *(f.scores for _, f in drawn)]),
                    names=[word for word, f in drawn for _ in f.scores],
                )
            )
        return panels

    def table(self):
        """What is found, a line a version."""
        from llie_core.reporting.tables import Table

        names = list(self.versions[0].findings)
        rows = []
        for number, version in enumerate(self.versions):
            used = f"{version.strength:.2f}" if number else "–"
            rows.append([
                version.title, f"{luma(version.image[None]).mean():.2f}",
                f"{used}: {version.reason}" if version.reason else used,
                *(version.findings[name].words for name in names),
            ])  # fmt: skip
        height, width = self.versions[0].image.shape[1:]
        of = f" (the file: {self.full[1]}×{self.full[0]})" if self.full != (height, width) else ""
        note = f"Enhanced, read and shown at {width}×{height} pixels{of}."
        if any(finds != "class" for n, finds in pretrained_recognizers().items() if n in names):
            note += f" Detections of score {self.threshold:g} or more."
        header = ["method", "mean luma", "strength", *(title_of(name) for name in names)]
        return Table("What is found" if names else "Methods", header, rows, note)


def load_recognizer(name: str) -> Recognizer:
    """A recognizer that reads photographs as it is built.

    Raises:
        ValueError: unknown, or it has to be trained first.
        ImportError, WeightsNotAvailable: the package of its weights is not installed.
    """
    _check_recognizer(name)
    return create_recognizer(name)


def recognizers_at_hand(names: Iterable[str]) -> tuple[dict[str, Recognizer], list[str]]:
    """Those of some recognizers whose packages are installed, and a line for each of the others
    that says what to install.

    Raises:
        ValueError: as of `load_recognizer`.
    """
    found, lines = {}, []
    for name in names:
        try:
            found[name] = load_recognizer(name)
        except (ImportError, WeightsNotAvailable) as error:
            lines.append(f"{title_of(name)} is left out: {error}")
    return found, lines


def _check_recognizer(name: str) -> None:
    if name not in list_recognizers():
        raise unknown("recognizer", name, list_recognizers())
    if name not in pretrained_recognizers():
        known = ", ".join(pretrained_recognizers())
        raise ValueError(
            f"{name} has no weights until it is trained; with weights of real images: {known}"
        )


def compare_photo(
    name: str, image: Tensor, methods: Mapping[str, Enhancer],
    recognizers: Mapping[str, Recognizer], strength: float = 1.0, gate: bool = True,
    threshold: float = THRESHOLD, side: int = SIDE,
) -> Compared:  # fmt: skip
    """Enhance one photograph by each method and let each recognizer read every version.

    Args:
        name: of the photograph, as the page calls it.
        image: (3, H, W) float RGB in [0, 1]; a larger one is first reduced to `side`.
        methods: label → enhancer.
        recognizers: name → recognizer, of `pretrained_recognizers`.
        strength, gate: as of `enhance_gated`.
        threshold: least score of a detection, in [0, 1].
        side: pixels of the longer side, at least 16.

    Raises:
        ValueError: a strength, threshold or side out of range, or no such image.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold {threshold} must lie in [0, 1]")
    if side < 16:
        raise ValueError(f"side {side} must be 16 pixels or more")
    x = _reduced(image, side)
    versions = [Version("identity", x[0], 1.0, "", _findings(recognizers, x, threshold))]
    for label, model in methods.items():
        result = enhance_gated(model, x, strength, gate)
        found = _findings(recognizers, result.image, threshold)
        versions.append(Version(label, result.image[0], result.strength, result.reason, found))
    return Compared(name, (image.shape[1], image.shape[2]), threshold, versions)


def page(compared: Sequence[Compared]) -> str:
    """One HTML page that reads offline: a slider and a table for each photograph.

    Raises:
        ValueError: as of `photo_page`.
    """
    from llie_core.reporting.figures import photo_html
    from llie_core.reporting.page import photo_page

    def body(side: int) -> str:
        return "".join(
            photo_html(one.panels(), one.name, side, one.table()._repr_html_()) for one in compared
        )

    return photo_page("Before and after", body, SIDE)


def embedded(compared: Compared) -> str:
    """The page as an element of another one, a notebook's for instance, apart from its style."""
    content = html.escape(page([compared]))
    fit = "this.style.height = this.contentDocument.documentElement.scrollHeight + 20 + 'px'"
    return (
        f'<iframe class="before-after" title="Before and after" srcdoc="{content}" '
        f'onload="{fit}" style="width: 100%; height: 60rem; border: 0"></iframe>'
    )


def _reduced(image: Tensor, side: int) -> Tensor:
    """(3, H, W) → (1, 3, h, w), the longer side at most `side`."""
    height, width = image.shape[1:]
    scale = side / max(height, width)
    if scale >= 1:
        return image[None]
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return F.interpolate(image[None], size, mode="bicubic", antialias=True).clamp(0, 1)


def _findings(
    recognizers: Mapping[str, Recognizer], x: Tensor, threshold: float
) -> dict[str, Finding]:
    finds = pretrained_recognizers()
    return {n: _finding(r, finds[n], x, threshold) for n, r in recognizers.items()}


def _finding(recognizer: Recognizer, finds: str, x: Tensor, threshold: float) -> Finding:
    found = recognizer.predict(x)[0]
    if finds == "class":  # found: (classes,) probabilities
        best = found.topk(CLASSES)
        classes: Any = recognizer.classes
        named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        words = ", ".join(f"{classes[i]} {p:.0%}" for i, p in named)
        return Finding(words, torch.zeros(0, 4), torch.zeros(0))
    kept = found["scores"] >= threshold
    boxes, scores = found["boxes"][kept].cpu(), found["scores"][kept].cpu()
    counted = f"{len(scores)} {finds}{'s' * (len(scores) != 1)}"
    best_score = f", best {scores.max():.2f}" if len(scores) else ""
    return Finding(f"{counted}{best_score}", boxes, scores)


# In a notebook ---------------------------------------------------------------------------------


def chooser(
    photos: Mapping[str, Tensor], methods: Sequence[str] = ("mf",),
    recognizers: Sequence[str] = ("mtcnn", "classifier"), strength: float = 1.0,
    photograph: str = "",
) -> Any:  # fmt: skip
    """Controls for a notebook: upload or pick a photograph, choose methods, recognizers, strength.

    Args:
        photos: title → (3, H, W) in [0, 1], to pick from.
        methods, recognizers: chosen at the start. Methods that need weights which are not there
            are not offered; of a recognizer, it is said what to install.
        photograph: a file to begin with.

    Raises:
        ValueError, FileNotFoundError: no such method or recognizer, no weights of it, an
            unreadable photograph.
    """
    from llie_core.reporting.chooser import Choice, Chooser

    known = [n for n in list_enhancers() if _weights_at_hand(n) or not _is_learned(n)]
    known.remove("identity")  # the photograph itself
    for name in methods:
        if name not in known:
            raise _not_offered(name)
    for name in recognizers:
        _check_recognizer(name)
    photos = dict(photos)
    if photograph:
        file = Path(photograph).expanduser().absolute()  # an error says where it was looked for
        photos = {file.name: _read(file)} | photos
    model_of = cache(lambda name: create_enhancer(name, _weights_at_hand(name)))
    read_by = cache(recognizers_at_hand)

    def show(image: Tensor, choice: Choice) -> tuple[str, list[str]]:
        readers, lines = read_by(tuple(choice.recognizers))
        models = {name: model_of(name) for name in choice.methods}
        compared = compare_photo(choice.name, image, models, readers, choice.strength, choice.gate)
        return embedded(compared), lines

    offered = dict.fromkeys((*methods, *known))  # those that are chosen stand first
    return Chooser(
        photos, _read, show, {title_of(n): n for n in offered},
        {f"{title_of(n)}: {finds}": n for n, finds in pretrained_recognizers().items()},
        Choice(next(iter(photos)), methods, recognizers, strength, True),
    )  # fmt: skip


def _not_offered(name: str) -> ValueError:
    """Why a method cannot be chosen."""
    if name == "identity":
        return ValueError("identity: the photograph itself is always shown; leave it out")
    released = model_spec(name).released
    fetch = f"; run: llie weights fetch {released}" if released else ""
    return ValueError(f"no weights of {name} are at hand{fetch}")


def _is_learned(name: str) -> bool:
    with torch.device("meta"):
        return create_enhancer(name).learned


def _weights_at_hand(name: str) -> str | None:
    """ "reference" or "released", where these weights of a method are on this machine."""
    spec = model_spec(name)
    if spec.reference and (project_root() / "results" / "reference" / spec.reference).is_file():
        return "reference"
    return "released" if spec.released and available(spec.released) else None


def _read(file: Path | tuple[bytes, str]) -> Tensor:
    """The image of a file, or of an upload's content and name."""
    if isinstance(file, Path):
        return read_photo(file).image
    content, name = file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"photo{Path(name).suffix}")
        path.write_bytes(content)
        try:
            return read_photo(path).image
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from error
