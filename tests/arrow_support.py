"""A memory pool that knows what Arrow held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

# Arrow's threads free what they read a moment after its reader is done: into a pool that is gone
# by then they would crash.
_POOLS: list[pa.MemoryPool] = []


@contextmanager
def watched_pool() -> Iterator[pa.MemoryPool]:
    """Let Arrow take its memory from a new pool, for a `with` block."""
    previous = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(previous)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(previous)
