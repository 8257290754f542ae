"""One progress bar for each operation, and none where nobody watches."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from t4_ops.checksums import chunk_size_bytes

_log = logging.getLogger("t4_ops.progress")
# Long steps in schedulers have no terminal; a line now and then shows that they live.
_LOG_EVERY_S: Final = 10.0

ProgressWatcher = Callable[[str, int, int], None]
"""Is told what is being done, the bytes done, and the bytes in all as far as known."""
_watcher: ContextVar[tuple[ProgressWatcher, float] | None] = ContextVar("t4_progress", default=None)


@contextmanager
def watch_progress(watcher: ProgressWatcher, every_s: float = 5.0) -> Iterator[None]:
    """Have somebody told how far the operations inside a block are, instead of the log.

    He is told from whatever thread does the work, one at a time, and once more at the end of each
    operation. What he raises goes to the log.

    Args:
        watcher: Is told.
        every_s: Seconds between two times.
    """
    token = _watcher.set((watcher, every_s))
    try:
        yield
    finally:
        _watcher.reset(token)


class Progress(Protocol):
    """Is told what has been done."""

    def advance(self, size_bytes: int) -> None:
        """Count bytes that were moved or hashed, or fewer than none again; safe for threads."""

    def grow(self, size_bytes: int) -> None:
        """Add bytes that are still to be done: a push learns what it moves once it has hashed."""


class _Logged:
    def __init__(self, what: str) -> None:
        self._what, self._total_bytes = what, 0
        self._done_bytes, self._next_s = 0, time.monotonic() + _LOG_EVERY_S

    def grow(self, size_bytes: int) -> None:
        self._total_bytes += size_bytes

    def advance(self, size_bytes: int) -> None:
        # Two threads may add at once and one addition be lost: this is for people to look at.
        self._done_bytes += size_bytes
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _LOG_EVERY_S
            _log.info("%s: %d of %d bytes", self._what, self._done_bytes, self._total_bytes)


class Tally:
    """Counts the bytes of one object for a `Progress`: each once, however often it is read.

    A part that is read to be hashed and again to be sent, or again because its request failed, is
    one part of what is to be done.

    Args:
        progress: Is told.
        size_bytes: The object's size, which fixes its parts.
    """

    def __init__(self, progress: Progress, size_bytes: int) -> None:
        self._progress = progress
        self._step_bytes = chunk_size_bytes(size_bytes)
        # How far each part was read; a part is one thread's.
        self._ends: dict[int, int] = {}

    def read(self, start: int, end: int) -> None:
        """Count the bytes from `start` to before `end`, unless they were before."""
        while start < end:
            part = start // self._step_bytes
            stop = min(end, (part + 1) * self._step_bytes)
            before = self._ends.get(part, part * self._step_bytes)
            if stop > before:
                self._ends[part] = stop
                self._progress.advance(stop - before)
            start = stop

    def forget(self) -> None:
        """Take back what was counted: the object was not moved, and another try counts anew."""
        done = sum(end - part * self._step_bytes for part, end in self._ends.items())
        self._ends.clear()
        self._progress.advance(-done)


class _Watched(_Logged):
    def __init__(self, what: str, watcher: ProgressWatcher, every_s: float) -> None:
        super().__init__(what)
        self._watcher, self._every_s = watcher, every_s
        self._next_s = time.monotonic() + every_s
        self._telling = threading.Lock()

    def advance(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        if time.monotonic() >= self._next_s and self._telling.acquire(blocking=False):
            try:
                self._next_s = time.monotonic() + self._every_s
                self._tell()
            finally:
                self._telling.release()

    def end(self) -> None:
        """Tell the last state."""
        with self._telling:
            self._tell()

    def _tell(self) -> None:
        try:
            self._watcher(self._what, self._done_bytes, self._total_bytes)
        except Exception:  # noqa: BLE001 - nobody's transfer fails because of its display
            _log.warning("progress of %s could not be shown", self._what, exc_info=True)


@contextmanager
def progress(what: str, total_bytes: int = 0, *, shown: bool = True) -> Iterator[Progress]:
    """Show a bar on a terminal, else write to the log `t4_ops.progress` now and then.

    Inside `watch_progress` its watcher is told instead.

    Args:
        what: What is being done, such as `pushing team/raw`.
        total_bytes: Bytes in all, as far as known; with none there is no bar until it grows.
        shown: False for no bar on a terminal either.
    """
    watching = _watcher.get()
    if watching is not None:
        watched = _Watched(what, *watching)
        watched.grow(total_bytes)
        try:
            yield watched
        finally:
            watched.end()
        return
    if not shown or not sys.stderr.isatty():
        logged = _Logged(what)
        logged.grow(total_bytes)
        yield logged
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(what, total=0, visible=False)

        class _Bar:
            def advance(self, size_bytes: int) -> None:
                display.advance(task, size_bytes)

            def grow(self, size_bytes: int) -> None:
                # Called by the one thread that plans; only `advance` is for the workers.
                total = (display.tasks[0].total or 0) + size_bytes
                display.update(task, total=total, visible=total > 0)

        bar = _Bar()
        bar.grow(total_bytes)
        yield bar
