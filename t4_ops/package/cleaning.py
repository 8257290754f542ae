"""Removing what killed processes left behind."""

from __future__ import annotations

from typing import Final

from t4_ops.errors import InvalidInputError
from t4_ops.keys import RegistryLike, normalize_registry
from t4_ops.package.opening import open_registry
from t4_ops.settings import Settings, load_settings
from t4_ops.storage import Leftover, open_store

WEEK_S: Final = 7 * 24 * 3600.0
"""Longer than any transfer lasts."""
# Where a registry puts objects and manifests by itself.
_OWN: Final = (".t4/", ".quilt/")


def clean(
    registry: RegistryLike | None = None,
    older_than_s: float = WEEK_S,
    *,
    prefix: str | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> list[Leftover]:
    """Remove what killed processes left in a registry, and return it.

    In a folder these are temporary files (`.t4-*.tmp`), wherever in it they are; give the folder of
    an install to clean that. In a bucket they are multipart uploads, whose parts cost money and are
    in no listing: those below the registry's own places and below the names of its packages. No
    object, manifest or pointer is ever touched.

    What was written to (a file) or begun (an upload) within the given time stays: another process
    may be at work on it.

    Args:
        registry: Where; None is the default registry.
        older_than_s: Seconds that a leftover must have rested. Choose more than your longest
            transfer takes.
        prefix: Look only below this prefix instead, as for the `dest` of a push; `""` takes a
            whole bucket, with the uploads of other programs in it.
        dry_run: Only return what would be removed.
        settings: Settings; None loads the user's.

    Raises:
        InvalidInputError: The age is negative.
        StorageError: The storage failed.
    """
    if not older_than_s >= 0:
        raise InvalidInputError(f"older_than_s is {older_than_s}: it must be 0 or more")
    settings = settings or load_settings()
    url = normalize_registry(registry or settings.registry)
    store = open_store(url, settings)
    if prefix is not None or not url.startswith("s3://"):
        prefixes = [prefix or ""]
    else:
        names = open_registry(url, settings).pointers.packages()
        prefixes = [*_OWN, *(f"{name}/" for name in names)]
    found = [left for below in prefixes for left in store.leftovers(below, older_than_s)]
    if not dry_run:
        for leftover in found:
            store.remove_leftover(leftover)
    return found
