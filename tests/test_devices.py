"""The memory that a control group leaves."""

import pytest

from llie_core.devices import group_memory


def group(folder, limit="1000", current="900", stat="anon 300\ninactive_file 500\n"):
    for name, text in (("memory.max", limit), ("memory.current", current), ("memory.stat", stat)):
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, [600]),  # 100 free, and 500 of cache that is given up
        ({"current": "1500"}, [0]),
        ({"current": "100"}, [1000]),  # read a moment apart: never above the limit
        ({"limit": "max"}, []),
    ],
)
def test_cached_files_are_memory_to_spare(files, left, tmp_path):
    assert group_memory(group(tmp_path, **files)) == left


def test_without_a_control_group_there_is_no_limit(tmp_path):
    assert group_memory(tmp_path) == []
