"""What a data set reads is in its fingerprint, whichever set it is."""

import sys
from pathlib import Path

import dataset_trees as trees
import pytest

from llie_core import hashing
from llie_core.data import list_datasets, open_dataset
from llie_core.data.folders import SUFFIXES
from llie_core.data.registry import Absent

DECIDE_ITEMS = ("imageclasslist.txt",)
OPENED: list[str] | None = None


def note(event, arguments):
    if event == "open" and OPENED is not None and isinstance(arguments[0], str | Path):
        OPENED.append(str(arguments[0]))


sys.addaudithook(note)  # for good: Python has no way to remove one


def opened_by(read, root):
    """Files below `root` that `read` opens."""
    global OPENED
    OPENED = []
    try:
        read()
        return {
            Path(name).resolve() for name in OPENED if Path(name).resolve().is_relative_to(root)
        }
    finally:
        OPENED = None


def unhashed(name, split, root, **options):
    """Files whose contents are in a set's items, and that its description does not depend on.

    What decides alone which items there are, such as images that are compared to keep copies of one
    scene in one part, shows in their names.
    """
    root, data = root.resolve(), None

    def open_it():
        nonlocal data
        data = open_dataset(name, split, root, **options)

    texts = {p for p in opened_by(open_it, root) if p.suffix not in SUFFIXES}
    texts = {path for path in texts if path.name not in DECIDE_ITEMS}
    items = opened_by(lambda: [data[index] for index in range(min(3, len(data)))], root)

    digested = set()
    plain = hashing.file_digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "remembered", lambda _memory: {})
        patch.setattr(
            hashing, "file_digest", lambda path: digested.add(path.resolve()) or plain(path)
        )
        data.describe()
    assert digested
    return sorted(map(str, (texts | items) - digested))


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))


def wider(root):
    for split in ("train", "val"):
        trees.save(root / f"WIDER_{split}/images/0--a/x.jpg", trees.noise_image(1))
        text = root / f"wider_face_split/wider_face_{split}_bbx_gt.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("0--a/x.jpg\n1\n2 2 9 9 0 0 0 0 0 0\n")
    return root


MADE = [
    ("lol", "train", trees.lol, {"val": 3}), ("lol", "test", trees.lol, {}),
    ("coco", "val", trees.coco, {}), ("exlpose", "test", trees.exlpose, {}),
    ("exlpose", "train", trees.exlpose, {"paired": True}), ("wider-face", "train", wider, {}),
    ("cityscapes", "val", lambda root: trees.street_pair(root, "val", ["a_1"]), {}),
    ("nightcity", "val", lambda root: trees.street_pair(root, "val", ["a_1"]), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "split", "tree", "options"), MADE)
def test_every_file_that_a_set_reads_is_hashed(name, split, tree, options, tmp_path):
    assert unhashed(name, split, tree(tmp_path / "sets"), **options) == []


REAL = [(s.name, split) for s in list_datasets() if s.public and s.folder for split in s.splits]


@pytest.mark.parametrize(("name", "split"), REAL)
def test_every_file_that_a_real_set_reads_is_hashed(name, split, shared_data):
    try:
        assert unhashed(name, split, shared_data) == []
    except (Absent, FileNotFoundError, ValueError) as error:
        pytest.skip(f"not at hand: {error}")
