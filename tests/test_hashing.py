"""Hashes of content and of files."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from llie_core import hashing
from llie_core.hashing import content_hash, file_hash, hashes_in


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


# Contents of a folder ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files, remembered at once; results lie beside them."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(hashing, "SETTLED", 0)
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"12")
    (folder / "deep" / "b").write_bytes(b"34")
    return folder


NAMES = ("deep/b", "a")


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def read_files(monkeypatch):
    """The names of the files that are read from now on."""
    seen, plain = [], hashing.file_digest
    monkeypatch.setattr(hashing, "file_digest", lambda path: seen.append(path.name) or plain(path))
    return seen


def test_the_contents_of_a_folder_are_read_once(folder, tmp_path, monkeypatch):
    known = {"a": digest(b"12"), "deep/b": digest(b"34")}
    assert hashes_in(folder, NAMES) == known and list(known) == ["a", "deep/b"]
    seen = read_files(monkeypatch)
    assert hashes_in(folder, NAMES) == known and seen == []
    (memory,) = (tmp_path / "results" / "hashes").iterdir()
    for damage in ("", "[]", memory.read_text().replace(digest(b"12"), digest(b"21"))):
        memory.write_text(damage)
        seen.clear()
        assert hashes_in(folder, NAMES) == known and sorted(seen) == ["a", "b"]


def test_a_replaced_file_of_equal_size_and_time_is_noticed(folder, monkeypatch):
    before, seen = hashes_in(folder, NAMES), read_files(monkeypatch)
    status = (folder / "a").stat()
    (folder / "a").write_bytes(b"21")
    os.utime(folder / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashes_in(folder, NAMES) == before | {"a": digest(b"21")} and seen == ["a"]


def test_a_copy_elsewhere_has_the_same_hashes(folder, tmp_path):
    before = hashes_in(folder, NAMES)
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "a", (0, 0))
    assert hashes_in(tmp_path / "copy", NAMES) == before


def test_a_file_that_has_just_changed_is_not_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "SETTLED", 2e9)
    hashes_in(folder, NAMES)
    seen = read_files(monkeypatch)
    hashes_in(folder, NAMES)
    assert sorted(seen) == ["a", "b"] and not (tmp_path / "results").exists()


def test_nothing_needs_to_be_written(folder, tmp_path):
    (tmp_path / "results").write_text("no folder")
    assert hashes_in(folder, NAMES)["a"] == digest(b"12")


def test_reading_much_is_said(folder, monkeypatch, capsys):
    monkeypatch.setattr(hashing, "WORTH_A_LINE", 3)
    hashes_in(folder, NAMES)
    said = capsys.readouterr().err
    assert said.startswith(f"{folder}: reading 2 files once") and said.count("\n") == 1
    hashes_in(folder, NAMES)
    assert capsys.readouterr().err == ""
