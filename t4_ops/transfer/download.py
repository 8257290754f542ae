"""Bringing entries into a folder, verified before they take their names."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from t4_ops.checksums import new_hasher
from t4_ops.errors import IntegrityError, InvalidInputError, NotFoundError, StorageError
from t4_ops.keys import is_reserved, validate_logical_key
from t4_ops.manifest import Entry
from t4_ops.storage import Tree, open_source, temporary_name
from t4_ops.transfer.cache import ContentCache
from t4_ops.transfer.opening import Opener
from t4_ops.transfer.pool import Cancelled, run_all, small_batch
from t4_ops.transfer.progress import Progress
from t4_ops.transfer.ranges import LargeFile, Range, comes_in_ranges
from t4_ops.transfer.reading import check_hash_type, open_verified, read_small, require_hash


@dataclass(frozen=True, slots=True)
class Target:
    """One file to bring.

    Attributes:
        path: Where to, relative to the destination, with `/`.
        entry: What.
    """

    path: str
    entry: Entry


def check_targets(targets: Iterable[Target], *, folds_case: bool) -> None:
    """Refuse paths that must not be written, before anything is.

    Args:
        targets: What is going to be written.
        folds_case: Whether the destination takes names that differ only in case for one.

    Raises:
        InvalidInputError: A path is illegal or would land in a registry's own folder, an entry has
            no hash, or two paths are one on this file system.
        FormatError: A hash is of an unknown type, so nothing could be verified.
    """
    paths = []
    for target in targets:
        check_hash_type(target.entry)
        paths.append(target.path)
    check_paths(paths, folds_case=folds_case)


def check_paths(paths: Iterable[str], *, folds_case: bool) -> None:
    """Refuse paths that must not be written, before anything is.

    Args:
        paths: Paths below the destination.
        folds_case: Whether the destination takes names that differ only in case for one.

    Raises:
        InvalidInputError: A path is illegal or would land in a registry's own folder, or two are
            one on this file system.
    """
    seen: dict[str, str] = {}
    for path in paths:
        validate_logical_key(path)
        if is_reserved(path):
            raise InvalidInputError(
                f"{path!r} would be written into a registry's own folder; it is refused", key=path
            )
        if folds_case:
            other = seen.setdefault(_folded(path), path)
            if other != path:
                raise InvalidInputError(
                    f"{other!r} and {path!r} are one file on this file system, which does not tell"
                    " their letters apart: bring them into another one",
                    key=path,
                )


def refuse_twins(paths: Collection[str], tree: Tree) -> None:
    """Refuse paths that are one on the destination's file system, which is tried if need be.

    Raises:
        InvalidInputError: Two paths differ in case or Unicode form only, and these don't count.
    """
    if len({_folded(path) for path in paths}) < len(paths) and folds_case(tree):
        check_paths(paths, folds_case=True)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def download_files(
    targets: Iterable[Target],
    tree: Tree,
    opener: Opener,
    progress: Progress,
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> int:
    """Bring files into a folder and return how many had to be written.

    A file that already has the right size and hash is kept. Another one is replaced by a rename,
    once the new one is complete and verified; when that fails it stays as it was.

    Raises:
        NotFoundError: An object is gone.
        IntegrityError: An object is not what its entry promises.
        InvalidInputError: A symlink or a directory stands in the way.
        StorageError: The storage or the disk failed.
    """

    def work(task: Target | Range) -> tuple[Target | Range, bool | list[bytes]]:
        if isinstance(task, Range):
            return task, task.fetch(opener, progress)
        return task, _bring(task, tree, opener, progress)

    wanted = list(targets)
    opened: list[LargeFile] = []
    batch = small_batch([target.entry.size_bytes for target in wanted], workers)
    written = 0
    try:
        tasks = _tasks(wanted, tree, opened, opener.cache, workers)
        for task, result in run_all(tasks, work, workers=workers, stop=stop, batch=batch):
            if isinstance(task, Range):
                assert isinstance(result, list)
                if task.file.add(result, task.end):
                    opened.remove(task.file)
                    written += 1
            else:
                written += bool(result)
    finally:
        for file in opened:
            file.close()
    return written


def _tasks(
    targets: Iterable[Target],
    tree: Tree,
    opened: list[LargeFile],
    cache: ContentCache | None,
    workers: int,
) -> Iterator[Target | Range]:
    """Yield small objects whole and large ones in ranges; files of the latter go to `opened`."""
    for target in targets:
        # What may be there already, or in the cache, is looked at whole by a thread of its own.
        is_kept = cache is not None and cache.has(target.entry)
        if comes_in_ranges(target.entry) and not is_kept and not _has_size(target, tree):
            file = LargeFile.open(target.entry, target.path, tree, cache)
            opened.append(file)
            yield from file.ranges(workers)
        else:
            yield target


def _bring(target: Target, tree: Tree, opener: Opener, progress: Progress) -> bool:
    """Bring one file; return whether it was not there."""
    entry = target.entry
    is_new = not _is_there(target, tree)
    if is_new:
        data = read_small(entry, opener)
        if data is not None:
            tree.write(target.path, (data,), durable=False)
        else:
            with open_verified(entry, opener) as pieces:
                tree.write(target.path, pieces, durable=False)
    progress.advance(entry.size_bytes or 0)
    return is_new


def _has_size(target: Target, tree: Tree) -> bool:
    try:
        return tree.stat(target.path).st_size == target.entry.size_bytes
    except (NotFoundError, InvalidInputError):
        return False


def _is_there(target: Target, tree: Tree, stop: threading.Event | None = None) -> bool:
    try:
        return _has_size(target, tree) and _matches(target, tree, stop)
    except (NotFoundError, InvalidInputError, IntegrityError):
        # Nothing there; or a symlink or other thing that is no file, of which writing says what is
        # wrong; or a file that another install replaces at this moment.
        return False


def _matches(target: Target, tree: Tree, stop: threading.Event | None) -> bool:
    expected = require_hash(target.entry)
    with open_source(tree.path(target.path), tree=tree) as source:
        hasher = new_hasher(expected.type, source.size_bytes)
        for piece in source:
            if stop is not None and stop.is_set():
                raise Cancelled
            hasher.update(piece)
    return hasher.finish() == expected


def mismatches(
    targets: Iterable[Target], tree: Tree, *, workers: int, stop: threading.Event | None = None
) -> Generator[str]:
    """Yield the paths whose files are missing or are not what their entries promise.

    Whoever closes the iterator early does not wait for files that are being read.

    Raises:
        FormatError: A hash is of an unknown type.
        Cancelled: `stop` was set.
    """
    stop = stop or threading.Event()

    def work(target: Target) -> str | None:
        return None if _is_there(target, tree, stop) else target.path

    with closing(run_all(targets, work, workers=workers, stop=stop)) as paths:
        for path in paths:
            if path is not None:
                yield path


def make_folder(path: str) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        InvalidInputError: A file or a dangling link stands in the way.
        StorageError: It can't be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as exc:
        raise InvalidInputError(
            f"{path} can't be made: {exc.filename} is a file or a dangling link", key=path
        ) from exc
    except OSError as exc:
        raise StorageError(f"{path} can't be made: {exc.strerror or exc}", key=path) from exc


def folds_case(tree: Tree) -> bool:
    """Return whether a folder takes names that differ only in case for one; tried, not guessed."""
    # A name of the form that scans and listings pass over, should we die before it is removed.
    name = temporary_name()
    tree.write(name, (), durable=False, create_only=True)
    try:
        tree.stat(name.upper())
    except NotFoundError:
        return False
    finally:
        tree.remove(name)
    return True
