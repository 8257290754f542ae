"""Whether a registry can be reached, for those who set up a connection."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from t4_ops.keys import PhysicalKey, RegistryLike, is_folder, normalize_registry
from t4_ops.registry import NAMED
from t4_ops.settings import S3Settings, Settings, load_settings
from t4_ops.storage import open_store

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
"""A person waits for the answer, mostly for what is wrong."""


@dataclass(frozen=True)
class Probe:
    """What could be seen of a registry.

    Attributes:
        registry: Normalised registry.
        exists: Whether it is there; a folder may be made by the first publication.
        namespaces: How many namespaces hold packages.
    """

    registry: str
    exists: bool
    namespaces: int


def probe(registry: RegistryLike | None = None, *, settings: Settings | None = None) -> Probe:
    """Look at a registry by one cheap listing, and don't wait long for it.

    Args:
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such bucket.
        StorageError: It can't be reached, or may not be read.
    """
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    hasty = _hasty(settings.s3_for(url))
    named = tuple(pair for pair in settings.registries if pair[0] != url)
    settings = replace(settings, registries=(*named, (url, hasty)))
    exists = not is_folder(url) or os.path.isdir(PhysicalKey.parse(url).path)
    folders = open_store(url, settings).list_folder(NAMED).folders if exists else ()
    return Probe(url, exists, len(folders))


def _hasty(s3: S3Settings) -> S3Settings:
    return replace(
        s3,
        connect_timeout_s=min(s3.connect_timeout_s, CONNECT_TIMEOUT_S),
        read_timeout_s=min(s3.read_timeout_s, READ_TIMEOUT_S),
        max_attempts=1,
    )
