"""Small local files, read whole: a folder is opened once for all that are in it."""

from __future__ import annotations

import os
from typing import Final, Self

from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError, StorageError
from t4_ops.storage._files import storage_error
from t4_ops.storage.tree import Tree
from t4_ops.storage.whole import FOLDER_FLAGS, READ_FLAGS, ChangedError, read_whole

SMALL_BYTES: Final = 1024 * 1024
"""Largest file that is read whole; above, opening it costs little beside hashing it."""


class SmallFiles:
    """The small files of one local folder, in a `with` block.

    Args:
        folder: Absolute path.
        tree: Where given, the folder is its root or below it, and below that root no symlink is
            followed, neither on the way to the folder nor in it.
    """

    def __init__(self, folder: str, tree: Tree | None) -> None:
        self._folder, self._tree = folder, tree
        self._flags = READ_FLAGS if tree is None else READ_FLAGS | os.O_NOFOLLOW
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            if self._tree is not None:
                below = os.path.relpath(self._folder, self._tree.root)
                self._fd = self._tree.open_folder("" if below == "." else below)
            else:
                self._fd = os.open(self._folder, FOLDER_FLAGS)
        except (OSError, NotFoundError, InvalidInputError, StorageError):
            # `read` gives nothing then, and opening a file by itself says what is wrong.
            self._fd = -1
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Once only: by a second time the number may be another thread's file.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, all of one state of it; see `read_whole`.

        Returns:
            The bytes; None if the file is larger than 1 MiB or can't be read like this: opened by
            itself it says why.

        Raises:
            IntegrityError: It changed while it was read.
            StorageError: Reading it failed.
        """
        if self._fd < 0:
            return None
        try:
            return read_whole(name, self._flags, self._fd, SMALL_BYTES)
        except ChangedError:
            where = self._where(name)
            raise IntegrityError(
                f"{where} changed while it was read; set it again when nothing writes to it",
                key=where,
            ) from None
        except OSError as exc:
            raise storage_error(exc, self._where(name)) from exc

    def _where(self, name: str) -> str:
        return f"{self._folder.rstrip('/')}/{name}"
