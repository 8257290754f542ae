"""Turning what users name into entries: files, URLs, folders, prefixes and Python objects."""

from __future__ import annotations

import os
import re
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from t4_ops import formats
from t4_ops.errors import InvalidInputError, NotFoundError, StorageError
from t4_ops.keys import Limits, PhysicalKey, is_reserved, logical_key_problem
from t4_ops.manifest import NO_META, Entry
from t4_ops.package.contents import Contents
from t4_ops.settings import Settings
from t4_ops.storage import Store, open_source, open_store, scan_folder
from t4_ops.transfer import OBJECT_SCHEME, Payload, payload_checksum

# What `PhysicalKey` leaves as it is.
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_PLAIN_PATHS: Final = re.compile(r"[A-Za-z0-9_.~/-]+")
# So many paths are looked at together.
_SCAN_BATCH: Final = 500
PAYLOAD_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""Largest serialised object kept in memory until it is stored; larger ones go to a private file."""


def entry_of_url(logical_key: str, source: str | os.PathLike[str], settings: Settings) -> Entry:
    """Return the entry of a file or S3 object, with its size; pinned where the bucket has versions.

    Raises:
        NotFoundError: There is no such file or object.
        InvalidInputError: It is a folder or a prefix.
    """
    key = PhysicalKey.of(source)
    if key.bucket is None:
        # A link that the user names is followed once, here: what it leads to later is not meant.
        path = os.path.realpath(key.path)
        with open_source(path) as opened:
            return Entry(logical_key, str(PhysicalKey(None, path)), opened.size_bytes)
    if not key.path or key.path.endswith("/"):
        raise InvalidInputError(f"{source!s} is a prefix, no object: use set_dir", key=str(source))
    store = open_store(f"s3://{key.bucket}", settings)
    info = store.head(key.path, version_id=key.version_id)
    # A bucket without versions may report none, or "null" for all: only real ones pin.
    version_id = key.version_id or (info.version_id if store.is_versioned else None)
    return Entry(logical_key, str(PhysicalKey(key.bucket, key.path, version_id)), info.size_bytes)


def entry_of_object(
    logical_key: str, obj: object, options: Mapping[str, Any] | None, contents: Contents
) -> Entry:
    """Return the entry of a Python object, serialised now and kept until it can be stored.

    Raises:
        InvalidInputError: No format takes such an object for this key.
    """
    serialized = formats.serialize(obj, logical_key, opts=options)
    url = f"{OBJECT_SCHEME}{uuid.uuid4()}"
    contents.payloads[url] = _payload(serialized.data)
    return Entry(
        logical_key,
        url,
        len(serialized.data),
        payload_checksum(serialized.data),
        dict(serialized.meta),
    )


def _payload(data: bytes) -> Payload:
    if len(data) <= PAYLOAD_MEMORY_BYTES:
        return Payload(data=data)
    descriptor, name = tempfile.mkstemp(prefix="t4-object-")
    payload = Payload(path=Path(name))
    # The file lives as long as a package that needs it.
    weakref.finalize(payload, _remove_own, name, os.getpid())
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as exc:
        raise StorageError(f"{name}: an object can't be kept there: {exc}", key=name) from exc
    return payload


def _remove_own(path: str, process_id: int) -> None:
    # A forked child ends too, while its parent still needs the file.
    if os.getpid() == process_id:
        Path(path).unlink(missing_ok=True)


def entries_of_folder(prefix: str, folder: str, limits: Limits) -> Iterator[Entry]:
    """Yield the entries of a local folder.

    Args:
        prefix: What logical keys begin with: `""` or ending in `/`.
        folder: The folder.
        limits: Bounds on keys.

    Raises:
        NotFoundError: There is no such folder.
        InvalidInputError: A name in it is no legal key, or a link leaves it.
    """
    if not os.path.isdir(folder):
        raise NotFoundError(f"{folder!r} is no folder: check the path", key=folder)
    files = scan_folder(folder, limits=limits)
    while batch := list(islice(files, _SCAN_BATCH)):
        are_plain = _PLAIN_PATHS.fullmatch("/".join([file.path for file in batch])) is not None
        for file in batch:
            # Real paths have no component that a URL would not keep.
            url = f"file://{file.path}" if are_plain else _url_of_file(file.path)
            yield Entry(prefix + file.relative_key, url, file.size_bytes, None, NO_META)


def _url_of_file(path: str) -> str:
    """Return what `str(PhysicalKey(None, path))` does, quicker for many files of one folder."""
    folder, _, name = path.rpartition("/")
    if not folder or _PLAIN_NAME.fullmatch(name) is None:
        return str(PhysicalKey(None, path))
    return f"{_url_of_folder(folder)}/{name}"


@lru_cache(maxsize=64)
def _url_of_folder(path: str) -> str:
    return str(PhysicalKey(None, path))


def entries_of_prefix(
    prefix: str, source: PhysicalKey, settings: Settings, *, unversioned: bool
) -> Iterator[Entry]:
    """Yield the entries of an S3 prefix, pinned where the bucket has versions.

    Args:
        prefix: What logical keys begin with: `""` or ending in `/`.
        source: Bucket and prefix.
        settings: How to reach the bucket.
        unversioned: Don't pin, also where one could.

    Raises:
        InvalidInputError: The source names a version, or a key in it is no legal logical key.
        NotFoundError: There is nothing below the prefix.
    """
    if source.version_id is not None or source.bucket is None:
        raise InvalidInputError(f"{source} is no prefix: it names a version", key=str(source))
    store = open_store(f"s3://{source.bucket}", settings)
    below = source.path if not source.path or source.path.endswith("/") else f"{source.path}/"
    found = False
    for info in _objects(store, below, unversioned=unversioned):
        found = True
        relative = info.key[len(below) :]
        # Consoles write an empty object for a folder; T4 and quilt3 pass over them.
        if not relative or relative.endswith("/") or is_reserved(relative):
            continue
        problem = logical_key_problem(prefix + relative, settings.limits)
        if problem is not None:
            raise InvalidInputError(
                f"s3://{source.bucket}/{info.key} can't be packaged: {problem}; rename it, or set"
                " the other objects one by one",
                key=info.key,
            )
        version_id = None if unversioned or not store.is_versioned else info.version_id
        place = PhysicalKey(source.bucket, info.key, version_id)
        yield Entry(prefix + relative, str(place), info.size_bytes)
    if not found:
        raise NotFoundError(f"{source} holds nothing: check bucket and prefix", key=str(source))


def _objects(store: Store, prefix: str, *, unversioned: bool) -> Iterator[Any]:
    if unversioned or not store.is_versioned:
        return store.list(prefix)
    return store.list_versions(prefix)
