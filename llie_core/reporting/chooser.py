"""The controls of notebooks/start_here.ipynb: a photograph, methods, recognizers, a strength.

Uses ipywidgets, so that everything runs in the notebook's own kernel: a photograph leaves the
machine that runs it no more than any other cell's data.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from llie_core.files import problem_of

UPLOAD = ".jpg,.jpeg,.png,.webp,.tif,.tiff,.bmp,.ppm,.heic,.heif,.dng"
WIDE = {"description_width": "6rem"}


@dataclass(frozen=True)
class Choice:
    """What a user has chosen. name: of the photograph; methods and recognizers by name."""

    name: str
    methods: Sequence[str]
    recognizers: Sequence[str]
    strength: float
    gate: bool


class Chooser(widgets.VBox):
    """Controls, and below them what `show` makes of a choice.

    An error of `read` or `show` becomes a line below the controls; what was shown stays.

    Args:
        photos: name → photograph, anything that `show` takes; uploads and files are added.
        read: file → photograph, of a path or, as (bytes, name), of an upload.
        show: (photograph, choice) → HTML and lines that say what was left out.
        methods, recognizers: title → name of what is offered.
        chosen: what is chosen at the start; `chosen.name` is one of `photos`.
    """

    def __init__(
        self, photos: Mapping[str, Any], read: Callable[[Any], Any],
        show: Callable[[Any, Choice], tuple[str, Sequence[str]]], methods: Mapping[str, str],
        recognizers: Mapping[str, str], chosen: Choice,
    ):  # fmt: skip
        self.photos, self._read, self._show = dict(photos), read, show
        self.upload = widgets.FileUpload(accept=UPLOAD, description="Upload a photograph",
                                         layout={"width": "13rem"})  # fmt: skip
        self.file = widgets.Text(placeholder="or its file here, then Enter: photos/night.jpg",
                                 continuous_update=False, layout={"width": "24rem"})  # fmt: skip
        self.photo = widgets.Dropdown(options=list(self.photos), value=chosen.name,
                                      description="photograph", style=WIDE)  # fmt: skip
        self.methods = _several("methods", methods, chosen.methods)
        self.recognizers = _several("recognizers", recognizers, chosen.recognizers)
        self.strength = widgets.FloatSlider(value=chosen.strength, min=0, max=1, step=0.05,
                                            description="strength", style=WIDE)  # fmt: skip
        self.gate = widgets.Checkbox(value=chosen.gate, indent=False,
                                     description="lower it where pixels would clip")  # fmt: skip
        self.button = widgets.Button(description="Compare", button_style="primary")
        self.said, self.result = widgets.HTML(), widgets.HTML(layout={"width": "100%"})
        self.upload.observe(self._uploaded, "value")
        self.file.observe(self._named, "value")
        self.button.on_click(lambda _: self.compare())
        super().__init__([
            widgets.HBox([self.upload, self.file], layout={"flex_flow": "row wrap"}),
            widgets.HBox([widgets.VBox([self.photo, self.strength, self.gate, self.button]),
                          self.methods, self.recognizers], layout={"flex_flow": "row wrap"}),
            self.said, self.result,
        ])  # fmt: skip
        self.compare()

    def compare(self) -> None:
        """Show what is chosen now."""
        choice = Choice(self.photo.value, self.methods.value, self.recognizers.value,
                        self.strength.value, self.gate.value)  # fmt: skip
        self.button.disabled = True
        self._say(["at work …"])
        try:
            self.result.value, lines = self._show(self.photos[choice.name], choice)
            self._say(lines)
        except Exception as error:  # methods raise anything on odd images
            self._say([_problem(choice.name, error)])
        finally:
            self.button.disabled = False

    def _uploaded(self, _change) -> None:
        for file in self.upload.value:
            self._add(file["name"], (bytes(file["content"]), file["name"]))

    def _named(self, change) -> None:
        if name := change["new"].strip():
            self._add(Path(name).name, Path(name).expanduser().absolute())

    def _add(self, name: str, file: Any) -> None:
        """Read a photograph, offer it and choose it."""
        try:
            self.photos[name] = self._read(file)
        except Exception as error:  # decoders raise anything on damaged files
            self._say([_problem(name, error)])
            return
        self.photo.options = list(self.photos)
        self.photo.value = name
        self._say([f"{name} is chosen; press Compare"])

    def _say(self, lines: Sequence[str]) -> None:
        self.said.value = "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _problem(name: str, error: Exception) -> str:
    try:
        return problem_of(name, error)
    except OSError:  # the disk's or the system's
        return str(error)


def _several(title: str, offered: Mapping[str, str], chosen: Sequence[str]) -> Any:
    """A list to choose several of, with Control or Shift."""
    known = [name for name in chosen if name in offered.values()]
    return widgets.SelectMultiple(options=list(offered.items()), value=known, rows=7,
                                  description=title, style=WIDE)  # fmt: skip
