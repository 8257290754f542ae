"""The machine's free memory, made ready before each measurement.

A virtual machine's hypervisor may take freed memory back and give it again page by page when it is
touched: writing 2 GiB to a file took 0.34 s into memory that was in use a moment before, 0.9 s into
memory that had been free for four seconds and up to 3.5 s into other. That would be charged to
whoever of the contenders comes first, or comes after a pause.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

WARM_MIB: Final = 3072
"""MiB that hold the largest file of the benchmarks, and what moves it."""

_MEMINFO: Final = Path("/proc/meminfo")
# A part of what is free, so that no files are pushed out of memory for it.
_SHARE: Final = 4


def warm_memory(size_bytes: int) -> None:
    """Touch so much free memory and free it again, at most a quarter of what there is.

    Elsewhere than on Linux nothing is done.
    """
    if not (populate := getattr(mmap, "MAP_POPULATE", 0)):
        return
    size_bytes = min(size_bytes, _available_bytes() // _SHARE)
    if size_bytes > 0:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate
        mmap.mmap(-1, size_bytes, flags=flags).close()


def _available_bytes() -> int:
    lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    (found,) = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[1]) * 1024
