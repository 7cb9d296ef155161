"""A run: one training (or one untrained method) with its folder, identity and record.

results/<paper>/<dataset>/<profile>/<model>[+variant]/seed<k>/ holds settings.json, log.csv,
checkpoint.pt, weights.safetensors, scores.csv and stamp.json.
"""

import ast
import csv
import hashlib
import importlib.util
import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from llie_core.files import project_root, results_dir, write_text


@dataclass(frozen=True)
class RunKey:
    """What names a run. `variant` is an ablation or setting of the model ("2:1"), or empty."""

    paper: str
    dataset: str
    profile: str
    model: str
    variant: str = ""
    seed: int = 0

    @property
    def method(self) -> str:
        """Model and variant as one name, as folders and tables show it."""
        return f"{self.model}+{self.variant}" if self.variant else self.model

    @property
    def directory(self) -> Path:
        """The run's folder; ':' and '/' of a variant become '-'."""
        folder = self.method.replace(":", "-").replace("/", "-").replace(" ", "_")
        root = results_dir() / self.paper / self.dataset / self.profile
        return root / folder / f"seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.paper}/{self.dataset}/{self.profile}/{self.method}/seed{self.seed}"


@dataclass(frozen=True)
class Run:
    """A run's folder on disk; every reader of results goes through here."""

    key: RunKey

    @property
    def directory(self) -> Path:
        return self.key.directory

    @property
    def weights_path(self) -> Path:
        return self.directory / "weights.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        return self.directory / "checkpoint.pt"

    @property
    def log_path(self) -> Path:
        return self.directory / "log.csv"

    @property
    def lock_path(self) -> Path:
        return self.directory / ".lock"

    def read_stamp(self) -> dict:
        """The stamp of the finished run, or an empty dict."""
        return read_json(self.directory / "stamp.json")

    def is_finished(self, train_hash: str) -> bool:
        """True when the folder holds finished weights of exactly this hash."""
        return self.read_stamp().get("train_hash") == train_hash and self.weights_path.exists()

    def read_log(self) -> list[dict[str, float]]:
        """Rows of log.csv: step, lr, total, each term, grad_norm."""
        if not self.log_path.exists():
            return []
        with self.log_path.open(newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def write_json(self, name: str, content: dict) -> None:
        write_text(self.directory / name, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict:
    """A JSON file as a dict; empty when it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def content_hash(content: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON-able object, keys sorted."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """First 16 hex digits of a file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def folder_fingerprint(root: Path, names: list[str]) -> str:
    """Hash of a data set's file list: names and sizes (contents of big sets are not read)."""
    return content_hash([(name, (Path(root) / name).stat().st_size) for name in sorted(names)])


# Imported for files, records and reports: they decide no number, so they are hashed only if named.
_NO_NUMBERS = (
    "llie_core.files",
    "llie_core.runs",
    "llie_core.published",
    "llie_core.recipes",
    "llie_core.reporting",
)


def code_fingerprint(*modules: str) -> str:
    """Hash of the named llie_core modules and of the llie_core modules that they import.

    Taken over the syntax trees without docstrings, so comments, docstrings and layout are free.
    Modules that only write files or reports are followed no further.
    """
    pending, seen = list(modules), {}
    while pending:
        name = pending.pop()
        if name not in seen:
            seen[name], imported = _module_digest(name)
            pending += [m for m in imported if not m.startswith(_NO_NUMBERS)]
    return content_hash(seen)


@cache
def _module_digest(name: str) -> tuple[str, list[str]]:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {name!r} to fingerprint")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llie_core."):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            imported += [node.module, *filter(_is_module, names)]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imported


def _is_module(name: str) -> bool:
    """True for `package.module`, False for `module.function`."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def environment(device) -> dict[str, str]:
    """What a number depends on besides code and data: versions, device, commit."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device),
        "commit": commit(),
    }


def device_name(device) -> str:
    """A device in words: the GPU's name, or the processor's with its thread count."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"


@cache
def commit() -> str:
    """The checkout's commit, with '+' when files differ from it; 'unknown' outside git."""
    command = ["git", "-C", str(project_root()), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def record(key: RunKey, **content: object) -> dict:
    """A stamp: the key's fields and whatever else identifies the run."""
    return {"run": asdict(key), **content}
