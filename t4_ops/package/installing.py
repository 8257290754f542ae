"""Bringing a package's files into a folder, and noting it in the local registry."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from t4_ops.errors import NotFoundError, StorageError
from t4_ops.keys import PackageRef, is_reserved, validate_logical_key
from t4_ops.manifest import Manifest
from t4_ops.package.contents import Contents
from t4_ops.registry import ANYTHING, Registry
from t4_ops.settings import Settings
from t4_ops.storage import Tree, is_temporary
from t4_ops.transfer import (
    Opener,
    Progress,
    Target,
    check_targets,
    download_files,
    make_folder,
    mismatches,
    refuse_twins,
)

_log = logging.getLogger(__name__)


def install_targets(contents: Contents, path: str | None) -> list[Target]:
    """Return the files to bring.

    Args:
        contents: The package.
        path: One file, or a directory whose name the files lose; None for all.

    Raises:
        NotFoundError: There is nothing at `path`.
    """
    if path is None:
        return [Target(entry.logical_key, entry) for entry in contents.entries()]
    key = validate_logical_key(path.rstrip("/"), contents.limits)
    entry = contents.get(key)
    if entry is not None:
        return [Target(key.split("/")[-1], entry)]
    prefix = f"{key}/"
    targets = [Target(e.logical_key[len(prefix) :], e) for e in contents.entries(prefix)]
    if not targets:
        raise NotFoundError(f"the package has no {path!r}", key=path)
    return targets


def read_path(contents: Contents, path: str | None) -> str | None:
    """Return `path` as lineage names it: a directory ends in `/`, a file does not."""
    if path is None:
        return None
    key = path.rstrip("/")
    return key if contents.get(key) is not None else f"{key}/"


def fetch_entries(
    targets: list[Target],
    folder: str,
    opener: Opener,
    settings: Settings,
    bar: Progress,
    stop: threading.Event | None = None,
) -> int:
    """Bring files into a folder, which is made if need be, and return how many were written.

    Raises:
        InvalidInputError: A path is refused; nothing was written.
        IntegrityError: An object is not what its entry promises; its file was not written.
    """
    check_targets(targets, folds_case=False)
    make_folder(folder)
    bar.grow(sum(target.entry.size_bytes or 0 for target in targets))
    with Tree(folder) as tree:
        refuse_twins([target.path for target in targets], tree)
        return download_files(targets, tree, opener, bar, workers=settings.workers, stop=stop)


def note_install(manifest: Manifest, source: PackageRef, local: Registry) -> None:
    """Write an installed package into the local registry, where an existing manifest stands.

    A package of the local registry itself is there already: its `latest` must not go back because
    an older revision was installed.
    """
    if local.url == source.registry:
        return
    try:
        try:
            local.manifests.get(source.top_hash)
        except NotFoundError:
            local.manifests.put(manifest)
        local.pointers.publish(source.name, source.top_hash, expected=ANYTHING)
    except StorageError as exc:
        # The files are where they were wanted; a worker's home may be read-only.
        _log.warning("%s is installed, but not noted in %s: %s", source.uri, local.url, exc)


def mismatched(
    targets: Iterable[Target],
    folder: str,
    settings: Settings,
    *,
    extra_files_ok: bool,
    stop: threading.Event | None = None,
) -> Generator[str]:
    """Yield the paths in which a folder and a package differ; closed early, it reads no more.

    Raises:
        NotFoundError: There is no such folder.
    """
    wanted = list(targets)
    check_targets(wanted, folds_case=False)
    if not os.path.isdir(folder):
        raise NotFoundError(f"{folder!r} is no folder: check the path", key=folder)
    if not extra_files_ok:
        # First, because names cost less than bytes.
        yield from extra_files(wanted, folder)
    with (
        Tree(folder) as tree,
        closing(mismatches(wanted, tree, workers=settings.workers, stop=stop)) as wrong,
    ):
        yield from wrong


def extra_files(targets: Iterable[Target], folder: str) -> Iterator[str]:
    """Yield the paths in a folder that are none of a package; none where there is no folder."""
    known = {target.path for target in targets}
    return (path for path in _files_below(folder) if path not in known)


def _files_below(folder: str) -> Iterator[str]:
    """Yield the relative paths of all files and links, but for those of registries and ours."""
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not is_reserved(name)]
        # What a killed install has left is no file of anybody's.
        for name in (name for name in files + links if not is_temporary(name)):
            yield os.path.relpath(os.path.join(place, name), folder)
