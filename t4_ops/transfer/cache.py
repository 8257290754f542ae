"""A cache of contents on this machine: what was fetched once is not fetched again.

It is off unless `cache_bytes` says how large it may become. It is keyed by hash and size, so it
does not matter where an object came from or what became of its URL. It proves nothing: whoever
reads a file of it verifies the bytes as if they came from the network, and drops the file if they
are wrong. It never fails a call: where it can't be written it warns once and is passed over.

Processes share it. Files appear whole, by a rename. A writer first adds to the number in `used`,
under a lock, what it is going to write, and makes room if that is too much. So the number may be
too large, after kills and where two wrote one content, but never too small; making room counts
anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from t4_ops.checksums import Buffer, checksum_of, new_hasher
from t4_ops.errors import T4Error
from t4_ops.manifest import Entry
from t4_ops.settings import Settings
from t4_ops.storage import StagedParts, Tree, is_temporary

_log = logging.getLogger(__name__)

_PIECE_BYTES: Final = 1024 * 1024
_USED: Final = "used"
# A file takes whole blocks of a disk, and an inode; without this, empty objects would be free.
_BLOCK_BYTES: Final = 4096
# Room is made down to this share, so that not every new file has to look through all of them.
_KEPT_SHARE: Final = 0.8
# A temporary file that old was left by a killed process: nobody writes one object for a day.
_ABANDONED_S: Final = 24 * 3600
# Longest wait for those who reserve or make room; then this content is not kept.
_PATIENCE_S: Final = 5.0
_SLEEP_S: Final = 0.002

_warned: Final[set[str]] = set()


class ContentCache:
    """Contents in a folder, at most so many bytes. Safe for threads, processes and forks.

    Args:
        folder: Where; made by the first write, for this user alone.
        max_bytes: How large it may become.
    """

    def __init__(self, folder: str, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._tree = Tree(folder)
        self._is_broken = False

    def has(self, entry: Entry) -> bool:
        """Return whether there is a file for an entry's object; it is not looked into."""
        if not _is_remote(entry):
            return False
        try:
            found = os.stat(self._tree.path(_name(entry)), follow_symlinks=False)
        except OSError:
            return False
        return found.st_size == entry.size_bytes

    def read(self, entry: Entry) -> bytes | None:
        """Return the verified bytes of a small object; None if they are not here, or damaged."""
        with self._open(entry) as kept:
            if kept is None or entry.hash is None:
                return None
            try:
                data = b"".join([bytes(piece) for piece in kept])
            except OSError:
                return None
        if checksum_of(data, entry.hash.type) == entry.hash:
            return data
        self.drop(entry)
        return None

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[Kept | None]:
        """Open the bytes of an object of any size, after reading them once to verify them.

        Who reads them may use pieces up before the last one tells that they are wrong, and there
        would be no way back to the bucket. None: they are not here, or damaged.
        """
        with self._open(entry) as kept:
            yield kept if kept is not None and self._is_right(kept, entry) else None

    def _is_right(self, kept: Kept, entry: Entry) -> bool:
        if entry.hash is None:
            return False
        hasher = new_hasher(entry.hash.type, kept.size_bytes)
        try:
            for piece in kept:
                hasher.update(piece)
        except OSError:
            return False
        if hasher.finish() == entry.hash:
            return True
        self.drop(entry)
        return False

    @contextmanager
    def _open(self, entry: Entry) -> Iterator[Kept | None]:
        if not _is_remote(entry):
            yield None
            return
        path = self._tree.path(_name(entry))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            yield None
            return
        try:
            is_whole = os.fstat(fd).st_size == entry.size_bytes
            if is_whole:
                with suppress(OSError):
                    os.utime(path)  # used last now
            else:
                self.drop(entry)
            yield Kept(fd, entry.size_bytes or 0) if is_whole else None
        finally:
            os.close(fd)

    def drop(self, entry: Entry) -> None:
        """Remove a content that is damaged."""
        _log.warning("%s: a file of the cache is damaged; it is fetched again", self.folder)
        with suppress(T4Error, OSError):
            self._tree.remove(_name(entry))

    def add(self, entry: Entry, data: bytes) -> None:
        """Keep the verified bytes of a small object."""
        with self.adding(entry) as copy:
            copy.write(0, data)
            copy.commit()

    @contextmanager
    def adding(self, entry: Entry) -> Iterator[Copy]:
        """Take an entry's bytes as they arrive; they are kept if the block commits them."""
        copy = Copy(self, _name(entry))
        if _is_remote(entry) and not self._is_broken:
            copy.open(self._tree, entry.size_bytes or 0)
        try:
            yield copy
        finally:
            copy.close()

    def reserve(self, size_bytes: int) -> bool:
        """Return whether there is room for an object, after making it if need be.

        Raises:
            OSError: The folder can't be written.
        """
        size_bytes = _on_disk(size_bytes)
        if size_bytes > self._max_bytes:
            return False
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._tree.path(_USED), flags, 0o600)
        try:
            if not _locked(fd):
                return False
            text = os.pread(fd, 32, 0)
            # A killed writer, or a full disk, may leave no number: then all is counted.
            used = int(text) if text.isdigit() else self._max_bytes
            if used + size_bytes > self._max_bytes:
                used = self._make_room(size_bytes)
            os.pwrite(fd, b"%032d" % (used + size_bytes), 0)
            return True
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def failed(self, exc: Exception) -> None:
        """Write no more, and say so once in this process."""
        self._is_broken = True
        if self.folder not in _warned:
            _warned.add(self.folder)
            _log.warning("%s: nothing more is kept in the cache: %s", self.folder, exc)

    def _make_room(self, size_bytes: int) -> int:
        """Remove what was used longest ago; return how many bytes are left. The lock is held."""
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        goal = min(int(self._max_bytes * _KEPT_SHARE), self._max_bytes - size_bytes)
        for _, size, path in files:
            if used <= goal:
                break
            if is_temporary(os.path.basename(path)):
                continue  # somebody writes it
            with suppress(FileNotFoundError):
                os.unlink(path)
            used -= size
        return used

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield when each file was used last, its size and path; remove abandoned ones."""
        before_s = time.time() - _ABANDONED_S
        for folder in os.scandir(self.folder):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for item in os.scandir(folder.path):
                try:
                    found = item.stat(follow_symlinks=False)
                    if is_temporary(item.name) and found.st_mtime < before_s:
                        os.unlink(item.path)
                        continue
                except FileNotFoundError:
                    continue
                yield found.st_mtime, _on_disk(found.st_size), item.path


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the cache, open: it may be removed meanwhile."""

    fd: int
    size_bytes: int

    def __iter__(self) -> Iterator[Buffer]:
        start = 0
        while piece := os.pread(self.fd, _PIECE_BYTES, start):
            yield piece
            start += len(piece)


class Copy:
    """A content on its way into the cache; its methods never fail, at worst nothing is kept."""

    def __init__(self, cache: ContentCache, name: str) -> None:
        self._cache, self._name = cache, name
        self._stack = ExitStack()
        self._parts: StagedParts | None = None
        self._lock = threading.Lock()

    def open(self, tree: Tree, size_bytes: int) -> None:
        """Make room and a temporary file."""
        try:
            if self._cache.reserve(size_bytes):
                self._parts = self._stack.enter_context(tree.stage_parts(self._name))
        except (T4Error, OSError) as exc:
            self._cache.failed(exc)

    def write(self, start: int, data: Buffer) -> None:
        """Take bytes at an offset."""
        parts = self._parts
        if parts is None:
            return
        try:
            parts.write(start, data)
        except (T4Error, OSError) as exc:
            self._parts = None
            self._cache.failed(exc)

    def commit(self) -> None:
        """Keep it; all bytes were written, and verified."""
        if self._parts is None:
            return
        try:
            self._parts.replace()
        except (T4Error, OSError) as exc:
            self._cache.failed(exc)

    def close(self) -> None:
        """Remove it unless it was committed."""
        with self._lock:
            self._parts = None
            try:
                self._stack.close()
            except (T4Error, OSError) as exc:
                self._cache.failed(exc)


def open_cache(settings: Settings) -> ContentCache | None:
    """Return the cache of contents, or None if it is off."""
    if not settings.cache_bytes:
        return None
    return ContentCache(settings.cache_dir, settings.cache_bytes)


def _is_remote(entry: Entry) -> bool:
    return entry.hash is not None and entry.physical_key.startswith("s3://")


def _name(entry: Entry) -> str:
    """Return the name of a content: a hash of its hash, which may hold any character."""
    known = entry.hash
    text = "" if known is None else f"{known.type} {known.value} {entry.size_bytes}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest[:2]}/{digest}"


def _on_disk(size_bytes: int) -> int:
    return (size_bytes // _BLOCK_BYTES + 1) * _BLOCK_BYTES


def _locked(fd: int) -> bool:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_SLEEP_S)
        else:
            return True
