"""What changed from one revision to another."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from t4_ops.errors import InvalidInputError
from t4_ops.keys import PackageRef, RegistryLike
from t4_ops.manifest import USER_META, Change, Manifest, canonical_json, changed_lines
from t4_ops.operations.results import PackageLike, pinned
from t4_ops.package import open_registry
from t4_ops.settings import Settings, load_settings

MAX_KEYS: Final = 100
"""Keys of each kind that a result names, unless asked for another number: some 10 kB."""


class DiffResult(TypedDict):
    """How two revisions differ; small, however much they do.

    Attributes:
        old: Package URI of the first revision.
        new: Package URI of the second one.
        added: Entries that only the new one has.
        modified: Entries whose size, hash or metadata differ; places don't count.
        deleted: Entries that only the old one has.
        added_keys: The first of their logical keys, in tree order.
        modified_keys: The same of the modified ones.
        deleted_keys: The same of the deleted ones.
        old_files: Entries of the old one.
        new_files: Entries of the new one.
        old_bytes: Their size.
        new_bytes: Their size.
        meta_changed: Whether the package's metadata differ.
        truncated: Whether there are more keys than are named.
        changed: Whether entries or metadata differ. The message alone does not count.
    """

    old: str
    new: str
    added: int
    modified: int
    deleted: int
    added_keys: list[str]
    modified_keys: list[str]
    deleted_keys: list[str]
    old_files: int
    new_files: int
    old_bytes: int
    new_bytes: int
    meta_changed: bool
    truncated: bool
    changed: bool


def diff(
    one: PackageLike,
    other: PackageLike,
    *,
    registry: RegistryLike | None = None,
    max_keys: int = MAX_KEYS,
    settings: Settings | None = None,
) -> DiffResult:
    """Return what changed from one revision to another, of the same package or not.

    Both manifests are read and proved, and compared line by line: memory does not grow with them.

    Args:
        one: The old revision: a step's result, a package URI, or `ns/name[@hash]`.
        other: The new one.
        registry: Where `ns/name` is; None is the default registry.
        max_keys: Most keys of each kind to name.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such revision.
        IntegrityError: A stored manifest is not the one of its hash.
    """
    if max_keys < 0:
        raise InvalidInputError(f"max_keys is {max_keys}; give 0 or more")
    settings = settings or load_settings()
    old, new = pinned(one, settings, registry), pinned(other, settings, registry)
    before = _manifest(old, settings)
    after = before if new.top_hash == old.top_hash else _manifest(new, settings)
    counts = dict.fromkeys(Change, 0)
    keys: dict[Change, list[str]] = {change: [] for change in Change}
    if after is not before:
        for change, key in changed_lines(before, after):
            counts[change] += 1
            if len(keys[change]) < max_keys:
                keys[change].append(key)
    meta_changed = _meta(before) != _meta(after)
    return DiffResult(
        old=old.uri,
        new=new.uri,
        added=counts[Change.ADDED],
        modified=counts[Change.MODIFIED],
        deleted=counts[Change.DELETED],
        added_keys=keys[Change.ADDED],
        modified_keys=keys[Change.MODIFIED],
        deleted_keys=keys[Change.DELETED],
        old_files=len(before),
        new_files=len(after),
        old_bytes=before.files_size_bytes(),
        new_bytes=after.files_size_bytes(),
        meta_changed=meta_changed,
        truncated=any(counts[change] > len(keys[change]) for change in Change),
        changed=meta_changed or any(counts.values()),
    )


def revision_before(
    package: PackageLike, *, registry: RegistryLike | None = None, settings: Settings | None = None
) -> PackageRef | None:
    """Return the revision that was published before another one of the same package.

    Args:
        package: The revision: a step's result, a package URI, or `ns/name[@hash]`.
        registry: Where `ns/name` is; None is the default registry.
        settings: Settings; None loads the user's.

    Returns:
        The newest revision listed before the newest pointer to this one, of other content and with
        its manifest; None: there is none, or the package does not list this one.
    """
    settings = settings or load_settings()
    ref = pinned(package, settings, registry)
    source = open_registry(ref.registry, settings)
    is_below = False
    for pointer in source.pointers.newest_first(ref.name, {}):
        if pointer.top_hash == ref.top_hash:
            is_below = True
        elif is_below and source.manifests.exists(pointer.top_hash):
            return PackageRef(ref.registry, ref.name, pointer.top_hash)
    return None


def _manifest(ref: PackageRef, settings: Settings) -> Manifest:
    return open_registry(ref.registry, settings).manifests.get(ref.top_hash)


def _meta(manifest: Manifest) -> Any:
    """Return the metadata as it is hashed; there are several ways to have none."""
    return canonical_json(manifest.header.get(USER_META) or {})
