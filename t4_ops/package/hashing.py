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
        draft: Takes the entries if they come in order, as small local files do.

    What was hashed before it fails stays so.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
    """
    missing = _Missing(contents, prefix)
    files, size_bytes, are_light = 0, 0, True
    for entry in missing:
        files += 1
        size_bytes += entry.size_bytes or 0
        are_light = are_light and is_light(entry)
    bar.grow(size_bytes)
    opener.unsent.share(files)
    for hashed in hash_entries(missing, opener, bar, workers=settings.workers, stop=stop):
        contents.fill(hashed)
        # Where there are others, those come first, and nothing is in order.
        if draft is not None and are_light:
            draft.add(hashed)


class _Missing:
    """The entries that lack size or hash, to be looked through twice.

    Where all are edits they are not kept meanwhile: each is one of the package, which is replaced.
    Above a manifest it costs more to find them than to keep them.
    """

    def __init__(self, contents: Contents, prefix: str) -> None:
        self._contents, self._prefix = contents, prefix
        self._kept = None if contents.base is None else list(self._found())

    def __iter__(self) -> Iterator[Entry]:
        return self._found() if self._kept is None else iter(self._kept)

    def _found(self) -> Iterator[Entry]:
        entries = self._contents.entries(self._prefix)
        return (e for e in entries if e.hash is None or e.size_bytes is None)
