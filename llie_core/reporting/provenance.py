"""Where the numbers of a report come from: a line a training; settings and curve on a click."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llie_core.reporting.tables import Table, share_of_pixels


@dataclass(frozen=True)
class Training:
    """A finished training.

    title: the row as tables call it; stamp, settings: its records; losses: `total` by step;
    command: what makes it again.
    """

    title: str
    stamp: Mapping
    settings: Mapping
    losses: Sequence[float]
    command: str


@dataclass(frozen=True)
class Provenance:
    """The trainings behind a report; shows itself."""

    trainings: Sequence[Training]

    def table(self) -> Table:
        """Steps, pixels, time, device, versions, commit and train hash of each."""
        rows = []
        for one in self.trainings:
            stamp, run = one.stamp, one.stamp["run"]
            rows.append([
                f"{one.title}, seed {run['seed']}", run["dataset"],
                f"{stamp['steps_done']} of {stamp['steps_planned']}", share_of_pixels(stamp),
                str(stamp.get("selected_step", "–")), f"{stamp['seconds']:.0f} s", stamp["device"],
                f"torch {stamp['torch']}, {stamp['commit']}", stamp["train_hash"],
            ])  # fmt: skip
        header = ["run", "data", "steps of planned", "pixels of planned", "weights of step",
                  "time", "device", "versions", "train hash"]  # fmt: skip
        note = "Pixels: steps × batch × area of the crops, of a training on crops."
        return Table("Where the numbers come from", header, rows, note)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        seen: set[str] = set()
        cards = []
        for one in self.trainings:
            # Tables link a row to the training of its first seed, by this name.
            name = f' id="{html.escape(f"run-{one.title}")}"' if one.title not in seen else ""
            seen.add(one.title)
            cards.append(_card(one, name))
        return self.table()._repr_html_() + "".join(cards)


def _card(one: Training, name: str) -> str:
    settings = html.escape(json.dumps(one.settings, indent=1, sort_keys=True, default=str))
    title = html.escape(f"{one.title}, seed {one.stamp['run']['seed']}")
    return (
        f'<details class="run"{name}><summary>{title}</summary>'
        f"{_curve(one.losses, title)}"
        f"<p>Made again by</p><pre>{html.escape(one.command)}</pre>"
        f"<p>Settings, as they are hashed</p><pre>{settings}</pre></details>"
    )


def _curve(losses: Sequence[float], title: str) -> str:
    """The loss by step, as a small chart of at most 200 points."""
    if len(losses) < 2:
        return ""
    shown = losses[:: -(-len(losses) // 200)]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    line = " ".join(
        f"{300 * place / (len(shown) - 1):.1f},{58 - 56 * (value - low) / span:.1f}"
        for place, value in enumerate(shown)
    )
    label = f"{title}: loss {losses[0]:.4g} at the first step, {losses[-1]:.4g} at the last"
    return (
        f'<figure><svg role="img" aria-label="{label}" viewBox="0 0 300 60" width="300">'
        f'<polyline points="{line}" fill="none" stroke="currentColor"/></svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )
