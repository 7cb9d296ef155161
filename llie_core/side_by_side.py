"""Methods side by side on one test set by the same protocols: `llie compare METHOD… --data SET`.

    name, data = open_set("lol=/data/LOL")
    protocols, absent = protocols_for(data)
    found = [measure(method, data, protocols) for method in methods]
    ranking(name, "test", data, protocols, absent, found, "cpu").table()

The images are measured as the studies measure them (tasks/quality.py): the method at full strength,
without the gate of `llie enhance`, its output not rounded.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median

import torch
from torch import Tensor

from llie_core.data import dataset_spec, list_datasets, open_dataset
from llie_core.data.external import ExternalOutputs
from llie_core.data.folders import folders_in
from llie_core.data.paired import HIGH, LOW, PairsIn
from llie_core.data.registry import Absent, find_folder, locate
from llie_core.data.unpaired import ImageFolder
from llie_core.data.wrappers import spread
from llie_core.dataset import SizedDataset
from llie_core.devices import device_name
from llie_core.engine.runs import commit
from llie_core.metrics.cost import count_parameters
from llie_core.metrics.protocols import load_protocols
from llie_core.metrics.resampling import Interval, bootstrap
from llie_core.models import Enhancer
from llie_core.names import metric_title
from llie_core.reporting.scores import Score
from llie_core.reporting.tables import Table
from llie_core.tasks.quality import MAIN, ImageQuality, available, metric_of

WITH_TRUTH = (MAIN["psnr"], MAIN["ssim"], "psnr-rgb-float-gtmean-grey-8bit", MAIN["lpips"])
WITHOUT_TRUTH = (MAIN["niqe"], MAIN["brisque"])
FEW = 100  # images; with fewer, the table says what they decide
SHOWN = 4  # images on a page
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
SIDE = 800  # pixels, of their longer side


@dataclass(frozen=True)
class Method:
    """What is compared. model: on the device, in eval mode; folder: another program's images,
    which stand in for the input of `identity`; weights: where they come from, "" for none."""

    label: str
    title: str
    model: Enhancer
    folder: Path | None = None
    weights: str = ""
    sha256: str = ""

    @property
    def parameters(self) -> str:
        """Their number; "–" of another program."""
        return "–" if self.folder else f"{count_parameters(self.model):,}"

    def images(self, data: SizedDataset) -> SizedDataset:
        """A test set as the method is given it."""
        return data if self.folder is None else ExternalOutputs(self.folder, data, missing="skip")


@dataclass(frozen=True)
class Found:
    """A method's values: protocol → name of an image → value; shown: (name, image, output, ground
    truth or None) of some images, (3, H, W) each."""

    method: Method
    values: Mapping[str, Mapping[str, float]]
    shown: Sequence[tuple[str, Tensor, Tensor, Tensor | None]]

    def mean(self, protocol: str) -> float | None:
        """None where no image has a value."""
        values = self.values[protocol].values()
        return fmean(values) if values else None

    def interval(self, protocol: str) -> Interval:
        """95 % interval of the mean over images."""
        return bootstrap([*self.values[protocol].values()])

    def less(self, other: "Found", protocol: str) -> list[float]:
        """Differences to another method's values, of the images that both have."""
        theirs = other.values[protocol]
        return [v - theirs[name] for name, v in self.values[protocol].items() if name in theirs]

    def differs(self, other: "Found", protocol: str) -> bool:
        """Whether the images that both have tell two methods apart."""
        less = self.less(other, protocol)
        low, high = bootstrap(less) if len(less) > 1 else (0.0, 0.0)
        return not low <= 0 <= high


def open_set(given: str, split: str = "") -> tuple[str, SizedDataset]:
    """A test set by what a command line says, and its name.

    Args:
        given: a built-in set, NAME=FOLDER of a known one, or a folder: of a known set by its usual
            name, of pairs (low/ and high/, as data/paired.py has them), of such folders (train/,
            test/), or of images.
        split: "" for test, or for all that a folder of pairs or images holds.

    Raises:
        ValueError, FileNotFoundError: no such set, or not there; one line.
    """
    name, _, folder = given.partition("=")
    if folder or not Path(given).is_dir():
        if folder and Path(folder).is_dir() and name not in (x.name for x in list_datasets()):
            raise ValueError(
                f"{name!r} is no known data set (llie datasets lists them); a folder of your own, "
                f"of images or of pairs in low/ and high/, is given without a name: {folder}"
            )
        spec = dataset_spec(name)
        if spec.public and not spec.builtin and not folder:
            raise ValueError(f"say where it is: --data {name}=FOLDER; {spec.where()}")
        return name, open_dataset(name, split or "test", folder or None)
    root = Path(given)
    for spec in list_datasets():
        if spec.folder and locate(spec, root) == root and (split or "test") in spec.splits:
            try:
                return spec.name, open_dataset(spec.name, split or "test", root)
            except Absent:  # another set in a folder of that name
                continue
    return root.resolve().name, _open_folder(root, split)


def _open_folder(root: Path, split: str) -> SizedDataset:
    """A folder of no known set: of pairs, of parts with pairs each, or of images."""
    parts = [folder.name for folder in folders_in(root) if _holds_pairs(folder)]
    if split in parts:
        return PairsIn(root / split)
    if split or (parts and not _holds_pairs(root)):
        known = f"pairs lie in {', '.join(parts)}" if parts else "it is one set, without splits"
        raise ValueError(f"{root}: {known}{'; name one by --split' * (bool(parts) and not split)}")
    return PairsIn(root) if _holds_pairs(root) else ImageFolder(root)


def _holds_pairs(folder: Path) -> bool:
    return bool(find_folder(folder, *LOW) and find_folder(folder, *HIGH))


def protocols_for(data: SizedDataset, also: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Protocols that a test set and the weights at hand allow, and why others are left out.

    Raises:
        ValueError: an unknown one among `also`, one that the set does not allow, or none at all.
    """
    paired = "target" in data[0]
    wanted = dict.fromkeys([*(WITH_TRUTH if paired else ()), *WITHOUT_TRUTH, *also])
    for name in also:
        known = load_protocols().get(name)
        if known is None or known.inputs not in ("pair", "low-light", "image"):
            raise ValueError(f"--protocol {name}: no protocol of images; see protocols.toml")
        if known.inputs == "pair" and not paired:
            raise ValueError(f"--protocol {name} needs ground truths, which the set does not have")
    kept = available(tuple(wanted))
    absent = [f"{n}: {load_protocols()[n].missing_weights()}" for n in wanted if n not in kept]
    if not kept:
        raise ValueError(
            "no metric for images without ground truth is at hand: "
            f"{'; '.join(absent)}. llie compare METHOD… PHOTO… shows photographs side by side"
        )
    return list(kept), absent


def measure(
    method: Method, data: SizedDataset, protocols: Sequence[str], device: str = "cpu",
    shown: int = SHOWN,
) -> Found:  # fmt: skip
    """A method's values on a test set, and some of its images.

    Raises:
        ValueError, FileNotFoundError: what an image or a folder of images is refused for.
    """
    given = method.images(data)
    _, lines = ImageQuality(tuple(protocols)).measure(method.model, given, torch.device(device))
    values = {
        p: {line["name"]: float(line[p]) for line in lines if line.get(p) not in (None, "", "inf")}
        for p in protocols
    }
    # The same scenes for all: those of the whole set, as far as the method has them.
    places = {line["name"]: place for place, line in enumerate(lines)}
    chosen = [data[index]["name"] for index in spread(len(data), shown)]
    images = [_shown(method, given[places[n]], device) for n in chosen if n in places]
    return Found(method, values, images)


def _shown(method: Method, item: dict, device: str) -> tuple[str, Tensor, Tensor, Tensor | None]:
    output = method.model.enhance(item["image"][None].to(device))[0].cpu()
    return item["name"], item.get("input", item["image"]), output, item.get("target")


@dataclass(frozen=True)
class Ranking:
    """Methods on a test set, the best by the first protocol first.

    size: images of the set; absent: protocols that were left out, each with the reason; found: in
    any order.
    """

    dataset: str
    split: str
    size: int
    protocols: Sequence[str]
    absent: Sequence[str]
    found: Sequence[Found]
    device: str

    @cached_property
    def ranked(self) -> list[Found]:
        first = load_protocols()[self.protocols[0]]
        sign = -1 if first.direction == "higher" else 1
        worst = float("inf")
        return sorted(
            self.found,
            key=lambda f: worst if (m := f.mean(first.id)) is None else sign * m,
        )

    def table(self) -> Table:
        """A line a method: the mean with its 95 % interval over images by protocol, and the
        difference to the first by the same images."""
        first = load_protocols()[self.protocols[0]]
        rows = []
        for one in self.ranked:
            behind = "–"
            if one is not self.ranked[0] and (less := one.less(self.ranked[0], first.id)):
                behind = _with_interval(fmean(less), bootstrap(less), first.decimals, "+")
            count = max(len(values) for values in one.values.values())
            rows.append([
                one.method.title, one.method.weights or "–", one.method.parameters, str(count),
                *(self._cell(one, protocol) for protocol in self.protocols), behind,
            ])  # fmt: skip
        columns = [_column(p) for p in self.protocols]
        header = ["method", "weights", "parameters", "images", *columns, "to the first"]
        caption = f"{self.dataset}, {self.split} split: {self.size} images"
        return Table(caption, header, rows, f"{self.decided()} {self._note()}", self._marks())

    def decided(self) -> str:
        """What the images decide by the first protocol, in a sentence or two."""
        if self.size == 1:
            return "One image decides nothing: its values have no interval."
        first, best = load_protocols()[self.protocols[0]], self.ranked[0]
        halves = [(high - low) / 2 for low, high in
                  (f.interval(first.id) for f in self.found if f.values[first.id])]  # fmt: skip
        if not halves:
            return f"No image has a value of {_title(first.id)}."
        within = f"± {median(halves):.{first.decimals}f} {first.unit}".removesuffix(" index")
        little = " decide little" if self.size < FEW else ""
        said = f"{self.size} images{little}: the 95 % interval of {_title(first.id)} is {within}"
        close = [f.method.title for f in self.ranked[1:]
                 if f.values[first.id] and not f.differs(best, first.id)]  # fmt: skip
        also = f" They do not tell {', '.join(close)} from {best.method.title}." if close else ""
        return f"{said} (median of the methods).{also}"

    def _cell(self, one: Found, protocol: str) -> str:
        mean = one.mean(protocol)
        if mean is None:
            return "–"
        return _with_interval(mean, one.interval(protocol), load_protocols()[protocol].decimals)

    def _marks(self) -> dict[tuple[int, int], str]:
        """The best of each column that has a better end, where images tell it from the next."""
        marks = {}
        for place, protocol in enumerate(self.protocols, start=4):
            means = {n: m for n, f in enumerate(self.ranked) if (m := f.mean(protocol)) is not None}
            direction = load_protocols()[protocol].direction
            order = sorted(means, key=lambda n: means[n], reverse=direction == "higher")
            if len(order) > 1 and direction != "none":
                best, following = (self.ranked[n] for n in order[:2])
                if following.differs(best, protocol):
                    marks[order[0], place] = "best"
        return marks

    def _note(self) -> str:
        parts = [
            "In brackets: 95 % bootstrap intervals of means over images. To the first: "
            f"{_title(self.protocols[0])} less that of the first line, over the same images."
        ]
        partial = [f.method.title for f in self.found
                   if max(map(len, f.values.values())) < self.size]  # fmt: skip
        parts += [f"Fewer images than the set: {', '.join(partial)}."] if partial else []
        parts += [f"Not measured: {'; '.join(self.absent)}."] if self.absent else []
        parts.append(
            f"Protocols {', '.join(self.protocols)}; without the gate of llie enhance; "
            f"{self.device}; commit {commit()}."
        )
        return " ".join(parts)

    def scores(self) -> list[Score]:
        """The means, as charts take them."""
        return [
            Score(
                run="", label=f.method.label, recognizer="", dataset=self.dataset,
                split=self.split, subset="all", metric=metric_of(p), value=mean,
                n=len(f.values[p]), seed=0, protocol=p, profile="compare", device=self.device,
                precision="float32", steps_done=0, steps_planned=0, weights=f.method.weights,
                commit=commit(), low=(ends := f.interval(p))[0], high=ends[1],
            )
            for f in self.ranked for p in self.protocols if (mean := f.mean(p)) is not None
        ]  # fmt: skip

    def lines(self) -> list[dict]:
        """Every mean with its interval, for a CSV file."""
        known = {f.method.label: f for f in self.found}
        lines = []
        for score in self.scores():
            one = known[score.label]
            lines.append({
                "method": one.method.title, "weights": one.method.weights,
                "sha256": one.method.sha256, "parameters": one.method.parameters,
                "dataset": self.dataset, "split": self.split, "protocol": score.protocol,
                "unit": score.unit, "mean": f"{score.value:.5f}", "low": f"{score.low:.5f}",
                "high": f"{score.high:.5f}", "n": score.n, "device": self.device,
                "commit": score.commit,
            })  # fmt: skip
        return lines

    def image_lines(self) -> list[dict]:
        """Every value of every image, for a CSV file."""
        lines = []
        for one in self.ranked:
            names = dict.fromkeys(n for values in one.values.values() for n in values)
            for name in names:
                values = {p: one.values[p].get(name, "") for p in self.protocols}
                lines.append({"method": one.method.title, "name": name, **values})
        return lines

    def page(self) -> str:
        """One HTML page that reads offline: the table, a chart a metric, some images.

        Raises:
            ValueError: as of `photo_page`.
        """
        from llie_core.reporting.figures import comparison_figure, figure_html
        from llie_core.reporting.page import photo_page

        titles = {f.method.label: f.method.title for f in self.found}
        scores, charts = self.scores(), []
        for protocol in self.protocols:
            own = [score for score in scores if score.protocol == protocol]
            if own:
                drawn = comparison_figure(own, own[0].metric, "all", (), self.dataset, titles)
                charts.append(figure_html(*drawn))
        methods = [f for f in self.found if f.method.label != "identity"]
        title = f"{len(methods)} methods on {self.dataset}"
        said, table = html.escape(self.decided()), self.table()._repr_html_()
        head = f"<p>{said}</p>{table}{''.join(charts)}<h2>Images</h2>"
        return photo_page(title, lambda side: head + self._images(side), SIDE)

    def _images(self, side: int) -> str:
        from llie_core.reporting.figures import Panel, photo_html

        sections = []
        scenes = [shown[0] for shown in max(self.found, key=lambda one: len(one.shown)).shown]
        for name in scenes:
            found = {f.method.title: s for f in self.ranked for s in f.shown if s[0] == name}
            _, low, _, truth = next(iter(found.values()))
            panels = [Panel("input", low)]
            panels += [Panel(title, shown[2]) for title, shown in found.items() if title != "input"]
            panels += [] if truth is None else [Panel("ground truth", truth)]
            sections.append(photo_html(panels, str(name), side))
        return "".join(sections)


def _title(protocol: str) -> str:
    """The metric's for its main protocol, so that two protocols of one metric have two titles."""
    return metric_title(metric_of(protocol))


def _column(protocol: str) -> str:
    known = load_protocols()[protocol]
    unit = f", {known.unit}" if known.unit == "dB" else ""
    return f"{_title(protocol)}{unit}{ARROWS[known.direction]}"


def _with_interval(value: float, within: Interval, decimals: int, sign: str = "") -> str:
    """Without the interval where it has no width, as that of one image."""
    mean, low, high = (
        f"{number:{sign}.{min(decimals, 3)}f}".replace("-", "−") for number in (value, *within)
    )
    return mean if within[0] == within[1] else f"{mean} [{low}, {high}]"


def ranking(
    name: str, split: str, data: SizedDataset, protocols: Sequence[str], absent: Sequence[str],
    found: Sequence[Found], device: str,
) -> Ranking:  # fmt: skip
    """What was found on a test set; `split` is left out of sets that have none."""
    known = {spec.name for spec in list_datasets()}
    split = split or "test"
    split = split if name in known and split in dataset_spec(name).splits else "only"
    return Ranking(name, split, len(data), protocols, absent, found, device_name(device))
