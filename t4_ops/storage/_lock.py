"""The lock of a folder registry.

One lock for the whole registry: it is held only to compare and rename. `flock` belongs to the open
file, so it works between threads as between processes, and the kernel drops that of a process that
dies, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from t4_ops.errors import StorageError
from t4_ops.storage._files import storage_error
from t4_ops.storage.tree import Tree

LOCK_KEY: Final = ".t4/v1/lock"
LOCK_TIMEOUT_S: Final = 60.0
"""Longest wait; a holder that is neither stopped nor hanging needs milliseconds."""

_LONGEST_SLEEP_S: Final = 0.02


@contextmanager
def locked(tree: Tree) -> Iterator[None]:
    """Hold the registry's lock.

    Raises:
        StorageError: It can't be had in `LOCK_TIMEOUT_S`, or the file system has no locks.
    """
    where = tree.path(LOCK_KEY)
    deadline_s = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        with tree.open_lock_file(LOCK_KEY) as fd:
            _wait(fd, where, deadline_s)
            # A registry that was cleared or swapped meanwhile has another lock file.
            if _is_current(where, fd):
                try:
                    yield
                finally:
                    # Closing would do, but for a child forked meanwhile, which has it open, too.
                    with suppress(OSError):
                        fcntl.flock(fd, fcntl.LOCK_UN)
                return


def _is_current(where: str, fd: int) -> bool:
    # By its path: a symlink in it leads to another file, or to this very one.
    try:
        return os.path.samestat(os.stat(where, follow_symlinks=False), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise storage_error(exc, where) from exc


def _wait(fd: int, where: str, deadline_s: float) -> None:
    started_s = time.monotonic()
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in (errno.EAGAIN, errno.EACCES):
                raise storage_error(exc, where) from exc
        if time.monotonic() > deadline_s:
            raise StorageError(
                f"{where} is locked by another process for too long; if none is working, one hangs",
                key=where,
                retryable=True,
            )
        # Who has waited long looks less often: with 32 waiters, looking cost as much as the work.
        longest_s = min(_LONGEST_SLEEP_S, 0.002 + (time.monotonic() - started_s) / 4)
        time.sleep(random.uniform(0.0002, longest_s))
