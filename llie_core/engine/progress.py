"""How far a training is, read from the records in its folder: while it runs, later, in between."""

import os
from dataclasses import dataclass

from llie_core.engine.reuse import changed_since
from llie_core.engine.runs import Run, read_json
from llie_core.files import is_locked

STATES = ("finished", "outdated", "running", "failed", "interrupted", "damaged", "waiting")


@dataclass(frozen=True)
class Progress:
    """How far one training is.

    state: one of STATES. "outdated": finished, but by code that has changed since, so that it
    would be trained anew; "interrupted": it resumes when its command is run again; "damaged": a
    record of it cannot be read; "waiting": not begun. steps, planned: done, and of its settings (0:
    not begun); seconds: spent so far; left: seconds to the end at the speed so far, None where it
    is not known; error: why it failed, or what is damaged.
    """

    state: str
    steps: int = 0
    planned: int = 0
    seconds: float = 0.0
    left: float | None = None
    error: str = ""

    def __str__(self) -> str:
        done = f"{self.steps} of {self.planned} steps in {clock(self.seconds)}"
        left = "" if self.left is None else f"{clock(self.left)} left"
        return ", ".join(filter(None, [done if self.planned else "", left, self.error]))


def progress_of(run: Run) -> Progress:
    """How far a training is, by its stamp, or else by its log, checkpoint and lock."""
    try:
        return _read_progress(run)
    except ValueError as error:
        return Progress("damaged", error=str(error))


def _read_progress(run: Run) -> Progress:
    if stamp := run.read_stamp():
        state = "outdated" if changed_since(stamp["code"]) else "finished"
        steps = stamp["steps_done"]
        planned = _planned(run) or steps
        return Progress(state, steps, planned, stamp["seconds"])
    locked = run.lock_path.exists() and is_locked(run.lock_path)
    steps, planned = logged_steps(run), _planned(run)
    saved = run.read_progress()
    error = "" if locked else saved.get("error", "")
    if not (planned or locked):
        return Progress("waiting")
    state = "running" if locked else "failed" if error else "interrupted"
    seconds = saved.get("seconds", 0.0)
    if locked and run.log_path.exists() and run.progress_path.exists():
        # Since the checkpoint; both times are the file server's.
        seconds += max(0.0, run.log_path.stat().st_mtime - run.progress_path.stat().st_mtime)
    left = seconds / steps * (planned - steps) if locked and steps and planned else None
    return Progress(state, steps, planned, seconds, left, error)


def _planned(run: Run) -> int:
    """The steps of a run's settings; 0 where it was not begun."""
    content = read_json(run.directory / "settings.json")
    for part in ("experiment", "settings"):  # an object each: {class: fields}
        content = next(iter(content.get(part, {}).values()), {})
    return content.get("steps", 0)


def logged_steps(run: Run) -> int:
    """Steps in the log: one more than the number that its last whole line begins with."""
    if not run.log_path.exists():
        return 0
    with run.log_path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
    number = lines[-1].split(b",", 1)[0] if lines else b""
    return int(number) + 1 if number.isdigit() else 0


def clock(seconds: float) -> str:
    """Seconds as "0:42", "5:07" or "2:05:07"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
