"""Hashing what was set but not yet read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Final

from t4_ops.manifest import Entry
from t4_ops.package.contents import Contents
from t4_ops.settings import Settings
from t4_ops.transfer import Opener, Progress, hash_entries

# So many entries get their hashes together.
_FILL_BATCH: Final = 500


def hash_missing(
    contents: Contents,
    prefix: str,
    opener: Opener,
    settings: Settings,
    bar: Progress,
    stop: threading.Event | None = None,
) -> None:
    """Give every entry below a prefix the size and hash it lacks, in the package itself.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
    """
    # Looked through twice, so that nothing but the package keeps entries that are replaced.
    bar.grow(sum(entry.size_bytes or 0 for entry in _missing(contents, prefix)))
    missing = _missing(contents, prefix)
    hashed = hash_entries(missing, opener, bar, workers=settings.workers, stop=stop)
    while batch := list(islice(hashed, _FILL_BATCH)):
        contents.fill(batch)


def _missing(contents: Contents, prefix: str) -> Iterator[Entry]:
    return (e for e in contents.entries(prefix) if e.hash is None or e.size_bytes is None)
