"""Large objects into files: ranges fetched or read side by side, each hashed on its way.

Files of this machine are read, hashed and written by all processors. A copy by the kernel
(copy_file_range) that is hashed afterwards took the same processor time (1.5 s for 256 MiB, both),
since hashing is what takes it.

Ranges begin and end where chunks of `sha2-256-chunked` do and each chunk is hashed by itself, so
their digests give the object's hash; the file gets its name only after that was compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from t4_ops.checksums import (
    CHUNK_BYTES,
    SHA256_CHUNKED,
    Buffer,
    chunk_size_bytes,
    combine_digests,
)
from t4_ops.errors import IntegrityError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.storage import NoStoreError, StagedParts, Tree
from t4_ops.transfer.cache import ContentCache, Copy
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.progress import Progress
from t4_ops.transfer.reading import gone, not_promised, require_hash

RANGES_FROM_BYTES: Final = 2 * CHUNK_BYTES
"""Smallest object that is fetched in ranges."""

# Most bytes of one request. With 16 threads on 1 GiB, hashing left out, requests of 16 MiB instead
# of 8 MiB took SeaweedFS and us 0.87 times the processor time; 32 MiB took SeaweedFS 1.3 times,
# which reads ahead.
_MOST_BYTES: Final = 2 * CHUNK_BYTES
# Requests for each thread, at least, so that none waits long for the last ones.
_FOR_EACH: Final = 4


def comes_in_ranges(entry: Entry) -> bool:
    """Return whether an entry's object is fetched in ranges."""
    return (
        (entry.size_bytes or 0) >= RANGES_FROM_BYTES
        and entry.physical_key.startswith(("s3://", "file:"))
        and require_hash(entry).type == SHA256_CHUNKED
    )


@dataclass(slots=True, eq=False)
class LargeFile:
    """A file that is being put together.

    Attributes:
        entry: Whose bytes.
        parts: The file under its temporary name.
        copy: Another one in the cache of contents.
        digests: Digests of the chunks that are in it, in order.
    """

    entry: Entry
    parts: StagedParts
    copy: Copy | None
    _stack: ExitStack
    digests: list[bytes] = field(default_factory=list)

    @classmethod
    def open(
        cls, entry: Entry, path: str, tree: Tree, cache: ContentCache | None = None
    ) -> LargeFile:
        """Return a new file for an entry.

        Raises:
            InvalidInputError: A symlink or a directory stands in the way.
            StorageError: It can't be made.
        """
        stack = ExitStack()
        parts = stack.enter_context(tree.stage_parts(path))
        copy = None if cache is None else stack.enter_context(cache.adding(entry))
        return cls(entry, parts, copy, stack)

    def ranges(self, workers: int) -> Iterator[Range]:
        """Yield its ranges in order.

        Args:
            workers: How many threads take them.
        """
        size_bytes = self.entry.size_bytes or 0
        chunk_bytes = chunk_size_bytes(size_bytes)
        step = chunk_bytes
        if self.entry.physical_key.startswith("s3://"):
            # A request costs its server, and us, as much as some MiB; reading a file does not.
            share = size_bytes // (chunk_bytes * _FOR_EACH * workers)
            step *= max(1, min(share, _MOST_BYTES // chunk_bytes))
        for start in range(0, size_bytes, step):
            yield Range(self, start, min(start + step, size_bytes), chunk_bytes)

    def add(self, digests: list[bytes], end: int) -> bool:
        """Note the next range; after the last one check the hash and give the file its name.

        Args:
            digests: Those of its chunks.
            end: Where it ends.

        Returns:
            Whether the file is complete.

        Raises:
            IntegrityError: It is not what the entry promises; the file is removed.
        """
        self.digests += digests
        if end < (self.entry.size_bytes or 0):
            return False
        expected, actual = require_hash(self.entry), combine_digests(self.digests)
        if actual != expected:
            raise not_promised(self.entry, expected.value, actual.value)
        self.parts.replace()
        if self.copy is not None:
            self.copy.commit()
        self.close()
        return True

    def write(self, start: int, data: Buffer) -> None:
        """Write bytes at an offset, into the cache too.

        Raises:
            StorageError: The disk is full, or it fails otherwise.
        """
        self.parts.write(start, data)
        if self.copy is not None:
            self.copy.write(start, data)

    def close(self) -> None:
        """Close the file; without its name it is removed."""
        self._stack.close()


@dataclass(slots=True, eq=False)
class Range:
    """A task: the bytes from `start` to before `end` of a large object.

    Attributes:
        file: Where to.
        start: Where a chunk begins.
        end: Where one ends.
        chunk_bytes: How large they are.
        digests: Those of the chunks that are in the file, in order: another try goes on after them.
    """

    file: LargeFile
    start: int
    end: int
    chunk_bytes: int
    digests: list[bytes] = field(default_factory=list)

    def fetch(self, opener: Opener, progress: Progress) -> list[bytes]:
        """Bring the bytes into the file and return the digests of their chunks.

        Raises:
            NotFoundError: The object is gone.
            IntegrityError: It has another size.
            StorageError: The storage or the disk failed.
        """
        start, _ = self._chunk()
        if start < self.end:
            self._fetch_from(start, opener, progress)
        return self.digests

    def _fetch_from(self, start: int, opener: Opener, progress: Progress) -> None:
        entry = self.file.entry
        try:
            with opener.open_range(entry.physical_key, start, self.end) as opened:
                if opened.size_bytes != entry.size_bytes:
                    raise self._wrong_size(opened.size_bytes)
                position = self._take(opened, start, progress)
        except NoStoreError:
            raise
        except NotFoundError as exc:
            raise gone(entry) from exc
        if position != self.end:
            raise self._wrong_size(position)

    def _take(self, pieces: Iterable[Buffer], position: int, progress: Progress) -> int:
        """Hash and write bytes from the beginning of a chunk on; return where they end."""
        digest = hashlib.sha256()
        for piece in pieces:
            rest = memoryview(piece)
            # One piece may hold the end of a chunk and the beginning of the next.
            while rest:
                start, end = self._chunk()
                if start >= self.end:
                    # More than was asked for; none of it may go where another range is written.
                    return position + len(rest)
                part, rest = rest[: end - position], rest[end - position :]
                digest.update(part)
                self.file.write(position, part)
                position += len(part)
                if position == end:
                    self.digests.append(digest.digest())
                    digest = hashlib.sha256()
                    progress.advance(end - start)
        return position

    def _chunk(self) -> tuple[int, int]:
        """Return where the chunk that comes next begins and ends; both `end` if all are there."""
        start = min(self.start + len(self.digests) * self.chunk_bytes, self.end)
        return start, min(start + self.chunk_bytes, self.end)

    def _wrong_size(self, size_bytes: int) -> IntegrityError:
        entry = self.file.entry
        return not_promised(entry, f"{entry.size_bytes} bytes", f"{size_bytes} bytes")
