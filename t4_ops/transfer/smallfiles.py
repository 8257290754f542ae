"""Many small local files, read whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from t4_ops.keys import PhysicalKey
from t4_ops.storage import SmallFiles, Tree

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
        url, _, name = physical_key.rpartition("/")
        if "%" in name:
            name = os.fsdecode(unquote_to_bytes(name))
            if "/" in name:
                return None
        if name in _NO_NAMES or "\0" in name:
            return None
        if url != self._url:
            if not url.startswith("file:///"):
                return None
            self._enter(url)
        return None if self._folder is None else self._folder.read(name)

    def _enter(self, url: str) -> None:
        if self._folder is not None:
            self._folder.__exit__()
        path = PhysicalKey.parse(url).path
        self._folder = SmallFiles(path, self._tree_of(f"{path}/")).__enter__()
        self._url = url
