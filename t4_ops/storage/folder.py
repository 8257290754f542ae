"""A store in a folder.

A replacement is compared and renamed under the registry's lock, held for microseconds: what is
slow, writing and flushing the new bytes, happens before. Creating needs no lock, since a hard link
fails if the name is taken.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from t4_ops.checksums import Buffer
from t4_ops.errors import FormatError, IntegrityError, InvalidInputError, NotFoundError
from t4_ops.keys import PhysicalKey, normalize_registry
from t4_ops.storage._empty import create_empty_files
from t4_ops.storage._files import is_temporary, open_regular, read_range
from t4_ops.storage._leftovers import temporary_files
from t4_ops.storage._listing import is_text, list_level, list_objects
from t4_ops.storage._lock import LOCK_KEY, locked
from t4_ops.storage._staged import Staged
from t4_ops.storage.base import Content, Leftover, Listing, ObjectInfo, PreconditionFailedError
from t4_ops.storage.tree import Tree

ETAG_BY_CONTENT_BYTES: Final = 64 * 1024
"""Objects up to this size have the hash of their bytes as etag, larger ones inode, time and size.

Pointers need the first: another client may rewrite one in place within one tick of the clock, and
an inode number is used again at once. Hashing a large object for each `head` would cost too much,
and `_replace` never gives two of them the same time.
"""


class FolderReader:
    """An object opened for reading."""

    def __init__(self, info: ObjectInfo, pieces: Iterator[Buffer]) -> None:
        self.info = info
        self._pieces = pieces

    def __iter__(self) -> Iterator[Buffer]:
        return self._pieces


class FolderStore:
    """A folder as a store. Safe for threads, processes and forks: it holds nothing open.

    Not objects, and never listed: symlinks, special files, temporary files, the lock, and names
    that are no UTF-8. The folder is made by the first write.

    Args:
        url: `file:///absolute/path` or a path.

    Attributes:
        url: The normalised URL.
        is_versioned: False: what is overwritten is gone.
    """

    is_versioned: bool = False

    def __init__(self, url: str) -> None:
        self.url = normalize_registry(url)
        self._tree = Tree(PhysicalKey.parse(self.url).path)

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo:
        """Return an object's facts; reads up to 64 KiB for the etag.

        Raises:
            NotFoundError: There is none.
        """
        with self.open(key, version_id=version_id) as reader:
            return reader.info

    def read(
        self, key: str, *, version_id: str | None = None, max_bytes: int | None = None
    ) -> Content:
        """Return a small object whole.

        Raises:
            NotFoundError: There is none.
            FormatError: It is larger than `max_bytes`.
        """
        with self.open(key, version_id=version_id) as reader:
            size_bytes = reader.info.size_bytes
            if max_bytes is not None and size_bytes > max_bytes:
                raise FormatError(
                    f"{self._tree.path(key)} is {size_bytes} bytes, more than {max_bytes}", key=key
                )
            return Content(b"".join([bytes(piece) for piece in reader]), reader.info)

    @contextmanager
    def open(
        self,
        key: str,
        *,
        version_id: str | None = None,
        start: int = 0,
        end: int | None = None,
        if_match: str | None = None,
    ) -> Iterator[FolderReader]:
        """Open an object, or its bytes from `start` to before `end`.

        Args:
            key: Where it is.
            version_id: Must be None.
            start: Offset of the first byte.
            end: Offset after the last byte; None is the object's end.
            if_match: Fail unless the object has this etag.

        Raises:
            NotFoundError: There is none, or a version is asked for.
            PreconditionFailedError: `if_match`, and the object is another.
        """
        _check_key(key)
        where = self._tree.path(key)
        if version_id is not None:
            raise NotFoundError(f"{where} has no versions: it is in a folder", key=key)
        fd, found = self._tree.open_file(key)
        try:
            size_bytes = found.st_size
            stop = size_bytes if end is None else min(end, size_bytes)
            pieces: Iterator[Buffer] = read_range(fd, start, stop, where)
            etag = _etag_of_file(found)
            if size_bytes <= ETAG_BY_CONTENT_BYTES:
                data = b"".join([bytes(p) for p in read_range(fd, 0, size_bytes, where)])
                etag = hashlib.sha256(data).hexdigest()
                pieces = iter((data[start:stop],) if start < stop else ())
            if if_match is not None and etag != if_match:
                raise PreconditionFailedError(f"{where} is another object by now", key=key)
            yield FolderReader(_info(key, found, etag), pieces)
        finally:
            os.close(fd)

    def write(
        self, key: str, data: bytes, *, create_only: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        """Write a small object: all of it or nothing, durable when the call returns.

        Raises:
            PreconditionFailedError: The condition does not hold; nothing changed.
        """
        _check_key(key)
        if create_only and if_match is not None:
            raise InvalidInputError("create_only and if_match exclude each other", key=key)
        if if_match is not None:
            self._require(key, if_match)  # a cheap answer before the bytes are written
        return self._put(key, (data,), len(data), create_only=create_only, if_match=if_match)

    def replace(
        self, key: str, data: bytes, accept: Callable[[Content | None], bool], *, max_bytes: int
    ) -> bool:
        """Write a small object over one that is accepted: compare and swap without a race to lose.

        The bytes are on the disk before the lock is taken, so that many who replace one object wait
        for each other's look and rename only.

        Args:
            key: Where to.
            data: The bytes.
            accept: Called under the lock with what is there, None for nothing; says whether to
                replace it. What it raises is passed on, and nothing is changed.
            max_bytes: Larger objects are not read: `accept` gets no bytes of them.

        Returns:
            Whether it was replaced.
        """
        _check_key(key)
        with self._tree.stage(key, (data,), durable=True) as staged, locked(self._tree):
            held, before_ns = _held(key, staged, max_bytes)
            is_wanted = accept(held)
            if is_wanted:
                _put_in_place(staged, before_ns)
        return is_wanted

    def create_empty(self, keys: Sequence[str], *, workers: int) -> list[str]:
        """Create many empty objects, durable when the call returns; return those that were there.

        Args:
            keys: Where to.
            workers: Threads that wait for the disk.

        Raises:
            InvalidInputError: A key is none, or leads through a symlink.
            StorageError: One could not be created; others may have been.
        """
        for key in keys:
            _check_key(key)
        return create_empty_files(self._tree, keys, workers=workers)

    def upload(
        self, key: str, chunks: Iterable[Buffer], size_bytes: int, *, create_only: bool = False
    ) -> ObjectInfo:
        """Write an object of any size from pieces: all of it or nothing, durable on return.

        Raises:
            PreconditionFailedError: `create_only`, and there is an object.
            IntegrityError: The pieces are more or fewer bytes than `size_bytes`.
        """
        _check_key(key)
        return self._put(key, chunks, size_bytes, create_only=create_only, if_match=None)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, in key order, without etags.

        Args:
            prefix: What keys start with.
            start_after: Only keys that sort after this one.
        """
        return list_objects(self._tree, prefix, start_after)

    def list_versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what `list` yields: a folder has no versions."""
        return list_objects(self._tree, prefix)

    def list_level(self, folder: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects right below a folder, in key order; none of folders below it.

        Args:
            folder: The folder, ending in `/`.
            start_after: Only keys that sort after this one.
        """
        found = list_objects(self._tree, folder, start_after)
        return (info for info in found if "/" not in info.key[len(folder) :])

    def list_folder(self, prefix: str = "") -> Listing:
        """Return one level: the folders and objects right below `prefix` (`""` or ending `/`).

        Raises:
            InvalidInputError: The prefix is something else.
        """
        return list_level(self._tree, prefix)

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Remove an object, and folders that are empty then; none there is no error.

        Raises:
            PreconditionFailedError: `if_match`, and the object there is another.
        """
        _check_key(key)
        if not self._exists(key):
            return
        with locked(self._tree):
            if if_match is not None and self._exists(key):
                self._require(key, if_match)
            self._tree.remove(key)

    def leftovers(self, prefix: str, older_than_s: float) -> Iterator[Leftover]:
        """Yield temporary files of killed processes below a folder, at rest for some time.

        Raises:
            InvalidInputError: The prefix leads outside, or through a symlink.
        """
        return temporary_files(self._tree, prefix.rstrip("/"), older_than_s)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Remove one of `leftovers`, unless somebody wrote to it since.

        Raises:
            StorageError: It can't be removed.
        """
        with suppress(NotFoundError, InvalidInputError):
            if self._tree.stat(leftover.key).st_mtime == leftover.since_s:
                self._tree.remove(leftover.key)

    def _exists(self, key: str) -> bool:
        try:
            self._tree.stat(key)
        except NotFoundError:
            return False
        return True

    def _put(
        self,
        key: str,
        chunks: Iterable[Buffer],
        size_bytes: int,
        *,
        create_only: bool,
        if_match: str | None,
    ) -> ObjectInfo:
        if create_only and self._exists(key):  # a cheap answer, before the bytes are written
            raise PreconditionFailedError(f"{self._tree.path(key)} exists already", key=key)
        counted = _Counted(chunks, size_bytes, self._tree.path(key))
        with self._tree.stage(key, counted, durable=True) as staged:
            if create_only:
                staged.create()
            else:
                with locked(self._tree):
                    self._replace(key, staged, if_match)
        return _info(key, staged.found, counted.etag or _etag_of_file(staged.found))

    def _replace(self, key: str, staged: Staged, if_match: str | None) -> None:
        """Compare and swap; the lock is held."""
        if if_match is not None:
            self._require(key, if_match)
        try:
            before_ns = self._tree.stat(key).st_mtime_ns
        except (NotFoundError, InvalidInputError):
            before_ns = 0  # nothing there, or a symlink, which is replaced
        _put_in_place(staged, before_ns)

    def _require(self, key: str, if_match: str) -> None:
        try:
            etag = self.head(key).etag
        except NotFoundError:
            etag = None
        if etag != if_match:
            what = "is not there" if etag is None else "is another object by now"
            raise PreconditionFailedError(f"{self._tree.path(key)} {what}", key=key)


class _Counted:
    """Pieces that must be so many bytes; gives the etag of few of them."""

    def __init__(self, chunks: Iterable[Buffer], size_bytes: int, where: str) -> None:
        self._chunks = chunks
        self._size_bytes = size_bytes
        self._where = where
        self.etag: str | None = None

    def __iter__(self) -> Iterator[Buffer]:
        small = hashlib.sha256() if self._size_bytes <= ETAG_BY_CONTENT_BYTES else None
        count = 0
        for chunk in self._chunks:
            count += memoryview(chunk).nbytes
            if count > self._size_bytes:
                break
            if small is not None:
                small.update(chunk)
            yield chunk
        if count != self._size_bytes:
            raise IntegrityError(
                f"{self._where} was not written: {self._size_bytes} bytes were announced,"
                f" {'more' if count > self._size_bytes else count} came",
                key=self._where,
                expected=str(self._size_bytes),
                actual=str(count),
            )
        self.etag = None if small is None else small.hexdigest()


def _held(key: str, staged: Staged, max_bytes: int) -> tuple[Content | None, int]:
    """Return what has the name that a staged file is to get, and its time of change."""
    try:
        fd, found = open_regular(
            staged.name, staged.where, flags=os.O_NOFOLLOW, dir_fd=staged.directory
        )
    except NotFoundError:
        return None, 0
    try:
        etag, data = _etag_of_file(found), b""
        if found.st_size <= max(max_bytes, ETAG_BY_CONTENT_BYTES):
            pieces = read_range(fd, 0, found.st_size, staged.where)
            data = b"".join([bytes(piece) for piece in pieces])
    finally:
        os.close(fd)
    if found.st_size <= ETAG_BY_CONTENT_BYTES:
        etag = hashlib.sha256(data).hexdigest()
    fits = found.st_size <= max_bytes
    return Content(data if fits else b"", _info(key, found, etag)), found.st_mtime_ns


def _put_in_place(staged: Staged, before_ns: int) -> None:
    """Give a staged file its name and a time of change after that of what had it."""
    if before_ns >= staged.found.st_mtime_ns:
        staged.touch(before_ns + 1)
    staged.replace()


def _check_key(key: str) -> None:
    """Refuse what the tree does not know to be ours; the tree checks the rest."""
    if key == LOCK_KEY or any(is_temporary(name) for name in key.split("/")):
        raise InvalidInputError(f"{key!r} is refused: the store uses it itself", key=key)
    if not is_text(key):
        raise InvalidInputError(f"{key!r} is refused: it is not valid UTF-8", key=key)


def _etag_of_file(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _info(key: str, found: os.stat_result, etag: str | None) -> ObjectInfo:
    mtime_ns = found.st_mtime_ns
    return ObjectInfo(key, found.st_size, etag, mtime_s=mtime_ns / 1e9, mtime_ns=mtime_ns)
