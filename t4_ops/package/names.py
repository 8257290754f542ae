"""Questions about a registry by name: which packages, which revisions; and removing them."""

from __future__ import annotations

from t4_ops.keys import RegistryLike
from t4_ops.package.opening import open_registry
from t4_ops.settings import Settings, load_settings


def list_packages(
    registry: RegistryLike | None = None, *, settings: Settings | None = None
) -> list[str]:
    """Return the names of all packages of a registry, sorted.

    Args:
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.
    """
    return open_registry(registry, settings or load_settings()).pointers.packages()


def list_package_versions(
    name: str, registry: RegistryLike | None = None, *, settings: Settings | None = None
) -> list[tuple[str, str]]:
    """Return a package's revisions as pairs of pointer and top hash.

    Pointers are the unix seconds of the revisions, oldest first, and at the end `latest`.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such package.
    """
    pointers = open_registry(registry, settings or load_settings()).pointers
    return [(pointer.name, pointer.top_hash) for pointer in pointers.pointers(name)]


def delete_package(
    name: str,
    registry: RegistryLike | None = None,
    top_hash: str | None = None,
    *,
    settings: Settings | None = None,
) -> None:
    """Remove a package, or one revision of it, from a registry's names.

    Manifests, objects and lineage stay: other packages and other people's pinned references may
    need them. When `latest` points at a removed revision it moves to the newest that is left.

    Args:
        name: Package name.
        registry: Where; None is the default registry.
        top_hash: One revision, by hash or prefix; None: all.
        settings: Settings; None loads the user's.

    Raises:
        NotFoundError: There is no such package or revision.
        ConflictError: `latest` moved meanwhile; nothing was removed.
    """
    open_registry(registry, settings or load_settings()).pointers.delete(name, top_hash)
