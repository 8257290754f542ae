"""The machine's free memory, made ready before each measurement.

A virtual machine's hypervisor may take freed memory back and give it again page by page when it is
touched: writing 2 GiB to a file took 0.34 s into memory that was in use a moment before, 0.9 s into
memory that had been free for four seconds and up to 3.5 s into other. That would be charged to
whoever of the contenders comes first, comes after a pause, or takes longer to load its libraries.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

WARM_MIB: Final = 3072
"""MiB that hold the largest file of the benchmarks, and what moves it."""

_MEMINFO: Final = Path("/proc/meminfo")
_TOUCH: Final = (
    "import mmap, sys\n"
    "flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE\n"
    "mmap.mmap(-1, int(sys.argv[1]), flags=flags)"
)
# A quarter of what is there for the asking, so that few files are pushed out of memory for it.
_QUARTER: Final = 4
_TIMEOUT_S: Final = 120


def warm_memory(size_bytes: int) -> None:
    """Touch so much free memory and free it again, at most a quarter of what there is.

    Done by a process of its own, as it is not the caller's memory. Elsewhere than on Linux nothing
    is done.
    """
    if sys.platform == "linux":
        size_bytes = min(size_bytes, _available_bytes() // _QUARTER)
        if size_bytes > 0:
            touch = [sys.executable, "-I", "-S", "-c", _TOUCH, str(size_bytes)]
            subprocess.run(touch, check=True, timeout=_TIMEOUT_S)


def _available_bytes() -> int:
    lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    (found,) = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[1]) * 1024
