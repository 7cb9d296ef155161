"""The files of an evaluation: scores, the values of each image, and the record that says of which
weights, code and data they are."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from llie_core.engine.runs import commit, read_json, write_record
from llie_core.files import write_rows
from llie_core.hashing import file_hash
from llie_core.reporting.scores import EarlierScores, Score, read_scores, write_scores


def all_read_back(
    paths: Iterable[Path], hashes: Iterable[str], together: str
) -> list[Score] | None:
    """The scores of several rows by `_read_back`; None where one has none."""
    found = [_read_back(path, own, together) for path, own in zip(paths, hashes, strict=True)]
    return None if None in found else [score for own in found for score in own or ()]


def write_back(path: Path, scores: list[Score], images: list[dict], record: dict) -> None:
    """Write scores, what was measured of each image, and the record by which they are read back.

    Files without a record are none: a kill between them leaves nothing that is read, and where a
    latency was refused it is taken again.
    """
    target = path.with_suffix(".json")
    target.unlink(missing_ok=True)
    write_scores(path, scores)
    write_rows(image_values(path), images)
    if {"parameters", "latency"} & {score.metric for score in scores} != {"parameters"}:
        sums = {"sha256": file_hash(path), "per_image_sha256": file_hash(image_values(path))}
        write_record(target, {**record, **sums, "commit": commit()})


def _read_back(path: Path, eval_hash: str, together: str) -> list[Score] | None:
    """Scores of this very hash, timed together with the same rows ("" for any); or None, also for
    those of an earlier version.

    Raises:
        ValueError: a file is not what was written.
    """
    record = read_json(path.with_suffix(".json"))
    if record.get("eval_hash") != eval_hash or (together and record.get("together") != together):
        return None
    with suppress(EarlierScores):
        return recorded_scores(path)
    return None


def recorded_scores(path: Path) -> list[Score] | None:
    """Scores and values of images that were written whole; None where a file or the record is not
    there.

    Raises:
        ValueError: a file is not what was written.
    """
    record, images = read_json(path.with_suffix(".json")), image_values(path)
    if not (record and path.exists() and images.exists()):
        return None
    for file, key in ((path, "sha256"), (images, "per_image_sha256")):
        found = file_hash(file)
        if record.get(key, found) != found:
            raise ValueError(f"{file}: changed since it was written; delete it and run again")
    return read_scores(path)


def image_values(scores: Path) -> Path:
    """What was measured of each image, beside a file of scores."""
    return scores.parents[1] / "per_image" / scores.name
