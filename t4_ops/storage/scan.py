"""A local folder as a set of files to package.

What is passed over: folders of registries (`.quilt`, `.t4`), what the ignore files name, special
files, our temporary files, empty folders. Ignore files themselves are packaged, as quilt3 does.

Symlinks never lead out of the folder:

* to a file inside: packaged under the link's name, with the file's real path;
* to a folder inside: not entered, as quilt3 does; its files are packaged where they really are;
* to anything outside: refused, since to leave it out silently would be a loss nobody notices;
* to nothing, or in a circle: passed over, there are no bytes to package.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from t4_ops.errors import InvalidInputError, NotFoundError
from t4_ops.keys import DEFAULT_LIMITS, RESERVED_COMPONENTS, Limits, are_legal, logical_key_problem
from t4_ops.storage._files import read_range, storage_error
from t4_ops.storage._ignore import IgnoreRules
from t4_ops.storage.tree import Tree, TreeEntry

IGNORE_FILES: Final = (".quiltignore", ".t4ignore")
"""Read in the folder's root, in this order; what a later line says wins."""

_MAX_IGNORE_BYTES: Final = 16 * 1024 * 1024


# Made for every file: as a struct in a fifth of a tuple's time.
class ScannedFile(msgspec.Struct, frozen=True, gc=False):
    """A file to package.

    Attributes:
        relative_key: Path below the scanned folder, `/` between components.
        path: Absolute path without symlinks.
        size_bytes: Its size.
    """

    relative_key: str
    path: str
    size_bytes: int


def scan_folder(
    path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[ScannedFile]:
    """Yield the files below a folder, in the order of manifests (by path components).

    Args:
        path: The folder; it may be a symlink.
        limits: Bounds on keys.

    Raises:
        NotFoundError: There is no such folder.
        InvalidInputError: It is no folder, a symlink leads out of it, a file's name can't be a
            logical key, or an ignore file has a line that is no pattern.
        StorageError: Something can't be read.
    """
    tree = Tree(_real_folder(path))
    rules = _read_rules(tree)
    root = tree.path("")
    levels = [iter(_level(tree, "", rules, limits))]
    while levels:
        for key, entry in levels[-1]:
            facts = entry.stat
            if facts is not None:
                yield ScannedFile(key, root + key, facts.st_size)
            elif entry.kind == "folder":
                levels.append(iter(_level(tree, key, rules, limits)))
                break
            elif (target := _resolve(tree, key)) is not None:
                facts = tree.stat(target)
                yield ScannedFile(key, root + target, facts.st_size)
        else:
            levels.pop()


def _real_folder(path: str | os.PathLike[str]) -> str:
    try:
        real = Path(path).resolve(strict=True)
    except FileNotFoundError as exc:
        raise NotFoundError(f"{path} is not there", key=str(path)) from exc
    except (RuntimeError, OSError) as exc:  # Python before 3.13 raises the former for circles
        raise InvalidInputError(f"{path} can't be resolved: {exc}", key=str(path)) from exc
    if not real.is_dir():
        raise InvalidInputError(f"{path} is no folder; set takes single files", key=str(path))
    return str(real)


def _level(
    tree: Tree, folder: str, rules: IgnoreRules, limits: Limits
) -> list[tuple[str, TreeEntry]]:
    """Return what is to be packaged in a folder, with relative keys, sorted."""
    base = f"{folder}/" if folder else ""

    def is_wanted(name: str, kind: str) -> bool:
        return not rules.ignore(base + name, is_folder=kind == "folder")

    try:
        found = tree.entries(folder, is_wanted if rules else None)
    except NotFoundError:
        if folder:
            return []  # removed since its parent was listed
        raise
    entries = [e for e in found if e.kind != "special" and not _is_reserved(e.name)]
    entries.sort(key=attrgetter("name"))
    keys = [base + entry.name for entry in entries]
    for key in () if are_legal(keys, limits) else keys:
        problem = logical_key_problem(key, limits)
        if problem is not None:
            raise InvalidInputError(
                f"{tree.path(key)!r} can't be packaged: {problem};"
                " rename it or name it in an ignore file",
                key=key,
            )
    return list(zip(keys, entries, strict=True))


def _is_reserved(name: str) -> bool:
    return name[0] == "." and name.lower() in RESERVED_COMPONENTS


def _resolve(tree: Tree, key: str) -> str | None:
    """Return the real relative path of a link's file; None for a folder inside, or for nothing."""
    link = Path(tree.path(key))
    try:
        target = link.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError, RuntimeError):
        return None
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return None
        raise storage_error(exc, str(link)) from exc
    if not target.is_relative_to(tree.root):
        raise InvalidInputError(
            f"{link} is a symlink that leads out of the folder, to {target};"
            " copy the file into the folder or name the link in an ignore file",
            key=key,
        )
    return str(target.relative_to(tree.root)) if target.is_file() else None


def _read_rules(tree: Tree) -> IgnoreRules:
    rules = IgnoreRules()
    for name in IGNORE_FILES:
        where = tree.path(name)
        real_name = _resolve(tree, name) if Path(where).is_symlink() else name
        if real_name is None:
            continue
        try:
            fd, found = tree.open_file(real_name)
        except NotFoundError:
            continue
        try:
            if found.st_size > _MAX_IGNORE_BYTES:
                raise InvalidInputError(f"{where} is too large for an ignore file", key=where)
            pieces = read_range(fd, 0, found.st_size, where)
            rules.add(b"".join([bytes(piece) for piece in pieces]), where)
        finally:
            os.close(fd)
    return rules
