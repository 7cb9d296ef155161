"""A run: the folder of one row and seed, with its records.

results/<paper>/<dataset>/<profile>/<row>/<settings hash>/seed<k>/
    settings.json, log.csv, validation.csv                    from the start of its training
    checkpoint.bin, progress.json                             until it is finished
    weights.safetensors, stamp.json                           when it is finished
    scores/<test set>.csv, .json, per_image/<test set>.csv    when it is evaluated
    drawn/<test set>.safetensors                              of what is no mean over its images
"""

import contextlib
import csv
import hashlib
import json
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llie_core.devices import device_name
from llie_core.files import locked, project_root, results_dir, write_text
from llie_core.hashing import content_hash, file_hash

SEAL = "hash_of_this_record"


@dataclass(frozen=True)
class Run:
    """The folder of a row; every reader of results goes through here.

    label: the row's name; settings_hash: of what its training reads of the settings ("" for rows
    without training).
    """

    paper: str
    dataset: str
    profile: str
    label: str
    settings_hash: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.paper}/{self.dataset}/{self.profile}/{self.label}/seed{self.seed}"

    @property
    def directory(self) -> Path:
        root = results_dir() / self.paper / self.dataset / self.profile
        return root / file_name(self.label) / self.settings_hash / f"seed{self.seed}"

    @property
    def weights_path(self) -> Path:
        return self.directory / "weights.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        return self.directory / "checkpoint.bin"

    @property
    def log_path(self) -> Path:
        return self.directory / "log.csv"

    @property
    def validation_path(self) -> Path:
        return self.directory / "validation.csv"

    @property
    def progress_path(self) -> Path:
        return self.directory / "progress.json"

    @property
    def lock_path(self) -> Path:
        return self.directory / ".lock"

    def read_stamp(self) -> dict:
        """The stamp of the finished run, or an empty dict."""
        return read_json(self.directory / "stamp.json")

    def is_finished(self, train_hash: str) -> bool:
        """True when the folder holds finished weights of exactly this hash."""
        return self.read_stamp().get("train_hash") == train_hash and self.weights_path.exists()

    def checked_weights(self) -> Path:
        """The finished weights.

        Raises:
            FileNotFoundError: the run is not finished.
            ValueError: they, the log or the validation curve are not what the stamp says.
        """
        stamp = self.read_stamp()
        if not stamp or not self.weights_path.exists():
            raise FileNotFoundError(f"{self}: not trained yet (no {self.weights_path.name})")
        for path in (self.weights_path, self.log_path, self.validation_path):
            found = existing_hash(path)
            if stamp.get(f"{path.stem}_sha256", found) != found:  # earlier stamps have one alone
                raise ValueError(
                    f"{path}: damaged (its SHA-256 is not that of stamp.json); delete the folder "
                    "and run again"
                )
        return self.weights_path

    def read_log(self) -> list[dict[str, float]]:
        """Rows of log.csv: step, lr, total, each term; grad_norm where it is clipped."""
        return read_numbers(self.log_path)

    def read_validation(self) -> list[dict[str, float]]:
        """Rows of validation.csv: step, value."""
        return read_numbers(self.validation_path)

    def read_progress(self) -> dict:
        """Of a training that is not finished: step and seconds of its last checkpoint, and the
        error where it failed. Only shown: a damaged one is none."""
        with contextlib.suppress(ValueError):
            return read_json(self.progress_path)
        return {}

    def write_json(self, name: str, content: dict) -> None:
        write_record(self.directory / name, content)

    def tidy(self) -> None:
        """Remove what a kill after the stamp leaves behind: the checkpoint, and how far it was."""
        left = self.checkpoint_path, self.progress_path
        if any(path.exists() for path in left):
            # A folder that may only be read is read as it is.
            with contextlib.suppress(OSError), locked(self.lock_path, str(self)):
                if self.read_stamp():
                    for path in left:
                        path.unlink(missing_ok=True)


def file_name(label: str) -> str:
    """A row's label as a folder name that every file system takes; different for each label."""
    name = re.sub(r"[^\w.+@-]", "-", label)
    if name == label:
        return name
    return f"{name}.{hashlib.sha256(label.encode()).hexdigest()[:4]}"


def read_json(path: Path) -> dict:
    """A JSON file as a dict; empty where it is not there.

    Raises:
        ValueError: damaged; the message names the file and what to do.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a record")
        if SEAL in content and content.pop(SEAL) != content_hash(content):
            raise ValueError("changed since it was written")
        return content
    except ValueError as error:
        raise ValueError(f"{path}: damaged record ({error}); delete it and run again") from None


def write_record(path: Path, content: dict) -> None:
    """Write JSON with a hash of itself, which `read_json` checks."""
    plain = json.loads(json.dumps(content, default=str))
    sealed = plain | {SEAL: content_hash(plain)}
    write_text(path, json.dumps(sealed, indent=2, sort_keys=True) + "\n")


def existing_hash(path: Path) -> str:
    """SHA-256 of a file, "" where it is not there."""
    return file_hash(path) if path.exists() else ""


def read_numbers(path: Path) -> list[dict[str, float]]:
    """The whole lines of a CSV file of numbers; empty where it is not there.

    A last line without its end is left out: it is being written, or was cut off by a full disk.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n"))
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(whole)]


def environment(device) -> dict[str, str]:
    """What a number depends on besides code and data: versions, device, commit."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device),
        "commit": commit(),
    }


@cache
def commit() -> str:
    """The checkout's commit, with '+' when files differ from it; 'unknown' outside git."""
    command = ["git", "-C", str(project_root()), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
