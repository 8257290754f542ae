"""Where a push puts objects: keys inside the registry, and never inside its own folders."""

from __future__ import annotations

from collections.abc import Callable

from t4_ops.errors import InvalidInputError
from t4_ops.keys import RESERVED_COMPONENTS, PhysicalKey, logical_key_problem
from t4_ops.manifest import Entry

Destination = str | Callable[[str, Entry], str]


def key_function(
    dest: Destination | None, name: str, registry: str, *, is_pinned: bool
) -> Callable[[Entry], str | None]:
    """Return where each entry goes, as a key of the store; None for its content's place.

    Args:
        dest: Prefix or folder, or a function of logical key and entry that returns a URL; None:
            the usual places.
        name: Package name.
        registry: Normalised registry.
        is_pinned: Whether the registry keeps versions.

    Raises:
        InvalidInputError: `dest`, or later what it gives for an entry, is no place in the registry.
    """
    if dest is None and not is_pinned:
        return lambda _: None
    if callable(dest):
        return lambda entry: _checked(
            _key_of_url(dest(entry.logical_key, entry), registry), registry
        )
    base = name if dest is None else _key_of_url(dest, registry)
    prefix = f"{base}/" if base else ""
    return lambda entry: _checked(prefix + entry.logical_key, registry)


def _checked(key: str, registry: str) -> str:
    """Refuse a key at which an object could become part of the registry itself, or none."""
    problem = logical_key_problem(key)
    if problem is None and key.split("/", maxsplit=1)[0].lower() in RESERVED_COMPONENTS:
        problem = "it lies in a folder the registry needs itself"
    if problem is not None:
        raise InvalidInputError(
            f"an object can't be stored at {key!r} in {registry}: {problem}; give another dest",
            key=key,
        )
    return key


def _key_of_url(url: object, registry: str) -> str:
    """Return the key of a URL inside the registry.

    Raises:
        InvalidInputError: It lies elsewhere, or names a version.
    """
    if not isinstance(url, str):
        raise InvalidInputError(f"dest gave {url!r}; it must be a URL or path")
    key = PhysicalKey.of(url)
    root = PhysicalKey.parse(f"{registry}/")
    below = root.path.rstrip("/") + "/" if root.is_local else ""
    path = f"{key.path.rstrip('/')}/"
    if key.version_id is not None or key.bucket != root.bucket or not path.startswith(below):
        raise InvalidInputError(f"dest {url!r} is not in the registry {registry}", key=url)
    return path[len(below) :].rstrip("/")
