"""Hashes of content and of files."""

import hashlib
from pathlib import Path

import pytest

from llie_core.hashing import content_hash, file_hash


def test_content_is_hashed_whatever_the_order_of_its_keys():
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    assert content_hash("") == hashlib.sha256(b'""').hexdigest()[:16]


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    assert file_hash(path) == hashlib.sha256(b"12").hexdigest()
    replaced = tmp_path / "b"  # of the same size, under the same name: another inode
    replaced.write_bytes(b"21")
    replaced.replace(path)
    assert file_hash(path) == hashlib.sha256(b"21").hexdigest()

    def refuse(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(Path, "open", refuse)
    assert file_hash(path) == hashlib.sha256(b"21").hexdigest()
    with pytest.raises(AssertionError):
        file_hash(__file__)
