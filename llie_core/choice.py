"""The protocol by which the default of `llie enhance` is chosen, and its measurements.

A method is measured as `llie enhance` runs it (models/gate.py: strength 1, the gate on), its
output rounded to 8 bits, on two disjoint parts of each set:

                        to choose                           to report
    low-light pairs     15 held out of LOL's our485         LOL's eval15
    low light, no pair  every other image of DICM, LIME,    the others
                        MEF and NPE
    normal light        the pairs' ground truths, every     the pairs' ground truths, the others
                        other image of ECSSD and COCO

The default is chosen by the rule of `records.default_enhancer`. `llie choose` writes
models/measured.csv and, from it, docs/DEFAULT.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from statistics import fmean

from torch import Tensor

from llie_core.data import open_dataset
from llie_core.dataset import items
from llie_core.files import project_root, write_rows, write_text
from llie_core.losses.colour import rgb_to_hsv
from llie_core.metrics import niqe, psnr
from llie_core.models import MODELS, create_enhancer, list_enhancers, model_spec
from llie_core.models.gate import clipped_share, enhance_gated, gated
from llie_core.models.records import (
    LEAST_CHANGE,
    MOST_CLIPPED,
    MOST_HUE,
    PARTS,
    TABLE,
    Measured,
    default_enhancer,
    measurements,
)

PAIRS = 15
LOW_LIGHT = (("dicm", "test"), ("lime", "test"), ("mef", "test"), ("npe", "test"))
NORMAL_LIGHT = (("ecssd", "all"), ("coco", "val"))
NUMBERS = [field.name for field in fields(Measured)][3:]
UNCHANGED = 60.0  # dB that stand for no change at all
COLOURED = 0.2


class Images:
    """The images of one part; the pairs stay in memory.

    Args:
        data: folder that holds the data sets.
        part: one of `PARTS`.

    Raises:
        FileNotFoundError: a set is not there.
    """

    def __init__(self, data: Path, part: str):
        self.data, self.part = data, part

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(low, high), (1, 3, H, W) each."""
        if self.part == "choose":
            pairs = open_dataset("lol", "val", self.data, val=PAIRS)
        else:
            pairs = open_dataset("lol", "test", self.data)
        return [(pair["image"][None], pair["target"][None]) for pair in items(pairs)]

    def low_light(self) -> Iterator[Tensor]:
        return self._others(LOW_LIGHT)

    def normal_light(self) -> Iterator[Tensor]:
        yield from (high for _, high in self.pairs)
        yield from self._others(NORMAL_LIGHT)

    def _others(self, sets: Iterable[tuple[str, str]]) -> Iterator[Tensor]:
        for name, split in sets:
            data = open_dataset(name, split, self.data)
            for index in range(PARTS.index(self.part), len(data), 2):
                yield data[index]["image"][None]


def measure(name: str, weights: str, images: Images) -> Measured:
    """One method on one part; minutes for the slow ones."""
    model = create_enhancer(name, weights=weights or None)
    scores = [_db(_as_file(enhance_gated(model, low).image), high) for low, high in images.pairs]
    natural, clipped = [], []
    for x in images.low_light():
        y = _as_file(enhance_gated(model, x).image)
        natural.append(niqe(y).item())
        clipped.append(clipped_share(x, y))
    changes, ungated, spoiled, hues = [], [], [], []
    for x in images.normal_light():
        enhanced = model.enhance(x)
        ungated.append(_db(_as_file(enhanced), x))
        y = _as_file(gated(x, enhanced).image)
        changes.append(_db(y, x))
        spoiled.append(clipped_share(x, y))
        hues += hue_change(x, y)
    lists = (scores, natural, clipped, changes, spoiled, ungated, hues)
    means = (round(fmean(values), 4) for values in lists)
    counts = (len(m) for m in (scores, natural, changes))
    values = zip(NUMBERS, (*means, *counts), strict=True)
    return Measured(name, weights, images.part, **dict(values))  # type: ignore[arg-type]


def hue_change(x: Tensor, y: Tensor) -> list[float]:
    """Mean difference of hue, in degrees, over the pixels of x whose largest and smallest channel
    differ by `COLOURED` or more: both (1, 3, H, W) in [0, 1]; [] where there is no such pixel."""
    coloured = (x.amax(dim=1) - x.amin(dim=1)) >= COLOURED
    if not coloured.any():
        return []
    turned = rgb_to_hsv(y)[:, 0] - rgb_to_hsv(x)[:, 0]  # (1, H, W), of a full circle of 1
    return [float(((turned + 0.5) % 1 - 0.5).abs()[coloured].mean() * 360)]


def _as_file(image: Tensor) -> Tensor:
    """On the 256 levels that a file holds."""
    return (image * 255).round() / 255


def _db(y: Tensor, x: Tensor) -> float:
    return min(psnr(y, x).item(), UNCHANGED)


def candidates() -> list[tuple[str, str]]:
    """(name, weights) of every method that can be named without a file: those without parameters,
    with shipped weights, and with released ones that were fetched."""
    found = []
    for name in (name for name in list_enhancers() if not model_spec(name).package):
        if not create_enhancer(name).learned:
            found.append((name, ""))
        found += [(name, "reference")] if model_spec(name).reference else []
        with suppress(FileNotFoundError, ValueError):
            create_enhancer(name, weights="released")
            found.append((name, "released"))
    return found


def update(data: Path, names: Sequence[str] = ()) -> Path:
    """Measure methods (default: all), write `measured.csv` and the page; returns the page's path.

    Rows of other methods stay as they are.

    Raises:
        ValueError: an unknown name, or one of a network without weights.
    """
    known = candidates()
    for name in names:
        if model_spec(name).name not in {model for model, _ in known}:
            raise ValueError(f"{name}: no weights are shipped or fetched; nothing to measure")
    wanted = [one for one in known if not names or one[0] in names]
    parts = [Images(data, part) for part in PARTS]
    fresh = [measure(*one, images) for one in wanted for images in parts]
    keys = {(m.model, m.weights) for m in fresh}
    kept = [m for m in measurements() if (m.model, m.weights) not in keys and m.model in MODELS]
    order = list(MODELS)
    rows = sorted([*kept, *fresh], key=lambda m: (order.index(m.model), m.weights, m.part))
    write_rows(TABLE, [asdict(row) for row in rows])
    measurements.cache_clear()
    path = project_root() / "docs" / "DEFAULT.md"
    write_text(path, page())
    return path


def page() -> str:
    """docs/DEFAULT.md, from `measured.csv`."""
    name, weights = default_enhancer()
    chosen = model_spec(name).title + (f", {weights} weights" if weights else "")
    tables = "\n".join(_table(part) for part in PARTS)
    measured = {(m.model, m.weights) for m in measurements()}
    others = [
        model_spec(n).title for n, w in candidates() if w != "released" and (n, w) not in measured
    ]
    unknown = f"Not measured: {', '.join(others)}." if others else "All methods are measured."
    return f"""# The default of `llie enhance`

Written by `llie choose` from `llie_core/models/measured.csv`; do not edit.

**{chosen}.** A method is run as `llie enhance` runs it, strength 1 and the gate on, and its output
is rounded to 8 bits. The default is the one of the highest PSNR among those measured that need no
download and spoil no photograph: a normal-light photograph keeps a PSNR of {LEAST_CHANGE:g} dB or
more to itself, at most {MOST_CLIPPED:.0%} of the pixels are newly clipped, and hues change by
{MOST_HUE:g}° at most. All of that is decided on the images to choose by; those to report on decide
nothing. {unknown}

| | to choose by | to report on |
| --- | --- | --- |
| pairs | {PAIRS} held out of LOL's our485 | LOL's eval15 |
| low light without ground truth | every other image at hand of DICM, LIME, MEF and NPE | the \
others |
| normal light | ground truths of the pairs, every other image at hand of ECSSD and COCO | those \
of the pairs, the others |

PSNR: mean over images, RGB, no correction of brightness. NIQE: lower is better. Newly clipped:
mean share of pixels at an end of the range in some channel, which the input has at none. To itself:
PSNR of output to input on normal-light photographs, {UNCHANGED:g} dB at most; beside it with
`--no-gate`. Hue: mean change on normal-light photographs, of pixels whose channels differ by
{COLOURED:g} or more; red and orange are 30° apart. The {PAIRS} pairs are among those by which
CurveRefine's weights were selected.
{tables}"""


def _table(part: str) -> str:
    rows = [m for m in measurements() if m.part == part]
    rows.sort(key=lambda m: -m.psnr)
    one = rows[0]
    lines = [
        f"\n## Images to {part}{' on' if part == 'report' else ' by'}\n",
        "| method | weights | PSNR, dB | NIQE | newly clipped, low light | to itself, dB | "
        "no gate | newly clipped, normal light | hue | spoils photographs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in rows:
        lines.append(
            f"| {model_spec(m.model).title} | {m.weights or '–'} | {m.psnr:.2f} | {m.niqe:.2f} | "
            f"{m.clipped:.1%} | {m.change:.1f} | {m.ungated:.1f} | {m.normal_clipped:.1%} | "
            f"{m.hue:.1f}° | "
            f"{'yes' if m.spoils else 'no'} |"
        )
    lines.append(
        f"\nn = {one.pairs} pairs, {one.low} low-light and {one.normal} normal-light images."
    )
    return "\n".join(lines) + "\n"
