"""Devices: their names in records, scores and benchmarks, their free memory, their precision."""

import os
from pathlib import Path

PRECISIONS = ("float32", "mixed")  # what a training is computed in; see `precision_on`


def device_name(device) -> str:
    """The GPU's name, or "CPU" with the number of threads that torch uses."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"


def free_memory(device) -> int:
    """Bytes that a device has to spare; of the processor, what the system calls available, within
    the limit of the control group; half of all where the system does not say."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        entries = dict(line.split(":", 1) for line in lines)
        available = int(entries["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min([available, *group_memory()])


def group_memory(group: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the control group leaves, in a list; [] where it sets no limit.

    The cache of files that the system gives up where memory is short is counted as left.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        entries = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(entries["inactive_file"])
        return [min(limit, max(0, limit - used))]
    except (OSError, KeyError, ValueError):  # "max", or no such file
        return []


def wait_for(device) -> None:
    """Wait until a GPU has done its work, such as before a clock is read."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def precision_on(device, wanted: str = "auto") -> str:
    """One of PRECISIONS: the one that is wanted or, for "auto", that of the device.

    "mixed" (bfloat16 convolutions and products) where the device multiplies bfloat16 itself: GPUs
    from compute capability 8.0 on, processors with AVX512_BF16 or AMX. Elsewhere it is emulated,
    more slowly than float32 runs.
    """
    import torch

    if wanted != "auto":
        return wanted
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        able = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # older torch has none
        native = able.get("avx512_bf16", False) or able.get("amx_bf16", False)
    return "mixed" if native else "float32"
