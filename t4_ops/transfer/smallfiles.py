"""Many small local files, read whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from t4_ops.keys import PhysicalKey
from t4_ops.storage import SmallFiles, Tree

FILE_URL: Final = "file:///"
"""What the physical key of a local file begins with."""
_NO_NAMES: Final = ("", ".", "..")


class SmallReader:
    """Reads small local files whole, each folder opened once for files in a row.

    Args:
        tree_of: Says which scanned folder a path lies in.
    """

    def __init__(self, tree_of: Callable[[str], Tree | None]) -> None:
        self._tree_of = tree_of
        self._url: str | None = None
        self._folder: SmallFiles | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._folder is not None:
            self._folder.__exit__()

    def read(self, physical_key: str) -> bytes | None:
        """Return the bytes of a file; None if it is none, large, or can't be read like this.

        Raises:
            IntegrityError: It changed while it was read.
            StorageError: Reading it failed.
        """
        url, name = self.located(physical_key)
        if not name:
            return None
        if url != self._url:
            if not url.startswith(FILE_URL):
                return None
            self._enter(url)
        return None if self._folder is None else self._folder.read(name)

    @staticmethod
    def located(physical_key: str) -> tuple[str, str]:
        """Return a URL's folder, a URL too, and the name in it; no name if no file can have it."""
        url, _, name = physical_key.rpartition("/")
        if "%" in name:
            name = os.fsdecode(unquote_to_bytes(name))
            if "/" in name:
                return url, ""
        return url, "" if name in _NO_NAMES or "\0" in name else name

    def folder(self, url: str) -> tuple[str | None, str]:
        """Return the scanned folder that the folder of a URL lies in, if any, and its path."""
        tree, path = self._place(url)
        return (None if tree is None else tree.root), path

    def _place(self, url: str) -> tuple[Tree | None, str]:
        # The URL of `/` is one by its slash only.
        path = PhysicalKey.parse(f"{url}/").path
        return self._tree_of(f"{path}/"), path

    def _enter(self, url: str) -> None:
        if self._folder is not None:
            self._folder.__exit__()
        tree, path = self._place(url)
        self._folder = SmallFiles(path, tree).__enter__()
        self._url = url
