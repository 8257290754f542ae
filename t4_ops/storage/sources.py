"""Local files as sources: read once, front to back, and noticed if they change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from t4_ops.checksums import Buffer
from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError
from t4_ops.storage._files import open_regular, read_range, storage_error
from t4_ops.storage.tree import Tree


class Source:
    """A local file, open in a `with` block. Made by `open_source`.

    Attributes:
        path: Its path, as named.
        size_bytes: Its size when it was opened.
        mtime_ns: Its time of change when it was opened.
    """

    size_bytes: int
    mtime_ns: int

    def __init__(self, path: str, tree: Tree | None) -> None:
        self.path = path
        self._tree = tree
        self._fd = -1

    def __enter__(self) -> Self:
        """Open the file; see `open_source` for what this raises."""
        try:
            if self._tree is None:
                self._fd, found = open_regular(self.path, self.path)
            else:
                self._fd, found = self._tree.open_file(_below(self.path, self._tree.root))
        except NotFoundError:
            if Path(self.path).is_dir():
                message = f"{self.path} is a folder, not a file; set_dir takes folders"
                raise InvalidInputError(message, key=self.path) from None
            raise
        self.size_bytes, self.mtime_ns = found.st_size, found.st_mtime_ns
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless it is closed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __iter__(self) -> Iterator[Buffer]:
        """Yield all bytes, then check that they are those of one state of the file.

        A piece is valid until the next one. The check comes before the iteration ends, so a writer
        that takes the pieces sees the error before it commits them.

        Raises:
            IntegrityError: The file changed since it was opened.
            StorageError: It can't be read.
        """
        count = 0
        # One byte more than announced tells a file that grows.
        for piece in read_range(self._fd, 0, self.size_bytes + 1, self.path):
            count += len(piece)
            if count > self.size_bytes:
                raise self._changed()
            yield piece
        if count != self.size_bytes:
            raise self._changed()
        self.check_unchanged()

    def pieces(self, start: int, end: int) -> Iterator[Buffer]:
        """Yield the bytes from `start` to before `end`, for threads that share a large file.

        Whoever has read all parts calls `check_unchanged`.

        Raises:
            IntegrityError: The file ends before `end`.
            StorageError: It can't be read.
        """
        for piece in read_range(self._fd, start, end, self.path):
            start += len(piece)
            yield piece
        if start < end:
            raise self._changed()

    def check_unchanged(self) -> None:
        """Check size and time of change, and that the path still leads to this file.

        Raises:
            IntegrityError: One of them is not as it was.
        """
        try:
            now = os.fstat(self._fd)
            there = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise self._changed() from exc
        except OSError as exc:
            raise storage_error(exc, self.path) from exc
        is_same = (now.st_size, now.st_mtime_ns) == (self.size_bytes, self.mtime_ns)
        if not is_same or not os.path.samestat(now, there):
            raise self._changed()

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"{self.path} changed while it was read; set it again when nothing writes to it",
            key=self.path,
        )


def open_source(path: str, *, tree: Tree | None = None) -> Source:
    """Return a local file for a `with` block, which opens and closes it.

    Args:
        path: The file. Symlinks are followed, because the user named it, unless `tree` is given.
        tree: Where given, `path` is absolute and below its root, and no symlink below the root is
            followed: for paths that `scan_folder` recorded, and with the root `/` for any path
            that was resolved when it was recorded.

    Raises:
        NotFoundError: On entering the block: there is no such file.
        InvalidInputError: It is a folder, fifo, socket or device, or a symlink that is not
            followed.
        StorageError: It can't be opened.
    """
    return Source(path, tree)


def _below(path: str, root: str) -> str:
    base = root.rstrip("/") + "/"
    if not path.startswith(base):
        raise InvalidInputError(f"{path} is not below {root}", key=path)
    return path.removeprefix(base)
