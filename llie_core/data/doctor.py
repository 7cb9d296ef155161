"""What is there of the data sets, whether it is whole, and what leaks: `llie datasets doctor`."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from llie_core.data.folders import check_frame, not_read, size_of
from llie_core.data.images import image_size
from llie_core.data.leaks import Digests, digest, leaks_across, leaks_within
from llie_core.data.registry import (
    Absent,
    DatasetSpec,
    candidates,
    dataset_spec,
    list_datasets,
    locate,
    open_at,
)
from llie_core.data.splits import NotHeldOut
from llie_core.dataset import SizedDataset
from llie_core.files import reason_of
from llie_core.names import listed

LISTED = 20  # unreadable files that are named


@dataclass
class Checked:
    """What reading an item showed: W × H, digests of its images, or what is wrong."""

    size: tuple[int, int] | None = None
    digests: tuple[str, ...] = ()
    problem: str = ""
    rotated: bool = False  # by EXIF


@dataclass
class Findings:
    """Of one set: lines to print, what is wrong, and the digests of each split's images.

    absent: why nothing of the set was found in this folder, or "".
    """

    spec: DatasetSpec
    folder: Path
    absent: str = ""
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digests: dict[str, Digests] = field(default_factory=dict)


def doctor_text(name: str | None, root: str | Path, quick: bool = False) -> tuple[str, int]:
    """Check one data set, or every one below `root`.

    Args:
        name: a set of the registry, or None for all that are found by their usual names.
        root: the set's folder, or the folder that holds the sets.
        quick: read the files' headers only; damage inside a file and images that two splits
            share then stay unseen.

    Returns:
        The report, and an exit code: 1 where something found is not whole or leaks between its
        own splits, where the named set is absent, or where no set was found; else 0.
    """
    root = Path(root)
    if name and (spec := dataset_spec(name)) and (spec.builtin or not spec.public):
        reason = "needs no download" if spec.builtin else f"{spec.source}; {spec.note}"
        return f"{name}: {reason}\n", 0 if spec.builtin else 1
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; name the one that holds the data sets")
    whole = [spec for spec in list_datasets() if spec.folder and not spec.part_of]
    wanted = [dataset_spec(name)] if name else whole
    seen: dict[Path, Checked] = {}
    found, absent = [], [s for s in list_datasets() if not (name or s.builtin or s.public)]
    for spec in wanted:
        findings = _find(spec, root, bool(name), quick, seen)
        if findings is None:
            absent.append(spec)
        else:
            found.append(findings)
    if not quick:
        held = {findings.spec.name: findings for findings in found}
        digests = {name: findings.digests for name, findings in held.items()}
        for name, note in leaks_across(digests, root):
            held[name].notes.append(note)
    wrong = not found or any(findings.problems for findings in found)
    return _report(found, absent, root, quick), int(wrong)


def _find(spec, root, named, quick, seen) -> Findings | None:
    """The findings of a set: None where there is nothing of it below root.

    Of the folders where it may lie the first that holds any of it counts; where none does, the
    first.
    """
    usual = locate(spec, root)
    if not (usual or named):
        return None
    first = None
    for folder in candidates(spec, root):
        if named or folder != root or folder == usual:
            findings = _examine(spec, folder, quick, seen)
            if not findings.absent:
                return findings
            first = first or findings
    if not usual:
        return None
    first.problems.append(first.absent)
    return first


def _examine(spec, folder, quick, seen) -> Findings:
    """Open every split of a set and check its files."""
    findings = Findings(spec, folder)
    missing = []
    for split in spec.splits:
        try:
            data = _open(findings, spec, split)
        except NotHeldOut:
            continue
        except Absent as error:
            missing.append(str(error))
            continue
        except (ValueError, OSError) as error:
            findings.problems.append(f"{split}: {error}")
            continue
        _check_split(findings, split, data, quick, seen)
    if missing and not findings.lines and not findings.problems:
        findings.absent = missing[0]
    else:
        findings.notes += [f"not here: {line.split('; get it')[0]}" for line in missing]
    findings.problems += leaks_within(findings.digests)
    return findings


def _open(findings: Findings, spec: DatasetSpec, split: str) -> SizedDataset:
    """The split; where it is incomplete, that is noted and the rest opened."""
    try:
        return open_at(spec, split, findings.folder)
    except (Absent, NotHeldOut):
        raise
    except FileNotFoundError as error:
        if not any(problem.endswith(str(error)) for problem in findings.problems):
            findings.problems.append(f"{split}: {error}")
        return open_at(spec, split, findings.folder, missing="skip")


def _check_split(findings, split, data, quick, seen) -> None:
    """Read the split's images, each once, and add its line, problems and notes."""
    first = {data.path(i): i for i in reversed(range(len(data)))}
    new = [path for path in first if path not in seen]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda path: _check(data, first[path], path, quick), new)
        seen.update(zip(new, results, strict=True))
    checked = {path: seen[path] for path in first}
    sizes = Counter(c.size for c in checked.values() if c.size)
    held = {d: data.names[first[path]] for path, c in checked.items() for d in c.digests}
    findings.digests[split] = held
    findings.lines.append(_line(findings.spec, split, data, sizes))
    bad = [f"{split}: {c.problem}" for c in checked.values() if c.problem]
    findings.problems += _count_problem(findings, split, data) + bad[:LISTED]
    if len(bad) > LISTED:
        findings.problems.append(f"{split}: and {len(bad) - LISTED} more files")
    findings.notes += [f"{split}: {note}" for note in _notes(data, first, checked)]


def _count_problem(findings: Findings, split: str, data: SizedDataset) -> list[str]:
    """That the split has not its official number of items, where nothing else says so yet."""
    official = findings.spec.expected.get(split, data.found)
    explained = any(problem.startswith(f"{split}: ") for problem in findings.problems)
    if data.found == official or explained:
        return []
    return [f"{split}: {data.found:,} found, {official:,} expected"]


def _notes(
    data: SizedDataset, first: dict[Path, int], checked: dict[Path, Checked]
) -> Iterator[str]:
    for name in getattr(data, "left_out", ()):
        yield f"{name} belongs to train and is left out"
    rotated = [data.names[first[path]] for path, c in checked.items() if c.rotated]
    if rotated:
        yield (
            f"EXIF orientation in {len(rotated)} of {len(checked)} images ({listed(rotated)}): "
            "read upright, or as stored where their annotation is for that"
        )
    for role, files in data.files().items():
        if role in ("image", "target", "mask"):
            folder = os.path.commonpath([(data.root / file).parent for file in files])
            yield from filter(None, [not_read(Path(folder), deep=True)])


def _check(data: SizedDataset, index: int, path: Path, quick: bool) -> Checked:
    try:
        size, orientation = image_size(path)
        frame = data.frame(index)
        if orientation > 4 and frame == size[::-1]:
            size = frame
        check_frame(path, size, frame)
        rotated = orientation > 1
        if quick:
            for file in data.image_files(index):
                image_size(file)
            return Checked(size, rotated=rotated)
        item = data.whole(index)
    except (ValueError, OSError) as error:
        return Checked(problem=reason_of(error))
    digests = [digest(item[role]) for role in ("image", "target") if role in item]
    return Checked(size_of(item["image"]), tuple(digests), rotated=rotated)


def _line(spec: DatasetSpec, split: str, data: SizedDataset, sizes: Counter) -> str:
    official = spec.expected.get(split)
    of = f" ({data.found:,} found of {official:,})" if official else ""
    ranked = sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0]))
    common = ", ".join(f"{w}×{h} ({n})" for (w, h), n in ranked[:3])
    if len(sizes) > 3:
        small, large = (limit(sizes, key=lambda s: s[0] * s[1]) for limit in (min, max))
        common += f", … from {small[0]}×{small[1]} to {large[0]}×{large[1]}"
    files = data.describe()["files"]
    return f"{split:<6} {len(data):,} items{of}; file list {files}; W×H {common or 'unknown'}"


def _report(found: list[Findings], absent: list[DatasetSpec], root: Path, quick: bool) -> str:
    lines = [line for findings in found for line in _of_set(findings)]
    if absent:
        lines.append(f"not found below {root}:")
        lines += [f"  {spec.name}: {_where(spec)}" for spec in absent]
    wrong = sum(len(findings.problems) for findings in found)
    depth = "headers only" if quick else "every image decoded"
    lines.append(f"{len(found)} sets found, {len(absent)} not; {wrong} problems ({depth})")
    return "\n".join(lines) + "\n"


def _where(spec: DatasetSpec) -> str:
    if not spec.public:
        return spec.source
    return f"looked for {' or '.join((spec.folder, *spec.also))}; {spec.where()}"


def _of_set(findings: Findings) -> Iterator[str]:
    spec = findings.spec
    yield f"{spec.name}: {findings.folder} ({spec.task}; {spec.terms})"
    yield from (f"  {line}" for line in findings.lines)
    yield from (f"  PROBLEM {problem}" for problem in findings.problems)
    yield from (f"  note {note}" for note in (*findings.notes, spec.note) if note)
