"""Giving entries the sizes and hashes they lack.

Small files are hashed here, with assistants if they are many, because handing the interpreter's
lock from thread to thread for each of them costs more than the hashing (measured: 2 threads take
1.5 times as long as one, 4 with a task a file 4 times). Larger ones are hashed by all processors,
large ones a chunk to a task. Objects in S3 are tasks of their own, since they wait for the network.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from t4_ops.checksums import (
    CHUNK_BYTES,
    Checksum,
    checksum_of,
    chunk_size_bytes,
    combine_digests,
)
from t4_ops.manifest import Entry
from t4_ops.storage import SMALL_BYTES, Source
from t4_ops.transfer.assistants import Assistants, processors
from t4_ops.transfer.digests import hash_object, hash_remote
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.pool import Cancelled, run_all, with_retries
from t4_ops.transfer.progress import Progress
from t4_ops.transfer.smallfiles import FILE_URL

_BATCH_BYTES: Final = CHUNK_BYTES
_BATCH_FILES: Final = 256
# Size up to which a file costs more interpreter than hashing: measured at 4, 16 and 64 KiB.
_LIGHT_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A task: one chunk of a large local file.

    Attributes:
        entry: Whose file.
        source: The file, open until its last chunk is hashed.
        start: Where the chunk begins.
        end: Where it ends.
    """

    entry: Entry
    source: Source
    start: int
    end: int


Task = list[Entry] | _Chunk


def hash_entries(
    entries: Iterable[Entry],
    opener: Opener,
    progress: Progress,
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> Iterator[list[Entry]]:
    """Yield entries with size and hash, some at a time: first those that have both.

    Then those of large files and of objects, at last those of small local files (`is_light`), each
    kind in the order in which they came. They get the size and hash of what is there now, so that
    manifest and bytes agree even when a file grew since it was set.

    Args:
        entries: The entries.
        opener: Opens what they point at.
        progress: Is told how many bytes were hashed.
        workers: Requests at a time for objects in S3. Local files are hashed by all processors,
            with 1 small ones by this thread alone.
        stop: Set from outside to give up.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
        Cancelled: `stop` was set.
    """
    whole: list[Entry] = []
    light: list[Entry] = []
    heavy: list[Entry] = []
    for entry in entries:
        if entry.hash is not None and entry.size_bytes is not None:
            whole.append(entry)
        elif is_light(entry):
            light.append(entry)
        else:
            heavy.append(entry)
    if whole:
        yield whole
    yield from _hash_heavy(heavy, opener, progress, workers, stop)
    yield from _hash_light(light, opener, progress, workers, stop)


def is_light(entry: Entry) -> bool:
    """Return whether an entry is that of a small local file."""
    # A file of unknown size may be a large one.
    size_bytes = entry.size_bytes
    is_small = size_bytes is not None and size_bytes <= _LIGHT_BYTES
    return is_small and entry.physical_key.startswith(FILE_URL)


def _hash_heavy(
    entries: list[Entry],
    opener: Opener,
    progress: Progress,
    workers: int,
    stop: threading.Event | None,
) -> Iterator[list[Entry]]:
    """Yield entries with size and hash, computed by threads."""
    threads = processors()
    if any(entry.physical_key.startswith("s3://") for entry in entries):
        threads = max(threads, workers)

    def work(task: Task) -> tuple[Task, list[Entry] | bytes]:
        if isinstance(task, _Chunk):
            return task, _chunk_digest(task, progress, stop)
        return task, _hash_batch(task, opener, progress)

    opened: dict[str, Source] = {}
    digests: list[bytes] = []
    tasks = _tasks(entries, opener, opened)
    try:
        for task, result in run_all(tasks, work, workers=threads, stop=stop):
            if isinstance(result, list):
                yield result
                continue
            assert isinstance(task, _Chunk)
            digests.append(result)
            if task.end == task.source.size_bytes:
                entry = _assembled(task, digests)
                if entry.hash is not None:
                    opener.note_chunks(entry.physical_key, entry.hash, digests)
                yield [entry]
                digests.clear()
                opened.pop(task.entry.logical_key).close()
    finally:
        for source in opened.values():
            source.close()


def _hash_light(
    entries: list[Entry],
    opener: Opener,
    progress: Progress,
    workers: int,
    stop: threading.Event | None,
) -> Iterator[list[Entry]]:
    """Yield entries of small local files with size and hash, computed here and by assistants."""

    def hash_batch(batch: list[Entry]) -> list[Entry]:
        return with_retries(lambda: _hash_batch(batch, opener, progress), stop)

    # What is read to be sent soon is kept here, not in an assistant.
    files = 0 if opener.unsent.has_room or workers < 2 else len(entries)
    batches = _taken(entries, _BATCH_FILES)
    with (
        opener.small_files() as reader,
        Assistants(reader, hash_batch, progress.advance, files) as assistants,
    ):
        yield from assistants.hashed(batches, stop)


def _taken(entries: list[Entry], count: int) -> Iterator[list[Entry]]:
    """Yield so many entries at a time, taken out of the list: a million need not stay for it."""
    entries.reverse()
    while entries:
        batch = entries[: -count - 1 : -1]
        del entries[-count:]
        yield batch


def _tasks(entries: Iterable[Entry], opener: Opener, opened: dict[str, Source]) -> Iterator[Task]:
    """Yield batches of small files, and chunks of large ones, which are noted in `opened`."""
    batch: list[Entry] = []
    room_bytes = _BATCH_BYTES
    for entry in entries:
        if (entry.size_bytes or 0) > CHUNK_BYTES:
            source = opener.source(entry.physical_key)
            if source is not None:
                if batch:
                    yield batch
                    batch, room_bytes = [], _BATCH_BYTES
                opened[entry.logical_key] = source.__enter__()
                yield from _chunks(entry, source)
                continue
        batch.append(entry)
        room_bytes -= entry.size_bytes or 0
        # An S3 object costs a round trip however small it is, so it is a task of its own.
        alone = entry.physical_key.startswith("s3://")
        if alone or room_bytes <= 0 or len(batch) == _BATCH_FILES:
            yield batch
            batch, room_bytes = [], _BATCH_BYTES
    if batch:
        yield batch


def _chunks(entry: Entry, source: Source) -> Iterator[_Chunk]:
    # By the size it has now, which may be another one than when it was set; an empty one is one.
    step = chunk_size_bytes(source.size_bytes)
    for start in range(0, max(1, source.size_bytes), step):
        yield _Chunk(entry, source, start, min(start + step, source.size_bytes))


def _chunk_digest(chunk: _Chunk, progress: Progress, stop: threading.Event | None) -> bytes:
    digest = hashlib.sha256()
    for piece in chunk.source.pieces(chunk.start, chunk.end):
        if stop is not None and stop.is_set():
            raise Cancelled
        digest.update(piece)
    progress.advance(chunk.end - chunk.start)
    return digest.digest()


def _assembled(last: _Chunk, digests: list[bytes]) -> Entry:
    size_bytes = last.source.size_bytes
    last.source.check_unchanged()
    return _with_hash(last.entry, size_bytes, combine_digests(digests if size_bytes else ()))


def _hash_batch(batch: list[Entry], opener: Opener, progress: Progress) -> list[Entry]:
    hashed: list[Entry] = []
    done_bytes = 0
    keeps = opener.unsent.has_room
    with opener.small_files() as files:
        for entry in batch:
            url = entry.physical_key
            data = files.read(url) if (entry.size_bytes or 0) <= SMALL_BYTES else None
            if data is not None:
                size_bytes, checksum = len(data), checksum_of(data)
                if keeps:
                    opener.unsent.keep(url, data, checksum)
            elif url.startswith("s3://"):
                size_bytes, checksum = hash_remote(url, opener, entry.size_bytes)
            else:
                size_bytes, checksum = hash_object(url, opener)
            done_bytes += size_bytes
            hashed.append(_with_hash(entry, size_bytes, checksum))
    progress.advance(done_bytes)
    return hashed


def _with_hash(entry: Entry, size_bytes: int, checksum: Checksum) -> Entry:
    return Entry(entry.logical_key, entry.physical_key, size_bytes, checksum, entry.meta)
