"""Giving entries the sizes and hashes they lack."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from t4_ops.checksums import CHUNK_BYTES
from t4_ops.manifest import Entry
from t4_ops.transfer.pool import run_all
from t4_ops.transfer.progress import Progress
from t4_ops.transfer.reading import Opener, hash_object

# Small files are hashed many to a task: handing the interpreter lock from thread to thread for
# each of them costs more than the hashing (measured: 4 threads with a task a file take 4 times as
# long as one thread).
_BATCH_BYTES: Final = CHUNK_BYTES
_BATCH_FILES: Final = 256


def hash_entries(
    entries: Iterable[Entry],
    opener: Opener,
    progress: Progress,
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> Iterator[Entry]:
    """Yield every entry with size and hash, in the same order.

    Entries that have both pass unread. The others get the size and hash of what is there now, so
    that manifest and bytes agree even when a file grew since it was set.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
    """

    def hash_batch(batch: list[Entry]) -> list[Entry]:
        return [_hashed(entry, opener, progress) for entry in batch]

    for batch in run_all(_batches(entries), hash_batch, workers=workers, stop=stop):
        yield from batch


def _hashed(entry: Entry, opener: Opener, progress: Progress) -> Entry:
    if entry.hash is not None and entry.size_bytes is not None:
        return entry
    size_bytes, checksum = hash_object(entry.physical_key, opener)
    progress.advance(size_bytes)
    return replace(entry, size_bytes=size_bytes, hash=checksum)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    room_bytes = _BATCH_BYTES
    for entry in entries:
        batch.append(entry)
        room_bytes -= entry.size_bytes or 0
        # An S3 object costs a round trip however small it is, so it is a task of its own.
        alone = entry.hash is None and entry.physical_key.startswith("s3://")
        if alone or room_bytes <= 0 or len(batch) == _BATCH_FILES:
            yield batch
            batch, room_bytes = [], _BATCH_BYTES
    if batch:
        yield batch
