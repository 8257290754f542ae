"""Hashing what was set but not yet read."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from t4_ops.manifest import Draft, Entry
from t4_ops.package.contents import Contents
from t4_ops.settings import Settings
from t4_ops.transfer import Opener, Progress, hash_entries, is_light


def hash_missing(
    contents: Contents,
    prefix: str,
    opener: Opener,
    settings: Settings,
    bar: Progress,
    stop: threading.Event | None = None,
    draft: Draft | None = None,
) -> None:
    """Give every entry below a prefix the size and hash it lacks, in the package itself.

    Args:
        contents: The package.
        prefix: Which directory of it; empty: all.
        opener: Opens the sources.
        settings: How many at a time.
        bar: Is told how far it is.
        stop: Set from another thread to give up.
        draft: Takes the entries, if they come in order: while assistants hash small files.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
    """
    # Looked through twice, so that nothing but the package keeps entries that are replaced.
    size_bytes, is_in_order = 0, draft is not None
    for entry in _missing(contents, prefix):
        size_bytes += entry.size_bytes or 0
        is_in_order = is_in_order and is_light(entry)
    bar.grow(size_bytes)
    missing = _missing(contents, prefix)
    for hashed in hash_entries(missing, opener, bar, workers=settings.workers, stop=stop):
        contents.fill(hashed)
        if draft is not None and is_in_order:
            draft.add(hashed)


def _missing(contents: Contents, prefix: str) -> Iterator[Entry]:
    return (e for e in contents.entries(prefix) if e.hash is None or e.size_bytes is None)
