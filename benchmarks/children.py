"""The memory of processes that a piece of work starts: looked at while they live.

`ru_maxrss` of children would not do: a child that is started by vfork counts its parent's memory.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LOOK_S: Final = 0.05


class Children:
    """Sums up the highest memory of each child of this process, in a `with` block."""

    def __init__(self) -> None:
        self._peaks_bytes: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def peak_bytes(self) -> int:
        """What they held at their highest, together."""
        return sum(self._peaks_bytes.values())

    def _watch(self) -> None:
        while not self._end.wait(_LOOK_S):
            for task in Path("/proc/self/task").iterdir():
                self._look(_text(task / "children").split())

    def _look(self, process_ids: list[str]) -> None:
        for process_id in process_ids:
            for line in _text(Path(f"/proc/{process_id}/status")).splitlines():
                if line.startswith("VmHWM:"):
                    self._peaks_bytes[process_id] = int(line.split()[1]) * 1024


def _text(path: Path) -> str:
    """Return what the kernel says of a thread or process; nothing of one that has ended."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
