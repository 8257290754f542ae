"""Reading small files whole; also by an assistant, a process that hashes beside its parent.

Standard library only: an assistant runs this file by itself, without the rest of the library, so
that it is there in 15 ms.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import sys
from collections.abc import Iterable
from typing import IO, Final

READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""How files are opened: not waiting for a fifo's other end; a regular file ignores it."""
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How folders are opened."""

# Read by `marshal`, which knows plain values only. Paths are bytes, as the system has them: the two
# processes may differ in how they read them as text.
Question = tuple[bytes | None, bytes, list[bytes], int]
"""Root below which no symlink is followed (None: any is), folder, names in it, most bytes."""
Answer = list[tuple[int, bytes] | None]
"""For each name the size and the digest; None: it has to be read by plainer means."""
LENGTH_BYTES: Final = 4
"""Before each answer stands its length."""


class ChangedError(Exception):
    """A file changed while it was read."""


def read_whole(name: str | bytes, flags: int, folder_fd: int, max_bytes: int) -> bytes | None:
    """Return the bytes of a file, all of one state of it.

    That its path leads elsewhere by the time it was read is no change of what was read: it is as if
    the reading had come first.

    Returns:
        The bytes; None if it can't be opened, is larger than `max_bytes`, or can't be read at once.

    Raises:
        ChangedError: It changed while it was read.
        OSError: Reading it failed.
    """
    try:
        fd = os.open(name, flags, dir_fd=folder_fd)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        size_bytes = before.st_size
        if size_bytes > max_bytes or not stat.S_ISREG(before.st_mode):
            return None
        # One byte more tells a file that grows.
        data = os.read(fd, size_bytes + 1)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if after.st_mtime_ns != before.st_mtime_ns or not size_bytes == after.st_size >= len(data):
        raise ChangedError
    # Fewer bytes than there are is what some network file systems give at once.
    return data if len(data) == size_bytes else None


def one_chunk_digest(data: bytes) -> bytes:
    """Return the raw `sha2-256-chunked` hash of an object of one chunk, or none if it is empty."""
    return hashlib.sha256(hashlib.sha256(data).digest() if data else b"").digest()


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer questions until there are no more."""
    while True:
        try:
            asked: list[Question] = marshal.load(questions)  # noqa: S302 - from our parent
        except EOFError:
            return
        text = marshal.dumps([found for question in asked for found in _answer(*question)])
        answers.write(len(text).to_bytes(LENGTH_BYTES, "big") + text)
        answers.flush()


def _answer(root: bytes | None, folder: bytes, names: Iterable[bytes], max_bytes: int) -> Answer:
    wanted = list(names)
    flags = READ_FLAGS if root is None else READ_FLAGS | os.O_NOFOLLOW
    try:
        folder_fd = _opened(root, folder)
    except OSError:
        return [None] * len(wanted)
    try:
        return [_found(name, flags, folder_fd, max_bytes) for name in wanted]
    finally:
        os.close(folder_fd)


def _opened(root: bytes | None, folder: bytes) -> int:
    if root is None:
        return os.open(folder, FOLDER_FLAGS)
    fd = os.open(root, FOLDER_FLAGS)
    for name in os.path.relpath(folder, root).split(b"/"):
        above = fd
        try:
            fd = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
    return fd


def _found(name: bytes, flags: int, folder_fd: int, max_bytes: int) -> tuple[int, bytes] | None:
    try:
        data = read_whole(name, flags, folder_fd, max_bytes)
    except (ChangedError, OSError):
        return None  # told by whoever reads it again
    return None if data is None else (len(data), one_chunk_digest(data))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
