"""What the folder side shares: temporary names, reads and writes, and whose fault an OSError is."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from t4_ops.checksums import Buffer
from t4_ops.errors import InvalidInputError, NotFoundError, StorageError, T4Error
from t4_ops.storage.whole import READ_FLAGS

READ_BYTES: Final = 256 * 1024
"""Bytes a read asks for. Source: sizes from 64 KiB to 8 MiB measured within 10 % of each other.
Each thread holds one: with 1 MiB a push of 60 files of 8 MiB took 160 MB, with this 130 MB."""

# Bytes of one write. Linux (6.16 and later, ext4) asks for a piece of memory as large as the write.
# Up to 64 KiB it takes leftovers; larger ones are pieces that a virtual machine's hypervisor may
# have taken back (free page reporting, from 2 MiB on) and gives again at 3 µs for each 4 KiB: 2 GiB
# in writes of 32, 64, 128, 256 KiB and 1 MiB took 0.5, 0.8, 1.4, 1.8 to 2.7 and 4.8 s. Where memory
# is not taken back, installing 2 GiB took 1.03 times the time in writes of 64 instead of 256 KiB.
_WRITE_BYTES: Final = 64 * 1024

# Strict, so that no scan passes over a user's own file.
_TEMPORARY: Final = re.compile(r"\.t4-[0-9a-f]{16}\.tmp")

_REFUSED: Final = {
    errno.ENAMETOOLONG: "a name in it is longer than the file system takes",
    errno.EILSEQ: "the file system does not take this name",
    errno.EINVAL: "the file system does not take this name",
    errno.ELOOP: "it is a symlink, which is not followed below a registry or a destination",
    errno.ENXIO: "it is a socket or device, not a regular file",
}
_FAILED: Final = {
    errno.ENOSPC: "no space left on the device (ENOSPC); free some, then run this again",
    errno.EDQUOT: "the disk quota is used up (EDQUOT); free some, then run this again",
    errno.EACCES: "permission denied (EACCES); check owner and mode",
    errno.EPERM: "not permitted (EPERM); check owner, mode and file attributes",
    errno.EROFS: "the file system is read-only (EROFS)",
}
_PASSING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}


def temporary_name() -> str:
    """Return a new name for a file that is not complete yet."""
    return f".t4-{os.urandom(8).hex()}.tmp"


def is_temporary(name: str) -> bool:
    """Return whether a file name is one of `temporary_name`, left by a process that died."""
    return name.startswith(".t4-") and _TEMPORARY.fullmatch(name) is not None


def storage_error(exc: OSError, where: str) -> T4Error:
    """Return our error for one of the operating system.

    Args:
        exc: What was raised.
        where: The file or folder, for the message.
    """
    code = exc.errno
    if code in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"{where} is not there", key=where)
    if code in _REFUSED:
        return InvalidInputError(f"{where} is refused: {_REFUSED[code]}", key=where)
    if code in _FAILED:
        return StorageError(f"{where}: {_FAILED[code]}", key=where)
    return StorageError(f"{where}: {exc.strerror or exc}", key=where, retryable=code in _PASSING)


def check_regular(found: os.stat_result, where: str) -> os.stat_result:
    """Return `found` if it describes a regular file.

    Raises:
        NotFoundError: It is a folder: no file has this name.
        InvalidInputError: It is a symlink, fifo, socket or device.
    """
    if stat.S_ISREG(found.st_mode):
        return found
    if stat.S_ISDIR(found.st_mode):
        raise NotFoundError(f"{where} is a folder, not a file", key=where)
    kind = "a symlink, which is not followed" if stat.S_ISLNK(found.st_mode) else "a special file"
    raise InvalidInputError(f"{where} is refused: it is {kind}", key=where)


def open_regular(
    name: str, where: str, *, flags: int = 0, dir_fd: int | None = None
) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; return its descriptor and what `fstat` says.

    Raises:
        NotFoundError: There is none, or it is a folder.
        InvalidInputError: It is no regular file.
        StorageError: It can't be opened.
    """
    try:
        fd = os.open(name, READ_FLAGS | flags, dir_fd=dir_fd)
    except OSError as exc:
        raise storage_error(exc, where) from exc
    try:
        return fd, check_regular(os.fstat(fd), where)
    except BaseException:
        os.close(fd)
        raise


def read_range(fd: int, start: int, end: int, where: str) -> Iterator[Buffer]:
    """Yield the bytes from `start` to before `end`, or to the end of the file.

    Reads at offsets, so threads may share the descriptor. A piece is valid until the next: those of
    a large range are views of one buffer.

    Raises:
        StorageError: The read fails.
    """
    try:
        if end - start <= READ_BYTES:
            # The common case, a small file: what the system returns is yielded as it is.
            while data := os.pread(fd, max(0, end - start), start):
                yield data
                start += len(data)
            return
        view = memoryview(bytearray(READ_BYTES))
        while count := os.preadv(fd, [view[: end - start]], start):
            yield view[:count]
            start += count
    except OSError as exc:
        raise storage_error(exc, where) from exc


def write_all(fd: int, data: Buffer, where: str) -> None:
    """Write all of `data`; one call to the system may take less.

    Raises:
        StorageError: The disk is full, or the write fails otherwise.
    """
    view = memoryview(data).cast("B")
    while view:
        try:
            count = os.write(fd, view[:_WRITE_BYTES])
        except OSError as exc:
            raise storage_error(exc, where) from exc
        view = view[count:]


def write_at(fd: int, data: Buffer, start: int, where: str) -> None:
    """Write all of `data` at an offset.

    Raises:
        StorageError: The disk is full, or the write fails otherwise.
    """
    view = memoryview(data).cast("B")
    while view:
        try:
            count = os.pwrite(fd, view[:_WRITE_BYTES], start)
        except OSError as exc:
            raise storage_error(exc, where) from exc
        view, start = view[count:], start + count


def flush(fd: int, where: str, *, is_folder: bool = False) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    Raises:
        StorageError: They may not be.
    """
    try:
        os.fsync(fd)
    except OSError as exc:
        # Some network file systems have no fsync for folders and keep names in order themselves.
        if not (is_folder and exc.errno == errno.EINVAL):
            raise storage_error(exc, where) from exc


def fill(fd: int, chunks: Iterable[Buffer], where: str, *, durable: bool) -> os.stat_result:
    """Write a new file and close it; return its facts.

    Raises:
        StorageError: The disk is full, or it fails otherwise. What the chunks raise is passed on.
    """
    try:
        for chunk in chunks:
            write_all(fd, chunk, where)
        if durable:
            flush(fd, where)
        found = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    try:
        os.close(fd)
    except OSError as exc:  # network file systems tell of a full disk here
        raise storage_error(exc, where) from exc
    return found
