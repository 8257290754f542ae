"""Many empty files at once, for the price of a few.

An empty file has no bytes to flush and is whole as soon as it has its name, so it is created in its
place. Names reach the disk when their folder is flushed; that waits for the same journal whatever
the folder, so many threads that wait together wait little longer than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from t4_ops.storage.tree import Tree


def create_empty_files(tree: Tree, paths: Sequence[str], *, workers: int) -> list[str]:
    """Create empty files and return the paths that had a file; on return all are on the disk.

    Raises:
        InvalidInputError: A component is a symlink or a file, or no name.
        StorageError: One can't be created or flushed; others may have been.
    """
    tree.make_root()
    with tree:
        there = [path for path in paths if not tree.create_empty(path)]
        # Also of those that were there: whoever made them may not have flushed them yet.
        folders = _folders_above(paths)
        with ThreadPoolExecutor(max(1, min(workers, len(folders)))) as pool:
            for _ in pool.map(tree.flush_folder, folders):
                pass
    return there


def _folders_above(paths: Iterable[str]) -> list[str]:
    """Return every folder above the paths once, the root as an empty path."""
    found: dict[str, None] = {}
    for path in paths:
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in found:
                break
            found[folder] = None
    return list(found)
