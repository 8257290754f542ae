"""Large objects into files: ranges fetched or read side by side, each hashed on its way.

Files of this machine are read, hashed and written by all processors. A copy by the kernel
(copy_file_range) that is hashed afterwards took the same processor time (1.5 s for 256 MiB, both),
since hashing is what takes it.

The ranges are the chunks of `sha2-256-chunked`, so their digests give the object's hash; the file
gets its name only after that was compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from t4_ops.checksums import CHUNK_BYTES, SHA256_CHUNKED, chunk_size_bytes, combine_digests
from t4_ops.errors import IntegrityError, NotFoundError
from t4_ops.manifest import Entry
from t4_ops.storage import NoStoreError, StagedParts, Tree
from t4_ops.transfer.cache import ContentCache, Copy
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.progress import Progress
from t4_ops.transfer.reading import gone, not_promised, require_hash

RANGES_FROM_BYTES: Final = 2 * CHUNK_BYTES
"""Smallest object that is fetched in ranges."""


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

    def ranges(self) -> Iterator[Range]:
        """Yield its ranges in order."""
        size_bytes = self.entry.size_bytes or 0
        step = chunk_size_bytes(size_bytes)
        for start in range(0, size_bytes, step):
            yield Range(self, start, min(start + step, size_bytes))

    def add(self, digest: bytes, end: int) -> bool:
        """Note the next chunk; after the last one check the hash and give the file its name.

        Returns:
            Whether the file is complete.

        Raises:
            IntegrityError: It is not what the entry promises; the file is removed.
        """
        self.digests.append(digest)
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

    def close(self) -> None:
        """Close the file; without its name it is removed."""
        self._stack.close()


@dataclass(frozen=True, slots=True)
class Range:
    """A task: the bytes from `start` to before `end` of a large object."""

    file: LargeFile
    start: int
    end: int

    def fetch(self, opener: Opener, progress: Progress) -> bytes:
        """Bring the bytes into the file and return their digest.

        Raises:
            NotFoundError: The object is gone.
            IntegrityError: It has another size.
            StorageError: The storage or the disk failed.
        """
        entry, position, digest = self.file.entry, self.start, hashlib.sha256()
        try:
            with opener.open_range(entry.physical_key, self.start, self.end) as opened:
                if opened.size_bytes != entry.size_bytes:
                    raise self._wrong_size(opened.size_bytes)
                for piece in opened:
                    digest.update(piece)
                    self.file.parts.write(position, piece)
                    if self.file.copy is not None:
                        self.file.copy.write(position, piece)
                    position += len(piece)
        except NoStoreError:
            raise
        except NotFoundError as exc:
            raise gone(entry) from exc
        if position != self.end:
            raise self._wrong_size(position)
        progress.advance(self.end - self.start)
        return digest.digest()

    def _wrong_size(self, size_bytes: int) -> IntegrityError:
        entry = self.file.entry
        return not_promised(entry, f"{entry.size_bytes} bytes", f"{size_bytes} bytes")
