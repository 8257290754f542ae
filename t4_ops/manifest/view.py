"""What a package asks of the manifest below it, whether that is here or only its index is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from t4_ops.manifest.entry import Directory, Entry
from t4_ops.manifest.model import Manifest

Verified = Literal["top_hash", "index"]
"""How what is read was proved: against the top hash, or only found by way of the index."""


class View(Protocol):
    """A frozen package that answers questions; `Manifest` is one, and so is `IndexedManifest`."""

    @property
    def top_hash(self) -> str:
        """The top hash; of a manifest that was not read, the one it is stored by."""

    @property
    def is_whole(self) -> bool:
        """Whether the manifest itself is here, proved if it is from a registry."""

    @property
    def header(self) -> dict[str, Any]:
        """The header; a copy."""

    def directories(self) -> Iterator[Directory]:
        """Yield the metadata of directories."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield entries below a directory (`""` or ending in `/`) in tree order."""

    def get(self, key: str) -> Entry | None:
        """Return the entry at a logical key, or None."""

    def has_directory(self, prefix: str) -> bool:
        """Return whether any entry lies below `prefix`, which ends in `/`."""

    def children(self, prefix: str = "") -> Iterator[str]:
        """Yield the names right below a directory in order; those of directories end in `/`."""

    def count(self, prefix: str = "") -> int:
        """Return the number of entries below a directory, at all levels."""

    def files_size_bytes(self, prefix: str = "") -> int:
        """Return the size of all files below a directory whose size is known."""

    def whole(self) -> Manifest:
        """Return the manifest itself, which may have to be read and proved first."""
