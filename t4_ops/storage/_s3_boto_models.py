"""botocore's descriptions of services, read quickly: most of what a first connection costs.

Measured with botocore 1.44.5, of a connection's 210 ms: `json` took 80 ms where msgspec takes 30,
and looking into each of 450 folders for a description of S3, twice, 20 ms.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.loaders import JSONFileLoader, Loader


def _packed(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


# Endings of botocore's own files. Older releases ship them unpacked.
_READERS: Final[tuple[tuple[str, Callable[[Path], bytes]], ...]] = (
    (".json", Path.read_bytes),
    (".json.gz", _packed),
)


class _Files(JSONFileLoader):
    """Decodes files as botocore does, but to plain dictionaries, which keep their order too."""

    def load_file(self, file_path: str) -> Any:
        """Return what a file holds, given its path without an ending; None if there is none."""
        for ending, read in _READERS:
            try:
                return msgspec.json.decode(read(Path(file_path + ending)))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                continue
            except msgspec.DecodeError:
                # `json` takes more, and its errors are what botocore's callers expect.
                break
        return super().load_file(file_path)


class _Models(Loader):
    FILE_LOADER_CLASS = _Files

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's
        """Return all folders of services, without a look at what each describes.

        botocore asks whether the one it wants is among them, and looks into that one next.
        """
        found: set[str] = set()
        for path in filter(os.path.isdir, self.search_paths):
            with os.scandir(path) as entries:
                found.update(entry.name for entry in entries if entry.is_dir())
        return sorted(found)


@cache
def models(data_path: str | None) -> Loader:
    """Return what reads the descriptions, and keeps what it has read for this process.

    Args:
        data_path: Folders to look into first, as botocore's `data_path` names them.
    """
    folders = data_path.split(os.pathsep) if data_path else []
    return _Models([os.path.expanduser(os.path.expandvars(folder)) for folder in folders])
