"""A folder below which nothing leads outside: files are read, replaced, made and listed safely.

Every way is walked by directory descriptors, one component at a time and without following
symlinks, so a symlink that is swapped in while we work is refused, not followed. A file becomes
visible under its name whole or not at all: it is written under a temporary name in the same folder
and then renamed (to replace) or hard-linked (to create only).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from t4_ops.checksums import Buffer
from t4_ops.errors import NotFoundError, StorageError
from t4_ops.storage._directories import Directories, components
from t4_ops.storage._files import (
    check_regular,
    fill,
    flush,
    is_temporary,
    open_regular,
    storage_error,
    temporary_name,
)
from t4_ops.storage._staged import Staged, StagedParts, remove_temporary
from t4_ops.storage.whole import FOLDER_FLAGS

Kind = Literal["file", "folder", "link", "special"]

# Each further round needs somebody who removes the folder just made.
_ROUNDS: Final = 100
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


# Made for every file of a scanned folder: as a struct in a fifth of a tuple's time.
class TreeEntry(msgspec.Struct, frozen=True, gc=False):
    """One name in a folder.

    Attributes:
        name: File name; bytes that are no UTF-8 are surrogates, as Python reads them.
        kind: What it is; a link is not looked behind.
        stat: What the system says of a file; None for everything else.
    """

    name: str
    kind: Kind
    stat: os.stat_result | None = None


class Tree:
    """Safe access to the files below a folder; safe for threads, holds nothing open by itself.

    In a `with` block it keeps the directories it used last open, which makes work on many files in
    few folders faster; a folder that is moved or removed meanwhile may then be seen as it was.

    Args:
        root: The folder. It may be a symlink, and need not exist until something is written.

    Attributes:
        root: Its absolute path.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = str(Path(root).absolute())
        self._directories = Directories(self.root)

    def __enter__(self) -> Self:
        self._directories.keep_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._directories.close()

    def path(self, relative: str) -> str:
        """Return the absolute path of a file, for messages and records."""
        return self._directories.where(relative)

    def open_file(self, relative: str) -> tuple[int, os.stat_result]:
        """Open a regular file for reading; the caller closes the descriptor.

        Returns:
            The descriptor, and what `fstat` says of it.

        Raises:
            NotFoundError: There is none, or it is a folder.
            InvalidInputError: It or a component is a symlink or special file, or no name.
            StorageError: It can't be opened.
        """
        folder, name = _split(relative)
        directory = self._directories.open(folder)
        try:
            return open_regular(name, self.path(relative), flags=os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)

    def open_folder(self, relative: str) -> int:
        """Open a folder, the root if empty; the caller closes the descriptor.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: A component is a symlink, or no name.
            StorageError: It can't be opened.
        """
        return self._directories.open(relative)

    def stat(self, relative: str) -> os.stat_result:
        """Return the facts of a regular file.

        Raises:
            NotFoundError: There is none, or it is a folder.
            InvalidInputError: It or a component is a symlink or special file, or no name.
        """
        where = self.path(relative)
        with self._parent(relative) as (directory, name):
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except OSError as exc:
                raise storage_error(exc, where) from exc
        return check_regular(found, where)

    def write(
        self,
        relative: str,
        chunks: Iterable[Buffer],
        *,
        durable: bool,
        create_only: bool = False,
    ) -> os.stat_result:
        """Write a file: all of it or nothing. See `stage` for arguments and errors.

        Raises:
            PreconditionFailedError: `create_only`, and something has the name.
        """
        with self.stage(relative, chunks, durable=durable) as staged:
            if create_only:
                staged.create()
            else:
                staged.replace()
        return staged.found

    @contextmanager
    def stage(self, relative: str, chunks: Iterable[Buffer], *, durable: bool) -> Iterator[Staged]:
        """Write a file under a temporary name; the block commits it, or it is removed.

        Args:
            relative: The target.
            chunks: The bytes. What they raise is passed on, and nothing is left behind.
            durable: Have bytes and names on the disk before the block ends.

        Raises:
            InvalidInputError: A component is a symlink or a file, or no name.
            StorageError: The disk is full, read-only, not ours, or fails.
        """
        folder, name = _split(relative)
        where, temporary = self.path(relative), temporary_name()
        directory, made, fd = self._open_new(folder, temporary, _NEW_FLAGS, where, durable=durable)
        is_committed = False
        try:
            found = fill(fd, chunks, where, durable=durable)
            staged = Staged(directory, temporary, name, where, found)
            try:
                yield staged
            finally:
                is_committed = staged.is_committed
            if durable and is_committed:
                flush(directory, self.path(folder), is_folder=True)
        finally:
            if not is_committed:
                remove_temporary(temporary, directory)
                self._directories.remove_empty(folder, made)
            os.close(directory)

    @contextmanager
    def stage_parts(self, relative: str) -> Iterator[StagedParts]:
        """Open a file under a temporary name for writing at offsets; the block commits it.

        Without a commit it is removed when the block ends. It is not flushed to the disk.

        Raises:
            InvalidInputError: A component is a symlink or a file, or no name.
            StorageError: The disk is full, read-only, not ours, or fails.
        """
        folder, name = _split(relative)
        where, temporary = self.path(relative), temporary_name()
        directory, made, fd = self._open_new(folder, temporary, _NEW_FLAGS, where, durable=False)
        parts = StagedParts(fd, Staged(directory, temporary, name, where, os.fstat(fd)))
        try:
            yield parts
        finally:
            if not parts.close():
                remove_temporary(temporary, directory)
                self._directories.remove_empty(folder, made)
            os.close(directory)

    def create_empty(self, relative: str) -> bool:
        """Create an empty file, which can't be half there; return False if something has the name.

        It is not on the disk yet, nor are the folders made for it: see `flush_folder`.

        Raises:
            InvalidInputError: A component is a symlink or a file, or no name.
            StorageError: It can't be created.
        """
        folder, name = _split(relative)
        for _ in range(_ROUNDS):
            directory = self._directories.make_nearby(folder)
            try:
                os.close(os.open(name, _NEW_FLAGS, 0o666, dir_fd=directory))
                return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue  # somebody removed the folder, which was empty, between the two calls
            except OSError as exc:
                raise storage_error(exc, self.path(relative)) from exc
            finally:
                os.close(directory)
        where = self.path(relative)
        raise StorageError(f"{where} can't be made: its folder vanishes", key=where, retryable=True)

    def make_root(self) -> None:
        """Make the root, if need be, and have its name on the disk.

        Raises:
            InvalidInputError: It, or what is above, is a file.
            StorageError: It can't be made.
        """
        os.close(self._directories.make("", durable=True)[0])

    def flush_folder(self, folder: str) -> None:
        """Wait until the names in a folder are on the disk; one that is gone has none.

        Raises:
            InvalidInputError: A component is a symlink, or no name.
            StorageError: They may not be.
        """
        try:
            directory = self._directories.open(folder)
        except NotFoundError:
            return
        try:
            flush(directory, self.path(folder), is_folder=True)
        finally:
            os.close(directory)

    def remove(self, relative: str) -> bool:
        """Remove a file or symlink, and the folders that are empty then; return whether it was.

        Raises:
            InvalidInputError: A component is a symlink, or no name.
            StorageError: It can't be removed.
        """
        try:
            with self._parent(relative) as (directory, name):
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    return False
                os.unlink(name, dir_fd=directory)
        except (FileNotFoundError, NotFoundError):
            return False
        except OSError as exc:
            raise storage_error(exc, self.path(relative)) from exc
        folder = _split(relative)[0]
        self._directories.remove_empty(folder, folder.count("/") + 1)
        return True

    def entries(
        self, folder: str = "", keep: Callable[[str, Kind], bool] | None = None
    ) -> list[TreeEntry]:
        """Return what is in a folder, unsorted; our temporary files are left out.

        Args:
            folder: Path below the root; empty for the root.
            keep: Takes name and kind and says whether the entry is wanted; the facts of the others
                are not asked for.

        Raises:
            NotFoundError: There is no such folder.
            InvalidInputError: A component is a symlink, or no name.
            StorageError: It can't be read.
        """
        directory = self._directories.open(folder)
        try:
            # Opened anew: threads that share a descriptor would share the place in the listing.
            fresh = os.open(".", FOLDER_FLAGS, dir_fd=directory)
            try:
                with os.scandir(fresh) as found:
                    return _entries(found, keep)
            finally:
                os.close(fresh)
        except OSError as exc:
            raise storage_error(exc, self.path(folder)) from exc
        finally:
            os.close(directory)

    @contextmanager
    def open_lock_file(self, relative: str) -> Iterator[int]:
        """Open a file for locking, making it and its folders if need be.

        Raises:
            InvalidInputError: It or a component is a symlink.
            StorageError: It can't be opened.
        """
        folder, name = _split(relative)
        where = self.path(relative)
        directory, _, fd = self._open_new(folder, name, _LOCK_FLAGS, where, durable=False)
        os.close(directory)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, relative: str) -> Iterator[tuple[int, str]]:
        folder, name = _split(relative)
        directory = self._directories.open(folder)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def _open_new(
        self, folder: str, name: str, flags: int, where: str, *, durable: bool
    ) -> tuple[int, int, int]:
        """Return descriptors of folder and file, between them how many levels of it are new."""
        for _ in range(_ROUNDS):
            directory, made = self._directories.make(folder, durable=durable)
            try:
                return directory, made, os.open(name, flags, 0o666, dir_fd=directory)
            except FileNotFoundError:
                # Somebody removed the folder, which was empty, between the two calls.
                os.close(directory)
                self._directories.forget(folder)
            except OSError as exc:
                os.close(directory)
                self._directories.remove_empty(folder, made)
                raise storage_error(exc, where) from exc
        raise StorageError(f"{where} can't be made: its folder vanishes", key=where, retryable=True)


def _split(relative: str) -> tuple[str, str]:
    """Return folder and name of a file; the folder's components are checked when it is opened."""
    folder, slash, name = relative.rpartition("/")
    components(name if folder or not slash else relative)
    return folder, name


def _entries(
    found: Iterable[os.DirEntry[str]], keep: Callable[[str, Kind], bool] | None
) -> list[TreeEntry]:
    entries: list[TreeEntry] = []
    for item in found:
        name, kind = item.name, _kind(item)
        if (name[0] == "." and is_temporary(name)) or not (keep is None or keep(name, kind)):
            continue
        if kind != "file":
            entries.append(TreeEntry(name, kind))
            continue
        try:
            entries.append(TreeEntry(name, kind, item.stat(follow_symlinks=False)))
        except FileNotFoundError:
            continue  # it has vanished since
    return entries


def _kind(found: os.DirEntry[str]) -> Kind:
    # A regular file is asked for first: most are.
    if found.is_file(follow_symlinks=False):
        return "file"
    if found.is_symlink():
        return "link"
    return "folder" if found.is_dir(follow_symlinks=False) else "special"
