"""A file that is complete but not yet visible under its name."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from t4_ops.checksums import Buffer
from t4_ops.errors import InvalidInputError, StorageError
from t4_ops.storage._files import storage_error, write_at
from t4_ops.storage.base import PreconditionFailedError

# What file systems without hard links answer.
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass
class Staged:
    """A complete file under a temporary name, beside its target.

    Attributes:
        directory: Descriptor of the folder.
        temporary: Its name until it is committed.
        name: The target's name.
        where: The target's path, for messages.
        found: Its facts; a commit keeps inode, size and time of change.
        is_committed: Whether the target is this file now.
    """

    directory: int
    temporary: str
    name: str
    where: str
    found: os.stat_result
    is_committed: bool = False

    def touch(self, mtime_ns: int) -> None:
        """Set the file's time of change.

        Raises:
            StorageError: It can't be set.
        """
        times = (self.found.st_atime_ns, mtime_ns)
        try:
            os.utime(self.temporary, ns=times, dir_fd=self.directory, follow_symlinks=False)
            self.found = os.stat(self.temporary, dir_fd=self.directory, follow_symlinks=False)
        except OSError as exc:
            raise storage_error(exc, self.where) from exc

    def replace(self) -> None:
        """Give the file its name; what had it, even a symlink, is replaced, never written into.

        Raises:
            InvalidInputError: A folder has the name.
            StorageError: It can't be renamed.
        """
        names = (self.temporary, self.name)
        try:
            os.rename(*names, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as exc:
            self._refuse_folder()
            raise storage_error(exc, self.where) from exc
        self.is_committed = True

    def create(self) -> None:
        """Give the file its name if nothing, not even a symlink, has it.

        Raises:
            PreconditionFailedError: Something has the name.
            InvalidInputError: A folder has the name.
            StorageError: It can't be linked, e.g. because the file system makes no hard links.
        """
        try:
            os.link(
                self.temporary,
                self.name,
                src_dir_fd=self.directory,
                dst_dir_fd=self.directory,
                follow_symlinks=False,
            )
        except FileExistsError as exc:
            self._refuse_folder()
            raise PreconditionFailedError(f"{self.where} exists already", key=self.where) from exc
        except OSError as exc:
            if exc.errno in _NO_LINKS:
                raise StorageError(
                    f"{self.where} can't be created: this file system makes no hard links,"
                    " which writing without overwriting needs; use another one",
                    key=self.where,
                ) from exc
            raise storage_error(exc, self.where) from exc
        self.is_committed = True
        remove_temporary(self.temporary, self.directory)

    def _refuse_folder(self) -> None:
        with suppress(OSError):
            found = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise InvalidInputError(
                    f"{self.where} is a folder where a file is needed; move it away", key=self.where
                )


class StagedParts:
    """A file under a temporary name whose parts several threads write; then it gets its name.

    Args:
        fd: Descriptor of the new file; closed by `close`.
        staged: The file, not complete yet.
    """

    def __init__(self, fd: int, staged: Staged) -> None:
        self._fd, self._staged = fd, staged

    def write(self, start: int, data: Buffer) -> None:
        """Write bytes at an offset.

        Raises:
            StorageError: The disk is full, or it fails otherwise.
        """
        write_at(self._fd, data, start, self._staged.where)

    def replace(self) -> None:
        """Close the file and give it its name; what had it is replaced.

        Raises:
            InvalidInputError: A folder has the name.
            StorageError: It can't be written out or renamed.
        """
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError as exc:  # network file systems tell of a full disk here
            raise storage_error(exc, self._staged.where) from exc
        self._staged.replace()

    def close(self) -> bool:
        """Close the file if it is open; return whether it got its name."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        return self._staged.is_committed


def remove_temporary(name: str, directory: int) -> None:
    """Remove a temporary file; one that can't be removed is left, as after a crash.

    Nothing lists or packages such a file, and an error about it would hide the one that matters.
    """
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)
