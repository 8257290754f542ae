"""What a package is built from: files, folders, prefixes, and other packages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import PackageRef, PackageUri, PhysicalKey
from t4_ops.ledger import Input
from t4_ops.operations.hosts import check_folder_is_here, host
from t4_ops.operations.results import path_in, pinned, rendered
from t4_ops.package import Package, PackageEntry
from t4_ops.settings import Settings

Source: TypeAlias = str | os.PathLike[str] | PackageRef | PackageUri | Mapping[str, Any]
"""A folder, `s3://` prefix, file or object; or a package: a reference, a package URI or a step's
result. The result of an install stands for the folder that was filled."""
Sources: TypeAlias = Source | Sequence[Source] | Mapping[str, Source]
"""One source, or several: a list, or by logical key."""
_RESULT_KEYS = {"registry", "name", "top_hash"}


def add_sources(package: Package, sources: Sources, settings: Settings) -> list[Input]:
    """Put everything that sources name into a package, and return the revisions among them.

    A folder's, prefix's or package's files go below its key; in a list all go below the root, where
    no two may have the same key.

    Raises:
        InvalidInputError: A source is none, or two of a list have the same file.
        NotFoundError: A source is not there, or not on this machine.
    """
    found: list[Input] = []
    for logical_key, source, is_alone in _places(sources):
        found += add_source(package, logical_key, source, settings, is_alone=is_alone)
    return list(dict.fromkeys(found))


def _places(sources: Sources) -> list[tuple[str, Source, bool]]:
    """Return logical keys and sources, each with whether no other one may have the same files."""
    sources = rendered(sources)  # a list, or the result of a step, as templates render it
    if isinstance(sources, Mapping) and not is_result(sources):
        if not sources:
            raise InvalidInputError("source is empty: name at least one file or folder")
        return [(key, source, False) for key, source in sources.items()]
    if isinstance(sources, Sequence) and not isinstance(sources, str):
        if not sources:
            raise InvalidInputError("source is empty: name at least one file or folder")
        return [("", source, True) for source in sources]
    return [("", sources, False)]


def is_result(value: Mapping[str, Any]) -> bool:
    """Return whether a mapping names a revision, as a step's result does, not sources by key."""
    return value.keys() >= _RESULT_KEYS


def add_source(
    package: Package,
    logical_key: str,
    source: Any,
    settings: Settings,
    *,
    is_alone: bool = False,
) -> list[Input]:
    """Put what a source names into a package, and return the revision that it is, if it is one.

    Args:
        package: Where to.
        logical_key: A directory there (`""` is the root), or the key of a single file.
        source: The source; a step's result also as the text that templates make of it.
        settings: How to reach it.
        is_alone: Whether none of its files may be there already.

    Raises:
        InvalidInputError: It is no source, or a file is there already.
        NotFoundError: It is not there, or not on this machine.
    """
    source = rendered(source)
    if isinstance(source, Mapping) and source.get("dest"):
        ref, folder = PackageRef.from_dict(source), str(source["dest"])
        check_folder_is_here(source, folder)
        _add_place(package, logical_key, folder, is_alone=is_alone)
        return [Input.of_ref(ref)]
    is_uri = isinstance(source, str) and PackageUri.is_uri(source.strip())
    if is_uri or isinstance(source, PackageRef | PackageUri | Mapping):
        return [_add_package(package, logical_key, source, settings, is_alone=is_alone)]
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise InvalidInputError(f"source {source!r}: name a file, folder, prefix or package")
    _add_place(package, logical_key, source, is_alone=is_alone)
    return []


def _add_package(
    package: Package, logical_key: str, source: Any, settings: Settings, *, is_alone: bool
) -> Input:
    ref, path = pinned(source, settings), path_in(source)
    revision: Any = Package.browse(ref.name, ref.registry, ref.top_hash, settings=settings)
    folder = logical_key.strip("/")
    if path is not None:
        try:
            revision = revision[path.rstrip("/")]
        except KeyError as exc:
            raise NotFoundError(f"{ref.uri} has no {path!r}", key=path) from exc
    if isinstance(revision, PackageEntry):
        name = revision.logical_key.split("/")[-1]
        key = logical_key if folder and not logical_key.endswith("/") else _joined(folder, name)
        _set(package, key, revision, is_alone=is_alone)
    else:
        for key, entry in revision.walk():
            _set(package, _joined(folder, key), entry, is_alone=is_alone)
    return Input.of_ref(ref, () if path is None else (path,))


def _add_place(
    package: Package, logical_key: str, source: str | os.PathLike[str], *, is_alone: bool
) -> None:
    key = PhysicalKey.of(source)
    policy: Any = "refuse" if is_alone else "incoming"
    is_folder = os.path.isdir(key.path) if key.is_local else not key.path or key.path.endswith("/")
    if is_folder:
        package.set_dir(logical_key, source, update_policy=policy)
        return
    folder = logical_key.strip("/")
    if not logical_key or logical_key.endswith("/"):
        logical_key = _joined(folder, key.path.rstrip("/").split("/")[-1])
    try:
        _set(package, logical_key, source, is_alone=is_alone)
    except NotFoundError as exc:
        if key.is_local:
            raise NotFoundError(
                f"{exc.message}. This machine is {host()!r}: what another worker wrote to its own"
                " disk is not here",
                key=exc.key,
            ) from exc
        if key.version_id is not None:
            raise
        # No object has this key, but it may be a prefix without its slash.
        package.set_dir(folder, source, update_policy=policy)


def _set(package: Package, key: str, source: Any, *, is_alone: bool) -> None:
    if is_alone and key in package:
        raise InvalidInputError(
            f"{key!r} is in the package already, from another source: put each below a directory"
            " of its own",
            key=key,
        )
    package.set(key, source)


def _joined(folder: str, key: str) -> str:
    return f"{folder}/{key}" if folder else key
