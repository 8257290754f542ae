"""Directories below a root, opened component by component so that no symlink redirects the way."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Final, TypeVar

from t4_ops.errors import InvalidInputError, NotFoundError, StorageError
from t4_ops.storage._files import flush, storage_error
from t4_ops.storage.whole import FOLDER_FLAGS

_Made = TypeVar("_Made")

# Far below the 256 descriptors that a process on macOS gets.
_KEPT_OPEN: Final = 64
# Each further round needs somebody who removes the directory just made.
_ROUNDS: Final = 100
_FLAGS: Final = FOLDER_FLAGS | os.O_NOFOLLOW


class _FileInTheWayError(InvalidInputError):
    """A component of a path to a directory is a file."""


def components(relative: str) -> list[str]:
    """Return the names in a relative path.

    Raises:
        InvalidInputError: It is absolute, has an empty, `.` or `..` component, or can't be a path.
    """
    names = relative.split("/")
    for name in names:
        if name in ("", ".", ".."):
            raise InvalidInputError(
                f"{relative!r} is refused: it has the component {name!r}", key=relative
            )
    if "\0" in relative:
        raise InvalidInputError(f"{relative!r} is refused: it holds NUL", key=relative)
    try:
        os.fsencode(relative)
    except UnicodeEncodeError as exc:
        raise InvalidInputError(f"{relative!r} is refused: it is not UTF-8", key=relative) from exc
    return names


class Directories:
    """Opens directories below a root; below it no symlink is followed, the root may be one.

    Args:
        root: Absolute path.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._base = root.rstrip("/") + "/"
        self._lock = threading.Lock()
        self._kept: dict[str, int] | None = None

    def where(self, relative: str) -> str:
        """Return the absolute path, for messages."""
        return self._base + relative

    def keep_open(self) -> None:
        """Keep up to 64 directories open until `close`, for many files in few directories."""
        with self._lock:
            self._kept = self._kept or {}

    def close(self) -> None:
        """Close the directories that were kept open."""
        with self._lock:
            kept, self._kept = self._kept or {}, None
            for fd in kept.values():
                os.close(fd)

    def forget(self, relative: str) -> bool:
        """Close a directory that was kept open; return whether it was."""
        with self._lock:
            fd = self._kept.pop(relative, None) if self._kept else None
            if fd is not None:
                os.close(fd)
        return fd is not None

    def open(self, relative: str) -> int:
        """Return a descriptor of a directory; the caller closes it.

        Args:
            relative: Path below the root; empty for the root.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: A component is a symlink, or no name.
            StorageError: It can't be opened.
        """
        fd = self._from_kept(relative)
        if fd is not None:
            return fd
        names = components(relative) if relative else []
        try:
            fd = os.open(self.root, FOLDER_FLAGS)
            for depth, name in enumerate(names):
                fd = self._descend(fd, name, names[: depth + 1])
        except _FileInTheWayError as exc:
            where = self.where(relative)
            raise NotFoundError(f"{where} is not there: {exc}", key=where) from exc
        except OSError as exc:
            raise storage_error(exc, self.where(relative)) from exc
        self._keep(relative, fd)
        return fd

    def make(self, relative: str, *, durable: bool) -> tuple[int, int]:
        """Return a descriptor of a directory, and how many levels of it, from the last, are new.

        Args:
            relative: Path below the root; empty for the root.
            durable: Flush every directory that got a new name.

        Raises:
            InvalidInputError: A component is a symlink or a file, or no name.
            StorageError: It can't be made.
        """
        try:
            return self.open(relative), 0
        except NotFoundError:
            names = components(relative) if relative else []

        def make() -> tuple[int, int]:
            self._make_root(durable=durable)
            return self._make_below(names, durable=durable)

        return self._made(relative, make, lambda: None)

    def make_nearby(self, relative: str) -> int:
        """Return a descriptor of a directory, made from the nearest one above that is kept open.

        For many directories in few places: what is in place already is not made again. Nothing is
        flushed. The root must be there.

        Raises:
            InvalidInputError: A component is a symlink or a file, or no name.
            StorageError: It can't be made.
        """
        names = components(relative) if relative else []

        def forget_kept() -> None:
            # A directory that is kept open may be the one that was removed.
            self.close()
            self.keep_open()

        return self._made(relative, lambda: self._make_nearby(names), forget_kept)

    def _made(
        self, relative: str, make: Callable[[], _Made], before_next: Callable[[], None]
    ) -> _Made:
        """Return what `make` returns, which tries again while others remove empty directories."""
        where = self.where(relative)
        for _ in range(_ROUNDS):
            try:
                return make()
            except FileNotFoundError:
                before_next()
            except (FileExistsError, NotADirectoryError) as exc:
                raise InvalidInputError(
                    f"{where} can't be made: {exc.filename} is a file or a dangling link", key=where
                ) from exc
            except OSError as exc:
                raise storage_error(exc, where) from exc
        raise StorageError(f"{where} is removed again and again", key=where, retryable=True)

    def remove_empty(self, relative: str, levels: int) -> None:
        """Remove a directory and those above it, while they are empty; never the root.

        Args:
            relative: Where to begin.
            levels: How many at most.
        """
        for _ in range(levels):
            if not relative:
                return
            self.forget(relative)
            relative, _, name = relative.rpartition("/")
            try:
                fd = self.open(relative)
            except NotFoundError:
                continue
            try:
                os.rmdir(name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError:
                return  # not empty, or not ours to remove: that it stays loses nothing
            finally:
                os.close(fd)

    def _from_kept(self, relative: str) -> int | None:
        with self._lock:
            fd = self._kept.get(relative) if self._kept else None
            # A copy, because another thread may close the kept one.
            return None if fd is None else os.dup(fd)

    def _keep(self, relative: str, fd: int) -> None:
        with self._lock:
            if self._kept is None or relative in self._kept:
                return
            if len(self._kept) >= _KEPT_OPEN:
                os.close(self._kept.pop(next(iter(self._kept))))
            self._kept[relative] = os.dup(fd)

    def _descend(self, fd: int, name: str, way: list[str]) -> int:
        """Return a descriptor of a directory in `fd`, which is closed."""
        try:
            return os.open(name, _FLAGS, dir_fd=fd)
        except FileNotFoundError:
            raise
        except OSError:
            self._refuse(fd, name, self.where("/".join(way)))
            raise
        finally:
            os.close(fd)

    def _refuse(self, fd: int, name: str, where: str) -> None:
        """Say it clearly if what stands in the way is a symlink or a file."""
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise InvalidInputError(
                f"{where} is a symlink: below a registry or a destination none is followed;"
                " put a folder in its place",
                key=where,
            )
        if not stat.S_ISDIR(mode):
            raise _FileInTheWayError(
                f"{where} is a file where a folder is needed; move it away", key=where
            )

    def _make_root(self, *, durable: bool) -> None:
        root = Path(self.root)
        missing = list(takewhile(lambda path: not path.is_dir(), (root, *root.parents)))
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            if durable:
                fd = os.open(path.parent, FOLDER_FLAGS)
                try:
                    flush(fd, str(path.parent), is_folder=True)
                finally:
                    os.close(fd)

    def _make_below(self, names: list[str], *, durable: bool) -> tuple[int, int]:
        made = 0
        fd = os.open(self.root, FOLDER_FLAGS)
        for depth, name in enumerate(names):
            try:
                made = max(made, (len(names) - depth) * _mkdir(fd, name))
                if durable:
                    # Also what exists: whoever made it may not have flushed it yet.
                    flush(fd, self.where("/".join(names[:depth])), is_folder=True)
            except BaseException:
                os.close(fd)
                raise
            fd = self._descend(fd, name, names[: depth + 1])
        return fd, made

    def _make_nearby(self, names: list[str]) -> int:
        depth, kept = len(names), None
        while kept is None and depth > 0:
            depth -= 1
            kept = self._from_kept("/".join(names[:depth]))
        fd = os.open(self.root, FOLDER_FLAGS) if kept is None else kept
        for level in range(depth, len(names)):
            try:
                is_new = _mkdir(fd, names[level])
            except BaseException:
                os.close(fd)
                raise
            way = names[: level + 1]
            fd = self._descend(fd, names[level], way)
            # What others share is there already, or will be when the next one comes by.
            if not is_new:
                self._keep("/".join(way), fd)
        return fd


def _mkdir(fd: int, name: str) -> bool:
    """Make a directory in `fd`; return whether it is new."""
    try:
        os.mkdir(name, dir_fd=fd)
    except FileExistsError:
        return False
    return True
