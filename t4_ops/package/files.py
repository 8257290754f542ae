"""A package's files: writing them to a folder, comparing them with one, and their columns."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Self

from t4_ops.keys import PhysicalKey
from t4_ops.ledger import Column
from t4_ops.package.editing import EditablePackage
from t4_ops.package.entry import local_path
from t4_ops.package.hashing import hash_missing
from t4_ops.package.installing import extra_files, fetch_entries, install_targets, mismatched
from t4_ops.package.recording import note_contents_read
from t4_ops.package.table_columns import table_columns
from t4_ops.transfer import Opener, Target, open_cache, progress


class PackageFiles(EditablePackage):
    """What a package, or a view of one of its directories, does with its files."""

    def fetch(self, dest: str | os.PathLike[str] = "./") -> Self:
        """Write all files below a folder and return a package that points at them.

        Raises:
            InvalidInputError: `dest` is no local folder.
            IntegrityError: An object is not what the package promises.
        """
        folder = local_path(dest)
        opener = Opener(
            self._settings,
            self._contents.payloads,
            roots=self._contents.roots,
            cache=open_cache(self._settings),
        )
        with progress(f"fetching to {folder}", shown=self._settings.progress) as bar:
            hash_missing(self._contents, self._prefix, opener, self._settings, bar)
            targets = install_targets(self._contents, self._prefix.rstrip("/") or None)
            fetch_entries(targets, folder, opener, self._settings, bar)
        note_contents_read(self._contents, self._prefix, self._settings)
        result = self.filter(lambda *_: True)
        base = PhysicalKey.of_path(folder)
        for entry in list(result._contents.entries()):
            place = str(base.join(entry.logical_key))
            moved = entry.but(physical_key=place)
            result._contents.adopt(moved, result._contents.taken_from(entry))
            result._contents.set(moved)
        return result

    def verify(self, src: str | os.PathLike[str], extra_files_ok: bool = False) -> bool:
        """Return whether a folder holds exactly this package's files, every byte checked.

        Args:
            src: The folder.
            extra_files_ok: Whether other files may be there too.

        Raises:
            FormatError: An entry's hash is of an unknown type.
            InvalidInputError: An entry has no hash yet, or `src` is no local folder.
        """
        with closing(self.mismatched_files(src, extra_files_ok=extra_files_ok)) as wrong:
            return next(wrong, None) is None

    def mismatched_files(
        self,
        src: str | os.PathLike[str],
        path: str | None = None,
        *,
        extra_files_ok: bool = False,
        stop: threading.Event | None = None,
    ) -> Generator[str]:
        """Return the paths below a folder that are not as this package, or a part of it, has them.

        They come one by one; who closes the iterator early has the rest not read.

        Args:
            src: The folder.
            path: Only this file, or what lies below this directory, as `install` brings it.
            extra_files_ok: Whether other files may be there too.
            stop: Set from another thread to give up.

        Raises:
            FormatError: An entry's hash is of an unknown type.
            InvalidInputError: An entry has no hash yet, or `src` is no local folder.
            NotFoundError: There is no such folder, or nothing at the path.
        """
        folder = local_path(src)
        targets = self._targets(path)
        return mismatched(targets, folder, self._settings, extra_files_ok=extra_files_ok, stop=stop)

    def extra_files(self, src: str | os.PathLike[str], path: str | None = None) -> Iterator[str]:
        """Return the paths below a folder that are none of this package, or of a part of it.

        No file is read. Where there is no folder, there are none.

        Args:
            src: The folder.
            path: Only this file, or what lies below this directory, as `install` brings it.

        Raises:
            InvalidInputError: `src` is no local folder.
            NotFoundError: There is nothing at the path.
        """
        return extra_files(self._targets(path), local_path(src))

    def _targets(self, path: str | None) -> list[Target]:
        inner = self._prefix + path if path else self._prefix
        return install_targets(self._contents, inner.rstrip("/") or None)

    def table_columns(self) -> tuple[Column, ...]:
        """Return the columns of the table in the package, as far as they are cheap to know.

        That is: of at most 20 Parquet files that are here, not in a bucket, and whose bytes are
        known to be the package's. Empty otherwise.
        """
        return table_columns(self._contents, self._prefix, self._settings)
