"""Turns: rivals on one machine go to a bucket one after the other, instead of all at once.

Of many who race for one pointer all but one have sent their requests for nothing. A bucket gives
nothing to wait at, but this machine does: a lock in a folder of the user's. It is politeness only.
Whoever can't have it, or has waited long enough, races all the same; what decides is the
compare-and-swap at the bucket, as between machines.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

LONGEST_WAIT_S: Final = 5.0
"""Longest wait for a turn: what 32 rivals take who need 0.15 s each, a far server included."""

# Enough that two pointers seldom share one; few enough to leave no litter.
_SLOTS: Final = 64
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# Who has waited long looks less often: 31 who look each 25 ms find a free turn within 1 ms, and
# take a twentieth of a processor together. Looking each 4 ms took more than the requests.
_FIRST_SLEEP_S: Final = 0.004
_LONGEST_SLEEP_S: Final = 0.05


@contextmanager
def turn(pointer: str) -> Iterator[None]:
    """Let one process of this user and machine at a time into the block, as far as possible.

    Args:
        pointer: What is raced for; others pass.
    """
    slot = _open_slot(pointer)
    if slot is None:
        yield
        return
    try:
        _wait(slot)
        yield
    finally:
        # Closing would do, but for a child that was forked meanwhile and has the file open, too.
        with suppress(OSError):
            fcntl.flock(slot, fcntl.LOCK_UN)
        os.close(slot)


def _open_slot(pointer: str) -> int | None:
    """Return the open lock file of a pointer; None where none can be had."""
    number = hashlib.sha256(pointer.encode()).digest()[0] % _SLOTS
    folder = os.path.join(
        os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir(), f"t4_ops-turns-{os.getuid()}"
    )
    try:
        with_folder = _open_own(folder)
    except OSError:
        return None
    try:
        return os.open(f"{number:02}", _FLAGS, 0o600, dir_fd=with_folder)
    except OSError:
        return None
    finally:
        os.close(with_folder)


def _open_own(folder: str) -> int:
    """Open the folder of locks, made if need be.

    Raises:
        OSError: It can't be made, or is another user's, who could make us wait.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        os.mkdir(folder, 0o700)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(fd)
        raise PermissionError(f"{folder} is not ours alone")
    return fd


def _wait(slot: int) -> None:
    """Wait until it is our turn, or long enough."""
    started_s = time.monotonic()
    while True:
        try:
            return fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            waited_s = time.monotonic() - started_s
        if waited_s > LONGEST_WAIT_S:
            return None
        time.sleep(random.uniform(0, min(_LONGEST_SLEEP_S, _FIRST_SLEEP_S + waited_s / 4)))
