"""What a build does with files before it publishes: hash them, and bring those that can't stay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from t4_ops.keys import is_folder
from t4_ops.manifest import Entry
from t4_ops.package.contents import Contents
from t4_ops.package.hashing import hash_missing
from t4_ops.settings import Settings
from t4_ops.storage import open_store
from t4_ops.transfer import (
    OBJECT_SCHEME,
    Opener,
    check_hash_type,
    plan_moves,
    progress,
    upload_objects,
)


def must_move_on_build(registry: str) -> Callable[[Entry], bool]:
    """Return what a build must bring into a registry.

    That is what has no place yet, and on a bucket local files: others could not read them.

    Args:
        registry: Normalised registry.
    """
    to_bucket = not is_folder(registry)

    def must_move(entry: Entry) -> bool:
        url = entry.physical_key
        return url.startswith(OBJECT_SCHEME) or (to_bucket and url.startswith("file:"))

    return must_move


def place_entries(
    entries: Iterable[Entry],
    registry: str,
    roots: Iterable[str],
    settings: Settings,
    stop: threading.Event | None = None,
) -> tuple[Iterator[Entry], Mapping[str, str]]:
    """Hash entries, and bring those that can't stay into a registry; nothing is published.

    Args:
        entries: Some entries of a package that is being built, in any order.
        registry: Normalised registry.
        roots: Folders that were scanned for them.
        settings: Settings.
        stop: Set from another thread to give up.

    Returns:
        The entries in tree order, with size, hash and place; and the etags of S3 objects that were
        hashed, by physical key.

    Raises:
        NotFoundError: A source is gone.
        IntegrityError: A source changed while it was read.
        Cancelled: `stop` was set.
    """
    contents = Contents(None, settings.limits)
    contents.set_all(entries)
    contents.roots.update(roots)
    opener = Opener(settings, stop=stop, roots=contents.roots)
    must_move = must_move_on_build(registry)
    with progress(f"hashing for {registry}", shown=settings.progress) as bar:
        hash_missing(contents, "", opener, settings, bar, stop)
        wanted = [entry for entry in contents.entries() if must_move(entry)]
        plan = plan_moves(wanted, {}, lambda _: None, is_pinned=False)
        for entry in wanted:
            check_hash_type(entry)
        if plan.moves:
            bar.grow(plan.size_bytes)
            store = open_store(registry, settings)
            upload_objects(plan, store, opener, bar, workers=settings.workers, stop=stop)
    return plan.placed(contents.entries()), _etags(contents, opener)


def _etags(contents: Contents, opener: Opener) -> dict[str, str]:
    """Return the etags that the S3 objects among the entries had when they were hashed."""
    found = {}
    for entry in contents.entries():
        if entry.hash is not None and entry.physical_key.startswith("s3://"):
            etag = opener.etag_of(entry.physical_key, entry.hash)
            if etag is not None:
                found[entry.physical_key] = etag
    return found
