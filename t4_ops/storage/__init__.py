"""The port to the world: folders and buckets behind one protocol, and local files to read."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from t4_ops.errors import InvalidInputError
from t4_ops.keys import is_folder, normalize_registry
from t4_ops.settings import S3Settings, Settings
from t4_ops.storage._files import is_temporary, temporary_name
from t4_ops.storage._staged import StagedParts
from t4_ops.storage.base import (
    Content,
    Copied,
    CopySource,
    CopyStore,
    Leftover,
    Listing,
    NoStoreError,
    ObjectInfo,
    PartSource,
    PreconditionFailedError,
    RangeStore,
    Reader,
    Store,
    exists,
)
from t4_ops.storage.folder import FolderStore
from t4_ops.storage.scan import ScannedFile, scan_folder
from t4_ops.storage.small import SMALL_BYTES, SmallFiles
from t4_ops.storage.sources import Source, open_source
from t4_ops.storage.tree import Tree

if TYPE_CHECKING:
    from t4_ops.storage.s3 import S3Store

__all__ = [
    "SMALL_BYTES",
    "Content",
    "Copied",
    "CopySource",
    "CopyStore",
    "FolderStore",
    "Leftover",
    "Listing",
    "NoStoreError",
    "ObjectInfo",
    "PartSource",
    "PreconditionFailedError",
    "RangeStore",
    "Reader",
    "ScannedFile",
    "SmallFiles",
    "Source",
    "StagedParts",
    "Store",
    "Tree",
    "exists",
    "is_temporary",
    "open_bucket",
    "open_source",
    "open_store",
    "scan_folder",
    "temporary_name",
]


def open_store(registry: str, settings: Settings) -> Store:
    """Return the store of a registry; nothing is asked of it yet.

    Args:
        registry: `s3://bucket`, a `file://` URL or a folder's path.
        settings: Says how to reach S3.

    Raises:
        InvalidInputError: It is no registry.
    """
    url = normalize_registry(registry)
    if not is_folder(url):
        return open_bucket(url, settings)
    if url in settings.read_only:
        from t4_ops.storage.readonly import ReadOnlyFolder

        return ReadOnlyFolder(url)
    return FolderStore(url)


def open_bucket(registry: str, settings: Settings) -> S3Store:
    """Return the store of a bucket, which can do more than other stores.

    It is the same one for each call with the same settings in one process, because its connections
    are worth keeping; a forked child gets its own.

    Args:
        registry: `s3://bucket`.
        settings: Says how to reach S3.

    Raises:
        InvalidInputError: It is no bucket.
    """
    url = normalize_registry(registry)
    if is_folder(url):
        raise InvalidInputError(f"{registry!r} is no bucket: give s3://bucket", key=registry)
    return _s3_store(url, settings.s3_for(url), url in settings.read_only, os.getpid())


@lru_cache(maxsize=32)
def _s3_store(
    url: str,
    s3: S3Settings,
    is_read_only: bool,
    process_id: int,  # noqa: ARG001 - cache key
) -> S3Store:
    from t4_ops.storage.s3 import S3Store

    if is_read_only:
        from t4_ops.storage.readonly import ReadOnlyBucket

        return ReadOnlyBucket(url, s3)

    return S3Store(url, s3)
