"""What the parts of the store contract share: a place to look at, bytes, threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from t4_ops.checksums import Buffer
from t4_ops.settings import Settings
from t4_ops.storage import PreconditionFailedError, Store, open_store

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[1]

SIZES = (0, 1, 64 * 1024, 64 * 1024 + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1)
"""Around the limits of the folder's etags and of chunks."""

IN_KEY_ORDER = ("a-b", "a-c/d", "a.b", "a/b", "a/c-d", "a/c/d", "a0", "b", "é", "\uff5e", "😀")


class Place(Protocol):
    """Where a store keeps its objects, and how to look without the store."""

    @property
    def url(self) -> str:
        """The store's URL."""

    @property
    def missing_url(self) -> str:
        """The URL of a store that does not exist."""

    @property
    def settings(self) -> Settings:
        """How to reach it."""

    @property
    def is_versioned(self) -> bool:
        """Whether it keeps versions."""

    def raw_put(self, key: str, data: bytes) -> None:
        """Put an object."""

    def raw_get(self, key: str) -> bytes | None:
        """Return an object's bytes; None if there is none."""

    def raw_list(self) -> list[str]:
        """Return all keys, sorted."""

    def raw_leftovers(self) -> list[str]:
        """Return what unfinished writes have left."""


def content(size_bytes: int, seed: int = 0) -> bytes:
    """Return bytes without a period that could hide swapped parts."""
    block = hashlib.shake_256(seed.to_bytes(4, "big") + size_bytes.to_bytes(8, "big"))
    return block.digest(size_bytes)


def in_pieces(data: bytes, piece_bytes: int) -> Iterator[Buffer]:
    """Yield `data` in pieces, each in the buffer of the one before, as readers do."""
    buffer = bytearray(piece_bytes)
    for start in range(0, len(data), piece_bytes):
        piece = data[start : start + piece_bytes]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


def read_all(store: Store, key: str, **options: object) -> bytes:
    """Read an object through `open`."""
    with store.open(key, **options) as reader:  # type: ignore[arg-type]
        return b"".join([bytes(piece) for piece in reader])


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """Run `work(0)` ... at the same moment; return results, or the T4 errors they raised."""
    barrier = threading.Barrier(count)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        except PreconditionFailedError as exc:
            return exc

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def add_ones(store: Store, key: str, times: int) -> None:
    """Increase the number in an object by compare-and-swap; a lost race is run again."""
    for _ in range(times):
        while True:
            before = store.read(key)
            try:
                store.write(key, b"%d" % (int(before.data) + 1), if_match=before.info.etag)
                break
            except PreconditionFailedError:
                continue


class StoreCase:
    """A store under test and its place. A subclass gives the fixture `place`."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    def store(self, place: Place) -> Store:
        return open_store(place.url, place.settings)
