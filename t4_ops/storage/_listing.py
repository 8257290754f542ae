"""Listings of a folder as a bucket gives them: whole keys, in key order.

A walk through directories yields `a/b` before `a-b`; a bucket yields it after, because `-` sorts
before `/`. Sorting folders by their name with the `/` gives the bucket's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.storage._lock import LOCK_KEY
from t4_ops.storage.base import Listing, ObjectInfo
from t4_ops.storage.tree import Kind, Tree, TreeEntry


def list_objects(tree: Tree, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
    """Yield the files whose path begins with `prefix`, in key order; one folder is in memory.

    Args:
        tree: The folder.
        prefix: What keys start with.
        start_after: Only keys that sort after this one; the others are not looked at.

    Raises:
        InvalidInputError: The prefix leads outside, or through a symlink.
    """
    folder, name_prefix = _split_prefix(prefix)
    levels = [iter(_level(tree, folder, name_prefix, start_after))]
    while levels:
        key, entry = next(levels[-1], (None, None))
        if key is None or entry is None:
            levels.pop()
        elif entry.stat is None:
            levels.append(iter(_level(tree, key.removesuffix("/"), "", start_after)))
        else:
            yield _info(key, entry)


def list_level(tree: Tree, prefix: str) -> Listing:
    """Return the folders that hold objects, and the objects, right below a prefix.

    Raises:
        InvalidInputError: The prefix is not empty and ends without `/`, or leads outside.
    """
    folder, name_prefix = _split_prefix(prefix)
    if name_prefix:
        raise InvalidInputError(f"{prefix!r} names no folder: end it with '/'", key=prefix)
    level = _level(tree, folder)
    folders = [key for key, entry in level if entry.stat is None]
    return Listing(
        tuple(key for key in folders if _holds_object(tree, key.removesuffix("/"))),
        tuple(_info(key, entry) for key, entry in level if entry.stat is not None),
    )


def is_text(key: str) -> bool:
    """Return whether a name is valid UTF-8; Python reads other bytes as surrogates."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _level(
    tree: Tree, folder: str, name_prefix: str = "", start_after: str = ""
) -> list[tuple[str, TreeEntry]]:
    """Return the keys of files and, ending in `/`, of folders, in key order."""

    def is_wanted(name: str, kind: Kind) -> bool:
        if not name.startswith(name_prefix) or not _is_ours(key := _key(folder, name, kind), kind):
            return False
        return key > start_after or (kind == "folder" and start_after.startswith(key))

    try:
        entries = tree.entries(folder, is_wanted)
    except NotFoundError:
        return []
    keyed = [(_key(folder, entry.name, entry.kind), entry) for entry in entries]
    # By the key alone: while a folder changes, some file systems list a name twice.
    return sorted(keyed, key=itemgetter(0))


def _key(folder: str, name: str, kind: Kind) -> str:
    return f"{folder}/{name}"[not folder :] + "/" * (kind == "folder")


def _is_ours(key: str, kind: Kind) -> bool:
    return kind in ("file", "folder") and key != LOCK_KEY and is_text(key)


def _holds_object(tree: Tree, folder: str) -> bool:
    """Return whether there is an object anywhere below; a bucket has no empty folders."""
    below: list[str] = []

    def look(name: str, kind: Kind) -> bool:
        key = _key(folder, name, kind)
        if _is_ours(key, kind):
            below.append(key)
        return False

    try:
        tree.entries(folder, look)
    except NotFoundError:
        return False
    if any(not key.endswith("/") for key in below):
        return True
    return any(_holds_object(tree, key.removesuffix("/")) for key in below)


def _split_prefix(prefix: str) -> tuple[str, str]:
    """Return the folder that a prefix leads to, and what names in it must begin with."""
    folder, slash, name_prefix = prefix.rpartition("/")
    if slash and not folder:
        raise InvalidInputError(f"{prefix!r} is refused: no key begins with '/'", key=prefix)
    return folder, name_prefix


def _info(key: str, entry: TreeEntry) -> ObjectInfo:
    assert entry.stat is not None
    return ObjectInfo(key, entry.stat.st_size, mtime_s=entry.stat.st_mtime_ns / 1e9)
