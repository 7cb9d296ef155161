"""Darkened images that are kept: equal to the ones made, and made once."""

import numpy as np
import torch

from llie_core.data.dark_faces import DarkFaces
from llie_core.data.darkened import CachedDark
from llie_core.data.darkening import physical_darkener, quantise
from llie_core.engine.reuse import identity
from llie_core.hashing import content_hash


class Faces(torch.utils.data.Dataset):
    names = ("event/0.jpg", "event/1.jpg", "event/2.jpg")

    def __len__(self):
        return 3

    def describe(self):
        return {"count": 3}

    def __getitem__(self, index):
        image = torch.rand(3, 9, 12 + index, generator=torch.Generator().manual_seed(index))
        boxes = torch.tensor([[1.0, 2.0, 5.0, 8.0]])
        ignore = torch.zeros(1, dtype=torch.bool)
        return {"image": image, "boxes": boxes, "ignore": ignore, "name": f"event/{index}.jpg"}


class Counting:
    def __init__(self):
        self.darken, self.calls = physical_darkener(), 0

    def __call__(self, image: np.ndarray, rng: np.random.Generator):
        self.calls += 1
        return self.darken(image, rng)


def test_what_is_read_back_equals_what_was_made(tmp_path):
    darkener = Counting()
    plain, kept = (
        DarkFaces(Faces(), darkener),
        CachedDark(DarkFaces(Faces(), darkener), tmp_path, "a"),
    )
    assert len(kept) == 3
    expected = [plain[i] for i in range(3)]
    first, calls = [kept[i] for i in range(3)], darkener.calls
    second = [kept[i] for i in range(3)]
    assert darkener.calls == calls == 6
    for item, *others in zip(expected, first, second, strict=True):
        for other in others:
            assert other.keys() == item.keys()
            for name in ("image", "target", "boxes", "ignore"):
                assert torch.equal(other[name], item[name]), name
            assert other["darkening"] == item["darkening"] and other["name"] == item["name"]


def test_another_key_is_another_folder(tmp_path):
    darkener = Counting()
    for key in ("a", "b", "a"):
        CachedDark(DarkFaces(Faces(), darkener), tmp_path, key)[1]
    assert darkener.calls == 2


def test_an_image_without_its_record_is_made_anew(tmp_path):
    darkener = Counting()
    kept = CachedDark(DarkFaces(Faces(), darkener), tmp_path, "a")
    item = kept[0]
    (tmp_path / "a" / "0.json").unlink()
    (tmp_path / "a" / "0.png").write_bytes(b"torn")
    assert torch.equal(kept[0]["image"], item["image"]) and darkener.calls == 2


def test_a_record_without_its_image_is_made_anew(tmp_path):
    darkener = Counting()
    kept = CachedDark(DarkFaces(Faces(), darkener), tmp_path, "a")
    item = kept[0]
    (tmp_path / "a" / "0.png").unlink()
    assert torch.equal(kept[0]["image"], item["image"]) and darkener.calls == 2


def test_every_level_survives_and_what_is_off_the_grid_reads_alike_each_time(tmp_path):
    levels = np.arange(256, dtype=np.float32)
    for key, values in (("on", levels / 255), ("off", levels[:-1] / 255 + 0.3 / 255)):

        def darkener(image, rng, values=values):
            return np.broadcast_to(values, (3, 2, len(values))).astype(np.float32), {}

        kept = CachedDark(DarkFaces(Faces(), darkener), tmp_path, key)
        first, second = kept[0]["image"], kept[0]["image"]
        assert torch.equal(first, second)
        on_grid = torch.from_numpy(quantise(values)).expand(3, 2, -1)
        assert torch.equal(first, on_grid), key


def test_where_they_are_kept_is_no_part_of_what_they_are(tmp_path):
    plain = DarkFaces(Faces(), physical_darkener())
    kept, elsewhere = CachedDark(plain, tmp_path, "a"), CachedDark(plain, tmp_path / "b", "c")
    assert kept.names == Faces.names
    assert content_hash(identity(kept)) == content_hash(identity(elsewhere))
    other = CachedDark(DarkFaces(Faces(), physical_darkener(), seed=1), tmp_path, "a")
    assert content_hash(identity(kept)) != content_hash(identity(other))
