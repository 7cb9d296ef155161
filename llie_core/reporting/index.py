"""Records of reports, and reports/index.html: a card a report."""

import contextlib
import datetime
import html
import json
import os
import sys
from pathlib import Path

from llie_core.files import atomic, is_locked, locked, reports_dir, results_dir, write_text

_FIELDS = {"name", "state", "error", "seconds", "finished"}


def states_dir() -> Path:
    return results_dir() / "reports"


def page_path(name: str) -> Path:
    return reports_dir() / f"{name}.html"


def executed_path(name: str) -> Path:
    return results_dir() / "notebooks" / f"{name}.ipynb"


def lock_path(name: str) -> Path:
    return results_dir() / "notebooks" / f"{name}.lock"


# Records ---------------------------------------------------------------------------------------


def record(state: dict) -> None:
    """Write a report's record and the index; without success the earlier report is removed."""
    if state["state"] in ("failed", "interrupted"):
        page_path(state["name"]).unlink(missing_ok=True)
        executed_path(state["name"]).unlink(missing_ok=True)
    state["finished"] = datetime.datetime.now().isoformat(" ", "minutes")
    write_text(states_dir() / f"{state['name']}.json", json.dumps(state, indent=2) + "\n")
    write_index()


def read_state(name: str) -> dict:
    """A report's record; empty where there is none."""
    return _read(states_dir() / f"{name}.json", _FIELDS)


def write_headline(
    paper: str, dataset: str, profile: str, device: str, text: str, question: str = ""
) -> None:
    """What summary and index show of a report; called in its notebook."""
    report = os.environ.get("LLIE_REPORT", "")
    about = {"device": device, "headline": text, "question": question, "report": report}
    content = json.dumps(about) + "\n"
    write_text(_shared_headline(paper, dataset, profile), content)
    if report:
        write_text(_headline(report), content)


def shows(paper: str, dataset: str, profile: str) -> str | None:
    """The report whose headline, scores and verdicts the summary shows: reports of other seeds or
    settings share the folder. None where none has written a headline."""
    path = _shared_headline(paper, dataset, profile)
    return _read(path, {"report"}).get("report")


def _shared_headline(paper: str, dataset: str, profile: str) -> Path:
    return results_dir() / paper / dataset / profile / "headline.json"


def _headline(name: str) -> Path:
    return states_dir() / "headlines" / f"{name}.json"


def _read(path: Path, fields: set[str]) -> dict:
    """A record; empty where it is not there. A damaged one is named and set aside."""
    if not path.exists():
        return {}
    with contextlib.suppress(ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and fields <= content.keys():
            return content
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    print(f"{path}: damaged, set aside as {aside.name}; run its report again", file=sys.stderr)
    return {}


# The index -------------------------------------------------------------------------------------


def write_index() -> Path:
    """reports/index.html: a card a report, with its question, finding, state, time and evidence."""
    from llie_core.reporting.page import plain_page

    target = reports_dir() / "index.html"
    with locked(states_dir() / ".index.lock", "the index of reports"):
        states = [_read(path, _FIELDS) for path in sorted(states_dir().glob("*.json"))]
        # The page over all papers first, then failures, which ask for something to be done.
        states.sort(key=lambda x: (x.get("paper") != "summary", x.get("state") != "failed"))
        cards = "".join(_card(state) for state in states if state)
        with atomic(target) as temporary:
            text = plain_page(_TITLE, _ABOUT.format(cards=cards))
            temporary.write_text(text, encoding="utf-8")
    return target


def _card(state: dict) -> str:
    name, word, error = state["name"], state["state"], state["error"]
    if word == "running" and not is_locked(lock_path(name)):
        word, error = "interrupted", "killed"
    headline = _read(_headline(name), {"device", "headline"}) if word == "done" else {}
    exists = word == "done" and page_path(name).exists()
    question = headline.get("question") or _SUMMARY * (state.get("paper") == "summary")
    shown = html.escape(name)
    heading = html.escape(state.get("title") or name) if exists else shown
    title = f'<a href="{shown}.html">{heading}</a>' if exists else shown
    parameters = state.get("parameters", {})
    chosen = {"paper": state.get("paper", ""), "state": word}
    chosen |= {key: str(parameters.get(key, "")) for key in ("dataset", "profile")}
    data = "".join(f' data-{key}="{html.escape(value)}"' for key, value in chosen.items())
    image = ""
    if exists and state.get("thumbnail"):
        words = html.escape(state.get("words") or state.get("title", ""))
        image = f'<img alt="{words}" src="{html.escape(state["thumbnail"])}">'
    facts = [f"{state['seconds']:.0f} s", headline.get("device", ""), state["finished"]]
    facts = [name, *facts] if exists else facts  # below its title, which several reports share
    return (
        f'<li class="card"{data}>{image}<h2>{title}</h2>'
        f'<p><span class="{word}">{word}</span>{_paragraph(question, "em")}</p>'
        f"<p>{html.escape(error or headline.get('headline', ''))}</p>"
        f"{_paragraph(_remedy(name, word), 'p')}"
        f'<p class="facts">{html.escape(" · ".join(filter(None, facts)))}</p></li>\n'
    )


def _paragraph(text: str, tag: str) -> str:
    return f" <{tag}>{html.escape(text)}</{tag}>" if text else ""


def _remedy(name: str, word: str) -> str:
    """Where to see what went wrong."""
    partial = executed_path(f"{name}.failed")
    if word != "failed" or not partial.exists():
        return ""
    return f"The cell that failed: results/notebooks/{partial.name}. Run the same command again."


_SUMMARY = "Does enhancement help a machine, who leads on LOL, and which claims of the papers hold?"
_TITLE = "Low-light enhancement and recognition: reports"
_ABOUT = """<p>Each report re-runs one paper on one data set: its tables as published beside what
was measured here, its figures, and a verdict on each of its claims.</p>
<ul class="cards">
{cards}</ul>
"""
