"""The files of an evaluation: scores, the values of each image, the scores in bootstrap draws of
images, and the record that says of which weights, code and data they are."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from llie_core.engine.runs import commit, read_json, write_record
from llie_core.files import write_rows
from llie_core.hashing import file_hash
from llie_core.reporting.drawn import Values, drawn_beside, write_drawn
from llie_core.reporting.scores import EarlierScores, Score, read_scores, write_scores

DRAWN = "drawn_sha256"  # of a file that only numbers that are no means over images have


def all_read_back(
    paths: Iterable[Path], hashes: Iterable[str], together: str
) -> list[Score] | None:
    """The scores of several rows by `_read_back`; None where one has none."""
    found = [_read_back(path, own, together) for path, own in zip(paths, hashes, strict=True)]
    return None if None in found else [score for own in found for score in own or ()]


def write_back(
    path: Path, scores: list[Score], images: list[dict], drawn: Values, record: dict
) -> None:
    """Write scores, what was measured of each image, what draws of images give for numbers that are
    no means over them, and the record by which they are read back.

    Files without a record are none: a kill between them leaves nothing that is read, and where a
    latency was refused it is taken again.
    """
    target = path.with_suffix(".json")
    target.unlink(missing_ok=True)
    write_scores(path, scores)
    write_rows(image_values(path), images)
    write_drawn(drawn_beside(image_values(path)), drawn)
    if {"parameters", "latency"} & {score.metric for score in scores} != {"parameters"}:
        sums = {key: file_hash(file) for key, file in _files(path).items() if file.exists()}
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
    record, files = read_json(path.with_suffix(".json")), _files(path)
    whole = all(file.exists() for key, file in files.items() if key in record or key != DRAWN)
    if not (record and whole):
        return None
    for key, file in files.items():
        if key in record and record[key] != file_hash(file):
            raise ValueError(f"{file}: changed since it was written; delete it and run again")
    return read_scores(path)


def _files(scores: Path) -> dict[str, Path]:
    """The files of an evaluation, by the key of their hash in its record."""
    images = image_values(scores)
    return {"sha256": scores, "per_image_sha256": images, DRAWN: drawn_beside(images)}


def image_values(scores: Path) -> Path:
    """What was measured of each image, beside a file of scores."""
    return scores.parents[1] / "per_image" / scores.name
