"""SHA-256 of JSON-able content and of files."""

import hashlib
import json
from functools import cache
from pathlib import Path


def content_hash(content: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON-able object, keys sorted."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file; read again only when its inode, size or time of change differs."""
    status = Path(path).stat()
    return _file_hash(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _file_hash(path: str, _inode: int, _size: int, _changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
