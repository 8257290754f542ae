"""What tells that a source is not what it was when it was hashed, without reading it again.

A stamp goes with an entry whose source others may change: of a file its URL, size, time of change
and inode, of an object in a bucket without versions its etag. What is pinned by a version needs
none. A file that was brought to the registry's content-addressed place can't change there, but who
hashes it again wants what the file is now.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from t4_ops.errors import NotFoundError
from t4_ops.keys import PhysicalKey
from t4_ops.manifest import Entry, Manifest
from t4_ops.settings import Settings
from t4_ops.storage import Store, open_store

_STAMP: Final = "t4_stamp"
_META: Final = "t4_meta"
# Up to so many objects are asked for one by one, more are listed: a listing has 1,000 a request.
_MOST_HEADS: Final = 20


def file_stamps(entries: Iterable[Entry]) -> dict[str, list[Any]]:
    """Return the stamps of the local files that entries without hashes point at, by logical key.

    To be taken before they are hashed: a change after that makes them differ.
    """
    stamps = {}
    for entry in entries:
        if entry.hash is None and entry.physical_key.startswith("file:"):
            stamp = _of_file(entry.physical_key)
            if stamp is not None:
                stamps[entry.logical_key] = [entry.physical_key, *stamp]
    return stamps


def _of_file(url: str) -> list[int] | None:
    try:
        found = os.stat(PhysicalKey.parse(url).path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def stamped(
    entries: Iterable[Entry], files: Mapping[str, list[Any]], etags: Mapping[str, str]
) -> Iterator[Entry]:
    """Yield entries with their stamps, for storing.

    Args:
        entries: Hashed entries, at their places.
        files: Stamps of files, by logical key.
        etags: Etags of S3 objects, by physical key.
    """
    for entry in entries:
        stamp: Any = files.get(entry.logical_key)
        if stamp is None and entry.physical_key in etags:
            is_pinned = PhysicalKey.parse(entry.physical_key).version_id is not None
            stamp = None if is_pinned else etags[entry.physical_key]
        if stamp is None:
            yield entry
        else:
            yield entry.but(meta={_STAMP: stamp, _META: dict(entry.meta)})


def unstamped(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield stored entries as they belong into a manifest."""
    for entry in entries:
        yield entry if _stamp_of(entry) is None else entry.but(meta=entry.meta[_META])


def _stamp_of(entry: Entry) -> Any:
    """Return the stamp of a stored entry, or None; no metadata of somebody else is taken for it."""
    return entry.meta[_STAMP] if entry.meta.keys() == {_STAMP, _META} else None


def changed_sources(
    partial: Manifest, settings: Settings, *, also_brought: bool = False
) -> list[str]:
    """Return the logical keys of entries whose sources are not what they were.

    Args:
        partial: Entries that were stored with stamps.
        settings: How to reach S3.
        also_brought: Whether to look at the sources of files that were brought into the registry,
            too. One that is gone, or on another machine, counts as unchanged.
    """
    changed: list[str] = []
    remote: dict[str, dict[str, Entry]] = {}
    for entry in partial.entries():
        stamp = _stamp_of(entry)
        if stamp is None:
            continue
        if isinstance(stamp, list):
            if _is_other_file(entry, stamp, also_brought=also_brought):
                changed.append(entry.logical_key)
        else:
            key = PhysicalKey.parse(entry.physical_key)
            remote.setdefault(f"s3://{key.bucket}", {})[key.path] = entry
    for registry, entries in remote.items():
        etags = _etags(open_store(registry, settings), sorted(entries))
        changed += [
            entry.logical_key
            for path, entry in entries.items()
            if etags.get(path) != _stamp_of(entry)
        ]
    return changed


def _is_other_file(entry: Entry, stamp: list[Any], *, also_brought: bool) -> bool:
    url, *before = stamp
    if url == entry.physical_key:
        return _of_file(url) != before
    return also_brought and _of_file(url) not in (None, before)


def _etags(store: Store, keys: list[str]) -> dict[str, str | None]:
    """Return the etags of objects, those that are there; `keys` are sorted."""
    if len(keys) <= _MOST_HEADS:
        return dict(_heads(store, keys))
    first, last = keys[0], keys[-1]
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    wanted, prefix = set(keys), first[:same]
    found: dict[str, str | None] = {}
    for info in store.list(prefix, start_after=first[:-1]):
        if info.key > last:
            break
        if info.key in wanted:
            found[info.key] = info.etag
    return found


def _heads(store: Store, keys: list[str]) -> Iterator[tuple[str, str | None]]:
    for key in keys:
        try:
            yield key, store.head(key).etag
        except NotFoundError:
            continue
