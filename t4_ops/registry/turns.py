"""Turns: rivals on one machine go to a bucket one after the other, instead of all at once.

Of many who race for one pointer all but one have sent their requests for nothing. A bucket gives
nothing to wait at, but Linux does: a semaphore, whose waiters it serves in order of arrival, wakes
when it is theirs, lets wait no longer than they want, and whose turn it takes back from a process
that is killed. It is politeness only. Whoever can't have a turn, or has waited long enough, races
all the same; what decides is the compare-and-swap at the bucket, as between machines.

Files with locks, looked at again and again, were tried before: rivals found a free turn late, and
some never.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final
from weakref import ref

LONGEST_WAIT_S: Final = 5.0
"""Longest wait for a turn: what 32 rivals take who need 0.15 s each, a far server included."""

_NAME: Final = "t4_ops turns"
# Enough that two pointers seldom share one. All are one entry in the kernel's table, which stays
# until the machine is restarted.
_SLOTS: Final = 64
# Source: Linux's uapi headers ipc.h and sem.h.
_IPC_CREAT: Final = 0o1000
_IPC_NOWAIT: Final = 0o4000
_IPC_STAT: Final = 2
_GETPID: Final = 11
_GETVAL: Final = 12
_SEM_UNDO: Final = 0x1000
_OWNER_ONLY: Final = 0o600
# More than `struct semid_ds` has. It begins with the key and the owner's id, 32 bits each.
_STATUS_BYTES: Final = 512


class _Step(ctypes.Structure):
    """`struct sembuf` of semop(2)."""

    _fields_ = (
        ("number", ctypes.c_ushort),
        ("change", ctypes.c_short),
        ("flags", ctypes.c_short),
    )


class _Seconds(ctypes.Structure):
    """`struct timespec`."""

    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _Block:
    """A block that waits for its turn or has it."""

    __slots__ = ("__weakref__",)


# Those of this process, by slot; of one that was kept from leaving properly a dead reference.
_present: Final[tuple[list[ref[_Block]], ...]] = tuple([] for _ in range(_SLOTS))


@contextmanager
def turn(pointer: str) -> Iterator[None]:
    """Let one process of this user and machine at a time into the block, as far as possible.

    Args:
        pointer: What is raced for; others pass.
    """
    slot = hashlib.sha256(pointer.encode()).digest()[0] % _SLOTS
    semaphores = _semaphores()
    if semaphores is None:
        yield
        return
    process_id, block, has_turn = os.getpid(), _Block(), False
    present, this = _present[slot], ref(block)
    present.append(this)
    try:
        if _is_lost(semaphores, slot, this):
            _give(semaphores, slot)  # an earlier block was kept from it
        has_turn = _take(semaphores, slot)
        yield
    finally:
        # A child that was forked meanwhile comes by here, too, and it is not its turn to give.
        if os.getpid() == process_id and (has_turn or _is_lost(semaphores, slot, this)):
            _give(semaphores, slot)
        present.remove(this)


@cache
def _libc() -> ctypes.CDLL:
    """Return the C library.

    Raises:
        OSError: This Python is linked without one that can be asked.
        AttributeError: It has no such semaphores.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    number, steps = ctypes.c_int, ctypes.POINTER(_Step)
    libc.semget.argtypes = (number, number, number)
    libc.semop.argtypes = (number, steps, ctypes.c_size_t)
    libc.semtimedop.argtypes = (number, steps, ctypes.c_size_t, ctypes.POINTER(_Seconds))
    return libc


def _semaphores() -> int | None:
    """Return the number of this user's semaphores; None where none can be had.

    Asked each time: a system may remove them when a user has logged out.
    """
    if sys.platform != "linux":
        return None
    user_id = os.getuid()
    digest = hashlib.sha256(f"{_NAME} {user_id}".encode()).digest()
    # Not 0, which would mean semaphores that nobody else finds.
    key = int.from_bytes(digest[:4], sys.byteorder, signed=True) or 1
    try:
        found: int = _libc().semget(key, _SLOTS, _IPC_CREAT | _OWNER_ONLY)
    except (OSError, AttributeError):
        return None
    if found < 0:
        return None
    status = ctypes.create_string_buffer(_STATUS_BYTES)
    if _libc().semctl(found, 0, _IPC_STAT, status) < 0:
        return None
    # Another user's, open to all, would let him make us wait.
    return found if int.from_bytes(status.raw[4:8], sys.byteorder) == user_id else None


def _take(semaphores: int, slot: int) -> bool:
    """Wait until it is our turn, and return whether it is, or was waited for long enough."""
    # In one step: wait until nobody has it, and have it, to be taken back if we die.
    steps = (_Step * 2)(_Step(slot, 0, 0), _Step(slot, 1, _SEM_UNDO))
    until_s = time.monotonic() + LONGEST_WAIT_S
    while (left_s := until_s - time.monotonic()) > 0:
        wait = _Seconds(int(left_s), int(left_s % 1 * 1e9))
        if _libc().semtimedop(semaphores, steps, len(steps), wait) == 0:
            return True
        if ctypes.get_errno() != errno.EINTR:
            return False
    return False


def _is_lost(semaphores: int, slot: int, this: ref[_Block]) -> bool:
    """Return whether this process has the turn, but no other block of it may be in there.

    So it is where a signal's handler raised when the turn had been taken, but not noted yet, or
    before it was given back.
    """
    libc = _libc()
    return (
        libc.semctl(semaphores, slot, _GETVAL) > 0
        and libc.semctl(semaphores, slot, _GETPID) == os.getpid()  # who changed it last
        and all(other is this or other() is None for other in _present[slot])
    )


def _give(semaphores: int, slot: int) -> None:
    """Let the next one have it."""
    _libc().semop(semaphores, _Step(slot, -1, _SEM_UNDO | _IPC_NOWAIT), 1)
