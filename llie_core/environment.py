"""Build the environment that make uses, or leave it as it is where it is complete.

    python llie_core/environment.py FOLDER

FOLDER is .venv, made by the Python that runs this, or an active conda environment. Nothing is
installed yet: the standard library alone is imported, and older versions of Python can read this.
"""

import contextlib
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

MINIMUM = (3, 11)
FACENET = "facenet-pytorch==2.6.0"


def packages() -> "list[str]":
    """What is installed without its dependencies: packages that ship weights (weights.toml), which
    are read without importing them, and facenet-pytorch, whose metadata pins versions of torch and
    numpy that it does not need."""
    import tomllib  # Python 3.11: `main` has checked the version

    listed = Path(__file__).with_name("weights.toml").read_text(encoding="utf-8")
    shipped = (entry.get("package") for entry in tomllib.loads(listed)["weight"])
    return [FACENET, *dict.fromkeys(filter(None, shipped))]


def main(folder: Path) -> None:
    """Build the environment in `folder` for the project in the current folder.

    Its stamp holds the project's folder, the version of Python and a hash of the requirements. In
    another folder or under another Python it is built anew, with other requirements it is updated.
    """
    version = ".".join(str(number) for number in sys.version_info[:2])
    if sys.version_info[:2] < MINIMUM:
        sys.exit(f"make: {sys.executable} is Python {version}; set PYTHON= to 3.11 or newer")
    stamp = folder / ".llie-complete"
    requirements = [Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    place = f"{Path.cwd()}\nPython {version}\n"
    separate = packages()
    requirements.append(" ".join(separate).encode())
    complete = place + hashlib.sha256(b"".join(requirements)).hexdigest() + "\n"
    if _read(stamp) == complete:
        return
    with Path("constraints.txt").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two at once: the second finds it complete
        found = _read(stamp)
        if found == complete:
            return
        own = found.startswith(f"{Path.cwd()}\n")
        if folder.is_symlink() and not own and folder.is_dir() and any(folder.iterdir()):
            sys.exit(
                f"make: {folder} is a link to {folder.resolve()}, which holds other files than a "
                "complete environment of this folder; remove the link, or empty what it names"
            )
        stamp.unlink(missing_ok=True)
        if not found.startswith(place) and not (folder / "conda-meta").is_dir():
            base = getattr(sys, "_base_executable", sys.executable)
            _run(base, "-m", "venv", "--clear", str(folder))
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        install.append("--disable-pip-version-check")
        _run(*install, "-c", "constraints.txt", "-e", ".[notebooks,dev,browser,video]")
        _run(*install, "--no-deps", *separate)
        stamp.write_text(complete)


def _read(stamp: Path) -> str:
    with contextlib.suppress(OSError):
        return stamp.read_text()
    return ""


def _run(*command: str) -> None:
    try:
        code = subprocess.call(command)
    except OSError as error:
        sys.exit(f"make: {error}")
    if code:
        sys.exit(f"make: {' '.join(command)}: failed; the environment is not complete")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("make: interrupted; the environment is not complete")
